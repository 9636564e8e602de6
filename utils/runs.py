"""Run folders: where a run stands, what made it, and how it is resumed or reused."""
from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import re
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from data_processing.arrays import kept_text, short_key
from data_processing.coming_weather import NOT_TOLD, OBSERVED, TWIN, kind_of, weather_file_path
from data_processing.cube import DOUBTS, cube_name, describe
from data_processing.errors import UserError
from data_processing.files import PROJECT, checksum, lock_folder, remove_half_written, replacing, unlock_folder
from data_processing.splits import asked_lead_times, audit_rows, format_audit, write_audit
from data_processing.terminal import WIDTH
from data_processing.twin import cube_path
from utils.captions import is_synthetic, lead_text
from utils.precision import BFLOAT16, choose_precision, describe_precision, has_bfloat16
from utils.processes import all_processes, by_first, first_before_others, from_first, is_first
from utils.tensor_files import load_tensors
from utils.where_it_helps import read_regions

if TYPE_CHECKING:
    import xarray

    from data_processing.splits import Splits

PACKAGES = ("torch", "numpy", "xarray", "netCDF4", "scipy", "matplotlib", "cartopy", "tyro")
OTHER_NAME = "give the new run another --name"  # what a second process may do while one works in a folder
# Settings that may be spelt otherwise when a run is resumed or reused; of files the checksums must agree.
HOW_SETTINGS = ("resume", "results", "device", "regions", "cube", "source_cube", "pretrained", "name",
                "seeds", "coming_weather")
# Settings that name files or folders, or (WORDS) what stands for one
PATH_SETTINGS = ("cube", "source_cube", "further_cubes", "pretrained", "coming_weather", "results")
WORDS = (None, TWIN, NOT_TOLD, OBSERVED)


class CubeFile(NamedTuple):
    """A cube and what to call it."""

    path: Path
    name: str  # "twin", or the file's name without its ending


def find_cube(cube: str, domain: str) -> CubeFile:
    """The cube of a setting.

    Parameters
    ----------
    cube : str
        "twin", or the path of a cube.
    domain : str
        The twin's domain that "twin" stands for (`data_processing.twin.DOMAINS`); it is made when it does not exist.

    Returns
    -------
    CubeFile
    """
    if cube == "twin":
        with first_before_others():
            return CubeFile(cube_path(domain), "twin")
    path = Path(cube).expanduser().absolute()
    return CubeFile(path, cube_name(path))


def run_name(settings: Any, cube_file: CubeFile, until: date | str | None = None) -> str:
    """Name of a run: the setting; or the cube's name, the head where it is not "local", the inputs that are dropped, the coming
    weather that is told, and the day a source is cut at."""
    if settings.name:
        return settings.name
    head = getattr(settings, "head", "local")
    told = kind_of(settings.coming_weather).run
    return (cube_file.name + ("" if head == "local" else f"-{head}")
            + "".join(f"-without-{name}" for name in settings.drop_inputs) + told + (f"-until{until}" if until else ""))


class Run:
    """One run folder: results/<experiment>/<model>/<name>/lead<d>/."""

    def __init__(self, folder, resume, label=""):
        self.folder = Path(folder)
        self.resume = resume
        self.label = label  # of the cube, for figures and files; says what is synthetic

    @property
    def name(self) -> str:
        """Experiment, model, name and lead time, and the seed where several run."""
        return "/".join(self.folder.parts[-5 if self.folder.name.startswith("seed") else -4:])

    @property
    def experiment(self) -> str:
        """ERA5test, SMAPtest or finetune-SMAPtest."""
        return self.name.split("/")[0]

    @property
    def model(self) -> str:
        """Name of the script."""
        return self.name.split("/")[1]

    def path(self, name: str) -> Path:
        """Path of one of the run's files."""
        return self.folder / name

    @by_first
    def record_pretrained(self, path: Path, model: dict) -> None:
        """Write into `settings.json` what the run starts from; a resumed run must start from the same weights."""
        settings = read_json(self.path("settings.json"))
        start = {"path": str(Path(path).absolute()), "sha256": checksum(path), "label": model["label"], "cube_sha256": model["cube_sha256"]}
        found = settings.setdefault("pretrained", start)
        if self.resume and found["sha256"] != start["sha256"]:
            raise UserError(f"{self.folder} was started from the weights {found['path']} ({found['label']}), not from "
                            f"{path} ({start['label']}). Name the same --pretrained, or give the new run another "
                            "--name.")
        write_json(self.path("settings.json"), settings | {"pretrained": start})

    def save_checkpoint(self, state: dict) -> None:
        """Write `checkpoint.pt`: a dict of tensors and plain values."""
        if is_first():
            save_tensors(self.path("checkpoint.pt"), state)
        self.resume = True  # what comes next in this process goes on from here

    def read_share(self) -> float | None:
        """How far fine-tuning may go, where an interrupted run has chosen it already; else None."""
        return from_first(lambda: (self._read_checkpoint() or {}).get("share"))

    def load_checkpoint(self) -> dict | None:
        """The saved state, its tensors on the processor, or None: nothing saved yet, or not resuming."""
        return from_first(self._read_checkpoint)

    def _read_checkpoint(self):
        path = self.path("checkpoint.pt")
        if not (self.resume and path.exists()):
            return None
        return load_tensors(path)


