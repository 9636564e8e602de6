"""The runs of the paper's table, and the table: scores, intervals, and what transfer is worth."""
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from data_processing.coming_weather import NOT_TOLD, OBSERVED, kind_of, source_weather
from data_processing.cube import cube_days, open_cube
from data_processing.errors import UserError
from data_processing.files import replacing, write_csv
from data_processing.splits import split_cube
from utils.bootstrap import (
    average,
    block_days,
    check_test_days,
    compare,
    determination,
    interval,
    mean_square,
    read_daily,
    resampled_mean_square,
)
from utils.draw_lead import LABELS
from utils.fan_out import make_on_workers
from utils.models.forms import FORMS, HEAVY
from utils.reporting import BOUND, forecaster_name
from utils.runs import find_cube
from utils.study import is_made, load_script, run_or_reuse, short_pretraining, test_days
from utils.transfer import load_model, source_cut, source_of

BOUND_TRAINING = kind_of(OBSERVED).training
EXPERIMENT = {"scratch": "SMAPtest", "transferred": "finetune-SMAPtest", kind_of("file").training: "finetune-SMAPtest",
              BOUND_TRAINING: "finetune-SMAPtest"}
# the quick form: a year to learn from, three months to test on, the first lead time, little training
QUICK = {"train_days": 365, "test_days": 90}
QUICK_LOCAL = {"ERA5test": {"steps": 100, "worlds": 0}, "SMAPtest": {"steps": 80}, "finetune-SMAPtest": {"steps": 50}}
QUICK_PAPER = {"epochs": 1}
BASELINES = ("persistence", "damped_persistence", "climatology", "water_balance", "ceiling")
COLUMNS = ("form", "training", "lead_time", "seeds", "weights", "n", "rmse", "rmse_low", "rmse_high", "rmse_of_seeds", "mse",
           "r2", "skill_damped_persistence", "skill_low", "skill_high", "way_to_ceiling", "rmse_cell_median", "r2_cell_median",
           "gain_by_transfer", "gain_low", "gain_high", "p", "gain_by_weather", "weather_low", "weather_high", "remark")
NO_TRANSFER = "no transfer: its weights are made for one map size, and the two grids differ"


class StudyRun(NamedTuple):
    """A run of the study: folder is that of the ensemble where there are several seeds, None where transfer is impossible."""

    form: str
    training: str  # "scratch", "transferred", or transferred and told the coming weather
    lead_times: tuple[int, ...]
    folder: Any
    seeds: int
    settings: Any = None  # of the script


def make_runs(settings: Any, name: str) -> list[StudyRun]:
    """Find or make every run.

    Parameters
    ----------
    settings : Settings of the script
    name : str
        Of the study: of the runs as well where they are short ones.

    Returns
    -------
    list of StudyRun
    """
    unknown = [form for form in settings.forms if form not in FORMS]
    if unknown:
        raise UserError(f"forms names {', '.join(unknown)}; known are {', '.join(FORMS)}.")
    forms = settings.forms
    if settings.quick and forms == FORMS:
        forms = tuple(form for form in FORMS if form not in HEAVY)
        print(f"the quick form leaves out {' and '.join(HEAVY)}, which take minutes to write and read", flush=True)
    source_cube = source_of(settings)
    same_grid = grids_agree(settings.cube, source_cube)
    planned = []
    for form in forms:
        model, head = form.split("-")
        asked_leads = settings.lead_times[:1] if settings.quick else settings.lead_times
        leads = [asked_leads] if head == "local" else [(lead,) for lead in asked_leads]
        for training in trainings(settings.coming_weather, head):
            for lead_times in leads:
                possible = head == "local" or same_grid or training == "scratch"
                asked = run_settings(settings, name, head, training, lead_times, source_cube) if possible else None
                planned.append((StudyRun(form, training, lead_times, None, 1 if settings.quick else settings.seeds), asked))
    check_test_days(len(test_days(EXPERIMENT["scratch"], planned[0][0].form.split("-")[0], planned[0][1])))
    behind = [(run, runs_behind(run, asked, settings.quick)) for run, asked in planned]
    asked_for = [runs for _, runs in behind if runs]
    made = sum(is_made(experiment, model, **asked) for experiment, model, asked in (runs[-1] for runs in asked_for))
    print(f"{len(asked_for)} runs, {made} of them are made already", flush=True)
    if settings.scheduler is not None:
        make_on_workers(settings.scheduler, [each for runs in asked_for for each in runs], settings.results)
    runs, started, done = [], clock.monotonic(), 0
    for run, parts in behind:
        if not parts:
            runs.append(run)
            continue
        done += 1
        print(f"\nrun {done} of {len(asked_for)}: {run.form}, {run.training}, lead {run.lead_times}; "
              f"{(clock.monotonic() - started) / 60:.0f} min so far", flush=True)
        folder = [run_or_reuse(experiment, model, **asked) for experiment, model, asked in parts][-1]
        experiment, model, asked = parts[-1]
        runs.append(run._replace(folder=folder, settings=load_script(experiment, model)["Settings"](**asked)))
    return runs


