"""The ConvLSTM: shapes, sizes, and the original's faults of order and of batch."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_processing.arrays import short_key
from data_processing.gaps import antecedent_means
from data_processing.motion import spacing_km
from data_processing.record import open_record, scale_record, with_arrays
from data_processing.splits import split_cube
from tests.conftest import Experiment
from utils.batches import make_batch
from utils.models.convlstm import HEADS, PAPER_HIDDEN, ConvLSTMLayers, make_convlstm
from utils.models.local import around_in_cells
from utils.models.settings import complete


def network_for(head, rows=5, columns=6, seed=0, **changes):
    """A network with random weights in its last layer too, so that every input can show in its output."""
    torch.manual_seed(seed)
    settings = complete(Experiment(head=head, **changes), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
    network = make_convlstm(settings, grid(rows, columns))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval(), settings


def grid(rows, columns, spacing=0.7):
    """What a network needs to know of a record: its map."""
    return SimpleNamespace(land=np.ones((rows, columns), bool), lead_times=(3,), lat=30 + spacing * np.arange(rows),
                           lon=100 + spacing * np.arange(columns))


def ready_record(path, settings):
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "small", splits, max_gap_days=settings.max_gap_days)
    return scale_record(record, splits.fit_days, scaling=settings.scaling), splits


@pytest.fixture
def weather(weather_cube):
    return weather_cube(days=150, rows=5, columns=6)


def forecast(network, record, init_days):
    with torch.no_grad():
        batch = make_batch(record, np.asarray(init_days), torch.device("cpu"), np.arange(record.land.size))
        return network(batch).unflatten(-1, record.land.shape).numpy()


@pytest.mark.parametrize("head", HEADS)
def test_fault_03_forecast_does_not_depend_on_batch_mates(head, weather):
    network, settings = network_for(head)
    record, _ = ready_record(weather, settings)
    alone = forecast(network, record, [60])
    together = forecast(network, record, [40, 60, 90])[1:2]
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_fault_04_every_input_day_changes_the_forecast(head, weather):
    network, settings = network_for(head, input_days=3)
    record, _ = ready_record(weather, settings)
    before = forecast(network, record, [60])
    for day in (58, 59, 60):
        changed = record.carried.copy()
        changed[day + settings.input_days - 1] += 1.0
        assert not np.allclose(before, forecast(network, with_values(record, changed), [60]), atol=1e-6), day


@pytest.mark.parametrize("head", HEADS)
def test_order_of_days_matters(head, weather):
    network, settings = network_for(head, input_days=3)
    record, _ = ready_record(weather, settings)
    swapped = record.carried.copy()
    swapped[[60, 61]] = swapped[[61, 60]]  # record days 58 and 59: both before the last input day
    assert not np.allclose(forecast(network, record, [60]), forecast(network, with_values(record, swapped), [60]),
                           atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("lead_time", [1, 5, 7])
@pytest.mark.parametrize("rows, columns", [(5, 6), (1, 4), (1, 1)])
def test_fault_05_any_lead_time_and_any_map(head, lead_time, rows, columns, weather_cube):
    path = weather_cube(days=150, rows=rows, columns=columns)
    network, settings = network_for(head, rows, columns, lead_time=lead_time)
    record, _ = ready_record(path, settings)
    assert forecast(network, record, [20, 80]).shape == (2, 1, 1, rows, columns)


@pytest.mark.parametrize("head", HEADS)
def test_fault_07_two_forecasts_of_one_input_are_equal(head, weather):
    network, settings = network_for(head, dropout=0.5 if head == "local" else 0.0)
    record, _ = ready_record(weather, settings)
    np.testing.assert_array_equal(forecast(network, record, [60]), forecast(network, record, [60]))


@pytest.mark.parametrize("head", HEADS)
def test_nothing_after_the_last_input_day_moves_the_forecast(head, weather):
    network, settings = network_for(head)
    record, _ = ready_record(weather, settings)
    before = forecast(network, record, [60])
    noise = record.carried.copy()
    noise[60 + settings.input_days:] = np.random.default_rng(0).random(noise[60 + settings.input_days:].shape)
    np.testing.assert_array_equal(before, forecast(network, with_values(record, noise), [60]))


@pytest.mark.parametrize("head", HEADS)
def test_values_at_sea_never_matter(head, weather_cube):
    sea = np.zeros((5, 6), bool)
    sea[:2, :3] = True
    path = weather_cube(days=150, rows=5, columns=6, missing_cells=sea)
    network, settings = network_for(head)
    record, splits = ready_record(path, settings)
    assert not record.land[:2, :3].any()
    poisoned = record.carried.copy()
    poisoned[:, :, :2, :3] = 1e6
    np.testing.assert_array_equal(forecast(network, record, [60]),
                                  forecast(network, with_values(record, poisoned), [60]))


def test_missing_day_is_seen_as_missing_not_as_a_value(weather):
    network, settings = network_for("local")
    record, _ = ready_record(weather, settings)
    age = record.age.copy()
    age[60 + settings.input_days - 1, 1] = 4
    older = make_batch(with_values(record, record.carried, age), np.array([60]), torch.device("cpu"))
    assert older.freshness[0, -1, 1, 0] == pytest.approx(0.2)
    assert not np.allclose(forecast(network, record, [60]),
                           forecast(network, with_values(record, record.carried, age), [60]), atol=1e-6)


def test_paper_form_has_the_published_number_of_weights():
    with torch.device("meta"):
        dense, conv = (make_convlstm(complete(Experiment(head=head), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN), grid(52, 65))
                       for head in ("dense", "conv"))
    assert count(dense.recurrent) == count(conv.recurrent) == 4944
    assert count(dense) == 4944 + 4 * 3380 * 3380 + 3380
    assert count(conv) == 4944 + 5 + 3380 * 3380 + 3380


def test_local_head_has_the_same_weights_on_every_map():
    small, settings = network_for("local", 2, 3)
    large, _ = network_for("local", 52, 65)
    assert count(small) == count(large) < 40_000
    large.load_state_dict(small.state_dict())


def test_local_head_looks_equally_far_on_every_grid():
    degree = 1 / np.cos(np.radians(45))
    for cells in (1, 3):
        lat = 45 + np.arange(-2, 3) * 80 / 111.2 / cells
        lon = np.arange(5) * 80 / 111.2 * degree / cells
        assert [reach for reach, _ in around_in_cells(spacing_km(lat, lon))] == [cells, 3 * cells, 6 * cells, 10 * cells]
    assert around_in_cells(spacing_km(np.array([45.0]), np.array([0.0]))) == [(1, 1)] * 4


def test_untrained_local_head_is_persistence_damped_by_a_half(weather):
    settings = complete(Experiment(), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
    network = make_convlstm(settings, grid(5, 6)).eval()
    record, _ = ready_record(weather, settings)
    last = make_batch(record, np.array([60]), torch.device("cpu")).inputs[:, -1, 1].unflatten(-1, (5, 6)).numpy()
    np.testing.assert_allclose(forecast(network, record, [60])[:, 0, 0], last / 2, atol=1e-6)


def test_every_day_forecast_ends_with_the_forecast_of_the_last_day(weather):
    network, settings = network_for("local")
    record, _ = ready_record(weather, settings)
    last, all_days = (make_batch(record, np.array([60]), torch.device("cpu"), shown=shown)
                      for shown in ((-1,), range(record.input_days)))
    with torch.no_grad():
        np.testing.assert_allclose(network(all_days)[:, -1], network(last)[:, 0], rtol=1e-5, atol=1e-5)


def test_convlstm_layers_keep_days_in_order():
    torch.manual_seed(0)
    layers = ConvLSTMLayers(3, (4, 2), 3)
    x = torch.randn(2, 5, 3, 4, 6)
    out = layers(x)
    assert out.shape == (2, 5, 2, 4, 6)
    torch.testing.assert_close(layers(x[:, :3]), out[:, :3])


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def with_values(record, carried, age=None):
    """The record with other values, and all that is worked out from them."""
    age = record.age if age is None else age
    return with_arrays(record, f"test-{short_key(carried, age)}", carried, age,
                       antecedent_means(np.where(age == 0, carried, np.float32(np.nan)))[0])
