"""The daily cube: every form in which a file may come gives the same numbers or a clear refusal."""

import tracemalloc

import netCDF4
import numpy as np
import pytest
import xarray as xr
from conftest import day_axis, known_values

import data_processing.cube as cube_module
from data_processing.cube import (
    DOUBTS,
    QUANTITIES,
    VARIABLES,
    cube_days,
    cube_name,
    cube_values,
    describe,
    land_mask,
    open_cube,
    write_cube,
)
from data_processing.errors import UserError
from data_processing.files import checksum


@pytest.fixture
def rewritten(small_cube, tmp_path):
    """Factory: the small cube with `change(dataset)` applied, written again; returns its path."""
    def make(change, **encoding):
        with xr.open_dataset(small_cube(), decode_times=False, mask_and_scale=False) as file:
            dataset = file.load()
        for variable in dataset.variables.values():
            variable.encoding = {}
            variable.attrs.pop("_FillValue", None)
        dataset = change(dataset)
        path = tmp_path / "changed.nc"
        dataset.to_netcdf(path, **encoding)
        return path
    return make


def with_units(dataset, name, units, factor=1.0, offset=0.0):
    changed = dataset.copy(deep=True)
    changed[name] = (dataset[name] * factor + offset).assign_attrs(dataset[name].attrs | {"units": units})
    return changed


def assert_like_small(path, **tolerance):
    cube = open_cube(path)
    assert cube["soil_moisture"].dims == ("time", "lat", "lon")
    np.testing.assert_allclose(cube_values(cube), known_values(40, 3, 4), **({"rtol": 1e-5} | tolerance))
    np.testing.assert_array_equal(cube_days(cube), day_axis("2015-04-01", 40))
    np.testing.assert_allclose(cube["lat"], [30, 31, 32])
    np.testing.assert_allclose(cube["lon"], [100, 101, 102, 103])


def test_written_cube_reads_back(small_cube):
    path = small_cube()
    cube = open_cube(path)
    np.testing.assert_array_equal(cube_values(cube), known_values(40, 3, 4))
    assert cube_name(path) == "small"
    assert cube.attrs["source"] == "tests" and cube.attrs["Conventions"] == "CF-1.8"
    assert [cube[name].attrs["units"] for name in VARIABLES] == ["mm d-1", "m3 m-3", "K"]
    assert all(cube[name].dtype == np.float32 for name in VARIABLES)
    assert [file.name for file in path.parent.iterdir()] == ["small.nc"]  # no temporary file is left


