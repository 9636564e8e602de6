"""Forecast soil moisture from the last days of a cube with trained runs: maps, a NetCDF file and a table of places.

Reads   one or more run folders of any of the three experiments (model.pt, validation.nc); several, or the folder of an ensemble,
        forecast together;
        a daily cube on the cells of the runs, of which only the last days are read; its last days may have gaps, and nothing that
        is forecast needs to be observed. Scaling, land and maps of the place are those of the run: nothing is fitted anew;
        --coming-weather: a weather forecast, where the runs were trained with coming weather

Writes  results/finetune-SMAPtest/forecast/<name>/<last input day>/
            forecast.nc             forecast, spread and 90 % interval, CF NetCDF
            map_lead<days>.png      last observation, forecast, change, spread; beside it .pdf and .txt, the caption
            points.csv              --points and --boxes: forecast, spread, interval, last observation and its day
        results/finetune-SMAPtest/forecast/<name>/since-<day>/, with --since: the same for every day from that one on (maps of
        the last one), and metrics.csv, the scores of all forecasts whose day is observed by now.
        results/index.html, the page of results, lists the newest forecasts.
        What stands there from an earlier forecast is replaced, file by file.

Run     python finetune-SMAPtest/forecast.py results/finetune-SMAPtest/convlstm/smap/lead1to7 --cube smap.nc
        python finetune-SMAPtest/forecast.py RUN OTHER --cube smap.nc --points "Beijing:39.9,116.4" --boxes "plain:34,38,113,118"
        python finetune-SMAPtest/forecast.py RUN --cube smap.nc --since 2026-06-01

A lead time counts from the last input day, not from today: SMAP L4 appears within 3 days (Reichle et al. 2017,
doi:10.1175/JHM-D-17-0063.1), ERA5-Land about 5 days late (confluence.ecmwf.int pageId=140385202). The terminal says what that
makes of it. Expect a few seconds, most of them for the start of Python and the figures, and with --since ten for each hundred days.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.files import PROJECT
from utils.command_line import run_script

# the other imports stand in the functions: they take seconds, which --help would wait for

AGAIN = "the same command makes the forecast again"


@dataclass(frozen=True)
class Settings:
    # runs
    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run folders; several, or that of an ensemble, forecast together. Default: the fine-tuned ConvLSTM of the synthetic twin."""
    # data
    cube: str | None = None  # path of a daily cube that ends with the days to forecast from, or "twin"; default the run's own
    coming_weather: str | None = None  # for runs trained with it: a weather forecast file, "twin", or "none" (a blind forecast)
    since: str | None = None  # forecast from every day since this date, and score what is observed; default the last day only
    # places
    points: tuple[str, ...] = ()  # for points.csv: "name:lat,lon" in degrees
    boxes: tuple[str, ...] = ()  # for points.csv: "name:south,north,west,east" in degrees, or NetCDF files of masks
    # output
    name: str | None = None  # of the forecast; default network, lead times and cube
    results: str = str(PROJECT / "results")  # folder of all results


def main(settings):
    import numpy as np

    from data_processing.cube import GIVE_CUBE
    from data_processing.files import locked, remove_half_written, require_file
    from data_processing.terminal import print_result
    from utils import forecasting
    from utils.places import read_places
    from utils.results_page import refresh
    from utils.runs import cube_label, find_cube
    from utils.study import DOMAIN_OF, run_or_reuse

    if settings.cube not in (None, "twin"):  # refused before a run is made
        require_file(settings.cube, f"cube is {settings.cube}", GIVE_CUBE, ("twin",))
    runs = settings.runs or (run_or_reuse("finetune-SMAPtest", "convlstm", results=settings.results),)
    members = forecasting.open_members(runs)
    own, experiment = forecasting.own_cube(members[0])
    cube_file = find_cube(settings.cube or own, DOMAIN_OF[experiment])
    cube, first, last = forecasting.open_last_days(cube_file.path, members, settings.since)
    weather = forecasting.coming_weather_path(settings.coming_weather, members, cube.attrs.get("twin_domain"))
    model, days = members[0].model, cube["time"].values.astype("datetime64[D]")
    places = read_places(settings.points, settings.boxes, cube["lat"].values, cube["lon"].values, model["land"])
    folder = forecast_folder(settings, members, cube_file.name, weather, days[last])

    records = forecasting.Records(cube, cube_file.name, first, last, whole=settings.since is not None)
    names = forecasting.forecaster_names(members, weather is not None)
    label = f"{names[1]}, {cube_label(cube, cube_file.name)}"
    today, record = np.datetime64("today", "D"), records.of(members[0])
    print(f"{label}, {len(members)} run{'s' * (len(members) > 1)}", flush=True)
    states = forecasting.input_states(record, members[0].settings.max_gap_days)
    print(forecasting.describe_inputs(states, today), flush=True)
    print(forecasting.describe_leads(days[last], record.lead_times, today, str(cube.attrs.get("source", ""))), flush=True)
    forecasting.check_inputs(states, members[0].settings.max_gap_days, cube_file.path)

    if settings.since is not None and str(days[first] + record.lead_times[-1]) <= model["learned_until"]:
        print(f"warning: the network has learned from days until {model['learned_until']}: scores of earlier days flatter it",
              flush=True)

    with locked(folder, "give another --name"):
        remove_half_written(folder)
        found = forecasting.make_forecasts(members, records, days[first:last + 1], weather)
        write_results(folder, found, record, days[first:last + 1], places, label, members,
                      product=str(cube.attrs.get("title") or cube_file.name))
        if settings.since is not None:
            write_scores(folder, names, found, record, days[first:last + 1], model)
    refresh(folder.parents[3])  # results/finetune-SMAPtest/forecast/<name>/<day>
    print_result(f"-> {folder}: look at map_lead{record.lead_times[0]}.png first")


