"""The data sets of the benchmark as the rivals read them: f3-tch's files, prepared in the same way.

Everything is NumPy. With the same weights and the same order of samples, losses after an epoch agree
with f3-tch's in six digits or more (tried on all three). `scripts/bench --parts check` compares what
the programs reach with weights that each draws for itself.

Legend: N samples, m inputs, C outputs.
"""

import gzip
import io
import os
import pathlib
import struct
import zipfile

import numpy as np

MOST = 2**62  # samples: all of them


class Part:
    """Inputs float32 [N, m] and targets float32 [N, C]."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets


def read(folder, name, samples=MOST):
    """Training set, cut to its first `samples`, and test set, from f3-tch's data directory."""
    return READERS[name](pathlib.Path(folder) / name, samples)


def opened(path):
    """The file, plain or gzipped."""
    return open(path, "rb") if os.path.exists(path) else gzip.open(f"{path}.gz")


def read_idx(path, most):
    """The first `most` items of an IDX file of bytes."""
    with opened(path) as file:
        _, dimensions = struct.unpack(">HxB", file.read(4))
        count, *shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        count = min(count, most)
        size = count * int(np.prod(shape))
        return np.frombuffer(file.read(size), dtype=np.uint8).reshape(count, *shape)


def mnist(folder, samples):
    """Standardised images [N, 784] and one-hot targets [N, 10]."""

    def part(prefix, most):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte", most).reshape(-1, 784)
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte", most)
        inputs = images.astype(np.float32)
        inputs /= 255
        inputs -= 0.1307
        inputs /= 0.3081
        return Part(inputs, np.eye(10, dtype=np.float32)[labels])

    return part("train", samples), part("t10k", MOST)


def wine_quality(folder, samples):
    """Red wines, then white ones: 11 measurements, the colour (0 or 1), and as target the quality."""
    tables = []
    for colour, name in enumerate(["red", "white"]):
        with opened(folder / f"winequality-{name}.csv") as file:
            rows = np.loadtxt(file, delimiter=";", skiprows=1)
        tables.append(np.insert(rows, 11, colour, axis=1))
    train, test = train_test(np.concatenate(tables))
    return standardized(Part(train[:, :12], train[:, 12:]), Part(test[:, :12], test[:, 12:]), samples)


def sgemm(folder, samples):
    """Each of the 241,600 settings was measured four times: a split by settings, then all samples of the
    first measurement, all of the second, and so on."""
    path, archive = folder / "sgemm_product.csv", folder / "sgemm_product_dataset.zip"
    if archive.exists() and not path.exists():
        with zipfile.ZipFile(archive) as files:
            file = io.BytesIO(files.read(f"{archive.stem}/{path.name}"))
    else:
        file = opened(path)
    with file:
        table = np.loadtxt(file, delimiter=",", skiprows=1)

    def part(rows):
        return Part(np.tile(rows[:, :14], (4, 1)), rows[:, 14:].T.reshape(-1, 1))

    train, test = train_test(table)
    return standardized(part(train), part(test), samples)


def train_test(rows):
    """A fifth of the rows for testing: scikit-learn's split by seed 1."""
    order = np.random.RandomState(1).permutation(len(rows))
    count = -(-len(rows) // 5)
    return rows[order[count:]], rows[order[:count]]


def standardized(train, test, samples):
    """By means and standard deviations of the training set, which are rounded to float32."""

    def scale(name):
        of_training = getattr(train, name)
        mean = of_training.mean(axis=0).astype(np.float32).astype(np.float64)
        deviation = of_training.std(axis=0, ddof=1).astype(np.float32).astype(np.float64)
        return [((getattr(part, name) - mean) / deviation).astype(np.float32) for part in (train, test)]

    (train_inputs, test_inputs), (train_targets, test_targets) = scale("inputs"), scale("targets")
    return Part(train_inputs[:samples], train_targets[:samples]), Part(test_inputs, test_targets)


READERS = {"mnist": mnist, "wine_quality": wine_quality, "sgemm": sgemm}
