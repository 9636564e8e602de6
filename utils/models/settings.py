"""What the settings that are left at None stand for, by the form of the network."""
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_processing.coming_weather import GIVE_WEATHER, NOT_TOLD, OBSERVED, TWIN
from data_processing.cube import GIVE_CUBE
from data_processing.errors import UserError, refuse_unknown
from data_processing.files import require_file
from data_processing.record import INPUTS
from utils.runs import check_settings

LOCAL: dict = {"input_days": 30, "hidden": (48,), "scaling": "cell", "hold_back": True, "batch_size": 2,
         "satellite_view": True, "worlds": 5}
# Of pre-training: what one lead time needs, and several, or one that is told coming weather
FEW_STEPS, MANY_STEPS = 1500, 5000
PAPER = {"scaling": "global", "epochs": 30, "batch_size": 32, "learning_rate": 1e-3,
         "satellite_view": False, "worlds": 0, "hold_back": False}
GIVE_RUN = "Give the folder of a finished run, or its model.pt."
PARTS = ("encoder", "recurrent", "head", "coming")  # of the networks; which of them one has, it says itself
ARCHITECTURE = ("head", "hidden")  # settings that weights depend on


def complete(settings: Any, *, learning_rate: float, paper_hidden: tuple[int, ...] | None) -> Any:
    """Fill in what is None by the head: the paper's are as published, ours has its own sequence, sizes and training.

    Parameters
    ----------
    settings : Settings
    learning_rate : float
        Of the local head in this script.
    paper_hidden : tuple of int, or None
        Sizes of the paper's form; None where they are not free.

    Returns
    -------
    Settings

    Raises
    ------
    UserError
        A setting out of range.
    """
    if settings.head == "local":
        defaults = LOCAL | {"learning_rate": learning_rate}
    else:
        defaults = PAPER | {"hidden": paper_hidden, "input_days": input_days_of(settings)}
    one_thing = len(settings.lead_times or (settings.lead_time,)) == 1 and settings.coming_weather == NOT_TOLD
    defaults |= {"steps": FEW_STEPS if one_thing else MANY_STEPS}
    settings = replace(settings, **{name: value for name, value in defaults.items()
                                    if getattr(settings, name, value) is None})
    check_settings(settings)
    refuse_unknown_names(settings)
    refuse_idle_settings(settings, paper_hidden)
    return settings


def refuse_unknown_names(settings: Any) -> None:
    """Raise a UserError for what is named and exists nowhere, before any data are read."""
    for setting, known in {"drop_inputs": INPUTS, "freeze": PARTS, "learning_rate_scale": PARTS}.items():
        refuse_unknown(setting, getattr(settings, setting, ()), known)
    cube, weather = (GIVE_CUBE, (TWIN,)), (GIVE_WEATHER, (TWIN, NOT_TOLD, OBSERVED))
    for setting, (instead, words) in {"cube": cube, "source_cube": cube, "further_cubes": cube, "coming_weather": weather}.items():
        paths = getattr(settings, setting, None)
        for path in paths if isinstance(paths, tuple) else (paths,):
            if path not in (None, TWIN, NOT_TOLD, OBSERVED):
                require_file(path, f"{setting} is {path}", instead, words)


def refuse_missing_run(settings: Any) -> None:
    """Raise a UserError where the run to start from is not there; not of settings by which a study plans runs that it makes later."""
    pretrained = getattr(settings, "pretrained", None)
    if pretrained is not None and not Path(pretrained).expanduser().is_dir():
        require_file(pretrained, f"pretrained is {pretrained}", GIVE_RUN)


def refuse_idle_settings(settings: Any, paper_hidden: tuple[int, ...] | None) -> None:
    """Raise a UserError for settings that would do nothing, before anyone believes that they did."""
    head, local = settings.head, settings.head == "local"
    sizes = 1 if local else len(paper_hidden or ())
    if len(settings.hidden or ()) != sizes:
        expected = {0: "none: it is the number of cells"}.get(sizes, f"{sizes} number{'s' * (sizes > 1)}")
        raise UserError(f"hidden is {settings.hidden}; head {head!r} of this network takes {expected}.")
    unseen = [name for name in settings.drop_inputs if name in ("season", "place")]
    if not local and unseen:
        raise UserError(f"drop_inputs names {', '.join(unseen)}, which head {head!r} never sees.")
    if not local and settings.coming_weather != NOT_TOLD:
        raise UserError(f"coming_weather is {settings.coming_weather}; only head 'local' is told of it, not head {head!r}.")
    if not local and settings.dropout:
        raise UserError(f"dropout is {settings.dropout}; head {head!r} has none.")
    if not local and getattr(settings, "patch", None):
        raise UserError(f"patch is {settings.patch}; head {head!r} learns from whole maps.")
    of_training = [name for name in ("freeze", "learning_rate_scale", "pull") if getattr(settings, name, None)]
    if getattr(settings, "zero_shot", False) and of_training:
        raise UserError(f"zero_shot trains nothing: {', '.join(of_training)} would do nothing beside it.")


def input_days_of(settings: Any) -> int:
    """Days that a forecast looks back, as `complete` fills them in."""
    if settings.input_days is not None:
        return settings.input_days
    return LOCAL["input_days"] if settings.head == "local" else max(settings.lead_times or (settings.lead_time,))
