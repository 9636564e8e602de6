"""How every figure looks and is saved: sizes of a paper, fonts, colours of forecasters, maps with coast lines.

A figure is saved under one name as PNG, as PDF (text as TrueType fonts, maps and clouds of points as pictures) and as its caption.
H latitudes, W longitudes: cell centres in degrees, evenly spaced or not, ascending or descending, also across the antimeridian. NaN
(sea, gap) stays blank. Coast lines are Natural Earth's (public domain), read from the files in `utils/natural_earth`.
"""

from __future__ import annotations

import functools
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cartopy.crs as ccrs
import matplotlib
import numpy as np
from cartopy.feature import ShapelyFeature
from cartopy.io.shapereader import Reader
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, num2date
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_processing.coming_weather import OBSERVED, kind_of
from data_processing.files import replacing
from utils.captions import in_words
from utils.evaluation import cell_edges, unwrap_longitudes

if TYPE_CHECKING:
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap

COAST_LINES = Path(__file__).parent / "natural_earth" / "shapefiles" / "natural_earth" / "physical"
# Wider boxes than this, in degrees, get the 110m coast lines, the others the 50m ones.
WIDE_BOX = 60.0
# Widths of a journal's figures, mm: one column, one and a half, the page.
COLUMN, COLUMN_AND_HALF, PAGE = 90.0, 140.0, 190.0
MILLIMETRES_PER_INCH = 25.4
DOTS_PER_INCH = 300
# Of a figure's files, and what they would tell of the day and the program, emptied: equal figures give equal files
FORMATS = {"pdf": dict.fromkeys(("CreationDate", "Producer", "Creator")), "png": {"Software": None}}
# Width to height of a map panel; a box outside it gets blank margins.
NARROWEST, WIDEST = 0.6, 3.0
# Yellow (dry) to blue (wet), without the palest yellow, which would pass for blank.
SOIL_MOISTURE_COLOURS = ListedColormap(matplotlib.colormaps["YlGnBu"](np.linspace(0.12, 1.0, 256)),
                                       "soil moisture")
DIFFERENCE_COLOURS = "BrBG"
SKILL_COLOURS = "RdBu"
GAP_COLOUR = "0.85"
DRY_DAY = 0.1  # mm d-1: less rain is none
DRY_COLOUR = "#EFE3C8"  # of land without rain: sand, as the sea and gaps are blank on all maps
RAIN_COLOURS = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.12, 1.0, 256)), "rain").with_extremes(under=DRY_COLOUR)
VARIABLE_COLOURS: dict[str, Any] = {"precipitation": RAIN_COLOURS, "soil_moisture": SOIL_MOISTURE_COLOURS,
                                    "soil_temperature": "cividis"}
SHOWN = (1, 99)  # percentiles of the values, between which colours tell them apart
SHOWN_AROUND_0 = 98  # percentile of the values without their sign
SPREAD_COLOURS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0.06, 0.92, 256)), "spread")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Spaces at which no line of a title ends.
TOGETHER = re.compile(r"(?<=\d) (?=days?\b|%)|(?<=\bdays) (?=ahead\b)|(?<=\bday) (?=ahead\b)|(?<=\bsynthetic) (?=twin\b)"
                      r"|(?<=\btwin) (?=of )|(?<=\btwin of) (?=\S)|(?<=\bSMAP) (?=L\d)")
PHRASE = re.compile(r"(?<=[,;:]) ")  # where a line of a title ends best
PAPER_STYLE: dict = {"font.family": "DejaVu Sans", "font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5,
                     "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "axes.linewidth": 0.6,
                     "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
                     "ytick.major.size": 2.5, "axes.titlepad": 3, "axes.labelpad": 2, "legend.frameon": False,
                     "pdf.fonttype": 42}


class Look(NamedTuple):
    """How a forecaster is drawn in every figure."""

    colour: str
    line: str
    marker: str  # of single values, and on the lines of networks


