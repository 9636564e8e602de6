"""Bad input of every kind that the project reads: small files in which one thing each is changed, and what is right for each.

A `Family` writes good files into a folder and reads them as a script does; a `Mutant` changes one thing in them. Nothing here is
random: the same mutants are made each time. `READERS` says what is attacked, `mutants()` gives all of them.
"""
import gzip
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import netCDF4
import numpy as np
import torch
import xarray as xr
from conftest import ROOT, Experiment, day_axis, known_values, weather_values
from grib_writer import ecmwf_forecast

from data_processing import prepare_era5_land, prepare_smap_l4, prepare_weather_forecast
from data_processing.cube import cube_days, cube_values, open_cube, write_cube
from data_processing.era5_files import field_values, open_fields
from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from data_processing.twin_files import granule_name, write_era5_month, write_granule, write_regridded_granule
from data_processing.weather_file import new_weather_file, open_weather_file, read_weather
from utils.models.convlstm import PAPER_HIDDEN, make_convlstm
from utils.models.settings import ARCHITECTURE, complete
from utils.runs import Run, write_json
from utils.transfer import load_weights, pretrained_model, save_model
from utils.where_it_helps import read_regions

SAME, CHANGED, REFUSED, EITHER = "same values", "changed but right", "refused", "same values or refused"
UNGUARDED = "values or refused"  # a byte that no checksum guards: nobody can tell, but nothing may break
SAMPLES = ROOT.parent / "shared" / "samples"
TITLE = "Synthetic values of the tests"


class Family(NamedTuple):
    """Good files: `write(folder)` makes them, `read(folder)` gives dict name -> array; `file` is the one that is changed."""

    file: str
    write: Callable
    read: Callable


class Mutant(NamedTuple):
    """Files of a family with one thing changed.

    make : changes the files in a folder. right : what must come of it. expected : of CHANGED, dict -> dict of arrays.
    """

    family: str
    kind: str
    name: str
    make: Callable
    right: str
    expected: Callable | None = None


# --------------------------------------------------------------------------------------------------- good files, read
def write_small_cube(folder):
    values = known_values(40, 3, 4)
    values[:, :, 0, 0] = np.nan  # sea
    values[7, 1, 1, 1] = np.nan
    write_cube(folder / "cube.nc", values, day_axis("2015-04-01", 40), 30.0 + np.arange(3), 100.0 + np.arange(4),
               {"title": TITLE, "source": "tests"})


def write_old_cube(folder):
    write_small_cube(folder)
    rewrite(folder / "cube.nc", lambda dataset: dataset, format="NETCDF3_64BIT")


def copy_real_cube(folder):
    shutil.copyfile(SAMPLES / "cubes" / "conus_smap_l3.nc", folder / "cube.nc")


def read_cube(folder):
    cube = open_cube(folder / "cube.nc")
    values = cube_values(cube)
    return {"days": cube_days(cube).astype(int), "lat": cube["lat"].values, "lon": cube["lon"].values,
            "precipitation": values[:, 0], "soil_moisture": values[:, 1], "soil_temperature": values[:, 2]}


GRANULE_ROWS, GRANULE_COLUMNS = slice(300, 305), slice(2900, 2907)


def granule_fields(field):
    cell = np.arange(35, dtype=np.float32).reshape(5, 7)
    values = {"sm_surface": 0.1 + 0.01 * field + 0.001 * cell, "soil_temp_layer1": 280 + field + 0.1 * cell,
              "precipitation_total_surface_flux": 1e-5 * field + 1e-6 * cell}
    for each in values.values():
        each[0, 0] = np.nan
    return values


def granule_paths(folder):
    stamps = np.datetime64("2017-08-01T01:30") + 180 * np.arange(8).astype("timedelta64[m]")
    return [(folder / granule_name(stamp), stamp) for stamp in stamps]


GRANULE = granule_paths(Path())[3][0].name


def write_granules(folder, layout="subset"):
    for number, (path, stamp) in enumerate(granule_paths(folder)):
        write_granule(path, granule_fields(number), stamp, GRANULE_ROWS, GRANULE_COLUMNS, TITLE, layout=layout)


def write_granules_in_degrees(folder):
    for number, (path, stamp) in enumerate(granule_paths(folder)):
        write_regridded_granule(path, granule_fields(number), stamp, 40 - 0.5 * np.arange(5), 90 + 0.5 * np.arange(7), TITLE)


def read_granules(folder):
    prepare_smap_l4.main(prepare_smap_l4.Settings(files=(str(folder),), output=str(folder / "out" / "cube.nc"), workers=1))
    return read_cube(folder / "out")


ERA5_LAT, ERA5_LON = np.array([10.2, 10.1, 10.0]), np.array([75.0, 75.1, 75.2, 75.3])  # north first


def write_era5(folder, layout="new", expver=None):
    stamps = np.datetime64("2020-01-01T00", "h") + np.arange(49)
    hour, cell = np.arange(49)[:, None, None], np.arange(12).reshape(3, 4)
    fields = {"swvl1": 0.2 + 0.001 * hour + 0.002 * cell, "stl1": 280 + hour / 4 + 0.1 * cell,
              "tp": (hour % 24 + 24 * (hour % 24 == 0)) * 1e-4 + 1e-5 * cell}
    for values in fields.values():
        values[:, 0, 0] = np.nan
    write_era5_month(folder / "era5.nc", fields, stamps, ERA5_LAT, ERA5_LON, TITLE, layout, expver)


def read_era5(folder):
    prepare_era5_land.main(prepare_era5_land.Settings(files=(str(folder / "era5.nc"),), output=str(folder / "out" / "cube.nc"),
                                                      workers=1))
    return read_cube(folder / "out")


WEATHER_LAT, WEATHER_LON = np.array([30.0, 31.0]), np.array([100.0, 101.0, 102.0])
WEATHER_DAYS, WEATHER_LEADS = day_axis("2020-01-01", 5), np.arange(1, 5)


def write_weather_file(folder):
    random, shape = np.random.default_rng(0), (5, 4, 3, 2, 3)
    rain = np.round(random.exponential(4.0, shape), 1) * (random.random(shape) < 0.4)
    with new_weather_file(folder / "weather.nc", WEATHER_DAYS, WEATHER_LEADS, 3, WEATHER_LAT, WEATHER_LON, "air_temperature",
                          {"title": TITLE}) as file:
        file["precipitation"][:] = rain
        file["air_temperature"][:] = np.round(280 + 5 * random.standard_normal(shape), 1)


def write_plain_weather_file(folder):
    """The same in plain floats."""
    write_weather_file(folder)
    with xr.open_dataset(folder / "weather.nc", decode_times=False, decode_timedelta=False) as file:
        dataset = file.load()
    for variable in dataset.variables.values():
        variable.encoding = {}
    dataset.to_netcdf(folder / "weather.nc")


def read_weather_file(folder):
    file = open_weather_file(folder / "weather.nc", WEATHER_LAT, WEATHER_LON)
    values = read_weather(file, WEATHER_DAYS)
    return {"days": file.init_time.astype(int), "leads": file.lead_times, "precipitation": values[:, :, :, 0],
            "air_temperature": values[:, :, :, 1]}


def write_grib(folder):
    messages = [message for member in (0, 1) for message in ecmwf_forecast("2024-06-01T00", 2, member, rate=1 + member)]
    (folder / "forecast.grib2").write_bytes(b"".join(messages))
    write_target(folder)


def write_target(folder):
    """The cube on whose cells forecasts are put."""
    write_cube(folder / "like.nc", np.ones((2, 3, 3, 4), np.float32), day_axis("2024-01-01", 2), 31.0 + np.arange(3),
               100.0 + np.arange(4), {"title": TITLE, "source": "tests"})


def write_forecast_netcdf(folder):
    """Two starts, two members, steps of 6 h as a converter of GRIB leaves them."""
    steps = np.arange(0, 49, 6)
    lat, lon = np.arange(34.0, 29.9, -0.5), np.arange(98.0, 104.1, 0.5)
    axes = {"number": ([0, 1], {}), "time": ([0, 24], {"units": "hours since 2024-06-01"}), "step": (steps, {"units": "hours"}),
            "latitude": (lat, {"units": "degrees_north"}), "longitude": (lon, {"units": "degrees_east"})}
    shape = tuple(len(values) for values, _ in axes.values())
    member, hour = np.arange(2)[:, None, None, None, None], steps[:, None, None]
    with netCDF4.Dataset(folder / "forecast.nc", "w") as file:
        for name, (values, attributes) in axes.items():
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].setncatts(attributes)
        for name, unit, values in (("tp", "m", (1 + member) * hour * 1e-3), ("t2m", "K", 280 + hour % 24 + member)):
            file.createVariable(name, "f4", tuple(axes), zlib=True, fill_value=np.float32(-9e33))[:] = np.broadcast_to(
                values, shape)
            file[name].units = unit
    write_target(folder)


def read_forecast(folder):
    file = next(path for path in sorted(folder.iterdir()) if path.stem == "forecast")
    output = folder / "out" / "weather.nc"
    prepare_weather_forecast.main(prepare_weather_forecast.Settings(like=str(folder / "like.nc"), files=(str(file),),
                                                                    output=str(output), workers=1))
    file = open_weather_file(output, 31.0 + np.arange(3), 100.0 + np.arange(4))
    values = read_weather(file, file.init_time)
    return {"days": file.init_time.astype(int), "leads": file.lead_times, "precipitation": values[:, :, :, 0],
            "air_temperature": values[:, :, :, 1]}


