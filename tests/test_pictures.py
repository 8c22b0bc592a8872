"""Pictures: decoded correctly and once, cached by content and size, and fed in a given order."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from lesion_utils import pictures
from lesion_utils.batches import batches
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.pictures import ArrayCache, load_pictures

NATIVE = (150, 200)


@pytest.fixture(scope="module")
def paths(phantom_folder) -> list[str]:
    return list(ham10000.read(phantom_folder)["path"][:12])


@pytest.fixture
def decoding_forbidden(monkeypatch):
    def fail(path, image_size):
        raise AssertionError(f"{path} is decoded again")

    return lambda: monkeypatch.setattr(pictures, "_decode", fail)


def kept(output) -> int:
    """Pictures in the cache."""
    listings = (output / "runs" / "cache" / "pixels").glob("*/*.json")
    return sum(len(json.loads(listing.read_text())) for listing in listings)


def test_pixels_of_unchanged_size_are_those_pil_decodes(paths, threads):
    loaded = load_pictures(paths, NATIVE, threads)
    assert loaded.shape == (12, 150, 200, 3) and loaded.dtype == np.uint8
    for row, path in zip(loaded, paths, strict=True):
        assert np.array_equal(row, np.asarray(Image.open(path).convert("RGB")))


def saved(picture: Image.Image, path: Path, **options) -> str:
    picture.save(path, **options)
    return str(path)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_is_seen_as_its_exif_data_turn_it(ending, orientation, tmp_path, threads):
    """A phone stores what it sees and how it was held."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = 255  # white at the top left
    turned = {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1)}[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(Image.fromarray(pixels), tmp_path / f"phone.{ending}", exif=exif)
    (row,) = load_pictures([path], turned.shape[:2], threads)
    assert np.abs(row.astype(int) - turned).mean() < 10


def test_sixteen_bits_keep_their_brightness_and_unknown_ranges_are_refused(tmp_path, threads):
    grey = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    (row,) = load_pictures([saved(Image.fromarray(grey), tmp_path / "sixteen.png")], (24, 32), threads)
    assert np.array_equal(row, np.repeat((grey >> 8)[..., None], 3, axis=2))
    path = saved(Image.fromarray(grey.astype(np.float32)), tmp_path / "floats.tif")
    with pytest.raises(InputError, match=r"floats\.tif.*32 bits"):
        load_pictures([path], (24, 32), threads)


def test_height_comes_first_and_resizing_is_bilinear(paths, threads, tmp_path):
    loaded = load_pictures(paths, (100, 160), threads)
    assert loaded.shape == (12, 100, 160, 3)
    for row, path in zip(loaded, paths, strict=True):
        exact = np.asarray(Image.open(path).resize((160, 100), Image.Resampling.BILINEAR), float)
        assert np.abs(row - exact).mean() < 2.5  # of 255; Pillow smooths when it shrinks
    half = np.zeros((8, 20, 3), np.uint8)
    half[:4] = 255  # white above, black below
    (row,) = load_pictures([saved(Image.fromarray(half), tmp_path / "half.png")], (4, 6), threads)
    assert row[0].min() > 250 and row[-1].max() < 5


@pytest.fixture
def decoded(monkeypatch) -> list[np.ndarray]:
    """What the decoder gives, before it is resized."""
    given: list[np.ndarray] = []
    decode = pictures.simplejpeg.decode_jpeg

    def watched(*args, **kwargs):
        given.append(decode(*args, **kwargs))
        return given[-1]

    monkeypatch.setattr(pictures.simplejpeg, "decode_jpeg", watched)
    return given


@pytest.mark.parametrize("size", [(75, 100), (60, 90), (15, 20)])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(paths, threads, size, decoded):
    loaded = load_pictures(paths, size, threads)
    assert all(size[0] <= picture.shape[0] <= 75 and size[1] <= picture.shape[1] <= 100 for picture in decoded)
    for row, path in zip(loaded, paths, strict=True):
        exact = np.asarray(Image.open(path).resize(size[::-1], Image.Resampling.BOX), float)
        assert np.abs(row - exact).mean() < 4  # of 255; the phantom has sharp edges


def test_a_jpeg_less_than_twice_as_large_is_decoded_whole(paths, threads, decoded):
    load_pictures(paths, (76, 100), threads)
    assert {picture.shape for picture in decoded} == {(150, 200, 3)}


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("grey.jpg", "L", {}),
        ("cmyk.jpg", "CMYK", {"quality": 95}),
        ("progressive.jpg", "RGB", {"progressive": True, "quality": 95}),
        ("no_jpeg.png", "RGB", {}),
        ("palette.png", "P", {}),
    ],
)
def test_every_kind_of_file_that_pillow_reads_is_read_alike(paths, threads, tmp_path, name, mode, options):
    path = saved(Image.open(paths[0]).convert(mode), tmp_path / name, **options)
    (row,) = load_pictures([path], NATIVE, threads)
    difference = row - np.asarray(Image.open(path).convert("RGB"), int)
    assert np.abs(difference).max() <= (1 if mode == "CMYK" else 0)  # rounded otherwise


