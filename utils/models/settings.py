"""What the settings that are left at None stand for, by the form of the network."""
from dataclasses import replace

from utils.runs import check_settings

LOCAL = {"input_days": 30, "hidden": (48,), "scaling": "cell", "hold_back": True, "batch_size": 2,
         "satellite_view": True, "worlds": 5}
PAPER = {"scaling": "global", "epochs": 30, "batch_size": 32, "learning_rate": 1e-3,
         "satellite_view": False, "worlds": 0, "hold_back": False}
ARCHITECTURE = ("head", "hidden")  # settings that weights depend on


def complete(settings, *, learning_rate, paper_hidden):
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
    settings = replace(settings, **{name: value for name, value in defaults.items()
                                    if getattr(settings, name, value) is None})
    check_settings(settings)
    return settings


def input_days_of(settings):
    """Days that a forecast looks back, as `complete` fills them in."""
    if settings.input_days is not None:
        return settings.input_days
    return LOCAL["input_days"] if settings.head == "local" else max(settings.lead_times or (settings.lead_time,))
