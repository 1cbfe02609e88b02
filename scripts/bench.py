"""Seconds per training epoch of f3-tch, PyTorch and JAX on MNIST, in one run on the same cores.

The programs take turns, so that a change in the machine's speed hits all of them. Each turn is a
process of its own that trains an epoch which is not counted, and then epochs that are. Long epochs are
cut to the first samples of the training set: an epoch's time is proportional to them.

Writes into a folder: results.csv (a row per counted epoch, with the process's peak memory),
report.md (medians, spreads, ratios and the machine's limit) and the plots. Where other users of the
machine disturb (half of a virtual machine's cores may be gone for minutes), the fastest epochs say more
than the medians; the report has both.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/f3-tch"
PROFILE = ROOT / "target/release/examples/profile"


class Workload:
    """A network, a batch size, and how many training samples an epoch has."""

    def __init__(self, hidden, width, batch, samples, model="mlp"):
        self.hidden, self.width, self.batch, self.samples = hidden, width, batch, samples
        self.model = model

    def __str__(self):
        if self.model == "vit":
            return f"Vision Transformer, batch {self.batch}, epochs of {self.samples:,} samples"
        layers = f"{self.hidden}x{self.width}" if self.hidden > 1 else f"{self.width}"
        return f"784-{layers}-10, batch {self.batch}, epochs of {self.samples:,} samples"


WORKLOADS = {
    "W1": Workload(1, 500, 50, 60000),
    "W2": Workload(10, 500, 50, 10000),
    "W3": Workload(20, 1000, 20, 2000),
    "W4": Workload(0, 0, 100, 3000, model="vit"),
}


class Ours:
    """f3-tch with an algorithm and `--set`s."""

    def __init__(self, label, algorithm="f3", **sets):
        self.label, self.algorithm = f"f3-tch {label}", algorithm
        self.sets = {key.replace("__", "."): value for key, value in sets.items()}

    def epochs(self, workload, count, cores):
        with tempfile.TemporaryDirectory() as folder:
            sets = {
                "algorithm.name": self.algorithm,
                "data.batch_size": workload.batch,
                "data.train_samples": workload.samples,
                "epochs": count,
                "threads": len(cores),
                "device": "cpu",
                **self.sets,
            }
            if workload.model == "mlp":
                sets |= {"model.hidden_layers": workload.hidden, "model.width": workload.width}
            config = "mnist" if workload.model == "mlp" else "mnist_vit"
            command = [PROGRAM, "train", config, "--quiet", "--run-dir", f"{folder}/run"]
            for key, value in sets.items():
                command += ["--set", f"{key}={value}"]
            _, peak = run(command, cores)
            with open(f"{folder}/run/metrics.csv") as file:
                rows = list(csv.DictReader(file))
        return [float(row["train_seconds"]) for row in rows[1:]], peak  # row 0 is before training


class Rival:
    """One of scripts/rival_*.py."""

    def __init__(self, label, script, algorithm, *options):
        self.label, self.script, self.algorithm, self.options = label, script, algorithm, options

    def epochs(self, workload, count, cores):
        command = [sys.executable, ROOT / f"scripts/{self.script}.py", *self.options]
        command += ["--data", pathlib.Path(os.environ["F3_DATA_DIR"]) / "mnist"]
        command += ["--algorithm", self.algorithm, "--model", workload.model]
        if workload.model == "mlp":
            command += ["--hidden", workload.hidden, "--width", workload.width]
        command += ["--batch-size", workload.batch, "--samples", workload.samples]
        command += ["--epochs", count, "--threads", len(cores)]
        output, peak = run(command, cores)
        return [float(line) for line in output.split()], peak


OURS = [
    Ours("F3 sequential", schedule__name="sequential"),
    Ours("F3 layer_major", schedule__name="layer_major"),
    Ours("F3 pipelined", schedule__name="pipelined"),
    Ours("F3 auto"),
    Ours("F3 auto bf16", precision="bf16"),
    Ours("F3 aten", kernels="aten", schedule__name="sequential"),
    Ours("BP", "bp"),
    Ours("BP aten", "bp", kernels="aten"),
]
RIVALS = [
    Rival("PyTorch F3", "rival_pytorch", "f3"),
    Rival("PyTorch BP", "rival_pytorch", "bp"),
    Rival("PyTorch F3 compiled", "rival_pytorch", "f3", "--compile"),
    Rival("PyTorch BP compiled", "rival_pytorch", "bp", "--compile"),
    Rival("JAX F3", "rival_jax", "f3"),
    Rival("JAX BP", "rival_jax", "bp"),
]
RATIOS = [
    ("PyTorch F3", "f3-tch F3 auto"), ("PyTorch BP", "f3-tch F3 auto"),
    ("PyTorch F3 compiled", "f3-tch F3 auto"), ("PyTorch BP compiled", "f3-tch F3 auto"),
    ("JAX F3", "f3-tch F3 auto"), ("JAX BP", "f3-tch F3 auto"),
    ("f3-tch F3 sequential", "f3-tch F3 auto"),
    ("f3-tch BP", "f3-tch F3 sequential"), ("f3-tch BP aten", "f3-tch F3 aten"),
    ("PyTorch BP", "f3-tch BP"), ("JAX BP", "f3-tch BP"),
]


def run(command, cores):
    """Runs a program on these cores; gives what it prints, and its peak resident memory in MiB."""
    pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, cores)} if hasattr(os, "sched_setaffinity") else {}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, **pinned
        )
        output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            sys.stderr.write(errors.read().decode())
            raise SystemExit(f"failed: {' '.join(str(part) for part in command)}")
    unit = 1 << 10 if sys.platform == "darwin" else 1  # ru_maxrss counts bytes there, elsewhere KiB
    return output, usage.ru_maxrss / unit / 1024


class Results:
    """Every counted epoch, in memory and in results.csv."""

    COLUMNS = ["part", "case", "program", "samples", "seconds", "peak_mib"]

    def __init__(self, folder):
        self.rows = []
        self.file = open(folder / "results.csv", "w", newline="")
        self.writer = csv.DictWriter(self.file, self.COLUMNS)
        self.writer.writeheader()

    def measure(self, part, case, contestants, workload, cores, rounds, epochs):
        for turn in range(rounds):
            for contestant in contestants:
                seconds, peak = contestant.epochs(workload, epochs + 1, cores)
                for value in seconds[1:]:
                    values = [part, case, contestant.label, workload.samples, value, round(peak, 1)]
                    self.rows.append(dict(zip(self.COLUMNS, values)))
                    self.writer.writerow(self.rows[-1])
                self.file.flush()
                print(f"{part} {case}: {turn + 1}/{rounds} {contestant.label} "
                      f"{statistics.median(seconds[1:]):.3f} s", file=sys.stderr)

    def of(self, part, case, program, column="seconds"):
        return [row[column] for row in self.rows
                if (row["part"], row["case"], row["program"]) == (part, case, program)]

    def median(self, part, case, program, column="seconds"):
        return statistics.median(self.of(part, case, program, column))

    def least(self, part, case, program, column="seconds"):
        return min(self.of(part, case, program, column))

    def cases(self, part):
        return list(dict.fromkeys(row["case"] for row in self.rows if row["part"] == part))

    def programs(self, part, case):
        return list(dict.fromkeys(row["program"] for row in self.rows
                                  if (row["part"], row["case"]) == (part, case)))


def supports_bfloat16():
    command = [PROGRAM, "train", "digits", "--quiet", "--set", "precision=bf16", "--set", "epochs=1"]
    command += ["--set", "device=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--run-dir", f"{folder}/run"]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def profile(workload, cores):
    """What examples/profile.rs finds for a fully connected network."""
    widths = [784, *[workload.width] * workload.hidden, 10]
    command = [PROFILE, "--json", "--batch", workload.batch, "--samples", workload.samples]
    command += ["--threads", len(cores), "--widths", ",".join(str(width) for width in widths)]
    return json.loads(run(command, cores)[0])


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def workload_part(results, names, wanted, cores, rounds, epochs):
    """Each workload with all programs; gives the report's text."""
    text = ""
    bfloat16 = supports_bfloat16()
    for name in names:
        workload = WORKLOADS[name]
        dense = workload.model == "mlp"
        ours = [it for it in OURS if dense or "aten" not in it.label and "bf16" not in it.label]
        ours = [it for it in ours if bfloat16 or "bf16" not in it.label]
        contestants = [it for it in ours + RIVALS if any(re.search(part, it.label) for part in wanted)]
        results.measure("workload", name, contestants, workload, cores, rounds, epochs)
        rows = []
        for program in results.programs("workload", name):
            values = results.of("workload", name, program)
            peak = results.median("workload", name, program, "peak_mib")
            rows.append([program, f"{statistics.median(values):.3f}", f"{min(values):.3f}",
                         f"{max(values):.3f}", str(len(values)), f"{peak:.0f}"])
        header = ["program", "median s", "fastest", "slowest", "epochs", "peak MiB"]
        text += f"\n## {name}: {workload}\n\n" + table(header, rows)
        pairs = [(a, b) for a, b in RATIOS if results.of("workload", name, a) and results.of("workload", name, b)]
        text += "\n" + table(["ratio", "of medians", "of fastest epochs"], [
            [f"{a} / {b}"] + [
                f"{middle(results.of('workload', name, a)) / middle(results.of('workload', name, b)):.2f}"
                for middle in (statistics.median, min)
            ]
            for a, b in pairs
        ])
        if dense:
            found = profile(workload, cores)
            limit = found["limit seconds"]
            rows = [[program, f"{limit['epoch'] / results.median('workload', name, program):.2f}"]
                    for program in results.programs("workload", name) if "bf16" not in program]
            text += (
                f"\nThe machine's limit for F3, batch by batch: {limit['epoch']:.3f} s, of it products {limit['products']:.3f} "
                f"s at {found['best rate GFLOP/s']:.0f} GFLOP/s ({found['best rate of']}), optimizer "
                f"{limit['optimizer']:.3f} s at {found['stream GB/s']:.0f} GB/s for memory of all layers together "
                "(layer by layer it is read from the cache).\n\n"
                + table(["program", "share of the limit"], [row for row in rows if "F3" in row[0]])
            )
    return text


