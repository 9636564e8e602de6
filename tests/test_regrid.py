"""Grids and area averages: known numbers, kept integrals, two other implementations (pyproj, xarray-regrid)."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
import xarray_regrid  # noqa: F401  (registers Dataset.regrid)
from conftest import day_axis
from pyproj import Transformer

from data_processing import regrid
from data_processing.cube import write_cube
from data_processing.errors import UserError
from data_processing.regrid import (
    Grid,
    Regridder,
    axes_grid,
    box_window,
    cover_window,
    crop,
    degrees_north,
    ease_cells,
    ease_grid,
    metres_north,
    target_grid,
)

CHINA = (55, 73, 17, 136)  # north, west, south, east
TO_EPSG_6933 = Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)


def even_grid(south, west, rows, columns, step):
    """Cells whose first centre lies at south, west."""
    return axes_grid(south + step * np.arange(rows), west + step * np.arange(columns))


def areas(grid):
    """Cell areas [H, W] in m2, by pyproj."""
    y = TO_EPSG_6933.transform(np.zeros(grid.lat_edges.size), grid.lat_edges)[1]
    x = np.radians(grid.lon_edges) * 6378137 * np.cos(np.pi / 6) / np.sqrt(1 - 0.00669437999014 / 4)
    return np.diff(y)[:, None] * np.diff(x)


def common_areas(source, target):
    """Area in common of every target cell with every source cell [H, W, h, w], m2, longitudes as they stand."""
    y = [metres_north(grid.lat_edges) for grid in (target, source)]
    x = [grid.lon_edges * regrid.METRES_PER_DEGREE_EAST for grid in (target, source)]
    lengths = [np.clip(np.minimum(t[1:, None], s[None, 1:]) - np.maximum(t[:-1, None], s[None, :-1]), 0, None)
               for t, s in (y, x)]
    return np.einsum("Hh,Ww->HWhw", *lengths)


def holes(shape, share, seed=0):
    """Random field with a share of its cells missing."""
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < share, np.nan, random.random(shape))


# ------------------------------------------------------------------------------------------------- projection
def test_northing_equals_pyproj():
    lat = np.linspace(-90, 90, 721)
    expected = TO_EPSG_6933.transform(np.zeros(lat.size), lat)[1]
    np.testing.assert_allclose(metres_north(lat), expected, rtol=0, atol=1e-6)


def test_easting_equals_pyproj():
    assert regrid.METRES_PER_DEGREE_EAST * 180 == pytest.approx(TO_EPSG_6933.transform(180, 0)[0], abs=1e-6)


def test_latitude_of_northing_comes_back():
    y = np.linspace(-7342000, 7342000, 1001)
    np.testing.assert_allclose(metres_north(degrees_north(y)), y, rtol=0, atol=2e-3)


# ---------------------------------------------------------------------------------------------------- EASE-Grid
@pytest.mark.parametrize("kilometres, shape, cell, x, y", [
    (9, (1624, 3856), 9008.055210146, -17363026.418, 7310036.803),
    (36, (406, 964), 36032.220840584, -17349514.335, 7296524.720),
])
def test_ease_centres_lie_where_the_product_says(kilometres, shape, cell, x, y):
    grid = ease_grid(kilometres)
    assert (grid.lat.size, grid.lon.size) == shape
    east, north = TO_EPSG_6933.transform(np.full(shape[0], grid.lon[0]), grid.lat)
    np.testing.assert_allclose(north[::-1], y - cell * np.arange(shape[0]), rtol=0, atol=0.002)
    assert east[0] == pytest.approx(x, abs=0.002)
    assert grid.lat_edges[-1] == -grid.lat_edges[0] == pytest.approx(85.0445664, abs=1e-7)
    assert (grid.lon_edges[0], grid.lon_edges[-1]) == (-180, 180)


def test_steps_of_the_9_km_grid():
    grid = ease_grid(9)
    np.testing.assert_allclose(np.diff(grid.lon), 0.0933610, atol=1e-7)
    steps = np.interp([20, 30, 40, 50], grid.lat[1:], np.diff(grid.lat))
    np.testing.assert_allclose(steps, [0.075, 0.081, 0.092, 0.109], atol=6e-4)


def test_rows_and_columns_are_counted_from_the_north_west():
    whole, part = ease_grid(9), ease_grid(9, slice(145, 575), slice(2710, 3385))
    np.testing.assert_array_equal(part.lat, whole.lat[1624 - 575:1624 - 145])
    np.testing.assert_array_equal(part.lon, whole.lon[2710:3385])


def test_slice_beyond_the_grid_is_refused():
    with pytest.raises(ValueError, match="of the 406 rows"):
        ease_grid(36, slice(400, 407))


def test_every_fourth_edge_of_9_km_is_an_edge_of_36_km():
    fine, coarse = ease_grid(9), ease_grid(36)
    np.testing.assert_array_equal(fine.lat_edges[::4], coarse.lat_edges)
    np.testing.assert_array_equal(fine.lon_edges[::4], coarse.lon_edges)


def test_cells_of_stored_metres():
    x = np.array([-17363026.418, 0.5 * 9008.055210146]) + 0.8  # files are up to 0.8 m off
    columns, rows = ease_cells(9, x, np.array([7310036.803, -7310036.803]) - 0.8)
    assert columns.tolist() == [0, 1928] and rows.tolist() == [0, 1623]


def test_metres_off_the_lattice_are_refused():
    with pytest.raises(ValueError, match="x lies up to 11 m off"):
        ease_cells(9, np.array([-17363026.418 + 11]), np.array([7310036.803]))


def test_metres_of_the_other_grid_are_refused():
    with pytest.raises(ValueError, match="y lies up to 4504 m off"):
        ease_cells(36, np.array([0.5 * 36032.220840584]), np.array([1.5 * 9008.055210146]))


def test_metres_outside_the_grid_are_refused():
    with pytest.raises(ValueError, match="^x reaches beyond the 9 km EASE-Grid 2.0 .cell 3856 to 3856 of 3856"):
        ease_cells(9, np.array([1928.5 * 9008.055210146]), np.array([4504.027605073]))


# --------------------------------------------------------------------------------------------- edges from centres
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("kilometres", [9, 36])
@pytest.mark.parametrize("window", [(100, 103, 200, 207), (50, 51, 300, 301), (0, 406, 0, 964)])
def test_edges_of_ease_centres_are_exact(kilometres, window, kind):
    grid = crop(ease_grid(kilometres), window)
    found = axes_grid(grid.lat.astype(kind), grid.lon.astype(kind))
    np.testing.assert_array_equal(found.lat_edges, grid.lat_edges)
    np.testing.assert_array_equal(found.lon_edges, grid.lon_edges)


def test_every_second_ease_column_has_cells_twice_as_wide():
    grid = crop(ease_grid(9), (100, 110, 200, 220))
    found = axes_grid(grid.lat, grid.lon[::2])
    np.testing.assert_allclose(np.diff(found.lon_edges), 2 * 360 / 3856, rtol=1e-12)
    np.testing.assert_allclose(found.lat_edges, grid.lat_edges, rtol=0, atol=2e-8)


def test_edges_of_ease_centres_beyond_180():
    grid = crop(ease_grid(36), (100, 110, 0, 5))
    found = axes_grid(grid.lat, grid.lon + 360)
    np.testing.assert_allclose(found.lon_edges, grid.lon_edges + 360, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_edges_of_even_degrees_are_free_of_rounding(kind):
    grid = axes_grid(np.linspace(17, 55, 381).astype(kind), np.linspace(73, 136, 631).astype(kind))
    np.testing.assert_array_equal(grid.lat_edges, np.arange(339, 1102, 2) / 20)
    np.testing.assert_array_equal(grid.lon_edges, np.arange(1459, 2722, 2) / 20)


def test_no_cell_reaches_beyond_a_pole():
    grid = even_grid(-90, 0, 721, 1440, 0.25)
    assert grid.lat_edges[[0, 1, -2, -1]].tolist() == [-90, -89.875, 89.875, 90]


def test_rows_even_in_metres_have_edges_halfway_in_metres():
    edges = np.arange(-3, 4) * 500e3 + 2e6
    centres = degrees_north((edges[1:] + edges[:-1]) / 2)
    grid = axes_grid(np.round(centres, 6), [100, 107, 114])
    np.testing.assert_allclose(metres_north(grid.lat_edges), edges, rtol=0, atol=1)


def test_uneven_rows_have_edges_halfway_in_degrees():
    grid = axes_grid([10, 11, 14, 20], [0, 1])
    assert grid.lat_edges.tolist() == [9.5, 10.5, 12.5, 17, 23]


@pytest.mark.parametrize("metres_off, in_metres", [(8, True), (20, False)])
@pytest.mark.parametrize("rows", [3, 6])
def test_rows_a_few_metres_off_are_even_and_others_are_not(rows, metres_off, in_metres):
    y = np.arange(rows) * 500e3 + 2e6
    y[1] += metres_off
    lat = degrees_north(y)
    edges = axes_grid(lat, [100, 107, 114]).lat_edges
    expected = degrees_north((y[1:] + y[:-1]) / 2) if in_metres else (lat[1:] + lat[:-1]) / 2
    np.testing.assert_allclose(edges[1:-1], expected, atol=1e-6)


def test_columns_are_never_even_in_northing():
    lon = degrees_north(np.arange(-2, 4) * 1e6)
    np.testing.assert_allclose(axes_grid([0, 1], lon).lon_edges[1:-1], (lon[1:] + lon[:-1]) / 2)


def test_a_single_row_is_as_high_as_the_columns_are_wide():
    grid = axes_grid([10], [0, 0.5, 1])
    assert grid.lat_edges.tolist() == [9.75, 10.25]
    np.testing.assert_allclose(axes_grid([10.1], [0, 0.5, 1]).lat_edges, [9.85, 10.35])
    np.testing.assert_allclose(axes_grid([0, 0.5, 1], [10.1]).lon_edges, [9.85, 10.35])


def test_a_single_cell_of_unknown_size_is_refused():
    with pytest.raises(UserError, match="one cell at 10 N, 20 E: its size cannot be known"):
        axes_grid([10], [20])


def test_descending_centres_are_refused():
    for wrong in ([11, 10], [10, 10], [10, np.nan], [[10, 11]], []):
        for axes in ((wrong, [0, 1]), ([0, 1], wrong)):
            with pytest.raises(ValueError, match="ascending"):
                axes_grid(*axes)


# ---------------------------------------------------------------------------------------------------- windows
def test_china_box_on_the_9_km_grid():
    row0, row1, column0, column1 = box_window(ease_grid(9), CHINA)
    assert (1624 - row1, 1624 - row0 - 1) == (145, 574)
    assert (column0, column1 - 1) == (2710, 3384)


@pytest.mark.parametrize("grid_west, box_west", [(100, 100), (-260, 100), (100, -260), (460, 100)])
def test_box_in_another_convention_of_longitudes(grid_west, box_west):
    grid = even_grid(20, grid_west, 5, 10, 1.0)
    assert box_window(grid, (23, box_west + 2, 21, box_west + 4)) == (1, 4, 2, 5)


def test_box_across_180_on_a_grid_across_180():
    grid = even_grid(20, 175, 5, 10, 1.0)
    assert box_window(grid, (24, 178, 20, -178)) == (0, 5, 3, 8)


def test_single_precision_centres_on_the_rim_of_the_box_are_in():
    grid = axes_grid(np.float32([54.8, 54.9, 55.0]), np.float32([73.0, 73.1, 73.2]))
    assert box_window(grid, (54.9, 73.1, 54.8, 73.2)) == (0, 2, 1, 3)


def test_whole_globe_as_box():
    grid = even_grid(-90, 0, 181, 360, 1.0)
    assert box_window(grid, (90, -180, -90, 180)) == (0, 181, 0, 360)
    assert box_window(grid, (90, 0, -90, 360)) == (0, 181, 0, 360)


def test_box_around_the_seam_is_no_window():
    with pytest.raises(UserError, match="both ends but not the middle"):
        box_window(ease_grid(36), (60, 170, 50, -170))


def test_box_off_the_grid_names_both():
    with pytest.raises(UserError, match=r"north 55, west 73.*holds 19.5 to 24.5 N, -100.5 to -90.5 E"):
        box_window(even_grid(20, -100, 5, 10, 1.0), CHINA)


@pytest.mark.parametrize("box", [(17, 73, 55, 136), (55, 73, 17, 73), (90.5, 73, 17, 136), (55, 73, np.nan, 136),
                                 (55, 73, -90.5, 136), (55, -541, 17, 136), (55, 73, 17, 541)])
def test_box_in_a_wrong_order_is_refused(box):
    with pytest.raises(UserError, match="^box .north .*, west .*, south .*, east .*.; expected north, west, south, east"):
        box_window(ease_grid(36), box)


def test_cover_window_holds_every_overlapping_cell():
    source, target = even_grid(0.5, 0.5, 10, 20, 1.0), even_grid(3.25, 362.25, 4, 6, 0.5)
    assert cover_window(source, target) == (3, 5, 2, 5)


def test_cells_that_only_touch_are_not_covered():
    source, target = even_grid(0.5, 0.5, 10, 20, 1.0), even_grid(3.25, 2.25, 4, 6, 0.5)
    window = cover_window(source, target)
    assert window == (3, 5, 2, 5)
    np.testing.assert_array_equal(crop(source, window).lat_edges, [3, 4, 5])


def test_cell_across_the_seam_is_covered_from_both_ends_of_the_globe():
    assert cover_window(even_grid(0.5, -179.5, 10, 360, 1.0), even_grid(3.5, -180.0, 1, 2, 1.0)) == (3, 4, 0, 360)


def test_grids_that_do_not_overlap_are_refused():
    with pytest.raises(UserError, match="lie outside those of the source"):
        Regridder(even_grid(0.5, 0.5, 10, 20, 1.0), even_grid(30.5, 0.5, 10, 20, 1.0))


# --------------------------------------------------------------------------------------------------- target_grid
def same(grid, other):
    return all(np.array_equal(a, b) for a, b in zip(grid, other))


def test_native_is_the_source():
    source = ease_grid(9, slice(145, 575), slice(2710, 3385))
    assert same(target_grid("native", source=source), source)
    assert same(target_grid("native", source=ease_grid(9), box=CHINA), source)


def test_native_across_180_joins_both_ends():
    grid = target_grid("native", source=ease_grid(36), box=(60, 179, 50, -179))
    np.testing.assert_allclose(grid.lon_edges, 180 + np.arange(-3, 4) * 360 / 964, atol=1e-12)


def test_native_from_both_ends_without_the_middle_is_refused():
    with pytest.raises(UserError, match="both ends but not the middle of the grid, 19.5 to 24.5 N, 0 to 300 E"):
        target_grid("native", source=even_grid(20, 0.5, 5, 300, 1.0), box=(24, 290, 20, 10))


def test_farthest_longitudes_of_a_box():
    source = even_grid(-89.5, 0.5, 180, 360, 1.0)
    assert target_grid("native", source=source, box=(10, -540, 0, -530)).lon.tolist() == (180.5 + np.arange(10)).tolist()
    assert target_grid("native", source=source, box=(10, 530, 0, 540)).lon.tolist() == (170.5 + np.arange(10)).tolist()


@pytest.mark.parametrize("west, east, first", [(300, 340, 300), (-60, -20, 300), (10, 350, 10), (-350, -10, 10)])
def test_target_lies_in_the_turn_of_the_source(west, east, first):
    source = even_grid(-89.5, 0.5, 180, 360, 1.0)
    for grid in ("native", "1"):
        assert target_grid(grid, source=source, box=(10, west, 0, east)).lon_edges[0] == pytest.approx(first)


def test_wide_box_over_the_end_of_a_source():
    grid = target_grid("native", source=even_grid(20, 100.5, 5, 10, 1.0), box=(24, -235, 20, 105))
    np.testing.assert_allclose(grid.lon_edges, np.arange(100, 106))


def test_36_km_cells_over_the_box():
    grid = target_grid("36km", source=ease_grid(9), box=CHINA)
    assert same(grid, crop(ease_grid(36), box_window(ease_grid(36), CHINA)))


def test_degrees_have_edges_at_multiples():
    grid = target_grid("0.25", source=ease_grid(9), box=CHINA)
    np.testing.assert_array_equal(grid.lat_edges, np.arange(17, 55.01, 0.25))
    np.testing.assert_array_equal(grid.lon_edges, np.arange(73, 136.01, 0.25))


def test_centres_on_the_rim_of_the_box_are_in_though_their_quotient_is_not_exact():
    """0.35 / 0.1 is 3.4999999999999996, 0.15 / 0.1 is 1.4999999999999998."""
    grid = target_grid("0.1", source=even_grid(-5, -5, 11, 11, 1.0), box=(0.35, 0.15, 0.15, 0.35))
    np.testing.assert_allclose(grid.lat, [0.15, 0.25, 0.35])
    np.testing.assert_allclose(grid.lon, [0.15, 0.25, 0.35])


def test_degrees_around_the_globe_have_each_cell_once():
    grid = target_grid("0.25", source=even_grid(-90, 0, 721, 1440, 0.25))
    assert (grid.lat.size, grid.lon.size) == (720, 1440)
    assert (grid.lat_edges[0], grid.lat_edges[-1]) == (-90, 90)


def test_degrees_that_do_not_divide_90_are_clipped_at_the_poles():
    grid = target_grid("0.7", source=even_grid(-90, 0, 721, 1440, 0.25))
    assert grid.lat_edges[-1] == 90 and grid.lat_edges[-2] == pytest.approx(128 * 0.7)


def test_target_follows_the_longitudes_of_the_source():
    grid = target_grid("0.5", source=even_grid(20, 200, 5, 10, 1.0), box=(24, -160, 20, -152))
    assert (grid.lon_edges[0], grid.lon_edges[-1]) == (200, 208)


def test_smallest_and_largest_spacing():
    source = even_grid(20, 100, 5, 20, 1.0)
    assert target_grid("0.01", source=source, box=(21, 101, 20.9, 101.1)).lat.size == 10
    assert np.diff(target_grid("10", source=source, box=(30, 100, 20, 120)).lon_edges).tolist() == [10, 10]


@pytest.mark.parametrize("grid", ["36", "25km", "0", "-1", "nan", "1/0", "0.009", "10.1"])
def test_unknown_grid_is_refused(grid):
    with pytest.raises(UserError, match="expected native, 36km, 9km or a spacing in degrees"):
        target_grid(grid, source=ease_grid(36))


@pytest.mark.parametrize("grid", ["native", "36km", "0.25"])
def test_box_off_the_source_is_refused(grid):
    with pytest.raises(UserError, match="19.5 to 24.5 N, -100.5 to -90.5 E"):
        target_grid(grid, source=even_grid(20, -100, 5, 10, 1.0), box=CHINA)


def test_box_smaller_than_a_cell_is_refused():
    with pytest.raises(UserError, match="no cell of 0.5 degrees has its centre in the box"):
        target_grid("0.5", source=ease_grid(9), box=(20.1, 80.3, 20, 80.4))


def test_like_takes_the_cells_of_a_cube(tmp_path):
    grid = crop(ease_grid(36), (200, 210, 700, 707))
    path = tmp_path / "other.nc"
    write_cube(path, np.zeros((2, 3, 10, 7), np.float32), day_axis("2017-01-01", 2), grid.lat, grid.lon, {})
    assert same(target_grid("native", source=ease_grid(9), like=path), grid)


def partial_cube(path, lat, lon, days):
    """Soil moisture alone, never written, stored north first."""
    with netCDF4.Dataset(path, "w") as file:
        for name, values, units in (("time", np.arange(days), "days since 2017-01-01"), ("lat", lat, "degrees_north"),
                                    ("lon", lon, "degrees_east")):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].units = units
        file.createVariable("sm_surface", "f4", ("time", "lat", "lon"), chunksizes=(1, len(lat), len(lon)),
                            zlib=True).units = "m3 m-3"


def test_like_reads_only_the_axes_and_brings_them_to_ascending(tmp_path):
    path = tmp_path / "huge.nc"
    lat, lon = 60 - np.arange(1000) / 25, 350 + np.arange(1000) / 25
    partial_cube(path, lat, lon, 4000)  # 16 GB to read
    grid = target_grid("native", source=even_grid(-90, 0, 181, 360, 1.0), like=path)
    np.testing.assert_array_equal(grid.lat, lat[::-1])
    np.testing.assert_allclose(grid.lon, lon - 360, atol=1e-12)


def test_like_off_the_source_names_the_file(small_cube):
    with pytest.raises(UserError, match=r"small.nc: the cells asked for, 29.5 to 32.5 N, 99.5 to 103.5 E, lie outside"):
        target_grid("native", source=even_grid(20, -100, 5, 10, 1.0), like=small_cube())


@pytest.mark.parametrize("grid, box", [("36km", None), ("native", CHINA)])
def test_like_beside_grid_or_box_is_refused(small_cube, grid, box):
    with pytest.raises(UserError, match="leave out grid and box"):
        target_grid(grid, source=ease_grid(9), like=small_cube(), box=box)


def test_like_without_a_known_variable_is_refused(tmp_path):
    xr.Dataset({"wind": ("x", [1.0])}).to_netcdf(tmp_path / "wind.nc")
    with pytest.raises(UserError, match="wind.nc: holds none of"):
        target_grid("native", source=ease_grid(9), like=tmp_path / "wind.nc")


def test_like_a_single_cell_names_the_file(small_cube):
    with pytest.raises(UserError, match="small.nc: one cell"):
        target_grid("native", source=ease_grid(9), like=small_cube(rows=1, columns=1))


def test_real_cube_has_rows_of_four_36_km_cells(real_cube):
    grid = target_grid("native", source=ease_grid(9), like=real_cube)
    np.testing.assert_allclose(np.diff(metres_north(grid.lat_edges)), 4 * 36032.220840584, atol=1)


# ------------------------------------------------------------------------------------------------------ averages
TARGETS = ("36km", "0.25", "0.7", "1/3", "native", "9km")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", [ease_grid(9, slice(400, 440), slice(3000, 3050)), even_grid(30, 100, 40, 50, 0.1)])
def test_a_constant_field_stays_constant(source, target):
    regridder = Regridder(source, target_grid(target, source=source), min_valid_fraction=0)
    result = regridder(np.full((source.lat.size, source.lon.size), 0.3))
    np.testing.assert_allclose(result, 0.3, rtol=1e-14)


def test_one_cell_of_a_2_x_2_block():
    source = even_grid(-0.25, 10.25, 2, 2, 0.5)
    target = Grid(np.array([0.0]), np.array([10.5]), np.array([-0.5, 0.5]), np.array([10.0, 11.0]))
    assert Regridder(source, target)(np.array([[0.0, 0.0], [0.0, 8.0]]))[0, 0] == pytest.approx(2, rel=1e-14)


def test_one_cell_at_a_latitude_weighs_by_its_area():
    source, target = even_grid(59.5, 0.5, 2, 2, 1.0), even_grid(60, 1, 1, 3, 2.0)
    result = Regridder(source, target, min_valid_fraction=0)(np.array([[0.0, 0.0], [0.0, 1.0]]))
    area = areas(source)
    assert result[0, 0] == pytest.approx(area[1, 1] / area.sum(), rel=1e-9)
    assert np.isnan(result[0, 1:]).all()


def test_9_km_to_36_km_is_the_mean_of_4_x_4():
    source = ease_grid(9, slice(400, 440), slice(3000, 3060))
    values = np.random.default_rng(0).random((40, 60))
    target = target_grid("36km", source=source)
    expected = values.reshape(10, 4, 15, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(Regridder(source, target, min_valid_fraction=1)(values), expected, rtol=1e-9)


def test_tenth_degree_to_quarter_degree():
    """Longitudes alone: 2 whole columns and half of the third, then the other half and 2 whole ones."""
    source = even_grid(0.05, 0.05, 5, 5, 0.1)
    target = target_grid("0.25", source=source)
    values = np.tile([1.0, 2, 4, 8, 16], (5, 1))
    expected = [(1 + 2 + 4 / 2) / 2.5, (4 / 2 + 8 + 16) / 2.5]
    np.testing.assert_allclose(Regridder(source, target)(values), [expected, expected], rtol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_equal_grids_change_nothing(kind):
    grid = ease_grid(9, slice(145, 245), slice(2710, 2790))
    values = holes((3, 100, 80), 0.3).astype(kind)
    result = Regridder(grid, target_grid("native", source=grid))(values)
    assert result.dtype == kind
    np.testing.assert_allclose(result, values, rtol=0 if kind == np.float32 else 4e-16)


def test_leading_dimensions_are_kept():
    source = even_grid(0.05, 0.05, 10, 15, 0.1)
    values = holes((2, 3, 10, 15), 0.2).astype(np.float32)
    regridder = Regridder(source, target_grid("0.25", source=source))
    result = regridder(values)
    assert result.shape == (2, 3, 4, 6)
    np.testing.assert_array_equal(result[1, 2], regridder(values[1, 2]))


def test_float32_is_averaged_in_float64():
    source = ease_grid(9, slice(400, 440), slice(3000, 3040))
    values = (280 + holes((40, 40), 0)).astype(np.float32)
    result = Regridder(source, target_grid("36km", source=source))(values)
    expected = values.astype(np.float64).reshape(10, 4, 10, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(result, expected, rtol=2.0 ** -24)  # rounded once


def test_whole_numbers_are_refused():
    grid = even_grid(0.05, 0.05, 10, 15, 0.1)
    with pytest.raises(ValueError, match="values are int64"):
        Regridder(grid, grid)(np.zeros((10, 15), np.int64))


def test_values_of_another_shape_are_refused():
    grid = even_grid(0.05, 0.05, 10, 15, 0.1)
    with pytest.raises(ValueError, match="the source grid has .10, 15. cells"):
        Regridder(grid, grid)(np.zeros((15, 10)))


# ------------------------------------------------------------------------------------------------ missing values
@pytest.mark.parametrize("least, expected", [(0.0, 3.0), (0.25, 3.0), (0.26, np.nan)])
def test_coast_needs_its_share_of_values(least, expected):
    source = ease_grid(9, slice(400, 404), slice(3000, 3004))
    values = np.full((4, 4), np.nan)
    values[:2, :2] = 3.0
    result = Regridder(source, target_grid("36km", source=source), min_valid_fraction=least)(values)
    np.testing.assert_allclose(result, [[expected]], rtol=1e-14)


def test_share_counts_what_the_source_does_not_cover():
    source = even_grid(0.5, 0.5, 4, 5, 1.0)
    target = target_grid("2", source=source, box=(4, 0, 0, 6))
    result = Regridder(source, target, min_valid_fraction=0.6)(np.ones((4, 5)))
    np.testing.assert_array_equal(np.isnan(result), [[False, False, True]] * 2)


def test_no_value_at_all_is_missing_even_when_none_is_needed():
    grid = even_grid(0.5, 0.5, 4, 6, 1.0)
    regridder = Regridder(grid, target_grid("2", source=grid), min_valid_fraction=0)
    assert np.isnan(regridder(np.full((4, 6), np.nan))).all()


def test_full_cells_pass_when_all_is_needed():
    source = ease_grid(9, slice(145, 575), slice(2710, 3385))
    target = target_grid("0.25", source=source, box=(50, 80, 20, 130))
    assert not np.isnan(Regridder(source, target, min_valid_fraction=1)(np.ones((430, 675)))).any()


@pytest.mark.parametrize("least", [-0.1, 1.1, np.nan])
def test_min_valid_fraction_that_is_no_share_is_refused(least):
    grid = even_grid(0.5, 0.5, 4, 6, 1.0)
    with pytest.raises(UserError, match="expected a share from 0 to 1"):
        Regridder(grid, grid, min_valid_fraction=least)


# --------------------------------------------------------------------------------------------------- conservation
CONSERVED = [
    (ease_grid(9, slice(400, 436), slice(3000, 3045)), "0.25", None),
    (ease_grid(9, slice(400, 436), slice(3000, 3045)), "36km", None),
    (even_grid(30, 100, 30, 40, 0.1), "0.25", None),
    (even_grid(30, 100, 30, 40, 0.1), "0.7", (32.5, 100.4, 30.3, 103.3)),
    (even_grid(30, 100, 30, 40, 0.1), "36km", (34, 98, 29, 105)),
]


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("source, grid, box", CONSERVED)
def test_integral_is_kept(source, grid, box, missing):
    """Sum of out * valid area over target cells = sum of value * area inside the target over valid source cells."""
    target = target_grid(grid, source=source, box=box)
    values = holes((source.lat.size, source.lon.size), missing)
    result = Regridder(source, target, min_valid_fraction=0)(values)
    common = common_areas(source, target)
    valid_area = common[..., ~np.isnan(values)].sum(axis=-1)
    inside = common.sum(axis=(0, 1))
    assert np.nansum(result * valid_area) == pytest.approx(np.nansum(values * inside), rel=1e-12, abs=0)


def test_integral_over_the_globe_is_kept():
    """36 km cells into degrees beyond both of the grid's polar edges."""
    source = ease_grid(36)
    target = target_grid("0.5", source=source, box=(90, -180, -90, 180))
    values = holes((406, 964), 0)
    regridder = Regridder(source, target, min_valid_fraction=0)
    y, x = np.diff(metres_north(target.lat_edges)), np.diff(target.lon_edges) * regrid.METRES_PER_DEGREE_EAST
    covered = np.outer(regridder.row_weights.sum(axis=1) * y, regridder.column_weights.sum(axis=1) * x)
    expected = values.sum() * 36032.220840584 ** 2
    assert np.nansum(regridder(values) * covered) == pytest.approx(expected, rel=1e-12, abs=0)


