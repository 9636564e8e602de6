"""From the forecasts of a run to its scores, files and figures."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_processing.arrays import in_turn, pieces, release, scratch_array
from data_processing.coming_weather import OBSERVED, kind_of
from data_processing.cube import SOIL_TEMPERATURE
from data_processing.files import unlock_folder
from data_processing.motion import spacing_km
from data_processing.terminal import print_result
from data_processing.twin import ceiling
from utils.baselines import baseline_forecasts, cell_mean
from utils.captions import FORECASTS, data_of_run, lead_text
from utils.ensembles import members_variance, write_ensemble_scores
from utils.evaluation import (
    by_init_time,
    cell_metrics,
    daily_scores,
    describe_impossible,
    format_metrics,
    score_forecasters,
    write_cell_metrics,
    write_daily_scores,
    write_forecast,
    write_metrics,
)
from utils.processes import by_first, is_first
from utils.results_page import refresh_page
from utils.spread import LEVELS, predict_spread, read_validation
from utils.training import forecast_days, forecast_told, told_forecast
from utils.where_it_helps import event_limits, parts_of_the_record, read_regions, write_where_it_helps

if TYPE_CHECKING:
    import torch

    from data_processing.record import Record
    from data_processing.splits import Splits
    from utils.captions import Data
    from utils.runs import Run

# What stands behind a network's name
BLIND = "_blind"  # the weights of a run with coming weather, without it
WITH_FORECAST, BOUND = (kind_of(setting).forecaster for setting in ("file", OBSERVED))
# Variables of forecast.nc of a run that is told coming weather, which its ensemble goes on with
KEPT = {BLIND: "forecast by the same weights without coming weather",
        BOUND: "forecast by the same weights with the observed weather: an upper bound, no forecast"}
VARIANCE = "weather_variance"


def forecaster_name(model: str, coming_weather: str | None) -> str:
    """What to call the forecasts of a network: told the observed weather, they are a bound, and say so."""
    return model + kind_of(coming_weather).forecaster


def network_name(forecaster: str) -> str:
    """The network behind a name of `forecaster_name`, or of the mean of several."""
    return forecaster.removesuffix("_ensemble").removesuffix(WITH_FORECAST).removesuffix(BOUND)


def forecast_test(model: str, network: torch.nn.Module, record: Record, splits: Splits,
                  settings: Any) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Forecasts of the test days, without and with the coming weather that the settings name.

    Returns
    -------
    forecasts : dict name -> float32 ndarray [N, L, H, W]
        m3 m-3; the run's own first (`forecaster_name`). With coming weather also the same weights without it and, beside a
        real forecast, with the observed weather, named as the bound that it is.
    members : float32 ndarray [M, N, L, H, W], or None
        Of the weather forecast.
    """
    if not is_first():  # who evaluates them
        return {}, None
    if record.coming is None:
        return {model: forecast_days(network, record, splits.test, settings.device)}, None
    blind, bound, members = forecast_told(network, record, splits.test, settings.device)
    forecasts = {forecaster_name(model, settings.coming_weather): told_forecast(bound, members), model + BLIND: blind,
                 model + BOUND: bound}
    return forecasts, members if len(members) > 1 else None


