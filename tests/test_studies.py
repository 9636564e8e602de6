"""The studies as people run them: the paper's table, the learning curve, what a forecast rests on, members and lead times."""
import csv
import json
import runpy
from types import SimpleNamespace

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from data_processing.errors import UserError
from tests.conftest import ROOT
from utils import factors, learning, study, tables
from utils.draw_table import draw_gain, draw_scatters
from utils.evaluation import METRIC_COLUMNS
from utils.models.forms import FORMS
from utils.runs import Run
from utils.study import QUICK_NOTE

pytestmark = pytest.mark.usefixtures("coarse_figures")
SHORT = {"steps": 4, "hidden": (4,)}
MODELS = ("cnn", "lstm", "conv3d_lstm")


def load(script):
    """Names of a script's module."""
    return runpy.run_path(str(ROOT / script))


def call(script, **settings):
    """Run a script in this process."""
    loaded = load(script)
    loaded["main"](loaded["Settings"](**settings))


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def source(weather_cube):
    return str(weather_cube(name="source", first="2012-01-01", days=900, seed=1, columns=6))


@pytest.fixture
def target(weather_cube):
    return str(weather_cube(name="target", first="2015-06-01", days=700, seed=2))


@pytest.fixture
def shortest(monkeypatch):
    """Quick forms that are quicker still: these tests are about the tables, not the networks."""
    for module, name in ((tables, "QUICK_LOCAL"), (learning, "QUICK_STEPS")):
        monkeypatch.setattr(module, name, {folder: {**SHORT, **({"worlds": 0} if folder == "ERA5test" else {})}
                                           for folder in ("ERA5test", "SMAPtest", "finetune-SMAPtest")})


# ------------------------------------------------------------------------------------------------ the paper's table
def test_paper_table_holds_every_form_and_what_transfer_is_worth(source, target, tmp_path, shortest, capsys):
    settings = {"cube": target, "source_cube": source, "results": str(tmp_path / "results"), "quick": True,
                "lead_times": (3, 5), "forms": ("lstm-local", "cnn-dense")}
    call("finetune-SMAPtest/paper_table.py", **settings)
    folder = tmp_path / "results/finetune-SMAPtest/paper_table/target-quick"
    assert {path.name for path in folder.glob("[!.]*")} == {
        "table.csv", "table.md", "table.tex", "gain_by_region.csv",
        *(f"{figure}.{kind}" for figure in ("scatter", "gain", "skill", "gain_by_region") for kind in ("png", "txt"))}
    rows = {(row["form"], row["training"], row["lead_time"]): row for row in read_csv(folder / "table.csv")}
    assert {key[2] for key in rows} == {"3"}  # the quick form stops at the first lead time
    scratch, transferred = (rows["lstm-local", training, "3"] for training in ("scratch", "transferred"))
    gain = 1 - float(transferred["mse"]) / float(scratch["mse"])
    assert float(transferred["gain_by_transfer"]) == pytest.approx(gain, rel=1e-4)
    assert float(transferred["gain_low"]) <= float(transferred["gain_by_transfer"]) <= float(transferred["gain_high"])
    damped = rows["damped_persistence", "", "3"]
    assert float(scratch["skill_damped_persistence"]) == pytest.approx(1 - float(scratch["mse"]) / float(damped["mse"]),
                                                                            rel=1e-4)
    assert float(scratch["rmse"]) ** 2 == pytest.approx(float(scratch["mse"]))
    assert scratch["n"] == transferred["n"] == damped["n"] == str(90 * 20)
    for row in read_csv(folder / "gain_by_region.csv"):  # of one member, so that all is the gain of the table
        if row["region"] == "all":
            assert float(row["gain_by_transfer"]) == pytest.approx(
                float(rows["lstm-local", "transferred", row["lead_time"]]["gain_by_transfer"]), rel=1e-4)
    assert row["form"] == "lstm-local" and row["region"] == "wet third"
    assert rows["cnn-dense", "transferred", "3"]["remark"] == tables.NO_TRANSFER  # 4 x 6 cells there, 4 x 5 here
    assert "**" in (folder / "table.md").read_text() and r"\textbf{" in (folder / "table.tex").read_text()
    said = capsys.readouterr().out
    assert all(QUICK_NOTE in text for text in (said, *((folder / name).read_text() for name in (
        "table.md", "table.tex", "scatter.txt", "gain.txt", "gain_by_region.txt", "skill.txt"))))
    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("model.pt")}
    capsys.readouterr()
    call("finetune-SMAPtest/paper_table.py", **settings)
    assert "3 runs, 3 of them are made already" in capsys.readouterr().out
    assert models == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("model.pt")}


