"""The first look at a cube: table and figure."""
import matplotlib.image
import netCDF4
import numpy as np
import pytest
from conftest import day_axis, known_values
from matplotlib.collections import QuadMesh

from data_processing.cube import UNITS, VARIABLES, cube_variables, new_cube, open_cube, summarize
from data_processing.errors import UserError
from utils.draw_run import quicklook_figure
from utils.quicklook import show_cube


def gappy_values():
    """40 days of known values on 3 x 4 cells: the first row is sea, day 7 is missing, rain alone lacks a cell's day."""
    values = known_values(40, 3, 4)
    values[:, :, 0] = np.nan
    values[7] = np.nan
    values[3, 0, 1, 2] = np.nan
    return values


def test_summary_has_the_numbers_of_the_values(small_cube):
    values = gappy_values()
    land, summaries = summarize(open_cube(small_cube(values=values)))
    np.testing.assert_array_equal(land, np.repeat([[False], [True], [True]], 4, axis=1))
    for channel, name in enumerate(VARIABLES):
        of, known = summaries[name], values[:, channel, 1:].astype(np.float64)
        count = np.isnan(known).sum()
        assert of.missing == pytest.approx(count / known.size)
        assert (of.lowest, of.highest) == (np.nanmin(known), np.nanmax(known))
        assert of.mean == pytest.approx(np.nanmean(known), rel=1e-7)
        np.testing.assert_allclose(of.mean_map[1:], np.nanmean(known, axis=0), rtol=1e-6)
        assert np.isnan(of.mean_map[0]).all()
        daily_means = np.nanmean(np.delete(known, 7, axis=0), axis=(1, 2))
        np.testing.assert_allclose(np.delete(of.series, 7), daily_means, rtol=1e-6)
        assert np.isnan(of.series[7])
        np.testing.assert_allclose(of.missing_on, np.isnan(known).mean(axis=(1, 2)))
        assert (of.first, of.last) == (np.datetime64("2015-04-01"), np.datetime64("2015-05-10"))


def test_sums_do_not_depend_on_the_blocks(small_cube, monkeypatch):
    cube = open_cube(small_cube(values=gappy_values()))
    whole = summarize(cube)[1]["precipitation"]
    monkeypatch.setattr("data_processing.cube.BLOCK_VALUES", 30)
    parts = summarize(cube)[1]["precipitation"]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(whole[3:6:2], parts[3:6:2]))
    assert parts.mean == pytest.approx(whole.mean, rel=1e-12)


def test_the_figure_shows_the_means_the_series_and_the_gaps(small_cube):
    cube = open_cube(small_cube(values=gappy_values()))
    summaries = summarize(cube)[1]
    figure = quicklook_figure(summaries=summaries, units=UNITS, time=cube["time"].values, lat=cube["lat"].values,
                              lon=cube["lon"].values, title="small")
    titles = [(axes.get_title() or axes.get_title(loc="left"))[4:] for axes in figure.axes]  # behind the panel's letter
    for name, unit in zip(VARIABLES, ("mm d⁻¹", "m³ m⁻³", "K")):
        panel = figure.axes[titles.index(f"mean {name.replace('_', ' ')}")]
        drawn = next(drawn for drawn in panel.collections if isinstance(drawn, QuadMesh)).get_array()
        np.testing.assert_allclose(drawn.filled(np.nan).ravel(), summaries[name].mean_map.ravel())
        line = figure.axes[titles.index(f"mean over land ({unit})")].lines[0]
        np.testing.assert_array_equal(line.get_ydata(), summaries[name].series)
    assert "missing (%), 2.8 in all" in titles and titles.count("missing (%), 2.5 in all") == 2


def test_a_partial_cube_is_shown_and_what_lacks_is_said(tmp_path, capsys):
    path = tmp_path / "rain.nc"
    with new_cube(path, day_axis("2015-04-01", 40), 30.0 + np.arange(3), 100.0 + np.arange(4), {"title": "Rain alone"},
                  ["precipitation"]) as file:
        file["precipitation"][:] = gappy_values()[:, 0]
    assert cube_variables(path) == ("precipitation",)
    show_cube(path)
    text = capsys.readouterr().out
    assert "days      40, 2015-04-01 to 2015-05-10, 1 of them without any value" in text
    assert "note: the cube lacks soil_moisture, soil_temperature; the experiments need all of" in text
    assert matplotlib.image.imread(tmp_path / "quicklook.png").shape[1] == 1062  # 90 mm at 300 dots per inch
    with pytest.raises(UserError, match="lacks soil_moisture, soil_temperature"):
        open_cube(path)


def test_a_file_without_any_variable_of_the_cube_is_named(tmp_path):
    with netCDF4.Dataset(tmp_path / "wind.nc", "w") as file:
        file.createVariable("u10", "f4", ())
    with pytest.raises(UserError, match="wind.nc: holds none of precipitation, .*, soil_temperature. Found: u10"):
        cube_variables(tmp_path / "wind.nc")


def test_drawing_that_was_killed_leaves_nothing_behind_the_next(small_cube, tmp_path):
    path = small_cube()
    (tmp_path / ".quicklook.32170.png").touch()
    show_cube(path)
    assert not list(tmp_path.glob(".quicklook*")) and (tmp_path / "quicklook.png").exists()
