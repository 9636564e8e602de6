"""The loss model: what it learns, what it must not read."""
import numpy as np
import pytest

from data_processing.record import open_record
from data_processing.splits import split_cube
from tests.conftest import Experiment, weather_values
from utils.baselines import baseline_forecasts, cell_mean
from utils.water_balance import water_balance


def opened(path, max_gap_days=10, **changes):
    cube, splits = split_cube(path, Experiment(input_days=1, **changes))
    return open_record(cube, "small", splits, max_gap_days=max_gap_days), splits


def rmse(record, splits, forecast):
    return float(np.sqrt(np.nanmean((forecast - record.observed(splits.test))[:, record.land].astype(float) ** 2)))


@pytest.mark.parametrize("lead_time", [1, 5])
def test_soil_that_dries_by_wetness_is_forecast_where_no_rain_falls(lead_time, small_cube):
    """Soil loses a fifth of its distance to 0.1 every day; nothing is observed in the days after each wetting."""
    values = np.full((400, 3, 2, 2), 285.0, np.float32)
    values[:, 0] = 0.0
    since = np.arange(400) % 20
    values[:, 1] = np.where(since < lead_time, np.nan, 0.1 + 0.3 * 0.8 ** since)[:, None, None]
    record, splits = opened(small_cube(values=values), max_gap_days=0, lead_time=lead_time)
    mean = cell_mean(record.observed(), splits.history_days)
    forecast = water_balance(record, splits.test, lead_time, splits.history_days, mean)
    inside = splits.test % 20 >= 2 * lead_time  # the last input day is observed, too
    observed = record.observed(splits.test)[inside]
    damped = baseline_forecasts(record, splits.test, splits.history_days)["damped_persistence"][inside, 0]
    assert np.abs(forecast[inside] - observed).mean() < 0.3 * np.abs(damped - observed).mean()


def test_nothing_after_the_last_input_day_and_no_target_outside_the_history_is_read(small_cube):
    values = weather_values(400, 2, 3)
    clean, splits = opened(small_cube(values=values.copy(), name="clean"))
    first = splits.test[0]
    values[first - 2:] = np.random.default_rng(0).uniform(0.1, 0.5, values[first - 2:].shape)
    values[first - 2:, 2] += 280
    poisoned, _ = opened(small_cube(values=values, name="poisoned"))
    forecasts = [water_balance(record, splits.test[:1], 3, splits.history_days,
                               cell_mean(record.observed(), splits.history_days)) for record in (clean, poisoned)]
    np.testing.assert_array_equal(*forecasts)


def test_nothing_known_gives_the_cell_mean(small_cube):
    values = weather_values(400, 2, 3)
    values[280:, 1, 0, 0] = np.nan
    record, splits = opened(small_cube(values=values))
    mean = cell_mean(record.observed(), splits.history_days)
    forecast = water_balance(record, splits.test, 3, splits.history_days, mean)
    np.testing.assert_array_equal(forecast[20:, 0, 0], mean[0, 0])
    assert np.isfinite(forecast).all()


def test_beats_damped_persistence_on_the_real_cube(real_cube):
    record, splits = opened(real_cube, lead_times=(1, 3, 5, 7), train_until="2016-03-31", test_from="2016-04-01")
    forecasts = baseline_forecasts(record, splits.test, splits.history_days)
    for lead, (water, damped) in enumerate([(0.0395, 0.0445), (0.0483, 0.0499), (0.0517, 0.0529), (0.0528, 0.0543)]):
        assert rmse(record, splits, forecasts["water_balance"][:, lead]) == pytest.approx(water, abs=2e-4)
        assert rmse(record, splits, forecasts["damped_persistence"][:, lead]) == pytest.approx(damped, abs=1e-4)
