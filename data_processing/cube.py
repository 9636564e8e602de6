"""The daily cube: open any NetCDF file of its form, check it, describe it, write it.

Inside the project a cube is an `xarray.Dataset` with dimensions (time, lat, lon): days without holes,
latitude and longitude ascending, float32 variables in the units of `UNITS`, NaN = missing. `open_cube` makes
it so, whatever the order, the names and the (known) units of the file; values are read from the file only
when they are used.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import netCDF4
import numpy as np

from data_processing.arrays import blocks, kept_text, release, short_key
from data_processing.errors import UserError, did_you_mean
from data_processing.files import check_netcdf, checksum, replacing, require_file

if TYPE_CHECKING:
    import xarray

Variable = Literal["precipitation", "soil_moisture", "soil_temperature"]
VARIABLES: tuple[Variable, ...] = get_args(Variable)
PRECIPITATION, SOIL_MOISTURE, SOIL_TEMPERATURE = range(len(VARIABLES))
GIVE_CUBE = "Give the path of a daily cube (NetCDF)."


class Quantity(NamedTuple):
    """What the project knows of one variable of the cube."""

    unit: str
    standard_name: str  # the one written; CF standard name table
    standard_names: tuple  # those accepted
    aliases: tuple  # names accepted, lower case
    conversions: dict  # unit as `_plain_unit` writes it -> (factor, offset) to `unit`
    lowest: float  # a value below or above is no weather: the unit must be wrong
    highest: float
    long_name: str
    cell_methods: str


# Names: CF standard name table; SPL4SMGP fields; CDS short and long names (ERA5-Land).
# Limits: most rain ever measured in 24 h is 1825 mm (WMO, La Reunion 1966); coldest and hottest ground 180
# and 354 K; soil moisture may be slightly below 0 (packing, noise) and reaches .93 in peat.
QUANTITIES = {
    "precipitation": Quantity(
        unit="mm d-1",
        standard_name="lwe_precipitation_rate",
        standard_names=("lwe_precipitation_rate", "precipitation_flux", "precipitation_amount",
                        "lwe_thickness_of_precipitation_amount", "rainfall_rate", "rainfall_flux"),
        aliases=("precipitation", "tp", "total_precipitation", "precipitation_total_surface_flux", "pr",
                 "prcp", "precip", "rain", "rainfall"),
        # an amount (mm, m, kg m-2) is the total of the day, as the cube is daily; 1 kg m-2 of water is 1 mm
        conversions={"mm d-1": (1.0, 0.0), "mm day-1": (1.0, 0.0), "mm/day": (1.0, 0.0), "mm/d": (1.0, 0.0),
                     "mm": (1.0, 0.0), "kg m-2": (1.0, 0.0), "kg m-2 d-1": (1.0, 0.0),
                     "kg m-2 day-1": (1.0, 0.0),
                     "m": (1e3, 0.0), "m d-1": (1e3, 0.0), "m day-1": (1e3, 0.0), "m/day": (1e3, 0.0),
                     "kg m-2 s-1": (86400.0, 0.0), "mm s-1": (86400.0, 0.0), "mm/s": (86400.0, 0.0),
                     "m s-1": (86400e3, 0.0)},
        lowest=-0.01, highest=2000.0,
        long_name="daily precipitation", cell_methods="time: mean",
    ),
    "soil_moisture": Quantity(
        unit="m3 m-3",
        standard_name="volume_fraction_of_condensed_water_in_soil",
        standard_names=("volume_fraction_of_condensed_water_in_soil", "volume_fraction_of_water_in_soil"),
        aliases=("soil_moisture", "sm_surface", "swvl1", "volumetric_soil_water_layer_1",
                 "surface_soil_moisture", "sm", "ssm"),
        conversions={"m3 m-3": (1.0, 0.0), "m3/m3": (1.0, 0.0), "cm3 cm-3": (1.0, 0.0), "cm3/cm3": (1.0, 0.0),
                     "1": (1.0, 0.0), "%": (0.01, 0.0), "percent": (0.01, 0.0)},
        lowest=-0.2, highest=1.5,
        long_name="surface soil moisture", cell_methods="time: mean",
    ),
    "soil_temperature": Quantity(
        unit="K",
        standard_name="soil_temperature",
        standard_names=("soil_temperature",),
        aliases=("soil_temperature", "stl1", "soil_temperature_level_1", "soil_temp_layer1"),
        conversions={"k": (1.0, 0.0), "kelvin": (1.0, 0.0), "degc": (1.0, 273.15), "deg_c": (1.0, 273.15),
                     "celsius": (1.0, 273.15), "°c": (1.0, 273.15),
                     "degree_celsius": (1.0, 273.15), "degrees_celsius": (1.0, 273.15),
                     "degree celsius": (1.0, 273.15), "degrees celsius": (1.0, 273.15)},
        lowest=150.0, highest=370.0,
        long_name="surface soil temperature", cell_methods="time: mean",
    ),
}
UNITS = {name: quantity.unit for name, quantity in QUANTITIES.items()}
STANDARD_NAMES = {name: quantity.standard_name for name, quantity in QUANTITIES.items()}

ROLES = ("time", "lat", "lon")
ROLE_OF_STANDARD_NAME = {"time": "time", "latitude": "lat", "longitude": "lon"}
ROLE_OF_AXIS = {"T": "time", "Y": "lat", "X": "lon"}
ROLE_OF_NAME = {"time": "time", "valid_time": "time", "date": "time", "day": "time",
                "lat": "lat", "latitude": "lat", "y": "lat",
                "lon": "lon", "long": "lon", "longitude": "lon", "x": "lon"}
# CF conventions, sections 4.1 and 4.2: all spellings of the two units
NORTH_UNITS = ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn")
EAST_UNITS = ("degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese")
PLAIN_DEGREES = ("", "degrees", "degree", "deg")
PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")  # attributes that say how numbers are stored
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

FILE_UNITS = "file_units"  # what an opened cube's variables keep of their file, besides their values

FILL_VALUE = -9999.0  # missing in many products, declared or not
HUGE = 1e20  # netCDF's default fill (9.97e36) and its kin
LARGE_FILE = 20_000_000  # bytes
GOOD = "good"
DOUBTS = "unit_doubts"  # attribute of an opened cube: what `check_cube_values` has found odd
BLOCK_VALUES = 2_000_000  # values read at a time: 8 MB of float32
SMALLEST_STEP = 1e-6  # degrees; two centres nearer than that are one position
MOST_CELLS = 2 ** 31  # of a map; one of 1 km around the globe has half as many
FIRST_DAY, LAST_DAY = np.datetime64("1678-01-01"), np.datetime64("2261-12-31")  # that count in nanoseconds


# --------------------------------------------------------------------------------------------- open and check
def open_cube(path: str | Path, variables: Sequence[str] = VARIABLES, check_values: bool = True) -> xarray.Dataset:
    """Open a daily cube, check it and bring it into the project's form.

    Parameters
    ----------
    path : str or Path
        NetCDF file; any order of dimensions, latitudes, longitudes and days; names by CF attributes or
        aliases.
    variables : sequence of str
        Which of `VARIABLES` are needed.
    check_values : bool
        False leaves out the reading of all values, where whoever wrote the cube has looked at them.

    Returns
    -------
    xarray.Dataset
        Dimensions (time, lat, lon); `variables` as float32 in `UNITS`, NaN = missing. Time: every day from
        the first to the last (UTC date; the time of day is dropped), days that the file lacks are NaN.
        Latitude ascending; longitude ascending without a jump at 180 or 360, its midpoint in [-180, 180).
        Values are read when used.

    Raises
    ------
    UserError
        No such file, no NetCDF; a variable, a dimension or a unit absent or unknown; duplicate days, several
        stamps a day, no daily record, another calendar; duplicate or two-dimensional positions; values that
        contradict their unit; a variable without any value.
    """
    import xarray as xr  # here and below: slow to import, and not needed to write a cube
    from xarray.core.indexing import LazilyIndexedArray

    from data_processing.cube_field import FileField

    path = Path(path)
    with _open_file(path) as file:
        names = _find_variables(file, variables, path)
        fields, axes = {}, None
        for variable in variables:
            dims = _find_dimensions(file, names[variable], path)
            found = _read_axes(file, dims, path)
            if axes is not None and not all(np.array_equal(a, b) for a, b in zip(axes, found)):
                raise UserError(f"{path}: {variable} and {variables[0]} do not share one grid and one time "
                                "axis; bring all variables to the same days and cells.")
            axes = found
            check_numbers(file[names[variable]], variable, path)
            factor, offset = conversion(file[names[variable]], variable, path)
            fields[variable] = (names[variable], dims, factor, offset, dict(file[names[variable]].attrs))
        attributes = dict(file.attrs)

    file_days, file_lat, file_lon = axes
    time, source_day = _daily_axis(file_days)
    lat, rows = _ascending_latitude(file_lat, path)
    lon, columns = _ascending_longitude(file_lon, path)
    cube = xr.Dataset(coords={"time": time.astype("datetime64[ns]"), "lat": lat, "lon": lon},
                      attrs=attributes)
    for variable, (name, dims, factor, offset, found_attributes) in fields.items():
        field = FileField(path, name, dims, source_day, rows, columns, factor, offset)
        kept = {key: found_attributes[key] for key in ("long_name", "source", "comment", "cell_methods")
                if key in found_attributes}
        kept["units"] = UNITS[variable]
        kept["standard_name"] = found_attributes.get("standard_name", STANDARD_NAMES[variable])
        cube[variable] = xr.Variable(ROLES, LazilyIndexedArray(field), kept, {FILE_UNITS: found_attributes["units"]})
    cube.encoding["source"] = str(path)
    if check_values and path.stat().st_size > LARGE_FILE:  # read through once, not at each start
        units = sorted((variable, cube[variable].encoding[FILE_UNITS]) for variable in fields)
        key = f"{path.stem}-checked-{short_key(2, checksum(path), units, QUANTITIES)}"
        doubts = kept_text(key, lambda: check_cube_values(cube))
    else:
        doubts = check_cube_values(cube) if check_values else GOOD
    if doubts != GOOD:
        cube.attrs[DOUBTS] = doubts
        _say_doubts(str(path), doubts)
    return cube


@functools.cache
def _say_doubts(path, doubts):
    """Say once what `check_cube_values` has found odd: a cube is opened several times in one run."""
    for doubt in doubts.splitlines():
        print(f"UNIT? {path}: {doubt}", flush=True)


def _open_file(path):
    import xarray as xr

    require_file(path, str(path), GIVE_CUBE)
    check_netcdf(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # two fill values: both become NaN
            return xr.open_dataset(path, engine="netcdf4", decode_times=False, cache=False)
    except Exception as error:  # whatever the library raises for a file that is not its own
        raise UserError(f"{path}: not a NetCDF file that can be read ({first_line(error)}). "
                        "A cube is one NetCDF-4 file.") from None


def _candidates(file, variable):
    """Names in the file that may stand for a variable: by `standard_name` first, then by name and alias."""
    quantity = QUANTITIES[variable]
    candidates = [name for name in file.variables
                  if text_of(file[name], "standard_name") in quantity.standard_names]
    named = [name for name in (candidates or file.variables) if str(name).lower() in quantity.aliases]
    if named or not candidates:
        candidates = named
    return [variable] if variable in candidates else candidates


def _find_variables(file, variables, path):
    """Name in the file of each variable."""
    names, missing = {}, []
    for variable in variables:
        candidates = _candidates(file, variable)
        if len(candidates) > 1:
            raise UserError(f"{path}: {variable} could be any of {', '.join(map(str, candidates))}; "
                            f"keep one or name one of them {variable!r}.")
        if candidates:
            names[variable] = candidates[0]
        else:
            missing.append(variable)
    if missing:
        found = [str(name) for name in file.variables]
        known = {alias for quantity in QUANTITIES.values() for alias in quantity.aliases}
        unknown = [name for name in found if name.lower() not in known]
        lacking = ", ".join(name + did_you_mean(name, unknown, "is it {}? Then rename it") for name in missing)
        raise UserError(f"{path}: lacks {lacking}. Found: {', '.join(found) or 'nothing'}. "
                        "A variable is known by its standard_name or by one of these names: "
                        + "; ".join(f"{name}: {', '.join(QUANTITIES[name].aliases)}" for name in missing))
    return names


def _coordinate_role(name, coordinate):
    """'time', 'lat' or 'lon' of a coordinate by standard_name, units, axis, name (in this order), or None."""
    standard_name, units = text_of(coordinate, "standard_name"), text_of(coordinate, "units").strip().lower()
    if standard_name:
        role = ROLE_OF_STANDARD_NAME.get(standard_name)
        return role if role in (None, "time") or units in NORTH_UNITS + EAST_UNITS + PLAIN_DEGREES else None
    if units in NORTH_UNITS:
        return "lat"
    if units in EAST_UNITS:
        return "lon"
    role = ROLE_OF_AXIS.get(text_of(coordinate, "axis")) or ROLE_OF_NAME.get(str(name).lower())
    if role == "time" or " since " in units:
        return "time"
    return role if units in PLAIN_DEGREES else None  # metres and the like are no latitude


def _find_dimensions(file, name, path):
    """Dict role -> (dimension, coordinate variable) of one variable; dimensions of length 1 are left out."""
    dims, extra = {}, []
    for dim in file[name].dims:
        coordinates = [key for key in file.variables if file[key].dims == (dim,)]
        coordinates.sort(key=lambda key: key != dim)  # the dimension's own coordinate first
        roles = {_coordinate_role(key, file[key]): key for key in reversed(coordinates)}
        role = next((role for role in ROLES if role in roles and role not in dims), None)
        if role:
            dims[role] = (dim, roles[role])
        elif file.sizes[dim] > 1:
            extra.append(dim)
    missing = [role for role in ROLES if role not in dims]
    if missing:
        flat = [str(key) for key in file.variables
                if file[key].ndim == 2 and _coordinate_role(key, file[key]) in ("lat", "lon")]
        if flat:
            raise UserError(f"{path}: latitude and longitude are two-dimensional ({', '.join(flat)}); "
                            "a cube needs one latitude per row and one longitude per column: regrid it.")
        raise UserError(f"{path}: {name} has dimensions {file[name].dims}; none of them is "
                        f"{' nor '.join(missing)} by the standard_name, units (degrees_north, degrees_east, "
                        "days since ...), axis or name of its coordinate variable. Rename them to time, lat and lon.")
    if extra:
        found = " and ".join(f"{dim} of length {file.sizes[dim]}" for dim in extra)
        raise UserError(f"{path}: {name} has besides time, lat, lon the dimension {found}; choose one of its "
                        "entries first.")
    return dims


def _read_axes(file, dims, path):
    """Days [T] (datetime64[D]), latitudes [H] and longitudes [W] (degrees), in the file's order."""
    days = _read_days(file[dims["time"][1]], path)
    positions = []
    for role in ("lat", "lon"):
        coordinate = file[dims[role][1]]
        coordinate = coordinate.values.astype(np.float64) if coordinate.dtype.kind in "iuf" else np.array([])
        if coordinate.size == 0 or not np.isfinite(coordinate).all():
            raise UserError(f"{path}: {dims[role][1]} is empty or not a number somewhere; every cell needs a "
                            "position.")
        positions.append(coordinate)
    if positions[0].size * positions[1].size > MOST_CELLS:
        raise UserError(f"{path}: {positions[0].size} x {positions[1].size} cells; at most {MOST_CELLS} can be read. Cut out a part.")
    return days, *positions


