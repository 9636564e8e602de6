"""Make a daily cube of files of ERA5-Land (or ERA5) as the Climate Data Store sends them.

Reads   files of hourly values, of some hours a day, or of daily statistics: total_precipitation (tp),
        volumetric_soil_water_layer_1 (swvl1, 0-7 cm), soil_temperature_level_1 (stl1, 0-7 cm); old and new service,
        ZIP or not, any number of months and boxes; by default those that download_era5_land.py fetched

Writes  the cube (precipitation mm d-1, soil moisture m3 m-3, soil temperature K; UTC days), quicklook.png beside it,
        and pieces/: what was read so far; a new month is all that is read when it is added, and a stopped run goes on

Run     python data_processing/prepare_era5_land.py
        python data_processing/prepare_era5_land.py --like data/smap_l4/smap_l4.nc     on the cells of another cube

Precipitation of a day is the value stamped 00 UTC of the next day, so the last day of a record needs the first field of
the next month. ERA5 (not Land): --product era5 and, for soil, --land-sea-mask FILE.
"""
import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.cube import VARIABLES, Variable
from data_processing.era5_files import remove_left_over
from data_processing.era5_land import ENDINGS, HOURS, catalogue, common_lattice, plan_files, read_file, read_mask, usable
from data_processing.errors import UserError
from data_processing.files import PIECES, PROJECT, expand
from data_processing.preparing import prepare
from data_processing.regrid import target_grid
from utils.command_line import RESUME_FILES, run_script

if TYPE_CHECKING:
    from data_processing.preparing import Plan
    from data_processing.regrid import Grid


@dataclass(frozen=True)
class Settings:
    # input
    files: tyro.conf.Positional[tuple[str, ...]] = (str(PROJECT / "data" / "era5_land" / "downloads"),)
    """Folders, globs or files."""
    product: Literal["era5-land", "era5"] = "era5-land"  # era5: single levels, 0.25 degrees
    variables: tuple[Variable, ...] = VARIABLES  # to make; name fewer where not all were downloaded
    min_hours_per_day: int = 4  # of soil moisture and temperature, fewer: the day is missing
    daily_statistics: tuple[str, ...] | None = None  # files that hold daily means; without a value: all files
    land_sea_mask: str | None = None  # file with lsm: cells below 0.5 are left out; needed for soil of ERA5
    # cells
    box: tuple[float, float, float, float] | None = None  # north, west, south, east, degrees; default all there is
    grid: str = "native"  # "native", "36km", "9km", or a spacing in degrees such as 0.25
    like: str | None = None  # another cube, onto whose cells to average, instead of grid and box
    min_valid_fraction: float = 0.5  # of a target cell's area that must hold values
    # output
    output: str = str(PROJECT / "data" / "era5_land" / "era5_land.nc")
    """The cube; pieces/ and quicklook.png stand beside it."""
    workers: int = os.cpu_count() or 1  # reading processes
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers read, not processes here


def main(settings: Any) -> None:
    check(settings)
    pieces = Path(settings.output).expanduser().absolute().parent / PIECES
    remove_left_over(pieces)
    paths = expand(settings.files, ENDINGS)
    records, refused = catalogue(paths, pieces)
    if not records:
        raise UserError("\nerror: ".join(refused.values()))
    try:
        plan, target = plan_cube(settings, records, refused, pieces)
    except UserError as error:
        raise UserError("\nerror: ".join([*refused.values(), str(error)])) from None
    path = prepare(plan, partial(read_file, folder=pieces), target, settings)

    from utils.quicklook import show_cube  # not above: the reading processes would import the drawing too
    show_cube(path)


def plan_cube(settings: Any, records: dict[Path, dict], refused: dict[Path, str], pieces: Path) -> "tuple[Plan, Grid]":
    """What to read of which file, and the cells of the cube."""
    named = {Path(file).expanduser().absolute() for file in settings.files}
    records, variables, notes = usable(records, refused, named, settings.variables)
    lattice = common_lattice(records, settings.product)
    target = target_grid(settings.grid, like=settings.like, source=lattice.grid, box=settings.box)
    lattice = common_lattice(records, settings.product, middle=(target.lon_edges[0] + target.lon_edges[-1]) / 2)
    mask = read_mask(settings.land_sea_mask, pieces, lattice, target) if settings.land_sea_mask else None
    plan = plan_files(records, refused, lattice, target, mask, replace(settings, variables=tuple(variables)))
    return plan._replace(notes=notes + plan.notes), target


def check(settings: Any) -> None:
    """Refuse settings that cannot be meant, before any file is opened."""
    if not settings.variables:
        raise UserError(f"variables is empty; name one or more of {', '.join(VARIABLES)}.")
    if not 1 <= settings.min_hours_per_day <= HOURS:
        raise UserError(f"min_hours_per_day is {settings.min_hours_per_day}; a day has 1 to {HOURS} hours.")
    if settings.product == "era5" and settings.land_sea_mask is None and set(settings.variables) != {"precipitation"}:
        raise UserError("soil moisture and temperature of ERA5 at sea are no missing values but numbers: give "
                        "--land-sea-mask FILE (variable land_sea_mask of the same data set, one field), or make "
                        "--variables precipitation alone.")


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
