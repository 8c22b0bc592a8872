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

from lesion_utils import datasets
from lesion_utils.augment import augmenter, offline_copies
from lesion_utils.digests import code_digest
from lesion_utils.errors import InputError
from lesion_utils.features import cached_features, feature_cache_key
from lesion_utils.models import (
    BalancedAccuracy,
    Statistics,
    build,
    finished,
    finished_head,
    loss,
    rescaled,
    set_trainable,
    split_below,
)
from lesion_utils.paths import atomic_write, run_folder, write_json
from lesion_utils.pictures import CachedArrays, batches, held_out_batches, load_pictures, row_digests
from lesion_utils.published import handover
from lesion_utils.rebalance import class_weights, epoch_rows
from lesion_utils.recipes import Phase, Recipe
from lesion_utils.runtime import keras, start, tf
from lesion_utils.splits import refuse_leak, split_digest, use_share
from lesion_utils.study import VALIDATION_COPIES, StudyParams

_MADE_BY = "made_by.json"  # written last: with it the others are whole
_FILES = ("model.keras", "history.csv", "scores.npz", _MADE_BY)
_HELD_OUT = ("validation", VALIDATION_COPIES, "test")  # parts that are scored, as far as there are cases of them
IN_JUPYTERLAB = "JPY_SESSION_NAME" in os.environ  # set by the Jupyter server, not by papermill or nbval


@dataclass(frozen=True)
class Trained:
    """What training a recipe leaves: the model's file, its history, and probabilities of the cases held out.

    ``cases`` are those it was given, and its copies; ``scores`` (n, classes) are of those of each part, in their order.
    """

    classes: list[str]
    cases: pd.DataFrame
    model_file: Path
    history: pd.DataFrame
    scores: dict[str, np.ndarray]
    made_by: dict


def train(name: str, cases: pd.DataFrame, params: StudyParams) -> Trained:
    """Trains recipe ``name`` of the study on the training cases and scores validation and test.

    Epochs are chosen on validation alone; test cases are scored by the finished model and not looked at. Writes
    ``model.keras``, ``history.csv`` and ``scores.npz`` into the run folder, together and last; a run that finds
    them, made by the same recipe, cases, pictures, seed, threads, weights and code, returns them without training.
    ``name`` may be an arm of a paired leak; cases of no part (split ``unused``) are left alone. Copies that were made
    before the split and fell to validation are a part of their own, ``validation_copies``. Raises InputError if
    training knows a validation or test case and the recipe does not allow it.
    """
    recipe = params.trainings[name]
    given = split_digest(cases)
    cases = _prepared(cases, recipe, params.training_seed)
    pixels = load_pictures(cases["path"], recipe.backbone.image_size, params.threads)
    leaky = refuse_leak(name, cases, row_digests(pixels), recipe.allow_leak)
    made_by = {
        "recipe": recipe.model_dump(mode="json"),
        "run": params.run,
        "seed": params.training_seed,
        "threads": params.threads,
        "leaky": leaky,
        "cases": given,
        "pictures": pixels.digest,
        "weights": recipe.backbone.weights_digest(params.weights),
        "code": code_digest(Path(__file__).read_text(encoding="utf-8")),
    }
    folder = model_folder(params, name)
    if not _made_by(folder, made_by, handover.names(recipe)):
        start(params.threads)
        _train(name, recipe, cases, pixels, params, folder, made_by)
    with np.load(folder / "scores.npz") as scores:
        return Trained(
            sorted(cases["label"].unique()),
            cases,
            folder / "model.keras",
            pd.read_csv(folder / "history.csv"),
            dict(scores),
            made_by,
        )


def _prepared(cases: pd.DataFrame, recipe: Recipe, seed: int) -> pd.DataFrame:
    """The cases as the recipe uses them: a share of the training lesions, and the copies written off line."""
    cases = use_share(cases, recipe.training_share, seed)
    if not (options := recipe.offline_copies):
        return cases
    counts = cases["split"].value_counts()
    copied = ["train", "validation"] if options.before_split else ["train"]
    copies = offline_copies(cases[cases["split"].isin(copied)], options, seed)
    if options.before_split:
        held_out = round(len(copies) * counts["validation"] / (counts["train"] + counts["validation"]))
        dealt = np.where(np.arange(len(copies)) < held_out, VALIDATION_COPIES, "train")
        copies = copies.assign(split=np.random.default_rng(seed).permutation(dealt))
    return pd.concat([cases, copies], ignore_index=True)


def model_folder(params: StudyParams, name: str) -> Path:
    """Where the model of training ``name`` lies, for the repeat of ``params``."""
    return run_folder(params.study) / "models" / name / f"r{params.run}"


