import os
import shutil
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import ROOT
from earthdata_stand_in import CATALOGUE, DATA, PASSWORD, SIGNATURE, TOKEN, USER, EarthdataStandIn, make_certificate

from data_processing import download_smap_l4
from data_processing.download_smap_l4 import Settings, axes_of_window, main, product_window
from data_processing.errors import UserError

FIELDS = {"sm_surface": "m3 m-3", "soil_temp_layer1": "K", "precipitation_total_surface_flux": "kg m-2 s-1"}
BOX = (32, 100, 30, 103)  # north, west, south, east

pytestmark = pytest.mark.filterwarnings("ignore:As of version 1.0:FutureWarning")  # of earthaccess, in itself


def name_of(stamp, version="Vv8010_001"):
    return f"SMAP_L4_SM_gph_{stamp}_{version}.h5"


def day_names(day, version="Vv8010_001"):
    return [name_of(f"{day}T{hour:02d}3000", version) for hour in range(1, 24, 3)]


def small_file(folder, seed, kilobytes=300):
    """Bytes of some HDF5 file."""
    path = folder / f"{seed}.h5"
    with h5py.File(path, "w") as file:
        file["noise"] = np.random.default_rng(seed).integers(0, 256, kilobytes * 1000, np.uint8)
    return path.read_bytes()


def granule_file(path, version=8, other=0):
    """A granule in the product's layout, global: three fields, and `other` that are 1 MB each and never read."""
    rows, columns = np.mgrid[:1624, :3856].astype(np.float32)
    values = {"sm_surface": 0.2 + rows % 97 / 1000 + columns % 89 / 1000, "soil_temp_layer1": 280 + rows % 11,
              "precipitation_total_surface_flux": columns % 7 * 1e-5}
    values["sm_surface"][800:820] = -9999
    names = list(values)
    for number in range(other):
        names.insert(1 + number % (number + 1), f"other_{number}")
    with h5py.File(path, "w") as file:
        file.attrs["Title"] = np.bytes_("SMAP L4_SM Geophysical (GPH) Data Granule")
        file["time"] = [5.0]
        file["time"].attrs["units"] = np.bytes_("seconds since 2000-01-01 11:58:55.816")
        if version > 3:
            file["EASE2_global_projection"] = np.bytes_(" ")
            file["EASE2_global_projection"].attrs["standard_parallel"] = 30.0
            file["y"] = 7310036.5 - 9008.055210146 * np.arange(1624)  # as stored: some decimetres off
            file["x"] = -17363026.0 + 9008.055210146 * np.arange(3856)
            for axis in "yx":
                file[axis].make_scale(axis)
                file[axis].attrs["units"] = np.bytes_("m")
        for name in names:
            field = file.create_dataset(f"Geophysical_Data/{name}", (1624, 3856), "f4", chunks=(1624, 3856),
                                        compression="gzip", compression_opts=3, fillvalue=-9999)
            field.attrs["units"] = np.bytes_(FIELDS.get(name, "1"))
            field.attrs["_FillValue"] = np.float32(-9999)
            for number, axis in enumerate("yx" if version > 3 else ""):
                field.dims[number].attach_scale(file[axis])
            if name in values:
                field[:] = values[name]
            else:
                field.id.write_direct_chunk((0, 0), os.urandom(1000000))
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("the command openssl, which makes the certificate, is not here")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def granule(tmp_path_factory):
    """Path of a large granule."""
    return granule_file(tmp_path_factory.mktemp("granule") / name_of("20170801T013000"), other=15)


@pytest.fixture
def service(certificate, monkeypatch, tmp_path):
    """A stand-in that all requests of this process go to, and an account in the environment."""
    stand_in = EarthdataStandIn(*certificate)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("EARTHDATA_"):
            monkeypatch.delenv(name)
    for name, value in {"HTTPS_PROXY": stand_in.address, "HTTP_PROXY": stand_in.address, "EARTHDATA_TOKEN": TOKEN,
                        "REQUESTS_CA_BUNDLE": str(certificate[0]), "NETRC": str(tmp_path / "netrc")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download_smap_l4, "PAUSES", (0, 0, 0))
    look_up = socket.getaddrinfo

    def only_loopback(host, *arguments, **options):
        assert host in ("127.0.0.1", "localhost"), f"a test contacts {host}"
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
    yield stand_in
    stand_in.close()


