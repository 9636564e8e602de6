"""Forecasts in real use: trained runs and the last days of a cube, without anything to compare with yet.

Shapes: M members, I init days, L lead times, H latitudes, W longitudes. Soil moisture in m3 m-3; NaN missing.
"""
from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from data_processing.arrays import pieces, scratch_array
from data_processing.coming_weather import NOT_TOLD, OBSERVED, newest_weather, weather_file_path
from data_processing.cube import SOIL_MOISTURE, VARIABLES, check_cube_values, cube_days, open_cube
from data_processing.errors import UserError
from data_processing.record import cube_record, days_looked_back, recent_record, with_scaler
from data_processing.splits import asked_lead_times, parse_date
from data_processing.static_maps import CHANNELS, USUAL_MEAN, USUAL_RANGE
from utils.baselines import baseline_forecasts, persistence
from utils.ensembles import members_mean, members_variance
from utils.evaluation import REFERENCES, score_forecasters
from utils.models.forms import FORMS
from utils.reporting import BLIND, forecaster_name, observed_on_land
from utils.runs import lead_text, read_json
from utils.spread import Validation, open_validations, predict_spread, read_validation
from utils.training import forecast_from, told_forecast
from utils.transfer import grid_text, load_model, load_weights, same_grid

if TYPE_CHECKING:
    import torch

    from data_processing.record import Record

LAST_DAYS = 31  # of a cube that may be empty before it is refused
LEAST_KNOWN = 0.1  # of the land, of each variable, within max_gap_days: a forecast needs something to rest on
FEWEST_HISTORY_DAYS = 60  # observed, to fit baselines on
# Days after which a product is there, by words in the attribute `source` of its cubes: SPL4SMGP within 3 days from real time
# (Reichle et al. 2017, doi:10.1175/JHM-D-17-0063.1); ERA5 and ERA5-Land about 5 days (confluence.ecmwf.int pageId=140385202)
DELAYS = {"SPL4SM": ("SMAP L4", 3), "ERA5": ("ERA5-Land", 5)}


class Member(NamedTuple):
    """A trained run, ready to forecast.

    folder : Path. model : dict, from `load_model`. settings : its settings, by name. lead_times : tuple of int, days.
    """

    folder: Path
    model: dict
    settings: SimpleNamespace
    lead_times: tuple

    @property
    def told(self) -> bool:
        """Whether the network knows of coming weather."""
        return self.settings.coming_weather != NOT_TOLD


class Forecasts(NamedTuple):
    """What is forecast from some init days.

    forecast, spread : float32 [I, L, H, W]. ends : float32 [2, I, L, H, W], of the 90 % interval. members : float32
    [M, I, L, H, W], of several runs, or None. validation : Validation, or None where it does not tell about these forecasts.
    """

    forecast: np.ndarray
    spread: np.ndarray
    ends: np.ndarray
    members: np.ndarray | None
    validation: Validation | None


# ------------------------------------------------------------------------------------------------------------ runs
def open_members(runs: Sequence[str]) -> list[Member]:
    """The trained runs that are to forecast together.

    Parameters
    ----------
    runs : sequence of str
        Run folders; that of an ensemble stands for its members `seed<k>`.

    Returns
    -------
    list of Member

    Raises
    ------
    UserError
        No such runs; runs of other lead times, cells, land, coming weather or validation days than the first.
    """
    members = [_open_member(folder) for folder in _run_folders(runs)]
    first = members[0]
    for member in members[1:]:
        differences = []
        if member.lead_times != first.lead_times:
            differences.append(f"it forecasts {lead_text(member.lead_times)} ahead, not {lead_text(first.lead_times)}")
        grid = SimpleNamespace(lat=first.model["lat"], lon=first.model["lon"])
        if not same_grid(member.model, grid) or not np.array_equal(member.model["land"], first.model["land"]):
            differences.append("its map or its land is another")
        if member.told != first.told:
            differences.append("only one of both knows of coming weather")
        if differences:
            raise UserError(f"{member.folder} cannot forecast together with {first.folder}: {'; '.join(differences)}. Name "
                            "runs of one cube with the same lead times.")
    with open_validations([path for path in map(_validation_path, members) if path.exists()]):  # refused before a forecast is begun
        return members


