"""The synthetic twin: daily cubes of a small made-up world with physics, and the best forecast in it.

Nothing in it is real data. One continuous weather (`twin_weather`) drives a land model (`twin_land`) twice:
once with the soil maps, the layer and the rain errors of `era5_land`, once with those of `smap_l4`. The
truths are observed with small errors; `smap_l3` sees the truth of `smap_l4` as a satellite would, with
noise and gaps. Everything is drawn from random numbers keyed by version, stream and day, so that the same
version is the same world everywhere, and a world can be continued from any day.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_processing import twin_land, twin_weather
from data_processing.cube import VARIABLES, write_cube
from data_processing.errors import UserError
from data_processing.files import replacing
from data_processing.satellite import RETRIEVAL_NOISE, in_swath
from data_processing.terminal import progress_bar
from data_processing.twin_weather import CELLS, COLUMN, LAND, LATITUDE, LONGITUDE, ROW

VERSION = 1
DOMAINS = ("era5_land", "smap_l4", "smap_l3")
FOLDER = Path(__file__).resolve().parents[1] / "data" / "twin"

WEATHER, SOURCE_RAIN, REPORTED_RAIN, OBSERVATION, MEMBERS, MEMBER_RAIN = range(1, 7)
"""Streams of random numbers."""
SPIN_UP_DAYS = 730
DAYS_BETWEEN_STATES = 64
MEMBER_COUNT = 50
MEMBERS_AT_A_TIME = 10  # their maps fit the processor's cache


class World(NamedTuple):
    """One run of the land model, and the days it is observed on.

    number : int, key of its random numbers. first, last : datetime64[D], observed days.
    depth : mm, of the upper layer. bias : size of its own errors in the soil maps.
    rain_error, rain_error_km : spread of the logarithm and length of the errors in the rain that drives it.
    """

    number: int
    first: np.datetime64
    last: np.datetime64
    depth: float
    bias: float
    rain_error: float
    rain_error_km: float


WORLDS = {
    "era5_land": World(1, np.datetime64("2000-03-31"), np.datetime64("2015-03-30"), 70.0, 0.6, 0.45, 300.0),
    "smap_l4": World(2, np.datetime64("2015-03-31"), np.datetime64("2020-12-31"), 50.0, 0.0, 0.0, 300.0),
}
"""`smap_l3` observes the world of `smap_l4`."""


class View(NamedTuple):
    """How a domain observes a world.

    world : str. number : int, key of its random numbers. error : m3 m-3, standard deviation.
    rain_error : spread of the logarithm of the error in the rain it reports.
    swath : bool, seen every 2-3 days only.
    """

    world: str
    number: int
    error: float
    rain_error: float
    swath: bool


VIEWS = {
    "era5_land": View("era5_land", 1, 0.005, 0.0, False),
    "smap_l4": View("smap_l4", 2, 0.005, 0.1, False),
    "smap_l3": View("smap_l4", 3, RETRIEVAL_NOISE, 0.1, True),
}


def cube_path(domain: str, folder: str | Path = FOLDER) -> Path:
    """Path of a domain's cube; all cubes are made first when it does not exist.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    folder : path
        Where the cubes are kept.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        If there is no such domain.
    """
    _check_domain(domain)
    if not (_file(folder, domain).exists() and _states_file(folder).exists()):
        make_cubes(folder)
    return _file(folder, domain)


def make_cubes(folder: str | Path, worlds: dict[str, World] = WORLDS, spin_up_days: int = SPIN_UP_DAYS) -> None:
    """Make the cubes of all domains, and the states that :func:`ceiling` starts from, in one pass.

    Parameters
    ----------
    folder : path
    worlds : dict of World
        As `WORLDS`; other first and last days make shorter cubes.
    spin_up_days : int
        Days that each world runs before it is observed.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    first = min(world.first for world in worlds.values()) - spin_up_days
    last = max(world.last for world in worlds.values())
    climate = twin_weather.make_climate(VERSION)
    soils = {name: _soil(climate, world) for name, world in worlds.items()}
    grounds = {name: twin_land.first_ground(soil, climate) for name, soil in soils.items()}
    values = {domain: _no_values(worlds[view.world]) for domain, view in VIEWS.items()}
    states = {name: [] for name in worlds}
    weather = twin_weather.first_weather(twin_weather.random_numbers(VERSION, WEATHER))

    days = np.arange(first, last + 1)
    for day in progress_bar(days, desc="making the synthetic twin", unit="day"):
        weather = _next_weather(weather, day)
        rain, air_temperature, sunshine = _weather_of_day(weather, climate, day)
        for name, world in worlds.items():
            if not world.first - spin_up_days <= day <= world.last:
                continue
            true_rain = rain * _rain_error(world, day)
            before = grounds[name]
            grounds[name], _ = twin_land.next_ground(
                before, soils[name], true_rain, air_temperature, sunshine
            )
            if day < world.first:
                continue
            moisture = twin_land.soil_moisture(before, grounds[name], soils[name])
            index = (day - world.first).astype(int)
            if index % DAYS_BETWEEN_STATES == 0:
                states[name].append((day, weather, grounds[name]))
            for domain, view in VIEWS.items():
                if view.world == name:
                    values[domain][index][:, ROW, COLUMN] = _observe(
                        view, day, true_rain, moisture, grounds[name].temperature
                    )

    for domain, view in VIEWS.items():
        world = worlds[view.world]
        time = np.arange(world.first, world.last + 1)
        write_cube(_file(folder, domain), values.pop(domain), time, LATITUDE, LONGITUDE, _attributes(domain))
    _save_states(folder, states)


