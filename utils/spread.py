"""How far a forecast can be trusted: its spread and 90 % interval, learned from the errors on validation days.

Errors differ from cell to cell and from season to season: dry or frozen soil hardly changes, wet summers do. So each cell has a
spread in each month, and it is linear in between.

Shapes: M members, V validation days, N days, L lead times, H latitudes, W longitudes. Soil moisture in m3 m-3.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from data_processing.arrays import at_most, blocks, in_turn, pieces, release, scratch_array
from data_processing.errors import UserError
from data_processing.season import year_share
from utils.ensembles import members_variance
from utils.evaluation import POSSIBLE, write_in_pieces

LEVELS = (0.05, 0.95)  # ends of the interval in forecast.nc
PRIOR_ERRORS = 10.0  # weight of the usual squared error beside the cell's own, in days: of all cells, then of the cell in a year
MONTHS = 12
SEASON_DAYS = 60.0  # from the middle of a month on a validation day no longer counts for it
SEASON_PRIOR = 3.0  # weight of the whole year beside the month, in days
QUANTILE_CELLS = 2 ** 14  # evenly spread, at most: more tell the same about where the errors stand
FEWEST_DAYS = 8  # of validation that tell the ends of a month's interval by themselves; else all days do


class Validation(NamedTuple):
    """What validation days tell about forecasts.

    errors : float32 [V, L, H, W], m3 m-3. valid_time : datetime64[D] [V]. variance : float32 [V, L, H, W], (m3 m-3)^2, among the
    members of the forecasts, or None where they have none or it is unknown.
    """

    errors: np.ndarray
    valid_time: np.ndarray
    variance: np.ndarray | None = None


# ------------------------------------------------------------------------------------------------------------- validation.nc
def write_validation(path: Path, forecast: np.ndarray, members: Any, observed: np.ndarray, valid_time: np.ndarray,
                     lead_times: Sequence[int]) -> None:
    """Keep the forecasts of validation days beside their observations.

    forecast : float32 [V, L, H, W], m3 m-3, the mean of `members` [M, V, L, H, W] where a weather forecast has several.
    observed : float32 [V, H, W].
    """
    dimensions = ("valid_time", "lead_time", "y", "x")
    variables = {"forecast": (dimensions, forecast, {"units": "m3 m-3"}),
                 "observed": (("valid_time", "y", "x"), observed, {"units": "m3 m-3"})}
    if len(members) > 1:
        variables["member_variance"] = dimensions, members_variance(members), {"units": "m6 m-6"}
    coordinates = {"valid_time": valid_time.astype("datetime64[ns]"), "lead_time": list(lead_times)}
    write_in_pieces(path, xr.Dataset(coords=coordinates), variables)


def read_validation(paths: Sequence[Path]) -> Validation:
    """What some runs tell about the mean of their forecasts.

    Parameters
    ----------
    paths : sequence of Path

    Returns
    -------
    Validation
        Its variance is that among the runs and (mean over the runs) among the members of each one's weather forecast.

    Raises
    ------
    UserError
        From `open_validations`.
    """
    with open_validations(paths) as runs:
        valid_time = _days_of(runs[0])
        within = [run["member_variance"] for run in runs if "member_variance" in run]
        errors = scratch_array(runs[0]["forecast"].shape)
        variance = scratch_array(errors.shape) if within or len(runs) > 1 else None
        for days in blocks(len(errors), errors[0].nbytes * (len(runs) + len(within) + 2)):
            forecasts = [run["forecast"][days].values for run in runs]
            errors[days] = np.mean(forecasts, axis=0) - runs[-1]["observed"][days].values[:, None]
            if variance is not None:
                variance[days] = np.mean([each[days].values for each in within], axis=0) if within else 0.0
                variance[days] += np.var(forecasts, axis=0, ddof=1) if len(runs) > 1 else 0.0
            release(errors, variance)
    return Validation(errors, valid_time, variance)


@contextlib.contextmanager
def open_validations(paths: Sequence[Path]) -> Iterator[list[xr.Dataset]]:
    """The `validation.nc` of some runs, open; a UserError where they were validated on different days, or by an older version."""
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(xr.open_dataset(path)) for path in paths]
        for path, run in zip(paths, runs):
            if not np.array_equal(_days_of(run), _days_of(runs[0])):
                raise UserError(f"{path.parent} and {paths[0].parent} were validated on different days, so that the spread of their "
                                "mean is not known. Name runs of one cube and one split.")
            if "member_variance" in run and "valid_time" not in run["member_variance"].dims:
                raise UserError(f"{path} was made by an older version: it does not say on which days the members of the weather "
                                "forecast disagreed. Train again.")
        yield runs


def _days_of(run):
    """Validation days of a dataset, datetime64[D] [V]."""
    return run["valid_time"].values.astype("datetime64[D]")


# ------------------------------------------------------------------------------------------------------------------- months
def month_place(time: np.ndarray) -> np.ndarray:
    """Place of days (datetime64[D]) in the year, float: 0 = middle of January, 11 = middle of December, at most 0.5 beyond."""
    return MONTHS * year_share(time) - 0.5


def month_weights(time: np.ndarray) -> np.ndarray:
    """What days (datetime64[D] [V]) count for each month: 1 in its middle, falling to 0 over SEASON_DAYS; float [MONTHS, V]."""
    apart = np.abs(month_place(time) - np.arange(MONTHS)[:, None])
    apart = np.minimum(apart, MONTHS - apart) * 365.25 / MONTHS
    return np.maximum(1.0 - apart / SEASON_DAYS, 0.0)


def on_days(monthly: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Values [N, ...] on days (datetime64[D] [N]) of those [MONTHS, ...] in the middle of each month: linear in between."""
    place = month_place(time) % MONTHS
    month = place.astype(int)
    later = (place - month).reshape(-1, *[1] * (monthly.ndim - 1)).astype(monthly.dtype)
    return (1 - later) * monthly[month] + later * monthly[(month + 1) % MONTHS]


