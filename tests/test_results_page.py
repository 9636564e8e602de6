"""The page of results: what is packed comes back, files stay small, and a real browser shows the values of forecast.nc."""
import json
import os
import shutil
import time
from datetime import UTC, datetime

import netCDF4
import numpy as np
import pytest

from data_processing.cube import write_cube
from data_processing.files import write_csv
from tests.conftest import day_axis, weather_values
from tests.test_scripts import QUICK, call
from utils import pack_forecast as packing
from utils import results_page
from utils.evaluation import by_init_time, cell_metrics, score_forecasters, write_cell_metrics, write_forecast, write_metrics
from utils.runs import Run, read_json, write_json

BROWSER, DRIVER = "chromium", "chromedriver"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-device-scale-factor=1")
WILD_NAME = "<img src=x onerror=alert(1)> \"50 %\" #1 & 'ü' ${0}"
LONGEST_LOAD, FEWEST_FRAMES = 2.0, 20.0  # s, days a second


def make_run(results, experiment="SMAPtest", model="lstm", name="twin", lead_times=(3,), *, seed=0, shape=(4, 5), days=40,
             error=0.03, first="2020-01-01", north=0.0, title="Synthetic twin of smap_l4 (not real data)", gaps=0.1):
    """A finished run folder as the scripts leave it, without training; the cell in the north-west corner is sea."""
    random = np.random.default_rng(seed)
    lead_times = tuple(lead_times)
    land = np.ones(shape, bool)
    land[-1, 0] = False  # rows run from south to north
    change = random.normal(0, 0.02, (days, *shape)).astype(np.float32)
    observed = np.zeros_like(change)
    for day in range(days):  # falls back to .25 by a tenth a day
        observed[day] = 0.25 + 0.9 * (observed[day - 1] - 0.25) + change[day] if day else 0.25 + change[day]
    observed = np.clip(observed, 0.02, 0.55)
    observed[:, ~land] = np.nan
    observed = np.repeat(observed[:, None], len(lead_times), axis=1)
    forecasts = {each: np.where(land, observed + random.normal(0, size, observed.shape), np.nan).astype(np.float32)
                 for each, size in ((model, error), ("persistence", 0.05), ("damped_persistence", 0.04), ("climatology", 0.06),
                                     ("water_balance", 0.038))}
    observed = np.where(random.random(observed.shape) < gaps, np.nan, observed).astype(np.float32)
    time_axis = day_axis(first, days)
    place = {"lat": 30.0 + north + np.arange(shape[0]), "lon": 100.0 + np.arange(shape[1])}
    folder = results / experiment / model / name / ("lead" + "_".join(map(str, lead_times)))
    init_time, forecast = by_init_time(forecasts[model], time_axis, lead_times)
    ends = {level: by_init_time(forecasts[model] + np.float32(shift), time_axis, lead_times)[1]
            for level, shift in ((0.05, -0.04), (0.95, 0.06))}
    write_forecast(folder / "forecast.nc", forecast=forecast, observed=by_init_time(observed, time_axis, lead_times)[1],
                   init_time=init_time, lead_times=lead_times, **place, attributes={"title": name}, quantiles=ends)
    maps = cell_metrics(observed=observed, forecast=forecasts[model], reference=forecasts["damped_persistence"],
                        climatology=forecasts["climatology"], land=land)
    write_cell_metrics(folder / "cell_metrics.nc", maps, **place, lead_times=lead_times, attributes={})
    write_csv(folder / "splits.csv", ("split", "first_target"), [{"split": "test", "first_target": first}])
    write_csv(folder / "training_log.csv", ("epoch", "train_loss", "validation_loss"),
              [{"epoch": number, "train_loss": 1 / number, "validation_loss": validation_loss}
               for number, validation_loss in enumerate((0.08447, 0.08446, 0.08445, np.nan, np.nan), start=1)])  # a refit of two
    write_json(folder / "settings.json", {"settings": {"test_from": None, "lead_time": 3, "drop_inputs": [], "hidden": [16],
                                                       "refit": False, "name": name, "results": "/soil"},
                                          "cube": {"title": title},
                                          "host": {"started": f"2026-01-{30 - seed:02}T00:00:00+00:00"}})
    for kind in ("png", "pdf"):
        (folder / f"map.{kind}").write_bytes(b"")
    (folder / "map.txt").write_text(f"Soil moisture of one day.\nTitle: {name}.\n")
    write_metrics(folder / "metrics.csv", score_forecasters(
        observed=observed, forecasts=forecasts, valid_time=np.repeat(time_axis[:, None], len(lead_times), axis=1),
        lead_times=np.array(lead_times), **place, land=land, climatology=forecasts["climatology"]))
    os.utime(folder / "metrics.csv", 2 * (datetime(2026, 1, seed + 1, 12, tzinfo=UTC).timestamp(),))
    return folder


