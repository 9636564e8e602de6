"""Make a weather forecast file on the cells of a cube from GRIB or NetCDF files of a weather service.

Reads   total precipitation (tp) and temperature of 2 m (2t) of forecasts: ECMWF open data (download_weather_forecast.py
        fetches it), TIGGE, NOAA GEFS; one member or step a file, or many; GRIB, or NetCDF with the axes time and step

Writes  a file of the rain (mm d-1, UTC day's total) and temperature (K, UTC day's mean) of the coming days, all members,
        by the last day before they begin (data_processing/weather_file.py): what the setting `coming_weather` takes

Run     python data_processing/prepare_weather_forecast.py --like data/smap_l4/smap_l4.nc
        python data_processing/prepare_weather_forecast.py 'gefs/*/gep*.f???' --like cube.nc       names without an ending

A stopped run goes on. Forecasts that stand in the output already are not read again, and stay in it when their files are no
longer given: so yesterday's downloads may be deleted. Of several starts that serve the same days (12 UTC, 00 UTC of the
next day) the latest is taken. Expect a minute or two of one
processor for 51 members of 15 days on a global grid of 0.25 degrees.
"""
import contextlib
import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import netCDF4
import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.cube import cube_axes
from data_processing.errors import UserError
from data_processing.files import PIECES, PROJECT, expand, lock_folder, remove_half_written, unlock_folder
from data_processing.preparing import OTHER_OUTPUT, outcomes
from data_processing.regrid import axes_grid
from data_processing.terminal import progress_bar
from data_processing.weather_days import Placing, first_whole_day, key_of, make_piece, plan_reading, with_control
from data_processing.weather_fields import ENDINGS, VARIABLES, scan_file, store_scan, stored_scan
from data_processing.weather_file import PACKED_FILL, new_weather_file
from utils.command_line import RESUME_FILES, run_script

if TYPE_CHECKING:
    from data_processing.regrid import Grid


@dataclass(frozen=True)
class Settings:
    # cells
    like: str  # the cube, onto whose cells to average
    # input
    files: tyro.conf.Positional[tuple[str, ...]] = (str(PROJECT / "data" / "weather" / "downloads"),)
    """Folders, globs or files."""
    days: int = 15  # lead times at most
    min_steps_per_day: int = 4  # of temperature: with more than 24 h / n between two steps the day is missing
    min_valid_fraction: float = 0.5  # of a cell's area that must hold values
    # output
    output: str = str(PROJECT / "data" / "weather" / "weather.nc")
    """The weather forecast file; pieces/ stands beside it."""
    workers: int = os.cpu_count() or 1  # reading processes
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers read, not processes here


class Forecast(NamedTuple):
    """One start: its readings by member, and a key of all that they depend on."""

    start: int  # h since 1970-01-01 00 UTC
    readings: list
    keys: list
    key: str


class Earlier(NamedTuple):
    """What stands in the output: init day -> (place, start, key); member numbers; days; origin."""

    forecasts: dict
    members: list
    days: int
    origin: str


def main(settings: Any) -> None:
    output, target = check_output(settings)
    pieces = output.parent / PIECES
    lock_folder(pieces, OTHER_OUTPUT)
    paths = expand(settings.files, ENDINGS)
    fields, grids, origin = scan_files(paths, pieces)
    earlier = read_earlier(output, target, origin)
    notes = check_cells(settings, grids, target)
    forecasts, more = choose(fields, paths, target, settings, earlier)
    print("\n".join([*notes, *more, summary(forecasts, earlier, origin)]), flush=True)
    waiting = [(reading, pieces / f"weather.{reading.start}.{reading.member}.{key}.nc")
               for forecast in forecasts.values() for reading, key in zip(forecast.readings, forecast.keys)]
    make_pieces(waiting, partial(make_piece, paths=paths, grids=grids, target=target,
                                 min_valid_fraction=settings.min_valid_fraction), settings)
    if forecasts:
        assemble(output, target, forecasts, dict(((r.start, r.member), path) for r, path in waiting), earlier, origin, settings)
    for _, path in waiting:
        path.unlink()
    unlock_folder(pieces)
    print(f"{output}{'' if forecasts else ' is up to date'}")


