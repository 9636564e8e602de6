"""The page that describes a cube: holes, seasons, memory, and what the baselines score."""
from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator

from data_processing.cube import UNITS
from utils.captions import caption_of, in_words
from utils.figures import (
    BLUE,
    GAP_COLOUR,
    LOOKS,
    PAGE,
    PAPER_STYLE,
    SKILL_COLOURS,
    SKY_BLUE,
    SOIL_MOISTURE_COLOURS,
    VERMILLION,
    Look,
    colour_bar,
    colour_range,
    draw_cells,
    extension,
    map_axes,
    map_frame,
    new_figure,
    panel_ratio,
    panel_title,
    place_axes,
    range_of_scores,
    save_figure,
    time_axes,
    unit_text,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from utils.captions import Data
    from utils.predictability import Predictability

PAGE_HEIGHT = 277.0  # mm: A4 without its margins
TEXT_LETTERS = 128  # in a line of the page's text
NARROWEST_MAP = 30.0  # mm
OTHER_ROWS = 4 + 45 + 38 + 49 + 19 + 18  # mm of the page besides the two rows of maps, from top to bottom as they are drawn
SHARE_COLOURS = ListedColormap(matplotlib.colormaps["Purples"](np.linspace(0.15, 0.9, 256)), "share")  # none is not as pale as the sea
MEMORY_COLOURS = matplotlib.colormaps["cividis"].with_extremes(over=GAP_COLOUR)
VARIABLE_LINES = {"precipitation": SKY_BLUE, "soil_moisture": BLUE, "soil_temperature": VERMILLION}
LABELS = {name: in_words(name) for name in ("persistence", "damped_persistence", "climatology")} | {"cell_mean": "cell's mean"}
CELL_MEAN = Look("black", "-.", "")


class Description(NamedTuple):
    """Everything on the page. Seasons: variable -> float [12, 3], 10th percentile, mean and 90th of the land's daily means."""

    title: str
    said: list  # sentences
    time: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    land: np.ndarray
    observed_share: np.ndarray  # [H, W], of the days
    mean: np.ndarray  # [H, W], m3 m-3
    spread: np.ndarray  # [H, W], m3 m-3
    observed_on: dict  # variable -> [T], share of the land
    seasons: dict
    lags: tuple
    autocorrelation: dict  # what is departed from -> [lags]
    scores: Any  # utils.predictability.Predictability, or None


@matplotlib.rc_context(PAPER_STYLE)
def draw_description(path: Path, about: Description, data: Data) -> None:
    """Draw the page as PNG, PDF and caption.

    Parameters
    ----------
    path : Path of the PNG
    about : Description
    data : utils.captions.Data
    """
    figure = description_figure(about)
    shows = ("A cube before any training. (a) Share of the days on which soil moisture is observed, (b) its mean and (c) its standard "
             "deviation in time. (d) Share of the land that is observed on each day; variables that are observed alike share a line. "
             "(e) to (g) Means of the land by month, bands: 10th to 90th percentile of its days. "
             "(h) Autocorrelation of soil moisture in time, of departures from the mean of each cell and from its climatology.")
    n = None
    if about.scores is not None:
        scores, lead_time = about.scores, shown_lead(about.scores)
        n = next(row["n"] for row in scores.rows)
        shows += (f" (i) RMSE and (j) R² of forecasts that need no network, fitted on the days to {scores.last_history} and "
                  f"scored from {scores.first_test} to {scores.last_test}, n = {n:,}. (k) Days until less than 1/e of a departure is "
                  f"left (grey: more is left at all these lead times), (l) RMSE and (m) R² in time of damped persistence "
                  f"{lead_time} days ahead.")
    save_figure(path, figure, caption_of(shows, about.title, data, int(np.count_nonzero(about.land)), "land cells"))


def shown_lead(scores: Predictability) -> int:
    """Lead time of the maps: 7 days, or the nearest there is."""
    return min(scores.rmse, key=lambda lead_time: abs(lead_time - 7))


@matplotlib.rc_context(PAPER_STYLE)
def description_figure(about: Description) -> Figure:
    """Figure of `draw_description`."""
    figure = new_figure(PAGE, PAGE_HEIGHT)
    heads = wrap_title(about.title, PAGE)
    write_title(figure, heads)
    top = PAGE_HEIGHT - 3 - 4 * len(heads)
    text = [line for sentence in map(raised_units, about.said) for line in wrap_sentence(sentence, TEXT_LETTERS)]
    figure.text(12 / PAGE, top / PAGE_HEIGHT, "\n".join(text), va="top", linespacing=1.25)
    top -= 3.4 * len(text) + 4
    frame = map_frame(about.lat, about.lon)
    scored = about.scores is not None
    map_height = min((top - OTHER_ROWS) / 2, 46.0, 50.0 / panel_ratio(frame))
    width = max(map_height * panel_ratio(frame), NARROWEST_MAP)

    def map_row(bottom, first_panel, maps):
        for column, (title, values, colours, limits, label) in enumerate(maps):
            left = 12 + column * 60.5 + (50 - width) / 2
            if not np.isfinite(values).any():
                continue
            norm = limits or colour_range(values)
            axes = map_axes(figure, frame, left, bottom, width, map_height, label_latitudes=True)
            mesh = draw_cells(axes, frame, values, colours, norm)
            axes.set_title(panel_title(first_panel + column, title), loc="left")
            colour_bar(figure, mesh, left, bottom - 8, width, label, extension(values, norm))
            if norm.vmax == 100:
                figure.axes[-1].set_xticks(range(0, 101, 25))

    complete = np.all(about.observed_share[about.land] == 1)
    share = 100 * np.where(about.land, about.observed_share, np.nan)
    top -= 4 + map_height
    map_row(top, 0, ((f"days observed{': all' if complete else ''}", share, SHARE_COLOURS, Normalize(0, 100), "share (%)"),
                     ("mean", about.mean, SOIL_MOISTURE_COLOURS, None, "soil moisture (m³ m⁻³)"),
                     ("standard deviation in time", about.spread, "cividis", None, "standard deviation (m³ m⁻³)")))
    top -= 19 + 26
    axes = time_axes(figure, 16, top, PAGE - 20, 22, about.time)
    for names in equal_series(about.observed_on):
        axes.plot(about.time, 100 * about.observed_on[names[0]], color=VARIABLE_LINES[names[0]] if len(names) == 1 else "0.2",
                  linewidth=1.0, label=", ".join(map(in_words, names)))
    axes.set(ylim=(-3, 103), ylabel="land (%)", yticks=range(0, 101, 25))
    axes.set_title(panel_title(3, "share of the land that is observed on each day"), loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=3, borderaxespad=0.1)
    top -= 14 + 24
    for column, (name, months) in enumerate(about.seasons.items()):
        axes = place_axes(figure, 16 + column * 61, top, 48, 24)
        axes.fill_between(range(1, 13), months[:, 0], months[:, 2], color=VARIABLE_LINES[name], alpha=0.2, linewidth=0)
        axes.plot(range(1, 13), months[:, 1], color=VARIABLE_LINES[name], linewidth=1.2, marker=".")
        axes.set_xticks(range(1, 13), "JFMAMJJASOND")
        axes.set_xlim(0.5, 12.5)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
        axes.set_title(panel_title(4 + column, f"{in_words(name)} ({unit_text(UNITS[name])})"), loc="left")
    top -= 13 + 36
    lines(figure, top, about)
    if scored:
        lead_time = shown_lead(about.scores)
        top -= 19 + map_height
        longest = max(about.scores.rmse)
        r2 = about.scores.r2[lead_time]
        memory = np.minimum(about.scores.memory, longest + 1)
        beyond = f" (grey: over {longest} days)" if np.any(memory > longest) else ""
        map_row(top, 10, (("memory" + beyond, memory, MEMORY_COLOURS,
                           Normalize(0, longest), "days until < 1/e is left"),
                          (f"RMSE, {lead_time} days", about.scores.rmse[lead_time], "cividis", None, "RMSE of damped persistence (m³ m⁻³)"),
                          (f"R² in time, {lead_time} days", r2, SKILL_COLOURS, range_of_scores(r2), "R² of damped persistence")))
    return figure


def equal_series(series: dict[str, np.ndarray]) -> list[list[str]]:
    """Names of the series that are drawn as one line, because their values are the same."""
    groups: list[list[str]] = []
    for name, values in series.items():
        same = [group for group in groups if np.array_equal(values, series[group[0]], equal_nan=True)]
        if same:
            same[0].append(name)
        else:
            groups.append([name])
    return groups


def raised_units(sentence: str) -> str:
    """A sentence of the terminal as figures write it: R² −0.1, m³ m⁻³; what stands in quotation marks is the file's own."""
    sentence = re.sub(r"(?<=[ (])-(?=\d)", "−", sentence)
    return re.sub(r"(?<!')\b(?:m3 m-3|mm d-1|R2)\b", lambda found: unit_text(found.group()), sentence)


def lines(figure: Figure, bottom: float, about: Description) -> None:
    """Autocorrelation, RMSE and R2 by lead time, side by side."""
    axes = place_axes(figure, 16, bottom, 44, 36)
    for (name, values), style in zip(about.autocorrelation.items(), ("-", "--")):
        axes.plot(about.lags, values, color="0.2", linestyle=style, label=f"from {name}")
    axes.axhline(np.exp(-1), color="0.7", linewidth=0.6)
    axes.text(0.99 * max(about.lags), np.exp(-1) + 0.01, "1/e", color="0.4", ha="right", va="bottom")
    axes.set(ylim=(min(0, *(np.nanmin(values, initial=0) for values in about.autocorrelation.values())) - 0.03, 1.03),
             xlim=(0, max(about.lags) + 1), xlabel="lag (days)")
    axes.set_title(panel_title(7, "autocorrelation of departures"), loc="left")
    legend_below(figure, axes, bottom, 38, ncols=2)
    if about.scores is None:
        return
    rows = about.scores.rows
    lead_times = sorted({row["lead_time"] for row in rows})
    for column, (key, label) in enumerate((("rmse", "RMSE (m³ m⁻³)"), ("r2", "R²"))):
        axes = place_axes(figure, 77 + column * 61, bottom, 44, 36)
        for name, called in LABELS.items():
            look = LOOKS.get(name, CELL_MEAN)
            values = {row["lead_time"]: row[key] for row in rows if row["forecaster"] == name}
            if len(values) == 1:
                axes.axhline(*values.values(), color=look.colour, linestyle=look.line, linewidth=1.0, label=called)
            elif values:
                axes.plot(list(values), list(values.values()), color=look.colour, linestyle=look.line, linewidth=1.3, label=called,
                          marker="." if len(values) < 4 else None)
        axes.set(xlim=(0, max(lead_times) + 1), xlabel="lead time (days)")
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        axes.set_ylim(bottom=0) if key == "rmse" else axes.set_ylim(top=1)
        axes.set_title(panel_title(8 + column, label), loc="left")
        if column == 0:
            legend_below(figure, axes, bottom, 132, ncols=4)


def legend_below(figure: Figure, axes: Axes, bottom: float, centre: float, ncols: int) -> None:
    """The legend of axes whose lower end is `bottom`, under the label of their axis, where it lies on no curve; mm."""
    figure.legend(*axes.get_legend_handles_labels(), loc="upper center", ncols=ncols, borderaxespad=0, columnspacing=1.2,
                  bbox_to_anchor=(centre / PAGE, (bottom - 8) / PAGE_HEIGHT))


def wrap_sentence(sentence: str, letters: int) -> list[str]:
    """Lines of a sentence, a dash before the first; a number and its % stay together."""
    lines = textwrap.wrap(sentence.replace(" %", "\N{NO-BREAK SPACE}%"), letters, initial_indent="- ", subsequent_indent="  ")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
