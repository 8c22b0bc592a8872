"""One lesion in two pictures: known transformations of photographs, known neighbours, and merged lesions."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from lesion_utils.audit import same_lesion as same
from lesion_utils.audit.same_lesion import evidence, keypoints, merged_lesions, neighbours, same_lesion
from lesion_utils.cases import data_digest, make_case_tables
from lesion_utils.errors import InputError
from lesion_utils.study import StudyParams

CHINA, FLOWER = (Image.fromarray(picture).resize((400, 267)) for picture in load_sample_images().images)


@pytest.fixture
def found(tmp_path):
    """The keypoints of a picture."""

    def find(picture, name="picture.png"):
        picture.save(tmp_path / name)
        return keypoints(str(tmp_path / name))

    return find


@pytest.mark.parametrize(
    ("change", "zoom", "angle", "mirrored"),
    [
        (lambda picture: picture, 1, 0, False),
        (lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 1, 0, True),
        (lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM), 1, 180, True),
        (lambda picture: picture.transpose(Image.Transpose.ROTATE_180), 1, 180, False),
        (lambda picture: picture.crop((40, 27, 360, 240)), 1.25, 0, False),
        (lambda picture: ImageEnhance.Brightness(picture.resize((200, 133))).enhance(0.7), 1, 0, False),
    ],
)
def test_the_transformation_of_a_picture_is_found(found, change, zoom, angle, mirrored):
    of = evidence(found(FLOWER), found(change(FLOWER)))
    assert of.keypoints >= 5 * same.THRESHOLD and of.mirrored == mirrored
    assert of.zoom == pytest.approx(zoom, rel=0.03)
    assert abs(abs(of.angle) - angle) < 3


def test_other_pictures_do_not_fit(found):
    assert evidence(found(FLOWER), found(CHINA)).keypoints < same.THRESHOLD


def test_a_mirror_image_needs_no_second_look(found):
    """The descriptors of the mirrored keypoints are those found in the mirror image."""
    turned, seen = found(FLOWER).mirrored, found(FLOWER.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    near = np.linalg.norm(turned.points[:, None] - seen.points, axis=2)
    pairs = [(row, near[row].argmin()) for row in range(len(near)) if near[row].min() < 0.5]
    distances = [
        np.linalg.norm(turned.descriptors[a].astype(float) - seen.descriptors[b].astype(float)) for a, b in pairs
    ]
    assert len(pairs) > 200 and np.median(distances) < 60  # unrelated descriptors are about 500 apart


def test_a_picture_without_structure_fits_nothing(found):
    plain = found(Image.new("RGB", (150, 112), (200, 150, 130)))
    assert len(plain.points) == 0 and evidence(plain, found(FLOWER)).keypoints == 0
    assert evidence(plain, plain).keypoints == 0


def test_neighbours_are_pairs_once_each():
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]], float)
    assert neighbours(features, 1).tolist() == [[0, 1], [2, 3], [2, 4]]
    assert len(neighbours(features, 4)) == 10 and len(neighbours(features, 50)) == 10
    assert neighbours(features[:1]).shape == (0, 2)


@pytest.mark.slow
def test_pairs_under_other_ids_are_listed_and_those_of_one_lesion_are_not(tmp_path):
    mirrored, small = FLOWER.transpose(Image.Transpose.FLIP_LEFT_RIGHT), FLOWER.resize((200, 133))
    shown = {"a": FLOWER, "b": mirrored, "c": small, "d": CHINA}
    for name, picture in shown.items():
        picture.save(tmp_path / f"{name}.png")
    cases = pd.DataFrame({"image_id": [*shown], "path": [str(tmp_path / f"{name}.png") for name in shown]})
    cases["lesion_id"] = ["L1", "L2", "L1", "L4"]
    pairs = same_lesion(cases, np.eye(4), threads=2)
    assert {frozenset(pair) for pair in zip(pairs["first"], pairs["second"], strict=True)} == {
        frozenset("ab"),
        frozenset("bc"),
    }
    assert pairs["mirrored"].all() and pairs["keypoints"].is_monotonic_decreasing
    unknown = same_lesion(cases.assign(lesion_id=None), np.eye(4), threads=2)
    assert len(unknown) == 3


def test_lesions_are_merged_through_chains():
    cases = pd.DataFrame({"image_id": list("abcdef"), "lesion_id": ["L1", "L2", "L2", "L3", "L4", "L5"]})
    pairs = pd.DataFrame({"first": ["a", "c", "z"], "second": ["b", "d", "e"]})
    assert merged_lesions(cases, pairs).tolist() == ["L1", "L1", "L1", "L1", "L4", "L5"]
    assert merged_lesions(cases, pairs[:0]).tolist() == cases["lesion_id"].tolist()


def test_a_study_merges_lesions_of_the_list_before_the_split(phantom_folder, tmp_path, monkeypatch):
    plain = StudyParams(data=str(phantom_folder))
    merging = plain.model_copy(update={"merge_same_lesion": True})
    with pytest.raises(InputError, match=r"no list.*'phantom'.*merge_same_lesion"):
        make_case_tables(merging)
    before = make_case_tables(plain)["corrected"]
    of_lesion = before.groupby(["label", "lesion_id"])[["image_id", "split"]].first().loc["nv"]
    pairs = [(of_lesion.at[a, "image_id"], of_lesion.at[b, "image_id"]) for a, b in pairwise(of_lesion.index[:6])]
    pd.DataFrame(pairs, columns=["first", "second"]).to_csv(tmp_path / "list.csv", index=False)
    monkeypatch.setattr("lesion_utils.cases.same_lesion_list", lambda params: tmp_path / "list.csv")
    after = make_case_tables(merging)["corrected"].set_index("image_id")
    merged = after.loc[[image for pair in pairs for image in pair]]
    assert merged["lesion_id"].nunique() == 1 and merged["split"].nunique() == 1
    assert of_lesion["split"][:6].nunique() > 1  # they were in several parts
    assert after["lesion_id"].nunique() == before["lesion_id"].nunique() - 5
    assert data_digest(merging) != data_digest(plain)
