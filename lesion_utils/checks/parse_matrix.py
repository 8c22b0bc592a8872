"""A confusion matrix as people paste it: numpy, pandas, R, Weka, markdown, HTML, LaTeX, CSV, JSON."""

import html
import json
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils.checks.matrix_words import (
    ASK,
    Side,
    axis,
    by_report,
    refuse_report_alone,
    side,
    stripped,
    without_report,
)
from lesion_utils.errors import InputError, first_ten
from lesion_utils.views import same_classes

EXPECTED = "one matrix of counts, as numpy or R print it, as CSV, JSON, markdown, HTML or LaTeX"

_TOTALS = {"total", "totals", "all", "sum", "support"}
_METRICS = {
    "recall",
    "precision",
    "sensitivity",
    "specificity",
    "accuracy",
    "f1",
    "f1-score",
    "f1 score",
    "class.error",
}
_LIST = re.compile(r"\[([^\[\]]*+)\]")
_NESTED = re.compile(rf"\[\s*+(?:{_LIST.pattern}\s*+,?+\s*+)++")  # possessive: long rubbish is refused at once
_RULE = re.compile(r"[\s|:+=-]*")
_TITLE = re.compile(r"confusion|matrix|normali[sz]", re.IGNORECASE)
_CELL = re.compile(  # 2,200 or 88% or 220 (TN) or TN = 220
    r"(?:[TF][PN]\s*[=:]?\s*)?(?P<number>[+-]?\d{1,3}(?:,\d{3})+|[+-]?\d+(?:\.\d+)?)(?P<percent>\s*%)?"
    r"(?:\s*\([^()]*\)|\s*[TF][PN])?",
    re.IGNORECASE,
)
_WEKA = re.compile(r"^(?P<numbers>[\s\d.]+)\|\s*(?P<letter>\S+)\s*=\s*(?P<name>.+)$")
_LATEX = (
    (re.compile(r"(?<!\\)%.*"), ""),
    (re.compile(r"\\(?:top|mid|bottom|h|c)(?:rule|line)(?:\{[^}]*\})?|\\(?:begin|end)\{[^}]*\}(?:\{[^}]*\})?"), ""),
    (re.compile(r"\\multi(?:column|row)\{[^{}]*\}\{[^{}]*\}\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[a-z]+\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\\\(?:\[[^\]]*\])?"), ""),
    (re.compile(r"\\([%_&#])"), r"\1"),
)


class _Row(NamedTuple):
    line: int  # counted from 1
    name: str  # the text before the first number
    numbers: list[float]


class Reading(NamedTuple):
    """A matrix that was read."""

    matrix: pd.DataFrame  # (k, k) float64, rows true and columns predicted, whatever its numbers are
    side: Side  # which side of the text was read as true, and why


def read(text: str, rows: str | None = None) -> Reading:
    """The confusion matrix in ``text``; index and columns hold the class names, 0 to k - 1 where the text has none.

    Reads nested brackets (numpy's print, JSON, Python) with text around them, HTML, LaTeX, Weka, or lines of cells
    between tabs, semicolons, commas, bars or blanks, with or without names; totals that add up and columns of metrics
    are left out. Words such as Actual, Predicted or Reference, or a classification report beside the matrix, say
    whether rows are true; ``rows`` (true, predicted) says it instead. Raises InputError if there is no matrix, more
    than one, one that is ragged or not square, other names of rows than of columns, or words that contradict.
    """
    if not text.strip():
        raise InputError(f"the text is empty. Expected {EXPECTED}.")
    given, images = without_report(text)
    if images and not re.search(r"\d", given):
        refuse_report_alone(images, text)
    sizes = {name: size for name, (size, _) in images.items()}
    labels, weka, between = None, False, ""
    if parsed := _in_json(given):
        table, labels = parsed
        headers: list[list[str]] = []
    elif in_brackets := _in_brackets(given):
        table, headers = in_brackets
    else:
        weka = bool(re.search(r"<-+\s*classified as", given))
        table, headers, between = _in_lines(as_lines(given))
    table = [row for row in table if row.name.lower() not in _METRICS]
    corner, columns, table = _header(headers, table)
    width = len(table[0].numbers)
    if ragged := [row for row in table if len(row.numbers) != width]:
        number, n = ragged[0].line, len(ragged[0].numbers)
        raise InputError(f"line {number} has {n} numbers, line {table[0].line} has {width}. Expected {EXPECTED}.")
    names, values = [row.name for row in table], np.array([row.numbers for row in table])
    kept = [place for place, name in enumerate(columns) if name.lower() not in _METRICS]
    values, columns = values[:, kept], [columns[place] for place in kept]
    values = _without_totals(values, names, columns)
    if len(names) != len(columns):
        size = f"{len(names)} x {len(columns)} (rows x columns), from line {table[0].line} on. Expected {EXPECTED}"
        raise InputError(f"the matrix is not square: {size}. Fix: leave out other rows and columns; paste all rows.")
    (names, of_rows), (columns, of_columns) = stripped(names), stripped(columns)
    above = [cells for cells in headers if cells[-len(columns) :] != columns]
    found = side(rows, of_rows, of_columns, corner, above, between, "" if labels else given)
    if weka and rows is None:
        found = Side("true", "as Weka prints it")
    if found is None:
        found = by_report(sizes, values.sum(1).tolist(), values.sum(0).tolist())
    found = found or Side("true", f"nothing says which side is true. {ASK}", is_sure=False)
    index = labels or _names(names, columns, sizes, values, found)
    columns = index if labels or not all(columns) else columns
    if len(set(index)) < len(index):
        raise InputError(f"duplicate class names: {first_ten(index)}. Fix: give each class a name of its own.")
    if (renamed := same_classes(index, columns)) is None:
        differ = f"rows and columns have different names: {first_ten(index)}; and {first_ten(columns)}"
        raise InputError(f"{differ}. Expected the same classes in both.")
    matrix = pd.DataFrame(values, index, [renamed[name] for name in columns])[index]
    matrix = matrix.T if found.rows == "predicted" else matrix
    return Reading(matrix.rename_axis(index="true", columns="predicted"), found)


