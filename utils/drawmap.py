"""Draw one day of any daily cube or forecast file as a map.

Reads   a cube (one NetCDF file, see README), or the forecast.nc of a run or of forecast.py

Writes  a figure for a paper as PNG and PDF, and its caption as .txt: of a cube
        one variable; of a forecast what was observed, what was forecast and the
        difference or, where that day is not observed, forecast and spread

Run     python utils/drawmap.py smap.nc --variable precipitation --day 2020-07-01
        python utils/drawmap.py twin
        python utils/drawmap.py results/SMAPtest/lstm/twin/lead3/forecast.nc
        python utils/drawmap.py forecast.nc --variable spread --lead 7

Expect  three seconds
"""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.command_line import run_script

if TYPE_CHECKING:
    import numpy as np

    from utils.read_maps import DailyMaps

# the other imports stand in the functions: they take seconds, which --help would wait for


@dataclass(frozen=True)
class Settings:
    file: tyro.conf.Positional[str]  # a cube or a forecast file, NetCDF, or "twin": the synthetic twin of SMAP L4
    variable: str | None = None  # default soil moisture; of a forecast the comparison with what was observed
    day: str | None = None  # such as 2020-07-01, of a forecast the day that is forecast; default the fullest of the last ten
    lead: int | None = None  # days ahead, of a forecast; default the longest
    output: str | None = None  # the PNG; default a name that says what is shown, beside the file (or here, where that is not allowed)


def main(settings: Any) -> None:
    import numpy as np

    from data_processing.errors import UserError
    from data_processing.terminal import print_result
    from data_processing.twin import cube_path
    from utils.captions import Data, in_words, lead_text
    from utils.draw_run import draw_fields, draw_map
    from utils.read_maps import find_day, open_maps

    if settings.output is not None and Path(settings.output).suffix.lower() != ".png":
        raise UserError(f"output is {settings.output}: name a file that ends in .png; the PDF and the caption stand beside it.")
    path = cube_path("smap_l4") if settings.file == "twin" else Path(settings.file).expanduser().absolute()
    maps = open_maps(path, settings.variable, settings.lead)
    day = find_day(maps, settings.day)
    fields = {name: maps.read(name, day) for name in maps.names}
    doubt = maps.doubt(day)
    if doubt:
        print(f"UNIT? {path}: {doubt}", flush=True)
    output = output_path(settings.output, maps, maps.days[day])

    title = maps.title + (f", {maps.days[day]}" if maps.lead_time is None
                          else f", {lead_text((maps.lead_time,))} ahead; valid {maps.days[day]}")
    about: dict = {"lat": maps.lat, "lon": maps.lon, "title": title, "data": Data(maps.product, maps.days[day], maps.days[day])}
    if "observed" in fields and np.isfinite(fields["observed"] + fields.get("forecast", np.nan)).any():
        draw_map(output, observed=fields["observed"], forecast=fields["forecast"], **about)
    else:
        draw_fields(output, fields={name: values for name, values in fields.items() if np.isfinite(values).any()}, labels=maps.labels,
                    **about)
    print_result(f"{in_words(title)}\n-> {output}\n"
                 f"beside it {output.with_suffix('.pdf').name} and the caption, {output.with_suffix('.txt').name}")


def output_path(asked: str | None, maps: "DailyMaps", day: "np.datetime64") -> Path:
    """The PNG to write: as asked, else named by what it shows, in the file's folder or, where that is not ours, in the current one."""
    import os

    if asked is not None:
        return Path(asked).expanduser().absolute()
    words = [maps.path.stem, *(maps.names if len(maps.names) == 1 else ()), str(day)]
    words += [] if maps.lead_time is None else [f"lead{maps.lead_time}"]
    folder = maps.path.parent if os.access(maps.path.parent, os.W_OK) else Path.cwd()
    return folder / ("_".join(words) + ".png")


if __name__ == "__main__":
    run_script(main, Settings)
