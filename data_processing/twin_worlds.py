"""Further synthetic worlds: other soils, other climates, other satellites, for networks that shall serve any place.

Domain randomisation (Tobin et al. 2017, arXiv:1703.06907): each world has the physics and the map of the twin, but
climate, soils, noise, gaps and rain errors are drawn at random, wider than in reality, so that reality is one more draw.
Nothing in them is real data.
"""
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy

from data_processing import twin_land, twin_weather
from data_processing.cube import VARIABLES, write_cube
from data_processing.satellite import in_swath
from data_processing.terminal import progress_bar
from data_processing.twin import FOLDER
from data_processing.twin_weather import (
    AMOUNT_SHAPE,
    CELLS,
    COLUMN,
    LAND,
    LATITUDE,
    LONGITUDE,
    ROW,
    day_of_year,
    random_numbers,
    smooth_map,
)

WORLDS_VERSION = 1
FIRST, LAST = np.datetime64("2008-01-01"), np.datetime64("2011-12-31")
WORLD_SPIN_UP_DAYS = 365
KEY = 7000  # of the random numbers, apart from those of the twin
ROUGH_KM, SMOOTH_KM = 250.0, 900.0
YEAR_ANGLE = 2 * np.pi * np.arange(366)[:, None] / 365.25


class Eyes(NamedTuple):
    """How a world is observed.

    error : float32 [cells], m3 m-3, standard deviation of the noise. rain_error : spread of the logarithm of the errors
    in the rain that is reported. swath : bool, seen every 2-3 days and never frozen. air : bool, the temperature that is
    reported is that of the air.
    """

    error: np.ndarray
    rain_error: float
    swath: bool
    air: bool


def world_path(number: int, folder: Path = FOLDER) -> Path:
    """Path of the cube of a world, made when it does not exist.

    Parameters
    ----------
    number : int
        Any number, 1 or more, is a world of its own.
    folder : path

    Returns
    -------
    Path
    """
    path = folder / f"twin_world{number}_v{WORLDS_VERSION}.nc"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        values = make_world(number, FIRST, LAST)
        write_cube(path, values, np.arange(FIRST, LAST + 1), LATITUDE, LONGITUDE, {
            "title": f"Synthetic world {number} (not real data)",
            "source": f"synthetic: random soils and climate of data_processing/twin_worlds.py, version {WORLDS_VERSION}",
            "version": str(WORLDS_VERSION), "Conventions": "CF-1.8"})
    return path


def make_world(number: int, first: np.datetime64, last: np.datetime64) -> np.ndarray:
    """Daily record of a world.

    Parameters
    ----------
    number : int
    first, last : datetime64[D]

    Returns
    -------
    float32 [T, 3, H, W]
        `VARIABLES` in mm d-1, m3 m-3, K; NaN at sea and where the satellite does not see.
    """
    climate, soil, eyes = random_climate(number), random_soil(number), random_eyes(number)
    ground = twin_land.first_ground(soil, climate)
    random = random_numbers(WORLDS_VERSION, KEY, number)
    weather = twin_weather.first_weather(random)
    values = np.full(((last - first).astype(int) + 1, len(VARIABLES), *LAND.shape), np.nan, np.float32)
    days = np.arange(first - WORLD_SPIN_UP_DAYS, last + 1)
    for day in progress_bar(days, desc=f"making synthetic world {number}", unit="day"):
        weather = twin_weather.next_weather(weather, twin_weather.weather_noise(random))
        rain, air = twin_weather.rain_and_temperature(twin_weather.signals(weather.latent), weather.way, climate,
                                                      day_of_year(day))
        before = ground
        ground, _ = twin_land.next_ground(before, soil, rain, air, climate.sunshine[day_of_year(day)])
        if day >= first:
            moisture = twin_land.soil_moisture(before, ground, soil)
            values[(day - first).astype(int)][:, ROW, COLUMN] = _seen(eyes, day, rain, air, moisture,
                                                                    ground.temperature, random)
    return values


def _seen(eyes, day, rain, air, moisture, temperature, random):
    """What is observed of a day, float32 [3, cells] in the order of `VARIABLES`."""
    factor = np.exp(eyes.rain_error * random.standard_normal(CELLS) - eyes.rain_error ** 2 / 2)
    moisture = moisture + eyes.error * random.standard_normal(CELLS)
    if eyes.swath:
        seen = in_swath(day, LATITUDE[ROW], LONGITUDE[COLUMN]) & (temperature > twin_land.FREEZING)
        moisture = np.where(seen, moisture, np.nan)
    shown = {"precipitation": rain * factor, "soil_moisture": moisture,
             "soil_temperature": air if eyes.air else temperature}
    return np.stack([shown[name] for name in VARIABLES]).astype(np.float32)


