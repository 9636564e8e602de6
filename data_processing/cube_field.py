"""A variable of a cube file as xarray takes it: read when it is used."""
import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from data_processing.cube import FILL_VALUE, HUGE, ROLES, _open_file
from data_processing.errors import UserError
from data_processing.files import unreadable


class FileField(BackendArray):
    """One variable of a file, float32 [T, H, W] in the cube's order and unit; reads only what is indexed."""

    def __init__(self, path, name, dims, source_day, rows, columns, factor, offset):
        self.path, self.name = path, name
        self.dims = [dims[role][0] for role in ROLES]
        self.source_day, self.rows, self.columns = source_day, rows, columns
        self.factor, self.offset = factor, offset
        self.shape = (source_day.size, rows.size, columns.size)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key):
        days, rows, columns = (np.atleast_1d(order[k])
                               for order, k in zip((self.source_day, self.rows, self.columns), key))
        values = None
        present = np.flatnonzero(days >= 0)
        if present.size:
            wanted, position = np.unique(days[present], return_inverse=True)
            if wanted[-1] - wanted[0] + 1 == wanted.size:
                wanted = slice(int(wanted[0]), int(wanted[-1]) + 1)
            try:
                with _open_file(self.path) as file:
                    field = file[self.name].isel({self.dims[0]: wanted})
                    field = field.squeeze([dim for dim in field.dims if dim not in self.dims])
                    raw = field.transpose(*self.dims).values
            except (RuntimeError, OSError) as error:  # the library's words for a chunk that cannot be unpacked
                raise unreadable(self.path, error) from None
            for axis, order in enumerate((position, rows, columns)):
                raw = raw[(slice(None),) * axis + (steps_of(order),)]
            values = self._convert(raw)
        if present.size < days.size:
            whole = np.full((days.size, rows.size, columns.size), np.nan, np.float32)
            whole[present] = np.nan if values is None else values
            values = whole
        return values[tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key)]

    def _convert(self, raw):
        if raw.dtype.kind not in "iuf":  # rows of any length, which the library calls numbers
            raise UserError(f"{self.path}: {self.name} holds no numbers. Convert it to float32.")
        missing = ~(np.abs(raw) < HUGE)  # or no number
        missing |= raw == FILL_VALUE
        if (self.factor, self.offset) != (1.0, 0.0):
            raw = raw * np.float64(self.factor) + self.offset
        values = raw.astype(np.float32)
        values[missing] = np.nan
        return values


def steps_of(order: np.ndarray) -> np.ndarray | slice:
    """The slice of neighbouring places that an int array [n] names, which spares a copy; the array itself of others."""
    if order.size > 1 and (np.diff(order) == np.sign(order[1] - order[0])).all() and order[0] != order[1]:
        step = int(np.sign(order[1] - order[0]))
        stop = int(order[-1]) + step
        return slice(int(order[0]), None if stop < 0 else stop, step)
    return order
