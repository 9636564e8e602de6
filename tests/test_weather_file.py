"""The weather forecast file: written, read, and refused where it is not what it says."""
import numpy as np
import pytest
import xarray as xr

from data_processing.errors import UserError
from data_processing.weather_file import new_weather_file, open_weather_file, read_weather

LAT, LON = np.array([30.0, 31.0]), np.array([100.0, 101.0, 102.0])
DAYS = np.arange("2020-01-01", "2020-01-06", dtype="datetime64[D]")
LEADS = np.arange(1, 5)


def values_of(members=3, seed=0):
    random = np.random.default_rng(seed)
    shape = (len(DAYS), len(LEADS), members, 2, 3)
    rain = np.round(random.exponential(4.0, shape), 1) * (random.random(shape) < 0.4)
    return rain, np.round(280 + 5 * random.standard_normal(shape), 1)


def write(path, members=3):
    rain, temperature = values_of(max(members, 1))
    with new_weather_file(path, DAYS, LEADS, members, LAT, LON, "air_temperature", {"title": "test"}) as file:
        file["precipitation"][:] = rain if members else rain[:, :, 0]
        file["air_temperature"][:] = temperature if members else temperature[:, :, 0]
    return rain, temperature


def changed(path, change):
    """The file written as plain floats, after a change."""
    with xr.open_dataset(path, decode_timedelta=False) as dataset:
        dataset = dataset.load()
    for name in dataset.variables:
        dataset[name].encoding = {}
    dataset["init_time"].encoding = {"units": "days since 1970-01-01"}
    dataset = change(dataset)
    target = path.with_name("changed.nc")
    dataset.to_netcdf(target)
    return target


def test_what_is_written_is_read(tmp_path):
    rain, temperature = write(tmp_path / "weather.nc")
    file = open_weather_file(tmp_path / "weather.nc", LAT, LON)
    assert (file.members, file.temperature, list(file.lead_times)) == (3, "air_temperature", [1, 2, 3, 4])
    found = read_weather(file, DAYS[[3, 1]])
    assert found.shape == (2, 3, 4, 2, 2, 3)
    np.testing.assert_allclose(found[:, :, :, 0], np.swapaxes(rain[[3, 1]], 1, 2), atol=0.051)
    np.testing.assert_allclose(found[:, :, :, 1], np.swapaxes(temperature[[3, 1]], 1, 2), atol=0.051)


def test_file_without_members_has_one(tmp_path):
    rain, _ = write(tmp_path / "weather.nc", members=0)
    file = open_weather_file(tmp_path / "weather.nc", LAT, LON)
    np.testing.assert_allclose(read_weather(file, DAYS)[:, 0, :, 0], rain[:, :, 0], atol=0.051)


def test_lacking_day_is_missing(tmp_path):
    write(tmp_path / "weather.nc")
    path = changed(tmp_path / "weather.nc", lambda dataset: dataset.isel(init_time=[0, 1, 3, 4]))
    found = read_weather(open_weather_file(path, LAT, LON), DAYS)
    assert np.isnan(found[2]).all() and np.isfinite(found[[0, 1, 3, 4]]).all()
    assert np.isnan(read_weather(open_weather_file(path, LAT, LON), np.array(["2030-01-01"], "datetime64[D]"))).all()


def test_order_of_dimensions_latitudes_and_longitudes_does_not_matter(tmp_path):
    rain, _ = write(tmp_path / "weather.nc")
    path = changed(tmp_path / "weather.nc", lambda dataset: dataset.isel(lat=[1, 0]).assign_coords(lon=LON + 360)
                   .transpose("lon", "member", "lat", "lead_time", "init_time"))
    found = read_weather(open_weather_file(path, LAT, LON), DAYS)
    np.testing.assert_allclose(found[:, :, :, 0], np.swapaxes(rain, 1, 2), atol=0.051)


def test_units_are_converted(tmp_path):
    rain, temperature = write(tmp_path / "weather.nc")

    def change(dataset):
        dataset["precipitation"] = (dataset["precipitation"] / 1000).assign_attrs(units="m")
        dataset["air_temperature"] = (dataset["air_temperature"] - 273.15).assign_attrs(units="degC")
        return dataset

    found = read_weather(open_weather_file(changed(tmp_path / "weather.nc", change), LAT, LON), DAYS)
    np.testing.assert_allclose(found[:, :, :, 0], np.swapaxes(rain, 1, 2), atol=0.051)
    np.testing.assert_allclose(found[:, :, :, 1], np.swapaxes(temperature, 1, 2), atol=0.051)


def hours(dataset):
    return dataset.assign_coords(lead_time=("lead_time", LEADS * 24, {"units": "hours"}))


def test_lead_times_in_hours_are_days(tmp_path):
    write(tmp_path / "weather.nc")
    assert list(open_weather_file(changed(tmp_path / "weather.nc", hours), LAT, LON).lead_times) == [1, 2, 3, 4]


REFUSED = {
    "other grid": (lambda dataset: dataset.assign_coords(lat=LAT + 0.5), "same cells.*prepare_weather_forecast"),
    "one row less": (lambda dataset: dataset.isel(lat=[0]), "same cells"),
    "no unit": (lambda dataset: dataset.assign(precipitation=dataset["precipitation"].drop_attrs()), "no attribute `units`"),
    "m that are mm": (lambda dataset: dataset.assign(precipitation=dataset["precipitation"].assign_attrs(units="m")), "possible are"),
    "K that are degC": (lambda dataset: dataset.assign(air_temperature=dataset["air_temperature"].assign_attrs(units="degC")),
                        "possible are"),
    "total since the start": (lambda dataset: dataset.assign(precipitation=dataset["precipitation"].cumsum("lead_time")
                                                             .assign_attrs(units="mm")), "total since"),
    "lead times from 0": (lambda dataset: dataset.assign_coords(lead_time=("lead_time", LEADS - 1, {"units": "days"})),
                          "lead_time is 0, 1, 2"),
    "a day twice": (lambda dataset: dataset.isel(init_time=[0, 1, 1, 2]), "one forecast a day"),
    "no rain": (lambda dataset: dataset.drop_vars("precipitation"), "needed are precipitation"),
    "no lead time": (lambda dataset: dataset.isel(lead_time=0, drop=True), "needed are"),
    "all missing": (lambda dataset: dataset.assign(precipitation=dataset["precipitation"] * np.nan)
                    .pipe(lambda each: each.assign(precipitation=each["precipitation"].assign_attrs(units="mm d-1"))), "no value"),
}


@pytest.mark.parametrize("change, said", REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, change, said):
    write(tmp_path / "weather.nc")
    with pytest.raises(UserError, match=said):
        open_weather_file(changed(tmp_path / "weather.nc", change), LAT, LON)


def test_no_file_and_no_netcdf_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_weather_file(tmp_path / "absent.nc", LAT, LON)
    (tmp_path / "page.nc").write_text("<!doctype html><html></html>")
    with pytest.raises(UserError, match="web page"):
        open_weather_file(tmp_path / "page.nc", LAT, LON)