def test_lost_weight_is_noticed(monkeypatch):
    grid = even_grid(0.5, 0.5, 4, 6, 1.0)
    whole = np.unique
    monkeypatch.setattr(np, "unique", lambda cuts: whole(cuts)[:-1])  # one piece of the last cell is forgotten
    with pytest.raises(AssertionError, match="weights lose 1.0e.00 of a source cell"):
        Regridder(grid, grid)


# ---------------------------------------------------------------------------------------------------- longitudes
@pytest.mark.parametrize("turns", [-360, 360])
def test_source_and_target_of_different_conventions(turns):
    source = even_grid(30, 100, 20, 20, 0.1)
    target = target_grid("0.25", source=source)
    turned = target._replace(lon=target.lon + turns, lon_edges=target.lon_edges + turns)
    values = holes((20, 20), 0.3)
    np.testing.assert_allclose(Regridder(source, turned)(values), Regridder(source, target)(values), rtol=1e-10)


def test_global_0_to_360_onto_180_to_180():
    """A column's value is its longitude's sine, which knows no convention; the cell around 0 takes from both ends."""
    source = even_grid(-89.5, 0.5, 180, 360, 1.0)
    target = target_grid("2", source=source, box=(90, -180, -90, 180))
    sine = np.sin(np.radians(source.lon))
    result = Regridder(source, target, min_valid_fraction=1)(np.tile(sine, (180, 1)))
    expected = (np.sin(np.radians(target.lon - 0.5)) + np.sin(np.radians(target.lon + 0.5))) / 2
    np.testing.assert_allclose(result, np.tile(expected, (90, 1)), atol=1e-12)


