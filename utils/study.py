"""Runs of the scripts as parts of a study: each is made once and reused, so that an interrupted study goes on."""
from __future__ import annotations

import contextlib
import functools
import importlib
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_processing.coming_weather import NOT_TOLD, source_weather
from data_processing.errors import UserError
from data_processing.files import PROJECT, FolderInUseError, lock_folder, remove_half_written
from data_processing.splits import split_cube
from utils.models.settings import complete
from utils.runs import OTHER_NAME, find_cube, is_finished, read_json, run_differences, run_folder, run_name

if TYPE_CHECKING:
    import numpy as np

QUICK_NOTE = "; quick form: short trainings, for trying only"  # behind the title of all that a quick study writes
DOMAIN_OF = {"ERA5test": "era5_land", "SMAPtest": "smap_l4", "finetune-SMAPtest": "smap_l4"}


@functools.cache
def load_script(experiment: str, model: str) -> dict[str, Any]:
    """Names of a script, `Settings` and `main` among them, and of its network's module, such as `make_convlstm`."""
    return vars(importlib.import_module(f"utils.models.{model}")) | runpy.run_path(str(PROJECT / experiment / f"{model}.py"))


@contextlib.contextmanager
def made_elsewhere() -> Iterator[None]:
    """Where another process is making a run that is needed in this block: say that, instead of advising another name."""
    try:
        yield
    except FolderInUseError as error:
        raise UserError(f"{error.found}, which is making a run that is needed here. Wait until it is finished, and start this "
                        "again.") from None


def claim_study(folder: Path, instead: str = OTHER_NAME) -> None:
    """Make a study's folder where it does not exist, and keep it for this process until that ends; see `lock_folder`."""
    lock_folder(folder, instead)
    remove_half_written(folder)


def study_folder(experiment: str, model: str, settings: Any) -> Path:
    """Folder of a run, or of the ensemble where several seeds run."""
    cube_file = find_cube(settings.cube, DOMAIN_OF[experiment])
    until = settings.source_until if experiment == "ERA5test" else None
    folder = run_folder(settings, experiment, model, run_name(settings, cube_file, until))
    return folder.parent if settings.seeds > 1 else folder


def script_settings(experiment: str, model: str, **settings: Any) -> tuple[dict[str, Any], Any]:
    """Names of a script's module, and its settings with all values filled in.

    Parameters
    ----------
    experiment, model : str
        Folder and name of the script.
    **settings
        Those that are not given have the script's defaults.
    """
    script = load_script(experiment, model)
    return script, complete(script["Settings"](**settings), learning_rate=script["LEARNING_RATE"],
                            paper_hidden=script["PAPER_HIDDEN"])


def run_or_reuse(experiment: str, model: str, **settings: Any) -> Path:
    """Folder of a finished run of a script: found, gone on with, or made now.

    Parameters
    ----------
    experiment, model : str
        Folder and name of the script.
    **settings
        Of the script; those that are not given have its defaults.

    Returns
    -------
    Path
        With several `seeds` that of the ensemble.

    Raises
    ------
    UserError
        A run stands there that was made with other settings or of another cube.
    """
    script, asked = script_settings(experiment, model, **settings, resume=True)
    folder = study_folder(experiment, model, asked)
    if not is_finished(folder):
        with made_elsewhere():
            script["main"](asked)
        return folder
    seeds = read_json(folder / "settings.json")["settings"]["seeds"]
    if seeds != asked.seeds:
        differences = [f"seeds is {seeds} there, {asked.seeds} was asked"]
    else:
        first = folder / f"seed{asked.seed}" if seeds > 1 else folder
        differences = run_differences(first, asked, find_cube(asked.cube, DOMAIN_OF[experiment]))
    if differences:
        raise UserError(f"{folder} holds a run that was made otherwise: {'; '.join(differences)}. Give the study another "
                        "--name, or remove the folder.")
    return folder


def short_pretraining(model: str, asked: dict, until: str | None, **training: Any) -> tuple[dict, dict]:
    """A short pre-training, for a fine-tuning to start from instead of the source's default one.

    Parameters
    ----------
    model : str
    asked : dict
        Settings of the fine-tuning script; name, source_cube and those of the sequence are used.
    until : str or None
        Last source day that may be used (`utils.transfer.source_cut`).
    **training
        Settings that make it short.

    Returns
    -------
    dict
        Settings of ERA5test that make it.
    dict
        Settings of the fine-tuning that start from it.
    """
    kept = ("head", "lead_time", "lead_times", "embargo_days", "seeds", "device", "results", "name")
    of_source = {name: asked[name] for name in kept if name in asked} | training | {
        "cube": asked["source_cube"], "source_until": until,
        "coming_weather": source_weather(asked.get("coming_weather", NOT_TOLD))}
    folder = study_folder("ERA5test", model, load_script("ERA5test", model)["Settings"](**of_source))
    return of_source, {"pretrained": str(folder), "source_cube": None, "source_until": None}


def test_days(experiment: str, model: str, settings: dict) -> np.ndarray:
    """Indices of the test days that a run with these settings (dict) will have."""
    _, asked = script_settings(experiment, model, **settings)
    return split_cube(find_cube(asked.cube, DOMAIN_OF[experiment]).path, asked)[1].test


def is_made(experiment: str, model: str, **settings: Any) -> bool:
    """Whether `run_or_reuse` would find a finished run."""
    return is_finished(study_folder(experiment, model, load_script(experiment, model)["Settings"](**settings)))
