"""Precision of the networks, and the ConvLSTM cell against the plainest form of the same."""
import importlib
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_processing.errors import UserError
from data_processing.record import open_record, scale_record
from data_processing.splits import split_cube
from tests.benchmarks.cell import plain_layers, training_step
from tests.benchmarks.measure import bfloat16_in_hardware
from tests.conftest import Experiment
from utils.batches import make_batch
from utils.models.convlstm import PAPER_HIDDEN, PAPER_KERNEL, ConvLSTMLayers, Gates, make_convlstm
from utils.models.settings import complete
from utils.precision import choose_precision, describe_precision, has_bfloat16
from utils.runs import Run, find_cube, start_run
from utils.training import fit

FORMS = [("cnn", "local"), ("cnn", "dense"), ("lstm", "local"), ("lstm", "dense"), ("convlstm", "local"), ("convlstm", "dense"),
         ("convlstm", "conv"), ("conv3d_lstm", "local"), ("conv3d_lstm", "dense")]


def with_and_without(monkeypatch, instructions):
    """Let the processor have these instructions only."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))


@dataclass(frozen=True)
class Script(Experiment):
    """Settings of a whole run that goes on where it stopped."""

    results: str = ""
    name: str | None = None
    regions: tuple = ()
    resume: bool = True


def completed(model="convlstm", experiment=Experiment, **changes):
    paper_hidden = importlib.import_module(f"utils.models.{model}").PAPER_HIDDEN
    return complete(experiment(**changes), learning_rate=5e-3, paper_hidden=paper_hidden)


def opened(path, settings):
    cube, splits = split_cube(path, settings)
    record = open_record(cube, "small", splits, max_gap_days=settings.max_gap_days)
    return scale_record(record, splits.fit_days, scaling=settings.scaling), splits


# ------------------------------------------------------------------------------------------------------------ the cell
def both_layers(seed=0):
    """The plain layers and the project's, with equal weights."""
    torch.manual_seed(seed)
    plain, ours = plain_layers(), ConvLSTMLayers(3, PAPER_HIDDEN, PAPER_KERNEL)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def gradients(layers, x, weight):
    """Hidden states of all days, and the gradients of a weighted sum of them by input and by weights."""
    x = x.clone().requires_grad_()
    hidden = layers(x)
    return hidden, torch.autograd.grad((hidden * weight).sum(), [x, *layers.parameters()])


@pytest.mark.parametrize("days, rows, columns", [(1, 4, 5), (4, 7, 6), (3, 1, 1)])
def test_cell_equals_the_plain_form_forward_and_backward(days, rows, columns):
    x, weight = 3 * torch.randn(2, days, 3, rows, columns), torch.randn(2, days, PAPER_HIDDEN[-1], rows, columns)
    (plain, of_plain), (ours, of_ours) = (gradients(layers, x, weight) for layers in both_layers())
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    for expected, found in zip(of_plain, of_ours):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_cell_in_bfloat16_is_near_the_plain_form_in_float32():
    x = torch.randn(2, 7, 3, 9, 8)
    plain, ours = both_layers()
    expected, found = training_step(plain, x, "float32"), training_step(ours, x, "bfloat16")
    assert found == pytest.approx(float(expected), rel=0.03)
    for one, other in zip(plain.parameters(), ours.parameters()):
        assert other.grad.dtype == torch.float32
        assert (other.grad - one.grad).norm() < 0.03 * one.grad.norm()


def test_gradient_of_the_gates_is_that_of_their_differences():
    torch.manual_seed(0)
    gates, before = (torch.randn(1, channels, 2, 2, dtype=torch.float64, requires_grad=True) for channels in (8, 2))
    assert torch.autograd.gradcheck(lambda gates, before: Gates.apply(gates.clone(), before), (gates, before))
    assert torch.autograd.gradcheck(lambda gates: Gates.apply(gates.clone(), None), (gates,))


def test_weights_of_the_convlstm_keep_their_names():
    record = SimpleNamespace(land=np.ones((3, 4), bool), lead_times=(3,))
    names = make_convlstm(completed(head="dense"), record).state_dict()
    assert list(names) == ["recurrent.cells.0.gates.weight", "recurrent.cells.0.gates.bias", "recurrent.cells.1.gates.weight",
                           "recurrent.cells.1.gates.bias", "head.2.0.weight", "head.2.0.bias"]


# ------------------------------------------------------------------------------------------------------- the precision
def test_processor_is_asked():
    assert torch.cpu.get_capabilities()["architecture"] != "x86_64" or has_bfloat16("cpu") == bfloat16_in_hardware()


@pytest.mark.parametrize("instructions, chosen", [((), "float32"), (("avx512_f",), "float32"), (("avx512_bf16",), "bfloat16"),
                                                  (("amx_bf16",), "bfloat16"), (("bf16",), "bfloat16")])
