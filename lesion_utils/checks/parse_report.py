"""A classification report, or a list of scores, as papers and notebooks print them: each number with its name."""

import ast
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from lesion_utils.checks.findings import say
from lesion_utils.checks.parse_matrix import as_lines, cells_of
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.rounding import printed_range
from lesion_utils.views import CLASS_NAMES, code_of

EXPECTED = "a classification report as scikit-learn prints it, a table of scores by class, or a line per score"
RATES = ("precision", "recall", "f1", "specificity")  # of a class, or averaged over classes
OVERALL = ("accuracy", "balanced accuracy")
IMAGES = "images"
AVERAGE = "average"  # over classes or runs, the text does not say how
AVERAGES = ("macro", "weighted", "micro", AVERAGE)
_SAMPLES = "samples"  # an average over images with several labels each: not judged
_OTHER = "other"  # a score that is not judged

_WORDS = {
    "balanced accuracy": r"balanced[ -](?:multi-?class[ -])?acc(?:uracy)?|mean class accuracy|bacc|bmca?|uar"
    r"|balancierte genauigkeit",
    "accuracy": r"accuracy|acc|genauigkeit(?!\s*\()",
    "precision": r"(?:genauigkeit\s*\()?precision\)?|prec|ppv|positive predictive value|präzision",
    "recall": r"recall|rec|sensitivity|sens?|true positive rate|tpr|sensitivität|trefferquote",
    "f1": r"f[ -]?1(?:[ -]?(?:score|measure|maß|wert))?|f[ -](?:score|measure)",
    "specificity": r"specificity|spec?|true negative rate|tnr|spezifität",
    IMAGES: r"support(?! vector)|images|n|count|samples|anzahl|bilder",
}
_JUDGED = "|".join(_WORDS.values())
_OTHERS = (
    r"(?:macro|micro|mean|roc|prc?)?[ -]?(?:auc|area)|auroc|[tf][pn] rate|kappa|mcc|log[ -]?loss|threshold|epochs?"
    r"|loss|npv|fpr|fnr|iou|dice|ece"
    r"|negative predictive value|false (?:positive|negative) rate|error(?: rate)?|top[ -]?[\dk][ -]acc(?:uracy)?"
    rf"|(?:{_JUDGED})(?:\s*/\s*(?:{_JUDGED}))+"  # two numbers follow: 0.73/0.91
    # at a threshold of its own: sensitivity at 95% specificity, recall @ specificity 0.9
    rf"|(?:{_JUDGED})\s*(?:at|@)\s*(?:(?:an?|the|fixed)\s+)*(?:[\d.]+\s*%?\s*)?(?:{_JUDGED})(?:\s*(?:of|=)?\s*[\d.]+\s*%?)?"
)
_ELSEWHERE = r"train(?:ing)?|delta|Δ|gain|improvement|increase|change"  # not a score of the test set
_HELD_OUT = r"|val(?:idation)?|dev"  # nor is this, beside one
_HEADS = {"p": "precision", "r": "recall", "f": "f1", "#": IMAGES}  # of a column, alone in its cell
_AVERAGE = re.compile(r"\b(?:ma[ck]ro|weighted|gewichtet|mi[ck]ro|samples)\b", re.I)
_SUMMARY = re.compile(r"\b(?:avg|average|mean|total|overall|all|sum|durchschnitt|gesamt)\b", re.I)
_AVERAGED = re.compile(rf"{_AVERAGE.pattern}|\b(?:mean|average|avg|mittel)\b", re.I)
_FILLER = re.compile(
    r"\b(?:score|rate|test|set|the|per|by|of|in|class(?:es)?|value|result|metric|unweighted|grand)\b|[\W\d]", re.I
)
_COLUMN_OF_ONE = re.compile(r"\W*(?:value|score|result|test|ours|wert|ergebnis)?\W*", re.I)
_FRACTION = r"\d+\s*/\s*\d+"
_NUMBER = re.compile(
    rf"(?<![\w.,/])({_FRACTION}|\d{{1,3}}(?:,\d{{3}})+|(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d{{1,2}})?)(\s*%)?"
    r"(?![\w/]|[.,]\d|\s*-?\s*(?:class|way|fold)\b)"
)
_ASIDE = re.compile(
    r"\([^()]*(?:CI|±|\d%?\s*(?:(?:-|–|to|;)\s*\.?\d|,\s*\d?\.\d))[^()]*\)|\[[^\[\]]*\]|±\s*[\d.]+\s*%?|\(\s*%\s*\)",
    re.I,
)
_OVER_RUNS = re.compile(
    r"±|\bstd\b|\bfolds?\b|\bcross.?validat|\b(?:mean|averaged?) (?:of|over) \w+ (?:run|seed)", re.I
)
_COUNTED = r"(?:test|validation|training|unseen)?\s*(?:images|cases|lesions|patients|pictures|bilder)\b"
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
    over_runs: bool = False  # means over runs or folds: no counts are behind them
    whole: bool = False  # the classes of ``images`` are all classes


