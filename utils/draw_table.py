"""The figures of the paper's table: scatter panel, maps of the gain by transfer, skill with its intervals."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize

from data_processing.arrays import in_turn, pieces, scratch_array
from utils.captions import caption_of, in_words, lead_text, percent_text
from utils.draw_run import draw_density, pair_line
from utils.figures import (
    BLUE,
    COLUMN,
    COLUMN_AND_HALF,
    GREEN,
    LOOKS,
    PAGE,
    PAPER_STYLE,
    PURPLE,
    SKILL_COLOURS,
    TOLD,
    VERMILLION,
    colour_bar,
    draw_cells,
    extension,
    map_axes,
    map_frame,
    new_figure,
    panel_ratio,
    panel_title,
    place_axes,
    save_figure,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from utils.captions import Data
    from utils.tables import StudyRun

# Colour of each network and marker of each head, where networks are compared; full: ours, hollow: the paper's.
NETWORK_COLOURS = {"convlstm": BLUE, "lstm": VERMILLION, "cnn": GREEN, "conv3d_lstm": PURPLE}
HEAD_MARKERS = {"local": "o", "dense": "s", "conv": "D"}
HIGHEST = 240.0  # mm, of a figure on a journal's page
LARGEST_GAIN = 0.3  # of the colour scale
LOWEST_SKILL = -0.5  # of the axis: where a form is worse, its number stands at the edge


def read_values(run: StudyRun, lead_time: int) -> tuple[np.ndarray, ...]:
    """Forecast and observation of a run at a lead time, float32 [I, H, W], and its latitudes and longitudes."""
    found = []
    with xr.open_dataset(run.folder / "forecast.nc") as dataset:
        chosen = dataset.sel(lead_time=np.timedelta64(lead_time, "D") if dataset.lead_time.dtype.kind == "m" else lead_time)
        for name in ("forecast", "observed"):
            values = scratch_array(chosen[name].shape)
            for days in pieces(values):
                values[days] = chosen[name][days].values
            found.append(values)
        return *found, dataset["lat"].values, dataset["lon"].values


def columns_of(forms: int, lead_times: int) -> int:
    """Panels side by side: a row for each of a few forms at several lead times, else four to a row."""
    return lead_times if 3 <= lead_times <= 4 and forms <= 6 else 4


@matplotlib.rc_context(PAPER_STYLE)
def draw_scatters(path: Path, runs: list[StudyRun], lead_times: Sequence[int], title: str, data: Data | None = None) -> None:
    """Density scatter of every form at every lead time, transferred where it can be, with the 1:1 line."""
    shown = best_trained(runs)
    panels = [(form, lead_time, of_lead[lead_time]) for form, of_lead in shown.items() for lead_time in lead_times if lead_time in of_lead]
    columns = min(columns_of(len(shown), len(lead_times)), len(panels))
    rows = -(-len(panels) // columns)
    width = (COLUMN, COLUMN_AND_HALF, PAGE, PAGE)[columns - 1]
    lines = wrap_title(f"Forecast against observed soil moisture, {title}", width)
    left, right, bottom, above, top = 14.0, 19.0, 12.0, 9.0, 1.0 + 4.0 * len(lines)
    across = (width - left - right + 5.0) / columns  # from panel to panel
    side = min(40.0, across - 5.0, (HIGHEST - bottom - top) / rows - above)
    figure = new_figure(width, bottom + rows * (side + above) + top)
    norm, densities, drawn = LogNorm(vmin=1), [], 0
    first = panels[0][2]
    observed = read_values(first, first.lead_times[0])[1]
    limits = 0.0, np.ceil(10 * max(np.nanmax(observed[days], initial=0.0) for days in pieces(observed))) / 10
    for panel, (form, lead_time, run) in enumerate(panels):
        row, column = divmod(panel, columns)
        forecast, observed, *_ = read_values(run, lead_time)
        axes = place_axes(figure, left + column * across, bottom + (rows - 1 - row) * (side + above), side, side)
        densities.append(draw_density(axes, observed, forecast, limits, 45, norm))
        axes.plot(limits, limits, color="black", linestyle="--", linewidth=0.7)
        line = pair_line(observed, forecast)
        drawn = max(drawn, line.n)
        axes.text(0.04, 0.96, f"RMSE {line.rmse:.4f}\nR² {line.r2:.3f}", transform=axes.transAxes, va="top", fontsize=7)
        ticks = np.arange(0, limits[1] + 0.01, 0.1 if limits[1] < 0.5 else 0.2)
        axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks)
        lowest = panel + columns >= len(panels)
        axes.tick_params(labelleft=column == 0, labelbottom=lowest)
        axes.set_title(f"{panel_title(panel, in_words(form))}\n{run.training}, {lead_text((lead_time,))}", loc="left", fontsize=7.5)
        axes.set(xlabel="observed (m³ m⁻³)" if lowest else "", ylabel="forecast (m³ m⁻³)" if column == 0 else "")
    norm.vmax = max(density.get_array().max() for density in densities)  # one range for all panels
    place_of_bar = left + (columns - 1) * across + max(side, min(36.0, across - 5.0)) + 3  # beside the last panel and its title
    bar = figure.colorbar(densities[0], cax=place_axes(figure, place_of_bar, bottom, 2.5, rows * (side + above) - above))
    bar.set_label("values per hexagon")
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")  # exponents would be too small to read
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "Forecast against observed surface soil moisture of all land cells and test days, a panel for each network and lead time; "
        "colour: number of values in a hexagon, one range for all panels; dashed: 1:1.", title, data, drawn, "values in a panel"))


def best_trained(runs: list[StudyRun]) -> dict[str, dict[int, StudyRun]]:
    """dict form -> dict lead time -> its transferred run, or that from scratch where there is none."""
    shown = {}
    for run in sorted((run for run in runs if run.folder is not None and run.training in ("scratch", "transferred")),
                      key=lambda run: run.training != "scratch"):
        for lead_time in run.lead_times:
            shown.setdefault(run.form, {})[lead_time] = run
    return shown


@matplotlib.rc_context(PAPER_STYLE)
def draw_gain(path: Path, runs: list[StudyRun], lead_times: Sequence[int], title: str, data: Data | None = None) -> None:
    """Maps of 1 - MSE transferred / MSE from scratch; forms that cannot be transferred have none."""
    folders = {(run.form, run.training, lead): run for run in runs if run.folder is not None for lead in run.lead_times}
    forms = [form for form in dict.fromkeys(run.form for run in runs)
             if any((form, "transferred", lead) in folders for lead in lead_times)]
    if not forms:
        return
    first = next(run for run in runs if run.folder is not None)
    _, _, lat, lon = read_values(first, first.lead_times[0])
    frame = map_frame(lat, lon)
    panels = [(form, lead_time) for form in forms for lead_time in lead_times if (form, "transferred", lead_time) in folders]
    columns = min(columns_of(len(forms), len(lead_times)), max(2, len(panels)))
    rows = -(-len(panels) // columns)
    lines = wrap_title(f"Gain by transfer, {title}", PAGE)
    left, gap, bottom, above, top = 14.0, 6.0, 19.0, 13.0, 4.0 * len(lines) - 3.0
    across = (PAGE - left - 4 + gap) / columns
    height = min((across - gap) / panel_ratio(frame), (HIGHEST - bottom - top) / rows - above)
    width = height * panel_ratio(frame)
    figure = new_figure(PAGE, bottom + rows * (height + above) + top)
    norm, gains = Normalize(-LARGEST_GAIN, LARGEST_GAIN), []
    for panel, (form, lead_time) in enumerate(panels):
        row, column = divmod(panel, columns)
        errors = []
        for training in ("transferred", "scratch"):
            forecast, observed, *_ = read_values(folders[form, training, lead_time], lead_time)
            errors.append(np.zeros(forecast.shape[1:]))
            for day in in_turn(forecast, observed):
                errors[-1] += np.nan_to_num((forecast[day] - observed[day]) ** 2)
        gain = 1 - np.divide(errors[0], errors[1], out=np.full(errors[0].shape, np.nan), where=errors[1] > 0)
        axes = map_axes(figure, frame, left + column * across, bottom + (rows - 1 - row) * (height + above), width, height,
                        label_latitudes=column == 0)
        mesh = draw_cells(axes, frame, gain, SKILL_COLOURS, norm)
        gains.append(gain)
        whole = f"{100 * (1 - errors[0].sum() / errors[1].sum()):+.1f}".replace("-", "−")
        better = percent_text(np.mean(gain[np.isfinite(gain)] > 0))
        axes.set_title(f"{panel_title(panel, in_words(form))}, {lead_text((lead_time,))}\n"
                       f"gain {whole} %, better in {better}", loc="left", fontsize=7)
    colour_bar(figure, mesh, left + 20, 9.0, PAGE - left - 44, "1 − MSE transferred / MSE from scratch",
               extension(np.array(gains), norm))
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "What transfer gains in each cell over the test days, 1 − MSE transferred / MSE from scratch: blue where the pre-trained network "
        "is better, red where it is worse, one range for all panels; above each panel the "
        "gain in the whole and the share of cells that gain.", title, data, int(np.isfinite(gain).sum()), "cells"))


@matplotlib.rc_context(PAPER_STYLE)
def draw_gain_by_region(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Gain by transfer of every form on every part of the record, a panel for each lead time.

    rows : list of dict, from `utils.gain_by_region.gain_rows`.
    data : utils.captions.Data, optional
    """
    lead_times = sorted({row["lead_time"] for row in rows})
    parts, forms = (list(dict.fromkeys(row[name] for row in rows)) for name in ("region", "form"))
    legend_rows = -(-len(forms) // 4)
    left, gap, bottom = 24.0, 4.0, 12.0 + 4 * legend_rows
    width, height = (PAGE - left - 4) / len(lead_times) - gap, 5.5 * len(parts)
    lines = wrap_title(f"Where transfer helps, {title}", PAGE)
    total = bottom + height + 6 + 4 * len(lines)
    figure = new_figure(PAGE, total)
    for column, lead_time in enumerate(lead_times):
        axes = place_axes(figure, left + column * (width + gap), bottom, width, height)
        for form in forms:
            network, head = form.rsplit("-", 1)
            colour = NETWORK_COLOURS[network]
            chosen = [row for row in rows if (row["form"], row["lead_time"]) == (form, lead_time)]
            axes.plot([100 * row["gain_by_transfer"] for row in chosen],
                      [len(parts) - 1 - parts.index(row["region"]) for row in chosen], linestyle="none", marker=HEAD_MARKERS[head],
                      markersize=4, color=colour, markerfacecolor=colour if head == "local" else "white", label=in_words(form))
        axes.axvline(0, color="0.5", linewidth=0.7)
        axes.set(title=panel_title(column, f"{lead_text((lead_time,))} ahead"), ylim=(-0.7, len(parts) - 0.3))
        axes.set_yticks(range(len(parts)), parts[::-1] if column == 0 else [""] * len(parts))
    figure.text(left / PAGE, (bottom - 9) / total,
                "gain, 1 − MSE transferred / MSE from scratch (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", ncols=4, borderaxespad=0.2)
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "What transfer gains on parts of the record, 1 − MSE transferred / MSE from scratch, a panel for each lead time.", title, data))


