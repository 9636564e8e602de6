"""How far a forecast can be trusted: spread, intervals, reliability, CRPS.

Members of one network that differ by their seeds agree far too well: the weather to come, the same unknown for all, is not in
them. So the spread of a forecast is that of its members and that of its errors on validation days.

Shapes: M members, N target days, L lead times, H latitudes, W longitudes. Values in m3 m-3; NaN missing.
Large arrays may be mapped from files (`data_processing.arrays`): they are read and written in blocks of days.
"""
from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import xarray as xr

from data_processing.arrays import blocks, in_turn, pieces, release, scratch_array
from data_processing.files import write_csv
from data_processing.terminal import print_result
from utils.captions import lead_text
from utils.evaluation import MINIMUM_VALUES, write_in_pieces

if TYPE_CHECKING:
    from utils.captions import Data
    from utils.runs import Run

LEVELS = (0.05, 0.95)  # ends of the interval in forecast.nc
PRIOR_ERRORS = 10.0  # weight of all cells' mean squared error beside the cell's own, in days
ENSEMBLE_COLUMNS = ("lead_time", "members", "n", "rmse_mean", "member_spread", "member_spread_skill", "member_crps",
                    "predicted_spread", "predicted_spread_skill", "predicted_crps", "coverage_90")
SPREAD_BINS = 8


def write_validation(path: Path, forecast: np.ndarray, members: Any, observed: np.ndarray, valid_time: np.ndarray,
                     lead_times: Sequence[int]) -> None:
    """Keep the forecasts of validation days beside their observations.

    forecast : float32 [V, L, H, W], m3 m-3, the mean of `members` [M, V, L, H, W] where a weather forecast has several.
    observed : float32 [V, H, W].
    """
    dimensions = ("valid_time", "lead_time", "y", "x")
    variables = {"forecast": (dimensions, forecast, {"units": "m3 m-3"}),
                 "observed": (("valid_time", "y", "x"), observed, {"units": "m3 m-3"})}
    if len(members) > 1:
        variables["member_variance"] = dimensions[1:], mean_variance(members), {"units": "m6 m-6"}
    coordinates = {"valid_time": valid_time.astype("datetime64[ns]"), "lead_time": list(lead_times)}
    write_in_pieces(path, xr.Dataset(coords=coordinates), variables)


def members_variance(members: np.ndarray) -> np.ndarray:
    """Variance among members [M, N, L, H, W], float32 [N, L, H, W], (m3 m-3)^2; NaN where fewer than two are there."""
    variance, by_day = scratch_array(members.shape[1:]), members.swapaxes(0, 1)
    for days in pieces(by_day, variance):
        variance[days] = _variance(members[:, days])
    return variance


def mean_variance(members: np.ndarray) -> np.ndarray:
    """`members_variance`, mean over the days: float32 [L, H, W], NaN at sea."""
    by_day = members.swapaxes(0, 1)
    total, count = np.zeros(members.shape[2:], np.float32), np.zeros(members.shape[2:], int)
    for day in in_turn(by_day):
        variance = _variance(by_day[day])
        total += np.nan_to_num(variance)
        count += np.isfinite(variance)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0, casting="unsafe")


def members_mean(members: np.ndarray) -> np.ndarray:
    """Mean of members [M, N, L, H, W], float32 [N, L, H, W]."""
    mean, by_day = scratch_array(members.shape[1:]), members.swapaxes(0, 1)
    for days in pieces(by_day, mean):
        mean[days] = members[:, days].mean(axis=0)
    return mean


