"""3-D convolution and LSTM: the paper's form and ours, one definition for all three experiments."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from data_processing.cube import VARIABLES
from utils.models.cnn import paper_window
from utils.models.dense import MapHead, input_maps
from utils.models.local import LocalForm, make_local
from utils.precision import in_own_precision, with_precision

if TYPE_CHECKING:
    import torch

    from data_processing.record import Record
    from utils.batches import Batch

HEADS = ("local", "dense")
PAPER_HIDDEN = (10,)
OURS = LocalForm(looks_around=True, looks_back=3, remembers=True)


@with_precision
def make_conv3d_lstm(settings: Any, record: Record) -> nn.Module:
    """LSTM behind a convolution over space and days.

    Parameters
    ----------
    settings : Settings
        Completed; read here: head ("local": ours; "dense": the paper's), hidden (channels), dropout of ours.
    record : Record
        The paper's form is made for its map size.

    Returns
    -------
    nn.Module
        As `utils.models.convlstm.make_convlstm`.
    """
    if settings.head == "local":
        return make_local(OURS, settings, record)
    return PaperConv3dLSTM(settings.hidden[0], len(record.lead_times), *record.land.shape)


class PaperConv3dLSTM(nn.Module):
    """The paper's: a strided convolution of each day, an LSTM whose hidden state is a map, a dense head for one map size.

    Structure of the public code of Li et al. (2021), doi:10.1016/j.jhydrol.2021.126698.
    """

    every_day, looks_around = False, False

    def __init__(self, hidden, lead_times, height, width):
        super().__init__()
        cells = height * width
        window = 1, *paper_window(height, width)
        self.encoder = nn.Conv3d(len(VARIABLES), hidden, window, stride=window)
        self.recurrent = nn.LSTM(hidden * (height // window[1]) * (width // window[2]), cells, batch_first=True)
        self.head = MapHead(cells, lead_times, height, width)

    @in_own_precision
    def forward(self, batch: Batch) -> torch.Tensor:
        """See `make_conv3d_lstm`; only the last day is forecast."""
        days = self.encoder(input_maps(batch).transpose(1, 2)).transpose(1, 2).flatten(2)
        return self.head(self.recurrent(days)[0][:, -1])
