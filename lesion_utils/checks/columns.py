"""What users call the columns and the ids of a table of images, and tables of true classes in a second file."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lesion_utils.checks.findings import say
from lesion_utils.datasets.usual_names import USUAL, usual_column
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import PICTURES
from lesion_utils.tables import parse_numbers, read_table, require_columns, require_unique

OF_PREDICTIONS = USUAL | {
    "label": (*USUAL["label"], "y_true", "true", "true_label", "truth", "ground_truth", "actual"),
    "predicted": ("predicted", "y_pred", "pred", "prediction", "predicted_label", "predicted_class"),
}
# what programs that copy pictures, such as Augmentor, add to a name
_COPY = re.compile(
    r"(?:[_.-](?:downsampled|resized|crop(?:ped)?|aug(?:mented)?|copy|flip(?:ped)?|[hv]flip|mirror(?:ed)?|rot(?:ated?)?|"
    r"blur(?:red)?|noise|bright(?:ness)?|contrast|zoom(?:ed)?|shear(?:ed)?|elastic|hair)[_-]?\d*)+$"
)
_AUGMENTOR = re.compile(r"^.*_original_(.+?)(?:\.\w+)?_[0-9a-f]{8}-[0-9a-f-]{27}$")
OPTIONS = {"lesion_id": "by"}  # of the command, where it has another name than the column
_PROBABILITY = re.compile(r"(?:p|prob|probs|proba|probability|score)[_ -](?P<name>.+)", re.IGNORECASE)


def recognised(path: Path, table: pd.DataFrame, given: Mapping[str, str], notes: list[str]) -> pd.DataFrame:
    """``table`` with the columns ``image_id, label, predicted, p_<class>`` where it has them under other names.

    ``given`` names columns, whose place they take; other ones are known by ``OF_PREDICTIONS``, probabilities by
    ``prob_<class>`` or by the name of a class that is a label. Raises InputError for a name that the table lacks, and
    where several columns would do.
    """
    renamed: dict[str, str] = {}
    for name, usual in OF_PREDICTIONS.items():
        option = f"--{OPTIONS.get(name, name).replace('_', '-')}"
        if name in given:
            require_columns(path, table, [given[name]], f"Fix: name a column with {option}.")
            renamed[given[name]] = name
        elif name not in table and (found := usual_column(path, table, name, usual, f"{option} NAME")):
            renamed[found] = name
    labels = next((column for column, name in renamed.items() if name == "label"), "label")
    classes = {str(label).casefold() for label in table.get(labels, ())}
    if not any(column.startswith("p_") for column in table):
        for column in table.columns.difference(list(renamed)):
            match = _PROBABILITY.fullmatch(column)
            if match or column.casefold() in classes:
                renamed[column] = f"p_{match['name'] if match else column}"
    if changed := {old: new for old, new in renamed.items() if old != new}:
        notes.append(say("columns read", columns=first_ten(f"{old} as {new}" for old, new in changed.items())))
    return table.drop(columns=[name for name in changed.values() if name in table]).rename(columns=changed)


def plain_ids(ids: pd.Series, parts: pd.Series) -> pd.Series:
    """``ids`` without case, ending and folder, as far as ids of one part stay different."""
    for change in (without_ending, _without_folder):
        shorter = change(ids)
        if shorter.groupby(parts).nunique().equals(ids.groupby(parts).nunique()):
            ids = shorter
    return ids


def of_originals(ids: pd.Series) -> pd.Series:
    """``plain_ids`` without what marks a copy, as ``_aug1``."""
    return ids.str.replace(_AUGMENTOR, r"\1", regex=True).str.replace(_COPY, "", regex=True)


def without_ending(ids: pd.Series) -> pd.Series:
    """``ids`` in lower case, without the ending of a picture."""
    endings = "|".join(ending.removeprefix(".") for ending in PICTURES)
    return ids.str.casefold().str.replace(rf"\.(?:{endings})$", "", regex=True)


def _without_folder(ids: pd.Series) -> pd.Series:
    return ids.str.replace(r"^.*[/\\]", "", regex=True)


def written_alike(ids: pd.Series, parts: pd.Series) -> bool:
    """Whether some part writes its ids like another one: HAM_0000001 and 17 can be no match."""
    shapes = ids.dropna().str.replace(r"\d+", "0", regex=True).groupby(parts).agg(set).tolist()
    return len(shapes) < 2 or any(one & other for one, other in itertools.combinations(shapes, 2))


def spelt_alike(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """``table`` with labels and predicted classes in one spelling, where they differ in case only."""
    columns = [name for name in ("label", "predicted") if name in table]
    classes = [name.removeprefix("p_") for name in table if name.startswith("p_")] or list(table["label"].unique())
    spelling = {name.casefold(): name for name in reversed(classes)}
    if len(spelling) < len({*classes}):
        return table  # classes that differ in case only
    changed = {column: table[column].map(lambda name: spelling.get(name.casefold(), name)) for column in columns}
    if differ := sorted({name for column in columns for name in table.loc[changed[column] != table[column], column]}):
        notes.append(say("spelling", names=first_ten(differ)))
    return table.assign(**changed)


def read_truth(path: Path) -> pd.DataFrame:
    """``image_id`` and ``label`` from a table of true classes: a column of labels, or a column of 0 and 1 per class, as
    the ISIC challenges publish them. Raises InputError for anything else.
    """
    expected = "image_id and label, or a column of 0 and 1 for each class"
    table = recognised(path, read_table(path, expected), {}, [])
    require_columns(path, table, ["image_id"], f"Expected {expected}.")
    require_unique(path, table["image_id"])
    if "label" in table:
        return table[["image_id", "label"]]
    of_classes = [name for name in table if name != "image_id" and set(pd.to_numeric(table[name], "coerce")) <= {0, 1}]
    ones = pd.DataFrame({name: parse_numbers(path, table[name], 0, 1) for name in of_classes})
    if len(of_classes) < 2 or not (ones.sum(axis=1) == 1).all():
        raise InputError(f"{path} does not tell one true class for each image. Expected {expected}.")
    return table[["image_id"]].assign(label=ones.idxmax(axis=1))


def with_truth(path: Path, table: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``table``, without a column ``label``, with the labels of the same images in ``truth``."""
    ids, known = table["image_id"], named_as(truth, table["image_id"]).set_index("image_id")["label"]
    if len(unknown := ids[~ids.isin(known.index)]):
        problem = f"{path}: {len(unknown):,} image(s) have no true class in --truth: {first_ten(unknown)}"
        raise InputError(f"{problem}. --truth has {first_ten(truth['image_id'][:2])}. Fix: use the same ids in both.")
    return table.assign(label=ids.map(known))


def named_as(table: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    """``table`` with its image ids as ``ids`` spells them, where only case and ending differ, or the folders that come
    before: ``../new/a.png`` and ``a`` are one image, ``new/a`` and ``old/a`` are two.
    """
    theirs, ours = table["image_id"].drop_duplicates(), ids.drop_duplicates()
    both = pd.concat([theirs, ours], ignore_index=True)
    plain = plain_ids(both, pd.Series([0] * len(theirs) + [1] * len(ours))).tolist()
    paths = "/" + without_ending(both).str.replace("\\", "/").str.replace(r"^(?:\.{0,2}/)+", "", regex=True)
    spelt = dict(zip(plain[len(theirs) :], zip(ours, paths[len(theirs) :], strict=True), strict=True))
    same = {
        old: spelt[key][0]
        for old, key, path in zip(theirs, plain, paths, strict=False)
        if key in spelt and (path.endswith(spelt[key][1]) or spelt[key][1].endswith(path))
    }
    return table.assign(image_id=table["image_id"].map(lambda name: same.get(name, name)))
