"""Our form of every network: one small network for all cells, so that its number of weights is that of no map.

What differs between the scripts is what a day knows of the places around it (`looks_around`, `looks_back`) and what carries
the past: a long short-term memory, or convolutions over the days.
"""
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from data_processing.coming_weather import COMING_CHANNELS, NOT_TOLD
from data_processing.cube import SOIL_MOISTURE, VARIABLES
from data_processing.static_maps import CHANNELS

# km: how far a day looks around, because rain travels, and how wide the areas are that it sees there the mean of
REACHES = (80.0, 240.0, 480.0, 800.0)
WIDTHS = (0.0, 200.0, 350.0, 500.0)
AROUND_CHANNELS = 16  # what it keeps of all it sees there
DAYS_UPSTREAM = (1, 2, 3)
UPSTREAM_WIDTHS = (0.0, 300.0)  # km, of the areas that it sees the mean of
UPSTREAM_CHANNELS = 16
USUAL_MOTION = 300.0  # km d-1
CELLS_AT_A_TIME = 512
NEIGHBOURS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]


class LocalForm(NamedTuple):
    """What distinguishes our networks.

    looks_around : bool, convolutions over the neighbours at four reaches, and over what lies upstream.
    looks_back : int, days that each of the former spans.
    remembers : bool, a long short-term memory carries the past; else convolutions over the days.
    """

    looks_around: bool
    looks_back: int
    remembers: bool


def make_local(form, settings, record):
    """Our form of a network.

    Parameters
    ----------
    form : LocalForm
    settings : Settings
        Read here: hidden (one width for all layers), dropout (0..1), coming_weather.
    record : Record
        Only its lead times are used: the weights are those of no grid.

    Returns
    -------
    LocalNetwork
    """
    return LocalNetwork(form, settings.hidden[0], settings.dropout, record.lead_times, told=settings.coming_weather != NOT_TOLD)


def around_in_cells(spacing):
    """REACHES and WIDTHS in cells of a grid: the same weights then look equally far on every grid.

    Parameters
    ----------
    spacing : (float, float)
        Of rows and columns, km; infinite where there is only one.

    Returns
    -------
    list of (int, int)
        Reach, at least 1, and width, odd.
    """
    spacing = np.mean([km for km in spacing if np.isfinite(km)] or [np.inf])
    return [(max(1, round(reach / spacing)), 1 + 2 * round(width / spacing / 2))
            for reach, width in zip(REACHES, WIDTHS)]