@by_first
def evaluate_run(run: Run, record: Record, splits: Splits, forecasts: dict[str, np.ndarray], *, label: str,
                 members: np.ndarray | None = None, weather_variance: np.ndarray | None = None, twin_domain: str | None = None,
                 regions: Sequence[str] = (), validation: list[Path] | None = None) -> None:
    """Score forecasts beside the baselines; write forecast.nc, the score files, the figures and, last, metrics.csv.

    The page of results is then refreshed.

    Parameters
    ----------
    run : Run
    record : Record
    splits : Splits
    forecasts : dict name -> float32 ndarray [N, L, H, W]
        Of the test days at each lead time, m3 m-3; the first is the run's own.
    label : str
        What was forecast, for titles.
    members : float32 ndarray [M, N, L, H, W], optional
        Of whom the run's own forecast is the mean: those of the weather forecast, or of an ensemble of networks.
    weather_variance : float32 ndarray [N, L, H, W], optional
        Among the members of the weather forecast, (m3 m-3)^2, where `members` are networks that were told them.
    twin_domain : str, optional
        The twin's domain where the cube is the twin's: its ceiling is scored as well.
    regions : sequence of str
        Regions to score apart; see `utils.where_it_helps.read_regions`.
    validation : list of Path, optional
        The `validation.nc` of the run, or of its members; default the run's own.
    """
    regions = read_regions(regions, record.lat, record.lon)
    model = next(iter(forecasts))
    network = network_name(model)  # the label says what it was told
    variance = None if members is None else members_variance(members)
    if weather_variance is not None:
        for days in pieces(variance, weather_variance):
            variance[days] += weather_variance[days]
    elif model.endswith(WITH_FORECAST):
        weather_variance = variance
    lead_times = np.array(splits.lead_times)
    valid_time = np.repeat(record.time[splits.test][:, None], len(lead_times), axis=1)
    told = read_validation(validation or [run.path("validation.nc")])
    spread, ends = predict_spread(forecasts[model], valid_time, variance, told, record.land)
    observed = observed_on_land(record, splits.test)
    observed = np.broadcast_to(observed[:, None], (len(observed), len(lead_times), *record.land.shape))
    for name, values in forecasts.items():
        impossible = describe_impossible(name, values)
        if impossible:
            print(impossible, flush=True)
    forecasts = {**forecasts, **baseline_forecasts(record, splits.test, splits.history_days)}
    if twin_domain:
        forecasts["ceiling"] = np.stack([ceiling(twin_domain, record.time[splits.test] - lead_time, lead_time)
                                         for lead_time in splits.lead_times], axis=1)
    rows = score_forecasters(observed=observed, forecasts=forecasts, valid_time=valid_time, lead_times=lead_times,
                             lat=record.lat, lon=record.lon, land=record.land, climatology=forecasts["climatology"])
    print_result(f"\n{network}, {label}\n{format_metrics(rows)}")
    maps = cell_metrics(observed=observed, forecast=forecasts[model], reference=forecasts["damped_persistence"],
                        climatology=forecasts["climatology"], land=record.land)

    attributes = {"title": f"{FORECASTS}{network}, {label}", "source": record.name, "run": run.name}
    place = {"lat": record.lat, "lon": record.lon}
    init_time, forecast_by_init = by_init_time(forecasts[model], record.time[splits.test], splits.lead_times)
    _, observed_by_init = by_init_time(observed, record.time[splits.test], splits.lead_times)
    spread_by_init, *ends_by_init = (by_init_time(values, record.time[splits.test], splits.lead_times)[1]
                                     for values in (spread, *ends))
    kept: dict[str, tuple] = {end.removeprefix("_"): (values, "m3 m-3", long_name) for end, long_name in KEPT.items()
            for name, values in forecasts.items() if name.endswith(end)}
    if weather_variance is not None:
        kept[VARIANCE] = weather_variance, "m6 m-6", "variance of the forecast among the members of the weather forecast"
    kept = {name: (by_init_time(values, record.time[splits.test], splits.lead_times)[1], *more)
            for name, (values, *more) in kept.items()}
    write_forecast(run.path("forecast.nc"), forecast=forecast_by_init, further=kept, observed=observed_by_init,
                   init_time=init_time, lead_times=lead_times, **place, attributes=attributes, spread=spread_by_init,
                   quantiles=dict(zip(LEVELS, ends_by_init)))
    write_cell_metrics(run.path("cell_metrics.nc"), maps, record.lat, record.lon, lead_times, attributes)
    write_daily_scores(run.path("daily_scores.csv"), daily_scores(
        observed=observed, forecasts=forecasts, valid_time=valid_time, lead_times=lead_times, land=record.land))
    title = f"{network}, {lead_text(splits.lead_times[-1:])} ahead, {label}"
    data = data_of_run(run.folder)
    write_ensemble_scores(run, observed=observed, forecast=forecasts[model], spread=spread, ends=ends, members=members,
                          lead_times=splits.lead_times, title=title, data=data)
    parts = parts_of_the_record(record.time[splits.test], temperature_of(record, splits.test),
                                cell_mean(record.observed_maps, splits.history_days), record.land, regions)
    cell_km = float(np.sqrt(np.prod(spacing_km(record.lat, record.lon))))
    write_where_it_helps(run, observed=observed, forecasts=forecasts, parts=parts, lead_times=splits.lead_times,
                         limits=event_limits(record.observed_maps, splits.history_days, record.land), land=record.land,
                         cell_km=cell_km, title=title, spread=spread, ends=ends, data=data)
    if len(lead_times) > 1:
        draw_lead(run.path("lead.png"), model, rows, f"Error against lead time, {network}, {label}", data)
    draw_run(run, record, observed[:, -1], {name: values[:, -1] for name, values in forecasts.items()},
             maps["skill_damped_persistence"][-1], valid_time[:, -1], model=model, title=title,
             interval=[end[:, -1] for end in ends], data=data)
    write_metrics(run.path("metrics.csv"), rows)  # the last file: it says that the run is finished
    unlock_folder(run.folder)
    refresh_page(run)
    print_result(f"-> {run.folder}: metrics.csv, forecast.nc, figures;\nopen the page of results to look through them")


