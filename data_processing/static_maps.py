"""Maps of the place, made of the training days: what a network knows of each cell besides the weather."""
import numpy as np

from data_processing.cube import VARIABLES
from data_processing.scaling import LOGARITHMIC, fit_scaler
from data_processing.season import fit_season, season_terms

# Usual mean and spread of each variable, so that the maps of every cube are in the same units of order one:
# precipitation as log(1 + mm d-1), soil moisture in m3 m-3, soil temperature in K.
USUAL_MEAN = {"precipitation": 0.6, "soil_moisture": 0.25, "soil_temperature": 285.0}
USUAL_RANGE = {"precipitation": 0.3, "soil_moisture": 0.1, "soil_temperature": 10.0}
USUAL_SPREAD = {"precipitation": 0.8, "soil_moisture": 0.05, "soil_temperature": 8.0}
SHORTEST_SEASON = 365  # days of record that show a season
SEASON_RIDGE = 10.0  # days of observations
CHANNELS = tuple(f"{name} {what}" for name in VARIABLES for what in ("mean", "spread", "annual cosine",
                                                                     "annual sine")) + ("season is known",)


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
        are 0 and the last map, "season is known", is 0 instead of 1.
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
    maps.append(np.full(land.shape, float(season_known)))
    return np.where(land, np.stack(maps), 0.0).astype(np.float32)
