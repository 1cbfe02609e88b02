"""What the benchmark measures: workloads, and the programs that take turns on them.

A program has `epochs(workload, count, cores)`, which trains in a process of its own on these cores and
gives an `Epoch` for each of `count` epochs, and the process's peak memory in MiB.
"""

import bisect
import csv
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/f3-tch"
PROFILE = ROOT / "target/release/examples/profile"
CNN = "32C5-pool-64C5-pool-1000FC"


class Epoch(NamedTuple):
    """Seconds: of what is compared and, of a whole run, those of training and of evaluation."""

    seconds: float
    training: float | None = None
    evaluation: float | None = None


class Workload(NamedTuple):
    """A network, a data set, a batch size, and how many training samples an epoch has."""

    hidden: int
    width: int
    batch: int
    samples: int
    model: str = "mlp"
    config: str = "mnist"
    inputs: int = 784
    outputs: int = 10
    least_epochs: int = 1  # counted ones in a turn: more where an epoch is short

    def __str__(self):
        if self.model == "vit":
            network = "Vision Transformer"
        elif self.model == "cnn":
            network = f"{CNN}-10"
        else:
            layers = f"{self.hidden}x{self.width}" if self.hidden > 1 else f"{self.width}"
            network = f"{self.inputs}-{layers}-{self.outputs}"
        return f"{network}, batch {self.batch}, epochs of {self.samples:,} samples"

    def widths(self):
        return [self.inputs, *[self.width] * self.hidden, self.outputs]

    def data_set(self):
        return self.config if self.config in ("sgemm", "wine_quality") else "mnist"

    def sets(self):
        """Keys of f3-tch's configuration."""
        sets = {"data.batch_size": self.batch, "data.train_samples": self.samples}
        if self.model == "mlp":
            sets |= {"model.hidden_layers": self.hidden, "model.width": self.width}
        if self.model == "cnn":
            sets |= {"model.topology": CNN}
        return sets

    def arguments(self):
        """Of a rival."""
        data_set = self.data_set()
        arguments = ["--data", os.environ["F3_DATA_DIR"], "--data-set", data_set]
        if self.model == "mlp":
            arguments += ["--hidden", self.hidden, "--width", self.width]
        return arguments + ["--batch-size", self.batch, "--samples", self.samples]


WORKLOADS = {
    "W1": Workload(1, 500, 50, 60000),
    "W2": Workload(10, 500, 50, 10000),
    "W3": Workload(20, 1000, 20, 2000),
    "W4": Workload(0, 0, 100, 3000, model="vit", config="mnist_vit"),
    "W5": Workload(1, 500, 512, 773120, config="sgemm", inputs=14, outputs=1),
    "W6": Workload(1, 500, 50, 5197, config="wine_quality", inputs=12, outputs=1, least_epochs=20),
    "W7": Workload(0, 0, 50, 2000, model="cnn", config="mnist_cnn"),
}
# Whole runs of the configurations of these names.
RUNS = {"mnist": WORKLOADS["W1"], "sgemm": WORKLOADS["W5"], "wine_quality": WORKLOADS["W6"]}


class Ours:
    """f3-tch with an algorithm and `--set`s."""

    def __init__(self, label, algorithm="f3", only=lambda workload: True, **sets):
        self.label, self.algorithm, self.only = f"f3-tch {label}", algorithm, only
        self.sets = {key.replace("__", "."): value for key, value in sets.items()}

    def suits(self, workload):
        return self.only(workload)

    def command(self, workload, count, threads, folder):
        config = "mnist_pepita" if self.algorithm == "pepita" else workload.config
        sets = {
            "algorithm.name": self.algorithm, "epochs": count, "threads": threads, "device": "cpu",
            **workload.sets(), **self.sets,
        }
        command = [PROGRAM, "train", config, "--quiet", "--run-dir", folder]
        return command + [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]

    def epochs(self, workload, count, cores):
        with tempfile.TemporaryDirectory() as folder:
            _, peak = run(self.command(workload, count, len(cores), f"{folder}/run"), cores)
            return self.found(pathlib.Path(folder) / "run"), peak

    def found(self, folder):
        return [Epoch(float(row["train_seconds"])) for row in rows(folder)[1:]]  # row 0: before training

    def check(self, workload, count, cores):
        """The loss on the training set after so many epochs."""
        with tempfile.TemporaryDirectory() as folder:
            run(self.command(workload, count, len(cores), f"{folder}/run"), cores)
            return float(rows(pathlib.Path(folder) / "run")[-1]["train_loss"])


