"""PyTorch's side of the benchmark: F³ and backpropagation on fully connected networks.

Written to be fast. The data are tensors in memory (no DataLoader). Eager F³ runs under no_grad with
closed-form gradients in buffers that are reused, oneDNN's product with bias and tanh in one call,
and each layer's Adam right behind its gradient, while that is in the cache; eager backpropagation is
autograd. With `--compile` one batch's whole step, Adam included, is one function for torch.compile.
Prints the seconds of each training epoch, one a line.

Legend: b batch, m inputs and n outputs of a layer, C outputs of the network, x [b, m] inputs,
h [b, n] outputs, e [b, C] the samples' errors of the epoch before, B [C, n] feedback.
"""

import math

import torch
from torch.nn import functional

import rival_common

RATE = rival_common.MLP_LEARNING_RATE
BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON


def tensors(arrays):
    return [torch.from_numpy(array.copy()) for array in arrays]


class Adam:
    """The fused kernel of torch.optim.Adam, without the Python that torch.optim puts around it."""

    def __init__(self, parameters, rate):
        self.parameters = [parameter.detach() for parameter in parameters]
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.steps = torch.zeros([])
        self.rate = rate

    def step(self, gradients):
        self.steps += 1
        torch._fused_adam_(
            self.parameters, gradients, self.first, self.second, [], [self.steps] * len(gradients),
            lr=self.rate, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=EPSILON,
            amsgrad=False, maximize=False,
        )


def tanh_layer(x, weight, bias):
    """tanh(x Wᵀ + b) without a graph; by oneDNN in one call where this build of PyTorch has that."""
    if torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "tanh", [], "")
    return functional.linear(x, weight, bias).tanh_()


class LocalDense:
    """A layer that learns from a given δz: gradients in closed form, then its own Adam."""

    def __init__(self, weight, bias, rate):
        self.weight, self.bias = weight, bias
        self.gradients = [torch.empty_like(weight), torch.empty_like(bias)]
        self.adam = Adam([weight, bias], rate)

    def learn(self, x, delta_z):
        torch.mm(delta_z.t(), x, out=self.gradients[0])
        torch.sum(delta_z, 0, out=self.gradients[1])
        self.adam.step(self.gradients)


class Trainer:
    """The batches of an epoch; what happens to one is the subclass's `train_batch`."""

    loss = staticmethod(rival_common.binary_cross_entropy)

    def __init__(self, inputs, targets, chosen):
        self.inputs, self.targets = torch.from_numpy(inputs), torch.from_numpy(targets)
        self.batch_size = chosen.batch_size

    def epoch(self, order):
        for positions in torch.from_numpy(order).split(self.batch_size):
            self.train_batch(positions)

    def batch(self, positions):
        return self.inputs.index_select(0, positions), self.targets.index_select(0, positions)


class Mlp(Trainer):
    """A fully connected network; `layers` are weight and bias of each."""

    def __init__(self, inputs, targets, chosen):
        super().__init__(inputs, targets, chosen)
        layers, feedback = rival_common.mlp_weights(chosen.hidden, chosen.width)
        self.layers = [tensors(layer) for layer in layers]
        self.feedback = tensors(feedback)

    @torch.no_grad()
    def logits(self):
        return forward(self.layers, self.inputs).numpy()


def forward(layers, x):
    for weight, bias in layers[:-1]:
        x = functional.linear(x, weight, bias).tanh()
    return functional.linear(x, *layers[-1])


