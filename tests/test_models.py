"""Networks: their shape, what learns and what stays, losses and metrics by known answers, loading of weights."""

import re
import shutil
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from lesion_utils.errors import InputError
from lesion_utils.losses import BalancedAccuracy
from lesion_utils.losses import loss as loss_of
from lesion_utils.models import build, finished, load_backbone, set_trainable, split_below
from lesion_utils.recipes import BackboneOptions, Recipe
from lesion_utils.runtime import keras, tf

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras with NumPy 2

MOBILE = {"name": "mobilenet_v2", "alpha": 0.35, "image_size": (32, 32), "pooling": "average"}


def loss(recipe: Recipe, sizes: tuple[int, ...] = (50, 30, 20)):
    return loss_of(recipe, np.array(sizes))


def recipe_of(backbone: dict, **fields) -> Recipe:
    return Recipe(backbone=backbone, **{"hidden": 0} | fields)


SMALL = recipe_of({"image_size": (16, 24)}, hidden=8)

V1_SMALL = "mobilenet_v1_0.75_224_imagenet_notop.weights.h5"
V1 = "mobilenet_v1_1.0_224_imagenet_upto_conv_dw_13.weights.h5"
V2 = "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"
INCEPTION = "inception_v3_imagenet_upto_mixed8.weights.h5"


def pictures(recipe: Recipe, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *recipe.backbone.image_size, 3)).astype(np.float32)


def train_a_step(network, recipe: Recipe, classes: int = 3) -> None:
    network.whole.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss(recipe))
    network.whole.train_on_batch(pictures(recipe), np.eye(classes, dtype=np.float32)[[0, 1, 2, 0]])


def values_of(layer) -> list[np.ndarray]:
    return [value.copy() for value in layer.get_weights()]


def alike(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# shape


def test_the_small_cnn_has_the_parameters_of_the_published_system():
    published = recipe_of({"image_size": (180, 180), "pooling": "flatten"}, hidden=128)
    network = build(published, classes=9, weights=None, seed=0)
    assert network.whole.count_params() == 3_989_801
    assert network.backbone.output_shape == (None, 22, 22, 64)
    assert network.whole.output_shape == (None, 9)


def test_a_head_may_have_no_hidden_layer_and_average_instead_of_flatten():
    plain = recipe_of({"image_size": (16, 24), "pooling": "average"}, dropout=0.5)
    assert build(plain, 7, None, 0).head.count_params() == 64 * 7 + 7
    assert build(SMALL, 7, None, 0).features.output_shape == (None, 2 * 3 * 64)


def test_probabilities_come_from_pictures_of_0_to_255():
    network = build(SMALL, 3, None, 0)
    shown = network.whole.predict(pictures(SMALL), verbose=0)
    assert shown.shape == (4, 3) and np.allclose(shown.sum(1), 1, atol=1e-6)
    in_parts = network.head.predict(network.features.predict(pictures(SMALL), verbose=0), verbose=0)
    assert np.allclose(shown, in_parts, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "low", "high"),
    [
        ({}, 0, 1),
        ({"scaling": "minus_one_to_one"}, -1, 1),
        (MOBILE, -1, 1),
        (MOBILE | {"scaling": "zero_to_one"}, 0, 1),
    ],
    ids=["cnn", "cnn_scaled", "mobile", "mobile_scaled"],
)
def test_pictures_are_scaled_to_the_range_of_the_recipe(recipe, low, high):
    features = build(recipe_of(recipe), 3, None, 0).features
    (scale,) = [layer for layer in features.layers if isinstance(layer, keras.layers.Rescaling)]
    assert np.allclose(scale(np.array([0.0, 255.0])), [low, high])


def test_the_seed_decides_the_first_weights():
    one, same, other = (build(SMALL, 3, None, seed).whole.get_weights() for seed in (1, 1, 2))
    assert alike(one, same) and not alike(one, other)


