"""Bad input of every kind ends in the right values or in one line that names the file: mutants of `bad_input`, settings, bombs.

The default run takes one mutant of each kind in each family; `-m slow` takes all of them, prints how many were right and refused,
and sends some through the scripts as processes. Random edits for as long as one likes: `fuzz_readers.py`.
"""
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tyro
from bad_input import (
    CHANGED,
    EITHER,
    FAMILIES,
    MISSPELT,
    REAL,
    REFUSED,
    SAME,
    SAMPLES,
    UNGUARDED,
    mutants,
    open_task,
    setting_mutants,
    write_era5,
    write_granules,
    write_grib,
)
from conftest import ROOT

from data_processing.errors import UserError
from data_processing.files import unlock_folders

pytestmark = pytest.mark.filterwarnings("ignore")  # libraries warn of what is wrong; what counts is how it ends
SECONDS = 60  # that a reader may take
LONGEST_LINE = 1500
ALL_FAMILIES = FAMILIES | (REAL if SAMPLES.exists() else {})


class TooSlow(BaseException):
    """A reader hangs."""


@contextlib.contextmanager
def time_limit(seconds=SECONDS):
    def stop(*_):
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Family -> its good files and what is read of them, made once."""
    made = {}

    def of_family(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("good") / "files"
            folder.mkdir()
            ALL_FAMILIES[name].write(folder)
            copy = folder.with_name("read")
            shutil.copytree(folder, copy)
            made[name] = folder, read(name, copy)
        return made[name]
    return of_family


@pytest.fixture(scope="module")
def all_mutants(tmp_path_factory):
    return list(mutants(tmp_path_factory.mktemp("originals")))


@pytest.fixture(autouse=True)
def without_drawing(monkeypatch):
    monkeypatch.setattr("utils.quicklook.show_cube", lambda path: None)


def read(family, folder):
    try:
        return ALL_FAMILIES[family].read(folder)
    finally:
        unlock_folders()


def judge(mutant, good, folder):
    """What came of a mutant ("right" or "refused") and what is wrong with that ("" = nothing)."""
    files, known = good(mutant.family)
    shutil.copytree(files, folder)
    mutant.make(folder)
    try:
        with time_limit():
            found = read(mutant.family, folder)
    except UserError as error:
        return "refused", refusal_faults(mutant, str(error), folder)
    except (Exception, TooSlow) as error:
        return "wrong", f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        left = (folder / "executed").exists() or Path("executed").exists() or list(folder.parent.glob("escaped*"))
        shutil.rmtree(folder)
    if left:
        return "wrong", "something was executed, or written outside"
    if mutant.right == REFUSED:
        return "wrong", "accepted"
    expected = mutant.expected(known) if mutant.expected else known
    return "right", "" if mutant.right == UNGUARDED or same(found, expected) else "other values"


def refusal_faults(mutant, said, folder):
    if mutant.right in (SAME, CHANGED):
        return f"refused: {said[:200]}"
    lines = said.split("\nerror: ")
    if str(folder) not in said:
        return f"names no file: {said[:200]}"
    if any("\n" in line or len(line) > LONGEST_LINE for line in lines):
        return f"not one line: {said[:300]!r}"
    return ""


def same(found, expected):
    return found.keys() == expected.keys() and all(
        np.shape(found[name]) == np.shape(expected[name])
        and np.allclose(np.asarray(found[name], float), np.asarray(expected[name], float), rtol=2e-5, atol=2e-6, equal_nan=True)
        for name in expected)


def run_mutants(chosen, good, folder):
    """Counts, and a line for each mutant that ended otherwise than it must."""
    counts, faults = Counter(), []
    for number, mutant in enumerate(chosen):
        outcome, fault = judge(mutant, good, folder / str(number))
        counts[outcome] += 1
        if fault:
            faults.append(f"{mutant.family} / {mutant.kind} / {mutant.name} [{mutant.right}]: {fault}")
    return counts, faults


# -------------------------------------------------------------------------------------------------------------- files
def test_one_mutant_of_each_kind_in_each_family(all_mutants, good, tmp_path):
    first = {}
    for mutant in all_mutants:
        if mutant.family not in REAL and mutant.name != "2 GB of zeros":
            first.setdefault((mutant.family, mutant.kind), mutant)
    _, faults = run_mutants(first.values(), good, tmp_path)
    assert not faults, "\n".join(faults)
    assert len(first) > 90


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_all_mutants(family, all_mutants, good, tmp_path, capsys):
    chosen = [mutant for mutant in all_mutants if mutant.family == family]
    counts, faults = run_mutants(chosen, good, tmp_path)
    with capsys.disabled():
        print(f"\n{family}: {len(chosen)} tried, {counts['right']} right, {counts['refused']} refused, {len(faults)} wrong")
    assert not faults, "\n".join(faults)
    assert chosen


def test_there_are_enough_and_each_is_new(all_mutants):
    names = Counter((mutant.family, mutant.kind, mutant.name) for mutant in all_mutants)
    assert len(all_mutants) > 1000
    assert not [name for name, count in names.items() if count > 1]
    assert {mutant.right for mutant in all_mutants} == {SAME, CHANGED, REFUSED, EITHER, UNGUARDED}


# ----------------------------------------------------------------------------------------------------------- settings
@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with good files for every script."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, write in (("smap", write_granules), ("era5", write_era5), ("grib", write_grib)):
        (folder / name).mkdir()
        write(folder / name)
    open_task(folder, "target", "2015-01-01")
    open_task(folder, "source", "2010-01-01")
    return folder


def words_of(script, words):
    """Command line of a script that would work, and what is wrong with it behind; paths from the folder `inputs`."""
    if "prepare_weather" in script:
        usual = "grib/forecast.grib2 --like grib/like.nc --workers 1 --output out/weather.nc"
    elif "prepare" in script:
        usual = f"{'smap' if 'smap' in script else 'era5'} --workers 1 --output out/cube.nc"
    elif "download" in script:
        usual = "--folder out --first-day 2020-01-01 --last-day 2020-01-02 --box 32 100 30 103"
    else:
        usual = "--cube target.nc --results out --steps 1 --hidden 4"
        usual += " --source-cube source.nc" if "finetune" in script and "--pretrained" not in words else ""
        usual += "" if "SMAPtest/" in script and "finetune" not in script else " --worlds 0"
    return [*usual.split(), *words.split()]


def loaded(script):
    """A script as a module."""
    name = "script_of_settings"
    spec = importlib.util.spec_from_file_location(name, ROOT / script)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where tyro looks for what it explains
    spec.loader.exec_module(module)
    return module


def settings_faults(chosen):
    faults = []
    for script, words, name in chosen:
        module = loaded(script)
        try:
            with time_limit():
                module.main(tyro.cli(module.Settings, args=words_of(script, words)))
            faults.append(f"{script} {words}: accepted")
        except UserError as error:
            if name not in str(error):
                faults.append(f"{script} {words}: {str(error)[:200]}")
        except SystemExit as end:
            if end.code != 2:
                faults.append(f"{script} {words}: exit code {end.code}")
        except (Exception, TooSlow) as error:
            faults.append(f"{script} {words}: {type(error).__name__} {str(error)[:200]}")
        finally:
            unlock_folders()
            shutil.rmtree("out", ignore_errors=True)
    return faults


@pytest.fixture
def in_inputs(inputs, monkeypatch):
    """The folder of the inputs is the working folder, and no service can be reached."""
    monkeypatch.chdir(inputs)
    for name, value in {"CDSAPI_URL": "http://127.0.0.1:9/api", "CDSAPI_KEY": "x", "EARTHDATA_TOKEN": "x",
                        "HTTPS_PROXY": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)


def test_settings_out_of_range_are_refused_by_their_name(in_inputs):
    faults = settings_faults(list(setting_mutants())[::5])
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_all_settings_out_of_range_misspelt_or_of_another_type(in_inputs, capsys):
    chosen = list(setting_mutants())
    faults = settings_faults(chosen)
    with capsys.disabled():
        print(f"\nsettings: {len(chosen)} tried, {len(chosen) - len(faults)} refused, {len(faults)} wrong")
    assert not faults, "\n".join(faults)


# ---------------------------------------------------------------------------------------------------------- processes
def one_line(done, *names):
    """What is wrong with the end of a process that was given bad input: exit code 2, one line after the bars of progress."""
    said = [line for line in done.stderr.replace("\r", "\n").split("\n") if line.strip()]
    lines = [line for line in said if not any(mark in line for mark in ("it/s", "B/s", "/s]", "?it", "ECCODES", "|"))]
    if done.returncode != 2 or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr[-300:]}"
    if not lines or not all(line.startswith("error: ") for line in lines) or not any(name in done.stderr for name in names):
        return f"said {lines}"
    return ""


SCRIPTS = {"granules": "data_processing/prepare_smap_l4.py FILES --workers 1 --output out/cube.nc",
           "ERA5": "data_processing/prepare_era5_land.py FILES --workers 2 --output out/cube.nc",
           "ERA5 ZIP": "data_processing/prepare_era5_land.py FILES --workers 1 --output out/cube.nc",
           "GRIB": "data_processing/prepare_weather_forecast.py FILES/forecast.grib2 --like FILES/like.nc --workers 1 --output out/w.nc",
           "forecast NetCDF": "data_processing/prepare_weather_forecast.py FILES/forecast.nc --like FILES/like.nc --output out/w.nc",
           "cube": "SMAPtest/lstm.py --cube FILES/cube.nc --results out",
           "weather file": "SMAPtest/lstm.py --cube target.nc --coming-weather FILES/weather.nc --results out --steps 1 --hidden 4",
           "regions": "SMAPtest/lstm.py --cube target.nc --regions FILES/regions.nc --results out --steps 1 --hidden 4",
           "model": "finetune-SMAPtest/convlstm.py --cube FILES/target.nc --pretrained FILES/model.pt --results out --steps 1 --hidden 4"}
SENT = {"cube": ("units of a variable", "noise", "at byte 100 of", "packed values", "4e15 values", "unit is a row of numbers",
                 "noleap", "a choice of names"),
        "granules": ("web page", "no date", "a field of 1e10", "text", "year 0"), "ERA5": ("shuffled", "text", "one is infinite", "zeros"),
        "ERA5 ZIP": ("../../escaped.nc", "/tmp/escaped.nc", "2 GB of zeros"), "GRIB": ("31st of June", "4e9 columns and rows", "nothing"),
        "forecast NetCDF": ("not a number", "web page"), "weather file": ("unit is nonsense", "noise"), "regions": ("text", "noise"),
        "model": ("noise", "a pickle that executes, protocol 4", "lstm", "not a number", "of the scaler's variables", "format 1")}
"""Which mutants to be refused go through the scripts: the first whose name begins so."""


@pytest.mark.slow
@pytest.mark.parametrize("family", SCRIPTS)
def test_scripts_as_processes_end_in_one_line_and_exit_code_2(family, all_mutants, good, inputs, tmp_path):
    faults = []
    for number, begin in enumerate(SENT[family]):
        mutant = next(mutant for mutant in all_mutants if mutant.family == family and mutant.name.startswith(begin)
                      and mutant.right in (REFUSED, EITHER))
        folder = tmp_path / str(number)
        shutil.copytree(good(family)[0], folder)
        mutant.make(folder)
        shutil.copyfile(inputs / "target.nc", tmp_path / "target.nc")
        words = SCRIPTS[family].replace("FILES", str(folder)).split()
        done = subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]], cwd=tmp_path, capture_output=True, text=True,
                              timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})
        fault = one_line(done, str(folder))
        if fault:
            faults.append(f"{family} / {mutant.kind} / {mutant.name}: {fault}")
        assert not (tmp_path / "executed").exists() and not (folder / "executed").exists()
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("words", [words for words, _ in MISSPELT[:3]])
def test_a_misspelt_setting_ends_with_exit_code_2(words, inputs):
    script = "SMAPtest/lstm.py"
    done = subprocess.run([sys.executable, str(ROOT / script), *words_of(script, words)], cwd=inputs, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr and words.split()[0] in done.stderr
