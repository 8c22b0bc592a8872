"""How long does it take to train something good? The recommended recipe, beside what people do today.

    .venv/bin/python -m benchmarks.time_to_quality curve DATA WEIGHTS   # an hour; the tutorial's validation curve
    .venv/bin/python -m benchmarks.time_to_quality cost DATA WEIGHTS    # minutes, on a machine that does nothing else

*Today*: Keras' tutorial on transfer learning and fine-tuning, https://www.tensorflow.org/tutorials/images/transfer_learning
(MobileNetV2 at 160x160 px, `image_dataset_from_directory`, 10 epochs of the head, then 10 from the 100th layer on).

Both learn from the same images, those of the first fold of the study `recommended`, and are judged on the same
validation images by balanced accuracy, one view of each picture, no correction. The minutes are seconds per epoch,
measured in turn by `cost` (medians of ROUNDS), times the epochs that the curves need; the curves of our recipe are
those of its tracked trainings. So neither a busy machine nor a GPU that trained the tables changes the minutes.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.page import renew
from lesion_utils import training
from lesion_utils.cases import make_case_tables
from lesion_utils.digests import commit
from lesion_utils.losses import BalancedAccuracy
from lesion_utils.paths import read_json, write_json
from lesion_utils.predictions import read_history
from lesion_utils.recipes import Recipe
from lesion_utils.rounding import number
from lesion_utils.runtime import keras, start
from lesion_utils.study import load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
RECIPE, LEVELS, ROUNDS, THREADS = "efficientnet_lite0", (0.65, 0.70), 3, 2
SIDE, EPOCHS, FROM_LAYER = 160, 10, 100  # of the tutorial
FEW, MANY = 640, 1280  # training images of a short epoch; the difference is free of what each epoch costs anyway


def tutorial(cases: pd.DataFrame, weights: str, folder: Path) -> tuple[keras.Model, keras.Model, dict]:
    """The tutorial's network, its base, and its datasets ``train`` and ``validation`` of links to the pictures."""
    data = {}
    for split in ("train", "validation"):
        for row in cases[cases["split"] == split].itertuples():
            place = folder / split / row.label
            place.mkdir(parents=True, exist_ok=True)
            if not (link := place / Path(row.path).name).exists():
                link.symlink_to(Path(row.path).resolve())
        options = {"image_size": (SIDE, SIDE), "label_mode": "categorical", "seed": 0, "verbose": False}
        data[split] = keras.utils.image_dataset_from_directory(folder / split, **options).prefetch(2)
    file = next(Path(weights).glob("mobilenet_v2_1.0_*.h5"))
    base = keras.applications.MobileNetV2(include_top=False, weights=str(file), input_shape=(SIDE, SIDE, 3))
    inputs = keras.Input((SIDE, SIDE, 3))
    shown = keras.layers.RandomRotation(0.2)(keras.layers.RandomFlip("horizontal")(inputs))
    features = base(keras.layers.Rescaling(1 / 127.5, -1)(shown), training=False)
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(features))
    outputs = keras.layers.Dense(cases["label"].nunique(), activation="softmax")(pooled)
    return keras.Model(inputs, outputs), base, data


def phase(model: keras.Model, base: keras.Model, number: int) -> None:
    """Compiles ``model`` for the tutorial's first or second phase."""
    base.trainable = number == 1
    for layer in base.layers[: FROM_LAYER if number else 0]:
        layer.trainable = False
    rate = keras.optimizers.RMSprop(1e-5) if number else keras.optimizers.Adam(1e-4)
    classes = model.output_shape[1]
    model.compile(rate, "categorical_crossentropy", metrics=[BalancedAccuracy(classes)])


def fold_zero(data: str):
    params = load_study("recommended", data=data)
    return params, make_case_tables(params)["corrected"]


def curve(data: str, weights: str) -> None:
    start(THREADS)
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model, base, shown = tutorial(fold_zero(data)[1], weights, Path(folder))
        values: list[float] = []
        for number in (0, 1):
            phase(model, base, number)
            fitted = model.fit(shown["train"], validation_data=shown["validation"], epochs=EPOCHS, verbose=2)
            values += [round(value, 4) for value in fitted.history["val_balanced_accuracy"]]
    write_json(RESULTS, read_json(RESULTS, missing={}) | {"curve": values, "curve commit": commit()})