def test_paper_table_names_the_observed_weather_a_bound_and_never_the_best(source, target, tmp_path, shortest):
    call("finetune-SMAPtest/paper_table.py", cube=target, source_cube=source, results=str(tmp_path), quick=True, lead_times=(3,),
         forms=("lstm-local",), coming_weather="observed")
    folder = tmp_path / "finetune-SMAPtest/paper_table/target-quick-observed-weather-bound"
    rows = {row["training"]: row for row in read_csv(folder / "table.csv") if row["form"] == "lstm-local"}
    bound, blind = rows["observed weather (bound)"], rows["transferred"]
    gain = 1 - float(bound["mse"]) / float(blind["mse"])
    assert float(bound["gain_by_weather"]) == pytest.approx(gain, rel=1e-3) and blind["gain_by_weather"] == ""
    assert float(bound["weather_low"]) <= gain <= float(bound["weather_high"])
    assert all("**" not in line for line in (folder / "table.md").read_text().splitlines() if "(bound)" in line)


def test_error_against_lead_has_one_line_for_each_forecaster(tmp_path):
    def row(form, training, lead_time, rmse):
        return {"form": form, "training": training, "lead_time": lead_time, "rmse": rmse}

    with open(tmp_path / "daily_scores.csv", "w") as file:
        file.write("forecaster,lead_time,valid_time,n,squared_error,observed_sum,observed_square\n")
        for lead_time, error in ((1, 0.02), (3, 0.03)):
            file.write(f"lstm_observed_weather_bound,{lead_time},2020-01-01,10,{10 * error ** 2},2,0.5\n")
    rows = [row(*key, lead, rmse + 0.01 * lead) for key, rmse in {
        ("cnn-local", "scratch"): 0.05, ("lstm-local", "transferred"): 0.04, ("lstm-local", "with forecast"): 0.03,
        ("persistence", ""): 0.06, ("ceiling", ""): 0.035}.items() for lead in (1, 3)]
    run = tables.StudyRun("lstm-local", "with forecast", (1, 3), tmp_path, 1)
    lines = {kind: (label, errors) for kind, label, errors, _ in tables.lead_lines([run], rows)}
    assert set(lines) == {"persistence", "ceiling", "blind", "with forecast", "bound"}
    assert lines["blind"][0] == "lstm-local, blind" and lines["blind"][1] == pytest.approx({1: 0.05, 3: 0.07})
    assert lines["with forecast"][1] == pytest.approx({1: 0.04, 3: 0.06})
    assert lines["bound"][1] == pytest.approx({1: 0.02, 3: 0.03}) and "upper bound" in lines["bound"][0]


def test_study_refuses_an_unknown_form_and_a_missing_source(target, tmp_path):
    shared = {"cube": target, "results": str(tmp_path / "results")}
    with pytest.raises(UserError, match="forms names gru; known are"):
        call("finetune-SMAPtest/paper_table.py", forms=("gru",), source_cube=target, **shared)
    with pytest.raises(UserError, match="no source is named to pre-train on"):
        call("finetune-SMAPtest/learning_curve.py", **shared)


def test_study_refuses_to_reuse_a_run_that_was_made_otherwise(source, target, tmp_path, shortest):
    settings = {"cube": target, "results": str(tmp_path), "quick": True, "source_cube": source, "lead_times": (3,),
                "forms": ("lstm-local",)}
    call("SMAPtest/lstm.py", cube=target, results=str(tmp_path), name="target-quick", **SHORT)
    with pytest.raises(UserError, match="holds a run that was made otherwise: .*another --name"):
        call("finetune-SMAPtest/paper_table.py", **settings)


