"""Which metrics there are: under which name, of which cases, and from what they are computed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.prediction_table import Answers
from lesion_utils.evaluation.views import views_of
from lesion_utils.study import Judging


class Group(NamedTuple):
    """Some of the classes, under a name."""

    name: str
    member: np.ndarray  # (k,) bool


class Metric(NamedTuple):
    """A metric under the name that a reader sees."""

    name: str
    of: Callable[["Draws"], np.ndarray]  # -> (B,)
    kind: str = "overall"  # overall, view or class
    about: Group | None = None  # the class or view that it is about
    needs: Sequence[Group] = ()  # without which it is not estimable
    share_of: Group | None = None  # it is a share of the cases of these classes,
    share_of_named: bool = False  # or of the cases that are named ``about``


class Model:
    """The answers of one model, with what is sorted once for all draws."""

    def __init__(self, truth: np.ndarray, k: int, answers: Answers):
        self.truth, self.k, self.predicted = truth, k, answers.predicted
        self.probabilities = answers.probabilities if answers.probabilities is not None else np.empty((len(truth), 0))
        self._rankings: dict[bytes, metrics.Ranking] = {}

    @cached_property
    def losses(self) -> np.ndarray:
        """Of each case, (n, 4): whether the truth is among the two and the three most probable, Brier and log loss."""
        top = [metrics.top_hits(self.truth, self.probabilities, count) for count in (2, 3)]
        losses = (metrics.brier_losses, metrics.log_losses)
        return np.column_stack([*top, *(loss(self.truth, self.probabilities) for loss in losses)]).astype(np.float64)

    def ranking(self, member: np.ndarray) -> metrics.Ranking:
        """The cases by the probability of the classes ``member``, (k,) bool."""
        key = member.tobytes()
        if key not in self._rankings:
            scores = self.probabilities[:, member].sum(1).round(12)  # so that equal sums are ties
            self._rankings[key] = metrics.Ranking(scores, member[self.truth])
        return self._rankings[key]


class Draws:
    """What the metrics of one model are computed from in some draws: each thing once, and only if it is asked for."""

    def __init__(self, model: Model, weights: np.ndarray):
        self.model, self.weights = model, weights
        self._curves: dict[bytes, metrics.Curve] = {}

    @cached_property
    def counts(self) -> np.ndarray:
        return metrics.confusion_counts(self.model.truth, self.model.predicted, self.model.k, self.weights)

    @cached_property
    def means(self) -> np.ndarray:
        return metrics.weighted_mean(self.model.losses, self.weights)

    def curve(self, member: np.ndarray) -> metrics.Curve:
        key = member.tobytes()
        if key not in self._curves:
            self._curves[key] = self.model.ranking(member).curve(self.weights)
        return self._curves[key]


def catalogue(
    classes: Sequence[str],
    truth: np.ndarray,
    probable: bool,
    options: Judging,
    views: Mapping[str, Sequence[str]] | None = None,
) -> list[Metric]:
    """All metrics in the order of their rows: the five that a reader looks for first, then the rest.

    ``truth`` (n,) are the labels of the cases as class indices; ``probable``: there are probabilities. The views are
    ``views``, else those that the names of the classes tell, and ``options.views``.
    """
    shares = np.bincount(truth, minlength=len(classes)) / len(truth)
    groups = [Group(name, np.arange(len(classes)) == index) for index, name in enumerate(classes)]
    asked = views_of(classes, views) | views_of(classes, options.views)
    questions = [Group(name, np.isin(classes, names)) for name, names in asked.items()]
    of_views = [
        [
            *_against_rest(view, "view", probable),
            *(_operating_points(view, options) if probable else ()),
            *_two_way(view, bool(shares[view.member].sum() > 0.5)),
        ]
        for view in questions
    ]
    of_classes = zip(*(_against_rest(group, "class", probable) for group in groups), strict=True)
    everything = itertools.chain(_overall(groups, shares, probable), *of_views, *of_classes)
    first = ("accuracy", "majority baseline accuracy", "balanced accuracy", "macro AUC", "melanoma sensitivity")
    return sorted(everything, key=lambda metric: first.index(metric.name) if metric.name in first else len(first))


def _overall(classes: list[Group], shares: np.ndarray, probable: bool) -> list[Metric]:
    everyone = Group("all cases", np.ones(len(classes), bool))
    largest = np.eye(len(classes))[shares.argmax()]
    found = [
        Metric("accuracy", lambda draws: metrics.accuracy(draws.counts), share_of=everyone),
        Metric("majority baseline accuracy", lambda draws: metrics.baseline_accuracy(draws.counts, largest)),
        Metric("stratified-random baseline accuracy", lambda draws: metrics.baseline_accuracy(draws.counts, shares)),
        Metric("balanced accuracy", lambda draws: metrics.balanced_accuracy(draws.counts), needs=classes),
        Metric("Matthews correlation", lambda draws: metrics.matthews(draws.counts)),
    ]
    if not probable:
        return found
    members = [group.member for group in classes]
    for place, top in enumerate((2, 3)):
        if top < len(classes):
            found.append(Metric(f"top-{top} accuracy", partial(_mean, place=place), share_of=everyone))
    return [
        *found,
        Metric("macro AUC", lambda draws: np.mean([draws.curve(one).auc for one in members], axis=0), needs=classes),
        Metric(
            "macro average precision",
            lambda draws: np.mean([draws.curve(one).average_precision for one in members], axis=0),
            needs=classes,
        ),
        Metric("Brier score", partial(_mean, place=2)),
        Metric("log loss", partial(_mean, place=3)),
    ]


def _mean(draws: Draws, place: int) -> np.ndarray:
    return draws.means[:, place]


def _against_rest(group: Group, kind: str, probable: bool) -> list[Metric]:
    """The metrics of one class or view against the rest: of what was named, and of the curve."""
    rest = Group(f"not {group.name}", ~group.member)
    named = (lambda what: f"{group.name} {what}") if kind == "view" else (lambda what: f"{what} {group.name}")
    metric = partial(Metric, kind=kind, about=group)

    def share(of: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[Draws], np.ndarray]:
        return lambda draws: of(metrics.merged(draws.counts, group.member), 1)

    found = [
        metric(named("sensitivity"), share(metrics.sensitivity), needs=[group], share_of=group),
        metric(named("specificity"), share(metrics.specificity), needs=[rest], share_of=rest),
        metric(named("precision"), share(metrics.precision), needs=[group], share_of_named=True),
        metric(named("F1"), share(metrics.f1), needs=[group]),
    ]
    if not probable:
        return found
    return [
        *found,
        metric(named("AUC"), lambda draws: draws.curve(group.member).auc, needs=[group, rest]),
        metric(
            named("average precision"),
            lambda draws: draws.curve(group.member).average_precision,
            needs=[group, rest],
        ),
    ]


def _two_way(view: Group, mostly: bool) -> list[Metric]:
    """How often the most probable class is on the right side of the question, and what naming one side would give.

    ``mostly``: the view is the larger side.
    """
    everyone = Group("all cases", np.ones(len(view.member), bool))
    larger = np.array([not mostly, mostly], np.float64)

    def right(draws: Draws) -> np.ndarray:
        return metrics.accuracy(metrics.merged(draws.counts, view.member))

    def always_the_larger(draws: Draws) -> np.ndarray:
        return metrics.baseline_accuracy(metrics.merged(draws.counts, view.member), larger)

    return [
        Metric(f"{view.name} two-way accuracy", right, "view", view, share_of=everyone),
        Metric(f"{view.name} two-way majority baseline", always_the_larger, "view", view),
    ]


def _operating_points(view: Group, options: Judging) -> list[Metric]:
    """What the ROC curve of a view says of thresholds other than the most probable class."""
    rest = Group(f"not {view.name}", ~view.member)
    specificity, sensitivity, above = options.specificity, options.sensitivity, options.partial_auc_above

    def metric(name: str, of: Callable[[metrics.Curve], np.ndarray], share_of: Group | None = None) -> Metric:
        def of_draws(draws: Draws) -> np.ndarray:
            return of(draws.curve(view.member))

        return Metric(f"{view.name} {name}", of_draws, "view", view, [view, rest], share_of)

    area = f"partial AUC above sensitivity {above:g}"
    return [
        metric(f"sensitivity at specificity {specificity:g}", lambda curve: curve.sensitivity_at(specificity), view),
        metric(f"specificity at sensitivity {sensitivity:g}", lambda curve: curve.specificity_at(sensitivity), rest),
        metric(f"{area} (ISIC 2024)", lambda curve: curve.partial_auc(above)),
        metric(f"{area} (ISIC 2018)", lambda curve: curve.partial_auc_to_zero(above)),
    ]
