"""The forecasts of a run as text that a browser can read: land cells only, whole steps, changes from day to day, deflated.

Shapes: N days, C cells of the page (land), H rows from north to south, W columns from west to east. What is packed here is
unpacked in `utils/page_files/run.js`.
"""
import base64
import json
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np

from data_processing.arrays import blocks
from data_processing.surroundings import block_sums
from utils.evaluation import unwrap_longitudes

STEP = 0.001
"""Values are rounded to multiples of this, m3 m-3 (of a skill: 1): they are off by half of it at most."""
LARGEST = 32.0  # either way, of what a value may be; more is cut
MOST_BYTES = 4_800_000  # of the text of one run and lead time
MOST_VALUES = 1_400_000  # of one variable, days x cells; of more, cells are averaged and then days left out
FEWEST_CELLS = 2_500  # that a map keeps before days are left out


class Thinning(NamedTuple):
    """How a forecast is made smaller."""

    block: int  # rows and columns whose mean is one cell of the page
    stride: int  # of this many days one is kept


class MapPlace(NamedTuple):
    """Where values stand in an open forecast.nc."""

    rows: slice  # along init_time
    lead: int  # along lead_time
    down: np.ndarray  # int [H], along lat: from north to south
    across: np.ndarray  # int [W], along lon: from west to east


def pack_forecast(folder: str | Path, lead_time: int) -> dict:
    """Pack the forecasts of a run for one lead time.

    Parameters
    ----------
    folder : str or Path
        Of a finished run, with forecast.nc and cell_metrics.nc.
    lead_time : int
        Days, one of the run's.

    Returns
    -------
    dict
        Plain values; as JSON at most MOST_BYTES. Where cells are averaged there is no interval: that of a mean does not follow
        from those of its cells.
    """
    most_values = MOST_VALUES
    packed = _pack(Path(folder), lead_time, most_values)
    while len(json.dumps(packed)) > MOST_BYTES and len(packed["days"]) > 1:
        most_values *= 0.7
        packed = _pack(Path(folder), lead_time, most_values)
    return packed


def _pack(folder, lead_time, most_values):
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        place, days, lat, lon = find_targets(file, lead_time)
        first = place._replace(rows=slice(place.rows.start, place.rows.start + 1))
        land = np.isfinite(read_maps(file["forecast"], first)[0])
        block, stride = choose_thinning(land, len(days), most_values)
        days = days[::stride]
        values = read_cells(file, place._replace(rows=slice(place.rows.start, place.rows.stop, stride)), land, block)
    skill = read_skill(folder / "cell_metrics.nc", place, land, block)
    difference = values["forecast"] - values["observed"]
    packed = {"lead": int(lead_time), "step": STEP, "days": days.tolist(), "block": block, "stride": stride,
              "lat": means(lat, block).round(4).tolist(), "lon": means(lon, block).round(4).tolist(),
              "land": deflate((block_sums(land, block, block) > 0).astype(np.uint8)),
              "range": usual_range(values["forecast"], values["observed"]),
              "largest_difference": usual_size(difference, 0.02), "largest_skill": min(1.0, usual_size(skill, 0.1))}
    return packed | {name: encode(each) for name, each in (values | {"skill": skill[None]}).items()}


def find_targets(file: netCDF4.Dataset, lead_time: int) -> tuple[MapPlace, np.ndarray, np.ndarray, np.ndarray]:
    """Where the target days of one lead time stand in an open forecast.nc.

    Returns
    -------
    MapPlace
    days : int64 [N]
        Target days, days since 1970-01-01.
    lat, lon : float64 [H], [W]
        Degrees; from north to south, and from west to east without a jump.
    """
    lead_times = [int(each) for each in file["lead_time"][:]]
    lead = lead_times.index(lead_time)
    start = lead_times[-1] - lead_time
    rows = slice(start, start + len(file["init_time"]) - (lead_times[-1] - lead_times[0]))
    lat = np.asarray(file["lat"][:], float)
    down = np.argsort(-lat)
    across, lon = unwrap_longitudes(file["lon"][:])
    return MapPlace(rows, lead, down, across), np.asarray(file["valid_time"][rows, lead], np.int64), lat[down], lon


def read_maps(variable: netCDF4.Variable, place: MapPlace, *level: Any) -> np.ndarray:
    """Maps [N, H, W] of a variable ([level,] init_time, lead_time, lat, lon) of an open file, float64, NaN missing."""
    maps = np.ma.filled(variable[(*level, place.rows, place.lead)].astype(float), np.nan)
    return maps[:, place.down][:, :, place.across]


def choose_thinning(land: np.ndarray, days: int, most_values: int) -> Thinning:
    """The mildest Thinning that leaves `most_values`; all days are kept while the map has more than FEWEST_CELLS land cells."""
    def cells(block):
        return np.count_nonzero(block_sums(land, block, block))

    block = 1
    while cells(block) * days > most_values and cells(block + 1) >= FEWEST_CELLS:
        block += 1
    return Thinning(block, math.ceil(cells(block) * days / most_values))