@pytest.fixture
def run(tmp_path, capfd, caplog):
    """Download 2017-08-01 (or other settings); returns what was printed, which must hold no secret."""
    def download(**settings):
        chosen = {"first_day": "2017-08-01", "last_day": "2017-08-01", "folder": str(tmp_path / "granules"), "box": BOX}
        try:
            main(Settings(**chosen | settings))
            error = ""
        except UserError as failure:
            error = str(failure)
        printed = capfd.readouterr()
        everything = printed.out + printed.err + caplog.text + error
        for secret in (TOKEN, PASSWORD, SIGNATURE):
            assert secret not in everything
            assert not any(secret.encode() in data for data in contents(tmp_path / "granules").values())
        assert "Traceback" not in everything and "\n" not in error
        return printed.out, printed.err, error

    return download


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} if folder.exists() else {}


def test_whole_granules_arrive_byte_for_byte(service, run, tmp_path):
    service.files = {name: small_file(tmp_path, seed) for seed, name in enumerate(day_names("20170801"))}
    out, err, error = run()
    assert error == ""
    assert contents(tmp_path / "granules") == service.files
    assert "8 granules" in out and "8/8" in err


def test_a_second_run_fetches_nothing(service, run, tmp_path):
    service.files = {name: small_file(tmp_path, 1, 20) for name in day_names("20170801")}
    run()
    service.log.clear()
    out, _, error = run()
    assert error == ""
    assert {host for _, host, _, _ in service.log} == {CATALOGUE}
    assert "0 of them fetched now" in out


def test_another_month_fetches_only_that_month(service, run, tmp_path):
    names = day_names("20170731") + day_names("20170801")
    service.files = {name: small_file(tmp_path, 1, 20) for name in names}
    run()
    service.log.clear()
    run(first_day="2017-07-31")
    assert sorted(name for name, _ in service.transfers()) == day_names("20170731")
    assert sum("page_size=0" in path for _, host, path, _ in service.log if host == CATALOGUE) == 2  # two months
    assert sorted(contents(tmp_path / "granules")) == names


def test_no_more_connections_than_threads(service, run, tmp_path):
    service.files = {name: small_file(tmp_path, 1) for name in day_names("20170801")}
    service.seconds = 0.02
    run(threads=2)
    assert service.busiest == 2


