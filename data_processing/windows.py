"""Windows of days as views on one array, and batches gathered from them.

A forecast for target day t with lead time d reads the window that ends on day t - d: `gather(view, targets -
d)`.
"""

import numpy as np


def window_view(values_padded, input_days):
    """All windows of `input_days` days, without copying.

    Parameters
    ----------
    values_padded : array [P + T, C, H, W]
        Days in order; P = input_days - 1 missing days before the record (`cube_values(cube, days_before=P)`),
        so that window i ends on day i of the record, for every day of the record.
    input_days : int
        Days per window.

    Returns
    -------
    array [T, input_days, C, H, W]
        Read-only view.
    """
    if not 1 <= input_days <= len(values_padded):
        raise ValueError(f"input_days is {input_days}, the array has {len(values_padded)} days")
    view = np.lib.stride_tricks.sliding_window_view(values_padded, input_days, axis=0)
    return np.moveaxis(view, -1, 1)


def gather(view, indices):
    """Copy the windows of one batch.

    Parameters
    ----------
    view : array [T, input_days, C, H, W]
        From `window_view`.
    indices : int [n]
        Last input day of each window, an index into the record: target index - lead time; 0 or more.

    Returns
    -------
    array [n, input_days, C, H, W], contiguous
    """
    indices = np.asarray(indices)
    if indices.size and indices.min() < 0:
        raise ValueError(f"window ends {-indices.min()} days before the record; a target needs an init day "
                         "inside it")
    batch = np.empty((indices.size, *view.shape[1:]), view.dtype)
    for position, index in enumerate(indices):
        batch[position] = view[index]
    return batch
