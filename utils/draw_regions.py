"""The figures of where it helps: skill by part of the record, events, power by wavelength."""
from __future__ import annotations

import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.ticker import FixedLocator, LogLocator

from utils.captions import caption_of, in_words, lead_text
from utils.figures import (
    COLUMN,
    MILLIMETRES_PER_INCH,
    PAPER_STYLE,
    look_of,
    new_figure,
    panel_title,
    place_axes,
    power_text,
    save_figure,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from utils.captions import Data


SIZE_OF_STAR = 5.5  # points: as large to the eye as other markers of 4
LETTERS_OF_NOTE = 58  # in a line of a figure of one column
KM_TICKS = tuple(factor * 10 ** power for power in range(5) for factor in (1, 2, 5))
KM_ENDS = tuple(factor * 10 ** power for power in range(5) for factor in (1, 1.5, 2, 3, 4, 5, 7))
LEAST_SKILLS = 0.1  # that an axis spans: smaller differences are none


def legend_size(forecasters: Collection[str], most: int) -> tuple[int, float]:
    """Columns of a legend, so many as a figure of one column has room for and at most `most`, and its height in mm.

    A letter takes about 1.4 mm, a marker and the space around it 10.
    """
    longest = max((len(in_words(name)) for name in forecasters), default=0)
    columns = max(1, min(most, int(COLUMN // (10 + 1.4 * longest))))
    return columns, 4.0 * -(-len(forecasters) // columns)


@matplotlib.rc_context(PAPER_STYLE)
def draw_regions(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Skill against damped persistence on every part of the record, at the longest lead time."""
    model = rows[0]["forecaster"]
    lead_time = max(row["lead_time"] for row in rows)
    parts = list(dict.fromkeys(row["region"] for row in rows))
    lines = wrap_title(f"Where it helps, {title}", COLUMN)
    shown = [name for name in (model, "water_balance", "ceiling") if any(row["forecaster"] == name for row in rows)]
    columns, legend_height = legend_size(shown, 3)
    left, bottom, height = 24.0, 12.0 + legend_height, 5.5 * len(parts)
    figure = new_figure(COLUMN, bottom + height + 2.5 + 4 * len(lines))
    axes = place_axes(figure, left, bottom, COLUMN - left - 4, height)
    places = {part: len(parts) - 1 - number for number, part in enumerate(parts)}
    for name in shown:
        look = look_of(name)
        chosen = [row for row in rows if row["forecaster"] == name and row["lead_time"] == lead_time]
        axes.plot([row["skill_damped_persistence"] for row in chosen], [places[row["region"]] for row in chosen],
                  linestyle="none", marker=look.marker, markersize=SIZE_OF_STAR if look.marker == "*" else 4,
                  color=look.colour, label=in_words(name))
    axes.axvline(0, color="0.5", linewidth=0.7)
    low, high = axes.get_xlim()
    widening = max(0.0, LEAST_SKILLS - (high - low)) / 2
    axes.set_xlim(low - widening, high + widening)
    axes.set_yticks(list(places.values()), list(places))
    axes.set(ylim=(-0.7, len(parts) - 0.3), xlabel=f"skill against damped persistence, {lead_text((lead_time,))}")
    figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=columns, borderaxespad=0.2)
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        f"Skill, 1 − MSE / MSE of damped persistence, {lead_text((lead_time,))} ahead, on parts of the record (seasons, frost, wetness, "
        "regions): above 0 better than damped persistence. Persistence and climatology stand in regions.csv.", title, data,
        max(row["n"] for row in rows), "values in all"))


@matplotlib.rc_context(PAPER_STYLE)
def draw_events(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Hit rate against false alarm ratio of every forecaster, for dry and wet days, at the longest lead time."""
    lead_time = max(row["lead_time"] for row in rows)
    model = rows[0]["forecaster"]
    shown = [row for row in rows if row["lead_time"] == lead_time and "_seed" not in row["forecaster"]]
    kinds = "dry", "wet"
    drawn, absent = forecasters_of_events(shown)
    note = textwrap.wrap(f"never, or too seldom, forecast by: {', '.join(map(in_words, absent))}", LETTERS_OF_NOTE) if absent else []
    lines = wrap_title(f"Dry and wet events, {title}", COLUMN)
    columns, legend_height = legend_size(drawn, 2)
    left, bottom, side, gap = 13.0, 12.0 + legend_height + 3.2 * len(note), 32.0, 9.0
    figure = new_figure(COLUMN, bottom + side + 6 + 4 * len(lines))
    for panel, event in enumerate(kinds):
        axes = place_axes(figure, left + panel * (side + gap), bottom, side, side)
        for row in (row for row in shown if row["event"] == event and row["forecaster"] in drawn):
            look, own = look_of(row["forecaster"]), row["forecaster"] == model
            axes.plot(row["false_alarm_ratio"], row["hit_rate"], marker=look.marker, linestyle="none", color=look.colour,
                      markersize=SIZE_OF_STAR if look.marker == "*" else 4.5, markerfacecolor=look.colour if own else "none",
                      markeredgewidth=0.9, label=in_words(row["forecaster"]), clip_on=False)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="false alarm ratio", ylabel="hit rate" if panel == 0 else "")
        axes.set_title(panel_title(panel, f"{event} days"), loc="left", fontsize=7.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower center", ncols=columns, borderaxespad=0.3,
                  bbox_to_anchor=(0.5, 3.2 * len(note) / (figure.get_size_inches()[1] * MILLIMETRES_PER_INCH)))
    figure.text(0.5, 0.005, "\n".join(note), ha="center", va="bottom", fontsize=7)
    write_title(figure, lines)
    dry, wet = (max(row["observed"] for row in shown if row["event"] == event) for event in kinds)
    ceiling = ", the ceiling too," if any(row["forecaster"] == "ceiling" for row in shown) else ""
    save_figure(path, figure, caption_of(
        "How well days below the 10th and above the 90th percentile of what was observed in their cell before the test are forecast "
        f"{lead_text((lead_time,))} ahead: share of them that is forecast against share of the forecasts that is wrong; the further to the "
        "upper left the better. "
        "An event is forecast where the mean forecast lies beyond the percentile, which a mean, damped the more the further ahead, seldom "
        f"does: the fair measure of {model} is its probability, which follows from its spread (Brier score of events.csv). A forecaster "
        "without a marker never, or too seldom, forecasts an event. The Brier scores do not compare between forecasters: all "
        f"others{ceiling} are scored by that yes or no.", title, data, dry, f"dry and {wet:,} wet observed events"))


def forecasters_of_events(rows: list[dict]) -> tuple[list[str], list[str]]:
    """Names of those that have a place in the figure of events, and of those that have none: too few forecast events, or observed."""
    names = list(dict.fromkeys(row["forecaster"] for row in rows))
    placed = {row["forecaster"] for row in rows if np.isfinite(row["false_alarm_ratio"] + row["hit_rate"])}
    return [name for name in names if name in placed], [name for name in names if name not in placed]


@matplotlib.rc_context(PAPER_STYLE)
def draw_spectrum(path: Path, rows: list[dict], title: str, data: Data | None = None, days: int | None = None) -> None:
    """Power of forecast and observation by wavelength, km, at the longest lead time; a mean over so many days."""
    lead_time = max(row["lead_time"] for row in rows)
    names = list(dict.fromkeys(row["forecaster"] for row in rows))
    lines = wrap_title(f"Detail, {title}", COLUMN)
    figure = new_figure(COLUMN, 66 + 4 * len(lines))
    axes = place_axes(figure, 18.0, 11.0, COLUMN - 23.0, 51.0)
    for name in names:
        chosen = [row for row in rows if row["forecaster"] == name and row["lead_time"] == lead_time]
        look = look_of(name)
        axes.plot([row["wavelength_km"] for row in chosen], [row["power"] for row in chosen], color=look.colour,
                  linestyle=look.line, linewidth=1.2, label=in_words(name))
    axes.set(xscale="log", yscale="log", xlabel="wavelength (km), from long to short →",
             ylabel="power per square of the wavenumber\n((m³ m⁻³)² per (cycles per cell)²)")
    lengths = [row["wavelength_km"] for row in rows]
    ticks = wavelength_ticks(min(lengths), max(lengths))
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter("{x:,.12g}")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(lambda value, place: power_text(value))  # matplotlib's exponents would be too small to read
    axes.minorticks_off()
    axes.legend()
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        f"Mean power of the maps of departures from the mean of each cell (in time), {lead_text((lead_time,))} ahead, by wavelength (km in "
        "the middle of the map), from long to short. Power: squared modulus of the Fourier transform of the map, tapered to its edges, per "
        "cell; that is (m³ m⁻³)² per square of the wavenumber in cycles per cell. Where a forecast lies below the observation, it is "
        "smoother.", title, data, days, "days"))


def wavelength_ticks(shortest: float, longest: float) -> list[float]:
    """Ticks of an axis of wavelengths, km, from long to short: round ones, the first and the last of which enclose all wavelengths."""
    first = min((end for end in KM_ENDS if end >= longest), default=longest)
    last = max((end for end in KM_ENDS if end <= shortest), default=shortest)
    apart = 0.08 * np.log(first / last)
    inner = [tick for tick in KM_TICKS[::-1] if np.log(first / tick) > apart and np.log(tick / last) > apart]
    return [first, *inner, last]
