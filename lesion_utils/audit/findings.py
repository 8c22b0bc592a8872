"""The audit of a table of cases: one row a finding, with the rule that made it one."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import MonteCarloMethod, chi2_contingency, hypergeom

from lesion_utils.audit.overlap import KINDS, connected, shared, tied

COLUMNS = ["what", "where", "images", "lesions", "groups", "severity", "sentence", "examples"]
SEVERITIES = ("leak", "label", "confounding", "information")
METADATA = ("dx_type", "sex", "localization")
CHANCE = 0.001  # a pattern that chance makes in fewer sets than this is a finding
ASSOCIATION = 0.1  # Cramér's V from which a source counts as confounded (Cohen 1988: small)

_ORDER = ("train", "validation", "test")  # of the parts, where a split has them
_TABLES = 9999  # random tables behind a p value
_EXAMPLES = 4


def findings(cases: pd.DataFrame, threads: int, others: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """What is wrong with ``cases``, within and between the parts of its column ``split`` and against other sets.

    One row a finding: ``what, where, images, lesions, groups`` (counts of what is involved, on all sides)``, severity,
    sentence, examples`` (a few image ids). ``others`` are named case tables that only comparisons read. Without a column
    ``split`` the whole table is one part. No row, no finding; what cannot be tested is a row that says so.

    Kinds, by ``severity``:

    * *leak*: between two parts, any of ``overlap.KINDS``. Same id, lesion and pixels are facts of their own, so one pair
      may count under each; a near-duplicate counts only where none of them ties the images.
    * *information*: the same within a part, or with another set.
    * *label*: one image (same id or pixels) under two labels; one lesion under two labels, these images left out.
    * *confounding*: a value of ``METADATA`` that occurs with one class only although so many lesions would do so by
      chance with a probability below ``CHANCE`` (hypergeometric, divided by the number of values); a ``source`` whose
      association with the class, counted by lesion, has a bias-corrected Cramér's V (Bergsma, J Korean Stat Soc 42:323,
      2013) of ``ASSOCIATION`` or more and a p value below ``CHANCE`` (chi-square against random tables of the same
      margins).

    Raises InputError for a file that cannot be decoded.
    """
    sets = {_WHOLE: cases, **(others or {})}
    table = pd.concat(sets.values(), ignore_index=True)
    member = pd.Series(np.repeat(list(sets), [len(one) for one in sets.values()]), index=table.index)
    own = member == _WHOLE
    numbers = tied(table, threads)
    rows = [*_overlaps(table, numbers, _places(table, own, member)), *_two_labels(table[own], numbers[own])]
    rows += [*_metadata(table[own]), *_source(table[own])]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(
        "severity", key=lambda column: column.map(SEVERITIES.index), kind="stable", ignore_index=True
    )


def _row(table: pd.DataFrame, what: str, where: str, groups: int, severity: str, sentence: str) -> dict:
    """A finding; ``table`` are the cases involved."""
    examples = list(table["image_id"][:_EXAMPLES])
    counts = (len(table), table["lesion_id"].nunique(), groups)
    return dict(zip(COLUMNS, (what, where, *counts, severity, sentence, examples), strict=True))


# ---------------------------------------------------------------------------------------------------------- overlap

_Place = tuple[str, pd.Series, str, pd.Series, str]  # name and cases of one side, of the other, severity


def _places(table: pd.DataFrame, own: pd.Series, member: pd.Series) -> Iterator[_Place]:
    split = table["split"].where(own) if "split" in table else pd.Series(_WHOLE, index=table.index).where(own)
    there = set(split.dropna())
    parts = {part: split == part for part in sorted(there, key=lambda part: (_ORDER.index(part) if part in _ORDER else 9, part))}
    for part, inside in parts.items():
        yield part, inside, part, inside, "information"
    for one, other in combinations(parts, 2):
        yield other, parts[other], one, parts[one], "leak"
    for name in member[~own].unique():
        yield _WHOLE, own, name, member == name, "information"


def _overlaps(table: pd.DataFrame, numbers: pd.DataFrame, places: Iterator[_Place]) -> Iterator[dict]:
    for one, these, other, those, severity in places:
        for kind in KINDS:
            involved = shared(numbers[kind], these, those)
            if not involved.any():
                continue
            partners = shared(numbers[kind], those, these)
            where = f"within {one}" if one == other else f"between {other} and {one}"
            with_whom = "another there" if one == other else f"{partners.sum():,} of {those.sum():,} in {other}"
            sentence = f"{involved.sum():,} of {these.sum():,} images in {one} {_HAVE[kind]} {with_whom}."
            groups = numbers.loc[involved, kind].nunique()
            yield _row(table[involved | partners], kind, where, groups, severity, sentence)


_HAVE = dict(
    zip(KINDS, ("share their id with", "share their lesion with", "share their pixels with", "nearly equal"), strict=True)
)


# ----------------------------------------------------------------------------------------------------------- labels


def _two_labels(cases: pd.DataFrame, numbers: pd.DataFrame) -> Iterator[dict]:
    image = pd.Series(connected(numbers[["same id", "same pixels"]]), index=cases.index)
    torn = cases["label"].groupby(image).transform("nunique") > 1
    yield from _labels(cases[torn], image[torn], "image")
    lesion = numbers.loc[~torn & (numbers["same lesion"] >= 0), "same lesion"]
    torn = cases["label"].groupby(lesion).transform("nunique") > 1
    yield from _labels(cases[torn], lesion[torn], "lesion")
