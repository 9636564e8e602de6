"""The forecasts that every network is measured against: persistence, damped persistence, climatology, water balance.

Shapes: T days of the record, N target days, H latitudes, W longitudes. Values in m3 m-3, NaN missing.
`observed` is an array or a `data_processing.arrays.Observed`; large arrays are read and written in blocks of days.
"History days" are the days a baseline may learn from; targets outside them are never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import in_turn, pieces, release, scratch_array
from data_processing.errors import UserError
from data_processing.season import fit_season, season_terms
from utils.water_balance import water_balance

if TYPE_CHECKING:
    from data_processing.arrays import Observed
    from data_processing.record import Record

# Pairs a cell needs for a damping factor of its own (DESIGN: fewer than 60 share one factor).
MINIMUM_PAIRS = 60
# History days below which the season cannot be told from the weather.
MINIMUM_CLIMATOLOGY_DAYS = 365
HARMONICS = 2
# Weight of "no seasonal cycle" in days of observations. Departures from the season keep for some 10 days, so
# that about 20 days are worth one independent value; the prior cycle has the amplitude of these departures.
CLIMATOLOGY_RIDGE = 20.0


def baseline_forecasts(record: Record, targets: np.ndarray, history_days: np.ndarray) -> dict[str, np.ndarray]:
    """Forecasts of some days that need no network.

    Parameters
    ----------
    record : data_processing.record.Record
    targets : int [N], indices of the target days in the record
    history_days : bool [T], days to learn from: to `train_until`, or before the validation while settings are chosen

    Returns
    -------
    dict name -> float32 [N, L, H, W]
        persistence, damped_persistence, climatology, water_balance, each lead time of the record; m3 m-3, no NaN on land.
    """
    observed, carried = record.observed_maps, record.carried_soil_moisture
    mean = cell_mean(observed, history_days)
    shape = len(targets), len(record.lead_times), *mean.shape
    usual = climatology(observed, record.time, history_days, record.time[targets], mean)
    forecasts = {"persistence": scratch_array(shape), "damped_persistence": scratch_array(shape),
                 "climatology": np.broadcast_to(usual[:, None], shape), "water_balance": scratch_array(shape)}
    for lead, lead_time in enumerate(record.lead_times):
        persistence(carried, targets, lead_time, mean, out=forecasts["persistence"][:, lead])
        damped_persistence(carried, observed, history_days, targets, lead_time, mean,
                           out=forecasts["damped_persistence"][:, lead])
        water_balance(record, targets, lead_time, history_days, mean, out=forecasts["water_balance"][:, lead])
    return forecasts


def cell_mean(observed: Observed, history_days: np.ndarray) -> np.ndarray:
    """Mean of every cell over the history days.

    Parameters
    ----------
    observed : float32 [T, H, W]
        m3 m-3, NaN = missing.
    history_days : bool [T]

    Returns
    -------
    float32 [H, W]
        m3 m-3. A cell that is observed on some day of the record but on none of the history days gets the
        mean of the other cells' means; a cell that is never observed (sea) is NaN.

    Raises
    ------
    UserError
        Nothing is observed on the history days.
    """
    _check_days(observed, history_days)
    total = np.zeros(observed.shape[1:])
    count = np.zeros(observed.shape[1:], dtype=np.int64)
    ever_observed = np.zeros(observed.shape[1:], dtype=bool)
    for day in in_turn(observed):
        today = observed[day]
        valid = np.isfinite(today)
        ever_observed |= valid
        if history_days[day]:
            total += np.where(valid, today, 0.0)
            count += valid
    if not count.any():
        raise UserError(f"No soil moisture is observed on the {int(np.sum(history_days))} history days: "
                        "a baseline needs some. Check the training dates.")
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    mean[ever_observed & (count == 0)] = mean[count > 0].mean()
    return mean.astype(np.float32)


def persistence(carried: np.ndarray, targets: np.ndarray, lead_time: int, mean: np.ndarray,
                out: np.ndarray | None = None) -> np.ndarray:
    """Last known value of the cell, `lead_time` days before the target.

    Parameters
    ----------
    carried : float32 [T, H, W]
        m3 m-3, observed or carried forward, NaN = nothing within the carrying limit.
    targets : int [N]
        Indices of the target days in the record.
    lead_time : int
        Days from the last input day to the target, >= 1.
    mean : float32 [H, W]
        m3 m-3, forecast where nothing is known (also for input days before the record).
    out : float32 [N, H, W], optional
        Where to write the forecasts.

    Returns
    -------
    float32 [N, H, W]
        m3 m-3, NaN only where `mean` is NaN.
    """
    forecast = scratch_array((len(targets), *carried.shape[1:])) if out is None else out
    init_days = _init_days(carried, targets, lead_time)
    for samples in pieces(forecast):
        for sample, init in enumerate(init_days[samples], samples.start):
            forecast[sample] = mean if init < 0 else np.where(np.isfinite(carried[init]), carried[init], mean)
        release(carried)
    return forecast


def damped_persistence(carried: np.ndarray, observed: Observed, history_days: np.ndarray, targets: np.ndarray, lead_time: int,
                       mean: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Cell's mean plus a share of the last known departure from it.

    The share (`damping_factor`) is fitted on the history days, one per cell and lead time.

    Parameters
    ----------
    carried, targets, lead_time, mean, out
        See `persistence`.
    observed : float32 [T, H, W]
        m3 m-3, NaN = missing.
    history_days : bool [T]

    Returns
    -------
    float32 [N, H, W]
        m3 m-3, NaN only where `mean` is NaN.
    """
    return damped_by(damping_factor(carried, observed, history_days, lead_time, mean), carried, targets, lead_time, mean, out)