SWEEPS = {
    "depth": [(hidden, Workload(hidden, 500, 50, 3000)) for hidden in (1, 2, 5, 10, 20, 50, 100)],
    "width": [(width, Workload(5, width, 50, 3000)) for width in (50, 100, 250, 500, 1000, 2000)],
    "batch": [(batch, Workload(5, 500, batch, 6000)) for batch in (5, 10, 20, 50, 100, 250, 1000)],
}
SWEPT = [Ours("F3 sequential", schedule__name="sequential"), Ours("F3 auto"), Ours("BP", "bp"), *RIVALS[:2]]


def sweep_part(results, part, cores, rounds, epochs):
    for value, workload in SWEEPS[part]:
        results.measure(part, value, SWEPT, workload, cores, rounds, epochs)
    programs = [it.label for it in SWEPT]
    rows = [[str(case)] + [f"{results.least(part, case, it):.3f} / {results.median(part, case, it):.3f}"
                           for it in programs] for case in results.cases(part)]
    return f"\n## Seconds per epoch by {part}, fastest / median\n\n" + table([part, *programs], rows)


def threads_part(results, cores, rounds, epochs):
    """One core and all of them; pipelined with a stage per core, each stage with one thread."""
    contestants = [*OURS[:4], OURS[6], *RIVALS[:2], *RIVALS[4:]]
    workload = Workload(10, 500, 50, 6000)
    counts = sorted({1, len(cores)} | ({2} if len(cores) > 2 else set()))
    for count in counts:
        results.measure("threads", count, contestants, workload, cores[:count], rounds, epochs)
    # Hidden layers of equal cost, and none besides: two stages can be balanced exactly.
    balanced = Workload(8, 784, 50, 6000)
    stages = [Ours(f"F3 {count} stages", schedule__name="pipelined", schedule__stages=count)
              for count in counts]
    for _ in range(rounds + 1):  # taking turns
        for count, contestant in zip(counts, stages):
            results.measure("stages", count, [contestant], balanced, cores[:count], 1, epochs)
    rows = [[it.label] + [f"{results.least('threads', count, it.label):.3f}" for count in counts]
            for it in contestants]
    rows.append(["f3-tch pipelined, a stage per thread, 784-8x784-10"]
                + [f"{results.least('stages', count, it.label):.3f}" for count, it in zip(counts, stages)])
    one = results.least("stages", counts[0], stages[0].label)
    most = results.least("stages", counts[-1], stages[-1].label)
    text = table([f"{workload}", *[f"{count} threads" for count in counts]], rows)
    return (f"\n## Seconds per epoch by threads, fastest epochs\n\n{text}\n{counts[-1]} pipeline stages are "
            f"{one / most:.2f} times as fast as one on the balanced network.\n")


