"""SMAP L4 granules, SPL4SMGP and SPL4SMAU: which files make which day, where their cells lie, and their values.

A granule holds fields of three hours on the global EASE-Grid 2.0 of 9 km, north first. The data centre also delivers
subsets, some without groups, and fields regridded to degrees: position and names are taken from each file as it is.

Sources: SPL4SMGP version 8, doi:10.5067/T5RUATAQREF8, user guides of https://nsidc.org/data/spl4smgp and /spl4smau;
layout of versions 1 to 8: GEOS-ESM/SMAP_L4_Ops, HDF5FormatMod.F90 and GPH_local_meta.nml; subsets:
nasa/harmony-opendap-subsetter and nasa/harmony-regridding-service.
"""
import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import deflate
import h5py
import numpy as np

from data_processing.cube import EAST_UNITS, FILL_VALUE, NORTH_UNITS, PACKING, VARIABLES, _plain_unit, check_packing
from data_processing.errors import UserError
from data_processing.files import expand, unreadable
from data_processing.preparing import Plan, Rule, Source
from data_processing.regrid import EASE_COLUMNS, EASE_ROWS, Grid, axes_grid, cover_window, crop, ease_cells, ease_grid, target_grid
from data_processing.terminal import progress_bar


class _Field(NamedTuple):
    """A field of a product: its name, its unit, and the factor that brings it to the cube's unit."""

    name: str
    unit: str
    factor: float = 1.0


class _Product(NamedTuple):
    """A product: its tag in file names, the group of its fields, the minute of the day of the first one, the fields."""

    tag: str
    group: str
    first_minute: int
    fields: dict  # variable of the cube -> _Field


PRODUCTS = {
    "SPL4SMGP": _Product("gph", "Geophysical_Data", 90, {  # stamp: the centre of a mean over three hours
        "precipitation": _Field("precipitation_total_surface_flux", "kg m-2 s-1", 86400.0),  # 1 kg m-2 is 1 mm
        "soil_moisture": _Field("sm_surface", "m3 m-3"),
        "soil_temperature": _Field("soil_temp_layer1", "K")}),
    "SPL4SMAU": _Product("aup", "Analysis_Data", 0, {  # stamp: the instant of the analysis
        "soil_moisture": _Field("sm_surface_analysis", "m3 m-3")}),
}
SPELLINGS = {"kg m-2 s-1": ("kg m-2 s-1", "kg m-2s-1", "kg/m2/s"),
             "m3 m-3": ("m3 m-3", "m3/m3"),
             "K": ("k", "kelvin")}
"""Unit -> spellings accepted, as `cube._plain_unit` writes them."""
METRES = ("m", "metre", "metres", "meter", "meters")
ENDINGS = (".h5", ".nc", ".nc4")
FIELDS_PER_DAY = 8
MINUTES_BETWEEN_FIELDS = 180
YEARS = (2015, 2099)  # SMAP was launched in 2015; a year after 2099 is none
BARE_DIMENSION = "This is a netCDF dimension but not a netCDF variable"  # NetCDF-4's mark of a dimension without values
DEGREE_TOLERANCE = 1e-4  # degrees within which two files have the same cells
WHOLE = (EASE_ROWS[9], EASE_COLUMNS[9])  # shape of an uncropped field
AGAIN = "Take the file out, or download it again."
OWN_NAME = "Give the file its own name back."
DAMAGE = (OSError, RuntimeError, KeyError, deflate.DeflateError)  # what h5py and deflate raise on a damaged file


# ----------------------------------------------------------------------------------------------- names and choice
class Granule(NamedTuple):
    """A file and what its name says."""

    path: Path
    stamp: np.datetime64  # UTC, seconds
    science_id: str  # "Vv7032": the first digit is the version of the product
    production: int  # counts deliveries that replace one another
    copy: int  # the n of a second delivery "_001_n", else 0

    @property
    def day(self) -> np.datetime64:
        """UTC day, datetime64[D]."""
        return self.stamp.astype("datetime64[D]")

    @property
    def version(self) -> str:
        """Version of the product, 1 to 8."""
        return self.science_id[2]