def cost(data: str, weights: str) -> None:
    start(THREADS)
    params, cases = fold_zero(data)
    recipe, seconds = params.recipes[RECIPE], dict[str, list[float]]()
    sizes = cases["split"].value_counts()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LESION_OUTPUT"] = folder
        model, base, shown = tutorial(cases, weights, Path(folder) / "links")
        for turn in range(ROUNDS):
            for number in range(len(recipe.phases)):
                few, many = (_ours(recipe, number, images, cases, Path(folder) / f"{turn}") for images in (FEW, MANY))
                seconds.setdefault(f"ours {number}", []).append(_of_epoch(few, many, sizes["train"]))
            for number in (0, 1):
                phase(model, base, number)
                few, many = (_theirs(model, shown, images) for images in (FEW, MANY))
                seconds.setdefault(f"theirs {number}", []).append(_of_epoch(few, many, sizes["train"]))
            print(seconds, flush=True)
    medians = {key: round(statistics.median(values), 1) for key, values in seconds.items()}
    machine = {"threads": THREADS, "rounds": ROUNDS, "commit": commit()}
    write_json(RESULTS, read_json(RESULTS, missing={}) | {"seconds per epoch": medians} | machine)
    write_page()


def _of_epoch(few: float, many: float, images: int) -> float:
    """Seconds of an epoch of ``images``, from those of epochs of ``FEW`` and ``MANY`` images."""
    per_image = (many - few) / (MANY - FEW)
    return few + per_image * (images - FEW)


def _ours(recipe: Recipe, number: int, images: int, cases: pd.DataFrame, folder: Path) -> float:
    """Seconds of the second short epoch of a phase, validation included; the first one compiles."""
    short = recipe.phases[number].model_copy(update={"epochs": 2, "warm_up": 0})
    recipe = recipe.model_copy(
        update={"phases": (short,), "epoch_images": images, "flip_views": False, "turn_views": False}
    )
    few_held_out = cases[cases["split"] != "test"]
    trained = training.train(
        recipe, few_held_out, seed=0, threads=THREADS, weights=None, folder=folder / f"{number}-{images}"
    )
    return float(trained.history["seconds"].iloc[-1])


def _theirs(model: keras.Model, shown: dict, images: int) -> float:
    options = {"steps_per_epoch": images // 32, "epochs": 1, "verbose": 0, "validation_data": shown["validation"]}
    model.fit(shown["train"].repeat(), **options)
    began = time.perf_counter()
    model.fit(shown["train"].repeat(), **options)
    return time.perf_counter() - began


def minutes_to(values: list[float], level: float, seconds: list[float]) -> float | None:
    """Minutes until ``values``, one per epoch, first reach ``level``; ``seconds`` are those of each epoch."""
    reached = next((epoch for epoch, value in enumerate(values) if value >= level), None)
    return None if reached is None else sum(seconds[: reached + 1]) / 60


def write_page() -> None:
    results, params = read_json(RESULTS), load_study("recommended_full")
    costs = results["seconds per epoch"]
    with tempfile.TemporaryDirectory() as folder:
        take_all(params, Path(folder))
        os.environ["LESION_OUTPUT"] = folder
        histories = [read_history(params, RECIPE, run) for run in range(params.runs)]
    ours = [costs[f"ours {number}"] for number in histories[0]["phase"]]
    theirs = [costs[f"theirs {number}"] for number in (0, 1) for _ in range(EPOCHS)]
    lines = [
        "| balanced accuracy on validation | recommended recipe, by fold | Keras' tutorial, first fold |",
        "|---|---|---|",
    ]
    for level in LEVELS:
        found = [minutes_to(list(history["val_balanced_accuracy"]), level, ours) for history in histories]
        texts = [
            number(value) if value else "not reached" for value in (*found, minutes_to(results["curve"], level, theirs))
        ]
        lines.append(
            f"| {level:.2f} | {', '.join(texts[:-1])} min | {texts[-1]}{' min' * (texts[-1] != 'not reached')} |"
        )
    best = max(results["curve"])
    whole = [number(sum(seconds) / 60) for seconds in (ours, theirs)]
    lines.append(f"| all epochs | {whole[0]} min | {whole[1]} min; its best: {number(best)} |")
    rounds, made_by = results["rounds"], results["commit"]
    note = f"Two threads; seconds per epoch are medians of {rounds} rounds in turn (commit {made_by})."
    renew("time to quality", "\n".join([*lines, "", note]))


if __name__ == "__main__":
    {"curve": curve, "cost": cost}[sys.argv[1]](*sys.argv[2:])