def _run_folders(runs):
    found = []
    for run in runs:
        folder = Path(run).expanduser().absolute()
        seeds = sorted((each.parent for each in folder.glob("seed*/model.pt")), key=lambda each: (len(each.name), each.name))
        if (folder / "model.pt").is_file():
            found.append(folder)
        elif seeds:
            found += seeds
        elif (folder / "settings.json").is_file():
            raise UserError(f"{folder} holds an unfinished run: it has no model.pt yet. Wait until its training has ended, or go on "
                            "with it by its script and --resume.")
        else:
            raise UserError(f"{folder}: no run with a model.pt, and no folders seed<k> with one. Name the folder of a trained "
                            "run, such as results/finetune-SMAPtest/convlstm/twin/lead3.")
    return list(dict.fromkeys(found))


def _open_member(folder):
    model = load_model(folder)
    if model["model"] not in {form.split("-")[0] for form in FORMS}:
        raise UserError(f"{model['path']}: holds the weights of {model['model']!r}, which is no network of this version. Train "
                        "again.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in model["settings"].items()}
    settings = SimpleNamespace(**values | {"device": "cpu"})
    return Member(folder, model, settings, asked_lead_times(settings))


def own_cube(member: Member) -> tuple[str, str]:
    """The cube setting of a run and the folder of its script, which says what "twin" stands for: two str."""
    return member.settings.cube, read_json(member.folder / "settings.json")["script"].split("/")[0]


def make_network(member: Member, record: Record) -> torch.nn.Module:
    """Network of a Member with its weights, for a Record with its scaler."""
    name = member.model["model"]
    network = getattr(importlib.import_module(f"utils.models.{name}"), f"make_{name}")(member.settings, record)
    load_weights(network, member.model)
    return network.eval()


def forecaster_names(members: list[Member], told: bool) -> tuple[list[str], str]:
    """What to call the forecasts of some members and, where they are several, of their mean: list of str, str."""
    names = [forecaster_name(member.model["model"], "file" if told else NOT_TOLD)
             + (BLIND if member.told and not told else "") for member in members]
    if len(members) == 1:
        return names, names[0]
    mean = f"{names[0]}_ensemble" if len(set(names)) == 1 else "ensemble"
    names = [f"{name}_{member.folder.name}" for name, member in zip(names, members)]
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names, 1)]
    return names, mean


# ------------------------------------------------------------------------------------------------------------ cube
def open_last_days(path: Path, members: list[Member], since: str | None = None) -> tuple[xr.Dataset, int, int]:
    """Open a cube, see that it is of the networks' cells, and find the days to forecast from.

    Parameters
    ----------
    path : Path
    members : list of Member
    since : str, optional
        First init day; default the last one only.

    Returns
    -------
    cube : xarray.Dataset
        Its values are read when they are used; no target needs to be there.
    first, last : int
        First and last init day, indices into the cube; the last is the cube's last day with any value on land.

    Raises
    ------
    UserError
        As `open_cube`; other cells than the networks'; nothing in the last LAST_DAYS days; `since` outside the cube.
    """
    cube, model = open_cube(path, check_values=since is not None), members[0].model
    here = SimpleNamespace(lat=cube["lat"].values, lon=cube["lon"].values)
    if not same_grid(model, here):
        raise UserError(f"{path} has {grid_text(vars(here))}, {members[0].folder} was trained on {grid_text(model)}: scaling "
                        "and maps of the place are those of its cells. Bring the cube to them (prepare_*.py --like), or train on "
                        "this one.")
    days = cube_days(cube)
    looked_at = range(len(days) - 1, max(len(days) - LAST_DAYS, 0) - 1, -1)
    last = next((day for day in looked_at if _any_value(cube, day, model["land"])), None)
    if last is None:
        raise UserError(f"{path} has no value on land in its last {len(looked_at)} days, up to {days[-1]}: there is nothing to "
                        "forecast from. Add the newest days, or cut the empty ones off.")
    if since is None:
        return cube, last, last
    since = parse_date(since, "since")
    if not days[0] <= since <= days[last]:
        raise UserError(f"since is {since}, but the days of {path} that can be forecast from are {days[0]} to {days[last]}.")
    return cube, int((since - days[0]).astype(int)), last


