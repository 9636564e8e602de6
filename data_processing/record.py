"""One cube made ready for networks: gaps carried, land known, scaled, windows as views."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_processing.arrays import Observed, blocks, kept_arrays, release, short_key
from data_processing.coming_weather import ComingWeather, open_coming_weather
from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, VARIABLES, cube_days, cube_values, land_mask, open_cube
from data_processing.errors import UserError, refuse_unknown
from data_processing.files import checksum
from data_processing.gaps import MEMORY_DAYS, NO_VALUE, antecedent_means, carry_forward, check_gap_days
from data_processing.motion import KEPT_EVIDENCE, MOTION_VERSION, RainMotion, motion_block, rain_motion
from data_processing.scaling import Scaler, fit_scaler
from data_processing.splits import cut_record
from data_processing.static_maps import CHANNELS, static_maps
from data_processing.surroundings import block_scaler, surroundings
from data_processing.terminal import progress_bar

if TYPE_CHECKING:
    import xarray

    from data_processing.splits import Splits

ARRAYS_VERSION, STATISTICS_VERSION = 1, 1  # of what is kept
LARGE_BYTES = 1_000_000_000  # of a record whose statistics are kept as well
PADDING = 64  # missing days before the record: windows of every usual length are then views on the same arrays
INPUTS = (*VARIABLES, "season", "place")  # what a forecast may rest on
# Of the last days of a cube: what is older counts less than the rounding of float32 in the means of the past and the motion of
# the rain. Of large maps no more is read than PAST_BYTES of values, or what windows, gaps and motion need: the means of the past
# then begin later, as they do in the first days of a record. On the twin, 3 days ahead, the 54 days that are needed at least give
# forecasts that differ by 0.0014 m3 m-3 (root mean square) from those of the whole record and have the same RMSE, 0.0280.
ROUNDING = 2.0 ** -24
MOTION_DAYS = math.ceil(math.log(ROUNDING) / math.log(KEPT_EVIDENCE)) + 1
PAST_DAYS, PAST_BYTES = math.ceil(-MEMORY_DAYS * math.log(ROUNDING)), 200_000_000


@dataclass(frozen=True, eq=False)
class Record:
    """What networks and baselines read; `scaler` and `static` come from the days given to `scale_record`.

    The large arrays are mapped files (`data_processing.arrays`): only what is read of them is in memory.
    """

    name: str  # of the cube
    key: str | None  # of the files of its arrays; None where they are not kept
    time: np.ndarray  # datetime64[D] [T]
    lat: np.ndarray  # [H], degrees north
    lon: np.ndarray  # [W], degrees east
    land: np.ndarray  # bool [H, W]
    carried: np.ndarray  # float32 [input_days - 1 + T, 3, H, W]; missing days stand before the record
    age: np.ndarray  # uint8, the same shape
    antecedent: np.ndarray  # float32, the same shape; `data_processing.gaps.antecedent_means`
    around: Callable  # () -> Surroundings, worked out when first asked for
    motion: Callable  # () -> RainMotion of the same days, worked out when first asked for
    input_days: int
    lead_times: tuple[int, ...]  # days, ascending
    scaler: Scaler | None = None
    static: np.ndarray | None = None  # float32 [S, H, W]
    hidden: tuple[str, ...] = ()  # inputs that networks are not shown
    coming: ComingWeather | None = None  # what networks are told of the days after the last input day; None: nothing
    around_scaler: Callable | None = None  # () -> Scaler of the surroundings, worked out when first asked for
    copies: dict = field(default_factory=dict)  # of the arrays, on a GPU (`utils.batches`)

    def observed(self, days: int | np.ndarray | slice = slice(None)) -> np.ndarray:
        """Observed soil moisture of some days of the record.

        Parameters
        ----------
        days : int array of any shape, or slice

        Returns
        -------
        float32 [..., H, W]
            m3 m-3; NaN = not observed that day.
        """
        return self.observed_maps[days]

    def observed_at(self, days: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Observed soil moisture of some cells.

        Parameters
        ----------
        days : int array of any shape
            Negative = none.
        cells : int array [C]
            Indices into the flat map.

        Returns
        -------
        float32 [..., C]
            m3 m-3; NaN = not observed that day.
        """
        before = self.input_days - 1
        carried, age = (array.reshape(*array.shape[:2], -1)[before + np.maximum(days, 0)[..., None], SOIL_MOISTURE, cells]
                        for array in (self.carried, self.age))
        return np.where((age == 0) & (days >= 0)[..., None], carried, np.float32(np.nan))

    @property
    def observed_maps(self) -> Observed:
        """`Observed` [T, H, W]: what `observed` gives, worked out for the days and rows that are read."""
        return Observed(self.carried_soil_moisture, self.age[self.input_days - 1:, SOIL_MOISTURE])

    @property
    def carried_soil_moisture(self) -> np.ndarray:
        """View [T, H, W]: last observed soil moisture, m3 m-3; NaN = nothing within `max_gap_days`."""
        return self.carried[self.input_days - 1:, SOIL_MOISTURE]

    def release(self) -> None:
        """Give back the memory of what was read of the arrays."""
        release(self.carried, self.age, self.antecedent)