@first_before_others()
def start_run(experiment: str, model: str, settings: Any, cube_file: CubeFile, cube: xarray.Dataset, splits: Splits,
              until: str | None = None) -> Run:
    """Make the run folder and write `settings.json`; refuse to overwrite what is there.

    Parameters
    ----------
    experiment : str
        ERA5test, SMAPtest or finetune-SMAPtest.
    model : str
        Name of the script.
    settings : Settings
        With all values that depend on others filled in.
    cube_file : CubeFile
        The cube that is forecast; its checksum is recorded.
    cube : xarray.Dataset
        The same, opened; described.
    splits : Splits
        Printed, and saved as `splits.csv`.
    until : str, optional
        Day at which a source was cut.

    Returns
    -------
    Run

    Raises
    ------
    UserError
        The run is finished; or it is unfinished and `resume` is not set; or it is resumed with other settings.
    """
    read_regions(settings.regions, cube["lat"].values, cube["lon"].values)  # refused before anything is trained
    folder = run_folder(settings, experiment, model, run_name(settings, cube_file, until))
    path = folder / "settings.json"
    claim_run(folder)
    started = (folder / "checkpoint.pt").exists()
    if started and not settings.resume:
        raise UserError(f"{folder} holds an unfinished run. Go on with --resume, give the new run another --name, or "
                        "remove the folder.")
    wanted: dict = {"script": f"{experiment}/{model}.py", "settings": plain(settings),
              "cube": {"path": str(cube_file.path), "sha256": checksum(cube_file.path),
                       "title": cube.attrs.get("title"), "source": cube.attrs.get("source")}
              | ({DOUBTS: cube.attrs[DOUBTS]} if DOUBTS in cube.attrs else {})}
    further = [find_cube(each, "era5_land").path for each in getattr(settings, "further_cubes", ()) if experiment == "ERA5test"]
    if further:
        wanted["further_cubes"] = [{"path": str(each), "sha256": checksum(each)} for each in further]
    wanted["precision"] = choose_precision(settings)
    weather = weather_source(settings, cube)
    if weather:
        wanted["coming_weather"] = {"path": str(weather), "sha256": checksum(weather)}
    if started:
        differences = (run_differences(folder, settings, cube_file)
                       or setting_differences(read_json(path), wanted, ["precision"]))
        if differences:
            raise UserError(f"{folder} was started otherwise: {'; '.join(differences)}. Resume with the same settings, "
                            "or give the new run another --name.")
    if settings.resume and not started:
        print(f"nothing to go on with in {folder}: the run starts from the beginning")
    if is_first():
        remove_half_written(folder)
    if is_first() and not started:
        write_json(path, wanted | provenance())
    label = run_label(cube, cube_file.name, settings)
    days = cube["time"].values
    told = kept_text(f"{cube_file.name}-{short_key(wanted['cube']['sha256'], days[0], days[-1])}", lambda: describe(cube))
    print(f"\n{experiment}/{model}.py: {label}, {lead_text(splits.lead_times)} ahead -> {folder}\n{format_settings(settings)}\n{told}")
    rows = audit_rows(splits, settings.coming_weather)
    if is_first():
        write_audit(folder / "splits.csv", rows)
    print(f"{format_audit(rows)}\n{describe_precision(settings)}", flush=True)
    return Run(folder, resume=settings.resume, label=label)


