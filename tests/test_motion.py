"""The motion of rain: known drifts are found, in km, from this and earlier days only."""
import numpy as np
import pytest

from data_processing import arrays, motion
from data_processing.motion import USUAL, block_means, motion_block, spacing_km
from data_processing.motion import rain_motion as rain_motion_of_land

KM = motion.KM_PER_DEGREE


def rain_motion(rain, lat, lon):
    """Motion [T, 2, H, W] of each cell, all of them land."""
    maps = rain_motion_of_land(rain, np.ones(rain.shape[1:], bool), lat, lon)
    rows, columns = motion_block(lat, lon)
    return maps.repeat(rows, axis=2)[:, :, :rain.shape[1]].repeat(columns, axis=3)[..., :rain.shape[2]]


def grid(rows, columns, km):
    """Latitudes and longitudes about the equator, where a degree is as long both ways."""
    step = km / KM
    return step * (np.arange(rows) - (rows - 1) / 2), step * np.arange(columns)


def drifting_rain(days, rows, columns, down, right):
    """Rain, mm d-1, of one random pattern that moves by whole rows and columns a day."""
    pattern = np.random.default_rng(0).gamma(0.3, 10.0, (rows, columns)).astype(np.float32)
    return np.stack([np.roll(pattern, (day * down, day * right), (0, 1)) for day in range(days)])


@pytest.mark.parametrize("down, right", [(0, 0), (0, 3), (2, 1), (-2, 4), (1, -2)])
def test_known_drift_is_found(down, right):
    lat, lon = grid(20, 24, 140.0)
    found = rain_motion(drifting_rain(6, 20, 24, down, right), lat, lon)
    assert found.shape == (6, 2, 20, 24) and found.dtype == np.float32
    np.testing.assert_allclose(found[-1, :, 10, 12], (140 * right, 140 * down), atol=30)


def test_a_finer_grid_gives_the_same_km():
    coarse = drifting_rain(6, 20, 24, 1, 2)
    fine = coarse.repeat(3, axis=1).repeat(3, axis=2)
    found = rain_motion(fine, *grid(60, 72, 140.0 / 3))
    np.testing.assert_allclose(found[:, :, 1::3, 1::3], rain_motion(coarse, *grid(20, 24, 140.0)), atol=3)


@pytest.mark.parametrize("rain", [np.zeros((3, 5, 6)), np.full((3, 5, 6), 4.0), np.full((3, 5, 6), np.nan)])
def test_maps_that_say_nothing_leave_the_usual_motion(rain):
    lat, lon = grid(5, 6, 140.0)
    found = rain_motion(rain.astype(np.float32), lat, lon)
    np.testing.assert_allclose(found[:, 0], USUAL[0], atol=15)
    np.testing.assert_allclose(found[:, 1], USUAL[1], atol=15)


@pytest.mark.parametrize("rows, columns", [(1, 6), (6, 1), (1, 1)])
def test_one_row_or_column_has_the_usual_motion(rows, columns):
    found = rain_motion(np.ones((3, rows, columns), np.float32), np.arange(rows), np.arange(columns))
    assert found.shape == (3, 2, rows, columns)
    np.testing.assert_array_equal(found[1, :, 0, 0], np.float32(USUAL))


def test_later_days_and_the_blocks_of_days_change_nothing(monkeypatch):
    rain = drifting_rain(9, 12, 14, 1, 2)
    rain[4] = np.nan
    lat, lon = grid(12, 14, 140.0)
    whole = rain_motion(rain, lat, lon)
    np.testing.assert_array_equal(rain_motion(rain[:6], lat, lon), whole[:6])
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * 4 * 12 * 14)
    np.testing.assert_allclose(rain_motion(rain, lat, lon), whole, atol=0.1)


def test_block_means_leave_missing_cells_out():
    maps = np.array([[[1, 3, np.nan], [np.nan, 5, np.nan], [2, np.nan, 7]]], np.float32)
    np.testing.assert_array_equal(block_means(maps, 2, 2), [[[3, np.nan], [2, 7]]])


def test_spacing_shrinks_with_latitude():
    row, column = spacing_km(np.array([59.5, 60.5]), np.array([0.0, 1.0]))
    assert row == pytest.approx(KM) and column == pytest.approx(KM / 2)
    assert spacing_km(np.array([1.0]), np.array([0.0])) == (np.inf, np.inf)
