"""Splits by target date: dates, embargo, validation, cuts, audit."""

from dataclasses import FrozenInstanceError
from datetime import date

import numpy as np
import pytest
from conftest import Experiment, day_axis

from data_processing.cube import cube_days, cube_values, land_mask, open_cube
from data_processing.errors import UserError
from data_processing.splits import asked_lead_times, audit_rows, cut_record, format_audit, parse_date, split_cube, split_days, write_audit

LONG = day_axis("2010-01-01", 2191)  # six years, to 2015-12-31
CONUS = day_axis("2015-04-01", 549)


def split(time=LONG, **settings):
    settings = {"lead_time": 3, "input_days": 3} | settings
    return split_days(time, lead_times=(settings.pop("lead_time"),), **settings)


def test_long_record_by_default():
    splits = split()
    assert str(splits.test_from) == "2015-01-01" and splits.test.size == 365
    assert str(splits.train_until) == "2014-12-28"  # 29, 30, 31 December are the embargo
    assert splits.validation.size == 365 and str(splits.validation_from) == "2013-12-29"
    assert str(splits.time[splits.train[-1]]) == "2013-12-25" and splits.train[0] == 3
    assert str(splits.time[splits.fit_days][-1]) == "2013-12-25" and splits.fit_days[0]
    assert str(splits.time[splits.history_days][-1]) == "2014-12-28"


def test_short_record_tests_on_its_last_quarter():
    assert split(CONUS).test.size == 549 // 4
    assert split(day_axis("2010-01-01", 1094)).test.size == 1094 // 4
    assert split(day_axis("2010-01-01", 1095)).test.size == 365


@pytest.mark.parametrize("training_days, expected", [
    (60, 20), (100, 30), (180, 30), (366, 61), (1459, 243), (1460, 365), (2000, 365)])
def test_length_of_the_validation(training_days, expected):
    time = day_axis("2010-01-01", 2400)
    splits = split(time, train_until=time[training_days - 1], test_from="2016-01-01")
    assert splits.validation.size == expected
    assert splits.validation[-1] == training_days - 1
    assert splits.train[-1] == training_days - expected - 3 - 1


@pytest.mark.parametrize("lead_time", [1, 3, 5, 7, 30])
def test_embargo_is_lead_time_full_days_and_no_target_is_shared(lead_time):
    splits = split(lead_time=lead_time, input_days=lead_time)
    rows = audit_rows(splits)
    assert [row["embargo_days_before"] for row in rows] == [None, lead_time, lead_time]
    targets = np.concatenate([splits.train, splits.validation, splits.test])
    assert np.unique(targets).size == targets.size and (np.diff(targets) > 0).all()
    assert splits.train[0] == lead_time  # the first target with an init day inside the record


def test_embargo_days_and_explicit_dates_win():
    assert [row["embargo_days_before"] for row in audit_rows(split(embargo_days=20))] == [None, 20, 20]
    assert [row["embargo_days_before"] for row in audit_rows(split(embargo_days=0))] == [None, 0, 0]
    splits = split(CONUS, train_until="2016-03-31", test_from="2016-04-01")
    assert [row["embargo_days_before"] for row in audit_rows(splits)] == [None, 3, 0]
    assert str(splits.train_until) == "2016-03-31" and str(splits.time[splits.validation[-1]]) == "2016-03-31"
    assert str(splits.test_from) == "2016-04-01" and str(splits.time[splits.test[-1]]) == "2016-09-30"
    assert splits.history_days.sum() == 366
    assert split(test_days=100).test.size == 100


def test_test_days_do_not_depend_on_lead_time_or_network():
    tests = [split(lead_time=lead, input_days=days).test
             for lead, days in ((1, 1), (3, 3), (7, 45), (30, 90))]
    assert all(np.array_equal(tests[0], test) for test in tests)


def test_statistics_never_see_validation_or_test():
    splits = split(CONUS)
    assert not splits.fit_days[splits.validation].any() and not splits.fit_days[splits.test].any()
    assert splits.fit_days[splits.train].all()
    assert splits.history_days[splits.validation].all() and not splits.history_days[splits.test].any()