def _file(folder, domain):
    return Path(folder) / f"twin_{domain}_v{VERSION}.nc"


def _states_file(folder):
    return Path(folder) / f"twin_states_v{VERSION}.npz"


def _check_domain(domain):
    if domain not in DOMAINS:
        raise UserError(f"the synthetic twin has no domain {domain!r}; it has {', '.join(DOMAINS)}")


def _attributes(domain):
    view = VIEWS[domain]
    world = WORLDS[view.world]
    return {
        "title": f"Synthetic twin of {domain} (not real data)",
        "source": f"synthetic: weather and land model of data_processing/twin.py, version {VERSION}",
        "version": str(VERSION),
        "twin_domain": domain,
        "Conventions": "CF-1.8",
        "comment": f"soil moisture of the upper {world.depth / 10:.0f} cm, "
                   f"observed with an error of {view.error} m3 m-3",
    }


def _no_values(world):
    days = (world.last - world.first).astype(int) + 1
    return np.full((days, len(VARIABLES), *LAND.shape), np.nan, np.float32)


def _soil(climate, world):
    return twin_land.make_soil(climate, VERSION, world.number, world.depth, world.bias)


def _day_number(day):
    return int(day.astype("datetime64[D]").astype(int))


def _next_weather(weather, day):
    random = twin_weather.random_numbers(VERSION, WEATHER, _day_number(day))
    return twin_weather.next_weather(weather, twin_weather.weather_noise(random))


def _weather_of_day(weather, climate, day):
    """Rain and air temperature, float32 [cells], and the season's sunshine of a day."""
    day_of_year = twin_weather.day_of_year(day)
    signal = twin_weather.signals(weather.latent)
    rain, temperature = twin_weather.rain_and_temperature(signal, weather.way, climate, day_of_year)
    return rain, temperature, climate.sunshine[day_of_year]


def _rain_error(world, day):
    """Factors of mean one, float32 [cells], that a world's rain is multiplied with on a day."""
    if world.rain_error == 0:
        return np.float32(1)
    random = twin_weather.random_numbers(VERSION, SOURCE_RAIN, world.number, _day_number(day))
    return _lognormal_factors(world, random, 1)[0]


def _lognormal_factors(world, random, fields):
    """Factors of mean one, correlated in space, float32 [fields, cells]."""
    noise = twin_weather.white_noise(random, fields) * twin_weather.spectral_amplitude(world.rain_error_km)
    logarithm = np.float32(world.rain_error) * twin_weather.to_cells(noise)
    return np.exp(logarithm - np.float32(world.rain_error**2 / 2))


