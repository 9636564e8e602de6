"""The training loop: its loss, what it keeps, what it refuses, and how it resumes."""
import math
import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
import xarray as xr

from data_processing.errors import UserError
from data_processing.record import open_record, scale_record
from data_processing.satellite_view import satellite_view
from data_processing.splits import split_cube
from data_processing.windows import window_view
from tests.conftest import ROOT, Experiment
from utils.batches import make_batch, observed_targets
from utils.models.convlstm import HEADS, PAPER_HIDDEN, make_convlstm
from utils.models.settings import complete
from utils.runs import Run
from utils.training import (
    AdamW,
    cell_weight,
    check_frozen,
    epoch_batches,
    fit,
    forecast_days,
    masked_mse,
    one_cycle,
    parameter_groups,
    spoilt_step,
    train,
    validation_days,
)

CPU = torch.device("cpu")


@dataclass(frozen=True)
class FineTuning(Experiment):
    """Settings of a fine-tuning."""

    freeze: tuple = ()
    learning_rate_scale: dict = field(default_factory=dict)
    hold_back: bool = False


@pytest.fixture
def prepared(weather_cube):
    """Function of setting changes: (settings, record, splits) of a small cube; the record is scaled."""
    path = weather_cube(days=400)

    def make(**changes):
        settings = complete(Experiment(**changes), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
        cube, splits = split_cube(path, settings)
        record = open_record(cube, "small", splits, max_gap_days=settings.max_gap_days)
        return settings, scale_record(record, splits.fit_days, scaling=settings.scaling), splits
    return make


def new_network(record, settings, seed=0):
    torch.manual_seed(seed)
    return make_convlstm(settings, record)


def test_fault_08_loss_is_the_mean_over_land_cells():
    observed = torch.tensor([[0.1, float("nan")], [0.3, float("nan")]])  # the right column is sea
    forecast = torch.tensor([[0.2, 9.0], [0.5, -9.0]])
    loss = masked_mse(forecast, observed, torch.ones(2, 2))
    assert loss == pytest.approx((0.1 ** 2 + 0.2 ** 2) / 2)


def test_loss_of_nothing_observed_is_zero_with_a_gradient():
    forecast = torch.zeros(2, 2, requires_grad=True)
    loss = masked_mse(forecast, torch.full((2, 2), float("nan")), torch.ones(2, 2))
    loss.backward()
    assert loss == 0 and torch.isfinite(forecast.grad).all()


def test_weighted_loss_in_scaled_units_is_the_error_in_physical_units(prepared):
    _, record, splits = prepared()
    observed = record.observed(splits.test)
    forecast = observed + np.random.default_rng(0).normal(0, 0.02, observed.shape).astype(np.float32)
    weight = cell_weight(record, torch.device("cpu"))
    loss = masked_mse(*(torch.from_numpy(record.scaler.scale_soil_moisture(values)).flatten(1) for values in (forecast, observed)),
                      weight)
    spread = record.scaler.spread[1][record.land].astype(float)
    assert float(loss) * (spread ** 2).mean() == pytest.approx(((forecast - observed) ** 2).mean(), rel=1e-4)


def test_fault_01_training_targets_lie_lead_time_after_each_input_day(small_cube):
    values = np.broadcast_to(np.arange(200, dtype=np.float32)[:, None, None, None] / 1000, (200, 3, 1, 2)).copy()
    values[:, 2] += 280
    for lead_time in (1, 3, 5, 7):
        settings = complete(Experiment(lead_time=lead_time, input_days=4), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
        cube, splits = split_cube(small_cube(values=values.copy(), name=f"days{lead_time}"), settings)
        record = open_record(cube, "days", splits, max_gap_days=0)
        days = observed_targets(record, np.array([50, 90]), np.ones(200, bool), CPU, np.array([0]))[..., 0, 0] * 1000
        last_inputs = window_view(record.carried, 4)[[50, 90], :, 1, 0, 0] * 1000
        np.testing.assert_allclose(days - last_inputs, lead_time, atol=1e-3)


def test_targets_outside_the_training_days_are_missing(prepared):
    settings, record, splits = prepared()
    allowed = np.zeros(len(record.time), bool)
    allowed[splits.train] = True
    last_init = splits.train[-1] - settings.lead_time
    targets = observed_targets(record, np.array([last_init + 5]), allowed, CPU, np.array([0]))[0, :, 0, 0].numpy()
    assert np.isnan(targets[-5:]).all() and np.isfinite(targets[:-5]).all()


def test_one_epoch_uses_every_window_once_or_one_in_stride(prepared):
    settings, record, splits = prepared()
    init_days = splits.train - settings.lead_time
    ends = np.sort(np.concatenate([ends for _, ends in epoch_batches(record, splits.train, 1, 4)]))
    np.testing.assert_array_equal(ends, init_days)
    for seed in range(20):
        torch.manual_seed(seed)
        ends = np.sort(np.concatenate([ends for _, ends in epoch_batches(record, splits.train, 15, 4)]))
        assert len(ends) == len(init_days) // 15 and (np.diff(ends) == 15).all() and set(ends) <= set(init_days)


def test_training_lasts_the_number_of_epochs_that_was_asked_for(prepared, tmp_path):
    settings, record, splits = prepared(epochs=3)
    fit(new_network(record, settings), [(record, splits.train)], settings, Run(tmp_path, False),
        validation=(record, splits.validation))
    assert len((tmp_path / "training_log.csv").read_text().splitlines()) == 1 + 3


def test_one_cycle_rises_then_falls():
    shares = [one_cycle(step, 100) for step in range(101)]
    assert max(shares) == shares[20] == pytest.approx(1.0)
    assert shares[0] == pytest.approx(0.04) and shares[100] == pytest.approx(0.001)


def test_part_that_matches_nothing_is_an_error(prepared):
    settings, record, _ = prepared()
    with pytest.raises(UserError, match="freeze names backbone.*its parts are encoder, recurrent, head"):
        parameter_groups(new_network(record, settings), FineTuning(freeze=("backbone",)))
    with pytest.raises(UserError, match="learning_rate_scale names tail"):
        parameter_groups(new_network(record, settings), FineTuning(learning_rate_scale={"tail": 0.1}))
    with pytest.raises(UserError, match="nothing is left to train"):
        parameter_groups(new_network(record, settings), FineTuning(freeze=("encoder", "recurrent", "head")))


def test_learning_rate_per_part(prepared):
    settings, record, _ = prepared()
    groups = parameter_groups(new_network(record, settings), FineTuning(learning_rate=1e-3, freeze=("head",),
                                                                         learning_rate_scale={"encoder": 0.1}))
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-3])


