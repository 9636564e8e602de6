"""The figure "error against lead": what is gained by a network, by a weather forecast, and what remains."""
import matplotlib
import numpy as np

from utils.drawmap import PAPER_STYLE, SINGLE_COLUMN, new_figure, place_axes, save_figure, wrap_title, write_title

# Colour (Okabe and Ito's palette, safe for colour-blind readers), line and marker of each kind of forecaster.
LINES = {"persistence": ("0.55", "-", ""), "damped_persistence": ("#E69F00", "--", ""), "water_balance": ("#56B4E9", "--", ""),
         "blind": ("#0072B2", "-", "o"), "with forecast": ("#009E73", "-", "D"), "bound": ("#CC79A7", ":", "^"),
         "ceiling": ("black", ":", "")}
LABELS = {"persistence": "persistence", "damped_persistence": "damped persistence", "water_balance": "water balance",
          "blind": "{}, blind", "with forecast": "{},\nwith a weather forecast",
          "bound": "{},\nobserved weather (upper bound)", "ceiling": "ceiling of blind forecasts"}
SPACE = 4.4  # of the axis' height, in per cent, that a label takes


@matplotlib.rc_context(PAPER_STYLE)
def draw_errors_against_lead(path, lines, title):
    """RMSE by lead time, one line per forecaster, named at its right end.

    Parameters
    ----------
    path : Path
    lines : list of (str, str, dict)
        Kind (a key of LINES), label (LABELS), and RMSE in m3 m-3 by lead time in days.
    title : str
    """
    heads = wrap_title(title, 1.5 * SINGLE_COLUMN)
    left, bottom, width, height = 14.0, 10.0, 74.0, 66.0
    figure = new_figure(1.5 * SINGLE_COLUMN, bottom + height + 4 + 4 * len(heads))
    axes = place_axes(figure, left, bottom, width, height)
    for kind, label, errors in lines:
        colour, style, marker = LINES[kind]
        axes.plot(list(errors), list(errors.values()), color=colour, linestyle=style, marker=marker, markersize=3.5,
                  linewidth=1.5 if marker else 1.0)
    lead_times = sorted({lead_time for *_, errors in lines for lead_time in errors})
    highest = max(max(errors.values()) for *_, errors in lines)
    axes.set(xlim=(lead_times[0] - 0.2, lead_times[-1] + 0.2), ylim=(0, 1.05 * highest), xlabel="lead time (days)",
             ylabel="RMSE (m³ m⁻³)")
    axes.set_xticks(lead_times)
    ends = [100 * list(errors.values())[-1] / (1.05 * highest) for *_, errors in lines]
    for (kind, label, _), place in zip(lines, apart(np.array(ends), [SPACE * (1 + label.count("\n")) for _, label, _ in lines])):
        axes.annotate(label, (1.02, place / 100), xycoords="axes fraction", color=LINES[kind][0], va="center")
    write_title(figure, heads)
    save_figure(path, figure)


def apart(places, heights):
    """The same places, moved until neighbours lie as far apart as their heights need."""
    order = np.argsort(places)
    moved = np.array(places, float)
    for _ in range(500):
        needed = np.array([(heights[one] + heights[other]) / 2 for one, other in zip(order, order[1:])])
        push = np.maximum(needed - np.diff(moved[order]), 0) / 2
        if push.max(initial=0) < 0.01:
            break
        moved[order[:-1]] -= push
        moved[order[1:]] += push
    return moved
