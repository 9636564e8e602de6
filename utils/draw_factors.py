"""The figure of what a forecast rests on."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from utils.captions import caption_of, in_words, lead_text
from utils.figures import (
    BLUE,
    GREEN,
    PAGE,
    PAPER_STYLE,
    PURPLE,
    SKY_BLUE,
    VERMILLION,
    new_figure,
    panel_title,
    place_axes,
    save_figure,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from utils.captions import Data

PART_COLOURS = {"DJF": BLUE, "MAM": GREEN, "JJA": VERMILLION, "SON": PURPLE, "dry half": "0.6", "wet half": SKY_BLUE}


@matplotlib.rc_context(PAPER_STYLE)
def draw_factors(path: Path, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Growth of the MSE without each input: by lead time on the left, by season and wetness on the right.

    Parameters
    ----------
    path : Path
    rows : list of dict
        From `utils.factors.permutation_rows` and `drop_one_rows`.
    title : str
    data : utils.captions.Data, optional
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = wrap_title(f"What the forecast rests on, {title}", PAGE)
    left, gap, bottom, height = 30.0, 8.0, 16.0, 46.0
    width = (PAGE - left - gap - 4) / 2
    figure = new_figure(PAGE, len(methods) * (height + bottom + 6) + 4 * len(lines))
    longest = max(row["lead_time"] for row in rows)
    for panel, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        inputs = list(dict.fromkeys(row["input"] for row in own))
        by_lead = {lead_text((lead,)): {row["input"]: row["increase"] for row in own
                                    if (row["part"], row["lead_time"]) == ("all", lead)}
                   for lead in sorted({row["lead_time"] for row in own})}
        by_part = {part: {row["input"]: row["increase"] for row in own if (row["part"], row["lead_time"]) == (part, longest)}
                   for part in dict.fromkeys(row["part"] for row in own) if part != "all"}
        for column, series in enumerate((by_lead, by_part)):
            axes = place_axes(figure, left + column * (width + gap),
                              bottom + (len(methods) - 1 - panel) * (height + bottom + 6), width, height)
            thick = 0.8 / len(series)
            for number, (label, values) in enumerate(series.items()):
                places = np.arange(len(inputs))[::-1] + 0.4 - (number + 0.5) * thick
                axes.barh(places, [100 * values.get(name, np.nan) for name in inputs], height=thick, label=label,
                          color=PART_COLOURS.get(label, matplotlib.colormaps["cividis"](0.1 + 0.8 * number / max(len(series) - 1, 1))))
            axes.axvline(0, color="0.3", linewidth=0.6)
            axes.set_xscale("symlog", linthresh=10)
            axes.set_yticks(range(len(inputs)), [in_words(name).replace(", ", ",\n") for name in inputs[::-1]] if column == 0 else [])
            axes.set(xlabel="growth of the MSE (%)",
                     title=panel_title(2 * panel + column, f"{method}, " + ("by lead time" if column == 0 else lead_text((longest,)))))
            axes.xaxis.set_major_formatter("{x:g}")  # exponents would be too small to read
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=len(series), handlelength=0.9,
                        handletextpad=0.4, columnspacing=0.8)
    write_title(figure, lines)
    save_figure(path, figure, caption_of(
        "Growth of the mean square error when the network is robbed of one input (permutation: the input is exchanged for that of "
        "other days; drop one: the network is trained again without it), linear below 10 %, logarithmic above. Left: by lead time; "
        "right: by season and wetness, at the longest one.", title, data))
