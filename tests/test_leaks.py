"""The leak audit through whole scripts, for every network and every way to train.

What a forecast must not know is replaced by noise: the forecast, the weights or the scores are the same, to the last bit. A
choice of cases that covers every network, head and way runs by default; all of them run with `-m slow`.
"""
from typing import NamedTuple

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

from data_processing.cube import write_cube
from data_processing.weather_file import new_weather_file
from tests.conftest import day_axis, weather_values
from tests.test_scripts import call, read_csv, short_pretraining  # noqa: F401, a fixture
from utils import draw_ensemble, draw_regions, reporting, training

LEADS = (1, 3)
LAT, LON = 30.0 + np.arange(4), np.arange(-2.0, 4.0)  # across Greenwich: 0..360 puts the columns in another order
SEA = np.zeros((4, 6), bool)
SEA[:2, :2] = SEA[3, 5] = True
FIRST, DAYS, TEST_DAYS = "2015-01-01", 240, 60
SOURCE_FIRST, SOURCE_DAYS = "2014-01-01", 300
RAIN, SOIL, WARMTH = range(3)
WEATHER_DAYS, MEMBERS = 3, 2

NETWORKS = ("cnn", "lstm", "convlstm", "conv3d_lstm")
FORMS = [(network, head) for network in NETWORKS for head in ("local", "dense")] + [("convlstm", "conv")]
WAYS = {"pre-training": None, "scratch": None, "fine-tuned": {}, "zero-shot": {"zero_shot": True},
        "frozen": {"freeze": ("head",)}, "source scaling": {"scaling_from": "source"}}


class Case(NamedTuple):
    """A network, its head, the way to train it (WAYS), and whether it is told a weather forecast."""

    network: str
    head: str
    way: str
    weather: bool = False

    def __str__(self):
        return "-".join((self.network, self.head, self.way.replace(" ", "-"), *(("weather",) if self.weather else ())))


ALL = [Case(*form, way) for form in FORMS for way in WAYS]
ALL += [Case(network, "local", way, True) for network in NETWORKS for way in WAYS if way != "pre-training"]


def cases(*chosen, among=ALL):
    """All cases, those not chosen marked slow."""
    chosen = [Case(*each) for each in chosen]
    assert set(chosen) <= set(among)
    return pytest.mark.parametrize("case", [pytest.param(case, id=str(case), marks=() if case in chosen else pytest.mark.slow)
                                            for case in among])


# --------------------------------------------------------------------------------------------------------- files
def values_of(days, seed):
    """Weather [days, 3, H, W] with a gap here and there and nothing at sea."""
    values = weather_values(days, *SEA.shape, seed)
    values[:, SOIL][np.random.default_rng(seed).random((days, *SEA.shape)) < 0.05] = np.nan
    values[:, :, SEA] = np.nan
    return values


def write(path, values, first):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cube(path, values, day_axis(first, len(values)), LAT, LON, {"title": "small test cube", "source": "tests"})
    return path


def noise(*shape, seed=7):
    """Values [*shape, 3, H, W] that could be weather, three in ten of them missing."""
    random = np.random.default_rng(seed)
    values = np.stack([random.uniform(*ends, (*shape, *SEA.shape)) for ends in ((0, 60), (0.02, 0.6), (260, 320))],
                      axis=-3).astype(np.float32)
    values[random.random(values.shape) < 0.3] = np.nan
    values[..., SEA] = np.nan
    return values


def write_weather(path, values, later=None):
    """Forecasts of a target cube's own weather, a third of them of another day; of init days after `later` noise."""
    random = np.random.default_rng(3)
    init = np.arange(DAYS - WEATHER_DAYS)
    valid = init[:, None, None] + np.arange(1, WEATHER_DAYS + 1)[None, :, None]
    wrong = random.random((len(init), WEATHER_DAYS, MEMBERS)) < 0.3
    told = np.nan_to_num(values[np.where(wrong, random.integers(0, DAYS, wrong.shape), valid)], nan=280.0)
    told[..., RAIN, :, :][..., SEA] = 0.0
    if later is not None:
        told[later + 1:] = np.nan_to_num(noise(*told[later + 1:].shape[:3], seed=8), nan=270.0)
    with new_weather_file(path, day_axis(FIRST, len(init)), np.arange(1, WEATHER_DAYS + 1), MEMBERS, LAT, LON, "air_temperature",
                          {"title": "test forecasts"}) as file:
        file["precipitation"][:] = told[..., RAIN, :, :]
        file["air_temperature"][:] = told[..., WARMTH, :, :]
    return path


