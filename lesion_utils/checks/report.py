"""Whether the scores that somebody printed can be true together, and what they say of the counts behind them.

Each printed figure stands for a range, because it was rounded. The counts behind them, the hits of each class and how
often it was predicted, are whole numbers, so a mixed-integer program (scipy's HiGHS) tells whether any counts give all
figures. Where none do, figures are left out one at a time until those that remain are impossible only together (an
irreducible infeasible subset; Chinneck and Dravnieks, ORSA J Comput 3:157, 1991). Only what is impossible is called so:
averages of rates that are not linear in the counts are bounded by what is printed of the classes, or not at all.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp

from lesion_utils.checks.findings import not_above, say, too_good
from lesion_utils.checks.parse_report import AVERAGES, OVERALL, RATES, Figure, Printed
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation.bootstrap import wilson
from lesion_utils.rounding import bounds

SECONDS = 10.0  # for one program; what is not decided then counts as possible
WITHIN = 1e-9  # ends of a range that count as inside
MOST_CLASSES = 50
MOST_PREDICTED = 10_000_000  # of a class, where the report leaves classes out
_INFEASIBLE = 2  # scipy's status
_UNKNOWNS = ("hits", "predicted", *RATES)  # of each class


class ReportVerdict(NamedTuple):
    """What ``judge_report`` finds."""

    n: int | None  # images
    by_class: (
        pd.DataFrame
    )  # index: class; images, hits_low, hits_high, predicted_low, predicted_high, recall, low, high
    overall: pd.DataFrame  # index: metric; printed ("" if it is not), low, high: what the figures leave possible
    impossible: list[list[str]]  # sets of figures that cannot be true together
    findings: list[str]
    notes: list[str]


class _Linear(NamedTuple):
    """``low <= weights @ x <= high``, which a figure says, or which is true of any counts."""

    weights: np.ndarray
    low: float
    high: float


def judge_report(printed: Printed) -> ReportVerdict:
    """Judges the figures that ``parse_report.read_figures`` found.

    With the images of each class: the counts that the figures leave possible, the accuracy, the balanced accuracy, and
    a 95% CI of recall by image (Wilson) where the hits are known exactly. Without them: what the figures of each class
    and their averages say of each other.
    """
    images, notes, findings = {} if printed.over_runs else printed.images, list(printed.notes), []
    if len(images) > MOST_CLASSES:
        raise InputError(f"{len(images):,} classes. Expected up to {MOST_CLASSES}.")
    if images and not any(images.values()):
        none = f"{first_ten(images)}: 0 images in all. Expected the images (support) of each class"
        raise InputError(f"{none}. Fix: give the whole table, as it was printed.")
    program = _Program(images, printed.figures, printed.over_runs, printed.whole)
    conflicts = program.conflicts()
    said = [program.in_words(conflict) for conflict in conflicts]
    cut_off = [_as_cut_off(figure) for figure in printed.figures]
    if conflicts and not _Program(images, cut_off, printed.over_runs, printed.whole).conflicts():
        notes.append(say("cut off", what="; ".join(said)))
    else:
        findings += said
    if three := _fit_as_averages_only(printed.figures):
        notes.append(say("if averaged", figures=first_ten(three)))
    total = printed.total or (sum(images.values()) if printed.whole else None)
    by_class, overall = pd.DataFrame(), pd.DataFrame()
    if images:
        if printed.total is not None and printed.total < sum(images.values()):
            findings.append(say("other total", printed=f"{printed.total:,}", n=f"{sum(images.values()):,}"))
        by_class, overall, unused = program.counts(conflicts)
        if unused:
            notes.append(say("left out", figures=first_ten(unused)))
        if printed.whole:
            findings += _findings(by_class, overall, images)
        else:
            overall = overall[:0]
            notes.append(say("some classes", classes=first_ten(images)))
    elif any(_is_of_class(figure) for figure in printed.figures) and not printed.over_runs:
        notes.append(say("no class counts"))
    if any(figure.metric in RATES and not figure.of for figure in printed.figures):
        notes.append(say("unnamed average"))
    return ReportVerdict(total, by_class, overall, [[*map(str, of)] for of in conflicts], findings, notes)


def _as_cut_off(figure: Figure) -> Figure:
    """The figure as it may be if its last digit was cut off or rounded up instead of rounded."""
    half = (figure.high - figure.low) / 2
    return figure._replace(low=figure.low - half, high=figure.high + half)


def _is_of_class(figure: Figure) -> bool:
    return figure.metric in RATES and figure.of not in ("", *AVERAGES)


def _without_counts(figures: Sequence[Figure], over_runs: bool) -> list[list[Figure]]:
    """What contradicts itself whatever the counts. Macro recall is the balanced accuracy, weighted recall the accuracy;
    F1 is the harmonic mean of precision and recall of the same, as an average at most that.
    """
    found, by_name = [], {(figure.metric, figure.of): figure for figure in figures}
    for names in ((("recall", "macro"), ("balanced accuracy", "")), (("recall", "weighted"), ("accuracy", ""))):
        pair = [by_name[name] for name in names if name in by_name]
        if len(pair) == 2 and max(of.low for of in pair) > min(of.high for of in pair) + WITHIN:
            found.append(pair)
    for of in dict.fromkeys(figure.of for figure in figures):
        if three := _f1_of(figures, of):
            # an average is not the harmonic mean of averages; equal ones are those of one class, or a micro average
            averaged = over_runs or of in AVERAGES or (not of and three[0].printed != three[1].printed)
            found += [three] if _is_not_harmonic(three, averaged) else []
    return found


def _fit_as_averages_only(figures: Sequence[Figure]) -> list[Figure]:
    """Precision, recall and F1 without a class or an average, where they can be averages over classes, and not those
    of one class; else [].
    """
    three = _f1_of(figures, "")
    if not three or three[0].printed == three[1].printed or _is_not_harmonic(three, averaged=True):
        return []
    return three if _is_not_harmonic(three, averaged=False) else []


def _f1_of(figures: Sequence[Figure], of: str) -> list[Figure]:
    """Precision, recall and F1 of a class or an average; [] unless all three are printed."""
    same = {figure.metric: figure for figure in figures if figure.of == of}
    names = ("precision", "recall", "f1")
    return [same[name] for name in names] if set(names) <= set(same) else []


def _is_not_harmonic(three: Sequence[Figure], averaged: bool) -> bool:
    """Whether F1 cannot be the harmonic mean of precision and recall; ``averaged`` may be lower."""
    precision, recall, f1 = three
    low, high = (_f1(getattr(precision, end), getattr(recall, end)) for end in ("low", "high"))
    return f1.low > high + WITHIN or (f1.high < low - WITHIN and not averaged)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """HiGHS prints lines of its own past Python, also when it is told not to."""
    sys.stdout.flush()
    shown, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C keeps until it ends
        os.dup2(shown, 1)
        os.close(shown)
        os.close(nowhere)


class _Program:
    """The counts behind the figures of ``classes``: hits and predicted of each class, and the rates of each.

    The unknowns are, of each class, ``hits``, ``predicted`` (whole numbers; absent without ``images``), and its recall,
    precision, F1 and specificity.
    """

    def __init__(
        self, images: Mapping[str, int], figures: Sequence[Figure], over_runs: bool = False, whole: bool = True
    ) -> None:
        named = dict.fromkeys(figure.of for figure in figures if _is_of_class(figure))
        self.classes = list(images or named)
        self.k = len(self.classes)
        self.over_runs = over_runs
        # scikit-learn prints a micro average instead of the accuracy where classes are left out, or images have several
        metrics = {(figure.metric, figure.of) for figure in figures}
        self.is_whole = whole and (("accuracy", "") in metrics or not any(of == "micro" for _, of in metrics))
        self.n = np.array([*images.values()], np.float64) if images else None
        self.given = figures
        self.figures = [figure for figure in figures if self._rows(figure)]
        self.rules = self._always()

    def _at(self, name: str, values: Any = 1.0, of: int | None = None) -> np.ndarray:
        """Weights of the unknown ``name``, of all classes or one."""
        weights = np.zeros((len(_UNKNOWNS), self.k))
        weights[_UNKNOWNS.index(name), slice(None) if of is None else of] = values
        return weights.ravel()

    def _always(self) -> list[_Linear]:
        if self.n is None:
            return []
        n, total, rules = self.n, self.n.sum(), list[_Linear]()
        if self.is_whole:
            rules.append(_Linear(self._at("predicted"), total, total))
        for of in range(self.k):
            hits, predicted = self._at("hits", of=of), self._at("predicted", of=of)
            rules.append(_Linear(predicted - hits, 0, np.inf))
            rules.append(_Linear(n[of] * self._at("recall", of=of) - hits, 0, 0))
            if not self.is_whole:
                continue
            # the errors of a class, in its row and its column, are in different cells, none of them on the diagonal
            rules.append(_Linear(predicted - 2 * hits + self._at("hits"), -np.inf, total - n[of]))
            if total > n[of]:
                negatives = total - n[of]
                rate = negatives * self._at("specificity", of=of) + predicted - hits
                rules.append(_Linear(rate, negatives, negatives))
        return rules

    def _rows(self, figure: Figure) -> list[_Linear]:
        """What a figure says; [] for a figure that says nothing of these unknowns."""
        metric, low, high = figure.metric, figure.low - WITHIN, figure.high + WITHIN
        k, n = self.k, self.n
        of_all = metric in OVERALL or figure.of in ("macro", "weighted")
        if not k or (of_all and n is None and k < 3) or (of_all and n is not None and not self.is_whole):
            return []  # the classes may be some of many
        if metric == "balanced accuracy":
            return [_Linear(self._at("recall", 1 / k), low, high)]
        if metric == "accuracy" or (figure.of == "micro" and (self.is_whole or metric == "recall")):
            return [] if n is None else [_Linear(self._at("hits", 1 / n.sum()), low, high)]
        if figure.of == "micro":
            return [] if n is None else self._ratio(metric, None, n.sum(), low, high)
        if figure.of == "macro":
            return [_Linear(self._at(metric, 1 / k), low, high)]
        if figure.of == "weighted":
            return [] if n is None else [_Linear(self._at(metric, n / n.sum()), low, high)]
        if figure.of not in self.classes:
            return []
        of = self.classes.index(figure.of)
        rows = [_Linear(self._at(metric, of=of), low, high)]
        return rows if n is None else rows + self._ratio(metric, of, n[of], low, high)

    def _ratio(self, metric: str, of: int | None, n: float, low: float, high: float) -> list[_Linear]:
        """What precision or F1 of a class, or of all, says of its counts."""
        if metric not in ("precision", "f1"):
            return []
        hits, predicted = self._at("hits", of=of), self._at("predicted", of=of)
        scale, fixed = (1, 0.0) if metric == "precision" else (2, n)
        rows = [
            _Linear(scale * hits - low * predicted, low * fixed, np.inf),
            _Linear(scale * hits - high * predicted, -np.inf, high * fixed),
        ]
        return [*rows, _Linear(hits, 1, np.inf)] if low > 0 else rows

    def _solve(self, figures: Sequence[Figure], objective: np.ndarray | None = None) -> Any:
        rules = [*self.rules, *(row for figure in figures for row in self._rows(figure))]
        size = len(_UNKNOWNS) * self.k
        whole, most = np.zeros(size), np.ones(size)
        if self.n is None:
            most[: 2 * self.k] = 0
        else:
            whole[: 2 * self.k] = 1
            most[: self.k], most[self.k : 2 * self.k] = self.n, self.n.sum() if self.is_whole else MOST_PREDICTED
        limits = [
            LinearConstraint(
                np.array([row.weights for row in rules]), [row.low for row in rules], [row.high for row in rules]
            )
        ]
        cost = np.zeros(size) if objective is None else objective
        with _nothing_printed():
            return milp(
                cost,
                integrality=whole,
                bounds=Bounds(0, most),
                constraints=limits,
                options={"time_limit": SECONDS, "presolve": False},
            )

    def _is_possible(self, figures: Sequence[Figure]) -> bool:
        return not figures or self._solve(figures).status != _INFEASIBLE

    def conflicts(self) -> list[list[Figure]]:
        """Sets of figures that are impossible together, none of which shares a figure with another."""
        found = _without_counts(self.given, self.over_runs)
        left = [figure for figure in self.figures if not any(figure in conflict for conflict in found)]
        # left out first: what depends on two counts of a class; last: figures of all classes, which others explain
        left.sort(key=lambda figure: (not _is_of_class(figure), figure.metric == "recall"))
        while not self._is_possible(left):
            core = list(left)
            for figure in left:
                fewer = [other for other in core if other is not figure]
                if not self._is_possible(fewer):
                    core = fewer
            # with all classes a reader sees more than with the fewest that suffice
            metrics = {figure.metric for figure in core if _is_of_class(figure)}
            same = [figure for figure in left if _is_of_class(figure) and figure.metric in metrics]
            found.append([*same, *(figure for figure in core if not _is_of_class(figure))] if len(core) > 3 else core)
            left = [figure for figure in left if figure not in found[-1]]
        return found

    def in_words(self, conflict: Sequence[Figure]) -> str:
        """A conflict with what its last figure would be by the others, where that can be computed."""
        *others, last = conflict
        if not others:
            return say("impossible alone", figure=last)
        text = say("impossible", figures=f"{', '.join(map(str, others))} and {last}")
        if [figure.metric for figure in conflict] == ["precision", "recall", "f1"]:
            low, high = (_f1(getattr(others[0], end), getattr(others[1], end)) for end in ("low", "high"))
            text += say("would be", what="F1", span=bounds(low, high)) + ("" if last.of else say("of one class"))
        elif len(rows := self._rows(last)) == 1 and (implied := self._range(rows[0].weights, others)):
            text += say("would be", what=f"{last.of} {last.metric}".strip(), span=bounds(*implied))
        return text

    def _range(self, weights: np.ndarray, figures: Sequence[Figure]) -> tuple[float, float] | None:
        ends = [self._solve(figures, sign * weights) for sign in (1, -1)]
        if any(end.fun is None or end.status for end in ends):
            return None
        return float(ends[0].fun), float(-ends[1].fun)

    def counts(self, conflicts: Sequence[Sequence[Figure]]) -> tuple[pd.DataFrame, pd.DataFrame, list[Figure]]:
        """The tables of ``ReportVerdict``, by the figures of no conflict, and those of classes as long as they fit;
        and the figures that were not used.
        """
        assert self.n is not None
        used = [figure for figure in self.figures if not any(figure in conflict for conflict in conflicts)]
        for figure in self.figures:
            if figure not in used and _is_of_class(figure) and self._is_possible([*used, figure]):
                used.append(figure)
        rows = []
        for of, n in enumerate(self.n):
            ends = [self._range(self._at(name, of=of), used) or (0, n) for name in ("hits", "predicted")]
            (low, high), (few, many) = ([round(end) for end in pair] for pair in ends)
            recall = (low / n, *wilson(low, n)) if low == high and n else (np.nan,) * 3
            rows.append((int(n), low, high, few, many, *recall))
        names = ["images", "hits_low", "hits_high", "predicted_low", "predicted_high", "recall", "low", "high"]
        printed = {figure.metric: figure.printed for figure in self.figures}
        asked = {"accuracy": self._at("hits", 1 / self.n.sum()), "balanced accuracy": self._at("recall", 1 / self.k)}
        overall = [
            (metric, printed.get(metric, ""), *(self._range(of, used) or (0.0, 1.0))) for metric, of in asked.items()
        ]
        return (
            pd.DataFrame(rows, pd.Index(self.classes, name="class"), names),
            pd.DataFrame(overall, columns=["metric", "printed", "low", "high"]).set_index("metric"),
            [figure for figure in self.figures if figure not in used],
        )


def _findings(by_class: pd.DataFrame, overall: pd.DataFrame, images: dict[str, int]) -> list[str]:
    n, largest = sum(images.values()), max(images, key=lambda name: images[name])
    value, most = overall.loc["accuracy", ["low", "high"]].mean(), overall.at["accuracy", "high"]
    row = pd.Series(
        {"metric": "accuracy", "value": value} | dict(zip(("low", "high"), wilson(most * n, n), strict=True))
    )
    limit = images[largest] / n
    findings = not_above(row, limit, f"the accuracy of always predicting {largest}")
    return findings + too_good(by_class.index, overall.at["balanced accuracy", "low"])
