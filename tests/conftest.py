"""Paths and small cubes for all tests."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tests run side by side, a process each

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data_processing.cube import write_cube

hypothesis.settings.register_profile("default_run", max_examples=50, derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("slow", max_examples=2000, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("default_run")


def day_axis(first, days):
    """Datetime64[D] [days] from `first` on."""
    return np.datetime64(first, "D") + np.arange(days)


def known_values(days, rows, columns):
    """Float32 [days, 3, rows, columns] with numbers known by formula: t = day, c = row * columns + column.

    precipitation t % 5 + c / 100, soil moisture .1 + (t % 10) / 100 + c / 1000, temperature 280 + t % 7 + c /
    10.
    """
    t = np.arange(days)[:, None, None]
    c = np.arange(rows * columns).reshape(rows, columns)
    fields = (t % 5 + c / 100, 0.1 + (t % 10) / 100 + c / 1000, 280 + t % 7 + c / 10)
    return np.stack(np.broadcast_arrays(*fields), axis=1).astype(np.float32)


@pytest.fixture
def small_cube(tmp_path):
    """Factory: write a small valid cube of `known_values` and return its path.

    `values` replaces the numbers, `missing_cells` is a bool [rows, columns] of cells at sea, `step` the grid's, degrees.
    """
    def make(name="small", first="2015-04-01", days=40, rows=3, columns=4, values=None, missing_cells=None, step=1.0):
        values = known_values(days, rows, columns) if values is None else values
        if missing_cells is not None:
            values[:, :, missing_cells] = np.nan
        path = tmp_path / f"{name}.nc"
        rows, columns = values.shape[2:]
        write_cube(path, values, day_axis(first, len(values)), 30.0 + step * np.arange(rows),
                   100.0 + step * np.arange(columns), {"title": "small test cube", "source": "tests"})
        return path
    return make


@pytest.fixture
def real_cube():
    """Path of the real sample cube; skips where the samples are absent."""
    path = ROOT.parent / "shared" / "samples" / "cubes" / "conus_smap_l3.nc"
    if not path.exists():
        pytest.skip("the sample cubes are not here")
    return path


@pytest.fixture
def coarse_figures(monkeypatch):
    """Figures at a quarter of their resolution and without their PDF, for tests that run whole scripts in this process."""
    from utils import figures
    monkeypatch.setattr(figures, "DOTS_PER_INCH", figures.DOTS_PER_INCH // 4)
    monkeypatch.setattr(figures, "FORMATS", {"png": figures.FORMATS["png"]})


@dataclass(frozen=True)
class Experiment:
    """Settings as the scripts have them, small enough for a test."""

    lead_time: int = 3
    lead_times: tuple | None = None
    embargo_days: int | None = None
    input_days: int | None = None
    head: str = "local"
    hidden: tuple = None
    dropout: float = 0.0
    coming_weather: str = "none"
    scaling: str | None = None
    max_gap_days: int = 10
    drop_inputs: tuple = ()
    test_from: str | None = None
    test_days: int | None = None
    train_until: str | None = None
    train_days: int | None = None
    steps: int = 10
    epochs: int | None = 2
    patience: int = 10
    refit: bool | None = False
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float = 0.01
    seed: int = 0
    seeds: int = 1
    device: str = "cpu"
    precision: str = "float32"


def weather_values(days, rows, columns, seed=0):
    """Float32 [days, 3, rows, columns]: showers, soil that dries by a tenth a day towards .1, a yearly temperature."""
    random = np.random.default_rng(seed)
    rain = random.gamma(0.3, 10.0, (days, rows, columns)) * (random.random((days, rows, columns)) < 0.3)
    soil = np.full((days, rows, columns), 0.2)
    for day in range(1, days):
        soil[day] = np.minimum(0.1 + 0.9 * (soil[day - 1] - 0.1) + 0.003 * rain[day], 0.5)
    season = 285 - 10 * np.cos(2 * np.pi * np.arange(days) / 365.25)
    temperature = season[:, None, None] + random.normal(0, 2, (days, rows, columns))
    return np.stack([rain, soil, temperature], axis=1).astype(np.float32)


@pytest.fixture
def weather_cube(small_cube):
    """Factory: write a cube of `weather_values` and return its path; takes what `small_cube` takes, and `seed`."""
    def make(days=400, rows=4, columns=5, seed=0, **options):
        return small_cube(values=weather_values(days, rows, columns, seed), **options)
    return make
