"""Save a trained network, find or make a pre-trained one, and start from its weights."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data_processing.arrays import at_most
from data_processing.coming_weather import NOT_TOLD, RAIN_FACTORS, kind_of, source_weather, what_files_tell
from data_processing.cube import PRECIPITATION, UNITS, VARIABLES, cube_days, open_cube
from data_processing.errors import UserError
from data_processing.files import checksum
from data_processing.motion import spacing_km
from data_processing.scaling import Scaler
from data_processing.splits import parse_date
from utils.models.settings import ARCHITECTURE
from utils.processes import by_first, from_first
from utils.runs import find_cube, is_finished, plain, read_json, run_folder, run_name, save_tensors, setting_differences
from utils.study import made_elsewhere, script_settings
from utils.tensor_files import load_tensors

if TYPE_CHECKING:
    from data_processing.record import Record
    from data_processing.splits import Splits
    from utils.runs import Run

MODEL_FORMAT = 3
CONTENT = {"model": str, "weights": dict, "scaler": dict, "settings": dict, "label": str, "cube_sha256": str, "further_sha256": list,
           "learned_until": str, "lat": torch.Tensor, "lon": torch.Tensor, "static": torch.Tensor}  # of a model.pt
ANY_GRID = "only head = 'local' with scaling_from = 'target' (or scaling = 'global') goes from one grid to another"
# settings of both runs, besides those of the architecture
SHARED = ("lead_time", "lead_times", "input_days", "max_gap_days", "scaling", "drop_inputs")
OF_SOURCE = ("further_cubes", "worlds")  # of the pre-training, which fine-tuning hands on
# Where a warning is due: means this many spreads of the pre-training's values apart, cells this many times as wide
FAR_SPREADS, FAR_GRID = 2.0, 3.0
LOOKED_AT = 64  # days, evenly spread


@by_first
def save_model(run: Run, network: torch.nn.Module, record: Record, settings: Any, splits: Splits) -> None:
    """Write `model.pt`: weights, scaler, settings and where they come from, as tensors and plain values."""
    further = [find_cube(cube, "era5_land").path for cube in getattr(settings, "further_cubes", ())]
    last_days = [last_learned_day(path, settings.source_until) for path in further if run.experiment == "ERA5test"]
    scaler = {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
              for name, value in record.scaler.to_state().items()}
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    asked = {name: value for name, value in plain(settings).items() if name != "resume"}  # the weights are the same
    of_files = what_files_tell(record.coming)
    told = {} if of_files is None else {"told": {name: torch.from_numpy(value) for name, value in of_files.items()}}
    save_tensors(run.path("model.pt"), {
        "format": MODEL_FORMAT, "model": run.model, "weights": weights, "scaler": scaler, "settings": asked,
        "label": run.label.removesuffix(kind_of(settings.coming_weather).label),
        "cube_sha256": read_json(run.path("settings.json"))["cube"]["sha256"],
        "further_sha256": [checksum(path) for path in further], "learned_until": str(max([splits.train_until, *last_days])),
        "lat": torch.tensor(record.lat), "lon": torch.tensor(record.lon), "static": torch.from_numpy(record.static)} | told)


def transferred_label(run: Run, pretrained: dict, settings: Any) -> str:
    """What tables and figures call a run that started from the weights of another (`load_model`)."""
    return f"{run.label}, pre-trained on {pretrained['label']}{', not fine-tuned' if settings.zero_shot else ''}"


def load_model(path: Path) -> dict:
    """Read a `model.pt`.

    Parameters
    ----------
    path : Path
        The file, or a run folder that holds it.

    Returns
    -------
    dict
        path, model (name of the script), weights, scaler (a Scaler), settings, label and cube_sha256 (of the cube), further_sha256
        (of further cubes), learned_until (last day of all cubes), lat, lon, static (maps), land (bool [H, W]); of a run that is
        told a weather forecast also told (`data_processing.coming_weather.what_files_tell`).

    Raises
    ------
    UserError
        No such file, or it is no model of this project.
    """
    path = Path(path)
    path = path / "model.pt" if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file; give a finished run's folder or its model.pt.")
    model = load_tensors(path)
    if not isinstance(model, dict) or model.get("format") != MODEL_FORMAT:
        raise UserError(f"{path}: not a model of this version; train again.")
    try:
        _check_model(model)
        land = (model["static"] != 0).any(dim=0).numpy()  # at sea all maps are 0, on land a mean or spread is not
        return model | {"path": path, "scaler": Scaler.from_state(model["scaler"]), "land": land}
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_model(model):
    """Raise where the content of a model.pt is not what `save_model` writes."""
    wrong = [name for name, kind in CONTENT.items() if not isinstance(model.get(name), kind)]
    if wrong:
        raise UserError(f"{', '.join(wrong)} lacks or is something else: no model of this project, or damaged; train again.")
    parse_date(model["learned_until"], "learned_until")
    spoilt = [name for name, value in model["weights"].items() if not isinstance(value, torch.Tensor) or not value.isfinite().all()]
    if spoilt:
        raise UserError(f"some of its weights are no numbers ({', '.join(spoilt[:3])}); train again.")
    cells = [len(model[axis]) for axis in ("lat", "lon") if model[axis].ndim == 1 and model[axis].isfinite().all()]
    mean = torch.as_tensor(model["scaler"].get("mean", 0.0))
    if any(list(maps.shape[-2:]) != cells for maps in (model["static"], mean) if maps.ndim > 1) or len(cells) < 2:
        raise UserError("latitudes, longitudes and maps do not belong together; train again.")


def pretrained_model(settings: Any, model: str, architecture: Sequence[str], splits: Splits, record: Record) -> tuple[Path, dict]:
    """The pre-trained model and its path; its run is made first, by ERA5test, when it does not exist.

    Pre-training sees nothing of the target's validation and test period: a source that lasts longer is cut on the day
    before the target's validation begins.

    Parameters
    ----------
    settings : Settings of a fine-tuning script
        `pretrained` names a run; otherwise the run of `source_cube` is taken.
    model : str
        Name of the script.
    architecture : sequence of str
        Settings that the weights depend on; both runs must share them.
    splits : Splits
        Of the target.
    record : Record
        Of the target; not scaled yet.

    Returns
    -------
    Path
    dict
        As `load_model` gives it.

    Raises
    ------
    UserError
        No source is named; the run that exists was made with other settings, from another cube, for another grid, or
        has seen the target's validation.
    """
    asked = plain(settings)
    shared = {name: asked[name] for name in (*architecture, *SHARED)}
    if settings.pretrained:
        if settings.source_cube or settings.source_until:
            raise UserError("pretrained and a source to pre-train on are both given; give one of them.")
        path = Path(settings.pretrained)
        path = path / "model.pt" if path.is_dir() else path
        source_sha256 = None
    else:
        path, source_sha256 = _source_model(settings, model, splits, record)
    found = load_model(path)
    if found["model"] != model:
        raise UserError(f"{path} holds the weights of {found['model']}, not of {model}. Name a run of ERA5test/{model}.py.")
    differences = []
    if not settings.pretrained:
        shared |= {name: asked[name] for name in OF_SOURCE}
        if found["further_sha256"] != [checksum(find_cube(cube, "era5_land").path) for cube in settings.further_cubes]:
            differences.append("a further cube had other content")
    told = found["settings"].get("coming_weather", NOT_TOLD)
    if (told == NOT_TOLD) != (settings.coming_weather == NOT_TOLD):
        differences.append(f"coming_weather is {told} there, {settings.coming_weather} was asked: both or none must know of "
                           "coming weather")
    differences += setting_differences(found["settings"], shared, names=list(shared))
    if source_sha256 not in (None, found["cube_sha256"]):
        differences.append("its cube had other content")
    if np.datetime64(found["learned_until"]) >= splits.validation_from:
        differences.append(f"it has learned until {found['learned_until']}, the target's validation begins "
                           f"{splits.validation_from}")
    if not _any_grid(settings) and not same_grid(found, record):
        differences.append(f"{grid_text(found)} there, {grid_text(vars(record))} here: {ANY_GRID}")
    if differences:
        raise UserError(f"the pre-trained run {path.parent} does not fit: {'; '.join(differences)}. Give the same "
                        "settings, name another run with --pretrained, or remove it so that it is made again.")
    for sentence in what_is_new(found, record, splits):
        print(f"warning: {sentence}", flush=True)
    return path, found


def what_is_new(model: dict, record: Record, splits: Splits) -> list[str]:
    """In what a record is unlike all that a pre-trained network has learned from: sentences, none where it is at home.

    Parameters
    ----------
    model : dict
        From `load_model`.
    record : Record
        Not scaled yet; its days to learn from are looked at.
    splits : Splits

    Returns
    -------
    list of str
    """
    days = np.flatnonzero(splits.history_days)
    values = record.carried[record.input_days - 1 + at_most(days, LOOKED_AT)][:, :, record.land]
    values[:, PRECIPITATION] = np.log1p(values[:, PRECIPITATION])
    means = np.nanmean(values.astype(np.float64), axis=(0, 2))
    scaler = model["scaler"]
    of_model, spread = (np.asarray(each, np.float64).reshape(len(VARIABLES), -1) for each in (scaler.mean, scaler.spread))
    spread = np.sqrt((spread ** 2).mean(axis=1) + of_model.var(axis=1))
    said, learned_from = [], f"{model['label']}, which the network was pre-trained on,"
    for channel, (name, here, there) in enumerate(zip(VARIABLES, means, of_model.mean(axis=1))):
        unit, near = UNITS[name], abs(here - there) <= FAR_SPREADS * spread[channel]
        if channel == PRECIPITATION:
            unit, near = f"log(1 + {unit})", RAIN_FACTORS[0] <= here / max(there, 1e-6) <= RAIN_FACTORS[1]
        if not near:
            said.append(f"the mean {name} of {record.name} is {here:.3g} {unit}, that of {learned_from} {there:.3g}: see whether "
                        "the units are right.")
    here, there = _cell_width(vars(record)), _cell_width(model)
    if max(here, there) > FAR_GRID * min(here, there):
        said.append(f"the cells of {record.name} are {here:.3g} km wide, those of {learned_from} {there:.3g} km: it has not "
                    "seen such a grid.")
    return said


def _cell_width(grid):
    """Mean distance of neighbouring cells, km; NaN of a single cell."""
    return np.mean([km for km in spacing_km(np.asarray(grid["lat"]), np.asarray(grid["lon"])) if np.isfinite(km)] or [np.nan])


def _source_model(settings, model, splits, record):
    """Path of the weights pre-trained on `source_cube`, made when they do not exist, and the cube's checksum."""
    source_file = find_cube(source_of(settings), "era5_land")
    source = open_cube(source_file.path)
    grid = {"lat": source["lat"].values, "lon": source["lon"].values}
    if not _any_grid(settings) and not same_grid(grid, record):
        raise UserError(f"{source_file.path} has {grid_text(grid)}, the target {grid_text(vars(record))}: "
                        f"{ANY_GRID}.")
    folder, asked = source_run(settings, model, splits)
    if not from_first(lambda: is_finished(folder)):
        print(f"no pre-trained run in {folder}: ERA5test/{model}.py makes it first", flush=True)
        script, source_settings = script_settings("ERA5test", model, **asked, resume=settings.resume)
        with made_elsewhere():
            script["train_and_test"](source_settings)
    return folder / "model.pt", checksum(source_file.path)


