"""Write the synthetic twin's two domains as small files in the layouts of SMAP L4 and ERA5-Land; nothing real in them.

With them the two prepare_* scripts can be tried without an account; the commands are printed at the end.

Reads   the twin's daily cubes (made first when absent)

Writes  data/twin/files/
        smap_l4/granules/     eight SPL4SMGP granules a day (version 7, native 9 km cells of the box)
        era5_land/downloads/  hourly ERA5-Land on 0.1 degrees: one file a variable in the first month, one ZIP for
                              each later month, and the 00 UTC stamp that completes the rain of the last day
        twin_<domain>_box.nc  the twin's own values of the same days in its own cells: what the cubes made from the
                              files must be like

Run     python data_processing/write_twin_files.py

Expect  360 granules and 5 files, 15 MB, in 15 seconds
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from data_processing import twin, twin_weather
from data_processing.cube import VARIABLES, cube_days, cube_values, open_cube, write_cube
from data_processing.errors import UserError
from data_processing.files import PROJECT
from data_processing.regrid import Grid, Regridder, axes_grid, box_window, cover_window, crop, ease_grid
from data_processing.terminal import progress_bar
from data_processing.twin_files import granule_name, write_era5_month, write_granule
from utils.command_line import run_script

SHOWERS = 201
"""Stream of random numbers, beside those of the twin."""
WARMING = 4.0  # K, half of the difference between the warmest and the coldest hour of a day
DRYING = 0.02  # share of the soil moisture, half of the difference between night and afternoon
WARMEST_HOUR = 14.0  # local solar time
DAY, HOUR = np.timedelta64(1, "D"), np.timedelta64(1, "h")
SECONDS_OF_GRANULE = 3 * 3600


@dataclass(frozen=True)
class Settings:
    folder: str = str(twin.FOLDER / "files")  # everything is written below it
    box: tuple[float, float, float, float] = (31.0, 116.0, 26.0, 123.0)  # north, west, south, east, degrees
    smap_first: str = "2016-12-07"  # first and last day of the granules, 2015-03-31 to 2020-12-31
    smap_last: str = "2017-01-20"
    era5_first: str = "2011-12"  # first and last month of ERA5-Land, 2000-04 to 2015-02
    era5_last: str = "2012-01"


class Domain(NamedTuple):
    """Days of one of the twin's cubes on its whole map.

    grid : Grid, the twin's cells. first : datetime64[D]. values : float64 [T, 3, H, W] in the order of
    `VARIABLES` and in the cube's units, NaN = sea. attributes : dict, of the cube.
    """

    grid: Grid
    first: np.datetime64
    values: np.ndarray
    attributes: dict

    @property
    def title(self) -> str:
        """What the data set is called."""
        return self.attributes["title"]

    def day(self, day: np.datetime64) -> np.ndarray:
        """float64 [3, H, W] of a day, datetime64[D]."""
        return self.values[(day - self.first).astype(int)]


def main(settings: Any) -> None:
    folder = Path(settings.folder).expanduser().absolute()
    smap_first, smap_last = _period(settings.smap_first, settings.smap_last, "D")
    era5_first, era5_last = _period(settings.era5_first, settings.era5_last, "M")
    granules = granule_stamps(folder / "smap_l4" / "granules", smap_first, smap_last)
    months = month_contents(folder / "era5_land" / "downloads", era5_first, era5_last)
    _refuse_others(granules)
    _refuse_others(months)

    smap = read_domain("smap_l4", smap_first, smap_last)
    era5 = read_domain("era5_land", era5_first - DAY, era5_last)  # the first stamp holds the rain of the day before
    write_box(folder / "twin_smap_l4_box.nc", smap, settings.box, smap_first)
    write_box(folder / "twin_era5_land_box.nc", era5, settings.box, era5_first)
    write_granules(granules, smap, settings.box)
    write_months(months, era5, settings.box)

    size = sum(path.stat().st_size for path in [*granules, *months]) / 1e6
    print(f"{len(granules)} granules and {len(months)} files of ERA5-Land, all synthetic, {size:.0f} MB, in {folder}\n"
          "Make cubes of them:")
    for name, inputs in (("smap_l4", "granules"), ("era5_land", "downloads")):
        print(f"python {_short(PROJECT / 'data_processing' / f'prepare_{name}.py')} {_short(folder / name / inputs)} "
              f"--like {_short(folder / f'twin_{name}_box.nc')} --output {_short(folder / name / f'{name}.nc')}")


# ----------------------------------------------------------------------------------------------- what to write
def _period(first, last, unit):
    """First and last day, datetime64[D], from two days (unit "D") or months ("M")."""
    try:
        start, end = np.datetime64(first, unit), np.datetime64(last, unit)
    except ValueError:
        raise UserError(f"{first!r} to {last!r} is no period; write such as "
                        f"{'2016-12-07' if unit == 'D' else '2011-12'}.") from None
    if end < start:
        raise UserError(f"{first} to {last}: the last lies before the first.")
    return start.astype("datetime64[D]"), (end + 1).astype("datetime64[D]") - DAY


def read_domain(name: str, first: np.datetime64, last: np.datetime64) -> Domain:
    """Days of the twin's cube `name` from `first` to `last`, datetime64[D]: Domain."""
    cube = open_cube(twin.cube_path(name))
    days = cube_days(cube)
    if first < days[0] or last > days[-1]:
        raise UserError(f"the twin's {name} has {days[0]} to {days[-1]}; {first} to {last} was asked for.")
    start = (first - days[0]).astype(int)
    cube = cube.isel(time=slice(start, start + (last - first).astype(int) + 1))
    return Domain(axes_grid(cube["lat"].values, cube["lon"].values), first, cube_values(cube).astype(np.float64),
                  dict(cube.attrs))