@matplotlib.rc_context(PAPER_STYLE)
def draw_skill(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Skill of every network against damped persistence with its 95 % interval, by lead time."""
    lead_times = sorted({row["lead_time"] for row in rows})
    forms = list(dict.fromkeys(row["form"] for row in rows if row["training"]))
    trainings = list(dict.fromkeys(row["training"] for row in rows if row["training"]))
    left, gap, bottom = 34.0, 5.0, 16.0
    width = (PAGE - left - 4) / len(lead_times) - gap
    height = min(3.6 * len(trainings) + 2, 200 / len(forms)) * len(forms)
    shifts = np.linspace(0.25, -0.25, len(trainings)) if len(trainings) > 1 else [0.0]
    lines = wrap_title(f"Skill against damped persistence, {title}", PAGE)
    figure = new_figure(PAGE, bottom + height + 7 + 4 * len(lines))
    for column, lead_time in enumerate(lead_times):
        axes = place_axes(figure, left + column * (width + gap), bottom, width, height)
        for training, shift in zip(trainings, shifts):
            look = LOOKS.get(training, TOLD)
            chosen = [row for row in rows if row["training"] == training and row["lead_time"] == lead_time and "rmse" in row]
            places = np.array([len(forms) - 1 - forms.index(row["form"]) for row in chosen]) + shift
            skill = np.array([row["skill_damped_persistence"] for row in chosen])
            ends = np.array([[row["skill_low"], row["skill_high"]] for row in chosen]).reshape(-1, 2).T
            axes.errorbar(skill, places, xerr=np.abs(ends - skill), fmt=look.marker, color=look.colour, markersize=3, linewidth=1,
                          label="from scratch" if training == "scratch" else training)
            for place, value in zip(places, skill):
                if value < LOWEST_SKILL:
                    axes.annotate(f"◂ {value:.1f}".replace("-", "−"), (0.02, place), xycoords=("axes fraction", "data"),
                                  color=look.colour, va="center", fontsize=7)
        for row in rows:
            if row["form"] == "ceiling" and row["lead_time"] == lead_time:
                axes.axvline(row["skill_damped_persistence"], color="black", linestyle=":", linewidth=0.9, label="ceiling")
        axes.axvline(0, color="0.5", linewidth=0.7)
        axes.set(title=panel_title(column, f"{lead_text((lead_time,))} ahead"), ylim=(-0.6, len(forms) - 0.4))
        highest = max(row["skill_high"] for row in rows if row["lead_time"] == lead_time and "rmse" in row)
        axes.set_xlim(max(axes.get_xlim()[0], LOWEST_SKILL), max(highest, 0.0) + 0.05)
        axes.locator_params(axis="x", nbins=5)
        axes.set_yticks(range(len(forms)), [in_words(form) for form in forms[::-1]] if column == 0 else [""] * len(forms))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", ncols=3, borderaxespad=0.2)
    figure.text(left / PAGE, 6.5 / (bottom + height + 7 + 4 * len(lines)),
                "skill: 1 − MSE / MSE of damped persistence; bars: 95 %")
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "Skill of every network, 1 − MSE / MSE of damped persistence on the same values, with its 95 % interval from a bootstrap over "
        "blocks of days (and over members), a panel for each lead time; dotted: the ceiling, where it is known.", title, data,
        max(row["n"] for row in rows if "n" in row), "values of a member at each lead time"))
