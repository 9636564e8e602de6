"""Fit a network: one loop for pre-training, training from scratch and fine-tuning."""
import math
import time as clock

import numpy as np
import torch
from tqdm import tqdm

from data_processing.errors import UserError
from data_processing.files import write_csv
from data_processing.record import scale_record
from utils.baselines import baseline_forecasts
from utils.batches import make_batch, observed_targets

LOG_COLUMNS = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")
CHECKPOINT_SHARE = 0.05  # of the training time, at most, goes into saving checkpoints
GRADIENT_NORM = 1.0
WARM_UP_SHARE = 0.2  # of all steps
VALIDATION_WINDOWS = 73  # every fifth day of a year: neighbouring days tell the same
REFIT_BELOW = 2 * 365  # days: a shorter record cannot spare its validation days
FORECAST_WINDOWS = 2  # at a time: more no longer fit a processor's cache


# ------------------------------------------------------------------------------------------------------------ loss
def masked_mse(forecast, observed, weight):
    """Mean squared error over the observed values only.

    Parameters
    ----------
    forecast, observed : Tensor [..., H, W]
        In the scaler's units; NaN in `observed` = not observed, or sea: it never enters.
    weight : Tensor [H, W]

    Returns
    -------
    Tensor, scalar
    """
    valid = torch.isfinite(observed)
    weight = weight * valid
    squared_error = (forecast - torch.where(valid, observed, 0.0)) ** 2
    return (squared_error * weight).sum() / weight.sum().clamp_min(1e-12)


def cell_weight(record, device):
    """Weight [H, W] that turns squared errors in scaled units into those in m3 m-3: mean 1 over land, 0 at sea."""
    one = np.ones(record.land.shape, np.float32)
    spread = record.scaler.unscale_soil_moisture(one) - record.scaler.unscale_soil_moisture(0 * one)
    weight = np.where(record.land, spread.astype(np.float64) ** 2, 0.0)
    return torch.as_tensor(weight / weight[record.land].mean(), dtype=torch.float32, device=device)


# ----------------------------------------------------------------------------------------------------------- parts
def parameter_groups(network, settings):
    """Parameters by part of the network, with a learning rate each.

    Parameters
    ----------
    network : nn.Module
        Its direct children are its parts: `encoder`, `recurrent`, `head`.
    settings : Settings
        Read here: learning_rate and, where they exist, freeze (parts that stay as they are) and learning_rate_scale
        (factor by part, 1 where a part is not named).

    Returns
    -------
    list of dict
        For an optimizer.

    Raises
    ------
    UserError
        A name that is no part of this network; nothing is left to train.
    """
    freeze, learning_rate_scale = getattr(settings, "freeze", ()), getattr(settings, "learning_rate_scale", {})
    parts = dict(network.named_children())
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
            groups.append({"params": trained, "lr": settings.learning_rate * learning_rate_scale.get(name, 1.0)})
    if not groups:
        raise UserError(f"freeze names every part ({', '.join(freeze)}): nothing is left to train.")
    return groups


def one_cycle(step, steps):
    """Share of the full learning rate: a cosine up over the first fifth of the steps, then down to nearly nothing.

    Smith and Topin (2019), doi:10.1117/12.2520589.
    """
    warm_up = max(1.0, WARM_UP_SHARE * steps)
    if step < warm_up:
        return 0.04 + 0.96 * (1.0 - math.cos(math.pi * step / warm_up)) / 2.0
    share = min(1.0, (step - warm_up) / max(1.0, steps - warm_up))
    return 0.001 + 0.999 * (1.0 + math.cos(math.pi * share)) / 2.0


