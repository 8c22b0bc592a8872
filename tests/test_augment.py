"""Augmentation: Keras' own changes with the published settings, and system 000's crop."""

import numpy as np
import pytest
from keras.src.legacy.preprocessing import image

from lesion_utils import augment
from lesion_utils.augment import make_augmenter, visible_area_and_fill
from lesion_utils.recipes import Augmentation
from lesion_utils.runtime import keras
from lesion_utils.study import load_study

KINDS = {
    "flip": "both",
    "rotation": 0.2,
    "zoom": 0.3,
    "shift": 0.2,
    "shear": 0.2,
    "brightness": 0.3,
    "contrast": 0.5,
}
ENGINES = ("keras_layers", "image_data_generator")
SHAPES = {kind: KINDS[kind] for kind in ("flip", "rotation", "zoom", "shift", "shear")}
SIZE = (12, 16)


def pictures(n: int = 6, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), np.uint8)


def augmentation_of(engine: str, **kinds) -> Augmentation:
    return Augmentation(engine=engine, **kinds)


CHANGES = [*(("keras_layers", kind) for kind in KINDS), *(("image_data_generator", kind) for kind in SHAPES)]


@pytest.mark.parametrize(("engine", "kind"), CHANGES)
def test_each_kind_changes_pictures_and_leaves_those_given(engine, kind):
    given = pictures()
    changed = make_augmenter(augmentation_of(engine, **{kind: KINDS[kind]}), 0)(given, 0)
    assert changed.shape == given.shape and changed.dtype == np.float32
    assert np.array_equal(given, pictures()) and np.abs(changed - given).max() > 10
    assert changed.min() >= 0 and changed.max() <= 255


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_changes_nothing(engine):
    none = augmentation_of(engine)
    assert not none.changes and not augmentation_of(engine, fill="black").changes
    assert np.array_equal(make_augmenter(none, 0)(pictures(), 0), pictures())


@pytest.mark.parametrize("kind", ["brightness", "contrast"])
def test_the_generator_refuses_changes_of_colour(kind):
    with pytest.raises(ValueError, match=f"`{kind}`|keras_layers"):
        augmentation_of("image_data_generator", **{kind: 0.1})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_flips_keep_every_pixel_and_each_axis_is_flipped_by_itself(engine, flip, axes):
    possible = [pictures()]
    for axis in axes:
        possible += [np.flip(group, axis) for group in possible]
    change, matches = make_augmenter(augmentation_of(engine, flip=flip)), set()
    for number in range(6):
        for row, changed in enumerate(change(pictures(), number)):
            (match,) = [index for index, group in enumerate(possible) if np.array_equal(changed, group[row])]
            matches.add(match)
    assert matches == set(range(len(possible)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("fill", "allowed"), [("black", {0, 100}), ("nearest", {100, 200}), ("reflect", {100})])
def test_the_space_outside_a_picture_is_filled_as_asked(engine, fill, allowed):
    picture = np.full((8, 40, 40, 3), 100, np.uint8)
    picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1] = 200, 200, 200, 200
    changed = make_augmenter(augmentation_of(engine, shift=0.5, fill=fill))(picture, 0)
    shares = {value: (np.abs(changed - value) < 1).mean() for value in (0, 100, 200)}
    assert {value for value, share in shares.items() if share > 0.12} == allowed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_seed_and_numbers_decide_what_is_drawn(engine):
    asked = augmentation_of(engine, **SHAPES)
    once = make_augmenter(asked, 3)(pictures(), 1, 6)
    assert np.array_equal(once, make_augmenter(asked, 3)(pictures(), 1, 6))
    for seed, *numbers in [(4, 1, 6), (3, 2, 6), (3, 1, 12), (1, 3, 6)]:
        assert not np.array_equal(once, make_augmenter(asked, seed)(pictures(), *numbers))
    assert len(np.unique(once.reshape(6, -1), axis=0)) == 6


def test_the_layers_change_pictures_in_the_order_of_the_published_models(monkeypatch):
    order = []
    for name in ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomShear"):
        layer = getattr(keras.layers, name)

        def call(self, data, *, training=True, call=layer.call, name=name):
            order.append(name)
            return call(self, data, training=training)

        monkeypatch.setattr(layer, "call", call)
    make_augmenter(augmentation_of("keras_layers", **SHAPES))(pictures(), 0)
    assert list(dict.fromkeys(order)) == [
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomTranslation",
        "RandomShear",
    ]


def test_layers_make_what_keras_makes_with_the_same_random_numbers():
    asked = augmentation_of("keras_layers", flip="horizontal", rotation=0.1, zoom=0.1)  # systems 003 and 004
    changed = expected = pictures(8, (30, 40)).astype(np.float32)
    changed = make_augmenter(asked, 5)(changed, 2)
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1), keras.layers.RandomZoom(0.1)]
    for layer, state in zip(layers, np.random.SeedSequence([5, 2]).generate_state(6).reshape(-1, 2), strict=True):
        layer.generator.state.assign(state)
        expected = layer(expected, training=True)
    assert np.allclose(changed, expected, atol=1e-3)


