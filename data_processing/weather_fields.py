"""Fields of weather forecasts in GRIB and NetCDF files as ECMWF (open data, MARS, TIGGE) and NOAA (GEFS) deliver them.

Rain comes as totals over intervals of the forecast: from its start (ECMWF, TIGGE) or in buckets that begin anew every 3 or
6 hours (GEFS: 0-3, 0-6, 6-9, 6-12, ... h); temperature of 2 m as it is at a step. A file is first scanned, message by
message, for what it holds and where; a field is read when it is needed. Units are those that the file states.

Layouts: https://confluence.ecmwf.int "ECMWF open data: real-time forecasts" and "TIGGE"; GEFS: the stepRange of its messages.
"""
import json
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np

from data_processing.cube import HUGE, PACKING, check_packing
from data_processing.era5_files import NUMBERS
from data_processing.errors import UserError
from data_processing.files import HDF5_SIGNATURE, check_netcdf, replacing, unreadable
from data_processing.grib import eccodes

ENDINGS = (".grib2", ".grb2", ".grib", ".grb", ".nc", ".nc4")
VARIABLES = ("precipitation", "air_temperature")
RAIN, TEMPERATURE = range(len(VARIABLES))
SHORT_NAMES = {"tp": RAIN, "2t": TEMPERATURE}  # of ecCodes, whatever the centre
NAMES = {RAIN: ("tp", "total_precipitation", "apcp", "precipitation"),
         TEMPERATURE: ("t2m", "2t", "tmp2m", "2m_temperature", "air_temperature")}  # in NetCDF, lower case
UNITS = {RAIN: {"m": (1e3, 0.0), "mm": (1.0, 0.0), "kg m-2": (1.0, 0.0)},  # to mm: 1 kg m-2 of water is 1 mm
         TEMPERATURE: {"k": (1.0, 0.0), "kelvin": (1.0, 0.0), "degc": (1.0, 273.15), "celsius": (1.0, 273.15)}}  # to K
STEP_TYPES = {RAIN: "accum", TEMPERATURE: "instant"}
ROLES = {"lat": ("latitude", "lat"), "lon": ("longitude", "lon"),
         "step": ("step", "forecast_period", "lead_time", "leadtime", "prediction_timedelta"),
         "start": ("forecast_reference_time", "init_time", "initial_time", "time"),
         "member": ("number", "member", "realization", "ensemble")}
PER_HOUR = {"d": 1 / 24, "h": 1, "m": 60, "s": 3600, "n": 3600e9}  # days, hours, minutes, seconds, nanoseconds
MOST_POINTS = 2 ** 28  # of a map; one of 0.1 degrees around the globe has 6.5 million
FIRST_YEAR = 1900
MOST_HOURS = 100_000  # from the start of a forecast
NO_MEMBER = -1  # a forecast without a number: HRES, or the control forecast
WANTED = "GRIB, NetCDF nor HDF5"

FIELD = np.dtype([("file", "i4"),  # number of the file among those scanned
                  ("start", "i8"),  # h since 1970-01-01 00 UTC
                  ("member", "i4"), ("variable", "i4"),
                  ("begin", "i4"), ("end", "i4"),  # h since the start; temperature: both are the step
                  ("grid", "i4"),
                  ("place", "i8"), ("length", "i8"),  # GRIB: bytes; NetCDF: flat index along all axes but the map's, 0
                  ("factor", "f8"), ("offset", "f8")])  # from the stated unit to mm or K


class Scan(NamedTuple):
    """What a file holds.

    fields : FIELD [n]. grids : list of (lat, lon), tuples of float in the order of the file, degrees.
    origin : str, the centre, such as "ecmf"; "" where the file does not say.
    """

    fields: np.ndarray
    grids: list
    origin: str


def scan_file(path: Path) -> Scan:
    """Find the rain and temperature fields of a file.

    Parameters
    ----------
    path : Path
        GRIB of any number of messages, of which those of other variables are passed over, or NetCDF.

    Returns
    -------
    Scan

    Raises
    ------
    UserError
        Not such a file, damaged, cut off; neither variable; a unit, a grid, a step or an axis that is not known.
    """
    try:
        with open(path, "rb") as file:
            signature = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        raise unreadable(path, error, WANTED) from None
    scan = _scan_netcdf(path) if signature.startswith((HDF5_SIGNATURE, b"CDF")) else _scan_grib(path)
    if not len(scan.fields):
        raise UserError(f"{path}: holds neither total precipitation (tp) nor the temperature of 2 m (2t) of a forecast. Take "
                        "it out, or download these.")
    return scan


