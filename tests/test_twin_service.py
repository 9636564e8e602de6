"""The twin's weather service: errors that grow as they should, an honest spread, the climate kept, nothing seen too early."""
from typing import NamedTuple

import numpy as np
import pytest

from data_processing import twin, twin_service, twin_weather
from data_processing.cube import open_cube
from data_processing.errors import UserError
from data_processing.weather_file import open_weather_file, read_weather

LEADS = len(twin_service.LEAD_TIMES)
MEMBERS = twin_service.MEMBER_COUNT
CLIMATE = twin_weather.make_climate(twin.VERSION)
YEARS = np.arange("2000-03-31", "2002-03-31", dtype="datetime64[D]")  # near the beginning of the weather, which is soon there
EVERY = 3  # days from start to start


class Verified(NamedTuple):
    """Forecasts and what came: rain in mm d-1, temperature as departure from the season in its standard deviations.

    members : float32 [starts, 2, 7, members, some cells]. truth : float32 [starts, 2, 7, some cells].
    mean : float32 [starts, 2, 7, 52, 65], of all members; NaN at sea. one : the same of the first member.
    """

    members: np.ndarray
    truth: np.ndarray
    mean: np.ndarray
    one: np.ndarray


def short_world(name="smap_l4", first="2000-05-01", days=3):
    first = np.datetime64(first)
    return twin.WORLDS[name]._replace(first=first, last=first + days - 1)


def starts(first, count):
    return list(twin_service._starts(np.datetime64(first) + np.arange(count)))


def true_fields(world, init_time, coming):
    """Rain and temperature that came to a world, float32 [7, cells] each."""
    rain, temperature = [], []
    for day, weather in zip(init_time + twin_service.LEAD_TIMES, coming):
        fields = twin._weather_of_day(weather, CLIMATE, day)
        rain.append(fields[0] * twin._rain_error(world, day))
        temperature.append(fields[1])
    return np.stack(rain), np.stack(temperature)


def departures(temperature, init_time):
    """Of temperature [7, ..., cells]."""
    days = [twin_weather.day_of_year(init_time + lead) for lead in twin_service.LEAD_TIMES]
    mean, spread = CLIMATE.temperature_mean[days], CLIMATE.temperature_spread[days]
    if temperature.ndim == 3:
        mean, spread = mean[:, None], spread[:, None]
    return (temperature - mean) / spread


def verify(world, init_times, every):
    members, truth, mean, one = [], [], [], []
    for number, (init_time, coming) in enumerate(twin_service._starts(init_times)):
        if number % every:
            continue
        rain, temperature = twin_service.forecast(init_time, coming, world, CLIMATE)
        fields = np.stack([rain, departures(temperature, init_time)])
        came = true_fields(world, init_time, coming)
        members.append(fields[..., ::11])
        truth.append(np.stack([came[0], departures(came[1], init_time)])[..., ::11])
        maps = np.full((2, 2, LEADS, *twin_weather.LAND.shape), np.nan, np.float32)
        maps[0][..., twin_weather.LAND], maps[1][..., twin_weather.LAND] = fields.mean(axis=2), fields[:, :, 0]
        mean.append(maps[0])
        one.append(maps[1])
    return Verified(*map(np.stack, (members, truth, mean, one)))


@pytest.fixture(scope="module")
def verified():
    return verify(twin.WORLDS["smap_l4"], YEARS, EVERY)


