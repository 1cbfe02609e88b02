"""JAX's side of the benchmark: F³, DFA and backpropagation on fully connected and convolutional networks
and on a Vision Transformer.

Written to be fast: an epoch is one jitted `lax.scan` over its batches, whose carry (parameters, Adam
moments, stored errors) lives in donated buffers that XLA updates in place; a smaller last batch is
one more jitted step. Weights are [n, m], as PyTorch has them: with [m, n] XLA's product for the
gradient of 784 x 500 took twice the time. Prints the seconds of each training epoch, one a line.

Legend: N samples, b batch, C outputs, x [b, m] inputs and h [b, n] outputs of a layer, e [b, C] the
samples' errors of the epoch before, B [C, n] feedback; in a transformer block t tokens of width w, and
a heads of size s.
"""

import math
import os
from functools import partial

# Without this XLA copies every weight matrix of backpropagation in every step, as it does not see
# that the step's last reader of the old weights is done when they are overwritten.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_copy_insertion_use_region_analysis=true"
)

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import rival_common
import rival_data

BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON


class Trainer:
    """Epochs of a network. An algorithm's `gradients(network, blocks, feedback, e, x, y*)` gives the
    gradients of all blocks and the samples' new errors (None where the algorithm keeps none)."""

    def __init__(self, network, train, chosen):
        self.network, self.loss = network, network.head.loss
        self.inputs, self.targets = jnp.asarray(train.inputs), jnp.asarray(train.targets)
        self.batch_size = chosen.batch_size
        parameters = jax.tree.map(jnp.asarray, network.blocks)
        bp, f3 = chosen.algorithm == "bp", chosen.algorithm == "f3"
        self.feedback = [] if bp else jax.tree.map(jnp.asarray, network.feedback)
        errors = jnp.array(self.targets) if f3 else None
        self.state = (parameters, zeros_like(parameters), zeros_like(parameters), jnp.float32(0), errors)
        gradients = partial(backpropagation_gradients if bp else feedback_gradients, network)
        rate = rival_common.learning_rate(chosen.model, chosen.data_set)
        self.run, self.step = training(gradients, rate)

    def epoch(self, order):
        batches, rest = divmod(len(order), self.batch_size)
        order = order.astype("int32")
        constants = (self.feedback, self.inputs, self.targets)
        if batches:
            whole = order[: batches * self.batch_size].reshape(batches, self.batch_size)
            self.state = self.run(self.state, whole, constants)
        if rest:
            self.state = self.step(self.state, order[-rest:], constants)
        jax.block_until_ready(self.state)

    def logits(self):
        run = jax.jit(self.network.forward)
        starts = range(0, len(self.inputs), 1000)
        return np.concatenate([run(self.state[0], self.inputs[i : i + 1000]) for i in starts])


def zeros_like(parameters):
    return jax.tree.map(jnp.zeros_like, parameters)


def training(gradients, rate):
    """Two jitted functions of (state, positions, constants): over many batches, and over one."""

    def step(state, positions, constants):
        parameters, first, second, steps, errors = state
        feedback, inputs, targets = constants
        e = None if errors is None else errors[positions]
        found, new_errors = gradients(parameters, feedback, e, inputs[positions], targets[positions])
        parameters, first, second, steps = adam(parameters, found, first, second, steps, rate)
        if errors is not None:
            errors = errors.at[positions].set(
                new_errors, unique_indices=True, mode="promise_in_bounds"
            )
        return parameters, first, second, steps, errors

    @partial(jax.jit, donate_argnums=0)
    def run(state, batches, constants):
        return lax.scan(lambda s, positions: (step(s, positions, constants), None), state, batches)[0]

    return run, jax.jit(step, donate_argnums=0)


def adam(parameters, gradients, first, second, steps, rate):
    """torch.optim.Adam's step; `steps` is a float32 scalar, so 1 - β^t is taken by expm1."""
    steps = steps + 1
    rate = rate / -jnp.expm1(steps * math.log(BETA1))
    correction = lax.rsqrt(-jnp.expm1(steps * math.log(BETA2)))
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * (g * g), second, gradients)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) * correction + EPSILON), parameters, first, second
    )
    return parameters, first, second, steps


def linear(x, weight, bias=None):
    product = lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ())))
    return product if bias is None else product + bias


def dense(parameters, x):
    return jnp.tanh(linear(x, *parameters))


def transformer_block(parameters, x):
    """u + MLP(LN(u)) with u = x + Attention(LN(x)), the tokens side by side in a row: [b, t·w] to
    [b, t·w]. The first block has two parameters more and makes the tokens out of images [b, 784]."""
    *embedding, scale, shift, qkv, projection, projection_bias = parameters[:-6]
    mlp_scale, mlp_shift, expansion, expansion_bias, contraction, contraction_bias = parameters[-6:]
    if embedding:
        x = linear(patches(x), *embedding)
    x = x.reshape(-1, rival_common.TOKENS, rival_common.TOKEN_WIDTH)
    u = x + linear(attention(norm(x, scale, shift), qkv), projection, projection_bias)
    hidden = jnp.tanh(linear(norm(u, mlp_scale, mlp_shift), expansion, expansion_bias))
    return (u + linear(hidden, contraction, contraction_bias)).reshape(len(x), -1)


