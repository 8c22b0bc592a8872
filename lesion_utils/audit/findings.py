"""The audit of a case table: one row per finding, by stated rules."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from lesion_utils.audit.links import KINDS, connected_groups, link_groups, linked_to
from lesion_utils.rounding import number, percent

COLUMNS = ["what", "where", "images", "lesions", "groups", "severity", "sentence", "examples"]
SEVERITIES = ("leak", "label", "confounding", "information")
METADATA = ("dx_type", "sex", "localization")
CHANCE = 0.001  # what chance makes more often is not a finding
ASSOCIATION = 0.1  # bias-corrected Cramér's V from which a source counts as confounded; Cohen (1988) calls it small

_ALL = "all cases"
_ORDER = {"train": 0, "validation": 1, "test": 2}  # other splits follow
_RANDOM_TABLES = 9999
_EXAMPLES = 4
_VERBS = dict(zip(KINDS, ("share the id", "share the lesion", "share the pixels", "are near-duplicates"), strict=True))


def findings(
    cases: pd.DataFrame, threads: int, others: dict[str, pd.DataFrame] | None = None, grouped_by: str = "lesion"
) -> pd.DataFrame:
    """What is wrong with ``cases``: within and between the values of its column ``split``, and against other sets.

    One row per finding: ``what, where, images, lesions, groups`` (how many are involved in both sets)``, severity,
    sentence, examples`` (some image ids), the gravest first. ``others`` are case tables by name. A table without a
    column ``split`` is one split. ``grouped_by`` says what ``lesion_id`` identifies. What cannot be tested is a row
    that says so. By ``severity``:

    * *leak*: between two splits, each of ``links.KINDS``. A pair of images with the same id, lesion and pixels counts
      under each; a near-duplicate counts only where none of the three links the pair.
    * *information*: the same within a split, or with another set.
    * *label*: one image (same id or pixels) under two labels; one lesion under two labels, without these images. Where
      images are grouped by patient, the latter is not a finding: a patient may have lesions of two classes.
    * *confounding*: a value of ``METADATA`` with one class only, if so many lesions would be of one class with a
      probability below ``CHANCE`` (hypergeometric, Bonferroni over all values of all columns); and a ``source`` with a
      Cramér's V, by lesion, of ``ASSOCIATION`` or more (bias-corrected: Bergsma, J Korean Stat Soc 42:323, 2013) and
      a p value below ``CHANCE`` (chi-square against random tables with the same margins).

    Raises InputError for a file that cannot be decoded.
    """
    sets = {name: table.drop(columns="split", errors="ignore") for name, table in (others or {}).items()}
    table = pd.concat({_ALL: cases} | sets, names=["set"]).reset_index("set").reset_index(drop=True)
    own = table["set"] == _ALL
    groups = link_groups(table, threads)
    rows = [*_overlaps(table, groups), *_two_labels(table[own], groups[own], grouped_by)]
    rows += [*revealing(table[own]), *_source(table[own])]
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.sort_values("severity", key=lambda s: s.map(SEVERITIES.index), kind="stable", ignore_index=True)


def findings_sentence(found: pd.DataFrame) -> str:
    """How many findings of each severity there are, and which leaks."""
    counts = found["severity"].value_counts().reindex(SEVERITIES, fill_value=0)
    listed = ", ".join(f"{severity} {count}" for severity, count in counts.items())
    leaks = found[found["severity"] == "leak"]
    named = "; ".join(f"{row.what} {row.where}, {row.images:,} images" for row in leaks.itertuples())
    return f"{len(found)} findings: {listed}. Leaks: {named or 'none'}."


def _row(what: str, where: str, involved: pd.DataFrame, groups: int, severity: str, sentence: str) -> tuple:
    counts = len(involved), involved["lesion_id"].nunique(), groups
    return what, where, *counts, severity, sentence, ", ".join(involved["image_id"][:_EXAMPLES])


def _overlaps(table: pd.DataFrame, groups: pd.DataFrame) -> Iterator[tuple]:
    own = table["set"] == _ALL
    split = table["split" if "split" in table else "set"].where(own, None)
    splits = sorted(split.dropna().unique(), key=lambda name: (_ORDER.get(name, 3), name))
    others = table.loc[~own, "set"].unique()
    masks = {_ALL: own} | {name: split == name for name in splits} | {name: table["set"] == name for name in others}
    pairs = [(name, name, "information") for name in splits]
    pairs += [(second, first, "leak") for first, second in combinations(splits, 2)]
    pairs += [(_ALL, name, "information") for name in others]
    for left, right, severity in pairs:
        for kind in KINDS:
            linked = linked_to(groups[kind], masks[left], masks[right])
            partners = linked_to(groups[kind], masks[right], masks[left])
            if not linked.any():
                continue
            sentence = f"{linked.sum():,} of {masks[left].sum():,} images in {left} {_VERBS[kind]} of "
            where = f"within {left}" if left == right else f"between {right} and {left}"
            partner = f"{partners.sum():,} of {masks[right].sum():,} images in {right}"
            sentence += "another there." if left == right else f"{partner}."
            yield _row(kind, where, table[linked | partners], groups.loc[linked, kind].nunique(), severity, sentence)


def _two_labels(cases: pd.DataFrame, groups: pd.DataFrame, grouped_by: str) -> Iterator[tuple]:
    image = pd.Series(connected_groups(groups[["same id", "same pixels"]]), index=cases.index)
    of_image = cases["label"].groupby(image).transform("nunique") > 1
    others = cases[~of_image & (groups["same lesion"] >= 0)]
    of_lesion = others.groupby("lesion_id")["label"].transform("nunique") > 1
    units = [("image", cases[of_image], image)]
    if grouped_by == "lesion":
        units.append(("lesion", others[of_lesion], cases["lesion_id"]))
    for unit, conflicting, group in units:
        if len(conflicting):
            labels = conflicting.groupby(group)["label"].agg(lambda values: " + ".join(sorted(set(values))))
            counts = ", ".join(f"{count:,} {pair}" for pair, count in labels.value_counts().items())
            sentence = f"{len(labels):,} {unit}(s) have more than one label: {counts}."
            yield _row(f"one {unit} under two labels", _ALL, conflicting, len(labels), "label", sentence)


def _by_lesion(cases: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lesions by value of ``column`` (rows) and class; an image without a lesion id is a lesion of its own."""
    lesion = cases["lesion_id"].fillna(cases["image_id"])
    units = cases.assign(lesion=lesion).drop_duplicates(["lesion", column, "label"])
    return pd.crosstab(units[column], units["label"])