class _Label(NamedTuple):
    """What the name of a row or a column says: a metric, and whose it is; either may be empty."""

    metric: str
    of: str


_Found = tuple[int, str, str, str]  # line, metric, class or average, the number as it is printed


def read_figures(text: str, class_counts: Mapping[str, int] | Sequence[int] | None = None) -> Printed:
    """All figures in ``text``: of a table with classes or metrics in its rows, of JSON, of sentences and lines such as
    ``recall mel 0.73``.

    ``class_counts`` are the images of each class, by name, or in the order in which the text names the classes. Raises
    InputError if there is no figure, for scores of several models, a figure that is printed twice with values that
    contradict, a score above 1 or 100%, and class counts that do not belong to the classes.
    """
    if not text.strip():
        raise InputError(f"the text is empty. Expected {EXPECTED}.")
    named, notes = [*class_counts] if isinstance(class_counts, Mapping) else [], list[str]()
    found = _in_json(text, notes)
    if found is None:
        text = _plain(text)
        found = [*_in_text(text, named, notes)]
    found = _one_name_each([each for each in found if each[1] != _OTHER and each[2] != _SAMPLES])
    classes = list(dict.fromkeys(of for _, _, of, _ in found if of and of not in AVERAGES))
    images, total = _images(found, classes, class_counts)
    rates = [each for each in found if each[1] != IMAGES]
    if not rates:
        raise InputError(f"no score in the text. Expected {EXPECTED}.")
    plain = {
        each: float(each[3].replace(",", "")) for each in rates if "/" not in each[3] and not each[3].endswith("%")
    }
    in_percent = {metric for (_, metric, _, _), value in plain.items() if value > 1}
    if in_percent:
        notes.append(f"numbers above 1 were read as percentages: {first_ten(sorted(in_percent))}")
    figures: dict[tuple[str, str], tuple[int, Figure]] = {}
    for number, metric, of, printed in rates:
        figure = _figure(metric, of, printed, printed.endswith("%") or metric in in_percent)
        before, same = figures.setdefault((metric, of), (number, figure))
        low, high = max(figure.low, same.low), min(figure.high, same.high)
        exact = 1e-9 if min(same.high - same.low, figure.high - figure.low) < 1e-9 else -1e-9
        if low > high + exact:  # rounded ones must share more than an end
            what = f"{of + ' ' if of else ''}{metric}"
            problem = f"{what} is {same.printed} in line {before} and {printed} in line {number}"
            raise InputError(
                f"{problem}. Expected one value, of one model. Fix: one score per line, as `recall mel 0.73`."
            )
        narrower = min(same, figure, key=lambda each: each.high - each.low)
        figures[metric, of] = before, narrower._replace(low=low, high=high)
    over_runs = bool(_OVER_RUNS.search(text))
    if over_runs:
        notes.append(say("over runs"))
    is_set = {code_of(name) for name in images} == {*ham10000.CLASSES}
    averaged = any(of in ("macro", "weighted") for _, of in figures)
    all_named = set(classes) <= set(images) and (class_counts is not None or is_set or averaged)
    whole = total == sum(images.values()) or (total is None and all_named)
    return Printed([figure for _, figure in figures.values()], images, total, notes, over_runs, whole)


