"""Forecasts in real use: from a run and the last days of a cube, equal to what the run itself has forecast."""
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from data_processing.cube import open_cube, write_cube
from data_processing.errors import UserError
from data_processing.record import cube_record, days_looked_back, open_record, recent_record, scale_record
from data_processing.splits import split_cube
from tests.conftest import ROOT, Experiment, day_axis, weather_values
from tests.test_coming_weather import write_weather
from tests.test_scripts import call, read_csv
from utils import draw_forecast, figures, forecasting
from utils.models.forms import FORMS
from utils.models.settings import complete
from utils.places import cell_at, read_places
from utils.runs import Run, write_json
from utils.spread import Validation, error_spread, on_days
from utils.study import load_script
from utils.training import forecast_days
from utils.transfer import save_model

SCRIPT = "finetune-SMAPtest/forecast.py"
DAYS, FIRST, SEA = 400, "2015-01-01", (2, 3)
QUICK = {"epochs": 1, "hidden": (4,), "lead_times": (1, 3), "test_days": 60}
NEAR = {"rtol": 0, "atol": 2e-6}  # float32 rounding of a forecast


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Figures at a quarter of their resolution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DOTS_PER_INCH", figures.DOTS_PER_INCH // 4)
        yield


def values_of():
    values = weather_values(DAYS, 4, 5, seed=2)
    values[:, :, SEA[0], SEA[1]] = np.nan
    return values


def write(path, values, first=FIRST, south=30.0, source="SPL4SMGP 8"):
    write_cube(path, values, day_axis(first, len(values)), south + np.arange(4), 100.0 + np.arange(5),
               {"title": "small test cube", "source": source})
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forecast")


@pytest.fixture(scope="module")
def target(folder):
    return write(folder / "target.nc", values_of())


@pytest.fixture(scope="module")
def ensemble(folder, target):
    """Two members that forecast 1 and 3 days ahead."""
    call("SMAPtest/convlstm.py", cube=target, results=str(folder / "results"), seeds=2, **QUICK)
    return folder / "results/SMAPtest/convlstm/target/lead1_3"


@pytest.fixture(scope="module")
def told(folder, target):
    """A run that was told a weather forecast, and the forecast."""
    everywhere = write(folder / "everywhere.nc", weather_values(DAYS, 4, 5, seed=2))
    weather = write_weather(folder / "weather.nc", everywhere, error=0.3)
    call("SMAPtest/lstm.py", cube=target, results=str(folder / "results"), coming_weather=str(weather), **QUICK)
    return folder / "results/SMAPtest/lstm/target-with-forecast/lead1_3", str(weather)


def forecast(results, *runs, **settings):
    """Run the script in this process: what it wrote."""
    loaded = runpy.run_path(str(ROOT / SCRIPT))
    loaded["main"](loaded["Settings"](runs=tuple(map(str, runs)), results=str(results), **settings))
    return next((results / "finetune-SMAPtest/forecast").glob("*/*"))


def of_init_day(path, day):
    """The forecasts of one init day, loaded."""
    with xr.open_dataset(path) as dataset:
        return dataset.sel(init_time=day).load()


