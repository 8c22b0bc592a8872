"""The audit of a table of cases: one row a finding, by stated rules."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import MonteCarloMethod, chi2_contingency, hypergeom

from lesion_utils.audit.connected import connected
from lesion_utils.audit.links import KINDS, shared, tied

COLUMNS = ["what", "where", "images", "lesions", "groups", "severity", "sentence", "examples"]
SEVERITIES = ("leak", "label", "confounding", "information")
METADATA = ("dx_type", "sex", "localization")
CHANCE = 0.001  # what chance makes more often is no finding
ASSOCIATION = 0.1  # bias-corrected Cramér's V from which a source counts as confounded; Cohen (1988) calls it small

_ALL = "all cases"
_PARTS = ("train", "validation", "test")  # in this order
_RANDOM_TABLES = 9999
_EXAMPLES = 4


def findings(
    cases: pd.DataFrame, threads: int, others: dict[str, pd.DataFrame] | None = None, grouped_by: str = "lesion"
) -> pd.DataFrame:
    """What is wrong with ``cases``: within and between the parts of its column ``split``, and against other sets.

    One row a finding: ``what, where, images, lesions, groups`` (how many are involved, on all sides)``, severity,
    sentence, examples`` (some image ids), the gravest first. ``others`` are case tables by name. A table without a
    column ``split`` is one part. ``grouped_by`` says what ``lesion_id`` names. What cannot be tested is a row that says
    so. By ``severity``:

    * *leak*: between two parts, each of ``overlap.KINDS``. Same id, lesion and pixels are facts of their own, and a
      pair of images counts under each that it shows; a near-duplicate counts only where none of the three ties them.
    * *information*: the same within a part, or with another set.
    * *label*: one image (same id or pixels) under two labels; one lesion under two labels, those images left out. A
      patient may have lesions of two kinds: where images are grouped by patient, that is no finding.
    * *confounding*: a value of ``METADATA`` with one class only, if so many lesions would be of one class with a
      probability below ``CHANCE`` (hypergeometric, Bonferroni over all values of all columns); and a ``source`` with a
      Cramér's V, by lesion, of ``ASSOCIATION`` or more (bias-corrected: Bergsma, J Korean Stat Soc 42:323, 2013) and
      a p value below ``CHANCE`` (chi-square against random tables with the same margins).

    Raises InputError for a file that cannot be decoded.
    """
    sets = {_ALL: cases} | {
        name: other.drop(columns="split", errors="ignore") for name, other in (others or {}).items()
    }
    table = pd.concat(sets.values(), ignore_index=True)
    name = pd.Series(np.repeat(list(sets), [len(one) for one in sets.values()]))
    own = name == _ALL
    numbers = tied(table, threads)
    rows = [*_overlaps(table, numbers, name), *_two_labels(table[own], numbers[own], grouped_by)]
    rows += [*_metadata(table[own]), *_source(table[own])]
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.sort_values("severity", key=lambda s: s.map(SEVERITIES.index), kind="stable", ignore_index=True)


def _row(what: str, where: str, involved: pd.DataFrame, groups: int, severity: str, sentence: str) -> tuple:
    counts = len(involved), involved["lesion_id"].nunique(), groups
    return what, where, *counts, severity, sentence, ", ".join(involved["image_id"][:_EXAMPLES])


# ---------------------------------------------------------------------------------------------------------- overlap


def _overlaps(table: pd.DataFrame, numbers: pd.DataFrame, name: pd.Series) -> Iterator[tuple]:
    own = name == _ALL
    part = table["split"].where(own, None) if "split" in table else name.where(own, None)
    there = set(part.dropna())
    parts = [*(one for one in _PARTS if one in there), *sorted(there - set(_PARTS))]
    for one in parts:
        yield from _shared(table, numbers, (one, part == one), (one, part == one), "information")
    for one, other in combinations(parts, 2):
        yield from _shared(table, numbers, (other, part == other), (one, part == one), "leak")
    for one in name[~own].unique():
        yield from _shared(table, numbers, (_ALL, own), (one, name == one), "information")


_VERBS = dict(zip(KINDS, ("share the id", "share the lesion", "share the pixels", "are near-duplicates"), strict=True))


def _shared(
    table: pd.DataFrame,
    numbers: pd.DataFrame,
    these: tuple[str, pd.Series],
    those: tuple[str, pd.Series],
    severity: str,
) -> Iterator[tuple]:
    (one, inside), (other, others) = these, those
    for kind in KINDS:
        here, there = shared(numbers[kind], inside, others), shared(numbers[kind], others, inside)
        if not here.any():
            continue
        sentence = f"{here.sum():,} of {inside.sum():,} images in {one} {_VERBS[kind]} of "
        sentence += "another there." if one == other else f"{there.sum():,} of {others.sum():,} images in {other}."
        where = f"within {one}" if one == other else f"between {other} and {one}"
        yield _row(kind, where, table[here | there], numbers.loc[here, kind].nunique(), severity, sentence)


# ----------------------------------------------------------------------------------------------------------- labels


def _two_labels(cases: pd.DataFrame, numbers: pd.DataFrame, grouped_by: str) -> Iterator[tuple]:
    image = pd.Series(connected(numbers[["same id", "same pixels"]]), index=cases.index)
    torn = cases["label"].groupby(image).transform("nunique") > 1
    yield from _labels("image", cases[torn], image[torn])
    if grouped_by != "lesion":
        return
    left = cases[~torn & (numbers["same lesion"] >= 0)]
    torn = left.groupby("lesion_id")["label"].transform("nunique") > 1
    yield from _labels("lesion", left[torn], left.loc[torn, "lesion_id"])


def _labels(thing: str, torn: pd.DataFrame, group: pd.Series) -> Iterator[tuple]:
    if torn.empty:
        return
    labels = torn.groupby(group)["label"].agg(lambda values: " + ".join(sorted(set(values)))).value_counts()
    under = ", ".join(f"{count:,} {pair}" for pair, count in labels.items())
    sentence = f"{labels.sum():,} {thing}(s) stand under more than one label: {under}."
    yield _row(f"one {thing} under two labels", _ALL, torn, labels.sum(), "label", sentence)


# ------------------------------------------------------------------------------------------------------ confounding


def _by_lesion(cases: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lesions by value of ``column`` (rows) and class; an image without a lesion id is a lesion of its own."""
    lesion = cases["lesion_id"].fillna(cases["image_id"])
    units = cases.assign(lesion=lesion).drop_duplicates(["lesion", column, "label"])
    return pd.crosstab(units[column], units["label"])


