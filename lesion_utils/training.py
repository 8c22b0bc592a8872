"""One trainer for all recipes: every phase of a recipe in turn, its history, its weights, its probabilities."""

import functools
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils import frozen
from lesion_utils.artefacts import code_digest, run_folder, write_json, writing
from lesion_utils.augment import augmenter, offline_copies
from lesion_utils.errors import InputError
from lesion_utils.models import BalancedAccuracy, build, finished, finished_head, loss, set_trainable, split_below
from lesion_utils.params import StudyParams
from lesion_utils.pixels import batches, case_pixels, held_out, row_digests
from lesion_utils.rebalance import class_weights, epoch_rows
from lesion_utils.recipes import Phase, Recipe
from lesion_utils.runtime import keras, start, tf
from lesion_utils.splits import refuse_leak, split_digest
from lesion_utils.store import Rows
from lesion_utils.weights import weights_digest

IN_JUPYTERLAB = "JPY_SESSION_NAME" in os.environ  # set by the Jupyter server, not by papermill or nbval


@dataclass(frozen=True)
class Trained:
    """What training a recipe leaves: the model's file, its history, and probabilities of the cases held out."""

    classes: list[str]
    model_file: Path
    history: pd.DataFrame
    scores: dict[str, np.ndarray]
    made_by: dict


def train(name: str, cases: pd.DataFrame, params: StudyParams) -> Trained:
    """Trains recipe ``name`` of the study on the training cases and scores validation and test.

    Epochs are chosen on validation alone; test cases are scored by the finished model and not looked at. Writes
    ``model.keras``, ``history.csv`` and ``scores.npz`` into the run folder, together and last; a run that finds
    them, made by the same recipe, cases, pictures, seed, threads, weights and code, returns them without training.
    ``name`` may be an arm of a paired leak; cases of no part (split ``unused``) are left alone. Raises InputError if
    training knows a validation or test case and the recipe does not allow it.
    """
    recipe = params.trainings[name]
    pixels = case_pixels(cases, recipe.image_size, params.threads)
    leaky = refuse_leak(name, cases, row_digests(pixels), recipe.allow_leak)
    made_by = {
        "recipe": recipe.model_dump(mode="json"),
        "repeat": params.repeat,
        "seed": params.training_seed,
        "threads": params.threads,
        "leaky": leaky,
        "cases": split_digest(cases),
        "pictures": pixels.digest,
        "weights": weights_digest(recipe, params.weights),
        "code": code_digest(Path(__file__).read_text(encoding="utf-8")),
    }
    folder = model_folder(params, name)
    if not _made_by(folder, made_by):
        start(params.threads)
        _train(name, recipe, cases, pixels, params, folder, made_by)
    with np.load(folder / "scores.npz") as scores:
        return Trained(
            sorted(cases["label"].unique()),
            folder / "model.keras",
            pd.read_csv(folder / "history.csv"),
            dict(scores),
            made_by,
        )


def model_folder(params: StudyParams, name: str) -> Path:
    """Where the model of training ``name`` lies, for the repeat of ``params``."""
    return run_folder(params.study) / "models" / name / f"r{params.repeat}"


def _made_by(folder: Path, made_by: dict) -> bool:
    whole = all((folder / name).is_file() for name in ("made_by.json", "model.keras", "history.csv", "scores.npz"))
    return whole and json.loads((folder / "made_by.json").read_text(encoding="utf-8")) == made_by


class _Data:
    """The cases of one training as rows of its input arrays, with their one-hot labels."""

    def __init__(self, recipe: Recipe, cases: pd.DataFrame, seed: int):
        self.classes = sorted(cases["label"].unique())
        self.split = cases["split"].to_numpy()
        self.labels = np.searchsorted(self.classes, cases["label"])
        self.targets = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        self.train = self.rows("train")
        self.sampler, self.seed = recipe.sampler, seed

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def epoch(self, number: int) -> np.ndarray:
        return self.train[epoch_rows(self.labels[self.train], self.sampler, self.seed + 1000 * number)]

    def held_out(self, inputs: np.ndarray | Rows, split: str) -> tf.data.Dataset:
        return held_out(inputs, self.targets, self.rows(split))


@dataclass(frozen=True)
class _Fed:
    """What learns in a phase, and what it is fed: one input a case, beside them augmented views of training cases."""

    model: keras.Model
    inputs: np.ndarray | Rows
    views: tuple[np.ndarray, ...] = ()
    change: Callable[[np.ndarray, int, int], np.ndarray] | None = None

    def batches(self, data: _Data, size: int) -> tf.data.Dataset:
        """Endless training batches; epochs take the inputs and the views in turn."""
        if not self.views:
            return batches(self.inputs, data.targets, data.epoch, size, change=self.change)

        def rows(epoch: int) -> np.ndarray:
            order, view = data.epoch(epoch), epoch % (1 + len(self.views))
            first_of_view = len(data.targets) + (view - 1) * len(data.train)
            return first_of_view + np.searchsorted(data.train, order) if view else order

        targets = np.concatenate([data.targets, *[data.targets[data.train]] * len(self.views)])
        return batches(np.concatenate([self.inputs, *self.views]), targets, rows, size)


