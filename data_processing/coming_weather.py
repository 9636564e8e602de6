"""Weather of the coming days, as networks are told it: observed (a bound, no forecast), a forecast's, or a degraded one.

What a network is told of a cell has the channels rain, beside its usual days and beside its soil, temperature, and how far
rain and temperature can be trusted: 0 = not told, 1 = observed, between = the correlation of forecast and observed rain at that
lead time. Nothing else of the days after the last input day
reaches a forecast, and without coming weather nothing at all.

Shapes: M members, n init days, L = longest lead time of the record, K lead times of a file; `cells` are flat indices into a map.
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, SOIL_TEMPERATURE
from data_processing.errors import UserError
from data_processing.files import require_file
from data_processing.terminal import progress_bar
from data_processing.weather_file import WeatherFile, open_weather_file, read_weather

if TYPE_CHECKING:
    from data_processing.record import Record
    from data_processing.splits import Splits

COMING_CHANNELS = 5  # scaled rain, rain in spreads of the soil moisture, scaled temperature, trust in rain and in temperature
CHANNELS_OF = {"precipitation": (0, 1, 3), "soil_temperature": (2, 4)}
SOIL_DEPTH = 50.0  # mm, the layer that rain wets
TRAINING_MEMBERS = 4  # of a file, kept in memory
USUAL_MEMBERS = 10  # of the ensembles that a network without an archive learns for
FEWEST_DAYS = 60  # init days that say how far a forecast can be trusted, and how its temperature differs from the cube's
# Correlation of forecast and observed rain where no archive tells: that of the twin's service, near that of real services.
FIRST_TRUST, LAST_TRUST, TRUST_DAYS = 0.8, 0.3, 7
# Range of the degraded forecasts: correlation at day 1, days in which it falls by a factor of e
FIRST_SHARE, DECAY_DAYS = (0.5, 0.98), (2.5, 15.0)
SEASON_DAYS = 30  # weather that takes the place of the true one is of the same season
NEAR_DAYS = 10  # but not of the same days
BLOCK = 64  # init days that are read at a time
TEMPERATURE_FACTORS = (0.5, 2.0)  # allowed between the spreads of two temperatures: one season tells too little of the others
RAIN_FACTORS = (0.2, 5.0)  # allowed between the mean rain of the file and that of the cube: beyond, a unit must be wrong
NOT_TOLD, OBSERVED, TWIN = "none", "observed", "twin"
GIVE_WEATHER = "Give none, observed, twin (the synthetic twin's weather service), or the path of a weather forecast file."


class Kind(NamedTuple):
    """What to call a kind of coming weather: in the audit, a run's name, its label, its forecaster, and in the studies."""

    audit: str
    run: str
    label: str
    forecaster: str
    training: str | None


KINDS = {NOT_TOLD: Kind("nothing", "", "", "", None),
         OBSERVED: Kind("observed weather (upper bound)", "-observed-weather-bound",
                        ", told the observed weather to come (upper bound)", "_observed_weather_bound",
                        "observed weather (bound)"),
         "file": Kind("weather forecast", "-with-forecast", ", told a weather forecast", "_with_forecast", "with forecast")}


def kind_of(setting: str) -> Kind:
    """The Kind of a setting coming_weather: "none", "observed", or (a path, "twin") a weather forecast."""
    return KINDS.get(setting, KINDS["file"])


def source_weather(setting: str) -> str:
    """What a pre-training is told where the target is told `setting`: nothing, or what was observed; it needs no archive."""
    return NOT_TOLD if setting == NOT_TOLD else OBSERVED


class ComingWeather(NamedTuple):
    """Where a record's coming weather is from.

    file : WeatherFile, or None: the cube's own days, observed.
    members : int, of the ensemble that a forecast is the mean of.
    trust : float32 [L], of the file's rain.
    temperature : float32 [2, H, W], factor and offset from the file's temperature to the cube's.
    place : int32 [T], position in `kept` of each day of the record; -1 = not kept.
    kept : float16 [n, M, K, 2, land cells], forecasts made on training days: rain, mm d-1; temperature, degrees C.
    """

    members: int = USUAL_MEMBERS
    file: WeatherFile | None = None
    trust: np.ndarray | None = None
    temperature: np.ndarray | None = None
    place: np.ndarray | None = None
    kept: np.ndarray | None = None