def _any_value(cube, day, land):
    return any(np.isfinite(cube[name][day].values[land]).any() for name in VARIABLES)


class Records:
    """The records that members need: each is read once, and those of members of one kind are the same."""

    def __init__(self, cube, name, first, last, whole):
        """first, last : init days, indices into the cube. whole : take all days before as well, to fit baselines on."""
        self.cube, self.name, self.whole = cube.isel(time=slice(0, last + 1)), name, whole
        self.first, self.init_days = first, last + 1 - first
        self.found = {}

    def of(self, member: Member) -> Record:
        """Record of a Member up to the last init day, with its scaler and maps of the place; without coming weather."""
        settings, model = member.settings, member.model
        wanted = settings.input_days, settings.max_gap_days
        if wanted not in self.found:
            self.found[wanted] = self._read(*wanted, member.lead_times, model["land"])
        record = replace(self.found[wanted], hidden=tuple(settings.drop_inputs))
        return with_scaler(record, model["scaler"], model["static"].numpy())

    def _read(self, input_days, max_gap_days, lead_times, land):
        if self.whole:
            sequence = SimpleNamespace(input_days=input_days, lead_times=lead_times)
            return cube_record(self.cube, self.name, sequence, max_gap_days, (), land=land)
        start = max(0, self.first - days_looked_back(input_days, max_gap_days, land.size))
        cube = self.cube.isel(time=slice(start, None)).load()
        check_cube_values(cube[[name for name in VARIABLES if np.isfinite(cube[name].values).any()]])
        return recent_record(cube, self.name, land, init_days=self.init_days, input_days=input_days, lead_times=lead_times,
                             max_gap_days=max_gap_days)


# ------------------------------------------------------------------------------------------------------- what is known
class InputState(NamedTuple):
    """How old an input is on the last input day.

    name : str. last_day : datetime64[D] with any value on land, or None. seen : share of the land with a value on that day.
    known : share of the land with a value on one of the last max_gap_days + 1 days.
    """

    name: str
    last_day: np.datetime64 | None
    seen: float
    known: float


def input_states(record: Record, max_gap_days: int) -> list[InputState]:
    """An InputState of each variable that the network is shown, on the last day of a record."""
    states = []
    for channel, name in enumerate(VARIABLES):
        if name in record.hidden:
            continue
        seen = record.age[-(max_gap_days + record.input_days):, channel, record.land] == 0
        share = seen.mean(axis=1)
        back = int(np.argmax(share[::-1] > 0))
        last_day = record.time[-1] - back if share.any() else None
        states.append(InputState(name, last_day, float(share[-1 - back]), float(seen[-max_gap_days - 1:].any(axis=0).mean())))
    return states


def check_inputs(states: list[InputState], max_gap_days: int, where: str) -> None:
    """Raise a UserError where an input lacks, or is too old, on nearly all of the land. where : str, the cube."""
    for state in states:
        if state.known < LEAST_KNOWN:
            last = "never in the days that were read" if state.last_day is None else (
                f"last on {state.last_day}, on {state.seen:.0%} of the land")
            raise UserError(f"{where}: {state.name} is known on {state.known:.0%} of the land within the last "
                            f"{max_gap_days + 1} days (seen {last}); a forecast needs {LEAST_KNOWN:.0%}. Add the days that lack, "
                            "or cut the cube off before them.")


