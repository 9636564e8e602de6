"""Several processes, started by torchrun: they learn what one learns, write what one writes, and say what one says."""
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from data_processing.errors import UserError
from tests.conftest import ROOT
from tests.test_scripts import FILES, call, command
from tests.train_in_processes import CASES, STEPS, train_case
from utils import processes
from utils.processes import batch_share

pytestmark = pytest.mark.usefixtures("coarse_figures")


def torchrun(number, *words):
    """Run a script in several processes of this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    return subprocess.run([*start, *map(str, words)], capture_output=True, text=True, timeout=300)


def read_log(folder):
    """Numbers of a training_log.csv that are not seconds: [epochs, 4]."""
    return np.genfromtxt(folder / "training_log.csv", delimiter=",", skip_header=1)[:, :4]


def train_cases(number, cube, tmp_path, cases):
    """Train with one process and with several, also what the others have begun: (folder of one, of several)."""
    one, several = tmp_path / "one", tmp_path / "several"
    train_case(cube, f"{one}_broken", "local", broken=True)
    done = torchrun(number, ROOT / "tests" / "train_in_processes.py", "--cube", cube, "--folder", several,
                    "--resumed", f"{one}_broken", "--cases", *cases)
    assert done.returncode == 0, done.stderr
    train_case(cube, f"{several}_broken", "local", resume=True)
    for case in cases:
        train_case(cube, one, case)
    return one, several


def check_same_losses(one, several, cases):
    for case in cases:
        if case != "dropout":  # whose random numbers are each process' own
            expected, found = read_log(one / case), read_log(several / case)
            assert len(expected) == STEPS and expected[-1, 1] != expected[0, 1]
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, err_msg=case)
            np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=case)


def check_resumed(one, several):
    expected = read_log(one / "local")
    for broken in (one, several):
        np.testing.assert_allclose(read_log(broken.with_name(broken.name + "_broken") / "local"), expected, rtol=1e-4)


def test_two_processes_have_the_losses_of_one_and_go_on_with_each_others_work(weather_cube, tmp_path):
    one, several = train_cases(2, weather_cube(days=400), tmp_path, list(CASES))
    check_same_losses(one, several, CASES)
    check_resumed(one, several)
    for case in CASES:  # shared random numbers stay in step, also where dropout draws differently many
        states = [torch.load(folder / case / f"random_state{number}.pt")
                  for folder, number in ((one, 0), (several, 0), (several, 1))]
        assert torch.equal(states[1], states[2]), case
        assert case == "dropout" or torch.equal(states[0], states[1]), case
    weights = [torch.load(folder / "local" / "weights.pt") for folder in (one, several)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_three_processes_have_the_losses_of_one(weather_cube, tmp_path):
    cases = ["local", "dense", "dense_odd", "dense_idle", "told"]
    one, several = train_cases(3, weather_cube(days=400), tmp_path, cases)
    check_same_losses(one, several, cases)
    check_resumed(one, several)


@pytest.mark.slow
def test_two_processes_leave_one_run_folder(weather_cube, tmp_path):
    settings = {"cube": str(weather_cube(days=400)), "steps": 20, "hidden": (4,), "precision": "float32"}
    done = torchrun(2, *command("ERA5test/convlstm.py", **settings, results=str(tmp_path / "two"))[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("splits.csv") + done.stdout.count("validation RMSE to beat") == 1  # said once
    call("ERA5test/convlstm.py", **settings, results=str(tmp_path / "one"))
    one, two = (next((tmp_path / name).rglob("settings.json")).parent for name in ("one", "two"))
    assert {path.name for path in two.iterdir()} == FILES
    np.testing.assert_allclose(read_log(two), read_log(one), rtol=1e-4)
    assert (two / "splits.csv").read_text() == (one / "splits.csv").read_text()
    assert [json.loads((folder / "settings.json").read_text())["host"]["processes"] for folder in (one, two)] == [1, 2]
    weights = torch.load(two / "model.pt", weights_only=True)["weights"]
    assert set(weights) == set(torch.load(one / "model.pt", weights_only=True)["weights"])
    scores = [np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True)["rmse_pooled"] for folder in (one, two)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4)


@pytest.mark.slow
def test_two_processes_pre_train_fine_tune_and_make_an_ensemble_as_one_does(weather_cube, tmp_path):
    source = weather_cube(name="source", days=500, first="2013-06-01", seed=1)
    settings = {"steps": 20, "hidden": (4,), "seeds": 2, "precision": "float32"}
    for script, cubes in (("ERA5test/convlstm.py", {"cube": str(source)}),
                          ("finetune-SMAPtest/convlstm.py", {"cube": str(weather_cube(days=400)), "source_cube": str(source)})):
        done = torchrun(2, *command(script, **settings, **cubes, results=str(tmp_path / "two"))[1:])
        assert done.returncode == 0, done.stderr
        call(script, **settings, **cubes, results=str(tmp_path / "one"))
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file())
             for name in ("one", "two")]
    assert files[0] == files[1] and sum(path.name == "metrics.csv" for path in files[0]) == 6
    for path in files[0]:
        if path.name == "metrics.csv":
            scores = [np.genfromtxt(tmp_path / name / path, delimiter=",", names=True)["rmse_pooled"] for name in ("one", "two")]
            np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4, err_msg=str(path))


def test_what_is_wrong_for_all_is_said_once():
    done = torchrun(2, ROOT / "ERA5test" / "convlstm.py", "--cube", "nowhere.nc")
    assert done.returncode == 1  # torchrun's own
    assert done.stderr.count("error: ") == 1 and "nowhere.nc: no such file" in done.stderr and "exitcode  : 2" in done.stderr
    assert "UserError" not in done.stderr


@pytest.mark.slow
def test_what_is_wrong_for_another_process_is_said_by_it(tmp_path):
    done = torchrun(2, ROOT / "tests" / "train_in_processes.py", "--cube", "x", "--folder", tmp_path, "--resumed", tmp_path,
                    "--only-second-fails")
    assert done.returncode == 1 and done.stderr.count("error: the second process lacks a file.") == 1


def test_scripts_that_train_nothing_are_refused():
    with pytest.raises(UserError, match="trains no network of its own; start it with python"):
        processes.start_processes(object())


@pytest.mark.parametrize("number, windows, cells", [(1, 2, 256), (2, 2, 256), (3, 2, 256), (4, 2, 255), (6, 4, 7), (8, 32, None),
                                                    (5, 3, None), (4, 1, 2)])
def test_shares_of_a_batch_are_the_whole_batch(number, windows, cells, monkeypatch):
    taken = np.zeros((windows, cells or 1), int)
    monkeypatch.setattr(processes, "count", lambda: number)
    sizes = []
    for rank in range(number):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        share = batch_share(windows, cells)
        taken[share] += 1
        sizes.append(taken[share].size)
    assert (taken == 1).all()
    assert max(sizes) <= math.ceil((cells or 1) / (number / math.gcd(windows, number))) * windows


def test_one_process_needs_no_torchrun():
    assert processes.is_first() and processes.count() == 1 and processes.rank() == 0
    assert processes.mean_over_processes(3.0) == 3.0 and processes.from_first(lambda: 5) == 5
