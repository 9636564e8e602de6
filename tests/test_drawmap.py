"""The figures: every value in its place, honest ranges, no network; as files for a paper; maps from the command line."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
from types import SimpleNamespace

import netCDF4
import numpy as np
import pytest
from cartopy.feature import ShapelyFeature
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.image import imread

from data_processing import twin
from data_processing.coming_weather import OBSERVED, kind_of
from data_processing.cube import new_cube
from data_processing.errors import UserError
from tests.conftest import ROOT, day_axis, known_values
from utils import draw_run, figures
from utils.captions import Data, caption_of, data_of_run, in_words, percent_text
from utils.draw_lead import draw_errors_against_lead
from utils.draw_learning import error_limits, in_two_rows, on_log_axis
from utils.evaluation import write_forecast

EASE_LAT = np.degrees(np.arcsin(np.linspace(0.75, 0.4, 9)))  # rows of equal area, north first
GRIDS = {
    "regular": (np.linspace(20.0, 50.0, 16), np.linspace(75.0, 130.0, 23)),
    "irregular, descending": (EASE_LAT, np.linspace(-120.0, -70.0, 14)),
    "antimeridian, 170..190": (np.linspace(-48.0, -30.0, 10), np.linspace(165.0, 185.0, 11)),
    "antimeridian, -180..180": (np.linspace(72.0, 60.0, 7),
                                np.r_[np.arange(-180.0, -165.0, 2), [174.0, 176.0, 178.0]]),
    "one cell": (np.array([31.0]), np.array([110.0])),
    "one row": (np.array([31.0]), np.linspace(100.0, 130.0, 16)),
    "globe": (np.linspace(-85.0, 85.0, 18), np.arange(0.0, 360.0, 10.0)),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a figure must not use the network")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def fields(lat, lon, seed=0):
    """Observed and forecast [H, W] with a gap in the first cell of a larger map."""
    random = np.random.default_rng(seed)
    observed = random.uniform(0.05, 0.45, (len(lat), len(lon)))
    forecast = observed + 0.03 * random.standard_normal(observed.shape)
    if observed.size > 1:
        observed[0, 0] = forecast[0, 0] = np.nan
    return observed, forecast


def meshes(axes):
    """Drawn cells, coast lines left out."""
    return [artist for artist in axes.collections if isinstance(artist, QuadMesh)]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_value_is_drawn_in_its_place(grid, tmp_path):
    lat, lon = GRIDS[grid]
    observed, forecast = fields(lat, lon)
    figure = draw_run.map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title=grid)
    central_longitude = figures.map_frame(lat, lon).central_longitude
    panels = figure.axes[:3]
    for axes, values in zip(panels, (observed, forecast, forecast - observed)):
        mesh = meshes(axes)[0]
        corners = np.asarray(mesh.get_coordinates())
        assert np.all(np.abs(corners[..., 0]) <= 180) and np.all(np.abs(corners[..., 1]) <= 90)
        assert np.all(np.diff(corners[..., 0], axis=1) > 0)
        drawn = np.ma.filled(mesh.get_array().astype(float), np.nan).reshape(values.shape)
        middle = (corners[0, :-1, 0] + corners[0, 1:, 0]) / 2 + central_longitude
        for column, longitude in enumerate(lon):
            place = np.abs((middle - longitude + 180) % 360 - 180).argmin()
            step = np.diff(corners[0, :, 0])[place]
            assert abs((middle[place] - longitude + 180) % 360 - 180) < 0.01 * step
            np.testing.assert_array_equal(drawn[:, place], values[:, column])
        for row, latitude in enumerate(lat):
            south, north = sorted(corners[row:row + 2, 0, 1])
            assert south < latitude < north
        assert axes.get_xlim()[0] - 1e-9 <= corners[..., 0].min()
        assert axes.get_xlim()[1] + 1e-9 >= corners[..., 0].max()
    draw_run.draw_map(tmp_path / "map.png", observed=observed, forecast=forecast, lat=lat, lon=lon, title=grid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.pdf", "map.png", "map.txt"]
    height, width = imread(tmp_path / "map.png").shape[:2]
    assert abs(width - 190 / 25.4 * 300) <= 1 and height < 150 / 25.4 * 300


def test_one_range_for_observed_and_forecast_and_a_symmetric_one_for_the_difference():
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    figure = draw_run.map_figure(observed=observed, forecast=forecast + 0.05, lat=lat, lon=lon, title="")
    first, second, third = (meshes(axes)[0] for axes in figure.axes[:3])
    assert first.norm is second.norm and first.cmap.name == second.cmap.name != third.cmap.name
    assert first.norm.vmin < first.norm.vmax
    assert third.norm.vmin == -third.norm.vmax < 0
    labels = [axes.get_xlabel() for axes in figure.axes[3:]]
    assert labels == ["soil moisture (m³ m⁻³)", "difference (m³ m⁻³)"]


def test_irregular_rows_keep_their_heights():
    lat, lon = GRIDS["irregular, descending"]
    observed, forecast = fields(lat, lon)
    figure = draw_run.map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title="")
    edges = np.asarray(meshes(figure.axes[0])[0].get_coordinates())[:, 0, 1]
    np.testing.assert_allclose(edges[1:-1], (lat[:-1] + lat[1:]) / 2)
    assert np.ptp(np.diff(edges)) > 0.5
    assert figure.axes[0].get_ylim()[0] < figure.axes[0].get_ylim()[1]


def test_a_box_across_the_antimeridian_is_drawn_in_one_piece():
    lat, lon = GRIDS["antimeridian, -180..180"]
    observed, forecast = fields(lat, lon)
    figure = draw_run.map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title="")
    axes = figure.axes[0]
    figure.canvas.draw()
    assert np.ptp(axes.get_xlim()) == pytest.approx(22)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["180°", "170°W"]


def test_gaps_are_grey_and_the_sea_is_blank():
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    observed[3, 4] = np.nan
    figure = draw_run.map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title="")
    values, gaps = (mesh.get_array().reshape(observed.shape) for mesh in meshes(figure.axes[0]))
    assert np.argwhere(~np.ma.getmaskarray(gaps)).tolist() == [[3, 4]]
    assert np.argwhere(np.ma.getmaskarray(values)).tolist() == [[0, 0], [3, 4]]
    assert "grey" in figure.axes[0].get_title() and len(meshes(figure.axes[1])) == 1


@pytest.mark.parametrize("empty", ["observed", "forecast"])
def test_a_day_without_values_is_refused(empty, tmp_path):
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    values = {"observed": observed, "forecast": forecast}
    values[empty] = np.full_like(observed, np.nan)
    with pytest.raises(ValueError, match="none is both. Choose another day"):
        draw_run.draw_map(tmp_path / "map.png", **values, lat=lat, lon=lon, title="2020-01-01")
    assert not list(tmp_path.iterdir())


def test_wrong_shapes_are_refused():
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    with pytest.raises(ValueError, match=r"shape \(16, 23\), but there are 23 latitudes"):
        draw_run.map_figure(observed=observed, forecast=forecast, lat=lon, lon=lat, title="")
    with pytest.raises(ValueError, match="Shapes differ: observed"):
        draw_run.map_figure(observed=observed, forecast=forecast[:1], lat=lat, lon=lon, title="")
    with pytest.raises(ValueError, match="Shapes differ: observed"):
        draw_run.scatter_figure(observed=observed, forecast=forecast[:1], title="")


def test_constant_fields_are_drawn():
    lat, lon = GRIDS["regular"]
    constant = np.full((16, 23), 0.2)
    figure = draw_run.map_figure(observed=constant, forecast=constant, lat=lat, lon=lon, title="")
    norms = [meshes(axes)[0].norm for axes in figure.axes[:3]]
    assert all(norm.vmin < norm.vmax for norm in norms)
    draw_run.scatter_figure(observed=constant, forecast=constant, title="").canvas.draw()


def test_coast_lines_fit_the_size_of_the_box(monkeypatch):
    chosen = []
    known = figures.coast_lines
    monkeypatch.setattr(figures, "coast_lines",
                        lambda resolution: chosen.append(resolution) or known(resolution))
    for grid in ("globe", "one row"):
        lat, lon = GRIDS[grid]
        draw_run.skill_figure(skill=np.zeros((len(lat), len(lon))), lat=lat, lon=lon, title="")
    assert chosen == ["110m", "50m"]


@pytest.mark.parametrize("grid", ["regular", "antimeridian, 170..190", "antimeridian, -180..180", "globe"])
def test_coast_lines_are_drawn(grid, monkeypatch, tmp_path):
    lat, lon = GRIDS[grid]
    arguments = {"skill": np.zeros((len(lat), len(lon))), "lat": lat, "lon": lon, "title": grid}
    draw_run.draw_skill_map(tmp_path / "with.png", **arguments)
    monkeypatch.setattr(figures, "coast_lines", lambda _: ShapelyFeature([], figures.ccrs.PlateCarree()))
    draw_run.draw_skill_map(tmp_path / "without.png", **arguments)
    drawn = (imread(tmp_path / "with.png") != imread(tmp_path / "without.png")).any(axis=-1)
    across = drawn.any(axis=0)
    assert across[:len(across) // 2].any() and across[len(across) // 2:].any()


def test_missing_coast_lines_are_an_error_not_a_download(monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "COAST_LINES", tmp_path)
    with pytest.raises(FileNotFoundError, match="ne_10m_coastline.shp"):
        figures.coast_lines("10m")


def test_scatter_states_the_scores(tmp_path):
    random = np.random.default_rng(0)
    observed = random.uniform(0.05, 0.45, (50, 6, 7))
    forecast = 0.1 + 0.5 * observed + 0.01 * random.standard_normal(observed.shape)
    observed[:, 0, 0] = np.nan
    figure = draw_run.scatter_figure(observed=observed, forecast=forecast, title="synthetic twin")
    axes = figure.axes[0]
    kept = np.isfinite(observed)
    error = forecast[kept] - observed[kept]
    r2 = 1 - (error ** 2).sum() / ((observed[kept] - observed[kept].mean()) ** 2).sum()
    assert axes.get_title() == f"n = 2,050, RMSE = {np.sqrt((error ** 2).mean()):.4f} m³ m⁻³, R² = {r2:.3f}"
    assert not axes.texts and axes.get_legend() is None  # they would hide values
    assert axes.collections[0].get_array().sum() == 2050
    slope, offset = np.polyfit(observed[kept], forecast[kept], 1)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), slope * np.asarray(axes.get_xlim()) + offset)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())
    assert axes.get_xlim() == axes.get_ylim() and "synthetic twin" in figure.texts[0].get_text()
    with pytest.raises(ValueError, match="both observed and forecast"):
        draw_run.scatter_figure(observed=observed, forecast=np.full_like(forecast, np.nan), title="")


@pytest.mark.parametrize("spread, limit", [(0.02, 0.1), (0.3, 0.6), (30.0, 1.0)])
def test_skill_map_is_centred_at_0_and_clipped(spread, limit):
    lat, lon = GRIDS["irregular, descending"]
    skill = spread * np.linspace(-2, 1.9, len(lat) * len(lon)).reshape(len(lat), len(lon))
    skill[2, 3] = np.nan
    figure = draw_run.skill_figure(skill=skill, lat=lat, lon=lon, title="")
    norm = meshes(figure.axes[0])[0].norm
    assert norm.vmax == pytest.approx(limit) and norm.vmin == -norm.vmax
    assert f"median {np.nanmedian(skill):+.3f}".replace("-", "−") in figure.axes[0].get_title()
    with pytest.raises(ValueError, match="no cell has a skill"):
        draw_run.skill_figure(skill=np.full_like(skill, np.nan), lat=lat, lon=lon, title="")


def test_series_shows_cells_from_dry_to_wet_with_their_gaps():
    lat, lon = np.linspace(40.0, 20.0, 5), np.linspace(170.0, 190.0, 10)
    time = np.datetime64("2020-02-01") + np.arange(90)
    wetness = np.linspace(0.05, 0.45, 50).reshape(5, 10)
    observed = wetness + 0.01 * np.sin(np.arange(90) / 5)[:, None, None]
    observed[::3] = np.nan
    observed[:, 0, 0] = np.nan
    forecast = np.broadcast_to(wetness, observed.shape)
    reference = forecast + 0.01
    shuffled = np.random.default_rng(0).permutation(90)
    figure = draw_run.series_figure(observed=observed[shuffled], forecast=forecast[shuffled],
                                   reference=reference[shuffled], time=time[shuffled], lat=lat, lon=lon,
                                   title="")
    assert len(figure.axes) == 4
    cells = draw_run.series_cells(observed, forecast, "")
    np.testing.assert_allclose([wetness[cell] for cell in cells],
                               np.nanquantile(wetness.ravel()[1:], [.1, .4, .6, .9]),
                               atol=0.01)
    for axes, (row, column) in zip(figure.axes, cells):
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_array_equal(lines["observed"], observed[:, row, column])
        np.testing.assert_array_equal(lines["forecast"], forecast[:, row, column])
        np.testing.assert_array_equal(lines["damped persistence"], reference[:, row, column])
        assert f"{lat[row]:.1f}°N" in axes.get_title(loc="left")


def test_series_of_one_cell_and_of_one_day(tmp_path):
    value = np.full((1, 1, 1), 0.2)
    draw_run.draw_series(tmp_path / "series.png", observed=value, forecast=value, reference=value,
                        time=np.array(["2020-02-29"], "M8[D]"), lat=[31.0], lon=[110.0], title="one value")
    with pytest.raises(ValueError, match="no cell has both"):
        draw_run.series_figure(observed=value * np.nan, forecast=value, reference=value,
                              time=np.array(["2020-02-29"], "M8[D]"), lat=[31.0], lon=[110.0], title="")


def test_equal_figures_are_equal_files_and_text_stays_inside(tmp_path):
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    title = "finetune-SMAPtest, convlstm, synthetic twin, lead time 3 days, " * 3
    days = np.stack([observed] * 5)
    time = np.datetime64("2020-02-27") + np.arange(5)
    for name in ("one", "two"):
        draw_run.draw_skill_map(tmp_path / f"skill_{name}.png", skill=forecast - observed, lat=lat, lon=lon,
                               title=title)
        draw_run.draw_scatter(tmp_path / f"scatter_{name}.png", observed=observed, forecast=forecast,
                             title=title)
        draw_run.draw_series(tmp_path / f"series_{name}.png", observed=days, forecast=days, reference=days,
                            time=time, lat=lat, lon=lon, title=title)
    for kind in ("skill", "scatter", "series"):
        assert (tmp_path / f"{kind}_one.png").read_bytes() == (tmp_path / f"{kind}_two.png").read_bytes()
    figure = draw_run.map_figure(observed=observed, forecast=forecast, lat=lat, lon=lon, title=title)
    figure.canvas.draw()
    heading = figure.texts[0].get_window_extent()
    assert heading.x0 >= 0 and heading.x1 <= figure.bbox.width
    assert all(not heading.overlaps(axes.title.get_window_extent()) for axes in figure.axes[:3])
    assert min(text.get_fontsize() for axes in figure.axes for text in axes.get_xticklabels()) >= 7


def test_units_are_written_as_exponents():
    assert figures.unit_text("m3 m-3") == "m³ m⁻³" and figures.unit_text("mm d-1") == "mm d⁻¹"


# ------------------------------------------------------------------------------------------------- files for a paper
def pdf_of_another_process(path):
    """Draw a map in a process with its own order of sets, and return its PDF."""
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from utils.draw_run import draw_map
values = np.linspace(.1, .4, 30).reshape(5, 6)
draw_map({str(path)!r}, observed=values, forecast=values[::-1], lat=np.arange(30., 35), lon=np.arange(100., 106), title="a day")"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "1"}, timeout=120)
    return path.with_suffix(".pdf").read_bytes()


def test_the_pdf_has_the_size_of_a_page_truetype_fonts_and_no_date(tmp_path):
    values = np.linspace(0.1, 0.4, 30).reshape(5, 6)
    draw_run.draw_map(tmp_path / "one.png", observed=values, forecast=values[::-1], lat=np.arange(30.0, 35), lon=np.arange(100.0, 106),
                      title="a day")
    first = (tmp_path / "one.pdf").read_bytes()
    assert first == pdf_of_another_process(tmp_path / "two.png")
    width, height = map(float, re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", first).groups())
    assert width == pytest.approx(190 / 25.4 * 72, abs=0.1) and height < width
    assert b"/CIDFontType2" in first and b"/Type3" not in first  # TrueType
    assert b"CreationDate" not in first and len(first) < 100_000
    assert "n = 30 cells that are observed and forecast." in (tmp_path / "one.txt").read_text()


def test_a_caption_says_what_of_which_days_and_whether_it_is_real():
    twin = Data("Synthetic twin of smap_l4 (not real data)", np.datetime64("2020-01-02"), np.datetime64("2020-12-31"))
    assert caption_of("Skill.", "lstm, 3 days ahead, smap", twin, 12345).splitlines() == [
        "Skill.", "Title: LSTM, 3 days ahead, smap.", "Data: Synthetic twin of SMAP L4 (not real data).",
        "Days: 2020-01-02 to 2020-12-31.", "n = 12,345 values."]
    one_day = Data("SMAP L4 on 36 km", twin.first, twin.first)
    assert caption_of("Map.", "smap", one_day, 7, "cells").splitlines()[2:] == [
        "Data: SMAP L4 on 36 km.", "Day: 2020-01-02.", "n = 7 cells."]


@pytest.mark.parametrize(("names", "words"), [
    ("convlstm, 3 days ahead, synthetic twin of smap_l4, pre-trained on synthetic twin of era5_land",
     "ConvLSTM, 3 days ahead, synthetic twin of SMAP L4, pre-trained on synthetic twin of ERA5-Land"),
    ("conv3d_lstm-dense, ensemble", "Conv3D-LSTM (dense), ensemble"), ("lstm_seed3", "LSTM, seed 3"),
    ("cnn_with_forecast_ensemble", "CNN with a weather forecast, ensemble"), ("conus_smap_l3", "CONUS SMAP L3"),
    ("damped_persistence", "damped persistence"), ("damped_persistence_of_all_days", "damped persistence, all days"),
    ("my_cnn_cube of ensemble.csv", "my_cnn_cube of ensemble.csv")])
def test_figures_call_things_by_their_names(names, words):
    assert in_words(names) == words == in_words(words)


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.9985, "over 99 %"), (0.994, "99 %"), (0.001, "under 1 %"), (0.0, "0 %")])
def test_only_all_are_100_percent(share, text):
    assert percent_text(share) == text


def test_a_forecaster_looks_the_same_everywhere_and_unlike_the_others():
    blind, told, bound = (figures.look_of("convlstm" + kind_of(kind).forecaster) for kind in ("none", "file", OBSERVED))
    assert blind == figures.look_of("cnn_blind") == figures.look_of("lstm_ensemble") == figures.LOOKS["fine-tuned"]
    assert told == figures.LOOKS["with forecast"] and bound == figures.LOOKS["bound"] != told
    seen = ["persistence", "climatology", "damped_persistence", "water_balance", "ceiling", "blind", "scratch", "zero-shot",
            "with forecast", "bound"]
    assert len({figures.LOOKS[name][:2] for name in seen}) == len(seen)


def test_letters_are_large_enough_in_print_and_panels_have_theirs():
    lat, lon = GRIDS["regular"]
    observed, forecast = fields(lat, lon)
    days = np.stack([observed] * 9)
    arguments = {"lat": lat, "lon": lon, "title": "a title"}
    drawn = [draw_run.map_figure(observed=observed, forecast=forecast, **arguments),
             draw_run.scatter_figure(observed=observed, forecast=forecast, title=""),
             draw_run.skill_figure(skill=forecast - observed, **arguments),
             draw_run.series_figure(observed=days, forecast=days, reference=days, time=day_axis("2020-02-27", 9),
                                    interval=(days - 0.1, days + 0.1), **arguments)]
    for figure in drawn:
        assert figure.get_size_inches()[0] * 25.4 == pytest.approx(90) or figure.get_size_inches()[0] * 25.4 == pytest.approx(190)
        figure.canvas.draw()
        texts = figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and artist.get_text())
        assert texts and min(text.get_fontsize() for text in texts) >= 7
        assert not any("mathdefault" in text.get_text() for text in texts)  # exponents: 70 % of that
    for figure in drawn[::3]:
        titles = [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]
        assert [title[:3] for title in titles if title] == ["(a)", "(b)", "(c)", "(d)"][:sum(map(bool, titles))]
    assert figures.panel_title(27, "x") == "(bb) x"


def test_long_titles_are_broken_between_words_into_lines_of_about_one_length():
    lines = figures.wrap_title("convlstm, 3 days ahead, synthetic twin of smap_l4, pre-trained on synthetic twin of era5_land; valid", 120)
    assert len(lines) == 2 and abs(len(lines[0]) - len(lines[1])) < 16 and not lines[0].endswith("-")


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 120, 140])
def test_a_number_and_its_unit_and_the_name_of_a_twin_stay_on_one_line(width):
    title = "convlstm, 7 days ahead, synthetic twin of smap_l4, better in 9 % of cells"
    lines = figures.wrap_title(title, width)
    assert " ".join(lines) == "ConvLSTM, 7 days ahead, synthetic twin of SMAP L4, better in 9 % of cells"
    assert all(any(whole in line for line in lines) for whole in ("7 days ahead", "synthetic twin of SMAP L4", "9 %"))


def test_lines_of_a_title_end_behind_commas_where_that_takes_no_more_of_them():
    title = "Dry and wet events, convlstm, 3 days ahead, synthetic twin of smap_l4, pre-trained on synthetic twin of era5_land"
    lines = figures.wrap_title(title, 90)
    assert len(lines) == 3 and all(line.endswith(",") for line in lines[:-1])


def test_rain_that_is_none_is_sand_the_sea_blank_and_arrows_stand_only_where_values_lie_beyond():
    lat, lon = GRIDS["regular"]
    rain = np.zeros((len(lat), len(lon)))
    rain[3] = np.linspace(0.05, 30.0, len(lon))
    rain[0, :2] = np.nan
    labels = {"precipitation": ("precipitation", "mm d-1")}
    figure = draw_run.fields_figure(fields={"precipitation": rain}, labels=labels, lat=lat, lon=lon, title="")
    mesh = meshes(figure.axes[0])[0]
    colours = mesh.to_rgba(mesh.get_array())
    np.testing.assert_array_equal(colours[..., 3] > 0, np.isfinite(rain))  # the sea is blank, as on all maps
    np.testing.assert_array_equal((colours == to_rgba(figures.DRY_COLOUR)).all(axis=-1), rain < figures.DRY_DAY)
    values = np.array([0.1, np.nan, 0.5])
    arrows = [figures.extension(values, figures.Normalize(*ends)) for ends in ((0.1, 0.5), (0.2, 0.5), (0.1, 0.4), (0.2, 0.4))]
    assert arrows == ["neither", "min", "max", "both"]
    assert figures.extension(np.array([np.nan]), figures.Normalize(0, 1)) == "neither"


@pytest.mark.parametrize(("first", "days", "labels"), [
    ("2018-02-16", 13, ["17\nFeb 2018", "21", "25"]), ("2016-12-20", 16, ["21\nDec 2016", "25", "29"]),
    ("2016-12-31", 1, ["30\nDec 2016", "31", "Jan"]),
    ("2016-11-05", 200, ["Dec\n2016", "2017", "Feb"]), ("2015-03-31", 2000, ["2016", "2017", "2018"])])
def test_dates_say_of_which_month_and_year_the_first_one_is(first, days, labels):
    time = np.datetime64(first) + np.arange(days)
    axes = figures.time_axes(figures.new_figure(90, 40), 10, 10, 70, 20, time)
    low, high = axes.get_xlim()
    axis = axes.xaxis
    seen = [text for place, text in zip(axis.get_majorticklocs(), axis.get_major_formatter().format_ticks(axis.get_majorticklocs()))
            if low <= place <= high]
    assert seen[:3] == labels and axis.get_major_formatter().get_offset() == ""


@pytest.mark.parametrize(("low", "high", "width", "ticks"), [
    (0.05, 0.45, 49.5, [0.1, 0.2, 0.3, 0.4]), (0.0302, 0.0704, 50.0, [0.04, 0.05, 0.06, 0.07]), (283.5, 286.5, 48.0, [284, 285, 286])])
def test_a_colour_bar_has_more_than_two_ticks(low, high, width, ticks):
    np.testing.assert_allclose(figures.bar_ticks(low, high, width), ticks)


def test_what_is_never_told_the_weather_is_not_called_blind_and_the_caption_names_who_is_drawn(tmp_path):
    errors = {1: 0.02, 3: 0.03}
    lines = [("persistence", "persistence", errors, {}), ("blind", "lstm, blind", errors, {})]
    draw_errors_against_lead(tmp_path / "lead.png", lines, "lstm")
    caption = (tmp_path / "lead.txt").read_text()
    assert "by lead time of persistence; LSTM, all scored" in caption and "Climatology is left out" in caption
    draw_errors_against_lead(tmp_path / "lead.png", [*lines, ("bound", "lstm,\nobserved weather (upper bound)", errors, {})], "lstm")
    assert "persistence; LSTM, blind; LSTM, observed weather (upper bound), all" in (tmp_path / "lead.txt").read_text()


def test_errors_from_scratch_do_not_stretch_the_axis():
    rows = [{"forecaster": name, "lead_time": lead, "rmse": rmse, "rmse_low": rmse - 0.004}
            for name, lead, rmse in (("scratch", 1, 0.15), ("scratch", 3, 0.08), ("fine-tuned", 1, 0.04), ("persistence", 3, 0.1))]
    limits, beyond = error_limits(rows)
    assert limits == pytest.approx((0.035, 0.105)) and beyond == {1: 0.15}


def test_labels_that_would_touch_stand_in_two_rows():
    places, limits = on_log_axis([30, 45, 60, 120, 240, 348], 34.0)
    assert limits[0] < 30 and limits[1] > 348 and np.all(np.diff(places) > 0) and 0 < places[0] < places[-1] < 34
    assert in_two_rows(["30", "45", "60", "120", "240", "all"], places) == ["30", "45", "\n60", "120", "240", "\nall"]


# --------------------------------------------------------------------------------------------- from the command line
def draw(file, **settings):
    """Run the script in this process."""
    loaded = runpy.run_path(str(ROOT / "utils/drawmap.py"))
    loaded["main"](loaded["Settings"](file=str(file), **settings))


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing functions: a list of (kind, arguments)."""
    calls = []
    for kind in ("draw_map", "draw_fields"):
        monkeypatch.setattr(draw_run, kind, lambda path, kind=kind, **given: calls.append((kind, SimpleNamespace(path=path, **given))))
    return calls


