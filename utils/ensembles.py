"""How far a forecast can be trusted: spread, intervals, reliability, CRPS.

Members of one network that differ by their seeds agree far too well: the weather to come, the same unknown for all, is not in
them. So the spread of a forecast is that of its members and that of its errors on validation days.

Shapes: M members, N target days, L lead times, H latitudes, W longitudes. Values in m3 m-3; NaN missing.
Large arrays may be mapped from files (`data_processing.arrays`): they are read and written in blocks of days.
"""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy

from data_processing.arrays import pieces, scratch_array
from data_processing.files import write_csv
from data_processing.terminal import print_result
from utils.captions import lead_text
from utils.evaluation import MINIMUM_VALUES

if TYPE_CHECKING:
    from utils.captions import Data
    from utils.runs import Run

ENSEMBLE_COLUMNS = ("lead_time", "members", "n", "rmse_mean", "member_spread", "member_spread_skill", "member_crps",
                    "predicted_spread", "predicted_spread_skill", "predicted_crps", "coverage_90")
SPREAD_BINS = 8


def members_variance(members: np.ndarray) -> np.ndarray:
    """Variance among members [M, N, L, H, W], float32 [N, L, H, W], (m3 m-3)^2; NaN where fewer than two are there."""
    variance, by_day = scratch_array(members.shape[1:]), members.swapaxes(0, 1)
    for days in pieces(by_day, variance):
        variance[days] = _variance(members[:, days])
    return variance


def members_mean(members: np.ndarray) -> np.ndarray:
    """Mean of members [M, N, L, H, W], float32 [N, L, H, W]."""
    mean, by_day = scratch_array(members.shape[1:]), members.swapaxes(0, 1)
    for days in pieces(by_day, mean):
        mean[days] = members[:, days].mean(axis=0)
    return mean


def gaussian_crps(forecast: np.ndarray, spread: np.ndarray, observed: np.ndarray) -> float | np.ndarray:
    """Continuous ranked probability score of normal distributions, m3 m-3, element by element.

    Gneiting et al. (2005), doi:10.1175/MWR2904.1, eq. 5.
    """
    z = (observed - forecast) / spread
    density = np.exp(-z ** 2 / 2) / np.sqrt(2 * np.pi)
    return spread * (z * (2 * scipy.special.ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def fair_crps(members: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """CRPS of an ensemble as if it had infinitely many members of its kind, m3 m-3, element by element.

    Ferro (2014), doi:10.1002/qj.2270. members : [M, ...], observed : [...].
    """
    count = len(members)
    skill = np.abs(members - observed).mean(axis=0)
    pairs = sum(np.abs(members - member).sum(axis=0) for member in members)
    return skill - pairs / (2 * count * (count - 1))


def present_members(members: np.ndarray) -> np.ndarray | None:
    """Members [M, N, L, H, W] without those that lack throughout; None where fewer than two are left."""
    present, by_day = np.zeros(len(members), bool), members.swapaxes(0, 1)
    for days in pieces(by_day):
        present |= np.isfinite(by_day[days]).any(axis=(0, 2, 3, 4))
    if present.all():
        return members if len(members) > 1 else None
    print(f"{np.count_nonzero(~present)} of {len(members)} members lack throughout: the others are scored", flush=True)
    if present.sum() < 2:
        return None
    kept = scratch_array((present.sum(), *members.shape[1:]))
    for days in pieces(by_day, kept.swapaxes(0, 1)):
        kept[:, days] = members[present, days]
    return kept


def rank_histogram(members: np.ndarray, observed: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often the observation has each rank among the members: int [M + 1]; ties are broken at random.

    members : [M, ...], observed : [...]; values without observation or with a member that lacks do not count.
    """
    random, counts = np.random.default_rng(seed), np.zeros(len(members) + 1, int)
    for days in pieces(observed, members.swapaxes(0, 1)):
        valid = np.isfinite(observed[days]) & np.isfinite(members[:, days]).all(axis=0)
        of_days, truth = members[:, days][:, valid], observed[days][valid]
        below, equal = (of_days < truth).sum(axis=0), (of_days == truth).sum(axis=0)
        counts += np.bincount(below + random.integers(0, equal + 1), minlength=len(counts))
    return counts


def spread_skill(spread: np.ndarray, error: np.ndarray) -> float:
    """Ratio of the root mean square of the predicted spread to that of the errors: 1 = reliable, below = too sure.

    Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1.
    """
    return float(np.sqrt((spread.astype(np.float64) ** 2).mean() / (error.astype(np.float64) ** 2).mean()))


def ensemble_rows(*, observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray, ends: np.ndarray, members: np.ndarray | None,
                  lead_times: Sequence[int]) -> list[dict]:
    """Rows of `ensemble.csv`, one per lead time, with the keys ENSEMBLE_COLUMNS; the member's columns NaN for one member."""
    return [{"lead_time": int(lead_time), "members": 1 if members is None else len(members),
             **_predicted_scores(observed[:, lead], forecast[:, lead], spread[:, lead], ends[:, :, lead]),
             **_member_scores(observed[:, lead], forecast[:, lead], None if members is None else members[:, :, lead])}
            for lead, lead_time in enumerate(lead_times)]


def _predicted_scores(observed, forecast, spread, ends):
    """Scores of the predicted spread of one lead time, [N, H, W], ends [2, N, H, W]."""
    sums = np.zeros(5)  # number, squared errors, squared spreads, CRPS, inside the interval
    for days in pieces(observed, forecast, spread, *ends):
        valid = np.isfinite(observed[days]) & np.isfinite(forecast[days])
        truth, mean, width, low, high = (values[days][valid] for values in (observed, forecast, spread, *ends))
        sums += (len(truth), _sum_of_squares(mean - truth), _sum_of_squares(width),
                 gaussian_crps(mean, width, truth).sum(dtype=np.float64), ((truth >= low) & (truth <= high)).sum())
    error, width, crps, inside = _means(sums)
    return {"n": int(sums[0]), "rmse_mean": np.sqrt(error), "predicted_spread": np.sqrt(width),
            "predicted_spread_skill": spread_skill(np.sqrt(width), np.sqrt(error)), "predicted_crps": crps, "coverage_90": inside}


def _member_scores(observed, forecast, members):
    """Scores of the members [M, N, H, W] of one lead time; NaN for None."""
    names = ("member_spread", "member_spread_skill", "member_crps")
    if members is None:
        return dict.fromkeys(names, np.nan)
    sums = np.zeros(4)  # number, squared errors, squared spreads, CRPS
    for days in pieces(observed, forecast, members.swapaxes(0, 1)):
        valid = np.isfinite(observed[days]) & np.isfinite(forecast[days]) & np.isfinite(members[:, days]).all(axis=0)
        of_days, truth, mean = members[:, days][:, valid], observed[days][valid], forecast[days][valid]
        own = np.sqrt((len(members) + 1) / len(members) * of_days.var(axis=0, ddof=1))  # as Fortin et al.
        sums += (len(truth), _sum_of_squares(mean - truth), _sum_of_squares(own),
                 fair_crps(of_days, truth).sum(dtype=np.float64))
    error, spread, crps = _means(sums)
    return dict(zip(names, (np.sqrt(spread), spread_skill(np.sqrt(spread), np.sqrt(error)), crps)))


def _means(sums):
    """Means of the sums behind the first, the number of values; NaN where that is under MINIMUM_VALUES."""
    return sums[1:] / sums[0] if sums[0] >= MINIMUM_VALUES else np.full(len(sums) - 1, np.nan)


def _sum_of_squares(values):
    return (values.astype(np.float64) ** 2).sum()


def _variance(members):
    """Variance over the first axis, float32; NaN where fewer than two are there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where fewer than two are there
        return np.nanvar(members, axis=0, ddof=1).astype(np.float32)


def write_ensemble_scores(run: Run, *, observed: np.ndarray, forecast: np.ndarray, spread: np.ndarray, ends: np.ndarray,
                          members: np.ndarray | None, lead_times: Sequence[int], title: str, data: Data | None = None) -> None:
    """Write ensemble.csv and ensemble.png of a run, and rank_histogram.csv where it has members; print the former."""
    from utils.draw_ensemble import draw_ensemble

    members = None if members is None else present_members(members)
    rows = ensemble_rows(observed=observed, forecast=forecast, spread=spread, ends=ends, members=members,
                         lead_times=lead_times)
    write_csv(run.path("ensemble.csv"), ENSEMBLE_COLUMNS, rows)
    counts = None
    if members is not None:
        counts = [rank_histogram(members[:, :, lead], observed[:, lead]) for lead in range(len(lead_times))]
        write_csv(run.path("rank_histogram.csv"), ("lead_time", "rank", "count"),
                  [{"lead_time": lead_time, "rank": rank, "count": int(count)}
                   for lead_time, of_lead in zip(lead_times, counts) for rank, count in enumerate(of_lead)])
    for row in rows:
        print_result(f"{lead_text((row['lead_time'],))}: 90 % intervals hold {100 * row['coverage_90']:.0f} % of values; spread / "
                     f"error {row['predicted_spread_skill']:.2f}; CRPS {row['predicted_crps']:.4f}")
    draw_ensemble(run.path("ensemble.png"), observed=observed[:, -1], forecast=forecast[:, -1], spread=spread[:, -1],
                  coverage_90=rows[-1]["coverage_90"], counts=None if counts is None else counts[-1], title=title, data=data)
