"""Tables that a person hands in: read as text, with a message for whatever is wrong with the file."""

import csv
import warnings
from pathlib import Path

import pandas as pd

from lesion_utils.errors import InputError

MOST_BYTES = 200_000_000  # about a million rows of a prediction table; more would not fit a bootstrap in memory

_NOTHING = ("", "nan", "none", "null", "na", "n/a")  # in lower case


def read_table(path: Path, expected: str) -> pd.DataFrame:
    """The table in ``path`` (commas, semicolons or tabs, UTF-8), every cell a string, empty cells "".

    Row ``i`` of the frame is line ``i + 2`` of a file without line breaks in cells. ``expected`` says in the messages
    which columns the table should have. Raises InputError for a file that is missing, not to be read, empty, larger
    than 200 MB (it is not opened), no text, or no table.
    """
    try:
        table = _text_cells(path, expected)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a text file in UTF-8 ({error}). Expected a CSV file with {expected}."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Expected a CSV file with {expected}.") from error
    except (ValueError, csv.Error, pd.errors.ParserWarning) as error:  # pandas' own parser errors are ValueErrors
        raise InputError(
            f"{path} is not a table ({str(error).strip()}). Expected a CSV file with {expected}."
        ) from error
    if table.empty:
        raise InputError(f"{path} holds no row. Expected a header and one row an image with {expected}.")
    return table.fillna("")  # a row may end early


def blank(column: pd.Series) -> pd.Series:
    """Which cells of a column of text say nothing: empty ones, and nan, none, null, na and n/a in any case."""
    return column.str.lower().isin(_NOTHING)


def _text_cells(path: Path, expected: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            f"{path} is {'a folder' if path.is_dir() else 'not there'}. Expected a CSV file with {expected}."
        )
    if (size := path.stat().st_size) > MOST_BYTES:
        raise InputError(
            f"{path} has {size / 1e6:,.0f} MB; a table of up to {MOST_BYTES / 1e6:,.0f} MB can be read. "
            f"Fix: keep only the columns {expected}, or hand it in in parts."
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        start = file.read(65536)
        if not start.strip():
            raise InputError(f"{path} holds no row. Expected a header and one row an image with {expected}.")
        file.seek(0)
        delimiter = max(",;\t", key=start.splitlines()[0].count)
        header = [name.strip() for name in next(csv.reader(file, delimiter=delimiter))]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise InputError(f"{path}: column(s) that stand more than once: {', '.join(twice)}.")
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            return pd.read_csv(file, names=header, sep=delimiter, dtype=str, keep_default_na=False, index_col=False)