@pytest.fixture
def forecast_file(tmp_path):
    """A forecast.nc of six days, 1 and 3 days ahead; what is forecast for the last two days is not observed."""
    values = 0.1 + np.arange(6 * 2 * 3 * 4, dtype=np.float32).reshape(6, 2, 3, 4) / 1000
    observed = values + 0.01
    observed[3:, 1] = observed[5:, 0] = np.nan
    path = tmp_path / "forecast.nc"
    write_forecast(path, forecast=values, observed=observed, spread=0 * values + 0.02, init_time=day_axis("2020-01-01", 6),
                   lead_times=(1, 3), lat=30.0 + np.arange(3), lon=100.0 + np.arange(4),
                   attributes={"title": "Soil moisture forecasts, lstm, small", "source": "small", "data": "Synthetic twin (no real data)"})
    return path, values, observed


def test_a_cube_is_drawn_by_variable_and_day(small_cube, drawn, capsys):
    values = known_values(40, 3, 4)
    values[38, 1] = np.nan
    values[39, 1, 1] = np.nan
    path = small_cube(values=values)
    draw(path, variable="precipitation", day="2015-04-03")
    draw(path)  # the last day is not whole, the one before has no soil moisture
    for (kind, given), channel, day, name in zip(drawn, (0, 1), (2, 37), ("precipitation", "soil_moisture")):
        assert kind == "draw_fields" and list(given.fields) == [name]
        np.testing.assert_array_equal(given.fields[name], values[day, channel])
        date = np.datetime64("2015-04-01") + day
        assert given.path == path.parent / f"small_{name}_{date}.png" and given.data == Data("small test cube", date, date)
    assert f"-> {path.parent}/small_soil_moisture_2015-05-08.png" in capsys.readouterr().out


