"""Baselines: known numbers, the scores of the sample cube, and no look at the target."""

import numpy as np
import pytest
from conftest import Experiment

from data_processing.cube import VARIABLES, cube_days, cube_values, open_cube
from data_processing.gaps import carry_forward
from data_processing.record import open_record
from data_processing.splits import split_cube
from utils import baselines
from utils.water_balance import water_balance

# Lead time: (RMSE, pooled R2) of persistence and of damped persistence, values without a recent observation.
SAMPLE_SCORES = {1: ((0.0490, 0.838), (0.0445, 0.866), 38), 3: ((0.0565, 0.785), (0.0499, 0.833), 57),
                 5: ((0.0617, 0.744), (0.0529, 0.812), 96), 7: ((0.0644, 0.721), (0.0543, 0.802), 131)}
SAMPLE_CELL_MEAN = (0.0604, 0.754)


@pytest.fixture
def record():
    """Three years of two by three cells with gaps, a sea cell, a cell first observed after the history."""
    random = np.random.default_rng(1)
    time = np.arange("2015-01-01", "2018-01-01", dtype="datetime64[D]")
    season = 0.05 * np.cos(2 * np.pi * np.arange(len(time)) / 365.25)
    noise = np.zeros((len(time), 2, 3))
    for day in range(1, len(time)):
        noise[day] = 0.8 * noise[day - 1] + 0.02 * random.standard_normal((2, 3))
    observed = (0.25 + season[:, None, None] + noise).astype(np.float32)
    observed[random.random(observed.shape) < 0.4] = np.nan
    observed[:, 0, 0] = np.nan
    history_days = time < np.datetime64("2017-01-01")
    observed[history_days, 1, 2] = np.nan
    return time, observed, history_days


def carry(observed, max_gap_days=10):
    values = np.repeat(observed[:, None], 3, axis=1)
    return carry_forward(values, max_gap_days)[0][:, VARIABLES.index("soil_moisture")]


def test_scores_of_the_sample_cube(real_cube):
    cube = open_cube(real_cube)
    values, time = cube_values(cube), cube_days(cube)
    channel = VARIABLES.index("soil_moisture")
    observed, carried = values[:, channel], carry_forward(values, 10)[0][:, channel]
    history_days = time <= np.datetime64("2016-03-31")
    targets = np.flatnonzero(~history_days)
    truth = observed[targets]
    scored = np.isfinite(truth)
    assert scored.sum() == 36_048
    mean = baselines.cell_mean(observed, history_days)

    def scores(forecast):
        error = forecast[scored].astype(float) - truth[scored]
        spread = truth[scored] - truth[scored].mean(dtype=float)
        return round(np.sqrt(np.mean(error ** 2)), 4), round(1 - (error ** 2).sum() / (spread ** 2).sum(), 3)

    assert scores(np.repeat(mean[None], len(targets), axis=0)) == SAMPLE_CELL_MEAN
    for lead_time, (persistence, damped_persistence, without_value) in SAMPLE_SCORES.items():
        assert scores(baselines.persistence(carried, targets, lead_time, mean)) == persistence
        assert scores(baselines.damped_persistence(carried, observed, history_days, targets, lead_time,
                                                   mean)) == damped_persistence
        assert (scored & np.isnan(carried[targets - lead_time])).sum() == without_value


def test_persistence_is_the_value_lead_time_days_before():
    carried = np.arange(10, dtype=np.float32)[:, None, None]
    forecast = baselines.persistence(carried, np.array([5, 9]), 3, np.zeros((1, 1), np.float32))
    assert forecast.ravel().tolist() == [2.0, 6.0]


def test_persistence_falls_back_on_the_mean():
    observed = np.full((20, 1, 1), np.nan, np.float32)
    observed[0] = 0.4
    mean = np.full((1, 1), 0.2, np.float32)
    forecast = baselines.persistence(carry(observed, 10), np.array([0, 1, 11, 12]), 1, mean)
    assert forecast.ravel() == pytest.approx([0.2, 0.4, 0.4, 0.2])


@pytest.mark.parametrize("lead_time", [1, 5])
def test_no_baseline_reads_the_days_after_its_last_input(record, lead_time):
    time, observed, history_days = record
    target = np.array([900])
    poisoned = observed.copy()
    poisoned[target[0] - lead_time + 1:] = 0.9

    def forecasts(values):
        mean = baselines.cell_mean(values, history_days)[:, 1:2]
        values = values[:, :, 1:2]
        carried = carry(values)
        return [baselines.persistence(carried, target, lead_time, mean),
                baselines.damped_persistence(carried, values, history_days, target, lead_time, mean),
                baselines.climatology(values, time, history_days, time[target], mean)]

    for before, after in zip(forecasts(observed), forecasts(poisoned)):
        np.testing.assert_array_equal(before, after)


def test_lead_time_zero_is_refused(record):
    _, observed, history_days = record
    mean = baselines.cell_mean(observed, history_days)
    with pytest.raises(ValueError, match="lead_time is 0"):
        baselines.persistence(observed, np.array([5]), 0, mean)
    with pytest.raises(ValueError, match="last input"):
        baselines.persistence(observed, np.array([len(observed) + 1]), 1, mean)