# Okabe and Ito's palette, safe for colour-blind readers.
ORANGE, SKY_BLUE, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
NETWORK, TOLD, BOUND = Look(BLUE, "-", "o"), Look(PURPLE, "-", "^"), Look(PURPLE, ":", "v")
LOOKS = {"observed": Look("black", "-", "."), "blind": NETWORK, "transferred": NETWORK, "fine-tuned": NETWORK,
         "scratch": Look(VERMILLION, "-", "D"), "zero-shot": Look(GREEN, "-", "s"),
         "with forecast": TOLD, "bound": BOUND, "observed weather (bound)": BOUND,
         "persistence": Look("0.5", "-", "s"), "climatology": Look("0.5", ":", "P"),
         "damped_persistence": Look(ORANGE, "--", "D"), "damped_persistence_of_all_days": Look(ORANGE, ":", "D"),
         "water_balance": Look(SKY_BLUE, "--", "p"), "ceiling": Look("black", ":", "*")}


def look_of(forecaster: str) -> Look:
    """The `Look` of a forecaster of metrics.csv: a name that is no key of LOOKS is that of a network."""
    if forecaster in LOOKS:
        return LOOKS[forecaster]
    if forecaster.endswith(kind_of(OBSERVED).forecaster):
        return BOUND
    return TOLD if forecaster.endswith(kind_of("file").forecaster) else NETWORK


class Frame(NamedTuple):
    """Where the cells of a map lie in its projection (degrees, x counted from `central_longitude`)."""

    central_longitude: float
    columns: np.ndarray      # int [W], order of the columns from west to east
    x_edges: np.ndarray      # float [W + 1]
    y_edges: np.ndarray      # float [H + 1], in the order of the rows
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    stretch: float           # how much a degree of latitude is longer than one of longitude


