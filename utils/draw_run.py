"""The figures of a run (map, scatter, skill map, series) and of a cube (quick look).

Shapes: N days, H latitudes, W longitudes. Soil moisture in m3 m-3. NaN (sea, gap) stays blank; on a map of one day the cells that
are forecast but not observed are grey, not to pass for a difference of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from data_processing.arrays import in_turn, pieces
from data_processing.errors import UserError
from utils.captions import caption_of, in_words, percent_text
from utils.figures import (
    COLUMN,
    COLUMN_AND_HALF,
    DIFFERENCE_COLOURS,
    DRY_DAY,
    GAP_COLOUR,
    LOOKS,
    PAGE,
    PAPER_STYLE,
    SKILL_COLOURS,
    SOIL_MOISTURE_COLOURS,
    SPREAD_COLOURS,
    VARIABLE_COLOURS,
    colour_bar,
    colour_range,
    degrees_text,
    draw_cells,
    extension,
    look_of,
    map_axes,
    map_frame,
    new_figure,
    padded,
    panel_ratio,
    panel_title,
    place_axes,
    principal_longitude,
    range_around_0,
    range_of_scores,
    save_figure,
    time_axes,
    unit_text,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    from data_processing.cube import Summary
    from utils.captions import Data

# Places of the cells of a series among the land cells, by mean soil moisture from dry to wet.
SERIES_QUANTILES = (0.1, 0.4, 0.6, 0.9)

HEXAGONS = 20, 70  # side by side in a scatter, of few and of many values
WIDTHS = {1: COLUMN, 2: COLUMN_AND_HALF, 3: PAGE}  # of so many maps side by side, mm
FIELD_COLOURS = VARIABLE_COLOURS | {"forecast": SOIL_MOISTURE_COLOURS, "observed": SOIL_MOISTURE_COLOURS,
                                    "spread": SPREAD_COLOURS}
# Of a cube's own values and holes: no forecaster's colours.
VALUES_COLOUR, MISSING_COLOUR = "0.2", "0.6"


class Line(NamedTuple):
    """All pairs of observation and forecast in a few numbers."""

    n: int
    low: float               # of observation and forecast
    high: float
    varies: bool             # whether the observations do
    slope: float             # of the least-squares fit
    offset: float
    rmse: float
    r2: float


def draw_map(path: str | Path, *, observed: np.ndarray, forecast: np.ndarray, lat: np.ndarray, lon: np.ndarray, title: str,
             unit: str = "m3 m-3", data: Data | None = None) -> None:
    """Draw one day: observed, forecast, difference.

    Parameters
    ----------
    path : str or Path of the PNG
    observed, forecast : float [H, W]
        NaN = blank.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
        What is shown: run, lead time, date; "synthetic twin" where it is.
    unit : str
    data : utils.captions.Data, optional
        For the caption.

    Raises
    ------
    UserError
        No cell has both an observation and a forecast.
    """
    figure = map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title=title, unit=unit)
    both = np.count_nonzero(np.isfinite(observed) & np.isfinite(forecast))
    save_figure(path, figure, caption_of(
        "Surface soil moisture of one day: (a) observed, (b) forecast, both in one range of colours (1st to 99th percentile of the "
        "two), (c) forecast minus observed. Means, bias and RMSE over the cells that are both, in "
        f"{unit_text(unit)}. Blank: sea or no value; grey: forecast, but not observed.", title, data, both,
        "cells that are observed and forecast"))


def draw_scatter(path: Path, *, observed: np.ndarray, forecast: np.ndarray, title: str, data: Data | None = None) -> None:
    """Draw all pairs of observation and forecast as a density, with the 1:1 line and the least-squares fit.

    Parameters
    ----------
    path : str or Path of the PNG
    observed, forecast : float arrays of equal shape
        m3 m-3; pairs with a NaN are left out.
    title : str
    data : utils.captions.Data, optional
        For the caption.

    Raises
    ------
    UserError
        Shapes differ, or no pair is complete.
    """
    figure = scatter_figure(observed=observed, forecast=forecast, title=title)
    save_figure(path, figure, caption_of(
        "Forecast against observed surface soil moisture of all land cells and test days. Colour: number of values in a hexagon, "
        "logarithmic. Dashed: 1:1; solid: least-squares fit of the forecast on the observation. Forecasts are not cut: "
        "a mean of what may come varies less than what comes, so that the cloud may have flat edges.", title, data,
        int(figure.axes[0].collections[0].get_array().sum())))


def draw_skill_map(path: Path, *, skill: np.ndarray, lat: np.ndarray, lon: np.ndarray, title: str,
                   data: Data | None = None) -> None:
    """Draw the skill of every cell against damped persistence, 1 - MSE / MSE of damped persistence.

    Parameters
    ----------
    path : str or Path of the PNG
    skill : float [H, W]
        NaN = blank; above 0 the forecast is better.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
    data : utils.captions.Data, optional
        For the caption.

    Raises
    ------
    UserError
        No cell has a skill.
    """
    save_figure(path, skill_figure(skill=skill, lat=lat, lon=lon, title=title), caption_of(
        "Skill of each cell over the test days, 1 − MSE / MSE of damped persistence: above 0 (blue) the forecast is better. "
        "Blank: sea, or too few observed days.", title, data, np.count_nonzero(np.isfinite(skill)), "cells"))


def draw_series(path: Path, *, observed: np.ndarray, forecast: np.ndarray, reference: np.ndarray, time: np.ndarray,
                lat: np.ndarray, lon: np.ndarray, title: str, interval: Sequence[np.ndarray] | None = None,
                forecaster: str = "blind", data: Data | None = None) -> None:
    """Draw a few cells in time, from dry to wet.

    Parameters
    ----------
    path : str or Path of the PNG
    observed, forecast, reference : float [N, H, W]
        m3 m-3, NaN = blank; the reference is damped persistence.
    time : datetime64 [N]
        Day of each value.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
    interval : two float [N, H, W], optional
        Ends of the 90 % interval of the forecast, m3 m-3, drawn as a band.
    forecaster : str
        Whose look the forecast has (`utils.figures.look_of`).
    data : utils.captions.Data, optional
        For the caption.

    Raises
    ------
    UserError
        Shapes differ, or nothing is observed.
    """
    figure = series_figure(observed=observed, forecast=forecast, reference=reference, time=time, lat=lat, lon=lon, title=title,
                           interval=interval, forecaster=forecaster)
    save_figure(path, figure, caption_of(
        "Surface soil moisture of some cells, from dry to wet by their observed mean: observed (dots), forecast (solid)"
        + ("" if interval is None else " with its 90 % interval (band)") + " and damped persistence (dashed), on the day that is "
        "forecast.", title, data, len(figure.axes), "cells"))


def draw_fields(path: Path, *, fields: dict[str, np.ndarray], labels: dict[str, tuple[str, str]], lat: np.ndarray,
                lon: np.ndarray, title: str, data: Data | None = None) -> None:
    """Draw one to three fields of one day, each in its own range of colours.

    Parameters
    ----------
    path : str or Path of the PNG
    fields : dict of name -> float [H, W]
        NaN = blank.
    labels : dict of name -> (str, str)
        What it is, and its unit.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
    data : utils.captions.Data, optional
        For the caption.
    """
    figure = fields_figure(fields=fields, labels=labels, lat=lat, lon=lon, title=title)
    told = [f"{what} ({unit})" for what, unit in (labels[name] for name in fields)]
    shown = "; ".join(panel_title(panel, what) for panel, what in enumerate(told)) if len(told) > 1 else told[0]
    cells = max(np.count_nonzero(np.isfinite(values)) for values in fields.values())
    blank = "Blank: sea or no value" + (f"; sand: less than {DRY_DAY} mm d⁻¹." if "precipitation" in fields else ".")
    save_figure(path, figure, caption_of(
        f"Map of one day: {shown}; colours from the 1st to the 99th percentile. {blank}", title, data, cells, "cells"))


def draw_quicklook(path: Path, *, summaries: dict[str, Summary], units: dict[str, str], time: np.ndarray, lat: np.ndarray,
                   lon: np.ndarray, title: str, data: Data | None = None) -> None:
    """Draw a cube at a glance: per variable the mean map, the mean of each day, the share missing on each day.

    Parameters
    ----------
    path : str or Path of the PNG
    summaries : dict of str to data_processing.cube.Summary
    units : dict of str to str
    time : datetime64 [T]
        Day of each value.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
    data : utils.captions.Data, optional
        For the caption.
    """
    figure = quicklook_figure(summaries=summaries, units=units, time=time, lat=lat, lon=lon, title=title)
    cells = np.count_nonzero(np.isfinite(next(iter(summaries.values())).mean_map))
    save_figure(path, figure, caption_of(
        "A cube at a glance, a column for each variable: mean over all days, mean over the land on each day, share of the land cells "
        "without a value on each day. Blank on the maps: sea or no value.", title, data, cells, "cells"))


@matplotlib.rc_context(PAPER_STYLE)
def map_figure(*, observed: np.ndarray, forecast: np.ndarray, lat: np.ndarray, lon: np.ndarray, title: str,
               unit: str = "m3 m-3") -> Figure:
    """Figure of `draw_map`; its first three axes are the panels."""
    _check_grid(observed, lat, lon)
    _check_equal_shapes(observed=observed, forecast=forecast)
    difference = np.subtract(forecast, observed, dtype=np.float64)
    if not np.isfinite(difference).any():
        counts = [np.count_nonzero(np.isfinite(values)) for values in (observed, forecast)]
        raise UserError(f"Nothing to draw for '{title}': {counts[0]} cells are observed, {counts[1]} forecast, "
                        "none is both. Choose another day.")
    both = np.concatenate([np.ravel(observed), np.ravel(forecast)])

    frame = map_frame(lat, lon)
    left, right, between = 12.0, 4.0, 6.0
    width = (PAGE - left - right - 2 * between) / 3
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, PAGE)
    top = 9.0 + 4.0 * len(title_lines)
    below = 17.0
    figure = new_figure(PAGE, below + height + top)
    soil_moisture, change = colour_range(both), range_around_0(difference)
    bias, rmse = np.nanmean(difference), np.sqrt(np.nanmean(difference ** 2))
    gaps = np.isfinite(forecast) & ~np.isfinite(observed)
    means = [np.mean(values[np.isfinite(difference)]) for values in (observed, forecast)]
    unit = unit_text(unit)
    names = ("observed" + (" (grey: gaps)" if gaps.any() else "") + f"\nmean {means[0]:.4f} {unit}",
             f"forecast\nmean {means[1]:.4f} {unit}",
             f"forecast − observed\nbias {_signed(bias, 4)}, RMSE {rmse:.4f} {unit}")
    panels: tuple[tuple, ...] = (
              (observed, SOIL_MOISTURE_COLOURS, soil_moisture),
              (forecast, SOIL_MOISTURE_COLOURS, soil_moisture),
              (difference, DIFFERENCE_COLOURS, change))
    meshes = []
    axes_of_panels = [map_axes(figure, frame, left + panel * (width + between), below, width, height,
                                label_latitudes=panel == 0) for panel in range(3)]
    for panel, (axes, name, (values, colours, norm)) in enumerate(zip(axes_of_panels, names, panels)):
        meshes.append(draw_cells(axes, frame, values, colours, norm))
        axes.set_title(panel_title(panel, name))
    if gaps.any():
        for axes in (axes_of_panels[0], axes_of_panels[2]):
            draw_cells(axes, frame, np.where(gaps, 0, np.nan), ListedColormap([GAP_COLOUR]), Normalize(0, 1))
    centre = left + width + between / 2
    colour_bar(figure, meshes[0], centre - 0.6 * width, below - 8.5, 1.2 * width, f"soil moisture ({unit})",
                extension(both, soil_moisture))
    colour_bar(figure, meshes[2], left + 2 * (width + between) + 0.05 * width, below - 8.5, 0.9 * width,
                f"difference ({unit})", extension(difference, change))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def scatter_figure(*, observed: np.ndarray, forecast: np.ndarray, title: str) -> Figure:
    """Figure of `draw_scatter`; its first axes hold the density."""
    _check_equal_shapes(observed=observed, forecast=forecast)
    line = pair_line(observed, forecast)
    if not line.n:
        raise UserError(f"Nothing to draw for '{title}': no value is both observed and forecast.")
    low, high = padded(line.low, line.high)
    margin = 0.03 * (high - low)
    limits = (low - margin, high + margin)

    title_lines = wrap_title(title, COLUMN)
    left, bottom, side = 14.0, 15.0, 56.0  # numbers and legend stand around the axes: within, they would hide values
    figure = new_figure(COLUMN, bottom + side + 6.5 + 4.0 * len(title_lines))
    axes = place_axes(figure, left, bottom, side, side)
    hexagons = int(np.clip(np.sqrt(line.n) / 2, *HEXAGONS))
    density = draw_density(axes, observed, forecast, limits, hexagons, LogNorm(vmin=1))
    axes.plot(limits, limits, color="black", linestyle="--", linewidth=0.8, label="1:1")
    if line.varies:
        formula = f"{_true_minus(f'{line.slope:z.2f}')} x {'+' if line.offset >= 0 else '−'} {abs(line.offset):.3f}"
        axes.plot(limits, [line.offset + line.slope * end for end in limits], color="black", linewidth=1.0, label=f"fit: {formula}",
                  path_effects=[withStroke(linewidth=1.4, foreground="white")])
    r2 = _true_minus(f"{line.r2:z.3f}") if line.varies else "undefined"
    axes.set_title(f"n = {line.n:,}, RMSE = {line.rmse:.4f} m³ m⁻³, R² = {r2}", fontsize=7.5)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="observed soil moisture (m³ m⁻³)",
             ylabel="forecast soil moisture (m³ m⁻³)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    figure.legend(loc="lower center", ncols=2, handlelength=1.8, borderaxespad=0.2)
    bar = figure.colorbar(density, cax=place_axes(figure, left + side + 2.0, bottom, 2.5, side))
    bar.set_label("number of values per hexagon")
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1,) if density.get_array().max() >= 100 else (1, 2, 5)))
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")  # exponents would be too small to read
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    write_title(figure, title_lines)
    return figure


def draw_density(axes: Axes, observed: np.ndarray, forecast: np.ndarray, limits: tuple[float, float], gridsize: int,
                 norm: Normalize) -> PolyCollection:
    """Hexagons coloured by the number of their pairs of observation and forecast, counted in blocks of days."""
    hexagons: dict = {"gridsize": gridsize, "extent": (*limits, *limits)}
    counts: Any = 0
    for x, y in complete_pairs(observed, forecast):
        of_block = axes.hexbin(x, y, **hexagons)
        of_block.remove()
        counts = counts + of_block.get_array()
    x, y = np.asarray(of_block.get_offsets()).T
    return axes.hexbin(x, y, C=counts, reduce_C_function=np.sum, mincnt=1, norm=norm, cmap="viridis_r",
                       linewidths=0.3, rasterized=True, **hexagons)


def complete_pairs(observed: np.ndarray, forecast: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of observation and forecast without NaN, two float64 [n], in blocks of days."""
    observed, forecast = np.atleast_1d(observed), np.atleast_1d(forecast)
    for days in pieces(observed, forecast, work=8):  # hexagons are counted with a dozen arrays
        complete = np.isfinite(observed[days]) & np.isfinite(forecast[days])
        yield observed[days][complete].astype(np.float64), forecast[days][complete].astype(np.float64)


