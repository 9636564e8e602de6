"""Carry the last observed state of the soil over days without observation."""

import numpy as np

from data_processing.cube import VARIABLES
from data_processing.errors import UserError

CARRIED = ("soil_moisture", "soil_temperature")  # states; rain of another day says nothing about this day's
NO_VALUE = 255  # age where nothing was observed within max_gap_days
LONGEST_GAP = NO_VALUE - 1
MEMORY_DAYS = 60.0  # e-folding time of the antecedent means: the deeper soil's


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
    """What the days before have been like: the mean of all values up to each day, older ones counting less.

    A value loses its weight with an e-folding time of MEMORY_DAYS; so a network that looks back some weeks knows of the
    months before.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        NaN = missing. Not changed.

    Returns
    -------
    float32 [T, 3, H, W]
        In the unit of `values`, from the values of this and earlier days only; NaN before the first one.
    """
    kept = np.float32(np.exp(-1.0 / MEMORY_DAYS))
    means = np.empty_like(values)
    total, weight = np.zeros(values.shape[1:], np.float32), np.zeros(values.shape[1:], np.float32)
    for day, today in enumerate(values):
        observed = ~np.isnan(today)
        total = kept * total + np.where(observed, today, 0)
        weight = kept * weight + observed
        means[day] = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 1e-6)
    return means
