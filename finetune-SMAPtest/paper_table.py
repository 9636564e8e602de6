"""The paper's table: every network, every lead time, from scratch and transferred, with what the numbers are worth.

Reads   a daily cube and a source cube; by default the synthetic twin of both; the runs of the three folders, each of which is
        made where it does not exist: an interrupted study goes on where it was

Writes  results/finetune-SMAPtest/paper_table/<name>/: table.csv, table.md, table.tex, gain_by_region.csv, and
        scatter, gain, gain_by_region, skill and lead, each as .png and .pdf with its caption as .txt

Run     python finetune-SMAPtest/paper_table.py --quick
        python finetune-SMAPtest/paper_table.py --lead-times 1 3 5 7 --forms convlstm-local --coming-weather twin
        python finetune-SMAPtest/paper_table.py --cube smap.nc --source-cube era5_land.nc

Expect  the quick form (one member, a year to learn from, short trainings, the first lead time, without the paper's two largest
        networks) under 10 minutes on two cores
"""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import RESUME_FILES, run_script
from utils.models.forms import FORMS

# the other imports stand in the function: they take seconds, which --help would wait for


@dataclass(frozen=True)
class Settings:
    # data
    cube: str = "twin"  # path of a daily cube, or "twin": the synthetic twin of SMAP L4
    source_cube: str | None = None  # cube to pre-train on: a path, or "twin" (default where cube is "twin")
    test_from: str | None = None  # first test day; default the last 365 days (last quarter of a record under 3 years)
    train_until: str | None = None  # last day to learn from; default so that the longest lead time lies before the test
    train_days: int | None = None  # learn from the last n days before train_until only
    # study
    lead_times: tuple[int, ...] = (3, 5, 7)  # days
    forms: tuple[str, ...] = FORMS  # networks, each with its head
    seeds: int = 3  # members of each network
    coming_weather: str = "none"  # also told the coming days: "observed" (a bound), "twin" (its service), or a file
    quick: bool = False  # one member, short records and trainings: tells that all works, not who is best
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers make the runs
    regions: tuple[str, ...] = ()  # to score apart: "name:south,north,west,east" in degrees, or NetCDF files of masks
    # output
    device: str = "cpu"  # "cpu" or "cuda"
    name: str | None = None  # of the study; default the cube's name
    results: str = str(PROJECT / "results")  # folder of all runs


def main(settings):
    from data_processing.coming_weather import kind_of
    from utils.captions import data_of_run
    from utils.draw_lead import draw_errors_against_lead
    from utils.draw_table import draw_gain, draw_gain_by_region, draw_scatters, draw_skill
    from utils.gain_by_region import gain_rows, write_gain_by_region
    from utils.runs import find_cube
    from utils.study import QUICK_NOTE, claim_study
    from utils.tables import collect_rows, lead_lines, make_runs, print_table, write_tables

    name = settings.name or (find_cube(settings.cube, "smap_l4").name + ("-quick" if settings.quick else "")
                             + (f"-{settings.train_days}days" if settings.train_days else ""))
    folder = Path(settings.results) / "finetune-SMAPtest" / "paper_table" / (name + kind_of(settings.coming_weather).run)
    claim_study(folder)
    runs = make_runs(settings, name)
    lead_times = sorted({lead_time for run in runs for lead_time in run.lead_times})
    rows, title = collect_rows(runs, lead_times)
    title += QUICK_NOTE if settings.quick else ""
    print_table(rows, title)
    data = data_of_run(next(run.folder for run in runs if run.folder is not None))
    draw_scatters(folder / "scatter.png", runs, lead_times, title, data)
    draw_gain(folder / "gain.png", runs, lead_times, title, data)
    gains = gain_rows(runs, settings.regions)
    if gains:
        write_gain_by_region(folder, gains)
        draw_gain_by_region(folder / "gain_by_region.png", gains, title, data)
    draw_skill(folder / "skill.png", rows, title, data)
    if len(lead_times) > 1:
        draw_errors_against_lead(folder / "lead.png", lead_lines(runs, rows), f"Error against lead time, {title}", data,
                                 min(row["n"] for row in rows if "n" in row))
    write_tables(folder, rows, title)
    print(f"tables and figures: {folder}", flush=True)


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
