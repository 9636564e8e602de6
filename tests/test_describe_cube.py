"""The look at a cube before any training: holes counted, memory known, baselines scored as a run scores them, units recognised."""
import csv
import re
import runpy
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
from conftest import ROOT, Experiment, day_axis, known_values
from matplotlib.backends.backend_agg import FigureCanvasAgg

from data_processing import arrays
from data_processing.cube import new_cube, open_cube
from data_processing.errors import UserError
from data_processing.holes import autocorrelation, carried_soil_moisture, longest_spell, survey_cells
from data_processing.record import open_record
from data_processing.splits import split_cube
from data_processing.units import Range, file_ranges, suspicion
from utils import draw_description
from utils.baselines import baseline_forecasts
from utils.describing import monthly
from utils.evaluation import score_forecasters
from utils.predictability import baseline_scores, difficulty
from utils.reporting import observed_on_land

KEPT = 0.9  # of a departure, from one day to the next
DAYS = 3000


@pytest.fixture
def red_noise(small_cube):
    """Path of a cube whose soil moisture is an AR(1) series about the mean of each cell."""
    random = np.random.default_rng(0)
    values = known_values(DAYS, 6, 7)
    departure = random.standard_normal((6, 7))
    means = 0.2 + 0.05 * random.random((6, 7))
    for day in range(DAYS):
        departure = KEPT * departure + np.sqrt(1 - KEPT ** 2) * random.standard_normal((6, 7))
        values[day, 1] = means + 0.02 * departure
    return small_cube(name="red", first="2010-01-01", values=values)


def test_memory_of_a_known_series_is_found(red_noise):
    carried, age = carried_soil_moisture(open_cube(red_noise), 0)
    cells = survey_cells(carried, age)
    found, variance = autocorrelation(carried, age, lambda day: cells.mean, (1, 5, 10))
    np.testing.assert_allclose(found, KEPT ** np.array([1, 5, 10]), atol=0.02)
    assert variance == pytest.approx(0.02 ** 2, rel=0.05)
    np.testing.assert_allclose(cells.spread, 0.02, rtol=0.25)


def test_autocorrelation_is_that_of_the_pairs_and_skips_holes():
    values = np.array([1, -1, np.nan, 2, -2, 2], np.float32)[:, None, None]
    age = np.where(np.isnan(values), 255, 0).astype(np.uint8)
    found, variance = autocorrelation(np.nan_to_num(values, nan=9.0), age, lambda day: np.zeros((1, 1)), (1, 2, 5, 6))
    assert found[0] == pytest.approx((-1 - 4 - 4) / np.sqrt((1 + 4 + 4) * (1 + 4 + 4)))
    assert found[1] == pytest.approx((-2 + 4) / np.sqrt((1 + 4) * (4 + 4)))
    assert found[2] == pytest.approx(1) and np.isnan(found[3])
    assert variance == pytest.approx(14 / 5)


def test_baselines_score_what_theory_says_of_a_known_series(red_noise):
    carried, age = carried_soil_moisture(open_cube(red_noise), 0)
    scores = baseline_scores(carried, age, day_axis("2010-01-01", DAYS), (1, 3, 7, 10, 14))
    found = {(row["forecaster"], row["lead_time"]): row["variance_left"] for row in scores.rows}
    for lead_time in (1, 3, 7):
        assert found["persistence", lead_time] == pytest.approx(2 * (1 - KEPT ** lead_time), rel=0.06)
        assert found["damped_persistence", lead_time] == pytest.approx(1 - KEPT ** (2 * lead_time), rel=0.06)
        assert found["cell_mean", lead_time] == 1
    assert np.nanmedian(scores.memory) == 10  # .9 ** 10 = .349 < 1/e < .387 = .9 ** 9, which is no lead time here but 10 is
    assert (scores.first_test, scores.last_test) == (np.datetime64("2017-03-20"), np.datetime64("2018-03-19"))
    assert "persistence is a fair start at 1 day" in difficulty(scores)[0]
    assert difficulty(scores._replace(first_test=np.datetime64("2018-03-05")))[0].startswith("only 15 test days: ")
    assert re.search(r"from 7 days on plain persistence is worse than the mean", difficulty(scores)[-1])


