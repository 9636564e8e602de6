"""What must hold for any record, grid, mask and setting: `hypothesis` looks for one where it does not.

A few examples of each, always the same; thousands that differ from run to run:
`python -m pytest tests/test_properties.py --hypothesis-profile slow`.
"""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import netCDF4
import numpy as np
import pytest
import scipy.stats
import torch
from conftest import day_axis
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score

from data_processing.cube import PRECIPITATION, SOIL_MOISTURE, VARIABLES
from data_processing.errors import UserError
from data_processing.gaps import CARRIED, NO_VALUE, antecedent_means, carry_forward
from data_processing.preparing import Plan, Rule, Source, prepare
from data_processing.regrid import METRES_PER_DEGREE_EAST, Grid, Regridder, axes_grid, metres_north
from data_processing.scaling import FEWEST_VALUES, SMALLEST_SPREAD, fit_scaler
from data_processing.smap_l4 import PRODUCTS, read_granules
from data_processing.splits import audit_rows, parse_date, split_days
from data_processing.surroundings import Surroundings, block_sums, block_values
from data_processing.twin_files import granule_name, write_granule
from data_processing.windows import gather, window_view
from utils import baselines
from utils.batches import blocks_about
from utils.bootstrap import daily_series, determination, mean_square
from utils.evaluation import (
    CONSTANT_SPREAD,
    MINIMUM_CELL_VALUES,
    MINIMUM_VALUES,
    REFERENCES,
    by_init_time,
    cell_areas,
    cell_metrics,
    cell_moments,
    daily_scores,
    pooled_scores,
    score_forecasters,
    unwrap_longitudes,
)

seeds = st.integers(0, 2 ** 32 - 1).map(np.random.default_rng)
shares = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
sizes = st.integers(1, 5)


def record(random, days, rows, columns, missing=0.0):
    """Float32 [days, 3, rows, columns]: showers, soil moisture, temperature; a share of all values is missing."""
    shape = days, rows, columns
    values = np.stack([random.gamma(0.3, 10, shape), random.uniform(0, 0.6, shape), random.normal(285, 10, shape)], axis=1)
    values[random.random(values.shape) < missing] = np.nan
    return values.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- windows
@given(random=seeds, days=st.integers(1, 40), input_days=st.integers(1, 50), lead_time=st.integers(1, 30), rows=sizes,
       columns=sizes, missing=shares, as_tensor=st.booleans())
def test_a_window_is_the_days_up_to_lead_time_before_its_target(random, days, input_days, lead_time, rows, columns, missing,
                                                                as_tensor):
    assume(lead_time < days)
    values = record(random, days, rows, columns, missing)
    padded = np.concatenate([np.full((input_days - 1, *values.shape[1:]), np.nan, np.float32), values])
    view = window_view(torch.from_numpy(padded) if as_tensor else padded, input_days)
    assert view.shape == (days, input_days, 3, rows, columns)
    targets = random.integers(lead_time, days, size=random.integers(1, 6))
    cells = random.permutation(rows * columns)[:random.integers(1, rows * columns + 1)]
    whole, some = gather(view, targets - lead_time), gather(view, targets - lead_time, torch.from_numpy(cells))
    for target, window, cut in zip(targets, whole.numpy(), some.numpy()):
        for number in range(input_days):
            day = target - lead_time - (input_days - 1 - number)
            expected = values[day] if day >= 0 else np.full(values.shape[1:], np.nan, np.float32)
            np.testing.assert_array_equal(window[number], expected)
            np.testing.assert_array_equal(cut[number], expected.reshape(3, -1)[:, cells])


@given(days=st.integers(1, 20), input_days=st.integers(-3, 30), index=st.integers(-30, 30))
def test_windows_outside_the_record_are_refused(days, input_days, index):
    values = np.zeros((days, 3, 1, 1), np.float32)
    if not 1 <= input_days <= days:
        with pytest.raises(ValueError, match=f"input_days is {input_days}, the array has {days} days"):
            window_view(values, input_days)
        return
    view = window_view(values, input_days)
    if 0 <= index < len(view):
        assert gather(view, [0, index]).shape == (2, input_days, 3, 1, 1)
    else:
        with pytest.raises(ValueError if index < 0 else IndexError):
            gather(view, [0, index])


# -------------------------------------------------------------------------------------------------------- splits
@st.composite
def split_settings(draw):
    """A record of any length, and settings of which some make no sense."""
    days = draw(st.one_of(st.integers(1, 120), st.integers(121, 4000)))
    time = day_axis("2010-01-01", days)
    lead_times = tuple(sorted(draw(st.sets(st.integers(0, 31), min_size=1, max_size=3))))
    number = st.one_of(st.none(), st.integers(-1, 60), st.integers(-1, days + 5))
    date = st.one_of(st.none(), st.integers(-3, days + 2).map(lambda day: str(time[0] + day)))
    settings = {"input_days": draw(st.integers(0, 60)), "embargo_days": draw(number)}
    for name, choice in (("test_days", number), ("train_days", number), ("test_from", date), ("train_until", date)):
        if draw(st.booleans()):
            settings[name] = draw(choice)
    return time, lead_times, settings


