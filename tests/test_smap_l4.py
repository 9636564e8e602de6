"""SMAP L4: the real sample against an independent reading, granules in every layout, and every bad file."""
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pyproj
import pytest
from conftest import ROOT

from data_processing import prepare_smap_l4
from data_processing.cube import VARIABLES, cube_variables, open_cube
from data_processing.errors import UserError
from data_processing.regrid import target_grid
from data_processing.smap_l4 import find_granules, parse_name, plan_granules, read_granules, survey

CELL = 9008.055210146  # m, EASE-Grid 2.0 M09: 1624 x 3856 cells
NAMES = {"precipitation": "precipitation_total_surface_flux", "soil_moisture": "sm_surface",
         "soil_temperature": "soil_temp_layer1"}
UNITS = {"precipitation": "kg m-2 s-1", "soil_moisture": "m3 m-3", "soil_temperature": "K"}
BOX = (300, 305, 2900, 2907)  # rows and columns of the 9 km grid that small granules hold: near 38 N, 91 E


# ---------------------------------------------------------------------------------------------------- granules
def name(day="2017-08-01", field=0, science="Vv7032", production="001", tail=".h5"):
    """Name of the granule of one of the day's eight fields."""
    stamp = np.datetime64(day) + np.timedelta64(90 + 180 * field, "m")
    text = str(stamp.astype("datetime64[s]")).replace("-", "").replace(":", "")
    return f"SMAP_L4_SM_gph_{text}_{science}_{production}{tail}"


def known(variable, shape, field=0, day="2017-08-01"):
    """Values in the files' unit, float32 [h, w], rows from the north: other in every cell, field and day."""
    cell = np.arange(shape[0] * shape[1]).reshape(shape)
    number = field + 0.1 * (np.datetime64(day) - np.datetime64("2017-08-01")).astype(int)
    return {"precipitation": 1e-5 * number + 1e-6 * cell, "soil_moisture": 0.1 + 0.01 * number + 0.001 * cell,
            "soil_temperature": 280 + number + 0.1 * cell}[variable].astype(np.float32)


def write(path, values=None, *, position="metres", box=BOX, group="Geophysical_Data/", time=None, units=UNITS,
          title=None, lat=None, lon=None, **storage):
    """Write a granule; `values`: dict variable -> [h, w] in the files' unit and order; `position`: what tells it."""
    path.parent.mkdir(exist_ok=True)
    top, bottom, left, right = box
    shape = (bottom - top, right - left)
    values = {variable: known(variable, shape) for variable in VARIABLES} if values is None else values
    with h5py.File(path, "w") as file:
        if title:
            file.attrs["title"] = np.bytes_(title)
        file["time"] = [0.0 if time is None else time]
        file["time"].attrs["units"] = "seconds since 2000-01-01 11:58:55.816"
        axes = {"metres": {"y": ((811.5 - np.arange(top, bottom)) * CELL + 0.7, "m"),  # stored up to a metre off
                           "x": ((np.arange(left, right) - 1927.5) * CELL - 0.7, "m")},
                "degrees": {"y": (lat, "degrees_north"), "x": (lon, "degrees_east")}}.get(position, {})
        for axis, (numbers, unit) in axes.items():
            file[axis] = numbers
            file[axis].make_scale(axis)
            file[axis].attrs["units"] = np.bytes_(unit)
        if position == "cells":
            row, column = np.mgrid[top:bottom, left:right].astype(np.uint32)
            row[0, :3] = column[0, :3] = 4294967294
            file["cell_row"], file["cell_column"] = row, column
        for variable, field in values.items():
            field = np.where(np.isnan(field), np.float32(-9999), field)
            dataset = file.create_dataset(group + NAMES[variable], data=field,
                                          **({"chunks": field.shape, "compression": "gzip"} | storage))
            dataset.attrs["units"] = np.bytes_(units[variable])
            dataset.attrs["_FillValue"], dataset.attrs["valid_max"] = np.float32(-9999), np.float32(0.9)
    return path


