"""Prints torchmetrics' macro AUROC and macro F1 of some scores: metrics.py SCORES.safetensors"""

import sys
import warnings

from safetensors.torch import load_file
from torchmetrics.classification import MultilabelAUROC, MultilabelF1Score

warnings.simplefilter("ignore")  # about the class that has no positive sample
tensors = load_file(sys.argv[1])
scores, targets = tensors["scores"], tensors["targets"]
classes = scores.shape[1]
print(MultilabelAUROC(classes, average="macro")(scores, targets).item())
print(MultilabelF1Score(classes, average="macro")(scores, targets).item())
