"""One trainer for all recipes: it runs a recipe's phases in turn and writes model, history and prediction tables."""

import functools
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils import predictions, progress, tracked
from lesion_utils.audit.images import pixel_digests
from lesion_utils.augment import make_augmenter, visible_area_and_fill
from lesion_utils.batches import Batches, batches
from lesion_utils.checkpoint import Checkpoint
from lesion_utils.digests import code_digest, commit
from lesion_utils.errors import InputError
from lesion_utils.features import cached_features, feature_cache_key
from lesion_utils.losses import BalancedAccuracy, loss
from lesion_utils.models import Statistics, build, finished, rescale, set_trainable, split_below
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.paths import atomic_write, is_intact, is_usable, of_batch, read_json, remove, write_json
from lesion_utils.pictures import HELD_OUT_BATCH, CachedArrays, load_pictures
from lesion_utils.predictions import PROVENANCE
from lesion_utils.published import handover
from lesion_utils.rebalance import class_weights, epoch_rows
from lesion_utils.recipes import Phase, Recipe
from lesion_utils.runtime import backend, keras, start, tf
from lesion_utils.splits import refuse_leak, split_digest, use_share
from lesion_utils.study import VALIDATION_COPIES

_FILES = ("model.keras", "history.csv", "probabilities.npz", PROVENANCE)
_HELD_OUT = ("validation", VALIDATION_COPIES, "test")  # splits that are predicted, as far as they have cases


@dataclass(frozen=True)
class Trained:
    """A trained recipe: its files' folder, its history (one row per epoch) and its probabilities of held-out cases.

    ``cases`` are the given cases and the copies made of them; ``probabilities[split]`` (n, classes) are in their order.
    """

    folder: Path
    classes: list[str]
    cases: pd.DataFrame
    history: pd.DataFrame
    probabilities: dict[str, np.ndarray]
    provenance: dict[str, Any]

    @property
    def model_file(self) -> Path:
        return self.folder / "model.keras"

    @property
    def is_leaky(self) -> bool:
        return self.provenance["leaky"]  # whether training shares a lesion or an image with a held-out case


def train(
    recipe: Recipe, cases: pd.DataFrame, *, seed: int, threads: int, weights: str | None, folder: Path, title: str = ""
) -> Trained:
    """Trains ``recipe`` on the training cases and predicts validation and test.

    Epochs are chosen on validation alone. ``cases`` is a case table with its splits; ``unused`` cases take no part.
    ``weights`` is the folder of ImageNet weights (None: Keras downloads them), ``title`` that of the dataset, for
    exports. Model, history and prediction tables go into ``folder``, unless it holds those of the same recipe, cases,
    pictures, seed, threads, weights and code, or such tables are tracked and the recipe exports no model. What was not
    trained on this machine may come from other code: longer trainings must outlive it. What was, and is damaged, is
    trained again. With ``FROM_TRACKED`` nothing is
    trained, and only recipe, cases and seed of the tracked tables must be the same. Raises InputError for a leak that
    the recipe does not allow, and where tracked tables are asked for and there are none.
    """
    name = folder.parent.name if re.fullmatch(r"r\d+", folder.name) else folder.name
    made_from = {"recipe": recipe.identity, "seed": seed, "cases": split_digest(cases)}
    kept = tracked.tracked_training(folder)
    if os.environ.get(tracked.FROM_TRACKED):
        return _taken(tracked.required(kept, folder, made_from), folder, cases)
    cases = _with_copies(use_share(cases, recipe.training_share, seed), recipe, seed)
    pictures = load_pictures(cases["path"], recipe.backbone.image_size, threads)
    cases = cases.assign(pixels=pixel_digests(cases, threads))  # where the case table has none
    leaky = refuse_leak(name, cases, recipe.allow_leak)
    provenance: dict[str, Any] = {
        **made_from,
        "threads": threads,
        "leaky": leaky,
        "pictures": pictures.digest,
        "weights": recipe.backbone.weights_digest(weights),
        "code": code_digest(Path(__file__).read_text(encoding="utf-8")),
    }
    places = dict.fromkeys((of_batch(folder), folder))  # by hand, what a job of the study trained serves as it is
    if made := next((place for place in places if _is_complete(place, recipe, provenance)), None):
        if made != folder:
            remove(folder)
        folder = made
    else:
        files = [place / file for place in places for file in _files(recipe)]
        is_own = any(file.exists() for file in files if file.name == "model.keras")
        wanted = {key: value for key, value in provenance.items() if is_own or key != "code"}
        if kept and not recipe.exports and all(map(is_intact, files)) and tracked.agrees(kept, wanted):
            return _taken(kept, folder, cases)
        start(threads)
        keras.backend.clear_session()
        training = _Training(_Data(recipe, cases, seed), pictures, threads, weights, provenance["weights"])
        checkpoint = Checkpoint(folder / "checkpoint.npz", provenance, name, training.network.whole)
        trained = training.fit(name, checkpoint)
        model, scores, correct = training.predict()
        remove(folder / PROVENANCE)
        handover.write(folder, model, trained, cases, recipe, scores, title, leaky)
        saves = {
            "model.keras": model.save,
            "history.csv": lambda new: trained.to_csv(new, index=False),
            "probabilities.npz": lambda new: np.savez(new, **scores),
        }
        for file, save in saves.items():
            with atomic_write(folder / file) as new:
                save(new)
        # noted, so that a claim about it can be judged without Keras
        ran_on = f"{backend.__name__} {backend.__version__}"
        noted: dict[str, Any] = {"commit": commit(), "backend": ran_on, "training_correct": correct}
        if recipe.augmentation.changes:
            fill = visible_area_and_fill(recipe.augmentation, recipe.backbone.image_size)["fill"]
            noted["fill"] = [float(fill.mean()), len(fill)]
        write_json(folder / PROVENANCE, provenance | noted)
        remove(checkpoint.file)  # with its digest, or the study takes it for a lost file
    provenance = read_json(folder / PROVENANCE, "")
    with np.load(folder / "probabilities.npz") as arrays:
        probabilities = dict(arrays)
    predictions.write(folder, cases, probabilities, provenance)
    history = pd.read_csv(folder / "history.csv")
    return Trained(folder, sorted(cases["label"].unique()), cases, history, probabilities, provenance)


