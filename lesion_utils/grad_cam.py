"""Grad-CAM: which parts of a picture raise the score of a class (Selvaraju et al., 2017,
https://arxiv.org/abs/1610.02391), and whether the map depends on what the network learnt: it must differ from the map
of the same network with weights drawn at random (Adebayo et al., 2018, https://arxiv.org/abs/1810.03292).
"""

import functools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from scipy.stats import spearmanr

from lesion_utils import model_file
from lesion_utils.cases import make_case_tables
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, output_root, read_json, require_intact
from lesion_utils.pictures import decode
from lesion_utils.published.handover import keras_model
from lesion_utils.rounding import CELL
from lesion_utils.runtime import keras, tf
from lesion_utils.study import load_study
from lesion_utils.training import train

RANDOM = 3  # networks with random weights beside a trained one
ALIKE = 0.5  # rank correlation from which the map may owe more to the picture than to what was learnt
Parts: TypeAlias = tuple[keras.Model, keras.Model]  # features (scaling, backbone, pooling), and head


class Explanation(NamedTuple):
    """Maps are (rows, columns) of the backbone's last layer; a part above 0 raises the score of class ``target``."""

    target: int
    probabilities: np.ndarray  # (k,) of the picture itself, not turned
    heat: np.ndarray
    random: list[np.ndarray]  # the map of each network with random weights
    correlations: list[float]  # Spearman's, of ``heat`` with each of them; NaN where a map has one value only


class Explained(NamedTuple):
    """A model whose answers can be explained."""

    dataset: str  # that it was trained on; "" where its study is not known
    classes: list[str]  # in the order of its scores
    network: Parts
    random: list[Parts]  # the same network with other, random weights
    size: tuple[int, int]  # of its pictures: height, width


def find_models() -> dict[str, Path]:
    """Packed models in the project's folder, and trained ones under ``runs/``, by a name for the reader."""
    packed = {path.name: path for path in sorted(PROJECT.glob(f"*{model_file.SUFFIX}"))}
    runs = output_root() / "runs"
    trained = sorted(path for depth in ("*", "*/*", "*/*/*") for path in runs.glob(f"{depth}/models/*/r*/model.keras"))
    return packed | {path.parent.relative_to(runs).as_posix().replace("/models/", "/"): path for path in trained}


def study_of(path: Path) -> str:
    """The study that trained the model in ``path``, of ``find_models``; "" for a file that cannot be read."""
    if path.suffix != model_file.SUFFIX:
        place = path.relative_to(output_root() / "runs").as_posix()
        return place.partition("/models/")[0].removeprefix("by_hand/")
    return model_file.study_of(path)


def train_small() -> dict[str, Path]:
    """A head on frozen ImageNet features, trained on the phantom in seconds: the model to explain if none was found."""
    params = load_study("quick")
    recipe = params.recipes["efficientnet_lite0"]
    recipe = recipe.model_copy(update={"phases": recipe.phases[:1]})
    folder, cases = params.model_folder("explore"), make_case_tables(params)["corrected"]
    trained = train(recipe, cases, seed=0, threads=params.threads, weights=None, folder=folder)
    return {"a head on ImageNet features, trained here on the phantom": trained.model_file}


@functools.lru_cache(4)
def read(path: Path) -> Explained:
    """The model in ``path``, of ``find_models``, with its networks of random weights."""
    if tf is None:
        raise InputError(
            "Grad-CAM needs TensorFlow, but KERAS_BACKEND names another backend. Fix: unset KERAS_BACKEND."
        )
    if path.suffix == model_file.SUFFIX:
        packed = model_file.read(path, load_study("quick").threads)
        network, classes = packed.network, [*packed.about.classes]
    else:
        fix = f"remove {path.parent}, or train it again."
        network = keras_model(require_intact(path, fix))
        classes = read_json(next((path.parent / "predictions").glob("*.json")), fix)["classes"]
    dataset = ""
    with suppress(InputError):  # a study of another person
        dataset = load_study(study_of(path)).dataset
    parts = network.get_layer("features"), network.get_layer("head")
    return Explained(
        dataset, classes, parts, [*map(functools.partial(randomised, parts), range(RANDOM))], network.input_shape[1:3]
    )


def as_seen(picture: np.ndarray | Path, size: tuple[int, int]) -> np.ndarray:
    """The picture, drawn or in a file, in the ``size`` (height, width) that a network sees."""
    if isinstance(picture, Path):
        return decode(picture.read_bytes(), str(picture), size)
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def randomised(network: Parts, seed: int) -> Parts:
    """The same network with weights as before any training."""
    keras.utils.set_random_seed(seed)
    features, head = (type(part).from_config(part.get_config()) for part in network)
    head.build(features.output_shape)
    return features, head


def grad_cam(network: Parts, picture: np.ndarray, target: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The map of ``picture`` (height, width, 3; 0 to 255) for class ``target``, by default the most probable one, with
    its negative parts; and the scores of all classes before the softmax, (k,), whose gradient is taken.
    """
    features, head = network
    place, backbone = next((n, layer) for n, layer in enumerate(features.layers) if isinstance(layer, keras.Model))
    shown = tf.convert_to_tensor(picture[None], tf.float32)
    for layer in features.layers[1:place]:
        shown = layer(shown)
    with tf.GradientTape() as tape:
        activations = inner = backbone(shown, training=False)
        tape.watch(activations)
        for layer in (*features.layers[place + 1 :], *head.layers[:-1]):
            inner = layer(inner, training=False)
        last = head.layers[-1]  # a dense layer with a softmax, or a softmax alone
        scores = (inner @ last.kernel + last.bias if last.weights else inner)[0]
        score = scores[tf.argmax(scores) if target is None else target]
    weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2))
    return tf.reduce_sum(weights[:, None, None] * activations, axis=-1)[0].numpy(), scores.numpy()


def explain(network: Parts, random: Sequence[Parts], picture: np.ndarray, target: int | None = None) -> Explanation:
    """Grad-CAM of ``network`` beside that of the ``random`` networks, all for one class of one picture."""
    heat, scores = grad_cam(network, picture, target)
    target = int(scores.argmax()) if target is None else target
    others = [grad_cam(of, picture, target)[0] for of in random]
    return Explanation(
        target, tf.nn.softmax(scores).numpy(), heat, others, [rank_correlation(heat, of) for of in others]
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, of all cells of two maps; NaN where one has a single value."""
    return float(spearmanr(first.ravel(), second.ravel()).statistic) if np.ptp(first) and np.ptp(second) else np.nan


def reading(found: Explanation) -> str:
    """What the rank correlations say of the map."""
    known = [value for value in found.correlations if not np.isnan(value)]
    if not known or not (found.heat > 0).any():
        return "No part of the picture raises the score of this class, or the maps are flat: they say nothing."
    most = max(map(abs, known))
    size = f"{found.heat.size} cells, {len(known)} networks with random weights"
    says = "so the map owes much to the picture and the architecture: do not read it as what was learnt"
    if most < ALIKE:
        says = "so the map depends on what the network learnt; whether it is right, this check does not say"
    return f"Rank correlation with random weights: {', '.join(f'{value:{CELL}}' for value in known)} ({size}), {says}."