def _one_name_each(found: Sequence[_Found]) -> list[_Found]:
    """``found`` with one name for a class that the text calls mel, melanoma and MELANOMA; two classes of which one is a
    kind of the other have figures of the same metric.
    """
    names = {
        of: {metric for _, metric, name, _ in found if name == of} for of in dict.fromkeys(of for _, _, of, _ in found)
    }
    renamed: dict[str, str] = {}
    for name, its in names.items():
        for other in renamed.values():
            alike = name.casefold() == other.casefold()
            if alike or (code_of(name) and code_of(name) == code_of(other) and not its & names[other]):
                renamed[name] = other
                names[other] = names[other] | its
                break
        else:
            renamed[name] = name
    return [(line, metric, renamed[of], text) for line, metric, of, text in found]


def _figure(metric: str, of: str, printed: str, is_percent: bool) -> Figure:
    if "/" in printed:
        hits, size = map(int, printed.split("/"))
        low = high = hits / size if size else 2.0
    else:
        low, high = (end / (100 if is_percent else 1) for end in printed_range(printed.strip(" %")))
    if low > 1:
        raise InputError(f"{of + ' ' if of else ''}{metric} {printed}: expected a share, at most 1 or 100%.")
    return Figure(metric, of, printed, max(low, 0.0), min(high, 1.0))


def _images(
    found: Iterable[_Found],
    classes: Sequence[str],
    given: Mapping[str, int] | Sequence[int] | None,
) -> tuple[dict[str, int], int | None]:
    """The images of each class, and of all, as they are printed or ``given``, or below the fractions of all recalls."""
    printed: dict[str, int] = {}
    below: dict[str, int] = {}
    for line, metric, of, text in found:
        if metric == IMAGES:
            if text.endswith("%") or float(text.replace(",", "")) % 1:
                raise InputError(f"line {line}: {text} images: expected a whole number.")
            n = int(float(text.replace(",", "")))
            if printed.setdefault(of, n) != n:
                raise InputError(f"images of {of or 'all'}: {printed[of]:,} and, in line {line}, {n:,}. Expected one.")
        elif "/" in text and metric in ("recall", "accuracy"):
            below[of] = int(text.split("/")[1])
    total = next((printed.pop(of) for of in ("", *AVERAGES) if of in printed), None)
    images = {name: n for name, n in printed.items() if name not in AVERAGES}
    if given is not None:
        if not isinstance(given, Mapping):
            if len(given) != len(classes):
                problem = f"--class-counts has {len(given)} numbers; the text names {len(classes)} classes"
                raise InputError(f"{problem}: {first_ten(classes) or 'none'}. Fix: --class-counts mel=55,nv=257")
            given = dict(zip(classes, given, strict=True))
        of_code = {code_of(name): name for name in classes}
        given = {name if name in classes else of_code.get(code_of(name) or "", name): n for name, n in given.items()}
        if differ := [name for name, n in images.items() if given.get(name, n) != n]:
            raise InputError(f"--class-counts contradicts the text on {first_ten(differ)}. Fix: leave it out.")
        images |= given
    if not images and len(classes) > 1 and set(classes) <= set(below):
        images, total = {name: below[name] for name in classes}, below.get("", total)
    missing = [name for name in classes if name not in images]
    if given is not None and (missing or len(images) == 1):
        problem = f"class counts of {first_ten(images)} only ({sum(images.values()):,} images)"
        raise InputError(f"{problem}. Fix: give those of all classes, --class-counts mel=55,nv=257")
    return images, total


# ------------------------------------------------------------------------------------------------------------- words


def _plain(text: str) -> str:
    """``text`` with one spelling of signs and of numbers; decimal commas become points."""
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}\b)", "", text)
    text = re.sub(r"[\u00a0\u2009\u202f]", " ", text).replace("\\%", "%")
    text = re.sub(r"\\pm\b|\+\s*/\s*-|\+-", "±", text).replace("$", "")
    if not re.search(r"\d\.\d", text) and re.search(r"(?<![\d.,])0,\d|\d,\d+\s*%|;.*\d,\d", text):
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    return text


