"""A classification report, or a list of scores, as papers and notebooks print them: each number with its name."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from lesion_utils.checks.parse_matrix import as_lines, cells_of
from lesion_utils.errors import InputError, first_ten
from lesion_utils.rounding import printed_range
from lesion_utils.views import CLASS_NAMES, code_of

EXPECTED = "a classification report as scikit-learn prints it, a table of scores by class, or a line per score"
RATES = ("precision", "recall", "f1", "specificity")  # of a class, or averaged over classes
OVERALL = ("accuracy", "balanced accuracy")
IMAGES = "images"
AVERAGES = ("macro", "weighted", "micro")

_WORDS = {  # the longest first where one contains another
    "balanced accuracy": r"balanced[ _-](?:multi-?class[ _-])?accuracy|bacc|bmca?|uar",
    "accuracy": r"accuracy|acc",
    "precision": r"precision|ppv|positive predictive value",
    "recall": r"recall|sensitivity|true positive rate|tpr",
    "f1": r"f[ _-]?1(?:[ _-]?(?:score|measure))?|f[ _-](?:score|measure)",
    "specificity": r"specificity|true negative rate|tnr",
    IMAGES: r"support|images|n|count|samples",
    "other": r"(?:macro|micro|mean|roc)?[ _-]?auc|auroc|kappa|mcc|log[ _-]?loss|threshold|epochs?|loss",  # not judged
}
_METRIC = re.compile(
    "|".join(rf"(?P<{name.replace(' ', '_')}>\b(?:{words})\b)" for name, words in _WORDS.items()), re.I
)
_AVERAGE = re.compile(r"\b(macro|weighted|micro)\b", re.I)
_NUMBER = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?|\.\d+)(\s*%)?(?![\w]|[.,]\d)")
_SUMMARY = re.compile(
    r"\W*(?:unweighted\s+|grand\s+)?(?:avg|average|mean|total|overall|all|sum|balanced|durchschnitt|gesamt)\b", re.I
)
_COUNTED = re.compile(r"\s*(?:test|validation|training|unseen)?\s*(?:images|cases|lesions|patients|pictures)\b", re.I)
_ASIDE = re.compile(r"\([^()]*(?:CI|±|\d\s*(?:-|–|to)\s*\.?\d)[^()]*\)|\[[^\[\]]*\]|±\s*[\d.]+%?", re.I)
_NAMES = sorted({name for code, of in CLASS_NAMES.items() for name in (code, *of["names"])}, key=len, reverse=True)


class Figure(NamedTuple):
    """One printed number and what it can stand for."""

    metric: str  # of RATES or OVERALL
    of: str  # a class, one of AVERAGES, or "": all images, or an average that is not named
    printed: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.of + ' ' if self.of else ''}{self.metric} {self.printed}"


class Printed(NamedTuple):
    """What a text prints."""

    figures: list[Figure]
    images: dict[str, int]  # of each class, in the order of the text; empty if not known
    total: int | None  # images of all classes, as printed
    notes: list[str]


def read_figures(text: str, class_counts: Mapping[str, int] | Sequence[int] | None = None) -> Printed:
    """All figures in ``text``: of a report's table, of JSON (``output_dict``), of lines such as ``recall mel 0.73``.

    ``class_counts`` are the images of each class, by name, or in the order in which the text names the classes. Raises
    InputError if there is no figure, for a figure that is printed twice with different values, a number that is no
    share, and class counts that do not belong to the classes.
    """
    if not text.strip():
        raise InputError(f"the text is empty. Expected {EXPECTED}.")
    if re.search(r"(?<![\d.,])0,\d", text) and not re.search(r"\d\.\d", text):  # decimal commas
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    named = [*class_counts] if isinstance(class_counts, Mapping) else []
    found = list(_in_json(text) or _in_text(text, named))
    values: dict[tuple[str, str], tuple[str, int]] = {}
    for line, metric, of, printed in found:
        before, at = values.setdefault((metric, of), (printed, line))
        if before != printed:
            what = f"{of + ' ' if of else ''}{metric}"
            problem = f"{what} is {before} in line {at} and {printed} in line {line}"
            raise InputError(f"{problem}. Expected one value. Fix: one score per line, as `recall mel 0.73`.")
    classes = list(dict.fromkeys(of for _, _, of, _ in found if of and of not in AVERAGES))
    images, total = _images(values, classes, class_counts)
    rates = {key: printed for key, (printed, _) in values.items() if key[0] != IMAGES}
    if not rates:
        raise InputError(f"no score in the text. Expected {EXPECTED}.")
    percents = [key for key, printed in rates.items() if not printed.endswith("%") and float(printed) > 1]
    notes = ["numbers above 1 were read as percentages"] if percents else []
    figures = []
    for (metric, of), printed in rates.items():
        as_percent = printed.endswith("%") or bool(percents)
        low, high = (end / (100 if as_percent else 1) for end in printed_range(printed.strip(" %")))
        if low > 1:
            raise InputError(f"{of + ' ' if of else ''}{metric} {printed}: expected a share, at most 1 or 100%.")
        figures.append(Figure(metric, of, printed, max(low, 0.0), min(high, 1.0)))
    return Printed(figures, images, total, notes)


def _images(
    values: Mapping[tuple[str, str], tuple[str, int]],
    classes: Sequence[str],
    given: Mapping[str, int] | Sequence[int] | None,
) -> tuple[dict[str, int], int | None]:
    """The images of each class, and of all, as they are printed or ``given``."""
    printed = {}
    for (metric, of), (text, line) in values.items():
        if metric == IMAGES:
            if text.endswith("%") or float(text.replace(",", "")) % 1:
                raise InputError(f"line {line}: {text} images: expected a whole number.")
            printed[of] = int(float(text.replace(",", "")))
    total = next((printed.pop(of) for of in ("", "macro", "weighted", "micro") if of in printed), None)
    images = {name: n for name, n in printed.items() if name not in AVERAGES}
    if given is not None:
        if not isinstance(given, Mapping):
            if len(given) != len(classes):
                problem = f"--class-counts has {len(given)} numbers; the text names {len(classes)} classes"
                raise InputError(f"{problem}: {first_ten(classes) or 'none'}. Fix: --class-counts mel=55,nv=257")
            given = dict(zip(classes, given, strict=True))
        if differ := [name for name, n in images.items() if given.get(name, n) != n]:
            raise InputError(f"--class-counts contradicts the text on {first_ten(differ)}. Fix: leave it out.")
        images |= given
    if images and (missing := [name for name in classes if name not in images]):
        raise InputError(f"no class count of {first_ten(missing)}. Fix: name all with --class-counts {missing[0]}=…")
    if len(images) == 1 or (images and total is not None and sum(images.values()) < total):
        problem = f"class counts of {first_ten(images)} only ({sum(images.values()):,} images)"
        raise InputError(f"{problem}. Fix: give those of all classes, --class-counts mel=55,nv=257")
    return images, total


_Found = tuple[int, str, str, str]  # line, metric, class or average, the number as it is printed


def _in_json(text: str) -> Iterator[_Found] | None:
    """The figures of scikit-learn's ``output_dict``; None for any other text."""
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None

    def walk() -> Iterator[_Found]:
        for name, of in report.items():
            for head, number in of.items() if isinstance(of, dict) else [(name, of)]:
                metric = _metric(head)
                if metric not in ("", "other") and isinstance(number, int | float) and isfinite(number):
                    yield 1, metric, _of(name) if isinstance(of, dict) else "", repr(number)  # with its own digits

    return walk()