def _read_days(coordinate, path):
    """Dates of the stamps, datetime64[D] [T], in the file's order, each at most once."""
    import xarray as xr

    units, calendar = str(coordinate.attrs.get("units", "")), str(coordinate.attrs.get("calendar", "standard"))
    if calendar not in CALENDARS:
        raise UserError(f"{path}: calendar {calendar!r} of {coordinate.name}; a cube holds real days "
                        f"({CALENDARS[0]}).")
    if " since " not in units:
        raise UserError(f"{path}: unit {units!r} of {coordinate.name}; expected such as 'days since "
                        "2015-01-01'.")
    if coordinate.size == 0:
        raise UserError(f"{path}: no day in {coordinate.name}.")
    try:
        encoded = xr.Dataset({"stamps": ("n", coordinate.values, coordinate.attrs)})
        stamps = xr.decode_cf(encoded)["stamps"].values.astype("datetime64[s]")
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: {coordinate.name} cannot be read as dates ({error}).") from None
    if np.isnat(stamps).any() or coordinate.dtype.kind == "f" and not np.isfinite(coordinate.values).all():
        raise UserError(f"{path}: {coordinate.name} has a stamp without a date.")

    ordered = np.sort(stamps)
    days = ordered.astype("datetime64[D]")
    same = np.flatnonzero(np.diff(days) == np.timedelta64(0, "D"))
    if same.size and (np.diff(ordered)[same] != np.timedelta64(0, "s")).any():
        raise UserError(f"{path}: not daily: {days[same[0]]} has several stamps ({ordered[same[0]]}, "
                        f"{ordered[same[0] + 1]}); make daily means and totals first.")
    if same.size:
        raise UserError(f"{path}: {same.size} duplicate days, the first {days[same[0]]}; keep one of each.")
    if days.size > 1 and np.diff(days).min() > np.timedelta64(1, "D"):
        raise UserError(f"{path}: not daily: no two stamps are nearer than {np.diff(days).min().astype(int)} "
                        "days.")
    if days[0] < FIRST_DAY or days[-1] > LAST_DAY:
        raise UserError(f"{path}: days from {days[0]} to {days[-1]}; a cube may hold {FIRST_DAY} to {LAST_DAY}. Put the unit of "
                        f"{coordinate.name} right.")
    return stamps.astype("datetime64[D]")