def test_values_that_cannot_be_in_their_unit_are_told(small_cube, drawn, capsys):
    values = known_values(40, 3, 4)
    values[5:, 0] = 0.0  # dry days are no doubt
    draw(small_cube("good", values=values), variable="precipitation")
    values[:, 1] *= 100
    draw(small_cube("percent", values=values))
    said, = re.findall("UNIT.*", capsys.readouterr().out)
    assert "percent.nc: soil_moisture reaches from" in said and "this looks like per cent" in said and len(drawn) == 2


def test_twin_is_drawn_by_its_name(small_cube, drawn, monkeypatch):
    with netCDF4.Dataset(path := small_cube(), "a") as file:
        file.title = "Synthetic twin of SMAP L4 (not real data)"
    monkeypatch.setattr(twin, "cube_path", {"smap_l4": path}.__getitem__)
    draw("twin", day="2015-04-03")
    assert drawn[0][1].title == "Synthetic twin of SMAP L4, 2015-04-03"
    assert drawn[0][1].data.product == "Synthetic twin of SMAP L4 (not real data)"


def test_captions_of_a_run_state_the_days_that_are_tested_at_all_lead_times(forecast_file):
    assert data_of_run(forecast_file[0].parent) == Data("small", np.datetime64("2020-01-04"), np.datetime64("2020-01-07"))


