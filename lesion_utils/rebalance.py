"""Samplers and class weights: how often a training case is seen, and how much it counts."""

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.utils import compute_class_weight


def epoch_sizes(labels: np.ndarray, sampler: str) -> dict[int, int]:
    """Images of each class that one epoch shows; ``labels`` are class indices, (n,).

    ``none``: as they are. ``over`` / ``under``: all classes as the largest / smallest. ``equal`` / ``root``: all
    alike / proportional to the square root of the class sizes, in an epoch of about n images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    sizes = {
        "none": counts,
        "over": np.full_like(counts, counts.max()),
        "under": np.full_like(counts, counts.min()),
        "equal": np.full_like(counts, max(1, round(counts.mean()))),
        "root": np.maximum(1, np.rint(counts.sum() * np.sqrt(counts) / np.sqrt(counts).sum())).astype(int),
    }[sampler]
    return {int(name): int(size) for name, size in zip(classes, sizes, strict=True)}


def epoch_rows(labels: np.ndarray, sampler: str, seed: int) -> np.ndarray:
    """Rows of the training cases in the order in which one epoch shows them; draw anew with another ``seed``."""
    sizes = epoch_sizes(labels, sampler)
    rows = np.arange(len(labels)).reshape(-1, 1)
    counts = {name: int((labels == name).sum()) for name in sizes}
    if fewer := {name: min(size, counts[name]) for name, size in sizes.items() if size < counts[name]}:
        rows, labels = RandomUnderSampler(sampling_strategy=fewer, random_state=seed).fit_resample(rows, labels)
    if more := {name: size for name, size in sizes.items() if size > counts[name]}:
        rows, labels = RandomOverSampler(sampling_strategy=more, random_state=seed).fit_resample(rows, labels)
    return np.random.default_rng(seed).permutation(rows.ravel())


def class_weights(labels: np.ndarray, kind: str) -> dict[int, float] | None:
    """Weight of each class index in the loss: None, or ``balanced`` (inversely proportional to class size)."""
    if kind == "none":
        return None
    classes = np.unique(labels)
    return dict(zip(classes.tolist(), compute_class_weight(kind, classes=classes, y=labels).tolist(), strict=True))