def _is_complete(folder: Path, recipe: Recipe, provenance: dict[str, Any]) -> bool:
    usable = [is_usable(folder / file) for file in _files(recipe)]  # of each that is damaged a line is printed
    return all(usable) and tracked.agrees(folder, provenance)


def _files(recipe: Recipe) -> tuple[str, ...]:
    return *_FILES, *handover.names(recipe)


def _taken(kept: Path, folder: Path, cases: pd.DataFrame) -> Trained:
    """The training ``kept`` among the reports, unpacked into ``folder``."""
    provenance = tracked.take(kept, folder)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "predictions").glob("*.csv")}
    scores = {split: predictions.probabilities(table) for split, table in tables.items()}
    history = pd.read_csv(folder / "history.csv")
    return Trained(folder, sorted(cases["label"].unique()), cases, history, scores, provenance)


def _with_copies(cases: pd.DataFrame, recipe: Recipe, seed: int) -> pd.DataFrame:
    if not (options := recipe.offline_copies):
        return cases
    counts = cases["split"].value_counts()
    copied = ["train", "validation"] if options.before_split else ["train"]
    copies = make_offline_copies(cases[cases["split"].isin(copied)], options, seed)
    if options.before_split:
        held_out = round(len(copies) * counts["validation"] / (counts["train"] + counts["validation"]))
        splits = np.where(np.arange(len(copies)) < held_out, VALIDATION_COPIES, "train")
        copies = copies.assign(split=np.random.default_rng(seed).permutation(splits))
    return pd.concat([cases, copies], ignore_index=True)


