"""From windows of the record to the tensors that a network sees."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from data_processing.arrays import release
from data_processing.cube import VARIABLES
from data_processing.gaps import NO_VALUE
from data_processing.season import season_terms
from data_processing.windows import gather, window_view

if TYPE_CHECKING:
    from data_processing.record import Record
    from data_processing.scaling import Scaler
    from data_processing.surroundings import Surroundings

GPU_SHARE = 0.5  # of the free memory of a GPU that one array may take


@dataclass(frozen=True)
class Around:
    """What a network sees around the cells: the maps of `data_processing.surroundings`, and where the cells lie on them.

    It looks around from B blocks: those that cells lie in and, where blocks are larger than cells, next to.

    Attributes
    ----------
    inputs : Tensor [N, D, 3, h, w]
        Scaled values of blocks; 0 where there is none and at sea.
    freshness : Tensor [N, D, 3, h, w]
        1 / (1 + age in days), mean over the block.
    motion : Tensor [N, D, 2, B]
        Of the rain at the blocks, km d-1 eastward and northward (`data_processing.motion`).
    row, column : int Tensor [B]
        Of the blocks on these maps.
    weight : Tensor [C, B], or None where blocks are cells: then B = C
        What each block counts for each cell: the four about it, linear between their centres.
    spacing_km : (float, float)
        Of the rows and columns of blocks: one network may see records of several grids.
    """

    inputs: torch.Tensor
    freshness: torch.Tensor
    motion: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    weight: torch.Tensor | None
    spacing_km: tuple[float, float]


@dataclass(frozen=True)
class Batch:
    """What a network may look at: nothing after the last input day, but for the coming weather where it is told.

    Everything is given for C cells: those that are forecast, the land or a part of it, or the whole map for networks that read
    maps.

    Attributes
    ----------
    inputs : Tensor [N, D, 3, C] = (window, input day, VARIABLES, cell)
        Scaled values, carried over gaps; 0 (the scaler's mean) where there is none and at sea.
    freshness : Tensor [N, D, 3, C]
        1 / (1 + age in days) of each value: 1 = observed that day, 0 = missing.
    antecedent : Tensor [N, D, 3, C]
        Scaled means of the days up to each day (`data_processing.gaps.antecedent_means`); 0 where nothing was observed.
    season : Tensor [N, D, 2]
        Cosine and sine of the day of the year.
    static : Tensor [S, C]
        Maps of the place (`data_processing.static_maps`), 0 at sea.
    map_shape : (int, int)
        Rows and columns of the whole map.
    shown : tuple of int
        Days of the window, d of them, from which a forecast is asked for; -1 = the last input day.
    around : Around, or None for a network that does not look around
    coming : Tensor [M, N, d, L, COMING_CHANNELS, C], or None
        What M members of a forecast tell of the weather after each shown day (`data_processing.coming_weather`).
    """

    inputs: torch.Tensor
    freshness: torch.Tensor
    antecedent: torch.Tensor
    season: torch.Tensor
    static: torch.Tensor
    map_shape: tuple[int, int]
    shown: tuple[int, ...] = (-1,)
    around: Around | None = None
    coming: torch.Tensor | None = None


def make_batch(record: Record, init_days: np.ndarray, device: torch.device, cells: np.ndarray | None = None,
               shown: Sequence[int] = (-1,), tell: Callable | None = None, around: bool = True) -> Batch:
    """Gather the windows that end at the given days.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
        Last input days, as indices into the record.
    device : torch.device
    cells : int ndarray [C], optional
        Cells to forecast, as indices into the flat map; default the land.
    shown : sequence of int
        See `Batch`.
    tell : function of (int ndarray [n], int ndarray [C]) -> float32 [M, n, L, COMING_CHANNELS, C], optional
        Weather after given days at given cells.
    around : bool
        Whether the network looks around.

    Returns
    -------
    Batch
    """
    cells = np.flatnonzero(record.land) if cells is None else cells
    on_device = to_device(cells, device)

    def of_cells(name):
        return windows(record, name, init_days, device, on_device)

    scaler, land = record.scaler.of_cells(cells), to_device(record.land.ravel()[cells].astype(np.float32), device)
    freshness = freshness_of(of_cells("age")).mul_(land)
    values, antecedent = (scale_cells(scaler, of_cells(name)).nan_to_num_(0.0).mul_(land) for name in ("carried", "antecedent"))
    days = input_day_indices(record, init_days)
    season = season_terms(record.time[0] + days.ravel(), harmonics=1)[:, 1:].reshape(*days.shape, 2).astype(np.float32)
    static = record.static.reshape(len(record.static), -1)[:, cells]
    for name in record.hidden:
        if name in VARIABLES:
            for tensor in (values, freshness, antecedent):
                tensor[:, :, VARIABLES.index(name)] = 0.0
    season = np.zeros_like(season) if "season" in record.hidden else season
    static = np.zeros_like(static) if "place" in record.hidden else static
    coming = None
    if tell is not None:
        days = days[:, list(shown)]
        coming = to_device(tell(days.ravel(), cells), device).unflatten(1, days.shape)
        record.release()
    surroundings = look_around(record, init_days, device, cells) if around else None
    return Batch(values, freshness, antecedent, to_device(season, device), to_device(static, device), record.land.shape,
                 shown=tuple(shown), around=surroundings, coming=coming)


def look_around(record: Record, init_days: np.ndarray, device: torch.device, cells: np.ndarray) -> Around:
    """Around : what a network sees around some cells (int ndarray [C])."""
    around, motion = record.around(), record.motion()
    if around.freshness is None:
        freshness = freshness_of(windows(record, "age", init_days, device))
    else:
        freshness = windows(record, "around.freshness", init_days, device)
    land = to_device(around.land.astype(np.float32), device)
    freshness.mul_(land)
    values = windows(record, "around.carried", init_days, device)
    values = record.around_scaler().scale_in_place(values).nan_to_num_(0.0).mul_(land)
    blocks, weight = blocks_about(cells, record.land.shape, around)
    row, column = np.divmod(blocks, around.land.shape[1])
    of_motion = [np.minimum(place * size + size // 2, cells_across - 1) // of_block for place, size, cells_across, of_block in zip(
        (row, column), (around.rows, around.columns), record.land.shape, (motion.rows, motion.columns))]
    of_motion = of_motion[0] * motion.maps.shape[-1] + of_motion[1]
    motion = windows(record, "motion", init_days, device, to_device(of_motion, device))
    for name in record.hidden:
        if name in VARIABLES:
            values[:, :, VARIABLES.index(name)] = freshness[:, :, VARIABLES.index(name)] = 0.0
    if "precipitation" in record.hidden:
        motion[:] = 0.0
    return Around(values, freshness, motion, to_device(row, device), to_device(column, device),
                  None if weight is None else to_device(weight, device), around.spacing_km)


def blocks_about(cells: np.ndarray, map_shape: tuple[int, int], around: Surroundings) -> tuple[np.ndarray, np.ndarray | None]:
    """Blocks of surroundings that cells lie between.

    Parameters
    ----------
    cells : int ndarray [C]
        Indices into the flat map of `map_shape`.
    around : data_processing.surroundings.Surroundings

    Returns
    -------
    blocks : int ndarray [B]
        Indices into the flat map of blocks, each once.
    weight : float32 ndarray [C, B], or None where blocks are cells
        See `Around`.
    """
    if (around.rows, around.columns) == (1, 1):
        return cells, None
    corners = []
    for place, size, count in zip(np.divmod(cells, map_shape[1]), (around.rows, around.columns), around.land.shape):
        centre = (place + 0.5) / size - 0.5  # in blocks
        lower = np.floor(centre).astype(np.int64)
        corners.append([(np.clip(lower + up, 0, count - 1), 1 - np.abs(centre - lower - up)) for up in (0, 1)])
    pairs = [(row * around.land.shape[1] + column, of_row * of_column)
             for row, of_row in corners[0] for column, of_column in corners[1]]
    blocks, index = np.unique(np.stack([place for place, _ in pairs], 1), return_inverse=True)
    weight = np.zeros((len(cells), len(blocks)), np.float32)
    np.add.at(weight, (np.arange(len(cells))[:, None], index.reshape(-1, 4)), np.stack([share for _, share in pairs], 1))
    return blocks, weight


def windows(record: Record, name: str, init_days: np.ndarray, device: torch.device,
            cells: torch.Tensor | None = None) -> torch.Tensor:
    """Windows of one of a record's arrays that end at the given days, on the device; see `data_processing.windows.gather`."""
    array = resident(record, name, device)
    index = cells if cells is None else cells.to(array.device)
    found = to_device(gather(window_view(array, record.input_days), init_days, index), device)
    release(array_of(record, name))  # it is copied: memory does not grow with what has been looked at
    return found


def array_of(record: Record, name: str) -> np.ndarray:
    """One of a record's arrays: carried, age, antecedent, motion, around.carried, around.freshness."""
    if name == "motion":
        return record.motion().maps
    return getattr(record.around() if name.startswith("around.") else record, name.removeprefix("around."))


def resident(record: Record, name: str, device: torch.device) -> torch.Tensor:
    """One of a record's arrays (`array_of`) as a tensor: on a GPU a copy, made once, where it fits; else the (mapped) array itself."""
    array = array_of(record, name)
    if device.type != "cuda":
        return torch.from_numpy(array)
    where = name, device
    if where not in record.copies:
        fits = array.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]
        record.copies[where] = torch.from_numpy(array).to(device) if fits else None
    copy = record.copies[where]
    return torch.from_numpy(array) if copy is None else copy


