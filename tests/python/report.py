"""Compares the tables of a report with NumPy's and SciPy's numbers on the same rows: report.py REPORT

The metric is `test_accuracy` at the last epoch, the gap that from `drtp` to `bp`.
"""

import csv
import pathlib
import sys

import numpy
import scipy.stats


def read(name):
    with open(pathlib.Path(sys.argv[1]) / name, newline="") as file:
        return list(csv.DictReader(file))


def check(found, expected):
    numpy.testing.assert_allclose(float(found), expected, rtol=1e-9, atol=1e-12)


runs = {}
for run in read("results.csv"):
    if run["state"] == "complete":
        row = runs.setdefault((run["group"], run["row"]), {})
        row[int(run["seed"])] = float(run["test_accuracy_last"])

checked = 0
for line in read("table.csv"):
    if line["epoch"] != "last":
        continue
    values = list(runs[line["group"], line["row"]].values())
    assert int(line["n"]) == len(values)
    check(line["mean"], numpy.mean(values))
    if len(values) == 1:
        assert line["deviation"] == ""
    else:
        check(line["deviation"], numpy.std(values, ddof=1))
    checked += 1

for line in read("differences.csv"):
    first, other = runs[line["group"], line["row"]], runs[line["group"], line["to"]]
    seeds = sorted(first.keys() & other.keys())
    assert int(line["n"]) == len(seeds)
    pairs = [first[seed] for seed in seeds], [other[seed] for seed in seeds]
    check(line["mean"], numpy.mean(numpy.subtract(*pairs)))
    if len(seeds) == 1:
        assert line["low"] == line["high"] == ""
    else:
        interval = scipy.stats.ttest_rel(*pairs).confidence_interval(0.95)
        check(line["low"], interval.low)
        check(line["high"], interval.high)
    checked += 1

for line in read("gap.csv"):
    row, start, end = (runs[line["group"], name] for name in (line["row"], "drtp", "bp"))
    seeds = sorted(row.keys() & start.keys() & end.keys())
    assert int(line["n"]) == len(seeds)
    shares = [(start[seed] - row[seed]) / (start[seed] - end[seed]) for seed in seeds]
    check(line["mean"], numpy.mean(shares))
    check(line["deviation"], numpy.std(shares, ddof=1))
    checked += 1

print(checked)