def _names(names: list[str], columns: list[str], images: dict[str, int], values: np.ndarray, found: Side) -> list:
    """The class names, of the rows, the columns, or a report beside a matrix without names."""
    if all(names) or all(columns):
        return names if all(names) else columns
    sums = values.sum(1 if found.rows == "true" else 0).tolist()
    return list(images) if list(images.values()) == sums else list(range(len(names)))


def _refuse_second(lines: list[int]) -> None:
    if len(lines) > 1:
        several = f"more than one matrix in the text, at lines {lines[0]} and {lines[1]}"
        raise InputError(f"{several}. Fix: paste only the one that holds counts.")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        found = _CELL.fullmatch(cell)
        return None if not found else float(found["number"].replace(",", "")) / (100 if found["percent"] else 1)


def _in_json(text: str) -> tuple[list[_Row], list[str]] | None:
    """The rows of a JSON object with a matrix and the names of its classes, and these; None for anything else."""
    try:
        values = [*json.loads(text).values()]
    except (ValueError, AttributeError, RecursionError):
        return None
    lists = [value for value in values if isinstance(value, list) and value]
    matrices = [of for of in lists if all(isinstance(row, list) and row for row in of)]
    labels = [of for of in lists if all(isinstance(name, str) for name in of)]
    if len(matrices) != 1 or len(labels) != 1 or len(labels[0]) != len(matrices[0]):
        return None
    if not all(isinstance(cell, int | float) for row in matrices[0] for cell in row):
        return None
    return [_Row(1, "", [float(cell) for cell in row]) for row in matrices[0]], labels[0]


def _in_brackets(text: str) -> tuple[list[_Row], list] | None:
    """The rows of the matrix in nested brackets and no headers; None without nested brackets."""
    blocks = [block for block in _NESTED.finditer(text) if re.search(r"\d", block[0])]
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


