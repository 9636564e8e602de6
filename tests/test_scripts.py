"""The scripts as people run them: what they leave behind, what they refuse, and that they can be trusted."""
import ast
import csv
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import time

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

from data_processing.cube import write_cube
from data_processing.errors import UserError
from tests.conftest import ROOT, day_axis, weather_values
from utils import study
from utils.evaluation import METRIC_COLUMNS

pytestmark = pytest.mark.usefixtures("coarse_figures")
FILES = {"settings.json", "splits.csv", "training_log.csv", "model.pt", "checkpoint.pt", "forecast.nc", "metrics.csv",
         "cell_metrics.nc", "daily_scores.csv", "validation.nc", "regions.csv", "events.csv", "spectrum.csv", "ensemble.csv",
         *(f"{figure}.{kind}" for figure in ("regions", "events", "spectrum", "ensemble", "map", "scatter", "skill_map", "series")
           for kind in ("png", "pdf", "txt"))}
BASELINES = ["persistence", "damped_persistence", "climatology", "water_balance"]
QUICK = {"epochs": 1, "hidden": (4,)}


def command(script, **settings):
    """Command line of a script."""
    words = [sys.executable, str(ROOT / script)]
    settings = without_worlds(script) | settings
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words += [flag]
        elif isinstance(value, tuple):
            words += [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return words


def run(script, folder, **settings):
    """Run a script as a process from another folder."""
    return subprocess.run(command(script, **settings), cwd=folder, capture_output=True, text=True, timeout=300)


def call(script, **settings):
    """Run a script in this process, which saves the seconds that imports take."""
    loaded = runpy.run_path(str(ROOT / script))
    loaded["main"](loaded["Settings"](**(without_worlds(script) | settings)))


def without_worlds(script):
    """Pre-training on synthetic worlds takes longer than a test should."""
    return {} if script.startswith("SMAPtest") else {"worlds": 0}


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def source(weather_cube):
    return weather_cube(name="source", first="2013-01-01", days=600, seed=1)


@pytest.fixture
def target(weather_cube):
    return weather_cube(name="target", first="2015-01-01", days=400, seed=2)


def test_fault_12_scripts_run_from_any_folder_and_leave_what_they_promise(source, target, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    results = tmp_path / "results"
    relative = os.path.relpath(target, elsewhere)
    for script, cubes in (("ERA5test", {"cube": source}), ("SMAPtest", {"cube": relative}),
                          ("finetune-SMAPtest", {"cube": relative, "source_cube": source})):
        done = run(f"{script}/convlstm.py", elsewhere, results=results, **cubes, **QUICK)
        assert done.returncode == 0, done.stderr
    for experiment, name in (("ERA5test", "source"), ("SMAPtest", "target"), ("finetune-SMAPtest", "target")):
        folder = results / experiment / "convlstm" / name / "lead3"
        assert {path.name for path in folder.iterdir()} == FILES
        rows = read_csv(folder / "metrics.csv")
        assert tuple(rows[0]) == METRIC_COLUMNS
        assert [row["forecaster"] for row in rows] == ["convlstm", *BASELINES]
        assert len({row["n"] for row in rows}) == 1
        assert all(np.isfinite(float(row["rmse_pooled"])) for row in rows)
    assert not list(elsewhere.iterdir())
    settings = json.loads((results / "finetune-SMAPtest/convlstm/target/lead3/settings.json").read_text())
    assert settings["settings"]["input_days"] == 30 and len(settings["cube"]["sha256"]) == 64
    assert settings["packages"]["torch"].startswith("2.")


def test_fault_13_every_class_and_function_has_one_definition():
    places = {}
    for path in [*ROOT.glob("data_processing/*.py"), *ROOT.glob("utils/**/*.py"), *ROOT.glob("*test/*.py")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    of_scripts = {"Settings", "main", "train_and_test"}
    assert {name: paths for name, paths in places.items() if len(paths) > 1 and name not in of_scripts} == {}
    assert "make_convlstm" in places and "fit_scaler" in places and "window_view" in places


@pytest.mark.parametrize("head", ["local", "dense", "conv"])
def test_fault_17_baselines_stand_in_every_table_on_the_same_values(head, target, tmp_path):
    call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), head=head, epochs=1, name="run")
    rows = read_csv(tmp_path / "SMAPtest/convlstm/run/lead3/metrics.csv")
    assert [row["forecaster"] for row in rows] == ["convlstm", *BASELINES]
    assert {row["n"] for row in rows} == {str(100 * 20)}
    for row in read_csv(tmp_path / "SMAPtest/convlstm/run/lead3/spectrum.csv"):  # 1 degree at 31.5 N: 111.2 km x 94.8 km
        assert float(row["wavelength_km"]) == pytest.approx(102.7 * float(row["wavelength"]), rel=1e-3)


def test_fault_06_forecast_file_holds_every_test_day_with_its_dates(target, tmp_path):
    call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), lead_time=5, test_days=40, **QUICK)
    folder = tmp_path / "SMAPtest" / "convlstm" / "target" / "lead5"
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        assert file["forecast"].dimensions == ("init_time", "lead_time", "lat", "lon")
        assert file["forecast"].shape == file["observed"].shape == (40, 1, 4, 5)
        init = netCDF4.num2date(file["init_time"][:], file["init_time"].units)
        valid = netCDF4.num2date(file["valid_time"][:, 0], file["valid_time"].units)
        assert [(b - a).days for a, b in zip(init, valid)] == [5] * 40
        observed = file["observed"][:, 0].filled(np.nan)
    values = weather_values(400, 4, 5, seed=2)[-40:, 1]
    np.testing.assert_allclose(observed, values, atol=1e-6)


