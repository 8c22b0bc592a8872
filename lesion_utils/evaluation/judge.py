"""Prediction tables judged: each number with its interval, n and lesions, or why there is none."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from sklearn.metrics import classification_report as sklearn_report
from sklearn.metrics import confusion_matrix, roc_curve

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation import bootstrap as intervals
from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import exact_interval, lesion_draws, not_estimable, percentile_interval
from lesion_utils.evaluation.metric_list import Draws, Group, Metric, Model, catalogue
from lesion_utils.evaluation.prediction_table import Answers, answers_of, classes_of, predicted_of, truth_of
from lesion_utils.predictions import is_leaky, probabilities
from lesion_utils.study import Judging

FEW = 20  # images of a class below which it is marked and never ranked
COMPARED = ("balanced accuracy", "macro AUC", "accuracy", "melanoma sensitivity")

Tables: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]


def judge(
    table: Tables,
    resamples: int = 2000,
    seed: int = 0,
    options: Judging | None = None,
    views: Mapping[str, Sequence[str]] | None = None,
    wanted: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The metrics of a prediction table with 95 % intervals, bootstrapped by lesion.

    Given the tables of several repeats, on the same cases, each number is the mean of the repeats'; the interval
    resamples lesions, not repeats. A table without probabilities, but with a column ``predicted``, gets the metrics
    that need none, and one row that names the others. ``options`` says at which specificity and sensitivity operating
    points are reported: there a threshold is chosen on the very cases that are judged, in each draw anew, so they
    describe the ROC curve and are no promise. ``views`` replaces the classes that count as melanoma and as malignant
    (``views.views_of``); those of ``options.views`` come on top. ``wanted`` are the names of the rows to make, of those
    that there are; None: all.

    One row a metric, indexed by its name; columns

    - ``metric``; ``kind``: overall, view (melanoma or malignant against the rest) or class; ``about``: which;
    - ``value, low, high``; ``n`` images of ``lesions`` lesions: those that the number is a share of, else all;
    - ``positives``: images of the class or view; ``few``: they are under 20, so the row must not be ranked;
    - ``note``: why there is no value or interval; ``leaky``: the model has seen lesions or images of these cases.

    Where a class has too few lesions, too few are named as the class (precision), or over 1 % of the draws have no
    value, value and interval are NaN. Where all draws agree the bootstrap knows no interval: a share of 0 or 1 gets the
    exact one, another metric none. Raises InputError for a table that breaks the contract.
    """
    tables = _listed(table)
    cases = _Cases(tables, resamples, seed)
    chosen = [metric for metric in cases.metrics(options, views) if wanted is None or metric.name in wanted]
    values = _values(cases, [metric for metric in chosen if not cases.note(metric)], cases.answers)
    rows = [cases.row(metric, values.get(metric.name)) for metric in chosen]
    if not cases.probable and wanted is None:
        rows.append(cases.left_out())
    return _framed(rows, tables)