def test_more_pictures_than_are_decoded_at_a_time_keep_their_order(paths, threads, monkeypatch, tmp_path):
    at_once = np.array(load_pictures(paths, (15, 20), threads))
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path))
    monkeypatch.setattr(pictures, "_BLOCK", 5)
    reverse = load_pictures(paths[::-1], (15, 20), threads)
    assert kept(tmp_path) == 12
    assert np.array_equal(np.array(reverse)[::-1], at_once)
    assert not np.array_equal(at_once[0], at_once[-1])


def test_what_was_asked_for_before_is_not_decoded_again(paths, threads, tmp_path, output, decoding_forbidden):
    before = load_pictures(paths, (15, 20), threads)
    elsewhere = [str(shutil.copy(path, tmp_path / f"{number}.jpg")) for number, path in enumerate(paths)]
    decoding_forbidden()
    assert np.array_equal(load_pictures(paths, (15, 20), threads), before)
    assert load_pictures(elsewhere, (15, 20), threads).digest == before.digest  # a moved folder, renamed files
    some = [7, 2, 2]  # another study, another order
    assert np.array_equal(load_pictures([paths[row] for row in some], (15, 20), threads), before[some])
    assert kept(output) == 12
    with pytest.raises(AssertionError, match="decoded again"):
        load_pictures(paths, (20, 15), threads)


def test_only_what_is_new_is_decoded(paths, threads, tmp_path, output):
    load_pictures(paths[:5], (15, 20), threads)
    changed = saved(Image.new("RGB", (20, 15), "red"), tmp_path / "changed.png")
    loaded = load_pictures([*paths[:7], changed], (15, 20), threads)
    assert kept(output) == 8
    assert np.array_equal(loaded[-1], np.broadcast_to([255, 0, 0], (15, 20, 3)))
    assert np.array_equal(loaded[:7], load_pictures(paths[:7], (15, 20), threads))


def test_another_decoder_finds_nothing(paths, threads, output, monkeypatch):
    load_pictures(paths, (15, 20), threads)
    monkeypatch.setattr(pictures, "_DECODER", ["another"])
    load_pictures(paths, (15, 20), threads)
    assert kept(output) == 24


def test_the_digest_follows_content_order_and_size(paths, threads):
    digests = [
        load_pictures(asked, size, threads).digest
        for asked, size in [
            (paths, (15, 20)),
            (paths, (20, 15)),
            (paths[::-1], (15, 20)),
            (paths[1:], (15, 20)),
        ]
    ]
    assert len(set(digests)) == 4


def test_a_corrupt_image_is_named_and_what_was_before_it_is_kept(paths, threads, tmp_path, output, monkeypatch):
    monkeypatch.setattr(pictures, "_BLOCK", 5)
    bad = tmp_path / "bad.jpg"
    for size in (2000, Path(paths[0]).stat().st_size - 200):  # the second half, or only the last rows, are gone
        bad.write_bytes(Path(paths[0]).read_bytes()[:size])
        with pytest.raises(InputError, match=r"bad\.jpg cannot be decoded"):
            load_pictures([*paths, str(bad)], (15, 20), threads)
        assert kept(output) == 10  # two blocks of five; that of the bad one is not there
    shutil.copy(paths[0], bad)
    loaded = load_pictures([*paths, str(bad)], (15, 20), threads)
    assert np.array_equal(loaded[0], loaded[-1])


