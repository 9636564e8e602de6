"""From product files to a daily cube: every file is read once, in parallel; the cube is put together day by day.

A reader turns a unit of input (the granules of a day, a file of a month) into a piece: sums of the values of each
day and how many they are. Pieces are small NetCDF files that stay in `pieces/` beside the cube, named by what they
were made of, so that a preparation that was stopped goes on where it was and new files are all that is read when a
record grows. The cube is then assembled from the pieces, one day in memory at a time.
"""
import contextlib
import glob
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np

from data_processing.cube import QUANTITIES, new_cube
from data_processing.errors import UserError
from data_processing.files import PIECES, checksum, format_bytes, locked, remove_half_written, replacing
from data_processing.regrid import Grid, Regridder
from data_processing.scheduler import scheduled, wait_until_seen
from data_processing.terminal import progress_bar

PIECE_VERSION = 1
"""Part of every piece's name: a new number makes all pieces anew."""
OTHER_OUTPUT = "give an --output in another folder"
"""What a second preparation may do while one works in the folder."""
OPEN_PIECES = 32
"""Pieces that are open at a time while the cube is assembled: a month of granules, or months of several boxes."""


class Source(NamedTuple):
    """A unit of input, read into one piece.

    name : str, readable, unique, fit for a file name. files : paths it is read from.
    task : dict, what the reader is asked, as JSON knows it. window : first row, last row + 1, first column,
    last column + 1 of the piece in the plan's grid. days : dict variable -> datetime64[D] [n], what it will hold.
    """

    name: str
    files: tuple
    task: dict
    window: tuple
    days: dict


class Rule(NamedTuple):
    """When and how the values of a cell make a day.

    needed : int, fewer values: the day is missing. total : bool, the day is their sum, else their mean.
    """

    needed: int
    total: bool


class Plan(NamedTuple):
    """Everything that is known of a cube before its files are read.

    product, title : str. grid : Grid, the native cells that are read. sources : list of Source, preferred ones
    first where windows overlap. rules : dict variable -> Rule. mask : bool [h, w] of `grid`, False = left out
    (sea), or None. attributes : dict of the cube; a variable's name leads to a dict of its own.
    notes : list of str, told before the work starts.
    """

    product: str
    title: str
    grid: Grid
    sources: list
    rules: dict
    mask: np.ndarray | None
    attributes: dict
    notes: list


def prepare(plan: Plan, read: Callable, target: Grid, settings: Any) -> Path:
    """Read what has not been read yet, and assemble the cube if anything in it changed.

    Parameters
    ----------
    plan : Plan
    read : function
        read(files, task) yields (variable, day, total [h, w] in the cube's unit, count uint8 [h, w]), rows from
        south to north; a module-level function, for it runs in other processes.
    target : Grid
        The cells of the cube.
    settings : Settings
        With `output`, `min_valid_fraction`, `workers`, `scheduler`.

    Returns
    -------
    Path
        The cube.

    Raises
    ------
    UserError
        The settings are out of range; the output is another's, has other cells or would lose days; files cannot be
        read (all others have been read then, and their pieces are kept).
    """
    output = Path(settings.output).expanduser().absolute()
    days = _days_of(plan)
    _check(plan, target, settings, output, days)
    notes = [*plan.notes, *_missing_days(plan, days)]
    print("\n".join([*notes, _size(plan, target, days)]))
    paths = [_piece_path(output.parent / PIECES, plan, read, source) for source in plan.sources]
    with locked(output.parent / PIECES, OTHER_OUTPUT):
        _make_pieces(plan, read, paths, settings)
        made_from = _digest([path.name for path in paths], plan, target, settings)
        if _attribute(output, "made_from") == made_from:
            print(f"{output} is up to date")
            return output
        remove_half_written(output.parent, output.stem)
        _assemble(output, plan, target, days, paths, settings, made_from)
    return output


def _days_of(plan):
    """Every day from the first to the last of any source, datetime64[D] [T]."""
    found = [days for source in plan.sources for variable, days in source.days.items()
             if variable in plan.rules and len(days)]
    if not found:
        raise UserError(f"{plan.product}: the files hold no day of {', '.join(plan.rules)}.")
    first, last = min(days.min() for days in found), max(days.max() for days in found)
    return np.arange(first, last + np.timedelta64(1, "D"))