@pytest.mark.slow
def test_study_refuses_to_reuse_a_run_that_was_pretrained_on_another_cube(source, target, weather_cube, tmp_path, shortest):
    other = str(weather_cube(name="other", first="2012-01-01", days=900, seed=5, columns=6))
    shared = {"cube": target, "results": str(tmp_path), "name": "same", "worlds": 0, "test_days": 100, **SHORT}
    study.run_or_reuse("finetune-SMAPtest", "lstm", source_cube=source, **shared)
    study.run_or_reuse("finetune-SMAPtest", "lstm", source_cube=source, **shared)  # as it was: reused
    with pytest.raises(UserError, match="it was pre-trained on source, .*other.nc was asked"):
        study.run_or_reuse("finetune-SMAPtest", "lstm", source_cube=other, **shared)
    with pytest.raises(UserError, match="weight_decay is 0.01 there, 0.5 was asked"):
        study.run_or_reuse("finetune-SMAPtest", "lstm", source_cube=source, **shared | {"weight_decay": 0.5})
    with pytest.raises(UserError, match="test_days is 100 there, None was asked"):
        study.run_or_reuse("finetune-SMAPtest", "lstm", source_cube=source, **shared | {"test_days": None})


@pytest.mark.slow
def test_study_goes_on_where_a_pretraining_was_interrupted(source, target, tmp_path, monkeypatch):
    asked = {"cube": target, "source_cube": source, "results": str(tmp_path), "worlds": 0, "test_days": 100, "seeds": 2, **SHORT}
    save = Run.save_checkpoint

    def save_then_break(run, state):
        save(run, state)
        raise KeyboardInterrupt
    monkeypatch.setattr(Run, "save_checkpoint", save_then_break)
    monkeypatch.setattr("utils.training.CHECKPOINT_SHARE", np.inf)
    with pytest.raises(KeyboardInterrupt):
        study.run_or_reuse("finetune-SMAPtest", "lstm", **asked)
    assert not list(tmp_path.rglob("metrics.csv")) and len(list(tmp_path.rglob("checkpoint.pt"))) == 1
    monkeypatch.setattr(Run, "save_checkpoint", save)
    folder = study.run_or_reuse("finetune-SMAPtest", "lstm", **asked)
    assert (folder / "metrics.csv").exists() and (folder / "seed1/metrics.csv").exists()


def test_few_test_days_are_refused_before_anything_is_trained(source, target, tmp_path):
    for script in ("paper_table", "learning_curve"):
        with pytest.raises(UserError, match="30 test days are under three blocks"):
            call(f"finetune-SMAPtest/{script}.py", cube=target, source_cube=source, results=str(tmp_path), test_from="2017-04-01")
    assert not list(tmp_path.rglob("training_log.csv"))


@pytest.mark.parametrize(("forms", "lead_times"), [(7, (3,)), (9, (3, 5, 7))])
def test_figures_of_many_forms_are_those_of_a_page(tmp_path, forms, lead_times):
    values = 0.1 + 0.3 * np.random.default_rng(0).random((2, 12, len(lead_times), 4, 5))
    with netCDF4.Dataset(tmp_path / "forecast.nc", "w") as file:
        for name, axis in (("time", range(12)), ("lead_time", lead_times), ("lat", (30, 31, 32, 33)), ("lon", (100, 101, 102, 103, 104))):
            file.createDimension(name, len(axis))
            file.createVariable(name, "i4", name)[:] = axis
        for name, of_name in zip(("forecast", "observed"), values):
            file.createVariable(name, "f4", ("time", "lead_time", "lat", "lon"))[:] = of_name
    runs = [tables.StudyRun(form, training, lead_times, tmp_path, 1) for form in FORMS[:forms] for training in ("scratch", "transferred")]
    for draw in (draw_scatters, draw_gain):
        draw(tmp_path / "drawn.png", runs, lead_times, "twin")
        picture = Image.open(tmp_path / "drawn.png")
        width, height = (25.4 * dots / picture.info["dpi"][0] for dots in picture.size)
        assert width < 191 and height < 241


