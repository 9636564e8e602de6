"""The simple physics that a network must beat: what a cell loses by its wetness, and the share of rain that stays.

After Koster et al. (2017), doi:10.1175/JHM-D-16-0285.1, whose loss model per cell beats persistence: over the days ahead a cell
keeps its departure from the mean less a loss that grows with wetness, gains the rain that fell since it was last seen, and the
usual rain of the season. All of it is one regression per cell and lead time, on history days only.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import in_turn, release, scratch_array
from data_processing.cube import PRECIPITATION, SOIL_MOISTURE
from data_processing.season import season_terms

if TYPE_CHECKING:
    from data_processing.record import Record

PRIOR_PAIRS_OF_DAYS = 60.0  # weight of what all cells have in common beside the cell's own pairs
RECENT_DAYS = 3
SHORTEST_SEASON_RECORD = 365  # days of history that show a season
TERMS = 7  # of the regression; see `balance_terms`
BAND = 2048  # cells whose products are summed at a time: they fit a processor's cache


def water_balance(record: Record, targets: np.ndarray, lead_time: int, history_days: np.ndarray, mean: np.ndarray,
                  out: np.ndarray | None = None) -> np.ndarray:
    """Forecast of the loss model.

    Parameters
    ----------
    record : data_processing.record.Record
    targets : int [N]
        Indices of the target days.
    lead_time : int
        Days.
    history_days : bool [T]
        Days to learn from; targets outside them are never read.
    mean : float32 [H, W]
        Cell means of the history days, m3 m-3: forecast where nothing is known.
    out : float32 [N, H, W], optional
        Where to write the forecasts.

    Returns
    -------
    float32 [N, H, W]
        m3 m-3; NaN only where `mean` is NaN.
    """
    land = np.isfinite(mean)
    centre = mean[land].astype(np.float64)
    season_known = bool(np.count_nonzero(history_days) >= SHORTEST_SEASON_RECORD)
    forecast = scratch_array((len(targets), *mean.shape)) if out is None else out
    for sample in in_turn(forecast):
        forecast[sample] = mean
    own = balance_weights(record, land, centre, lead_time, history_days, season_known)
    if own is None:
        return forecast
    init_days = np.asarray(targets) - lead_time
    for day, x in balance_terms(record, land, centre, season_known, init_days):
        value = (x * own).sum(axis=1)
        for sample in np.flatnonzero(init_days == day):
            forecast[sample][land] = np.where(np.isfinite(value), centre + value, centre)
        release(forecast)
    return forecast


def balance_weights(record: Record, land: np.ndarray, centre: np.ndarray, lead_time: int, history_days: np.ndarray,
                    season_known: bool) -> np.ndarray | None:
    """Weights of the terms of each land cell, float64 [cells, TERMS], fitted on the history days; None where no pair is known."""
    days = np.arange(lead_time, len(record.time))
    days = days[history_days[days] & history_days[days - lead_time]]
    count = len(centre)
    gram, moment, pairs = np.zeros((count, TERMS, TERMS)), np.zeros((count, TERMS)), np.zeros(count)
    for day, x in balance_terms(record, land, centre, season_known, days - lead_time):
        y = record.observed(day + lead_time)[land] - centre
        known = np.isfinite(x).all(axis=1) & np.isfinite(y)
        x, y = np.where(known[:, None], x, 0.0), np.where(known, y, 0.0)
        for start in range(0, count, BAND):
            cells = slice(start, start + BAND)
            gram[cells] += x[cells, :, None] * x[cells, None, :]
        moment += x * y[:, None]
        pairs += known
    if not pairs.any():
        return None
    usual = gram.sum(axis=0) / pairs.sum() + 1e-9 * np.eye(TERMS)
    common = np.linalg.solve(usual, moment.sum(axis=0) / pairs.sum())
    return np.linalg.solve(gram + PRIOR_PAIRS_OF_DAYS * usual,
                           (moment + PRIOR_PAIRS_OF_DAYS * (usual @ common))[..., None])[..., 0]


def balance_terms(record: Record, land: np.ndarray, centre: np.ndarray, season_known: bool,
                  days: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield some days, in order, and what is known of each cell at their ends, float64 [cells, TERMS]; NaN: nothing.

    The terms: 1; the last departure from the mean, its square with its sign (losses grow with wetness); log-rain since it was
    seen and of the RECENT_DAYS before; cosine and sine of the season.
    """
    before = record.input_days - 1
    precipitation, age = record.carried[before:, PRECIPITATION], record.age[before:, SOIL_MOISTURE]
    carried = record.carried_soil_moisture
    season = season_terms(record.time, 1)[:, 1:] * season_known
    wanted = np.isin(np.arange(len(record.time)), days)
    nothing = np.zeros(len(centre), np.float32)
    totals = deque([nothing] * (RECENT_DAYS + 1), maxlen=RECENT_DAYS + 1)  # of the rain until each day
    until_seen, until_recent = nothing, nothing  # the rain until a cell was last seen, and RECENT_DAYS before that
    for day in in_turn(precipitation, carried, age):
        totals.append(totals[-1] + np.log1p(np.nan_to_num(precipitation[day][land])))
        seen = age[day][land] == 0
        until_seen, until_recent = np.where(seen, totals[-1], until_seen), np.where(seen, totals[0], until_recent)
        if wanted[day]:
            last, ones = carried[day][land] - centre, np.ones(len(centre))
            yield day, np.stack([ones, last, last * np.abs(last), totals[-1] - until_seen, until_seen - until_recent,
                                 season[day, 0] * ones, season[day, 1] * ones], axis=1)
