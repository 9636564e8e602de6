"""Scaling: fitted on given days over land, named, reversible, the same for numpy and torch."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from conftest import day_axis

import data_processing.scaling as scaling
from data_processing import arrays
from data_processing.cube import VARIABLES
from data_processing.errors import UserError
from data_processing.scaling import Scaler, fit_scaler

DAYS = day_axis("2015-04-01", 80)
TRAINING = np.arange(80) < 50
LAND = np.array([[True, True, False], [True, True, True]])


@pytest.fixture
def values():
    generator = np.random.default_rng(2)
    rain = generator.gamma(0.3, 10, (80, 2, 3))
    moisture = 0.25 + 0.05 * generator.standard_normal((80, 2, 3))
    temperature = 285 + 8 * generator.standard_normal((80, 2, 3))
    values = np.stack([rain, moisture, temperature], axis=1).astype(np.float32)
    values[generator.random(values.shape) < 0.2] = np.nan
    return values


def fit(values, kind="global", land=LAND, days=TRAINING):
    return fit_scaler(values, land, days, DAYS, kind=kind, source="small")


def transformed(values):
    values = values.astype(np.float64)
    values[:, 0] = np.log1p(values[:, 0])
    return values


def test_global_pair_equals_plain_numpy(values, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 640)  # several blocks of days
    scaler = fit(values)
    chosen = transformed(values)[TRAINING][:, :, LAND]
    np.testing.assert_allclose(scaler.mean, np.nanmean(chosen, axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(scaler.spread, np.nanstd(chosen, axis=(0, 2)), rtol=1e-6)
    assert scaler.mean.dtype == np.float32 and scaler.mean.shape == (3,)


def test_cell_pairs_equal_plain_numpy(values, monkeypatch):
    monkeypatch.setattr(scaling, "PRIOR_VALUES", 0)
    scaler = fit(values, kind="cell")
    chosen = transformed(values)[TRAINING]
    assert scaler.mean.shape == (3, 2, 3)
    np.testing.assert_allclose(scaler.mean[:, LAND], np.nanmean(chosen, axis=0)[:, LAND], rtol=1e-6)
    np.testing.assert_allclose(scaler.spread[:, LAND], np.nanstd(chosen, axis=0)[:, LAND], rtol=1e-6)
    assert np.isfinite(scaler.mean).all() and (scaler.spread > 0).all()


@pytest.mark.parametrize("kind", ["global", "cell"])
def test_sea_and_other_days_never_matter(values, kind):
    scaler = fit(values, kind)
    poisoned = values.copy()
    poisoned[:, :, ~LAND] = 1e6
    poisoned[~TRAINING] = -1e6
    for field in ("mean", "spread"):
        np.testing.assert_array_equal(getattr(fit(poisoned, kind), field), getattr(scaler, field))


def test_fault_10_scaler_names_its_source_and_dates(values):
    scaler = fit(values, days=(np.arange(80) >= 5) & TRAINING)
    assert (scaler.source, scaler.first_day, scaler.last_day) == ("small", "2015-04-06", "2015-05-20")
    assert scaler.kind == "global"


@pytest.mark.parametrize("kind", ["global", "cell"])
def test_scale_and_back_in_numpy_and_torch(values, kind):
    scaler = fit(values, kind)
    before = values.copy()
    scaled = scaler.scale(values)
    np.testing.assert_array_equal(values, before)  # the input is not changed
    assert scaled.dtype == np.float32 and scaled.shape == values.shape
    np.testing.assert_allclose(scaler.unscale(scaled), values, rtol=1e-4, atol=1e-4)
    windows = torch.from_numpy(values).reshape(8, 10, 3, 2, 3)
    scaled_windows = scaler.scale(windows)
    np.testing.assert_allclose(scaled_windows.reshape(80, 3, 2, 3).numpy(), scaled, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaler.unscale(scaled_windows).numpy(), windows.numpy(), rtol=1e-4, atol=1e-4)

    moisture = values[:, VARIABLES.index("soil_moisture")]
    np.testing.assert_array_equal(scaler.scale_soil_moisture(moisture), scaled[:, 1])
    np.testing.assert_allclose(scaler.unscale_soil_moisture(torch.from_numpy(scaled[:, 1])).numpy(), moisture,
                               rtol=1e-5)


def test_training_data_have_mean_0_and_spread_1(values, monkeypatch):
    monkeypatch.setattr(scaling, "PRIOR_VALUES", 0)
    scaled = fit(values, "cell").scale(values)[TRAINING][:, :, LAND].astype(np.float64)
    np.testing.assert_allclose(np.nanmean(scaled, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.nanstd(scaled, axis=0), 1, rtol=1e-4)


def test_constant_field_has_the_smallest_spread():
    values = np.ones((80, 3, 2, 3), np.float32)
    for kind in ("global", "cell"):
        scaler = fit(values, kind)
        np.testing.assert_allclose(scaler.mean.reshape(3, -1)[:, 0], [np.log(2), 1, 1], rtol=1e-6)
        np.testing.assert_allclose(scaler.spread.reshape(3, -1)[:, 0],
                                   [0.1, 0.01, 1.0])  # log(1 + mm d-1), m3 m-3, K


def test_cell_with_few_values_and_sea_have_the_global_pair(values):
    values[:, 1, 0, 0] = np.nan
    values[[3, 5], 1, 0, 0] = 0.5  # two values
    one, all_cells = fit(values, "cell"), fit(values)
    for row, column in ((0, 0), (0, 2)):
        assert one.mean[1, row, column] == all_cells.mean[1]
    assert one.spread[1, 0, 2] == all_cells.spread[1]
    assert one.mean[1, 1, 1] != all_cells.mean[1]
    values[7, 1, 0, 0] = 0.5  # three have a mean of their own
    assert fit(values, "cell").mean[1, 0, 0] == 0.5


def test_spread_of_two_values_beside_cells_of_one():
    values = np.ones((80, 3, 2, 3), np.float32)
    values[1:, 1] = np.nan
    values[1, 1, 0, 0] = 1.2  # departures of 0.1 from their mean: squares 0.02, one value more than cells
    assert fit(values, "cell").spread[1, 0, 0] == pytest.approx(np.sqrt((0.02 + 5 * 0.02) / (2 + 5)), rel=1e-5)


def test_one_day_is_enough_for_a_global_pair(values):
    scaler = fit(values, days=np.arange(80) == 7)
    assert scaler.first_day == scaler.last_day == "2015-04-08"
    assert scaler.mean[1] == pytest.approx(np.nanmean(values[7, 1][LAND]), rel=1e-6)


def test_few_values_have_a_spread_between_their_own_and_the_usual_one():
    values = np.ones((80, 3, 2, 3), np.float32)
    values[:, 1] = np.where(np.arange(80) % 2, 0.2, 0.4)[:, None, None]  # a spread of 0.1 about 0.3
    values[5:, 1, 0, 0] = np.nan
    values[:5, 1, 0, 0] = 0.3  # five equal values weigh as much as the prior
    scaler = fit(values, "cell")
    usual = 4 * 50 * 0.01 / (4 * 50 + 5 - 5)
    assert scaler.spread[1, 0, 0] == pytest.approx(np.sqrt(5 * usual / 10), rel=1e-5)
    assert scaler.spread[1, 1, 1] == pytest.approx(np.sqrt((50 * 0.01 + 5 * usual) / 55), rel=1e-5)


def test_state_is_plain_and_comes_back(values):
    state = fit(values, "cell").to_state()
    assert {type(value) for value in state.values()} == {str, list, np.ndarray}
    state["mean"] = torch.from_numpy(state["mean"])  # as a weights-only checkpoint gives it back
    again = Scaler.from_state(state)
    np.testing.assert_array_equal(again.scale(values), fit(values, "cell").scale(values))
    with pytest.raises(UserError, match="was saved for"):
        Scaler.from_state(state | {"variables": list(VARIABLES[::-1])})
    with pytest.raises(ValueError, match="'%'.*this version has .*'m3 m-3'"):
        Scaler.from_state(state | {"units": ["mm d-1", "%", "K"]})


def test_a_scaler_cannot_be_changed(values):
    with pytest.raises(FrozenInstanceError):
        fit(values).kind = "cell"


@pytest.mark.parametrize("wrong", [{"values": 79}, {"days": 79}, {"time": 79}])
def test_lengths_that_differ_are_refused(values, wrong):
    values, days, time = (array[:wrong.get(name, 80)] for name, array in (("values", values), ("days", TRAINING), ("time", DAYS)))
    with pytest.raises(ValueError, match="values, days and time have lengths .*79"):
        fit_scaler(values, LAND, days, time, kind="global", source="small")


def test_mistakes_are_refused(values):
    with pytest.raises(UserError, match="no day to fit the scaling on"):
        fit(values, days=np.zeros(80, bool))
    with pytest.raises(UserError, match="scaling is 'minmax'"):
        fit(values, "minmax")
    with pytest.raises(UserError, match="20 x 20|2 x 3 cells; the values have 20 x 20"):
        fit(values, "cell").scale(np.zeros((3, 20, 20), np.float32))
    values[:, 2] = np.nan
    with pytest.raises(UserError, match="small has no soil_temperature over land from 2015-04-01 to "
                                        "2015-05-20"):
        fit(values)


@pytest.mark.parametrize("kind", scaling.KINDS)
def test_scaler_of_some_cells_is_that_of_the_map_there(kind):
    values = np.random.default_rng(0).uniform(0.1, 0.4, (40, len(VARIABLES), 3, 4)).astype(np.float32)
    scaler = fit_scaler(values, np.ones((3, 4), bool), np.arange(40), day_axis("2015-04-01", 40), kind=kind, source="small")
    cells = np.array([0, 5, 11])
    of_map = scaler.scale(values).reshape(40, len(VARIABLES), 1, -1)[..., cells]
    of_cells = scaler.of_cells(cells).scale(values.reshape(40, len(VARIABLES), 1, -1)[..., cells])
    np.testing.assert_array_equal(of_cells, of_map)
    assert (scaler.of_cells(cells) is scaler) == (kind == "global")


@pytest.mark.parametrize("wrong", [{"mean": [0.0, 0.0]}, {"spread": [1.0, 0.0, 1.0]}, {"mean": [0.0, np.nan, 0.0]},
                                   {"spread": [1.0, np.inf, 1.0]}, {"kind": "cell"}, {"kind": "row"},
                                   {"mean": np.zeros((3, 1)), "spread": np.ones((3, 1))}, {"mean": [0.0, 0.0], "spread": [1.0, 1.0]},
                                   {"mean": np.zeros((3, 1, 1)), "spread": np.ones((3, 1, 1))}])
def test_state_that_is_no_scaler_is_refused(values, wrong):
    state = fit(values).to_state()
    Scaler.from_state(state)
    with pytest.raises(UserError, match="no numbers to scale with"):
        Scaler.from_state(state | wrong)


def test_state_that_lacks_something_is_refused_by_its_name(values):
    state = fit(values).to_state()
    del state["spread"]
    with pytest.raises(UserError, match="the scaler lacks spread"):
        Scaler.from_state(state)
