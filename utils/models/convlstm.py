"""ConvLSTM: the paper's two forms and ours, one definition for all three experiments."""
import torch
from torch import nn

from data_processing.cube import VARIABLES
from utils.models.dense import MapHead, input_maps
from utils.models.local import LocalForm, make_local

HEADS = ("local", "dense", "conv")
PAPER_HIDDEN = (8, 4)
PAPER_KERNEL = 3
# a long short-term memory in every cell, fed with convolutions of the places around it; the state itself does not travel
OURS = LocalForm(looks_around=True, looks_back=1, remembers=True)


def make_convlstm(settings, record):
    """ConvLSTM network with one of three heads.

    Parameters
    ----------
    settings : Settings
        Completed; read here: head ("local": ours; "dense", "conv": the paper's), hidden (channels of each layer), and
        of the local head dropout (0..1).
    record : Record
        The paper's heads are made for its map size.

    Returns
    -------
    nn.Module
        `network(batch)` gives scaled soil moisture [N, d, L, C], L lead times after the window's last day (d = 1), or, where
        `network.every_day` is true, after each of the days that `batch.shown` names.
    """
    if settings.head == "local":
        return make_local(OURS, settings, record)
    return PaperConvLSTM(settings.head, settings.hidden, len(record.lead_times), *record.land.shape)


class ConvLSTMCell(nn.Module):
    """One convolutional LSTM step: all gates from one convolution over [input, hidden state].

    Shi et al. (2015), "Convolutional LSTM network", arXiv:1506.04214, without peepholes.
    """

    def __init__(self, input_channels, hidden, kernel):
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(input_channels + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x, state):
        """Advance one day.

        Parameters
        ----------
        x : Tensor [N, input_channels, H, W]
        state : tuple of Tensor [N, hidden, H, W], or None
            Hidden and cell state of the day before; None before the first day.

        Returns
        -------
        tuple of Tensor [N, hidden, H, W]
            Hidden and cell state of this day.
        """
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
            state = zeros, zeros
        hidden, memory = state
        gate_in, gate_forget, gate_out, candidate = self.gates(torch.cat((x, hidden), 1)).chunk(4, 1)
        memory = torch.sigmoid(gate_forget) * memory + torch.sigmoid(gate_in) * torch.tanh(candidate)
        return torch.sigmoid(gate_out) * torch.tanh(memory), memory


class ConvLSTMLayers(nn.Module):
    """Stacked ConvLSTM cells run over the days of a window."""

    def __init__(self, input_channels, hidden, kernel):
        super().__init__()
        sizes = (input_channels, *hidden)
        self.cells = nn.ModuleList(ConvLSTMCell(a, b, kernel) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        """x : [N, D, channels, H, W] -> last layer's hidden state of every day, [N, D, hidden, H, W]."""
        states = [None] * len(self.cells)
        outputs = []
        for day in x.unbind(1):
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(day, states[layer])
                day = states[layer][0]
            outputs.append(day)
        return torch.stack(outputs, 1)


class PaperConvLSTM(nn.Module):
    """The paper's: two ConvLSTM layers, the last hidden state, ReLU, and a dense head made for one map size.

    head "dense": dense 4 H W -> H W. head "conv": 1 x 1 convolution, sigmoid, dense H W -> H W. Structure of the public
    code of Li et al. (2021), doi:10.1016/j.jhydrol.2021.126698.
    """

    every_day, looks_around = False, False

    def __init__(self, head, hidden, lead_times, height, width):
        super().__init__()
        cells = height * width
        self.recurrent = ConvLSTMLayers(len(VARIABLES), hidden, PAPER_KERNEL)
        if head == "dense":
            layers, inputs = [nn.ReLU(), nn.Flatten()], hidden[-1] * cells
        else:
            layers, inputs = [nn.ReLU(), nn.Conv2d(hidden[-1], 1, 1), nn.Sigmoid(), nn.Flatten()], cells
        self.head = nn.Sequential(*layers, MapHead(inputs, lead_times, height, width))

    def forward(self, batch):
        """See `make_convlstm`; only the last day is forecast."""
        return self.head(self.recurrent(input_maps(batch))[:, -1])
