"""A confusion matrix as people paste it: rows true, columns predicted."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten

EXPECTED = "one matrix of counts, rows true and columns predicted, as numpy prints it, as CSV, JSON or markdown"

_TOTALS = {"total", "totals", "all", "sum", "support"}
_LIST = re.compile(r"\[([^\[\]]*)\]")
_RULE = re.compile(r"[\s|:+=-]*")
_TITLE = re.compile(r"confusion|matrix|normali[sz]|predicted|actual", re.IGNORECASE)


class _Row(NamedTuple):
    line: int  # counted from 1
    name: str  # what stands before the first number
    numbers: list[float]


def read_matrix(text: str) -> pd.DataFrame:
    """The confusion matrix in ``text``, (k, k) float64, rows true and columns predicted, whatever its numbers are.

    Reads nested brackets (numpy's print, JSON, Python) with text around them, or lines of cells between tabs,
    semicolons, commas, bars or blanks, with or without a line of class names and names before the rows; rows and
    columns of totals are left out where they add up. Index and columns hold the class names, 0 to k - 1 where the text
    has none. Raises InputError if there is no matrix, more than one, a ragged one, one that is not square, or names of
    rows and columns that disagree.
    """
    if not text.strip():
        raise InputError(f"the text is empty. Expected {EXPECTED}.")
    blocks = _bracketed(text)
    if len(blocks) > 1:
        _refuse_two(*(1 + text.count("\n", 0, block[0].start()) for block in blocks[:2]))
    rows, header = (_in_brackets(text, blocks[0]), []) if blocks else _in_lines(text)
    _check_lengths(rows)
    names, columns = [row.name for row in rows], _columns(header, len(rows[0].numbers))
    values = np.array([row.numbers for row in rows])
    values, names, columns = _without_totals(values, names, columns)
    if values.shape[0] != values.shape[1]:
        raise InputError(
            f"the matrix is not square: {values.shape[0]} x {values.shape[1]} (rows x columns), from line "
            f"{rows[0].line} on. Expected {EXPECTED}. Fix: leave out totals and other columns, and paste every row."
        )
    return _named(values, names, columns)


def _refuse_two(first: int, second: int) -> None:
    raise InputError(
        f"more than one matrix in the text, at lines {first} and {second}. Fix: paste the one with counts alone."
    )


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bracketed(text: str) -> list[list[re.Match]]:
    """The lists of each list of lists in ``text``."""
    blocks: list[list[re.Match]] = []
    end, nested = 0, False
    for found in _LIST.finditer(text):
        between = text[end : found.start()].strip()
        if between.endswith("["):
            blocks.append([found])
            nested = True
        elif between in ("", ",") and nested:
            blocks[-1].append(found)
        else:
            nested = False
        end = found.end()
    return blocks


def _in_brackets(text: str, block: list[re.Match]) -> list[_Row]:
    rows = []
    for row in block:
        line = 1 + text.count("\n", 0, row.start())
        cells = [cell for cell in re.split(r"[,;\s]+", row[1]) if cell]
        if "..." in cells or "…" in cells:
            raise InputError(f"line {line} is shortened by '...'. Fix: print the whole matrix and paste it again.")
        if words := [cell for cell in cells if _number(cell) is None]:
            raise InputError(f"line {line}: {words[0]!r} is not a number. Expected counts.")
        rows.append(_Row(line, "", [float(cell) for cell in cells]))
    return rows


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if delimiter == "|":
        line = line.strip().strip("|")
    cells = [cell.strip(" \t\"'") for cell in line.split(delimiter)]
    return cells[:-1] if cells and not cells[-1] else cells


def _as_row(number: int, cells: list[str]) -> _Row | None:
    """``cells`` as a row of the matrix, or None if they are some other text; InputError if they are neither."""
    values = [_number(cell) for cell in cells]
    found = [place for place, value in enumerate(values) if value is not None]
    if len(found) < 2:
        return None
    after = values[found[0] :]
    if None in after:
        if 2 * len(found) < len(cells):
            return None
        wrong = cells[found[0] + after.index(None)]
        raise InputError(f"line {number}: {wrong!r} is not a number. Expected counts, written without % and commas.")
    return _Row(number, " ".join(cells[: found[0]]).strip(), [value for value in after if value is not None])


def _in_lines(text: str) -> tuple[list[_Row], list[list[str]]]:
    """The rows of the matrix and, nearest first, the cells of up to two lines before it."""
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if not _RULE.fullmatch(line)]
    if not lines:
        raise InputError(f"no number in the text. Expected {EXPECTED}.")

    def numbers(delimiter: str) -> int:
        return sum(_number(cell) is not None for _, line in lines for cell in _split(line, delimiter))

    delimiter = max("\t;|, ", key=numbers)
    runs: list[list[_Row]] = [[]]
    before: list[list[list[str]]] = [[]]  # of each run
    words: list[list[str]] = []
    for i, line in lines:
        cells = _split(line, delimiter)
        row = _as_row(i, cells)
        if row is None:
            words.append(cells)
        elif words or not runs[-1]:
            runs.append([row])
            before.append(words[:-3:-1])
            words = []
        else:
            runs[-1].append(row)
    longest = max(range(len(runs)), key=lambda run: len(runs[run]))
    if not runs[longest]:
        raise InputError(f"no row of numbers in the text. Expected {EXPECTED}.")
    if others := [run for i, run in enumerate(runs) if len(run) > 1 and i != longest]:
        _refuse_two(*sorted((runs[longest][0].line, others[0][0].line)))
    return _numbered(runs[longest], before[longest])


def _numbered(rows: list[_Row], before: list[list[str]]) -> tuple[list[_Row], list[list[str]]]:
    """Where the first of ``rows`` is a header of numbers and the others begin with theirs, as pandas prints them."""
    first, *others = rows
    width = len(first.numbers) + 1
    if first.name or not others or any(row.name or len(row.numbers) != width for row in others):
        return rows, before
    named = [_Row(row.line, f"{row.numbers[0]:g}", row.numbers[1:]) for row in others]
    return named, [[f"{number:g}" for number in first.numbers]]


def _check_lengths(rows: list[_Row]) -> None:
    for row in rows:
        if len(row.numbers) != len(rows[0].numbers):
            raise InputError(
                f"line {row.line} has {len(row.numbers)} numbers, line {rows[0].line} has {len(rows[0].numbers)}. "
                f"Expected {EXPECTED}."
            )


def _columns(header: list[list[str]], width: int) -> list[str]:
    """The class names in the lines before the matrix; empty strings if none of them fits ``width`` columns."""
    for cells in header:
        if len(cells) == width + 1:  # the first is the corner
            cells = cells[1:]
        if len(cells) == width and all(cells) and not any(_TITLE.search(cell) for cell in cells):
            return cells
    return [""] * width


def _without_totals(values: np.ndarray, names: list[str], columns: list[str]) -> tuple[np.ndarray, list, list]:
    """The matrix without a last row or column of totals; InputError where such a one does not add up or has no name."""
    if names[-1].lower() in _TOTALS and len(names) > 1:
        if not np.allclose(values[:-1].sum(0), values[-1]):
            raise InputError(f"the row {names[-1]!r} is not the sum of the rows above it. Fix: leave it out.")
        values, names = values[:-1], names[:-1]
    if columns[-1].lower() in _TOTALS and len(columns) > 1:
        if not np.allclose(values[:, :-1].sum(1), values[:, -1]):
            raise InputError(f"the column {columns[-1]!r} is not the sum of those before it. Fix: leave it out.")
        values, columns = values[:, :-1], columns[:-1]
    sums = (values[:-1].sum(0), values[:, :-1].sum(1))
    if len(values) > 2 and not any(names) and all(map(np.array_equal, sums, (values[-1], values[:, -1]))):
        raise InputError(
            "the last row and the last column are sums of the others. Fix: leave them out, or if they are no totals, "
            "write the class names before the rows."
        )
    return values, names, columns


def _named(values: np.ndarray, names: list[str], columns: list[str]) -> pd.DataFrame:
    index: list = names if all(names) else columns if all(columns) else list(range(len(names)))
    if len(set(index)) < len(index):
        raise InputError(f"a class name stands more than once: {first_ten(index)}.")
    if not all(columns):
        columns = index
    if set(columns) != set(index):
        raise InputError(
            f"rows and columns have other names: {first_ten(names)}; and {first_ten(columns)}. "
            "Expected the same classes, rows true and columns predicted."
        )
    frame = pd.DataFrame(values, index=pd.Index(index, name="true"), columns=pd.Index(columns, name="predicted"))
    return frame[index]
