"""Block bootstrap: known intervals, known differences."""
import numpy as np
import pytest

from data_processing.errors import UserError
from utils.bootstrap import average, block_days, compare, determination, interval, mean_square, read_daily


def series(squared_error, n=10.0):
    squared_error = np.asarray(squared_error, float)
    ones = np.ones_like(squared_error)
    return {"n": n * ones, "squared_error": squared_error, "observed_sum": 3.0 * ones, "observed_square": 1.0 * ones}


def test_blocks_keep_neighbouring_days_together():
    days = block_days(100, block=30, replicates=50)
    assert days.shape == (50, 100) and days.min() >= 0 and days.max() < 100
    assert ((np.diff(days[:, :30]) % 100) == 1).all()


def test_interval_of_independent_days_has_the_known_width():
    random = np.random.default_rng(0)
    values = random.normal(10, 2, 400)
    low, high = interval(values[block_days(400, block=1)].mean(axis=1))
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1) and low < 10 < high


def test_days_that_resemble_their_neighbours_tell_less():
    random = np.random.default_rng(1)
    values = np.zeros(1000)
    for day in range(1, 1000):
        values[day] = 0.9 * values[day - 1] + random.normal()
    widths = [np.ptp(interval(values[block_days(1000, block=block)].mean(axis=1))) for block in (1, 30)]
    assert widths[1] > 2 * widths[0]


def test_constant_gain_is_certain():
    gain = compare([series(np.full(120, 0.8))], [series(np.full(120, 1.0))], block_days(120))
    assert gain == {"gain": pytest.approx(0.2), "gain_low": pytest.approx(0.2), "gain_high": pytest.approx(0.2),
                    "p": pytest.approx(2 / 2001)}


def test_members_that_differ_make_the_gain_uncertain():
    """Days are all alike: only the members of the one forecaster, 0.8 and 1.0 against 1.0, can differ."""
    gain = compare([series(np.full(120, 0.8)), series(np.full(120, 1.0))], [series(np.full(120, 1.0))], block_days(120))
    assert gain["gain"] == pytest.approx(0.1)
    assert (gain["gain_low"], gain["gain_high"]) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.2))


def test_no_difference_is_no_gain():
    same = series(np.random.default_rng(0).random(120))
    gain = compare([same], [same], block_days(120))
    assert gain["gain"] == 0 and gain["p"] == 1.0


def test_forecasters_of_different_values_are_not_compared():
    with pytest.raises(UserError, match="different values"):
        compare([series(np.ones(120))], [series(np.ones(120), n=9.0)], block_days(120))


def test_short_test_period_has_no_interval():
    with pytest.raises(UserError, match="80 test days are under three blocks of 30"):
        block_days(80)


def test_pooled_scores_and_mean_of_members(tmp_path):
    one = series([1.0, 3.0])
    assert mean_square(one) == pytest.approx(0.2)
    assert determination(one) == pytest.approx(1 - 4 / (2 - 36 / 20))
    np.testing.assert_array_equal(average([one, series([3.0, 5.0])])["squared_error"], [2.0, 4.0])
    (tmp_path / "daily.csv").write_text("forecaster,lead_time,valid_time,n,squared_error,observed_sum,observed_square\n"
                                        "net,3,2020-01-01,2,0.5,1,2\nnet,3,2020-01-02,4,0.25,1,2\n")
    daily = read_daily(tmp_path / "daily.csv")
    np.testing.assert_array_equal(daily["net", 3]["n"], [2, 4])


def test_scores_of_fewer_values_than_ten_are_no_numbers():
    few, enough = series([0.5, 0.5], n=4.0), series([0.5, 0.5], n=5.0)
    assert np.isnan(mean_square(few)) and np.isnan(determination(few))
    assert mean_square(enough) == pytest.approx(0.1) and np.isfinite(determination(enough))


def test_gain_whose_replicates_have_no_values_has_no_p():
    """Almost all values are of one day, so that some replicates have none."""
    lacking = series(np.ones(100), n=0.0)
    lacking["n"][3] = 200.0
    other = {**lacking, "squared_error": 2 * lacking["squared_error"]}
    assert np.isnan(compare([lacking], [other], block_days(100))["p"])
