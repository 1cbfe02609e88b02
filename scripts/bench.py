"""Seconds per epoch of f3-tch, PyTorch and JAX, in one run on the same cores.

The programs take turns, so that a change in the machine's speed hits all of them. Each turn is a
process of its own that trains an epoch which is not counted, and then epochs that are. Long epochs are
cut to the first samples of the training set: an epoch's time is proportional to them.

Parts: `workload` (training on W1 to W7, all programs), `run` (whole runs: training, evaluation, logs and
checkpoints), `many` (runs side by side), `depth`, `width`, `batch`, `threads`, `memory`, `feedback`, and
`check`, which is not timed: the losses that all programs reach.

Writes into a folder: results.csv (a row per counted epoch, with the process's peak memory),
report.md (targets, medians, spreads, ratios and the machine's limit), which grows workload by workload and
part by part, so that an interrupted benchmark leaves what was complete, and the plots. Where other users of
the machine disturb (half of a virtual machine's cores may be gone for minutes), the fastest epochs say
more than the medians; the report has both.
"""

import argparse
import os
import pathlib
import re
import statistics
import sys

from bench_programs import (
    BY_LABEL, OURS, RIVALS, ROOT, RUNS, WHOLE, WORKLOADS, Ours, Workload, fetch, is_fused, processor,
    profile, side_by_side, supports_bfloat16, swept,
)
from bench_results import RATIOS, Results, plot, ratios_text, table, targets_text


def workload_part(results, names, wanted, cores, rounds, epochs):
    """Each workload with all programs; gives the report's text, workload by workload."""
    bfloat16 = supports_bfloat16()
    for name in names:
        workload = WORKLOADS[name]
        results.measure("workload", name, contestants(workload, wanted, bfloat16), workload, cores, rounds, epochs)
        found = []
        for program in results.programs("workload", name):
            values = results.of("workload", name, program)
            peak = results.median("workload", name, program, "peak_mib")
            found.append([program, *[f"{it:.4f}" for it in (statistics.median(values), min(values), max(values))],
                          str(len(values)), f"{peak:.0f}"])
        header = ["program", "median s", "fastest", "slowest", "epochs", "peak MiB"]
        text = f"\n## {name}: {workload}\n\n" + table(header, found)
        text += "\n" + ratios_text(results, "workload", name, RATIOS)
        yield text + (limit_text(results, name, cores) if is_fused(workload) else "")


def contestants(workload, wanted, bfloat16):
    fitting = [it for it in OURS + RIVALS if it.suits(workload) and (bfloat16 or "bf16" not in it.label)]
    return chosen_of(fitting, wanted)


def chosen_of(programs, wanted):
    return [it for it in programs if any(re.search(part, it.label) for part in wanted)]


def limit_text(results, name, cores):
    found = profile(WORKLOADS[name], cores)
    limit = found["limit seconds"]
    shares = [[program, f"{limit['epoch'] / results.median('workload', name, program):.2f}"]
              for program in results.programs("workload", name) if "F3" in program and "bf16" not in program]
    return (
        f"\nThe machine's limit for F3, batch by batch: {limit['epoch']:.4f} s, of it products "
        f"{limit['products']:.4f} s at {found['best rate GFLOP/s']:.0f} GFLOP/s ({found['best rate of']}), "
        f"optimizer {limit['optimizer']:.4f} s at {found['stream GB/s']:.0f} GB/s for memory of all layers "
        "together (layer by layer it is read from the cache).\n\n" + table(["program", "share of the limit"], shares)
    )


def run_part(results, names, wanted, cores, rounds, epochs):
    """Whole runs of the carried configurations."""
    yield "\n## Whole runs: training, evaluation, logs and checkpoints, seconds per epoch\n"
    for name in names:
        workload = RUNS[name]
        measured = chosen_of(WHOLE, wanted)
        results.measure("run", name, measured, workload, cores, rounds, epochs)
        found = []
        for program in results.programs("run", name):
            of = [f"{results.least('run', name, program, it):.4f} / {results.median('run', name, program, it):.4f}"
                  for it in ("seconds", "training", "evaluation")]
            found.append([program, *of])
        header = [f"`{name}`, fastest / median", "epoch", "of it training", "of it evaluation"]
        pairs = [(it.label, WHOLE[0].label) for it in WHOLE[1:]]
        yield "\n" + table(header, found) + "\n" + ratios_text(results, "run", name, pairs)


