"""Small trainings, by one process or, started by torchrun, by several: what tests/test_processes.py compares."""
import contextlib
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.errors import UserError
from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from tests.conftest import Experiment
from utils import training
from utils.command_line import run_script
from utils.models.convlstm import PAPER_HIDDEN, make_convlstm
from utils.models.settings import complete
from utils.processes import from_first, is_first, rank
from utils.runs import Run

STEPS = 20
BROKEN_AFTER = 8  # steps, of a training that is resumed
CASES = {  # 20 cells, which two processes divide where they cannot divide the windows
    "local": {},
    "one_window": {"batch_size": 1},
    "dense": {"head": "dense", "batch_size": 8},
    "dense_odd": {"head": "dense", "batch_size": 3},
    "dense_idle": {"head": "dense", "batch_size": 1},
    "told": {"coming_weather": "observed", "pull": 0.1, "freeze": ("encoder",)},
    "dropout": {"dropout": 0.3, "batch_size": 1},
}


@dataclass(frozen=True)
class FineTuning(Experiment):
    """Settings of a fine-tuning."""

    freeze: tuple = ()
    pull: float = 0.0


class Broken(Exception):
    """A training ends before its time."""


def train_case(cube, folder, case, broken=False, resume=False):
    """Train a case in `folder`/`case`, or only its first steps, or go on with them; every step is an epoch of the log."""
    settings = complete(FineTuning(steps=STEPS, patience=STEPS, **CASES[case]), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
    settings = replace(settings, epochs=None)
    dataset, splits = split_cube(cube, settings)
    record = open_record(dataset, "small", splits, max_gap_days=10, coming_weather=settings.coming_weather)
    record = scale_record(record, splits.fit_days, scaling=settings.scaling)
    torch.manual_seed(0)
    network = make_convlstm(settings, record)
    run = Run(Path(folder) / case, resume)
    save = run.save_checkpoint

    def save_then_break(state):
        save(state)
        if broken and len(state["log"]) == BROKEN_AFTER:
            raise Broken
    run.save_checkpoint = save_then_break
    with (mock.patch.multiple(training, SHORTEST_EPOCH=1, EPOCHS=STEPS, CHECKPOINT_SHARE=math.inf, VALIDATION_WINDOWS=5),
          contextlib.suppress(Broken)):
        training.fit(network, [(record, splits.train)], settings, run, validation=(record, splits.validation))
    torch.save(torch.get_rng_state(), run.path(f"random_state{rank()}.pt"))
    if is_first():
        torch.save(network.state_dict(), run.path("weights.pt"))


@dataclass(frozen=True)
class Settings:
    cube: str
    folder: str  # of this number of processes
    resumed: str  # of a training that fewer or more processes have begun
    cases: tuple[str, ...] = tuple(CASES)
    only_second_fails: bool = False
    batch_size: int = 0  # that of the case is taken
    device: str = "cpu"


def main(settings):
    if settings.only_second_fails and rank() == 1:
        raise UserError("the second process lacks a file.")
    from_first(int)  # all wait for the first
    for case in settings.cases:
        train_case(settings.cube, settings.folder, case)
    train_case(settings.cube, settings.folder + "_broken", "local", broken=True)
    train_case(settings.cube, settings.resumed, "local", resume=True)


if __name__ == "__main__":
    run_script(main, Settings)