def cells_of(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if delimiter == "|":
        line = line.strip().strip("|")
    cells = [cell.strip(" \t\"'*`") for cell in line.split(delimiter)]
    return cells[:-1] if cells and not cells[-1] else cells


def as_lines(text: str) -> dict[int, str]:
    """The lines of ``text`` that hold something, by number; HTML, LaTeX and Weka as cells between bars."""
    if re.search(r"<t[dh]\b", text, re.IGNORECASE):
        rows = re.findall(r"<tr.*?(?=<tr|</table|$)", text, re.DOTALL | re.IGNORECASE)
        cells = [re.findall(r"<t[dh][^>]*>(.*?)(?=<t[dh]\b|</t|$)", row, re.DOTALL | re.IGNORECASE) for row in rows]
        plain = [[" ".join(html.unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in cells]
        text = "\n".join(" | ".join(["", *row, ""]) for row in plain)
    elif re.search(r"\\begin\{tabular|&.*\\\\", text):
        text = re.sub(r"(?<!\\)&", "|", text)
        for pattern, by in _LATEX:
            text = pattern.sub(by, text)
    lines = {number: line for number, line in enumerate(text.splitlines(), 1) if not _RULE.fullmatch(line)}
    weka = {number: found for number, line in lines.items() if (found := _WEKA.match(line))}
    if weka and "classified as" in text:
        return {number: "|".join([found["name"], *found["numbers"].split()]) for number, found in weka.items()}
    return lines


def _numbers(delimiter: str) -> Callable[[str], int]:
    """A function that counts the numbers in a line; in a caption, one number means nothing."""
    return lambda line: sum(_number(cell) is not None for cell in cells_of(line, delimiter))


def _as_row(line: int, cells: list[str]) -> _Row | None:
    """``cells`` as a row of the matrix, or None if they are other text; InputError if they are neither."""
    values = [_number(cell) for cell in cells]
    numbers = [value for value in values if value is not None]
    if len(numbers) < 2 or axis(cells[0]):
        return None
    first = values.index(numbers[0])
    if None in values[first:]:
        if 2 * len(numbers) < len(cells) or cells[-1].lower() in _TOTALS | _METRICS:
            return None
        wrong = cells[values.index(None, first)]
        raise InputError(f"line {line}: {wrong!r} is not a number. Expected counts.")
    return _Row(line, " ".join(cells[:first]).strip(), numbers)


def _in_lines(lines: dict[int, str]) -> tuple[list[_Row], list[list[str]], str]:
    """The rows of the matrix; nearest first, the cells of up to three lines before it; and a cell that stands alone
    between the names of columns and the rows.
    """
    if not lines:
        raise InputError(f"no number in the text. Expected {EXPECTED}.")
    delimiter = max("\t;|, ", key=lambda mark: sum(n for n in map(_numbers(mark), lines.values()) if n > 1))
    parsed = [(cells := cells_of(line, delimiter), _as_row(number, cells)) for number, line in lines.items()]
    runs: list[tuple[list[_Row], list[list[str]]]] = []  # rows that follow each other, and the text before them
    headers: list[list[str]] = []
    for is_text, block in groupby(parsed, key=lambda line: line[1] is None):
        if is_text:
            headers = [cells for cells, _ in list(block)[:-5:-1]]
        else:
            runs.append(([row for _, row in block if row], headers))
    if not runs:
        raise InputError(f"no row of numbers in the text. Expected {EXPECTED}.")
    rows, headers = max(runs, key=lambda run: len(run[0]))
    others = [run[0].line for run, _ in runs if len(run) > 1 and run is not rows]
    _refuse_second(sorted([rows[0].line, *others[:1]]))
    between = ""
    alone = [cell for cell in headers[0] if cell] if len(headers) > 1 else []
    if len(alone) == 1 and axis(alone[0]) and len(list(filter(None, headers[1]))) > 2:  # above: the names of columns
        between, headers = alone[0], headers[1:]
    first, *below = rows
    width = len(first.numbers) + 1
    if first.name or not below or any(row.name or len(row.numbers) != width for row in below):
        return rows, headers, between
    # pandas prints unnamed classes as numbers: a header of them, and one before each row
    numbered = [_Row(row.line, f"{row.numbers[0]:g}", row.numbers[1:]) for row in below]
    return numbered, [[f"{number:g}" for number in first.numbers], *headers], between


def _header(headers: Sequence[list[str]], rows: list[_Row]) -> tuple[str, list[str], list[_Row]]:
    """The corner and the names of columns, empty strings if no line before ``rows`` fits; and ``rows``, whose first
    numbers are their names where the header has one column less, as pandas prints classes that are numbers.
    """
    width = max(len(row.numbers) for row in rows)
    for cells in headers:
        has_corner = len(cells) == width + 1 or bool(axis(cells[0]) or not cells[0])
        corner, names = (cells[0], cells[1:]) if has_corner else ("", cells)
        if not names or not all(names) or any(_TITLE.search(name) or axis(name) for name in names):
            continue
        if len(names) == width:
            return corner, list(names), rows
        shifted = [row if row.name else _Row(row.line, f"{row.numbers[0]:g}", row.numbers[1:]) for row in rows]
        if len(names) == width - 1 and [row.name for row in shifted] == list(names)[: len(shifted)]:
            return corner, list(names), shifted
    return "", [""] * width, rows


def _without_totals(values: np.ndarray, names: list[str], columns: list[str]) -> np.ndarray:
    """``values`` without a last row or column of totals, whose name is removed too."""
    for side_of, (labels, what) in enumerate(((names, "row"), (columns, "column"))):
        if labels[-1].lower() in _TOTALS and len(labels) > 1:
            *addends, total = np.moveaxis(values, side_of, 0)
            if (wrong := ~np.isclose(sums := np.sum(addends, axis=0), total)).any():
                where, at = (columns, names)[side_of], wrong.argmax()
                place = where[at] or f"place {at + 1}"
                problem = f"the {what} {labels[-1]!r} says {total[at]:g} at {place}, but the cells before it sum to"
                fix = (
                    f"Fix: correct the cell. If the {what} holds class counts beside shares, give it as --class-counts."
                )
                raise InputError(f"{problem} {sums[at]:g}. {fix}")
            values = np.delete(values, -1, side_of)
            labels.pop()
    sums = (values[:-1].sum(0), values[:, :-1].sum(1))
    if len(values) > 2 and not any(names) and all(map(np.array_equal, sums, (values[-1], values[:, -1]))):
        not_totals = "if they are not totals, write the class names before the rows"
        raise InputError(f"the last row and the last column are sums of the others. Fix: remove them; {not_totals}.")
    return values
