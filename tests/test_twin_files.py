"""The twin's files in the real layouts: what stands in them, and that the prepare scripts lead back to the twin."""

import filecmp
import subprocess
import sys
import zipfile

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT
from pyproj import Transformer

from data_processing import prepare_era5_land, prepare_smap_l4, write_twin_files
from data_processing.errors import UserError
from data_processing.twin import cube_path
from data_processing.twin_files import (
    ERA5_LAYOUTS,
    GRANULE_FIELDS,
    granule_name,
    shave,
    write_era5_month,
    write_granule,
    write_regridded_granule,
)
from data_processing.write_twin_files import Settings

CELL = 9008.055210146  # m, EASE-Grid 2.0 M09
TITLE = "Synthetic (not real data)"
ROWS, COLUMNS = slice(500, 504), slice(3200, 3206)
STAMP = np.datetime64("2016-12-31T22:30")
TO_METRES = Transformer.from_crs(4326, 6933, always_xy=True)
TO_DEGREES = Transformer.from_crs(6933, 4326, always_xy=True)


# ----------------------------------------------------------------------------------------------------- layouts
def granule_fields(seed=0):
    """Fields [4, 6] of a granule: moisture, temperature and rain with dry cells; one cell is sea."""
    random = np.random.default_rng(seed)
    fields = {"sm_surface": random.uniform(0.05, 0.6, (4, 6)), "soil_temp_layer1": random.uniform(250, 310, (4, 6)),
              "precipitation_total_surface_flux": random.uniform(-1e-3, 1e-3, (4, 6)).clip(0)}
    for values in fields.values():
        values[1, 2] = np.nan
    return {name: values.astype(np.float32) for name, values in fields.items()}


def test_granule_has_groups_axes_and_storage_of_the_product(tmp_path):
    path = tmp_path / granule_name(STAMP)
    assert path.name == "SMAP_L4_SM_gph_20161231T223000_Vv7032_001.h5"
    write_granule(path, granule_fields(), STAMP, ROWS, COLUMNS, TITLE)
    with h5py.File(path) as file:
        assert set(file) == {"Geophysical_Data", "Metadata", "EASE2_global_projection", "time", "x", "y", "cell_lat",
                             "cell_lon", "cell_row", "cell_column"}
        assert set(file["Geophysical_Data"]) == set(GRANULE_FIELDS)
        field = file["Geophysical_Data/sm_surface"]
        assert field.shape == field.chunks == (4, 6) and field.dtype == np.float32
        assert (field.compression, field.compression_opts, field.shuffle) == ("gzip", 3, False)
        assert field.attrs["_FillValue"] == -9999 and field[1, 2] == -9999
        assert field.attrs["units"] == b"m3 m-3"
        assert field.dims[0][0] == file["y"] and field.dims[1][0] == file["x"]
        assert np.abs(file["x"][:] - (np.arange(3200, 3206) - 1927.5) * CELL).max() < 1
        assert np.abs(file["y"][:] - (811.5 - np.arange(500, 504)) * CELL).max() < 1
        assert (file["cell_row"][:, 0] == np.arange(500, 504)).all()
        assert (file["cell_column"][0] == np.arange(3200, 3206)).all()
        lon, lat = TO_DEGREES.transform(*np.meshgrid(file["x"][:], file["y"][:]))
        assert np.allclose(file["cell_lon"][:], lon, atol=2e-5) and np.allclose(file["cell_lat"][:], lat, atol=2e-5)
        assert file.attrs["title"] == TITLE.encode()


def test_granule_time_carries_the_trap_of_the_product(tmp_path):
    write_granule(tmp_path / "a.h5", granule_fields(), STAMP, ROWS, COLUMNS, TITLE)
    with xr.open_dataset(tmp_path / "a.h5") as file:
        decoded = file["time"].values[0].astype("datetime64[ms]")
    assert decoded == np.datetime64("2016-12-31T22:28:55.816")


def test_granule_before_version_4_has_no_axes(tmp_path):
    write_granule(tmp_path / "a.h5", granule_fields(), STAMP, ROWS, COLUMNS, TITLE, version=3)
    with h5py.File(tmp_path / "a.h5") as file:
        assert not {"x", "y", "EASE2_global_projection"} & set(file)
        assert np.array_equal(file["Geophysical_Data/soil_temp_layer1"][0], granule_fields()["soil_temp_layer1"][0])


