"""Measure the evaluation of a made-up run on 430 x 675 cells: seconds of each step and peak memory.

    python tests/measure_evaluating.py FOLDER DAYS TEST_DAYS [LEAD_TIME ...]

FOLDER takes the files (17 MB a day of the record, and the run). Four forecasters stand beside the four baselines; the last line
printed is the peak memory of this process in bytes.
"""
import argparse
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data_processing.arrays import create_array, in_turn, open_array, release, scratch_array
from data_processing.record import Record
from utils import reporting
from utils.runs import Run
from utils.spread import write_validation

ROWS, COLUMNS = 430, 675
MISSING_BEFORE = 2  # days that a window may reach back before the record
STEPS = ("predict_spread", "baseline_forecasts", "score_forecasters", "cell_metrics", "write_forecast", "daily_scores",
         "write_ensemble_scores", "event_limits", "write_where_it_helps", "draw_run")


def make_record(folder, days, lead_times):
    """A `Record` of seasons and noise, its arrays mapped from files."""
    random = np.random.default_rng(0)
    land = np.kron(random.random((43, 27)), np.ones((10, 25))) < 0.55
    mean = random.uniform(0.1, 0.4, land.shape).astype(np.float32)
    noise = 0.03 * random.standard_normal((7, *land.shape), np.float32)
    shape = (MISSING_BEFORE + days, 3, *land.shape)
    carried = create_array(folder / "carried.npy", shape, np.float32)
    age = create_array(folder / "age.npy", shape, np.uint8)
    for day in in_turn(carried, age):
        season = np.sin(day / 58)
        carried[day] = 200 * abs(noise[day % 7]), mean + 0.05 * season + noise[3 * day % 7], 275 + 10 * season + 0 * mean
        age[day] = np.where(land, 0, 255)
        if day < MISSING_BEFORE:
            carried[day], age[day] = np.nan, 255
        carried[day, 1, ~land] = np.nan
    carried, age = (open_array(folder / f"{name}.npy") for name in ("carried", "age"))
    return Record(name="made up", time=np.datetime64("2015-04-01") + np.arange(days), lat=np.linspace(54, 18, ROWS),
                  lon=np.linspace(73, 135, COLUMNS), land=land, carried=carried, age=age, antecedent=carried,
                  motion=None, key="", around=None, input_days=MISSING_BEFORE + 1, lead_times=lead_times), noise


def make_forecasts(record, noise, days, number):
    """Forecasts [N, L, H, W] of some days: what is observed, and noise."""
    forecast = scratch_array((len(days), len(record.lead_times), *record.land.shape))
    for sample in in_turn(forecast):
        forecast[sample] = record.carried_soil_moisture[days[sample]] + 0.5 * noise[(sample + number) % 7]
        if sample % 30 == 0:
            release(record.carried)
    release(record.carried)
    return forecast


def timed(name):
    """Print how long a step of the evaluation takes, and the peak memory since the start."""
    step = getattr(reporting, name)

    def run(*arguments, **options):
        start = time.perf_counter()
        result = step(*arguments, **options)
        print(f"{name:<24}{time.perf_counter() - start:7.1f} s, peak {peak() / 1e9:.2f} GB", flush=True)
        return result
    setattr(reporting, name, run)


def peak():
    """Peak memory of this process, bytes, mapped pages included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(folder, days, test_days, lead_times):
    folder = Path(folder)
    run = Run(folder / "SMAPtest" / "convlstm" / "large" / "lead", resume=False)
    run.folder.mkdir(parents=True)
    record, noise = make_record(folder, days, lead_times)
    first = days - test_days
    splits = SimpleNamespace(test=np.arange(first, days), history_days=np.arange(days) < first - 7, lead_times=lead_times)
    validation = np.arange(max(0, first - 80), first - 8)[::5]
    write_validation(run.path("validation.nc"), make_forecasts(record, noise, validation, 5), (), record.observed(validation),
                     record.time[validation], lead_times)
    names = ("convlstm_forecast", "convlstm_blind", "convlstm_observed", "other")
    forecasts = {name: make_forecasts(record, noise, splits.test, number) for number, name in enumerate(names)}
    print(f"prepared, peak {peak() / 1e9:.2f} GB", flush=True)
    for name in STEPS:
        timed(name)
    start = time.perf_counter()
    reporting.evaluate_run(run, record, splits, forecasts, label="made up")
    print(f"all {time.perf_counter() - start:.0f} s, peak, bytes:\n{peak()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("days", metavar="DAYS", type=int)
    parser.add_argument("test_days", metavar="TEST_DAYS", type=int)
    parser.add_argument("lead_times", metavar="LEAD_TIME", type=int, nargs="*", default=[3])
    asked = parser.parse_args()
    main(asked.folder, asked.days, asked.test_days, tuple(asked.lead_times))
