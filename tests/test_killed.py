"""The scripts, killed at random moments and started again: nothing is lost, nothing is half made, nothing is done twice."""
import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import netCDF4
import numpy as np
import pytest
import torch
from PIL import Image

from data_processing.cube import write_cube
from data_processing.twin_files import write_era5_month
from tests.cds_stand_in import TOKEN as KEY
from tests.cds_stand_in import month_file, running_store
from tests.conftest import ROOT, day_axis, weather_values
from tests.earthdata_stand_in import TOKEN, EarthdataStandIn, make_certificate
from tests.test_download_era5_land import RUNNER
from tests.test_download_smap_l4 import day_names, small_file
from tests.test_smap_l4 import write_day
from utils.command_line import RESUME_FILES, RESUME_RUN
from utils.results_page import PAGE

ENDS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
WORDS = {signal.SIGTERM: "ended", signal.SIGINT: "interrupted"}
LOOK_AGAIN = 0.002  # s between looks at the files
PATIENCE = 60  # s for a process to end
LONG = 200  # kills of the long form
NOT_OF_THE_RESULT = {"created", "date_created", "history"}  # attributes that say when


class Case(NamedTuple):
    """A script to be killed.

    command : words after python. resumed : words to go on with. folder : it writes to, below the working directory.
    finished : function of that folder, paths of what is finished and not to be done again. resume : how to go on, as it says.
    environment : dict.
    """

    command: list
    resumed: list
    folder: str
    finished: object
    resume: str
    environment: dict = {}


# ------------------------------------------------------------------------------------------------------------ harness
def names_in(folder):
    """Names of all files below a folder, temporary ones too."""
    return {str(path) for path in folder.rglob("*")}


def relative_names(folder):
    """Names of all files below a folder, sorted; but for the page of results, which a script makes again of the runs."""
    names = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(str(name) for name in names if name.parts[0] not in (PAGE, "index.html"))


def start(case, place, resume):
    """The script as a process in the folder `place`."""
    words = case.command + (case.resumed if resume else [])
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | case.environment, start_new_session=True)


class Unbroken(NamedTuple):
    """Seconds that it takes, how often names appear or vanish in the folder, and the names in the end."""

    seconds: float
    changes: int
    names: list


def run_unbroken(case, base):
    """Run a script to its end, in the folder "place" of `base`, which is called "whole" then: paths stand in what is written."""
    place = base / "place"
    place.mkdir(parents=True)
    process = start(case, place, resume=False)
    started, changes, before = time.monotonic(), 0, set()
    while process.poll() is None:
        now = names_in(place / case.folder)
        changes, before = changes + (now != before), now
        time.sleep(LOOK_AGAIN)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    seconds = time.monotonic() - started
    place.rename(base / "whole")
    return Unbroken(seconds, changes, relative_names(base / "whole" / case.folder))


def wait_for_moment(random, process, folder, seconds, changes):
    """Wait for a random time, or until files have appeared or vanished a random number of times: while they are written."""
    if random.random() < 0.5:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0, seconds))
        return
    left, before = int(random.integers(1, changes + 1)), names_in(folder)
    while left and process.poll() is None:
        time.sleep(LOOK_AGAIN)
        now = names_in(folder)
        left, before = left - (now != before), now
    time.sleep(random.uniform(0, 0.02))


def kill_once(random, case, place, resume, unbroken):
    """Start the script and end it; whether it was ended before its work was done.

    unbroken : what `run_unbroken` gave.
    """
    process = start(case, place, resume)
    wait_for_moment(random, process, place / case.folder, unbroken.seconds, unbroken.changes)
    how = list(ENDS)[random.integers(len(ENDS))]
    process.send_signal(how)
    try:
        said, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{how.name} does not end {case.command}: {process.communicate()[1][-2000:]}") from None
    if process.returncode == 0 or how != signal.SIGKILL and relative_names(place / case.folder) == unbroken.names:
        return False  # its work was done: it was about to leave
    if how == signal.SIGKILL or " starts\n" not in said:  # it had not begun: Python's own way to end
        assert process.returncode in (ENDS[how], -how), (how, process.returncode, errors)
        return True
    assert process.returncode == ENDS[how], (how, process.returncode, errors)
    assert errors.endswith(f"\n{WORDS[how]}: {case.resume}\n") and "Traceback" not in errors, errors
    return True


