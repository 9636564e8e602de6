"""Spread, intervals, CRPS and ranks, against numbers known by hand or by chance."""
import numpy as np
import pytest

from utils.ensembles import (
    fair_crps,
    gaussian_crps,
    rank_histogram,
    spread_skill,
)


def test_crps_of_a_sure_forecast_is_the_absolute_error():
    assert gaussian_crps(np.array(0.2), np.array(1e-9), np.array(0.25)) == pytest.approx(0.05, abs=1e-8)
    assert gaussian_crps(np.array(0.0), np.array(1.0), np.array(0.0)) == pytest.approx(0.23370, abs=1e-5)
    assert fair_crps(np.array([0.3, 0.3]), np.array(0.25)) == pytest.approx(0.05)


def test_fair_crps_of_two_members_by_hand():
    """Members 0 and 1, observation 0.5: mean error 0.5, mean difference of the pair 1, halved: 0."""
    assert fair_crps(np.array([0.0, 1.0]), np.array(0.5)) == pytest.approx(0.0)


def test_fair_crps_does_not_depend_on_the_number_of_members():
    random = np.random.default_rng(0)
    observed = random.normal(size=20_000)
    scores = [fair_crps(random.normal(size=(count, 20_000)), observed).mean() for count in (2, 10)]
    assert scores[0] == pytest.approx(scores[1], rel=0.03) and scores[1] == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)


def test_ranks_of_exchangeable_members_are_flat_and_missing_values_do_not_count():
    random = np.random.default_rng(1)
    observed = random.normal(size=10_000)
    observed[:1000] = np.nan
    counts = rank_histogram(random.normal(size=(4, 10_000)), observed)
    assert counts.sum() == 9000
    np.testing.assert_allclose(counts, 1800, rtol=0.07)
    assert rank_histogram(np.zeros((3, 4000)), np.zeros(4000)).min() > 900  # ties are broken at random


def test_spread_skill_ratio():
    assert spread_skill(np.array([1.0, 1.0]), np.array([2.0, -2.0])) == pytest.approx(0.5)
