"""Backbones, heads, losses, and the loading of weights."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lesion_utils.errors import InputError, first_ten
from lesion_utils.recipes import Recipe
from lesion_utils.runtime import keras
from lesion_utils.weights import weights_file


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without its top, and what its weights expect."""

    build: Callable[..., keras.Model]
    scaling: str
    smallest_side: int


def _small_cnn(recipe: Recipe, weights: str | None) -> keras.Model:
    """Three blocks of convolution (16, 32, 64 filters) and max pooling, as systems 003 and 004 describe it.

    On request with batch normalisation after each convolution, and without the last pooling, which 004's last variant
    lacks.
    """
    if weights:
        raise InputError("there are no ImageNet weights for the small CNN. Fix: `weights: none` in the recipe.")
    inputs = outputs = keras.Input((*recipe.image_size, 3))
    for filters in (16, 32, 64):
        outputs = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(outputs)
        if recipe.batch_norm:
            outputs = keras.layers.BatchNormalization()(outputs)
        if recipe.last_pooling or filters < 64:
            outputs = keras.layers.MaxPooling2D()(outputs)
    return keras.Model(inputs, outputs, name="small_cnn")


def _application(constructor: Callable[..., keras.Model], with_alpha: bool) -> Callable[..., keras.Model]:
    def build(recipe: Recipe, weights: str | None) -> keras.Model:
        width = {"alpha": recipe.alpha} if with_alpha else {}
        model = constructor(include_top=False, weights=weights, input_shape=(*recipe.image_size, 3), **width)
        _name_by_place(model)
        return model

    return build


def _name_by_place(model: keras.Model) -> None:
    """Layers that Keras names by counting all it has built get the number that they have in this model.

    ``conv2d_185`` is then the same layer in any process.
    """
    for kind, name in _COUNTED.items():
        counted = [one for one in model.layers if type(one) is kind and re.fullmatch(rf"{name}(_\d+)?", one.name)]
        numbers = [int(one.name.removeprefix(name).removeprefix("_") or 0) for one in counted]
        for layer, number in zip(counted, numbers, strict=True):
            place = number - min(numbers)
            layer.name = f"{name}_{place}" if place else name


_COUNTED = {
    keras.layers.Conv2D: "conv2d",
    keras.layers.BatchNormalization: "batch_normalization",
    keras.layers.Activation: "activation",
}
BACKBONES = {
    "small_cnn": Backbone(_small_cnn, "zero_to_one", 8),
    "mobilenet_v1": Backbone(_application(keras.applications.MobileNet, True), "minus_one_to_one", 32),
    "mobilenet_v2": Backbone(_application(keras.applications.MobileNetV2, True), "minus_one_to_one", 32),
    "inception_v3": Backbone(_application(keras.applications.InceptionV3, False), "minus_one_to_one", 75),
    "inception_resnet_v2": Backbone(_application(keras.applications.InceptionResNetV2, False), "minus_one_to_one", 75),
}


def load_backbone(recipe: Recipe, folder: str | None) -> keras.Model:
    """The recipe's backbone with its weights, cut at ``recipe.cut`` or at the layer that the weights reach.

    A file named ``…upto_<layer>.weights.h5`` holds the weights from the input to that layer. Raises InputError
    for a picture too small, a cut that does not exist or is not reached, and weights of another network.
    """
    spec = BACKBONES[recipe.backbone]
    if min(recipe.image_size) < spec.smallest_side:
        raise InputError(f"{recipe.backbone} needs sides of at least {spec.smallest_side} px, got {recipe.image_size}.")
    path = weights_file(recipe, folder)
    download = path is None and recipe.weights == "imagenet"
    model = _downloaded(recipe, spec) if download else spec.build(recipe, None)
    if path is not None:
        model = _reached(model, path, recipe)
        _load(model, path, recipe)
    return model if recipe.cut is None else keras.Model(model.input, _layer(model, recipe.cut, "cut").output)


def _downloaded(recipe: Recipe, spec: Backbone) -> keras.Model:
    try:
        return spec.build(recipe, "imagenet")
    except InputError:
        raise
    except Exception as error:  # Keras raises a bare Exception when the download fails
        raise InputError(
            f"the ImageNet weights of {recipe.backbone} could not be downloaded ({error}). Fix: give a folder that "
            f"has them: make study … WEIGHTS=<folder>, or papermill … -p weights <folder>."
        ) from error