def test_captions_of_a_run_say_that_its_units_are_in_doubt(forecast_file):
    folder = forecast_file[0].parent
    doubts = "precipitation: this looks like m (of the day)"
    (folder / "settings.json").write_text(json.dumps({"cube": {"title": "small", "unit_doubts": doubts}}))
    assert data_of_run(folder).product == "small (UNIT? see settings.json)"


def test_a_forecast_is_compared_with_what_was_observed_or_shown_with_its_spread(forecast_file, drawn):
    path, values, observed = forecast_file
    draw(path)
    draw(path, day="2020-01-03", lead=1)
    draw(path, day="2020-01-09")
    draw(path, variable="spread", lead=1)
    kinds, given = zip(*drawn)
    assert kinds == ("draw_map", "draw_map", "draw_fields", "draw_fields")
    for shown, (init, lead) in zip(given, ((2, 1), (1, 0))):  # the last observed day by default
        np.testing.assert_array_equal(shown.forecast, values[init, lead])
        np.testing.assert_array_equal(shown.observed, observed[init, lead])
    assert given[0].title == "lstm, small, 3 days ahead; valid 2020-01-06"
    assert given[0].data.product == "Synthetic twin (no real data)"
    assert list(given[2].fields) == ["forecast", "spread"] and list(given[3].fields) == ["spread"]
    np.testing.assert_array_equal(given[2].fields["forecast"], values[5, 1])
    assert [shown.path.name for shown in given] == ["forecast_2020-01-06_lead3.png", "forecast_2020-01-03_lead1.png",
                                                    "forecast_2020-01-09_lead3.png", "forecast_spread_2020-01-07_lead1.png"]


