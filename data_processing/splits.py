"""Training, validation and test days: by target date, in order of time, the same for every network.

A record may have to be cut before it is used: `split_cube` cuts, splits and cuts in the right order. With
`train_days`, `splits.time` begins on the first day that is kept and all indices count from there.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.coming_weather import kind_of
from data_processing.cube import cube_days, open_cube
from data_processing.errors import UserError
from data_processing.files import write_csv

if TYPE_CHECKING:
    import xarray

YEAR = 365
FEW_TEST_DAYS = 60  # a season and its weather are not in fewer
LONGEST_LEAD_TIME = 30
SHORTEST_VALIDATION = 30  # days, where a third of the training period allows it
ONE_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class Splits:
    """Target days of each split, as indices into `time`.

    A target day t is forecast on day t - d, for each d of `lead_times`, from the `input_days` days that end there.
    """

    lead_times: tuple[int, ...]  # days from the last input day to the target day, ascending
    input_days: int  # days per window
    embargo_days: int  # full days without targets before validation and, by default, test
    time: np.ndarray  # datetime64[D] [T], the days of the record
    train: np.ndarray  # int [n], sorted
    validation: np.ndarray  # int [n], sorted
    test: np.ndarray  # int [n], sorted
    train_until: np.datetime64  # last day whose value may be learned from

    @property
    def lead_time(self) -> int:
        """The longest of the lead times, days."""
        return self.lead_times[-1]

    @property
    def fit_days(self) -> np.ndarray:
        """Bool [T]: days up to the last training target; statistics and scaling are fitted on these."""
        return self.time <= self.time[self.train[-1]]

    @property
    def history_days(self) -> np.ndarray:
        """Bool [T]: days up to `train_until`, validation included; the baselines learn from these."""
        return self.time <= self.train_until

    @property
    def validation_from(self) -> np.datetime64:
        """First validation target; a source record must end before it."""
        return self.time[self.validation[0]]

    @property
    def test_from(self) -> np.datetime64:
        """First test target."""
        return self.time[self.test[0]]


def asked_lead_times(settings: Any) -> tuple[int, ...]:
    """Lead times of a script's settings, days, ascending: `lead_times`, or the one `lead_time`."""
    lead_times = tuple(sorted(settings.lead_times or (settings.lead_time,)))
    if len(set(lead_times)) < len(lead_times):
        raise UserError(f"lead_times names a day twice: {', '.join(map(str, lead_times))}.")
    return lead_times


def split_days(time: np.ndarray, *, lead_times: Sequence[int], input_days: int, test_from: date | str | None = None,
               test_days: int | None = None, train_until: date | str | None = None, train_days: int | None = None,
               embargo_days: int | None = None) -> Splits:
    """Split a record by target date.

    Parameters
    ----------
    time : datetime64[D] [T]
        Every day of the record.
    lead_times : sequence of int
        Days from the last input day to the target day, 1 to 30 each, ascending.
    input_days : int
        Days per window; it may begin before the record, the days that lack are missing inputs.
    test_from : date or str, optional
        First test target; the test period lasts to the end of the record.
    test_days : int, optional
        Length of the test period, instead of `test_from`. Default 365, or a quarter of a record under three
        years.
    train_until : date or str, optional
        Last training or validation target. Default: so that `embargo_days` full days lie between it and
        `test_from`. A date that is given wins over the embargo.
    train_days : int, optional
        Keep only the last n days up to `train_until`, validation included; what lies before does not exist,
        neither as target nor as input.
    embargo_days : int, optional
        Full days without targets before validation and test. Default the longest lead time.

    Returns
    -------
    Splits
        Training period = first kept day to `train_until`. Validation = its last 365 days; of a period under
        four years its last sixth, at least 30 days but never over a third. Training = what lies
        `embargo_days` before it; the first days of the record, as many as the longest lead time, are no targets: they
        have no init day.

    Raises
    ------
    UserError
        Dates outside the record or out of order, numbers out of range, a record too short.
    """
    time = np.asarray(time, "datetime64[D]")
    if time.size == 0 or (np.diff(time) != ONE_DAY).any():
        raise ValueError("time must hold every day from the first to the last")
    embargo_days = lead_times[-1] if embargo_days is None else embargo_days
    _check_numbers(lead_times, input_days, test_days, train_days, embargo_days)
    test_from = _first_test_day(time, test_from, test_days)
    if input_days > time.size:
        raise UserError(f"input_days is {input_days}, the record has {time.size} days ({time[0]} to {time[-1]}); ask for "
                        f"{time.size} or fewer.")
    if train_until is None:
        days_before = int((test_from - time[0]).astype(int))
        if embargo_days >= days_before:
            raise UserError(f"the test period begins {test_from}, {days_before} days "
                            f"after the record's first ({time[0]}), the embargo takes {embargo_days}: no "
                            "training day is left. Choose a later test_from, fewer test_days or another "
                            "record.")
        train_until = test_from - (embargo_days + 1) * ONE_DAY
    train_until = parse_date(train_until, "train_until")
    _check_inside(train_until, "train_until", time)
    if train_until >= test_from:
        raise UserError(f"train_until {train_until} must lie before test_from {test_from}; choose an earlier "
                        "one.")

    if train_days is not None:
        available = int((train_until - time[0]).astype(int)) + 1
        if train_days > available:
            raise UserError(f"train_days is {train_days}, but the record has {available} days from {time[0]} "
                            f"to train_until {train_until}; ask for {available} or fewer, or leave it out.")
        time = time[available - train_days:]
    return _targets(time, tuple(lead_times), input_days, embargo_days, train_until, test_from)


