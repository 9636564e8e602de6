"""Statistics of rain, temperature and soil moisture that tell whether the twin looks like weather and soil.

Each is measured on a daily cube, real or synthetic, in the same way. Soil moisture may have gaps.
"""

from typing import NamedTuple

import numpy as np

from data_processing.cube import VARIABLES

EARTH_RADIUS_KM = 6371.0
PERCENTILES = (5, 25, 50, 75, 95)
DISTANCES_KM = (150, 300, 450, 600, 900, 1200)
WEST_TO_EAST_KM = (-1200, -900, -600, -300, 0, 300, 600)
WETNESS_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
RAIN_CLASSES_MM = ((0, 0.5), (1, 3), (3, 6), (6, 12), (12, 25), (25, 60))
MEMORY_DAYS = (1, 2, 3, 5, 7, 10, 15)
WET_DAY_MM = 1.0
WARM_KELVIN = 278.0


class Record(NamedTuple):
    """A cube's land cells in a row.

    time : datetime64[D] [T]. lat, lon : degrees [cells].
    precipitation (mm d-1), soil_moisture (m3 m-3), soil_temperature (K) : float64 [T, cells], NaN = missing.
    """

    time: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    precipitation: np.ndarray
    soil_moisture: np.ndarray
    soil_temperature: np.ndarray


def land_record(values, time, lat, lon, every=1):
    """Land cells of a cube.

    Parameters
    ----------
    values : float32 [T, 3, H, W]
    time, lat, lon : coordinates of the cube.
    every : int
        Take every n-th row and column only.

    Returns
    -------
    Record
    """
    values = values[:, :, ::every, ::every]
    moisture = values[:, VARIABLES.index("soil_moisture")]
    row, column = np.nonzero(np.isfinite(moisture).any(axis=0))
    fields = {name: values[:, VARIABLES.index(name)][:, row, column].astype(float) for name in VARIABLES}
    return Record(np.asarray(time, "datetime64[D]"), lat[::every][row], lon[::every][column], **fields)


def all_rows(record):
    """Every statistic of the yardstick: dict of name -> float64 array."""
    return {**rain_rows(record), **temperature_rows(record), **moisture_rows(record)}