# ------------------------------------------------------------------------------------- the same as the run's own forecast
def test_forecast_from_the_last_days_is_that_of_the_run_itself(ensemble, tmp_path):
    """Of a cube that ends on an init day of the test period, the last target days unseen; as a process, from another folder."""
    values, days = values_of()[:350], day_axis(FIRST, DAYS)
    cube = write(tmp_path / "last_days.nc", values)
    words = [sys.executable, ROOT / SCRIPT, ensemble / "seed0", "--cube", cube, "--results", tmp_path / "results",
             "--name", "tomorrow", "--points", "here:31.2,102.4", "b, quoted:30,100", "--boxes", "all:29,34,99,105"]
    done = subprocess.run(list(map(str, words)), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results/finetune-SMAPtest/forecast/tomorrow" / str(days[349])
    maps = {f"map_lead{lead}.{kind}" for lead in (1, 3) for kind in ("png", "pdf", "txt")}
    assert {path.name for path in folder.iterdir()} == {"forecast.nc", "points.csv", *maps}
    found = of_init_day(folder / "forecast.nc", days[349])
    own = of_init_day(ensemble / "seed0/forecast.nc", days[349])
    for name in ("forecast", "spread", "quantile", "valid_time"):
        np.testing.assert_allclose(found[name].values.astype(float), own[name].values.astype(float), err_msg=name, **NEAR)
    assert np.isnan(found["observed"]).all() and np.isnan(found["forecast"].values[:, SEA[0], SEA[1]]).all()
    assert "SMAP L4 comes about 3 days late" in done.stdout and f"the last input day is {days[349]}" in done.stdout
    assert f'"last_input":"{days[349]}"' in (tmp_path / "results/page/runs.js").read_text()

    here = [row for row in read_csv(folder / "points.csv") if row["place"] == "here"]
    assert [row["lead_time"] for row in here] == ["1", "3"] and (here[0]["lat"], here[0]["lon"]) == ("31", "102")
    assert found.attrs["data"] == "small test cube"
    for lead, row in enumerate(here):
        assert float(row["forecast"]) == pytest.approx(float(found["forecast"][lead, 1, 2]), rel=1e-6)
        assert [float(row["low_90"]), float(row["high_90"])] == pytest.approx(found["quantile"].values[:, lead, 1, 2], rel=1e-6)
        assert float(row["last_observed"]) == pytest.approx(values[349, 1, 1, 2], rel=1e-6)
        assert (row["last_observed_time"], row["observed"]) == (str(days[349]), "")
    row = read_csv(folder / "points.csv")[-1]
    assert (row["place"], row["kind"], row["cells"]) == ("all", "box", "19")
    assert 0 < float(row["spread"]) < float(found["spread"][1].mean())  # errors of cells cancel in their mean


def test_captions_of_a_run_of_two_lead_times_state_the_days_of_its_scores(ensemble):
    row = read_csv(ensemble / "metrics.csv")[0]
    for caption in ("lead.txt", "scatter.txt", "spectrum.txt"):
        assert f"Days: {row['first_valid_time']} to {row['last_valid_time']}.\n" in (ensemble / caption).read_text()


def test_mean_of_members_is_that_of_the_ensemble(ensemble, target, tmp_path):
    found = forecast(tmp_path, ensemble, cube=target, since="2016-01-20")
    for day in ("2016-01-20", "2016-02-01"):
        of_day, own = (of_init_day(path / "forecast.nc", day) for path in (found, ensemble))
        for name in ("forecast", "spread", "quantile", "observed"):
            np.testing.assert_allclose(of_day[name], own[name], err_msg=name, **NEAR)


def test_scores_since_a_day_are_those_of_the_run(ensemble, target, tmp_path, capsys):
    """The first test day less the longest lead time: the same days are scored."""
    own = read_csv(ensemble / "metrics.csv")
    since = np.datetime64(own[0]["first_valid_time"]) - 3
    found = forecast(tmp_path, ensemble, cube=target, since=str(since), points=("here:31.2,102.4",))
    said = capsys.readouterr().out
    assert found.name == f"since-{since}" and "convlstm_ensemble" in said and "flatter" not in said
    assert read_csv(found / "metrics.csv") == own
    rows = [row for row in read_csv(found / "points.csv") if row["observed"]]
    assert len(rows) == 2 * len(day_axis(since, 400)[day_axis(since, 400) <= day_axis(FIRST, DAYS)[-1]]) - 4  # days at the end


def test_scores_of_training_days_are_said_to_flatter_before_they_are_made(ensemble, target, tmp_path, capsys):
    forecast(tmp_path, ensemble / "seed0", cube=target, since="2015-11-20")
    said = capsys.readouterr().out
    assert 0 < said.find("the network has learned from days until") < said.find("skill over")


def test_cube_without_the_training_days_is_scored_beside_persistence(ensemble, tmp_path, capsys):
    cube = write(tmp_path / "season.nc", values_of()[300:], first="2015-10-28")
    found = forecast(tmp_path, ensemble / "seed0", cube=cube, since="2016-01-01")
    rows = read_csv(found / "metrics.csv")
    assert [row["forecaster"] for row in rows[:2]] == ["convlstm", "persistence"]
    assert rows[0]["skill_damped_persistence"] == "nan" and np.isfinite(float(rows[0]["skill_persistence"]))
    assert "no damped persistence" in capsys.readouterr().out
    found = forecast(tmp_path / "today", ensemble / "seed0", cube=cube, since="2016-02-04")  # nothing of it is observed yet
    assert not (found / "metrics.csv").exists() and "no metrics.csv" in capsys.readouterr().out


def test_blind_and_told_forecasts_are_those_of_the_run(told, target, tmp_path, capsys):
    folder, weather = told
    cube, day = write(tmp_path / "last_days.nc", values_of()[:350]), day_axis(FIRST, DAYS)[349]
    own = of_init_day(folder / "forecast.nc", day)
    found = forecast(tmp_path / "told", folder, cube=cube, coming_weather=weather, points=("here:31.2,102.4",))
    assert found.parent.name == "lstm-lead1_3-last_days-with-forecast"
    of_day = of_init_day(found / "forecast.nc", day)
    for name in ("forecast", "spread", "quantile"):
        np.testing.assert_allclose(of_day[name], own[name], err_msg=name, **NEAR)
    found = forecast(tmp_path / "blind", folder, cube=cube, coming_weather="none", points=("here:31.2,102.4",))
    of_day = of_init_day(found / "forecast.nc", day)
    np.testing.assert_allclose(of_day["forecast"], own["blind"], **NEAR)
    assert np.isnan(of_day["spread"]).all() and read_csv(found / "points.csv")[0]["spread"] == ""


@pytest.mark.parametrize("model, head", [form.split("-") for form in FORMS])
def test_every_network_forecasts_as_in_its_test(model, head, target, tmp_path):
    script = load_script("ERA5test", model)
    settings = complete(Experiment(head=head, lead_time=3, drop_inputs=("soil_temperature",)), learning_rate=1e-3,
                        paper_hidden=script["PAPER_HIDDEN"])
    cube, splits = split_cube(target, settings)
    record = open_record(cube, "target", splits, max_gap_days=10, hidden=settings.drop_inputs)
    record = scale_record(record, splits.fit_days, scaling=settings.scaling)
    torch.manual_seed(0)
    network = script[f"make_{model}"](settings, record)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.1)
    folder = tmp_path / "ERA5test" / model / "target" / "lead3"
    write_json(folder / "settings.json", {"script": f"ERA5test/{model}.py", "cube": {"sha256": ""}})
    save_model(Run(folder, False, "target"), network, record, settings, splits)

    members = forecasting.open_members([str(folder)])
    cube, first, last = forecasting.open_last_days(target, members)
    of_last_days = forecasting.Records(cube.isel(time=slice(0, 381)), "target", 380, 380, whole=False)
    found = forecasting.make_forecasts(members, of_last_days, day_axis(FIRST, DAYS)[380:381])
    assert (first, last) == (399, 399) and np.isnan(found.spread).all()
    expected = forecast_days(network, record, np.array([383]), "cpu", progress=False)
    np.testing.assert_allclose(found.forecast[0, 0], expected[0, 0], **NEAR)


