"""The synthetic twin: calibrated, deterministic, physical, restartable; its ceiling is a ceiling."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import ndtr

from data_processing import twin, twin_land, twin_weather
from data_processing.cube import VARIABLES, cube_values, open_cube
from data_processing.errors import UserError
from tests.twin_statistics import (
    REALITY,
    WEST_TO_EAST_KM,
    all_rows,
    land_record,
    persistence_r2,
    travel,
)

MOISTURE = VARIABLES.index("soil_moisture")
RAIN = VARIABLES.index("precipitation")
TEMPERATURE = VARIABLES.index("soil_temperature")
REAL_DAYS = 549
"""Length of the real record; shares of variance and autocorrelations depend on it."""


class Shown(NamedTuple):
    """A domain of the full twin: values float32 [T, 3, 52, 65], datetime64[D] [T], dict."""

    values: np.ndarray
    time: np.ndarray
    attributes: dict


def read(domain):
    cube = open_cube(twin.cube_path(domain))
    return Shown(cube_values(cube), cube.time.values.astype("datetime64[D]"), cube.attrs)


def record_of(shown, days=None):
    """Every second row and column of the first `days`."""
    latitude, longitude = twin_weather.LATITUDE, twin_weather.LONGITUDE
    return land_record(shown.values[:days], shown.time[:days], latitude, longitude, every=2)


@pytest.fixture(scope="module")
def domains():
    return {domain: read(domain) for domain in twin.DOMAINS}


@pytest.fixture(scope="module")
def rows(domains):
    return {
        "smap_l4": all_rows(record_of(domains["smap_l4"])),
        "smap_l3": all_rows(record_of(domains["smap_l3"], REAL_DAYS)),
    }


# row -> (domain compared, allowed factor, allowed difference); a number passes by either.
# REALITY is the USA seen by SMAP L3, the twin is like China.
ALLOWED = {
    # China's north-west is drier and its rain more of one season than the USA's
    "rain, mm a year": ("smap_l4", 1.5, 0),
    "share of days > 1 mm": ("smap_l4", 1.5, 0),
    "mean of days > 1 mm": ("smap_l4", 1.5, 0),
    "95th percentile of days > 1 mm": ("smap_l4", 1.5, 0),
    "P(wet after wet)": ("smap_l4", 1.5, 0),
    "P(wet after dry)": ("smap_l4", 1.5, 0),
    # the monsoon, one season for the whole map, holds up the far and the eastern correlations
    "rain correlation by distance": ("smap_l4", 1, 0.12),
    "the same of 5-day means": ("smap_l4", 1, 0.12),
    "correlation with yesterday's rain, west to east": ("smap_l4", 1, 0.12),
    # the twin shows the temperature of the soil, which follows the air with a delay; REALITY is of the air
    "temperature, sd of departures": ("smap_l4", 1.5, 0),
    "temperature, lag-1 correlation": ("smap_l4", 1, 0.12),
    "temperature correlation by distance": ("smap_l4", 1, 0.12),
    "temperature, half range of the season": ("smap_l4", 1.5, 0),
    "soil moisture, sd over space of the mean": ("smap_l4", 1.5, 0),
    # white noise of .035 alone is more than the quietest real cells' .029: their own is smaller
    "soil moisture, sd over time": ("smap_l3", 2.0, 0),
    "autocorrelation without season": ("smap_l3", 1, 0.12),
    "share of variance that is season": ("smap_l3", 1.5, 0),
    "soil moisture correlation by distance": ("smap_l3", 1, 0.12),
    "dry-down e-folding, days": ("smap_l3", 1.5, 0),
    # noise that is white sorts the days: what looks dry rises, what looks wet falls; without noise, see below
    "change per dry day by wetness": ("smap_l3", 1.5, 0.0125),
    # the rain of a 2-3 day gap counts up to the last morning, the twin's days are from midnight to midnight
    "change by rain": ("smap_l3", 1.6, 0.009),
    # the noise of two observations, sqrt(2) * .035 = .050, is more than the real spread of .035 on dry days
    "spread of change by rain": ("smap_l3", 1.6, 0),
}


def assert_close(name, found, yardstick, factor, difference):
    for value, real in zip(found, yardstick, strict=True):
        if real is not None:
            near = abs(value - real) <= difference
            like = value * real > 0 and 1 / factor <= value / real <= factor
            assert near or like, f"{name}: {value:.4g} where reality has {real}"


def assert_ends(name, found, yardstick, factor, difference):
    """Rows of which only the range is known: every cell class must be near the range."""
    low, high = yardstick[0], yardstick[-1]
    assert_close(name, found[[0, -1]], (low, high), factor, difference)


@pytest.mark.parametrize("name", REALITY)
def test_twin_is_like_reality(rows, name):
    domain, factor, difference = ALLOWED[name]
    compare = assert_ends if None in REALITY[name] else assert_close
    compare(name, rows[domain][name], REALITY[name], factor, difference)


def test_losses_grow_with_wetness_without_noise(rows):
    name = "change per dry day by wetness"
    assert_close(name, rows["smap_l4"][name], REALITY[name], 1.5, 0.002)
    assert (np.diff(rows["smap_l4"][name]) < 0).all()


def test_the_yardstick_reproduces_its_own_numbers(real_cube):
    cube = open_cube(real_cube)
    found = all_rows(land_record(cube_values(cube), cube.time.values, cube.lat.values, cube.lon.values))
    # "10-20 K" of the season is a rounded range of another measure
    coarse = {
        "temperature, half range of the season": (1.5, 0), "change per dry day by wetness": (1.05, 0.001),
    }
    for name, yardstick in REALITY.items():
        compare = assert_ends if None in yardstick else assert_close
        compare(name, found[name], yardstick, *coarse.get(name, (1.17, 0.006)))


@pytest.mark.parametrize("domain", ["era5_land", "smap_l4"])
def test_calibration(domains, domain):
    moisture = domains[domain].values[:, MOISTURE][:, twin_weather.LAND]
    record = record_of(domains[domain])
    assert 0.07 <= moisture.mean(axis=0).std() <= 0.11
    assert 0.03 <= np.median(moisture.std(axis=0)) <= 0.06
    assert persistence_r2(record, 1) > 0.95
    assert 0.86 <= persistence_r2(record, 3) <= 0.95
    assert 0.70 <= persistence_r2(record, 7) <= 0.90


def test_wetting_is_abrupt_and_drying_slow(domains, rows):
    change = np.diff(domains["smap_l4"].values[:, MOISTURE][:, twin_weather.LAND].astype(float), axis=0)
    centred = change - change.mean(axis=0)
    skewness = (centred**3).mean(axis=0) / centred.std(axis=0) ** 3
    assert np.median(skewness) > 1.5
    assert 4 <= rows["smap_l4"]["dry-down e-folding, days"][2] <= 20


@pytest.mark.parametrize("domain", ["era5_land", "smap_l4"])
def test_rain_travels_eastward(domains, domain):
    record = record_of(domains[domain], 2000)
    found = dict(zip(WEST_TO_EAST_KM, travel(np.sqrt(record.precipitation), record)))
    assert found[-300] > found[300] + 0.1
    assert found[-600] > found[600] + 0.1


def test_cubes_are_named_synthetic(domains):
    for domain, each in domains.items():
        assert each.attributes["title"] == f"Synthetic twin of {domain} (not real data)"
        assert "synthetic" in each.attributes["source"]
        assert each.attributes["version"] == str(twin.VERSION)
        assert each.attributes["Conventions"] == "CF-1.8"
        assert f"_v{twin.VERSION}.nc" in twin.cube_path(domain).name


def test_cubes_have_the_expected_days_and_gaps(domains):
    assert domains["era5_land"].time[[0, -1]].astype(str).tolist() == ["2000-03-31", "2015-03-30"]
    for domain in ("smap_l4", "smap_l3"):
        assert domains[domain].time[[0, -1]].astype(str).tolist() == ["2015-03-31", "2020-12-31"]
    for domain in ("smap_l4", "era5_land"):
        assert np.array_equal(np.isfinite(domains[domain].values[::50]).all(axis=(0, 1)), twin_weather.LAND)
        assert np.array_equal(np.isfinite(domains[domain].values[::50]).any(axis=(0, 1)), twin_weather.LAND)
    seen = np.isfinite(domains["smap_l3"].values[:, MOISTURE][:, twin_weather.LAND])
    frozen = domains["smap_l3"].values[:, TEMPERATURE][:, twin_weather.LAND] <= 273.15
    assert not seen[frozen].any()
    assert 0.35 < seen[~frozen].mean() < 0.55


def short_worlds():
    era5_land, smap_l4 = twin.WORLDS["era5_land"], twin.WORLDS["smap_l4"]
    return {
        "era5_land": era5_land._replace(first=np.datetime64("2015-02-10")),
        "smap_l4": smap_l4._replace(last=np.datetime64("2015-06-15")),
    }


@pytest.fixture(scope="module")
def short_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twin")
    twin.make_cubes(folder, short_worlds(), spin_up_days=20)
    return folder


def test_two_makings_are_equal(short_folder, tmp_path):
    twin.make_cubes(tmp_path, short_worlds(), spin_up_days=20)
    for domain in twin.DOMAINS:
        first = cube_values(open_cube(twin.cube_path(domain, short_folder)))
        second = cube_values(open_cube(twin.cube_path(domain, tmp_path)))
        assert np.array_equal(first, second, equal_nan=True)
        assert np.isfinite(first).any()


def test_missing_cubes_are_made_and_unknown_domains_refused(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(twin, "make_cubes", made.append)
    assert twin.cube_path("smap_l3", tmp_path) == tmp_path / f"twin_smap_l3_v{twin.VERSION}.nc"
    assert made == [tmp_path]
    with pytest.raises(UserError, match="no domain 'smap'.*era5_land"):
        twin.cube_path("smap", tmp_path)


def days_after(first, count):
    return np.datetime64(first) + np.arange(count)


@pytest.mark.parametrize("domain", twin.DOMAINS)
def test_observation_errors_have_mean_zero_and_no_memory(domains, domain):
    days = days_after("2008-06-01" if domain == "era5_land" else "2016-06-01", 60)
    soil = twin._soil(twin_weather.make_climate(twin.VERSION), twin.WORLDS[twin.VIEWS[domain].world])
    grounds = [ground for _, ground in twin.true_states(domain, days)]
    truth = np.stack([twin_land.soil_moisture(*pair, soil) for pair in zip(grounds, grounds[1:])])
    index = np.searchsorted(domains[domain].time, days[1:])
    error = domains[domain].values[index, MOISTURE][:, twin_weather.LAND] - truth
    size = twin.VIEWS[domain].error
    assert abs(np.nanmean(error)) < 0.02 * size
    assert np.nanstd(error) == pytest.approx(size, rel=0.02)
    late, early = error[1:], error[:-1]
    both = np.isfinite(late) & np.isfinite(early)
    assert abs(np.corrcoef(late[both], early[both])[0, 1]) < 0.02


def test_truth_stays_between_residual_and_porosity(domains):
    for domain in ("era5_land", "smap_l4"):
        soil = twin._soil(twin_weather.make_climate(twin.VERSION), twin.WORLDS[domain])
        margin = 6 * twin.VIEWS[domain].error
        moisture = domains[domain].values[:, MOISTURE][:, twin_weather.LAND]
        assert (moisture > soil.residual - margin).all()
        assert (moisture < soil.porosity + margin).all()


def _all_water(ground):
    return ground.water.astype(float) + ground.deep_water + ground.snow


@pytest.mark.parametrize("name", twin.WORLDS)
def test_water_balance_closes(name):
    climate = twin_weather.make_climate(twin.VERSION)
    soil = twin._soil(climate, twin.WORLDS[name])
    ground = twin_land.first_ground(soil, climate)
    weather = twin_weather.first_weather(twin_weather.random_numbers(7))
    for day in days_after("2010-01-01", 365):
        weather = twin._next_weather(weather, day)
        rain, air_temperature, sunshine = twin._weather_of_day(weather, climate, day)
        before = ground
        ground, fluxes = twin_land.next_ground(before, soil, rain, air_temperature, sunshine)
        stored = _all_water(ground) - _all_water(before)
        assert np.allclose(rain, stored + fluxes.evaporation + fluxes.runoff + fluxes.drainage, atol=5e-4)
        assert (ground.water >= 0).all() and (ground.deep_water >= 0).all() and (ground.snow >= 0).all()


def test_a_restart_with_the_true_noise_is_the_truth(domains):
    climate = twin_weather.make_climate(twin.VERSION)
    start, days = np.datetime64("2009-11-03"), 25
    (weather, _), = twin.true_states("era5_land", [start])
    first_way, latent, signal, wind = weather.way, 0, [], []
    for day in days_after(start + 1, days):
        new = twin_weather.weather_noise(
            twin_weather.random_numbers(twin.VERSION, twin.WEATHER, twin._day_number(day))
        )
        latent = twin_weather.keep(latent) + twin_weather.renew(new[0])
        signal.append(twin_weather.signals(latent)[None])
        wind.append(new[1][None])
    members = twin.Members(np.stack(signal), np.stack(wind), None)
    truth = twin.true_states("era5_land", days_after(start + 1, days))
    for (day, rain, air), (true_weather, ground) in zip(
        twin.continue_weather(weather, members, climate, start), truth, strict=True
    ):
        true_rain, true_air, _ = twin._weather_of_day(true_weather, climate, day)
        assert np.allclose(air[0], true_air, atol=2e-3)
        assert np.allclose(rain[0], true_rain, atol=0.02)
        index = np.searchsorted(domains["era5_land"].time, day)
        reported = domains["era5_land"].values[index]
        assert np.array_equal(reported[TEMPERATURE][twin_weather.LAND], ground.temperature)
        factors = twin._rain_error(twin.WORLDS["era5_land"], day)
        assert np.array_equal(reported[RAIN][twin_weather.LAND], true_rain * factors)
    assert (true_weather.way != first_way).all()


def test_continuations_have_the_statistics_of_the_weather(domains):
    climate = twin_weather.make_climate(twin.VERSION)
    members = twin.draw_members(twin.WORLDS["smap_l4"], 20)
    wet_days, amounts, departures, steps = [], [], [], []
    for start in ("2016-06-20", "2018-06-20"):
        (weather, _), = twin.true_states("smap_l4", [np.datetime64(start)])
        before = None
        for day, rain, air in twin.continue_weather(weather, members, climate, np.datetime64(start)):
            season = twin_weather.day_of_year(day)
            departure = (air - climate.temperature_mean[season]) / climate.temperature_spread[season]
            if day > np.datetime64(start) + 12:
                wet_days.append((rain > 0).mean() / ndtr(-climate.rain_threshold[season]).mean())
                amounts.append(rain.mean() / _expected_rain(climate, season).mean())
                departures.append(departure.std())
                steps.append(np.mean(departure * before) / departure.var())
            before = departure
    assert np.mean(wet_days) == pytest.approx(1, abs=0.08)
    assert np.mean(amounts) == pytest.approx(1, abs=0.08)
    assert np.mean(departures) == pytest.approx(1, abs=0.08)
    assert np.mean(steps) == pytest.approx(_true_memory(climate), abs=0.05)


def _expected_rain(climate, season):
    """Mean rain of the climate, mm d-1: scale x mean of the Weibull distribution x share of wet days."""
    mean_of_wet = climate.rain_scale[season] * 1.1330  # gamma(1 + 1 / 0.8)
    return mean_of_wet * ndtr(-climate.rain_threshold[season])


def _true_memory(climate):
    """Lag-1 correlation of the air temperature's departures in the true weather of two summers."""
    products, squares, before = [], [], None
    for year in (2016, 2017, 2018, 2019):
        before = None
        days = days_after(f"{year}-06-20", 40)
        for day, (weather, _) in zip(days, twin.true_states("smap_l4", days)):
            season = twin_weather.day_of_year(day)
            _, air, _ = twin._weather_of_day(weather, climate, day)
            departure = (air - climate.temperature_mean[season]) / climate.temperature_spread[season]
            if before is not None:
                products.append(np.mean(departure * before))
                squares.append(departure.var())
            before = departure
    return np.mean(products) / np.mean(squares)


