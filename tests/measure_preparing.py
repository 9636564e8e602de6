"""Measure how fast product files are read and cubes prepared, on look-alike files made in a temporary folder.

    python tests/measure_preparing.py granule     time to read the box of China from one whole granule, beside bare zlib
    python tests/measure_preparing.py workers     100 days of whole granules with 1 and 2 processes (12 minutes, 1 GB)
    python tests/measure_preparing.py memory      peak memory for 1 and 24 months of hourly ERA5-Land (15 minutes, 8 GB)

Ratios inside one run carry over to other machines, seconds do not.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data_processing.regrid import EASE_COLUMNS, EASE_ROWS, box_window, ease_grid  # noqa: E402
from data_processing.smap_l4 import PRODUCTS, read_granules  # noqa: E402
from data_processing.twin_files import granule_name, write_era5_month, write_granule  # noqa: E402

CHINA = (55, 73, 17, 136)
SHAPE = (EASE_ROWS[9], EASE_COLUMNS[9])
FIELDS = {variable: field.name for variable, field in PRODUCTS["SPL4SMGP"].fields.items()}
ROUNDS, WARM_UP = 12, 2
DAYS = 100
MONTHS = 24
BOX_CELLS = 200


def smooth(random, shape, length):
    """Field of mean 0 and spread 1 that is smooth over `length` cells, and rough by a tenth."""
    field = gaussian_filter(random.standard_normal(shape, np.float32), length)
    return field / field.std() + 0.1 * random.standard_normal(shape, np.float32)


def make_granule(folder, stamp):
    """A whole look-alike granule: three fields, half of them missing."""
    random = np.random.default_rng(0)
    sea = smooth(random, SHAPE, 40) > 0
    mean_and_spread = {"precipitation": (-2e-4, 2e-4), "soil_moisture": (0.25, 0.06), "soil_temperature": (285, 10)}
    fields = {}
    for variable, name in FIELDS.items():
        mean, spread = mean_and_spread[variable]
        values = np.maximum(mean + spread * smooth(random, SHAPE, 4), 0).astype(np.float32)
        fields[name] = np.where(sea, np.nan, values)
    path = folder / granule_name(stamp)
    write_granule(path, fields, stamp, slice(0, SHAPE[0]), slice(0, SHAPE[1]), "Synthetic look-alike", layout="whole")
    return path


def measure_granule(folder):
    """Table of the reader beside bare inflation, plain h5py and xarray: interleaved medians."""
    path = make_granule(folder, np.datetime64("2017-08-01T01:30"))
    south, north, west, east = box_window(ease_grid(9), CHINA)
    rows, columns = slice(SHAPE[0] - north, SHAPE[0] - south), slice(west, east)
    with h5py.File(path) as file:
        chunks = [file["Geophysical_Data"][name].id.read_direct_chunk((0, 0))[1] for name in FIELDS.values()]
    task = {"product": "SPL4SMGP", "variables": list(FIELDS), "degrees": False, "rows": [rows.stop - 1, rows.start],
            "columns": [columns.start, columns.stop - 1], "shape": [north - south, east - west]}

    def bare_zlib():
        for chunk in chunks:
            zlib.decompress(chunk)

    def plain_h5py():
        with h5py.File(path) as file:
            for name in FIELDS.values():
                values = file["Geophysical_Data"][name][rows, columns]
                values[values == -9999] = np.nan

    def with_xarray():
        with xr.open_dataset(path, group="Geophysical_Data", engine="netcdf4") as file:
            for name in FIELDS.values():
                file[name][rows, columns].values

    ways = {"bare zlib inflation": bare_zlib, "this project's reader": lambda: list(read_granules([path], task)),
            "plain h5py": plain_h5py, "xarray.open_dataset": with_xarray}
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS + WARM_UP):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times[WARM_UP:]) for name, times in seconds.items()}
    print(f"three chunks of {', '.join(f'{len(chunk) / 1e6:.1f}' for chunk in chunks)} MB")
    for name, median in medians.items():
        print(f"{name:24}{1e3 * median:8.1f} ms {median / medians['bare zlib inflation']:6.2f}")


def run_prepare(script, *arguments):
    """Seconds and peak memory (MB, of the largest process) of a prepare script in processes of its own."""
    code = ("import resource, subprocess, sys, time; start = time.perf_counter(); "
            "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); "
            "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)")
    done = subprocess.run([sys.executable, "-c", code, ROOT / "data_processing" / script, *map(str, arguments)],
                          check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return map(float, done.stdout.split())


def measure_workers(folder):
    """Seconds for DAYS days of whole granules with 1 and 2 processes; one granule under many names."""
    stamps = np.datetime64("2017-08-01T01:30") + 3 * np.timedelta64(1, "h") * np.arange(8 * DAYS)
    granules = folder / "granules"
    granules.mkdir()
    first = make_granule(granules, stamps[0])
    for stamp in stamps[1:]:
        os.link(first, granules / granule_name(stamp))
    for attempt, grid in enumerate(("native", "36km", "native", "36km")):
        seconds = []
        for workers in (1, 2):
            spent, _ = run_prepare("prepare_smap_l4.py", granules, "--box", *CHINA, "--workers", workers, "--grid", grid,
                                   "--output", folder / f"{attempt}_{workers}" / "cube.nc")
            seconds.append(spent)
        ratio = seconds[0] / seconds[1]
        print(f"{DAYS} days, {grid}: {seconds[0]:.0f} s with 1 process, {seconds[1]:.0f} s with 2: {ratio:.2f}", flush=True)


def make_months(folder, months):
    """Hourly look-alike files of ERA5-Land, one a month and variable, on BOX_CELLS x BOX_CELLS cells of 0.1 degrees."""
    random = np.random.default_rng(0)
    lat, lon = 40 - 0.1 * np.arange(BOX_CELLS), 100 + 0.1 * np.arange(BOX_CELLS)
    pattern = smooth(random, (BOX_CELLS, BOX_CELLS), 5)
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


def measure_memory(folder):
    """Peak memory for 1 and MONTHS months of hourly ERA5-Land."""
    for months in (1, MONTHS):
        downloads = folder / f"{months}_months"
        downloads.mkdir()
        make_months(downloads, months)
        size = sum(path.stat().st_size for path in downloads.iterdir()) / 1e9
        for workers in (1, 2):
            seconds, peak = run_prepare("prepare_era5_land.py", downloads, "--workers", workers, "--output",
                                        folder / f"cube_{months}_{workers}" / "cube.nc")
            print(f"{months} months ({size:.2f} GB), {workers} processes: {peak:.0f} MB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    measures = {"granule": measure_granule, "workers": measure_workers, "memory": measure_memory}
    if len(sys.argv) != 2 or sys.argv[1] not in measures:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        measures[sys.argv[1]](Path(name))
