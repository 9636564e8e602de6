"""Carry the last observed state of the soil over days without observation."""

import numpy as np

from data_processing.cube import VARIABLES
from data_processing.errors import UserError

CARRIED = ("soil_moisture", "soil_temperature")  # states; rain of another day says nothing about this day's
NO_VALUE = 255  # age where nothing was observed within max_gap_days
LONGEST_GAP = NO_VALUE - 1
MEMORY_DAYS = 60.0  # e-folding time of the antecedent means: the deeper soil's


def carry_forward(values: np.ndarray, max_gap_days: int,
                  before: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fill missing soil moisture and temperature by the last observed value of the cell; never look ahead.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        Variables in the order of `VARIABLES`; NaN = missing. Not changed.
    max_gap_days : int
        Oldest value that is still used, in days, 0 (none) to 254.
    before : (float32 [3, H, W], uint8 [3, H, W]), optional
        What the day before the first one ended with, where a record is read in pieces.

    Returns
    -------
    carried : float32 [T, 3, H, W]
        `values` with gaps of up to `max_gap_days` filled; NaN where nothing was observed in that time.
        Precipitation is as observed.
    age : uint8 [T, 3, H, W]
        Days since the value was observed: 0 = that day, `NO_VALUE` = carried is NaN.
    """
    check_gap_days(max_gap_days)
    carried = values.copy()
    age = np.where(np.isnan(values), np.uint8(NO_VALUE), np.uint8(0))
    for day in range(len(values)):
        last, last_age = (carried[day - 1], age[day - 1]) if day else before or (None, None)
        if last is None:
            continue
        for channel in (VARIABLES.index(name) for name in CARRIED):
            fill = (age[day, channel] == NO_VALUE) & (last_age[channel] < max_gap_days)
            carried[day, channel][fill] = last[channel][fill]
            age[day, channel][fill] = last_age[channel][fill] + 1
    return carried, age


def check_gap_days(max_gap_days: int) -> None:
    """Refuse a number of days that cannot be carried."""
    if not 0 <= max_gap_days <= LONGEST_GAP:
        raise UserError(f"max_gap_days is {max_gap_days}; it must be 0 to {LONGEST_GAP}.")


def antecedent_means(values: np.ndarray,
                     before: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """What the days before have been like: the mean of all values up to each day, older ones counting less.

    A value loses its weight with an e-folding time of MEMORY_DAYS; so a network that looks back some weeks knows of the
    months before.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        NaN = missing. Not changed.
    before : two float32 [3, H, W], optional
        Sums that the days before ended with, where a record is read in pieces.

    Returns
    -------
    means : float32 [T, 3, H, W]
        In the unit of `values`, from the values of this and earlier days only; NaN before the first one.
    sums : two float32 [3, H, W]
        To go on with.
    """
    kept = np.float32(np.exp(-1.0 / MEMORY_DAYS))
    means = np.empty_like(values)
    total, weight = before or (np.zeros(values.shape[1:], np.float32),) * 2
    for day, today in enumerate(values):
        observed = ~np.isnan(today)
        total = kept * total + np.where(observed, today, 0)
        weight = kept * weight + observed
        means[day] = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 1e-6)
    return means, (total, weight)