@functools.cache
def _metrics(beside_test: bool = False) -> re.Pattern:
    """The names of scores, the longest first where one contains another; those of other sets of images as others."""
    elsewhere = _ELSEWHERE + (_HELD_OUT if beside_test else "")
    others = (
        rf"{_OTHERS}|(?:{elsewhere})\W{{0,3}}(?:set\s+|in\s+)?(?:{_JUDGED})"
        rf"|(?:{_JUDGED})\s*(?:\(|(?:on|for|in)\s)?\s*(?:the\s+)?(?:{elsewhere})"
    )
    words = {_OTHER: others, **_WORDS}
    return re.compile(
        "|".join(rf"(?P<{name.replace(' ', '_')}>(?<!\w)(?:{of})(?!\w))" for name, of in words.items()), re.I
    )


def _name_of(found: re.Match) -> str:
    return str(found.lastgroup).replace("_", " ")


def _average(word: str) -> str:
    """The average of AVERAGES, or that over samples, which ``word`` means."""
    plain = word.lower().replace("k", "c").replace("gewichtet", "weighted")
    return plain if plain in (*AVERAGES, _SAMPLES) else AVERAGE


def _label(cell: str, metrics: re.Pattern) -> _Label:
    """What a cell with a name says: ``F1 (macro)``, ``mel_recall``, ``Test Precision in %``, ``macro avg``, ``mel``."""
    text, plain = (of.strip(" *:`\"'") for of in (_ASIDE.sub(" ", cell.replace("_", " ")), cell))
    if text.lower() in _HEADS:
        return _Label(_HEADS[text.lower()], "")
    found, average = list(metrics.finditer(text)), _AVERAGE.search(text)
    rest = _AVERAGE.sub(" ", metrics.sub(" ", text))
    of = _average(average[0]) if average else AVERAGE if _SUMMARY.search(rest) else ""
    if _FILLER.sub("", _SUMMARY.sub(" ", rest)):
        name = rest.strip(" -:()")
        return _Label(_name_of(found[0]), name) if len(found) == 1 and code_of(name) else _Label("", plain)
    if len(found) > 1:
        return _Label("", cell)
    if found:
        metric = _name_of(found[0])
        return _Label(metric, "" if metric in OVERALL and of == AVERAGE else of)
    return _Label("", of or plain)


# -------------------------------------------------------------------------------------------------------------- JSON


def _in_json(text: str, notes: list[str]) -> list[_Found] | None:
    """The figures of nested JSON, such as scikit-learn's ``output_dict``; None for any other text."""
    try:
        report = json.loads(text) if '"' in text else ast.literal_eval(text.strip())  # or as Python prints a dict
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(report, dict):
        return None
    metrics, unread, leaves = _metrics(), list[str](), list[tuple[str, list[str], str]]()
    for path, value in _leaves(report, ()):
        labels = [_label(part, metrics) for part in path]
        scores = [label.metric for label in labels if label.metric]
        if len(scores) != 1 or not isfinite(value):
            unread.append(".".join(path))
        elif scores[0] != _OTHER:
            leaves.append((scores[0], [label.of for label in labels if label.of], repr(value)))  # with its own digits
    depth = max((len(of) for _, of, _ in leaves), default=0)
    outer = {of[0] for _, of, _ in leaves if len(of) == depth}
    if depth > 1 and (len(outer) > 1 or depth > 2):
        raise InputError(f"scores of several models: {first_ten(sorted(outer))}. Fix: paste those of one model.")
    if unread:
        notes.append(say("unread", what=first_ten(unread)))
    return [
        (1, metric, of[-1] if of and (depth < 2 or of[-1] not in outer) else "", text) for metric, of, text in leaves
    ]


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
    for name, of in items:
        yield from _leaves(of, (*path, str(name)))


# -------------------------------------------------------------------------------------------------------------- text