def rain_rows(record):
    """Statistics of rain; amounts and wet days are those of whole years, of the first day on."""
    years = max(len(record.time) // 365, 1)
    rain = record.precipitation[: years * 365]
    wet = rain > WET_DAY_MM
    wet_rain = np.where(wet, rain, np.nan)
    all_wet = record.precipitation > WET_DAY_MM
    after_wet = (all_wet[1:] & all_wet[:-1]).sum(0) / all_wet[:-1].sum(0)
    after_dry = (all_wet[1:] & ~all_wet[:-1]).sum(0) / (~all_wet[:-1]).sum(0)
    root = np.sqrt(record.precipitation)
    whole = len(root) // 5 * 5
    five_days = np.sqrt(record.precipitation[:whole].reshape(-1, 5, root.shape[1]).mean(axis=1))
    return {
        "rain, mm a year": _percentiles(rain.mean(axis=0) * 365.25),
        "share of days > 1 mm": _percentiles(wet.mean(axis=0)),
        "mean of days > 1 mm": _percentiles(np.nanmean(wet_rain, axis=0)),
        "95th percentile of days > 1 mm": _percentiles(np.nanpercentile(wet_rain, 95, axis=0)),
        "P(wet after wet)": _percentiles(after_wet),
        "P(wet after dry)": _percentiles(after_dry),
        "rain correlation by distance": correlation_by_distance(root, record, DISTANCES_KM),
        "the same of 5-day means": correlation_by_distance(five_days, record, DISTANCES_KM),
        "correlation with yesterday's rain, west to east": travel(root, record),
    }


def temperature_rows(record):
    """Statistics of temperature: departures from the season, and the season."""
    departures, season, _ = without_season(record.soil_temperature, record.time)
    lag = (departures[1:] * departures[:-1]).mean(axis=0) / departures.var(axis=0)
    return {
        "temperature, sd of departures": _percentiles(departures.std(axis=0)),
        "temperature, lag-1 correlation": _percentiles(lag),
        "temperature correlation by distance": correlation_by_distance(departures, record, DISTANCES_KM),
        "temperature, half range of the season": _percentiles((season.max(axis=0) - season.min(axis=0)) / 2),
    }


def moisture_rows(record):
    """Statistics of soil moisture."""
    moisture = record.soil_moisture
    departures, _, share = without_season(moisture, record.time)
    change, spread = rain_changes(record)
    return {
        "soil moisture, sd over space of the mean": np.array([np.nanstd(np.nanmean(moisture, axis=0))]),
        "soil moisture, sd over time": _percentiles(np.nanstd(moisture, axis=0)),
        "autocorrelation without season": _autocorrelations(departures),
        "share of variance that is season": _percentiles(share),
        "soil moisture correlation by distance": correlation_by_distance(
            departures, record, DISTANCES_KM[:4]
        ),
        "dry-down e-folding, days": _percentiles(dry_down_days(record)),
        "change per dry day by wetness": dry_changes(record),
        "change by rain": change,
        "spread of change by rain": spread,
    }


def _percentiles(values):
    return np.nanpercentile(values, PERCENTILES)


def without_season(values, time, harmonics=2):
    """Departures from a cell's mean and season.

    Parameters
    ----------
    values : float64 [T, cells], NaN = missing.
    time : datetime64[D] [T]
    harmonics : int, number of yearly harmonics fitted by least squares.

    Returns
    -------
    departures : float64 [T, cells]. season : float64 [T, cells]. share : float64 [cells], of the variance.
        NaN where a cell has fewer than 30 values.
    """
    angle = 2 * np.pi * (time - time[0]).astype(float) / 365.25
    waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
    basis = np.column_stack([np.ones(len(time)), *waves])
    seen = np.isfinite(values)
    normal = np.einsum("tc,ti,tj->cij", seen.astype(float), basis, basis, optimize=True)
    right = np.where(seen, values, 0).T @ basis
    few = seen.sum(axis=0) < 30
    normal[few], right[few] = np.eye(basis.shape[1]), np.nan
    season = basis @ np.linalg.solve(normal, right[..., None])[..., 0].T
    seen_season = np.where(seen, season, np.nan)
    share = np.full(values.shape[1], np.nan)
    variance = np.nanvar(values[:, ~few], axis=0)
    share[~few] = np.nanvar(seen_season[:, ~few], axis=0) / np.where(variance > 0, variance, np.nan)
    return values - season, season, share


def distances_km(record):
    """Great-circle distances, float64 [cells, cells]."""
    lat, lon = np.radians(record.lat), np.radians(record.lon)
    half_chord = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half_chord))


def _correlations(values, fewest=40):
    """Correlation of every pair of cells over the days both are seen, float64 [cells, cells]."""
    centred = values - np.nanmean(values, axis=0)
    seen = np.isfinite(centred).astype(np.float32)
    filled = np.where(seen, centred, 0).astype(np.float32)
    if seen.all():
        scaled = filled / np.linalg.norm(filled, axis=0)
        return scaled.T @ scaled
    count, total, square = seen.T @ seen, filled.T @ seen, (filled**2).T @ seen
    with np.errstate(all="ignore"):
        mean = total / count
        variance = square / count - mean**2
        correlation = (filled.T @ filled / count - mean * mean.T) / np.sqrt(variance * variance.T)
    correlation[count < fewest] = np.nan
    return correlation


def correlation_by_distance(values, record, distances, half_width=75.0):
    """Mean correlation of pairs of cells by distance (+- half_width km), float64 [distances]."""
    apart = distances_km(record)
    correlation = _correlations(values)
    np.fill_diagonal(apart, np.nan)
    rings = [np.abs(apart - distance) < half_width for distance in distances]
    return np.array([np.nanmean(correlation[ring]) for ring in rings])