def _observe(view, day, rain, moisture, temperature):
    """What a domain shows of a day, float32 [3, cells] in the order of `VARIABLES`."""
    random = twin_weather.random_numbers(VERSION, REPORTED_RAIN, _day_number(day))
    logarithm = np.float32(view.rain_error) * random.standard_normal(CELLS, dtype=np.float32)
    reported_rain = rain * np.exp(logarithm - np.float32(view.rain_error**2 / 2))
    random = twin_weather.random_numbers(VERSION, OBSERVATION, view.number, _day_number(day))
    error = np.float32(view.error) * random.standard_normal(CELLS, dtype=np.float32)
    moisture = moisture + error
    if view.swath:
        seen = in_swath(day, LATITUDE[ROW], LONGITUDE[COLUMN]) & (temperature > twin_land.FREEZING)
        moisture = np.where(seen, moisture, np.float32(np.nan))
    shown = {
        "precipitation": reported_rain, "soil_moisture": moisture, "soil_temperature": temperature,
    }
    return np.stack([shown[name] for name in VARIABLES])


def _save_states(folder, states):
    arrays = {}
    for name, saved in states.items():
        days, weathers, grounds = zip(*saved)
        arrays[f"{name}_day"] = np.array(days)
        for field in twin_weather.Weather._fields:
            arrays[f"{name}_{field}"] = np.stack([getattr(weather, field) for weather in weathers])
        arrays[f"{name}_ground"] = np.stack([np.stack(ground) for ground in grounds])
    with replacing(_states_file(folder)) as temporary:
        np.savez(temporary, **arrays)


def true_states(domain: str, init_times: np.ndarray,
                folder: str | Path = FOLDER) -> Iterator[tuple[twin_weather.Weather, twin_land.Ground]]:
    """True weather and land of a domain's world at the end of given days.

    Parameters
    ----------
    domain : str
    init_times : datetime64[D] [N]
        Ascending days of the domain's record.
    folder : path

    Yields
    ------
    twin_weather.Weather, twin_land.Ground
    """
    cube_path(domain, folder)
    name = VIEWS[domain].world
    world = WORLDS[name]
    climate = twin_weather.make_climate(VERSION)
    soil = _soil(climate, world)
    with np.load(_states_file(folder)) as saved:
        arrays = {key.removeprefix(f"{name}_"): saved[key] for key in saved.files if key.startswith(name)}
    day = None
    for init_time in init_times:
        index = np.searchsorted(arrays["day"], init_time, side="right") - 1
        if day is None or arrays["day"][index] > day:
            day = arrays["day"][index]
            weather = twin_weather.Weather(*(arrays[field][index] for field in twin_weather.Weather._fields))
            ground = twin_land.Ground(*arrays["ground"][index])
        while day < init_time:
            day = day + 1
            weather = _next_weather(weather, day)
            rain, air_temperature, sunshine = _weather_of_day(weather, climate, day)
            true_rain = rain * _rain_error(world, day)
            ground, _ = twin_land.next_ground(ground, soil, true_rain, air_temperature, sunshine)
        yield weather, ground


class Members(NamedTuple):
    """Noise of an ensemble of continuations.

    signal : complex64 [days, members, 2, 72, 49], what is new since the first day in the rain and temperature
        signals. wind : float64 [days, members, 2].
    rain_error : float32 [days, members, cells or 1], factors.
    """

    signal: np.ndarray
    wind: np.ndarray
    rain_error: np.ndarray


def draw_members(world: World, days: int, members: int = MEMBER_COUNT) -> Members:
    """Noise for `members` continuations of `days` days; the same numbers serve for every first day."""
    signal = np.empty((days, members, 2, *twin_weather.AMPLITUDE.shape[1:]), np.complex64)
    wind = np.empty((days, members, 2))
    rain_error = np.ones((days, members, CELLS if world.rain_error else 1), np.float32)
    for member in range(members):
        random = twin_weather.random_numbers(VERSION, MEMBERS, world.number, member)
        latent: Any = 0
        for day in range(days):
            new, wind[day, member] = twin_weather.weather_noise(random)
            latent = twin_weather.keep(latent) + twin_weather.renew(new)
            signal[day, member] = twin_weather.signals(latent)
    if world.rain_error:
        for day in range(days):
            random = twin_weather.random_numbers(VERSION, MEMBER_RAIN, world.number, day)
            rain_error[day] = _lognormal_factors(world, random, members)
    return Members(signal, wind, rain_error)


