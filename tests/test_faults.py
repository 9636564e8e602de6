"""What the machine refuses - room, permission, memory, a folder in use - ends in one line, damages nothing and can be gone on with."""
import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_processing import arrays
from data_processing.errors import UserError
from data_processing.files import LOCK, lock_folder, locked, unlock_folder
from tests.conftest import ROOT
from tests.test_killed import check_equal, check_whole, fine_tuning, run_unbroken, smap_download, smap_preparation, start, training
from utils.command_line import RESUME_FILES, fault_line
from utils.study import made_elsewhere

IN_USE = r"is in use by process (\d+) on \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Wait until that has ended, or "
HOLD = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from data_processing.files import lock_folder
lock_folder(sys.argv[1], "go away")
print("held", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def holder(folder):
    """A process that has claimed a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# -------------------------------------------------------------------------------------------------------------- locks
def test_second_process_in_a_folder_is_refused_and_told_of_the_first_which_leaves_no_lock_when_it_is_killed(tmp_path):
    with holder(tmp_path / "run") as process:
        with pytest.raises(UserError, match=IN_USE + "give another --name") as error:
            lock_folder(tmp_path / "run", "give another --name")
        assert re.search(IN_USE, str(error.value))[1] == str(process.pid) and "\n" not in str(error.value)
        with pytest.raises(UserError, match="UTC, which is making a run that is needed here. Wait until it is finished"), made_elsewhere():
            lock_folder(tmp_path / "run", "give another --name")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run" / LOCK).exists()
        with locked(tmp_path / "run", ""):
            assert f"process {os.getpid()} " in (tmp_path / "run" / LOCK).read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_process_may_claim_a_folder_twice_and_give_it_back_once(tmp_path):
    lock_folder(tmp_path, "")
    lock_folder(tmp_path / ".", "")
    unlock_folder(tmp_path)
    with holder(tmp_path):
        unlock_folder(tmp_path)  # another's is left alone
        with pytest.raises(UserError, match="in use"):
            lock_folder(tmp_path, "")


def test_lock_does_not_live_on_in_processes_that_were_started_meanwhile(tmp_path):
    with locked(tmp_path, ""):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with holder(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


# ------------------------------------------------------------------------------------------- room, permission, memory
@pytest.mark.parametrize("error, words", [
    (OSError(errno.ENOSPC, "No space left on device", "/r/model.pt"), ["/r/model.pt: no room is left on this disk", "Make room", "go on"]),
    (OSError(errno.EFBIG, "File too large", "/r/model.pt"), ["/r/model.pt: the file-size limit (ulimit -f) is reached", "go on"]),
    (PermissionError(errno.EACCES, "Permission denied", "/r"), ["/r: may not be read or written (Permission denied)", "permissions"]),
    (OSError(errno.EROFS, "Read-only file system", "/r"), ["/r: may not be read or written (Read-only file system)"]),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "/r"), ["/r: No such file or directory"]),
    (MemoryError(), ["not enough memory (MemoryError)", "go on"]),
    (np._core._exceptions._ArrayMemoryError((2 ** 40,), np.dtype("f4")), ["not enough memory (Unable to allocate 4.00 TiB"]),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried to\nallocate 8 bytes"),
     ["not enough memory ([enforce fail", "go on"]),
    (RuntimeError("can't start new thread"), ["not enough memory"]),
    (RuntimeError("could not create a primitive"), ["not enough memory"]),
])
def test_faults_of_the_machine_are_told_in_one_line(error, words):
    line = fault_line(error, "go on")
    assert "\n" not in line and all(word in line for word in words), line


def test_errors_of_our_own_are_no_faults_of_the_machine():
    assert fault_line(ValueError("shapes differ"), "") is None and fault_line(RuntimeError("frozen"), "") is None


WRITE = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
import errno, json, netCDF4, numpy as np, torch
from pathlib import Path
from data_processing.files import new_hdf5, replacing, write_csv
from utils.runs import save_tensors, write_json

folder, values = Path(sys.argv[1]), np.random.default_rng(0).random((40, 100, 100))

def netcdf(path):
    with replacing(path) as temporary, netCDF4.Dataset(temporary, "w") as file:
        for name, length in zip("abc", values.shape):
            file.createDimension(name, length)
        file.createVariable("v", "f8", tuple("abc"), zlib=True)[:] = values

def hdf5(path):
    with replacing(path) as temporary, new_hdf5(temporary) as file:
        file.create_dataset("v", data=values, compression="gzip")

def numpy(path):
    with replacing(path) as temporary:
        np.save(temporary, values)

writers = {{"a.nc": netcdf, "a.h5": hdf5, "a.npy": numpy, "a.pt": lambda path: save_tensors(path, {{"v": torch.tensor(values)}}),
           "a.csv": lambda path: write_csv(path, ["v"], [{{"v": value}} for value in values[0].ravel()]),
           "a.json": lambda path: write_json(path, {{"v": values[0].tolist()}})}}
for name in writers:
    (folder / name).write_text("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name, write in writers.items():
    try:
        write(folder / name)
        raise SystemExit(f"{{name}} was written")
    except OSError as error:
        assert (error.errno, error.filename) == (errno.EFBIG, str(folder / name)), (name, error)
    assert (folder / name).read_text() == "before"
assert sorted(path.name for path in folder.iterdir()) == sorted(writers)
"""


def test_file_for_which_there_is_no_room_leaves_what_was_there_whichever_library_writes_it(tmp_path):
    """HDF5 left errors of a full disk behind when it closed a file, and crashed; NetCDF and torch told them in words of their own."""
    done = subprocess.run([sys.executable, "-c", WRITE, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """Mount a file system of a given size at a folder; skips where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


FILL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from data_processing.arrays import create_array, scratch_array
for make in (lambda: create_array(sys.argv[1] + "/a.npy", (500, 1000), "f4"), lambda: scratch_array((20, 1000, 1000))):
    try:
        make()[:] = 1
        raise SystemExit("was filled")
    except OSError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot set room of a file aside")
def test_mapped_array_on_a_full_disk_is_refused_when_it_is_made_and_does_not_end_the_process(tmp_path):
    """Written to, it ended in SIGBUS, without a word."""
    with small_disk(tmp_path / "disk", 1024):
        done = subprocess.run([sys.executable, "-c", FILL, tmp_path / "disk"], capture_output=True, text=True,
                              env=os.environ | {"TMPDIR": str(tmp_path / "disk")})
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.count("No space left on device") == 2 and "80,000,000 bytes (TMPDIR names another folder)" in done.stdout


def test_arrays_with_stamps_of_the_future_do_not_push_out_the_one_that_is_made(tmp_path, monkeypatch):
    """The clock was set back: what was kept before looks newer than what is made now."""
    monkeypatch.setattr(arrays, "FOLDER", tmp_path)
    monkeypatch.setattr(arrays, "KEPT_ENTRIES", 3)
    for name in "abc":
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() + 1e8,) * 2)
    left = tmp_path / ".key.killed"
    left.mkdir()  # of a process that was killed days ago
    os.utime(left, (time.time() - 1e6,) * 2)
    made = arrays.kept_arrays("key", {"v": ((2,), "f4")}, lambda found: found["v"].fill(7))
    assert made["v"].tolist() == [7, 7] and len(list(tmp_path.glob("[!.]*"))) == 3 and not left.exists()


# ------------------------------------------------------------------------------------------------------------ signals
WAITING = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from dataclasses import dataclass
from utils import command_line

@dataclass
class Settings:
    busy: bool = False
    lost: bool = False

class Removed:
    def __del__(self):
        print("works", flush=True)
        time.sleep(60)

def main(settings):
    if settings.lost:
        Removed()
    try:
        print("works", flush=True)
        time.sleep(60)
    finally:
        print("ends", flush=True)
        time.sleep(60 if settings.busy else 0)

command_line.LONGEST_END = 2
command_line.run_script(main, Settings, resume=command_line.RESUME_FILES)
"""


def waiting_script(tmp_path, *words):
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    process = subprocess.Popen([sys.executable, script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.stdout.readline() != "works\n":
        assert process.poll() is None
    return process


@pytest.mark.parametrize("words", [(), ("--lost",), ("--busy",)], ids=["waits", "loses the exception", "is slow to end"])
@pytest.mark.parametrize("how, word, code", [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "ended", 143)])
def test_ended_script_says_in_one_line_how_to_go_on(how, word, code, words, tmp_path):
    """Python ignores an exception that is raised while an object is removed: Ctrl-C then printed a traceback, and work went on."""
    process = waiting_script(tmp_path, *words)
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, f"\n{word}: {RESUME_FILES}\n")


def test_second_signal_ends_a_script_that_is_slow_to_end(tmp_path):
    process = waiting_script(tmp_path, "--busy")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ends\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=20)[1], process.returncode) == ("", -signal.SIGTERM)


# ------------------------------------------------------------------------------------------------- the scripts, slowly
def run_limited(case, place, resume=False, **limits):
    """Run a script under limits of the system: exit code, last line of what it says, all of that."""
    def limit():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    words = case.command + (case.resumed if resume else [])
    done = subprocess.run([sys.executable, *map(str, words)], cwd=place, capture_output=True, text=True, timeout=600,
                          env=os.environ | case.environment, preexec_fn=limit if limits else None)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1], done.stderr


