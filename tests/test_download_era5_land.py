"""download_era5_land: the real cdsapi client against a stand-in of the service on the loopback address."""
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from datetime import date
from pathlib import Path

import netCDF4
import pytest
from cds_stand_in import TOKEN, month_file, running_store

from data_processing import download_era5_land as script
from data_processing.download_era5_land import PRODUCTS, Settings, check_period, request_of, wanted_items
from data_processing.errors import UserError

SCRIPT = Path(script.__file__)
BOX = (32.0, 100.0, 30.0, 103.0)
RUNNER = """
import os, sys

def guard(event, args):  # nothing but the loopback address may be contacted
    if event == "socket.connect" and args[1][0] != "127.0.0.1":
        os._exit(99)

sys.addaudithook(guard)
sys.path.insert(0, sys.argv.pop(1))
from data_processing import download_era5_land as script
script.POLL_SECONDS, script.WAITS = (0.02, 0.1), (0.05,) * 4
script.RESUME_TRANSFER = {"maximum_tries": 4, "retry_after": (0.01, 0.1, 2)}
script.run_script(script.main, script.Settings, resume=script.RESUME_FILES)
"""


# ------------------------------------------------------------------------------------------------------------ helpers
@pytest.fixture
def account(monkeypatch, tmp_path):
    """Point the client at a stand-in, in this process and in those it starts; no other account, short waits."""
    def point_at(address, key=TOKEN):
        monkeypatch.setenv("CDSAPI_URL", f"{address}/api")
        monkeypatch.setenv("CDSAPI_KEY", key)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("CDSAPI_RC", "CDSAPI_URL", "CDSAPI_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(script, "POLL_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(script, "WAITS", (0.05,) * 4)
    monkeypatch.setattr(script, "FIRST_WAITS", (0.05,) * 2)
    monkeypatch.setattr(script, "RESUME_TRANSFER", {"maximum_tries": 4, "retry_after": (0.01, 0.1, 2)})
    connect = socket.socket.connect

    def only_loopback(self, address):
        assert address[0] == "127.0.0.1", address
        return connect(self, address)
    monkeypatch.setattr(socket.socket, "connect", only_loopback)
    return point_at


@pytest.fixture
def store(account):
    """A stand-in that runs, and the account to reach it."""
    with running_store() as store:
        account(store.address)
        yield store


def settings(folder, first="2017-08-30", last="2017-08-31", **more):
    """Settings of two days over a small box: requests for swvl1, stl1, tp of August, tp of September."""
    return Settings(first_day=first, last_day=last, folder=str(folder), **{"box": BOX, **more})


def start(folder, *more, first="2017-08-30", last="2017-08-31"):
    """The script as its own process, with short waits."""
    command = [sys.executable, "-c", RUNNER, str(SCRIPT.parents[1]), "--first-day", first, "--last-day", last,
               "--folder", str(folder), "--box", *map(str, BOX), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder, ending=".nc"):
    """Names of the files of a folder without their ending, temporary ones too."""
    return sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))


def asked(store):
    """(variable, month, days, times) of each request, sorted."""
    return sorted((inputs["variable"][0], f"{inputs['year']}-{inputs['month'][0]}", inputs["day"], inputs["time"])
                  for _, inputs in store.asked)