def copy_real_era5(name):
    def write(folder):
        shutil.copyfile(SAMPLES / "era5" / name, folder / "era5.nc")
    return write


def read_fields(folder):
    """Of samples that make no cube."""
    with open_fields(folder / "era5.nc", folder) as fields:
        found = {name: field_values(field) for name, field in fields.items()}
        return found | {f"stamps of {name}": field.stamps.astype(int) for name, field in fields.items()}


# ---- a network's weights
@dataclass(frozen=True)
class Task(Experiment):
    """Settings of a small fine-tuning from given weights."""

    hidden: tuple = (4,)
    scaling: str = "cell"
    scaling_from: str = "target"
    pretrained: str = ""
    source_cube: None = None
    source_until: None = None
    further_cubes: tuple = ()
    worlds: int = 0
    regions: tuple = ()


def open_task(folder, name, first, seed=0, **changes):
    """Settings, record (scaled) and splits of a small cube in a folder."""
    path = folder / f"{name}.nc"
    if not path.exists():
        write_cube(path, weather_values(400, 4, 5, seed), day_axis(first, 400), 30.0 + np.arange(4), 100.0 + np.arange(5),
                   {"title": TITLE, "source": "tests"})
    settings = complete(Task(**changes), learning_rate=1e-3, paper_hidden=PAPER_HIDDEN)
    cube, splits = split_cube(path, settings)
    record = open_record(cube, name, splits, max_gap_days=10)
    return settings, scale_record(record, splits.fit_days, scaling=settings.scaling), splits


def write_model(folder):
    settings, record, splits = open_task(folder, "source", "2010-01-01")
    torch.manual_seed(0)
    run = Run(folder / "run" / "ERA5test" / "convlstm" / "source" / "lead3", resume=False, label="source")
    write_json(run.path("settings.json"), {"cube": {"sha256": "0" * 64}})
    save_model(run, make_convlstm(settings, record), record, settings, splits)
    run.path("model.pt").rename(folder / "model.pt")
    open_task(folder, "target", "2015-01-01", seed=1)


def read_model(folder):
    settings, record, splits = open_task(folder, "target", "2015-01-01", pretrained=str(folder / "model.pt"))
    _, model = pretrained_model(settings, "convlstm", ARCHITECTURE, splits, record)
    network = make_convlstm(settings, record)
    load_weights(network, model)
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    return values | {"mean": model["scaler"].mean, "spread": model["scaler"].spread, "static": model["static"].numpy()}


# ---- regions to score apart
def write_regions(folder):
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    xr.Dataset({"north": (("lat", "lon"), mask.astype(np.int8)), "south": (("lat", "lon"), (~mask).astype(np.int8))},
               {"lat": 30.0 + np.arange(3), "lon": 100.0 + np.arange(4)}).to_netcdf(folder / "regions.nc")


def read_region_masks(folder):
    return read_regions((str(folder / "regions.nc"),), 30.0 + np.arange(3), 100.0 + np.arange(4))


# ---- what was kept of an earlier start, beside the output
def write_kept_era5(folder):
    """A preparation that is done, and another output is asked for: the pieces are used again."""
    write_era5(folder)
    read_era5(folder)
    (folder / "out" / "cube.nc").unlink()


def write_kept_forecast(folder):
    """Of a preparation of forecasts: what was found in the file is kept."""
    write_grib(folder)
    read_forecast(folder)
    (folder / "out" / "weather.nc").unlink()
    scan, = (folder / "out" / "pieces").glob("scan.*.npz")
    scan.rename(folder / "out" / "pieces" / "scan.npz")


