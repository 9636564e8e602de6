"""The learning curve: runs with the last n target days, scored on the same values."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing.arrays import in_turn
from data_processing.coming_weather import OBSERVED, kind_of, source_weather
from data_processing.cube import cube_days, open_cube
from data_processing.files import replacing, write_csv
from data_processing.record import open_record
from data_processing.splits import split_cube
from utils.baselines import baseline_forecasts
from utils.bootstrap import block_days, check_test_days, daily_series, determination, interval, mean_square
from utils.evaluation import daily_scores
from utils.fan_out import make_on_workers
from utils.members import read_forecast
from utils.reporting import observed_on_land
from utils.runs import cube_label, find_cube
from utils.study import is_made, run_or_reuse, script_settings, short_pretraining, test_days
from utils.transfer import source_cut, source_of

if TYPE_CHECKING:
    from data_processing.record import Record

DAMPED_OF_ALL = "damped_persistence_of_all_days"  # what a full record gives, on the same cells
BOUND_TRAINING = kind_of(OBSERVED).training
WAYS = ("scratch", "zero-shot", "fine-tuned")  # and, where coming weather is asked for, fine-tuned and told it
QUICK_DAYS = (45,)
QUICK_STEPS = {"ERA5test": {"steps": 200, "worlds": 0}, "SMAPtest": {"steps": 100}, "finetune-SMAPtest": {"steps": 60}}
LEARNING_COLUMNS = ("forecaster", "train_days", "lead_time", "cells", "n", "mse", "rmse", "rmse_low", "rmse_high", "r2",
                    "skill_damped_persistence", f"skill_{DAMPED_OF_ALL}")


class LearningRun(NamedTuple):
    """One way to use one length of record."""

    way: str
    train_days: int  # 0: all of them
    settings: Any
    folder: Any


def make_learning_runs(settings: Any, name: str) -> list[LearningRun]:
    """Find or make every run.

    Parameters
    ----------
    settings : Settings of the script
    name : str
        Of the study and, with the length, of its runs.

    Returns
    -------
    list of LearningRun
    """
    source_cube = source_of(settings)
    shared = {"cube": settings.cube, "test_from": settings.test_from, "train_until": settings.train_until,
              "lead_times": settings.lead_times, "seeds": 1 if settings.quick else settings.seeds, "device": settings.device,
              "results": settings.results}
    told = kind_of(settings.coming_weather).training
    lengths = (*(QUICK_DAYS if settings.quick else sorted(settings.train_days)), 0)
    until = earliest_cut(settings, shared, source_cube, lengths)
    planned = []
    for days in reversed(lengths):  # the longest first: its pre-trained run then serves all
        for way in (*WAYS, told) if told else WAYS:
            experiment = "SMAPtest" if way == "scratch" else "finetune-SMAPtest"
            asked = shared | {"train_days": days or None, "name": f"{name}-{days or 'all'}days"}
            if settings.quick:
                asked |= QUICK_STEPS[experiment]
            if way == told:
                asked |= {"coming_weather": settings.coming_weather, "name": asked["name"] + kind_of(settings.coming_weather).run}
            before = []
            if way != "scratch":
                asked |= {"source_cube": source_cube, "source_until": until, "zero_shot": way == "zero-shot"}
                if settings.quick:
                    of_source = name + (kind_of(source_weather(settings.coming_weather)).run if way == told else "")
                    source, start = short_pretraining(settings.model, asked | {"name": of_source}, until,
                                                      **QUICK_STEPS["ERA5test"])
                    before, asked = [("ERA5test", settings.model, source)], asked | start
            if way == "zero-shot":
                asked["name"] += "-zero-shot"
            planned.append((way, days, [*before, (experiment, settings.model, asked)]))
    check_test_days(len(test_days(*planned[0][2][-1])))
    made = sum(is_made(experiment, model, **asked) for experiment, model, asked in (parts[-1] for *_, parts in planned))
    print(f"{len(planned)} runs, {made} of them are made already", flush=True)
    if settings.scheduler is not None:
        make_on_workers(settings.scheduler, [each for *_, parts in planned for each in parts], settings.results)
    runs = []
    for number, (way, days, parts) in enumerate(planned, start=1):
        print(f"\nrun {number} of {len(planned)}: {way}, {days or 'all'} days", flush=True)
        folder = [run_or_reuse(experiment, model, **asked) for experiment, model, asked in parts][-1]
        experiment, model, asked = parts[-1]
        runs.append(LearningRun(way, days, script_settings(experiment, model, **asked)[1], folder))
    return runs


def earliest_cut(settings: Any, shared: dict, source_cube: str, lengths: Sequence[int]) -> str | None:
    """Last source day that none of the runs may go beyond, as text; None where the source ends before anyway."""
    _, asked = script_settings("finetune-SMAPtest", settings.model, **shared)
    target = find_cube(settings.cube, "smap_l4").path
    every = [split_cube(target, replace(asked, train_days=days or None))[1] for days in lengths]
    first = min(every, key=lambda splits: splits.validation_from)
    return source_cut(cube_days(open_cube(find_cube(source_cube, "era5_land").path, check_values=False)), first)


def score_learning_runs(settings: Any, runs: list[LearningRun]) -> tuple[list[dict], str]:
    """Scores of every run and baseline on the cells that are observed often enough, and the title.

    Returns
    -------
    list of dict
        With the keys LEARNING_COLUMNS; `train_days` 0 = all.
    str
    """
    rows, damped_of_all, title = [], None, ""
    for days in dict.fromkeys(run.train_days for run in runs):
        of_days = {run.way: run for run in runs if run.train_days == days}
        asked = replace(of_days["scratch"].settings, input_days=1)
        cube_file = find_cube(settings.cube, "smap_l4")
        cube, splits = split_cube(cube_file.path, asked)
        record = open_record(cube, cube_file.name, splits, max_gap_days=asked.max_gap_days)
        title = f"{settings.model}, {cube_label(cube, cube_file.name)}"
        cells = often_observed(record, splits.history_days, settings.minimum_observations)
        observed = observed_on_land(record, splits.test)
        observed = np.broadcast_to(observed[:, None], (len(observed), len(splits.lead_times), *record.land.shape))
        forecasts = {way: read_forecast(run.folder / "forecast.nc", splits) for way, run in of_days.items()}
        forecasts |= baseline_forecasts(record, splits.test, splits.history_days)
        damped_of_all = forecasts["damped_persistence"] if damped_of_all is None else damped_of_all  # all days come first
        forecasts[DAMPED_OF_ALL] = damped_of_all
        valid_time = np.repeat(record.time[splits.test][:, None], len(splits.lead_times), axis=1)
        daily = daily_series(daily_scores(observed=observed, forecasts=forecasts, valid_time=valid_time,
                                          lead_times=splits.lead_times, land=cells))
        chosen = block_days(len(splits.test))
        for (name, lead_time), series in daily.items():
            mse, of_damped, of_damped_of_all = (mean_square(daily[each, lead_time])
                                                for each in (name, "damped_persistence", DAMPED_OF_ALL))
            low, high = interval(np.sqrt(mean_square(series, chosen)))
            rows.append({"forecaster": name, "train_days": days, "lead_time": lead_time, "cells": int(cells.sum()),
                         "n": int(series["n"].sum()), "mse": mse, "rmse": np.sqrt(mse),
                         "rmse_low": low, "rmse_high": high,
                         "r2": determination(series),
                         "skill_damped_persistence": 1 - mse / of_damped, f"skill_{DAMPED_OF_ALL}": 1 - mse / of_damped_of_all})
    return rows, title


def often_observed(record: Record, days: np.ndarray, least: int) -> np.ndarray:
    """Bool [H, W]: land cells with at least so many observed values on the given days."""
    observed, count = record.observed_maps, np.zeros(record.land.shape, int)
    for day in in_turn(observed):
        if days[day]:
            count += np.isfinite(observed[day])
    return record.land & (count >= least)


def write_learning_curve(folder: Path, rows: list[dict], title: str) -> None:
    """Write learning_curve.csv and learning_curve.md."""
    write_csv(folder / "learning_curve.csv", LEARNING_COLUMNS, rows)
    names = list(dict.fromkeys(row["forecaster"] for row in rows))
    bound = "; told the observed weather a network is an upper bound, no forecast" if BOUND_TRAINING in names else ""
    lines = [f"RMSE, m3 m-3, by target days; {title}; on cells that are observed often enough in them{bound}", "",
             "| lead, days | target days | cells | " + " | ".join(names) + " |", "|" + "---|" * (3 + len(names))]
    for lead_time in sorted({row["lead_time"] for row in rows}):
        for days in sorted({row["train_days"] for row in rows}, key=lambda days: days or np.inf):
            chosen = {row["forecaster"]: row for row in rows if (row["lead_time"], row["train_days"]) == (lead_time, days)}
            best = min(row["rmse"] for row in chosen.values() if row["forecaster"] != BOUND_TRAINING)
            texts = [f"**{row['rmse']:.4f}**" if row["rmse"] == best else f"{row['rmse']:.4f}" for row in chosen.values()]
            lines.append(f"| {lead_time} | {days or 'all'} | {chosen[names[0]]['cells']} | " + " | ".join(texts) + " |")
    print("\n" + "\n".join(lines), flush=True)
    with replacing(folder / "learning_curve.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
