"""Weather service of the synthetic twin: forecasts of its own weather, 1 to 7 days ahead, for every day of a world.

Each forecast is an ensemble whose members resemble the weather that comes as much as they resemble each other, and the less
the later: the spread is honest. Small waves are lost first. Nothing in it is real data.

With t the true signal of a day to come (`twin_weather`), r its predictable share (by wave length and lead time), and independent
weathers of the same generator, one (c) common to a start's members and one (e) of each member's own, a member is

    m = r t + sqrt(r (1 - r)) c + sqrt(1 - r) e.

Of two members, and of a member and the truth, the correlation is r. c and e go on from day to day like the weather itself, in
its moving frame, so that the days of a member belong together.
"""
from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_processing import twin_weather
from data_processing.errors import UserError
from data_processing.terminal import progress_bar
from data_processing.twin import DOMAINS, FOLDER, SPIN_UP_DAYS, VERSION, VIEWS, WEATHER, WORLDS
from data_processing.twin_weather import LAND, LATITUDE, LONGITUDE, WAVE_EAST, WAVE_NORTH, random_numbers
from data_processing.weather_file import new_weather_file

if TYPE_CHECKING:
    from data_processing.twin import World

LEAD_TIMES = np.arange(1, 8)
MEMBER_COUNT = 10
SERVICE, SERVICE_RAIN = 7, 8  # streams of random numbers, next to those of `twin`
DAYS_OF_1000_KM = 5.6
"""After these a forecast knows a share of 1 / e of waves 1000 km long. Chosen so that the rain of a member and of the truth
correlate by about .8 after a day and .3 after seven."""
TEMPERATURE_STEP = 0.8  # K; finer steps make the file larger and no forecast better
STARTS_AHEAD = 16  # made while the file is written


def weather_path(domain: str, folder: str | Path = FOLDER) -> Path:
    """Path of the weather forecasts for a domain's world, made when they do not exist.

    Parameters
    ----------
    domain : str
        One of `twin.DOMAINS`; `smap_l3` and `smap_l4` share a world.
    folder : path
        Where the twin's cubes are kept.

    Returns
    -------
    Path
        Of a weather forecast file (`weather_file`).

    Raises
    ------
    UserError
        If there is no such domain.
    """
    if domain not in DOMAINS:
        raise UserError(f"the synthetic twin has no domain {domain!r}; it has {', '.join(DOMAINS)}")
    name = VIEWS[domain].world
    path = Path(folder) / f"twin_weather_{name}_v{VERSION}.nc"
    if not path.exists():
        make_weather(path, WORLDS[name])
    return path


