"""Spread and intervals from validation errors, against numbers known by hand or by chance."""
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from data_processing.errors import UserError
from utils.ensembles import ensemble_rows, members_variance
from utils.spread import (
    Validation,
    error_spread,
    month_place,
    month_weights,
    on_days,
    predict_spread,
    read_validation,
    write_validation,
)

LAND = np.ones((1, 2), bool)
FIRST = np.datetime64("2019-01-01")


def validation_of(errors, variance=None, step=1):
    """Validation of errors of every `step`th day from the start of a year on."""
    return Validation(errors, FIRST + step * np.arange(len(errors)), variance)


def days_of(forecast):
    """Valid times of a forecast of consecutive days, [N, L]."""
    return np.repeat((FIRST + np.arange(len(forecast)))[:, None], forecast.shape[1], axis=1)


def test_predicted_spread_is_the_validation_error_and_its_interval_holds_nine_of_ten():
    random = np.random.default_rng(2)
    validation = validation_of(random.normal(0, [[[0.02, 0.04]]], (4000, 1, 1, 2)).astype(np.float32))
    spread, ends = error_spread(validation, LAND)
    np.testing.assert_allclose(spread[:, 0, 0], np.tile([0.02, 0.04], (12, 1)), rtol=0.08)
    np.testing.assert_allclose(ends[..., 0], np.tile([[-1.645], [1.645]], 12), atol=0.12)
    forecast = np.full((4000, 1, 1, 2), 0.3, np.float32)
    observed = forecast - random.normal(0, [[[0.02, 0.04]]], forecast.shape).astype(np.float32)
    spread, ends = predict_spread(forecast, days_of(forecast), None, validation, LAND)
    row, = ensemble_rows(observed=observed, forecast=forecast, spread=spread, ends=ends, members=None, lead_times=(3,))
    assert row["coverage_90"] == pytest.approx(0.9, abs=0.01) and row["predicted_spread_skill"] == pytest.approx(1, abs=0.03)
    assert np.isnan(row["member_crps"])


def test_interval_stands_on_the_right_side_of_a_biased_forecast():
    errors = np.full((50, 1, 1, 2), 0.03, np.float32)  # forecasts are too wet: the truth lies below
    forecast = np.full((1, 1, 1, 2), 0.3, np.float32)
    _, ends = predict_spread(forecast, days_of(forecast), None, validation_of(errors), LAND)
    np.testing.assert_allclose(ends, 0.27, atol=1e-6)


def test_no_end_of_an_interval_is_below_no_water_or_above_water_alone():
    errors = np.where(np.arange(50) % 2, 0.1, -0.1).astype(np.float32).reshape(50, 1, 1, 1).repeat(2, 3)
    forecast = np.array([0.02, 0.97], np.float32).reshape(1, 1, 1, 2)
    _, ends = predict_spread(forecast, days_of(forecast), None, validation_of(errors), LAND)
    np.testing.assert_allclose(ends[:, 0, 0, 0], [[0, 0.87], [0.12, 1]], atol=1e-6)


def test_cell_with_few_validation_days_has_the_usual_spread():
    """The year's mean squared error, with 10 days of the usual one beside; the month's, with 10 days of that beside."""
    errors = np.full((100, 1, 1, 2), 0.02, np.float32)
    errors[1:, 0, 0, 1] = np.nan
    errors[0, 0, 0, 1] = 0.0
    spread, _ = error_spread(validation_of(errors), LAND)
    of_cell = 10 * (100 * 4e-4 / 101) / 11
    january = month_weights(np.array([FIRST]))[0, 0]
    assert spread[0, 0, 0, 1] == pytest.approx(np.sqrt(10 * of_cell / (10 + january)), rel=0.01)
    assert spread[6, 0, 0, 1] == pytest.approx(np.sqrt(of_cell), rel=0.01)  # far from any validation day: the cell's own


