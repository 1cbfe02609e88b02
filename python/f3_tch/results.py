"""The results of runs."""

import json
import os
import pathlib


def runs(folder="runs"):
    """A dictionary for each run in a folder, at any depth, that has ended: its `folder`, what its
    result.json says (`name`, `state`, `seed`, `epochs.done`, …), each metric as `test_loss.best`,
    `test_loss.best_epoch`, `test_loss.last` and `test_loss.at_best_validation`, and each setting as
    `settings.optimizer.learning_rate`.

    `pandas.DataFrame(f3_tch.runs())` is a table of them.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(it for it in folders if not it.startswith(".") and it != "checkpoints")
        if "result.json" in files:
            place = pathlib.Path(place)
            result = json.loads((place / "result.json").read_text(encoding="utf-8"))
            if "metrics" in result:  # else it is no run's
                found.append(row(place, result))
    return sorted(found, key=lambda run: run["folder"])


def row(folder, result):
    flat = {"folder": str(folder)}
    metrics = result.pop("metrics")
    for key, value in result.items():
        flatten(key, value, flat)
    for name, metric in metrics.items():
        best = metric["best"] or {}
        flat[f"{name}.best"], flat[f"{name}.best_epoch"] = best.get("value"), best.get("epoch")
        for which in ("last", "at_best_validation"):
            flat[f"{name}.{which}"] = metric[which]
    return flat


def flatten(key, value, into):
    if isinstance(value, dict):
        for below, inner in value.items():
            flatten(f"{key}.{below}", inner, into)
    else:
        into[key] = value
