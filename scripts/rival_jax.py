"""JAX's side of the benchmark: F³ and backpropagation on fully connected networks and on a Vision
Transformer.

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

BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON


class Trainer:
    """Epochs of a network. An algorithm's `gradients(network, blocks, feedback, e, x, y*)` gives the
    gradients of all blocks and the samples' new errors (None where the algorithm keeps none)."""

    def __init__(self, network, inputs, targets, chosen):
        self.network, self.loss = network, network.loss
        self.inputs, self.targets = jnp.asarray(inputs), jnp.asarray(targets)
        self.batch_size = chosen.batch_size
        parameters = jax.tree.map(jnp.asarray, network.blocks)
        f3 = chosen.algorithm == "f3"
        self.feedback = jax.tree.map(jnp.asarray, network.feedback) if f3 else []
        errors = jnp.array(self.targets) if f3 else None
        self.state = (parameters, zeros_like(parameters), zeros_like(parameters), jnp.float32(0), errors)
        gradients = partial(f3_gradients if f3 else backpropagation_gradients, network)
        self.run, self.step = training(gradients, rival_common.LEARNING_RATES[chosen.model])

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
        run = jax.jit(partial(forward, self.network))
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


class Mlp:
    """A fully connected network; `blocks` are weight and bias of each layer."""

    loss = staticmethod(rival_common.binary_cross_entropy)
    probabilities = staticmethod(jax.nn.sigmoid)

    def __init__(self, chosen):
        self.blocks, self.feedback = rival_common.mlp_weights(chosen.hidden, chosen.width)
        self.hidden = [dense] * chosen.hidden

    @staticmethod
    def mean_loss(z, targets):
        return jnp.mean(jnp.maximum(z, 0) - z * targets + jnp.log1p(jnp.exp(-jnp.abs(z))))

    @staticmethod
    def output_gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / difference.size


class Vit:
    """The Vision Transformer; `blocks` are the parameters of what learns together in F³."""

    loss = staticmethod(rival_common.cross_entropy)
    probabilities = staticmethod(jax.nn.softmax)

    def __init__(self, _chosen):
        self.blocks, self.feedback = rival_common.vit_weights()
        self.hidden = [transformer_block] * rival_common.TRANSFORMER_BLOCKS + [dense]

    @staticmethod
    def mean_loss(z, targets):
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(z), axis=1))

    @staticmethod
    def output_gradient(difference):
        """∂L/∂z of the mean loss from y - y* [b, C]."""
        return difference / len(difference)


def forward(network, blocks, x):
    for hidden, parameters in zip(network.hidden, blocks):
        x = hidden(parameters, x)
    return linear(x, *blocks[-1])


def f3_gradients(network, blocks, feedback, e, x, targets):
    found = []
    for hidden, parameters, matrix in zip(network.hidden, blocks, feedback):
        x, pull_back = jax.vjp(partial(hidden, x=x), parameters)
        found.append(pull_back(e @ matrix)[0])
    difference = network.probabilities(linear(x, *blocks[-1])) - targets
    delta_z = network.output_gradient(difference)
    found.append([delta_z.T @ x, delta_z.sum(0)])
    return found, -difference


def backpropagation_gradients(network, blocks, _feedback, _e, x, targets):
    return jax.grad(lambda blocks: network.mean_loss(forward(network, blocks, x), targets))(blocks), None


def main():
    chosen = rival_common.arguments(__doc__.split("\n\n")[0], compiles=False)
    inputs, targets = rival_common.training_set(chosen.data, chosen.samples)
    network = {"mlp": Mlp, "vit": Vit}[chosen.model](chosen)
    rival_common.train(Trainer(network, inputs, targets, chosen), chosen)


if __name__ == "__main__":
    main()