def revealing(cases: pd.DataFrame, columns: Sequence[str] = METADATA) -> Iterator[tuple]:
    """Findings: values of ``columns`` with which there is one class only, more often than by chance."""
    from scipy.stats import hypergeom  # slow: jobs that find nothing import this room, too

    tables = {column: _by_lesion(cases, column) for column in columns if column in cases}
    values = sum(len(table) for table in tables.values())
    for column, table in tables.items():
        for value, counts in table.iterrows():
            n, lesions = counts.sum(), table.to_numpy().sum()
            by_chance = hypergeom.pmf(n, lesions, table.sum(), n).sum()
            if counts.max() == n and by_chance * values < CHANCE:
                involved = cases[cases[column] == value]
                sentence = f"All {len(involved):,} images with {column} {value!r} ({n:,} lesions) are "
                sentence += f"{counts.idxmax()}. Never use it as an input."
                yield _row(f"{column} reveals the label", _ALL, involved, 1, "confounding", sentence)


def _source(cases: pd.DataFrame) -> Iterator[tuple]:
    cases = cases.assign(source=cases.get("source"))
    known = cases[cases["source"].notna()]
    if known["source"].nunique() < 2 or known["label"].nunique() < 2:
        why = "one class" if known["source"].nunique() > 1 else "one source" if len(known) else "no source is known"
        sentence = f"Whether source and class are confounded cannot be tested: {why}."
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
    sentence = f"{percent(inside)} of the {table[label].sum():,} lesions of {label} come from {source!r}, of all other "
    sentence += f"lesions {percent(outside)}; Cramér's V {number(association)}, p < {CHANCE:g}."
    yield _row("source is confounded with the class", _ALL, known, table.shape[0], "confounding", sentence)


def cramers_v(table: np.ndarray) -> tuple[float, float]:
    """Bias-corrected Cramér's V (0 to 1) of a table of counts, two rows and columns or more, and its p value.

    The p value is the share of random tables with the same margins whose chi-square is as large; at least 1e-4.
    """
    from scipy.stats import MonteCarloMethod, chi2_contingency  # slow

    random_tables = MonteCarloMethod(n_resamples=_RANDOM_TABLES, rng=np.random.default_rng(0))
    test = chi2_contingency(table, correction=False, method=random_tables)
    n, sides = table.sum(), np.array(table.shape)
    square = max(0.0, test.statistic / n - np.prod(sides - 1) / (n - 1))
    most = (sides - 1 - (sides - 1) ** 2 / (n - 1)).min()  # 0 where there are no more cases than rows or columns
    return float(np.sqrt(square / most)) if most > 0 else 0.0, float(test.pvalue)