def _reached(model: keras.Model, path: Path, recipe: Recipe) -> keras.Model:
    if "_upto_" not in path.name:
        return model
    reach = path.name.split("_upto_")[1].split(".")[0]
    names = [layer.name for layer in model.layers if layer.name == reach or layer.name.startswith(reach + "_")]
    if not names:
        raise InputError(
            f"{path} reaches to a layer {reach}, which {recipe.backbone} does not have: it is another backbone's. "
            f"Fix: give the file of this backbone."
        )
    return keras.Model(model.input, model.get_layer(names[-1]).output, name=model.name)


def _load(model: keras.Model, path: Path, recipe: Recipe) -> None:
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold the weights of {recipe.backbone} with alpha {recipe.alpha} "
            f"({str(error).splitlines()[0]}). Fix: give the file of this backbone."
        ) from error


def _layer(model: keras.Model, name: str, key: str) -> keras.layers.Layer:
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise InputError(
            f"recipe key `{key}`: {model.name} has no layer {name!r}. Its last layers: {first_ten(names[-10:])}."
        )
    return model.get_layer(name)


@dataclass(frozen=True)
class Network:
    """A classifier in its parts: pictures -> ``features`` (scaling, backbone, pooling) -> ``head`` -> probabilities."""

    scaling: keras.layers.Rescaling
    backbone: keras.Model
    pooling: keras.layers.Layer
    features: keras.Model
    head: keras.Model
    whole: keras.Model


Statistics: TypeAlias = tuple[float, float]  # mean and standard deviation of all values of some pictures


def build(
    recipe: Recipe, classes: int, weights: str | None, seed: int, statistics: Statistics = (127.5, 127.5)
) -> Network:
    """The network of a recipe, uncompiled; input (batch, height, width, 3) with values 0 to 255.

    ``statistics`` are those by which the scalings ``z_score…`` standardise.
    """
    keras.utils.set_random_seed(seed)
    backbone = load_backbone(recipe, weights)
    pooling = keras.layers.GlobalAveragePooling2D() if recipe.pooling == "average" else keras.layers.Flatten()
    scaling = recipe.scaling or BACKBONES[recipe.backbone].scaling
    mean, deviation = {"zero_to_one": (0.0, 255.0), "minus_one_to_one": (127.5, 127.5)}.get(scaling, statistics)
    scale = keras.layers.Rescaling(1 / deviation, -mean / deviation)
    inputs = keras.Input((*recipe.image_size, 3))
    features = keras.Model(inputs, pooling(backbone(scale(inputs))), name="features")
    head = _head(recipe, features.output_shape[1], classes)
    pictures = keras.Input((*recipe.image_size, 3))
    whole = keras.Model(pictures, head(features(pictures)), name="classifier")
    return Network(scale, backbone, pooling, features, head, whole)


def rescaled(network: Network, statistics: Statistics) -> None:
    """Lets models that are made of ``network`` from now on standardise pictures by other ``statistics``."""
    mean, deviation = statistics
    network.scaling.scale, network.scaling.offset = 1 / deviation, -mean / deviation


def split_below(network: Network, layer: str) -> tuple[keras.Model, keras.Model] | None:
    """The classifier in two: pictures to activations below backbone layer ``layer``, and from there to probabilities.

    They are cut at the last layer before ``layer`` through which everything passes: what lies beside it in a branch
    is on the upper side. None if that is the input. Both share their layers with ``network``.
    """
    layers = network.backbone.layers
    number = {id(one): place for place, one in enumerate(layers)}
    first = number[id(_layer(network.backbone, layer, "phases.train"))]
    reaches = [
        min((number[id(node.operation)] for node in one._inbound_nodes[0].parent_nodes), default=0) for one in layers
    ]
    cut = max(place for place in range(first) if all(lowest >= place for lowest in reaches[place + 1 :]))
    if cut == 0:
        return None
    lower = keras.Model(network.backbone.input, layers[cut].output)
    upper = keras.Model(layers[cut].output, network.backbone.output)
    pictures, activations = keras.Input(network.whole.input_shape[1:]), keras.Input(lower.output_shape[1:])
    return (
        keras.Model(pictures, lower(network.scaling(pictures)), name="lower"),
        keras.Model(activations, network.head(network.pooling(upper(activations))), name="upper"),
    )


