"""What all rivals of the benchmark share: command line, initial weights, the epoch loop.

A rival is a trainer with two methods: `epoch(order)` takes every training sample once, in this order
of positions, and returns when the work is done; `logits(...)` tells what the trained network puts
out on the training set before its output activation. Everything here is NumPy, so that PyTorch and
JAX start from the same numbers and see the samples in the same order.

Legend: N samples, C outputs, m inputs and n outputs of a layer, w width of a token.
"""

import argparse
import os
import time

import numpy as np

import rival_data

MODELS = ["mlp", "vit", "cnn"]
BETAS = (0.9, 0.999)
EPSILON = 1e-8

# The Vision Transformer: 28 x 28 pixels in patches of 7 x 7 make 16 tokens of width 32.
PIXELS, CLASSES = 784, 10
IMAGE_SIDE, PATCH_SIDE = 28, 7
TOKENS, TOKEN_WIDTH = (IMAGE_SIDE // PATCH_SIDE) ** 2, 32
TRANSFORMER_BLOCKS = 4
HEADS, HEAD_SIZE = 8, 64
TRANSFORMER_MLP_WIDTH = 128
NORM_EPSILON = 1e-5

# The convolutional network: 32C5-pool-64C5-pool-1000FC.
KERNEL = 5
CHANNELS = (1, 32, 64)
CNN_WIDTH = 1000


def parser(description):
    """The command line that all rivals have."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--data", required=True, help="f3-tch's data directory")
    found.add_argument("--data-set", choices=list(rival_data.READERS), default="mnist")
    found.add_argument("--hidden", type=int, default=1, help="hidden layers of a fully connected network")
    found.add_argument("--width", type=int, default=500, help="their width")
    found.add_argument("--batch-size", type=int, default=50)
    found.add_argument("--samples", type=int, default=rival_data.MOST, help="train on the first so many")
    found.add_argument("--epochs", type=int, default=3)
    found.add_argument("--threads", type=int, required=True)
    return found


def arguments(description, algorithms, compiles):
    """The command line of a rival that only trains; `compiles`: whether it has a `--compile`."""
    found = parser(description)
    found.add_argument("--algorithm", choices=algorithms, default="f3")
    found.add_argument("--model", choices=MODELS, default="mlp")
    found.add_argument("--check", action="store_true",
                       help="print the loss on the training set after the run, not seconds")
    if compiles:
        found.add_argument("--compile", action="store_true", help="train with torch.compile")
    chosen = found.parse_args()
    pin(chosen.threads)
    return chosen


def pin(threads):
    """Keeps this process on the first cores that it may use, where the system can do that.

    Runtimes that size their thread pools by the cores they may use (JAX's) so get the right number.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def is_regression(data_set):
    return data_set != "mnist"


def learning_rate(model, data_set):
    """Adam's, as in f3-tch's configurations."""
    if model == "vit":
        return 3e-3
    return 1e-4 if is_regression(data_set) else 1.5e-4


def uniform(random, bound, *shape):
    return random.uniform(-bound, bound, shape).astype(np.float32)


def trinomial(random, *shape):
    """I.i.d. uniform from {-1, 0, 1}."""
    return random.randint(-1, 2, shape).astype(np.float32)


def dense_weights(random, m, n):
    """Weight [n, m] and bias [n] from U(-1/√m, 1/√m)."""
    return [uniform(random, m**-0.5, n, m), uniform(random, m**-0.5, n)]


def mlp_weights(inputs, hidden, width, outputs, regression):
    """Weight and bias of each layer, and the feedback [C, n] of each hidden one: from U(-1/√n, 1/√n),
    for regression from {-1, 0, 1}."""
    random = np.random.RandomState(1)
    widths = [inputs] + [width] * hidden + [outputs]
    layers = [dense_weights(random, m, n) for m, n in zip(widths, widths[1:])]
    if regression:
        return layers, [trinomial(random, outputs, n) for n in widths[1:-1]]
    return layers, [uniform(random, n**-0.5, outputs, n) for n in widths[1:-1]]


def vit_weights():
    """Parameters of each block of the Vision Transformer, and the feedback [C, n], i.i.d. uniform from
    {-1, 0, 1}, of each but the last. The blocks: the embedding (weight and bias) with the first
    transformer block, three transformer blocks, the hidden layer of the head, the output layer."""
    random = np.random.RandomState(1)
    n = TOKENS * TOKEN_WIDTH
    blocks = [transformer_block_weights(random) for _ in range(TRANSFORMER_BLOCKS)]
    blocks[0] = dense_weights(random, PIXELS, n) + blocks[0]
    blocks += [dense_weights(random, n, n), dense_weights(random, n, CLASSES)]
    feedback = [trinomial(random, CLASSES, n) for _ in blocks[:-1]]
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


def cnn_weights():
    """Weight and bias of each block of the convolutional network, and the feedback [C, n] from
    U(-1/√n, 1/√n) of each but the last.

    Images have their channels last: a convolution's weight is [rows, columns, m, n], and the outputs
    of its block stand in the order row, column, channel. (f3-tch has channels first. As all weights of
    a layer are drawn from one distribution, this is the same network with its units in another order.)
    """
    random = np.random.RandomState(1)
    blocks, side, widths = [], IMAGE_SIDE, []
    for m, n in zip(CHANNELS, CHANNELS[1:]):
        bound = (m * KERNEL * KERNEL) ** -0.5
        blocks.append([uniform(random, bound, KERNEL, KERNEL, m, n), uniform(random, bound, n)])
        side //= 2
        widths.append(side * side * n)
    widths.append(CNN_WIDTH)
    blocks += [dense_weights(random, widths[-2], CNN_WIDTH), dense_weights(random, CNN_WIDTH, CLASSES)]
    return blocks, [uniform(random, n**-0.5, CLASSES, n) for n in widths]


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


def squared_error(outputs, targets):
    """Summed over the outputs, averaged over the samples."""
    return ((outputs - targets) ** 2).sum(axis=1).mean()
