"""Coming weather: what a network is told of the days after its last input, and what never reaches it."""
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from data_processing.coming_weather import COMING_CHANNELS, degraded_weather, forecast_weather, kept_weather, observed_weather
from data_processing.cube import open_cube
from data_processing.errors import UserError
from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from data_processing.weather_file import new_weather_file
from tests.conftest import Experiment
from tests.test_scripts import call, run
from utils.batches import make_batch
from utils.models.convlstm import make_convlstm
from utils.models.settings import complete
from utils.runs import find_cube, run_differences
from utils.study import script_settings
from utils.training import (
    cell_weight,
    draw_batch,
    ensemble_mse,
    forecast_days,
    forecast_told,
    masked_mse,
    random_weather,
    told_forecast,
    training_loss,
)

pytestmark = pytest.mark.usefixtures("coarse_figures")
LEADS = 5
CPU = torch.device("cpu")
SETTINGS = complete(Experiment(lead_times=(1, 3), input_days=8, hidden=(6,), coming_weather="observed"), learning_rate=1e-3,
                    paper_hidden=(8, 4))


def ready(path, settings=SETTINGS):
    """Scaled record and splits of a cube."""
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "target", splits, max_gap_days=10, coming_weather=settings.coming_weather)
    return scale_record(record, splits.fit_days, scaling="cell"), splits


def trained(record):
    """A network whose every weight matters."""
    torch.manual_seed(0)
    network = make_convlstm(SETTINGS, record)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


def write_weather(path, cube_path, members=3, error=0.0, first=0, step=1, temperature=lambda kelvin: kelvin, seed=0):
    """Forecasts of a cube's own weather, whose rain is that of another day with the chance `error`."""
    cube = open_cube(cube_path)
    rain, warmth = cube["precipitation"].values, cube["soil_temperature"].values
    random = np.random.default_rng(seed)
    days = np.arange(first, len(rain) - LEADS, step)
    valid = days[:, None] + np.arange(1, LEADS + 1)
    wrong = np.where(random.random((len(days), LEADS, members)) < error, random.integers(0, len(rain), (len(days), LEADS, members)),
                     valid[:, :, None])
    kelvin = np.repeat(temperature(warmth[valid])[:, :, None], members, axis=2)
    with new_weather_file(path, cube["time"].values[days], np.arange(1, LEADS + 1), members, cube["lat"], cube["lon"],
                          "air_temperature", {"title": "test forecasts"}) as file:
        file["precipitation"][:] = rain[wrong]
        file["air_temperature"][:] = kelvin
    return path


@pytest.fixture
def target(weather_cube):
    return weather_cube(name="target", first="2015-01-01", days=400, seed=2)


# ------------------------------------------------------------------------------------------------- what is told
def test_observed_weather_is_that_of_the_coming_days(target):
    record, _ = ready(target)
    cells = np.array([0, 7])
    found = observed_weather(record, np.array([100, 399, -2]), cells)
    assert found.shape == (3, 3, COMING_CHANNELS, 2)
    rain = open_cube(target)["precipitation"].values.reshape(400, -1)[101:104][:, cells]
    spread, mean = (values[0].ravel()[cells] for values in (record.scaler.spread, record.scaler.mean))
    np.testing.assert_allclose(found[0, :, 0], (np.log1p(rain) - mean) / spread, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[0, :, 1], np.log1p(rain / (50 * record.scaler.spread[1].ravel()[cells])), rtol=1e-4)
    assert (found[0, :, 3:] == 1).all()
    assert (found[1] == 0).all()  # beyond the record nothing is known
    assert (found[2, 0] == 0).all() and (found[2, 1:, 3:] == 1).all()  # nor before it


def test_trust_is_the_correlation_of_forecast_and_observed_rain(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, error=0.4)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    np.testing.assert_allclose(record.coming.trust, 0.6, atol=0.05)
    perfect = write_weather(tmp_path / "perfect.nc", target)
    np.testing.assert_allclose(ready(target, replace(SETTINGS, coming_weather=str(perfect)))[0].coming.trust, 1.0, atol=0.01)
    assert record.coming.members == 3 and len(record.coming.kept) == np.count_nonzero(splits.history_days[:395])


