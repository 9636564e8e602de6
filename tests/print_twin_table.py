"""Print the statistics of the synthetic twin beside those of reality.

Reads   the twin's cubes (made first when absent) and any real cubes given

Run     python tests/print_twin_table.py
        python tests/print_twin_table.py smap.nc

Expect  20 seconds
"""
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing import twin
from data_processing.cube import cube_name, cube_values, open_cube
from tests.twin_statistics import all_rows, land_record, persistence_r2, table
from utils.command_line import RESUME_FILES, run_script

REAL_DAYS = 549  # length of the record that reality was measured on, with gaps; smap_l3 is measured alike


@dataclass(frozen=True)
class Settings:
    cubes: tyro.conf.Positional[tuple[str, ...]] = ()  # real ones, to stand beside the twin's


def read_record(path, days=None, every=1):
    cube = open_cube(path)
    values, time = cube_values(cube)[:days], cube.time.values[:days]
    return land_record(values, time, cube.lat.values, cube.lon.values, every)


def print_calibration(title, record):
    moisture = record.soil_moisture
    scores = ", ".join(f"lead {lead} {persistence_r2(record, lead):.3f}" for lead in (1, 3, 5, 7))
    print(f"{title}: sd over space of the time mean {np.nanstd(np.nanmean(moisture, axis=0)):.4f}, "
          f"median sd over time {np.median(np.nanstd(moisture, axis=0)):.4f}, persistence R2 {scores}")


def main(settings):
    records = {domain: read_record(twin.cube_path(domain), REAL_DAYS if domain == "smap_l3" else None, 2)
               for domain in twin.DOMAINS}
    records |= {cube_name(path): read_record(path) for path in settings.cubes}
    print(table({title: all_rows(record) for title, record in records.items()}))
    for title, record in records.items():
        print_calibration(title, record)


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
