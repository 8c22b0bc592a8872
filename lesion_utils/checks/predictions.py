"""A prediction table that a person hands in, checked cell by cell; its schema is in ``docs/prediction_table.md``."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.predictions import classes_of
from lesion_utils.tables import (
    parse_probabilities,
    read_table,
    refuse_rows,
    require_columns,
    require_filled,
    require_unique,
)

DESCRIBING = ("age", "sex", "localization", "source", "skin_tone")  # the subgroup table groups by these
EXPECTED = f"image_id, label, p_<class> for each class (or predicted), and if known lesion_id, {', '.join(DESCRIBING)}"
METADATA = f"image_id, and if known lesion_id, {', '.join(DESCRIBING)}"


class Predictions(NamedTuple):
    """A prediction table that keeps the contract, whoever made it."""

    frame: pd.DataFrame  # image_id, lesion_id, label, p_<class>… or predicted, and what describes the cases
    by_lesion: bool  # some lesion has several images; otherwise lesions count as unknown, each image as its own
    notes: list[str]  # how the table was read


def read_metadata(path: Path) -> pd.DataFrame:
    """The table of cases in ``path``: ``image_id``, and ``lesion_id`` and ``DESCRIBING`` if it has them, all strings.

    HAM10000's column ``dataset`` is the source. Raises InputError as ``read_table`` does, and for missing or duplicate
    image ids.
    """
    cases = read_table(path, METADATA)
    require_columns(path, cases, ["image_id"], f"Expected {METADATA}.")
    _check_ids(path, cases)
    return _described(cases)


def read_predictions(path: Path, cases: pd.DataFrame | None = None) -> Predictions:
    """The prediction table in ``path``; lesions that it does not name are looked up in ``cases`` (``read_metadata``).

    Raises InputError, naming the rows, for a file that is not a table, a missing column, an empty, duplicate or unknown
    id or label, probabilities that are not numbers from 0 to 1 or do not sum to 1, images of one class only, and
    lesions that ``cases`` contradicts.
    """
    frame, notes = read_table(path, EXPECTED), []
    require_columns(path, frame, ["image_id", "label"], f"Expected {EXPECTED}. Fix: rename the columns.")
    _check_ids(path, frame)
    require_filled(path, frame["label"], "Expected a class.")
    columns = [name for name in frame if name.startswith("p_")]
    if columns:
        classes = classes_of(frame)
        frame = parse_probabilities(path, frame, classes)
        most = np.asarray(classes, object)[frame[columns].to_numpy().argmax(1)]
        if "predicted" in frame and (differs := int((frame["predicted"] != most).sum())):
            notes.append(
                f"column predicted differs from the most probable class, which is judged, in {differs:,} row(s)"
            )
    elif "predicted" in frame:
        columns = ["predicted"]
        require_filled(path, frame["predicted"].rename("predicted class"), "Expected a class.")
        notes.append("without probabilities there is no operating point, AUC or calibration")
    else:
        raise InputError(
            f"{path}: neither probabilities (columns p_<class>) nor a column predicted; the table has "
            f"{first_ten(frame.columns)}. Expected {EXPECTED}."
        )
    if frame["label"].nunique() < 2:
        raise InputError(f"{path}: every label is {frame['label'].iloc[0]!r}. Expected images of two or more classes.")
    frame = _described(frame, ["label", *columns, "leaky"])
    frame, why = _with_lesions(path, frame, cases)
    if why:
        notes.append(f"{why}: each image is treated as its own lesion, so intervals are too narrow if that is wrong")
    return Predictions(frame, not why, notes)


def _check_ids(path: Path, table: pd.DataFrame) -> None:
    require_filled(path, table["image_id"])
    require_unique(path, table["image_id"])


def _described(table: pd.DataFrame, columns: list[str] | None = None) -> pd.DataFrame:
    if "source" not in table:
        table = table.rename(columns={"dataset": "source"})
    return table[[name for name in ("image_id", "lesion_id", *(columns or []), *DESCRIBING) if name in table]]


def _with_lesions(path: Path, frame: pd.DataFrame, cases: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """``frame`` with its lesions, and why they count as unknown, or ""."""
    looked_up = pd.Series("", frame.index)
    if cases is not None and "lesion_id" in cases:
        looked_up = frame["image_id"].map(cases.set_index("image_id")["lesion_id"]).fillna("")
    if "lesion_id" not in frame and (looked_up == "").all():
        return frame.assign(lesion_id=frame["image_id"]), "no lesion_id"
    if "lesion_id" not in frame:
        frame = frame.assign(lesion_id=looked_up)
    differs = (looked_up != "") & (looked_up != frame["lesion_id"])
    both = frame["lesion_id"] + " and " + looked_up
    refuse_rows(path, differs, "another lesion_id than in the metadata", both, "Fix: use the same lesions in both.")
    require_filled(path, frame["lesion_id"], "Fix: give every image its lesion, or leave the column out.")
    if frame["lesion_id"].is_unique:
        return frame, "each image has its own lesion_id: one image per lesion, or lesions are not known"
    return frame, ""
