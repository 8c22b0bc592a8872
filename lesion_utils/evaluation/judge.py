"""Prediction tables judged: each number with its interval, n and lesions, or why there is none."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import classification_report as sklearn_report
from sklearn.metrics import confusion_matrix, roc_curve

from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import intervals, metrics
from lesion_utils.evaluation.intervals import (
    exact_interval,
    lesion_draws,
    lesions_by_class,
    not_estimable,
    percentile_interval,
)
from lesion_utils.predictions import classes_of, probabilities, validate

MELANOMA = "mel"


class Metric(NamedTuple):
    """A metric under the name that a reader sees."""

    name: str
    of: Callable[..., np.ndarray]  # (truth, probabilities, weights) -> (B,)
    needs: list[str]  # classes without which it is not estimable
    only: str | None = None  # the class on whose cases it is computed; None: all


def judge(table: pd.DataFrame | list[pd.DataFrame], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The metrics of a prediction table with 95 % intervals, bootstrapped by lesion.

    Given the tables of several repeats, on the same cases, each number is the mean of the repeats'; the interval
    resamples lesions, not repeats.

    Columns ``metric, value, low, high, n, lesions, note``, one row a metric, indexed by its name too; ``n`` images of
    ``lesions`` lesions are those the metric is computed on. Where a class has too few lesions, value and interval are
    NaN and ``note`` says why. Raises InputError for a table that breaks the contract.
    """
    first, *others = table if isinstance(table, list) else [table]
    _check(first, "the prediction table")
    cases = _Cases(first, resamples, seed)
    scores = [cases.scores, *(probabilities(_aligned(first, other)) for other in others)]

    def mean(metric: Metric, weights: np.ndarray) -> np.ndarray:
        return np.mean([metric.of(cases.truth, values, weights) for values in scores], axis=0)

    rows = [cases.row(metric, metric.name, partial(mean, metric), share=True) for metric in _metrics(cases)]
    return _framed(rows, [row["metric"] for row in rows])


def compare(table: pd.DataFrame, reference: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Paired differences, ``table`` minus ``reference``, on the same cases and the same draws of lesions.

    Columns as in ``judge``; indexed by ``balanced accuracy``, ``macro AUC``, ``accuracy``, ``melanoma sensitivity``,
    while the column ``metric`` reads "difference in …". Rows may be in any order. Raises InputError if the two differ
    in their classes, cases, labels or lesions.
    """
    _check(table, "the prediction table")
    _check(reference, "the reference table")
    reference = _aligned(table, reference)
    cases = _Cases(table, resamples, seed)
    others = probabilities(reference)
    named = {metric.name: metric for metric in _metrics(cases)}
    wanted = ["balanced accuracy", "macro AUC", "accuracy", "melanoma sensitivity"]
    chosen = [name for name in wanted if name in named]

    def difference(metric: Metric, weights: np.ndarray) -> np.ndarray:
        return metric.of(cases.truth, cases.scores, weights) - metric.of(cases.truth, others, weights)

    rows = [
        cases.row(named[name], f"difference in {name}", partial(difference, named[name]), share=False)
        for name in chosen
    ]
    return _framed(rows, chosen)


def sentence(row: pd.Series) -> str:
    """A row of ``judge`` or ``compare`` as a reader gets it: value, interval, unit of resampling and n."""
    if np.isnan(row["value"]):
        return f"{row['metric']}: not estimable ({row['note']})"
    return f"{row['metric']} {estimate(row)}"


def estimate(row: pd.Series) -> str:
    """``sentence`` without the name of the metric."""
    if np.isnan(row["value"]):
        return f"not estimable ({row['note']})"
    ends = 2 if row["high"] - row["low"] >= 0.02 else 3  # a narrow interval needs a digit more
    return (
        f"{row['value']:z.3f} (95 % interval {row['low']:z.{ends}f} to {row['high']:z.{ends}f}, "
        f"by lesion; n = {row['n']:,} images of {row['lesions']:,} lesions)"
    )


def verdict(row: pd.Series) -> str:
    """What a row of ``compare`` says of this one pair of runs: higher, lower, no difference shown, or not estimable."""
    if np.isnan(row["value"]):
        return "not estimable"
    return "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "no difference shown at this n"


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Counts of images, (k, k): rows true, columns predicted, classes in the order of the table."""
    classes = classes_of(table)
    counts = confusion_matrix(_truth(table), probabilities(table).argmax(1), labels=range(len(classes)))
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))


