"""Find files, write them so that nothing half made ever stands under a final name, say why one cannot be read."""
import contextlib
import csv
import functools
import glob
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from data_processing.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]
PIECES = "pieces"
"""Folder beside a cube, of what was read for it."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


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


def remove_half_written(folder, stem="*"):
    """Remove what a killed process left of files named `stem` in a folder, under the temporary names of `replacing`."""
    for path in Path(folder).glob(f".{stem}.*.*"):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def free_bytes(folder):
    """Room on the disk of a folder, which need not exist yet."""
    folder = Path(folder)
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def format_bytes(number):
    """A size as text, such as "1.2 GB"."""
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} TB"


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


def expand(files, endings):
    """The files meant by folders, glob patterns and paths.

    Parameters
    ----------
    files : sequence of str
        A folder stands for all files below it that have one of `endings`, but for the pieces of a cube.
    endings : sequence of str
        Such as ".nc", in lower case.

    Returns
    -------
    list of Path
        Absolute, each once, sorted by name and then by folder.

    Raises
    ------
    UserError
        Something does not exist or holds no such file.
    """
    found = set()
    for entry in files:
        path = Path(entry).expanduser().absolute()
        if path.is_dir():
            here = [file for file in path.rglob("*") if file.suffix.lower() in endings
                    and file.is_file() and not file.name.startswith(".") and file.parent.name != PIECES]
        elif path.is_file():
            here = [path]
        else:
            here = [Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file()]
        if not here:
            what = f"holds no file that ends in {', '.join(endings)}" if path.is_dir() else "no such file or folder"
            raise UserError(f"{path}: {what}. Name the folder or the files that were downloaded.")
        found.update(here)
    return sorted(found, key=lambda file: (file.name, file))


def unreadable(path, error, wanted="NetCDF nor HDF5"):
    """The one line to say when a NetCDF, HDF5 or GRIB file cannot be opened or read.

    Parameters
    ----------
    path : str or Path
    error : Exception
        What the library said.
    wanted : str
        What it might have been, after "neither".

    Returns
    -------
    UserError
        Says what the file really is and what to do.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as failure:
        return UserError(f"{path}: cannot be read ({failure.strerror}).")
    text = start.lstrip().lower()
    said = _first_words(str(error).encode())
    again = "Delete it and download it again."
    if not start:
        return UserError(f"{path}: the file is empty. {again}")
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return UserError(f"{path}: not data but a web page, the service's log-in or error page saved under this name. "
                         f"{again}")
    if text.startswith((b"{", b"[")):
        return UserError(f"{path}: not data but a message of the service ({_first_words(start)}). {again}")
    if start.startswith(b"PK"):
        return UserError(f"{path}: a damaged or incomplete ZIP file ({said}). {again}")
    if start.startswith((HDF5_SIGNATURE, b"CDF", b"GRIB")):
        return UserError(f"{path}: damaged or incomplete ({said}). {again}")
    return UserError(f"{path}: neither {wanted}; it begins with {_first_words(start[:40])!r}. Take it out, or "
                     "download it again.")


def check_length(path, called=None):
    """Raise where a NetCDF-3 file is cut off, for the library would read the rest as zeros; others are left alone.

    Parameters
    ----------
    path : str or Path
    called : str or Path, optional
        What to call it, where it was unpacked from that file.

    Raises
    ------
    UserError
        Cut off; or CDF-5, whose length cannot be checked.
    """
    from scipy.io import netcdf_file  # slow to import, and hardly ever needed
    called = called or path
    try:
        with open(path, "rb") as file:
            signature = file.read(4)
    except OSError as error:
        raise unreadable(called, error) from None
    if signature == b"CDF\x05":
        raise UserError(f"{called}: NetCDF in layout CDF-5, which no service sends. Convert it: nccopy -k nc4.")
    if signature not in (b"CDF\x01", b"CDF\x02"):
        return
    try:
        with netcdf_file(path, "r", mmap=True):  # maps every variable, reads none
            pass
    except Exception:  # of whatever kind: what stands there is no header, or more than the file holds
        raise unreadable(called, "it ends before the last value that its header announces") from None


def _first_words(raw):
    return " ".join(raw.decode("utf-8", "replace").split())[:120]


def checksum(path):
    """SHA-256 of a file, hexadecimal; a file that has not changed since is not read again in one process."""
    found = os.stat(path)
    return _checksum(str(path), found.st_size, found.st_mtime_ns)


@functools.cache
def _checksum(path, size, changed):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
