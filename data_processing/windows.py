"""Windows of days as views on one array, and batches gathered from them.

A forecast for target day t with lead time d reads the window that ends on day t - d: `gather(view, targets -
d)`.
"""

import numpy as np
import torch


def window_view(values_padded: np.ndarray | torch.Tensor, input_days: int) -> torch.Tensor:
    """All windows of `input_days` days, without copying.

    Parameters
    ----------
    values_padded : array or Tensor [P + T, C, H, W]
        Days in order; P = input_days - 1 missing days before the record, so that window i ends on day i of the record, for
        every day of the record. A mapped array is read when a window is gathered.
    input_days : int
        Days per window.

    Returns
    -------
    Tensor [T, input_days, C, H, W]
        A view.
    """
    if not 1 <= input_days <= len(values_padded):
        raise ValueError(f"input_days is {input_days}, the array has {len(values_padded)} days")
    values = torch.as_tensor(values_padded)
    return values.unfold(0, input_days, 1).movedim(-1, 1)


def gather(view: torch.Tensor, indices: np.ndarray, cells: torch.Tensor | None = None) -> torch.Tensor:
    """Copy the windows of one batch.

    Parameters
    ----------
    view : Tensor [T, input_days, C, H, W]
        From `window_view`.
    indices : int [n]
        Last input day of each window, an index into the record: target index - lead time; 0 or more.
    cells : int Tensor [c], optional
        Cells to copy, as indices into the flat map; default the whole map.

    Returns
    -------
    Tensor [n, input_days, C, H, W], or [n, input_days, C, c] where cells are named; contiguous
    """
    indices = np.asarray(indices)
    if indices.size and indices.min() < 0:
        raise ValueError(f"window ends {-indices.min()} days before the record; a target needs an init day "
                         "inside it")
    windows = [view[index] for index in indices.tolist()]
    if cells is not None:
        windows = [window.reshape(-1, window[0, 0].numel()).index_select(1, cells).unflatten(0, window.shape[:2])
                   for window in windows]
    return torch.stack(windows)
