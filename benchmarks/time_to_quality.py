"""How long does it take to train something good? The recommended recipe, beside what people do today.

    make study STUDY=recommended DATA=<folder of HAM10000> THREADS=2
    .venv/bin/python -m benchmarks.time_to_quality <folder of HAM10000> <folder of weights>

Writes time_to_quality.json and its table in docs/performance.md; both lines take about an hour, on a machine that does
nothing else. *Today*: Keras' tutorial, https://www.tensorflow.org/tutorials/images/transfer_learning (MobileNetV2 at
160x160 px, `image_dataset_from_directory`, 10 epochs of the head, then 10 from the 100th layer on).

Both learn from the same images, those of the first fold, and are judged after each epoch on the same validation images
by balanced accuracy: one view of each picture, no correction. Minutes are those of the epochs, validation included.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.page import markdown, renew
from lesion_utils.cases import read_case_tables
from lesion_utils.digests import commit
from lesion_utils.losses import BalancedAccuracy
from lesion_utils.paths import read_json, write_json
from lesion_utils.predictions import read_history
from lesion_utils.rounding import number
from lesion_utils.runtime import keras
from lesion_utils.study import load_study

RESULTS = Path(__file__).with_suffix(".json")
RECIPE, LEVELS = "efficientnet_lite0", (0.65, 0.70)
SIDE, EPOCHS, FROM_LAYER = 160, 10, 100  # of the tutorial


def datasets(cases: pd.DataFrame, folder: Path) -> dict:
    """The tutorial's datasets ``train`` and ``validation``: a folder for each class, with links to the pictures."""
    found = {}
    for split in ("train", "validation"):
        for row in cases[cases["split"] == split].itertuples():
            place = folder / split / row.label
            place.mkdir(parents=True, exist_ok=True)
            (place / Path(row.path).name).symlink_to(Path(row.path).resolve())
        options = {"image_size": (SIDE, SIDE), "label_mode": "categorical", "seed": 0, "verbose": False}
        found[split] = keras.utils.image_dataset_from_directory(folder / split, **options).prefetch(2)
    return found


def network(classes: int, weights: Path) -> tuple[keras.Model, keras.Model]:
    """The tutorial's network, and its base."""
    file = next(weights.glob("mobilenet_v2_1.0_*.h5"))
    base = keras.applications.MobileNetV2(include_top=False, weights=str(file), input_shape=(SIDE, SIDE, 3))
    inputs = keras.Input((SIDE, SIDE, 3))
    shown = keras.layers.RandomRotation(0.2)(keras.layers.RandomFlip("horizontal")(inputs))
    features = base(keras.layers.Rescaling(1 / 127.5, -1)(shown), training=False)
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(pooled)), base


def tutorial(cases: pd.DataFrame, weights: Path) -> list[dict[str, float]]:
    """Trains as the tutorial does: a row per epoch, with its seconds and the balanced accuracy on validation."""
    keras.utils.set_random_seed(0)
    classes = cases["label"].nunique()
    model, base = network(classes, weights)
    rows, began = [], time.perf_counter()

    def record(_: int, logs: dict[str, float]) -> None:
        nonlocal began
        seconds, began = time.perf_counter() - began, time.perf_counter()
        rows.append({"seconds": round(seconds, 1), "balanced accuracy": round(logs["val_balanced_accuracy"], 4)})
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        shown = datasets(cases, Path(folder))
        for rate, is_trained in ((keras.optimizers.Adam(1e-4), False), (keras.optimizers.RMSprop(1e-5), True)):
            base.trainable = is_trained
            for layer in base.layers[:FROM_LAYER]:
                layer.trainable = False
            model.compile(rate, "categorical_crossentropy", metrics=[BalancedAccuracy(classes)])
            told = keras.callbacks.LambdaCallback(on_epoch_end=record)
            model.fit(shown["train"], validation_data=shown["validation"], epochs=EPOCHS, callbacks=[told], verbose=0)
    return rows


def ours() -> list[dict[str, float]]:
    """The same rows of the recommended recipe, from the study that was run before."""
    history = read_history(load_study("recommended"), RECIPE, 0)
    pairs = zip(history["seconds"], history["val_balanced_accuracy"], strict=True)
    return [{"seconds": round(seconds, 1), "balanced accuracy": round(value, 4)} for seconds, value in pairs]


def main(data: str, weights: str) -> None:
    cases = read_case_tables(load_study("recommended", data=data))["corrected"]
    counts = {split: int((cases["split"] == split).sum()) for split in ("train", "validation")}
    arms = {"recommended recipe": ours(), "Keras' tutorial": tutorial(cases, Path(weights))}
    write_json(RESULTS, {"commit": commit(), "cores": len(os.sched_getaffinity(0)), "n": counts, "epochs": arms})
    renew("time to quality", table(read_json(RESULTS)))


def minutes_to(epochs: list[dict[str, float]], level: float) -> float | None:
    """Minutes until the balanced accuracy first reaches ``level``; None if it never does."""
    passed = 0.0
    for epoch in epochs:
        passed += epoch["seconds"]
        if epoch["balanced accuracy"] >= level:
            return passed / 60
    return None


def table(results: dict) -> str:
    lines = []
    for level in LEVELS:
        found = (minutes_to(epochs, level) for epochs in results["epochs"].values())
        lines.append([f"{level:.2f}", *(f"{number(at)} min" if at else "not reached" for at in found)])
    texts = []
    for epochs in results["epochs"].values():
        best, minutes = max(epoch["balanced accuracy"] for epoch in epochs), sum(row["seconds"] for row in epochs) / 60
        texts.append(f"{number(best)}; {len(epochs)} epochs, {number(minutes)} min")
    lines.append(["the best epoch; all epochs", *texts])
    n, cores = results["n"], results["cores"]
    note = f"n = {n['train']:,} training and {n['validation']:,} validation images; {cores} cores; one run each"
    shown = markdown(["balanced accuracy on validation", *results["epochs"]], lines)
    return f"{shown}\n\n{note} (commit {results['commit']})."


if __name__ == "__main__":
    main(*sys.argv[1:])