@given(case=split_settings())
def test_splits_are_disjoint_ordered_and_apart_or_refused(case):
    time, lead_times, settings = case
    try:
        splits = split_days(time, lead_times=lead_times, **settings)
    except UserError as error:
        assert "\n" not in str(error)
        return
    lead_time = lead_times[-1]
    embargo = lead_time if settings["embargo_days"] is None else settings["embargo_days"]
    for targets in (splits.train, splits.validation, splits.test):
        assert targets.size and (np.diff(targets) == 1).all()
    assert lead_time <= splits.train[0] <= splits.train[-1] < splits.validation[0] <= splits.validation[-1] < splits.test[0]
    assert splits.validation[0] - splits.train[-1] - 1 >= embargo
    assert splits.time[-1] == time[-1] == splits.time[splits.test[-1]]
    assert splits.time[splits.validation[-1]] == splits.train_until < splits.test_from
    if settings.get("train_until") is None:
        assert splits.test[0] - splits.validation[-1] - 1 == embargo
    else:
        assert str(splits.train_until) == settings["train_until"]
    if settings.get("test_from") is not None:
        assert str(splits.test_from) == settings["test_from"]
    if settings.get("test_days") is not None:
        assert splits.test.size == settings["test_days"]
    if settings.get("train_days") is not None:
        assert splits.history_days.sum() == settings["train_days"]
    else:
        assert splits.time[0] == time[0]
    training_days = splits.history_days.sum()
    assert splits.validation.size == (365 if training_days >= 4 * 365 else min(max(training_days // 6, 30), training_days // 3))
    assert splits.fit_days.sum() == splits.train[-1] + 1
    rows = audit_rows(splits)
    assert [row["windows"] for row in rows] == [splits.train.size, splits.validation.size, splits.test.size]
    assert all(row["first_input"] <= row["last_input"] < row["last_target"] for row in rows)


@pytest.mark.parametrize("setting", ["test_days", "train_days", "embargo_days", "input_days"])
@given(number=st.integers(4001))
@example(number=10 ** 12)
@example(number=10 ** 30)
def test_a_huge_number_of_days_is_refused(setting, number):
    with pytest.raises(UserError, match=f"{number}"):
        split_days(day_axis("2010-01-01", 4000), lead_times=(3,), **({"input_days": 3} | {setting: number}))


@given(text=st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]{1,5}(-[0-9]{1,2}){0,2}([T ][0-9:]{0,5})?", fullmatch=True)))
@example(text="2016")  # once taken for 2016-01-01
@example(text="2016-04")
@example(text="today")
def test_only_a_whole_date_is_a_date(text):
    try:
        date = parse_date(text, "train_until")
    except UserError as error:
        assert "expected a date such as 2016-04-01" in str(error)
    else:
        assert str(date) == text or str(date).replace("-", "") == text


# ------------------------------------------------------------------------------------------------------- scaling
@st.composite
def scaling_cases(draw):
    random, days, rows, columns = draw(seeds), draw(st.integers(2, 40)), draw(sizes), draw(sizes)
    values = record(random, days, rows, columns, draw(st.sampled_from([0.0, 0.1, 0.5])))
    land = random.random((rows, columns)) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    chosen = random.random(days) < draw(st.sampled_from([0.3, 1.0]))
    return values, land, chosen, draw(st.sampled_from(["global", "cell"]))


def fitted(values, land, chosen, kind):
    """The scaler, or None where a variable has no value to fit on."""
    try:
        return fit_scaler(values, land, chosen, day_axis("2015-04-01", len(values)), kind=kind, source="any")
    except UserError as error:
        assert "no day to fit" in str(error) or np.isnan(values[chosen][:, :, land]).all(axis=(0, 2)).any()


@given(case=scaling_cases())
def test_a_scaler_has_the_moments_of_its_days_and_land_alone(case):
    values, land, chosen, kind = case
    scaler = fitted(*case)
    assume(scaler is not None)
    poisoned = values.copy()
    poisoned[~chosen] = poisoned[:, :, ~land] = 1e9
    again = fitted(poisoned, land, chosen, kind)
    np.testing.assert_array_equal(scaler.mean, again.mean)
    np.testing.assert_array_equal(scaler.spread, again.spread)
    values = values[chosen].astype(np.float64)
    values[:, PRECIPITATION] = np.log1p(values[:, PRECIPITATION])
    for channel, name in enumerate(VARIABLES):
        series = values[:, channel]
        known = series[:, land][~np.isnan(series[:, land])]
        overall, overall_spread = known.mean(), max(known.std(), SMALLEST_SPREAD[name])
        if kind == "global":
            assert scaler.mean[channel] == pytest.approx(overall, rel=1e-5, abs=1e-6)
            assert scaler.spread[channel] == pytest.approx(overall_spread, rel=1e-5)
            continue
        np.testing.assert_allclose(scaler.mean[channel][~land], overall, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scaler.spread[channel][~land], overall_spread, rtol=1e-5)
        for row, column in np.argwhere(land):
            cell = series[:, row, column]
            cell = cell[~np.isnan(cell)]
            mean = cell.mean() if cell.size >= FEWEST_VALUES else overall
            assert scaler.mean[channel, row, column] == pytest.approx(mean, rel=1e-5, abs=1e-6)
            assert scaler.spread[channel, row, column] >= np.float32(SMALLEST_SPREAD[name])


@given(case=scaling_cases(), as_tensor=st.booleans(), random=seeds)
def test_scaling_is_undone_and_the_same_in_place_and_for_some_cells(case, as_tensor, random):
    values, land, _, _ = case
    scaler = fitted(*case)
    assume(scaler is not None)
    x = torch.from_numpy(values.copy()) if as_tensor else values.copy()
    scaled = scaler.scale(x)
    np.testing.assert_array_equal(x, values)
    assert type(scaled) is type(x) and scaled.dtype == x.dtype and scaled.shape == x.shape
    np.testing.assert_array_equal(np.isnan(np.asarray(scaled)), np.isnan(values))
    np.testing.assert_allclose(scaler.unscale(scaled), values, rtol=2e-4, atol=2e-4)
    np.testing.assert_array_equal(scaler.scale_soil_moisture(x[:, SOIL_MOISTURE]), scaled[:, SOIL_MOISTURE])
    np.testing.assert_allclose(scaler.unscale_soil_moisture(scaled[:, SOIL_MOISTURE]), values[:, SOIL_MOISTURE], atol=1e-5)
    cells = random.permutation(land.size)[:random.integers(1, land.size + 1)]
    some = values.reshape(len(values), 3, 1, -1)[..., cells]
    np.testing.assert_array_equal(scaler.of_cells(cells).scale(torch.from_numpy(some) if as_tensor else some),
                                  scaled.reshape(len(values), 3, 1, -1)[..., cells])
    returned = scaler.scale_in_place(x)
    assert returned is x
    np.testing.assert_array_equal(x, scaled)


# ---------------------------------------------------------------------------------------------------------- gaps
def parts_of(length, random):
    """A length cut at random places: slices, some of them empty."""
    cuts = np.sort(random.integers(0, length + 1, size=random.integers(0, 5)))
    return [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, length])]


@given(random=seeds, days=st.integers(1, 40), rows=sizes, missing=shares, max_gap_days=st.sampled_from([0, 1, 3, 10, 254]))
def test_carried_values_are_the_last_observed_ones_also_when_read_in_pieces(random, days, rows, missing, max_gap_days):
    values = record(random, days, rows, 2, missing)
    carried, age = carry_forward(values, max_gap_days)
    for channel, name in enumerate(VARIABLES):
        longest = max_gap_days if name in CARRIED else 0
        for day, row in np.ndindex(days, rows):
            seen = np.flatnonzero(~np.isnan(values[max(0, day - longest):day + 1, channel, row, 0])) + max(0, day - longest)
            if seen.size:
                assert carried[day, channel, row, 0] == values[seen[-1], channel, row, 0]
                assert age[day, channel, row, 0] == day - seen[-1]
            else:
                assert np.isnan(carried[day, channel, row, 0]) and age[day, channel, row, 0] == NO_VALUE
    before, found = None, []
    for part in parts_of(days, random):
        found.append(carry_forward(values[part], max_gap_days, before))
        if part.stop > part.start:
            before = found[-1][0][-1], found[-1][1][-1]
    np.testing.assert_array_equal(np.concatenate([piece[0] for piece in found]), carried)
    np.testing.assert_array_equal(np.concatenate([piece[1] for piece in found]), age)


@given(random=seeds, days=st.integers(1, 60), rows=sizes, missing=shares)
def test_antecedent_means_lie_within_what_was_seen_also_when_read_in_pieces(random, days, rows, missing):
    values = record(random, days, rows, 2, missing)
    means, _ = antecedent_means(values)
    before, found = None, []
    for part in parts_of(days, random):
        piece, before = antecedent_means(values[part], before)
        found.append(piece)
    np.testing.assert_array_equal(np.concatenate(found), means)
    lowest = np.fmin.accumulate(values, axis=0)
    highest = np.fmax.accumulate(values, axis=0)
    np.testing.assert_array_equal(np.isnan(means), np.isnan(lowest))
    known = ~np.isnan(means)
    assert (means[known] >= lowest[known] * (1 - 1e-5)).all() and (means[known] <= highest[known] * (1 + 1e-5)).all()


# -------------------------------------------------------------------------------------------------- surroundings
@given(random=seeds, rows=st.integers(1, 9), columns=st.integers(1, 9), block=st.tuples(sizes, sizes), missing=shares,
       share_of_land=shares)
def test_blocks_are_means_of_their_known_land_cells(random, rows, columns, block, missing, share_of_land):
    carried, age = carry_forward(record(random, 3, rows, columns, missing), 2)
    land = random.random((rows, columns)) < share_of_land
    values, freshness = block_values(carried, age, land, *block)
    logarithm = carried.astype(np.float64)
    logarithm[:, PRECIPITATION] = np.log1p(logarithm[:, PRECIPITATION])
    for row, column in np.ndindex(*values.shape[2:]):
        part = np.s_[row * block[0]:(row + 1) * block[0], column * block[1]:(column + 1) * block[1]]
        for day, channel in np.ndindex(3, 3):
            known = land[part] & (age[day, channel][part] != NO_VALUE)
            weight = 1 / (1.0 + age[day, channel][part][known])
            assert freshness[day, channel, row, column] == pytest.approx(weight.sum() / np.prod(block), rel=1e-5)
            if not known.any():
                assert np.isnan(values[day, channel, row, column])
                continue
            mean = np.average(logarithm[day, channel][part][known], weights=weight)
            expected = np.expm1(mean) if channel == PRECIPITATION else mean
            assert values[day, channel, row, column] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    total = block_sums(land[None].astype(np.float64), *block)
    assert total.shape[1:] == values.shape[2:] and total.sum() == land.sum()


@given(random=seeds, rows=sizes, columns=sizes, missing=shares)
def test_blocks_of_one_cell_are_the_cells_and_constants_stay(random, rows, columns, missing):
    carried, age = carry_forward(record(random, 3, rows, columns, missing), 2)
    land = random.random((rows, columns)) < 0.7
    values, _ = block_values(carried, age, land, 1, 1)
    np.testing.assert_allclose(values, np.where(land, carried, np.nan), rtol=1e-4, atol=1e-5)
    constant = np.where(np.isnan(carried), np.nan, np.float32([3.0, 0.3, 280.0])[:, None, None]).astype(np.float32)
    values, _ = block_values(constant, age, land, 2, 3)
    known = ~np.isnan(values)
    np.testing.assert_allclose(values[known], np.broadcast_to(np.array([3.0, 0.3, 280.0])[:, None, None], values.shape)[known],
                               rtol=1e-5)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), block=st.tuples(sizes, sizes), random=seeds)