def patches(images):
    """Pixels [b, 784] with those of a patch side by side, row by row: [b, 784]."""
    side, patch = rival_common.IMAGE_SIDE, rival_common.PATCH_SIDE
    cut = images.reshape(-1, side // patch, patch, side // patch, patch)
    return cut.swapaxes(2, 3).reshape(images.shape)


def norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * lax.rsqrt(variance + rival_common.NORM_EPSILON) * scale + shift


def attention(x, qkv):
    """What the heads attend to, side by side: [b, t, w] to [b, t, a·s].

    Three products for queries, keys and values, whose gradients need not be put together, were as fast
    as one; jax.nn.dot_product_attention took twice the time.
    """
    b, t, w = x.shape
    a, s = rival_common.HEADS, rival_common.HEAD_SIZE
    query, key, value = qkv.reshape(3, a * s, w)
    query, key, value = (
        linear(x, weight).reshape(b, t, a, s) for weight in (query * s**-0.5, key, value)
    )
    weights = jax.nn.softmax(jnp.einsum("btas,buas->batu", query, key))
    return jnp.einsum("batu,buas->btas", weights, value).reshape(b, t, a * s)


def convolution_block(parameters, x):
    """tanh of the largest of each 2 x 2 pixels of a convolution: [b, r·s·m] to [b, r·s·n/4].

    That is the largest tanh, for a quarter of the work (it grows with its argument). The largest is
    taken by slices: the gradient of `reduce_window` took ten times as long.
    """
    weight, bias = parameters
    b, m = len(x), weight.shape[2]
    side = round((x.shape[1] // m) ** 0.5)
    z = convolution(weight, x.reshape(b, side, side, m))
    rows = jnp.maximum(z[:, ::2], z[:, 1::2])
    pooled = jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])
    return jnp.tanh(pooled + bias).reshape(b, -1)


CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


@jax.custom_vjp
def convolution(weight, images):
    """Images [b, r, s, m] with a weight [k, k, m, n] to [b, r, s, n]."""
    return lax.conv_general_dilated(images, weight, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST)


def convolution_kept(weight, images):
    return convolution(weight, images), (weight, images)


def convolution_gradients(kept, delta):
    """The weight's gradient is a convolution of images with δ, samples in the place of channels. Left to
    JAX it is one in an order of dimensions for which XLA has no fast kernel (a hundred times as long)."""
    weight, images = kept
    k, _, m, n = weight.shape
    pad = [(k // 2, k // 2)] * 2
    over = partial(lax.conv_general_dilated, window_strides=(1, 1), padding=pad, dimension_numbers=CHANNELS_LAST)
    if m < n // 2:
        delta_weight = over(images.transpose(3, 1, 2, 0), delta.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)
    else:  # the other way round: more rows for the product inside
        delta_weight = over(delta.transpose(3, 1, 2, 0), images.transpose(1, 2, 0, 3))
        delta_weight = jnp.flip(delta_weight, (1, 2)).transpose(1, 2, 3, 0)
    return delta_weight, over(delta, jnp.flip(weight, (0, 1)).swapaxes(2, 3))


convolution.defvjp(convolution_kept, convolution_gradients)


class Sigmoid:
    """Sigmoid outputs and binary cross-entropy."""

    loss = staticmethod(rival_common.binary_cross_entropy)
    activation = staticmethod(jax.nn.sigmoid)

    @staticmethod
    def mean_loss(z, targets):
        return jnp.mean(jnp.maximum(z, 0) - z * targets + jnp.log1p(jnp.exp(-jnp.abs(z))))

    @staticmethod
    def gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / difference.size


class Softmax:
    """Logits and cross-entropy; y is their softmax."""

    loss = staticmethod(rival_common.cross_entropy)
    activation = staticmethod(jax.nn.softmax)

    @staticmethod
    def mean_loss(z, targets):
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(z), axis=1))

    @staticmethod
    def gradient(difference):
        return difference / len(difference)


class Identity:
    """Linear outputs and mean squared error."""

    loss = staticmethod(rival_common.squared_error)
    activation = staticmethod(lambda z: z)

    @staticmethod
    def mean_loss(z, targets):
        return jnp.mean((z - targets) ** 2)

    @staticmethod
    def gradient(difference):
        return difference * (2 / difference.size)


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
        self.blocks, self.feedback = weights

    def forward(self, blocks, x):
        """Outputs [b, C] before the output activation."""
        for hidden, parameters in zip(self.hidden, blocks):
            x = hidden(parameters, x)
        return linear(x, *blocks[-1])


def feedback_gradients(network, blocks, feedback, e, x, targets):
    """F³ if there is an error of the epoch before, else DFA: all is one graph, in whose order XLA is
    free."""
    pull_backs = []
    for hidden, parameters in zip(network.hidden, blocks):
        x, pull_back = jax.vjp(partial(hidden, x=x), parameters)
        pull_backs.append(pull_back)
    difference = network.head.activation(linear(x, *blocks[-1])) - targets
    error = -difference if e is None else e
    found = [pull_back(error @ matrix)[0] for pull_back, matrix in zip(pull_backs, feedback)]
    delta_z = network.head.gradient(difference)
    found.append([delta_z.T @ x, delta_z.sum(0)])
    return found, -difference


def backpropagation_gradients(network, blocks, _feedback, _e, x, targets):
    return jax.grad(lambda blocks: network.head.mean_loss(network.forward(blocks, x), targets))(blocks), None


def main():
    chosen = rival_common.arguments(__doc__.split("\n\n")[0], ["f3", "dfa", "bp"], compiles=False)
    train, _ = rival_data.read(chosen.data, chosen.data_set, chosen.samples)
    network = Network(chosen, train.inputs.shape[1], train.targets.shape[1])
    rival_common.train(Trainer(network, train, chosen), chosen)


if __name__ == "__main__":
    main()
