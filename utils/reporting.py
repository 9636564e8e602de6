"""From the forecasts of a run to its scores, files and figures."""
import numpy as np

from data_processing.twin import ceiling
from utils.baselines import cell_mean, climatology, damped_persistence, persistence
from utils.evaluation import (cell_metrics, format_metrics, score_forecasters, write_cell_metrics, write_forecast,
                              write_metrics)


def baseline_forecasts(record, splits):
    """Forecasts of the test days that need no network.

    Parameters
    ----------
    record : Record
    splits : Splits

    Returns
    -------
    dict name -> float32 ndarray [N, H, W]
        persistence, damped_persistence, climatology; m3 m-3, no NaN on land.
    """
    observed, carried = record.observed(), record.carried_soil_moisture()
    mean = cell_mean(observed, splits.history_days)
    return {"persistence": persistence(carried, splits.test, splits.lead_time, mean),
            "damped_persistence": damped_persistence(carried, observed, splits.history_days, splits.test,
                                                     splits.lead_time, mean),
            "climatology": climatology(observed, record.time, splits.history_days, record.time[splits.test], mean)}


def evaluate_run(run, record, splits, forecast, *, model, label, twin_domain=None):
    """Score the forecasts beside the baselines; write forecast.nc, cell_metrics.nc, the figures, then metrics.csv.

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
        The twin's domain where the cube is the twin: its ceiling is scored as well.
    """
    from utils.drawmap import draw_map, draw_scatter, draw_series, draw_skill_map  # cartopy is slow to import

    valid_time = record.time[splits.test]
    observed = np.where(record.land, record.observed(splits.test), np.float32(np.nan))
    forecasts = {model: forecast, **baseline_forecasts(record, splits)}
    if twin_domain:
        forecasts["ceiling"] = ceiling(twin_domain, valid_time - splits.lead_time, splits.lead_time)
    of_lead = {name: values[:, None] for name, values in forecasts.items()}
    lead_times = np.array([splits.lead_time])

    attributes = {"title": f"Soil moisture forecasts, {model}, {label}", "source": record.name, "run": run.name}
    write_forecast(run.path("forecast.nc"), forecast=of_lead[model], observed=observed[:, None],
                   init_time=valid_time - splits.lead_time, lead_times=lead_times, lat=record.lat, lon=record.lon,
                   attributes=attributes)
    maps = cell_metrics(observed=observed[:, None], forecast=of_lead[model], reference=of_lead["damped_persistence"],
                        climatology=of_lead["climatology"], land=record.land)
    write_cell_metrics(run.path("cell_metrics.nc"), maps, record.lat, record.lon, lead_times, attributes)

    title = f"{model}, {splits.lead_time} days ahead, {label}"
    day = best_observed_day(observed)
    place = {"lat": record.lat, "lon": record.lon}
    draw_map(run.path("map.png"), observed=observed[day], forecast=forecast[day], **place,
             title=f"{title}, {valid_time[day]}")
    draw_scatter(run.path("scatter.png"), observed=observed, forecast=forecast, title=title)
    draw_skill_map(run.path("skill_map.png"), skill=maps["skill_damped_persistence"][0], **place, title=title)
    draw_series(run.path("series.png"), observed=observed, forecast=forecast,
                reference=forecasts["damped_persistence"], time=valid_time, **place, title=title)

    rows = score_forecasters(observed=observed[:, None], forecasts=of_lead, valid_time=valid_time[:, None],
                             lead_times=lead_times, lat=record.lat, lon=record.lon, land=record.land,
                             climatology=of_lead["climatology"])
    write_metrics(run.path("metrics.csv"), rows)  # the last file: it says that the run is finished
    print(format_metrics(rows))


def best_observed_day(observed):
    """Index of the day nearest to the middle of those with the most observed cells; observed is [N, H, W]."""
    count = np.isfinite(observed).sum(axis=(1, 2))
    days = np.flatnonzero(count >= 0.95 * count.max())
    return int(days[np.abs(days - len(observed) // 2).argmin()])