def test_train_days_keep_only_the_last_days(small_cube):
    cube = open_cube(small_cube(days=800, rows=1, columns=1))
    whole = split(cube_days(cube))
    splits = split(cube_days(cube), train_days=200)
    assert splits.train_until == whole.train_until and splits.test_from == whole.test_from
    assert splits.history_days.sum() == 200
    assert splits.validation.size == 200 // 6 and splits.train[0] == 3
    cut = cut_record(cube, train_until=splits.train_until, train_days=200)
    np.testing.assert_array_equal(cube_days(cut), splits.time)
    np.testing.assert_array_equal(cube_values(cut), cube_values(cube)[-len(splits.time):])
    assert audit_rows(splits)[0]["first_input"] == splits.time[0]


def test_source_until_drops_all_later_days(small_cube):
    cube = open_cube(small_cube(days=40))
    cut = cut_record(cube, until="2015-04-20")
    assert str(cube_days(cut)[-1]) == "2015-04-20" and cube_values(cut).shape[0] == 20
    assert cut_record(cube, until="2030-01-01").sizes["time"] == 40
    assert cut_record(cube).sizes["time"] == 40
    with pytest.raises(UserError, match="no day left"):
        cut_record(cube, until="2010-01-01")
    with pytest.raises(UserError, match="^until is 'soon'"):
        cut_record(cube, until="soon")
    with pytest.raises(UserError, match="^train_until is 'soon'"):
        cut_record(cube, train_until="soon", train_days=3)


@pytest.mark.parametrize("settings, message", [
    ({"lead_time": 0}, "lead_time is 0 days; it must be 1 to 30"),
    ({"lead_time": 31}, "lead_time is 31"),
    ({"input_days": 0}, "input_days is 0"),
    ({"embargo_days": -1}, "embargo_days is -1"),
    ({"test_days": 0}, "test_days is 0"),
    ({"test_days": 2191}, "test_days is 2191, the record has 2191 days"),
    ({"test_days": 10, "test_from": "2015-01-01"}, "both given"),
    ({"test_from": "2020-01-01"}, "test_from 2020-01-01 lies outside the record, 2010-01-01 to 2015-12-31"),
    ({"test_from": "soon"}, "test_from is 'soon'; expected a date"),
    ({"test_from": "2015"}, "test_from is '2015'; expected a date"),
    ({"train_until": "soon"}, "train_until is 'soon'; expected a date"),
    ({"train_until": "2010-01-01"}, "has 1 days"),  # the record's first day is inside it
    ({"test_from": "2010-01-01"}, "begins 2010-01-01, 0 days after the record's first"),
    ({"input_days": 2192}, "input_days is 2192, the record has 2191 days"),
    ({"test_from": "2010-01-11", "embargo_days": 10}, "10 days after the record's first .2010-01-01., the embargo takes 10"),
    ({"test_from": "2010-01-11", "embargo_days": 9}, "the training period, 2010-01-01 to 2010-01-01, has 1 days"),
    ({"train_days": 0}, "train_days is 0; it must be 1 or more"),
    ({"train_days": 1}, "has 1 days"),
    ({"train_until": "2009-01-01"}, "train_until 2009-01-01 lies outside"),
    ({"train_until": "2015-01-01", "test_from": "2015-01-01"}, "must lie before test_from"),
    ({"test_from": "2010-01-03"}, "no training day is left"),
    ({"train_until": "2010-01-08"}, "has 8 days: 2 for validation, 3 of embargo and the first 3"),
    ({"train_days": 5000}, "train_days is 5000, but the record has 1823 days"),
    ({"train_days": 5}, "has 5 days"),
])
def test_mistakes_are_refused_with_numbers(settings, message):
    with pytest.raises(UserError, match=message):
        split(**settings)


@pytest.mark.parametrize("time", [LONG[:0], LONG[[0, 1, 3]], LONG[::-1], LONG[[0, 0, 1]]])
def test_a_record_with_holes_is_refused(time):
    with pytest.raises(ValueError, match="every day from the first to the last"):
        split(time)


def test_the_largest_numbers_that_work():
    assert split(input_days=LONG.size).input_days == LONG.size
    assert split(train_days=1823).time[0] == LONG[0] < split(train_days=1822).time[0]
    assert split(test_from=LONG[-1]).test.tolist() == [2190]
    assert split(test_days=1).test.tolist() == [2190]


def test_three_days_of_training_have_one_of_validation_and_two_have_none():
    time = day_axis("2010-01-01", 7)
    splits = split(time, lead_time=1, embargo_days=0, train_until="2010-01-03")
    assert [part.tolist() for part in (splits.train, splits.validation, splits.test)] == [[1], [2], [6]]
    with pytest.raises(UserError, match="has 2 days: 0 for validation, 0 of embargo and the first 1"):
        split(time, lead_time=1, embargo_days=0, train_until="2010-01-02")