def many_part(results, names, cores, rounds):
    """Whole runs side by side with a thread each, against one run; epochs per second of all together."""
    yield "\n## Many runs: epochs per second, most / median\n"
    count = len(cores)
    for name, epochs in (("mnist", 5), ("wine_quality", 150)):
        if name not in names:
            continue
        workload = RUNS[name]
        ways = {
            "one run, one thread": lambda: side_by_side(workload, epochs, [cores[:1]]),
            f"one run, {count} threads": lambda: side_by_side(workload, epochs, [cores]),
            f"{count} processes, one thread each": lambda: side_by_side(workload, epochs, [[it] for it in cores]),
            f"`sweep run -j {count}`": lambda: swept(workload, epochs, count, cores),
        }
        for _ in range(rounds):
            for way, measured in ways.items():
                seconds = 1 / measured()
                results.add("many", name, way, workload.samples, seconds, None, None, None)
                print(f"many {name}: {way} {1 / seconds:.2f} epochs per second", file=sys.stderr)
        rates = {way: (1 / results.least("many", name, way), 1 / results.median("many", name, way)) for way in ways}
        one, all_cores, *_ = rates.values()
        found = [[way, *[f"{most:.3f} / {median:.3f}"], f"{most / one[0]:.2f} / {median / one[1]:.2f}",
                  f"{most / all_cores[0]:.2f} / {median / all_cores[1]:.2f}"]
                 for way, (most, median) in rates.items()]
        header = [f"`{name}`", "epochs per second", "over one run, one thread", f"over one run, {count} threads"]
        yield "\n" + table(header, found)
    yield (f"\nTargets: {count} runs side by side at least {0.975 * count:.2f} times one run with one "
           f"thread, and at least one run with {count} threads.\n")


def check_part(names, runs, wanted, cores):
    """The losses that all programs reach with few samples: the same task, the same rule, other weights."""
    yield "\n## Check: losses on the training set\n"
    bfloat16 = supports_bfloat16()
    for name in names:
        workload = WORKLOADS[name]
        workload = workload._replace(samples=min(workload.samples, 40 * workload.batch))
        found = [[it.label, f"{it.check(workload, 3, cores):.5f}"] for it in contestants(workload, wanted, bfloat16)]
        yield f"\n{name}, after 3 epochs of {workload.samples:,} samples:\n\n" + table(["program", "loss"], found)
    for name in runs:
        workload = RUNS[name]
        workload = workload._replace(samples=min(workload.samples, 10000))
        found = {it.label: it.check(workload, 3, cores) for it in chosen_of(WHOLE, wanted)}
        columns = [it for it in next(iter(found.values()), {}) if it.startswith(("train_", "test_"))]
        # Rivals measure the standardised numbers of a regression; the loss is that of these everywhere.
        columns = [it for it in columns if not it.endswith(("seconds", "mae", "mape", "r2"))]
        lines = [[label, *[f"{float(row[it]):.5g}" for it in columns]] for label, row in found.items()]
        yield (f"\nWhole run of `{name}`, 3 epochs of {workload.samples:,} samples:\n\n"
               + table(["program", *columns], lines))


SWEEPS = {
    "depth": [(hidden, Workload(hidden, 500, 50, 3000)) for hidden in (1, 2, 5, 10, 20, 50, 100)],
    "width": [(width, Workload(5, width, 50, 3000)) for width in (50, 100, 250, 500, 1000, 2000)],
    "batch": [(batch, Workload(5, 500, batch, 6000)) for batch in (5, 10, 20, 50, 100, 250, 1000)],
}
SWEPT = ["f3-tch F3 sequential", "f3-tch F3 auto", "f3-tch BP", "PyTorch F3", "PyTorch BP"]
QUICK_SWEPT = ["f3-tch F3 auto", "f3-tch BP", "PyTorch BP"]


def sweep_part(results, part, wanted, cores, rounds, epochs, quick):
    measured = chosen_of([BY_LABEL[it] for it in (QUICK_SWEPT if quick else SWEPT)], wanted)
    programs = [it.label for it in measured]
    cells = SWEEPS[part][1::3] if quick else SWEEPS[part]
    for value, workload in cells:
        results.measure(part, value, measured, workload, cores, rounds, epochs)
    found = [[str(case)] + [f"{results.least(part, case, it):.4f} / {results.median(part, case, it):.4f}"
                            for it in programs]
             for case in results.cases(part)]
    header, rivals = [part, *programs], ["PyTorch BP", "f3-tch BP"]
    if set(rivals) <= set(programs):
        header.append(" / ".join(rivals))
        for row, case in zip(found, results.cases(part)):
            row.append(" / ".join(f"{it:.2f}" for it in results.ratio(part, case, *rivals)))
    yield f"\n## Seconds per epoch by {part}, fastest / median\n\n" + table(header, found)


