"""Metrics with case weights, for all draws of a bootstrap at once.

``truth`` and ``predicted`` are (n,) class indices, ``probabilities`` (n, k) with rows that sum to 1, and ``weights``
(B, n) case weights from 0 up, one row a draw; ``np.ones((1, n))`` gives the point estimate, equal to scikit-learn's.
All metrics return (B,) float64, NaN where they are not defined. They are functions of one of three things that are
computed once and shared: the confusion counts, the mean of a per-case value, and the ROC curve of a ``Ranking``.

The predicted class is the most probable one, here as everywhere the first of equals.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

BLOCK = 2_000_000  # weights held as float64 at a time: 16 MB


def blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """``weights`` some draws at a time, as (b, n) float64 whose columns are contiguous, which the metrics like best."""
    step = max(1, BLOCK // weights.shape[1])
    return (_by_case(weights[start : start + step]).T for start in range(0, len(weights), step))


def over_draws(of: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> np.ndarray:
    """``of(weights)`` for any number of draws in bounded memory: ``of`` sees them block by block."""
    return np.concatenate([of(block) for block in blocks(weights)])


# ------------------------------------------------------------------------------------------ from confusion counts


def confusion_counts(truth: np.ndarray, predicted: np.ndarray, k: int, weights: np.ndarray) -> np.ndarray:
    """Weighted confusion matrices, (B, k, k): rows true, columns predicted."""
    member = _grouping(truth * k + predicted, k * k)
    return over_draws(lambda block: (member @ _by_case(block)).T, weights).reshape(-1, k, k)


def merged(counts: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Confusion matrices of a question, (B, 2, 2), the second row and column being the classes ``positive``, (k,) bool.

    A case counts as named positive when its most probable class is.
    """
    side = np.stack([~positive, positive]).astype(np.float64)
    return side @ counts @ side.T


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of the cases whose class is named."""
    return _ratio(np.trace(counts, axis1=1, axis2=2), counts.sum((1, 2)))


def baseline_accuracy(counts: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Expected accuracy of naming class c with probability ``guess[c]``, (k,), whatever the picture.

    With all of it on the largest class this is the majority baseline; with the shares of the classes it is guessing
    in proportion to them, of which this is the expectation and not one random run. ``guess`` is that of the whole table
    in every draw: a rule made afresh from each draw would look better.
    """
    return _ratio(counts.sum(2) @ guess, counts.sum((1, 2)))


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean sensitivity over all k classes; NaN if one of them weighs nothing.

    The scorer of the ISIC challenges says the same but where two classes are equally the most probable: to it that
    answer is wrong, here it is the first of them.
    """
    return _ratio(np.diagonal(counts, axis1=1, axis2=2), counts.sum(2)).mean(1)


def sensitivity(counts: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases of class ``index`` that are named so (recall)."""
    return _ratio(counts[:, index, index], counts[:, index].sum(1))


def specificity(counts: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases of other classes that are not named ``index``."""
    others = counts.sum((1, 2)) - counts[:, index].sum(1)
    wrong = counts[:, :, index].sum(1) - counts[:, index, index]
    return _ratio(others - wrong, others)


def precision(counts: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases named ``index`` that are of it; NaN if none is named so."""
    return _ratio(counts[:, index, index], counts[:, :, index].sum(1))


def f1(counts: np.ndarray, index: int) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of class ``index``: 0 if it is there and never named, NaN if neither."""
    return _ratio(2 * counts[:, index, index], counts[:, index].sum(1) + counts[:, :, index].sum(1))


def matthews(counts: np.ndarray) -> np.ndarray:
    """Matthews correlation of k classes (Gorodkin, Comput. Biol. Chem. 28:367, 2004), from -1 to 1.

    0 where only one class is named, or only one is there, as scikit-learn has it: such an answer tells nothing.
    """
    true, named, total = counts.sum(2), counts.sum(1), counts.sum((1, 2))
    hits = np.trace(counts, axis1=1, axis2=2)
    together = hits * total - (true * named).sum(1)
    spread = (total**2 - (true**2).sum(1)) * (total**2 - (named**2).sum(1))
    return np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


# ---------------------------------------------------------------------------------------------- from values of cases


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of (n, m) values of cases in each draw: (B, m)."""
    return over_draws(lambda block: _ratio((values.T @ block.T).T, block.sum(1)[:, None]), weights)


def top_hits(truth: np.ndarray, probabilities: np.ndarray, top: int) -> np.ndarray:
    """Whether the true class is among the ``top`` most probable, (n,) bool; the first of equals ranks higher."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return (ranked == truth[:, None]).any(1)


def brier_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of the probabilities from the truth, summed over the classes: (n,) from 0 to 2.

    Brier's own definition (Monthly Weather Review 78:1, 1950), for two classes too, where others halve it.
    """
    return ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(1)


def log_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Minus the natural logarithm of the probability of the true class, (n,) from 0 to 36.04.

    Probabilities are clipped at the precision of float64, as scikit-learn does, so that one flat denial of the
    truth does not make the mean infinite.
    """
    stated = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0].astype(np.float64)
    return -np.log(np.clip(stated, *(edge := np.finfo(np.float64).eps, 1 - edge)))


# --------------------------------------------------------------------------------------------------- from a ranking


class Ranking:
    """Cases in the order of a score, for a yes-or-no question: sorted once for all draws and all metrics.

    ``scores`` (n,), higher for a surer yes; ``positive`` (n,) bool.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray):
        # Between two scores that positives have, only the number of negatives matters.
        steps, own = np.unique(-scores[positive], return_inverse=True)  # from the surest positive down
        place = np.searchsorted(steps, -scores, "left")
        self.steps = len(steps)
        tied = np.zeros(len(scores), bool)
        tied[place < self.steps] = steps[place[place < self.steps]] == -scores[place < self.steps]
        # rows: positives of each step; negatives above it and below the step before; negatives tied with it
        rows = np.where(tied, 2 * self.steps + 1, self.steps) + place
        rows[positive] = own
        self._member = _grouping(rows, 3 * self.steps + 1)

    def curve(self, weights: np.ndarray) -> "Curve":
        """The ROC curve in each draw of ``weights``, (b, n); for many draws see ``over_draws``."""
        sums = self._member @ _by_case(weights)
        positives, above, tied = np.split(sums, [self.steps, 2 * self.steps + 1])
        return Curve(positives, above, tied)