def pair_line(observed: np.ndarray, forecast: np.ndarray) -> Line:
    """Number, range, least-squares line and errors of all pairs of observation and forecast: a `Line`."""
    n, total_x, total_y, low, high, low_x, high_x = 0, 0.0, 0.0, np.inf, -np.inf, np.inf, -np.inf
    for x, y in complete_pairs(observed, forecast):
        if x.size:
            n, total_x, total_y = n + x.size, total_x + x.sum(), total_y + y.sum()
            low_x, high_x = min(low_x, x.min()), max(high_x, x.max())
            low, high = min(low, x.min(), y.min()), max(high, x.max(), y.max())
    mean_x, mean_y = total_x / max(n, 1), total_y / max(n, 1)
    product = square = squared_error = 0.0
    for x, y in complete_pairs(observed, forecast):
        product += ((x - mean_x) * (y - mean_y)).sum()
        square += ((x - mean_x) ** 2).sum()
        squared_error += ((y - x) ** 2).sum()
    varies = high_x > low_x
    slope = product / square if varies else np.nan
    return Line(n, low, high, varies, slope, mean_y - slope * mean_x, np.sqrt(squared_error / max(n, 1)),
                1 - squared_error / square if varies else np.nan)


@matplotlib.rc_context(PAPER_STYLE)
def skill_figure(*, skill: np.ndarray, lat: np.ndarray, lon: np.ndarray, title: str) -> Figure:
    """Figure of `draw_skill_map`; its first axes are the map."""
    _check_grid(skill, lat, lon)
    known = np.asarray(skill)[np.isfinite(skill)]
    if not known.size:
        raise UserError(f"Nothing to draw for '{title}': no cell has a skill. A cell needs observed targets.")
    norm = range_of_scores(known)

    frame = map_frame(lat, lon)
    left, right, below = 12.0, 4.0, 17.0
    width = COLUMN - left - right
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, COLUMN)
    figure = new_figure(COLUMN, below + height + 6.0 + 4.0 * len(title_lines))
    axes = map_axes(figure, frame, left, below, width, height, label_latitudes=True)
    mesh = draw_cells(axes, frame, skill, SKILL_COLOURS, norm)
    axes.set_title(f"median {_signed(np.median(known))}; above 0 in {percent_text(np.mean(known > 0))} "
                   f"of {known.size:,} cells")
    colour_bar(figure, mesh, left + 0.05 * width, below - 8.5, 0.9 * width,
                "skill, 1 − MSE / MSE of damped persistence", extension(known, norm))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def series_figure(*, observed: np.ndarray, forecast: np.ndarray, reference: np.ndarray, time: np.ndarray, lat: np.ndarray,
                  lon: np.ndarray, title: str, interval: Sequence[np.ndarray] | None = None, forecaster: str = "blind") -> Figure:
    """Figure of `draw_series`; one axes per cell."""
    looks = LOOKS["observed"], look_of(forecaster), LOOKS["damped_persistence"]
    _check_grid(observed[0], lat, lon)
    _check_equal_shapes(observed=observed, forecast=forecast, reference=reference)
    if len(time) != len(observed):
        raise UserError(f"There are {len(observed)} days of observations, but {len(time)} dates.")
    cells = series_cells(observed, forecast, title)
    order = np.argsort(time, kind="stable")
    time = np.asarray(time)[order].astype("datetime64[D]")

    title_lines = wrap_title(title, PAGE)
    left, right, bottom, height, between = 15.0, 4.0, 9.5, 25.0, 6.5
    top = 11.0 + 4.0 * len(title_lines)
    figure_height = bottom + len(cells) * (height + between) - between + top
    figure = new_figure(PAGE, figure_height)
    for panel, (row, column) in enumerate(cells):
        axes = time_axes(figure, left, figure_height - top - height - panel * (height + between),
                          PAGE - left - right, height, time)
        marker = "." if len(time) == 1 else None
        of_cell, told, usual, *ends = (np.array([values[day, row, column] for day in in_turn(values)])[order]
                                       for values in (observed, forecast, reference, *(interval or ())))
        if ends:
            axes.fill_between(time, ends[0], ends[1], color=looks[1].colour, alpha=0.18, linewidth=0, label="90 % interval")
        axes.plot(time, usual, color=looks[2].colour, linestyle=looks[2].line, linewidth=1.0, marker=marker,
                  label="damped persistence")
        axes.plot(time, told, color=looks[1].colour, linewidth=1.1, marker=marker, label="forecast")
        axes.plot(time, of_cell, color=looks[0].colour, linestyle="none", marker="o", markersize=1.6, markeredgewidth=0,
                  label="observed")
        axes.set_title(panel_title(panel, "") + f"{degrees_text(lat[row], 'N', 'S', 1)}, "
                       f"{degrees_text(principal_longitude(lon[column]), 'E', 'W', 1)}; "
                       f"observed mean {np.nanmean(of_cell):.3f} m³ m⁻³", loc="left")
        if panel < len(cells) - 1:
            axes.tick_params(labelbottom=False)
    figure.text(3.0 / PAGE, 0.5 * (1 + (bottom - top) / figure_height), "soil moisture (m³ m⁻³)",
                rotation="vertical", ha="center", va="center")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="upper right", ncols=4, borderaxespad=0.0, markerscale=2.0,
                  bbox_to_anchor=(1 - right / PAGE,
                                  1 - (1.5 + 4.0 * len(title_lines)) / figure_height))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def fields_figure(*, fields: dict[str, np.ndarray], labels: dict[str, tuple[str, str]], lat: np.ndarray, lon: np.ndarray,
                  title: str) -> Figure:
    """Figure of `draw_fields`; its first axes are the panels."""
    for values in fields.values():
        _check_grid(values, lat, lon)
    frame = map_frame(lat, lon)
    left, right, between, below = 12.0, 4.0, 14.0, 17.0
    figure_width = WIDTHS[len(fields)]
    width = (figure_width - left - right + between) / len(fields) - between
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, figure_width)
    figure = new_figure(figure_width, below + height + (6.0 if len(fields) > 1 else 2.5) + 4.0 * len(title_lines))
    places = [left + panel * (width + between) for panel in range(len(fields))]
    axes_of_panels = [map_axes(figure, frame, place, below, width, height, label_latitudes=True) for place in places]
    for panel, (axes, place, (name, values)) in enumerate(zip(axes_of_panels, places, fields.items())):
        norm = colour_range(values, name)
        what, unit = labels[name]
        what = what if len(what) < 0.5 * width else in_words(name)  # else the colour bar's label would not fit
        mesh = draw_cells(axes, frame, values, FIELD_COLOURS.get(name, "cividis"), norm)
        if len(fields) > 1:
            axes.set_title(panel_title(panel, in_words(name)))
        colour_bar(figure, mesh, place + 0.05 * width, below - 8.5, 0.9 * width, f"{what} ({unit_text(unit)})", extension(values, norm))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def quicklook_figure(*, summaries: dict[str, Summary], units: dict[str, str], time: np.ndarray, lat: np.ndarray, lon: np.ndarray,
                     title: str) -> Figure:
    """Figure of `draw_quicklook`; a column of three axes per variable."""
    frame = map_frame(lat, lon)
    left, right, between, bottom, share_height, series_height, gap = 12.0, 4.0, 14.0, 9.0, 14.0, 24.0, 7.0
    figure_width = WIDTHS[len(summaries)]
    width = (figure_width - left - right + between) / len(summaries) - between
    map_height = width / panel_ratio(frame)
    map_bottom = bottom + share_height + gap + series_height + 24.0
    title_lines = wrap_title(title, figure_width)
    figure = new_figure(figure_width, map_bottom + map_height + 7.0 + 4.0 * len(title_lines))
    for column, (name, summary) in enumerate(summaries.items()):
        x = left + column * (width + between)
        norm = colour_range(summary.mean_map, name)
        unit = unit_text(units[name])
        axes = map_axes(figure, frame, x, map_bottom, width, map_height, label_latitudes=True)
        axes.set_title(panel_title(column, f"mean {in_words(name)}"))
        mesh = draw_cells(axes, frame, summary.mean_map, VARIABLE_COLOURS[name], norm)
        colour_bar(figure, mesh, x, map_bottom - 8.5, width, unit, extension(summary.mean_map, norm))
        axes = time_axes(figure, x, bottom + share_height + gap, width, series_height, time)
        axes.plot(time, summary.series, color=VALUES_COLOUR, linewidth=0.7, marker="." if len(time) < 4 else None)
        axes.set_title(panel_title(len(summaries) + column, f"mean over land ({unit})"), loc="left")
        axes.tick_params(labelbottom=False)
        axes = time_axes(figure, x, bottom, width, share_height, time)
        axes.fill_between(time, 100 * summary.missing_on, color=MISSING_COLOUR, step="mid", linewidth=0.3)
        axes.set_ylim(0, 100)
        axes.set_title(panel_title(2 * len(summaries) + column, f"missing (%), {100 * summary.missing:.1f} in all"), loc="left")
    write_title(figure, title_lines)
    return figure