def runs_behind(run: StudyRun, asked: dict, quick: bool) -> list[tuple[str, str, dict]]:
    """Experiment, model and settings of what is made for a run of the study: of the quick form also its short pre-training."""
    if asked is None:
        return []
    model, head = run.form.split("-")
    experiment = EXPERIMENT[run.training]
    if not quick or run.training == "scratch":
        return [(experiment, model, asked)]
    short = QUICK_LOCAL["ERA5test"] if head == "local" else QUICK_PAPER
    told = asked.get("coming_weather", NOT_TOLD)
    name = asked["name"].removesuffix(kind_of(told).run) + kind_of(source_weather(told)).run
    source, start = short_pretraining(model, asked | {"name": name}, source_until(model, asked), **QUICK, **short)
    return [("ERA5test", model, source), (experiment, model, asked | start)]


def trainings(coming_weather: str, head: str) -> tuple[str, ...]:
    """How a form is trained in the study: from scratch, transferred and, where coming weather is asked for, told it as well."""
    told = kind_of(coming_weather).training if head == "local" else None
    return ("scratch", "transferred") + ((told,) if told else ())


def grids_agree(cube: str, source_cube: str) -> bool:
    """Whether two cubes have the same cells."""
    one, other = (open_cube(find_cube(name, domain).path, check_values=False)
                  for name, domain in ((cube, "smap_l4"), (source_cube, "era5_land")))
    return all(one.sizes[axis] == other.sizes[axis] and np.allclose(one[axis], other[axis], atol=1e-3)
               for axis in ("lat", "lon"))


def run_settings(settings: Any, name: str, head: str, training: str, lead_times: Sequence[int], source_cube: str | None) -> dict:
    """Settings of one run of the study."""
    asked = {"cube": settings.cube, "head": head, "seeds": 1 if settings.quick else settings.seeds,
             "test_from": settings.test_from, "train_until": settings.train_until, "train_days": settings.train_days,
             "device": settings.device, "results": settings.results}
    # the whole study has one longest lead time, so that all of its forecasters learn from the same days
    asked["embargo_days"] = max(settings.lead_times)
    asked |= {"lead_times": lead_times} if len(lead_times) > 1 else {"lead_time": lead_times[0]}
    if settings.quick or settings.name or settings.train_days:
        asked["name"] = name + ("" if head == "local" else f"-{head}")
    if training != "scratch":
        asked["source_cube"] = source_cube
    if training not in ("scratch", "transferred"):
        asked["coming_weather"] = settings.coming_weather
        asked |= {"name": asked["name"] + kind_of(settings.coming_weather).run} if "name" in asked else {}
    if settings.quick:
        asked |= {"train_days": settings.train_days or QUICK["train_days"]}
        asked |= {} if settings.test_from else {"test_days": QUICK["test_days"]}
        asked |= (QUICK_LOCAL[EXPERIMENT[training]] if head == "local" else QUICK_PAPER)
    return asked


def source_until(model: str, asked: dict) -> str | None:
    """Last source day that the fine-tuning with these settings may start from; see `utils.transfer.source_cut`."""
    script = load_script("finetune-SMAPtest", model)
    _, splits = split_cube(find_cube(asked["cube"], "smap_l4").path, replace(script["Settings"](**asked), input_days=1))
    return source_cut(cube_days(open_cube(find_cube(asked["source_cube"], "era5_land").path, check_values=False)), splits)


