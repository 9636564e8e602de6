"""Where and when forecasts are good: by season, wetness and region, frozen ground apart; events; loss of detail.

Shapes: N target days, L lead times, H latitudes, W longitudes. Soil moisture in m3 m-3; NaN missing.
Large arrays may be mapped from files (`data_processing.arrays`): they are read in blocks of days or of rows.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy
import xarray as xr

from data_processing.arrays import blocks, in_turn, pieces, read_rows, scratch_array
from data_processing.errors import UserError
from data_processing.files import check_netcdf, unreadable, write_csv
from utils.evaluation import MINIMUM_CELL_VALUES, MINIMUM_VALUES, cell_moments, pooled_scores

if TYPE_CHECKING:
    from data_processing.arrays import Observed
    from utils.captions import Data
    from utils.runs import Run

SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
WETNESS_CLASSES = ("dry third", "middle third", "wet third")
FREEZING_POINT = 273.15  # K
MORE_EXPLAINED = 0.2  # of the variance that the reference leaves unexplained; of its R2
LEAST_R2 = 0.1  # of the reference: a fifth of less is within the noise
EVENTS = {"dry": 10, "wet": 90}  # percentile of the cell's own history
NARROWEST_SPECTRUM = 4  # cells
FEWEST_HISTORY_VALUES = 20  # for a percentile of its own
REGION_COLUMNS = ("forecaster", "lead_time", "region", "n", "mse", "rmse", "r2", "skill_damped_persistence", "cells",
                  "cells_improved", "cells_explaining_more", "cells_r2_up_20_percent", "coverage_90")
EVENT_COLUMNS = ("forecaster", "lead_time", "event", "observed", "forecast", "hits", "misses", "false_alarms", "hit_rate",
                 "false_alarm_ratio", "brier_score", "brier_skill")


def read_regions(regions: Sequence[str], lat: np.ndarray, lon: np.ndarray) -> dict[str, np.ndarray]:
    """Regions to score apart.

    Parameters
    ----------
    regions : sequence of str
        Boxes "name:south,north,west,east" in degrees, or paths of NetCDF files on the same cells, of which every variable
        (lat, lon) is a region where it is not 0.
    lat, lon : float [H], [W]
        Degrees.

    Returns
    -------
    dict name -> bool [H, W]

    Raises
    ------
    UserError
        A box that is none, or another grid.
    """
    found = {}
    for region in regions:
        if region.endswith(".nc"):
            found |= read_masks(region, lat, lon)
            continue
        try:
            name, box = region.split(":")
            south, north, west, east = map(float, box.split(","))
        except ValueError:
            raise UserError(f"region is {region!r}; it must be name:south,north,west,east in degrees, or a NetCDF file.") from None
        if south > north:
            raise UserError(f"region is {region!r}: its south, {south:g}, lies north of its north, {north:g}. Give "
                            "name:south,north,west,east in degrees.")
        columns = (lon - west) % 360 <= (east - west) % 360
        found[name] = ((lat >= south) & (lat <= north))[:, None] & columns
        if not found[name].any():
            raise UserError(f"region {region!r} holds no cell centre of the cube, which reaches from {lat[0]:.2f} to {lat[-1]:.2f} N, "
                            f"{lon[0]:.2f} to {lon[-1]:.2f} E; give name:south,north,west,east in degrees.")
    return found


def read_masks(path: str | Path, lat: np.ndarray, lon: np.ndarray) -> dict[str, np.ndarray]:
    """The masks of a NetCDF file: dict name -> bool [H, W]."""
    check_netcdf(path)
    try:
        with xr.open_dataset(path) as dataset:
            dataset.load()
    except Exception as error:  # whatever the library raises for a file that is not its own
        raise unreadable(path, error) from None
    if not dataset.data_vars:
        raise UserError(f"{path} holds no mask; give variables (lat, lon) that are not 0 where a region is.")
    found = {str(name): mask_on_cells(values, lat, lon, f"{path}: {name}") for name, values in dataset.data_vars.items()}
    empty = [name for name, mask in found.items() if not mask.any()]
    if empty:
        raise UserError(f"{path}: {', '.join(empty)} is 0 or missing in every cell; a mask is not 0 where its region is.")
    return found


def mask_on_cells(values: xr.DataArray, lat: np.ndarray, lon: np.ndarray, what: str) -> np.ndarray:
    """Mask bool [H, W] of a DataArray (lat, lon), its rows and columns put in the order of the cells by their coordinates."""
    rows, columns = (nearest(values[axis].values if axis in values.coords else np.empty(0), wanted, period)
                     for axis, wanted, period in (("lat", lat, None), ("lon", lon, 360.0)))
    if set(values.dims) != {"lat", "lon"} or values.dtype.kind not in "iufb" or rows is None or columns is None:
        raise UserError(f"{what} has {dict(values.sizes)}; give the mask (lat, lon) on the cube's {len(lat)} x {len(lon)} cells, "
                        f"{lat[0]:.2f} to {lat[-1]:.2f} N, {lon[0]:.2f} to {lon[-1]:.2f} E.")
    return np.nan_to_num(values.transpose("lat", "lon").values[np.ix_(rows, columns)]) != 0


def nearest(found: np.ndarray, wanted: np.ndarray, period: float | None = None) -> np.ndarray | None:
    """Index of each wanted coordinate among those found, degrees; None where one of them is missing."""
    if not found.size or found.dtype.kind not in "iuf":
        return None
    distance = np.abs(found[None] - wanted[:, None])
    if period:
        distance = np.minimum(distance % period, -distance % period)
    return distance.argmin(axis=1) if (distance.min(axis=1) < 1e-3).all() else None


def parts_of_the_record(valid_time: np.ndarray, temperature: np.ndarray, history_mean: np.ndarray, land: np.ndarray,
                        regions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is scored apart: dict name -> bool that broadcasts to [N, L, H, W].

    Parameters
    ----------
    valid_time : datetime64 [N]
    temperature : float [N, H, W]
        K, on the target days.
    history_mean : float [H, W]
        m3 m-3, of the days to learn from.
    land : bool [H, W]
    regions : dict name -> bool [H, W]
    """
    month = valid_time.astype("datetime64[M]").astype(int) % 12 + 1
    not_frozen = scratch_array(temperature.shape, bool)
    for days in pieces(temperature, not_frozen):
        not_frozen[days] = temperature[days] > FREEZING_POINT
    parts = {"all": np.ones((1, 1, 1, 1), bool), "not frozen": not_frozen[:, None]}
    parts |= {season: np.isin(month, months)[:, None, None, None] for season, months in SEASONS.items()}
    limits = np.quantile(history_mean[land], [1 / 3, 2 / 3])
    thirds = np.digitize(history_mean, limits)
    parts |= {name: (thirds == number)[None, None] for number, name in enumerate(WETNESS_CLASSES)}
    return parts | {name: inside[None, None] for name, inside in regions.items()}


