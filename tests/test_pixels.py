"""Pixels: decoded right and once, cached by content and size, and fed in the order that is asked for."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_utils import pixels
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.pixels import batches, case_pixels, load

NATIVE = (150, 200)


@pytest.fixture(scope="module")
def paths(phantom_folder) -> list[str]:
    return list(ham10000.read(phantom_folder)["path"][:12])


@pytest.fixture
def decoding_forbidden(monkeypatch):
    def fail(path):
        raise AssertionError(f"{path} is decoded again")

    return lambda: monkeypatch.setattr(pixels, "open_image", fail)


def cached(output) -> list:
    return [path for path in (output / "runs" / "cache" / "pixels").iterdir()]


def test_pixels_of_unchanged_size_are_those_pil_decodes(paths, threads):
    loaded = load(paths, NATIVE, threads)
    assert loaded.shape == (12, 150, 200, 3) and loaded.dtype == np.uint8
    for row, path in zip(loaded, paths, strict=True):
        assert np.array_equal(row, np.asarray(Image.open(path).convert("RGB")))


def test_height_comes_first_and_resizing_is_bilinear(paths, threads, tmp_path):
    loaded = load(paths, (30, 50), threads)
    assert loaded.shape == (12, 30, 50, 3)
    for row, path in zip(loaded, paths, strict=True):
        exact = np.asarray(Image.open(path).resize((50, 30), Image.Resampling.BILINEAR), float)
        assert np.abs(row - exact).mean() < 1  # of 255; the fast reduction before it is not exact
    half = np.zeros((8, 20, 3), np.uint8)
    half[:4] = 255  # white above, black below
    Image.fromarray(half).save(tmp_path / "half.png")
    (row,) = load([str(tmp_path / "half.png")], (4, 6), threads)
    assert row[0].min() > 250 and row[-1].max() < 5


def test_more_pictures_than_are_decoded_at_a_time_keep_their_order(paths, threads, monkeypatch):
    at_once = load(paths, (15, 20), threads).copy()
    monkeypatch.setattr(pixels, "_BLOCK", 5)
    reverse = load(paths[::-1], (15, 20), threads)
    assert np.array_equal(reverse[::-1], at_once)
    assert not np.array_equal(at_once[0], at_once[-1])


def test_a_second_call_reads_the_cache(paths, threads, output, decoding_forbidden):
    first = load(paths, (15, 20), threads)
    decoding_forbidden()
    second = load(paths, (15, 20), threads)
    assert first.filename == second.filename and len(cached(output)) == 1
    assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="read-only"):
        second[0] = 0


def test_a_moved_folder_and_renamed_files_hit_the_same_cache(paths, threads, tmp_path, decoding_forbidden):
    before = load(paths, (15, 20), threads)
    elsewhere = [shutil.copy(path, tmp_path / f"{number}.jpg") for number, path in enumerate(paths)]
    decoding_forbidden()
    assert load([str(path) for path in elsewhere], (15, 20), threads).filename == before.filename


def test_another_size_content_or_order_is_another_cache(paths, threads, tmp_path, output):
    changed = shutil.copy(paths[0], tmp_path / "changed.jpg")
    Image.new("RGB", (20, 15)).save(changed)
    for paths_asked, size in [
        (paths, (15, 20)),
        (paths, (20, 15)),
        (paths[::-1], (15, 20)),
        (paths[1:], (15, 20)),
        ([str(changed), *paths[1:]], (15, 20)),
    ]:
        load(paths_asked, size, threads)
    assert len(cached(output)) == 5


def test_a_corrupt_image_is_named_and_leaves_no_cache(paths, threads, tmp_path, output):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(paths[0]).read_bytes()[:2000])
    asked = [*paths, str(bad)]
    for _ in range(2):  # the second time nothing is taken for a cache either
        with pytest.raises(InputError, match=r"bad\.jpg cannot be decoded"):
            load(asked, (15, 20), threads)
        assert cached(output) == []
    shutil.copy(paths[0], bad)
    loaded = load(asked, (15, 20), threads)
    assert np.array_equal(loaded[0], loaded[-1])


def test_a_missing_image_is_named(paths, threads, tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg cannot be read .*Cure: restore this file"):
        load([*paths, str(tmp_path / "gone.jpg")], (15, 20), threads)


def test_case_pixels_come_in_the_order_of_the_cases(phantom_folder, threads):
    cases = ham10000.read(phantom_folder).iloc[[7, 3, 5]]
    loaded = case_pixels(cases, NATIVE, threads)
    for row, path in zip(loaded, cases["path"], strict=True):
        assert np.array_equal(row, np.asarray(Image.open(path)))


# batches

INPUTS = np.arange(10, dtype=np.uint8)[:, None] + np.zeros(3, np.uint8)  # row k holds k
TARGETS = np.arange(10) * 10.0
ORDERS = [np.array([3, 1, 4, 1, 5, 9, 2]), np.array([0, 0, 7, 8, 2, 6, 3])]


def rows(epoch: int) -> np.ndarray:
    return ORDERS[epoch % 2]


def test_each_epoch_shows_the_rows_that_are_asked_in_their_order():
    shown = [(x.numpy(), y.numpy()) for x, y in batches(INPUTS, TARGETS, rows, size=3, epochs=2)]
    assert [len(x) for x, _ in shown] == [3, 3, 1, 3, 3, 1]
    inputs, targets = (np.concatenate(part) for part in zip(*shown, strict=True))
    expected = np.concatenate(ORDERS)
    assert inputs.dtype == np.float32 and inputs.shape == (14, 3)
    assert np.array_equal(inputs[:, 0], expected) and np.array_equal(targets, expected * 10)


def test_finite_batches_know_their_number_and_endless_ones_go_on():
    finite = batches(INPUTS, TARGETS, rows, size=3, epochs=2)
    assert finite.cardinality().numpy() == 6
    endless = batches(INPUTS, TARGETS, rows, size=3)
    assert endless.cardinality().numpy() == -1
    shown = [x.numpy()[:, 0] for x, _ in itertools.islice(endless, 12)]
    assert np.array_equal(np.concatenate(shown), np.concatenate(ORDERS * 2))


def test_a_dataset_starts_anew_each_time_it_is_read():
    dataset = batches(INPUTS, TARGETS, rows, size=4, epochs=1)
    one, two = (np.concatenate([x.numpy() for x, _ in dataset]) for _ in range(2))
    assert np.array_equal(one, two) and len(one) == 7


def test_pictures_are_fed_from_the_cache_file(paths, threads):
    loaded = load(paths, (15, 20), threads)
    (shown,) = [x.numpy() for x, _ in batches(loaded, np.zeros(12), lambda _: np.array([5, 5, 0]), 3, epochs=1)]
    assert np.array_equal(shown, loaded[[5, 5, 0]].astype(np.float32))
