"""A first look at a cube: a table to print and a figure beside it."""
from pathlib import Path

from data_processing.cube import UNITS, VARIABLES, cube_days, cube_variables, describe_summary, open_cube, summarize
from data_processing.files import remove_half_written
from utils.captions import Data
from utils.draw_run import draw_quicklook


def show_cube(path: str | Path) -> None:
    """Print the days, holes, units and ranges of a cube and draw `quicklook.png` beside it.

    Parameters
    ----------
    path : str or Path
        A cube; it may lack variables.
    """
    cube = open_cube(path, cube_variables(path), check_values=False)  # each file was checked when it was read
    land, summaries = summarize(cube)
    print(f"\n{path}\n{describe_summary(cube, land, summaries)}")
    missing = [name for name in VARIABLES if name not in summaries]
    if missing:
        print(f"note: the cube lacks {', '.join(missing)}; the experiments need all of {', '.join(VARIABLES)}")
    figure = Path(path).with_name("quicklook.png")
    remove_half_written(figure.parent, figure.stem)  # of a drawing that was killed
    days = cube_days(cube)
    draw_quicklook(figure, summaries=summaries, units=UNITS, time=days, lat=cube["lat"].values,
                   lon=cube["lon"].values, title=f"{Path(path).stem}: {cube.attrs.get('title', '')}".rstrip(": "),
                   data=Data(cube.attrs.get("title", Path(path).stem), days[0], days[-1]))
    print(figure)
