"""What the learning rules must compute, written down a second time with PyTorch's autograd.

usage: oracle.py CASES.json DATA.safetensors RESULTS.safetensors

Each case is a network with an algorithm, an initialiser, an optimizer. The program draws it from
torch's generator, trains it batch by batch, and stores after every step all parameters, the stored
errors and the loss over the training set. Nothing here is shared with the Rust side: gradients
come from autograd, DFA makes two forward passes, the optimizers are torch.optim's.
"""

import itertools
import json
import math
import sys

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional


class Case:
    def __init__(self, case, data):
        self.case = case
        self.inputs = data["inputs"]
        self.targets = data[f"targets_{case['task']}"]
        torch.manual_seed(case["seed"])

        widths = [self.inputs.shape[1], *case["hidden"], self.targets.shape[1]]
        self.layers = []
        for m, n in itertools.pairwise(widths):
            layer = torch.nn.Linear(m, n)
            self.layers.append(layer)
        self.feedback = []
        if case["algorithm"] in ("f3", "dfa", "drtp"):
            self.feedback = [self.draw_feedback(widths[-1], n) for n in case["hidden"]]
        self.optimizers = [self.optimizer(layer) for layer in self.layers]
        self.errors = self.targets.clone()
        self.info = {"dfa": "current_error", "drtp": "one_hot_target"}.get(
            case["algorithm"], case.get("error_info")
        )

    def draw_feedback(self, outputs, width):
        settings = self.case["feedback_init"]
        name, scalar = settings["name"], settings.get("scalar", 1.0)
        matrix = torch.empty(outputs, width)
        eye = torch.eye(outputs)
        columns = torch.arange(width)
        if name == "kaiming_uniform":
            return torch.nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
        if name == "discrete_uniform":
            values = torch.tensor(settings["values"], dtype=torch.float32)
            return scalar * values[torch.randint(0, len(values), (outputs, width))]
        if name == "identity_repeat_pm":
            signs = 1 - 2 * (columns // outputs % 2)
            return scalar * eye[:, columns % outputs] * signs
        if name == "identity_repeat":
            return scalar * eye[:, columns % outputs]
        if name == "identity_fill_zero":
            return scalar * torch.nn.init.eye_(matrix)
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
        settings = dict(self.case["optimizer"])
        name, rate = settings.pop("name"), settings.pop("learning_rate")
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
        return kind(layer.parameters(), lr=rate, fused=True, **settings)

    def activate(self, index, z):
        if index < len(self.layers) - 1:
            return torch.tanh(z)
        return torch.sigmoid(z) if self.case["task"] == "classification" else z

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            x = self.activate(index, layer(x))
        return x

    def loss(self, y, targets, reduction="mean"):
        if self.case["task"] == "classification":
            return functional.binary_cross_entropy(y, targets, reduction=reduction)
        return functional.mse_loss(y, targets, reduction=reduction)

    def observe(self, y, targets):
        info = self.info.removesuffix("_one_hot")
        if info in ("delayed_error", "current_error"):
            return targets - y
        if info == "delayed_error_softmax":
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
        if self.info == "current_error":
            with torch.no_grad():
                return self.observe(self.forward(x), targets)
        stored = self.errors[positions]
        return stored * targets if self.info.endswith("_one_hot") else stored

    def train_batch(self, positions):
        x, targets = self.inputs[positions], self.targets[positions]
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        if self.case["algorithm"] == "bp":
            self.loss(self.forward(x), targets).backward()
            for optimizer in self.optimizers:
                optimizer.step()
            return

        if self.info:
            error = self.signal(x, targets, positions)
        for index, layer in enumerate(self.layers[:-1]):
            h = self.activate(index, layer(x))
            if self.info:
                h.backward(gradient=error @ self.feedback[index])
                self.optimizers[index].step()
            x = h.detach()
        y = self.activate(len(self.layers) - 1, self.layers[-1](x))
        self.loss(y, targets).backward()
        self.optimizers[-1].step()
        if self.info and self.info.startswith("delayed"):
            self.errors[positions] = self.observe(y.detach(), targets)

    def record(self, step, results):
        prefix = f"{self.case['id']}/{step}/"
        module = 0
        for index, layer in enumerate(self.layers):
            place = f"layers.{module}.{1 if index == 0 else 0}"
            results[f"{prefix}{place}.weight"] = layer.weight.detach().clone()
            results[f"{prefix}{place}.bias"] = layer.bias.detach().clone()
            module += 1
            if index < len(self.feedback):
                results[f"{prefix}layers.{module}.feedback_weight"] = self.feedback[index].clone()
                module += 1
        for index, (layer, optimizer) in enumerate(zip(self.layers, self.optimizers)):
            # An optimizer that has not stepped yet has no state: it is as good as zero.
            states = [optimizer.state.get(p, {}) for p in layer.parameters()]
            zeros = [torch.zeros_like(p) for p in layer.parameters()]
            names = ["exp_avg", "exp_avg_sq"]
            if self.case["optimizer"]["name"] == "sgd":
                names = ["momentum_buffer"] if "momentum" in self.case["optimizer"] else []
            else:
                step = states[0].get("step", torch.tensor(0.0))
                results[f"{prefix}optimizer.{index}.step"] = step.clone()
            for name in names:
                for number, (state, zero) in enumerate(zip(states, zeros)):
                    value = state.get(name, zero)
                    results[f"{prefix}optimizer.{index}.{name}.{number}"] = value.clone()
        results[f"{prefix}errors"] = self.errors.clone()
        with torch.no_grad():
            outputs = self.forward(self.inputs).double()
            loss = self.loss(outputs, self.targets.double(), "sum") / len(self.inputs)
        results[f"{prefix}loss"] = loss.reshape(1)

    def run(self, results):
        for _ in range(2):  # the data sets are evaluated before training
            torch.empty((), dtype=torch.int64).random_()
        step = 0
        self.record(step, results)
        for _ in range(self.case["epochs"]):
            torch.empty((), dtype=torch.int64).random_()
            generator = torch.Generator()
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
            order = torch.randperm(len(self.inputs), generator=generator)
            for positions in order.split(self.case["batch_size"]):
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
            Case(case, data).run(results)
    save_file(results, results_path)


if __name__ == "__main__":
    main()
