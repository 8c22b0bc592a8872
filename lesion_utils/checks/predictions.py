"""Somebody's prediction table, checked cell by cell; the schema is described in ``docs/prediction_table.md``."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.predictions import SUM_WITHIN, classes_of
from lesion_utils.tables import blank, read_table

EXPECTED = (
    "image_id, label, and p_<class> for each class (or predicted); lesion_id, age, sex, localization and source as far "
    "as they are known"
)
DESCRIBING = ("age", "sex", "localization", "source", "skin_tone")  # what the subgroup table groups by


class Predictions(NamedTuple):
    """A prediction table that keeps the contract, whoever made it."""

    table: pd.DataFrame  # image_id, lesion_id, label, p_<class>… or predicted, and what describes the cases
    by_lesion: bool  # some lesion has several images; otherwise lesions are taken as not known, each image as its own
    notes: list[str]  # how the table was read


def read_metadata(path: Path) -> pd.DataFrame:
    """The table of cases in ``path``: ``image_id``, and ``lesion_id, age, sex, localization, source, skin_tone`` as far
    as they are there, strings; HAM10000's column ``dataset`` is the source. Raises InputError as ``read_table`` does,
    and for a table without image ids or with one that stands twice.
    """
    expected = f"image_id, and lesion_id, {', '.join(DESCRIBING)} as far as they are known"
    cases = _read(path, expected)
    if "image_id" not in cases:
        raise InputError(f"{path}: no column image_id; found {first_ten(cases.columns)}. Expected {expected}.")
    _check_ids(cases, path)
    return _described(cases)


def read_predictions(path: Path, cases: pd.DataFrame | None = None) -> Predictions:
    """The prediction table in ``path``; lesions that it does not name are looked up in ``cases`` (``read_metadata``).

    Raises InputError, naming the rows (the header is row 1), for a file that is no table, a missing column, an
    empty, repeated or unknown id or label, probabilities that are no numbers from 0 to 1 or do not sum to 1, images of
    one class only, and lesions that ``cases`` contradicts.
    """
    table, notes = _read(path, EXPECTED), []
    if missing := [name for name in ("image_id", "label") if name not in table]:
        raise InputError(
            f"{path}: missing column(s) {', '.join(missing)}; found {first_ten(table.columns)}. Expected {EXPECTED}. "
            "Fix: rename the columns."
        )
    _check_ids(table, path)
    _refuse(path, blank(table["label"]), "no label", table["image_id"], "Expected a class")
    classes = classes_of(table)
    if classes:
        table = _with_probabilities(table, classes, path)
        notes += _disagreement(table, classes)
    elif "predicted" in table:
        _refuse(path, blank(table["predicted"]), "no predicted class", table["image_id"], "Expected a class")
        notes.append("without probabilities: no operating point, AUC or calibration can be judged")
    else:
        raise InputError(
            f"{path}: neither probabilities (columns p_<class>) nor a column predicted; found "
            f"{first_ten(table.columns)}. Expected {EXPECTED}."
        )
    if table["label"].nunique() < 2:
        raise InputError(
            f"{path}: one class only, every image is labelled {table['label'].iloc[0]!r}. Expected images of two or "
            "more classes."
        )
    table, why = _with_lesions(_described(table, keep=[*_answers(table)]), cases, path)
    if why:
        notes.append(
            f"{why}: each image counts as its own lesion, and intervals are too narrow if a lesion has several"
        )
    return Predictions(table, not why, notes)


def _read(path: Path, expected: str) -> pd.DataFrame:
    return read_table(path, expected).apply(lambda column: column.str.strip())


def _answers(table: pd.DataFrame) -> list[str]:
    probable = [name for name in table.columns if name.startswith("p_")]
    return ["label", *(probable or ["predicted"]), *(["leaky"] if "leaky" in table else [])]


def _described(table: pd.DataFrame, keep: list[str] | None = None) -> pd.DataFrame:
    if "source" not in table and "dataset" in table:
        table = table.rename(columns={"dataset": "source"})
    wanted = ["image_id", "lesion_id", *(keep or []), *DESCRIBING]
    return table[[name for name in wanted if name in table]]


def _refuse(path: Path, bad: pd.Series, what: str, values: pd.Series, expected: str) -> None:
    """Raises InputError naming the rows of ``bad``, if there are any."""
    if bad.any():
        rows = first_ten(f"row {row + 2} ({value})" for row, value in values[bad].items())
        raise InputError(f"{path}: {what} in {bad.sum():,} row(s): {rows}. {expected}.")


def _check_ids(table: pd.DataFrame, path: Path) -> None:
    ids = table["image_id"]
    _refuse(path, ids == "", "no image_id", ids, "Expected a name for each image")
    copies = table.duplicated(keep=False)
    cure = "Fix: leave the copies out" if copies.any() else "Expected one row an image"
    _refuse(path, ids.duplicated(keep=False), "an image_id that stands more than once", ids, cure)


def _with_probabilities(table: pd.DataFrame, classes: list[str], path: Path) -> pd.DataFrame:
    if len(classes) < 2 or "" in classes:
        raise InputError(
            f"{path}: probabilities of {first_ten(repr(name) for name in classes)} only. Expected a column p_<class> "
            "for each of two or more classes; where there is one probability, write that of the rest beside it."
        )
    columns = [f"p_{name}" for name in classes]
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = ~(numbers.between(0, 1))
        cure = "Expected a number from 0 to 1 with a decimal point"
        _refuse(path, bad, f"no probability in {column}", table[column].map(repr), cure)
        table = table.assign(**{column: numbers.astype(np.float64)})
    strange = ~table["label"].isin(classes)
    _refuse(
        path,
        strange,
        "a label without a column p_<class>",
        table["label"].map(repr),
        f"Expected one of {first_ten(classes)}, spelt like that, or a column more",
    )
    sums = table[columns].sum(axis=1)
    _refuse(
        path,
        (sums - 1).abs() >= SUM_WITHIN,
        f"probabilities that do not sum to 1 (within {SUM_WITHIN:g})",
        sums.map("{:.4g}".format),
        f"Expected the softmax over {first_ten(classes)}. If no class is missing: divide each row by its sum, "
        "or write more digits",
    )
    return table


def _disagreement(table: pd.DataFrame, classes: list[str]) -> list[str]:
    if "predicted" not in table:
        return []
    most = np.asarray(classes, object)[table[[f"p_{name}" for name in classes]].to_numpy().argmax(1)]
    if not (other := int((table["predicted"] != most).sum())):
        return []
    return [f"the column predicted differs from the most probable class in {other:,} row(s); the latter is judged"]


def _with_lesions(table: pd.DataFrame, cases: pd.DataFrame | None, path: Path) -> tuple[pd.DataFrame, str]:
    """``table`` with its lesions, and why they are taken as not known, or ""."""
    known = None
    if cases is not None and "lesion_id" in cases:
        found = table["image_id"].map(cases.set_index("image_id")["lesion_id"]).fillna("")
        known = found if (found != "").any() else None
    if "lesion_id" not in table:
        if known is None:
            return table.assign(lesion_id=table["image_id"]), "no lesion_id"
        table = table.assign(lesion_id=known)
    elif known is not None:
        differ = (known != "") & (known != table["lesion_id"])
        told = table["lesion_id"] + " and " + known
        _refuse(path, differ, "another lesion_id than in the metadata", told, "Expected the same lesions in both")
    cure = "Fix: give every image its lesion, or leave the column out"
    _refuse(path, table["lesion_id"] == "", "no lesion_id", table["image_id"], cure)
    if table["lesion_id"].is_unique:
        return table, "each image has a lesion_id of its own, so each lesion has one image or lesions are not known"
    return table, ""
