"""The store of rows: kept by key, found in any order, whole or not there."""

import json

import numpy as np
import pytest

from lesion_utils.store import Store

ROWS = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "kept")
    made.add(["a", "b"], ROWS[:2])
    made.add(["c", "d"], ROWS[2:])
    return made


def test_rows_come_in_the_order_asked_for_whatever_the_shard(store):
    rows = Store(store.folder).rows(["d", "a", "c", "a"])
    assert rows.shape == (4, 2, 3) and rows.dtype == np.float32 and len(rows) == 4
    assert np.array_equal(rows, ROWS[[3, 0, 2, 0]])
    assert np.array_equal(np.stack(list(rows)), ROWS[[3, 0, 2, 0]])


@pytest.mark.parametrize("index", [2, -1, [3, 0], np.array([1, 1, 2]), slice(1, 3), np.array([], int)], ids=str)
def test_rows_are_indexed_as_an_array_is(store, index):
    assert np.array_equal(store.rows(["a", "b", "c", "d"])[index], ROWS[index])


def test_rows_can_be_taken_without_reading_them(store):
    taken = store.rows(["d", "c", "b"]).take(np.array([2, 0]))
    assert taken.keys == ["b", "d"] and np.array_equal(taken, ROWS[[1, 3]])


def test_what_is_not_there_is_not_found(store):
    assert "a" in store and "e" not in store
    with pytest.raises(KeyError):
        store.rows(["a", "e"])


def test_two_jobs_may_keep_the_same_rows_at_once(store):
    one, other = Store(store.folder), Store(store.folder)
    one.add(["e", "f"], ROWS[:2])
    other.add(["f", "e"], ROWS[1::-1])
    other.add(["e", "f"], ROWS[:2])
    assert np.array_equal(Store(store.folder).rows(["f", "e"]), ROWS[1::-1])


def test_a_job_killed_while_it_writes_leaves_nothing_that_counts(store, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lesion_utils.store.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            store.add(["e"], ROWS[:1])
    (store.folder / ".half.12.json").write_text('["g", ')
    again = Store(store.folder)
    assert "e" not in again and "g" not in again and "a" in again


def test_a_shard_lists_the_keys_of_its_rows(store):
    listings = [json.loads(path.read_text()) for path in store.folder.glob("*.json")]
    assert sorted(listings) == [["a", "b"], ["c", "d"]]


def test_the_digest_follows_rows_and_order(store):
    one, same, turned, fewer = (store.rows(list(keys)).digest for keys in ("abc", "abc", "cba", "ab"))
    assert one == same and len({one, turned, fewer}) == 3


def test_rows_on_disk_cannot_be_changed(store):
    with pytest.raises(ValueError, match="read-only"):
        store.rows(["a"])[0][:] = 0