def test_last_days_of_a_long_record_are_enough(tmp_path, monkeypatch):
    """Means of the past and motion of the rain to float32 rounding; no more is read of a large map than may be."""
    cube = open_cube(write(tmp_path / "long.nc", weather_values(1300, 4, 5)))
    sequence = SimpleNamespace(input_days=8, lead_times=(1,))
    whole = cube_record(cube, "long", sequence, 10, ())
    back = days_looked_back(8, 10, 20)
    assert back == 7 + 999
    recent = recent_record(cube.isel(time=slice(1299 - back, None)), "long", whole.land, init_days=2, max_gap_days=10,
                           **vars(sequence))
    assert len(recent.time) == 12 and recent.time[-1] == whole.time[-1]
    for name in ("carried", "age", "antecedent"):
        np.testing.assert_allclose(getattr(recent, name), getattr(whole, name)[-19:], rtol=3e-6, err_msg=name)
    np.testing.assert_allclose(recent.motion().maps, whole.motion().maps[-19:], rtol=1e-4, atol=1e-2)
    assert days_looked_back(8, 10, 430 * 675) == 57 and days_looked_back(30, 40, 4000 * 4000) == 69


# ------------------------------------------------------------------------------------------------------------- what is known
def test_cube_that_ends_with_gaps_is_forecast_from_its_last_day_with_values(ensemble, tmp_path, capsys):
    values, days = values_of()[:350], day_axis(FIRST, DAYS)
    values[348:] = np.nan  # nothing at all
    values[344:, 1] = np.nan  # soil moisture three days longer
    values[346, 1, 0, 0] = 0.3  # but for a cell
    found = forecast(tmp_path, ensemble / "seed0", cube=write(tmp_path / "gaps.nc", values), points=("a:31,102", "b:30,100"))
    assert found.name == str(days[347])
    said = capsys.readouterr().out
    assert f"soil_moisture       {days[346]}" in said and f"precipitation       {days[347]}" in said
    with xr.open_dataset(found / "forecast.nc") as dataset:
        assert np.isfinite(dataset["forecast"].values).sum() == 2 * 19
    a, _, b, _ = read_csv(found / "points.csv")
    assert (a["last_observed_time"], b["last_observed_time"]) == (str(days[343]), str(days[346]))
    assert float(a["last_observed"]) == pytest.approx(values[343, 1, 1, 2], rel=1e-6)
    assert float(b["last_observed"]) == pytest.approx(0.3)


