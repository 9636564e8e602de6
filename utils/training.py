"""Fit a network: one loop for pre-training, training from scratch and fine-tuning."""
from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import math
import time as clock
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from data_processing.arrays import at_most, pieces, release, scratch_array
from data_processing.coming_weather import degraded_weather, kept_weather, observed_weather, own_weather
from data_processing.errors import UserError
from data_processing.files import write_csv
from data_processing.record import scale_record
from data_processing.terminal import progress_bar
from utils.baselines import cell_mean, damped_persistence
from utils.batches import Batch, chosen_device, input_day_indices, make_batch, observed_targets, to_device
from utils.processes import batch_share, by_first, count, is_first, mean_over_processes, own_random, rank, shared_network
from utils.spread import write_validation

if TYPE_CHECKING:
    from data_processing.record import Record
    from data_processing.scaling import Scaler
    from data_processing.splits import Splits
    from utils.runs import Run

FIT_BAR = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # no bar: what matters fills the line
LOG_COLUMNS = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")
CHECKPOINT_SHARE = 0.05  # of the training time, at most, goes into saving checkpoints
GRADIENT_NORM = 1.0
WARM_UP_SHARE = 0.2  # of all steps
EPOCHS = 10  # of a training that is counted in steps: how often it is validated
SHORTEST_EPOCH = 50  # steps, of such a training: validating takes as long as some of them
CELLS = 256  # land cells of one step of a network that serves each cell by itself: more steps teach more than more cells
# Cells: of a map that is learned from as a whole; rows and columns of a patch of others: what lies together is read together
SMALL_MAP, PATCH = 2 ** 14, 64
VALIDATION_WINDOWS = 73  # every fifth day of a year: neighbouring days tell the same
VALIDATION_CELLS = 512  # evenly spread: neighbouring cells tell the same, too
REFIT_BELOW = 2 * 365  # days: a shorter record cannot spare its validation days
TILE = 64  # rows and columns forecast at a time: more no longer fit a processor's cache
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the pre-trained to the fine-tuned weights, to choose from
YEAR = 365  # days
SHOWN_DAYS = 8  # of a batch that is named
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # malloc.h of the GNU C library
# Largest block that is kept (the library's own limit), bytes that are kept, and that are taken at a time
KEPT_BLOCK, KEPT_BYTES, TAKEN_BYTES = 2 ** 25, 2 ** 30, 2 ** 26
# Learning with coming weather: shares of the steps in which it is (observed, forecast), else degraded, with past forecasts and
# without; share in which it ends before the last target
ARCHIVE_SHARES, NO_ARCHIVE_SHARES = (0.2, 0.6), (0.5, 0.0)
CUT_SHARE = 0.2
# Of the learning rate, by part, in the fine-tuning of a network that is told coming weather: what rain does to a soil differs
# more between domains than the rest
TOLD_RATES = {"encoder": 0.2, "recurrent": 0.2, "coming": 4.0}
TOLD_STRIDE = 6  # days of a window between those from which is forecast: what differs is the weather, not the past
TOLD_MEMBERS = 2  # of an ensemble, in a step of training