def collect_rows(runs: list[StudyRun], lead_times: Sequence[int]) -> tuple[list[dict], str]:
    """Rows of the table, and its title.

    Parameters
    ----------
    runs : list of StudyRun
    lead_times : sequence of int

    Returns
    -------
    list of dict
        One per form, training and lead time with the keys COLUMNS; then the ensembles and the baselines.
    str
    """
    rows: list[dict] = []
    scores: dict = {}
    for run in runs:
        for lead_time in run.lead_times:
            if run.folder is None:
                rows.append({"form": run.form, "training": run.training, "lead_time": lead_time, "remark": NO_TRANSFER})
                continue
            daily = read_daily(run.folder / "daily_scores.csv")
            model = forecaster_name(run.form.split("-")[0], run.settings.coming_weather)
            members = [daily[name, lead] for name, lead in daily if lead == lead_time
                       and (name == model or name.startswith(f"{model}_seed"))]
            chosen = block_days(len(members[0]["n"]))
            scores[run.form, run.training, lead_time] = members
            own = metrics_of(run.folder, model, lead_time)
            rows.append(table_row(run, lead_time, members, daily["damped_persistence", lead_time], own, chosen)
                        | {"weights": count_weights(run)})
            if len(members) > 1:
                mean = f"{model}_ensemble"
                rows.append(table_row(run._replace(form=f"{run.form}, ensemble"), lead_time, [daily[mean, lead_time]],
                                      daily["damped_persistence", lead_time], metrics_of(run.folder, mean, lead_time), chosen))
    for row in rows:
        pair = [scores.get((row["form"], training, row["lead_time"])) for training in ("transferred", "scratch")]
        if row["training"] == "transferred" and row["form"] in {form for form, _, _ in scores} and None not in pair:
            gain = compare(pair[0], pair[1], block_days(len(pair[0][0]["n"])))
            row |= {"gain_by_transfer": gain["gain"], "gain_low": gain["gain_low"], "gain_high": gain["gain_high"],
                    "p": gain["p"]}
        pair = [scores.get((row["form"], training, row["lead_time"])) for training in (row["training"], "transferred")]
        if row["training"] not in ("scratch", "transferred") and None not in pair:
            gain = compare(pair[0], pair[1], block_days(len(pair[0][0]["n"])))
            row |= {"gain_by_weather": gain["gain"], "weather_low": gain["gain_low"], "weather_high": gain["gain_high"]}
    done = [run for run in runs if run.folder is not None]
    for name in BASELINES:
        for lead_time in lead_times:
            run = next(run for run in done if lead_time in run.lead_times)
            daily = read_daily(run.folder / "daily_scores.csv")
            if (name, lead_time) in daily:
                chosen = block_days(len(daily[name, lead_time]["n"]))
                rows.append(table_row(run._replace(form=name, training="", seeds=1), lead_time, [daily[name, lead_time]],
                                      daily["damped_persistence", lead_time], metrics_of(run.folder, name, lead_time), chosen))
    errors = {(row["form"], row["lead_time"]): row["mse"] for row in rows if row["training"] == ""}
    for row in rows:
        ceiling = errors.get(("ceiling", row["lead_time"]))
        if ceiling is not None and "mse" in row:
            damped = errors["damped_persistence", row["lead_time"]]
            row["way_to_ceiling"] = (damped - row["mse"]) / (damped - ceiling)
    with xr.open_dataset(done[0].folder / "forecast.nc") as dataset:
        label = dataset.attrs["title"].split(", ", 2)[2].split(", pre-trained")[0]
    return rows, label


