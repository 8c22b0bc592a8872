"""Tables from users: read as text, and checked with one set of column checks, which raise InputError.

Row ``i`` of a frame is row ``i + 2`` of its file, whose header is row 1; frames have the index 0, 1, 2, …
"""

import codecs
import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten

MOST_BYTES = 200_000_000  # about a million rows of a prediction table; more would not fit a bootstrap in memory
MOST_CELLS = 50_000_000  # of a Parquet file, whose size says little
SUM_WITHIN = 1e-3  # of 1: the sum of the probabilities of an image, or what rounding to 2 or 3 decimals explains
ROUNDING = 1e-6  # by which a float32 sum of probabilities may exceed 1


def read_table(path: Path, expected: str) -> pd.DataFrame:
    """Reads the table in ``path`` (commas, semicolons or tabs, UTF-8 or UTF-16, also as .gz; or Parquet): every cell a
    stripped string, "" if empty.

    ``expected`` names the columns in messages. Raises InputError for a file that is missing, unreadable, empty, over
    200 MB (it is not opened), not text, or not a table.
    """
    try:
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "does not exist"
        elif (size := path.stat().st_size) > MOST_BYTES:
            problem = f"has {size / 1e6:,.0f} MB; at most {MOST_BYTES / 1e6:,.0f} MB can be read (drop columns)"
        elif not (table := (_parquet_cells if path.suffix.lower() == ".parquet" else _text_cells)(path)).empty:
            return table.fillna("").apply(lambda column: column.str.strip())  # a row may end early
        else:
            problem = "has no rows"
    except UnicodeError as error:
        problem = f"is not a text file in UTF-8 or UTF-16 ({error})"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except (ValueError, csv.Error, pd.errors.ParserWarning) as error:  # pandas' own parser errors are ValueErrors
        problem = f"is not a table ({str(error).strip()})"
    raise InputError(
        f"{path} {problem}. Expected a CSV or Parquet file: a header and one row per image, with {expected}."
    )


def encoding_of(start: bytes) -> str:
    """UTF-16 if the first bytes of a file say so, as Excel's Unicode text does, else UTF-8."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _opened(path: Path) -> BinaryIO:
    """The bytes of ``path``; of a .gz file those that it holds, if they are not too many."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    try:
        with gzip.open(path) as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"damaged: {error}") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"it holds over {MOST_BYTES / 1e6:,.0f} MB")
    return io.BytesIO(content)


def _text_cells(path: Path) -> pd.DataFrame:
    with _opened(path) as raw:
        encoding = encoding_of(raw.read(2))
    with _opened(path) as raw, io.TextIOWrapper(raw, encoding, newline="") as file:
        if not (start := file.read(65536)).strip():
            return pd.DataFrame()
        file.seek(0)
        delimiter = max(",;\t", key=start.splitlines()[0].count)
        header = [name.strip() for name in next(csv.reader(file, delimiter=delimiter))]
        if duplicates := sorted({name for name in header if header.count(name) > 1}):
            raise InputError(f"{path}: duplicate column(s): {', '.join(duplicates)}. Fix: keep one of each.")
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            table = pd.read_csv(file, names=header, sep=delimiter, dtype=str, keep_default_na=False, index_col=False)
    for name, column in table.items():  # a quote that is not closed takes in the rows that follow
        if (broken := column.str.contains("\n", regex=False, na=False)).any():
            row = int(broken.idxmax()) + 2
            problem = f"{path}: the cell in row {row}, column {name} contains a line break: a quote may not be closed"
            raise InputError(f"{problem}. Fix: close the quote, or take the line break out.")
    return table


def _parquet_cells(path: Path) -> pd.DataFrame:
    from pyarrow import ArrowException, parquet  # slow

    try:
        about = parquet.read_metadata(path)
        if about.num_rows * about.num_columns > MOST_CELLS:
            raise ValueError(f"{about.num_rows:,} rows of {about.num_columns:,} columns; at most {MOST_CELLS:,} cells")
        table = pd.read_parquet(path)
        table = table.reset_index(drop=not any(table.index.names)).rename(columns=str)
        return table.astype(object).where(table.notna(), "").astype(str)
    except ArrowException as error:
        raise ValueError(f"damaged: {error}") from error


def blank(column: pd.Series) -> pd.Series:
    """Which cells of a column of text say nothing: empty ones, and nan, none, null, na and n/a in any case."""
    return column.str.strip().str.lower().isin(["", "nan", "none", "null", "na", "n/a"])