def format_settings(settings: Any) -> str:
    """What a run is made with, in lines of 80 columns; settings that ask for nothing are left out."""
    words = [f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
             for name, value in dataclasses.asdict(settings).items()
             if value is not None and value is not False and value not in ((), {})]
    return textwrap.fill(" ".join(words), WIDTH, initial_indent="settings  ", subsequent_indent=" " * 10, break_long_words=False,
                         break_on_hyphens=False)


def claim_run(folder: Path, what: str = "run") -> None:
    """Keep a run's folder for this process until `utils.reporting.evaluate_run` has finished it, or the process ends.

    Raises
    ------
    UserError
        The run (or other `what`) is finished; another process works there.
    """
    refuse_finished(folder, what)
    if is_first():
        lock_folder(folder, OTHER_NAME)
        refuse_finished(folder, what)  # by another process, just now


def refuse_finished(folder: Path, what: str = "run") -> None:
    """Raise a UserError where a folder holds a finished run, or other `what`."""
    if is_finished(folder):
        unlock_folder(folder)
        raise UserError(f"{folder} holds a finished {what} and is not overwritten. Look at its files, give the new run "
                        "another --name, or remove the folder.")


def run_differences(folder: Path, settings: Any, cube_file: CubeFile) -> list[str]:
    """In what a run differs from one with the given settings: a list of sentences, empty where it may be reused.

    Parameters
    ----------
    folder : Path
        Of the run, with its settings.json.
    settings : Settings
        Completed.
    cube_file : CubeFile
    """
    found = read_json(Path(folder) / "settings.json")
    differences = setting_differences(found["settings"], plain(settings))
    if found["cube"]["sha256"] != checksum(cube_file.path):
        differences.append(f"the cube {cube_file.path} has other content")
    told = found["settings"].get("coming_weather", NOT_TOLD)
    asked = settings.coming_weather
    if kind_of(told) != kind_of(asked) or (told == TWIN) != (asked == TWIN):
        differences.append(f"coming_weather is {told!r} there, {asked!r} was asked")
    elif "coming_weather" in found and asked != TWIN:
        if checksum(weather_file_path(asked, None)) != found["coming_weather"]["sha256"]:
            differences.append(f"the weather forecast {asked} has other content")
    start = found.get("pretrained")
    if start and settings.pretrained:
        path = Path(settings.pretrained)
        if checksum(path / "model.pt" if path.is_dir() else path) != start["sha256"]:
            differences.append(f"it started from the weights {start['path']}, {settings.pretrained} was asked")
    elif start and settings.source_cube:
        if checksum(find_cube(settings.source_cube, "era5_land").path) != start["cube_sha256"]:
            differences.append(f"it was pre-trained on {start['label']}, {settings.source_cube} was asked")
    return differences


def cube_label(cube: xarray.Dataset, name: str) -> str:
    """What to call a cube in figures and tables: its name, and its title where that says that it is synthetic."""
    title = str(cube.attrs.get("title", "")).split(" (")[0]
    return title[:1].lower() + title[1:] if is_synthetic(title) else name


def run_label(cube: xarray.Dataset, name: str, settings: Any) -> str:
    """What to call a run's data in figures and tables: `cube_label`, and the coming weather that its network is told."""
    return cube_label(cube, name) + kind_of(settings.coming_weather).label


def weather_source(settings: Any, cube: xarray.Dataset) -> Path | str | None:
    """Path of the weather forecast file that a run is told; None where it is told nothing, or what was observed."""
    if settings.coming_weather in (NOT_TOLD, OBSERVED):
        return None
    return weather_file_path(settings.coming_weather, cube.attrs.get("twin_domain"))


def run_folder(settings: Any, experiment: str, model: str, name: str) -> Path:
    """results/<experiment>/<model>/<name>/lead<days>, and a further level seed<number> where several seeds run."""
    folder = Path(settings.results) / experiment / model / name / lead_folder(asked_lead_times(settings))
    return folder / f"seed{settings.seed}" if settings.seeds > 1 else folder


def lead_folder(lead_times: Sequence[int]) -> str:
    """Name of the folder of one or more lead times: lead3, lead1to7, lead3_5_7."""
    first, last = lead_times[0], lead_times[-1]
    if len(lead_times) > 1 and lead_times == tuple(range(first, last + 1)):
        return f"lead{first}to{last}"
    return "lead" + "_".join(map(str, lead_times))


