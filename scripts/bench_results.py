"""What the benchmark has measured: rows, ratios and targets, tables and plots."""

import csv
import statistics
import sys

from bench_programs import WORKLOADS


class Results:
    """Every counted epoch, in memory and in results.csv."""

    COLUMNS = ["part", "case", "program", "samples", "seconds", "training", "evaluation", "peak_mib"]

    def __init__(self, folder):
        self.rows = []
        self.file = open(folder / "results.csv", "w", newline="")
        self.writer = csv.DictWriter(self.file, self.COLUMNS)
        self.writer.writeheader()

    def measure(self, part, case, contestants, workload, cores, rounds, epochs):
        epochs = max(epochs, workload.least_epochs)
        for turn in range(rounds):
            for contestant in contestants:
                found, peak = contestant.epochs(workload, epochs + 1, cores)
                for epoch in found[1:]:
                    self.add(part, case, contestant.label, workload.samples, *epoch, round(peak, 1))
                print(f"{part} {case}: {turn + 1}/{rounds} {contestant.label} "
                      f"{statistics.median(epoch.seconds for epoch in found[1:]):.4f} s", file=sys.stderr)

    def add(self, *values):
        self.rows.append(dict(zip(self.COLUMNS, values)))
        self.writer.writerow(self.rows[-1])
        self.file.flush()

    def of(self, part, case, program, column="seconds"):
        return [row[column] for row in self.rows
                if (row["part"], row["case"], row["program"]) == (part, case, program)]

    def median(self, part, case, program, column="seconds"):
        return statistics.median(self.of(part, case, program, column))

    def least(self, part, case, program, column="seconds"):
        return min(self.of(part, case, program, column))

    def ratio(self, part, case, a, b):
        """a over b, of fastest epochs and of medians; nothing where one was not measured."""
        if not self.of(part, case, a) or not self.of(part, case, b):
            return None
        return [of(part, case, a) / of(part, case, b) for of in (self.least, self.median)]

    def cases(self, part):
        return list(dict.fromkeys(row["case"] for row in self.rows if row["part"] == part))

    def programs(self, part, case):
        return list(dict.fromkeys(row["program"] for row in self.rows
                                  if (row["part"], row["case"]) == (part, case)))


RATIOS = [
    *[(rival, "f3-tch F3 auto") for rival in (
        "PyTorch F3", "PyTorch BP", "PyTorch F3 compiled", "PyTorch BP compiled", "JAX F3", "JAX BP",
        "f3-tch F3 sequential",
    )],
    ("f3-tch BP", "f3-tch F3 sequential"), ("f3-tch BP aten", "f3-tch F3 aten"),
    ("PyTorch BP", "f3-tch BP"), ("PyTorch BP compiled", "f3-tch BP"), ("JAX BP", "f3-tch BP"),
    ("PyTorch DFA", "f3-tch DFA"), ("JAX DFA", "f3-tch DFA"),
    *[(f"f3-tch {rule}", "f3-tch F3 auto") for rule in ("DFA", "FA", "DRTP", "PEPITA")],
]


def targets():
    """Part, case, two programs, and how many times as long as the second one the first should take."""
    for case, least in (("W1", 1.5), ("W2", 1.5), ("W3", 1.4)):
        for rival in ("PyTorch BP", "PyTorch BP compiled"):
            yield "workload", case, rival, "f3-tch BP", least
    yield "workload", "W3", "JAX F3", "f3-tch F3 auto", 1.8
    yield "workload", "W3", "JAX BP", "f3-tch F3 auto", 2.6
    for rule, ours in (("F3", "f3-tch F3 auto"), ("BP", "f3-tch BP")):
        yield "workload", "W4", f"PyTorch {rule}", ours, 1.5
        yield "workload", "W4", f"PyTorch {rule} compiled", ours, 1.5
        yield "workload", "W4", f"JAX {rule}", ours, 1.35
    for case in ("W5", "W6"):
        yield "workload", case, "JAX F3", "f3-tch F3 auto", 2.5
    for rule, ours in (("F3", "f3-tch F3 auto"), ("BP", "f3-tch BP")):
        yield "workload", "W7", f"PyTorch {rule}", ours, 1.0
        yield "workload", "W7", f"PyTorch {rule} compiled", ours, 1.0
    for rival, least in (("PyTorch run", 2.2), ("PyTorch run compiled", 2.2), ("DataLoader run", 12.0)):
        yield "run", "mnist", rival, "f3-tch run", least


def targets_text(results):
    """The targets that were measured: ratios of two programs, and in every cell of the sweeps
    PyTorch's backpropagation against ours."""
    wanted = list(targets())
    for part in ("depth", "width", "batch"):
        wanted += [(part, case, "PyTorch BP", "f3-tch BP", 0.97) for case in results.cases(part)]
    found = []
    for part, case, a, b, least in wanted:
        ratios = results.ratio(part, case, a, b)
        if ratios:
            where = case if part == "workload" else f"{part} {case}"
            met = "yes" if ratios[0] >= least else "no"
            found.append([where, f"{a} / {b}", f"{least:.2f}", *[f"{it:.2f}" for it in ratios], met])
    if not found:
        return ""
    header = ["", "ratio", "at least", "of fastest epochs", "of medians", "met by the fastest"]
    return "\n## Targets\n\n" + table(header, found)


def ratios_text(results, part, case, pairs):
    measured = [(a, b, results.ratio(part, case, a, b)) for a, b in pairs]
    return table(["ratio", "of fastest epochs", "of medians"], [
        [f"{a} / {b}", *[f"{it:.2f}" for it in ratios]] for a, b, ratios in measured if ratios
    ])


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plot(results, folder):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    names = results.cases("workload")
    if names:
        columns = min(len(names), 2)
        lines = -(-len(names) // columns)
        size = (5.6 * columns, 4.8 * lines)
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
            programs = results.programs(part, cases[0])
            cases = [it for it in cases if results.programs(part, it) == programs]  # complete ones
            for program in programs:
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