def granule_stamps(folder: Path, first: np.datetime64, last: np.datetime64) -> dict[Path, np.datetime64]:
    """Dict path of a granule -> its stamp, eight a day."""
    stamps = np.arange(first + np.timedelta64(90, "m"), last + DAY, np.timedelta64(180, "m"))
    return {folder / granule_name(stamp): stamp for stamp in stamps}


class Content(NamedTuple):
    """What a file of ERA5-Land holds: short names, datetime64[h] stamps, and how it is stored."""

    names: tuple
    stamps: np.ndarray
    layout: str


def month_contents(folder: Path, first: np.datetime64, last: np.datetime64) -> dict[Path, Content]:
    """Dict path of a file of ERA5-Land -> Content."""
    contents = {}
    names = ("swvl1", "stl1", "tp")
    for month in np.arange(first.astype("datetime64[M]"), last.astype("datetime64[M]") + 1):
        stamps = np.arange(month.astype("datetime64[h]"), (month + 1).astype("datetime64[h]"))
        number = str(month).replace("-", "_")
        if month == first.astype("datetime64[M]"):
            contents |= {folder / f"era5_land_{name}_{number}.nc": Content((name,), stamps, "new") for name in names}
        else:
            contents[folder / f"era5_land_{number}.nc"] = Content(names, stamps, "zip")
    end = last + DAY
    path = folder / f"era5_land_tp_{str(end).replace('-', '_')}_00utc.nc"
    contents[path] = Content(("tp",), np.array([end], "datetime64[h]"), "new")
    return contents


def _refuse_others(files):
    """Raise where the folder of `files` holds data files that are not of this run: they would be read with them."""
    folder = next(iter(files)).parent
    others = sorted(path for path in folder.glob("*") if path not in files and not path.name.startswith("."))
    if others:
        raise UserError(f"{folder} holds {len(others)} files of other days, such as {others[0].name}; delete the "
                        "folder or give another --folder.")


