"""README.md says what is so: every command in it is taken by its script, and done by a test.

By default the settings of all commands are read, and the files and pictures that the page links to looked for. The slow tests
run the commands word by word in a copy of the project whose trainings are cut to a few steps. What installs, downloads or needs
a cluster is done by the tests named in DONE_ELSEWHERE.
"""
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_processing.cube import write_cube
from tests.conftest import ROOT, day_axis, weather_values
from tests.test_coming_weather import write_weather
from utils.command_line import take_settings

PAGE = (ROOT / "README.md").read_text()
# Beginnings of commands, and where they are done: as they stand, against stand-ins of the services or on a cluster of this machine
DONE_ELSEWHERE = {
    "python3 -m venv .venv": ".ci/run",
    "pip install": ".ci/run",
    "torchrun": "tests/test_processes.py",
    "dask": "tests/test_scheduler.py",
    "python data_processing/download_smap_l4.py": "tests/test_four_commands.py",
    "python data_processing/prepare_smap_l4.py --grid 36km": "tests/test_four_commands.py",
    "python data_processing/download_era5_land.py": "tests/test_four_commands.py",
    "python data_processing/prepare_era5_land.py --like data/smap_l4": "tests/test_four_commands.py",
    "python finetune-SMAPtest/convlstm.py --cube data/smap_l4": "tests/test_four_commands.py",
    "python data_processing/download_weather_forecast.py": "tests/test_download_weather_forecast.py",
    "python data_processing/prepare_weather_forecast.py": "tests/test_prepare_weather_forecast.py",
    "python finetune-SMAPtest/paper_table.py --lead-times 1 3 5 7 --scheduler": "tests/test_fan_out.py",
    "python finetune-SMAPtest/learning_curve.py --scheduler": "tests/test_fan_out.py",
    "python -m pytest": ".ci/run",
    "python -m ruff": "tests/test_tidy.py",
    "python -m mypy": "tests/test_tidy.py",
    "OMP_NUM_THREADS=1 python tests/benchmarks/run.py": "tests/test_benchmarks.py",
}


def blocks(language=""):
    """The page's blocks of code of a language."""
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if found == language]


def commands():
    """Commands in the lines of the page's blocks of code, and what it says in a line to be run by python."""
    lines = [line for block in blocks() for line in block.splitlines() if line and not line.startswith(("#", " "))]
    return [*(command.removeprefix(".venv/bin/") for line in lines for command in line.split(" && ")),
            *re.findall(r"`(python [^`\n]+)`", PAGE)]


def place(command):
    """File of tests that does a command; None where this file does."""
    return next((test for beginning, test in DONE_ELSEWHERE.items() if command.startswith(beginning)), None)


def script_and_words(command):
    """Path of the script in a command, and the words after it; None where it starts none of ours."""
    words = shlex.split(command)
    found = [number for number, word in enumerate(words) if word.endswith(".py")]
    return (ROOT / words[found[0]], words[found[0] + 1:]) if found and "-m" not in words else None


@pytest.mark.parametrize("command", [each for each in commands() if script_and_words(each)])
def test_settings_of_a_command_are_those_of_its_script(command, capsys, monkeypatch):
    import tyro
    script, words = script_and_words(command)
    _, words = take_settings(words)
    spec = importlib.util.spec_from_file_location("script_of_the_page", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where --help looks for the comments behind the settings
    spec.loader.exec_module(module)
    if not hasattr(module, "Settings"):
        assert not words, f"{script.name} takes no settings"
        return
    try:
        tyro.cli(module.Settings, args=words)
    except SystemExit as end:
        assert end.code == 0 and "--help" in words, capsys.readouterr().err


@pytest.mark.parametrize("beginning, test", DONE_ELSEWHERE.items())
def test_what_is_done_elsewhere_is_in_the_page_and_its_test_is_there(beginning, test):
    assert any(each.startswith(beginning) for each in commands())
    assert (ROOT / test).exists()


def test_links_of_the_page_lead_somewhere():
    headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGE):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link


# ------------------------------------------------------------------------------------------------------- done, slowly
@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with short trainings and tests, and beside its scripts the files that the page's commands name."""
    copy = tmp_path_factory.mktemp("project") / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "results", "data", "__pycache__"))
    settings = copy / "utils" / "models" / "settings.py"
    short, found = re.subn(r"FEW_STEPS, MANY_STEPS = .*", "FEW_STEPS, MANY_STEPS = 2, 2", settings.read_text())
    short, worlds = re.subn(r'"worlds": 5', '"worlds": 0', short)
    assert found == worlds == 1
    settings.write_text(short)
    splits = copy / "data_processing" / "splits.py"
    shorter, found = re.subn("YEAR = 365", "YEAR = 90", splits.read_text())  # to validate and to test
    assert found == 1
    splits.write_text(shorter)
    for script in copy.glob("*test/*.py"):
        script.write_text(re.sub(r"steps: int = \d+", "steps: int = 2", script.read_text()))
    for name, first, last, seed in (("smap", "2015-03-31", "2020-12-31", 1), ("era5_land", "2008-01-01", "2015-03-30", 2)):
        days = day_axis(first, int((np.datetime64(last) - np.datetime64(first)).astype(int)) + 1)
        write_cube(copy / f"{name}.nc", weather_values(len(days), 4, 5, seed), days, 30.0 + np.arange(4), 100.0 + np.arange(5),
                   {"title": "small cube", "source": "tests"})
    (copy / "data" / "weather").mkdir(parents=True)
    write_weather(copy / "data" / "weather" / "weather.nc", copy / "smap.nc", error=0.4)
    subprocess.run([sys.executable, "-c", *blocks("python")], cwd=copy, check=True)
    return copy


def test_python_of_the_page_makes_a_cube(tmp_path):
    from data_processing.cube import open_cube
    subprocess.run([sys.executable, "-c", *blocks("python")], cwd=tmp_path, check=True)
    assert open_cube(tmp_path / "my_cube.nc").sizes == {"time": 1096, "lat": 6, "lon": 10}


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in dict.fromkeys(commands()) if place(each) is None])
def test_command_of_the_page_is_done(command, project):
    words = shlex.split(command)
    assert words[0] == "python", "a command that no test does: name its test in DONE_ELSEWHERE"
    done = subprocess.run([sys.executable, *words[1:]], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