def test_too_few_past_forecasts_are_trusted_as_usual(target, tmp_path, capsys):
    path = write_weather(tmp_path / "weather.nc", target, error=1.0, first=340)
    record, _ = ready(target, replace(SETTINGS, coming_weather=str(path)))
    np.testing.assert_allclose(record.coming.trust, [0.8, 0.68, 0.577], atol=0.01)
    assert "0 of 297 training days" in capsys.readouterr().out


def test_temperature_of_a_file_is_brought_to_the_cubes(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, temperature=lambda kelvin: 270 + 0.5 * (kelvin - 270))
    record, _ = ready(target, replace(SETTINGS, coming_weather=str(path)))
    cells, days = np.arange(20), np.array([350, 360])
    told = forecast_weather(record, days, cells)
    np.testing.assert_allclose(told[0, :, :, 2], observed_weather(record, days, cells)[:, :, 2], atol=0.2)


def test_kept_forecasts_are_those_of_the_file(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=1, error=0.5)
    record, _ = ready(target, replace(SETTINGS, coming_weather=str(path)))
    days, cells = np.array([20, 90, 91]), np.array([3, 4, 19])
    np.testing.assert_allclose(kept_weather(record, days, cells, 1, np.random.default_rng(0)), forecast_weather(record, days, cells),
                               atol=0.02)


def test_days_without_a_forecast_are_told_nothing(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, step=2)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    cells = np.arange(20)
    assert (forecast_weather(record, np.array([101, 399]), cells) == 0).all()
    assert (kept_weather(record, np.array([101, -3]), cells, 1, np.random.default_rng(0)) == 0).all()
    blind, _, members = forecast_told(trained(record), record, splits.test, "cpu", progress=False)
    told = told_forecast(None, members)
    lead, days = 1, splits.test[(splits.test - 3) % 2 == 1]  # targets three days after a day without a forecast
    np.testing.assert_allclose(told[days - splits.test[0], lead], blind[days - splits.test[0], lead], rtol=1e-6)
    others = np.setdiff1d(splits.test, days)
    others = others[others < 397] - splits.test[0]
    assert not np.isclose(told[others, lead], blind[others, lead]).all(axis=(1, 2)).any()


def test_one_member_missing_leaves_the_mean_of_the_others(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=3, error=0.5)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    days = splits.test[10:14]
    whole = forecast_told(trained(record), record, days, "cpu", progress=False)[2]
    with xr.open_dataset(path, decode_timedelta=False, mask_and_scale=False) as dataset:
        dataset = dataset.load()
    for name in ("precipitation", "air_temperature"):
        dataset[name][300:, :, 1] = -32768  # the trust of the training days stays
    dataset.to_netcdf(tmp_path / "lacking.nc")
    record, _ = ready(target, replace(SETTINGS, coming_weather=str(tmp_path / "lacking.nc")))
    members = forecast_told(trained(record), record, days, "cpu", progress=False)[2]
    assert np.isnan(members[1]).all()
    np.testing.assert_allclose(told_forecast(None, members), whole[[0, 2]].mean(axis=0), atol=1e-6)


def test_forecast_that_ends_before_the_target_is_used_as_far_as_it_goes(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=2)
    with xr.open_dataset(path, decode_timedelta=False, mask_and_scale=False) as dataset:
        dataset.isel(lead_time=slice(0, 1)).load().to_netcdf(tmp_path / "short.nc")
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(tmp_path / "short.nc")))
    told = forecast_weather(record, np.array([350]), np.arange(20))
    assert (told[:, 0, 0, 3:] > 0.9).all() and (told[:, 0, 1:] == 0).all()
    blind, _, members = forecast_told(trained(record), record, splits.test[:4], "cpu", progress=False)
    assert np.isfinite(members).all() and not np.isclose(members[0][:, 1], blind[:, 1]).all()