def observed_on_land(record: Record, days: np.ndarray) -> np.ndarray:
    """Observed soil moisture of some days of a record, float32 [N, H, W], m3 m-3; NaN = missing, or sea."""
    observed = scratch_array((len(days), *record.land.shape))
    for piece in pieces(observed):
        observed[piece] = np.where(record.land, record.observed(days[piece]), np.float32(np.nan))
        release(record.carried, record.age)
    return observed


def temperature_of(record: Record, days: np.ndarray) -> np.ndarray:
    """View of a record's soil temperature, K, on consecutive days, float32 [N, H, W]."""
    first = record.input_days - 1 + days[0]
    return record.carried[first:first + len(days), SOIL_TEMPERATURE]


def draw_lead(path: Path, model: str, rows: list[dict], title: str, data: Data | None = None) -> None:
    """Draw RMSE against lead time of a run: the baselines, its network and, where it is told, what coming weather is worth."""
    from utils.draw_lead import LABELS, draw_errors_against_lead

    network = network_name(model)
    kinds = {name: name for name in LABELS} | {network + BLIND: "blind", model: "blind", network + BOUND: "bound"}
    kinds |= {model: "bound"} if BOUND in model else {model: "with forecast"} if WITH_FORECAST in model else {}
    errors = {}
    for row in rows:
        if row["forecaster"] in kinds:
            errors.setdefault(kinds[row["forecaster"]], {})[row["lead_time"]] = row["rmse_pooled"]
    draw_errors_against_lead(path, [(kind, LABELS[kind].format(network), of_kind, {}) for kind, of_kind in errors.items()], title,
                             data, min(row["n"] for row in rows))


def draw_run(run: Run, record: Record, observed: np.ndarray, forecasts: dict[str, np.ndarray], skill: np.ndarray,
             valid_time: np.ndarray, *, model: str, title: str, interval: Sequence[np.ndarray] | None = None,
             data: Data | None = None) -> None:
    """Draw the four figures of a run; what is drawn over time or days is [N, H, W], `skill` is [H, W]."""
    from utils.draw_run import draw_map, draw_scatter, draw_series, draw_skill_map  # cartopy is slow to import

    place: dict = {"lat": record.lat, "lon": record.lon}
    forecast = forecasts[model]
    day = best_observed_day(observed)
    draw_map(run.path("map.png"), observed=observed[day], forecast=forecast[day], **place,
             title=f"{title}; valid {valid_time[day]}", data=data and data._replace(first=valid_time[day], last=valid_time[day]))
    draw_scatter(run.path("scatter.png"), observed=observed, forecast=forecast, title=title, data=data)
    draw_series(run.path("series.png"), observed=observed, forecast=forecast,
                reference=forecasts["damped_persistence"], time=valid_time, interval=interval,
                forecaster=model, **place, title=title, data=data)
    if np.isfinite(skill).any():
        draw_skill_map(run.path("skill_map.png"), skill=skill, **place, title=title, data=data)
    else:
        print("no skill_map.png: no cell has enough observed test days for a score of its own")


def best_observed_day(observed: np.ndarray) -> int:
    """Index of the day nearest to the middle of those with the most observed cells; observed is [N, H, W]."""
    count = np.array([np.count_nonzero(np.isfinite(observed[day])) for day in in_turn(observed)])
    days = np.flatnonzero(count >= 0.95 * count.max())
    return int(days[np.abs(days - len(observed) // 2).argmin()])
