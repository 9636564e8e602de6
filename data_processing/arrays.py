"""Plain array files (.npy) that are mapped into memory: large arrays then cost no more of it than what is being read."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.errors import UserError
from data_processing.files import NO_ROOM, PROJECT, replacing

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

FOLDER = PROJECT / "data" / "arrays"
KEPT_ENTRIES = 200  # in it
ABANDONED = 2 * 86400  # seconds
BLOCK_BYTES = 16_000_000  # of a large array, worked on at a time
WORTH_TELLING = 2.0  # seconds of work on blocks, after which a progress bar is shown
SCRATCH_BYTES = 64_000_000  # of scratch arrays that are held in memory
NEIGHBOURING_BYTES = 2 ** 21  # that may come into memory with every byte that is read of a mapped array: a large page


def create_array(path: str | Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array file to be filled, mapped for reading and writing.

    Parameters
    ----------
    path : str or Path
        Ends in .npy.
    shape : tuple of int
    dtype : numpy dtype

    Returns
    -------
    numpy.memmap
        Zeros.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
    with open(path, "r+b") as file:
        _take_room(file, os.path.getsize(path))
    return array


def _take_room(file, size):
    """Have the disk set the room of a file aside: a mapped file that finds none when it is written to ends the process.

    Raises
    ------
    OSError
        There is not so much.
    """
    if hasattr(os, "posix_fallocate"):  # not on Windows, macOS
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise OSError(error.errno, error.strerror, str(file.name)) from None
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # what file systems that cannot do it answer
                raise


def open_array(path: Path) -> np.ndarray:
    """An array file, mapped: its values are read when they are used; what is written to it never reaches the file."""
    return np.load(path, mmap_mode="c")


def release(*arrays: Any) -> None:
    """Give back the memory of what was read of mapped arrays, or views of them; others are left alone.

    The values stay in the file and in the system's cache: only the process no longer holds them.
    """
    for array in arrays:
        while not isinstance(array, np.memmap) and isinstance(getattr(array, "base", None), np.ndarray):
            array = array.base
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
            mapped.madvise(mmap.MADV_DONTNEED)


def blocks(length: int, item_bytes: int) -> list[slice]:
    """Slices that together cover `length` items, each of at most BLOCK_BYTES or one item."""
    step = max(1, BLOCK_BYTES // max(1, item_bytes))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def at_most(values: np.ndarray, count: int) -> np.ndarray:
    """Every n-th of some values, so that no more than `count` are left; all where there are no more."""
    return values[::max(1, -(-len(values) // count))]


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array to be filled and forgotten: in memory where it is small, else mapped from a temporary file.

    The file stands in the system's folder for temporary files (environment variable TMPDIR) and has no name there: it goes with
    the array, also when the program ends early.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy dtype

    Returns
    -------
    numpy.ndarray, or numpy.memmap above SCRATCH_BYTES
        Zeros.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= SCRATCH_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            _take_room(file, size)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}, {size:,} bytes (TMPDIR names another folder)",
                          tempfile.gettempdir()) from None
        return np.memmap(file, dtype, mode="w+", shape=tuple(shape))


def kept_arrays(key: str | None, arrays: dict[str, tuple], fill: Callable) -> dict[str, np.ndarray]:
    """Arrays that are worked out once and mapped afterwards, from a folder data/arrays/<key>/ that may be removed at any time.

    Parameters
    ----------
    key : str, or None
        Names everything that the values depend on. None: they are needed once and nothing is kept.
    arrays : dict name -> (shape, dtype)
    fill : function of (dict name -> numpy.memmap)
        Works the values out; called where the folder does not exist.

    Returns
    -------
    dict name -> numpy.memmap, or what `scratch_array` gives where nothing is kept
    """
    if key is None:
        made = {name: scratch_array(*what) for name, what in arrays.items()}
        fill(made)
        return made
    folder = FOLDER / key
    while True:
        if not folder.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            with _locked(FOLDER / f".{key}.lock"):
                if not folder.exists():
                    _make_folder(folder, arrays, fill)
            _remove_oldest(folder)
        with contextlib.suppress(FileNotFoundError):  # another process has removed it meanwhile
            os.utime(folder)
            kept = {name: open_array(folder / f"{name}.npy") for name in arrays}
            break
    for name, (shape, dtype) in arrays.items():
        if kept[name].shape != tuple(shape) or kept[name].dtype != dtype:
            raise UserError(f"{folder} holds {name} of shape {kept[name].shape}, expected is {tuple(shape)}: remove the folder, it is "
                            "made again.")
    return kept


def _make_folder(folder, arrays, fill):
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        fill({name: create_array(temporary / f"{name}.npy", *what) for name, what in arrays.items()})
        try:
            os.replace(temporary, folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _locked(path):
    """Wait for other processes that are in this block with the same path, where the system can tell."""
    with open(path, "w") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows, some shared folders
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def kept_text(key: str, make: Callable[[], str]) -> str:
    """Text that `make()` gives, worked out once: data/arrays/<key>.txt."""
    path = FOLDER / f"{key}.txt"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    text = make()
    with replacing(path) as temporary:
        temporary.write_text(text)
    return text


def short_key(*parts: Any) -> str:
    """Twelve characters that stand for the given values: numbers, text, arrays."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _remove_oldest(newest):
    """Keep the one just made and those used last, KEPT_ENTRIES in all, and nothing half made from days ago."""
    stamps = {}
    for entry in FOLDER.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            stamps[entry] = entry.stat().st_mtime_ns
    entries = sorted(stamps, key=stamps.get)
    made = [entry for entry in entries if not entry.name.startswith(".") and entry != newest]  # the clock may have been set back
    old = [entry for entry in entries if entry.name.startswith(".") and time.time() - stamps[entry] / 1e9 > ABANDONED]
    for entry in made[:max(0, len(made) + 1 - KEPT_ENTRIES)] + old:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def pieces(*arrays: Any, work: int = 1) -> Iterator[slice]:
    """Slices of the first axis that together cover arrays of one length, each of at most BLOCK_BYTES of all of them.

    What was read or written of mapped arrays is released after each. Where the work on a piece takes many times its memory,
    `work` says how many: the pieces are smaller by that factor.
    """
    item_bytes = work * sum(math.prod(array.shape[1:]) * array.dtype.itemsize for array in arrays)
    for piece in blocks(len(arrays[0]), item_bytes):
        yield piece
        for array in arrays:
            release(*getattr(array, "parts", (array,)))


