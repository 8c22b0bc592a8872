"""A split as people have it: one table with parts or folds, or a file for each part; lesions perhaps elsewhere."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lesion_utils.checks.columns import of_originals, plain_ids, without_ending
from lesion_utils.datasets.usual_names import OF_CASES, PARTS, known_lesions, part_of, usual_column
from lesion_utils.errors import InputError, first_ten
from lesion_utils.splits import SPLITS
from lesion_utils.tables import (
    read_table,
    refuse_rows,
    require_columns,
    require_filled,
    require_one_of,
    require_unique,
)

NAMES = {"image_id": "image_id", "label": "dx", "split": "split", "lesion_id": "lesion_id"}
MOST_FOLDS = 20
_FOLD = re.compile(r"(?:fold|cv|split|part|group|f|k)?[ _-]*\d+(?:\.0+)?|[a-j]", re.I)


def files_of(paths: Sequence[Path]) -> dict[str, Path]:
    """The file of each part, by the words in its name; ``paths`` are files, or a folder of CSV files."""
    files = [file for path in paths for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
    found: dict[str, Path] = {}
    for file in files:
        words = re.split(r"[^a-z]+", file.stem.lower())
        parts = [part for part, usual in PARTS.items() if set(words) & set(usual)]
        if len(parts) != 1 or parts[0] in found:
            problem = (
                "a second file of this part" if parts and parts[0] in found else "its name names no part, or several"
            )
            expected = "Expected one file per part, such as train.csv, val.csv and test.csv"
            raise InputError(
                f"{file}: {problem}. {expected}. Fix: rename it, or give one table with a column of parts."
            )
        found[parts[0]] = file
    if missing := [part for part in ("train", "test") if part not in found]:
        have = first_ten(str(file) for file in files) or "no CSV file"
        raise InputError(f"no file of {' or '.join(missing)} in {have}. Expected at least train.csv and test.csv.")
    return found


def columns_of(table: pd.DataFrame, names: Mapping[str, str], where: object) -> dict[str, str]:
    """The column of each of ``NAMES``: as ``names`` says, else ours, else a usual one. A leak needs no label."""
    columns = {}
    for name, ours in NAMES.items():
        option = f"--{name.replace('_', '-')}"
        found = ours if ours in table else usual_column(where, table, name, OF_CASES[name], f"{option} NAME")
        if name == "lesion_id" and not found:
            found = usual_column(where, table, name, OF_CASES["patient_id"], f"{option} NAME")
        if given := names.get(name) or found or (ours if name in ("image_id", "split") else None):
            columns[name] = given
    return columns


def cases_of(
    table: pd.DataFrame, names: Mapping[str, str], where: object, part: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """``image_id, lesion_id, label, split`` of a table that can be used, and the names of its folds, if it has some.

    ``names`` are the columns and parts that the caller named; others have their usual names. ``lesion_id`` is None
    where the lesion is not known, ``label`` empty without such a column, ``split`` one of ``SPLITS``, or the fold. All
    rows belong to ``part``, if it is given. Raises InputError naming ``where`` and the rows.
    """
    columns = columns_of(table, names, where)
    if part:
        columns.pop("split")
    advice = "Fix: name the columns with --image-id, --label, --split and, if lesions are known, --lesion-id."
    require_columns(where, table, list(columns.values()), advice)
    table = table.reset_index(drop=True)
    cases = pd.DataFrame({name: table[column].fillna("").astype(str) for name, column in columns.items()})
    for name in columns.keys() - {"lesion_id"}:
        require_filled(where, cases[name].rename(columns[name]))
    ids = cases["image_id"]
    refuse_rows(where, table.duplicated(keep=False), "duplicate rows", ids, "Fix: keep one of them.")
    if "lesion_id" in cases:
        cases["lesion_id"] = known_lesions(cases["lesion_id"])
    folds: list[str] = []
    if part:
        cases["split"] = part
    else:
        cases["split"], folds = _parts(cases["split"].rename(columns["split"]), names, where)
    advice = "Fix: keep one row per image."
    refuse_rows(where, cases.duplicated(["image_id", "split"], keep=False), "duplicate image in one split", ids, advice)
    missing = {"lesion_id": None, "label": ""}
    return cases.assign(**{name: value for name, value in missing.items() if name not in cases}), folds


def _parts(column: pd.Series, names: Mapping[str, str], where: object) -> tuple[pd.Series, list[str]]:
    """The part of each row in the words of ``SPLITS``, or its fold; and the folds."""
    given = {names[split]: split for split in SPLITS if split in names}
    if len(given) < sum(split in names for split in SPLITS):
        options = ", ".join(f"--{split} {names[split]}" for split in SPLITS if split in names)
        raise InputError(f"{options}: expected different names.")
    usual = {value: part for value in column.unique() if (part := part_of(value)) not in given.values()}
    known = {value: given.get(value) or usual.get(value) for value in column.unique()}
    if not given and not any(known.values()) and 2 <= len(known) <= MOST_FOLDS and all(map(_FOLD.fullmatch, known)):
        folds = sorted(known, key=lambda name: (len(name), name))
        return column, folds
    spelt = [value for value, split in known.items() if split] or [*given, *PARTS]
    advice = "Fix: name the parts with --train, --validation, --test; remove all other rows."
    require_one_of(where, column, spelt, "split", advice)
    parts = column.map(known)
    if absent := [split for split in ("train", "test") if split not in set(parts)]:
        no_row = f"no row of {' or '.join(absent)} in column {column.name}, only of {first_ten(known)}"
        fix = "Expected training and test images. Fix: name these parts with --train and --test."
        raise InputError(f"{where}: {no_row}. {fix}")
    return parts, []


def with_lesions(cases: pd.DataFrame, metadata: Path) -> pd.DataFrame:
    """``cases`` with the lesions, and the labels if there are none, of a table of images such as HAM10000's."""
    table = read_table(metadata, "image_id, lesion_id")
    require_columns(metadata, table, ["image_id", "lesion_id"], "Expected the table of the dataset, with lesion ids.")
    require_unique(metadata, table["image_id"])
    of_image = table.set_index(without_ending(table["image_id"]))
    ids = of_originals(plain_ids(cases["image_id"], cases["split"]))
    if not ids.isin(of_image.index).any():
        shown = f"{first_ten(cases['image_id'].head(3))}; there {first_ten(table['image_id'].head(3))}"
        raise InputError(f"{metadata} has none of the image ids, here {shown}. Fix: the table of the same dataset.")
    cases = cases.assign(lesion_id=known_lesions(ids.map(of_image["lesion_id"]).fillna("")))
    if (cases["label"] == "").all() and "dx" in table:
        cases["label"] = ids.map(of_image["dx"]).fillna("")
    return cases
