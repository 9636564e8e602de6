"""The same seed gives the same numbers, and a run can be made again from its settings.json alone."""
import json
import re
import runpy
import sys
from functools import partial

import netCDF4
import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.test_coming_weather import write_weather
from tests.test_leaks import no_figures  # noqa: F401, a fixture that every test here uses
from tests.test_scripts import QUICK, assert_same_run, call, run, run_until_epoch, source, target  # noqa: F401
from utils.recreate import read_recorded
from utils.study import load_script

SCRIPTS = [f"{experiment}/{model}.py" for experiment in ("ERA5test", "SMAPtest", "finetune-SMAPtest")
           for model in ("cnn", "lstm", "convlstm", "conv3d_lstm")]


def start(script, *words, capsys):
    """Start a script in this process as its command line does: exit code, what it said, its error."""
    sys.argv = [script, *map(str, words)]
    capsys.readouterr()
    code = 0
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.fixture
def begin(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    return lambda script, *words: start(script, *words, capsys=capsys)


def same_numbers(one, other):
    """Assert that two runs have the same scores, weights and forecasts, to the last bit."""
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    weights = [torch.load(folder / "model.pt", weights_only=True)["weights"] for folder in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    forecasts = []
    for folder in (one, other):
        with netCDF4.Dataset(folder / "forecast.nc") as file:
            forecasts.append(file["forecast"][:].filled(np.nan))
    np.testing.assert_array_equal(*forecasts)


def folder_of(results, script, name="run", lead="lead3"):
    return results / script.removesuffix(".py") / name / lead


# ------------------------------------------------------------------------------------------------- same numbers
@pytest.mark.slow
def test_same_numbers_in_two_processes(target, tmp_path):
    script, settings = "SMAPtest/lstm.py", {"cube": target, "name": "run", "seed": 3, **QUICK}
    done = run(script, tmp_path, results=tmp_path / "one", **settings)
    assert done.returncode == 0, done.stderr
    call(script, **settings | {"cube": str(target), "results": str(tmp_path / "other")})
    same_numbers(*(folder_of(tmp_path / results, script) for results in ("one", "other")))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["local", "dense"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_same_numbers_in_two_processes_and_after_resume(script, head, source, target, tmp_path):
    hidden = {"hidden": (16,)} if head == "local" else {}
    settings = {"cube": source if script.startswith("ERA5test") else target, "head": head, "epochs": 8, "name": "run", **hidden}
    if script.startswith("finetune"):
        before = {"cube": source, "results": tmp_path, "head": head, "epochs": 1, "name": "before", **hidden}
        assert run(script.replace("finetune-SMAPtest", "ERA5test"), tmp_path, **before).returncode == 0
        settings["pretrained"] = folder_of(tmp_path, script.replace("finetune-SMAPtest", "ERA5test"), "before")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = run(script, tmp_path, results=whole, **settings)
    assert done.returncode == 0, done.stderr
    run_until_epoch(script, folder_of(broken, script), 2, results=broken, **settings)
    done = run(script, tmp_path, results=broken, resume=True, **settings)
    assert done.returncode == 0, done.stderr
    assert_same_run(whole, broken, folder_of(tmp_path, script).relative_to(tmp_path))
    same_numbers(*(folder_of(results, script) for results in (whole, broken)))


# ----------------------------------------------------------------------------------------------- made again
def test_run_is_made_again_from_its_settings_alone(target, tmp_path, begin, monkeypatch):
    """From another folder, with relative paths and settings that are not the defaults."""
    script, lead = "SMAPtest/lstm.py", "lead1_5"
    monkeypatch.chdir(target.parent)
    code, *_ = begin(script, "--cube", target.name, "--results", "results", "--lead-times", 1, 5, "--epochs", 1, "--hidden", 4,
                     "--drop-inputs", "season", "--seed", 3, "--max-gap-days", 5, "--refit", "False", "--name", "first")
    assert code == 0
    first = folder_of(tmp_path / "results", script, "first", lead)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, said, _ = begin(script, "--settings", first / "settings.json", "--results", "again")
    assert code == 0
    same_numbers(first, folder_of(elsewhere / "again", script, "first", lead))
    line, = [line for line in said.splitlines() if line.startswith("settings of ")]
    assert line == (f"settings of {first / 'settings.json'}: results is '{tmp_path / 'results'}' there, "
                    f"'{elsewhere / 'again'}' was asked")
    code, said, _ = begin(script, "--settings", first, "--name", "other", "--seed", 4, "--lead-times", 1)
    assert code == 0 and "seed is 3 there, 4 was asked" in said and "lead_times is [1, 5] there, [1] was asked" in said
    changed = json.loads((folder_of(tmp_path / "results", script, "other", "lead1") / "settings.json").read_text())["settings"]
    assert (changed["seed"], changed["drop_inputs"], changed["max_gap_days"]) == (4, ["season"], 5)


def test_finished_run_is_not_overwritten_by_its_own_settings(target, tmp_path, begin):
    call("SMAPtest/lstm.py", cube=str(target), results=str(tmp_path), name="run", **QUICK)
    folder = folder_of(tmp_path, "SMAPtest/lstm.py")
    before = (folder / "metrics.csv").stat().st_mtime_ns
    code, said, error = begin("SMAPtest/lstm.py", "--settings", folder)
    assert code == 2 and "nothing has changed since" in said and "another --name" in error and error.count("\n") == 1
    assert (folder / "metrics.csv").stat().st_mtime_ns == before


@pytest.fixture
def fine_tuned(source, target, tmp_path):
    """Folder of a run that is fine-tuned from a pre-training on two cubes and told a weather forecast."""
    further = tmp_path / "further.nc"
    further.write_bytes(source.read_bytes())
    shared = {"results": str(tmp_path / "results"), "name": "run", "further_cubes": (str(further),)} | QUICK
    call("ERA5test/lstm.py", cube=str(source), coming_weather="observed", **shared)
    weather = write_weather(tmp_path / "weather.nc", target, members=2, error=0.3)
    call("finetune-SMAPtest/lstm.py", cube=str(target), coming_weather=str(weather), freeze=("encoder",),
         pretrained=str(folder_of(tmp_path / "results", "ERA5test/lstm.py")), **shared)
    return folder_of(tmp_path / "results", "finetune-SMAPtest/lstm.py")


def test_fine_tuning_is_made_again_and_changed_inputs_are_refused(fine_tuned, source, tmp_path, begin):
    script, pretraining = "finetune-SMAPtest/lstm.py", "ERA5test/lstm.py"
    before = folder_of(tmp_path / "results", pretraining)
    code, *_ = begin(script, "--settings", fine_tuned, "--results", tmp_path / "again")
    assert code == 0
    same_numbers(fine_tuned, folder_of(tmp_path / "again", script))
    assert not (tmp_path / "again" / "ERA5test").exists()  # it starts from the weights that it started from
    for name, option, asked, what in (("target.nc", "--cube", script, "the cube"),
                                      ("weather.nc", "--coming-weather", script, "the weather forecast"),
                                      (before / "model.pt", "--pretrained or --source-cube", script, "the pre-trained model"),
                                      ("further.nc", "--further-cubes", pretraining, "the further cube")):
        path = tmp_path / name
        run_folder, content = (fine_tuned if asked == script else before), path.read_bytes()
        for change, words in ((partial(path.write_bytes, content + b" "), "has changed since the run of"),
                              (path.unlink, "is not there: put it back")):
            change()
            code, _, error = begin(asked, "--settings", run_folder, "--results", tmp_path / "refused")
            assert code == 2 and error.count("\n") == 1, error
            assert error.startswith(f"error: {what} {path}") and words in error and option in error
        path.write_bytes(content)
    assert not (tmp_path / "refused").exists()
    code, said, error = begin(script, "--settings", fine_tuned, "--source-cube", source, "--source-until", "1999-01-01",
                              "--name", "new")
    assert code == 2 and "pretrained is" in said and "the source begins 2013-01-01" in error


def test_changed_cube_is_taken_when_it_is_named(weather_cube, target, tmp_path, begin):
    script = "SMAPtest/lstm.py"
    call(script, cube=str(target), results=str(tmp_path), name="run", **QUICK)
    weather_cube(name="target", first="2015-01-01", days=400, seed=8)
    code, said, _ = begin(script, "--settings", folder_of(tmp_path, script), "--cube", target, "--name", "other")
    assert code == 0 and "settings.json: the cube has other content; name is 'run' there, 'other' was asked" in said


@pytest.mark.slow
def test_member_and_ensemble_are_made_again(target, tmp_path, begin):
    script = "SMAPtest/lstm.py"
    call(script, cube=str(target), results=str(tmp_path), name="run", seeds=2, **QUICK)
    ensemble = folder_of(tmp_path, script)
    code, *_ = begin(script, "--settings", ensemble / "seed1", "--name", "member")
    assert code == 0
    same_numbers(ensemble / "seed1", folder_of(tmp_path, script, "member"))
    code, *_ = begin(script, "--settings", ensemble, "--name", "whole")
    assert code == 0
    whole = folder_of(tmp_path, script, "whole")
    assert (ensemble / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes() and (whole / "seed1").exists()


# ------------------------------------------------------------------------------------------------------- refused
@pytest.fixture
def settings_json(tmp_path):
    """Function that writes a settings.json as a run of SMAPtest/lstm.py has it, with some settings changed."""
    def write(text=None, script="SMAPtest/lstm.py", **changes):
        settings = {"cube": "x.nc", "lead_time": 3, "hidden": [48], "learning_rate": 0.003, "resume": True} | changes
        path = tmp_path / "settings.json"
        cube = {"path": "/data/x.nc", "sha256": "0"}
        path.write_text(text or json.dumps({"script": script, "settings": settings, "cube": cube}))
        return path
    return write


BAD = {
    "web page": ({"text": "<html>"}, "not the settings.json of a run"),
    "list": ({"text": "[1]"}, "not the settings.json of a run"),
    "no settings": ({"text": "{}"}, "not the settings.json of a run"),
    "no checksum": ({"text": '{"settings": {"cube": "x.nc"}, "cube": {"path": "x.nc"}}'}, "not the settings.json of a run"),
    "host is a list": ({"text": '{"settings": {"cube": "x.nc"}, "cube": {"path": "x.nc", "sha256": ""}, "host": [1]}'},
                       "not the settings.json of a run"),
    "another script": ({"script": "SMAPtest/cnn.py"}, "holds the settings of SMAPtest/cnn.py, not of SMAPtest/lstm.py"),
    "unknown name": ({"heads": 3}, "names heads, which SMAPtest/lstm.py lacks"),
    "number as text": ({"lead_time": "3"}, "names lead_time = '3'"),
    "truth for a number": ({"steps": True}, "names steps = True"),
    "not among the choices": ({"head": "round"}, "names head = 'round'"),
    "list of text for numbers": ({"hidden": ["a"]}, r"names hidden = \['a'\]"),
    "cube is gone": ({}, "the cube /data/x.nc, which .* names, is not there: put it back, or name another with --cube"),
}


@pytest.mark.parametrize("changes, words", BAD.values(), ids=BAD)
def test_bad_settings_are_refused_in_one_line(changes, words, settings_json, begin):
    code, _, error = begin("SMAPtest/lstm.py", "--settings", settings_json(**changes))
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and re.search(words, error), error


def test_missing_settings_file_is_refused(tmp_path, begin):
    for words, said in ((["--settings"], "--settings is given without a file"),
                        (["--settings", tmp_path / "x.json"], "No such file")):
        code, _, error = begin("SMAPtest/lstm.py", *words)
        assert code == 2 and said in error and error.count("\n") == 1


def test_settings_of_an_older_version_have_the_defaults_of_the_new(settings_json):
    recorded = read_recorded(settings_json(), "SMAPtest/lstm.py", load_script("SMAPtest", "lstm")["Settings"])
    assert recorded.settings.cube == "/data/x.nc" and recorded.settings.hidden == (48,) and not recorded.settings.resume
    assert "patch" in recorded.new and "hidden" not in recorded.new


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_training_script_takes_settings(script, begin):
    code, said, _ = begin(script, "--help")
    assert code == 0 and "--settings FILE" in said