def region_rows(*, observed: np.ndarray, forecasts: dict[str, np.ndarray], parts: dict[str, np.ndarray],
                lead_times: Sequence[int], land: np.ndarray, reference: str = "damped_persistence") -> list[dict]:
    """Rows of `regions.csv`: scores of every forecaster on each part.

    Parameters
    ----------
    observed : float32 [N, L, H, W]
    forecasts : dict name -> float32 [N, L, H, W]
        The reference among them.
    parts : dict name -> bool
        From `parts_of_the_record`.
    lead_times : sequence of int
    land : bool [H, W]
    reference : str
        Whom the others are compared with.

    Returns
    -------
    list of dict
        With the keys REGION_COLUMNS, the skill under the name of the reference. `cells_improved` = share of the cells whose
        MSE is below the reference's;
        `cells_explaining_more` = share of the cells whose R2 exceeds the reference's by more than 20 % of the variance that
        the reference leaves unexplained, R2 > R2_reference + 0.2 (1 - R2_reference); `cells_r2_up_20_percent` = share with
        R2 > 1.2 R2_reference of the cells where R2_reference is at least LEAST_R2. All count cells with enough values.
    """
    rows = {part: [] for part in parts}
    for lead, lead_time in enumerate(lead_times):
        def moments_of(part, lead=lead):
            return {name: cell_moments(observed[:, lead], forecast[:, lead], land, part=part)
                    for name, forecast in forecasts.items()}

        of_all_days = moments_of(True)
        for part, inside in parts.items():
            inside = inside[:, lead if inside.shape[1] > 1 else 0]
            if len(inside) == 1:  # the same cells on all days
                moments = {name: {key: np.where(inside[0], values, 0.0) for key, values in own.items()}
                           for name, own in of_all_days.items()}
            else:
                moments = moments_of(inside)
            rows[part] += _region_rows(moments, part, lead_time, reference)
    return [row for of_part in rows.values() for row in of_part]


