"""Judges a prediction table: its metrics, findings that speak against them, and what was not tested."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.checks.columns import named_as
from lesion_utils.checks.findings import SENTENCES, not_above, say, too_good
from lesion_utils.checks.matrix import MOST_CLASSES
from lesion_utils.checks.predictions import Predictions
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation.calibration import TOP, calibration, calibration_sentence, reliability
from lesion_utils.evaluation.judge import FEW, judge
from lesion_utils.evaluation.operating import OperatingPoint, choose, judge_at, missed, most_probable
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.subgroups import groups_caveat, subgroups, untested
from lesion_utils.paths import records
from lesion_utils.rounding import number, span
from lesion_utils.study import Judging
from lesion_utils.views import asked_views

MOST_DRAWS = 1_000_000_000  # images times resamples, a byte each


@dataclass(frozen=True)
class Score:
    """What ``score`` finds; frames are empty and ``point`` is None where the question cannot be asked."""

    table: PredictionTable
    by_lesion: bool  # lesions are known
    view: str  # melanoma, or malignant where no class is melanoma, or ""
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
    def classes(self) -> pd.DataFrame:
        """Images, lesions and few (under 20 images) of each class."""
        by_label = self.table.frame.groupby("label")["lesion_id"]
        sizes = pd.DataFrame({"images": by_label.size(), "lesions": by_label.nunique()})
        sizes = sizes.reindex(self.table.classes, fill_value=0).rename_axis("class")
        return sizes.assign(few=sizes["images"] < FEW)

    @property
    def has_point(self) -> bool:
        """Whether there is an operating point at which cases are predicted positive."""
        return self.point is not None and not self.point.note

    @property
    def caution(self) -> str:
        """Why the operating point is too good, or ""."""
        return self.at_point["caution"].iloc[0] if len(self.at_point) else ""


def score(
    predictions: Predictions,
    validation: Predictions | None = None,
    cases: pd.DataFrame | None = None,
    melanoma: str | None = None,
    malignant: Sequence[str] | None = None,
    options: Judging | None = None,
    resamples: int = 2000,
) -> Score:
    """Judges a prediction table, with intervals bootstrapped over lesions.

    The operating point, at ``options.specificity``, is chosen on ``validation`` and frozen; without ``validation`` it
    is chosen on the judged images, and called optimistic. ``cases`` (``read_metadata``) describes the images for the
    table of subgroups instead of the prediction table. ``melanoma`` and ``malignant`` name the classes of these views
    (``asked_views``). Raises InputError where tables do not belong together or are too large.
    """
    frame, options, point, nothing = predictions.frame, options or Judging(), None, pd.DataFrame()
    refuse_too_large(frame, resamples)
    cases = None if cases is None else named_as(cases, frame["image_id"])
    table = PredictionTable(frame, resamples)
    if table.k > MOST_CLASSES:
        raise InputError(f"{table.k:,} classes. Expected up to {MOST_CLASSES}, and the name of a class in each label.")
    views, notes = asked_views(table.classes, melanoma, malignant), predictions.notes
    view = next(iter(views), "")
    if not view:
        notes.append(say("no view"))
    elif not table.has_probabilities:
        point = most_probable(table, view, views)
    else:
        chosen_on = PredictionTable(validation.frame, name="the validation table") if validation else table
        if set(chosen_on.classes) != set(table.classes):
            differ = f"classes {first_ten(chosen_on.classes)}, the predictions have {first_ten(table.classes)}"
            raise InputError(f"the validation table has {differ}. Expected predictions of the same model.")
        name = "validation" if validation else "the judged images"
        point = choose(chosen_on, view, specificity=options.specificity, views=views, chosen_on=name)
        if validation and not (predictions.by_lesion and validation.by_lesion):
            notes.append(say("unknown lesions"))
    numbers = judge(table, options, views)
    curves = [name for name in (view, TOP) if name and table.has_probabilities]
    return Score(
        table=table,
        by_lesion=predictions.by_lesion,
        view=view,
        prevalence=options.prevalence,
        numbers=numbers,
        point=point,
        at_point=judge_at(point, table, options.prevalence) if point else nothing,
        missed=missed(point, table) if point and not point.note else nothing,
        groups=subgroups(table, point, cases) if point else nothing,
        calibration=calibration(table, views) if table.has_probabilities else nothing,
        reliability={name: reliability(table, name, views) for name in curves},
        untested=[*untested(table, cases), *SENTENCES["never tested"]],
        findings=_findings(table, numbers, view, point),
        notes=notes,
    )


def refuse_too_large(frame: pd.DataFrame, resamples: int) -> None:
    if len(frame) * resamples > MOST_DRAWS:
        fix = f"Fix: give only the test images, or --resamples {max(100, MOST_DRAWS // len(frame))}"
        too_many = f"{len(frame):,} images with {resamples:,} resamples need too much memory"
        raise InputError(f"{too_many}. Expected up to {MOST_DRAWS // 100:,} images. {fix}.")


def _findings(table: PredictionTable, numbers: pd.DataFrame, view: str, point: OperatingPoint | None) -> list[str]:
    findings = [say("leaky")] * table.leaky
    if point and point.chosen_on == "validation" and (caution := point.caution(table)):
        findings.append(say("shared with validation", caution=caution))
    majority = numbers.at["majority baseline accuracy", "value"]
    findings += not_above(numbers.loc["accuracy"], majority, "the accuracy of always predicting the largest class")
    findings += too_good(table.classes, numbers.at["balanced accuracy", "value"])
    if (auc := f"{view} AUC") in numbers.index:
        findings += not_above(numbers.loc[auc], 0.5, "the AUC of guessing")
    labels = table.frame.groupby("lesion_id")["label"].nunique()
    if len(several := labels.index[labels > 1]):
        findings.append(say("several labels", n=len(several), lesions=first_ten(several)))
    return findings


def as_dict(score: Score) -> dict[str, Any]:
    """The score as JSON takes it; a number that is not estimable is null."""
    words = in_words(score)
    return {
        "images": len(score.table),
        "lesions": score.table.lesions if score.by_lesion else None,
        "resampled by": words["unit"],
        "leaky": score.table.leaky,
        "classes": records(score.classes.reset_index()),
        "view": score.view,
        "operating point": words["point"] or None,
        "threshold": score.point.threshold if score.point and score.has_point else None,
        "caution": score.caution,
        "prevalence": score.prevalence,
        "at the operating point": records(score.at_point),
        **{name: records(getattr(score, name)) for name in ("missed", "numbers")},
        "subgroups": records(score.groups),
        "calibration": records(score.calibration),
        "reliability": {name: records(curve) for name, curve in score.reliability.items()},
        "never tested": score.untested,
        **{name: getattr(score, name) for name in ("findings", "notes")},
    }


def in_words(score: Score) -> dict[str, Any]:
    """The parts of a score that its page and its text both show, lesions counted only where they are known."""
    missed, by_lesion = "", score.by_lesion
    texts = [str(score.point or ""), *(calibration_sentence(row) for _, row in score.calibration.iterrows())]
    if not by_lesion:
        texts = [re.sub(r"images, [\d,]+ lesions", "images", text) for text in texts]
    if score.has_point:
        row, never = score.at_point.loc["sensitivity"], score.missed[score.missed["lesion_missed"]]
        missed = f"{len(score.missed):,} of {row['n']:,} {score.view} images are missed"
        if by_lesion:
            missed += f"; {never['lesion_id'].nunique():,} of {row['lesions']:,} lesions are missed in every image"
    unit, head = ("lesion", "images (lesions)") if by_lesion else ("image", "images")
    caveat = groups_caveat(score.groups) if len(score.groups) else ""
    return dict(point=texts[0], missed=missed, calibration=texts[1:], caveat=caveat, unit=unit, counts_head=head)


def estimate_cells(row: pd.Series, by_lesion: bool) -> tuple[str, str]:
    """A judged number as two cells of a table: the value with its interval, and on how many images (lesions)."""
    counts = f"{row['n']:,}" + (f" ({row['lesions']:,})" if by_lesion else "")
    if np.isnan(row["value"]):
        return f"not estimable: {row['note']}", counts
    # ``judge`` counts the positives, but the specificity of a view rests on the others
    by_others = row.get("kind") == "view" and row["metric"] == f"{row['about']} specificity"
    few = row["n"] < FEW if by_others else row.get("few", False)
    value, low, high = row[["value", "low", "high"]]
    interval = row["note"] if np.isnan(low) else span(low, high)
    return f"{number(value, low, high)} ({interval}){'; few' if few else ''}{'; leaky' if row['leaky'] else ''}", counts
