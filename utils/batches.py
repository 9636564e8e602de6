"""From windows of the record to the tensors that a network sees."""
from dataclasses import dataclass

import numpy as np
import torch

from data_processing.cube import VARIABLES
from data_processing.gaps import NO_VALUE
from data_processing.motion import spacing_km
from data_processing.season import season_terms
from data_processing.windows import gather


@dataclass(frozen=True)
class Batch:
    """What a network may look at: nothing after the last input day, but for the coming weather where it is told.

    Attributes
    ----------
    inputs : Tensor [N, D, 3, H, W] = (window, input day, VARIABLES, lat, lon)
        Scaled values, carried over gaps; 0 (the scaler's mean) where there is none and at sea.
    freshness : Tensor [N, D, 3, H, W]
        1 / (1 + age in days) of each value: 1 = observed that day, 0 = missing.
    season : Tensor [N, D, 2]
        Cosine and sine of the day of the year.
    static : Tensor [S, H, W]
        Maps of the place (`data_processing.static_maps`), 0 at sea.
    antecedent : Tensor [N, D, 3, H, W]
        Scaled means of the days up to each day (`data_processing.gaps.antecedent_means`); 0 where nothing was observed.
    motion : Tensor [N, D, 2, H, W]
        Of the rain, km d-1 eastward and northward (`data_processing.motion`).
    asked : bool Tensor [H, W]
        Cells whose forecast is asked for: the land, or a part of it in training.
    spacing_km : (float, float)
        Of the rows and columns: one network may see records of several grids.
    shown : tuple of int
        Days of the window, d of them, from which a forecast is asked for; -1 = the last input day.
    coming : Tensor [M, N, d, L, COMING_CHANNELS, cells], or None
        What M members of a forecast tell of the weather after each shown day, at the asked cells
        (`data_processing.coming_weather`).
    """

    inputs: torch.Tensor
    freshness: torch.Tensor
    season: torch.Tensor
    static: torch.Tensor
    antecedent: torch.Tensor
    motion: torch.Tensor
    asked: torch.Tensor
    spacing_km: tuple[float, float]
    shown: tuple[int, ...] = (-1,)
    coming: torch.Tensor | None = None


def make_batch(record, init_days, device, asked=None, shown=(-1,), tell=None):
    """Gather the windows that end at the given days.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
        Last input days, as indices into the record.
    device : torch.device
    asked : bool ndarray [H, W], optional
        Cells to forecast; default the land.
    shown : sequence of int
        See `Batch`.
    tell : function of (int ndarray [n], int ndarray [cells]) -> float32 [M, n, L, COMING_CHANNELS, cells], optional
        Weather after given days at given cells.

    Returns
    -------
    Batch
    """
    values = record.scaler.scale(gather(record.carried_windows, init_days))
    age = gather(record.age_windows, init_days)
    missing = (age == NO_VALUE) | ~record.land
    values[missing] = 0.0
    freshness = np.where(missing, 0.0, 1.0 / (1.0 + age)).astype(np.float32)
    antecedent = np.nan_to_num(record.scaler.scale(gather(record.antecedent_windows, init_days)), copy=False)
    antecedent *= record.land
    motion = gather(record.motion_windows, init_days)
    dates = record.time[0] + input_day_indices(record, init_days)
    season = season_terms(dates.ravel(), harmonics=1)[:, 1:].reshape(*dates.shape, 2).astype(np.float32)
    asked = record.land if asked is None else asked
    static = record.static
    for name in record.hidden:
        if name in VARIABLES:
            for array in (values, freshness, antecedent):
                array[:, :, VARIABLES.index(name)] = 0.0
    if "precipitation" in record.hidden:
        motion[:] = 0.0
    season = np.zeros_like(season) if "season" in record.hidden else season
    static = np.zeros_like(static) if "place" in record.hidden else static
    coming = None
    if tell is not None:
        days = input_day_indices(record, init_days)[:, list(shown)]
        coming = torch.from_numpy(tell(days.ravel(), np.flatnonzero(asked))).unflatten(1, days.shape).to(device)
    return Batch(*(torch.from_numpy(array).to(device)
                   for array in (values, freshness, season, static, antecedent, motion, asked)),
                 spacing_km=spacing_km(record.lat, record.lon), shown=tuple(shown), coming=coming)


def input_day_indices(record, init_days):
    """Indices into the record of the input days of each window, int [N, D]; negative before the record."""
    return np.asarray(init_days)[:, None] + np.arange(1 - record.input_days, 1)


def observed_targets(record, init_days, target_days):
    """Observed soil moisture, each lead time after each input day of each window.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
    target_days : bool ndarray [T]
        The days that may serve as targets; all others count as missing.

    Returns
    -------
    float32 ndarray [N, D, L, H, W]
        m3 m-3; NaN where nothing was observed that day, at sea, and outside `target_days`.
    """
    days = input_day_indices(record, init_days)[..., None] + np.array(record.lead_times)
    inside = (days >= 0) & (days < len(record.time))
    inside[inside] = target_days[days[inside]]
    return np.where(inside[..., None, None], record.observed(np.where(inside, days, 0)), np.float32(np.nan))
