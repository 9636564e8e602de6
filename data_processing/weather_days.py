"""UTC days of a weather forecast: totals of rain and means of temperature, from its steps, on the cells of a cube.

A forecast that starts at 00 UTC has that day as its first whole day, one that starts later has the next. The rain of a day
is put together of the intervals that the files hold, with as few of them as do, added or subtracted: the day's buckets, or
the total to its end less the total to its beginning. A day that lacks any of it is missing.
"""
from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.cube import QUANTITIES
from data_processing.errors import UserError
from data_processing.regrid import Regridder, axes_grid, cover_window, crop
from data_processing.weather_fields import NO_MEMBER, RAIN, TEMPERATURE, VARIABLES, FieldReader
from data_processing.weather_file import new_weather_file

if TYPE_CHECKING:
    from data_processing.regrid import Grid

DAY = 24  # h
VERSION = 1
"""Part of every piece's name: a new number makes all pieces anew."""
MOST_NEGATIVE = -5.0  # mm d-1; packing and the forecast models themselves make totals fall by less
LIMITS = {RAIN: QUANTITIES["precipitation"], TEMPERATURE: QUANTITIES["soil_temperature"]}


class Reading(NamedTuple):
    """All days of one member of one forecast, and what must be read for them.

    start : int, h since 1970-01-01 00 UTC. member : int. whole : bool [variable, day].
    fields : FIELD [n], in the order of files. uses : list of n lists of (day, weight): day += weight * values.
    """

    start: int
    member: int
    whole: np.ndarray
    fields: np.ndarray
    uses: list


# ------------------------------------------------------------------------------------------------------------- time
def first_whole_day(start: int) -> tuple[int, int]:
    """The day before the first whole UTC day of a forecast, and the hours until that day begins.

    Parameters
    ----------
    start : int
        h since 1970-01-01 00 UTC.

    Returns
    -------
    init_day : int
        Days since 1970-01-01: the `init_time` of the weather forecast file.
    lead_in : int
        0 to 23 h, which no whole day holds.
    """
    lead_in = -start % DAY
    return (start + lead_in) // DAY - 1, lead_in


def tiling(intervals: Iterable[tuple[int, int]], first: int, last: int) -> list | None:
    """The fewest intervals that, added or subtracted, make the one from `first` to `last`.

    Parameters
    ----------
    intervals : iterable of (begin, end)
        h.
    first, last : int

    Returns
    -------
    list of ((begin, end), sign), or None
        None: they do not reach.
    """
    steps = defaultdict(list)
    for begin, end in intervals:
        steps[begin].append((end, (begin, end), 1))
        steps[end].append((begin, (begin, end), -1))
    ways, waiting = {first: []}, [first]
    for hour in waiting:  # grows: breadth first, so the first way found is the shortest
        if hour == last:
            return ways[hour]
        for other, interval, sign in steps[hour]:
            if other not in ways:
                ways[other] = [*ways[hour], (interval, sign)]
                waiting.append(other)
    return None


def day_weights(steps: Iterable[int], first: int, longest_gap: float) -> dict[int, float] | None:
    """Weights of the steps in the mean of a day: each counts for half the time to its neighbours, around the day.

    Parameters
    ----------
    steps : iterable of int
        h, those that there are.
    first : int
        Hour at which the day begins; it ends before first + 24.
    longest_gap : float
        h between two steps, more and the day is missing.

    Returns
    -------
    dict step -> weight, or None
        They add up to 1.
    """
    held = np.array(sorted({step for step in steps if first <= step < first + DAY}))
    if not held.size:
        return None
    gaps = np.diff(held, append=held[0] + DAY)
    if gaps.max() > longest_gap:
        return None
    return dict(zip(held.tolist(), ((gaps + np.roll(gaps, 1)) / (2 * DAY)).tolist()))