def travel(values, record, half_width=150.0):
    """Mean correlation of today's values with yesterday's to the west (< 0) or east, float64 [7]."""
    today, yesterday = values[1:] - values[1:].mean(axis=0), values[:-1] - values[:-1].mean(axis=0)
    today, yesterday = today / np.linalg.norm(today, axis=0), yesterday / np.linalg.norm(yesterday, axis=0)
    correlation = today.T @ yesterday
    lat = np.radians(record.lat)
    north = np.degrees(lat[None] - lat[:, None]) * 111.2
    east = (record.lon[None] - record.lon[:, None]) * 111.2 * np.cos((lat[None] + lat[:, None]) / 2)
    near_row = np.abs(north) < half_width
    return np.array(
        [correlation[near_row & (np.abs(east - offset) < half_width)].mean() for offset in WEST_TO_EAST_KM]
    )


def _autocorrelations(departures):
    return np.array([_autocorrelation(departures, days) for days in MEMORY_DAYS])


def _autocorrelation(departures, days):
    """Median over cells of the correlation with `days` before, over the days both are seen."""
    late, early = departures[days:], departures[:-days]
    both = np.isfinite(late) & np.isfinite(early)
    enough = both.sum(axis=0) > 20
    late, early = np.where(both, late, np.nan)[:, enough], np.where(both, early, np.nan)[:, enough]
    late, early = late - np.nanmean(late, axis=0), early - np.nanmean(early, axis=0)
    covariance = np.nanmean(late * early, axis=0)
    return np.median(covariance / np.sqrt(np.nanmean(late**2, axis=0) * np.nanmean(early**2, axis=0)))


def dry_down_days(record, start_mm=5.0, dry_mm=0.5, longest=15, fewest=3):
    """E-folding times of dry-downs towards the cell's floor (2nd percentile), in days, one per dry-down.

    A dry-down begins the day after more than `start_mm` of rain and ends before the next day with `dry_mm`;
    log(soil moisture - floor) is fitted by a line; those that do not fall are left out.
    """
    floors = np.nanpercentile(record.soil_moisture, 2, axis=0)
    found = []
    for rain, moisture, floor in zip(record.precipitation.T, record.soil_moisture.T, floors):
        usable = np.isfinite(moisture) & (moisture > floor + 0.005)
        wet = np.append(np.nonzero(rain >= dry_mm)[0], len(rain))
        for place in np.nonzero(rain[wet[:-1]] > start_mm)[0]:
            first, last = wet[place] + 1, min(wet[place + 1], wet[place] + longest + 1)
            if last - first < fewest:
                continue
            days = first + np.nonzero(usable[first:last])[0]
            if len(days) >= fewest:
                logarithm, offset = np.log(moisture[days] - floor), days - days.mean()
                slope = (offset * logarithm).sum() / (offset**2).sum()
                if slope < 0:
                    found.append(-1 / slope)
    return np.array(found)


def _changes(record, gaps=(1, 2, 3)):
    """Changes between two observations: for each gap (gap, change, rain between, usable, first value).

    The rain is that of the first day up to the day before the last: the satellite passes in the morning.
    """
    moisture, temperature = record.soil_moisture, record.soil_temperature
    total = np.concatenate([np.zeros((1, moisture.shape[1])), np.cumsum(record.precipitation, axis=0)])
    for gap in gaps:
        change = moisture[gap:] - moisture[:-gap]
        rain = total[gap : len(moisture)] - total[: len(moisture) - gap]
        warm = np.minimum(temperature[gap:], temperature[:-gap]) > WARM_KELVIN
        yield gap, change, rain, warm & np.isfinite(change), moisture[:-gap]