def in_turn(*arrays: Any) -> Iterator[int]:
    """Indices along the first axis of arrays of one length, one by one; memory is released as in `pieces`."""
    for piece in pieces(*arrays):
        yield from range(piece.start, piece.stop)


class Observed:
    """Observed values [T, H, W] behind carried ones, to be read like an array: worked out for the days and rows that are read."""

    dtype = np.dtype(np.float32)

    def __init__(self, carried, age):
        """carried : float32 [T, H, W]; age : uint8 [T, H, W], 0 where the value was observed that day."""
        self.parts = carried, age
        self.shape = carried.shape

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, place):
        carried, age = self.parts
        return np.where(age[place] == 0, carried[place], np.float32(np.nan))


def read_rows(values: Observed, days: np.ndarray, rows: slice) -> np.ndarray:
    """Some days of a band of rows, float32 [n, rows, W], in memory.

    Parameters
    ----------
    values : float32 [T, H, W]
        Array or `Observed`.
    days : int [n]
    rows : slice
    """
    band = np.empty((len(days), len(range(*rows.indices(values.shape[1]))), *values.shape[2:]), np.float32)
    for piece in blocks(len(days), 2 * max(NEIGHBOURING_BYTES, band[:1].nbytes)):
        band[piece] = values[days[piece], rows]
        release(*getattr(values, "parts", (values,)))
    return band
