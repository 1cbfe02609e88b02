"""Networks of any kind, with the module names of their files, so that `load_state_dict` is strict.

Legend: N samples, n_0 inputs, C outputs; m inputs and n outputs of a block; t tokens of width w, a heads of
size s; images of r x s pixels with c channels.
"""

import json
import pathlib

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional

from .preparation import Inputs, Targets

VERSION = 2  # of the description in the file's metadata
ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "identity": lambda z: z,
}

# The first tanh, exp, sqrt, log or erf of a process can be wrong by 1e-4 if several threads share it
# (github.com/pytorch/pytorch/issues/188792). One number is computed by one thread.
torch.ones(1).tanh()


def load(path, map_location="cpu", at="last"):
    """The network of a run's folder, a `model.safetensors` or a checkpoint, as a `Network` in `eval` mode.

    at: the epoch of a run, "last" or "best"; a run keeps its best one if `checkpoint.best` names a metric

    Raises ValueError if the file does not say which network it holds, or says it in another version.
    """
    path, files = pathlib.Path(path), {"last": "model.safetensors", "best": "checkpoints/best.safetensors"}
    if at not in files:
        raise ValueError(f"at is {at!r}; expected 'last' or 'best'")
    if path.is_dir():
        path = path / files[at]
    elif at == "best":
        raise ValueError(f"{path}: is one network; the best epoch is that of a run's folder")
    with safe_open(path, "pt", device=str(map_location)) as file:
        text = (file.metadata() or {}).get("f3_tch_model")
        if text is None:
            raise ValueError(f"{path}: does not say what network it holds; f3-tch has not written it")
        description = json.loads(text)
        if description.get("version") != VERSION:
            found = description.get("version", "?")
            raise ValueError(f"{path}: its description is of version {found}; this package reads version {VERSION}")
        names = [name for name in file.keys() if name.startswith("layers.")]
        state = {name: file.get_tensor(name) for name in names}
    network = Network(description, state)
    return network.to(map_location).eval()


class Network(nn.Module):
    """A network that f3-tch has trained. `forward` takes inputs [N, n_0] and gives outputs [N, C].

    classes: the names of the classes, or None
    feedback: the matrices B [C, n] of the hidden blocks, in forward order; none for rules without them
    description: what the file says about the network
    """

    def __init__(self, description, state):
        super().__init__()
        self.description = description
        preparation = description["preparation"]
        self.inputs = Inputs(preparation["inputs"], description["table"])
        self.targets = Targets(preparation["targets"], description["loss"])
        self.layers = nn.ModuleList(modules(description["architecture"], state))
        self.load_state_dict(state)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def classes(self):
        return self.targets.classes

    @property
    def feedback(self):
        return [layer.feedback_weight for layer in self.layers if isinstance(layer, Feedback)]

    def prepare(self, samples):
        """Inputs [N, n_0], prepared as the training set was.

        samples: for images their pixels, [N, r, s], [N, c, r, s] or [N, c·r·s], as an array or tensor; for
        tables a list of dictionaries, or anything that gives a column by its name, such as a DataFrame
        """
        return self.inputs.prepare(samples).to(next(self.parameters()).device)

    @torch.no_grad()
    def answer(self, samples):
        """What `f3-tch predict` says: scores [N, C] of the classes, or numbers [N, C] in their own units."""
        return self.targets.answer(self(self.prepare(samples)))

    def predict(self, samples):
        """The name of the best class for each sample, or numbers [N, C] in their own units."""
        answer = self.answer(samples)
        return [self.classes[index] for index in answer.argmax(1)] if self.classes else answer


def modules(architecture, state):
    """A module for each number in the names: a block, or a feedback matrix behind one."""
    names = {}
    for name in state:
        _, number, rest = name.split(".", 2)
        names.setdefault(int(number), []).append(rest)
    made = iter(blocks(architecture))
    for number in sorted(names):
        prefix = f"layers.{number}."
        if names[number] == ["feedback_weight"]:
            yield Feedback(state[prefix + "feedback_weight"])
            continue
        block = next(made, None)
        if block is None:
            raise ValueError(f"`layers.{number}` has no place in the network that the file describes")
        for rest in names[number]:
            if rest.endswith("backward_weight"):
                block.register_buffer("backward_weight", torch.empty_like(state[prefix + rest]))
        yield nn.Sequential(nn.Flatten(), block) if number == 0 else nn.Sequential(block)
    if next(made, None) is not None:
        raise ValueError("the file has fewer blocks than the network that it describes")


