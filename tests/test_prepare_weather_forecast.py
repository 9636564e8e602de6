"""From the files of a service to a weather forecast file: which hours make which day, members, cells, what is kept."""
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
from grib_writer import GEFS, LAT, LON, ecmwf_forecast, gefs_forecast, rain, temperature
from test_weather_fields import written

from data_processing import prepare_weather_forecast as script
from data_processing.cube import write_cube
from data_processing.errors import UserError
from data_processing.prepare_weather_forecast import Settings, main
from data_processing.regrid import axes_grid
from data_processing.weather_days import Placing, day_weights, first_whole_day, make_piece, tiling
from data_processing.weather_file import open_weather_file, read_weather

CUBE_LAT, CUBE_LON = 31.0 + np.arange(3), 100.0 + np.arange(4)
RATE, MEAN = 24.0, 280.0 + np.mean([0, 6, 12, 18])  # of a day of `ecmwf_forecast`, mm d-1 and K; GEFS: hours 0, 3, ... 21
GEFS_MEAN = 280.0 + np.mean(range(0, 24, 3))


# ------------------------------------------------------------------------------------------------------------ helpers
@pytest.fixture
def cube(tmp_path):
    """A cube of 3 x 4 cells of one degree well inside the forecasts' map."""
    path = tmp_path / "cube.nc"
    write_cube(path, np.ones((2, 3, 3, 4), np.float32), np.arange("2024-01-01", "2024-01-03", dtype="datetime64[D]"), CUBE_LAT,
               CUBE_LON, {"title": "test", "source": "tests"})
    return path


@pytest.fixture
def prepare(tmp_path, cube):
    """Run the script in this process on messages or files; returns the open weather forecast file."""
    def run(*messages, files=None, **more):
        (tmp_path / "in").mkdir(exist_ok=True)
        if messages:
            written(tmp_path / "in" / "a.grib2", *messages)
        given = (str(tmp_path / "in"),) if files is None else tuple(map(str, files))
        main(Settings(like=str(cube), files=given, output=str(tmp_path / "weather.nc"), workers=1, **more))
        return open_weather_file(tmp_path / "weather.nc", CUBE_LAT, CUBE_LON)
    return run