def _train(
    name: str,
    recipe: Recipe,
    cases: pd.DataFrame,
    pixels: Rows,
    params: StudyParams,
    folder: Path,
    made_by: dict,
) -> None:
    keras.backend.clear_session()
    seed = params.training_seed
    if recipe.offline_copies:
        copies = offline_copies(cases[cases["split"] == "train"], recipe.offline_copies, seed)
        cases = pd.concat([cases, copies], ignore_index=True)
        pixels = case_pixels(cases, recipe.image_size, params.threads)
    data = _Data(recipe, cases, seed)
    network = build(recipe, len(data.classes), params.weights, seed)
    origin = frozen.origin(recipe, made_by["weights"], seed, params.threads)
    features = functools.cache(lambda: np.asarray(frozen.outputs(network.features, pixels, origin)))
    if recipe.standardise:
        network.head.get_layer("standardise").adapt(features()[data.train])

    def fed(phase: Phase, earlier: tuple[Phase, ...]) -> _Fed:
        """The part of the network that a phase trains, fed with what the part below, if frozen so far, makes."""
        if phase.train == "head":
            changed = (
                frozen.outputs(network.features, pixels.take(data.train), origin, recipe.augmentation, view)
                for view in range(1, recipe.feature_views)
            )
            return _Fed(network.head, features(), tuple(np.asarray(view) for view in changed))
        untouched = all(before.train in ("head", phase.train) for before in earlier)
        change = augmenter(recipe.augmentation, seed, params.threads)
        plain = phase.train != "all" and untouched and change is None
        if plain and (parts := split_below(network, phase.train)):
            lower, upper = parts
            return _Fed(upper, frozen.outputs(lower, pixels, [*origin, "below", phase.train]))
        return _Fed(network.whole, pixels, change=change)

    histories: list[pd.DataFrame] = []
    best, weights = -np.inf, []
    for number, phase in enumerate(recipe.phases):
        set_trainable(network, phase.train, recipe.freeze_batch_norm)
        history = _fit(fed(phase, recipe.phases[:number]), data, recipe, phase, name)
        histories.append(history.assign(phase=number, train=phase.train))
        score = (history[recipe.monitor] * (1 if "accuracy" in recipe.monitor else -1)).max()
        if recipe.keep == "last" or score > best:
            best, weights = score, network.whole.get_weights()
    if not weights:
        raise InputError(
            f"{name}: {recipe.monitor} was never a number, so no epoch can be kept. Cure: a smaller learning_rate."
        )
    network.whole.set_weights(weights)
    shown = data.labels[data.epoch(0)]
    shares = np.bincount(shown, minlength=len(data.classes)) / len(shown)
    model = predicts = finished(network, recipe, shares)
    inputs: np.ndarray | Rows = pixels
    if not recipe.flip_views and all(phase.train == "head" for phase in recipe.phases):
        predicts, inputs = finished_head(network, recipe, shares), features()
    scores = {split: predicts.predict(data.held_out(inputs, split), verbose=0) for split in ("validation", "test")}
    _save(folder, model, pd.concat(histories, ignore_index=True), scores, made_by)


def _fit(fed: _Fed, data: _Data, recipe: Recipe, phase: Phase, name: str) -> pd.DataFrame:
    """Trains ``fed.model`` for one phase and leaves it with the weights to keep; returns one row an epoch."""
    model = fed.model
    steps = math.ceil(len(data.epoch(0)) / recipe.batch_size)
    rate = phase.learning_rate
    if phase.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * phase.epochs)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": recipe.optimizer, "config": {"learning_rate": rate}}),
        loss=loss(recipe),
        metrics=["accuracy", BalancedAccuracy(len(data.classes))],
        jit_compile=False,  # XLA on the CPU is several times slower here
    )
    watched = {"monitor": recipe.monitor, "mode": "max" if "accuracy" in recipe.monitor else "min"}
    progress = _Progress(name, phase)
    keeper = keras.callbacks.EarlyStopping(
        patience=recipe.early_stopping or phase.epochs, restore_best_weights=recipe.keep == "best", **watched
    )
    callbacks: list[keras.callbacks.Callback] = [progress, keeper]
    if recipe.reduce_lr:
        callbacks.append(keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=recipe.reduce_lr, **watched))
    model.fit(
        fed.batches(data, recipe.batch_size),
        steps_per_epoch=steps,
        shuffle=False,  # the sampler has shuffled
        epochs=phase.epochs,
        validation_data=data.held_out(fed.inputs, "validation"),
        class_weight=class_weights(data.labels[data.train], recipe.class_weights),
        callbacks=callbacks,
        verbose=1 if IN_JUPYTERLAB else 0,
    )
    return pd.DataFrame(progress.epochs)


class _Progress(keras.callbacks.Callback):
    """Keeps the history; in batch runs prints one line an epoch (JupyterLab has Keras' own bar)."""

    def __init__(self, name: str, phase: Phase):
        super().__init__()
        self.name, self.phase = name, phase
        self.epochs: list[dict] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.began
        rate = float(self.model.optimizer.learning_rate)
        self.epochs.append({"epoch": epoch + 1, "learning_rate": rate} | logs | {"seconds": round(seconds, 2)})
        if not IN_JUPYTERLAB:
            print(
                f"{self.name} ({self.phase.train}) epoch {epoch + 1}/{self.phase.epochs}: loss {logs['loss']:.3f}, "
                f"validation loss {logs['val_loss']:.3f}, "
                f"validation balanced accuracy {logs['val_balanced_accuracy']:.3f}, {seconds:.0f} s",
                flush=True,
            )


def _save(folder: Path, model: keras.Model, history: pd.DataFrame, scores: dict, made_by: dict) -> None:
    (folder / "made_by.json").unlink(missing_ok=True)
    with writing(folder / "model.keras") as beside:
        model.save(beside)
    with writing(folder / "history.csv") as beside:
        history.to_csv(beside, index=False)
    with writing(folder / "scores.npz") as beside:
        np.savez(beside, **scores)
    write_json(folder / "made_by.json", made_by)  # last: with it the others are whole