def test_summer_has_the_spread_of_summer_days():
    """An error of 0.01 in winter and 0.05 in summer: one spread for the year holds all of winter and half of summer."""
    time = FIRST + np.arange(365)
    size = np.where((time >= FIRST + 90) & (time < FIRST + 270), 0.05, 0.01)
    errors = (np.where(np.arange(365) % 2, 1, -1) * size)[:, None, None, None].astype(np.float32).repeat(2, 3)
    validation = validation_of(errors)
    spread, _ = error_spread(validation, LAND)
    assert spread[6, 0, 0, 0] == pytest.approx(0.05, rel=0.1) and spread[0, 0, 0, 0] == pytest.approx(0.01, rel=0.8)
    forecast = np.full((365, 1, 1, 2), 0.3, np.float32)
    width = predict_spread(forecast, days_of(forecast), None, validation, LAND)[0][:, 0, 0, 0]
    assert width[195] > 2.5 * width[10]
    assert np.abs(np.diff(width)).max() < 0.001  # no jump between months


def test_months_without_validation_days_have_the_spread_of_the_others():
    errors = np.where(np.arange(30) % 2, 0.04, -0.04).astype(np.float32).reshape(30, 1, 1, 1).repeat(2, 3)
    spread, ends = error_spread(validation_of(errors), LAND)
    np.testing.assert_allclose(spread, 0.04, rtol=1e-5)
    np.testing.assert_allclose(ends, np.tile([[[-1.0]], [[1.0]]], (1, 12, 1)), rtol=1e-5)


def test_lead_time_without_any_known_error_has_an_unknown_spread_and_not_one_of_0():
    errors = np.where(np.arange(30) % 2, 0.04, -0.04).astype(np.float32).reshape(30, 1, 1, 1).repeat(2, 1).repeat(2, 3)
    errors[:, 1] = np.nan
    spread, ends = error_spread(validation_of(errors), LAND)
    assert np.isnan(spread[:, 1]).all() and np.isnan(ends[..., 1]).all()
    np.testing.assert_allclose(spread[:, 0], 0.04, rtol=1e-5)


def test_memory_of_many_lead_times_is_that_of_their_months_and_no_multiple():
    land = np.ones((200, 200), bool)

    def peak_bytes(leads):
        errors = np.full((2, leads, *land.shape), 0.03, np.float32)
        forecast = np.zeros((1, leads, *land.shape), np.float32)
        tracemalloc.start()
        predict_spread(forecast, np.full((1, leads), FIRST), forecast, validation_of(errors, variance=errors), land)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    months = 12 * land.size * 4  # bytes of a lead time, of the errors and of the variance; the latter stands twice when it is joined
    assert peak_bytes(6) - peak_bytes(1) < 5 * 3.5 * months


def test_month_of_a_day_is_linear_in_between():
    time = np.array(["2019-01-16", "2019-01-01", "2019-12-16", "2020-12-31"], "datetime64[D]")
    np.testing.assert_allclose(month_place(time), [0, -0.5, 11, 11.5], atol=0.05)
    np.testing.assert_allclose(month_weights(time)[:, 0][[0, 1, 2, 11]], [1, 0.49, 0, 0.49], atol=0.02)
    np.testing.assert_allclose(on_days(np.arange(12.0), time), [0, 5.5, 11, 5.5], atol=0.4)  # from December's 11 to January's 0


def test_days_on_which_members_disagree_more_are_less_certain():
    members = np.zeros((2, 3, 1, 1, 2), np.float32)
    members[0, 1], members[1, 1] = 0.05, -0.05
    members[0, 2], members[1, 2] = 0.01, -0.01  # their usual disagreement
    errors = np.array([0.03, -0.03] * 10, np.float32).reshape(20, 1, 1, 1).repeat(2, axis=3)
    validation = validation_of(errors, variance=np.full_like(errors, 2e-4))
    mean = members.mean(axis=0)
    spread, _ = predict_spread(mean, days_of(mean), members_variance(members), validation, LAND)
    assert (spread[1] > spread[2]).all() and (spread[2] > spread[0]).all()
    np.testing.assert_allclose(spread[2], 0.03, rtol=1e-5)
    alone, _ = predict_spread(mean[:1], days_of(mean[:1]), members_variance(members[:, :1]), validation, LAND)
    np.testing.assert_array_equal(alone, spread[:1])  # later test days change nothing


