"""A whole run of F³ in PyTorch as a research program has it, for a fully connected network.

Nothing is done for speed, and nothing against it: modules, torch.optim.Adam, a DataLoader that takes
sample by sample out of a data set and puts them into batches, for training and for evaluation, and
metrics of torchmetrics that are updated with every batch. Gradients inside a layer are autograd's.

Legend: b batch, m inputs and n outputs of a layer, C outputs of the network.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, MeanAbsolutePercentageError, MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MultilabelAUROC, MultilabelF1Score

import rival_common
import rival_data
import rival_files


class HiddenLayer(nn.Module):
    """tanh(x Wᵀ + b), with its feedback matrix [C, n] and its own optimizer."""

    def __init__(self, weights, feedback, rate):
        super().__init__()
        self.linear = linear(weights)
        self.register_buffer("feedback", torch.from_numpy(feedback))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=rate)

    def forward(self, x):
        return self.linear(x).tanh()

    def learn(self, x, error):
        """Steps along e·B [b, n]; gives the outputs [b, n] from before."""
        self.optimizer.zero_grad()
        h = self(x)
        h.backward(error @ self.feedback)
        self.optimizer.step()
        return h.detach()


def linear(weights):
    weight, bias = weights
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


class Network(nn.Module):
    def __init__(self, chosen, inputs, outputs):
        super().__init__()
        regression = rival_common.is_regression(chosen.data_set)
        layers, feedback = rival_common.mlp_weights(inputs, chosen.hidden, chosen.width, outputs, regression)
        rate = rival_common.learning_rate("mlp", chosen.data_set)
        self.hidden = nn.ModuleList(HiddenLayer(*it, rate) for it in zip(layers, feedback))
        self.output = linear(layers[-1])
        self.activation = nn.Identity() if regression else nn.Sigmoid()
        self.loss = nn.MSELoss() if regression else nn.BCELoss()
        self.optimizer = torch.optim.Adam(self.output.parameters(), lr=rate)

    def forward(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.activation(self.output(x))

    def learn(self, x, targets, error):
        """A step of all layers; gives y* - y [b, C] from before."""
        for layer in self.hidden:
            x = layer.learn(x, error)
        self.optimizer.zero_grad()
        y = self.activation(self.output(x))
        self.loss(y, targets).backward()
        self.optimizer.step()
        return targets - y.detach()

    def optimizers(self):
        return [layer.optimizer for layer in self.hidden] + [self.optimizer]


def metrics(outputs):
    if outputs == 1:
        return MetricCollection({"mae": MeanAbsoluteError(), "mape": MeanAbsolutePercentageError()})
    return MetricCollection({
        "accuracy": MulticlassAccuracy(outputs, average="micro"),
        "auroc": MultilabelAUROC(outputs), "f1": MultilabelF1Score(outputs),
    }, compute_groups=False)


@torch.no_grad()
def evaluate(network, name, loader, found):
    loss = MeanMetric()
    for inputs, targets, _ in loader:
        outputs = network(inputs)
        loss.update(network.loss(outputs, targets) * targets.shape[1], weight=len(targets))
        for metric, each in found.items():
            if metric == "accuracy":
                each.update(outputs, targets.argmax(1))
            else:
                each.update(outputs, targets.int() if metric in ("auroc", "f1") else targets)
    values = {f"{name}_loss": loss.compute(), **{f"{name}_{it}": each.compute() for it, each in found.items()}}
    found.reset()
    return {metric: float(value) * (100 if "accuracy" in metric else 1) for metric, value in values.items()}


def main():
    chosen = rival_files.arguments(rival_common.parser(__doc__.split("\n\n")[0]))
    rival_common.pin(chosen.threads)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(1)
    parts = rival_data.read(chosen.data, chosen.data_set, chosen.samples)
    sets = [
        TensorDataset(torch.from_numpy(it.inputs), torch.from_numpy(it.targets), torch.arange(len(it.targets)))
        for it in parts
    ]
    shuffled = DataLoader(sets[0], batch_size=chosen.batch_size, shuffle=True)
    loaders = [DataLoader(it, batch_size=chosen.batch_size) for it in sets]
    outputs = parts[0].targets.shape[1]
    network, found = Network(chosen, parts[0].inputs.shape[1], outputs), metrics(outputs)
    errors = torch.from_numpy(parts[0].targets).clone()

    def train():
        for inputs, targets, positions in shuffled:
            errors[positions] = network.learn(inputs, targets, errors[positions])

    def evaluated():
        train, test = (evaluate(network, name, loader, found) for name, loader in zip(("train", "test"), loaders))
        return train | test

    def state():
        optimizers = [it.state_dict() for it in network.optimizers()]
        return {"network": network.state_dict(), "optimizers": optimizers, "errors": errors}

    rival_files.run(chosen, train, evaluated, state)


if __name__ == "__main__":
    main()
