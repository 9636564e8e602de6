"""CNN, LSTM and 3-D convolution with LSTM: shapes, sizes, order of days, leaks; the ConvLSTM has tests/test_convlstm.py."""
import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from data_processing.surroundings import Surroundings
from tests.conftest import Experiment
from tests.test_convlstm import count, grid, with_values
from utils import training
from utils.batches import Around, blocks_about, make_batch
from utils.models.local import LookUpstream, areas
from utils.models.settings import complete
from utils.training import forecast_days

NAMES = ("cnn", "lstm", "conv3d_lstm")
FORMS = [(name, head) for name in NAMES for head in ("local", "dense")]


def make(name, settings, record):
    return getattr(importlib.import_module(f"utils.models.{name}"), f"make_{name}")(settings, record)


def completed(name, **changes):
    paper_hidden = importlib.import_module(f"utils.models.{name}").PAPER_HIDDEN
    return complete(Experiment(**changes), learning_rate=1e-3, paper_hidden=paper_hidden)


def opened(path, settings):
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "small", splits, max_gap_days=10, hidden=settings.drop_inputs)
    return scale_record(record, splits.fit_days, scaling=settings.scaling)


def shaken(name, settings, record, seed=0):
    """A network whose weights all matter."""
    torch.manual_seed(seed)
    network = make(name, settings, record)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def forecast(network, record, init_days):
    with torch.no_grad():
        batch = make_batch(record, np.asarray(init_days), torch.device("cpu"), np.arange(record.land.size))
        return network(batch).unflatten(-1, record.land.shape).numpy()


@pytest.fixture
def weather(weather_cube):
    return weather_cube(days=150, rows=5, columns=6)


@pytest.mark.parametrize("name, head", FORMS)
def test_fault_03_and_04_samples_and_days_keep_their_order(name, head, weather):
    settings = completed(name, head=head, input_days=3)
    record = opened(weather, settings)
    network = shaken(name, settings, record)
    before = forecast(network, record, [60])
    np.testing.assert_allclose(forecast(network, record, [40, 60, 90])[1:2], before, rtol=0, atol=1e-5)
    for day in (58, 59, 60):
        changed = record.carried.copy()
        changed[day + settings.input_days - 1] += 1.0
        assert not np.allclose(before, forecast(network, with_values(record, changed), [60]), atol=1e-6), day


@pytest.mark.parametrize("name, head", FORMS)
def test_nothing_after_the_last_input_day_and_nothing_at_sea_moves_the_forecast(name, head, weather_cube):
    sea = np.zeros((5, 6), bool)
    sea[:2, :3] = True
    settings = completed(name, head=head)
    record = opened(weather_cube(days=150, rows=5, columns=6, missing_cells=sea), settings)
    network = shaken(name, settings, record)
    before = forecast(network, record, [60])
    noise = record.carried.copy()
    noise[60 + settings.input_days:] = 0.4
    noise[:, :, :2, :3] = 1e6
    np.testing.assert_array_equal(before, forecast(network, with_values(record, noise), [60]))


@pytest.mark.parametrize("name, head", FORMS)
@pytest.mark.parametrize("lead_times", [(1,), (5,), (1, 3, 7)])
@pytest.mark.parametrize("rows, columns", [(5, 6), (1, 4), (2, 2)])
def test_fault_05_any_lead_times_and_any_map(name, head, lead_times, rows, columns, weather_cube):
    settings = completed(name, head=head, lead_times=lead_times)
    record = opened(weather_cube(days=150, rows=rows, columns=columns), settings)
    assert forecast(shaken(name, settings, record), record, [20, 80]).shape == (2, 1, len(lead_times), rows, columns)


def test_paper_forms_have_the_published_numbers_of_weights():
    cells = 52 * 65
    published = {"cnn": 48 * 9 * 9 + 48 + 48 * 17 * 21 * cells + cells,
                 "lstm": 4 * cells * (3 * cells + cells + 2) + cells * cells + cells,
                 "conv3d_lstm": 10 * 27 + 10 + 4 * cells * (10 * 17 * 21 + cells + 2) + cells * cells + cells}
    with torch.device("meta"):
        for name, weights in published.items():
            assert count(make(name, completed(name, head="dense"), grid(52, 65))) == weights
    assert [round(weights / 1e6) for weights in published.values()] == [58, 194, 105]


