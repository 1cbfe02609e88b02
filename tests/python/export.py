"""Compares exported networks with the runs that they come from. Argument: the folder of the package f3_tch;
started in the folder of the runs."""

import csv
import importlib.util
import json
import sys

import numpy as np
import onnxruntime
import torch

package = sys.argv[1]


def closest(ours, theirs):
    """The largest error relative to the larger of 1 and the number."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))))


def module(path):
    spec = importlib.util.spec_from_file_location(path.split(".")[0], path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# Modules stand alone: the package is not to be found yet.
alone = {name: module(f"{name}_py.py").load() for name in ["mlp", "cnn", "vit", "numbers", "names", "mixed"]}
assert "f3_tch" not in sys.modules

sys.path.insert(0, package)
import f3_tch

generator = torch.Generator().manual_seed(5)
pixels = torch.randint(0, 17, (9, 1, 8, 8), generator=generator, dtype=torch.uint8)
rows = list(csv.DictReader(open("people.csv")))

for name, network_alone in alone.items():
    network = f3_tch.load(name)
    is_image = name in ["mlp", "cnn", "vit"]
    samples = pixels if is_image else rows
    prepared = network.prepare(samples)
    assert prepared.isfinite().all(), name
    answer = network.answer(samples)
    assert torch.equal(network_alone.answer(samples), answer), name
    assert len(network_alone.feedback) > 0

    if name == "vit":
        program = torch.export.load(f"{name}_pt2.pt2").module()
        with torch.no_grad():
            assert closest(program(prepared), network(prepared)) < 1e-5, name
            assert closest(program(prepared[:3]), network(prepared[:3])) < 1e-5, name

    session = onnxruntime.InferenceSession(f"{name}_onnx.onnx")
    (given,), (asked,) = session.get_inputs(), session.get_outputs()
    about = session.get_modelmeta().custom_metadata_map
    if is_image:
        given_samples = pixels.float().numpy()
        assert given.name == "pixels" and list(given.shape[1:]) == [1, 8, 8]
    elif name == "mixed":
        given_samples = prepared.numpy()
        assert given.name == "inputs"
    else:
        columns = json.loads(about["columns"])
        number = lambda text: float("nan") if text == "?" else float(text)
        given_samples = np.array([[number(row[it]) for it in columns] for row in rows], dtype=np.float32)
        assert given.name == "cells" and np.isnan(given_samples).any()
    found = session.run(None, {given.name: given_samples})[0]
    assert closest(found, answer) < 1e-5, (name, closest(found, answer))
    one = session.run(None, {given.name: given_samples[:1]})[0]
    assert closest(one, answer[:1]) < 1e-5, name
    assert json.loads(about["names"]) == (network.classes or {"numbers": ["pay"], "mixed": ["pay", "size"]}[name])

    if not is_image:
        written = list(csv.DictReader(open(f"{name}.csv")))
        names = network.classes or [f"predicted_{it}" for it in json.loads(about["names"])]
        theirs = [[float(row[it]) for it in names] for row in written]
        assert closest(answer, theirs) < 1e-5, name

# A name that training did not have gets the place behind the others; a missing number the mean.
network = f3_tch.load("mixed")
first = dict(rows[0])
other = network.prepare([first, {**first, "trade": "tailor"}, {**first, "weight": None}])
assert network.inputs.about["columns"][-1]["unseen"] and other.shape[1] == 1 + 5  # three trades, none, others
known = [float(row["weight"]) for row in rows if row["weight"] != "?"]
assert not torch.equal(other[0, 1:], other[1, 1:])

# Numbers and truth values, as a reader of tables gives them, are the names that the table has for them.
places = f3_tch.preparation.Places(["1.0", "2.0", "07", "true", "false", "poet"])
cells = [1.0, np.float32(2.0), 7, True, np.bool_(False), "poet", "2.0"]
assert [places.of(cell) for cell in cells] == [0, 1, 2, 3, 4, 5, 1]
assert [places.of(cell) for cell in [3.0, "1", "True", 1]] == [None, None, None, 0]