def parse_name(path: Path, product: str) -> Granule | None:
    """What the name of a granule says, in front of and behind which services put words of their own.

    Parameters
    ----------
    path : Path
    product : str
        One of `PRODUCTS`.

    Returns
    -------
    Granule or None
        None: not the name of a granule of this product.

    Raises
    ------
    UserError
        The stamp is no date, or not one of the product's eight a day.
    """
    tag, first_minute = PRODUCTS[product].tag, PRODUCTS[product].first_minute
    found = re.search(rf"SMAP_L4_SM_{tag}_(\d{{8}}T\d{{6}})_(V[vb]\d{{4}})_(\d{{3}})(?:_(\d+)(?!\d))?", path.name)
    if not found:
        return None
    digits, science_id, production, copy = found.groups()
    try:
        stamp = np.datetime64(f"{digits[:4]}-{digits[4:6]}-{digits[6:11]}:{digits[11:13]}:{digits[13:]}", "s")
    except ValueError:
        raise UserError(f"{path}: the stamp {digits} in its name is no date. {OWN_NAME}") from None
    if not YEARS[0] <= int(digits[:4]) <= YEARS[1]:
        raise UserError(f"{path}: the stamp {digits} in its name is no date of SMAP, which began in {YEARS[0]}. {OWN_NAME}")
    seconds = (stamp - stamp.astype("datetime64[D]")).astype(int)
    if seconds % (60 * MINUTES_BETWEEN_FIELDS) != 60 * first_minute:
        raise UserError(f"{path}: the stamp {digits} in its name is none of {product}, whose eight fields a day begin "
                        f"at {first_minute // 60:02d}:{first_minute % 60:02d} UTC. {OWN_NAME}")
    return Granule(path, stamp, science_id, int(production), int(copy or 0))


def find_granules(files: Sequence[str], product: str) -> tuple[list[Granule], list[str]]:
    """One granule of each stamp among the files given.

    Of several files of one stamp the one counts that has the highest science identifier, then the highest production
    number, then no "_1" of a second delivery, then more bytes (a whole granule, not a subset). All that remain must be
    of one version of the product: each version is a run of its own with another model.

    Parameters
    ----------
    files : sequence of str
        Folders, glob patterns or files.
    product : str
        One of `PRODUCTS`.

    Returns
    -------
    granules : list of Granule
        Ascending in time.
    notes : list of str
        What was left out, to be told.

    Raises
    ------
    UserError
        Nothing found; a file named by itself that is no granule of the product; a stamp that is none; two versions of
        the product.
    """
    named = {path for path in (Path(entry).expanduser().absolute() for entry in files) if path.is_file()}
    of_stamp, others = defaultdict(list), []
    for path in expand(files, ENDINGS):
        granule = parse_name(path, product)
        if granule:
            of_stamp[granule.stamp].append(granule)
        elif path in named:
            raise UserError(f"{path}: not the name of a {product} granule, {_pattern(product)}. Take it out, name the "
                            "--product it is of, or give it its own name back: date and version are read from there.")
        else:
            others.append(path)
    if not of_stamp:
        raise UserError(f"{', '.join(map(str, files))}: none of {len(others)} files, such as {others[0].name}, is a "
                        f"{product} granule, {_pattern(product)}.")
    granules = [max(sorted(candidates), key=_preference) for _, candidates in sorted(of_stamp.items())]
    _refuse_mixed_versions(granules, product)

    notes = []
    if others:
        notes.append(f"left out: {len(others)} no {product} granules, such as {others[0]}")
    chosen = {granule.path for granule in granules}
    spare = [each.path for candidates in of_stamp.values() for each in candidates if each.path not in chosen]
    if spare:
        notes.append(f"left out: {len(spare)} other deliveries of granules that are read, such as {min(spare)}")
    return granules, notes


def _pattern(product):
    return f"SMAP_L4_SM_{PRODUCTS[product].tag}_<yyyymmddThhmmss>_Vv<id>_<nnn>{ENDINGS[0]}"


def _preference(granule):
    return int(granule.science_id[2:]), granule.production, -granule.copy, granule.path.stat().st_size


