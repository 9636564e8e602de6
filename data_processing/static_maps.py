"""Maps of the place, made of the training days: what a network knows of each cell besides the weather."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import WORTH_TELLING, Observed, blocks, release
from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, VARIABLES
from data_processing.scaling import LOGARITHMIC
from data_processing.season import fit_season, season_terms
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    from data_processing.scaling import Scaler

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


def static_maps(carried: np.ndarray, age: np.ndarray, land: np.ndarray, days: np.ndarray, time: np.ndarray,
                scaler: Scaler) -> np.ndarray:
    """Mean, spread and seasonal amplitude of each variable on the training days.

    Parameters
    ----------
    carried : float32 [T, 3, H, W]
        From `carry_forward`; read in pieces.
    age : uint8 [T, 3, H, W]
        Only values of age 0 (observed) are used.
    land : bool [H, W]
    days : bool [T]
        Training days.
    time : datetime64[D] [T]
    scaler : Scaler
        With each cell's own mean and spread, fitted on these days.

    Returns
    -------
    float32 [len(CHANNELS), H, W]
        In units of order one; 0 at sea. A record of less than a year shows no season: then the six seasonal maps
        are 0 and the map "season is known" is 0 instead of 1. The next four tell what the statistics are worth: from how
        many days they come, from which season, and how often soil moisture was observed; the last three are `habits`.
    """
    chosen = np.flatnonzero(days)
    season_known = chosen.size >= SHORTEST_SEASON
    maps = []
    for channel, name in enumerate(VARIABLES):
        maps += [(scaler.mean[channel] - USUAL_MEAN[name]) / USUAL_RANGE[name],
                 np.log(scaler.spread[channel] / USUAL_SPREAD[name])]
        if season_known:
            observed = LandValues(Observed(carried[:, channel], age[:, channel]), land, name in LOGARITHMIC)
            _, cosine, sine = fit_season(observed, season_terms(time, 1), chosen, scaler.mean[channel][land][None], SEASON_RIDGE)
            maps += [on_map(wave[0], land) / scaler.spread[channel] for wave in (cosine, sine)]
        else:
            maps += [np.zeros(land.shape)] * 2
    _, cosine, sine = season_terms(time[days], 1).mean(axis=0)
    count = np.zeros(land.shape, int)
    for block in blocks(chosen.size, land.size):
        count += (age[chosen[block], SOIL_MOISTURE] == 0).sum(axis=0)
        release(age)
    for number in (float(season_known), np.log(chosen.size / SHORTEST_SEASON), cosine, sine):
        maps.append(np.full(land.shape, number))
    maps.append(np.log((1 + count) / (1 + USUAL_COUNT)))
    maps += habits(carried, age, chosen, scaler, land)
    return np.where(land, np.stack(maps), 0.0).astype(np.float32)


class LandValues:
    """Values (Observed) of the land cells as a map of one row, [T, 1, cells], read when they are indexed by days."""

    def __init__(self, values, land, logarithmic):
        self.values, self.land, self.logarithmic = values, land, logarithmic
        self.parts = values.parts
        self.shape = (len(values), 1, np.count_nonzero(land))

    def __getitem__(self, days):
        found = self.values[days][:, self.land][:, None]
        return np.log1p(found) if self.logarithmic else found


def on_map(values: np.ndarray, land: np.ndarray) -> np.ndarray:
    """Values [cells] of the land cells on the map [H, W]; 0 at sea."""
    result = np.zeros(land.shape)
    result[land] = values
    return result


def habits(carried: np.ndarray, age: np.ndarray, chosen: np.ndarray, scaler: Scaler, land: np.ndarray) -> list[np.ndarray]:
    """How the soil moisture of each cell goes on: what a network needs to know of the soil, learned from the record.

    Parameters
    ----------
    carried : float32 [T, 3, H, W]
        Values carried over gaps.
    age : uint8 [T, 3, H, W]
        0 = observed that day.
    chosen : int [n]
        Days to learn from.
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
    of_land = scaler.of_cells(np.flatnonzero(land))
    longest = max(*KEPT_DAYS, RISE_DAYS)
    kept = [Slope(np.count_nonzero(land)) for _ in KEPT_DAYS]
    rise = Slope(np.count_nonzero(land))
    for block in progress_bar(blocks(chosen.size, 3 * carried[0].nbytes), desc="habits of the cells", unit="block", leave=False,
                              delay=WORTH_TELLING):
        days = chosen[max(block.start - longest, 0):block.stop]
        new = block.stop - block.start  # of these days are the last
        soil = of_land.scale_soil_moisture(carried[days, SOIL_MOISTURE][:, land][:, None])[:, 0]
        rain = np.log1p(np.nan_to_num(carried[days, PRECIPITATION][:, land]))
        seen = age[days, SOIL_MOISTURE][:, land] == 0
        release(carried, age)
        observed = np.where(seen, soil, np.float32(np.nan))
        for lag, slope in zip(KEPT_DAYS, kept):
            first = max(len(days) - new, lag)
            slope.add(soil[first - lag:max(len(days) - lag, 0)], observed[first:])
        first = max(len(days) - new, RISE_DAYS)
        total = np.cumsum(np.concatenate([np.zeros_like(rain[:1]), rain]), axis=0, dtype=np.float64)
        wet = (total[first + 1:] - total[first + 1 - RISE_DAYS:max(len(days) + 1 - RISE_DAYS, 0)]) / RISE_DAYS
        rise.add(wet, observed[first:] - soil[first - RISE_DAYS:max(len(days) - RISE_DAYS, 0)])
    return [on_map(slope.shrunk(), land) for slope in kept] + [on_map(rise.shrunk(centred=True), land)]


class Slope:
    """Sums over pairs (x, y) of each cell, from which follows the least-squares slope of y on x."""

    def __init__(self, cells):
        self.pairs, self.days = np.zeros(cells), 0
        self.x, self.y, self.xx, self.xy, self.every_x = (np.zeros(cells) for _ in range(5))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Pairs of some days, [n, cells]; those with a NaN do not count."""
        known = np.isfinite(x) & np.isfinite(y)
        self.every_x += np.where(np.isfinite(x), x, 0.0).sum(axis=0)
        self.days += len(x)
        x, y = np.where(known, x, 0.0).astype(np.float64), np.where(known, y, 0.0).astype(np.float64)
        self.pairs += known.sum(axis=0)
        self.x, self.y = self.x + x.sum(axis=0), self.y + y.sum(axis=0)
        self.xx, self.xy = self.xx + np.einsum("tc,tc->c", x, x), self.xy + np.einsum("tc,tc->c", x, y)

    def shrunk(self, centred: bool = False) -> np.ndarray:
        """Slope [cells] through 0, pulled to that of all cells; `centred`: of x less its mean over all days."""
        mean = self.every_x / max(self.days, 1) if centred else 0.0
        square = self.xx - 2 * mean * self.x + mean ** 2 * self.pairs
        product = self.xy - mean * self.y
        usual = square.sum() / max(self.pairs.sum(), 1)
        if usual < FLAT:
            return np.zeros(square.shape)
        common = product.sum() / square.sum()
        return (product + PRIOR_PAIRS * usual * common) / (square + PRIOR_PAIRS * usual)
