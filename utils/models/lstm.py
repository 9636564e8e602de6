"""LSTM: the paper's form and ours, one definition for all three experiments."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from data_processing.cube import VARIABLES
from utils.models.dense import MapHead
from utils.models.local import LocalForm, make_local
from utils.precision import in_own_precision, with_precision

if TYPE_CHECKING:
    import torch

    from data_processing.record import Record
    from utils.batches import Batch

HEADS = ("local", "dense")
PAPER_HIDDEN = None  # as many as there are cells
OURS = LocalForm(looks_around=False, looks_back=1, remembers=True)


@with_precision
def make_lstm(settings: Any, record: Record) -> nn.Module:
    """LSTM over the whole flattened map (paper) or one small LSTM for all cells, with maps of the place (ours).

    Parameters
    ----------
    settings : Settings
        Completed; read here: head ("local": ours; "dense": the paper's), hidden and dropout of ours. The hidden size of
        the paper's form is the number of cells.
    record : Record
        The paper's form is made for its map size.

    Returns
    -------
    nn.Module
        As `utils.models.convlstm.make_convlstm`.
    """
    if settings.head == "local":
        return make_local(OURS, settings, record)
    return PaperLSTM(len(record.lead_times), *record.land.shape)


class PaperLSTM(nn.Module):
    """The paper's: an LSTM whose input is a day's flattened map of three variables, its hidden state a map.

    Structure of the public code of Li et al. (2021), doi:10.1016/j.jhydrol.2021.126698.
    """

    every_day, looks_around = False, False

    def __init__(self, lead_times, height, width):
        super().__init__()
        cells = height * width
        self.recurrent = nn.LSTM(len(VARIABLES) * cells, cells, batch_first=True)
        self.head = MapHead(cells, lead_times, height, width)

    @in_own_precision
    def forward(self, batch: Batch) -> torch.Tensor:
        """See `make_lstm`; only the last day is forecast."""
        return self.head(self.recurrent(batch.inputs.flatten(2))[0][:, -1])
