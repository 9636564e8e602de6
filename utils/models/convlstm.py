"""ConvLSTM: the paper's two forms and ours, one definition for all three experiments."""
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from data_processing.cube import SOIL_MOISTURE, VARIABLES
from data_processing.satellite import KM_PER_DEGREE
from data_processing.static_maps import CHANNELS
from utils.runs import check_settings

HEADS = ("local", "dense", "conv")
# What the settings that are left at None stand for.
LOCAL = {"input_days": 30, "hidden": (24,), "scaling": "cell", "batch_size": 1, "satellite_view": True}
PAPER = {"hidden": (8, 4), "scaling": "global", "epochs": 30, "batch_size": 32, "learning_rate": 1e-3,
         "satellite_view": False}
ARCHITECTURE = ("head", "hidden", "kernel")  # settings that weights depend on
PAPER_KERNEL = 3
REACHES = (80.0, 240.0, 480.0)  # km: how far a day looks around, because rain travels
AROUND_CHANNELS = 4  # what it keeps of each reach


def complete(settings, *, learning_rate):
    """Fill in what is None by the head: the paper's are as published, ours has its own sequence, sizes and training.

    Parameters
    ----------
    settings : Settings
    learning_rate : float
        Of the local head in this script.

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
        defaults = PAPER | {"input_days": settings.lead_time}
    settings = replace(settings, **{name: value for name, value in defaults.items()
                                    if getattr(settings, name, value) is None})
    check_settings(settings)
    return settings


def make_convlstm(settings, record):
    """ConvLSTM network with one of three heads.

    Parameters
    ----------
    settings : Settings
        Completed; read here: head ("local": ours; "dense", "conv": the paper's), hidden (channels of each layer), and
        of the local head kernel (of the state-to-state convolution, cells, odd) and dropout (0..1).
    record : Record
        The paper's heads are made for its map size; the local head looks as many cells around as its spacing asks for.

    Returns
    -------
    nn.Module
        `network(batch, every_day=False)` gives scaled soil moisture [N, d, H, W] after the window's last day (d = 1),
        or after each of its days (d = D) where `network.every_day` is true.
    """
    if settings.head == "local":
        reaches = reaches_in_cells(record.lat, record.lon)
        return LocalConvLSTM(settings.hidden, settings.kernel, settings.dropout, reaches)
    return PaperConvLSTM(settings.head, settings.hidden, *record.land.shape)


def reaches_in_cells(lat, lon):
    """REACHES in cells of a grid, at least 1: the same weights then look equally far on every grid.

    Parameters
    ----------
    lat, lon : float [H], [W]
        Cell centres, degrees.

    Returns
    -------
    list of int
    """
    spacings = [np.ptp(lat) / (len(lat) - 1)] if len(lat) > 1 else []
    if len(lon) > 1:
        spacings.append(np.ptp(lon) / (len(lon) - 1) * np.cos(np.radians(np.mean(lat))))
    spacing = KM_PER_DEGREE * np.mean(spacings) if spacings else np.inf
    return [max(1, round(reach / spacing)) for reach in REACHES]


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


class LocalConvLSTM(nn.Module):
    """Ours: the change from the last day, from weather, season and place; the number of weights is that of no map.

    forecast = keep * last + change, where `last` is the last known departure from the cell's mean (0 where nothing is
    known) and `keep` in 0..1 and `change` come from the hidden state. It starts as persistence damped by a half.
    """

    every_day = True

    def __init__(self, hidden, kernel, dropout, reaches):
        super().__init__()
        width = hidden[-1]
        day_channels = 2 * len(VARIABLES) + 2 + len(reaches) * AROUND_CHANNELS  # values, freshness, season, around
        self.encoder = nn.ModuleDict({
            "around": nn.ModuleList(
                nn.Conv2d(len(VARIABLES), AROUND_CHANNELS, 3, padding=reach, dilation=reach, bias=False)
                for reach in reaches),
            "day": nn.Conv2d(day_channels, width, 1),
            "place": nn.Conv2d(len(CHANNELS), width, 1, bias=False)})
        self.recurrent = ConvLSTMLayers(width, hidden, kernel)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(2 * width + 1, width, 1), nn.ReLU(),
                                  nn.Conv2d(width, 2, 1))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, batch, every_day=False):
        """See `make_convlstm`."""
        windows, days, _, height, width = batch.inputs.shape
        season = batch.season[..., None, None].expand(-1, -1, -1, height, width).flatten(0, 1)
        values = batch.inputs.flatten(0, 1)
        around = [look(values) for look in self.encoder["around"]]
        x = self.encoder["day"](torch.cat((values, batch.freshness.flatten(0, 1), season, *around), 1))
        x = torch.relu(x + self.encoder["place"](batch.static[None]))
        x = x.unflatten(0, (windows, days))
        shown = slice(None) if every_day else slice(-1, None)
        last = batch.inputs[:, shown, SOIL_MOISTURE:SOIL_MOISTURE + 1]
        known = torch.cat((self.recurrent(x)[:, shown], x[:, shown], last), 2)
        keep, change = self.head(known.flatten(0, 1)).unflatten(0, (windows, -1)).unbind(2)
        return torch.sigmoid(keep) * last.squeeze(2) + change


class PaperConvLSTM(nn.Module):
    """The paper's: two ConvLSTM layers, the last hidden state, ReLU, and a dense head made for one map size.

    head "dense": dense 4 H W -> H W. head "conv": 1 x 1 convolution, sigmoid, dense H W -> H W. Structure of the public
    code of Li et al. (2021), doi:10.1016/j.jhydrol.2021.126698.
    """

    every_day = False

    def __init__(self, head, hidden, height, width):
        super().__init__()
        cells = height * width
        self.recurrent = ConvLSTMLayers(len(VARIABLES), hidden, PAPER_KERNEL)
        if head == "dense":
            layers = nn.Flatten(), nn.Linear(hidden[-1] * cells, cells)
        else:
            layers = nn.Conv2d(hidden[-1], 1, 1), nn.Sigmoid(), nn.Flatten(), nn.Linear(cells, cells)
        self.head = nn.Sequential(nn.ReLU(), *layers, nn.Unflatten(1, (1, height, width)))

    def forward(self, batch, every_day=False):
        """See `make_convlstm`; only the last day is forecast."""
        return self.head(self.recurrent(batch.inputs)[:, -1])
