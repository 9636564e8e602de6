"""The figures of a run (map, scatter, skill map, series) and of a cube (quick look), PNG files drawn offline.

Shapes: N days, H latitudes, W longitudes; coordinates are cell centres in degrees, evenly spaced or not,
ascending or descending, also across the antimeridian. Soil moisture in m3 m-3. NaN (sea, gap) stays blank; on
a map of one day the cells that are forecast but not observed are grey, not to pass for a difference of 0.
Coast lines are Natural Earth's (public domain), read from the files in `utils/natural_earth`.
"""

import functools
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import cartopy.crs as ccrs
import matplotlib
import numpy as np
from cartopy.feature import ShapelyFeature
from cartopy.io.shapereader import Reader
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_processing.arrays import in_turn, pieces
from data_processing.errors import UserError
from data_processing.files import replacing
from utils.evaluation import cell_edges, unwrap_longitudes

COAST_LINES = Path(__file__).parent / "natural_earth" / "shapefiles" / "natural_earth" / "physical"
# Wider boxes than this, in degrees, get the 110m coast lines, the others the 50m ones.
WIDE_BOX = 60.0
SINGLE_COLUMN, DOUBLE_COLUMN = 90.0, 180.0  # mm
MILLIMETRES_PER_INCH = 25.4
DOTS_PER_INCH = 300
# Width to height of a map panel; a box outside it gets blank margins.
NARROWEST, WIDEST = 0.6, 3.0
# Yellow (dry) to blue (wet), without the palest yellow, which would pass for blank.
SOIL_MOISTURE_COLOURS = ListedColormap(matplotlib.colormaps["YlGnBu"](np.linspace(0.12, 1.0, 256)),
                                       "soil moisture")
DIFFERENCE_COLOURS = "BrBG"
SKILL_COLOURS = "RdBu"
QUICKLOOK_COLOURS = {"precipitation": ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.12, 1.0, 256))),
                     "soil_moisture": SOIL_MOISTURE_COLOURS, "soil_temperature": "cividis"}
GAP_COLOUR = "0.85"
# Okabe and Ito's palette, safe for colour-blind readers.
FORECAST_COLOUR, REFERENCE_COLOUR = "#0072B2", "#E69F00"
# Places of the cells of a series among the land cells, by mean soil moisture from dry to wet.
SERIES_QUANTILES = (0.1, 0.4, 0.6, 0.9)
PAPER_STYLE = {"font.family": "DejaVu Sans", "font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5,
               "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "axes.linewidth": 0.6,
               "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
               "ytick.major.size": 2.5,
               "axes.titlepad": 3, "axes.labelpad": 2, "legend.frameon": False}

_LEGIBLE = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}


class Frame(NamedTuple):
    """Where the cells of a map lie in its projection (degrees, x counted from `central_longitude`)."""
    central_longitude: float
    columns: np.ndarray      # int [W], order of the columns from west to east
    x_edges: np.ndarray      # float [W + 1]
    y_edges: np.ndarray      # float [H + 1], in the order of the rows
    x_limits: tuple
    y_limits: tuple
    stretch: float           # how much a degree of latitude is longer than one of longitude


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


def draw_map(path, *, observed, forecast, lat, lon, title, unit="m3 m-3"):
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

    Raises
    ------
    UserError
        No cell has both an observation and a forecast.
    """
    save_figure(path, map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title=title, unit=unit))


def draw_scatter(path, *, observed, forecast, title):
    """Draw all pairs of observation and forecast as a density, with the 1:1 line and the least-squares fit.

    Parameters
    ----------
    path : str or Path of the PNG
    observed, forecast : float arrays of equal shape
        m3 m-3; pairs with a NaN are left out.
    title : str

    Raises
    ------
    UserError
        Shapes differ, or no pair is complete.
    """
    save_figure(path, scatter_figure(observed=observed, forecast=forecast, title=title))


def draw_skill_map(path, *, skill, lat, lon, title):
    """Draw the skill of every cell against damped persistence, 1 - MSE / MSE of damped persistence.

    Parameters
    ----------
    path : str or Path of the PNG
    skill : float [H, W]
        NaN = blank; above 0 the forecast is better.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str

    Raises
    ------
    UserError
        No cell has a skill.
    """
    save_figure(path, skill_figure(skill=skill, lat=lat, lon=lon, title=title))


def draw_series(path, *, observed, forecast, reference, time, lat, lon, title):
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

    Raises
    ------
    UserError
        Shapes differ, or nothing is observed.
    """
    save_figure(path, series_figure(observed=observed, forecast=forecast, reference=reference, time=time,
                              lat=lat, lon=lon, title=title))