def test_scores_are_those_of_a_run(weather_cube):
    path = weather_cube(days=800, rows=4, columns=5)
    cube, splits = split_cube(path, Experiment(lead_time=3, input_days=3))
    record = open_record(cube, "small", splits, max_gap_days=4)
    observed = observed_on_land(record, splits.test)[:, None]
    forecasts = baseline_forecasts(record, splits.test, splits.history_days)
    rows = score_forecasters(observed=observed, forecasts=forecasts, valid_time=record.time[splits.test][:, None], lead_times=(3,),
                             lat=record.lat, lon=record.lon, land=record.land, climatology=forecasts["climatology"])
    known = {row["forecaster"]: row for row in rows}
    for row in baseline_scores(*carried_soil_moisture(open_cube(path), 4), record.time, (3,)).rows:
        if row["forecaster"] in known:
            of_run = known[row["forecaster"]]
            assert (row["n"], row["rmse"], row["r2"]) == (of_run["n"], of_run["rmse_pooled"], of_run["r2_pooled"])


def test_a_short_record_is_scored_as_far_as_it_goes(weather_cube):
    path = weather_cube(days=60, rows=3, columns=4)
    carried, age = carried_soil_moisture(open_cube(path), 5)
    time = open_cube(path)["time"].values.astype("datetime64[D]")
    assert set(baseline_scores(carried, age, time, (1, 30)).rmse) == {1}
    assert baseline_scores(carried[:4], age[:4], time[:4], (1, 30)) is None
    with pytest.raises(UserError, match="test_from 2031-01-01 lies outside the record"):
        baseline_scores(carried, age, time, (1,), test_from="2031-01-01")


def test_holes_are_counted(small_cube, monkeypatch):
    values = known_values(40, 3, 4)
    values[:, :, 0] = np.nan  # sea
    values[5:9, 1, 1, 0] = values[20:22, 1, 1, 0] = np.nan
    values[33:, 1, 2, 3] = np.nan
    values[12:15] = np.nan
    cube = open_cube(small_cube(values=values))
    carried, age = carried_soil_moisture(cube, 2)
    cells = survey_cells(carried, age)
    assert cells.longest_gap.tolist() == [[40] * 4, [4, 3, 3, 3], [3, 3, 3, 7]]
    assert cells.observed_days[1:].tolist() == [[31, 37, 37, 37], [37, 37, 37, 30]]
    known = values[:, 1, 1:].astype(np.float64)
    np.testing.assert_allclose(cells.mean[1:], np.nanmean(known, axis=0), rtol=1e-6)
    np.testing.assert_allclose(cells.spread[1:], np.nanstd(known, axis=0), rtol=1e-5)
    assert np.isnan(cells.mean[0]).all()
    assert longest_spell(np.isfinite(values[:, 1]).any(axis=(1, 2)), day_axis("2015-04-01", 40)) == (
        3, np.datetime64("2015-04-13"), np.datetime64("2015-04-15"))
    assert longest_spell(np.ones(3, bool), day_axis("2015-04-01", 3))[0] == 0
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 500)
    apart = carried_soil_moisture(cube, 2)
    np.testing.assert_array_equal(apart[0], carried)
    np.testing.assert_array_equal(apart[1], age)


def test_seasons_are_means_of_calendar_months():
    time = day_axis("2019-01-01", 730)
    months = time.astype("datetime64[M]").astype(int) % 12
    series = months + np.where(time.astype("datetime64[Y]") == np.datetime64("2019"), 0.0, 2.0)
    series[months == 4] = np.nan
    found = monthly(series, time)
    np.testing.assert_allclose(found[6], [6, 7, 8])
    assert np.isnan(found[4]).all()


