"""JAX's side of the benchmark: F³ and backpropagation on fully connected networks.

Written to be fast: an epoch is one jitted `lax.scan` over its batches, whose carry (parameters, Adam
moments, stored errors) lives in donated buffers that XLA updates in place; a smaller last batch is
one more jitted step. Weights are [n, m], as PyTorch has them: with [m, n] XLA's product for the
gradient of 784 x 500 took twice the time. Prints the seconds of each training epoch, one a line.

Legend: N samples, b batch, C outputs, x [b, m] inputs and h [b, n] outputs of a layer, e [b, C] the
samples' errors of the epoch before, B [C, n] feedback.
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
from jax import lax

import rival_common

BETA1, BETA2 = rival_common.BETAS
EPSILON = rival_common.EPSILON


class Trainer:
    """Epochs of any network whose `gradients(parameters, feedback, e, x, y*)` gives the gradients of
    the parameters and the samples' new errors (None where the algorithm keeps none)."""

    def __init__(self, gradients, parameters, feedback, inputs, targets, chosen, rate):
        self.inputs, self.targets = jnp.asarray(inputs), jnp.asarray(targets)
        self.feedback = jax.tree.map(jnp.asarray, feedback)
        self.batch_size = chosen.batch_size
        parameters = jax.tree.map(jnp.asarray, parameters)
        errors = jnp.array(self.targets) if chosen.algorithm == "f3" else None
        self.state = (parameters, zeros_like(parameters), zeros_like(parameters), jnp.float32(0), errors)
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


def linear(x, weight, bias):
    return lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ()))) + bias


def forward(layers, x):
    for weight, bias in layers[:-1]:
        x = jnp.tanh(linear(x, weight, bias))
    return linear(x, *layers[-1])


def f3_gradients(layers, feedback, e, x, targets):
    found = []
    for (weight, bias), matrix in zip(layers[:-1], feedback):
        h = jnp.tanh(linear(x, weight, bias))
        delta_z = (e @ matrix) * (1 - h * h)
        found.append([delta_z.T @ x, delta_z.sum(0)])
        x = h
    difference = jax.nn.sigmoid(linear(x, *layers[-1])) - targets
    delta_z = difference / difference.size
    found.append([delta_z.T @ x, delta_z.sum(0)])
    return found, -difference


def backpropagation_gradients(layers, _feedback, _e, x, targets):
    def loss(layers):
        z = forward(layers, x)
        return jnp.mean(jnp.maximum(z, 0) - z * targets + jnp.log1p(jnp.exp(-jnp.abs(z))))

    return jax.grad(loss)(layers), None


class Mlp(Trainer):
    loss = staticmethod(rival_common.binary_cross_entropy)

    def __init__(self, inputs, targets, chosen):
        layers, feedback = rival_common.mlp_weights(chosen.hidden, chosen.width)
        gradients = {"f3": f3_gradients, "bp": backpropagation_gradients}[chosen.algorithm]
        feedback = feedback if chosen.algorithm == "f3" else []
        rate = rival_common.MLP_LEARNING_RATE
        super().__init__(gradients, layers, feedback, inputs, targets, chosen, rate)

    def logits(self):
        return forward(self.state[0], self.inputs)


def main():
    chosen = rival_common.arguments(__doc__.split("\n")[0], compiles=False)
    inputs, targets = rival_common.training_set(chosen.data, chosen.samples)
    rival_common.train(Mlp(inputs, targets, chosen), chosen)


if __name__ == "__main__":
    main()