# -------------------------------------------------------------------------------------------------------------- fit
def train(new_network, record, splits, settings, run, scaler=None, views=()):
    """Fit a network with early stopping and, for a short record, once more on training and validation days.

    Parameters
    ----------
    new_network : function of a Record
        Makes the network with its start weights.
    record : Record
        Not scaled yet.
    splits : Splits
    settings : Settings
        Read here besides what `fit` reads: scaling, refit.
    run : Run
    scaler : Scaler, optional
        Of the source domain, to use instead of one fitted on this record (scaling_from = "source").
    views : sequence of Record
        The same days seen otherwise, to train on as well.

    Returns
    -------
    nn.Module
    Record
        Scaled as the network needs it.
    """
    def prepare(days):
        torch.manual_seed(settings.seed)
        scaled = [scale_record(each, days, scaling=settings.scaling, scaler=scaler) for each in (record, *views)]
        return scaled, new_network(scaled[0])

    scaled, network = prepare(splits.fit_days)
    days = validation_days(splits.validation)
    damped = baseline_forecasts(scaled[0], days, splits.fit_days)["damped_persistence"]
    print(f"network: {sum(value.numel() for value in network.parameters()):,} weights; scaling fitted on "
          f"{scaled[0].scaler.source}, {scaled[0].scaler.first_day} to {scaled[0].scaler.last_day}\n"
          f"validation RMSE to beat, of damped persistence: {root_mean_square(damped, scaled[0], days):.4f} m3 m-3",
          flush=True)
    steps = fit(network, [(each, splits.train) for each in scaled], settings, run,
                validation=(scaled[0], splits.validation))
    refit = settings.refit
    if refit is None:
        refit = np.count_nonzero(splits.history_days) < REFIT_BELOW
    if refit:
        scaled, network = prepare(splits.history_days)
        targets = np.concatenate([splits.train, splits.validation])
        fit(network, [(each, targets) for each in scaled], settings, run, steps=steps, phase="refit")
    return network, scaled[0]


def fit(network, sources, settings, run, *, validation=None, steps=None, phase="fit"):
    """Train a network, keep its best weights, and be able to go on after an interruption.

    Parameters
    ----------
    network : nn.Module
        Trained in place; ends with the weights of the lowest validation loss, or of the last step.
    sources : list of (Record, int ndarray)
        Records to train on, each with its training targets (indices of days).
    settings : the script's Settings
        Read here: epochs, steps, batch_size, learning_rate, weight_decay, patience, seed, device and, where they exist,
        freeze and learning_rate_scale.
    run : utils.runs.Run
        Where `checkpoint.pt` and `training_log.csv` are written, and whether to resume.
    validation : (Record, int ndarray), optional
        Early stopping on these targets. Without it training lasts `steps` steps.
    steps : int, optional
    phase : str
        "fit" or "refit": a run that does both resumes in the right one.

    Returns
    -------
    int
        Number of steps after which the weights were taken.
    """
    device = torch.device(settings.device)
    network.to(device)
    groups = parameter_groups(network, settings)
    frozen = {name: value.clone() for name, value in network.named_parameters() if not value.requires_grad}
    state = run.load_checkpoint(device)
    if state and phase in state["phases"]:
        if state["phase"] == phase:  # a later phase starts from its own weights
            network.load_state_dict(state["network"])
        return state["phases"][phase]

    torch.manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    strides = [max(1, record.input_days // 2) if network.every_day else 1 for record, _ in sources]
    epoch_steps = sum(math.ceil(epoch_windows(targets, stride) / settings.batch_size)
                      for (_, targets), stride in zip(sources, strides))
    target_steps = steps or (settings.epochs * epoch_steps if settings.epochs else settings.steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, target_steps))
    progress = {"epoch": 0, "step": 0, "best_loss": math.inf, "best_epoch": 0, "best_step": 0, "best": None}
    phases, log = {}, []
    if state:
        phases, log = state["phases"], state["log"]
        if state["phase"] == phase:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["random_state"].cpu())
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_random_states"]])
            progress = state["progress"]

    def save():
        nonlocal saved_at, saving_seconds
        started = clock.monotonic()
        run.save_checkpoint({"phase": phase, "phases": phases, "log": log, "progress": progress,
                             "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                             "schedule": schedule.state_dict(), "random_state": torch.get_rng_state(),
                             "cuda_random_states": torch.cuda.get_rng_state_all()})
        saved_at = clock.monotonic()
        saving_seconds = saved_at - started

    saved_at, saving_seconds = clock.monotonic(), 0.0
    weights = [cell_weight(record, device) for record, _ in sources]
    with tqdm(total=target_steps, initial=progress["step"], desc=phase, unit="step", dynamic_ncols=True) as bar:
        while progress["step"] < target_steps:
            if validation and progress["epoch"] - progress["best_epoch"] >= settings.patience:
                break
            started = clock.monotonic()
            losses = []
            network.train()
            batches = epoch_batches(sources, strides, settings.batch_size)
            for source, init_days in batches[:target_steps - progress["step"]]:
                losses.append(training_step(network, optimizer, sources[source], init_days, weights[source], device))
                schedule.step()
                bar.update()
            progress["step"] += len(losses)
            progress["epoch"] += 1
            train_loss = float(torch.stack(losses).mean())
            if not math.isfinite(train_loss):
                raise UserError(f"the loss is no longer a number in epoch {progress['epoch']}: lower learning_rate "
                                f"(now {settings.learning_rate:g}).")
            validation_loss = validate(network, *validation, device) if validation else math.nan
            if validation and validation_loss < progress["best_loss"]:
                progress |= {"best_loss": validation_loss, "best_epoch": progress["epoch"],
                             "best_step": progress["step"],
                             "best": {name: value.clone() for name, value in network.state_dict().items()}}
            log.append({"epoch": len(log) + 1, "train_loss": train_loss, "validation_loss": validation_loss,
                        "learning_rate": schedule.get_last_lr()[0], "seconds": clock.monotonic() - started})
            write_csv(run.path("training_log.csv"), LOG_COLUMNS, log)
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