@pytest.mark.parametrize("name", NAMES)
def test_local_forms_have_the_same_few_weights_on_every_map(name):
    small, large = (make(name, completed(name), grid(*shape)) for shape in ((2, 3), (52, 65)))
    assert count(small) == count(large) < 60_000
    large.load_state_dict(small.state_dict())


def test_parts_of_every_network_have_the_names_that_freeze_knows():
    parts = {(name, head): set(dict(make(name, completed(name, head=head), grid(3, 3)).named_children())) for name, head in FORMS}
    assert parts["cnn", "local"] == parts["cnn", "dense"] == {"encoder", "head"}
    assert parts["lstm", "dense"] == {"recurrent", "head"}
    assert all(parts[key] == {"encoder", "recurrent", "head"} for key in (("lstm", "local"), ("conv3d_lstm", "local"),
                                                                          ("conv3d_lstm", "dense")))


@pytest.mark.parametrize("name", NAMES)
def test_only_asked_cells_are_forecast_and_as_all_of_them_are(name, weather):
    settings = completed(name)
    record = opened(weather, settings)
    network = shaken(name, settings, record)
    cells = np.array([8, 9, 10])
    with torch.no_grad():
        some = network(make_batch(record, np.array([60, 80]), torch.device("cpu"), cells)).numpy()
    whole = forecast(network, record, [60, 80])
    np.testing.assert_allclose(some, whole[..., 1, 2:5], rtol=1e-5, atol=1e-5)


def test_lstm_of_a_cell_knows_nothing_of_the_others_and_the_convolutions_do(weather):
    for name, knows in (("lstm", False), ("cnn", True), ("conv3d_lstm", True)):
        settings = completed(name)
        record = opened(weather, settings)
        network = shaken(name, settings, record)
        changed = record.carried.copy()
        changed[:, 0, 2, 3] += 5.0
        before, after = forecast(network, record, [60]), forecast(network, with_values(record, changed), [60])
        assert np.allclose(before[..., 2, 2], after[..., 2, 2]) != knows, name


@pytest.mark.parametrize("dropped", ["precipitation", "soil_moisture", "soil_temperature", "season", "place"])
def test_dropped_input_is_hidden_from_the_network(dropped, weather):
    settings = completed("lstm", drop_inputs=(dropped,))
    record = opened(weather, settings)
    batch = make_batch(record, np.array([60]), torch.device("cpu"))
    whole = make_batch(replace(record, hidden=()), np.array([60]), torch.device("cpu"))
    if dropped in ("season", "place"):
        field = {"season": "season", "place": "static"}[dropped]
        assert not getattr(batch, field).any() and getattr(whole, field).any()
        return
    channel = ("precipitation", "soil_moisture", "soil_temperature").index(dropped)
    for field in ("inputs", "freshness", "antecedent"):
        assert not getattr(batch, field)[:, :, channel].any() and getattr(whole, field)[:, :, channel].any()
        others = [other for other in range(3) if other != channel]
        torch.testing.assert_close(getattr(batch, field)[:, :, others], getattr(whole, field)[:, :, others])
    assert batch.around.motion.any() == (dropped != "precipitation") and whole.around.motion.any()
    assert not batch.around.inputs[:, :, channel].any() and not batch.around.freshness[:, :, channel].any()


def test_mean_of_an_area_counts_fresh_values_more_and_missing_ones_not():
    values = torch.tensor([[1.0, 3.0, 0.0], [5.0, 7.0, 0.0]]).expand(1, 1, 3, 2, 3)
    freshness = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 0.0]]).expand(1, 1, 3, 2, 3)
    around = Around(values, freshness, None, None, None, None, (120.0, 120.0))  # the second width, 200 km, is three blocks
    means = areas(around)[3][..., :6, :].transpose(2, 3).unflatten(-1, (2, 3))
    assert means[0, 0, 0, 0, 0] == pytest.approx((1 + 1.5 + 3.5) / 2)
    assert means[0, 0, 0, 0, 2] == pytest.approx((1.5 + 3.5) / 1)


