"""Transfer as a method: held back, pulled, zero-shot, from several cubes and worlds; what pre-training draws."""
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_processing import arrays, twin_worlds
from data_processing.cube import open_cube, write_cube
from data_processing.errors import UserError
from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from data_processing.static_maps import CHANNELS
from data_processing.twin_weather import COLUMN, LAND, ROW
from tests.conftest import Experiment, day_axis, weather_values
from utils.models.convlstm import PAPER_HIDDEN, make_convlstm
from utils.models.settings import complete
from utils.pretraining import pretraining_sources, random_stretch
from utils.runs import Run
from utils.training import choose_share, copy_weights, fit, move_weights, train
from utils.transfer import load_model, save_model, transferred_label, what_is_new


@dataclass(frozen=True)
class Transfer(Experiment):
    """Settings of a fine-tuning or a pre-training."""

    zero_shot: bool = False
    hold_back: bool = False
    pull: float = 0.0
    satellite_view: bool = True
    worlds: int = 0
    further_cubes: tuple = ()
    source_until: str | None = None


def opened(path, **changes):
    settings = complete(Transfer(hidden=(4,), **changes), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "small", splits, max_gap_days=10)
    return settings, record, splits


def new_network(record, settings, seed=0):
    torch.manual_seed(seed)
    network = make_convlstm(settings, record)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_weights_move_the_asked_share_of_the_way(weather_cube):
    settings, record, _ = opened(weather_cube(days=200))
    network = new_network(record, settings)
    start = {name: value + 1 for name, value in copy_weights(network).items()}
    before = copy_weights(network)
    move_weights(network, start, 0.25)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, start[name] + 0.25 * (before[name] - start[name]))


@pytest.mark.parametrize("train_days, year_share", [(100, (100 / 365) ** 2), (400, 1.0)])
def test_fine_tuning_goes_no_further_than_the_share_of_a_year_that_the_record_has_seen(train_days, year_share, weather_cube,
                                                                                     monkeypatch):
    settings, record, splits = opened(weather_cube(days=700), train_days=train_days)
    record = scale_record(record, splits.fit_days, scaling="cell")
    network = new_network(record, settings)
    errors = iter([0.5, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr("utils.training.validate", lambda *_: next(errors))
    assert choose_share(network, copy_weights(network), record, splits, "cpu") == pytest.approx(year_share)
    errors = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    assert choose_share(network, copy_weights(network), record, splits, "cpu") == 0.0


def test_spoilt_fine_tuning_of_a_short_record_ends_at_the_pretrained_weights(weather_cube, tmp_path, monkeypatch, capsys):
    settings, record, splits = opened(weather_cube(days=400), hold_back=True, epochs=2, refit=None)
    monkeypatch.setattr("utils.training.choose_share", lambda *_: 0.0)
    network, _ = train(lambda record: new_network(record, settings), record, splits, settings, Run(tmp_path, False))
    start = new_network(record, settings).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in network.state_dict().items())
    said = capsys.readouterr().out.splitlines()
    first = said.index("refit, training and validation together are under two years:")
    assert said[first + 1].startswith("trained once more, ") and said[first + 1].endswith(f" to {splits.train_until},")
    assert said[first + 2] == "validation included" and max(map(len, said[first:first + 3])) <= 80


@pytest.mark.parametrize("zero_shot, tail", [(False, ""), (True, ", not fine-tuned")])
def test_a_run_without_fine_tuning_is_called_so(zero_shot, tail):
    run, settings = SimpleNamespace(label="smap"), SimpleNamespace(zero_shot=zero_shot)
    assert transferred_label(run, {"label": "era5"}, settings) == "smap, pre-trained on era5" + tail


def test_zero_shot_changes_no_weight_and_takes_the_targets_statistics(weather_cube, tmp_path):
    settings, record, splits = opened(weather_cube(days=400), zero_shot=True)
    network, scaled = train(lambda record: new_network(record, settings), record, splits, settings, Run(tmp_path, False))
    start = new_network(record, settings).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in network.state_dict().items())
    assert scaled.scaler.last_day == str(splits.train_until)
    assert (tmp_path / "validation.nc").exists()


