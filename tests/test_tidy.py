"""The code is tidy: what ruff and mypy find is mended, not silenced; public functions say what they take and give."""
import ast
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


def without_hints(path):
    """Names of the public functions and methods of a file that lack a hint of a parameter or of what they return."""
    tree = ast.parse(path.read_text())
    owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for function in (node for owner in owners for node in owner.body if isinstance(node, ast.FunctionDef)):
        named = function.args
        taken = [*named.posonlyargs, *named.args, *named.kwonlyargs, *filter(None, (named.vararg, named.kwarg))]
        hints = [function.returns, *(each.annotation for each in taken if each.arg not in ("self", "cls"))]
        if not function.name.startswith("_") and None in hints:
            yield f"{path.relative_to(ROOT)}: {function.name}"


def test_public_functions_have_type_hints():
    paths = [path for folder in ("data_processing", "utils") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 90
    assert not [name for path in paths for name in without_hints(path)]
