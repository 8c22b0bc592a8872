"""The registry of metrics. To add one, write its function in ``metrics.py`` and one entry in ``METRICS``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np

from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.prediction_table import PredictionTable, Run
from lesion_utils.evaluation.views import Views, views_of
from lesion_utils.study import Judging

OVERALL, VIEW, CLASS = "overall", "view", "class"  # kinds of rows


class Group(NamedTuple):
    """Some of the classes, with the name that a reader sees."""

    name: str
    member: np.ndarray  # (k,) bool


class Block:
    """What the metrics of one run need in some of the draws: each computed once, when first asked for."""

    def __init__(self, table: PredictionTable, run: Run, weights: np.ndarray):
        self.table, self.run, self.weights = table, run, weights
        self.curve = cache(lambda member: run.ranking(member).curve(weights))  # of classes, as bytes of (k,) bool

    @cached_property
    def counts(self) -> np.ndarray:
        """Confusion matrices, (B, k, k)."""
        return metrics.confusion_counts(self.run.truth, self.run.predicted, self.table.k, self.weights)

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        """The mean of each metric that has a value per case, (B,), by its name."""
        of_cases = {entry.name: self.run.case_values(entry.case_values) for entry in METRICS if entry.case_values}
        means = metrics.weighted_mean(np.column_stack(list(of_cases.values())).astype(np.float64), self.weights)
        return dict(zip(of_cases, means.T, strict=True))


@dataclass(frozen=True)
class Question:
    """What a registry entry computes from: a block of draws, seen as k classes or as a group against the rest."""

    block: Block
    group: Group | None  # None: all classes
    options: Judging

    @property
    def counts(self) -> np.ndarray:
        """Confusion matrices: (B, k, k), or of a group (B, 2, 2), whose index 1 is the group."""
        return self.block.counts if self.group is None else metrics.merged(self.block.counts, self.group.member)

    @property
    def shares(self) -> np.ndarray:
        """The share of each class among all cases, (k,), or of the rest and the group, (2,); not of the draws."""
        of_case, k = self.block.run.truth, self.block.table.k
        if self.group is not None:
            of_case, k = self.group.member[of_case].astype(int), 2
        return np.bincount(of_case, minlength=k) / len(of_case)

    @property
    def largest(self) -> np.ndarray:
        return np.eye(len(self.shares))[self.shares.argmax()]

    @property
    def curve(self) -> metrics.Curve:
        assert self.group is not None
        return self.block.curve(self.group.member.tobytes())

    def macro(self, area: str) -> np.ndarray:
        """The mean over the classes of an area of their curves, (B,)."""
        curves = [self.block.curve(member.tobytes()) for member in np.eye(self.block.table.k, dtype=bool)]
        return np.mean([getattr(curve, area) for curve in curves], axis=0)


@dataclass(frozen=True)
class Entry:
    """One metric, of all classes or of a group (a class or view) against the rest.

    It is computed by ``compute``, or is the mean over the cases of ``case_values(truth, probabilities)``, (n,).
    ``needs``: the cases that it cannot be estimated without. ``share_of``: the cases that it is a share of, which
    decides its n and whether 0 and 1 get an exact interval. Braces in ``name`` are filled from the study's ``judging``.
    """

    name: str
    compute: Callable[[Question], np.ndarray] | None = None  # -> (B,)
    case_values: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    kinds: Sequence[str] = (OVERALL,)
    needs: str = ""  # "", classes, positives, rest, both
    share_of: str = ""  # "", all, positives, rest, predicted (as the group)
    probabilities: bool = False  # it needs them
    more_classes_than: int = 1  # it says nothing of fewer classes


_group = partial(Entry, kinds=(VIEW, CLASS))
_curve = partial(Entry, kinds=(VIEW, CLASS), needs="both", probabilities=True)
_point = partial(Entry, kinds=(VIEW,), needs="both", probabilities=True)  # of the curve, not of the predicted class
_case = partial(Entry, probabilities=True)
_AREA = "partial AUC above sensitivity {partial_auc_above:g}"

METRICS: list[Entry] = [
    Entry("accuracy", lambda of: metrics.accuracy(of.counts), share_of="all"),
    Entry("majority baseline accuracy", lambda of: metrics.baseline_accuracy(of.counts, of.largest)),
    Entry("stratified-random baseline accuracy", lambda of: metrics.baseline_accuracy(of.counts, of.shares)),
    Entry("balanced accuracy", lambda of: metrics.balanced_accuracy(of.counts), needs="classes"),
    Entry("Matthews correlation", lambda of: metrics.matthews(of.counts)),
    _case("top-2 accuracy", case_values=partial(metrics.top_hits, top=2), share_of="all", more_classes_than=2),
    _case("top-3 accuracy", case_values=partial(metrics.top_hits, top=3), share_of="all", more_classes_than=3),
    _case("macro AUC", lambda of: of.macro("auc"), needs="classes"),
    _case("macro average precision", lambda of: of.macro("average_precision"), needs="classes"),
    _case("Brier score", case_values=metrics.brier_losses),
    _case("log loss", case_values=metrics.log_losses),
    _group("sensitivity", lambda of: metrics.sensitivity(of.counts, 1), needs="positives", share_of="positives"),
    _group("specificity", lambda of: metrics.specificity(of.counts, 1), needs="rest", share_of="rest"),
    _group("precision", lambda of: metrics.precision(of.counts, 1), needs="positives", share_of="predicted"),
    _group("F1", lambda of: metrics.f1(of.counts, 1), needs="positives"),
    _curve("AUC", lambda of: of.curve.auc),
    _curve("average precision", lambda of: of.curve.average_precision),
    _point(
        "sensitivity at specificity {specificity:g}",
        lambda of: of.curve.sensitivity_at(of.options.specificity),
        share_of="positives",
    ),
    _point(
        "specificity at sensitivity {sensitivity:g}",
        lambda of: of.curve.specificity_at(of.options.sensitivity),
        share_of="rest",
    ),
    _point(f"{_AREA} (ISIC 2024)", lambda of: of.curve.partial_auc(of.options.partial_auc_above)),
    _point(f"{_AREA} (ISIC 2018)", lambda of: of.curve.partial_auc_to_zero(of.options.partial_auc_above)),
    Entry("two-way accuracy", lambda of: metrics.accuracy(of.counts), kinds=(VIEW,), share_of="all"),
    Entry("two-way majority baseline", lambda of: metrics.baseline_accuracy(of.counts, of.largest), kinds=(VIEW,)),
]
FIRST = ("accuracy", "majority baseline accuracy", "balanced accuracy", "macro AUC", "melanoma sensitivity")


class Metric(NamedTuple):
    """A row of ``judge``: an entry of the registry, asked of some classes."""

    name: str
    kind: str
    compute: Callable[[Block], np.ndarray]  # -> (B,)
    about: Group | None = None  # the class or view
    needs: Sequence[Group] = ()  # each with enough lesions, or the metric is not estimable
    share_of: Group | None = None  # the metric is a share of the cases of these classes,
    share_of_predicted: bool = False  # or of the cases predicted as ``about``


def metrics_of(table: PredictionTable, options: Judging, views: Views = None) -> list[Metric]:
    """All metrics of ``table`` in the order of their rows; views are ``views`` (or by name) and ``options.views``."""
    classes = [Group(name, np.arange(table.k) == index) for index, name in enumerate(table.classes)]
    asked = views_of(table.classes, views) | views_of(table.classes, options.views)
    groups = [Group(name, np.isin(table.classes, names)) for name, names in asked.items()]
    entries = [entry for entry in METRICS if table.k > entry.more_classes_than]
    entries = [entry for entry in entries if table.has_probabilities or not entry.probabilities]
    asked_of: list[tuple[Entry, str, Group | None]] = [(entry, OVERALL, None) for entry in entries]
    asked_of += [(entry, VIEW, group) for group in groups for entry in entries]
    asked_of += [(entry, CLASS, group) for entry in entries for group in classes]  # so that a reader compares classes
    rows = [_metric(entry, kind, of, classes, options) for entry, kind, of in asked_of if kind in entry.kinds]
    return sorted(rows, key=lambda metric: FIRST.index(metric.name) if metric.name in FIRST else len(FIRST))


def _metric(entry: Entry, kind: str, group: Group | None, classes: list[Group], options: Judging) -> Metric:
    everyone = Group("all cases", np.ones(len(classes), bool))
    groups: dict[str, Sequence[Group]] = {"": [], "all": [everyone], "classes": classes, "predicted": []}
    name = entry.name.format(**options.model_dump())
    if group is not None:
        rest = Group(f"not {group.name}", ~group.member)
        groups |= {"positives": [group], "rest": [rest], "both": [group, rest]}
        name = f"{group.name} {name}" if kind == VIEW else f"{name} {group.name}"

    def compute(block: Block) -> np.ndarray:
        return entry.compute(Question(block, group, options)) if entry.compute else block.means[entry.name]

    share_of = next(iter(groups[entry.share_of]), None)
    return Metric(name, kind, compute, group, groups[entry.needs], share_of, entry.share_of == "predicted")
