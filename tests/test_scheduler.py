"""Work over a dask scheduler: pieces made by workers that are processes, of which some are killed on the way."""
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time

import dask
import distributed
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT
from grib_writer import ecmwf_forecast
from test_preparing import GRID, Settings, plan_of, read, readings, toy, values_of
from test_twin_files import COLUMNS, ROWS, TITLE, files, granule_fields  # noqa: F401
from test_weather_fields import written

from data_processing import prepare_weather_forecast, scheduler
from data_processing.errors import UserError
from data_processing.preparing import prepare
from data_processing.twin_files import granule_name, write_granule

DAYS = range(1, 21)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process with one thread; one that is killed is started again."""
    locks = {f"distributed.scheduler.locks.lease-{name}": seconds for name, seconds in
             (("timeout", "2s"), ("validation-interval", "500ms"))}
    with dask.config.set(locks), distributed.LocalCluster(processes=True, n_workers=2, threads_per_worker=1,
                                                          dashboard_address=":0") as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """Wait 2 seconds where it would be 5."""
    monkeypatch.setattr(scheduler, "PATIENCE", 2)


def month(folder, seconds=0.0):
    """Sources of a toy product, a day each; the time that reading one takes."""
    return [toy(folder, f"{day:02d}.txt", {f"2017-01-{day:02d}": (day / 100, 1)}, seconds=seconds) for day in DAYS]


def kill_a_worker(cluster):
    """End a worker as the kernel does for want of memory; its process number."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        number = next(iter(client.run(os.getpid).values()))
    os.kill(number, signal.SIGKILL)
    return number


# ---------------------------------------------------------------------------------------------------------- preparing
def test_workers_make_the_same_cube_as_processes_here(tmp_path, cluster):
    plan = plan_of(month(tmp_path / "in"))
    here = prepare(plan, read, GRID, Settings(output=str(tmp_path / "here/toy.nc")))
    there = prepare(plan, read, GRID, Settings(output=str(tmp_path / "there/toy.nc"), scheduler=cluster.scheduler_address))
    assert values_of(here).tobytes() == values_of(there).tobytes()
    assert sorted(readings(tmp_path / "in")) == sorted(2 * [f"{day:02d}.txt" for day in DAYS])
    assert not list((tmp_path / "there/pieces").glob(".*"))


def test_pieces_of_a_killed_worker_are_made_by_another(tmp_path, cluster):
    plan = plan_of(month(tmp_path / "in", seconds=0.2))
    here = prepare(plan_of(month(tmp_path / "in")), read, GRID, Settings(output=str(tmp_path / "here/toy.nc")))
    pieces = tmp_path / "there/pieces"

    def kill_one():
        while len(list(pieces.glob("[0-9]*.nc"))) < 4:
            time.sleep(0.02)
        killed.append(kill_a_worker(cluster))

    killed = []
    killer = threading.Thread(target=kill_one)
    killer.start()
    there = prepare(plan, read, GRID, Settings(output=str(tmp_path / "there/toy.nc"), scheduler=cluster.scheduler_address))
    killer.join()
    assert not os.path.exists(f"/proc/{killed[0]}")
    assert values_of(here).tobytes() == values_of(there).tobytes()
    assert not list(pieces.glob(".*"))


def test_a_file_that_workers_cannot_read_is_named_and_the_others_are_kept(tmp_path, cluster):
    sources = month(tmp_path / "in")
    sources[3].files[0].write_text("broken")
    settings = Settings(output=str(tmp_path / "there/toy.nc"), scheduler=cluster.scheduler_address)
    with pytest.raises(UserError, match="04.txt: not a toy file.\nerror: the cube is not written"):
        prepare(plan_of(sources), read, GRID, settings)
    assert len(list((tmp_path / "there/pieces").glob("[0-9]*.nc"))) == len(DAYS) - 1


def test_members_of_a_weather_forecast_are_read_by_workers(tmp_path, small_cube, cluster):
    written(tmp_path / "a.grib2", *(message for member in (1, 2)
                                    for message in ecmwf_forecast("2024-06-01T00", days=2, member=member)))
    made = []
    for name, address in (("here", None), ("there", cluster.scheduler_address)):
        output = tmp_path / name / "weather.nc"
        asked = {"like": str(small_cube()), "files": (str(tmp_path / "a.grib2"),), "output": str(output), "workers": 1}
        prepare_weather_forecast.main(prepare_weather_forecast.Settings(**asked, scheduler=address))
        with xr.open_dataset(output) as file:
            made.append(file[["precipitation", "air_temperature"]].load())
    assert made[0].sizes["member"] == 2 and made[0]["precipitation"].notnull().any()
    xr.testing.assert_equal(*made)


