"""Our form of every network: one small network for all cells, so that its number of weights is that of no map.

What differs between the scripts is what a day knows of the places around it (`looks_around`, `looks_back`) and what carries
the past: a long short-term memory, or convolutions over the days.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from data_processing.coming_weather import COMING_CHANNELS, NOT_TOLD
from data_processing.cube import SOIL_MOISTURE, VARIABLES
from data_processing.static_maps import CHANNELS
from utils.precision import in_own_precision

if TYPE_CHECKING:
    from data_processing.record import Record
    from utils.batches import Around, Batch

# km: how far a day looks around, because rain travels, and how wide the areas are that it sees there the mean of
REACHES = (80.0, 240.0, 480.0, 800.0)
WIDTHS = (0.0, 200.0, 350.0, 500.0)
AROUND_CHANNELS = 16  # what it keeps of all it sees there
DAYS_UPSTREAM = (1, 2, 3)
UPSTREAM_WIDTHS = (0.0, 300.0)  # km, of the areas that it sees the mean of
UPSTREAM_CHANNELS = 16
USUAL_MOTION = 300.0  # km d-1
CELLS_AT_A_TIME = 512
MAPS_AT_A_TIME = 8  # their running sums take six times the memory of the maps
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


def make_local(form: LocalForm, settings: Any, record: Record) -> nn.Module:
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


def around_in_cells(spacing: tuple[float, float]) -> list[tuple[int, int]]:
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
    size = np.mean([km for km in spacing if np.isfinite(km)] or [np.inf])
    return [(max(1, round(reach / size)), 1 + 2 * round(width / size / 2))
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
        self.looks_around = form.looks_around
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

    @in_own_precision
    def forward(self, batch: Batch) -> torch.Tensor:
        """Scaled soil moisture of the batch's cells.

        Parameters
        ----------
        batch : utils.batches.Batch

        Returns
        -------
        Tensor [N, d, L, C]
            From the d days that are shown. With M members of coming weather [1 + M, N, d, L, C]: first what is forecast
            without it.
        """
        x = self.encoded_days(batch)
        past = self.recurrent(x) if "recurrent" in self._modules else self.encoder["past"](x)
        shown = list(batch.shown)
        last = batch.inputs[:, shown, SOIL_MOISTURE].transpose(0, 1).flatten(1)[..., None]
        known = torch.cat((past[shown], x[shown], last), -1)
        terms = self.head(known).float()  # [d, N x cells, 2 L]; float32: what is added to `last` must not blur it
        if batch.coming is not None:
            coming = batch.coming.permute(0, 3, 2, 1, 5, 4).flatten(3, 4)  # [M, leads, d, N x cells, channels]
            terms = torch.cat((terms[None], terms + self.coming(known, coming, self.lead_times)))
        keep, change = terms.chunk(2, -1)
        forecast = (torch.sigmoid(keep) * last + change).unflatten(-2, (len(batch.inputs), -1))  # [(1 + M,) d, N, cells, L]
        return forecast.movedim(-4, -3).transpose(-1, -2)

    def encoded_days(self, batch: Batch) -> torch.Tensor:
        """What is known of each day by itself, and of its surroundings: Tensor [D, N x cells, width]."""
        season = batch.season.transpose(0, 1)[:, :, None].expand(-1, -1, batch.inputs.shape[-1], -1)
        day = [values.permute(1, 0, 3, 2) for values in (batch.inputs, batch.freshness, batch.antecedent)] + [season]
        if self.looks_around:
            means = areas(batch.around)
            seen = torch.cat([self.encoder[look](means, batch.around) for look in ("around", "upstream")], -1)
            day.append(at_cells(seen, batch.around.weight))
        place = self.encoder["place"](batch.static.T)
        return torch.relu(self.encoder["day"](torch.cat(day, -1)) + place).flatten(1, 2)


class ComingDays(nn.Module):
    """What the weather of the coming days changes: a gated recurrent unit steps through them from what is known of the past."""

    WIDTH = 48

    def __init__(self, known):
        super().__init__()
        self.start = nn.Linear(known, self.WIDTH)
        self.step = nn.GRUCell(COMING_CHANNELS, self.WIDTH)
        self.change = nn.Linear(self.WIDTH, 2, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, known: torch.Tensor, coming: torch.Tensor, lead_times: Sequence[int]) -> torch.Tensor:
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
    """Convolution of a day (and the days before it) over eight areas at each of the reaches, for the batch's cells only.

    The areas are gathered and multiplied: the same sum as dilated convolutions, without those of the other cells.
    """

    def __init__(self, days):
        super().__init__()
        self.days = days
        self.look = nn.Linear(len(REACHES) * len(NEIGHBOURS) * len(VARIABLES), days * AROUND_CHANNELS, bias=False)

    def forward(self, means: dict[int, torch.Tensor], around: Around) -> torch.Tensor:
        """means : from `areas`, around : utils.batches.Around -> [D, N, blocks, AROUND_CHANNELS].

        The mean of an area is that of its known values, fresh ones counting more; 0 where there is none, as beyond the map.
        """
        near = around.inputs.new_empty(*around.motion.shape[:2], len(around.row), self.look.in_features)
        for part, (reach, width) in zip(near.chunk(len(REACHES), -1), around_in_cells(around.spacing_km)):
            rows, columns = (torch.stack([centre + reach * step[axis] for step in NEIGHBOURS], 1)
                             for axis, centre in enumerate((around.row, around.column)))
            part.copy_(values_at(means[width], around.inputs.shape[-2:], rows, columns).flatten(3))
        looks = self.look(near).transpose(0, 1).chunk(self.days, -1)
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

    def forward(self, means: dict[int, torch.Tensor], around: Around) -> torch.Tensor:
        """means : from `areas`, around : utils.batches.Around -> [D, N, blocks, UPSTREAM_CHANNELS]."""
        row_km, column_km = around.spacing_km
        east, north = around.motion[:, :, 0] / column_km, around.motion[:, :, 1] / row_km  # blocks a day, [N, D, blocks]
        near = [around.motion.transpose(2, 3) / USUAL_MOTION]
        for width in upstream_in_cells(around.spacing_km):
            today = means[width]
            before = torch.cat((torch.zeros_like(today[:, :1]), today[:, :-1]), 1)
            for days in DAYS_UPSTREAM:
                for maps, back in ((today, days), (before, days + 1)):
                    near.append(values_at(maps, around.inputs.shape[-2:], (around.row - back * north).round().long(),
                                          (around.column - back * east).round().long()))
        return self.look(torch.cat(near, -1)).transpose(0, 1)


def upstream_in_cells(spacing: tuple[float, float]) -> list[int]:
    """UPSTREAM_WIDTHS in cells of a grid with the given spacing, km; odd."""
    return [1 + 2 * round(width / sum(spacing)) for width in UPSTREAM_WIDTHS]


def at_cells(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Values [D, N, cells, channels] of cells from those [D, N, blocks, channels] of the blocks about them.

    weight : Tensor [cells, blocks], or None where blocks are cells.
    """
    if weight is None:
        return values
    days, windows, blocks, channels = values.shape
    values = values.permute(2, 0, 1, 3).reshape(blocks, -1).to(weight.dtype)  # one product for all days
    return (weight @ values).view(-1, days, windows, channels).permute(1, 2, 0, 3)


