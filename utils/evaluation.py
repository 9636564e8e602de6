"""Scores of the forecasts, and the files that hold forecasts and scores.

Shapes: N samples (input days), L lead times, H latitudes, W longitudes. Values in m3 m-3, NaN missing.
Every score counts the same values: land cells with an observed target. All of them follow from sums per cell
(`cell_moments`): squared errors are pooled first, the root comes last. Large arrays may be mapped from files
(`data_processing.arrays`): they are read in blocks of days.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from data_processing import arrays
from data_processing.arrays import in_turn, pieces
from data_processing.errors import UserError
from data_processing.files import replacing, write_csv

METRIC_COLUMNS = (
    "forecaster", "lead_time", "first_valid_time", "last_valid_time", "n",
    "mse_pooled", "rmse_pooled", "r2_pooled", "r_pooled", "bias_pooled", "rmse_area_weighted",
    "r2_area_weighted",
    "rmse_cell_median", "ubrmse_cell_median", "r2_cell_median", "r_cell_median", "anomaly_r_cell_median",
    "skill_persistence", "skill_damped_persistence", "skill_climatology",
)
DAILY_COLUMNS = ("forecaster", "lead_time", "valid_time", "n", "squared_error", "observed_sum", "observed_square")
REFERENCES = ("persistence", "damped_persistence", "climatology")
TITLES = {"damped_persistence": "damped", "climatology": "climat.", "water_balance": "water"}  # skills over them in the terminal
# Values that a cell must have for scores of its own, and any score at all.
MINIMUM_CELL_VALUES = MINIMUM_VALUES = 10
# What soil moisture can be, m3 m-3: a share of the soil's volume.
POSSIBLE = (0.0, 1.0)
# Standard deviation in m3 m-3 below which a series is constant: float32 itself holds 0.3 only to 3e-8.
CONSTANT_SPREAD = 1e-9

# Long name and unit of the maps of `cell_metrics`.
CELL_METRICS = {
    "rmse": ("root mean squared error", "m3 m-3"),
    "ubrmse": ("root mean squared error without the bias", "m3 m-3"),
    "bias": ("mean of forecast minus observation", "m3 m-3"),
    "r2": ("coefficient of determination in time, 1 - SSE / SST", "1"),
    "r": ("correlation in time of forecast and observation", "1"),
    "anomaly_r": ("correlation in time of the departures from climatology", "1"),
    "skill_damped_persistence": ("1 - MSE / MSE of damped persistence", "1"),
    "n": ("number of values scored", "1"),
}


def score_forecasters(*, observed: np.ndarray, forecasts: dict[str, np.ndarray], valid_time: np.ndarray,
                      lead_times: Sequence[int] | np.ndarray, lat: np.ndarray, lon: np.ndarray, land: np.ndarray,
                      climatology: np.ndarray, references: Sequence[str] = REFERENCES) -> list[dict]:
    """Score all forecasters on exactly the same values.

    Parameters
    ----------
    observed : float32 [N, L, H, W]
        m3 m-3, NaN = missing, never scored.
    forecasts : dict name -> float32 [N, L, H, W]
        m3 m-3; the references among them.
    valid_time : datetime64 [N, L]
        Date of every target.
    lead_times : int [L]
        Days.
    lat, lon : float [H], [W]
        Cell centres in degrees.
    land : bool [H, W]
    climatology : float32 [N, L, H, W]
        m3 m-3, what anomalies are departures from.
    references : sequence of str
        Those of REFERENCES that there are forecasts of; the skills against the others are NaN.

    Returns
    -------
    list of dict
        One per forecaster and lead time with the keys METRIC_COLUMNS; NaN = not defined (no spread, fewer than
        MINIMUM_VALUES values, or no cell with MINIMUM_CELL_VALUES). `*_pooled` weighs every value alike, `*_area_weighted` by the
        area of its cell, `*_cell_median` is the median over cells of the score in time.

    Raises
    ------
    UserError
        A reference lacks, shapes differ, a forecast is missing where it is scored, nothing is observed.
    """
    missing = [name for name in references if name not in forecasts]
    if missing:
        raise UserError(f"Scores need the forecasts of {', '.join(references)}; "
                        f"found {', '.join(forecasts)}. Add {', '.join(missing)}.")
    check_land(observed, land)
    valid_time = np.asarray(valid_time).astype("datetime64[D]")
    if valid_time.shape != observed.shape[:2] or len(lead_times) != observed.shape[1]:
        raise UserError(f"Observations have {observed.shape[0]} samples and {observed.shape[1]} lead times, "
                        f"but valid_time has shape {valid_time.shape} and lead_times length "
                        f"{len(lead_times)}.")
    if (len(lat), len(lon)) != observed.shape[2:]:
        raise UserError(f"Observations have {observed.shape[2]} x {observed.shape[3]} cells, but there are "
                        f"{len(lat)} latitudes and {len(lon)} longitudes.")
    for name, forecast in {**forecasts, "climatology of the anomalies": climatology}.items():
        _check_forecast(name, observed, forecast, land)
    area = cell_areas(lat, lon)
    rows = []
    for lead, lead_time in enumerate(lead_times):
        if not any((np.isfinite(observed[day, lead]) & land).any() for day in in_turn(observed[:, lead])):
            raise UserError(f"No target is observed on land at lead time {lead_time} from "
                            f"{valid_time[:, lead].min()} to {valid_time[:, lead].max()}. "
                            "Choose test days with observations.")
        scores = {name: _scores(observed[:, lead], forecast[:, lead], climatology[:, lead], land, area)
                  for name, forecast in forecasts.items()}
        for name, score in scores.items():
            skills = {f"skill_{reference}": _skill(score["mse_pooled"], scores[reference]["mse_pooled"])
                      if reference in references else math.nan for reference in REFERENCES}
            rows.append({"forecaster": name, "lead_time": int(lead_time),
                         "first_valid_time": valid_time[:, lead].min(),
                         "last_valid_time": valid_time[:, lead].max(),
                         **score, **skills})
    return rows


def cell_metrics(*, observed: np.ndarray, forecast: np.ndarray, reference: np.ndarray, climatology: np.ndarray,
                 land: np.ndarray) -> dict[str, np.ndarray]:
    """Scores in time of every cell.

    Parameters
    ----------
    observed, forecast : float32 [N, L, H, W]
        m3 m-3.
    reference : float32 [N, L, H, W]
        m3 m-3, damped persistence.
    climatology : float32 [N, L, H, W]
        m3 m-3.
    land : bool [H, W]

    Returns
    -------
    dict name -> [L, H, W]
        With the names of CELL_METRICS; NaN where a cell has fewer than MINIMUM_CELL_VALUES values; `n`
        (int32) counts them.

    Raises
    ------
    UserError
        Shapes differ, or a forecast is missing where it is scored.
    """
    check_land(observed, land)
    for name, values in (("forecast", forecast), ("reference", reference), ("climatology", climatology)):
        _check_forecast(name, observed, values, land)
    maps = {name: np.empty(observed.shape[1:]) for name in CELL_METRICS}
    for lead in range(observed.shape[1]):
        moments = cell_moments(observed[:, lead], forecast[:, lead], land)
        scores = _cell_scores(moments, cell_moments(observed[:, lead], forecast[:, lead], land, climatology[:, lead]))
        squared_reference = cell_moments(observed[:, lead], reference[:, lead], land)["squared_error"]
        scores["skill_damped_persistence"] = _where_enough(
            moments["n"], _skill(moments["squared_error"], squared_reference))
        scores["n"] = moments["n"]
        for name in maps:
            maps[name][lead] = scores[name]
    maps = {name: values.astype(np.float32) for name, values in maps.items()}
    maps["n"] = maps["n"].astype(np.int32)
    return maps


def describe_impossible(name: str, forecast: np.ndarray) -> str | None:
    """A line on how many forecasts of `name`, [N, L, H, W] in m3 m-3, lie outside POSSIBLE; None where none does."""
    below, above, total, lowest, highest = 0, 0, 0, math.inf, -math.inf
    for days in pieces(forecast):
        values = forecast[days]
        values = values[np.isfinite(values)]
        below, above = below + int(np.count_nonzero(values < POSSIBLE[0])), above + int(np.count_nonzero(values > POSSIBLE[1]))
        total += values.size
        lowest, highest = values.min(initial=lowest), values.max(initial=highest)
    if not below + above:
        return None
    return (f"warning: {below + above} of {total} forecasts of {name} lie outside {POSSIBLE[0]:g}..{POSSIBLE[1]:g} m3 m-3: {below} "
            f"below, {above} above, from {lowest:.4g} to {highest:.4g}")


def daily_scores(*, observed: np.ndarray, forecasts: dict[str, np.ndarray], valid_time: np.ndarray,
                 lead_times: Sequence[int] | np.ndarray, land: np.ndarray) -> list[dict]:
    """Sums of each target day: the scores of any days follow from them, and how uncertain these are.

    Parameters
    ----------
    observed, forecasts, valid_time, lead_times, land
        As `score_forecasters` takes them.

    Returns
    -------
    list of dict
        One per forecaster, lead time and target day, with the keys DAILY_COLUMNS: number of scored values; sums of the
        squared errors, (m3 m-3)^2, of the observed values, m3 m-3, and of their squares.
    """
    check_land(observed, land)
    n = np.zeros(observed.shape[:2], int)
    total, square = np.zeros(observed.shape[:2]), np.zeros(observed.shape[:2])
    squared_errors = {name: np.zeros(observed.shape[:2]) for name in forecasts}
    for lead in range(observed.shape[1]):
        for days in pieces(observed[:, lead], *(forecast[:, lead] for forecast in forecasts.values())):
            scored = np.isfinite(observed[days, lead]) & land
            values = np.where(scored, observed[days, lead], 0.0).astype(np.float64)
            n[days, lead] = scored.sum(axis=(1, 2))
            total[days, lead], square[days, lead] = values.sum(axis=(1, 2)), (values ** 2).sum(axis=(1, 2))
            for name, forecast in forecasts.items():
                error = np.where(scored, forecast[days, lead] - observed[days, lead], 0.0).astype(np.float64)
                squared_errors[name][days, lead] = (error ** 2).sum(axis=(1, 2))
    return [{"forecaster": name, "lead_time": int(lead_time), "valid_time": valid_time[day, lead],
             "n": int(n[day, lead]), "squared_error": squared_error[day, lead], "observed_sum": total[day, lead],
             "observed_square": square[day, lead]}
            for name, squared_error in squared_errors.items()
            for lead, lead_time in enumerate(lead_times) for day in range(len(observed))]


def write_daily_scores(path: Path, rows: list[dict]) -> None:
    """Write the rows of `daily_scores` as CSV."""
    write_csv(path, DAILY_COLUMNS, rows)


def by_init_time(values: np.ndarray, valid_time: np.ndarray,
                 lead_times: Sequence[int] | np.ndarray) -> tuple[np.ndarray, ByInitTime]:
    """Arrange forecasts or observations of target days by the day that they are forecast on.

    Parameters
    ----------
    values : float32 [N, L, H, W]
        By target day.
    valid_time : datetime64[D] [N]
        Target days, consecutive.
    lead_times : sequence of int
        Days, ascending.

    Returns
    -------
    init_time : datetime64[D] [I]
        Consecutive days.
    ByInitTime, float32 [I, L, H, W]
        NaN where the target is not among `valid_time`.
    """
    return np.arange(valid_time[0] - lead_times[-1], valid_time[-1] - lead_times[0] + 1), ByInitTime(values, lead_times)


class ByInitTime:
    """Values [N, L, H, W] of target days, to be read like an array [I, L, H, W] by init day: arranged where it is read."""

    dtype = np.dtype(np.float32)

    def __init__(self, values, lead_times):
        self.parts = values,
        self.starts = [lead_times[-1] - lead_time for lead_time in lead_times]  # init day of the first target
        self.shape = (len(values) + self.starts[0], *values.shape[1:])

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, days):
        values, days = self.parts[0], np.arange(*days.indices(len(self)))
        arranged = np.full((len(days), *self.shape[1:]), np.nan, np.float32)
        for lead, start in enumerate(self.starts):
            inside = (days >= start) & (days < start + len(values))
            arranged[inside, lead] = values[days[inside] - start, lead]
        return arranged


def check_land(observed: np.ndarray, land: np.ndarray) -> None:
    """Refuse observations that are not [N, L, H, W] on the cells of the land map [H, W]."""
    if len(observed.shape) != 4 or np.shape(land) != observed.shape[2:]:
        raise UserError("Observations must be [samples, lead times, lat, lon] on the land map's cells; "
                        f"found shape {observed.shape} and a land map of {np.shape(land)}.")


def cell_moments(observed: np.ndarray, forecast: np.ndarray, land: np.ndarray, climatology: np.ndarray | None = None,
                 part: bool | np.ndarray = True) -> dict[str, np.ndarray]:
    """Counts, means and centred sums over the samples, from which every score follows.

    Parameters
    ----------
    observed, forecast : float [N, H, W]
    land : bool [H, W]
        Cells whose observed values count; nothing else is read.
    climatology : float [N, H, W]
        Subtracted from both where given.
    part : bool that broadcasts to [N, H, W]
        Values that count; default all.

    Returns
    -------
    dict of float64 [H, W]
        `n`; observed_mean, forecast_mean (0 where n is 0); observed_square, forecast_square, product (sums of
        products of departures from these means); squared_error (sum of (forecast - observed)^2).
    """
    part = np.broadcast_to(part, observed.shape)
    series = [observed, forecast] if climatology is None else [observed, forecast, climatology]

    def pairs():
        for day in in_turn(*series):
            if not part[day].any():
                continue
            chosen = np.isfinite(observed[day]) & land & part[day]
            shift = 0.0 if climatology is None else climatology[day].astype(np.float64)
            yield (np.where(chosen, observed[day] - shift, 0.0).astype(np.float64),
                   np.where(chosen, forecast[day] - shift, 0.0).astype(np.float64), chosen)

    names = ("n", "observed_mean", "forecast_mean", "observed_square", "forecast_square", "product",
             "squared_error")
    moments = {name: np.zeros(observed.shape[1:]) for name in names}
    for day_observed, day_forecast, chosen in pairs():
        moments["n"] += chosen
        moments["observed_mean"] += day_observed
        moments["forecast_mean"] += day_forecast
    for name in ("observed_mean", "forecast_mean"):
        moments[name] /= np.maximum(moments["n"], 1)
    for day_observed, day_forecast, chosen in pairs():
        observed_departure = (day_observed - moments["observed_mean"]) * chosen
        forecast_departure = (day_forecast - moments["forecast_mean"]) * chosen
        moments["observed_square"] += observed_departure ** 2
        moments["forecast_square"] += forecast_departure ** 2
        moments["product"] += observed_departure * forecast_departure
        moments["squared_error"] += (day_forecast - day_observed) ** 2
    return moments


def cell_areas(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Relative area of every cell: (sin north - sin south) x width in longitude.

    Parameters
    ----------
    lat, lon : float [H], [W]
        Cell centres in degrees, in any order, also across the antimeridian.

    Returns
    -------
    float64 [H, W]
    """
    south_north = np.clip(cell_edges(lat), -90.0, 90.0)
    height = np.abs(np.diff(np.sin(np.radians(south_north))))
    order, unwrapped = unwrap_longitudes(lon)
    width = np.empty(len(order))
    width[order] = np.diff(cell_edges(unwrapped))
    return height[:, None] * width[None, :]


