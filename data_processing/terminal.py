"""What a person sees at the screen: progress of long work, results, or with --quiet the results alone."""
import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

WIDTH = 80  # columns at most
LINE_SECONDS = 30  # between two lines of progress where there is no terminal
_results = None  # where results are printed while all else is not


class _Lines:
    """What a bar writes, as lines of plain text: without the characters that move the cursor, and without empty ones."""

    def write(self, text: str) -> None:
        text = text.replace("\x1b[A", "").strip("\r\n ")
        if text:
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(iterable: Iterable | None = None, desc: str | None = None, total: float | None = None, **options: Any) -> Any:
    """A tqdm bar on stderr, 80 columns wide at most; where stderr is no terminal a line of the same content each half minute.

    Parameters
    ----------
    iterable, desc, total, **options
        As `tqdm.tqdm` takes them.

    Returns
    -------
    tqdm.tqdm
    """
    if _results is not None:
        options["disable"] = True
    if sys.stderr.isatty():
        return tqdm(iterable, desc, total, ncols=min(WIDTH, shutil.get_terminal_size().columns), **options)
    return tqdm(iterable, desc, total, ncols=WIDTH, file=_Lines(), **({"mininterval": LINE_SECONDS, "miniters": 1} | options))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show no progress in this block, and nothing of what is printed but results (`print_result`); errors are shown."""
    global _results
    _results = sys.stdout
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        _results = None


def print_result(text: str) -> None:
    """Print what a script was started for: also when it is to be quiet."""
    print(text, file=sys.stdout if _results is None else _results, flush=True)
