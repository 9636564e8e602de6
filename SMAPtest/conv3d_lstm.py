"""Train a 3-D convolution with an LSTM from scratch on the target domain, SMAP L4, and test it there.

Reads   a daily cube of precipitation, soil moisture and soil temperature; by default the synthetic twin of SMAP L4

Writes  results/SMAPtest/conv3d_lstm/<name>/lead<days>/: model.pt, forecast.nc, metrics.csv, maps

Run     python SMAPtest/conv3d_lstm.py --lead-time 5
        python SMAPtest/conv3d_lstm.py --lead-times 1 2 3 4 5 6 7
"""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import run_script

# the other imports stand in the functions: they take seconds, which --help would wait for

LEARNING_RATE = 3e-3  # of the local head


@dataclass(frozen=True)
class Settings:
    # data
    cube: str = "twin"  # path of a daily cube, or "twin": the synthetic twin of SMAP L4
    test_from: str | None = None  # first test day; default the last 365 days (last quarter of a record under 3 years)
    test_days: int | None = None  # length of the test period, instead of test_from
    train_until: str | None = None  # last day to learn from; default so that embargo_days lie before the test
    train_days: int | None = None  # learn from the last n days before train_until only
    embargo_days: int | None = None  # days without targets before validation and test; default the longest lead time
    max_gap_days: int = 10  # oldest value that is carried over a gap, days
    # sequence
    lead_time: int = 3  # days from the last input day to the day that is forecast, 1..30
    lead_times: tuple[int, ...] | None = None  # several in one model, instead of lead_time
    input_days: int | None = None  # days a forecast looks back; default 30, the lead time for the paper's form
    drop_inputs: tuple[str, ...] = ()  # hidden from the network: a variable, season, place
    coming_weather: str = "none"  # told of the coming days: "none", "observed" (a bound), "twin" (its service), or a file
    # model
    head: Literal["local", "dense"] = "local"  # "local": ours, for any map; "dense": the paper's
    hidden: tuple[int, ...] | None = None  # hidden channels; default 48; 10 for the paper's form
    dropout: float = 0.0  # of the local head
    scaling: Literal["cell", "global"] | None = None  # each cell's own mean and spread, or (the paper's form) one pair
    # training
    steps: int = 2000  # of the optimizer, where epochs is not given
    epochs: int | None = None  # passes over the training days, instead of steps; default 30 for the paper's form
    patience: int = 10  # epochs (tenths of the steps) without a better validation, then training stops
    refit: bool | None = None  # train once more on training + validation days; default if they are under two years
    batch_size: int | None = None  # windows; default 2, and learning from each of their days; 32 for the paper's form
    patch: int | None = None  # rows and columns of the square a step learns from; default the whole map, 64 of over 16,384 cells
    learning_rate: float | None = None  # highest of a rise and fall; default 3e-3, 1e-3 for the paper's form
    weight_decay: float = 0.01  # of AdamW
    seed: int = 0  # of the start weights, the order of the windows and the dropout
    seeds: int = 1  # members of an ensemble, from this seed on
    device: str = "cpu"  # "cpu" or "cuda"
    # of the network's arithmetic; "auto": bfloat16 where the processor computes faster with it
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    # output
    name: str | None = None  # of the run; default the cube's name, and the head where it is not "local"
    regions: tuple[str, ...] = ()  # to score apart: "name:south,north,west,east" in degrees, or NetCDF files of masks
    results: str = str(PROJECT / "results")  # folder of all runs
    resume: bool = False  # go on with an interrupted run


def main(settings):
    from utils.members import run_members
    from utils.models.conv3d_lstm import PAPER_HIDDEN
    from utils.models.settings import complete

    settings = complete(settings, learning_rate=LEARNING_RATE, paper_hidden=PAPER_HIDDEN)
    run_members(train_and_test, settings, "SMAPtest", "conv3d_lstm", domain="smap_l4")


def train_and_test(settings):
    from data_processing.record import open_record
    from data_processing.splits import split_cube
    from utils.models.conv3d_lstm import make_conv3d_lstm
    from utils.reporting import evaluate_run, forecast_test
    from utils.runs import find_cube, start_run
    from utils.training import train
    from utils.transfer import save_model

    cube_file = find_cube(settings.cube, "smap_l4")
    cube, splits = split_cube(cube_file.path, settings)
    run = start_run("SMAPtest", "conv3d_lstm", settings, cube_file, cube, splits)

    record = open_record(cube, cube_file.name, splits, max_gap_days=settings.max_gap_days,
                         hidden=settings.drop_inputs, coming_weather=settings.coming_weather)

    def new_network(record):
        return make_conv3d_lstm(settings, record)

    network, record = train(new_network, record, splits, settings, run)
    save_model(run, network, record, settings, splits)
    forecasts, members = forecast_test("conv3d_lstm", network, record, splits, settings)
    evaluate_run(run, record, splits, forecasts, members=members, label=run.label,
                 twin_domain=cube.attrs.get("twin_domain"), regions=settings.regions)


if __name__ == "__main__":
    run_script(main, Settings)
