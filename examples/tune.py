#!/usr/bin/env python3
"""Tunes the learning rate of F³ with Optuna, on a validation split.

    pip install optuna
    python examples/tune.py --trials 20 --program target/release/f3-tch

Every trial is a run in a folder of its own, which `f3-tch runs` and TensorBoard show. A trial whose run
fails (as when it diverges) is pruned; a mistake in the configuration ends the study.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import optuna

METRIC = "validation_loss"


def objective(trial, options):
    learning_rate = trial.suggest_float("optimizer.learning_rate", 1e-5, 1e-1, log=True)
    folder = options.folder / f"{trial.number:03}"
    settings = {
        "optimizer.learning_rate": learning_rate,
        "data.validation_fraction": 0.2,
        "algorithm.name": "f3",
        "epochs": options.epochs,
    }
    command = [options.program, "train", options.config, "--quiet", "--run-dir", str(folder)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode in (130, 143):  # a signal
        raise KeyboardInterrupt
    if ended.returncode == 2:  # all trials would end like this
        sys.exit(ended.stderr)
    if ended.returncode != 0:
        raise optuna.TrialPruned(ended.stderr)
    result = json.loads((folder / "result.json").read_text())
    trial.set_user_attr("folder", str(folder))
    best = result["metrics"][METRIC]["best"]
    if best is None:
        raise optuna.TrialPruned(f"{METRIC} was never a number")
    return best["value"]


def main():
    parser = argparse.ArgumentParser(description="Tunes the learning rate of F³.")
    parser.add_argument("--config", default="digits", help="a configuration (default: digits)")
    parser.add_argument("--program", default="f3-tch", help="the program (default: f3-tch)")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/tune"), help="new folder of the runs")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    if options.folder.exists():
        sys.exit(f"{options.folder}: exists already; --folder names another one")

    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(lambda trial: objective(trial, options), n_trials=options.trials)
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        sys.exit("no run has come to its end")
    best = study.best_trial
    folder = pathlib.Path(best.user_attrs["folder"])
    print(f"{METRIC} {best.value:.4f} with {best.params}, in {folder} ({len(complete)} of {len(study.trials)} runs)")
    # The test set has chosen nothing.
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    for name in ("test_loss", "test_accuracy"):
        if name in metrics:
            print(f"{name} in the epoch of the best {METRIC}: {metrics[name]['at_best_validation']:.4f}")


if __name__ == "__main__":
    main()
