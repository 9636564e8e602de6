"""What a script does before its work begins."""
import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest

from data_processing.errors import UserError
from tests.conftest import ROOT
from utils.command_line import as_typed, run_script, wrapped
from utils.wrong_value import refuse_wrong_value

SLOW_TO_IMPORT = {"torch", "xarray", "pandas", "matplotlib", "cartopy", "sklearn", "dask"}
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.py")
                 if path.parent.name != "tests" and "\n    run_script(main" in path.read_text())
HELP_OF_ALL = f"""
import runpy, sys
for script in {SCRIPTS}:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        print(script, end.code, *sorted({SLOW_TO_IMPORT} & set(sys.modules)))
"""


def test_help_imports_nothing_that_takes_seconds():
    """One process for all scripts; a script is blamed for what those before it have imported as well."""
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(SCRIPTS) >= 22
    for script in SCRIPTS:
        assert f"\n{script} 0\n" in done.stdout, f"{script}: {done.stdout[-300:]}"


def test_help_fits_80_columns_but_for_commands_and_addresses():
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env=os.environ | {"COLUMNS": "80"})
    long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert len(done.stdout.splitlines()) > 1000
    assert [line for line in long if "python " not in line and "://" not in line and "<" not in line
            and not line.startswith("usage")] == []


def test_paragraphs_of_a_description_keep_their_column():
    text = "Reads   one two three four\n        five six\n        key: seven eight nine\n\nRun     python a.py --of many words here\nend"
    assert wrapped(text, 22) == ("Reads   one two three\n        four five six\n        key: seven\n             eight\n"
                                 "             nine\n\nRun     python a.py --of many words here\nend")


def test_commands_of_a_description_stay_one_a_line():
    text = "Run     OMP_NUM_THREADS=1 python a.py\n        OMP_NUM_THREADS=1 python a.py --short\n        A=1 B=x python a.py --only one"
    assert wrapped(text, 30) == text


def test_script_says_that_it_starts_before_its_work(monkeypatch, capsys):
    @dataclass
    class Settings:
        days: int = 1

    def main(settings):
        print("works")

    for words, said in (([], "tests/test_command_line.py starts\nworks\n"), (["--help"], None)):
        monkeypatch.setattr(sys, "argv", ["script", *words])
        with pytest.raises(SystemExit) if said is None else contextlib.nullcontext():
            run_script(main, Settings)
        shown = capsys.readouterr().out
        assert shown == said if said else "starts" not in shown


SCRIPT = f"""'''Do something small.'''
import sys
sys.path.insert(0, {str(ROOT)!r})
from dataclasses import dataclass
from data_processing.terminal import print_result, progress_bar
from utils.command_line import run_script, wrapped

@dataclass
class Settings:
    # data
    cube: str = "twin"  # path
    test_days: int | None = None  # length; default 365
    # output
    name: str | None = None  # of the run

def main(settings):
    print("on the way")
    for _ in progress_bar(range(3), desc="outer", unit="day"):
        for _ in progress_bar(range(3), desc="inner", unit="cell", leave=False):
            pass
    print_result("the result")

run_script(main, Settings)
"""


@pytest.mark.parametrize("words, message, said", [
    ("--test_days 9", "test_days is 9; test_from is the last.", "--test-days is 9; test_from is the last."),
    ("--cube=a.nc", "cube is a.nc: no such file. Give a cube.", "--cube is a.nc: no such file. Give a cube."),
    ("--cube a.nc", "a.nc is not the cube that it was.", "a.nc is not the cube that it was."),
    ("--batch-size 0", "/data/batch_size is no batch_size.", "/data/batch_size is no --batch-size.")])
def test_settings_are_named_as_they_were_typed(words, message, said):
    assert as_typed(message, words.split()) == said