def test_fault_11_model_loads_with_weights_only_and_says_what_it_is(target, tmp_path):
    call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), **QUICK)
    model = torch.load(tmp_path / "SMAPtest/convlstm/target/lead3/model.pt", weights_only=True)
    assert set(model) == {"format", "model", "weights", "scaler", "settings", "label", "cube_sha256", "further_sha256",
                          "learned_until", "lat", "lon", "static"}
    assert model["model"] == "convlstm" and model["further_sha256"] == []
    assert all(isinstance(value, torch.Tensor) and value.device.type == "cpu" for value in model["weights"].values())
    assert not any(name.startswith("module.") for name in model["weights"])
    assert model["scaler"]["source"] == "target" and model["scaler"]["first_day"] == "2015-01-01"


def test_finished_run_is_not_overwritten(target, tmp_path):
    settings = {"cube": target, "results": tmp_path / "results", **QUICK}
    call("SMAPtest/convlstm.py", **{name: str(value) if name in ("cube", "results") else value
                                    for name, value in settings.items()})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")}
    again = run("SMAPtest/convlstm.py", tmp_path, **settings)
    assert again.returncode == 2
    assert "finished run and is not overwritten" in again.stderr and "--name" in again.stderr
    assert "Traceback" not in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")}


@pytest.mark.parametrize("settings, words", [
    ({"cube": "nowhere.nc"}, ["nowhere.nc", "no such file"]),
    ({"lead_time": 31}, ["lead_time is 31", "1 to 30"]),
    ({"cube": "TARGET"}, ["no source is named", "--source-cube"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "train_until": "2016-01-01", "test_from": "2016-01-01"},
     ["train_until 2016-01-01", "test_from 2016-01-01"]),
    ({"cube": "TARGET", "pretrained": "nowhere"}, ["nowhere", "no such file"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "source_until": "2015-13-01"}, ["source_until is '2015-13-01'"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "learning_rate_scale": {"head": -1.0}}, ["learning_rate_scale of head is -1.0"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "regions": ("here",)}, ["region is 'here'", "south,north,west,east"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "hidden": (8, 4)}, ["hidden is (8, 4)", "takes 1 number"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "head": "dense", "dropout": 0.1}, ["dropout is 0.1", "'dense' has none"]),
    ({"cube": "TARGET", "source_cube": "TARGET", "zero_shot": True, "pull": 0.1}, ["zero_shot trains nothing", "pull"]),
])
def test_mistake_ends_before_any_training_with_one_sentence(settings, words, target, tmp_path):
    settings = {name: str(target) if value == "TARGET" else value for name, value in settings.items()}
    with pytest.raises(ValueError) as error:
        call("finetune-SMAPtest/convlstm.py", results=str(tmp_path / "results"), **settings)
    for word in words:
        assert word in str(error.value)
    assert not list(tmp_path.glob("results/**/training_log.csv"))


