"""ERA5-Land and ERA5: which stamps of which file make which day of a cube, and the sums of these days.

What a file holds (`era5_files`) is noted once in a catalogue; from the catalogue alone it is decided which stamps of
which file make which day, so no stamp counts twice.
"""
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_processing.cube import VARIABLES, _plain_unit
from data_processing.era5_files import field_values, is_preliminary, is_zip, open_fields, read_part
from data_processing.errors import UserError
from data_processing.files import expand, replacing, require_file
from data_processing.preparing import Plan, Rule, Source
from data_processing.regrid import Grid, axes_grid, cover_window, crop
from data_processing.terminal import progress_bar

ENDINGS = (".nc", ".nc4", ".zip")
NAMES = {"precipitation": "tp", "soil_moisture": "swvl1", "soil_temperature": "stl1"}
LONG_NAMES = {"tp": "total_precipitation", "swvl1": "volumetric_soil_water_layer_1", "stl1": "soil_temperature_level_1"}
UNITS_OF_FILES = {"tp": ("m", "metre", "metres"), "swvl1": ("m3 m-3", "m3/m3"), "stl1": ("k", "kelvin")}
FACTORS = {"precipitation": 1000.0, "soil_moisture": 1.0, "soil_temperature": 1.0}  # to mm, m3 m-3, K
# packing gives rain down to about -1e-4 mm and soil moisture to -1e-5: clipped at 0; below these a unit is wrong
LOWEST = {"precipitation": -1.0, "soil_moisture": -0.01}
AMOUNTS = {"precipitation": "mm", "soil_moisture": "m3 m-3"}
HOURS = 24
BLOCK_VALUES = 1_000_000  # values read at a time: 8 MB of float64
EVENNESS = 0.02  # of a cell: single precision and rounding of the files' coordinates stay below
CATALOGUE = "catalogue.json"
CATALOGUE_VERSION = 1


class Product(NamedTuple):
    """A data set of the Climate Data Store."""

    name: str
    spacing: float  # degrees
    doi: str
    hours_of_rain: int  # stamps of `tp` that make a day


# tp of ERA5-Land grows from 00 UTC on, so that the stamp 00 UTC of the next day is the day's total; tp of ERA5 is the
# total of the hour before the stamp: https://confluence.ecmwf.int/x/DI4fDw
PRODUCTS = {"era5-land": Product("ERA5-Land", 0.1, "10.24381/cds.e2161bac", 1),
            "era5": Product("ERA5", 0.25, "10.24381/cds.adbb2d47", HOURS)}


# ------------------------------------------------------------------------------------------------- catalogue
def catalogue(paths: Sequence[Path], folder: str | Path) -> tuple[dict[Path, dict], dict[Path, str]]:
    """What each file holds, from a small file in `folder` where it was looked into before.

    Parameters
    ----------
    paths : sequence of Path
    folder : str or Path
        Of the pieces; the catalogue is kept there, keyed by name, size and time stamp of each file.

    Returns
    -------
    records : dict of Path to dict
        Of each file that can be used: `names` of all its variables, `title`, first latitude, first longitude, their
        spacing (None for one) and count, `turned` (columns before the westernmost), `descending` latitudes, and for
        each of `tp`, `swvl1`, `stl1` the stamps (minutes since 1970) and which of them are preliminary.
    refused : dict of Path to str
        Why each other file cannot be used.
    """
    store = Path(folder) / CATALOGUE
    kept: dict
    try:
        kept = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    if not (isinstance(kept, dict) and kept.get("version") == CATALOGUE_VERSION and kept.get("sha256") == _digest(kept.get("files"))):
        kept = {"version": CATALOGUE_VERSION, "files": {}}
    keys = {path: _key(path) for path in paths}
    new = [path for path in paths if keys[path] not in kept["files"]]
    refused = {}
    for path in progress_bar(new, desc="looking into the files", unit="file", disable=len(new) < 2):
        try:
            with open_fields(path, folder) as fields:
                kept["files"][keys[path]] = _record(path, fields)
        except UserError as error:
            refused[path] = str(error)
            continue
        if is_zip(path):
            _store(kept, store)  # unpacking takes time that an interruption must not cost again
    if new:
        _store(kept, store)
    return {path: kept["files"][keys[path]] for path in paths if path not in refused}, refused


def _key(path):
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def _store(kept, store):
    with replacing(store) as temporary:
        temporary.write_text(json.dumps(kept | {"sha256": _digest(kept["files"])}), encoding="utf-8")