def open_coming_weather(setting: str, record: Record, splits: Splits, twin_domain: str | None = None) -> ComingWeather | None:
    """What the setting coming_weather names, for a record; what a file's archive tells is taken from its training days.

    Parameters
    ----------
    setting : str
        "none", "observed", "twin" (the synthetic twin's weather service), or the path of a weather forecast file.
    record : Record
        Not scaled yet.
    splits : Splits
    twin_domain : str, optional
        The twin's domain where the cube is the twin's.

    Returns
    -------
    ComingWeather, or None for "none"

    Raises
    ------
    UserError
        As `open_weather_file`; "twin" is asked for another cube; the file has no forecast for any test day, or other rain.
    """
    if setting == NOT_TOLD:
        return None
    if setting == OBSERVED:
        return ComingWeather()
    file = open_weather_file(weather_file_path(setting, twin_domain), record.lat, record.lon)
    return keep_archive(file, record, splits)


def weather_file_path(setting: str, twin_domain: str | None) -> Path:
    """Path of the weather forecast file that a setting names; "twin" is made where it does not exist."""
    if setting != TWIN:
        require_file(setting, f"coming_weather is {setting}", GIVE_WEATHER)
        return Path(setting).expanduser().absolute()
    if not twin_domain:
        raise UserError("coming_weather is twin, but the cube is not the synthetic twin: give the path of a weather forecast "
                        "file, or observed.")
    from data_processing.twin_service import weather_path  # slow to import, as all that makes the twin
    return weather_path(twin_domain)


def keep_archive(file: WeatherFile, record: Record, splits: Splits) -> ComingWeather:
    """Read the forecasts that were made on training and validation days, and see on the training days how good they are.

    Parameters
    ----------
    file : WeatherFile
    record : Record
    splits : Splits

    Returns
    -------
    ComingWeather
    """
    check_served(file, record, splits)
    days = np.flatnonzero(splits.history_days)
    wanted = days[np.isin(record.time[days], file.init_time)]
    cells = np.flatnonzero(record.land)
    members = slice(0, min(max(file.members, 1), TRAINING_MEMBERS))
    leads = min(len(file.lead_times), record.lead_times[-1])
    kept = np.empty((len(wanted), members.stop, leads, 2, len(cells)), np.float16)
    for start in progress_bar(range(0, len(wanted), BLOCK), desc="reading past forecasts", unit="block",
                              disable=len(wanted) == 0):
        block = read_weather(file, record.time[wanted[start:start + BLOCK]], members)[:, :, :leads]
        block[..., 1, :, :] -= 273.15
        kept[start:start + BLOCK] = block.reshape(*block.shape[:-2], -1)[..., cells]
    place = np.full(len(record.time), -1, np.int32)
    place[wanted] = np.arange(len(wanted))
    judged = splits.fit_days[wanted]
    trust, temperature = judge(file.path, kept[judged], wanted[judged], record, np.flatnonzero(splits.fit_days)[-1], cells)
    usual = "" if judged.sum() >= FEWEST_DAYS else f" (fewer than {FEWEST_DAYS} days tell too little: usual values)"
    print(f"coming weather: {file.path.name}, {len(wanted)} of {len(days)} training days, "
          f"{file.members or 'no'} members; trust by day{usual}: {', '.join(f'{value:.2f}' for value in trust)}", flush=True)
    return ComingWeather(max(file.members, 1), file, trust, temperature, place, kept)


def check_served(file: WeatherFile, record: Record, splits: Splits) -> None:
    """Refuse a file that serves no test day, and say how many days it serves."""
    counts = {}
    for name in ("validation", "test"):
        init_days = np.unique(getattr(splits, name)[:, None] - record.lead_times)
        counts[name] = np.isin(record.time[0] + init_days, file.init_time).sum(), len(init_days)
    if not counts["test"][0]:
        raise UserError(f"{file.path} has forecasts from {file.init_time[0]} to {file.init_time[-1]}, none of the days "
                        f"{record.time[splits.test[0]]} to {record.time[splits.test[-1]]} that are tested. Choose other test "
                        "days, or a file that serves them.")
    for name, (served, of) in counts.items():
        if served < of:
            what = ("; the others are forecast without" if name == "test"
                    else "; the errors there, which the spread is learned from, are those of mostly blind forecasts")
            print(f"warning: {file.path.name} serves {served} of {of} {name} init days{what}", flush=True)


