"""Prints the step sizes of PyTorch's schedulers as JSON: schedules.py SETTINGS.json

SETTINGS is a list of {schedule, rate, epochs}, with a schedule as in a configuration.
"""

import json
import sys
import warnings

import torch
from torch.optim import lr_scheduler

warnings.simplefilter("ignore")  # about an optimizer that makes no steps


def scheduler(optimizer, settings):
    name = settings["name"]
    if name == "constant":
        decay = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    elif name == "step":
        decay = lr_scheduler.StepLR(optimizer, settings["step_size"], settings["gamma"])
    elif name == "multi_step":
        decay = lr_scheduler.MultiStepLR(optimizer, settings["milestones"], settings["gamma"])
    elif name == "exponential":
        decay = lr_scheduler.ExponentialLR(optimizer, settings["gamma"])
    else:
        decay = lr_scheduler.CosineAnnealingLR(optimizer, settings["t_max"], settings["minimum"])
    warmup = settings.get("warmup_epochs", 0)
    if warmup == 0:
        return decay
    start = lr_scheduler.LinearLR(optimizer, settings["warmup_start"], 1.0, warmup)
    return lr_scheduler.SequentialLR(optimizer, [start, decay], [warmup])


results = []
with open(sys.argv[1]) as file:
    for case in json.load(file):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=case["rate"])
        schedule = scheduler(optimizer, case["schedule"])
        rates = []
        for _ in range(case["epochs"]):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        results.append(rates)
print(json.dumps(results))
