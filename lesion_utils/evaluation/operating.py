"""Operating points, chosen on validation and frozen, and what they mean where a disease is rarer or more common.

A case is called (melanoma, malignant) if its probability reaches the threshold. A threshold chosen on the very cases
that are judged fits their accidents too, so its numbers are too good; such a judgement says ``optimistic``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import (
    MAX_REDRAWN,
    MIN_LESIONS,
    lesion_draws,
    not_estimable,
    percentile_interval,
)
from lesion_utils.evaluation.calibration import Views, calibration, check_probabilities
from lesion_utils.evaluation.prediction_table import check, classes_of, predicted_of, truth_of
from lesion_utils.evaluation.shares import ESTIMATE, row_of, share_draws, share_row
from lesion_utils.evaluation.views import views_of
from lesion_utils.predictions import is_leaky, probabilities

THRESHOLDS = tuple(step / 100 for step in range(1, 51))  # threshold probabilities of a decision curve


@dataclass(frozen=True)
class OperatingPoint:
    """A rule by which cases are called, frozen once it is chosen; made by ``choose`` or ``most_probable``."""

    view: str  # melanoma, malignant
    positive: tuple[str, ...]  # its classes, whose probabilities are summed
    threshold: float | None  # called from this probability up; None: if the most probable class is one of these
    rule: str  # how the threshold was chosen, in words
    chosen_on: str = ""  # name of the table; "" where nothing was chosen
    n: int = 0  # images it was chosen on
    lesions: int = 0
    note: str = ""  # why no point could be chosen; then ``threshold`` is NaN
    image_ids: frozenset[str] = field(default=frozenset(), repr=False)  # that it was chosen on
    lesion_ids: frozenset[str] = field(default=frozenset(), repr=False)

    def called(self, table: pd.DataFrame) -> np.ndarray:
        """Which cases of ``table`` are called, (n,) bool; none where no point could be chosen.

        Raises InputError if a class of the view is not in the table, or a threshold meets a table without
        probabilities.
        """
        if self.threshold is None:
            return _members(table, self)[predicted_of(table)]
        check_probabilities(table, f"at a threshold of {self.threshold:.3g}, the prediction table")
        return _stated(table, _members(table, self)) >= self.threshold

    def is_positive(self, table: pd.DataFrame) -> np.ndarray:
        """Which cases of ``table`` are of the view by their label, (n,) bool."""
        return _members(table, self)[truth_of(table)]

    def caution(self, table: pd.DataFrame) -> str:
        """``chosen on …: optimistic`` if cases of ``table``, or of their lesions, were chosen on; else ``""``."""
        known = (table["image_id"].isin(self.image_ids) | table["lesion_id"].isin(self.lesion_ids)).sum()
        if known == 0:
            return ""
        if known == len(table):
            return "chosen on the same cases: optimistic"
        return f"chosen on {known:,} of these {len(table):,} cases, or others of their lesions: optimistic"

    def __str__(self) -> str:
        if self.note:
            return f"no operating point for {self.view} ({self.note})"
        if self.threshold is None:
            return f"{self.view} is called where {self.rule}"
        return (
            f"{self.view} is called from a probability of {self.threshold:.3g} up: {self.rule} on {self.chosen_on} "
            f"(n = {self.n:,} images of {self.lesions:,} lesions)"
        )


def most_probable(table: pd.DataFrame, view: str = "melanoma", views: Views = None) -> OperatingPoint:
    """The point at which nothing is chosen: called where the most probable (or predicted) class is of ``view``."""
    return OperatingPoint(view, _view(table, view, views), None, "the predicted class is of it")


def choose(
    validation: pd.DataFrame,
    view: str = "melanoma",
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    views: Views = None,
    chosen_on: str = "validation",
) -> OperatingPoint:
    """The point with at least the asked ``sensitivity`` or ``specificity`` (one of them, 0 to 1) on ``validation``.

    It is the highest threshold with that sensitivity, or the lowest with that specificity, counted in images.
    ``chosen_on`` names the table for the reader. Where the diagnosis, or the rest, has under 10 lesions the point's
    ``note`` says so, and all that is judged at it is not estimable. Raises InputError for a table that breaks the
    contract or has no such view, and for a share out of range.
    """
    check_probabilities(validation, f"the table of {chosen_on}")
    asked = [share for share in (sensitivity, specificity) if share is not None]
    if len(asked) != 1 or not 0 < asked[0] <= 1:
        raise InputError(
            "An operating point is chosen by either a sensitivity or a specificity above 0 and up to 1; got "
            f"sensitivity {sensitivity} and specificity {specificity}."
        )
    classes = _view(validation, view, views)
    stated = _stated(validation, np.isin(classes_of(validation), classes))
    positive = np.isin(validation["label"], classes)
    if sensitivity is None:
        rule = f"the lowest threshold with specificity of at least {asked[0]:g}"
    else:
        rule = f"the highest threshold with sensitivity of at least {asked[0]:g}"
    if note := not_estimable(_needed(validation, positive, view), 0, 1):
        threshold = np.nan
    elif sensitivity is None:
        threshold = _with_specificity(stated, positive, asked[0])
    else:
        threshold = _with_sensitivity(stated, positive, asked[0])
    return OperatingPoint(
        view=view,
        positive=classes,
        threshold=threshold,
        rule=rule,
        chosen_on=chosen_on,
        n=len(validation),
        lesions=validation["lesion_id"].nunique(),
        note=note and f"{chosen_on}: {note}",
        image_ids=frozenset(validation["image_id"]),
        lesion_ids=frozenset(validation["lesion_id"]),
    )


def judge_at(
    point: OperatingPoint, table: pd.DataFrame, prevalence: float, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Sensitivity, specificity and predictive values of ``table`` at the frozen ``point``, with intervals by lesion.

    Columns ``metric, value, low, high, n, lesions, note`` as in ``judge``, and ``caution`` (``OperatingPoint.caution``,
    to be shown with every number). Indexed by ``sensitivity, specificity, PPV, NPV`` (at the share of the diagnosis
    among these images), ``PPV at prevalence, NPV at prevalence`` (at the stated ``prevalence``, above 0 and below 1).

    Predictive values follow from sensitivity and specificity by Bayes' theorem, draw by draw; a prevalence is taken as
    known, and another one as leaving both unchanged. Where sensitivity or specificity is 0 or 1 the ends of the
    interval are those of both exact intervals together, which is the wider choice. Raises InputError for a table that
    breaks the contract or lacks the view, and for a prevalence out of range.
    """
    check(table, "the prediction table")
    _check_share(prevalence, "prevalence")
    called, positive, lesion_ids = point.called(table), point.is_positive(table), table["lesion_id"].to_numpy()
    weights, whole = _draws(table, resamples, seed), {"n": len(table), "lesions": table["lesion_id"].nunique()}
    sides = {"sensitivity": (called, positive, point.view), "specificity": (~called, ~positive, f"not {point.view}")}
    shares = {name: share_row(weights, hit, among, lesion_ids, cases) for name, (hit, among, cases) in sides.items()}
    draws = [share_draws(weights, hit[:, None], among)[:, 0] for hit, among, _ in sides.values()]
    rows = {name: {"metric": f"{point.view} {name}"} | row for name, row in shares.items()}
    for end, at, words in (("", positive.mean(), ", as among these images"), (" at prevalence", prevalence, "")):
        for name, of in (("PPV", _ppv), ("NPV", _npv)):
            metric = {"metric": f"{point.view} {name} at prevalence {at:.3g}{words}"}
            rows[name + end] = metric | _predictive(of, at, list(shares.values()), draws) | whole
    frame = pd.DataFrame(rows.values(), index=list(rows), columns=["metric", *ESTIMATE])
    if point.note:
        frame = frame.assign(value=np.nan, low=np.nan, high=np.nan, note=point.note)
    return frame.assign(caution=point.caution(table), leaky=is_leaky(table))