def test_first_member_missing_is_judged_by_the_others(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=3, error=0.4)
    with xr.open_dataset(path, decode_timedelta=False, mask_and_scale=False) as dataset:
        dataset = dataset.load()
    for name in ("precipitation", "air_temperature"):
        dataset[name][:, :, 0] = -32768
    dataset.to_netcdf(tmp_path / "lacking.nc")
    record, _ = ready(target, replace(SETTINGS, coming_weather=str(tmp_path / "lacking.nc")))
    np.testing.assert_allclose(record.coming.trust, 0.6, atol=0.05)


def test_training_days_without_a_forecast_are_told_degraded_weather(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=3, error=0.5, first=150)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    torch.manual_seed(0)
    nothing, random = 0, np.random.default_rng(0)
    for _ in range(60):
        told = random_weather(record, splits.train, random, np.array([100, 200]), np.arange(20))
        nothing += int(not (told[:, 0, 0, 3:] > 0).any()) - int(not (told[:, 1, 0, 3:] > 0).any())
    assert nothing == 0  # as often as on days with a forecast: where all of it is cut off


def test_file_that_serves_no_test_day_is_refused(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target)
    with xr.open_dataset(path, decode_timedelta=False, mask_and_scale=False) as dataset:
        dataset.isel(init_time=slice(0, 200)).load().to_netcdf(tmp_path / "past.nc")
    with pytest.raises(UserError, match="2015-07-19, none of the days .* that are tested"):
        ready(target, replace(SETTINGS, coming_weather=str(tmp_path / "past.nc")))


def test_rain_in_another_unit_than_it_says_is_refused(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target)
    with xr.open_dataset(path, decode_timedelta=False) as dataset:
        dataset = dataset.load()
    for name in dataset.variables:
        dataset[name].encoding = {}
    dataset["precipitation"] = (dataset["precipitation"] / 1000).assign_attrs(units="mm d-1")
    dataset.to_netcdf(tmp_path / "wrong.nc")
    with pytest.raises(UserError, match="0.001 times that of the cube"):
        ready(target, replace(SETTINGS, coming_weather=str(tmp_path / "wrong.nc")))


# --------------------------------------------------------------------------------------------------- degraded
def test_degraded_forecasts_are_as_right_as_they_say_and_as_alike(weather_cube):
    record, splits = ready(weather_cube(days=800, rows=10, columns=20, first="2014-01-01"))
    days, cells = np.arange(60, 260), np.arange(200)
    told = degraded_weather(record, splits.train, days, cells, 2, np.random.default_rng(0))
    truth = observed_weather(record, days, cells)
    share = told[0, :, :, 3]
    right = np.isclose(told[0, :, :, 2], truth[:, :, 2], atol=1e-5)  # temperatures of other days differ, rain may be 0 on both
    alike = np.isclose(told[0, :, :, 2], told[1, :, :, 2], atol=1e-5)
    np.testing.assert_allclose(right.mean(axis=(0, 2)), share.mean(axis=(0, 2)), atol=0.01)
    np.testing.assert_allclose(alike.mean(axis=(0, 2)), share.mean(axis=(0, 2)), atol=0.01)
    assert (~right[:, :-1] & right[:, 1:]).mean() < 0.001  # who has departed stays away


def test_degraded_single_forecast_is_as_right_as_it_says(weather_cube):
    record, splits = ready(weather_cube(days=800, rows=10, columns=20, first="2014-01-01"))
    days, cells = np.arange(60, 260), np.arange(200)
    told = degraded_weather(record, splits.train, days, cells, 1, np.random.default_rng(0))
    truth = observed_weather(record, days, cells)
    right = np.isclose(told[0, :, :, 2], truth[:, :, 2], atol=1e-5)
    np.testing.assert_allclose(right.mean(axis=(0, 2)), told[0, :, :, 3].mean(axis=(0, 2)), atol=0.01)


