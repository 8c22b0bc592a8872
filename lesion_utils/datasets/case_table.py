"""What every layout with a table asks of it: columns, ids, known words, ages, and an image for each row."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lesion_utils.errors import InputError, first_ten


def need_columns(path: Path, table: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raises InputError if ``table``, read from ``path``, lacks one of the columns ``needed``."""
    if missing := [name for name in needed if name not in table]:
        raise InputError(
            f"{path}: missing column(s) {', '.join(missing)}; found {', '.join(table.columns)}. "
            f"Fix: use the table as it was published."
        )


def need_filled(path: Path, column: pd.Series) -> None:
    """Raises InputError if a cell of ``column`` is empty."""
    if (empty := column == "").any():
        raise InputError(
            f"{path}: empty {column.name} in row(s) {first_ten(column.index[empty] + 2)} (the header is row 1)."
        )


def need_unique(path: Path, ids: pd.Series) -> None:
    """Raises InputError, naming the column, if an id stands more than once."""
    if (twice := ids.duplicated(keep=False)).any():
        rows = [f"{name} (row {row + 2})" for row, name in ids[twice].items()]
        raise InputError(f"{path}: an {ids.name} must stand once; standing more often: {first_ten(rows)}.")


def need_one_of(path: Path, column: pd.Series, known: Iterable[str], what: str) -> None:
    """Raises InputError if ``column``, which holds ``what``, has a value that is not ``known``."""
    if (strange := ~column.isin(list(known))).any():
        raise InputError(f"{path}: unknown {what} {quoted_rows(column[strange])}. Expected one of {', '.join(known)}.")


def quoted_rows(values: pd.Series) -> str:
    """The first ten ``values``, in quotes and each with its row in the file, whose header is row 1."""
    return first_ten([f"{value!r} (row {row + 2})" for row, value in values.items()])


def ages(path: Path, column: pd.Series) -> pd.Series:
    """Years as numbers, NaN where unknown; raises InputError for anything that is no age."""
    age = pd.to_numeric(column.replace({"": None, "unknown": None}), errors="coerce")
    if (bad := ~age.between(0, 150) & ~column.isin(["", "unknown"])).any():
        raise InputError(
            f"{path}: {column.name} is not a number of years: {quoted_rows(column[bad])}. Expected a number or nothing."
        )
    return age.astype(float)


def known_words(column: pd.Series) -> pd.Series:
    """The words of ``column``; None where it is empty or says ``unknown``."""
    return column.astype(object).where(~column.isin(["", "unknown"]), None)


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its name."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def matched(path: Path, ids: pd.Series, files: Sequence[Path], folder: Path, expected: str) -> dict[str, str]:
    """Image id to file: every row of the table in ``path`` must have its image and every image its row.

    ``folder`` holds the ``files``; ``expected`` says in the message where an image should lie. Raises InputError for
    two files that differ in their folder or the end of their name alone, a row without an image, and an image without
    a row.
    """
    by_id = {file.stem: str(file) for file in files}
    if len(by_id) < len(files):
        stems = pd.Series([file.stem for file in files])
        where = "in more than one folder" if len({file.parent for file in files}) > 1 else "under two names"
        raise InputError(f"{folder}: images that stand {where}: {first_ten(stems[stems.duplicated()])}.")
    if missing := [name for name in ids if name not in by_id]:
        raise InputError(
            f"{path}: {len(missing)} row(s) without an image: {first_ten(missing)}. Expected {expected}. "
            f"Fix: unpack all images there."
        )
    if extra := sorted(set(by_id) - set(ids)):
        raise InputError(
            f"{folder}: {len(extra)} image(s) without a row in {path.name}: {first_ten(extra)}. "
            f"Fix: use the table that belongs to these images."
        )
    return by_id