def describe_inputs(states: list[InputState], today: np.datetime64) -> str:
    """Table of the inputs and their age for the terminal; today : datetime64[D]."""
    lines = [f"{'input':<18}{'last day':>12}{'days ago':>10}{'land seen that day':>20}{'land known':>12}"]
    for state in states:
        day, ago = ("none", "") if state.last_day is None else (state.last_day, int((today - state.last_day).astype(int)))
        lines.append(f"{state.name:<18}{day!s:>12}{ago!s:>10}{state.seen:>20.0%}{state.known:>12.0%}")
    return "\n".join(lines)


def describe_leads(last_day: np.datetime64, lead_times: Sequence[int], today: np.datetime64, source: str) -> str:
    """What the age of the inputs makes of the lead times, counted from today: a table for the terminal.

    Parameters
    ----------
    last_day : datetime64[D]
        Last input day.
    lead_times : sequence of int
        Days.
    today : datetime64[D]
    source : str
        Of the cube; of a product that DELAYS knows also what could be had at best, with the newest days that there are.

    Returns
    -------
    str
    """
    age = int((today - last_day).astype(int))
    product, delay = next((found for words, found in DELAYS.items() if words in source), (None, None))
    said = [f"the last input day is {last_day}, {from_today(-age)}"]
    if product:
        newer = " Newer days should be there by now." if age > delay + 1 else ""
        said.append(f"{product} comes about {delay} days late: at best its newest day is {from_today(-delay)}.{newer}")
    said.append(f"{'lead':<9}{'is a forecast of':<30}{'at best of' if product else ''}".rstrip())
    for lead in lead_times:
        best = from_today(lead - delay) if product else ""
        said.append(f"{lead_text((lead,)):<9}{f'{last_day + lead}, {from_today(lead - age)}':<30}{best}".rstrip())
    return "\n".join(said)


def from_today(days: int) -> str:
    """A number of days from today in words."""
    near = {-1: "yesterday", 0: "today", 1: "tomorrow"}
    return near.get(days) or (f"{days} days from now" if days > 0 else f"{-days} days ago")


# ------------------------------------------------------------------------------------------------------------ forecasts
def coming_weather_path(setting: str | None, members: list[Member], twin_domain: str | None) -> Path | None:
    """Path of the weather forecast file that the networks are to be told; None for a blind forecast.

    Parameters
    ----------
    setting : str, or None
        "none", "twin", a path; None = not given.
    members : list of Member
    twin_domain : str, or None

    Raises
    ------
    UserError
        Networks that know of coming weather are not told what to do, or others are told some; "observed" is asked.
    """
    run = members[0].folder
    if not members[0].told:
        if setting in (None, NOT_TOLD):
            return None
        raise UserError(f"coming_weather is {setting}, but {run} has not learned what to do with coming weather. Name a run that "
                        "was trained with --coming-weather, or leave it out.")
    if setting is None:
        raise UserError(f"{run} was trained with coming weather: give --coming-weather FILE, a weather forecast of the days "
                        "after the last input day (data_processing/prepare_weather_forecast.py makes it), or none for a blind "
                        "forecast.")
    if setting == OBSERVED:
        raise UserError("coming_weather is observed, which is no forecast: the coming days are not observed yet. Give a weather "
                        "forecast file, or none for a blind forecast.")
    return None if setting == NOT_TOLD else weather_file_path(setting, twin_domain)


