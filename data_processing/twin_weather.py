"""Weather of the synthetic twin: rain and air temperature that move, on the twin's own map.

Three Gaussian fields live on a periodic plane: a large and a small one that make the rain, and one of
temperature. They are kept as Fourier coefficients in a frame that moves with the wind, where each is a
first-order autoregression. A day's weather is read from them after shifting the frame by the way of the
wind so far. The latent fields and the wind are therefore all that the weather needs to go on from any day.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy  # its modules are loaded when they are first used: training on a cube that is there needs none

from data_processing.satellite import KM_PER_DEGREE

LATITUDE = np.linspace(18.0, 54.0, 52)
LONGITUDE = np.linspace(73.0, 135.0, 65)
PLANE = (72, 96)
"""Rows and columns of the periodic plane: the map and a margin, lest weather that leaves comes back."""
ROW_KM = (LATITUDE[1] - LATITUDE[0]) * KM_PER_DEGREE
COLUMN_KM = (LONGITUDE[1] - LONGITUDE[0]) * KM_PER_DEGREE * np.cos(np.radians(36.0))

LARGE, SMALL, WARM = range(3)
LENGTH_KM = np.array([720.0, 400.0, 1900.0])
SMOOTHNESS = np.array([1.3, 1.0, 1.5])
"""Exponent in exp(-(distance / length) ** smoothness), the correlation of each latent field."""
KEPT = np.array([0.76, 0.45, 0.82], np.float32)
"""Share of each latent field that is kept from one day to the next, in the moving frame."""
RAIN_WEIGHT_LARGE = 0.80
WIND_MEAN = np.array([240.0, 20.0])
WIND_SPREAD = np.array([150.0, 120.0])
WIND_KEPT = 0.8
"""Way of the weather in a day, km (eastward, northward): mean, spread and lag-1 correlation."""
FRONT_KM = 420.0
FRONT_WEIGHT = 0.42
CLOUD_WEIGHT = 0.30
"""Temperature is warm ahead of (east of) the large rain field, cold behind it, and cool under it."""
AMOUNT_SHAPE = 0.8
"""Shape of the Weibull distribution of the amounts of wet days."""


class Weather(NamedTuple):
    """All that the weather needs to go on.

    latent : complex64 [3, 72, 49], Fourier coefficients of the latent fields in the moving frame.
    wind : float64 [2], way of today in km (eastward, northward).
    way : float64 [2], way of the frame since the beginning in km.
    """

    latent: np.ndarray
    wind: np.ndarray
    way: np.ndarray


class Climate(NamedTuple):
    """What the weather is like where and when.

    rain_threshold : float32 [366, cells], of the Gaussian signal; above it, it rains.
    rain_scale : float32 [366, cells], scale of the Weibull distribution of wet days, mm.
    temperature_mean, temperature_spread : float32 [366, cells], K.
    wetness : float32 [cells], rank 0 (driest) .. 1 (wettest).
    sunshine : float32 [366, cells], sine of the sun's elevation, mean of the day times pi, 0..1.1.
    """

    rain_threshold: np.ndarray
    rain_scale: np.ndarray
    temperature_mean: np.ndarray
    temperature_spread: np.ndarray
    wetness: np.ndarray
    sunshine: np.ndarray


def land_of_twin() -> np.ndarray:
    """Land of the twin's map: bool [52, 65], rows from south to north.

    The text file was made from the Natural Earth 1:50m coast line (land = at least half of the cell).
    """
    rows = (Path(__file__).parent / "twin_land_mask.txt").read_text().split()
    return np.array([[sign == "#" for sign in row] for row in reversed(rows)])


LAND = land_of_twin()
ROW, COLUMN = np.nonzero(LAND)
CELL_IN_PLANE = ROW * PLANE[1] + COLUMN
CELLS = len(ROW)


def random_numbers(*key: Any) -> np.random.Generator:
    """Random generator of its own for a key of integers (version, stream, day, ...)."""
    return np.random.Generator(np.random.PCG64(key))


@lru_cache
def spectral_amplitude(length_km: float, smoothness: float = 1.0) -> np.ndarray:
    """Amplitude of white noise that gives fields of unit variance and a stretched-exponential correlation.

    Returns float32 [72, 49], to be multiplied with complex numbers of unit variance in both parts.
    """
    rows, columns = PLANE
    north = np.minimum(np.arange(rows), rows - np.arange(rows))[:, None] * ROW_KM
    east = np.minimum(np.arange(columns), columns - np.arange(columns))[None, :] * COLUMN_KM
    correlation = np.exp(-((np.hypot(north, east) / length_km) ** smoothness))
    power = np.maximum(np.fft.fft2(correlation).real, 0.0)
    power[0, 0] *= 0.3  # the plane's own mean must not become the climate of a day
    power *= rows * columns / power.sum()
    amplitude = np.sqrt(power * rows * columns / 2)[:, : columns // 2 + 1]
    amplitude[:, 0] *= np.sqrt(2)  # the inverse transform keeps only half of the power of these columns
    amplitude[:, -1] = 0.0
    return amplitude.astype(np.float32)


AMPLITUDE = np.stack([spectral_amplitude(*pair) for pair in zip(LENGTH_KM, SMOOTHNESS)])
WAVE_NORTH = 2 * np.pi * np.fft.fftfreq(PLANE[0]) / ROW_KM
WAVE_EAST = 2 * np.pi * np.fft.rfftfreq(PLANE[1]) / COLUMN_KM


def white_noise(random: np.random.Generator, fields: int = 1) -> np.ndarray:
    """Complex white noise complex64 [fields, 72, 49], unit variance in both parts."""
    shape = (fields, PLANE[0], PLANE[1] // 2 + 1)
    return random.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def smooth_map(length_km: float, *key: Any) -> np.ndarray:
    """A fixed random map of unit variance over the land cells, float32 [cells]."""
    spectrum = white_noise(random_numbers(*key))[0] * spectral_amplitude(length_km, 1.5)
    return to_cells(spectrum)


def to_cells(spectrum: np.ndarray) -> np.ndarray:
    """Fourier coefficients [..., 72, 49] to values on the land cells, float32 [..., cells]."""
    fields = scipy.fft.irfft2(spectrum, s=PLANE)
    return fields.reshape(*fields.shape[:-2], -1)[..., CELL_IN_PLANE]


def shift(way: np.ndarray) -> np.ndarray:
    """Factors that move fields by `way` [..., 2] km: complex64 [..., 72, 49]."""
    way = np.asarray(way)
    east = np.exp(-1j * way[..., 0, None] * WAVE_EAST).astype(np.complex64)
    north = np.exp(-1j * way[..., 1, None] * WAVE_NORTH).astype(np.complex64)
    return north[..., :, None] * east[..., None, :]


def weather_noise(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is new in a day: (latent complex64 [3, 72, 49], wind float64 [2])."""
    return draw_latent(random), random.standard_normal(2)