def damped_by(factor: np.ndarray, carried: np.ndarray, targets: np.ndarray, lead_time: int, mean: np.ndarray,
              out: np.ndarray | None = None) -> np.ndarray:
    """`damped_persistence` with a `damping_factor` that is known already."""
    forecast = persistence(carried, targets, lead_time, mean, out)
    for sample in in_turn(forecast):
        forecast[sample] = mean + factor * (forecast[sample] - mean)
    return forecast


def damping_factor(carried: np.ndarray, observed: Observed, history_days: np.ndarray, lead_time: int,
                   mean: np.ndarray) -> np.ndarray:
    """Share of a departure from the mean that is left after `lead_time` days: least squares, held in 0..1.

    A pair is a known value (observed or carried) on a history day and an observed target `lead_time` days
    later, a history day too. A cell with fewer than MINIMUM_PAIRS pairs takes the factor of all pairs of all
    cells.

    Parameters
    ----------
    carried, observed, history_days, lead_time, mean
        See `damped_persistence`.

    Returns
    -------
    float64 [H, W]
    """
    _check_days(observed, history_days)
    history_days = np.asarray(history_days, dtype=bool)
    product = np.zeros(observed.shape[1:])
    square = np.zeros(observed.shape[1:])
    pairs = np.zeros(observed.shape[1:], dtype=np.int64)
    centre = np.asarray(mean, dtype=np.float64)
    for target in in_turn(observed):
        init = target - lead_time
        if not (init >= 0 and history_days[target] and history_days[init]):
            continue
        now = observed[target]
        valid = np.isfinite(carried[init]) & np.isfinite(now)
        before = np.where(valid, carried[init] - centre, 0.0)
        after = np.where(valid, now - centre, 0.0)
        product += before * after
        square += before * before
        pairs += valid
    shared = _ratio(product.sum(), square.sum())
    return np.clip(np.where(pairs >= MINIMUM_PAIRS, _ratio(product, square), shared), 0.0, 1.0)


def climatology(observed: Observed, time: np.ndarray, history_days: np.ndarray, target_times: np.ndarray,
                mean: np.ndarray) -> np.ndarray:
    """Usual value of the cell on that day of the year.

    Constant, annual and semi-annual harmonics per cell, fitted to the history days by ridge regression
    about `mean`. The penalty CLIMATOLOGY_RIDGE counts in days of observations, so it means the same for a lively
    and a calm cell. With fewer than MINIMUM_CLIMATOLOGY_DAYS history days the forecast is `mean`.

    Parameters
    ----------
    observed : float32 [T, H, W]
        m3 m-3, NaN = missing.
    time : datetime64 [T]
    history_days : bool [T]
    target_times : datetime64 [N]
        Inside or outside the record.
    mean : float32 [H, W]
        m3 m-3.

    Returns
    -------
    float32 [N, H, W]
        m3 m-3, NaN only where `mean` is NaN.
    """
    _check_days(observed, history_days)
    days = np.flatnonzero(history_days)
    if len(days) < MINIMUM_CLIMATOLOGY_DAYS:
        return np.broadcast_to(np.asarray(mean, dtype=np.float32), (len(target_times), *mean.shape))
    coefficients = fit_season(observed, season_terms(time, HARMONICS), days, mean, CLIMATOLOGY_RIDGE)
    forecast = scratch_array((len(target_times), *observed.shape[1:]))
    terms = season_terms(target_times, HARMONICS)
    for sample in in_turn(forecast):
        forecast[sample] = mean + np.tensordot(terms[sample], coefficients, axes=1)
    return forecast


def _ratio(product, square):
    """product / square; 0 where nothing ever departs from the mean."""
    return np.divide(product, square, out=np.zeros(np.shape(square)), where=np.asarray(square) > 0)


def _init_days(carried, targets, lead_time):
    """Index of the last input day of every target; negative = before the record."""
    if lead_time < 1:
        raise UserError(f"lead_time is {lead_time}: it must be at least 1 day, or the forecast would read "
                        "its target.")
    init_days = np.asarray(targets) - lead_time
    if len(init_days) and init_days.max() >= len(carried):
        raise UserError(f"A target needs day {init_days.max()} of the record as its last input, but the "
                        f"record has {len(carried)} days. Give targets below {len(carried) + lead_time}.")
    return init_days


def _check_days(observed, history_days):
    if np.shape(history_days) != observed.shape[:1]:
        raise UserError(f"history_days has shape {np.shape(history_days)}, but the record has "
                        f"{len(observed)} days: give one true or false per day.")
