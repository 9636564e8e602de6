"""Spread, intervals, CRPS and ranks, against numbers known by hand or by chance."""
import numpy as np
import pytest

from data_processing.errors import UserError
from utils.ensembles import (
    ensemble_rows,
    error_spread,
    fair_crps,
    gaussian_crps,
    members_variance,
    predict_spread,
    rank_histogram,
    read_validation,
    spread_skill,
    write_validation,
)

LAND = np.ones((1, 2), bool)


def test_crps_of_a_sure_forecast_is_the_absolute_error():
    assert gaussian_crps(np.array(0.2), np.array(1e-9), np.array(0.25)) == pytest.approx(0.05, abs=1e-8)
    assert gaussian_crps(np.array(0.0), np.array(1.0), np.array(0.0)) == pytest.approx(0.23370, abs=1e-5)
    assert fair_crps(np.array([0.3, 0.3]), np.array(0.25)) == pytest.approx(0.05)


def test_fair_crps_of_two_members_by_hand():
    """Members 0 and 1, observation 0.5: mean error 0.5, mean difference of the pair 1, halved: 0."""
    assert fair_crps(np.array([0.0, 1.0]), np.array(0.5)) == pytest.approx(0.0)


def test_fair_crps_does_not_depend_on_the_number_of_members():
    random = np.random.default_rng(0)
    observed = random.normal(size=20_000)
    scores = [fair_crps(random.normal(size=(count, 20_000)), observed).mean() for count in (2, 10)]
    assert scores[0] == pytest.approx(scores[1], rel=0.03) and scores[1] == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)


def test_ranks_of_exchangeable_members_are_flat_and_missing_values_do_not_count():
    random = np.random.default_rng(1)
    observed = random.normal(size=10_000)
    observed[:1000] = np.nan
    counts = rank_histogram(random.normal(size=(4, 10_000)), observed)
    assert counts.sum() == 9000
    np.testing.assert_allclose(counts, 1800, rtol=0.07)
    assert rank_histogram(np.zeros((3, 4000)), np.zeros(4000)).min() > 900  # ties are broken at random


def test_predicted_spread_is_the_validation_error_and_its_interval_holds_nine_of_ten():
    random = np.random.default_rng(2)
    errors = random.normal(0, [[[0.02, 0.04]]], (4000, 1, 1, 2)).astype(np.float32)
    spread, ends = error_spread(errors, LAND)
    np.testing.assert_allclose(spread[0, 0], [0.02, 0.04], rtol=0.05)
    np.testing.assert_allclose(ends[:, 0], [-1.645, 1.645], atol=0.06)
    forecast = np.full((4000, 1, 1, 2), 0.3, np.float32)
    observed = forecast - random.normal(0, [[[0.02, 0.04]]], forecast.shape).astype(np.float32)
    spread, ends = predict_spread(forecast, None, errors, None, LAND)
    row, = ensemble_rows(observed=observed, forecast=forecast, spread=spread, ends=ends, members=None, lead_times=(3,))
    assert row["coverage_90"] == pytest.approx(0.9, abs=0.01) and row["predicted_spread_skill"] == pytest.approx(1, abs=0.03)
    assert np.isnan(row["member_crps"])


def test_interval_stands_on_the_right_side_of_a_biased_forecast():
    errors = np.full((50, 1, 1, 2), 0.03, np.float32)  # forecasts are too wet: the truth lies below
    forecast = np.full((1, 1, 1, 2), 0.3, np.float32)
    _, ends = predict_spread(forecast, None, errors, None, LAND)
    np.testing.assert_allclose(ends, 0.27, atol=1e-6)


def test_cell_with_few_validation_days_has_the_usual_spread():
    errors = np.full((100, 1, 1, 2), 0.02, np.float32)
    errors[1::2] *= -1
    errors[1:, 0, 0, 1] = np.nan
    errors[0, 0, 0, 1] = 0.0
    spread, _ = error_spread(errors, LAND)
    usual = 100 * 4e-4 / 101
    assert spread[0, 0, 1] == pytest.approx(np.sqrt(10 * usual / 11), rel=1e-5)


def test_days_on_which_members_disagree_more_are_less_certain():
    members = np.zeros((2, 3, 1, 1, 2), np.float32)
    members[0, 1], members[1, 1] = 0.05, -0.05
    members[0, 2], members[1, 2] = 0.01, -0.01  # their usual disagreement
    errors = np.array([0.03, -0.03] * 10, np.float32).reshape(20, 1, 1, 1).repeat(2, axis=3)
    usual = np.full((1, 1, 2), 2e-4, np.float32)
    spread, _ = predict_spread(members.mean(axis=0), members_variance(members), errors, usual, LAND)
    assert (spread[1] > spread[2]).all() and (spread[2] > spread[0]).all()
    np.testing.assert_allclose(spread[2], 0.03, rtol=1e-5)
    alone, _ = predict_spread(members[:, :1].mean(axis=0), members_variance(members[:, :1]), errors, usual, LAND)
    np.testing.assert_array_equal(alone, spread[:1])  # later test days change nothing


def test_members_whose_usual_disagreement_is_unknown_leave_the_spread_of_the_errors():
    errors = np.array([0.03, -0.03] * 10, np.float32).reshape(20, 1, 1, 1).repeat(2, axis=3)
    members = np.array([0.1, -0.1], np.float32)[:, None, None, None, None] * np.ones((1, 3, 1, 1, 2), np.float32)
    for usual in (None, np.full((1, 1, 2), np.nan, np.float32)):
        spread, _ = predict_spread(members.mean(axis=0), members_variance(members), errors, usual, LAND)
        np.testing.assert_allclose(spread, 0.03, rtol=1e-5)


def test_validation_runs_tell_errors_of_their_mean_and_how_much_they_disagree(tmp_path):
    observed = np.full((4, 1, 1), 0.2, np.float32)
    for name, value in (("a", 0.25), ("b", 0.35)):
        write_validation(tmp_path / name, np.full((4, 1, 1, 1), value, np.float32), (), observed,
                         np.datetime64("2020-01-01") + np.arange(4), [3])
    errors, variance = read_validation([tmp_path / "a", tmp_path / "b"])
    np.testing.assert_allclose(errors, 0.1, rtol=1e-5)
    np.testing.assert_allclose(variance, 0.005, rtol=1e-4)
    assert read_validation([tmp_path / "a"])[1] is None


def test_runs_that_were_validated_on_other_days_tell_nothing_together(tmp_path):
    values = np.zeros((4, 1, 1, 1), np.float32)
    for name in ("2019-01-01", "2020-01-01"):
        write_validation(tmp_path / name, values, (), values[:, 0], np.datetime64(name) + np.arange(4), [3])
    with pytest.raises(UserError, match="were validated on other days"):
        read_validation([tmp_path / "2019-01-01", tmp_path / "2020-01-01"])


def test_spread_skill_ratio():
    assert spread_skill(np.array([1.0, 1.0]), np.array([2.0, -2.0])) == pytest.approx(0.5)
