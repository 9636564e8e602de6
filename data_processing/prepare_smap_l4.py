"""Make one daily cube of SMAP L4 granules: soil moisture, soil temperature and precipitation of each UTC day.

Reads   SPL4SMGP files (doi:10.5067/T5RUATAQREF8 and older versions) as download_smap_l4.py or the data centre
        delivers them, whole, cropped, or regridded to degrees; with --product SPL4SMAU the analyses, soil moisture alone

Writes  the cube; beside it quicklook.png and pieces/, which holds what was read: started again, it goes on there

Run     python data_processing/prepare_smap_l4.py --grid 36km

Expect  0.1 s of computing for each whole granule, eight a day; the disk, 1.15 GB a day, may take longer
"""
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.cube import VARIABLES, Variable
from data_processing.files import PROJECT
from utils.command_line import RESUME_FILES, run_script

# the other imports stand in the function: they take seconds, which --help would wait for

FOLDER = PROJECT / "data" / "smap_l4"


@dataclass(frozen=True)
class Settings:
    # input and output
    files: tyro.conf.Positional[tuple[str, ...]] = (str(FOLDER / "granules"),)  # folders, globs or files
    output: str = str(FOLDER / "smap_l4.nc")  # the cube
    product: Literal["SPL4SMGP", "SPL4SMAU"] = "SPL4SMGP"  # geophysical fields, or analyses (soil moisture alone)
    variables: tuple[Variable, ...] = VARIABLES  # those to make
    # cells
    box: tuple[float, float, float, float] | None = None  # north, west, south, east, degrees; default all in the files
    grid: str = "native"  # "native", "36km", "9km", or a spacing in degrees such as 0.25
    like: str | None = None  # another cube whose cells to average onto, instead of grid and box
    min_valid_fraction: float = 0.5  # of a cell's area that must hold values, where cells are averaged
    # days
    min_fields_per_day: int = 8  # 3-hourly values that a cell needs to have a daily one, 1..8
    workers: int = os.cpu_count() or 1  # processes that read
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers read, not processes here


def main(settings: Any) -> None:
    from data_processing.preparing import prepare
    from data_processing.regrid import target_grid
    from data_processing.smap_l4 import find_granules, plan_granules, read_granules, survey

    granules, notes = find_granules(settings.files, settings.product)
    found = survey(granules, settings)
    target = target_grid(settings.grid, source=found.grid, like=settings.like, box=settings.box)
    plan = plan_granules(granules, found, target, settings, notes)
    path = prepare(plan, read_granules, target, settings)

    from utils.quicklook import show_cube  # not above: the reading processes would import the drawing too
    show_cube(path)


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