def test_upstream_is_where_the_rain_comes_from():
    """Rain moves 100 km, one column, eastward and 200 km, two rows, northward a day."""
    upstream = LookUpstream()
    torch.nn.init.zeros_(upstream.look.weight)
    with torch.no_grad():
        upstream.look.weight[0, 2] = 1.0  # precipitation of the day, one day's way upstream
        upstream.look.weight[1, 5] = 1.0  # precipitation of the day before, two days' way upstream
    rain = torch.arange(2 * 6 * 6, dtype=torch.float32).view(1, 2, 1, 6, 6)
    values = torch.cat((rain, torch.zeros(1, 2, 2, 6, 6)), 2)
    motion = torch.tensor([100.0, 200.0]).view(1, 1, 2, 1).expand(1, 2, 2, 2)
    around = Around(values, torch.ones_like(values), motion, torch.tensor([5, 1]), torch.tensor([4, 4]), None, (100.0, 100.0))
    seen = upstream(areas(around), around)
    assert seen[1, 0, 0, 0] == rain[0, 1, 0, 3, 3] and seen[1, 0, 0, 1] == rain[0, 0, 0, 1, 2]
    assert not seen[1, 0, 1, :2].any(), "beyond the map is nothing"
    assert not seen[0, 0, :, 1].any(), "before the window is nothing"


def test_weights_of_the_blocks_about_a_cell_are_linear_between_their_centres():
    around = Surroundings(None, None, np.ones((2, 3), bool), 2, 2, (80.0, 80.0))
    blocks, weight = blocks_about(np.array([0, 1 * 6 + 1, 2 * 6 + 2]), (4, 6), around)
    assert list(blocks) == [0, 1, 3, 4]  # of the 2 x 3 blocks the third column is far
    np.testing.assert_allclose(weight.sum(axis=1), 1)
    np.testing.assert_allclose(weight[0], [1, 0, 0, 0])  # beyond the map lies what lies at its edge
    np.testing.assert_allclose(weight[1], [0.75 ** 2, 0.75 * 0.25, 0.25 * 0.75, 0.25 ** 2])
    np.testing.assert_allclose(weight[2], [0.25 ** 2, 0.25 * 0.75, 0.75 * 0.25, 0.75 ** 2])


def test_forecast_in_tiles_is_that_of_the_whole_map(weather_cube, monkeypatch):
    """On a grid of about 40 km, where what lies around is seen in blocks."""
    path = weather_cube(days=150, rows=9, columns=11, step=0.36)
    settings = completed("convlstm")
    record = opened(path, settings)
    assert (record.around().rows, record.around().columns) == (2, 2)
    network, targets = shaken("convlstm", settings, record), np.array([100, 101, 120])
    whole = forecast_days(network, record, targets, "cpu", progress=False)
    monkeypatch.setattr(training, "TILE", 3)
    tiles = forecast_days(network, record, targets, "cpu", progress=False)
    np.testing.assert_allclose(tiles, whole, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # side by side, each on one core as before
    np.testing.assert_array_equal(forecast_days(network, record, targets, "cpu", progress=False), tiles)
    torch.set_num_threads(1)
    assert np.isfinite(whole).all() and whole.std() > 0.01


def test_results_of_threads_come_in_order_and_few_wait():
    begun = []

    def square(number):
        begun.append(number)
        return number ** 2

    found = training.in_threads(square, [(number,) for number in range(20)], threads=2)
    assert next(found) == 0 and len(begun) <= 3
    assert list(found) == [number ** 2 for number in range(1, 20)]
    torch.set_num_threads(1)


def test_areas_of_a_large_map_are_as_exact_as_those_of_a_small_one():
    """Sums of known ones: where nothing is known, nothing is left of the rest of the map."""
    values, known = torch.ones(1, 1, 3, 250, 500), torch.ones(1, 1, 3, 250, 500)
    values[..., -20:, -20:] = known[..., -20:, -20:] = 0.0
    means = areas(Around(values, known, None, None, None, None, (120.0, 120.0)))[3][0, 0, :-1].unflatten(0, (250, 500))
    assert not means[-10:, -10:].any() and (means[:200, :200] == 1).all()


@pytest.mark.parametrize("patch", [1, 3, 8, 100])
def test_cells_of_a_patch_are_land_and_lie_together(patch):
    land = np.random.default_rng(0).random((20, 30)) < 0.5
    torch.manual_seed(0)
    for _ in range(50):
        row, column = np.divmod(training.random_cells(land, patch), 30)
        assert land[row, column].all() and len(row) > 0
        assert np.ptp(row) < patch and np.ptp(column) < patch


def test_maps_that_are_small_are_learned_from_as_a_whole():
    assert training.usual_patch(grid(52, 65)) is None and training.usual_patch(grid(200, 300)) == 64