# ------------------------------------------------------------------------------------------------- what can be wrong
def free_address():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{other.getsockname()[1]}"


def ask(address, folder, tasks=None):
    """What the tasks return; by default there is nothing to do."""
    return dict(scheduler.scheduled(address, os.getpid, tasks or {}, folder))


def test_script_with_a_wrong_address_ends_in_one_line_within_seconds(tmp_path):
    write_granules(tmp_path / "in")
    started = time.monotonic()
    done = run_prepare(tmp_path, "--scheduler", free_address())
    assert done.returncode == 2 and time.monotonic() - started < 15
    error, = (line for line in done.stderr.splitlines() if line.startswith("error"))
    assert "no dask scheduler answers there within 5 s" in error and "Traceback" not in done.stderr


def test_what_is_no_scheduler_is_told_apart(tmp_path, cluster, impatient):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()  # never answers
        with pytest.raises(UserError, match="no dask scheduler answers there within 2 s"):
            ask(f"tcp://127.0.0.1:{other.getsockname()[1]}", tmp_path)
    for address in ("nonsense://here", "here", next(iter(cluster.scheduler_info["workers"]))):
        with pytest.raises(UserError, match=f"scheduler is {address}: not the address of a dask scheduler"):
            ask(address, tmp_path)


def test_scheduler_without_workers(tmp_path, impatient):
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty:
        with pytest.raises(UserError, match="it has no workers. Start some with `dask worker .* --nthreads 1`"):
            ask(empty.scheduler_address, tmp_path)


def test_worker_of_several_threads_is_refused(tmp_path):
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as threaded:
        with pytest.raises(UserError, match="does 2 tasks at a time; start it with --nthreads 1"):
            ask(threaded.scheduler_address, tmp_path, {"one": ()})


def test_worker_without_the_folder_or_with_older_code_is_refused(tmp_path, cluster):
    payload = pickle.dumps((os.getpid, ()))
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        number = client.run(os.getpid)
        worker = next(iter(number))

        def problem(project, code, token):
            return client.submit(scheduler._runner(), project, code, token, payload, workers=[worker], pure=False).result()

        elsewhere = str(tmp_path / "elsewhere/.shared.1")
        assert f"does not see {tmp_path / 'elsewhere'}" in problem(str(ROOT), scheduler._code(), elsewhere)[0]
        assert "does not see /no/project" in problem("/no/project", scheduler._code(), str(tmp_path))[0]
        assert problem(str(ROOT), scheduler._code(), str(tmp_path)) == (None, number[worker])
        assert "has loaded the scripts as they were before" in problem(str(ROOT), "changed", str(tmp_path))[0]


def test_other_versions_are_named():
    same = {"packages": {"python": "3.11.7.final.0", "dask": "2", "distributed": "2", "numpy": "2.4"}}
    old = {"packages": same["packages"] | {"numpy": "1.26", "dask": "1"}}
    found = {"client": same, "scheduler": same, "workers": {"tcp://a": same, "tcp://b": old}}
    assert scheduler.other_versions(found) == ["worker tcp://b has dask 1, here is 2",
                                               "worker tcp://b has numpy 1.26, here is 2.4"]
    assert scheduler.other_versions(found | {"workers": {"tcp://a": same}}) == []


# ----------------------------------------------------------------------- the scripts, and workers as people start them
def write_granules(folder):
    """A day of small granules of SMAP L4."""
    folder.mkdir()
    for stamp in np.datetime64("2016-12-31T01:30") + 180 * np.arange(8).astype("timedelta64[m]"):
        write_granule(folder / granule_name(stamp), granule_fields(), stamp, ROWS, COLUMNS, TITLE)


def run_prepare(folder, *options, script="smap_l4"):
    return subprocess.run([sys.executable, ROOT / f"data_processing/prepare_{script}.py", folder / "in", "--output",
                           folder / "cube/cube.nc", *options], capture_output=True, text=True, cwd=folder)