def make_forecast(results, name="tomorrow", day="2020-02-09", lead_times=(1, 3)):
    """What forecast.py leaves, but for the values."""
    folder = results / "finetune-SMAPtest" / "forecast" / name / day
    values = np.full((1, len(lead_times), 2, 2), 0.2, np.float32)
    write_forecast(folder / "forecast.nc", forecast=values, observed=values, init_time=np.array([day[-10:]], "datetime64[D]"),
                   lead_times=lead_times, lat=[30.0, 31.0], lon=[100.0, 101.0], attributes={"title": name})
    for lead in lead_times:
        (folder / f"map_lead{lead}.png").write_bytes(b"")
    return folder


def make_page(results):
    results_page.main(results_page.Settings(results=str(results)))
    return results / "index.html"


def read_script(path):
    """What a data file hands to the page."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index("(") + 1:text.rindex(")")])


def unpacked(packed, name):
    cells = np.count_nonzero(np.frombuffer(packing.inflate(packed["land"]), np.uint8))
    return packing.decode(packed[name], (1 if name == "skill" else len(packed["days"]), cells))


# packing


def test_values_come_back_to_half_a_step_and_missing_ones_missing():
    random = np.random.default_rng(0)
    values = random.uniform(-0.2, 0.9, (50, 7)).astype(np.float32)
    values[random.random(values.shape) < 0.3] = np.nan
    values[:, 2] = np.nan
    back = packing.decode(packing.encode(values), values.shape)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    assert np.nanmax(np.abs(back - values)) <= packing.STEP / 2 + 1e-6


def test_impossible_values_are_cut_and_take_no_others_along():
    values = np.array([[0.2, 0.2], [1e9, -np.inf], [0.3, 0.3]], np.float32)
    back = packing.decode(packing.encode(values), values.shape)
    np.testing.assert_allclose(back, [[0.2, 0.2], [32, -32], [0.3, 0.3]], atol=1e-9)


@pytest.mark.parametrize("lead_time", [1, 3])
def test_each_lead_time_has_its_own_values_on_its_own_days(lead_time, tmp_path):
    folder = make_run(tmp_path, lead_times=(1, 3))
    packed = packing.pack_forecast(folder, lead_time)
    assert packed["days"] == list(range(18262, 18302))  # from 2020-01-01, the same for both
    assert packed["lat"] == [33, 32, 31, 30] and packed["lon"] == [100, 101, 102, 103, 104]
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        lead = list(file["lead_time"][:]).index(lead_time)
        start = {1: 2, 3: 0}[lead_time]
        for name in ("forecast", "observed"):
            expected = file[name][start:start + 40, lead, ::-1].filled(np.nan).reshape(40, -1)[:, 1:]  # without the sea
            np.testing.assert_allclose(unpacked(packed, name), expected, atol=packing.STEP / 2 + 1e-6)
    np.testing.assert_allclose(unpacked(packed, "below"), 0.04, atol=packing.STEP / 2 + 1e-6)
    np.testing.assert_allclose(unpacked(packed, "above"), 0.06, atol=packing.STEP / 2 + 1e-6)


def test_longitudes_across_the_antimeridian_run_from_west_to_east(tmp_path):
    folder = make_run(tmp_path)
    with netCDF4.Dataset(folder / "forecast.nc", "a") as file:
        file["lon"][:] = [178, 179, -180, -179, -178]
    assert packing.pack_forecast(folder, 3)["lon"] == [178, 179, 180, 181, 182]


def test_a_large_map_is_averaged_over_blocks_and_then_days_are_left_out(tmp_path, monkeypatch):
    folder = make_run(tmp_path, shape=(7, 8))
    monkeypatch.setattr(packing, "FEWEST_CELLS", 16)
    monkeypatch.setattr(packing, "MOST_VALUES", 16 * 20)
    packed = packing.pack_forecast(folder, 3)
    assert (packed["block"], packed["stride"], len(packed["days"])) == (2, 2, 20)
    assert packed["lat"] == [35.5, 33.5, 31.5, 30] and "below" not in packed
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        forecast, observed = (file[name][4, 0, ::-1].filled(np.nan).astype(float) for name in ("forecast", "observed"))
    block = (slice(2, 4), slice(4, 6))
    known = np.isfinite(observed[block])
    assert known.sum() >= 2
    at = 4 + 2  # the third block of the second row of four
    assert unpacked(packed, "observed")[2, at] == pytest.approx(observed[block][known].mean(), abs=packing.STEP / 2 + 1e-6)
    assert unpacked(packed, "forecast")[2, at] == pytest.approx(forecast[block][known].mean(), abs=packing.STEP / 2 + 1e-6)


def test_skill_of_a_block_is_that_of_all_its_values_together(tmp_path, monkeypatch):
    folder = make_run(tmp_path, shape=(4, 4), gaps=0.0)
    with netCDF4.Dataset(folder / "cell_metrics.nc", "a") as file:
        file["skill_damped_persistence"][0, 2:, 2:] = [[0.5, 0.0], [-1.0, 0.5]]  # the north-east
        file["rmse"][0, 2:, 2:] = [[0.1, 0.2], [0.2, 0.1]]
    monkeypatch.setattr(packing, "FEWEST_CELLS", 4)
    monkeypatch.setattr(packing, "MOST_VALUES", 4 * 40)
    packed = packing.pack_forecast(folder, 3)
    errors, references = 0.01 + 0.04 + 0.04 + 0.01, 0.02 + 0.04 + 0.02 + 0.02
    assert unpacked(packed, "skill")[0, 1] == pytest.approx(1 - errors / references, abs=packing.STEP)


# files


def test_page_lists_finished_runs_only_and_says_what_is_synthetic(tmp_path):
    make_run(tmp_path, name="twin", seed=1)
    make_run(tmp_path, name="real", title="SMAP L4", seed=2)
    (make_run(tmp_path, name="unfinished") / "metrics.csv").unlink()
    make_page(tmp_path)
    runs = {run["name"]: run for run in read_script(tmp_path / "page" / "runs.js")["runs"]}
    assert set(runs) == {"twin", "real"}
    assert runs["twin"]["synthetic"] and not runs["real"]["synthetic"] and runs["real"]["data"] == "SMAP L4"
    assert runs["twin"]["packed"] and runs["twin"]["date"].startswith("2026-01-02")
    assert set(runs["twin"]["others"]) == {"persistence", "damped_persistence", "climatology", "water_balance"}


@pytest.mark.parametrize(("cube", "name"), [({"title": "SMAP L4"}, "SMAP L4"), ({}, "not synthetic"),
                                            ({"title": None, "path": "/data/my_cube.nc"}, "my_cube"),
                                            ({"title": "SMAP L4", "unit_doubts": "rain in m"}, "SMAP L4 UNIT?")])
def test_data_are_called_by_the_title_of_the_cube_or_its_file(cube, name):
    assert results_page.data_name(cube) == name


def test_skill_over_the_water_balance_is_worked_out():
    rows = [{"forecaster": name, "mse_pooled": mse} for name, mse in (("lstm", 0.5), ("water_balance", 2.0), ("none", None))]
    assert [row["skill_water_balance"] for row in results_page.with_water_balance(rows)] == [0.75, 0.0, None]
    assert results_page.with_water_balance(rows[:1]) == rows[:1]


def test_the_newest_forecasts_are_listed(tmp_path, monkeypatch):
    make_run(tmp_path)
    make_forecast(tmp_path, "old", "2020-02-01")
    make_forecast(tmp_path, "season", "since-2020-02-03")
    make_forecast(tmp_path, "new", "2020-02-09")
    (make_forecast(tmp_path, "broken") / "forecast.nc").write_bytes(b"nothing")
    monkeypatch.setattr(results_page, "MOST_FORECASTS", 2)
    results_page.refresh(tmp_path)
    forecasts = read_script(tmp_path / "page" / "runs.js")["forecasts"]
    assert [(row["name"], row["day"], row["last_input"]) for row in forecasts] == [
        ("new", "2020-02-09", "2020-02-09"), ("season", "since-2020-02-03", "2020-02-03")]
    assert forecasts[0]["maps"][1] == {"lead": 3, "path": "finetune-SMAPtest/forecast/new/2020-02-09/map_lead3.png"}


def test_a_run_that_cannot_be_read_is_named_and_takes_nothing_from_the_others(tmp_path, capsys):
    make_run(tmp_path, name="good")
    broken = make_run(tmp_path, name="broken")
    (broken / "forecast.nc").write_bytes(b"nothing")
    worse = make_run(tmp_path, name="worse")
    (worse / "metrics.csv").write_text("nothing\n")
    results_page.refresh_page(Run(broken, resume=False))
    assert "the page of results was not refreshed: OSError" in capsys.readouterr().out
    make_page(tmp_path)
    runs = {run["name"]: run["packed"] for run in read_script(tmp_path / "page" / "runs.js")["runs"]}
    assert runs == {"good": True, "broken": False}
    said = capsys.readouterr().out
    assert f"no maps of {broken}: OSError" in said and f"{worse} is left out of the page" in said


def test_a_run_that_finishes_while_the_table_is_written_stands_in_it(tmp_path, monkeypatch):
    first = make_run(tmp_path, name="first")
    make_page(tmp_path)
    write_script = results_page.write_script

    def write_late(path, *content):
        second = first.parents[1] / "second" / first.name
        if path.name == "runs.js" and not second.exists():  # the other process wrote its table before this one does
            shutil.copytree(first, second)
        write_script(path, *content)

    monkeypatch.setattr(results_page, "write_script", write_late)
    results_page.refresh_page(Run(first, resume=False))
    assert [run["name"] for run in read_script(tmp_path / "page" / "runs.js")["runs"]] == ["first", "second"]


def test_maps_of_removed_runs_go(tmp_path):
    make_run(tmp_path, name="stays")
    gone = make_run(tmp_path, name="goes")
    make_page(tmp_path)
    shutil.rmtree(gone)
    make_page(tmp_path)
    assert [path.parts[-3] for path in (tmp_path / "page" / "data").glob("**/*.js")] == ["stays"]


# in the browser


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; skips where none is installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service
    if not (shutil.which(BROWSER) and shutil.which(DRIVER)):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(BROWSER)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which(DRIVER)))
    yield driver
    driver.quit()


class Page:
    """The page as a reader has it; at its end the console must be empty."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, address=""):
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + address)
        self.wait("document.querySelector('.runs tbody, #viewer, #trouble:not([hidden])')")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition, seconds=10.0):
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean(!document.body.hasAttribute('aria-busy') && ({condition}))"):
            assert time.monotonic() < end, f"waited in vain for {condition}"
            time.sleep(0.01)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.textContent)", selector)

    def width(self, width):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1,
                                                                           "mobile": width < 800})

    def shown_order(self):
        """Of each sorted column: its key, its direction and the arrow in sight."""
        return self.run("return [...document.querySelectorAll('th[aria-sort]')].filter(head => head.offsetWidth).map(head =>"
                        "[head.dataset.key, head.ariaSort, getComputedStyle(head.firstChild, '::after').content])")

    def choose(self, selector, value):
        self.run("const choice = document.querySelector(arguments[0]); choice.value = arguments[1];"
                 "choice.dispatchEvent(new Event('change'));", selector, value)

    def key(self, selector, name):
        from selenium.webdriver.common.by import By
        from selenium.webdriver.common.keys import Keys
        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(getattr(Keys, name, name))

    def click_cell(self, row, column, rows, columns, map_number=0):
        """Click the middle of a cell of a map, counted from the north-west."""
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.by import By
        canvas = self.driver.find_elements(By.CSS_SELECTOR, ".map canvas")[map_number]
        x, y = self.run("const each = view.panels[arguments[0]]; const box = each.canvas.getBoundingClientRect();"
                        "return [MAP_MARGINS.left + (arguments[2] + 0.5) / arguments[4] * each.inner - box.width / 2,"
                        "MAP_MARGINS.top + (arguments[1] + 0.5) / arguments[3] * each.height - box.height / 2]",
                        map_number, row, column, rows, columns)
        ActionChains(self.driver).move_to_element_with_offset(canvas, x, y).click().perform()


