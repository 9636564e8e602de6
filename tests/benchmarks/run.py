"""Run the benchmarks: each compares this project's form of something with another that is written plainly beside it.

Writes  <output>/benchmarks.csv and benchmarks.md: medians with quartiles, ratios inside one run, peak memory of fresh
        processes, facts of the machine

Run     OMP_NUM_THREADS=1 python tests/benchmarks/run.py
        OMP_NUM_THREADS=1 python tests/benchmarks/run.py --short
        OMP_NUM_THREADS=1 python tests/benchmarks/run.py --only windows,cell

Expect  a minute with --short, which only shows that they run; else three hours, most of them for to_same_skill and preparing.
        Ratios carry over to other machines, seconds do not.
"""
import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data_processing.errors import UserError
from data_processing.files import PROJECT, replacing, write_csv
from tests.benchmarks.measure import COLUMNS, host_facts
from utils.command_line import run_script

BENCHMARKS = ("windows", "reading", "cell", "network", "scaling", "processes", "forecast", "preparing", "to_same_skill")
HEADS = {"median_s": "median, s", "low_s": "quartiles, s", "ratio": "ratio", "peak_mb": "peak, MB", "number": "number"}


@dataclass(frozen=True)
class Settings:
    short: bool = False  # small and few: shows that they run, tells nothing else
    only: str = ",".join(BENCHMARKS)  # some of them, with commas between
    output: str = str(PROJECT / "results" / "benchmarks")  # folder of the two tables


def main(settings):
    names = settings.only.split(",")
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise UserError(f"only names {', '.join(unknown)}; the benchmarks are {', '.join(BENCHMARKS)}.")
    rows, facts = [], host_facts()
    for name in names:
        start = time.monotonic()
        rows += importlib.import_module(f"tests.benchmarks.{name}").rows(settings.short)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
        write_tables(Path(settings.output), rows, facts, settings.short)
    print(f"benchmarks.csv, benchmarks.md: {settings.output}", flush=True)


def write_tables(folder, rows, facts, short):
    """Write the rows as CSV and as Markdown, with the facts of the machine (dict) above the latter."""
    write_csv(folder / "benchmarks.csv", COLUMNS, [dict.fromkeys(COLUMNS) | row for row in rows])
    lines = ["# Benchmarks", "", "ratio: the first form of each case / this one, above 1 = better.", ""]
    if short:
        lines += ["Short form: small and few, the numbers tell nothing.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    case = None
    for row in rows:
        if (row["benchmark"], row["case"]) != case:
            case = row["benchmark"], row["case"]
            lines += ["", f"**{': '.join(case)}**", "", f"| form | {' | '.join(HEADS.values())} |", "|---" * 6 + "|"]
        lines.append(f"| {row['form']} | {' | '.join(cell_text(row, column) for column in HEADS)} |")
    with replacing(folder / "benchmarks.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cell_text(row, column):
    """Text of one cell of the Markdown table."""
    value = row.get(column)
    if value is None:
        return ""
    if column == "low_s":
        return f"{value:.3g} to {row['high_s']:.3g}"
    return f"{value:,.0f}" if column == "peak_mb" or abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    run_script(main, Settings, resume="finished trainings of to_same_skill are used again")
