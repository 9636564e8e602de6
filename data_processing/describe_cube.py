"""Look at your own data first: what a cube holds and how hard it is to forecast.

Reads   a daily cube; all but soil moisture may lack; default the synthetic twin
        of SMAP L4

Writes  <cube>_description.png, .pdf and .txt (its caption): one page with holes,
        seasons, memory, and what forecasts score that need no network;
        <cube>_description.csv: the same as a table

Run     python data_processing/describe_cube.py --cube smap.nc
        python data_processing/describe_cube.py --test-from 2020-01-01

Expect  half a minute for the twin (52 x 65 cells, 2,103 days); memory for some
        maps and blocks of days, whatever the size
"""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.command_line import RESUME_FILES, run_script

# the other imports stand in the functions: they take seconds, which --help would wait for


@dataclass(frozen=True)
class Settings:
    # data
    cube: str = "twin"  # path of a daily cube, or "twin": the synthetic twin of SMAP L4
    # what is scored
    lead_times: tuple[int, ...] = tuple(range(1, 31))  # days ahead, 1 to 30
    test_from: str | None = None  # first test day; default the last 365 days (last quarter of a record under 3 years)
    test_days: int | None = None  # length of the test period, instead of test_from
    max_gap_days: int = 10  # oldest value that is carried over a gap, days
    # output
    output: str | None = None  # folder; default the cube's own


def main(settings: Any) -> None:
    from data_processing.cube import cube_variables, open_cube
    from data_processing.errors import UserError
    from data_processing.files import write_csv
    from data_processing.terminal import WIDTH, print_result
    from data_processing.twin import cube_path
    from data_processing.units import file_ranges, suspicion
    from utils.describing import COLUMNS, describe_data
    from utils.draw_description import draw_description, wrap_sentence

    path = cube_path("smap_l4") if settings.cube == "twin" else Path(settings.cube).expanduser().absolute()
    folder = path.parent if settings.output is None else Path(settings.output).expanduser().absolute()
    held = cube_variables(path)
    if "soil_moisture" not in held:
        open_cube(path, ("soil_moisture",), check_values=False)  # refuses it
    doubts = [said for name, values in file_ranges(path).items() if (said := suspicion(name, values))]
    try:
        cube = open_cube(path, held, check_values=False)
    except UserError as error:
        raise UserError(" ".join([str(error), *doubts])) from None
    table, about, rows, data = describe_data(cube, doubts, settings)
    print_result(f"\n{path}\n{table}\n" + "\n".join(line for sentence in about.said for line in wrap_sentence(sentence, WIDTH)))
    write_csv(folder / f"{path.stem}_description.csv", COLUMNS, rows)
    draw_description(folder / f"{path.stem}_description.png", about, data)
    print_result(f"-> {folder / path.stem}_description.png, .pdf, .txt (caption) and .csv (table)")


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