def _region_rows(moments, part, lead_time, reference):
    """Rows of one part and lead time from the `cell_moments` of each forecaster; none where nothing is observed."""
    error_to_beat = moments[reference]["squared_error"]
    n = int(moments[reference]["n"].sum())
    enough = moments[reference]["n"] >= MINIMUM_CELL_VALUES
    r2_to_beat = cell_r2(moments[reference], enough)
    rows = []
    for name, own in moments.items() if n else ():
        error = own["squared_error"]
        scores = pooled_scores(own)
        r2 = cell_r2(own, enough)
        rows.append({
            "forecaster": name, "lead_time": lead_time, "region": part, "n": n, "mse": scores["mse"], "rmse": scores["rmse"],
            "r2": scores["r2"],
            f"skill_{reference}": 1 - _ratio_of(error.sum(), error_to_beat.sum(), n),
            "cells": int(enough.sum()), "cells_improved": _share(error[enough] < error_to_beat[enough]),
            "cells_explaining_more": _share(error[enough] < (1 - MORE_EXPLAINED) * error_to_beat[enough]),
            "cells_r2_up_20_percent": _share((r2 > (1 + MORE_EXPLAINED) * r2_to_beat)[r2_to_beat >= LEAST_R2])})
    return rows


def part_coverage(observed: np.ndarray, ends: np.ndarray, parts: dict[str, np.ndarray], land: np.ndarray) -> dict[str, np.ndarray]:
    """Share of the observations of each part that lie in their interval.

    Parameters
    ----------
    observed : float32 [N, L, H, W]
    ends : float32 [2, N, L, H, W]
        Of the interval, m3 m-3.
    parts : dict name -> bool
        From `parts_of_the_record`.
    land : bool [H, W]

    Returns
    -------
    dict name -> float [L]
        0..1; NaN = of fewer than MINIMUM_VALUES values.
    """
    lower, upper = ends
    counts = {name: np.zeros((2, observed.shape[1]), int) for name in parts}
    for day in in_turn(observed, lower, upper):
        known = np.isfinite(observed[day]) & land
        held = known & (lower[day] <= observed[day]) & (observed[day] <= upper[day])
        for name, part in parts.items():
            inside = part[day if len(part) > 1 else 0]
            counts[name] += np.count_nonzero(held & inside, axis=(1, 2)), np.count_nonzero(known & inside, axis=(1, 2))
    return {name: np.array([_ratio_of(held, known) for held, known in count.T]) for name, count in counts.items()}


def event_limits(history: Observed, days: np.ndarray, land: np.ndarray) -> dict[str, np.ndarray]:
    """Soil moisture below or above which an event begins: the percentiles EVENTS of each cell's own history.

    Parameters
    ----------
    history : float32 [T, H, W]
        Observations, an array or a `data_processing.arrays.Observed`.
    days : bool [T]
        To take the percentiles from: the days to learn from.
    land : bool [H, W]

    Returns
    -------
    dict event -> float32 [H, W]
        m3 m-3; NaN at sea and in cells with fewer than FEWEST_HISTORY_VALUES values.
    """
    limits = {event: np.full(land.shape, np.nan, np.float32) for event in EVENTS}
    days = np.flatnonzero(days)
    for rows in blocks(len(land), len(days) * land.shape[1]):  # of few large bands each day is read seldom
        band = read_rows(history, days, rows)
        for row in range(rows.start, rows.stop):
            values = band[:, row - rows.start]
            count = np.isfinite(values).sum(axis=0)
            enough, complete = land[row] & (count >= FEWEST_HISTORY_VALUES), count == len(days)
            for cells, percentile in ((enough & complete, np.percentile), (enough & ~complete, np.nanpercentile)):  # slower
                if cells.any():
                    found = percentile(values[:, cells], list(EVENTS.values()), axis=0)
                    for event, of_event in zip(EVENTS, found):
                        limits[event][row, cells] = of_event
    return limits


