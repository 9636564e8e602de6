"""Weather forecast files: rain and temperature of the days to come, by the last day before they begin.

A file has the dimensions (init_time, lead_time[, member], lat, lon): `init_time` is the last day before the forecast days, so
that the forecast with lead_time k days is that of the UTC day init_time + k, as in `forecast.nc`. Its variables are
`precipitation` (mm d-1, the day's total) and `air_temperature` (2 m) or `soil_temperature` (K, the day's mean); NaN = missing.
"""
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import netCDF4
import numpy as np

from data_processing.cube import FILL_VALUE, HUGE, QUANTITIES, check_numbers, conversion
from data_processing.errors import UserError
from data_processing.files import check_netcdf, replacing, require_file, unreadable

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("init_time", "lead_time", "member", "lat", "lon")
TEMPERATURES = ("air_temperature", "soil_temperature")
ONE_DAY = np.timedelta64(1, "D")
PREPARE = "data_processing/prepare_weather_forecast.py --like CUBE makes such a file"
# Stored as 16-bit integers: steps far below the errors of any forecast.
PACKING = {"precipitation": {"scale_factor": 0.1, "add_offset": 0.0},  # mm d-1
           "air_temperature": {"scale_factor": 0.1, "add_offset": 250.0},  # K
           "soil_temperature": {"scale_factor": 0.1, "add_offset": 250.0}}
PACKED_FILL = np.int16(-32768)
CHECKED_INIT_DAYS = 16  # evenly spread, whose values are looked at
SAME_PLACE = 1e-3  # degrees
NEVER_FALLING, RISING = 0.98, 0.1  # shares of the wet series, above which they are totals since the start


class WeatherFile(NamedTuple):
    """A checked weather forecast file; `read_weather` reads its values.

    init_time : datetime64[D] [I], ascending; days may lack.
    lead_times : int [K] = 1, 2, ... days.
    members : int, 0 where the file has no such dimension.
    """

    path: Path
    init_time: np.ndarray
    lead_times: np.ndarray
    members: int
    temperature: str
    dataset: "xarray.Dataset"  # of two variables, in the order of DIMENSIONS, latitude and longitude ascending; read when used
    factors: dict  # variable -> (factor, offset) to the units of the cube


