"""One file of ERA5-Land or ERA5 as the old and the new service of the Climate Data Store deliver it, and its fields.

Layouts: real files of both, and https://confluence.ecmwf.int, "GRIB to netCDF conversion on new CDS". The old service
(to September 2024) gives NetCDF-3 with packed integers, `time`, and a dimension `expver` along which final (1) and
preliminary (5) data complete each other; the new one NetCDF-4 with float32, `valid_time` and `expver` ("0001", "0005")
as a coordinate, often in a ZIP that is called .nc.
"""
import contextlib
import errno
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import netCDF4
import numpy as np

from data_processing.cube import HUGE, PACKING, check_packing
from data_processing.errors import UserError
from data_processing.files import check_netcdf, format_bytes, free_bytes, unreadable

# expver of ERA5 and ERA5T: https://confluence.ecmwf.int/pages/viewpage.action?pageId=173385064
FINAL, PRELIMINARY = 1, 5
FIRST_DAY, LAST_DAY = np.datetime64("1940-01-01"), np.datetime64("2261-12-31")  # ERA5 begins in 1940
# A ZIP holds NetCDF that is packed itself, or packed integers: what unpacks to far more is no data
BOMB_RATIO, SMALL_BYTES = 100, 200_000_000


NUMBERS = tuple(np.dtype(kind) for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"))


class Part(NamedTuple):
    """A field in one member of a file."""

    variable: netCDF4.Variable
    axes: dict  # "time", "lat", "lon", "expver" -> number of the dimension; those it has
    stamps: np.ndarray  # datetime64[m] [T]; NaT where the field has no time
    expver: np.ndarray | None  # int: of each entry of the dimension, or of each stamp [T]


class Field(NamedTuple):
    """A variable of a file, whatever the layout.

    name, units : str; units None where the file states none. stamps : datetime64[m] [T], in the order of the file;
    one NaT for a map without time. lat [H], lon [W] : degrees, ascending, lon without a jump. rows [H], columns [W] :
    where these stand in the file. parts : tuple of Part, one after the other in time.
    """

    name: str
    units: str | None
    stamps: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    parts: tuple


@contextlib.contextmanager
def open_fields(path: str | Path, folder: str | Path) -> Iterator[dict[str, Field]]:
    """Open a file of the Climate Data Store.

    Parameters
    ----------
    path : str or Path
        NetCDF of the old or the new service, or a ZIP of such, whatever it is called.
    folder : str or Path
        Where a ZIP is unpacked for as long as the file is open; made when needed.

    Yields
    ------
    dict of str to Field
        All variables on latitude and longitude, also those that the project does not use, by their names in the
        file; the members of a ZIP are taken together.

    Raises
    ------
    UserError
        The file cannot be read, or is no such file.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        members = stack.enter_context(_unpacked(path, folder)) if is_zip(path) else [path]
        found = {}
        for member in members:
            for name, field in _looked_into(stack.enter_context(_opened(path, member)), path).items():
                found[name] = _joined(found[name], field, path) if name in found else field
        if not found:
            raise UserError(f"{path}: no variable on latitude and longitude; expected a file of ERA5-Land or ERA5 from "
                            "the Climate Data Store. Take it out.")
        yield found


def field_values(field: Field, stamps: slice = slice(None)) -> np.ndarray:
    """Values of a field.

    Parameters
    ----------
    field : Field
        Of a file that is open.
    stamps : slice
        Which of its stamps.

    Returns
    -------
    float32 or float64 [T, H, W]
        In the file's unit, unpacked, NaN = missing, south to north and west to east; final values where the field
        has them, else preliminary ones.
    """
    start, stop, _ = stamps.indices(field.stamps.size)
    values = [read_part(part, slice(first, last), slice(None), slice(None))
              for part, first, last in _in_parts(field, start, stop)]
    return np.concatenate(values)[:, field.rows][:, :, field.columns]


def is_preliminary(field: Field) -> np.ndarray:
    """Whether each stamp of a field is preliminary (ERA5T), bool [T]; False where the file does not say."""
    return np.concatenate([_preliminary_stamps(part) for part in field.parts])


def _preliminary_stamps(part):
    if part.expver is None:
        return np.zeros(part.stamps.size, bool)
    if "expver" not in part.axes:
        return part.expver == PRELIMINARY
    if FINAL not in part.expver:
        return np.ones(part.stamps.size, bool)
    # the dimension holds both: a stamp is preliminary where its final value is missing in a cell that has any
    final = part._replace(variable=part.variable, expver=np.where(part.expver == FINAL, FINAL, -1))
    everywhere = slice(None)
    for stamp in range(part.stamps.size):
        cells = np.argwhere(~np.isnan(read_part(part, slice(stamp, stamp + 1), everywhere, everywhere)[0]))
        if cells.size:
            row, column = cells[0]
            values = read_part(final, everywhere, slice(row, row + 1), slice(column, column + 1))
            return np.isnan(values[:, 0, 0])
    return np.zeros(part.stamps.size, bool)


def is_zip(path: Path) -> bool:
    """Whether a file is a whole ZIP; one that only begins like a ZIP is left to the NetCDF library to refuse."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK" and zipfile.is_zipfile(path)
    except OSError as error:
        raise unreadable(path, error) from None


@contextlib.contextmanager
def _unpacked(path, folder):
    """Paths of the NetCDF members of a ZIP in a temporary folder inside `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".unpacked.{os.getpid()}.", dir=folder) as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                check_bomb(archive, path, folder)
                members = []
                for number, name in enumerate(_members(archive, path)):
                    target = Path(temporary) / f"{number}.nc"  # never the member's own path
                    with archive.open(name) as packed, open(target, "wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked, 2 ** 20)
                    members.append(target)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError) as error:
            if isinstance(error, UserError):
                raise
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of the disk, not of a place that is none
                raise
            raise unreadable(path, error) from None
        yield members


def check_bomb(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Raise where a ZIP (zipfile.ZipFile) would unpack to what no service sends, or to more than there is room for in a folder."""
    size = sum(member.file_size for member in archive.infolist())
    if size > SMALL_BYTES and size > BOMB_RATIO * sum(member.compress_size for member in archive.infolist()):
        raise UserError(f"{path}: a ZIP of {format_bytes(Path(path).stat().st_size)} that unpacks to {format_bytes(size)}: no data "
                        "of the service. Delete it and download it again.")
    if size > free_bytes(folder):
        raise UserError(f"{path}: unpacks to {format_bytes(size)}, the disk of {folder} has {format_bytes(free_bytes(folder))} left. "
                        "Make room.")


def _members(archive, path):
    """Names of the NetCDF members of a ZIP, sorted; refuse a ZIP with a name outside its own folder."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    for name in names:
        climbs = ".." in PurePosixPath(name.replace("\\", "/")).parts
        if climbs or name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
            raise UserError(f"{path}: the ZIP has a member {name!r} that would be written outside its folder; the "
                            "service sends no such file. Delete it and download it again.")
    members = sorted(name for name in names if PurePosixPath(name).suffix.lower() in (".nc", ".nc4"))
    if not members:
        raise UserError(f"{path}: a ZIP without a NetCDF file; found {', '.join(names[:5]) or 'nothing'}. Ask the "
                        "service for data_format netcdf.")
    return members


def remove_left_over(folder: Path) -> None:
    """Remove what ended processes had unpacked in `folder` and could not remove."""
    for left in Path(folder).glob(".unpacked.*.*"):
        number = int(left.name.split(".")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            pass  # the process is another user's


@contextlib.contextmanager
def _opened(path, member):
    """A NetCDF file: the one at `path`, or a member of that ZIP."""
    check_netcdf(member, called=path)
    try:
        file = netCDF4.Dataset(member)
    except Exception as error:  # of many kinds where what the file says of itself does not agree
        raise unreadable(path, error) from None
    with file:
        file.set_auto_maskandscale(False)
        try:
            yield file
        except (RuntimeError, IndexError) as error:  # the library's words for a chunk that cannot be unpacked or found
            raise unreadable(path, error) from None


def _looked_into(file, path):
    """`_fields_of`, where nothing that the file says of itself can be trusted."""
    try:
        return _fields_of(file, path)
    except UserError:
        raise
    except Exception as error:  # of many kinds
        raise unreadable(path, error) from None


def _fields_of(file, path):
    """Dict name -> Field of one NetCDF file."""
    names = [next((name for name in known if name in file.variables), None)
             for known in (("latitude", "lat"), ("longitude", "lon"))]
    if None in names:
        return {}
    if any(file[name].ndim != 1 for name in names):
        raise UserError(f"{path}: {names[0]} and {names[1]} are not one-dimensional; expected the product's own grid "
                        "of latitudes and longitudes.")
    if any(file[name].dtype not in NUMBERS for name in names):
        raise UserError(f"{path}: {names[0]} or {names[1]} holds no numbers. Download it again.")
    lat, lon = (file[name][:].astype(np.float64) for name in names)
    rows, columns, lon = _orders(lat, lon, path)
    roles = {file[names[0]].dimensions[0]: "lat", file[names[1]].dimensions[0]: "lon", "time": "time",
             "valid_time": "time", "expver": "expver"}
    fields = {}
    for name, variable in file.variables.items():
        axes = {roles[dim]: axis for axis, dim in enumerate(variable.dimensions) if dim in roles}
        if not {"lat", "lon"} <= axes.keys():
            continue
        more = [dim for dim, size in zip(variable.dimensions, variable.shape) if dim not in roles and size > 1]
        if more:
            raise UserError(f"{path}: {name} has besides time, latitude and longitude the dimension {more[0]} of "
                            f"length {len(file.dimensions[more[0]])}; ask the service for one of its entries.")
        if variable.dtype not in NUMBERS:
            raise UserError(f"{path}: {name} holds no numbers but {variable.dtype}. Download it again.")
        check_packing({key: variable.getncattr(key) for key in PACKING if key in variable.ncattrs()}, name, path)
        stamps = _stamps(file, variable, path)
        part = Part(variable, axes, stamps, _expver(file, axes, stamps.size, path))
        units = str(variable.units) if "units" in variable.ncattrs() else None
        fields[name] = Field(name, units, stamps, lat[rows], lon, rows, columns, (part,))
    return fields


def _orders(lat, lon, path):
    """Where the ascending latitudes and longitudes stand in the file, and the ascending longitudes."""
    if not (lat.size and lon.size and np.isfinite(lat).all() and np.isfinite(lon).all()):
        raise UserError(f"{path}: a latitude or longitude is missing.")
    if np.abs(lat).max() > 90 + 1e-6 or np.abs(lon).max() > 1080:
        raise UserError(f"{path}: latitudes {lat.min():g} to {lat.max():g}, longitudes {lon.min():g} to {lon.max():g}; expected "
                        "degrees. Download it again.")
    lon = np.unwrap(lon, period=360.0)
    columns = np.argsort(lon, kind="stable")
    return np.argsort(lat, kind="stable"), columns, lon[columns]


def _stamps(file, variable, path):
    """Stamps of a variable, datetime64[m] [T], rounded to minutes; one NaT where it has no time."""
    for name in ("valid_time", "time"):
        if name not in file.variables or not set(file[name].dimensions) <= set(variable.dimensions):
            continue
        time = file[name]
        numbers = np.atleast_1d(time[:])
        if name not in variable.dimensions and "coordinates" in variable.ncattrs() \
                and name not in variable.coordinates.split():
            continue
        try:
            if not np.isfinite(numbers).all():
                raise ValueError("one is not a number")
            dates = netCDF4.num2date(numbers, time.units, getattr(time, "calendar", "standard"),
                                     only_use_cftime_datetimes=False, only_use_python_datetimes=True)
        except (ValueError, AttributeError, OverflowError, TypeError) as error:
            raise UserError(f"{path}: {name} cannot be read as dates ({error}).") from None
        stamps = (np.array(dates, "datetime64[ms]") + np.timedelta64(30, "s")).astype("datetime64[m]")
        if stamps.size and (stamps.min() < FIRST_DAY or stamps.max() > LAST_DAY):
            raise UserError(f"{path}: {name} reaches from {stamps.min()} to {stamps.max()}; expected {FIRST_DAY} to {LAST_DAY}. "
                            "Download it again.")
        return stamps
    if {"time", "valid_time"} & set(variable.dimensions):
        raise UserError(f"{path}: {variable.name} has a dimension of time, but the file holds no dates for it.")
    return np.array(["NaT"], "datetime64[m]")


def _expver(file, axes, stamps, path):
    """Version of the data: int per entry of the dimension `expver`, or per stamp [stamps], or None."""
    if "expver" not in file.variables:
        if "expver" in axes:
            raise UserError(f"{path}: its values have a dimension expver, and nothing says which of its entries are final. Download "
                            "it again.")
        return None
    values = np.asarray(file["expver"][:])  # a text without dimension comes as str
    if values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.ndim:
        values = netCDF4.chartostring(values)
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in np.atleast_1d(values)]
    if not all(text.strip().isdigit() and int(text) in (FINAL, PRELIMINARY) for text in texts):
        raise UserError(f"{path}: expver is {', '.join(sorted(set(texts)))}; known are 0001 (final) and 0005 "
                        "(preliminary). These are no data of ERA5 or ERA5-Land.")
    versions = np.array([int(text) for text in texts])
    if "expver" not in axes and versions.size not in (1, stamps):
        raise UserError(f"{path}: expver has {versions.size} entries for {stamps} stamps. Download it again.")
    return versions if "expver" in axes else np.broadcast_to(versions, stamps)


def _joined(field, other, path):
    """The same variable in two members of a ZIP: other stamps of the same cells."""
    if not (np.array_equal(field.lat, other.lat) and np.array_equal(field.lon, other.lon)):
        raise UserError(f"{path}: the members of the ZIP hold {field.name} on different latitudes or longitudes; "
                        "download it again, one box a file.")
    return field._replace(stamps=np.concatenate([field.stamps, other.stamps]), parts=field.parts + other.parts)


def _in_parts(field, start, stop):
    """(part, first, last + 1 in the part) of the stamps from start up to stop."""
    begin = 0
    for part in field.parts:
        first, last = max(start - begin, 0), min(stop - begin, part.stamps.size)
        if first < last:
            yield part, first, last
        begin += part.stamps.size


def read_part(part: Part, stamps: slice, rows: slice, columns: slice) -> np.ndarray:
    """Values [n, h, w] in the order of the file, unpacked, NaN = missing, final before preliminary."""
    index: list = [0] * part.variable.ndim
    for role, wanted in (("time", stamps), ("lat", rows), ("lon", columns)):
        if role in part.axes:
            index[part.axes[role]] = wanted
    entries = [0]
    if "expver" in part.axes:
        entries = [int(np.flatnonzero(part.expver == version)[0]) for version in (FINAL, PRELIMINARY)
                   if version in part.expver]
    values = None
    for entry in entries:
        if "expver" in part.axes:
            index[part.axes["expver"]] = entry
        found = _unpack(part.variable[tuple(index)], part.variable)
        values = found if values is None else np.where(np.isnan(values), found, values)
    order = sorted((role for role in part.axes if role != "expver"), key=part.axes.__getitem__)
    values = values.transpose([order.index(role) for role in ("time", "lat", "lon") if role in order])
    return values if "time" in part.axes else values[None]


def _unpack(raw, variable):
    """Numbers as the file means them, NaN = missing: float32 stays, packed integers become float64."""
    attributes = {name: variable.getncattr(name) for name in PACKING if name in variable.ncattrs()}
    missing = np.zeros(raw.shape, bool)
    for name in ("_FillValue", "missing_value"):
        missing |= np.isin(raw, attributes.get(name, np.nan))
    if raw.dtype.kind == "f":
        missing |= ~(np.abs(raw) < HUGE)
    packed = "scale_factor" in attributes or "add_offset" in attributes
    values = raw.astype(np.float64 if packed or raw.dtype.kind != "f" else raw.dtype)
    if packed:
        values = values * attributes.get("scale_factor", 1.0) + attributes.get("add_offset", 0.0)
    values[missing] = np.nan
    return values
