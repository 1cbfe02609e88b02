"""The networks of PyTorch's side of the benchmark: as functions of their parameters, for autograd and
torch.compile, and as blocks that learn by themselves, for eager F³, DFA and backpropagation.

A block that learns by itself has `forward(x)`, without a graph across blocks, which gives the output
[b, n] and what `learn` needs, and `learn(kept, δh)`, which takes the gradient of that output, steps the
block's parameters, and can give the gradient of x.

Legend: b batch, m inputs and n outputs of a layer, C outputs of the network, x [b, m] inputs,
h [b, n] outputs; in a transformer block t tokens of width w, and a heads of size s; images of r x s
pixels with c channels.
"""

from functools import partial

import numpy as np
import torch
from torch.nn import functional

import rival_common

BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON
aten = torch.ops.aten


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


def in_order_of(parameters, gradients):
    """Gradients that lie in memory as their parameters do: the fused kernel goes through memory and not
    by strides, which autograd and oneDNN choose as they like."""
    return [
        gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)
        for parameter, gradient in zip(parameters, gradients)
    ]


def tanh_layer(x, weight, bias):
    """tanh(x Wᵀ + b) without a graph; by oneDNN in one call where this build of PyTorch has that."""
    if torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "tanh", [], "")
    return functional.linear(x, weight, bias).tanh_()


class LocalLinear:
    """x Wᵀ + b; gradients in closed form, in buffers that are reused, then its own Adam."""

    def __init__(self, parameters, rate):
        self.weight, self.bias = parameters
        self.gradients = [torch.empty_like(parameter) for parameter in parameters]
        self.adam = Adam(parameters, rate)

    def forward(self, x):
        return functional.linear(x, self.weight, self.bias), x

    def learn(self, x, delta_z, gives_delta_x=False):
        delta_x = torch.mm(delta_z, self.weight) if gives_delta_x else None
        torch.mm(delta_z.t(), x, out=self.gradients[0])
        torch.sum(delta_z, 0, out=self.gradients[1])
        self.adam.step(self.gradients)
        return delta_x


class LocalDense(LocalLinear):
    """tanh(x Wᵀ + b)"""

    def forward(self, x):
        h = tanh_layer(x, self.weight, self.bias)
        return h, (x, h)

    def learn(self, kept, delta_h, gives_delta_x=False):
        x, h = kept
        return super().learn(x, aten.tanh_backward(delta_h, h), gives_delta_x)


class LocalConvolution:
    """A convolution, tanh and pooling; gradients in closed form, then its own Adam."""

    def __init__(self, parameters, rate):
        self.weight, self.bias = parameters
        self.adam = Adam(parameters, rate)

    def forward(self, x):
        images = as_images(x, self.weight.shape[1])
        z = functional.conv2d(images, self.weight, self.bias, padding="same")
        pooled, places = aten.max_pool2d_with_indices(z, [2, 2], [2, 2])
        h = pooled.tanh_()
        return flattened(h), (images, z, places, h)

    def learn(self, kept, delta_h, gives_delta_x=False):
        images, z, places, h = kept
        delta_pooled = aten.tanh_backward(as_images(delta_h, h.shape[1]), h)
        delta_z = aten.max_pool2d_with_indices_backward(
            delta_pooled, z, [2, 2], [2, 2], [0, 0], [1, 1], False, places
        )
        around = rival_common.KERNEL // 2
        delta_x, *gradients = aten.convolution_backward(
            delta_z, images, self.weight, self.bias.shape, [1, 1], [around, around], [1, 1],
            False, [0, 0], 1, [gives_delta_x, True, True],
        )
        self.adam.step(in_order_of(self.adam.parameters, gradients))
        return flattened(delta_x) if gives_delta_x else None