def check_fault(code, last, errors, words):
    assert code == 2 and last.startswith("error: ") and words in last and "Traceback" not in errors, (code, errors[-2000:])


def check_goes_on(case, base, place):
    """Without the fault it goes on to what an unbroken run ends with."""
    check_whole(place / case.folder)
    stamps = {path: path.stat().st_mtime_ns for path in case.finished(place / case.folder)}
    code, _, errors = run_limited(case, place, resume=True)
    assert code == 0, errors
    check_equal(base / "whole" / case.folder, place / case.folder)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@contextlib.contextmanager
def made_case(make, base):
    case = make(base, 1) if make in (smap_preparation, smap_download) else make(base)
    with contextlib.nullcontext(case) if isinstance(case, tuple) else case as case:
        run_unbroken(case, base)
        yield case


SIZES = {training: (300, 20_000, 60_000), smap_preparation: (2_000, 12_000), smap_download: (1_000, 100_000)}  # bytes


@pytest.mark.slow
@pytest.mark.parametrize("make", SIZES, ids=lambda make: make.__name__)
def test_limit_of_the_size_of_files(make, tmp_path):
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        place.mkdir()
        for number, size in enumerate(SIZES[make]):
            check_fault(*run_limited(case, place, resume=number > 0, FSIZE=size), "the file-size limit")
            check_whole(place / case.folder)
        check_goes_on(case, tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("make, kilobytes", [(training, (4, 64, 160)), (smap_preparation, (8, 40)), (smap_download, (300,))],
                         ids=["training", "smap_preparation", "smap_download"])
def test_full_disk_that_then_has_room(make, kilobytes, tmp_path):
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        with small_disk(place, kilobytes[0]):
            for number, size in enumerate(kilobytes):
                remount(place, f"size={size}k")
                code, last, errors = run_limited(case, place, resume=number > 0)
                room = "free" if "free. Choose fewer days" in last else "no room is left on this disk"  # told before a download
                check_fault(code, last, errors, room)
                check_whole(place / case.folder)
            remount(place, "size=3g")
            check_goes_on(case, tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("make", [training, smap_preparation, smap_download], ids=lambda make: make.__name__)
def test_folder_that_may_not_be_written_to(make, tmp_path):
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        with small_disk(place, 2_000_000):  # room for all that is announced
            remount(place, "ro")
            check_fault(*run_limited(case, place), "Read-only file system")
            remount(place, "rw")
            (place / case.folder).write_text("a file where the folder should be")
            check_fault(*run_limited(case, place), case.folder)
            (place / case.folder).unlink()
            check_goes_on(case, tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("make, megabytes", [(training, (500, 700, 800, 900, 1000, 1050, 1200)),
                                             (smap_preparation, (300, 500, 700, 1000))], ids=["training", "smap_preparation"])
def test_limit_of_memory(make, megabytes, tmp_path):
    """It ends in one line, or well."""
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        place.mkdir()
        for size in megabytes:
            code, last, errors = run_limited(case, place, resume=True, AS=size * 2 ** 20)
            if code == 0:
                break
            if code == 1 and last.startswith("OpenBLAS error: Memory allocation"):
                continue  # it ends the process itself
            check_fault(code, last, errors, "memory")
            check_whole(place / case.folder)
        else:
            check_goes_on(case, tmp_path, place)
        check_equal(tmp_path / "whole" / case.folder, place / case.folder)


@pytest.mark.slow
@pytest.mark.parametrize("make", [training, fine_tuning, smap_preparation, smap_download], ids=lambda make: make.__name__)
def test_two_at_the_same_time_in_one_folder(make, tmp_path):
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        place.mkdir()
        first = start(case, place, resume=False)
        until = time.monotonic() + 120
        while not list(place.rglob(LOCK)):
            assert time.monotonic() < until and first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        try:
            code, last, errors = run_limited(case, place, resume=True)
            check_fault(code, last, errors, "is in use by process")
            assert re.search(IN_USE, last)[1] == str(first.pid)
        finally:
            first.send_signal(signal.SIGCONT)
        _, errors = first.communicate()
        assert first.returncode == 0, errors
        check_equal(tmp_path / "whole" / case.folder, place / case.folder)


@pytest.mark.slow
@pytest.mark.parametrize("make", [training, smap_preparation], ids=lambda make: make.__name__)
def test_stamps_of_the_future(make, tmp_path):
    """The clock was set back between a run that was killed and the one that goes on."""
    with made_case(make, tmp_path) as case:
        place = tmp_path / "place"
        place.mkdir()
        process = start(case, place, resume=False)
        while process.poll() is None and not [*place.rglob("checkpoint.pt"), *place.rglob("pieces/[!.]*.nc")]:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        future = time.time() + 10 * 365 * 86400
        for path in sorted(Path(place).rglob("*"), reverse=True):
            os.utime(path, (future, future))
        check_goes_on(case, tmp_path, place)