def _refuse_mixed_versions(granules, product):
    first = granules[0]
    for granule in granules:
        if granule.version != first.version:
            raise UserError(f"{first.path} is of version {first.version} of {product}, {granule.path} of version "
                            f"{granule.version}: different models, not one series. Take the files of one version out.")


# ------------------------------------------------------------------------------------------------- inside a file
class _Place(NamedTuple):
    """Where the cells of a granule lie.

    degrees : False: `rows` [h], `columns` [w] count in the global 9 km grid (0 = north, west); True: they are latitudes
    and longitudes. Both from south to north and from west to east. north_first : the file begins in the north.
    """

    degrees: bool
    rows: np.ndarray
    columns: np.ndarray
    north_first: bool


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a granule; whatever is damaged in it, found now or while it is read, is told in one line.

    Raises
    ------
    UserError
        No HDF5 file, or a damaged one.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGE as error:
        raise unreadable(path, error) from None


def find_dataset(file: h5py.File, group: str, name: str) -> h5py.Dataset:
    """A dataset in its group, with the group's name in front of its own, or at the root; None where there is none."""
    for key in (f"{group}/{name}", f"{group}_{name}", name):
        dataset = file.get(key)
        if isinstance(dataset, h5py.Dataset) and not _attribute(dataset, "NAME").startswith(BARE_DIMENSION):
            return dataset
    return None


def find_fields(file: h5py.File, product: str, variables: Sequence[str], path: Path) -> dict[str, h5py.Dataset]:
    """Fields of a granule, checked.

    Parameters
    ----------
    file : h5py.File
    product : str
        One of `PRODUCTS`.
    variables : sequence of str
        Of the cube.
    path : Path
        For messages.

    Returns
    -------
    dict variable -> h5py.Dataset [h, w]
        Those that are there, at least one.

    Raises
    ------
    UserError
        None at all; another unit; no plain field of rows and columns.
    """
    group, fields = PRODUCTS[product].group, {}
    for variable in variables:
        field = PRODUCTS[product].fields[variable]
        dataset = find_dataset(file, group, field.name)
        if dataset is None:
            continue
        unit = _attribute(dataset, "units")
        if _plain_unit(unit) not in SPELLINGS[field.unit]:
            raise UserError(f"{path}: {field.name} has the unit {unit!r}; {product} has it in {field.unit}. {AGAIN}")
        if dataset.ndim != 2 or dataset.dtype.kind != "f":
            raise UserError(f"{path}: {field.name} holds {dataset.dtype} of shape {dataset.shape}; expected float32 in "
                            f"rows and columns. {AGAIN}")
        if {"scale_factor", "add_offset"} & set(dataset.attrs):
            raise UserError(f"{path}: {field.name} is packed with scale_factor or add_offset, which {product} never is. {AGAIN}")
        check_packing({name: dataset.attrs[name] for name in PACKING if name in dataset.attrs}, field.name, path)
        fields[variable] = dataset
    shapes = {dataset.shape for dataset in fields.values()}
    if len(shapes) > 1:
        raise UserError(f"{path}: its fields have the shapes {' and '.join(map(str, sorted(shapes)))}; expected one. {AGAIN}")
    if not fields:
        wanted = " nor ".join(_field_names(product, variables))
        raise UserError(f"{path}: holds no {wanted}, neither in {group} nor outside it. Found: "
                        f"{_contents(file, group)}. {AGAIN}")
    return fields


