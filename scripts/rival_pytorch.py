"""PyTorch's side of the benchmark: F³ and backpropagation on fully connected networks and on a Vision
Transformer.

Written to be fast. The data are tensors in memory (no DataLoader). Eager F³ runs under no_grad: fully
connected layers have closed-form gradients in buffers that are reused, and oneDNN's product with bias
and tanh in one call; transformer blocks have autograd inside the block; each layer's Adam comes right
behind its gradient, while that is in the cache. Eager backpropagation is autograd. With `--compile`
one batch's whole step, Adam included, is one function for torch.compile. Prints the seconds of each
training epoch, one a line.

Legend: b batch, m inputs and n outputs of a layer, C outputs of the network, x [b, m] inputs,
h [b, n] outputs, e [b, C] the samples' errors of the epoch before, B [C, n] feedback; in a transformer
block t tokens of width w, and a heads of size s.
"""

import ctypes
import math
import sys
from functools import partial

import torch
from torch.nn import functional

import rival_common

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


class LocalLinear:
    """x Wᵀ + b, which learns from a given δz [b, n]: gradients in closed form, then its own Adam."""

    def __init__(self, parameters, rate):
        self.weight, self.bias = parameters
        self.gradients = [torch.empty_like(parameter) for parameter in parameters]
        self.adam = Adam(parameters, rate)

    def learn(self, x, delta_z):
        torch.mm(delta_z.t(), x, out=self.gradients[0])
        torch.sum(delta_z, 0, out=self.gradients[1])
        self.adam.step(self.gradients)


class LocalDense(LocalLinear):
    """tanh(x Wᵀ + b), which learns from a given δh [b, n]; h [b, n] is from before the step."""

    def learn(self, x, delta_h):
        h = tanh_layer(x, self.weight, self.bias)
        super().learn(x, torch.ops.aten.tanh_backward(delta_h, h))
        return h


class LocalTransformer:
    """A transformer block, which learns from a given δh [b, t·w]: autograd inside it, then its own
    Adam; h [b, t·w] is from before the step."""

    def __init__(self, parameters, rate):
        self.parameters = [parameter.requires_grad_() for parameter in parameters]
        self.adam = Adam(parameters, rate)

    def learn(self, x, delta_h):
        with torch.enable_grad():
            h = transformer_block(self.parameters, x)
        self.adam.step(contiguous(torch.autograd.grad(h, self.parameters, delta_h)))
        return h.detach()


def contiguous(gradients):
    """The fused kernel goes through memory and not by strides, which autograd chooses as it likes."""
    return [gradient.contiguous() for gradient in gradients]


def dense(parameters, x):
    return functional.linear(x, *parameters).tanh()


def transformer_block(parameters, x):
    """u + MLP(LN(u)) with u = x + Attention(LN(x)), the tokens side by side in a row: [b, t·w] to
    [b, t·w]. The first block has two parameters more and makes the tokens out of images [b, 784]."""
    *embedding, scale, shift, qkv, projection, projection_bias = parameters[:-6]
    mlp_scale, mlp_shift, expansion, expansion_bias, contraction, contraction_bias = parameters[-6:]
    if embedding:
        x = functional.linear(patches(x), *embedding)
    x = x.view(-1, rival_common.TOKENS, rival_common.TOKEN_WIDTH)
    u = x + attention(norm(x, scale, shift), qkv, projection) + projection_bias
    hidden = functional.linear(norm(u, mlp_scale, mlp_shift), expansion, expansion_bias).tanh()
    return (u + functional.linear(hidden, contraction, contraction_bias)).flatten(1)