def check_output(settings: Any) -> "tuple[Path, Grid]":
    """Refuse settings that cannot be meant; the output's path and the cube's cells."""
    output = Path(settings.output).expanduser().absolute()
    if output.suffix != ".nc":
        raise UserError(f"output is {output}; a weather forecast file is NetCDF, its name must end in .nc.")
    if settings.days < 1:
        raise UserError(f"days is {settings.days}; at least 1 day must be forecast.")
    if not 1 <= settings.min_steps_per_day <= 24:
        raise UserError(f"min_steps_per_day is {settings.min_steps_per_day}; a day has 1 to 24 hours.")
    if not 0 < settings.min_valid_fraction <= 1:
        raise UserError(f"min_valid_fraction is {settings.min_valid_fraction}; it must be above 0 and at most 1.")
    if settings.workers < 1:
        raise UserError(f"workers is {settings.workers}; at least 1 process must read.")
    return output, axes_grid(*cube_axes(settings.like))


# ------------------------------------------------------------------------------------------------- what the files hold
def scan_files(paths: list[Path], pieces: Path) -> tuple[np.ndarray, list, str]:
    """All fields of all files; what was found in a file is kept in the folder of the pieces and not looked for again.

    Returns
    -------
    fields : FIELD [n]
    grids : list of (lat, lon)
    origin : str

    Raises
    ------
    UserError
        One line for each file that cannot be read; forecasts of several models; only rain or only temperature.
    """
    found, grids, refused, origins = [], {}, [], {}
    for number, path in enumerate(progress_bar(paths, desc="looking into files", unit="file")):
        stat = path.stat()
        key = hashlib.sha256(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
        kept = pieces / f"scan.{key}.npz"
        scan = stored_scan(kept)
        if scan is None:
            try:
                scan = scan_file(path)
            except UserError as error:
                refused.append(str(error))
                continue
            store_scan(kept, scan)
        fields = scan.fields.copy()
        fields["file"] = number
        fields["grid"] = np.array([grids.setdefault(grid, len(grids)) for grid in scan.grids])[fields["grid"]]
        found.append(fields)
        origins.setdefault(scan.origin, path)
    if refused:
        raise UserError("\nerror: ".join(refused))
    known = [origin for origin in origins if origin]
    if len(known) > 1:
        raise UserError(f"the files hold forecasts of several models: {', '.join(f'{o} ({origins[o]})' for o in known)}. "
                        "Make a weather forecast file of each.")
    fields = np.concatenate(found)
    lacking = [name for number, name in enumerate(("total precipitation (tp)", "temperature of 2 m (2t)"))
               if number not in fields["variable"]]
    if lacking:
        raise UserError(f"{counted(paths)}: no {lacking[0]}; name the files of both at once.")
    return fields, list(grids), known[0] if known else ""


def counted(paths: list[Path]) -> str:
    """The first of some files, and how many more there are."""
    return f"{paths[0]}{f' and {len(paths) - 1} more files' if len(paths) > 1 else ''}"


def check_cells(settings: Any, grids: list, target: "Grid") -> list[str]:
    """A line where cells of the cube get no values; an error where none does."""
    try:
        covered = [Placing(lat, lon, target, settings.min_valid_fraction).covered() for lat, lon in grids]
    except UserError as error:
        raise UserError(f"{settings.like}: {error}") from None
    outside = ~np.all(covered, axis=0)
    return [f"warning: {outside.sum()} of {outside.size} cells of {settings.like} lie outside the forecasts; they are missing "
            "(NaN)"] if outside.any() else []


def choose(fields: np.ndarray, paths: list[Path], target: "Grid", settings: Any,
           earlier: Earlier) -> tuple[dict[int, Forecast], list[str]]:
    """The forecasts to read: of each init day the latest start, unless the output has it; lines to tell.

    Returns
    -------
    forecasts : dict init day (days since 1970-01-01) -> Forecast
    notes : list of str
    """
    starts = defaultdict(list)
    for start in np.unique(fields["start"]).tolist():
        starts[first_whole_day(start)[0]].append(start)
    notes, forecasts = [], {}
    replaced = [init_day for init_day, of_day in starts.items() if len(of_day) > 1]
    if replaced:
        notes.append(f"{len(replaced)} days have several starts (such as {_stamp(starts[replaced[0]][0])} and "
                     f"{_stamp(starts[replaced[0]][-1])}); the latest is taken")
    twice, order = 0, np.argsort(fields["start"], kind="stable")
    bounds = np.searchsorted(fields["start"][order], [of_day[-1] for of_day in starts.values()], side="left")
    ends = np.searchsorted(fields["start"][order], [of_day[-1] for of_day in starts.values()], side="right")
    for (init_day, of_day), first, last in zip(starts.items(), bounds, ends):
        held = earlier.forecasts.get(init_day)
        if held and held[1] > of_day[-1]:
            continue  # a later start stands in the output
        of_start = with_control(fields[order[first:last]])
        readings = [plan_reading(of_start[of_start["member"] == member], settings.days, 24 / settings.min_steps_per_day)
                    for member in np.unique(of_start["member"])]
        twice += len(of_start) - len(np.unique(of_start[["member", "variable", "begin", "end"]]))
        readings = [reading for reading in readings if reading.whole.size]
        if not readings:
            notes.append(f"warning: the forecast of {_stamp(of_day[-1])} holds no whole UTC day; it is left out")
            continue
        keys = [key_of(reading, paths, target, settings.min_valid_fraction) for reading in readings]
        key = hashlib.sha256(" ".join(keys).encode()).hexdigest()[:16]
        if not held or held[2] != key:
            forecasts[init_day] = Forecast(of_day[-1], readings, keys, key)
    if twice:
        notes.append(f"{twice} fields stand in several files; that of the first file is taken")
    if not forecasts and not earlier.forecasts:
        print("\n".join(notes), flush=True)
        raise UserError(f"{counted(paths)}: no whole UTC day of rain or temperature. Download forecasts from 00 UTC of a day to 00 UTC "
                        "of the next one at least.")
    return forecasts, notes + _lacking(forecasts, earlier)


def _lacking(forecasts, earlier):
    """Lines about members and days that are missing."""
    notes, members, days = [], _members(forecasts, earlier), _days(forecasts, earlier)
    short = [forecast for forecast in forecasts.values() if len(forecast.readings) < len(members)]
    if short:
        absent = sorted(set(members) - {reading.member for reading in short[0].readings})
        some = ", ".join(map(str, absent[:5])) + (" ..." if len(absent) > 5 else "")
        notes.append(f"warning: {len(short)} of {len(forecasts)} forecasts lack members, such as that of "
                     f"{_stamp(short[0].start)} {len(absent)} of {len(members)} ({some}); they are missing (NaN)")
    for number, name in enumerate(VARIABLES):
        whole = [reading.whole[number].sum() for forecast in forecasts.values() for reading in forecast.readings]
        if whole and min(whole) < days:
            notes.append(f"warning: {name}: {days * len(whole) - sum(whole)} of {days * len(whole)} forecast days (of all "
                         "members) lack steps; they are missing (NaN)")
    return notes


def _members(forecasts, earlier):
    return sorted({reading.member for forecast in forecasts.values() for reading in forecast.readings} | set(earlier.members))


def _days(forecasts, earlier):
    return max([earlier.days, *(reading.whole.shape[1] for forecast in forecasts.values() for reading in forecast.readings)])


def _stamp(start):
    return f"{str(np.datetime64(start, 'h')).replace('T', ' ')} UTC"


def summary(forecasts: dict[int, Forecast], earlier: Earlier, origin: str) -> str:
    """What is going to be made, one line."""
    kept = len(earlier.forecasts.keys() - forecasts.keys())
    starts = sorted(forecast.start for forecast in forecasts.values())
    what = f"{_stamp(starts[0])} to {_stamp(starts[-1])}" if starts else "none"
    return (f"{origin or 'weather forecasts'}: {len(starts)} to read ({what}), {kept} kept as they stand in the output; "
            f"{len(_members(forecasts, earlier))} members, {_days(forecasts, earlier)} days")


# -------------------------------------------------------------------------------------------------------------- output
def read_earlier(output: Path, target: "Grid", origin: str) -> Earlier:
    """What the output holds already.

    Raises
    ------
    UserError
        It was not made by this script, has other cells or another model's forecasts.
    """
    if not output.exists():
        return Earlier({}, [], 0, origin)
    other = f"give another --output, or move {output} away."
    try:
        with netCDF4.Dataset(output) as file:
            if not {"made_from", "start_time", "init_time"} <= set(file.variables):
                raise UserError(f"{output} exists and was not made by this script; {other}")
            lat, lon = (np.asarray(file[name]) for name in ("lat", "lon"))
            columns = [np.asarray(file[name][:]).tolist() for name in ("init_time", "start_time", "made_from")]
            members = [int(member) for member in file.member_numbers.split(",")]
            earlier = Earlier({day: (place, start, key) for place, (day, start, key) in enumerate(zip(*columns))}, members,
                              len(file.dimensions["lead_time"]), file.origin)
    except OSError:
        raise UserError(f"{output} exists and is no weather forecast file; {other}") from None
    if not (np.array_equal(lat, target.lat) and np.array_equal(lon, target.lon)):
        raise UserError(f"{output} holds other cells ({lat.size} x {lon.size}) than the cube ({target.lat.size} x "
                        f"{target.lon.size}); {other}")
    if origin and earlier.origin and earlier.origin != origin:
        raise UserError(f"{output} holds forecasts of {earlier.origin}, the files of {origin}; {other}")
    return earlier


def make_pieces(waiting: list, work: Callable[..., str | None], settings: Any) -> None:
    """Read the members that were not read yet, each into a piece; raise at the end where files could not be read."""
    left = [(reading, path) for reading, path in waiting if not path.exists()]
    if len(left) < len(waiting):
        print(f"{len(waiting) - len(left)} of {len(waiting)} members were read before")
    if not left:
        return
    remove_half_written(left[0][1].parent, "weather")
    refused = []
    with progress_bar(total=len(left), desc="reading", unit="member") as bar:
        for _, _, refusal in outcomes(work, left, settings.workers, settings.scheduler):
            bar.update()
            if refusal:
                refused.append(refusal)
    if refused:
        raise UserError("\nerror: ".join([*sorted(set(refused)), "the weather forecast file is not written; what could be read "
                                          "is kept and not read again"]))


def assemble(output: Path, target: "Grid", forecasts: dict[int, Forecast], pieces: dict[tuple[int, int], Path], earlier: Earlier,
             origin: str, settings: Any) -> None:
    """Write the output from the pieces and from what stood in it."""
    remove_half_written(output.parent, output.stem)
    init_days = sorted(forecasts.keys() | earlier.forecasts.keys())
    members, days = _members(forecasts, earlier), _days(forecasts, earlier)
    origin = origin or earlier.origin
    attributes = {"title": f"weather forecasts of {origin or 'files without a name of the centre'}, UTC days", "origin": origin,
                  "member_numbers": ",".join(map(str, members)),
                  "regridding": f"exact conservative average (areas in EPSG:6933) onto the cells of {Path(settings.like).name}; "
                                f"missing where less than {settings.min_valid_fraction:g} of a cell's area has a value",
                  "comment": "air_temperature: mean of the steps of a UTC day, missing where two are more than "
                             f"{24 / settings.min_steps_per_day:g} h apart",
                  "date_created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(new_weather_file(
            output, np.array(init_days, "datetime64[D]"), np.arange(days) + 1, len(members) if len(members) > 1 else 0,
            target.lat, target.lon, VARIABLES[1], attributes))
        before = stack.enter_context(netCDF4.Dataset(output)) if earlier.forecasts else None
        file.createVariable("start_time", np.int32, ("init_time",)).setncatts({
            "units": "hours since 1970-01-01", "calendar": "standard", "long_name": "start of the forecast (UTC)"})
        file.createVariable("made_from", str, ("init_time",)).long_name = "key of the files that the forecast was read from"
        for dataset in filter(None, (file, before)):
            dataset.set_auto_maskandscale(False)
        for place, init_day in enumerate(progress_bar(init_days, desc="writing", unit="forecast")):
            if init_day in forecasts:
                forecast = forecasts[init_day]
                file["start_time"][place], file["made_from"][place] = forecast.start, forecast.key
                for reading in forecast.readings:
                    with netCDF4.Dataset(pieces[forecast.start, reading.member]) as piece:
                        piece.set_auto_maskandscale(False)
                        _copy(piece, 0, None, file, place, members.index(reading.member))
            else:
                old_place, file["start_time"][place], file["made_from"][place] = earlier.forecasts[init_day]
                for number, member in enumerate(earlier.members):
                    _copy(before, old_place, number, file, place, members.index(member))


def _copy(source, old_place, old_member, target, place, member):
    """Copy the packed values of one member of one forecast; days that the source does not reach are missing."""
    for name in VARIABLES:
        index = (old_place,) if "member" not in source.dimensions else (old_place, slice(None), old_member)
        values = source[name][index]
        padded = np.full((len(target.dimensions["lead_time"]), *values.shape[1:]), PACKED_FILL, np.int16)
        padded[:len(values)] = values
        target[name][(place, slice(None), member) if "member" in target.dimensions else (place,)] = padded


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
