"""Whether the quicker ways give the results of the slower ones that they replaced: HAM10000, five seeds, both ways.

.venv/bin/python -m benchmarks.same_results     # minutes; writes same_results.json and the table in docs/performance.md

Three mechanisms change numbers a little: JPEGs decoded at a fraction of their size, augmentation by one resampling
instead of a Keras layer a change, upper layers trained from kept activations. Each is trained five times beside its
slower way, small and short, on 2,000 training images. The other speed-ups change nothing, which tests hold them to.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.page import renew
from lesion_utils import models, predictions, training
from lesion_utils import pictures as pixels
from lesion_utils.evaluation.leak_effect import paired
from lesion_utils.evaluation.sentences import span
from lesion_utils.paths import PROJECT, records, write_json
from lesion_utils.recipes import Recipe
from lesion_utils.runtime import keras
from lesion_utils.splits import split_cases
from lesion_utils.study import StudyParams, load_study

SHARED = PROJECT.parent / "shared"
RESULTS = Path(__file__).with_suffix(".json")
SEEDS, TRAINING, VALIDATION = 5, 2_000, 300
SHOWN = ["accuracy", "balanced accuracy", "macro AUC", "melanoma sensitivity"]
SMALL_CNN = {"image_size": (48, 64), "batch_size": 32, "phases": [{"epochs": 10}], "keep": "last"}
RECIPES = {
    "JPEG decoded at a fraction of its size": SMALL_CNN,
    "augmentation by one resampling": SMALL_CNN
    | {"augmentation": {"flip": "both", "rotation": 0.1, "zoom": 0.1}, "phases": [{"epochs": 25}]},
    "upper layers from kept activations": {
        "backbone": "mobilenet_v1",
        "alpha": 0.75,
        "weights": "imagenet",
        "image_size": (75, 100),
        "pooling": "average",
        "hidden": 0,
        "keep": "last",
        "phases": [
            {"train": "head", "epochs": 5},
            {"train": "conv_dw_12", "epochs": 4, "learning_rate": 1e-4},
        ],
    },
}


@contextmanager
def decoded_whole():
    """Pillow decodes at full size and resizes with its own bilinear filter."""

    def decode(path: str, data: bytes, picture: np.ndarray) -> None:
        size = picture.shape[1::-1]
        picture[...] = np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR))

    with patch.object(pixels, "_decode", decode), patch.object(pixels, "_DECODER", ["Pillow"]):
        yield


@contextmanager
def keras_layers():
    """Random layers of Keras at the entrance of the network."""

    def build(
        recipe: Recipe, classes: int, weights: str | None, seed: int, statistics: models.Statistics
    ) -> models.Network:
        network = models.build(recipe, classes, weights, seed, statistics)
        change = recipe.augmentation
        shown = pictures = keras.Input((*recipe.image_size, 3))
        for layer in (
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomFlip("vertical", seed=seed + 1),
            keras.layers.RandomRotation(change.rotation, seed=seed + 2),
            keras.layers.RandomZoom(change.zoom, seed=seed + 3),
        ):
            shown = layer(shown)
        return dataclasses.replace(network, whole=keras.Model(pictures, network.head(network.features(shown))))

    with patch.object(training, "build", build), patch.object(training, "augmenter", lambda *args: None):
        yield


@contextmanager
def whole_network():
    """Every step runs the frozen lower layers too."""
    with patch.object(training, "split_below", lambda *args: None):
        yield


SLOWER = dict(zip(RECIPES, (decoded_whole, keras_layers, whole_network), strict=True))


def trained(study: str, recipe: dict, cases: pd.DataFrame, way: Callable, seeds: int) -> list[pd.DataFrame]:
    """The prediction tables of the test images, a seed each."""
    params = StudyParams(study=study, baseline={"net": recipe}, weights=str(SHARED / "weights"), repeats=seeds)
    tables = []
    for repeat in range(seeds):
        with way():
            made = training.train("net", cases, params.model_copy(update={"repeat": repeat}))
        tables.append(predictions.build(cases[cases["split"] == "test"], made.classes, made.scores["test"]))
    return tables


def compared(cases: pd.DataFrame, recipes: dict[str, dict], seeds: int, resamples: int) -> list[dict]:
    """The differences, quicker minus slower, of each mechanism: the rows of ``paired`` as plain data."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch, patch.dict(os.environ, LESION_OUTPUT=scratch):
        for number, (mechanism, recipe) in enumerate(recipes.items()):
            quicker = trained(f"quicker{number}", recipe, cases, nullcontext, seeds)
            slower = trained(f"slower{number}", recipe, cases, SLOWER[mechanism], seeds)
            found = paired(quicker, slower, resamples).reindex(SHOWN).assign(mechanism=mechanism)
            rows += records(found[["mechanism", "metric", "value", "low", "high", "least", "most", "n", "lesions"]])
    return rows


def part_of(cases: pd.DataFrame) -> pd.DataFrame:
    """Some of the training and validation images, drawn once, and all of the test images."""
    sizes = {"train": TRAINING, "validation": VALIDATION}
    chosen = [cases[cases["split"] == split].sample(size, random_state=0) for split, size in sizes.items()]
    return pd.concat([*chosen, cases[cases["split"] == "test"]], ignore_index=True)


def table(rows: list[dict]) -> str:
    """The rows as docs/performance.md shows them."""
    lines = [
        "| quicker minus slower | metric | mean of the pairs (95 %, by lesion) | single pairs |",
        "|---|---|---|---|",
    ]
    for row in rows:
        value = f"{row['value']:+z.3f} ({span(row['low'], row['high'], '+')})"
        pairs = span(row["least"], row["most"], "+")
        lines.append(f"| {row['mechanism']} | {row['metric']} | {value} | {pairs} |")
    n = f"{rows[0]['n']:,} test images of {rows[0]['lesions']:,} lesions"
    return "\n".join([*lines, "", f"HAM10000 cut down to {TRAINING:,} training images, {SEEDS} seeds each way, {n}."])


def main() -> None:
    """Trains every recipe both ways on HAM10000 and writes the differences."""
    cases = split_cases(load_study("ham10000", data=str(SHARED / "data" / "ham10000")))
    rows = compared(part_of(cases), RECIPES, SEEDS, 2_000)
    write_json(RESULTS, rows)
    renew("same", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