# ---------------------------------------------------------------------------------------------- the learning curve
def test_learning_curve_scores_every_way_on_the_same_values(source, target, tmp_path, shortest):
    call("finetune-SMAPtest/learning_curve.py", cube=target, source_cube=source, results=str(tmp_path), quick=True,
         model="lstm", lead_times=(1, 3))
    folder = tmp_path / "finetune-SMAPtest/learning_curve/target-quick-lstm"
    rows = read_csv(folder / "learning_curve.csv")
    assert (folder / "learning_curve.png").exists() and "| 3 | 45 |" in (folder / "learning_curve.md").read_text()
    assert all(QUICK_NOTE in (folder / f"learning_curve.{kind}").read_text() for kind in ("md", "txt"))
    found = {(row["forecaster"], row["train_days"], row["lead_time"]): row for row in rows}
    assert {key[0] for key in found} == {*learning.WAYS, "persistence", "damped_persistence", "climatology", "water_balance",
                                           learning.DAMPED_OF_ALL}
    assert {key[1:] for key in found} == {(days, lead) for days in ("0", "45") for lead in ("1", "3")}
    for days in ("0", "45"):
        assert len({row["n"] for row in rows if row["train_days"] == days}) == 1
    one, damped = found["zero-shot", "45", "3"], found["damped_persistence", "45", "3"]
    assert float(one["skill_damped_persistence"]) == pytest.approx(1 - float(one["mse"]) / float(damped["mse"]), rel=1e-4)
    # the share of the way that 45 days allow is (45 / 365)^2: hardly any
    assert float(found["fine-tuned", "45", "3"]["rmse"]) == pytest.approx(float(one["rmse"]), rel=0.005)


@pytest.mark.slow
def test_learning_curve_takes_coming_weather_as_one_more_way(source, target, tmp_path, shortest):
    call("finetune-SMAPtest/learning_curve.py", cube=target, source_cube=source, results=str(tmp_path), quick=True,
         model="lstm", lead_times=(3,), coming_weather="observed")
    folder = tmp_path / "finetune-SMAPtest/learning_curve/target-quick-lstm-observed-weather-bound"
    rows = read_csv(folder / "learning_curve.csv")
    assert {row["train_days"] for row in rows if row["forecaster"] == "observed weather (bound)"} == {"0", "45"}
    table = (folder / "learning_curve.md").read_text().splitlines()
    column = table[2].split("|").index(" observed weather (bound) ")
    assert "upper bound" in table[0] and not any("**" in line.split("|")[column] for line in table[4:])
    assert {path.parent.parent.name for path in (tmp_path / "ERA5test/lstm").glob("*/*/model.pt")} == {
        "target-quick-lstm", "target-quick-lstm-observed-weather-bound"}


def test_a_cube_of_one_row_leaves_everything_but_a_spectrum(weather_cube, tmp_path):
    path = weather_cube(name="row", days=500, rows=1, columns=8)
    call("SMAPtest/lstm.py", cube=str(path), results=str(tmp_path), test_days=60, **SHORT)
    folder = tmp_path / "SMAPtest/lstm/row/lead3"
    assert (folder / "metrics.csv").exists() and (folder / "spectrum.csv").exists() and not (folder / "spectrum.png").exists()


# ------------------------------------------------------------------------------------------ what a forecast rests on
class LastValue(torch.nn.Module):
    """Forecasts the last soil moisture: nothing else can matter."""

    every_day, looks_around = True, False

    def forward(self, batch):
        return batch.inputs[:, -1:, None, 1]


def test_exchange_of_an_input_harms_only_forecasts_that_rest_on_it(weather_cube):
    from data_processing.cube import open_cube
    from data_processing.record import open_record, scale_record
    from data_processing.splits import split_cube
    from tests.conftest import Experiment
    path = weather_cube(days=500)
    cube, splits = split_cube(path, Experiment(input_days=5))
    record = scale_record(open_record(open_cube(path), "weather", splits, max_gap_days=10), splits.fit_days, scaling="cell")
    run = factors.OpenedRun("SMAPtest", "lstm", None, SimpleNamespace(), LastValue(), record, splits, "weather")
    rows = {(row["input"], row["part"]): row for row in factors.permutation_rows(run, repeats=2, seed=0)}
    assert rows["soil_moisture", "all"]["increase"] > 0.5
    for name in ("precipitation", "soil_temperature", "season", "place"):
        assert rows[name, "all"]["increase"] == 0.0
    every = rows["soil_moisture", "all"]
    halves = [rows["soil_moisture", part] for part in ("dry half", "wet half")]
    assert sum(half["n"] for half in halves) == every["n"]
    assert sum(half["n"] * half["mse"] for half in halves) / every["n"] == pytest.approx(every["mse"])