def test_column_cut_by_the_end_of_the_target_counts_at_both_ends():
    source = even_grid(-89.5, 0, 180, 360, 1.0)  # the first column reaches from -0.5 to 0.5
    target = even_grid(-89.5, 0.5, 180, 360, 1.0)
    values = np.zeros((180, 360))
    values[:, 0] = 1
    result = Regridder(source, target, min_valid_fraction=1)(values)
    np.testing.assert_allclose(result[90, [0, 1, 358, 359]], [0.5, 0, 0, 0.5], atol=1e-12)


def test_target_across_180():
    source = even_grid(-89.5, -179.5, 180, 360, 1.0)
    target = target_grid("2", source=source, box=(10, 176, 0, -176))
    result = Regridder(source, target)(np.tile(source.lon, (180, 1)))
    np.testing.assert_allclose(result[0], [177, 179, -179, -177], rtol=1e-12)


def test_a_window_that_covers_the_target_is_enough():
    source = ease_grid(9)
    target = target_grid("0.25", source=source, box=(40, 100, 35, 105))
    window = cover_window(source, target)
    values = holes((window[1] - window[0], window[3] - window[2]), 0.3)
    whole = np.full((1624, 3856), np.nan)
    whole[window[0]:window[1], window[2]:window[3]] = values
    np.testing.assert_array_equal(Regridder(crop(source, window), target)(values), Regridder(source, target)(whole))


# ------------------------------------------------------------------------------------------ another implementation
def test_agrees_with_xarray_regrid():
    source = ease_grid(9, slice(145, 575), slice(2710, 3385))
    target = target_grid("0.25", source=source, box=(50, 80, 20, 130))
    values = 0.25 + 0.1 * np.sin(np.radians(4 * source.lat))[:, None] * np.cos(np.radians(6 * source.lon))
    theirs = xr.DataArray(values, {"latitude": source.lat, "longitude": source.lon}, name="value").regrid.conservative(
        xr.Dataset(coords={"latitude": target.lat, "longitude": target.lon}), latitude_coord="latitude").values
    ours = Regridder(source, target)(values)
    assert np.sqrt(np.mean((ours / theirs - 1) ** 2)) < 2e-6