def _check(plan, target, settings, output, days):
    """Refuse what could not end well, before any file is read."""
    if settings.workers < 1:
        raise UserError(f"workers is {settings.workers}; at least 1 process must read.")
    if not 0 < settings.min_valid_fraction <= 1:
        raise UserError(f"min_valid_fraction is {settings.min_valid_fraction}; it must be above 0 and at most 1.")
    if output.suffix != ".nc":
        raise UserError(f"output is {output}; a cube is a NetCDF file, its name must end in .nc.")
    if not output.exists():
        return
    product = _attribute(output, "product") if _attribute(output, "made_from") else None
    if product != plan.product:
        raise UserError(f"{output} exists and is not a cube of {plan.product} made by this script"
                        f"{f' but of {product}' if product else ''}; give another --output, or move it away.")
    with netCDF4.Dataset(output) as file:
        first, last = file["time"][[0, -1]].astype(int).astype("datetime64[D]")
        lat, lon = (np.asarray(file[name]) for name in ("lat", "lon"))
    if not (np.array_equal(lat, target.lat) and np.array_equal(lon, target.lon)):
        raise UserError(f"{output} holds other cells ({lat.size} x {lon.size}, {lat[0]:.2f} to {lat[-1]:.2f} N, "
                        f"{lon[0]:.2f} to {lon[-1]:.2f} E) than are asked for ({target.lat.size} x {target.lon.size}). "
                        "Give another --output (in the same folder nothing is read again), or move it away.")
    if first < days[0] or last > days[-1]:
        raise UserError(f"{output} holds {first} to {last}, the files given only {days[0]} to {days[-1]}: its other "
                        "days would be lost. Name all files (those read before are not read again), or another "
                        "--output.")


def _attribute(path, name):
    """A global attribute of a NetCDF file; None where there is no such file or attribute."""
    try:
        with netCDF4.Dataset(path) as file:
            return getattr(file, name, None)
    except OSError:
        return None


def _missing_days(plan, days):
    """A line for each variable about the days that no file holds."""
    lines = []
    for variable in plan.rules:
        found = np.unique(np.concatenate([source.days.get(variable, days[:0]) for source in plan.sources]))
        missing = days[~np.isin(days, found)]
        if missing.size:
            lines.append(f"warning: {variable}: no file for {missing.size} of {days.size} days ({_runs(missing)}); "
                         "they are missing (NaN)")
    return lines


def _runs(days):
    """The first few uninterrupted runs of ascending days, as text."""
    starts = np.flatnonzero(np.diff(days, prepend=days[:1] - 2) > np.timedelta64(1, "D"))
    runs = np.split(days, starts[1:])
    text = [str(run[0]) if run.size == 1 else f"{run[0]} to {run[-1]}" for run in runs[:4]]
    return ", ".join(text) + (f" and {len(runs) - 4} more gaps" if len(runs) > 4 else "")


def _size(plan, target, days):
    cells = target.lat.size * target.lon.size
    size = format_bytes(days.size * cells * len(plan.rules) * 4)
    return (f"{plan.product}: {', '.join(plan.rules)}; days: {days.size}, {days[0]} to {days[-1]}; cells: "
            f"{target.lat.size} x {target.lon.size}; {size} before compression")


# ------------------------------------------------------------------------------------------------------ pieces
def _piece_path(folder, plan, read, source):
    """Where the piece of a source stands: its name, a key of what was asked, a key of the files as they are."""
    task = json.dumps([PIECE_VERSION, plan.product, read.__module__, source.task], sort_keys=True)
    files = json.dumps([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in source.files])
    keys = (hashlib.sha256(text.encode()).hexdigest()[:12] for text in (task, files))
    return folder / ".".join([source.name, *keys, "nc"])


def _make_pieces(plan, read, paths, settings):
    """Make the pieces that do not exist, in parallel; raise at the end where files could not be read."""
    waiting = [(source, path) for source, path in zip(plan.sources, paths) if not path.exists()]
    if len(waiting) < len(paths):
        print(f"{len(paths) - len(waiting)} of {len(paths)} pieces were read before")
    if not waiting:
        return
    remove_half_written(paths[0].parent)
    refused = []
    size = sum(file.stat().st_size for source, _ in waiting for file in source.files)
    with progress_bar(total=size, desc="reading", unit="B", unit_scale=True, unit_divisor=1000) as bar:
        for source, path, refusal in outcomes(partial(_make_piece, read), waiting, settings.workers,
                                                  settings.scheduler):
            bar.update(sum(file.stat().st_size for file in source.files))
            bar.set_postfix_str(source.name)
            if refusal:
                refused.append(refusal)
            else:
                _remove_older(path)
    if refused:
        raise UserError("\nerror: ".join([*sorted(refused), "the cube is not written; what could be read is kept and "
                                          "not read again"]))