def threads_part(results, cores, rounds, epochs):
    """One core and all of them; pipelined with a stage per core, each stage with one thread."""
    measured = [BY_LABEL[f"f3-tch {it}"] for it in ("F3 sequential", "F3 layer_major", "F3 pipelined", "BP")]
    measured += [BY_LABEL[it] for it in ("PyTorch F3", "PyTorch BP", "JAX F3", "JAX BP")]
    workload = Workload(10, 500, 50, 6000)
    counts = sorted({1, len(cores)} | ({2} if len(cores) > 2 else set()))
    for count in counts:
        results.measure("threads", count, measured, workload, cores[:count], rounds, epochs)
    # Hidden layers of equal cost, and none besides: two stages can be balanced exactly.
    balanced = Workload(8, 784, 50, 6000)
    stages = [Ours(f"F3 {count} stages", schedule__name="pipelined", schedule__stages=count)
              for count in counts]
    for _ in range(rounds + 1):  # taking turns
        for count, contestant in zip(counts, stages):
            results.measure("stages", count, [contestant], balanced, cores[:count], 1, epochs)
    found = [[it.label] + [f"{results.least('threads', count, it.label):.3f}" for count in counts]
             for it in measured]
    found.append(["f3-tch pipelined, a stage per thread, 784-8x784-10"]
                 + [f"{results.least('stages', count, it.label):.3f}" for count, it in zip(counts, stages)])
    one = results.least("stages", counts[0], stages[0].label)
    most = results.least("stages", counts[-1], stages[-1].label)
    text = table([f"{workload}", *[f"{count} threads" for count in counts]], found)
    yield (f"\n## Seconds per epoch by threads, fastest epochs\n\n{text}\n{counts[-1]} pipeline stages are "
           f"{one / most:.2f} times as fast as one on the balanced network.\n")


def memory_part(results, cores):
    """The process's peak by depth: networks large enough to be more than what loading MNIST takes, and
    batches large enough for activations to count."""
    measured = [BY_LABEL[f"f3-tch {it}"] for it in ("F3 sequential", "F3 layer_major", "BP")]
    depths, width, batch = (300, 400, 500), 300, 2000
    for hidden in depths:
        workload = Workload(hidden, width, batch, batch)
        results.measure("memory", hidden, measured, workload, cores, 1, 1)
    programs = [it.label for it in measured]
    peak = lambda depth, it: results.median("memory", depth, it, "peak_mib")
    found = [[str(depth)] + [f"{peak(depth, it):.0f}" for it in programs] for depth in depths]
    per_layer = [(peak(depths[-1], it) - peak(depths[0], it)) / (depths[-1] - depths[0]) for it in programs]
    found.append(["MiB per layer"] + [f"{value:.2f}" for value in per_layer])
    parameters = (width * width + width) * 12 / 2**20
    feedback = width * 10 * 4 / 2**20
    yield (
        f"\n## Peak memory by depth (width {width}, batch {batch})\n\n" + table(["hidden layers", *programs], found)
        + f"\nA layer's weights and Adam moments are {parameters:.2f} MiB, its feedback {feedback:.2f} MiB, "
        f"its activations of a batch {batch * width * 4 / 2**20:.2f} MiB.\n"
    )


def feedback_part(cores):
    """The hidden signal: e B of F3 against backpropagation's product with the weights."""
    found = []
    for width in (100, 250, 500, 1000, 2000):
        layer = profile(Workload(2, width, 50, 60000), cores)["layers"][1]
        counts = layer["multiply-adds of e B"], layer["multiply-adds of backpropagation"]
        times = layer["libtorch signal e B"], layer["backpropagated signal"]
        found.append([str(width), f"{counts[0]:,}", f"{counts[1]:,}", f"{counts[1] / counts[0]:.0f}",
                      f"{times[0]:.1f}", f"{times[1]:.1f}", f"{times[1] / times[0]:.1f}"])
    header = ["width", "multiply-adds F3", "BP", "ratio", "µs F3", "µs BP", "ratio"]
    yield ("\n## The hidden signal of one layer, batch 50\n\nF3 computes e B (C w multiply-adds a sample), "
           "backpropagation the product with the weights (w² a sample).\n\n" + table(header, found))


