"""What the unit of a field looks like, told by its values alone: a wrong or missing `units` spoils everything after it."""
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_processing.cube import (
    FILE_UNITS,
    QUANTITIES,
    _find_variables,
    _open_file,
    _plain_unit,
    cube_variables,
    day_blocks,
    text_of,
)

if TYPE_CHECKING:
    import xarray


class Range(NamedTuple):
    """Values of a field as they stand in the file."""

    name: str  # in the file
    unit: str  # as the file says; "" where it does not
    lowest: float
    mean: float
    highest: float


class Guess(NamedTuple):
    """A unit that values may be in."""

    unit: str
    factor: float  # to the cube's unit
    offset: float
    advice: str


# What values of a map over months or years look like in the cube's unit: lowest, mean between, highest between. Rain: the mean of a
# desert (Sahara 0.01 mm d-1) to that of the wettest places (30); the wettest day of any cell at least some mm.
PLAUSIBLE = {"precipitation": (-0.01, (0.005, 40.0), (1.0, 2000.0)),
             "soil_moisture": (-0.05, (0.01, 0.75), (0.03, 1.0)),
             "soil_temperature": (180.0, (230.0, 320.0), (240.0, 355.0))}
USUAL_RAIN = 2.0  # mm d-1, mean of a map
# The first that gives plausible values is named; rates of rain lie so near to one another that the most usual one is.
GUESSES = {
    "precipitation": (Guess("mm d-1", 1.0, 0.0, ""), Guess("m (of the day)", 1e3, 0.0, "multiply by 1000"),
                      Guess("kg m-2 s-1 (or mm s-1)", 86400.0, 0.0, "multiply by 86400"),
                      Guess("m s-1", 86400e3, 0.0, "multiply by 86,400,000")),
    "soil_moisture": (Guess("m3 m-3", 1.0, 0.0, ""),
                      Guess("per cent, or kg m-2 (mm) of a layer", 0.01, 0.0,
                            "divide per cent by 100, kg m-2 by the thickness of the layer in mm"),
                      Guess("kg m-2 (mm) of a thick layer", 0.001, 0.0, "divide by the thickness of the layer in mm")),
    "soil_temperature": (Guess("K", 1.0, 0.0, ""), Guess("degrees C", 1.0, 273.15, "add 273.15"),
                         Guess("degrees F", 1 / 1.8, 273.15 - 32 / 1.8, "subtract 32, divide by 1.8, add 273.15")),
}
FILL_VALUE = 900.0  # from here on, soil moisture and (below 0) any value look like a number that stands for "missing"
FULL = 0.97  # highest, and MEAN_OF_FULL mean, from which soil moisture looks like a share of the pore space
MEAN_OF_FULL = 0.5


def file_ranges(path: str | Path) -> dict[str, Range]:
    """Ranges of the variables of a cube file, read in blocks, before any unit is believed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict variable -> Range
        Of those that the file holds and that have a value.

    Raises
    ------
    UserError
        No such file, no NetCDF, two candidates for one variable.
    """
    path = Path(path)
    found = {}
    held = cube_variables(path)
    with _open_file(path) as file:
        for variable, name in _find_variables(file, held, path).items():
            field = file[name]
            if field.dtype.kind not in "iuf" or field.ndim == 0:
                continue  # open_cube says what is wrong
            lowest, highest, total, count = np.inf, -np.inf, 0.0, 0
            for block in day_blocks(field.shape):
                values = field[block].values
                values = values[np.isfinite(values)]
                if values.size:
                    lowest, highest = min(lowest, values.min()), max(highest, values.max())
                    total, count = total + values.sum(dtype=np.float64), count + values.size
            if count:
                found[variable] = Range(str(name), text_of(field, "units"), float(lowest), total / count, float(highest))
    return found


def suspicion(variable: str, values: Range) -> str:
    """What is suspicious about the unit of a variable, in one sentence; "" where nothing is.

    Parameters
    ----------
    variable : str
        One of `data_processing.cube.VARIABLES`.
    values : Range
    """
    called = variable if values.name == variable else f"{values.name} ({variable})"
    said = f"{called} reaches from {values.lowest:.4g} to {values.highest:.4g}, mean {values.mean:.4g}"
    unit = f"units = {values.unit!r}" if values.unit else "no attribute `units`"
    if values.lowest <= -FILL_VALUE or variable != "precipitation" and values.highest >= 10 * FILL_VALUE:
        odd = values.lowest if values.lowest <= -FILL_VALUE else values.highest
        return f"{said}: {odd:g} looks like a number that stands for missing. Set it as _FillValue, or make it NaN."
    known = QUANTITIES[variable].conversions.get(_plain_unit(values.unit))
    if known is not None and is_plausible(variable, values, *known):
        if variable == "soil_moisture" and known[0] * values.highest >= FULL and known[0] * values.mean >= MEAN_OF_FULL:
            return (f"{said}: this looks like a degree of saturation (share of the pore space), not m3 m-3. Multiply by the porosity of "
                    "each cell.")
        return ""
    guess = likely_unit(variable, values)
    wanted = QUANTITIES[variable].unit
    if guess is None:
        return f"{said}, with {unit}: this looks like no unit of {variable} that is known here. Bring it to {wanted}."
    if not guess.advice:
        return f"{said}, with {unit}: this looks like {guess.unit} already. Put the attribute right."
    return f"{said}, with {unit}: this looks like {guess.unit}. To have {wanted}, {guess.advice}; or put the attribute right."


def as_stated(variable: str, file_unit: str, values: Iterable[float]) -> Range:
    """Range of lowest, mean and highest value, given in the cube's unit, in the file's."""
    factor, offset = QUANTITIES[variable].conversions[_plain_unit(file_unit)]
    return Range(variable, file_unit, *(float((value - offset) / factor) for value in values))


def suspicion_of_days(field: "xarray.DataArray", days: Iterable[int]) -> str:
    """As `suspicion`, told by some days of a variable alone, which takes no time even where a file is large.

    Parameters
    ----------
    field : xarray.DataArray [T, H, W]
        Of a cube from `open_cube`.
    days : iterable of int

    Returns
    -------
    str
        "" where nothing is suspicious, or those days have no value.
    """
    values = np.concatenate([known[np.isfinite(known)] for known in (field[int(day)].values for day in days)])
    if not values.size:
        return ""
    variable = str(field.name)
    return suspicion(variable, as_stated(variable, field.encoding[FILE_UNITS], (values.min(), values.mean(), values.max())))


def likely_unit(variable: str, values: Range) -> Guess | None:
    """The Guess that makes values plausible, of rain the one nearest to what is usual; None where none does."""
    found = [guess for guess in GUESSES[variable] if is_plausible(variable, values, guess.factor, guess.offset)]
    if variable == "precipitation" and found:
        return min(found, key=lambda guess: abs(math.log(guess.factor * values.mean / USUAL_RAIN)))
    return found[0] if found else None


def is_plausible(variable: str, values: Range, factor: float, offset: float) -> bool:
    """Whether values look like those of a map over some time when they are converted by a factor and an offset."""
    lowest, means, highest = PLAUSIBLE[variable]
    return (factor * values.lowest + offset >= lowest and means[0] <= factor * values.mean + offset <= means[1]
            and highest[0] <= factor * values.highest + offset <= highest[1])
