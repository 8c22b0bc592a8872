"""The audit finds what was planted in a phantom, all of it and nothing else, and every file that is no picture."""

import io
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lesion_utils.audit import conflicting_labels, open_image, pixel_digests, same_pixels, shared_lesions
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.errors import InputError
from lesion_utils.params import Phantom


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "phantom"
    phantom.write(folder, Phantom(lesions=20, duplicates=4, conflicting_labels=3))
    return folder


def truth_of(folder: Path) -> tuple[set[frozenset[str]], set[frozenset[str]]]:
    """The pairs of images planted as duplicates, and those planted under another label."""
    truth = pd.read_csv(folder / "phantom_truth.csv", keep_default_na=False)
    return tuple(
        {frozenset(pair) for pair in truth.loc[truth[column] != "", ["image_id", column]].to_numpy()}
        for column in ("duplicate_of", "conflict_of")
    )


def groups_of(found: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset(group) for _, group in found.groupby("group")["image_id"]}


def test_planted_duplicates_and_conflicts_are_found_exactly(planted, threads):
    cases = ham10000.read(planted)
    digests = pixel_digests(cases, threads)
    duplicates, conflicts = truth_of(planted)
    assert (len(duplicates), len(conflicts)) == (4, 3)
    assert groups_of(same_pixels(cases, digests)) == duplicates | conflicts
    assert groups_of(conflicting_labels(cases, digests)) == conflicts


def test_nothing_is_found_where_nothing_is_planted(phantom_folder, threads):
    cases = ham10000.read(phantom_folder)
    digests = pixel_digests(cases, threads)
    assert same_pixels(cases, digests).empty and conflicting_labels(cases, digests).empty


def test_the_order_and_the_index_of_the_cases_do_not_matter(planted, threads):
    cases = ham10000.read(planted).sample(frac=1, random_state=0)
    duplicates, conflicts = truth_of(planted)
    assert groups_of(same_pixels(cases, pixel_digests(cases, threads))) == duplicates | conflicts


def test_the_same_pixels_in_another_file_are_the_same_and_another_shape_is_not(tmp_path, threads):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.png")
    Image.new("RGB", (6, 4), "red").save(tmp_path / "b.bmp")
    Image.new("RGB", (4, 6), "red").save(tmp_path / "c.png")
    names = ["a.png", "b.bmp", "c.png"]
    cases = pd.DataFrame({"image_id": names, "path": [str(tmp_path / name) for name in names]})
    found = same_pixels(cases, pixel_digests(cases, threads))
    assert list(found["image_id"]) == ["a.png", "b.bmp"]


def test_three_alike_are_one_group(threads):
    cases = pd.DataFrame({"image_id": list("abcdef"), "label": ["nv", "nv", "nv", "mel", "nv", "mel"]})
    digests = pd.Series(["2", "1", "2", "2", "3", "1"])
    assert groups_of(same_pixels(cases, digests)) == {frozenset("acd"), frozenset("bf")}
    cases.loc[5, "label"] = "nv"
    assert groups_of(conflicting_labels(cases, digests)) == {frozenset("acd")}


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_picture_is_named(ham_folder, threads, kept):
    cases = ham10000.read(ham_folder)
    path = Path(cases["path"][5])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=rf"{path.name} cannot be decoded .*Cure: fetch this file again"):
        pixel_digests(cases, threads)


def test_files_that_are_no_pictures_are_named(tmp_path):
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    broken = bytearray(png.getvalue())
    broken[40] ^= 255  # inside the compressed pixels
    for name, content in [("text.jpg", b"hello"), ("broken.png", bytes(broken))]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be decoded"):
            open_image(str(tmp_path / name))
    with pytest.raises(InputError, match=r"gone\.jpg cannot be decoded"):
        open_image(str(tmp_path / "gone.jpg"))


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_pictures_of_other_modes_come_as_rgb(tmp_path, mode):
    Image.new(mode, (6, 4)).save(tmp_path / "a.tif")
    assert open_image(str(tmp_path / "a.tif")).mode == "RGB"


def test_shared_lesions():
    cases = pd.DataFrame({"lesion_id": ["a", "a", "b", "c"]})
    others = pd.DataFrame({"lesion_id": ["c", "d", "a"]})
    assert shared_lesions(cases, others) == {"a", "c"}
    assert shared_lesions(cases, others[1:2]) == set()