def test_members_are_drawn_alike_for_every_number_of_days():
    world = twin.WORLDS["era5_land"]
    short, long = twin.draw_members(world, 2, members=3), twin.draw_members(world, 4, members=3)
    for few, many in zip(short, long):
        assert np.array_equal(few, many[:2])
    assert long.rain_error.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("domain", ["era5_land", "smap_l4"])
@pytest.mark.parametrize("lead_time", [1, 3, 7])
def test_ceiling_beats_the_baselines(domains, domain, lead_time):
    each = domains[domain]
    moisture = each.values[:, MOISTURE][:, twin_weather.LAND]
    train, targets = np.arange(0, len(moisture) - 400), np.arange(len(moisture) - 365, len(moisture), 37)
    forecast = twin.ceiling(domain, each.time[targets - lead_time], lead_time)
    assert forecast.dtype == np.float32 and forecast.shape == (len(targets), *twin_weather.LAND.shape)
    assert np.array_equal(np.isfinite(forecast).all(axis=0), twin_weather.LAND)

    mean = moisture[train].mean(axis=0)
    anomaly = moisture - mean
    products = anomaly[train[lead_time:]] * anomaly[train[:-lead_time]]
    damping = products.sum(axis=0) / (anomaly[train] ** 2).sum(axis=0)
    last = moisture[targets - lead_time]
    season = _same_season_mean(each.time, moisture, train, targets)

    def mse(guess):
        return np.mean((guess - moisture[targets]) ** 2)

    ceiling = mse(forecast[:, twin_weather.LAND])
    assert ceiling < 0.9 * mse(mean + damping * (last - mean))
    assert ceiling < 0.8 * mse(last)
    assert ceiling < 0.8 * mse(season)
    assert ceiling > twin.VIEWS[domain].error ** 2


