"""Outputs of frozen networks: the same for every caller, computed once."""

import numpy as np
import pytest

from lesion_utils.datasets import ham10000
from lesion_utils.features import cached_features, feature_cache_key
from lesion_utils.models import build
from lesion_utils.pictures import load_pictures
from lesion_utils.recipes import Augmentation, Recipe

SIZE = (32, 48)
BACKBONE = {"name": "mobilenet_v1", "alpha": 0.25, "cut": "conv_pw_3_relu", "image_size": SIZE, "pooling": "average"}
RECIPE = Recipe(backbone=BACKBONE)
CHANGE = Augmentation(flip="both", rotation=0.2, brightness=0.2)


@pytest.fixture(scope="module")
def paths(phantom_folder) -> list[str]:
    return list(ham10000.read(phantom_folder)["path"][:70])  # more than a batch


@pytest.fixture
def pixels(paths, threads, output):
    return load_pictures(paths, SIZE, threads)


@pytest.fixture(scope="module")
def network():
    return build(RECIPE, 3, None, 0)


def test_features_are_the_outputs_of_the_network(pixels, network):
    made = cached_features(network.features, pixels, ["one"])
    assert made.shape == (70, 32) and made.dtype == np.float32
    exact = network.features.predict(np.asarray(pixels, np.float32), verbose=0)
    assert np.allclose(made, exact, atol=1e-6) and np.ptp(exact) > 0


def test_a_picture_has_the_same_outputs_to_the_bit_in_any_batch(pixels, network):
    together = np.asarray(cached_features(network.features, pixels, ["together"]))
    few = np.array([69, 3, 40])
    assert np.array_equal(cached_features(network.features, pixels.take(few), ["few"]), together[few])


def test_only_new_pictures_are_computed_in_any_order(pixels, network, monkeypatch):
    shown = []
    predict = network.features.predict_on_batch
    monkeypatch.setattr(network.features, "predict_on_batch", lambda batch: shown.append(batch) or predict(batch))
    first = cached_features(network.features, pixels.take(np.arange(60)), ["one"])
    assert len(shown) == 1
    turned = cached_features(network.features, pixels.take(np.arange(60)[::-1]), ["one"])
    assert len(shown) == 1 and np.array_equal(np.array(turned)[::-1], first)
    cached_features(network.features, pixels, ["one"])
    assert len(shown) == 2
    assert np.array_equal(shown[1][:10], np.asarray(pixels, np.float32)[60:])
    cached_features(network.features, pixels, ["another network"])
    assert len(shown) == 4


def test_views_are_drawn_by_content_and_number_alone(pixels, network):
    def view(number: int, rows: np.ndarray, key: str = "one") -> np.ndarray:
        return np.asarray(cached_features(network.features, pixels.take(rows), [key], CHANGE, number))

    everything, few = np.arange(70), np.array([40, 2])
    plain = np.asarray(cached_features(network.features, pixels, ["one"]))
    one, two = view(1, everything), view(2, everything)
    for a, b in ((plain, one), (plain, two), (one, two)):
        assert (np.abs(a - b).max(axis=1) > 0).mean() > 0.9
    assert np.array_equal(view(1, few, "asked by another"), one[few])


def test_another_augmentation_gives_other_views(pixels, network):
    one, other = (
        np.asarray(cached_features(network.features, pixels, ["one"], change, 1))
        for change in (CHANGE, Augmentation(rotation=0.2))
    )
    assert not np.array_equal(one, other)


def test_the_cache_key_changes_with_what_decides_the_features():
    backbone = RECIPE.backbone
    base = {"backbone": backbone, "weights": "w", "statistics": (1.0, 2.0), "seed": 1, "threads": 2}
    for change in ({"alpha": 0.5}, {"cut": None}, {"pooling": "flatten"}, {"batch_norm": True}):
        assert feature_cache_key(**base | {"backbone": backbone.model_copy(update=change)}) != feature_cache_key(**base)
    for change in ({"weights": "v"}, {"threads": 1}, {"seed": 2}):
        assert feature_cache_key(**base | change) != feature_cache_key(**base)
    pretrained = base | {"backbone": backbone.model_copy(update={"weights": "imagenet"})}
    assert feature_cache_key(**pretrained) == feature_cache_key(**pretrained | {"seed": 2})  # no random weights
    other = {"statistics": (0.0, 2.0)}
    assert feature_cache_key(**base) == feature_cache_key(**base | other)
    standardised = base | {"backbone": backbone.model_copy(update={"scaling": "z_score"})}
    assert feature_cache_key(**standardised) != feature_cache_key(**standardised | other)
