"""Pieces, and the cube that is assembled from them; the readers here are toys that read numbers from text files."""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from conftest import ROOT

from data_processing.cube import open_cube
from data_processing.errors import UserError
from data_processing.files import checksum
from data_processing.preparing import Plan, Rule, Source, prepare
from data_processing.regrid import axes_grid, target_grid

GRID = axes_grid(30.5 + np.arange(4), 100.5 + np.arange(6))
WHOLE = (0, 4, 0, 6)
RULES = {"soil_moisture": Rule(needed=1, total=False)}


@dataclass(frozen=True)
class Settings:
    output: str
    min_valid_fraction: float = 0.5
    workers: int = 1
    scheduler: str | None = None
    grid: str = "native"
    like: str | None = None


def read(files, task):
    """Days of a toy file, {"day": [variable, total, count]}; each reading is logged in `readings.log` beside it."""
    for path in files:
        with open(path.parent / "readings.log", "a") as log:
            log.write(path.name + "\n")
        text = path.read_text()
        if not text.startswith("{"):
            raise UserError(f"{path}: not a toy file.")
        rows, columns = task["shape"]
        time.sleep(task.get("seconds", 0))
        for day, (variable, total, count) in json.loads(text).items():
            yield (variable, np.datetime64(day), np.full((rows, columns), total, np.float32),
                   np.full((rows, columns), count, np.uint8))


