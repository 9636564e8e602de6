"""Maps of the place, made of the training days: what a network knows of each cell besides the weather."""
import numpy as np

from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, VARIABLES
from data_processing.scaling import LOGARITHMIC, fit_scaler
from data_processing.season import fit_season, season_terms

# Usual mean and spread of each variable, so that the maps of every cube are in the same units of order one:
# precipitation as log(1 + mm d-1), soil moisture in m3 m-3, soil temperature in K.
USUAL_MEAN = {"precipitation": 0.6, "soil_moisture": 0.25, "soil_temperature": 285.0}
USUAL_RANGE = {"precipitation": 0.3, "soil_moisture": 0.1, "soil_temperature": 10.0}
USUAL_SPREAD = {"precipitation": 0.8, "soil_moisture": 0.05, "soil_temperature": 8.0}
SHORTEST_SEASON = 365  # days of record that show a season
SEASON_RIDGE = 10.0  # days of observations
USUAL_COUNT = 100  # observed days
CHANNELS = tuple(f"{name} {what}" for name in VARIABLES for what in ("mean", "spread", "annual cosine",
                                                                     "annual sine")) + (
    "season is known", "length of the record", "record's season, cosine", "record's season, sine",
    "soil moisture values", "kept after 3 days", "kept after 8 days", "rise by rain")
KEPT_DAYS = (3, 8)  # after three days a satellite has been back, after eight on the same track
PRIOR_PAIRS = 30.0  # weight of all cells' common slope beside the cell's own, in pairs of days
RISE_DAYS = 3
FLAT = 1e-6  # mean square below which a cell's values do not vary beyond rounding


def static_maps(carried, age, land, days, time, source):
    """Mean, spread and seasonal amplitude of each variable on the training days.

    Parameters
    ----------
    carried : float32 [T, 3, H, W]
        From `carry_forward`.
    age : uint8 [T, 3, H, W]
        Only values of age 0 (observed) are used.
    land : bool [H, W]
    days : bool [T]
        Training days.
    time : datetime64[D] [T]
    source : str
        Name of the cube.

    Returns
    -------
    float32 [len(CHANNELS), H, W]
        In units of order one; 0 at sea. A record of less than a year shows no season: then the six seasonal maps
        are 0 and the map "season is known" is 0 instead of 1. The next four tell what the statistics are worth: from how
        many days they come, from which season, and how often soil moisture was observed; the last three are `habits`.
    """
    observed = np.where(age == 0, carried, np.float32(np.nan))
    scaler = fit_scaler(observed, land, days, time, kind="cell", source=source)
    season_known = np.count_nonzero(days) >= SHORTEST_SEASON
    maps = []
    for channel, name in enumerate(VARIABLES):
        maps += [(scaler.mean[channel] - USUAL_MEAN[name]) / USUAL_RANGE[name],
                 np.log(scaler.spread[channel] / USUAL_SPREAD[name])]
        if season_known:
            values = np.log1p(observed[:, channel]) if name in LOGARITHMIC else observed[:, channel]
            _, cosine, sine = fit_season(values, season_terms(time, 1), np.flatnonzero(days),
                                         scaler.mean[channel], SEASON_RIDGE)
            maps += [cosine / scaler.spread[channel], sine / scaler.spread[channel]]
        else:
            maps += [np.zeros(land.shape)] * 2
    _, cosine, sine = season_terms(time[days], 1).mean(axis=0)
    count = (age[days, SOIL_MOISTURE] == 0).sum(axis=0)
    for number in (float(season_known), np.log(np.count_nonzero(days) / SHORTEST_SEASON), cosine, sine):
        maps.append(np.full(land.shape, number))
    maps.append(np.log((1 + count) / (1 + USUAL_COUNT)))
    maps += habits(carried[days], observed[days, SOIL_MOISTURE], scaler, land)
    return np.where(land, np.stack(maps), 0.0).astype(np.float32)


def habits(carried, observed, scaler, land):
    """How the soil moisture of each cell goes on: what a network needs to know of the soil, learned from the record.

    Parameters
    ----------
    carried : float32 [T, 3, H, W]
        Values carried over gaps.
    observed : float32 [T, H, W]
        Observed soil moisture, m3 m-3; NaN = missing.
    scaler : Scaler
        With each cell's own mean and spread.
    land : bool [H, W]

    Returns
    -------
    list of float32 [H, W]
        Share of a departure from the mean that is left after each of KEPT_DAYS; rise in RISE_DAYS days, in spreads, by
        their mean rain, in log(1 + mm d-1). Pulled to the common slope of all cells where pairs are
        few; 0 where there is none.
    """
    rain = np.log1p(np.nan_to_num(carried[:, PRECIPITATION]))
    before = scaler.scale_soil_moisture(carried[:, SOIL_MOISTURE])
    after = scaler.scale_soil_moisture(observed)
    maps = [_shrunk_slope(before[:-kept], after[kept:], land) if len(before) > kept else np.zeros(land.shape)
            for kept in KEPT_DAYS]
    if len(before) <= RISE_DAYS:
        return [*maps, np.zeros(land.shape)]
    total = np.cumsum(rain, axis=0)
    wet = (total[RISE_DAYS:] - total[:-RISE_DAYS]) / RISE_DAYS
    rise = after[RISE_DAYS:] - before[:-RISE_DAYS]
    return [*maps, _shrunk_slope(wet - wet.mean(axis=0), rise, land)]


def _shrunk_slope(x, y, land):
    """Least-squares slope [H, W] of y on x [n, H, W] through 0, over the pairs without NaN; see `habits`."""
    pairs = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(pairs, x, 0.0), np.where(pairs, y, 0.0)
    product, square, count = (x * y).sum(axis=0), (x * x).sum(axis=0), pairs.sum(axis=0)
    usual = square[land].sum() / max(count[land].sum(), 1)
    if usual < FLAT:
        return np.zeros(land.shape)
    common = product[land].sum() / square[land].sum()
    return (product + PRIOR_PAIRS * usual * common) / (square + PRIOR_PAIRS * usual)
