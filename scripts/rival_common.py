"""What all rivals of the benchmark share: command line, data, initial weights, the epoch loop.

A rival is a trainer with two methods: `epoch(order)` takes every training sample once, in this order
of positions, and returns when the work is done; `logits(...)` tells what the trained network puts
out on the training set before its output activation. Everything here is NumPy, so that PyTorch and
JAX start from the same numbers and see the samples in the same order.

Legend: N samples, C outputs, m inputs and n outputs of a layer, w width of a token.
"""

import argparse
import gzip
import os
import struct
import time

import numpy as np

CLASSES = 10
PIXELS = 784
LEARNING_RATES = {"mlp": 1.5e-4, "vit": 3e-3}
BETAS = (0.9, 0.999)
EPSILON = 1e-8

# The Vision Transformer: 28 x 28 pixels in patches of 7 x 7 make 16 tokens of width 32.
IMAGE_SIDE, PATCH_SIDE = 28, 7
TOKENS, TOKEN_WIDTH = (IMAGE_SIDE // PATCH_SIDE) ** 2, 32
TRANSFORMER_BLOCKS = 4
HEADS, HEAD_SIZE = 8, 64
TRANSFORMER_MLP_WIDTH = 128
NORM_EPSILON = 1e-5


def arguments(description, compiles):
    """The command line; `compiles`: whether the rival has a `--compile`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="folder with MNIST's files")
    parser.add_argument("--algorithm", choices=["f3", "bp"], default="f3")
    parser.add_argument("--model", choices=["mlp", "vit"], default="mlp")
    parser.add_argument("--hidden", type=int, default=1, help="hidden layers (not of a transformer)")
    parser.add_argument("--width", type=int, default=500, help="their width (not of a transformer)")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--samples", type=int, default=60000, help="train on the first so many")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--check", action="store_true",
                        help="print the loss on the training set after the run, not seconds")
    if compiles:
        parser.add_argument("--compile", action="store_true", help="train with torch.compile")
    chosen = parser.parse_args()
    pin(chosen.threads)
    return chosen


def pin(threads):
    """Keeps this process on the first cores that it may use, where the system can do that.

    Runtimes that size their thread pools by the cores they may use (JAX's) so get the right number.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def read_idx(path, most):
    """The first `most` items of an IDX file of bytes, plain or gzipped."""
    compressed = not os.path.exists(path)
    with gzip.open(f"{path}.gz") if compressed else open(path, "rb") as file:
        _, dimensions = struct.unpack(">HxB", file.read(4))
        count, *shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        count = min(count, most)
        size = count * int(np.prod(shape))
        return np.frombuffer(file.read(size), dtype=np.uint8).reshape(count, *shape)


def training_set(folder, samples):
    """Standardised images float32 [N, 784] and one-hot targets float32 [N, C]."""
    images = read_idx(f"{folder}/train-images-idx3-ubyte", samples).reshape(-1, PIXELS)
    labels = read_idx(f"{folder}/train-labels-idx1-ubyte", samples)
    inputs = images.astype(np.float32)
    inputs /= 255
    inputs -= 0.1307
    inputs /= 0.3081
    return inputs, np.eye(CLASSES, dtype=np.float32)[labels]


def uniform(random, bound, *shape):
    return random.uniform(-bound, bound, shape).astype(np.float32)


def dense_weights(random, m, n):
    """Weight [n, m] and bias [n] from U(-1/√m, 1/√m)."""
    return [uniform(random, m**-0.5, n, m), uniform(random, m**-0.5, n)]


def mlp_weights(hidden, width):
    """Weight and bias of each layer, and the feedback [C, n] from U(-1/√n, 1/√n) of each hidden one."""
    random = np.random.RandomState(1)
    widths = [PIXELS] + [width] * hidden + [CLASSES]
    layers = [dense_weights(random, m, n) for m, n in zip(widths, widths[1:])]
    feedback = [uniform(random, n**-0.5, CLASSES, n) for n in widths[1:-1]]
    return layers, feedback


def vit_weights():
    """Parameters of each block of the Vision Transformer, and the feedback [C, n], i.i.d. uniform from
    {-1, 0, 1}, of each but the last. The blocks: the embedding (weight and bias) with the first
    transformer block, three transformer blocks, the hidden layer of the head, the output layer."""
    random = np.random.RandomState(1)
    n = TOKENS * TOKEN_WIDTH
    blocks = [transformer_block_weights(random) for _ in range(TRANSFORMER_BLOCKS)]
    blocks[0] = dense_weights(random, PIXELS, n) + blocks[0]
    blocks += [dense_weights(random, n, n), dense_weights(random, n, CLASSES)]
    feedback = [random.randint(-1, 2, (CLASSES, n)).astype(np.float32) for _ in blocks[:-1]]
    return blocks, feedback


def transformer_block_weights(random):
    """Scale and shift of the norm before the attention [w]; queries, keys and values in one weight
    [3·inner, w], each with the heads one after the other; weight and bias of the projection; scale and
    shift of the norm before the perceptron; weight and bias of its two layers."""
    w, inner = TOKEN_WIDTH, HEADS * HEAD_SIZE
    return [
        *norm_weights(w),
        uniform(random, w**-0.5, 3 * inner, w),
        *dense_weights(random, inner, w),
        *norm_weights(w),
        *dense_weights(random, w, TRANSFORMER_MLP_WIDTH),
        *dense_weights(random, TRANSFORMER_MLP_WIDTH, w),
    ]


def norm_weights(n):
    return [np.ones(n, dtype=np.float32), np.zeros(n, dtype=np.float32)]


def train(trainer, chosen):
    """Trains; prints the seconds of each epoch, one a line, or what `--check` asks for."""
    random = np.random.RandomState(2)
    for _ in range(chosen.epochs):
        start = time.perf_counter()
        trainer.epoch(random.permutation(len(trainer.targets)))
        if not chosen.check:
            print(time.perf_counter() - start, flush=True)
    if chosen.check:
        logits = np.asarray(trainer.logits(), dtype=np.float64)
        loss = trainer.loss(logits, np.asarray(trainer.targets, dtype=np.float64))
        print(f"{loss:.9f}")


def binary_cross_entropy(logits, targets):
    """Of sigmoid(logits): summed over the outputs, averaged over the samples."""
    return (np.logaddexp(0, logits) - targets * logits).sum(axis=1).mean()


def cross_entropy(logits, targets):
    """Of softmax(logits), averaged over the samples."""
    return (np.logaddexp.reduce(logits, axis=1) - (targets * logits).sum(axis=1)).mean()
