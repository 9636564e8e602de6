"""A daily record as a polar-orbiting satellite would see it: every two or three days, with retrieval noise."""
from dataclasses import replace

import numpy as np

from data_processing.cube import SOIL_MOISTURE
from data_processing.gaps import antecedent_means, carry_forward

# SMAP repeats its track after 8 days (Entekhabi et al. 2010, doi:10.1109/JPROC.2010.2043918).
ORBITS_PER_DAY = 117 / 8
SWATH_KM = 1000.0
KM_PER_DEGREE = 111.2
TRACK_SLOPE = 0.2  # degrees of longitude that a track drifts per degree of latitude
RETRIEVAL_NOISE = 0.035  # m3 m-3, standard deviation


def in_swath(day, lat, lon):
    """Which places the satellite sees.

    Parameters
    ----------
    day : datetime64[D]
    lat, lon : float arrays that broadcast
        Degrees.

    Returns
    -------
    bool array
    """
    spacing = 360.0 / ORBITS_PER_DAY
    shift = int(day.astype(int)) * ORBITS_PER_DAY % 1.0 * spacing
    width = SWATH_KM / (KM_PER_DEGREE * np.cos(np.radians(lat)))
    return (lon + TRACK_SLOPE * lat + shift) % spacing < width


def satellite_view(record, max_gap_days, seed):
    """The same record with soil moisture as a satellite would have seen it.

    Parameters
    ----------
    record : Record
        Not changed.
    max_gap_days : int
        Oldest value that is carried over a gap.
    seed : int
        Of the noise.

    Returns
    -------
    Record
        Not scaled yet: noise widens the spread.
    """
    before = record.input_days - 1
    values = np.where(record.age == 0, record.carried, np.float32(np.nan))
    random = np.random.default_rng(seed)
    for index, day in enumerate(record.time, start=before):
        noise = random.normal(0.0, RETRIEVAL_NOISE, record.land.shape).astype(np.float32)
        seen = in_swath(day, record.lat[:, None], record.lon)
        values[index, SOIL_MOISTURE] = np.where(seen, values[index, SOIL_MOISTURE] + noise, np.nan)
    carried, age = carry_forward(values, max_gap_days)
    return replace(record, carried=carried, age=age, antecedent=antecedent_means(values), scaler=None, static=None)
