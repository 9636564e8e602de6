"""Every score against scikit-learn or numbers made by hand; the files that hold them."""

import csv

import netCDF4
import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import mean_squared_error, r2_score

from data_processing import arrays
from utils import evaluation
from utils.evaluation import (
    METRIC_COLUMNS,
    by_init_time,
    cell_areas,
    cell_metrics,
    cell_moments,
    pooled_scores,
    score_forecasters,
    unwrap_longitudes,
)

LAT = np.array([20.0, 30.0, 50.0])
LON = np.array([100.0, 101.0, 103.0, 104.0])


@pytest.fixture
def case():
    """60 samples, 2 lead times, 3 x 4 cells; a tenth is not observed, one cell is sea, one has 5 values."""
    random = np.random.default_rng(3)
    shape = (60, 2, 3, 4)
    cells = random.uniform(0.1, 0.4, shape[2:])
    truth = cells + 0.05 * random.standard_normal(shape)
    observed = np.where(random.random(shape) < 0.1, np.nan, truth).astype(np.float32)
    observed[:, :, 0, 0] = np.nan
    observed[5:, :, 2, 3] = np.nan
    land = np.ones(shape[2:], bool)
    land[0, 0] = False
    climatology = np.broadcast_to(cells + 0.02 * np.sin(np.arange(60) / 9)[:, None, None, None], shape)
    forecasts = {"network": truth + 0.03 * random.standard_normal(shape) + 0.01,
                 "persistence": truth + 0.06 * random.standard_normal(shape),
                 "damped_persistence": truth + 0.05 * random.standard_normal(shape),
                 "climatology": climatology}
    forecasts = {name: values.astype(np.float32) for name, values in forecasts.items()}
    first = np.datetime64("2020-01-01")
    valid_time = first + np.arange(60)[:, None] + np.array([3, 5])
    return {"observed": observed, "forecasts": forecasts, "valid_time": valid_time, "lead_times": [3, 5],
            "lat": LAT, "lon": LON, "land": land, "climatology": forecasts["climatology"]}


def rows_by_name(rows, lead_time=3):
    return {row["forecaster"]: row for row in rows if row["lead_time"] == lead_time}


def test_columns_and_order(case):
    rows = score_forecasters(**case)
    assert [(row["forecaster"], row["lead_time"]) for row in rows] == [
        (name, lead_time) for lead_time in (3, 5) for name in case["forecasts"]]
    assert all(set(row) == set(METRIC_COLUMNS) for row in rows)
    assert [str(rows[0][f"{end}_valid_time"]) for end in ("first", "last")] == ["2020-01-04", "2020-03-03"]


@pytest.mark.parametrize("lead", [0, 1])
def test_pooled_scores_are_those_of_scikit_learn(case, lead):
    rows = rows_by_name(score_forecasters(**case), case["lead_times"][lead])
    scored = np.isfinite(case["observed"][:, lead])
    observed = case["observed"][:, lead][scored].astype(float)
    weight = np.broadcast_to(cell_areas(LAT, LON), scored.shape)[scored]
    for name, forecast in case["forecasts"].items():
        forecast, row = forecast[:, lead][scored].astype(float), rows[name]
        assert row["n"] == scored.sum()
        assert row["mse_pooled"] == pytest.approx(mean_squared_error(observed, forecast), rel=1e-9)
        assert row["rmse_pooled"] == pytest.approx(np.sqrt(mean_squared_error(observed, forecast)), rel=1e-9)
        assert row["r2_pooled"] == pytest.approx(r2_score(observed, forecast), rel=1e-9)
        assert row["r_pooled"] == pytest.approx(np.corrcoef(observed, forecast)[0, 1], rel=1e-9)
        assert row["bias_pooled"] == pytest.approx((forecast - observed).mean(), rel=1e-6)
        weighted_mse = mean_squared_error(observed, forecast, sample_weight=weight)
        assert row["rmse_area_weighted"] == pytest.approx(np.sqrt(weighted_mse), rel=1e-9)
        assert row["r2_area_weighted"] == pytest.approx(r2_score(observed, forecast, sample_weight=weight),
                                                        rel=1e-9)
        for reference in evaluation.REFERENCES:
            other = case["forecasts"][reference][:, lead][scored].astype(float)
            skill = 1 - mean_squared_error(observed, forecast) / mean_squared_error(observed, other)
            assert row[f"skill_{reference}"] == pytest.approx(skill, rel=1e-9, abs=1e-12)