def store_scan(path: Path, scan: Scan) -> None:
    """Keep a scan in a file (.npz)."""
    with replacing(path) as temporary:
        np.savez(temporary, fields=scan.fields, rest=json.dumps([scan.grids, scan.origin]))


def stored_scan(path: Path) -> Scan | None:
    """A scan that was kept, or None."""
    try:
        with np.load(path) as kept:
            fields = kept["fields"]
            grids, origin = json.loads(str(kept["rest"]))
            return Scan(fields, [tuple(map(tuple, grid)) for grid in grids], origin)
    except Exception:  # a damaged ZIP is told by many kinds; it is made again
        return None


class FieldReader:
    """Reads fields; one file is open at a time, so ask for them in the order of files."""

    def __init__(self):
        self._path, self._file = None, None

    def read(self, path: Path, field: np.void) -> np.ndarray:
        """Values of a field.

        Parameters
        ----------
        path : Path
        field : FIELD
            Of the scan of this file.

        Returns
        -------
        float64 [h, w]
            mm or K, NaN = missing; rows and columns in the order of the scan's grid.
        """
        if path != self._path:
            self.close()
            self._file = netCDF4.Dataset(path) if not field["length"] else open(path, "rb")
            self._path = path
        try:
            values = self._grib_values(field) if field["length"] else self._netcdf_values(field)
        except (eccodes.CodesInternalError, RuntimeError, OSError, ValueError, IndexError) as error:
            raise unreadable(path, error, WANTED) from None
        values[~(np.abs(values) < HUGE)] = np.nan
        return values * field["factor"] + field["offset"]

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._path, self._file = None, None

    def _grib_values(self, field):
        self._file.seek(field["place"])
        message = eccodes.codes_new_from_message(self._file.read(field["length"]))
        try:
            eccodes.codes_set(message, "missingValue", 10 * HUGE)
            shape = [eccodes.codes_get(message, key) for key in ("Nj", "Ni")]
            return eccodes.codes_get_values(message).reshape(shape)
        finally:
            eccodes.codes_release(message)

    def _netcdf_values(self, field):
        variable = _variables(self._file)[field["variable"]]
        lat, lon = (_axis(self._file, variable, role).dimensions[0] for role in ("lat", "lon"))
        leading = [axis for axis, name in enumerate(variable.dimensions) if name not in (lat, lon)]
        index = [slice(None)] * variable.ndim
        place = np.unravel_index(field["place"], [variable.shape[axis] for axis in leading])
        for axis, number in zip(leading, place):
            index[axis] = int(number)
        values = np.ma.filled(np.ma.asarray(variable[tuple(index)], np.float64), np.nan)
        return values if variable.dimensions.index(lat) < variable.dimensions.index(lon) else values.T


def _conversion(variable, unit, path):
    """Factor and offset from a unit to mm or K."""
    known = UNITS[variable]
    plain = " ".join(str(unit).replace("**", "").replace("^", "").split()).lower()
    if plain not in known:
        raise UserError(f"{path}: {VARIABLES[variable]} has the unit {unit!r}; known are {', '.join(known)}. "
                        "Put the file's unit right, or take it out.")
    return known[plain]


# ------------------------------------------------------------------------------------------------------------- GRIB
def _scan_grib(path):
    found, grids, origins = [], [], set()
    with open(path, "rb") as file:
        messages = 0
        while True:
            try:
                message = eccodes.codes_grib_new_from_file(file, headers_only=True)
                if message is None:
                    break
                messages += 1
                try:
                    variable = _variable_of(message)
                    if variable is not None:
                        found.append(_field_of(message, variable, grids, path))
                        origins.add(_origin_of(message))
                finally:
                    eccodes.codes_release(message)
            except eccodes.CodesInternalError as error:
                raise unreadable(path, error, WANTED) from None
    if not messages:
        raise unreadable(path, "no message", WANTED)
    if len(origins) > 1:
        raise UserError(f"{path}: holds forecasts of several models ({', '.join(sorted(origins))}); make a file of each.")
    fields = np.array([field for field in found if field is not None], FIELD)
    return Scan(fields, grids, origins.pop() if origins else "")


def _variable_of(message):
    """RAIN, TEMPERATURE, or None: another variable, or a mean or spread of the members."""
    variable = SHORT_NAMES.get(eccodes.codes_get(message, "shortName"))
    return None if eccodes.codes_is_defined(message, "derivedForecast") else variable