PARTS = ["workload", "run", "many", "depth", "width", "batch", "threads", "memory", "feedback", "check"]
QUICK_PARTS = ["workload", "run", "depth", "width", "batch"]
QUICK_PROGRAMS = ["^f3-tch (F3 auto|BP|run)$", "^(PyTorch|JAX) (F3|BP)$", "^PyTorch run$"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", help=f"of {','.join(PARTS)} [default: all but check]")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--runs", default=",".join(RUNS), help=f"whole runs, of {','.join(RUNS)}")
    parser.add_argument("--programs",
                        help="regular expressions for the names of those to run on workloads, in whole runs, and by "
                             "depth, width and batch")
    parser.add_argument("--quick", action="store_true",
                        help="a first look: a turn each, fewer programs and cells")
    parser.add_argument("--rounds", type=int, help="turns of each program on a workload [default: 6, quick 1]")
    parser.add_argument("--epochs", type=int, help="counted epochs of a turn [default: 1, quick 2]")
    parser.add_argument("--threads", type=int, help="so many of the cores are used [default: all]")
    parser.add_argument("--cores", help="these cores are used, such as 0,2 [default: all]")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs/bench", help="folder of the results")
    chosen = parser.parse_args()
    quick = chosen.quick
    chosen.parts = chosen.parts.split(",") if chosen.parts else QUICK_PARTS if quick else PARTS[:-1]
    chosen.programs = chosen.programs.split(",") if chosen.programs else QUICK_PROGRAMS if quick else [""]
    chosen.workloads, chosen.runs = chosen.workloads.split(","), chosen.runs.split(",")
    chosen.rounds = chosen.rounds or (1 if quick else 6)
    chosen.epochs = chosen.epochs or (2 if quick else 1)
    for given, known in ((chosen.parts, PARTS), (chosen.workloads, WORKLOADS), (chosen.runs, RUNS)):
        for wrong in [it for it in given if it not in known]:
            parser.error(f"unknown: {wrong}; expected one of {', '.join(known)}")
    chosen.cores = cores(chosen, parser)
    return chosen


def cores(chosen, parser):
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))
    if chosen.cores:
        wanted = [int(it) for it in chosen.cores.split(",")]
        for wrong in [it for it in wanted if it not in available]:
            parser.error(f"core {wrong} is not there; expected some of {available}")
        available = wanted
    return available[: chosen.threads or len(available)]


def main():
    chosen = arguments()
    parts, cores = chosen.parts, chosen.cores
    os.environ["F3_DATA_DIR"] = os.path.abspath(os.environ["F3_DATA_DIR"])
    workloads = [WORKLOADS[it] for it in chosen.workloads if {"workload", "check"} & set(parts)]
    workloads += [RUNS[it] for it in chosen.runs if {"run", "many", "check"} & set(parts)]
    fetch([it.data_set() for it in workloads] + ["mnist"])
    chosen.out.mkdir(parents=True, exist_ok=True)
    results = Results(chosen.out)

    title = f"# Seconds per epoch\n\n{processor()}, {len(cores)} cores; float32 unless bf16 is said\n"
    text, interrupted = "", False
    try:
        for piece in measured(chosen, results):
            text += piece
            (chosen.out / "report.md").write_text(title + targets_text(results) + text)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted: the report has what was complete", file=sys.stderr)
    plot(results, chosen.out)
    print(title + targets_text(results) + text)
    print(f"files: {chosen.out}")
    if interrupted:
        sys.exit(130)


def measured(chosen, results):
    """Measures part by part; gives the report's text in pieces, each as soon as it is complete."""
    parts, cores, quick = chosen.parts, chosen.cores, chosen.quick
    if "check" in parts:
        yield from check_part(chosen.workloads, chosen.runs, chosen.programs, cores)
    if "workload" in parts:
        yield from workload_part(results, chosen.workloads, chosen.programs, cores, chosen.rounds, chosen.epochs)
    if "run" in parts:
        yield from run_part(results, chosen.runs, chosen.programs, cores, chosen.rounds, chosen.epochs)
    if "many" in parts:
        yield from many_part(results, chosen.runs, cores, max(chosen.rounds // 2, 1))
    for part in ("depth", "width", "batch"):
        if part in parts:
            yield from sweep_part(results, part, chosen.programs, cores, 1 if quick else 3, 2, quick)
    if "threads" in parts:
        yield from threads_part(results, cores, 2, 3)
    if "memory" in parts:
        yield from memory_part(results, cores)
    if "feedback" in parts:
        yield from feedback_part(cores)


if __name__ == "__main__":
    main()