def scores_of_cell(observed, forecast, climatology, reference):
    """Scores of one cell's series by numpy and scikit-learn."""
    seen = np.isfinite(observed)
    observed, forecast, climatology, reference = (
        values[seen].astype(float) for values in (observed, forecast, climatology, reference))
    error = forecast - observed
    return {"rmse": np.sqrt((error ** 2).mean()), "ubrmse": error.std(), "bias": error.mean(),
            "r2": r2_score(observed, forecast), "r": np.corrcoef(observed, forecast)[0, 1],
            "anomaly_r": np.corrcoef(observed - climatology, forecast - climatology)[0, 1],
            "skill_damped_persistence": 1 - (error ** 2).sum() / ((reference - observed) ** 2).sum(),
            "n": seen.sum()}


def test_cell_scores_by_hand(case):
    network, reference = case["forecasts"]["network"], case["forecasts"]["damped_persistence"]
    maps = cell_metrics(observed=case["observed"], forecast=network, reference=reference,
                        climatology=case["climatology"], land=case["land"])
    assert set(maps) == set(evaluation.CELL_METRICS) and maps["n"].dtype == np.int32
    rows = score_forecasters(**case)
    for lead, lead_time in enumerate(case["lead_times"]):
        expected = {}
        for row, column in zip(*np.nonzero(case["land"])):
            if (row, column) == (2, 3):
                continue
            series = (values[:, lead, row, column]
                      for values in (case["observed"], network, case["climatology"], reference))
            for name, value in scores_of_cell(*series).items():
                assert maps[name][lead, row, column] == pytest.approx(value, rel=1e-5, abs=1e-6), name
                expected.setdefault(name, []).append(value)
        assert maps["n"][lead, 0, 0] == 0 and maps["n"][lead, 2, 3] == 5
        for name in set(maps) - {"n"}:
            assert np.isnan(maps[name][lead, [0, 2], [0, 3]]).all()
        scores = rows_by_name(rows, lead_time)["network"]
        for name in ("rmse", "ubrmse", "r2", "r", "anomaly_r"):
            assert scores[f"{name}_cell_median"] == pytest.approx(np.median(expected[name]), rel=1e-9)


def test_perfect_forecast(case):
    perfect = np.nan_to_num(case["observed"], nan=0.7)
    forecasts = {**case["forecasts"], "network": perfect}
    row = rows_by_name(score_forecasters(**{**case, "forecasts": forecasts}))["network"]
    zero = ("mse_pooled", "rmse_pooled", "bias_pooled", "rmse_area_weighted", "rmse_cell_median",
            "ubrmse_cell_median")
    assert all(row[name] == pytest.approx(0, abs=1e-12) for name in zero)
    one = [name for name in METRIC_COLUMNS[5:] if name not in zero]
    assert all(row[name] == pytest.approx(1) for name in one), row


def test_constant_field_has_no_r2_and_no_correlation(case):
    constant = np.full_like(case["observed"], 0.3)
    forecasts = {name: constant + np.float32(0.1) for name in case["forecasts"]}
    rows = score_forecasters(**{**case, "observed": constant, "forecasts": forecasts,
                                "climatology": constant})
    for row in rows:
        assert row["rmse_pooled"] == pytest.approx(0.1, rel=1e-6)
        assert row["bias_pooled"] == pytest.approx(0.1, rel=1e-6)
        for name in ("r2_pooled", "r_pooled", "r2_area_weighted", "r2_cell_median", "r_cell_median",
                     "anomaly_r_cell_median"):
            assert np.isnan(row[name]), name
        assert row["ubrmse_cell_median"] == pytest.approx(0, abs=1e-7)


def test_bias_is_forecast_minus_observed_and_r2_takes_the_observed_spread(case):
    lively = {**case["forecasts"], "network": 0.25 + 3 * (case["observed"] - 0.25)}
    lively["network"] = np.nan_to_num(lively["network"] + 0.02).astype(np.float32)
    row = rows_by_name(score_forecasters(**{**case, "forecasts": lively}))["network"]
    scored = np.isfinite(case["observed"][:, 0])
    observed, forecast = case["observed"][:, 0][scored], lively["network"][:, 0][scored]
    assert row["bias_pooled"] == pytest.approx((forecast - observed).mean(), rel=1e-4)
    assert row["r2_pooled"] == pytest.approx(r2_score(observed, forecast), rel=1e-5)
    assert row["r2_pooled"] < -1 < 0.5 < r2_score(forecast, observed)