def test_pull_keeps_the_weights_near_the_pretrained_ones(weather_cube, tmp_path):
    distance = []
    for pull in (0.0, 10.0):
        settings, record, splits = opened(weather_cube(days=400), pull=pull, epochs=3)
        record = scale_record(record, splits.fit_days, scaling="cell")
        network = new_network(record, settings)
        start = copy_weights(network)
        fit(network, [(record, splits.train)], settings, Run(tmp_path / str(pull), False), validation=(record, splits.validation))
        distance.append(sum(((value - start[name]) ** 2).sum() for name, value in network.state_dict().items()))
    assert distance[1] < 0.3 * distance[0]


def test_pretraining_draws_views_and_stretches_and_the_union_of_cubes(weather_cube):
    path = weather_cube(days=500, name="source")
    other = weather_cube(days=300, name="other", rows=3, columns=3, first="2010-01-01", seed=3)
    settings, record, splits = opened(path, further_cubes=(str(other),))
    sources = pretraining_sources(record, splits, settings)
    names = [source.name for source, _ in sources]
    assert names.count("other") == len(sources) / 4 and names.count("small") == 3 * len(sources) / 4
    for source, targets in sources:
        if source.name == "small":
            assert np.datetime64(source.scaler.last_day) <= splits.time[splits.train[-1]]
            np.testing.assert_array_equal(targets, splits.train)
    assert len({source.scaler.first_day for source, _ in sources}) > 5
    lengths = {float(source.static[CHANNELS.index("length of the record"), 0, 0]) for source, _ in sources}
    assert len(lengths) > 5
    whole_days = str(splits.time[0]), str(splits.time[splits.train[-1]])
    whole = {id(source) for source, _ in sources
             if source.key == record.key and (source.scaler.first_day, source.scaler.last_day) == whole_days}
    assert len(whole) == 1, "statistics of the same days are made once"


def test_source_days_from_the_targets_validation_on_are_cut_from_further_cubes_too(weather_cube):
    path, other = weather_cube(days=500, name="source"), weather_cube(days=500, name="other")
    settings, record, splits = opened(path, further_cubes=(str(other),), source_until="2016-01-01")
    last = max(source.time[-1] for source, _ in pretraining_sources(record, splits, settings) if source.name == "other")
    assert last == np.datetime64("2016-01-01")


def test_stretch_lies_inside_the_days_that_may_be_used():
    days = np.arange(400) < 300
    random = np.random.default_rng(0)
    stretches = [random_stretch(random, days) for _ in range(100)]
    assert all(not stretch[300:].any() for stretch in stretches)
    lengths = np.array([stretch.sum() for stretch in stretches])
    assert lengths.min() < 40 and (lengths == 300).sum() > 10
    assert all(np.diff(np.flatnonzero(stretch)).max() == 1 for stretch in stretches)


def test_static_maps_tell_how_long_and_in_which_season_the_record_was(weather_cube):
    _, record, _ = opened(weather_cube(days=500))
    maps = {}
    for first, last in (("2015-07-01", "2015-07-31"), ("2015-04-01", "2016-03-30")):
        days = (record.time >= np.datetime64(first)) & (record.time <= np.datetime64(last))
        static = scale_record(record, days, scaling="cell").static
        maps[first] = dict(zip(CHANNELS, static[:, 0, 0]))
    july, year = maps["2015-07-01"], maps["2015-04-01"]
    assert july["length of the record"] == pytest.approx(np.log(31 / 365))
    assert year["length of the record"] == pytest.approx(0, abs=1e-6)
    assert july["record's season, cosine"] < -0.9 and abs(year["record's season, cosine"]) < 0.01
    assert (july["season is known"], year["season is known"]) == (0, 1)
    assert july["soil moisture values"] == pytest.approx(np.log(32 / 101), rel=1e-5)


def test_habits_of_soil_that_keeps_a_known_share(small_cube):
    """A first-order autoregression of 0.9 a day keeps 0.729 after three days."""
    random = np.random.default_rng(0)
    values = np.full((3000, 3, 1, 2), 285.0, np.float32)
    values[:, 0] = 0.0
    soil = np.zeros((3000, 1, 2))
    for day in range(1, 3000):
        soil[day] = 0.9 * soil[day - 1] + random.normal(0, 0.02, (1, 2))
    values[:, 1] = 0.3 + soil
    _, record, splits = opened(small_cube(values=values))
    scaled = scale_record(record, splits.fit_days, scaling="cell")
    kept = scaled.static[CHANNELS.index("kept after 3 days")]
    np.testing.assert_allclose(kept, 0.729, atol=0.06)