def test_a_password_in_netrc_is_enough(service, run, tmp_path, monkeypatch):
    service.files = {name_of("20170801T013000"): small_file(tmp_path, 1, 20)}
    monkeypatch.delenv("EARTHDATA_TOKEN")
    (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login {USER} password {PASSWORD}\n")
    _, _, error = run()
    assert error == ""
    assert contents(tmp_path / "granules") == service.files


def test_a_password_in_the_environment_is_enough_beside_an_empty_token(service, run, tmp_path, monkeypatch):
    service.files = {name_of("20170801T013000"): small_file(tmp_path, 1, 20)}
    monkeypatch.setenv("EARTHDATA_TOKEN", "")
    monkeypatch.setenv("EARTHDATA_USERNAME", USER)
    monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    _, _, error = run()
    assert error == ""
    assert contents(tmp_path / "granules") == service.files


def test_a_broken_transfer_goes_on_where_it_broke(service, run, tmp_path):
    name = name_of("20170801T013000")
    service.files = {name: small_file(tmp_path, 1)}
    service.breaks[name] = 2
    _, _, error = run()
    assert error == ""
    assert contents(tmp_path / "granules") == service.files
    size, block = len(service.files[name]), download_smap_l4.BLOCK
    ranges = [part for _, part in service.transfers()]
    assert ranges == [None, f"bytes={size // 2 // block * block}-", f"bytes={3 * size // 4 // block * block}-"]
    assert service.sent < size + 2 * block


def test_a_broken_transfer_begins_again_where_the_service_sends_no_parts(service, run, tmp_path):
    name = name_of("20170801T013000")
    service.files = {name: small_file(tmp_path, 1)}
    service.breaks[name], service.fault = 2, "whole"
    _, _, error = run()
    assert error == ""
    assert contents(tmp_path / "granules") == service.files


def test_a_granule_that_never_arrives_does_not_stop_the_others(service, run, tmp_path):
    names = day_names("20170801")
    service.files = {name: small_file(tmp_path, 1) for name in names}
    service.breaks[names[2]] = 1000
    _, err, error = run()
    assert f"1 of 8 granules did not arrive: {names[2]}" in error and "goes on where it stopped" in error
    assert f"error: {names[2]}: the connection broke off" in err
    assert sorted(contents(tmp_path / "granules")) == names[:2] + names[3:]  # nothing half made under any name
    service.breaks.clear()
    service.log.clear()
    _, _, error = run()
    assert error == ""
    assert [name for name, _ in service.transfers()] == [names[2]]
    assert contents(tmp_path / "granules") == service.files


def test_it_gives_up_where_nothing_arrives(service, run, tmp_path):
    names = day_names("20170801") + day_names("20170802")
    service.files = {name: small_file(tmp_path, 1, 20) for name in names}
    service.fault = "page"
    _, err, error = run(last_day="2017-08-02")
    assert "8 granules in a row did not arrive" in error
    assert "a web page came instead of the file" in err
    assert contents(tmp_path / "granules") == {}


def test_a_file_of_another_size_is_fetched_again(service, run, tmp_path):
    name = name_of("20170801T013000")
    service.files = {name: small_file(tmp_path, 1)}
    folder = tmp_path / "granules"
    folder.mkdir()
    (folder / name).write_bytes(service.files[name][:1000])
    _, _, error = run()
    assert error == ""
    assert contents(folder) == service.files


def test_a_wrong_size_in_the_catalogue_does_not_fetch_for_ever(service, run, tmp_path):
    name = name_of("20170801T013000")
    service.files, service.told_sizes = {name: small_file(tmp_path, 1)}, {name: 12345}
    assert run()[2] == ""
    service.sent = 0
    assert run()[2] == ""
    assert service.sent <= 1
    assert contents(tmp_path / "granules") == service.files


def test_of_two_deliveries_the_last_is_fetched(service, run, tmp_path):
    stamp = "20170801T013000"
    names = [name_of(stamp, version) for version in ("Vv8010_002", "Vv8011_001", "Vv8011_002", "Vv8011_002_1")]
    service.files = {name: small_file(tmp_path, seed, 20) for seed, name in enumerate(names)}
    run()
    assert list(contents(tmp_path / "granules")) == [name_of(stamp, "Vv8011_002")]


def test_streaming_gives_the_values_of_the_whole_file(service, run, tmp_path, granule):
    service.files = {granule.name: granule.read_bytes()}
    _, _, error = run(stream=True)
    assert error == ""
    found = list((tmp_path / "granules").glob("[!.]*"))
    assert [path.name for path in found] == [granule.name.replace(".h5", "_subset.h5")]
    rows, columns = product_window(BOX)
    with h5py.File(granule) as whole, h5py.File(found[0]) as part:
        assert part.attrs["Title"] == whole.attrs["Title"]
        np.testing.assert_array_equal(part["y"][:], whole["y"][rows])
        np.testing.assert_array_equal(part["x"][:], whole["x"][columns])
        np.testing.assert_array_equal(part["time"][:], whole["time"][:])
        assert part["EASE2_global_projection"].attrs["standard_parallel"] == 30.0
        assert set(part["Geophysical_Data"]) == set(FIELDS)
        for name, unit in FIELDS.items():
            field = part[f"Geophysical_Data/{name}"]
            np.testing.assert_array_equal(field[:], whole[f"Geophysical_Data/{name}"][rows, columns])
            assert field.attrs["units"].decode() == unit
            assert field.attrs["_FillValue"] == field.fillvalue == -9999
            assert field.dims[0][0] == part["y"] and field.dims[1][0] == part["x"]


def test_streaming_transfers_a_fraction_of_the_bytes(service, run, granule):
    service.files = {granule.name: granule.read_bytes()}
    with h5py.File(granule) as file:
        fields = sum(file[f"Geophysical_Data/{name}"].id.get_storage_size() for name in FIELDS)
    run(stream=True)
    assert fields < service.sent < fields + 20 * 65536 + 2 * 3 * 65536 < 0.3 * granule.stat().st_size
    assert sum(host == DATA for _, host, _, _ in service.log) == 1  # the others go to the signed address at once
    assert len(service.transfers()) < 25


def test_a_second_streaming_run_fetches_nothing_and_another_box_is_refused(service, run, granule):
    service.files = {granule.name: granule.read_bytes()}
    run(stream=True)
    service.log.clear()
    assert run(stream=True)[2] == ""
    assert service.transfers() == []
    service.log.clear()
    _, _, error = run(stream=True, box=(32, 100, 30, 104))
    assert "another box" in error and "_subset.h5" in error
    assert service.log == []


def test_streaming_survives_broken_transfers(service, run, granule, tmp_path):
    names = [granule.name, name_of("20170801T043000")]
    service.files = dict.fromkeys(names, granule.read_bytes())
    service.breaks = {names[0]: 3, names[1]: 1000}
    _, err, error = run(stream=True)
    assert f"1 of 2 granules did not arrive: {names[1]}" in error
    assert f"error: {names[1]}: the connection broke off" in err
    found = contents(tmp_path / "granules")
    assert list(found) == [names[0].replace(".h5", "_subset.h5")]


def test_streaming_puts_axes_into_granules_that_have_none(service, run, tmp_path):
    name = name_of("20170801T013000", "Vv3030_001")
    service.files = {name: granule_file(tmp_path / name, version=3).read_bytes()}
    _, _, error = run(stream=True, version="003")
    assert error == ""
    rows, columns = product_window(BOX)
    with h5py.File(tmp_path / "granules" / name.replace(".h5", "_subset.h5")) as part:
        np.testing.assert_allclose(part["y"][:], (811.5 - np.arange(1624)[rows]) * 9008.055210146, rtol=1e-12)
        np.testing.assert_allclose(part["x"][:], (np.arange(3856)[columns] - 1927.5) * 9008.055210146, rtol=1e-12)
        assert part["x"].attrs["units"] == b"m"


def test_streaming_without_parts_of_files_is_said(service, run, granule):
    service.files = {granule.name: granule.read_bytes()}
    service.fault = "whole"
    assert "start again without --stream" in run(stream=True)[2]
    assert service.sent < 0.2 * granule.stat().st_size


def test_the_window_of_china_is_that_of_the_format_notes():
    rows, columns = product_window((55, 73, 17, 136))
    assert (rows, columns) == (slice(145, 575), slice(2710, 3385))  # FORMATS.md 1.5
    y, x = axes_of_window((slice(0, 1624), slice(0, 3856)))
    np.testing.assert_allclose([x[0], y[0], x[-1], y[-1]], [-17363026.418, 7310036.803, 17363026.418, -7310036.803],
                               atol=1e-3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault, says", [
    ("token", "refuses access with this account's token (HTTP status 401)"),
    ("licence", "the licence (EULA) of SPL4SMGP"),
    ("application", "application is not approved"), ("catalogue down", "no answer from the catalogue"),
    ("down", "HTTP status 503"), ("portal", "the network may want a log-in")])
