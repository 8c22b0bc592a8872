"""Metrics with case weights, for all draws of a bootstrap at once.

Every metric takes ``truth``, (n,) class indices, ``probabilities``, (n, k) with rows that sum to 1, and ``weights``,
(B, n) case weights from 0 up, and returns (B,) float64 from 0 to 1; ``np.ones((1, n))`` gives the point estimate,
equal to scikit-learn's. The predicted class is the most probable one, the first of equals. Where a metric is
not defined (a class it needs weighs nothing) it is NaN.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 2_000_000  # weights held as float64 at a time: 16 MB


def accuracy(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted share of the cases whose class is named."""
    return _share(weights, truth == probabilities.argmax(1), np.ones(len(truth), bool))


def majority_accuracy(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Accuracy of always naming the largest class.

    The class is the largest of the unweighted table in every draw: a rule made afresh from each draw would look better.
    """
    largest = np.bincount(truth, minlength=probabilities.shape[1]).argmax()
    return _share(weights, truth == largest, np.ones(len(truth), bool))


def balanced_accuracy(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean sensitivity over all k classes; NaN if one of them weighs nothing."""
    member = truth[:, None] == np.arange(probabilities.shape[1])
    correct = member & (truth == probabilities.argmax(1))[:, None]
    sums = _sums(weights, np.hstack([correct, member]))
    return _ratio(*np.hsplit(sums, 2)).mean(1)


def sensitivity(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases of class ``index`` that are named so (recall)."""
    return _share(weights, probabilities.argmax(1) == index, truth == index)


def specificity(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases of other classes that are not named ``index``."""
    return _share(weights, probabilities.argmax(1) != index, truth != index)


def precision(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, index: int) -> np.ndarray:
    """Share of the cases named ``index`` that are of it; NaN if none is named so."""
    return _share(weights, truth == index, probabilities.argmax(1) == index)


def class_auc(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, index: int) -> np.ndarray:
    """Area under the ROC curve of class ``index`` against the rest; ties count half.

    It is the Mann-Whitney statistic from weighted mid-ranks (Hanley and McNeil, Radiology 143:29, 1982): one sort for
    all draws, exact for integer weights.
    """
    order = np.argsort(probabilities[:, index], kind="stable")
    score, positive = probabilities[order, index], np.flatnonzero(truth[order] == index)
    first = np.searchsorted(score, score[positive], "left")  # where the tie group of each positive begins,
    last = np.searchsorted(score, score[positive], "right")  # and the place after its end
    areas = []
    for block in _blocks(weights):
        ordered = np.take(block, order, axis=1)
        below = np.zeros((len(block), len(truth) + 1))
        np.cumsum(ordered, axis=1, out=below[:, 1:])
        own = ordered[:, positive]
        inside = own.sum(1)
        # the mid-rank of a positive, less its pairs with positives, which sum to half of their weight squared
        ranks = np.einsum("bp,bp->b", own, below[:, first] + below[:, last]) / 2
        areas.append(_ratio(ranks - inside**2 / 2, inside * (below[:, -1] - inside)))
    return np.concatenate(areas)


def macro_auc(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Plain mean of the k one-against-rest AUCs; NaN if a class weighs nothing."""
    classes = range(probabilities.shape[1])
    return np.mean([class_auc(truth, probabilities, weights, index) for index in classes], axis=0)


def _share(weights: np.ndarray, hit: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Weighted share of ``hit`` in ``among``, both (n,) bool: (B,)."""
    return _ratio(*_sums(weights, np.column_stack([hit & among, among])).T)


def _sums(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weighted sums of (n, m) columns: (B, m)."""
    columns = columns.astype(np.float64)
    return np.concatenate([block @ columns for block in _blocks(weights)])


def _blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """``weights`` as float64, some draws at a time."""
    step = max(1, BLOCK // weights.shape[1])
    return (weights[start : start + step].astype(np.float64) for start in range(0, len(weights), step))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
