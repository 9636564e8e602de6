"""Our default ConvLSTM against the paper's form (dense head), both trained by this project's own loop on the twin at lead 3.

Each form trains with its own defaults: batch size, windows, scaling. Peaks are those of fresh processes that open the record,
make the network and train it for some steps.
"""
import tempfile
import time
from pathlib import Path

import numpy as np

from data_processing.cube import write_cube
from tests.benchmarks.measure import fresh_process, number_rows, time_rows

FORMS = {"paper's dense head": "dense", "our local head": "local"}
STEPS, WARM_UP, ROUNDS = 55, 5, 3


def rows(short):
    """Number of weights, seconds of a step and a window, peak memory of a training."""
    with tempfile.TemporaryDirectory() as folder:
        cube = random_cube(Path(folder) / "random.nc", days=240, rows=6, columns=7) if short else "twin"
        steps, rounds = (WARM_UP + 1, 1) if short else (WARM_UP + STEPS, ROUNDS)
        found = {form: [] for form in FORMS}
        for _ in range(rounds):
            for form, head in FORMS.items():
                found[form].append(fresh_process("network", "train_some", head=head, cube=str(cube), steps=steps))
    reference = next(iter(FORMS))
    seconds = {form: sum((each["step"] for each in runs), []) for form, runs in found.items()}
    peaks = {form: float(np.median([each["peak_mb"] for each in runs])) for form, runs in found.items()}
    weights = {form: runs[0]["weights"] for form, runs in found.items()}
    case = f"ConvLSTM on {'random numbers' if short else 'the twin'}, lead 3: "
    return [*number_rows("network", case + "weights", weights, reference),
            *time_rows("network", case + "a training step of its own batch", seconds, reference),
            *number_rows("network", case + f"peak memory of {steps} steps", peaks, reference, "peak_mb")]


def train_some(head, cube, steps, batch_size=None):
    """Train a ConvLSTM from scratch for some steps, as SMAPtest/convlstm.py does.

    Parameters
    ----------
    head : str
    cube : str
        Path, or "twin".
    steps : int
    batch_size : int, optional
        Windows; default that of the head.

    Returns
    -------
    dict
        weights : number of them. step, waiting : list of float, seconds of each step after WARM_UP and of the part of it that
        it waited for its batch.
    """
    from data_processing import arrays
    from data_processing.record import open_record, scale_record
    from data_processing.splits import split_cube
    from utils import training
    from utils.models.convlstm import make_convlstm
    from utils.runs import Run, find_cube
    from utils.study import script_settings

    _, settings = script_settings("SMAPtest", "convlstm", head=head, cube=cube, batch_size=batch_size)
    if cube != "twin":
        arrays.FOLDER = Path(cube).with_suffix(".arrays")  # to be removed with it
    file = find_cube(settings.cube, "smap_l4")
    opened, splits = split_cube(file.path, settings)
    record = open_record(opened, file.name, splits, max_gap_days=settings.max_gap_days)
    record = scale_record(record, splits.fit_days, scaling=settings.scaling)
    network = make_convlstm(settings, record)
    stamps, waiting = [time.perf_counter()], [0.0]
    watch(training, stamps, waiting)
    with tempfile.TemporaryDirectory() as folder:
        training.fit(network, [(record, splits.train)], settings, Run(folder, resume=False), steps=steps,
                     validation=(record, splits.validation))
    return {"weights": sum(value.numel() for value in network.parameters()), "step": np.diff(stamps)[WARM_UP:].tolist(),
            "waiting": waiting[WARM_UP:-1]}


def watch(training, stamps, waiting):
    """Note when each step ends, and the seconds that each waited for its batch."""
    update, prepared_batches = training.update, training.prepared_batches

    def timed_update(*arguments):
        update(*arguments)
        stamps.append(time.perf_counter())
        waiting.append(0.0)

    def timed_batches(*arguments):
        batches = prepared_batches(*arguments)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            waiting[-1] += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    training.update = timed_update
    training.prepared_batches = timed_batches


def random_cube(path, days, rows, columns):
    """Write a daily cube of weather-like random numbers from 2015 on, without sea: its path."""
    random = np.random.default_rng(0)
    values = np.empty((days, 3, rows, columns), np.float32)
    soil = np.full((rows, columns), 0.2, np.float32)
    for day in range(days):
        rain = random.gamma(0.3, 10, (rows, columns)) * (random.random((rows, columns)) < 0.3)
        soil = np.minimum(0.1 + 0.9 * (soil - 0.1) + 0.003 * rain, 0.5)
        season = 285 - 10 * np.cos(2 * np.pi * day / 365.25)
        values[day] = rain, soil, season + random.normal(0, 2, (rows, columns))
    lat, lon = 20 + 30 / rows * np.arange(rows), 75 + 60 / columns * np.arange(columns)
    write_cube(path, values, np.datetime64("2015-01-01") + np.arange(days), lat, lon,
               {"title": "random numbers", "source": "tests/benchmarks"})
    return path