class _Table:
    """The table whose rows are read now: the delimiter of its columns, and what their names say."""

    def __init__(self, delimiter: str, heads: list[_Label], name_last: bool = False) -> None:
        self.delimiter, self.heads, self.name_last = delimiter, heads, name_last  # the name last, as Weka prints it
        self.of_classes = not any(head.metric for head in heads)  # a class per column, a metric per row
        self.model = ""  # the name of the row, where rows are models

    def row(self, line: str) -> tuple[str, dict[int, str]] | None:
        """The name of the row in ``line`` and its numbers by place; None if ``line`` is not a row of the table."""
        if self.delimiter == " ":
            numbers = list(_NUMBER.finditer(line))
            numbers = numbers[: len(self.heads) - 1] if self.name_last else numbers[1 - len(self.heads) :]
            if not numbers:  # a name may hold numbers, too
                return None
            places = range(len(self.heads) - len(numbers), len(self.heads))
            name = line[numbers[-1].end() :] if self.name_last else line[: numbers[0].start()]
            cells = {place: of[0] for place, of in zip(places, numbers, strict=True)}
        else:
            parts = cells_of(line, self.delimiter)
            shift = len(self.heads) - len(parts)  # the corner may be missing
            if shift not in (0, -1):
                return None
            named = [at for at, of in enumerate(parts) if of and not _values(of)]
            known = [at for at in named if at + shift >= 0 and not self.heads[at + shift].metric] or named or [0]
            name = parts[known[0]]
            cells = {
                at + shift: of for at, of in enumerate(parts) if at != known[0] and at + shift >= 0 and _values(of)
            }
        return (name.strip(" *:"), cells) if name.strip(" *:") and cells else None


def _values(cell: str) -> list[str]:
    """The numbers of a cell that holds nothing else: ``0.72``, ``73.9 %``, ``17/23 (73.9%)``."""
    return [_as_printed(found) for found in _NUMBER.finditer(cell)] if not _NUMBER.sub("", cell).strip(" ()*") else []


def _as_printed(number: re.Match) -> str:
    return f"{number[1].replace(' ', '')}{'%' if number[2] else ''}"


def _in_text(text: str, classes: Sequence[str], notes: list[str]) -> Iterator[_Found]:
    metrics = _metrics(bool(re.search(r"\btest\b", text, re.I)))
    rest: dict[int, str] = {}
    table: _Table | None = None
    for number, line in as_lines(text).items():
        line = _ASIDE.sub(" ", line)
        if header := _header(line, metrics, classes):
            table = header
            names = [head for head in header.heads if head.metric in RATES]
            if twice := [name for name in names if names.count(name) > 1]:
                problem = f"line {number} has more than one column of {twice[0].metric}: a table of several models"
                raise InputError(f"{problem}? Fix: paste the scores of one model.")
        elif table and (row := table.row(line)):
            yield from _in_row(number, table, *row, metrics, classes, notes)
        elif metrics.search(line.replace("_", " ")) or any(map(code_of, re.split(r"[\s:=,]+", line))) or classes:
            rest[number] = line
    yield from _in_sentences(rest, metrics, classes, notes)