def missed(point: OperatingPoint, table: pd.DataFrame) -> pd.DataFrame:
    """The cases of the view that ``point`` does not call, in the order of ``table``.

    Columns ``image_id, lesion_id, label`` and ``lesion_missed``: whether no image of the lesion is called.
    """
    called, positive = point.called(table), point.is_positive(table)
    found = table.loc[called & positive, "lesion_id"]
    cases = table.loc[positive & ~called, ["image_id", "lesion_id", "label"]]
    return cases.assign(lesion_missed=~cases["lesion_id"].isin(found))


def missed_sentence(point: OperatingPoint, table: pd.DataFrame) -> str:
    """How many images and lesions of the view ``point`` misses on ``table``."""
    if point.note:
        return str(point)
    cases, there = missed(point, table), table.loc[point.is_positive(table), "lesion_id"]
    lesions = cases.loc[cases["lesion_missed"], "lesion_id"].nunique()
    caution = point.caution(table)
    return (
        f"{point.view}: {len(cases):,} of {len(there):,} images missed; {lesions:,} of {there.nunique():,} lesions "
        "missed in every image" + (f" ({caution})" if caution else "")
    )


def decision_curve(
    table: pd.DataFrame,
    view: str = "melanoma",
    prevalence: float | None = None,
    *,
    views: Views = None,
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Net benefit of treating where the probability of ``view`` reaches a threshold (Vickers and Elkin, Med Decis
    Making 26:565, 2006): the share of patients found, less that of false alarms weighed by the odds of the threshold.

    One row for each threshold probability (above 0 and below 1), at the prevalence among the table's images and then,
    if given, at the stated ``prevalence``. Columns ``prevalence; at`` (``these images`` or ``stated``)``; threshold;
    value, low, high``, the net benefit with its 95 % interval by lesion, point by point; ``treat_all, treat_none``, the
    net benefit of treating everybody and nobody; ``n, lesions, note, caution``.

    At the stated prevalence the probabilities too are moved there from the table's, by Bayes' theorem (Saerens,
    Latinne and Decaestecker, Neural Comput 14:21, 2002). A threshold probability means what it says for calibrated
    probabilities alone: ``caution`` says where the calibration error is more than chance gives. With under 10 lesions
    of the diagnosis, or of the rest, values are NaN and ``note`` says why. Raises InputError for a table that breaks
    the contract or has no such view, and for a prevalence or threshold out of range.
    """
    check_probabilities(table, "the prediction table")
    for threshold in thresholds:
        _check_share(threshold, "threshold probability")
    if prevalence is not None:
        _check_share(prevalence, "prevalence")
    classes = _view(table, view, views)
    stated, positive = _stated(table, np.isin(classes_of(table), classes)), np.isin(table["label"], classes)
    needed, own = _needed(table, positive, view), positive.mean()
    whole = {"n": len(table), "lesions": table["lesion_id"].nunique()}
    weights, cut = _draws(table, resamples, seed), np.asarray(thresholds, np.float64)
    one = np.ones((1, len(table)))
    rows = []
    for at, share in {"these images": own, "stated": prevalence}.items():
        if share is None:
            continue
        called = _moved(stated, own, share)[:, None] >= cut
        value, draws = (_net_benefit(each, called, positive, share, cut) for each in (one, weights))
        for place, threshold in enumerate(cut):
            treat_all = share - (1 - share) * threshold / (1 - threshold)
            rows.append(
                {"at": at, "prevalence": share, "threshold": threshold}
                | row_of(value[0, place], draws[:, place], needed, **whole)
                | {"treat_all": treat_all, "treat_none": 0.0}
            )
    caution = _uncalibrated(table, view, views, seed)
    return pd.DataFrame(rows).assign(caution=caution, leaky=is_leaky(table))


def _with_sensitivity(stated: np.ndarray, positive: np.ndarray, asked: float) -> float:
    """The highest threshold that calls at least the share ``asked`` of the positives."""
    needed = ceil(asked * positive.sum() - 1e-9)  # 0.9 * 10 is a little above 9
    return float(np.sort(stated[positive])[-needed])


def _with_specificity(stated: np.ndarray, positive: np.ndarray, asked: float) -> float:
    """The lowest threshold, of the probabilities stated, that calls no more of the others than is allowed."""
    allowed = floor((1 - asked) * (~positive).sum() + 1e-9)
    if allowed == (~positive).sum():
        return float(stated.min())
    first_too_many = np.sort(stated[~positive])[-allowed - 1]
    above = stated[stated > first_too_many]
    return float(above.min() if len(above) else np.nextafter(first_too_many, 2))  # the latter calls nobody


def _ppv(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float) -> np.ndarray:
    """Positive predictive value; NaN where nobody is called."""
    return _share_of(sensitivity * prevalence, (1 - specificity) * (1 - prevalence))


def _npv(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float) -> np.ndarray:
    """Negative predictive value; NaN where everybody is called."""
    return _share_of(specificity * (1 - prevalence), (1 - sensitivity) * prevalence)


def _share_of(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(part) / (np.asarray(part) + np.asarray(rest))


def _predictive(
    of: Callable[..., np.ndarray], prevalence: float, shares: Sequence[dict], draws: Sequence[np.ndarray]
) -> dict:
    """``value, low, high, note`` of a predictive value, from the rows and the draws of sensitivity and specificity."""
    values = of(*draws, prevalence)
    undefined = np.isnan(values)
    value = float(of(*(row["value"] for row in shares), prevalence))
    note = next((row["note"] for row in shares if np.isnan(row["value"])), "")
    if not note and (np.isnan(value) or undefined.mean() > MAX_REDRAWN):
        note = f"no case is {'called' if of is _ppv else 'left uncalled'} in {undefined.mean():.0%} of draws"
    if note:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "note": note}
    if any(row["value"] in (0, 1) for row in shares):
        low, high = (float(of(*(row[end] for row in shares), prevalence)) for end in ("low", "high"))
    else:
        low, high = percentile_interval(values[~undefined])
    return {"value": value, "low": low, "high": high, "note": ""}


def _net_benefit(
    weights: np.ndarray, called: np.ndarray, positive: np.ndarray, prevalence: float, cut: np.ndarray
) -> np.ndarray:
    """Of ``called``, (n, m), at the threshold probabilities ``cut``, (m,): (B, m); NaN where a side has no case."""
    true, false = (share_draws(weights, called, among) for among in (positive, ~positive))
    return true * prevalence - false * (1 - prevalence) * cut / (1 - cut)


def _moved(stated: np.ndarray, own: float, prevalence: float) -> np.ndarray:
    """Probabilities at prevalence ``own`` moved to another, the likelihoods staying as they are."""
    if own in (0, 1, prevalence):  # nothing to move, or nothing that could be judged
        return stated
    yes, no = stated * prevalence / own, (1 - stated) * (1 - prevalence) / (1 - own)
    return yes / (yes + no)


def _uncalibrated(table: pd.DataFrame, view: str, views: Views, seed: int) -> str:
    row = calibration(table, views, seed=seed).loc[view]
    if not row["value"] > row["calibrated_95"]:
        return ""
    return (
        f"the probabilities are not calibrated (calibration error {row['value']:.3f}; a calibrated model would stay "
        f"under {row['calibrated_95']:.3f}), so a threshold probability is not what it says"
    )


def _draws(table: pd.DataFrame, resamples: int, seed: int) -> np.ndarray:
    """The draws of the judge, so that all numbers on a table belong together."""
    truth, k = truth_of(table), len(classes_of(table))
    return lesion_draws(table["lesion_id"].to_numpy(), truth, k, resamples, seed, at_least=MIN_LESIONS)[0]


def _view(table: pd.DataFrame, view: str, views: Views) -> tuple[str, ...]:
    classes = classes_of(table)
    if view not in (known := views_of(classes, views)):
        raise InputError(
            f"No view {view!r} for the classes {', '.join(classes)}; there is {', '.join(known) or 'none'}. "
            "Fix: say which classes it counts."
        )
    return tuple(known[view])


def _members(table: pd.DataFrame, point: OperatingPoint) -> np.ndarray:
    """Which classes of ``table`` are of the view, (k,) bool."""
    return np.isin(classes_of(table), _view(table, point.view, {point.view: point.positive}))


def _stated(table: pd.DataFrame, member: np.ndarray) -> np.ndarray:
    """The probability of the classes ``member``, (k,) bool: (n,), rounded so that equal sums are equal."""
    return probabilities(table)[:, member].sum(1).round(12)


def _needed(table: pd.DataFrame, positive: np.ndarray, view: str) -> dict[str, int]:
    lesions = table["lesion_id"]
    return {view: lesions[positive].nunique(), f"not {view}": lesions[~positive].nunique()}


def _check_share(share: float, name: str) -> None:
    if not 0 < share < 1:
        raise InputError(f"{name} {share} is out of range; expected a share above 0 and below 1.")