def read_cells(file: netCDF4.Dataset, place: MapPlace, land: np.ndarray, block: int) -> dict[str, np.ndarray]:
    """Values of the cells of a page by day.

    Parameters
    ----------
    file : netCDF4.Dataset
        forecast.nc, open.
    place : MapPlace
    land : bool [H, W]
        Of the file, as `place` orders it.
    block : int
        Rows and columns whose mean is one cell.

    Returns
    -------
    dict of name -> float32 [N, C], m3 m-3, NaN missing
        forecast, observed and, where nothing is averaged, how far the ends of the interval lie below and above the forecast.
    """
    ends = {"below": 0, "above": 1} if block == 1 and "quantile" in file.variables else {}
    parts = []
    start, stop, stride = place.rows.indices(len(file["init_time"]))
    for days in blocks(len(range(start, stop, stride)), 16 * land.size * (2 + len(ends))):
        part = place._replace(rows=slice(start + days.start * stride, min(stop, start + days.stop * stride), stride))
        forecast, observed = read_maps(file["forecast"], part), read_maps(file["observed"], part)
        if block > 1:
            parts.append(mean_of_blocks(forecast, observed, land, block))
            continue
        maps = {"forecast": forecast, "observed": observed}
        for name, level in ends.items():
            maps[name] = np.abs(read_maps(file["quantile"], part, level) - forecast)
        parts.append({name: each[:, land].astype(np.float32) for name, each in maps.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mean_of_blocks(forecast: np.ndarray, observed: np.ndarray, land: np.ndarray, block: int) -> dict[str, np.ndarray]:
    """Means of forecast and observation over blocks of cells, dict of name -> float32 [N, C]; maps are [N, H, W].

    Both count the same cells, those observed on the day, so that their difference is one of like with like. A block less than
    half observed counts as not observed; its forecast is the mean of all its land cells.
    """
    known = np.isfinite(observed) & land
    on_land, counted = block_sums(land, block, block), block_sums(known, block, block)
    enough = 2 * counted >= np.maximum(on_land, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_known = [np.where(enough, block_sums(np.where(known, each, 0.0), block, block) / counted, np.nan)
                    for each in (forecast, observed)]
        of_all = block_sums(np.where(land, forecast, 0.0), block, block) / on_land
    cells = on_land > 0
    return {"forecast": np.where(enough, of_known[0], of_all)[:, cells].astype(np.float32),
            "observed": of_known[1][:, cells].astype(np.float32)}


def read_skill(path: Path, place: MapPlace, land: np.ndarray, block: int) -> np.ndarray:
    """Skill against damped persistence of the cells of a page, float32 [C]; of a block that of all its values together."""
    with netCDF4.Dataset(path) as file:
        skill, rmse, n = (np.ma.filled(file[name][place.lead].astype(float), np.nan)[place.down][:, place.across]
                          for name in ("skill_damped_persistence", "rmse", "n"))
    if block == 1:
        return skill[land].astype(np.float32)
    error = n * rmse ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        reference = error / (1 - skill)
        known = np.isfinite(reference) & land
        together = 1 - block_sums(np.where(known, error, 0.0), block, block) / block_sums(np.where(known, reference, 0.0), block, block)
    return together[block_sums(land, block, block) > 0].astype(np.float32)


def means(centres: np.ndarray, block: int) -> np.ndarray:
    """Means of each `block` coordinates [H] in a row; those of the last block are fewer."""
    starts = np.arange(0, len(centres), block)
    return np.add.reduceat(centres, starts) / np.diff(np.append(starts, len(centres)))


def encode(values: np.ndarray) -> dict[str, str]:
    """Pack values [N, C] as text; NaN is missing.

    Returns
    -------
    dict
        changes : from day to day, of the first day from 0, in steps, carried over what is missing: uint16, all low bytes and then
        all high bytes, by `deflate`. missing : a bit each by `deflate`; absent where nothing is missing.
    """
    missing = np.isnan(values)
    steps = np.rint(np.clip(np.where(missing, 0.0, values), -LARGEST, LARGEST) / STEP).astype(np.int16)
    last_known = np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))[:, None]), axis=0)
    steps = np.take_along_axis(steps, last_known, axis=0)
    changes = np.diff(steps, axis=0, prepend=np.int16(0)).astype("<u2")  # wraps round, and back when it is undone
    planes = changes.reshape(-1).view(np.uint8).reshape(-1, 2).T
    packed = {"changes": deflate(planes)}
    return packed | {"missing": deflate(np.packbits(missing))} if missing.any() else packed


def decode(packed: dict, shape: tuple[int, int]) -> np.ndarray:
    """Undo `encode`: float64 [N, C], multiples of STEP."""
    planes = np.frombuffer(inflate(packed["changes"]), np.uint8).reshape(2, -1)
    changes = np.ascontiguousarray(planes.T).view("<u2").reshape(shape)
    values = np.cumsum(changes, axis=0, dtype=np.uint16).view(np.int16) * STEP
    if "missing" in packed:
        missing = np.unpackbits(np.frombuffer(inflate(packed["missing"]), np.uint8), count=values.size)
        values[missing.reshape(shape).astype(bool)] = np.nan
    return values


def deflate(values: np.ndarray) -> str:
    """Bytes of an array, deflated (zlib), as base64 text."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 6)).decode()


def inflate(text: str) -> bytes:
    """Bytes of `deflate`."""
    return zlib.decompress(base64.b64decode(text))


def usual_range(*values: Any) -> list[float]:
    """Ends of a colour bar, multiples of 0.05 between which nearly all values lie: [low, high]."""
    known = np.concatenate([each[np.isfinite(each)] for each in values])
    if not known.size:
        return [0.0, 0.5]
    low, high = np.percentile(known, (0.5, 99.5))
    low = math.floor(low / 0.05 + 1e-6)
    return [round(0.05 * low, 2), round(0.05 * max(low + 1, math.ceil(high / 0.05 - 1e-6)), 2)]


def usual_size(values: np.ndarray, step: float) -> float:
    """Size that nearly no value exceeds, a multiple of `step`."""
    known = np.abs(values[np.isfinite(values)])
    return round(step * max(1, math.ceil(np.percentile(known, 98) / step - 1e-6)), 2) if known.size else step
