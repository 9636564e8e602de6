"""The words of figures: lead times, and the caption beside each (what it shows, of which data, which days, how many values)."""
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np


class Data(NamedTuple):
    """What a caption says of the data behind a figure."""

    product: str  # the cube's own title, which says of a synthetic one that it is; or its name
    first: np.datetime64  # day that is shown
    last: np.datetime64


def caption_of(shows: str, title: str, data: Data | None = None, n: int | np.integer | None = None, what: str = "values") -> str:
    """Caption of a figure.

    Parameters
    ----------
    shows : str
        Sentences that explain panels, colours and lines.
    title : str
        Of the figure: names the run or the cube.
    data : Data, optional
    n : int, optional
        Number of what is shown.
    what : str
        What is counted.

    Returns
    -------
    str
        A line for each.
    """
    lines = [shows, f"Title: {title}."]
    if data is not None:
        first, last = (np.datetime_as_string(day, unit="D") for day in (data.first, data.last))
        lines += [f"Data: {data.product}.", f"Day: {first}." if first == last else f"Days: {first} to {last}."]
    if n is not None:
        lines.append(f"n = {n:,} {what}.")
    return "\n".join(lines) + "\n"


def is_synthetic(title: str | None) -> bool:
    """Whether a cube says of itself, in its title, that it is synthetic."""
    return "synthetic" in str(title).lower()


def lead_text(lead_times: Sequence[int]) -> str:
    """Lead times in words: "3 days", "1, 3, 7 days"."""
    return ", ".join(map(str, lead_times)) + (" day" if lead_times == (1,) else " days")


def percent_text(share: float) -> str:
    """A share in words, "99 %": rounded, but 100 and 0 only where all or none are meant ("over 99 %", "under 1 %")."""
    if 0.995 <= share < 1:
        return "over 99 %"
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def data_of_run(folder: str | Path) -> Data:
    """Product and days of the forecasts in a run folder.

    Parameters
    ----------
    folder : str or Path
        With a forecast.nc; its settings.json names the product.

    Returns
    -------
    Data
    """
    folder = Path(folder)
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        days = np.datetime64("1970-01-01") + np.asarray(file["valid_time"][:]).astype(int)
        product = file.source
    if (folder / "settings.json").exists():
        cube = json.loads((folder / "settings.json").read_text())["cube"]
        product = cube.get("title") or product
    return Data(product, days.min(), days.max())
