"""The words of figures: names, lead times, and the caption beside each (what it shows, of which data, which days, how many values)."""
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np

from data_processing.cube import DOUBTS

FORECASTS = "Soil moisture forecasts, "  # with which the title of a forecast file begins
# What figures call the networks, products, forecasters and variables, whose names in files and folders are the keys
NETWORKS = {"conv3d_lstm": "Conv3D-LSTM", "convlstm": "ConvLSTM", "lstm": "LSTM", "cnn": "CNN"}
PRODUCTS = {"smap_l4": "SMAP L4", "smap_l3": "SMAP L3", "era5_land": "ERA5-Land"}
QUANTITIES = {"damped_persistence_of_all_days": "damped persistence, all days", "damped_persistence": "damped persistence",
              "water_balance": "water balance", "soil_moisture": "soil moisture", "soil_temperature": "soil temperature"}
# What may stand behind a network's name: its head, what it is told, which members it is of
ENDINGS = {"-local": " (local)", "-dense": " (dense)", "-conv": " (conv)", "_ensemble": ", ensemble", "_blind": ", blind",
           "_with_forecast": " with a weather forecast", "_observed_weather_bound": " with the observed weather (bound)"}
_NETWORK = re.compile(rf"\b({'|'.join(NETWORKS)})((?:{'|'.join(ENDINGS)})*)(?:_seed(\d+))?\b")
_PRODUCT = re.compile(rf"(?:\b|(?<=[a-z])_)({'|'.join(PRODUCTS)})\b")  # also at the end of a cube's name: conus_smap_l3
_DOMAIN = re.compile(r"\bconus(?= (?:SMAP|ERA5))")
_QUANTITY = re.compile(rf"\b({'|'.join(QUANTITIES)})\b")


class Data(NamedTuple):
    """What a caption says of the data behind a figure."""

    product: str  # the cube's own title, which says of a synthetic one that it is; or its name
    first: np.datetime64  # day that is shown
    last: np.datetime64


def in_words(text: str) -> str:
    """A text in which networks, products, forecasters and variables are called by their names instead of those of files and folders.

    Parameters
    ----------
    text : str
        A name ("convlstm_ensemble", "damped_persistence") or any text with names in it; other words, such as the name of a user's
        cube, stay as they are.

    Returns
    -------
    str
        "ConvLSTM, ensemble", "damped persistence".
    """
    def network(found):
        name, endings, seed = found.groups()
        told = re.sub("|".join(ENDINGS), lambda ending: ENDINGS[ending.group()], endings)
        return NETWORKS[name] + told + (f", seed {seed}" if seed else "")

    def product(found):
        return (" " if found.group().startswith("_") else "") + PRODUCTS[found.group(1)]

    text = _DOMAIN.sub(lambda found: found.group().upper(), _PRODUCT.sub(product, _NETWORK.sub(network, text)))
    return _QUANTITY.sub(lambda found: QUANTITIES[found.group()], text)


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
    return in_words("\n".join(lines)) + "\n"


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


def product_of_run(folder: str | Path, otherwise: str) -> str:
    """The title of the cube of a run folder's settings.json, and whether its units are in doubt; `otherwise` where there is none."""
    settings = Path(folder) / "settings.json"
    cube = json.loads(settings.read_text())["cube"] if settings.exists() else {}
    return (cube.get("title") or otherwise) + (" (UNIT? see settings.json)" if DOUBTS in cube else "")


def data_of_run(folder: str | Path) -> Data:
    """Product and test days of a run folder: those that are forecast at every lead time, as first_ and last_valid_time of metrics.csv.

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
        days = np.datetime64("1970-01-01") + np.asarray(file["valid_time"][:]).astype(int)  # init day, lead time
        product = file.source
    return Data(product_of_run(folder, product), days[0].max(), days[-1].min())