def series_cells(observed: np.ndarray, forecast: np.ndarray, title: str) -> list[tuple[int, int]]:
    """Cells of a series, from dry to wet: at SERIES_QUANTILES of the mean soil moisture of the cells seen often.

    Often is at least half as often as the best seen one.

    Parameters
    ----------
    observed, forecast : float [N, H, W]
    title : str
        For the error.

    Returns
    -------
    list of (row, column)
        From dry to wet, fewer than four where there are fewer cells.
    """
    counts, total, seen = (np.zeros(observed.shape[1:], kind) for kind in (int, observed.dtype, int))
    for day in in_turn(observed, forecast):
        counts += np.isfinite(observed[day]) & np.isfinite(forecast[day])
        total += np.nan_to_num(observed[day])
        seen += np.isfinite(observed[day])
    if not counts.any():
        raise UserError(f"Nothing to draw for '{title}': no cell has both an observation and a forecast.")
    rows, columns = np.nonzero(counts >= 0.5 * counts.max())
    means = total / np.maximum(seen, 1)
    ranking = np.argsort(means[rows, columns], kind="stable")
    chosen = dict.fromkeys(ranking[round(quantile * (len(ranking) - 1))] for quantile in SERIES_QUANTILES)
    return [(int(rows[cell]), int(columns[cell])) for cell in chosen]


def _signed(value, digits=3):
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else _true_minus(text)


def _true_minus(number):
    """A number in digits, with the sign that figures have before it instead of the hyphen."""
    return number.replace("-", "−")


def _check_grid(values, lat, lon):
    if np.shape(values) != (len(lat), len(lon)):
        raise UserError(f"The map has shape {np.shape(values)}, but there are {len(lat)} latitudes and "
                        f"{len(lon)} longitudes.")


def _check_equal_shapes(**arrays):
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(f"Shapes differ: {found}. Give equal ones.")
