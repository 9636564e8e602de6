"""Windows as views on one array, gathered batch by batch, against a copy of every window.

Each time and peak is that of a fresh process that makes the cube in memory first. The copy is what the paper's scripts make:
an array [N, lead time, 3, H, W] that holds each day as often as windows hold it.
"""
import time

import numpy as np

from data_processing.windows import gather, window_view
from tests.benchmarks.measure import fresh_process, number_rows, peak_mb, time_rows
from utils.training import keep_freed_memory

DAYS, LEAD_TIME, MAP = 11_000, 7, (3, 52, 65)
BATCH = 32
ROUNDS = 3
FORMS = ("copied windows", "views")


def rows(short):
    """Time until all windows are there; time to see each once, in batches; memory above the cube."""
    days, rounds = (600, 1) if short else (DAYS, ROUNDS)
    found = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form in FORMS:
            found[form].append(fresh_process("windows", "prepare_and_pass", form=form, days=days))
    case = f"{days} days, lead {LEAD_TIME}, {MAP[1]} x {MAP[2]}: "

    def of_all(key):
        return {form: [each[key] for each in found[form]] for form in FORMS}

    above = {form: float(np.median(peaks)) for form, peaks in of_all("above_mb").items()}
    peaks = {form: float(np.median(peaks)) for form, peaks in of_all("peak_mb").items()}
    return [*time_rows("windows", case + "all windows ready", of_all("ready"), FORMS[0], peaks),
            *time_rows("windows", case + f"ready, and each seen once in batches of {BATCH}", of_all("seen"), FORMS[0]),
            *number_rows("windows", case + "peak memory above the cube", above, FORMS[0], "peak_mb")]


def prepare_and_pass(form, days):
    """Make the windows of a cube of random numbers and gather each once, as training does: seconds, and MB above the cube."""
    keep_freed_memory()
    values = random_days(days)
    order = np.random.default_rng(1).permutation(days)
    gather(window_view(values[:LEAD_TIME], LEAD_TIME), [0])  # what torch loads at its first use is nobody's window
    before = peak_mb()
    start = time.perf_counter()
    if form == "views":
        windows = window_view(values, LEAD_TIME)
    else:
        windows = np.stack([values[day:day + LEAD_TIME] for day in range(days)])
    ready = time.perf_counter() - start
    total = 0.0
    for first in range(0, days, BATCH):
        chosen = order[first:first + BATCH]
        batch = gather(windows, chosen) if form == "views" else windows[chosen]
        total += float(batch[0, 0, 0, 0, 0])
    return {"ready": ready, "seen": time.perf_counter() - start, "above_mb": max(0.1, peak_mb() - before), "total": total}


def random_days(days):
    """float32 [LEAD_TIME - 1 + days, 3, H, W], filled day by day so that nothing but the array takes memory."""
    random = np.random.default_rng(0)
    values = np.empty((LEAD_TIME - 1 + days, *MAP), np.float32)
    for day in values:
        random.random(out=day, dtype=np.float32)
    return values