def write_day(folder, day="2017-08-01", fields=range(8), **options):
    """Write the granules of a day with `known` values; returns their paths."""
    top, bottom, left, right = options.get("box", BOX)
    shape = (bottom - top, right - left)
    return [write(folder / name(day, field),
                  {variable: known(variable, shape, field, day) for variable in VARIABLES}, **options)
            for field in fields]


def write_files(folder, write_one):
    """Eight granules of a day, the same but for their names."""
    for field in range(8):
        write_one(folder / name(field=field))


@dataclass(frozen=True)
class Plain:
    """Settings as the script has them."""

    product: str = "SPL4SMGP"
    variables: tuple = VARIABLES
    box: tuple = None
    grid: str = "native"
    like: str = None
    min_fields_per_day: int = 8


def plan_of(*files, **settings):
    settings = Plain(**settings)
    granules, notes = find_granules([str(file) for file in files], settings.product)
    found = survey(granules, settings)
    target = target_grid(settings.grid, source=found.grid, like=settings.like, box=settings.box)
    return plan_granules(granules, found, target, settings, notes)


def read_day(plan, index=0):
    """Daily means in the cube's units: dict variable -> float [h, w], rows from the south; and the counts."""
    rows = list(read_granules(plan.sources[index].files, plan.sources[index].task))
    with np.errstate(invalid="ignore"):
        return ({variable: total / count for variable, _, total, count in rows},
                {variable: count for variable, _, _, count in rows})


def metres(grid):
    """Centres of a Grid in EPSG:6933 by PROJ: x [W], y [H]."""
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)
    return (project.transform(grid.lon, np.zeros(grid.lon.size))[0],
            project.transform(np.zeros(grid.lat.size), grid.lat)[1])


@pytest.fixture
def cube(tmp_path, monkeypatch):
    """Run the script's main on files, without drawing, and open its cube."""
    monkeypatch.setattr("utils.quicklook.show_cube", lambda path: None)

    def make(*files, **settings):
        settings = prepare_smap_l4.Settings(**({"files": tuple(str(file) for file in files), "workers": 1,
                                                "output": str(tmp_path / "out" / "cube.nc")} | settings))
        prepare_smap_l4.main(settings)
        return open_cube(settings.output, cube_variables(settings.output))

    return make


# -------------------------------------------------------------------------------------------------- real sample
@pytest.fixture
def sample():
    path = ROOT.parent / "shared/samples/smap_l4/SMAP_L4_SM_aup_20200128T150000_Vv4030_001_subset.h5"
    if not path.exists():
        pytest.skip("the real granule is not here")
    return path


def test_real_granule_has_the_values_of_a_plain_reading(sample):
    plan = plan_of(sample, product="SPL4SMAU", min_fields_per_day=1)
    assert list(plan.rules) == ["soil_moisture"] and plan.attributes["science_ids"] == "Vv4030"
    assert plan.sources[0].name == "2020-01-28"
    values, _ = read_day(plan)
    with h5py.File(sample) as file:
        raw = file["Analysis_Data/sm_surface_analysis"][:][::-1]
    assert 10_000 < np.count_nonzero(raw == -9999) < raw.size - 10_000
    np.testing.assert_array_equal(values["soil_moisture"], np.where(raw == -9999, np.nan, raw))


def test_real_granule_lies_where_its_axes_and_cell_numbers_say(sample):
    grid = plan_of(sample, product="SPL4SMAU").grid
    x, y = metres(grid)
    with h5py.File(sample) as file:
        assert np.abs(x - file["x"][:]).max() < 1 and np.abs(y - file["y"][:][::-1]).max() < 1
        column = file["cell_column"][:].min(axis=0)  # the fill value is larger than any number
    here = np.round(x / CELL + 1927.5)
    assert (here[column < 3856] == column[column < 3856]).all()
    assert np.abs(x - (here - 1927.5) * CELL).max() < 0.01  # on the lattice, not where the file is off