class _Data:
    """The cases of one training as rows of its input arrays, with their one-hot labels."""

    def __init__(self, recipe: Recipe, cases: pd.DataFrame, seed: int):
        self.recipe, self.cases, self.seed = recipe, cases, seed
        self.classes = sorted(cases["label"].unique())
        self.labels = np.searchsorted(self.classes, cases["label"])
        self.targets = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        self.train = self.rows("train")
        self.sizes = np.bincount(self.labels[self.train], minlength=len(self.classes))
        self.mix = (recipe.mixup, seed) if recipe.mixup else None
        self.splits = [split for split in _HELD_OUT if (cases["split"] == split).any()]  # to be predicted

    def rows(self, *splits: str) -> np.ndarray:
        return np.flatnonzero(self.cases["split"].isin(splits))

    def epoch(self, number: int) -> np.ndarray:
        """The rows of training cases that epoch ``number`` shows, in their order."""
        seed, recipe = self.seed + 1000 * number, self.recipe
        sampler_seed = seed if recipe.resample_each_epoch else self.seed
        rows = self.train[epoch_rows(self.labels[self.train], recipe.sampler, sampler_seed, recipe.class_size)]
        if not recipe.resample_each_epoch:
            rows = np.random.default_rng(seed).permutation(rows)
        return rows[: recipe.epoch_images]

    def held_out(self, inputs: np.ndarray | CachedArrays, *splits: str) -> Batches:
        """Batches that show each case of ``splits`` once, in order."""
        rows = self.rows(*splits)
        return batches(inputs, self.targets, lambda _: rows, HELD_OUT_BATCH, epochs=1)


class _Training:
    """One training in progress: its cases, their pictures, and the network."""

    def __init__(self, data: _Data, pictures: CachedArrays, threads: int, weights: str | None, weights_digest: str):
        self.data, self.recipe, self.pictures = data, data.recipe, pictures
        self.pictures_in = functools.cache(lambda size: load_pictures(data.cases["path"], size, threads))
        self.statistics = _statistics(data, pictures)
        statistics, everything = self.statistics["train"], ("train", *data.splits)
        self.network = build(self.recipe, len(data.classes), weights, data.seed, statistics)
        self.key = feature_cache_key(self.recipe.backbone, weights_digest, statistics, data.seed, threads)
        self.features = functools.cache(self._features)
        self.head_splits = tuple(data.splits) if self.recipe.feature_views else everything
        if self.recipe.standardise:
            self.network.head.get_layer("standardise").adapt(self.features(*everything)[data.train])

    def _features(self, *splits: str) -> np.ndarray:
        """The features of the pictures of ``splits`` in the cases' rows; other rows are left as they are."""
        rows = self.data.rows(*splits)
        features = np.empty((len(self.pictures), self.network.features.output_shape[1]), np.float32)
        features[rows] = cached_features(self.network.features, self.pictures.take(rows), self.key)
        return features

    def phase_input(self, number: int, begin: int) -> tuple[keras.Model, np.ndarray | CachedArrays, Batches]:
        """The model that phase ``number`` trains, its inputs, one per case, and endless batches of training cases from
        its epoch ``begin`` on.

        Layers that are frozen so far run once, and their output is kept.
        """
        recipe, data, network, size = self.recipe, self.data, self.network, self.recipe.batch_size
        part, image_size = recipe.phases[number].train, recipe.phases[number].image_size
        model, change = network.whole, None
        pictures = self.pictures_in(image_size) if image_size else self.pictures
        inputs: np.ndarray | CachedArrays = pictures
        if part == "head":
            model, inputs = network.head, self.features(*self.head_splits)
            if recipe.feature_views:
                return model, inputs, self._view_batches(begin)
        elif recipe.augmentation.changes:
            change = make_augmenter(recipe.augmentation, data.seed)
        elif (
            part != "all"
            and all(before.train in ("head", part) for before in recipe.phases[:number])
            and (halves := split_below(network, part))
        ):
            used = data.rows("train", *data.splits)
            activations = cached_features(halves[0], pictures.take(used), [*self.key, "below", part, image_size])
            nearest = np.searchsorted(used, np.arange(len(self.pictures))).clip(max=len(used) - 1)  # unused: any row
            model, inputs = halves[1], activations.take(nearest)
        shown = batches(inputs, data.targets, data.epoch, size, change=change, mix=data.mix, begin=begin)
        return model, inputs, shown

    def _view_batches(self, begin: int) -> Batches:
        """Training batches of the features of augmented pictures; epochs take the views in turn."""
        recipe, data = self.recipe, self.data
        pictures, count = self.pictures.take(data.train), recipe.feature_views
        views = [
            cached_features(self.network.features, pictures, self.key, recipe.augmentation, view)
            for view in range(1, count + 1)
        ]

        def rows(epoch: int) -> np.ndarray:
            return epoch % count * len(data.train) + np.searchsorted(data.train, data.epoch(epoch))

        targets = np.tile(data.targets[data.train], (count, 1))
        return batches(np.concatenate([*views]), targets, rows, recipe.batch_size, mix=data.mix, begin=begin)

    def fit(self, name: str, checkpoint: Checkpoint) -> pd.DataFrame:
        """Runs all phases and leaves the network with the weights to keep; returns one row per epoch."""
        best, kept = checkpoint.best, checkpoint.kept
        for number, phase in enumerate(self.recipe.phases):
            set_trainable(self.network, phase.train, self.recipe.freeze_batch_norm)
            if number < checkpoint.phase:
                continue
            begin = sum(row["phase"] == number for row in checkpoint.rows)
            _fit(*self.phase_input(number, begin), self.data, phase, name, checkpoint, begin)
            monitor, larger = self.recipe.monitor, self.recipe.larger_is_better
            history = pd.DataFrame([row for row in checkpoint.rows if row["phase"] == number])
            score = (history[monitor] * (1 if larger else -1)).max()
            if self.recipe.keep == "last" or score > best:
                best, kept = score, self.network.whole.get_weights()
            checkpoint.end_phase(best, kept)
        if not kept:
            reason = f"{self.recipe.monitor} was never a number, so no epoch can be kept"
            raise InputError(f"{name}: {reason}. Fix: a smaller learning_rate.")
        self.network.whole.set_weights(kept)
        return pd.DataFrame(checkpoint.rows)

    def predict(self) -> tuple[keras.Model, dict[str, Any], int]:
        """The finished model, its probabilities of each held-out split, and how many training cases it gets right, of
        which it sees one view.

        Keras' own training accuracy is a mean over an epoch of changing weights, with dropout and changed pictures.
        """
        recipe, data, network = self.recipe, self.data, self.network
        model = finished(network, recipe)
        usual: tuple[keras.Model, np.ndarray | CachedArrays] = model, self.pictures
        if not recipe.flip_views and all(phase.train == "head" for phase in recipe.phases):
            usual = finished(network, recipe, from_features=True), self.features("train", *data.splits)
        probabilities = {}
        for split in data.splits:
            (predictor, inputs), statistics = usual, self.statistics[split]
            if is_rescaled := statistics != self.statistics["train"]:
                rescale(network, statistics)
                predictor, inputs = finished(network, recipe), self.pictures
            probabilities[split] = predictor.predict(data.held_out(inputs, split), verbose=0)
            if is_rescaled:
                rescale(network, self.statistics["train"])
        once = network.whole if usual[0] is model else usual[0]  # one view: eight of all training pictures take long
        seen = once.predict(data.held_out(usual[1], "train"), verbose=0).argmax(1)
        return model, probabilities, int((seen == data.labels[data.train]).sum())


