"""What a forecast rests on: the error when one input is exchanged for that of other days, by lead time, season and wetness.

Reads   a finished run of any of the three folders, its cube and its model.pt; by default the fine-tuned ConvLSTM of the synthetic
        twin, which is made where it does not exist

Writes  factor_importance.csv, .png, .pdf and .txt (caption) into the run's folder

Run     python finetune-SMAPtest/factor_importance.py
        python finetune-SMAPtest/factor_importance.py --run results/SMAPtest/lstm/smap/lead7 --drop-one

Expect  on the synthetic twin 2 minutes after the run is made; --drop-one trains the network once more for each input
"""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import RESUME_FILES, run_script

# the other imports stand in the function: they take seconds, which --help would wait for


@dataclass(frozen=True)
class Settings:
    run: str | None = None  # folder of a finished run; default the fine-tuned ConvLSTM of the synthetic twin
    repeats: int = 5  # permutations that are averaged
    drop_one: bool = False  # also train without each of the inputs
    seed: int = 0  # of the permutations
    scheduler: str | None = None  # address of a dask scheduler, such as tcp://host:8786: its workers make the runs
    results: str = str(PROJECT / "results")  # folder of all runs


def main(settings):
    from utils.captions import data_of_run
    from utils.draw_factors import draw_factors
    from utils.factors import drop_one_rows, open_run, permutation_rows, write_factors
    from utils.fan_out import make_on_workers
    from utils.study import claim_study, run_or_reuse

    default = ("finetune-SMAPtest", "convlstm", {"results": settings.results})
    if not settings.run and settings.scheduler is not None:
        make_on_workers(settings.scheduler, [default], settings.results)
    folder = Path(settings.run) if settings.run else run_or_reuse(*default[:2], **default[2])
    run = open_run(folder)
    claim_study(folder, "name another --run")
    rows = permutation_rows(run, repeats=settings.repeats, seed=settings.seed)
    if settings.drop_one:
        rows += drop_one_rows(run, settings.scheduler)
    write_factors(folder / "factor_importance.csv", rows)
    draw_factors(folder / "factor_importance.png", rows, run.title, data_of_run(folder))
    print(f"factor_importance.csv, factor_importance.png: {folder}", flush=True)


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