def test_fault_07_dropout_acts_in_training_and_never_in_a_forecast(prepared, tmp_path):
    settings, record, splits = prepared(epochs=1, dropout=0.5)
    network = new_network(record, settings)
    modes = []
    network.head.register_forward_hook(lambda part, *_: modes.append((part.training, torch.is_grad_enabled())))
    fit(network, [(record, splits.train)], settings, Run(tmp_path, False), validation=(record, splits.validation))
    assert set(modes) == {(True, True), (False, False)}
    network.train()
    one, two = (forecast_days(network, record, splits.test, "cpu", progress=False) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_frozen_parts_are_unchanged_and_the_others_are_not(prepared, tmp_path):
    settings, record, splits = prepared(epochs=1)
    network = new_network(record, settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = FineTuning(epochs=1, batch_size=2, learning_rate=1e-3, freeze=("recurrent",))
    fit(network, [(record, splits.train)], frozen, Run(tmp_path, False), validation=(record, splits.validation))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("recurrent"), name


def test_changed_frozen_tensor_is_noticed(prepared):
    settings, record, _ = prepared()
    network = new_network(record, settings)
    kept = {"head.1.bias": network.head[1].bias.detach().clone() + 1}
    with pytest.raises(RuntimeError, match="head.1.bias changed"):
        check_frozen(network, kept)


def test_training_learns_a_wave_that_persistence_cannot_follow(small_cube, tmp_path):
    values = np.full((300, 3, 2, 2), 285.0, np.float32)
    values[:, 0] = 1.0
    values[:, 1] = (0.2 + 0.05 * np.sin(2 * np.pi * np.arange(300) / 12))[:, None, None]
    settings = complete(Experiment(epochs=8, input_days=12, learning_rate=1e-2), learning_rate=5e-3,
                        paper_hidden=PAPER_HIDDEN)
    cube, splits = split_cube(small_cube(values=values), settings)
    record = open_record(cube, "wave", splits, max_gap_days=0)
    record = scale_record(record, splits.fit_days, scaling="cell")
    network = new_network(record, settings)
    untrained = error(network, record, splits.test)
    fit(network, [(record, splits.train)], settings, Run(tmp_path, False), validation=(record, splits.validation))
    assert error(network, record, splits.test) < 0.3 * untrained


def error(network, record, targets):
    return float(np.sqrt(np.nanmean((forecast_days(network, record, targets, "cpu", progress=False)
                                     - record.observed(targets)[:, None]) ** 2)))


def test_best_weights_are_kept_not_the_last(prepared, tmp_path):
    settings, record, splits = prepared(epochs=6, learning_rate=0.3)
    network = new_network(record, settings)
    fit(network, [(record, splits.train)], settings, Run(tmp_path, False), validation=(record, splits.validation))
    log = np.genfromtxt(tmp_path / "training_log.csv", delimiter=",", names=True)
    assert error(network, record, validation_days(splits.validation)) == pytest.approx(log["validation_loss"].min(), rel=1e-5)


@pytest.mark.parametrize("head", ["local", "dense"])
@pytest.mark.parametrize("broken_epoch", [2, 4])
def test_resumed_run_equals_an_unbroken_one(head, broken_epoch, prepared, tmp_path, monkeypatch):
    """Two epochs of fit and the refit: broken in the one or in the other."""
    monkeypatch.setattr("utils.training.CHECKPOINT_SHARE", math.inf)
    settings, record, splits = prepared(head=head, epochs=3, refit=True, dropout=0.2 if head == "local" else 0.0)
    settings = FineTuning(**vars(settings), hold_back=head == "local")
    make = lambda record: make_convlstm(settings, record)
    unbroken, _ = train(make, record, splits, settings, Run(tmp_path / "whole", False))

    class Interrupted(Exception):
        pass

    broken = Run(tmp_path / "broken", False)
    save = broken.save_checkpoint

    def save_then_break(state):
        save(state)
        if len(state["log"]) == broken_epoch and state["phases"].get(state["phase"]) is None:
            raise Interrupted
    broken.save_checkpoint = save_then_break
    with pytest.raises(Interrupted):
        train(make, record, splits, settings, broken)
    resumed, _ = train(make, record, splits, settings, Run(tmp_path / "broken", True))
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    validations = [xr.open_dataset(tmp_path / name / "validation.nc")["forecast"].values for name in ("whole", "broken")]
    np.testing.assert_array_equal(*validations)
    logs = [np.genfromtxt(tmp_path / name / "training_log.csv", delimiter=",")[1:, :4] for name in ("whole", "broken")]
    np.testing.assert_array_equal(*logs)


def test_resuming_a_finished_fit_trains_no_more(prepared, tmp_path):
    settings, record, splits = prepared()
    network = new_network(record, settings)
    steps = fit(network, [(record, splits.train)], settings, Run(tmp_path, False),
                validation=(record, splits.validation))
    again = new_network(record, settings, seed=5)
    assert fit(again, [(record, splits.train)], settings, Run(tmp_path, True),
               validation=(record, splits.validation)) == steps
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters()))