def toy(folder, name, days, window=WHOLE, variable="soil_moisture", **task):
    """Source of one toy file; `days` maps a day to (total, count)."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({day: [variable, *numbers] for day, numbers in days.items()}))
    shape = [window[1] - window[0], window[3] - window[2]]
    return Source(path.stem, (path,), {"shape": shape} | task, window,
                  {variable: np.array(list(days), "datetime64[D]")})


def plan_of(sources, rules=RULES, mask=None):
    return Plan("TOY", "Toy product", GRID, sources, rules, mask, {"product_version": "1"}, [])


def readings(folder):
    log = folder / "readings.log"
    return log.read_text().split() if log.exists() else []


@pytest.fixture
def settings(tmp_path):
    return Settings(output=str(tmp_path / "cube" / "toy.nc"))


def values_of(path, variable="soil_moisture"):
    return open_cube(path, [variable])[variable].values


def test_a_day_is_the_mean_of_its_values_or_their_total(tmp_path, settings):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-31": (0.6, 2)}),
               toy(tmp_path / "in", "b.txt", {"2017-01-31": (0.3, 1), "2017-02-01": (0.2, 1)}),
               toy(tmp_path / "in", "c.txt", {"2017-01-31": (10, 23)}, variable="precipitation"),
               toy(tmp_path / "in", "d.txt", {"2017-01-31": (2, 1), "2017-02-01": (5, 23)}, variable="precipitation")]
    rules = {"precipitation": Rule(24, total=True), "soil_moisture": Rule(2, total=False)}
    path = prepare(plan_of(sources, rules), read, GRID, settings)
    np.testing.assert_allclose(values_of(path), np.stack([np.full((4, 6), 0.3), np.full((4, 6), np.nan)]), rtol=1e-6)
    np.testing.assert_allclose(values_of(path, "precipitation"),
                               np.stack([np.full((4, 6), 12.0), np.full((4, 6), np.nan)]), rtol=1e-6)


def test_files_are_read_once_and_a_new_one_alone_is_read(tmp_path, settings, capsys):
    sources = [toy(tmp_path / "in", f"{month}.txt", {f"2017-{month}-01": (0.2, 1)}) for month in ("01", "02")]
    prepare(plan_of(sources), read, GRID, settings)
    assert readings(tmp_path / "in") == ["01.txt", "02.txt"]
    sources.append(toy(tmp_path / "in", "03.txt", {"2017-03-01": (0.3, 1)}))
    path = prepare(plan_of(sources), read, GRID, settings)
    assert readings(tmp_path / "in") == ["01.txt", "02.txt", "03.txt"]
    assert "2 of 3 pieces were read before" in capsys.readouterr().out
    assert values_of(path).shape[0] == 60


def test_nothing_new_leaves_the_cube_as_it_is(tmp_path, settings, capsys):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)})]
    path = prepare(plan_of(sources), read, GRID, settings)
    before = path.stat().st_mtime_ns, checksum(path)
    assert prepare(plan_of(sources), read, GRID, settings) == path
    assert (path.stat().st_mtime_ns, checksum(path)) == before
    assert "is up to date" in capsys.readouterr().out


def test_a_changed_file_is_read_again_and_its_old_piece_goes(tmp_path, settings):
    prepare(plan_of([toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)})]), read, GRID, settings)
    path = prepare(plan_of([toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.35, 1)})]), read, GRID, settings)
    np.testing.assert_allclose(values_of(path), 0.35, rtol=1e-6)
    assert len(list((path.parent / "pieces").glob("[!.]*"))) == 1


def test_another_target_needs_no_reading(tmp_path, settings):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)})]
    prepare(plan_of(sources), read, GRID, settings)
    coarse = target_grid("2", source=GRID)
    with pytest.raises(UserError, match=r"toy.nc holds other cells \(4 x 6, .*\) than are asked for \(2 x 3\)"):
        prepare(plan_of(sources), read, coarse, replace(settings, grid="2"))
    other = replace(settings, grid="2", output=str(tmp_path / "cube" / "coarse.nc"))
    path = prepare(plan_of(sources), read, coarse, other)
    assert readings(tmp_path / "in") == ["a.txt"]
    np.testing.assert_allclose(values_of(path), np.full((1, 2, 3), 0.2), rtol=1e-6)
    with netCDF4.Dataset(path) as file:
        assert "conservative average" in file.regridding and "grid 2" in file.regridding


def test_boxes_fill_each_other_and_the_first_is_preferred(tmp_path, settings):
    sources = [toy(tmp_path / "in", "west.txt", {"2017-01-01": (0.2, 1)}, window=(0, 4, 0, 4)),
               toy(tmp_path / "in", "east.txt", {"2017-01-01": (0.4, 1)}, window=(0, 3, 3, 6))]
    values = values_of(prepare(plan_of(sources), read, GRID, settings))[0]
    np.testing.assert_allclose(values[:, :4], 0.2, rtol=1e-6)
    np.testing.assert_allclose(values[:3, 4:], 0.4, rtol=1e-6)
    assert np.isnan(values[3, 4:]).all()


def test_the_sea_is_left_out_before_averaging(tmp_path, settings):
    mask = np.ones((4, 6), bool)
    mask[:2, :2] = False
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)})]
    values = values_of(prepare(plan_of(sources, mask=mask), read, target_grid("2", source=GRID), settings))[0]
    assert np.isnan(values[0, 0]) and np.count_nonzero(np.isnan(values)) == 1


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_kept(tmp_path, settings):
    good = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)}),
            toy(tmp_path / "in", "c.txt", {"2017-01-03": (0.2, 1)})]
    path = prepare(plan_of(good), read, GRID, settings)
    before = checksum(path)
    bad = [toy(tmp_path / "in", f"{name}.txt", {"2017-01-02": (0.2, 1)}) for name in "bd"]
    for source in bad:
        source.files[0].write_text("broken")
    new = toy(tmp_path / "in", "e.txt", {"2017-01-04": (0.2, 1)})
    with pytest.raises(UserError) as caught:
        prepare(plan_of([*good, *bad, new]), read, GRID, settings)
    lines = str(caught.value).splitlines()
    assert [f"{name}.txt: not a toy file." in line for name, line in zip("bd", lines)] == [True, True]
    assert lines[2] == "error: the cube is not written; what could be read is kept and not read again"
    assert checksum(path) == before
    prepare(plan_of([*good, new]), read, GRID, settings)
    assert readings(tmp_path / "in").count("e.txt") == 1


def test_impossible_values_are_refused_with_the_name_of_the_file(tmp_path, settings):
    source = toy(tmp_path / "in", "percent.txt", {"2017-01-01": (35.0, 1)})
    with pytest.raises(UserError, match=r"percent.txt: soil_moisture of 2017-01-01 reaches from 35 to 35 m3 m-3"):
        prepare(plan_of([source]), read, GRID, settings)


def test_missing_days_are_told_and_nan(tmp_path, settings, capsys):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-31": (0.2, 1)}),
               toy(tmp_path / "in", "b.txt", {"2017-03-01": (0.2, 1)})]
    path = prepare(plan_of(sources), read, GRID, settings)
    assert ("warning: soil_moisture: no file for 28 of 30 days (2017-02-01 to 2017-02-28); they are missing (NaN)"
            in capsys.readouterr().out)
    values = values_of(path)
    assert values.shape[0] == 30 and np.isnan(values[1:-1]).all() and not np.isnan(values[[0, -1]]).any()


def test_the_cube_says_what_it_was_made_of(tmp_path, settings):
    sources = [toy(tmp_path / "in", f"{name}.txt", {"2017-01-01": (0.2, 1)}) for name in "ba"]
    path = prepare(plan_of(sources), read, GRID, settings)
    with netCDF4.Dataset(path) as file:
        assert file.title == "Toy product" and file.source == "TOY 1" and file.product == "TOY"
        assert file.source_files.startswith("2 files, a.txt to b.txt")
        assert file.regridding == "none, native cells"
        assert file.date_created[:2] == "20"
        assert list(file["sources/file"][:]) == ["a.txt", "b.txt"]
        assert list(file["sources/sha256"][:]) == [checksum(tmp_path / "in" / name) for name in ("a.txt", "b.txt")]


def test_a_cube_of_another_kind_is_not_overwritten(tmp_path, settings, small_cube):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1), "2017-01-02": (0.2, 1)})]
    with pytest.raises(UserError, match="exists and is not a cube of TOY made by this script; give another --output"):
        prepare(plan_of(sources), read, GRID, replace(settings, output=str(small_cube())))
    path = prepare(plan_of(sources), read, GRID, settings)
    with pytest.raises(UserError, match="not a cube of OTHER made by this script but of TOY"):
        prepare(plan_of(sources)._replace(product="OTHER"), read, GRID, settings)
    fewer = [toy(tmp_path / "in", "b.txt", {"2017-01-02": (0.2, 1)})]
    with pytest.raises(UserError, match="holds 2017-01-01 to 2017-01-02, the files given only 2017-01-02 to"):
        prepare(plan_of(fewer), read, GRID, settings)
    assert values_of(path).shape[0] == 2


@pytest.mark.parametrize("wrong, message", [({"workers": 0}, "workers is 0"), ({"min_valid_fraction": 0.0}, "above 0"),
                                            ({"output": "cube.txt"}, "must end in .nc")])
def test_settings_out_of_range(tmp_path, settings, wrong, message):
    sources = [toy(tmp_path / "in", "a.txt", {"2017-01-01": (0.2, 1)})]
    with pytest.raises(UserError, match=message):
        prepare(plan_of(sources), read, GRID, replace(settings, **wrong))
    assert not readings(tmp_path / "in")


def test_two_processes_make_the_same_cube_as_one(tmp_path, settings):
    sources = [toy(tmp_path / "in", f"{day:02d}.txt", {f"2017-01-{day:02d}": (day / 100, 1)}) for day in range(1, 6)]
    one = prepare(plan_of(sources), read, GRID, settings)
    two = prepare(plan_of(sources), read, GRID, replace(settings, output=str(tmp_path / "two" / "toy.nc"), workers=2))
    np.testing.assert_array_equal(values_of(one), values_of(two))
    assert sorted(readings(tmp_path / "in")) == sorted([source.files[0].name for source in sources] * 2)


SLOW = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_preparing import *
if __name__ == "__main__":
    folder = Path({folder!r})
    paths = sorted((folder / "in").glob("*.txt"))
    sources = [Source(path.stem, (path,), {{"shape": [4, 6], "seconds": 0.15}}, WHOLE,
                      {{"soil_moisture": np.array(["2017-01-" + path.stem], "datetime64[D]")}}) for path in paths]
    prepare(plan_of(sources), read, GRID, Settings(output=str(folder / "cube" / "toy.nc"), workers=2))
"""