def lead_lines(runs: list[StudyRun], rows: list[dict]) -> list[tuple[str, str, dict, dict]]:
    """Lines of the figure "error against lead": the baselines, the best blind network, and what coming weather is worth to it.

    Parameters
    ----------
    runs : list of StudyRun
    rows : list of dict
        From `collect_rows`.

    Returns
    -------
    list of (str, str, dict, dict)
        See `utils.draw_lead.draw_errors_against_lead`.
    """
    lines = [(name, LABELS[name], errors, {}) for name in LABELS if (errors := errors_by_lead(rows, name, ""))]
    told = [run for run in runs if run.training not in ("scratch", "transferred")]
    forms = {run.form for run in told} or {row["form"].split(",")[0] for row in rows}
    blind = sorted({(row["form"], row["training"]) for row in rows
                    if row["training"] in ("scratch", "transferred") and row["form"].split(",")[0] in forms})
    best = min(blind, key=lambda pair: np.mean([error ** 2 for error in errors_by_lead(rows, *pair).values()] or [np.inf]))
    form, network = best[0], best[0].split(",")[0]
    lines.append(("blind", LABELS["blind"].format(form), errors_by_lead(rows, *best), intervals_by_lead(rows, *best)))
    for run in (run for run in told if run.form == network):
        kind = "bound" if run.training == BOUND_TRAINING else "with forecast"
        lines.append((kind, LABELS[kind].format(form), errors_by_lead(rows, form, run.training),
                      intervals_by_lead(rows, form, run.training)))
        if kind == "with forecast":
            lines.append(("bound", LABELS["bound"].format(form), bound_errors(run), {}))
    return lines


def errors_by_lead(rows: list[dict], form: str, training: str) -> dict[int, float]:
    """dict lead time -> RMSE of a row of the table."""
    return {row["lead_time"]: row["rmse"] for row in rows if (row["form"], row["training"]) == (form, training) and "rmse" in row}


def intervals_by_lead(rows: list[dict], form: str, training: str) -> dict[int, tuple[float, float]]:
    """dict lead time -> ends of the 95 % interval of that RMSE."""
    return {row["lead_time"]: (row["rmse_low"], row["rmse_high"]) for row in rows
            if (row["form"], row["training"]) == (form, training) and "rmse_low" in row}


def bound_errors(run: StudyRun) -> dict[int, float]:
    """dict lead time -> RMSE of a run, or of the mean of its networks, told the observed weather."""
    daily = read_daily(run.folder / "daily_scores.csv")
    name = run.form.split("-")[0] + BOUND
    return {lead_time: float(np.sqrt(mean_square(daily[name, lead_time]))) for lead_time in run.lead_times}


def table_row(run: StudyRun, lead_time: int, members: list[dict[str, np.ndarray]], damped: dict[str, np.ndarray],
              own: dict[str, float], chosen: np.ndarray) -> dict:
    """One row: the mean over members of the squared error, and how uncertain it is, by days and by members."""
    mean = average(members)
    low, high = interval(np.sqrt(resampled_mean_square(members, chosen)))
    skill = compare(members, [damped], chosen)
    return {"form": run.form, "training": run.training, "lead_time": lead_time, "seeds": len(members),
            "n": int(mean["n"].sum()), "mse": mean_square(mean), "rmse": float(np.sqrt(mean_square(mean))), "rmse_low": low,
            "rmse_high": high, "rmse_of_seeds": " ".join(f"{np.sqrt(mean_square(member)):.4f}" for member in members),
            "r2": determination(mean), "skill_damped_persistence": skill["gain"], "skill_low": skill["gain_low"],
            "skill_high": skill["gain_high"], **own}


def metrics_of(folder: Path, model: str, lead_time: int) -> dict[str, float]:
    """Cell medians of a forecaster (mean over its members) in a run's metrics.csv."""
    table = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    chosen = [row for row in np.atleast_1d(table) if int(row["lead_time"]) == lead_time
              and (row["forecaster"] == model or row["forecaster"].startswith(f"{model}_seed"))]
    return {name: float(np.mean([row[name] for row in chosen])) for name in ("rmse_cell_median", "r2_cell_median")}


def count_weights(run: StudyRun) -> int:
    """Number of weights of a run's network."""
    folder = run.folder if run.seeds == 1 else next(run.folder.glob("seed*"))
    weights = load_model(folder)["weights"]
    return sum(value.numel() for value in weights.values())


def is_best(row: dict, rows: list[dict]) -> bool:
    """Whether a network's row has the lowest error of its lead time."""
    networks = [other for other in rows if other["lead_time"] == row["lead_time"] and "rmse" in other
                and other["training"] not in ("", BOUND_TRAINING)]
    return (row["training"] not in ("", BOUND_TRAINING) and "rmse" in row
            and row["rmse"] == min(other["rmse"] for other in networks))


