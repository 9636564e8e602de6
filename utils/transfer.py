"""Save a trained network, find or make a pre-trained one, and start from its weights."""
import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data_processing.cube import cube_days, open_cube
from data_processing.errors import UserError
from data_processing.files import replacing
from data_processing.scaling import Scaler
from utils.runs import PROJECT, find_cube, is_finished, plain, run_folder, run_name, setting_differences

MODEL_FORMAT = 1
SHARED = ("lead_time", "input_days", "max_gap_days")  # of both runs, besides the architecture


def save_model(run, network, record, settings, label):
    """Write `model.pt`: weights, scaler and settings as a dict of tensors and plain values."""
    scaler = {name: torch.from_numpy(value) if hasattr(value, "dtype") else value
              for name, value in record.scaler.to_state().items()}
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    with replacing(run.path("model.pt")) as temporary:
        torch.save({"format": MODEL_FORMAT, "weights": weights, "scaler": scaler, "settings": plain(settings),
                    "label": label, "grid": list(record.land.shape)}, temporary)


def load_model(path):
    """Read a `model.pt`.

    Parameters
    ----------
    path : Path
        The file, or a run folder that holds it.

    Returns
    -------
    dict
        weights, scaler (a Scaler), settings, label (of the cube), grid.

    Raises
    ------
    UserError
        No such file, or it is no model of this project.
    """
    path = Path(path)
    path = path / "model.pt" if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file; give a finished run's folder or its model.pt.")
    try:
        model = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise UserError(f"{path}: not a model that can be read ({type(error).__name__}).") from None
    if not isinstance(model, dict) or model.get("format") != MODEL_FORMAT:
        raise UserError(f"{path}: not a model of this version; train again.")
    return model | {"scaler": Scaler.from_state(model["scaler"])}


def pretrained_run(settings, model, architecture, splits):
    """Folder of the pre-trained run; it is made first, by the ERA5test script, when it does not exist.

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

    Returns
    -------
    Path

    Raises
    ------
    UserError
        No source is named; the run that exists was made with other settings.
    """
    shared = {name: getattr(settings, name) for name in (*architecture, *SHARED)}
    if settings.pretrained:
        folder = Path(settings.pretrained)
        folder = folder.parent if folder.suffix == ".pt" else folder
    else:
        source_cube = settings.source_cube or ("twin" if settings.cube == "twin" else None)
        if source_cube is None:
            raise UserError(f"cube is {settings.cube}, but no source is named to pre-train on: give --source-cube (a "
                            "cube's path, or twin), or --pretrained (a finished run).")
        source = find_cube(source_cube, "era5_land")
        until = source_cut(cube_days(open_cube(source.path)), splits)
        shared |= {"cube": source_cube, "source_until": until}
        folder = run_folder(settings, "ERA5test", model, run_name(replace(settings, name=None), source, until))
        if not is_finished(folder):
            print(f"no pre-trained run in {folder}: ERA5test/{model}.py makes it first", flush=True)
            script = runpy.run_path(str(PROJECT / "ERA5test" / f"{model}.py"))
            started = (folder / "settings.json").exists()
            script["main"](script["Settings"](**shared, results=settings.results, device=settings.device,
                                              resume=settings.resume and started))
    check_shared(load_model(folder)["settings"], shared, folder)
    return folder


def source_cut(source_time, splits):
    """Last source day that pre-training may see, as text; None where the source ends before anyway."""
    last = splits.validation_from - np.timedelta64(1, "D")
    if source_time[0] > last:
        raise UserError(f"the source begins {source_time[0]}, but the target's validation begins "
                        f"{splits.validation_from}: no source day is left to pre-train on. Choose an older source or "
                        "later dates for the target.")
    return str(last) if source_time[-1] > last else None


def check_shared(found, shared, folder):
    """Refuse a pre-trained run whose settings differ from those that both runs must share."""
    differences = setting_differences(found, json.loads(json.dumps(shared)), names=list(shared))
    if differences:
        raise UserError(f"the pre-trained run {folder} is another one: {'; '.join(differences)}. Give the same "
                        "settings, name another run with --pretrained, or remove it so that it is made again.")


def load_weights(network, model):
    """Start a network from pre-trained weights.

    Raises
    ------
    UserError
        The weights are those of another network or, for a head made for one map size, of another grid.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in model["weights"].items()}
    if expected != found:
        name = next(name for name in sorted(expected | found) if expected.get(name) != found.get(name))
        raise UserError(f"the pre-trained run ({model['label']}) has a grid of {model['grid'][0]} x {model['grid'][1]} cells and weights that "
                        f"do not fit this network: {name} is {found.get(name)} there, {expected.get(name)} here. A head made "
                        "for one map size cannot change the grid; head = 'local' can.")
    network.load_state_dict(model["weights"])
