"""Files of ERA5-Land and ERA5 of both services: layouts, precipitation, which stamp makes which day, bad input."""
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from conftest import ROOT

from data_processing import era5_files, era5_land
from data_processing.era5_files import field_values, is_preliminary, open_fields, remove_left_over
from data_processing.era5_land import catalogue, common_lattice, plan_files, read_file, usable
from data_processing.errors import UserError
from data_processing.prepare_era5_land import Settings, main
from data_processing.regrid import target_grid

SAMPLES = ROOT.parent / "shared" / "samples" / "era5"
real_files = pytest.mark.skipif(not SAMPLES.exists(), reason="the sample files are not here")
UNITS = {"tp": "m", "swvl1": "m**3 m**-3", "stl1": "K", "t2m": "K", "lsm": "(0 - 1)"}
LAT, LON = np.array([10.0, 10.1, 10.2]), np.array([75.0, 75.1, 75.2, 75.3])
SOIL = ("soil_moisture", "soil_temperature")


# ------------------------------------------------------------------------------------------------------ helpers
def axes(product):
    """Latitudes and longitudes of a few cells of a product."""
    spacing = {"era5-land": 0.1, "era5": 0.25}[product]
    return 10 + spacing * np.arange(3), 75 + spacing * np.arange(4)


def hours(first, count, step=1):
    """Stamps from `first` on, every `step` hours, datetime64[h]."""
    return np.datetime64(first, "h") + np.arange(count) * step


def month_hours(month):
    """All 24 x 28..31 stamps of a month."""
    month = np.datetime64(month, "M")
    return np.arange(month.astype("datetime64[h]"), (month + 1).astype("datetime64[h]"))


def write_new(path, fields, stamps, lat=LAT, lon=LON, expver="0001", chunks=None, descending=True, title=None,
              units=None):
    """A file as the new service sends it; `fields`: name -> float [T, H, W], south to north."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("valid_time", len(stamps)), ("latitude", lat.size), ("longitude", lon.size)):
            file.createDimension(name, size)
        file.createVariable("number", "i8", ())[...] = 0
        time = file.createVariable("valid_time", "i8", ("valid_time",))
        time.setncatts({"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"})
        time[:] = stamps.astype("datetime64[s]").astype(np.int64)
        file.createVariable("latitude", "f8", ("latitude",))[:] = lat[::-1] if descending else lat
        file.createVariable("longitude", "f8", ("longitude",))[:] = lon
        if expver is not None:
            version = file.createVariable("expver", str, () if isinstance(expver, str) else ("valid_time",))
            version[...] = np.array(expver, object)
        for name, values in fields.items():
            variable = file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"), zlib=True, complevel=1,
                                           fill_value=np.float32(np.nan), chunksizes=chunks)
            variable.setncatts({"units": (units or UNITS)[name],
                                "coordinates": "number valid_time latitude longitude expver"})
            variable[:] = values[:, ::-1] if descending else values
        if title:
            file.title = title
    return path


def write_old(path, fields, stamps, lat=LAT, lon=LON, preliminary_from=None):
    """A file as the old service sent it: NetCDF-3, packed; stamps from `preliminary_from` on are expver 5."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("longitude", lon.size)
        file.createDimension("latitude", lat.size)
        dims, versions = ("time", "latitude", "longitude"), None
        if preliminary_from is not None:
            file.createDimension("expver", 2)
            file.createVariable("expver", "i4", ("expver",))[:] = [1, 5]
            dims, versions = ("time", "expver", "latitude", "longitude"), (stamps >= preliminary_from).astype(int)
        file.createDimension("time", len(stamps))
        file.createVariable("longitude", "f4", ("longitude",))[:] = lon
        file.createVariable("latitude", "f4", ("latitude",))[:] = lat[::-1]
        time = file.createVariable("time", "i4", ("time",))
        time.setncatts({"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian"})
        time[:] = (stamps - np.datetime64("1900-01-01T00", "h")).astype(int)
        for name, values in fields.items():
            values = values[:, ::-1]
            low, high = np.nanmin(values), np.nanmax(values)
            scale, offset = (high - low) / 65000 or 1.0, (high + low) / 2
            variable = file.createVariable(name, "i2", dims, fill_value=np.int16(-32767))
            variable.set_auto_maskandscale(False)
            variable.setncatts({"scale_factor": scale, "add_offset": offset, "missing_value": np.int16(-32767),
                                "units": UNITS[name]})
            numbers = np.round((np.nan_to_num(values) - offset) / scale)
            packed = np.where(np.isnan(values), -32767, numbers).astype(np.int16)
            if versions is None:
                variable[:] = packed
            else:
                both = np.full((len(stamps), 2, lat.size, lon.size), -32767, np.int16)
                both[np.arange(len(stamps)), versions] = packed
                variable[:] = both
    return path


def zipped(path, members):
    """A ZIP of the files `members`: name inside -> path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.write(member, name)
            Path(member).unlink()
    return path


def soil_values(stamps, lat=LAT, lon=LON):
    """swvl1 and stl1 known by formula: hour of the day, day and cell."""
    hour = (stamps - stamps.astype("datetime64[D]")).astype(int)[:, None, None]
    day = stamps.astype("datetime64[D]").astype(int)[:, None, None]
    cell = np.arange(lat.size * lon.size).reshape(lat.size, lon.size)
    return {"swvl1": 0.2 + 0.001 * hour + 0.0001 * (day % 50) + 0.002 * cell,
            "stl1": 280.0 + hour + day % 7 + 0.1 * cell}


def known_totals(days, seed=0, shape=(LAT.size, LON.size)):
    """Daily precipitation in mm [T, h, w]: dry, small, moderate and the heaviest days."""
    random = np.random.default_rng(seed)
    return random.gamma(0.4, 12.0, (len(days), *shape)) * (random.random((len(days), *shape)) < 0.6)


def rain_values(stamps, days, totals, product):
    """tp in metres at each stamp as the product stores it, for totals (mm) of `days`."""
    random = np.random.default_rng(1)
    share = random.random((len(days), 24, *totals.shape[1:]))
    share /= share.sum(axis=1, keepdims=True)
    hourly = share * totals[:, None] / 1000
    stored = np.cumsum(hourly, axis=1) if product == "era5-land" else hourly
    day = (stamps - 1).astype("datetime64[D]")
    hour = (stamps - 1 - day.astype("datetime64[h]")).astype(int)
    return stored[(day - days[0]).astype(int), hour].astype(np.float32)


def prepared(tmp_path, files, output="cube.nc", **settings):
    """Run the script's main on files; returns the cube's variables, days and attributes, read with netCDF4."""
    path = tmp_path / "out" / output
    main(Settings(files=tuple(map(str, files)), output=str(path), workers=1, **settings))
    with netCDF4.Dataset(path) as file:
        days = file["time"][:].astype(int).astype("datetime64[D]")
        values = {name: file[name][:].filled(np.nan) for name in file.variables if file[name].ndim == 3}
        attributes = {name: file[name].comment for name in values}
        attributes |= {name: file.getncattr(name) for name in file.ncattrs()}
        return values, np.asarray(days), np.asarray(file["lat"][:]), np.asarray(file["lon"][:]), attributes


def planned(tmp_path, files, **settings):
    """The plan of the script for files."""
    settings = Settings(files=tuple(map(str, files)), **settings)
    records, refused = catalogue(list(files), tmp_path / "pieces")
    records, _, _ = usable(records, refused, set(), settings.variables)
    lattice = common_lattice(records, settings.product)
    target = target_grid("native", source=lattice.grid, box=settings.box)
    return plan_files(records, refused, lattice, target, None, settings)


def sums(path, task, folder):
    return {(variable, day): (total, count) for variable, day, total, count in read_file((path,), task, folder)}


# ---------------------------------------------------------------------------------------------- the real files
@real_files
@pytest.mark.parametrize("name", ["era5_land_tp_mixed_expver_2025.nc", "zip_named_nc.nc", "zip_instant_and_accum.nc",
                                  "legacy_packed_tp.nc", "legacy_expver_dimension.nc"])
def test_real_file_agrees_with_an_independent_reading(name, tmp_path):
    members = [SAMPLES / name]
    if name.startswith("zip"):
        with zipfile.ZipFile(SAMPLES / name) as archive:
            archive.extractall(tmp_path / "members")
        members = list((tmp_path / "members").iterdir())
    compared = 0
    with open_fields(SAMPLES / name, tmp_path / "unpacked") as fields:
        for member in members:
            with netCDF4.Dataset(member) as file:
                for variable in file.variables.values():
                    if variable.ndim < 3:
                        continue
                    field = fields[variable.name]
                    compared += 1
                    expected = np.ma.filled(variable[:].astype(float), np.nan)
                    if "expver" in variable.dimensions:
                        expected = np.where(np.isnan(expected[:, 0]), expected[:, 1], expected[:, 0])
                    np.testing.assert_allclose(field_values(field), expected[:, ::-1], rtol=1e-6)
                    time = file["time" if "time" in file.variables else "valid_time"]
                    dates = netCDF4.num2date(time[:], time.units, only_use_cftime_datetimes=False)
                    assert [str(stamp) for stamp in field.stamps] == [f"{date:%Y-%m-%dT%H:%M}" for date in dates]
                    # 1 m is 9e-6 degrees
                    np.testing.assert_allclose(field.lat, file["latitude"][:][::-1].astype(float), rtol=0, atol=9e-6)
                    np.testing.assert_allclose(field.lon, file["longitude"][:].astype(float), rtol=0, atol=9e-6)
                    assert field.units == variable.units
        assert compared == len(fields)
    assert not list((tmp_path / "unpacked").glob("*")) if name.startswith("zip") else True


@real_files
def test_real_land_file_becomes_the_days_before_its_stamps(tmp_path):
    path = SAMPLES / "era5_land_tp_mixed_expver_2025.nc"
    values, days, lat, lon, attributes = prepared(tmp_path, [path], variables=("precipitation",))
    with netCDF4.Dataset(path) as file:
        expected = np.maximum(file["tp"][:, ::-1].filled(np.nan).astype(float) * 1000, 0)
        assert (days[0], days[-1]) == (np.datetime64("2024-12-31"), np.datetime64("2025-09-12"))
        np.testing.assert_allclose(values["precipitation"], expected, rtol=1e-6)
        np.testing.assert_allclose(lat, file["latitude"][::-1], atol=9e-6)
        np.testing.assert_allclose(lon, file["longitude"][:], atol=9e-6)
        assert attributes["preliminary_days"] == np.count_nonzero(file["expver"][:] == "0005")
    assert "00 UTC of the next day" in attributes["precipitation"]


@real_files
def test_preliminary_stamps_of_real_files(tmp_path):
    with open_fields(SAMPLES / "era5_land_tp_mixed_expver_2025.nc", tmp_path) as fields:
        assert fields["tp"].stamps[is_preliminary(fields["tp"])][0] == np.datetime64("2025-07-02T00")
    with open_fields(SAMPLES / "legacy_expver_dimension.nc", tmp_path) as fields:
        with netCDF4.Dataset(SAMPLES / "legacy_expver_dimension.nc") as file:
            expected = np.ma.getmaskarray(file["u100"][:, 0]).all(axis=(1, 2))
        np.testing.assert_array_equal(is_preliminary(fields["u100"]), expected)
        assert 0 < expected.sum() < expected.size


@real_files
def test_real_hourly_file_of_the_other_product_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"legacy_packed_tp.nc has cells of 0.25 degrees.*--product era5"):
        prepared(tmp_path, [SAMPLES / "legacy_packed_tp.nc"], variables=("precipitation",))


# --------------------------------------------------------------------------------------- the rule of precipitation
@pytest.mark.parametrize("product", ["era5-land", "era5"])
@pytest.mark.parametrize("months", [("2019-12", "2020-01"), ("2020-02", "2020-03"), ("2021-02", "2021-03"),
                                    ("1969-12", "1970-01")])
def test_daily_totals_over_month_and_year(tmp_path, product, months):
    lat, lon = axes(product)
    first, last = np.datetime64(months[0], "D"), (np.datetime64(months[1], "M") + 1).astype("datetime64[D]")
    days = np.arange(first - 1, last)
    totals = known_totals(days)
    files = []
    for month in months:
        stamps = month_hours(month)
        tp = rain_values(stamps, days, totals, product)
        files.append(write_new(tmp_path / f"tp_{month}.nc", {"tp": tp}, stamps, lat, lon))

    for given in (files, files[:1]):
        values, found, *_ = prepared(tmp_path, given, f"{len(given)}.nc", variables=("precipitation",), product=product)
        end = np.datetime64(months[len(given) - 1], "M") + 1  # the last day's total stands in the following month
        assert found[-1] == end.astype("datetime64[D]") - 2
        assert found[0] == (days[0] if product == "era5-land" else first)
        expected = totals[(found - days[0]).astype(int)]
        allowed = 1e-6 * np.maximum(expected, 1) + 2 ** -23 * expected
        assert (np.abs(values["precipitation"] - expected) <= allowed).all()


def test_the_stamp_of_the_next_month_completes_the_month(tmp_path):
    days = np.arange(np.datetime64("2019-11-30"), np.datetime64("2020-01-02"))
    totals = known_totals(days)
    stamps = month_hours("2019-12")
    month = write_new(tmp_path / "tp_2019-12.nc", {"tp": rain_values(stamps, days, totals, "era5-land")}, stamps)
    lone = hours("2020-01-01", 1)
    after = write_new(tmp_path / "tp_2020-01.nc", {"tp": rain_values(lone, days, totals, "era5-land")}, lone)
    values, found, *_ = prepared(tmp_path, [month, after], variables=("precipitation",))
    assert found[-1] == np.datetime64("2019-12-31")
    np.testing.assert_allclose(values["precipitation"][-1], totals[-2], rtol=1e-6)


def test_a_month_without_the_next_says_that_it_ends_a_day_short(tmp_path, capsys):
    stamps = hours("2020-02-01", 29, 24)  # 00 UTC only
    path = write_new(tmp_path / "tp.nc", {"tp": np.ones((29, 3, 4)) / 1000}, stamps)
    _, found, *_ = prepared(tmp_path, [path], variables=("precipitation",))
    assert found[-1] == np.datetime64("2020-02-28")
    assert "precipitation of 2020-02-29 needs the stamp 00 UTC" in capsys.readouterr().out


@pytest.fixture
def two_days_of_rain(tmp_path):
    """Files of both products, 48 hours: 24 mm evenly on the first day, 48 mm on the second."""
    def make(product):
        days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-03"))
        stamps = hours("2020-01-01T01", 48)
        rate = np.repeat([1.0, 2.0], 24)
        stored = np.concatenate([np.cumsum(rate[:24]), np.cumsum(rate[24:])]) if product == "era5-land" else rate
        tp = np.broadcast_to(stored[:, None, None] / 1000, (48, 3, 4))
        path = write_new(tmp_path / "tp.nc", {"tp": tp}, stamps, *axes(product))
        values, found, *_ = prepared(tmp_path, [path], variables=("precipitation",), product=product)
        return dict(zip(found, values["precipitation"][:, 0, 0])), days, stamps, stored
    return make


def test_calendar_day_maximum_would_be_wrong(two_days_of_rain):
    found, days, stamps, stored = two_days_of_rain("era5-land")
    maximum = stored[stamps.astype("datetime64[D]") == days[1]].max()
    np.testing.assert_allclose([found[day] for day in days], [24, 48], rtol=1e-6)
    assert maximum == 46  # the last hour is lacking; on a dry day it would be the total of the day before


def test_calendar_day_sum_would_be_wrong(two_days_of_rain):
    found, days, stamps, stored = two_days_of_rain("era5-land")
    assert stored[stamps.astype("datetime64[D]") == days[1]].sum() > 500
    np.testing.assert_allclose(found[days[1]], 48, rtol=1e-6)


def test_calendar_day_sum_of_era5_would_be_wrong(two_days_of_rain):
    found, days, stamps, stored = two_days_of_rain("era5")
    assert stored[stamps.astype("datetime64[D]") == days[1]].sum() == 47
    np.testing.assert_allclose([found[day] for day in days], [24, 48], rtol=1e-6)


def test_an_hour_missing_leaves_era5_without_a_total(tmp_path, capsys):
    stamps = np.delete(hours("2020-01-01T01", 72), 30)
    path = write_new(tmp_path / "tp.nc", {"tp": np.full((71, 3, 4), 1e-3)}, stamps, *axes("era5"))
    values, found, *_ = prepared(tmp_path, [path], variables=("precipitation",), product="era5")
    assert np.isnan(values["precipitation"][1]).all() and found.size == 3
    np.testing.assert_allclose(values["precipitation"][[0, 2]], 24, rtol=1e-6)
    assert "precipitation: days with fewer than 24 hours, which stay missing: 1 (2020-01-02)" in capsys.readouterr().out


def test_slightly_negative_values_are_zero(tmp_path):
    stamps = hours("2020-01-01", 24)
    fields = {"tp": np.full((24, 3, 4), -1e-8), "swvl1": np.full((24, 3, 4), -1e-6)}
    path = write_new(tmp_path / "both.nc", fields, stamps)
    values, *_ = prepared(tmp_path, [path], variables=("soil_moisture",))
    assert (values["soil_moisture"] == 0).all()
    values, *_ = prepared(tmp_path, [path], "rain.nc", variables=("precipitation",))
    assert (values["precipitation"] == 0).all()


@pytest.mark.parametrize("name,value,message", [("tp", -2e-3, "tp goes down to -2, taken as mm"),
                                                ("swvl1", -0.5, "swvl1 goes down to -0.5, taken as m3 m-3"),
                                                ("stl1", 20.0, "soil_temperature of .* reaches from 20")])
def test_values_that_contradict_the_unit_are_refused(tmp_path, name, value, message):
    path = write_new(tmp_path / "strange.nc", {name: np.full((24, 3, 4), value)}, hours("2020-01-01", 24))
    variable = {short: long for long, short in era5_land.NAMES.items()}[name]
    with pytest.raises(UserError, match=rf"strange\.nc: {message}"):
        prepared(tmp_path, [path], variables=(variable,))


# ------------------------------------------------------------------------------------------------ soil, hours, days
def expected_soil(days, used_hours, lat=LAT, lon=LON):
    stamps = (days.astype("datetime64[h]")[:, None] + np.array(used_hours)).ravel()
    return {name: values.reshape(days.size, len(used_hours), lat.size, lon.size).mean(axis=1)
            for name, values in soil_values(stamps, lat, lon).items()}


@pytest.mark.parametrize("step,comment", [(1, "mean of 24 hourly values"),
                                          (6, "mean of 4 values a day (00, 06, 12, 18 UTC)")])
def test_soil_is_the_mean_of_the_hours(tmp_path, step, comment):
    stamps = hours("2020-02-28", 72 // step, step)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    values, days, lat, lon, attributes = prepared(tmp_path, [path], variables=SOIL)
    assert list(days.astype(str)) == ["2020-02-28", "2020-02-29", "2020-03-01"]
    expected = expected_soil(days, range(0, 24, step))
    np.testing.assert_allclose(values["soil_moisture"], expected["swvl1"], rtol=1e-6)
    np.testing.assert_allclose(values["soil_temperature"], expected["stl1"], rtol=1e-6)
    np.testing.assert_allclose(lat, LAT, atol=1e-6)
    np.testing.assert_allclose(lon, LON, atol=1e-6)
    assert attributes["soil_moisture"] == comment


def test_snapshots_are_refused_with_both_ways_out(tmp_path):
    stamps = hours("2020-01-01", 5, 24)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    with pytest.raises(UserError, match=r"soil\.nc.*at 00 UTC.*--daily-statistics.*--min-hours-per-day 1"):
        prepared(tmp_path, [path], variables=SOIL)
    for way in ({"daily_statistics": ()}, {"min_hours_per_day": 1}, {"daily_statistics": (str(path),)}):
        values, days, _, _, attributes = prepared(tmp_path, [path], f"{len(str(way))}.nc", variables=SOIL, **way)
        np.testing.assert_allclose(values["soil_moisture"], expected_soil(days, [0])["swvl1"], rtol=1e-6)
        assert days.size == 5
        assert ("daily statistic" in attributes["soil_moisture"]) == ("daily_statistics" in way)


def test_snapshots_of_one_file_are_refused_beside_hourly_files(tmp_path):
    stamps = hours("2020-01-01", 48)
    hourly = write_new(tmp_path / "hourly.nc", soil_values(stamps), stamps)
    stamps = hours("2020-01-03", 5, 24)
    snapshots = write_new(tmp_path / "snapshots.nc", soil_values(stamps), stamps)
    with pytest.raises(UserError, match="snapshots.nc.*one value a day"):
        prepared(tmp_path, [hourly, snapshots], variables=SOIL)
    values, days, _, _, attributes = prepared(tmp_path, [hourly, snapshots], variables=SOIL,
                                              daily_statistics=(str(snapshots),))
    np.testing.assert_allclose(values["soil_moisture"][:2], expected_soil(days[:2], range(24))["swvl1"], rtol=1e-6)
    np.testing.assert_allclose(values["soil_moisture"][2:], expected_soil(days[2:], [0])["swvl1"], rtol=1e-6)
    assert attributes["soil_moisture"] == ("daily statistic of the Climate Data Store (5 days); "
                                           "mean of 24 hourly values (2 days)")


def test_precipitation_as_a_daily_statistic_is_refused(tmp_path):
    stamps = hours("2020-01-01", 5, 24)
    path = write_new(tmp_path / "all.nc", soil_values(stamps) | {"tp": np.zeros((5, 3, 4))}, stamps)
    with pytest.raises(UserError, match="all.nc: holds tp as a daily statistic"):
        prepared(tmp_path, [path], daily_statistics=())
    hourly = write_new(tmp_path / "tp.nc", {"tp": np.zeros((5, 3, 4))}, stamps)
    soil = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    _, days, *_ = prepared(tmp_path, [hourly, soil], daily_statistics=(str(soil),))
    assert list(days.astype(str)) == [f"2020-01-0{day}" for day in range(1, 6)]


def test_hourly_values_are_no_daily_statistics(tmp_path):
    stamps = hours("2020-01-01", 48)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    with pytest.raises(UserError, match="soil.nc: named as daily statistics, but .* several stamps a day"):
        prepared(tmp_path, [path], variables=SOIL, daily_statistics=())


def test_a_day_with_too_few_hours_is_missing_and_told(tmp_path, capsys):
    stamps = np.concatenate([hours("2020-01-01", 24), hours("2020-01-02", 3), hours("2020-01-03", 24)])
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    values, *_ = prepared(tmp_path, [path], variables=SOIL)
    assert np.isnan(values["soil_moisture"][1]).all() and not np.isnan(values["soil_moisture"][[0, 2]]).any()
    assert "soil_moisture: days with fewer than 4 hours, which stay missing: 1 (2020-01-02)" in capsys.readouterr().out


def test_the_cube_begins_with_the_first_soil(tmp_path, capsys):
    stamps = hours("2020-01-01", 49)
    path = write_new(tmp_path / "all.nc", soil_values(stamps) | {"tp": np.full((49, 3, 4), 1e-3)}, stamps)
    _, days, *_ = prepared(tmp_path, [path])
    assert list(days.astype(str)) == ["2020-01-01", "2020-01-02"]
    assert "the precipitation of the day before is left out" in capsys.readouterr().out


def test_a_missing_month_is_told_and_missing(tmp_path, capsys):
    files = []
    for month in ("2020-01", "2020-03"):
        stamps = month_hours(month)[::6]
        files.append(write_new(tmp_path / f"{month}.nc", soil_values(stamps), stamps))
    values, days, *_ = prepared(tmp_path, files, variables=SOIL)
    february = days.astype("datetime64[M]") == np.datetime64("2020-02")
    np.testing.assert_array_equal(np.isnan(values["soil_moisture"]).all(axis=(1, 2)), february)
    assert "2020-02-01 to 2020-02-29" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- layouts
def test_old_service_packed(tmp_path):
    stamps = hours("2020-01-01", 24, 6)
    soil = soil_values(stamps)
    soil["swvl1"][:, 0, 0] = soil["stl1"][:, 0, 0] = np.nan
    path = write_old(tmp_path / "old.nc", soil, stamps)
    values, days, *_ = prepared(tmp_path, [path], variables=SOIL)
    expected = expected_soil(days, [0, 6, 12, 18])
    assert np.isnan(values["soil_moisture"][:, 0, 0]).all()
    np.testing.assert_allclose(values["soil_moisture"][:, 1:], expected["swvl1"][:, 1:], atol=2e-6)
    np.testing.assert_allclose(values["soil_temperature"][:, 1:], expected["stl1"][:, 1:], atol=1e-3)


def test_expver_dimension_is_combined_and_counted(tmp_path):
    stamps = hours("2020-01-01", 20, 6)
    soil = soil_values(stamps)
    soil["swvl1"][:, 2, 3] = soil["stl1"][:, 2, 3] = np.nan  # sea, also in the north-west corner that is read first
    path = write_old(tmp_path / "old.nc", soil, stamps, preliminary_from=np.datetime64("2020-01-03T06"))
    values, days, _, _, attributes = prepared(tmp_path, [path], variables=SOIL)
    expected = expected_soil(days, [0, 6, 12, 18])["swvl1"]
    np.testing.assert_allclose(values["soil_moisture"][:, :2], expected[:, :2], atol=2e-6)
    assert np.isnan(values["soil_moisture"][:, 2, 3]).all()
    assert attributes["preliminary_days"] == 3 and "2020-01-03 to 2020-01-05" in attributes["preliminary"]


def test_expver_dimension_whose_entries_are_not_named_is_refused(tmp_path):
    stamps = hours("2020-01-01", 8, 6)
    path = write_old(tmp_path / "old.nc", soil_values(stamps), stamps, preliminary_from=stamps[4])
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("expver", "extver")
    with pytest.raises(UserError, match="old.nc: its values have a dimension expver, and nothing says"):
        prepared(tmp_path, [path], variables=SOIL)


@pytest.mark.parametrize("names", [["data_0.nc"], ["data_stream-oper_stepType-instant.nc",
                                                   "data_stream-oper_stepType-accum.nc"]])
def test_zip_named_nc(tmp_path, names):
    stamps = hours("2020-01-01", 49)
    soil, tp = soil_values(stamps), {"tp": np.full((49, 3, 4), 2e-3)}
    contents = [soil | tp] if len(names) == 1 else [soil, tp]
    members = {name: write_new(tmp_path / name, content, stamps) for name, content in zip(names, contents)}
    path = zipped(tmp_path / "download.nc", members)
    values, days, *_ = prepared(tmp_path, [path])
    np.testing.assert_allclose(values["soil_temperature"], expected_soil(days, range(24))["stl1"], rtol=1e-6)
    np.testing.assert_allclose(values["precipitation"], 2, rtol=1e-6)


def test_one_variable_in_two_members(tmp_path):
    stamps = hours("2020-01-01", 48)
    members = {}
    for number, here in enumerate((stamps[:30], stamps[30:])):
        members[f"data_{number}.nc"] = write_new(tmp_path / f"data_{number}.nc", soil_values(here), here,
                                                 expver=["0001", "0005"][number])
    path = zipped(tmp_path / "download.nc", members)
    values, days, _, _, attributes = prepared(tmp_path, [path], variables=SOIL)
    np.testing.assert_allclose(values["soil_temperature"], expected_soil(days, range(24))["stl1"], rtol=1e-6)
    assert attributes["preliminary_days"] == 1


def test_a_second_run_does_not_unpack_again(tmp_path, monkeypatch):
    stamps = hours("2020-01-01", 48)
    inside = write_new(tmp_path / "data_0.nc", soil_values(stamps), stamps)
    path = zipped(tmp_path / "download.nc", {"data_0.nc": inside})
    prepared(tmp_path, [path], variables=SOIL)
    monkeypatch.setattr(era5_files, "_unpacked", None)
    prepared(tmp_path, [path], variables=SOIL)
    assert {entry.suffix for entry in (tmp_path / "out" / "pieces").iterdir()} == {".nc", ".json"}


def test_what_an_ended_process_unpacked_is_removed(tmp_path):
    for number in (2 ** 22 + 1, 1):  # above the largest process number; always there
        (tmp_path / f".unpacked.{number}.x").mkdir()
    remove_left_over(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == [".unpacked.1.x"]


def test_ascending_latitudes_and_static_time(tmp_path):
    stamps = hours("2020-01-01", 24)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps, descending=False, expver=None)
    values, days, *_ = prepared(tmp_path, [path], variables=SOIL)
    np.testing.assert_allclose(values["soil_temperature"], expected_soil(days, range(24))["stl1"], rtol=1e-6)


@pytest.mark.parametrize("west,given", [(-0.2, [359.8, 359.9, 0.0, 0.1]), (-0.2, [-0.2, -0.1, 0.0, 0.1]),
                                        (-0.2, [0.0, 0.1, 359.8, 359.9]), (179.8, [179.8, 179.9, 180.0, 180.1]),
                                        (179.8, [179.8, 179.9, -180.0, -179.9]), (-90.0, [270.0, 270.1, 270.2, 270.3])])
def test_longitudes_of_either_kind_and_across_the_seams(tmp_path, west, given):
    stamps = hours("2020-01-01", 24)
    soil = soil_values(stamps)
    order = np.argsort(np.mod(np.round(np.array(given) - west, 6), 360))
    stored = {name: np.empty_like(values) for name, values in soil.items()}
    for name, values in soil.items():
        stored[name][:, :, order] = values
    path = write_new(tmp_path / "soil.nc", stored, stamps, lon=np.array(given))
    values, days, _, lon, _ = prepared(tmp_path, [path], variables=SOIL)
    np.testing.assert_allclose(np.mod(lon - west + 1e-6, 360), [0, 0.1, 0.2, 0.3], atol=1e-5)
    np.testing.assert_allclose(values["soil_temperature"], expected_soil(days, range(24))["stl1"], rtol=1e-6)


def test_a_box_across_180_of_global_files(tmp_path):
    stamps = hours("2020-01-01", 24)
    lon = np.arange(3600) / 10
    soil = {"stl1": np.broadcast_to(280 + lon / 10, (24, 3, 3600))}
    path = write_new(tmp_path / "soil.nc", soil, stamps, lon=lon)
    values, _, _, found, attributes = prepared(tmp_path, [path], variables=("soil_temperature",),
                                               box=(10.2, 179.5, 10.0, -179.5))
    np.testing.assert_allclose(np.mod(found, 360), np.arange(1795, 1806) / 10, atol=1e-6)
    np.testing.assert_allclose(values["soil_temperature"][0, 0], 280 + np.mod(found, 360) / 10, rtol=1e-6)
    assert attributes["regridding"] == "none, native cells"  # so only the cells of the box were read


def test_boxes_fill_each_other(tmp_path):
    stamps = hours("2020-01-01", 24)
    lon = np.arange(8) / 10 + 75
    whole = soil_values(stamps, lon=lon)
    files = [write_new(tmp_path / f"{name}.nc", {key: values[:, :, columns] for key, values in whole.items()}, stamps,
                       lon=lon[columns] + turn)
             for name, columns, turn in (("west", slice(0, 5), 0), ("east", slice(4, 8), -360))]
    values, days, _, found, _ = prepared(tmp_path, files, variables=SOIL)
    np.testing.assert_allclose(found, lon, atol=1e-6)
    np.testing.assert_allclose(values["soil_moisture"], expected_soil(days, range(24), lon=lon)["swvl1"], rtol=1e-6)


def test_a_box_reads_only_its_cells(tmp_path):
    stamps = hours("2020-01-01", 24)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    values, days, lat, lon, _ = prepared(tmp_path, [path], variables=SOIL, box=(10.15, 75.05, 9, 75.25))
    np.testing.assert_allclose((lat, lon), ([10.0, 10.1], [75.1, 75.2]), atol=1e-6)
    np.testing.assert_allclose(values["soil_moisture"], expected_soil(days, range(24))["swvl1"][:, :2, 1:3], rtol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 30, 500, 10 ** 6])
@pytest.mark.parametrize("chunks", [(60, 3, 4), (1, 3, 4), (7, 2, 3), (60, 1, 1), (25, 3, 2), None])
def test_sums_do_not_depend_on_chunks_and_blocks(tmp_path, monkeypatch, chunks, block):
    monkeypatch.setattr(era5_land, "BLOCK_VALUES", block)
    stamps = hours("2020-01-01T05", 60)
    soil = soil_values(stamps)
    soil["swvl1"][10:30, 1, 1] = np.nan
    path = write_new(tmp_path / "soil.nc", soil, stamps, chunks=chunks) if chunks else write_old(
        tmp_path / "old.nc", soil, stamps)
    task = {"rows": [0, 2], "columns": [[0, 1, 3], [3, 0, 1]], "flipped": True, "daily_statistics": False,
            "stamps": {"soil_moisture": [[0, 26], [28, 60]]}}
    found = sums(path, task, tmp_path)
    used = np.r_[0:26, 28:60]
    for day in np.unique(stamps.astype("datetime64[D]")):
        here = soil["swvl1"][used[stamps[used].astype("datetime64[D]") == day]][:, 1:]
        total, count = found.pop(("soil_moisture", day))
        for column, source in ((0, 1), (1, 2), (3, 0)):
            np.testing.assert_allclose(total[:, column], np.nansum(here[:, :, source], axis=0), atol=2e-4)
            np.testing.assert_array_equal(count[:, column], (~np.isnan(here[:, :, source])).sum(axis=0))
        assert (count[:, 2] == 0).all() and total.dtype == np.float32 and count.dtype == np.uint8
    assert not found


def test_the_script_with_two_processes_and_from_elsewhere(tmp_path):
    for month in ("2020-01", "2020-02"):
        stamps = month_hours(month)[::6]
        inside = write_new(tmp_path / "data_0.nc", soil_values(stamps), stamps)
        zipped(tmp_path / f"soil_{month}.nc", {"data_0.nc": inside})

    def run(files):
        script = str(ROOT / "data_processing" / "prepare_era5_land.py")
        command = [sys.executable, script, files, "--output", "made/cube.nc", "--workers", "2",
                   "--variables", *SOIL]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = run(".")
    assert done.returncode == 0, done.stderr
    with netCDF4.Dataset(tmp_path / "made" / "cube.nc") as file:
        days = np.asarray(file["time"][:]).astype("datetime64[D]")
        np.testing.assert_allclose(file["soil_moisture"][:], expected_soil(days, [0, 6, 12, 18])["swvl1"], rtol=1e-6)
    done = run("nowhere")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.strip().count("\n") == 0


# ------------------------------------------------------------------------------------------- which stamp of which file
def test_duplicate_stamps_count_once_and_final_goes_first(tmp_path):
    stamps = hours("2020-01-01", 72)
    preliminary = write_new(tmp_path / "a.nc", {"swvl1": np.full((72, 3, 4), 0.3)}, stamps, expver="0005")
    final = write_new(tmp_path / "b.nc", {"swvl1": np.full((48, 3, 4), 0.2)}, stamps[:48])
    values, _, _, _, attributes = prepared(tmp_path, [preliminary, final], variables=("soil_moisture",))
    np.testing.assert_allclose(values["soil_moisture"][:, 0, 0], [0.2, 0.2, 0.3], rtol=1e-6)
    assert attributes["preliminary_days"] == 1
    sources = planned(tmp_path, [preliminary, final], variables=("soil_moisture",)).sources
    assert [source.task["stamps"]["soil_moisture"] for source in sources] == [[[48, 72]], [[0, 48]]]


def test_expver_along_time_prefers_final(tmp_path):
    stamps = hours("2020-01-01", 48)
    versions = ["0001"] * 24 + ["0005"] * 24
    mixed = write_new(tmp_path / "a.nc", {"swvl1": np.full((48, 3, 4), 0.3)}, stamps, expver=versions)
    final = write_new(tmp_path / "b.nc", {"swvl1": np.full((48, 3, 4), 0.2)}, stamps)
    values, *_ = prepared(tmp_path, [mixed, final], variables=("soil_moisture",))
    np.testing.assert_allclose(values["soil_moisture"][:, 0, 0], [0.3, 0.2], rtol=1e-6)


@pytest.mark.parametrize("product", ["era5-land", "era5"])
def test_adding_a_month_leaves_the_tasks_of_the_others(tmp_path, product):
    files = []
    for month in ("2019-12", "2020-01", "2020-02"):
        stamps = month_hours(month)
        fields = soil_values(stamps) | {"tp": np.zeros((stamps.size, 3, 4))}
        files.append(write_new(tmp_path / f"{month}.nc", fields, stamps, *axes(product)))
    tasks = [{source.name: json.dumps(source.task) for source in planned(tmp_path, given, product=product).sources}
             for given in (files[1:2], files[:2], files)]
    assert tasks[0].items() <= tasks[1].items() <= tasks[2].items()


def test_files_of_one_name_in_two_folders(tmp_path):
    files = []
    for month in ("2020-01", "2020-02"):
        (tmp_path / month).mkdir()
        stamps = month_hours(month)[::6]
        files.append(write_new(tmp_path / month / "download.nc", soil_values(stamps), stamps))
    values, days, *_ = prepared(tmp_path, files, variables=SOIL)
    np.testing.assert_allclose(values["soil_moisture"], expected_soil(days, [0, 6, 12, 18])["swvl1"], rtol=1e-6)


def test_the_title_says_what_is_synthetic(tmp_path):
    stamps = hours("2020-01-01", 24)
    title = "Synthetic twin of era5_land (not real data)"
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps, title=title)
    *_, attributes = prepared(tmp_path, [path], variables=SOIL)
    assert attributes["title"] == attributes["synthetic"] == title


# ------------------------------------------------------------------------------------------------------- land and sea
def write_mask(path, values, lat, lon, with_time):
    with netCDF4.Dataset(path, "w") as file:
        for name, axis in (("latitude", lat[::-1]), ("longitude", lon)):
            file.createDimension(name, axis.size)
            file.createVariable(name, "f8", (name,))[:] = axis
        dims = ("latitude", "longitude")
        if with_time:
            file.createDimension("valid_time", 1)
            time = file.createVariable("valid_time", "i8", ("valid_time",))
            time.units = "seconds since 1970-01-01"
            time[:] = 0
            dims = ("valid_time", *dims)
        variable = file.createVariable("lsm", "f4", dims, fill_value=np.nan)
        variable.units = "(0 - 1)"
        variable[:] = values[::-1]
    return path


@pytest.mark.parametrize("product,with_time", [("era5-land", False), ("era5", True)])
def test_sea_is_left_out_by_the_mask(tmp_path, product, with_time):
    spacing = {"era5-land": 0.1, "era5": 0.25}[product]
    lat, lon = 10 + spacing * np.arange(3), -0.5 + spacing * np.arange(4)
    stamps = hours("2020-01-01", 24)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps, lat, lon)
    wide_lat, wide_lon = 9 + spacing * np.arange(30), np.arange(round(360 / spacing)) * spacing
    land = np.ones((wide_lat.size, wide_lon.size))
    row, column = np.argmin(np.abs(wide_lat - lat[2])), np.argmin(np.abs(wide_lon - (lon[0] + 360)))
    land[row, column] = 0.49
    mask = write_mask(tmp_path / "mask.nc", land, wide_lat, wide_lon, with_time)
    values, *_ , attributes = prepared(tmp_path, [path], variables=SOIL, product=product, land_sea_mask=str(mask))
    sea = np.zeros((3, 4), bool)
    sea[2, 0] = True
    np.testing.assert_array_equal(np.isnan(values["soil_moisture"][0]), sea)
    assert "mask.nc" in attributes["land_sea_mask"]


def test_soil_of_era5_needs_the_mask(tmp_path):
    with pytest.raises(UserError, match="--land-sea-mask FILE"):
        prepared(tmp_path, ["nothing"], variables=SOIL, product="era5")


def test_a_mask_that_does_not_cover_or_hold_lsm_is_refused(tmp_path):
    stamps = hours("2020-01-01", 24)
    path = write_new(tmp_path / "soil.nc", soil_values(stamps), stamps)
    for lat in (LAT[:2], LAT + 0.05):
        mask = write_mask(tmp_path / "mask.nc", np.ones((lat.size, 4)), lat, LON, False)
        with pytest.raises(UserError, match="mask.nc: the land-sea mask reaches from"):
            prepared(tmp_path, [path], variables=SOIL, land_sea_mask=str(mask))
    with pytest.raises(UserError, match="soil.nc: a land-sea mask must hold lsm; found swvl1, stl1"):
        prepared(tmp_path, [path], variables=SOIL, land_sea_mask=str(path))


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.fixture
def good_file(tmp_path):
    stamps = hours("2020-01-01", 24)
    return write_new(tmp_path / "good.nc", soil_values(stamps), stamps)


def bad_files(folder):
    """name -> (path, what the message says)"""
    stamps = hours("2020-01-02", 24)
    soil = soil_values(stamps)
    raw = write_new(folder / "cut.nc", soil, stamps).read_bytes()
    (folder / "cut.nc").write_bytes(raw[:len(raw) // 2])
    raw = write_old(folder / "cut_old.nc", soil, stamps).read_bytes()
    (folder / "cut_old.nc").write_bytes(raw[:-400])
    (folder / "page.nc").write_text("<!DOCTYPE html><html>sign in</html>")
    (folder / "empty.nc").write_bytes(b"")
    inside = write_new(folder / "inside.nc", soil, stamps)
    raw = inside.read_bytes()
    for name, member in (("climbs.nc", "../../climbed.nc"), ("absolute.nc", "/tmp/absolute.nc"),
                         ("drive.nc", "C:\\data.nc")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(member, raw)
    with zipfile.ZipFile(folder / "no_data.nc", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with zipfile.ZipFile(folder / "half.nc", "w") as archive:
        archive.writestr("data_0.nc", raw)
    (folder / "half.nc").write_bytes((folder / "half.nc").read_bytes()[:2000])
    inside.unlink()
    write_new(folder / "unit.nc", soil, stamps, units={"swvl1": "kg m-2", "stl1": "K"})
    write_new(folder / "expver.nc", soil, stamps, expver="0007")
    return {"cut.nc": "incomplete", "cut_old.nc": "incomplete", "page.nc": "web page", "empty.nc": "empty",
            "climbs.nc": "outside its folder", "absolute.nc": "outside its folder", "drive.nc": "outside its folder",
            "no_data.nc": "readme.txt", "half.nc": "ZIP", "unit.nc": "unit 'kg m-2'", "expver.nc": "expver is 0007"}


def test_bad_files_are_named_and_the_others_are_read(tmp_path, good_file):
    folder = tmp_path / "bad"
    folder.mkdir()
    messages = bad_files(folder)
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, [folder, good_file], variables=SOIL)
    lines = str(caught.value).split("\nerror: ")
    for name, message in messages.items():
        line, = [line for line in lines if line.startswith(f"{folder / name}: ")]
        assert message in line and "\n" not in line
    assert len(lines) == len(messages) + 1
    assert len(list((tmp_path / "out" / "pieces").glob("good.*.nc"))) == 1
    assert not (tmp_path / "out" / "cube.nc").exists()
    assert not (tmp_path / "climbed.nc").exists() and not (tmp_path.parent / "climbed.nc").exists()


def test_the_others_are_read_when_the_only_file_of_a_variable_is_bad(tmp_path, good_file):
    (tmp_path / "tp.nc").write_text("<html>")
    for _ in range(2):
        with pytest.raises(UserError, match="tp.nc: .*web page"):
            prepared(tmp_path, [good_file, tmp_path / "tp.nc"])
    pieces = set((tmp_path / "out" / "pieces").glob("good.*.nc"))
    stamps = hours("2020-01-01", 25)
    write_new(tmp_path / "tp.nc", {"tp": np.full((25, 3, 4), 1e-3)}, stamps)
    values, *_ = prepared(tmp_path, [good_file, tmp_path / "tp.nc"])
    np.testing.assert_allclose(values["precipitation"], 1, rtol=1e-6)
    assert len(pieces) == 1 and set((tmp_path / "out" / "pieces").glob("good.*.nc")) == pieces


def test_only_bad_files(tmp_path):
    (tmp_path / "page.nc").write_text("<html>")
    with pytest.raises(UserError, match="page.nc: .*web page"):
        prepared(tmp_path, [tmp_path / "page.nc"])


def test_damaged_chunk_is_named(tmp_path):
    stamps = hours("2020-01-01", 240)
    random = np.random.default_rng(0).random((240, 3, 4))
    path = write_new(tmp_path / "damaged.nc", {"swvl1": random}, stamps, chunks=(24, 3, 4))
    raw = bytearray(path.read_bytes())
    middle = len(raw) - 3000
    raw[middle:middle + 1500] = bytes(1500)
    path.write_bytes(raw)
    with pytest.raises(UserError, match="damaged.nc: damaged or incomplete"):
        prepared(tmp_path, [path], variables=("soil_moisture",))


def test_missing_variable_names_what_was_found(tmp_path, good_file):
    with pytest.raises(UserError, match=r"good\.nc: precipitation was asked for, no file holds tp .*found stl1, swvl1"):
        prepared(tmp_path, [good_file])


def test_a_file_without_our_variables(tmp_path, good_file, capsys):
    (tmp_path / "folder").mkdir()
    stamps = hours("2020-01-01", 24)
    other = write_new(tmp_path / "folder" / "air.nc", {"t2m": np.full((24, 3, 4), 280.0)}, stamps)
    with pytest.raises(UserError, match="air.nc: holds none of tp, swvl1, stl1; found t2m"):
        prepared(tmp_path, [other, good_file], variables=SOIL)
    prepared(tmp_path, [other.parent, good_file], variables=SOIL)
    assert "ignored, for they hold none of tp, swvl1, stl1: air.nc" in capsys.readouterr().out


def test_mixed_grids_name_both_files(tmp_path, good_file):
    stamps = hours("2020-01-01", 24)
    for lat, lon, message in ((LAT + 0.05, LON, "lie on different grids"),
                              (*axes("era5"), "has cells of 0.1 degrees")):
        other = write_new(tmp_path / "other.nc", soil_values(stamps), stamps, lat, lon)
        with pytest.raises(UserError, match=message) as caught:
            prepared(tmp_path, [good_file, other], variables=SOIL)
        assert "good.nc" in str(caught.value) and "other.nc" in str(caught.value)


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no file that ends in .nc"):
        prepared(tmp_path, [tmp_path / "empty"])


def test_tp_without_midnight_is_refused(tmp_path):
    stamps = hours("2020-01-01T06", 8, 24)
    path = write_new(tmp_path / "tp.nc", {"tp": np.zeros((8, 3, 4))}, stamps)
    with pytest.raises(UserError, match="tp.nc: no field of tp at 00 UTC"):
        prepared(tmp_path, [path], variables=("precipitation",))


def test_land_grid_called_era5_is_refused(tmp_path):
    path = write_new(tmp_path / "tp.nc", {"tp": np.zeros((48, 3, 4))}, hours("2020-01-01", 48))
    with pytest.raises(UserError, match="tp.nc has cells of 0.1 degrees, ERA5 .* has 0.25.*give --product era5-land"):
        prepared(tmp_path, [path], variables=("precipitation",), product="era5")


@pytest.mark.parametrize("settings,message", [({"min_hours_per_day": 0}, "min_hours_per_day is 0"),
                                              ({"variables": ()}, "variables is empty")])
def test_settings_are_checked_first(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, ["nothing"], **settings)
