"""Write files so that nothing half made ever stands under a final name."""
import contextlib
import csv
import os
from pathlib import Path

import numpy as np


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path beside `path`; it takes the place of `path` only when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        The folder is made when it does not exist.

    Yields
    ------
    Path
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path, columns, rows):
    """Write dicts as CSV: floats with 8 significant digits, None as nothing.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str
    rows : list of dict
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(row[column]) for column in columns])


def _text(value):
    if value is None:
        return ""
    if isinstance(value, (float, np.floating, np.ndarray)):
        return f"{float(value):.8g}"
    return str(value)
