"""What a network's forecast rests on: permutation of its inputs, and training without them.

Breiman (2001), doi:10.1023/A:1010933404324: an input matters as much as the error grows when its values come from elsewhere.
Days are exchanged in blocks, so that the input keeps its own course inside a window; the days it comes from may be of another
season. Maps of the place are exchanged among land cells.
"""
from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from data_processing.arrays import at_most, pieces
from data_processing.coming_weather import CHANNELS_OF, TWIN, own_weather
from data_processing.cube import VARIABLES
from data_processing.errors import UserError
from data_processing.files import checksum, write_csv
from data_processing.record import INPUTS, Record, open_record, with_scaler
from data_processing.splits import Splits, split_cube
from data_processing.terminal import progress_bar
from utils.baselines import cell_mean
from utils.batches import make_batch
from utils.evaluation import MINIMUM_VALUES
from utils.fan_out import make_on_workers
from utils.members import read_forecast
from utils.runs import find_cube, is_finished, read_json, run_label
from utils.study import DOMAIN_OF, load_script, run_or_reuse
from utils.training import spread_cells
from utils.transfer import load_model, load_weights
from utils.where_it_helps import SEASONS

if TYPE_CHECKING:
    from utils.batches import Batch

BLOCK = 30  # days
MOST_DAYS = 120  # test days that are scored, evenly spread
FACTOR_COLUMNS = ("method", "input", "lead_time", "part", "n", "mse", "mse_of_all_inputs", "increase")
FORECAST_AT_A_TIME = 4  # windows
COMING = {"coming precipitation": "precipitation", "coming temperature": "soil_temperature"}


class OpenedRun(NamedTuple):
    """A finished run, ready to forecast again."""

    experiment: str
    model: str
    folder: Path
    settings: Any
    network: torch.nn.Module
    record: Record
    splits: Splits
    title: str


def open_run(folder: Path) -> OpenedRun:
    """Rebuild network and record of a finished run.

    Parameters
    ----------
    folder : Path
        Of one run; of an ensemble one of its `seed` folders.

    Returns
    -------
    OpenedRun

    Raises
    ------
    UserError
        It is no finished run, or its cube is another by now.
    """
    folder = Path(folder).absolute()
    if not (is_finished(folder) and (folder / "model.pt").exists()):
        raise UserError(f"{folder} is no finished run with a model.pt; name a run folder, of an ensemble one of its "
                        "seed folders.")
    found = read_json(folder / "settings.json")
    parts = folder.parts[:-1] if folder.name.startswith("seed") else folder.parts
    experiment, model = parts[-4], parts[-3]
    script = load_script(experiment, model)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in found["settings"].items()}
    if values["cube"] != "twin":
        values["cube"] = found["cube"]["path"]  # the setting may be relative to where the run was started
    weather = found.get("coming_weather")
    if weather:
        if not Path(weather["path"]).exists() or checksum(weather["path"]) != weather["sha256"]:
            raise UserError(f"{weather['path']} is not the weather forecast that {folder} was told: it has gone, or its content "
                            "has changed. Make the run again.")
        if values["coming_weather"] != TWIN:
            values["coming_weather"] = weather["path"]
    settings = script["Settings"](**values)
    cube_file = find_cube(settings.cube, DOMAIN_OF[experiment])
    if checksum(cube_file.path) != found["cube"]["sha256"]:
        raise UserError(f"{cube_file.path} is not the cube that {folder} was made of: its content has changed. Train again.")
    cube, splits = split_cube(cube_file.path, settings, until=getattr(settings, "source_until", None)
                              if experiment == "ERA5test" else None)
    record = open_record(cube, cube_file.name, splits, max_gap_days=settings.max_gap_days, hidden=settings.drop_inputs,
                         coming_weather=settings.coming_weather)
    saved = load_model(folder)
    record = with_scaler(record, saved["scaler"], saved["static"].numpy())
    network = script[f"make_{model}"](settings, record)
    load_weights(network, saved)
    return OpenedRun(experiment, model, folder, settings, network.eval(), record, splits,
                     f"{model}, {run_label(cube, cube_file.name, settings)}")


