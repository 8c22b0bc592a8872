"""The registry of metrics. To add one, write its function in ``metrics.py`` and one entry in ``METRICS``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np

from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.prediction_table import PredictionTable, Run
from lesion_utils.study import Judging
from lesion_utils.views import Views, views_of

OVERALL, VIEW, CLASS = "overall", "view", "class"  # kinds of rows
PRIOR_CORRECTED = "prior-corrected balanced accuracy"


class Group(NamedTuple):
    """Some of the classes."""

    name: str  # for the reader
    member: np.ndarray  # (k,) bool


class Block:
    """What the metrics of one run need in some of the draws: each computed once, when first asked for."""

    def __init__(self, table: PredictionTable, run: Run, weights: np.ndarray):
        self.table, self.run, self.weights = table, run, (weights := run.weigh(weights))
        self.curve = cache(lambda member: run.ranking(member).curve(weights))  # of bytes; `self` here would be a cycle

    @cached_property
    def counts(self) -> np.ndarray:  # confusion matrices, (B, k, k)
        return metrics.confusion_counts(self.run.truth, self.run.predicted, self.table.k, self.weights)

    @cached_property
    def corrected(self) -> np.ndarray:  # the same, of the classes after prior correction
        assert self.run.corrected is not None
        return metrics.confusion_counts(self.run.truth, self.run.corrected, self.table.k, self.weights)

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
        members = np.eye(self.block.table.k, dtype=bool)
        return np.mean([getattr(self.block.curve(member.tobytes()), area) for member in members], axis=0)


@dataclass(frozen=True)
class Entry:
    """One metric, of all classes or of a group (a class or view) against the rest: what ``compute`` gives, or the mean
    of ``case_values(truth, probabilities)``, (n,). Braces in ``name`` are filled from the study's ``judging``.
    """

    name: str
    compute: Callable[[Question], np.ndarray] | None = None  # -> (B,)
    case_values: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    kinds: Sequence[str] = (OVERALL,)
    needs: str = ""  # it cannot be estimated without: "", classes, positives, rest, both
    share_of: str = ""  # whose share it is (with its n, and exact intervals): "", all, positives, rest, predicted
    uses: str = ""  # what not every table has: "", probabilities, corrected (classes after prior correction)
    more_classes_than: int = 1  # it says nothing of fewer classes
    lowest: float = 0.0
    highest: float = 1.0


_group = partial(Entry, kinds=(VIEW, CLASS))
_case = partial(Entry, uses="probabilities")
_curve = partial(_case, kinds=(VIEW, CLASS), needs="both")
_point = partial(_case, kinds=(VIEW,), needs="both")  # of the curve, not of the predicted class
_AREA = "partial AUC above sensitivity {partial_auc_above:g}"

METRICS: list[Entry] = [
    Entry("accuracy", lambda of: metrics.accuracy(of.counts), share_of="all"),
    Entry("majority baseline accuracy", lambda of: metrics.baseline_accuracy(of.counts, of.largest)),
    Entry("stratified-random baseline accuracy", lambda of: metrics.baseline_accuracy(of.counts, of.shares)),
    Entry("balanced accuracy", lambda of: metrics.balanced_accuracy(of.counts), needs="classes"),
    Entry(PRIOR_CORRECTED, lambda of: metrics.balanced_accuracy(of.block.corrected), needs="classes", uses="corrected"),
    Entry("Matthews correlation", lambda of: metrics.matthews(of.counts), lowest=-1),
    _case("top-2 accuracy", case_values=partial(metrics.top_hits, top=2), share_of="all", more_classes_than=2),
    _case("top-3 accuracy", case_values=partial(metrics.top_hits, top=3), share_of="all", more_classes_than=3),
    _case("macro AUC", lambda of: of.macro("auc"), needs="classes"),
    _case("macro average precision", lambda of: of.macro("average_precision"), needs="classes"),
    _case("Brier score", case_values=metrics.brier_losses, highest=2),
    _case("log loss", case_values=metrics.log_losses, highest=np.inf),
    _group("sensitivity", lambda of: metrics.sensitivity(of.counts, 1), needs="positives", share_of="positives"),
    _group("specificity", lambda of: metrics.sensitivity(of.counts, 0), needs="rest", share_of="rest"),
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


@dataclass(frozen=True)
class Metric:
    """A row of ``judge``: an entry of the registry, asked of all classes (``about`` is None) or of a class or view."""

    entry: Entry
    kind: str = OVERALL
    about: Group | None = None
    options: Judging = field(default_factory=Judging)

    @cached_property
    def name(self) -> str:
        name = self.entry.name.format(**self.options.model_dump())
        if self.about is None:
            return name
        return f"{self.about.name} {name}" if self.kind == VIEW else f"{name} {self.about.name}"

    @property
    def key(self) -> tuple[str, bytes]:
        return self.name, b"" if self.about is None else self.about.member.tobytes()

    def compute(self, block: Block) -> np.ndarray:
        """The metric of one run in each draw of the block, (B,)."""
        of = Question(block, self.about, self.options)
        return self.entry.compute(of) if self.entry.compute else block.means[self.entry.name]

    def base(self, table: PredictionTable) -> tuple[int, int]:
        """Images and lesions that it is a share of, else all; of several runs the fewest."""
        if self.about is None or not self.entry.share_of or self.entry.share_of == "all":
            return len(table), table.lesions
        if self.entry.share_of == "predicted":
            return min(table.size(self.about.member[predicted]) for predicted in table.predicted_by_frame)
        return table.size(self.about.member[table.truth] == (self.entry.share_of == "positives"))

    def lesions_needed(self, table: PredictionTable) -> dict[str, int]:
        """The lesions of each class or group that it cannot be estimated without, and that are predicted as it."""
        if self.about is None:
            classes = enumerate(table.classes if self.entry.needs == "classes" else [])
            return {name: table.size(table.truth == index)[1] for index, name in classes}
        (own, rest) = table.lesions_with(self.about.member[table.truth], self.about.name).items()
        needed = {"": [], "positives": [own], "rest": [rest], "both": [own, rest]}[self.entry.needs]
        predicted = [(f"predicted {self.about.name}", self.base(table)[1])]
        return dict(needed + predicted if self.entry.share_of == "predicted" else needed)


def metrics_of(table: PredictionTable, options: Judging, views: Views = None) -> list[Metric]:
    """All metrics of ``table`` in the order of their rows; views are ``views`` (or by name) and ``options.views``."""
    classes = [Group(name, np.arange(table.k) == index) for index, name in enumerate(table.classes)]
    asked = views_of(table.classes, views) | views_of(table.classes, options.views)
    groups = [Group(name, np.isin(table.classes, names)) for name, names in asked.items()]
    corrected = all(run.corrected is not None for run in table.runs)
    usable = {"": True, "probabilities": table.has_probabilities, "corrected": corrected}
    entries = [entry for entry in METRICS if table.k > entry.more_classes_than and usable[entry.uses]]
    rows = [Metric(entry, OVERALL, None, options) for entry in entries]
    rows += [Metric(entry, VIEW, group, options) for group in groups for entry in entries]
    rows += [Metric(entry, CLASS, group, options) for entry in entries for group in classes]  # to compare the classes
    rows = [metric for metric in rows if metric.kind in metric.entry.kinds]
    return sorted(rows, key=lambda metric: FIRST.index(metric.name) if metric.name in FIRST else len(FIRST))