def _digest(files):
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _record(path, fields):
    """The entry of one file; raises where its variables are not what the product delivers."""
    some = next(iter(fields.values()))
    for field in fields.values():
        if not (np.array_equal(field.lat, some.lat) and np.array_equal(field.lon, some.lon)):
            raise UserError(f"{path}: {field.name} and {some.name} stand on different latitudes or longitudes; "
                            "expected one box a file.")
    if (some.rows.size > 1 and np.unique(np.diff(some.rows)).tolist() not in ([1], [-1])):
        raise UserError(f"{path}: the latitudes are in no order from south to north or north to south.")
    turned = int(some.columns[0])
    if not np.array_equal(some.columns, (np.arange(some.lon.size) + turned) % some.lon.size):
        raise UserError(f"{path}: the longitudes are in no order from west to east.")
    file = some.parts[0].variable.group()
    record = {"names": sorted(fields), "title": str(getattr(file, "title", "")), "turned": turned,
              "descending": bool(some.rows[0] > some.rows[-1]), "fields": {}}
    for axis, values in (("lat", some.lat), ("lon", some.lon)):
        record[axis] = {"first": float(values[0]), "count": int(values.size), "spacing": _spacing(values, axis, path)}
    for name, units in UNITS_OF_FILES.items():
        if name in fields:
            record["fields"][name] = _stamps_of(fields[name], units, path)
    return record


def _spacing(values, axis, path):
    """Spacing of ascending centres, degrees, or None where there is only one."""
    if values.size == 1:
        return None
    steps = np.diff(values)
    spacing = (values[-1] - values[0]) / steps.size
    if spacing <= 0 or np.abs(steps - spacing).max() > EVENNESS * spacing:
        raise UserError(f"{path}: the {'latitudes' if axis == 'lat' else 'longitudes'} are not evenly spaced, by "
                        f"{steps.min():g} to {steps.max():g} degrees; expected the product's own grid.")
    return float(spacing)


def _stamps_of(field, units, path):
    if field.units is None or _plain_unit(field.units) not in units:
        raise UserError(f"{path}: {field.name} has unit {field.units!r}; the product delivers {units[0]!r}. Download "
                        "it again, unchanged.")
    if np.isnat(field.stamps).any():
        raise UserError(f"{path}: {field.name} has no date.")
    return {"stamps": field.stamps.astype(np.int64).tolist(),
            "preliminary": np.flatnonzero(is_preliminary(field)).tolist()}


# ----------------------------------------------------------------------------------------------------- cells
class Lattice(NamedTuple):
    """All cells that files hold, and where each file lies.

    spacing : degrees. grid : Grid [H, W]. rows : dict Path -> row of `grid` of the file's southernmost latitude.
    columns : dict Path -> int [W], the file's column of each of `grid`, counted from its westernmost, -1 = none.
    """

    spacing: float
    grid: Grid
    rows: dict
    columns: dict


def common_lattice(records: dict[Path, dict], product: str, middle: float = 0.0) -> Lattice:
    """Bring the boxes of all files, 0 to 360 or -180 to 180, to one grid.

    Parameters
    ----------
    records : dict of Path to dict
        From `catalogue`.
    product : str
        Of `PRODUCTS`.
    middle : float
        Longitude, degrees, to put the middle of the grid at where the files reach around the globe.

    Returns
    -------
    Lattice

    Raises
    ------
    UserError
        Files on different grids (names both), or on the grid of another product.
    """
    spacing = _common_spacing(records, product)
    around = round(360 / spacing)
    first_path, offset = None, None
    south, west = {}, {}
    for path, record in records.items():
        centres = np.array([record["lat"]["first"], record["lon"]["first"]]) / spacing
        if offset is None:
            first_path, offset = path, centres - np.round(centres)
            offset[np.abs(offset) < EVENNESS] = 0.0
        cells = np.round(centres - offset)
        if np.abs(centres - offset - cells).max() > EVENNESS:
            raise UserError(f"{first_path} and {path} lie on different grids: cell centres of the second are "
                            f"{np.abs(centres - offset - cells).max() * spacing:.3g} degrees off those of the first. "
                            "Download one of them again, with a box whose sides are multiples of "
                            f"{spacing:g} degrees.")
        south[path], west[path] = int(cells[0]), int(cells[1]) % around
    bottom = min(south.values())
    top = max(south[path] + record["lat"]["count"] for path, record in records.items())
    held = np.zeros(around, bool)
    for path, record in records.items():
        held[(west[path] + np.arange(record["lon"]["count"])) % around] = True
    left, width = _shortest_arc(held)
    if width == around:
        left = int(np.ceil((middle - 180) / spacing - offset[1] - EVENNESS))
    lon = (left + np.arange(width) + offset[1]) * spacing
    if width < around:
        lon -= 360 * np.floor((lon[[0, -1]].mean() + 180) / 360)
    lat = (bottom + np.arange(top - bottom) + offset[0]) * spacing
    columns = {}
    for path, record in records.items():
        columns[path] = (left + np.arange(width) - west[path]) % around
        columns[path][columns[path] >= record["lon"]["count"]] = -1
    grid = _grid(np.round(lat, 6), np.round(lon, 6), spacing)
    return Lattice(spacing, grid, {path: row - bottom for path, row in south.items()}, columns)