def test_age_of_the_inputs_and_what_it_makes_of_the_lead():
    day = np.datetime64("2026-11-22")
    assert forecasting.describe_leads(day, (1, 3, 5, 7), day + 4, "SPL4SMGP 8").splitlines() == [
        "the last input day is 2026-11-22, 4 days ago",
        "SMAP L4 comes about 3 days late: at best its newest day is 3 days ago.",
        "lead     is a forecast of              at best of",
        "1 day    2026-11-23, 3 days ago        2 days ago",
        "3 days   2026-11-25, yesterday         today",
        "5 days   2026-11-27, tomorrow          2 days from now",
        "7 days   2026-11-29, 3 days from now   4 days from now"]
    assert "Newer days should be there" not in forecasting.describe_leads(day, (3,), day + 6, "ERA5-Land")
    assert "Newer days should be there" in forecasting.describe_leads(day, (3,), day + 7, "ERA5-Land")
    assert "late" not in forecasting.describe_leads(day, (3,), day, "a model of our own")


def test_spread_of_a_box_is_that_of_the_errors_of_its_mean(ensemble, target, tmp_path):
    found = forecast(tmp_path, ensemble / "seed0", cube=target, boxes=("all:29,34,99,105",))
    with xr.open_dataset(ensemble / "seed0/validation.nc") as validation:
        errors = (validation["forecast"] - validation["observed"]).values
        days = validation["valid_time"].values.astype("datetime64[D]")
    area = np.cos(np.radians(30.0 + np.arange(4)))[:, None] * np.ones(5)
    area[SEA] = 0
    of_box = ((np.nan_to_num(errors) * area).sum(axis=(2, 3)) / area.sum()).astype(np.float32)[..., None, None]
    of_box, _ = error_spread(Validation(of_box, days), np.ones((1, 1), bool))
    row = read_csv(found / "points.csv")[1]
    expected = on_days(of_box[:, 1, 0, 0], np.array([row["valid_time"]], "datetime64[D]"))
    assert float(row["spread"]) == pytest.approx(expected[0], rel=1e-3)


