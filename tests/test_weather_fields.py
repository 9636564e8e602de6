"""Fields of forecasts in GRIB and NetCDF files: what is found, which units and steps, files that are something else."""
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
from conftest import ROOT
from grib_writer import GEFS, LAT, LON, rain, temperature, wind

from data_processing.errors import UserError
from data_processing.grib import eccodes
from data_processing.weather_fields import NO_MEMBER, RAIN, TEMPERATURE, FieldReader, scan_file, store_scan, stored_scan

START = "2024-06-01T12"
RAMP = np.arange(LAT.size * LON.size, dtype=float).reshape(LAT.size, LON.size)


# ------------------------------------------------------------------------------------------------------------ helpers
def written(path, *messages):
    """The messages in a file."""
    path.write_bytes(b"".join(messages))
    return path


def values_of(path):
    """Scan and values [n, h, w] of all fields of a file."""
    scan, reader = scan_file(path), FieldReader()
    values = [reader.read(path, field) for field in scan.fields]
    reader.close()
    return scan, np.array(values)


def write_netcdf(path, rain_units="m", step_units="hours", drop=(), format="NETCDF4", members=(0, 1)):
    """Two starts, two members, three steps, as a converter of GRIB leaves them; tp = 1000 start + 100 member + step."""
    steps, starts = np.array([24, 48, 72]), np.array([0, 24])
    with netCDF4.Dataset(path, "w", format=format) as file:
        axes = {"number": (np.array(members), {}), "time": (starts, {"units": "hours since 2024-06-01"}),
                "step": (steps, {"units": step_units}), "latitude": (LAT, {"units": "degrees_north"}),
                "longitude": (LON, {"units": "degrees_east"})}
        for name, (values, attributes) in axes.items():
            file.createDimension(name, len(values))
            if name not in drop:
                file.createVariable(name, "f8", (name,))[:] = values
                file[name].setncatts(attributes)
        known = (1000 * np.arange(2)[None, :, None] + 100 * np.arange(len(members))[:, None, None] + steps)[..., None, None]
        shape = (len(members), 2, 3, LAT.size, LON.size)
        file.createVariable("tp", "f4", tuple(axes), fill_value=-9e33)[:] = np.broadcast_to(known, shape)
        file.createVariable("t2m", "f4", tuple(axes))[:] = np.broadcast_to(known / 100 + 280, shape)
        file["t2m"].units = "K"
        if rain_units:
            file["tp"].units = rain_units
    return path


# --------------------------------------------------------------------------------------------------------------- GRIB
def test_what_a_grib_file_holds(tmp_path):
    path = written(tmp_path / "a.grib2", rain(0.003, START, 0, 6, 4), wind(START, 6), temperature(281.5, START, 6, 4))
    scan, values = values_of(path)
    hours = (np.datetime64("2024-06-01T12") - np.datetime64("1970-01-01T00")).astype(int)
    assert scan.fields[["start", "member", "variable", "begin", "end"]].tolist() == [(hours, 4, RAIN, 0, 6),
                                                                                   (hours, 4, TEMPERATURE, 6, 6)]
    np.testing.assert_allclose(values.mean(axis=(1, 2)), [3.0, 281.5], rtol=1e-5)
    assert scan.origin == "ecmf"


def test_grid_and_order_of_the_map(tmp_path):
    scan, values = values_of(written(tmp_path / "a.grib2", temperature(280 + RAMP, START, 6)))
    (lat, lon), = scan.grids
    assert lat == tuple(LAT) and lon == tuple(LON)
    np.testing.assert_allclose(values[0], 280 + RAMP, atol=1e-4)


@pytest.mark.parametrize(("centre", "stated"), [("ecmf", 0.005), (GEFS, 5.0)])
def test_metres_and_millimetres(tmp_path, centre, stated):
    _, values = values_of(written(tmp_path / "a.grib2", rain(stated, START, 0, 6, centre=centre)))
    np.testing.assert_allclose(values, 5.0, rtol=1e-5)


def test_forecast_without_number(tmp_path):
    scan = scan_file(written(tmp_path / "a.grib2", rain(0.0, START, 0, 6)))
    assert scan.fields["member"].tolist() == [NO_MEMBER]


def test_rain_of_no_time_is_passed_over(tmp_path):
    scan = scan_file(written(tmp_path / "a.grib2", rain(0.0, START, 0, 0), rain(0.0, START, 0, 6)))
    assert scan.fields["end"].tolist() == [6]


def test_steps_in_minutes_are_hours(tmp_path):
    message = eccodes.codes_new_from_message(temperature(280.0, START, 6))
    eccodes.codes_set(message, "stepUnits", "m")
    eccodes.codes_set(message, "step", 720)
    scan = scan_file(written(tmp_path / "a.grib2", eccodes.codes_get_message(message)))
    assert scan.fields["end"].tolist() == [12]


def test_mean_of_the_members_is_passed_over(tmp_path):
    message = eccodes.codes_new_from_message(temperature(280.0, START, 6))
    eccodes.codes_set(message, "productDefinitionTemplateNumber", 2)
    eccodes.codes_set(message, "derivedForecast", 0)
    path = written(tmp_path / "a.grib2", eccodes.codes_get_message(message), temperature(281.0, START, 6, 1))
    assert scan_file(path).fields["member"].tolist() == [1]