@pytest.mark.parametrize("variable, unit, lowest, mean, highest, said", [
    ("soil_moisture", "m3 m-3", 0.02, 0.2, 0.6, ""),
    ("soil_moisture", "%", 2, 20, 60, ""),
    ("soil_moisture", "m3 m-3", 2, 20, 60, "looks like per cent, or kg m-2 .* divide per cent by 100, kg m-2 by the thickness"),
    ("soil_moisture", "kg m-2", 1, 18, 45, "looks like per cent, or kg m-2"),
    ("soil_moisture", "kg m-2", 80, 300, 600, "looks like kg m-2 .mm. of a thick layer"),
    ("soil_moisture", "", 0.02, 0.2, 0.6, "no attribute `units`: this looks like m3 m-3 already"),
    ("soil_moisture", "m3 m-3", 0.1, 0.6, 1.0, "looks like a degree of saturation"),
    ("soil_moisture", "m3 m-3", -9999, -3000, 0.5, "-9999 looks like a number that stands for missing"),
    ("soil_temperature", "K", 230, 285, 320, ""),
    ("soil_temperature", "K", -35, 12, 45, "looks like degrees C. To have K, add 273.15"),
    ("soil_temperature", "degC", 230, 285, 320, "looks like K already"),
    ("soil_temperature", "F", -30, 55, 115, "looks like degrees F"),
    ("soil_temperature", "K", 0, 1, 2, "looks like no unit of soil_temperature|looks like degrees"),
    ("precipitation", "mm d-1", 0, 2.2, 220, ""),
    ("precipitation", "kg m-2 s-1", 0, 2.5e-5, 2e-3, ""),
    ("precipitation", "mm d-1", 0, 0.0022, 0.22, "looks like m .of the day.. To have mm d-1, multiply by 1000"),
    ("precipitation", "mm d-1", 0, 2.5e-5, 2e-3, "looks like kg m-2 s-1 .*multiply by 86400"),
    ("precipitation", "m", 0, 2.2, 220, "looks like mm d-1 already"),
    ("precipitation", "mm d-1", 0, 2.5e-8, 2e-6, "looks like m s-1"),
])
def test_units_are_recognised_by_their_values(variable, unit, lowest, mean, highest, said):
    found = suspicion(variable, Range("field", unit, lowest, mean, highest))
    assert bool(found) == bool(said) and re.search(said, found), found


def test_ranges_are_those_of_the_file(small_cube):
    values = known_values(40, 3, 4)
    values[3, 1, 2, 2] = np.nan
    found = file_ranges(small_cube(values=values))
    assert list(found) == ["precipitation", "soil_moisture", "soil_temperature"]
    assert found["soil_moisture"][:3] == ("soil_moisture", "m3 m-3", pytest.approx(0.1))
    assert found["soil_moisture"].mean == pytest.approx(np.nanmean(values[:, 1].astype(float)), rel=1e-6)


def describe(**settings):
    """Run the script in this process, which saves the seconds that imports take."""
    loaded = runpy.run_path(str(ROOT / "data_processing/describe_cube.py"))
    loaded["main"](loaded["Settings"](**settings))