def _head(recipe: Recipe, width: int, classes: int) -> keras.Model:
    made: list[keras.layers.Layer] = [keras.Input((width,))]
    if recipe.standardise:
        made.append(keras.layers.Normalization(name="standardise"))
    if recipe.feature_dropout:
        made.append(keras.layers.Dropout(recipe.feature_dropout))
    if recipe.hidden:
        made.append(keras.layers.Dense(recipe.hidden, activation="relu"))
    if recipe.dropout:
        made.append(keras.layers.Dropout(recipe.dropout))
    return keras.Sequential(
        [*made, keras.layers.Dense(classes, activation="softmax", name="probabilities")], name="head"
    )


def finished(network: Network, recipe: Recipe, shares: np.ndarray) -> keras.Model:
    """The network as it predicts when trained: the mean over flips and the prior correction, if the recipe has them.

    ``shares`` (classes,) are those of an epoch. Input as ``build``'s; no augmentation.
    """
    pictures = keras.Input((*recipe.image_size, 3))
    views = [pictures]
    if recipe.flip_views:
        views += [keras.ops.flip(pictures, axis) for axis in (1, 2)]
        views.append(keras.ops.flip(views[1], 2))
    scores = [network.head(network.features(view)) for view in views]
    mean = keras.layers.average(scores) if recipe.flip_views else scores[0]
    return keras.Model(pictures, _corrected(mean, recipe, shares), name="finished")


def finished_head(network: Network, recipe: Recipe, shares: np.ndarray) -> keras.Model:
    """``finished`` for who has a picture's features already; the recipe has no mean over flips."""
    features = keras.Input(network.head.input_shape[1:])
    return keras.Model(features, _corrected(network.head(features), recipe, shares), name="finished_head")


def _corrected(scores: keras.KerasTensor, recipe: Recipe, shares: np.ndarray) -> keras.KerasTensor:
    if not recipe.prior_correction:
        return scores
    raised = keras.layers.Rescaling((shares**-recipe.prior_correction).tolist())(scores)
    return raised / keras.ops.sum(raised, axis=-1, keepdims=True)


def set_trainable(network: Network, train: str, freeze_batch_norm: bool) -> None:
    """Lets only ``train`` learn: ``all``, ``head``, or the backbone from the layer of that name on, and the head.

    A frozen batch-norm layer keeps its statistics, its scale and its shift. (Calling the backbone with
    ``training=False`` would not do it: Keras 3 overrides that inside another model.)
    """
    layers = network.backbone.layers
    first = {"all": 0, "head": len(layers)}.get(train)
    if first is None:
        first = layers.index(_layer(network.backbone, train, "phases.train"))
    network.backbone.trainable = True
    for number, layer in enumerate(layers):
        frozen = freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not frozen


def loss(recipe: Recipe) -> keras.losses.Loss | Callable:
    """The recipe's loss on one-hot labels, one value a case so that class weights act, or one for the batch."""
    made: keras.losses.Loss = keras.losses.CategoricalCrossentropy()
    if recipe.loss == "focal":
        made = keras.losses.CategoricalFocalCrossentropy(alpha=recipe.focal_alpha, gamma=recipe.focal_gamma)
    if recipe.loss == "binary_focal":
        made = keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=recipe.focal_alpha, gamma=recipe.focal_gamma
        )
    if recipe.loss_per_case:
        return made
    return lambda truth, predicted: keras.ops.mean(made.call(truth, predicted))


@keras.saving.register_keras_serializable("lesion_utils")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean over the classes seen of the share of their cases classified right, at argmax."""

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.right = self.add_weight(shape=(classes,), initializer="zeros", name="right")
        self.seen = self.add_weight(shape=(classes,), initializer="zeros", name="seen")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = keras.ops.cast(y_true, "float32")
        chosen = keras.ops.one_hot(keras.ops.argmax(y_pred, axis=-1), self.classes, dtype="float32")
        self.right.assign_add(keras.ops.sum(truth * chosen, axis=0))
        self.seen.assign_add(keras.ops.sum(truth, axis=0))

    def result(self):
        present = keras.ops.cast(self.seen > 0, "float32")
        recall = self.right / keras.ops.maximum(self.seen, 1.0)
        return keras.ops.sum(recall * present) / keras.ops.maximum(keras.ops.sum(present), 1.0)

    def get_config(self):
        return super().get_config() | {"classes": self.classes}