class LocalNetwork(nn.Module):
    """The change from the last day, from weather, season and place, for every asked cell by the same weights.

    forecast = keep * last + change, where `last` is the last known departure from the cell's mean (0 where nothing is
    known) and `keep` in 0..1 and `change`, one pair for each lead time, come from what is remembered. It starts as
    persistence damped by a half. Where coming weather is told, it changes both; where none is told, it changes nothing.
    """

    every_day = True

    def __init__(self, form, width, dropout, lead_times, told=False):
        super().__init__()
        self.lead_times = lead_times
        day_channels = 3 * len(VARIABLES) + 2  # values, freshness, antecedent means, season
        self.encoder = nn.ModuleDict({"place": nn.Linear(len(CHANNELS), width, bias=False)})
        if form.looks_around:
            self.encoder["around"] = LookAround(form.looks_back)
            self.encoder["upstream"] = LookUpstream()
            day_channels += AROUND_CHANNELS + UPSTREAM_CHANNELS
        self.encoder["day"] = nn.Linear(day_channels, width)
        if form.remembers:
            self.recurrent = Memory(width)
        else:
            self.encoder["past"] = PastDays(width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width + 1, width), nn.ReLU(),
                                  nn.Linear(width, 2 * len(lead_times)))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)
        if told:
            self.coming = ComingDays(2 * width + 1)

    def forward(self, batch):
        """Scaled soil moisture of the asked cells.

        Parameters
        ----------
        batch : utils.batches.Batch

        Returns
        -------
        Tensor [N, d, L, H, W]
            From the d days that are shown; 0 in cells that are not asked for. With M members of coming weather
            [1 + M, N, d, L, H, W]: first what is forecast without it.
        """
        windows, days, _, height, width = batch.inputs.shape
        asked = batch.asked.flatten().nonzero()[:, 0]

        def of_cells(maps):  # [N, D, channels, H, W] -> [D, N, cells, channels]
            return maps.flatten(3)[..., asked].permute(1, 0, 3, 2)

        season = batch.season.transpose(0, 1)[:, :, None].expand(-1, -1, len(asked), -1)
        day = [of_cells(batch.inputs), of_cells(batch.freshness), of_cells(batch.antecedent), season]
        if "around" in self.encoder:
            day.append(self.encoder["around"](batch.inputs, batch.freshness, batch.spacing_km, asked))
            day.append(self.encoder["upstream"](batch.inputs, batch.freshness, batch.motion, batch.spacing_km, asked))
        place = self.encoder["place"](batch.static.flatten(1)[:, asked].T)
        x = torch.relu(self.encoder["day"](torch.cat(day, -1)) + place).flatten(1, 2)  # [D, N x cells, width]
        past = self.recurrent(x) if "recurrent" in self._modules else self.encoder["past"](x)
        shown = list(batch.shown)
        last = day[0].flatten(1, 2)[shown, :, SOIL_MOISTURE:SOIL_MOISTURE + 1]
        known = torch.cat((past[shown], x[shown], last), -1)
        terms = self.head(known)  # [d, N x cells, 2 L]
        if batch.coming is not None:
            coming = batch.coming.permute(0, 3, 2, 1, 5, 4).flatten(3, 4)  # [M, leads, d, N x cells, channels]
            terms = torch.cat((terms[None], terms + self.coming(known, coming, self.lead_times)))
        keep, change = terms.chunk(2, -1)
        forecast = (torch.sigmoid(keep) * last + change).unflatten(-2, (windows, -1))  # [(1 + M,) d, N, cells, L]
        forecast = forecast.movedim(-4, -3).transpose(-1, -2)
        maps = forecast.new_zeros(*forecast.shape[:-1], height * width)
        maps[..., asked] = forecast
        return maps.unflatten(-1, (height, width))


class ComingDays(nn.Module):
    """What the weather of the coming days changes: a gated recurrent unit steps through them from what is known of the past."""

    WIDTH = 48

    def __init__(self, known):
        super().__init__()
        self.start = nn.Linear(known, self.WIDTH)
        self.step = nn.GRUCell(COMING_CHANNELS, self.WIDTH)
        self.change = nn.Linear(self.WIDTH, 2, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, known, coming, lead_times):
        """known : [d, cells, k], coming : [M, days, d, cells, CHANNELS] -> [M, d, cells, 2 L]: what to add to the head's.

        Nothing is added where no day up to the target has been told of.
        """
        members, days, *shape, channels = coming.shape
        state = torch.tanh(self.start(known)).expand(members, *shape, -1).flatten(0, -2)
        told = coming.new_zeros(members, *shape, 1)
        changes = []
        for day in range(days):
            state = self.step(coming[:, day].reshape(-1, channels), state)
            told = torch.maximum(told, coming[:, day, ..., -2:].amax(-1, keepdim=True))
            if day + 1 in lead_times:
                changes.append(self.change(state).unflatten(0, (members, *shape)) * (told > 0))
        keep, change = torch.stack(changes, -2).unbind(-1)
        return torch.cat((keep, change), -1)