def test_permuted_blocks_keep_neighbours_and_leave_no_day_in_its_place():
    random = np.random.default_rng(0)
    shifts = set()
    for _ in range(20):
        order = factors.permuted_blocks(random, 95, 20)  # blocks of 24, 24, 24 and 23 days
        assert (order != np.arange(95)).all() and (np.diff(order) == 1).sum() >= 95 - 5
        assert len(set(order)) >= 94  # the last day of the short block may stand in twice
        shifts.add(tuple(order))
    assert len(shifts) == 9  # all derangements of four blocks, not only turns of the calendar


def test_factor_importance_of_a_finished_run(target, tmp_path, capsys):
    call("SMAPtest/lstm.py", cube=target, results=str(tmp_path), lead_times=(1, 3), test_days=60, **SHORT)
    folder = tmp_path / "SMAPtest/lstm/target/lead1_3"
    call("finetune-SMAPtest/factor_importance.py", run=str(folder), repeats=1, results=str(tmp_path))
    rows = read_csv(folder / "factor_importance.csv")
    assert {(row["input"], row["lead_time"]) for row in rows} == {
        (name, lead) for name in ("precipitation", "soil_moisture", "soil_temperature", "season", "place") for lead in "13"}
    assert (folder / "factor_importance.png").exists()
    with pytest.raises(UserError, match="no finished run with a model.pt"):
        call("finetune-SMAPtest/factor_importance.py", run=str(tmp_path / "nowhere"))


def test_factor_importance_of_a_run_that_is_told_coming_weather(target, tmp_path):
    call("SMAPtest/lstm.py", cube=target, results=str(tmp_path), test_days=100, coming_weather="observed", steps=150, hidden=(8,),
         lead_times=(1, 3))
    folder = tmp_path / "SMAPtest/lstm/target-observed-weather-bound/lead1_3"
    call("finetune-SMAPtest/factor_importance.py", run=str(folder), repeats=1, results=str(tmp_path))
    grows = {(row["input"], row["lead_time"]): float(row["increase"]) for row in read_csv(folder / "factor_importance.csv")
             if row["part"] == "all"}
    assert grows["coming precipitation", "3"] > 0.1 and grows["coming precipitation", "3"] > 3 * abs(grows["coming temperature", "3"])
    assert "upper bound" in factors.open_run(folder).title


def test_factor_importance_refuses_a_run_whose_cube_has_changed(target, weather_cube, tmp_path):
    call("SMAPtest/lstm.py", cube=target, results=str(tmp_path), test_days=60, **SHORT)
    weather_cube(name="target", first="2015-06-01", days=700, seed=9)
    with pytest.raises(UserError, match="its content has changed"):
        factors.open_run(tmp_path / "SMAPtest/lstm/target/lead3")


@pytest.mark.slow
def test_fine_tuning_without_each_input_starts_from_pretrainings_without_it(source, target, tmp_path):
    shared = {"results": str(tmp_path), "test_days": 60, "worlds": 0, **SHORT}
    call("finetune-SMAPtest/lstm.py", cube=target, source_cube=source, **shared)
    folder = tmp_path / "finetune-SMAPtest/lstm/target/lead3"
    call("finetune-SMAPtest/factor_importance.py", run=str(folder), repeats=1, drop_one=True, results=str(tmp_path))
    assert sum(row["method"] == "drop one" for row in read_csv(folder / "factor_importance.csv")) > 0
    assert (tmp_path / "ERA5test/lstm/source-without-season/lead3/metrics.csv").exists()


