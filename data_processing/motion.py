"""Which way the rain travels: the motion of each day's rain field, estimated from the maps up to that day.

As in the nowcasting of rain by its motion (Rinehart and Garvey 1978, doi:10.1038/273287a0): the motion of a place is the
displacement at which yesterday's rain around it resembles today's best. Weather systems keep their motion for days, so that
earlier days count as well.
"""
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy

from data_processing.arrays import WORTH_TELLING, blocks, release
from data_processing.satellite import KM_PER_DEGREE
from data_processing.terminal import progress_bar

COARSE_KM = 140.0  # the maps are averaged to about this spacing: the motion of weather is smooth
WINDOW_KM = 2500.0  # width of the square in which maps are compared
# km d-1 eastward and northward: what is searched, and what is expected where the maps say nothing (westerlies)
FASTEST_EAST, FASTEST_WEST, FASTEST_NORTH = 1300.0, 600.0, 850.0
USUAL = (230.0, 10.0)
USUAL_SPREAD = 180.0
EVIDENCE = 24.0  # gain in log-probability from no resemblance to a perfect one
KEPT_EVIDENCE = 0.5  # of a day's evidence, on the day after
MOTION_VERSION = 2  # of the maps that are kept
FLAT = 1e-6  # product of mean squares, log(1 + mm d-1)^4, below which there is nothing to compare


class RainMotion(NamedTuple):
    """Motion of the rain, the same for all cells of a block.

    maps : float32 [T, 2, h, w], from `rain_motion`.
    rows, columns : cells of a block.
    """

    maps: np.ndarray
    rows: int
    columns: int


def motion_block(lat: np.ndarray, lon: np.ndarray) -> tuple[int, int]:
    """Rows and columns of cells that share a motion: about COARSE_KM, or the whole of a map of one row or column."""
    if min(len(lat), len(lon)) < 2:
        return len(lat), len(lon)
    rows, columns = (max(1, round(COARSE_KM / km)) for km in spacing_km(lat, lon))
    return rows, columns