def test_weights_of_the_blocks_about_a_cell_add_up_to_one_and_hold_its_place(rows, columns, block, random):
    assume(block != (1, 1))
    shape = -(-rows // block[0]), -(-columns // block[1])
    around = Surroundings(None, None, np.ones(shape, bool), *block, (80.0, 80.0))
    cells = random.permutation(rows * columns)
    blocks, weight = blocks_about(cells, (rows, columns), around)
    assert np.unique(blocks).size == blocks.size and 0 <= blocks.min() <= blocks.max() < shape[0] * shape[1]
    assert weight.shape == (cells.size, blocks.size) and (weight >= 0).all()
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-6)
    for place, size, count, of_block in zip(np.divmod(cells, columns), block, shape, np.divmod(blocks, shape[1])):
        centre = np.clip((place + 0.5) / size - 0.5, 0, count - 1)  # where the cell lies among the blocks
        np.testing.assert_allclose(weight @ of_block, centre, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- regridding
def uneven_axis(random, low, high, cells):
    """Edges and centres of cells of any widths between two bounds."""
    steps = random.uniform(0.05, 1, cells)
    start, stop = np.sort(random.uniform(low, high, 2))
    edges = start + (max(stop - start, 0.01 * (high - low))) * np.append(0, np.cumsum(steps)) / steps.sum()
    edges = np.clip(edges, low, None) - max(0.0, edges[-1] - high)
    return edges, (edges[1:] + edges[:-1]) / 2


def uneven_grid(random, rows, columns):
    lat_edges, lat = uneven_axis(random, -88.0, 88.0, rows)
    lon_edges, lon = uneven_axis(random, 0.0, 150.0, columns)
    return Grid(lat, lon, lat_edges, lon_edges)


def common_lengths(target_edges, source_edges):
    return np.clip(np.minimum(target_edges[1:, None], source_edges[None, 1:])
                   - np.maximum(target_edges[:-1, None], source_edges[None, :-1]), 0, None)


@given(random=seeds, source_shape=st.tuples(sizes, sizes), target_shape=st.tuples(sizes, sizes), missing=shares,
       turns=st.integers(-2, 2), least=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_regridding_keeps_integrals_bounds_and_constants(random, source_shape, target_shape, missing, turns, least):
    source, target = uneven_grid(random, *source_shape), uneven_grid(random, *target_shape)
    turned = target._replace(lon=target.lon + 360 * turns, lon_edges=target.lon_edges + 360 * turns)
    common = np.einsum("Hh,Ww->HWhw", common_lengths(metres_north(target.lat_edges), metres_north(source.lat_edges)),
                       common_lengths(target.lon_edges, source.lon_edges) * METRES_PER_DEGREE_EAST)
    if not common.any():
        with pytest.raises(UserError, match="lie outside those of the source"):
            Regridder(source, turned)
        return
    values = np.where(random.random(source_shape) < missing, np.nan, random.normal(0, 10, source_shape))
    valid = ~np.isnan(values)
    valid_area = common[..., valid].sum(axis=-1)
    area = np.diff(metres_north(target.lat_edges))[:, None] * np.diff(target.lon_edges) * METRES_PER_DEGREE_EAST
    result = Regridder(source, turned, min_valid_fraction=0)(values)
    found = ~np.isnan(result)
    assert found[valid_area > 1e-6 * area].all() and not found[valid_area == 0].any()
    expected = (common[..., valid] * values[valid]).sum(axis=-1)
    np.testing.assert_allclose(np.where(found, result * valid_area, 0), expected, rtol=1e-6,
                               atol=1e-7 * np.abs(values[valid]).max(initial=0) * area.max())
    held = common > 1e-9 * area[:, :, None, None]
    for row, column in np.argwhere(found & (valid_area > 1e-6 * area)):
        inside = values[held[row, column] & valid]
        assert inside.min() - 1e-5 <= result[row, column] <= inside.max() + 1e-5
    strict = Regridder(source, turned, min_valid_fraction=least)
    clear = np.abs(valid_area / area - least) > 1e-6
    assert ((~np.isnan(strict(values)))[clear] == ((valid_area / area > least) & found)[clear]).all()
    constant = strict(np.where(valid, 0.3, np.nan))
    np.testing.assert_allclose(constant[~np.isnan(constant)], 0.3, rtol=1e-12)


@given(random=seeds, rows=st.integers(1, 8), columns=st.integers(1, 8), kind=st.sampled_from(["any", "even"]))
def test_edges_enclose_their_centres_and_leave_no_hole(random, rows, columns, kind):
    assume(rows * columns > 1)
    axes = []
    for count, low, high in ((rows, -89.0, 89.0), (columns, -179.0, 179.0)):
        step = (high - low) / (count + 1)
        even = low + step * random.uniform(0.3, 0.7) + step * np.arange(count) * random.uniform(0.01, 1)
        axes.append(even + (random.uniform(-0.3, 0.3, count) * np.diff(even).min(initial=step) if kind == "any" else 0))
    grid = axes_grid(*axes)
    for edges, centres in ((grid.lat_edges, axes[0]), (grid.lon_edges, axes[1])):
        assert edges.size == centres.size + 1 and (edges[:-1] < centres).all() and (centres < edges[1:]).all()
    assert -90 <= grid.lat_edges[0] and grid.lat_edges[-1] <= 90


# ------------------------------------------------------------------------------------------------------- metrics
@st.composite
def scored_cases(draw):
    """Arguments of `score_forecasters` with any mask; some cells are constant, some are hardly observed."""
    random, days, leads, rows, columns = draw(seeds), draw(st.integers(1, 40)), draw(st.integers(1, 2)), draw(sizes), draw(sizes)
    shape = days, leads, rows, columns
    spread = 10.0 ** random.uniform(-4, -1, shape[2:]) * (random.random(shape[2:]) < 0.9)
    climatology = random.uniform(0.1, 0.4, shape[2:]) + 0.02 * random.standard_normal((days, leads, 1, 1)) * (spread > 0)
    observed = (climatology + spread * random.standard_normal(shape)).astype(np.float32)
    observed[random.random(shape) < random.choice([0.0, 0.3, 0.95], shape[2:])] = np.nan
    forecasts = {name: (np.nan_to_num(observed, nan=0.3) + size * random.standard_normal(shape) + bias).astype(np.float32)
                 for name, size, bias in (("network", 0.03, 0.01), ("persistence", 0.06, 0), ("damped_persistence", 0.05, 0.002))}
    forecasts["climatology"] = np.broadcast_to(climatology, shape).astype(np.float32)
    land = random.random(shape[2:]) < draw(st.sampled_from([0.5, 1.0]))
    lead_times = sorted(random.choice(np.arange(1, 31), leads, replace=False).tolist())
    lat, lon = np.sort(random.uniform(-89, 89, rows)), np.sort(random.uniform(-180, 180, columns))
    assume((np.diff(lat) > 1e-3).all() and (np.diff(lon) > 1e-3).all())
    return {"observed": observed, "forecasts": forecasts, "lead_times": lead_times, "lat": lat, "lon": lon, "land": land,
            "valid_time": day_axis("2020-01-01", days)[:, None] + np.array(lead_times), "climatology": forecasts["climatology"]}


def varies(values, weight=None):
    """Whether scores that divide by the spread are defined."""
    return np.average((values - np.average(values, weights=weight)) ** 2, weights=weight) > 4 * CONSTANT_SPREAD ** 2


@given(case=scored_cases())
def test_scores_are_those_of_scikit_learn_and_scipy_under_any_mask(case):
    scored = np.isfinite(case["observed"]) & case["land"]
    if not scored.any(axis=(0, 2, 3)).all():
        with pytest.raises(UserError, match="No target is observed on land"):
            score_forecasters(**case)
        return
    rows = {(row["forecaster"], row["lead_time"]): row for row in score_forecasters(**case)}
    weights = np.broadcast_to(cell_areas(case["lat"], case["lon"]), scored.shape)
    for lead, lead_time in enumerate(case["lead_times"]):
        where = scored[:, lead]
        if where.sum() < MINIMUM_VALUES:
            assert all(np.isnan(row[score]) for (_, of), row in rows.items() if of == lead_time for score in row if score.startswith(
                ("rmse", "mse", "bias", "r2", "r_", "skill")))
            continue
        observed, weight = case["observed"][:, lead][where].astype(float), weights[:, lead][where]
        errors = {name: mean_squared_error(observed, case["forecasts"][name][:, lead][where]) for name in case["forecasts"]}
        for name, values in case["forecasts"].items():
            row, forecast = rows[name, lead_time], values[:, lead][where].astype(float)
            assert row["n"] == where.sum()
            assert row["mse_pooled"] == pytest.approx(errors[name], rel=1e-6)
            assert row["rmse_pooled"] == pytest.approx(np.sqrt(errors[name]), rel=1e-6)
            assert row["bias_pooled"] == pytest.approx((forecast - observed).mean(), rel=1e-6, abs=1e-9)
            assert row["rmse_area_weighted"] ** 2 == pytest.approx(
                mean_squared_error(observed, forecast, sample_weight=weight), rel=1e-6)
            if varies(observed):
                assert row["r2_pooled"] == pytest.approx(r2_score(observed, forecast), rel=1e-6, abs=1e-6)
                if varies(forecast):
                    assert row["r_pooled"] == pytest.approx(scipy.stats.pearsonr(observed, forecast).statistic, rel=1e-6, abs=1e-6)
            if varies(observed, weight):
                assert row["r2_area_weighted"] == pytest.approx(r2_score(observed, forecast, sample_weight=weight),
                                                                rel=1e-6, abs=1e-6)
            for reference in REFERENCES:
                expected = 1 - errors[name] / errors[reference] if errors[reference] else np.nan
                assert row[f"skill_{reference}"] == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@given(case=scored_cases())
def test_scores_of_cells_are_those_of_scipy_and_their_medians_those_of_numpy(case):
    network, reference = case["forecasts"]["network"], case["forecasts"]["damped_persistence"]
    maps = cell_metrics(observed=case["observed"], forecast=network, reference=reference, climatology=case["climatology"],
                        land=case["land"])
    for lead, row, column in np.ndindex(*maps["n"].shape):
        series = [values[:, lead, row, column] for values in (case["observed"], network, reference, case["climatology"])]
        seen = np.isfinite(series[0]) & case["land"][row, column]
        found = {name: float(values[lead, row, column]) for name, values in maps.items()}
        assert found["n"] == seen.sum()
        if seen.sum() < MINIMUM_CELL_VALUES:
            assert all(np.isnan(value) for name, value in found.items() if name != "n")
            continue
        observed, forecast, other, usual = (values[seen].astype(float) for values in series)
        error = forecast - observed
        expected = {"rmse": np.sqrt((error ** 2).mean()), "ubrmse": error.std(), "bias": error.mean(),
                    "skill_damped_persistence": 1 - (error ** 2).sum() / ((other - observed) ** 2).sum()}
        if varies(observed):
            expected |= {"r2": r2_score(observed, forecast), "r": scipy.stats.pearsonr(observed, forecast).statistic}
        else:
            assert np.isnan(found["r2"]) and np.isnan(found["r"])
        if varies(observed - usual):
            expected["anomaly_r"] = scipy.stats.pearsonr(observed - usual, forecast - usual).statistic
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@given(random=seeds, days=st.integers(2, 40), rows=sizes, columns=sizes, missing=st.sampled_from([0.0, 0.3, 0.8]))
def test_weighted_scores_are_those_of_scikit_learn_for_any_weights(random, days, rows, columns, missing):
    observed = random.uniform(0.05, 0.5, (days, rows, columns))
    observed[random.random(observed.shape) < missing] = np.nan
    forecast, weight = random.uniform(0.05, 0.5, observed.shape), random.uniform(0.01, 3, (rows, columns))
    scored = np.isfinite(observed)
    assume(scored.sum() >= MINIMUM_VALUES)
    scores = pooled_scores(cell_moments(observed, forecast, np.ones((rows, columns), bool)), weight)
    pair, share = (observed[scored], forecast[scored]), np.broadcast_to(weight, observed.shape)[scored]
    assert scores["mse"] == pytest.approx(mean_squared_error(*pair, sample_weight=share), rel=1e-9)
    assert scores["r2"] == pytest.approx(r2_score(*pair, sample_weight=share), rel=1e-6, abs=1e-9)
    assert scores["bias"] == pytest.approx(np.average(pair[1] - pair[0], weights=share), rel=1e-6, abs=1e-12)
    covariance = np.cov(*pair, aweights=share, ddof=0)
    assert scores["r"] == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), rel=1e-6, abs=1e-9)