def test_the_script_leaves_a_page_a_caption_and_a_table(weather_cube, tmp_path):
    path = weather_cube(days=500, rows=4, columns=5)
    done = subprocess.run([sys.executable, str(ROOT / "data_processing/describe_cube.py"), "--cube", path.name, "--lead-times", "1", "3",
                           "7"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {found.name for found in tmp_path.iterdir()} == {path.name, *(f"{path.stem}_description.{kind}"
                                                                         for kind in ("png", "pdf", "txt", "csv"))}
    assert "at 1 day: RMSE 0." in done.stdout and "20 of 20 cells are land" in done.stdout and "UNIT?" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if line.startswith("- "))
    caption = (tmp_path / f"{path.stem}_description.txt").read_text()
    assert "n = 20 land cells" in caption and "(m) R² in time of damped persistence 7 days ahead" in caption
    with open(tmp_path / f"{path.stem}_description.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["topic"] for row in rows} == {"holes", "season", "autocorrelation", "predictability"}
    value, = (row["value"] for row in rows if (row["of"], row["statistic"]) == ("lead 3", "persistence_r2"))
    assert 0 < float(value) < 1


def test_soil_moisture_alone_is_described_and_a_wrong_unit_is_told(tmp_path, capsys, coarse_figures):
    path = tmp_path / "wet.nc"
    with new_cube(path, day_axis("2015-01-01", 100), 30.0 + np.arange(3), 100.0 + np.arange(4), {"title": "Only soil"},
                  ["soil_moisture"]) as file:
        file["soil_moisture"][:] = 100 * known_values(100, 3, 4)[:, 1]
    describe(cube=str(path), lead_times=(1,), output=str(tmp_path / "out"))
    said = " ".join(capsys.readouterr().out.split())
    assert re.search("UNIT\\? soil_moisture .* looks like per cent", said)
    assert "the cube holds no precipitation and no soil temperature: the training scripts need all three variables" in said
    assert (tmp_path / "out" / "wet_description.png").exists()
    table = (tmp_path / "out" / "wet_description.csv").read_text()
    assert ",lag 50," in table and ",lag 51," not in table  # of 100 days


def test_what_cannot_be_described_is_refused_in_one_line(small_cube, tmp_path):
    path = small_cube()
    with netCDF4.Dataset(path, "a") as file:
        file["soil_moisture"].units = "mm"
    with pytest.raises(UserError, match="unit 'mm', which is not known.* this looks like m3 m-3 already"):
        describe(cube=str(path))
    rain = tmp_path / "rain.nc"
    with new_cube(rain, day_axis("2015-04-01", 40), 30.0 + np.arange(3), 100.0 + np.arange(4), {}, ["precipitation"]) as file:
        file["precipitation"][:] = known_values(40, 3, 4)[:, 0]
    with pytest.raises(UserError, match="lacks soil_moisture. Found: precipitation"):
        describe(cube=str(rain))
    with pytest.raises(UserError, match="lead_times are 0 to 40 days; they must be 1 to 30"):
        describe(cube=str(small_cube("good")), lead_times=(0, 40))


# ------------------------------------------------------------------------------------------------------- the page
@pytest.mark.parametrize(("rows", "columns"), [(6, 8), (8, 6)])
def test_no_label_of_the_page_is_cut_off(weather_cube, tmp_path, monkeypatch, rows, columns):
    drawn = []
    monkeypatch.setattr(draw_description, "save_figure", lambda path, figure, caption: drawn.append(figure))
    script = runpy.run_path(str(ROOT / "data_processing/describe_cube.py"))
    script["main"](script["Settings"](cube=str(weather_cube(days=800, rows=rows, columns=columns)), output=str(tmp_path)))
    canvas = FigureCanvasAgg(drawn[0])
    canvas.draw()
    for axes in drawn[0].axes:
        box = axes.get_tightbbox(canvas.get_renderer())
        assert box.y0 > 0 and box.x0 > 0 and box.x1 < drawn[0].bbox.x1


def test_equal_series_are_one_line():
    same, other = np.array([1.0, np.nan]), np.zeros(2)
    assert draw_description.equal_series({"a": same, "b": other, "c": same.copy()}) == [["a", "c"], ["b"]]


def test_sentences_of_the_page_raise_exponents_but_not_in_the_words_of_the_file():
    said = "UNIT? sm_l4 is 0.2 m3 m-3, with units = 'm3 m-3': R2 -0.9, 3 mm d-1"
    assert draw_description.raised_units(said) == "UNIT? sm_l4 is 0.2 m³ m⁻³, with units = 'm3 m-3': R² −0.9, 3 mm d⁻¹"
