"""Backbones, heads, and the loading of weights."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from lesion_utils import efficientnet_lite
from lesion_utils.backbones import BACKBONES, SCALINGS
from lesion_utils.errors import InputError, first_ten
from lesion_utils.recipes import BackboneOptions, Recipe
from lesion_utils.runtime import keras


def _built(options: BackboneOptions, weights: str | None) -> keras.Model:
    backbone = BACKBONES[options.name]
    if not isinstance(backbone.build, str):
        return backbone.build(options)
    width = {"alpha": options.alpha} if backbone.has_alpha else {}
    shape = (*options.image_size, 3)
    model = getattr(keras.applications, backbone.build)(include_top=False, weights=weights, input_shape=shape, **width)
    # Keras numbers layers across all models: counted from 0, ``conv2d_185`` is the same layer in any process.
    for name in ("conv2d", "batch_normalization", "activation"):
        matches = {layer: re.fullmatch(rf"{name}_?(\d*)", layer.name) for layer in model.layers}
        numbers = {layer: int(match[1] or 0) for layer, match in matches.items() if match}
        for layer, number in numbers.items():
            position = number - min(numbers.values())
            layer.name = f"{name}_{position}" if position else name
    return model


def load_backbone(options: BackboneOptions, folder: str | None, any_size: bool = False) -> keras.Model:
    """A recipe's backbone with its weights, cut at ``options.cut`` or at the layer where the weights end.

    With ``any_size`` it takes pictures of any size. ``folder`` is the study's ``weights``; a file
    ``…upto_<layer>.weights.h5`` reaches from the input to that layer.
    Raises InputError for a picture too small, a cut that does not exist or lies above the weights, and other weights.
    """
    name, smallest = options.name, BACKBONES[options.name].smallest_side
    if min(options.image_size) < smallest:
        raise InputError(f"{name} needs sides of at least {smallest} px, got {options.image_size}.")
    if any_size:
        options = options.model_copy(update={"image_size": (None, None)})
    path = options.weights_file(folder)
    download = path is None and options.weights == "imagenet"
    try:
        model = _built(options, "imagenet" if download else None)
    except Exception as error:  # Keras raises a bare Exception when the download fails
        if not download:
            raise
        fix = (
            "lesion fetch weights, or give a folder: make study … WEIGHTS=<folder>, or papermill … -p weights <folder>."
        )
        raise InputError(f"the ImageNet weights of {name} could not be downloaded ({error}). Fix: {fix}") from error
    if path is not None:
        fix = f"Fix: give the weights file of {name}."
        if "_upto_" in path.name:
            last = path.name.split("_upto_")[1].split(".")[0]
            ends = [each for each in model.layers if each.name == last or each.name.startswith(last + "_")]
            if not ends:
                raise InputError(f"{path} holds weights up to layer {last}, which {name} does not have. {fix}")
            model = keras.Model(model.input, ends[-1].output, name=model.name)
        try:
            if path.suffix == ".pth":
                efficientnet_lite.load(model, path)
            else:
                model.load_weights(path)
        except (ValueError, KeyError, OSError, AttributeError) as error:
            cannot = f"{path} does not hold the weights of {name} with alpha {options.alpha}"
            raise InputError(f"{cannot} ({str(error).splitlines()[0]}). {fix}") from error
    return model if options.cut is None else keras.Model(model.input, _layer(model, options.cut, "cut").output)


def _layer(model: keras.Model, name: str, key: str) -> keras.layers.Layer:
    names = [layer.name for layer in model.layers]
    if name not in names:
        last = f"Its last layers: {first_ten(names[-10:])}"
        raise InputError(f"recipe key `{key}`: {model.name} has no layer {name!r}. {last}.")
    return model.get_layer(name)


@dataclass(frozen=True)
class Network:
    """A classifier in its parts: pictures → ``features`` (scaling, backbone, pooling) → ``head`` → probabilities."""

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
    """The uncompiled network of a recipe; input (batch, height, width, 3), 0 to 255; ``z_score…``: ``statistics``."""
    keras.utils.set_random_seed(seed)
    options = recipe.backbone
    for phase in recipe.phases:
        if phase.image_size and min(phase.image_size) < (least := BACKBONES[options.name].smallest_side):
            raise InputError(f"{options.name} needs sides of at least {least} px, got {phase.image_size} in a phase.")
    backbone = load_backbone(options, weights, recipe.has_sizes)
    pooling = keras.layers.GlobalAveragePooling2D() if options.pooling == "average" else keras.layers.Flatten()
    scaling = options.scaling or BACKBONES[options.name].scaling
    mean, deviation = SCALINGS.get(scaling, statistics)
    scale = keras.layers.Rescaling(1 / deviation, -mean / deviation)
    shape = (None, None, 3) if recipe.has_sizes else (*options.image_size, 3)
    inputs = keras.Input(shape)
    features = keras.Model(inputs, pooling(backbone(scale(inputs))), name="features")
    layers = [
        keras.Input((features.output_shape[1],)),
        keras.layers.Normalization(name="standardise") if recipe.standardise else None,
        keras.layers.Dropout(recipe.feature_dropout) if recipe.feature_dropout else None,
        keras.layers.Dense(recipe.hidden, activation="relu") if recipe.hidden else None,
        keras.layers.Dropout(recipe.dropout) if recipe.dropout else None,
        *_last_layers(recipe, classes),
    ]
    head = keras.Sequential([layer for layer in layers if layer is not None], name="head")
    pictures = keras.Input(shape)
    whole = keras.Model(pictures, head(features(pictures)), name="classifier")
    return Network(scale, backbone, pooling, features, head, whole)


def _last_layers(recipe: Recipe, classes: int) -> list[keras.layers.Layer]:
    if recipe.cosine_scale is None:
        return [keras.layers.Dense(classes, activation="softmax", name="probabilities")]
    unit = keras.constraints.UnitNorm(axis=0)
    return [
        keras.layers.UnitNormalization(),
        keras.layers.Dense(classes, use_bias=False, kernel_constraint=unit, name="cosines"),
        keras.layers.Rescaling(recipe.cosine_scale),
        keras.layers.Softmax(name="probabilities"),
    ]


def rescale(network: Network, statistics: Statistics) -> None:
    """Makes models that are built on ``network`` from now on standardise by other ``statistics``."""
    mean, deviation = statistics
    network.scaling.scale, network.scaling.offset = 1 / deviation, -mean / deviation


def split_below(network: Network, layer: str) -> tuple[keras.Model, keras.Model] | None:
    """The classifier in two: pictures to activations below backbone layer ``layer``, and activations to probabilities.

    The cut is at the last layer before ``layer`` that all paths pass through; None if that is the input. Layers are
    shared with ``network``.
    """
    layers = network.backbone.layers
    first = layers.index(_layer(network.backbone, layer, "phases.train"))
    lowest_inputs = [
        min((layers.index(node.operation) for node in each._inbound_nodes[0].parent_nodes), default=0)
        for each in layers
    ]
    cut = max(number for number in range(first) if min(lowest_inputs[number + 1 :]) >= number)
    if cut == 0:
        return None
    lower = keras.Model(network.backbone.input, layers[cut].output)
    upper = keras.Model(layers[cut].output, network.backbone.output)
    pictures, activations = keras.Input(network.whole.input_shape[1:]), keras.Input(lower.output_shape[1:])
    return (
        keras.Model(pictures, lower(network.scaling(pictures)), name="lower"),
        keras.Model(activations, network.head(network.pooling(upper(activations))), name="upper"),
    )


def finished(network: Network, recipe: Recipe, from_features: bool = False, with_features: bool = False) -> keras.Model:
    """The trained network as it predicts: with the mean over its recipe's views of a picture.

    Input as in ``build``, not augmented, or features, for a recipe of one view. ``with_features``: the features of the
    picture itself are a second output.
    """
    inputs = keras.Input(network.head.input_shape[1:] if from_features else (*recipe.backbone.image_size, 3))
    turns = [inputs, keras.ops.transpose(inputs, (0, 2, 1, 3))] if recipe.turn_views else [inputs]
    scores, features = [], []
    for turned in turns:
        # The flips are one large batch, so that the network is in the graph once, not four times.
        flips = [keras.ops.flip(turned, axes) for axes in (1, 2, (1, 2))] if recipe.flip_views else []
        views = keras.ops.concatenate([turned, *flips], axis=0) if flips else turned
        of_views = views if from_features else network.features(views)
        features += _parts(of_views, 1 + len(flips))
        scores += _parts(network.head(of_views), 1 + len(flips))
    mean = keras.layers.average(scores) if len(scores) > 1 else scores[0]
    return keras.Model(inputs, [mean, features[0]] if with_features else mean, name="finished")


def _parts(of_views: Any, count: int) -> list[Any]:
    return keras.ops.split(of_views, count) if count > 1 else [of_views]  # an .h5 file cannot hold a split


def set_trainable(network: Network, train: str, freeze_batch_norm: bool) -> None:
    """Makes only ``train`` learn: ``all``, ``head``, or the head and the backbone from the layer of that name on.

    A frozen batch-norm layer keeps its statistics, scale and shift. (Calling the backbone with ``training=False`` would
    not do it: Keras 3 overrides that inside another model.)
    """
    layers = network.backbone.layers
    first = 0 if train == "all" else len(layers)
    if train not in ("all", "head"):
        first = layers.index(_layer(network.backbone, train, "phases.train"))
    network.backbone.trainable = True
    for number, layer in enumerate(layers):
        is_frozen = freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not is_frozen
