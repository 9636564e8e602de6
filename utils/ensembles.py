"""How far a forecast can be trusted: spread, intervals, reliability, CRPS.

Members of one network that differ by their seeds agree far too well: the weather to come, the same unknown for all, is not in
them. So the spread of a forecast is that of its members and that of its errors on validation days.

Shapes: M members, N target days, L lead times, H latitudes, W longitudes. Values in m3 m-3; NaN missing.
"""
import warnings

import numpy as np
import xarray as xr
from scipy.special import ndtr

from data_processing.files import replacing, write_csv
from utils.runs import lead_text

LEVELS = (0.05, 0.95)  # ends of the interval in forecast.nc
PRIOR_ERRORS = 10.0  # weight of all cells' mean squared error beside the cell's own, in days
ENSEMBLE_COLUMNS = ("lead_time", "members", "n", "rmse_mean", "member_spread", "member_spread_skill", "member_crps",
                    "predicted_spread", "predicted_spread_skill", "predicted_crps", "coverage_90")
SPREAD_BINS = 8


def write_validation(path, forecast, members, observed, valid_time, lead_times):
    """Keep the forecasts of validation days beside their observations.

    forecast : float32 [V, L, H, W], m3 m-3, the mean of `members` [M, V, L, H, W] where a weather forecast has several.
    observed : float32 [V, H, W].
    """
    dataset = xr.Dataset({"forecast": (("valid_time", "lead_time", "y", "x"), forecast, {"units": "m3 m-3"}),
                          "observed": (("valid_time", "y", "x"), observed, {"units": "m3 m-3"})},
                         coords={"valid_time": valid_time.astype("datetime64[ns]"), "lead_time": list(lead_times)})
    if len(members) > 1:
        dataset["member_variance"] = ("lead_time", "y", "x"), mean_variance(members), {"units": "m6 m-6"}
    with replacing(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding={name: {"zlib": True} for name in dataset.data_vars})


def members_variance(members):
    """Variance among members [M, N, L, H, W], float32 [N, L, H, W], (m3 m-3)^2; NaN where fewer than two are there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where fewer than two are there
        return np.nanvar(members, axis=0, ddof=1).astype(np.float32)


def mean_variance(members):
    """`members_variance`, mean over the days: float32 [L, H, W], NaN at sea."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the sea has none
        return np.nanmean(members_variance(members), axis=0)


def read_validation(paths):
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
    forecasts, within = [], []
    for path in paths:
        with xr.open_dataset(path, decode_times=False) as dataset:
            forecasts.append(dataset["forecast"].values)
            observed = dataset["observed"].values
            within += [dataset["member_variance"].values] if "member_variance" in dataset else []
    parts = [np.mean(within, axis=0)] if within else []
    parts += [np.var(forecasts, axis=0, ddof=1).mean(axis=0)] if len(forecasts) > 1 else []
    return np.mean(forecasts, axis=0) - observed[:, None], sum(parts) if parts else None


def error_spread(errors, land):
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
    known = np.isfinite(errors) & land
    squares = np.where(known, errors, 0.0).astype(np.float64) ** 2
    count = known.sum(axis=0)
    usual = squares.sum(axis=(0, 2, 3)) / np.maximum(count.sum(axis=(1, 2)), 1)
    variance = (squares.sum(axis=0) + PRIOR_ERRORS * usual[:, None, None]) / (count + PRIOR_ERRORS)
    spread = np.where(land, np.sqrt(variance), np.nan).astype(np.float32)
    ends = np.array([np.quantile(-(errors[:, lead] / spread[lead])[known[:, lead]], LEVELS)
                     for lead in range(errors.shape[1])]).T
    return spread, ends


def predict_spread(forecast, variance, errors, usual_variance, land):
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
    spread, ends = error_spread(errors, land)
    spread = np.broadcast_to(spread, forecast.shape)
    if variance is not None and usual_variance is not None:
        more = np.nan_to_num(variance - usual_variance)
        spread = np.where(land, np.sqrt(np.maximum(spread ** 2 + more, (0.5 * spread) ** 2)), np.nan)
    ends = np.stack([forecast + end[:, None, None] * spread for end in ends])
    return spread.astype(np.float32), ends.astype(np.float32)


