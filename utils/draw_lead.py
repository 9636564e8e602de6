"""The figure "error against lead": what is gained by a network, by a weather forecast, and what remains."""
from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from utils.captions import caption_of, in_words
from utils.figures import COLUMN_AND_HALF, LOOKS, PAPER_STYLE, new_figure, place_axes, save_figure, wrap_title, write_title

if TYPE_CHECKING:
    from utils.captions import Data

NETWORKS = "blind", "with forecast", "bound"  # their lines have markers
LABELS = {"persistence": "persistence", "damped_persistence": "damped persistence", "water_balance": "water balance",
          "blind": "{}, blind", "with forecast": "{},\nwith a weather forecast",
          "bound": "{},\nobserved weather (upper bound)", "ceiling": "ceiling of blind forecasts"}
# Where nothing in the figure is told the coming weather, nothing has to be called blind
UNTOLD = {", blind": "", "ceiling of blind forecasts": "ceiling"}
SPACE = 4.4  # of the axis' height, in per cent, that a line of a label takes
LETTERS = 30  # in such a line


@matplotlib.rc_context(PAPER_STYLE)
def draw_errors_against_lead(path: Path, lines: list[tuple[str, str, dict, dict]], title: str, data: Data | None = None,
                             n: int | None = None) -> None:
    """RMSE by lead time, one line per forecaster, named at its right end.

    Parameters
    ----------
    path : Path
    lines : list of (str, str, dict, dict)
        Kind (a key of LABELS), label, RMSE in m3 m-3 by lead time in days, and by lead time the ends of its 95 % interval, where they
        are known.
    title : str
    data : utils.captions.Data, optional
    n : int, optional
        Values behind a point.
    """
    told = any(kind in ("with forecast", "bound") for kind, *_ in lines)
    lines = [(kind, in_lines(label if told else without_blind(label)), errors, band) for kind, label, errors, band in lines]
    heads = wrap_title(title, COLUMN_AND_HALF)
    left, bottom, width, height = 14.0, 10.0, 79.0, 66.0
    figure = new_figure(COLUMN_AND_HALF, bottom + height + 4 + 4 * len(heads))
    axes = place_axes(figure, left, bottom, width, height)
    for kind, _, errors, band in lines:
        look = LOOKS[kind]
        axes.plot(list(errors), list(errors.values()), color=look.colour, linestyle=look.line, markersize=3.5,
                  marker=look.marker if kind in NETWORKS else "", linewidth=1.5 if kind in NETWORKS else 1.0)
        if band:
            axes.fill_between(list(band), *np.transpose(list(band.values())), color=look.colour, alpha=0.15, linewidth=0)
    lead_times = sorted({lead_time for _, _, errors, _ in lines for lead_time in errors})
    highest = max(max([*errors.values(), *(high for _, high in band.values())]) for _, _, errors, band in lines)
    axes.set(xlim=(lead_times[0] - 0.2, lead_times[-1] + 0.2), ylim=(0, 1.05 * highest), xlabel="lead time (days)",
             ylabel="RMSE (m³ m⁻³)")
    axes.set_xticks(lead_times)
    ends = [100 * list(errors.values())[-1] / (1.05 * highest) for _, _, errors, _ in lines]
    heights = [SPACE * (1 + label.count("\n")) for _, label, *_ in lines]
    for (kind, label, *_), place in zip(lines, apart(np.array(ends), heights)):
        axes.annotate(label, (1.02, place / 100), xycoords="axes fraction", color=LOOKS[kind].colour, va="center")
    write_title(figure, heads)
    banded = " Bands: 95 % intervals from a bootstrap over blocks of days." if any(band for *_, band in lines) else ""
    save_figure(path, figure, caption_of(
        f"Root mean square error by lead time of {'; '.join(label.replace(chr(10), ' ') for _, label, *_ in lines)}, all scored on the "
        f"same values of all land cells and test days. Climatology is left out: it hardly depends on the lead time.{banded}", title, data,
        n, "values at each lead time"))


def without_blind(label: str) -> str:
    """A label of a figure in which no forecaster is told the coming weather."""
    for words, instead in UNTOLD.items():
        label = label.replace(words, instead)
    return label


def in_lines(label: str) -> str:
    """A label in words, in lines that have room beside the axes."""
    return "\n".join(textwrap.fill(line, LETTERS) for line in in_words(label).split("\n"))


def apart(places: np.ndarray, heights: Sequence[float]) -> np.ndarray:
    """The same places, moved until neighbours lie as far apart as their heights need."""
    order = np.argsort(places)
    moved = np.array(places, float)
    for _ in range(500):
        needed = np.array([(heights[one] + heights[other]) / 2 for one, other in zip(order, order[1:])])
        push = np.maximum(needed - np.diff(moved[order]), 0) / 2
        if push.max(initial=0) < 0.01:
            break
        moved[order[:-1]] -= push
        moved[order[1:]] += push
    return moved
