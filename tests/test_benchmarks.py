"""The benchmarks run; what they say is for whoever runs them in full."""
import csv
import importlib
import math
import subprocess
import sys

import pytest

from tests.benchmarks import to_same_skill
from tests.benchmarks.measure import COLUMNS, fresh_process, time_rows
from tests.benchmarks.run import BENCHMARKS
from tests.conftest import ROOT


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "windows"])  # the command's
def test_short_form_runs(name):
    found = importlib.import_module(f"tests.benchmarks.{name}").rows(short=True)
    assert found or name == "to_same_skill"
    for row in found:
        assert set(row) <= set(COLUMNS) and row["benchmark"] == name and row["case"] and row["form"]
        assert math.isfinite(row["ratio"]) and row["ratio"] > 0


def test_command_writes_both_tables(tmp_path):
    words = [sys.executable, ROOT / "tests" / "benchmarks" / "run.py", "--short", "--only", "windows", "--output", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "benchmarks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and {row["form"] for row in rows} == {"copied windows", "views"}
    assert all(float(row["ratio"]) > 0 for row in rows)
    assert "processor" in (tmp_path / "benchmarks.md").read_text()


def test_ratio_and_quartiles_of_known_times():
    slow, fast = time_rows("of tests", "case", {"slow": [4.0, 8.0, 6.0], "fast": [1.0, 2.0, 3.0]}, "slow")
    assert (slow["median_s"], slow["low_s"], slow["high_s"], slow["ratio"]) == (6.0, 5.0, 7.0, 1.0)
    assert (fast["median_s"], fast["ratio"]) == (2.0, 3.0)


def test_peak_of_a_fresh_process_holds_nothing_of_this_one():
    held = bytearray(b"1") * 1_000_000_000
    assert fresh_process("measure", "row", benchmark="a", case="b", form="c")["peak_mb"] < 500
    assert held


def log(*epochs):
    return [{"validation_loss": loss, "seconds": seconds} for loss, seconds in epochs]


def test_time_to_the_same_skill_counts_pretraining_and_takes_the_best_rate():
    dense = [log((0.05, 10), (0.04, 10)), log((0.035, 10), (0.03, 10), (0.06, 10)), log((0.05, 10))]
    ways = {"transferred": [log((0.9, 3), (0.01, 3)), log((0.04, 1), (0.03, 1), (0.02, 1))], "never": [log((0.031, 1))]}
    reference, transferred, never = to_same_skill.compare(dense, ways)
    assert (reference["number"], reference["median_s"]) == (0.03, 20)
    assert (transferred["number"], transferred["median_s"], transferred["ratio"]) == (0.03, 8, 2.5)
    assert never["form"] == "never: not reached" and never["ratio"] == 0 and never["median_s"] is None
