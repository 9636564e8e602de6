"""ConvLSTM: the paper's two forms and ours, one definition for all three experiments."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from data_processing.cube import VARIABLES
from utils.models.dense import MapHead, input_maps
from utils.models.local import LocalForm, make_local
from utils.precision import in_own_precision, with_precision

if TYPE_CHECKING:
    from data_processing.record import Record
    from utils.batches import Batch

HEADS = ("local", "dense", "conv")
PAPER_HIDDEN = (8, 4)
PAPER_KERNEL = 3
aten = torch.ops.aten
# a long short-term memory in every cell, fed with convolutions of the places around it; the state itself does not travel
OURS = LocalForm(looks_around=True, looks_back=1, remembers=True)


@with_precision
def make_convlstm(settings: Any, record: Record) -> nn.Module:
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

    Shi et al. (2015), "Convolutional LSTM network", arXiv:1506.04214, without peepholes. Written for speed in two ways: the
    first day, which remembers nothing, is convolved without hidden state, and `Gates` keeps and moves less than autograd
    would. The plainest form of the same, with which tests and benchmark compare it, is in tests/benchmarks/cell.py.
    """

    def __init__(self, input_channels, hidden, kernel):
        super().__init__()
        self.gates = nn.Conv2d(input_channels + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None) -> tuple[torch.Tensor, torch.Tensor]:
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
            of_input = self.gates.weight[:, :x.shape[1]]
            return Gates.apply(nn.functional.conv2d(x, of_input, self.gates.bias, padding=self.gates.padding), None)
        hidden, memory = state
        return Gates.apply(self.gates(torch.cat((x.to(hidden.dtype), hidden), 1)), memory)


class Gates(torch.autograd.Function):
    """From the convolution's result to hidden and cell state, with a backward of its own.

    With few channels the gates are memory traffic. Here they overwrite the convolution's result, which nobody else reads, and
    only they, the cell state before and the tanh of that after are kept for the backward.
    """

    @staticmethod
    def forward(ctx: Any, gates: torch.Tensor, before: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """gates : Tensor [N, 4 hidden, H, W], overwritten; before : [N, hidden, H, W], or None -> hidden, cell state."""
        hidden = gates.shape[1] // 4
        gates[:, :3 * hidden].sigmoid_()
        tanh_(gates[:, 3 * hidden:])
        gate_in, gate_forget, gate_out, candidate = gates.chunk(4, 1)
        memory = gate_in * candidate
        if before is not None:
            memory.addcmul_(gate_forget, before)
        bounded = tanh_(memory.clone())
        ctx.save_for_backward(gates, before, bounded)
        return gate_out * bounded, memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, hidden_gradient: torch.Tensor,
                 memory_gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gradients of the gates and of the memory before."""
        gates, before, bounded = ctx.saved_tensors
        gate_in, gate_forget, gate_out, candidate = gates.chunk(4, 1)
        memory_gradient = memory_gradient + aten.tanh_backward(hidden_gradient * gate_out, bounded)
        gradient = torch.empty_like(gates)
        of_in, of_forget, of_out, of_candidate = gradient.chunk(4, 1)
        torch.mul(memory_gradient, candidate, out=of_in)
        if before is None:
            of_forget.zero_()
        else:
            torch.mul(memory_gradient, before, out=of_forget)
        torch.mul(hidden_gradient, bounded, out=of_out)
        torch.mul(memory_gradient, gate_in, out=of_candidate)
        of_sigmoids = gradient[:, :3 * gate_in.shape[1]]
        aten.sigmoid_backward.grad_input(of_sigmoids, gates[:, :3 * gate_in.shape[1]], grad_input=of_sigmoids)
        aten.tanh_backward.grad_input(of_candidate, candidate, grad_input=of_candidate)
        return gradient, None if before is None else memory_gradient * gate_forget


def tanh_(x: torch.Tensor) -> torch.Tensor:
    """Hyperbolic tangent in place; in float32 as 2 sigmoid(2 x) - 1, to 1e-7 the same and a quarter of torch's time."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1) if x.dtype == torch.float32 else x.tanh_()


class ConvLSTMLayers(nn.Module):
    """Stacked ConvLSTM cells run over the days of a window."""

    def __init__(self, input_channels, hidden, kernel):
        super().__init__()
        sizes = (input_channels, *hidden)
        self.cells = nn.ModuleList(ConvLSTMCell(a, b, kernel) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x : [N, D, channels, H, W] -> last layer's hidden state of every day, [N, D, hidden, H, W]."""
        states: list = [None] * len(self.cells)
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

    @in_own_precision
    def forward(self, batch: Batch) -> torch.Tensor:
        """See `make_convlstm`; only the last day is forecast."""
        return self.head(self.recurrent(input_maps(batch))[:, -1])
