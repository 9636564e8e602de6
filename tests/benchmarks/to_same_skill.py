"""Training time until the paper's form's best validation RMSE is reached, on the twin at lead 3.

The paper's form (dense head) is trained with three learning rates; the best of the three counts, until the epoch of its best
validation. Ours is trained until the first validation below that: transferred, with all of its pre-training, and from scratch.
All are trained by the scripts and validated alike (m3 m-3, the same days and cells); seconds are those of `training_log.csv`.
The twin's own making, reading of files and the test afterwards count for none of them.
"""
import csv
import math
import subprocess
import sys

from tests.benchmarks.measure import ROOT, row

RATES = (3e-4, 1e-3, 3e-3)
RESULTS = ROOT / "results" / "benchmarks" / "to_same_skill"
CASE = "training until the paper's form's best validation RMSE (number, m3 m-3)"
# few steps, and validated more often: an epoch is a tenth of the steps and at least 50
QUICK_SOURCE, QUICK = {"steps": 100, "worlds": 0, "name": "quick"}, {"steps": 100, "name": "quick"}


def rows(short):
    """Seconds of each way; nothing in the short form, as it takes an hour or two. Finished runs are used again."""
    if short:
        return []
    dense = [trained("SMAPtest", head="dense", learning_rate=rate, name=f"dense-{rate:g}") for rate in RATES]
    source, quick_source = trained("ERA5test"), trained("ERA5test", **QUICK_SOURCE)
    ways = {"ours, transferred": [source, trained("finetune-SMAPtest")],
            "ours, from scratch": [trained("SMAPtest")],
            "ours, shorter trainings, transferred": [quick_source, trained(
                "finetune-SMAPtest", pretrained=run_folder("ERA5test", "quick"), **QUICK)],
            "ours, shorter training, from scratch": [trained("SMAPtest", **QUICK)]}
    return compare(dense, ways)


def compare(dense, ways):
    """Rows of the table.

    Parameters
    ----------
    dense : list of logs
        Of the paper's form, one for each of RATES.
    ways : dict of str -> list of logs
        Of trainings one after another; the last is the one that is validated on the target.
    """
    best, seconds, rate = min((*time_of_best(log), rate) for log, rate in zip(dense, RATES))
    found = [row("to_same_skill", CASE, f"paper's dense head, best of three learning rates: {rate:g}", median_s=seconds,
                 ratio=1.0, number=best)]
    for form, (*before, last) in ways.items():
        reached, spent = time_to_reach(last, best)
        spent += sum(epoch["seconds"] for log in before for epoch in log)
        found.append(row("to_same_skill", CASE, form if math.isfinite(spent) else f"{form}: not reached",
                         median_s=spent if math.isfinite(spent) else None, ratio=seconds / spent, number=reached))
    return found


def time_of_best(log):
    """Lowest validation loss of a log, and the seconds until it was reached."""
    best = min(epoch["validation_loss"] for epoch in log)
    return time_to_reach(log, best)


def time_to_reach(log, loss):
    """First validation loss of a log that is not above `loss`, and the seconds until then; the lowest and infinity if none is."""
    spent = 0.0
    for epoch in log:
        spent += epoch["seconds"]
        if epoch["validation_loss"] <= loss:
            return epoch["validation_loss"], spent
    return min(epoch["validation_loss"] for epoch in log), math.inf


def trained(experiment, **settings):
    """Log of a ConvLSTM's training, list of dict of float; the script is run where its log does not exist."""
    folder = run_folder(experiment, settings.get("name", "twin"))
    if not (folder / "metrics.csv").exists():
        words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        subprocess.run([sys.executable, ROOT / experiment / "convlstm.py", *words, "--results", RESULTS,
                        *(["--resume"] if folder.exists() else [])], check=True)
    with open(folder / "training_log.csv", newline="") as file:
        return [{name: float(value) for name, value in epoch.items()} for epoch in csv.DictReader(file)]


def run_folder(experiment, name):
    """Folder of one of the runs."""
    return RESULTS / experiment / "convlstm" / name / "lead3"
