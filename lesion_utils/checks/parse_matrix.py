"""A confusion matrix as people paste it: rows true, columns predicted."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten

EXPECTED = "one matrix of counts, rows true and columns predicted, as numpy prints it, as CSV, JSON or markdown"

_TOTALS = {"total", "totals", "all", "sum", "support"}
_LIST = re.compile(r"\[([^\[\]]*+)\]")
_NESTED = re.compile(rf"\[\s*+(?:{_LIST.pattern}\s*+,?+\s*+)++")  # possessive: long rubbish is refused at once
_RULE = re.compile(r"[\s|:+=-]*")
_TITLE = re.compile(r"confusion|matrix|normali[sz]|predicted|actual", re.IGNORECASE)


class _Row(NamedTuple):
    line: int  # counted from 1
    name: str  # the text before the first number
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
    blocks = list(_NESTED.finditer(text))
    if len(blocks) > 1:
        raise _two_matrices(*(_line_at(text, block.start()) for block in blocks[:2]))
    rows, headers = (_in_brackets(text, blocks[0]), []) if blocks else _in_lines(text)
    width = len(rows[0].numbers)
    if ragged := [row for row in rows if len(row.numbers) != width]:
        raise InputError(
            f"line {ragged[0].line} has {len(ragged[0].numbers)} numbers, line {rows[0].line} has {width}. "
            f"Expected {EXPECTED}."
        )
    names, columns = [row.name for row in rows], _column_names(headers, width)
    values = _without_totals(np.array([row.numbers for row in rows]), names, columns)
    if len(names) != len(columns):
        raise InputError(
            f"the matrix is not square: {len(names)} x {len(columns)} (rows x columns), from line {rows[0].line} on. "
            f"Expected {EXPECTED}. Fix: leave out totals and other columns, and paste every row."
        )
    return _named(values, names, columns)


def _two_matrices(first: int, second: int) -> InputError:
    return InputError(
        f"more than one matrix in the text, at lines {first} and {second}. Fix: paste only the one that holds counts."
    )


def _line_at(text: str, position: int) -> int:
    return 1 + text.count("\n", 0, position)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _in_brackets(text: str, block: re.Match) -> list[_Row]:
    rows = []
    for match in _LIST.finditer(text, block.start(), block.end()):
        line, cells = _line_at(text, match.start()), [cell for cell in re.split(r"[,;\s]+", match[1]) if cell]
        if "..." in cells or "…" in cells:
            raise InputError(f"line {line} is shortened by '...'. Fix: print the whole matrix and paste it again.")
        if words := [cell for cell in cells if _number(cell) is None]:
            raise InputError(f"line {line}: {words[0]!r} is not a number. Expected counts.")
        rows.append(_Row(line, "", [float(cell) for cell in cells]))
    return rows


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if delimiter == "|":
        line = line.strip().strip("|")
    cells = [cell.strip(" \t\"'") for cell in line.split(delimiter)]
    return cells[:-1] if cells and not cells[-1] else cells


def _as_row(line: int, cells: list[str]) -> _Row | None:
    """``cells`` as a row of the matrix, or None if they are other text; InputError if they are neither."""
    values = [_number(cell) for cell in cells]
    first = next((index for index, value in enumerate(values) if value is not None), len(values))
    numbers = [value for value in values if value is not None]
    if len(numbers) < 2:
        return None
    if None in values[first:]:
        if 2 * len(numbers) < len(cells):
            return None
        wrong = cells[values.index(None, first)]
        raise InputError(f"line {line}: {wrong!r} is not a number. Expected counts, written without % and commas.")
    return _Row(line, " ".join(cells[:first]).strip(), numbers)


def _in_lines(text: str) -> tuple[list[_Row], list[list[str]]]:
    """The rows of the matrix and, nearest first, the cells of up to two lines before it."""
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if not _RULE.fullmatch(line)]
    if not lines:
        raise InputError(f"no number in the text. Expected {EXPECTED}.")
    delimiter = max(
        "\t;|, ", key=lambda mark: sum(_number(cell) is not None for _, line in lines for cell in _cells(line, mark))
    )
    runs: list[list[_Row]] = [[]]  # rows that follow each other
    headers: list[list[list[str]]] = [[]]  # of each run
    words: list[list[str]] = []
    for i, line in lines:
        cells = _cells(line, delimiter)
        row = _as_row(i, cells)
        if row is None:
            words.append(cells)
        elif words or not runs[-1]:
            runs.append([row])
            headers.append(words[:-3:-1])
            words = []
        else:
            runs[-1].append(row)
    longest = max(range(len(runs)), key=lambda run: len(runs[run]))
    if not runs[longest]:
        raise InputError(f"no row of numbers in the text. Expected {EXPECTED}.")
    if more := [run for i, run in enumerate(runs) if len(run) > 1 and i != longest]:
        raise _two_matrices(*sorted((runs[longest][0].line, more[0][0].line)))
    first, *below = runs[longest]
    width = len(first.numbers) + 1
    if first.name or not below or any(row.name or len(row.numbers) != width for row in below):
        return runs[longest], headers[longest]
    # pandas prints unnamed classes as numbers: a header of them, and one before each row
    return [_Row(row.line, f"{row.numbers[0]:g}", row.numbers[1:]) for row in below], [
        [f"{number:g}" for number in first.numbers]
    ]


def _column_names(headers: list[list[str]], width: int) -> list[str]:
    """The class names in the lines before the matrix; empty strings if no line fits ``width`` columns."""
    for cells in headers:
        names = cells[1:] if len(cells) == width + 1 else cells  # the first may be the corner
        if len(names) == width and all(names) and not any(_TITLE.search(name) for name in names):
            return list(names)
    return [""] * width


def _without_totals(values: np.ndarray, names: list[str], columns: list[str]) -> np.ndarray:
    """``values`` without a last row or column of totals, whose name is taken away too.

    Raises InputError where totals do not add up or have no name.
    """
    for axis, (labels, what) in enumerate(((names, "row"), (columns, "column"))):
        if labels[-1].lower() in _TOTALS and len(labels) > 1:
            *addends, total = np.moveaxis(values, axis, 0)
            if not np.allclose(np.sum(addends, axis=0), total):
                raise InputError(f"the {what} {labels[-1]!r} is not the sum of the {what}s before it. Fix: remove it.")
            values = np.delete(values, -1, axis)
            labels.pop()
    sums = (values[:-1].sum(0), values[:, :-1].sum(1))
    if len(values) > 2 and not any(names) and all(map(np.array_equal, sums, (values[-1], values[:, -1]))):
        raise InputError(
            "the last row and the last column are sums of the others. Fix: remove them; if they are not totals, write "
            "the class names before the rows."
        )
    return values


def _named(values: np.ndarray, names: list[str], columns: list[str]) -> pd.DataFrame:
    index: list = names if all(names) else columns if all(columns) else list(range(len(names)))
    if len(set(index)) < len(index):
        raise InputError(f"duplicate class names: {first_ten(index)}.")
    if not all(columns):
        columns = index
    if set(columns) != set(index):
        raise InputError(
            f"rows and columns have different names: {first_ten(names)}; and {first_ten(columns)}. "
            "Expected the same classes, rows true and columns predicted."
        )
    frame = pd.DataFrame(values, index=pd.Index(index, name="true"), columns=pd.Index(columns, name="predicted"))
    return frame[index]