# ----------------------------------------------------------------------------------------------------------- write
@contextlib.contextmanager
def new_weather_file(path: str | Path, init_time: np.ndarray, lead_times: np.ndarray, members: int, lat: np.ndarray,
                     lon: np.ndarray, temperature: str, attributes: dict, complevel: int = 1) -> Iterator[netCDF4.Dataset]:
    """Create a weather forecast file to be filled; it appears under its name only when the block ends well.

    Parameters
    ----------
    path : str or Path
    init_time : datetime64[D] [I]
        Ascending; last day before the forecast days.
    lead_times : int [K]
        1, 2, ... days.
    members : int
        0 = no dimension `member`.
    lat, lon : float [H], [W]
        Cell centres, degrees.
    temperature : str
        One of TEMPERATURES.
    attributes : dict
        Global attributes: title, source, history, ...
    complevel : int
        1 (fast) .. 9 (small).

    Yields
    ------
    netCDF4.Dataset
        `file[variable]` takes values [I, K[, members], H, W] in mm d-1 and K, masked = missing (NaN would be packed as a number).
    """
    init_time = np.asarray(init_time, "datetime64[D]")
    with replacing(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        axes: dict[str, tuple] = {
                "init_time": (init_time.astype(np.int32), {"units": "days since 1970-01-01", "calendar": "standard",
                                                           "long_name": "last day before the forecast days (UTC)"}),
                "lead_time": (np.asarray(lead_times, np.int32), {"units": "days", "standard_name": "forecast_period",
                                                                 "long_name": "from init_time to the day that is forecast"}),
                "member": (np.arange(members, dtype=np.int32), {"standard_name": "realization"}),
                "lat": (np.asarray(lat, np.float64), {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}),
                "lon": (np.asarray(lon, np.float64), {"units": "degrees_east", "standard_name": "longitude", "axis": "X"})}
        if not members:
            del axes["member"]
        for name, (values, of_axis) in axes.items():
            file.createDimension(name, len(values))
            file.createVariable(name, values.dtype, (name,))[:] = values
            file[name].setncatts(of_axis)
        valid = init_time[:, None].astype(np.int32) + np.asarray(lead_times, np.int32)
        file.createVariable("valid_time", np.int32, ("init_time", "lead_time"))[:] = valid
        file["valid_time"].setncatts({"units": "days since 1970-01-01", "calendar": "standard", "standard_name": "time",
                                      "long_name": "day that is forecast (UTC)"})
        described = {"precipitation": {"units": "mm d-1", "standard_name": "lwe_precipitation_rate",
                                       "long_name": "precipitation of the day", "cell_methods": "valid_time: mean"},
                     temperature: {"units": "K", "standard_name": temperature, "cell_methods": "valid_time: mean",
                                   "long_name": f"{'2 m ' if temperature == 'air_temperature' else ''}"
                                                f"{temperature.replace('_', ' ')}, mean of the day"}}
        for name, of_variable in described.items():
            chunk = [1 if axis in ("init_time", "member") else len(values) for axis, (values, _) in axes.items()]
            packed: dict = {"zlib": True, "complevel": complevel, "shuffle": True, "chunksizes": chunk, "fill_value": PACKED_FILL}
            variable = file.createVariable(name, np.int16, tuple(axes), **packed)
            variable.setncatts(of_variable | PACKING[name] | {"coordinates": "valid_time"})
        file.setncatts({"Conventions": "CF-1.8"} | attributes)
        yield file


# ------------------------------------------------------------------------------------------------------------ read
def open_weather_file(path: str | Path, lat: np.ndarray, lon: np.ndarray) -> WeatherFile:
    """Open a weather forecast file and check it like a cube.

    Parameters
    ----------
    path : str or Path
    lat, lon : float [H], [W]
        Cell centres of the cube that it is to serve, degrees, ascending.

    Returns
    -------
    WeatherFile

    Raises
    ------
    UserError
        No such file, no NetCDF; a variable, a dimension, a day or a unit is absent, doubtful or unknown; other cells than the
        cube's; precipitation that adds up from the start of the forecast; values that contradict their unit.
    """
    import xarray as xr  # slow to import, and not needed to write such a file

    path = Path(path)
    require_file(path, str(path), "Give a weather forecast file, as prepare_weather_forecast.py makes it.")
    check_netcdf(path)
    try:
        dataset = xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(use_cftime=False), decode_timedelta=False,
                                  mask_and_scale=True)
    except Exception as error:  # whatever the library raises for a file that is not its own
        raise unreadable(path, error) from None
    present = set(dataset.variables)
    temperature = next((name for name in TEMPERATURES if name in dataset.data_vars), None)
    if "precipitation" not in dataset.data_vars or temperature is None:
        raise UserError(f"{path} has the variables {', '.join(sorted(map(str, dataset.data_vars))) or 'none'}; needed are precipitation "
                        f"and {' or '.join(TEMPERATURES)}. {PREPARE}.")
    dimensions = tuple(name for name in DIMENSIONS if name != "member" or "member" in dataset.dims)
    for name in ("precipitation", temperature):
        if set(dataset[name].dims) != set(dimensions):
            raise UserError(f"{path}: {name} has the dimensions {', '.join(map(str, dataset[name].dims))}; needed are "
                            f"{', '.join(dimensions)}. {PREPARE}.")
    lacking = [name for name in dimensions if name != "member" and name not in present]
    if lacking:
        raise UserError(f"{path} has no coordinate {', '.join(lacking)}. {PREPARE}.")
    dataset = dataset[["precipitation", temperature]].transpose(*dimensions)
    for name in ("precipitation", temperature):
        check_numbers(dataset[name], name, path)
    factors = {name: conversion(dataset[name], "precipitation" if name == "precipitation" else "soil_temperature", path)
               for name in ("precipitation", temperature)}
    dataset = _ascending(dataset, path)
    _check_cells(dataset, lat, lon, path)
    file = WeatherFile(path, _init_days(dataset, path), _lead_days(dataset, path), dataset.sizes.get("member", 0), temperature,
                       dataset, factors)
    _check_values(file)
    return file


def read_weather(file: WeatherFile, init_time: np.ndarray, members: slice = slice(None)) -> np.ndarray:
    """Forecasts of some init days.

    Parameters
    ----------
    file : WeatherFile
    init_time : datetime64[D] [n]
        Any days; those that the file lacks are NaN.
    members : slice

    Returns
    -------
    float32 [n, members, K, 2, H, W]
        Precipitation, mm d-1, and temperature, K; NaN = missing. One member where the file has no such dimension.
    """
    init_time = np.asarray(init_time, "datetime64[D]")
    place = np.searchsorted(file.init_time, init_time)
    held = (place < len(file.init_time)) & (file.init_time[np.minimum(place, len(file.init_time) - 1)] == init_time)
    count = len(range(max(file.members, 1))[members])
    shape = (len(init_time), count, len(file.lead_times), 2, *(file.dataset.sizes[axis] for axis in ("lat", "lon")))
    values = np.full(shape, np.nan, np.float32)
    if held.any():
        order, back = np.unique(place[held], return_inverse=True)
        for number, name in enumerate(("precipitation", file.temperature)):
            field = file.dataset[name].isel(init_time=order)
            field = field.isel(member=members) if file.members else field.expand_dims(member=1, axis=2)
            try:
                raw = field.values
            except (RuntimeError, OSError) as error:  # the library's words for a chunk that cannot be unpacked
                raise unreadable(file.path, error) from None
            if raw.dtype.kind not in "iuf":
                raise UserError(f"{file.path}: {name} holds no numbers. {PREPARE}.")
            values[held, :, :, number] = np.swapaxes(_physical(raw, *file.factors[name]), 1, 2)[back]
    return values