def areas(around: Around) -> dict[int, torch.Tensor]:
    """Means of the known values over squares around each block: dict width in blocks -> Tensor [N, D, h x w + 1, 3].

    Fresh values count more; 0 where nothing is known, and at the last place, which stands for all that is beyond the map.
    """
    widths = {width for _, width in around_in_cells(around.spacing_km)} | set(upstream_in_cells(around.spacing_km))
    margin = max(widths) // 2
    inputs, freshness = around.inputs.flatten(0, 1), around.freshness.flatten(0, 1)
    means = {width: inputs.new_zeros(len(inputs), inputs[0, 0].numel() + 1, inputs.shape[1]) for width in widths}
    for first in range(0, len(inputs), MAPS_AT_A_TIME):
        some = slice(first, first + MAPS_AT_A_TIME)
        weighted, weight = (running_sums(values, margin) for values in (inputs[some] * freshness[some], freshness[some]))
        for width in widths:
            if width == 1:
                mean = inputs[some]
            else:
                mean = square_sums(weighted, margin, width) / square_sums(weight, margin, width).clamp_min(1e-2)
            means[width][some, :-1] = mean.flatten(2).transpose(1, 2)
    return {width: mean.unflatten(0, around.inputs.shape[:2]) for width, mean in means.items()}


def running_sums(maps: torch.Tensor, margin: int) -> torch.Tensor:
    """Sums of maps [..., h, w] over all rows and columns up to each, beyond the map as well, by `margin` cells.

    In float64: what is left of their differences must be small against one value, however large the map.
    """
    return nn.functional.pad(maps, (margin + 1, margin) * 2).cumsum(-1, dtype=torch.float64).cumsum_(-2)


def square_sums(running: torch.Tensor, margin: int, width: int) -> torch.Tensor:
    """Sums over squares of `width` (odd) around each cell, [..., h, w]: differences of `running_sums`, whatever the width."""
    height, columns = (size - 2 * margin - 1 for size in running.shape[-2:])
    below, above = margin - width // 2, margin + width // 2 + 1
    rows = running[..., above:above + height, :] - running[..., below:below + height, :]
    return (rows[..., above:above + columns] - rows[..., below:below + columns]).float()


def values_at(maps: torch.Tensor, map_shape: tuple[int, ...], rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Values at whole rows and columns of maps from `areas`; 0 beyond the map.

    rows, columns : int Tensor of any shape, the same in all windows and days, or [N, D, cells]. Returns [N, D, ..., channels].
    """
    windows, days, places, channels = maps.shape
    height, width = map_shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = torch.where(inside, rows * width + columns, places - 1)
    if rows.dim() < 3:
        return maps.index_select(2, place.flatten()).unflatten(2, place.shape)
    place = place + places * torch.arange(windows * days, device=maps.device).view(windows, days, 1)
    return maps.flatten(0, 2).index_select(0, place.flatten()).view(*place.shape, channels)


class Memory(nn.LSTM):
    """Long short-term memory over the days: [D, cells, width] -> the same."""

    def __init__(self, width):
        super().__init__(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # no state goes in or out
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x : [D, cells, width] -> the same; before the window there is nothing."""
        for layer, step in zip(self.layers, self.STEPS):
            before = torch.cat((x.new_zeros(2 * step, *x.shape[1:]), x))
            days = [before[:len(x)], before[step:step + len(x)], x]
            x = x + torch.relu(layer(torch.cat(days, -1)))
        return x