def blocks(architecture):
    """The blocks in forward order, the output block last."""
    kind, activation = architecture["name"], architecture["activation"]
    outputs, output_activation = architecture["outputs"], architecture["output_activation"]
    if kind == "mlp":
        widths = [architecture["inputs"], *architecture["hidden"], outputs]
        activations = [activation] * len(architecture["hidden"]) + [output_activation]
        for m, n, function in zip(widths, widths[1:], activations):
            yield Dense(m, n, function, architecture["bias"])
    elif kind == "cnn":
        image = architecture["image"]
        for channels, kernel, pool in stages(architecture["topology"]):
            if kernel:
                yield Convolution(image, channels, kernel, pool, activation)
                image = [channels, *(side // 2 if pool else side for side in image[1:])]
            else:
                yield Dense(image[0] * image[1] * image[2], channels, activation)
                image = [channels, 1, 1]
        yield Dense(image[0] * image[1] * image[2], outputs, output_activation)
    elif kind == "vit":
        for index in range(architecture["blocks"]):
            yield Transformer(architecture, index == 0)
        width = tokens(architecture) * architecture["token_width"]
        yield Dense(width, width, activation)
        yield Dense(width, outputs, output_activation)
    else:
        raise ValueError(f"a network of kind {kind}, which this package does not know")


def stages(topology):
    """Of `32C5-pool-1000FC`: (channels, kernel, whether a pooling follows), or (width, None, False)."""
    found = []
    for part in topology.split("-"):
        if part == "pool":
            found[-1] = (*found[-1][:2], True)
        elif part.endswith("FC"):
            found.append((int(part[:-2]), None, False))
        else:
            channels, kernel = map(int, part.split("C"))
            found.append((channels, kernel, False))
    return found


def tokens(architecture):
    _, height, width = architecture["image"]
    side = architecture["patch_size"]
    return (height // side) * (width // side)


class Feedback(nn.Module):
    """A feedback matrix B [C, n], which only training needs."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("feedback_weight", torch.empty_like(matrix))

    def forward(self, x):
        return x


class Dense(nn.Linear):
    """σ(x Wᵀ + b): [N, m] to [N, n]"""

    def __init__(self, inputs, outputs, activation, bias=True):
        super().__init__(inputs, outputs, bias)
        self.activation = activation

    def forward(self, x):
        return ACTIVATIONS[self.activation](super().forward(x))


class Convolution(nn.Conv2d):
    """A convolution that keeps the images' size, activation and, if wanted, pooling: [N, c·r·s] to
    [N, c'·r'·s']"""

    def __init__(self, image, channels, kernel, pool, activation):
        super().__init__(image[0], channels, kernel, padding=kernel // 2)
        self.image, self.pool, self.activation = image, pool, activation

    def forward(self, x):
        h = ACTIVATIONS[self.activation](super().forward(x.view(-1, *self.image)))
        return (functional.max_pool2d(h, 2) if self.pool else h).flatten(1)


class Transformer(nn.Module):
    """u + MLP(LN(u)) with u = x + Attention(LN(x)), the tokens side by side in a row: [N, t·w] to [N, t·w].
    The first block also makes the tokens out of the images."""

    def __init__(self, architecture, first):
        super().__init__()
        self.image, self.side = architecture["image"], architecture["patch_size"]
        self.heads, self.size = architecture["heads"], architecture["head_size"]
        self.tokens, self.width = tokens(architecture), architecture["token_width"]
        self.activation = architecture["activation"]
        inner, hidden = self.heads * self.size, architecture["mlp_width"]
        pixels = self.image[0] * self.image[1] * self.image[2]
        self.embedding = nn.Linear(pixels, self.tokens * self.width) if first else None
        self.attention_norm = nn.LayerNorm(self.width)
        self.query, self.key, self.value = (nn.Linear(self.width, inner, bias=False) for _ in range(3))
        self.projection = nn.Linear(inner, self.width)
        self.mlp_norm = nn.LayerNorm(self.width)
        self.expansion, self.contraction = nn.Linear(self.width, hidden), nn.Linear(hidden, self.width)

    def forward(self, x):
        if self.embedding is not None:
            x = self.embedding(self.patches(x))
        x = x.view(-1, self.tokens, self.width)
        u = x + self.attention(self.attention_norm(x))
        hidden = ACTIVATIONS[self.activation](self.expansion(self.mlp_norm(u)))
        return (u + self.contraction(hidden)).flatten(1)

    def patches(self, x):
        """Pixels [N, c·r·s] with those of a patch side by side: channels, rows, columns."""
        channels, height, width = self.image
        side = self.side
        x = x.view(-1, channels, height // side, side, width // side, side)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(1)

    def attention(self, x):
        query, key, value = (
            split(x).view(-1, self.tokens, self.heads, self.size).transpose(1, 2)
            for split in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.projection(attended.transpose(1, 2).flatten(2))