@given(case=scored_cases(), random=seeds)
def test_scores_of_any_days_follow_from_their_daily_sums(case, random):
    names = ("observed", "forecasts", "valid_time", "lead_times", "land")
    series = daily_series(daily_scores(**{name: case[name] for name in names}))
    days = random.permutation(len(case["observed"]))[:random.integers(1, len(case["observed"]) + 1)]
    for (name, lead_time), sums in series.items():
        lead = case["lead_times"].index(lead_time)
        observed, forecast = case["observed"][days, lead], case["forecasts"][name][days, lead]
        scored = np.isfinite(observed) & case["land"]
        assert sums["n"][days].sum() == scored.sum()
        if scored.sum() >= MINIMUM_VALUES and observed[scored].std() > 1e-3:
            assert mean_square(sums, days) == pytest.approx(mean_squared_error(observed[scored], forecast[scored]), rel=1e-5)
            assert determination(sums, days) == pytest.approx(r2_score(observed[scored], forecast[scored]), rel=1e-4, abs=1e-4)


@given(random=seeds, days=st.integers(1, 20), lead_times=st.sets(st.integers(1, 15), min_size=1, max_size=3).map(sorted))
def test_each_target_stands_lead_time_days_after_its_init_day(random, days, lead_times):
    values = random.random((days, len(lead_times), 2, 2)).astype(np.float32)
    valid_time = day_axis("2020-02-20", days)
    init_time, arranged = by_init_time(values, valid_time, lead_times)
    assert (np.diff(init_time) == np.timedelta64(1, "D")).all() and arranged.shape[0] == len(init_time)
    arranged, found = arranged[:], 0
    for (place, init), (lead, lead_time) in ((a, b) for a in enumerate(init_time) for b in enumerate(lead_times)):
        day = int((init + lead_time - valid_time[0]).astype(int))
        expected = values[day, lead] if 0 <= day < days else np.full((2, 2), np.nan)
        np.testing.assert_array_equal(arranged[place, lead], expected)
        found += 0 <= day < days
    assert found == days * len(lead_times)