def test_degraded_forecasts_come_from_training_days_alone(target):
    record, splits = ready(target)
    carried = record.carried.copy()
    carried[record.input_days + splits.train[-1]:] = 1e4
    poisoned = replace(record, carried=carried)
    days, cells = splits.train - 3, np.arange(20)
    one, other = (degraded_weather(each, splits.train, days, cells, 2, np.random.default_rng(1)) for each in (record, poisoned))
    np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------------------------------ network
def test_network_that_is_told_nothing_forecasts_as_without(target):
    record, _ = ready(target)
    network = trained(record)
    with torch.no_grad():
        silent = make_batch(record, np.array([100]), torch.device("cpu"),
                            tell=lambda days, cells: np.zeros((2, len(days), 3, COMING_CHANNELS, len(cells)), np.float32))
        found = network(silent)
        assert torch.equal(found[0], network(make_batch(record, np.array([100]), torch.device("cpu"))))
        assert torch.equal(found[1], found[0]) and torch.equal(found[2], found[0])


def test_weather_after_the_target_changes_nothing(target):
    record, _ = ready(target)
    network = trained(record)

    def tell(days, cells):
        told = np.repeat(observed_weather(record, days, cells)[None], 2, axis=0)
        told[1, :, 1:, :3] += 3.0  # from the second day on
        return told

    with torch.no_grad():
        found = network(make_batch(record, np.array([100]), torch.device("cpu"), tell=tell))
    assert torch.equal(found[1][:, :, 0], found[2][:, :, 0])  # lead time 1
    assert not torch.equal(found[1][:, :, 1], found[2][:, :, 1])  # lead time 3


def test_leak_audit_nothing_after_the_last_input_moves_a_forecast_but_observed_weather(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, error=0.3)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    network, day = trained(record), splits.test[10]
    future = record.input_days - 1 + day - 3 + 1
    noise = np.random.default_rng(0)
    changed = {name: getattr(record, name).copy() for name in ("carried", "antecedent")}
    for values in changed.values():
        values[future:] = noise.uniform(0, 50, values[future:].shape)
    later = replace(record, **changed)
    one, other = (forecast_told(network, each, np.array([day]), "cpu", progress=False) for each in (record, later))
    np.testing.assert_array_equal(one[0][:, 1], other[0][:, 1])  # blind
    np.testing.assert_array_equal(one[2][:, :, 1], other[2][:, :, 1])  # told the forecast
    assert not np.isclose(one[1][0, 1], other[1][0, 1]).any()  # told the observed weather: the bound
    for days in (forecast_days(network, each, np.array([day]), "cpu", progress=False) for each in (record, later)):
        np.testing.assert_array_equal(days[:, 1], one[0][:, 1])


def test_leak_audit_what_is_learned_of_a_file_rests_on_training_days_alone(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, error=0.3)
    settings = replace(SETTINGS, coming_weather=str(path))
    record, splits = ready(target, settings)
    later = splits.test[0] - 2  # after the last input day of the first forecast three days ahead
    poisoned = tmp_path / "poisoned.nc"
    with xr.open_dataset(target) as cube:
        cube = cube.load()
    for name, values in (("precipitation", (0.0, 50.0)), ("soil_moisture", (0.0, 0.5)), ("soil_temperature", (250.0, 310.0))):
        cube[name][later:] = np.random.default_rng(0).uniform(*values, cube[name][later:].shape)
    cube.to_netcdf(poisoned)
    other, _ = ready(poisoned, settings)
    for name in ("trust", "temperature", "place", "kept"):
        np.testing.assert_array_equal(getattr(record.coming, name), getattr(other.coming, name))
    np.testing.assert_array_equal(record.static, other.static)
    network, first = trained(record), splits.test[:1]
    one, two = (forecast_told(network, each, first, "cpu", progress=False) for each in (record, other))
    np.testing.assert_array_equal(one[0][:, 1], two[0][:, 1])
    np.testing.assert_array_equal(one[2][:, :, 1], two[2][:, :, 1])