def test_a_file_that_may_not_be_written_beside_is_drawn_here(forecast_file, drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, how: False)
    (tmp_path / "elsewhere").mkdir()
    path = forecast_file[0].rename(tmp_path / "elsewhere" / "forecast.nc")
    draw(path)
    draw(path, output="here/map.png")
    assert [given.path for _, given in drawn] == [tmp_path / "forecast_2020-01-06_lead3.png", tmp_path / "here/map.png"]


@pytest.mark.parametrize("settings, said", [
    ({"day": "2020-02-01"}, "does not hold 2020-02-01; its days that are forecast 3 days ahead are 2020-01-04 to 2020-01-09"),
    ({"day": "soon"}, "day is 'soon'; expected a date"),
    ({"lead": 2}, "has no forecast 2 days ahead; it has 1, 3 days"),
    ({"variable": "rain"}, "has no variable 'rain' with a map for each day; it has forecast, observed, spread"),
    ({"variable": "observed", "day": "2020-01-09"}, "has no value of observed on 2020-01-09"),
    ({"output": "map.pdf"}, "output is map.pdf: name a file that ends in .png")])
def test_what_a_forecast_file_does_not_hold_is_refused(forecast_file, settings, said):
    with pytest.raises(UserError, match=re.escape(said)):
        draw(forecast_file[0], **settings)