def test_what_stands_at_sea_or_is_not_observed_does_not_matter(case):
    poisoned = {**case, "observed": case["observed"].copy(),
                "forecasts": {name: values.copy() for name, values in case["forecasts"].items()}}
    poisoned["observed"][:, :, 0, 0] = 1e6
    missing = np.isnan(case["observed"])
    for number, values in enumerate(poisoned["forecasts"].values()):
        values[missing] = [np.nan, -9999.0, 1e30, np.nan][number]
    assert repr(score_forecasters(**poisoned)) == repr(score_forecasters(**case))


def test_the_order_of_days_does_not_matter_but_their_pairing_does(case):
    order = np.random.default_rng(0).permutation(60)
    shuffled = {**case, "observed": case["observed"][order], "valid_time": case["valid_time"][order],
                "forecasts": {name: values[order] for name, values in case["forecasts"].items()},
                "climatology": case["climatology"][order]}
    for before, after in zip(score_forecasters(**case), score_forecasters(**shuffled)):
        assert before["first_valid_time"] == after["first_valid_time"]
        for name in METRIC_COLUMNS[4:]:
            assert after[name] == pytest.approx(before[name], rel=1e-9, abs=1e-12, nan_ok=True)
    wrong = {**case["forecasts"], "network": case["forecasts"]["network"][order]}
    assert rows_by_name(score_forecasters(**{**case, "forecasts": wrong}))["network"]["r_cell_median"] < 0.5


def test_fault_6_one_prediction_is_not_compared_with_all_labels(case):
    last = {**case["forecasts"], "network": case["forecasts"]["network"][-1:]}
    with pytest.raises(ValueError, match=r"forecast of network has shape \(1, 2, 3, 4\)"):
        score_forecasters(**{**case, "forecasts": last})
    with pytest.raises(ValueError, match="forecast of forecast has shape"):
        cell_metrics(observed=case["observed"], forecast=last["network"], reference=last["persistence"],
                     climatology=case["climatology"], land=case["land"])


def test_a_forecaster_that_leaves_out_values_is_named(case):
    place = tuple(np.argwhere(np.isfinite(case["observed"]))[0])
    case["forecasts"]["persistence"][place] = np.nan
    with pytest.raises(ValueError, match="forecast of persistence is missing .* at 1 of"):
        score_forecasters(**case)


def test_other_mistakes_are_refused(case):
    with pytest.raises(ValueError, match="Add damped_persistence"):
        score_forecasters(**{**case, "forecasts": {name: values for name, values in case["forecasts"].items()
                                                   if name != "damped_persistence"}})
    with pytest.raises(ValueError, match="No target is observed on land at lead time 3"):
        score_forecasters(**{**case, "observed": np.full_like(case["observed"], np.nan)})
    with pytest.raises(ValueError, match="land map"):
        score_forecasters(**{**case, "land": case["land"].T})
    with pytest.raises(ValueError, match="4 latitudes and 3 longitudes"):
        score_forecasters(**{**case, "lat": LON, "lon": LAT})
    with pytest.raises(ValueError, match="valid_time"):
        score_forecasters(**{**case, "valid_time": case["valid_time"][1:]})


@pytest.mark.parametrize("days", [1, 9, 10])
def test_scores_of_fewer_values_than_ten_are_no_numbers(days):
    observed = (0.3 + 0.01 * np.arange(days, dtype=np.float32)).reshape(days, 1, 1, 1)
    forecasts = {name: observed + np.float32(0.2) for name in evaluation.REFERENCES}
    row = score_forecasters(observed=observed, forecasts=forecasts,
                            valid_time=np.datetime64("2020-02-29") + np.arange(days)[:, None],
                            lead_times=[1], lat=[30.0], lon=[100.0], land=np.ones((1, 1), bool),
                            climatology=np.full_like(observed, 0.3))[0]
    assert row["n"] == days
    scores = [row[name] for name in METRIC_COLUMNS[METRIC_COLUMNS.index("n") + 1:]]
    if days < 10:
        assert np.isnan(scores).all()
    else:
        assert np.isfinite(scores).all() and row["rmse_area_weighted"] == pytest.approx(0.2, rel=1e-6)


