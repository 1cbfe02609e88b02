"""Networks and results of f3-tch.

    network = f3_tch.load("runs/mnist/001")    # a torch.nn.Module
    scores = network(network.prepare(images))  # bytes [N, 28, 28]

    for run in f3_tch.runs("runs"):            # a dictionary for each run
        print(run["folder"], run["test_accuracy.best"])
"""

from .network import Network, load
from .results import runs

__all__ = ["Network", "load", "runs"]