def _daily_axis(file_days):
    """Every day from first to last, datetime64[D] [T], and where in the file it stands [T], -1 = nowhere."""
    first = file_days.min()
    time = np.arange(first, file_days.max() + np.timedelta64(1, "D"))
    source_day = np.full(time.size, -1)
    source_day[(file_days - first).astype(int)] = np.arange(file_days.size)
    return time, source_day


def _ascending_latitude(file_lat, path):
    """Latitudes ascending [H] and the file's row of each [H]."""
    if np.abs(file_lat).max() > 90 + SMALLEST_STEP:
        raise UserError(f"{path}: latitudes {file_lat.min():g} to {file_lat.max():g}; expected -90 to 90 "
                        "degrees.")
    rows = np.argsort(file_lat, kind="stable")
    _refuse_duplicates(file_lat[rows], "latitude", path)
    return file_lat[rows], rows


def _ascending_longitude(file_lon, path):
    """Longitudes ascending [W] without a jump, midpoint in [-180, 180), and the file's column of each [W]."""
    if np.abs(file_lon).max() > 540:
        raise UserError(f"{path}: longitudes {file_lon.min():g} to {file_lon.max():g}; expected degrees, "
                        "such as -180 to 180 or 0 to 360.")
    lon = np.unwrap(file_lon, period=360.0)
    columns = np.argsort(lon, kind="stable")
    lon = lon[columns]
    _refuse_duplicates(np.append(lon, lon[0] + 360.0), "longitude", path)
    midpoint = (lon[0] + lon[-1]) / 2
    return lon - 360.0 * np.floor((midpoint + 180.0) / 360.0), columns