@given(random=seeds, columns=st.integers(2, 30), share=st.floats(0.01, 0.9))
def test_longitudes_are_unwrapped_whatever_their_order_and_turns(random, columns, share):
    step = 360 * share / columns
    west = random.uniform(-180, 180)
    lon = west + step * np.arange(columns)
    shuffle = random.permutation(columns)
    order, unwrapped = unwrap_longitudes((lon + 360 * random.integers(-2, 3, columns))[shuffle])
    np.testing.assert_array_equal(shuffle[order], np.arange(columns))
    np.testing.assert_allclose(unwrapped - unwrapped[0], lon - lon[0], atol=1e-9)
    assert -180 <= unwrapped[0] < 180


# ----------------------------------------------------------------------------------------------------- baselines
@st.composite
def observed_records(draw):
    """Observed soil moisture [T, H, W], the days to learn from, a lead time, targets; every cell is seen on a history day."""
    random, days = draw(seeds), draw(st.sampled_from([30, 120, 400]))
    shape = days, draw(sizes), draw(sizes)
    observed = (random.uniform(0.1, 0.4, shape[1:]) + 0.05 * random.standard_normal(shape)
                + 0.05 * np.cos(np.arange(days) / 58)[:, None, None]).astype(np.float32)
    observed[random.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = np.nan
    history = np.arange(days) < draw(st.sampled_from([days // 2, days - 5, days]))
    assume(history.any() and np.isfinite(observed[history]).any(axis=0).all())
    lead_time = draw(st.integers(1, 10))
    return observed, history, lead_time, random.integers(0, days + lead_time, size=20)


def carried_moisture(observed, max_gap_days=10):
    return carry_forward(np.repeat(observed[:, None], 3, axis=1), max_gap_days)[0][:, SOIL_MOISTURE]


@given(case=observed_records())
def test_persistence_is_a_shift_and_damped_persistence_lies_between_it_and_the_mean(case):
    observed, history, lead_time, targets = case
    carried, mean = carried_moisture(observed), baselines.cell_mean(observed, history)
    np.testing.assert_allclose(mean, np.nanmean(observed[history].astype(float), axis=0), rtol=1e-6)
    forecast = baselines.persistence(carried, targets, lead_time, mean)
    for target, values in zip(targets, forecast):
        last = carried[target - lead_time] if target >= lead_time else np.full_like(mean, np.nan)
        np.testing.assert_array_equal(values, np.where(np.isnan(last), mean, last))
    damped = baselines.damped_persistence(carried, observed, history, targets, lead_time, mean)
    rounding = 1e-6
    assert (damped >= np.minimum(forecast, mean) - rounding).all() and (damped <= np.maximum(forecast, mean) + rounding).all()


@given(case=observed_records())
def test_damping_is_the_best_share_of_the_pairs_of_history_days(case):
    observed, history, lead_time, _ = case
    carried, mean = carried_moisture(observed), baselines.cell_mean(observed, history)
    factor = baselines.damping_factor(carried, observed, history, lead_time, mean)
    before, after = carried[:-lead_time] - mean.astype(float), observed[lead_time:] - mean.astype(float)
    pair = np.isfinite(before) & np.isfinite(after) & (history[:-lead_time] & history[lead_time:])[:, None, None]
    before, after = np.where(pair, before, 0), np.where(pair, after, 0)
    own = pair.sum(axis=0) >= baselines.MINIMUM_PAIRS
    errors = {share: ((after - share * before) ** 2).sum(axis=0) for share in np.linspace(0, 1, 21)}
    best = ((after - factor * before) ** 2).sum(axis=0)
    for values in errors.values():
        assert (best[own] <= values[own] + 1e-9).all()
    shared = factor[~own]
    assert shared.size == 0 or (shared == shared[0]).all()


@given(case=observed_records(), constant=st.booleans())
def test_climatology_fits_its_days_no_worse_than_the_mean_and_keeps_constants(case, constant):
    observed, history, _, _ = case
    observed = np.where(np.isnan(observed), np.nan, np.float32(0.3)) if constant else observed
    time, mean = day_axis("2015-03-31", len(observed)), baselines.cell_mean(observed, history)
    forecast = baselines.climatology(observed, time, history, time, mean)
    assert np.isfinite(forecast).all()
    error = np.nansum((forecast - observed)[history].astype(float) ** 2, axis=0)
    assert (error <= np.nansum((mean - observed)[history].astype(float) ** 2, axis=0) * (1 + 1e-5) + 1e-9).all()
    if constant:
        np.testing.assert_allclose(forecast, 0.3, rtol=1e-6)
    if history.sum() < baselines.MINIMUM_CLIMATOLOGY_DAYS:
        np.testing.assert_array_equal(forecast, np.broadcast_to(mean, forecast.shape))


# ------------------------------------------------------------------------------------------- granules and days
TITLE = "synthetic"
fewer = settings(max_examples=settings.default.max_examples // 5)  # each example writes files
ROWS, COLUMNS = slice(300, 303), slice(2900, 2904)


@fewer
@given(random=seeds, fields=st.sets(st.integers(0, 7), min_size=1), missing=shares,
       variables=st.sampled_from([VARIABLES, VARIABLES[1:2], VARIABLES[1:]]))
def test_granules_make_the_sums_and_counts_of_their_valid_values(random, fields, missing, variables):
    product = PRODUCTS["SPL4SMGP"].fields
    shape = len(fields), 3, 4
    values = {"precipitation": random.gamma(0.3, 1e-4, shape), "soil_moisture": random.uniform(0.02, 0.6, shape),
              "soil_temperature": random.normal(285, 10, shape)}
    values = {name: np.where(random.random(shape) < missing, np.nan, values[name]).astype(np.float32) for name in variables}
    with TemporaryDirectory() as folder:
        paths = []
        for number, field in enumerate(sorted(fields)):
            stamp = np.datetime64("2020-02-29T01:30") + np.timedelta64(3 * field, "h")
            paths.append(Path(folder) / granule_name(stamp))
            write_granule(paths[-1], {product[name].name: values[name][number] for name in variables}, stamp, ROWS, COLUMNS, TITLE)
        task = {"product": "SPL4SMGP", "variables": list(variables), "degrees": False, "rows": [302, 300], "columns": [2900, 2903],
                "shape": [3, 4]}
        found = {name: (day, total, count) for name, day, total, count in read_granules(paths, task)}
    assert set(found) == set(variables)
    for name, (day, total, count) in found.items():
        assert str(day) == "2020-02-29"
        np.testing.assert_array_equal(count, np.isfinite(values[name]).sum(axis=0)[::-1])
        np.testing.assert_allclose(total, np.nansum(values[name].astype(float), axis=0)[::-1] * product[name].factor, rtol=1e-3)


@dataclass(frozen=True)
class Preparing:
    output: str
    min_valid_fraction: float = 0.5
    workers: int = 1
    scheduler: str | None = None
    grid: str = "native"
    like: str | None = None


def read_numbers(files, task):
    """Days of an array file [variables, days, 2, h, w]: sums and counts."""
    for name, days in zip(task["variables"], np.load(files[0])):
        for day, (total, count) in zip(task["days"], days):
            yield name, np.datetime64(day), total, count.astype(np.uint8)


@fewer
@given(random=seeds, files=st.integers(1, 4), needed=st.integers(1, 8), missing=shares)
def test_a_day_of_a_cube_is_the_mean_or_total_of_all_its_pieces(random, files, needed, missing):
    grid = axes_grid(30.5 + np.arange(3), 100.5 + np.arange(4))
    names, time = ["precipitation", "soil_moisture"], day_axis("2020-02-27", 5)
    rules = {"precipitation": Rule(needed, total=True), "soil_moisture": Rule(needed, total=False)}
    totals, counts = np.zeros((2, 5, 3, 4)), np.zeros((2, 5, 3, 4))
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sources = []
        for number in range(files):
            places = np.sort(random.permutation(5)[:random.integers(1, 6)]) if number else np.arange(5)
            count = random.integers(1, 9, (2, len(places), 3, 4)) * (random.random((2, len(places), 3, 4)) >= missing)
            total = count * random.uniform(0.01, 0.6, count.shape)
            totals[:, places] += total
            counts[:, places] += count
            path = Path(folder) / f"{number}.npy"
            np.save(path, np.stack([total, count], axis=2))
            days = time[places]
            sources.append(Source(str(number), (path,), {"variables": names, "days": [str(day) for day in days]}, (0, 3, 0, 4),
                                  {name: days for name in names}))
        plan = Plan("ANY", "Any product", grid, sources, rules, None, {"product_version": "1"}, [])
        path = prepare(plan, read_numbers, grid, Preparing(str(Path(folder) / "cube" / "any.nc")))
        with netCDF4.Dataset(path) as cube:
            found = np.stack([np.ma.filled(cube[name][:], np.nan) for name in names])
    with np.errstate(invalid="ignore"):
        expected = np.where(counts >= needed, np.stack([totals[0], totals[1] / counts[1]]), np.nan)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
