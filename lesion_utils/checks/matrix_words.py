"""What the words around a pasted confusion matrix say: which side is true, and what a classification report adds."""

import re
from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

from lesion_utils.errors import InputError, first_ten
from lesion_utils.rounding import printed_range

ASK = "Fix: say it with --rows true or --rows predicted."
_KINDS = {
    "true": r"true|truth|actual|reference|gold|observed|ground[ -]?truth|target|y_true|y_test|wahrheit|tatsächlich\w*",
    "predicted": r"predicted|predictions?|pred|classified(?: as)?|estimated|output|y_pred|vorhersagen?|vorhergesagt\w*",
}
OTHER = {"true": "predicted", "predicted": "true"}
_WORD = re.compile("|".join(rf"(?P<{kind}>\b(?:{words})\b)" for kind, words in _KINDS.items()), re.IGNORECASE)
_LAST = re.compile(rf"\(\s*(?:{_WORD.pattern})\s*\)$", re.IGNORECASE)
_FILLER = re.compile(
    r"\b(?:class(?:es)?|labels?|values?|diagnos[ie]s|condition)\b|[\s:*_()\[\]<>←→↓↑=-]", re.IGNORECASE
)
_SAID = {  # "rows are the true classes"
    axis: re.compile(
        rf"\b(?:{words})\b[\s:=(]*(?:are|is|show|give|hold)?\s*(?:the\s+)?(?P<after>{'|'.join(_KINDS.values())})\b"
        rf"|\b(?P<before>{'|'.join(_KINDS.values())})\s+(?:class(?:es)?|labels?)?\s*(?:in|as|along)\s+(?:the\s+)?(?:{words})\b",
        re.I,
    )
    for axis, words in {"row": "rows?|zeilen?", "column": "columns?|spalten?"}.items()
}
_REPORT = re.compile(r"precision.*recall", re.IGNORECASE)
_SHARE = r"(?:[01]?\.\d+|[01](?:\.0*)?)"
_REPORT_ROW = re.compile(
    rf"^\W*(?P<name>.*?\w.*?)\W+{_SHARE}\W+(?P<recall>{_SHARE})\W+(?:{_SHARE}\W+)?(?P<images>[\d,]+)\W*$"
)
_SUMMARIES = ("accuracy", "macro avg", "weighted avg", "micro avg", "samples avg")


class Side(NamedTuple):
    """Which side of a matrix is true, as a reader is told."""

    rows: str  # true, predicted
    why: str
    is_sure: bool = True

    def __str__(self) -> str:
        return f"Rows were read as {self.rows} classes, columns as {OTHER[self.rows]}: {self.why}"


def kinds(text: str) -> list[str]:
    """``true`` and ``predicted``, in the order in which ``text`` names them."""
    return [str(found.lastgroup) for found in _WORD.finditer(text)]


def axis(cell: str) -> str:
    """``true`` or ``predicted`` if ``cell`` says nothing else, as ``Predicted class``; else an empty string."""
    named = kinds(cell)
    return named[0] if len(named) == 1 and not _FILLER.sub("", _WORD.sub("", cell)) else ""


def stripped(names: Sequence[str]) -> tuple[list[str], str]:
    """``names`` without ``Actual`` or ``(pred)`` before or behind each of them, and which it was; else as they are."""
    found = [_WORD.match(name) or _LAST.search(name) for name in names]
    sides = {match.lastgroup if match else None for match in found}
    rests = [
        (name[: match.start()] + name[match.end() :]).strip(" :_-()") if match else ""
        for name, match in zip(names, found, strict=True)
    ]
    return (rests, str(sides.pop())) if len(sides) == 1 and all(rests) and names else (list(names), "")