def make_weather(path: str | Path, world: World, members: int = MEMBER_COUNT) -> None:
    """Write the weather forecasts for a world.

    Parameters
    ----------
    path : path
    world : twin.World
        One of `twin.WORLDS`; other first and last days make fewer forecasts, each of them the same.
    members : int
        Fewer are the first of the many.
    """
    climate = twin_weather.make_climate(VERSION)
    init_times = np.arange(world.first, world.last + 1)
    attributes = {
        "title": "Synthetic twin of weather forecasts (not real data)",
        "source": f"synthetic: weather of data_processing/twin.py and its forecasts of data_processing/twin_service.py, "
                  f"version {VERSION}",
        "version": str(VERSION),
        "comment": f"each member is predictable by the same share as the truth; temperature in steps of {TEMPERATURE_STEP} K",
    }
    with (new_weather_file(path, init_times, LEAD_TIMES, members, LATITUDE, LONGITUDE, "air_temperature", attributes,
                           complevel=6) as file,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        made = _in_order(pool, lambda start: _maps(*forecast(start[0], start[1], world, climate, members)), _starts(init_times))
        title = "making the weather forecasts of the synthetic twin"
        for index, (rain, temperature) in enumerate(progress_bar(made, title, len(init_times), unit="day")):
            file["precipitation"][index] = rain
            file["air_temperature"][index] = temperature


def _in_order(pool, function, arguments):
    """Results of a function in the order of its arguments, STARTS_AHEAD of them in memory."""
    waiting = deque()
    for argument in arguments:
        waiting.append(pool.submit(function, argument))
        if len(waiting) > STARTS_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _starts(init_times):
    """Each init day, and the true weather of the days that its forecast is for."""
    coming = deque(maxlen=len(LEAD_TIMES))
    for day, weather in true_weather(init_times[0] + 1, init_times[-1] + len(LEAD_TIMES)):
        coming.append(weather)
        if len(coming) == len(LEAD_TIMES):
            yield day - len(LEAD_TIMES), list(coming)


def true_weather(first: np.datetime64, last: np.datetime64) -> Iterator[tuple[np.datetime64, twin_weather.Weather]]:
    """The weather of the twin, which goes on beyond the last day of its cubes.

    Parameters
    ----------
    first, last : datetime64[D]

    Yields
    ------
    datetime64[D], twin_weather.Weather
    """
    weather = twin_weather.first_weather(random_numbers(VERSION, WEATHER))
    for day in np.arange(min(world.first for world in WORLDS.values()) - SPIN_UP_DAYS, last + 1):
        noise = twin_weather.weather_noise(random_numbers(VERSION, WEATHER, int(day.astype(int))))
        weather = twin_weather.next_weather(weather, noise)
        if day >= first:
            yield day, weather


def predictable_share(lead_time: int) -> np.ndarray:
    """Share r of each wave that a forecast knows: float32 [72, 49], 1 (all) .. 0 (nothing).

    Parameters
    ----------
    lead_time : int
        Days, >= 1.

    Notes
    -----
    exp(-lead_time / T), where T grows with the wave length to the power 2/3, as where the energy of the waves
    falls with the wave number to the power 5/3: Lorenz 1969, doi:10.1111/j.2153-3490.1969.tb00444.x.
    """
    wave_number = np.hypot(WAVE_NORTH[:, None], WAVE_EAST)
    wave_number[0, 0] = WAVE_EAST[1]  # the plane's mean is forecast like the longest wave
    days = DAYS_OF_1000_KM * (2 * np.pi / wave_number / 1000.0) ** (2 / 3)
    return np.exp(-lead_time / days).astype(np.float32)


SHARES = np.stack([predictable_share(int(lead_time)) for lead_time in LEAD_TIMES])[:, None]


def forecast(init_time: np.datetime64, coming: list[twin_weather.Weather], world: World, climate: twin_weather.Climate,
             members: int = MEMBER_COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Forecast of a start.

    Parameters
    ----------
    init_time : datetime64[D]
        Last day before the forecast days.
    coming : list of twin_weather.Weather
        True weather of the 7 forecast days, of which the forecast with lead_time k knows a share of day k only.
    world : twin.World
        Whose rain it is.
    climate : twin_weather.Climate
    members : int

    Returns
    -------
    rain : float32 [7, members, cells], mm d-1.
    temperature : float32 [7, members, cells], air temperature in K.
    """
    known = np.sqrt(SHARES)
    unknown = np.sqrt(1 - SHARES)
    truth = twin_weather.signals(np.stack([weather.latent for weather in coming]))
    shared = known * (known * truth + unknown * _signals_without_truth(init_time, 0))
    signal = np.stack([shared + unknown * _signals_without_truth(init_time, 1 + member) for member in range(members)], axis=1)
    days = [twin_weather.day_of_year(init_time + lead_time) for lead_time in LEAD_TIMES]
    rain, temperature = map(np.stack, zip(*(
        twin_weather.rain_and_temperature(of_day, weather.way, climate, day)
        for of_day, weather, day in zip(signal, coming, days))))
    return rain * _rain_errors(init_time, world, members), temperature


def _signals_without_truth(init_time, number):
    """Signals of another weather of 7 days, complex64 [7, 2, 72, 49]; number 0 is common to the members of a start."""
    random = random_numbers(VERSION, SERVICE, int(init_time.astype(int)), number)
    latent = [twin_weather.draw_latent(random)]
    for _ in LEAD_TIMES[1:]:
        latent.append(twin_weather.keep(latent[-1]) + twin_weather.renew(twin_weather.draw_latent(random)))
    return twin_weather.signals(np.stack(latent))


def _rain_errors(init_time, world, members):
    """Factors of mean one, float32 [7, members, cells or 1], like those that the world's own rain is multiplied with."""
    if world.rain_error == 0:
        return np.float32(1)
    factors = []
    for member in range(members):
        random = random_numbers(VERSION, SERVICE_RAIN, int(init_time.astype(int)), 1 + member)
        noise = twin_weather.white_noise(random, len(LEAD_TIMES)) * twin_weather.spectral_amplitude(world.rain_error_km)
        factors.append(np.exp(np.float32(world.rain_error) * twin_weather.to_cells(noise) - np.float32(world.rain_error**2 / 2)))
    return np.stack(factors, axis=1)


def _maps(rain, temperature):
    """Maps of values on the land cells, float32 [2, 7, members, H, W] = (rain, temperature), masked at sea."""
    maps = np.zeros((2, *rain.shape[:-1], *LAND.shape), np.float32)
    maps[0][..., LAND] = rain
    maps[1][..., LAND] = TEMPERATURE_STEP * np.round(temperature / TEMPERATURE_STEP)
    return np.ma.array(maps, mask=np.broadcast_to(~LAND, maps.shape))
