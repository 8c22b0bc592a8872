"""Near-duplicates: hashes and distances are ImageHash's, changed copies are found, the threshold is the chosen one."""

import json

import imagehash
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.near_duplicates import COPIES, CROPS, STRANGERS, VIEWS, check_near_duplicates
from lesion_utils.audit import near_duplicates as near
from lesion_utils.audit import open_image
from lesion_utils.audit.links import link_groups
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT

MEASURED = json.loads((PROJECT / "benchmarks" / "near_duplicates.json").read_text(encoding="utf-8"))
ORIENTATIONS = [None, *Image.Transpose]


def turned(picture: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return picture if turn is None else picture.transpose(turn)


def random_hashes(n: int, seed: int, close: int = 0) -> np.ndarray:
    """(8, 2, n) random hashes; those of the first ``close`` pictures differ in few bits."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, (8, 2, n), dtype=np.uint64)
    hashes[:, :, :close] = hashes[:, :, :1] ^ (np.uint64(1) << rng.integers(0, 64, (8, 2, close), dtype=np.uint64))
    return hashes


def bits(words: np.ndarray) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8))


def test_size_and_threshold_are_those_that_the_benchmark_chose():
    chosen = MEASURED["chosen on phantoms"]
    assert (chosen["hash size"], chosen["threshold, bits"]) == (near.HASH_SIZE, near.THRESHOLD)
    best = max(chosen["by hash size, bits"].values(), key=lambda size: size["d' of the hardest copies"])
    assert best["farthest copy"] < near.THRESHOLD < best["nearest two lesions"]


def test_what_the_tracked_check_on_ham10000_says():
    check = MEASURED["checked on HAM10000"]
    rows = {row["pairs"]: row for row in check["sampled"]}
    assert all(rows[kind]["rate"] >= 0.99 and rows[kind]["n"] == 1500 for kind in COPIES)
    assert rows[STRANGERS]["n"] == 1500 * 1499 // 2
    every = check["every pair"]
    assert every[STRANGERS]["n"] + every[VIEWS]["n"] == 10015 * 10014 // 2
    assert every[STRANGERS]["rate"] < 1e-7


def test_hashes_and_distances_are_imagehash_s(phantom_folder, threads):
    cases = ham10000.read(phantom_folder)[:4]
    hashes = near.picture_hashes(cases, threads)
    pictures = [open_image(path).convert("L").resize((96, 96), Image.Resampling.LANCZOS) for path in cases["path"]]
    upright = [imagehash.phash(picture, near.HASH_SIZE) for picture in pictures]
    oriented = [
        [imagehash.phash(turned(picture, turn), near.HASH_SIZE) for turn in ORIENTATIONS] for picture in pictures
    ]
    expected = [[min(one - other for other in others) for others in oriented] for one in upright]
    assert near.distances(hashes[0], hashes).tolist() == expected
    whole = imagehash.phash(open_image(cases["path"][0]), near.HASH_SIZE)
    assert np.array_equal(bits(near.orientation_hashes(open_image(cases["path"][0]))[0]), whole.hash.ravel())


@settings(max_examples=30)
@given(
    n=st.integers(0, 75), close=st.integers(0, 8), seed=st.integers(0, 99), threshold=st.sampled_from([0, 2, 40, 52])
)
def test_near_pairs_are_all_pairs_below_the_threshold(n, close, seed, threshold):
    hashes = random_hashes(n, seed, min(close, n))
    found = near.near_pairs(hashes, 2, threshold)
    loose = {
        (one, other, int(min((bits(hashes[0, :, one]) != bits(hashes[turn, :, other])).sum() for turn in range(8))))
        for one in range(min(n, 12))
        for other in range(one + 1, min(n, 12))
    }
    of_these = {tuple(row) for row in found.tolist() if row[1] < 12}
    assert of_these == {pair for pair in loose if pair[2] <= threshold}
    assert (found[:, 0] < found[:, 1]).all() and len({tuple(row[:2]) for row in found.tolist()}) == len(found)
    apart = near.distances(hashes[0], hashes)
    assert len(found) == (np.triu(apart <= threshold, 1)).sum()


@pytest.fixture(scope="module")
def originals(phantom_folder) -> pd.DataFrame:
    return ham10000.read(phantom_folder).drop_duplicates("lesion_id")[:12].reset_index(drop=True)


def copies(originals: pd.DataFrame, change, folder) -> pd.DataFrame:
    """The cases with a changed copy of each under another id and lesion."""
    paths = [str(folder / f"{name}.jpg") for name in originals["image_id"]]
    for path, original in zip(paths, originals["path"], strict=True):
        change(open_image(original)).save(path, quality=95)
    ids = "copy of " + originals["image_id"]
    made = originals.assign(path=paths, image_id=ids, isic_id=ids, lesion_id=ids)
    return pd.concat([originals, made], ignore_index=True)


@pytest.mark.parametrize("kind", COPIES)
def test_a_changed_copy_and_its_original_are_one_group(originals, tmp_path, threads, kind):
    cases = copies(originals, COPIES[kind], tmp_path)
    numbers = link_groups(cases, threads)
    group = numbers["near-duplicate"].to_numpy()
    assert len(set(group)) == 12 and (group >= 0).all() and (group[:12] == group[12:]).all()
    assert numbers["same pixels"].is_unique


@pytest.mark.parametrize("turn", Image.Transpose)
def test_every_orientation_is_found_in_any_order(originals, tmp_path, threads, turn):
    cases = copies(originals[:4], lambda picture: turned(picture, turn), tmp_path).iloc[::-1].reset_index(drop=True)
    group = link_groups(cases, threads)["near-duplicate"].to_numpy()
    assert (group[:4] == group[4:]).all() and len(set(group)) == 4


def test_what_an_id_a_lesion_or_pixels_tie_is_no_near_duplicate(originals, tmp_path, threads):
    cases = copies(originals[:4], COPIES["re-encoded, JPEG quality 30"], tmp_path)
    cases.loc[4, "isic_id"] = cases.loc[0, "isic_id"]
    cases.loc[5, "lesion_id"] = cases.loc[1, "lesion_id"]
    # a third image with the pixels of one and the lesion of the other ties them
    cases.loc[8] = cases.loc[2].replace(
        {cases.loc[2, "image_id"]: "third", cases.loc[2, "lesion_id"]: cases.loc[6, "lesion_id"]}
    )
    numbers = link_groups(cases, threads)
    group = numbers["near-duplicate"]
    assert set(group[[0, 1, 2, 4, 5, 6, 8]]) == {-1} and group[3] == group[7] >= 0
    assert numbers.loc[2, "same pixels"] == numbers.loc[8, "same pixels"]


def test_two_pictures_of_the_same_pixels_share_their_near_duplicates(originals, tmp_path, threads):
    cases = copies(originals[:2], COPIES["flipped left to right"], tmp_path)
    cases.loc[4] = cases.loc[0].replace({cases.loc[0, "image_id"]: "twin", cases.loc[0, "lesion_id"]: "twin"})
    group = link_groups(cases, threads)["near-duplicate"]
    assert group[0] == group[2] == group[4] != group[1]


@pytest.mark.slow
def test_the_check_counts_every_kind_and_writes_nothing(phantom_folder, threads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = ham10000.read(phantom_folder)
    before = sorted(phantom_folder.rglob("*"))
    found = check_near_duplicates(cases, 15, 0, threads).set_index("pairs")
    assert list(found.index) == [*COPIES, *CROPS, STRANGERS, VIEWS]
    assert (found.loc[[*COPIES, *CROPS], "n"] == 15).all()
    assert (found.loc[[*COPIES], "rate"] == 1).all() and found.loc[[*COPIES], "low"].between(0.75, 0.8).all()
    assert found.loc[STRANGERS, ["n", "found"]].tolist() == [15 * 14 // 2, 0]
    assert found.loc["cropped by 10% per side", "rate"] < 0.5  # not promised, and not claimed
    assert 0 < found.loc[VIEWS, "n"] <= 15
    assert found["wanted"].tolist() == [True] * 11 + [False] * 2
    assert not list(tmp_path.iterdir()) and sorted(phantom_folder.rglob("*")) == before
    assert found.reset_index().equals(check_near_duplicates(cases, 15, 0, threads))


def test_lesions_of_one_image_have_no_views(originals, threads):
    views = check_near_duplicates(originals, 3, 0, threads).set_index("pairs").loc[VIEWS]
    assert views["n"] == 0 and np.isnan(views["rate"])


def test_a_picture_that_cannot_be_decoded_is_named(originals, tmp_path, threads):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.jpg cannot be decoded"):
        near.picture_hashes(originals[:1].assign(path=str(tmp_path / "bad.jpg")), threads)


def test_no_picture_has_no_hash_and_no_pair(threads):
    hashes = near.picture_hashes(pd.DataFrame({"path": []}), threads)
    assert hashes.shape == (8, 9, 0) and near.near_pairs(hashes, threads).shape == (0, 3)


def test_a_pair_of_one_photograph_in_ham10000_is_found_and_copies_are(real_ham, threads):
    cases = ham10000.read(real_ham).set_index("image_id", drop=False)
    found = check_near_duplicates(cases.reset_index(drop=True), 40, 1, threads).set_index("pairs")
    assert (found.loc[[*COPIES], "rate"] == 1).all() and found.loc[STRANGERS, "found"] == 0
    twins = cases.loc[["ISIC_0025226", "ISIC_0030074"]]  # one photograph in two colours, under two lesion ids
    assert len(near.near_pairs(near.picture_hashes(twins, threads), threads)) == 1