@pytest.mark.slow
def test_a_cut_ends_the_backbone_there():
    cut = "block_3_expand_relu"
    whole, short = (load_backbone(BackboneOptions(**MOBILE, cut=name), None) for name in (None, cut))
    assert short.layers[-1].name == cut and len(short.layers) < len(whole.layers)


def test_a_cut_that_does_not_exist_and_a_picture_too_small_are_refused():
    with pytest.raises(InputError, match=r"`cut`: mobilenet.* has no layer 'mixed5'\. Its last layers: .*out_relu\."):
        load_backbone(BackboneOptions(**MOBILE, cut="mixed5"), None)
    with pytest.raises(InputError, match=r"inception_v3 needs sides of at least 75 px, got \(74, 200\)"):
        load_backbone(BackboneOptions(name="inception_v3", image_size=(74, 200)), None)


# what learns


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.slow
def test_frozen_batch_norm_stays_as_it_is_through_a_training_step(frozen):
    recipe = recipe_of(MOBILE | {"cut": "block_1_project_BN"})
    network = build(recipe, 3, None, 0)
    set_trainable(network, "all", freeze_batch_norm=frozen)
    names = ["Conv1", "bn_Conv1", "block_1_expand", "block_1_expand_BN"]
    before = {name: values_of(network.backbone.get_layer(name)) for name in names}
    train_a_step(network, recipe)
    stayed = {name: alike(before[name], values_of(network.backbone.get_layer(name))) for name in names}
    assert stayed == {"Conv1": False, "bn_Conv1": frozen, "block_1_expand": False, "block_1_expand_BN": frozen}


@pytest.mark.slow
def test_batch_norm_below_the_layer_from_which_is_trained_stays_even_if_not_frozen():
    recipe = recipe_of(MOBILE | {"cut": "block_1_project_BN"})
    network = build(recipe, 3, None, 0)
    set_trainable(network, "block_1_project", freeze_batch_norm=False)
    names = ["bn_Conv1", "block_1_depthwise_BN", "block_1_project_BN"]
    before = {name: values_of(network.backbone.get_layer(name)) for name in names}
    train_a_step(network, recipe)
    stayed = [alike(before[name], values_of(network.backbone.get_layer(name))) for name in names]
    assert stayed == [True, True, False]