def test_write_is_complete_or_absent(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        write_cube(tmp_path / "a.nc", known_values(5, 2, 2), day_axis("2015-01-01", 6), [1, 2], [1, 2], {})
    with pytest.raises(TypeError):
        write_cube(tmp_path / "a.nc", known_values(5, 2, 2), day_axis("2015-01-01", 5), [1, 2], [1, 2],
                   {"title": object()})
    assert not list(tmp_path.iterdir())


def test_write_keeps_attributes_of_a_variable_and_equal_bytes(tmp_path):
    for name in ("a.nc", "b.nc"):
        write_cube(tmp_path / name, known_values(5, 2, 2), day_axis("2015-01-01", 5), [1, 2], [1, 2],
                   {"title": "t", "soil_moisture": {"comment": "0-5 cm"}})
    assert open_cube(tmp_path / "a.nc")["soil_moisture"].attrs["comment"] == "0-5 cm"
    assert checksum(tmp_path / "a.nc") == checksum(tmp_path / "b.nc")
    assert len(checksum(tmp_path / "a.nc")) == 64


def test_values_are_read_only_when_used_and_by_part(small_cube):
    cube = open_cube(small_cube())
    part = cube["soil_moisture"].isel(time=slice(7, 20, 3), lat=[2, 0], lon=1)
    np.testing.assert_array_equal(part.values, known_values(40, 3, 4)[7:20:3, 1][:, [2, 0], 1])
    assert float(cube["soil_moisture"][5, 1, 2]) == known_values(40, 3, 4)[5, 1, 1, 2]
    assert cube["soil_moisture"].values.shape == (40, 3, 4)


def test_one_copy_in_memory(small_cube, monkeypatch):
    monkeypatch.setattr(cube_module, "BLOCK_VALUES", 20_000)
    path = small_cube(days=500, rows=20, columns=20)
    open_cube(path)  # imports what it needs
    tracemalloc.start()
    values = cube_values(open_cube(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * values.nbytes


# -------------------------------------------------------------------------------------------- names and order
def test_fault_02_variables_are_found_by_name_not_by_order(rewritten):
    assert_like_small(rewritten(lambda file: file[list(VARIABLES[::-1])]))


@pytest.mark.parametrize("names", [("tp", "swvl1", "stl1"),
                                   ("precipitation_total_surface_flux", "SM_surface", "soil_temp_layer1")])
def test_aliases(rewritten, names):
    def change(file):
        for name in VARIABLES:
            del file[name].attrs["standard_name"]
        return file.rename(dict(zip(VARIABLES, names)))
    assert_like_small(rewritten(change))


def test_standard_name_decides_before_name(rewritten):
    def change(file):
        file = file.rename({"soil_moisture": "whatever"})
        file["sm"] = file["whatever"] * 0 + 0.9
        file["sm"].attrs = {"units": "m3 m-3"}
        return file
    assert_like_small(rewritten(change))


def test_ambiguous_variable_is_refused(rewritten):
    def change(file):
        file["sm_root"] = file["soil_moisture"]
        return file.rename({"soil_moisture": "sm_top"})
    with pytest.raises(UserError, match="could be any of sm_root, sm_top|could be any of sm_top, sm_root"):
        open_cube(rewritten(change))


def test_missing_variable_names_what_lacks_and_what_was_found(rewritten):
    def misspelt(file):
        del file["soil_temperature"].attrs["standard_name"]
        return file.rename(soil_temperature="soil_temprature")

    path = rewritten(lambda file: file.drop_vars("soil_temperature"))
    with pytest.raises(UserError, match="lacks soil_temperature. Found: .*soil_moisture"):
        open_cube(path)
    with pytest.raises(UserError, match=r"lacks soil_temperature \(is it soil_temprature\? Then rename it\). Found: "):
        open_cube(rewritten(misspelt))
    partial = open_cube(path, variables=("soil_moisture",))
    assert list(partial.data_vars) == ["soil_moisture"]
    with pytest.raises(UserError, match="lacks precipitation, soil_temperature"):
        cube_values(partial)


@pytest.mark.parametrize("order", [("lon", "time", "lat"), ("lat", "lon", "time")])
def test_any_order_of_dimensions(rewritten, order):
    assert_like_small(rewritten(lambda file: file.transpose(*order)))


def test_dimensions_by_alias_and_by_attributes(rewritten):
    def plain_names(file):
        file = file.rename({"time": "valid_time", "lat": "latitude", "lon": "longitude"})
        for name in ("latitude", "longitude"):
            file[name].attrs = {}
        file["valid_time"].attrs = {"units": file["valid_time"].attrs["units"]}
        return file

    def odd_names(file):
        file = file.rename({"time": "a", "lat": "x", "lon": "y"})  # x is the latitude here: attributes decide
        file["x"].attrs, file["y"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
        return file
    assert_like_small(rewritten(plain_names))
    assert_like_small(rewritten(odd_names))


def test_extra_dimensions_of_length_one_are_dropped_longer_ones_refused(rewritten):
    assert_like_small(rewritten(lambda file: file.expand_dims({"depth": 1, "number": 1}, axis=(1, 3))))
    with pytest.raises(UserError, match="dimension depth of length 2"):
        open_cube(rewritten(lambda file: file.expand_dims({"depth": 2}, axis=1)))


def test_two_dimensional_positions_are_refused(rewritten):
    def change(file):
        shape = (file.sizes["lat"], file.sizes["lon"])
        lat, lon = np.meshgrid(file["lat"], file["lon"], indexing="ij")
        assert lat.shape == shape
        file = file.drop_vars(["lat", "lon"]).rename({"lat": "y", "lon": "x"})
        file["latitude"] = (("y", "x"), lat, {"units": "degrees_north"})
        file["longitude"] = (("y", "x"), lon, {"units": "degrees_east"})
        return file
    with pytest.raises(UserError, match="two-dimensional"):
        open_cube(rewritten(change))


def test_metres_are_no_latitude(rewritten):
    def change(file):
        file = file.rename({"lat": "y", "lon": "x"})
        for name in ("x", "y"):
            file[name].attrs = {"units": "m", "axis": name.upper()}
        return file
    with pytest.raises(UserError, match="none of them is lat nor lon"):
        open_cube(rewritten(change))


def test_variables_on_different_cells_are_refused(rewritten):
    def change(file):
        moved = file["soil_moisture"].rename({"lat": "lat2"}).assign_coords(
            lat2=("lat2", file["lat"].values + 0.5, file["lat"].attrs))
        return file.drop_vars("soil_moisture").assign(soil_moisture=moved)
    with pytest.raises(UserError, match="do not share one grid"):
        open_cube(rewritten(change))


# -------------------------------------------------------------------------------------------------- positions
def test_descending_and_shuffled_rows_and_columns(rewritten):
    assert_like_small(rewritten(lambda file: file.isel(lat=slice(None, None, -1))))
    assert_like_small(rewritten(lambda file: file.isel(lat=[1, 0, 2], lon=slice(None, None, -1))))


@pytest.mark.parametrize("given, expected", [
    ([236, 237, 238, 239], [-124, -123, -122, -121]),     # 0..360
    ([178, 179, -180, -179], [178, 179, 180, 181]),       # across the antimeridian, west to east
    ([-180, -179, 178, 179], [178, 179, 180, 181]),       # the same, sorted by number
    ([358, 359, 0, 1], [-2, -1, 0, 1]),                   # across Greenwich
    ([179.5, 180.5, 181.5, 182.5], [-180.5, -179.5, -178.5, -177.5]),
])
def test_longitudes_are_one_contiguous_ascending_row(rewritten, given, expected):
    def change(file):
        file["precipitation"][:] = np.asarray(given, np.float32) % 360  # value = its own longitude
        return file.assign_coords(lon=("lon", np.asarray(given, float), file["lon"].attrs))
    cube = open_cube(rewritten(change))
    np.testing.assert_allclose(cube["lon"], expected)
    np.testing.assert_allclose(cube["precipitation"][0, 0], np.asarray(expected) % 360)


def test_whole_globe_keeps_its_columns(rewritten):
    for given in ([0, 90, 180, 270], [-180, -90, 0, 90]):
        lon = np.asarray(given, float)
        cube = open_cube(rewritten(
            lambda file, lon=lon: file.assign_coords(lon=("lon", lon, file["lon"].attrs))))
        np.testing.assert_allclose(np.diff(cube["lon"]), 90)


@pytest.mark.parametrize("lat, lon, message", [
    ([30, 30, 31], None, "latitude 30 stands there twice"),
    (None, [0, 120, 240, 360], "longitude 360 stands there twice"),
    ([30, 31, 95], None, "expected -90 to 90"),
    (None, [1e6, 2e6, 3e6, 4e6], "expected degrees"),
    ([30, np.nan, 32], None, "not a number"),
])
def test_impossible_positions_are_refused(rewritten, lat, lon, message):
    def change(file):
        for name, numbers in (("lat", lat), ("lon", lon)):
            if numbers is not None:
                file = file.assign_coords({name: (name, np.asarray(numbers, float), file[name].attrs)})
        return file
    with pytest.raises(UserError, match=message):
        open_cube(rewritten(change))


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 4), (5, 1)])
def test_one_cell_one_row_one_column(small_cube, rows, columns):
    cube = open_cube(small_cube(rows=rows, columns=columns))
    np.testing.assert_array_equal(cube_values(cube), known_values(40, rows, columns))
    assert "40" in describe(cube)


# ------------------------------------------------------------------------------------------------------- days
def test_missing_days_become_nan_days(rewritten):
    cube = open_cube(rewritten(lambda file: file.isel(time=[0, 1, 4, 5, 39])))
    values = cube_values(cube)
    assert values.shape[0] == 40
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(values).any(axis=(1, 2, 3))), [0, 1, 4, 5, 39])
    np.testing.assert_array_equal(values[4], known_values(40, 3, 4)[4])
    assert "35 of them without any value" in describe(cube)