def with_arrays(record: Record, key: str, carried: np.ndarray, age: np.ndarray, antecedent: np.ndarray) -> Record:
    """A record of other values, and what follows from them: its surroundings and the motion of its rain."""
    @cache
    def around():
        return surroundings(key, carried, age, record.land, record.lat, record.lon, record.input_days - 1)

    @cache
    def motion():
        def fill(arrays):
            arrays["maps"][:] = rain_motion(rain, record.land, record.lat, record.lon)

        rain = carried[:, PRECIPITATION]
        rows, columns = motion_block(record.lat, record.lon)
        shape = len(rain), 2, -(-len(record.lat) // rows), -(-len(record.lon) // columns)
        kept = f"{key}-motion-{short_key(MOTION_VERSION, record.land, record.input_days, len(rain))}"
        return RainMotion(kept_arrays(kept, {"maps": (shape, np.float32)}, fill)["maps"], rows, columns)

    return replace(record, key=key, carried=carried, age=age, antecedent=antecedent, around=around, motion=motion, copies={})


def build_arrays(key: str, source: Callable, shape: tuple[int, ...], max_gap_days: int,
                 days_before: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Carried values, their age and antecedent means of a record, built once and mapped afterwards.

    Parameters
    ----------
    key : str
        Of the source and its days.
    source : function of a slice of days -> float32 [n, 3, H, W]
        The record's values, NaN = missing; asked for in order.
    shape : (int, int, int)
        Days, rows and columns.
    max_gap_days : int
    days_before : int
        Missing days to put before the record.

    Returns
    -------
    str
        Key of the arrays.
    carried : float32 [days_before + T, 3, H, W]
    age : uint8, the same shape
    antecedent : float32, the same shape
    """
    check_gap_days(max_gap_days)
    padding = max(PADDING, days_before)
    key = f"{key}-{short_key(ARRAYS_VERSION, max_gap_days, padding)}"
    days, height, width = shape
    shape = padding + days, len(VARIABLES), height, width

    def fill(arrays):
        arrays["carried"][:padding] = arrays["antecedent"][:padding] = np.nan
        arrays["age"][:padding] = NO_VALUE
        last, sums = None, None
        for block in progress_bar(blocks(days, 4 * len(VARIABLES) * height * width), desc=f"reading {key.split('-')[0][:30]}",
                                  unit="block", leave=False):
            rows = slice(padding + block.start, padding + block.stop)
            values = source(block)
            carried, age = carry_forward(values, max_gap_days, last)
            arrays["carried"][rows], arrays["age"][rows] = carried, age
            arrays["antecedent"][rows], sums = antecedent_means(values, sums)
            last = carried[-1], age[-1]
            release(*arrays.values())

    kept = kept_arrays(key, {"carried": (shape, np.float32), "age": (shape, np.uint8), "antecedent": (shape, np.float32)}, fill)
    carried, age, antecedent = (kept[name][padding - days_before:] for name in ("carried", "age", "antecedent"))
    return key, carried, age, antecedent


def cube_record(cube: xarray.Dataset, name: str, splits: Splits, max_gap_days: int, hidden: Sequence[str],
                land_days: np.ndarray | slice = slice(None), land: np.ndarray | None = None) -> Record:
    """Record of a cube's days, with the windows and lead times of `splits` (anything that has `input_days` and `lead_times`).

    land = cells with any soil moisture on `land_days`, where it is not given.
    """
    time, before = cube_days(cube), splits.input_days - 1
    path = Path(cube.encoding["source"])
    whole = open_cube(path, check_values=False)
    whole = whole.isel(time=slice(int(np.searchsorted(cube_days(whole), time[0])), None))  # a later end changes nothing before
    shape = whole.sizes["time"], whole.sizes["lat"], whole.sizes["lon"]
    key, *arrays = build_arrays(f"{path.stem}-{short_key(checksum(path), time[0])}", lambda days: cube_values(whole.isel(time=days)),
                                shape, max_gap_days, before)
    carried, age, antecedent = (array[:before + len(time)] for array in arrays)
    land = land_mask(age[before:, SOIL_MOISTURE], land_days) if land is None else land
    record = Record(name=name, key=key, time=time, lat=cube["lat"].values, lon=cube["lon"].values, land=land, carried=carried,
                    age=age, antecedent=antecedent, around=None, motion=None, input_days=splits.input_days,
                    lead_times=splits.lead_times, hidden=tuple(hidden))
    return with_arrays(record, key, carried, age, antecedent)


def open_record(cube: xarray.Dataset, name: str, splits: Splits, *, max_gap_days: int, hidden: Sequence[str] = (),
                coming_weather: str = "none") -> Record:
    """Bring a cube into the arrays that networks read, with its gaps carried.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`.
    name : str
        Name of the cube, kept with everything that is fitted on it.
    splits : Splits
        Of the same days; land = cells with any soil moisture up to `train_until`.
    max_gap_days : int
    hidden : sequence of str
        Inputs that networks are not shown: variables, "season", "place".
    coming_weather : str
        See `data_processing.coming_weather.open_coming_weather`.

    Returns
    -------
    Record
        Not scaled yet.

    Raises
    ------
    UserError
        A split without any observed target.
    """
    refuse_unknown("drop_inputs", hidden, INPUTS)
    record = cube_record(cube, name, splits, max_gap_days, hidden, splits.history_days)
    for split in ("train", "validation", "test"):
        days = getattr(splits, split)
        if not any(np.isfinite(record.observed(day))[record.land].any() for day in days):
            raise UserError(f"{name} has no observed soil moisture on the {split} days, {splits.time[days[0]]} to "
                            f"{splits.time[days[-1]]}; choose other dates.")
    return replace(record, coming=open_coming_weather(coming_weather, record, splits, cube.attrs.get("twin_domain")))


def whole_record(cube: xarray.Dataset, name: str, splits: Splits, max_gap_days: int, until: date | str | None = None,
                 hidden: Sequence[str] = ()) -> Record:
    """A cube of which every day may be learned from: a further source of pre-training.

    Parameters
    ----------
    cube : xarray.Dataset
    name : str
    splits : Splits
        Of the record that it stands beside: its window and lead times are taken over.
    max_gap_days : int
    until : date or str, optional
        Last day that is used.
    hidden : sequence of str
        See `open_record`.

    Returns
    -------
    Record
        Not scaled yet; land = cells with any soil moisture.
    """
    return cube_record(cut_record(cube, until=until), name, splits, max_gap_days, hidden)


def days_looked_back(input_days: int, max_gap_days: int, cells: int) -> int:
    """Days before a forecast's last input day that it rests on, of a map of so many cells.

    Enough for its window, the gaps and the motion of the rain before that, and, as far as PAST_BYTES allow, for the means of the
    past to be those of the whole record.
    """
    needed = input_days - 1 + max(max_gap_days, MOTION_DAYS)
    affordable = PAST_BYTES // (4 * len(VARIABLES) * cells)
    return max(needed, min(input_days - 1 + PAST_DAYS, affordable))


def recent_record(cube: xarray.Dataset, name: str, land: np.ndarray, *, init_days: int, input_days: int,
                  lead_times: Sequence[int], max_gap_days: int) -> Record:
    """Record of the last days of a cube, read now and held in memory: for forecasts, not for training.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`, cut to the days that are needed (`days_looked_back`). It needs no observed target.
    name : str
        Of the cube.
    land : bool [H, W]
        That of the network: nothing is fitted on this cube.
    init_days : int
        How many of the last days are forecast from.
    input_days : int
    lead_times : sequence of int
    max_gap_days : int

    Returns
    -------
    Record
        The last `init_days` days and those whose values may stand in for theirs; not scaled yet (`with_scaler`).
    """
    check_gap_days(max_gap_days)
    time, values = cube_days(cube), cube_values(cube)
    kept = min(init_days + max_gap_days, len(time))
    rows = input_days - 1 + kept
    carried, age = carry_forward(values, max_gap_days)
    arrays = [last_rows(*each) for each in ((carried, rows, np.nan), (age, rows, NO_VALUE),
                                            (antecedent_means(values)[0], rows, np.nan))]
    rain = last_rows(values[:, PRECIPITATION], rows + MOTION_DAYS, np.nan)
    record = Record(name=name, key=None, time=time[len(time) - kept:], lat=cube["lat"].values, lon=cube["lon"].values, land=land,
                    carried=None, age=None, antecedent=None, around=None, motion=None, input_days=input_days,
                    lead_times=tuple(lead_times))

    @cache
    def motion():
        maps = rain_motion(rain, land, record.lat, record.lon)
        return RainMotion(maps[-rows:], *motion_block(record.lat, record.lon))

    return replace(with_arrays(record, None, *arrays), motion=motion)


def last_rows(array: np.ndarray, count: int, missing: float) -> np.ndarray:
    """The last `count` rows of an array; those that it lacks stand before its own and hold the value `missing`."""
    if count <= len(array):
        return array[-count:]
    return np.concatenate((np.full((count - len(array), *array.shape[1:]), missing, array.dtype), array))


def scale_record(record: Record, days: np.ndarray, *, scaling: str, scaler: Scaler | None = None) -> Record:
    """Fit the scaler and the static maps on the training days.

    Parameters
    ----------
    record : Record
    days : bool [T]
        Training days: of the others only values that gaps of the first ones are filled with are looked at.
    scaling : str
        "global" or "cell" (`data_processing.scaling`).
    scaler : Scaler, optional
        A scaler fitted elsewhere (scaling_from = "source") to use instead.

    Returns
    -------
    Record
        The same arrays with `scaler` and `static` set.
    """
    chosen = np.flatnonzero(days)
    kept = slice(chosen[0], chosen[-1] + 1)
    before = record.input_days - 1
    carried, age, time = record.carried[before:][kept], record.age[before:][kept], record.time[kept]

    def fitted(kind):
        return fit_scaler(Observed(carried, age), record.land, days[kept], time, kind=kind, source=record.name)

    def fill(arrays):
        of_cells = fitted("cell")
        arrays["mean"][:], arrays["spread"][:] = of_cells.mean, of_cells.spread
        arrays["static"][:] = static_maps(carried, age, record.land, days[kept], time, of_cells)

    shape = record.land.shape
    wanted = {name: ((size, *shape), np.float32) for name, size in (("mean", len(VARIABLES)), ("spread", len(VARIABLES)),
                                                                    ("static", len(CHANNELS)))}
    if record.carried.nbytes > LARGE_BYTES:  # minutes of reading
        found = kept_arrays(f"{record.key}-scaled-{short_key(STATISTICS_VERSION, days, record.land)}", wanted, fill)
        found = {name: np.array(array) for name, array in found.items()}
    else:
        found = {name: np.empty(*what) for name, what in wanted.items()}
        fill(found)
    of_cells = Scaler("cell", found["mean"], found["spread"], record.name, str(time[0]), str(time[-1]))
    if scaler is None:
        scaler = of_cells if scaling == "cell" else fitted(scaling)
    record.release()
    return with_scaler(record, scaler, found["static"])


def with_scaler(record: Record, scaler: Scaler, static: np.ndarray) -> Record:
    """The record with a Scaler and static maps, float32 [S, H, W]."""
    return replace(record, scaler=scaler, static=static,
                   around_scaler=cache(lambda: block_scaler(scaler, record.land, record.around())))
