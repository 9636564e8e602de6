"""A cube of China at 9 km and 11 years: the synthetic twin's days on finer cells, each with a soil of its own.

Run     python tests/benchmarks/large_cube.py data/large/china_9km.nc
        python tests/benchmarks/large_cube.py data/large/china_20km.nc --rows 200 --columns 300 --days 600
"""
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data_processing.cube import VARIABLES, cube_days, new_cube, open_cube
from data_processing.twin import cube_path
from utils.command_line import run_script

SOIL_SPREAD = 0.1  # of the factor between the soil moisture of neighbouring fine cells


@dataclass(frozen=True)
class Settings:
    output: tyro.conf.Positional[Path]  # file to write
    rows: int = 430  # 9 km between 18 and 54 N
    columns: int = 675  # 9 km between 73 and 135 E
    days: int = 4200  # the SMAP record to 2026


def main(settings):
    write_large_cube(settings.output, settings.rows, settings.columns, settings.days)


def write_large_cube(path, rows, columns, days):
    """Write the twin of ERA5-Land, its first `days`, on `rows` x `columns` cells."""
    from tqdm import tqdm

    twin = open_cube(cube_path("era5_land"), check_values=False)
    lat, lon = (fine_axis(twin[axis].values, size) for axis, size in (("lat", rows), ("lon", columns)))
    row, column = (np.arange(size) * twin.sizes[axis] // size for axis, size in (("lat", rows), ("lon", columns)))
    soil = np.exp(SOIL_SPREAD * np.random.default_rng(0).standard_normal((rows, columns))).astype(np.float32)
    attributes = {"title": f"Synthetic twin on {rows} x {columns} cells", "source": "made by tests/benchmarks/large_cube.py"}
    with new_cube(path, cube_days(twin)[:days], lat, lon, attributes) as file:
        for name in VARIABLES:
            values = twin[name][:days].values
            for day in tqdm(range(days), desc=f"writing {name}", unit="day", dynamic_ncols=True):
                fine = values[day][row][:, column]
                file[name][day] = np.minimum(fine * soil, 0.6) if name == "soil_moisture" else fine


def fine_axis(axis, size):
    """Centres of `size` equal cells over the extent of a regular axis."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    edges = np.linspace(axis[0] - step / 2, axis[-1] + step / 2, size + 1)
    return (edges[:-1] + edges[1:]) / 2


if __name__ == "__main__":
    run_script(main, Settings)