@pytest.fixture
def page(chromium):
    opened = Page(chromium)
    opened.width(1280)
    yield opened
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def address(folder, results, lead, **more):
    from urllib.parse import urlencode
    return "#" + urlencode({"run": results_page.address(results, folder), "lead": lead, **more})


def test_browser_shows_sorts_and_filters_the_runs(page, tmp_path):
    for number, (name, error) in enumerate({"best": 0.01, "worst": 0.07, "middle": 0.03}.items()):
        make_run(tmp_path, name=name, error=error, seed=number, title="SMAP L4" if name == "worst" else "Synthetic twin")
    page.open(make_page(tmp_path))
    assert page.text("#count") == "3 runs" and page.texts(".runs td.name") == ["middle", "worst", "best"]  # the newest first
    assert page.shown_order() == [["date", "descending", '" ▼"']]
    page.run("document.querySelector('th[data-key=rmse] button').click()")
    assert page.texts(".runs td.name") == ["best", "middle", "worst"]
    page.run("document.querySelector('th[data-key=rmse] button').click()")
    assert page.texts(".runs td.name") == ["worst", "middle", "best"]
    assert page.shown_order() == [["rmse", "descending", '" ▼"']]
    page.run("document.querySelector('th[data-key=skill] button').click()")
    assert page.texts(".runs td.name") == ["best", "middle", "worst"]
    colours = page.run("return [...document.querySelectorAll('.skill i')].map(each => each.style.background)")
    assert ["better" in colour for colour in colours] == [True, True, False]
    assert page.texts(".runs td.data") == ["synthetic", "synthetic", "SMAP L4"]
    assert page.run("return /^[0-9]{2}:[0-9]{2} [A-Z]/.test(document.querySelector('.runs td.date .soft').textContent)")  # a zone
    page.key("#filter", "synthetic mid")
    assert page.texts(".runs td.name") == ["middle"] and page.text("#count") == "1 of 3 runs"