def _metric(cell: str) -> str:
    found = _METRIC.fullmatch(re.sub(r"\(\s*%\s*\)|\[\s*%\s*\]|in %|%", "", cell).strip(" *:`"))
    return str(found.lastgroup).replace("_", " ") if found else ""


def _of(name: str) -> str:
    average = _AVERAGE.search(name)
    return average[1].lower() if average else name.strip(" |*:`\"'")


def _in_text(text: str, classes: Sequence[str]) -> Iterator[_Found]:
    lines, rest, head = as_lines(text), {}, None
    for number, line in lines.items():
        if header := _header(line):
            head = header
            if twice := [name for name in RATES if head.count(name) > 1]:
                problem = (
                    f"line {number} has more than one column of {twice[0]}: it seems to be a table of several models"
                )
                raise InputError(f"{problem}. Fix: paste the scores of one model.")
        elif head and (row := _row(line, head)):
            name, values = row
            if re.match(r"samples?\s+avg", name, re.I):
                continue  # of problems with several labels per image
            if _SUMMARY.match(name) and not _AVERAGE.search(name) and _metric(name) not in OVERALL:
                problem = f"line {number}: {name!r} seems to be an average or a total, not a class"
                raise InputError(f"{problem}. Fix: remove it, or name it macro avg or weighted avg.")
            if _metric(name) not in OVERALL and (of_all := [metric for metric in values if metric in OVERALL]):
                problem = f"line {number}: {name!r} has its own {of_all[0]}: its rows seem to be models, not classes"
                raise InputError(f"{problem}. Fix: paste the scores of one model.")
            if _metric(name) in OVERALL:
                values = {_metric(name): values[min(values)]} | _whole(values)
                name = ""
            for metric, value in values.items():
                if metric != "other":
                    yield number, metric, _of(name), value
        elif _METRIC.search(line) or any(code_of(word) for word in re.split(r"[\s:=,]+", line)) or classes:
            rest[number] = line
    yield from _in_sentences(rest, classes)


