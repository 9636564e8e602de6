"""The day of the year, and seasonal harmonics fitted cell by cell."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import WORTH_TELLING, blocks, release
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    from data_processing.arrays import Observed
    from data_processing.static_maps import LandValues


def year_share(time: np.ndarray) -> np.ndarray:
    """Share of the calendar year that is over on some days (datetime64 [N]), float64 [N], 0..1; leap years count 366 days."""
    time = np.asarray(time)
    year = time.astype("datetime64[Y]")
    first_day = year.astype("datetime64[D]")
    length = (year + 1).astype("datetime64[D]") - first_day
    return (time.astype("datetime64[D]") - first_day) / length


def season_terms(time: np.ndarray, harmonics: int) -> np.ndarray:
    """Constant, cosines and sines of `year_share`.

    Parameters
    ----------
    time : datetime64 [N]
    harmonics : int
        1 = annual, 2 = annual and semi-annual, ...

    Returns
    -------
    float64 [N, 1 + 2 * harmonics]
    """
    angle = 2 * np.pi * year_share(time)
    terms = [np.ones(len(angle))]
    for order in range(1, harmonics + 1):
        terms += [np.cos(order * angle), np.sin(order * angle)]
    return np.stack(terms, axis=1)


def fit_season(values: LandValues | Observed, terms: np.ndarray, days: np.ndarray, mean: np.ndarray, ridge: float) -> np.ndarray:
    """Least squares of each cell's departures from its mean on seasonal terms, with a ridge.

    Parameters
    ----------
    values : float [T, H, W]
        Array or `data_processing.arrays.Observed`. NaN = missing, ignored.
    terms : float64 [T, K]
        From `season_terms`.
    days : int [n]
        Days to fit on.
    mean : float [H, W]
        In the unit of `values`; NaN gives NaN.
    ridge : float
        Penalty in days of observations.

    Returns
    -------
    float64 [K, H, W]
        Coefficients in the unit of `values`; all 0 where nothing was observed.
    """
    size = terms.shape[1]
    cells = math.prod(values.shape[1:])
    gram, moment = np.zeros((size * size, cells)), np.zeros((size, cells))
    for part in progress_bar(blocks(len(days), 16 * cells), desc="seasons of the cells", unit="block", leave=False, delay=WORTH_TELLING):
        block = days[part]
        departure = (values[block] - np.asarray(mean, dtype=np.float64)).reshape(len(block), -1)
        release(*getattr(values, "parts", (values,)))
        valid = np.isfinite(departure)
        products = (terms[block][:, :, None] * terms[block][:, None, :]).reshape(len(block), -1)
        gram += products.T @ valid
        moment += terms[block].T @ np.where(valid, departure, 0.0)
    gram = gram.T.reshape(-1, size, size) + ridge * np.eye(size)
    coefficients = np.linalg.solve(gram, moment.T[:, :, None])[:, :, 0]
    return coefficients.T.reshape(size, *values.shape[1:])