class F3(Mlp):
    """Hidden layers step along e·B; the output layer along the gradient of the mean loss."""

    def __init__(self, inputs, targets, chosen):
        super().__init__(inputs, targets, chosen)
        self.errors = self.targets.clone()
        *self.hidden, self.output = [LocalDense(*layer, RATE) for layer in self.layers]

    @torch.no_grad()
    def train_batch(self, positions):
        x, targets = self.batch(positions)
        error = self.errors.index_select(0, positions)
        for layer, feedback in zip(self.hidden, self.feedback):
            h = tanh_layer(x, layer.weight, layer.bias)
            layer.learn(x, torch.ops.aten.tanh_backward(torch.mm(error, feedback), h))
            x = h
        y = functional.linear(x, self.output.weight, self.output.bias).sigmoid_()
        difference = y.sub_(targets)
        self.output.learn(x, difference / difference.numel())
        self.errors.index_copy_(0, positions, difference.neg_())


class Backpropagation(Mlp):
    def __init__(self, inputs, targets, chosen):
        super().__init__(inputs, targets, chosen)
        self.parameters = [parameter.requires_grad_() for layer in self.layers for parameter in layer]
        self.adam = Adam(self.parameters, RATE)

    def train_batch(self, positions):
        x, targets = self.batch(positions)
        loss = functional.binary_cross_entropy_with_logits(forward(self.layers, x), targets)
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            self.adam.step(gradients)


def compiled(function):
    """One kernel sequence without Python in between; shapes are fixed, a smaller last batch is
    compiled of its own. Inductor's C++ wrapper costs less per call than its Python one."""
    import torch._inductor.config as settings

    settings.cpp_wrapper = True
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


class Compiled(Mlp):
    """One batch's step as one compiled function."""

    def __init__(self, inputs, targets, chosen):
        super().__init__(inputs, targets, chosen)
        self.parameters = [parameter for layer in self.layers for parameter in layer]
        self.errors = self.targets.clone()
        self.state = AdamState(self.parameters, RATE)
        self.step = compiled({"f3": f3_step, "bp": backpropagation_step}[chosen.algorithm])

    @torch.no_grad()
    def train_batch(self, positions):
        rate, correction = self.state.scalars()
        self.step(
            self.parameters, self.state.first, self.state.second, rate, correction,
            self.feedback, self.errors, self.inputs, self.targets, positions,
        )


def pairs(parameters):
    return list(zip(parameters[::2], parameters[1::2]))


def f3_step(parameters, first, second, rate, correction, feedback, errors, inputs, targets, positions):
    x = inputs.index_select(0, positions)
    error = errors.index_select(0, positions)
    *hidden, output = pairs(parameters)
    gradients = []
    for (weight, bias), matrix in zip(hidden, feedback):
        h = functional.linear(x, weight, bias).tanh()
        delta_z = (error @ matrix) * (1 - h * h)
        gradients += [delta_z.t() @ x, delta_z.sum(0)]
        x = h
    difference = functional.linear(x, *output).sigmoid() - targets.index_select(0, positions)
    delta_z = difference / difference.numel()
    gradients += [delta_z.t() @ x, delta_z.sum(0)]
    adam_in_place(parameters, gradients, first, second, rate, correction)
    errors.index_copy_(0, positions, -difference)


def backpropagation_step(
    parameters, first, second, rate, correction, _feedback, _errors, inputs, targets, positions
):
    x = inputs.index_select(0, positions)
    batch_targets = targets.index_select(0, positions)

    def loss(parameters):
        logits = forward(pairs(parameters), x)
        return functional.binary_cross_entropy_with_logits(logits, batch_targets)

    # torch.func inside the compiled function, rather than `backward` of a compiled loss: forward
    # pass, gradients and Adam become one graph (a third faster with ten layers).
    adam_in_place(parameters, torch.func.grad(loss)(parameters), first, second, rate, correction)


def main():
    chosen = rival_common.arguments(__doc__.split("\n")[0], compiles=True)
    torch.set_num_threads(chosen.threads)
    inputs, targets = rival_common.training_set(chosen.data, chosen.samples)
    kind = Compiled if chosen.compile else {"f3": F3, "bp": Backpropagation}[chosen.algorithm]
    rival_common.train(kind(inputs, targets, chosen), chosen)


if __name__ == "__main__":
    main()
