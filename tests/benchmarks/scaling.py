"""Cost of a training step on small and large maps: each step asks for as many cells and days, whatever the map.

Random numbers without sea; our default ConvLSTM, lead 3, its own batch. Each time is from a fresh process.
"""
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.measure import fresh_process, number_rows, time_rows
from tests.benchmarks.network import WARM_UP, random_cube

MAPS = ((52, 65), (200, 300), (430, 675))
DAYS = 150
STEPS, ROUNDS = 40, 4


def rows(short):
    """Seconds of a step, the share of it that is spent on making its batch, and peak memory."""
    maps, steps, rounds = (((12, 15),), WARM_UP + 2, 1) if short else (MAPS, WARM_UP + STEPS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        cubes = {f"{height} x {width}": random_cube(Path(folder) / f"random_{height}.nc", DAYS, height, width)
                 for height, width in maps}
        found = {form: [] for form in cubes}
        for _ in range(rounds):
            for form, cube in cubes.items():
                found[form].append(fresh_process("network", "train_some", head="local", cube=str(cube), steps=steps))
    reference = next(iter(found))
    runs = {form: each[1:] or each for form, each in found.items()}  # the first also built the arrays
    seconds = {form: sum((run["step"] for run in each), []) for form, each in runs.items()}
    waiting = {form: sum(sum(run["waiting"]) for run in each) / sum(seconds[form]) for form, each in runs.items()}
    peaks = {form: float(np.median([run["peak_mb"] for run in each])) for form, each in runs.items()}
    case = "ConvLSTM, lead 3: "
    return [*time_rows("scaling", case + "a training step of as many cells and days", seconds, reference, peaks),
            *number_rows("scaling", case + "share of a step spent waiting for its batch", waiting, reference)]
