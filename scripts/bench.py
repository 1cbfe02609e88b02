"""Seconds per training epoch, f3-tch against PyTorch, in one run.

The programs take turns, so that a change in the machine's speed hits all of them. Each turn is a
process of its own that trains a warm-up epoch, which is not counted, and then the epochs that are.
Prints the median and the spread of all counted epochs, and the ratio of PyTorch's median to ours.
"""

import argparse
import csv
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/f3-tch"
WORKLOADS = {
    "W1": ("784-500-10, batch 50", {"hidden": 1, "width": 500, "batch": 50}),
    "W2": ("784-10x500-10, batch 50", {"hidden": 10, "width": 500, "batch": 50}),
}


def ours(algorithm, workload, epochs, threads):
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "algorithm.name": algorithm,
            "model.hidden_layers": workload["hidden"],
            "model.width": workload["width"],
            "data.batch_size": workload["batch"],
            "epochs": epochs,
            "threads": threads,
            "device": "cpu",
        }
        command = [PROGRAM, "train", "mnist", "--quiet", "--run-dir", f"{folder}/run"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder}/run/metrics.csv") as file:
            rows = list(csv.DictReader(file))
    return [float(row["train_seconds"]) for row in rows[1:]]  # row 0 is before training


def pytorch(algorithm, workload, epochs, threads):
    command = [sys.executable, ROOT / "scripts/rival_pytorch.py"]
    command += ["--data", pathlib.Path(os.environ["F3_DATA_DIR"]) / "mnist", "--algorithm", algorithm]
    command += ["--hidden", workload["hidden"], "--width", workload["width"]]
    command += ["--batch-size", workload["batch"], "--epochs", epochs, "--threads", threads]
    command = [str(part) for part in command]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(line) for line in output.split()]


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", choices=WORKLOADS, default="W1")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--epochs", type=int, default=2, help="counted epochs in a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    description, workload = WORKLOADS[arguments.workload]
    print(f"{arguments.workload}: MNIST {description}; {processor()}, {arguments.threads} threads")

    contestants = [
        (f"{name} {algorithm}", run, algorithm)
        for algorithm in ("f3", "bp")
        for name, run in (("f3-tch", ours), ("PyTorch", pytorch))
    ]
    seconds = {name: [] for name, _, _ in contestants}
    for turn in range(arguments.rounds):
        for name, run, algorithm in contestants:
            epochs = run(algorithm, workload, arguments.epochs + 1, arguments.threads)
            seconds[name] += epochs[1:]
            print(f"round {turn + 1}/{arguments.rounds}  {name}", file=sys.stderr)

    print(f"{'':12}  {'median':>8}  {'fastest':>8}  {'slowest':>8}   seconds per training epoch")
    for name, values in seconds.items():
        print(f"{name:12}  {statistics.median(values):8.3f}  {min(values):8.3f}  {max(values):8.3f}")
    for algorithm in ("f3", "bp"):
        rival = statistics.median(seconds[f"PyTorch {algorithm}"])
        print(f"PyTorch {algorithm} / f3-tch {algorithm}: {rival / statistics.median(seconds[f'f3-tch {algorithm}']):.2f}")


if __name__ == "__main__":
    main()
