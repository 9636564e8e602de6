"""What a cube holds and how hard it is to forecast, in numbers: for the page, the table and the terminal."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.arrays import Observed
from data_processing.cube import UNITS, VARIABLES, cube_days, cube_name, describe_summary, land_mask, summarize
from data_processing.errors import UserError
from data_processing.holes import autocorrelation, carried_soil_moisture, longest_spell, survey_cells
from data_processing.season import fit_season, season_terms
from data_processing.splits import LONGEST_LEAD_TIME, asked_lead_times
from utils.baselines import CLIMATOLOGY_RIDGE, HARMONICS, MINIMUM_CLIMATOLOGY_DAYS
from utils.captions import Data, percent_text
from utils.draw_description import Description
from utils.predictability import baseline_scores, difficulty

if TYPE_CHECKING:
    import xarray

    from data_processing.cube import Summary
    from data_processing.holes import Cells
    from utils.predictability import Predictability

LAGS = tuple(range(1, 61))  # days
COLUMNS = ("topic", "variable", "of", "statistic", "value", "unit")
FEW_DAYS = 30  # observed days of a cell, below which it is hardly worth anything


def describe_data(cube: xarray.Dataset, doubts: list[str], settings: Any) -> tuple[str, Description, list[dict], Data]:
    """Read a cube and describe it.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`, with soil moisture; it may lack the other variables.
    doubts : list of str
        What is suspicious about its units.
    settings : Settings
        Of describe_cube.py.

    Returns
    -------
    table : str
        `data_processing.cube.describe_summary`.
    about : Description
    rows : list of dict
        With the keys COLUMNS.
    data : utils.captions.Data
    """
    lead_times = asked_lead_times(settings)
    if not 1 <= lead_times[0] <= lead_times[-1] <= LONGEST_LEAD_TIME:
        raise UserError(f"lead_times are {lead_times[0]} to {lead_times[-1]} days; they must be 1 to {LONGEST_LEAD_TIME}.")
    time = cube_days(cube)
    _, summaries = summarize(cube)
    carried, age = carried_soil_moisture(cube, settings.max_gap_days)
    cells = survey_cells(carried, age)
    land = land_mask(age, slice(None))
    lags = tuple(lag for lag in LAGS if lag <= len(time) // 2)  # beyond, few pairs tell nothing
    memory, share_of_season = memories(carried, age, time, cells.mean, lags)
    scores = baseline_scores(carried, age, time, lead_times, settings.test_from, settings.test_days)
    seasons = {name: monthly(summary.series, time) for name, summary in summaries.items()}
    said = [*(f"UNIT? {doubt}" for doubt in doubts), *say_holes(land, cells, summaries, time)]
    if share_of_season is not None:
        said.append(f"the season explains {100 * share_of_season:.0f} % of the variance in time of soil moisture")
    said += difficulty(scores) if scores else [f"{len(time)} days are too few to learn from and to test: nothing is said of how hard "
                                                    "the task is"]
    name, title = "twin" if settings.cube == "twin" else cube_name(settings.cube), str(cube.attrs.get("title") or "")
    heading = title if name == "twin" else f"{name}: {title}".rstrip(": ")
    about = Description(heading, said, time, cube["lat"].values, cube["lon"].values, land,
                        cells.observed_days / len(time), cells.mean, cells.spread,
                        {name: 1 - summary.missing_on for name, summary in summaries.items()}, seasons, lags, memory, scores)
    rows = [*hole_rows(land, cells, summaries, time), *season_rows(seasons), *memory_rows(memory, lags), *score_rows(scores),
            *({"topic": "units", "variable": "", "of": "values", "statistic": "doubt", "value": doubt, "unit": ""} for doubt in doubts)]
    return describe_summary(cube, land, summaries), about, rows, Data(title or name, time[0], time[-1])


def memories(carried: np.ndarray, age: np.ndarray, time: np.ndarray, mean: np.ndarray,
             lags: tuple[int, ...]) -> tuple[dict[str, np.ndarray], float | None]:
    """Autocorrelation of departures from the mean of each cell and, from a year on, from its climatology.

    Returns
    -------
    dict of str -> float [lags]
    float, or None under a year
        Share of the variance in time that the season explains.
    """
    whole, variance = autocorrelation(carried, age, lambda day: mean, lags)
    found = {"cell's mean": whole}
    if len(time) < MINIMUM_CLIMATOLOGY_DAYS:
        return found, None
    terms = season_terms(time, HARMONICS)
    coefficients = fit_season(Observed(carried, age), terms, np.arange(len(time)), mean, CLIMATOLOGY_RIDGE)
    rest, left = autocorrelation(carried, age, lambda day: mean + np.tensordot(terms[day], coefficients, axes=1), lags)
    return found | {"climatology": rest}, 1 - left / variance if variance else None


def monthly(series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """10th percentile, mean and 90th percentile of a series' days in each calendar month, float [12, 3]; NaN where there is none."""
    months = time.astype("datetime64[M]").astype(int) % 12
    found = np.full((12, 3), np.nan)
    for month in range(12):
        values = series[(months == month) & np.isfinite(series)]
        if values.size:
            found[month] = np.percentile(values, 10), values.mean(), np.percentile(values, 90)
    return found


def say_holes(land: np.ndarray, cells: Cells, summaries: dict[str, Summary], time: np.ndarray) -> list[str]:
    """Sentences on the land mask and the holes."""
    summary = summaries["soil_moisture"]
    days, first, last = longest_spell(summary.missing_on < 1, time)
    said = [f"{np.count_nonzero(land):,} of {land.size:,} cells are land (soil moisture on some day); soil moisture is there on "
            f"{percent_text(1 - summary.missing)} of their days"
            + (f"; the longest gap of a cell is {int(np.median(cells.longest_gap[land]))} days at the median, "
               f"{int(cells.longest_gap[land].max())} at most" if summary.missing else "")
            + (f"; no cell at all is seen on {days} days in a row, {first} to {last}" if days > 1 else "")]
    few = np.count_nonzero(cells.observed_days[land] < FEW_DAYS)
    if few:
        said.append(f"soil moisture is there on fewer than {FEW_DAYS} days in {few:,} of the land cells")
    still = np.count_nonzero((cells.spread[land] < 1e-6) & (cells.observed_days[land] > 1))
    if still:
        said.append(f"soil moisture never changes in {still:,} of the land cells: sea or ice that holds a number? Make it missing, or "
                    "it counts as land")
    for name, of in summaries.items():
        absent = np.count_nonzero(np.isnan(of.mean_map) & land)
        if absent:
            said.append(f"{name.replace('_', ' ')} is never there in {absent:,} of the land cells")
    lacking = [name.replace("_", " ") for name in VARIABLES if name not in summaries]
    if lacking:
        said.append(f"the cube holds no {' and no '.join(lacking)}: the training scripts need all three variables")
    return said


def hole_rows(land: np.ndarray, cells: Cells, summaries: dict[str, Summary], time: np.ndarray) -> list[dict]:
    """Rows of the table: shares observed in all and by month, gaps."""
    def row(variable, of, statistic, value, unit):
        return {"topic": "holes", "variable": variable, "of": of, "statistic": statistic, "value": value, "unit": unit}

    rows = [row("soil_moisture", "grid", "cells", land.size, "cells"),
            row("soil_moisture", "grid", "land_cells", np.count_nonzero(land), "cells"),
            row("soil_moisture", "land", "longest_gap_of_a_cell_median", int(np.median(cells.longest_gap[land])), "days"),
            row("soil_moisture", "land", "longest_gap_of_a_cell_highest", int(cells.longest_gap[land].max()), "days")]
    months = time.astype("datetime64[M]")
    for name, summary in summaries.items():
        seen = 1 - summary.missing_on
        rows.append(row(name, "all days", "observed_share", float(seen.mean()), "1"))
        rows.append(row(name, "map", "longest_gap_of_all_cells", longest_spell(seen > 0, time)[0], "days"))
        rows += [row(name, str(month), "observed_share", float(seen[months == month].mean()), "1") for month in np.unique(months)]
    return rows


def season_rows(seasons: dict[str, np.ndarray]) -> list[dict]:
    """Rows of the table: mean and spread of the land's days in each calendar month."""
    return [{"topic": "season", "variable": name, "of": f"month {month + 1}", "statistic": statistic, "value": float(value),
             "unit": UNITS[name]}
            for name, months in seasons.items() for month, of_month in enumerate(months)
            for statistic, value in zip(("percentile_10", "mean", "percentile_90"), of_month)]


def memory_rows(memory: dict[str, np.ndarray], lags: tuple[int, ...]) -> list[dict]:
    """Rows of the table: autocorrelation at each lag."""
    return [{"topic": "autocorrelation", "variable": "soil_moisture", "of": f"lag {lag}", "statistic": f"departures from {name}",
             "value": float(value), "unit": "1"} for name, values in memory.items() for lag, value in zip(lags, values)]


def score_rows(scores: Predictability) -> list[dict]:
    """Rows of the table: what forecasts score that need no network."""
    units = {"n": "values", "rmse": UNITS["soil_moisture"], "r2": "1", "variance_left": "1"}
    if scores is None:
        return []
    return [{"topic": "predictability", "variable": "soil_moisture", "of": f"lead {row['lead_time']}",
             "statistic": f"{row['forecaster']}_{name}", "value": row[name], "unit": unit}
            for row in scores.rows for name, unit in units.items()]
