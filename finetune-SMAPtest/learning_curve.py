"""When transfer is worth it: skill against the number of target days, from scratch, zero-shot and fine-tuned.

Reads   a daily cube and a source cube; by default the synthetic twin of both; the runs of SMAPtest and finetune-SMAPtest with the
        last n days before train_until, each of which is made where it does not exist: an interrupted study goes on

Writes  results/finetune-SMAPtest/learning_curve/<name>/: learning_curve.csv, .md, .png, .pdf and .txt (caption)

Run     python finetune-SMAPtest/learning_curve.py --quick
        python finetune-SMAPtest/learning_curve.py --cube smap.nc --source-cube twin --train-until 2016-03-31

Expect  on a cube of 400 land cells, half an hour on two cores
"""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import RESUME_FILES, run_script

# the other imports stand in the function: they take seconds, which --help would wait for


@dataclass(frozen=True)
class Settings:
    # data
    cube: str = "twin"  # path of a daily cube, or "twin": the synthetic twin of SMAP L4
    source_cube: str | None = None  # cube to pre-train on: a path, or "twin" (default where cube is "twin")
    test_from: str | None = None  # first test day; default the last 365 days (last quarter of a record under 3 years)
    train_until: str | None = None  # last target day to learn from; default so that embargo_days lie before the test
    # study
    model: Literal["convlstm", "lstm", "cnn", "conv3d_lstm"] = "convlstm"  # network; its local head
    train_days: tuple[int, ...] = (30, 45, 60, 120, 240)  # target days before train_until; all of them are added
    lead_times: tuple[int, ...] = (3, 7)  # days, in one model
    seeds: int = 1  # members of each network
    coming_weather: str = "none"  # also told the coming days: "observed" (a bound), "twin" (its service), or a file
    minimum_observations: int = 5  # scored are cells that are observed as often in the last n days before train_until
    quick: bool = False  # two lengths and short trainings: tells that all works
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers make the runs
    # output
    device: str = "cpu"  # "cpu" or "cuda"
    name: str | None = None  # of the study; default the cube's name
    results: str = str(PROJECT / "results")  # folder of all runs


def main(settings):
    from data_processing.coming_weather import kind_of
    from utils.captions import data_of_run
    from utils.draw_learning import draw_learning_curve
    from utils.learning import make_learning_runs, score_learning_runs, write_learning_curve
    from utils.runs import find_cube
    from utils.study import QUICK_NOTE, claim_study

    name = settings.name or (find_cube(settings.cube, "smap_l4").name + ("-quick" if settings.quick else "")
                             + ("" if settings.model == "convlstm" else f"-{settings.model}"))
    folder = Path(settings.results) / "finetune-SMAPtest" / "learning_curve" / (name + kind_of(settings.coming_weather).run)
    claim_study(folder)
    runs = make_learning_runs(settings, name)
    rows, title = score_learning_runs(settings, runs)
    title += QUICK_NOTE if settings.quick else ""
    write_learning_curve(folder, rows, title)
    draw_learning_curve(folder / "learning_curve.png", rows, title, data_of_run(runs[0].folder))
    print(f"table and figure: {folder}", flush=True)


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
