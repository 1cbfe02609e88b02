"""PyTorch's side of the benchmark: F³ and backpropagation on MNIST, written to be fast.

The data are tensors in memory (no DataLoader), the optimizer is torch's fused Adam, F³ runs under
no_grad with closed-form gradients written into buffers that are reused, and backpropagation is
plain autograd. Prints the seconds of each training epoch, one a line.
"""

import argparse
import gzip
import os
import struct
import time

import torch
from torch import nn
from torch.nn import functional


def read_idx(path):
    compressed = not os.path.exists(path)
    with gzip.open(f"{path}.gz") if compressed else open(path, "rb") as file:
        _, dimensions = struct.unpack(">HxB", file.read(4))
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).reshape(shape)


def training_set(folder):
    images = read_idx(f"{folder}/train-images-idx3-ubyte").reshape(60000, 784).float()
    labels = read_idx(f"{folder}/train-labels-idx1-ubyte").long()
    return (images / 255 - 0.1307) / 0.3081, functional.one_hot(labels, 10).float()


def fused_adam(parameters):
    return torch.optim.Adam(parameters, lr=1.5e-4, fused=True)


class F3:
    """Hidden layers step along e·B, e being the sample's error of the epoch before.

    A layer's step changes nothing that another layer reads for the same batch, so one optimizer
    steps them all at the end of the batch: the same numbers, with less of Python.
    """

    def __init__(self, widths, targets):
        self.layers = [nn.Linear(m, n) for m, n in zip(widths, widths[1:])]
        bounds = [n**-0.5 for n in widths[1:-1]]
        self.feedback = [
            torch.empty(widths[-1], n).uniform_(-bound, bound) for n, bound in zip(widths[1:-1], bounds)
        ]
        self.errors = targets.clone()
        parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = fused_adam(parameters)

    @torch.no_grad()
    def train_batch(self, positions, x, targets):
        error = self.errors.index_select(0, positions)
        for layer, feedback in zip(self.layers, self.feedback):
            h = functional.linear(x, layer.weight, layer.bias).tanh_()
            write_gradients(layer, x, torch.ops.aten.tanh_backward(error @ feedback, h))
            x = h
        output = self.layers[-1]
        y = functional.linear(x, output.weight, output.bias).sigmoid_()
        difference = y - targets
        write_gradients(output, x, difference / y.numel())
        self.optimizer.step()
        self.errors.index_copy_(0, positions, difference.neg_())


def write_gradients(layer, x, delta_z):
    torch.mm(delta_z.t(), x, out=layer.weight.grad)
    torch.sum(delta_z, 0, out=layer.bias.grad)


class Backpropagation:
    def __init__(self, widths, _targets):
        layers = []
        for m, n in zip(widths, widths[1:]):
            layers += [nn.Linear(m, n), nn.Tanh()]
        self.network = nn.Sequential(*layers[:-1])
        self.optimizer = fused_adam(self.network.parameters())

    def train_batch(self, _positions, x, targets):
        loss = functional.binary_cross_entropy_with_logits(self.network(x), targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--algorithm", choices=["f3", "bp"], default="f3")
    parser.add_argument("--hidden", type=int, default=1)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    inputs, targets = training_set(arguments.data)
    widths = [784] + [arguments.width] * arguments.hidden + [10]
    trainer = {"f3": F3, "bp": Backpropagation}[arguments.algorithm](widths, targets)
    for _ in range(arguments.epochs):
        start = time.perf_counter()
        order = torch.randperm(len(inputs))
        for positions in order.split(arguments.batch_size):
            x = inputs.index_select(0, positions)
            trainer.train_batch(positions, x, targets.index_select(0, positions))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
