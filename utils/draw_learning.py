"""The figure of the learning curve."""
import matplotlib
import numpy as np

from utils.drawmap import DOUBLE_COLUMN, PAPER_STYLE, place_axes, new_figure, save_figure, wrap_title, write_title
from utils.runs import lead_text

# Okabe and Ito's palette, safe for colour-blind readers.
LINES = {"scratch": ("#D55E00", "-", "o", "from scratch"), "zero-shot": ("#009E73", "-", "s", "zero-shot"),
         "fine-tuned": ("#0072B2", "-", "D", "fine-tuned"), "persistence": ("0.65", "-", "", "persistence"),
         "damped_persistence": ("#E69F00", "--", "", "damped persistence"), "climatology": ("0.65", ":", "", "climatology"),
         "water_balance": ("#56B4E9", "--", "", "water balance"),
         "with forecast": ("#CC79A7", "-", "^", "fine-tuned, with a weather forecast"),
         "observed weather (bound)": ("#CC79A7", ":", "^", "observed weather (bound)"),
         "damped_persistence_of_all_days": ("#E69F00", ":", "", "damped persistence, all days")}


@matplotlib.rc_context(PAPER_STYLE)
def draw_learning_curve(path, rows, title):
    """RMSE against the number of target days, a panel for each lead time; shaded: 95 % intervals.

    Parameters
    ----------
    path : Path
    rows : list of dict
        From `utils.learning.score_learning_runs`.
    title : str
    """
    lead_times = sorted({row["lead_time"] for row in rows})
    lengths = sorted({row["train_days"] for row in rows}, key=lambda days: days or np.inf)
    all_days = 1.45 * max(days for days in lengths) if any(lengths) else 365  # where "all" stands on the axis
    left, gap, bottom, height = 15.0, 13.0, 11.0, 58.0
    width = (DOUBLE_COLUMN - left - 3.0 - gap * (len(lead_times) - 1)) / len(lead_times)
    lines = wrap_title(f"What target days are worth: {title}", DOUBLE_COLUMN)
    figure = new_figure(DOUBLE_COLUMN, bottom + height + 17 + 4 * len(lines))
    for panel, lead_time in enumerate(lead_times):
        axes = place_axes(figure, left + panel * (width + gap), bottom, width, height)
        for name, (colour, style, marker, label) in LINES.items():
            chosen = [row for days in lengths for row in rows
                      if (row["forecaster"], row["lead_time"], row["train_days"]) == (name, lead_time, days)]
            if not chosen:
                continue
            x = [row["train_days"] or all_days for row in chosen]
            axes.plot(x, [row["rmse"] for row in chosen], color=colour, linestyle=style, marker=marker, markersize=3.5,
                      linewidth=1.4 if marker else 1.0, label=label)
            if marker:
                axes.fill_between(x, [row["rmse_low"] for row in chosen], [row["rmse_high"] for row in chosen], color=colour,
                                  alpha=0.13, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks([days or all_days for days in lengths], [str(days or "all") for days in lengths])
        axes.minorticks_off()
        axes.set(title=f"{lead_text((lead_time,))} ahead", xlabel="target days",
                 ylabel="RMSE (m³ m⁻³)" if panel == 0 else "")
        lowest = min(row["rmse_low"] for row in rows if row["lead_time"] == lead_time)
        highest = max(row["rmse"] for row in rows if row["lead_time"] == lead_time and row["forecaster"] in LINES)
        axes.set_ylim(lowest - 0.001, highest + 0.003)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4,
                  bbox_to_anchor=(0.5, 1 - (1 + 4.2 * len(lines)) / (bottom + height + 17 + 4 * len(lines))))
    write_title(figure, lines)
    save_figure(path, figure)