# ------------------------------------------------------------------------------------------------------------ loss
def masked_mean(values: torch.Tensor, observed: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Weighted mean over what is observed.

    Parameters
    ----------
    values, observed : Tensor [..., C]
        NaN in `observed` = not observed, or sea: it never enters.
    weight : Tensor that broadcasts to them

    Returns
    -------
    Tensor, scalar
        In several processes, of their shares: what is weighted by is that of the whole batch, so that the mean over the
        processes is the mean over the batch.
    """
    weight = weight * torch.isfinite(observed)
    return (values * weight).sum() / mean_over_processes(weight.sum()).clamp_min(1e-12)


def masked_mse(forecast: torch.Tensor, observed: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Mean squared error over the observed values only, in the scaler's units; see `masked_mean`."""
    return masked_mean((forecast - torch.where(torch.isfinite(observed), observed, 0.0)) ** 2, observed, weight)


def cell_weight(record: Record, device: str | torch.device) -> torch.Tensor:
    """Weight [H x W] that turns squared errors in scaled units into those in m3 m-3: mean 1 over land, 0 at sea."""
    one = np.ones(record.land.shape, np.float32)
    spread = record.scaler.unscale_soil_moisture(one) - record.scaler.unscale_soil_moisture(0 * one)
    weight = np.where(record.land, spread.astype(np.float64) ** 2, 0.0)
    return torch.as_tensor(weight / weight[record.land].mean(), dtype=torch.float32, device=device).flatten()


# ------------------------------------------------------------------------------------------------------- optimizer
class AdamW(torch.optim.AdamW):
    """torch's AdamW without the wrappers that import torch's compiler: 130 MB and seconds, for nothing that is used here."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


# ----------------------------------------------------------------------------------------------------------- parts
def parameter_groups(network: torch.nn.Module, settings: Any) -> list[dict]:
    """Parameters by part of the network, with a learning rate each.

    Parameters
    ----------
    network : nn.Module
        Its direct children are its parts: `encoder`, `recurrent`, `head` and, told the coming weather, `coming`.
    settings : Settings
        Read here: learning_rate and, where they exist, freeze (parts that stay as they are) and learning_rate_scale
        (factor by part; where one is not named 1, or TOLD_RATES of a network that is told coming weather).

    Returns
    -------
    list of dict
        For an optimizer.

    Raises
    ------
    UserError
        A name that is no part of this network; nothing is left to train.
    """
    parts = dict(network.named_children())
    freeze, learning_rate_scale = getattr(settings, "freeze", ()), getattr(settings, "learning_rate_scale", None)
    usual_scale = TOLD_RATES if learning_rate_scale is not None and "coming" in parts else {}  # in fine-tuning
    learning_rate_scale = learning_rate_scale or {}
    for setting, names in (("freeze", freeze), ("learning_rate_scale", learning_rate_scale)):
        unknown = [name for name in names if name not in parts]
        if unknown:
            raise UserError(f"{setting} names {', '.join(unknown)}, which this network lacks; "
                            f"its parts are {', '.join(parts)}.")
    groups = []
    for name, part in parts.items():
        part.requires_grad_(name not in freeze)
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        if trained:
            scale = (usual_scale | learning_rate_scale).get(name, 1.0)
            if not 0 < scale < math.inf:
                raise UserError(f"learning_rate_scale of {name} is {scale}; it must be above 0. To keep a "
                                "part as it is, name it in freeze.")
            groups.append({"params": trained, "lr": settings.learning_rate * scale})
    if not groups:
        raise UserError(f"freeze names every part ({', '.join(freeze)}): nothing is left to train.")
    return groups


def one_cycle(step: int, steps: int) -> float:
    """Share of the full learning rate: a cosine up over the first fifth of the steps, then down to nearly nothing.

    Smith and Topin (2019), doi:10.1117/12.2520589.
    """
    warm_up = max(1.0, WARM_UP_SHARE * steps)
    if step < warm_up:
        return 0.04 + 0.96 * (1.0 - math.cos(math.pi * step / warm_up)) / 2.0
    share = min(1.0, (step - warm_up) / max(1.0, steps - warm_up))
    return 0.001 + 0.999 * (1.0 + math.cos(math.pi * share)) / 2.0


# -------------------------------------------------------------------------------------------------------------- fit
def train(new_network: Callable, record: Record, splits: Splits, settings: Any, run: Run, scaler: Scaler | None = None,
          further: Sequence[tuple[Record, np.ndarray]] = ()) -> tuple[torch.nn.Module, Record]:
    """Fit a network with early stopping and, for a short record, once more on training and validation days.

    Parameters
    ----------
    new_network : function of a Record
        Makes the network with its start weights.
    record : Record
        Not scaled yet.
    splits : Splits
    settings : Settings
        Read here besides what `fit` reads: scaling, refit and, in fine-tuning, zero_shot, hold_back.
    run : Run
    scaler : Scaler, optional
        Of the source domain, to use instead of one fitted on this record (scaling_from = "source").
    further : sequence of (Record, int ndarray)
        Scaled records to learn from as well, each with its training targets.

    Returns
    -------
    nn.Module
    Record
        Scaled as the network needs it.
    """
    def prepare(days):
        torch.manual_seed(settings.seed)
        scaled = scale_record(record, days, scaling=settings.scaling, scaler=scaler)
        return scaled, new_network(scaled)

    scaled, network = prepare(splits.fit_days)
    days = validation_days(splits.validation)
    cells = spread_cells(record.land)
    damped = root_mean_square(damped_at(scaled, days, splits.fit_days, cells), scaled, days, cells)
    if not math.isfinite(damped):
        raise UserError(f"{record.name} has no observed soil moisture on any of the {len(days)} validation days that are "
                        f"scored, {record.time[days[0]]} to {record.time[days[-1]]}. Choose other dates.")
    print(f"network: {sum(value.numel() for value in network.parameters()):,} weights; scaling fitted on "
          f"{scaled.scaler.source}, {scaled.scaler.first_day} to {scaled.scaler.last_day}\n"
          f"validation RMSE to beat, of damped persistence: {damped:.4f} m3 m-3",
          flush=True)
    if getattr(settings, "zero_shot", False):
        keep_validation(network, scaled, splits, settings.device, run)
        scaled, network = prepare(splits.history_days)
        print("zero-shot: the pre-trained weights are used as they are", flush=True)
        write_log(run, [])
        return network, scaled
    start = copy_weights(network)
    steps = fit(network, [(scaled, splits.train), *further], settings, run, validation=(scaled, splits.validation))
    hold_back = getattr(settings, "hold_back", False)
    share = run.read_share()
    if share is None:  # else an interrupted run goes on with its second fit
        share = choose_share(network, start, scaled, splits, settings.device) if hold_back else 1.0
        tuned = copy_weights(network)
        move_weights(network, start, share)
        keep_validation(network, scaled, splits, settings.device, run)
        network.load_state_dict(tuned)
    refit = settings.refit
    if refit is None:
        refit = np.count_nonzero(splits.history_days) < REFIT_BELOW
    if refit:
        days = splits.time[splits.history_days]
        why = "as asked" if settings.refit else "training and validation together are under two years"
        print(f"refit, {why}:\ntrained once more, {steps} steps, on all {days.size} days from {days[0]} to {days[-1]},\n"
              "validation included", flush=True)
        scaled, network = prepare(splits.history_days)
        targets = np.concatenate([splits.train, splits.validation])
        fit(network, [(scaled, targets), *further], settings, run, steps=steps, phase="refit", share=share)
    if hold_back:
        move_weights(network, start, share)
        print(f"fine-tuned weights: {share:.2f} of the way from the pre-trained ones", flush=True)
    return network, scaled


def damped_at(record: Record, targets: np.ndarray, history_days: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Forecasts of damped persistence at some cells (int ndarray [C]), float32 [N, L, C], m3 m-3."""
    observed, carried = record.observed_maps, record.carried_soil_moisture
    mean = cell_mean(observed, history_days)
    maps = (damped_persistence(carried, observed, history_days, targets, lead_time, mean) for lead_time in record.lead_times)
    return np.stack([of_lead.reshape(len(targets), -1)[:, cells] for of_lead in maps], axis=1)


@by_first
def keep_validation(network: torch.nn.Module, record: Record, splits: Splits, device: str | torch.device, run: Run) -> None:
    """Write `validation.nc`: forecasts of validation days, whose errors tell how far those of test days can be trusted."""
    days = validation_days(splits.validation)
    if record.coming is None:
        forecast, members = forecast_days(network, record, days, device, progress=False), ()
    else:
        _, bound, members = forecast_told(network, record, days, device, progress=False)
        forecast = told_forecast(bound, members)
        members = members if record.coming.file is None or is_served(record, days) else ()
    write_validation(run.path("validation.nc"), forecast, members, record.observed(days), record.time[days], record.lead_times)


def write_log(run: Run, log: list[dict]) -> None:
    """Write `training_log.csv` from a list of dicts."""
    if is_first():
        write_csv(run.path("training_log.csv"), LOG_COLUMNS, log)


def is_served(record: Record, targets: np.ndarray) -> bool:
    """Whether the record's weather file has forecasts for most of the given days: else they do not tell how its members differ."""
    init_days = np.unique(np.asarray(targets)[:, None] - record.lead_times)
    return np.isin(record.time[0] + init_days, record.coming.file.init_time).mean() > 0.5


def copy_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Dict of the network's weights, detached from it."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def move_weights(network: torch.nn.Module, start: dict[str, torch.Tensor], share: float) -> None:
    """Put the weights at `share` of the way from `start` (dict) to where they are.

    Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", arXiv:2109.01903.
    """
    network.load_state_dict({name: torch.lerp(start[name].to(value), value, share)
                             for name, value in network.state_dict().items()})


def choose_share(network: torch.nn.Module, start: dict[str, torch.Tensor], record: Record, splits: Splits,
                 device: str | torch.device) -> float:
    """How far fine-tuning may go: by what the validation says, and by how much of a year the record has seen.

    A record of one season cannot tell what its weights do to the others: of the way that the validation likes best, a
    record of n days goes (n / 365)^2, and the whole of it from a year on.

    Parameters
    ----------
    network : nn.Module
        Fine-tuned; left as it is.
    start : dict
        The pre-trained weights.
    record : Record
    splits : Splits
    device : str

    Returns
    -------
    float
        0..1
    """
    tuned = copy_weights(network)
    errors = []
    for share in SHARES:
        network.load_state_dict(tuned)
        move_weights(network, start, share)
        errors.append(validate(network, record, splits.validation, device))
    network.load_state_dict(tuned)
    print("validation RMSE by the share of the way from the pre-trained to the\nfine-tuned weights: "
          + ", ".join(f"{share:.2f} {error:.4f}" for share, error in zip(SHARES, errors)), flush=True)
    return SHARES[int(np.nanargmin(errors))] * min(1.0, int(np.count_nonzero(splits.history_days)) / YEAR) ** 2


def fit(network: torch.nn.Module, sources: list[tuple[Record, np.ndarray]], settings: Any, run: Run, *,
        validation: tuple[Record, np.ndarray] | None = None, steps: int | None = None, phase: str = "fit",
        share: float | None = None) -> int:
    """Train a network, keep its best weights, and be able to go on after an interruption.

    Parameters
    ----------
    network : nn.Module
        Trained in place; ends with the weights of the lowest validation loss, or of the last step.
    sources : list of (Record, int ndarray)
        Records to train on, each with its training targets (indices of days).
    settings : the script's Settings
        Read here: epochs, steps, batch_size, learning_rate, weight_decay, patience, seed, device and, where they exist,
        patch, freeze, learning_rate_scale and pull.
    run : utils.runs.Run
        Where `checkpoint.pt` and `training_log.csv` are written, and whether to resume.
    validation : (Record, int ndarray), optional
        Early stopping on these targets. Without it training lasts `steps` steps.
    steps : int, optional
    phase : str
        "fit" or "refit": a run that does both resumes in the right one.
    share : float, optional
        Of the way that fine-tuning may go, chosen in the phase before: kept in the checkpoint.

    Returns
    -------
    int
        Number of steps after which the weights were taken.
    """
    keep_freed_memory()
    device = chosen_device(settings.device)
    network.to(device)
    groups = parameter_groups(network, settings)
    frozen = {name: value.clone() for name, value in network.named_parameters() if not value.requires_grad}
    state = run.load_checkpoint()
    if state and phase in state["phases"]:
        if state["phase"] == phase:  # a later phase starts from its own weights
            network.load_state_dict(state["network"])
        return state["phases"][phase]

    pull = getattr(settings, "pull", 0.0)
    start = [(value, value.detach().clone()) for value in network.parameters() if pull and value.requires_grad]
    torch.manual_seed(settings.seed)
    optimizer = AdamW(groups, weight_decay=settings.weight_decay)
    record, targets = sources[0]
    stride = max(1, record.input_days // 2) if network.every_day else 1
    if settings.epochs:  # passes over the training days of the first record, also where windows are drawn from several
        epoch_steps = math.ceil(epoch_windows(targets, stride) / settings.batch_size)
        target_steps = steps or settings.epochs * epoch_steps
    else:
        target_steps = steps or settings.steps
        epoch_steps = max(SHORTEST_EPOCH, math.ceil(settings.steps / EPOCHS))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, target_steps))
    progress: dict = {"epoch": 0, "step": 0, "best_loss": math.inf, "best_epoch": 0, "best_step": 0, "best": None}
    phases, log = {}, []
    if state:
        phases, log = state["phases"], state["log"]
        if state["phase"] == phase:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["random_state"].cpu())
            if device.type == "cuda" and state["cuda_random_states"]:
                torch.cuda.set_rng_state(state["cuda_random_states"][0].cpu(), device)
            progress = state["progress"]

    def save():
        nonlocal saved_at, saving_seconds, kept
        kept = f"keeps the weights of epoch {progress['epoch']} ({phase})"
        started = clock.monotonic()
        run.save_checkpoint({"phase": phase, "phases": phases, "share": share, "log": log, "progress": progress,
                             "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                             "schedule": schedule.state_dict(), "random_state": torch.get_rng_state(),
                             "cuda_random_states": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []})
        saved_at = clock.monotonic()
        saving_seconds = saved_at - started

    shared = shared_network(network)
    saved_at, saving_seconds = clock.monotonic(), 0.0
    kept = "keeps the weights of the phase before" if state else "is not written yet"
    if state and state["phase"] == phase:
        kept = f"keeps the weights of epoch {progress['epoch']} ({phase})"
    weights = [cell_weight(record, device) for record, _ in sources]
    patches = [getattr(settings, "patch", None) or usual_patch(record) for record, _ in sources]
    if network.looks_around:
        for record, _ in sources:
            record.around(), record.motion()  # before the bar: it would take the first steps for slow and expect a late end
    with progress_bar(total=target_steps, initial=progress["step"], desc=phase, bar_format=FIT_BAR) as bar:
        while progress["step"] < target_steps:
            if validation and progress["epoch"] - progress["best_epoch"] >= settings.patience:
                break
            started = clock.monotonic()
            losses = []
            network.train()
            if settings.epochs and len(sources) == 1:
                batches = epoch_batches(*sources[0], stride, settings.batch_size)
            else:
                batches = random_batches(sources, epoch_steps, settings.batch_size)
            batches = batches[:target_steps - progress["step"]]
            with one_thread(bool(network.every_day)):
                for prepared in prepared_batches(shared, sources, batches, weights, patches, device):
                    loss = training_loss(shared, prepared)
                    penalty = sum(((value - before) ** 2).sum() for value, before in start)
                    losses.append(loss.detach())
                    update(network, optimizer, loss + 0.5 * pull * penalty)
                    schedule.step()
                    bar.update()
            progress["step"] += len(losses)
            progress["epoch"] += 1
            epoch_losses = mean_over_processes(torch.stack(losses))
            spoilt = spoilt_step(epoch_losses, network)
            validation_loss = validate(network, *validation, device) if validation and spoilt is None else math.nan
            if spoilt is not None or validation and not math.isfinite(validation_loss):
                raise UserError(f"the network's numbers are no longer finite after {name_step(batches, sources, spoilt)} of "
                                f"epoch {progress['epoch']} ({phase}). Look at these days of the cube, or lower learning_rate "
                                f"(now {settings.learning_rate:g}). {run.path('checkpoint.pt')} {kept}.")
            train_loss = float(epoch_losses.mean())
            if validation and validation_loss < progress["best_loss"]:
                progress |= {"best_loss": validation_loss, "best_epoch": progress["epoch"],
                             "best_step": progress["step"],
                             "best": {name: value.clone() for name, value in network.state_dict().items()}}
            log.append({"epoch": len(log) + 1, "train_loss": train_loss, "validation_loss": validation_loss,
                        "learning_rate": schedule.get_last_lr()[0], "seconds": clock.monotonic() - started})
            write_log(run, log)
            bar.set_postfix_str(f"epoch {progress['epoch']}, loss {train_loss:.4f}"
                                + (f", validation {validation_loss:.4f}" if validation else ""))
            if saving_seconds <= CHECKPOINT_SHARE * (clock.monotonic() - saved_at):
                save()
    if validation:
        network.load_state_dict(progress["best"])
    check_frozen(network, frozen)
    phases[phase] = progress["best_step"] if validation else progress["step"]
    progress = progress | {"best": None}
    save()
    return phases[phase]