def test_auto_takes_bfloat16_where_the_processor_has_it(instructions, chosen, monkeypatch):
    with_and_without(monkeypatch, instructions)
    settings = Experiment(precision="auto")
    assert choose_precision(settings) == chosen
    assert chosen in describe_precision(settings) and "\n" not in describe_precision(settings)
    assert ("does not multiply" in describe_precision(settings)) == (chosen == "float32")


@pytest.mark.parametrize("head", ["dense", "conv"])
def test_auto_leaves_the_papers_heads_in_float32(head, monkeypatch):
    with_and_without(monkeypatch, ("avx512_bf16",))
    assert choose_precision(completed(head=head, precision="auto")) == "float32"
    assert repr(head) in describe_precision(completed(head=head, precision="auto"))
    assert choose_precision(completed(head=head, precision="bfloat16")) == "bfloat16"


def test_float32_is_given_where_it_is_asked_for(monkeypatch):
    with_and_without(monkeypatch, ("avx512_bf16",))
    assert choose_precision(completed(precision="float32")) == "float32"
    assert choose_precision(completed(precision="bfloat16")) == "bfloat16"


def test_bfloat16_is_refused_where_the_processor_lacks_it(monkeypatch):
    with_and_without(monkeypatch, ())
    with pytest.raises(UserError, match="precision is 'bfloat16'; it must be auto or float32: cpu does not multiply in bfloat16"):
        completed(precision="bfloat16")


@pytest.mark.parametrize("model, head", FORMS)
def test_network_in_bfloat16_gives_float32_near_that_of_float32(model, head, weather_cube):
    settings = completed(model, head=head)
    record, _ = opened(weather_cube(days=150), settings)
    torch.manual_seed(0)
    network = getattr(importlib.import_module(f"utils.models.{model}"), f"make_{model}")(settings, record).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = make_batch(record, np.array([60, 80]), torch.device("cpu"), np.arange(record.land.size),
                       around=network.looks_around)
    assert network.precision == "float32"
    with torch.no_grad():
        expected = network(batch)
        network.precision = "bfloat16"
        found = network(batch)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 * float(expected.abs().max()))


def test_last_day_goes_into_the_forecast_without_loss(weather_cube):
    settings = completed()
    record, _ = opened(weather_cube(days=150), settings)
    network = make_convlstm(settings, record).eval()  # untrained: half of the last known departure
    network.precision = "bfloat16"
    cells = np.arange(record.land.size)
    batch = make_batch(record, np.array([60]), torch.device("cpu"), cells, around=network.looks_around)
    with torch.no_grad():
        assert torch.equal(network(batch)[0, 0, 0], batch.inputs[0, -1, 1] / 2)


@pytest.mark.parametrize("head", ["local", "dense"])
def test_training_in_bfloat16_keeps_float32_weights_and_learns_what_float32_learns(head, weather_cube, tmp_path):
    settings = completed(head=head, epochs=2)
    record, splits = opened(weather_cube(days=400), settings)
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        network = make_convlstm(settings, record)
        network.precision = precision
        run = Run(tmp_path / precision, resume=False)
        fit(network, [(record, splits.train)], settings, run, validation=(record, splits.validation))
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
        last = (tmp_path / precision / "training_log.csv").read_text().splitlines()[-1].split(",")
        losses[precision] = float(last[2])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02) and losses["bfloat16"] != losses["float32"]


def test_resumed_run_keeps_its_precision(weather_cube, tmp_path, monkeypatch):
    with_and_without(monkeypatch, ("avx512_bf16",))
    cube_file = find_cube(str(weather_cube(days=400)), "smap_l4")
    settings = completed(precision="auto", experiment=Script, results=str(tmp_path / "results"))
    cube, splits = split_cube(cube_file.path, settings)
    run = start_run("SMAPtest", "convlstm", settings, cube_file, cube, splits)
    found = json.loads(run.path("settings.json").read_text())
    assert (found["settings"]["precision"], found["precision"]) == ("auto", "bfloat16")
    run.path("checkpoint.pt").touch()
    with pytest.raises(UserError, match="precision is 'auto' there, 'float32' was asked"):
        start_run("SMAPtest", "convlstm", replace(settings, precision="float32"), cube_file, cube, splits)
    with_and_without(monkeypatch, ())
    with pytest.raises(UserError, match="precision is 'bfloat16' there, 'float32' was asked"):
        start_run("SMAPtest", "convlstm", settings, cube_file, cube, splits)


def test_a_run_keeps_what_is_odd_about_the_units_of_its_cube(weather_cube, tmp_path):
    cube_file = find_cube(str(weather_cube(days=400)), "smap_l4")
    settings = completed(precision="float32", experiment=Script, results=str(tmp_path / "results"))
    cube, splits = split_cube(cube_file.path, settings)
    cube.attrs["unit_doubts"] = "precipitation: this looks like m (of the day)"
    run = start_run("SMAPtest", "convlstm", settings, cube_file, cube, splits)
    assert json.loads(run.path("settings.json").read_text())["cube"]["unit_doubts"] == cube.attrs["unit_doubts"]
