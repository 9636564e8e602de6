"""From the forecasts of a run to its scores, files and figures."""
import numpy as np

from data_processing.twin import ceiling
from utils.baselines import baseline_forecasts
from utils.evaluation import (cell_metrics, format_metrics, score_forecasters, write_cell_metrics, write_forecast,
                              write_metrics)


def evaluate_run(run, record, splits, forecast, *, model, label, twin_domain=None):
    """Score the forecasts beside the baselines; write forecast.nc, cell_metrics.nc, the figures and metrics.csv.

    Parameters
    ----------
    run : Run
    record : Record
    splits : Splits
    forecast : float32 ndarray [N, H, W]
        Of the test days, m3 m-3.
    model : str
        Name of the network in tables and figures.
    label : str
        What was forecast, for titles.
    twin_domain : str, optional
        The twin's domain where the cube is the twin's: its ceiling is scored as well.
    """
    valid_time = record.time[splits.test]
    init_time = valid_time - splits.lead_time
    observed = np.where(record.land, record.observed(splits.test), np.float32(np.nan))
    forecasts = {model: forecast, **baseline_forecasts(record, splits.test, splits.history_days)}
    if twin_domain:
        forecasts["ceiling"] = ceiling(twin_domain, init_time, splits.lead_time)
    of_lead = {name: values[:, None] for name, values in forecasts.items()}
    lead_times = np.array([splits.lead_time])
    rows = score_forecasters(observed=observed[:, None], forecasts=of_lead, valid_time=valid_time[:, None],
                             lead_times=lead_times, lat=record.lat, lon=record.lon, land=record.land,
                             climatology=of_lead["climatology"])
    print(format_metrics(rows), flush=True)
    maps = cell_metrics(observed=observed[:, None], forecast=of_lead[model], reference=of_lead["damped_persistence"],
                        climatology=of_lead["climatology"], land=record.land)

    attributes = {"title": f"Soil moisture forecasts, {model}, {label}", "source": record.name, "run": run.name}
    write_forecast(run.path("forecast.nc"), forecast=of_lead[model], observed=observed[:, None], init_time=init_time,
                   lead_times=lead_times, lat=record.lat, lon=record.lon, attributes=attributes)
    write_cell_metrics(run.path("cell_metrics.nc"), maps, record.lat, record.lon, lead_times, attributes)
    draw_run(run, record, observed, forecasts, maps["skill_damped_persistence"][0], valid_time, model=model,
             title=f"{model}, {splits.lead_time} days ahead, {label}")
    write_metrics(run.path("metrics.csv"), rows)  # the last file: it says that the run is finished


def draw_run(run, record, observed, forecasts, skill, valid_time, *, model, title):
    """Draw the four figures of a run; what is drawn over time or days is [N, H, W], `skill` is [H, W]."""
    from utils.drawmap import draw_map, draw_scatter, draw_series, draw_skill_map  # cartopy is slow to import

    place = {"lat": record.lat, "lon": record.lon}
    forecast = forecasts[model]
    day = best_observed_day(observed)
    draw_map(run.path("map.png"), observed=observed[day], forecast=forecast[day], **place,
             title=f"{title}; valid {valid_time[day]}")
    draw_scatter(run.path("scatter.png"), observed=observed, forecast=forecast, title=title)
    draw_series(run.path("series.png"), observed=observed, forecast=forecast,
                reference=forecasts["damped_persistence"], time=valid_time, **place, title=title)
    if np.isfinite(skill).any():
        draw_skill_map(run.path("skill_map.png"), skill=skill, **place, title=title)
    else:
        print("no skill_map.png: no cell has enough observed test days for a score of its own")


def best_observed_day(observed):
    """Index of the day nearest to the middle of those with the most observed cells; observed is [N, H, W]."""
    count = np.isfinite(observed).sum(axis=(1, 2))
    days = np.flatnonzero(count >= 0.95 * count.max())
    return int(days[np.abs(days - len(observed) // 2).argmin()])