def _grid(lat, lon, spacing):
    if lat.size == 1 and lon.size == 1:  # a single cell does not tell its size
        edges = (np.clip(lat[0] + [-spacing / 2, spacing / 2], -90, 90), lon[0] + [-spacing / 2, spacing / 2])
        return Grid(lat, lon, *map(np.array, edges))
    return axes_grid(lat, lon)


def _common_spacing(records, product):
    """The product's spacing in degrees, after making sure that the files have it."""
    expected = PRODUCTS[product].spacing
    seen = {}
    for path, record in records.items():
        for axis in ("lat", "lon"):
            if record[axis]["spacing"] is not None:
                seen.setdefault(round(record[axis]["spacing"], 3), path)
    if len(seen) > 1:
        (first, path), (second, other) = list(seen.items())[:2]
        raise UserError(f"{path} has cells of {first:g} degrees, {other} of {second:g}: files of two grids cannot make "
                        "one cube. Name those of one product only.")
    for found, path in seen.items():
        if abs(found - expected) > EVENNESS * expected:
            others = [name for name, other in PRODUCTS.items() if abs(found - other.spacing) < EVENNESS * other.spacing]
            todo = (f"These are files of {PRODUCTS[others[0]].name}, whose precipitation counts otherwise: give "
                    f"--product {others[0]}." if others else "Download them on the product's own grid.")
            raise UserError(f"{path} has cells of {found:g} degrees, {PRODUCTS[product].name} (--product {product}) "
                            f"has {expected:g}. {todo}")
    return expected


def _shortest_arc(held):
    """First column and number of columns of the shortest arc around the globe that holds all True of bool [n]."""
    if held.all():
        return 0, held.size
    here = np.flatnonzero(held)
    gaps = np.diff(np.append(here, here[0] + held.size))
    after = int(np.argmax(gaps))
    return int(here[(after + 1) % here.size]), int(held.size - gaps[after] + 1)


# ----------------------------------------------------------------------------------------------------- planning
class Use(NamedTuple):
    """The stamps of one variable that are used, of files whose cells are the same; arrays [n]."""

    day: np.ndarray  # datetime64[D] that the stamp belongs to
    minute: np.ndarray  # of the day
    file: np.ndarray  # number of the file
    stamp: np.ndarray  # number of the stamp in the file
    preliminary: np.ndarray  # bool
    hours: np.ndarray  # that the value stands for: 24 for a daily statistic


def usable(records: dict[Path, dict], refused: dict[Path, str], named: set[Path],
           variables: Sequence[str]) -> tuple[dict[Path, dict], list[str], list[str]]:
    """The files that hold one of the variables asked for.

    Parameters
    ----------
    records, refused : from `catalogue`
    named : set of Path
        Files that were named one by one, not by their folder.
    variables : sequence of str
        Of the cube.

    Returns
    -------
    records : dict of Path to dict
        Of these files.
    variables : list of str
        Those that they hold: all, unless a file that was refused may hold the others.
    notes : list of str
        About files that are left out.

    Raises
    ------
    UserError
        A file named one by one holds none of the product's three; a variable that no file holds.
    """
    strange = [path for path, record in records.items() if not record["fields"]]
    for path in strange:
        if path in named:
            raise UserError(f"{path}: holds none of {', '.join(UNITS_OF_FILES)}; found "
                            f"{', '.join(records[path]['names'])}. Leave it out.")
    held = [variable for variable in variables
            if any(NAMES[variable] in record["fields"] for record in records.values())]
    missing = [variable for variable in variables if variable not in held]
    if missing and not (held and refused):
        name = NAMES[missing[0]]
        found = sorted({other for record in records.values() for other in record["names"]})
        where = f"{next(iter(records))}{f' and {len(records) - 1} more files' if len(records) > 1 else ''}"
        raise UserError(f"{where}: {missing[0]} was asked for, no file holds {name} ({LONG_NAMES[name]}); found "
                        f"{', '.join(found)}. Download it, or name the variables to make with --variables.")
    notes = [f"ignored, for they hold none of {', '.join(UNITS_OF_FILES)}: {_counted(strange)}"] if strange else []
    wanted = {NAMES[variable] for variable in variables}
    return {path: record for path, record in records.items() if wanted & record["fields"].keys()}, held, notes


