"""The figure of the learning curve."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from utils.captions import caption_of, in_words, lead_text
from utils.figures import LOOKS, PAGE, PAPER_STYLE, new_figure, panel_title, place_axes, save_figure, wrap_title, write_title

if TYPE_CHECKING:
    from utils.captions import Data

NETWORKS = {"scratch": "from scratch", "zero-shot": "zero-shot", "fine-tuned": "fine-tuned",
            "with forecast": "fine-tuned, with a weather forecast", "observed weather (bound)": "observed weather (bound)"}
BASELINES = ("persistence", "damped_persistence", "climatology", "water_balance", "damped_persistence_of_all_days")
LABELS = NETWORKS | {name: in_words(name) for name in BASELINES}
LEGEND_COLUMNS = 4
CAP = 1.05  # end of the axis by the highest error of those that are not trained from scratch: these would hide all others
LETTER = 1.6  # mm, of a tick's label, the space to its neighbour included


def on_log_axis(values: Sequence[float], width: float) -> tuple[np.ndarray, tuple[float, float]]:
    """Places of ascending values on a logarithmic axis, mm from its left end, and the limits of the axis: margins of 5 %."""
    exponents = np.log(values)
    margin = 0.05 * max(np.ptp(exponents), 0.1)
    low, high = exponents[0] - margin, exponents[-1] + margin
    return width * (exponents - low) / (high - low), (np.exp(low), np.exp(high))


def in_two_rows(labels: list[str], places: np.ndarray) -> list[str]:
    """Labels of an axis at ascending places in mm; one that would touch that before it in the upper row goes into the lower one."""
    found, last = [], (-np.inf, "")
    for label, place in zip(labels, places):
        if place - last[0] < LETTER * (len(label) + len(last[1]) + 1) / 2:
            found.append("\n" + label)
        else:
            found.append(label)
            last = place, label
    return found


def error_limits(rows: list[dict]) -> tuple[tuple[float, float], dict[int, float]]:
    """Limits of the axes of errors, m3 m-3, and by lead time the highest error from scratch where it goes beyond them."""
    shown = [row for row in rows if row["forecaster"] in LABELS]
    scratch = {row["lead_time"]: 0.0 for row in shown}
    for row in shown:
        if row["forecaster"] == "scratch":
            scratch[row["lead_time"]] = max(scratch[row["lead_time"]], row["rmse"])
    others = max((row["rmse"] for row in shown if row["forecaster"] != "scratch"), default=max(scratch.values()))
    top = min(CAP * others, max(others, *scratch.values()) + 0.003)
    return (min(row["rmse_low"] for row in shown) - 0.001, top), {lead: highest for lead, highest in scratch.items() if highest > top}


@matplotlib.rc_context(PAPER_STYLE)
def draw_learning_curve(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """RMSE against the number of target days, a panel for each lead time; shaded: 95 % intervals.

    Parameters
    ----------
    path : Path
    rows : list of dict
        From `utils.learning.score_learning_runs`.
    title : str
    data : utils.captions.Data, optional
    """
    lead_times = sorted({row["lead_time"] for row in rows})
    lengths = sorted({row["train_days"] for row in rows}, key=lambda days: days or np.inf)
    all_days = 1.45 * max(days for days in lengths) if any(lengths) else 365  # where "all" stands on the axis
    left, gap, height = 15.0, 13.0, 58.0
    width = (PAGE - left - 3.0 - gap * (len(lead_times) - 1)) / len(lead_times)
    places, x_limits = on_log_axis([days or all_days for days in lengths], width)
    labels = in_two_rows([str(days or "all") for days in lengths], places)
    bottom = 14.0 if any("\n" in label for label in labels) else 11.0
    lines = wrap_title(f"What target days are worth: {title}", PAGE)
    shown = {row["forecaster"] for row in rows} & set(LABELS)
    legend_rows = -(-len(shown) // LEGEND_COLUMNS)
    y_limits, beyond = error_limits(rows)
    total = bottom + height + 9 + 4 * (legend_rows + len(lines) + bool(beyond))
    figure = new_figure(PAGE, total)
    for panel, lead_time in enumerate(lead_times):
        axes = place_axes(figure, left + panel * (width + gap), bottom, width, height)
        for name, label in LABELS.items():
            (colour, style, marker), network = LOOKS[name], name in NETWORKS
            chosen = [row for days in lengths for row in rows
                      if (row["forecaster"], row["lead_time"], row["train_days"]) == (name, lead_time, days)]
            if not chosen:
                continue
            x = [row["train_days"] or all_days for row in chosen]
            axes.plot(x, [row["rmse"] for row in chosen], color=colour, linestyle=style, marker=marker if network else "",
                      linewidth=1.4 if network else 1.0, label=label,
                      **{"markersize": 6.0, "markerfacecolor": "none"} if name == "zero-shot" else {"markersize": 3.5})  # around others
            if network:
                axes.fill_between(x, [row["rmse_low"] for row in chosen], [row["rmse_high"] for row in chosen], color=colour,
                                  alpha=0.13, linewidth=0)
        axes.set_xscale("log")
        axes.set_xlim(x_limits)
        axes.set_xticks([days or all_days for days in lengths], labels)
        axes.minorticks_off()
        axes.set_title(panel_title(panel, f"{lead_text((lead_time,))} ahead"), pad=13 if beyond else 3)
        axes.set(xlabel="target days",
                 ylabel="RMSE (m³ m⁻³)" if panel == 0 else "")
        axes.set_ylim(y_limits)
        if lead_time in beyond:
            axes.text(0.5, 1.01, f"↑ from scratch: up to {beyond[lead_time]:.3f}", transform=axes.transAxes, fontsize=7,
                      color=LOOKS["scratch"].colour, ha="center", va="bottom")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper center", ncols=LEGEND_COLUMNS,
                  bbox_to_anchor=(0.5, 1 - (1 + 4.2 * len(lines)) / total))
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "Root mean square error against the number of target days that may be learned from (logarithmic; \"all\": the whole training "
        "period), a panel for each lead time; networks with 95 % intervals from a bootstrap over blocks of days (bands), on cells that "
        "are observed often enough in those days."
        + (" Arrows: networks trained from scratch go beyond the axis, up to the number beside." if beyond else ""), title, data,
        max(row["n"] for row in rows), "values at most behind a point"))
