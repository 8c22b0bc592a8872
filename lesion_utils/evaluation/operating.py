"""Operating points: thresholds chosen on validation and frozen, and what they mean at another prevalence.

A case is called if its probability reaches the threshold; a threshold chosen on the judged cases fits their noise too,
and is marked ``optimistic``. Of several runs the first is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import bootstrap
from lesion_utils.evaluation.bootstrap import estimate_row, not_estimable, share_draws, unknown
from lesion_utils.evaluation.calibration import calibration, fit_recalibration
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.rounding import number, of_people, percent
from lesion_utils.views import Views

PEOPLE = 1000  # of whom a reader imagines the numbers


@dataclass(frozen=True)
class OperatingPoint:
    """A rule by which cases are called, frozen once it is chosen; made by ``choose`` or ``most_probable``."""

    view: str  # melanoma, malignant
    positive: tuple[str, ...]  # its classes, whose probabilities are summed
    # smallest probability that is called, in cross-validation by fold; None: called if the predicted class is positive
    threshold: float | dict[int, float] | None
    rule: str  # how the threshold was chosen, in words
    chosen_on: str = ""  # name of the table; "" where nothing was chosen
    note: str = ""  # why no point could be chosen; then ``threshold`` is NaN
    validation: PredictionTable | None = field(default=None, repr=False)  # the table; None where nothing was chosen

    def called(self, table: PredictionTable) -> np.ndarray:
        """Which cases of ``table`` are called, (n,) bool; none where no point could be chosen."""
        positive = table.view(self.view, {self.view: self.positive})
        if self.threshold is None:
            return np.isin(table.classes, positive)[table.predicted]
        threshold = self.threshold
        if isinstance(threshold, dict):
            if unknown := {*table.fold} - threshold.keys():
                raise InputError(f"{table.name} has fold(s) {first_ten(unknown)}. Expected those of {self.chosen_on}.")
            threshold = pd.Series(table.fold).map(threshold).to_numpy()
        return table.probability_of(positive) >= threshold

    def is_positive(self, table: PredictionTable) -> np.ndarray:
        return table.is_labelled(table.view(self.view, {self.view: self.positive}))

    def caution(self, table: PredictionTable) -> str:
        """``chosen on …: optimistic`` if cases of ``table``, or of their lesions, were chosen on; else ``""``.

        In cross-validation those count that are validation of the same fold.
        """
        if self.validation is None:
            return ""
        by_fold, shared = isinstance(self.threshold, dict), np.full(len(table), self.validation is table)
        for name in ("image_id", "lesion_id"):
            both = ([of.frame[name], of.fold if by_fold else [0] * len(of)] for of in (table, self.validation))
            ours, chosen_on = map(pd.MultiIndex.from_arrays, both)
            shared |= ours.isin(chosen_on)
        some = f"{shared.sum():,} of these {len(table):,} cases or on their lesions"
        return f"chosen on {'the same cases' if shared.all() else some}: optimistic" if shared.any() else ""

    def __str__(self) -> str:
        if self.note:
            return f"no operating point for {self.view} ({self.note})"
        if self.validation is None or self.threshold is None:
            return f"{self.view} is predicted where {self.rule}"
        n = f"n = {len(self.validation):,} images, {self.validation.lesions:,} lesions"
        found = [*self.threshold.values()] if isinstance(self.threshold, dict) else [self.threshold]
        least = " to ".join(number(end) for end in sorted({min(found), max(found)}))
        each = f" (each of {len(found)} folds has its own)" if len(found) > 1 else ""
        predicted = f"{self.view} is predicted at a probability of {least} or more{each}"
        return f"{predicted}: {self.rule} on {self.chosen_on} ({n})"


def most_probable(table: PredictionTable, view: str = "melanoma", views: Views = None) -> OperatingPoint:
    """The point at which nothing is chosen: a case is called if its predicted class is of ``view``."""
    classes, rule = table.view(view, views), "the predicted class belongs to it"
    return OperatingPoint(view, classes, None, rule, note="" if classes else f"no class is known to be {view}")


def choose(
    validation: PredictionTable,
    view: str = "melanoma",
    sensitivity: float | None = None,
    specificity: float | None = None,
    views: Views = None,
    chosen_on: str = "validation",
) -> OperatingPoint:
    """The highest threshold with at least this ``sensitivity``, or the lowest with at least this ``specificity``.

    One of them is given, above 0 and up to 1, and is counted in images of ``validation``; ``chosen_on`` names this
    table for the reader. In cross-validation each fold's model gets a threshold on its own cases. With under 10 lesions
    with or without the diagnosis, nothing is chosen and ``note`` says so.
    """
    asked = [share for share in (sensitivity, specificity) if share is not None]
    if len(asked) != 1 or not 0 < asked[0] <= 1:
        rule, got = "either a sensitivity or a specificity", f"sensitivity {sensitivity} and specificity {specificity}"
        raise InputError(f"An operating point is chosen by {rule}, above 0 and up to 1; got {got}.")
    classes = validation.view(view, views)
    stated, positive, found = validation.probability_of(classes), validation.is_labelled(classes), {}
    rule = "highest threshold with sensitivity" if specificity is None else "lowest threshold with specificity"
    rule, note = f"the {rule} of at least {asked[0]:g}", ""
    for fold in np.unique(validation.fold).tolist():
        inside = validation.fold == fold
        needed = {name: validation.size(of & inside)[1] for name, of in ((view, positive), (f"not {view}", ~positive))}
        if note := not_estimable(needed, 0, 1) if classes else f"no class is known to be {view}":
            note, found = f"{chosen_on}: {note}", {fold: np.nan}
            break
        find = _most_sensitive if specificity is None else _most_specific
        found[fold] = float(find(stated[positive & inside], stated[~positive & inside], asked[0]))
    threshold = found if len(found) > 1 else float(*found.values())
    return OperatingPoint(view, classes, threshold, rule, chosen_on, note, validation)


def _most_sensitive(ill: np.ndarray, _: np.ndarray, share: float) -> float:
    """The highest threshold that a ``share`` of the probabilities ``ill`` reaches."""
    return np.sort(ill)[-ceil(share * len(ill) - 1e-9)]  # 0.9 * 10 is a little above 9


def _most_specific(ill: np.ndarray, well: np.ndarray, share: float) -> float:
    """The lowest threshold that a ``share`` of the probabilities ``well`` stays under."""
    first_too_many = np.r_[-np.inf, np.sort(well)][-floor((1 - share) * len(well) + 1e-9) - 1]
    stated = np.r_[ill, well]
    # if all are too many, a threshold just above them calls nobody
    return min(stated[stated > first_too_many], default=np.nextafter(first_too_many, 2))


def judge_at(point: OperatingPoint, table: PredictionTable, prevalence: float) -> pd.DataFrame:
    """Sensitivity, specificity and predictive values of ``table`` at the frozen ``point``.

    Columns as in ``judge``, and ``caution``; indexed by ``sensitivity, specificity, PPV, NPV`` (at the share of the
    diagnosis among these images), ``PPV at prevalence, NPV at prevalence`` (above 0 and below 1), by Bayes' theorem,
    draw by draw. If sensitivity or specificity is 0 or 1, their interval comes from both exact intervals together.
    """
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence {prevalence} is out of range. Expected a share above 0 and below 1.")
    called, positive = point.called(table), point.is_positive(table)
    asked = {"sensitivity": (called, positive, point.view), "specificity": (~called, ~positive, f"not {point.view}")}
    shares = [table.share(*question) for question in asked.values()]
    draws = [share_draws(table.weights, hit[:, None], among)[:, 0] for hit, among, _ in asked.values()]
    rows = {name: {"metric": f"{point.view} {name}"} | row for name, row in zip(asked, shares, strict=True)}
    ends = [np.array([row[end] for end in ("value", "low", "high")]) for row in shares]
    missing = next((row["note"] for row in shares if np.isnan(row["value"])), "")
    for end, at, words in (("", positive.mean(), ", as among these images"), (" at prevalence", prevalence, "")):
        for name, share, order in (("PPV", at, 1), ("NPV", 1 - at, -1)):  # the NPV is the PPV of the other classes
            values, (value, *interval) = (_ppv(share, *of[::order]) for of in (draws, ends))
            note, undefined = missing, np.isnan(values).mean()
            if not note and (np.isnan(value) or undefined > bootstrap.MAX_REDRAWN):
                which = "no" if name == "PPV" else "every"
                note = f"{which} case is predicted positive in {percent(undefined)} of draws"
            exact = note or any(row["value"] in (0, 1) for row in shares)
            low, high = interval if exact else bootstrap.percentile_interval(values)
            row = unknown(note) if note else {"value": value, "low": low, "high": high, "note": ""}
            metric = f"{point.view} {name} at prevalence {number(at)}{words}"
            rows[name + end] = {"metric": metric, "n": len(table), "lesions": table.lesions} | row
    frame = pd.DataFrame(rows.values(), index=list(rows), columns=["metric", *bootstrap.ESTIMATE])
    if point.note:
        frame = frame.assign(**unknown(point.note))
    return frame.assign(caution=point.caution(table), leaky=table.leaky)


def missed(point: OperatingPoint, table: PredictionTable) -> pd.DataFrame:
    """The cases of the view that ``point`` does not call; ``lesion_missed``: no image of the lesion is called."""
    called, positive = point.called(table), point.is_positive(table)
    cases = table.frame.loc[positive & ~called, ["image_id", "lesion_id", "label"]]
    return cases.assign(lesion_missed=~cases["lesion_id"].isin(table.lesion_ids[called & positive]))


def missed_sentence(point: OperatingPoint, table: PredictionTable) -> str:
    """How many images and lesions of the view ``point`` misses on ``table``."""
    if point.note:
        return str(point)
    cases, (images, lesions) = missed(point, table), table.size(point.is_positive(table))
    in_every_image = cases.loc[cases["lesion_missed"], "lesion_id"].nunique()
    text = f"{point.view}: {len(cases):,} of {images:,} images missed; {in_every_image:,} of {lesions:,} lesions missed"
    return f"{text} in every image{f' ({caution})' if (caution := point.caution(table)) else ''}"


def people_sentence(rows: pd.DataFrame, view: str, prevalence: float) -> str:
    """Sensitivity and specificity, ``rows`` of ``judge_at``, as counts of ``PEOPLE`` images at a ``prevalence``."""
    ends = rows.loc[["sensitivity", "specificity"], ["value", "low", "high"]].to_numpy(float)
    if np.isnan(ends).any():
        return f"Sensitivity or specificity for {view} is not estimable."
    ill, (found, spared) = round(PEOPLE * prevalence), ends
    well, alarms = PEOPLE - ill, 1 - spared[[0, 2, 1]]
    return (
        f"Of {PEOPLE:,} images, {ill:,} of them {view}, the classifier would find {of_people(found, ill)} of these and "
        f"raise a false alarm in {of_people(alarms, well)} of the {well:,} other images."
    )


def decision_curve(
    table: PredictionTable,
    view: str = "melanoma",
    prevalence: float | None = None,
    thresholds: Sequence[float] = tuple(np.arange(1, 51) / 100),
    validation: PredictionTable | None = None,
) -> pd.DataFrame:
    """Net benefit of treating where the probability of ``view`` reaches a threshold (Vickers and Elkin, Med Decis
    Making 26:565, 2006): the share of true positives, less that of false positives times the odds of the threshold.

    One row per threshold probability (above 0 and below 1), at the prevalence among these images and then, if given,
    at ``prevalence``, where probabilities too are moved by Bayes' theorem (Saerens, Latinne and Decaestecker, Neural
    Comput 14:21, 2002). That needs calibrated probabilities: with ``validation`` they are first recalibrated on it.
    Columns ``at, prevalence, threshold``; ``value, low, high`` (95% CI at each threshold) of the net benefit;
    ``treat_all, treat_none``; ``n, lesions, note``; ``caution``: where probabilities are not calibrated.
    """
    if wrong := [share for share in (*thresholds, prevalence) if share is not None and not 0 < share < 1]:
        name = "prevalence" if wrong[0] is prevalence else "threshold probability"
        raise InputError(f"{name} {wrong[0]} is out of range. Expected a share above 0 and below 1.")
    classes = table.view(view)
    stated, positive = table.probability_of(classes), table.is_labelled(classes)
    if validation is not None:
        stated = fit_recalibration(validation, view)(stated)
    own, needed, weights = positive.mean(), table.lesions_with(positive, view), table.point_and_draws
    cut = np.asarray(thresholds, np.float64)
    rows = []
    for at, share in [("these images", own), ("stated", prevalence)][: 1 if prevalence is None else 2]:
        moved = stated
        if own not in (0, 1, share):  # otherwise nothing to move, or nothing that could be judged
            yes, no = stated * share / own, (1 - stated) * (1 - share) / (1 - own)
            moved = yes / (yes + no)
        true, false = (share_draws(weights, moved[:, None] >= cut, among) for among in (positive, ~positive))
        benefit = true * share - false * (1 - share) * cut / (1 - cut)
        for threshold, (value, *draws) in zip(cut, benefit.T, strict=True):
            row = {"at": at, "prevalence": share, "threshold": threshold}
            row |= estimate_row(value, np.array(draws), needed, len(table), table.lesions)
            rows.append(row | {"treat_all": share - (1 - share) * threshold / (1 - threshold), "treat_none": 0.0})
    error, limit = calibration(table).loc[view, ["value", "calibrated_95"]]
    caution = ""
    if validation is None and error > limit:
        caution = (
            f"the probabilities are not calibrated (calibration error {number(error, edges=[limit])}; a calibrated "
            f"model would stay under {number(limit)}), so a threshold probability does not mean what it says"
        )
    return pd.DataFrame(rows).assign(caution=caution, leaky=table.leaky)


def benefit_sentence(curve: pd.DataFrame) -> str:
    """At which threshold probabilities the net benefit of ``decision_curve`` is above that of treating all or none."""
    if curve["value"].isna().all():
        return f"The net benefit is not estimable ({curve['note'].iloc[0]})."
    texts = []
    for _, rows in curve.groupby("at", sort=False):
        better = rows.loc[rows["low"] > rows[["treat_all", "treat_none"]].max(axis=1), "threshold"]
        where = f" (from {number(better.min())} to {number(better.max())})" if len(better) else ""
        share = f"{len(better)} of {len(rows)} threshold probabilities{where}"
        texts.append(f"{share} at a prevalence of {number(rows['prevalence'].iloc[0])}")
    better_than = "treating by the classifier is better than treating everybody and treating nobody"
    return f"With its whole 95% CI, {better_than} at {', and at '.join(texts)}."


def _ppv(prevalence: float, sensitivity: np.ndarray, specificity: np.ndarray) -> np.ndarray:
    """The positive predictive value by Bayes' theorem; NaN where no case is called."""
    right, wrong = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    with np.errstate(invalid="ignore"):
        return right / (right + wrong)
