"""Where transfer helps: its gain by season, wetness and region, and in how many cells."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_processing.files import write_csv
from data_processing.record import open_record
from data_processing.splits import split_cube
from utils.baselines import cell_mean
from utils.members import read_forecast
from utils.reporting import observed_on_land, temperature_of
from utils.runs import find_cube
from utils.where_it_helps import parts_of_the_record, read_regions, region_rows

if TYPE_CHECKING:
    from utils.tables import StudyRun

GAIN_COLUMNS = ("form", "lead_time", "region", "n", "rmse_scratch", "rmse_transferred", "gain_by_transfer", "cells",
                "cells_improved", "cells_explaining_more", "cells_r2_up_20_percent")


def gain_rows(runs: list[StudyRun], regions: Sequence[str]) -> list[dict]:
    """Rows of gain_by_region.csv.

    Parameters
    ----------
    runs : list of StudyRun
        From `utils.tables.make_runs`; of an ensemble the mean of its members is scored.
    regions : sequence of str
        See `utils.where_it_helps.read_regions`.

    Returns
    -------
    list of dict
        With the keys GAIN_COLUMNS, one for each form that was trained both ways, lead time and part of the record.
        gain_by_transfer = 1 - MSE transferred / MSE from scratch; cells_improved = share of the cells with a gain;
        cells_explaining_more = share in which R2 grows by more than 20 % of what it lacks from scratch;
        cells_r2_up_20_percent = share in which it grows by more than 20 % of itself, of the cells where it is at least
        `utils.where_it_helps.LEAST_R2`.
    """
    found = {(run.form, run.training, run.lead_times): run for run in runs if run.folder is not None}
    rows = []
    for (form, training, lead_times), run in found.items():
        other = found.get((form, "scratch", lead_times))
        if training != "transferred" or other is None:
            continue
        cube_file = find_cube(other.settings.cube, "smap_l4")
        cube, splits = split_cube(cube_file.path, replace(other.settings, input_days=1))
        record = open_record(cube, cube_file.name, splits, max_gap_days=other.settings.max_gap_days)
        parts = parts_of_the_record(record.time[splits.test], temperature_of(record, splits.test),
                                    cell_mean(record.observed_maps, splits.history_days), record.land,
                                    read_regions(regions, record.lat, record.lon))
        observed = observed_on_land(record, splits.test)
        observed = np.broadcast_to(observed[:, None], (len(observed), len(lead_times), *record.land.shape))
        scored = region_rows(observed=observed, forecasts={name: read_forecast(each.folder / "forecast.nc", splits)
                                        for name, each in (("transferred", run), ("scratch", other))},
                             parts=parts, lead_times=lead_times, land=record.land, reference="scratch")
        for one, reference in zip(scored[::2], scored[1::2]):
            rows.append({name: one.get(name) for name in GAIN_COLUMNS}
                        | {"form": form, "rmse_scratch": reference["rmse"], "rmse_transferred": one["rmse"],
                           "gain_by_transfer": one["skill_scratch"]})
    return rows


def write_gain_by_region(folder: Path, rows: list[dict]) -> None:
    """Write gain_by_region.csv."""
    write_csv(folder / "gain_by_region.csv", GAIN_COLUMNS, rows)
