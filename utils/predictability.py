"""How hard a forecast is before any network is trained: the baselines, scored as a run of default settings scores them."""
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from data_processing.arrays import WORTH_TELLING, Observed, pieces, release, scratch_array
from data_processing.cube import land_mask
from data_processing.errors import UserError
from data_processing.splits import FEW_TEST_DAYS, split_days
from data_processing.terminal import progress_bar
from utils.baselines import cell_mean, climatology, damped_by, damping_factor, persistence
from utils.evaluation import MINIMUM_CELL_VALUES, cell_moments, pooled_scores
from utils.where_it_helps import cell_r2

FORECASTERS = ("persistence", "damped_persistence", "climatology", "cell_mean")
TOLD_LEAD_TIMES = (3, 7, 14, 30)  # days
KEPT_SHARE = np.exp(-1.0)  # of a departure, that is left at the end of a cell's memory


class Predictability(NamedTuple):
    """Scores of the baselines, and maps of damped persistence.

    rows : list of dict, for each lead time and forecaster: forecaster, lead_time (days), n, rmse, mse, r2 (pooled, as the columns
    *_pooled of metrics.csv) and variance_left, its MSE by that of the cells' means.
    rmse, r2 : dict lead time -> float [H, W] of damped persistence over the test days, NaN = too few.
    memory : float [H, W], days after which less than 1/e of a departure is left, infinite where more is at all lead times.
    first_test, last_test, last_history : datetime64[D]
    """

    rows: list
    rmse: dict
    r2: dict
    memory: np.ndarray
    first_test: np.datetime64
    last_test: np.datetime64
    last_history: np.datetime64


def baseline_scores(carried: np.ndarray, age: np.ndarray, time: np.ndarray, lead_times: Sequence[int],
                    test_from: date | str | None = None, test_days: int | None = None) -> Predictability | None:
    """Score persistence, damped persistence, climatology and the cells' means at many lead times, without any training.

    Each lead time is split as a run of that lead time is: fitted are the days to `train_until`, scored the test days.

    Parameters
    ----------
    carried, age
        From `data_processing.holes.carried_soil_moisture`.
    time : datetime64[D] [T]
    lead_times : sequence of int
        Days, ascending; those that the record is too short for are left out.
    test_from, test_days
        See `data_processing.splits.split_days`.

    Returns
    -------
    Predictability, or None where the record is too short for any lead time

    Raises
    ------
    UserError
        Nothing is observed on the days to learn from.
    """
    observed = Observed(carried, age)
    splits = {}
    for lead_time in lead_times:
        try:
            splits[lead_time] = split_days(time, lead_times=(lead_time,), input_days=1, test_from=test_from, test_days=test_days)
        except UserError:
            if not splits and (test_from is not None or test_days is not None):
                raise
            break
    if not splits:
        return None
    first = next(iter(splits.values()))
    targets = scratch_array((len(first.test), *carried.shape[1:]))
    for days in pieces(targets):
        targets[days] = observed[first.test[days]]
        release(carried, age)
    rows, rmse, r2 = [], {}, {}
    memory = np.full(carried.shape[1:], np.inf)
    for lead_time, split in progress_bar(splits.items(), desc="baselines", unit="lead time", leave=False, delay=WORTH_TELLING):
        history = split.history_days
        land = land_mask(age, history)
        mean = cell_mean(observed, history)
        factor = damping_factor(carried, observed, history, lead_time, mean)
        forecasts = {"persistence": persistence(carried, split.test, lead_time, mean),
                     "damped_persistence": damped_by(factor, carried, split.test, lead_time, mean),
                     "cell_mean": np.broadcast_to(mean, targets.shape)}
        if not rmse:  # it does not depend on the lead time but for the end of the history
            forecasts["climatology"] = climatology(observed, time, history, time[split.test], mean)
        scores = {}
        for name, forecast in forecasts.items():
            moments = cell_moments(targets, forecast, land)
            scores[name] = pooled_scores(moments)
            if name == "damped_persistence":
                enough = moments["n"] >= MINIMUM_CELL_VALUES
                n = int(moments["n"].sum())
                rmse[lead_time] = np.sqrt(np.divide(moments["squared_error"], moments["n"], out=np.full(land.shape, np.nan), where=enough))
                r2[lead_time] = np.where(enough, cell_r2(moments, slice(None)), np.nan)
        memory = np.where(np.isinf(memory) & (factor < KEPT_SHARE), lead_time, memory)
        memory[~land] = np.nan
        rows += [{"forecaster": name, "lead_time": lead_time, "n": n, "rmse": scores[name]["rmse"], "mse": scores[name]["mse"],
                  "r2": scores[name]["r2"], "variance_left": scores[name]["mse"] / scores["cell_mean"]["mse"]}
                 for name in FORECASTERS if name in scores]
    return Predictability(rows, rmse, r2, memory, time[first.test[0]], time[first.test[-1]], first.train_until)


def difficulty(scores: Predictability) -> list[str]:
    """What the scores say of the task, in sentences.

    Parameters
    ----------
    scores : Predictability

    Returns
    -------
    list of str
    """
    found = {(row["forecaster"], row["lead_time"]): row for row in scores.rows}
    lead_times = sorted({row["lead_time"] for row in scores.rows})
    days = int((scores.last_test - scores.first_test).astype(int)) + 1
    first = lead_times[0]
    row = found["persistence", first]
    hard = "a strong start" if row["variance_left"] < 0.15 else "a fair start" if row["variance_left"] < 0.6 else "a poor forecast"
    said = [f"only {days} test days: what follows is a first sign, no more"] * (days < FEW_TEST_DAYS)
    said += [f"persistence is {hard} at {_days(first)}: RMSE {row['rmse']:.4f} m3 m-3; it leaves {100 * row['variance_left']:.0f} % of the "
             f"cells' variance in time (R2 over all places and days {row['r2']:z.2f})"]
    damped = [found["damped_persistence", each] for each in TOLD_LEAD_TIMES if each in lead_times and each != first]
    if damped:
        said.append("of that variance damped persistence leaves "
                    + ", ".join(f"{100 * row['variance_left']:.0f} % at {_days(row['lead_time'])}" for row in damped)
                    + f" (R2 over all {', '.join(format(row['r2'], 'z.2f') for row in damped)})")
    worse = [each for each in lead_times if found["persistence", each]["variance_left"] > 1]
    season = found["climatology", first]["variance_left"]
    said.append((f"from {_days(worse[0])} on plain persistence is worse than the mean of each cell; " if worse else "")
                + f"climatology, the usual value of the season learned before the test, leaves {100 * season:.0f} %")
    return said


def _days(number):
    return f"{number} day" + ("" if number == 1 else "s")
