"""The code is tidy: what ruff and mypy find is mended, not silenced."""
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("words", [("ruff", "check", "--no-cache", "."),
                                   pytest.param(("mypy", "--no-incremental", "data_processing", "utils"), marks=pytest.mark.slow)],
                         ids=["ruff", "mypy"])
def test_tidy(words):
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