def test_stamp_of_real_granule_agrees_with_its_metadata(sample):
    granule = parse_name(sample, "SPL4SMAU")
    with h5py.File(sample) as file:
        extent = file["Metadata/Extent"].attrs
        start, end = (np.datetime64(extent[key].decode().rstrip("Z")) for key in
                      ("rangeBeginningDateTime", "rangeEndingDateTime"))
    assert granule.stamp == start + (end - start) / 2 and granule.day == np.datetime64("2020-01-28")


def test_real_granule_becomes_a_cube_by_script(sample, cube):
    made = cube(sample, product="SPL4SMAU", min_fields_per_day=1, box=(45, -100, 40, -90))
    with h5py.File(sample) as file:
        raw, x, y = file["Analysis_Data/sm_surface_analysis"][:], file["x"][:], file["y"][:]
    lon, lat = pyproj.Transformer.from_crs("EPSG:6933", "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    rows = np.flatnonzero((lat[:, 0] <= 45) & (lat[:, 0] >= 40))[::-1]
    columns = np.flatnonzero((lon[0] >= -100) & (lon[0] <= -90))
    expected = np.where(raw == -9999, np.nan, raw)[np.ix_(rows, columns)]
    assert list(made.data_vars) == ["soil_moisture"] and str(made["time"].values[0])[:10] == "2020-01-28"
    np.testing.assert_allclose(made["soil_moisture"].values[0], expected, rtol=1e-7)
    np.testing.assert_allclose(made["lat"].values, lat[rows, 0], atol=1e-5)


# ------------------------------------------------------------------------------------------------------- layouts
LAYOUTS = {
    "subset": {},
    "subset without x and y": {"position": "cells"},
    "flattened": {"group": "Geophysical_Data_"},
    "fields at the root": {"group": ""},
    "shuffled rows as chunks": {"chunks": (1, 7), "shuffle": True},
    "one chunk, shuffled": {"shuffle": True},
    "checksummed": {"fletcher32": True},
    "not packed": {"chunks": None, "compression": None},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_daily_means_in_every_layout(tmp_path, layout):
    plan = plan_of(*write_day(tmp_path, **LAYOUTS[layout]))
    values, count = read_day(plan)
    for variable, factor in (("precipitation", 86400), ("soil_moisture", 1), ("soil_temperature", 1)):
        expected = factor * np.mean([known(variable, (5, 7), field) for field in range(8)], axis=0, dtype=np.float64)
        np.testing.assert_allclose(values[variable], expected[::-1], rtol=1e-6)
        assert (count[variable] == 8).all()
    x, y = metres(plan.grid)
    assert np.abs(x - (np.arange(2900, 2907) - 1927.5) * CELL).max() < 1
    assert np.abs(y - (811.5 - np.arange(304, 299, -1)) * CELL).max() < 1


def test_cell_numbers_as_xarray_writes_them_again(tmp_path):
    path = write(tmp_path / name(), position="none")
    row, column = np.mgrid[300:305, 2900:2907].astype(np.float64)
    row[2], column[:, 0] = np.nan, np.nan
    with h5py.File(path, "a") as file:
        file["cell_row"], file["cell_column"] = row, column
        file["x"], file["y"] = np.zeros(7), np.zeros(5)  # dimensions without values
        for axis in "xy":
            file[axis].make_scale("This is a netCDF dimension but not a netCDF variable.         5")
    x, y = metres(plan_of(path).grid)
    assert abs(x[0] - (2900 - 1927.5) * CELL) < 1 and abs(y[-1] - (811.5 - 300) * CELL) < 1


@pytest.mark.parametrize("version", ["Vb1010", "Vv8011"])
def test_whole_granule_read_over_china_only(tmp_path, version):
    shape = (1624, 3856)
    field = np.full(shape, -9999, np.float32)
    field[145:575, 2710:3385] = 0.001 * np.arange(430)[:, None] + 1e-4 * np.arange(675)
    path = write(tmp_path / name(science=version), {"soil_moisture": field}, box=(0, 1624, 0, 3856),
                 position="none" if version == "Vb1010" else "metres", compression_opts=1)
    plan = plan_of(path, variables=("soil_moisture",), box=(55, 73, 17, 136))
    values, _ = read_day(plan)
    np.testing.assert_array_equal(values["soil_moisture"], field[145:575, 2710:3385][::-1])
    x, y = metres(plan.grid)
    assert abs(x[0] - (2710 - 1927.5) * CELL) < 1 and abs(y[0] - (811.5 - 574) * CELL) < 1
    if version == "Vb1010":
        assert plan_of(path, variables=("soil_moisture",)).grid.lat.size == 1624


@pytest.mark.parametrize("south_first", [False, True])
def test_regridded_to_degrees(tmp_path, south_first):
    lat, lon = np.linspace(40, 38, 5), np.linspace(359, 362, 7)
    lat = lat[::-1] if south_first else lat
    write_files(tmp_path, lambda path: write(path, position="degrees", lat=lat, lon=lon % 360))
    plan = plan_of(tmp_path)
    np.testing.assert_allclose(plan.grid.lat, np.linspace(38, 40, 5))
    np.testing.assert_allclose(plan.grid.lon, np.linspace(-1, 2, 7), atol=1e-9)
    expected = known("soil_moisture", (5, 7))[::1 if south_first else -1]
    np.testing.assert_allclose(read_day(plan)[0]["soil_moisture"], expected, rtol=1e-6)
    part, _ = read_day(plan_of(tmp_path, box=(39.6, -0.6, 38.4, 1.6)))
    np.testing.assert_allclose(part["soil_moisture"], expected[1:4, 1:6], rtol=1e-6)


def test_names_of_subset_services(tmp_path):
    made = {tail: parse_name(Path(f"/x/{front}{name(tail=tail)}"), "SPL4SMGP") for front, tail in
            (("137_", "_subsetted_regridded.nc4"), ("", "_HEGOUT.nc"), ("", "_1.h5"), ("", ".h5"))}
    assert {granule.stamp for granule in made.values()} == {np.datetime64("2017-08-01T01:30:00")}
    assert {tail: granule.copy for tail, granule in made.items() if granule.copy} == {"_1.h5": 1}


# ---------------------------------------------------------------------------------------------- values and days
def test_missing_and_large_values(tmp_path):
    first = known("soil_moisture", (5, 7))
    first[0, :5] = -9999, np.nan, np.inf, 0.93, 0.0  # peat of version 8 is above valid_max

    def write_one(path):
        write(path, {"soil_moisture": first})

    write_files(tmp_path, write_one)
    values, count = read_day(plan_of(tmp_path, variables=("soil_moisture",)))
    assert np.isnan(values["soil_moisture"][-1, :3]).all() and (count["soil_moisture"][-1, :5] == [0, 0, 0, 8, 8]).all()
    np.testing.assert_allclose(values["soil_moisture"][-1, 3:5], [0.93, 0.0], rtol=1e-6)


def test_field_without_chunks_is_its_fill_value(tmp_path):
    path = write(tmp_path / name())
    with h5py.File(path, "a") as file:
        del file["Geophysical_Data/sm_surface"]
        empty = file.create_dataset("Geophysical_Data/sm_surface", (5, 7), "f4", chunks=(5, 7), compression="gzip",
                                    fillvalue=-9999)
        empty.attrs["units"] = "m3 m-3"
    assert (read_day(plan_of(path))[1]["soil_moisture"] == 0).all()


def test_day_is_the_date_of_the_name_whatever_time_says(tmp_path):
    for field in range(8):
        write(tmp_path / name("2016-02-29", field), time=1e9)
    sources = plan_of(tmp_path).sources
    assert [source.name for source in sources] == ["2016-02-29"]
    assert {str(day) for _, day, _, _ in read_granules(sources[0].files, sources[0].task)} == {"2016-02-29"}
    assert {str(day) for days in sources[0].days.values() for day in days} == {"2016-02-29"}


def test_seven_of_eight_fields_make_no_day_and_it_is_told(tmp_path, cube, capsys):
    write_day(tmp_path / "in")
    write_day(tmp_path / "in", "2017-08-02", range(7))
    write_day(tmp_path / "in", "2017-08-04")
    made = cube(tmp_path / "in")
    told = capsys.readouterr().out
    assert "fewer than 8 granules, so missing (NaN): 2017-08-02 (7)\n" in told and "2017-08-03" in told
    assert made.sizes["time"] == 4
    missing = np.isnan(made["soil_moisture"].values).mean(axis=(1, 2))
    np.testing.assert_array_equal(missing, [0, 1, 1, 0])
    made.close()
    made = cube(tmp_path / "in", min_fields_per_day=7)
    expected = np.mean([known("soil_temperature", (5, 7), field, "2017-08-02") for field in range(7)], axis=0)
    np.testing.assert_allclose(made["soil_temperature"].values[1], expected[::-1], rtol=1e-6)
    assert "fewer than" not in capsys.readouterr().out


def test_cell_missing_in_one_field_is_missing_that_day(tmp_path, cube):
    write_day(tmp_path)
    values = {variable: known(variable, (5, 7), 3) for variable in VARIABLES}
    values["soil_moisture"][2, 2] = np.nan
    write(tmp_path / name(field=3), values)
    made = cube(tmp_path)
    assert np.argwhere(np.isnan(made["soil_moisture"].values)).tolist() == [[0, 2, 2]]
    assert not np.isnan(made["soil_temperature"].values).any()


def test_cube_onto_36_km_says_what_it_was_made_of(tmp_path, cube):
    write_day(tmp_path / "in", box=(300, 316, 2900, 2916), title="Synthetic twin of smap_l4 (not real data)")
    made = cube(tmp_path / "in", grid="36km")
    assert (made.sizes["lat"], made.sizes["lon"]) == (4, 4)
    day = np.mean([known("soil_moisture", (16, 16), field) for field in range(8)], axis=0)[::-1]
    np.testing.assert_allclose(made["soil_moisture"].values[0], day.reshape(4, 4, 4, 4).mean(axis=(1, 3)), rtol=1e-6)
    assert made.attrs["title"] == made.attrs["synthetic"] == "Synthetic twin of smap_l4 (not real data)"
    assert (made.attrs["product"], made.attrs["product_version"]) == ("SPL4SMGP", "7")


# ----------------------------------------------------------------------------------------------------- choice
def paths(folder, *names):
    folder.mkdir(exist_ok=True)
    for each in names:
        (folder / each).write_bytes(b"x")
    return [str(folder)]


@pytest.mark.parametrize("better, worse", [
    (name(science="Vv7032"), name(science="Vv7031", production="002")),
    (name(production="002"), name(production="001")),
    (name(tail=".h5"), name(tail="_1.h5")),
    (name(science="Vv8011"), name(science="Vv7032")),
])
def test_one_file_of_a_stamp_is_read(tmp_path, better, worse):
    granules, notes = find_granules(paths(tmp_path, better, worse), "SPL4SMGP")
    assert [granule.path.name for granule in granules] == [better]
    assert notes == [f"left out: 1 other deliveries of granules that are read, such as {tmp_path / worse}"]


def test_larger_file_before_its_subset(tmp_path):
    write(tmp_path / name(tail="_subsetted.nc4"))
    write(tmp_path / name(), box=(280, 320, 2880, 2940))
    granules, _ = find_granules([str(tmp_path)], "SPL4SMGP")
    assert [granule.path.name for granule in granules] == [name()]


def test_two_versions_are_refused(tmp_path):
    first, second = name("2017-08-01"), name("2017-08-02", science="Vv8011")
    with pytest.raises(UserError, match=f"{first} is of version 7 .*{second} of version 8"):
        find_granules(paths(tmp_path, first, second), "SPL4SMGP")


def test_other_files_of_a_folder_are_left_out_but_not_those_named(tmp_path):
    analysis = "SMAP_L4_SM_aup_20170801T030000_Vv7032_001.h5"
    files = paths(tmp_path, name(), analysis, "smap_l4.nc")
    granules, notes = find_granules(files, "SPL4SMGP")
    assert len(granules) == 1 and notes[0].startswith("left out: 2 no SPL4SMGP granules, such as")
    assert [granule.path.name for granule in find_granules(files, "SPL4SMAU")[0]] == [analysis]
    with pytest.raises(UserError, match="smap_l4.nc: not the name of a SPL4SMGP granule"):
        find_granules([*files, str(tmp_path / "smap_l4.nc")], "SPL4SMGP")
    with pytest.raises(UserError, match="none of 1 files, such as smap_l4.nc"):
        find_granules(paths(tmp_path / "other", "smap_l4.nc"), "SPL4SMGP")


@pytest.mark.parametrize("stamp", ["20170231T013000", "20170801T020000"])
def test_stamp_that_is_none(tmp_path, stamp):
    bad = f"SMAP_L4_SM_gph_{stamp}_Vv7032_001.h5"
    with pytest.raises(UserError, match=f"{bad}: the stamp {stamp} in its name is no"):
        find_granules(paths(tmp_path, bad), "SPL4SMGP")


def test_whole_and_subset_mix_within_the_box_only(tmp_path):
    write_day(tmp_path, "2017-08-01", box=(290, 310, 2890, 2915))
    write_day(tmp_path, "2017-08-02")
    with pytest.raises(UserError, match=f"{name('2017-08-01')} holds 20 x 25 .*{name('2017-08-02')} 5 x 7 .*--box"):
        plan_of(tmp_path)
    lon = (np.array([2901, 2905]) - 1927.5) / 3856 * 360
    plan = plan_of(tmp_path, box=(39.0, lon[0], 38.65, lon[1]))
    assert plan.sources[0].task == plan.sources[1].task and plan.grid.lon.size == 5
    for index, (shape, top, left) in enumerate((((20, 25), 290, 2890), ((5, 7), 300, 2900))):
        day = f"2017-08-0{index + 1}"
        whole = np.mean([known("soil_moisture", shape, field, day) for field in range(8)], axis=0)
        y = metres(plan.grid)[1]
        row = np.round(811.5 - y / CELL).astype(int) - top
        expected = whole[row][:, 2901 - left:2906 - left]
        np.testing.assert_allclose(read_day(plan, index)[0]["soil_moisture"], expected, rtol=1e-6)


def test_degrees_and_native_cells_do_not_mix(tmp_path):
    native, degrees = name("2017-08-01"), name("2017-08-02")
    write(tmp_path / native)
    write(tmp_path / degrees, position="degrees", lat=np.linspace(39, 37, 5), lon=np.linspace(90, 92, 7))
    with pytest.raises(UserError, match=f"{native} holds .* 9 km cells.*{degrees} .* in degrees"):
        plan_of(tmp_path, box=(38.8, 90.5, 37.4, 91.5))


def test_other_cells_within_a_day(tmp_path):
    write_day(tmp_path, fields=range(7))
    write(tmp_path / name(field=7), box=(301, 306, 2900, 2907))
    plan = plan_of(tmp_path)
    with pytest.raises(UserError, match=f"{name(field=7)}: holds 5 x 7 .*such as .*{name(field=0)}"):
        read_day(plan)


# -------------------------------------------------------------------------------------------------- bad files
def truncated(path):
    write(path, compression=None)
    os.truncate(path, path.stat().st_size - 100)


def damaged_inside(path):
    noise = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    write(path, {variable: noise for variable in VARIABLES})
    with h5py.File(path) as file:
        chunk = file["Geophysical_Data/sm_surface"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 10:chunk.byte_offset + 30] = bytes(20)
    path.write_bytes(content)


def web_page(path):
    path.write_text("<!DOCTYPE html><html><title>Earthdata Login</title></html>")


def without_moisture(path):
    write(path, {variable: known(variable, (5, 7)) for variable in VARIABLES if variable != "soil_moisture"})


def in_per_cent(path):
    write(path, units=UNITS | {"soil_moisture": "%"})


def without_unit(path):
    write(path)
    with h5py.File(path, "a") as file:
        del file["Geophysical_Data/sm_surface"].attrs["units"]


def of_another_lattice(path):
    write(path)
    with h5py.File(path, "a") as file:
        file["x"][:] = file["x"][:] + 300


def without_position(path):
    write(path, position="none")


BAD = {truncated: "damaged or incomplete", damaged_inside: "damaged or incomplete", web_page: "a web page",
       without_moisture: "lacks sm_surface", in_per_cent: "sm_surface has the unit '%'; SPL4SMGP has it in m3 m-3",
       without_unit: "sm_surface has the unit ''", of_another_lattice: "m off the centres of the 9 km",
       without_position: "nothing tells where its 5 x 7 cells lie"}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_file_is_named_in_one_line(tmp_path, make):
    write_day(tmp_path)
    make(tmp_path / name(field=5))
    with pytest.raises(UserError) as error:
        read_day(plan_of(tmp_path))
    told = str(error.value)
    assert told.startswith(f"{tmp_path / name(field=5)}: ") and BAD[make] in told and "\n" not in told


def test_bad_file_is_named_also_where_it_is_the_first_of_its_day_or_the_only_one(tmp_path):
    write_day(tmp_path)
    web_page(tmp_path / name(field=0))
    with pytest.raises(UserError, match=f"{name(field=0)}: .*web page"):
        read_day(plan_of(tmp_path))
    with pytest.raises(UserError, match=f"{name(field=0)}: .*web page"):
        plan_of(tmp_path / name(field=0))


def test_script_tells_the_bad_file_keeps_the_rest_and_goes_on(tmp_path):
    write_day(tmp_path / "in")
    write_day(tmp_path / "in", "2017-08-02")
    truncated(tmp_path / "in" / name("2017-08-02", 2))
    command = [sys.executable, str(ROOT / "data_processing" / "prepare_smap_l4.py"), str(tmp_path / "in"), "--output",
               str(tmp_path / "cube.nc"), "--workers", "1"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 2 and f"error: {tmp_path / 'in' / name('2017-08-02', 2)}: " in failed.stderr
    assert "Traceback" not in failed.stderr and not (tmp_path / "cube.nc").exists()
    assert len(list((tmp_path / "pieces").glob("2017-08-01*.nc"))) == 1
    write_day(tmp_path / "in", "2017-08-02", [2])
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "1 of 2 pieces were read before" in done.stdout, done.stderr
    assert (tmp_path / "quicklook.png").stat().st_size > 10_000
    with netCDF4.Dataset(tmp_path / "cube.nc") as made:
        expected = np.mean([known("soil_moisture", (5, 7), field, "2017-08-02") for field in range(8)], axis=0)
        np.testing.assert_allclose(made["soil_moisture"][1], expected[::-1], rtol=1e-6)


def test_variable_that_no_file_holds(tmp_path):
    write_files(tmp_path, without_moisture)
    with pytest.raises(UserError, match=r"no file holds soil_moisture .*--variables precipitation soil_temperature\."):
        plan_of(tmp_path)
    assert list(plan_of(tmp_path, variables=("soil_temperature",)).rules) == ["soil_temperature"]


@pytest.mark.parametrize("settings, told", [
    ({"min_fields_per_day": 9}, "min_fields_per_day is 9"),
    ({"product": "SPL4SMAU", "variables": ("precipitation",)}, "SPL4SMAU has soil_moisture"),
    ({"box": (10, 73, 5, 90)}, "no cell centre lies in the box"),
])
def test_bad_settings(tmp_path, settings, told):
    write(tmp_path / name())
    (tmp_path / "SMAP_L4_SM_aup_20170801T030000_Vv7032_001.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=told):
        plan_of(tmp_path, **settings)