def _attribute(dataset, name):
    """An attribute as text, "" where there is none."""
    value = dataset.attrs.get(name, "")
    value = value.flat[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _contents(file, group):
    held = file.get(group)
    names = list(held if isinstance(held, h5py.Group) else file)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "nothing"


def find_place(file: h5py.File, field: h5py.Dataset, path: Path) -> _Place:
    """Where the cells of a granule lie.

    By x and y in metres or degrees, as their units say; without them the whole global grid, as versions 1 to 3 have it,
    or the cells' numbers `cell_row` and `cell_column`.

    Parameters
    ----------
    file : h5py.File
    field : h5py.Dataset [h, w]
    path : Path
        For messages.

    Returns
    -------
    _Place

    Raises
    ------
    UserError
        Nothing tells the position, or what tells it contradicts the field, the grid or itself.
    """
    group = field.parent.name.strip("/")
    y = find_dataset(file, group, "y") or find_dataset(file, group, "lat")
    x = find_dataset(file, group, "x") or find_dataset(file, group, "lon")
    if x is not None and y is not None:
        if (y.shape, x.shape) != (field.shape[:1], field.shape[1:]):
            raise UserError(f"{path}: {field.name} has shape {field.shape}, its axes {y.name} {y.shape} and {x.name} "
                            f"{x.shape}: they do not belong together. {AGAIN}")
        if _in_degrees(x, path) != _in_degrees(y, path):
            raise UserError(f"{path}: {x.name} and {y.name} are one in degrees, one in metres. {AGAIN}")
        if _in_degrees(x, path):
            return _place_in_degrees(y[:], x[:], path)
        try:
            columns, rows = ease_cells(9, x[:], y[:])
        except ValueError as error:
            raise UserError(f"{path}: {error}. Only the product's own 9 km grid is read, or degrees.") from None
        return _place_in_grid(rows, columns, path)
    if field.shape == WHOLE:
        return _place_in_grid(np.arange(WHOLE[0]), np.arange(WHOLE[1]), path)
    row, column = find_dataset(file, group, "cell_row"), find_dataset(file, group, "cell_column")
    if row is None or column is None:
        raise UserError(f"{path}: nothing tells where its {field.shape[0]} x {field.shape[1]} cells lie: neither x and "
                        "y nor cell_row and cell_column. Download it again with its coordinates.")
    return _place_in_grid(_numbers(row, 0, field, path), _numbers(column, 1, field, path), path)


def _in_degrees(coordinate, path):
    """Whether a coordinate is in degrees; its name does not tell."""
    unit, standard_name = _plain_unit(_attribute(coordinate, "units")), _attribute(coordinate, "standard_name")
    if unit in NORTH_UNITS + EAST_UNITS or standard_name in ("latitude", "longitude"):
        return True
    if unit in METRES:
        return False
    raise UserError(f"{path}: {coordinate.name} has the unit {unit!r}; expected metres or degrees. {AGAIN}")


def _place_in_grid(rows, columns, path):
    """_Place of neighbouring rows and columns of the global grid, in the file's order."""
    north_first = bool(rows[0] <= rows[-1])
    rows = rows[::-1] if north_first else rows
    if (np.diff(rows) != -1).any() or (np.diff(columns) != 1).any():
        raise UserError(f"{path}: its rows or columns are not neighbours in the 9 km grid. Download it again as one "
                        "box.")
    return _Place(False, rows, columns, north_first)


def _place_in_degrees(lat, lon, path):
    """_Place of latitudes and longitudes, in the file's order; longitudes without a jump, their middle in -180..180."""
    lat, lon = lat.astype(np.float64), np.unwrap(lon.astype(np.float64), period=360)
    lon -= 360 * np.floor((lon[0] + lon[-1] + 360) / 720)
    north_first = bool(lat[0] >= lat[-1])
    lat = lat[::-1] if north_first else lat
    if not ((np.diff(lat) > 0).all() and (np.diff(lon) > 0).all() and np.isfinite(lat[[0, -1]]).all()
            and np.isfinite(lon[[0, -1]]).all() and np.abs(lat[[0, -1]]).max() <= 90):
        raise UserError(f"{path}: its latitudes or longitudes are out of order. {AGAIN}")
    return _Place(True, lat, lon, north_first)


def _numbers(cells, axis, field, path):
    """Row (axis 0) or column (axis 1) numbers [n] of a field's cells, from a dataset [h, w] with missing cells."""
    count = WHOLE[axis]
    first = None
    if cells.shape == field.shape:
        numbers = cells[:].astype(np.float64)  # as some services write them
        here = np.arange(numbers.shape[axis])
        offsets = (numbers - (here[:, None] if axis == 0 else here))[(numbers >= 0) & (numbers < count)]
        first = offsets[0] if offsets.size and (offsets == offsets[0]).all() else None
    if first is None or not 0 <= first <= count - field.shape[axis]:
        raise UserError(f"{path}: {cells.name} does not number neighbouring cells of the 9 km grid. Download the file "
                        "again as one box.")
    return np.arange(field.shape[axis]) + int(first)


def grid_of(place: _Place) -> Grid:
    """The cells of a place as a Grid, rows from south to north."""
    if place.degrees:
        return axes_grid(place.rows, place.columns)
    return ease_grid(9, slice(int(place.rows[-1]), int(place.rows[0]) + 1),
                     slice(int(place.columns[0]), int(place.columns[-1]) + 1))


# ------------------------------------------------------------------------------------------------------- reading
def read_granules(files: Sequence[Path], task: dict) -> Iterator[tuple[str, np.datetime64, np.ndarray, np.ndarray]]:
    """Sums of a day's valid values and how many they are.

    Parameters
    ----------
    files : sequence of Path
        Granules of one UTC day.
    task : dict
        "product", "variables", and the cells: "degrees", "rows" and "columns" (first and last, as in _Place), "shape".

    Yields
    ------
    variable : str
    day : datetime64[D]
    total : float64 [h, w]
        mm d-1, m3 m-3 or K; rows from south to north.
    count : uint8 [h, w]

    Raises
    ------
    UserError
        A file that cannot be read, lacks a variable or cells, or has another unit.
    """
    fields = PRODUCTS[task["product"]].fields
    total = {variable: np.zeros(task["shape"]) for variable in task["variables"]}
    count = {variable: np.zeros(task["shape"], np.uint8) for variable in task["variables"]}
    for path in files:
        with opened(path) as file:
            datasets = find_fields(file, task["product"], task["variables"], path)
            lacking = [variable for variable in task["variables"] if variable not in datasets]
            if lacking:
                names = ", ".join(fields[variable].name for variable in lacking)
                raise UserError(f"{path}: lacks {names}, which others have. Download it again with all fields, or make "
                                f"a cube of --variables {' '.join(datasets)}.")
            place = find_place(file, next(iter(datasets.values())), path)
            window = _find_window(place, task)
            if window is None:
                other = files[0] if path != files[0] else files[-1]
                raise UserError(f"{path}: holds {_place_text(place)}; not the cells of the other granules, such as "
                                f"{other}. Name a --box that all hold, or take the file out.")
            for variable in task["variables"]:
                values = read_field(datasets[variable], *window)[::-1 if place.north_first else 1]
                valid = ~np.isnan(values)
                np.add(total[variable], values, out=total[variable], where=valid)
                count[variable] += valid
    day = parse_name(files[0], task["product"]).day
    for variable in task["variables"]:
        yield variable, day, total[variable] * fields[variable].factor, count[variable]


def _find_window(place, task):
    """Rows and columns (slices, in the file's order) of the cells that a task asks for; None where they are absent."""
    if place.degrees != task["degrees"]:
        return None
    slices = []
    for axis, ends, size in zip((place.rows, place.columns), (task["rows"], task["columns"]), task["shape"]):
        where = [np.flatnonzero(np.abs(axis - end) <= DEGREE_TOLERANCE) for end in ends]
        if not (where[0].size and where[1].size) or where[1][0] - where[0][0] + 1 != size:
            return None
        slices.append(slice(int(where[0][0]), int(where[1][0]) + 1))
    rows, columns = slices
    if place.north_first:
        rows = slice(place.rows.size - rows.stop, place.rows.size - rows.start)
    return rows, columns


def read_field(dataset: h5py.Dataset, rows: slice, columns: slice) -> np.ndarray:
    """Part of a field as the file has it, missing values as NaN; nothing is masked for being outside `valid_max`.

    Parameters
    ----------
    dataset : h5py.Dataset [h, w]
    rows, columns : slice

    Returns
    -------
    float32 [rows, columns]
    """
    whole = _inflate(dataset)
    values = np.array((dataset if whole is None else whole)[rows, columns], np.float32)
    missing = ~np.isfinite(values) | (values == FILL_VALUE)
    for name in ("_FillValue", "missing_value"):
        if name in dataset.attrs:
            missing |= np.isin(values, np.asarray(dataset.attrs[name], np.float32))
    values[missing] = np.nan
    return values


def _inflate(dataset):
    """A whole field [h, w] by libdeflate, which takes half the time of zlib; None where it is stored otherwise."""
    if dataset.chunks != dataset.shape or not dataset.id.get_num_chunks():
        return None
    storage = dataset.id.get_create_plist()
    if storage.get_nfilters() != 1 or storage.get_filter(0)[0] != h5py.h5z.FILTER_DEFLATE:
        return None
    unfiltered, chunk = dataset.id.read_direct_chunk((0, 0))
    if unfiltered:
        return None
    return np.frombuffer(deflate.zlib_decompress(chunk, dataset.nbytes), dataset.dtype).reshape(dataset.shape)


# ------------------------------------------------------------------------------------------------------ planning
class Survey(NamedTuple):
    """What the granules hold, as far as one of each day tells.

    place : _Place, the cells that all hold. grid : Grid of them. variables : tuple of str, the cube's. title : str, the
    files' own title where it says that they are synthetic, else "".
    """

    place: _Place
    grid: Grid
    variables: tuple
    title: str


def survey(granules: list[Granule], settings: Any) -> Survey:
    """Look into one granule of each day: cells and variables.

    Parameters
    ----------
    granules : list of Granule
    settings : Settings
        With `product`, `variables`, `box`, `like`.

    Returns
    -------
    Survey

    Raises
    ------
    UserError
        No granule can be read; a variable is in none; the cells differ, also within the box asked for.
    """
    variables = _wanted(settings)
    places, held, title, errors = [], set(), "", []
    for members in progress_bar(by_day(granules).values(), desc="looking into each day", unit="day", delay=3):
        for path in (granule.path for granule in members):
            try:
                with opened(path) as file:
                    fields = find_fields(file, settings.product, variables, path)
                    place = find_place(file, next(iter(fields.values())), path)
                    its_title = _attribute(file, "title")
            except UserError as error:  # told when it is read; another one of the day will do here
                errors.append(error)
                continue
            if not any(_same_cells(place, known) for known, _ in places):
                places.append((place, path))
            held.update(fields)
            title = its_title if "ynthetic" in its_title else title
            break
    if not places:
        raise errors[0]
    lacking = [variable for variable in variables if variable not in held]
    if lacking:
        raise UserError(f"no file holds {', '.join(lacking)} ({', '.join(_field_names(settings.product, lacking))}): "
                        f"looked into {granules[0].path} and one of every other day. Name the others: --variables "
                        f"{' '.join(variable for variable in variables if variable in held)}.")
    place = _common_place(places, settings)
    return Survey(place, grid_of(place), variables, title)


def _wanted(settings):
    """The cube's variables, in the order of VARIABLES; of a product that has only some of them all it has."""
    possible = PRODUCTS[settings.product].fields
    if set(settings.variables) == set(VARIABLES):
        return tuple(possible)
    impossible = [variable for variable in settings.variables if variable not in possible]
    if impossible or not settings.variables:
        raise UserError(f"variables: {' '.join(settings.variables) or 'none'}; {settings.product} has "
                        f"{', '.join(possible)}.")
    return tuple(variable for variable in possible if variable in settings.variables)


def _field_names(product, variables):
    return [PRODUCTS[product].fields[variable].name for variable in variables]


def by_day(granules: list[Granule]) -> dict:
    """Dict day (datetime64[D]) -> its granules, both ascending in time."""
    days = defaultdict(list)
    for granule in granules:
        days[granule.day].append(granule)
    return days


def _same_cells(place, other):
    """Whether two granules lie in the same cells; degrees may differ by rounding."""
    return place.degrees == other.degrees and all(
        a.size == b.size and np.allclose(a, b, rtol=0, atol=DEGREE_TOLERANCE)
        for a, b in ((place.rows, other.rows), (place.columns, other.columns)))


def _common_place(places, settings):
    """The cells that all granules hold: alike in all, or alike within the box or the cube asked for."""
    if len(places) == 1:
        return places[0][0]
    cropped = []
    for place, path in places:
        try:
            grid = grid_of(place)
            wanted = target_grid("native", source=grid, like=settings.like, box=settings.box)
            cropped.append(crop_place(place, cover_window(grid, wanted)))
        except UserError as error:
            raise UserError(f"{path}: {error} {places[0][1]} holds other cells.") from None
        if not _same_cells(cropped[-1], cropped[0]):
            raise UserError(f"{places[0][1]} holds {_place_text(cropped[0])}, {path} {_place_text(cropped[-1])}: one "
                            "cube needs the same cells of all granules. Name a --box that all hold, or take files out.")
    return cropped[0]


def crop_place(place: _Place, window: tuple[int, int, int, int]) -> _Place:
    """The part of a place in `window` = (first row, last row + 1, first column, last column + 1), from the south."""
    return place._replace(rows=place.rows[window[0]:window[1]], columns=place.columns[window[2]:window[3]])


def _place_text(place):
    grid = grid_of(place)
    return (f"{grid.lat.size} x {grid.lon.size} {'cells in degrees' if place.degrees else '9 km cells'}, "
            f"{grid.lat_edges[0]:.2f} to {grid.lat_edges[-1]:.2f} N, {grid.lon_edges[0]:.2f} to "
            f"{grid.lon_edges[-1]:.2f} E")


def plan_granules(granules: list[Granule], survey: Survey, target: Grid, settings: Any, notes: list[str]) -> Plan:
    """What to read for a cube.

    Parameters
    ----------
    granules : list of Granule
    survey : Survey
    target : Grid
        The cells of the cube; only what they need is read.
    settings : Settings
        With `product`, `min_fields_per_day`.
    notes : list of str
        To be told before the work starts.

    Returns
    -------
    data_processing.preparing.Plan
        One piece a day.

    Raises
    ------
    UserError
        `min_fields_per_day` is out of range.
    """
    needed = settings.min_fields_per_day
    if not 1 <= needed <= FIELDS_PER_DAY:
        raise UserError(f"min_fields_per_day is {needed}; a day has 1 to {FIELDS_PER_DAY} fields.")
    window = cover_window(survey.grid, target)
    place, grid = crop_place(survey.place, window), crop(survey.grid, window)
    shape = (grid.lat.size, grid.lon.size)
    task = {"product": settings.product, "variables": list(survey.variables), "degrees": place.degrees,
            "rows": _ends(place.rows), "columns": _ends(place.columns), "shape": list(shape)}
    sources = [Source(str(day), tuple(granule.path for granule in members), task, (0, shape[0], 0, shape[1]),
                      {variable: np.array([day]) for variable in survey.variables})
               for day, members in by_day(granules).items()]
    science_ids = sorted({granule.science_id for granule in granules})
    attributes = {"product_version": granules[0].version, "science_ids": ", ".join(science_ids),
                  "native_grid": "latitude and longitude, as the data centre regridded it" if place.degrees
                  else "EASE-Grid 2.0, 9 km", "min_fields_per_day": needed}
    attributes |= {"synthetic": survey.title} if survey.title else {}
    for variable in survey.variables:
        attributes[variable] = {"source": f"{settings.product} {_field_names(settings.product, [variable])[0]}",
                                "comment": f"mean of the 3-hourly fields of the UTC day, at least {needed} of "
                                           f"{FIELDS_PER_DAY}"}
    return Plan(settings.product, survey.title or _title(settings.product), grid, sources,
                {variable: Rule(needed, False) for variable in survey.variables}, None, attributes,
                notes + _short_days(granules, needed))


def _ends(axis):
    """First and last of an axis as JSON knows them, degrees without their rounding."""
    return [round(float(end), 4) for end in axis[[0, -1]]] if axis.dtype.kind == "f" else axis[[0, -1]].tolist()


def _title(product):
    return "SMAP L4 surface soil moisture, daily" + (" mean of the analyses" if product == "SPL4SMAU" else "")


def _short_days(granules, needed):
    """A line about the days with fewer granules than make a day."""
    short = [f"{day} ({len(members)})" for day, members in by_day(granules).items() if len(members) < needed]
    if not short:
        return []
    return [f"warning: fewer than {needed} granules, so missing (NaN): {', '.join(short[:5])}"
            + (f" and {len(short) - 5} more days" if len(short) > 5 else "")]