def test_missing_value_is_nan(tmp_path):
    known = np.where(RAMP == 7, np.nan, 280.0)
    _, values = values_of(written(tmp_path / "a.grib2", temperature(known, START, 6)))
    np.testing.assert_allclose(values[0], known, rtol=1e-6)


def test_rain_that_is_no_total_is_refused(tmp_path):
    message = eccodes.codes_new_from_message(rain(0.0, START, 0, 6, centre=GEFS))
    eccodes.codes_set(message, "typeOfStatisticalProcessing", 0)
    with pytest.raises(UserError, match="step type 'avg'"):
        scan_file(written(tmp_path / "a.grib2", eccodes.codes_get_message(message)))


def test_rain_of_ecmwf_in_grib_1_is_since_the_start(tmp_path):
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
    for key, value in {"centre": "ecmf", "shortName": "tp", "stepRange": "24"}.items():
        eccodes.codes_set(message, key, value)
    scan = scan_file(written(tmp_path / "a.grib", eccodes.codes_get_message(message)))
    assert scan.fields[["begin", "end"]].tolist() == [(0, 24)]


def test_other_grid_is_refused(tmp_path):
    message = eccodes.codes_grib_new_from_samples("reduced_gg_pl_32_grib2")
    eccodes.codes_set(message, "shortName", "2t")
    with pytest.raises(UserError, match="the grid is reduced_gg; needed are regular"):
        scan_file(written(tmp_path / "a.grib2", eccodes.codes_get_message(message)))


def test_two_models_in_a_file_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"several models \(ecmf, kwbc\)"):
        scan_file(written(tmp_path / "a.grib2", rain(0.0, START, 0, 6), rain(0.0, START, 0, 6, centre=GEFS)))


@pytest.mark.parametrize(("content", "message"), [
    (b"", "the file is empty"),
    (b"<!DOCTYPE html><html>busy</html>", "not data but a web page"),
    (rain(0.001, START, 0, 6)[:100], "damaged or incomplete"),
    (temperature(280 + RAMP, START, 6) + rain(0.001, START, 0, 6)[:150], "damaged or incomplete"),
    (b"lat,lon,tp", "neither GRIB, NetCDF nor HDF5; it begins with 'lat,lon,tp'"),
    (wind(START, 6), r"holds neither total precipitation \(tp\) nor"),
])
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.grib2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        scan_file(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_scan_is_kept_and_found_again(tmp_path):
    scan = scan_file(written(tmp_path / "a.grib2", rain(0.003, START, 0, 6, 4), temperature(281.5, START, 6, 4)))
    store_scan(tmp_path / "scan.npz", scan)
    again = stored_scan(tmp_path / "scan.npz")
    assert np.array_equal(scan.fields, again.fields) and scan[1:] == again[1:]
    assert stored_scan(tmp_path / "absent.npz") is None


def test_library_of_grib_leaves_projections_alone():
    code = ("from data_processing.grib import eccodes\nfrom data_processing.regrid import metres_north\n"
            "print(round(float(metres_north(30.0))), eccodes.codes_get_values(eccodes.codes_grib_new_from_samples("
            "'regular_ll_pl_grib2')).size)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["3658789", "496"]), done.stderr


# ------------------------------------------------------------------------------------------------------------- NetCDF
@pytest.mark.parametrize(("unit", "factor"), [("m", 1000.0), ("mm", 1.0), ("kg m**-2", 1.0)])
def test_netcdf_values_and_units(tmp_path, unit, factor):
    scan, values = values_of(write_netcdf(tmp_path / "a.nc", rain_units=unit))
    assert len(scan.fields) == 24
    hours = (np.datetime64("2024-06-01T00") - np.datetime64("1970-01-01T00")).astype(int)
    known = 1000 * ((scan.fields["start"] - hours) // 24) + 100 * scan.fields["member"] + scan.fields["end"]
    rainy = scan.fields["variable"] == RAIN
    np.testing.assert_allclose(values[rainy, 0, 0], factor * known[rainy], rtol=1e-6)
    np.testing.assert_allclose(values[~rainy, 2, 3], 280 + known[~rainy] / 100, rtol=1e-6)
    assert (scan.fields["begin"][rainy] == 0).all()


def test_netcdf_steps_in_days(tmp_path):
    scan = scan_file(write_netcdf(tmp_path / "a.nc", step_units="days"))
    assert np.unique(scan.fields["end"]).tolist() == [24 * 24, 48 * 24, 72 * 24]


@pytest.mark.parametrize(("change", "message"), [
    ({"drop": ("step",)}, "the steps since then"),
    ({"step_units": "furlongs"}, "step has the unit 'furlongs'"),
    ({"rain_units": None}, "tp states no unit"),
    ({"rain_units": "kg m-2 s-1"}, "precipitation has the unit 'kg m-2 s-1'; known are m, mm, kg m-2"),
])
def test_doubtful_netcdf_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        scan_file(write_netcdf(tmp_path / "a.nc", **change))


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_netcdf_cut_off_is_refused(tmp_path, format):
    path = write_netcdf(tmp_path / "a.nc", format=format)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="damaged or incomplete"):
        scan_file(path)
