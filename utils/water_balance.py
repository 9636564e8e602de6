"""The simple physics that a network must beat: what a cell loses by its wetness, and the share of rain that stays.

After Koster et al. (2017), doi:10.1175/JHM-D-16-0285.1, whose loss model per cell beats persistence: over the days ahead a cell
keeps its departure from the mean less a loss that grows with wetness, gains the rain that fell since it was last seen, and the
usual rain of the season. All of it is one regression per cell and lead time, on history days only.
"""
import numpy as np

from data_processing.cube import PRECIPITATION, SOIL_MOISTURE
from data_processing.season import season_terms

PRIOR_PAIRS_OF_DAYS = 60.0  # weight of what all cells have in common beside the cell's own pairs
RECENT_DAYS = 3
SHORTEST_SEASON_RECORD = 365  # days of history that show a season


def water_balance(record, targets, lead_time, history_days, mean):
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

    Returns
    -------
    float32 [N, H, W]
        m3 m-3; NaN only where `mean` is NaN.
    """
    land = np.isfinite(mean)
    centre = mean[land].astype(np.float64)
    days = np.arange(lead_time, len(record.time))
    days = days[history_days[days] & history_days[days - lead_time]]
    terms = balance_terms(record, land, centre, np.count_nonzero(history_days) >= SHORTEST_SEASON_RECORD)
    observed = record.observed()[:, land]
    count, size = np.count_nonzero(land), terms(0).shape[1]
    gram, moment, pairs = np.zeros((count, size, size)), np.zeros((count, size)), np.zeros(count)
    for day in days:
        x, y = terms(day - lead_time), observed[day] - centre
        known = np.isfinite(x).all(axis=1) & np.isfinite(y)
        x, y = np.where(known[:, None], x, 0.0), np.where(known, y, 0.0)
        gram += x[:, :, None] * x[:, None, :]
        moment += x * y[:, None]
        pairs += known
    forecast = np.repeat(mean[None], len(targets), axis=0)
    if not pairs.any():
        return forecast
    usual = gram.sum(axis=0) / pairs.sum() + 1e-9 * np.eye(size)
    common = np.linalg.solve(usual, moment.sum(axis=0) / pairs.sum())
    own = np.linalg.solve(gram + PRIOR_PAIRS_OF_DAYS * usual,
                          (moment + PRIOR_PAIRS_OF_DAYS * (usual @ common))[..., None])[..., 0]
    for sample, day in enumerate(np.asarray(targets) - lead_time):
        if day >= 0:
            value = (terms(day) * own).sum(axis=1)
            forecast[sample][land] = np.where(np.isfinite(value), centre + value, centre)
    return forecast


def balance_terms(record, land, centre, season_known):
    """Function of a day that gives what is known of each cell at its end, float64 [cells, terms]; NaN: nothing.

    The terms: 1; the last departure from the mean, its square with its sign (losses grow with wetness); log-rain since it was
    seen and of the RECENT_DAYS before; cosine and sine of the season.
    """
    before = record.input_days - 1
    rain = np.log1p(np.nan_to_num(record.carried[before:, PRECIPITATION][:, land]))
    total = np.concatenate([np.zeros((1, rain.shape[1]), np.float32), np.cumsum(rain, axis=0)])
    season = season_terms(record.time, 1)[:, 1:] * season_known
    carried = record.carried_soil_moisture[:, land]
    age = record.age[before:, SOIL_MOISTURE][:, land].astype(int)
    cells = np.arange(rain.shape[1])

    def terms(day):
        last = carried[day] - centre
        seen = np.maximum(day + 1 - np.minimum(age[day], day + 1), 0)
        since = total[day + 1] - total[seen, cells]
        recent = total[seen, cells] - total[np.maximum(seen - RECENT_DAYS, 0), cells]
        ones = np.ones_like(last)
        return np.stack([ones, last, last * np.abs(last), since, recent, season[day, 0] * ones, season[day, 1] * ones], axis=1)

    return terms