@pytest.mark.parametrize("width", [1000, 390])
def test_a_narrow_window_says_the_order_beside_the_choice_of_it(page, width, tmp_path):
    for number, (name, error) in enumerate({"best": 0.01, "worst": 0.07, "middle": 0.03}.items()):
        make_run(tmp_path, name=name, error=error, seed=number)
    page.width(width)
    page.open(make_page(tmp_path))
    assert page.run("return document.querySelector('#sort').value") == "date" and page.text("#order") == "▼ newest first"
    page.choose("#sort", "rmse")
    assert page.texts(".runs td.name") == ["best", "middle", "worst"] and page.text("#order") == "▲ smallest first"
    page.run("document.querySelector('#order').click()")
    assert page.texts(".runs td.name") == ["worst", "middle", "best"] and page.text("#order") == "▼ largest first"
    assert page.run("return document.querySelector('#order').getBoundingClientRect().width") > 0


def test_browser_keeps_the_marks_of_good_runs_apart_beside_a_bad_one(page, tmp_path):
    make_run(tmp_path, name="good")
    make_run(tmp_path, name="bad", error=5.0)
    page.open(make_page(tmp_path))
    for left, right in page.run("""return [...document.querySelectorAll('.strip')].map(strip => {
            const boxes = [...strip.querySelectorAll('circle, path')].map(mark => mark.getBBox());
            const middles = boxes.map(box => box.x + box.width / 2);
            return [Math.min(...middles), Math.max(...middles)];
        })"""):
        assert (left, right) == pytest.approx((8, 202), abs=0.1)


