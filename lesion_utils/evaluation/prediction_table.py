"""What the judge reads off prediction tables: the classes, and the answers of one or more models on the same cases.

A table holds probabilities (``p_<class>``), or else one column ``predicted`` with the class that was named. Where there
are probabilities the predicted class is the most probable one, the first of equals, whatever else the table says.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError, first_ten


class Answers(NamedTuple):
    """What one model said of n cases."""

    predicted: np.ndarray  # (n,) class indices
    probabilities: np.ndarray | None  # (n, k), where all models that are judged together gave them


def classes_of(table: pd.DataFrame) -> list[str]:
    """The classes: of the ``p_`` columns in their order, or else all that were true or predicted, by name."""
    return predictions.classes_of(table) or sorted({*table["label"], *table["predicted"]})


def truth_of(table: pd.DataFrame) -> np.ndarray:
    """The labels as class indices, (n,) int."""
    return pd.Index(classes_of(table)).get_indexer(table["label"])


def predicted_of(table: pd.DataFrame) -> np.ndarray:
    """The predicted classes as indices, (n,) int."""
    if predictions.classes_of(table):
        return predictions.probabilities(table).argmax(1)
    return pd.Index(classes_of(table)).get_indexer(table["predicted"])


def answers_of(tables: Sequence[pd.DataFrame]) -> tuple[list[str], np.ndarray, list[Answers]]:
    """The classes, the truth (n,) as class indices, and the answers of each of ``tables``, in the rows of the first.

    Probabilities are read only where all tables hold them. Raises InputError for a table that breaks the contract, or
    where the tables differ in their cases, labels, lesions or classes.
    """
    first, *others = [check(table, "the prediction table") for table in tables]
    tables = [first, *(_aligned(first, other) for other in others)]
    if all(predictions.classes_of(table) for table in tables):
        classes = predictions.classes_of(first)
        scores = [table[[f"p_{name}" for name in classes]].to_numpy(np.float64) for table in tables]
        answers = [Answers(values.argmax(1), values) for values in scores]
    else:
        classes = sorted({name for table in tables for name in classes_of(table)})
        named = [np.asarray(classes_of(table), object)[predicted_of(table)] for table in tables]
        answers = [Answers(pd.Index(classes).get_indexer(names), None) for names in named]
    return classes, pd.Index(classes).get_indexer(first["label"]), answers


def check(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Returns ``table`` if it can be judged; raises InputError naming ``where`` and the rows."""
    if "predicted" in table and not predictions.classes_of(table):
        _check_predicted(table, where)
    else:
        predictions.validate(table, where)
    if (blank := _blank(table["lesion_id"])).any():  # one "lesion" of all of them would be wrong in silence
        raise InputError(
            f"{where}: no lesion_id for {first_ten(table.loc[blank, 'image_id'])}. "
            "Where lesions are not known, give each image its own: the image_id."
        )
    return table


def _check_predicted(table: pd.DataFrame, where: str) -> None:
    needed = ["image_id", "lesion_id", "label", "predicted"]
    if missing := [name for name in needed if name not in table]:
        raise InputError(f"{where}: missing column(s) {', '.join(missing)}. Expected {', '.join(needed)}.")
    if table.empty:
        raise InputError(f"{where}: holds no row.")
    for column in ("label", "predicted"):
        if (blank := _blank(table[column])).any():
            raise InputError(f"{where}: no {column} for {first_ten(table.loc[blank, 'image_id'])}.")
    if (twice := table["image_id"].duplicated()).any():
        raise InputError(f"{where}: image_id stands more than once: {first_ten(table.loc[twice, 'image_id'])}.")
    if len(classes := classes_of(table)) < 2:
        raise InputError(f"{where}: all labels and predictions are {classes[0]!r}; expected two or more classes.")


def _aligned(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """``other`` in the order of the rows of ``table``; InputError where they are not the same cases."""
    classes, theirs = predictions.classes_of(table), predictions.classes_of(other)
    if classes and theirs and set(classes) != set(theirs):
        raise InputError(f"The two tables have other classes: {', '.join(classes)} and {', '.join(theirs)}.")
    ours, other = table.set_index("image_id"), other.set_index("image_id")
    if len(odd := ours.index.symmetric_difference(other.index)):
        raise InputError(f"The two tables are not of the same cases; in one of them only: {first_ten(odd)}.")
    other = other.loc[ours.index]
    for column in ("label", "lesion_id"):
        if (odd := ours[column] != other[column]).any():
            raise InputError(f"The two tables differ in {column} for {first_ten(ours.index[odd])}.")
    return other.reset_index()


def _blank(column: pd.Series) -> pd.Series:
    return column.isna() | (column.astype(str).str.strip() == "")