def epoch_windows(targets, stride):
    """Number of windows of one epoch: every target once, or one in `stride`."""
    return max(1, len(targets) // stride)


def epoch_batches(sources, strides, batch_size):
    """Batches of one epoch in random order.

    Parameters
    ----------
    sources : list of (Record, int ndarray)
    strides : list of int
        Days between the windows of each source; a random first day each epoch. 1 = every window.
    batch_size : int

    Returns
    -------
    list of (int, int ndarray)
        Number of the source and the last input days of one batch.
    """
    batches = []
    for number, ((record, targets), stride) in enumerate(zip(sources, strides)):
        init_days = np.asarray(targets) - record.lead_time
        latest = len(init_days) - 1 - int(torch.randint(min(stride, len(init_days)), ()))
        order = torch.randperm(epoch_windows(targets, stride)).numpy()
        ends = init_days[latest - stride * order]
        batches += [(number, ends[start:start + batch_size]) for start in range(0, len(ends), batch_size)]
    return [batches[index] for index in torch.randperm(len(batches))]


def training_step(network, optimizer, source, init_days, weight, device):
    """One step of the optimizer on the windows that end at `init_days`; returns the loss (Tensor, no gradient)."""
    record, targets = source
    target_days = np.zeros(len(record.time), bool)
    target_days[targets] = True
    observed = torch.from_numpy(observed_targets(record, init_days, target_days)).to(device)
    observed = record.scaler.scale_soil_moisture(observed)
    first = record.input_days // 4 if network.every_day else -1  # the first days know too little of the past
    forecast = network(make_batch(record, init_days, device), every_day=network.every_day)
    loss = masked_mse(forecast[:, first:], observed[:, first:], weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
    optimizer.step()
    return loss.detach()


def validation_days(targets):
    """Every n-th of the validation targets: at most `VALIDATION_WINDOWS`."""
    return targets[::-(-len(targets) // VALIDATION_WINDOWS)]


def validate(network, record, targets, device):
    """Root mean squared error, m3 m-3, over `validation_days`."""
    targets = validation_days(targets)
    return root_mean_square(forecast_days(network, record, targets, device, progress=False), record, targets)


def root_mean_square(forecast, record, targets):
    """Root mean squared error, m3 m-3, of forecasts [N, H, W] of the given days over all observed values on land."""
    error = (forecast - record.observed(targets))[:, record.land].astype(np.float64)
    return float(np.sqrt(np.nanmean(error ** 2)))


def forecast_days(network, record, targets, device, progress=True):
    """Forecast soil moisture of the given days, each from the window that ends `lead_time` days before.

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
    float32 ndarray [N, H, W]
        m3 m-3; NaN at sea.
    """
    device = torch.device(device)
    network.to(device).eval()
    forecast = np.full((len(targets), *record.land.shape), np.nan, np.float32)
    with torch.no_grad():
        for start in tqdm(range(0, len(targets), FORECAST_WINDOWS), desc="forecast", unit="batch",
                          disable=not progress, dynamic_ncols=True):
            init_days = targets[start:start + FORECAST_WINDOWS] - record.lead_time
            scaled = network(make_batch(record, init_days, device))[:, 0]
            physical = record.scaler.unscale_soil_moisture(scaled).cpu().numpy()
            forecast[start:start + FORECAST_WINDOWS] = np.where(record.land, physical, np.float32(np.nan))
    return forecast


def check_frozen(network, frozen):
    """Assert that parameters kept aside before training are unchanged."""
    for name, value in network.named_parameters():
        if name in frozen and not torch.equal(value, frozen[name]):
            raise RuntimeError(f"the frozen parameter {name} changed in training")
