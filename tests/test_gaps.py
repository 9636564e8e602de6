"""Carrying values over gaps: how far, which variables, never from the future."""

import numpy as np
import pytest
from conftest import known_values

from data_processing.cube import VARIABLES
from data_processing.errors import UserError
from data_processing.gaps import MEMORY_DAYS, NO_VALUE, antecedent_means, carry_forward

RAIN, MOISTURE, TEMPERATURE = (VARIABLES.index(name)
                               for name in ("precipitation", "soil_moisture", "soil_temperature"))


def one_cell(moisture):
    values = known_values(len(moisture), 1, 1)
    values[:, MOISTURE, 0, 0] = moisture
    return values


def test_known_gaps():
    nan = np.nan
    carried, age = carry_forward(one_cell([nan, 0.1, nan, nan, nan, 0.2, nan]), max_gap_days=2)
    np.testing.assert_allclose(carried[:, MOISTURE, 0, 0], [nan, 0.1, 0.1, 0.1, nan, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(age[:, MOISTURE, 0, 0], [NO_VALUE, 0, 1, 2, NO_VALUE, 0, 1])
    assert carried.dtype == np.float32 and age.dtype == np.uint8


def test_precipitation_is_never_carried():
    values = known_values(4, 1, 1)
    values[2] = np.nan
    carried, age = carry_forward(values, max_gap_days=10)
    assert np.isnan(carried[2, RAIN]).all() and age[2, RAIN, 0, 0] == NO_VALUE
    assert carried[2, TEMPERATURE, 0, 0] == values[1, TEMPERATURE, 0, 0] and age[2, TEMPERATURE, 0, 0] == 1


def test_input_is_not_changed_and_zero_days_carry_nothing():
    values = one_cell([0.1, np.nan, 0.3])
    before = values.copy()
    carried, age = carry_forward(values, max_gap_days=0)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(carried, before)
    np.testing.assert_array_equal(age[:, MOISTURE, 0, 0], [0, NO_VALUE, 0])


def test_longest_gap():
    values = one_cell([0.1] + [np.nan] * 300)
    carried, age = carry_forward(values, max_gap_days=254)
    assert np.count_nonzero(~np.isnan(carried[:, MOISTURE])) == 255
    assert age[254, MOISTURE, 0, 0] == 254 and (age[255:, MOISTURE] == NO_VALUE).all()
    with pytest.raises(UserError, match="max_gap_days is 255"):
        carry_forward(values, max_gap_days=255)


def test_no_later_day_changes_an_earlier_one_and_cells_are_independent():
    generator = np.random.default_rng(1)
    values = generator.random((60, 3, 4, 5), np.float32)
    values[generator.random(values.shape) < 0.6] = np.nan
    carried, age = carry_forward(values, max_gap_days=5)
    changed = values.copy()
    changed[30:] = generator.random(changed[30:].shape)
    later, later_age = carry_forward(changed, max_gap_days=5)
    np.testing.assert_array_equal(carried[:30], later[:30])
    np.testing.assert_array_equal(age[:30], later_age[:30])
    alone, alone_age = carry_forward(values[:, :, 2:3, 3:4], max_gap_days=5)
    np.testing.assert_array_equal(carried[:, :, 2:3, 3:4], alone)
    np.testing.assert_array_equal(age[:, :, 2:3, 3:4], alone_age)
    np.testing.assert_array_equal(np.isnan(carried), age == NO_VALUE)


def test_antecedent_mean_of_known_days_counts_older_ones_less_and_later_ones_never():
    nan = np.nan
    means = antecedent_means(one_cell([nan, 0.1, nan, 0.4, nan]))[0][:, MOISTURE, 0, 0]
    kept = np.exp(-2 / MEMORY_DAYS)
    last = (kept * 0.1 + 0.4) / (kept + 1)
    np.testing.assert_allclose(means, [nan, 0.1, 0.1, last, last], rtol=1e-5)
    np.testing.assert_allclose(antecedent_means(one_cell([nan, 0.1, nan, 0.9, nan]))[0][:3, MOISTURE, 0, 0], means[:3])
