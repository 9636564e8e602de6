"""CNN: the paper's form and ours, one definition for all three experiments."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from data_processing.cube import VARIABLES
from utils.models.dense import MapHead, input_maps
from utils.models.local import LocalForm, make_local
from utils.precision import in_own_precision, with_precision

if TYPE_CHECKING:
    import torch

    from data_processing.record import Record
    from utils.batches import Batch

HEADS = ("local", "dense")
PAPER_HIDDEN = (48,)
PAPER_KERNEL = 3
OURS = LocalForm(looks_around=True, looks_back=1, remembers=False)


@with_precision
def make_cnn(settings: Any, record: Record) -> nn.Module:
    """Convolutional network without memory: the days of the window are channels (paper) or convolved over (ours).

    Parameters
    ----------
    settings : Settings
        Completed; read here: head ("local": ours; "dense": the paper's), hidden (channels), input_days of the paper's
        form, dropout of ours.
    record : Record
        The paper's form is made for its map size.

    Returns
    -------
    nn.Module
        As `utils.models.convlstm.make_convlstm`.
    """
    if settings.head == "local":
        return make_local(OURS, settings, record)
    return PaperCNN(settings.hidden[0], settings.input_days, len(record.lead_times), *record.land.shape)


class PaperCNN(nn.Module):
    """The paper's: one convolution with stride 3 over all days at once, ReLU, and a dense head made for one map size.

    Structure of the public code of Li et al. (2021), doi:10.1016/j.jhydrol.2021.126698.
    """

    every_day, looks_around = False, False

    def __init__(self, hidden, input_days, lead_times, height, width):
        super().__init__()
        window = paper_window(height, width)
        self.encoder = nn.Sequential(nn.Conv2d(input_days * len(VARIABLES), hidden, window, stride=window), nn.ReLU(),
                                     nn.Flatten())
        self.head = MapHead(hidden * (height // window[0]) * (width // window[1]), lead_times, height, width)

    @in_own_precision
    def forward(self, batch: Batch) -> torch.Tensor:
        """See `make_cnn`; only the last day is forecast."""
        return self.head(self.encoder(input_maps(batch).flatten(1, 2)))


def paper_window(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the paper's strided convolution: 3 x 3, or the whole of a smaller map."""
    return min(PAPER_KERNEL, height), min(PAPER_KERNEL, width)