def monthly_means(values: np.ndarray, weights: np.ndarray, usual: np.ndarray, prior: float) -> np.ndarray:
    """Means of the known values in each month, pulled towards the usual ones.

    Parameters
    ----------
    values : float [V, ...]
        NaN = missing.
    weights : float [MONTHS, V]
        From `month_weights`.
    usual : float [...] or [MONTHS, ...]
    prior : float
        Weight of `usual`, in days.

    Returns
    -------
    float32 [MONTHS, ...]
        NaN where `usual` is.
    """
    total = np.zeros((len(weights), *values.shape[1:]), np.float32)
    count = np.zeros_like(total)
    for day in in_turn(values):
        known = np.isfinite(values[day])
        value = np.where(known, values[day], np.float32(0))
        for month in np.flatnonzero(weights[:, day]):
            weight = np.float32(weights[month, day])
            total[month] += weight * value
            count[month] += weight * known
    return ((total + np.float32(prior) * usual) / (count + np.float32(prior))).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------------- spread
def error_spread(validation: Validation, land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squared validation error of each cell in each month, and where the errors stand in units of it.

    Parameters
    ----------
    validation : Validation
    land : bool [H, W]

    Returns
    -------
    spread : float32 [MONTHS, L, H, W]
        m3 m-3. That of a cell in a year is pulled towards that of all cells, that of a month towards the cell's own times what all
        cells say of the month (PRIOR_ERRORS, SEASON_PRIOR); NaN at sea, and of a lead time without any known error.
    ends : float64 [len(LEVELS), MONTHS, L]
        Quantiles of the errors about each month in units of the spread, with their sign turned: what to add to a forecast.
    """
    errors, weights = validation.errors, month_weights(validation.valid_time)
    spread, ends = np.empty((MONTHS, *errors.shape[1:]), np.float32), np.empty((len(LEVELS), MONTHS, errors.shape[1]))
    for lead in range(errors.shape[1]):  # one by one: a year of months of a large map is many times a day of it
        spread[:, lead] = _spread_of_lead(errors[:, lead], weights, land)
        ends[..., lead] = _error_quantiles(errors[:, lead], spread[:, lead], validation.valid_time, weights, land)
    return spread, ends


def _spread_of_lead(errors, weights, land):
    """Spread of one lead time, float32 [MONTHS, H, W]; errors is [V, H, W]."""
    squares = scratch_array(errors.shape)
    total, count = np.zeros(land.shape), np.zeros(land.shape, int)
    for day in in_turn(errors, squares):
        known = np.isfinite(errors[day]) & land
        squares[day] = np.where(known, errors[day] ** 2, np.nan)
        total += np.where(known, squares[day], 0.0)
        count += known
    usual = total.sum() / count.sum() if count.any() else np.nan
    of_cell = np.where(land, (total + PRIOR_ERRORS * usual) / (count + PRIOR_ERRORS), np.nan)
    of_day = np.full(len(errors), np.nan)  # squared errors of all cells in units of their usual ones
    for day in in_turn(squares):
        known = np.isfinite(squares[day])
        if known.any():
            of_day[day] = np.mean(squares[day][known] / np.maximum(of_cell[known], np.finfo(np.float32).tiny))
    season = monthly_means(of_day, weights, np.ones(()), SEASON_PRIOR)
    return np.sqrt(monthly_means(squares, weights, season[:, None, None] * of_cell, PRIOR_ERRORS))


def _error_quantiles(errors, spread, valid_time, weights, land):
    """Quantiles LEVELS of -errors / spread about each month, float64 [len(LEVELS), MONTHS]; errors is [V, H, W]."""
    cells = np.flatnonzero(land)
    cells = at_most(cells, QUANTILE_CELLS)
    spread = spread.reshape(len(spread), -1)[:, cells]
    scaled = np.empty((len(errors), len(cells)), np.float32)
    for day in in_turn(errors):
        scaled[day] = -errors[day].ravel()[cells] / on_days(spread, valid_time[day:day + 1])[0]
    about = [np.flatnonzero(of_month) for of_month in weights]
    tells = np.isfinite(scaled).any(axis=1)
    if not tells.any():
        return np.full((len(LEVELS), MONTHS), np.nan)
    about = [days if np.count_nonzero(tells[days]) >= FEWEST_DAYS else slice(None) for days in about]
    return np.stack([np.nanquantile(scaled[days], LEVELS) for days in about], axis=-1)


def predict_spread(forecast: np.ndarray, valid_time: np.ndarray, variance: np.ndarray | None, validation: Validation,
                   land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted spread and the ends of the interval of a forecast.

    Parameters
    ----------
    forecast : float32 [N, L, H, W]
        The mean of the members.
    valid_time : datetime64[D] [N, L]
        The days that are forecast.
    variance : float32 [N, L, H, W], or None for a single member
        Among the members, (m3 m-3)^2; NaN where it is unknown.
    validation : Validation
        Of the same mean, so that what its members share and disagree on is in its errors.
    land : bool [H, W]

    Returns
    -------
    spread : float32 [N, L, H, W]
        Standard deviation, m3 m-3: the validation error of the cell in that season, larger on days on which the members
        disagree more than they usually do then.
    ends : float32 [len(LEVELS), N, L, H, W]
        m3 m-3, within POSSIBLE.
    """
    usual, distances = error_spread(validation, land)
    usual_variance = None
    if variance is not None and validation.variance is not None:
        weights = month_weights(validation.valid_time)
        of_leads = (validation.variance[:, lead] for lead in range(forecast.shape[1]))
        usual_variance = np.stack([monthly_means(each, weights, _mean(each), SEASON_PRIOR) for each in of_leads], axis=1)
    spread, ends = scratch_array(forecast.shape), scratch_array((len(LEVELS), *forecast.shape))
    for days in pieces(forecast, spread, *ends):
        for lead, time in enumerate(valid_time[days].T):
            width = on_days(usual[:, lead], time)
            if variance is not None and usual_variance is not None:
                more = np.nan_to_num(variance[days, lead] - on_days(usual_variance[:, lead], time))
                width = np.sqrt(np.maximum(width ** 2 + more, (0.5 * width) ** 2))
            spread[days, lead] = width
            for end, distance in zip(ends, distances):
                reached = forecast[days, lead] + on_days(distance[:, lead], time)[:, None, None] * width
                end[days, lead] = np.clip(reached, *POSSIBLE)
        release(variance)
    return spread, ends


def _mean(values):
    """Mean [...] of the known of values [V, ...]; NaN where none is."""
    total, count = np.zeros(values.shape[1:], np.float32), np.zeros(values.shape[1:], int)
    for day in in_turn(values):
        total += np.nan_to_num(values[day])
        count += np.isfinite(values[day])
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0, casting="unsafe")
