"""A daily record as a polar-orbiting satellite would see it."""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import Observed, short_key
from data_processing.cube import SOIL_MOISTURE
from data_processing.record import build_arrays, with_arrays
from data_processing.satellite import RETRIEVAL_NOISE, in_swath

if TYPE_CHECKING:
    from data_processing.record import Record

VIEW_VERSION = 1  # of the arrays that are kept


def satellite_view(record: Record, max_gap_days: int, seed: int) -> Record:
    """The same record with soil moisture as a satellite would have seen it.

    Parameters
    ----------
    record : Record
        Not changed.
    max_gap_days : int
        Oldest value that is carried over a gap.
    seed : int
        Of the noise.

    Returns
    -------
    Record
        Not scaled yet: noise widens the spread.
    """
    before, random = record.input_days - 1, np.random.default_rng(seed)
    observed = Observed(record.carried[before:], record.age[before:])

    def seen_values(days):
        values = observed[days]
        for day, today in zip(record.time[days], values):
            noise = random.normal(0.0, RETRIEVAL_NOISE, record.land.shape).astype(np.float32)
            seen = in_swath(day, record.lat[:, None], record.lon)
            today[SOIL_MOISTURE] = np.where(seen, today[SOIL_MOISTURE] + noise, np.nan)
        record.release()
        return values

    shape = len(record.time), *record.land.shape
    key = f"{record.key}-satellite-{short_key(VIEW_VERSION, seed, len(record.time))}"
    return with_arrays(replace(record, scaler=None, static=None),
                       *build_arrays(key, seen_values, shape, max_gap_days, before))