def patches(images):
    """Pixels [b, 784] with those of a patch side by side, row by row: [b, 784]."""
    side, patch = rival_common.IMAGE_SIDE, rival_common.PATCH_SIDE
    return images.view(-1, side // patch, patch, side // patch, patch).transpose(2, 3).flatten(1)


def norm(x, scale, shift):
    return functional.layer_norm(x, x.shape[-1:], scale, shift, rival_common.NORM_EPSILON)


def attention(x, qkv, projection):
    """What the heads attend to, projected: [b, t, w] to [b, t, w].

    Each head is a matrix of a batched product, so that no product's input or output has to be copied
    from one order to another. That was faster here than scaled_dot_product_attention, and three
    products for queries, keys and values were faster than one, whose gradient has to be put together.
    """
    b, t, w = x.shape
    a, s = rival_common.HEADS, rival_common.HEAD_SIZE
    copies = x.reshape(1, b * t, w).expand(a, -1, -1)
    query, key, value = qkv.view(3, a, s, w).unbind()
    query, key, value = (
        torch.bmm(copies, weight.transpose(1, 2)).view(a * b, t, s)
        for weight in (query * s**-0.5, key, value)
    )
    attended = torch.bmm(torch.bmm(query, key.transpose(1, 2)).softmax(-1), value)  # [a·b, t, s]
    # Contiguous, as torch.compile (2.11.0) reads a view only after Adam has changed the parameter.
    projection = projection.view(w, a, s).permute(1, 2, 0).contiguous()
    return torch.bmm(attended.view(a, b * t, s), projection).sum(0).view(b, t, w)


class Mlp:
    """A fully connected network; `blocks` are weight and bias of each layer."""

    loss = staticmethod(rival_common.binary_cross_entropy)
    mean_loss = staticmethod(functional.binary_cross_entropy_with_logits)
    probabilities = staticmethod(torch.sigmoid)

    def __init__(self, chosen):
        blocks, feedback = rival_common.mlp_weights(chosen.hidden, chosen.width)
        self.blocks, self.feedback = [tensors(block) for block in blocks], tensors(feedback)
        self.hidden = [dense] * chosen.hidden

    @staticmethod
    def output_gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / difference.numel()


class Vit:
    """The Vision Transformer; `blocks` are the parameters of what learns together in F³."""

    loss = staticmethod(rival_common.cross_entropy)
    mean_loss = staticmethod(functional.cross_entropy)
    probabilities = staticmethod(partial(torch.softmax, dim=1))

    def __init__(self, chosen):
        blocks, feedback = rival_common.vit_weights()
        self.blocks, self.feedback = [tensors(block) for block in blocks], tensors(feedback)
        self.hidden = [transformer_block] * rival_common.TRANSFORMER_BLOCKS + [dense]

    @staticmethod
    def output_gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / len(difference)


def forward(network, blocks, x):
    for hidden, parameters in zip(network.hidden, blocks):
        x = hidden(parameters, x)
    return functional.linear(x, *blocks[-1])


class Trainer:
    """The batches of an epoch; what happens to one is the subclass's `train_batch`."""

    def __init__(self, network, inputs, targets, chosen):
        self.network, self.loss = network, network.loss
        self.inputs, self.targets = torch.from_numpy(inputs), torch.from_numpy(targets)
        self.batch_size = chosen.batch_size
        self.rate = rival_common.LEARNING_RATES[chosen.model]

    def epoch(self, order):
        for positions in torch.from_numpy(order).split(self.batch_size):
            self.train_batch(positions)

    def batch(self, positions):
        return self.inputs.index_select(0, positions), self.targets.index_select(0, positions)

    @torch.no_grad()
    def logits(self):
        parts = self.inputs.split(1000)
        return torch.cat([forward(self.network, self.network.blocks, x) for x in parts]).numpy()


class F3(Trainer):
    """Hidden layers step along e·B; the output layer along the gradient of the mean loss."""

    def __init__(self, network, inputs, targets, chosen):
        super().__init__(network, inputs, targets, chosen)
        self.errors = self.targets.clone()
        kinds = {dense: LocalDense, transformer_block: LocalTransformer}
        self.hidden = [
            kinds[hidden](parameters, self.rate)
            for hidden, parameters in zip(network.hidden, network.blocks)
        ]
        self.output = LocalLinear(network.blocks[-1], self.rate)

    @torch.no_grad()
    def train_batch(self, positions):
        x, targets = self.batch(positions)
        error = self.errors.index_select(0, positions)
        for layer, feedback in zip(self.hidden, self.network.feedback):
            x = layer.learn(x, torch.mm(error, feedback))
        y = self.network.probabilities(functional.linear(x, self.output.weight, self.output.bias))
        difference = y.sub_(targets)
        self.output.learn(x, self.network.output_gradient(difference))
        self.errors.index_copy_(0, positions, difference.neg_())


class Backpropagation(Trainer):
    def __init__(self, network, inputs, targets, chosen):
        super().__init__(network, inputs, targets, chosen)
        self.parameters = [parameter.requires_grad_() for block in network.blocks for parameter in block]
        self.adam = Adam(self.parameters, self.rate)

    def train_batch(self, positions):
        x, targets = self.batch(positions)
        loss = self.network.mean_loss(forward(self.network, self.network.blocks, x), targets)
        gradients = contiguous(torch.autograd.grad(loss, self.parameters))
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

    def __init__(self, network, inputs, targets, chosen):
        super().__init__(network, inputs, targets, chosen)
        self.errors = self.targets.clone()
        self.state = AdamState([parameter for block in network.blocks for parameter in block], self.rate)
        step = {"f3": f3_step, "bp": backpropagation_step}[chosen.algorithm]
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


def f3_step(
    network, blocks, first, second, rate, correction, feedback, errors, inputs, targets, positions
):
    x = inputs.index_select(0, positions)
    error = errors.index_select(0, positions)
    gradients = []
    for hidden, parameters, matrix in zip(network.hidden, blocks, feedback):
        x_now = x
        x, pull_back = torch.func.vjp(lambda p: hidden(p, x_now), parameters)
        gradients += pull_back(error @ matrix)[0]
    weight, bias = blocks[-1]
    difference = network.probabilities(functional.linear(x, weight, bias))
    difference = difference - targets.index_select(0, positions)
    delta_z = network.output_gradient(difference)
    gradients += [delta_z.t() @ x, delta_z.sum(0)]
    adam_in_place(flat(blocks), gradients, first, second, rate, correction)
    errors.index_copy_(0, positions, -difference)


def backpropagation_step(
    network, blocks, first, second, rate, correction, _feedback, _errors, inputs, targets, positions
):
    x = inputs.index_select(0, positions)
    batch_targets = targets.index_select(0, positions)

    def loss(blocks):
        return network.mean_loss(forward(network, blocks, x), batch_targets)

    # torch.func inside the compiled function, rather than `backward` of a compiled loss: forward
    # pass, gradients and Adam become one graph (a third faster with ten layers).
    gradients = torch.func.grad(loss)(blocks)
    adam_in_place(flat(blocks), flat(gradients), first, second, rate, correction)


def main():
    chosen = rival_common.arguments(__doc__.split("\n\n")[0], compiles=True)
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    inputs, targets = rival_common.training_set(chosen.data, chosen.samples)
    network = {"mlp": Mlp, "vit": Vit}[chosen.model](chosen)
    kind = Compiled if chosen.compile else {"f3": F3, "bp": Backpropagation}[chosen.algorithm]
    rival_common.train(kind(network, inputs, targets, chosen), chosen)


if __name__ == "__main__":
    main()
