"""Two classifiers on the same images: what differs between them, paired, with intervals over lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.checks.columns import named_as, plain_ids
from lesion_utils.checks.findings import say
from lesion_utils.checks.predictions import Predictions
from lesion_utils.checks.score import refuse_too_large
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation.bootstrap import LEVEL, estimate_row
from lesion_utils.evaluation.judge import FEW, compare, judge
from lesion_utils.evaluation.metrics import weighted_mean
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import cell, holm, verdict
from lesion_utils.evaluation.subgroups import groups_of
from lesion_utils.paths import records
from lesion_utils.predictions import classes_of
from lesion_utils.rounding import number
from lesion_utils.study import Judging
from lesion_utils.views import asked_views, same_classes

DRAWS = 2000  # that suffice

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
    resamples: int = DRAWS,
    unit: str = "lesion",
    common: bool = False,
) -> Comparison:
    """Paired differences of all metrics, and of accuracy, sensitivity and specificity in each subgroup.

    Both tables must judge the same images, with the same labels and lesions (InputError); with ``common`` those of both
    are compared. Where only one table knows the lesions, they are taken from it. Lesions are drawn with
    replacement, for both tables at once. p-values of the metrics are Holm-adjusted together, so a verdict "higher" or
    "lower" holds among all of them. Subgroups (``evaluation.subgroups``) have intervals, and no verdict. ``unit`` is
    what the column ``lesion_id`` holds.
    """
    refuse_too_large(first.frame, resamples)
    notes = list(dict.fromkeys([*first.reading, *second.reading]))
    frames = _matched((first, second), names, common, notes)
    cases = None if cases is None else named_as(cases, frames[0]["image_id"])
    table, other = (PredictionTable(of, resamples, name=name) for of, name in zip(frames, names, strict=True))
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
    notes += [] if views else [say("no view")]
    smallest = family["family"].max() * 2 / (1 + resamples)  # see judge.compare
    if smallest >= 1 - LEVEL:
        notes.append(say("few draws", n=resamples, p=number(smallest), needed=DRAWS))
    known = first.by_lesion or second.by_lesion
    groups = _by_group(both, views, cases)
    return Comparison(names, table, known, unit if known else "image", differences, groups, agreement, notes)


def _matched(
    tables: tuple[Predictions, Predictions], names: tuple[str, str], common: bool, notes: list[str]
) -> list[pd.DataFrame]:
    """The rows of both tables in the same order, under the ids, classes and lesions of the first, where those of the
    second are other names of the same; with ``common`` only those of images in both.
    """
    sizes = [len(table.frame) for table in tables]
    ids = pd.concat([table.frame["image_id"] for table in tables], ignore_index=True)
    ids = plain_ids(ids, pd.Series(np.repeat([0, 1], sizes)))
    parts = np.split(ids.to_numpy(), sizes[:1])
    one, other = (table.frame.set_index(pd.Index(of)) for table, of in zip(tables, parts, strict=True))
    both = one.index.intersection(other.index)
    alone = {name: of.loc[of.index.difference(both), "image_id"] for name, of in zip(names, (one, other), strict=True)}
    if apart := [f"{len(of):,} only in {name} ({first_ten(of.head(2))})" for name, of in alone.items() if len(of)]:
        if not common or both.empty:
            fix = f"Fix: --common compares the {len(both):,} images of both." if len(both) else "No image is in both."
            raise InputError(f"images differ: {'; '.join(apart)}. Expected the same images. {fix}")
        notes.append(say("left out images", images=" and ".join(apart)))
    one, other = one.loc[both], other.loc[both].assign(image_id=one.loc[both, "image_id"])
    other = _in_classes_of(one, other, notes)
    known = [table.by_lesion for table in tables]
    if not any(known):
        notes += dict.fromkeys(table.own_lesions for table in tables)
    elif not all(known):
        notes.append(say("lesions of", name=names[known.index(True)]))
    source = other["lesion_id"] if known == [False, True] else one["lesion_id"] if any(known) else one["image_id"]
    one, other = (frame if all(known) else frame.assign(lesion_id=source) for frame in (one, other))
    return [one.reset_index(drop=True), other.reset_index(drop=True)]


def _in_classes_of(one: pd.DataFrame, other: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    classes, others = (classes_of(of) or sorted({*of["label"], *of["predicted"]}) for of in (one, other))
    renamed = same_classes(classes, others) or {}
    if changed := {name: of for name, of in renamed.items() if name != of}:
        notes.append(say("classes read", classes=first_ten(f"{name} as {of}" for name, of in changed.items())))
    other = other.rename(columns={f"p_{name}": f"p_{of}" for name, of in changed.items()})
    return other.assign(**{name: other[name].replace(changed) for name in ("label", "predicted") if name in other})


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