def test_impossible_forecasts_are_counted():
    forecast = np.full((2, 1, 3, 4), 0.3, np.float32)
    forecast[0, 0, 0] = np.nan
    assert evaluation.describe_impossible("network", forecast) is None
    forecast[1, 0, 1] = [0.0, 1.0, -0.02, 1.5]
    assert evaluation.describe_impossible("network", forecast) == (
        "warning: 2 of 20 forecasts of network lie outside 0..1 m3 m-3: 1 below, 1 above, from -0.02 to 1.5")


def test_areas_come_from_the_bounds():
    area = cell_areas(np.array([-89.0, -45.0, 0.0, 45.0, 89.0]), np.arange(0.0, 360.0, 10.0))
    sphere = 2 * 2 * np.pi
    assert np.radians(area).sum() == pytest.approx(sphere)
    np.testing.assert_allclose(cell_areas([31.0, 20.0], [5.0])[:, 0],
                               [np.sin(np.radians(36.5)) - np.sin(np.radians(25.5)),
                                np.sin(np.radians(25.5)) - np.sin(np.radians(14.5))])


def test_ease_rows_have_equal_area():
    edges = np.degrees(np.arcsin(np.linspace(0.2, 0.8, 13)))
    centres = np.degrees(np.arcsin((np.sin(np.radians(edges[:-1])) + np.sin(np.radians(edges[1:]))) / 2))
    area = cell_areas(centres, [10.0, 11.0])
    assert area[1:-1].std() < 0.02 * area.mean()
    assert np.cos(np.radians(centres))[[0, -1]] @ [1, -1] > 0.3
    np.testing.assert_array_equal(cell_areas(centres[::-1], [10.0, 11.0]), area[::-1])


ACROSS = np.arange(170.0, 191.0, 2.0)
WRAPPED = (ACROSS + 180) % 360 - 180


@pytest.mark.parametrize("lon", [ACROSS, WRAPPED, np.sort(WRAPPED)])
def test_a_box_across_the_antimeridian_is_one_piece(lon):
    order, unwrapped = evaluation.unwrap_longitudes(lon)
    np.testing.assert_allclose(unwrapped, ACROSS)
    np.testing.assert_allclose(lon[order] % 360, unwrapped % 360)
    np.testing.assert_allclose(cell_areas([0.0, 1.0], lon)[0],
                               cell_areas([0.0, 1.0], ACROSS - 170.0)[0])


