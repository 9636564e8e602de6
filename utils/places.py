"""Points and boxes given by name and coordinates, and what is forecast there.

Shapes: I init days, L lead times, H latitudes, W longitudes. Values in m3 m-3; NaN missing.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.cube import SOIL_MOISTURE
from data_processing.errors import UserError
from utils.evaluation import cell_areas, cell_edges, unwrap_longitudes
from utils.spread import Validation, predict_spread
from utils.where_it_helps import read_regions

if TYPE_CHECKING:
    from data_processing.record import Record

PLACE_COLUMNS = ("place", "kind", "lat", "lon", "cells", "init_time", "lead_time", "valid_time", "forecast", "spread", "low_90",
                 "high_90", "last_observed", "last_observed_time", "change", "observed")
# Of a box's land, that must be known: for a mean of errors or of last observations, and for an observed mean that is held
# against a forecast of the whole box, as a satellite may have seen its dry half
KNOWN_SHARE, SEEN_SHARE = 0.5, 0.9


class NamedPlace(NamedTuple):
    """A point or a box on a map.

    name, kind : str, kind is "point" or "box". cells : int [C], indices into the flat map, of land. weight : float64 [C], share
    of the box's land area. lat, lon : degrees, of the point's cell or the middle of the box's land.
    """

    name: str
    kind: str
    cells: np.ndarray
    weight: np.ndarray
    lat: float
    lon: float


def read_places(points: Sequence[str], boxes: Sequence[str], lat: np.ndarray, lon: np.ndarray,
                land: np.ndarray) -> list[NamedPlace]:
    """Places that are named.

    Parameters
    ----------
    points : sequence of str
        "name:lat,lon" in degrees; a point stands for the cell that it lies in.
    boxes : sequence of str
        "name:south,north,west,east" in degrees, or NetCDF files of masks; see `utils.where_it_helps.read_regions`.
    lat, lon : float [H], [W]
        Cell centres, degrees.
    land : bool [H, W]

    Returns
    -------
    list of NamedPlace

    Raises
    ------
    UserError
        No point or box; outside the map; no land there; a name twice.
    """
    area = cell_areas(lat, lon)
    places = [_point(text, lat, lon, land) for text in points]
    for name, inside in read_regions(boxes, lat, lon).items():
        rows, columns = np.nonzero(inside & land)
        if not rows.size:
            raise UserError(f"box {name!r} holds no land cell of the network's map. Give another box.")
        weight = area[rows, columns] / area[rows, columns].sum()
        middle = float(weight @ lat[rows]), float(weight @ lon[columns])
        places.append(NamedPlace(name, "box", rows * len(lon) + columns, weight, *middle))
    names = [place.name for place in places]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UserError(f"points and boxes name {', '.join(twice)} twice: give each place a name of its own.")
    return places


def _point(text, lat, lon, land):
    try:
        name, place = text.rsplit(":", 1)
        north, east = map(float, place.split(","))
    except ValueError:
        raise UserError(f"point is {text!r}; it must be name:lat,lon in degrees, such as Beijing:39.9,116.4.") from None
    if abs(north) > 90:
        raise UserError(f"point is {text!r}: {north:g} is no latitude. Give name:lat,lon in degrees, such as Beijing:39.9,116.4.")
    row, column = cell_at(lat, lon, north, east)
    if row is None or column is None:
        rows, columns = cell_edges(lat), cell_edges(unwrap_longitudes(lon)[1])
        raise UserError(f"point {text!r} lies outside the map, which reaches from {rows.min():.2f} to {rows.max():.2f} N, "
                        f"{columns[0]:.2f} to {columns[-1]:.2f} E. Give name:lat,lon in degrees.")
    if not land[row, column]:
        rows, columns = np.nonzero(land)
        away = np.hypot(lat[rows] - north, ((lon[columns] - east + 180) % 360 - 180) * np.cos(np.radians(north)))
        nearest = away.argmin()
        raise UserError(f"point {text!r} lies in a cell without soil moisture (sea, lake, never observed); the nearest land cell "
                        f"is {lat[rows[nearest]]:.2f},{lon[columns[nearest]]:.2f}.")
    return NamedPlace(name, "point", np.array([row * len(lon) + column]), np.ones(1), float(lat[row]), float(lon[column]))


def cell_at(lat: np.ndarray, lon: np.ndarray, north: float, east: float) -> tuple[int | None, int | None]:
    """Row and column of the cell of a map that a point, degrees, lies in; None for what lies outside."""
    edges = cell_edges(lat)
    row = None if not edges.min() <= north <= edges.max() else int(np.abs(lat - north).argmin())
    order, unwrapped = unwrap_longitudes(lon)
    west_east = cell_edges(unwrapped)
    east = west_east[0] + (east - west_east[0]) % 360.0
    column = None if east > west_east[-1] else int(order[np.abs(unwrapped - east).argmin()])
    return row, column


def place_rows(places: list[NamedPlace], record: Record, init_days: np.ndarray, *, forecast: np.ndarray, spread: np.ndarray,
               ends: np.ndarray, validation: Validation | None) -> list[dict]:
    """What is forecast at some places: rows of points.csv.

    Parameters
    ----------
    places : list of NamedPlace
    record : Record
    init_days : int [I]
        Indices into the record.
    forecast, spread : float32 [I, L, H, W]
    ends : float32 [2, I, L, H, W]
        Of the 90 % interval.
    validation : Validation, or None
        The spread of a box is that of the errors of its mean, which are smaller than those of its cells.

    Returns
    -------
    list of dict
        With the keys PLACE_COLUMNS; None where something is not known. `last_observed` is at most `max_gap_days` old, of a box
        the mean over its cells, each of its own day; `last_observed_time` is then the day that half of them are not older than.
        `observed` is what was seen on the day that is forecast, where it is known already.
    """
    rows = []
    seen_days = np.arange(len(record.time))
    valid_time = record.time[0] + np.asarray(init_days)[:, None] + record.lead_times
    for place in places:
        told, width, low, high = (_mean(values, place) for values in (forecast, spread, *ends))
        if place.kind == "box":
            width, (low, high) = _box_spread(place, told, valid_time, np.isfinite(width), validation)
        seen = _known_mean(record.observed_at(seen_days, place.cells), place.weight, SEEN_SHARE)
        for number, day in enumerate(init_days):
            last, last_time = _last_observed(place, record, day)
            for lead, lead_time in enumerate(record.lead_times):
                value, target = told[number, lead], day + lead_time
                values = {"forecast": value, "spread": width[number, lead], "low_90": low[number, lead],
                          "high_90": high[number, lead], "last_observed": last, "change": value - last,
                          "observed": seen[target] if target < len(seen) else np.nan}
                rows.append({"place": place.name, "kind": place.kind, "lat": place.lat, "lon": place.lon,
                             "cells": len(place.cells), "init_time": record.time[day], "lead_time": int(lead_time),
                             "valid_time": record.time[0] + int(target), "last_observed_time": last_time}
                            | {name: value if np.isfinite(value) else None for name, value in values.items()})
    return rows


def _mean(values, place):
    """Mean over a place of maps [..., H, W], float64 [...]."""
    return values.reshape(*values.shape[:-2], -1)[..., place.cells] @ place.weight


def _known_mean(values, weight, least):
    """Mean of what is known of values [..., C], float64 [...]; NaN where that is less than the share `least`."""
    known = np.isfinite(values)
    share = known @ weight
    return np.where(share >= least, (np.where(known, values, 0.0) @ weight) / np.maximum(share, 1e-12), np.nan)


def _box_spread(place, forecast, valid_time, known, validation):
    """Spread [I, L] and ends [2][I, L] of the mean of a box; NaN where `known` is false."""
    of_box = None
    if validation is not None:
        of_box = validation.errors.reshape(*validation.errors.shape[:-2], -1)[..., place.cells]
        of_box = _known_mean(of_box, place.weight, KNOWN_SHARE)[..., None, None]
    if of_box is None or not np.isfinite(of_box).any(axis=0).all():
        return np.full(forecast.shape, np.nan), np.full((2, *forecast.shape), np.nan)
    of_box = Validation(of_box.astype(np.float32), validation.valid_time)
    spread, ends = predict_spread(forecast[..., None, None], valid_time, None, of_box, np.ones((1, 1), bool))
    return tuple(np.where(known, values[..., 0, 0], np.nan) for values in (spread, ends))


def _last_observed(place, record, day):
    """Mean of the last observations of a place's cells up to a day, and the day that half of them are not older than.

    NaN and None where too few were seen within `max_gap_days`.
    """
    row = record.input_days - 1 + day
    values, age = (array[row, SOIL_MOISTURE].ravel()[place.cells] for array in (record.carried, record.age))
    mean = _known_mean(values, place.weight, KNOWN_SHARE)
    if not np.isfinite(mean):
        return mean, None
    return mean, record.time[day] - int(np.ceil(np.median(age[np.isfinite(values)])))


def format_places(rows: list[dict]) -> str:
    """Table of the rows of `place_rows` for the terminal, 80 columns wide; m3 m-3."""
    def number(value):
        return "-" if value is None else f"{value:.3f}"

    width = min(26, max(len("place"), *(len(row["place"]) for row in rows)))
    lines = [f"{'place':{width}}{'lead':>6}{'day':>12}{'forecast':>10}{'90 % interval':>17}{'last seen':>11}"]
    for row in rows:
        interval = "-" if row["low_90"] is None else f"{number(row['low_90'])} to {number(row['high_90'])}"
        lines.append(f"{row['place'][:width]:{width}}{row['lead_time']:>4} d{row['valid_time']!s:>12}"
                     f"{number(row['forecast']):>10}{interval:>17}{number(row['last_observed']):>11}")
    return "\n".join(lines)
