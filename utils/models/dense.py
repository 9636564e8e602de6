"""The dense layer that ends every network of the paper: made for one map size, its weights grow with (H W)^2."""
from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import torch

    from utils.batches import Batch


class MapHead(nn.Sequential):
    """Dense layer from a flat vector to one map for each lead time: [N, inputs] -> [N, 1, L, H x W]."""

    def __init__(self, inputs, lead_times, height, width):
        super().__init__(nn.Linear(inputs, lead_times * height * width),
                         nn.Unflatten(1, (1, lead_times, height * width)))


def input_maps(batch: Batch) -> torch.Tensor:
    """The inputs of a batch of all cells as maps, Tensor [N, D, 3, H, W]."""
    return batch.inputs.unflatten(-1, batch.map_shape)