def test_pretrained_run_of_another_network_is_refused(source, target, tmp_path):
    shared = {"results": str(tmp_path), "epochs": 1}
    call("ERA5test/convlstm.py", cube=str(source), hidden=(4,), **shared)
    with pytest.raises(ValueError, match=r"hidden is \[4\] there, \[6\] was asked"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(source), hidden=(6,), **shared)


def test_weights_of_another_script_are_refused(source, target, tmp_path):
    shared = {"results": str(tmp_path), **QUICK}
    call("ERA5test/lstm.py", cube=str(source), **shared)
    with pytest.raises(ValueError, match=r"holds the weights of lstm, not of convlstm\. Name a run of ERA5test/convlstm\.py"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), pretrained=str(tmp_path / "ERA5test/lstm/source/lead3"), **shared)


def test_pretraining_on_a_further_cube_sees_nothing_of_the_targets_validation(weather_cube, target, tmp_path,
                                                                              short_pretraining):
    """The source ends long before the target; the further cube lasts as long as the target."""
    source = weather_cube(name="old", first="2008-01-01", days=600, seed=1)
    further = weather_cube(name="further", first="2015-01-01", days=400, seed=3)
    shared = {"results": str(tmp_path), "cube": str(target), "source_cube": str(source), "further_cubes": (str(further),)}
    call("finetune-SMAPtest/lstm.py", **shared, **QUICK)
    validation = read_csv(tmp_path / "finetune-SMAPtest/lstm/target/lead3/splits.csv")[1]["first_target"]
    last = np.datetime64(validation) - 1
    model = torch.load(tmp_path / f"ERA5test/lstm/old-until{last}/lead3/model.pt", weights_only=True)
    assert model["settings"]["source_until"] == model["learned_until"] == str(last)
    weather_cube(name="further", first="2015-01-01", days=400, seed=4)
    with pytest.raises(ValueError, match="a further cube had other content"):
        call("finetune-SMAPtest/lstm.py", **shared | {"name": "again"}, **QUICK)


def test_member_of_an_ensemble_starts_a_fine_tuning(source, target, tmp_path):
    shared = {"results": str(tmp_path), **QUICK}
    call("ERA5test/lstm.py", cube=str(source), seeds=2, **shared)
    call("finetune-SMAPtest/lstm.py", cube=str(target), source_cube=str(source), seed=1, **shared)
    start = json.loads((tmp_path / "finetune-SMAPtest/lstm/target/lead3/settings.json").read_text())["pretrained"]
    assert start["path"].endswith("ERA5test/lstm/source/lead3/seed1/model.pt")


def test_pretrained_run_of_another_cube_of_the_same_name_is_refused(weather_cube, target, tmp_path):
    shared = {"results": str(tmp_path), **QUICK}
    source = weather_cube(name="source", first="2013-01-01", days=600, seed=1)
    call("ERA5test/convlstm.py", cube=str(source), **shared)
    weather_cube(name="source", first="2013-01-01", days=600, seed=9)
    with pytest.raises(ValueError, match="its cube had other content"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(source), **shared)


def test_pretrained_run_that_has_seen_the_targets_validation_is_refused(weather_cube, target, tmp_path):
    late = weather_cube(name="late", first="2014-06-01", days=600, seed=1)
    call("ERA5test/convlstm.py", cube=str(late), results=str(tmp_path), test_days=30, **QUICK)
    with pytest.raises(ValueError, match="has learned until 2015-12-1.*validation begins 2015-09"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path),
             pretrained=str(tmp_path / "ERA5test/convlstm/late/lead3"), **QUICK)


def test_source_scaling_by_cell_needs_the_same_cells(source, target, tmp_path):
    cube = tmp_path / "elsewhere.nc"
    write_cube(cube, weather_values(600, 4, 5), day_axis("2013-01-01", 600), -30.0 + np.arange(4), np.arange(5),
               {"source": "tests"})
    with pytest.raises(ValueError, match="4 x 5 cells from -30.00 N 0.00 E, the target a grid of 4 x 5 cells from 30"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(cube), scaling_from="source",
             results=str(tmp_path / "results"), **QUICK)
    call("ERA5test/convlstm.py", cube=str(source), results=str(tmp_path / "results"), **QUICK)
    call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(source), scaling_from="source",
         results=str(tmp_path / "results"), **QUICK)
    model = torch.load(tmp_path / "results/finetune-SMAPtest/convlstm/target/lead3/model.pt", weights_only=True)
    assert model["scaler"]["source"] == "source" and model["scaler"]["last_day"] < "2014-08"


