"""Several members of a network, trained from different seeds, and their ensemble."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from data_processing.arrays import pieces, scratch_array
from data_processing.errors import UserError
from data_processing.files import remove_half_written
from data_processing.record import open_record
from data_processing.splits import audit_rows, split_cube, write_audit
from utils.ensembles import members_mean
from utils.models.settings import refuse_missing_run
from utils.processes import by_first, from_first
from utils.reporting import KEPT, VARIANCE, evaluate_run, forecaster_name
from utils.runs import (
    Run,
    claim_run,
    find_cube,
    is_finished,
    plain,
    read_json,
    refuse_finished,
    run_differences,
    run_folder,
    run_label,
    run_name,
    write_json,
)
from utils.transfer import source_of

if TYPE_CHECKING:
    import numpy as np

    from data_processing.splits import Splits
    from utils.runs import CubeFile


def run_members(train_and_test: Callable, settings: Any, experiment: str, model: str, *, domain: str) -> None:
    """Run a script for one seed, or for several and then for their ensemble.

    Parameters
    ----------
    train_and_test : function of one Settings
        The script's work for one seed.
    settings : Settings
    experiment, model : str
        Folder and name of the script.
    domain : str
        The twin's domain that the cube "twin" stands for.

    Raises
    ------
    UserError
        The run to start from is not there, or no source to make it from is named.
    """
    refuse_missing_run(settings)
    if experiment == "finetune-SMAPtest" and settings.pretrained is None:
        source_of(settings)  # refused before anything is made where none is named
    if settings.seeds <= 1:  # a number out of range is refused with the other settings
        train_and_test(settings)
        return
    cube_file = find_cube(settings.cube, domain)
    until = getattr(settings, "source_until", None) if experiment == "ERA5test" else None
    name = run_name(settings, cube_file, until)
    members = [replace(settings, seed=settings.seed + number) for number in range(settings.seeds)]
    folders = [run_folder(member, experiment, model, name) for member in members]
    ensemble = folders[0].parent
    refuse_finished(ensemble, "ensemble")
    for member, folder in zip(members, folders):
        if not from_first(partial(is_finished, folder)):
            train_and_test(member)
            continue
        differences = run_differences(folder, member, cube_file)
        if differences:
            raise UserError(f"{folder} holds a member that was made otherwise: {'; '.join(differences)}. Give the ensemble "
                            "another --name, or remove the folder.")
        print(f"member {folder} is finished", flush=True)
    evaluate_ensemble(settings, cube_file, folders, model, until)


@by_first
def evaluate_ensemble(settings: Any, cube_file: CubeFile, folders: list[Path], model: str, until: date | str | None) -> None:
    """Score the mean of the members beside each of them; see `utils.reporting.evaluate_run`."""
    claim_run(folders[0].parent, "ensemble")
    remove_half_written(folders[0].parent)
    cube, splits = split_cube(cube_file.path, settings, until=until)
    record = open_record(cube, cube_file.name, splits, max_gap_days=settings.max_gap_days)
    members = read_members(folders, splits)
    name = forecaster_name(model, settings.coming_weather)
    forecasts = {f"{name}_ensemble": members_mean(members)}
    forecasts |= {f"{name}_{folder.name}": member for folder, member in zip(folders, members)}
    for end in KEPT:
        of_end = read_members(folders, splits, end.removeprefix("_"))
        if of_end is not None and model + end != name:
            forecasts[model + end] = members_mean(of_end)
    weather_variance = read_members(folders, splits, VARIANCE)
    weather_variance = None if weather_variance is None else members_mean(weather_variance)
    run = Run(folders[0].parent, resume=False, label=run_label(cube, cube_file.name, settings))
    of_first = read_json(folders[0] / "settings.json")
    write_json(run.path("settings.json"), of_first | {"settings": plain(settings), "members": [each.name for each in folders]})
    write_audit(run.path("splits.csv"), audit_rows(splits, settings.coming_weather))
    evaluate_run(run, record, splits, forecasts, members=members, weather_variance=weather_variance,
                 label=f"{run.label}, {len(folders)} members", twin_domain=cube.attrs.get("twin_domain"),
                 regions=settings.regions, validation=[folder / "validation.nc" for folder in folders])


def read_members(folders: list[Path], splits: Splits, variable: str = "forecast") -> np.ndarray | None:
    """A variable of the forecast.nc of several runs by target day, [M, N, L, H, W]; None where one of them lacks it."""
    members = None
    for number, folder in enumerate(folders):
        with xr.open_dataset(folder / "forecast.nc") as dataset:
            if variable not in dataset:
                return None
            shape = dataset[variable].shape
        if members is None:
            members = scratch_array((len(folders), len(splits.test), *shape[1:]))
        read_forecast(folder / "forecast.nc", splits, variable, out=members[number])
    return members


def read_forecast(path: Path, splits: Splits, variable: str = "forecast", out: np.ndarray | None = None) -> np.ndarray | None:
    """Forecasts of a run by target day, float32 [N, L, H, W], m3 m-3: the inverse of `by_init_time`; None if it has none.

    Where `out` is given they are written there.
    """
    with xr.open_dataset(path) as dataset:
        if variable not in dataset:
            return None
        values = dataset[variable]
        forecast = scratch_array((len(splits.test), *values.shape[1:])) if out is None else out
        for lead, lead_time in enumerate(splits.lead_times):
            start = splits.lead_times[-1] - lead_time
            for days in pieces(forecast[:, lead]):
                forecast[days, lead] = values[start + days.start:start + days.stop, lead].values
    return forecast