@pytest.mark.parametrize("head", HEADS)
def test_fault_15_one_post_processing_for_all_networks(head, prepared):
    """Scaled output back to m3 m-3 and nothing else: small and negative forecasts stay what they are."""
    settings, record, splits = prepared(head=head)
    network = new_network(record, settings)
    with torch.no_grad():
        (network.head[-1] if head == "local" else network.head[-1][0]).bias.fill_(-9.0)
    network.eval()
    forecast = forecast_days(network, record, splits.test[:3], "cpu", progress=False)
    with torch.no_grad():
        scaled = network(make_batch(record, splits.test[:3] - settings.lead_time, CPU)).unflatten(-1, record.land.shape)[:, 0]
    assert forecast.min() < 0
    np.testing.assert_allclose(forecast, record.scaler.unscale_soil_moisture(scaled).numpy(), atol=1e-6)


def test_fault_16_nothing_is_read_from_disk_while_training(weather_cube, tmp_path):
    path = weather_cube(days=200)
    settings = complete(Experiment(epochs=1), learning_rate=5e-3, paper_hidden=PAPER_HIDDEN)
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "small", splits, max_gap_days=10)
    path.unlink()
    train(lambda record: new_network(record, settings), record, splits, settings, Run(tmp_path / "run", False))


def test_batch_that_spoils_the_loss_is_named_and_the_good_weights_are_kept(prepared, tmp_path, monkeypatch):
    """After a good epoch one target becomes so large that its square is infinite."""
    monkeypatch.setattr("utils.training.CHECKPOINT_SHARE", math.inf)
    settings, record, splits = prepared(head="dense", batch_size=4, epochs=3)
    record = replace(record, carried=record.carried.copy())
    bad, run, good = splits.train[40], Run(tmp_path, False), {}
    save = run.save_checkpoint

    def save_then_spoil(state):
        save(state)
        good.update({name: value.clone() for name, value in state["network"].items()})
        record.carried[record.input_days - 1 + bad, 1] = 1e30
    run.save_checkpoint = save_then_spoil
    with pytest.raises(UserError, match="no longer finite after step .* of epoch 2") as caught:
        fit(new_network(record, settings), [(record, splits.train)], settings, run, validation=(record, splits.validation))
    named = str(caught.value).split("; the step before")[0]
    assert str(record.time[bad] - settings.lead_time) in named and named.count("2015-") == 4
    assert "checkpoint.pt keeps the weights of epoch 1 (fit)" in str(caught.value)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]
    assert good and all(torch.isfinite(value).all() and torch.equal(value, good[name]) for name, value in kept.items())