def compare(
    table: Tables,
    reference: Tables,
    resamples: int = 2000,
    seed: int = 0,
    wanted: Sequence[str] = COMPARED,
    options: Judging | None = None,
    views: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Paired differences, ``table`` minus ``reference``, on the same cases and the same draws of lesions.

    Either may be the tables of several repeats: then it is the difference of their means. ``wanted`` are names of rows
    of ``judge``, those that there are; they are the index, while the column ``metric`` reads "difference in …".

    Columns as in ``judge``, and ``p``, the two-sided bootstrap p-value: the level at which the interval just reaches 0,
    2 (1 + draws on the rarer side of 0) / (1 + draws), at most 1 (Davison and Hinkley, 1997, chapters 4 and 5). Rows of
    the tables may be in any order. Raises InputError if they differ in their classes, cases, labels or lesions.
    """
    tables, others = _listed(table), _listed(reference)
    cases = _Cases([*tables, *others], resamples, seed)
    named = {metric.name: metric for metric in cases.metrics(options, views)}
    chosen = [named[name] for name in wanted if name in named]
    known = [metric for metric in chosen if not cases.note(metric)]
    ours = _values(cases, known, cases.answers[: len(tables)])
    theirs = _values(cases, known, cases.answers[len(tables) :])
    rows = []
    for metric in chosen:
        values = ours[metric.name] - theirs[metric.name] if metric.name in ours else None
        row = cases.row(metric, values, difference=True)
        rows.append(row | {"p": np.nan if values is None or row["note"] else _p_value(values[1:])})
    return _framed(rows, [*tables, *others])


def compare_unpaired(
    table: Tables,
    reference: Tables,
    resamples: int = 2000,
    seed: int = 0,
    wanted: Sequence[str] = COMPARED,
    options: Judging | None = None,
) -> pd.DataFrame:
    """Differences, ``table`` minus ``reference``, where they are not of the same cases: each has draws of its own.

    The rows of ``compare``; ``n`` and ``lesions`` are those of ``table``. Lesions that stand in both are drawn twice,
    so the interval is rather too wide. Raises InputError if the two differ in their classes.
    """
    tables, others = _listed(table), _listed(reference)
    ours, theirs = _Cases(tables, resamples, seed), _Cases(others, resamples, seed + 1)
    if set(ours.classes) != set(theirs.classes):
        raise InputError(
            f"The two tables have other classes: {', '.join(ours.classes)} and {', '.join(theirs.classes)}."
        )
    named = [{metric.name: metric for metric in cases.metrics(options, None)} for cases in (ours, theirs)]
    rows = []
    for metric, other in ((one[name] for one in named) for name in wanted if all(name in one for one in named)):
        note, values = ours.note(metric) or theirs.note(other), None
        if not note:
            values = _values(ours, [metric], ours.answers)[metric.name]
            values = values - _values(theirs, [other], theirs.answers)[metric.name]
        row = ours.row(metric, values, difference=True)
        row |= {"note": note or row["note"]}
        rows.append(row | {"p": np.nan if values is None or row["note"] else _p_value(values[1:])})
    return _framed(rows, [*tables, *others])


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Counts of images, (k, k): rows true, columns predicted, classes in the order of the table."""
    classes = classes_of(table)
    counts = confusion_matrix(truth_of(table), predicted_of(table), labels=range(len(classes)))
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))