@pytest.fixture
def folder(tmp_path):
    """The folder that `prepare` reads."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def series(file, day=None):
    """Precipitation and temperature [members, K, 2] of the first or a given init day, mean over the cells."""
    return read_weather(file, file.init_time[:1] if day is None else [np.datetime64(day)])[0].mean(axis=(-2, -1))


# --------------------------------------------------------------------------------------------------------------- hours
@pytest.mark.parametrize(("start", "init", "lead_in"), [
    ("2024-06-01T00", "2024-05-31", 0), ("2024-06-01T06", "2024-06-01", 18), ("2024-06-01T12", "2024-06-01", 12),
    ("2024-06-01T18", "2024-06-01", 6), ("2024-12-31T12", "2024-12-31", 12)])
def test_first_whole_day(start, init, lead_in):
    hours = (np.datetime64(start) - np.datetime64("1970-01-01T00")).astype(int)
    assert first_whole_day(int(hours)) == (np.datetime64(init).astype(int), lead_in)


def test_total_since_the_start_is_a_difference():
    intervals = [(0, 6), (0, 12), (0, 36)]
    assert tiling(intervals, 12, 36) == [((0, 12), -1), ((0, 36), 1)]


def test_of_overlapping_buckets_the_longer_are_taken():
    intervals = [(0, 3), (0, 6), (6, 9), (6, 12), (12, 15), (12, 18), (18, 21), (18, 24)]
    assert tiling(intervals, 0, 24) == [((0, 6), 1), ((6, 12), 1), ((12, 18), 1), ((18, 24), 1)]


def test_of_a_bucket_that_is_not_needed_the_rest_is_taken():
    assert tiling([(0, 3), (0, 6), (6, 12), (12, 27)], 3, 27) == [((0, 3), -1), ((0, 6), 1), ((6, 12), 1), ((12, 27), 1)]


def test_buckets_with_a_hole_make_no_day():
    assert tiling([(0, 6), (12, 18), (18, 24)], 0, 24) is None


def test_even_steps_weigh_the_same():
    assert day_weights([0, 6, 12, 18, 24, 30], 0, 6) == pytest.approx({0: 0.25, 6: 0.25, 12: 0.25, 18: 0.25})


def test_uneven_steps_weigh_half_the_time_to_their_neighbours():
    weights = day_weights([12, 15, 18, 24, 30], 12, 6)
    assert weights == pytest.approx({12: 4.5 / 24, 15: 3 / 24, 18: 4.5 / 24, 24: 6 / 24, 30: 6 / 24})


def test_day_with_a_longer_gap_has_no_mean():
    assert day_weights([0, 6, 18], 0, 6) is None and day_weights([0, 6, 18], 0, 12) is not None


# ---------------------------------------------------------------------------------------------------------------- days
def test_ecmwf_forecast_of_00_utc_begins_on_its_own_day(prepare):
    file = prepare(*ecmwf_forecast("2024-06-01T00", days=2))
    assert file.init_time.astype(str).tolist() == ["2024-05-31"] and file.members == 0
    np.testing.assert_allclose(series(file), [[[RATE, MEAN]] * 2], atol=0.051)


def test_ecmwf_forecast_of_12_utc_begins_on_the_next_day(prepare):
    messages = [rain(0.1, "2024-06-01T12", 0, 12)]  # heavy rain before the first whole day
    messages += [rain(0.1 + 0.001 * hour, "2024-06-01T12", 0, 12 + hour) for hour in (24, 48)]
    file = prepare(*messages, *ecmwf_forecast("2024-06-01T12", days=2, lead_in=12)[len(range(6, 61, 6)):])
    assert file.init_time.astype(str).tolist() == ["2024-06-01"]
    np.testing.assert_allclose(series(file), [[[RATE, MEAN]] * 2], atol=0.051)


@pytest.mark.parametrize(("start", "lead_in", "init"), [("2024-06-01T00", 0, "2024-05-31"), ("2024-06-01T06", 18, "2024-06-01"),
                                                        ("2024-06-01T12", 12, "2024-06-01")])
def test_gefs_buckets(prepare, start, lead_in, init):
    file = prepare(*gefs_forecast(start, days=2, lead_in=lead_in))
    assert file.init_time.astype(str).tolist() == [init]
    np.testing.assert_allclose(series(file), [[[RATE, GEFS_MEAN]] * 2], atol=0.051)


def test_rain_of_each_day_is_its_own(prepare):
    rates = np.repeat([0.5, 2.0, 0.0], 4)  # mm h-1 in 6 hours each
    total = np.concatenate([[0], np.cumsum(6 * rates)])
    messages = [rain(total[step] / 1000, "2024-06-01T00", 0, 6 * step) for step in range(1, 13)]
    file = prepare(*messages, *ecmwf_forecast("2024-06-01T00", days=3)[12:])
    np.testing.assert_allclose(series(file)[0, :, 0], [12.0, 48.0, 0.0], atol=0.051)


def test_total_that_falls_a_little_is_no_rain(prepare):
    messages = [rain(0.0101, "2024-06-01T00", 0, 24), rain(0.0100, "2024-06-01T00", 0, 48)]
    file = prepare(*messages, *ecmwf_forecast("2024-06-01T00", days=2)[8:])
    assert series(file)[0, 1, 0] == 0.0


def test_day_without_its_last_step_is_not_given(prepare):
    messages = ecmwf_forecast("2024-06-01T00", days=3)
    found = series(prepare(*messages[:11], *messages[12:-2]))  # without rain at 72 h and temperature at 66 and 72 h
    np.testing.assert_allclose(found, [[[RATE, MEAN]] * 2])
    assert found.shape[1] == 2


def test_rain_and_temperature_are_missing_each_for_itself(prepare, capsys):
    messages = ecmwf_forecast("2024-06-01T00", days=2)
    found = series(prepare(*messages[:-3]))  # temperature of the second day at 24 and 30 h only
    np.testing.assert_allclose(found, [[[RATE, MEAN], [RATE, np.nan]]])
    assert "air_temperature: 1 of 2 forecast days (of all members) lack steps" in capsys.readouterr().out


def test_days_are_no_more_than_asked(prepare):
    assert prepare(*ecmwf_forecast("2024-06-01T00", days=3), days=2).lead_times.tolist() == [1, 2]


# ------------------------------------------------------------------------------------------------------ members, starts
def test_members_stand_in_the_order_of_their_numbers(prepare):
    file = prepare(*[message for member in (2, 0, 1) for message in
                     ecmwf_forecast("2024-06-01T00", days=1, member=member, rate=1.0 + member)])
    np.testing.assert_allclose(series(file)[:, 0, 0], [24.0, 48.0, 72.0])


def test_forecast_without_number_is_the_control_of_the_others(prepare):
    file = prepare(*ecmwf_forecast("2024-06-01T00", days=1), *ecmwf_forecast("2024-06-01T00", days=1, member=1, rate=2.0))
    np.testing.assert_allclose(series(file)[:, 0, 0], [24.0, 48.0])


def test_forecast_without_number_is_left_out_beside_a_control(prepare):
    file = prepare(*ecmwf_forecast("2024-06-01T00", days=1), *ecmwf_forecast("2024-06-01T00", days=1, member=0, rate=2.0))
    np.testing.assert_allclose(series(file)[:, 0, 0], [48.0])


def test_member_that_a_start_lacks_is_missing(prepare, capsys):
    file = prepare(*[message for start, member in (("2024-06-01T00", 0), ("2024-06-01T00", 1), ("2024-06-02T00", 0))
                     for message in ecmwf_forecast(start, days=1, member=member)])
    np.testing.assert_allclose(series(file, "2024-06-01")[:, 0, 0], [24.0, np.nan])
    assert "lack members, such as that of 2024-06-02 00 UTC 1 of 2 (1)" in capsys.readouterr().out


def test_of_two_starts_for_the_same_days_the_later_is_taken(prepare, capsys):
    file = prepare(*ecmwf_forecast("2024-06-02T00", days=1, rate=2.0), *ecmwf_forecast("2024-06-01T12", days=1, lead_in=12))
    assert file.init_time.astype(str).tolist() == ["2024-06-01"]
    np.testing.assert_allclose(series(file)[0, 0, 0], 48.0)
    assert "1 days have several starts (such as 2024-06-01 12 UTC and 2024-06-02 00 UTC)" in capsys.readouterr().out


def test_one_message_a_file_is_the_same_as_one_file(prepare, folder):
    for number, message in enumerate(gefs_forecast("2024-06-01T00", days=1, member=3)):
        written(folder / f"gep03.t00z.pgrb2s.0p25.f{number:03d}", message)
    file = prepare(files=[folder / "gep*.f???"])
    np.testing.assert_allclose(series(file), [[[RATE, GEFS_MEAN]]], atol=0.051)


def test_field_in_two_files_is_that_of_the_first(prepare, folder, capsys):
    for name, rate in (("a.grib2", 1.0), ("b.grib2", 2.0)):
        written(folder / name, *ecmwf_forecast("2024-06-01T00", days=1, rate=rate))
    np.testing.assert_allclose(series(prepare()), [[[RATE, MEAN]]])
    assert "9 fields stand in several files" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------------- cells
def linear(lat, lon):
    """Map [h, w] that is linear in latitude and longitude."""
    return 280 + 0.5 * (np.asarray(lat)[:, None] - 32) + 0.25 * (np.asarray(lon) - 101)


@pytest.mark.parametrize("lat", [LAT, LAT[::-1]], ids=["north to south", "south to north"])
def test_linear_map_stays_linear(prepare, lat):
    file = prepare(*[temperature(linear(lat, LON), "2024-06-01T00", step, lat=lat) for step in range(0, 24, 6)],
                   rain(0.0, "2024-06-01T00", 0, 24, lat=lat))
    found = read_weather(file, file.init_time)[0, 0, 0, 1]
    np.testing.assert_allclose(found, linear(CUBE_LAT, CUBE_LON), atol=0.06)  # packed in tenths; cells grow to the south


@pytest.mark.parametrize("west", [0.0, 180.0, -180.0, 101.0])  # the last has its seam inside the cube
def test_globes_that_begin_anywhere(prepare, west):
    lat, lon = np.arange(90.0, -90.1, -2.0), west + np.arange(0, 360, 2.0)
    values = np.broadcast_to(280 + 10 * np.cos(np.radians(lon)), (lat.size, lon.size))
    file = prepare(*[temperature(values, "2024-06-01T00", step, lat=lat, lon=lon) for step in range(0, 24, 6)],
                   rain(0.0, "2024-06-01T00", 0, 24, lat=lat, lon=lon))
    found = read_weather(file, file.init_time)[0, 0, 0, 1].mean(axis=0)
    np.testing.assert_allclose(found, 280 + 10 * np.cos(np.radians([100, 101.0, 102, 103])), atol=0.2)


def test_region_across_the_meridian_where_longitudes_begin_anew():
    lon = np.array([357.0, 358.0, 359.0, 0.0, 1.0, 2.0])
    target = axes_grid(np.array([9.5, 11.5]), np.array([0.0, 2.0, 4.0]))
    placing = Placing([9.0, 10.0, 11.0, 12.0], lon, target, 0.5)
    np.testing.assert_allclose(placing(np.full((4, 6), 5.0)), [[5.0, 5.0, np.nan]] * 2)  # the region ends at 2.5 E


def test_two_grids_in_one_forecast(prepare):
    coarse = {"lat": np.arange(36.0, 27.9, -1.0), "lon": np.arange(96.0, 108.1, 1.0)}  # GEFS reforecasts from day 10 on
    first, second = gefs_forecast("2024-06-01T00", days=1), gefs_forecast("2024-06-01T00", days=2, **coarse)
    np.testing.assert_allclose(series(prepare(*first, *second[len(first):])), [[[RATE, GEFS_MEAN]] * 2], atol=0.051)


def test_cube_outside_is_refused(prepare):
    more = {"lat": LAT - 40, "lon": LON}
    with pytest.raises(UserError, match="lie outside those of the source"):
        prepare(*ecmwf_forecast("2024-06-01T00", days=1, **more))


def test_cells_outside_are_missing_and_said(prepare, capsys):
    file = prepare(*ecmwf_forecast("2024-06-01T00", days=1, lat=LAT, lon=LON + 3))
    assert np.isnan(read_weather(file, file.init_time)[0, 0, 0, 0]).sum() == 3
    assert "3 of 12 cells" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------------- NetCDF
def write_rain(path, total, unit="kg m-2"):
    """NetCDF of a forecast of 2024-06-01 00 UTC: rain since the start, the same everywhere, every 6 h from 6 h on."""
    with netCDF4.Dataset(path, "w") as file:
        for name, values, units in (("step", 6 * np.arange(1, len(total) + 1), "hours"), ("latitude", LAT, "degrees_north"),
                                    ("longitude", LON, "degrees_east")):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].units = units
        file.createVariable("time", "f8", ())[...] = 0
        file["time"].units = "hours since 2024-06-01"
        file.createVariable("tp", "f4", ("step", "latitude", "longitude"))[:] = np.array(total)[:, None, None]
        file["tp"].units = unit
    return path


@pytest.mark.parametrize(("unit", "factor"), [("m", 0.001), ("mm", 1.0)])
def test_netcdf_of_rain_since_the_start(prepare, tmp_path, unit, factor):
    total = factor * np.array([1, 2, 4, 8, 8, 9, 9, 20.0])
    messages = ecmwf_forecast("2024-06-01T00", days=2)[8:]  # the temperature comes as GRIB
    written(tmp_path / "b.grib2", *messages)
    file = prepare(files=[write_rain(tmp_path / "a.nc", total, unit), tmp_path / "b.grib2"])
    np.testing.assert_allclose(series(file), [[[8.0, MEAN], [12.0, MEAN]]], atol=0.051)


# ---------------------------------------------------------------------------------------------------- what is refused
def test_netcdf_buckets_that_begin_anew_are_refused(prepare, tmp_path):
    with pytest.raises(UserError, match="falls by 25 mm in a day"):
        temperatures = written(tmp_path / "b.grib2", *ecmwf_forecast("2024-06-01T00", days=2)[8:])
        prepare(files=[write_rain(tmp_path / "a.nc", [0, 0, 0, 30, 0, 0, 0, 5]), temperatures])


def test_files_of_two_models_are_refused(prepare, folder):
    written(folder / "a.grib2", *ecmwf_forecast("2024-06-01T00", days=1))
    written(folder / "b.grib2", *gefs_forecast("2024-06-02T00", days=1))
    with pytest.raises(UserError, match="forecasts of several models: ecmf .*kwbc"):
        prepare()


def test_every_file_that_cannot_be_read_is_named(prepare, folder):
    written(folder / "a.grib2", *ecmwf_forecast("2024-06-01T00", days=1))
    written(folder / "b.grib2", b"")
    written(folder / "c.grib2", b"<html>")
    with pytest.raises(UserError) as refused:
        prepare()
    assert "b.grib2: the file is empty" in str(refused.value) and "c.grib2: not data but a web page" in str(refused.value)


def test_impossible_temperature_is_refused(prepare):
    with pytest.raises(UserError, match="air_temperature reaches from 29 to 29 K; possible are 150 to 370"):
        prepare(*ecmwf_forecast("2024-06-01T00", days=1, kelvin=20.0))


def test_forecast_shorter_than_a_day_is_refused(prepare):
    with pytest.raises(UserError, match="a.grib2: no whole UTC day"):
        prepare(rain(0.001, "2024-06-01T12", 0, 24), temperature(280.0, "2024-06-01T12", 24))


def test_rain_without_temperature_is_refused(prepare):
    with pytest.raises(UserError, match=r"no temperature of 2 m \(2t\)"):
        prepare(rain(0.001, "2024-06-01T00", 0, 24))


@pytest.mark.parametrize(("change", "message"), [
    ({"output": "weather.txt"}, "must end in .nc"), ({"days": 0}, "at least 1 day"),
    ({"min_steps_per_day": 25}, "1 to 24 hours"), ({"workers": 0}, "at least 1 process"), ({"like": "nothing.nc"}, "nothing.nc")])
def test_settings_that_cannot_be_meant(cube, change, message):
    with pytest.raises(UserError, match=message):
        main(Settings(**{"like": str(cube), "files": (str(cube),), **change}))


def test_other_output_is_not_overwritten(prepare, tmp_path, cube):
    (tmp_path / "weather.nc").write_bytes(cube.read_bytes())
    with pytest.raises(UserError, match="was not made by this script"):
        prepare(*ecmwf_forecast("2024-06-01T00", days=1))


# ------------------------------------------------------------------------------------------------------------- going on
def test_further_starts_are_added_and_nothing_is_read_again(prepare, tmp_path, monkeypatch):
    prepare(*[m for member in (0, 1) for m in ecmwf_forecast("2024-06-01T00", days=2, member=member, rate=1.0 + member)])
    made = []
    monkeypatch.setattr(script, "make_piece",
                        lambda reading, *rest, **more: made.append(reading) or make_piece(reading, *rest, **more))
    second = written(tmp_path / "in" / "b.grib2", *ecmwf_forecast("2024-06-02T00", days=3, member=2, rate=3.0))
    file = prepare()
    assert len(made) == 1
    assert file.init_time.astype(str).tolist() == ["2024-05-31", "2024-06-01"]
    np.testing.assert_allclose(series(file, "2024-05-31")[:, :, 0], [[24, 24, np.nan], [48, 48, np.nan], [np.nan] * 3])
    np.testing.assert_allclose(series(file, "2024-06-01")[:, :, 0], [[np.nan] * 3, [np.nan] * 3, [72, 72, 72]])
    (tmp_path / "in" / "a.grib2").unlink()  # what was read from it stays
    kept = series(prepare(files=[second]), "2024-05-31")[:, :, 0]
    np.testing.assert_allclose(kept, [[24, 24, np.nan], [48, 48, np.nan], [np.nan] * 3])
    assert len(made) == 1


def test_members_keep_their_place_when_others_come_before_them(prepare, tmp_path):
    prepare(*ecmwf_forecast("2024-06-01T00", days=1, member=2, rate=3.0))
    written(tmp_path / "in" / "b.grib2", *ecmwf_forecast("2024-06-02T00", days=1, member=1, rate=2.0))
    file = prepare()
    np.testing.assert_allclose(series(file, "2024-05-31")[:, 0, 0], [np.nan, 72])
    np.testing.assert_allclose(series(file, "2024-06-01")[:, 0, 0], [48, np.nan])


def test_nothing_new_leaves_the_file_as_it_is(prepare, tmp_path, capsys):
    prepare(*ecmwf_forecast("2024-06-01T00", days=1))
    before = (tmp_path / "weather.nc").stat().st_mtime_ns
    prepare()
    assert (tmp_path / "weather.nc").stat().st_mtime_ns == before and "is up to date" in capsys.readouterr().out


def test_earlier_start_does_not_replace_a_later_one(prepare, tmp_path):
    prepare(*ecmwf_forecast("2024-06-02T00", days=1, rate=2.0))
    written(tmp_path / "in" / "a.grib2", *ecmwf_forecast("2024-06-01T12", days=1, lead_in=12))
    np.testing.assert_allclose(series(prepare())[0, 0, 0], 48.0)


def test_stopped_run_goes_on_where_it_was(prepare, tmp_path, monkeypatch):
    made = []

    def stops(reading, *rest, **more):
        if reading.member == 2 and len(made) < 3:
            made.append(None)
            raise KeyboardInterrupt
        made.append(reading.member)
        return make_piece(reading, *rest, **more)
    monkeypatch.setattr(script, "make_piece", stops)
    messages = [m for member in range(3) for m in ecmwf_forecast("2024-06-01T00", days=1, member=member, rate=1.0 + member)]
    with pytest.raises(KeyboardInterrupt):
        prepare(*messages)
    assert not (tmp_path / "weather.nc").exists()
    np.testing.assert_allclose(series(prepare())[:, 0, 0], [24, 48, 72])
    assert made == [0, 1, None, 2]
    assert not list((tmp_path / "pieces").glob("weather.*"))


def test_other_model_is_not_added(prepare, tmp_path):
    prepare(*ecmwf_forecast("2024-06-01T00", days=1))
    other = written(tmp_path / "b.grib2", *gefs_forecast("2024-06-02T00", days=1))
    with pytest.raises(UserError, match="holds forecasts of ecmf, the files of kwbc"):
        prepare(files=[other])


def test_script_with_two_processes(cube, tmp_path):
    messages = [m for member in range(3) for m in gefs_forecast("2024-06-01T00", days=1, member=member, rate=1.0 + member)]
    written(tmp_path / "a.grib2", *messages)
    command = [sys.executable, script.__file__, str(tmp_path / "a.grib2"), "--like", str(cube), "--output",
               str(tmp_path / "weather.nc"), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "kwbc: 1 to read (2024-06-01 00 UTC to 2024-06-01 00 UTC)" in done.stdout
    file = open_weather_file(tmp_path / "weather.nc", CUBE_LAT, CUBE_LON)
    np.testing.assert_allclose(series(file)[:, 0, 0], [24, 48, 72])
    assert file.dataset.sizes["member"] == 3


def test_script_says_in_one_line_what_is_wrong(cube, tmp_path):
    written(tmp_path / "a.grib2", rain(0.001, "2024-06-01T00", 0, 24)[:90])
    done = subprocess.run([sys.executable, script.__file__, str(tmp_path / "a.grib2"), "--like", str(cube), "--output",
                           str(tmp_path / "weather.nc")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/a.grib2: damaged or incomplete")
    assert GEFS not in done.stderr and "Traceback" not in done.stderr