def test_reader_of_the_help_who_goes_before_its_end_is_no_error(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, tmp_path / "script.py", "--help"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def run_small(tmp_path, *words):
    (tmp_path / "script.py").write_text(SCRIPT)
    return subprocess.run([sys.executable, tmp_path / "script.py", *words], capture_output=True, text=True,
                          env=os.environ | {"COLUMNS": "80"})


def test_help_has_the_groups_of_the_settings_and_no_none(tmp_path):
    lines = run_small(tmp_path, "--help").stdout.splitlines()
    at = {line.strip(): number for number, line in enumerate(lines)}
    assert lines[at["data"] + 1].split()[:2] == ["--cube", "STR"] and lines[at["output"] + 1].split()[:2] == ["--name", "STR"]
    assert "length; default 365" in "\n".join(lines) and "None" not in "\n".join(lines)
    assert max(map(len, lines[1:])) <= 80


def test_output_to_a_file_is_plain_lines(tmp_path):
    done = run_small(tmp_path)
    assert done.stdout.endswith("on the way\nthe result\n")
    assert "\x1b" not in done.stderr and "\r" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("outer: 100%") and max(map(len, done.stderr.splitlines())) <= 80


def test_quiet_script_says_its_result_alone(tmp_path):
    done = run_small(tmp_path, "--quiet")
    assert (done.stdout, done.stderr) == ("the result\n", "")


def test_misspelt_option_is_answered_with_the_nearest(tmp_path):
    done = run_small(tmp_path, "--test-day", "3")
    assert done.returncode == 2 and "--test-days" in done.stderr and "None" not in done.stderr
    done = run_small(tmp_path, "--test-days", "seven")
    assert done.returncode == 2
    assert done.stderr == "error: --test-days is seven; it takes a whole number. --help says: length; default 365.\n"


@dataclass
class OfEveryType:
    lead_time: int = 3  # days
    lead_times: tuple[int, ...] | None = None
    pull: float = 0.0
    scaling: Literal["cell", "global"] | None = None
    refit: bool | None = None
    zero_shot: bool = False
    box: tuple[float, float, float, float] | None = None
    rates: dict[str, float] = field(default_factory=dict)
    cube: str = "twin"  # path


@pytest.mark.parametrize("words, said", [
    ("--lead-time seven", "--lead-time is seven; it takes a whole number. --help says: days."),
    ("--cube a.nc --lead_time=7.5", "--lead-time is 7.5; it takes a whole number. --help says: days."),
    ("--lead-time --pull 1", "--lead-time is given without a value; it takes a whole number. --help says: days."),
    ("--lead-times 1 two", "--lead-times is 1 two; it takes one or more whole numbers with spaces between."),
    ("--pull much", "--pull is much; it takes a number."),
    ("--scaling cells", "--scaling is cells; it takes cell or global (did you mean cell?)."),
    ("--scaling no", "--scaling is no; it takes cell or global."),
    ("--refit perhaps", "--refit is perhaps; it takes True or False."),
    ("--zero-shot True", "--zero-shot is True; it takes no value (--no- before its name turns it off)."),
    ("--box 1 2 3", "--box is 1 2 3; it takes 4 numbers with spaces between."),
    ("--rates encoder fast", "--rates is encoder fast; it takes pairs of a name and a number with spaces between."),
    ("a.nc --pull 1", "a.nc stands without the option that it is for: give --cube a.nc."),
    ("--cube", "--cube is given without a value; it takes a text. --help says: path."),
])
def test_value_of_another_type_is_answered_with_what_the_setting_takes(words, said):
    with pytest.raises(UserError) as error:
        refuse_wrong_value(words.split(), OfEveryType, __file__)
    assert str(error.value) == said


def test_values_that_will_do_are_not_blamed():
    refuse_wrong_value("--lead-times 1 2 --pull 1e-3 --scaling cell --refit True --zero-shot --box 1 2 3 -4 --rates a 1 --other x".split(),
                       OfEveryType, __file__)
    refuse_wrong_value("--lead-times None --scaling None --refit None --box None --other x".split(), OfEveryType, __file__)