def draw_quicklook(path, *, summaries, units, time, lat, lon, title):
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
    """
    save_figure(path, quicklook_figure(summaries=summaries, units=units, time=time, lat=lat, lon=lon, title=title))


@matplotlib.rc_context(PAPER_STYLE)
def map_figure(*, observed, forecast, lat, lon, title, unit="m3 m-3"):
    """Figure of `draw_map`; its first three axes are the panels."""
    _check_grid(observed, lat, lon)
    _check_equal_shapes(observed=observed, forecast=forecast)
    difference = np.subtract(forecast, observed, dtype=np.float64)
    if not np.isfinite(difference).any():
        counts = [np.count_nonzero(np.isfinite(values)) for values in (observed, forecast)]
        raise UserError(f"Nothing to draw for '{title}': {counts[0]} cells are observed, {counts[1]} forecast, "
                        "none is both. Choose another day.")
    both = np.concatenate([np.ravel(observed), np.ravel(forecast)])
    low, high = _padded(*np.percentile(both[np.isfinite(both)], [1, 99]))
    limit = _padded(0.0, np.percentile(np.abs(difference[np.isfinite(difference)]), 98))[1]

    frame = map_frame(lat, lon)
    left, right, between = 12.0, 4.0, 6.0
    width = (DOUBLE_COLUMN - left - right - 2 * between) / 3
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, DOUBLE_COLUMN)
    top = 9.0 + 4.0 * len(title_lines)
    below = 17.0
    figure = new_figure(DOUBLE_COLUMN, below + height + top)
    soil_moisture, change = Normalize(low, high), Normalize(-limit, limit)
    bias, rmse = np.nanmean(difference), np.sqrt(np.nanmean(difference ** 2))
    gaps = np.isfinite(forecast) & ~np.isfinite(observed)
    names = ("(a) observed" + (" (grey: gaps)" if gaps.any() else ""), "(b) forecast",
             f"(c) forecast − observed\nbias {_signed(bias)}, RMSE {rmse:.3f}")
    panels = ((observed, SOIL_MOISTURE_COLOURS, soil_moisture),
              (forecast, SOIL_MOISTURE_COLOURS, soil_moisture),
              (difference, DIFFERENCE_COLOURS, change))
    meshes = []
    axes_of_panels = [map_axes(figure, frame, left + panel * (width + between), below, width, height,
                                label_latitudes=panel == 0) for panel in range(3)]
    for axes, name, (values, colours, norm) in zip(axes_of_panels, names, panels):
        meshes.append(draw_cells(axes, frame, values, colours, norm))
        axes.set_title(name)
    if gaps.any():
        for axes in (axes_of_panels[0], axes_of_panels[2]):
            draw_cells(axes, frame, np.where(gaps, 0, np.nan), ListedColormap([GAP_COLOUR]), Normalize(0, 1))
    unit = _unit_text(unit)
    centre = left + width + between / 2
    colour_bar(figure, meshes[0], centre - 0.6 * width, below - 8.5, 1.2 * width, f"soil moisture ({unit})",
                _extension(both, soil_moisture))
    colour_bar(figure, meshes[2], left + 2 * (width + between) + 0.05 * width, below - 8.5, 0.9 * width,
                f"difference ({unit})", _extension(difference, change))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def scatter_figure(*, observed, forecast, title):
    """Figure of `draw_scatter`; its first axes hold the density."""
    _check_equal_shapes(observed=observed, forecast=forecast)
    line = pair_line(observed, forecast)
    if not line.n:
        raise UserError(f"Nothing to draw for '{title}': no value is both observed and forecast.")
    low, high = _padded(line.low, line.high)
    margin = 0.03 * (high - low)
    limits = (low - margin, high + margin)

    title_lines = wrap_title(title, SINGLE_COLUMN)
    left, bottom, side = 14.0, 11.0, 58.0
    figure = new_figure(SINGLE_COLUMN, bottom + side + 3.0 + 4.0 * len(title_lines))
    axes = place_axes(figure, left, bottom, side, side)
    density = draw_density(axes, observed, forecast, limits, 70, LogNorm(vmin=1))
    axes.plot(limits, limits, color="black", linestyle="--", linewidth=0.8, label="1:1")
    if line.varies:
        axes.plot(limits, [line.offset + line.slope * end for end in limits], color="#D55E00", linewidth=1.0,
                  label=f"fit: {line.slope:.2f} x {'+' if line.offset >= 0 else '−'} {abs(line.offset):.3f}")
    r2 = f"{line.r2:.3f}" if line.varies else "undefined"
    axes.text(0.04, 0.96, f"n = {line.n:,}\nRMSE = {line.rmse:.4f} m³ m⁻³\nR² = {r2}",
              transform=axes.transAxes, va="top", bbox=_LEGIBLE)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="observed soil moisture (m³ m⁻³)",
             ylabel="forecast soil moisture (m³ m⁻³)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    axes.legend(loc="lower right", handlelength=1.8, frameon=True, framealpha=0.8, edgecolor="none")
    bar = figure.colorbar(density, cax=place_axes(figure, left + side + 2.0, bottom, 2.5, side))
    bar.set_label("number of values per hexagon")
    write_title(figure, title_lines)
    return figure


def draw_density(axes, observed, forecast, limits, gridsize, norm):
    """Hexagons coloured by the number of their pairs of observation and forecast, counted in blocks of days."""
    hexagons = {"gridsize": gridsize, "extent": (*limits, *limits)}
    counts = 0
    for x, y in complete_pairs(observed, forecast):
        of_block = axes.hexbin(x, y, **hexagons)
        of_block.remove()
        counts = counts + of_block.get_array()
    return axes.hexbin(*of_block.get_offsets().T, C=counts, reduce_C_function=np.sum, mincnt=1, norm=norm, cmap="viridis_r",
                       linewidths=0.1, **hexagons)


def complete_pairs(observed, forecast):
    """Yield the pairs of observation and forecast without NaN, two float64 [n], in blocks of days."""
    observed, forecast = np.atleast_1d(observed), np.atleast_1d(forecast)
    for days in pieces(observed, forecast, work=8):  # hexagons are counted with a dozen arrays
        complete = np.isfinite(observed[days]) & np.isfinite(forecast[days])
        yield observed[days][complete].astype(np.float64), forecast[days][complete].astype(np.float64)


def pair_line(observed, forecast):
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
def skill_figure(*, skill, lat, lon, title):
    """Figure of `draw_skill_map`; its first axes are the map."""
    _check_grid(skill, lat, lon)
    known = np.asarray(skill)[np.isfinite(skill)]
    if not known.size:
        raise UserError(f"Nothing to draw for '{title}': no cell has a skill. A cell needs observed targets.")
    limit = min(1.0, max(0.1, np.ceil(10 * np.percentile(np.abs(known), 98)) / 10))

    frame = map_frame(lat, lon)
    left, right, below = 12.0, 4.0, 17.0
    width = SINGLE_COLUMN - left - right
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, SINGLE_COLUMN)
    figure = new_figure(SINGLE_COLUMN, below + height + 6.0 + 4.0 * len(title_lines))
    axes = map_axes(figure, frame, left, below, width, height, label_latitudes=True)
    mesh = draw_cells(axes, frame, skill, SKILL_COLOURS, Normalize(-limit, limit))
    axes.set_title(f"median {_signed(np.median(known))}; above 0 in {100 * np.mean(known > 0):.0f} % "
                   f"of {known.size:,} cells")
    colour_bar(figure, mesh, left + 0.05 * width, below - 8.5, 0.9 * width,
                "skill, 1 − MSE / MSE of damped persistence", "both")
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def series_figure(*, observed, forecast, reference, time, lat, lon, title):
    """Figure of `draw_series`; one axes per cell."""
    _check_grid(observed[0], lat, lon)
    _check_equal_shapes(observed=observed, forecast=forecast, reference=reference)
    if len(time) != len(observed):
        raise UserError(f"There are {len(observed)} days of observations, but {len(time)} dates.")
    cells = series_cells(observed, forecast, title)
    order = np.argsort(time, kind="stable")
    time = np.asarray(time)[order].astype("datetime64[D]")

    title_lines = wrap_title(title, DOUBLE_COLUMN)
    left, right, bottom, height, between = 15.0, 4.0, 9.0, 25.0, 6.5
    top = 11.0 + 4.0 * len(title_lines)
    figure_height = bottom + len(cells) * (height + between) - between + top
    figure = new_figure(DOUBLE_COLUMN, figure_height)
    for panel, (row, column) in enumerate(cells):
        axes = _time_axes(figure, left, figure_height - top - height - panel * (height + between),
                          DOUBLE_COLUMN - left - right, height, time)
        marker = "." if len(time) == 1 else None
        of_cell, told, usual = (np.array([values[day, row, column] for day in in_turn(values)])
                                for values in (observed, forecast, reference))
        axes.plot(time, usual[order], color=REFERENCE_COLOUR, linewidth=1.0, marker=marker,
                  label="damped persistence")
        axes.plot(time, told[order], color=FORECAST_COLOUR, linewidth=1.1, marker=marker,
                  label="forecast")
        axes.plot(time, of_cell[order], color="black", linestyle="none", marker="o",
                  markersize=1.6, markeredgewidth=0, label="observed")
        axes.set_title(f"({'abcdefgh'[panel]}) {_degrees(lat[row], 'N', 'S', 1)}, "
                       f"{_degrees(_principal(lon[column]), 'E', 'W', 1)}; "
                       f"observed mean {np.nanmean(of_cell):.3f} m³ m⁻³", loc="left")
        if panel < len(cells) - 1:
            axes.tick_params(labelbottom=False)
            axes.xaxis.get_offset_text().set_visible(False)
    figure.text(3.0 / DOUBLE_COLUMN, 0.5 * (1 + (bottom - top) / figure_height), "soil moisture (m³ m⁻³)",
                rotation="vertical", ha="center", va="center")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="upper right", ncols=3, borderaxespad=0.0, markerscale=2.0,
                  bbox_to_anchor=(1 - right / DOUBLE_COLUMN,
                                  1 - (1.5 + 4.0 * len(title_lines)) / figure_height))
    write_title(figure, title_lines)
    return figure


@matplotlib.rc_context(PAPER_STYLE)
def quicklook_figure(*, summaries, units, time, lat, lon, title):
    """Figure of `draw_quicklook`; a column of three axes per variable."""
    frame = map_frame(lat, lon)
    left, right, between, bottom, share_height, series_height, gap = 12.0, 4.0, 14.0, 9.0, 14.0, 24.0, 7.0
    width = (DOUBLE_COLUMN - left - right - 2 * between) / 3
    map_height = width / panel_ratio(frame)
    map_bottom = bottom + share_height + gap + series_height + 24.0
    figure_width = left + len(summaries) * (width + between) - between + right
    title_lines = wrap_title(title, figure_width)
    figure = new_figure(figure_width, map_bottom + map_height + 7.0 + 4.0 * len(title_lines))
    for column, (name, summary) in enumerate(summaries.items()):
        x = left + column * (width + between)
        known = summary.mean_map[np.isfinite(summary.mean_map)]
        norm = Normalize(*_padded(*np.percentile(known, [1, 99])))
        unit = _unit_text(units[name])
        axes = map_axes(figure, frame, x, map_bottom, width, map_height, label_latitudes=True)
        axes.set_title(f"mean {name.replace('_', ' ')}")
        mesh = draw_cells(axes, frame, summary.mean_map, QUICKLOOK_COLOURS[name], norm)
        colour_bar(figure, mesh, x, map_bottom - 8.5, width, unit, _extension(known, norm))
        axes = _time_axes(figure, x, bottom + share_height + gap, width, series_height, time)
        axes.plot(time, summary.series, color=FORECAST_COLOUR, linewidth=0.7, marker="." if len(time) < 4 else None)
        axes.set_title(f"mean over land ({unit})", loc="left")
        axes.tick_params(labelbottom=False)
        axes.xaxis.get_offset_text().set_visible(False)
        axes = _time_axes(figure, x, bottom, width, share_height, time)
        axes.fill_between(time, 100 * summary.missing_on, color=REFERENCE_COLOUR, step="mid", linewidth=0.3)
        axes.set_ylim(0, 100)
        axes.set_title(f"missing (%), {100 * summary.missing:.1f} in all", loc="left")
    write_title(figure, title_lines)
    return figure


def _time_axes(figure, left, bottom, width, height, time):
    """Axes over the days of a record; sizes in mm."""
    axes = place_axes(figure, left, bottom, width, height)
    margin = np.timedelta64(max(1, len(time) // 60), "D")
    axes.set_xlim(time[0] - margin, time[-1] + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    locator = AutoDateLocator(minticks=3, maxticks=max(4, int(width // 9)))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def series_cells(observed, forecast, title):
    """Cells of a series: at SERIES_QUANTILES of the mean soil moisture of the cells seen at least half as
    often as the best seen one.

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