def _made_by(folder: Path, made_by: dict, exported: tuple[str, ...]) -> bool:
    whole = all((folder / name).exists() for name in (*_FILES, *exported))
    return whole and json.loads((folder / _MADE_BY).read_text(encoding="utf-8")) == made_by


class _Data:
    """The cases of one training as rows of its input arrays, with their one-hot labels."""

    def __init__(self, recipe: Recipe, cases: pd.DataFrame, seed: int):
        self.classes = sorted(cases["label"].unique())
        self.split = cases["split"].to_numpy()
        self.labels = np.searchsorted(self.classes, cases["label"])
        self.targets = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        self.train = self.rows("train")
        self.recipe, self.seed = recipe, seed

    @property
    def parts(self) -> list[str]:
        """The parts to be scored."""
        return [part for part in _HELD_OUT if part in self.split]

    def rows(self, *parts: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.split, parts))

    def epoch(self, number: int) -> np.ndarray:
        """The rows of training cases that epoch ``number`` shows, in their order."""
        seed, recipe = self.seed + 1000 * number, self.recipe
        drawn_by = seed if recipe.resample_each_epoch else self.seed
        rows = self.train[epoch_rows(self.labels[self.train], recipe.sampler, drawn_by, recipe.class_size)]
        if not recipe.resample_each_epoch:
            rows = np.random.default_rng(seed).permutation(rows)
        return rows[: recipe.epoch_images]

    def held_out(self, inputs: np.ndarray | CachedArrays, *parts: str) -> tf.data.Dataset:
        return held_out_batches(inputs, self.targets, self.rows(*parts))


@dataclass(frozen=True)
class _Fed:
    """What learns in a phase, and what it is fed: one input a case, beside them augmented views of training cases."""

    model: keras.Model
    inputs: np.ndarray | CachedArrays
    views: tuple[np.ndarray, ...] = ()
    change: Callable[[np.ndarray, int, int], np.ndarray] | None = None

    def batches(self, data: _Data, size: int) -> tf.data.Dataset:
        """Endless training batches; epochs take the views, where there are any, in turn."""
        if not self.views:
            return batches(self.inputs, data.targets, data.epoch, size, change=self.change)

        def rows(epoch: int) -> np.ndarray:
            view = epoch % len(self.views)
            return view * len(data.train) + np.searchsorted(data.train, data.epoch(epoch))

        targets = np.concatenate([data.targets[data.train]] * len(self.views))
        return batches(np.concatenate(self.views), targets, rows, size)


def _train(
    name: str,
    recipe: Recipe,
    cases: pd.DataFrame,
    pixels: CachedArrays,
    params: StudyParams,
    folder: Path,
    made_by: dict,
) -> None:
    keras.backend.clear_session()
    seed = params.training_seed
    data = _Data(recipe, cases, seed)
    statistics = _statistics(recipe, data, pixels)
    network = build(recipe, len(data.classes), params.weights, seed, statistics["train"])
    key = feature_cache_key(recipe.backbone, made_by["weights"], statistics["train"], seed, params.threads)

    @functools.cache
    def features(*parts: str) -> np.ndarray:
        """The features of the pictures of ``parts``, of all that take part where none is named, in the cases' rows."""
        rows = data.rows(*(parts or ("train", *data.parts)))
        made = np.empty((len(cases), network.features.output_shape[1]), np.float32)
        made[rows] = cached_features(network.features, pixels.take(rows), key)
        return made

    if recipe.standardise:
        network.head.get_layer("standardise").adapt(features()[data.train])

    def fed(phase: Phase, earlier: tuple[Phase, ...]) -> _Fed:
        """The part of the network that a phase trains, fed with what the part below, if frozen so far, makes."""
        if phase.train == "head":
            if not recipe.feature_views:
                return _Fed(network.head, features())
            shown = pixels.take(data.train)
            changed = (
                cached_features(network.features, shown, key, recipe.augmentation, view)
                for view in range(1, recipe.feature_views + 1)
            )
            return _Fed(network.head, features(*data.parts), tuple(np.asarray(view) for view in changed))
        untouched = all(before.train in ("head", phase.train) for before in earlier)
        change = augmenter(recipe.augmentation, seed, params.threads)
        plain = phase.train != "all" and untouched and change is None
        if plain and (parts := split_below(network, phase.train)):
            lower, upper = parts
            used = data.rows("train", *data.parts)
            place = np.zeros(len(cases), int)  # of each case among those that take part
            place[used] = np.arange(len(used))
            return _Fed(upper, cached_features(lower, pixels.take(used), [*key, "below", phase.train]).take(place))
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
            f"{name}: {recipe.monitor} was never a number, so no epoch can be kept. Fix: a smaller learning_rate."
        )
    network.whole.set_weights(weights)
    shown = data.labels[data.epoch(0)]
    shares = np.bincount(shown, minlength=len(data.classes)) / len(shown)
    model = predicts = finished(network, recipe, shares)
    inputs: np.ndarray | CachedArrays = pixels
    if not recipe.flip_views and all(phase.train == "head" for phase in recipe.phases):
        views = data.parts if recipe.feature_views else ()
        predicts, inputs = finished_head(network, recipe, shares), features(*views)
    scores = {}
    for part in data.parts:
        if statistics[part] == statistics["train"]:
            scores[part] = predicts.predict(data.held_out(inputs, part), verbose=0)
        else:
            rescaled(network, statistics[part])
            other = finished(network, recipe, shares)
            scores[part] = other.predict(data.held_out(pixels, part), verbose=0)
    if recipe.backbone.scaling == "z_score_by_split":
        rescaled(network, statistics["train"])
    history = pd.concat(histories, ignore_index=True)
    (folder / _MADE_BY).unlink(missing_ok=True)
    handover.write(folder, model, history, cases, recipe, scores, datasets.title(params), made_by["leaky"])
    _save(folder, model, history, scores, made_by)