def test_weight_that_is_no_number_is_seen_at_the_end_of_its_epoch(prepared):
    settings, record, _ = prepared()
    network, losses = new_network(record, settings), torch.tensor([1.0, 0.5, 0.4])
    assert spoilt_step(losses, network) is None
    assert spoilt_step(torch.tensor([1.0, math.inf, math.nan]), network) == 1
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = math.nan
    assert spoilt_step(losses, network) == 2


def test_loss_that_is_no_number_stops_the_run(prepared, tmp_path):
    settings, record, splits = prepared(learning_rate=1e30)
    with pytest.raises(UserError, match="no longer finite after step 2 .*lower learning_rate"):
        fit(new_network(record, settings), [(record, splits.train)], replace(settings, epochs=3),
            Run(tmp_path, False), validation=(record, splits.validation))


def test_satellite_view_has_gaps_of_days_and_noise_of_its_size(prepared):
    _, record, _ = prepared()
    view = satellite_view(record, max_gap_days=10, seed=1)
    before = record.input_days - 1
    seen = view.age[before:, 1] == 0
    assert 0.25 < seen.mean() < 0.6
    assert view.age[before + 8:, 1].max() <= 4
    noise = (view.carried - record.carried)[before:, 1][seen]
    assert noise.std() == pytest.approx(0.035, rel=0.1) and abs(noise.mean()) < 0.003
    np.testing.assert_array_equal(view.carried[before:, 0], record.carried[before:, 0])
    assert view.scaler is None


def test_optimizer_takes_the_steps_of_the_one_of_torch():
    networks = []
    for kind in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        network = torch.nn.Linear(5, 3)
        optimizer = kind(network.parameters(), lr=0.1, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        for _ in range(5):
            optimizer.zero_grad()
            network(torch.randn(7, 5)).square().sum().backward()
            optimizer.step()
            schedule.step()
            optimizer.load_state_dict(optimizer.state_dict())
        networks.append(network)
    assert torch.equal(networks[0].weight, networks[1].weight)


def test_training_imports_neither_the_compiler_of_torch_nor_parts_of_scipy():
    """Together they took 150 MB and seconds of every run."""
    code = """
import sys, torch, utils.training
network = torch.nn.Linear(2, 1)
optimizer = utils.training.AdamW(network.parameters())
network(torch.ones(2)).sum().backward()
torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
heavy = {"torch._dynamo", "matplotlib", "sklearn", *(f"scipy.{part}" for part in ("fft", "io", "ndimage", "special"))}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stdout + done.stderr