@pytest.mark.parametrize(
    ("train", "learning"),
    [("all", ["conv_a", "conv_b", "conv_c"]), ("conv_b", ["conv_b", "conv_c"]), ("head", [])],
)
def test_only_what_is_asked_learns(train, learning):
    network = build(SMALL, 3, None, 0)
    convolutions = [layer for layer in network.backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    by_name = dict(zip(["conv_a", "conv_b", "conv_c"], convolutions, strict=True))
    set_trainable(network, by_name[train].name if train in by_name else train, freeze_batch_norm=True)
    before = {name: values_of(layer) for name, layer in by_name.items()}
    head = values_of(network.head)
    train_a_step(network, SMALL)
    assert [name for name, layer in by_name.items() if not alike(before[name], values_of(layer))] == learning
    assert not alike(head, values_of(network.head))


@pytest.mark.parametrize(
    ("backbone", "layer", "cut"),
    [
        ("mobilenet_v1", "conv_dw_12", "conv_pad_12"),
        ("mobilenet_v1", "conv_pw_12_bn", "conv_pw_12"),
        ("mobilenet_v2", "block_5_project", "block_4_add"),  # which is added to what block 5 makes
        ("mobilenet_v2", "block_6_expand", "block_5_add"),
        ("inception_v3", "mixed1", "mixed0"),  # whose branches lie between
    ],
)
@pytest.mark.slow
def test_a_network_in_two_says_what_it_says_in_one(backbone, layer, cut):
    size = (80, 80) if backbone == "inception_v3" else (32, 32)
    width = {} if backbone == "inception_v3" else {"alpha": 0.25 if backbone == "mobilenet_v1" else 0.35}
    recipe = recipe_of({"name": backbone, "image_size": size, "pooling": "average", **width})
    network = build(recipe, 3, None, 0)
    lower, upper = split_below(network, layer)
    assert lower.output_shape[1:] == network.backbone.get_layer(cut).output.shape[1:]
    assert len(lower.layers[-1].layers) == network.backbone.layers.index(network.backbone.get_layer(cut)) + 1
    shown = pictures(recipe)
    together = upper.predict(lower.predict(shown, verbose=0), verbose=0)
    assert np.allclose(together, network.whole.predict(shown, verbose=0), atol=1e-6)


def test_the_upper_part_learns_for_the_whole():
    network = build(recipe_of(MOBILE | {"name": "mobilenet_v1", "alpha": 0.25}, hidden=128), 3, None, 0)
    set_trainable(network, "conv_dw_13", freeze_batch_norm=True)
    _, upper = split_below(network, "conv_dw_13")
    assert len(upper.trainable_weights) == len(network.whole.trainable_weights)
    before = values_of(network.whole)
    upper.compile(optimizer="sgd", loss="categorical_crossentropy")
    upper.train_on_batch(np.ones((2, *upper.input_shape[1:]), np.float32), np.eye(3, dtype=np.float32)[:2])
    assert not alike(before, values_of(network.whole))


def test_nothing_lies_below_the_first_layer():
    network = build(SMALL, 3, None, 0)
    assert split_below(network, network.backbone.layers[1].name) is None


def test_a_later_phase_may_let_more_learn():
    network = build(SMALL, 3, None, 0)
    counts = []
    for train in ("head", "all", "head"):
        set_trainable(network, train, freeze_batch_norm=True)
        counts.append(len(network.whole.trainable_weights))
    assert counts == [4, 10, 4]


def test_a_layer_that_does_not_exist_is_refused():
    network = build(recipe_of(MOBILE), 3, None, 0)
    with pytest.raises(InputError, match=r"`phases\.train`: mobilenet.* has no layer 'block_99'"):
        set_trainable(network, "block_99", freeze_batch_norm=True)


# losses and metrics


def test_losses_by_known_answers():
    truth = np.eye(3, dtype=np.float32)[[0, 1]]
    told = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32)
    right = np.array([0.5, 0.2])
    assert loss(Recipe())(truth, told).numpy() == pytest.approx(-np.log(right).mean())
    focal = loss(Recipe(loss="focal", focal_alpha=0.25, focal_gamma=2))(truth, told).numpy()
    assert focal == pytest.approx((-0.25 * (1 - right) ** 2 * np.log(right)).mean())
    binary = loss(Recipe(loss="binary_focal", focal_alpha=0.25, focal_gamma=2))(truth, told).numpy()
    others = np.where(truth == 1, 0.0, told)
    true_class = (-0.25 * (1 - right) ** 2 * np.log(right)).sum()
    assert binary == pytest.approx((true_class - (0.75 * others**2 * np.log1p(-others)).sum()) / truth.size, rel=1e-5)


def softmax_loss(scores: np.ndarray, truth: np.ndarray) -> float:
    return float(-(truth * (scores - np.log(np.exp(scores).sum(1, keepdims=True)))).sum(1).mean())


def test_losses_for_unequal_classes_by_known_answers():
    truth = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    told = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]], np.float32)
    scores, shares = np.log(told), np.array([0.5, 0.3, 0.2])
    adjusted = loss(Recipe(loss="logit_adjusted", adjustment=2.0))(truth, told).numpy()
    assert adjusted == pytest.approx(softmax_loss(scores + 2 * np.log(shares), truth), rel=1e-5)
    # the rarest class has the whole margin, others less by the fourth root of their size; scores are cosines times 30
    margins = 0.5 * (20 / np.array([50, 30, 20])) ** 0.25
    ldam = loss(Recipe(loss="ldam", cosine_scale=30))(truth, told).numpy()
    assert ldam == pytest.approx(softmax_loss(scores - 30 * margins * truth, truth), rel=1e-5)
    smooth = 0.9 * truth + 0.1 / 3
    assert loss(Recipe(label_smoothing=0.1))(truth, told).numpy() == pytest.approx(softmax_loss(scores, smooth))
    both = loss(Recipe(loss="logit_adjusted", label_smoothing=0.1))(truth, told).numpy()
    assert both == pytest.approx(softmax_loss(scores + np.log(shares), smooth), rel=1e-5)