def until(condition):
    """Wait for something another thread or process does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


FOUR = ["era5_land_stl1_2017_08", "era5_land_swvl1_2017_08", "era5_land_tp_2017_08", "era5_land_tp_2017_09"]
SIX_HOURS = ["00:00", "06:00", "12:00", "18:00"]
ASKED = [("soil_temperature_level_1", "2017-08", ["30", "31"], SIX_HOURS),
         ("total_precipitation", "2017-08", ["31"], ["00:00"]),
         ("total_precipitation", "2017-09", ["01"], ["00:00"]),
         ("volumetric_soil_water_layer_1", "2017-08", ["30", "31"], SIX_HOURS)]


# --------------------------------------------------------------------------------------------------- what is asked for
def stamps_of(items, variable):
    """All time stamps asked for, "2016-02-29T06", sorted, with repetitions."""
    return sorted(f"{day}T{hour:02d}" for item in items if item.variable == variable
                  for day in item.days for hour in item.hours)


def test_fields_of_era5_land_over_a_leap_day_and_a_year_boundary(tmp_path):
    wanted = settings(tmp_path, "2015-12-30", "2016-03-01")
    items = wanted_items(wanted, PRODUCTS["era5-land"], date(2015, 12, 30), date(2016, 3, 1))
    days = [str(day) for month in script.by_month(date(2015, 12, 30), date(2016, 3, 2)) for day in month]
    assert "2016-02-29" in days and len(days) == 64
    soil = [f"{day}T{hour}" for day in days[:-1] for hour in ("00", "06", "12", "18")]
    assert stamps_of(items, "volumetric_soil_water_layer_1") == soil
    assert stamps_of(items, "soil_temperature_level_1") == soil
    assert stamps_of(items, "total_precipitation") == [f"{day}T00" for day in days[1:]]


def test_a_month_that_ends_in_the_middle_needs_no_next_month(tmp_path):
    items = wanted_items(settings(tmp_path), PRODUCTS["era5-land"], date(2017, 8, 1), date(2017, 8, 30))
    assert [item.name for item in items] == FOUR[1::-1] + FOUR[2:3]


def test_fields_of_era5_hold_every_hour_of_the_rain_and_the_mask_once(tmp_path):
    wanted = settings(tmp_path, product="era5")
    items = wanted_items(wanted, PRODUCTS["era5"], date(2017, 8, 30), date(2017, 9, 2))
    hours = [f"2017-{day}T{hour:02d}" for day in ("08-30", "08-31", "09-01", "09-02") for hour in range(24)]
    assert stamps_of(items, "total_precipitation") == hours + ["2017-09-03T00"]
    assert [item.name for item in items if item.variable == "land_sea_mask"] == ["era5_land_sea_mask"]


@pytest.mark.parametrize("product", PRODUCTS)
def test_no_request_exceeds_the_limit_of_items(tmp_path, product):
    wanted = Settings(product=product, hours=1)
    items = wanted_items(wanted, PRODUCTS[product], date(2000, 1, 1), date(2015, 3, 30))
    requests = [request_of(item, wanted.box, PRODUCTS[product]) for item in items]
    assert max(len(r["variable"]) * len(r["day"]) * len(r["time"]) for r in requests) == 744
    assert len({item.path for item in items}) == len(items)
    assert {(tuple(r["area"]), len(r["variable"]), len(r["month"]), r.get("product_type", ["none"])[0])
            for r in requests} == {((55, 73, 17, 136), 1, 1, "reanalysis" if product == "era5" else "none")}


@pytest.mark.parametrize(("change", "message"), [
    ({"first": "2017-13-01"}, "first_day is '2017-13-01'; write a date"),
    ({"first": "2017-09-02"}, "first_day 2017-09-02 lies after last_day 2017-08-31"),
    ({"first": "1949-12-31"}, "complete from 1950-01-02"),
    ({"last": "2017-09-25"}, "Take --last-day 2017-09-24 or earlier"),
    ({"hours": 5}, "must divide 24"),
    ({"box": (17, 73, 55, 136)}, "north above south"),
])
def test_settings_that_cannot_be_answered_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        check_period(settings(tmp_path, **change), PRODUCTS["era5-land"], today=date(2017, 9, 30))


# -------------------------------------------------------------------------------------------------- the service answers
def test_the_script_brings_exactly_what_is_missing_and_then_nothing(store, tmp_path):
    store.states = ["accepted"] * 15 + ["running"] * 15 + ["successful"]
    folder = tmp_path / "downloads"
    first = start(folder)
    output, errors = first.communicate(timeout=20)
    assert first.returncode == 0, errors
    assert asked(store) == ASKED
    assert {dataset for dataset, _ in store.asked} == {"reanalysis-era5-land"}
    assert all(inputs["area"] == list(BOX) and inputs["data_format"] == "netcdf"
               and inputs["download_format"] == "unarchived" for _, inputs in store.asked)
    assert names(folder) == names(folder, ".json") == FOUR
    with netCDF4.Dataset(folder / "era5_land_swvl1_2017_08.nc") as data:
        assert data["swvl1"].shape == (8, 2, 2)
    # 21 x 31 cells of 4 bytes, 2 x 8 fields of soil and 2 of rain
    assert "4 requests to make: 18 fields, about 46.9 kB" in output
    assert ", 4 queued]" in errors and " running]" in errors and errors.count("\r") < 15
    everything = output + errors + "".join(path.read_bytes().decode("latin-1") for path in folder.iterdir())
    assert TOKEN not in everything
    assert not any("private-token" in headers for _, path, headers in store.seen if path.startswith("/store/"))

    store.seen.clear()
    second = start(folder)
    output, errors = second.communicate(timeout=20)
    assert (second.returncode, errors, store.seen) == (0, "", [])
    assert "4 of them are there: nothing to ask for" in output


def test_the_screen_tells_the_disk_that_china_needs():
    wanted = Settings(first_day="2017-08-01", last_day="2017-08-31")
    items = wanted_items(wanted, PRODUCTS["era5-land"], date(2017, 8, 1), date(2017, 8, 31))
    # 381 x 631 cells x 4 bytes = 0.96 MB; 2 x 124 + 31 fields
    assert "4 requests to make: 279 fields, about 268 MB" in script.announce_requests(
        wanted, PRODUCTS["era5-land"], items, items)


def test_era5_asks_for_the_reanalysis(store, tmp_path):
    script.main(settings(tmp_path, product="era5"))
    assert names(tmp_path) == ["era5_land_sea_mask", "era5_stl1_2017_08", "era5_swvl1_2017_08", "era5_tp_2017_08",
                               "era5_tp_2017_09_01_00utc"]
    assert {dataset for dataset, _ in store.asked} == {"reanalysis-era5-single-levels"}
    assert all(inputs["product_type"] == ["reanalysis"] for _, inputs in store.asked)
    store.asked.clear()
    script.main(settings(tmp_path, "2017-08-30", "2017-08-30", product="era5"))
    assert asked(store) == [("total_precipitation", "2017-08", ["31"], ["00:00"])]  # its hours 1 to 23 are not whole


def test_more_days_are_asked_for_together_with_those_that_are_there(store, tmp_path):
    script.main(settings(tmp_path))
    store.asked.clear()
    script.main(settings(tmp_path, "2017-08-31", "2017-09-01"))
    assert asked(store) == [("soil_temperature_level_1", "2017-09", ["01"], SIX_HOURS),
                            ("total_precipitation", "2017-09", ["01", "02"], ["00:00"]),
                            ("volumetric_soil_water_layer_1", "2017-09", ["01"], SIX_HOURS)]
    with netCDF4.Dataset(tmp_path / "era5_land_tp_2017_09.nc") as data:
        assert data["tp"].shape[0] == 2


def test_more_hours_are_asked_for_again_and_fewer_are_not(store, tmp_path):
    script.main(settings(tmp_path))
    store.asked.clear()
    script.main(settings(tmp_path, hours=12))
    assert not store.asked
    script.main(settings(tmp_path, hours=8))
    assert [(variable, times) for variable, _, _, times in asked(store)] == [
        (variable, ["00:00", "06:00", "08:00", "12:00", "16:00", "18:00"])
        for variable in ("soil_temperature_level_1", "volumetric_soil_water_layer_1")]


def test_another_box_does_not_overwrite_the_files(store, tmp_path):
    script.main(settings(tmp_path))
    store.seen.clear()
    with pytest.raises(UserError, match="holds the box 32 100 30 103, 33 100 30 103 was asked"):
        script.main(settings(tmp_path, box=(33, 100, 30, 103)))
    assert not store.seen


def test_files_without_notes_are_known_by_their_content(store, tmp_path):
    script.main(settings(tmp_path))
    for note in tmp_path.glob("*.json"):
        note.unlink()
    store.seen.clear()
    script.main(settings(tmp_path))
    assert not store.seen


@pytest.mark.parametrize("with_note", [True, False])
def test_a_file_that_was_cut_on_the_disk_is_asked_for_again(store, tmp_path, with_note):
    script.main(settings(tmp_path))
    path = tmp_path / "era5_land_tp_2017_08.nc"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    if not with_note:
        path.with_suffix(".json").unlink()
    store.asked.clear()
    script.main(settings(tmp_path))
    assert asked(store) == [ASKED[1]]
    assert path.read_bytes() == store.jobs["job-1"]["content"]  # the numbers of jobs begin anew


def test_a_zip_stays_as_it_is_delivered(store, tmp_path):
    def zipped(dataset, inputs):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data_stream-oper_stepType-instant.nc", month_file(inputs))
        return file.getvalue()
    store.content = zipped
    script.main(settings(tmp_path))
    assert names(tmp_path) == FOUR
    assert zipfile.ZipFile(tmp_path / "era5_land_swvl1_2017_08.nc").namelist() == [
        "data_stream-oper_stepType-instant.nc"]


def test_a_few_requests_are_with_the_service_at_once(store, tmp_path):
    most = []
    store.content = lambda dataset, inputs: month_file(inputs)
    refusal = store.refusal

    def count(inputs):
        most.append(sum(job["content"] is None for job in store.jobs.values()) + 1)
        return refusal(inputs)
    store.refusal = count
    script.main(settings(tmp_path, "2017-01-31", "2017-06-01"))
    assert len(store.asked) == 17 and max(most) <= script.AT_ONCE


# ---------------------------------------------------------------------------------------- the service fails and refuses
def content_of(folder):
    """Bytes of all files under final names."""
    return {path.stem: path.read_bytes() for path in folder.glob("[!.]*.nc")}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_breaks_off_is_made_whole(store, tmp_path, ranges):
    store.cuts, store.ranges = 3, ranges
    store.content = lambda dataset, inputs: month_file(inputs, area_steps=1000)  # the client keeps whole MB
    script.main(settings(tmp_path))
    assert sorted(content_of(tmp_path).values()) == sorted(job["content"] for job in store.jobs.values())
    assert names(tmp_path) == FOUR
    resumed = [part for part in store.transfers if part]
    assert len(store.transfers) == 7 and len(resumed) == (3 if ranges else 0)


def test_a_transfer_that_never_ends_leaves_no_file(store, tmp_path, capsys):
    store.cuts = 1000
    with pytest.raises(UserError, match="4 of 4 requests are left"):
        script.main(settings(tmp_path))
    assert names(tmp_path) == []
    store.cuts = 0
    script.main(settings(tmp_path))
    assert names(tmp_path) == FOUR and len(store.asked) == 4  # the jobs of the first run are used


def test_a_failed_month_does_not_stop_the_others(store, tmp_path, capsys):
    store.failure = lambda inputs: "MARS has returned no data" if inputs["month"] == ["09"] else None
    with pytest.raises(UserError, match="1 of 4 requests brought no whole file: era5_land_tp_2017_09"):
        script.main(settings(tmp_path))
    assert "error: era5_land_tp_2017_09: The job has failed MARS has returned no data\n" in capsys.readouterr().err
    assert names(tmp_path) == FOUR[:3]
    store.asked.clear()
    store.failure = lambda inputs: None
    script.main(settings(tmp_path))
    assert asked(store) == [ASKED[2]]


def test_a_request_that_is_too_large_does_not_stop_the_others(store, tmp_path, capsys):
    store.refusal = lambda inputs: (403, "cost limits exceeded", "Your request is too large, please reduce your "
                                    "selection.") if len(inputs["time"]) > 1 else None
    with pytest.raises(UserError, match="2 of 4 requests"):
        script.main(settings(tmp_path))
    assert "error: era5_land_stl1_2017_08: cost limits exceeded Your request is too large" in capsys.readouterr().err
    assert names(tmp_path) == FOUR[2:]


@pytest.mark.parametrize(("content", "reason"), [
    (b"<html><body>Service unavailable</body></html>", "no data were delivered but '<html><body>Service unavailable"),
    (b'{"title": "internal error"}', "no data were delivered but"),
    (b"", "no data were delivered but an empty file"),
    (b"\x89HDF\r\n\x1a\n" + bytes(500), "the file that was delivered is damaged"),
    (b"PK\x03\x04" + bytes(500), "the file that was delivered is damaged"),
])
def test_what_is_no_data_is_refused(store, tmp_path, capsys, content, reason):
    store.content = lambda dataset, inputs: content if inputs["month"] == ["09"] else month_file(inputs)
    with pytest.raises(UserError, match="1 of 4 requests"):
        script.main(settings(tmp_path))
    assert f"error: era5_land_tp_2017_09: {reason}" in capsys.readouterr().err
    assert names(tmp_path) == FOUR[:3]


def test_fields_that_the_service_leaves_out_are_told_and_asked_for_again(store, tmp_path, capsys):
    store.content = lambda dataset, inputs: month_file(inputs, stamps=slice(0, 6))
    with pytest.raises(UserError, match="2 of 4 requests brought no whole file: era5_land_stl1_2017_08"):
        script.main(settings(tmp_path))
    assert "swvl1_2017_08: the fields of 1 of 2 days are missing" in capsys.readouterr().err
    assert names(tmp_path) == FOUR
    store.content = lambda dataset, inputs: month_file(inputs)
    store.asked.clear()
    script.main(settings(tmp_path))
    assert asked(store) == [ASKED[0], ASKED[3]]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(store, tmp_path, status):
    store.busy, store.busy_status = 6, status
    script.main(settings(tmp_path))
    assert names(tmp_path) == FOUR


def test_a_service_under_maintenance_ends_the_run_and_the_next_goes_on(store, tmp_path):
    store.busy = 1000
    with pytest.raises(UserError, match=r"busy or under maintenance \(503\).*4 of 4 requests are left"):
        script.main(settings(tmp_path))
    store.busy = 0
    script.main(settings(tmp_path))
    assert names(tmp_path) == FOUR


def test_a_full_queue_is_waited_for(store, tmp_path):
    def too_many(inputs):
        return "Number of queued requests for this dataset is temporarily limited." if len(store.asked) < 6 else None
    store.failure = too_many
    script.main(settings(tmp_path))
    assert names(tmp_path) == FOUR and len(store.asked) > 6


@pytest.mark.parametrize(("change", "message"), [
    ({"token": "another"}, r"refuses the key of the account \(401\)\. Make a free account"),
    ({"licence_accepted": False}, "accept it once at https://cds.climate.copernicus.eu/datasets/reanalysis-era5-land"),
])
def test_a_refused_account_ends_at_once_and_keeps_the_key_secret(store, tmp_path, capsys, change, message):
    for name, value in change.items():
        setattr(store, name, value)
    begin = time.monotonic()
    with pytest.raises(UserError, match=message) as error:
        script.main(settings(tmp_path))
    assert time.monotonic() - begin < 5
    output = capsys.readouterr()
    assert TOKEN not in str(error.value) + output.out + output.err
    assert "\n" not in str(error.value)


def test_the_key_is_taken_out_of_what_the_service_says(store, tmp_path, capsys):
    store.failure = lambda inputs: f"no such user {TOKEN}"
    with pytest.raises(UserError):
        script.main(settings(tmp_path))
    error = capsys.readouterr().err
    assert "no such user (key)" in error and TOKEN not in error


@pytest.mark.parametrize("key", ["123:abc", "two words\nand a line"])
def test_a_key_of_another_kind_is_refused_without_showing_it(account, tmp_path, key):
    account("http://127.0.0.1:9", key)
    with pytest.raises(UserError, match="not a personal access token") as error:
        script.main(settings(tmp_path))
    assert key not in str(error.value)


def test_an_address_of_something_else_is_told(store, account, tmp_path):
    account(f"{store.address}/elsewhere")
    with pytest.raises(UserError, match="does not answer as the Climate Data Store does .Not Found.. Check the url of"):
        script.main(settings(tmp_path))


def test_a_folder_that_cannot_be_written_is_told(store, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="taken is no folder.*another --folder"):
        script.main(settings(tmp_path / "taken"))


# --------------------------------------------------------------------------------------- no account, no network, killed
def run_bare(tmp_path, **variables):
    """The script as a user runs it, from another folder; seconds it took."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, str(SCRIPT), "--last-day", "2000-01-31", "--folder", str(tmp_path / "new")],
                          cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    return done, time.monotonic() - begin