def _header(line: str, metrics: re.Pattern, classes: Sequence[str]) -> _Table | None:
    """The table that begins with ``line``; None if ``line`` does not name its columns by metrics or classes."""
    if _NUMBER.search(line.replace(",", " , ")):
        return None
    for delimiter in (mark for mark in "\t|;," if mark in line):
        heads = [_label(cell, metrics) for cell in cells_of(line, delimiter)]
        judged = [head.metric for head in heads if head.metric in RATES + OVERALL]
        if len(judged) > 1 or (judged and len(heads) == 2) or [head.metric for head in heads].count(IMAGES) == 1:
            return _Table(delimiter, heads)
        known = [head.of for head in heads if head.of in AVERAGES or head.of in classes or code_of(head.of)]
        is_one = len(heads) == 2 and not heads[1].metric and _COLUMN_OF_ONE.fullmatch(heads[1].of)
        if is_one and re.search(r"metric|score|measure|^$", heads[0].of, re.I):
            return _Table(delimiter, [heads[0], _Label("", "")])
        if len(known) > 1 and len(known) >= len(heads) - 1:
            return _Table(delimiter, heads)
        return None
    words = line.split()
    apart = [_label(cell, metrics) for cell in re.split(r"\s{2,}", line.strip())]
    if words[-1:] in (["Class"], ["class"]) and len(heads := [head for head in apart if head.metric]) > 1:
        return _Table(" ", [_Label("", ""), *heads], name_last=True)
    if sum(head.metric != "" for head in apart) > 1 and any(head.metric in RATES for head in apart):
        return _Table(" ", [_Label("", ""), *(head for head in apart if head.metric)])
    if len(words) > 1 and all(code_of(word) or word in classes for word in words):
        return _Table(" ", [_Label("", ""), *(_Label("", word) for word in words)])
    heads = [_Label(_name_of(found), "") for found in metrics.finditer(line)]
    if len(heads) < 2 and {word.lower() for word in words} >= {"p", "r"}:
        heads = [_label(word, metrics) for word in words if word.lower() in _HEADS or metrics.fullmatch(word)]
    return _Table(" ", [_Label("", ""), *heads]) if sum(head.metric in RATES for head in heads) > 1 else None


def _in_row(
    number: int,
    table: _Table,
    name: str,
    cells: Mapping[int, str],
    metrics: re.Pattern,
    classes: Sequence[str],
    notes: list[str],
) -> Iterator[_Found]:
    label, heads = _label(name, metrics), table.heads
    if label.metric and not table.of_classes:  # the row of the accuracy, whose cells are under other heads
        if label.metric in OVERALL:
            values = [value for cell in cells.values() for value in _values(cell)]
            yield number, label.metric, "", values[0]
            if (
                len(values) > 1
                and re.fullmatch(r"[\d,]+(?:\.0+)?", values[-1])
                and values[-1].strip("0.") not in ("", "1")
            ):
                yield number, IMAGES, "", values[-1]
        return
    if table.of_classes and not label.metric:
        return
    is_class = bool(code_of(name)) or name in classes or label.of in (*AVERAGES, _SAMPLES)
    has_accuracy = any(heads[place].metric in OVERALL or heads[place].of for place in cells) and not table.of_classes
    if has_accuracy and not is_class:
        if table.model:
            problem = (
                f"line {number}: {name!r} has its own accuracy or average, as {table.model!r} has: rows are models"
            )
            raise InputError(f"{problem}? Fix: paste the scores of one model.")
        table.model, label = name, _Label("", "")
    for place, cell in cells.items():
        metric = heads[place].metric or label.metric
        of = heads[place].of or label.of
        if metric in OVERALL and of:
            if of not in AVERAGES:
                notes.append(say("accuracy of a class", of=of))
            elif metric == "accuracy":
                yield from ((number, metric, "", value) for value in _values(cell))
        elif metric:
            yield from ((number, metric, of, value) for value in _values(cell))


class _Token(NamedTuple):
    """A part of a sentence that says something."""

    start: int
    end: int
    kind: str  # metric, of (a class or an average), number
    value: str


