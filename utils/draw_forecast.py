"""The figure of a forecast: last observation, forecast, change and spread, PNG and PDF, drawn offline."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, Normalize

from utils.captions import Data, caption_of
from utils.figures import (
    DIFFERENCE_COLOURS,
    GAP_COLOUR,
    PAGE,
    PAPER_STYLE,
    SHOWN,
    SOIL_MOISTURE_COLOURS,
    SPREAD_COLOURS,
    colour_bar,
    colour_range,
    draw_cells,
    extension,
    map_axes,
    map_frame,
    new_figure,
    panel_ratio,
    range_around_0,
    save_figure,
    wrap_title,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, RIGHT, BETWEEN, BELOW, PANEL_TITLE = 11.0, 3.0, 7.0, 18.0, 6.0  # mm


def draw_forecast(path: Path, *, last: np.ndarray, forecast: np.ndarray, spread: np.ndarray, lat: np.ndarray, lon: np.ndarray,
                  title: str, last_days: str, valid_day: str, product: str) -> None:
    """Draw a forecast beside the last observation.

    Parameters
    ----------
    path : str or Path of the PNG
    last : float [H, W]
        Last observed soil moisture, m3 m-3; NaN = none, drawn grey where there is a forecast.
    forecast, spread : float [H, W]
        m3 m-3; NaN = sea, blank. A spread of NaN everywhere is not known: the panel is left out.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    title : str
        Network, lead time, first day; "synthetic twin" where it is.
    last_days : str
        Day or days of the last observation.
    valid_day : str
        Day that is forecast.
    product : str
        Title of the cube, for the caption.
    """
    shows = (f"(a) Last observed soil moisture, {last_days}. (b) Forecast of {valid_day}. (c) Change, forecast − last observed. "
             "(d) Spread of the forecast, one standard deviation, where it is known: it follows from the errors of each cell on "
             "validation days of that season, in which single storms leave their outlines. All in m³ m⁻³; colours "
             f"from the {SHOWN[0]}st to the {SHOWN[1]}th percentile, arrows where values lie beyond.")
    figure = forecast_figure(last=last, forecast=forecast, spread=spread, lat=lat, lon=lon, title=title, last_days=last_days,
                             valid_day=valid_day)
    day = np.datetime64(valid_day)
    save_figure(path, figure, caption_of(shows, title, Data(product, day, day), np.count_nonzero(np.isfinite(forecast)), "cells"))


@matplotlib.rc_context(PAPER_STYLE)
def forecast_figure(*, last: np.ndarray, forecast: np.ndarray, spread: np.ndarray, lat: np.ndarray, lon: np.ndarray, title: str,
                    last_days: str, valid_day: str) -> Figure:
    """Figure of `draw_forecast`; its first axes are the panels."""
    change, gaps = forecast - last, np.isfinite(forecast) & ~np.isfinite(last)
    soil_moisture = colour_range(np.stack([last, forecast]))
    panels: list[tuple] = [
              (f"(a) last observed, {last_days}{' (grey: none)' if gaps.any() else ''}", last, SOIL_MOISTURE_COLOURS,
               soil_moisture, "soil moisture (m³ m⁻³)"),
              (f"(b) forecast of {valid_day}", forecast, SOIL_MOISTURE_COLOURS, soil_moisture, "soil moisture (m³ m⁻³)"),
              ("(c) change, forecast − last observed", change, DIFFERENCE_COLOURS, range_around_0(change), "change (m³ m⁻³)")]
    if np.isfinite(spread).any():
        panels.append(("(d) spread of the forecast (1 standard deviation)", spread, SPREAD_COLOURS,
                       colour_range(spread), "spread (m³ m⁻³)"))
    frame = map_frame(lat, lon)
    width = (PAGE - LEFT - RIGHT - BETWEEN) / 2
    height = width / panel_ratio(frame)
    title_lines = wrap_title(title, PAGE)
    row = height + PANEL_TITLE + BELOW
    figure = new_figure(PAGE, 2 * row + 2.0 + 4.0 * len(title_lines))
    places = [(LEFT + number % 2 * (width + BETWEEN), BELOW + (1 - number // 2) * row) for number in range(len(panels))]
    axes_of = [map_axes(figure, frame, *place, width, height, label_latitudes=number % 2 == 0)
               for number, place in enumerate(places)]
    for axes, (x, y), (name, values, colours, norm, label) in zip(axes_of, places, panels):
        mesh = draw_cells(axes, frame, values, colours, norm)
        axes.set_title(name)
        drawn = np.stack([last, forecast]) if norm is soil_moisture else values
        colour_bar(figure, mesh, x + 0.1 * width, y - 8.5, 0.8 * width, label, extension(drawn, norm))
    if gaps.any():
        for axes in (axes_of[0], axes_of[2]):
            draw_cells(axes, frame, np.where(gaps, 0, np.nan), ListedColormap([GAP_COLOUR]), Normalize(0, 1))
    write_title(figure, title_lines)
    return figure
