"""What a script does before its work begins."""
import contextlib
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tests.conftest import ROOT
from utils.command_line import run_script

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
