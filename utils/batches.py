"""From windows of the record to the tensors that a network sees."""
from dataclasses import dataclass

import numpy as np
import torch

from data_processing.gaps import NO_VALUE
from data_processing.season import season_terms
from data_processing.windows import gather


@dataclass(frozen=True)
class Batch:
    """What a network may look at: nothing after the last input day.

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
    """

    inputs: torch.Tensor
    freshness: torch.Tensor
    season: torch.Tensor
    static: torch.Tensor


def make_batch(record, init_days, device):
    """Gather the windows that end at the given days.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
        Last input days, as indices into the record.
    device : torch.device

    Returns
    -------
    Batch
    """
    values = record.scaler.scale(gather(record.carried_windows, init_days))
    age = gather(record.age_windows, init_days)
    missing = (age == NO_VALUE) | ~record.land
    values[missing] = 0.0
    freshness = np.where(missing, 0.0, 1.0 / (1.0 + age)).astype(np.float32)
    dates = record.time[0] + input_day_indices(record, init_days)
    season = season_terms(dates.ravel(), harmonics=1)[:, 1:].reshape(*dates.shape, 2).astype(np.float32)
    return Batch(*(torch.from_numpy(array).to(device) for array in (values, freshness, season, record.static)))


def input_day_indices(record, init_days):
    """Indices into the record of the input days of each window, int [N, D]; negative before the record."""
    return np.asarray(init_days)[:, None] + np.arange(1 - record.input_days, 1)


def observed_targets(record, init_days, target_days):
    """Observed soil moisture `lead_time` days after each input day of each window.

    Parameters
    ----------
    record : data_processing.record.Record
    init_days : int ndarray [N]
    target_days : bool ndarray [T]
        The days that may serve as targets; all others count as missing.

    Returns
    -------
    float32 ndarray [N, D, H, W]
        m3 m-3; NaN where nothing was observed that day, at sea, and outside `target_days`.
    """
    days = input_day_indices(record, init_days) + record.lead_time
    inside = (days >= 0) & (days < len(record.time))
    inside[inside] = target_days[days[inside]]
    return np.where(inside[..., None, None], record.observed(np.where(inside, days, 0)), np.float32(np.nan))