def classification_report(table: pd.DataFrame) -> pd.DataFrame:
    """scikit-learn's report: precision, recall, f1-score, support (images) of each class and their averages."""
    classes, truth = classes_of(table), _truth(table)
    report = sklearn_report(
        truth,
        probabilities(table).argmax(1),
        labels=range(len(classes)),
        target_names=classes,
        output_dict=True,
        zero_division=0,
    )
    report["accuracy"] = {"f1-score": report["accuracy"], "support": len(truth)}  # placed as in its printed form
    return pd.DataFrame(report).T.astype({"support": int})


def roc_curves(table: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """False and true positive rates of each class against the rest; a class with none, or nothing else, is left out."""
    scores = probabilities(table)
    positives = {name: (table["label"] == name).to_numpy() for name in classes_of(table)}
    return {
        name: roc_curve(positive, scores[:, index])[:2]
        for index, (name, positive) in enumerate(positives.items())
        if positive.any() and not positive.all()
    }


class _Cases:
    """The cases of a table with the draws that all its metrics share."""

    def __init__(self, table: pd.DataFrame, resamples: int, seed: int):
        self.classes, self.scores, self.truth = classes_of(table), probabilities(table), _truth(table)
        lesion_ids = table["lesion_id"].to_numpy()
        k = len(self.classes)
        self.images = dict(zip(self.classes, np.bincount(self.truth, minlength=k).tolist(), strict=True))
        self.lesions = dict(zip(self.classes, lesions_by_class(lesion_ids, self.truth, k).tolist(), strict=True))
        self.all_lesions = table["lesion_id"].nunique()
        # a class too rare for its own metrics must not bend the draws of the others
        self.weights, self.redrawn = lesion_draws(
            lesion_ids, self.truth, k, resamples, seed, at_least=intervals.MIN_LESIONS
        )

    def row(self, metric: Metric, name: str, of: Callable[[np.ndarray], np.ndarray], share: bool) -> dict:
        """The row of ``metric``, whose ``of`` takes weights (B, n) and returns (B,); ``share``: not a difference."""
        needed = {needs: self.lesions[needs] for needs in metric.needs}
        note = not_estimable(needed, self.redrawn, len(self.weights))
        value = low = high = np.nan
        if not note:
            value = float(of(np.ones((1, len(self.truth))))[0])
            low, high = percentile_interval(of(self.weights))
            if share and metric.only and low == high and value in (0, 1):
                low, high = exact_interval(value, self.lesions[metric.only])
        n = self.images[metric.only] if metric.only else len(self.truth)
        lesions = self.lesions[metric.only] if metric.only else self.all_lesions
        return {"metric": name, "value": value, "low": low, "high": high, "n": n, "lesions": lesions, "note": note}


def _metrics(cases: _Cases) -> list[Metric]:
    classes = cases.classes
    of_class = {
        name: Metric(f"sensitivity {name}", partial(metrics.sensitivity, index=index), [name], name)
        for index, name in enumerate(classes)
    }
    melanoma = [of_class[MELANOMA]._replace(name="melanoma sensitivity")] if MELANOMA in of_class else []
    return [
        Metric("accuracy", metrics.accuracy, []),
        Metric("majority baseline accuracy", metrics.majority_accuracy, []),
        Metric("balanced accuracy", metrics.balanced_accuracy, classes),
        Metric("macro AUC", metrics.macro_auc, classes),
        *melanoma,
        *of_class.values(),
    ]


def _framed(rows: list[dict], index: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).set_axis(index, axis=0)


def _truth(table: pd.DataFrame) -> np.ndarray:
    """The labels as class indices, (n,) int."""
    return pd.Index(classes_of(table)).get_indexer(table["label"])


def _check(table: pd.DataFrame, where: str) -> None:
    validate(table, where)
    blank = table["lesion_id"].isna() | (table["lesion_id"].astype(str).str.strip() == "")
    if blank.any():  # one "lesion" of all of them would be wrong in silence
        raise InputError(
            f"{where}: no lesion_id for {first_ten(table.loc[blank, 'image_id'])}. "
            "Where lesions are not known, give each image its own: the image_id."
        )


def _aligned(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """``reference`` with the rows and the class order of ``table``; InputError where they are not the same cases."""
    classes, theirs = classes_of(table), classes_of(reference)
    if set(classes) != set(theirs):
        raise InputError(f"The two tables have other classes: {', '.join(classes)} and {', '.join(theirs)}.")
    ours, other = table.set_index("image_id"), reference.set_index("image_id")
    if len(odd := ours.index.symmetric_difference(other.index)):
        raise InputError(f"The two tables are not of the same cases; in one of them only: {first_ten(odd)}.")
    other = other.loc[ours.index]
    for column in ("label", "lesion_id"):
        if (odd := ours[column] != other[column]).any():
            raise InputError(f"The two tables differ in {column} for {first_ten(ours.index[odd])}.")
    return other[["lesion_id", "label", *(f"p_{name}" for name in classes)]].reset_index()