def correlation(one, other):
    """In time, the first axis."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return (one * other).sum(axis=0) / np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))


def of_members(forecast, truth):
    """Correlation of members [starts, 7, members, cells] and truth [starts, 7, cells]: [7], median of cells, mean of members."""
    return np.median(correlation(forecast, truth[:, :, None]).mean(axis=1), axis=-1)


def test_rain_is_forecast_well_at_first_and_poorly_after_a_week(verified):
    # correlation in time of the day's rain in mm, mean of members, median of cells
    found = of_members(verified.members[:, 0], verified.truth[:, 0])
    assert found[0] == pytest.approx(0.8, abs=0.03)
    assert found[-1] == pytest.approx(0.3, abs=0.05)
    assert (np.diff(found) < -0.01).all()
    for lead in range(LEADS):
        forecast, truth = verified.members[:, 0, lead], verified.truth[:, 0, lead]
        pooled = correlation(forecast[:, 0].ravel(), truth.ravel())
        of_roots = of_members(np.sqrt(forecast)[:, None], np.sqrt(truth)[:, None])[0]
        assert found[lead] - 0.03 < pooled < found[lead] + 0.12
        assert found[lead] < of_roots < found[lead] + 0.1


def test_the_mean_of_the_members_is_better_than_a_member_and_temperature_than_rain(verified):
    rain = of_members(verified.members[:, 0], verified.truth[:, 0])
    temperature = of_members(verified.members[:, 1], verified.truth[:, 1])
    assert (temperature > rain + 0.08).all()
    for variable, of_one in enumerate((rain, temperature)):
        of_mean = of_members(verified.members[:, variable].mean(axis=2, keepdims=True), verified.truth[:, variable])
        assert (of_mean > of_one + 0.02).all()


@pytest.mark.parametrize("variable", [0, 1], ids=["rain", "temperature"])
def test_spread_is_honest(verified, variable):
    forecast, truth = verified.members[:, variable], verified.truth[:, variable]
    # Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1
    spread = np.sqrt((MEMBERS + 1) / MEMBERS * forecast.var(axis=2, ddof=1).mean(axis=(0, 2)))
    error = np.sqrt(((forecast.mean(axis=2) - truth) ** 2).mean(axis=(0, 2)))
    np.testing.assert_allclose(spread / error, 1, atol=0.07)


@pytest.mark.parametrize("variable", [0, 1], ids=["rain", "temperature"])
def test_truth_has_any_rank_among_the_members(verified, variable):
    forecast, truth = verified.members[:, variable], verified.truth[:, variable, :, None]
    below, equal = (forecast < truth).sum(axis=2), (forecast == truth).sum(axis=2)
    rank = below + np.random.default_rng(0).integers(0, equal + 1)  # dry members tie
    for lead in range(LEADS):
        share = np.bincount(rank[:, lead].ravel(), minlength=MEMBERS + 1) / rank[:, lead].size
        np.testing.assert_allclose(share * (MEMBERS + 1), 1, atol=0.17)


def roughness(maps):
    """Squared difference of neighbours (east and north) by twice the variance, of maps [starts, H, W]."""
    maps = maps - maps.mean(axis=0)
    differences = [np.nanmean((maps[:, 1:] - maps[:, :-1]) ** 2), np.nanmean((maps[:, :, 1:] - maps[:, :, :-1]) ** 2)]
    return np.mean(differences) / 2 / np.nanmean(maps**2)


@pytest.mark.parametrize("variable", [0, 1], ids=["rain", "temperature"])
def test_the_mean_grows_smoother_and_a_member_stays_as_rough_as_weather(verified, variable):
    of_mean = np.array([roughness(verified.mean[:, variable, lead]) for lead in range(LEADS)])
    of_one = np.array([roughness(verified.one[:, variable, lead]) for lead in range(LEADS)])
    np.testing.assert_allclose(of_one / of_one.mean(), 1, atol=0.1)
    assert (of_mean < of_one).all()
    assert (np.diff(of_mean) < 0).all() and of_mean[-1] < 0.6 * of_mean[0]


def test_small_waves_are_lost_first():
    wave_number = np.hypot(twin_weather.WAVE_NORTH[:, None], twin_weather.WAVE_EAST).ravel()
    shares = twin_service.SHARES.reshape(LEADS, -1)[:, np.argsort(wave_number)]
    assert ((0 <= shares) & (shares < 1)).all()
    assert (np.diff(shares, axis=1) <= 1e-6).all() and (np.diff(shares, axis=0) <= 0).all()


def test_members_keep_the_climate(verified):
    rain, truth = verified.members[:, 0], verified.truth[:, 0]
    for least, tolerance in ((0.0, 0.03), (1.0, 0.03), (10.0, 0.06)):  # heavy rain of two years is a small sample
        share = (rain > least).mean(axis=(0, 2, 3)) / (truth > least).mean(axis=(0, 2))
        np.testing.assert_allclose(share, 1, atol=tolerance)
    np.testing.assert_allclose(rain.mean(axis=(0, 2, 3)) / truth.mean(axis=(0, 2)), 1, atol=0.04)
    temperature, truth = verified.members[:, 1], verified.truth[:, 1]
    np.testing.assert_allclose(temperature.mean(axis=(0, 2, 3)), truth.mean(axis=(0, 2)), atol=0.06)
    np.testing.assert_allclose(temperature.std(axis=(0, 2, 3)), truth.std(axis=(0, 2)), rtol=0.04)


@pytest.mark.parametrize("variable", [0, 1], ids=["rain", "temperature"])
def test_days_of_a_member_belong_together(verified, variable):
    forecast, truth = verified.members[:, variable], verified.truth[:, variable]
    of_member = np.median(correlation(forecast[:, 1:], forecast[:, :-1]).mean(axis=1), axis=-1)
    of_truth = np.median(correlation(truth[:, 1:], truth[:, :-1]), axis=-1)
    np.testing.assert_allclose(of_member, of_truth, atol=0.06)


def test_forecasts_are_of_the_weather_of_the_cubes():
    (init_time, coming), = starts("2000-04-10", 1)
    rain, _ = true_fields(twin.WORLDS["era5_land"], init_time, coming)
    cube = open_cube(twin.cube_path("era5_land"))
    shown = cube["precipitation"].sel(time=init_time + twin_service.LEAD_TIMES).values
    assert np.array_equal(shown[:, twin_weather.LAND], rain)


def test_rain_errors_of_a_world_are_in_its_forecasts():
    found = verify(twin.WORLDS["era5_land"], YEARS[:300], 5)
    forecast, truth = found.members[:, 0], found.truth[:, 0]
    spread = np.sqrt((MEMBERS + 1) / MEMBERS * forecast.var(axis=2, ddof=1).mean())
    assert spread / np.sqrt(((forecast.mean(axis=2) - truth) ** 2).mean()) == pytest.approx(1, abs=0.07)


def test_a_forecast_knows_nothing_of_the_days_after_its_own():
    (init_time, coming), (_, other) = starts("2000-05-01", 30)[::29]
    world = twin.WORLDS["smap_l4"]
    all_known = twin_service.forecast(init_time, coming, world, CLIMATE, members=2)
    for known in (1, 4):
        changed = twin_service.forecast(init_time, coming[:known] + other[known:], world, CLIMATE, members=2)
        for one, two in zip(all_known, changed):
            assert np.array_equal(one[:known], two[:known])
            assert (one[known:] != two[known:]).any(axis=(1, 2)).all()


def test_weather_of_a_start_is_that_of_its_seven_days():
    days = np.datetime64("2000-05-01") + np.arange(12)
    weather = dict(twin_service.true_weather(days[0], days[-1]))
    assert list(weather) == list(days)
    for init_time, coming in starts("2000-05-01", 4):
        for lead_time, each in zip(twin_service.LEAD_TIMES, coming, strict=True):
            assert np.array_equal(each.latent, weather[init_time + lead_time].latent)


def test_file_is_a_weather_file_named_synthetic(tmp_path):
    path, world = tmp_path / "weather.nc", short_world(days=2)
    twin_service.make_weather(path, world)
    file = open_weather_file(path, twin_weather.LATITUDE, twin_weather.LONGITUDE)
    assert (file.members, list(file.lead_times), file.temperature) == (MEMBERS, [1, 2, 3, 4, 5, 6, 7], "air_temperature")
    assert list(file.init_time) == [world.first, world.last]
    values = read_weather(file, file.init_time)
    assert np.array_equal(np.isfinite(values).any(axis=(0, 1, 2, 3)), twin_weather.LAND)
    assert np.array_equal(np.isfinite(values).all(axis=(0, 1, 2, 3)), twin_weather.LAND)
    on_land = values[0][..., twin_weather.LAND].swapaxes(0, 1)
    (init_time, coming), = starts(world.first, 1)
    rain, temperature = twin_service.forecast(init_time, coming, world, CLIMATE)
    np.testing.assert_allclose(on_land[:, :, 0], rain, atol=0.0501)
    np.testing.assert_allclose(on_land[:, :, 1], temperature, atol=twin_service.TEMPERATURE_STEP / 2 + 0.001)
    assert file.dataset.attrs["title"] == "Synthetic twin of weather forecasts (not real data)"
    assert file.dataset.attrs["source"].startswith("synthetic") and file.dataset.attrs["version"] == str(twin.VERSION)


def test_a_start_is_the_same_alone_in_a_longer_file_and_with_fewer_members(tmp_path):
    found = []
    for name, first, days, members in (("long", "2000-05-01", 5, 3), ("alone", "2000-05-03", 1, 2)):
        twin_service.make_weather(tmp_path / f"{name}.nc", short_world("era5_land", first, days), members)
        file = open_weather_file(tmp_path / f"{name}.nc", twin_weather.LATITUDE, twin_weather.LONGITUDE)
        found.append(read_weather(file, np.array(["2000-05-03"], "datetime64[D]")))
    assert np.array_equal(found[0][:, :2], found[1], equal_nan=True)
    assert np.isfinite(found[1]).any()


def test_missing_file_is_made_once_for_both_satellites_and_unknown_domains_refused(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(twin_service, "make_weather", lambda path, world: made.append(world) or path.touch())
    path = twin_service.weather_path("smap_l3", tmp_path)
    assert path == twin_service.weather_path("smap_l4", tmp_path) == tmp_path / f"twin_weather_smap_l4_v{twin.VERSION}.nc"
    assert made == [twin.WORLDS["smap_l4"]]
    assert twin_service.weather_path("era5_land", tmp_path).name == f"twin_weather_era5_land_v{twin.VERSION}.nc"
    with pytest.raises(UserError, match="no domain 'smap'.*era5_land"):
        twin_service.weather_path("smap", tmp_path)