def test_point_lies_in_its_cell_also_across_the_antimeridian():
    lat, lon = np.array([-1.0, 0.0, 1.0]), np.array([178.0, 179.0, 180.0, 181.0])
    assert cell_at(lat, lon, 0.4, -179.2) == (1, 3) and cell_at(lat, lon, -1.4, 177.6) == (0, 0)
    assert cell_at(lat, lon, 1.6, 179) == (None, 1) and cell_at(lat, lon, 0, -178.4) == (1, None)
    place, = read_places(("a:b:0.2,538.9",), (), lat, lon, np.ones((3, 4), bool))
    assert (place.name, place.cells.tolist()) == ("a:b", [5])


@pytest.mark.parametrize("lat, lon", [(30.0 + np.arange(4), 100.0 + np.arange(9)), (10.0 + np.arange(9), 176.0 + np.arange(4))])
def test_figure_shows_what_is_not_known_and_holds_its_text(lat, lon):
    forecast = np.random.default_rng(0).uniform(0.1, 0.4, (len(lat), len(lon)))
    last, spread = forecast.copy(), np.full_like(forecast, 0.02)
    last[0, 0], forecast[-1, -1] = np.nan, np.nan
    told = {"lat": lat, "lon": lon, "title": "convlstm_with_forecast, synthetic twin of smap_l4: 3 days ahead, from 2020-12-31",
            "last_days": "2020-12-21 to 2020-12-31", "valid_day": "2021-01-03"}
    figure = draw_forecast.forecast_figure(last=last, forecast=forecast, spread=spread, **told)
    figure.draw_without_rendering()
    assert [axes.get_title()[:3] for axes in figure.axes[:4]] == ["(a)", "(b)", "(c)", "(d)"]
    assert "grey" in figure.axes[0].get_title() and len(figure.axes[0].collections) == 3  # cells, gaps, coast
    for text in (*figure.texts, *(part for axes in figure.axes for part in (axes.title, axes.xaxis.label))):
        if text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0, text.get_text()
    titles = [axes.title.get_window_extent() for axes in figure.axes[:2]]
    assert not titles[0].overlaps(titles[1])
    without = draw_forecast.forecast_figure(last=last, forecast=forecast, spread=np.full_like(forecast, np.nan), **told)
    assert [axes.get_title()[:3] for axes in without.axes[:3]] == ["(a)", "(b)", "(c)"] and len(without.axes) == 6


# ---------------------------------------------------------------------------------------------------------------- refusals
def old_soil_moisture(values):
    values[-12:, 1] = np.nan


def nothing_lately(values):
    values[-32:] = np.nan


def no_rain(values):
    values[:, 0] = np.nan


@pytest.mark.parametrize("change, words", [
    (old_soil_moisture, "soil_moisture is known on 0% of the land within the last 11 days (seen last on 2015-12-04"),
    (nothing_lately, "has no value on land in its last 31 days, up to 2015-12-16"),
    (no_rain, "precipitation is known on 0% of the land within the last 11 days (seen never in the days that were read"),
    (lambda values: values.__setitem__((slice(-3, None), 1), 31.0), "soil_moisture reaches from"),
])
def test_cube_that_a_forecast_cannot_rest_on_is_refused(change, words, ensemble, tmp_path):
    values = values_of()[:350]
    change(values)
    with pytest.raises(UserError) as error:
        forecast(tmp_path, ensemble / "seed0", cube=write(tmp_path / "cube.nc", values))
    assert words in str(error.value) and not list(tmp_path.glob("finetune*/**/*.nc"))