def memory_part(results, cores):
    """The process's peak by depth: networks large enough to be more than what loading MNIST takes, and
    batches large enough for activations to count."""
    contestants = [Ours("F3 sequential", schedule__name="sequential"), Ours("F3 layer_major", schedule__name="layer_major"), Ours("BP", "bp")]
    depths, width, batch = (300, 400, 500), 300, 2000
    for hidden in depths:
        workload = Workload(hidden, width, batch, batch)
        results.measure("memory", hidden, contestants, workload, cores, 1, 1)
    programs = [it.label for it in contestants]
    peak = lambda depth, it: results.median("memory", depth, it, "peak_mib")
    rows = [[str(depth)] + [f"{peak(depth, it):.0f}" for it in programs] for depth in depths]
    per_layer = [(peak(depths[-1], it) - peak(depths[0], it)) / (depths[-1] - depths[0]) for it in programs]
    rows.append(["MiB per layer"] + [f"{value:.2f}" for value in per_layer])
    parameters = (width * width + width) * 12 / 2**20
    feedback = width * 10 * 4 / 2**20
    return (
        f"\n## Peak memory by depth (width {width}, batch {batch})\n\n" + table(["hidden layers", *programs], rows)
        + f"\nA layer's weights and Adam moments are {parameters:.2f} MiB, its feedback {feedback:.2f} MiB, "
        f"its activations of a batch {batch * width * 4 / 2**20:.2f} MiB.\n"
    )