class LookAround(nn.Module):
    """Convolution of a day (and the days before it) over eight areas at each of the reaches, for asked cells only.

    The areas are gathered and multiplied: the same sum as dilated convolutions, without those of the other cells.
    """

    def __init__(self, days):
        super().__init__()
        self.days = days
        self.look = nn.Linear(len(REACHES) * len(NEIGHBOURS) * len(VARIABLES), days * AROUND_CHANNELS, bias=False)

    def forward(self, x, freshness, spacing, asked):
        """x, freshness : [N, D, 3, H, W], asked : int [cells], flat -> [D, N, cells, AROUND_CHANNELS].

        The mean of an area is that of its known values, fresh ones counting more; 0 where there is none, as beyond the map.
        """
        around = around_in_cells(spacing)
        margin, columns = max(reach for reach, _ in around), x.shape[-1]
        centres = (asked // columns + margin) * (columns + 2 * margin) + asked % columns + margin
        near = []
        for reach, width in around:
            areas = area_means(x, freshness, width) if width > 1 else x
            padded = nn.functional.pad(areas, (margin,) * 4).flatten(3).transpose(2, 3).contiguous()  # [N, D, cells, 3]
            steps = torch.tensor([reach * (row * (columns + 2 * margin) + column) for row, column in NEIGHBOURS],
                                 device=x.device)
            near.append(padded.index_select(2, (centres[:, None] + steps).flatten()).view(*x.shape[:2], len(asked), -1))
        looks = self.look(torch.cat(near, -1)).transpose(0, 1).chunk(self.days, -1)
        seen = looks[0]
        for back, look in enumerate(looks[1:], start=1):
            seen = seen + torch.cat((torch.zeros_like(look[:back]), look[:-back]))
        return seen


class LookUpstream(nn.Module):
    """What lies upstream: where the rain of the days ahead is coming from, if it goes on as it has moved until now.

    For each of DAYS_UPSTREAM it looks that many days' way against the motion of the rain, on the map of the day and, a day's
    way farther, on that of the day before.
    """

    def __init__(self):
        super().__init__()
        looks = 2 * len(DAYS_UPSTREAM) * len(UPSTREAM_WIDTHS) * len(VARIABLES)
        self.look = nn.Linear(looks + 2, UPSTREAM_CHANNELS, bias=False)

    def forward(self, x, freshness, motion, spacing, asked):
        """x, freshness : [N, D, 3, H, W], motion : [N, D, 2, H, W], asked : int [cells] -> [D, N, cells, UPSTREAM_CHANNELS]."""
        height, width = x.shape[-2:]
        motion = motion.flatten(3)[..., asked]  # [N, D, 2, cells]
        row_km, column_km = spacing
        east, north = motion[:, :, 0] / column_km, motion[:, :, 1] / row_km
        near = [motion / USUAL_MOTION]
        for area in UPSTREAM_WIDTHS:
            cells = 1 + 2 * round(area / (row_km + column_km))
            today = (area_means(x, freshness, cells) if cells > 1 else x).flatten(3)
            before = torch.cat((torch.zeros_like(today[:, :1]), today[:, :-1]), 1)
            for days in DAYS_UPSTREAM:
                for maps, back in ((today, days), (before, days + 1)):
                    row = (asked // width - back * north).round().long()
                    column = (asked % width - back * east).round().long()
                    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                    index = torch.where(inside, row * width + column, 0)[:, :, None].expand(-1, -1, len(VARIABLES), -1)
                    near.append(maps.gather(3, index) * inside[:, :, None])
        return self.look(torch.cat(near, 2).permute(1, 0, 3, 2))


def area_means(x, freshness, width):
    """Means [N, D, 3, H, W] over squares of `width` cells, weighted by freshness; 0 where nothing is known."""
    def sums(values):  # differences of running sums: their cost does not grow with the width
        running = nn.functional.pad(values, (width // 2 + 1, width // 2) * 2).cumsum(-1).cumsum(-2)
        rows = running[..., width:, :] - running[..., :-width, :]
        return rows[..., width:] - rows[..., :-width]

    return sums(x * freshness) / sums(freshness).clamp_min(1e-2)


class Memory(nn.LSTM):
    """Long short-term memory over the days: [D, cells, width] -> the same."""

    def __init__(self, width):
        super().__init__(width, width)

    def forward(self, x):
        """Hidden state of every day; some cells at a time, since more no longer fit a processor's cache."""
        return torch.cat([super(Memory, self).forward(cells)[0] for cells in x.split(CELLS_AT_A_TIME, 1)], 1)


class PastDays(nn.Module):
    """Convolutions over this and earlier days, 1, 3, 9 days apart: each day then knows 27 days.

    Bai et al. (2018), "An empirical evaluation of generic convolutional and recurrent networks", arXiv:1803.01271.
    """

    STEPS = (1, 3, 9)

    def __init__(self, width):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3 * width, width) for _ in self.STEPS)

    def forward(self, x):
        """x : [D, cells, width] -> the same; before the window there is nothing."""
        for layer, step in zip(self.layers, self.STEPS):
            before = torch.cat((x.new_zeros(2 * step, *x.shape[1:]), x))
            days = [before[:len(x)], before[step:step + len(x)], x]
            x = x + torch.relu(layer(torch.cat(days, -1)))
        return x