def test_what_is_no_cube_and_no_forecast_is_refused(small_cube, tmp_path):
    with pytest.raises(UserError, match="is a cube, not a forecast: it has no lead time"):
        draw(small_cube(), lead=3)
    with pytest.raises(UserError, match="no such file. Name a cube"):
        draw(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("no data")
    with pytest.raises(UserError, match="text.nc: not a NetCDF file that can be read"):
        draw(tmp_path / "text.nc")
    with new_cube(tmp_path / "empty.nc", day_axis("2015-04-01", 3), 30.0 + np.arange(3), 100.0 + np.arange(4), {}, ["soil_moisture"]):
        pass
    with pytest.raises(UserError, match="empty.nc has no value of soil_moisture on any day"):
        draw(tmp_path / "empty.nc")


def test_a_map_is_drawn_by_the_command(small_cube, tmp_path):
    path = small_cube()
    done = subprocess.run([sys.executable, str(ROOT / "utils/drawmap.py"), path.name, "--variable", "soil_temperature"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name = "small_soil_temperature_2015-05-10"
    assert {found.name for found in tmp_path.iterdir()} == {path.name, *(f"{name}.{kind}" for kind in ("png", "pdf", "txt"))}
    assert abs(imread(tmp_path / f"{name}.png").shape[1] - 90 / 25.4 * 300) <= 1
    assert "surface soil temperature) (K)" not in (tmp_path / f"{name}.txt").read_text()