def test_members_that_always_disagree_more_in_summer_do_not_widen_summer_twice():
    time = FIRST + np.arange(365)
    summer = np.abs(month_place(time) - 6) < 3
    errors = (np.where(summer, 0.04, 0.02) * np.where(np.arange(365) % 2, 1, -1))[:, None, None, None].astype(np.float32)
    variance = np.where(summer, 4e-4, 1e-4)[:, None, None, None].astype(np.float32)
    july = np.full((1, 1, 1, 1), 0.3, np.float32), time[195:196, None]
    land = np.ones((1, 1), bool)
    plain, _ = predict_spread(*july, None, validation_of(errors), land)
    told, _ = predict_spread(*july, np.full((1, 1, 1, 1), 4e-4, np.float32), validation_of(errors, variance), land)
    np.testing.assert_allclose(told, plain, rtol=0.02)


def test_members_whose_usual_disagreement_is_unknown_leave_the_spread_of_the_errors():
    errors = np.array([0.03, -0.03] * 10, np.float32).reshape(20, 1, 1, 1).repeat(2, axis=3)
    members = np.array([0.1, -0.1], np.float32)[:, None, None, None, None] * np.ones((1, 3, 1, 1, 2), np.float32)
    mean = members.mean(axis=0)
    for usual in (None, np.full_like(errors, np.nan)):
        spread, _ = predict_spread(mean, days_of(mean), members_variance(members), validation_of(errors, usual), LAND)
        np.testing.assert_allclose(spread, 0.03, rtol=1e-5)


def test_validation_runs_tell_errors_of_their_mean_and_how_much_they_disagree(tmp_path):
    observed = np.full((4, 1, 1), 0.2, np.float32)
    time = np.datetime64("2020-01-01") + np.arange(4)
    for name, value in (("a", 0.25), ("b", 0.35)):
        write_validation(tmp_path / name, np.full((4, 1, 1, 1), value, np.float32), (), observed, time, [3])
    found = read_validation([tmp_path / "a", tmp_path / "b"])
    np.testing.assert_allclose(found.errors, 0.1, rtol=1e-5)
    np.testing.assert_allclose(found.variance, 0.005, rtol=1e-4)
    np.testing.assert_array_equal(found.valid_time, time)
    assert read_validation([tmp_path / "a"]).variance is None


def test_members_of_weather_forecasts_count_beside_the_runs(tmp_path):
    """Variance among 0.2 and 0.4 of one run's weather 0.02, of another's 0; among their means 0.3 and 0.5 0.02: 0.01 + 0.02."""
    time, observed = np.datetime64("2020-01-01") + np.arange(4), np.zeros((4, 1, 1), np.float32)
    for name, values in (("a", (0.2, 0.4)), ("b", (0.5, 0.5))):
        members = np.array(values, np.float32)[:, None, None, None, None].repeat(4, axis=1)
        write_validation(tmp_path / name, members.mean(axis=0), members, observed, time, [3])
    np.testing.assert_allclose(read_validation([tmp_path / "a", tmp_path / "b"]).variance, 0.03, rtol=1e-4)


def test_runs_validated_on_different_days_do_not_tell_the_spread_of_their_mean(tmp_path):
    for name, day in (("a", "2020-01-01"), ("b", "2020-01-02")):
        (tmp_path / name).mkdir()
        write_validation(tmp_path / name / "validation.nc", np.zeros((4, 1, 1, 1), np.float32), (), np.zeros((4, 1, 1), np.float32),
                         np.datetime64(day) + np.arange(4), [3])
    with pytest.raises(UserError, match="validated on different days"):
        read_validation([tmp_path / name / "validation.nc" for name in "ab"])


def test_file_of_a_version_that_kept_only_the_mean_disagreement_of_members_is_refused(tmp_path):
    write_validation(tmp_path / "new.nc", np.zeros((4, 1, 1, 1), np.float32), (), np.zeros((4, 1, 1), np.float32),
                     np.datetime64("2020-01-01") + np.arange(4), [3])
    with xr.open_dataset(tmp_path / "new.nc") as file:
        file.assign(member_variance=(("lead_time", "y", "x"), np.full((1, 1, 1), 1e-4))).to_netcdf(tmp_path / "old.nc")
    with pytest.raises(UserError, match="old.nc was made by an older version: .* Train again"):
        read_validation([tmp_path / "old.nc"])