def source_run(settings: Any, model: str, splits: Splits) -> tuple[Path, dict]:
    """The run that a fine-tuning with a source cube starts from.

    Parameters
    ----------
    settings : Settings of a fine-tuning script
        Completed; of one member.
    model : str
        Name of the script.
    splits : Splits
        Of the target.

    Returns
    -------
    Path
        Its folder.
    dict
        Settings of ERA5test that make it.
    """
    source_cube = source_of(settings)
    source_file = find_cube(source_cube, "era5_land")
    source_days, *further = (cube_days(open_cube(find_cube(cube, "era5_land").path, check_values=False))
                             for cube in (source_cube, *settings.further_cubes))
    until = source_cut(source_days, splits, settings.source_until, further)
    weather = source_weather(settings.coming_weather)
    name = run_name(replace(settings, name=None, coming_weather=weather), source_file, until)
    folder = run_folder(settings, "ERA5test", model, name)
    if (folder / f"seed{settings.seed}").exists():  # a member of an ensemble serves as well
        folder = folder / f"seed{settings.seed}"
    kept = (*ARCHITECTURE, *SHARED, *OF_SOURCE, "results", "device", "precision", "seed", "seeds")
    return folder, {name: getattr(settings, name) for name in kept} | {
        "cube": source_cube, "source_until": until, "coming_weather": weather}