def _refuse_duplicates(ascending, what, path):
    same = np.flatnonzero(np.diff(ascending) < SMALLEST_STEP)
    if same.size:
        raise UserError(f"{path}: {what} {ascending[same[0]]:g} stands there twice; every row and column "
                        "needs its own position.")


def _plain_unit(unit):
    """Spelling without **, ^ and superfluous spaces, lower case: 'm**3 m**-3' -> 'm3 m-3'."""
    return " ".join(str(unit).replace("**", "").replace("^", "").split()).lower()


def text_of(field: xarray.DataArray, name: str) -> str:
    """An attribute of an xarray.DataArray that is text; "" where there is none, or something else."""
    value = field.attrs.get(name, "")
    return value if isinstance(value, str) else ""


def first_line(error: BaseException) -> str:
    """What a library says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_numbers(field: xarray.DataArray, variable: str, path: Path) -> None:
    """Raise where a variable as it was opened (xarray.DataArray) does not hold numbers, or none can be got out of its packing."""
    kind = np.dtype(field.encoding.get("dtype", field.dtype))
    if field.dtype.kind not in "iuf" or kind.kind not in "iuf" or (kind.metadata or {}).get("enum"):
        raise UserError(f"{path}: {field.name} ({variable}) holds no numbers but {kind}; expected float32.")
    check_packing({name: field.encoding[name] for name in PACKING if name in field.encoding}, str(field.name), path)


def check_packing(attributes: dict, name: str, path: Path) -> None:
    """Raise where an attribute that says how numbers are stored (a dict of some of PACKING) makes no sense.

    A fill value is a number or a row of them, an offset a number, a factor one that is not 0.
    """
    for key, value in attributes.items():
        numbers = np.asarray(value)
        good = numbers.dtype.kind in "iuf" and numbers.size > 0
        if key in PACKING[:2]:
            good = good and numbers.size == 1 and bool(np.isfinite(numbers).all()) and (key != PACKING[0] or bool(numbers.all()))
        if not good:
            raise UserError(f"{path}: {name} has {key} = {value!r}, which no number can be unpacked with. Put the attribute right, "
                            "or download the file again.")


def conversion(field: xarray.DataArray, variable: str, path: Path) -> tuple[float, float]:
    """Factor and offset from the unit of a file's field (xarray.DataArray) to the cube's unit of `variable`."""
    known = QUANTITIES[variable].conversions
    if "units" not in field.attrs:
        raise UserError(f"{path}: {field.name} ({variable}) has no attribute `units`; set it to one of: "
                        f"{', '.join(known)}.")
    unit = _plain_unit(field.attrs["units"])
    if unit not in known:
        raise UserError(f"{path}: {field.name} ({variable}) has unit {field.attrs['units']!r}, which is not "
                        f"known; known: {', '.join(known)}. Convert it, or put the attribute right.")
    return known[unit]


def check_cube_values(cube: xarray.Dataset) -> str:
    """Raise where a variable of a cube, or of some of its days, has no value or contradicts the unit that the file states.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`; all its values are read.

    Returns
    -------
    str
        What is odd about their units (`data_processing.units.suspicion`), a line each; GOOD where nothing is.
    """
    from data_processing.units import as_stated, suspicion

    doubts = []
    for variable in map(str, cube.data_vars):
        field = cube[variable]
        unit = field.encoding[FILE_UNITS]
        values = _check_variable(field, variable, unit, cube.encoding["source"])
        doubts.append(suspicion(variable, as_stated(variable, unit, values)))
    return "\n".join(filter(None, doubts)) or GOOD


def _check_variable(field, variable, file_unit, path):
    """Lowest, mean and highest value of a variable; a UserError where they cannot be."""
    from data_processing.units import as_stated, likely_unit

    quantity = QUANTITIES[variable]
    lowest, highest, count, total = np.inf, -np.inf, 0, 0.0
    for days in day_blocks(field.shape):
        values = field[days].values
        valid = values[~np.isnan(values)]
        if valid.size:
            lowest, highest = min(lowest, valid.min()), max(highest, valid.max())
            count, total = count + valid.size, total + valid.sum(dtype=np.float64)
    if count == 0:
        raise UserError(f"{path}: {variable} has no value at all; every day and cell is missing.")
    said = (f"{path}: {variable} reaches from {lowest:.4g} to {highest:.4g} {quantity.unit} when its unit is "
            f"{file_unit!r}")
    if lowest < quantity.lowest or highest > quantity.highest:
        guess = likely_unit(variable, as_stated(variable, file_unit, (lowest, total / count, highest)))
        looks = f"This looks like {guess.unit}{f': {guess.advice}' if guess.advice else ' already'}. Otherwise the" if guess else "The"
        raise UserError(f"{said}; possible are {quantity.lowest:g} to {quantity.highest:g}. {looks} unit or an undeclared fill value "
                        "must be wrong: put the file's attributes right.")
    if quantity.conversions[_plain_unit(file_unit)][0] == 0.01 and highest <= 0.015:
        raise UserError(f"{said}: these look like fractions, not per cent. Put the file's `units` right.")
    return float(lowest), total / count, float(highest)


def day_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Slices of days that together cover [T, ...] arrays of `shape`, each of a size easy on memory."""
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(shape[1:]))))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


# -------------------------------------------------------------------------------------------------------- use
def cube_name(path: str | Path) -> str:
    """Name of a cube: its file name without folder and ending."""
    return Path(path).stem


def cube_variables(path: str | Path) -> tuple[str, ...]:
    """Those of `VARIABLES` that a cube file holds, tuple of str.

    Raises
    ------
    UserError
        No such file, no NetCDF, or none of them.
    """
    with _open_file(Path(path)) as file:
        held = tuple(name for name in VARIABLES if _candidates(file, name))
        found = ", ".join(map(str, file.variables))
    if not held:
        raise UserError(f"{path}: holds none of {', '.join(VARIABLES)}. Found: {found or 'nothing'}.")
    return held


def cube_axes(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes [H] and longitudes [W] of a cube file, ascending as in `open_cube`; only its coordinates are read.

    Raises
    ------
    UserError
        As `open_cube` for what is no cube.
    """
    path = Path(path)
    first = cube_variables(path)[:1]
    with _open_file(path) as file:
        name, = _find_variables(file, first, path).values()
        _, lat, lon = _read_axes(file, _find_dimensions(file, name, path), path)
    return _ascending_latitude(lat, path)[0], _ascending_longitude(lon, path)[0]


def cube_days(cube: xarray.Dataset) -> np.ndarray:
    """Days of a cube, datetime64[D] [T], without holes."""
    return cube["time"].values.astype("datetime64[D]")


def cube_values(cube: xarray.Dataset) -> np.ndarray:
    """All values of a cube, or of some of its days, as one array.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`.

    Returns
    -------
    float32 [T, 3, H, W]
        Variables in the order of `VARIABLES`, in `UNITS`, NaN = missing.
    """
    lacking = [name for name in VARIABLES if name not in cube]
    if lacking:
        raise UserError(f"the cube lacks {', '.join(lacking)}; it holds {', '.join(map(str, cube.data_vars))}.")
    shape = cube[VARIABLES[0]].shape
    values = np.empty((shape[0], len(VARIABLES), *shape[1:]), np.float32)
    for channel, name in enumerate(VARIABLES):
        for days in day_blocks(shape):
            values[days, channel] = cube[name][days].values
    return values


def land_mask(age: np.ndarray, training_days: np.ndarray | slice) -> np.ndarray:
    """Cells with any soil moisture on the training days.

    Parameters
    ----------
    age : uint8 [T, H, W]
        Of soil moisture (`data_processing.gaps.carry_forward`): 0 = observed that day.
    training_days : bool [T], or slice

    Returns
    -------
    bool [H, W]

    Raises
    ------
    UserError
        No cell has any.
    """
    land = np.zeros(age.shape[1:], bool)
    days = np.arange(len(age))[training_days]
    for block in blocks(days.size, age[0].size):
        land |= (age[days[block]] == 0).any(axis=0)
        release(age)
    if not land.any():
        raise UserError(f"no cell has any soil moisture on the {days.size} training days; choose other dates or another cube.")
    return land


class Summary(NamedTuple):
    """One variable of a cube at a glance.

    missing : share of the values. lowest, mean, highest : in the cube's unit. first, last : datetime64[D], days that
    hold a value. mean_map : float [H, W], mean in time, NaN = never a value. series : float [T], mean over the land
    cells that have a value, NaN = none. missing_on : float [T], share of the land cells without a value.
    """

    missing: float
    lowest: float
    mean: float
    highest: float
    first: np.datetime64
    last: np.datetime64
    mean_map: np.ndarray
    series: np.ndarray
    missing_on: np.ndarray


def summarize(cube: xarray.Dataset) -> tuple[np.ndarray, dict[str, Summary]]:
    """Sums over a cube that tell a wrong unit, a flipped map or a hole; read block by block.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`; it may lack variables.

    Returns
    -------
    land : bool [H, W]
        Cells that ever have soil moisture; where the cube has none, that ever have a value of its first variable.
    dict of str to Summary
        In the order of `VARIABLES`; over the land cells.
    """
    names = [name for name in VARIABLES if name in cube]
    land, summaries = None, {}
    for name in sorted(names, key=lambda name: name != "soil_moisture"):
        field = cube[name]
        sums, counts = np.zeros(field.shape[1:]), np.zeros(field.shape[1:], int)
        series, seen = np.full(field.shape[0], np.nan), np.zeros(field.shape[0], int)
        lowest, highest = np.inf, -np.inf
        for days in day_blocks(field.shape):
            values = field[days].values
            if land is not None:
                values[:, ~land] = np.nan
            lowest, highest = np.nanmin(values, initial=lowest), np.nanmax(values, initial=highest)
            valid = ~np.isnan(values)
            values[~valid] = 0
            sums, counts = sums + values.sum(axis=0, dtype=np.float64), counts + valid.sum(axis=0)
            seen[days] = valid.sum(axis=(1, 2))
            with np.errstate(invalid="ignore"):
                series[days] = values.sum(axis=(1, 2), dtype=np.float64) / seen[days]
        if land is None:
            land = counts > 0
        summaries[name] = _summary(cube_days(cube), np.count_nonzero(land), sums, counts, series, seen, lowest, highest)
    return land, {name: summaries[name] for name in names}


def _summary(days, cells, sums, counts, series, seen, lowest, highest):
    held = days[seen > 0] if seen.any() else np.array(["NaT"], "datetime64[D]")
    with np.errstate(invalid="ignore"):
        return Summary(1 - seen.sum() / (days.size * cells), lowest, sums.sum() / counts.sum(), highest, held[0],
                       held[-1], sums / counts, series, 1 - seen / cells)


def describe(cube: xarray.Dataset) -> str:
    """Small text table: days, holes, grid; each variable's values over cells that ever have soil moisture."""
    return describe_summary(cube, *summarize(cube))


def describe_summary(cube: xarray.Dataset, land: np.ndarray, summaries: dict[str, Summary]) -> str:
    """The table of :func:`describe` from what :func:`summarize` returned."""
    time, lat, lon = cube_days(cube), cube["lat"].values, cube["lon"].values
    empty = np.all([summary.missing_on == 1 for summary in summaries.values()], axis=0)
    what = "soil moisture" if "soil_moisture" in summaries else "values"
    lines = [f"days      {time.size}, {time[0]} to {time[-1]}, {np.count_nonzero(empty)} of them without any value",
             f"grid      {lat.size} x {lon.size} cells, {lat[0]:.2f} to {lat[-1]:.2f} N, "
             f"{lon[0]:.2f} to {lon[-1]:.2f} E",
             f"          {np.count_nonzero(land)} with {what}",
             f"{'variable':<17}{'unit':<7}{'missing':>7}{'lowest':>9}{'mean':>9}{'highest':>9}{'first day':>11}"
             f"{'last day':>11}"]
    for name, of in summaries.items():
        lines.append(f"{name:<17}{UNITS[name]:<7}{of.missing:>7.1%}{of.lowest:>9.3g}{of.mean:>9.3g}"
                     f"{of.highest:>9.3g}{str(of.first):>11}{str(of.last):>11}")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ write
def write_cube(path: str | Path, values: np.ndarray, time: np.ndarray, lat: np.ndarray, lon: np.ndarray,
               attributes: dict) -> None:
    """Write a daily cube; the file appears under its name only when it is complete.

    Parameters
    ----------
    path : str or Path
        The folder is made when it does not exist.
    values : float32 [T, 3, H, W]
        In the order of `VARIABLES` and in `UNITS`; NaN = missing.
    time : datetime64[D] [T]
        Every day from the first to the last.
    lat, lon : float [H], [W]
        Cell centres, degrees north and east.
    attributes : dict
        Global attributes (title, source, history, ...). The entry of a variable's name, when there is one, is
        a dict of attributes of that variable (source, comment, ...).
    """
    expected = (len(time), len(VARIABLES), len(lat), len(lon))
    if values.shape != expected:
        raise ValueError(f"values have shape {values.shape}, time, lat and lon ask for {expected}")
    with new_cube(path, time, lat, lon, attributes) as file:
        for channel, name in enumerate(VARIABLES):
            for days in day_blocks(values[:, channel].shape):
                file[name][days] = values[days, channel]


@contextlib.contextmanager
def new_cube(path: str | Path, time: np.ndarray, lat: np.ndarray, lon: np.ndarray, attributes: dict,
             variables: Sequence[str] = VARIABLES) -> Iterator[netCDF4.Dataset]:
    """Create a daily cube to be filled day by day; the file appears under its name only when the block ends well.

    Parameters
    ----------
    path, time, lat, lon, attributes
        As :func:`write_cube` takes them.
    variables : sequence of str
        Those of `VARIABLES` that the cube holds.

    Yields
    ------
    netCDF4.Dataset
        `file[variable]` is float32 [T, H, W] in `UNITS`; what is not written stays missing (NaN).
    """
    time = np.asarray(time, "datetime64[D]")
    if (np.diff(time) != np.timedelta64(1, "D")).any():
        raise ValueError("time must hold every day from the first to the last")
    with replacing(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        _write_coordinates(file, time, np.asarray(lat, np.float64), np.asarray(lon, np.float64))
        for name in variables:
            _create_variable(file, name, attributes.get(name, {}))
        file.setncatts({"Conventions": "CF-1.8"}
                       | {key: value for key, value in attributes.items() if key not in VARIABLES})
        yield file


def _write_coordinates(file, time, lat, lon):
    table = {"time": (time.astype(np.int32), {"units": "days since 1970-01-01", "calendar": "standard",
                                              "axis": "T", "standard_name": "time",
                                              "long_name": "day (UTC)"}),
             "lat": (lat, {"units": "degrees_north", "axis": "Y", "standard_name": "latitude",
                           "long_name": "latitude of the cell centre"}),
             "lon": (lon, {"units": "degrees_east", "axis": "X", "standard_name": "longitude",
                           "long_name": "longitude of the cell centre"})}
    for name, (numbers, attributes) in table.items():
        file.createDimension(name, numbers.size)
        file.createVariable(name, numbers.dtype, (name,))[:] = numbers
        file[name].setncatts(attributes)


def _create_variable(file, name, attributes):
    days, rows, columns = (len(file.dimensions[role]) for role in ROLES)
    days_per_chunk = int(np.clip(2 ** 18 // (rows * columns), 1, days))  # about 1 MB
    variable = file.createVariable(name, np.float32, ROLES, zlib=True, complevel=1, fill_value=np.float32(np.nan),
                                   chunksizes=(days_per_chunk, rows, columns))
    variable.set_var_chunk_cache(size=4 * days_per_chunk * rows * columns + 1)  # the default keeps 64 MB
    quantity = QUANTITIES[name]
    variable.setncatts({"units": quantity.unit, "standard_name": quantity.standard_name,
                        "long_name": quantity.long_name, "cell_methods": quantity.cell_methods} | attributes)