@pytest.mark.slow
def test_training_without_each_input_is_scored_beside_the_run_with_all(target, tmp_path):
    call("SMAPtest/lstm.py", cube=target, results=str(tmp_path), test_days=60, **SHORT)
    folder = tmp_path / "SMAPtest/lstm/target/lead3"
    call("finetune-SMAPtest/factor_importance.py", run=str(folder), repeats=1, drop_one=True, results=str(tmp_path))
    rows = [row for row in read_csv(folder / "factor_importance.csv") if row["method"] == "drop one" and row["part"] == "all"]
    assert len(rows) == 5
    for row in rows:
        without = read_csv(tmp_path / f"SMAPtest/lstm/target-without-{row['input']}/lead3/metrics.csv")[0]
        assert float(row["mse"]) == pytest.approx(float(without["mse_pooled"]), rel=1e-5)


# ----------------------------------------------------------------------------------------------------- every script
@pytest.mark.parametrize("model", MODELS)
def test_every_network_is_pretrained_and_fine_tuned_in_our_form(model, source, target, tmp_path):
    shared = {"results": str(tmp_path), "test_days": 60, **SHORT}
    call(f"SMAPtest/{model}.py", cube=target, **shared)
    call(f"ERA5test/{model}.py", cube=source, worlds=0, **shared)
    call(f"finetune-SMAPtest/{model}.py", cube=target, source_cube=source, worlds=0, **shared)
    for experiment, name in (("ERA5test", "source"), ("SMAPtest", "target"), ("finetune-SMAPtest", "target")):
        rows = read_csv(tmp_path / experiment / model / name / "lead3/metrics.csv")
        assert rows[0]["forecaster"] == model and tuple(rows[0]) == METRIC_COLUMNS


@pytest.mark.parametrize("model", MODELS)
def test_every_network_trains_in_the_papers_form(model, target, tmp_path):
    call(f"SMAPtest/{model}.py", cube=target, results=str(tmp_path), head="dense", epochs=1, test_days=60)
    assert read_csv(tmp_path / f"SMAPtest/{model}/target-dense/lead3/metrics.csv")[0]["forecaster"] == model


def test_members_and_their_mean_stand_in_one_table_and_the_spread_in_the_forecast(target, tmp_path, capsys):
    settings = {"cube": target, "results": str(tmp_path), "lead_times": (1, 4), "seeds": 2, "test_days": 60, **SHORT}
    call("SMAPtest/lstm.py", **settings)
    folder = tmp_path / "SMAPtest/lstm/target/lead1_4"
    rows = {(row["forecaster"], row["lead_time"]): row for row in read_csv(folder / "metrics.csv")}
    members, values = [], {}
    for number in (0, 1):
        with xr.open_dataset(folder / f"seed{number}/forecast.nc") as file:
            members.append(file["forecast"].values)
    with xr.open_dataset(folder / "forecast.nc") as file:
        values = {name: file[name].values for name in ("forecast", "spread", "quantile", "observed")}
    np.testing.assert_allclose(values["forecast"], np.mean(members, axis=0), atol=1e-6)
    assert not (values["quantile"][0] > values["quantile"][1]).any() and np.isfinite(values["quantile"]).any()
    written = json.loads((folder / "settings.json").read_text())
    assert written["members"] == ["seed0", "seed1"] and (folder / "splits.csv").exists()
    for lead, lead_time in enumerate(("1", "4")):
        names = ("lstm_ensemble", "lstm_seed0", "lstm_seed1")
        mse = [float(rows[name, lead_time]["mse_pooled"]) for name in names]
        assert mse[0] <= np.mean(mse[1:]) + 1e-12  # the mean is never worse than its members on average
        of_lead = np.isfinite(values["forecast"][:, lead]) & np.isfinite(values["observed"][:, lead])
        assert of_lead.sum() == int(rows["lstm_ensemble", lead_time]["n"])
    with pytest.raises(UserError, match="holds a finished ensemble"):
        call("SMAPtest/lstm.py", **settings)
    (folder / "metrics.csv").unlink()
    with pytest.raises(UserError, match="seed0 holds a member that was made otherwise: .*patience is 10 there, 3 was"):
        call("SMAPtest/lstm.py", **settings, patience=3)