def _uniform_map(number, stream, low, high, rough=0.5):
    """Map [cells] of values spread evenly over low..high, smooth over SMOOTH_KM and, by share, ROUGH_KM."""
    signal = (np.sqrt(1 - rough) * smooth_map(SMOOTH_KM, WORLDS_VERSION, KEY, number, stream)
              + np.sqrt(rough) * smooth_map(ROUGH_KM, WORLDS_VERSION, KEY, number, stream, 1))
    return low + (high - low) * scipy.special.ndtr(signal)


def random_climate(number: int) -> twin_weather.Climate:
    """Climate of a world, of the twin's kind; see `twin_weather.Climate`."""
    wetness = _uniform_map(number, 1, 0.0, 1.0)
    wet_share = np.interp(wetness, [0, 0.25, 0.5, 0.75, 1], [0.06, 0.18, 0.26, 0.34, 0.45])
    wet_amount = np.interp(_uniform_map(number, 2, 0.0, 1.0) * 0.4 + wetness * 0.6, [0, 0.5, 1], [2.5, 6.5, 12.0])
    rain_peak = 2 * np.pi * _uniform_map(number, 3, -0.2, 1.2, rough=0.2)  # time of the year with most rain
    rain_season = np.cos(YEAR_ANGLE - rain_peak) * _uniform_map(number, 4, 0.0, 0.6)
    share = np.clip(wet_share * (1 + rain_season), 0.02, 0.75)
    scale = wet_amount * (1 + 0.5 * rain_season) / scipy.special.gamma(1 + 1 / AMOUNT_SHAPE)
    summer = np.cos(YEAR_ANGLE - 2 * np.pi * 203 / 365.25)
    temperature = _uniform_map(number, 5, 277.0, 299.0, rough=0.2) + _uniform_map(number, 6, 4.0, 17.0, 0.2) * summer
    spread = _uniform_map(number, 7, 2.5, 4.5) * (1 - 0.15 * summer)
    sunshine = twin_weather.make_climate(1).sunshine
    return twin_weather.Climate(scipy.special.ndtri(1 - share).astype(np.float32), scale.astype(np.float32),
                                temperature.astype(np.float32), spread.astype(np.float32),
                                wetness.astype(np.float32), sunshine)


def random_soil(number: int) -> twin_land.Soil:
    """Soil maps of a world; see `twin_land.Soil`."""
    climate_wetness = _uniform_map(number, 1, 0.0, 1.0)
    residual = np.clip(_uniform_map(number, 11, 0.02, 0.20, 0.7) + 0.10 * (climate_wetness - 0.5), 0.01, 0.30)
    room = _uniform_map(number, 12, 0.22, 0.42, 0.7)
    depth = _uniform_map(number, 13, 30.0, 80.0, 0.7)
    conductivity = np.exp(_uniform_map(number, 14, -0.5, 2.6, 0.7))
    deep = 650.0
    maps = twin_land.Soil(
        depth=depth, residual=residual, porosity=residual + room, capacity=room * depth, deep_capacity=room * deep,
        conductivity=np.clip(conductivity, 0.6, 0.8 * room * depth),
        deep_conductivity=np.clip(3.6 * conductivity, 2.0, 30.0),
        exchange=np.clip(np.exp(_uniform_map(number, 15, -1.0, 1.0, 0.7)), 0.3, 3.0),
        bare=_uniform_map(number, 16, 0.2, 0.8, 0.7), stress=_uniform_map(number, 17, 0.2, 0.5, 0.7),
        runoff=_uniform_map(number, 18, 0.2, 0.9, 0.7))
    return twin_land.Soil(*(np.asarray(each, np.float32) for each in maps))


def random_eyes(number: int) -> Eyes:
    """Noise, gaps and rain errors of a world's observation; three worlds of four are seen as a satellite sees."""
    random = random_numbers(WORLDS_VERSION, KEY, number, 1)
    swath = number % 4 != 0
    error = _uniform_map(number, 19, 0.012, 0.045) if swath else _uniform_map(number, 19, 0.002, 0.015)
    return Eyes(error=error.astype(np.float32), rain_error=float(random.uniform(0.1, 0.6)), swath=swath,
                air=number % 2 == 1)