def _field_of(message, variable, grids, path):
    """A message as tuple of FIELD; None for rain of no time."""
    get = eccodes.codes_get
    step_type, centre = get(message, "stepType"), get(message, "centre")
    eccodes.codes_set(message, "stepUnits", "h")
    begin, end = get(message, "startStep", ktype=int), get(message, "endStep", ktype=int)
    if get(message, "edition") == 1 and centre == "ecmf" and variable == RAIN and begin == end:
        begin, step_type = 0, "accum"  # GRIB 1 of ECMWF states only the end of what it adds up from the start
    if step_type != STEP_TYPES[variable]:
        raise UserError(f"{path}: {get(message, 'shortName')} is of step type {step_type!r}; needed is "
                        f"{STEP_TYPES[variable]!r}. Take it out.")
    if not 0 <= begin <= end < 2 ** 31:
        raise UserError(f"{path}: {get(message, 'shortName')} is of {begin} to {end} h after the start, which is no forecast. Download "
                        "it again.")
    if variable == RAIN and begin == end:
        return None
    date, hour = get(message, "dataDate"), get(message, "dataTime") // 100
    try:
        day = np.datetime64(f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}", "h")
    except ValueError:
        day = None
    if day is None or date < 10000 * FIRST_YEAR or not 0 <= hour < 24:
        raise UserError(f"{path}: {get(message, 'shortName')} starts on {date} at {hour} h, which is no date. Download it again.")
    member = get(message, "number") if eccodes.codes_is_defined(message, "number") else NO_MEMBER
    factor, offset = _conversion(variable, get(message, "units"), path)
    grid = _grid_number(_grid_of(message, path), grids, path)
    return (0, day.astype(int) + hour, member, variable, begin, end, grid,
            int(eccodes.codes_get_message_offset(message)), get(message, "totalLength"), factor, offset)


def _origin_of(message):
    learned = eccodes.codes_is_defined(message, "class") and eccodes.codes_get(message, "class") == "ai"
    return eccodes.codes_get(message, "centre") + (" (AIFS)" if learned else "")


def _grid_of(message, path):
    """Latitudes and longitudes in the order of the message."""
    get = eccodes.codes_get
    kind = get(message, "gridType")
    plain = kind == "regular_ll" and not any(get(message, key) for key in ("iScansNegatively", "jPointsAreConsecutive",
                                                                           "alternativeRowScanning"))
    if not plain:
        raise UserError(f"{path}: the grid is {kind}{'' if kind != 'regular_ll' else ' in an unusual order'}; needed are regular "
                        "latitudes and longitudes. Ask the service for them (grid=0.25/0.25).")
    columns, rows, points = (get(message, key, ktype=int) for key in ("Ni", "Nj", "numberOfDataPoints"))
    if not (columns >= 1 <= rows and columns * rows == points <= MOST_POINTS):
        raise UserError(f"{path}: a map of {rows} x {columns} cells that is to hold {points} values: damaged. Download it again.")
    north, south, west, east = (get(message, f"{which}GridPointInDegrees", ktype=float) for which in (
        "latitudeOfFirst", "latitudeOfLast", "longitudeOfFirst", "longitudeOfLast"))
    lat = np.linspace(north, south, rows)
    lon = west + np.linspace(0.0, (east - west) % 360, columns)
    return tuple(np.round(lat, 6).tolist()), tuple(np.round(lon, 6).tolist())


def _grid_number(grid, grids, path):
    """Number of a grid (latitudes, longitudes) among those found; one that is none is refused."""
    lat, lon = map(np.array, grid)
    turned = lon % 360
    if not (lat.size and lon.size and np.isfinite(lat).all() and np.isfinite(lon).all() and np.abs(lat).max() <= 90
            and np.unique(lat).size == lat.size and np.unique(turned).size == turned.size):
        raise UserError(f"{path}: its latitudes or longitudes are missing, twice the same or no degrees. Download it again.")
    if grid not in grids:
        grids.append(grid)
    return grids.index(grid)


# ----------------------------------------------------------------------------------------------------------- NetCDF
def _variables(file):
    """Number of a variable -> netCDF4.Variable."""
    named = {name.lower(): variable for name, variable in file.variables.items()}
    found = {number: next((named[name] for name in names if name in named), None) for number, names in NAMES.items()}
    return {number: variable for number, variable in found.items() if variable is not None}


def _scan_netcdf(path):
    check_netcdf(path)
    try:
        with netCDF4.Dataset(path) as file:
            found, grids, origin = [], [], ""
            for number, variable in _variables(file).items():
                found.append(_netcdf_fields(file, variable, number, grids, path))
                origin = str(getattr(variable, "GRIB_centre", getattr(file, "GRIB_centre", origin)))
    except UserError:
        raise
    except Exception as error:  # of many kinds where what the file says of itself does not agree
        raise unreadable(path, error, WANTED) from None
    return Scan(np.concatenate(found) if found else np.empty(0, FIELD), grids, origin)


