"""Holes, spread and memory of the soil moisture of a cube, from one reading of the file."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.arrays import WORTH_TELLING, blocks, in_turn, release, scratch_array
from data_processing.cube import SOIL_MOISTURE, VARIABLES
from data_processing.gaps import carry_forward
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    import xarray


class Cells(NamedTuple):
    """Each cell's soil moisture in a few numbers, [H, W]; `mean` and `spread` are NaN where nothing is observed."""

    observed_days: np.ndarray
    longest_gap: np.ndarray  # days without a value, in a row; at the ends of the record as well
    mean: np.ndarray  # m3 m-3
    spread: np.ndarray  # m3 m-3, standard deviation in time


def carried_soil_moisture(cube: xarray.Dataset, max_gap_days: int) -> tuple[np.ndarray, np.ndarray]:
    """Soil moisture of a cube with its gaps carried; read in blocks into arrays that are mapped where they are large.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`; the other variables may lack.
    max_gap_days : int
        Oldest value that is carried, days.

    Returns
    -------
    carried : float32 [T, H, W]
        m3 m-3, NaN = nothing observed within `max_gap_days`.
    age : uint8 [T, H, W]
        Days since the value was observed.
    """
    field = cube["soil_moisture"]
    carried, age = scratch_array(field.shape), scratch_array(field.shape, np.uint8)
    last = None
    for days in progress_bar(blocks(len(field), 4 * len(VARIABLES) * field[0].size), desc="reading soil moisture", unit="block",
                             leave=False, delay=WORTH_TELLING):
        values = np.full((days.stop - days.start, len(VARIABLES), *field.shape[1:]), np.nan, np.float32)
        values[:, SOIL_MOISTURE] = field[days].values
        filled, since = carry_forward(values, max_gap_days, last)
        carried[days], age[days] = filled[:, SOIL_MOISTURE], since[:, SOIL_MOISTURE]
        last = filled[-1], since[-1]
        release(carried, age)
    return carried, age


def survey_cells(carried: np.ndarray, age: np.ndarray) -> Cells:
    """Holes and spread of each cell.

    Parameters
    ----------
    carried, age
        From `carried_soil_moisture`.

    Returns
    -------
    Cells
    """
    count, total, square = np.zeros(age.shape[1:], int), np.zeros(age.shape[1:]), np.zeros(age.shape[1:])
    gap, longest = np.zeros(age.shape[1:], int), np.zeros(age.shape[1:], int)
    for day in in_turn(carried, age):
        seen = age[day] == 0
        count += seen
        total += np.where(seen, carried[day], 0)
        gap = np.where(seen, 0, gap + 1)
        longest = np.maximum(longest, gap)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    for day in in_turn(carried, age):
        square += np.where(age[day] == 0, carried[day] - mean, 0) ** 2
    spread = np.sqrt(np.divide(square, count, out=np.full(total.shape, np.nan), where=count > 0))
    return Cells(count, longest, mean, spread)


def longest_spell(seen: np.ndarray, time: np.ndarray) -> tuple[int, np.datetime64, np.datetime64]:
    """Longest run of days without any value.

    Parameters
    ----------
    seen : bool [T]
        Whether the day has a value.
    time : datetime64[D] [T]

    Returns
    -------
    days : int
    first, last : datetime64[D]
        Of the run; NaT where there is none.
    """
    borders = np.flatnonzero(np.diff(np.concatenate([[0], ~np.asarray(seen), [0]]).astype(int)))
    starts, ends = borders[::2], borders[1::2]
    if not starts.size:
        return 0, np.datetime64("NaT"), np.datetime64("NaT")
    longest = int(np.argmax(ends - starts))
    return int(ends[longest] - starts[longest]), time[starts[longest]], time[ends[longest] - 1]


def autocorrelation(carried: np.ndarray, age: np.ndarray, usual: Callable, lags: Sequence[int]) -> tuple[np.ndarray, float]:
    """Autocorrelation in time of the departures from what is usual, all cells together.

    Parameters
    ----------
    carried, age
        From `carried_soil_moisture`; only observed values count.
    usual : function of a day's index -> float [H, W]
        m3 m-3; NaN leaves the cell out.
    lags : sequence of int
        Days, 1 or more.

    Returns
    -------
    float64 [lags]
        Sum of products over pairs of days, by the root of the product of both sums of squares; NaN where there is no pair.
    float
        Mean square of the departures, (m3 m-3)^2.
    """
    cells = int(np.prod(age.shape[1:]))
    longest = max(lags)
    values, valid = np.zeros((longest, cells), np.float32), np.zeros((longest, cells), np.float32)  # of the last days, by day % longest
    sums = np.zeros((3, longest + 1))  # products, squares of the later and of the earlier day
    total, count = 0.0, 0
    for day in in_turn(carried, age):
        departure = (carried[day] - usual(day)).ravel()
        seen = (age[day].ravel() == 0) & np.isfinite(departure)
        departure = np.where(seen, departure, 0).astype(np.float32)
        square = departure ** 2
        total, count = total + square.sum(dtype=np.float64), count + int(np.count_nonzero(seen))
        lag = (day - np.arange(longest)) % longest
        lag[lag == 0] = longest  # what stands in each row is so many days old
        sums[0, lag] += values @ departure
        sums[1, lag] += valid @ square
        sums[2, lag] += values ** 2 @ seen.astype(np.float32)
        values[day % longest], valid[day % longest] = departure, seen
    scale = np.sqrt(sums[1] * sums[2])
    found = np.divide(sums[0], scale, out=np.full(longest + 1, np.nan), where=scale > 0)
    return found[list(lags)], total / max(count, 1)