@pytest.mark.parametrize("wrong, said", [
    ({"freeze": ("backbone",)}, "freeze names backbone; it takes encoder, recurrent, head, coming"),
    ({"learning_rate_scale": {"tail": 0.1}}, "learning_rate_scale names tail"),
    ({"drop_inputs": ("rain",)}, "drop_inputs names rain; it takes precipitation, soil_moisture"),
    ({"source_cube": "absent.nc"}, "source_cube is absent.nc: no such file"),
    ({"source_cube": None}, "no source is named to pre-train on"),
    ({"source_cube": None, "pretrained": "absent"}, "pretrained is absent: no such file")])
def test_what_is_named_and_does_not_exist_is_refused_before_anything_is_read_or_made(source, target, tmp_path, wrong, said):
    with pytest.raises(UserError, match=said):
        call("finetune-SMAPtest/convlstm.py", **{"cube": str(target), "source_cube": str(source),
                                                 "results": str(tmp_path / "results")} | QUICK | wrong)
    assert not (tmp_path / "results").exists()


def test_part_that_this_network_lacks_is_refused_before_pretraining(source, target, tmp_path):
    with pytest.raises(UserError, match="freeze names coming, which this network lacks"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(source), freeze=("coming",),
             results=str(tmp_path / "results"), **QUICK)
    assert not list(tmp_path.glob("results/ERA5test/**/*"))


def test_corrected_command_starts_after_a_refused_one(target, tmp_path):
    for settings, good in (({"max_gap_days": 300}, False), ({}, True)):
        try:
            call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), **QUICK, **settings)
        except ValueError:
            assert not good
    assert (tmp_path / "SMAPtest/convlstm/target/lead3/metrics.csv").exists()


@pytest.mark.parametrize("settings, words", [
    ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"seeds": 0}, "seeds is 0; it must be 1 or more"),
    ({"hidden": (0,)}, r"hidden is \(0,\)"),
    ({"device": "cuda:9"}, "device is 'cuda:9'"),
    ({"dropout": 1.5}, "dropout is 1.5"),
])
def test_setting_out_of_range_is_refused(settings, words, target, tmp_path):
    with pytest.raises(ValueError, match=words):
        call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path / "results"), **settings)
    assert not (tmp_path / "results").exists()


def test_short_test_period_has_metrics_though_no_cell_has_scores_of_its_own(target, tmp_path, capsys):
    call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), test_days=5, input_days=1, **QUICK)
    folder = tmp_path / "SMAPtest/convlstm/target/lead3"
    assert read_csv(folder / "metrics.csv")[0]["n"] == str(5 * 20)
    assert not (folder / "skill_map.png").exists() and "no skill_map.png" in capsys.readouterr().out


def test_cells_observed_too_rarely_to_say_what_is_dry_and_wet_have_no_figure_of_events(small_cube, tmp_path, capsys):
    values = weather_values(400, 4, 5, 0)
    values[np.setdiff1d(np.arange(340), np.arange(0, 340, 25)), 1] = np.nan
    call("SMAPtest/lstm.py", cube=str(small_cube(name="rare", values=values)), results=str(tmp_path), steps=20, test_days=60)
    assert "no events.png: no cell has 20 observed days" in capsys.readouterr().out
    assert (tmp_path / "SMAPtest/lstm/rare/lead3/metrics.csv").exists()


def test_split_without_any_observation_is_refused_before_training(tmp_path):
    values = weather_values(400, 4, 5)
    values[-100:, 1] = np.nan
    path = write_source(tmp_path, values, first="2015-01-01")
    with pytest.raises(ValueError, match="no observed soil moisture on the test days"):
        call("SMAPtest/convlstm.py", cube=str(path), results=str(tmp_path), **QUICK)


def test_fault_02_order_of_variables_in_the_file_changes_nothing(target, tmp_path):
    turned = tmp_path / "turned" / "target.nc"
    turned.parent.mkdir()
    with xr.open_dataset(target) as cube:
        cube[["soil_temperature", "precipitation", "soil_moisture"]].isel(lat=slice(None, None, -1)).to_netcdf(turned)
    tables = []
    for path in (target, turned):
        call("SMAPtest/convlstm.py", cube=str(path), results=str(path.parent / "results"), **QUICK)
        tables.append((path.parent / "results/SMAPtest/convlstm/target/lead3/metrics.csv").read_bytes())
    assert tables[0] == tables[1]