def test_dates_are_text_or_dates():
    assert parse_date(date(2016, 4, 1), "any") == parse_date("2016-04-01", "any") == np.datetime64("2016-04-01", "D")
    assert parse_date(np.datetime64("2016-04-01T12"), "any").dtype == "M8[D]"
    for wrong in (None, np.datetime64("NaT"), "2016-04", "2016-02-30"):
        with pytest.raises(UserError, match="any is .*; expected a date such as 2016-04-01"):
            parse_date(wrong, "any")


def test_splits_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        split().train_until = LONG[-1]


def test_lead_times_are_those_asked_for_in_ascending_order():
    assert asked_lead_times(Experiment(lead_time=3)) == (3,)
    assert asked_lead_times(Experiment(lead_time=3, lead_times=(7, 1))) == (1, 7)
    with pytest.raises(UserError, match="lead_times names a day twice: 1, 7, 7"):
        asked_lead_times(Experiment(lead_times=(7, 1, 7)))


@pytest.mark.parametrize("changes", [{"test_days": 50}, {"test_from": "2016-03-01"}, {"train_until": "2016-01-01"},
                                     {"train_days": 200}, {"embargo_days": 11}, {"lead_times": (2, 6)}])
def test_a_cube_is_split_by_its_settings_after_it_is_cut(small_cube, changes):
    settings = Experiment(input_days=4, **changes)
    cube, splits = split_cube(small_cube(days=500), settings, until="2016-07-31")
    time = day_axis("2015-04-01", 488)
    expected = split_days(time, lead_times=asked_lead_times(settings), input_days=4, test_from=settings.test_from,
                          test_days=settings.test_days, train_until=settings.train_until, train_days=settings.train_days,
                          embargo_days=settings.embargo_days)
    assert splits.lead_times == expected.lead_times and splits.input_days == 4
    for name in ("time", "train", "validation", "test"):
        np.testing.assert_array_equal(getattr(splits, name), getattr(expected, name))
    np.testing.assert_array_equal(cube_days(cube), splits.time)
    assert splits.train_until == expected.train_until
    assert str(splits.time[-1]) == "2016-07-31"


def test_shortest_record_that_works():
    splits = split(day_axis("2010-01-01", 30), train_until="2010-01-10", test_from="2010-01-14")
    assert [splits.train.tolist(), splits.validation.tolist()] == [[3], [7, 8, 9]]


def test_fault_09_audit_prints_and_saves_the_dates(tmp_path):
    rows = audit_rows(split(lead_time=5, input_days=7, test_from="2015-01-01"))
    train, validation, test = rows
    assert str(train["first_input"]) == "2010-01-01" and str(train["first_target"]) == "2010-01-06"
    assert str(test["first_target"]) == "2015-01-01" and str(test["last_target"]) == "2015-12-31"
    assert str(test["last_input"]) == "2015-12-26"
    assert str(test["first_input"]) == "2014-12-21"  # a test input may reach back before test_from
    assert test["windows"] == 365 and validation["windows"] == 365
    assert format_audit(rows).splitlines() == [
        "split       inputs      until       targets     until       windows  embargo",
        "train       2010-01-01  2013-12-16  2010-01-06  2013-12-21  1446",
        "validation  2013-12-16  2014-12-21  2013-12-27  2014-12-26  365      5",
        "test        2014-12-21  2015-12-26  2015-01-01  2015-12-31  365      5",
        "embargo = days without targets between two splits",
        "what is known of the days after the last input: nothing"]
    assert format_audit(rows[:2] + [test | {"windows": 15}]).splitlines()[-1] == (
        "only 15 test days: their scores are a first sign, no more")
    write_audit(tmp_path / "splits.csv", rows)
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert lines[0] == "split,first_input,last_input,first_target,last_target,windows,embargo_days_before,after_last_input"
    assert lines[3] == "test,2014-12-21,2015-12-26,2015-01-01,2015-12-31,365,5,nothing"
    assert [file.name for file in tmp_path.iterdir()] == ["splits.csv"]


def test_real_cube_has_the_known_number_of_test_values(real_cube):
    cube = open_cube(real_cube)
    values = cube_values(cube)
    splits = split(cube_days(cube), train_until="2016-03-31", test_from="2016-04-01")
    land = land_mask(np.where(np.isnan(values[:, 1]), 255, 0), splits.history_days)
    observed = values[splits.test, 1][:, land]
    assert np.count_nonzero(~np.isnan(observed)) == 36048