def test_metrics_file(case, tmp_path):
    rows = score_forecasters(**case)
    rows[0]["r2_cell_median"] = float("nan")
    for name in ("one.csv", "two.csv"):
        evaluation.write_metrics(tmp_path / name, rows)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "two.csv"]
    with open(tmp_path / "one.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == METRIC_COLUMNS and len(table) == 8
    assert table[0]["first_valid_time"] == "2020-01-04" and table[0]["r2_cell_median"] == "nan"
    assert float(table[0]["rmse_pooled"]) == pytest.approx(rows[0]["rmse_pooled"], rel=1e-7)


def test_table_at_the_screen_stars_the_best_forecast_and_no_bound():
    scores = {"convlstm": 0.02, "convlstm_observed_weather_bound": 0.01, "damped_persistence": 0.03, "ceiling": 0.015}
    rows = [dict.fromkeys(METRIC_COLUMNS, 0.5) | {"forecaster": name, "lead_time": lead, "n": 1200, "rmse_pooled": lead * error}
            for name, error in scores.items() for lead in (1, 3)]
    lines = evaluation.format_metrics(rows).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == 2 + 2 * 5 + 3 and lines[-1].startswith("ceiling: ")
    assert lines[2] == "1 day ahead, 1,200 values" and lines[7] == "3 days ahead, 1,200 values"
    errors = [line.split()[1] for line in lines[3:7] + lines[8:12]]
    assert errors == ["0.0200*", "0.0100", "0.0300", "0.0150", "0.0600*", "0.0300", "0.0900", "0.0450"]


def test_table_at_the_screen_has_the_skill_over_the_water_balance():
    rows = [dict.fromkeys(METRIC_COLUMNS, 0.5) | {"forecaster": name, "lead_time": 1, "n": 1200, "mse_pooled": error}
            for name, error in (("lstm", 3e-4), ("damped_persistence", 6e-4), ("climatology", 1e-3), ("water_balance", 4e-4))]
    lines = evaluation.format_metrics(rows).splitlines()
    assert lines[1].split()[-3:] == ["damped", "climat.", "water"] and lines[3].split()[-3:] == ["0.500*", "0.700*", "0.250*"]


def test_forecasts_that_are_equal_in_the_digits_shown_share_the_star():
    rows = [dict.fromkeys(METRIC_COLUMNS, 0.5) | {"forecaster": name, "lead_time": 1, "n": 1200, "rmse_pooled": error}
            for name, error in (("lstm", 0.08651), ("damped_persistence", 0.08654), ("climatology", 0.0866))]
    assert [line.split()[1] for line in evaluation.format_metrics(rows).splitlines()[3:6]] == ["0.0865*", "0.0865*", "0.0866"]


def test_a_failed_write_leaves_the_old_file(case, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("old")
    with pytest.raises(KeyError):
        evaluation.write_metrics(path, [{"forecaster": "incomplete"}])
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_forecast_file(case, tmp_path):
    init_time = np.datetime64("2020-02-26") + np.arange(60)
    arguments = {"forecast": case["forecasts"]["network"], "observed": case["observed"],
                 "init_time": init_time, "lead_times": [3, 5], "lat": LAT, "lon": LON,
                 "attributes": {"title": "synthetic twin", "run": "r"}}
    for name in ("one.nc", "two.nc"):
        evaluation.write_forecast(tmp_path / name, **arguments)
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "two.nc").read_bytes()
    with xr.open_dataset(tmp_path / "one.nc", decode_timedelta=False) as file:
        assert file["forecast"].dims == ("init_time", "lead_time", "lat", "lon")
        np.testing.assert_array_equal(file["observed"], case["observed"])
        np.testing.assert_array_equal(file["forecast"], case["forecasts"]["network"])
        np.testing.assert_array_equal(file["valid_time"].values.astype("M8[D]"),
                                      init_time[:, None] + np.array([3, 5]))
        assert "valid_time" in file.coords and file["valid_time"].attrs["standard_name"] == "time"
        assert file["lead_time"].values.tolist() == [3, 5] and file["lead_time"].attrs["units"] == "days"
        assert file["forecast"].attrs["units"] == "m3 m-3" and file.attrs["title"] == "synthetic twin"
        assert file["forecast"].encoding["zlib"] and np.isnan(file["forecast"].encoding["_FillValue"])
        assert file["forecast"].attrs["standard_name"] == "volume_fraction_of_condensed_water_in_soil"
    with pytest.raises(ValueError, match="observed has shape"):
        evaluation.write_forecast(tmp_path / "no.nc", **{**arguments, "observed": case["observed"][1:]})


def test_cell_metrics_file(case, tmp_path):
    maps = cell_metrics(observed=case["observed"], forecast=case["forecasts"]["network"],
                        reference=case["forecasts"]["damped_persistence"], climatology=case["climatology"],
                        land=case["land"])
    evaluation.write_cell_metrics(tmp_path / "cells.nc", maps, LAT, LON, [3, 5], {"title": "synthetic twin"})
    with xr.open_dataset(tmp_path / "cells.nc", decode_timedelta=False) as file:
        assert set(file.data_vars) == set(maps)
        for name, values in maps.items():
            np.testing.assert_array_equal(file[name], values)
        assert file["rmse"].dims == ("lead_time", "lat", "lon") and file["rmse"].attrs["units"] == "m3 m-3"
        assert file["n"].dtype.kind == "i"


# ---------------------------------------------------------------------------------------- what mutation testing found untested
SOIL_MOISTURE = {"standard_name": "volume_fraction_of_condensed_water_in_soil", "units": "m3 m-3"}
ABOUT_GRID = {
    "lead_time": {"standard_name": "forecast_period", "long_name": "target date - last input date", "units": "days"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}}
ABOUT_FORECAST = ABOUT_GRID | {
    "init_time": {"standard_name": "forecast_reference_time", "long_name": "last input day", "units": "days since 1970-01-01",
                  "calendar": "proleptic_gregorian"},
    "valid_time": {"standard_name": "time", "long_name": "day that is forecast", "units": "days since 1970-01-01",
                   "calendar": "proleptic_gregorian"},
    "quantile_level": {"units": "1", "long_name": "probability"},
    "forecast": SOIL_MOISTURE | {"long_name": "forecast surface soil moisture", "coordinates": "valid_time"},
    "observed": SOIL_MOISTURE | {"long_name": "observed surface soil moisture", "coordinates": "valid_time"},
    "spread": {"units": "m3 m-3", "long_name": "predicted standard deviation of the forecast error", "coordinates": "valid_time"},
    "quantile": SOIL_MOISTURE | {"long_name": "quantile of the predicted surface soil moisture", "coordinates": "valid_time"}}
ABOUT_METRICS = ABOUT_GRID | {
    "rmse": {"long_name": "root mean squared error", "units": "m3 m-3"},
    "ubrmse": {"long_name": "root mean squared error without the bias", "units": "m3 m-3"},
    "bias": {"long_name": "mean of forecast minus observation", "units": "m3 m-3"},
    "r2": {"long_name": "coefficient of determination in time, 1 - SSE / SST", "units": "1"},
    "r": {"long_name": "correlation in time of forecast and observation", "units": "1"},
    "anomaly_r": {"long_name": "correlation in time of the departures from climatology", "units": "1"},
    "skill_damped_persistence": {"long_name": "1 - MSE / MSE of damped persistence", "units": "1"},
    "n": {"long_name": "number of values scored", "units": "1"}}


def header(path):
    """Attributes of the file, of each variable without its fill value, the fill values, and the chunks."""
    with netCDF4.Dataset(path) as file:
        about = {name: dict(variable.__dict__) for name, variable in file.variables.items()}
        fill_values = {name: own.pop("_FillValue") for name, own in about.items() if "_FillValue" in own}
        return dict(file.__dict__), about, fill_values, {name: variable.chunking() for name, variable in file.variables.items()}


def write_whole_forecast(case, path):
    """A forecast.nc with all that it may hold."""
    values = case["forecasts"]["network"]
    evaluation.write_forecast(path, forecast=values, observed=case["observed"], init_time=np.datetime64("2020-02-26") + np.arange(60),
                              lead_times=[3, 5], lat=LAT, lon=LON, attributes={"title": "synthetic twin"}, spread=values,
                              quantiles={0.05: values - 1, 0.95: values + 1})


def test_header_of_a_forecast_file(case, tmp_path):
    write_whole_forecast(case, tmp_path / "forecast.nc")
    of_file, about, fill_values, _ = header(tmp_path / "forecast.nc")
    assert of_file == {"Conventions": "CF-1.8", "title": "synthetic twin"}
    assert about == ABOUT_FORECAST
    assert set(fill_values) == {"forecast", "observed", "spread", "quantile"} and np.isnan(list(fill_values.values())).all()
    with netCDF4.Dataset(tmp_path / "forecast.nc") as file:
        assert file.data_model == "NETCDF4"
        assert file["quantile"].dimensions == ("quantile_level", "init_time", "lead_time", "lat", "lon")
        np.testing.assert_array_equal(file["quantile"][1], case["forecasts"]["network"] + 1)
        assert file["lon"].dtype == file["lat"].dtype == "f8"
        assert all(file[name].dimensions == (name,) for name in ("init_time", "lead_time", "lat", "lon", "quantile_level"))


def test_header_of_a_file_of_cell_metrics(case, tmp_path):
    maps = cell_metrics(observed=case["observed"], forecast=case["forecasts"]["network"],
                        reference=case["forecasts"]["damped_persistence"], climatology=case["climatology"], land=case["land"])
    evaluation.write_cell_metrics(tmp_path / "cells.nc", maps, LAT, LON, [3, 5], {"title": "synthetic twin"})
    of_file, about, fill_values, _ = header(tmp_path / "cells.nc")
    assert of_file == {"Conventions": "CF-1.8", "title": "synthetic twin"}
    assert about == ABOUT_METRICS
    assert set(fill_values) == set(maps) - {"n"} and np.isnan(list(fill_values.values())).all()


def test_each_map_of_a_large_forecast_is_a_chunk(case, tmp_path, monkeypatch):
    write_whole_forecast(case, tmp_path / "small.nc")
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * case["observed"].size - 1)
    write_whole_forecast(case, tmp_path / "large.nc")
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * case["observed"].size)
    write_whole_forecast(case, tmp_path / "just.nc")
    small, large, just = (header(tmp_path / f"{name}.nc")[3]["forecast"] for name in ("small", "large", "just"))
    assert large == [1, 1, 3, 4] and small == just != large