def map_frame(lat, lon):
    """Place the cells in a cylindrical projection centred on them.

    Parameters
    ----------
    lat, lon : float [H], [W]
        Cell centres in degrees.

    Returns
    -------
    Frame
        Edges are midpoints between centres; few cells or an extreme shape get blank margins around them.
    """
    columns, unwrapped = unwrap_longitudes(lon)
    steps = np.concatenate([np.abs(np.diff(lat)), np.diff(unwrapped)])
    step = float(np.median(steps)) if steps.size else 1.0
    lon_edges = cell_edges(unwrapped, default_width=step)
    y_edges = np.clip(cell_edges(lat, default_width=step), -90.0, 90.0)
    central_longitude = float((lon_edges[0] + lon_edges[-1]) / 2)
    x_edges = np.clip(lon_edges - central_longitude, -180.0, 180.0)
    middle = float((y_edges[0] + y_edges[-1]) / 2)
    stretch = 1 / max(np.cos(np.radians(middle)), 0.2)
    width = max(x_edges[-1] - x_edges[0], 5 * step if len(lon) < 3 else 0.0)
    height = max(abs(y_edges[-1] - y_edges[0]), 5 * step if len(lat) < 3 else 0.0)
    width = min(max(width, NARROWEST * height * stretch), 360.0)
    height = min(max(height, width / (stretch * WIDEST)), 180.0)
    south = np.clip(middle - height / 2, -90.0, 90.0 - height)
    return Frame(central_longitude, columns, x_edges, y_edges, (-width / 2, width / 2),
                 (float(south), float(south + height)), float(stretch))