def time_axes(figure: Figure, left: float, bottom: float, width: float, height: float, time: np.ndarray) -> Axes:
    """Axes over the days of a record; sizes in mm."""
    axes = place_axes(figure, left, bottom, width, height)
    margin = np.timedelta64(max(1, len(time) // 60), "D")
    axes.set_xlim(time[0] - margin, time[-1] + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    locator = AutoDateLocator(minticks=min(3, len(time) + 1), maxticks=max(4, int(width // 9)))  # days, no hours
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateLabels(locator, show_offset=False))
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


class DateLabels(ConciseDateFormatter):
    """Labels of days, months or years; below the first one that is seen stands what it lacks: its month and year, or its year."""

    def format_ticks(self, values: Any) -> list[str]:
        """Label of each tick."""
        labels = super().format_ticks(values)
        low, high = self.axis.get_view_interval()  # type: ignore[union-attr]
        first = next((number for number, value in enumerate(values) if low <= value <= high), None)
        if first is not None and len(labels[first]) < 4:  # no year
            labels[first] += f"\n{num2date(values[first]):{'%b %Y' if labels[first].isdigit() else '%Y'}}"
        return labels


def map_frame(lat: np.ndarray, lon: np.ndarray) -> Frame:
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
def coast_lines(resolution: str) -> Any:
    """Natural Earth coast lines, `resolution` "110m" or "50m", as a cartopy feature; never fetched."""
    path = COAST_LINES / f"ne_{resolution}_coastline.shp"
    if not path.exists():
        raise FileNotFoundError(f"The coast lines {path} are missing: restore this file of the project.")
    return ShapelyFeature(Reader(path).geometries(), ccrs.PlateCarree())


def map_axes(figure: Figure, frame: Frame, left: float, bottom: float, width: float, height: float,
             label_latitudes: bool) -> Axes:
    """Empty map with coast lines and ticks in degrees; sizes in mm."""
    projection = ccrs.PlateCarree(central_longitude=frame.central_longitude)
    axes: Any = place_axes(figure, left, bottom, width, height, projection=projection)
    axes.set_aspect(frame.stretch)
    axes.set_xlim(frame.x_limits)
    axes.set_ylim(frame.y_limits)
    extent = max(np.ptp(frame.x_limits), np.ptp(frame.y_limits))
    axes.add_feature(coast_lines("110m" if extent >= WIDE_BOX else "50m"), facecolor="none", edgecolor="0.25",
                     linewidth=0.5, zorder=3)
    west, east = (frame.central_longitude + limit for limit in frame.x_limits)
    x_ticks = _inner_ticks(west, east, max(2, int(width // 13)))
    axes.set_xticks([tick - frame.central_longitude for tick in x_ticks])
    axes.set_xticklabels([degrees_text(principal_longitude(tick), "E", "W") for tick in x_ticks])
    y_ticks = _inner_ticks(*frame.y_limits, max(2, int(height // 9)))
    axes.set_yticks(y_ticks)
    axes.set_yticklabels([degrees_text(tick, "N", "S") for tick in y_ticks] if label_latitudes else [])
    axes.set_xlim(frame.x_limits)
    axes.set_ylim(frame.y_limits)
    return axes


def draw_cells(axes: Axes, frame: Frame, values: np.ndarray, colours: Colormap | str, norm: Normalize) -> QuadMesh:
    """Coloured cells [H, W] on the axes of a map; NaN stays blank."""
    values = np.ma.masked_invalid(np.asarray(values)[:, frame.columns])
    # The edges are projection coordinates already: cartopy's own method would wrap them once more.
    return Axes.pcolormesh(axes, frame.x_edges, frame.y_edges, values, cmap=colours, norm=norm,
                           shading="flat", antialiased=False, zorder=1, rasterized=True)


def panel_ratio(frame: Frame) -> float:
    """Width to height of a map panel."""
    return np.ptp(frame.x_limits) / (np.ptp(frame.y_limits) * frame.stretch)


def new_figure(width: float, height: float) -> Figure:
    """Figure of a size in mm."""
    return Figure(figsize=(width / MILLIMETRES_PER_INCH, height / MILLIMETRES_PER_INCH), dpi=DOTS_PER_INCH)


def place_axes(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
    """Axes at a place in mm from the lower left corner."""
    total_width, total_height = figure.get_size_inches() * MILLIMETRES_PER_INCH
    place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return figure.add_axes(place, **options)


def colour_bar(figure: Figure, mesh: QuadMesh, left: float, bottom: float, width: float, label: str, extend: str) -> None:
    """Horizontal colour bar at a place in mm."""
    low, high = mesh.get_clim()
    ticks = bar_ticks(low, high, width)
    if mesh.cmap is RAIN_COLOURS:
        ticks = [DRY_DAY, *(tick for tick in ticks if tick > DRY_DAY + 0.05 * (high - low))]
    bar = figure.colorbar(mesh, cax=place_axes(figure, left, bottom, width, 2.5), orientation="horizontal",
                          extend=extend, ticks=ticks, format="{x:g}" if mesh.cmap is RAIN_COLOURS else None)
    bar.set_label(label)


def bar_ticks(low: float, high: float, width: float) -> list[float]:
    """Round values of a colour bar so wide in mm: as many, up to six, as their labels have room for."""
    found: list[float] = []
    for count in range(2, 9):
        ticks = [float(tick) for tick in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
                 if low - 1e-9 <= tick <= high + 1e-9]
        digits = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
        letters = max((len(f"{tick:.{digits}f}") for tick in ticks), default=0)
        if len(found) < len(ticks) <= 6 and (len(ticks) <= 2 or len(ticks) * (1.4 * letters + 2.0) <= width):
            found = ticks
    return found


def write_title(figure: Figure, lines: list[str]) -> None:
    """Lines of a title, centred at the top."""
    height = figure.get_size_inches()[1] * MILLIMETRES_PER_INCH
    figure.text(0.5, 1 - 1.2 / height, "\n".join(lines), ha="center", va="top", fontsize=8.5)


def save_figure(path: str | Path, figure: Figure, caption: str) -> None:
    """Write a figure as PNG and PDF and its caption as text, each under a temporary name first; equal figures give equal files.

    Parameters
    ----------
    path : str or Path of the PNG
        The others stand beside it, ending in .pdf and .txt.
    figure : matplotlib.figure.Figure
    caption : str
        From `utils.captions.caption_of`.
    """
    path = Path(path)
    with replacing(path.with_suffix(".txt")) as temporary:
        temporary.write_text(caption, encoding="utf-8")
    for kind, metadata in FORMATS.items():
        with replacing(path.with_suffix(f".{kind}")) as temporary, matplotlib.rc_context(PAPER_STYLE):
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)


def panel_title(number: int, text: str) -> str:
    """A title behind the letter of a panel, counted from 0: "(a) observed"."""
    letters = chr(ord("a") + number % 26)
    return f"({letters * (1 + number // 26)}) {text}"


def wrap_title(title: str, width: float) -> list[str]:
    """Lines of a title in words (`utils.captions.in_words`), about equally long.

    They end behind commas where that takes no more lines; a number and its unit, a twin and its name stay together. A letter of
    8.5 points takes about 1.8 mm.
    """
    letters = int(width / 1.8)
    title = TOGETHER.sub("\N{NO-BREAK SPACE}", in_words(title))
    whole_phrases = " ".join(phrase.replace(" ", "\N{NO-BREAK SPACE}") for phrase in PHRASE.split(title))
    by_words, by_phrases = _equal_lines(title, letters), _equal_lines(whole_phrases, letters)
    fits = max(map(len, by_phrases)) <= letters and len(by_phrases) <= len(by_words)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in (by_phrases if fits else by_words)]


def _equal_lines(text: str, letters: int) -> list[str]:
    """As few lines as can be, as short as can be, broken at spaces only."""
    whole_words: dict = {"break_on_hyphens": False, "break_long_words": False}
    lines = textwrap.wrap(text, letters, **whole_words) or [""]
    longest = max(map(len, text.split(" ")))
    while len(lines) > 1 and letters > longest and len(textwrap.wrap(text, letters - 1, **whole_words)) == len(lines):
        letters -= 1
        lines = textwrap.wrap(text, letters, **whole_words)
    return lines


def _inner_ticks(low, high, count):
    """Round values not too near to the ends, where labels of neighbouring panels would meet; at least two."""
    margin = 0.05 * (high - low)
    while True:
        ticks = MaxNLocator(count, steps=[1, 2, 3, 5, 10]).tick_values(low, high)
        ticks = [float(tick) for tick in ticks if low + margin <= tick <= high - margin]
        if len(ticks) >= 2:
            return ticks
        count += 1


def degrees_text(value: float, positive: str, negative: str, decimals: int | None = None) -> str:
    """A latitude or longitude as it stands on a map: 30°N."""
    text = f"{abs(round(value, 6)):g}" if decimals is None else f"{abs(value):.{decimals}f}"
    if float(text) in (0.0, 180.0):
        return f"{text}°"
    return f"{text}°{positive if value > 0 else negative}"


def principal_longitude(lon: np.ndarray) -> float:
    """The same longitude in -180..180."""
    return (float(lon) + 180.0) % 360.0 - 180.0


def unit_text(unit: str) -> str:
    """Exponents of a unit raised: m3 m-3 -> m³ m⁻³."""
    return re.sub(r"(?<=[A-Za-z])-?\d", lambda exponent: exponent.group().translate(RAISED), unit)


def power_text(value: float) -> str:
    """A power of ten as it stands at an axis, in digits of a size that can be read: 0.001 -> 10⁻³."""
    return "10" + str(round(np.log10(value))).translate(RAISED)


def padded(low: float, high: float) -> tuple[float, float]:
    """The same range, or a narrow one around a constant."""
    return (low, high) if high - low > 1e-6 else (low - 0.005, high + 0.005)


def colour_range(values: np.ndarray, name: str = "") -> Normalize:
    """Range of the colours of a map, in which most values (SHOWN) are told apart.

    Parameters
    ----------
    values : float array
        NaN = not known; nothing known gives a range around 0.
    name : str
        Of the variable: precipitation begins at DRY_DAY.
    """
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, SHOWN) if known.size else (0.0, 0.0)
    if name == "precipitation":
        return Normalize(DRY_DAY, max(high, 10 * DRY_DAY))
    return Normalize(*padded(low, high))


def range_around_0(values: np.ndarray) -> Normalize:
    """Range of the colours of a map of differences, 0 in its middle; nothing known gives a narrow one."""
    known = np.abs(values[np.isfinite(values)])
    limit = padded(0.0, np.percentile(known, SHOWN_AROUND_0) if known.size else 0.0)[1]
    return Normalize(-limit, limit)


def range_of_scores(values: np.ndarray) -> Normalize:
    """As `range_around_0` for scores of which 1 is the best: whole tenths, 0.1 to 1."""
    limit = min(1.0, max(0.1, np.ceil(10 * range_around_0(values).vmax) / 10))
    return Normalize(-limit, limit)


def extension(values: np.ndarray, norm: Normalize) -> str:
    """Which ends of a colour bar need an arrow, because values lie beyond it; NaN does not."""
    known = values[np.isfinite(values)]
    below, above = (known.min() < norm.vmin, known.max() > norm.vmax) if known.size else (False, False)
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        bool(below), bool(above)]
