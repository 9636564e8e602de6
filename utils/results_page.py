"""Make the page of results from all finished runs: table, maps of every test day, comparison of runs; open it in a browser.

Every training script refreshes the page when its run is finished, and forecast.py when it has made a forecast. This script makes
all of it again: after runs were copied, moved or removed, or were made by older scripts.

Reads   results/<experiment>/<script>/<name>/lead<days>/ of finished runs
        results/finetune-SMAPtest/forecast/<name>/<day>/ of forecasts in real use

Writes  results/index.html and results/page/: the tables (runs.js), and per run and lead time a file of packed maps under 5 MB

Run     python utils/results_page.py
        python utils/results_page.py --results /shared/results

Expect  a second or two per run; the page needs no server and no network
"""
import csv
import json
import math
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.cube import DOUBTS
from data_processing.errors import UserError
from data_processing.files import PROJECT, replacing
from utils.command_line import RESUME_FILES, run_script, setting_groups

if TYPE_CHECKING:
    from utils.runs import Run

# the other imports stand in the functions: they take seconds, which --help would wait for

PAGE_FILES = Path(__file__).parent / "page_files"
PAGE = "page"
"""Folder beside index.html with what the page is made of; its `data` mirrors the folders of the runs."""
RUN_FOLDERS = ("*/*/*/lead*", "*/*/*/lead*/seed*")
FORECASTS = "finetune-SMAPtest/forecast/*/*/forecast.nc"
MOST_FORECASTS = 20  # that the page lists, the newest ones
MAKE_AGAIN = "python utils/results_page.py"
# What makes one row of the table from a row of metrics.csv
SCORES = {"rmse": "rmse_pooled", "r2": "r2_pooled", "skill": "skill_damped_persistence", "n": "n"}

DEFAULTS_GO_BY = ("head", "lead_time", "lead_times")  # settings that others' defaults depend on
PLACES = ("results", "resume", "device")  # settings that say where and when, not what


@dataclass(frozen=True)
class Settings:
    results: str = str(PROJECT / "results")  # folder of all runs


def main(settings: Any) -> None:
    from data_processing.terminal import print_result, progress_bar

    results = Path(settings.results)
    folders = find_folders(results)
    if not folders:
        raise UserError(f"No finished run lies in {results}. Make one, for instance with python SMAPtest/convlstm.py, or name "
                        "another folder with --results.")
    failures = []
    for folder in progress_bar(folders, desc="pages", unit="run"):
        try:
            write_run_data(results, folder)
        except Exception as error:  # of whatever kind: a run that cannot be read takes nothing from the others
            failures.append(f"{folder}: {one_line(error)}")
    remove_orphans(results, folders)
    runs = write_page(results)
    for failure in failures:
        print_result(f"no maps of {failure}")
    print_result(f"runs: {len({run['id'] for run in runs})}, lines: {len(runs)} (one per lead time); {results / 'index.html'}")


def refresh_page(run: "Run") -> None:
    """Add a finished run to its page of results; what goes wrong is said in one line, and the run is none the worse.

    Parameters
    ----------
    run : utils.runs.Run
    """
    refresh(run.folder.parents[run.name.count("/")], run.folder)


def refresh(results: Path, *folders: Path) -> None:
    """Write the page again with the maps of some finished runs; what goes wrong is said in one line.

    Parameters
    ----------
    results : Path
        Folder of all results.
    *folders : Path
        Of runs; none where only the tables are to be written again, after a forecast.
    """
    from data_processing.terminal import print_result

    try:
        for folder in folders:
            write_run_data(results, folder)
        write_page(results)
        print(f"page of results: {results / 'index.html'}", flush=True)
    except Exception as error:  # of whatever kind: a page is no reason to lose a run
        print_result(f"the page of results was not refreshed: {one_line(error)}. To try again: {MAKE_AGAIN}")