def plan_files(records: dict[Path, dict], refused: dict[Path, str], lattice: Lattice, target: Grid, mask: np.ndarray | None,
               settings: Any) -> Plan:
    """Decide which stamps of which file make which day.

    Parameters
    ----------
    records : dict of Path to dict
        From `usable`.
    refused : dict of Path to str
        From `catalogue`. Each becomes a source that raises when it is read, so that the others are read as well.
    lattice : Lattice
    target : Grid
        The cells of the cube.
    mask : bool [h, w] or None
        Cells to keep, on the part of the lattice that covers the target; from `read_mask`.
    settings : Settings
        With `product`, `variables`, `min_hours_per_day`, `daily_statistics`, `land_sea_mask`.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        A variable no day of which is complete; daily statistics that are none, or hold precipitation.
    """
    product = PRODUCTS[settings.product]
    variables = [name for name in VARIABLES if name in settings.variables]
    daily = _daily_files(settings.daily_statistics, records, variables)
    window = cover_window(lattice.grid, target)
    places = {path: place for path in records if (place := _place(path, records[path], lattice, window))}
    outside = [path for path in records if path not in places]
    notes = [f"ignored, for they lie outside the box: {_counted(outside)}"] if outside else []
    paths = list(places)
    if not paths:
        raise UserError("no file lies in the box; name others, or another --box.")

    rules, uses, complete = {}, {}, {}
    for variable in variables:
        rain = variable == "precipitation"
        rules[variable] = Rule(product.hours_of_rain, True) if rain else Rule(settings.min_hours_per_day, False)
        uses[variable] = _uses(variable, paths, places, records, daily, product)
        complete[variable] = [_complete_days(use, rules[variable].needed) for use in uses[variable]]
        if not rain:
            _refuse_snapshots(variable, paths, uses[variable], rules[variable].needed)
        if not any(days.size for days in complete[variable]):
            raise _no_day(variable, paths, uses[variable], rules[variable].needed, product)
        notes += _short_days(variable, uses[variable], complete[variable], rules[variable].needed)
    if "precipitation" in variables:
        notes += _last_days_of_rain(paths, records, complete)
        notes += _drop_day_before(complete)

    sources = [_source(number, path, places[path], records[path], path in daily, uses, complete)
               for number, path in enumerate(paths)]
    sources = [source for source in sources if source.task["stamps"]]
    sources += [Source(path.stem, (path,), {}, (0, 1, 0, 1), {}) for path in refused]
    attributes, preliminary = _attributes(product, uses, complete, [records[path]["title"] for path in paths], settings)
    title = attributes.get("synthetic") or f"{product.name}: daily {', '.join(variables).replace('_', ' ')}"
    return Plan(product.name, title, crop(lattice.grid, window), _with_own_names(sources), rules, mask, attributes,
                notes + preliminary)


def _daily_files(asked, records, variables):
    """The files that are daily statistics, as the user says; refuse what cannot be."""
    if asked is None:
        return set()
    daily = set(expand(asked, ENDINGS)) if asked else set(records)
    for path in sorted(daily - records.keys()):
        raise UserError(f"{path}: named as daily statistics, but not among the files to prepare, or without a variable "
                        "asked for. Name it there too.")
    for path in sorted(daily):
        fields = records[path]["fields"]
        if "tp" in fields and "precipitation" in variables:
            raise UserError(f"{path}: holds tp as a daily statistic, whose treatment of accumulated precipitation is "
                            "not documented. Take hourly tp at 00 UTC from reanalysis-era5-land instead, and name the "
                            "files that are daily statistics: --daily-statistics FILES.")
        for name, field in fields.items():
            days = np.array(field["stamps"]) // (60 * HOURS)
            if np.unique(days).size < days.size:
                raise UserError(f"{path}: named as daily statistics, but {name} has several stamps a day. Leave it out "
                                "of --daily-statistics.")
    return daily


class Place(NamedTuple):
    """Where a file lies: its window in the plan's grid, and the rows and columns to read, in the order of the file."""

    window: tuple
    rows: tuple  # first, last + 1
    columns: tuple  # of (column of the window, first, last + 1)
    flipped: bool  # rows from north to south


def _place(path, record, lattice, window):
    """Place of a file in a window of the lattice, or None where it lies outside."""
    top = lattice.rows[path] + record["lat"]["count"]
    first_row, last_row = max(lattice.rows[path], window[0]), min(top, window[1])
    columns = lattice.columns[path][window[2]:window[3]]
    held = np.flatnonzero(columns >= 0)
    if first_row >= last_row or not held.size:
        return None
    rows = (first_row - lattice.rows[path], last_row - lattice.rows[path])
    if record["descending"]:
        rows = (record["lat"]["count"] - rows[1], record["lat"]["count"] - rows[0])
    in_file = (columns[held] + record["turned"]) % record["lon"]["count"]
    starts = np.flatnonzero((np.diff(in_file, prepend=-9) != 1) | (np.diff(held, prepend=-9) != 1))
    runs = tuple((int(run[0] - held[0]), int(there[0]), int(there[-1]) + 1)
                 for run, there in zip(np.split(held, starts[1:]), np.split(in_file, starts[1:])))
    return Place((first_row - window[0], last_row - window[0], int(held[0]), int(held[-1]) + 1), rows, runs,
                 record["descending"])