def _metadata(cases: pd.DataFrame) -> Iterator[tuple]:
    tables = {column: _by_lesion(cases, column) for column in METADATA if column in cases}
    values = sum(len(table) for table in tables.values())
    for column, table in tables.items():
        for value, counts in table.iterrows():
            n, lesions = counts.sum(), table.to_numpy().sum()
            by_chance = hypergeom.pmf(n, lesions, table.sum(), n).sum()
            if counts.max() < n or by_chance * values >= CHANCE:
                continue
            involved = cases[cases[column] == value]
            sentence = f"All {len(involved):,} images with {column} {value!r} ({n:,} lesions) are {counts.idxmax()}."
            yield _row(f"{column} tells the label", _ALL, involved, 1, "confounding", f"{sentence} Never an input.")


def _source(cases: pd.DataFrame) -> Iterator[tuple]:
    known = cases[cases["source"].notna()] if "source" in cases else cases[:0]
    if known["source"].nunique() < 2 or known["label"].nunique() < 2:
        there = "one class" if known["source"].nunique() > 1 else "one source" if len(known) else "no source is known"
        sentence = f"Whether source and class are confounded cannot be tested: {there}."
        yield _row("source", _ALL, cases[:0], 0, "information", sentence)
        return
    table = _by_lesion(known, "source")
    association, p = cramers_v(table.to_numpy())
    if association < ASSOCIATION or p >= CHANCE:
        return
    expected = np.outer(table.sum(axis=1), table.sum()) / table.to_numpy().sum()
    row, column = np.unravel_index(np.argmax((table - expected) / np.sqrt(expected)), table.shape)
    source, label = table.index[row], table.columns[column]
    inside = table.loc[source, label] / table[label].sum()
    outside = (table.loc[source].sum() - table.loc[source, label]) / table.drop(columns=label).to_numpy().sum()
    sentence = f"{inside:.0%} of the {table[label].sum():,} lesions of {label} come from {source!r}, of all others "
    sentence += f"{outside:.0%}; Cramér's V {association:.2f}, p < {CHANCE:g}."
    yield _row("source is confounded with the class", _ALL, known, table.shape[0], "confounding", sentence)


def cramers_v(table: np.ndarray) -> tuple[float, float]:
    """Bias-corrected Cramér's V (0 to 1) of a table of counts, two rows and columns or more, and its p value.

    The p value is the share of random tables with the same margins whose chi-square is as large; at least 1e-4.
    """
    random_tables = MonteCarloMethod(n_resamples=_RANDOM_TABLES, rng=np.random.default_rng(0))
    test = chi2_contingency(table, correction=False, method=random_tables)
    n, sides = table.sum(), np.array(table.shape)
    square = max(0.0, test.statistic / n - np.prod(sides - 1) / (n - 1))
    most = (sides - 1 - (sides - 1) ** 2 / (n - 1)).min()  # 0 where there are no more cases than rows or columns
    return float(np.sqrt(square / most)) if most > 0 else 0.0, float(test.pvalue)