# ----------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("input_days", [1, 3, 6])
def test_short_windows_always_show_a_day(input_days, target):
    settings = replace(SETTINGS, input_days=input_days)
    record, splits = ready(target, settings)
    network = make_convlstm(settings, record)
    torch.manual_seed(0)
    losses = [training_loss(network, draw_batch(network, (record, splits.train), np.array([100]), cell_weight(record, CPU), CPU)()).item()
              for _ in range(20)]
    assert min(losses) > 0


def test_error_of_an_ensemble_is_told_from_two_of_its_members():
    torch.manual_seed(0)
    observed, weight = torch.randn(200, 300), torch.ones(200, 300)
    members = 0.5 * observed + torch.randn(10, 200, 300)
    of_ten = float(masked_mse(members.mean(0), observed, weight))
    assert float(ensemble_mse(members[:2], observed, weight, 10)) == pytest.approx(of_ten, rel=0.02)
    assert float(ensemble_mse(members[:1], observed, weight, 1)) == pytest.approx(1.25, rel=0.02)


def test_network_learns_with_observed_forecast_degraded_and_partial_weather(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=3, error=0.5)
    record, splits = ready(target, replace(SETTINGS, coming_weather=str(path)))
    random = np.random.default_rng(0)
    kinds, days, cells = set(), np.array([100, 104]), np.arange(20)
    truth = observed_weather(record, days, cells)
    for _ in range(60):
        told = random_weather(record, splits.train, random, days, cells)
        given = (told[..., 3:, :] > 0).any(axis=(0, 1, 3, 4))
        if not given.any():
            kinds.add("nothing")
            continue
        first = told[:, :, given]
        kinds.add("observed" if np.array_equal(first[0], truth[:, given])
                  else "forecast" if np.allclose(first[..., 3, :], record.coming.trust[given][:, None]) else "degraded")
        kinds.add("whole" if given.all() else "partial")
    assert kinds == {"nothing", "observed", "forecast", "degraded", "whole", "partial"}