def test_twin_has_its_ceiling_and_is_named_as_synthetic(tmp_path):
    call("SMAPtest/convlstm.py", results=str(tmp_path), train_days=200, test_days=20, **QUICK)
    folder = tmp_path / "SMAPtest/convlstm/twin/lead3"
    rows = {row["forecaster"]: row for row in read_csv(folder / "metrics.csv")}
    assert float(rows["ceiling"]["skill_damped_persistence"]) > 0.1
    assert rows["ceiling"]["n"] == rows["convlstm"]["n"] == str(20 * 2757)
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        assert "synthetic twin of smap_l4" in file.title
    assert "Synthetic" in json.loads((folder / "settings.json").read_text())["cube"]["title"]


def test_weights_from_the_twin_start_a_network_on_a_real_cube_of_another_grid(real_cube, tmp_path):
    shared = {"results": str(tmp_path), "hidden": (4,)}
    call("ERA5test/convlstm.py", train_days=200, test_days=10, epochs=1, **shared)
    call("finetune-SMAPtest/convlstm.py", cube=str(real_cube), pretrained=str(tmp_path / "ERA5test/convlstm/twin/lead3"),
         train_until="2016-03-31", test_from="2016-04-01", steps=30, **shared)
    rows = {row["forecaster"]: row for row in
            read_csv(tmp_path / "finetune-SMAPtest/convlstm/conus_smap_l3/lead3/metrics.csv")}
    assert rows["convlstm"]["n"] == "36048" and "ceiling" not in rows
    assert float(rows["damped_persistence"]["rmse_pooled"]) == pytest.approx(0.0499, abs=5e-5)


def test_dense_head_cannot_change_the_grid_and_says_so(weather_cube, target, tmp_path):
    other_grid = weather_cube(name="wide", first="2013-01-01", days=600, columns=7)
    with pytest.raises(ValueError, match="grid of 4 x 7 cells.*only head = 'local'"):
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(other_grid), head="dense",
             results=str(tmp_path), epochs=1)


def test_same_seed_gives_the_same_metrics_and_another_seed_others(target, tmp_path):
    tables = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        call("SMAPtest/convlstm.py", cube=str(target), results=str(tmp_path), name=name, seed=seed, **QUICK)
        tables.append((tmp_path / f"SMAPtest/convlstm/{name}/lead3/metrics.csv").read_bytes())
    assert tables[0] == tables[1] != tables[2]


@pytest.fixture
def short_pretraining(monkeypatch):
    """Fine-tuning scripts make the run that they start from with its default number of steps: here with few."""
    load_script = study.load_script

    def shortened(experiment, model):
        names = load_script(experiment, model)
        return names | {"Settings": functools.partial(names["Settings"], steps=10)} if experiment == "ERA5test" else names
    monkeypatch.setattr(study, "load_script", shortened)


def test_pretraining_sees_nothing_of_the_targets_validation_and_test_days(target, tmp_path, short_pretraining):
    """The source overlaps the target; what comes after the target's validation start is replaced by noise."""
    values = weather_values(1200, 4, 5, seed=1)
    folders = []
    for kind in ("clean", "poisoned"):
        folder = tmp_path / kind
        if kind == "poisoned":
            validation_from = target_validation_from(folders[0])
            late = np.datetime64("2013-01-01") + np.arange(1200) >= validation_from
            assert 0 < late.sum() < 600
            values = values.copy()
            values[late, 1] = np.random.default_rng(5).uniform(0.05, 0.5, values[late, 1].shape)
            values[late, 0] = 50.0
        path = write_source(folder, values)
        call("finetune-SMAPtest/convlstm.py", cube=str(target), source_cube=str(path), results=str(folder), **QUICK)
        folders.append(folder)
    for run_folder in ("ERA5test/convlstm/source-until*/lead3", "finetune-SMAPtest/convlstm/target/lead3"):
        clean, poisoned = (torch.load(next(folder.glob(run_folder)) / "model.pt", weights_only=True)["weights"]
                           for folder in folders)
        assert all(torch.equal(clean[name], poisoned[name]) for name in clean)


def target_validation_from(folder):
    rows = read_csv(folder / "finetune-SMAPtest/convlstm/target/lead3/splits.csv")
    return np.datetime64(next(row["first_target"] for row in rows if row["split"] == "validation"))


