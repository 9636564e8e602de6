"""Files of tensors, model.pt and checkpoint.pt: read so that nothing in them is executed and no damage passes unseen."""
import pickle
import zipfile
from pathlib import Path

import torch

from data_processing.errors import UserError

AGAIN = "Name another, or make it again."


def load_tensors(path: Path) -> dict:
    """Read a file of tensors and plain values.

    Parameters
    ----------
    path : Path

    Returns
    -------
    what was saved
        Tensors on the processor.

    Raises
    ------
    UserError
        Not such a file; damaged, which torch itself does not look for; it holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # a damaged directory is told by many kinds
        if isinstance(error, OSError) and error.filename:  # it cannot be opened
            raise
        raise UserError(f"{path}: no whole file of tensors (.pt): damaged, cut off or something else. {AGAIN}") from None
    if damaged:
        raise UserError(f"{path}: {damaged} in it is damaged. {AGAIN}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: holds more than tensors and plain values, which may execute what it likes: not read. {AGAIN}") from None
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise UserError(f"{path}: not a file of tensors that can be read ({type(error).__name__}). {AGAIN}") from None
