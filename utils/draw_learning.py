"""The figure of the learning curve."""
from __future__ import annotations

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


LETTER = 1.6  # mm, of a tick's label, the space to its neighbour included


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
    left, gap, bottom, height = 15.0, 13.0, 14.0, 58.0
    width = (PAGE - left - 3.0 - gap * (len(lead_times) - 1)) / len(lead_times)
    lines = wrap_title(f"What target days are worth: {title}", PAGE)
    figure = new_figure(PAGE, bottom + height + 17 + 4 * len(lines))
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
                      markersize=3.5, linewidth=1.4 if network else 1.0, label=label)
            if network:
                axes.fill_between(x, [row["rmse_low"] for row in chosen], [row["rmse_high"] for row in chosen], color=colour,
                                  alpha=0.13, linewidth=0)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set(title=panel_title(panel, f"{lead_text((lead_time,))} ahead"), xlabel="target days",
                 ylabel="RMSE (m³ m⁻³)" if panel == 0 else "")
        lowest = min(row["rmse_low"] for row in rows if row["lead_time"] == lead_time)
        highest = max(row["rmse"] for row in rows if row["lead_time"] == lead_time and row["forecaster"] in LABELS)
        axes.set_ylim(lowest - 0.001, highest + 0.003)
        ends = np.log(axes.get_xlim())
        places = width * (np.log([days or all_days for days in lengths]) - ends[0]) / (ends[1] - ends[0])
        axes.set_xticks([days or all_days for days in lengths], in_two_rows([str(days or "all") for days in lengths], places))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4,
                  bbox_to_anchor=(0.5, 1 - (1 + 4.2 * len(lines)) / (bottom + height + 17 + 4 * len(lines))))
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "Root mean square error against the number of target days that may be learned from (logarithmic; \"all\": the whole training "
        "period), a panel for each lead time; networks with 95 % intervals from a bootstrap over blocks of days (bands), on cells that "
        "are observed often enough in those days.", title, data, max(row["n"] for row in rows), "values at most behind a point"))