DISGUISES = {
    "variables permuted": lambda cube: cube[["soil_temperature", "soil_moisture", "precipitation"]],
    "latitude flipped": lambda cube: cube.isel(lat=slice(None, None, -1)),
    "longitudes 0..360": lambda cube: cube.assign_coords(lon=cube["lon"] % 360).sortby("lon"),
    "longitudes shifted by 360": lambda cube: cube.assign_coords(lon=cube["lon"] - 360),
    "days backwards": lambda cube: cube.isel(time=slice(None, None, -1)),
    "dimensions permuted": lambda cube: cube.transpose("lon", "time", "lat"),
}


def disguised(path, folder, disguises):
    """The same cube in another form."""
    with xr.open_dataset(path) as cube:
        cube = cube.load()
    for disguise in disguises:
        cube = DISGUISES[disguise](cube)
    folder.mkdir(parents=True, exist_ok=True)
    cube.to_netcdf(folder / path.name)
    return folder / path.name


# ---------------------------------------------------------------------------------------------------------- runs
@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """What is drawn follows from what is written."""
    for module, names in ((reporting, ("draw_run", "draw_lead")), (draw_ensemble, ("draw_ensemble",)),
                          (draw_regions, ("draw_regions", "draw_events", "draw_spectrum"))):
        for name in names:
            monkeypatch.setattr(module, name, lambda *arguments, **options: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with the clean cubes and the weather file."""
    folder = tmp_path_factory.mktemp("leaks")
    values = values_of(DAYS, 2)
    write(folder / "target.nc", values, FIRST)
    write(folder / "source.nc", values_of(SOURCE_DAYS, 1), SOURCE_FIRST)
    write_weather(folder / "weather.nc", values)
    return folder


def script(case):
    experiment = {"pre-training": "ERA5test", "scratch": "SMAPtest"}.get(case.way, "finetune-SMAPtest")
    return f"{experiment}/{case.network}.py"


def settings_of(case):
    """Settings of a short training."""
    hidden = {"hidden": (4,)} if case.head == "local" else {}
    return {"head": case.head, "lead_times": LEADS, "epochs": 1, "test_days": TEST_DAYS, **hidden}


def run(case, place, results, cube=None, weather=None, **changes):
    """Run the script of a case, on the clean files where no others are named, and give its folder.

    Fine-tuning starts from the clean pre-training, which is made once, if no source is named.
    """
    asked = settings_of(case) | {"cube": str(cube or place / cube_of(case)[0]), "results": str(results), "name": "run"}
    if WAYS[case.way] is not None:
        asked |= WAYS[case.way] | ({} if "source_cube" in changes else {"pretrained": str(pretrained(case, place))})
    if case.weather:
        asked["coming_weather"] = str(weather or place / "weather.nc")
    folder = results / script(case).removesuffix(".py") / "run" / "lead1_3"
    if not (folder / "metrics.csv").exists():
        call(script(case), **asked | changes)
    return folder


def pretrained(case, place):
    """Folder of the pre-training that a fine-tuning starts from."""
    results = place / f"pretrained-{case.head}{'-told' * case.weather}"
    told = {"coming_weather": "observed"} if case.weather else {}
    return run(Case(case.network, case.head, "pre-training"), place, results, **told)


def clean_run(case, place):
    """Folder of the run on the clean files, which all audits of a case compare with."""
    return run(case, place, place / str(case))


def cube_of(case):
    """File name, first day and values of the clean cube that a case is trained and tested on."""
    if case.way == "pre-training":
        return "source.nc", SOURCE_FIRST, values_of(SOURCE_DAYS, 1)
    return "target.nc", FIRST, values_of(DAYS, 2)


def same_weights(one, other):
    """Assert that two runs have the same weights, scaler and maps of the place, to the last bit."""
    one, other = (torch.load(folder / "model.pt", weights_only=True) for folder in (one, other))
    for kind in ("weights", "scaler"):
        assert one[kind].keys() == other[kind].keys()
        for name, value in one[kind].items():
            same = torch.equal(value, other[kind][name]) if torch.is_tensor(value) else value == other[kind][name]
            assert same or name == "source", name
    assert torch.equal(one["static"], other["static"])


def forecasts(folder):
    """Variables [I, L, H, W] of a run's forecast.nc but for the observation, and the quantiles with their dimension last."""
    with netCDF4.Dataset(folder / "forecast.nc") as file:
        found = {name: file[name][:].filled(np.nan) for name in file.variables
                 if "init_time" in file[name].dimensions and file[name].ndim >= 4 and name != "observed"}
    return {name: np.moveaxis(values, 0, -1) if name == "quantile" else values for name, values in found.items()}


# ---------------------------------------------------------------------------------------- what is not known yet
def audit_of_later_days(case, place, tmp_path, day):
    """Replace all that is later than an init day by noise, and the weather forecasts of later init days."""
    name, first, values = cube_of(case)
    write_weather(tmp_path / "weather.nc", values, day)
    init = len(values) - TEST_DAYS - LEADS[-1]  # the first in forecast.nc
    values[day + 1:] = noise(len(values) - day - 1)
    clean = clean_run(case, place)
    poisoned = run(case, place, tmp_path, write(tmp_path / name, values, first), tmp_path / "weather.nc")
    same_weights(clean, poisoned)
    before, after = forecasts(clean), forecasts(poisoned)
    assert before.keys() == after.keys() and {"forecast", "spread", "quantile"} <= before.keys()
    assert ("blind" in before) == case.weather
    for name in before:
        if "bound" in name:
            continue  # told what is observed later
        np.testing.assert_array_equal(before[name][:day + 1 - init], after[name][:day + 1 - init], err_msg=name)
        assert np.isfinite(before[name][:day + 1 - init]).any()
    for name in ("forecast", *(["blind"] if case.weather else [])):
        one, other = before[name][day + 1 - init:, :, ~SEA], after[name][day + 1 - init:, :, ~SEA]
        assert (one != other)[np.isfinite(one)].mean() > 0.9  # the noise is there
    last = np.datetime64(first) + day
    one, other = ([row for row in read_csv(folder / "daily_scores.csv") if np.datetime64(row["valid_time"]) <= last
                   and "bound" not in row["forecaster"]] for folder in (clean, poisoned))
    assert one == other  # the baselines, too


@cases(("convlstm", "dense", "scratch"), ("cnn", "local", "pre-training"), ("lstm", "local", "zero-shot"),
       ("convlstm", "local", "fine-tuned", True))
def test_all_after_the_first_init_day_is_noise(case, place, tmp_path):
    """Every day of the test and of the embargo: weights, scaler and the first forecast are the same."""
    audit_of_later_days(case, place, tmp_path, len(cube_of(case)[2]) - TEST_DAYS - LEADS[-1])


@cases(("conv3d_lstm", "dense", "source scaling"), ("cnn", "dense", "frozen"))
def test_all_after_an_init_day_amid_the_test_is_noise(case, place, tmp_path):
    """All forecasts up to it are the same, and the scores of the days that they serve."""
    audit_of_later_days(case, place, tmp_path, len(cube_of(case)[2]) - TEST_DAYS // 2)


# --------------------------------------------------------------------------------------------------- the split
def used_targets(monkeypatch):
    """Sets of the target days (dates) that networks are taught, each set once: filled while a script runs."""
    found, gather = set(), training.observed_targets

    def observed_targets(record, init_days, target_days, *arguments):
        found.add(frozenset(record.time[target_days].tolist()))
        return gather(record, init_days, target_days, *arguments)

    monkeypatch.setattr(training, "observed_targets", observed_targets)
    return found


def named_targets(folder):
    """Split -> set of the target days that splits.csv names."""
    return {row["split"]: set(np.arange(*np.array([row["first_target"], row["last_target"]], "datetime64[D]") + [0, 1]).tolist())
            for row in read_csv(folder / "splits.csv")}


def days_of(path, variable):
    """Dates of a coordinate of a file."""
    with xr.open_dataset(path) as dataset:
        return set(dataset[variable].values.astype("datetime64[D]").ravel().tolist())


@cases(("lstm", "dense", "scratch"), ("lstm", "local", "fine-tuned"))
def test_split_moved_by_a_day_moves_exactly_the_windows_that_it_names(case, place, tmp_path, monkeypatch):
    named = []
    clean_run(case, place)  # and what it starts from
    for test_days in (TEST_DAYS, TEST_DAYS - 1):
        with monkeypatch.context() as patch:
            taught = used_targets(patch)
            folder = run(case, place, tmp_path / str(test_days), test_days=test_days)
        of_split = named_targets(folder)
        if case.way == "zero-shot":
            assert not taught
        else:  # a record under two years is learned from once more, with its validation days
            assert taught == {frozenset(of_split["train"]), frozenset(of_split["train"] | of_split["validation"])}
        assert days_of(folder / "validation.nc", "valid_time") == of_split["validation"]
        tested = {row["valid_time"] for row in read_csv(folder / "daily_scores.csv")}
        assert tested == set(map(str, of_split["test"]))
        named.append(of_split)
    before, after = named
    day = min(before["test"])
    assert before["test"] - after["test"] == {day} and not after["test"] - before["test"]
    for split in ("train", "validation"):
        assert 1 <= len(after[split] ^ before[split]) <= 2 and day not in after[split]


# ------------------------------------------------------------------------------------------------- how it is told
def same_run(one, other):
    """Assert that two runs have the same weights and the same scores."""
    same_weights(one, other)
    for name in ("metrics.csv", "daily_scores.csv", "regions.csv", "events.csv", "splits.csv", "ensemble.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("disguise", DISGUISES)
def test_form_of_the_file_changes_nothing(disguise, place, tmp_path):
    case = Case("conv3d_lstm", "dense", "scratch")
    same_run(clean_run(case, place), run(case, place, tmp_path, disguised(place / "target.nc", tmp_path / "cube", [disguise])))


@cases(("convlstm", "local", "fine-tuned", True))
def test_all_disguises_together_change_nothing(case, place, tmp_path):
    path = disguised(place / cube_of(case)[0], tmp_path / "cube", DISGUISES)
    same_run(clean_run(case, place), run(case, place, tmp_path, path))


@cases(("conv3d_lstm", "local", "scratch"), ("convlstm", "conv", "scratch"), ("cnn", "local", "pre-training"))
def test_values_at_sea_never_matter(case, place, tmp_path):
    """Rain and temperature stand at sea, as large as they may be, infinite or missing, and soil moisture on test days."""
    name, first, values = cube_of(case)
    random = np.random.default_rng(5)
    for channel, high in ((RAIN, 1999.0), (WARMTH, 369.0)):
        at_sea = np.array([np.inf, -np.inf, 1e30, np.nan, high, high / 2], np.float32)
        values[:, channel, SEA] = random.choice(at_sea, (len(values), SEA.sum()))
    values[-TEST_DAYS:, SOIL, SEA] = random.uniform(0, 1.4, (TEST_DAYS, SEA.sum()))
    same_run(clean_run(case, place), run(case, place, tmp_path, write(tmp_path / name, values, first)))


# --------------------------------------------------------------------------------------------------- the source
@cases(("lstm", "local", "frozen"), among=[case for case in ALL if WAYS[case.way] is not None])
def test_source_days_after_the_targets_validation_start_never_matter(case, place, tmp_path, short_pretraining):
    """The source lasts as long as the target; the script makes its own pre-training."""
    values = values_of(SOURCE_DAYS + 300, 1)
    folders = []
    for kind in ("clean", "poisoned"):
        if folders:
            validation = min(named_targets(folders[0])["validation"])
            late = day_axis(SOURCE_FIRST, len(values)) >= np.datetime64(validation)
            assert 60 < late.sum() < DAYS
            values[late] = noise(late.sum())
        source = write(tmp_path / kind / "source.nc", values, SOURCE_FIRST)
        folders.append(run(case, place, tmp_path / kind, source_cube=str(source)))
    same_run(*folders)
    same_weights(*(next((tmp_path / kind).glob(f"ERA5test/{case.network}/source-*until{last_day(validation)}/lead1_3"))
                   for kind in ("clean", "poisoned")))


def last_day(validation):
    return np.datetime64(validation) - 1
