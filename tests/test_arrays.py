"""Arrays that are kept: built once, whole or not at all, the same in pieces, and never more of them in memory than is read."""
import numpy as np
import pytest

from data_processing import arrays
from data_processing.arrays import at_most, create_array, kept_arrays, kept_text, open_array, release
from data_processing.cube import open_cube
from data_processing.errors import UserError
from data_processing.gaps import antecedent_means, carry_forward
from data_processing.record import open_record, whole_record
from data_processing.splits import split_cube
from tests.conftest import Experiment, weather_values
from utils.models.settings import complete


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Folder of the arrays of this test."""
    monkeypatch.setattr(arrays, "FOLDER", tmp_path / "arrays")
    return tmp_path / "arrays"


def opened(path, **changes):
    settings = complete(Experiment(**changes), learning_rate=1e-3, paper_hidden=(8, 4))
    cube, splits = split_cube(path, settings)
    return open_record(cube, "small", splits, max_gap_days=3), splits


@pytest.mark.parametrize("length, left", [(0, []), (3, [0, 1, 2]), (4, [0, 2]), (7, [0, 3, 6])])
def test_at_most_three_evenly_spread_values_are_left(length, left):
    np.testing.assert_array_equal(at_most(np.arange(length), 3), left)


def test_arrays_are_worked_out_once(folder):
    made = []

    def fill(found):
        made.append(1)
        found["a"][:] = 3.0

    for _ in range(2):
        found = kept_arrays("key", {"a": ((2, 3), np.float32)}, fill)["a"]
        assert (found == 3).all() and len(made) == 1
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_arrays_that_failed_on_the_way_are_not_there(folder):
    def fill(found):
        found["a"][:] = 1.0
        raise RuntimeError("ended")

    with pytest.raises(RuntimeError):
        kept_arrays("key", {"a": ((2,), np.float32)}, fill)
    assert not (folder / "key").exists()
    assert (kept_arrays("key", {"a": ((2,), np.float32)}, lambda found: found["a"].fill(2.0))["a"] == 2).all()


def test_what_was_used_longest_ago_is_removed(folder, monkeypatch):
    monkeypatch.setattr(arrays, "KEPT_ENTRIES", 2)
    for key in ("one", "two", "three"):
        kept_arrays(key, {"a": ((2,), np.float32)}, lambda found: None)
    assert sorted(path.name for path in folder.iterdir()) == ["three", "two"]


def test_text_is_made_once(folder):
    assert kept_text("table", lambda: "first") == kept_text("table", lambda: "second") == "first"


def test_released_values_are_still_there(tmp_path):
    written = create_array(tmp_path / "a.npy", (300, 1000), np.float32)
    written[:] = np.arange(300)[:, None]
    release(written[5:])
    read = open_array(tmp_path / "a.npy")[10:]
    assert read[7, 3] == 17
    release(read)
    assert read[8, 3] == 18 and written[299, 0] == 299


def test_a_record_built_in_pieces_is_that_of_one(small_cube, monkeypatch):
    values = weather_values(400, 4, 5)
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 7 * values[0].nbytes)
    record, _ = opened(small_cube(values=values))
    before = record.input_days - 1
    carried, age = carry_forward(values, 3)
    np.testing.assert_array_equal(record.carried[before:], carried)
    np.testing.assert_array_equal(record.age[before:], age)
    np.testing.assert_array_equal(record.antecedent[before:], antecedent_means(values)[0])
    assert np.isnan(record.carried[:before]).all() and (record.age[:before] == 255).all()


def test_a_cube_cut_at_its_end_has_the_same_arrays_and_one_cut_at_its_start_others(weather_cube, folder):
    path = weather_cube(days=400)
    record, splits = opened(path)
    cut = whole_record(open_cube(path), "small", splits, 3, until=record.time[250])
    assert cut.key == record.key and len(cut.time) == 251
    np.testing.assert_array_equal(cut.carried, record.carried[:len(cut.carried)])
    late, _ = opened(path, train_days=150)
    assert late.key != record.key and late.time[0] > record.time[0]
    assert np.isnan(late.antecedent[late.input_days - 2]).all(), "what was cut off is as never recorded"


def test_a_changed_cube_has_arrays_of_its_own(weather_cube):
    keys = {opened(weather_cube(days=400, seed=seed))[0].key for seed in (1, 2)}
    assert len(keys) == 2


def test_surroundings_of_records_of_one_length_but_other_windows_are_their_own(small_cube):
    """An array cut for a window of 10 days until later days was once taken for one of 30 days until earlier ones."""
    path = small_cube(values=weather_values(100, 4, 5), step=0.2)
    for input_days, until in ((10, "2015-06-30"), (30, "2015-06-10")):
        cube, splits = split_cube(path, complete(Experiment(input_days=input_days), learning_rate=1e-3, paper_hidden=(8, 4)))
        record = whole_record(cube, "small", splits, 3, until=until)
        assert record.around().rows == 4
        means = record.around().carried[:, 1, 0, 0]
        np.testing.assert_allclose(means[input_days - 1:], record.carried[input_days - 1:, 1, :4, :4].mean((1, 2)), rtol=1e-5)


def test_kept_arrays_of_another_shape_are_refused(folder):
    kept_arrays("key", {"a": ((2,), np.float32)}, lambda found: None)
    with pytest.raises(UserError, match="remove the folder"):
        kept_arrays("key", {"a": ((3,), np.float32)}, lambda found: None)