def _statistics(data: _Data, pictures: CachedArrays) -> dict[str, Statistics]:
    """Mean and standard deviation of all values of the pictures by which each split is standardised, if it is."""
    splits, scaling = ["train", *data.splits], data.recipe.backbone.scaling
    if scaling == "z_score":
        return dict.fromkeys(splits, _moments(pictures, data.train))
    if scaling != "z_score_by_split":
        return dict.fromkeys(splits, (127.5, 127.5))
    statistics = dict.fromkeys(splits, _moments(pictures, data.rows("train", "validation", VALIDATION_COPIES)))
    return statistics | ({"test": _moments(pictures, data.rows("test"))} if "test" in splits else {})


def _moments(pictures: CachedArrays, rows: np.ndarray) -> Statistics:
    counts = sum(np.bincount(pictures[int(row)].ravel(), minlength=256) for row in rows)
    mean = np.average(np.arange(256), weights=counts)
    return float(mean), float(np.average((np.arange(256) - mean) ** 2, weights=counts) ** 0.5)


def _fit(
    model: keras.Model,
    inputs: np.ndarray | CachedArrays,
    shown: Batches,
    data: _Data,
    phase: Phase,
    name: str,
    checkpoint: Checkpoint,
    begin: int,
) -> None:
    """Trains ``model`` for one phase, from its epoch ``begin`` on, and leaves it with the weights to keep; adds one row
    per epoch to those of ``checkpoint``.
    """
    recipe = data.recipe
    steps = math.ceil(len(data.epoch(0)) / recipe.batch_size)
    rate, schedules = phase.learning_rate, keras.optimizers.schedules  # step_never_reached: constant
    if phase.schedule == "cosine":
        rising = {"warmup_target": rate, "warmup_steps": phase.warm_up} if phase.warm_up else {}
        start = 0.0 if rising else rate
        rate = schedules.CosineDecay(start, max(1, steps * phase.epochs - phase.warm_up), **rising)
    elif phase.schedule == "step":
        rate = schedules.ExponentialDecay(rate, steps * phase.step_every, 1 / phase.step_divisor, staircase=True)
    options = {"learning_rate": rate} | recipe.optimizer_options
    averages: list[keras.callbacks.Callback] = []
    if recipe.weight_average:
        options |= {"use_ema": True, "ema_momentum": recipe.weight_average}
        averages = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    metrics = ["accuracy", BalancedAccuracy(len(data.classes))]
    if recipe.monitor == "val_macro_auc":
        metrics.append(keras.metrics.AUC(multi_label=True, num_labels=len(data.classes), name="macro_auc"))
    # a step on features takes less time than its call, so an epoch of them is one call: the results are the same
    at_once = steps if phase.train == "head" and tf is not None else 1
    model.compile(
        optimizer=keras.optimizers.get({"class_name": recipe.optimizer, "config": options}),
        loss=loss(recipe, data.sizes),
        metrics=metrics,
        steps_per_execution=at_once,
        jit_compile=tf is None,  # TensorFlow with XLA on the CPU is several times slower here
    )
    # A step that makes variables is traced twice, so they are made before.
    any_target = data.targets[:1]
    model.optimizer.build(model.trainable_variables)
    model.compute_loss(y=any_target, y_pred=any_target)
    model.compute_metrics(None, any_target, any_target)
    model.reset_metrics()
    monitor = {"monitor": recipe.monitor, "mode": "max" if recipe.larger_is_better else "min"}
    stopping = {"patience": recipe.early_stopping or phase.epochs, "restore_best_weights": recipe.keep == "best"}
    began: list[float] = []

    def record(epoch: int, logs: dict[str, float]) -> None:
        seconds, rate = time.perf_counter() - began[-1], float(model.optimizer.learning_rate)
        row = {"epoch": epoch + 1, "learning_rate": rate} | logs | {"seconds": round(seconds, 2)}
        checkpoint.rows.append(row | {"phase": checkpoint.phase, "train": phase.train})
        if not progress.IN_JUPYTERLAB:  # which has Keras' own progress bar
            print(
                f"{name} ({phase.train}) epoch {epoch + 1}/{phase.epochs}: loss {logs['loss']:.3f}, validation loss "
                f"{logs['val_loss']:.3f}, validation balanced accuracy {logs['val_balanced_accuracy']:.3f}, "
                f"{seconds:.0f} s",
                flush=True,
            )

    clock = keras.callbacks.LambdaCallback(lambda *_: began.append(time.perf_counter()), on_epoch_end=record)
    left = steps * (phase.epochs - begin)
    trained = progress.steps(range(left), f"{name} ({phase.train}): training steps", left)

    def count(*_: Any, **__: Any) -> None:
        for _step in range(at_once):
            next(trained, None)

    counter = keras.callbacks.LambdaCallback(on_train_batch_end=count)
    counter.async_safe = True  # no step waits until its loss is known
    shown_by = [] if progress.IN_JUPYTERLAB else [counter]
    callbacks = [clock, *shown_by, *averages, keras.callbacks.EarlyStopping(**stopping, **monitor)]
    if plateau := recipe.reduce_lr:
        options = {"factor": plateau.factor, "patience": plateau.patience, "min_lr": plateau.smallest}
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**options, **monitor))
    checkpoint.watched = callbacks
    kind = recipe.class_weights if phase.weighted else "none"
    model.fit(
        shown,
        steps_per_epoch=steps,
        shuffle=False,  # the sampler has shuffled
        epochs=phase.epochs,
        initial_epoch=begin,
        validation_data=data.held_out(inputs, "validation", VALIDATION_COPIES),
        class_weight=class_weights(data.labels[data.train], kind, data.classes, recipe.effective_beta),
        callbacks=[*callbacks, checkpoint],
        verbose=1 if progress.IN_JUPYTERLAB else 0,
    )