def event_rows(*, observed: np.ndarray, forecasts: dict[str, np.ndarray], limits: dict[str, np.ndarray],
               lead_times: Sequence[int], spread: np.ndarray | None = None) -> list[dict]:
    """Rows of `events.csv`: how well days below the 10th and above the 90th percentile of the cell's history are forecast.

    Parameters
    ----------
    observed : float32 [N, L, H, W]
    forecasts : dict name -> float32 [N, L, H, W]
    limits : dict event -> float32 [H, W]
        From `event_limits`; cells where it is NaN are not scored.
    lead_times : sequence of int
    spread : float32 [N, L, H, W], optional
        Of the first forecaster, m3 m-3: its probability is then that of a normal distribution about the forecast; else, and
        for all others, it is 0 or 1.

    Returns
    -------
    list of dict
        With the keys EVENT_COLUMNS. brier_skill is against the constant probability 0.1. NaN = of fewer than MINIMUM_VALUES
        values or events.
    """
    rows = []
    for lead, lead_time in enumerate(lead_times):
        for event, limit in limits.items():
            for number, (name, forecast) in enumerate(forecasts.items()):
                sure = spread[:, lead] if number == 0 and spread is not None else None
                counts = _event_counts(observed[:, lead], forecast[:, lead], sure, limit, event)
                n, seen, told, hits, brier, constant = counts
                if not n:
                    continue
                rows.append({"forecaster": name, "lead_time": lead_time, "event": event, "observed": int(seen),
                             "forecast": int(told), "hits": int(hits), "misses": int(seen - hits),
                             "false_alarms": int(told - hits), "hit_rate": _ratio_of(hits, seen),
                             "false_alarm_ratio": _ratio_of(told - hits, told),
                             "brier_score": _ratio_of(brier, n, n), "brier_skill": 1 - _ratio_of(brier, constant, n)})
    return rows


def _event_counts(observed, forecast, spread, limit, event):
    """Numbers of values, of events seen, told, and both; sums of the Brier scores of the forecast and of a constant 0.1."""
    def happens(values):
        return values < limit if event == "dry" else values > limit

    counts = np.zeros(6)
    for days in pieces(observed, forecast, *([] if spread is None else [spread])):
        scored = np.isfinite(observed[days]) & np.isfinite(limit)
        seen, told = happens(observed[days])[scored], happens(forecast[days])[scored]
        chance = told.astype(np.float64)
        if spread is not None:
            below = scipy.special.ndtr(((limit - forecast[days]) / spread[days])[scored].astype(np.float64))
            chance = below if event == "dry" else 1 - below
        counts += (scored.sum(), seen.sum(), told.sum(), (seen & told).sum(), ((chance - seen) ** 2).sum(),
                   ((0.1 - seen) ** 2).sum())
    return counts