def _targets(time, lead_times, input_days, embargo_days, train_until, test_from):
    lead_time = lead_times[-1]
    training_days = int((train_until - time[0]).astype(int)) + 1
    validation_days = YEAR
    if training_days < 4 * YEAR:
        validation_days = min(max(training_days // 6, SHORTEST_VALIDATION), training_days // 3)
    validation_start = training_days - validation_days
    train = np.arange(lead_time, validation_start - embargo_days)
    validation = np.arange(max(validation_start, lead_time), training_days)
    test = np.arange(int((test_from - time[0]).astype(int)), time.size)
    if train.size == 0 or validation.size == 0:
        raise UserError(f"the training period, {time[0]} to {train_until}, has {training_days} days: "
                        f"{validation_days} for validation, {embargo_days} of embargo and the first "
                        f"{lead_time} without an init day "
                        "leave no training target. Choose a later train_until or test_from, more train_days, "
                        "a shorter lead_time or a longer record.")
    return Splits(lead_times=lead_times, input_days=input_days, embargo_days=embargo_days, time=time,
                  train=train, validation=validation, test=test, train_until=train_until)


def _check_numbers(lead_times, input_days, test_days, train_days, embargo_days):
    for lead_time in lead_times:
        if not 1 <= lead_time <= LONGEST_LEAD_TIME:
            raise UserError(f"lead_time is {lead_time} days; it must be 1 to {LONGEST_LEAD_TIME}.")
    for name, number, least in (("input_days", input_days, 1), ("test_days", test_days, 1),
                                ("train_days", train_days, 1), ("embargo_days", embargo_days, 0)):
        if number is not None and number < least:
            raise UserError(f"{name} is {number}; it must be {least} or more.")


def _first_test_day(time, test_from, test_days):
    if test_from is not None and test_days is not None:
        raise UserError(f"test_from ({test_from}) and test_days ({test_days}) are both given; give one of "
                        "them.")
    if test_from is not None:
        test_from = parse_date(test_from, "test_from")
        _check_inside(test_from, "test_from", time)
        return test_from
    if test_days is None:
        test_days = YEAR if time.size >= 3 * YEAR else max(1, time.size // 4)
    if test_days >= time.size:
        raise UserError(f"test_days is {test_days}, the record has {time.size} days ({time[0]} to "
                        f"{time[-1]}); nothing would be left to train on.")
    return time[-test_days]


def parse_date(value: date | str | np.datetime64, name: str) -> np.datetime64:
    """Day of a date or its text; a text must name all of it: 2016 is not the first day of that year."""
    try:
        named: Any = datetime.date.fromisoformat(value) if isinstance(value, str) else value
        date = np.datetime64(named, "D")
    except (ValueError, TypeError):
        raise UserError(f"{name} is {value!r}; expected a date such as 2016-04-01.") from None
    if np.isnat(date):
        raise UserError(f"{name} is {value!r}; expected a date such as 2016-04-01.")
    return date


def _check_inside(date, name, time):
    if not time[0] <= date <= time[-1]:
        raise UserError(f"{name} {date} lies outside the record, {time[0]} to {time[-1]}.")


def cut_record(cube: xarray.Dataset, *, until: date | str | None = None, train_until: np.datetime64 | None = None,
               train_days: int | None = None) -> xarray.Dataset:
    """Drop days of a cube as if they had never been recorded.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`.
    until : date or str, optional
        Last day that is kept (a source's `source_until`); a record that ends earlier stays as it is.
    train_until, train_days : date or str, int, optional
        With `train_days`, days before the last n up to `train_until` are dropped.

    Returns
    -------
    xarray.Dataset
    """
    time = cube_days(cube)
    keep = np.ones(time.size, bool)
    if until is not None:
        keep &= time <= parse_date(until, "until")
    if train_days is not None:
        keep &= time > parse_date(train_until, "train_until") - train_days * ONE_DAY
    if not keep.any():
        raise UserError(f"the record, {time[0]} to {time[-1]}, has no day left when it is cut at "
                        f"{until or train_until}.")
    kept = np.flatnonzero(keep)
    return cube.isel(time=slice(kept[0], kept[-1] + 1))


def split_cube(path: str | Path, settings: Any, *, until: date | str | None = None) -> tuple[xarray.Dataset, Splits]:
    """Open a cube and split it by the settings of a script.

    Parameters
    ----------
    path : str or Path
    settings : Settings
        Read here: lead_time, lead_times, input_days, test_from, test_days, train_until, train_days, embargo_days.
    until : date or str, optional
        Drop all later days before anything else (a source's `source_until`).

    Returns
    -------
    cube : xarray.Dataset
        Only the days that exist under these settings.
    splits : Splits
        Of the same days.
    """
    cube = cut_record(open_cube(path), until=until)
    splits = split_days(cube_days(cube), lead_times=asked_lead_times(settings), input_days=settings.input_days,
                        test_from=settings.test_from, test_days=settings.test_days,
                        train_until=settings.train_until, train_days=settings.train_days,
                        embargo_days=settings.embargo_days)
    return cut_record(cube, train_until=splits.train_until, train_days=settings.train_days), splits


# ------------------------------------------------------------------------------------------------------ audit
def audit_rows(splits: Splits, coming_weather: str = "none") -> list[dict]:
    """What each split reads and forecasts.

    Parameters
    ----------
    splits : Splits
    coming_weather : str
        The setting: what a forecast is told of the days after its last input.

    Returns
    -------
    list of dict
        One per split: `split`; `first_input` = first recorded day of its first window, `last_input` = last
        init day; `first_target`, `last_target` (dates); `windows` = number of target days; `embargo_days_before`
        = full days between the former split's last target and this one's first (None for training);
        `after_last_input` = what is known of later days: nothing, a forecast, or (an upper bound) their observed weather.
    """
    told = kind_of(coming_weather).audit
    rows, last = [], None
    for name in ("train", "validation", "test"):
        targets = getattr(splits, name)
        first_input = max(0, targets[0] - splits.lead_time - splits.input_days + 1)
        rows.append({"split": name,
                     "first_input": splits.time[first_input],
                     "last_input": splits.time[targets[-1] - splits.lead_times[0]],
                     "first_target": splits.time[targets[0]],
                     "last_target": splits.time[targets[-1]],
                     "windows": targets.size,
                     "embargo_days_before": None if last is None else int(targets[0] - last - 1),
                     "after_last_input": told})
        last = targets[-1]
    return rows


def format_audit(rows: list[dict]) -> str:
    """Text of `audit_rows` for the terminal: a line per split, 80 columns wide."""
    heads = ["split", "inputs", "until", "targets", "until", "windows", "embargo"]
    table = [heads] + [["" if value is None else str(value) for value in row.values()][:len(heads)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in table)
    few = [f"only {rows[-1]['windows']} test days: their scores are a first sign, no more"] * (rows[-1]["windows"] < FEW_TEST_DAYS)
    return "\n".join([*map(str.rstrip, lines), "embargo = days without targets between two splits",
                      f"what is known of the days after the last input: {rows[0]['after_last_input']}", *few])


def write_audit(path: Path, rows: list[dict]) -> None:
    """Write `audit_rows` as CSV; the file appears under its name only when it is complete."""
    write_csv(path, list(rows[0]), rows)