def test_whole_granule_holds_the_fields_in_their_place(tmp_path):
    write_granule(tmp_path / "a.h5", {"sm_surface": granule_fields()["sm_surface"]}, STAMP, ROWS, COLUMNS, TITLE,
                  version=4, layout="whole")
    with h5py.File(tmp_path / "a.h5") as file:
        field = file["Geophysical_Data/sm_surface"]
        assert field.shape == field.chunks == (1624, 3856)
        expected = np.where(np.isnan(granule_fields()["sm_surface"]), -9999, granule_fields()["sm_surface"])
        assert np.array_equal(field[ROWS, COLUMNS], expected)
        assert np.count_nonzero(field[:] != -9999) == 23
        assert file["y"][0] == pytest.approx(7310036.803, abs=1)


def test_flat_granule_has_the_group_in_the_name(tmp_path):
    write_granule(tmp_path / "a.h5", granule_fields(), STAMP, ROWS, COLUMNS, TITLE, layout="flat")
    with h5py.File(tmp_path / "a.h5") as file:
        assert "Geophysical_Data" not in file and file["Geophysical_Data_sm_surface"].shape == (4, 6)


def test_shaving_clears_bits_and_errs_by_half_a_quantum():
    values = np.random.default_rng(1).uniform(0.02, 0.6, (50, 60)).astype(np.float32)
    values[0, :3] = np.nan, 0, 0.3
    shaved = shave(values)
    assert np.isnan(shaved[0, 0]) and shaved[0, 1] == 0
    error = np.nanmax(np.abs(shaved - values))
    assert 1e-5 < error <= 0.6 * 2 ** -12
    assert np.unique(shaved).size < 0.8 * np.unique(values).size


def era5_month(path, layout, expver=None):
    """Write two days [48, 3, 4] of known fields; returns them and their stamps."""
    random = np.random.default_rng(2)
    fields = {"swvl1": random.uniform(0.05, 0.6, (48, 3, 4)), "stl1": random.uniform(250, 310, (48, 3, 4)),
              "tp": random.uniform(0, 0.02, (48, 3, 4))}
    for values in fields.values():
        values[:, 1, 2] = np.nan
    stamps = np.datetime64("2011-12-31T00", "h") + np.arange(48)
    write_era5_month(path, fields, stamps, np.array([30.2, 30.1, 30.0]), 110 + np.arange(4) / 10, TITLE, layout, expver)
    return fields, stamps


def test_new_month_decodes_to_its_values(tmp_path):
    fields, stamps = era5_month(tmp_path / "a.nc", "new", expver=["0001"] * 24 + ["0005"] * 24)
    with xr.open_dataset(tmp_path / "a.nc") as file:
        assert (file["valid_time"].values == stamps).all() and file["latitude"].values[0] == 30.2
        assert list(file["expver"].values[[23, 24]]) == ["0001", "0005"]
        assert file["number"].ndim == 0 and file.attrs["title"] == TITLE
        for name, values in fields.items():
            assert file[name].dtype == np.float32 and file[name].dims == ("valid_time", "latitude", "longitude")
            assert np.array_equal(file[name].values, values.astype(np.float32), equal_nan=True)


def test_zip_month_keeps_rain_apart(tmp_path):
    fields, _ = era5_month(tmp_path / "a.nc", "zip")
    assert zipfile.is_zipfile(tmp_path / "a.nc")
    with zipfile.ZipFile(tmp_path / "a.nc") as archive:
        archive.extractall(tmp_path)
    for step_type, names in (("instant", ("swvl1", "stl1")), ("accum", ("tp",))):
        with xr.open_dataset(tmp_path / f"data_stream-oper_stepType-{step_type}.nc") as file:
            assert set(file.data_vars) == set(names)
            for name in names:
                assert np.array_equal(file[name].values, fields[name].astype(np.float32), equal_nan=True)


def test_old_month_is_packed_in_16_bits(tmp_path):
    fields, stamps = era5_month(tmp_path / "a.nc", "old")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file.data_model == "NETCDF3_64BIT_OFFSET" and file["tp"].dtype == np.int16
    with xr.open_dataset(tmp_path / "a.nc") as file:
        assert (file["time"].values == stamps).all()
        for name, values in fields.items():
            half_step = np.nanmax(values - np.nanmin(values)) / 65532 / 2
            assert np.array_equal(np.isnan(file[name].values), np.isnan(values))
            assert np.nanmax(np.abs(file[name].values - values)) <= half_step * (1 + 1e-6)