def spoilt_step(losses: torch.Tensor, network: torch.nn.Module) -> int | None:
    """Number of the first step of an epoch whose loss is not finite, of the last where only a weight is not; else None.

    Looked at once an epoch, so that no step waits for a GPU. losses : Tensor [steps].
    """
    finite = torch.isfinite(losses).tolist()
    if not all(finite):
        return finite.index(False)
    return None if all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()) else len(finite) - 1


def name_step(batches: list[tuple[int, np.ndarray]], sources: list[tuple[Record, np.ndarray]], step: int) -> str:
    """A step of an epoch in words, and the last input days of it and of the step before, which may have spoilt the weights."""
    if step is None:
        return f"the last of {len(batches)} steps"

    def days(number):
        source, init_days = batches[number]
        shown = [str(sources[source][0].time[0] + day) for day in np.sort(init_days)]
        more = f" and {len(shown) - SHOWN_DAYS} more" if len(shown) > SHOWN_DAYS else ""
        return f"{sources[source][0].name} up to {', '.join(shown[:SHOWN_DAYS])}{more}"

    before = f"; the step before: {days(step - 1)}" if step else ""
    return f"step {step + 1} ({days(step)}{before})"


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep memory that is freed: a step of training frees and asks for the same blocks again and again.

    Given back to the system and taken anew, page by page, they cost a sixth of the time of a step. All threads share what is
    kept: what one of them frees, the next batch uses. Options of mallopt(3) of the GNU C library; other systems are left as
    they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_TOP_PAD, TAKEN_BYTES)
    mallopt(M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Give the system back what `keep_freed_memory` keeps: what a step of training needs is in the way of a forecast."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def epoch_windows(targets: np.ndarray, stride: int) -> int:
    """Number of windows of one epoch: every target once, or one in `stride`."""
    return max(1, len(targets) // stride)


def epoch_batches(record: Record, targets: np.ndarray, stride: int, batch_size: int) -> list[tuple[int, np.ndarray]]:
    """Batches of one epoch in random order.

    Parameters
    ----------
    record : Record
    targets : int ndarray
    stride : int
        Days between the windows; a random first day each epoch. 1 = every window.
    batch_size : int

    Returns
    -------
    list of (int, int ndarray)
        Number of the source, 0, and the last input days of one batch.
    """
    init_days = np.asarray(targets) - record.lead_times[-1]
    latest = len(init_days) - 1 - int(torch.randint(min(stride, len(init_days)), ()))
    ends = init_days[latest - stride * torch.randperm(epoch_windows(targets, stride)).numpy()]
    return [(0, ends[start:start + batch_size]) for start in range(0, len(ends), batch_size)]


def random_batches(sources: list[tuple[Record, np.ndarray]], count: int, batch_size: int) -> list[tuple[int, np.ndarray]]:
    """`count` batches, each of windows of one source that end on random days: what `epoch_batches` gives, by chance."""
    batches = []
    for number in torch.randint(len(sources), (count,)).tolist():
        record, targets = sources[number]
        chosen = torch.randint(len(targets), (batch_size,)).numpy()
        batches.append((number, np.asarray(targets)[chosen] - record.lead_times[-1]))
    return batches


class Prepared(NamedTuple):
    """A batch to learn from.

    batch : utils.batches.Batch. observed : Tensor [N, d, L, C], what is to be forecast, in the scaler's units; NaN = not
    observed. weight : Tensor [C], of the squared errors. members : of a weather forecast; None where none is told.
    """

    batch: Batch
    observed: torch.Tensor
    weight: torch.Tensor
    members: int | None


def prepared_batches(network: torch.nn.Module, sources: list[tuple[Record, np.ndarray]], batches: list[tuple[int, np.ndarray]],
                     weights: list, patches: list, device: str | torch.device) -> Iterator[Prepared]:
    """Yield a Prepared for each (number of a source, last input days): made by a thread while the one before is learned from.

    All random numbers are drawn here, in order, whenever the thread may be at work.
    """
    with ThreadPoolExecutor(1) as thread:
        ahead = None
        for source, init_days in batches:
            prepare = draw_batch(network, sources[source], init_days, weights[source], device, patches[source])
            behind, ahead = ahead, thread.submit(prepare)
            if behind:
                yield behind.result()
        if ahead:
            yield ahead.result()


def draw_batch(network: torch.nn.Module, source: tuple[Record, np.ndarray], init_days: np.ndarray, weight: torch.Tensor | None,
               device: str | torch.device, patch: int | None = None) -> Callable[[], Prepared]:
    """Draw what is random about a batch of one (Record, targets); in several processes each takes its share.

    Returns
    -------
    function
        Of nothing; gathers the Prepared.
    """
    record, targets = source
    if network.every_day:
        first = record.input_days // 4  # the first days know too little of the past
        if record.coming is not None:
            first += int(torch.randint(min(TOLD_STRIDE, record.input_days - first), ()))
        shown = range(first, record.input_days, TOLD_STRIDE if record.coming is not None else 1)
        cells = random_cells(record.land, patch)
    else:
        shown, cells = (-1,), np.arange(record.land.size)
    tell, idle = None, False
    if record.coming is not None:
        tell = functools.partial(random_weather, record, targets, np.random.default_rng(int(torch.randint(2 ** 31, ()))))
    if count() > 1:
        init_days, cells, tell, idle = take_share(record, init_days, cells, shown, tell, by_cells=bool(network.every_day))

    def prepare():
        target_days = np.zeros(len(record.time), bool)
        target_days[targets] = not idle
        observed = observed_targets(record, init_days, target_days, device, cells, list(shown))
        record.release()
        observed = record.scaler.of_cells(cells).scale_soil_moisture(observed[..., None, :])[..., 0, :]
        batch = make_batch(record, init_days, device, cells, shown, tell, network.looks_around)
        return Prepared(batch, observed, weight[to_device(cells, device)], record.coming and record.coming.members)

    return prepare


def training_loss(network: torch.nn.Module, prepared: Prepared) -> torch.Tensor:
    """Loss (Tensor) of a Prepared batch.

    Where coming weather is told, that of the forecast without it and that of the one with it, so that the same weights serve
    both.
    """
    with own_random():
        forecast = network(prepared.batch)
    observed, weight = prepared.observed, prepared.weight
    if prepared.members is None:
        return masked_mse(forecast, observed, weight)
    return masked_mse(forecast[0], observed, weight) + ensemble_mse(forecast[1:], observed, weight, prepared.members)


def take_share(record: Record, init_days: np.ndarray, cells: np.ndarray, shown: Sequence[int], tell: Callable | None,
               by_cells: bool) -> tuple:
    """What one of several processes takes of a batch (`batch_share`): init days, cells, `tell`, and whether it is idle.

    A process that nothing is left for goes through the motions with the first window or cell, which must not count.
    """
    windows, of_cells = batch_share(len(init_days), len(cells) if by_cells else None)
    idle = len(init_days[windows]) == 0 or len(cells[of_cells]) == 0
    if idle:
        windows, of_cells = slice(1), slice(1 if by_cells else None)
    if tell is not None:  # drawn for the whole batch, so that it is the same batch
        days = input_day_indices(record, init_days)[:, list(shown)]
        weather = tell(days.ravel(), cells)
        weather = weather.reshape(len(weather), *days.shape, *weather.shape[2:])[:, windows][..., of_cells]
        weather = weather.reshape(len(weather), -1, *weather.shape[3:])
    return init_days[windows], cells[of_cells], None if tell is None else lambda *_: weather, idle


def random_weather(record: Record, targets: np.ndarray, random: np.random.Generator, init_days: np.ndarray,
                   cells: np.ndarray) -> np.ndarray:
    """Coming weather to learn with: observed, forecast or degraded, and sometimes of the first days only.

    random : numpy.random.Generator.

    Returns
    -------
    float32 [M, n, L, COMING_CHANNELS, cells]
        See `data_processing.coming_weather`.
    """
    coming, kind = record.coming, random.random()
    members = min(TOLD_MEMBERS, coming.members)
    observed, forecast = ARCHIVE_SHARES if coming.kept is not None and len(coming.kept) else NO_ARCHIVE_SHARES
    if kind < observed:
        told = observed_weather(record, init_days, cells, targets[-1])[None]
    elif kind < observed + forecast:
        told = kept_weather(record, init_days, cells, members, random)
        lacking: Any = ~(told[..., -2:, :] > 0).any(axis=(0, 2, 3, 4)) if len(told) else np.ones(len(init_days), bool)
        if lacking.any():  # days without a forecast
            made_up = degraded_weather(record, targets, init_days, cells, max(len(told), 1), random)
            told = np.where(lacking[:, None, None, None], made_up, told) if len(told) else made_up
    else:
        told = degraded_weather(record, targets, init_days, cells, members, random)
    if random.random() < CUT_SHARE:
        told[:, :, random.integers(record.lead_times[-1]):] = 0.0
    return told


def ensemble_mse(forecasts: torch.Tensor, observed: torch.Tensor, weight: torch.Tensor | None, members: int) -> torch.Tensor:
    """Squared error that the mean of an ensemble of `members` would have, from a few of them: Tensor, scalar.

    The mean of a few errs more than that of many, by their variance times the difference of 1 / number.

    forecasts : Tensor [M, ...]; observed, weight : as `masked_mse` takes them.
    """
    of_few = masked_mse(forecasts.mean(0), observed, weight)
    if len(forecasts) < 2:
        return of_few
    return of_few - (1 / len(forecasts) - 1 / members) * masked_mean(forecasts.var(0), observed, weight)


def random_cells(land: np.ndarray, patch: int | None = None) -> np.ndarray:
    """Indices of CELLS of the land cells, int ndarray, ascending; of all where there are no more.

    patch : rows and columns of a square about a random land cell, to which the others then belong as well.
    """
    cells = np.flatnonzero(land)
    if patch is not None:
        row, column = divmod(int(cells[int(torch.randint(len(cells), ()))]), land.shape[1])
        first_row, first_column = (int(np.clip(centre - patch // 2, 0, max(size - patch, 0)))
                                   for centre, size in zip((row, column), land.shape))
        rows, columns = np.nonzero(land[first_row:first_row + patch, first_column:first_column + patch])
        cells = (first_row + rows) * land.shape[1] + first_column + columns
    return np.sort(cells[torch.randperm(len(cells))[:CELLS].numpy()])


def usual_patch(record: Record) -> int | None:
    """The patch of a record: None, the whole map, where the map is small enough for any of its cells to be at hand."""
    return None if record.land.size <= SMALL_MAP else PATCH


def update(network: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of the optimizer."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
    optimizer.step()


def validation_days(targets: np.ndarray) -> np.ndarray:
    """Every n-th of the validation targets: at most `VALIDATION_WINDOWS`."""
    return at_most(targets, VALIDATION_WINDOWS)


def validate(network: torch.nn.Module, record: Record, targets: np.ndarray, device: str | torch.device) -> float:
    """Root mean squared error, m3 m-3, over `validation_days`; where coming weather is told, of forecasts without and with it."""
    targets = validation_days(targets)
    if len(targets) >= count():  # each process has some of them
        targets = targets[rank()::count()]
    cells = spread_cells(record.land)
    give_back_memory()
    if record.coming is None:
        forecasts = forecast_cells(network, record, targets, device, cells)
    else:
        blind, bound, *members = forecast_cells(network, record, targets, device, cells, bound_and_members(record))
        forecasts = blind, told_forecast(bound, members)
    give_back_memory()
    return math.sqrt(np.mean([root_mean_square(forecast, record, targets, cells) ** 2 for forecast in forecasts]))


def spread_cells(land: np.ndarray) -> np.ndarray:
    """Indices of VALIDATION_CELLS of the land cells, evenly spread, int ndarray; of all where there are no more."""
    cells = np.flatnonzero(land)
    return at_most(cells, VALIDATION_CELLS)


def root_mean_square(forecast: np.ndarray, record: Record, targets: np.ndarray, cells: np.ndarray) -> float:
    """Root mean squared error, m3 m-3, of forecasts [N, L, C] of the given days at cells over all observed values.

    Several processes may each have some of the days: it is that over all of them.
    """
    squares = (forecast - record.observed_at(np.asarray(targets), cells)[:, None]).astype(np.float64) ** 2
    known = np.isfinite(squares)
    total, number = mean_over_processes(squares[known].sum()), mean_over_processes(int(np.count_nonzero(known)))
    return math.sqrt(total / number) if number else math.nan


def forecast_days(network: torch.nn.Module, record: Record, targets: np.ndarray, device: str | torch.device,
                  progress: bool = True) -> np.ndarray:
    """Forecast soil moisture of the given days, without coming weather, from the windows that end each lead time before.

    Parameters
    ----------
    network : nn.Module
    record : Record
    targets : int ndarray [N]
    device : str or torch.device
    progress : bool
        Show a progress bar.

    Returns
    -------
    float32 ndarray [N, L, H, W]
        m3 m-3; NaN at sea. A large one is a mapped file (`data_processing.arrays.scratch_array`).
    """
    return on_maps(network, record, init_days_of(record, targets), device, progress, None)[0]


def forecast_told(network: torch.nn.Module, record: Record, targets: np.ndarray, device: str | torch.device,
                  progress: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forecast without and with the coming weather of the record, by the same weights.

    Parameters
    ----------
    network, record, targets, device, progress
        As `forecast_days` takes them.

    Returns
    -------
    blind : float32 ndarray [N, L, H, W]
        m3 m-3; without coming weather.
    bound : float32 ndarray [N, L, H, W]
        With the observed weather, an upper bound of skill.
    members : float32 ndarray [M, N, L, H, W]
        With each member of the record's weather file; M = 0 where it has none. NaN where a member tells nothing and others do;
        where none of them does, as without coming weather.
    """
    forecasts = on_maps(network, record, init_days_of(record, targets), device, progress, bound_and_members(record))
    return forecasts[0], forecasts[1], forecasts[2:]


def forecast_from(network: torch.nn.Module, record: Record, init_days: np.ndarray, device: str | torch.device,
                  progress: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Forecast every lead time from the windows that end on the given days, as in real use: what is observed later is not used.

    Parameters
    ----------
    network : nn.Module
    record : Record
    init_days : int ndarray [I]
        Last input days; the days that are forecast may lie beyond the record.
    device : str or torch.device
    progress : bool
        Show a progress bar.

    Returns
    -------
    blind : float32 ndarray [I, L, H, W]
        m3 m-3; NaN at sea. Without coming weather.
    members : float32 ndarray [M, I, L, H, W]
        With each member of the record's weather file; M = 0 where it has none. See `forecast_told`.
    """
    def tell(days, cells):
        return own_weather(record, days, cells)

    init_days = np.repeat(np.asarray(init_days)[:, None], len(record.lead_times), axis=1)
    forecasts = on_maps(network, record, init_days, device, progress, None if record.coming is None else tell)
    return forecasts[0], forecasts[1:]


def init_days_of(record: Record, targets: np.ndarray) -> np.ndarray:
    """Last input day for each target day and lead time, int [N, L]."""
    return np.asarray(targets)[:, None] - record.lead_times


def bound_and_members(record: Record) -> Callable | None:
    """Function that tells the observed weather and, where the record has a weather file, that of its members; see `make_batch`."""
    def tell(days, cells):
        bound = observed_weather(record, days, cells)[None]
        return bound if record.coming.file is None else np.concatenate((bound, own_weather(record, days, cells)))
    return tell


def told_forecast(bound: np.ndarray, members: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The forecast that coming weather is there for: the mean of the members [M, N, L, ...], or without any the bound."""
    if not len(members):
        return bound
    mean = scratch_array(members[0].shape)
    for days in pieces(mean, *members):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the sea has no mean
            mean[days] = np.nanmean([member[days] for member in members], axis=0)
    return mean


def on_maps(network: torch.nn.Module, record: Record, init_days: np.ndarray, device: str | torch.device, progress: bool,
            tell: Callable | None) -> np.ndarray:
    """Forecasts of all land cells on the map, float32 [M, N, L, H, W], NaN at sea, from the init days int [N, L]."""
    land = np.flatnonzero(record.land)
    shape = *init_days.shape, *record.land.shape
    maps = None
    for piece, forecast in forecast_pieces(network, record, init_days, device, land, tell, progress):
        if maps is None:
            maps = scratch_array((len(forecast), *shape))
            flat = maps.reshape(-1, record.land.size)
            for rows in pieces(flat):
                flat[rows] = np.nan
        place = maps.reshape(*maps.shape[:3], -1)
        place[:, piece.targets[:, None], piece.leads[:, None], piece.cells] = forecast[:, piece.leads]
        release(maps)
    return maps


def forecast_cells(network: torch.nn.Module, record: Record, targets: np.ndarray, device: str | torch.device, cells: np.ndarray,
                   tell: Callable | None = None) -> np.ndarray:
    """Forecasts of the given days at some cells.

    Parameters
    ----------
    network, record, targets, device
        As `forecast_days` takes them.
    cells : int ndarray [C]
    tell : function, optional
        See `utils.batches.make_batch`.

    Returns
    -------
    float32 ndarray [1 or 1 + M, N, L, C]
        m3 m-3: without coming weather, then with what `tell` tells.
    """
    forecasts, init_days = None, init_days_of(record, targets)
    for piece, forecast in forecast_pieces(network, record, init_days, device, cells, tell, progress=False):
        if forecasts is None:
            forecasts = np.empty((len(forecast), len(targets), len(record.lead_times), len(cells)), np.float32)
        columns = np.searchsorted(cells, piece.cells)
        forecasts[:, piece.targets[:, None], piece.leads[:, None], columns] = forecast[:, piece.leads]
    return forecasts


class Piece(NamedTuple):
    """What a piece of a forecast is of: the targets and lead times that one window serves, int ndarrays, and cells, int [c]."""

    targets: np.ndarray
    leads: np.ndarray
    cells: np.ndarray


def forecast_pieces(network: torch.nn.Module, record: Record, wanted: np.ndarray, device: str | torch.device, cells: np.ndarray,
                    tell: Callable | None, progress: bool) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yield (Piece, float32 ndarray [M, L, c]), m3 m-3, of the init days int [N, L].

    Memory does not grow with the days or the map.
    """
    device = chosen_device(device)
    network.to(device).eval()
    init_days = np.unique(wanted)
    tiles = tiles_of(cells, record.land.shape[1]) if network.every_day else [cells]  # the paper's forecast whole maps
    work = [(day, tile) for day in init_days for tile in tiles]
    # small tensors gain little from several cores, tiles side by side all; weather files are read by one thread
    side_by_side = device.type == "cpu" and network.every_day and tell is None
    if network.looks_around:
        record.around(), record.motion()  # worked out once, by this thread

    @torch.no_grad()
    def forecast_piece(day, tile):
        inputs = tile if network.every_day else np.arange(record.land.size)
        batch = make_batch(record, np.array([day]), device, inputs, tell=tell, around=bool(network.looks_around))
        scaled = network(batch)[..., 0, :, :]
        physical = record.scaler.of_cells(inputs).unscale_soil_moisture(scaled[..., None, :])[..., 0, :].cpu().numpy()
        physical = physical if tell is None else physical[:, 0]  # of one window; without members its axis stands for theirs
        return Piece(*np.nonzero(wanted == day), tile), physical if network.every_day else physical[..., tile]

    with progress_bar(total=len(init_days) * len(tiles), desc="forecast", unit="window", disable=not progress) as bar:
        for piece, forecast in in_threads(forecast_piece, work, torch.get_num_threads() if side_by_side else 1):
            yield piece, forecast
            bar.update()


@contextlib.contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Compute on one core in this block, where wanted: a step of a few cells takes a third longer on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_threads(function: Callable, work: list[tuple], threads: int) -> Iterator[Any]:
    """Results of a function for each of some tuples of arguments, in their order.

    Parameters
    ----------
    function : function
        Of torch's operations, which leave other threads free to compute.
    work : list of tuple
    threads : int
        So many at a time, each on one core; no more results than that wait to be taken.
    """
    if threads == 1:
        yield from (function(*each) for each in work)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running: deque[Future] = deque()
        try:
            for each in work:
                running.append(pool.submit(function, *each))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # what threads that are started later find


def tiles_of(cells: np.ndarray, columns: int) -> list[np.ndarray]:
    """Parts of some cells (int ndarray, of the flat map) to be forecast one after another: squares of TILE x TILE cells."""
    if len(cells) <= TILE ** 2:
        return [cells]
    row, column = np.divmod(cells, columns)
    tile = row // TILE * -(-columns // TILE) + column // TILE
    order = np.argsort(tile, kind="stable")
    return np.split(cells[order], np.flatnonzero(np.diff(tile[order])) + 1)


def check_frozen(network: torch.nn.Module, frozen: dict[str, torch.Tensor]) -> None:
    """Assert that parameters kept aside before training are unchanged."""
    for name, value in network.named_parameters():
        if name in frozen and not torch.equal(value, frozen[name]):
            raise RuntimeError(f"the frozen parameter {name} changed in training")