def permutation_rows(run: OpenedRun, *, repeats: int, seed: int) -> list[dict]:
    """Rows of factor_importance.csv for the exchange of each input.

    Parameters
    ----------
    run : OpenedRun
    repeats : int
        Permutations that are averaged.
    seed : int

    Returns
    -------
    list of dict
        With the keys FACTOR_COLUMNS: `increase` = MSE with the input exchanged / MSE of all inputs - 1; `part` = all, a season,
        or the dry or wet half of the cells.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; it must be 1 or more.")
    random = np.random.default_rng(seed)
    targets = at_most(run.splits.test, MOST_DAYS)
    cells = spread_cells(run.record.land)
    observed = run.record.observed_at(targets, cells)
    whole = forecast_exchanged(run, targets, targets, None, cells, random)
    parts = parts_of_days(run, targets, cells)
    base = errors_by_part(whole, observed, parts)
    rows = []
    shown = [name for name in INPUTS if name not in run.record.hidden]
    if run.record.coming is not None:
        shown += [name for name, variable in COMING.items() if variable not in run.record.hidden]
    for name in progress_bar(shown, desc="exchanging inputs", unit="input"):
        sums = []
        for _ in range(repeats):
            order = permuted_blocks(random, len(targets), BLOCK * len(targets) // max(len(run.splits.test), 1))
            forecast = forecast_exchanged(run, targets, targets[order], name, cells, random)
            sums.append(errors_by_part(forecast, observed, parts))
        rows += factor_rows("permutation", name, run.splits.lead_times, np.mean(sums, axis=0), base, parts)
    return rows


def permuted_blocks(random: np.random.Generator, count: int, block: int) -> np.ndarray:
    """Days to take the place of each of `count` days: blocks of neighbours in random order, none of them at its own place.

    The last day of a shorter block may stand in twice.
    """
    blocks = np.array_split(np.arange(count), max(2, count // max(1, block)))
    order = np.arange(len(blocks))
    while (order == np.arange(len(blocks))).any():
        order = random.permutation(len(blocks))
    return np.concatenate([blocks[other][np.minimum(np.arange(len(own)), len(blocks[other]) - 1)]
                           for own, other in zip(blocks, order)])


def forecast_exchanged(run: OpenedRun, targets: np.ndarray, others: np.ndarray, name: str, cells: np.ndarray,
                       random: np.random.Generator) -> np.ndarray:
    """Forecasts [N, L, C] at cells (int [C]) of target days whose one input is that of other target days, or of other cells for "place"."""
    record, lead_times = run.record, run.splits.lead_times
    tell = None if record.coming is None else functools.partial(own_weather, record)
    forecast = np.empty((len(targets), len(lead_times), len(cells)), np.float32)
    turned = exchanged_places(record, random)[:, cells] if name == "place" else None
    inputs = cells if run.network.every_day else np.arange(record.land.size)
    asked = slice(None) if run.network.every_day else cells
    scaler = record.scaler.of_cells(cells)
    with torch.no_grad():
        for lead, lead_time in enumerate(lead_times):
            for start in range(0, len(targets), FORECAST_AT_A_TIME):
                chosen = slice(start, start + FORECAST_AT_A_TIME)
                batch, other = (make_batch(record, days[chosen] - lead_time, torch.device("cpu"), inputs, tell=tell,
                                           around=bool(run.network.looks_around))
                                for days in (targets, others))
                scaled = run.network(exchanged(batch, other, name, turned))
                scaled = (scaled if tell is None else scaled[1:].nanmean(0))[:, 0, lead, None, asked]
                forecast[chosen, lead] = scaler.unscale_soil_moisture(scaled)[:, 0].numpy()
    return forecast


def exchanged_places(record: Record, random: np.random.Generator) -> torch.Tensor:
    """Maps of the place [S, H x W], a Tensor, whose land cells have changed places."""
    cells = np.flatnonzero(record.land)
    turned = record.static.reshape(len(record.static), -1).copy()
    turned[:, cells] = turned[:, random.permutation(cells)]
    return torch.from_numpy(turned)


def exchanged(batch: Batch, other: Batch, name: str | None, static: torch.Tensor) -> Batch:
    """A batch with one input of another: a variable with its age, its past and its motion, the season, the place, or what the
    coming days bring of a variable; None changes nothing."""
    if name is None:
        return batch
    if name in COMING:
        coming = batch.coming.clone()
        channels = list(CHANNELS_OF[COMING[name]])
        coming[..., channels, :] = other.coming[..., channels, :]
        return replace(batch, coming=coming)
    if name == "season":
        return replace(batch, season=other.season)
    if name == "place":
        return replace(batch, static=static)
    channel = VARIABLES.index(name)

    def exchanged_fields(own, others, fields):
        changed = {field: getattr(own, field).clone() for field in fields}
        for field, values in changed.items():
            values[:, :, channel] = getattr(others, field)[:, :, channel]
        return replace(own, **changed)

    around = batch.around
    if around is not None:
        around = exchanged_fields(around, other.around, ("inputs", "freshness"))
        around = replace(around, motion=other.around.motion) if name == "precipitation" else around
    return replace(exchanged_fields(batch, other, ("inputs", "freshness", "antecedent")), around=around)


def parts_of_days(run: OpenedRun, targets: np.ndarray, cells: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """dict part -> days, bool [N], and cells, bool [C]: all, each season, the dry and the wet half of the cells."""
    mean = cell_mean(run.record.observed_maps, run.splits.history_days)
    wet = mean.ravel()[cells] > np.median(mean[run.record.land])
    month = run.record.time[targets].astype("datetime64[M]").astype(int) % 12 + 1
    every, everywhere = np.ones(len(targets), bool), np.ones(len(cells), bool)
    parts = {"all": every} | {name: np.isin(month, months) for name, months in SEASONS.items()}
    known = {name: (days, everywhere) for name, days in parts.items() if days.any()}
    return known | {"dry half": (every, ~wet), "wet half": (every, wet)}


def errors_by_part(forecast: np.ndarray, observed: np.ndarray, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Number and sum of squared errors of each part and lead time, float64 [parts, 2, L]."""
    sums = np.zeros((len(parts), 2, forecast.shape[1]))
    for block in pieces(forecast, observed):
        squares = (forecast[block] - observed[block, None]).astype(np.float64) ** 2
        known = np.isfinite(squares)
        squares = np.where(known, squares, 0.0)
        for number, (days, cells) in enumerate(parts.values()):
            inside = days[block, None, None] & cells
            sums[number] += (known & inside).sum(axis=(0, 2)), (squares * inside).sum(axis=(0, 2))
    return sums