def test_a_missing_image_is_named(paths, threads, tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg cannot be read .*Fix: restore this file"):
        load_pictures([*paths, str(tmp_path / "gone.jpg")], (15, 20), threads)


def test_pictures_follow_the_order_of_the_case_table(phantom_folder, threads):
    cases = ham10000.read(phantom_folder).iloc[[7, 3, 5]]
    loaded = load_pictures(cases["path"], NATIVE, threads)
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
    assert inputs.dtype == np.uint8 and inputs.shape == (14, 3)
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


def test_pictures_are_fed_from_the_cache(paths, threads):
    loaded = load_pictures(paths, (15, 20), threads)
    (shown,) = [x.numpy() for x, _ in batches(loaded, np.zeros(12), lambda _: np.array([5, 5, 0]), 3, epochs=1)]
    assert np.array_equal(shown, loaded[[5, 5, 0]])


def test_a_change_knows_the_epoch_and_the_place_of_a_batch_in_it():
    def change(read: np.ndarray, epoch: int, first: int) -> np.ndarray:
        told.append((epoch, first))
        return read + np.uint8(100 * epoch)

    told: list = []
    shown = [x.numpy() for x, _ in batches(INPUTS, TARGETS, rows, size=3, epochs=2, change=change)]
    assert told == [(0, 0), (0, 3), (0, 6), (1, 0), (1, 3), (1, 6)]
    assert np.array_equal(np.concatenate(shown)[:, 0], np.concatenate([ORDERS[0], ORDERS[1] + 100]))


def test_one_epoch_shows_each_named_row_once_in_order():
    ((some, targets),) = batches(INPUTS, TARGETS, lambda _: np.array([2, 5]), size=64, epochs=1)
    assert some.numpy()[:, 0].tolist() == [2, 5] and targets.numpy().tolist() == [20, 50]


def test_the_feed_has_no_thread_that_tunes_it():
    assert batches(INPUTS, TARGETS, rows, size=3).options().autotune.enabled is False


# the cache of arrays

ROWS = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


@pytest.fixture
def cache(tmp_path) -> ArrayCache:
    made = ArrayCache(tmp_path / "cache")
    made.add(["a", "b"], ROWS[:2])
    made.add(["c", "d"], ROWS[2:])
    return made


def test_rows_come_in_the_order_asked_for_whatever_the_shard(cache):
    rows = ArrayCache(cache.folder).read(["d", "a", "c", "a"])
    assert rows.shape == (4, 2, 3) and rows.dtype == np.float32 and len(rows) == 4
    assert np.array_equal(rows, ROWS[[3, 0, 2, 0]])
    assert np.array_equal(np.stack(list(rows)), ROWS[[3, 0, 2, 0]])


@pytest.mark.parametrize("index", [2, -1, [3, 0], np.array([1, 1, 2]), slice(1, 3), np.array([], int)], ids=str)
def test_rows_are_indexed_as_an_array_is(cache, index):
    assert np.array_equal(cache.read(["a", "b", "c", "d"])[index], ROWS[index])


def test_rows_can_be_taken_without_reading_them(cache):
    taken = cache.read(["d", "c", "b"]).take(np.array([2, 0]))
    assert taken.keys == ["b", "d"] and np.array_equal(taken, ROWS[[1, 3]])


def test_what_is_not_there_is_not_found(cache):
    assert "a" in cache and "e" not in cache
    with pytest.raises(KeyError):
        cache.read(["a", "e"])


def test_two_jobs_may_keep_the_same_rows_at_once(cache):
    one, other = ArrayCache(cache.folder), ArrayCache(cache.folder)
    one.add(["e", "f"], ROWS[:2])
    other.add(["f", "e"], ROWS[1::-1])
    other.add(["e", "f"], ROWS[:2])
    assert np.array_equal(ArrayCache(cache.folder).read(["f", "e"]), ROWS[1::-1])


def test_a_job_killed_while_it_writes_leaves_nothing_that_counts(cache, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lesion_utils.pictures.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.add(["e"], ROWS[:1])
    (cache.folder / ".half.12.json").write_text('["g", ')
    again = ArrayCache(cache.folder)
    assert "e" not in again and "g" not in again and "a" in again


def test_a_shard_lists_the_keys_of_its_rows(cache):
    listings = [json.loads(path.read_text()) for path in cache.folder.glob("*.json")]
    assert sorted(listings) == [["a", "b"], ["c", "d"]]


def test_the_digest_follows_rows_and_order(cache):
    one, same, turned, fewer = (cache.read(list(keys)).digest for keys in ("abc", "abc", "cba", "ab"))
    assert one == same and len({one, turned, fewer}) == 3


def test_rows_on_disk_cannot_be_changed(cache):
    with pytest.raises(ValueError, match="read-only"):
        cache.read(["a"])[0][:] = 0


def test_mixup_keeps_each_batch_between_its_cases_and_labels_go_with_inputs():
    inputs = np.arange(8, dtype=np.float32)[:, None]
    targets = np.eye(8, dtype=np.float32)
    made = list(batches(inputs, targets, lambda _: np.arange(8), 4, epochs=1, mix=(0.4, 0)))
    for mixed, truth in made:
        assert np.allclose(truth.numpy() @ np.arange(8), mixed.numpy()[:, 0], atol=1e-5)
        assert np.allclose(truth.numpy().sum(1), 1) and (truth.numpy() < 0.999).any()
    again = list(batches(inputs, targets, lambda _: np.arange(8), 4, epochs=1, mix=(0.4, 0)))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(made, again, strict=True))