def _netcdf_fields(file, variable, number, grids, path):
    """FIELD [n] of one variable: rain is taken as the total since the start of the forecast."""
    axes = {role: _axis(file, variable, role) for role in ROLES}
    if axes["step"] is None or axes["start"] is None:
        raise UserError(f"{path}: {variable.name} has the dimensions {', '.join(variable.dimensions)}; needed are the start of "
                        "the forecast (time) and the steps since then (step), which this file does not tell. Take the GRIB.")
    if axes["lat"] is None or axes["lon"] is None or axes["lat"].ndim != 1:
        raise UserError(f"{path}: {variable.name} has no axes of latitude and longitude. Take the GRIB.")
    if not hasattr(variable, "units"):
        raise UserError(f"{path}: {variable.name} states no unit. Put it right, or take the file out.")
    if any(axis.dtype not in NUMBERS for axis in (variable, *axes.values()) if axis is not None):
        raise UserError(f"{path}: {variable.name} or one of its axes holds no numbers. Download it again.")
    check_packing({key: variable.getncattr(key) for key in PACKING if key in variable.ncattrs()}, variable.name, path)
    factor, offset = _conversion(number, variable.units, path)
    shape, of_role = [], {}
    for name, size in zip(variable.dimensions, variable.shape):
        role = next((role for role, axis in axes.items() if axis is not None and name in axis.dimensions), None)
        if role in ("lat", "lon"):
            continue
        if role is None and size > 1:
            raise UserError(f"{path}: {variable.name} has besides time, step and member the dimension {name} of length {size}. "
                            "Take the GRIB.")
        of_role[role] = len(shape)
        shape.append(size)
    places = np.indices(shape).reshape(len(shape), -1)
    count = places.shape[1] if shape else 1
    values = {"start": _hours_since_1970(axes["start"], path), "step": _hours(axes["step"], path),
              "member": np.array([NO_MEMBER]) if axes["member"] is None else np.atleast_1d(axes["member"][...]).astype(int)}
    fields = np.zeros(count, FIELD)
    for role, name in (("start", "start"), ("step", "end"), ("member", "member")):
        fields[name] = values[role][places[of_role[role]]] if role in of_role else values[role][0]
    fields["begin"] = 0 if number == RAIN else fields["end"]
    fields["variable"], fields["place"] = number, np.arange(count)
    fields["factor"], fields["offset"] = factor, offset
    fields["grid"] = _grid_number(tuple(tuple(_filled(axes[role]).tolist()) for role in ("lat", "lon")), grids, path)
    return fields if number == TEMPERATURE else fields[fields["end"] > 0]


def _axis(file, variable, role):
    """The variable that tells a role's positions, of one dimension of `variable` or without; None: there is none."""
    for name in ROLES[role]:
        if name in file.variables and set(file[name].dimensions) <= set(variable.dimensions) and file[name].ndim <= 1:
            return file[name]
    return None


def _filled(axis):
    """Numbers of an axis, float64 [n], NaN = missing."""
    return np.ma.filled(np.ma.atleast_1d(axis[...]).astype(np.float64), np.nan)


def _hours_since_1970(axis, path):
    try:
        if not np.isfinite(_filled(axis)).all():
            raise ValueError("one is not a number")
        dates = netCDF4.num2date(np.atleast_1d(axis[...]), axis.units, getattr(axis, "calendar", "standard"),
                                 only_use_cftime_datetimes=False, only_use_python_datetimes=True)
    except (ValueError, AttributeError, OverflowError, TypeError) as error:
        raise UserError(f"{path}: {axis.name} cannot be read as dates ({error}).") from None
    return np.array(dates, "datetime64[h]").astype(int)


def _hours(axis, path):
    unit = str(getattr(axis, "units", "")).lower()
    if unit[:1] not in PER_HOUR or unit.startswith("month") or "since" in unit:
        raise UserError(f"{path}: {axis.name} has the unit {getattr(axis, 'units', None)!r}; it must be hours, days or seconds "
                        "since the start of the forecast.")
    hours = _filled(axis) / PER_HOUR[unit[:1]]
    if not (np.abs(hours - np.round(hours)) <= 1e-3).all() or not (np.abs(hours) < MOST_HOURS).all():
        raise UserError(f"{path}: {axis.name} is no number of whole hours from the start of the forecast.")
    return np.round(hours).astype(int)
