"""The box of China read from one whole look-alike granule of SPL4SMGP: our reader against the usual ones and bare zlib.

The file is as the product's: a chunk is the whole globe, shuffled and deflated, so that any box inflates 25 MB a variable. Bare
zlib inflates the three chunks and does nothing else.
"""
import tempfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from data_processing.regrid import EASE_COLUMNS, EASE_ROWS, box_window, ease_grid
from data_processing.smap_l4 import PRODUCTS, read_granules
from data_processing.twin_files import granule_name, write_granule
from tests.benchmarks.measure import interleave, time_rows

CHINA = (55, 73, 17, 136)  # north, west, south, east, degrees
SHAPE = (EASE_ROWS[9], EASE_COLUMNS[9])
FIELDS = {variable: field.name for variable, field in PRODUCTS["SPL4SMGP"].fields.items()}
ROUNDS, WARM_UP = 12, 2
FILL = -9999


def rows(short):
    """Time to read three variables of the box."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_granule(Path(folder), np.datetime64("2017-08-01T01:30"), fields=1 if short else len(FIELDS))
        forms = ways(path)
        rounds, warm_up = (1, 0) if short else (ROUNDS, WARM_UP)
        seconds = interleave(forms, rounds, warm_up)
    return time_rows("reading", "SPL4SMGP granule, box of China", seconds, "bare zlib")


def ways(path):
    """Dict of the forms, each a function without arguments."""
    with h5py.File(path) as file:
        fields = {variable: name for variable, name in FIELDS.items() if name in file["Geophysical_Data"]}
        chunks = [file["Geophysical_Data"][name].id.read_direct_chunk((0, 0))[1] for name in fields.values()]
    south, north, west, east = box_window(ease_grid(9), CHINA)
    rows, columns = slice(SHAPE[0] - north, SHAPE[0] - south), slice(west, east)
    task = {"product": "SPL4SMGP", "variables": list(fields), "degrees": False, "rows": [rows.stop - 1, rows.start],
            "columns": [columns.start, columns.stop - 1], "shape": [north - south, east - west]}

    def bare_zlib():
        for chunk in chunks:
            zlib.decompress(chunk)

    def plain_h5py():
        with h5py.File(path) as file:
            for name in fields.values():
                values = file["Geophysical_Data"][name][rows, columns]
                values[values == FILL] = np.nan

    def with_xarray():
        with xr.open_dataset(path, group="Geophysical_Data", engine="netcdf4") as file:
            for name in fields.values():
                file[name][rows, columns].load()

    return {"bare zlib": bare_zlib, "our reader": lambda: list(read_granules([path], task)), "plain h5py": plain_h5py,
            "xarray.open_dataset": with_xarray}


def make_granule(folder, stamp, fields=None):
    """A whole look-alike granule: the first few of the three fields (default all), half of each missing."""
    random = np.random.default_rng(0)
    sea = smooth(random, SHAPE, 40) > 0
    mean_and_spread = {"precipitation": (-2e-4, 2e-4), "soil_moisture": (0.25, 0.06), "soil_temperature": (285, 10)}
    made = {}
    for variable, name in list(FIELDS.items())[:fields]:
        mean, spread = mean_and_spread[variable]
        values = np.maximum(mean + spread * smooth(random, SHAPE, 4), 0).astype(np.float32)
        made[name] = np.where(sea, np.nan, values)
    path = folder / granule_name(stamp)
    write_granule(path, made, stamp, slice(0, SHAPE[0]), slice(0, SHAPE[1]), "Synthetic look-alike", layout="whole")
    return path


def smooth(random, shape, length):
    """Field of mean 0 and spread 1 that is smooth over `length` cells, and rough by a tenth."""
    field = gaussian_filter(random.standard_normal(shape, np.float32), length)
    return field / field.std() + 0.1 * random.standard_normal(shape, np.float32)