def refuse_rows(where: object, bad: pd.Series, problem: str, values: pd.Series, advice: str) -> None:
    """Raises InputError if any row is ``bad``, naming the first ten with their ``values``, the ``problem``, and the
    ``advice``: "Expected …" or "Fix: …".
    """
    if bad.any():
        rows = first_ten(f"row {row + 2} ({str(value)[:60]!r})" for row, value in values[bad].items())
        raise InputError(f"{where}: {problem} in {bad.sum():,} row(s): {rows}; the header is row 1. {advice}")


def require_columns(where: object, table: pd.DataFrame, needed: Sequence[str], advice: str) -> None:
    """Refuses a table that lacks one of the ``needed`` columns."""
    if missing := ", ".join(name for name in needed if name not in table):
        raise InputError(f"{where}: missing column(s) {missing}; the table has {first_ten(table.columns)}. {advice}")


def require_filled(where: object, column: pd.Series, advice: str = "Fix: fill the cell in.") -> None:
    """Refuses ``blank`` cells."""
    refuse_rows(where, blank(column), f"no {column.name}", column, advice)


def require_unique(where: object, ids: pd.Series, advice: str = "Fix: keep one row per image.") -> None:
    """Refuses ids that appear more than once."""
    refuse_rows(where, ids.duplicated(keep=False), f"duplicate {ids.name}", ids, advice)


def require_one_of(where: object, column: pd.Series, allowed: Iterable[str], what: str = "", advice: str = "") -> None:
    """Refuses values outside ``allowed``; ``what`` the column holds is by default its name."""
    allowed = list(allowed)
    advice = f"Expected one of {first_ten(allowed)}. {advice or 'Fix: correct the value.'}"
    refuse_rows(where, ~column.isin(allowed), f"unknown {what or column.name}", column, advice)


def parse_numbers(
    where: object, column: pd.Series, low: float, high: float, what: str = "", empty: Sequence[str] = ()
) -> pd.Series:
    """The column as float64, from ``low`` to ``high``; NaN for values in ``empty``. Refuses everything else."""
    texts = column[:0] if pd.api.types.is_numeric_dtype(column) else column[~column.isin(empty)]
    texts = texts.astype(str)  # slow for numbers
    if texts.str.contains(",").any() and texts.str.fullmatch(r"-?\d+(?:,\d+)?(?:e-?\d+)?", case=False).all():
        column = column.astype(str).str.replace(",", ".")  # decimal commas, as some spreadsheets write
    numbers = pd.to_numeric(column.where(~column.isin(empty)), errors="coerce").astype(np.float64)
    bad = ~numbers.between(low, high + ROUNDING) & ~column.isin(empty)
    advice = f"Expected a number from {low:g} to {high:g}, with a decimal point{', or an empty cell' if empty else ''}."
    refuse_rows(where, bad, f"no valid {what or column.name}", column, advice)
    return numbers


def parse_probabilities(where: object, table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """``table`` with its columns p_<class> as float64. Refuses fewer than two ``classes``, numbers outside 0 to 1,
    rows whose sum differs from 1 by ``SUM_WITHIN`` and by more than rounding explains, and labels without a column.
    """
    if len(classes) < 2 or "" in classes:
        only = f"{where}: probabilities of {first_ten(map(repr, classes)) or 'no class'} only"
        expected = "Expected a column p_<class> for each of two or more classes"
        raise InputError(f"{only}. {expected}. Fix: add the missing columns (of two: 1 - p).")
    columns = [f"p_{name}" for name in classes]
    parsed = {name: parse_numbers(where, table[name], 0, 1, f"probability in {name}") for name in columns}
    table = table.assign(**parsed)
    advice = f"Fix: spell it like the class, or add its column p_<class>; classes are {first_ten(classes)}."
    refuse_rows(where, ~table["label"].isin(classes), "label without a column p_<class>", table["label"], advice)
    sums = table[columns].sum(axis=1)
    values = table[columns].to_numpy()
    digits = next((d for d in (2, 3) if np.allclose(values, values.round(d), rtol=0, atol=1e-9)), None)
    within = max(SUM_WITHIN, len(classes) * 0.5 * 10.0**-digits + 1e-9 if digits else 0)
    problem = f"probabilities that do not sum to 1 (within {within:.3g})"
    advice = "Fix: if no class is missing, divide each row by its sum, or write more digits."
    refuse_rows(where, (sums - 1).abs() >= within, problem, sums.map("{:.4g}".format), advice)
    return table


_FORMULA = re.compile(r"[=+\-@\t\r](?!\d+(?:\.\d+)?$)")


def spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` as people get it: a spreadsheet runs a cell that begins like a formula, as a file's name may, so such
    a cell begins with an apostrophe. ``as_named`` takes it away.
    """

    def safe(cell: object) -> object:
        return f"'{cell}" if _FORMULA.match(str(cell)) else cell

    return table.assign(**{name: column.map(safe) for name, column in table.items() if column.dtype.kind == "O"})


def as_named(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell
