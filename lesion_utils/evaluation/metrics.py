"""Metrics with case weights, for all draws of a bootstrap at once.

``truth`` and ``predicted`` are (n,) class indices, ``probabilities`` (n, k) with rows that sum to 1, and ``weights``
(B, n) case weights from 0 up, one row per draw; ``np.ones((1, n))`` gives the point estimate, equal to scikit-learn's.
Metrics, of confusion counts, values per case or ROC curves, are (B,) float64, NaN where they are not defined.
"""

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

from lesion_utils.progress import steps

Among: TypeAlias = np.ndarray | slice  # which of n cases count: (n,) bool
ALL = slice(None)
NUMPY = ThreadpoolController()
BLOCK, LARGE = 2_000_000, 100_000  # weights held as float64 at a time: 16 MB; of more cases fewer, as curves need more


def blocks(weights: np.ndarray, among: Among = ALL) -> Iterator[np.ndarray]:
    """Some draws of the weights ``among`` the cases at a time: (b, m) float64 with contiguous columns (fastest)."""
    step = max(1, int(BLOCK / (n := weights.shape[1]) * min(1, LARGE / n)))
    starts = steps(range(0, len(weights), step), f"judging, {step} draws at a time")
    return (_by_case(weights[start : start + step, among]).T for start in starts)


def over_draws(of: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, among: Among = ALL) -> np.ndarray:
    """``of(weights)`` in bounded memory for any number of draws: ``of`` gets them block by block."""
    with NUMPY.limit(limits=1, user_api="blas"):  # more threads do not help, and wait for each other beside other work
        return np.concatenate([of(block) for block in blocks(weights, among)])


def confusion_counts(
    truth: np.ndarray, predicted: np.ndarray, k: int, weights: np.ndarray, among: Among = ALL
) -> np.ndarray:
    """Weighted confusion matrices of the cases ``among``, (B, k, k): rows true, columns predicted."""
    member = _grouping(truth[among] * k + predicted[among], k * k)
    return over_draws(lambda block: (member @ _by_case(block)).T, weights, among).reshape(-1, k, k)


