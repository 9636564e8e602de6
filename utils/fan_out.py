"""The runs of a study by the workers of a dask scheduler: each is made once, and those that others start from come first."""
import contextlib
import functools
import os
import time as clock
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data_processing.files import unlock_folders
from data_processing.scheduler import scheduled, wait_until_seen
from data_processing.splits import split_cube
from utils.runs import find_cube, is_finished
from utils.study import DOMAIN_OF, load_script, made_elsewhere, run_or_reuse, script_settings, study_folder
from utils.transfer import source_run


class StudyPart(NamedTuple):
    """What a worker makes at a time: a run, a member of one, or of finished members their ensemble."""

    experiment: str
    model: str
    settings: dict  # of the script
    whole: bool  # a run or ensemble that the study asks for; else a member, or what fine-tuning starts from


def make_on_workers(address: str, runs: list[tuple[str, str, dict]], results: str | Path) -> None:
    """Have the workers of a scheduler make runs, after which `run_or_reuse` finds them finished.

    Parameters
    ----------
    address : str
        Of the scheduler; see `data_processing.scheduler` for how workers are started.
    runs : list of (str, str, dict)
        Experiment, model and settings of each, as `run_or_reuse` takes them.
    results : str or Path
        Folder of all runs.

    Raises
    ------
    UserError
        As `run_or_reuse` and `data_processing.scheduler.scheduled` do.
    """
    parts, needs = parts_of(runs)
    if not parts:
        return
    print(f"{len(parts)} runs, members and ensembles are left to the workers of {address}", flush=True)
    started = clock.monotonic()
    work = functools.partial(make_part, os.getcwd())
    tasks = {folder: (str(folder), part) for folder, part in parts.items()}
    for number, (folder, _) in enumerate(scheduled(address, work, tasks, Path(results), needs), start=1):
        print(f"{number} of {len(parts)} made after {(clock.monotonic() - started) / 60:.0f} min: {folder}", flush=True)
    wait_until_seen([folder / "metrics.csv" for folder in parts])


def parts_of(runs: list[tuple[str, str, dict]]) -> tuple[dict[Path, StudyPart], dict[Path, set[Path]]]:
    """What there is to make for runs that are not finished yet.

    Parameters
    ----------
    runs : list of (str, str, dict)
        See `make_on_workers`.

    Returns
    -------
    dict
        Folder (absolute Path) -> StudyPart, what others start from first.
    dict
        Folder -> set of the folders that must be finished before.
    """
    sources, members, wholes, needs = {}, {}, {}, {}
    for experiment, model, settings in runs:
        _, asked = script_settings(experiment, model, **settings)
        folder = study_folder(experiment, model, asked).absolute()
        if is_finished(folder):
            run_or_reuse(experiment, model, **settings)  # refuses one that was made otherwise before others are made
            continue
        if experiment == "ERA5test":
            sources[folder] = StudyPart(experiment, model, settings, True)
        else:
            wholes[folder] = StudyPart(experiment, model, settings, True)
        needs[folder] = set()
        for number in range(asked.seeds):
            member = replace(asked, seed=asked.seed + number, resume=True)
            of_member = folder / f"seed{member.seed}" if asked.seeds > 1 else folder
            if asked.seeds > 1 and not is_finished(of_member):
                members[of_member] = StudyPart(experiment, model, vars(member), False)
                needs[of_member] = set()
                needs[folder].add(of_member)
            if experiment != "finetune-SMAPtest":
                continue
            if asked.pretrained:
                needs[of_member if of_member in needs else folder].add(Path(asked.pretrained).absolute())
                continue
            source, of_source = source_run(member, model, split_cube(find_cube(asked.cube, DOMAIN_OF[experiment]).path, asked)[1])
            source = source.absolute()
            if not is_finished(source):
                made = vars(script_settings("ERA5test", model, **of_source, resume=True)[1])
                sources.setdefault(source, StudyPart("ERA5test", model, made, False))
                needs[of_member if of_member in needs else folder].add(source)
    parts = sources | members | wholes
    return parts, {folder: before & parts.keys() for folder, before in needs.items()}


def make_part(cwd: str, folder: str, part: StudyPart) -> None:
    """Make a part on a worker; whoever makes it already, for a study that was interrupted or another one, ends first.

    Parameters
    ----------
    cwd : str
        Where the study was started: paths in its settings may be relative.
    folder : str
        Of the part.
    part : StudyPart
    """
    from distributed import Lock
    with contextlib.chdir(cwd), Lock(folder):
        try:
            if part.whole:
                run_or_reuse(part.experiment, part.model, **part.settings)
            elif not is_finished(folder):
                script = load_script(part.experiment, part.model)
                with made_elsewhere():
                    script["train_and_test"](script["Settings"](**part.settings))
        finally:
            unlock_folders()  # the worker lives on