def test_old_month_with_expver_dimension_is_complementary(tmp_path):
    _, stamps = era5_month(tmp_path / "a.nc", "old_expver", expver=["0001"] * 30 + ["0005"] * 18)
    with xr.open_dataset(tmp_path / "a.nc") as file:
        assert file["stl1"].dims == ("time", "expver", "latitude", "longitude")
        present = file["stl1"].notnull().any(("latitude", "longitude")).values
    assert (present[:30] == [True, False]).all() and (present[30:] == [False, True]).all()


# --------------------------------------------------------------------------------- layouts through the readers
@pytest.fixture
def no_picture(monkeypatch):
    """Prepare without the quick look, which takes longer than all else here."""
    monkeypatch.setattr("utils.quicklook.show_cube", lambda path: None)


def cube_of(script, folder, **settings):
    """Cube that a prepare script makes of the files in a folder, on their own cells; loaded."""
    output = folder.parent / f"{folder.name}.nc"
    script.main(script.Settings(files=(str(folder),), output=str(output), workers=1, **settings))
    return xr.load_dataset(output)


def day_of_granules(folder, **layout):
    """Write the eight granules of a day; returns their fields, each [8, 4, 6]."""
    days = [granule_fields(seed) for seed in range(8)]
    for number, fields in enumerate(days):
        stamp = np.datetime64("2016-12-31T01:30") + number * np.timedelta64(180, "m")
        write_granule(folder / granule_name(stamp, layout.get("version", 7)), fields, stamp, ROWS, COLUMNS, TITLE,
                      **layout)
    return {name: np.stack([fields[name] for fields in days]).astype(np.float64) for name in GRANULE_FIELDS}


def check_day(cube, fields, tolerance):
    """The only day of a cube is the mean of the fields (north first), relative to the largest value."""
    names = {"soil_moisture": "sm_surface", "soil_temperature": "soil_temp_layer1",
             "precipitation": "precipitation_total_surface_flux"}
    for variable, name in names.items():
        expected = fields[name].mean(axis=0)[::-1] * (86400 if variable == "precipitation" else 1)
        made = cube[variable].values[0]
        assert np.array_equal(np.isnan(made), np.isnan(expected))
        assert np.nanmax(np.abs(made - expected)) <= tolerance * np.nanmax(fields[name]) * (
            86400 if variable == "precipitation" else 1)


@pytest.mark.parametrize("layout, version", [("subset", 7), ("flat", 7), ("subset", 3),
                                             pytest.param("whole", 1, marks=pytest.mark.slow)])
def test_reader_takes_every_layout_of_a_granule(no_picture, tmp_path, layout, version):
    fields = day_of_granules(tmp_path / "in", layout=layout, version=version)
    lon, _ = TO_DEGREES.transform((np.arange(3200, 3206) - 1927.5) * CELL, np.zeros(6))
    _, lat = TO_DEGREES.transform(np.zeros(4), (811.5 - np.arange(503, 499, -1)) * CELL)
    box = tuple(map(float, (lat[-1] + 0.01, lon[0] - 0.01, lat[0] - 0.01, lon[-1] + 0.01)))
    cube = cube_of(prepare_smap_l4, tmp_path / "in", box=box if layout == "whole" else None)
    check_day(cube, fields, tolerance=2 ** -12 if version >= 7 else 2 ** -23)
    assert np.allclose(cube["lon"], lon, atol=2e-5) and np.allclose(cube["lat"], lat, atol=2e-5)


def test_reader_takes_regridded_granules(no_picture, tmp_path):
    days = [granule_fields(seed) for seed in range(8)]
    lat, lon = np.linspace(30.35, 30.05, 4), np.linspace(118.05, 118.55, 6)
    for number, fields in enumerate(days):
        stamp = np.datetime64("2016-12-31T01:30") + number * np.timedelta64(180, "m")
        name = f"{number}00_{granule_name(stamp).removesuffix('.h5')}_subsetted_regridded.nc4"
        write_regridded_granule(tmp_path / "in" / name, fields, stamp, lat, lon, TITLE)
    cube = cube_of(prepare_smap_l4, tmp_path / "in")
    check_day(cube, {name: np.stack([fields[name] for fields in days]).astype(float) for name in GRANULE_FIELDS},
              tolerance=2 ** -12)
    assert np.allclose(cube["lat"], lat[::-1]) and np.allclose(cube["lon"], lon)