def continue_weather(weather: twin_weather.Weather, members: Members, climate: twin_weather.Climate,
                     init_time: np.datetime64) -> Iterator[tuple[np.datetime64, np.ndarray, np.ndarray]]:
    """Continuations of a day's weather.

    Parameters
    ----------
    weather : twin_weather.Weather
        At `init_time`.
    members : Members
    climate : twin_weather.Climate
    init_time : datetime64[D]

    Yields
    ------
    day : datetime64[D], the days after `init_time`.
    rain, air_temperature : float32 [members, cells], mm d-1 and K.
    """
    latent, wind, way = weather.latent, weather.wind, weather.way
    for step, (signal, wind_noise) in enumerate(zip(members.signal, members.wind)):
        day = init_time + step + 1
        latent = twin_weather.keep(latent)
        wind = twin_weather.next_wind(wind, wind_noise)
        way = way + wind
        yield day, *twin_weather.rain_and_temperature(
            twin_weather.signals(latent) + signal, way, climate, twin_weather.day_of_year(day)
        )


def ceiling(domain: str, init_times: np.ndarray, lead_time: int, folder: str | Path = FOLDER) -> np.ndarray:
    """The best forecast possible in the twin: mean of the true land model under continued true weather.

    The ensemble of 50 starts from the true state (both layers, snow, temperature, weather) at the end of each
    init day and does not know the weather to come.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    init_times : datetime64[D] [N]
        Days of the domain's record.
    lead_time : int
        Days from the init day to the forecast day, >= 1.
    folder : path
        Where the cubes are; the result is kept there too.

    Returns
    -------
    float32 [N, H, W]
        Soil moisture in m3 m-3, NaN at sea.

    Raises
    ------
    UserError
        If there is no such domain, an init day lies outside its record, or `lead_time` is below 1.
    """
    _check_domain(domain)
    init_times = np.asarray(init_times, "datetime64[D]")
    name = VIEWS[domain].world
    world = WORLDS[name]
    if lead_time < 1:
        raise UserError(f"lead_time is {lead_time}; it must be at least 1 day")
    if len(init_times) == 0 or init_times.min() < world.first or init_times.max() > world.last:
        raise UserError(f"init days must lie in the record of {domain}, {world.first} .. {world.last}; "
                        f"asked for {init_times[:1]} .. {init_times[-1:]}")
    key = hashlib.sha256(init_times.astype(np.int64).tobytes()).hexdigest()[:12]
    cache = Path(folder) / f"twin_ceiling_v{VERSION}_{name}_lead{lead_time}_{key}.npy"
    if not cache.exists():
        forecast = _make_ceiling(name, init_times, lead_time, folder)
        with replacing(cache) as temporary:
            np.save(temporary, forecast)
    on_land = np.load(cache)
    maps = np.full((len(init_times), *LAND.shape), np.nan, np.float32)
    maps[:, ROW, COLUMN] = on_land
    return maps


def _make_ceiling(name, init_times, lead_time, folder):
    """Ceiling on the land cells, float32 [N, cells]."""
    climate = twin_weather.make_climate(VERSION)
    soil = _soil(climate, WORLDS[name])
    members = draw_members(WORLDS[name], lead_time)
    groups = [Members(*(noise[:, first:first + MEMBERS_AT_A_TIME] for noise in members))
              for first in range(0, MEMBER_COUNT, MEMBERS_AT_A_TIME)]
    days, place = np.unique(init_times, return_inverse=True)
    forecast = np.empty((len(days), CELLS), np.float32)
    states = true_states(name, days, folder)
    title = f"ceiling of the twin, lead {lead_time}"
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        means = pool.map(lambda day, state: _mean_forecast(*state, soil, climate, groups, day), days, states)
        for index, mean in enumerate(progress_bar(means, total=len(days), desc=title, unit="day")):
            forecast[index] = mean
    finally:
        pool.shutdown(cancel_futures=True)  # whoever ends the script need not wait for all days
    return forecast[place]


def _mean_forecast(weather, ground, soil, climate, groups, init_time):
    """Mean soil moisture of all groups of members at the last day, float32 [cells]."""
    soil_moisture = []
    for members in groups:
        after = ground
        for (day, rain, air_temperature), error in zip(
            continue_weather(weather, members, climate, init_time), members.rain_error
        ):
            sunshine = climate.sunshine[twin_weather.day_of_year(day)]
            before = after
            after, _ = twin_land.next_ground(before, soil, rain * error, air_temperature, sunshine)
        soil_moisture.append(twin_land.soil_moisture(before, after, soil))
    return np.concatenate(soil_moisture).mean(axis=0)
