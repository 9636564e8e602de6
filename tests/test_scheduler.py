"""Work over a dask scheduler: pieces made by workers that are processes, of which some are killed on the way."""
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import dask
import distributed
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT
from test_preparing import GRID, Settings, plan_of, read, readings, toy, values_of

from data_processing import scheduler
from data_processing.errors import UserError
from data_processing.preparing import prepare

DAYS = range(1, 21)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process with one thread; one that is killed is started again."""
    with dask.config.set({"distributed.scheduler.locks.lease-timeout": "2s", "distributed.scheduler.locks.lease-validation-interval": "500ms"}):
        with distributed.LocalCluster(processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
            yield made


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


# ------------------------------------------------------------------------------------------------- what can be wrong
def free_address():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{other.getsockname()[1]}"


def test_wrong_address_ends_in_one_line_within_seconds(tmp_path):
    toy(tmp_path / "in", "01.txt", {"2017-01-01": (0.1, 1)})
    for address, said in ((free_address(), "no dask scheduler answers there within 5 s"), ("nonsense://here", "no address")):
        started = time.monotonic()
        with pytest.raises(UserError, match=f"scheduler is {address}: {said}") as error:
            list(scheduler.scheduled(address, print, {}, tmp_path))
        assert len(str(error.value).splitlines()) == 1 and time.monotonic() - started < 15


def test_something_else_at_the_address_is_no_scheduler(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="no dask scheduler answers there"):
            list(scheduler.scheduled("tcp://127.0.0.1:%d" % other.getsockname()[1], print, {}, tmp_path))


def test_scheduler_without_workers(tmp_path):
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        with pytest.raises(UserError, match="it has no workers. Start some with `dask worker tcp://.* --nthreads 1`"):
            list(scheduler.scheduled(empty.scheduler_address, print, {}, tmp_path))


def test_worker_of_several_threads_is_refused(tmp_path):
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as threaded:
        if "tcp" not in threaded.scheduler_address:
            address = threaded.scheduler_address
        with pytest.raises(UserError, match="does 2 tasks at a time; start it with --nthreads 1"):
            list(scheduler.scheduled(threaded.scheduler_address, os.getpid, {"one": ()}, tmp_path))


def test_other_versions_are_named():
    same = {"packages": {"python": "3.11.7.final.0", "dask": "2", "distributed": "2", "numpy": "2.4"}}
    old = {"packages": same["packages"] | {"numpy": "1.26", "dask": "1"}}
    found = {"client": same, "scheduler": same, "workers": {"tcp://a": same, "tcp://b": old}}
    assert scheduler.other_versions(found) == ["worker tcp://b has dask 1, here is 2", "worker tcp://b has numpy 1.26, here is 2.4"]
    assert scheduler.other_versions(found | {"workers": {"tcp://a": same}}) == []