def one_line(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def find_folders(results: Path) -> list[Path]:
    """Folders of the finished runs below `results`, sorted."""
    from utils.runs import is_finished

    return sorted(folder for pattern in RUN_FOLDERS for folder in Path(results).glob(pattern)
                  if is_finished(folder) and (folder / "settings.json").exists())


def write_page(results: Path) -> list[dict]:
    """Write index.html, the scripts beside it and the tables of all finished runs and forecasts, and return the rows of runs.

    Runs may finish at the same time: the table is written again until it holds what is finished.
    """
    results = Path(results)
    for source in sorted(PAGE_FILES.iterdir()):
        target = results / source.name if source.name == "index.html" else results / PAGE / source.name
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    written, found = None, (table_rows(results), forecast_rows(results))
    while found != written:
        runs, forecasts = found
        named = {name for row in runs for name in (row["model"], *row["others"])}
        write_script(results / PAGE / "runs.js", "takeRuns",
                     {"runs": runs, "forecasts": forecasts, "names": names_of(named), "make_again": MAKE_AGAIN})
        written, found = found, (table_rows(results), forecast_rows(results))
    return runs


def table_rows(results: Path) -> list[dict]:
    """Rows of the table, one per finished run and lead time: list of dict of plain values."""
    rows = []
    for folder in find_folders(results):
        try:
            rows += rows_of_run(Path(results), folder)
        except Exception as error:  # of whatever kind: half a file, or one of another program
            print(f"{folder} is left out of the page: {one_line(error)}", flush=True)
    return rows


def rows_of_run(results: Path, folder: Path) -> list[dict]:
    """Rows of the table of one run."""
    from utils.captions import is_synthetic
    from utils.runs import read_json

    settings = read_json(folder / "settings.json")
    metrics = csv_rows(folder / "metrics.csv")
    own = metrics[0]["forecaster"]
    parts = [printable(part) for part in folder.relative_to(results).parts]
    rows = []
    for row in metrics:
        if row["forecaster"] != own:
            continue
        lead = int(row["lead_time"])
        others = {other["forecaster"]: number(other["rmse_pooled"]) for other in metrics
                  if int(other["lead_time"]) == lead and other["forecaster"] != own}
        rows.append({"id": address(results, folder), "experiment": parts[0], "model": parts[1], "name": parts[2],
                     "member": parts[4] if len(parts) > 4 else member_text(settings), "lead": lead,
                     "first": row["first_valid_time"], "last": row["last_valid_time"],
                     **{name: number(row[column]) for name, column in SCORES.items()}, "others": others,
                     "map": map_key(folder), "synthetic": is_synthetic(settings["cube"].get("title")),
                     "data": data_name(settings["cube"]), "date": made_on(folder),
                     "packed": data_path(results, folder, lead).exists()})
    return rows


def data_name(cube: dict) -> str:
    """What to call the data of a run that are not synthetic: the title of the cube, or else the name of its file; UNIT? in doubt."""
    name = cube.get("title") or printable(Path(cube.get("path") or "not synthetic").stem)
    return f"{name} UNIT?" if DOUBTS in cube else name


def forecast_rows(results: Path) -> list[dict]:
    """Forecasts in real use (`forecast.py`), those from the newest data first: list of dict of plain values."""
    rows = []
    for path in sorted(Path(results).glob(FORECASTS), key=lambda each: each.stat().st_mtime, reverse=True):
        try:
            rows.append(forecast_row(results, path))
        except Exception as error:  # of whatever kind: half a file, or one of another program
            print(f"{path} is left out of the page: {one_line(error)}", flush=True)
    return sorted(rows, key=lambda row: row["last_input"], reverse=True)[:MOST_FORECASTS]


def forecast_row(results: Path, path: Path) -> dict:
    """What the page tells of one forecast.nc of `forecast.py`: its last input day, its maps by lead time (days), its files."""
    import netCDF4
    import numpy as np

    with netCDF4.Dataset(path) as file:
        last = str(np.datetime64(int(file["init_time"][-1]), "D"))
        leads, title = [int(lead) for lead in file["lead_time"][:]], file.title
    maps = [(lead, path.with_name(f"map_lead{lead}.png")) for lead in leads]
    files = [path.with_name(name) for name in ("forecast.nc", "points.csv", "metrics.csv")]
    return {"name": printable(path.parts[-3]), "day": printable(path.parts[-2]), "last_input": last, "title": title,
            "maps": [{"lead": lead, "path": address(results, each)} for lead, each in maps if each.exists()],
            "files": [{"name": each.name, "path": address(results, each)} for each in files if each.exists()]}


def map_key(folder: Path) -> str | None:
    """What runs of the same latitudes and longitudes share; None where they cannot be read."""
    import netCDF4

    from data_processing.arrays import short_key

    try:
        with netCDF4.Dataset(folder / "forecast.nc") as file:
            return short_key(*(sorted(file[name][:].round(4).tolist()) for name in ("lat", "lon")))
    except (OSError, IndexError):
        return None


def names_of(words: Iterable[str]) -> dict[str, str]:
    """What the page calls networks, forecasters and products, where it is not as files and folders do."""
    from utils.captions import in_words

    return {word: in_words(word) for word in sorted(words) if in_words(word) != word}


def member_text(settings: dict) -> str:
    """What to call a run that is an ensemble; "" for one network."""
    return f"mean of {len(settings['members'])}" if "members" in settings else ""


def made_on(folder: Path) -> str:
    """When a run was finished, ISO text, UTC."""
    return datetime.fromtimestamp((folder / "metrics.csv").stat().st_mtime, UTC).isoformat(timespec="milliseconds")


def write_run_data(results: Path, folder: Path) -> None:
    """Write the data files of one finished run, one per lead time: its maps by `pack_forecast`, and what is told beside them."""
    from utils.pack_forecast import pack_forecast
    from utils.runs import read_json

    results, folder = Path(results), Path(folder)
    metrics = csv_rows(folder / "metrics.csv")
    made = read_json(folder / "settings.json")
    script = about_settings("/".join(folder.relative_to(results).parts[:2]), made["settings"])
    if "pretrained" in made:  # what was started from, where the setting was left to the script
        made["settings"]["pretrained"] = made["pretrained"]["path"]
    places = [name for name in (*PLACES, "pretrained") if name in made["settings"] and name not in script.get("defaults", {})]
    products = {made["cube"].get("title") or "", made.get("pretrained", {}).get("label", "")}
    about = {"settings": made, **script, "names": names_of({row["forecaster"] for row in metrics} | products),
             "splits": csv_rows(folder / "splits.csv"),
             "training_log": [{name: number(value) for name, value in row.items()}
                              for row in csv_rows(folder / "training_log.csv")],
             "places": places, "figures": figures_of(results, folder),
             "files": [{"name": printable(path.name), "path": address(results, path), "bytes": path.stat().st_size}
                       for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]}
    for lead in sorted({int(row["lead_time"]) for row in metrics}):
        scores = with_water_balance([{name: value if name == "forecaster" else number(value) for name, value in row.items()
                                      if "valid_time" not in name} for row in metrics if int(row["lead_time"]) == lead])
        write_script(data_path(results, folder, lead), "takeRun",
                     {"id": address(results, folder), **about, "metrics": scores, **pack_forecast(folder, lead)})


def with_water_balance(rows: list[dict]) -> list[dict]:
    """Rows of one lead time of metrics.csv with the skill over the water balance, which that file has not."""
    reference = next((row["mse_pooled"] for row in rows if row["forecaster"] == "water_balance"), None)
    if not reference:
        return rows
    return [row | {"skill_water_balance": None if row["mse_pooled"] is None else 1 - row["mse_pooled"] / reference} for row in rows]


def figures_of(results: Path, folder: Path) -> list[dict]:
    """The pictures of a run: name, address, caption ("" where there is none) and address of the PDF (None)."""
    figures = []
    for path in sorted(folder.glob("[!.]*.png")):
        caption, pdf = path.with_suffix(".txt"), path.with_suffix(".pdf")
        figures.append({"name": printable(path.stem), "path": address(results, path),
                        "caption": caption.read_text(encoding="utf-8", errors="replace") if caption.exists() else "",
                        "pdf": address(results, pdf) if pdf.exists() else None})
    return figures


def about_settings(script: str, recorded: dict) -> dict[str, dict]:
    """What a script says of the settings of a run.

    Parameters
    ----------
    script : str
        Its folder and name, such as "SMAPtest/lstm".
    recorded : dict
        The settings in the run's settings.json.

    Returns
    -------
    dict
        groups : name of a setting -> its group in `--help`. defaults : of the settings that have another value in this run,
        name -> default. Empty where no such script is here; without defaults where its settings are others by now.
    """
    from utils.runs import plain
    from utils.study import load_script, script_settings

    path = PROJECT / f"{script}.py"
    if not path.is_file():
        return {}
    try:
        first = plain(load_script(*script.split("/"))["Settings"]())
        chosen = {name: recorded[name] for name in DEFAULTS_GO_BY if name in recorded}
        defaults = plain(script_settings(*script.split("/"), **chosen)[1]) | {name: first[name] for name in chosen}
    except Exception as error:  # of whatever kind: a page without defaults is worth having
        print(f"{path}: no defaults for the page: {one_line(error)}", flush=True)
        return {"groups": setting_groups(path)}
    return {"groups": setting_groups(path), "defaults": {
        name: defaults[name] for name, value in recorded.items()
        if name in defaults and name not in PLACES and value != defaults[name]}}


def data_path(results: Path, folder: Path, lead: int) -> Path:
    """Path of the data file of a run and lead time."""
    return results / PAGE / "data" / folder.relative_to(results) / f"lead{lead}.js"


def remove_orphans(results: Path, folders: Iterable[Path]) -> None:
    """Remove the data files of runs that are no longer there."""
    data = Path(results) / PAGE / "data"
    kept = {data / folder.relative_to(results) for folder in folders}
    for path in data.glob("**/lead*.js"):
        if path.parent not in kept:
            path.unlink()


def write_script(path: Path, function: str, content: dict) -> None:
    """Write a script that hands plain values to a function of the page.

    A browser lets a page from the disk load scripts, but no other files.
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII, so that any name and any encoding is safe
    with replacing(path) as temporary:
        temporary.write_text(f"{function}({text});\n", encoding="ascii")


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, list of dict of str; empty where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    """The number of a CSV field; None where it is empty or not finite."""
    value = float(text or "nan")
    return None if not math.isfinite(value) else int(value) if value.is_integer() and abs(value) < 2 ** 53 else value


def address(results: Path, path: Path) -> str:
    """Address of a file or folder from index.html, ASCII, whatever its name holds; of a folder also what a run is known by."""
    return quote(path.relative_to(results).as_posix().encode("utf-8", "surrogateescape"))


def printable(name: str) -> str:
    """A file's name as text, also where it is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