class OurRun(Ours):
    """f3-tch, with all that belongs to an epoch: evaluation, logs and checkpoints."""

    def found(self, folder):
        """Times between the epochs' ends, as the curves for TensorBoard have them: those of metrics.csv
        leave out what is written."""
        times = ends(folder)
        parts = [(float(row["train_seconds"]), float(row["eval_seconds"])) for row in rows(folder)[1:]]
        return [Epoch(b - a, *part) for a, b, part in zip(times, times[1:], parts)]

    def check(self, workload, count, cores):
        with tempfile.TemporaryDirectory() as folder:
            run(self.command(workload, count, len(cores), f"{folder}/run"), cores)
            return rows(pathlib.Path(folder) / "run")[-1]


class Rival:
    """One of scripts/rival_*.py that only train."""

    def __init__(self, label, script, algorithm, *options):
        self.label, self.script, self.algorithm, self.options = label, script, algorithm, options

    def suits(self, workload):
        return True

    def command(self, workload, count, threads):
        command = [sys.executable, ROOT / f"scripts/{self.script}.py", *self.options]
        command += ["--algorithm", self.algorithm, "--model", workload.model, *workload.arguments()]
        return command + ["--epochs", count, "--threads", threads]

    def epochs(self, workload, count, cores):
        output, peak = run(self.command(workload, count, len(cores)), cores)
        return [Epoch(float(line)) for line in output.split()], peak

    def check(self, workload, count, cores):
        output, _ = run([*self.command(workload, count, len(cores)), "--check"], cores)
        return float(output)


class RivalRun:
    """A rival's whole run of F³."""

    def __init__(self, label, script, *options):
        self.label, self.script, self.options = label, script, options

    def suits(self, workload):
        return True

    def trained(self, workload, count, cores, folder):
        command = [sys.executable, ROOT / f"scripts/{self.script}.py", *self.options, *workload.arguments()]
        command += ["--epochs", count, "--threads", len(cores), "--out", folder]
        return run(command, cores)

    def epochs(self, workload, count, cores):
        with tempfile.TemporaryDirectory() as folder:
            output, peak = self.trained(workload, count, cores, folder)
        return [Epoch(*map(float, line.split())) for line in output.splitlines()], peak

    def check(self, workload, count, cores):
        with tempfile.TemporaryDirectory() as folder:
            self.trained(workload, count, cores, folder)
            return rows(pathlib.Path(folder))[-1]


def is_fused(workload):
    return workload.model == "mlp"


def has_choice(workload):
    """Whether there are several layers to be put into an order, so that schedules differ."""
    return workload.data_set() == "mnist"


OURS = [
    Ours("F3 sequential", only=has_choice, schedule__name="sequential"),
    Ours("F3 layer_major", only=has_choice, schedule__name="layer_major"),
    Ours("F3 pipelined", only=has_choice, schedule__name="pipelined"),
    Ours("F3 auto"),
    Ours("F3 auto bf16", only=is_fused, precision="bf16"),
    Ours("F3 aten", only=is_fused, kernels="aten", schedule__name="sequential"),
    Ours("BP", "bp"),
    Ours("BP aten", "bp", only=is_fused, kernels="aten"),
    Ours("DFA", "dfa"),
    Ours("FA", "fa", only=is_fused),
    Ours("DRTP", "drtp"),
    # With its own learning rate of 0.1 the twenty layers of W3 diverge; a step takes as long with any.
    Ours("PEPITA", "pepita", only=lambda it: is_fused(it) and it.config == "mnist", optimizer__learning_rate=1e-4),
]
RIVALS = [
    Rival("PyTorch F3", "rival_pytorch", "f3"),
    Rival("PyTorch BP", "rival_pytorch", "bp"),
    Rival("PyTorch DFA", "rival_pytorch", "dfa"),
    Rival("PyTorch F3 compiled", "rival_pytorch", "f3", "--compile"),
    Rival("PyTorch BP compiled", "rival_pytorch", "bp", "--compile"),
    Rival("JAX F3", "rival_jax", "f3"),
    Rival("JAX BP", "rival_jax", "bp"),
    Rival("JAX DFA", "rival_jax", "dfa"),
]
BY_LABEL = {it.label: it for it in OURS + RIVALS}
WHOLE = [
    OurRun("run"),
    RivalRun("PyTorch run", "rival_run"),
    RivalRun("PyTorch run compiled", "rival_run", "--compile"),
    RivalRun("DataLoader run", "rival_loader"),
]