def plan_reading(fields: np.ndarray, days: int, longest_gap: float) -> Reading:
    """What to read for the days of one member of one forecast.

    Parameters
    ----------
    fields : FIELD [n]
        All of this start and member, files in order; of the same field in several files the first is taken.
    days : int
        Days at most.
    longest_gap : float
        h, see `day_weights`.

    Returns
    -------
    Reading
        `whole` reaches to the last day that has rain or temperature.
    """
    _, lead_in = first_whole_day(int(fields["start"][0]))
    place = {}
    for number, key in enumerate(zip(fields["variable"].tolist(), fields["begin"].tolist(), fields["end"].tolist())):
        place.setdefault(key, number)
    rain = [(begin, end) for variable, begin, end in place if variable == RAIN]
    steps = [end for variable, _, end in place if variable == TEMPERATURE]
    days = min(days, int(fields["end"].max()) // DAY + 1)
    uses, whole = defaultdict(list), np.zeros((len(VARIABLES), days), bool)
    for day in range(days):
        first = lead_in + day * DAY
        way = tiling(rain, first, first + DAY)
        weights = day_weights(steps, first, longest_gap)
        whole[:, day] = way is not None, weights is not None
        for (begin, end), sign in way or ():
            uses[place[RAIN, begin, end]].append((day, float(sign)))
        for step, weight in (weights or {}).items():
            uses[place[TEMPERATURE, step, step]].append((day, weight))
    used = sorted(uses, key=lambda number: (fields["file"][number], fields["place"][number]))
    last = np.flatnonzero(whole.any(axis=0))
    whole = whole[:, :last[-1] + 1 if last.size else 0]
    return Reading(int(fields["start"][0]), int(fields["member"][0]), whole, fields[used], [uses[number] for number in used])


def with_control(fields: np.ndarray) -> np.ndarray:
    """The fields of one start; those without a member's number are member 0, or left out where there is a member 0.

    ECMWF's control forecast has the number 0 until May 2026 and is the forecast without number since.
    """
    unnumbered = fields["member"] == NO_MEMBER
    if (fields["member"] == 0).any():
        return fields[~unnumbered]
    fields = fields.copy()
    fields["member"][unnumbered] = 0
    return fields


# ------------------------------------------------------------------------------------------------------------- maps
class Placing:
    """Averages maps of one grid of a file over the cells of a cube.

    Parameters
    ----------
    lat, lon : sequence of float
        As the file has them, in any order, degrees.
    target : Grid
    min_valid_fraction : float

    Raises
    ------
    UserError
        The cube lies outside.
    """

    def __init__(self, lat, lon, target, min_valid_fraction):
        lat, lon = np.array(lat), np.unwrap(np.array(lon), period=360.0)
        rows, columns = np.argsort(lat, kind="stable"), np.argsort(lon, kind="stable")
        grid = axes_grid(lat[rows], lon[columns])
        window = cover_window(grid, target)
        self.rows, self.columns = rows[window[0]:window[1]], columns[window[2]:window[3]]
        self.regridder = Regridder(crop(grid, window), target, min_valid_fraction)

    def __call__(self, values):
        """Map [h, w] of the file -> [H, W] of the cube, NaN = missing."""
        return self.regridder(values[np.ix_(self.rows, self.columns)])

    def covered(self) -> np.ndarray:
        """Which cells of the cube get values, bool [H, W]."""
        return ~np.isnan(self.regridder(np.ones((len(self.rows), len(self.columns)))))


def key_of(reading: Reading, paths: list[Path], target: Grid, min_valid_fraction: float) -> str:
    """Key of all that a piece depends on, text."""
    digest = hashlib.sha256()
    files = [[paths[number].name, paths[number].stat().st_size, paths[number].stat().st_mtime_ns]
             for number in np.unique(reading.fields["file"])]
    digest.update(json.dumps([VERSION, files, reading.start, reading.member, reading.whole.tolist(), reading.uses,
                              min_valid_fraction]).encode())
    for name in ("place", "factor", "offset"):
        digest.update(reading.fields[name].tobytes())
    for axis in target:
        digest.update(np.asarray(axis).tobytes())
    return digest.hexdigest()[:16]


def make_piece(reading: Reading, path: Path, paths: list[Path], grids: list, target: Grid,
               min_valid_fraction: float) -> str | None:
    """Read one member of one forecast into a weather forecast file of its own.

    Parameters
    ----------
    reading : Reading
    path : Path
        The piece.
    paths : list of Path
        Files, by `fields["file"]`.
    grids : list of (lat, lon)
        By `fields["grid"]`.
    target : Grid
    min_valid_fraction : float

    Returns
    -------
    str or None
        Why it cannot be read.
    """
    try:
        values = _days(reading, paths, grids, target, min_valid_fraction)
    except UserError as error:
        return str(error)
    init_day, _ = first_whole_day(reading.start)
    with new_weather_file(path, np.array([init_day], "datetime64[D]"), np.arange(reading.whole.shape[1]) + 1, 0, target.lat,
                          target.lon, VARIABLES[TEMPERATURE], {}) as piece:
        for number, name in enumerate(VARIABLES):
            missing = np.isnan(values[number])
            piece[name][0] = np.ma.array(np.where(missing, 0.0, values[number]), mask=missing)
    return None


def _days(reading, paths, grids, target, min_valid_fraction):
    """Daily values [variable, day, H, W] in mm d-1 and K, NaN = missing."""
    values = np.zeros((*reading.whole.shape, target.lat.size, target.lon.size))
    values[~reading.whole] = np.nan
    placing = {number: Placing(*grids[number], target, min_valid_fraction) for number in np.unique(reading.fields["grid"])}
    reader = FieldReader()
    try:
        for field, uses in zip(reading.fields, reading.uses):
            here = placing[field["grid"]](reader.read(paths[field["file"]], field))
            for day, weight in uses:
                values[field["variable"], day] += weight * here
    finally:
        reader.close()
    _check(values, reading, paths)
    values[RAIN] = np.where(values[RAIN] < 0, 0.0, values[RAIN])
    return values


def _check(values, reading, paths):
    """Refuse what no weather can be: a unit that is not what the file says, or rain that is counted otherwise."""
    where = f"{paths[reading.fields['file'][0]]}: forecast of {np.datetime64(reading.start, 'h')} UTC, member {reading.member}"
    for number, limits in LIMITS.items():
        valid = values[number][np.isfinite(values[number])]
        if not valid.size:
            continue
        if number == RAIN and valid.min() < MOST_NEGATIVE:
            raise UserError(f"{where}: rain since the start falls by {-valid.min():.3g} mm in a day: the steps are no "
                            "totals since the start of the forecast. Take GRIB files, which say what each total spans.")
        lowest = MOST_NEGATIVE if number == RAIN else limits.lowest
        if valid.min() < lowest or valid.max() > limits.highest:
            raise UserError(f"{where}: {VARIABLES[number]} reaches from {valid.min():.4g} to {valid.max():.4g} {limits.unit}; "
                            f"possible are {limits.lowest:g} to {limits.highest:g}. The unit is not what the file says, or it "
                            "is damaged: download it again or take it out.")