def write_source(folder, values, first="2013-01-01"):
    path = folder / "source.nc"
    write_cube(path, values, day_axis(first, len(values)), 30.0 + np.arange(4), 100.0 + np.arange(5),
               {"title": "small test cube", "source": "tests"})
    return path


def test_test_days_never_move_the_weights(target, tmp_path):
    values = weather_values(400, 4, 5, seed=2)
    values[300:] = np.random.default_rng(0).uniform(0.05, 0.5, values[300:].shape)
    values[300:, 2] += 280
    poisoned = write_source(tmp_path, values, first="2015-01-01")
    weights = []
    for name, path in (("clean", target), ("poisoned", poisoned)):
        call("SMAPtest/convlstm.py", cube=str(path), results=str(tmp_path), name=name, **QUICK)
        model = torch.load(tmp_path / f"SMAPtest/convlstm/{name}/lead3/model.pt", weights_only=True)
        weights.append(model["weights"] | {"mean": model["scaler"]["mean"], "spread": model["scaler"]["spread"]})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_killed_run_resumes_to_the_same_numbers(target, tmp_path):
    settings = {"cube": target, "hidden": (16,), "epochs": 8}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    call("SMAPtest/convlstm.py", **settings | {"cube": str(target), "results": str(whole)})
    run_until_epoch("SMAPtest/convlstm.py", broken / "SMAPtest/convlstm/target/lead3", 2, results=broken, **settings)
    unasked = run("SMAPtest/convlstm.py", tmp_path, results=broken, **settings)
    assert unasked.returncode == 2 and "--resume" in unasked.stderr
    assert run("SMAPtest/convlstm.py", tmp_path, results=broken, resume=True, **settings).returncode == 0
    assert_same_run(whole, broken, "SMAPtest/convlstm/target/lead3")


@pytest.mark.slow
def test_run_killed_while_pretraining_and_while_fine_tuning_resumes_to_the_same_numbers(source, target, tmp_path):
    settings = {"cube": target, "source_cube": source, "hidden": (16,), "epochs": 8}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run("finetune-SMAPtest/convlstm.py", tmp_path, results=whole, **settings).returncode == 0
    folders = ("ERA5test/convlstm/source/lead3", "finetune-SMAPtest/convlstm/target/lead3")
    for folder in folders:
        resume = {"resume": True} if broken.exists() else {}
        run_until_epoch("finetune-SMAPtest/convlstm.py", broken / folder, 2, results=broken, **settings, **resume)
    assert run("finetune-SMAPtest/convlstm.py", tmp_path, results=broken, resume=True, **settings).returncode == 0
    for folder in folders:
        assert_same_run(whole, broken, folder)


def run_until_epoch(script, folder, epoch, /, **settings):
    """Run a script as a process and kill it after some epochs of the run in `folder`."""
    process = subprocess.Popen(command(script, **settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_epochs(folder / "training_log.csv", epoch)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "metrics.csv").exists()


def assert_same_run(whole, broken, folder):
    """Metrics and logs (but for the seconds) are the same."""
    assert (whole / folder / "metrics.csv").read_bytes() == (broken / folder / "metrics.csv").read_bytes()
    logs = [[{name: value for name, value in row.items() if name != "seconds"}
             for row in read_csv(base / folder / "training_log.csv")] for base in (whole, broken)]
    assert logs[0] == logs[1]


def wait_for_epochs(log, epochs):
    deadline = time.monotonic() + 120
    while not log.exists() or len(read_csv(log)) < epochs:
        assert time.monotonic() < deadline, f"no {epochs} epochs in {log}"
        time.sleep(0.02)


@pytest.mark.parametrize("script", ["ERA5test/cnn.py", "SMAPtest/lstm.py", "finetune-SMAPtest/conv3d_lstm.py"])
def test_help_names_every_setting(script, tmp_path):
    shown = run(script, tmp_path, help=True)
    assert shown.returncode == 0
    for flag in ("--lead-time", "--cube", "--test-from", "--head", "--resume", "--results"):
        assert flag in shown.stdout


def test_misspelt_setting_is_refused_with_a_suggestion(tmp_path):
    wrong = run("SMAPtest/convlstm.py", tmp_path, leadtime=5)
    assert wrong.returncode == 2 and "--lead-time" in wrong.stderr + wrong.stdout