class LocalTransformer:
    """A transformer block: autograd inside it, then its own Adam."""

    def __init__(self, parameters, rate):
        self.parameters = [parameter.requires_grad_() for parameter in parameters]
        self.adam = Adam(parameters, rate)

    def forward(self, x):
        with torch.enable_grad():
            h = transformer_block(self.parameters, x)
        return h.detach(), h

    def learn(self, h, delta_h):
        gradients = torch.autograd.grad(h, self.parameters, delta_h)
        self.adam.step(in_order_of(self.parameters, gradients))


def dense(parameters, x):
    return functional.linear(x, *parameters).tanh()


def as_images(x, channels):
    """Rows [b, r·s·c] of square images as [b, c, r, s], channels last in memory."""
    side = round((x.shape[1] // channels) ** 0.5)
    return x.view(-1, side, side, channels).permute(0, 3, 1, 2)


def flattened(images):
    """The way back."""
    return images.permute(0, 2, 3, 1).flatten(1)


def convolution_block(parameters, x):
    """tanh of the largest of each 2 x 2 pixels of a convolution: [b, r·s·m] to [b, r·s·n/4].

    That is the largest tanh, for a quarter of the work (it grows with its argument).
    """
    weight, bias = parameters
    z = functional.conv2d(as_images(x, weight.shape[1]), weight, bias, padding="same")
    return flattened(functional.max_pool2d(z, 2).tanh())


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


LOCAL = {dense: LocalDense, convolution_block: LocalConvolution, transformer_block: LocalTransformer}


class Sigmoid:
    """Sigmoid outputs and binary cross-entropy."""

    loss = staticmethod(rival_common.binary_cross_entropy)
    mean_loss = staticmethod(functional.binary_cross_entropy_with_logits)
    activation = staticmethod(torch.sigmoid)

    @staticmethod
    def gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / difference.numel()


class Softmax:
    """Logits and cross-entropy; y is their softmax."""

    loss = staticmethod(rival_common.cross_entropy)
    mean_loss = staticmethod(functional.cross_entropy)
    activation = staticmethod(partial(torch.softmax, dim=1))

    @staticmethod
    def gradient(difference):
        return difference / len(difference)


class Identity:
    """Linear outputs and mean squared error."""

    loss = staticmethod(rival_common.squared_error)
    mean_loss = staticmethod(functional.mse_loss)
    activation = staticmethod(lambda z: z)

    @staticmethod
    def gradient(difference):
        return difference * (2 / difference.numel())


class Network:
    """`blocks` are the parameters of what learns together in F³, `hidden` the functions of all but the
    last, `feedback` the matrices [C, n] of those, `head` what comes behind the output layer."""

    def __init__(self, chosen, inputs, outputs):
        regression = rival_common.is_regression(chosen.data_set)
        self.head = {"vit": Softmax}.get(chosen.model, Identity if regression else Sigmoid)
        if chosen.model == "mlp":
            weights = rival_common.mlp_weights(inputs, chosen.hidden, chosen.width, outputs, regression)
            self.hidden = [dense] * chosen.hidden
        elif chosen.model == "vit":
            weights = rival_common.vit_weights()
            self.hidden = [transformer_block] * rival_common.TRANSFORMER_BLOCKS + [dense]
        else:
            weights = rival_common.cnn_weights()
            self.hidden = [convolution_block] * (len(rival_common.CHANNELS) - 1) + [dense]
        self.blocks, self.feedback = [tensors(block) for block in weights[0]], tensors(weights[1])

    def forward(self, blocks, x):
        """Outputs [b, C] before the output activation."""
        for hidden, parameters in zip(self.hidden, blocks):
            x = hidden(parameters, x)
        return functional.linear(x, *blocks[-1])


def tensors(arrays):
    """Copies; weights of convolutions [rows, columns, m, n] become [n, m, rows, columns], channels last
    in memory."""
    return [
        torch.from_numpy(np.ascontiguousarray(array.transpose(3, 0, 1, 2)).copy()).permute(0, 3, 1, 2)
        if array.ndim == 4 else torch.from_numpy(array.copy())
        for array in arrays
    ]
