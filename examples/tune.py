#!/usr/bin/env python3
"""Tunes the learning rate of F³ with Optuna, which calls the program as its objective.

    pip install optuna
    python examples/tune.py path/to/f3-tch [trials]

Each trial is a run on `digits` that is judged by its validation split, never by the test set. A run that
ends with an error, such as a loss that is no number any more, is a trial that is given up; the others go
on. The study is kept in `runs/tune/study.db`, so calling this again adds trials.
"""

import json
import pathlib
import subprocess
import sys

import optuna

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "f3-tch"
TRIALS = int(sys.argv[2]) if len(sys.argv) > 2 else 20
FOLDER = pathlib.Path("runs/tune")


def objective(trial: optuna.Trial) -> float:
    learning_rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
    run = FOLDER / f"{trial.number:03}"
    settings = {
        "algorithm.name": "f3",
        "optimizer.learning_rate": learning_rate,
        "data.validation_fraction": 0.2,
        "epochs": 20,
        "threads": 1,
    }
    command = [PROGRAM, "train", "digits", "--quiet", "--run-dir", str(run)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode == 1:  # the run failed, with these settings
        raise optuna.TrialPruned(ended.stderr.strip())
    if ended.returncode != 0:  # a mistake in the command line, or Ctrl-C: no trial would do better
        raise RuntimeError(ended.stderr.strip())
    result = json.loads((run / "result.json").read_text())
    return result["metrics"]["validation_loss"]["best"]["value"]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="learning_rate",
        storage=f"sqlite:///{FOLDER}/study.db",
        load_if_exists=True,
    )
    # Other numbers than those of the trials that are there.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    study.optimize(objective, n_trials=TRIALS)
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        sys.exit("no run has come to its end")
    best = study.best_trial
    result = json.loads((FOLDER / f"{best.number:03}" / "result.json").read_text())
    accuracy = result["metrics"]["test_accuracy"]["at_best_validation"]
    print(f"learning rate {best.params['learning_rate']:.2e}: validation loss {best.value:.4f}")
    print(f"its network has a test accuracy of {accuracy:.2f} % at the best validation epoch")


if __name__ == "__main__":
    main()