def _uses(variable, paths, places, records, daily, product):
    """The stamps to use, one Use for each window; no stamp twice: final before preliminary, then the first file."""
    windows = defaultdict(list)
    for number, path in enumerate(paths):
        if NAMES[variable] in records[path]["fields"]:
            windows[places[path].window].append(number)
    return [_use(variable, numbers, paths, records, daily, product) for numbers in windows.values()]


def _use(variable, numbers, paths, records, daily, product):
    columns = []
    for number in numbers:
        field = records[paths[number]]["fields"][NAMES[variable]]
        stamp = np.array(field["stamps"])
        preliminary = np.isin(np.arange(stamp.size), field["preliminary"])
        hours = np.full(stamp.size, HOURS if paths[number] in daily else 1)
        columns.append((stamp, np.full(stamp.size, number), np.arange(stamp.size), preliminary, hours))
    stamp, file, index, preliminary, hours = (np.concatenate(column) for column in zip(*columns))
    # the stamp ends the time of precipitation that it stands for: 00 UTC belongs to the day before
    day = (stamp - (variable == "precipitation")) // (60 * HOURS)
    stamp = np.where(hours == HOURS, day * 60 * HOURS, stamp)
    order = np.lexsort((file, preliminary, -hours, stamp))
    keep = order[np.diff(stamp[order], prepend=-1) != 0]
    keep = keep[(hours[keep] == HOURS) | ~np.isin(day[keep], day[hours == HOURS])]
    if variable == "precipitation" and product.hours_of_rain == 1:
        keep = keep[stamp[keep] % (60 * HOURS) == 0]
    days = day.astype("datetime64[D]")
    return Use(days[keep], stamp[keep] % (60 * HOURS), file[keep], index[keep], preliminary[keep], hours[keep])


def _hours_of_days(use):
    """Days, ascending, and the hours that each has."""
    days, where = np.unique(use.day, return_inverse=True)
    return days, np.bincount(where, weights=use.hours, minlength=days.size).astype(int)


def _complete_days(use, needed):
    days, hours = _hours_of_days(use)
    return days[hours >= needed]


def _refuse_snapshots(variable, paths, uses, needed):
    """Raise where a file of several days has one value of each: a snapshot, or a daily mean that must be called so."""
    if needed == 1:
        return
    for use in uses:
        days, hours = _hours_of_days(use)
        for number in np.unique(use.file):
            its_days = np.unique(use.day[use.file == number])
            if its_days.size > 1 and (hours[np.isin(days, its_days)] == 1).all():
                raise _snapshot(variable, paths[number], use.minute[use.file == number][0], needed)


def _snapshot(variable, path, minute, needed):
    return UserError(f"{path}: {NAMES[variable]} has one value a day, at {minute // 60:02d} UTC; a day of {variable} "
                     f"needs {needed} hours. If these are daily means, say so: --daily-statistics, with the names of "
                     "such files where not all are; if a snapshot will do for a day: --min-hours-per-day 1; else "
                     "download more hours.")


def _no_day(variable, paths, uses, needed, product):
    """The error where no day of a variable is complete."""
    name = NAMES[variable]
    if not any(use.day.size for use in uses):  # only precipitation of ERA5-Land: other hours are left out
        return UserError(f"{paths[0]}: no field of {name} at 00 UTC in the files; the total of a day of {product.name} "
                         "is the value stamped 00 UTC of the next day. Download time 00:00.")
    fullest = max(uses, key=lambda use: _hours_of_days(use)[1].max(initial=0))
    hours = _hours_of_days(fullest)[1].max()
    path = paths[fullest.file[0]]
    if variable == "precipitation":
        return UserError(f"{path}: {name} has {hours} of the 24 hours of a day; the total of a day of {product.name} "
                         "is the sum of its stamps 01 to 23 UTC and 00 UTC of the next day. Download all hours.")
    if hours == 1:
        return _snapshot(variable, path, fullest.minute[0], needed)
    return UserError(f"{path}: {name} has at most {hours} hours a day, a day of {variable} needs {needed}. Download "
                     f"more hours, or allow it: --min-hours-per-day {hours}.")


def _short_days(variable, uses, complete, needed):
    """A line about days that have fewer hours than needed in one box and are complete in none."""
    short = [days[hours < needed] for days, hours in map(_hours_of_days, uses)]
    short = np.setdiff1d(np.concatenate(short), np.concatenate(complete))
    if variable == "precipitation":  # the hour before the first file belongs to a day that nobody asked for
        short = short[short > np.concatenate(complete).min()]
    if not short.size:
        return []
    return [f"warning: {variable}: days with fewer than {needed} hours, which stay missing: {short.size} "
            f"({_listed(short)})"]