def merged(counts: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Confusion matrices of the rest and the classes ``positive``, (k,) bool, in this order: (B, 2, 2)."""
    side = np.stack([~positive, positive]).astype(np.float64)
    return side @ counts @ side.T


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of the cases that are classified correctly."""
    return _ratio(np.trace(counts, axis1=1, axis2=2), counts.sum((1, 2)))


def baseline_accuracy(counts: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Expected accuracy of guessing class c with probability ``guess[c]``, (k,), the same in every draw: fitted to each
    draw it would look better.
    """
    return _ratio(counts.sum(2) @ guess, counts.sum((1, 2)))


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean sensitivity over all k classes; NaN if one has no weight. The ISIC scorer differs: to it ties are wrong."""
    return _ratio(np.diagonal(counts, axis1=1, axis2=2), counts.sum(2)).mean(1)


def sensitivity(counts: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases of class ``index`` that are predicted as it (recall); of the rest, specificity."""
    return _ratio(counts[:, index, index], counts[:, index].sum(1))


def precision(counts: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases predicted as ``index`` that are of it; NaN if there is no such case."""
    return _ratio(counts[:, index, index], counts[:, :, index].sum(1))


def f1(counts: np.ndarray, index: int) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of class ``index``: 0 if it is never predicted, NaN if it has no case either."""
    return _ratio(2 * counts[:, index, index], counts[:, index].sum(1) + counts[:, :, index].sum(1))


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean of ``f1`` over all k classes."""
    return np.mean([f1(counts, index) for index in range(counts.shape[1])], axis=0)


def matthews(counts: np.ndarray) -> np.ndarray:
    """Matthews correlation (Gorodkin, Comput. Biol. Chem. 28:367, 2004), -1 to 1; 0 if there is only one class."""
    true, predicted, total = counts.sum(2), counts.sum(1), counts.sum((1, 2))
    together = np.trace(counts, axis1=1, axis2=2) * total - (true * predicted).sum(1)
    spread = (total**2 - (true**2).sum(1)) * (total**2 - (predicted**2).sum(1))
    return np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


def weighted_mean(values: np.ndarray, weights: np.ndarray, among: Among = ALL) -> np.ndarray:
    """Mean of (n, m) values of the cases ``among`` in each draw: (B, m)."""
    values = values[among].T
    return over_draws(lambda block: _ratio((values @ block.T).T, block.sum(1)[:, None]), weights, among)


def top_hits(truth: np.ndarray, probabilities: np.ndarray, top: int) -> np.ndarray:
    """Whether the true class is among the ``top`` most probable, (n,) bool; of equals the first ranks higher."""
    return (np.argsort(-probabilities, axis=1, kind="stable")[:, :top] == truth[:, None]).any(1)


def brier_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance from the truth, (n,) 0 to 2, halved for two classes (Brier, Mon. Weather Rev. 78:1, 1950)."""
    return ((probabilities - np.eye(k := probabilities.shape[1])[truth]) ** 2).sum(1) / (2 if k == 2 else 1)


def log_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Minus the natural logarithm of the probability of the true class, clipped as in scikit-learn: (n,) 0 to 36.04."""
    stated = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0].astype(np.float64)
    return -np.log(np.clip(stated, *(edge := np.finfo(np.float64).eps, 1 - edge)))


class Ranking:
    """Cases sorted by ``scores``, (n,), once for all draws and metrics; ``positive``, (n,) bool, should score high."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray):
        # Between two scores that positives have, only the number of negatives matters.
        steps, own = np.unique(-scores[positive], return_inverse=True)  # from the highest positive down
        step_of = np.searchsorted(steps, -scores, "left")
        self.steps = len(steps)
        tied = np.isin(-scores, steps)
        # rows: positives of each step; negatives above it and below the step before; negatives tied with it
        rows = np.where(tied, 2 * self.steps + 1, self.steps) + step_of
        rows[positive] = own
        self._member = _grouping(rows, 3 * self.steps + 1)

    def curve(self, weights: np.ndarray) -> "Curve":
        """The ROC curve in each draw of ``weights``, (b, n); for many draws see ``over_draws``."""
        return Curve(*np.split(self._member @ _by_case(weights), [self.steps, 2 * self.steps + 1]))


class Curve:
    """ROC curves of b draws, at the G distinct scores of the positives, from the highest down. Weights: ``own`` (G, b)
    of the positives at each score, ``tied`` (G, b) of the negatives there, ``above`` (G + 1, b) of the negatives
    between it and the score before (last: below all).
    """

    def __init__(self, own: np.ndarray, above: np.ndarray, tied: np.ndarray):
        self.own, self._above = own, cache(self._part_above)
        self.positives, self.negatives = own.sum(0), above.sum(0) + tied.sum(0)
        self.true = np.cumsum(own, axis=0)  # at or above each score
        self.false = np.cumsum(above[:-1] + tied, axis=0)
        self.false_before = self.false - tied

    @cached_property
    def auc(self) -> np.ndarray:
        """Area under the curve; ties count half (Mann-Whitney; Hanley and McNeil, Radiology 143:29, 1982)."""
        right = self.negatives * self.positives - np.einsum("gb,gb->b", self.own, self.false + self.false_before) / 2
        return _ratio(right, self.negatives * self.positives)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """Mean over the positives of the precision at their score, without interpolation, as scikit-learn's."""
        at_score = _ratio(self.true, self.true + self.false, empty=0)
        return _ratio(np.einsum("gb,gb->b", self.own, at_score), self.positives)

    def sensitivity_at(self, specificity: float) -> np.ndarray:
        """The highest sensitivity of a threshold with at least this ``specificity``; it may be above all scores."""
        enough = _ratio(self.negatives - self.false, self.negatives) >= specificity
        best = np.where(enough, self.true, 0).max(0, initial=0)
        return np.where(self.negatives > 0, _ratio(best, self.positives), np.nan)

    def specificity_at(self, sensitivity: float) -> np.ndarray:
        """The highest specificity of a threshold with at least this ``sensitivity``, above 0."""
        enough = _ratio(self.true, self.positives) >= sensitivity
        fewest = np.where(enough, self.false, np.inf).min(0, initial=np.inf)
        return np.where(self.positives > 0, _ratio(self.negatives - fewest, self.negatives), np.nan)

    def partial_auc(self, above: float) -> np.ndarray:
        """Area between the curve and the line of sensitivity ``above``, 0 to 1 - ``above``: that of ISIC 2024."""
        return self._above(above)[0]

    def partial_auc_to_zero(self, above: float) -> np.ndarray:
        """Area under the part of the curve with sensitivity ``above`` or more, 0 to 1: that of the ISIC 2018 scorer."""
        area, start = self._above(above)
        return area + above * (1 - start)

    def _part_above(self, above: float) -> tuple[np.ndarray, np.ndarray]:
        """The area between the curve and the line, and the 1 - specificity at which they meet."""
        upper = _ratio(self.true, self.positives)
        before = _ratio(self.true - self.own, self.positives)
        false_before, false = _ratio(self.false_before, self.negatives), _ratio(self.false, self.negatives)
        lower = np.maximum(before, above)
        along = np.clip(_ratio(lower - before, upper - before, empty=0), 0, 1)
        at = false_before + along * (false - false_before)
        area = (np.maximum(upper - lower, 0) * (1 - (at + false) / 2)).sum(0)
        area = np.where((self.positives > 0) & (self.negatives > 0), area, np.nan)
        return area, np.where(upper >= above, at, 1).min(0, initial=1)


def _by_case(weights: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.ascontiguousarray(weights.T), np.float64)


def _grouping(groups: np.ndarray, size: int) -> csr_array:
    """The matrix, (size, n), that sums over the cases of each of ``size`` groups."""
    return csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(size, len(groups)))


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(whole.shape, empty, np.float64), where=whole > 0)