@pytest.mark.parametrize("settings, words", [
    ({"points": ("here",)}, "point is 'here'; it must be name:lat,lon"),
    ({"points": ("far:60,102",)}, "'far:60,102' lies outside the map, which reaches from 29.50 to 33.50 N"),
    ({"points": ("sea:32.1,103.1",)}, "lies in a cell without soil moisture"),
    ({"points": ("a:31,101", "a:31,102")}, "name a twice"),
    ({"boxes": ("far:0,1,2,3",)}, "holds no cell centre of the cube"),
    ({"points": ("swapped:102,31",)}, "102 is no latitude. Give name:lat,lon"),
    ({"boxes": ("swapped:33,30,101,104",)}, "its south, 33, lies north of its north, 30"),
    ({"boxes": ("sea:31.9,32.1,102.9,103.1",)}, "box 'sea' holds no land cell"),
    ({"since": "2017-01-01"}, "since is 2017-01-01, but the days"),
    ({"since": "soon"}, "since is 'soon'; expected a date"),
    ({"coming_weather": "weather.nc"}, "has not learned what to do with coming weather"),
    ({"cube": "OTHER"}, "was trained on a grid of 4 x 5 cells from 30.00 N"),
    ({"cube": "nowhere.nc"}, "no such file"),
])
def test_mistake_is_answered_with_one_sentence(settings, words, ensemble, target, tmp_path):
    if settings.get("cube") == "OTHER":
        settings = {"cube": write(tmp_path / "other.nc", values_of()[:100], south=40.0)}
    with pytest.raises(UserError) as error:
        forecast(tmp_path, ensemble / "seed0", **{"cube": target} | settings)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_runs_that_do_not_belong_together_are_refused(ensemble, told, target, tmp_path):
    with pytest.raises(UserError, match="no run with a model.pt"):
        forecast(tmp_path, tmp_path, cube=target)
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "settings.json").write_text("{}")
    with pytest.raises(UserError, match="started holds an unfinished run: it has no model.pt yet"):
        forecast(tmp_path, tmp_path / "started", cube=target)
    with pytest.raises(UserError, match="only one of both knows of coming weather"):
        forecast(tmp_path, ensemble / "seed0", told[0], cube=target)
    other = tmp_path / "SMAPtest/convlstm/target/lead3"
    shutil.copytree(ensemble / "seed1", other)
    with xr.open_dataset(ensemble / "seed1" / "validation.nc") as file:
        file.isel(valid_time=slice(1, None)).to_netcdf(other / "validation.nc")
    with pytest.raises(UserError, match="were validated on different days"):
        forecast(tmp_path, ensemble / "seed0", other, cube=target)
    assert not (tmp_path / "finetune-SMAPtest").exists(), "no forecast is begun"
    model = torch.load(other / "model.pt", weights_only=True)
    model["settings"] |= {"lead_times": None, "lead_time": 3}
    torch.save(model, other / "model.pt")
    with pytest.raises(UserError, match="it forecasts 3 days ahead, not 1, 3 days"):
        forecast(tmp_path, ensemble / "seed0", other, cube=target)


@pytest.mark.parametrize("coming_weather, words", [(None, "give --coming-weather FILE"), ("observed", "which is no forecast"),
                                                   ("nowhere.nc", "no such file"), ("twin", "not the synthetic twin")])
def test_run_that_knows_of_coming_weather_has_to_be_told(coming_weather, words, told, target, tmp_path):
    with pytest.raises(UserError, match=words):
        forecast(tmp_path, told[0], cube=target, coming_weather=coming_weather)


def test_weather_forecast_of_other_days_is_refused(told, target, tmp_path):
    with pytest.raises(UserError, match="none from the last input day, 2016-02-04"):  # it ends five days before the cube
        forecast(tmp_path, told[0], cube=target, coming_weather=told[1])
