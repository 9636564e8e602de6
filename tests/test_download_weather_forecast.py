"""download_weather_forecast: the client of ECMWF open data against a stand-in of the service on the loopback address."""
import socket
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from opendata_stand_in import running_archive

from data_processing import download_weather_forecast as script
from data_processing.cube import write_cube
from data_processing.download_weather_forecast import Settings, main, requests_of, wanted_starts, wanted_steps
from data_processing.errors import UserError
from data_processing.prepare_weather_forecast import Settings as Preparation
from data_processing.prepare_weather_forecast import main as prepare
from data_processing.weather_fields import RAIN, scan_file
from data_processing.weather_file import open_weather_file, read_weather

START = "2026-11-20T00"
STEPS = range(0, 49, 6)


# ------------------------------------------------------------------------------------------------------------ helpers
@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """Nothing but the loopback address may be contacted; short waits."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", address
        return connect(self, address)
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(script, "WAIT", 0.01)
    monkeypatch.setattr(script, "TRIES", 3)


@pytest.fixture
def archive():
    """A stand-in that holds one start of two days, with two members and the control."""
    with running_archive([START], STEPS, members=2) as archive:
        yield archive


@pytest.fixture
def download(archive, tmp_path):
    """Run the script in this process; returns the files, by name."""
    def run(first="2026-11-20", **more):
        main(Settings(**{"first_day": first, "days": 2, "members": 2, "source": archive.address, "folder": str(tmp_path / "in"),
                         **more}))
        return {path.name: path for path in (tmp_path / "in").glob("[!.]*")}
    return run


NAME = "ecmwf_2026-11-20_00utc_2_2d_6h.grib2"


# --------------------------------------------------------------------------------------------------- what is asked for
def test_rain_at_midnights_and_temperature_within_the_days():
    steps = wanted_steps(Settings(days=2))
    assert [step for step, names in steps.items() if "2t" in names] == [0, 6, 12, 18, 24, 30, 36, 42]
    assert [step for step, names in steps.items() if "tp" in names] == [24, 48]


def test_forecast_of_12_utc_from_its_first_midnight_on():
    steps = wanted_steps(Settings(days=1, time=12))
    assert steps == {12: ["2t", "tp"], 18: ["2t"], 24: ["2t"], 30: ["2t"], 36: ["tp"]}


def test_steps_of_three_hours_end_with_the_sixth_day():
    assert np.diff(list(wanted_steps(Settings(days=7, hours=3)))).tolist() == [3] * 48 + [6] * 4


def test_control_forecast_before_and_since_cycle_50r1():
    before, since = (requests_of(Settings(), datetime(2026, 5, day))[0] for day in (11, 12))
    assert (before["stream"], before["type"], since["stream"], since["type"]) == ("enfo", "cf", "oper", "fc")


def test_days_of_a_month_boundary():
    starts = wanted_starts(Settings(first_day="2024-02-28", last_day="2024-03-01", time=12))
    assert starts == [datetime(2024, 2, 28, 12), datetime(2024, 2, 29, 12), datetime(2024, 3, 1, 12)]


@pytest.mark.parametrize(("change", "message"), [
    ({"days": 16}, "1 to 15 whole days"), ({"days": 15, "time": 12}, "1 to 14 whole days"), ({"members": 51}, "0 to 50"),
    ({"source": "ncep"}, "ecmwf, aws, google, azure or an address"), ({"first_day": "20.11.2026"}, "write a date"),
    ({"first_day": "2026-11-21", "last_day": "2026-11-20"}, "exchange them"), ({"last_day": "2026-11-20"}, "without first_day")])
def test_settings_that_cannot_be_meant(change, message, archive):
    with pytest.raises(UserError, match=message):
        main(Settings(**{"source": archive.address, **change}))


# ------------------------------------------------------------------------------------------------------- what is fetched
def test_one_file_a_start_with_the_fields_asked_for(download, capsys):
    files = download()
    assert list(files) == [NAME]
    fields = scan_file(files[NAME]).fields
    assert sorted(set(fields["member"].tolist())) == [-1, 1, 2]
    assert (fields["variable"] == RAIN).sum() == 3 * 2 and len(fields) == 3 * (2 + 8)
    said = capsys.readouterr().out
    assert "1 to download, 30 fields each, together roughly 15 MB" in said


def test_single_forecast_alone(download, archive):
    files = download(members=0)
    assert set(scan_file(files[NAME.replace("_2_", "_0_")]).fields["member"].tolist()) == {-1}
    assert all("/oper/" in path for path in archive.fetched())


def test_control_of_the_ensemble_before_cycle_50r1(tmp_path):
    with running_archive(["2024-06-01T00"], range(0, 25, 6), members=2, one_control=False) as archive:
        main(Settings(first_day="2024-06-01", days=1, members=2, source=archive.address, folder=str(tmp_path)))
    path, = tmp_path.glob("[!.]*")
    assert sorted(set(scan_file(path).fields["member"].tolist())) == [0, 1, 2]


def test_newest_forecast_that_is_complete(tmp_path, monkeypatch):
    today = datetime.now(UTC).strftime("%Y-%m-%dT00")
    yesterday = (np.datetime64(today[:10]) - 1).item().strftime("%Y-%m-%dT00")
    with running_archive([yesterday], range(0, 25, 6), members=1) as archive:
        archive.add(today, 0, "enfo", "ef", [1])  # only its first step is there
        main(Settings(days=1, members=1, source=archive.address, folder=str(tmp_path)))
    assert [path.name for path in tmp_path.glob("[!.]*")] == [f"ecmwf_{yesterday[:10]}_00utc_1_1d_6h.grib2"]


def test_what_is_there_is_not_fetched_again(download, archive):
    download()
    archive.asked.clear()
    download()
    assert not archive.asked


def test_stopped_download_goes_on_at_its_step(download, archive, monkeypatch):
    retrieve = script.retrieve

    def stops(client, request, *rest):
        if request["step"] == 18:
            raise KeyboardInterrupt
        return retrieve(client, request, *rest)
    monkeypatch.setattr(script, "retrieve", stops)
    with pytest.raises(KeyboardInterrupt):
        download()
    monkeypatch.undo()
    archive.asked.clear()
    assert list(download()) == [NAME]
    assert not [path for path in archive.fetched() if "-0h-" in path or "-12h-" in path]


def test_downloaded_file_is_prepared(download, tmp_path):
    download()
    lat, lon = 31.0 + np.arange(3), 100.0 + np.arange(4)
    write_cube(tmp_path / "cube.nc", np.ones((2, 3, 3, 4), np.float32), np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"),
               lat, lon, {"title": "test", "source": "tests"})
    prepare(Preparation(like=str(tmp_path / "cube.nc"), files=(str(tmp_path / "in"),), output=str(tmp_path / "w.nc"), workers=1))
    file = open_weather_file(tmp_path / "w.nc", lat, lon)
    assert file.init_time.astype(str).tolist() == ["2026-11-19"]
    found = read_weather(file, file.init_time)[0].mean(axis=(-2, -1))
    np.testing.assert_allclose(found, [[[24 * (1 + member), 289.0]] * 2 for member in range(3)], atol=0.051)


# ---------------------------------------------------------------------------------------------------------- what fails
def test_day_that_is_not_kept(download):
    with pytest.raises(UserError, match=r"has no forecast of 2026-10-01 00 UTC, step 0 h \(404\).*--source aws") as refused:
        download(first="2026-10-01")
    assert "\n" not in str(refused.value)


def test_step_that_is_not_there_yet_keeps_the_others(download, archive, tmp_path):
    archive.broken, archive.status = "-18h-", 404
    with pytest.raises(UserError, match="step 18 h"):
        download()
    assert not (tmp_path / "in" / NAME).exists()
    assert (tmp_path / "in" / f".{NAME.removesuffix('.grib2')}.step012.1.grib2").exists()


def test_busy_service(download, archive):
    archive.broken = "-6h-enfo"
    with pytest.raises(UserError, match=r"step 6 h \(503\): it is busy"):
        download()


def test_no_network(download):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UserError, match="no answer from http://127.0.0.1"):
        download(source=address)


def test_no_network_for_the_newest(download):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UserError, match="no answer from http://127.0.0.1"):
        download(first=None, source=address)


def test_transfer_that_breaks_off_is_tried_again(download, archive):
    archive.cut = 2
    assert len(scan_file(download()[NAME]).fields) == 3 * (2 + 8)


def test_transfer_that_always_breaks_off(download, archive, tmp_path):
    archive.cut = 1000
    with pytest.raises(UserError, match="did not deliver the forecast of 2026-11-20 00 UTC, step 0 h, whole .*goes on"):
        download()
    assert not list((tmp_path / "in").glob("[!.]*"))


def test_web_page_in_place_of_data(download, archive, tmp_path):
    archive.page = True
    with pytest.raises(UserError, match="did not deliver the forecast of 2026-11-20 00 UTC, step 0 h: not data but a web page"):
        download()
    assert not list((tmp_path / "in").glob("[!.]*"))


def test_field_that_lacks_is_said(download, archive, capsys):
    path = next(path for path in archive.files if path.endswith("-24h-enfo-ef.index"))
    archive.files[path] = b"\n".join(archive.files[path].splitlines()[:-1])  # the last member's rain
    assert list(download()) == [NAME]
    assert "the forecast of 2026-11-20 00 UTC, step 24 h, came without 1 fields of members" in capsys.readouterr().err


def test_script_says_in_one_line_what_is_wrong(archive, tmp_path):
    done = subprocess.run([sys.executable, script.__file__, "--first-day", "2026-10-01", "--source", archive.address, "--folder",
                           str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