def classification_report(table: pd.DataFrame) -> pd.DataFrame:
    """scikit-learn's report: precision, recall, f1-score, support (images) of each class and their averages."""
    classes, truth = classes_of(table), truth_of(table)
    report = sklearn_report(
        truth,
        predicted_of(table),
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
    positives = {name: (table["label"] == name).to_numpy() for name in predictions.classes_of(table)}
    return {
        name: roc_curve(positive, scores[:, index])[:2]
        for index, (name, positive) in enumerate(positives.items())
        if positive.any() and not positive.all()
    }


class _Cases:
    """The cases of a table with the draws that all its metrics share."""

    def __init__(self, tables: Sequence[pd.DataFrame], resamples: int, seed: int):
        self.classes, self.truth, self.answers = answers_of(tables)
        self.k, lesion_ids = len(self.classes), tables[0]["lesion_id"].to_numpy()
        self.lesion_codes = pd.factorize(lesion_ids)[0]
        # a class too rare for its own metrics must not bend the draws of the others
        self.weights, self.redrawn = lesion_draws(
            lesion_ids, self.truth, self.k, resamples, seed, at_least=intervals.MIN_LESIONS
        )
        self.all = Group("all cases", np.ones(self.k, bool))
        self.probable = self.answers[0].probabilities is not None

    def metrics(self, options: Judging | None, views: Mapping[str, Sequence[str]] | None) -> list[Metric]:
        return catalogue(self.classes, self.truth, self.probable, options or Judging(), views)

    def size(self, group: Group) -> tuple[int, int]:
        """Images and lesions of the classes of ``group``."""
        return self._size(group.member[self.truth])

    def base(self, metric: Metric) -> tuple[int, int]:
        """Images and lesions that ``metric`` is a share of, else all; with several models the fewest that one named."""
        if metric.share_of_named and metric.about:
            return min(self._size(metric.about.member[one.predicted]) for one in self.answers)
        return self.size(metric.share_of or self.all)

    def note(self, metric: Metric) -> str:
        """Why ``metric`` is not estimable on these cases, or ""."""
        needed = {group.name: self.size(group)[1] for group in metric.needs}
        if metric.share_of_named and metric.about:
            needed |= {f"named {metric.about.name}": self.base(metric)[1]}
        return not_estimable(needed, self.redrawn, len(self.weights))

    def _size(self, chosen: np.ndarray) -> tuple[int, int]:
        return int(chosen.sum()), np.unique(self.lesion_codes[chosen]).size

    def row(self, metric: Metric, values: np.ndarray | None, difference: bool = False) -> dict:
        """The row of ``metric`` from its point value and draws, (1 + B,); None where it is not estimable."""
        note = self.note(metric)
        value = low = high = np.nan
        if values is not None and not (note := _undefined(values)):
            value, draws = float(values[0]), values[1:]
            low, high = percentile_interval(draws[~np.isnan(draws)])
            if low == high and not difference:
                low, high, note = self._where_draws_agree(metric, value)
        images, lesions = self.base(metric)
        positives, _ = self.size(metric.about or self.all)
        return {
            "metric": f"difference in {metric.name}" if difference else metric.name,
            "kind": metric.kind,
            "about": metric.about.name if metric.about else "",
            **{"value": value, "low": low, "high": high},
            **{"n": images, "lesions": lesions, "positives": positives, "few": positives < FEW},
            "note": note,
        }

    def _where_draws_agree(self, metric: Metric, value: float) -> tuple[float, float, str]:
        if (metric.share_of or metric.share_of_named) and value in (0, 1):
            return *exact_interval(value, self.base(metric)[1]), ""
        return np.nan, np.nan, "no interval: every draw gives this value"

    def left_out(self) -> dict:
        """The row of what a table without probabilities cannot tell."""
        names = "AUC, average precision, top-2 and top-3 accuracy, Brier score, log loss and operating points"
        row = self.row(Metric(names, lambda draws: draws.counts), None)
        return row | {"note": "the table holds no probabilities"}


def _values(cases: _Cases, chosen: list[Metric], answers: Sequence[Answers]) -> dict[str, np.ndarray]:
    """Point value and draws of each metric, (1 + B,): the mean over the models."""
    if not chosen:
        return {}
    models = [Model(cases.truth, cases.k, one) for one in answers]
    blocks = itertools.chain([np.ones((1, len(cases.truth)))], metrics.blocks(cases.weights))
    values = np.concatenate([_of_block(models, chosen, block) for block in blocks], axis=1)
    return dict(zip((metric.name for metric in chosen), values, strict=True))


def _of_block(models: list[Model], chosen: list[Metric], weights: np.ndarray) -> np.ndarray:
    """(metrics, draws)."""
    draws = [Draws(model, weights) for model in models]
    return np.array([np.mean([metric.of(one) for one in draws], axis=0) for metric in chosen])


def _undefined(values: np.ndarray) -> str:
    """Why too many of the values, (1 + B,), are not defined, or ""."""
    missing, resamples = int(np.isnan(values[1:]).sum()), len(values) - 1
    if not np.isnan(values[0]) and missing <= intervals.MAX_REDRAWN * resamples:
        return ""
    return f"not defined in {missing:,} of {resamples:,} draws, at most {100 * intervals.MAX_REDRAWN:g} % allowed"


def _p_value(draws: np.ndarray) -> float:
    """Two-sided p-value of no difference from the draws of one; draws of exactly 0 count on both sides."""
    draws = draws[~np.isnan(draws)]
    rarer = min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(draws)))


def _framed(rows: list[dict], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).assign(leaky=any(map(is_leaky, tables)))
    return frame.set_axis([row["metric"].removeprefix("difference in ") for row in rows], axis=0)


def _listed(table: Tables) -> list[pd.DataFrame]:
    return [table] if isinstance(table, pd.DataFrame) else list(table)
