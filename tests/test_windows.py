"""Windows: lead time, any size, and no copy."""

import tracemalloc

import numpy as np
import pytest
import torch
from conftest import day_axis

from data_processing.splits import split_days
from data_processing.windows import gather, window_view


def arange_in_time(days, rows, columns, days_before=0):
    """Float32 [days_before + days, 3, rows, columns] whose value is the number of the day; NaN before the
    record."""
    values = np.full((days_before + days, 3, rows, columns), np.nan, np.float32)
    values[days_before:] = np.arange(days)[:, None, None, None]
    return values


@pytest.mark.parametrize("lead_time", [1, 3, 5, 7])
@pytest.mark.parametrize("first_day", ["2015-04-01", "2019-04-01"])  # the second record holds 2020-02-29
def test_fault_01_target_is_lead_time_after_last_input(lead_time, first_day):
    time = day_axis(first_day, 800)
    splits = split_days(time, lead_times=(lead_time,), input_days=lead_time)
    values = arange_in_time(time.size, 2, 3, days_before=lead_time - 1)
    view = window_view(values, lead_time)
    assert len(view) == time.size
    for targets in (splits.train, splits.validation, splits.test):
        windows = gather(view, targets - lead_time).numpy()
        assert (targets[:, None, None] - windows[:, -1, 1] == lead_time).all()
        dates = time[windows[:, -1, 1, 0, 0].astype(int)]
        assert (time[targets] - dates == np.timedelta64(lead_time, "D")).all()


@pytest.mark.parametrize("lead_time, input_days, rows, columns", [
    (1, 1, 1, 1), (3, 3, 52, 65), (5, 5, 1, 7), (7, 7, 4, 2), (3, 45, 2, 2), (7, 2, 3, 5)])
def test_fault_05_any_number_of_days_rows_and_columns(lead_time, input_days, rows, columns):
    values = arange_in_time(60, rows, columns, days_before=input_days - 1)
    batch = gather(window_view(values, input_days), np.array([0, 20, 59])).numpy()
    assert batch.shape == (3, input_days, 3, rows, columns)
    np.testing.assert_array_equal(batch[:, -1, 0, 0, 0], [0, 20, 59])
    if input_days <= 21:
        np.testing.assert_array_equal(batch[1, :, 2, -1, -1], np.arange(21 - input_days, 21))
    assert np.isnan(batch[0, :-1]).all()  # days before the record are missing


def test_channels_rows_and_columns_stay_in_place():
    values = np.arange(10 * 3 * 4 * 5, dtype=np.float32).reshape(10, 3, 4, 5)
    batch = gather(window_view(values, 4), [2])
    np.testing.assert_array_equal(batch[0], values[2:6])
    assert batch.is_contiguous()
    some = gather(window_view(values, 4), [2, 5], torch.tensor([7, 19]))
    np.testing.assert_array_equal(some, [[[[day[row, column] for row, column in ((1, 2), (3, 4))] for day in channels]
                                          for channels in values[first:first + 4]] for first in (2, 5)])


def test_fault_14_windows_are_views():
    peaks = []
    for input_days in (1, 3, 7, 30):
        values = arange_in_time(400, 20, 20, days_before=input_days - 1)
        tracemalloc.start()
        view = window_view(values, input_days)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.shares_memory(view.numpy(), values) and view.shape == (400, input_days, 3, 20, 20)
    assert max(peaks) < 20_000 < values.nbytes / 90  # bytes: no window is copied, whatever input_days is


def test_fault_14_a_batch_costs_its_own_size_only():
    values = arange_in_time(400, 20, 20, days_before=6)
    view = window_view(values, 7)
    batch = gather(view, np.arange(10))
    assert batch.untyped_storage().nbytes() == 10 * 7 * 3 * 20 * 20 * 4 and not np.shares_memory(batch.numpy(), values)


def test_a_target_needs_an_init_day_in_the_record():
    view = window_view(arange_in_time(10, 1, 1, days_before=2), 3)
    with pytest.raises(ValueError, match="before the record"):
        gather(view, np.array([2, 1]) - 3)
    with pytest.raises(IndexError):
        gather(view, [10])
    with pytest.raises(ValueError, match="input_days"):
        window_view(arange_in_time(3, 1, 1), 4)


@pytest.mark.parametrize("input_days, windows", [(1, 5), (5, 1)])
def test_shortest_and_longest_window(input_days, windows):
    values = np.arange(5 * 3 * 2 * 2, dtype=np.float32).reshape(5, 3, 2, 2)
    view = window_view(values, input_days)
    assert len(view) == windows and torch.equal(view[-1], torch.from_numpy(values[-input_days:]))
    for wrong in (0, 6):
        with pytest.raises(ValueError, match=f"input_days is {wrong}, the array has 5 days"):
            window_view(values, wrong)
    cells = torch.tensor([0, 3])
    assert torch.equal(gather(view, [0], cells), view[:1].flatten(-2)[..., cells])