def rain_motion(rain: np.ndarray, land: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Motion of the rain on each day, from this and earlier days only.

    Parameters
    ----------
    rain : float32 [T, H, W]
        mm d-1; NaN = missing. Read in pieces.
    land : bool [H, W]
        Elsewhere the rain counts as missing.
    lat, lon : float [H], [W]
        Cell centres, degrees, ascending.

    Returns
    -------
    float32 [T, 2, h, w]
        km d-1, eastward and northward, of each block of cells (`motion_block`); USUAL where there is nothing to compare.
    """
    days, height, width = rain.shape
    if min(height, width) < 2:
        return np.broadcast_to(np.array(USUAL, np.float32)[:, None, None], (days, 2, 1, 1))
    rows, columns = motion_block(lat, lon)
    row_km, column_km = (size * km for size, km in zip((rows, columns), spacing_km(lat, lon)))
    window = max(1, round(WINDOW_KM / row_km)), max(1, round(WINDOW_KM / column_km))
    east = np.arange(-round(FASTEST_WEST / column_km), round(FASTEST_EAST / column_km) + 1)
    north = np.arange(-round(FASTEST_NORTH / row_km), round(FASTEST_NORTH / row_km) + 1)
    steps = [(down, right) for down in north for right in east]
    ways = np.array([(right * column_km, down * row_km) for down, right in steps], np.float32)
    expected = -((ways - USUAL) ** 2).sum(axis=1) / (2 * USUAL_SPREAD ** 2)
    motion = np.empty((days, 2, -(-height // rows), -(-width // columns)), np.float32)
    yesterday: np.ndarray | None = None
    evidence = np.zeros((len(steps), *motion.shape[2:]), np.float32)
    for block in progress_bar(blocks(days, 4 * (height * width + len(steps) * motion[0, 0].size)), desc="motion of the rain", unit="block",
                              leave=False, delay=WORTH_TELLING):
        today = np.log1p(np.where(land, rain[block], np.float32(np.nan)))
        release(rain)
        today = departures(block_means(today, rows, columns), window)
        before = np.concatenate([np.zeros_like(today[:1]) if yesterday is None else yesterday, today[:-1]])
        yesterday = today[-1:]
        follow = functools.partial(follow_days, evidence, resemblance(before, today, steps, window), expected, ways, motion[block])
        on_all_cores(follow, motion.shape[2])
    return motion


def follow_days(evidence: np.ndarray, alike: np.ndarray, expected: np.ndarray, ways: np.ndarray, motion: np.ndarray,
                rows: slice) -> None:
    """Go through some days on some rows of blocks.

    Parameters
    ----------
    evidence : float32 [steps, h, w]
        Of the days before; overwritten by that of the last day.
    alike : float32 [steps, T, h, w]
        From `resemblance`.
    expected : float [steps]
        Log-probability of each step where the maps say nothing.
    ways : float32 [steps, 2]
        km d-1, eastward and northward.
    motion : float32 [T, 2, h, w]
        Is written: km d-1.
    rows : slice
    """
    for day in range(len(motion)):
        evidence[:, rows] = KEPT_EVIDENCE * evidence[:, rows] + EVIDENCE * alike[:, day, rows]
        chance = evidence[:, rows] + expected[:, None, None]
        chance = np.exp(chance - chance.max(axis=0))
        motion[day, :, rows] = np.tensordot(ways.T, chance / chance.sum(axis=0), 1)


def on_all_cores(work: Callable[[slice], None], count: int) -> None:
    """Do some work for `count` items, as many slices of them at a time as there are cores: the GIL is free in numpy and scipy."""
    slices = [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(count), os.cpu_count() or 1) if part.size]
    with ThreadPoolExecutor(len(slices)) as pool:
        list(pool.map(work, slices))


def spacing_km(lat: np.ndarray, lon: np.ndarray) -> tuple[float, float]:
    """Mean distance of neighbouring rows and of neighbouring columns of a grid, km; infinite where there is only one."""
    steps = [np.ptp(axis) / (len(axis) - 1) if len(axis) > 1 else np.inf for axis in (lat, lon)]
    return KM_PER_DEGREE * steps[0], KM_PER_DEGREE * steps[1] * np.cos(np.radians(np.mean(lat)))


def block_means(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means of the known values [T, H, W] in blocks of rows x columns; NaN where nothing is known."""
    days, height, width = maps.shape
    padded = np.pad(maps, ((0, 0), (0, -height % rows), (0, -width % columns)), constant_values=np.nan)
    parts = padded.reshape(days, -(-height // rows), rows, -(-width // columns), columns)
    known = np.isfinite(parts)
    count = known.sum(axis=(2, 4))
    total = np.where(known, parts, 0).sum(axis=(2, 4))
    return np.divide(total, count, out=np.full(total.shape, np.nan, np.float32), where=count > 0)


def departures(maps: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Departures [T, h, w] from the mean of the known values around; 0 where nothing is known."""
    known = np.isfinite(maps).astype(np.float32)
    around = around_means(np.nan_to_num(maps), window) / np.maximum(around_means(known, window), 1e-3)
    return np.where(known > 0, np.nan_to_num(maps) - around, np.float32(0))


def around_means(maps: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Means [..., h, w] over a window (rows, columns) around each cell; beyond the map is 0."""
    return scipy.ndimage.uniform_filter(maps, (1,) * (maps.ndim - 2) + window, mode="constant")


def resemblance(before: np.ndarray, today: np.ndarray, steps: list, window: tuple[int, int]) -> np.ndarray:
    """Correlation of today's departures around each cell with those of yesterday, moved by each step (rows, columns).

    Returns
    -------
    float32 [steps, T, h, w]
    """
    size = np.sqrt(np.maximum(around_means(before ** 2, window) * around_means(today ** 2, window), FLAT))
    alike = np.empty((len(steps), *today.shape), np.float32)

    def compare(some):
        for number in range(some.start, some.stop):
            alike[number] = around_means(moved(before, steps[number]) * today, window) / size

    on_all_cores(compare, len(steps))
    return alike


def moved(maps: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Maps [T, h, w] moved by whole cells northward and eastward; what comes in from beyond the map is 0."""
    result = np.zeros_like(maps)
    (into_row, from_row), (into_column, from_column) = (overlap(each, size) for each, size in zip(step, maps.shape[1:]))
    result[:, into_row, into_column] = maps[:, from_row, from_column]
    return result


def overlap(step: int, size: int) -> tuple[slice, slice]:
    """Slices of where values land that are moved by a step along an axis, and of where they come from."""
    step = int(np.clip(step, -size, size))
    return (slice(step, size), slice(0, size - step)) if step >= 0 else (slice(0, size + step), slice(-step, size))
