"""Plain array files (.npy) that are mapped into memory: large arrays then cost no more of it than what is being read."""
import mmap

import numpy as np

BLOCK_BYTES = 64_000_000  # of a large array, worked on at a time


def create_array(path, shape, dtype):
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
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))


def open_array(path):
    """An array file, mapped read-only: its values are read when they are used."""
    return np.load(path, mmap_mode="r")


def release(*arrays):
    """Give back the memory of what was read of mapped arrays, or views of them; others are left alone.

    The values stay in the file and in the system's cache: only the process no longer holds them.
    """
    for array in arrays:
        while not isinstance(array, np.memmap) and isinstance(getattr(array, "base", None), np.ndarray):
            array = array.base
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
            if array.flags.writeable:
                mapped.flush()
            mapped.madvise(mmap.MADV_DONTNEED)


def blocks(length, item_bytes):
    """Slices that together cover `length` items, each of at most BLOCK_BYTES or one item."""
    step = max(1, BLOCK_BYTES // max(1, item_bytes))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
