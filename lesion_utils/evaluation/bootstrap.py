"""Bootstrap by lesion, and the rule of what is not estimable.

The views of a lesion are not independent, so whole lesions are drawn with replacement (cluster bootstrap; Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Field and Welsh, JRSS B 69:369, 2007), and a case
weighs as often as its lesion was drawn.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import binomtest

LEVEL = 0.95  # of the interval
MIN_LESIONS = 10  # that a class needs
MAX_REDRAWN = 0.01  # share of the draws

_BLOCK = 2_000_000  # picks drawn at a time: part of what a seed means


def lesion_draws(
    lesion_ids: np.ndarray, truth: np.ndarray, n_classes: int, resamples: int, seed: int, at_least: int = 1
) -> tuple[np.ndarray, int]:
    """Case weights of ``resamples`` draws of lesions with replacement.

    ``lesion_ids`` and ``truth`` (class indices) are (n,). Returns the weights, (resamples, n) uint8, and how many
    draws were redrawn because they lacked a class of ``at_least`` lesions or more (a class with fewer, down to none,
    may be lacking). Redrawing ends after as many redraws as resamples; then some draws may still lack a class, and the
    count tells so. The same seed and rows give the same draws.
    """
    codes, lesions = pd.factorize(np.asarray(lesion_ids))
    member = np.zeros((len(lesions), n_classes), np.float32)
    member[codes, truth] = 1
    member = member[:, member.sum(0) >= max(at_least, 1)]
    rng = np.random.default_rng(seed)
    # uint8: a lesion comes up about once a draw, 256 times never
    counts = np.empty((resamples, len(lesions)), np.uint8)
    todo, redrawn = np.arange(resamples), 0
    while True:
        lacking = _draw(rng, counts, todo, member)
        if len(lacking) == 0 or redrawn + len(lacking) > resamples:
            return counts[:, codes], redrawn + len(lacking)
        todo, redrawn = lacking, redrawn + len(lacking)


def _draw(rng: np.random.Generator, counts: np.ndarray, todo: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Fills the rows ``todo`` of ``counts``, (resamples, lesions); returns those that lack a class of ``member``."""
    n_lesions = counts.shape[1]
    step = max(1, _BLOCK // n_lesions)
    lacking = []
    for start in range(0, len(todo), step):
        rows = todo[start : start + step]
        picks = rng.integers(n_lesions, size=(len(rows), n_lesions)) + n_lesions * np.arange(len(rows))[:, None]
        counts[rows] = np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape)
        lacking.append(rows[(counts[rows].astype(np.float32) @ member == 0).any(1)])
    return np.concatenate(lacking)


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 % points of a metric's draws, (B,) (Efron's percentile interval)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def not_estimable(needed: Mapping[str, int], redrawn: int, resamples: int) -> str:
    """Why a metric is not estimable, or "" if it is.

    ``needed`` are the classes that the metric needs with their lesions: none for accuracy, all for balanced accuracy.
    """
    if rare := {name: count for name, count in needed.items() if count < MIN_LESIONS}:
        found = ", ".join(f"{name}: {count} lesion{'' if count == 1 else 's'}" for name, count in rare.items())
        return f"{found}, at least {MIN_LESIONS} needed"
    if needed and redrawn > MAX_REDRAWN * resamples:
        return (
            f"{redrawn:,} redraws for want of a class in {resamples:,} draws, at most {100 * MAX_REDRAWN:g} % allowed"
        )
    return ""


def exact_interval(share: float, lesions: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share of 0 or 1 among ``lesions`` independent lesions.

    Where all cases are right, or all wrong, every draw repeats the same value and the bootstrap would claim certainty.
    """
    interval = binomtest(round(share * lesions), lesions).proportion_ci(LEVEL)
    return float(interval.low), float(interval.high)