@pytest.mark.parametrize("lon, order, unwrapped", [
    ([170, -170, -150], [0, 1, 2], [170, 190, 210]),  # across the antimeridian
    ([350, 0, 10], [0, 1, 2], [-10, 0, 10]),
    ([530, 100, 101], [1, 2, 0], [100, 101, 170]),
    ([45, 135, 225, 315], [2, 3, 0, 1], [-135, -45, 45, 135]),  # the whole globe, from the antimeridian on
    ([45, 135, 225, 315.0005], [2, 3, 0, 1], [-135, -44.9995, 45, 135]),  # but for rounding
    ([45, 135, 225, 315.01], [3, 0, 1, 2], [-44.99, 45, 135, 225])])
def test_longitudes_run_from_the_widest_gap(lon, order, unwrapped):
    found, ascending = unwrap_longitudes(np.array(lon))
    assert found.tolist() == order
    np.testing.assert_allclose(ascending, unwrapped, atol=1e-9)


def test_forecasts_by_init_time_begin_with_the_longest_lead_time():
    values = np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1)
    three = by_init_time(values.repeat(2, 1)[:, :3], np.datetime64("2020-01-10") + np.arange(4), [1, 2, 4])[0]
    assert [str(three[0]), str(three[-1])] == ["2020-01-06", "2020-01-12"]
    init_time, forecasts = by_init_time(values, np.datetime64("2020-01-10") + np.arange(4), [3, 5])
    assert [str(init_time[0]), str(init_time[-1])] == ["2020-01-05", "2020-01-10"] and len(init_time) == len(forecasts) == 6
    found = forecasts[slice(0, 6)][:, :, 0, 0]
    np.testing.assert_array_equal(found, [[np.nan, 1], [np.nan, 3], [0, 5], [2, 7], [4, np.nan], [6, np.nan]])