@functools.cache
def coast_lines(resolution):
    """Natural Earth coast lines, `resolution` "110m" or "50m", as a cartopy feature; never fetched."""
    path = COAST_LINES / f"ne_{resolution}_coastline.shp"
    if not path.exists():
        raise FileNotFoundError(f"The coast lines {path} are missing: restore this file of the project.")
    return ShapelyFeature(Reader(path).geometries(), ccrs.PlateCarree())


def map_axes(figure, frame, left, bottom, width, height, label_latitudes):
    """Empty map with coast lines and ticks in degrees; sizes in mm."""
    projection = ccrs.PlateCarree(central_longitude=frame.central_longitude)
    axes = place_axes(figure, left, bottom, width, height, projection=projection)
    axes.set_aspect(frame.stretch)
    axes.set_xlim(frame.x_limits)
    axes.set_ylim(frame.y_limits)
    extent = max(np.ptp(frame.x_limits), np.ptp(frame.y_limits))
    axes.add_feature(coast_lines("110m" if extent >= WIDE_BOX else "50m"), facecolor="none", edgecolor="0.25",
                     linewidth=0.5, zorder=3)
    west, east = (frame.central_longitude + limit for limit in frame.x_limits)
    x_ticks = _inner_ticks(west, east, max(2, int(width // 13)))
    axes.set_xticks([tick - frame.central_longitude for tick in x_ticks])
    axes.set_xticklabels([_degrees(_principal(tick), "E", "W") for tick in x_ticks])
    y_ticks = _inner_ticks(*frame.y_limits, max(2, int(height // 9)))
    axes.set_yticks(y_ticks)
    axes.set_yticklabels([_degrees(tick, "N", "S") for tick in y_ticks] if label_latitudes else [])
    axes.set_xlim(frame.x_limits)
    axes.set_ylim(frame.y_limits)
    return axes


def draw_cells(axes, frame, values, colours, norm):
    """Coloured cells [H, W] on the axes of a map; NaN stays blank."""
    values = np.ma.masked_invalid(np.asarray(values)[:, frame.columns])
    # The edges are projection coordinates already: cartopy's own method would wrap them once more.
    return Axes.pcolormesh(axes, frame.x_edges, frame.y_edges, values, cmap=colours, norm=norm,
                           shading="flat", antialiased=False, zorder=1)


def panel_ratio(frame):
    """Width to height of a map panel."""
    return np.ptp(frame.x_limits) / (np.ptp(frame.y_limits) * frame.stretch)


def new_figure(width, height):
    """Figure of a size in mm."""
    return Figure(figsize=(width / MILLIMETRES_PER_INCH, height / MILLIMETRES_PER_INCH), dpi=DOTS_PER_INCH)


def place_axes(figure, left, bottom, width, height, **options):
    """Axes at a place in mm from the lower left corner."""
    total_width, total_height = figure.get_size_inches() * MILLIMETRES_PER_INCH
    place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return figure.add_axes(place, **options)


def colour_bar(figure, mesh, left, bottom, width, label, extend):
    """Horizontal colour bar at a place in mm."""
    ticks = MaxNLocator(max(3, int(width // 11)), steps=[1, 2, 2.5, 4, 5, 10])
    bar = figure.colorbar(mesh, cax=place_axes(figure, left, bottom, width, 2.5), orientation="horizontal",
                          extend=extend, ticks=ticks)
    bar.set_label(label)


def write_title(figure, lines):
    """Lines of a title, centred at the top."""
    height = figure.get_size_inches()[1] * MILLIMETRES_PER_INCH
    figure.text(0.5, 1 - 1.2 / height, "\n".join(lines), ha="center", va="top", fontsize=8.5)


def save_figure(path, figure):
    """Write a PNG under a temporary name, then rename it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def wrap_title(title, width):
    """Lines of a title; a letter of 8.5 points takes about 1.8 mm."""
    return textwrap.wrap(title, int(width / 1.8)) or [""]


def _inner_ticks(low, high, count):
    """Round values not too near to the ends, where labels of neighbouring panels would meet; at least two."""
    margin = 0.05 * (high - low)
    while True:
        ticks = MaxNLocator(count, steps=[1, 2, 3, 5, 10]).tick_values(low, high)
        ticks = [float(tick) for tick in ticks if low + margin <= tick <= high - margin]
        if len(ticks) >= 2:
            return ticks
        count += 1


def _degrees(value, positive, negative, decimals=None):
    text = f"{abs(round(value, 6)):g}" if decimals is None else f"{abs(value):.{decimals}f}"
    if float(text) in (0.0, 180.0):
        return f"{text}°"
    return f"{text}°{positive if value > 0 else negative}"


def _principal(lon):
    """The same longitude in -180..180."""
    return (float(lon) + 180.0) % 360.0 - 180.0


def _unit_text(unit):
    """Exponents of a unit raised: m3 m-3 -> m³ m⁻³."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return re.sub(r"(?<=[A-Za-z])-?\d", lambda exponent: exponent.group().translate(raised), unit)


def _signed(value):
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")


def _padded(low, high):
    """The same range, or a narrow one around a constant."""
    return (low, high) if high - low > 1e-6 else (low - 0.005, high + 0.005)


def _extension(values, norm):
    """Which ends of a colour bar need an arrow, because values lie beyond it."""
    below, above = np.nanmin(values) < norm.vmin, np.nanmax(values) > norm.vmax
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        bool(below), bool(above)]


def _check_grid(values, lat, lon):
    if np.shape(values) != (len(lat), len(lon)):
        raise UserError(f"The map has shape {np.shape(values)}, but there are {len(lat)} latitudes and "
                        f"{len(lon)} longitudes.")


def _check_equal_shapes(**arrays):
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(f"Shapes differ: {found}. Give equal ones.")