def _whole(values: Mapping[int | str, str]) -> dict[str, str]:
    """The images in the row of the accuracy, whose cells are under other heads."""
    last = [*values.values()][-1]
    return {IMAGES: last} if float(last.strip(" %").replace(",", "")) > 1 and len(values) > 1 else {}


def _header(line: str) -> list[str] | None:
    """The metric of each column of a table, "" for other columns; None for a line that is no header."""
    if _NUMBER.search(re.sub(r"\bf[ _-]?1\b", "", line, flags=re.I)):
        return None
    delimiter = next((mark for mark in "\t|;," if mark in line), " ")
    if delimiter == " ":
        heads = [str(found.lastgroup).replace("_", " ") for found in _METRIC.finditer(line)]
        return ["", *heads] if len([head for head in heads if head in RATES]) > 1 else None
    heads = [_metric(cell) for cell in cells_of(line, delimiter)]
    return heads if len([head for head in heads if head in RATES + OVERALL]) > 1 or heads.count(IMAGES) == 1 else None


def _row(line: str, heads: Sequence[str]) -> tuple[str, dict] | None:
    """The name of a row of a table and its numbers by metric, by place for the row of the accuracy; None: no row."""
    delimiter = next((mark for mark in "\t|;," if mark in line), " ")
    if delimiter == " ":
        of_metrics = list(_NUMBER.finditer(line))[1 - len(heads) :]  # a name may hold numbers
        name = line[: of_metrics[0].start()].strip(" *") if of_metrics else ""
        by_place = dict(enumerate(map(_as_printed, of_metrics), 1))
    else:
        cells = cells_of(line, delimiter)
        heads = ["", *heads] if len(cells) == len(heads) + 1 else heads  # the corner is empty
        name = cells[0] or next((cell for cell in cells if cell and not _NUMBER.fullmatch(cell)), "")
        found = {place: _NUMBER.fullmatch(cell) for place, cell in enumerate(cells) if cell != name}
        by_place = {place: _as_printed(number) for place, number in found.items() if number}
    if not name or not by_place:
        return None
    if _metric(name) in OVERALL:
        return name, by_place
    if delimiter == " " and len(by_place) != len(heads) - 1:
        return None
    by_metric = {heads[place]: text for place, text in by_place.items() if place < len(heads) and heads[place]}
    return (name, by_metric) if by_metric else None


def _as_printed(number: re.Match) -> str:
    return f"{number[1]}{'%' if number[2] else ''}"


def _in_sentences(lines: Mapping[int, str], classes: Sequence[str]) -> Iterator[_Found]:
    """Figures of lines such as ``recall mel 0.73``, ``mel: recall 0.73, precision 0.56`` or ``F1 (macro) = 0.61``.

    A number belongs to the last metric and the last class or average before it; a line without a metric takes that of
    the last line that names a metric and has no number.
    """
    names = sorted({*classes, *_NAMES}, key=len, reverse=True)
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b", re.I)
    heading = ""
    for number, line in lines.items():
        line = _ASIDE.sub(" ", line)
        marks = [(found.start(), "metric", str(found.lastgroup).replace("_", " ")) for found in _METRIC.finditer(line)]
        inside = [(found.start(), found.end()) for found in _METRIC.finditer(line)]
        marks += [(found.start(), "of", found[1].lower()) for found in _AVERAGE.finditer(line)]
        marks += [
            (found.start(), "of", _as_named(found[0], classes))
            for found in word.finditer(line)
            if not any(low <= found.start() < high for low, high in inside)
        ]
        numbers = [found for found in _NUMBER.finditer(line) if not any(a <= found.start() < b for a, b in inside)]
        if not numbers:
            heading = next((value for _, kind, value in marks if kind == "metric"), heading)
            continue
        metric, of, pending = heading, "", sorted(marks)
        for found in numbers:
            for _, kind, value in [mark for mark in pending if mark[0] < found.start()]:
                metric, of = (value, of) if kind == "metric" else (metric, value)
            pending = [mark for mark in pending if mark[0] >= found.start()]
            if metric == "other" or (metric != IMAGES and _COUNTED.match(line, found.end())):
                continue
            if metric:
                yield number, metric, "" if metric in OVERALL else of, _as_printed(found)


def _as_named(word: str, classes: Sequence[str]) -> str:
    return next((name for name in classes if name.casefold() == word.casefold()), word)