def test_refusals_are_one_sentence_and_nothing_is_saved(service, run, tmp_path, fault, says, stream):
    service.files = {name: small_file(tmp_path, 1, 20) for name in day_names("20170801")}
    service.fault = fault
    _, _, error = run(stream=stream)
    assert says in error
    assert contents(tmp_path / "granules") == {}


def test_a_refused_password_is_one_sentence(service, run, monkeypatch, tmp_path):
    service.fault = "password"
    monkeypatch.delenv("EARTHDATA_TOKEN")
    (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login {USER} password {PASSWORD}\n")
    error = run()[2]
    assert "refuses the user name or password" in error and "netrc" in error


def test_log_in_service_down_is_one_sentence(service, run, monkeypatch, tmp_path):
    service.fault = "down"
    monkeypatch.delenv("EARTHDATA_TOKEN")
    (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login {USER} password {PASSWORD}\n")
    assert "no answer from Earthdata Login (it is down or busy: HTTP status 503)" in run()[2]


def test_no_account_says_where_to_register(service, run, monkeypatch):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    error = run()[2]
    assert "https://urs.earthdata.nasa.gov" in error and "chmod 600" in error
    assert service.log == []


def test_a_token_with_a_line_break_is_refused_unsent(service, run, monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN[:9] + "\n" + TOKEN[9:])
    assert "EARTHDATA_TOKEN holds blanks" in run()[2]
    assert service.log == []


@pytest.mark.parametrize("account", ["token", "password"])
def test_no_network_ends_in_seconds(service, run, monkeypatch, account):
    if account == "password":
        monkeypatch.delenv("EARTHDATA_TOKEN")
        monkeypatch.setenv("EARTHDATA_USERNAME", USER)
        monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free.getsockname()[1]}")  # nobody listens
        begun = time.monotonic()
        error = run()[2]
    assert "no answer from" in error and "Check the network" in error
    assert time.monotonic() - begun < 10


def test_a_network_that_swallows_everything_ends_in_seconds(service, run, monkeypatch):
    monkeypatch.setattr(download_smap_l4, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        error = run()[2]
    assert "no answer from the catalogue" in error


def test_the_longest_wait_without_network_is_seconds():
    assert len(download_smap_l4.PAUSES) == 3 and sum(download_smap_l4.PAUSES) <= 10
    assert download_smap_l4.TIMEOUT[0] <= 5


@pytest.mark.parametrize("settings, says", [
    ({"first_day": "1 August"}, "first_day is '1 August'"), ({"first_day": "2015-03-30"}, "before 2015-03-31"),
    ({"first_day": "2017-08-02"}, "nor after the last"), ({"threads": 30}, "1 to 8 connections"),
    ({"box": (17, 73, 55, 136)}, "north, west, south, east")])
def test_bad_settings_are_refused_before_anything_is_sent(service, run, settings, says):
    assert says in run(**settings)[2]
    assert service.log == []


def test_too_small_a_disk_is_said_before_anything_is_sent(service, run, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=10 ** 9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = run()[2]
    assert "8 granules, whole" in error and "1.14 GB of 1 GB free" in error and "--stream" in error
    assert service.log == []
    assert run(stream=True)[2].startswith("the service has no granules")  # it fits: about 1 kB each


def test_two_versions_are_not_mixed_in_a_folder(service, run, tmp_path):
    (tmp_path / "granules").mkdir()
    (tmp_path / "granules" / name_of("20170801T013000", "Vv7032_001")).write_bytes(b"")
    assert "of version 007 of the product, 008 is asked for" in run()[2]
    assert service.log == []


def test_days_without_granules_are_said(service, run, tmp_path):
    assert "no granules of SPL4SMGP version 008 from 2017-08-01 to 2017-08-01" in run()[2]
    service.files = {name_of("20170801T013000"): small_file(tmp_path, 1, 20)}
    assert "none at the other 7 times" in run()[0]


def start_script(folder):
    """The script as a process of its own, as a user starts it."""
    command = [sys.executable, str(ROOT / "data_processing" / "download_smap_l4.py"), "--first-day", "2017-08-01",
               "--last-day", "2017-08-01", "--folder", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_script_ends_with_exit_code_2_and_one_line(service, tmp_path, monkeypatch):
    service.fault = "password"
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", USER)
    monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    process = start_script(tmp_path / "granules")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: Earthdata Login refuses") and err.count("\n") == 1
    assert PASSWORD not in out + err


def test_a_killed_run_leaves_nothing_half_made_that_counts(service, run, tmp_path):
    names = day_names("20170801")[:2]
    service.files = {name: small_file(tmp_path, seed) for seed, name in enumerate(names)}
    service.seconds = 0.5
    folder = tmp_path / "granules"
    process = start_script(folder)
    deadline = time.monotonic() + 60
    while not service.sent and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert "Warning" not in process.communicate()[1]
    half_written = list(contents(folder))
    assert half_written and all(name.startswith(".") for name in half_written)
    service.seconds = 0
    assert run()[2] == ""
    assert contents(folder) == service.files
