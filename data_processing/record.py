"""One cube made ready for networks: gaps carried, land known, scaled, windows as views."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from data_processing.arrays import Observed
from data_processing.coming_weather import ComingWeather, open_coming_weather
from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, VARIABLES, cube_days, cube_values, land_mask
from data_processing.errors import UserError
from data_processing.gaps import antecedent_means, carry_forward
from data_processing.motion import rain_motion
from data_processing.scaling import Scaler, fit_scaler
from data_processing.splits import cut_record
from data_processing.static_maps import static_maps
from data_processing.windows import window_view


INPUTS = (*VARIABLES, "season", "place")  # what a forecast may rest on


@dataclass(frozen=True, eq=False)
class Record:
    """What networks and baselines read; `scaler` and `static` come from the days given to `scale_record`."""

    name: str  # of the cube
    time: np.ndarray  # datetime64[D] [T]
    lat: np.ndarray  # [H], degrees north
    lon: np.ndarray  # [W], degrees east
    land: np.ndarray  # bool [H, W]
    carried: np.ndarray  # float32 [input_days - 1 + T, 3, H, W]; missing days stand before the record
    age: np.ndarray  # uint8, the same shape
    antecedent: np.ndarray  # float32, the same shape; `data_processing.gaps.antecedent_means`
    motion: Callable  # () -> float32 [input_days - 1 + T, 2, H, W], worked out when first asked for; `motion_of`
    input_days: int
    lead_times: tuple[int, ...]  # days, ascending
    scaler: Scaler | None = None
    static: np.ndarray | None = None  # float32 [S, H, W]
    hidden: tuple[str, ...] = ()  # inputs that networks are not shown
    coming: ComingWeather | None = None  # what networks are told of the days after the last input day; None: nothing

    @property
    def carried_windows(self):
        """View [T, input_days, 3, H, W]; window i ends on day i of the record."""
        return window_view(self.carried, self.input_days)

    @property
    def age_windows(self):
        """View [T, input_days, 3, H, W]."""
        return window_view(self.age, self.input_days)

    @property
    def antecedent_windows(self):
        """View [T, input_days, 3, H, W]."""
        return window_view(self.antecedent, self.input_days)

    @property
    def motion_windows(self):
        """View [T, input_days, 2, H, W]."""
        return window_view(self.motion(), self.input_days)

    def observed(self, days=slice(None)):
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

    @property
    def observed_maps(self):
        """`Observed` [T, H, W]: what `observed` gives, worked out for the days and rows that are read."""
        return Observed(self.carried_soil_moisture, self.age[self.input_days - 1:, SOIL_MOISTURE])

    @property
    def carried_soil_moisture(self):
        """View [T, H, W]: last observed soil moisture, m3 m-3; NaN = nothing within `max_gap_days`."""
        return self.carried[self.input_days - 1:, SOIL_MOISTURE]


def motion_of(carried, land, lat, lon):
    """Function that gives `data_processing.motion.rain_motion` of a record's rain over land; only a first call takes time."""
    return cache(lambda: rain_motion(np.where(land, carried[:, PRECIPITATION], np.float32(np.nan)), lat, lon))


def open_record(cube, name, splits, *, max_gap_days, hidden=(), coming_weather="none"):
    """Read a cube into memory once and carry its gaps.

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
    unknown = [each for each in hidden if each not in INPUTS]
    if unknown:
        raise UserError(f"drop_inputs names {', '.join(unknown)}; the inputs are {', '.join(INPUTS)}.")
    before = splits.input_days - 1
    values = cube_values(cube, days_before=before)
    land = land_mask(values[before:], splits.history_days)
    carried, age = carry_forward(values, max_gap_days)
    lat, lon = cube["lat"].values, cube["lon"].values
    record = Record(name=name, time=cube_days(cube), lat=lat, lon=lon, land=land, carried=carried, age=age,
                    antecedent=antecedent_means(values), motion=motion_of(carried, land, lat, lon),
                    input_days=splits.input_days, lead_times=splits.lead_times, hidden=tuple(hidden))
    for split in ("train", "validation", "test"):
        days = getattr(splits, split)
        if not (record.age[before:, SOIL_MOISTURE][days] == 0)[:, land].any():
            raise UserError(f"{name} has no observed soil moisture on the {split} days, {splits.time[days[0]]} to "
                            f"{splits.time[days[-1]]}; choose other dates.")
    return replace(record, coming=open_coming_weather(coming_weather, record, splits, cube.attrs.get("twin_domain")))


def whole_record(cube, name, splits, max_gap_days, until=None, hidden=()):
    """Read a cube of which every day may be learned from: a further source of pre-training.

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
    cube = cut_record(cube, until=until)
    before = splits.input_days - 1
    values = cube_values(cube, days_before=before)
    time = cube_days(cube)
    carried, age = carry_forward(values, max_gap_days)
    lat, lon = cube["lat"].values, cube["lon"].values
    land = land_mask(values[before:], np.ones(len(time), bool))
    return Record(name=name, time=time, lat=lat, lon=lon, land=land, carried=carried, age=age,
                  antecedent=antecedent_means(values), motion=motion_of(carried, land, lat, lon), input_days=splits.input_days,
                  lead_times=splits.lead_times, hidden=tuple(hidden))


def scale_record(record, days, *, scaling, scaler=None):
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
    if scaler is None:
        observed = np.where(age == 0, carried, np.float32(np.nan))
        scaler = fit_scaler(observed, record.land, days[kept], time, kind=scaling, source=record.name)
    static = static_maps(carried, age, record.land, days[kept], time, record.name)
    return replace(record, scaler=scaler, static=static)