def _short(path):
    """A path as seen from the current folder, when it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# --------------------------------------------------------------------------------------------- from day to hours
@lru_cache(maxsize=4)
def rain_shares(day: np.datetime64) -> np.ndarray:
    """Share of a day's rain that falls in each hour, float64 [24, H, W] on the twin's map; its sum is one.

    One shower a day and cell, its middle and its length (4 to 18 hours) at random.
    """
    shape = twin_weather.LAND.shape
    random = twin_weather.random_numbers(twin.VERSION, SHOWERS, int(day.astype(int)))
    middle, half_length = random.uniform(0, 24, shape), random.uniform(2, 9, shape)
    shares = np.maximum(0, 1 - np.abs(np.arange(24)[:, None, None] + 0.5 - middle) / half_length)
    return shares / shares.sum(axis=0)


def warmth(hour: float, lon: np.ndarray) -> np.ndarray:
    """Cycle of the day, 1 at the warmest and -1 at the coldest hour; its mean over 8 or 24 even hours is zero.

    hour : float, UTC. lon : degrees east, float [W].
    """
    return np.cos(2 * np.pi * (hour + lon / 15 - WARMEST_HOUR) / 24)


def granule_fields(domain: Domain, stamp: np.datetime64) -> dict[str, np.ndarray]:
    """Fields of a granule on the twin's map: dict name -> float64 [H, W]; the mean of a day's eight is the day."""
    day = stamp.astype("datetime64[D]")
    hour = (stamp - day) / HOUR
    share = rain_shares(day)[int(hour - 1.5):int(hour + 1.5)].sum(axis=0)
    rain = domain.day(day)[VARIABLES.index("precipitation")] * share
    return {"sm_surface": _moisture(domain, day, hour), "soil_temp_layer1": _temperature(domain, day, hour),
            "precipitation_total_surface_flux": rain / SECONDS_OF_GRANULE}


def era5_fields(domain: Domain, stamp: np.datetime64, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Fields of an hour of ERA5-Land on the twin's map: dict short name -> float64 [H, W].

    `tp`, in m, has gathered since 00 UTC; at 00 UTC it is the total of the day before.
    """
    day = stamp.astype("datetime64[D]")
    hour = int((stamp - day) / HOUR)
    fields = {}
    if "tp" in names:
        rain_day, share = (day, rain_shares(day)[:hour].sum(axis=0)) if hour else (day - DAY, 1.0)
        fields["tp"] = domain.day(rain_day)[VARIABLES.index("precipitation")] * share / 1000
    if "swvl1" in names:
        fields["swvl1"] = _moisture(domain, day, hour)
    if "stl1" in names:
        fields["stl1"] = _temperature(domain, day, hour)
    return fields


def _moisture(domain, day, hour):
    return domain.day(day)[VARIABLES.index("soil_moisture")] * (1 - DRYING * warmth(hour, domain.grid.lon))


def _temperature(domain, day, hour):
    return domain.day(day)[VARIABLES.index("soil_temperature")] + WARMING * warmth(hour, domain.grid.lon)


# -------------------------------------------------------------------------------------------------------- write
def write_granules(stamps: dict[Path, np.datetime64], domain: Domain, box: tuple[float, float, float, float]) -> None:
    """Write the granules of :func:`granule_stamps`, on the cells of the global 9 km grid that cover the box."""
    globe = ease_grid(9)
    south, north, west, east = cover_window(globe, box_grid(domain, box))
    rows, columns = slice(globe.lat.size - north, globe.lat.size - south), slice(west, east)
    to_cells = Regridder(domain.grid, ease_grid(9, rows, columns))
    for path, stamp in _progress(stamps, "synthetic SPL4SMGP granules"):
        fields = {name: to_cells(values)[::-1] for name, values in granule_fields(domain, stamp).items()}
        write_granule(path, fields, stamp, rows, columns, domain.title)


def write_months(contents: dict[Path, Content], domain: Domain, box: tuple[float, float, float, float]) -> None:
    """Write the files of :func:`month_contents`, on the cells of ERA5-Land (0.1 degrees) that cover the box."""
    globe = axes_grid(np.arange(-900, 901) / 10, np.arange(3600) / 10)
    cells = crop(globe, cover_window(globe, box_grid(domain, box)))
    to_cells = Regridder(domain.grid, cells)
    for path, (names, stamps, layout) in _progress(contents, "synthetic files of ERA5-Land"):
        hours = [era5_fields(domain, stamp, names) for stamp in stamps]
        fields = {name: np.stack([to_cells(hour[name])[::-1].astype(np.float32) for hour in hours]) for name in names}
        write_era5_month(path, fields, stamps, cells.lat[::-1], cells.lon, domain.title, layout)


def _progress(files, title):
    return progress_bar(files.items(), desc=title, unit="file")


def box_grid(domain: Domain, box: tuple[float, float, float, float]) -> Grid:
    """The twin's cells whose centres lie in the box: Grid."""
    return crop(domain.grid, box_window(domain.grid, box))


def write_box(path: Path, domain: Domain, box: tuple[float, float, float, float], first: np.datetime64) -> None:
    """Write the twin's own values from the day `first` on, in its own cells in the box, as a daily cube."""
    south, north, west, east = box_window(domain.grid, box)
    values = domain.values[(first - domain.first).astype(int):, :, south:north, west:east].astype(np.float32)
    write_cube(path, values, first + np.arange(len(values)), domain.grid.lat[south:north], domain.grid.lon[west:east],
               domain.attributes)


if __name__ == "__main__":
    run_script(main, Settings, resume="the same command writes them anew")
