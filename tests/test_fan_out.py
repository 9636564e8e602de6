"""Studies whose runs are made by the workers of a dask scheduler: what is made first, and that the tables are the same."""
import threading
import time

import pytest
from test_scheduler import cluster, kill_a_worker  # noqa: F401
from test_studies import SHORT, call, shortest, source, target  # noqa: F401

from data_processing.errors import UserError
from data_processing.files import locked
from utils import fan_out
from utils.study import run_or_reuse

pytestmark = pytest.mark.usefixtures("coarse_figures")


def paths_of(parts, results):
    """Folders as text, from the folder of all runs on."""
    return [str(folder.relative_to(results)) for folder in parts]


def test_what_others_start_from_is_made_once_and_first(source, target, tmp_path):
    shared = {"cube": target, "results": str(tmp_path), "seeds": 2, "worlds": 0, "test_days": 100, **SHORT}
    told = {"source_cube": source, "zero_shot": True, "name": "zero"}
    runs = [("SMAPtest", "lstm", {key: value for key, value in shared.items() if key != "worlds"}),
            ("finetune-SMAPtest", "lstm", shared | {"source_cube": source}), ("finetune-SMAPtest", "lstm", shared | told)]
    parts, needs = fan_out.parts_of(runs)
    names = paths_of(parts, tmp_path)
    assert names[:2] == ["ERA5test/lstm/source/lead3/seed0", "ERA5test/lstm/source/lead3/seed1"]
    assert len(names) == len(set(names)) == 2 + 3 * 2 + 3
    zero = tmp_path / "finetune-SMAPtest/lstm/zero/lead3"
    assert needs[zero] == {zero / "seed0", zero / "seed1"} and parts[zero].whole
    assert paths_of(needs[zero / "seed1"], tmp_path) == ["ERA5test/lstm/source/lead3/seed1"] and not parts[zero / "seed1"].whole
    scratch = tmp_path / "SMAPtest/lstm/target/lead3"
    assert needs[scratch / "seed0"] == set()


def test_run_to_start_from_that_the_study_makes_later_is_waited_for_and_not_refused(source, target, tmp_path):
    """Studies with a scheduler were refused: a run to start from had to be there when they were planned."""
    shared = {"results": str(tmp_path), **SHORT}
    later = tmp_path / "ERA5test/lstm/source/lead3"
    runs = [("ERA5test", "lstm", shared | {"cube": source, "worlds": 0}),
            ("finetune-SMAPtest", "lstm", shared | {"cube": target, "test_days": 60, "worlds": 0, "pretrained": str(later)})]
    _, needs = fan_out.parts_of(runs)
    assert needs[tmp_path / "finetune-SMAPtest/lstm/target/lead3"] == {later}


def text_of(results, name):
    """Content of the one file of that name below a folder of results."""
    path, = results.rglob(name)
    return path.read_text()


@pytest.mark.slow
def test_run_of_a_worker_is_that_of_this_process(target, tmp_path, monkeypatch, cluster):
    monkeypatch.chdir(tmp_path)  # paths in settings may be relative to where the study is started
    asked = {"cube": "target.nc", "test_days": 60, **SHORT}
    run_or_reuse("SMAPtest", "lstm", results=str(tmp_path / "here"), **asked)
    run = ("SMAPtest", "lstm", asked | {"results": "there"})
    fan_out.make_on_workers(cluster.scheduler_address, [run, run], "there")
    for name in ("metrics.csv", "splits.csv"):
        assert text_of(tmp_path / "here", name) == text_of(tmp_path / "there", name)
    with pytest.raises(UserError, match="made otherwise: .*test_days is 60 there, 50 was asked"):
        fan_out.make_on_workers(cluster.scheduler_address, [(*run[:2], run[2] | {"test_days": 50})], "there")


@pytest.mark.slow
def test_member_that_another_process_makes_is_to_be_waited_for_and_no_other_name_is_advised(target, tmp_path, cluster):
    run = ("SMAPtest", "lstm", {"cube": target, "results": str(tmp_path), "seeds": 2, "test_days": 60, **SHORT})
    with (locked(tmp_path / "SMAPtest/lstm/target/lead3/seed0", ""),
          pytest.raises(UserError, match="UTC, which is making a run that is needed here. Wait until it is finished")):
        fan_out.make_on_workers(cluster.scheduler_address, [run], tmp_path)


@pytest.mark.slow
def test_table_of_two_workers_is_that_of_one_process(source, target, tmp_path, shortest, cluster):
    settings = {"cube": target, "source_cube": source, "quick": True, "lead_times": (3,), "forms": ("lstm-local",)}
    for name, scheduler in (("here", None), ("there", cluster.scheduler_address)):
        call("finetune-SMAPtest/paper_table.py", results=str(tmp_path / name), scheduler=scheduler, **settings)
    assert text_of(tmp_path / "here", "table.csv") == text_of(tmp_path / "there", "table.csv")


@pytest.mark.slow
def test_curve_of_two_workers_is_that_of_one_process(source, target, tmp_path, shortest, cluster):
    for name, scheduler in (("here", None), ("there", cluster.scheduler_address)):
        call("finetune-SMAPtest/learning_curve.py", results=str(tmp_path / name), scheduler=scheduler, cube=target,
             source_cube=source, quick=True, model="lstm", lead_times=(3,))
    assert text_of(tmp_path / "here", "learning_curve.csv") == text_of(tmp_path / "there", "learning_curve.csv")


@pytest.mark.slow
def test_run_of_a_killed_worker_goes_on_with_another_and_the_ensemble_is_the_same(target, tmp_path, cluster):
    asked = {"cube": target, "seeds": 2, "test_days": 60, "hidden": (4,), "steps": 300, "refit": False}
    run_or_reuse("SMAPtest", "lstm", results=str(tmp_path / "here"), **asked)
    there = tmp_path / "there"

    def kill_one():
        while not any(not (path.parent / "metrics.csv").exists() for path in there.rglob("checkpoint.pt")):
            time.sleep(0.02)
        kill_a_worker(cluster)

    killer = threading.Thread(target=kill_one)
    killer.start()
    run = ("SMAPtest", "lstm", asked | {"results": str(there)})
    fan_out.make_on_workers(cluster.scheduler_address, [run], there)
    killer.join()
    made = sorted(path.relative_to(there) for path in there.rglob("metrics.csv"))
    assert len(made) == 3  # two members, their ensemble
    for name in made:
        assert (tmp_path / "here" / name).read_text() == (there / name).read_text()