HEADER = ("form", "training", "lead, days", "RMSE (95 %), m3 m-3", "MSE", "R2", "skill (95 %)", "way to ceiling",
          "cell median RMSE, R2", "gain by transfer (95 %)", "p", "gain by weather (95 %)", "n", "weights")


def table_cells(row: dict, bold: Callable[[str], str]) -> list[str]:
    """Texts of a row; `bold` marks a text."""
    if "rmse" not in row:
        return [row["form"], row["training"], str(row["lead_time"]), row["remark"]] + [""] * (len(HEADER) - 4)
    gain, of_weather = ("{:+.1f} % ({:+.1f} .. {:+.1f})".format(*(100 * row[name] for name in names)) if names[0] in row else ""
                        for names in (("gain_by_transfer", "gain_low", "gain_high"),
                                      ("gain_by_weather", "weather_low", "weather_high")))
    rmse = f"{row['rmse']:.4f}"
    return [row["form"], row["training"], str(row["lead_time"]),
            f"{bold(rmse)} ({row['rmse_low']:.4f} .. {row['rmse_high']:.4f})", f"{row['mse']:.6f}", f"{row['r2']:.3f}",
            f"{row['skill_damped_persistence']:.3f} ({row['skill_low']:.3f} .. {row['skill_high']:.3f})",
            f"{100 * row['way_to_ceiling']:.0f} %" if "way_to_ceiling" in row else "",
            f"{row['rmse_cell_median']:.4f}, {row['r2_cell_median']:.3f}", gain, f"{row['p']:.3f}" if "p" in row else "",
            of_weather, str(row["n"]), f"{row['weights']:,}" if "weights" in row else ""]


def write_tables(folder: Path, rows: list[dict], title: str) -> None:
    """Write table.csv, table.md and table.tex; the lowest error of each lead time is bold."""
    write_csv(folder / "table.csv", COLUMNS, [{name: row.get(name, "") for name in COLUMNS} for row in rows])
    caption = (f"Forecasts of surface soil moisture, {title}. RMSE and skill (against damped persistence) with 95 % intervals of "
               "a circular block bootstrap (blocks of 30 days; members are drawn again as well); way to ceiling, on the synthetic "
               "twin, = share of the MSE between damped persistence and the best possible blind forecast; gain by transfer = 1 - "
               "MSE transferred / MSE from scratch on the same values; gain by weather = 1 - MSE told the coming weather / MSE of "
               "the transferred network; mean over seeds. Told the observed weather a network is an upper bound, no forecast.")

    def texts(bold):
        return [table_cells(row, bold if is_best(row, rows) else str) for row in rows]

    lines = [caption, "", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(cells) + " |" for cells in texts(lambda text: f"**{text}**")]
    with replacing(folder / "table.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")

    def latex(cells):
        return " & ".join(cell.replace("_", r"\_").replace("%", r"\%") for cell in cells) + r" \\"

    lines = [r"\begin{table}", r"\caption{" + latex([caption])[:-3] + "}", r"\begin{tabular}{" + "l" * len(HEADER) + "}",
             r"\hline", latex(HEADER), r"\hline"]
    lines += [latex(cells) for cells in texts(lambda text: rf"\textbf{{{text}}}")]
    with replacing(folder / "table.tex") as temporary:
        temporary.write_text("\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n")


def print_table(rows: list[dict], title: str) -> None:
    """The table for the terminal: the columns that fit."""
    print(f"\n{title}\n{'form':<28}{'training':<25}{'lead':>4}  {'RMSE':>6}  {'skill':>6}  {'way':>6}  gain by transfer, weather")
    for row in rows:
        if "rmse" not in row:
            print(f"{row['form']:<28}{row['training']:<25}{row['lead_time']:>4}  {row['remark']}")
            continue
        cells = table_cells(row, str)
        print(f"{row['form']:<28}{row['training']:<25}{row['lead_time']:>4}  {row['rmse']:.4f}  "
              f"{row['skill_damped_persistence']:>6.3f}  {cells[7]:>6}  {cells[9]}{cells[11]}")