@pytest.mark.parametrize("width", [1280, 1000, 850])
def test_table_of_long_names_fits_into_the_window(page, width, tmp_path):
    make_run(tmp_path, experiment="finetune-SMAPtest", model="conv3d_lstm", name="twin-quick-dense-and-longer", error=5.0)
    page.width(width)
    page.open(make_page(tmp_path))
    assert page.run("return document.documentElement.scrollWidth - window.innerWidth") == 0


def test_browser_counts_lines_apart_and_shows_the_forecasts(page, tmp_path):
    make_run(tmp_path, lead_times=(1, 3))
    make_forecast(tmp_path)
    page.open(make_page(tmp_path))
    assert page.text("#count") == "1 run, 2 lines: one per lead time"
    assert page.texts("#forecasts figcaption > *")[:2] == ["tomorrow", "from data to 2020-02-09"]
    assert page.texts("#forecasts .links a") == ["1 day ahead", "3 days ahead", "forecast.nc"]
    assert page.run("return document.querySelector('#strip-legend [title]').title").startswith("Ceiling: the best that can be")


def test_an_axis_has_two_ticks_at_least(page, tmp_path):
    page.open(make_page(make_run(tmp_path).parents[3]))
    for low, high in ((0.52, 0.68), (0.5995, 0.6005), (3.1, 9.9), (-1.4, -0.6)):
        found = page.run("return ticks(arguments[0], arguments[1], 1).values", low, high)
        assert len(found) >= 2 and low - 1e-9 <= min(found) and max(found) <= high + 1e-9


def test_figures_have_words_and_their_captions_and_scores_the_water_balance(page, tmp_path):
    folder = make_run(tmp_path)
    page.open(make_page(tmp_path), address(folder, tmp_path, 3))
    assert page.texts(".gallery figcaption b, .gallery figcaption p") == [
        "One day: observed, forecast, difference", "Soil moisture of one day.", "Title: twin."]
    assert page.texts(".gallery .links a") == ["PNG", "PDF"]
    rows = {row["forecaster"]: float(row["mse_pooled"]) for row in results_page.csv_rows(folder / "metrics.csv")}
    expected = f"{1 - rows['lstm'] / rows['water_balance']:.3f}"
    assert page.texts("[aria-label=Scores] th")[-1] == "Skill / water balance"
    assert page.text("[aria-label=Scores] tr.own td:last-child") == expected
    assert page.texts(".tiles div")[3] == f"Skill against water balance{expected}"


def test_learning_curves_show_their_numbers_whole_and_where_the_refit_begins(page, tmp_path):
    folder = make_run(tmp_path)
    page.open(make_page(tmp_path), address(folder, tmp_path, 3))
    assert page.run(
        "return [...document.querySelectorAll('.curves .refit')].map(each => each.firstChild.data)") == ["refit from epoch 4"] * 2
    assert page.run("return Math.min(...[...document.querySelectorAll('.curves text')].map(text => text.getBBox().x))") >= 0


