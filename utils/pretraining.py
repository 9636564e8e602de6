"""What a network of ours is pre-trained on: a source, seen in many ways, and worlds with other soils and climates.

A short record's mean and spread are uncertain, and those of one season say little about the others. So that a network
learns what they are worth, most of the records that it is pre-trained on are scaled by the statistics of a random stretch of
their days, and it is told how long the stretch was and in which season it lay (`data_processing.static_maps`).
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.coming_weather import ComingWeather
from data_processing.cube import VARIABLES, open_cube
from data_processing.errors import UserError
from data_processing.files import PROJECT
from data_processing.record import scale_record, whole_record
from data_processing.satellite_view import satellite_view
from data_processing.twin_worlds import world_path
from utils.processes import first_before_others
from utils.runs import find_cube

if TYPE_CHECKING:
    from data_processing.record import Record
    from data_processing.splits import Splits

STRETCHES = 6  # statistics that are drawn for each view of a record
SHORTEST_STRETCH, LONGEST_STRETCH = 25, 1100  # days
WHOLE_SHARE = 0.25  # of the statistics are those of the whole record


def pretraining_sources(record: Record, splits: Splits, settings: Any) -> list[tuple[Record, np.ndarray]]:
    """Further records to learn from.

    Parameters
    ----------
    record : Record
        Of the source; not scaled.
    splits : Splits
        Of the source: nothing of it after its training days is used, nor of further cubes its validation and test days.
    settings : Settings
        Read here: satellite_view, worlds, further_cubes, source_until, max_gap_days, seed.

    Returns
    -------
    list of (Record, int ndarray)
        Scaled records, each with its training targets.
    """
    if not (settings.satellite_view or settings.worlds or settings.further_cubes):
        return []
    random = np.random.default_rng(settings.seed)
    own_validation_and_test = splits.time[splits.time >= splits.validation_from]
    views = [(record, splits.fit_days, splits.train)] * 2  # the source as it is counts twice
    if settings.satellite_view:
        views.append((satellite_view(record, settings.max_gap_days, settings.seed), splits.fit_days, splits.train))
    for cube in settings.further_cubes:
        path = find_cube(cube, "era5_land").path
        other = whole_record(open_cube(path), path.stem, splits, settings.max_gap_days, until=settings.source_until,
                             hidden=settings.drop_inputs)
        if settings.head != "local" and other.land.shape != record.land.shape:
            raise UserError(f"{path} has {other.land.shape[0]} x {other.land.shape[1]} cells, {record.name} "
                            f"{record.land.shape[0]} x {record.land.shape[1]}: only head = 'local' learns from several grids.")
        days = ~np.isin(other.time, own_validation_and_test)
        targets = np.flatnonzero(days)
        targets = targets[targets >= splits.lead_time]
        if not targets.size:
            raise UserError(f"{path} has no day outside the validation and test days of {record.name}, "
                            f"{own_validation_and_test[0]} to {own_validation_and_test[-1]}: nothing can be learned from it.")
        views.append((other, days, targets))
    for number in range(1, settings.worlds + 1):  # made up: they know nothing of any other record's days
        with first_before_others():
            path = world_path(number, PROJECT / "data" / "twin")
        world = whole_record(open_cube(path, check_values=False), path.stem, splits, settings.max_gap_days, hidden=settings.drop_inputs)
        views.append((world, np.ones(len(world.time), bool), np.arange(splits.lead_time, len(world.time))))
    sources: list[tuple[Record, np.ndarray]] = []
    scaled: dict[tuple, Record] = {}  # the whole of a record is drawn often
    for view, days, targets in views:
        if record.coming is not None:  # a view has no archive: its forecasts are made up of its own weather
            view = view if view is record else replace(view, coming=ComingWeather(members=record.coming.members))
        long_enough = np.count_nonzero(days) > 2 * SHORTEST_STRETCH
        for stretch in range(STRETCHES if long_enough else 1):
            shown = random_stretch(random, days) if stretch else days
            if not has_values(view, shown):  # an outage: nothing to take statistics from
                shown = days
            statistics = view.key, shown.tobytes()
            if statistics not in scaled:
                scaled[statistics] = scale_record(view, shown, scaling=settings.scaling)
            sources.append((scaled[statistics], targets))
    return sources


def has_values(record: Record, days: np.ndarray) -> bool:
    """Whether every variable is observed anywhere on the given days (bool [T])."""
    seen = np.zeros(len(VARIABLES), bool)
    for day in record.input_days - 1 + np.flatnonzero(days):
        seen |= (record.age[day][:, record.land] == 0).any(axis=1)
        if seen.all():
            return True
    return False


def random_stretch(random: np.random.Generator, days: np.ndarray) -> np.ndarray:
    """Some consecutive days of a record, or all of them.

    Parameters
    ----------
    random : numpy.random.Generator
    days : bool [T]
        Days to draw from.

    Returns
    -------
    bool [T]
    """
    if random.random() < WHOLE_SHARE:
        return days
    chosen = np.flatnonzero(days)
    longest = min(LONGEST_STRETCH, len(chosen))
    length = int(np.exp(random.uniform(np.log(SHORTEST_STRETCH), np.log(longest))))
    first = chosen[random.integers(len(chosen) - length + 1)]
    shown = np.zeros(len(days), bool)
    shown[first:first + length] = True
    return shown & days