@contextlib.contextmanager
def started(folder, *arguments, path=""):
    """A process of dask that runs in a folder of its own; by default without any of our modules on its path."""
    folder.mkdir(exist_ok=True)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "dask", *arguments], cwd=folder, stdout=log, stderr=log,
                                   env=os.environ | {"PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_workers(address, count):
    with distributed.Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


@pytest.mark.slow
def test_workers_as_people_start_them_make_the_twins_cubes(files, tmp_path):
    address = free_address()
    with contextlib.ExitStack() as stack:
        stack.enter_context(started(tmp_path / "s", "scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":")[-1],
                                    "--no-dashboard"))
        for name in "ab":
            stack.enter_context(started(tmp_path / name, "worker", address, "--nthreads", "1", "--no-dashboard"))
        wait_for_workers(address, 2)
        for script, inputs in (("smap_l4", "granules"), ("era5_land", "downloads")):
            cubes = []
            for name, options in (("here", ["--workers", "1"]), ("there", ["--scheduler", address])):
                output = tmp_path / f"{script}_{name}" / "cube.nc"
                done = subprocess.run([sys.executable, ROOT / "data_processing" / f"prepare_{script}.py", files / script / inputs,
                                       "--like", files / f"twin_{script}_box.nc", "--output", output, *options],
                                      capture_output=True, text=True, cwd=tmp_path)
                assert done.returncode == 0, done.stderr
                cubes.append(xr.load_dataset(output))
            for name in ("precipitation", "soil_moisture", "soil_temperature"):
                assert cubes[0][name].values.tobytes() == cubes[1][name].values.tobytes(), name


SLOW_PREPARATION = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from dataclasses import dataclass
from pathlib import Path
from test_preparing import *
from utils.command_line import RESUME_FILES, run_script

@dataclass(frozen=True)
class Asked:
    scheduler: str | None = None

def main(asked):
    folder = Path({folder!r})
    sources = [Source(path.stem, (path,), {{"shape": [4, 6], "seconds": 0.5}}, WHOLE,
                      {{"soil_moisture": np.array(["2017-01-" + path.stem], "datetime64[D]")}})
               for path in sorted((folder / "toys").glob("*.txt"))]
    prepare(plan_of(sources), read, GRID, Settings(output=str(folder / "cube/toy.nc"), scheduler=asked.scheduler))

if __name__ == "__main__":
    sys.argv[1:] = ["--scheduler", *sys.argv[1:]] if sys.argv[1:] else []
    run_script(main, Asked, resume=RESUME_FILES)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end, code, said", [("interrupt", 130, "interrupted: the same command goes on where it stopped"),
                                             ("end scheduler", 2, "it has ended or cannot be reached any more; start again")])
def test_what_is_ended_on_the_way_goes_on_when_it_is_started_again(tmp_path, end, code, said):
    script = tmp_path / "prepare.py"
    script.write_text(SLOW_PREPARATION.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path)))
    month(tmp_path / "toys", seconds=0.5)
    address = free_address()
    with contextlib.ExitStack() as stack:
        boss = stack.enter_context(started(tmp_path / "s", "scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":")[-1],
                                           "--no-dashboard"))
        stack.enter_context(started(tmp_path / "a", "worker", address, "--nthreads", "1", "--no-dashboard",
                                    path=str(ROOT / "tests")))  # where the toy's reader is
        wait_for_workers(address, 1)
        process = subprocess.Popen([sys.executable, script, address], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pieces = tmp_path / "cube/pieces"
        until = time.monotonic() + 60
        while len(list(pieces.glob("[0-9]*.nc"))) < 3:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        if end == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            boss.kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code and said in errors and "Traceback" not in errors, errors
        made = len(list(pieces.glob("[0-9]*.nc")))
        time.sleep(2)
        assert len(list(pieces.glob("[0-9]*.nc"))) <= made + 2  # what was queued is not read: one was on the way
        assert not list(pieces.glob(".shared.*"))
    before = readings(tmp_path / "toys")
    assert subprocess.run([sys.executable, script], capture_output=True).returncode == 0
    assert len(readings(tmp_path / "toys")) <= len(DAYS) + 2 and len(before) < len(DAYS)
