"""Scores by part of the record, events and spectra, against numbers known by hand."""
import numpy as np
import pytest
import xarray as xr

from data_processing.errors import UserError
from utils.draw_regions import draw_events, forecasters_of_events, wavelength_ticks
from utils.where_it_helps import event_limits, event_rows, part_coverage, parts_of_the_record, power_spectrum, read_regions, region_rows

LAND = np.array([[True, True], [True, False]])


def test_box_and_mask_file_name_the_cells(tmp_path):
    lat, lon = np.array([10.0, 20.0]), np.array([350.0, 0.0, 10.0])
    # the file's rows and columns stand in another order than the cube's
    xr.Dataset({"basin": (("lon", "lat"), np.array([[2, 0], [0, 1], [0, 0]]))},
               {"lat": lat[::-1], "lon": [10.0, 0.0, -10.0]}).to_netcdf(tmp_path / "mask.nc")
    regions = read_regions(["west:5,15,-12,5", str(tmp_path / "mask.nc")], lat, lon)
    np.testing.assert_array_equal(regions["west"], [[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(regions["basin"], [[False, True, False], [False, False, True]])
    with pytest.raises(UserError, match="give the mask .* on the cube's 2 x 3 cells, 11.00 to 21.00 N"):
        read_regions([str(tmp_path / "mask.nc")], lat + 1, lon)
    with pytest.raises(UserError, match="must be name:south,north,west,east"):
        read_regions(["nowhere"], lat, lon)


def test_parts_tell_season_wetness_and_frost_apart():
    time = np.array(["2020-01-15", "2020-07-15"], "datetime64[D]")
    temperature = np.stack([np.full((2, 2), 270.0), np.full((2, 2), 280.0)])
    mean = np.array([[0.1, 0.2], [0.3, np.nan]])
    parts = parts_of_the_record(time, temperature, mean, LAND, {})
    np.testing.assert_array_equal(parts["DJF"].ravel(), [True, False])
    np.testing.assert_array_equal(parts["JJA"].ravel(), [False, True])
    assert not parts["not frozen"][0].any() and parts["not frozen"][1].all()
    assert [bool(parts[name][0, 0, row, column]) for name, row, column in
            (("dry third", 0, 0), ("middle third", 0, 1), ("wet third", 1, 0))] == [True] * 3


def test_region_scores_and_shares_of_cells():
    random = np.random.default_rng(0)
    observed = random.normal(0.3, 0.05, (40, 1, 2, 2)).astype(np.float32)
    observed[:, :, 1, 1] = 9.0  # sea
    reference = observed + 0.02
    forecast = observed + np.array([[0.01, 0.019], [0.03, 5.0]], np.float32)
    rows = region_rows(observed=observed, forecasts={"net": forecast, "damped_persistence": reference},
                       parts={"all": np.ones((1, 1, 1, 1), bool), "none": np.zeros((1, 1, 1, 1), bool)},
                        lead_times=[3], land=LAND)
    assert [row["forecaster"] for row in rows] == ["net", "damped_persistence"]
    net = rows[0]
    assert net["n"] == 120 and net["cells"] == 3
    assert net["mse"] == pytest.approx((1e-4 + 3.61e-4 + 9e-4) / 3, rel=1e-3)
    assert net["skill_damped_persistence"] == pytest.approx(1 - (1 + 3.61 + 9) / 12, rel=1e-3)
    assert net["cells_improved"] == pytest.approx(2 / 3)  # .010 and .019 are below .020
    variance = observed[:, 0].var(axis=0)[LAND]
    r2, of_reference = 1 - np.array([1e-4, 3.61e-4, 9e-4]) / variance, 1 - 4e-4 / variance
    assert net["cells_r2_up_20_percent"] == np.mean(r2 > 1.2 * of_reference) == pytest.approx(1 / 3)
    assert net["cells_explaining_more"] == pytest.approx(1 / 3)  # a quarter of the error only in the first


def test_r2_of_noise_is_no_success():
    """A fifth of an R2 about 0 is nothing: only the cell that the reference tells something about counts."""
    random = np.random.default_rng(0)
    observed = random.normal(0.3, 0.05, (40, 1, 2, 2)).astype(np.float32)
    mean = np.broadcast_to(observed.mean(axis=0), observed.shape)
    told, better = mean + 0.2 * (observed - mean), mean + 0.3 * (observed - mean)  # R2 0.36 and 0.51
    for cells, share in (([[False] * 2] * 2, None), ([[True, False], [False] * 2], 1.0)):
        rows = region_rows(observed=observed, forecasts={"net": np.where(cells, better, mean + 1e-3 * (observed - mean)),
                                                         "damped_persistence": np.where(cells, told, mean)},
                           parts={"all": np.ones((1, 1, 1, 1), bool)}, lead_times=[3], land=LAND)
        found = rows[0]["cells_r2_up_20_percent"]
        assert np.isnan(found) if share is None else found == share


def test_coverage_is_counted_in_each_part():
    observed = np.full((40, 1, 2, 2), 0.3, np.float32)
    observed[0, 0, 0, 0] = np.nan
    ends = np.stack([observed - 0.1, observed + 0.1])
    ends[0, :20] = 0.31  # the first half lies below its interval
    first = (np.arange(40) < 20)[:, None, None, None]
    coverage = part_coverage(observed, ends, {"all": np.ones((1, 1, 1, 1), bool), "first": first, "last": ~first,
                                              "cell": np.array([[1, 0], [0, 0]], bool)[None, None]}, LAND)
    assert {name: float(share[0]) for name, share in coverage.items() if name != "cell"} == {
        "all": pytest.approx(60 / 119), "first": 0.0, "last": 1.0}
    assert coverage["cell"][0] == pytest.approx(20 / 39)


def test_hits_misses_and_false_alarms():
    history = np.repeat(np.arange(100, dtype=np.float32)[:, None, None], 1, axis=1) / 100
    observed = np.tile(np.array([0.01, 0.02, 0.5, 0.95], np.float32), 10).reshape(40, 1, 1, 1)
    forecast = np.tile(np.array([0.01, 0.5, 0.03, 0.97], np.float32), 10).reshape(40, 1, 1, 1)
    limits = event_limits(history, np.ones(len(history), bool), np.ones((1, 1), bool))
    dry, wet = event_rows(observed=observed, forecasts={"net": forecast}, limits=limits, lead_times=[1])
    assert (dry["hits"], dry["misses"], dry["false_alarms"], dry["hit_rate"], dry["false_alarm_ratio"]) == (10, 10, 10, 0.5, 0.5)
    assert dry["brier_score"] == pytest.approx(0.5)
    assert (wet["hits"], wet["misses"], wet["false_alarms"], wet["brier_score"]) == (10, 0, 0, 0)
    limit = np.float32(np.percentile(history, 10))
    forecast = np.tile(np.array([limit, 0.9, 0.9, 0.9], np.float32), 10).reshape(40, 1, 1, 1)  # at the threshold, far above it
    dry, _ = event_rows(observed=observed, forecasts={"net": forecast}, limits=limits, lead_times=[1],
                        spread=np.full_like(forecast, 0.01))
    assert dry["brier_score"] == pytest.approx((0.5 ** 2 + 1 + 0 + 0) / 4, abs=1e-6)


def test_scores_of_few_events_or_values_are_no_numbers():
    limits = {"dry": np.full((1, 1), 0.1, np.float32)}
    observed = np.full((12, 1, 1, 1), 0.3, np.float32)
    observed[:9] = 0.05
    row, = event_rows(observed=observed, forecasts={"net": observed}, limits=limits, lead_times=[1])
    assert np.isnan(row["hit_rate"]) and row["hits"] == 9 and row["brier_score"] == 0
    row, = event_rows(observed=observed[:9], forecasts={"net": observed[:9]}, limits=limits, lead_times=[1])
    assert np.isnan(row["brier_score"]) and np.isnan(row["brier_skill"])
    rows = region_rows(observed=observed[:9], forecasts={"net": observed[:9] + 0.1, "damped_persistence": observed[:9] + 0.2},
                       parts={"all": np.ones((1, 1, 1, 1), bool)}, lead_times=[1], land=np.ones((1, 1), bool))
    assert rows[0]["n"] == 9 and all(np.isnan(rows[0][name]) for name in ("mse", "rmse", "r2", "skill_damped_persistence"))


def test_cells_without_enough_history_have_no_events():
    values = np.full((3, 1, 1, 1), 0.2, np.float32)
    limits = event_limits(values[:, 0], np.ones(3, bool), np.ones((1, 1), bool))
    assert event_rows(observed=values, forecasts={"net": values}, limits=limits, lead_times=[1]) == []


def test_events_that_are_never_forecast_have_no_marker_and_the_figure_says_so(tmp_path):
    rows = [{"forecaster": name, "lead_time": 3, "event": event, "observed": observed, "hit_rate": hit_rate, "false_alarm_ratio": ratio}
            for event, observed in (("dry", 1775), ("wet", 1762))
            for name, hit_rate, ratio in (("lstm", 0.0, np.nan), ("persistence", 0.1, 0.9))]
    draw_events(tmp_path / "events.png", rows, "LSTM")
    caption = (tmp_path / "events.txt").read_text()
    assert "the fair measure of LSTM is its probability" in caption
    assert "n = 1,775 dry and 1,762 wet observed events." in caption and "ceiling" not in caption
    assert forecasters_of_events(rows) == (["persistence"], ["lstm"])


def test_axis_of_wavelengths_has_round_ticks_that_enclose_all():
    assert wavelength_ticks(165.0, 4301.0) == [5000, 2000, 1000, 500, 200, 150]
    assert wavelength_ticks(103.0, 190.0) == [200, 100]


def test_spectrum_finds_the_wavelength_and_the_loss_of_detail():
    x = np.arange(32)
    wave = np.broadcast_to(np.sin(2 * np.pi * x / 8), (5, 32, 32)).astype(np.float32)
    wavelength, power = power_spectrum(wave, np.ones((32, 32), bool))
    assert wavelength[power.argmax()] == pytest.approx(8)
    _, weaker = power_spectrum(0.5 * wave, np.ones((32, 32), bool))
    np.testing.assert_allclose(weaker, power / 4, rtol=1e-6)
