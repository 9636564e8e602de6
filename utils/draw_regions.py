"""The figures of where it helps: skill by part of the record, events, power by wavelength."""
import matplotlib

from utils.drawmap import (FORECAST_COLOUR, PAPER_STYLE, REFERENCE_COLOUR, SINGLE_COLUMN, place_axes, new_figure,
                           save_figure, wrap_title, write_title)
from utils.runs import lead_text

OTHER_COLOURS = {"water_balance": "#56B4E9", "ceiling": "black", "climatology": "0.6", "persistence": "0.75"}


@matplotlib.rc_context(PAPER_STYLE)
def draw_regions(path, rows, title):
    """Skill against damped persistence on every part of the record, at the longest lead time."""
    model = rows[0]["forecaster"]
    lead_time = max(row["lead_time"] for row in rows)
    parts = list(dict.fromkeys(row["region"] for row in rows))
    lines = wrap_title(f"Where it helps, {title}", SINGLE_COLUMN)
    left, bottom, height = 24.0, 16.0, 5.5 * len(parts)
    figure = new_figure(SINGLE_COLUMN, bottom + height + 5 + 4 * len(lines))
    axes = place_axes(figure, left, bottom, SINGLE_COLUMN - left - 4, height)
    places = {part: len(parts) - 1 - number for number, part in enumerate(parts)}
    shown = [name for name in (model, "water_balance", "ceiling") if any(row["forecaster"] == name for row in rows)]
    for name in shown:
        chosen = [row for row in rows if row["forecaster"] == name and row["lead_time"] == lead_time]
        axes.plot([row["skill_damped_persistence"] for row in chosen], [places[row["region"]] for row in chosen],
                  linestyle="none", marker={"ceiling": "|", "water_balance": "s"}.get(name, "o"),
                  markersize=7 if name == "ceiling" else 4,
                  color=OTHER_COLOURS.get(name, FORECAST_COLOUR), label=name.replace("_", " "))
    axes.axvline(0, color="0.5", linewidth=0.7)
    axes.set_yticks(list(places.values()), list(places))
    axes.set(ylim=(-0.7, len(parts) - 0.3), xlabel=f"skill against damped persistence, {lead_text((lead_time,))}")
    figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=3, borderaxespad=0.2)
    write_title(figure, lines)
    save_figure(path, figure)


@matplotlib.rc_context(PAPER_STYLE)
def draw_events(path, rows, title):
    """Hit rate against false alarm ratio of every forecaster, for dry and wet days, at the longest lead time."""
    lead_time = max(row["lead_time"] for row in rows)
    model = rows[0]["forecaster"]
    lines = wrap_title(f"Dry and wet events, {title}", SINGLE_COLUMN)
    left, bottom, side, gap = 11.0, 24.0, 33.0, 8.0
    figure = new_figure(SINGLE_COLUMN, bottom + side + 6 + 4 * len(lines))
    for panel, event in enumerate(("dry", "wet")):
        axes = place_axes(figure, left + panel * (side + gap), bottom, side, side)
        for row in rows:
            if row["event"] == event and row["lead_time"] == lead_time and "_seed" not in row["forecaster"]:
                colour = {model: FORECAST_COLOUR, "damped_persistence": REFERENCE_COLOUR}.get(
                    row["forecaster"], OTHER_COLOURS.get(row["forecaster"], "0.5"))
                axes.plot(row["false_alarm_ratio"], row["hit_rate"], marker="o" if row["forecaster"] == model else "s",
                          markersize=5 if row["forecaster"] == model else 4, linestyle="none", color=colour,
                          label=row["forecaster"].replace("_", " "))
        threshold = {"dry": "< 10th", "wet": "> 90th"}[event]
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"{event}: {threshold} percentile",
                 xlabel="false alarm ratio", ylabel="hit rate" if panel == 0 else "")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower center", ncols=2, borderaxespad=0.3)
    write_title(figure, lines)
    save_figure(path, figure)


@matplotlib.rc_context(PAPER_STYLE)
def draw_spectrum(path, rows, title):
    """Power of forecast and observation by wavelength at the longest lead time."""
    lead_time = max(row["lead_time"] for row in rows)
    names = list(dict.fromkeys(row["forecaster"] for row in rows))
    lines = wrap_title(f"Detail, {title}", SINGLE_COLUMN)
    figure = new_figure(SINGLE_COLUMN, 66 + 4 * len(lines))
    axes = place_axes(figure, 16.0, 11.0, SINGLE_COLUMN - 20.0, 51.0)
    for name in names:
        chosen = [row for row in rows if row["forecaster"] == name and row["lead_time"] == lead_time]
        colour = {"observed": "black", "damped_persistence": REFERENCE_COLOUR}.get(name, FORECAST_COLOUR)
        axes.plot([row["wavelength"] for row in chosen], [row["power"] for row in chosen], color=colour, linewidth=1.2,
                  label=name.replace("_", " "))
    axes.set(xscale="log", yscale="log", xlabel="wavelength (cells)", ylabel="power ((m³ m⁻³)²)")
    axes.set_xlim(max(row["wavelength"] for row in rows), 2)
    axes.set_xticks([length for length in (50, 20, 10, 5, 2) if length <= max(row["wavelength"] for row in rows)])
    axes.get_xaxis().set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend()
    write_title(figure, lines)
    save_figure(path, figure)