def factor_rows(method: str, name: str, lead_times: Sequence[int], sums: np.ndarray, base: np.ndarray,
                parts: Iterable[str]) -> list[dict]:
    """Rows of one input from its sums and those of all inputs (`errors_by_part`); NaN of fewer than MINIMUM_VALUES values."""
    rows = []
    for number, part in enumerate(parts):
        for lead, lead_time in enumerate(lead_times):
            n = base[number, 0, lead]
            if n:
                of = n if n >= MINIMUM_VALUES else np.nan
                mse, of_all = sums[number, 1, lead] / of, base[number, 1, lead] / of
                rows.append({"method": method, "input": name, "lead_time": lead_time, "part": part, "n": int(n), "mse": mse,
                             "mse_of_all_inputs": of_all, "increase": mse / of_all - 1})
    return rows


def drop_one_rows(run: OpenedRun, scheduler: str | None = None) -> list[dict]:
    """Rows of factor_importance.csv for networks that were trained without each input, in runs of their own.

    Parameters
    ----------
    run : OpenedRun
    scheduler : str, optional
        Address of a dask scheduler, whose workers make the runs.
    """
    if getattr(run.settings, "pretrained", None):
        raise UserError(f"drop_one trains the run and its pre-training once more without each input, but {run.folder} started "
                        f"from {run.settings.pretrained}. Make the run with --source-cube.")
    if run.settings.head != "local":
        raise UserError(f"drop_one hides season and place as well, which head {run.settings.head!r} does not see. Name a run "
                        "with head 'local'.")
    targets, cells = run.splits.test, np.flatnonzero(run.record.land)
    parts = parts_of_days(run, targets, cells)
    observed = run.record.observed_at(targets, cells)

    def forecast_of(folder):
        forecast = read_forecast(folder / "forecast.nc", run.splits)
        return forecast.reshape(*forecast.shape[:2], -1)[..., cells]

    base = errors_by_part(forecast_of(run.folder), observed, parts)
    rows = []
    name = run.settings.name or run.record.name
    shared = {field: value for field, value in vars(run.settings).items() if field != "resume"} | {"seeds": 1}
    planned = {dropped: (run.experiment, run.model, shared | {"drop_inputs": (dropped,), "name": f"{name}-without-{dropped}"})
               for dropped in INPUTS}
    if scheduler is not None:
        make_on_workers(scheduler, list(planned.values()), run.settings.results)
    for dropped, (experiment, model, settings) in planned.items():
        folder = run_or_reuse(experiment, model, **settings)
        both = run.record.coming is not None and dropped in CHANNELS_OF
        name_of_row = f"{dropped}, past and coming" if both else dropped
        errors = errors_by_part(forecast_of(folder), observed, parts)
        rows += factor_rows("drop one", name_of_row, run.splits.lead_times, errors, base, parts)
    return rows


def write_factors(path: Path, rows: list[dict]) -> None:
    """Write the rows as CSV and print those of the whole record."""
    write_csv(path, FACTOR_COLUMNS, rows)
    print(f"\n{'method':<13}{'input':<28}{'lead':>4}  MSE grows by")
    for row in rows:
        if row["part"] == "all":
            print(f"{row['method']:<13}{row['input']:<28}{row['lead_time']:>4}  {100 * row['increase']:+.1f} %")