def test_cell_metrics_refuse_a_land_map_of_another_grid(case):
    with pytest.raises(ValueError, match="land map's cells"):
        cell_metrics(observed=case["observed"][0], forecast=case["observed"][0], reference=case["observed"][0],
                     climatology=case["observed"][0], land=case["land"])


@pytest.mark.parametrize("spread, is_number", [(1e-6, True), (1e-11, False)])
def test_what_counts_as_constant(spread, is_number):
    """1e-9 m3 m-3: below it neither R2 nor correlation is a number."""
    observed = spread * np.tile([1.0, -1.0], 10)[:, None, None]
    scores = pooled_scores(cell_moments(observed, 0.9 * observed, np.ones((1, 1), bool)))
    assert np.isfinite(scores["r2"]) == np.isfinite(scores["r"]) == is_number
    if is_number:
        assert scores["r2"] == pytest.approx(0.99) and scores["r"] == pytest.approx(1.0)


def test_cells_with_one_value_are_pooled_with_it():
    observed = np.full((1, 4, 5), 0.3)
    scores = pooled_scores(cell_moments(observed, observed + 0.1, np.ones((4, 5), bool)))
    assert scores["bias"] == pytest.approx(0.1) and scores["rmse"] == pytest.approx(0.1)


def test_skill_against_a_perfect_reference_is_no_number(case):
    case["forecasts"]["persistence"] = np.nan_to_num(case["observed"], nan=0.2)
    rows = rows_by_name(score_forecasters(**case))
    assert np.isnan(rows["network"]["skill_persistence"]) and np.isfinite(rows["network"]["skill_climatology"])


def test_daily_scores_are_sums_of_each_day(case):
    rows = evaluation.daily_scores(**{name: case[name] for name in ("observed", "forecasts", "valid_time", "lead_times", "land")})
    assert [(row["forecaster"], row["lead_time"], row["valid_time"]) for row in rows] == [
        (name, lead_time, day) for name in case["forecasts"]
        for lead, lead_time in enumerate((3, 5)) for day in case["valid_time"][:, lead]]
    assert all(tuple(row) == evaluation.DAILY_COLUMNS for row in rows)
    row = rows[60 + 7]  # network, 5 days, the eighth day
    observed, forecast = case["observed"][7, 1].astype(float), case["forecasts"]["network"][7, 1].astype(float)
    known = np.isfinite(observed)
    assert row["n"] == known.sum() and row["observed_sum"] == pytest.approx(observed[known].sum())
    assert row["observed_square"] == pytest.approx((observed[known] ** 2).sum())
    assert row["squared_error"] == pytest.approx(((forecast - observed)[known] ** 2).sum(), rel=1e-5)
