"""A prediction table judged: the numbers, what speaks against them, and what they cannot say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.checks.findings import too_good
from lesion_utils.checks.matrix import MOST_CLASSES
from lesion_utils.checks.predictions import Predictions
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.calibration import TOP, calibration, reliability
from lesion_utils.evaluation.judge import FEW
from lesion_utils.evaluation.operating import OperatingPoint, choose, judge_at, missed, most_probable
from lesion_utils.evaluation.subgroups import subgroups, untested
from lesion_utils.evaluation.views import asked_views
from lesion_utils.paths import records
from lesion_utils.study import Judging

MOST_DRAWS = 400_000_000  # images times resamples, a byte each

# what no prediction table can show
NEVER = (
    "Photographs by phone or camera, other dermatoscopes and other clinics than those of these images: not tested.",
    "Diagnoses that are none of these classes, and skin without a lesion: not tested.",
    "How doctors and patients fare who use the classifier: not tested.",
    "Whether the classifier has seen these lesions in training: a prediction table cannot show it "
    "(the command lesion leakcheck looks into the split).",
)


class Score(NamedTuple):
    """What ``score`` finds; tables are empty and ``point`` is None where the question cannot be asked."""

    view: str  # melanoma, or malignant where no class is melanoma, or ""
    classes: pd.DataFrame  # images, lesions and few (under 20 images) of each class
    n: int  # images
    lesions: int
    by_lesion: bool
    leaky: bool
    prevalence: float
    numbers: pd.DataFrame  # of ``judge``
    point: OperatingPoint | None
    at_point: pd.DataFrame  # of ``judge_at``
    missed: pd.DataFrame  # of ``missed``
    groups: pd.DataFrame  # of ``subgroups``
    calibration: pd.DataFrame  # of ``calibration``
    reliability: dict[str, pd.DataFrame]  # of ``reliability``, of the view and of the top label
    untested: list[str]
    findings: list[str]  # what speaks against the numbers
    notes: list[str]  # how the tables were read

    @property
    def caution(self) -> str:
        """Why the operating point is too good, or ""."""
        return self.at_point["caution"].iloc[0] if len(self.at_point) else ""

    @property
    def point_known(self) -> bool:
        """Whether there is an operating point at which cases are called."""
        return self.point is not None and not self.point.note

    @property
    def point_told(self) -> str:
        """The operating point in words."""
        return counted(str(self.point), self.point.lesions < self.point.n) if self.point else ""


def score(
    predictions: Predictions,
    validation: Predictions | None = None,
    cases: pd.DataFrame | None = None,
    melanoma: str | None = None,
    malignant: Sequence[str] | None = None,
    options: Judging | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Score:
    """Judges a prediction table, with intervals bootstrapped by lesion.

    The operating point, at ``options.specificity``, is chosen on ``validation`` and frozen, or without it on the very
    images that are judged, and then called optimistic. ``cases`` (``read_metadata``) describes the images for the table
    of subgroups; without it the columns of the prediction table do. ``melanoma`` and ``malignant`` name the classes of
    these views where their names do not tell (``asked_views``). Raises InputError where tables do not belong together
    or are too large.
    """
    options, nothing, n = options or Judging(), pd.DataFrame(), len(predictions.table)
    if n * resamples > MOST_DRAWS:
        raise InputError(
            f"{n:,} images with {resamples:,} resamples need more memory than is taken; up to "
            f"{MOST_DRAWS // 100:,} images can be judged. Fix: hand in the test images alone, or give --resamples "
            f"{max(100, MOST_DRAWS // n)}."
        )
    table = PredictionTable(predictions.table, resamples, seed)
    if table.k > MOST_CLASSES:
        raise InputError(
            f"{table.k:,} classes; up to {MOST_CLASSES} can be judged. Expected a name of a class in each label."
        )
    views = asked_views(table.classes, melanoma, malignant)
    view, notes = next(iter(views), ""), list(predictions.notes)
    if not view:
        notes.append("no class is known as melanoma or malignant: say which (--melanoma, --malignant)")
    point = _point(predictions, table, validation, view, views, options.specificity, notes) if view else None
    numbers = judge(table, options, views)
    return Score(
        view=view,
        classes=_classes(table),
        n=n,
        lesions=table.lesions,
        by_lesion=predictions.by_lesion,
        leaky=table.leaky,
        prevalence=options.prevalence,
        numbers=numbers,
        point=point,
        at_point=judge_at(point, table, options.prevalence) if point else nothing,
        missed=missed(point, table) if point and not point.note else nothing,
        groups=subgroups(table, point, cases) if point else nothing,
        calibration=calibration(table, views) if table.has_probabilities else nothing,
        reliability={of: reliability(table, of, views) for of in (view, TOP) if of and table.has_probabilities},
        untested=[*untested(table, cases), *NEVER],
        findings=_findings(table, numbers, view, point),
        notes=notes,
    )


def _point(
    predictions: Predictions,
    table: PredictionTable,
    validation: Predictions | None,
    view: str,
    views: Mapping[str, Sequence[str]],
    specificity: float,
    notes: list[str],
) -> OperatingPoint:
    chosen_from = None if validation is None else PredictionTable(validation.table, name="the validation table")
    if chosen_from is not None and set(chosen_from.classes) != set(table.classes):
        raise InputError(
            f"the validation table has other classes ({first_ten(chosen_from.classes)}) than the predictions "
            f"({first_ten(table.classes)}). Expected predictions of the same model."
        )
    if not table.has_probabilities:
        return most_probable(table, view, views)
    if validation is None or chosen_from is None:
        return choose(table, view, specificity=specificity, views=views, chosen_on="the images that are judged")
    if not (predictions.by_lesion and validation.by_lesion):
        notes.append("lesions are not known of both tables: whether validation shares some cannot be seen")
    return choose(chosen_from, view, specificity=specificity, views=views, chosen_on="validation")


def _classes(table: PredictionTable) -> pd.DataFrame:
    sizes = [table.size(table.truth == index) for index in range(table.k)]
    frame = pd.DataFrame(sizes, columns=["images", "lesions"], index=pd.Index(table.classes, name="class"))
    return frame.assign(few=frame["images"] < FEW)


def _findings(table: PredictionTable, numbers: pd.DataFrame, view: str, point: OperatingPoint | None) -> list[str]:
    found = []
    if table.leaky:
        found.append("leaky: the table says that its model has seen lesions or images of this test, so no number holds")
    if point and point.chosen_on == "validation" and (caution := point.caution(table)):
        found.append(f"validation shares lesions or images with the test: the operating point was {caution}")
    accuracy, majority = numbers.loc["accuracy"], numbers.at["majority baseline accuracy", "value"]
    if accuracy["low"] <= majority:
        found.append(
            f"accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}) is not shown to be "
            f"above {majority:.3f}, that of always naming the largest class"
        )
    found += too_good(table.classes, numbers.at["balanced accuracy", "value"])
    if view and (area := f"{view} AUC") in numbers.index and numbers.at[area, "low"] <= 0.5:
        row = numbers.loc[area]
        found.append(
            f"{area} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) is not shown to be above 0.5, that of "
            "a guess"
        )
    labels = table.frame.groupby("lesion_id")["label"].nunique()
    if len(odd := labels[labels > 1]):
        found.append(f"{len(odd):,} lesion(s) have images under more than one label: {first_ten(odd.index)}")
    return found


def as_dict(score: Score) -> dict[str, Any]:
    """The score as JSON takes it; a number that is not estimable is null."""
    point = score.point
    return {
        "images": score.n,
        "lesions": score.lesions if score.by_lesion else None,
        "resampled by": "lesion" if score.by_lesion else "image",
        "leaky": score.leaky,
        "classes": records(score.classes.reset_index()),
        "view": score.view,
        "operating point": score.point_told or None,
        "threshold": point.threshold if point and score.point_known else None,
        "caution": score.caution,
        "prevalence": score.prevalence,
        "at the operating point": records(score.at_point),
        "missed": records(score.missed),
        "numbers": records(score.numbers),
        "subgroups": records(score.groups),
        "calibration": records(score.calibration),
        "reliability": {name: records(curve) for name, curve in score.reliability.items()},
        "never tested": score.untested,
        "findings": score.findings,
        "notes": score.notes,
    }


def counted(text: str, by_lesion: bool) -> str:
    """``text`` without the count of lesions where they are not known."""
    return text if by_lesion else re.sub(r"images, [\d,]+ lesions", "images", text)


def missed_counts(score: Score) -> str:
    """How many images and lesions of the view are missed at the operating point, which is known."""
    images = score.at_point.at["sensitivity", "n"]
    lesions = score.at_point.at["sensitivity", "lesions"]
    never = score.missed.loc[score.missed["lesion_missed"], "lesion_id"].nunique()
    told = f"{len(score.missed):,} of {images:,} {score.view} images are missed"
    return told + (f"; {never:,} of {lesions:,} lesions in every image" if score.by_lesion else "")


def estimate_cells(row: pd.Series, by_lesion: bool) -> tuple[str, str]:
    """A judged number as two cells of a table: the value with its interval, and on how many images (lesions)."""
    counts = f"{row['n']:,}" + (f" ({row['lesions']:,})" if by_lesion else "")
    if np.isnan(row["value"]):
        return f"not estimable: {row['note']}", counts
    marks = ("; few" if _is_few(row) else "") + ("; leaky" if row["leaky"] else "")
    interval = f" ({row['low']:z.3f} to {row['high']:z.3f})" if not np.isnan(row["low"]) else f" ({row['note']})"
    return f"{row['value']:z.3f}{interval}{marks}", counts


def _is_few(row: pd.Series) -> bool:
    """The mark of ``judge``, which counts the positives; but a view's specificity rests on the others."""
    if row.get("kind") == "view" and row["metric"] == f"{row['about']} specificity":
        return row["n"] < FEW
    return bool(row.get("few", False))
