"""PyTorch's side of the benchmark: F³, DFA and backpropagation on fully connected and convolutional
networks and on a Vision Transformer.

Written to be fast. The data are tensors in memory (no DataLoader). Eager F³ and DFA run under no_grad:
fully connected and convolutional blocks have closed-form gradients, and oneDNN's product with bias and
tanh in one call; transformer blocks have autograd inside the block; each layer's Adam comes right
behind its gradient, while that is in the cache. Eager backpropagation goes through the same closed
forms where all blocks have them, otherwise it is autograd. With `--compile` one batch's whole step,
Adam included, is one function for torch.compile. Prints the seconds of each training epoch, one a line.

Legend: b batch, C outputs of the network, x [b, m] inputs of a block, e [b, C] the samples' errors (of
the epoch before in F³), B [C, n] feedback.
"""

import ctypes
import math
import sys
from functools import partial

import torch

import rival_common
import rival_data
from rival_pytorch_networks import LOCAL, Adam, LocalLinear, Network, in_order_of

BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON


def keep_freed_memory():
    """Makes the C library keep what is freed, where it is glibc.

    By default it gives the top of its memory back whenever a transformer block's tensors are freed, to
    be mapped and cleared page by page for the next block: without this eager F³ took half as long again.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: how much may lie free at the top, in bytes
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: larger tensors are mapped one by one; this is the most


class Trainer:
    """The batches of an epoch; what happens to one is the subclass's `train_batch`."""

    def __init__(self, network, train, chosen):
        self.network, self.loss = network, network.head.loss
        self.inputs, self.targets = torch.from_numpy(train.inputs), torch.from_numpy(train.targets)
        self.batch_size = chosen.batch_size
        self.rate = rival_common.learning_rate(chosen.model, chosen.data_set)

    def epoch(self, order):
        for positions in torch.from_numpy(order).split(self.batch_size):
            self.train_batch(positions)

    def batch(self, positions):
        return self.inputs.index_select(0, positions), self.targets.index_select(0, positions)

    @torch.no_grad()
    def logits(self):
        parts = self.inputs.split(1000)
        return torch.cat([self.network.forward(self.network.blocks, x) for x in parts]).numpy()


class Local(Trainer):
    """A network of blocks that learn by themselves."""

    def __init__(self, network, train, chosen):
        super().__init__(network, train, chosen)
        self.hidden = [
            LOCAL[hidden](parameters, self.rate)
            for hidden, parameters in zip(network.hidden, network.blocks)
        ]
        self.output = LocalLinear(network.blocks[-1], self.rate)

    def difference(self, x, targets):
        """y - y* [b, C] from the output layer's input."""
        return self.network.head.activation(self.output.forward(x)[0]).sub_(targets)


class F3(Local):
    """Hidden layers step along e·B on the way forward; the output layer along the gradient of the mean
    loss."""

    def __init__(self, network, train, chosen):
        super().__init__(network, train, chosen)
        self.errors = self.targets.clone()

    @torch.no_grad()
    def train_batch(self, positions):
        x, targets = self.batch(positions)
        error = self.errors.index_select(0, positions)
        for layer, feedback in zip(self.hidden, self.network.feedback):
            x, kept = layer.forward(x)
            layer.learn(kept, torch.mm(error, feedback))
        difference = self.difference(x, targets)
        self.output.learn(x, self.network.head.gradient(difference))
        self.errors.index_copy_(0, positions, difference.neg_())


class Dfa(Local):
    """Hidden layers step along e·B with the error of this very batch."""

    @torch.no_grad()
    def train_batch(self, positions):
        x, targets = self.batch(positions)
        all_kept = []
        for layer in self.hidden:
            x, kept = layer.forward(x)
            all_kept.append(kept)
        difference = self.difference(x, targets)
        self.output.learn(x, self.network.head.gradient(difference))
        error = difference.neg_()
        # The last layer's activations are in the cache, so it comes first.
        for layer, feedback in zip(self.hidden[::-1], self.network.feedback[::-1]):
            layer.learn(all_kept.pop(), torch.mm(error, feedback))


class ClosedBackpropagation(Local):
    """Backpropagation without autograd."""

    @torch.no_grad()
    def train_batch(self, positions):
        x, targets = self.batch(positions)
        all_kept = []
        for layer in self.hidden:
            x, kept = layer.forward(x)
            all_kept.append(kept)
        delta_z = self.network.head.gradient(self.difference(x, targets))
        delta = self.output.learn(x, delta_z, gives_delta_x=bool(self.hidden))
        for layer in self.hidden[::-1]:
            delta = layer.learn(all_kept.pop(), delta, gives_delta_x=bool(all_kept))


class Backpropagation(Trainer):
    """Backpropagation by autograd."""

    def __init__(self, network, train, chosen):
        super().__init__(network, train, chosen)
        self.parameters = [it.requires_grad_() for block in network.blocks for it in block]
        self.adam = Adam(self.parameters, self.rate)

    def train_batch(self, positions):
        x, targets = self.batch(positions)
        loss = self.network.head.mean_loss(self.network.forward(self.network.blocks, x), targets)
        gradients = in_order_of(self.parameters, torch.autograd.grad(loss, self.parameters))
        with torch.no_grad():
            self.adam.step(gradients)