def run(command, cores):
    """Runs a program on these cores; gives what it prints, and its peak resident memory in MiB."""
    return started(command, cores)()


def started(command, cores, **options):
    """Starts a program on these cores; gives a function that waits for it, as `run` does."""
    command = [str(part) for part in command]
    if hasattr(os, "sched_setaffinity"):
        options["preexec_fn"] = lambda: os.sched_setaffinity(0, cores)
    errors, printed = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    process = subprocess.Popen(command, stdout=printed, stderr=errors, **options)

    def wait():
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with errors, printed:
            errors.seek(0)
            printed.seek(0)
            if process.returncode != 0:
                sys.stderr.write(errors.read().decode())
                raise SystemExit(f"failed: {' '.join(command)}")
            unit = 1 << 10 if sys.platform == "darwin" else 1  # ru_maxrss counts bytes there, elsewhere KiB
            return printed.read().decode(), usage.ru_maxrss / unit / 1024

    return wait


def rows(folder):
    """Of metrics.csv in a run's folder."""
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def ends(folder):
    """When the epochs of a run of f3-tch have ended, in seconds, from epoch 0 on."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = folder.glob("events.out.tfevents.*")
    times = {}
    for event in EventFileLoader(str(path)).Load():
        if any(value.tag == "loss/train" for value in event.summary.value):
            times[event.step] = event.wall_time
    return [times[step] for step in sorted(times)]


def rate(folders):
    """Epochs per second of f3-tch's runs while all of them were under way, each after its first epoch."""
    runs = [ends(folder)[1:] for folder in folders]
    start, end = max(times[0] for times in runs), min(times[-1] for times in runs)
    if end <= start:
        raise SystemExit("the runs did not run side by side; give them more epochs")
    return sum(place(times, end) - place(times, start) for times in runs) / (end - start)


def place(times, moment):
    """How many epochs had ended at this moment, the one under way by its share."""
    index = min(max(bisect.bisect_right(times, moment) - 1, 0), len(times) - 2)
    return index + (moment - times[index]) / (times[index + 1] - times[index])


def side_by_side(workload, count, groups):
    """Epochs per second of whole runs of f3-tch, one for each group of cores."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [pathlib.Path(folder) / f"run-{index}" for index in range(len(groups))]
        ours = OurRun("run")
        waits = [started(ours.command(workload, count, len(cores), path), cores)
                 for cores, path in zip(groups, folders)]
        for wait in waits:
            wait()
        return rate(folders)


def swept(workload, count, jobs, cores):
    """Epochs per second of `jobs` runs of one thread each in `f3-tch sweep run -j jobs`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [PROGRAM, "sweep", "run", workload.config, "--name", "many", "--runs", folder, "-j", jobs]
        command += ["--vary", f"seed=1..{jobs}", "--set", f"epochs={count}", "--set", "threads=1"]
        command += ["--set", "device=cpu"]
        # The sweep's own file goes into `runs/` of the folder that it is called in.
        started(command, cores, cwd=folder)()
        return rate([path.parent for path in pathlib.Path(folder).rglob("metrics.csv")])


def supports_bfloat16():
    command = [PROGRAM, "train", "digits", "--quiet", "--set", "precision=bf16", "--set", "epochs=1"]
    command += ["--set", "device=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--run-dir", f"{folder}/run"]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def fetch(data_sets):
    subprocess.run([PROGRAM, "data", "fetch", *sorted(set(data_sets))], check=True)


def profile(workload, cores):
    """What examples/profile.rs finds for a fully connected network."""
    command = [PROFILE, "--json", "--batch", workload.batch, "--samples", workload.samples]
    command += ["--threads", len(cores), "--widths", ",".join(str(width) for width in workload.widths())]
    return json.loads(run(command, cores)[0])


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