@np.errstate(all="raise")  # nothing is divided by a count of 0
def test_cell_mean(record):
    _, observed, history_days = record
    mean = baselines.cell_mean(observed, history_days)
    assert mean.dtype == np.float32 and np.isnan(mean[0, 0])
    own = np.nanmean(observed[history_days][:, [0, 0, 1, 1], [1, 2, 0, 1]].astype(float), axis=0)
    np.testing.assert_allclose(mean[[0, 0, 1, 1], [1, 2, 0, 1]], own, rtol=1e-6)
    assert mean[1, 2] == pytest.approx(own.mean())
    with pytest.raises(ValueError, match="No soil moisture is observed on the 0 history days"):
        baselines.cell_mean(observed, np.zeros(len(observed), bool))


def test_cell_that_is_seen_once_has_a_mean_which_counts_for_the_others():
    observed = np.full((4, 1, 3), np.nan, np.float32)
    observed[:2, 0, 0], observed[1, 0, 1], observed[3, 0, 2] = (0.1, 0.2), 0.35, 0.9
    mean = baselines.cell_mean(observed, np.arange(4) < 3)
    np.testing.assert_allclose(mean, [[0.15, 0.35, 0.25]], rtol=1e-6)


def test_history_days_of_another_length_are_refused(record):
    time, observed, history_days = record
    mean, short = baselines.cell_mean(observed, history_days), history_days[:-1]
    for ask in (lambda: baselines.cell_mean(observed, short),
                lambda: baselines.damping_factor(observed, observed, short, 1, mean),
                lambda: baselines.climatology(observed, time, short, time[:1], mean)):
        with pytest.raises(ValueError, match="one true or false per day"):
            ask()


def test_baseline_forecasts_are_those_of_each_lead_time(weather_cube):
    cube, splits = split_cube(weather_cube(days=500), Experiment(lead_times=(2, 5), input_days=3, test_days=30))
    record = open_record(cube, "small", splits, max_gap_days=10)
    history, targets = splits.history_days, splits.test
    forecasts = baselines.baseline_forecasts(record, targets, history)
    carried, observed = record.carried_soil_moisture, record.observed_maps
    mean = baselines.cell_mean(observed, history)
    assert list(forecasts) == ["persistence", "damped_persistence", "climatology", "water_balance"]
    usual = baselines.climatology(observed, record.time, history, record.time[targets], mean)
    assert usual.std(axis=0).max() > 0  # a season
    for lead, lead_time in enumerate((2, 5)):
        expected = {"persistence": carried[targets - lead_time], "climatology": usual,
                    "damped_persistence": baselines.damped_persistence(carried, observed, history, targets, lead_time, mean),
                    "water_balance": water_balance(record, targets, lead_time, history, mean)}
        for name, values in expected.items():
            np.testing.assert_array_equal(forecasts[name][:, lead], values)
            assert np.isfinite(values).all() and forecasts[name].dtype == np.float32


def test_damping_factor_is_least_squares_on_history_pairs(record):
    _, observed, history_days = record
    carried, mean, lead_time = carry(observed), baselines.cell_mean(observed, history_days), 3
    factor = baselines.damping_factor(carried, observed, history_days, lead_time, mean)
    last = np.flatnonzero(history_days)[-1]
    before = carried[:last + 1 - lead_time, 0, 1] - mean[0, 1].astype(float)
    after = observed[lead_time:last + 1, 0, 1] - mean[0, 1].astype(float)
    pair = np.isfinite(before) & np.isfinite(after)
    expected = np.linalg.lstsq(before[pair, None], after[pair], rcond=None)[0][0]
    assert 0 < expected < 1 and factor[0, 1] == pytest.approx(expected)


def test_cell_with_few_pairs_takes_the_shared_factor():
    random = np.random.default_rng(0)
    observed = random.random((100, 1, 2)).astype(np.float32)
    observed[60:, 0, 1] = np.nan
    history_days = np.ones(100, bool)
    mean = baselines.cell_mean(observed, history_days)
    anomaly = observed - mean.astype(float)
    before, after = anomaly[:-1], anomaly[1:]
    pair = np.isfinite(before) & np.isfinite(after)
    assert pair[:, 0, 1].sum() == baselines.MINIMUM_PAIRS - 1
    shared = (before * after)[pair].sum() / (before ** 2)[pair].sum()
    factor = baselines.damping_factor(observed, observed, history_days, 1, mean)
    assert factor[0, 1] == pytest.approx(np.clip(shared, 0, 1))
    own = (before * after)[:, 0, 0].sum() / (before ** 2)[:, 0, 0].sum()
    assert factor[0, 0] == pytest.approx(np.clip(own, 0, 1)) != factor[0, 1]
    enough = observed.copy()
    enough[60, 0, 1] = enough[59, 0, 1]  # one pair more
    mean = baselines.cell_mean(enough, history_days)
    anomaly = (enough - mean.astype(float))[:61, 0, 1]
    own = (anomaly[:-1] * anomaly[1:]).sum() / (anomaly[:-1] ** 2).sum()
    assert baselines.damping_factor(enough, enough, history_days, 1, mean)[0, 1] == pytest.approx(np.clip(own, 0, 1))