def make_forecasts(members: list[Member], records: Records, init_time: np.ndarray, weather: Path | None = None) -> Forecasts:
    """Forecast from some days with every member, and predict the spread.

    Parameters
    ----------
    members : list of Member
    records : Records
    init_time : datetime64[D] [I]
        Last input days.
    weather : Path, optional
        Of a weather forecast file.

    Returns
    -------
    Forecasts
        The spread is NaN where validation does not tell it: for blind forecasts of a network that learned, and was validated,
        with coming weather; of runs without validation.nc.

    Raises
    ------
    UserError
        The weather forecast serves none of the days, or is of other cells.
    """
    each, of_weather, served = [], [], np.zeros(len(init_time), bool)
    for member in members:
        record = records.of(member)
        if weather is not None:
            record = replace(record, coming=newest_weather(weather, record, _known_of_files(member)))
            served = _served(record.coming.file, init_time, said=bool(each))
        network = make_network(member, record)
        init_days = (init_time - record.time[0]).astype(int)
        blind, told = forecast_from(network, record, init_days, "cpu", progress=len(init_days) > 1)
        each.append(told_forecast(blind, told))
        if len(told) > 1:
            of_weather.append(members_variance(told))
    variances = [members_mean(np.stack(of_weather))] if of_weather else []
    several = np.stack(each) if len(each) > 1 else None
    forecast = each[0] if several is None else members_mean(several)
    if several is not None:
        variances.append(members_variance(several))
    land = members[0].model["land"]
    unknown = ~served if members[0].told else np.zeros(len(init_time), bool)
    validation = _validation(members, blind=unknown.all())
    if validation is None:
        nothing = np.broadcast_to(np.float32(np.nan), forecast.shape)
        return Forecasts(forecast, nothing, np.stack([nothing] * 2), several, None)
    variance: Any = sum(variances) if variances else None
    valid_time = init_time[:, None] + np.array(members[0].lead_times)
    spread, ends = predict_spread(forecast, valid_time, variance, validation, land)
    for values in (spread, *ends):
        values[unknown] = np.nan
    return Forecasts(forecast, spread, ends, several, validation)


def _known_of_files(member):
    """What a Member that is told a weather forecast knows of them; None of one that has learned with observed weather only."""
    if "told" not in member.model and member.settings.coming_weather != OBSERVED:
        raise UserError(f"{member.model['path']} does not say how far its weather forecasts could be trusted: it was made by an "
                        "older version. Train again.")
    return member.model.get("told")


def _served(file, init_time, said):
    """Init days that a weather file serves, bool [I]; a UserError where there is none, a warning (unless `said`) of some."""
    served = np.isin(init_time, file.init_time)
    if not served.any():
        what = f"{init_time[0]}" if len(init_time) == 1 else f"{init_time[0]} to {init_time[-1]}"
        raise UserError(f"{file.path} has forecasts from {file.init_time[0]} to {file.init_time[-1]}, none from the last input "
                        f"day, {what}. Give a file with the forecast that begins the day after it, or --coming-weather none.")
    if not (served.all() or said):
        print(f"warning: {file.path.name} serves {served.sum()} of {len(served)} init days; the others are forecast without",
              flush=True)
    return served


def _validation(members, blind=False):
    """What validation days tell about the forecasts (Validation); None where they tell nothing.

    blind : bool, whether networks that were validated with coming weather forecast without.
    """
    paths = [_validation_path(member) for member in members]
    lacking = [path for path in paths if not path.exists()]
    reasons = [f"{path} is not there" for path in lacking[:1]]
    reasons += ["validation knew the coming weather"] if blind else []
    bound = any(member.settings.coming_weather == OBSERVED for member in members)
    reasons += ["validation knew the observed weather"] if bound else []
    if reasons:
        print(f"the spread of the forecast is not known: {'; '.join(reasons)}", flush=True)
        return None
    return read_validation(paths)


def _validation_path(member):
    """Where a Member's validation forecasts are."""
    return member.folder / "validation.nc"


def last_observed(record: Record, day: int) -> tuple[np.ndarray, np.datetime64 | None, np.datetime64 | None]:
    """Last soil moisture within `max_gap_days` up to a day of a record, float32 [H, W], and the first and last day it is of."""
    row = record.input_days - 1 + day
    values = np.where(record.land, record.carried[row, SOIL_MOISTURE], np.float32(np.nan))
    ages = record.age[row, SOIL_MOISTURE][np.isfinite(values)]
    if not ages.size:
        return values, None, None
    return values, record.time[day] - int(ages.max()), record.time[day] - int(ages.min())


# --------------------------------------------------------------------------------------------------------------- scores
def score_forecasts(names: list[str], found: Forecasts, record: Record, init_time: np.ndarray, model: dict) -> list[dict]:
    """Score forecasts whose day is observed, beside the baselines that the record allows.

    Parameters
    ----------
    names : list of str, str
        From `forecaster_names`.
    found : Forecasts
    record : Record
        The whole of the cube up to the last init day.
    init_time : datetime64[D] [I]
        Consecutive.
    model : dict
        From `load_model`: the baselines learn from the days that it has learned from.

    Returns
    -------
    list of dict
        As `score_forecasters` gives them, all lead times on the same days; empty where no such day is observed.
    """
    longest = record.lead_times[-1]
    first = int((init_time[0] - record.time[0]).astype(int))
    targets = np.arange(first + longest, len(record.time))
    observed = observed_on_land(record, targets)
    if not any(np.isfinite(day).any() for day in observed):
        return []
    each, mean = names
    forecasts = {mean: by_target(found.forecast, record.lead_times, len(targets))}
    if found.members is not None:
        forecasts |= {name: by_target(member, record.lead_times, len(targets)) for name, member in zip(each, found.members)}
    history = record.time <= np.datetime64(model["learned_until"])
    seen = sum(np.isfinite(record.observed(day)).any() for day in np.flatnonzero(history)[:FEWEST_HISTORY_DAYS * 4])
    if seen >= FEWEST_HISTORY_DAYS:
        forecasts |= baseline_forecasts(record, targets, history)
        usual, references = forecasts["climatology"], REFERENCES
    else:
        of_cells = model["static"][CHANNELS.index("soil_moisture mean")].numpy() * USUAL_RANGE["soil_moisture"]
        of_cells = np.where(record.land, of_cells + USUAL_MEAN["soil_moisture"], np.nan).astype(np.float32)
        forecasts["persistence"] = np.stack([persistence(record.carried_soil_moisture, targets, lead, of_cells)
                                             for lead in record.lead_times], axis=1)
        usual, references = np.broadcast_to(of_cells, forecasts[mean].shape), ("persistence",)
        print(f"the cube has {seen} of the days that the network learned from: no damped persistence, no climatology", flush=True)
    observed = np.broadcast_to(observed[:, None], forecasts[mean].shape)
    valid_time = np.repeat(record.time[targets][:, None], len(record.lead_times), axis=1)
    return score_forecasters(observed=observed, forecasts=forecasts, valid_time=valid_time, lead_times=record.lead_times,
                             lat=record.lat, lon=record.lon, land=record.land, climatology=usual, references=references)


def by_target(values: np.ndarray, lead_times: Sequence[int], count: int) -> np.ndarray:
    """Forecasts [I, L, H, W] of consecutive init days by the day that is forecast, [count, L, H, W]: the last days, which every
    lead time has."""
    found = scratch_array((count, *values.shape[1:]))
    for lead, lead_time in enumerate(lead_times):
        start = lead_times[-1] - lead_time
        for days in pieces(found[:, lead]):
            found[days, lead] = values[start + days.start:start + days.stop, lead]
    return found


def observed_by_init(record: Record, init_days: np.ndarray) -> np.ndarray:
    """What is observed on the days that are forecast, float32 [I, L, H, W]; NaN where it is not known yet, and at sea."""
    found = scratch_array((len(init_days), len(record.lead_times), *record.land.shape))
    for number, day in enumerate(init_days):
        for lead, lead_time in enumerate(record.lead_times):
            known = day + lead_time < len(record.time)
            found[number, lead] = np.where(record.land, record.observed(day + lead_time), np.float32(np.nan)) if known else np.nan
    return found
