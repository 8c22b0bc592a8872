"""What frozen networks make of pictures: the same for whoever asks, computed once."""

import numpy as np
import pytest

from lesion_utils import features as frozen
from lesion_utils.datasets import ham10000
from lesion_utils.models import build
from lesion_utils.pictures import load
from lesion_utils.recipes import Augmentation, Recipe

SIZE = (32, 48)
RECIPE = Recipe(backbone="mobilenet_v1", alpha=0.25, cut="conv_pw_3_relu", image_size=SIZE, pooling="average")
CHANGE = Augmentation(flip="both", rotation=0.2, brightness=0.2)


@pytest.fixture(scope="module")
def paths(phantom_folder) -> list[str]:
    return list(ham10000.read(phantom_folder)["path"][:70])  # more than a batch


@pytest.fixture
def pixels(paths, threads, output):
    return load(paths, SIZE, threads)


@pytest.fixture(scope="module")
def network():
    return build(RECIPE, 3, None, 0)


def test_outputs_are_the_networks_own(pixels, network):
    made = frozen.outputs(network.features, pixels, ["one"])
    assert made.shape == (70, 32) and made.dtype == np.float32
    exact = network.features.predict(np.asarray(pixels, np.float32), verbose=0)
    assert np.allclose(made, exact, atol=1e-6) and np.ptp(exact) > 0


def test_a_picture_has_the_same_outputs_to_the_bit_whoever_is_beside_it(pixels, network):
    together = np.asarray(frozen.outputs(network.features, pixels, ["together"]))
    few = np.array([69, 3, 40])
    assert np.array_equal(frozen.outputs(network.features, pixels.take(few), ["few"]), together[few])


def test_what_was_computed_is_found_in_any_order_and_only_the_new_is_computed(pixels, network, monkeypatch):
    shown = []
    predict = network.features.predict_on_batch
    monkeypatch.setattr(network.features, "predict_on_batch", lambda batch: shown.append(batch) or predict(batch))
    first = frozen.outputs(network.features, pixels.take(np.arange(60)), ["one"])
    assert len(shown) == 1
    turned = frozen.outputs(network.features, pixels.take(np.arange(60)[::-1]), ["one"])
    assert len(shown) == 1 and np.array_equal(np.array(turned)[::-1], first)
    frozen.outputs(network.features, pixels, ["one"])
    assert len(shown) == 2
    assert np.array_equal(shown[1][:10], np.asarray(pixels, np.float32)[60:])
    frozen.outputs(network.features, pixels, ["another network"])
    assert len(shown) == 4


def test_views_are_drawn_by_content_and_number_alone(pixels, network):
    def view(number: int, rows: np.ndarray, origin: str = "one") -> np.ndarray:
        return np.asarray(frozen.outputs(network.features, pixels.take(rows), [origin], CHANGE, number))

    everything, few = np.arange(70), np.array([40, 2])
    plain = np.asarray(frozen.outputs(network.features, pixels, ["one"]))
    assert np.array_equal(view(0, everything), plain)
    one, two = view(1, everything), view(2, everything)
    for a, b in ((plain, one), (plain, two), (one, two)):
        assert (np.abs(a - b).max(axis=1) > 0).mean() > 0.9
    assert np.array_equal(view(1, few, "asked by another"), one[few])


def test_views_of_another_augmentation_are_others(pixels, network):
    one, other = (
        np.asarray(frozen.outputs(network.features, pixels, ["one"], change, 1))
        for change in (CHANGE, Augmentation(rotation=0.2))
    )
    assert not np.array_equal(one, other)


def test_the_origin_tells_networks_apart():
    base = {"recipe": RECIPE, "weights": "w", "statistics": (1.0, 2.0), "seed": 1, "threads": 2}
    same = [{"recipe": RECIPE.model_copy(update={"dropout": 0.5, "hidden": 7, "sampler": "over"})}]
    others = [{"weights": "v"}, {"threads": 1}, {"seed": 2}]
    changes = ({"alpha": 0.5}, {"cut": None}, {"pooling": "flatten"})
    others += [{"recipe": RECIPE.model_copy(update=change)} for change in changes]
    assert all(frozen.origin(**base | one) == frozen.origin(**base) for one in same)
    assert all(frozen.origin(**base | one) != frozen.origin(**base) for one in others)
    pretrained = base | {"recipe": RECIPE.model_copy(update={"weights": "imagenet"})}
    assert frozen.origin(**pretrained) == frozen.origin(**pretrained | {"seed": 2})  # its weights come of no seed
    assert frozen.origin(**base) == frozen.origin(**base | {"statistics": (0.0, 2.0)})
    standardised = base | {"recipe": RECIPE.model_copy(update={"scaling": "z_score"})}
    assert frozen.origin(**standardised) != frozen.origin(**standardised | {"statistics": (0.0, 2.0)})