def _in_sentences(
    lines: Mapping[int, str], metrics: re.Pattern, classes: Sequence[str], notes: list[str]
) -> Iterator[_Found]:
    """Figures of lines such as ``recall mel 0.73``, ``mel: recall 0.73, precision 0.56`` or ``83% accuracy``.

    Where a line begins with a name, a number belongs to the last metric before it, and to the class that follows it
    (``0.73 for melanoma``), or else the last class or average before it. Where it begins with a number, names follow
    theirs. A metric, or a class, alone in its line is that of the lines below it that name none.
    """
    names = "|".join(re.escape(name) for name in sorted({*classes, *_NAMES}, key=len, reverse=True))
    names = rf"(?:non[- ]?)?(?:{names.replace('_', '[ _]')})"
    word = re.compile(rf"(?<![\w-])(?:{names})(?!\w)", re.I)
    after = re.compile(rf"\s*(?:\(\s*|(?:for|in|on|of)\s+(?:the\s+)?(?:class\s+)?)(?P<name>{names})s?\b", re.I)
    counted = re.compile(rf"\s*(?:{_COUNTED}|{names}s?\b)", re.I)
    heading = whose = ""
    for at, line in lines.items():
        line = re.sub(r"(?<=[^\d\s]),(?=[\d.])", ", ", line.replace("_", " "))
        found = [_Token(*each.span(), "metric", _name_of(each)) for each in metrics.finditer(line)]
        found += [_Token(*each.span(), "of", _average(each[0])) for each in _AVERAGED.finditer(line)]
        found += [_Token(*each.span(), "of", _as_named(each[0], classes)) for each in word.finditer(line)]
        named = [
            of for of in found if not any(other.start <= of.start < other.end for other in found if other is not of)
        ]
        numbers = []
        for each in _NUMBER.finditer(line):
            what = counted.match(line, each.end())
            if what and each[0].replace(",", "").isdigit() and each[0] != "1":  # 50 melanomas
                named = [of for of in named if not what.start() <= of.start < what.end()]
            elif not any(of.start <= each.start() < of.end for of in named):
                numbers.append(_Token(*each.span(), "number", _as_printed(each)))
        scores = [of for of in named if of.kind == "metric"]
        if not numbers:
            heading = scores[0].value if scores else heading
            whose = next((of.value for of in named if of.kind == "of"), "") if not scores else whose
            continue
        value_first = bool(scores) and numbers[0].start < scores[0].start
        bind = _before if value_first else _after
        unread = False
        for score, of, number in bind(sorted([*named, *numbers]), heading):
            following = None if value_first else after.match(line, number.end)
            of = _as_named(following["name"], classes) if following else of or (whose if score not in OVERALL else "")
            if score in OVERALL and of and of not in AVERAGES:
                notes.append(say("accuracy of a class", of=of))
            elif score and score != _OTHER:
                yield at, score, "" if score in OVERALL else of, number.value
            else:
                unread = True
        if unread and (others := [line[of.start : of.end] for of in scores if of.value == _OTHER]):
            notes.append(say("unread", what=first_ten(dict.fromkeys(others))))


def _after(tokens: Sequence[_Token], heading: str) -> Iterator[tuple[str, str, _Token]]:
    """The metric and the class, or average, of each number: the last ones before it."""
    score, of, is_direct = heading, "", True
    averages = {token.value for token in tokens if token.value in AVERAGES}
    if len(averages) == 1 and not any(token.kind == "of" for token in tokens if token.start < _last(tokens).start):
        of = averages.pop()  # as in: precision 0.85, recall 0.83 (weighted)
    for token, before in zip(tokens, [None, *tokens], strict=False):
        if token.kind == "metric":
            score, is_direct = token.value, before is None or before.kind == "of"
        elif token.kind == "of":
            of, is_direct = token.value, before is not None and before.kind == "metric"
        else:  # the accuracy is of a class only if both stand together
            yield score, of if score not in OVERALL or is_direct else "", token


def _before(tokens: Sequence[_Token], heading: str) -> Iterator[tuple[str, str, _Token]]:
    """The metric and the class, or average, of each number: the first ones between it and the next number."""
    line_of = next((token.value for token in tokens[:1] if token.kind == "of"), "")
    places = [place for place, token in enumerate(tokens) if token.kind == "number"]
    score = of = ""
    for place, end in reversed([*zip(places, [*places[1:], len(tokens)], strict=True)]):
        inside = {token.kind: token.value for token in reversed(tokens[place + 1 : end])}
        if inside:  # without one: 72.7% (40/55) melanoma recall
            score, of = inside.get("metric", ""), inside.get("of", line_of)
        yield score, of, tokens[place]


def _last(tokens: Sequence[_Token]) -> _Token:
    return [token for token in tokens if token.kind == "number"][-1]


def _as_named(word: str, classes: Sequence[str]) -> str:
    return next((name for name in classes if name.replace("_", " ").casefold() == word.casefold()), word)
