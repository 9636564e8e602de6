"""One day's maps of a cube or of a forecast file, whichever it is."""
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from data_processing.cube import QUANTITIES, UNITS, cube_days, cube_variables, first_line, open_cube
from data_processing.errors import UserError
from data_processing.files import check_netcdf, require_file
from data_processing.splits import parse_date
from data_processing.units import suspicion_of_days
from utils.captions import FORECASTS, is_synthetic, lead_text, product_of_run

FORECAST_DIMENSIONS = ("init_time", "lead_time", "lat", "lon")
COMPARED = ("observed", "forecast", "spread")  # what is shown of a forecast where no variable is named
DAYS_OF_UNIT = 12  # spread over a cube, that tell with the drawn one whether its unit can be right
DAYS_LOOKED_AT = 10  # with values, from the end of the file, of which the one with most is shown


class DailyMaps(NamedTuple):
    """What may be drawn of a file."""

    path: Path
    names: tuple[str, ...]  # of the variables to show
    days: np.ndarray  # datetime64[D] [T], ascending; of a forecast those that are forecast
    lat: np.ndarray  # [H], degrees north
    lon: np.ndarray  # [W], degrees east
    read: Callable  # of a name and an index into `days`: float32 [H, W], NaN = missing
    labels: dict  # name -> (long name, unit)
    title: str  # what the file says it is
    product: str  # of which data it is, for captions
    lead_time: int | None  # days; None: no forecast
    doubt: Callable  # of the index of the day that is shown: what is suspicious about the unit, "" where nothing is


def open_maps(path: Path, variable: str | None = None, lead_time: int | None = None) -> DailyMaps:
    """Open a cube or a forecast file.

    Parameters
    ----------
    path : Path
    variable : str, optional
        Default soil moisture (where a cube lacks it, its first variable); of a forecast those of COMPARED that it holds.
    lead_time : int, optional
        Days, of a forecast; default the longest.

    Returns
    -------
    DailyMaps

    Raises
    ------
    UserError
        No such file, or it is neither; no such variable or lead time.
    """
    require_file(path, str(path), "Name a cube or a forecast.nc.")
    check_netcdf(path)
    try:
        file = xr.open_dataset(path, engine="netcdf4", cache=False)
        is_forecast = file["forecast"].dims == FORECAST_DIMENSIONS if "forecast" in file else False
    except Exception as error:  # whatever the library raises for a file that is not its own
        raise UserError(f"{path}: not a NetCDF file that can be read ({first_line(error)}). Name a cube or a forecast.nc.") from None
    if is_forecast:
        return _open_forecast(path, file, variable, lead_time)
    file.close()
    if lead_time is not None:
        raise UserError(f"{path} is a cube, not a forecast: it has no lead time. Leave out --lead.")
    held = cube_variables(path)
    name = variable or ("soil_moisture" if "soil_moisture" in held else held[0])
    _check_name(path, name, held)
    cube = open_cube(path, (name,), check_values=False)
    title = str(cube.attrs.get("title") or path.stem)
    return DailyMaps(path, (name,), cube_days(cube), cube["lat"].values, cube["lon"].values,
                     lambda name, day: cube[name][day].values, {name: (QUANTITIES[name].long_name, UNITS[name])},
                     title.split(" (")[0] if is_synthetic(title) else title, title, None,
                     lambda day: suspicion_of_days(cube[name], {*np.linspace(0, len(cube["time"]) - 1, DAYS_OF_UNIT, dtype=int), day}))


def _open_forecast(path, file, variable, lead_time):
    lead_times = file["lead_time"].values
    lead_times = (lead_times / np.timedelta64(1, "D") if lead_times.dtype.kind == "m" else lead_times).astype(int).tolist()
    lead_time = max(lead_times) if lead_time is None else lead_time
    if lead_time not in lead_times:
        raise UserError(f"{path} has no forecast {lead_text((lead_time,))} ahead; it has {lead_text(tuple(lead_times))}.")
    held = [name for name in file.data_vars if file[name].dims == FORECAST_DIMENSIONS]
    _check_name(path, variable or "forecast", held)
    names = (variable,) if variable else tuple(name for name in COMPARED if name in held)
    days = file["init_time"].values.astype("datetime64[D]") + np.timedelta64(lead_time, "D")
    order = np.argsort(days, kind="stable")
    lead = lead_times.index(lead_time)
    labels = {name: (str(file[name].attrs.get("long_name", name.replace("_", " "))), str(file[name].attrs.get("units", "")))
              for name in names}
    title = str(file.attrs.get("title") or path.stem).removeprefix(FORECASTS)
    product = str(file.attrs.get("data") or product_of_run(path.parent, str(file.attrs.get("source", title))))
    return DailyMaps(path, names, days[order], file["lat"].values, file["lon"].values,
                     lambda name, day: file[name][order[day], lead].values, labels, title, product, lead_time,
                     lambda day: "")


def _check_name(path, name, held):
    if name not in held:
        raise UserError(f"{path} has no variable {name!r} with a map for each day; it has {', '.join(held)}.")


def find_day(maps: DailyMaps, asked: str | None = None) -> int:
    """Index of the day to show.

    Parameters
    ----------
    maps : DailyMaps
    asked : str, optional
        Date; default the one with most values of the last DAYS_LOOKED_AT days that have any (observed ones, if there are).

    Returns
    -------
    int

    Raises
    ------
    UserError
        The file does not have that day, or no value on it, or no value at all.
    """
    def values_on(day, names):
        return max(np.count_nonzero(np.isfinite(maps.read(name, day))) for name in names)

    if asked is not None:
        date = parse_date(asked, "day")
        found = np.flatnonzero(maps.days == date)
        what = "days" if maps.lead_time is None else f"days that are forecast {lead_text((maps.lead_time,))} ahead"
        if not found.size:
            raise UserError(f"{maps.path} does not hold {date}; its {what} are {maps.days[0]} to {maps.days[-1]}.")
        if not values_on(found[0], maps.names):
            raise UserError(f"{maps.path} has no value of {', '.join(maps.names)} on {date}. Choose another day.")
        return int(found[0])
    for names in [maps.names[:1], maps.names]:
        best = {}
        for day in range(len(maps.days) - 1, -1, -1):
            count = values_on(day, names)
            if count:
                best[day] = count
            if len(best) == DAYS_LOOKED_AT:
                break
        if best:
            return max(best, key=best.__getitem__)
    raise UserError(f"{maps.path} has no value of {', '.join(maps.names)} on any day.")
