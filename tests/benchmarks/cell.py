"""The ConvLSTM cell against the plainest form of the same, one convolution over [x, h]: a training step, forward and backward.

The compiled forms are here to show that they are not worth their compilation; nothing else uses them.
"""
import time

import torch
from torch import nn

from tests.benchmarks.measure import compiler, interleave, row, time_rows
from utils.models.convlstm import PAPER_HIDDEN, PAPER_KERNEL, ConvLSTMLayers
from utils.precision import BFLOAT16, FLOAT32, autocast, has_bfloat16

DAYS, CHANNELS = 3, 3
REFERENCE = "one convolution over [x, h], float32"


def rows(short):
    """Seconds of a training step of each form, in float32 and in bfloat16 where the processor has it, and of compilations."""
    found = []
    precisions = [FLOAT32, BFLOAT16] if has_bfloat16("cpu") else [FLOAT32]
    forms = {"one convolution over [x, h]": plain_layers(), "ours": ConvLSTMLayers(CHANNELS, PAPER_HIDDEN, PAPER_KERNEL)}
    if compiler() != "none" and not short:
        torch._dynamo.config.recompile_limit = 64  # each layer, precision and map is compiled; past it the plain form would run
        forms["one convolution over [x, h], compiled"] = torch.compile(plain_layers(), dynamic=False)
        forms["first day without state, gates compiled"] = plain_layers(torch.compile(plain_gates, dynamic=False), first_day=True)
    for height, width, batch, rounds in ((20, 30, 1, 3),) if short else ((200, 300, 1, 31), (200, 300, 4, 11)):
        case = f"training step, {height} x {width}, {DAYS} days, batch {batch}"
        x = torch.randn(batch, DAYS, CHANNELS, height, width, generator=torch.Generator().manual_seed(0))
        ways = {f"{form}, {precision}": lambda layers=layers, precision=precision, x=x: training_step(layers, x, precision)
                for form, layers in forms.items() for precision in precisions}
        for form, way in ways.items():
            start = time.perf_counter()
            way()
            if "compiled" in form:
                found.append(row("cell", f"{case}: the first, which compiles", form, median_s=time.perf_counter() - start))
        found += time_rows("cell", case, interleave(ways, rounds), REFERENCE)
    return found


def training_step(layers, x, precision):
    """Forward and backward of the mean square of the last day's hidden state; returns that, float32."""
    layers.zero_grad(set_to_none=True)
    with autocast("cpu", precision):
        hidden = layers(x)[:, -1]
    loss = (hidden.float() ** 2).mean()
    loss.backward()
    return loss.detach()


class PlainCell(nn.Module):
    """The ConvLSTM step as a textbook writes it; same weights as `utils.models.convlstm.ConvLSTMCell`.

    `step` : function of (gates, cell state before) -> hidden and cell state. `first_day` : the first day is convolved without
    hidden state.
    """

    def __init__(self, input_channels, hidden, kernel, step, first_day):
        super().__init__()
        self.gates = nn.Conv2d(input_channels + hidden, 4 * hidden, kernel, padding=kernel // 2)
        self.hidden, self.step, self.first_day = hidden, step, first_day

    def forward(self, x, state):
        """x : [N, input_channels, H, W] -> hidden and cell state, [N, hidden, H, W]; state is None before the first day."""
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
            if self.first_day:
                of_input = self.gates.weight[:, :x.shape[1]]
                return self.step(nn.functional.conv2d(x, of_input, self.gates.bias, padding=self.gates.padding), zeros)
            state = zeros, zeros
        hidden, memory = state
        return self.step(self.gates(torch.cat((x, hidden), 1)), memory)


def plain_gates(gates, memory):
    """From the convolution's result [N, 4 hidden, H, W] and the cell state before to hidden and cell state."""
    gate_in, gate_forget, gate_out, candidate = gates.chunk(4, 1)
    memory = torch.sigmoid(gate_forget) * memory + torch.sigmoid(gate_in) * torch.tanh(candidate)
    return torch.sigmoid(gate_out) * torch.tanh(memory), memory


def plain_layers(step=plain_gates, first_day=False):
    """The paper's layers with `PlainCell` in them."""
    layers = ConvLSTMLayers(CHANNELS, PAPER_HIDDEN, PAPER_KERNEL)
    sizes = CHANNELS, *PAPER_HIDDEN
    layers.cells = nn.ModuleList(PlainCell(a, b, PAPER_KERNEL, step, first_day) for a, b in zip(sizes, sizes[1:]))
    return layers
