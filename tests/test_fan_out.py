"""Studies whose runs are made by the workers of a dask scheduler: what is made first, and that the tables are the same."""
import csv
import os
import threading
import time

import distributed
import pytest
from test_scheduler import cluster, kill_a_worker  # noqa: F401
from test_studies import SHORT, call, read_csv, shortest, source, target  # noqa: F401

from data_processing.errors import UserError
from utils import fan_out

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


def draw_coarsely():
    from utils import drawmap
    drawmap.DOTS_PER_INCH = 40


def test_table_of_two_workers_is_that_of_one_process(source, target, tmp_path, shortest, cluster):
    settings = {"cube": target, "source_cube": source, "quick": True, "lead_times": (3,), "forms": ("lstm-local",)}
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(draw_coarsely)
    for name, scheduler in (("here", None), ("there", cluster.scheduler_address)):
        call("finetune-SMAPtest/paper_table.py", results=str(tmp_path / name), scheduler=scheduler, **settings)
    here, there = (tmp_path / name / "finetune-SMAPtest/paper_table/target-quick/table.csv" for name in ("here", "there"))
    assert here.read_text() == there.read_text()