def draw_latent(random: np.random.Generator) -> np.ndarray:
    """Latent noise of the stationary distribution, complex64 [3, 72, 49]."""
    return white_noise(random, 3) * AMPLITUDE


def first_weather(random: np.random.Generator) -> Weather:
    """A weather drawn from the stationary distribution."""
    return Weather(draw_latent(random), WIND_MEAN + WIND_SPREAD * random.standard_normal(2), np.zeros(2))


def next_wind(wind: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Wind [..., 2] of the next day."""
    return WIND_MEAN + WIND_KEPT * (wind - WIND_MEAN) + np.sqrt(1 - WIND_KEPT**2) * WIND_SPREAD * noise


def keep(latent: np.ndarray) -> np.ndarray:
    """What is kept of latent fields [..., 3, 72, 49] to the next day."""
    return KEPT[:, None, None] * latent


def renew(noise: np.ndarray) -> np.ndarray:
    """What noise of the stationary distribution [..., 3, 72, 49] adds in a day."""
    return np.sqrt(1 - KEPT**2)[:, None, None] * noise


def next_weather(weather: Weather, noise: tuple[np.ndarray, np.ndarray]) -> Weather:
    """The next day's weather, from today's and the noise of :func:`weather_noise`."""
    latent_noise, wind_noise = noise
    wind = next_wind(weather.wind, wind_noise)
    return Weather(keep(weather.latent) + renew(latent_noise), wind, weather.way + wind)


def _signal_weights():
    """Weights of the latent fields in the rain and in the temperature signal, each signal of unit variance.

    Returns complex64 [2, 3, 1, 49] = (rain or temperature, latent field, -, wave number eastward).
    """
    weights = np.zeros((2, 3, 1, len(WAVE_EAST)), np.complex64)
    weights[0, LARGE] = RAIN_WEIGHT_LARGE
    weights[0, SMALL] = np.sqrt(1 - RAIN_WEIGHT_LARGE**2)
    front = -2j * np.sin(WAVE_EAST * FRONT_KM)  # the field to the west minus the field to the east
    weights[1, LARGE] = FRONT_WEIGHT * front - CLOUD_WEIGHT
    power = AMPLITUDE[LARGE] ** 2 * np.where(WAVE_EAST == 0, 1, 2)
    weights[1, WARM] = np.sqrt(1 - (np.abs(weights[1, LARGE]) ** 2 * power).sum() / power.sum())
    return weights


SIGNAL_WEIGHTS = _signal_weights()


def signals(latent: np.ndarray) -> np.ndarray:
    """Rain and temperature signals, complex64 [..., 2, 72, 49], of latent fields [..., 3, 72, 49]."""
    rain = sum(SIGNAL_WEIGHTS[0, field] * latent[..., field, :, :] for field in (LARGE, SMALL))
    temperature = sum(SIGNAL_WEIGHTS[1, field] * latent[..., field, :, :] for field in (LARGE, WARM))
    return np.stack([rain, temperature], axis=-3)


def rain_and_temperature(signal: np.ndarray, way: np.ndarray, climate: Climate,
                         day_of_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Weather on the land cells.

    Parameters
    ----------
    signal : complex64 [..., 2, 72, 49], from :func:`signals`.
    way : float64 [..., 2], way of the moving frame in km.
    climate : Climate
    day_of_year : int, 0..365.

    Returns
    -------
    rain : float32 [..., cells], mm d-1.
    temperature : float32 [..., cells], air temperature in K.
    """
    fields = to_cells(signal * shift(way)[..., None, :, :])
    rain_signal, temperature_signal = fields[..., 0, :], fields[..., 1, :]
    spread = climate.temperature_spread[day_of_year]
    temperature = climate.temperature_mean[day_of_year] + spread * temperature_signal
    return rain_amount(rain_signal, climate, day_of_year), temperature


def rain_amount(rain_signal: np.ndarray, climate: Climate, day_of_year: int) -> np.ndarray:
    """Rain float32 [..., cells] in mm d-1 of a Gaussian signal [..., cells] of unit variance."""
    threshold = np.broadcast_to(climate.rain_threshold[day_of_year], rain_signal.shape)
    rain = np.zeros(rain_signal.shape, np.float32)
    wet = rain_signal > threshold
    scale = np.broadcast_to(climate.rain_scale[day_of_year], rain_signal.shape)[wet]
    excess = scipy.special.log_ndtr(-threshold[wet]) - scipy.special.log_ndtr(-rain_signal[wet])
    rain[wet] = scale * excess ** np.float32(1 / AMOUNT_SHAPE)
    return rain


def make_climate(version: int) -> Climate:
    """The climate of the twin: wet south-east with a summer monsoon, dry north-west, high Tibet."""
    latitude, longitude = LATITUDE[ROW], LONGITUDE[COLUMN]

    def bump(north, east, height, north_size, east_size):
        distance = ((latitude - north) / north_size) ** 2 + ((longitude - east) / east_size) ** 2
        return height * np.exp(-distance)

    height = (
        bump(33, 90, 4.6, 4.5, 13) + bump(42, 82, 1.8, 2.5, 10) + bump(48, 98, 1.7, 5, 9)
        + bump(26, 102, 1.6, 4, 5) + bump(37.5, 110, 1.0, 4, 7) + bump(50, 123, 0.7, 5, 4) + 0.15
    )
    dryness = 1.6 * (latitude - 30) / 10 - 1.1 * (longitude - 108) / 10 + 0.25 * smooth_map(700, version, 101)
    dryness -= bump(22, 82, 4.0, 9, 15) + bump(54, 95, 3.0, 6, 60)
    wetness = 1 - np.argsort(np.argsort(dryness)) / (CELLS - 1)

    wet_share = np.interp(
        np.clip(wetness + 0.06 * smooth_map(900, version, 102), 0, 1),
        [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], [0.14, 0.18, 0.25, 0.30, 0.36, 0.45, 0.48],
    )
    wet_amount = np.interp(
        np.clip(wetness + 0.06 * smooth_map(900, version, 103), 0, 1),
        [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], [2.8, 3.2, 4.3, 5.6, 7.6, 10.0, 11.5],
    )
    angle = 2 * np.pi * np.arange(366)[:, None] / 365.25
    summer = np.cos(angle - 2 * np.pi * 196 / 365.25)
    monsoon = 0.40 + 0.15 * np.tanh((longitude - 100) / 8) - 0.15 * (latitude > 48)
    share = np.clip(wet_share * (1 + monsoon * summer), 0.02, 0.75)
    amount = wet_amount * (1 + 0.30 * summer)
    scale = amount / scipy.special.gamma(1 + 1 / AMOUNT_SHAPE)

    inland = np.clip((125 - longitude) / 40, 0, 1)
    mean = 299.5 - 0.78 * (latitude - 18) - 4.5 * height
    half_range = np.clip(9.0 + 0.33 * (latitude - 18) + 2.0 * inland - 0.8 * height, 8.0, 21.0)
    spread = (2.9 + 0.055 * (latitude - 18)) * (1 - 0.15 * summer)
    # daily mean of the sine of the sun's elevation, FAO irrigation and drainage paper 56, eq. 21-25
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(-np.tan(np.radians(latitude)) * np.tan(declination))
    north = np.radians(latitude)
    elevation = (
        sunset * np.sin(north) * np.sin(declination) + np.cos(north) * np.cos(declination) * np.sin(sunset)
    )
    late_summer = np.cos(angle - 2 * np.pi * 203 / 365.25)
    return Climate(
        rain_threshold=scipy.special.ndtri(1 - share).astype(np.float32),
        rain_scale=scale.astype(np.float32),
        temperature_mean=(mean + half_range * late_summer).astype(np.float32),
        temperature_spread=spread.astype(np.float32),
        wetness=wetness.astype(np.float32),
        sunshine=elevation.astype(np.float32),
    )


def day_of_year(date: np.datetime64) -> int:
    """Day of the year of a datetime64[D], 0..365."""
    return int((date - date.astype("datetime64[Y]")).astype(int))
