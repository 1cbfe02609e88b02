"""What the learning rules must compute, written down a second time with PyTorch's autograd.

usage: oracle.py CASES.json DATA.safetensors RESULTS.safetensors

Each case is a network with an algorithm, an initialiser, an optimizer. The program draws it from
torch's generator, trains it batch by batch, and stores after every step all parameters, the stored
errors and the loss over the training set. Nothing here is shared with the Rust side: gradients
come from autograd, DFA makes two forward passes, the optimizers are torch.optim's.
"""

import json
import math
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional


class Transformer(nn.Module):
    """Pre-norm transformer block on flattened tokens, attention written out."""

    def __init__(self, settings, image, first):
        super().__init__()
        channels, height, width = image
        self.image, self.patch, self.heads = image, settings["patch_size"], settings["heads"]
        self.width, self.size = settings["token_width"], settings["head_size"]
        self.activation = ACTIVATIONS[settings["activation"]]
        self.tokens = (height // self.patch) * (width // self.patch)
        inner = self.heads * self.size
        if first:
            self.embedding = nn.Linear(channels * height * width, self.tokens * self.width)
        self.attention_norm = nn.LayerNorm(self.width)
        self.query = nn.Linear(self.width, inner, bias=False)
        self.key = nn.Linear(self.width, inner, bias=False)
        self.value = nn.Linear(self.width, inner, bias=False)
        self.projection = nn.Linear(inner, self.width)
        self.mlp_norm = nn.LayerNorm(self.width)
        self.expansion = nn.Linear(self.width, settings["mlp_width"])
        self.contraction = nn.Linear(settings["mlp_width"], self.width)
        self.outputs = self.tokens * self.width

    def forward(self, x):
        if hasattr(self, "embedding"):
            images = x.reshape(-1, *self.image)
            patches = functional.unfold(images, self.patch, stride=self.patch)
            x = self.embedding(patches.transpose(1, 2).flatten(1))
        x = x.reshape(-1, self.tokens, self.width)
        normed = self.attention_norm(x)
        q, k, v = (
            layer(normed).unflatten(2, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(self.size), dim=-1)
        u = x + self.projection((weights @ v).transpose(1, 2).flatten(2))
        return (u + self.contraction(self.activation(self.expansion(self.mlp_norm(u))))).flatten(1)


class Convolution(nn.Conv2d):
    def __init__(self, image, channels, kernel, pool, activation):
        super().__init__(image[0], channels, kernel, padding="same")
        self.activation = ACTIVATIONS[activation]
        self.input_image, self.pool = image, pool
        side = 2 if pool else 1
        self.output_image = [channels, image[1] // side, image[2] // side]
        self.outputs = math.prod(self.output_image)

    def forward(self, x):
        h = self.activation(super().forward(x.reshape(-1, *self.input_image)))
        return (functional.max_pool2d(h, 2) if self.pool else h).flatten(1)


class Dense(nn.Linear):
    def __init__(self, inputs, outputs, activation, bias=True):
        super().__init__(inputs, outputs, bias=bias)
        self.activation, self.outputs = activation, outputs

    def forward(self, x):
        return ACTIVATIONS[self.activation](super().forward(x))


class Guesser:
    """A hidden layer's guess of the network's output, and what it guessed at each sample one epoch ago."""

    def __init__(self, settings, loss, targets, seen):
        self.settings, self.loss = settings, loss
        self.map = nn.Linear(seen, targets.shape[1])
        for parameter in self.map.parameters():
            nn.init.zeros_(parameter)
        self.optimizer = torch.optim.Adam(self.map.parameters(), lr=settings["local_rate"], fused=True)
        self.guesses = torch.zeros_like(targets)

    def guess(self, seen):
        z = self.map(seen)
        return {"bce": torch.sigmoid, "mse": lambda z: z, "cross_entropy": lambda z: torch.softmax(z, 1)}[self.loss](z)

    @torch.no_grad()
    def predict(self, positions, stored, targets, seen):
        guess = self.guess(seen)
        change = guess - self.guesses[positions]
        self.guesses[positions] = guess
        return stored - change if self.settings["stored"] else targets - guess

    def learn(self, batches):
        """From the first batches of a block: the network's outputs, and what the map sees."""
        known = max(1, math.ceil(self.settings["share"] * self.settings["block"] - 1e-9))
        for outputs, seen in batches[:known]:
            self.optimizer.zero_grad()
            z = self.map(seen)
            if self.loss == "bce":
                loss = functional.binary_cross_entropy_with_logits(z, outputs)
            elif self.loss == "mse":
                loss = functional.mse_loss(z, outputs)
            else:
                loss = functional.cross_entropy(z, outputs)
            loss.backward()
            self.optimizer.step()


ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "identity": lambda z: z,
}
IMAGE = [2, 4, 6]


class Case:
    def __init__(self, case, data):
        self.id = case["id"]
        self.config = case["config"]
        self.algorithm = self.config["algorithm"]
        self.loss_name = self.config["loss"]
        self.inputs = data[f"inputs_{case['task']}"]
        self.targets = data[f"targets_{case['task']}"]
        self.rule = self.algorithm["name"]
        torch.manual_seed(self.config["seed"])

        outputs = self.targets.shape[1]
        self.layers = self.blocks(self.inputs.shape[1], outputs)
        hidden = [layer.outputs for layer in self.layers[:-1]]
        self.feedback = []
        self.backward_weights = {}
        if self.rule in ("f3", "dfa", "drtp"):
            self.feedback = [self.draw_feedback(outputs, n) for n in hidden]
        if self.rule == "fa":
            for index in range(1, len(self.layers)):
                shape = self.layers[index].weight.shape
                self.backward_weights[index] = self.draw_feedback(*shape)
        if self.rule == "pepita":
            n0 = self.inputs.shape[1]
            bound = self.algorithm["projection_scale"] * math.sqrt(6 / n0)
            self.projection = torch.empty(n0, outputs).uniform_(-bound, bound)
            self.masks = torch.Generator()
            self.masks.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        self.optimizers = [self.optimizer(layer) for layer in self.layers]
        self.errors = self.targets.clone()
        softmax = "_softmax" if self.loss_name == "cross_entropy" else ""
        self.info = {"dfa": f"current_error{softmax}", "drtp": "one_hot_target"}.get(
            self.rule, self.algorithm.get("error_info")
        )

        if self.info == "delayed_error_predicted":
            settings = self.algorithm["prediction"]
            widths = [self.inputs.shape[1], *hidden]
            seen = widths[1:] if settings["local"] == "output" else widths
            state = torch.get_rng_state()  # the maps are zeros: they draw nothing
            self.guessers = [Guesser(settings, self.loss_name, self.targets, m) for m, _ in zip(seen, hidden)]
            torch.set_rng_state(state)

    def blocks(self, inputs, outputs):
        model = self.config["model"]
        last = "sigmoid" if self.loss_name == "bce" else "identity"
        layers = []
        if model["name"] == "mlp":
            bias = self.rule != "pepita"
            for n in model["width"]:
                layers.append(Dense(inputs, n, model["activation"], bias))
                inputs = n
            layers.append(Dense(inputs, outputs, last, bias))
            if not bias:  # drawn anew, from U(±√(6/fan_in))
                torch.manual_seed(self.config["seed"])
                for layer in layers:
                    nn.init.uniform_(layer.weight, -1, 1)
                    layer.weight.data *= math.sqrt(6 / layer.weight.shape[1])
            return layers
        if model["name"] == "vit":
            for index in range(model["blocks"]):
                layers.append(Transformer(model, IMAGE, index == 0))
            inputs = layers[-1].outputs
            layers.append(Dense(inputs, inputs, model["activation"]))
        else:
            image = IMAGE
            parts = model["topology"].replace("-pool", "p").split("-")
            for part in parts:
                if part.endswith("FC"):
                    layers.append(Dense(inputs, int(part[:-2]), model["activation"]))
                else:
                    channels, kernel = part.rstrip("p").split("C")
                    pool = part.endswith("p")
                    activation = model["activation"]
                    layers.append(Convolution(image, int(channels), int(kernel), pool, activation))
                    image = layers[-1].output_image
                inputs = layers[-1].outputs
        layers.append(Dense(inputs, outputs, last))
        return layers

    def draw_feedback(self, outputs, width):
        settings = self.algorithm["feedback_init"]
        name, scalar = settings["name"], settings.get("scalar", 1.0)
        matrix = torch.empty(outputs, width)
        eye = torch.eye(outputs)
        columns = torch.arange(width)
        if name == "kaiming_uniform":
            return nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
        if name == "discrete_uniform":
            values = torch.tensor(settings["values"], dtype=torch.float32)
            return scalar * values[torch.randint(0, len(values), (outputs, width))]
        if name == "identity_repeat_pm":
            signs = 1 - 2 * (columns // outputs % 2)
            return scalar * eye[:, columns % outputs] * signs
        if name == "identity_repeat":
            return scalar * eye[:, columns % outputs]
        if name == "identity_fill_zero":
            return scalar * nn.init.eye_(matrix)
        if name == "constant":
            return matrix.fill_(scalar)
        if name == "alternate_negative":
            return matrix.fill_(scalar) * (2 * (columns % 2) - 1)
        if name == "chunked_negative":
            return matrix.fill_(scalar) * torch.where(columns < width // 2, 1, -1)
        if name == "cartesian_product":
            values = torch.tensor(settings["values"], dtype=torch.float32)
            combinations = torch.cartesian_prod(*[values] * outputs)
            return scalar * combinations.reshape(-1, outputs).t().contiguous()
        if name == "kaiming_uniform_repeat_line":
            return torch.empty(outputs, 1).uniform_(-1, 1).expand(outputs, width).contiguous()
        raise ValueError(name)

    def optimizer(self, layer):
        settings = dict(self.config["optimizer"])
        settings.pop("schedule", None)
        name, rate = settings.pop("name"), settings.pop("learning_rate")
        self.classical = settings.pop("classical_momentum", False)
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
        return kind(layer.parameters(), lr=rate, fused=True, **settings)

    def step(self, index):
        optimizer = self.optimizers[index]
        if not self.classical:
            optimizer.step()
            return
        # v <- mu v - eta g, W <- W + v; what is saved is -v.
        group = optimizer.param_groups[0]
        for parameter in self.layers[index].parameters():
            gradient = parameter.grad + group["weight_decay"] * parameter.data
            previous = optimizer.state[parameter].get(
                "momentum_buffer", torch.zeros_like(parameter)
            )
            velocity = group["momentum"] * -previous - group["lr"] * gradient
            parameter.data += velocity
            optimizer.state[parameter]["momentum_buffer"] = -velocity

    def set_rate(self, epoch):
        schedule = self.config["optimizer"].get("schedule")
        rate = self.config["optimizer"]["learning_rate"]
        if schedule:
            reached = sum(milestone <= epoch - 1 for milestone in schedule["milestones"])
            rate *= schedule["gamma"] ** reached
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def loss(self, y, targets, reduction="mean"):
        if self.loss_name == "bce":
            return functional.binary_cross_entropy(y, targets, reduction=reduction)
        if self.loss_name == "mse":
            return functional.mse_loss(y, targets, reduction=reduction)
        # Targets need not be classes here: of the one-hot ones this is the NLL.
        each = -(targets * torch.log_softmax(y, 1)).sum(1)
        return each.mean() if reduction == "mean" else each.sum()

    def observe(self, y, targets):
        info = self.info.removesuffix("_one_hot")
        if info == "delayed_error_predicted":
            info = f"delayed_error{'_softmax' if self.loss_name == 'cross_entropy' else ''}"
        if info in ("delayed_error", "current_error"):
            return targets - y
        if info in ("delayed_error_softmax", "current_error_softmax"):
            return targets - torch.softmax(y, 1)
        if info == "delayed_error_sigmoid":
            return targets - torch.sigmoid(y)
        leaf = y.detach().requires_grad_()
        output = torch.softmax(leaf, 1) if info == "delayed_loss_softmax" else leaf
        assert info.startswith("delayed_loss"), info
        return -torch.autograd.grad(self.loss(output, targets), leaf)[0]

    def signal(self, x, targets, positions):
        if self.info == "zeros":
            return torch.zeros_like(targets)
        if self.info == "one_hot_target":
            return targets
        if self.info.startswith("current_error"):
            with torch.no_grad():
                return self.observe(self.forward(x), targets)
        stored = self.errors[positions]
        return stored * targets if self.info.endswith("_one_hot") else stored

    def train_batch(self, positions):
        x, targets = self.inputs[positions], self.targets[positions]
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        if self.rule == "bp":
            self.loss(self.forward(x), targets).backward()
            for index in range(len(self.layers)):
                self.step(index)
            return
        if self.rule == "fa":
            self.train_with_feedback_alignment(x, targets)
            return
        if self.rule == "pepita":
            self.train_with_pepita(x, targets)
            return

        if self.info:
            error = self.signal(x, targets, positions)
        for index, layer in enumerate(self.layers[:-1]):
            h = layer(x)
            if self.info:
                h.backward(gradient=error @ self.feedback[index])
                self.step(index)
            x = h.detach()
        y = self.layers[-1](x)
        self.loss(y, targets).backward()
        self.step(len(self.layers) - 1)
        if self.info and self.info.startswith("delayed"):
            self.errors[positions] = self.observe(y.detach(), targets)

    def train_epoch_predicting(self, order):
        block, lag = (self.algorithm["prediction"][key] for key in ("block", "lag"))
        batches = order.split(self.config["data"]["batch_size"])
        seen = [[] for _ in self.guessers]  # for each layer what it keeps of each batch
        learned = 0
        before = self.errors.clone()
        for number, positions in enumerate(batches):
            if number % block == 0:
                learned = self.learn_to_guess(seen, learned, number // block - lag + 1)
            x, targets, stored = self.inputs[positions], self.targets[positions], before[positions]
            uses = []
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            for index, layer in enumerate(self.layers[:-1]):
                guesser = self.guessers[index]
                h = layer(x)
                u = h.detach() if guesser.settings["local"] == "output" else x
                h.backward(gradient=guesser.predict(positions, stored, targets, u) @ self.feedback[index])
                self.step(index)
                uses.append(u)
                x = h.detach()
            y = self.layers[-1](x)
            self.loss(y, targets).backward()
            self.step(len(self.layers) - 1)
            self.errors[positions] = self.observe(y.detach(), targets)
            scores = torch.softmax(y, 1) if self.loss_name == "cross_entropy" else y
            for kept, u in zip(seen, uses):
                kept.append((scores.detach(), u))
        self.learn_to_guess(seen, learned, len(batches))

    def learn_to_guess(self, seen, learned, end):
        """Lets all maps learn from the blocks up to `end` that they have not learned from."""
        block = self.algorithm["prediction"]["block"]
        while learned < end and learned * block < len(seen[0]):
            for guesser, kept in zip(self.guessers, seen):
                guesser.learn(kept[learned * block : (learned + 1) * block])
            learned += 1
        return learned

    def train_with_feedback_alignment(self, x, targets):
        # The gradient of each layer's linear part, carried on by the fixed matrix.
        inputs, sums = [x], []
        for layer in self.layers:
            z = functional.linear(inputs[-1], layer.weight, layer.bias).detach().requires_grad_()
            sums.append((layer, z, ACTIVATIONS[layer.activation](z)))
            inputs.append(sums[-1][2].detach())
        y = inputs[-1].requires_grad_()
        delta = torch.autograd.grad(self.loss(y, targets), y)[0]
        for index in reversed(range(len(self.layers))):
            layer, z, h = sums[index]
            dz = torch.autograd.grad(h, z, delta)[0]
            layer.weight.grad = dz.t() @ inputs[index].detach()
            layer.bias.grad = dz.sum(0)
            if index > 0:
                delta = dz @ self.backward_weights[index]
        for index in range(len(self.layers)):
            self.step(index)

    def train_with_pepita(self, x, targets):
        dropout = self.algorithm["dropout"]
        masks = [torch.ones(1)] * (len(self.layers) - 1)
        if dropout > 0:
            masks = [
                (torch.rand(len(x), layer.outputs, generator=self.masks) >= dropout) / (1 - dropout)
                for layer in self.layers[:-1]
            ]

        def go_through(h):
            activations = [h]
            for layer, mask in zip(self.layers[:-1], masks):
                activations.append(mask * torch.relu(activations[-1] @ layer.weight.t()))
            logits = activations[-1] @ self.layers[-1].weight.t()
            return [*activations, torch.softmax(logits, 1)]

        with torch.no_grad():
            first = go_through(x)
            error = first[-1] - targets
            second = go_through(x + error @ self.projection.t())
            for index, layer in enumerate(self.layers):
                if index < len(self.layers) - 1:
                    difference = first[index + 1] - second[index + 1]
                else:
                    difference = second[-1] - targets
                layer.weight.grad = difference.t() @ second[index] / len(x)
                self.step(index)

    def record(self, step, results):
        prefix = f"{self.id}/{step}/"
        module = 0
        for index, layer in enumerate(self.layers):
            place = f"layers.{module}.{1 if index == 0 else 0}"
            for name, parameter in layer.named_parameters():
                results[f"{prefix}{place}.{name}"] = parameter.detach().clone()
            if index in self.backward_weights:
                matrix = self.backward_weights[index]
                results[f"{prefix}{place}.backward_weight"] = matrix.clone()
            module += 1
            if index < len(self.feedback):
                results[f"{prefix}layers.{module}.feedback_weight"] = self.feedback[index].clone()
                module += 1
        for index, (layer, optimizer) in enumerate(zip(self.layers, self.optimizers)):
            self.record_optimizer(results, f"{prefix}optimizer.{index}", optimizer, layer.parameters())
        for index, guesser in enumerate(getattr(self, "guessers", [])):
            place = f"{prefix}prediction.{index}"
            if guesser.settings["stored"]:
                results[f"{place}.guesses"] = guesser.guesses.clone()
            for name, parameter in guesser.map.named_parameters():
                results[f"{place}.map.{name}"] = parameter.detach().clone()
            self.record_optimizer(results, f"{place}.optimizer", guesser.optimizer, guesser.map.parameters())
        results[f"{prefix}errors"] = self.errors.clone()
        with torch.no_grad():
            outputs = self.forward(self.inputs).double()
            loss = self.loss(outputs, self.targets.double(), "sum") / len(self.inputs)
        results[f"{prefix}loss"] = loss.reshape(1)

    @staticmethod
    def record_optimizer(results, place, optimizer, parameters):
        parameters = list(parameters)
        # An optimizer that has not stepped yet has no state: it is as good as zero.
        states = [optimizer.state.get(p, {}) for p in parameters]
        names = ["exp_avg", "exp_avg_sq"]
        if isinstance(optimizer, torch.optim.SGD):
            names = ["momentum_buffer"] if optimizer.param_groups[0]["momentum"] else []
        else:
            results[f"{place}.step"] = states[0].get("step", torch.tensor(0.0)).clone()
        for name in names:
            for number, (state, parameter) in enumerate(zip(states, parameters)):
                value = state.get(name, torch.zeros_like(parameter))
                results[f"{place}.{name}.{number}"] = value.clone()

    def run(self, results):
        for _ in range(2):  # the data sets are evaluated before training
            torch.empty((), dtype=torch.int64).random_()
        step = 0
        self.record(step, results)
        for epoch in range(1, self.config["epochs"] + 1):
            self.set_rate(epoch)
            torch.empty((), dtype=torch.int64).random_()
            generator = torch.Generator()
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
            order = torch.randperm(len(self.inputs), generator=generator)
            batches = order.split(self.config["data"]["batch_size"])
            if self.info == "delayed_error_predicted":
                self.train_epoch_predicting(order)
                step += len(batches)
                self.record(step, results)
                batches = []
            for positions in batches:
                self.train_batch(positions)
                step += 1
                self.record(step, results)
            for _ in range(2):
                torch.empty((), dtype=torch.int64).random_()


def main():
    cases_path, data_path, results_path = sys.argv[1:]
    torch.set_num_threads(1)
    data = load_file(data_path)
    results = {}
    with open(cases_path) as file:
        for case in json.load(file):
            try:
                Case(case, data).run(results)
            except Exception as error:
                raise RuntimeError(f"case {case}") from error
    save_file(results, results_path)


if __name__ == "__main__":
    main()
