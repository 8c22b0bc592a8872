"""The case table: its columns, and what readers of layouts share. Each reader turns its files into this table.

``image_id`` (unique), ``isic_id`` (the published id), ``path, label, lesion_id`` (or the patient, where lesions are
not given), ``age`` (years, NaN if missing), ``sex, localization, dx_type, source`` (None if unknown),
``published_split`` (``train`` or ``test`` where the set is published in two splits, otherwise None). One row per image
file, in the order of the image ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.tables import parse_numbers, read_table, refuse_rows, require_columns, require_filled, require_unique

COLUMNS = [
    *("image_id", "isic_id", "path", "label", "lesion_id", "age", "sex", "localization", "dx_type", "source"),
    "published_split",
]
AS_PUBLISHED = "Fix: use the table as it was published."
FETCHED = ("ham10000", "isic9")  # the datasets of studies that `lesion fetch` loads
MISSING = ("", "unknown")  # cells that say nothing of an age, sex or site


def read_published(path: Path, columns: Sequence[str], ids: Sequence[str]) -> pd.DataFrame:
    """The table in ``path``, all text; it must have ``columns``, and ``ids`` are filled, the first of them unique."""
    table = read_table(path, ", ".join(columns))
    require_columns(path, table, columns, AS_PUBLISHED)
    for name in ids:
        require_filled(path, table[name], AS_PUBLISHED)
    require_unique(path, table[ids[0]], AS_PUBLISHED)
    return table


def one_hot_labels(path: Path, marks: Sequence[str]) -> pd.Series:
    """The label, in lower case, of each ``image`` (the index) of a table of the ISIC challenges with a column for each
    of ``marks``; InputError for a row that is not one-hot, and as ``read_published`` does.
    """
    table = read_published(path, ("image", *marks), ids=("image",))
    values = table[[*marks]].apply(pd.to_numeric, errors="coerce")
    one_hot = values.isin([0, 1]).all(axis=1) & (values.sum(axis=1) == 1)
    expected = f"Expected one 1 and {len(marks) - 1} times 0. {AS_PUBLISHED}"
    refuse_rows(path, ~one_hot, "not one-hot", table["image"], expected)
    return values.set_index(table["image"]).idxmax(axis=1).str.lower()


def ages(path: Path, column: pd.Series) -> pd.Series:
    """Years as numbers, NaN where unknown; raises InputError for anything else."""
    return parse_numbers(path, column, 0, 150, f"{column.name} in years", empty=MISSING)


def words_or_none(column: pd.Series) -> pd.Series:
    """The words of ``column``; None where it is empty or says ``unknown``."""
    return column.astype(object).where(~column.isin(MISSING), None)


def case_table(**columns: Any) -> pd.DataFrame:
    """The table of these columns in the order of the image ids; those of ``COLUMNS`` that it lacks have no values."""
    cases = pd.DataFrame(columns)
    missing = {name: float("nan") if name == "age" else None for name in COLUMNS if name not in cases}
    further = [name for name in cases if name not in COLUMNS]
    return cases.assign(**missing).sort_values("image_id", ignore_index=True)[[*COLUMNS, *further]]


def require_folder(folder: Path, expected: str, study: str) -> None:
    """Refuses a data folder that does not exist; ``expected`` is its content, ``study`` one that reads it."""
    if not folder.is_dir():
        fix = f"{fetch_or(study)}make study STUDY={study} DATA=<folder>."
        raise InputError(f"data folder {folder} does not exist. Expected {expected} in it. Fix: {fix}")


def fetch_or(dataset: str) -> str:
    """The command that loads a dataset, as the first of several fixes; nothing for one that cannot be loaded."""
    return f"lesion fetch {dataset}, or " if dataset in FETCHED else ""


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its name."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def jpegs(folder: Path, images: str, name: str) -> list[Path]:
    """All JPEGs in the folder ``images`` of ``folder``, in the order of their names; InputError if it is missing."""
    if not (folder / images).is_dir():
        raise InputError(f"{folder} has no folder {images}. Expected the images in it, as {name}.jpg.")
    return sorted(path for path in (folder / images).iterdir() if is_jpeg(path))


def image_paths(path: Path, ids: pd.Series, files: Sequence[Path], folder: Path, expected: str) -> pd.Series:
    """The file of each of ``ids``, which are those of the table in ``path``.

    ``folder`` holds the ``files``; ``expected`` says in the message where an image should be. Raises InputError for two
    files of one id, a row without an image, and an image without a row.
    """
    stems = pd.Series([file.stem for file in files], dtype=str)
    if len(duplicates := stems[stems.duplicated()]):
        where = "in more than one folder" if len({file.parent for file in files}) > 1 else "under two names"
        raise InputError(f"{folder}: images that appear {where}: {first_ten(duplicates)}. Fix: keep one file of each.")
    if len(missing := ids[~ids.isin(stems)]):
        problem = f"{path}: {len(missing)} row(s) without an image: {first_ten(missing)}."
        raise InputError(f"{problem} Expected {expected}. Fix: unpack all images there.")
    if len(extra := stems[~stems.isin(ids)]):
        problem = f"{folder}: {len(extra)} image(s) without a row in {path.name}: {first_ten(extra.sort_values())}."
        raise InputError(f"{problem} Fix: use the table that belongs to these images.")
    return ids.map(dict(zip(stems, map(str, files), strict=True)))