def test_unsorted_days(rewritten):
    order = np.random.default_rng(0).permutation(40)
    path = rewritten(lambda file: file.isel(time=order))
    assert_like_small(path)
    np.testing.assert_allclose(open_cube(path)["soil_moisture"][10:13], known_values(40, 3, 4)[10:13, 1])


def test_time_of_day_is_dropped_and_leap_day_kept(rewritten):
    def change(file):
        hours = 24.0 * np.arange(40) + 13.5
        return file.assign_coords(time=("time", hours, {"units": "hours since 2020-02-10 00:00:00"}))
    days = cube_days(open_cube(rewritten(change)))
    np.testing.assert_array_equal(days, day_axis("2020-02-10", 40))
    assert np.datetime64("2020-02-29") in days


@pytest.mark.parametrize("stamps, units, calendar, message", [
    (np.r_[0:39, 5], "days since 2015-04-01", None, "1 duplicate days, the first 2015-04-06"),
    (np.arange(40) * 6, "hours since 2015-04-01", None, "not daily: 2015-04-01 has several stamps"),
    (np.arange(40) * 7, "days since 2015-04-01", None, "not daily: no two stamps are nearer than 7 days"),
    (np.arange(40), "days since 2015-04-01", "noleap", "calendar 'noleap'"),
    (np.arange(40), "days since 2015-04-01", "360_day", "calendar '360_day'"),
    (20150401 + np.arange(40), "day as %Y%m%d", None, "unit 'day as %Y%m%d'"),
    (np.r_[np.nan, 1:40], "days since 2015-04-01", None, "a stamp without a date"),
])
def test_times_that_are_no_days_are_refused(rewritten, stamps, units, calendar, message):
    attributes = {"units": units, "standard_name": "time"} | ({"calendar": calendar} if calendar else {})
    with pytest.raises(UserError, match=message):
        open_cube(rewritten(lambda file: file.assign_coords(time=("time", stamps, attributes))))


# ------------------------------------------------------------------------------------------ units and missing
@pytest.mark.parametrize("name, units, factor, offset", [
    ("soil_moisture", "m**3 m**-3", 1, 0), ("soil_moisture", "cm3 cm-3", 1, 0), ("soil_moisture", "1", 1, 0),
    ("soil_moisture", "%", 100, 0),
    ("soil_temperature", "degC", 1, -273.15), ("soil_temperature", "Celsius", 1, -273.15),
    ("precipitation", "mm/day", 1, 0), ("precipitation", "mm", 1, 0), ("precipitation", "m", 1e-3, 0),
    ("precipitation", "kg m-2", 1, 0), ("precipitation", "kg m**-2 s**-1", 1 / 86400, 0),
    ("precipitation", "mm s-1", 1 / 86400, 0),
])
def test_known_units_are_converted(rewritten, name, units, factor, offset):
    assert_like_small(rewritten(lambda file: with_units(file, name, units, factor, offset)), atol=1e-6)


def test_unknown_or_absent_unit_is_refused(rewritten):
    with pytest.raises(UserError, match="precipitation.*'inch', which is not known; known: mm d-1"):
        open_cube(rewritten(lambda file: with_units(file, "precipitation", "inch")))

    def change(file):
        del file["soil_moisture"].attrs["units"]
        return file
    with pytest.raises(UserError, match="soil_moisture.* has no attribute `units`"):
        open_cube(rewritten(change))


def test_rain_in_metres_that_is_called_millimetres_is_told_whenever_a_cube_is_opened(rewritten, capsys):
    """It is possible as millimetres, in a desert: told once, not refused."""
    path = rewritten(lambda dataset: with_units(dataset, "precipitation", "mm d-1", 0.001))
    assert "this looks like m (of the day)" in open_cube(path).isel(time=slice(3)).attrs[DOUBTS]
    open_cube(path)
    said, = [line for line in capsys.readouterr().out.splitlines() if line.startswith("UNIT?")]
    assert str(path) in said and "this looks like m (of the day)" in said and "multiply by 1000" in said


@pytest.mark.parametrize("name, units, factor, offset, message", [
    ("soil_moisture", "m3 m-3", 100, 0, "soil_moisture reaches from 10 to 20.1"),     # per cent
    ("soil_moisture", "%", 1, 0, "look like fractions"),
    ("soil_temperature", "K", 1, -273.15, "soil_temperature reaches from 6.85"),       # Celsius
    ("soil_temperature", "degC", 1, 0, "soil_temperature reaches from 553.* looks like K already"),    # Kelvin
    ("precipitation", "m", 1, 0, "precipitation reaches from 0 to 4110.* looks like mm d-1 already"),  # mm
    ("precipitation", "mm d-1", 1, -1, "precipitation reaches from -1"),
])
def test_values_that_contradict_their_unit_are_refused(rewritten, name, units, factor, offset, message):
    with pytest.raises(UserError, match=message):
        open_cube(rewritten(lambda file: with_units(file, name, units, factor, offset)))


def test_fill_values_and_infinities_are_missing(rewritten):
    def change(file):
        moisture = file["soil_moisture"].values
        moisture[0, 0, :] = (-9999, np.inf, -np.inf, 9.96921e36)  # not declared
        moisture[1, 0, 0], moisture[1, 0, 1] = -32767, 77
        file["soil_moisture"].attrs |= {"_FillValue": np.float32(-32767), "missing_value": np.float32(77)}
        return file
    values = cube_values(open_cube(rewritten(change)))[:, 1]
    assert np.isnan(values[0, 0]).all() and np.isnan(values[1, 0, :2]).all()
    assert np.isnan(values).sum() == 6


def test_packed_integers(rewritten):
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    assert_like_small(rewritten(lambda file: file, encoding={"soil_temperature": packed}), atol=0.006, rtol=0)


def test_variable_without_values_is_refused(small_cube):
    values = known_values(20, 2, 2)
    values[:, 1] = np.nan
    with pytest.raises(UserError, match="soil_moisture has no value at all"):
        open_cube(small_cube(values=values))


def test_missing_file_and_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_cube(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("lat,lon,value\n1,2,3\n")
    with pytest.raises(UserError, match="not a NetCDF file"):
        open_cube(tmp_path / "text.nc")
    netCDF4.Dataset(tmp_path / "empty.nc", "w").close()
    with pytest.raises(UserError, match="Found: nothing"):
        open_cube(tmp_path / "empty.nc")


# -------------------------------------------------------------------------------------------------- land etc.
def test_land_is_any_soil_moisture_on_training_days():
    values = known_values(10, 2, 2)
    values[:, 1] = np.nan
    values[3, 1, 0, 0] = 0.2
    values[8, 1, 1, 1] = 0.2  # after training: does not count
    training = np.arange(10) < 5
    age = np.where(np.isnan(values[:, 1]), 255, 0)
    np.testing.assert_array_equal(land_mask(age, training), [[True, False], [False, False]])
    with pytest.raises(UserError, match="no cell has any soil moisture on the 2 training days"):
        land_mask(age, np.arange(10) < 2)


def test_describe_counts_over_land(small_cube):
    sea = np.zeros((3, 4), bool)
    sea[0] = True
    text = describe(open_cube(small_cube(missing_cells=sea)))
    assert "3 x 4 cells" in text and "8 with soil moisture" in text
    assert "2015-04-01 to 2015-05-10" in text
    for name, quantity in QUANTITIES.items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert quantity.unit in line and "0.0%" in line


def test_real_cube_equals_plain_netcdf(real_cube):
    cube = open_cube(real_cube)
    values = cube_values(cube)
    with netCDF4.Dataset(real_cube) as file:
        assert file["lat"][0] > file["lat"][-1]
        for channel, name in enumerate(VARIABLES):
            plain = np.ma.filled(file[name][:], np.nan)[:, ::-1]
            np.testing.assert_array_equal(values[:, channel], plain)
        np.testing.assert_array_equal(cube["lat"], file["lat"][::-1])
    np.testing.assert_array_equal(cube_days(cube), day_axis("2015-04-01", 549))
    assert "412 with soil moisture" in describe(cube)
