"""One day's forecast of a large map by a trained network: the last days read, forecast, and written as NetCDF, as
finetune-SMAPtest/forecast.py does it.

The file of the last days is of random numbers without sea, the weights are those a network starts with: neither changes the
time. A fresh process each time; what Python and its libraries take to start is not counted.
"""
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.measure import fresh_process, time_rows
from tests.benchmarks.network import random_cube

MAP, DAYS = (430, 675), 60  # twice the days that a forecast looks back
ROUNDS = 3
FORMS = ("all cells in one piece", "tiles")


def rows(short):
    """Seconds and peak memory with the map in tiles and in one piece, and what the parts take."""
    shape, rounds = ((12, 15), 1) if short else (MAP, ROUNDS)
    found = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        cube = random_cube(Path(folder) / "last_days.nc", DAYS, *shape)
        for number in range(rounds):
            for form in FORMS:
                found[form].append(fresh_process("forecast", "forecast_day", cube=str(cube), tiles=form == "tiles",
                                                 arrays=f"{folder}/{number}{form == 'tiles'}"))
    peaks = {form: float(np.median([run["peak_mb"] for run in runs])) for form, runs in found.items()}
    total = {form: [sum(run["seconds"].values()) for run in runs] for form, runs in found.items()}
    case = f"one day, {shape[0]} x {shape[1]}, lead 3: "
    parts = {"all": total["tiles"]} | {part: [run["seconds"][part] for run in found["tiles"]]
                                       for part in found["tiles"][0]["seconds"]}
    return [*time_rows("forecast", case + "reading, forecast, NetCDF", total, FORMS[0], peaks),
            *time_rows("forecast", case + "what the parts take, in tiles", parts, "all")]


def forecast_day(cube, tiles, arrays):
    """Read a cube, forecast the third day after its last and write it: seconds of the parts.

    Parameters
    ----------
    cube : str
        Path.
    tiles : bool
        Else all cells are one piece.
    arrays : str
        Folder for the arrays of the record.
    """
    from data_processing import arrays as kept
    from data_processing.cube import open_cube
    from data_processing.record import days_looked_back, open_record, recent_record, scale_record, with_scaler
    from data_processing.splits import split_cube
    from utils import training
    from utils.evaluation import write_forecast
    from utils.models.convlstm import make_convlstm
    from utils.study import script_settings

    _, settings = script_settings("SMAPtest", "convlstm", cube=cube, test_days=5)
    kept.FOLDER = Path(arrays)
    if not tiles:
        training.TILE = max(MAP)
    seconds, start = {}, time.perf_counter()

    def lap(part):
        nonlocal start
        seconds[part] = time.perf_counter() - start
        start = time.perf_counter()

    opened, splits = split_cube(cube, settings)
    trained = open_record(opened, "last days", splits, max_gap_days=settings.max_gap_days)
    trained = scale_record(trained, splits.fit_days, scaling=settings.scaling)
    network = make_convlstm(settings, trained)
    trained.release()
    start = time.perf_counter()  # a trained network has its scaler and its weights
    days = days_looked_back(settings.input_days, settings.max_gap_days, trained.land.size) + 1
    newest = open_cube(cube, check_values=False).isel(time=slice(-days, None)).load()
    record = recent_record(newest, "last days", trained.land, init_days=1, input_days=settings.input_days,
                           lead_times=(settings.lead_time,), max_gap_days=settings.max_gap_days)
    record = with_scaler(record, trained.scaler, trained.static)
    lap("reading")
    record.around(), record.motion()
    lap("surroundings and motion of rain")
    forecast, _ = training.forecast_from(network, record, [len(record.time) - 1], "cpu", progress=False)
    lap("forecast")
    with tempfile.TemporaryDirectory() as folder:
        write_forecast(Path(folder) / "forecast.nc", forecast=forecast, observed=np.full_like(forecast, np.nan),
                       init_time=record.time[-1:], lead_times=record.lead_times, lat=record.lat, lon=record.lon,
                       attributes={"title": "random numbers"})
    lap("NetCDF")
    return {"seconds": seconds}
