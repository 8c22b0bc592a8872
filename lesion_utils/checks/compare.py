"""Two classifiers on the same images: what differs between them, paired, with intervals over lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.checks.findings import say
from lesion_utils.checks.predictions import Predictions
from lesion_utils.checks.read_split import without_ending
from lesion_utils.checks.score import refuse_too_large
from lesion_utils.evaluation.bootstrap import estimate_row
from lesion_utils.evaluation.judge import FEW, compare, judge
from lesion_utils.evaluation.metrics import weighted_mean
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import cell, holm, verdict
from lesion_utils.evaluation.subgroups import groups_of
from lesion_utils.paths import records
from lesion_utils.study import Judging
from lesion_utils.views import asked_views

COMPARED = ("accuracy", "balanced accuracy", "Matthews correlation", "macro AUC", "macro average precision")
COMPARED_LOSSES = ("Brier score", "log loss")
COMPARED_OF_VIEW = (
    "sensitivity",
    "specificity",
    "AUC",
    "average precision",
    "sensitivity at specificity {specificity:g}",
)


@dataclass(frozen=True)
class Comparison:
    """What ``compare_predictions`` finds; a difference is that of the second table less that of the first."""

    names: tuple[str, str]
    first: PredictionTable
    by_lesion: bool  # lesions, or what ``by`` names, are known
    unit: str  # what is drawn
    numbers: pd.DataFrame  # of ``judge.compare``, with ``first``, ``second``, ``verdict``
    groups: pd.DataFrame  # variable, group, metric, value, low, high, n, lesions, few, note, verdict
    agreement: dict[str, int]  # images: both right, only the first, only the second, neither
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON takes it."""
        return {
            **{"first": self.names[0], "second": self.names[1], "images": len(self.first)},
            **{"lesions": self.first.lesions if self.by_lesion else None, "resampled by": self.unit},
            **{"numbers": records(self.numbers.drop(columns="single")), "subgroups": records(self.groups)},
            **{"agreement": self.agreement, "notes": self.notes},
        }


def compare_predictions(
    first: Predictions,
    second: Predictions,
    names: tuple[str, str] = ("A", "B"),
    cases: pd.DataFrame | None = None,
    melanoma: str | None = None,
    malignant: Sequence[str] | None = None,
    options: Judging | None = None,
    resamples: int = 2000,
    unit: str = "lesion",
) -> Comparison:
    """Paired differences of all metrics, and of accuracy, sensitivity and specificity in each subgroup.

    Both tables must judge the same images, with the same labels and lesions (InputError). Lesions are drawn with
    replacement, for both tables at once. p-values of the metrics are Holm-adjusted together, so a verdict "higher" or
    "lower" holds among all of them. Subgroups (``evaluation.subgroups``) have intervals, and no verdict. ``unit`` is
    what the column ``lesion_id`` holds.
    """
    refuse_too_large(first.frame, resamples)
    table = PredictionTable(first.frame, resamples, name=names[0])
    other = PredictionTable(_as_in(first.frame, second.frame), resamples, name=names[1])
    views = asked_views(table.classes, melanoma, malignant)
    options = (options or Judging()).model_copy(
        update={"views": {view: tuple(members) for view, members in views.items()}}
    )
    of_view = [name.format(specificity=options.specificity) for name in COMPARED_OF_VIEW]
    metrics = [*COMPARED, *COMPARED_LOSSES, *(f"{view} {name}" for view in views for name in of_view)]
    differences = compare(other, table, metrics, options)
    judged = {key: judge(of, options, wanted=metrics) for key, of in (("first", table), ("second", other))}
    differences = differences.assign(**{key: of["value"].reindex(differences.index) for key, of in judged.items()})
    family = holm(differences.assign(metric="all"))  # one family
    differences = differences.assign(p_holm=family["p_holm"], family=family["family"])
    differences["verdict"] = [verdict(row) for _, row in differences.iterrows()]
    both = table.with_runs_of(other)  # the cases of the other table in the order of the first
    answers = both.predicted_by_frame
    right, other_right = (predicted == table.truth for predicted in answers)
    agreement = {
        "both right": int((right & other_right).sum()),
        f"only {names[0]} right": int((right & ~other_right).sum()),
        f"only {names[1]} right": int((~right & other_right).sum()),
        "both wrong": int((~right & ~other_right).sum()),
    }
    notes = list(dict.fromkeys([*first.notes, *second.notes, *([] if views else [say("no view")])]))
    known = first.by_lesion and second.by_lesion
    groups = _by_group(both, views, cases)
    return Comparison(names, table, known, unit if known else "image", differences, groups, agreement, notes)


def _as_in(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """``second`` in the row order of ``first``, with its ids where they differ in case or ending only."""
    ids, others = without_ending(first["image_id"]), without_ending(second["image_id"])
    if set(ids) == set(others) and ids.is_unique and others.is_unique:
        named = others.map(dict(zip(ids, first["image_id"], strict=True)))
        known = second["lesion_id"] != second["image_id"]  # elsewhere each image is its own lesion
        second = second.assign(image_id=named, lesion_id=second["lesion_id"].where(known, named))
    order = pd.Index(first["image_id"]).get_indexer(second["image_id"]).argsort(kind="stable")
    return second.iloc[order].reset_index(drop=True)


def _by_group(both: PredictionTable, views: dict[str, list[str]], cases: pd.DataFrame | None) -> pd.DataFrame:
    """Differences between the two runs of ``both``, by the predicted class: of accuracy, and of each view's sensitivity
    and specificity, in each group.
    """
    everyone = np.ones(len(both), bool)
    questions = {"accuracy": (everyone, np.eye(both.k, dtype=int))}
    for view, members in views.items():
        inside = np.isin(both.classes, members)
        of_view, same_side = inside[both.truth], np.equal.outer(inside, inside)
        questions |= {f"{view} sensitivity": (of_view, same_side), f"{view} specificity": (~of_view, same_side)}
    rows = []
    for variable, group, of_group in groups_of(both.frame, cases):
        for metric, (among, is_right) in questions.items():
            chosen = of_group & among
            images, lesions = both.size(chosen)
            about = {"variable": variable, "group": group, "metric": metric}
            right, other_right = (is_right[both.truth, predicted] for predicted in both.predicted_by_frame)
            change = other_right.astype(np.float64) - right
            draws = weighted_mean(change[:, None], both.weights, chosen)[:, 0]
            value = change[chosen].mean() if images else np.nan
            rows.append(
                about | estimate_row(value, draws, {"this group": lesions}, images, lesions) | {"few": images < FEW}
            )
    return pd.DataFrame(rows)


def difference_cells(row: pd.Series) -> tuple[str, str]:
    """A difference as two cells of a table: with its sign and interval, and on how many images."""
    few = f"; under {FEW}" if row["few"] else ""
    return cell(row, edges=(0.0,), sign="+"), f"{row['n']:,}{few}"
