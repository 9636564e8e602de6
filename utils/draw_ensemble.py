"""The figure of a forecast's reliability."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import scipy

from data_processing.arrays import pieces
from utils.captions import caption_of
from utils.ensembles import SPREAD_BINS
from utils.figures import (
    COLUMN_AND_HALF,
    PAGE,
    PAPER_STYLE,
    look_of,
    new_figure,
    panel_title,
    place_axes,
    save_figure,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from utils.captions import Data

CHANCES = np.linspace(0.1, 0.95, 18)
CLASSES = 100_000  # of the predicted spread, much finer than the bins that are drawn


@matplotlib.rc_context(PAPER_STYLE)
def draw_ensemble(path: Path, *, observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray, coverage_90: float,
                  counts: np.ndarray | None, title: str, data: Data | None = None) -> None:
    """Error against predicted spread, coverage of the intervals, rank histogram of the members.

    Parameters
    ----------
    path : Path
    observed, forecast, spread : float32 [N, H, W]
        m3 m-3
    coverage_90 : float
        Share of the observations between the 5 % and 95 % quantiles of forecast.nc; NaN = not known.
    counts : int [M + 1], or None for a single member
    title : str
        Begins with the name of the forecaster.
    data : utils.captions.Data, optional
    """
    colour = look_of(title.split(",")[0]).colour
    x, y = errors_by_spread(observed, forecast, spread)
    panels = 2 if counts is None else 3
    width = COLUMN_AND_HALF if panels == 2 else PAGE
    left, gap, bottom = 14.0, 17.0, 11.0
    side = (width - left - 4 + gap) / panels - gap
    lines = wrap_title(f"Reliability, {title}", width)
    figure = new_figure(width, bottom + side + 7 + 4 * len(lines))

    axes = place_axes(figure, left, bottom, side, side)
    highest = 1.1 * max(*x, *y)
    axes.plot([0, highest], [0, highest], color="black", linestyle="--", linewidth=0.7)
    axes.plot(x, y, marker="o", markersize=3.5, color=colour)
    axes.set_title(panel_title(0, "spread and error"), loc="left")
    axes.set(xlim=(0, highest), ylim=(0, highest), xlabel="predicted spread (m³ m⁻³)", ylabel="RMSE (m³ m⁻³)")

    axes = place_axes(figure, left + side + gap, bottom, side, side)
    held = shares_held(observed, forecast, spread)
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=0.7)
    axes.plot(CHANCES, held, marker="o", markersize=2.5, color=colour, label="normal distribution\nof that spread")
    axes.plot(0.9, coverage_90, marker="D", markersize=5, markerfacecolor="none", color="black", linestyle="none", clip_on=False,
              label="90 % interval\nof forecast.nc")
    axes.legend(loc="best", handlelength=1.2, borderaxespad=0.2, labelspacing=0.4)
    axes.set_title(panel_title(1, "coverage of intervals"), loc="left")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted share in the interval", ylabel="observed share")

    if counts is not None:
        axes = place_axes(figure, left + 2 * (side + gap), bottom, side, side)
        axes.bar(np.arange(len(counts)), counts / counts.sum(), color=colour, width=0.9)
        axes.set_title(panel_title(2, "rank histogram"), loc="left")
        axes.axhline(1 / len(counts), color="black", linestyle="--", linewidth=0.7)
        axes.set(xlabel="rank among the members", ylabel="share", xticks=range(len(counts)))
    write_title(figure, lines)
    shows = ("Reliability of the forecast's spread. (a) RMSE against predicted spread, in bins of equally many values; dashed: 1:1. "
             "(b) Share of the observations inside the central interval of each predicted share, of a normal distribution with that "
             "spread: above 1:1 (dashed) where most errors are smaller, and a few much larger, than in that distribution. Diamond: "
             "inside the 90 % interval of forecast.nc, which assumes no distribution: its ends are quantiles of errors "
             "on validation days (coverage_90 of ensemble.csv).")
    if counts is not None:
        shows += " (c) Rank of the observation among the members; dashed: all ranks alike."
    n = sum(len(error) for error, _ in errors_and_widths(observed, forecast, spread))
    save_figure(path, figure, caption_of(shows, title, data, n))


def errors_and_widths(observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the absolute errors and the predicted spreads of what is observed, two float64 [n], in blocks of days."""
    for days in pieces(observed, forecast, spread):
        valid = np.isfinite(observed[days]) & np.isfinite(forecast[days])
        yield np.abs(forecast[days] - observed[days])[valid].astype(np.float64), spread[days][valid].astype(np.float64)


def errors_by_spread(observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squares of the spread and of the errors, two float64 [SPREAD_BINS], in bins of equally many values.

    The values are sorted into CLASSES by their spread; one that reaches over the border of two bins belongs to both in part.
    """
    ranges = [(width.min(), width.max()) for _, width in errors_and_widths(observed, forecast, spread) if width.size]
    low, high = min(first for first, _ in ranges), max(last for _, last in ranges)
    sums = np.zeros((3, CLASSES))  # number, squared spread, squared error
    for error, width in errors_and_widths(observed, forecast, spread):
        place = ((width - low) * ((CLASSES - 1) / max(high - low, 1e-12))).astype(int)
        sums += [np.bincount(place, weights, CLASSES) for weights in (None, width ** 2, error ** 2)]
    until = np.concatenate([np.zeros((3, 1)), sums.cumsum(axis=1)], axis=1)
    borders = np.linspace(0, until[0, -1], SPREAD_BINS + 1)
    filled = np.flatnonzero(np.diff(until[0], prepend=-1) > 0)  # interpolation needs ascending numbers
    count, width, error = (np.diff(np.interp(borders, until[0, filled], each[filled])) for each in until)
    return np.sqrt(width / count), np.sqrt(error / count)


def shares_held(observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Share of the observations inside the central intervals of each of CHANCES."""
    inside, number = np.zeros(len(CHANCES)), 0
    for error, width in errors_and_widths(observed, forecast, spread):
        reached = 2 * scipy.special.ndtr(error / width) - 1
        inside += [np.count_nonzero(reached <= chance) for chance in CHANCES]
        number += len(error)
    return inside / number