def side(
    asked: str | None,
    row_names: str,
    column_names: str,
    corner: str,
    above: Sequence[Sequence[str]],
    below: str,
    text: str,
) -> Side | None:
    """Which side the words name; ``asked`` decides against them; None if nothing says it.

    ``row_names``, ``column_names``: what ``stripped`` found; ``corner``: the cell over the names of rows and before
    those of columns; ``above``: the cells of the lines above, nearest first; ``below``: a cell alone between the names
    of columns and the first row, as pandas prints the name of the index. Raises InputError for words that contradict.
    """
    if asked is not None:
        if asked not in _KINDS:
            raise InputError(f"--rows {asked!r}: expected true or predicted.")
        return Side(asked, "as --rows says")
    said = [
        ("row", row_names, "the names of the rows say so"),
        ("column", column_names, "the names of the columns say so"),
    ]
    of_corner = kinds(corner)
    if len(of_corner) == 2 and of_corner[0] != of_corner[1]:
        which = "column" if re.search(r"→.*↓", corner) else "row"
        said.append((which, of_corner[0], f'the corner, "{corner}", says so'))
    elif axis(corner):
        said.append(("column" if axis(below) else "row", axis(corner), f'the corner, "{corner}", says so'))
    if axis(below):
        said.append(("row", axis(below), f'the line above the rows, "{below}", says so'))
    for cells in above:
        named = [cell for cell in cells if cell]
        if named and all(map(axis, named)) and len(named) < 3:
            why = f'the line above the matrix, "{" ".join(named)}", says so'
            said += [("column", axis(named[-1]), why), ("row", axis(named[0]) if len(named) == 2 else "", why)]
            break
    for which, pattern in _SAID.items():
        said += [
            (which, kinds(match["after"] or match["before"])[0], f'the text, "{match[0]}", says so')
            for match in pattern.finditer(text)
        ]
    found = {kind if which == "row" else OTHER[kind]: why for which, kind, why in said if kind}
    if len(found) > 1:
        raise InputError(f"the words contradict each other on which side is true: {'; '.join(found.values())}. {ASK}")
    return next((Side(*each) for each in found.items()), None)


def without_report(text: str) -> tuple[str, dict[str, tuple[int, str]]]:
    """``text`` with the lines of a classification report emptied; the images and the recall of each class in it."""
    lines, images, inside = text.splitlines(), dict[str, tuple[int, str]](), False
    for number, line in enumerate(lines):
        is_head, has_share = bool(_REPORT.search(line)), bool(re.search(r"(?<!\d)[01]?\.\d", line))
        inside = is_head or (inside and (has_share or not line.strip(" |:-=\t")))
        if not inside or not (is_head or has_share):
            continue
        row, lines[number] = _REPORT_ROW.match(line), ""
        if row and not (name := row["name"].strip(" |*")).lower().startswith(_SUMMARIES):
            images[name] = int(row["images"].replace(",", "")), row["recall"]
    return "\n".join(lines), images


def by_report(images: dict[str, int], row_sums: Sequence[float], column_sums: Sequence[float]) -> Side | None:
    """The side of a matrix whose sums are the class counts ``images`` of a report; None if both are, or neither is."""
    counts = sorted(images.values())
    fits = {name: counts == sorted(sums) for name, sums in (("true", row_sums), ("predicted", column_sums))}
    if not counts or fits["true"] == fits["predicted"]:
        return None
    return Side("true" if fits["true"] else "predicted", "the report beside it has these class counts")


def refuse_report_alone(images: dict[str, tuple[int, str]], text: str) -> None:
    """Raises InputError for a classification report without a matrix, with what it tells."""
    accuracy = re.search(r"accuracy\W+([01]?\.\d+)", text, re.IGNORECASE)
    known = [f"{name}: {_hits(size, recall)} of {size} found" for name, (size, recall) in images.items()]
    told = f"It gives {f'accuracy {accuracy[1]}; ' if accuracy else ''}{first_ten(known)}."
    problem = "the text is a classification report without a matrix: it does not say what is taken for what"
    raise InputError(f"{problem}. {told} Fix: paste the confusion matrix, or check the report: lesion report FILE")


def _hits(images: int, recall: str) -> str:
    """How many of ``images`` a recall, as printed, can stand for."""
    low, high = printed_range(recall)
    least, most = ceil(low * images - 1e-9), floor(high * images + 1e-9)
    return str(least) if least == most else f"{max(least, 0)} to {min(most, images)}"