def dry_changes(record):
    """Mean change per dry and warm day by wetness (5th to 95th percentile of the cell), float64 [5]."""
    low, high = np.nanpercentile(record.soil_moisture, [5, 95], axis=0)
    span = np.where(high > low, high - low, np.nan)
    classes = [[] for _ in WETNESS_EDGES[:-1]]
    for gap, change, rain, usable, first in _changes(record):
        wetness = (first - low) / span
        dry = usable & (rain < 0.1)
        for chosen, lower, upper in zip(classes, WETNESS_EDGES[:-1], WETNESS_EDGES[1:]):
            chosen.append(change[dry & (wetness >= lower) & (wetness < upper)] / gap)
    return np.array([np.concatenate(chosen).mean() for chosen in classes])


def rain_changes(record):
    """Mean and spread of the change over 1-3 days by the rain between, warm days, float64 [6] each."""
    classes = [[] for _ in RAIN_CLASSES_MM]
    for _, change, rain, usable, _ in _changes(record):
        for chosen, (lower, upper) in zip(classes, RAIN_CLASSES_MM):
            chosen.append(change[usable & (rain >= lower) & (rain < upper)])
    together = [np.concatenate(chosen) for chosen in classes]
    return np.array([each.mean() for each in together]), np.array([each.std() for each in together])


def persistence_r2(record, lead_time):
    """1 - MSE / variance of persistence, pooled over all cells and days."""
    observed, forecast = record.soil_moisture[lead_time:], record.soil_moisture[:-lead_time]
    both = np.isfinite(observed) & np.isfinite(forecast)
    return 1 - np.mean((observed[both] - forecast[both]) ** 2) / np.var(observed[both])


REALITY = {
    "rain, mm a year": (220, 393, 652, 1140, 1633),
    "share of days > 1 mm": (0.11, 0.18, 0.24, 0.31, 0.40),
    "mean of days > 1 mm": (3.7, 5.3, 7.5, 10.9, 14.4),
    "95th percentile of days > 1 mm": (9, 15, 23, 34, 50),
    "P(wet after wet)": (0.35, 0.42, 0.48, 0.54, 0.64),
    "P(wet after dry)": (0.06, 0.13, 0.17, 0.24, 0.29),
    "rain correlation by distance": (0.65, 0.47, 0.34, 0.24, 0.11, 0.03),
    "the same of 5-day means": (0.72, 0.57, 0.45, 0.35, 0.19, 0.08),
    "correlation with yesterday's rain, west to east": (0.11, 0.18, 0.26, 0.34, 0.34, 0.18, 0.06),
    "temperature, sd of departures": (2.5, None, None, None, 4.3),
    "temperature, lag-1 correlation": (0.66, None, None, None, 0.83),
    "temperature correlation by distance": (0.93, 0.86, 0.77, 0.67, 0.48, 0.31),
    "temperature, half range of the season": (10, None, None, None, 20),
    "soil moisture, sd over space of the mean": (0.11,),
    "soil moisture, sd over time": (0.029, 0.046, 0.055, 0.066, 0.091),
    "autocorrelation without season": (0.69, 0.53, 0.38, 0.24, 0.18, 0.09, 0.06),
    "share of variance that is season": (0.04, 0.13, 0.22, 0.41, 0.64),
    "soil moisture correlation by distance": (0.58, 0.43, 0.31, 0.22),
    "dry-down e-folding, days": (2.6, 4.9, 8.0, 14.6, 50),
    "change per dry day by wetness": (-0.0004, -0.0062, -0.0105, -0.0146, -0.0205),
    "change by rain": (-0.010, -0.001, 0.005, 0.011, 0.020, 0.032),
    "spread of change by rain": (0.035, None, None, None, None, 0.074),
}
"""Measured on SMAP L3 soil moisture and NLDAS-2 weather over the contiguous USA, 2015-04..2016-09."""


def table(rows):
    """Text of statistics beside `REALITY`; `rows` is a dict of column title -> result of :func:`all_rows`."""
    def text(values):
        return ", ".join("-" if value is None else f"{value:.3g}" for value in values)

    lines = []
    for name, yardstick in REALITY.items():
        lines.append(name)
        lines.append(f"    {'reality':10} {text(yardstick)}")
        lines += [f"    {title:10} {text(columns[name])}" for title, columns in rows.items()]
    return "\n".join(lines)