def gaussian_crps(forecast, spread, observed):
    """Continuous ranked probability score of normal distributions, m3 m-3, element by element.

    Gneiting et al. (2005), doi:10.1175/MWR2904.1, eq. 5.
    """
    z = (observed - forecast) / spread
    density = np.exp(-z ** 2 / 2) / np.sqrt(2 * np.pi)
    return spread * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def fair_crps(members, observed):
    """CRPS of an ensemble as if it had infinitely many members of its kind, m3 m-3, element by element.

    Ferro (2014), doi:10.1002/qj.2270. members : [M, ...], observed : [...].
    """
    count = len(members)
    skill = np.abs(members - observed).mean(axis=0)
    pairs = sum(np.abs(members - member).sum(axis=0) for member in members)
    return skill - pairs / (2 * count * (count - 1))


def present_members(members):
    """Members [M, N, L, H, W] without those that lack throughout; None where fewer than two are left."""
    present = np.isfinite(members).any(axis=(1, 2, 3, 4))
    if not present.all():
        print(f"{np.count_nonzero(~present)} of {len(members)} members lack throughout: the others are scored", flush=True)
    return members[present] if present.sum() > 1 else None


def rank_histogram(members, observed, seed=0):
    """How often the observation has each rank among the members: int [M + 1]; ties are broken at random.

    members : [M, ...], observed : [...]; values without observation or with a member that lacks do not count.
    """
    valid = np.isfinite(observed) & np.isfinite(members).all(axis=0)
    members, observed = members[:, valid], observed[valid]
    below, equal = (members < observed).sum(axis=0), (members == observed).sum(axis=0)
    rank = below + np.random.default_rng(seed).integers(0, equal + 1)
    return np.bincount(rank, minlength=len(members) + 1)


def spread_skill(spread, error):
    """Ratio of the root mean square of the predicted spread to that of the errors: 1 = reliable, below = too sure.

    Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1.
    """
    return float(np.sqrt((spread.astype(np.float64) ** 2).mean() / (error.astype(np.float64) ** 2).mean()))


def ensemble_rows(*, observed, forecast, spread, ends, members, lead_times):
    """Rows of `ensemble.csv`, one per lead time, with the keys ENSEMBLE_COLUMNS; the member's columns NaN for one member."""
    rows = []
    for lead, lead_time in enumerate(lead_times):
        valid = np.isfinite(observed[:, lead]) & np.isfinite(forecast[:, lead])
        truth, mean, width = observed[:, lead][valid], forecast[:, lead][valid], spread[:, lead][valid]
        row = {"lead_time": int(lead_time), "members": 1 if members is None else len(members), "n": int(valid.sum()),
               "rmse_mean": float(np.sqrt(((mean - truth).astype(np.float64) ** 2).mean())),
               "predicted_spread": float(np.sqrt((width.astype(np.float64) ** 2).mean())),
               "predicted_spread_skill": spread_skill(width, mean - truth),
               "predicted_crps": float(gaussian_crps(mean, width, truth).mean(dtype=np.float64)),
               "coverage_90": float(((truth >= ends[0, :, lead][valid]) & (truth <= ends[1, :, lead][valid])).mean()),
               "member_spread": np.nan, "member_spread_skill": np.nan, "member_crps": np.nan}
        if members is not None:
            of_lead = members[:, :, lead][:, valid]
            whole = np.isfinite(of_lead).all(axis=0)
            of_lead, truth, mean = of_lead[:, whole], truth[whole], mean[whole]
            own = np.sqrt((len(members) + 1) / len(members) * of_lead.var(axis=0, ddof=1))  # as Fortin et al.
            row |= {"member_spread": float(np.sqrt((own.astype(np.float64) ** 2).mean())),
                    "member_spread_skill": spread_skill(own, mean - truth),
                    "member_crps": float(fair_crps(of_lead, truth).mean(dtype=np.float64))}
        rows.append(row)
    return rows


def write_ensemble_scores(run, *, observed, forecast, spread, ends, members, lead_times, title):
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
        print(f"{lead_text((row['lead_time'],))}: 90 % intervals hold {100 * row['coverage_90']:.0f} %, spread / error "
              f"{row['predicted_spread_skill']:.2f}, CRPS {row['predicted_crps']:.4f} m3 m-3", flush=True)
    draw_ensemble(run.path("ensemble.png"), observed=observed[:, -1], forecast=forecast[:, -1], spread=spread[:, -1],
                  counts=None if counts is None else counts[-1], title=title)
