"""Scaling of the three variables to mean 0 and spread 1, fitted on training days over land only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.arrays import WORTH_TELLING, blocks, release
from data_processing.cube import SOIL_MOISTURE, UNITS, VARIABLES
from data_processing.errors import UserError
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    import torch

    from data_processing.arrays import Observed

KINDS = ("global", "cell")
STATE = ("variables", "kind", "mean", "spread", "source", "first_day", "last_day")  # of a scaler that was saved
# Rain is skewed: most days have none, a few have 100 mm; its logarithm log(1 + rain) is what is scaled.
LOGARITHMIC = ("precipitation",)
# Smallest spread: keeps constant cells (desert rain, soil under snow) from blowing noise up. In the unit of
# the variable, about a tenth to a fifth of a usual cell's spread; log-rain has none.
SMALLEST_SPREAD = {"precipitation": 0.1, "soil_moisture": 0.01, "soil_temperature": 1.0}
FEWEST_VALUES = 3  # a cell with fewer has no mean of its own
PRIOR_VALUES = 5  # weight of the usual spread of a cell beside its own, in values: a few values show too little of it


@dataclass(frozen=True, eq=False)
class Scaler:
    """Mean and spread of each variable, and where they come from. Apply with `scale` and undo with
    `unscale`."""

    kind: str  # "global": one pair per variable; "cell": each cell's own
    mean: np.ndarray  # float32 [3] or [3, H, W], in UNITS (precipitation: log(1 + mm d-1))
    spread: np.ndarray  # the same
    source: str  # name of the cube it was fitted on
    first_day: str  # first and last of the days it was fitted on, ISO dates
    last_day: str

    def scale(self, x: np.ndarray | torch.Tensor) -> Any:
        """Physical to scaled.

        Parameters
        ----------
        x : numpy array or torch tensor [..., 3, H, W]
            In `UNITS`, variables in the order of `VARIABLES`; NaN stays NaN.

        Returns
        -------
        the same kind, shape and dtype
        """
        return self.scale_in_place(_copy(x))

    def scale_in_place(self, x: np.ndarray | torch.Tensor) -> Any:
        """`scale` without a copy: what is given is overwritten."""
        for channel in _logarithmic_channels():
            x[..., channel, :, :] = _log1p(x[..., channel, :, :])
        mean, spread = self._pair(x)
        x -= mean
        x /= spread
        return x

    def unscale(self, x: np.ndarray | torch.Tensor) -> Any:
        """Scaled to physical; the inverse of `scale`."""
        mean, spread = self._pair(x)
        x = x * spread + mean
        for channel in _logarithmic_channels():
            x[..., channel, :, :] = _expm1(x[..., channel, :, :])
        return x

    def scale_soil_moisture(self, x: np.ndarray | torch.Tensor) -> Any:
        """Soil moisture [..., H, W] (numpy or torch), m3 m-3, to scaled."""
        mean, spread = self._pair(x, SOIL_MOISTURE)
        return (x - mean) / spread

    def unscale_soil_moisture(self, x: np.ndarray | torch.Tensor) -> Any:
        """Scaled soil moisture [..., H, W] (numpy or torch) to m3 m-3."""
        mean, spread = self._pair(x, SOIL_MOISTURE)
        return x * spread + mean

    def of_cells(self, cells: np.ndarray) -> Scaler:
        """The scaler of some cells (int [c], numpy or torch, of the flat map), which make a map of one row."""
        if self.kind == "global":
            return self
        mean, spread = (array.reshape(len(VARIABLES), 1, -1)[..., cells] for array in (self.mean, self.spread))
        return self.with_maps(mean, spread)

    def with_maps(self, mean: np.ndarray, spread: np.ndarray) -> Scaler:
        """The same with other maps of mean and spread, float32 [3, h, w]."""
        return replace(self, mean=mean, spread=spread)

    def to_state(self) -> dict:
        """Dict of plain values and two float32 numpy arrays, to be saved beside the weights."""
        return {"variables": list(VARIABLES), "units": list(UNITS.values()), "kind": self.kind, "mean": self.mean,
                "spread": self.spread, "source": self.source, "first_day": self.first_day, "last_day": self.last_day}

    @classmethod
    def from_state(cls, state: dict) -> Scaler:
        """Scaler of a dict that `to_state` made; arrays may be numpy arrays, lists or tensors."""
        lacking = [name for name in STATE if name not in state]
        if lacking:
            raise UserError(f"the scaler lacks {', '.join(lacking)}; train again.")
        units = tuple(UNITS.values())
        saved = tuple(state["variables"]), tuple(state.get("units", units))  # without units: before they were saved
        if saved != (VARIABLES, units):
            raise UserError(f"the scaler was saved for {' in '.join(map(str, saved))}, this version has {VARIABLES} in {units}; "
                            "train again.")
        mean, spread = (np.asarray(state[name], np.float32) for name in ("mean", "spread"))
        dimensions = {"global": 1, "cell": 3}.get(state["kind"])
        if not (mean.shape == spread.shape and mean.ndim == dimensions and len(mean) == len(VARIABLES)
                and np.isfinite(mean).all() and np.isfinite(spread).all() and (spread > 0).all()):
            raise UserError(f"the scaler (kind {state['kind']!r}) has means {mean.shape} and spreads {spread.shape} that are no "
                            "numbers to scale with; train again.")
        return cls(kind=state["kind"], mean=mean, spread=spread, source=state["source"],
                   first_day=state["first_day"], last_day=state["last_day"])

    def _pair(self, x, channel=slice(None)):
        """Mean and spread as x is: numpy or torch, its dtype, its device; they broadcast over x."""
        mean, spread = self.mean[channel], self.spread[channel]
        if self.kind == "global":
            mean, spread = mean[..., None, None], spread[..., None, None]
        elif tuple(x.shape[-2:]) != mean.shape[-2:]:
            raise UserError(f"the scaler has each cell's own mean of {self.source}, {mean.shape[-2]} x "
                            f"{mean.shape[-1]} cells; the values have {x.shape[-2]} x {x.shape[-1]}. On "
                            "another grid use scaling_from = 'target' or scaling = 'global'.")
        if isinstance(x, np.ndarray):
            return mean.astype(x.dtype), spread.astype(x.dtype)
        return tuple(torch_like(each, x) for each in (mean, spread))


def torch_like(values: np.ndarray, x: Any) -> Any:
    """An array as a Tensor of the kind and device of x, without waiting for a GPU."""
    import torch
    return torch.as_tensor(values, dtype=x.dtype).to(x.device, non_blocking=True)


def fit_scaler(values: Observed, land: np.ndarray, days: np.ndarray, time: np.ndarray, *, kind: str, source: str) -> Scaler:
    """Fit mean and spread over land on the given days.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
        In `UNITS`; NaN = missing, ignored. Values at sea and on other days are never read into the result.
    land : bool [H, W]
    days : bool [T]
        Days to fit on: `Splits.fit_days`.
    time : datetime64[D] [T]
    kind : str
        "global": one mean and spread per variable, over all land cells and days. "cell": each land cell's
        own; its spread is pulled a little towards that of the other cells (PRIOR_VALUES); the mean of a cell with
        fewer than `FEWEST_VALUES` values is the global one; cells at sea have the global pair.
    source : str
        Name of the cube.

    Returns
    -------
    Scaler

    Raises
    ------
    UserError
        Unknown kind; a variable has no value on these days.
    """
    if kind not in KINDS:
        raise UserError(f"scaling is {kind!r}; it must be one of {', '.join(KINDS)}.")
    if not (len(values) == len(days) == len(time)):
        raise ValueError(f"values, days and time have lengths {len(values)}, {len(days)}, {len(time)}")
    fitted = np.flatnonzero(days)
    if fitted.size == 0:
        raise UserError("no day to fit the scaling on.")
    first_day, last_day = str(time[fitted[0]]), str(time[fitted[-1]])
    shape = (len(VARIABLES), *land.shape) if kind == "cell" else (len(VARIABLES),)
    mean, spread = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for channel, name in enumerate(VARIABLES):
        count, cell_mean, cell_squares = _cell_moments(values, channel, fitted, land)
        total = count.sum()
        if total == 0:
            raise UserError(f"{source} has no {name} over land from {first_day} to {last_day}; scaling needs "
                            "some. Choose other dates or another cube.")
        overall = (count * cell_mean).sum() / total
        overall_squares = (cell_squares + count * (cell_mean - overall) ** 2).sum()
        smallest = SMALLEST_SPREAD[name]
        mean[channel] = overall
        spread[channel] = max(np.sqrt(overall_squares / total), smallest)
        if kind == "cell":
            enough = count >= FEWEST_VALUES
            rows, columns = (index[enough] for index in np.nonzero(land))
            mean[channel, rows, columns] = cell_mean[enough]
            usual = cell_squares.sum() / max(total - np.count_nonzero(count), 1.0)
            own_variance = (cell_squares + PRIOR_VALUES * usual) / (count + PRIOR_VALUES)
            spread[channel][land] = np.maximum(np.sqrt(own_variance), smallest)
    return Scaler(kind=kind, mean=mean, spread=spread, source=source, first_day=first_day, last_day=last_day)


def _cell_moments(values, channel, fitted, land):
    """Count, mean and sum of squared departures of each land cell, float64 [cells].

    Those of blocks of days, joined as by Chan et al. (1983), doi:10.1080/00031305.1983.10483115.
    """
    cells = np.count_nonzero(land)
    count, mean, squares = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    for block in progress_bar(blocks(fitted.size, 16 * land.size), desc=f"mean and spread of {VARIABLES[channel]}", unit="block",
                              leave=False, delay=WORTH_TELLING):
        x = values[fitted[block], channel][:, land]
        release(*getattr(values, "parts", (values,)))
        if channel in _logarithmic_channels():
            x = np.log1p(x)
        valid = ~np.isnan(x)
        x = np.where(valid, x, np.float32(0)).astype(np.float64)
        number = valid.sum(axis=0)
        block_mean = x.sum(axis=0) / np.maximum(number, 1)
        x -= block_mean
        x *= valid
        total = np.maximum(count + number, 1)
        squares += np.einsum("tc,tc->c", x, x) + (block_mean - mean) ** 2 * count * number / total
        mean += (block_mean - mean) * number / total
        count += number
    return count, mean, squares


def _logarithmic_channels():
    return [VARIABLES.index(name) for name in LOGARITHMIC]


def _copy(x):
    return x.copy() if isinstance(x, np.ndarray) else x.clone()


def _log1p(x):
    return np.log1p(x) if isinstance(x, np.ndarray) else x.log1p()


def _expm1(x):
    return np.expm1(x) if isinstance(x, np.ndarray) else x.expm1()