def test_the_scores_of_a_cosine_head_are_cosines():
    network = build(recipe_of({"image_size": (16, 24)}, hidden=8, cosine_scale=30), 3, None, 0)
    shown = network.head.predict(np.random.default_rng(0).normal(size=(50, 2 * 3 * 64)), verbose=0)
    directions = network.head.get_layer("cosines").get_weights()[0]
    network.head.get_layer("cosines").set_weights([directions / np.linalg.norm(directions, axis=0)])
    spread = np.log(shown).max(1) - np.log(shown).min(1)
    assert np.allclose(shown.sum(1), 1, atol=1e-5) and spread.max() <= 60


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "binary_focal", "logit_adjusted", "ldam"])
def test_class_weights_turn_the_gradient_and_do_not_only_scale_it(kind):
    truth = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    logits = tf.Variable(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32))

    def gradient(weights: list[float]) -> np.ndarray:
        with tf.GradientTape() as tape:
            recipe = Recipe(loss=kind, cosine_scale=30)
            value = loss(recipe)(truth, tf.nn.softmax(logits), sample_weight=np.array(weights, np.float32))
        return tape.gradient(value, logits).numpy()

    even, uneven = gradient([1, 1, 1]), gradient([1, 1, 100])
    assert np.allclose(uneven[:2], even[:2]) and np.allclose(uneven[2], 100 * even[2], rtol=1e-4)


def test_balanced_accuracy_is_sklearns_over_all_batches():
    rng = np.random.default_rng(0)
    metric = BalancedAccuracy(4)
    truth, told = rng.integers(0, 3, 90), rng.dirichlet(np.ones(4), 90)  # class 3 is never the truth
    for part in np.split(np.arange(90), [10, 11, 60]):
        metric.update_state(np.eye(4)[truth[part]], told[part])
    assert metric.result().numpy() == pytest.approx(
        np.mean([(told[truth == k].argmax(1) == k).mean() for k in range(3)])
    )
    keep = told.argmax(1) < 3  # sklearn warns of classes that are told and never true
    metric.reset_state()
    metric.update_state(np.eye(4)[truth[keep]], told[keep])
    assert metric.result().numpy() == pytest.approx(balanced_accuracy_score(truth[keep], told[keep].argmax(1)))
    again = BalancedAccuracy.from_config(metric.get_config())
    assert (again.classes, again.name) == (4, "balanced_accuracy")


# weights


@pytest.mark.parametrize(
    ("backbone", "alpha", "file", "last"),
    [
        ("mobilenet_v1", 0.75, V1_SMALL, "conv_pw_13_relu"),
        ("mobilenet_v1", 1.0, V1, "conv_dw_13_relu"),
        ("mobilenet_v2", 1.0, V2, "out_relu"),
        ("inception_v3", 1.0, INCEPTION, "mixed8"),
    ],
)
def test_each_file_of_imagenet_weights_loads_as_far_as_it_reaches(real_weights, backbone, alpha, file, last):
    options = BackboneOptions(name=backbone, alpha=alpha, weights="imagenet", image_size=(96, 96))
    assert options.weights_file(str(real_weights)).name == file
    loaded = load_backbone(options, str(real_weights))
    assert loaded.layers[-1].name == last
    drawn = load_backbone(options.model_copy(update={"weights": "none"}), None)
    kernel = next(layer for layer in loaded.layers if isinstance(layer, keras.layers.Conv2D))
    assert kernel.get_weights()[0].std() != pytest.approx(drawn.layers[1].get_weights()[0].std(), rel=0.05)