# the published settings


@pytest.mark.parametrize(
    ("study", "recipe", "settings"),
    [
        (
            "000b_as_run",
            "imbalance_as_run",
            {"rotation_range": 359, "width_shift_range": 0.1, "height_shift_range": 0.1, "shear_range": 0.1}
            | {"zoom_range": [0.9, 1.1], "horizontal_flip": True, "vertical_flip": True, "fill_mode": "nearest"},
        ),
        (
            "002_as_run",
            "as_run",
            {"rotation_range": 20, "width_shift_range": 0.1, "height_shift_range": 0.1, "shear_range": 0}
            | {"zoom_range": [0.9, 1.1], "horizontal_flip": True, "vertical_flip": False, "fill_mode": "nearest"},
        ),
        (
            "001_as_run",
            "as_run",
            {"rotation_range": 180, "width_shift_range": 0.1, "height_shift_range": 0.1, "shear_range": 0}
            | {"zoom_range": [0.9, 1.1], "horizontal_flip": True, "vertical_flip": True, "fill_mode": "nearest"},
        ),
    ],
)
def test_the_generator_has_the_settings_of_the_published_code(study, recipe, settings, monkeypatch):
    made = []
    generator = image.ImageDataGenerator
    monkeypatch.setattr(image, "ImageDataGenerator", lambda **asked: made.append(generator(**asked)) or made[-1])
    recipe = load_study(f"published/{study}").recipes[recipe]
    make_augmenter(recipe.offline_copies.change if recipe.offline_copies else recipe.augmentation)
    for name, value in settings.items():
        assert getattr(made[0], name) == (value if isinstance(value, str) else pytest.approx(value, rel=2e-3)), name


# system 000's crop


@pytest.mark.slow
def test_the_crop_of_system_000_is_a_corner_and_mostly_fill():
    corner = Augmentation(rotation=0.5, rotation_crop="corner", fill="black", flip="vertical")
    table = visible_area_and_fill(corner, (128, 128), 2000)
    # The system's own code gave 87% fill on average on pictures of 299 px.
    assert table["fill"].mean() == pytest.approx(0.87, abs=0.02)
    assert table["area"].median() < 0.01


@pytest.mark.parametrize(("degrees", "side"), [(0, 299), (1, 3), (10, 24), (45, 62), (90, 299), (180, 299)])
def test_its_corner_is_as_large_as_the_systems_own_code_cuts_it(degrees, side, monkeypatch):
    shapes = []
    resize = augment.cv2.resize
    monkeypatch.setattr(augment.cv2, "resize", lambda cut, size: shapes.append(cut.shape) or resize(cut, size))
    corner = Augmentation(rotation=0.5, rotation_crop="corner", fill="black")
    picture = np.zeros((299, 299, 3), np.uint8)
    assert augment._rotate_and_crop(picture, degrees, corner).shape == picture.shape
    assert shapes == [(side, side, 3)]


@pytest.mark.parametrize("size", [(64, 64), (60, 80)])
def test_the_inscribed_rectangle_holds_no_fill_and_could_not_be_larger(size, monkeypatch):
    inscribed = Augmentation(rotation=0.5, rotation_crop="inscribed", fill="black")
    shares = []
    resize = augment.cv2.resize
    monkeypatch.setattr(augment.cv2, "resize", lambda cut, to: shares.append(cut[..., 0].size) or resize(cut, to))
    white = np.full((*size, 3), 255, np.uint8)
    for degrees in range(0, 360, 7):
        assert (augment._rotate_and_crop(white, degrees, inscribed) > 200).mean() > 0.995
        sin, cos = abs(np.sin(np.radians(degrees))), abs(np.cos(np.radians(degrees)))
        ratio = max(size[1] / size[0], size[0] / size[1])
        largest = size[0] * size[1] / (cos + ratio * sin) ** 2
        assert 0.92 * largest <= shares[-1] <= largest + 1
    assert visible_area_and_fill(inscribed, size, 100)["fill"].max() < 0.005


@pytest.mark.parametrize("engine", ENGINES)
def test_visible_area_and_fill_of_a_zoom_and_of_a_flip(engine):
    zoomed = visible_area_and_fill(augmentation_of(engine, zoom=0.3), (60, 80), 100)
    assert 0.48 < zoomed["area"].min() < 0.75 and zoomed["area"].max() <= 1.01  # zoomed in by up to 0.7 a side
    assert 0.2 < zoomed["fill"].max() < 0.45 and zoomed["fill"].min() < 0.02  # zoomed out by up to 1.3 a side
    flipped = visible_area_and_fill(augmentation_of(engine, flip="both", brightness=0), (60, 80), 20)
    assert (flipped["area"] == 1).all() and (flipped["fill"] == 0).all()