def test_browser_reads_the_values_of_a_script_whatever_its_name(page, tmp_path, monkeypatch):
    from utils import figures
    monkeypatch.setattr(figures, "DOTS_PER_INCH", 40)
    cube = tmp_path / "target.nc"
    write_cube(cube, weather_values(400, 4, 5, 2), day_axis("2015-01-01", 400), 30.0 + np.arange(4), 100.0 + np.arange(5),
               {"title": "test cube", "source": "tests"})
    results = tmp_path / "results"
    call("SMAPtest/lstm.py", cube=str(cube), results=str(results), lead_times=(1, 3), test_days=40, name=WILD_NAME, **QUICK)
    page.open(results / "index.html")
    assert page.texts(".runs td.name") == [WILD_NAME] * 2
    page.run("document.querySelectorAll('.runs td.lead')[1].click()")  # anywhere in the line
    page.wait("document.querySelector('#viewer')")
    assert WILD_NAME in page.text("h2") and page.run("return document.images.length") == page.run(
        "return document.querySelectorAll('.gallery img').length") > 5
    page.wait("[...document.images].every(each => { each.loading = 'eager'; return each.complete && each.naturalWidth > 0; })")
    for _ in range(3):
        page.key("#slider", "ARROW_RIGHT")
    page.wait("view.day === 23 && document.querySelector('#day').textContent === '2016-01-19'")
    page.click_cell(1, 3, rows=4, columns=5)
    with netCDF4.Dataset(results / "SMAPtest/lstm" / WILD_NAME / "lead1_3" / "forecast.nc") as file:
        forecast, observed = (float(file[name][23, 1, 2, 3]) for name in ("forecast", "observed"))  # south first in the file
        assert (netCDF4.num2date(file["valid_time"][23, 1], file["valid_time"].units)).strftime("%Y-%m-%d") == "2016-01-19"
    assert float(page.text("#forecast-value")) == pytest.approx(forecast, abs=packing.STEP / 2 + 1e-6)
    assert float(page.text("#observed-value")) == pytest.approx(observed, abs=packing.STEP / 2 + 1e-6)
    assert page.text("#readout").startswith("32.00° N, 103.00° E")


def test_browser_moves_by_keys_and_keeps_its_place_in_the_address(page, tmp_path):
    folder = make_run(tmp_path, lead_times=(1, 3), seed=4)
    path = make_page(tmp_path)
    page.open(path, address(folder, tmp_path, 3, day="2020-01-20", cell="32,101"))
    assert page.text("#day") == "2020-01-20" and "32.00° N, 101.00° E" in page.text("#readout")
    page.key("body", "ARROW_LEFT")
    page.wait("document.querySelector('#day').textContent === '2020-01-19'")
    page.key(".map canvas", "ARROW_UP")
    assert "33.00° N, 101.00° E" in page.text("#readout")
    page.key(".map canvas", "ARROW_LEFT")  # to the sea
    assert "33.00° N, 101.00° E" in page.text("#readout")
    page.wait("location.hash.includes('day=2020-01-19') && location.hash.includes('cell=33.0000%2C101.0000')")
    page.choose("#lead-choice", 1)
    page.wait("view.row.lead === 1")
    assert page.text("#day") == "2020-01-19" and "33.00° N, 101.00° E" in page.text("#readout")
    page.driver.back()
    page.wait("view.row.lead === 3")


def test_what_is_rounded_to_nothing_has_no_sign(page, tmp_path):
    page.open(make_page(make_run(tmp_path).parents[3]))
    assert page.run("return [fixed(-0.00004, 4), fixed(-0.00006, 4), signed(-0.004, 2), signed(0.004, 2), signed(0.006, 2)]") == [
        "0.0000", "−0.0001", "0.00", "0.00", "+0.01"]


def test_browser_paints_a_value_in_the_colour_of_its_bar_and_gaps_grey(page, tmp_path):
    folder = make_run(tmp_path, gaps=0.0)
    with netCDF4.Dataset(folder / "forecast.nc", "a") as file:
        file["observed"][5, 0, 3, 2] = np.nan
        file["observed"][5, 0, 3, 3] = 10.0
        file["observed"][5, 0, 3, 4] = -10.0
    page.open(make_page(tmp_path), address(folder, tmp_path, 3, day="2020-01-06", cell="30,100"))
    colours = page.run("""
        const {image} = view.panels[0], row = Math.floor(image.height / 8);
        return [0, 2, 3, 4].map(column => {
            const start = 4 * (row * image.width + Math.floor((column + 0.5) / 5 * image.width));
            return [...image.data.slice(start, start + 3)];
        });""")
    assert colours == [[0xe9, 0xed, 0xf0], [0xc4, 0xc8, 0xcc], [0x08, 0x1d, 0x58], [0xf7, 0xfc, 0xc7]]  # sea, gap, wet, dry
    assert page.run("return view.panels.map(panel => [...panel.figure.querySelectorAll('.colour-bar svg')].length)")[:2] == [2, 0]