def outcomes(work: Callable, waiting: list[tuple[Source, Path]], workers: int,
             scheduler: str | None = None) -> Iterator[tuple[Source, Path, str | None]]:
    """Have pieces made by processes here, or by the workers of a dask scheduler.

    Parameters
    ----------
    work : function
        work(source, path) makes the piece; module-level, for it runs in other processes.
    waiting : list of (source, path)
        All paths in one folder.
    workers : int
        Processes.
    scheduler : str, optional
        Address of a dask scheduler, whose workers make the pieces instead: under temporary names, then renamed, in the folder
        that all machines share (`data_processing.scheduler`).

    Yields
    ------
    source
    Path
    object
        What `work` returned, as each piece is done.
    """
    if scheduler is not None:
        folder = waiting[0][1].parent
        source_of = {path: source for source, path in waiting}
        tasks = {path: (source, path) for path, source in source_of.items()}
        made = []
        for path, result in scheduled(scheduler, work, tasks, folder):
            yield source_of[path], path, result
            made += [path] if result is None else []
        wait_until_seen(made)
        remove_half_written(folder)  # of workers that were ended
        return
    if workers == 1:
        for source, path in waiting:
            yield source, path, work(source, path)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the state of libraries that hold threads
    with ProcessPoolExecutor(min(workers, len(waiting)), context, initializer=_start_worker) as pool:
        running = {pool.submit(work, source, path): (source, path) for source, path in waiting}
        try:
            for done in as_completed(running):
                yield *running[done], done.result()
        except BrokenProcessPool:
            raise UserError("a reading process was ended from outside, perhaps for want of memory; start again (what "
                            "was read is kept), with fewer --workers if it happens again.") from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker():
    """End without a word on Ctrl-C, and when the parent is no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _make_piece(read, source, path):
    """Read a source into its piece; the text of the UserError where it cannot be read, else None."""
    try:
        with replacing(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as piece:
            first_row, last_row, first_column, last_column = source.window
            piece.createDimension("lat", last_row - first_row)
            piece.createDimension("lon", last_column - first_column)
            for variable, day, total, count in read(source.files, source.task):
                _check_values(source, variable, day, total, count)
                _write_day(piece, variable, day, total, count)
            piece.files = json.dumps([[file.name, checksum(file)] for file in source.files])
    except UserError as error:
        return str(error)


def _check_values(source, variable, day, total, count):
    """Refuse what no soil and no weather can be: a damaged file, a wrong unit or an undeclared fill value."""
    quantity = QUANTITIES[variable]
    mean = total[count > 0] / count[count > 0]
    if mean.size and not (quantity.lowest <= mean.min() and mean.max() <= quantity.highest):
        files = " or ".join(str(file) for file in source.files)
        raise UserError(f"{files}: {variable} of {day} reaches from {mean.min():.4g} to {mean.max():.4g} "
                        f"{quantity.unit}; possible are {quantity.lowest:g} to {quantity.highest:g}. The file is "
                        "damaged or its unit is not what it says: download it again or take it out.")


def _write_day(piece, variable, day, total, count):
    if variable not in piece.groups:
        group = piece.createGroup(variable)
        group.createDimension("day", None)
        chunk = (1, len(piece.dimensions["lat"]), len(piece.dimensions["lon"]))
        group.createVariable("day", np.int32, ("day",)).units = "days since 1970-01-01"
        for name, kind in (("total", np.float32), ("count", np.uint8)):
            group.createVariable(name, kind, ("day", "lat", "lon"), zlib=True, complevel=1, chunksizes=chunk,
                                 fill_value=False)
        group["total"].units = QUANTITIES[variable].unit
    group = piece[variable]
    index = len(group.dimensions["day"])
    group["day"][index] = day.astype("datetime64[D]").astype(int)
    group["total"][index] = total
    group["count"][index] = count


def _remove_older(path):
    """Remove the pieces that were made for the same task from files that have changed since."""
    name, task, _, _ = path.name.rsplit(".", 3)
    for other in path.parent.glob(f"{glob.escape(name)}.{task}.*.nc"):
        if other != path:
            other.unlink()


# ------------------------------------------------------------------------------------------------------ the cube
def _assemble(output, plan, target, days, paths, settings, made_from):
    """Write the cube from the pieces, one day at a time."""
    regridder = None if _same(plan.grid, target) else Regridder(plan.grid, target, settings.min_valid_fraction)
    files = _files(paths)
    attributes = plan.attributes | _provenance(plan, files, made_from) | {
        "regridding": "none, native cells" if regridder is None else _regridding(target, settings)}
    where = _where(plan)
    with new_cube(output, days, target.lat, target.lon, attributes, list(plan.rules)) as cube:
        _list_files(cube, files)
        with contextlib.closing(_Pieces(paths)) as pieces:
            for index, day in enumerate(progress_bar(days, desc="writing the cube", unit="day")):
                for variable, rule in plan.rules.items():
                    values = _day(plan, pieces, where[variable].get(day, []), variable, day, rule)
                    cube[variable][index] = values if regridder is None else regridder(values)


def _where(plan):
    """For each variable, which sources hold a day: dict variable -> dict day -> list of indices."""
    where = {variable: defaultdict(list) for variable in plan.rules}
    for index, source in enumerate(plan.sources):
        for variable in plan.rules:
            for day in source.days.get(variable, ()):
                where[variable][day].append(index)
    return where


def _day(plan, pieces, indices, variable, day, rule):
    """One day on the native cells, float32 [h, w], NaN = missing."""
    values = np.full((plan.grid.lat.size, plan.grid.lon.size), np.nan, np.float32)
    boxes = defaultdict(list)
    for index in indices:
        boxes[plan.sources[index].window].append(index)
    for (top, bottom, left, right), members in boxes.items():
        total, count = 0.0, 0
        for index in members:
            its_total, its_count = pieces.read(index, variable, day)
            total, count = total + its_total.astype(np.float64), count + its_count.astype(np.int32)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(count >= rule.needed, total if rule.total else total / count, np.nan)
        here = values[top:bottom, left:right]
        here[...] = np.where(np.isnan(here), found, here)
    if plan.mask is not None:
        values[~plan.mask] = np.nan
    return values


class _Pieces:
    """Pieces opened when they are needed; those not used for longest are closed."""

    def __init__(self, paths):
        self.paths, self.open = paths, {}

    def read(self, index: int, variable: str, day: np.datetime64) -> tuple[np.ndarray, np.ndarray]:
        """Sum and count of a day, float32 [h, w] and uint8 [h, w]."""
        if index not in self.open:
            if len(self.open) >= OPEN_PIECES:
                self.open.pop(next(iter(self.open))).close()
            self.open[index] = netCDF4.Dataset(self.paths[index])
            self.open[index].set_auto_mask(False)
        self.open[index] = self.open.pop(index)
        group = self.open[index][variable]
        for name in ("total", "count"):
            group[name].set_var_chunk_cache(size=1)  # each chunk is read once; the default keeps 64 MB a variable
        place = int(np.flatnonzero(group["day"][:] == day.astype(int))[0])
        return group["total"][place], group["count"][place]

    def close(self) -> None:
        for piece in self.open.values():
            piece.close()


def _same(grid, other):
    """Whether two grids have the same cells, to a thousandth of a cell."""
    if grid.lat.size != other.lat.size or grid.lon.size != other.lon.size:
        return False
    return all(np.abs(a - b).max() < 1e-3 * np.diff(a).min()
               for a, b in ((grid.lat_edges, other.lat_edges), (grid.lon_edges, other.lon_edges)))


# ---------------------------------------------------------------------------------------------------- provenance
def _digest(names, plan, target, settings):
    """Key of everything that the cube depends on."""
    digest = hashlib.sha256()
    parts = [names, plan.title, list(plan.rules.items()), plan.attributes, settings.min_valid_fraction]
    digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
    for axis in (*plan.grid, *target):
        digest.update(np.ascontiguousarray(axis))
    if plan.mask is not None:
        digest.update(np.packbits(plan.mask))
    return digest.hexdigest()


def _provenance(plan, files, made_from):
    """Global attributes that say what the cube was made of."""
    listed = "\n".join(f"{sha256}  {name}" for name, sha256 in files)
    return {
        "title": plan.title,
        "product": plan.product,
        "source": f"{plan.product} {plan.attributes.get('product_version', '')}".strip(),
        "source_files": f"{len(files)} files, {files[0][0]} to {files[-1][0]}; all, with SHA-256, in group sources",
        "source_checksum": hashlib.sha256(listed.encode()).hexdigest(),
        "date_created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "made_from": made_from,
    }


def _regridding(target, settings):
    onto = f"the cells of {settings.like}" if settings.like else f"grid {settings.grid}"
    return (f"exact conservative average (areas in EPSG:6933) of each day's native values onto {onto}, "
            f"{target.lat.size} x {target.lon.size} cells; missing where less than {settings.min_valid_fraction:g} of "
            "a cell's area has a value")


def _files(paths):
    """(name, SHA-256) of all files that the pieces were made of, each once, sorted."""
    found = set()
    for path in paths:
        found.update(map(tuple, json.loads(_attribute(path, "files"))))
    return sorted(found)


def _list_files(cube, files):
    group = cube.createGroup("sources")
    group.createDimension("file", len(files))
    for name, column in zip(("file", "sha256"), zip(*files)):
        group.createVariable(name, str, ("file",))[:] = np.array(column, object)