def source_of(settings: Any) -> str:
    """The cube to pre-train on, a path or "twin"; a UserError where none is named and the target is not the twin."""
    source_cube = settings.source_cube or ("twin" if settings.cube == "twin" else None)
    if source_cube is None:
        raise UserError(f"cube is {settings.cube}, but no source is named to pre-train on: give --source-cube (a cube's path, "
                        "or twin).")
    return source_cube


def source_cut(source_time: np.ndarray, splits: Splits, asked: str | None = None,
               further: Sequence[np.ndarray] = ()) -> str | None:
    """Last source day that pre-training may see, as text; None where all sources end before anyway.

    Parameters
    ----------
    source_time : datetime64[D] [T]
    splits : Splits
        Of the target: the source is cut on the day before its validation begins.
    asked : str, optional
        An earlier day.
    further : sequence of datetime64[D] [T]
        Days of further cubes, which are cut as well.
    """
    last = splits.validation_from - np.timedelta64(1, "D")
    if asked is not None:
        latest = parse_date(asked, "source_until")
        if latest > last:
            raise UserError(f"source_until is {latest}, but the target's validation begins {splits.validation_from}: "
                            f"{last} is the last day that may be given.")
        last = latest
    if source_time[0] > last:
        raise UserError(f"the source begins {source_time[0]}, but only days until {last}, before the target's "
                        "validation, may be used. Choose an older source or later dates for the target.")
    return str(last) if any(time[-1] > last for time in (source_time, *further)) else None