def test_damping_factor_stays_within_0_and_1():
    swinging = np.where(np.arange(200) % 2, 0.3, 0.1).astype(np.float32)
    growing = np.sign(swinging - 0.2) ** 2 * np.geomspace(1e-4, 1, 200).astype(np.float32)
    observed = np.stack([swinging, growing, np.full(200, 0.2, np.float32)], axis=-1)[:, None]
    mean = np.array([[0.2, 0.0, 0.2]], np.float32)
    factor = baselines.damping_factor(observed, observed, np.ones(200, bool), 1, mean)
    assert factor.tolist() == [[0.0, 1.0, 0.0]]


def test_damped_persistence_is_mean_plus_share_of_the_anomaly(record):
    _, observed, history_days = record
    carried, mean, targets = carry(observed), baselines.cell_mean(observed, history_days), np.arange(800, 805)
    factor = baselines.damping_factor(carried, observed, history_days, 2, mean)
    forecast = baselines.damped_persistence(carried, observed, history_days, targets, 2, mean)
    anomaly = np.nan_to_num(carried[targets - 2] - mean)
    np.testing.assert_allclose(forecast[:, mean > 0], (mean + factor * anomaly)[:, mean > 0], atol=1e-6)
    assert np.isnan(forecast[:, 0, 0]).all() and np.isfinite(forecast[:, ~np.isnan(mean)]).all()


def test_climatology_finds_the_season_of_every_day_of_the_year():
    time = np.arange("2012-01-01", "2016-01-01", dtype="datetime64[D]")
    share = (time - time.astype("datetime64[Y]").astype("datetime64[D]")) / np.timedelta64(365, "D")
    season = 0.25 + 0.08 * np.cos(2 * np.pi * share) - 0.03 * np.sin(4 * np.pi * share)
    observed = season.astype(np.float32)[:, None, None]
    history_days = np.ones(len(time), bool)
    mean = baselines.cell_mean(observed, history_days)
    coming = np.arange("2016-01-01", "2017-01-01", dtype="datetime64[D]")
    forecast = baselines.climatology(observed, time, history_days, coming, mean)
    assert forecast.shape == (366, 1, 1) and forecast.dtype == np.float32
    # No year, and no leap day, of zeros: the ridge leaves 97 % of the season.
    np.testing.assert_allclose(forecast[:365, 0, 0], season[-365:], atol=0.005)
    assert abs(forecast[59, 0, 0] - forecast[[58, 60], 0, 0].mean()) < 1e-3


def test_climatology_shrinks_by_the_ridge():
    time = np.arange("2013-01-01", "2014-01-01", dtype="datetime64[D]")
    wave = np.cos(2 * np.pi * np.arange(365) / 365)
    observed = wave.astype(np.float32)[:, None, None]
    forecast = baselines.climatology(observed, time, np.ones(365, bool), time[:1],
                                     np.zeros((1, 1), np.float32))
    assert forecast.item() == pytest.approx(182.5 / (182.5 + 20), rel=1e-5)


def test_climatology_has_an_annual_and_a_semiannual_wave_and_no_shorter_one():
    time = np.arange("2013-01-01", "2014-01-01", dtype="datetime64[D]")
    angle = 2 * np.pi * np.arange(365) / 365
    for waves in (1, 2, 3):
        observed = np.cos(waves * angle).astype(np.float32)[:, None, None]
        forecast = baselines.climatology(observed, time, np.ones(365, bool), time[:1], np.zeros((1, 1), np.float32))
        assert forecast.item() == pytest.approx(0.0 if waves == 3 else 182.5 / 202.5, abs=1e-5)


def test_climatology_of_less_than_a_year_is_the_mean(record):
    time, observed, _ = record
    history_days = np.arange(len(time)) < 364
    mean = baselines.cell_mean(observed, history_days)
    forecast = baselines.climatology(observed, time, history_days, time[-3:], mean)
    np.testing.assert_array_equal(forecast, np.stack([mean] * 3))
    assert baselines.climatology(observed, time, history_days, time[-3:], mean.astype(float)).dtype == np.float32


def test_climatology_has_no_hole_on_land(record):
    time, observed, history_days = record
    mean = baselines.cell_mean(observed, history_days)
    forecast = baselines.climatology(observed, time, history_days, time[-365:], mean)
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(mean)[None].repeat(365, axis=0))
    np.testing.assert_allclose(forecast[:, 1, 2], mean[1, 2])


def test_persistence_of_a_day_whose_inputs_lie_before_the_record_is_the_mean():
    carried = np.arange(1, 6, dtype=np.float32)[:, None, None]
    forecast = baselines.persistence(carried, np.array([1, 3]), 2, np.full((1, 1), 9.0, np.float32))
    assert forecast.ravel().tolist() == [9.0, 2.0]
