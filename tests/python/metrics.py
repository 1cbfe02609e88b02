"""Prints torchmetrics' macro AUROC, macro F1, MAE and MAPE of some scores: metrics.py SCORES.safetensors"""

import sys
import warnings

from safetensors.torch import load_file
from torchmetrics.classification import MultilabelAUROC, MultilabelF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanAbsolutePercentageError

warnings.simplefilter("ignore")  # about the class that has no positive sample
tensors = load_file(sys.argv[1])
scores, targets = tensors["scores"], tensors["targets"]
classes = scores.shape[1]
print(MultilabelAUROC(classes, average="macro")(scores, targets).item())
print(MultilabelF1Score(classes, average="macro")(scores, targets).item())
print(MeanAbsoluteError()(scores.flatten(), targets.flatten().float()).item())
print(MeanAbsolutePercentageError()(scores.flatten(), targets.flatten().float()).item())