def last_learned_day(path: Path, until: date | str | None) -> np.datetime64:
    """Last day of a further cube that is learned from: its last one, or `until`."""
    last = cube_days(open_cube(path, check_values=False))[-1]
    return last if until is None else min(last, np.datetime64(until))


def load_weights(network: torch.nn.Module, model: dict) -> None:
    """Start a network from pre-trained weights (`load_model`); a UserError where they are another network's."""
    try:
        network.load_state_dict(model["weights"])
    except RuntimeError as error:
        raise UserError(f"{model['path']}: the weights do not fit this network ({' '.join(str(error).split())[:200]}). Name a run of "
                        "the same network and settings.") from None


def _any_grid(settings):
    return settings.head == "local" and not (settings.scaling_from == "source" and settings.scaling == "cell")


def same_grid(grid: dict, record: Any) -> bool:
    """Whether a grid (a dict with lat and lon) is that of a Record, or of anything that has `lat` and `lon`."""
    return all(np.shape(grid[axis]) == np.shape(getattr(record, axis))
               and np.allclose(grid[axis], getattr(record, axis), atol=1e-3) for axis in ("lat", "lon"))


def grid_text(grid: dict) -> str:
    """What to call a grid (a dict with lat and lon, degrees) in a sentence."""
    lat, lon = np.asarray(grid["lat"]), np.asarray(grid["lon"])
    return f"a grid of {len(lat)} x {len(lon)} cells from {lat[0]:.2f} N {lon[0]:.2f} E"