def _last_days_of_rain(paths, records, complete):
    """A line about days whose precipitation stands in a next file that is not there."""
    stamps = [np.array(records[path]["fields"]["tp"]["stamps"]) for path in paths if "tp" in records[path]["fields"]]
    stamps = np.unique(np.concatenate(stamps))
    dates = np.unique(stamps // (60 * HOURS))
    later = np.unique(stamps[stamps % (60 * HOURS) > 0] // (60 * HOURS))
    day = dates.astype("datetime64[D]")
    ends_month = (day + 1).astype("datetime64[M]") != day.astype("datetime64[M]")
    soil = [days for variable, found in complete.items() if variable != "precipitation" for days in found]
    expected = day[ends_month | np.isin(dates, later) | np.isin(day, np.concatenate(soil) if soil else day[:0])]
    lacking = expected[~np.isin((expected + 1).astype(int) * 60 * HOURS, stamps)]
    if not lacking.size:
        return []
    return [f"note: precipitation of {_listed(lacking)} needs the stamp 00 UTC of the following day, which no file "
            "holds (for the last day of a month: the next month's file); missing"]


def _drop_day_before(complete):
    """Leave out the day before all others that only precipitation has, and say so; changes `complete`."""
    soil = [days for variable, found in complete.items() if variable != "precipitation" for days in found if days.size]
    if not soil:
        return []
    first = min(days.min() for days in soil)
    before = np.concatenate(complete["precipitation"])
    before = np.unique(before[before < first])
    if before.size != 1 or before[0] != first - 1:
        return []
    complete["precipitation"] = [days[days >= first] for days in complete["precipitation"]]
    return [f"note: the cube begins on {first}, with the first soil; the precipitation of the day before is left out"]


def _counted(paths):
    return paths[0].name + (f" and {len(paths) - 1} more files" if len(paths) > 1 else "")


def _listed(days):
    """The first few days as text."""
    return ", ".join(map(str, days[:4])) + (f" and {days.size - 4} more" if days.size > 4 else "")


def _source(number, path, place, record, is_daily, uses, complete):
    """What to read of one file."""
    stamps, days = {}, {}
    for variable, found in uses.items():
        for use, complete_days in zip(found, complete[variable]):
            mine = use.file == number
            if mine.any():
                stamps[variable] = _runs(use.stamp[mine])
                days[variable] = np.intersect1d(use.day[mine], complete_days)
    task = {"rows": place.rows, "columns": place.columns, "flipped": place.flipped, "daily_statistics": is_daily,
            "stamps": stamps}
    return Source(path.stem, (path,), task, place.window, days)


def _runs(indices):
    """Uninterrupted runs of indices as [first, last + 1]."""
    indices = np.sort(indices)
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return [[int(run[0]), int(run[-1]) + 1] for run in runs]


def _with_own_names(sources):
    """The sources; those that share a name (files of several folders) get a number behind it."""
    seen, named = Counter(), []
    for source in sources:
        seen[source.name] += 1
        number = seen[source.name]
        named.append(source if number == 1 else source._replace(name=f"{source.name}_{number}"))
    return named


def _attributes(product, uses, complete, titles, settings):
    """Attributes of the cube and of its variables, and a line about preliminary days."""
    attributes = {"references": f"https://doi.org/{product.doi}",
                  "attribution": "contains modified Copernicus Climate Change Service information"}
    synthetic = next((title for title in titles if "ynthetic" in title), None)
    if synthetic:
        attributes["synthetic"] = synthetic
    if settings.land_sea_mask:
        attributes["land_sea_mask"] = f"{Path(settings.land_sea_mask).name}; cells with lsm below 0.5 left out"
    preliminary = [np.intersect1d(use.day[use.preliminary], days)
                   for variable in uses for use, days in zip(uses[variable], complete[variable])]
    preliminary = np.unique(np.concatenate(preliminary))
    attributes["preliminary_days"] = preliminary.size
    for variable, found in uses.items():
        name = NAMES[variable]
        attributes[variable] = {"source": f"{name} ({LONG_NAMES[name]}) of {product.name}",
                                "comment": _comment(variable, found, complete[variable], product)}
    if not preliminary.size:
        return attributes, []
    attributes["preliminary"] = (f"{preliminary.size} days, {preliminary[0]} to {preliminary[-1]}, use preliminary "
                                 "data (expver 0005, ERA5T), which may still change")
    return attributes, [f"note: {attributes['preliminary']}"]


def _comment(variable, uses, complete, product):
    """What a day's value was made of."""
    if variable == "precipitation":
        if product.hours_of_rain == 1:
            return "total of the UTC day: the value stamped 00 UTC of the next day"
        return "total of the UTC day: sum of the 24 hourly totals stamped 01 UTC to 00 UTC of the next day"
    kinds = defaultdict(set)
    for use, days in zip(uses, complete):
        for day, first, last in zip(*_groups(use.day)):
            if day in days:
                kinds[tuple(use.minute[first:last] // 60) if use.hours[first] == 1 else HOURS].add(day)
    kinds = sorted(kinds.items(), key=lambda item: -len(item[1]))
    texts = [_kind(hours) + (f" ({len(days)} days)" if len(kinds) > 1 else "") for hours, days in kinds[:3]]
    if len(kinds) > 3:
        texts.append(f"mean of other hours ({sum(len(days) for _, days in kinds[3:])} days)")
    return "; ".join(texts)


def _kind(hours):
    if hours == HOURS:
        return "daily statistic of the Climate Data Store"
    if len(hours) == HOURS:
        return "mean of 24 hourly values"
    return f"mean of {len(hours)} values a day ({', '.join(f'{hour:02d}' for hour in hours)} UTC)"


def _groups(days):
    """Distinct ones of ascending days, where each begins and where it ends."""
    first = np.flatnonzero(np.diff(days.astype(int), prepend=-10 ** 9))
    return days[first], first, np.append(first[1:], days.size)


# ----------------------------------------------------------------------------------------------------- sea
def read_mask(path: str | Path, folder: str | Path, lattice: Lattice, target: Grid) -> np.ndarray:
    """Cells to keep by a land-sea mask.

    Parameters
    ----------
    path : str or Path
        File with the variable lsm, share of land 0..1; it may cover more and have a time axis of its own, of which
        the first field is taken.
    folder : str or Path
        Where a ZIP is unpacked for a moment.
    lattice : Lattice
    target : Grid
        The cells of the cube.

    Returns
    -------
    bool [h, w]
        On the part of the lattice that covers the target; False = sea (lsm below 0.5, or missing).

    Raises
    ------
    UserError
        No lsm; its values are no shares; it lies on another grid or does not cover all cells.
    """
    path = Path(path).expanduser().absolute()
    require_file(path, str(path), "Give the land-sea mask that the Climate Data Store delivers (lsm).")
    grid = crop(lattice.grid, cover_window(lattice.grid, target))
    with open_fields(path, folder) as fields:
        if "lsm" not in fields:
            raise UserError(f"{path}: a land-sea mask must hold lsm; found {', '.join(fields)}.")
        field = fields["lsm"]
        rows = _nearest(field.lat, grid.lat, lattice.spacing)
        turns = np.arange(-720, 721, 360)
        columns = np.max([_nearest(field.lon, grid.lon + turn, lattice.spacing) for turn in turns], axis=0)
        if rows.min() < 0 or columns.min() < 0:
            raise UserError(f"{path}: the land-sea mask reaches from {field.lat[0]:g} to {field.lat[-1]:g} N and "
                            f"{field.lon[0]:g} to {field.lon[-1]:g} E; it must hold the cell centres "
                            f"{grid.lat[0]:g} to {grid.lat[-1]:g} N, {grid.lon[0]:g} to {grid.lon[-1]:g} E, every "
                            f"{lattice.spacing:g} degrees.")
        land = field_values(field, slice(0, 1))[0]
    if not -0.01 <= np.nanmin(land, initial=0) <= np.nanmax(land, initial=0) <= 1.01:
        raise UserError(f"{path}: lsm reaches from {np.nanmin(land):g} to {np.nanmax(land):g}; expected the share of "
                        "land, 0 to 1.")
    return land[rows][:, columns] >= 0.5


def _nearest(centres, wanted, spacing):
    """Index of each wanted centre among ascending ones; -1 where there is none at its place."""
    after = np.minimum(np.searchsorted(centres, wanted), centres.size - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(centres[before] - wanted) < np.abs(centres[after] - wanted), before, after)
    return np.where(np.abs(centres[nearest] - wanted) < EVENNESS * spacing, nearest, -1)


# ----------------------------------------------------------------------------------------------------- reading
def read_file(files: tuple[Path, ...], task: dict,
              folder: str | Path) -> Iterator[tuple[str, np.datetime64, np.ndarray, np.ndarray]]:
    """Sums of the values of each day that one file holds; runs in a process of its own.

    Parameters
    ----------
    files : tuple of one Path
    task : dict
        Of a source of `plan_files`.
    folder : str or Path
        Where a ZIP is unpacked for as long as it is read.

    Yields
    ------
    variable : str
    day : datetime64[D]
    total : float32 [h, w]
        Sum of the values, in the cube's unit, south to north.
    count : uint8 [h, w]
        Hours that the sum holds, 0..24.

    Raises
    ------
    UserError
        The file cannot be read, or a value that its unit makes impossible.
    """
    path, = files
    with open_fields(path, folder) as fields:
        _record(path, fields)
        if not task:  # it could not be read before the start, now it can
            raise UserError(f"{path}: has changed since the start; start again.")
        for variable, runs in task["stamps"].items():
            yield from _daily_sums(path, variable, fields[NAMES[variable]], runs, task)


def _daily_sums(path, variable, field, runs, task):
    """Read the stamps of a variable in blocks and give each day as soon as it is whole."""
    wanted = np.concatenate([np.arange(first, last) for first, last in runs])
    minutes = field.stamps[wanted].astype(np.int64) - (variable == "precipitation")
    days = np.full(field.stamps.size, np.datetime64("NaT"), "datetime64[D]")
    days[wanted] = (minutes // (60 * HOURS)).astype("datetime64[D]")
    last_use = {day: index for index, day in zip(wanted, days[wanted])}
    shape = (task["rows"][1] - task["rows"][0], max(place + last - first for place, first, last in task["columns"]))
    sums = {}
    for first, last, blocks in _blocks(field, wanted, task):
        for day in np.unique(days[first:last][~np.isnat(days[first:last])]):
            if day not in sums:
                sums[day] = np.zeros(shape), np.zeros(shape, np.uint8)
        for start, place, values in blocks:
            values = _convert(values, variable, path, task["daily_statistics"])
            for day, begin, end in zip(*_groups(days[start:start + len(values)])):
                part = values[begin:end]
                total, count = (of_day[place] for of_day in sums[day])
                total += np.nansum(part, axis=0)
                count += ((HOURS if task["daily_statistics"] else 1) * np.count_nonzero(~np.isnan(part), axis=0)
                          ).astype(np.uint8)
        for day in [day for day in sums if last_use[day] < last]:
            total, count = sums.pop(day)
            upwards = slice(None, None, -1 if task["flipped"] else 1)
            yield variable, day, total[upwards].astype(np.float32), count[upwards]


def _convert(values, variable, path, is_daily):
    """Values in the cube's unit, float64; slightly negative ones become 0; a daily mean stands for 24 hours."""
    values = values * np.float64(FACTORS[variable])
    if variable in LOWEST:
        lowest = np.fmin.reduce(values, axis=None)
        if lowest < LOWEST[variable]:
            raise UserError(f"{path}: {NAMES[variable]} goes down to {lowest:.4g}, taken as {AMOUNTS[variable]}: its "
                            "unit or its packing is wrong. Download it again.")
        values = np.maximum(values, 0)
    return values * HOURS if is_daily else values


def _blocks(field, wanted, task):
    """The wanted stamps in spans that agree with the chunks of the file.

    Yields (first stamp, last + 1, blocks); `blocks` yields (first stamp, place in the day's sums, values [n, h, w]).
    """
    offset = 0
    for part in field.parts:
        mine = wanted[(wanted >= offset) & (wanted < offset + part.stamps.size)] - offset
        chunk = _chunk(part)
        cells = (task["rows"][1] - task["rows"][0]) * sum(last - first for _, first, last in task["columns"])
        span = chunk[0] * max(1, BLOCK_VALUES // (chunk[0] * cells))
        for stamps in np.split(mine, np.flatnonzero(np.diff(mine // span)) + 1):
            if stamps.size:
                yield offset + stamps[0], offset + stamps[-1] + 1, _span_blocks(part, offset, stamps, span, chunk, task)
        offset += part.stamps.size


def _span_blocks(part, offset, stamps, span, chunk, task):
    """Read a span in blocks of whole chunks; a chunk that is larger than a block is kept by the library meanwhile."""
    rows = task["rows"]
    for position, first_column, last_column in task["columns"]:
        cells = BLOCK_VALUES // span
        height = max(chunk[1], cells // (last_column - first_column))
        width = last_column - first_column if height > chunk[1] else max(chunk[2], cells // chunk[1])
        for row in _slices(*rows, chunk[1], height):
            for column in _slices(first_column, last_column, chunk[2], width):
                place = (slice(row.start - rows[0], row.stop - rows[0]),
                         slice(position + column.start - first_column, position + column.stop - first_column))
                at_once = max(1, BLOCK_VALUES // ((row.stop - row.start) * (column.stop - column.start)))
                for first, last in _runs(stamps):
                    for start in range(first, last, at_once):
                        yield offset + start, place, read_part(part, slice(start, min(start + at_once, last)), row, column)


def _slices(first, last, chunk, length):
    """Slices that cover first..last, each of about `length` and ending where a chunk ends."""
    step = max(1, length // chunk) * chunk
    bounds = [first, *range((first // step + 1) * step, last, step), last]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:])]


def _chunk(part):
    """Stamps, rows and columns of a chunk; the library is told to keep one (two versions: two) at a time."""
    chunks = part.variable.chunking()
    if chunks in (None, "contiguous"):
        return 1, 1, 1
    size = int(np.prod(chunks)) * part.variable.dtype.itemsize
    part.variable.set_var_chunk_cache(size=2 * size + 1)
    return tuple(chunks[part.axes[role]] for role in ("time", "lat", "lon"))