def kill_and_resume(random, case, base, kills, most=5):
    """Kill a script `kills` times, `most` at most on its way to an end, and compare what it ends with; how often it was killed."""
    unbroken = run_unbroken(case, base)
    whole, broken = base / "whole", base / "place"
    check_whole(whole / case.folder)
    done = 0
    while done < kills:
        broken.mkdir()
        on_the_way = min(int(random.integers(1, 6)), most)  # kills before it is left alone
        stamps, resume = {}, False
        while done < kills and on_the_way:
            killed = kill_once(random, case, broken, resume, unbroken)
            check_whole(broken / case.folder)
            check_stamps(stamps)
            stamps = {path: path.stat().st_mtime_ns for path in case.finished(broken / case.folder)}
            if not killed:
                break
            done, on_the_way, resume = done + 1, on_the_way - 1, True
        else:
            last = start(case, broken, resume)
            _, errors = last.communicate(timeout=10 * PATIENCE)
            finished_before = last.returncode == 2 and "finished run and is not overwritten" in errors  # killed while it left
            assert last.returncode == 0 or finished_before, errors
        check_stamps(stamps)
        check_whole(broken / case.folder)
        check_equal(whole / case.folder, broken / case.folder)
        shutil.rmtree(broken)
        print(f"{done} of {kills} kills", flush=True)
    return done


def check_stamps(stamps):
    """What was finished is still there and was not written again."""
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp, f"{path} was made again"


def check_whole(folder):
    """Every file that stands under its own name can be read to its end."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            content_of(path)


def check_equal(whole, broken):
    """Both folders hold the same files with the same content, and nothing half made."""
    names = [relative_names(base) for base in (whole, broken)]
    assert names[0] == names[1]
    for name in names[0]:
        if (whole / name).is_file():
            same = same_content(content_of(whole / name), content_of(broken / name))
            assert same, f"{name} is not that of an unbroken run"


def content_of(path):
    """What a file says but for times of the clock: bytes where they do not stand in it, else its values."""
    read = {".csv": read_table, ".json": read_settings, ".nc": read_netcdf, ".pt": read_tensors, ".h5": read_hdf5,
            ".npy": np.load, ".png": read_picture}
    return read.get(path.suffix, Path.read_bytes)(path)


def read_table(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert all(None not in row and None not in row.values() for row in rows), path
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def read_settings(path):
    content = json.loads(path.read_text())
    content.pop("host", None)
    content.pop("job", None)
    if "settings" in content:
        content["settings"].pop("resume", None)
    if "pretrained" in content:
        content["pretrained"]["path"] = os.path.basename(content["pretrained"]["path"])
    return content


def read_netcdf(path):
    def values(group):
        found = {name: np.asarray(variable[...].filled() if np.ma.isMaskedArray(variable[...]) else variable[...])
                 for name, variable in group.variables.items()}
        return found | {name: values(inner) for name, inner in group.groups.items()} | {
            f"attribute {name}": str(getattr(group, name)) for name in group.ncattrs() if name not in NOT_OF_THE_RESULT}
    with netCDF4.Dataset(path) as file:
        return values(file)


def read_hdf5(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def read_tensors(path):
    content = torch.load(path, map_location="cpu", weights_only=True)
    for row in content.get("log", ()):
        row.pop("seconds")
    return content if path.name == "checkpoint.pt" else path.read_bytes()


def read_picture(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def same_content(one, other):
    """Whether two contents are equal in every number; NaN equals NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_content(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_content, one, other))
    if torch.is_tensor(one):
        return one.shape == other.shape and torch.equal(one.nan_to_num(1e30), other.nan_to_num(1e30))
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and (
            np.array_equal(one, other, equal_nan=one.dtype.kind == "f") if one.dtype.kind != "V" else one.tobytes() == other.tobytes())
    return one == other or one != one and other != other


# -------------------------------------------------------------------------------------------------------------- cases
def pieces_of(folder):
    return list(folder.glob("pieces/[!.]*"))


def files_of(ending):
    return lambda folder: list(folder.glob(f"[!.]*{ending}"))


def finished_runs(folder):
    """Files of the runs whose metrics are written."""
    return [path for metrics in folder.rglob("metrics.csv") for path in metrics.parent.glob("[!.]*.*") if path.is_file()]


def smap_preparation(base, days, workers=1):
    granules = base / "granules"
    granules.mkdir()
    for number in range(days):
        write_day(granules, f"2017-08-{number + 1:02d}")
    command = [ROOT / "data_processing/prepare_smap_l4.py", granules, "--output", "cube/smap.nc", "--workers", workers]
    return Case(command, [], "cube", pieces_of, RESUME_FILES)


def era5_preparation(base, months, workers=2):
    downloads = base / "downloads"
    downloads.mkdir()
    lat, lon = 31 - np.arange(4) / 10, 100 + np.arange(5) / 10
    for number in range(months):
        first = np.datetime64("2014-01") + number
        stamps = np.arange(first.astype("datetime64[h]"), (first + 1).astype("datetime64[h]") + 1, 6)
        random = np.random.default_rng(number)
        for name, values in (("swvl1", random.uniform(0.1, 0.4, (len(stamps), 4, 5))),
                             ("stl1", random.uniform(270, 300, (len(stamps), 4, 5))),
                             ("tp", random.uniform(0, 0.01, (len(stamps), 4, 5)))):
            write_era5_month(downloads / f"{name}_{first}.nc", {name: values.astype(np.float32)}, stamps, lat, lon, "test")
    command = [ROOT / "data_processing/prepare_era5_land.py", downloads, "--output", "cube/era5.nc", "--workers", workers]
    return Case(command, [], "cube", pieces_of, RESUME_FILES)