def power_spectrum(maps: Iterable[np.ndarray], land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of maps by wavelength: forecasts that lose detail have less at short ones than observations.

    Parameters
    ----------
    maps : iterable of float [H, W]
        Departures from each cell's mean, m3 m-3; NaN counts as 0, so that only maps with the same gaps can be compared.
    land : bool [H, W]

    Returns
    -------
    wavelength : float64 [K]
        In cells, from long to short.
    power : float64 [K]
        (m3 m-3)^2 per square of the wavenumber in cycles per cell, mean over days and the ring of each wavenumber.
    """
    height, width = land.shape
    taper = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    wave = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    size = min(height, width)
    ring = np.round(wave * size).astype(int)
    total, count = np.zeros(wave.shape), 0
    for day in maps:
        count += 1
        total += np.abs(np.fft.fft2(np.where(land & np.isfinite(day), day, 0.0) * taper)) ** 2
    rings = np.arange(1, size // 2 + 1)
    power = np.array([total[ring == number].mean() for number in rings]) / (count * height * width)
    return size / rings, power


def spectrum_rows(*, observed: np.ndarray, forecasts: dict[str, np.ndarray], lead_times: Sequence[int],
                  land: np.ndarray) -> list[dict]:
    """Rows of `spectrum.csv`: power of each forecaster and of the observation by wavelength, on the same cells and days."""
    rows = []
    if min(land.shape) < NARROWEST_SPECTRUM:
        return rows
    for lead, lead_time in enumerate(lead_times):
        for name, values in {"observed": observed, **forecasts}.items():
            wavelength, power = power_spectrum(_departures(observed[:, lead], values[:, lead], land), land)
            rows += [{"forecaster": name, "lead_time": lead_time, "wavelength": length, "power": value}
                     for length, value in zip(wavelength, power)]
    return rows


def _departures(observed, values, land):
    """Yield the departures of each day of values [N, H, W] from the mean of their cell; NaN where nothing is observed."""
    def shown():
        for day in in_turn(observed, values):
            yield np.where(np.isnan(observed[day]) | ~land, np.nan, values[day])

    total, count = np.zeros(land.shape, np.float32), np.zeros(land.shape, int)
    for day in shown():
        total += np.nan_to_num(day)
        count += np.isfinite(day)
    mean = total / np.maximum(count, 1)
    for day in shown():
        yield day - mean


def write_where_it_helps(run: Run, *, observed: np.ndarray, forecasts: dict[str, np.ndarray], parts: dict[str, np.ndarray],
                         limits: dict[str, np.ndarray], lead_times: Sequence[int], land: np.ndarray, cell_km: float, title: str,
                         spread: np.ndarray, ends: np.ndarray, data: Data | None = None) -> None:
    """Write regions.csv, events.csv, spectrum.csv of a run and draw regions.png, events.png, spectrum.png.

    Spread and ends of the interval are those of the first forecaster; `cell_km` is the mean width of a cell.
    """
    from utils.draw_regions import draw_events, draw_regions, draw_spectrum

    regions = region_rows(observed=observed, forecasts=forecasts, parts=parts, lead_times=lead_times, land=land)
    events = event_rows(observed=observed, forecasts=forecasts, limits=limits, lead_times=lead_times, spread=spread)
    model = next(iter(forecasts))
    coverage = part_coverage(observed, ends, parts, land)
    for row in regions:
        row["coverage_90"] = coverage[row["region"]][list(lead_times).index(row["lead_time"])] if row["forecaster"] == model else None
    detail = spectrum_rows(observed=observed, lead_times=lead_times, land=land,
                           forecasts={name: forecasts[name] for name in (model, "damped_persistence")})
    for row in detail:
        row["wavelength_km"] = row["wavelength"] * cell_km
    write_csv(run.path("regions.csv"), REGION_COLUMNS, regions)
    write_csv(run.path("events.csv"), EVENT_COLUMNS, events)
    write_csv(run.path("spectrum.csv"), ("forecaster", "lead_time", "wavelength", "wavelength_km", "power"), detail)
    draw_regions(run.path("regions.png"), regions, title, data)
    if events:
        draw_events(run.path("events.png"), events, title, data)
    else:
        print(f"no events.png: no cell has {FEWEST_HISTORY_VALUES} observed days before the test to say what is dry and wet")
    if detail:
        draw_spectrum(run.path("spectrum.png"), detail, title, data, len(observed))
    else:
        print("no spectrum.png: the map is too narrow for wavelengths")


def cell_r2(moments: dict[str, np.ndarray], cells: np.ndarray | slice) -> np.ndarray:
    """R2 in time of the given cells, float64 [cells], from `cell_moments`; NaN where nothing varies."""
    error, square = moments["squared_error"][cells], moments["observed_square"][cells]
    return 1 - np.divide(error, square, out=np.full(error.shape, np.nan), where=square > 0)


def _share(chosen):
    return float(chosen.mean()) if chosen.size else np.nan


def _ratio_of(part, whole, n=None):
    """A ratio over n values (default the whole), NaN where they are fewer than MINIMUM_VALUES."""
    return float(part / whole) if (whole if n is None else n) >= MINIMUM_VALUES and whole else np.nan