def test_browser_compares_two_runs_on_the_same_day(page, tmp_path):
    one = make_run(tmp_path, name="one", seed=1, gaps=0.0)
    two = make_run(tmp_path, name="two", seed=1, gaps=0.0, error=0.09, first="2020-01-11")
    made = read_json(two / "settings.json")
    write_json(two / "settings.json", made | {"settings": made["settings"] | {"hidden": [16, 8]}})
    make_run(tmp_path, name="another_map", shape=(8, 5))
    make_run(tmp_path, name="another_lead", lead_times=(7,))
    page.open(make_page(tmp_path), address(one, tmp_path, 3, day="2020-01-15", cell="31,102"))
    assert page.texts("#compare option")[1:] == ["SMAPtest / LSTM / two", "SMAPtest / LSTM / another_lead, 7 days ahead"]
    assert page.run("return [...document.querySelectorAll('#compare optgroup')].map(each => each.label)") == [
        "Also 3 days ahead", "Other lead times: no difference of errors"]
    page.choose("#compare", 0)
    page.wait("view.other && document.querySelectorAll('.map').length === 5")
    assert page.texts(".map b") == ["Observed", "one", "two", "Errors on this day", "Skill over all days"]
    with netCDF4.Dataset(one / "forecast.nc") as first, netCDF4.Dataset(two / "forecast.nc") as second:
        of_one, of_two = float(first["forecast"][14, 0, 1, 2]), float(second["forecast"][4, 0, 1, 2])
        observed = float(first["observed"][14, 0, 1, 2]), float(second["observed"][4, 0, 1, 2])
    assert float(page.text("#forecast-value")) == pytest.approx(of_one, abs=packing.STEP / 2 + 1e-6)
    assert float(page.text("#other-value")) == pytest.approx(of_two, abs=packing.STEP / 2 + 1e-6)
    difference = page.run("return view.panels[3].values[view.cell] * view.run.step")
    assert difference == pytest.approx(abs(of_two - observed[1]) - abs(of_one - observed[0]), abs=2 * packing.STEP)
    with netCDF4.Dataset(one / "forecast.nc") as first, netCDF4.Dataset(two / "forecast.nc") as second:  # the 30 days of both
        errors = [(file["forecast"][days, 0] - file["observed"][days, 0]).filled(np.nan)
                  for file, days in ((first, slice(10, 40)), (second, slice(0, 30)))]
    skill = 1 - (errors[0] ** 2).mean(axis=0) / (errors[1] ** 2).mean(axis=0)
    assert page.run("return view.panels[4].values[view.cell] * view.run.step") == pytest.approx(skill[1, 2], abs=0.02)
    rmse = [float(text.split()[0]) for text in page.texts("#all-days dd")[:2]]
    assert rmse == pytest.approx([np.sqrt(np.nanmean(each ** 2)) for each in errors], abs=2e-4)
    better = f"{100 * np.mean(skill[np.isfinite(skill)] > 0):.0f} %"
    assert page.texts("#all-days dd")[2] == better and page.texts("#all-days .soft") == [" 30 days"]
    assert page.texts(".map figcaption span")[4] == f"one better in {better} of cells"
    assert page.run("return location.hash").endswith("with=3%2CSMAPtest%2Flstm%2Ftwo%2Flead3")
    page.key("#slider", "HOME")
    page.wait("document.querySelector('#day').textContent === '2020-01-01'")
    assert page.text("#other-value") == "–"  # the other begins later
    assert page.texts("[aria-label=Scores] tbody tr:nth-child(2) td:nth-last-child(-n+4)") == [""] * 4  # other baselines
    assert page.text("#no-skill").endswith("it was scored on other values.")
    page.choose("#compare", 1)
    page.wait("view.other.row.lead === 7")
    assert page.texts(".map b") == ["Observed", "one, 3 days", "another_lead, 7 days"] and page.text("#no-lead")
    page.choose("#compare", 0)
    page.wait("view.other.row.lead === 3 && document.querySelectorAll('.map').length === 5")
    assert page.texts("#apart tbody tr") == ["hidden1616, 8"] and page.run("return view.series.querySelector('[fill*=band]')")


def test_browser_compares_only_cells_that_both_runs_have(page, tmp_path):
    one = make_run(tmp_path, name="one", shape=(8, 5), seed=1)
    two = make_run(tmp_path, name="two", north=4.4, error=0.09)  # cells of 1 degree from 33.9 to 37.9 degrees north
    path, other = make_page(tmp_path), {"with": f"3,{results_page.address(tmp_path, two)}"}
    line = "return document.querySelector('#series path[stroke*=worse]').getAttribute('d')"
    page.open(path, address(one, tmp_path, 3, cell="33,102", **other))
    assert "the other run has no cell here" in page.text("#readout") and page.run(line) == ""
    page.open(path, address(one, tmp_path, 3, cell="34,102", **other))
    assert "the other run has no cell here" not in page.text("#readout") and page.run(line).startswith("M")
    rmse = float(results_page.csv_rows(two / "metrics.csv")[0]["rmse_pooled"])
    scores = page.texts("[aria-label=Scores] tr.own td:nth-child(-n+2)")
    assert scores[2:] == ["The other run: SMAPtest / LSTM / two, 3 days", f"{rmse:.4f}"]
    assert page.text("#no-map").startswith("The two runs have different maps")


