"""Carry the last observed state of the soil over days without observation."""

import numpy as np

from data_processing.cube import SOIL_MOISTURE, VARIABLES
from data_processing.errors import UserError

CARRIED = ("soil_moisture", "soil_temperature")  # states; rain of another day says nothing about this day's
NO_VALUE = 255  # age where nothing was observed within max_gap_days
LONGEST_GAP = NO_VALUE - 1
MEMORY_DAYS = 60.0  # e-folding time of the antecedent means: the deeper soil's
LONG_MEMORY_DAYS = 365.0  # of soil moisture's second one: what the place has been like since the record began
ANTECEDENT = (*VARIABLES, "soil_moisture", "soil_moisture")  # variable of each channel of `antecedent_means`


def carry_forward(values, max_gap_days):
    """Fill missing soil moisture and temperature by the last observed value of the cell; never look ahead.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        Variables in the order of `VARIABLES`; NaN = missing. Not changed.
    max_gap_days : int
        Oldest value that is still used, in days, 0 (none) to 254.

    Returns
    -------
    carried : float32 [T, 3, H, W]
        `values` with gaps of up to `max_gap_days` filled; NaN where nothing was observed in that time.
        Precipitation is as observed.
    age : uint8 [T, 3, H, W]
        Days since the value was observed: 0 = that day, `NO_VALUE` = carried is NaN.
    """
    if not 0 <= max_gap_days <= LONGEST_GAP:
        raise UserError(f"max_gap_days is {max_gap_days}; it must be 0 to {LONGEST_GAP}.")
    carried = values.copy()
    age = np.full(values.shape, NO_VALUE, np.uint8)
    age[~np.isnan(values)] = 0
    for channel in (VARIABLES.index(name) for name in CARRIED):
        for day in range(1, len(values)):
            fill = (age[day, channel] == NO_VALUE) & (age[day - 1, channel] < max_gap_days)
            carried[day, channel][fill] = carried[day - 1, channel][fill]
            age[day, channel][fill] = age[day - 1, channel][fill] + 1
    return carried, age


def antecedent_means(values):
    """What the days before have been like: means of all values up to each day, older ones counting less.

    A value loses its weight with an e-folding time of MEMORY_DAYS, so that a network that looks back some weeks knows of the
    months before; soil moisture's also with one of LONG_MEMORY_DAYS: where a short record's mean is that of one season, the
    days that have come since correct it.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        NaN = missing. Not changed.

    Returns
    -------
    float32 [T, len(ANTECEDENT), H, W]
        From the values of this and earlier days only: the mean of each variable, in its unit; the long mean of soil
        moisture, m3 m-3; how many values it stands for. Means are NaN before the first value.
    """
    means = np.empty((len(values), len(ANTECEDENT), *values.shape[2:]), np.float32)
    means[:, :len(VARIABLES)], _ = _fading_means(values, MEMORY_DAYS)
    means[:, -2], means[:, -1] = _fading_means(values[:, SOIL_MOISTURE], LONG_MEMORY_DAYS)
    return means


def _fading_means(values, memory_days):
    """Means and weights (a value of today counts 1) of the values [T, ...] up to each day."""
    kept = np.float32(np.exp(-1.0 / memory_days))
    means, weights = np.empty_like(values), np.empty_like(values)
    total, weight = np.zeros(values.shape[1:], np.float32), np.zeros(values.shape[1:], np.float32)
    for day, today in enumerate(values):
        observed = ~np.isnan(today)
        total = kept * total + np.where(observed, today, 0)
        weight = kept * weight + observed
        means[day] = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 1e-6)
        weights[day] = weight
    return means, weights