def read_validation(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray | None]:
    """What some runs tell about their forecasts on their common validation days.

    Parameters
    ----------
    paths : sequence of Path

    Returns
    -------
    errors : float32 [V, L, H, W]
        Of the mean of the runs, m3 m-3.
    variance : float32 [L, H, W], or None
        Among the runs, and (mean over the runs) among the members of each one's weather forecast; mean over the days,
        (m3 m-3)^2.
    """
    between = 0.0
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(xr.open_dataset(path, decode_times=False)) for path in paths]
        within = [run["member_variance"].values for run in runs if "member_variance" in run]
        errors = scratch_array(runs[0]["forecast"].shape)
        for days in blocks(len(errors), errors[0].nbytes * (len(runs) + 1)):
            forecasts = [run["forecast"][days].values for run in runs]
            errors[days] = np.mean(forecasts, axis=0) - runs[-1]["observed"][days].values[:, None]
            if len(runs) > 1:
                for variance in np.var(forecasts, axis=0, ddof=1):
                    between += variance
            release(errors)
    parts = [np.mean(within, axis=0)] if within else []
    parts += [between / len(errors)] if len(runs) > 1 else []
    return errors, sum(parts) if parts else None


def error_spread(errors: np.ndarray, land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squared validation error of each cell, and where the errors stand in units of it.

    Parameters
    ----------
    errors : float32 [V, L, H, W]
    land : bool [H, W]

    Returns
    -------
    spread : float32 [L, H, W]
        m3 m-3, pulled towards that of all cells (PRIOR_ERRORS); NaN at sea.
    ends : float64 [len(LEVELS), L]
        Quantiles of the errors in units of the spread, with their sign turned: what to add to a forecast.
    """
    total, count = np.zeros(errors.shape[1:]), np.zeros(errors.shape[1:], int)
    for day in in_turn(errors):
        known = np.isfinite(errors[day]) & land
        total += np.where(known, errors[day], 0.0).astype(np.float64) ** 2
        count += known
    usual = total.sum(axis=(1, 2)) / np.maximum(count.sum(axis=(1, 2)), 1)
    variance = (total + PRIOR_ERRORS * usual[:, None, None]) / (count + PRIOR_ERRORS)
    spread = np.where(land, np.sqrt(variance), np.nan).astype(np.float32)
    return spread, np.array([_error_quantiles(errors[:, lead], spread[lead], land) for lead in range(errors.shape[1])]).T


def _error_quantiles(errors, spread, land):
    """Quantiles LEVELS of -errors / spread, float64 [len(LEVELS)]; errors is [V, H, W]."""
    scaled, filled = np.empty(errors.shape[0] * np.count_nonzero(land), np.float32), 0
    for day in in_turn(errors):
        known = np.isfinite(errors[day]) & land
        values = -(errors[day] / spread)[known]
        scaled[filled:filled + len(values)] = values
        filled += len(values)
    return np.quantile(scaled[:filled], LEVELS)


def predict_spread(forecast: np.ndarray, variance: np.ndarray | None, errors: np.ndarray, usual_variance: np.ndarray | None,
                   land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted spread and the ends of the interval of a forecast.

    Parameters
    ----------
    forecast : float32 [N, L, H, W]
        The mean of the members.
    variance : float32 [N, L, H, W], or None for a single member
        Among the members, (m3 m-3)^2; NaN where it is unknown.
    errors : float32 [V, L, H, W]
        Of the forecast on validation days: of the mean, so that what its members share and disagree on is in them.
    usual_variance : float32 [L, H, W], or None where it is unknown
        Among the members on validation days (`read_validation`).
    land : bool [H, W]

    Returns
    -------
    spread : float32 [N, L, H, W]
        Standard deviation, m3 m-3: the validation error of the cell, larger on days on which the members disagree more than
        they usually do.
    ends : float32 [len(LEVELS), N, L, H, W]
        m3 m-3
    """
    usual, distances = error_spread(errors, land)
    spread, ends = scratch_array(forecast.shape), scratch_array((len(LEVELS), *forecast.shape))
    for days in pieces(forecast, spread, *ends):
        spread[days] = usual
        if variance is not None and usual_variance is not None:
            more = np.nan_to_num(variance[days] - usual_variance)
            spread[days] = np.where(land, np.sqrt(np.maximum(usual ** 2 + more, (0.5 * usual) ** 2)), np.nan)
            release(variance)
        for end, distance in zip(ends, distances):
            end[days] = forecast[days] + distance[:, None, None] * spread[days]
    return spread, ends


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
    """Scores of the predicted spread of one lead time, [N, H, W], ends [len(LEVELS), N, H, W]."""
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
