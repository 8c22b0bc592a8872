"""Samplers and class weights: how often an epoch shows a training case, and how much it counts in the loss."""

from collections.abc import Mapping, Sequence

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from lesion_utils.errors import InputError, first_ten


def epoch_sizes(labels: np.ndarray, sampler: str, class_size: int | None = None) -> dict[int, int]:
    """Images of each class that one epoch shows; ``labels`` are class indices, (n,).

    ``none``: class sizes as they are. ``over`` / ``under``: all classes as large as the largest / smallest. ``equal`` /
    ``root``: all the same / proportional to the square root of the class sizes, in an epoch of about n images. With
    ``class_size``, ``over`` raises smaller classes to it, ``under`` cuts larger ones to it, ``equal`` does both.
    """
    classes, counts = np.unique(labels, return_counts=True)
    sizes = {
        "none": counts,
        "over": np.maximum(counts, class_size or counts.max()),
        "under": np.minimum(counts, class_size or counts.min()),
        "equal": np.full_like(counts, class_size or max(1, round(counts.mean()))),
        "root": np.maximum(1, np.rint(counts.sum() * np.sqrt(counts) / np.sqrt(counts).sum())).astype(int),
    }[sampler]
    return dict(zip(classes.tolist(), sizes.tolist(), strict=True))


def epoch_rows(labels: np.ndarray, sampler: str, seed: int, class_size: int | None = None) -> np.ndarray:
    """Rows of the training cases in the order in which one epoch shows them; ``seed`` decides the draw."""
    sizes, rows = epoch_sizes(labels, sampler, class_size), np.arange(len(labels)).reshape(-1, 1)
    counts = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    if fewer := {name: size for name, size in sizes.items() if size < counts[name]}:
        rows, labels = RandomUnderSampler(sampling_strategy=fewer, random_state=seed).fit_resample(rows, labels)
    if more := {name: size for name, size in sizes.items() if size > counts[name]}:
        rows, labels = RandomOverSampler(sampling_strategy=more, random_state=seed).fit_resample(rows, labels)
    return np.random.default_rng(seed).permutation(rows.ravel())


def class_weights(
    labels: np.ndarray, kind: str | Mapping[str, float], names: Sequence[str] = (), beta: float = 0.999
) -> dict[int, float] | None:
    """Weight of each class index in the loss: None, or inversely proportional to the size of the class (``balanced``),
    its square root (``square_root``) or its effective number of images (``effective``, with ``beta``; Cui et al.,
    2019), with 1 as the mean over ``labels``; or by name.

    ``names[index]`` is a class; one that ``kind`` does not name weighs 1. Raises InputError for an unknown name.
    """
    if kind == "none":
        return None
    indices, sizes = np.unique(labels, return_counts=True)
    classes = indices.tolist()
    if isinstance(kind, str):
        counted = {"balanced": sizes, "square_root": np.sqrt(sizes), "effective": 1 - beta**sizes}[kind]
        weights = len(labels) / (counted * (sizes / counted).sum())
        return dict(zip(classes, weights.tolist(), strict=True))
    if unknown := sorted(set(kind) - set(names)):
        expected = f"Expected some of {', '.join(names)}. Fix: correct the name."
        raise InputError(f"recipe key `class_weights`: no class {first_ten(unknown)}. {expected}")
    return {index: kind.get(names[index], 1.0) for index in classes}