def judge(path: Path, kept: np.ndarray, wanted: np.ndarray, record: Record, last: int,
          cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trust by lead time, float32 [L], and the way from a file's temperature to the cube's, float32 [2, H, W].

    kept : float16 [n, M, K, 2, cells], made on the days `wanted` (int [n]); days after `last` are not looked at.
    """
    trust, temperature = usual_judgement(record)
    trust[kept.shape[2]:] = 0.0
    spoken = np.isfinite(kept[:, :, 0, 0]).any(axis=(1, 2)) if len(kept) else np.zeros(0, bool)
    kept, wanted = kept[spoken], wanted[spoken]
    if len(wanted) < FEWEST_DAYS:
        return trust.astype(np.float32), temperature
    for lead in range(kept.shape[2]):
        known = wanted + lead + 1 <= last
        rain, observed_temperature = observed_values(record, wanted[known] + lead + 1, cells)
        forecast = kept[known, :, lead].astype(np.float32)  # [n, M, 2, cells]
        members = forecast.shape[1]
        forecast, rain = forecast.swapaxes(0, 1).reshape(-1, 2, len(cells)), np.tile(rain, (members, 1))
        trust[lead] = max(0.0, correlation(np.log1p(np.maximum(forecast[:, 0], 0.0)), np.log1p(rain)))
        if lead == 0:
            both = np.isfinite(forecast[:, 0]) & np.isfinite(rain)
            factor = forecast[:, 0][both].mean(dtype=np.float64) / max(rain[both].mean(dtype=np.float64), 1e-6)
            if not RAIN_FACTORS[0] <= factor <= RAIN_FACTORS[1]:
                raise UserError(f"{path}: rain one day ahead is {factor:.3g} times that of the cube on the training days. The "
                                "unit of one of them must be wrong: put the attributes right.")
            temperature.reshape(2, -1)[:, cells] = matched(forecast[:, 1] + 273.15, np.tile(observed_temperature, (members, 1)))
    return trust.astype(np.float32), temperature


def usual_judgement(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """What `judge` says where no archive tells: the usual trust, float64 [L], and the temperature as it is, float32 [2, H, W]."""
    trust = FIRST_TRUST * (LAST_TRUST / FIRST_TRUST) ** (np.arange(record.lead_times[-1]) / (TRUST_DAYS - 1))
    return trust, np.stack([np.ones(record.land.shape, np.float32), np.zeros(record.land.shape, np.float32)])


def what_files_tell(coming: ComingWeather | None) -> dict[str, np.ndarray] | None:
    """What a trained network has to know of a ComingWeather when it is told another file: dict of arrays; None without a file."""
    if coming is None or coming.file is None:
        return None
    return {"trust": coming.trust, "temperature": coming.temperature}


def newest_weather(path: Path, record: Record, known: dict[str, np.ndarray] | None) -> ComingWeather:
    """Coming weather for forecasts in real use: nothing is judged anew.

    Parameters
    ----------
    path : Path
        Of a weather forecast file.
    record : Record
    known : dict, or None
        From `what_files_tell` when the network was trained: how far the rain can be trusted, and the way from the file's
        temperature to the cube's. None, of a network that has learned with observed weather only: the usual trust, and the
        temperature as it is.

    Returns
    -------
    ComingWeather
    """
    file = open_weather_file(path, record.lat, record.lon)
    trust, temperature = usual_judgement(record) if known is None else (known["trust"], known["temperature"])
    return ComingWeather(max(file.members, 1), file, np.asarray(trust, np.float32), np.asarray(temperature, np.float32))


def matched(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Factor and offset, [2, cells], that give values [n, cells] the mean and spread of others; 1 and 0 where few tell."""
    both = np.isfinite(values) & np.isfinite(others)
    count = np.maximum(both.sum(axis=0), 1)
    moments = []
    for each in (values, others):
        mean = np.where(both, each, 0.0).sum(axis=0, dtype=np.float64) / count
        moments.append((mean, np.sqrt((np.where(both, each - mean, 0.0) ** 2).sum(axis=0) / count)))
    (mean, spread), (other_mean, other_spread) = moments
    factor = np.clip(other_spread / np.maximum(spread, 0.1), *TEMPERATURE_FACTORS)
    return np.where(both.sum(axis=0) >= FEWEST_DAYS, [factor, other_mean - factor * mean], [[1.0], [0.0]])


def correlation(values: np.ndarray, others: np.ndarray) -> float:
    """Correlation of the departures of two arrays [n, cells] from the means of their cells; NaN does not count."""
    both = np.isfinite(values) & np.isfinite(others)
    departures = []
    for each in (values, others):
        each = np.where(both, each, 0.0).astype(np.float64)
        departures.append(np.where(both, each - each.sum(axis=0) / np.maximum(both.sum(axis=0), 1), 0.0))
    one, other = departures
    return float((one * other).sum() / max(np.sqrt((one ** 2).sum() * (other ** 2).sum()), 1e-12))


# ------------------------------------------------------------------------------------------------- what is told
def observed_weather(record: Record, init_days: np.ndarray, cells: np.ndarray, last: int | None = None) -> np.ndarray:
    """The record's own weather after each init day: a perfect forecast, which nobody has.

    Parameters
    ----------
    record : Record
    init_days : int ndarray [n]
        May lie before the record.
    cells : int ndarray
    last : int, optional
        Last day that may be looked at, an index; default the record's last.

    Returns
    -------
    float32 [n, L, COMING_CHANNELS, cells]
    """
    rain, temperature = observed_values(record, coming_days(record, init_days), cells, last)
    return told(record, rain, temperature, np.float32(1.0), cells)


def forecast_weather(record: Record, init_days: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The forecasts of the record's weather file, all members.

    Returns
    -------
    float32 [M, n, L, COMING_CHANNELS, cells]
        NaN where a member tells nothing of a cell and others do: it is no member there.
    """
    coming = record.coming
    values = read_weather(coming.file, record.time[0] + np.asarray(init_days))
    values = values.reshape(*values.shape[:-2], -1)[..., cells]
    weather = from_file(record, np.swapaxes(values, 0, 1), cells)
    speaks = (weather[:, :, :, -2:] > 0).any(axis=(2, 3))  # [M, n, cells]
    silent = np.asarray(~speaks & speaks.any(axis=0))
    return np.where(silent[:, :, None, None], np.float32(np.nan), weather)


def own_weather(record: Record, init_days: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """What the record's coming weather tells: its file's members, or the observed weather; as `forecast_weather`."""
    if record.coming.file is None:
        return observed_weather(record, init_days, cells)[None]
    return forecast_weather(record, init_days, cells)


def kept_weather(record: Record, init_days: np.ndarray, cells: np.ndarray, members: int,
                 random: np.random.Generator) -> np.ndarray:
    """Some members, drawn at random, of forecasts that `keep_archive` keeps.

    Returns
    -------
    float32 [members, n, L, COMING_CHANNELS, cells]
        Fewer members where fewer tell anything of all these days; 0 for days without a forecast.
    """
    coming = record.coming
    inside = (init_days >= 0) & (init_days < len(record.time))
    place = np.where(inside, coming.place[np.clip(init_days, 0, len(record.time) - 1)], -1)
    on_land = np.full(record.land.size, -1)
    on_land[record.land.ravel()] = np.arange(np.count_nonzero(record.land))
    values = coming.kept[place][..., on_land[cells]].astype(np.float32).swapaxes(0, 1)  # [M, n, K, 2, cells]
    values[:, place < 0] = np.nan
    speaks = np.isfinite(values).any(axis=(2, 3, 4))
    of_all = np.flatnonzero(np.asarray(speaks | ~speaks.any(axis=0)).all(axis=1))
    values = values[random.permutation(of_all)[:members]]
    values[..., 1, :] += 273.15
    return from_file(record, values, cells)


def degraded_weather(record: Record, targets: np.ndarray, init_days: np.ndarray, cells: np.ndarray, members: int,
                     random: np.random.Generator) -> np.ndarray:
    """Made-up ensemble forecasts out of the record's own training days: right at first, more and more wrong later.

    A member follows the truth until, cell by cell, it departs for good for the weather of other days of the season. The share
    that has not departed is the correlation with the truth, and, since all members first follow one common forecast that departs
    likewise, that among the members: the truth is as one more member, as it should be.

    Parameters
    ----------
    record : Record
    targets : int ndarray, ascending
        Training targets: days after the last of them are not looked at.
    init_days : int ndarray [n]
    cells : int ndarray
    members : int
    random : numpy.random.Generator

    Returns
    -------
    float32 [members, n, L, COMING_CHANNELS, cells]
    """
    leads = np.arange(record.lead_times[-1])
    first, decay = random.uniform(*FIRST_SHARE, (len(init_days), 1)), random.uniform(*DECAY_DAYS, (len(init_days), 1))
    share = (first * np.exp(-leads / decay))[:, :, None]  # [n, L, 1]
    stay = np.sqrt(share) if members > 1 else share  # of two departures, or of one

    def departed(values):
        days = coming_days(record, days_of_season(record, targets, init_days, random))
        others = observed_values(record, days, cells, targets[-1])
        follows = random.random((len(init_days), 1, len(cells))) < stay
        return [np.where(follows, one, another) for one, another in zip(values, others)]

    truth = observed_values(record, coming_days(record, init_days), cells, targets[-1])
    common = departed(truth) if members > 1 else truth
    return np.stack([told(record, rain, temperature, share, cells)
                     for rain, temperature in (departed(common) for _ in range(members))])


def days_of_season(record: Record, targets: np.ndarray, init_days: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each init day another one of the same season out of the training days, int ndarray [n]."""
    latest = max(targets[-1] - record.lead_times[-1], targets[0])
    candidates = targets[targets <= latest]
    chosen = np.empty(len(init_days), int)
    for position, day in enumerate(init_days):
        apart = np.abs(candidates - day)
        of_year = (apart + 182) % 365 - 182
        alike = candidates[(np.abs(of_year) <= SEASON_DAYS) & (apart > NEAR_DAYS)]
        alike = alike if alike.size else candidates
        chosen[position] = alike[random.integers(alike.size)]
    return chosen


# --------------------------------------------------------------------------------------------------------- parts
def coming_days(record: Record, init_days: np.ndarray) -> np.ndarray:
    """Indices of the days after each init day, int [n, L]."""
    return np.asarray(init_days)[:, None] + np.arange(1, record.lead_times[-1] + 1)


def observed_values(record: Record, days: np.ndarray, cells: np.ndarray, last: int | None = None) -> list[np.ndarray]:
    """Observed rain, mm d-1, and temperature, K, of some days: two float32 [*days.shape, cells]; NaN where there is none."""
    before = record.input_days - 1
    last = len(record.time) - 1 if last is None else last
    inside = (days >= 0) & (days <= last)
    rows = before + np.where(inside, days, 0)
    found = []
    for channel in (PRECIPITATION, SOIL_TEMPERATURE):
        values, age = (array.reshape(*array.shape[:2], -1)[rows[..., None], channel, cells]
                       for array in (record.carried, record.age))
        found.append(np.where((age == 0) & inside[..., None], values, np.float32(np.nan)))
    return found


def from_file(record: Record, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Values of a file, float32 [M, n, K, 2, cells], in mm d-1 and K, as a network is told them."""
    days, length = record.lead_times[-1], min(values.shape[2], record.lead_times[-1])
    padded = np.full((*values.shape[:2], days, 2, values.shape[-1]), np.nan, np.float32)
    padded[:, :, :length] = values[:, :, :length]
    factor, offset = record.coming.temperature.reshape(2, -1)[:, cells]
    return told(record, padded[..., 0, :], padded[..., 1, :] * factor + offset, record.coming.trust[:, None], cells)


def told(record: Record, rain: np.ndarray, temperature: np.ndarray, trust: np.ndarray | np.floating,
         cells: np.ndarray) -> np.ndarray:
    """Channels [..., COMING_CHANNELS, cells] of rain, mm d-1, and temperature, K, [..., cells], and the trust in them."""
    def pair(channel):
        return (values[channel].ravel()[cells] if record.scaler.kind == "cell" else values[channel]
                for values in (record.scaler.mean, record.scaler.spread))

    def channels_of(name, *scaled):
        known = np.isfinite(scaled[0]) & (name not in record.hidden)
        return [np.where(known, values, 0.0) for values in scaled], np.where(known, trust, 0.0)

    rain = np.maximum(rain, 0.0)
    (mean, spread), (_, soil_spread), (warmth, warmth_spread) = map(pair, (PRECIPITATION, SOIL_MOISTURE, SOIL_TEMPERATURE))
    rains, of_rain = channels_of("precipitation", (np.log1p(rain) - mean) / spread, np.log1p(rain / (SOIL_DEPTH * soil_spread)))
    temperatures, of_temperature = channels_of("soil_temperature", (temperature - warmth) / warmth_spread)
    return np.stack((*rains, *temperatures, of_rain, of_temperature), axis=-2).astype(np.float32)