def _physical(raw, factor, offset):
    raw = np.where(~np.isfinite(raw) | (raw == FILL_VALUE) | (np.abs(raw) >= HUGE), np.nan, raw)
    return (raw * factor + offset).astype(np.float32)


def _ascending(dataset, path):
    """The same, latitudes and longitudes ascending, longitudes as a cube has them."""
    for axis in ("lat", "lon"):
        if not (dataset.sizes[axis] and dataset[axis].dtype.kind in "iuf" and np.isfinite(dataset[axis].values).all()):
            raise UserError(f"{path}: {axis} is empty or not a number somewhere; every cell needs a position.")
    lon = dataset["lon"].values.astype(np.float64)
    middle = (lon.min() + lon.max()) / 2
    dataset = dataset.assign_coords(lon=lon - 360.0 * np.floor((middle + 180.0) / 360.0))
    for axis in ("lat", "lon"):
        if len(np.unique(dataset[axis])) != dataset.sizes[axis]:
            raise UserError(f"{path}: {axis} holds a position twice.")
        dataset = dataset.isel({axis: np.argsort(dataset[axis].values)})
    return dataset


def _check_cells(dataset, lat, lon, path):
    for axis, wanted in (("lat", lat), ("lon", lon)):
        found = dataset[axis].values
        if len(found) != len(wanted) or not np.allclose(found, wanted, atol=SAME_PLACE):
            raise UserError(f"{path} has {len(found)} cells from {found[0]:.3f} to {found[-1]:.3f} along {axis}, the cube "
                            f"{len(wanted)} from {wanted[0]:.3f} to {wanted[-1]:.3f}: they must be the same cells. {PREPARE}.")


def _init_days(dataset, path):
    days = dataset["init_time"].values
    if days.dtype.kind != "M":
        raise UserError(f"{path}: init_time holds no dates; its units must be such as 'days since 1970-01-01'.")
    days = days.astype("datetime64[D]")
    if len(days) == 0 or np.isnat(days).any() or (np.diff(days) < ONE_DAY).any():
        raise UserError(f"{path}: init_time must be ascending, one forecast a day; it is not. Keep one forecast of each day.")
    return days


def _lead_days(dataset, path):
    steps = dataset["lead_time"]
    unit = str(steps.attrs.get("units", "days")).lower()
    days = steps.values / (24.0 if unit.startswith("h") else 1.0)
    if not unit.startswith(("d", "h")) or not np.array_equal(days, np.arange(1, len(days) + 1)):
        raise UserError(f"{path}: lead_time is {', '.join(f'{value:g}' for value in steps.values[:5])}, ... {unit}; it must be "
                        "1, 2, 3, ... days from init_time, the last day before the forecast, to each day that is forecast.")
    return days.astype(int)


def _check_values(file):
    """Raise where values contradict their unit, where rain adds up over the days, or where there is nothing."""
    chosen = np.unique(np.linspace(0, len(file.init_time) - 1, CHECKED_INIT_DAYS).astype(int))
    values = read_weather(file, file.init_time[chosen])
    for number, name in enumerate(("precipitation", file.temperature)):
        quantity = QUANTITIES["precipitation" if name == "precipitation" else "soil_temperature"]
        valid = values[:, :, :, number][np.isfinite(values[:, :, :, number])]
        if valid.size == 0:
            raise UserError(f"{file.path}: {name} has no value on any of {len(chosen)} days that were looked at.")
        if valid.min() < quantity.lowest or valid.max() > quantity.highest:
            raise UserError(f"{file.path}: {name} reaches from {valid.min():.4g} to {valid.max():.4g} {quantity.unit} when its "
                            f"unit is {file.dataset[name].attrs['units']!r}; possible are {quantity.lowest:g} to "
                            f"{quantity.highest:g}. Put the file's attributes right.")
    rain = values[:, :, :, 0]
    if len(file.lead_times) > 2:
        wet = np.isfinite(rain).all(axis=2) & (rain.max(axis=2) > 1.0)
        never_falls = (np.diff(rain, axis=2) >= -0.2).all(axis=2)
        rises = rain[:, :, -1] > rain[:, :, 0] + 1.0  # steady rain does not
        if wet.any() and never_falls[wet].mean() > NEVER_FALLING and rises[wet].mean() > RISING:
            raise UserError(f"{file.path}: precipitation never falls from one day of a forecast to the next: it is the total "
                            f"since the start of the forecast, not that of each day. {PREPARE}.")