# ------------------------------------------------------------------------------------------------------ scripts
def rows_of(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


QUICK = {"epochs": 1, "hidden": (4,), "lead_times": (1, 3)}


def test_run_with_observed_weather_is_named_a_bound_everywhere(target, tmp_path):
    done = run("SMAPtest/convlstm.py", tmp_path, cube=target, results=tmp_path, coming_weather="observed", **QUICK)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "SMAPtest/convlstm/target-observed-weather-bound/lead1_3"
    names = [row["forecaster"] for row in rows_of(folder)]
    assert names[:2] == ["convlstm_observed_weather_bound", "convlstm_blind"] and "convlstm" not in names
    with xr.open_dataset(folder / "forecast.nc") as dataset:
        assert "upper bound" in dataset.attrs["title"]
    assert "observed weather (upper bound)" in (folder / "splits.csv").read_text()
    assert "upper bound" in done.stdout and (folder / "lead.png").exists()


def test_run_with_a_forecast_stands_between_blind_and_bound(weather_cube, tmp_path):
    cube = weather_cube(name="target", first="2015-01-01", days=500, rows=6, columns=8, seed=2)
    path = write_weather(tmp_path / "weather.nc", cube, members=4, error=0.3)
    call("SMAPtest/convlstm.py", cube=str(cube), results=str(tmp_path), coming_weather=str(path), lead_times=(1, 3), hidden=(12,),
         steps=500, input_days=10)
    folder = tmp_path / "SMAPtest/convlstm/target-with-forecast/lead1_3"
    error = {(row["forecaster"], row["lead_time"]): float(row["mse_pooled"]) for row in rows_of(folder)}
    for lead in ("1", "3"):
        blind, forecast, bound = (error[f"convlstm_{end}", lead] for end in ("blind", "with_forecast", "observed_weather_bound"))
        assert bound < 0.8 * blind and bound < forecast < blind
    assert json.loads((folder / "settings.json").read_text())["coming_weather"]["path"] == str(path)
    with xr.open_dataset(folder / "forecast.nc") as dataset:
        assert np.isfinite(dataset["spread"].values[5]).any()
    assert (folder / "rank_histogram.csv").exists()


def test_ensemble_of_networks_keeps_the_spread_of_the_weather(target, tmp_path):
    path = write_weather(tmp_path / "weather.nc", target, members=3, error=0.4)
    call("SMAPtest/lstm.py", cube=str(target), results=str(tmp_path), coming_weather=str(path), seeds=2, steps=100, hidden=(8,),
         input_days=10, lead_times=(1, 3))
    folder = tmp_path / "SMAPtest/lstm/target-with-forecast/lead1_3"
    names = {row["forecaster"] for row in rows_of(folder)}
    assert {"lstm_with_forecast_ensemble", "lstm_with_forecast_seed1", "lstm_blind", "lstm_observed_weather_bound"} <= names
    with xr.open_dataset(folder / "forecast.nc") as whole, xr.open_dataset(folder / "seed0/forecast.nc") as one:
        assert np.nanmean(whole["weather_variance"]) > 0.5 * np.nanmean(one["weather_variance"]) > 0
        assert np.isfinite(whole["spread"].values[10]).any()


def test_run_is_the_same_however_its_file_is_named_and_another_where_its_kind_differs(target, tmp_path, monkeypatch):
    path = write_weather(tmp_path / "weather.nc", target, members=2)
    call("SMAPtest/lstm.py", cube=str(target), results=str(tmp_path), coming_weather=str(path), name="run", **QUICK)
    folder = tmp_path / "SMAPtest/lstm/run/lead1_3"
    monkeypatch.chdir(tmp_path)
    _, asked = script_settings("SMAPtest", "lstm", cube=str(target), results=str(tmp_path), coming_weather="weather.nc", name="run",
                               **QUICK)
    cube_file = find_cube(str(target), "smap_l4")
    assert run_differences(folder, asked, cube_file) == []
    assert "'observed' was asked" in run_differences(folder, replace(asked, coming_weather="observed"), cube_file)[0]
    write_weather(tmp_path / "weather.nc", target, members=3)
    assert "has other content" in run_differences(folder, asked, cube_file)[0]


def test_fine_tuning_starts_from_a_network_that_knows_of_coming_weather(weather_cube, target, tmp_path, capsys):
    source = weather_cube(name="source", first="2013-01-01", days=600, seed=1)
    path = write_weather(tmp_path / "weather.nc", target, members=2, error=0.3)
    call("ERA5test/convlstm.py", cube=str(source), results=str(tmp_path), coming_weather="observed", **QUICK)
    call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(source), results=str(tmp_path), coming_weather=str(path),
         **QUICK)
    start = json.loads((tmp_path / "finetune-SMAPtest/convlstm/target-with-forecast/lead1_3/settings.json").read_text())["pretrained"]
    assert "source-observed-weather-bound" in start["path"]
    with pytest.raises(UserError, match="both or none must know of coming weather"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), name="other",
             pretrained=str(tmp_path / "ERA5test/convlstm/source-observed-weather-bound/lead1_3"), **QUICK)


REFUSED = {
    "no file": ({"coming_weather": "absent.nc"}, "coming_weather is absent.nc: no such file"),
    "twin for another cube": ({"coming_weather": "twin"}, "not the synthetic twin"),
    "paper's head": ({"coming_weather": "observed", "head": "dense"}, "only head 'local' is told"),
}


@pytest.mark.parametrize("settings, said", REFUSED.values(), ids=REFUSED)
def test_refused(settings, said, target, tmp_path):
    with pytest.raises(UserError, match=said):
        call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), **settings)
    assert not list((tmp_path).glob("SMAPtest/convlstm/*/*/model.pt"))


def test_forecast_file_of_another_grid_is_refused_before_training(target, weather_cube, tmp_path):
    path = write_weather(tmp_path / "weather.nc", weather_cube(name="other", rows=3))
    with pytest.raises(UserError, match="must be the same cells"):
        call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), coming_weather=str(path))