def cell_edges(centres: np.ndarray, default_width: float = 1.0) -> np.ndarray:
    """Borders of cells: midpoints between centres; the outermost cells are symmetric about their centres.

    Parameters
    ----------
    centres : float [n]
        Monotonic.
    default_width : float
        Width of a single cell, which has no neighbour to tell it.

    Returns
    -------
    float64 [n + 1]
    """
    centres = np.asarray(centres, dtype=np.float64)
    if len(centres) == 1:
        return centres[0] + default_width * np.array([-0.5, 0.5])
    middle = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def unwrap_longitudes(lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order longitudes from west to east, starting after the widest gap: also across the antimeridian.

    Parameters
    ----------
    lon : float [W]
        Degrees, in any order and any multiple of 360.

    Returns
    -------
    order : int [W]
        `lon[order]` runs from west to east.
    unwrapped : float64 [W]
        The same longitudes, ascending without a jump; the first lies in -180..180.
    """
    circle = np.mod(np.asarray(lon, dtype=np.float64) + 180.0, 360.0) - 180.0
    order = np.argsort(circle, kind="stable")
    circle = circle[order]
    gaps = np.diff(np.append(circle, circle[0] + 360.0))
    # A grid around the whole globe has equal gaps but for rounding: it keeps its seam at the antimeridian.
    seam = len(circle) - 1 if gaps[-1] > gaps.max() - 1e-3 else int(gaps.argmax())
    order = np.roll(order, -(seam + 1))
    circle = np.roll(circle, -(seam + 1))
    return order, circle + 360.0 * (circle < circle[0])


def write_metrics(path: Path, rows: list[dict]) -> None:
    """Write the rows of `score_forecasters` as CSV: 8 significant digits, dates as YYYY-MM-DD, undefined as nan."""
    write_csv(path, METRIC_COLUMNS, rows)


def format_metrics(rows: list[dict]) -> str:
    """Table of the rows of `score_forecasters` for the terminal, 80 columns wide.

    The best forecast of each column is marked by a star, and those that are as good in the digits that are shown; a bound and the
    ceiling know more than a forecast can, and are not.
    """
    names = [row["forecaster"] for row in rows]
    references = {name: title for name, title in TITLES.items() if name in names} or {"persistence": "persis."}
    columns = {"rmse_pooled": ("RMSE", "7.4f", min), "r2_pooled": ("R2", "7.3f", max), "r2_cell_median": ("R2 cell", "8.3f", max),
               **{name: (title, "7.3f", max) for name, title in references.items()}}
    error = {(row["lead_time"], row["forecaster"]): row["mse_pooled"] for row in rows}
    rows = [row | {name: float(_skill(row["mse_pooled"], error[row["lead_time"], name])) for name in references} for row in rows]

    def shown(row, name):
        return round(row[name], int(columns[name][1][2])) + 0.0

    width = max(len("forecaster"), *map(len, names))
    lines = [f"{'* = best forecast':{width}} m3 m-3                    skill over",
             f"{'forecaster':{width}}" + "".join(f"{title:>{style.split('.')[0]}} " for title, style, _ in columns.values()).rstrip()]
    for lead_time in sorted({row["lead_time"] for row in rows}):
        of_lead = [row for row in rows if row["lead_time"] == lead_time]
        fair = [row for row in of_lead if row["forecaster"] != "ceiling" and not row["forecaster"].endswith("bound")]
        best = {name: which((row[name] for row in fair if not math.isnan(row[name])), default=math.nan)
                for name, (_, _, which) in columns.items()}
        lines.append(f"{lead_time} day{'s' if lead_time > 1 else ''} ahead, {of_lead[0]['n']:,} values")
        lines += [f"{row['forecaster']:{width}}" + "".join(
            f"{shown(row, name):{style}}{'*' if row in fair and shown(row, name) == shown(best, name) else ' '}"
            for name, (_, style, _) in columns.items()).rstrip() for row in of_lead]
    lines += ["R2: of all values together; R2 cell: of each cell in time, median over cells",
              "skill over a forecaster = 1 - MSE / its MSE"]
    lines += ["ceiling: the best forecast possible in the synthetic twin, whose truth is known"] * ("ceiling" in names)
    return "\n".join(lines)


def write_forecast(path: str | Path, *, forecast: ByInitTime | np.ndarray, observed: ByInitTime | np.ndarray,
                   init_time: np.ndarray, lead_times: Sequence[int] | np.ndarray, lat: np.ndarray, lon: np.ndarray,
                   attributes: dict[str, str], spread: ByInitTime | np.ndarray | None = None,
                   quantiles: dict[float, ByInitTime | np.ndarray] | None = None, further: dict | None = None) -> None:
    """Write forecasts beside observations as CF NetCDF-4.

    Parameters
    ----------
    path : str or Path
    forecast, observed : float32 [N, L, H, W]
        m3 m-3, NaN = sea or missing.
    init_time : datetime64 [N]
        Last input day.
    lead_times : int [L]
        Days; the target's date is init_time + lead_time.
    lat, lon : float [H], [W]
        Degrees.
    attributes : dict
        Global attributes (title, source, run, ...).
    spread : float32 [N, L, H, W], optional
        Predicted standard deviation of the error, m3 m-3.
    quantiles : dict of level (0..1) -> float32 [N, L, H, W], optional
        Ends of the predicted interval, m3 m-3.
    further : dict of name -> (float32 [N, L, H, W], unit, long name), optional
        More variables.

    Raises
    ------
    UserError
        Shapes differ.
    """
    shape = (len(init_time), len(lead_times), len(lat), len(lon))
    for name, values in (("forecast", forecast), ("observed", observed)):
        if values.shape != shape:
            raise UserError(f"{name} has shape {values.shape}, but times, lead times, latitudes and "
                            f"longitudes make {shape}.")
    dimensions = ("init_time", "lead_time", "lat", "lon")
    soil_moisture = {"standard_name": "volume_fraction_of_condensed_water_in_soil", "units": "m3 m-3"}
    init_day = _day_number(init_time)
    coordinates = {"init_time": ("init_time", init_day, {"standard_name": "forecast_reference_time",
                                                         "long_name": "last input day", **_DAYS}),
                   **_grid_coordinates(lat, lon, lead_times)}
    variables: dict[str, tuple] = {"forecast": (dimensions, forecast, {**soil_moisture, "long_name": "forecast surface soil moisture"}),
                 "observed": (dimensions, observed, {**soil_moisture, "long_name": "observed surface soil moisture"})}
    if spread is not None:
        variables["spread"] = dimensions, spread, {"units": "m3 m-3",
                                                   "long_name": "predicted standard deviation of the forecast error"}
    if quantiles:
        variables["quantile"] = (("quantile_level", *dimensions), list(quantiles.values()),
                                 {**soil_moisture, "long_name": "quantile of the predicted surface soil moisture"})
        coordinates["quantile_level"] = "quantile_level", list(quantiles), {"units": "1", "long_name": "probability"}
    variables |= {name: (dimensions, values, {"units": unit, "long_name": long_name})
                  for name, (values, unit, long_name) in (further or {}).items()}
    valid_time = (dimensions[:2], init_day[:, None] + np.asarray(lead_times, dtype=np.int32),
                  {"standard_name": "time", "long_name": "day that is forecast", **_DAYS})
    dataset = xr.Dataset({"valid_time": valid_time}, coordinates, {"Conventions": "CF-1.8", **attributes})
    write_in_pieces(path, dataset, {name: (names, values, {**about, "coordinates": "valid_time"})
                                    for name, (names, values, about) in variables.items()})


def write_in_pieces(path: str | Path, dataset: xr.Dataset, variables: dict[str, tuple]) -> None:
    """Write a NetCDF-4 file whose large variables need not be in memory.

    Parameters
    ----------
    path : str or Path
    dataset : xarray.Dataset
        Coordinates and global attributes.
    variables : dict name -> (dimensions, values, attributes)
        values : float32 [N, ...], an array or something that is read like one; a list of them has a dimension of its own, the
        first. NaN = missing. Above BLOCK_BYTES each map is a chunk of its own.
    """
    with replacing(path) as temporary:
        dataset.to_netcdf(temporary, format="NETCDF4", engine="netcdf4",
                          encoding={name: {"_FillValue": None} for name in dataset.variables})
        with netCDF4.Dataset(temporary, "a") as file:
            for name, (dimensions, values, attributes) in variables.items():
                several = isinstance(values, list)
                shape = (len(values), *values[0].shape) if several else values.shape
                for dimension, length in zip(dimensions, shape):
                    if dimension not in file.dimensions:
                        file.createDimension(dimension, length)
                chunks = (*(1,) * (len(shape) - 2), *shape[-2:]) if 4 * math.prod(shape) > arrays.BLOCK_BYTES else None
                variable = file.createVariable(name, "f4", dimensions, zlib=True, complevel=4, chunksizes=chunks,
                                               fill_value=np.float32(np.nan))
                variable.setncatts(attributes)
                variable.set_auto_maskandscale(False)
                for number, each in enumerate(values if several else [values]):
                    for days in pieces(each):
                        variable[(number, days) if several else days] = each[days]


def write_cell_metrics(path: Path, maps: dict[str, np.ndarray], lat: np.ndarray, lon: np.ndarray,
                       lead_times: Sequence[int] | np.ndarray, attributes: dict[str, str]) -> None:
    """Write the maps of `cell_metrics` as CF NetCDF-4, with the coordinates of `write_forecast`."""
    variables = {}
    for name, values in maps.items():
        long_name, units = CELL_METRICS[name]
        variables[name] = (("lead_time", "lat", "lon"), values, {"long_name": long_name, "units": units})
    dataset = xr.Dataset(variables, coords=_grid_coordinates(lat, lon, lead_times),
                         attrs={"Conventions": "CF-1.8", **attributes})
    _write_netcdf(path, dataset)


def _scores(observed, forecast, climatology, land, area):
    """Scores of one forecaster at one lead time; arrays [N, H, W]."""
    moments = cell_moments(observed, forecast, land)
    cells = _cell_scores(moments, cell_moments(observed, forecast, land, climatology))
    pooled = pooled_scores(moments)
    weighted = pooled_scores(moments, area)
    medians = {f"{name}_cell_median": _median(cells[name])
               for name in ("rmse", "ubrmse", "r2", "r", "anomaly_r")}
    return {"n": int(moments["n"].sum()), **{f"{name}_pooled": value for name, value in pooled.items()},
            "rmse_area_weighted": weighted["rmse"], "r2_area_weighted": weighted["r2"], **medians}


def pooled_scores(moments: dict[str, np.ndarray], weight: float | np.ndarray = 1.0) -> dict[str, float]:
    """Scores over all values of all cells, from `cell_moments`; `weight` [H, W] is the weight of each value of the cell.

    NaN of fewer than MINIMUM_VALUES values.
    """
    if moments["n"].sum() < MINIMUM_VALUES:
        return dict.fromkeys(("mse", "rmse", "r2", "r", "bias"), math.nan)
    total = (weight * moments["n"]).sum()
    observed_mean = (weight * moments["n"] * moments["observed_mean"]).sum() / total
    forecast_mean = (weight * moments["n"] * moments["forecast_mean"]).sum() / total
    observed_shift = moments["observed_mean"] - observed_mean
    forecast_shift = moments["forecast_mean"] - forecast_mean
    observed_square = (weight * (moments["observed_square"] + moments["n"] * observed_shift ** 2)).sum()
    forecast_square = (weight * (moments["forecast_square"] + moments["n"] * forecast_shift ** 2)).sum()
    product = (weight * (moments["product"] + moments["n"] * observed_shift * forecast_shift)).sum()
    squared_error = (weight * moments["squared_error"]).sum()
    mse = squared_error / total
    return {"mse": float(mse), "rmse": float(np.sqrt(mse)),
            "r2": float(_determination(squared_error, observed_square, total)),
            "r": float(_correlation(product, observed_square, forecast_square, total)),
            "bias": float(forecast_mean - observed_mean)}


def _cell_scores(moments, anomaly_moments):
    """Scores in time [H, W]; NaN where a cell has too few values."""
    n = moments["n"]
    mse = moments["squared_error"] / np.maximum(n, 1)
    bias = moments["forecast_mean"] - moments["observed_mean"]
    scores = {"rmse": np.sqrt(mse), "ubrmse": np.sqrt(np.maximum(mse - bias ** 2, 0.0)), "bias": bias,
              "r2": _determination(moments["squared_error"], moments["observed_square"], n)}
    for name, source in (("r", moments), ("anomaly_r", anomaly_moments)):
        scores[name] = _correlation(source["product"], source["observed_square"],
                                    source["forecast_square"], n)
    return {name: _where_enough(n, values) for name, values in scores.items()}


def _determination(squared_error, observed_square, n):
    """1 - SSE / SST; NaN where the observations do not vary."""
    varies = observed_square > n * CONSTANT_SPREAD ** 2
    return 1 - np.divide(squared_error, observed_square, out=np.full(np.shape(n), np.nan), where=varies)


def _correlation(product, observed_square, forecast_square, n):
    """Pearson's r; NaN where the observations or the forecasts do not vary."""
    varies = np.minimum(observed_square, forecast_square) > n * CONSTANT_SPREAD ** 2
    return np.divide(product, np.sqrt(observed_square * forecast_square), out=np.full(np.shape(n), np.nan),
                     where=varies)


def _skill(squared_error, reference):
    """1 - MSE / MSE of the reference; NaN where the reference has no error."""
    reference = np.asarray(reference, dtype=np.float64)
    return 1 - np.divide(squared_error, reference, out=np.full(reference.shape, np.nan), where=reference > 0)


def _where_enough(n, values):
    return np.where(n >= MINIMUM_CELL_VALUES, values, np.nan)


def _median(values):
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _check_forecast(name, observed, forecast, land):
    """Refuse forecasts of another shape, which would broadcast, and forecasts missing where scored."""
    if np.shape(forecast) != observed.shape:
        raise UserError(f"The forecast of {name} has shape {np.shape(forecast)}, the observations "
                        f"{observed.shape}: give one forecast for every observation.")
    missing, count = 0, 0
    for days in pieces(observed, forecast):
        scored = np.isfinite(observed[days]) & land
        missing += int((scored & ~np.isfinite(forecast[days])).sum())
        count += int(scored.sum())
    if missing:
        raise UserError(f"The forecast of {name} is missing (NaN or infinite) at {missing} of "
                        f"{count} values to score: every forecaster must give a value wherever "
                        "a target is observed on land.")


_DAYS = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian"}


def _day_number(time):
    return np.asarray(time).astype("datetime64[D]").astype(np.int64).astype(np.int32)


def _grid_coordinates(lat, lon, lead_times):
    return {"lead_time": ("lead_time", np.asarray(lead_times, dtype=np.int32),
                          {"standard_name": "forecast_period", "long_name": "target date - last input date",
                           "units": "days"}),
            "lat": ("lat", np.asarray(lat, dtype=np.float64),
                    {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
            "lon": ("lon", np.asarray(lon, dtype=np.float64),
                    {"standard_name": "longitude", "units": "degrees_east", "axis": "X"})}


def _write_netcdf(path, dataset):
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind == "f":
            encoding[name]["_FillValue"] = np.float32(np.nan)
    encoding.update({name: {"_FillValue": None} for name in dataset.coords})
    with replacing(path) as temporary:
        dataset.to_netcdf(temporary, format="NETCDF4", engine="netcdf4", encoding=encoding)