def compiled(function):
    """One kernel sequence without Python in between; shapes are fixed, a smaller last batch is
    compiled of its own. Inductor's C++ wrapper costs less per call than its Python one."""
    import torch._inductor.config as settings

    settings.cpp_wrapper = True
    # Otherwise what was compiled for another number of threads is taken from Inductor's cache.
    settings.cpp.threads = torch.get_num_threads()
    return torch.compile(function, dynamic=False)


def adam_in_place(parameters, gradients, first, second, rate, correction):
    """Adam as operations that torch.compile fuses with their neighbours.

    `rate` is the learning rate over 1 - β1^t, `correction` 1/√(1 - β2^t), both scalar tensors, so
    that their change is no reason to compile anew.
    """
    for parameter, gradient, m, v in zip(parameters, gradients, first, second):
        m.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
        v.mul_(BETA2).add_(gradient * gradient, alpha=1 - BETA2)
        parameter.sub_(rate * m / (v.sqrt() * correction + EPSILON))


class AdamState:
    """What `adam_in_place` needs besides parameters and gradients."""

    def __init__(self, parameters, rate):
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.rate, self.steps = rate, 0

    def scalars(self):
        self.steps += 1
        rate = self.rate / (1 - BETA1**self.steps)
        correction = 1 / math.sqrt(1 - BETA2**self.steps)
        return torch.tensor(rate), torch.tensor(correction)


class Compiled(Trainer):
    """One batch's step as one compiled function."""

    def __init__(self, network, train, chosen):
        super().__init__(network, train, chosen)
        self.errors = self.targets.clone()
        self.state = AdamState(flat(network.blocks), self.rate)
        step = {
            "f3": partial(feedback_step, True),
            "dfa": partial(feedback_step, False),
            "bp": backpropagation_step,
        }[chosen.algorithm]
        self.step = compiled(partial(step, network))

    @torch.no_grad()
    def train_batch(self, positions):
        rate, correction = self.state.scalars()
        self.step(
            self.network.blocks, self.state.first, self.state.second, rate, correction,
            self.network.feedback, self.errors, self.inputs, self.targets, positions,
        )


def flat(blocks):
    return [parameter for block in blocks for parameter in block]


def feedback_step(
    delayed, network, blocks, first, second, rate, correction, feedback, errors, inputs, targets, positions
):
    """F³ if the error is the delayed one, else DFA: all is one graph, in whose order the compiler is
    free."""
    x = inputs.index_select(0, positions)
    pull_backs = []
    for hidden, parameters in zip(network.hidden, blocks):
        x, pull_back = torch.func.vjp(partial(at, hidden, x), parameters)
        pull_backs.append(pull_back)
    difference = network.head.activation(torch.nn.functional.linear(x, *blocks[-1]))
    difference = difference - targets.index_select(0, positions)
    error = errors.index_select(0, positions) if delayed else -difference
    gradients = [it for back, matrix in zip(pull_backs, feedback) for it in back(error @ matrix)[0]]
    delta_z = network.head.gradient(difference)
    gradients += [delta_z.t() @ x, delta_z.sum(0)]
    adam_in_place(flat(blocks), gradients, first, second, rate, correction)
    if delayed:
        errors.index_copy_(0, positions, -difference)


def at(hidden, x, parameters):
    return hidden(parameters, x)


def backpropagation_step(
    network, blocks, first, second, rate, correction, _feedback, _errors, inputs, targets, positions
):
    x = inputs.index_select(0, positions)
    batch_targets = targets.index_select(0, positions)

    def loss(blocks):
        return network.head.mean_loss(network.forward(blocks, x), batch_targets)

    # torch.func inside the compiled function, rather than `backward` of a compiled loss: forward
    # pass, gradients and Adam become one graph (a third faster with ten layers).
    gradients = torch.func.grad(loss)(blocks)
    adam_in_place(flat(blocks), flat(gradients), first, second, rate, correction)


def trainer(network, train, chosen):
    """The trainer that the command line asks for."""
    if chosen.compile:
        return Compiled(network, train, chosen)
    backpropagation = Backpropagation if chosen.model == "vit" else ClosedBackpropagation
    return {"f3": F3, "dfa": Dfa, "bp": backpropagation}[chosen.algorithm](network, train, chosen)


def main():
    chosen = rival_common.arguments(__doc__.split("\n\n")[0], ["f3", "dfa", "bp"], compiles=True)
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    train, _ = rival_data.read(chosen.data, chosen.data_set, chosen.samples)
    network = Network(chosen, train.inputs.shape[1], train.targets.shape[1])
    rival_common.train(trainer(network, train, chosen), chosen)


if __name__ == "__main__":
    main()
