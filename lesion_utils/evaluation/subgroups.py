"""How a classifier does by sex, age band, site, kind of diagnosis, source, skin tone; groups are never ranked."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import ESTIMATE, estimate_row, unknown
from lesion_utils.evaluation.judge import FEW
from lesion_utils.evaluation.operating import OperatingPoint
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.rounding import number, span
from lesion_utils.tables import parse_numbers, require_columns, require_unique

VARIABLES = {
    **{"sex": "sex", "age": "age", "localization": "site", "dx_type": "diagnosis by", "source": "source"},
    "skin_tone": "skin tone",
}
AGE_BANDS = ["under 30", "30 to 44", "45 to 59", "60 to 74", "75 and over"]
MISSING = "missing"
MOST_GROUPS = 50  # a column with more values is not one of groups

_GROUP = ["variable", "group", "images", "all_lesions", "positives"]
_AGE_EDGES = [0, 30, 45, 60, 75, 151]  # years, from the lower one up to below the upper one


def subgroups(table: PredictionTable, point: OperatingPoint, cases: pd.DataFrame | None = None) -> pd.DataFrame:
    """Accuracy, balanced accuracy, and sensitivity and specificity at the frozen ``point``, of each group.

    Groups come from the columns of ``VARIABLES`` (``age`` in years) in ``cases``, one row per ``image_id``, or in the
    frame of ``table``; a column with over 50 values makes none. Unknown values (None, NaN, empty, ``unknown``) are the
    group ``missing``. One row per ``variable, group, metric``, with columns as in ``judge``; the group's ``images``,
    ``all_lesions`` and ``positives`` (images of the point's view); ``few``: ``n`` is under 20; ``caution`` of the
    point. Raises InputError for an image without exactly one row in ``cases``, and an age outside 0 to 150 years.
    """
    right, called, positive = table.truth == table.predicted, point.called(table), point.is_positive(table)
    rows = []
    for variable, group, inside in groups_of(table.frame, cases):
        images, lesions = table.size(inside)
        about = {"variable": variable, "group": group, "images": images, "all_lesions": lesions}
        about["positives"] = int((inside & positive).sum())
        none = unknown(point.note) if point.note else {}
        numbers = {
            "accuracy": table.share(right, inside, "this group"),
            "balanced accuracy": _balanced_accuracy(table, inside),
            f"{point.view} sensitivity": table.share(called, inside & positive, point.view) | none,
            f"{point.view} specificity": table.share(~called, inside & ~positive, f"not {point.view}") | none,
        }
        rows += [about | {"metric": name} | row | {"few": row["n"] < FEW} for name, row in numbers.items()]
    frame = pd.DataFrame(rows, columns=[*_GROUP, "metric", *ESTIMATE, "few"])
    return frame.assign(caution=point.caution(table), leaky=table.leaky)


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``subgroups`` as text: one line per group, indexed by variable and group."""
    cells = rows.assign(cell=[_cell(row) for row in rows.to_dict("records")])
    wide = cells.set_index([*_GROUP, "metric"])["cell"].unstack("metric", sort=False)
    return wide.reset_index(_GROUP[2:]).rename(columns={"all_lesions": "lesions"}).rename_axis(columns=None)


def groups_caveat(rows: pd.DataFrame) -> str:
    """The caveat of the rows of ``subgroups``: how many there are, and that they are not a ranking."""
    shown = rows["value"].notna()
    groups = rows[shown].groupby(["variable", "group"]).ngroups
    return (
        f"{shown.sum()} numbers of {groups} groups: about one in twenty 95% CIs misses its value by chance, so "
        f"groups are not ranked. {(~shown).sum()} numbers are not estimable (too few lesions); "
        f"{(rows['few'] & shown).sum()} rest on under {FEW} images and are marked."
    )


def of_one_class(table: PredictionTable, cases: pd.DataFrame | None = None) -> str:
    """Which groups of at least ``FEW`` images hold one class only, so that accuracy in them says little about skill."""
    found = [
        f"{variable} {group} (all {inside.sum():,} images are {table.classes[table.truth[inside][0]]})"
        for variable, group, inside in groups_of(table.frame, cases)
        if inside.sum() >= FEW and len(np.unique(table.truth[inside])) == 1
    ]
    if not found:
        return f"No group of {FEW} or more images holds one class only."
    return f"Groups of one class, where accuracy is only the sensitivity for that class: {'; '.join(found)}."


def untested(table: PredictionTable, cases: pd.DataFrame | None = None) -> list[str]:
    """Sentences about what was not tested: variables that are missing, or have fewer than two groups."""
    described, reasons = _described(table.frame, cases), {}
    for column, name in VARIABLES.items():
        if column not in described:
            reasons[name] = "not recorded"
        elif (values := described.loc[described[column] != MISSING, column].nunique()) < 2:
            reasons[name] = "only one group is recorded" if values else "recorded for no case"
        elif described[column].nunique() > MOST_GROUPS:
            reasons[name] = f"{values:,} different values are too many for groups"
    return [f"Not tested by {name}: {reason}." for name, reason in reasons.items()]


def _described(table: pd.DataFrame, cases: pd.DataFrame | None) -> pd.DataFrame:
    """The groups of each case, in the rows of ``table``: strings, one column for each of ``VARIABLES`` that exists."""
    where, source = "the cases to group by", table
    if cases is not None:
        require_columns(where, cases, ["image_id"], "It links them to the predictions.")
        wanted = cases[cases["image_id"].isin(table["image_id"])]
        require_unique(where, wanted["image_id"])
        if len(lost := table.loc[~table["image_id"].isin(wanted["image_id"]), "image_id"]):
            no_row = f"{where}: no row for {len(lost):,} of {len(table):,} predictions: {first_ten(lost)}"
            raise InputError(f"{no_row}. Fix: give the metadata of all images that were predicted.")
        source = wanted.set_index("image_id").loc[table["image_id"]].reset_index()
    columns = {}
    for name in [name for name in VARIABLES if name in source]:
        text = source[name].astype(object).where(source[name].notna(), "").astype(str).str.strip()
        columns[name] = text.where(~text.str.lower().isin(["", "unknown", "nan", "none"]), MISSING)
    if "age" in columns:
        years = parse_numbers(where, columns["age"], 0, 150, "age in years", empty=[MISSING])
        bands = pd.cut(years, _AGE_EDGES, right=False, labels=AGE_BANDS)
        columns["age"] = bands.astype(object).fillna(MISSING)
    return pd.DataFrame(columns, index=source.index).reset_index(drop=True)


def groups_of(table: pd.DataFrame, cases: pd.DataFrame | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Variable, group and its cases, (n,) bool, in the order in which groups are shown: ``MISSING`` last."""
    for column, values in _described(table, cases).items():
        groups = set(values) if values.nunique() <= MOST_GROUPS and set(values) != {MISSING} else set()
        for group in [*(AGE_BANDS if column == "age" else sorted(groups - {MISSING})), MISSING]:
            if group in groups:
                yield VARIABLES[str(column)], group, (values == group).to_numpy()


def _balanced_accuracy(table: PredictionTable, inside: np.ndarray) -> dict:
    needed = {name: table.size(inside & (table.truth == index))[1] for index, name in enumerate(table.classes)}
    value, draws = (
        metrics.balanced_accuracy(metrics.confusion_counts(table.truth, table.predicted, table.k, weights, inside))
        for weights in (np.ones((1, len(table))), table.weights)
    )
    return estimate_row(float(value[0]), draws, needed, *table.size(inside))


def _cell(row: dict) -> str:
    if np.isnan(row["value"]):
        return f"not estimable (n = {row['n']:,})"
    few = f", under {FEW}" if row["few"] else ""
    interval = "no interval" if np.isnan(row["low"]) else span(row["low"], row["high"])
    return f"{number(row['value'], row['low'], row['high'])} ({interval}; n = {row['n']:,}{few})"
