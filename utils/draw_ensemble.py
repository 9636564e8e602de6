"""The figure of a forecast's reliability."""
import matplotlib
import numpy as np
from scipy.special import ndtr

from utils.drawmap import (DOUBLE_COLUMN, FORECAST_COLOUR, PAPER_STYLE, new_figure, place_axes, save_figure, wrap_title,
                           write_title)
from utils.ensembles import SPREAD_BINS

CHANCES = np.linspace(0.1, 0.95, 18)


@matplotlib.rc_context(PAPER_STYLE)
def draw_ensemble(path, *, observed, forecast, spread, counts, title):
    """Error against predicted spread, coverage of the intervals, rank histogram of the members.

    Parameters
    ----------
    path : Path
    observed, forecast, spread : float32 [N, H, W]
        m3 m-3
    counts : int [M + 1], or None for a single member
    title : str
    """
    valid = np.isfinite(observed) & np.isfinite(forecast)
    error, width = np.abs(forecast - observed)[valid].astype(np.float64), spread[valid].astype(np.float64)
    panels = 2 if counts is None else 3
    side, left, gap, bottom = 42.0, 14.0, 15.0, 11.0
    lines = wrap_title(f"Reliability, {title}", left + panels * (side + gap) - 8)
    figure = new_figure(min(DOUBLE_COLUMN, left + panels * (side + gap) - 8), bottom + side + 6 + 4 * len(lines))

    axes = place_axes(figure, left, bottom, side, side)
    bins = np.array_split(np.argsort(width), SPREAD_BINS)
    x = [np.sqrt((width[chosen] ** 2).mean()) for chosen in bins]
    y = [np.sqrt((error[chosen] ** 2).mean()) for chosen in bins]
    highest = 1.1 * max(*x, *y)
    axes.plot([0, highest], [0, highest], color="black", linestyle="--", linewidth=0.7)
    axes.plot(x, y, marker="o", markersize=3.5, color=FORECAST_COLOUR)
    axes.set(xlim=(0, highest), ylim=(0, highest), xlabel="predicted spread (m³ m⁻³)", ylabel="RMSE (m³ m⁻³)")

    axes = place_axes(figure, left + side + gap, bottom, side, side)
    held = [(2 * ndtr(error / width) - 1 <= chance).mean() for chance in CHANCES]
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=0.7)
    axes.plot(CHANCES, held, marker="o", markersize=2.5, color=FORECAST_COLOUR)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted share in the interval", ylabel="observed share")

    if counts is not None:
        axes = place_axes(figure, left + 2 * (side + gap), bottom, side, side)
        axes.bar(np.arange(len(counts)), counts / counts.sum(), color=FORECAST_COLOUR, width=0.9)
        axes.axhline(1 / len(counts), color="black", linestyle="--", linewidth=0.7)
        axes.set(xlabel="rank among the members", ylabel="share", xticks=range(len(counts)))
    write_title(figure, lines)
    save_figure(path, figure)