@pytest.mark.parametrize("layout", ERA5_LAYOUTS)
def test_reader_takes_every_layout_of_a_month(no_picture, tmp_path, layout):
    fields, _ = era5_month(tmp_path / "in" / "a.nc", layout, expver=["0001"] * 30 + ["0005"] * 18)
    cube = cube_of(prepare_era5_land, tmp_path / "in")
    assert list(cube["time"].values.astype("datetime64[D]").astype(str)) == ["2011-12-31", "2012-01-01"]
    packing = {name: np.nanmax(values - np.nanmin(values)) / 65532 / 2 if "old" in layout else 0
               for name, values in fields.items()}
    for variable, name in (("soil_moisture", "swvl1"), ("soil_temperature", "stl1")):
        expected = fields[name].reshape(2, 24, 3, 4).mean(axis=1)[:, ::-1]
        bound = packing[name] + 2.0 ** -23 * np.nanmax(expected)
        assert np.nanmax(np.abs(cube[variable].values - expected)) <= bound
        assert np.array_equal(np.isnan(cube[variable].values), np.isnan(expected))
    rain = fields["tp"][24, ::-1] * 1000
    bound = packing["tp"] * 1000 + 2.0 ** -22 * np.nanmax(rain)
    assert np.nanmax(np.abs(cube["precipitation"].values[0] - rain)) <= bound
    assert np.isnan(cube["precipitation"].values[1]).all()  # its total is stamped at 00 UTC of the next day


