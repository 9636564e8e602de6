"""Where and when a polar-orbiting satellite looks: every two or three days, with retrieval noise."""
import numpy as np

# SMAP repeats its track after 8 days (Entekhabi et al. 2010, doi:10.1109/JPROC.2010.2043918).
ORBITS_PER_DAY = 117 / 8
SWATH_KM = 1000.0
KM_PER_DEGREE = 111.2
TRACK_SLOPE = 0.2  # degrees of longitude that a track drifts per degree of latitude
RETRIEVAL_NOISE = 0.035  # m3 m-3, standard deviation


def in_swath(day: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
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
