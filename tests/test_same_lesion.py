"""One lesion in two pictures: known transformations of photographs, known neighbours, and merged lesions."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from lesion_utils.audit import same_lesion as same
from lesion_utils.audit.same_lesion import evidence, keypoints, merged_lesions, neighbours, same_lesion

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