def chosen_device(name: str | torch.device) -> torch.device:
    """The torch.device of a setting: of "cuda" the GPU that this process has chosen, by its number, for all its threads."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def to_device(values: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of an array or tensor on the device; from pinned memory and without waiting where it has to travel to a GPU."""
    values = torch.as_tensor(values)
    if device.type != "cuda" or values.device.type == "cuda":
        return values
    return values.pin_memory().to(device, non_blocking=True)


def freshness_of(age: torch.Tensor) -> torch.Tensor:
    """1 / (1 + age in days) of a uint8 Tensor; 0 where the value is missing, which is what NO_VALUE says."""
    return torch.threshold_(age.float().add_(1).reciprocal_(), 1 / (NO_VALUE + 0.5), 0.0)


def scale_cells(scaler: Scaler, values: torch.Tensor) -> torch.Tensor:
    """Scale values [N, D, 3, C] of cells, which are overwritten, by the `Scaler.of_cells` of them."""
    return scaler.scale_in_place(values[..., None, :])[..., 0, :]


def input_day_indices(record: Record, init_days: np.ndarray) -> np.ndarray:
    """Indices into the record of the input days of each window, int [N, D]; negative before the record."""
    return np.asarray(init_days)[:, None] + np.arange(1 - record.input_days, 1)


def observed_targets(record: Record, init_days: np.ndarray, target_days: np.ndarray, device: torch.device, cells: np.ndarray,
                     shown: Sequence[int] | slice = slice(None)) -> torch.Tensor:
    """Observed soil moisture of some cells, each lead time after each input day of each window.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
    target_days : bool ndarray [T]
        The days that may serve as targets; all others count as missing.
    device : torch.device
    cells : int ndarray [C]
    shown : sequence of int
        Days of the windows after which targets are asked for; default all.

    Returns
    -------
    float32 Tensor [N, d, L, C]
        m3 m-3; NaN where nothing was observed that day, at sea, and outside `target_days`.
    """
    days = input_day_indices(record, init_days)[:, shown, None] + np.array(record.lead_times)
    inside = (days >= 0) & (days < len(record.time))
    inside[inside] = target_days[days[inside]]
    return to_device(record.observed_at(np.where(inside, days, -1), cells), device)