def test_settings_stand_in_their_groups_those_other_than_the_default_first(page, tmp_path):
    folder = make_run(tmp_path)
    page.open(make_page(tmp_path), address(folder, tmp_path, 3))
    sections = page.run("""return [...document.querySelectorAll('.settings')].map(list => [list.parentNode.firstChild.textContent,
        ...[...list.parentNode.querySelectorAll('dl > div, p')].map(each => each.textContent)])""")
    assert ["where it ran and lies", "results/soil"] in sections
    assert sections[:3] == [
        ["Other than the default", "hidden16default: 48", "refitnodefault: not set", "nametwindefault: not set"],
        ["data", "Not set: test from"], ["sequence", "lead time3", "Not set: drop inputs"]]


@pytest.mark.parametrize("view", ["table", "run", "comparison"])
def test_browser_on_a_phone_needs_no_scrolling_sideways(page, view, tmp_path):
    one = make_run(tmp_path, experiment="finetune-SMAPtest", name="a_long_name_that_cannot_be_broken_" * 3, lead_times=(1, 3))
    two = make_run(tmp_path, name="two")
    page.width(320)
    asked = {"table": "", "run": address(one, tmp_path, 3),
             "comparison": address(one, tmp_path, 3, **{"with": f"3,{results_page.address(tmp_path, two)}"})}
    page.open(make_page(tmp_path), asked[view])
    assert page.run("return [document.documentElement.scrollWidth, window.innerWidth]") == [320, 320]
    inside = """return [...document.querySelectorAll(arguments[0])].map(each => each.getBoundingClientRect()).filter(
        box => box.width > 0 && box.height > 0 && box.left >= 0 && box.right <= 320).length"""
    if view == "table":
        assert [page.run(inside, f".runs td.{name}") for name in ("name", "rmse", "r2", "skill-cell", "strip-cell")] == [3] * 5
        return
    for number in (len(page.texts(".switches button")) - 1, 1):  # one map at a time, where a thumb reaches it
        page.run("document.querySelectorAll('.switches button')[arguments[0]].click()", number)
        assert page.run("return view.shown.map(panel => view.panels.indexOf(panel))") == [number]
        assert page.run(inside, ".map canvas") == 1
        assert page.run("return view.shown[0].pixels.some(pixel => pixel !== view.sea)")
    assert page.run(inside, "#slider, #play, .step, #series") == 5


def test_browser_says_what_is_missing(page, tmp_path):
    folder = make_run(tmp_path)
    path = make_page(tmp_path)
    page.open(path, "#run=SMAPtest%2Flstm%2Fgone%2Flead3&lead=3")
    assert page.text("#trouble") == "There is no run SMAPtest/lstm/gone/lead3 here."
    results_page.data_path(tmp_path, folder, 3).unlink()
    page.open(path, address(folder, tmp_path, 3))
    page.wait("!document.querySelector('#trouble').hidden")
    assert page.text("#trouble") == "There are no maps of this run yet. To make them: python utils/results_page.py"
    assert page.texts(".runs td.name") == ["twin"]
    page.driver.get_log("browser")  # the browser itself notes the missing file


def test_a_year_of_the_twins_map_is_small_loads_fast_and_plays_smoothly(page, tmp_path):
    folder = make_run(tmp_path, shape=(52, 65), days=365, gaps=0.0)
    path = make_page(tmp_path)
    data = results_page.data_path(tmp_path, folder, 3)
    assert data.stat().st_size < 5e6
    packed = read_script(data)
    assert (packed["block"], packed["stride"], len(packed["days"])) == (1, 1, 365)  # all of it
    started = time.monotonic()
    page.open(path, address(folder, tmp_path, 3))
    loaded = time.monotonic() - started
    frames = page.driver.execute_async_script("""
        const done = arguments[0], slider = document.querySelector('#slider'), started = performance.now();
        let number = 0;
        const next = () => {
            if (number === 60) { done(60000 / (performance.now() - started)); return; }
            slider.value = ++number;
            slider.dispatchEvent(new Event('input'));
            requestAnimationFrame(next);
        };
        next();""")
    print(f"{data.stat().st_size / 1e6:.1f} MB, loaded in {loaded:.2f} s, {frames:.0f} days a second")
    assert loaded < LONGEST_LOAD and frames > FEWEST_FRAMES