def test_static_maps_of_days_read_in_small_blocks(weather_cube, monkeypatch):
    """As of large maps, where a block is shorter than the days that habits look back."""
    _, record, splits = opened(weather_cube(days=200))
    whole = scale_record(record, splits.fit_days, scaling="cell").static
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * 3 * record.carried[0].nbytes)
    np.testing.assert_allclose(scale_record(record, splits.fit_days, scaling="cell").static, whole, rtol=1e-5, atol=1e-6)


def test_worlds_are_deterministic_differ_and_say_that_they_are_synthetic(tmp_path, monkeypatch):
    monkeypatch.setattr(twin_worlds, "FIRST", np.datetime64("2011-06-01"))
    monkeypatch.setattr(twin_worlds, "WORLD_SPIN_UP_DAYS", 20)
    cubes = [open_cube(twin_worlds.world_path(number, tmp_path)) for number in (1, 2)]
    first, last = twin_worlds.FIRST, twin_worlds.LAST
    again = twin_worlds.make_world(1, first, last)
    np.testing.assert_array_equal(cubes[0]["soil_moisture"].values, again[:, 1])
    assert "Synthetic" in cubes[0].attrs["title"]
    soil = [cube["soil_moisture"].values[:, ROW, COLUMN] for cube in cubes]
    assert np.isnan(cubes[0]["soil_moisture"].values[:, ~LAND]).all()
    means = [np.nanmean(values, axis=0) for values in soil]
    known = np.isfinite(means[0]) & np.isfinite(means[1])
    assert abs(np.corrcoef(means[0][known], means[1][known])[0, 1]) < 0.5
    for values in soil:
        assert 0 < np.nanmin(values) + 0.2 and np.nanmax(values) < 0.8
        assert 0.05 < np.nanstd(np.nanmean(values, axis=0)) < 0.15


def test_input_that_is_none_is_refused(weather_cube):
    settings = Experiment(input_days=3)
    cube, splits = split_cube(weather_cube(), settings)
    with pytest.raises(UserError, match="drop_inputs names rain; it takes precipitation"):
        open_record(cube, "small", splits, max_gap_days=10, hidden=("rain",))


UNLIKE = {
    "none": ({}, 1.0, []),
    "rain in metres": ({0: 1e-3}, 1.0, ["the mean precipitation of small is"]),
    "relative soil moisture": ({1: 3.0}, 1.0, ["the mean soil_moisture of small is"]),
    "temperature halved": ({2: 0.6}, 1.0, ["the mean soil_temperature of small is"]),
    "fine grid": ({}, 0.1, ["the cells of small are 10.4 km wide, those of clean, which the network was pre-trained on, 103 km"]),
    "somewhat finer grid": ({}, 0.4, []),
}


@pytest.mark.parametrize("factors, spacing, said", UNLIKE.values(), ids=UNLIKE)
@pytest.mark.parametrize("kind", ["global", "cell"])
def test_network_says_what_is_unlike_its_pretraining(kind, factors, spacing, said, tmp_path):
    def record_of(values, spacing):
        path = tmp_path / f"cube{spacing}.nc"
        write_cube(path, values, day_axis("2015-01-01", len(values)), 30 + spacing * np.arange(4), 100 + spacing * np.arange(5),
                   {"title": "small test cube", "source": "tests"})
        return opened(path)[1:]

    record, splits = record_of(weather_values(200, 4, 5), 1.0)
    model = {"scaler": scale_record(record, splits.fit_days, scaling=kind).scaler, "lat": torch.tensor(record.lat),
             "lon": torch.tensor(record.lon), "label": "clean"}
    values = weather_values(200, 4, 5, seed=1)
    for channel, factor in factors.items():
        values[:, channel] *= factor
    found = what_is_new(model, *record_of(values, spacing))
    assert len(found) == len(said) and all(start in sentence for start, sentence in zip(said, found)), found


def test_pretrained_weights_that_are_no_numbers_are_refused(weather_cube, tmp_path):
    settings, record, splits = opened(weather_cube(days=200))
    network = new_network(record, settings)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    run = Run(tmp_path / "SMAPtest/convlstm/run/lead3", False, "small")
    run.folder.mkdir(parents=True)
    (run.folder / "settings.json").write_text('{"cube": {"sha256": "0"}}')
    save_model(run, network, scale_record(record, splits.fit_days, scaling="cell"), settings, splits)
    with pytest.raises(UserError, match="some of its weights are no numbers"):
        load_model(run.folder)