def test_a_cut_within_the_reach_works_and_one_beyond_it_is_refused(real_weights):
    options = {"name": "mobilenet_v1", "weights": "imagenet", "image_size": (64, 64)}
    within = load_backbone(BackboneOptions(**options, cut="conv_pw_11_relu"), str(real_weights))
    assert within.layers[-1].name == "conv_pw_11_relu"
    with pytest.raises(InputError, match=r"has no layer 'conv_pw_13_relu'\. Its last layers: .*conv_dw_13_relu\."):
        load_backbone(BackboneOptions(**options, cut="conv_pw_13_relu"), str(real_weights))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize(
    ("backbone", "alpha", "file", "message"),
    [
        ("mobilenet_v1", 1.0, V2, "does not hold the weights of mobilenet_v1 with alpha 1.0"),
        ("mobilenet_v1", 1.0, V1_SMALL, "does not hold the weights of mobilenet_v1 with alpha 1.0"),
        ("mobilenet_v2", 1.0, V1_SMALL, "does not hold the weights of mobilenet_v2"),
        ("mobilenet_v2", 1.0, INCEPTION, "layer mixed8, which mobilenet_v2 does not have"),
        ("mobilenet_v1", 0.5, V1, "does not hold the weights of mobilenet_v1 with alpha 0.5"),
    ],
)
def test_weights_of_another_network_are_refused(real_weights, backbone, alpha, file, message):
    options = BackboneOptions(name=backbone, alpha=alpha, weights=str(real_weights / file), image_size=(32, 32))
    with pytest.raises(InputError, match=message) as error:
        load_backbone(options, None)
    assert str(real_weights / file) in str(error.value)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_that_end_early_must_say_so_in_their_name(real_weights, tmp_path):
    path = tmp_path / "whole.weights.h5"
    shutil.copy(real_weights / V1, path)
    with pytest.raises(InputError, match=r"whole\.weights\.h5 does not hold the weights of mobilenet_v1"):
        load_backbone(BackboneOptions(name="mobilenet_v1", weights=str(path), image_size=(32, 32)), None)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.weights\.h5 does not hold the weights of mobilenet_v2"):
        load_backbone(BackboneOptions(**MOBILE, weights=str(path)), None)


@pytest.mark.slow
def test_weights_that_were_saved_load_again(tmp_path):
    model = load_backbone(BackboneOptions(**MOBILE), None)
    model.save_weights(tmp_path / "mobilenet_v2_0.35_mine.weights.h5")
    for recipe, folder in [
        (BackboneOptions(**MOBILE, weights=str(tmp_path / "mobilenet_v2_0.35_mine.weights.h5")), None),
        (BackboneOptions(**MOBILE, weights="imagenet"), str(tmp_path)),
    ]:
        assert alike(load_backbone(recipe, folder).get_weights(), model.get_weights())


def test_a_folder_must_hold_exactly_one_fitting_file(tmp_path):
    recipe = BackboneOptions(**MOBILE, weights="imagenet")
    (tmp_path / "mobilenet_v2_1.0_other.weights.h5").touch()
    with pytest.raises(InputError, match=r"expected one file mobilenet_v2_0\.35_\*\.h5 for mobilenet_v2, found none"):
        load_backbone(recipe, str(tmp_path))
    for name in "ab":
        (tmp_path / f"mobilenet_v2_0.35_{name}.weights.h5").touch()
    with pytest.raises(InputError, match=r"found mobilenet_v2_0\.35_a\.weights\.h5, mobilenet_v2_0\.35_b\.weights\.h5"):
        load_backbone(recipe, str(tmp_path))


def test_a_file_of_weights_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.h5 does not exist\. Expected `none`, `imagenet` or a file's path"):
        BackboneOptions(weights=str(tmp_path / "gone.h5")).weights_file(None)


