"""Find files, write them so that nothing half made ever stands under a final name, say why one cannot be read."""
from __future__ import annotations

import contextlib
import csv
import errno
import functools
import glob
import hashlib
import io
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from data_processing.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import h5py

PROJECT = Path(__file__).resolve().parents[1]
PIECES = "pieces"
"""Folder beside a cube, of what was read for it."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP_SIGNATURE, HEAP_BYTES = b"GCOL\x01\0\0\0", 2 ** 22
NETCDF_ATTRIBUTES = {"DIMENSION_LIST": "O", "REFERENCE_LIST": "V", "_Netcdf4Dimid": "i", "_Netcdf4Coordinates": "i", "CLASS": "SO",
                     "NAME": "SO"}
"""Attributes by which NetCDF-4 ties variables and dimensions together, and their kinds of numpy."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a file cannot grow: a full disk, a used quota, a limit of a file's size."""
PROBED_BYTES = 2 ** 24  # that are written to see whether a file can grow
LOCK = ".lock"
_locks: dict = {}  # folder -> open lock file, of this process


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` only when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        The folder is made when it does not exist.

    Yields
    ------
    Path

    Raises
    ------
    OSError
        There is no room for the file, whatever the library that wrote it has called that.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        refusal = _refusal_to_grow(temporary)
        if refusal is None:
            raise
        raise OSError(refusal.errno, refusal.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # of a folder that is none, or is not ours: the error on the way says so
            temporary.unlink(missing_ok=True)


def _refusal_to_grow(path):
    """The system's OSError where there is no room to write more to a file, else None; the file is spoilt."""
    try:
        with open(path, "ab") as file:
            file.write(bytes(PROBED_BYTES))
    except OSError as error:
        if error.errno in NO_ROOM:
            return error
    return None


@contextlib.contextmanager
def new_hdf5(path: str | Path, **options: Any) -> Iterator[h5py.File]:
    """An HDF5 file that is put together in memory and written when the block ends well.

    The library itself leaves errors of a full disk behind when it closes a file, and the process may crash.

    Parameters
    ----------
    path : str or Path
    **options
        Of `h5py.File`.

    Yields
    ------
    h5py.File
    """
    import h5py
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        yield file
    with open(path, "wb") as file:
        file.write(content.getbuffer())


def require_file(path: str | Path, named: str, instead: str, words: Sequence[str] = ()) -> None:
    """Refuse a path where no file stands, and a folder with what it holds.

    Parameters
    ----------
    path : str or Path
        "~" stands for the user's folder.
    named : str
        How the message calls it: the path, or "cube is <path>".
    instead : str
        What to give, a sentence.
    words : sequence of str
        What may stand for a path, and may have been meant: "twin".

    Raises
    ------
    UserError
    """
    path = Path(path).expanduser()
    if path.is_dir():
        inside = sorted(each.name for each in path.glob("*.nc"))[:3]
        raise UserError(f"{named}: that is a folder{', which holds ' * bool(inside)}{', '.join(inside)}. {instead}")
    if not path.exists():
        meant = did_you_mean(path.name, [*words, *(each.name for each in path.parent.glob("*"))])
        raise UserError(f"{named}{meant}: no such file{'' if path.is_absolute() else f' here ({Path.cwd()})'}. {instead}")


def remove_half_written(folder: Path, stem: str = "*") -> None:
    """Remove what a killed process left of files named `stem` in a folder, under the temporary names of `replacing`."""
    for path in Path(folder).glob(f".{stem}.*.*"):
        if not path.is_dir():
            path.unlink(missing_ok=True)


class FolderInUseError(UserError):
    """Another process works in a folder."""

    def __init__(self, found, instead):
        super().__init__(f"{found}. Wait until that has ended, or {instead}.")
        self.found = found  # which folder, and by whom


def lock_folder(folder: str | Path, instead: str) -> None:
    """Claim a folder for this process until `unlock_folder`, or until the process ends, however it ends.

    Two processes that write into one folder would remove each other's temporary files. Where the system cannot tell (Windows,
    some shared folders) nobody is refused.

    Parameters
    ----------
    folder : str or Path
        It is made when it does not exist. One that this process has claimed already stays so.
    instead : str
        What a second process may do, such as "give another --output".

    Raises
    ------
    FolderInUseError
        Another process works there.
    """
    folder = Path(folder).resolve()
    if folder in _locks:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is no folder: a file of that name stands there, or above it; {instead}.") from None
    while True:
        file = open(folder / LOCK, "a+", encoding="utf-8")
        try:
            _lock_file(file)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another process"
            raise FolderInUseError(f"{folder} is in use by {holder}", instead) from None
        if _stands_under(folder / LOCK, file):
            break
        file.close()  # whoever held it has removed it meanwhile
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
    file.flush()
    _locks[folder] = file


def _lock_file(file):
    try:
        import fcntl
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        pass


def _stands_under(path, file):
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def unlock_folder(folder: str | Path) -> None:
    """Give a folder back that `lock_folder` has claimed; others are left alone."""
    file = _locks.pop(Path(folder).resolve(), None)
    if file is not None:
        with file, contextlib.suppress(OSError):  # the folder may have gone
            (Path(folder).resolve() / LOCK).unlink()


def unlock_folders() -> None:
    """Give all folders back that this process has claimed."""
    for folder in list(_locks):
        unlock_folder(folder)


@contextlib.contextmanager
def locked(folder: Path, instead: str) -> Iterator[None]:
    """Claim a folder for the time of this block; see `lock_folder`."""
    lock_folder(folder, instead)
    try:
        yield
    finally:
        unlock_folder(folder)


def free_bytes(folder: str | Path) -> int:
    """Room on the disk of a folder, which need not exist yet."""
    folder = Path(folder)
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def format_bytes(number: float) -> str:
    """A size as text, such as "1.2 GB"."""
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} TB"


def write_csv(path: str | Path, columns: Sequence[str], rows: list[dict]) -> None:
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


def expand(files: Sequence[str], endings: Sequence[str]) -> list[Path]:
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


def unreadable(path: str | Path, error: Exception, wanted: str = "NetCDF nor HDF5") -> UserError:
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


def check_netcdf(path: str | Path, called: str | Path | None = None) -> None:
    """Raise where a NetCDF file must not reach the library: it reads what is cut off a NetCDF-3 file as zeros, and an HDF5 file
    that contradicts itself ends the process.

    Parameters
    ----------
    path : str or Path
        A file of another kind is left alone.
    called : str or Path, optional
        What to call it, where it was unpacked from that file.

    Raises
    ------
    UserError
        Cut off, damaged; or CDF-5, whose length cannot be checked.
    """
    called = called or path
    try:
        status = os.stat(path)
        _check_netcdf(str(path), str(called), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise unreadable(called, error) from None


@functools.lru_cache(maxsize=64)
def _check_netcdf(path, called, size, changed):
    """Once for a file as it is: a cube is opened for each block that is read."""
    with open(path, "rb") as file:
        signature = file.read(len(HDF5_SIGNATURE))
    if signature == HDF5_SIGNATURE:
        _check_hdf5(path, called)
    elif signature.startswith(b"CDF\x05"):
        raise UserError(f"{called}: NetCDF in layout CDF-5, which no service sends. Convert it: nccopy -k nc4.")
    elif signature.startswith((b"CDF\x01", b"CDF\x02")):
        try:
            with scipy.io.netcdf_file(path, "r", mmap=True):  # maps every variable, reads none
                pass
        except Exception:  # of whatever kind: what stands there is no header, or more than the file holds
            raise unreadable(called, "it ends before the last value that its header announces") from None


def _check_hdf5(path, called):
    """Look at every attribute, and at the types of those that the NetCDF library takes for granted."""
    import h5py  # slow to import
    datasets = []

    def look(name, item):
        is_dataset = isinstance(item, h5py.Dataset)
        if is_dataset:
            datasets.append(item)
            if item.dtype.kind == "f" and item.dtype.itemsize not in (4, 8):
                raise ValueError(f"{name} is {item.dtype}, which NetCDF does not know")
        for key in item.attrs:
            attribute = item.attrs.get_id(key)
            expected = NETCDF_ATTRIBUTES.get(key)
            kind = attribute.dtype.kind
            rows = is_dataset and key in ("DIMENSION_LIST", "_Netcdf4Coordinates")
            if expected and (kind not in expected or rows and attribute.shape != (item.ndim,)):
                raise ValueError(f"the attribute {key} of {name} is not what NetCDF writes")

    try:
        _check_heaps(path)
        with h5py.File(path) as file:
            look("/", file)
            file.visititems(look)
            _check_dimensions(file, datasets)
    except Exception as error:  # of many kinds where what the file says of itself does not agree
        raise unreadable(called, error) from None


def _check_heaps(path):
    """Raise ValueError where an object of a global heap does not end within it, or begins where it ends: HDF5 would read it for ever.

    Global heaps hold what attributes such as DIMENSION_LIST point to; NetCDF writes them beside its definitions, so that they are
    looked for in HEAP_BYTES at both ends of the file. Layout: HDF5 File Format Specification 3.0, III.E, "Global Heap".
    """
    with open(path, "rb") as file:
        start = file.read(HEAP_BYTES)
        file.seek(max(len(start), os.fstat(file.fileno()).st_size - HEAP_BYTES))
        for found in (start, file.read()):
            for heap in re.finditer(re.escape(HEAP_SIGNATURE), found):
                _check_heap(found, heap.start())


def _check_heap(found, place):
    """Look at the objects of the heap that begins at a place of some bytes; at none where it goes on beyond them."""
    end = place + int.from_bytes(found[place + 8:place + 16], "little")
    part = place + 16
    while part + 16 <= end <= len(found):
        number, size = int.from_bytes(found[part:part + 2], "little"), int.from_bytes(found[part + 8:part + 16], "little")
        taken = 16 + -(-size // 8) * 8 if number else size  # the size of what is free, number 0, counts its own header
        if taken < 16 or part + taken > end:
            raise ValueError("a list of what its variables stand on is damaged")
        part += taken


def _check_dimensions(file, datasets):
    """Raise ValueError where dimensions are numbered as NetCDF does not, or a variable stands on what is no dimension or none any more."""
    numbers = [item.attrs["_Netcdf4Dimid"] for item in datasets if "_Netcdf4Dimid" in item.attrs]
    numbers += [number for item in datasets for number in item.attrs.get("_Netcdf4Coordinates", ())]
    for number in numbers:
        if np.ndim(number) or not 0 <= number < len(datasets):
            raise ValueError(f"a dimension has the number {number}, which NetCDF does not give")
    for item in datasets:
        scales = [file[scale] for axis in item.attrs.get("DIMENSION_LIST", ()) for scale in axis]
        if any(scale.name is None or scale.attrs.get("CLASS") not in ("DIMENSION_SCALE", b"DIMENSION_SCALE") for scale in scales):
            raise ValueError(f"{item.name} stands on what is no dimension")


def _first_words(raw):
    return " ".join(raw.decode("utf-8", "replace").split())[:120]


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal; a file that has not changed since is not read again in one process."""
    found = os.stat(path)
    return _checksum(str(path), found.st_size, found.st_mtime_ns)


@functools.cache
def _checksum(path, size, changed):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
