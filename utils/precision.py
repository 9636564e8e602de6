"""The precision of the networks' arithmetic: float32, or bfloat16 where the processor computes faster with it.

bfloat16 has the range of float32, half its bytes and three digits. Only what happens inside a network is computed in it:
weights, inputs, forecasts, losses and scaling stay in float32.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# What `torch.cpu.get_capabilities` calls instructions that multiply in bfloat16
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether a device ("cpu", "cuda") multiplies in bfloat16 itself: bool."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return any(torch.cpu.get_capabilities().get(name) for name in INSTRUCTIONS)


def choose_precision(settings: Any) -> str:
    """Precision of a run: the one that is asked for, or with "auto" bfloat16 where it is faster and loses no skill.

    That is our form of every network on a device that has bfloat16: a step of training takes 1/1.5 to 1/2 of the time. The
    paper's dense layers wait for their weights, which bfloat16 only copies once more: a step takes as long, a forecast three
    times as long.

    Parameters
    ----------
    settings : Settings
        Read here: precision, head, device.

    Returns
    -------
    str
        FLOAT32 or BFLOAT16.
    """
    if settings.precision != "auto":
        return settings.precision
    return BFLOAT16 if settings.head == "local" and has_bfloat16(settings.device) else FLOAT32


def describe_precision(settings: Any) -> str:
    """One line for the log: the precision, and why it was chosen."""
    chosen = choose_precision(settings)
    if settings.precision != "auto":
        return f"precision: {chosen}, as asked"
    if chosen == BFLOAT16:
        return f"precision: {chosen} (auto: what the {settings.device} multiplies fastest in)"
    why = f"{settings.device} does not multiply in" if settings.head == "local" else f"head {settings.head!r} is no faster in"
    return f"precision: {chosen} (auto: {why} bfloat16)"


def autocast(device: str | torch.device, precision: str) -> AbstractContextManager:
    """Context in which convolutions, products of matrices and recurrent layers are computed in a precision."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == BFLOAT16)


def in_own_precision(forward: Callable) -> Callable:
    """Decorate a network's `forward(batch)`: it computes in the network's `precision` and returns float32."""
    @functools.wraps(forward)
    def compute(network, batch):
        with autocast(batch.inputs.device, network.precision):
            return forward(network, batch).float()
    return compute


def with_precision(make: Callable) -> Callable:
    """Decorate a function of (settings, record) that makes a network: it computes in the precision of the settings."""
    @functools.wraps(make)
    def made(settings, record):
        network = make(settings, record)
        network.precision = choose_precision(settings)
        return network
    return made
