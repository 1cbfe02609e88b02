"""What a whole run of a rival leaves in its folder: metrics.csv, curves for TensorBoard and the two newest
checkpoints, as f3-tch's runs do; and how its epochs are timed."""

import csv
import pathlib
import time

import torch
from torch.utils.tensorboard import SummaryWriter


def arguments(parser):
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run")
    return parser.parse_args()


class Folder:
    """A row, a point in every curve and a checkpoint for each epoch."""

    def __init__(self, path):
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.rows, self.writer = path, None, SummaryWriter(path)
        self.file = open(path / "metrics.csv", "w", newline="")
        self.checkpoints = []

    def add(self, epoch, values, state):
        """Of an epoch: numbers by name, and what a checkpoint must hold."""
        if self.rows is None:
            self.rows = csv.DictWriter(self.file, ["epoch", *values])
            self.rows.writeheader()
        self.rows.writerow({"epoch": epoch, **values})
        self.file.flush()
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()
        if epoch > 0:
            path = self.path / f"epoch-{epoch:06}.pt"
            torch.save(state, path)
            self.checkpoints.append(path)
            if len(self.checkpoints) > 2:
                self.checkpoints.pop(0).unlink()


def run(chosen, train, evaluate, state):
    """Trains and evaluates; prints the seconds of each epoch with all that belongs to it, those of its
    training and those of its evaluation, an epoch a line.

    `train()` trains an epoch, `evaluate()` gives numbers by name, `state()` what a checkpoint holds.
    """
    folder = Folder(chosen.out)
    folder.add(0, evaluate(), None)
    start = time.perf_counter()
    for epoch in range(1, chosen.epochs + 1):
        train()
        trained = time.perf_counter()
        values = evaluate()
        evaluated = time.perf_counter()
        folder.add(epoch, values, state())
        end = time.perf_counter()
        print(end - start, trained - start, evaluated - trained, flush=True)
        start = end