def _children(pid):
    """Process numbers of the descendants of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, parent = int(stat.parent.name), int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found += [name, *_children(name)]
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_it_goes_on_without_reading_again(tmp_path, end):
    for day in range(1, 21):
        toy(tmp_path / "in", f"{day:02d}.txt", {f"2017-01-{day:02d}": (day / 100, 1)})
    script = tmp_path / "slow.py"
    script.write_text(SLOW.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pieces = tmp_path / "cube" / "pieces"
    until = time.monotonic() + 60
    while len(list(pieces.glob("[0-9]*.nc"))) < 4:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    workers = _children(process.pid)
    assert len(workers) >= 2
    process.send_signal(end)
    process.wait()
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < until, "reading processes outlive the script"
        time.sleep(0.02)
    done = {path.name.split(".")[0] for path in pieces.glob("[0-9]*.nc")}
    assert 4 <= len(done) < 20
    before = readings(tmp_path / "in")
    subprocess.run([sys.executable, script], check=True, capture_output=True)
    again = readings(tmp_path / "in")[len(before):]
    assert not done & {name.split(".")[0] for name in again}
    np.testing.assert_allclose(values_of(tmp_path / "cube" / "toy.nc")[:, 0, 0], np.arange(1, 21) / 100, rtol=1e-6)
    assert not list(pieces.glob(".*"))
