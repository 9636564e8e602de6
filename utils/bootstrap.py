"""How certain scores are: block bootstrap over the test days, whose neighbours tell the same."""
import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_processing.errors import UserError
from utils.evaluation import MINIMUM_VALUES

SHORTEST_BLOCK = 30  # days: soil moisture departs from its season for weeks
REPLICATES = 2000
LEVEL = 0.95
SUMS = ("n", "squared_error", "observed_sum", "observed_square")


def read_daily(path: Path) -> dict:
    """Read a run's `daily_scores.csv`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict (forecaster, lead_time) -> dict of float64 [days]
        n, squared_error, observed_sum, observed_square, in the order of the days.
    """
    with open(path, newline="") as file:
        return daily_series(csv.DictReader(file))


def daily_series(rows: Iterable[dict]) -> dict:
    """Daily sums by forecaster and lead time, as `read_daily` gives them, from rows of `utils.evaluation.daily_scores`."""
    series = {}
    for row in rows:
        series.setdefault((row["forecaster"], int(row["lead_time"])), []).append([float(row[name]) for name in SUMS])
    return {key: dict(zip(SUMS, np.array(values).T)) for key, values in series.items()}


def block_days(days: int, block: int = SHORTEST_BLOCK, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Days of each replicate of a circular block bootstrap.

    Politis and Romano (1992), "A circular block-resampling procedure for stationary data"; after Kuensch (1989),
    doi:10.1214/aos/1176347265.

    Parameters
    ----------
    days : int
        Length of the record.
    block : int
        Days of a block; a record under three blocks cannot say how certain its scores are.
    replicates : int
    seed : int

    Returns
    -------
    int ndarray [replicates, days]
    """
    check_test_days(days, block)
    random = np.random.default_rng(seed)
    starts = random.integers(days, size=(replicates, -(-days // block)))
    return ((starts[..., None] + np.arange(block)) % days).reshape(replicates, -1)[:, :days]


def check_test_days(days: int, block: int = SHORTEST_BLOCK) -> None:
    """Raise a UserError where there are too few days for intervals: before anything is trained."""
    if days < 3 * block:
        raise UserError(f"{days} test days are under three blocks of {block} days: too few to tell how certain a score is. "
                        "Test on more days.")


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of the interval that holds LEVEL of the replicates."""
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_square(series: dict[str, np.ndarray], chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Mean squared error, (m3 m-3)^2, of the chosen days ([days] or [replicates, days]).

    NaN of fewer than MINIMUM_VALUES values.
    """
    return series["squared_error"][chosen].sum(-1) / _enough(series["n"][chosen].sum(-1))


def determination(series: dict[str, np.ndarray], chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Pooled R2 of the chosen days; NaN of fewer than MINIMUM_VALUES values."""
    n, total = _enough(series["n"][chosen].sum(-1)), series["observed_sum"][chosen].sum(-1)
    return 1 - series["squared_error"][chosen].sum(-1) / (series["observed_square"][chosen].sum(-1) - total ** 2 / n)


def _enough(n):
    """Numbers of values; NaN for those under MINIMUM_VALUES."""
    return np.where(n >= MINIMUM_VALUES, n, np.nan)[()]


def resampled_mean_square(members: list[dict[str, np.ndarray]], chosen: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean squared error of one member, as it might have come out: days and members drawn again, float64 [replicates].

    Parameters
    ----------
    members : list of dict of float64 [days]
        From `read_daily`.
    chosen : int [replicates, days]
        From `block_days`.
    seed : int
        Of the draws of members.
    """
    errors = np.stack([mean_square(member, chosen) for member in members], axis=1)
    drawn = np.random.default_rng(seed).integers(len(members), size=errors.shape)
    return np.take_along_axis(errors, drawn, axis=1).mean(axis=1)


def compare(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]], chosen: np.ndarray) -> dict:
    """Paired test of two forecasters on the same values.

    Parameters
    ----------
    one, other : list of dict of float64 [days]
        Members of each, from `read_daily`.
    chosen : int [replicates, days]
        From `block_days`: the same days for both.

    Returns
    -------
    dict
        gain = 1 - MSE of `one` / MSE of `other`, each the mean of its members; gain_low, gain_high, its interval; p, for both
        sides: how often a gain of the other sign is drawn, (k + 1) / (replicates + 1) (Davison and Hinkley 1997,
        doi:10.1017/CBO9780511802843, section 4.2); NaN where some replicates have no value.

    Raises
    ------
    UserError
        They were scored on different values.
    """
    if any(not np.array_equal(each["n"], one[0]["n"]) for each in (*one, *other)):
        raise UserError("two runs were scored on different values and cannot be compared: give both the same cube and test "
                        "days.")
    gains = 1 - resampled_mean_square(one, chosen, seed=1) / resampled_mean_square(other, chosen, seed=2)
    low, high = interval(gains)
    p = min(1.0, 2 * (min((gains <= 0).sum(), (gains >= 0).sum()) + 1) / (len(gains) + 1)) if np.isfinite(gains).all() else np.nan
    return {"gain": float(1 - mean_square(average(one)) / mean_square(average(other))), "gain_low": low, "gain_high": high,
            "p": float(p)}


def average(series: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean over members of their daily scores: the expected score of one of them."""
    return {name: np.mean([each[name] for each in series], axis=0) for name in series[0]}