def check_settings(settings: Any) -> None:
    """Refuse settings out of range, before any work starts.

    Parameters
    ----------
    settings : Settings
        Completed: nothing that training reads is None.

    Raises
    ------
    UserError
    """
    rules = {"epochs": (settings.epochs is None or settings.epochs >= 1, "1 or more"),
             "steps": (settings.steps >= 1, "1 or more"), "patience": (settings.patience >= 1, "1 or more"),
             "batch_size": (settings.batch_size >= 1, "1 or more"), "seed": (0 <= settings.seed < 2 ** 63, "0 to 2^63"),
             "learning_rate": (0 < settings.learning_rate < math.inf, "above 0"),
             "weight_decay": (0 <= settings.weight_decay < math.inf, "0 or more"),
             "hidden": (settings.hidden is None or len(settings.hidden) > 0 and min(settings.hidden) >= 1,
                        "one or more numbers of 1 or more"),
             "patch": (getattr(settings, "patch", None) is None or settings.patch >= 1, "1 or more"),
             "seeds": (settings.seeds >= 1, "1 or more"),
             "worlds": (getattr(settings, "worlds", 0) >= 0, "0 or more"),
             "pull": (0 <= getattr(settings, "pull", 0.0) < math.inf, "0 or more"),
             "dropout": (0 <= settings.dropout < 1, "in 0..1, below 1"),
             "device": (settings.device == "cpu" or settings.device in _gpus(),
                        "cpu, or cuda where there is a GPU that torch can use"),
             "name": (getattr(settings, "name", None) is None or re.fullmatch(r"[^./\\:\0][^/\\:\0]*", settings.name),
                      "the name of a folder in results: without a separator of folders, a colon or a dot in front"),
             "precision": (settings.precision != BFLOAT16 or has_bfloat16(settings.device),
                           f"auto or float32: {settings.device} does not multiply in bfloat16 here")}
    for name, (good, expected) in rules.items():
        if not good:
            raise UserError(f"{name} is {getattr(settings, name)!r}; it must be {expected}.")


def _gpus():
    """Names of the GPUs that torch can use here; empty without one."""
    return ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []


def is_finished(folder: str | Path) -> bool:
    """A run is finished when its last file, the metrics, is written."""
    return (Path(folder) / "metrics.csv").exists()


def plain(settings: Any) -> dict:
    """Settings as a dict of plain values, as they stand in `settings.json`; paths are absolute."""
    values = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    for name in PATH_SETTINGS:
        if name in values:
            several = isinstance(values[name], list)
            values[name] = [_absolute(each) for each in values[name]] if several else _absolute(values[name])
    if "regions" in values:
        values["regions"] = [_absolute(each) if each.endswith(".nc") else each for each in values["regions"]]
    return values


def _absolute(path):
    return path if path in WORDS else str(Path(path).expanduser().absolute())


def setting_differences(found: dict, wanted: dict, names: Iterable[str] | None = None) -> list[str]:
    """Sentences `name is a here, b was asked` for settings that differ; all but HOW_SETTINGS, or only `names`."""
    names = names or [name for name in wanted if name not in HOW_SETTINGS]
    return [f"{name} is {found.get(name)!r} there, {wanted[name]!r} was asked" for name in names
            if found.get(name) != wanted[name]]


def read_json(path: Path) -> Any:
    """The dict of a JSON file."""
    return json.loads(Path(path).read_text())


def write_json(path: Path, content: Any) -> None:
    """Write a dict as readable JSON."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def save_tensors(path: Path, content: dict) -> None:
    """Write a dict of tensors and plain values that `torch.load(weights_only=True)` reads; equal contents give equal bytes."""
    with replacing(path) as temporary, open(temporary, "wb") as file:  # by name, torch would write the temporary name into it
        torch.save(content, file)


def provenance() -> dict:
    """Versions, commit and host facts of `settings.json`."""
    return {"packages": {name: metadata.version(name) for name in PACKAGES},
            "git_commit": git_commit(),
            "host": {"python": platform.python_version(), "system": platform.platform(),
                     "processors": os.cpu_count(), "threads": torch.get_num_threads(), "processes": all_processes(),
                     "started": datetime.now(UTC).isoformat(timespec="seconds")}}


def git_commit() -> str:
    """Commit of the scripts, with "+dirty" when they were changed since; "unknown" outside a git checkout."""
    def git(*arguments):
        done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=True)
        return done.stdout
    try:
        commit = git("rev-parse", "HEAD").strip()
        return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