def read_kept_forecast(folder):
    """The file is another after it was copied: what is kept gets the name that is looked for."""
    pieces = folder / "out" / "pieces"
    path = folder / "forecast.grib2"
    stat = path.stat()
    key = hashlib.sha256(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    (pieces / "scan.npz").rename(pieces / f"scan.{key}.npz")
    return read_forecast(folder)


FAMILIES = {
    "cube": Family("cube.nc", write_small_cube, read_cube),
    "NetCDF-3 cube": Family("cube.nc", write_old_cube, read_cube),
    "granules": Family(GRANULE, write_granules, read_granules),
    "flat granules": Family(GRANULE, lambda folder: write_granules(folder, "flat"), read_granules),
    "granules in degrees": Family(GRANULE, write_granules_in_degrees, read_granules),
    "ERA5": Family("era5.nc", write_era5, read_era5),
    "ERA5 ZIP": Family("era5.nc", lambda folder: write_era5(folder, "zip"), read_era5),
    "old ERA5": Family("era5.nc", lambda folder: write_era5(folder, "old"), read_era5),
    "old ERA5 with expver": Family("era5.nc", lambda folder: write_era5(folder, "old_expver", ["0001"] * 30 + ["0005"] * 19),
                                   read_era5),
    "weather file": Family("weather.nc", write_plain_weather_file, read_weather_file),
    "packed weather file": Family("weather.nc", write_weather_file, read_weather_file),
    "GRIB": Family("forecast.grib2", write_grib, read_forecast),
    "forecast NetCDF": Family("forecast.nc", write_forecast_netcdf, read_forecast),
    "model": Family("model.pt", write_model, read_model),
    "regions": Family("regions.nc", write_regions, read_region_masks),
    "kept catalogue": Family("out/pieces/catalogue.json", write_kept_era5, read_era5),
    "kept scan": Family("out/pieces/scan.npz", write_kept_forecast, read_kept_forecast),
}
REAL = {
    "real cube": Family("cube.nc", copy_real_cube, read_cube),
    "real ERA5": Family("era5.nc", copy_real_era5("era5_land_tp_mixed_expver_2025.nc"), read_fields),
    "real ERA5 ZIP": Family("era5.nc", copy_real_era5("zip_instant_and_accum.nc"), read_fields),
    "real old ERA5": Family("era5.nc", copy_real_era5("legacy_packed_tp.nc"), read_fields),
    "real old ERA5 with expver": Family("era5.nc", copy_real_era5("legacy_expver_dimension.nc"), read_fields),
}
"""Of real files, where the samples are here."""


# -------------------------------------------------------------------------------------------------------------- tools
def rewrite(path, change, format=None):
    """Write a NetCDF file again after `change(dataset)`, its numbers, attributes and layout kept as they are stored."""
    with netCDF4.Dataset(path) as file:
        layout = {"NETCDF3_64BIT_OFFSET": "NETCDF3_64BIT"}.get(file.data_model, file.data_model)
    with xr.open_dataset(path, engine="netcdf4", decode_cf=False) as file:
        dataset = file.load()
    for variable in dataset.variables.values():
        variable.encoding = {}
    change(dataset).to_netcdf(path, format=format or layout, engine="netcdf4")


def edit(path, change):
    """Change a NetCDF-4 or HDF5 file in place through h5py."""
    with h5py.File(path, "a") as file:
        change(file)


def edit_members(path, change):
    """Apply `change(path of a file)` to each member of a ZIP."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    temporary = path.with_name("member.nc")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            temporary.write_bytes(content)
            change(temporary)
            archive.write(temporary, name)
    temporary.unlink()


def part(position):
    """`expected` of files of which only a part is left: `position` is dict name -> index of its array."""
    def expected(known):
        return {name: values[position[name]] if name in position else values for name, values in known.items()}
    return expected


def missing_at(name, place):
    """`expected` of files in which one value is missing."""
    def expected(known):
        values = known[name].copy()
        values[place] = np.nan
        return known | {name: values}
    return expected


# ------------------------------------------------------------------------------------------------------------ bytes
def byte_mutants(family, file, write, folder):
    """Cut, flipped, and something else under the file's name. What was only kept is made again."""
    refused, flipped_right = (SAME, EITHER) if "/" in file else (REFUSED, EITHER if guarded(family) else UNGUARDED)
    write(folder)
    content = (folder / file).read_bytes()
    packed = packed_bytes(folder / file)
    size = len(content)

    def put(data):
        return lambda folder: (folder / file).write_bytes(data)

    cuts = sorted({1, 7, 100, size // 4, size // 2 + 7, 3 * size // 4, size - 100})
    yield from (Mutant(family, "truncated", f"at byte {cut} of {size}", put(content[:cut]), refused) for cut in cuts)
    yield Mutant(family, "truncated", "of its last byte", put(content[:-1]), EITHER)  # NetCDF-3 ends in bytes that fill up
    random = np.random.default_rng(size)
    for place in sorted(random.choice(packed, 6, replace=False)) if len(packed) else ():
        yield Mutant(family, "bits flipped", f"packed values, byte {place}", put(flipped(content, place, random)), EITHER)
    for place in sorted(random.integers(0, size, 8)):
        yield Mutant(family, "bits flipped", f"byte {place}", put(flipped(content, place, random)), flipped_right)
    hole = bytearray(content)
    hole[size // 3:2 * size // 3] = bytes(2 * size // 3 - size // 3)
    yield Mutant(family, "bits flipped", "a third is zeros", put(bytes(hole)), EITHER if len(packed) else flipped_right)
    for name, data in OTHER_CONTENT.items():
        yield Mutant(family, "another file", name, put(data), refused)
    yield Mutant(family, "another file", "compressed by gzip", put(gzip.compress(content, mtime=0)), refused)
    yield Mutant(family, "another file", "two files, one behind the other", put(content + content), EITHER)


def guarded(family):
    """Whether a checksum guards each byte of a family's file: those of a ZIP."""
    return family in ("ERA5 ZIP", "real ERA5 ZIP", "model", "kept scan")


def flipped(content, place, random):
    changed = bytearray(content)
    changed[place] ^= 1 << int(random.integers(0, 8))
    return bytes(changed)


def packed_bytes(path):
    """Places of the bytes of compressed chunks, which a checksum guards."""
    if not h5py.is_hdf5(path):
        return np.empty(0, int)
    places = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.compression == "gzip" and item.ndim > 1 and item.dtype.kind == "f":
            for number in range(item.id.get_num_chunks()):
                chunk = item.id.get_chunk_info(number)
                places.append(np.arange(chunk.byte_offset + 2, chunk.byte_offset + chunk.size))

    with h5py.File(path) as file:
        file.visititems(visit)
    return np.concatenate(places) if places else np.empty(0, int)


class _Executes:
    """What a pickle would run: it leaves a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def executing_pickle(mark="executed"):
    """Bytes of a pickle that makes the file `mark` in the working folder when it is loaded."""
    return pickle.dumps(_Executes(mark))


OTHER_CONTENT = {
    "nothing": b"", "text": b"day,rain\n2015-04-01,3.2\n" * 50, "web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "message of a service": json.dumps({"error": "quota exceeded"}).encode(), "picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "noise": np.random.default_rng(0).bytes(3000), "zeros": bytes(3000), "pickle": executing_pickle(),
    "signature of HDF5 alone": b"\x89HDF\r\n\x1a\n", "signature of NetCDF-3 alone": b"CDF\x01", "signature of GRIB alone": b"GRIB",
}


# -------------------------------------------------------------------------------------------- NetCDF, one after another
class Names(NamedTuple):
    """What is called how in a family: two variables, and the axes."""

    variable: str
    other: str
    time: str
    lat: str
    lon: str
    wet: str  # name of `variable` in what is read


def with_attributes(name, **attributes):
    """Change: set attributes of a variable; None removes one."""
    def change(dataset):
        dataset = dataset.copy()
        for key, value in attributes.items():
            if value is None:
                dataset[name].attrs.pop(key, None)
            else:
                dataset[name].attrs[key] = value
        return dataset
    return change


def with_values(name, change):
    """Change: another array for a variable of the same dimensions."""
    def changed(dataset):
        dataset = dataset.copy(deep=True)
        attributes = {key: value for key, value in dataset[name].attrs.items() if key != "_FillValue"}
        values = change(dataset[name].values.copy())
        if name in dataset.coords:
            return dataset.assign_coords({name: (dataset[name].dims, values, attributes)})
        dataset[name] = (dataset[name].dims, values, attributes)
        return dataset
    return changed


def put(place, value):
    """Array change: one value (or slice of values) is another."""
    def change(values):
        values[place] = value
        return values
    return change


def swapped_units(first, second):
    def change(dataset):
        dataset = dataset.copy()
        dataset[first].attrs["units"], dataset[second].attrs["units"] = dataset[second].attrs["units"], dataset[first].attrs["units"]
        return dataset
    return change


def two_dimensional(names):
    def change(dataset):
        lat, lon = np.meshgrid(dataset[names.lat], dataset[names.lon], indexing="ij")
        of_lat, of_lon = dataset[names.lat].attrs, dataset[names.lon].attrs
        dataset = dataset.drop_vars([names.lat, names.lon]).rename({names.lat: "row", names.lon: "column"})
        return dataset.assign({names.lat: (("row", "column"), lat, of_lat), names.lon: (("row", "column"), lon, of_lon)})
    return change


def structure_changes(names):
    """(kind, name, change of the dataset) that every NetCDF family is given; what is right for each stands in `RIGHT`."""
    v, w, t, y, x, _ = names
    yield from (
        ("attribute gone", "units of a variable", with_attributes(v, units=None)),
        ("attribute gone", "units of another variable", with_attributes(w, units=None)),
        ("attribute gone", "units of time", with_attributes(t, units=None)),
        ("attribute gone", "all of latitude", lambda d: d.assign_coords({y: (y, d[y].values)})),
        ("attribute gone", "all of the file", lambda d: d.drop_attrs(deep=False)),
        ("attribute gone", "all but the unit", with_attributes(v, **dict.fromkeys(("standard_name", "long_name", "cell_methods",
                                                                                   "coordinates", "GRIB_shortName")))),
        ("attribute of another type", "unit is a number", with_attributes(v, units=5)),
        ("attribute of another type", "unit is a row of numbers", with_attributes(v, units=np.array([1, 2, 3]))),
        ("attribute of another type", "unit is empty", with_attributes(v, units="")),
        ("attribute of another type", "unit is nonsense", with_attributes(v, units="furlongs per fortnight")),
        ("attribute of another type", "unit of time is a number", with_attributes(t, units=7)),
        ("attribute of another type", "unit of time is a row of numbers", with_attributes(t, units=np.array([1.0, 2.0]))),
        ("attribute of another type", "calendar is a number", with_attributes(t, calendar=3)),
        ("attribute of another type", "calendar is a row of numbers", with_attributes(t, calendar=np.array([1, 2]))),
        ("attribute of another type", "standard_name is a number", with_attributes(v, standard_name=3)),
        ("attribute of another type", "standard_name is a row of numbers", with_attributes(v, standard_name=np.array([1, 2]))),
        ("attribute of another type", "standard_name of latitude is a row of numbers",
         with_attributes(y, standard_name=np.array([1, 2]))),
        ("attribute of another type", "axis of latitude is a row of numbers",
         with_attributes(y, standard_name=None, units=None, axis=np.array([1, 2]))),
        ("attribute of another type", "units of latitude are a number", with_attributes(y, units=1)),
        ("attribute of another type", "units of latitude are radians", with_attributes(y, units="radians")),
        ("attribute of another type", "scale_factor is 0", with_attributes(v, scale_factor=0.0)),
        ("attribute of another type", "scale_factor is not a number", with_attributes(v, scale_factor=np.nan)),
        ("attribute of another type", "scale_factor is infinite", with_attributes(v, scale_factor=np.inf)),
        ("attribute of another type", "scale_factor is text", with_attributes(v, scale_factor="one")),
        ("attribute of another type", "scale_factor is a row", with_attributes(v, scale_factor=np.array([1.0, 2.0]))),
        ("attribute of another type", "add_offset is text", with_attributes(v, add_offset="none")),
        ("attribute of another type", "missing_value is text", with_attributes(v, missing_value="none")),
        ("attribute of another type", "missing_value is a row", with_attributes(v, missing_value=np.array([-1.0, -2.0]))),
        ("units swapped", "of two variables", swapped_units(v, w)),
        ("units swapped", "one is degrees", with_attributes(v, units="degrees_north")),
        ("units swapped", "kelvin called degrees Celsius", with_attributes(w, units="degC")),
        ("dimensions permuted", "reversed", lambda d: d.transpose(*list(d[v].dims)[::-1])),
        ("dimensions permuted", "rotated", lambda d: d.transpose(*d[v].dims[1:], d[v].dims[0])),
        ("dimensions renamed", "time", lambda d: d.rename({t: "some_axis"})),
        ("dimensions renamed", "latitude", lambda d: d.rename({y: "some_axis"})),
        ("dimensions renamed", "latitude and longitude change names", lambda d: d.rename({y: x, x: y})),
        ("dimensions renamed", "without coordinates", lambda d: d.drop_vars([y, x])),
        ("dimensions renamed", "time without coordinate", lambda d: d.drop_vars(t)),
        ("length 0", "time", lambda d: d.isel({t: []})),
        ("length 0", "latitude", lambda d: d.isel({y: []})),
        ("length 0", "longitude", lambda d: d.isel({x: []})),
        ("length 1", "time", lambda d: d.isel({t: [0]})),
        ("length 1", "latitude", lambda d: d.isel({y: [0]})),
        ("length 1", "longitude", lambda d: d.isel({x: [-1]})),
        ("one cell", "of all", lambda d: d.isel({y: [-1], x: [-1]})),
        ("length 1", "a further dimension", lambda d: d.assign({v: d[v].expand_dims(depth=1, axis=1)})),
        ("length 2", "a further dimension", lambda d: d.assign({v: d[v].expand_dims(depth=2, axis=1)})),
        ("dimensions gone", "a number alone", lambda d: d.assign({v: d[v].isel(dict.fromkeys(d[v].dims, -1), drop=True)})),
        ("dimensions gone", "time", lambda d: d.assign({v: d[v].isel({t: 0}, drop=True)})),
        ("dimensions gone", "longitude", lambda d: d.assign({v: d[v].isel({x: 1}, drop=True)})),
        ("dimensions gone", "positions in two dimensions", two_dimensional(names)),
        ("variable gone", "one", lambda d: d.drop_vars(v)),
        ("variable gone", "all", lambda d: d.drop_vars(list(d.data_vars))),
        ("dates", "duplicated", lambda d: d.isel({t: [0, *range(d.sizes[t])]})),
        ("dates", "backwards", lambda d: d.isel({t: slice(None, None, -1)})),
        ("dates", "shuffled", lambda d: d.isel({t: np.random.default_rng(1).permutation(d.sizes[t])})),
        ("dates", "all the same", with_values(t, put(slice(None), 3))),
        ("dates", "one is not a number", with_values(t, lambda a: put(1, np.nan)(a.astype(float)))),
        ("dates", "one is infinite", with_values(t, lambda a: put(1, np.inf)(a.astype(float)))),
        ("dates", "one is huge", with_values(t, lambda a: put(1, 1e30)(a.astype(float)))),
        ("dates", "one is 10 million years off", with_values(t, lambda a: put(-1, 10**9)(a.astype(np.int64) // 3600))),
        ("dates", "text", with_values(t, lambda a: np.array([f"day {i}" for i in range(a.size)], object))),
        ("dates", "since no day", with_attributes(t, units="days since yesterday")),
        ("dates", "since the 31st of February", with_attributes(t, units="days since 2015-02-31")),
        ("dates", "in fortnights", with_attributes(t, units="fortnights since 2015-01-01")),
        ("dates", "since nothing", with_attributes(t, units="days since")),
        ("dates", "beyond the year 2262", with_attributes(t, units="days since 2500-01-01")),
        ("dates", "in years", with_attributes(t, units="years since 2015-01-01")),
        *(("calendar", name, with_attributes(t, calendar=name)) for name in ("noleap", "360_day", "all_leap", "julian", "mayan")),
        ("longitudes", "a turn further east", with_values(x, lambda a: a + 360)),
        ("longitudes", "a turn further west", with_values(x, lambda a: a - 360)),
        ("longitudes", "shuffled", lambda d: d.isel({x: np.random.default_rng(0).permutation(d.sizes[x])})),
        ("longitudes", "backwards", lambda d: d.isel({x: slice(None, None, -1)})),
        ("longitudes", "not a number", with_values(x, put(1, np.nan))),
        ("longitudes", "infinite", with_values(x, put(1, np.inf))),
        ("longitudes", "all the same", with_values(x, put(slice(None), 101.0))),
        ("longitudes", "huge", with_values(x, put(slice(None), 1e300))),
        ("latitudes", "backwards", lambda d: d.isel({y: slice(None, None, -1)})),
        ("latitudes", "shuffled", lambda d: d.isel({y: [1, *range(2, d.sizes[y]), 0]})),
        ("latitudes", "not a number", with_values(y, put(1, np.nan))),
        ("latitudes", "infinite", with_values(y, put(1, np.inf))),
        ("latitudes", "twice the same", with_values(y, lambda a: put(1, a[0])(a))),
        ("latitudes", "beyond the pole", with_values(y, lambda a: a + 85)),
        ("latitudes", "text", with_values(y, lambda a: np.array([f"{each} N" for each in a], object))),
        ("latitudes", "float32", with_values(y, lambda a: a.astype(np.float32))),
        ("values", "all not a number", with_values(v, lambda a: a.astype(np.float32) * np.nan)),
        ("values", "all infinite", with_values(v, lambda a: np.full_like(a, np.inf, np.float32))),
        ("values", "all huge", with_values(v, lambda a: np.full_like(a, 1e30, np.float32))),
        ("values", "a day of 1e10", with_values(v, put(-1, 1e10))),
        ("values", "all -5", with_values(v, lambda a: a * 0 - 5)),
        ("values", "half precision", None),
        ("values", "text", with_values(v, lambda a: np.full(a.shape, "wet", object))),
        ("values", "double precision", with_values(v, lambda a: a.astype(np.float64))),
        ("values", "texts of one letter", with_values(v, lambda a: np.full(a.shape, b"x", "S1"))),
        ("layout", "rewritten", lambda d: d),
    )


S, R, E = SAME, REFUSED, EITHER
# What is right, by kind and name, of: the cube, ERA5, the weather file. Kinds and names that lack here are to be refused.
# "part" stands for the values of the part that is left.
RIGHT = {
    ("attribute gone", "all of latitude"): (S, S, S), ("attribute gone", "all of the file"): (S, S, S),
    ("attribute gone", "all but the unit"): (S, S, S),
    ("attribute of another type", "standard_name is a number"): (S, S, S),
    ("attribute of another type", "standard_name is a row of numbers"): (S, S, S),
    ("attribute of another type", "standard_name of latitude is a row of numbers"): (E, S, S),
    ("attribute of another type", "axis of latitude is a row of numbers"): (E, S, S),
    ("attribute of another type", "units of latitude are a number"): (E, E, E),
    ("attribute of another type", "units of latitude are radians"): (R, E, E),
    ("attribute of another type", "missing_value is text"): (E, E, E),
    ("attribute of another type", "missing_value is a row"): (E, E, E),
    ("dimensions permuted", "reversed"): (S, S, S), ("dimensions permuted", "rotated"): (S, S, S),
    ("dimensions renamed", "time"): (S, R, R), ("dimensions renamed", "latitude"): (S, R, R),
    ("dimensions renamed", "latitude and longitude change names"): (S, R, R),
    ("length 1", "time"): ("part", R, "part"), ("length 1", "latitude"): ("part", "part", R), ("length 1", "longitude"): (
        "part", "part", R), ("one cell", "of all"): ("part", "part", R), ("length 1", "a further dimension"): (S, S, E),
    ("dates", "duplicated"): (R, S, R), ("dates", "backwards"): (S, S, E), ("dates", "shuffled"): (S, S, E),
    ("latitudes", "shuffled"): (S, E, S), ("longitudes", "a turn further east"): (S, S, S),
    ("longitudes", "a turn further west"): (S, S, S), ("longitudes", "shuffled"): (S, E, S),
    ("longitudes", "backwards"): (S, E, S), ("latitudes", "backwards"): (S, S, S), ("latitudes", "float32"): (S, S, S),
    ("values", "double precision"): (S, S, S), ("layout", "rewritten"): (S, S, S),
}
# The same of a NetCDF file of forecasts
FORECAST_RIGHT = {
    ("attribute gone", "all of latitude"): S, ("attribute gone", "all of the file"): S, ("attribute gone", "all but the unit"): S,
    ("attribute of another type", "standard_name is a number"): S,
    ("attribute of another type", "standard_name is a row of numbers"): S,
    ("attribute of another type", "standard_name of latitude is a row of numbers"): S,
    ("attribute of another type", "axis of latitude is a row of numbers"): S,
    ("attribute of another type", "units of latitude are a number"): E,
    ("attribute of another type", "units of latitude are radians"): E,
    ("attribute of another type", "missing_value is text"): E, ("attribute of another type", "missing_value is a row"): E,
    ("dimensions permuted", "reversed"): S, ("dimensions permuted", "rotated"): S,
    ("dimensions renamed", "latitude and longitude change names"): R,
    ("length 1", "a further dimension"): E, ("length 1", "time"): "first start", ("length 1", "latitude"): R,
    ("length 1", "longitude"): R, ("dimensions gone", "time"): E, ("dates", "duplicated"): S, ("dates", "backwards"): S,
    ("dates", "shuffled"): S, ("longitudes", "a turn further east"): S, ("longitudes", "a turn further west"): S,
    ("longitudes", "shuffled"): E, ("longitudes", "backwards"): S, ("latitudes", "backwards"): S, ("latitudes", "shuffled"): S,
    ("latitudes", "float32"): S, ("values", "double precision"): S, ("layout", "rewritten"): S,
}
NAMES = {"cube": Names("soil_moisture", "soil_temperature", "time", "lat", "lon", "soil_moisture"),
         "ERA5": Names("swvl1", "stl1", "valid_time", "latitude", "longitude", "soil_moisture"),
         "weather file": Names("precipitation", "air_temperature", "init_time", "lat", "lon", "precipitation"),
         "forecast NetCDF": Names("tp", "t2m", "time", "latitude", "longitude", "precipitation")}
MAPS = ("precipitation", "soil_moisture", "soil_temperature")
# where the part that is left stands in what is read: south to north; ERA5 files begin in the north
PARTS = {("cube", "time"): {"days": slice(0, 1), **dict.fromkeys(MAPS, slice(0, 1))},
         ("cube", "latitude"): {"lat": slice(0, 1), **dict.fromkeys(MAPS, np.s_[:, :1])},
         ("cube", "longitude"): {"lon": slice(-1, None), **dict.fromkeys(MAPS, np.s_[:, :, -1:])},
         ("cube", "of all"): {"lat": slice(-1, None), "lon": slice(-1, None), **dict.fromkeys(MAPS, np.s_[:, -1:, -1:])},
         ("ERA5", "latitude"): {"lat": slice(-1, None), **dict.fromkeys(MAPS, np.s_[:, -1:])},
         ("ERA5", "longitude"): {"lon": slice(-1, None), **dict.fromkeys(MAPS, np.s_[:, :, -1:])},
         ("ERA5", "of all"): {"lat": slice(0, 1), "lon": slice(-1, None), **dict.fromkeys(MAPS, np.s_[:, :1, -1:])}}


def first_init_day(known):
    """`expected` of a weather file that holds its first init day alone: the others are missing."""
    later = np.arange(len(WEATHER_DAYS)) > 0
    gone = {name: np.where(later[:, None, None, None, None], np.nan, known[name]) for name in ("precipitation", "air_temperature")}
    return known | {"days": known["days"][:1]} | gone


def in_half_precision(name):
    """Change through h5py: to a type that HDF5 has and NetCDF has not, which ends the NetCDF library."""
    return lambda file: replaced(name, stored_in_half)(file)


def stored_in_half(file, name, values):
    return file.create_dataset(name, data=values.astype(np.float16))


def structure_mutants():
    """The changes of `structure_changes` in each NetCDF family, and in the members of a ZIP."""
    for number, family in enumerate(NAMES):
        for kind, name, change in structure_changes(NAMES[family]):
            right = (*RIGHT.get((kind, name), (R, R, R)), FORECAST_RIGHT.get((kind, name), R))[number]
            expected = None
            if right == "first start":
                expected = part({name: slice(0, 1) for name in ("days", "precipitation", "air_temperature")})
            if right == "part":
                expected = first_init_day if family == "weather file" else part(PARTS[family, name])

            def make(folder, family=family, change=change):
                if change is None:
                    edit(folder / FAMILIES[family].file, in_half_precision(NAMES[family].variable))
                else:
                    rewrite(folder / FAMILIES[family].file, change)
            yield Mutant(family, kind, name, make, CHANGED if expected else right, expected)


# ------------------------------------------------------------------------------------- what only one family can suffer
def of_hdf5(kind, name, change, right, expected=None):
    """Kind, name, what h5py does to a file, what is right."""
    return kind, name, lambda path: edit(path, change), right, expected


def set_attribute(name, key, value):
    """Change through h5py: an attribute as it stands in the file."""
    def change(file):
        file[name].attrs.pop(key, None)
        if value is not None:
            file[name].attrs[key] = value
    return change


def replaced(name, make):
    """Change through h5py: a dataset is made anew by make(its values), its attributes kept."""
    def change(file):
        old = file[name]
        values, attributes = old[...], {key: value for key, value in old.attrs.items() if key in ("units", "_FillValue")}
        del file[name]
        made = make(file, name, values)
        if made is not None:
            made.attrs.update(attributes)
    return change


def stored_as(**storage):
    return lambda file, name, values: file.create_dataset(name, data=values, **storage)


CUBE_CHANGES = [
    of_hdf5("attribute of another type", "unit is no text in UTF-8", set_attribute("soil_moisture", "units", np.bytes_(b"m3\xff\xfe")), R),
    of_hdf5("attribute of another type", "standard_name is no text in UTF-8",
            set_attribute("soil_moisture", "standard_name", np.bytes_(b"\xff\xfe")), E),
    of_hdf5("attribute of another type", "title is no text in UTF-8", set_attribute("/", "title", np.bytes_(b"\xff\xfe")), E),
    of_hdf5("variable of another type", "pairs of numbers", replaced("soil_moisture", lambda file, name, values: file.create_dataset(
        name, values.shape, np.dtype([("a", "f4"), ("b", "f4")]))), R),
    of_hdf5("variable of another type", "rows of any length", replaced("soil_moisture", lambda file, name, values: file.create_dataset(
        name, values.shape, h5py.vlen_dtype(np.float32))), R),
    of_hdf5("variable of another type", "a choice of names", replaced("soil_moisture", lambda file, name, values: file.create_dataset(
        name, values.shape, h5py.enum_dtype({"dry": 0, "wet": 1}))), R),
    of_hdf5("variable of another type", "complex", replaced("soil_moisture", lambda file, name, values: file.create_dataset(
        name, data=values.astype(np.complex64))), R),
    of_hdf5("variable of another type", "a group of that name", replaced("soil_moisture", lambda file, name, values: file.create_group(
        name)), R),
    of_hdf5("variable gone", "into a group", lambda file: file.move("soil_moisture", "fields/soil_moisture"), R),
    *(of_hdf5("attribute of another type", f"{key} is a number", set_attribute("soil_moisture", key, 5.0), R)
      for key in ("DIMENSION_LIST", "_Netcdf4Coordinates", "_Netcdf4Dimid")),
    *(of_hdf5("attribute of another type", f"{key} of a dimension is a number", set_attribute("lat", key, 5.0), R)
      for key in ("REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid")),
    of_hdf5("attribute of another type", "_Netcdf4Dimid that no file has", set_attribute("lat", "_Netcdf4Dimid", 10 ** 9), R),
    of_hdf5("attribute of another type", "_Netcdf4Dimid is two numbers", set_attribute("lat", "_Netcdf4Dimid", [0, 1]), R),
    of_hdf5("attribute of another type", "_Netcdf4Coordinates of dimensions that no file has",
            set_attribute("soil_moisture", "_Netcdf4Coordinates", [7, 70, 700]), R),
    of_hdf5("attribute gone", "CLASS of a dimension", set_attribute("lat", "CLASS", None), R),
    of_hdf5("variable of another type", "a dimension that the others do not stand on", replaced("lon", stored_as()), R),
    of_hdf5("attribute gone", "DIMENSION_LIST", set_attribute("soil_moisture", "DIMENSION_LIST", None), E),
    of_hdf5("values", "never written", replaced("soil_moisture", lambda file, name, values: file.create_dataset(
        name, values.shape, "f4", chunks=(10, 3, 4), fillvalue=np.nan)), R),
]
CUBE_DATASETS = [
    ("values", "one infinite", with_values("soil_moisture", put((5, 1, 1), np.inf)), CHANGED, missing_at("soil_moisture", (5, 1, 1))),
    ("values", "one of 1e30", with_values("soil_moisture", put((5, 1, 1), 1e30)), CHANGED, missing_at("soil_moisture", (5, 1, 1))),
    ("values", "one of -9999", with_values("soil_moisture", put((5, 1, 1), -9999)), CHANGED, missing_at("soil_moisture", (5, 1, 1))),
    ("values", "one cell never", with_values("soil_moisture", put((slice(None), 2, 2), np.nan)), CHANGED,
     missing_at("soil_moisture", (slice(None), 2, 2))),
    ("values", "per cent called fractions", with_values("soil_moisture", lambda a: a * 100), R, None),
    ("dates", "a million days between the first two", with_values("time", put(slice(1, None), 10**6 + np.arange(39))), R, None),
    ("dates", "a gap", lambda d: d.isel(time=[*range(20), *range(21, 40)]), CHANGED,
     lambda known: known | {name: np.where(np.arange(40)[:, None, None] == 20, np.nan, known[name]) for name in MAPS}),
    ("longitudes", "beyond one and a half turns", with_values("lon", lambda a: a + 720), R, None),
]


def free_nothing(folder):
    """What is free of the heap to which DIMENSION_LIST points has size 0: HDF5 2.0 reads such a heap for ever."""
    content = bytearray((folder / "cube.nc").read_bytes())
    part = content.index(b"GCOL") + 16
    while int.from_bytes(content[part:part + 2], "little"):  # number of an object; 0 = what is free
        part += 16 + -(-int.from_bytes(content[part + 8:part + 16], "little") // 8) * 8
    content[part + 8:part + 16] = bytes(8)
    (folder / "cube.nc").write_bytes(content)


def huge_dimension(file):
    """A variable of 4e15 values that takes no room in the file."""
    for name, size in (("lat", 10**5), ("lon", 10**5)):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=np.linspace(-80, 80, size)).attrs["units"] = attributes["units"]
        file[name].make_scale(name)
    for name in MAPS:
        unit = file[name].attrs["units"]
        del file[name]
        made = file.create_dataset(name, (40, 10**5, 10**5), "f4", chunks=(1, 1000, 1000), fillvalue=np.nan)
        made.attrs["units"] = unit
        for number, axis in enumerate(("time", "lat", "lon")):
            made.dims[number].attach_scale(file[axis])


FIELD = "Geophysical_Data/sm_surface"
GRANULE_CHANGES = [
    *(of_hdf5("attribute gone", f"{key} of {name}", set_attribute(name, key, None), right) for name, key, right in (
        (FIELD, "units", R), (FIELD, "long_name", S), (FIELD, "_FillValue", S), ("x", "units", E), ("y", "units", E),
        ("time", "units", S), ("/", "title", S))),
    *(of_hdf5("attribute of another type", f"{key} of {name} is {value!r}", set_attribute(name, key, value), right)
      for name, key, value, right in (
          (FIELD, "units", 5, R), (FIELD, "units", np.array([1, 2]), R), (FIELD, "units", np.bytes_(b"\xff\xfe"), R),
          (FIELD, "units", np.bytes_("K"), R), (FIELD, "units", np.bytes_("%"), R), (FIELD, "units", h5py.Empty("S1"), R),
          (FIELD, "_FillValue", np.bytes_("none"), E), (FIELD, "_FillValue", np.array([-9999.0, -1.0], np.float32), E),
          (FIELD, "_FillValue", h5py.Empty("f4"), E), (FIELD, "missing_value", np.bytes_("none"), E),
          (FIELD, "scale_factor", 0.1, R), (FIELD, "add_offset", 5.0, R),
          ("x", "units", np.bytes_("km"), R), ("x", "units", np.bytes_("degrees_east"), R), ("x", "units", 3, R),
          ("x", "standard_name", np.array([1, 2]), E), (FIELD, "NAME", np.array([1, 2]), E), (FIELD, "NAME", 5, E),
          ("/", "title", 7, S))),
    *(of_hdf5(kind, name, change, right) for kind, name, change, right in (
        ("variable gone", "soil moisture", lambda file: file.pop(FIELD), R),
        ("variable gone", "the group", lambda file: file.pop("Geophysical_Data"), R),
        ("variable gone", "x", lambda file: file.pop("x"), E),
        ("variable gone", "time", lambda file: file.pop("time"), S),
        ("dimensions permuted", "of a field", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values.T.copy())), R),
        ("dimensions renamed", "x and y", lambda file: (file.move("x", "a"), file.move("y", "b")), E),
        ("dimensions permuted", "x and y change names", lambda file: (file.move("x", "a"), file.move("y", "x"), file.move("a", "y")), R),
        ("length 2", "a further dimension", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=np.stack([values, values]))), R),
        ("length 1", "a further dimension", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values[None])), E),
        ("length 0", "a field", replaced(FIELD, lambda file, name, values: file.create_dataset(name, (0, 0), "f4")), R),
        ("length 1", "one cell of a field", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values[:1, :1])), R),
        ("dimensions gone", "a number alone", replaced(FIELD, lambda file, name, values: file.create_dataset(name, data=0.2)), R),
        ("variable of another type", "whole numbers", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values.astype(np.int32))), R),
        ("variable of another type", "text", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=np.full(values.shape, b"wet"))), R),
        ("variable of another type", "nothing", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=h5py.Empty("f4"))), R),
        ("variable of another type", "a link to nowhere", replaced(FIELD, lambda file, name, values: file.__setitem__(
            name, h5py.SoftLink("/nowhere"))), R),
        ("variable of another type", "a link to another file", replaced(FIELD, lambda file, name, values: file.__setitem__(
            name, h5py.ExternalLink("/etc/passwd", "/x"))), R),
        ("variable of another type", "pairs of numbers", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, values.shape, np.dtype([("a", "f4"), ("b", "f4")]))), R),
        ("layout", "not packed", replaced(FIELD, stored_as()), S),
        ("layout", "double precision", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values.astype(np.float64), chunks=values.shape, compression="gzip")), S),
        ("layout", "the other order of bytes", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values.astype(">f4"), chunks=values.shape, compression="gzip")), S),
        ("layout", "half precision", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, data=values.astype(np.float16))), R),
        ("layout", "shuffled and checked", replaced(FIELD, stored_as(chunks=(5, 7), compression="gzip", shuffle=True,
                                                                     fletcher32=True)), S),
        ("layout", "chunks of one value", replaced(FIELD, stored_as(chunks=(1, 1), compression="gzip")), S),
        ("layout", "a field of 4e10 values in no room", replaced(FIELD, lambda file, name, values: file.create_dataset(
            name, (200_000, 200_000), "f4", chunks=(100, 100), fillvalue=-9999)), R),
        ("values", "a field of 1e30", lambda file: file[FIELD].__setitem__(slice(None), 1e30), R),
        ("values", "a field of 1e10", lambda file: file[FIELD].__setitem__(slice(None), 1e10), R),
        ("values", "a field of -5", lambda file: file[FIELD].__setitem__(slice(None), -5), R),
        ("values", "per cent", lambda file: file[FIELD].__setitem__(slice(None), file[FIELD][:] * 100), R),
        ("longitudes", "x is not a number", lambda file: file["x"].__setitem__(1, np.nan), R),
        ("longitudes", "x is infinite", lambda file: file["x"].__setitem__(1, np.inf), R),
        ("longitudes", "x is huge", lambda file: file["x"].__setitem__(slice(None), 1e300), R),
        ("longitudes", "x is shifted by half a cell", lambda file: file["x"].__setitem__(slice(None), file["x"][:] + 4504), R),
        ("longitudes", "x is shifted by a cell", lambda file: file["x"].__setitem__(slice(None), file["x"][:] + 9008.055210146), R),
        ("longitudes", "x twice the same", lambda file: file["x"].__setitem__(1, file["x"][0]), R),
        ("longitudes", "x backwards", lambda file: file["x"].__setitem__(slice(None), file["x"][:][::-1]), R),
        ("latitudes", "y shuffled", lambda file: file["y"].__setitem__(slice(None), file["y"][:][[1, 0, 2, 3, 4]]), R))),
]
"""Of one of the day's granules."""
GRANULE_NAMES = {"no date": "SMAP_L4_SM_gph_20170231T043000_Vv7032_001.h5",
                 "another version": "SMAP_L4_SM_gph_20170801T103000_Vv8011_001.h5",
                 "another hour": "SMAP_L4_SM_gph_20170801T110000_Vv7032_001.h5", "letters": "SMAP_L4_SM_gph_2017080xT103000_Vv7032_001.h5",
                 "year 0": "SMAP_L4_SM_gph_00000801T103000_Vv7032_001.h5", "a later month": "SMAP_L4_SM_gph_20171301T103000_Vv7032_001.h5"}


def rename_granule(name):
    return lambda folder: (folder / GRANULE).rename(folder / name)


def degrees_changes():
    """Of granules that the data centre regridded: all eight alike, but for the first."""
    def all_eight(change):
        def make(folder):
            for path, _ in granule_paths(folder):
                edit(path, change)
        return make

    for kind, name, change, right in (
            ("longitudes", "a turn further east", lambda file: file["x"].__setitem__(slice(None), file["x"][:] + 360), S),
            ("longitudes", "backwards", lambda file: file["x"].__setitem__(slice(None), file["x"][:][::-1]), R),
            ("longitudes", "one is not a number", lambda file: file["x"].__setitem__(2, np.nan), R),
            ("longitudes", "all the same", lambda file: file["x"].__setitem__(slice(None), 90), R),
            ("latitudes", "beyond the pole", lambda file: file["y"].__setitem__(slice(None), file["y"][:] + 60), R),
            ("latitudes", "one is not a number", lambda file: file["y"].__setitem__(2, np.nan), R),
            ("latitudes", "shuffled", lambda file: file["y"].__setitem__(slice(None), file["y"][:][[1, 0, 2, 3, 4]]), R),
            ("latitudes", "infinite", lambda file: file["y"].__setitem__(slice(None), np.inf), R)):
        yield Mutant("granules in degrees", kind, name, all_eight(change), right)


# ------------------------------------------------------------------------------------------------------------ ZIP, GRIB
def zip_changes():
    """Of the ZIP that the Climate Data Store sends under a name that ends in .nc."""
    def renamed(name):
        def change(members):
            first, *others = members
            return {name: members[first]} | {other: members[other] for other in others}
        return change

    def make(change, **options):
        def of_folder(folder):
            with zipfile.ZipFile(folder / "era5.nc") as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            with zipfile.ZipFile(folder / "era5.nc", "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
                for name, content in change(members).items():
                    archive.writestr(name, content)
        return of_folder

    for name in ("../../escaped.nc", "/tmp/escaped.nc", "C:\\escaped.nc", "..\\escaped.nc", "a/../../escaped.nc", "\\\\host\\escaped.nc"):
        yield "ZIP names", name, make(renamed(name)), R
    yield "ZIP names", "in a folder", make(renamed("deep/er/data.nc")), S
    yield "ZIP names", "of 200 letters", make(renamed("a" * 200 + ".nc")), S
    yield "ZIP names", "with a line break", make(renamed("a\nb.nc")), S
    yield "ZIP names", "with escape codes", make(renamed("\x1b[2J.nc")), S
    yield "ZIP content", "no member", make(lambda members: {}), R
    yield "ZIP content", "no data", make(lambda members: {"readme.txt": b"nothing"}), R
    yield "ZIP content", "a member that is text", make(lambda members: members | {"more.nc": b"text"}), R
    yield "ZIP content", "a member that is empty", make(lambda members: members | {"more.nc": b""}), R
    yield "ZIP content", "a member that is cut", make(lambda members: {name: data[:-300] for name, data in members.items()}), R
    yield "ZIP content", "a member that is a ZIP", make(lambda members: {"data.nc": zip_bytes(members)}), R
    yield "ZIP content", "1000 small members", make(lambda members: members | {f"{n}.txt": b"x" for n in range(1000)}), S
    yield "ZIP content", "the same members twice", make(lambda members: members | {f"again_{n}": d for n, d in members.items()}), S
    yield "ZIP content", "stored, not packed", make(lambda members: members, compression=zipfile.ZIP_STORED), S
    yield "ZIP content", "packed by bzip2", make(lambda members: members, compression=zipfile.ZIP_BZIP2), S
    yield "ZIP content", "packed by lzma", make(lambda members: members, compression=zipfile.ZIP_LZMA), S
    yield "ZIP content", "with a password", make_locked, R
    yield "ZIP bomb", "2 GB of zeros", make_bomb, R
    yield "ZIP bomb", "says another size", make_liar, R


def zip_bytes(members):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()


def make_bomb(folder):
    """A ZIP of 2 MB that unpacks to 2 GB."""
    with zipfile.ZipFile(folder / "era5.nc", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("data.nc", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(10_000_000))


def make_liar(folder):
    """Its directory says 100 bytes where there are more."""
    content = bytearray((folder / "era5.nc").read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 24:place + 28] = (100).to_bytes(4, "little")
    (folder / "era5.nc").write_bytes(content)


def make_locked(folder):
    """Its members say that they are encrypted."""
    content = bytearray((folder / "era5.nc").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 4)
    (folder / "era5.nc").write_bytes(content)


def grib_changes():
    """Of a GRIB file: messages taken out, twice, changed. What GRIB says has no checksum."""
    def messages(folder):
        content = (folder / "forecast.grib2").read_bytes()
        starts, place = [], content.find(b"GRIB")
        while place >= 0:
            starts.append(place)
            place = content.find(b"GRIB", place + int.from_bytes(content[place + 8:place + 16], "big"))
        return [content[start:stop] for start, stop in zip(starts, [*starts[1:], len(content)])]

    def make(change):
        return lambda folder: (folder / "forecast.grib2").write_bytes(b"".join(change(messages(folder))))

    def with_bytes(place, data, which=0):
        def change(found):
            message = bytearray(found[which])
            message[place:place + len(data)] = data
            return [*found[:which], bytes(message), *found[which + 1:]]
        return make(change)

    yield "layout", "messages in another order", make(lambda found: found[::-1]), S
    yield "layout", "every message twice", make(lambda found: found + found), S
    yield "layout", "noise between messages", make(lambda found: [each for message in found for each in (message, b"noise")]), E
    yield "layout", "ends with noise", make(lambda found: [*found, b"GRI" + bytes(100)]), E
    yield "variable gone", "all rain", make(lambda found: found[8:17]), R
    yield "bits flipped", "end of a message gone", make(lambda found: [found[0][:-4], *found[1:]]), R
    yield "bits flipped", "a message cut short inside", make(lambda found: [found[0][:60], *found[1:]]), R
    yield "layout", "edition 7", with_bytes(7, b"\x07"), R
    yield "layout", "length 0", with_bytes(8, bytes(8)), R
    yield "layout", "length of 2^60", with_bytes(8, (2**60).to_bytes(8, "big")), R
    # section 1 begins at byte 16: year at 28, month at 30, day at 31, hour at 32
    yield "dates", "13th month", with_bytes(30, b"\x0d"), R
    yield "dates", "31st of June", with_bytes(31, b"\x1f"), R
    yield "dates", "day 0", with_bytes(31, b"\x00"), R
    yield "dates", "year 0", with_bytes(28, b"\x00\x00"), R
    yield "dates", "hour 77", with_bytes(32, b"\x4d"), R
    # section 4 begins behind section 3 (72 bytes): hours to the forecast at 127, here of a temperature
    yield "dates", "3e9 hours ahead", with_bytes(127, (3 * 10**9).to_bytes(4, "big"), which=8), R
    # section 3 begins behind section 1 (21 bytes): number of points at 43, Ni at 67, Nj at 71, first latitude at 83
    yield "length 0", "no columns", with_bytes(67, bytes(4)), R
    yield "length 1", "one column", with_bytes(67, (1).to_bytes(4, "big")), R
    yield "layout", "4e9 columns", with_bytes(67, (2**32 - 2).to_bytes(4, "big")), R
    yield "layout", "4e9 columns and rows", with_bytes(67, (2**31).to_bytes(4, "big") * 2), R
    yield "latitudes", "beyond the pole", with_bytes(83, (120_000_000).to_bytes(4, "big")), R


# -------------------------------------------------------------------------------------------------------------- model.pt
def model_changes():
    """Of a model.pt: kind, name, change of the dict that it holds, what is right."""
    def without(*keys):
        def change(model):
            *way, last = keys
            for key in way:
                model = model[key]
            del model[last]
        return change

    def other(value, *keys):
        def change(model):
            *way, last = keys
            for key in way:
                model = model[key]
            model[last] = value(model[last]) if callable(value) else value
        return change

    def weight(change):
        """Change of the first tensor of the weights."""
        def changed(model):
            name = next(iter(model["weights"]))
            model["weights"][name] = change(model["weights"][name])
        return changed

    for key in ("format", "model", "weights", "scaler", "settings", "label", "cube_sha256", "further_sha256", "learned_until", "lat",
                "lon", "static"):
        yield "attribute gone", key, without(key), R
        yield "attribute of another type", f"{key} is a list of numbers", other([1, 2], key), R if key != "further_sha256" else E
        yield "attribute of another type", f"{key} is nothing", other(None, key), R
    for key in ("variables", "kind", "mean", "spread", "source", "first_day", "last_day"):
        yield "attribute gone", f"{key} of the scaler", without("scaler", key), R
    yield "another version", "format 1", other(1, "format"), R
    yield "another version", "format 3 as text", other("3", "format"), R
    yield "another version", "a format to come", other(99, "format"), R
    yield "another model", "lstm", other("lstm", "model"), R
    yield "another model", "a path", other("../../../convlstm", "model"), R
    yield "another order", "of the scaler's variables", other(lambda names: names[::-1], "scaler", "variables"), R
    yield "another order", "one variable only", other(["soil_moisture"], "scaler", "variables"), R
    yield "scaler", "another kind", other("by month", "scaler", "kind"), R
    yield "scaler", "mean is not a number", other(lambda mean: mean * np.nan, "scaler", "mean"), R
    yield "scaler", "spread is 0", other(lambda spread: spread * 0, "scaler", "spread"), R
    yield "scaler", "spread is negative", other(lambda spread: -spread, "scaler", "spread"), R
    yield "scaler", "of another grid than its maps", other(lambda mean: mean[..., :-1], "scaler", "mean"), R
    yield "scaler", "one pair, called each cell's", other(lambda mean: mean[:, 0, 0], "scaler", "mean"), R
    yield "scaler", "double precision", other(lambda mean: mean.double(), "scaler", "mean"), S
    yield "another grid", "fewer latitudes", other(lambda lat: lat[:-1], "lat"), R
    yield "another grid", "latitudes are not numbers", other(lambda lat: lat * np.nan, "lat"), R
    yield "another grid", "static maps of another grid", other(lambda static: static[..., :-1], "static"), R
    yield "weights", "one gone", lambda model: model["weights"].pop(next(iter(model["weights"]))), R
    yield "weights", "one more", lambda model: model["weights"].update(more=torch.zeros(3)), R
    yield "weights", "another shape", weight(lambda value: value.flatten()[:-1]), R
    yield "weights", "of length 0", weight(lambda value: value[:0]), R
    yield "weights", "transposed", weight(lambda value: value.flatten()[None]), R
    yield "weights", "not a number", weight(lambda value: value * np.nan), R
    yield "weights", "infinite", weight(lambda value: value + np.inf), R
    yield "weights", "double precision", weight(lambda value: value.double()), S
    yield "weights", "a list", weight(lambda value: value.tolist()), R
    yield "weights", "text", weight(lambda value: "weights"), R
    yield "settings", "another lead time", other(5, "settings", "lead_time"), R
    yield "settings", "no lead time", without("settings", "lead_time"), R
    yield "settings", "another size", other([8], "settings", "hidden"), R
    yield "settings", "another head", other("dense", "settings", "head"), R
    yield "settings", "more input days", other(60, "settings", "input_days"), R
    yield "settings", "inputs dropped", other(["season"], "settings", "drop_inputs"), R
    yield "settings", "scaled otherwise", other("global", "settings", "scaling"), R
    yield "settings", "told of coming weather", other("observed", "settings", "coming_weather"), R
    yield "settings", "more than there are", lambda model: model["settings"].update(colour="red"), S
    yield "dates", "learned from the target's test", other("2016-01-01", "learned_until"), R
    yield "dates", "learned until no day", other("yesterday", "learned_until"), R
    yield "dates", "learned until NaT", other("NaT", "learned_until"), R


def model_files():
    """What else a file called model.pt may be: name, what writes it."""
    def saved(value):
        return lambda path: torch.save(value, path)

    def zipped(name):
        """A file of tensors whose instructions are a pickle that executes."""
        def write(path):
            torch.save({"format": 3}, path)
            with zipfile.ZipFile(path) as archive:
                members = {each: archive.read(each) for each in archive.namelist()}
            with zipfile.ZipFile(path, "w") as archive:
                for each, content in members.items():
                    archive.writestr(each, executing_pickle(str(path.parent / "executed")) if each.endswith(name) else content)
        return write

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"a pickle that executes, protocol {protocol}", lambda path, protocol=protocol: path.write_bytes(
            pickle.dumps(_Executes(str(path.parent / "executed")), protocol))
    yield "a pickle that executes, in a file of tensors", zipped("data.pkl")
    yield "a pickle that executes, before tensors as of old", lambda path: path.write_bytes(
        pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2) + executing_pickle(str(path.parent / "executed")))
    yield "tensors and an object that executes", lambda path: torch.save(
        {"format": 3, "weights": _Executes(str(path.parent / "executed"))}, path)
    yield "a whole network", saved(torch.nn.Linear(2, 2))
    yield "weights alone", saved(torch.nn.Linear(2, 2).state_dict())
    yield "one tensor", saved(torch.zeros(3))
    yield "a number", saved(3)
    yield "a list", saved([1, 2, 3])
    yield "an empty dict", saved({})
    yield "a set", saved({1, 2})
    yield "tensors as of old", lambda path: torch.save({"format": 3}, path, _use_new_zipfile_serialization=False)
    yield "a ZIP of something else", lambda path: path.write_bytes(zip_bytes({"data.nc": b"CDF"}))
    yield "a tensor of 4e15 values in no room", saved({"format": 3, "weights": {"a": torch.zeros(1).expand(10**8, 10**7)}})


# ------------------------------------------------------------------------------------------------------ regions, kept
def region_changes():
    """Of a NetCDF file of masks."""
    yield "dimensions permuted", "longitude first", lambda d: d.transpose("lon", "lat"), S
    yield "dimensions renamed", "latitude", lambda d: d.rename(lat="latitude"), R
    yield "dimensions gone", "longitude", lambda d: d.isel(lon=0, drop=True), R
    yield "length 0", "latitude", lambda d: d.isel(lat=[]), R
    yield "length 1", "latitude", lambda d: d.isel(lat=[0]), R
    yield "length 2", "a further dimension", lambda d: d.expand_dims(time=2), R
    yield "longitudes", "a turn further east", lambda d: d.assign_coords(lon=d.lon + 360), S
    yield "longitudes", "not a number", lambda d: d.assign_coords(lon=d.lon * np.nan), R
    yield "longitudes", "text", lambda d: d.assign_coords(lon=[f"{each} E" for each in d.lon.values]), R
    yield "latitudes", "backwards", lambda d: d.isel(lat=slice(None, None, -1)), S
    yield "latitudes", "half a cell off", lambda d: d.assign_coords(lat=d.lat + 0.5), R
    yield "values", "text", lambda d: d.assign(north=(("lat", "lon"), np.full((3, 4), "yes", object))), R
    yield "values", "all not a number", lambda d: d.assign(north=d.north * np.nan), R
    yield "values", "nowhere", lambda d: d.assign(north=d.north * 0), R
    yield "variable gone", "all", lambda d: d.drop_vars(["north", "south"]), R
    yield "attribute of another type", "scale_factor is text", with_attributes("north", scale_factor="one"), R
    yield "attribute of another type", "units of latitude are nonsense", with_attributes("lat", units="days since yesterday"), E


def kept_contents():
    """What may stand where a catalogue was kept: it is made again."""
    for name, content in (("a list", []), ("a number", 3), ("nothing", None), ("text", "catalogue"), ("no files", {"version": 1}),
                          ("files are a list", {"version": 1, "files": []}), ("another version", {"version": 99, "files": {}})):
        yield name, json.dumps(content)


# ---------------------------------------------------------------------------------------------------------- all of them
def specific_mutants():
    """What only one family can suffer."""
    for kind, name, change, right, expected in CUBE_CHANGES:
        yield Mutant("cube", kind, name, lambda folder, change=change: change(folder / "cube.nc"), right, expected)
    for kind, name, change, right, expected in CUBE_DATASETS:
        yield Mutant("cube", kind, name, lambda folder, change=change: rewrite(folder / "cube.nc", change), right, expected)
    yield Mutant("cube", "layout", "4e15 values in no room", lambda folder: edit(folder / "cube.nc", huge_dimension), R)
    yield Mutant("cube", "bits flipped", "what is free of a global heap takes no room", free_nothing, R)
    yield Mutant("cube", "another file", "a folder", make_folder("cube.nc"), R)
    for kind, name, change, right, expected in GRANULE_CHANGES:
        yield Mutant("granules", kind, name, lambda folder, change=change: change(folder / GRANULE), right, expected)
    for name, file in GRANULE_NAMES.items():
        yield Mutant("granules", "names", name, rename_granule(file), R if name != "letters" else E)
    yield from degrees_changes()
    for kind, name, make, right in zip_changes():
        yield Mutant("ERA5 ZIP", kind, name, make, right)
    for kind, name, make, right in grib_changes():
        yield Mutant("GRIB", kind, name, make, right)
    for kind, name, change, right in model_changes():
        yield Mutant("model", kind, name, lambda folder, change=change: edit_model(folder / "model.pt", change), right)
    for name, write in model_files():
        yield Mutant("model", "another file", name, lambda folder, write=write: write(folder / "model.pt"), R)
    for kind, name, change, right in region_changes():
        yield Mutant("regions", kind, name, lambda folder, change=change: rewrite(folder / "regions.nc", change), right)
    for name, text in kept_contents():
        yield Mutant("kept catalogue", "another content", name,
                     lambda folder, text=text: (folder / "out/pieces/catalogue.json").write_text(text), S)


def edit_model(path, change):
    model = torch.load(path, weights_only=True)
    change(model)
    torch.save(model, path)


def make_folder(name):
    def make(folder):
        (folder / name).unlink()
        (folder / name).mkdir()
    return make


def mutants(folder):
    """All mutants of files; `folder` is an empty one to write good files into.

    Yields
    ------
    Mutant
    """
    yield from structure_mutants()
    yield from specific_mutants()
    families = FAMILIES | (REAL if SAMPLES.exists() else {})
    for name, family in families.items():
        here = folder / name
        here.mkdir()
        yield from byte_mutants(name, family.file, family.write, here)


# ------------------------------------------------------------------------------------------------------------ settings
TRAINING = ("SMAPtest/lstm.py", "ERA5test/convlstm.py", "finetune-SMAPtest/cnn.py")
# words of the command line, and what the message must name
TRAINING_SETTINGS = [
    ("--lead-time 0", "lead_time"), ("--lead-time 31", "lead_time"), ("--lead-time -3", "lead_time"), ("--lead-times 1 1", "lead_times"),
    ("--lead-times 3 0", "lead_time"), ("--input-days 0", "input_days"), ("--input-days -1", "input_days"),
    ("--epochs 0", "epochs"), ("--epochs -5", "epochs"), ("--steps 0", "steps"), ("--patience 0", "patience"),
    ("--batch-size 0", "batch_size"), ("--learning-rate 0", "learning_rate"), ("--learning-rate -1", "learning_rate"),
    ("--learning-rate nan", "learning_rate"), ("--learning-rate inf", "learning_rate"), ("--weight-decay -1", "weight_decay"),
    ("--weight-decay nan", "weight_decay"), ("--weight-decay inf", "weight_decay"), ("--dropout 1", "dropout"),
    ("--dropout -0.1", "dropout"), ("--dropout nan", "dropout"), ("--seed -1", "seed"), ("--seed 99999999999999999999", "seed"),
    ("--seeds 0", "seeds"), ("--hidden 0", "hidden"), ("--hidden -4", "hidden"), ("--hidden 4 4", "hidden"), ("--patch 0", "patch"),
    ("--device gpu", "device"), ("--device cuda:99", "device"), ("--test-days 0", "test_days"), ("--test-days 99999", "test_days"),
    ("--test-days -5", "test_days"), ("--test-from 2015-02-31", "test_from"), ("--test-from tomorrow", "test_from"),
    ("--test-from 1900-01-01", "test_from"), ("--train-until 2099-01-01", "train_until"), ("--train-until NaT", "train_until"),
    ("--train-days 0", "train_days"), ("--train-days 10000", "train_days"), ("--embargo-days -1", "embargo_days"),
    ("--embargo-days 100000", "embargo"), ("--max-gap-days -1", "max_gap_days"), ("--max-gap-days 1000", "max_gap_days"),
    ("--drop-inputs rain", "drop_inputs"), ("--coming-weather tomorrow.nc", "coming_weather"), ("--regions china", "region"),
    ("--regions a:1,2,3", "region"), ("--regions a:x,y,z,w", "region"), ("--regions absent.nc", "absent.nc"),
    ("--regions a:nan,1,2,3", "region"), ("--regions a:80,85,0,1", "region"), ("--name ../../elsewhere", "name"),
    ("--name /tmp/elsewhere", "name"), ("--name ..", "name"), ("--cube absent.nc", "absent.nc"), ("--cube .", "."),
    ("--test-from 2016-01-01 --test-days 5", "test_days"),
]
FINE_TUNING_SETTINGS = [
    ("--source-cube absent.nc", "absent.nc"), ("--pretrained absent", "absent"), ("--freeze legs", "legs"), ("--pull -1", "pull"),
    ("--pull nan", "pull"), ("--pull inf", "pull"), ("--source-until someday", "source_until"), ("--worlds -1", "worlds"),
    ("--further-cubes absent.nc", "absent.nc"), ("--learning-rate-scale encoder -1", "learning_rate_scale"),
    ("--learning-rate-scale encoder nan", "learning_rate_scale"), ("--learning-rate-scale legs 1", "legs"),
]
PREPARING_SETTINGS = [
    ("--min-valid-fraction 0", "min_valid_fraction"), ("--min-valid-fraction 1.1", "min_valid_fraction"),
    ("--min-valid-fraction nan", "min_valid_fraction"), ("--workers 0", "workers"), ("--workers -1", "workers"),
    ("--output cube.txt", "output"), ("--grid 0", "grid"), ("--grid -1", "grid"), ("--grid nan", "grid"), ("--grid inf", "grid"),
    ("--grid coarse", "grid"), ("--grid 1e-9", "grid"), ("--grid 1/0", "grid"), ("--box 1 2 3 4", "box"), ("--box nan 0 0 1", "box"),
    ("--box 200 0 100 1", "box"), ("--box inf 0 -inf 1", "box"), ("--like absent.nc", "absent.nc"), ("--like .", ": that is a folder"),
    ("--scheduler nonsense", "scheduler"),
]
OTHER_SETTINGS = [
    ("data_processing/prepare_smap_l4.py", "--min-fields-per-day 0", "min_fields_per_day"),
    ("data_processing/prepare_smap_l4.py", "--min-fields-per-day 9", "min_fields_per_day"),
    ("data_processing/prepare_era5_land.py", "--min-hours-per-day 0", "min_hours_per_day"),
    ("data_processing/prepare_era5_land.py", "--min-hours-per-day 25", "min_hours_per_day"),
    ("data_processing/prepare_era5_land.py", "--land-sea-mask absent.nc", "absent.nc"),
    ("data_processing/prepare_era5_land.py", "--daily-statistics absent.nc", "absent.nc"),
    ("data_processing/prepare_weather_forecast.py", "--days 0", "days"),
    ("data_processing/prepare_weather_forecast.py", "--min-steps-per-day 25", "min_steps_per_day"),
    *((f"data_processing/download_{which}.py", words, name) for which in ("smap_l4", "era5_land") for words, name in (
        ("--first-day 2015-02-31", "2015-02-31"), ("--first-day soon", "soon"),
        ("--first-day 2020-01-02 --last-day 2020-01-01", "2020-01-01"),
        ("--box 10 20 30 40", "box"), ("--box nan 0 0 1", "box"), ("--box 99 0 0 1", "box"))),
]
MISSPELT = [("--lead-tme 3", "lead-t"), ("--epoch five", "epoch"), ("--epochs five", "epochs"), ("--epochs 1.5", "epochs"),
            ("--learning-rate fast", "learning-rate"), ("--head clever", "head"), ("--scaling no", "scaling"), ("--seeds", "seeds"),
            ("--precision double", "precision"), ("surprise", "surprise")]


def setting_mutants():
    """(script, words of the command line, what the message must name); all are to be refused, before anything is made."""
    for number, (words, name) in enumerate(TRAINING_SETTINGS + MISSPELT):
        yield TRAINING[number % len(TRAINING)], words, name
    for words, name in FINE_TUNING_SETTINGS:
        yield "finetune-SMAPtest/convlstm.py", words, name
    for number, (words, name) in enumerate(PREPARING_SETTINGS):
        yield f"data_processing/prepare_{('smap_l4', 'era5_land')[number % 2]}.py", words, name
    yield from OTHER_SETTINGS
