"""Fine-tune an LSTM, pre-trained on ERA5-Land, on the target domain, SMAP L4, and test it there.

Reads   a daily cube of precipitation, soil moisture and soil temperature; by default the synthetic twin of SMAP L4;
        the run of ERA5test/lstm.py, which is made first where it does not exist

Writes  results/finetune-SMAPtest/lstm/<name>/lead<days>/: model.pt, forecast.nc, metrics.csv, maps

Run     python finetune-SMAPtest/lstm.py --lead-time 5
        python finetune-SMAPtest/lstm.py --lead-times 1 2 3 4 5 6 7
        python finetune-SMAPtest/lstm.py --cube smap.nc --source-cube era5_land.nc
"""
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import run_script

# the other imports stand in the functions: they take seconds, which --help would wait for

LEARNING_RATE = 1e-3  # of the local head


@dataclass(frozen=True)
class Settings:
    # transfer
    source_cube: str | None = None  # cube to pre-train on: a path, or "twin" (default where cube is "twin")
    further_cubes: tuple[str, ...] = ()  # more cubes to pre-train on: the union of all is learned from
    worlds: int | None = None  # synthetic worlds to pre-train on; default 5, 0 for the paper's form
    source_until: str | None = None  # last source day to learn from; default the day before the target's validation
    pretrained: str | None = None  # a finished run, or its model.pt, to start from, instead of source_cube's
    scaling_from: Literal["target", "source"] = "target"  # whose mean and spread; "source" by cell needs equal grids
    zero_shot: bool = False  # use the pre-trained weights as they are
    freeze: tuple[str, ...] = ()  # stay as pre-trained: encoder (ours), recurrent, head, coming (weather)
    learning_rate_scale: dict[str, float] = field(default_factory=dict)  # by part; told weather: encoder, recurrent 0.2, coming 4
    pull: float = 0.0  # of the weights towards the pre-trained ones (L2-SP)
    hold_back: bool | None = None  # go only as far as validation and record allow; default yes, no for the paper's
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
    hidden: tuple[int, ...] | None = None  # hidden channels; default 48; as many as there are cells in the paper's form
    dropout: float = 0.0  # of the local head
    scaling: Literal["cell", "global"] | None = None  # each cell's own mean and spread, or (the paper's form) one pair
    # training
    steps: int = 800  # of the optimizer, where epochs is not given
    epochs: int | None = None  # passes over the training days, instead of steps; default 30 for the paper's form
    patience: int = 10  # epochs (tenths of the steps) without a better validation, then training stops
    refit: bool | None = None  # train once more on training + validation days; default if they are under two years
    batch_size: int | None = None  # windows; default 2, and learning from each of their days; 32 for the paper's form
    patch: int | None = None  # rows and columns of the square a step learns from; default the whole map, 64 of over 16,384 cells
    learning_rate: float | None = None  # highest of a rise and fall; default 1e-3
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
    from utils.models.lstm import PAPER_HIDDEN
    from utils.models.settings import complete

    settings = complete(settings, learning_rate=LEARNING_RATE, paper_hidden=PAPER_HIDDEN)
    run_members(train_and_test, settings, "finetune-SMAPtest", "lstm", domain="smap_l4")


def train_and_test(settings):
    from data_processing.record import open_record
    from data_processing.splits import split_cube
    from utils.models.lstm import make_lstm
    from utils.models.settings import ARCHITECTURE
    from utils.reporting import evaluate_run, forecast_test
    from utils.runs import find_cube, start_run
    from utils.training import parameter_groups, train
    from utils.transfer import load_weights, pretrained_model, save_model, transferred_label

    cube_file = find_cube(settings.cube, "smap_l4")
    cube, splits = split_cube(cube_file.path, settings)
    run = start_run("finetune-SMAPtest", "lstm", settings, cube_file, cube, splits)

    record = open_record(cube, cube_file.name, splits, max_gap_days=settings.max_gap_days,
                         hidden=settings.drop_inputs, coming_weather=settings.coming_weather)
    parameter_groups(make_lstm(settings, record), settings)  # refuses unknown parts before anything is trained
    start, pretrained = pretrained_model(settings, "lstm", ARCHITECTURE, splits, record)
    run.record_pretrained(start, pretrained)
    scaler = pretrained["scaler"] if settings.scaling_from == "source" else None

    def new_network(record):
        network = make_lstm(settings, record)
        load_weights(network, pretrained)
        return network

    network, record = train(new_network, record, splits, settings, run, scaler=scaler)
    save_model(run, network, record, settings, splits)
    forecasts, members = forecast_test("lstm", network, record, splits, settings)
    evaluate_run(run, record, splits, forecasts, members=members,
                 label=transferred_label(run, pretrained, settings), twin_domain=cube.attrs.get("twin_domain"),
                 regions=settings.regions)


if __name__ == "__main__":
    run_script(main, Settings)
