"""The maps in which a network looks around: a record's values in blocks of about 80 km.

Weather is smooth on this scale. So a network sees the same around a cell on a coarse and on a fine grid, and what it costs to
look around does not grow with the number of cells.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.arrays import WORTH_TELLING, blocks, kept_arrays, release, short_key
from data_processing.cube import VARIABLES
from data_processing.gaps import NO_VALUE
from data_processing.motion import spacing_km
from data_processing.scaling import LOGARITHMIC
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    from data_processing.scaling import Scaler

BLOCK_KM = 80.0
VERSION = 2  # of the arrays that are kept
FRESHNESS = np.append(1.0 / (1.0 + np.arange(NO_VALUE)), 0.0).astype(np.float32)  # by age: 1 = observed that day, 0 = missing
LOGARITHMIC_CHANNELS = [VARIABLES.index(name) for name in LOGARITHMIC]


class Surroundings(NamedTuple):
    """A record in blocks of `rows` x `columns` cells; blocks of one cell are the record itself.

    carried : float32 [P + T, 3, h, w]
        Mean of the known values of the block's land cells, fresh ones counting more (of rain: of its logarithm); NaN where
        there is none.
    freshness : float32 [P + T, 3, h, w], or None where blocks are cells: then it follows from the record's age
        Mean over the block of 1 / (1 + age in days); sea, what is missing and what a block has beyond the map count 0.
    land : bool [h, w]
        Blocks with any land.
    spacing_km : (float, float)
        Of the rows and columns of blocks.
    """

    carried: np.ndarray
    freshness: np.ndarray | None
    land: np.ndarray
    rows: int
    columns: int
    spacing_km: tuple[float, float]


def block_shape(lat: np.ndarray, lon: np.ndarray) -> tuple[int, int]:
    """Rows and columns of cells that make a block of about BLOCK_KM."""
    rows, columns = (max(1, round(BLOCK_KM / km)) for km in spacing_km(lat, lon))
    return rows, columns


def surroundings(key: str | None, carried: np.ndarray, age: np.ndarray, land: np.ndarray, lat: np.ndarray, lon: np.ndarray,
                 days_before: int) -> Surroundings:
    """What lies around each cell of a record.

    Parameters
    ----------
    key : str, or None
        Of the record's arrays; None where they are not kept.
    carried, age : float32, uint8 [P + T, 3, H, W]
        From `carry_forward`.
    land : bool [H, W]
    lat, lon : float [H], [W]
        Degrees.
    days_before : int
        P, missing days before the record.

    Returns
    -------
    Surroundings
    """
    rows, columns = block_shape(lat, lon)
    row_km, column_km = spacing_km(lat, lon)
    spacing = rows * row_km, columns * column_km
    if (rows, columns) == (1, 1):
        return Surroundings(carried, None, land, 1, 1, spacing)
    land_share = block_sums(land[None].astype(np.float32), rows, columns)[0]
    shape = (*carried.shape[:2], *land_share.shape)

    def fill(arrays):
        for days in progress_bar(blocks(len(carried), 3 * carried[0].nbytes), desc="surroundings", unit="block", leave=False,
                                 delay=WORTH_TELLING):
            arrays["carried"][days], arrays["freshness"][days] = block_values(carried[days], age[days], land, rows, columns)
            release(carried, age, *arrays.values())

    key = key and f"{key}-around-{short_key(VERSION, BLOCK_KM, land, days_before, len(carried))}"
    kept = kept_arrays(key, {"carried": (shape, np.float32), "freshness": (shape, np.float32)}, fill)
    return Surroundings(kept["carried"], kept["freshness"], land_share > 0, rows, columns, spacing)


def block_values(carried: np.ndarray, age: np.ndarray, land: np.ndarray, rows: int,
                 columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and freshness of the blocks, two float32 [n, 3, h, w], from those of the cells [n, 3, H, W]; see `Surroundings`."""
    freshness = FRESHNESS[age] * land
    values = carried.copy()
    values[:, LOGARITHMIC_CHANNELS] = np.log1p(values[:, LOGARITHMIC_CHANNELS])
    values = np.where(freshness > 0, values, np.float32(0))
    weight = block_sums(freshness, rows, columns)
    total = block_sums(values * freshness, rows, columns)
    means = np.divide(total, weight, out=np.full(total.shape, np.nan, np.float32), where=weight > 0)
    means[:, LOGARITHMIC_CHANNELS] = np.expm1(means[:, LOGARITHMIC_CHANNELS])
    return means, weight / np.float32(rows * columns)


def block_sums(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Sums of maps [..., H, W] over blocks; those at the upper and right edge may be smaller."""
    *leading, height, width = maps.shape
    padded = np.pad(maps, [(0, 0)] * len(leading) + [(0, -height % rows), (0, -width % columns)])
    parts = padded.reshape(*leading, -(-height // rows), rows, -(-width // columns), columns)
    return parts.sum(axis=(-3, -1))


def block_scaler(scaler: Scaler, land: np.ndarray, around: Surroundings) -> Scaler:
    """Scaler of the blocks: means over their land cells of the cells' mean and spread."""
    if scaler.kind == "global" or (around.rows, around.columns) == (1, 1):
        return scaler
    share = np.maximum(block_sums(land.astype(np.float32), around.rows, around.columns), 1e-6)
    usual = {name: getattr(scaler, name)[:, land].mean(axis=1)[:, None, None] for name in ("mean", "spread")}
    return scaler.with_maps(*(np.where(around.land, block_sums(getattr(scaler, name) * land, around.rows, around.columns) / share,
                                       usual[name]).astype(np.float32) for name in ("mean", "spread")))