def test_without_an_account_the_script_says_how_to_get_one(account, tmp_path):
    done, seconds = run_bare(tmp_path)
    assert done.returncode == 2 and seconds < 10
    assert done.stderr.startswith("error: no account of the Climate Data Store was found.")
    assert "~/.cdsapirc" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_without_a_network_the_script_ends_in_seconds(account, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        done, seconds = run_bare(tmp_path, CDSAPI_URL=f"http://127.0.0.1:{taken.getsockname()[1]}/api",
                                 CDSAPI_KEY=TOKEN)
    assert done.returncode == 2 and seconds < 10
    assert done.stderr.startswith("error: no answer from http://127.0.0.1") and done.stderr.count("\n") == 1
    assert TOKEN not in done.stderr + done.stdout


def test_a_network_that_swallows_everything_ends_after_two_timeouts(account, tmp_path, monkeypatch):
    assert 2 * script.FIRST_TIMEOUT[0] < 10
    monkeypatch.setattr(script, "FIRST_TIMEOUT", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections, never answers
        account(f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(UserError, match="no answer from"):
            script.main(settings(tmp_path))
        assert time.monotonic() - begin < 2


def test_a_network_that_is_lost_while_waiting_ends_the_run_and_the_next_goes_on(store, tmp_path):
    store.states = ["accepted"] * 20 + ["successful"]
    folder = tmp_path / "downloads"
    run = start(folder)
    until(lambda: len(store.jobs) == 4 and len(names(folder, ".json")) == 4)
    store.down = True
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 2
    assert "error: no answer from http://127.0.0.1" in errors and "4 of 4 requests are left" in errors
    assert names(folder) == []
    store.down = False
    script.main(settings(folder))
    assert names(folder) == FOUR and len(store.asked) == 4


def test_a_short_loss_of_the_network_is_waited_for(store, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "WAITS", (0.3,) * 10)
    store.states = ["accepted"] * 5 + ["successful"]
    refusal = store.refusal

    def lose(inputs):
        store.down = True
        threading.Timer(0.5, setattr, (store, "down", False)).start()
        return refusal(inputs)
    store.refusal = lose
    script.main(settings(tmp_path, "2017-08-30", "2017-08-30"))
    assert names(tmp_path) == FOUR[:3]


def test_a_killed_run_leaves_no_half_file_and_the_next_finishes_its_requests(store, tmp_path):
    store.content = lambda dataset, inputs: month_file(inputs, area_steps=600)
    store.slice_seconds = 0.01
    folder = tmp_path / "downloads"
    run = start(folder)
    until(lambda: any(path.stat().st_size for path in folder.glob(".era5_land*.nc")))
    run.kill()
    run.communicate()
    assert content_of(folder) == {}
    assert names(folder) != []  # what was under way stands under temporary names
    store.slice_seconds = 0
    script.main(settings(folder))
    assert names(folder) == FOUR
    assert sorted(content_of(folder).values()) == sorted(job["content"] for job in store.jobs.values())
    assert len(store.asked) == 4


def test_interrupting_a_run_that_waits_ends_it_at_once(store, tmp_path):
    store.states = ["accepted"]
    folder = tmp_path / "downloads"
    run = start(folder)
    until(lambda: len(store.asked) == 4 and len(names(folder, ".json")) == 4)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=5)
    assert run.returncode == 130
    assert errors.endswith("interrupted: the same command goes on where it stopped\n") and "Traceback" not in errors
    store.states = ["successful"]
    store.jobs["job-1"]["states"] = iter(["failed"] * 9)  # one has failed meanwhile, one is no longer known
    del store.jobs["job-2"]
    for job in ("job-3", "job-4"):
        store.jobs[job]["states"] = iter(["successful"] * 9)
    script.main(settings(folder))
    assert names(folder) == FOUR and len(store.asked) == 6


def test_notes_tell_what_a_file_holds(store, tmp_path):
    script.main(settings(tmp_path))
    note = json.loads((tmp_path / "era5_land_tp_2017_08.json").read_text())
    assert note == {"dataset": "reanalysis-era5-land", "variable": "total_precipitation", "area": list(BOX),
                    "days": ["2017-08-31"], "hours": [0],
                    "bytes": (tmp_path / "era5_land_tp_2017_08.nc").stat().st_size}