def _statistics(recipe: Recipe, data: _Data, pixels: CachedArrays) -> dict[str, Statistics]:
    """Mean and standard deviation of all values of the pictures, by which each part is standardised, if it is."""
    by_part = recipe.backbone.scaling == "z_score_by_split"
    learnt = ["train", "validation", VALIDATION_COPIES] if by_part else ["train"]
    groups = {part: learnt for part in ("train", *data.parts)}
    if by_part and "test" in groups:
        groups["test"] = ["test"]
    if recipe.backbone.scaling not in ("z_score", "z_score_by_split"):
        return dict.fromkeys(groups, (127.5, 127.5))
    return {part: _moments(pixels, data.rows(*group)) for part, group in groups.items()}


def _moments(pixels: CachedArrays, rows: np.ndarray) -> Statistics:
    counts = np.zeros(256, np.int64)
    for row in rows:
        counts += np.bincount(pixels[int(row)].ravel(), minlength=256)
    mean = np.average(np.arange(256), weights=counts)
    return float(mean), float(np.average((np.arange(256) - mean) ** 2, weights=counts) ** 0.5)


def _fit(fed: _Fed, data: _Data, recipe: Recipe, phase: Phase, name: str) -> pd.DataFrame:
    """Trains ``fed.model`` for one phase and leaves it with the weights to keep; returns one row an epoch."""
    model = fed.model
    steps = math.ceil(len(data.epoch(0)) / recipe.batch_size)
    rate = phase.learning_rate
    if phase.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * phase.epochs)
    elif phase.schedule == "step":
        every, lower = steps * phase.step_every, 1 / phase.step_divisor
        rate = keras.optimizers.schedules.ExponentialDecay(rate, every, lower, staircase=True)
    options = {"learning_rate": rate} | recipe.optimizer_options
    model.compile(
        optimizer=keras.optimizers.get({"class_name": recipe.optimizer, "config": options}),
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
    if plateau := recipe.reduce_lr:
        options = {"factor": plateau.factor, "patience": plateau.patience, "min_lr": plateau.smallest}
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**options, **watched))
    if phase.schedule == "step_never_reached":
        callbacks.append(keras.callbacks.LearningRateScheduler(functools.partial(_never, phase)))
    model.fit(
        fed.batches(data, recipe.batch_size),
        steps_per_epoch=steps,
        shuffle=False,  # the sampler has shuffled
        epochs=phase.epochs,
        validation_data=data.held_out(fed.inputs, "validation", VALIDATION_COPIES),
        class_weight=class_weights(data.labels[data.train], recipe.class_weights, data.classes),
        callbacks=callbacks,
        verbose=1 if IN_JUPYTERLAB else 0,
    )
    return pd.DataFrame(progress.epochs)


def _never(phase: Phase, epoch: int, rate: float) -> float:
    """The step of system 000 as it is written: no epoch above 0, divided by another number, is 0."""
    return rate / phase.step_divisor if epoch > 0 and epoch / phase.step_every == 0 else rate


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
    with atomic_write(folder / "model.keras") as beside:
        model.save(beside)
    with atomic_write(folder / "history.csv") as beside:
        history.to_csv(beside, index=False)
    with atomic_write(folder / "scores.npz") as beside:
        np.savez(beside, **scores)
    write_json(folder / _MADE_BY, made_by)