def feedback_part(cores):
    """The hidden signal: e B of F3 against backpropagation's product with the weights."""
    rows = []
    for width in (100, 250, 500, 1000, 2000):
        found = profile(Workload(2, width, 50, 60000), cores)["layers"][1]
        counts = found["multiply-adds of e B"], found["multiply-adds of backpropagation"]
        times = found["libtorch signal e B"], found["backpropagated signal"]
        rows.append([str(width), f"{counts[0]:,}", f"{counts[1]:,}", f"{counts[1] / counts[0]:.0f}",
                     f"{times[0]:.1f}", f"{times[1]:.1f}", f"{times[1] / times[0]:.1f}"])
    header = ["width", "multiply-adds F3", "BP", "ratio", "µs F3", "µs BP", "ratio"]
    return ("\n## The hidden signal of one layer, batch 50\n\nF3 computes e B (C w multiply-adds a sample), "
            "backpropagation the product with the weights (w² a sample).\n\n" + table(header, rows))


def plot(results, folder):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    names = results.cases("workload")
    if names:
        columns = min(len(names), 2)
        lines = -(-len(names) // columns)
        size = (5.6 * columns, 4.2 * lines)
        figure, axes = pyplot.subplots(lines, columns, figsize=size, squeeze=False)
        for axis in axes.flat[len(names):]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, names):
            programs = [it for it in results.programs("workload", name)][::-1]
            fastest = [results.least("workload", name, it) for it in programs]
            medians = [results.median("workload", name, it) for it in programs]
            colors = ["tab:green" if it.startswith("f3-tch F3") else "tab:olive" if it.startswith("f3-tch")
                      else "tab:red" if it.startswith("PyTorch") else "tab:blue" for it in programs]
            axis.barh(programs, fastest, color=colors)
            axis.plot(medians, programs, "k|", markersize=10)
            axis.set_title(f"{name}: {WORKLOADS[name]}".replace(", epochs", "\nepochs"), fontsize=9)
            axis.set_xlabel("seconds per epoch: fastest (bar), median (line)")
            axis.set_xlim(0, 1.5 * max(fastest))
            axis.tick_params(labelsize=8)
        figure.tight_layout()
        figure.savefig(folder / "workloads.png", dpi=110)
    sweeps = [part for part in ("depth", "width", "batch", "memory") if results.cases(part)]
    if sweeps:
        figure, axes = pyplot.subplots(1, len(sweeps), figsize=(4.4 * len(sweeps), 3.8), squeeze=False)
        for axis, part in zip(axes[0], sweeps):
            cases, column = results.cases(part), "peak_mib" if part == "memory" else "seconds"
            for program in results.programs(part, cases[0]):
                axis.plot(cases, [results.least(part, case, program, column) for case in cases], "o-", label=program)
            axis.set_xlabel({"depth": "hidden layers", "memory": "hidden layers"}.get(part, part))
            axis.set_ylabel("peak memory, MiB" if part == "memory" else "seconds, fastest epoch")
            if part != "memory":
                axis.set_xscale("log")
                axis.set_yscale("log")
            axis.legend(fontsize=7)
            axis.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(folder / "sweeps.png", dpi=110)


PARTS = ["workload", "depth", "width", "batch", "threads", "memory", "feedback"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--programs", default="F3,BP", help="regular expressions for the names of those to run on workloads")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program on a workload")
    parser.add_argument("--epochs", type=int, default=1, help="counted epochs of a turn")
    parser.add_argument("--threads", type=int, help="cores that are used [default: all]")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs/bench", help="folder of the results")
    chosen = parser.parse_args()
    parts, names = chosen.parts.split(","), chosen.workloads.split(",")
    for wrong in [it for it in parts if it not in PARTS] + [it for it in names if it not in WORKLOADS]:
        parser.error(f"unknown: {wrong}")
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))
    cores = available[: chosen.threads or len(available)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    results = Results(chosen.out)

    text = f"# Seconds per training epoch\n\n{processor()}, {len(cores)} cores; MNIST, float32 unless bf16 is said\n"
    if "workload" in parts:
        text += workload_part(results, names, chosen.programs.split(","), cores, chosen.rounds, chosen.epochs)
    for part in ("depth", "width", "batch"):
        if part in parts:
            text += sweep_part(results, part, cores, 3, 2)
    if "threads" in parts:
        text += threads_part(results, cores, 2, 3)
    if "memory" in parts:
        text += memory_part(results, cores)
    if "feedback" in parts:
        text += feedback_part(cores)
    (chosen.out / "report.md").write_text(text)
    plot(results, chosen.out)
    print(text)
    print(f"files: {chosen.out}")


if __name__ == "__main__":
    main()
