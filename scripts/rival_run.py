"""A whole run of F³ in PyTorch, as fast as it could be made: training, loss and metrics on training and
test set after every epoch, logs and checkpoints.

Training is scripts/rival_pytorch.py's. Evaluation has batches of 1,000, which stay in the cache; the
metrics are f3-tch's and are computed once for all samples. The area under the ROC curve is NumPy's
(exact, with ties): torchmetrics took twelve times as long for 60,000 samples of 10 classes.

Legend: N samples, C outputs.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional

import rival_common
import rival_data
import rival_files
import rival_pytorch
from rival_pytorch_networks import Network, tanh_layer

EVALUATION_BATCH = 1000


class Evaluator:
    """Loss and metrics of a fully connected network on a part of the data set."""

    def __init__(self, network, part, name, pool):
        self.network, self.name, self.pool = network, name, pool
        self.inputs, self.targets = torch.from_numpy(part.inputs), torch.from_numpy(part.targets)
        self.z = torch.empty_like(self.targets)
        # Of a classifier.
        self.classes = self.targets.argmax(1)
        self.positive = np.ascontiguousarray(part.targets.T > 0.5)

    def __call__(self):
        for x, z in zip(self.inputs.split(EVALUATION_BATCH), self.z.split(EVALUATION_BATCH)):
            for block in self.network.blocks[:-1]:
                x = tanh_layer(x, *block)
            torch.addmm(self.network.blocks[-1][1], x, self.network.blocks[-1][0].t(), out=z)
        values = self.regression() if self.targets.shape[1] == 1 else self.classification()
        return {f"{self.name}_{name}": float(value) for name, value in values.items()}

    def regression(self):
        errors = (self.z - self.targets).abs_()
        return {
            "loss": torch.dot(errors.flatten(), errors.flatten()) / len(errors),
            "mae": errors.mean(),
            "mape": errors.div_(self.targets.abs().clamp_min_(1.17e-6)).mean(),
        }

    def classification(self):
        loss = functional.binary_cross_entropy_with_logits(self.z, self.targets, reduction="sum")
        scores = torch.sigmoid(self.z).t().contiguous().numpy()
        areas = list(self.pool.map(area, scores, self.positive))
        predicted = scores > 0.5
        both = (predicted & self.positive).sum(axis=1)
        either = predicted.sum(axis=1) + self.positive.sum(axis=1)
        return {
            "loss": loss / len(self.z),
            "accuracy": 100 * (self.z.argmax(1) == self.classes).float().mean(),
            "auroc": np.mean(areas),
            "f1": np.mean(2 * both / np.maximum(either, 1)),
        }


def area(scores, positive):
    """The area under the ROC curve of scores [N] from the ranks of the positives among all; those of
    ties are averaged."""
    ordered, hits = np.sort(scores), np.sort(scores[positive])
    count, others = len(hits), len(scores) - len(hits)
    if count == 0 or others == 0:
        return 0.0
    below, upto = (np.searchsorted(ordered, hits, side).sum() for side in ("left", "right"))
    ranks = (below + upto + count) / 2
    return (ranks - count * (count + 1) / 2) / (count * others)


def state_of(trainer, random):
    """All that a run that goes on would need."""
    if isinstance(trainer, rival_pytorch.Compiled):
        adams = [vars(trainer.state)]
    else:
        adams = [vars(layer.adam) for layer in [*trainer.hidden, trainer.output]]
    network = trainer.network
    return {
        "blocks": network.blocks, "feedback": network.feedback, "errors": trainer.errors,
        "adam": [{key: it for key, it in adam.items() if key != "parameters"} for adam in adams],
        "random": random.get_state(),
    }


def main():
    parser = rival_common.parser(__doc__.split("\n\n")[0])
    parser.add_argument("--compile", action="store_true", help="train with torch.compile")
    chosen = rival_files.arguments(parser)
    chosen.model, chosen.algorithm = "mlp", "f3"
    rival_common.pin(chosen.threads)
    torch.set_num_threads(chosen.threads)
    rival_pytorch.keep_freed_memory()
    train, test = rival_data.read(chosen.data, chosen.data_set, chosen.samples)
    network = Network(chosen, train.inputs.shape[1], train.targets.shape[1])
    trainer = rival_pytorch.trainer(network, train, chosen)
    random = np.random.RandomState(2)
    with ThreadPoolExecutor(chosen.threads) as pool, torch.no_grad():
        parts = [Evaluator(network, train, "train", pool), Evaluator(network, test, "test", pool)]
        rival_files.run(
            chosen,
            train=lambda: trainer.epoch(random.permutation(len(train.targets))),
            evaluate=lambda: {name: value for part in parts for name, value in part().items()},
            state=lambda: state_of(trainer, random),
        )


if __name__ == "__main__":
    main()