class Curve:
    """ROC curves of b draws, given at the G distinct scores that positives have, from the highest down.

    ``own`` (G, b) is the weight of the positives at each score, ``above`` (G + 1, b) that of the negatives between it
    and the score before (last: below all), ``tied`` (G, b) that of the negatives at the score itself.
    """

    def __init__(self, own: np.ndarray, above: np.ndarray, tied: np.ndarray):
        self.own = own
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
        """The highest sensitivity of a threshold whose specificity is ``specificity`` or more; nothing interpolated.

        A threshold lies at a score or above all of them, so that there is always one.
        """
        enough = _ratio(self.negatives - self.false, self.negatives) >= specificity
        best = np.where(enough, self.true, 0).max(0, initial=0)
        return np.where(self.negatives > 0, _ratio(best, self.positives), np.nan)

    def specificity_at(self, sensitivity: float) -> np.ndarray:
        """The highest specificity of a threshold whose sensitivity is ``sensitivity`` (above 0) or more."""
        enough = _ratio(self.true, self.positives) >= sensitivity
        fewest = np.where(enough, self.false, np.inf).min(0, initial=np.inf)
        return np.where(self.positives > 0, _ratio(self.negatives - fewest, self.negatives), np.nan)

    def partial_auc(self, above: float) -> np.ndarray:
        """Area between the curve and the line of sensitivity ``above``, from 0 to 1 - ``above``.

        The measure of the ISIC 2024 challenge. The curve is the usual one, straight between its points.
        """
        lower, upper, at, false = self._above(above)
        area = (np.maximum(upper - lower, 0) * (1 - (at + false) / 2)).sum(0)
        return np.where((self.positives > 0) & (self.negatives > 0), area, np.nan)

    def partial_auc_to_zero(self, above: float) -> np.ndarray:
        """Area under the part of the curve whose sensitivity is ``above`` or more, down to 0, from 0 to 1.

        The measure that the scorer of the ISIC challenges from 2018 on calls ``auc_sens_80`` (there ``above`` is 0.8).
        """
        _, upper, at, _ = self._above(above)
        start = np.where(upper >= above, at, 1).min(0, initial=1)  # where the curve comes to the line
        return self.partial_auc(above) + above * (1 - start)

    def _above(self, above: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Each step's part at or above the sensitivity: its ends in sensitivity and in 1 - specificity."""
        upper = _ratio(self.true, self.positives)
        before = _ratio(self.true - self.own, self.positives)
        false_before, false = _ratio(self.false_before, self.negatives), _ratio(self.false, self.negatives)
        lower = np.maximum(before, above)
        along = np.clip(_ratio(lower - before, upper - before, empty=0), 0, 1)
        return lower, upper, false_before + along * (false - false_before), false


def class_auc(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, index: int) -> np.ndarray:
    """Area under the ROC curve of class ``index`` against the rest, for any number of draws."""
    ranking = Ranking(probabilities[:, index], truth == index)
    return over_draws(lambda block: ranking.curve(block).auc, weights)


def _by_case(weights: np.ndarray) -> np.ndarray:
    """(n, B) float64, rows contiguous."""
    return np.ascontiguousarray(np.ascontiguousarray(weights.T), np.float64)


def _grouping(groups: np.ndarray, size: int) -> csr_array:
    """The matrix, (size, n), that sums over the cases of each of ``size`` groups."""
    n = len(groups)
    return csr_array((np.ones(n), (groups, np.arange(n))), shape=(size, n))


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(whole.shape, empty, np.float64), where=whole > 0)