# ------------------------------------------------------------------------------------------- files of the twin
SMALL = {"box": (29.5, 118.0, 27.0, 123.0), "smap_first": "2016-12-30", "smap_last": "2017-01-02",
         "era5_first": "2011-12", "era5_last": "2012-01"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder of the twin's files over a small box on the coast, across a change of year."""
    folder = tmp_path_factory.mktemp("files")
    write_twin_files.main(Settings(folder=str(folder), **SMALL))
    return folder


def twin_values(domain, first, last):
    """The twin's own values on its whole map, read as they stand: dict variable -> float64 DataArray [T, 52, 65]."""
    with xr.open_dataset(cube_path(domain)) as cube:
        cube = cube.sel(time=slice(first, last)).load()
    return {name: cube[name].astype(np.float64) for name in cube.data_vars}


def test_eight_fields_of_a_day_have_the_mean_of_the_twins_day():
    domain = write_twin_files.read_domain("smap_l4", np.datetime64("2016-12-31"), np.datetime64("2016-12-31"))
    stamps = np.datetime64("2016-12-31T01:30") + np.arange(8) * np.timedelta64(180, "m")
    day = [write_twin_files.granule_fields(domain, stamp) for stamp in stamps]
    rain, moisture, temperature = domain.values[0]
    for name, expected in (("sm_surface", moisture), ("soil_temp_layer1", temperature),
                           ("precipitation_total_surface_flux", rain / 86400)):
        fields = np.stack([field[name] for field in day])
        assert np.allclose(fields.mean(axis=0), expected, rtol=1e-12, atol=0, equal_nan=True)
        assert np.nanmax(np.ptp(fields, axis=0)) > 0.01 * np.nanmax(expected)


def test_rain_of_era5_land_gathers_and_ends_at_the_next_midnight(files):
    with xr.open_dataset(files / "era5_land/downloads/era5_land_tp_2011_12.nc") as file:
        tp = file["tp"].load()
    day = tp.sel(valid_time=slice("2011-12-10T01", "2011-12-11T00")).values
    assert (np.diff(day, axis=0)[:, ~np.isnan(day[0])] >= -1e-9).all()
    cell = twin_values("era5_land", "2011-12-10", "2011-12-10")["precipitation"][0].sel(lat=28.6, lon=118.6,
                                                                                      method="nearest")
    inside = tp.sel(valid_time="2011-12-11T00").sel(latitude=cell["lat"], longitude=cell["lon"], method="nearest")
    assert float(inside) * 1000 == pytest.approx(float(cell), rel=1e-6)


def test_every_file_says_that_it_is_synthetic(files):
    paths = [path for path in files.rglob("*") if path.is_file()]
    assert len(paths) == 4 * 8 + 5 + 2
    for path in paths:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(files.parent / "members")
            path = next((files.parent / "members").iterdir())
        with netCDF4.Dataset(path) as file:
            assert file.title.startswith("Synthetic twin of ") and file.title.endswith("(not real data)")


def test_two_writings_have_the_same_bytes(files, tmp_path):
    day = np.datetime64("2016-12-31")
    domain = write_twin_files.read_domain("smap_l4", day, day)
    write_twin_files.write_granules(write_twin_files.granule_stamps(tmp_path, day, day), domain, SMALL["box"])
    domain = write_twin_files.read_domain("era5_land", np.datetime64("2011-12-31"), np.datetime64("2012-01-31"))
    contents = write_twin_files.month_contents(tmp_path, np.datetime64("2011-12-01"), np.datetime64("2012-01-31"))
    contents = {path: content for path, content in contents.items() if "2012" in path.name}  # one ZIP, one NetCDF
    write_twin_files.write_months(contents, domain, SMALL["box"])
    first = {path.name: path for path in files.rglob("*") if path.is_file()}
    assert len(list(tmp_path.iterdir())) == 8 + 2
    for path in tmp_path.iterdir():
        assert filecmp.cmp(path, first[path.name], shallow=False), path.name


def test_files_of_other_days_are_refused(files):
    with pytest.raises(UserError, match="of other days, such as SMAP_L4_SM_gph_20161230T013000"):
        write_twin_files.main(Settings(folder=str(files), **SMALL | {"smap_first": "2016-12-31"}))


def test_days_that_the_twin_lacks_are_refused(tmp_path):
    with pytest.raises(UserError, match="smap_l4 has 2015-03-31 to 2020-12-31"):
        write_twin_files.main(Settings(folder=str(tmp_path), smap_first="2014-01-01", smap_last="2014-01-02"))


# ------------------------------------------------------------------------------- there and back: the demonstration
def overlap(edges, others):
    """Lengths in common of the cells between `edges` and of those between `others`: float64 [n, m]."""
    low = np.maximum(edges[:-1, None], others[None, :-1])
    high = np.minimum(edges[1:, None], others[None, 1:])
    return np.maximum(high - low, 0)


def average(values, rows, columns, share=0.5):
    """Averages of the valid values [..., h, w] by overlaps in metres [H, h] and [W, w]; NaN below `share` of a cell."""
    valid = ~np.isnan(values)
    total = np.einsum("Rr,...rc,Cc->...RC", rows, np.where(valid, values, 0), columns, optimize=True)
    area = np.einsum("Rr,...rc,Cc->...RC", rows, valid.astype(float), columns, optimize=True)
    whole = rows.sum(axis=1)[:, None] * columns.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(area >= share * whole * (1 - 1e-9), total / area, np.nan)


def edges(cube):
    """Edges in metres of a cube's rows and columns, which are even in degrees."""
    both = []
    for centres in (cube["lat"].values, cube["lon"].values):
        step = (centres[-1] - centres[0]) / (centres.size - 1)
        both.append(centres[0] + (np.arange(centres.size + 1) - 0.5) * step)
    return metres(lat=both[0]), metres(lon=both[1])


def metres(lat=None, lon=None):
    """Northing of latitudes or easting of longitudes in EPSG:6933, by PROJ."""
    if lat is not None:
        return TO_METRES.transform(np.zeros(lat.size), lat)[1]
    return TO_METRES.transform(lon, np.zeros(lon.size))[0]


class Ways:
    """Averages from the twin's cells to small ones and on to the box; the small ones by edges in metres, ascending."""

    def __init__(self, own, box, fine_y, fine_x):
        fine = fine_y, fine_x
        self.out = [overlap(small, large) for small, large in zip(fine, edges(own))]
        self.home = [overlap(large, small) for large, small in zip(edges(box), fine)]

    def back(self, small):
        return average(small, *self.home)

    def there_and_back(self, own):
        """What a perfect preparation makes of the twin's values [T, 52, 65]."""
        return self.back(average(own.values, *self.out))


def prepare(script, files, inputs, like):
    """Run a prepare script as a user does; returns the cube, loaded."""
    output = files / script / f"{script}.nc"
    command = [sys.executable, ROOT / "data_processing" / f"prepare_{script}.py", files / script / inputs,
               "--like", files / like, "--output", output, "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=files)
    assert done.returncode == 0, done.stderr
    with xr.open_dataset(output) as cube:
        return cube.load()


def compare(made, own_box, perfect, storage):
    """Assert that a made cube is the perfect one within `storage` and the twin's within that and the regridding."""
    for name, bound in storage.items():
        values, own = made[name].values, own_box[name].values
        assert np.array_equal(np.isnan(values), np.isnan(own)), name  # sea stays sea
        assert np.isnan(own).any() and not np.isnan(own).all()
        assert np.nanmax(np.abs(values - perfect[name])) <= bound, name
        regridding = np.abs(perfect[name] - own)
        assert np.nanmax(np.abs(values - own) - regridding) <= bound, name


def test_cube_from_the_granules_is_the_twins(files):
    made = prepare("smap_l4", files, "granules", "twin_smap_l4_box.nc")
    box = xr.load_dataset(files / "twin_smap_l4_box.nc")
    assert "ynthetic" in made.attrs["title"]
    assert np.array_equal(made["time"], box["time"])
    assert np.array_equal(made["lat"], box["lat"]) and np.array_equal(made["lon"], box["lon"])

    stored = {name: [] for name in GRANULE_FIELDS}
    for path in sorted((files / "smap_l4/granules").iterdir()):
        with h5py.File(path) as file:
            rows, columns = file["cell_row"][:, 0].astype(float), file["cell_column"][0].astype(float)
            for name, fields in stored.items():
                values = file["Geophysical_Data"][name][:][::-1].astype(np.float64)
                fields.append(np.where(values == -9999, np.nan, values))
    stored = {name: np.stack(fields).reshape(-1, 8, *fields[0].shape) for name, fields in stored.items()}
    own = twin_values("smap_l4", SMALL["smap_first"], SMALL["smap_last"])
    ways = Ways(own["soil_moisture"], box, (812 - np.append(rows, rows[-1] + 1)[::-1]) * CELL,
                (np.append(columns, columns[-1] + 1) - 1928) * CELL)
    perfect = {name: ways.there_and_back(values) for name, values in own.items()}
    storage = {}
    for name, field, factor in (("precipitation", "precipitation_total_surface_flux", 86400.0),
                                ("soil_moisture", "sm_surface", 1.0), ("soil_temperature", "soil_temp_layer1", 1.0)):
        read = ways.back(stored[field].mean(axis=1)) * factor
        assert np.nanmax(np.abs(made[name].values - read)) <= 2.0 ** -23 * np.nanmax(read), name
        # the bits that version 7 clears: 2**-12 of the distance from an offset, which for temperatures is the middle
        reach = np.nanmax(stored[field], axis=(2, 3))
        reach = reach - np.nanmin(stored[field], axis=(2, 3)) if name == "soil_temperature" else reach
        storage[name] = 2.0 ** -12 * reach.mean(axis=1).max() * factor + 2.0 ** -23 * np.nanmax(read)
    assert storage["soil_moisture"] < 1.6e-4  # m3 m-3
    compare(made, box, perfect, storage)


def test_cube_from_era5_land_is_the_twins(files):
    made = prepare("era5_land", files, "downloads", "twin_era5_land_box.nc")
    box = xr.load_dataset(files / "twin_era5_land_box.nc")
    assert "ynthetic" in made.attrs["title"]
    assert np.array_equal(made["lat"], box["lat"]) and np.array_equal(made["lon"], box["lon"])
    assert np.array_equal(made["time"], box["time"])  # the last day too, for the next 00 UTC is there

    with xr.open_dataset(files / "era5_land/downloads/era5_land_tp_2011_12.nc") as file:
        fine_lat, fine_lon = file["latitude"].values[::-1], file["longitude"].values
    own = twin_values("era5_land", box["time"].values[0], box["time"].values[-1])
    ways = Ways(own["soil_moisture"], box, metres(lat=np.append(fine_lat - 0.05, fine_lat[-1] + 0.05)),
                metres(lon=np.append(fine_lon - 0.05, fine_lon[-1] + 0.05)))
    perfect = {name: ways.there_and_back(values) for name, values in own.items()}
    single = 2.0 ** -24  # relative error of float32, once in the files and once in the cube
    storage = {name: 3 * single * np.nanmax(own[name]) for name in own}
    compare(made, box, perfect, storage)