@pytest.mark.parametrize("folder", [None, "weights"])
def test_the_small_cnn_has_no_imagenet_weights(folder):
    with pytest.raises(InputError, match=r"no ImageNet weights for .*Fix: `weights: none`"):
        load_backbone(BackboneOptions(weights="imagenet"), folder)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_a_failed_download_says_how_to_give_a_folder(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(InputError) as error:
        load_backbone(BackboneOptions(**MOBILE, weights="imagenet"), None)
    message = str(error.value)
    assert "the ImageNet weights of mobilenet_v2 could not be downloaded" in message and "no route to host" in message
    assert (
        "Fix: lesion fetch weights, or" in message
        and "WEIGHTS=<folder>" in message
        and "-p weights <folder>" in message
    )


def test_the_digest_of_weights_follows_their_content(tmp_path):
    assert BackboneOptions().weights_digest(None) == "none"
    assert BackboneOptions(**MOBILE, weights="imagenet").weights_digest(None) == "imagenet"
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    one.write_bytes(b"a")
    shutil.copy(one, two)
    first, same = (BackboneOptions(weights=str(path)).weights_digest(None) for path in (one, two))
    two.write_bytes(b"b")
    assert first == same != BackboneOptions(weights=str(two)).weights_digest(None)


def small_network(**fields):
    recipe = recipe_of({"image_size": (16, 24)}, **fields)
    return recipe, build(recipe, 3, None, 0)


def test_flip_views_make_flips_of_a_picture_the_same():
    recipe, network = small_network(flip_views=True)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 16, 24, 3)).astype("float32")
    flips = np.concatenate([picture, picture[:, ::-1], picture[:, :, ::-1], picture[:, ::-1, ::-1]])
    model = finished(network, recipe)
    views = model.predict(flips, verbose=0)
    np.testing.assert_allclose(views, np.repeat(views[:1], 4, axis=0), rtol=1e-5)
    np.testing.assert_allclose(views[0], network.whole.predict(flips, verbose=0).mean(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_with_turn_views_a_picture_and_its_quarter_turns_get_the_same_answer():
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "cut": "block_3_project_BN", "pooling": "average"}
    sizes = {size: backbone | {"image_size": size} for size in ((32, 48), (48, 32))}
    recipes = {s: Recipe(hidden=0, flip_views=True, turn_views=True, backbone=part) for s, part in sizes.items()}
    networks = {size: build(recipe, 3, None, 0) for size, recipe in recipes.items()}
    networks[48, 32].whole.set_weights(networks[32, 48].whole.get_weights())
    upright, lying = (finished(networks[size], recipes[size]) for size in ((48, 32), (32, 48)))
    picture = np.random.default_rng(0).uniform(0, 255, (1, 32, 48, 3)).astype("float32")
    turns = [np.rot90(picture, count, axes=(1, 2)) for count in range(4)]
    views = np.concatenate([(upright if turn.shape[1] == 48 else lying).predict(turn, verbose=0) for turn in turns])
    np.testing.assert_allclose(views, np.repeat(views[:1], 4, axis=0), rtol=1e-5)
    single = networks[32, 48].whole.predict(picture, verbose=0)
    assert np.abs(single - views[:1]).max() > 1e-6


def test_without_flip_views_the_finished_network_is_the_trained_one():
    recipe, network = small_network()
    pictures = np.random.default_rng(0).uniform(0, 255, (4, 16, 24, 3)).astype("float32")
    model = finished(network, recipe)
    assert (model.predict(pictures, verbose=0) == network.whole.predict(pictures, verbose=0)).all()


def test_who_has_the_features_gets_the_finished_networks_answer():
    recipe, network = small_network()
    features = network.features.predict(pictures(recipe), verbose=0)
    shown = finished(network, recipe, from_features=True).predict(features, verbose=0)
    assert np.allclose(shown, finished(network, recipe).predict(pictures(recipe), verbose=0), atol=1e-6)


# what published systems need


def test_the_last_variant_of_system_004_has_its_published_size():
    recipe = recipe_of({"image_size": (180, 180), "last_pooling": False}, hidden=256)
    network = build(recipe, classes=9, weights=None, seed=0)
    assert network.features.output_shape == (None, 129_600)
    assert round(network.whole.count_params() / 1e6, 1) == 33.2


def test_batch_norm_follows_each_convolution_and_learns():
    recipe = recipe_of({"image_size": (16, 24), "batch_norm": True}, hidden=8, freeze_batch_norm=False)
    network = build(recipe, classes=3, weights=None, seed=0)
    kinds = [type(layer).__name__ for layer in network.backbone.layers[1:]]
    assert kinds == ["Conv2D", "BatchNormalization", "MaxPooling2D"] * 3
    set_trainable(network, "all", recipe.freeze_batch_norm)
    before = values_of(network.backbone.layers[2])
    train_a_step(network, recipe)
    assert not any(np.array_equal(a, b) for a, b in zip(before, values_of(network.backbone.layers[2]), strict=True))


def test_dropout_stands_before_or_after_the_hidden_layer():
    head = build(SMALL.model_copy(update={"feature_dropout": 0.2, "dropout": 0.5}), 3, None, 0).head
    found = [(type(layer).__name__, getattr(layer, "rate", None)) for layer in head.layers]
    assert found == [("Dropout", 0.2), ("Dense", None), ("Dropout", 0.5), ("Dense", None)]


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "binary_focal"])
@pytest.mark.slow
def test_class_weights_act_on_a_loss_of_each_case_and_not_on_one_of_the_batch(kind):
    """What class weights did in system 000: they scaled the gradient of the batch and left its direction."""
    recipe = recipe_of({"image_size": (8, 8)}, loss=kind, batch_size=4)
    inputs, targets = pictures(recipe), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    moved = {}
    for reduction in ("per_case", "per_batch"):
        for weights in (None, {0: 100.0, 1: 1.0}):
            network = build(recipe, 2, None, seed=0)
            chosen = recipe.model_copy(update={"loss_reduction": reduction})
            network.whole.compile(optimizer=keras.optimizers.SGD(1e-2), loss=loss(chosen))
            before = np.concatenate([value.ravel() for value in network.head.get_weights()]).astype(float)
            network.whole.train_on_batch(inputs, targets, class_weight=weights)
            after = np.concatenate([value.ravel() for value in network.head.get_weights()]).astype(float)
            moved[reduction, weights is not None] = after - before

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert cosine(moved["per_batch", False], moved["per_batch", True]) > 0.99999
    assert cosine(moved["per_case", False], moved["per_case", True]) < 0.99
    assert cosine(moved["per_case", False], moved["per_batch", False]) > 0.999


@pytest.mark.slow
def test_layers_without_a_name_are_named_by_their_place_in_any_process():
    options = BackboneOptions(name="inception_resnet_v2", image_size=(75, 75), cut="batch_normalization_195")
    build(recipe_of(MOBILE), 3, None, 0)  # what was built before does not count
    once, again = (load_backbone(options, None) for _ in range(2))
    counted = (keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Activation)
    names = [[layer.name for layer in model.layers if isinstance(layer, counted)] for model in (once, again)]
    assert names[0] == names[1] and {"conv2d", "conv2d_185"} <= set(names[0])
    # system 001 cut its network of 782 layers 28 from the end, in a branch of 192 channels
    whole = keras.applications.InceptionResNetV2(weights=None)
    found = whole.layers[-28]
    numbered = [one.name for one in whole.layers if re.fullmatch(r"batch_normalization_\d+", one.name)]
    first = min(int(name.split("_")[-1]) for name in numbered)
    assert len(whole.layers) == 782 and type(found) is keras.layers.BatchNormalization
    assert int(found.name.split("_")[-1]) - first == 195
    assert found.output.shape[-1] == once.output_shape[-1] == 192
