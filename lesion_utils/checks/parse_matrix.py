"""A confusion matrix as people paste it: rows true, columns predicted."""

import re
from itertools import groupby
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
    semicolons, commas, bars or blanks, with or without names of columns and rows; totals that add up are left out.
    Index and columns hold the class names, 0 to k - 1 where the text has none. Raises InputError if there is no matrix,
    more than one, or one that is ragged, not square, or has other names of rows than of columns.
    """
    if not text.strip():
        raise InputError(f"the text is empty. Expected {EXPECTED}.")
    rows, headers = _in_brackets(text) or _in_lines(text)
    width = len(rows[0].numbers)
    if ragged := [row for row in rows if len(row.numbers) != width]:
        number, n = ragged[0].line, len(ragged[0].numbers)
        raise InputError(f"line {number} has {n} numbers, line {rows[0].line} has {width}. Expected {EXPECTED}.")
    names, columns = [row.name for row in rows], _column_names(headers, width)
    values = _without_totals(np.array([row.numbers for row in rows]), names, columns)
    if len(names) != len(columns):
        size = f"{len(names)} x {len(columns)} (rows x columns), from line {rows[0].line} on. Expected {EXPECTED}"
        raise InputError(f"the matrix is not square: {size}. Fix: leave out totals and other columns; paste all rows.")
    index: list = names if all(names) else columns if all(columns) else list(range(len(names)))
    if len(set(index)) < len(index):
        raise InputError(f"duplicate class names: {first_ten(index)}.")
    columns = columns if all(columns) else index
    if set(columns) != set(index):
        differ = f"rows and columns have different names: {first_ten(names)}; and {first_ten(columns)}"
        raise InputError(f"{differ}. Expected the same classes, rows true and columns predicted.")
    return pd.DataFrame(values, pd.Index(index, name="true"), pd.Index(columns, name="predicted"))[index]


def _refuse_second(lines: list[int]) -> None:
    if len(lines) > 1:
        several = f"more than one matrix in the text, at lines {lines[0]} and {lines[1]}"
        raise InputError(f"{several}. Fix: paste only the one that holds counts.")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _in_brackets(text: str) -> tuple[list[_Row], list] | None:
    """The rows of the matrix in nested brackets and no headers; None without nested brackets."""
    blocks = list(_NESTED.finditer(text))
    _refuse_second([1 + text.count("\n", 0, block.start()) for block in blocks[:2]])
    if not blocks:
        return None
    rows = []
    for match in _LIST.finditer(text, blocks[0].start(), blocks[0].end()):
        line = 1 + text.count("\n", 0, match.start())
        cells = [cell for cell in re.split(r"[,;\s]+", match[1]) if cell]
        if "..." in cells or "…" in cells:
            raise InputError(f"line {line} is shortened by '...'. Fix: print the whole matrix and paste it again.")
        if words := [cell for cell in cells if _number(cell) is None]:
            raise InputError(f"line {line}: {words[0]!r} is not a number. Expected counts.")
        rows.append(_Row(line, "", [float(cell) for cell in cells]))
    return rows, []


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
    numbers = [value for value in values if value is not None]
    if len(numbers) < 2:
        return None
    first = values.index(numbers[0])
    if None in values[first:]:
        if 2 * len(numbers) < len(cells):
            return None
        wrong = cells[values.index(None, first)]
        raise InputError(f"line {line}: {wrong!r} is not a number. Expected counts, written without % and commas.")
    return _Row(line, " ".join(cells[:first]).strip(), numbers)


def _in_lines(text: str) -> tuple[list[_Row], list[list[str]]]:
    """The rows of the matrix and, nearest first, the cells of up to two lines before it."""
    lines = {number: line for number, line in enumerate(text.splitlines(), 1) if not _RULE.fullmatch(line)}
    if not lines:
        raise InputError(f"no number in the text. Expected {EXPECTED}.")
    cells_by = {mark: [cell for line in lines.values() for cell in _cells(line, mark)] for mark in "\t;|, "}
    delimiter = max(cells_by, key=lambda mark: sum(_number(cell) is not None for cell in cells_by[mark]))
    parsed = [(cells := _cells(line, delimiter), _as_row(number, cells)) for number, line in lines.items()]
    runs: list[tuple[list[_Row], list[list[str]]]] = []  # rows that follow each other, and the text before them
    headers: list[list[str]] = []
    for is_text, block in groupby(parsed, key=lambda line: line[1] is None):
        if is_text:
            headers = [cells for cells, _ in list(block)[:-3:-1]]
        else:
            runs.append(([row for _, row in block if row], headers))
    if not runs:
        raise InputError(f"no row of numbers in the text. Expected {EXPECTED}.")
    rows, headers = max(runs, key=lambda run: len(run[0]))
    others = [run[0].line for run, _ in runs if len(run) > 1 and run is not rows]
    _refuse_second(sorted([rows[0].line, *others[:1]]))
    first, *below = rows
    width = len(first.numbers) + 1
    if first.name or not below or any(row.name or len(row.numbers) != width for row in below):
        return rows, headers
    # pandas prints unnamed classes as numbers: a header of them, and one before each row
    numbered = [_Row(row.line, f"{row.numbers[0]:g}", row.numbers[1:]) for row in below]
    return numbered, [[f"{number:g}" for number in first.numbers]]


def _column_names(headers: list[list[str]], width: int) -> list[str]:
    """The class names in the lines before the matrix; empty strings if no line fits ``width`` columns."""
    for cells in headers:
        names = cells[1:] if len(cells) == width + 1 else cells  # the first may be the corner
        if len(names) == width and all(names) and not any(_TITLE.search(name) for name in names):
            return list(names)
    return [""] * width


def _without_totals(values: np.ndarray, names: list[str], columns: list[str]) -> np.ndarray:
    """``values`` without a last row or column of totals, whose name is removed too."""
    for axis, (labels, what) in enumerate(((names, "row"), (columns, "column"))):
        if labels[-1].lower() in _TOTALS and len(labels) > 1:
            *addends, total = np.moveaxis(values, axis, 0)
            if not np.allclose(np.sum(addends, axis=0), total):
                raise InputError(f"the {what} {labels[-1]!r} is not the sum of the {what}s before it. Fix: remove it.")
            values = np.delete(values, -1, axis)
            labels.pop()
    sums = (values[:-1].sum(0), values[:, :-1].sum(1))
    if len(values) > 2 and not any(names) and all(map(np.array_equal, sums, (values[-1], values[:, -1]))):
        not_totals = "if they are not totals, write the class names before the rows"
        raise InputError(f"the last row and the last column are sums of the others. Fix: remove them; {not_totals}.")
    return values