@contextlib.contextmanager
def smap_download(base, days):
    """Granules of a stand-in that takes its time."""
    if not shutil.which("openssl"):
        pytest.skip("the command openssl, which makes the certificate, is not here")
    certificate, key = make_certificate(base)
    service = EarthdataStandIn(certificate, key)
    names = [name for day in range(days) for name in day_names(f"201708{day + 1:02d}")]
    service.files = {name: small_file(base, number, 200) for number, name in enumerate(names)}
    service.seconds = 0.02
    environment = {"HTTPS_PROXY": service.address, "EARTHDATA_TOKEN": TOKEN, "REQUESTS_CA_BUNDLE": str(certificate),
                   "NETRC": str(base / "netrc"), "HOME": str(base)}
    command = [ROOT / "data_processing/download_smap_l4.py", "--first-day", "2017-08-01", "--last-day", f"2017-08-{days:02d}",
               "--folder", "granules"]
    try:
        yield Case(command, [], "granules", files_of(".h5"), RESUME_FILES, environment)
    finally:
        service.close()


@contextlib.contextmanager
def era5_download(base, last_day):
    """Months of a stand-in that takes its time."""
    runner = base / "download.py"
    runner.write_text(RUNNER)
    with running_store(content=lambda dataset, inputs: month_file(inputs, area_steps=100), slice_seconds=0.01) as store:
        environment = {"CDSAPI_URL": f"{store.address}/api", "CDSAPI_KEY": KEY, "NO_PROXY": "127.0.0.1", "HOME": str(base)}
        command = [runner, ROOT, "--first-day", "2017-08-30", "--last-day", last_day, "--folder", "downloads", "--box",
                   32, 100, 30, 103]
        yield Case(command, [], "downloads", files_of(".nc"), RESUME_FILES, environment)


def write_weather_cube(path, first, days, seed):
    write_cube(path, weather_values(days, 4, 5, seed), day_axis(first, days), 30.0 + np.arange(4), 100.0 + np.arange(5),
               {"title": "small test cube", "source": "tests"})
    return path


def training(base):
    cube = write_weather_cube(base / "target.nc", "2015-01-01", 400, 2)
    command = [ROOT / "SMAPtest/convlstm.py", "--cube", cube, "--hidden", 16, "--epochs", 6, "--refit", "True", "--results", "results"]
    return Case(command, ["--resume"], "results", finished_runs, RESUME_RUN)


def fine_tuning(base):
    """With its pre-training; two members."""
    cube = write_weather_cube(base / "target.nc", "2015-01-01", 400, 2)
    source = write_weather_cube(base / "source.nc", "2013-01-01", 600, 1)
    command = [ROOT / "finetune-SMAPtest/lstm.py", "--cube", cube, "--source-cube", source, "--worlds", 0, "--hidden", 8,
               "--epochs", 3, "--seeds", 2, "--results", "results"]
    return Case(command, ["--resume"], "results", finished_runs, RESUME_RUN)


def paper_table(base):
    cube = write_weather_cube(base / "target.nc", "2015-01-01", 560, 2)
    source = write_weather_cube(base / "source.nc", "2012-01-01", 700, 1)
    command = [ROOT / "finetune-SMAPtest/paper_table.py", "--quick", "--cube", cube, "--source-cube", source, "--lead-times", 3,
               "--forms", "cnn-local", "--results", "results"]
    return Case(command, [], "results", finished_runs, RESUME_FILES)


# -------------------------------------------------------------------------------------------------------------- tests
def test_preparation_that_is_killed_goes_on_to_the_same_cube(tmp_path):
    assert kill_and_resume(np.random.default_rng(1), smap_preparation(tmp_path, days=2), tmp_path, kills=2, most=2) == 2


def test_download_that_is_killed_goes_on_to_the_same_files(tmp_path):
    with smap_download(tmp_path, days=1) as case:
        assert kill_and_resume(np.random.default_rng(2), case, tmp_path, kills=3, most=3) == 3


LONG_FORM = [(smap_preparation, (6,), 30), (era5_preparation, (4,), 30), (smap_download, (2,), 30),
             (era5_download, ("2017-10-02",), 30), (training, (), 30), (fine_tuning, (), 30), (paper_table, (), 20)]


@pytest.mark.slow
@pytest.mark.parametrize("make, options, kills", LONG_FORM, ids=[make.__name__ for make, *_ in LONG_FORM])
def test_long_form(make, options, kills, tmp_path):
    """LONG kills in all."""
    assert sum(each for *_, each in LONG_FORM) == LONG
    case = make(tmp_path, *options)
    with contextlib.ExitStack() as stack:
        case = case if isinstance(case, Case) else stack.enter_context(case)
        seed = int(os.environ.get("KILL_SEED", 0))
        assert kill_and_resume(np.random.default_rng([seed, len(make.__name__)]), case, tmp_path, kills) == kills