def forecast_folder(settings, members, cube_name, weather, last_day):
    """Where the forecast is written."""
    from data_processing.coming_weather import kind_of
    from data_processing.splits import parse_date
    from utils.runs import lead_folder

    models = "-".join(dict.fromkeys(member.model["model"] for member in members))
    name = settings.name or (f"{models}-{lead_folder(members[0].lead_times)}-{cube_name}"
                             + (kind_of("file").run if weather is not None else ""))
    day = last_day if settings.since is None else f"since-{parse_date(settings.since, 'since')}"
    return Path(settings.results).expanduser().absolute() / "finetune-SMAPtest" / "forecast" / name / str(day)


def write_results(folder, found, record, init_time, places, label, members, product):
    """Write forecast.nc, points.csv and the maps of the last init day."""
    from data_processing.files import write_csv
    from data_processing.terminal import print_result
    from utils.captions import FORECASTS
    from utils.draw_forecast import draw_forecast
    from utils.evaluation import write_forecast
    from utils.forecasting import last_observed, observed_by_init
    from utils.places import PLACE_COLUMNS, format_places, place_rows
    from utils.runs import lead_text
    from utils.spread import LEVELS

    init_days = (init_time - record.time[0]).astype(int)
    attributes = {"title": FORECASTS + label, "source": record.name, "data": product,
                  "run": ", ".join("/".join(member.folder.parts[-5:]) for member in members)}
    place = {"lat": record.lat, "lon": record.lon}
    write_forecast(folder / "forecast.nc", forecast=found.forecast, observed=observed_by_init(record, init_days),
                   init_time=init_time, lead_times=record.lead_times, **place, attributes=attributes, spread=found.spread,
                   quantiles=dict(zip(LEVELS, found.ends)))
    if places:
        rows = place_rows(places, record, init_days, forecast=found.forecast, spread=found.spread, ends=found.ends,
                          validation=found.validation)
        write_csv(folder / "points.csv", PLACE_COLUMNS, rows)
        print_result(format_places([row for row in rows if row["init_time"] == init_time[-1]]))
    last, oldest, newest = last_observed(record, init_days[-1])
    last_days = str(newest) if oldest == newest else f"{oldest} to {newest}"
    for lead, lead_time in enumerate(record.lead_times):
        draw_forecast(folder / f"map_lead{lead_time}.png", last=last, forecast=found.forecast[-1, lead],
                      spread=found.spread[-1, lead], **place, last_days=last_days, valid_day=str(init_time[-1] + lead_time),
                      title=f"{label}: {lead_text((lead_time,))} ahead, from {init_time[-1]}", product=product)


def write_scores(folder, names, found, record, init_time, model):
    """Write metrics.csv where something that was forecast is observed by now; say so where nothing is."""
    from data_processing.terminal import print_result
    from utils.evaluation import format_metrics, write_metrics
    from utils.forecasting import score_forecasts

    rows = score_forecasts(names, found, record, init_time, model)
    if not rows:
        print(f"no metrics.csv: no day that was forecast since {init_time[0]} at every lead time is observed yet", flush=True)
        return
    print_result(format_metrics(rows))
    write_metrics(folder / "metrics.csv", rows)


if __name__ == "__main__":
    run_script(main, Settings, resume=AGAIN)
