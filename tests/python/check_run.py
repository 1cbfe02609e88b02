"""Reads a run's files as others do, and prints what they hold as JSON.

usage: check_run.py RUN_DIR

The curves are read by TensorBoard's own reader. The network is rebuilt with torch.nn from the
shapes in model.safetensors, with the module names of the paper's program, and loaded with
load_state_dict(strict=True); its accuracy and loss are measured on the digits' test set, if it was
trained on them.
"""

import gzip
import itertools
import json
import pathlib
import struct
import sys

import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from torch import nn

DIGITS = pathlib.Path(__file__).resolve().parent.parent.parent / "src/data/digits"


def read_idx(name):
    with gzip.open(DIGITS / name) as file:
        _, dimensions = struct.unpack(">HxB", file.read(4))
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).reshape(shape)


class Feedback(nn.Module):
    def __init__(self, outputs, width):
        super().__init__()
        self.feedback_weight = nn.Parameter(torch.empty(outputs, width), requires_grad=False)

    def forward(self, x):
        return x


class Network(nn.Module):
    def __init__(self, state):
        super().__init__()
        modules = []
        for number in itertools.count():
            if feedback := [n for n in state if n == f"layers.{number}.feedback_weight"]:
                modules.append(Feedback(*state[feedback[0]].shape))
                continue
            place = "1" if number == 0 else "0"
            if f"layers.{number}.{place}.weight" not in state:
                break
            linear = nn.Linear(*reversed(state[f"layers.{number}.{place}.weight"].shape))
            modules.append(nn.Sequential(nn.Flatten(), linear, nn.Tanh()) if number == 0 else nn.Sequential(linear, nn.Tanh()))
        modules[-1][-1] = nn.Sigmoid()
        self.layers = nn.Sequential(*modules)

    def forward(self, x):
        return self.layers(x)


def session(events):
    """What the page HPARAMS knows of a run: its settings, and whether it has ended."""
    content = events.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    settings = {
        key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()
    }
    ended = content.get(metadata.SESSION_END_INFO_TAG)
    end = metadata.parse_session_end_info_plugin_data(ended) if ended else None
    return {"settings": settings, "status": end and end.status}


def main():
    run = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    about = session(events)
    about["text"] = events.Tensors("config")[0].tensor_proto.string_val[0].decode()
    scalars = {
        tag: [[event.step, event.value] for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }

    state = load_file(run / "model.safetensors")
    if state["layers.0.1.weight"].shape[1] != 64:  # not trained on the digits
        print(json.dumps({"scalars": scalars, "about": about}))
        return
    network = Network(state)
    network.load_state_dict(state, strict=True)
    images = read_idx("images-idx3-ubyte.gz").float() / 16
    labels = read_idx("labels-idx1-ubyte.gz").long()
    test = torch.arange(len(labels)) % 5 == 4
    with torch.no_grad():
        outputs = network(images[test])
    targets = nn.functional.one_hot(labels[test], 10).float()
    loss = nn.functional.binary_cross_entropy(outputs, targets, reduction="sum") / len(targets)
    accuracy = (outputs.argmax(1) == labels[test]).float().mean() * 100
    found = {"loss": loss.item(), "accuracy": accuracy.item()}
    print(json.dumps({"scalars": scalars, "about": about, **found}))


if __name__ == "__main__":
    main()