def _same_season_mean(time, moisture, train, targets):
    """Mean of the training days within 10 days of the targets' day of the year, float32 [targets, cells]."""
    of_year = np.array([twin_weather.day_of_year(day) for day in time])
    apart = np.abs(of_year[targets][:, None] - of_year[train])
    return np.stack([moisture[train[np.minimum(row, 365 - row) <= 10]].mean(axis=0) for row in apart])


def test_ceiling_is_deterministic_and_cached(short_folder, monkeypatch):
    days = days_after("2015-05-01", 3)[::-1]
    first = twin.ceiling("smap_l4", days, 2, short_folder)
    cached = list(short_folder.glob("twin_ceiling_v*_smap_l4_lead2_*.npy"))
    assert len(cached) == 1
    cached[0].unlink()
    assert np.array_equal(first, twin.ceiling("smap_l4", days, 2, short_folder), equal_nan=True)
    one = twin.ceiling("smap_l4", days[1:2], 2, short_folder)
    assert np.array_equal(one[0], first[1], equal_nan=True)
    monkeypatch.setattr(twin, "_make_ceiling", None)
    assert np.array_equal(first, twin.ceiling("smap_l3", days, 2, short_folder), equal_nan=True)


def test_ceiling_refuses_what_it_cannot_forecast(tmp_path):
    day = days_after("2016-01-01", 1)
    with pytest.raises(UserError, match="lead_time is 0"):
        twin.ceiling("smap_l4", day, 0, tmp_path)
    with pytest.raises(UserError, match="record of era5_land, 2000-03-31 .. 2015-03-30"):
        twin.ceiling("era5_land", day, 1, tmp_path)
    with pytest.raises(UserError, match="no domain 'real'"):
        twin.ceiling("real", day, 1, tmp_path)
