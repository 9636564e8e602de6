"""Whole preparations by the scripts: what a second process brings, and that memory does not grow with the record.

The long form takes half an hour and 8 GB of disk: 100 days of whole granules; 1 and 24 months of hourly ERA5-Land.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from data_processing.twin_files import granule_name, write_era5_month
from tests.benchmarks.measure import ROOT, number_rows, time_rows
from tests.benchmarks.reading import CHINA, make_granule, smooth

DAYS, ROUNDS = 100, 2
MONTHS = (1, 24)
BOX_CELLS = 200


def rows(short):
    """Time with 1 and 2 processes; peak memory of the largest process for records of two lengths."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if short:
            return memory_rows(folder, months=(1,), box_cells=20)
        return [*workers_rows(folder), *memory_rows(folder, MONTHS, BOX_CELLS)]


def workers_rows(folder):
    """Seconds for DAYS days of whole granules; one granule under many names."""
    stamps = np.datetime64("2017-08-01T01:30") + 3 * np.timedelta64(1, "h") * np.arange(8 * DAYS)
    granules = folder / "granules"
    granules.mkdir()
    first = make_granule(granules, stamps[0])
    for stamp in stamps[1:]:
        os.link(first, granules / granule_name(stamp))
    found = []
    for grid in ("native", "36km"):
        seconds = {"1 process": [], "2 processes": []}
        for attempt in range(ROUNDS):
            for form, times in seconds.items():
                output = folder / f"{grid}_{attempt}_{form[0]}" / "cube.nc"
                spent, _ = run_prepare("prepare_smap_l4.py", granules, "--box", *CHINA, "--workers", form[0], "--grid", grid,
                                       "--output", output)
                times.append(spent)
        found += time_rows("preparing", f"{DAYS} days of whole granules, {grid}", seconds, "1 process")
    return found


def memory_rows(folder, months, box_cells):
    """Peak memory for some months of hourly ERA5-Land on box_cells x box_cells cells."""
    peaks = {}
    for count in months:
        downloads = folder / f"{count}_months"
        downloads.mkdir()
        make_months(downloads, count, box_cells)
        size = sum(path.stat().st_size for path in downloads.iterdir()) / 1e9
        _, peaks[f"{count} months, {size:.2g} GB"] = run_prepare("prepare_era5_land.py", downloads, "--workers", 1, "--output",
                                                                 folder / f"cube_{count}" / "cube.nc")
    return number_rows("preparing", "hourly ERA5-Land, peak memory", peaks, next(iter(peaks)), "peak_mb")


def run_prepare(script, *arguments):
    """Seconds and peak memory (MB, of the largest process) of a prepare script in processes of its own."""
    code = ("import resource, subprocess, sys, time; start = time.perf_counter(); "
            "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); "
            "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)")
    done = subprocess.run([sys.executable, "-c", code, ROOT / "data_processing" / script, *map(str, arguments)],
                          check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return map(float, done.stdout.split())


def make_months(folder, months, box_cells):
    """Hourly look-alike files of ERA5-Land, one a month and variable, on box_cells x box_cells cells of 0.1 degrees."""
    random = np.random.default_rng(0)
    lat, lon = 40 - 0.1 * np.arange(box_cells), 100 + 0.1 * np.arange(box_cells)
    pattern = smooth(random, (box_cells, box_cells), 5)
    for month in np.datetime64("2010-01") + np.arange(months):
        first = month.astype("datetime64[h]")
        stamps = np.arange(first, (month + 1).astype("datetime64[h]"))
        hours = (stamps - first).astype(int)[:, None, None]
        fields = {"swvl1": 0.3 + 0.05 * pattern + 1e-4 * np.sin(hours),
                  "stl1": 285 + 5 * pattern + np.sin(2 * np.pi * hours / 24),
                  "tp": np.maximum(pattern, 0) * 1e-4 * ((hours - 1) % 24 + 1)}
        for name, values in fields.items():
            path = folder / f"era5_land_{name}_{month}.nc".replace("-", "_")
            write_era5_month(path, {name: values.astype(np.float32)}, stamps, lat, lon, "Synthetic look-alike")
