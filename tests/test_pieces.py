"""Evaluation in pieces: the same files as of whole arrays, and memory that does not grow with the days."""
import csv
import gc
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from data_processing import arrays
from data_processing.arrays import Observed, in_turn, open_array, pieces, read_rows, scratch_array
from data_processing.record import open_record
from data_processing.splits import split_cube
from tests.conftest import ROOT, Experiment
from utils.baselines import baseline_forecasts
from utils.reporting import evaluate_run
from utils.runs import Run
from utils.spread import write_validation

LEADS = (1, 3)
MEMORY_LIMIT = 1.2e9  # bytes; what must not be held, forecasts with spread, intervals and observations, is 1.7e9


def mapped(array, path):
    """The same values in a file, mapped read-only."""
    np.save(path, array)
    return open_array(path)


def noisy(values, seed, spread=0.03):
    return (values + spread * np.random.default_rng(seed).standard_normal(values.shape)).astype(np.float32)


def evaluate(record, splits, folder):
    """Evaluate made-up forecasts, an ensemble of three with the weights' blind forecast, and return the folder."""
    run = Run(folder / "SMAPtest" / "convlstm" / "small" / "lead1_3", resume=False)
    run.folder.mkdir(parents=True)

    def forecasts_of(days, seed):
        return noisy(np.repeat(np.nan_to_num(record.observed(days), nan=0.2)[:, None], len(LEADS), axis=1), seed)

    test = forecasts_of(splits.test, 0)
    members = scratch_array((3, *test.shape))
    for seed, member in enumerate(members):
        member[:] = noisy(test, seed, 0.02)
    blind = scratch_array(test.shape)
    blind[:] = noisy(test, 7)
    names = [run.path("validation.nc"), run.path("other.nc")]
    for seed, path in enumerate(names):
        one, other = (forecasts_of(splits.validation, seed + number) for number in (10, 20))
        write_validation(path, one, np.stack([one, other]), record.observed(splits.validation), record.time[splits.validation],
                         LEADS)
    forecasts = {"convlstm_forecast": members.mean(axis=0), "convlstm_blind": blind}
    evaluate_run(run, record, splits, forecasts, label="test", members=members, regions=("north:31,35,90,110",), validation=names)
    return run.folder


def test_pieces_give_the_same_as_the_whole(weather_cube, tmp_path, monkeypatch, coarse_figures):
    gaps = np.random.default_rng(5).random((500, 6, 7)) < 0.2
    path = weather_cube(days=500, rows=6, columns=7)
    cube, splits = split_cube(path, Experiment(lead_times=LEADS, input_days=3, test_days=100))
    record = open_record(cube, "small", splits, max_gap_days=5)
    age = record.age.copy()
    age[2:, 1][gaps] = 1  # carried, not observed
    record = replace(record, age=age)
    whole = evaluate(record, splits, tmp_path / "whole")
    record = replace(record, carried=mapped(record.carried, tmp_path / "carried.npy"), age=mapped(age, tmp_path / "age.npy"))
    for name in ("BLOCK_BYTES", "SCRATCH_BYTES"):
        monkeypatch.setattr(arrays, name, 8000)
    assert isinstance(scratch_array((100, 2, 6, 7)), np.memmap) and len(arrays.blocks(500, 6 * 7 * 4)) > 10
    apart = evaluate(record, splits, tmp_path / "pieces")

    files = sorted(path.name for path in whole.iterdir())
    assert files == sorted(path.name for path in apart.iterdir())
    assert {"metrics.csv", "forecast.nc", "rank_histogram.csv", "scatter.png"} <= set(files)
    for name in files:
        if name.endswith(".csv"):
            assert_equal_tables(whole / name, apart / name)
        elif name.endswith(".nc"):
            with xr.open_dataset(whole / name) as one, xr.open_dataset(apart / name) as other:
                xr.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
                assert [one[each].attrs for each in one.variables] == [other[each].attrs for each in one.variables]
        elif name not in ("ensemble.png", "ensemble.pdf"):  # equal but for a pixel
            assert (whole / name).read_bytes() == (apart / name).read_bytes(), name


def assert_equal_tables(one, other):
    rows = [list(csv.reader(path.open(newline=""))) for path in (one, other)]
    assert [len(row) for row in rows[0]] == [len(row) for row in rows[1]]
    for here, there in zip(*rows):
        for a, b in zip(here, there):
            try:
                assert float(a) == pytest.approx(float(b), rel=1e-6, abs=1e-9, nan_ok=True), (one.name, here, there)
            except ValueError:  # no number
                assert a == b


def test_large_scratch_arrays_are_files_without_a_name_that_go_with_them(tmp_path, monkeypatch):
    for name in ("BLOCK_BYTES", "SCRATCH_BYTES"):
        monkeypatch.setattr(arrays, name, 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small, large = scratch_array((250,)), scratch_array((251, 2), bool)
    assert not isinstance(small, np.memmap) and not isinstance(large, np.memmap)
    large = scratch_array((300, 2, 3))
    assert isinstance(large, np.memmap) and not large.any() and large.dtype == np.float32
    if os.name == "posix":
        assert list(tmp_path.iterdir()) == []
    steps = [piece.stop - piece.start for piece in pieces(large, np.zeros((300, 1)))]
    assert sum(steps) == 300 and set(steps[:-1]) == {1000 // (6 * 4 + 8)}
    for day in in_turn(large):
        large[day] = day
    np.testing.assert_array_equal(large[:, 1, 2], np.arange(300))
    del large
    gc.collect()


def test_observed_reads_like_an_array(monkeypatch):
    random = np.random.default_rng(0)
    carried, age = random.random((50, 4, 3), np.float32), random.integers(0, 2, (50, 4, 3)).astype(np.uint8)
    whole, observed = np.where(age == 0, carried, np.float32(np.nan)), Observed(carried, age)
    assert observed.shape == whole.shape and len(observed) == 50
    days = np.array([3, 30, 7])
    for place in (5, days, slice(4, 9), (days, slice(1, 3)), np.array([[1, 2], [3, 4]])):
        np.testing.assert_array_equal(observed[place], whole[place])
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1)
    np.testing.assert_array_equal(read_rows(observed, days, slice(1, 3)), whole[days, 1:3])


def test_baselines_in_pieces(weather_cube, monkeypatch):
    cube, splits = split_cube(weather_cube(days=800), Experiment(lead_times=LEADS, input_days=2, test_days=50))
    record = open_record(cube, "small", splits, max_gap_days=5)
    whole = baseline_forecasts(record, splits.test, splits.history_days)
    for name in ("BLOCK_BYTES", "SCRATCH_BYTES"):
        monkeypatch.setattr(arrays, name, 700)
    for name, forecast in baseline_forecasts(record, splits.test, splits.history_days).items():
        np.testing.assert_allclose(forecast, whole[name], rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_days(tmp_path):
    """430 x 675 cells, 120 test days, 8 forecasters: less memory than their forecasts take."""
    done = subprocess.run([sys.executable, ROOT / "tests" / "measure_evaluating.py", tmp_path, "520", "120"],
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    peak = float(done.stdout.split()[-1])
    assert peak < MEMORY_LIMIT, f"{peak / 1e9:.2f} GB"
