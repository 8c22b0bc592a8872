"""A prediction table from a user, checked cell by cell; its schema is in ``docs/prediction_table.md``."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils import tables
from lesion_utils.checks.columns import named_as, recognised, spelt_alike, with_truth
from lesion_utils.checks.findings import say
from lesion_utils.datasets.usual_names import whole_numbers
from lesion_utils.errors import InputError, first_ten
from lesion_utils.predictions import NO, YES, classes_of

DESCRIBING = ("age", "sex", "localization", "source", "skin_tone")  # the subgroup table groups by these
METADATA = f"image_id, and if known lesion_id, {', '.join(DESCRIBING)}"
EXPECTED = f"image_id, label, p_<class> for each class (or predicted), and if known lesion_id, {', '.join(DESCRIBING)}"


class Predictions(NamedTuple):
    """A prediction table that keeps the contract, whoever made it."""

    frame: pd.DataFrame  # image_id, lesion_id, label, p_<class>… or predicted, and what describes the cases
    reading: list[str]  # how the table was read
    own_lesions: str  # the note that each image counts as its own lesion; "" where some lesion has several images

    @property
    def by_lesion(self) -> bool:
        return not self.own_lesions

    @property
    def notes(self) -> list[str]:
        return [*self.reading, *filter(None, [self.own_lesions])]


def read_metadata(path: Path) -> pd.DataFrame:
    """The table of cases in ``path``: ``image_id``, and ``lesion_id`` and ``DESCRIBING`` if it has them, all strings.

    HAM10000's column ``dataset`` is the source. Raises InputError as ``read_predictions`` does.
    """
    return _described(_checked(path, tables.read_table(path, METADATA), METADATA, ["image_id"]), [])


def read_predictions(
    path: Path,
    cases: pd.DataFrame | None = None,
    names: Mapping[str, str] | None = None,
    truth: pd.DataFrame | None = None,
) -> Predictions:
    """The prediction table in ``path``; lesions that it does not name are looked up in ``cases`` (``read_metadata``).

    ``names`` says what it calls ``image_id, label, predicted`` where that is not usual (``columns``); ``truth`` has the
    labels of a table that has none (``read_truth``). Raises InputError, naming the rows, for a file that is not a
    table, a missing column, an empty, duplicate or unknown id or label, probabilities that are not numbers from 0 to 1
    or do not sum to 1, images of one class only, and lesions that ``cases`` contradicts.
    """
    notes: list[str] = []
    given = tables.read_table(path, EXPECTED)
    table = recognised(path, given, names or {}, notes)
    if truth is not None and "image_id" in table:
        table = recognised(path, with_truth(path, table.drop(columns="label", errors="ignore"), truth), {}, notes)
    elif "label" not in table and "image_id" in table:
        problem = f"{path} has no true classes: it looks like a submission. It has {first_ten(given.columns)}"
        raise InputError(f"{problem}. Fix: --truth FILE with image_id and label, or --label COLUMN.")
    fix = "Fix: name the columns with --image-id and --label."
    frame = _checked(path, table, EXPECTED, ["image_id", "label"], f" {fix}")
    tables.require_filled(path, frame["label"], "Expected a class.")
    if "leaky" in frame:
        tables.require_one_of(path, frame["leaky"].str.lower(), [*YES, *NO], "value in column leaky")
    frame = spelt_alike(frame, notes)
    columns = [name for name in frame if name.startswith("p_")] or ["predicted"]
    if columns != ["predicted"]:
        classes = classes_of(frame)
        frame = tables.parse_probabilities(path, frame, classes)
        most = np.asarray(classes, object)[frame[columns].to_numpy().argmax(1)]
        if "predicted" in frame and (differs := int((frame["predicted"] != most).sum())):
            notes.append(say("other predicted", n=differs))
    elif "predicted" in frame:
        tables.require_filled(path, frame["predicted"].rename("predicted class"), "Expected a class.")
        notes.append(say("no probabilities"))
    else:
        missing = f"{path}: neither probabilities (columns p_<class>) nor a column predicted"
        raise InputError(f"{missing}; the table has {first_ten(frame.columns)}. Expected {EXPECTED}.")
    if frame["label"].nunique() < 2:
        raise InputError(f"{path}: every label is {frame['label'].iloc[0]!r}. Expected images of two or more classes.")
    frame, unknown = _with_lesions(path, _described(frame, ["label", *columns, "leaky"]), cases)
    return Predictions(frame, notes, say("own lesions", why=unknown) if unknown else "")


def _checked(path: Path, table: pd.DataFrame, expected: str, needed: list[str], fix: str = "") -> pd.DataFrame:
    tables.require_columns(path, table, needed, f"Expected {expected}.{fix}")
    tables.require_filled(path, table["image_id"])
    tables.require_unique(path, table["image_id"])
    return table


def _described(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    if "source" not in table:
        table = table.rename(columns={"dataset": "source"})
    return table[[name for name in ("image_id", "lesion_id", *columns, *DESCRIBING) if name in table]]


def _with_lesions(path: Path, frame: pd.DataFrame, cases: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """``frame`` with its lesions, and why they count as unknown, or ""."""
    looked_up = pd.Series("", frame.index)
    if cases is not None and "lesion_id" in cases:
        lesion_of = named_as(cases, frame["image_id"]).set_index("image_id")["lesion_id"]
        looked_up = frame["image_id"].map(lesion_of).fillna("")
    if "lesion_id" not in frame:
        if (looked_up == "").all():
            return frame.assign(lesion_id=frame["image_id"]), "no lesion_id"
        frame = frame.assign(lesion_id=looked_up)
    frame, looked_up = frame.assign(lesion_id=whole_numbers(frame["lesion_id"])), whole_numbers(looked_up)
    lesions, fix = frame["lesion_id"], "Fix: use the same lesions in both."
    differs = (looked_up != "") & (looked_up != lesions)
    tables.refuse_rows(path, differs, "another lesion_id than in the metadata", lesions + " and " + looked_up, fix)
    tables.require_filled(path, lesions, "Fix: give every image its lesion, or leave the column out.")
    return frame, say("each its own") if lesions.is_unique else ""
