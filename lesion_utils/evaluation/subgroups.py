"""How a classifier does by sex, age band, site, source and skin tone, and which of these cannot be tested.

Groups stand in a fixed order and are never ranked: of many intervals some miss by chance alone, and how hard a group's
lesions are is mixed up with how the classifier treats the group.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import ESTIMATE, estimate, not_estimable
from lesion_utils.evaluation.judge import FEW
from lesion_utils.evaluation.operating import OperatingPoint
from lesion_utils.evaluation.prediction_table import PredictionTable

VARIABLES = {"sex": "sex", "age": "age", "localization": "site", "source": "source", "skin_tone": "skin tone"}
AGE_BANDS = ["under 30", "30 to 44", "45 to 59", "60 to 74", "75 and over"]
MISSING = "missing"
MOST_GROUPS = 50  # a column with more values is not one of groups

_GROUP = ["variable", "group", "images", "all_lesions", "positives"]
_AGE_EDGES = [0, 30, 45, 60, 75, 151]  # years, from the lower one up to below the upper one


def subgroups(table: PredictionTable, point: OperatingPoint, cases: pd.DataFrame | None = None) -> pd.DataFrame:
    """Accuracy, balanced accuracy, and sensitivity and specificity at the frozen ``point``, of each group.

    Groups are made of the columns ``sex, age`` (years, put into ``AGE_BANDS``)``, localization, source, skin_tone`` as
    far as they are in ``cases``, which has one row an ``image_id``, or, without ``cases``, in ``table`` itself. What is
    not known (None, NaN, empty, ``unknown``) is the group ``missing``. A column with over 50 values makes no groups, as
    ``untested`` tells.

    One row for each ``variable, group`` and ``metric``: ``value, low, high`` (95 % interval by lesion)``, n, lesions,
    note`` as in ``judge``; the group's ``images``, ``all_lesions`` and ``positives`` (images of the point's view);
    ``few``: ``n`` is under 20; ``caution`` (``OperatingPoint.caution``) and ``leaky``. With under 10 lesions of what
    the metric needs the numbers are NaN and ``note`` says why. No row where no column is there.

    Raises InputError for a table that breaks the contract, an image without its row in ``cases`` or with several, and
    an age that is no number of years.
    """
    described = _described(table.frame, cases)
    right, called, positive = table.truth == table.predicted, point.called(table), point.is_positive(table)
    rows = []
    for variable, group, inside in _groups(described):
        images, lesions = table.size(inside)
        about = {"variable": variable, "group": group, "images": images, "all_lesions": lesions}
        about["positives"] = int((inside & positive).sum())
        at_point = {
            f"{point.view} sensitivity": table.share(called, inside & positive, point.view),
            f"{point.view} specificity": table.share(~called, inside & ~positive, f"not {point.view}"),
        }
        if point.note:
            nothing = {"value": np.nan, "low": np.nan, "high": np.nan, "note": point.note}
            at_point = {name: row | nothing for name, row in at_point.items()}
        numbers = {
            "accuracy": table.share(right, inside, "this group"),
            "balanced accuracy": _balanced_accuracy(table, inside),
            **at_point,
        }
        rows += [about | {"metric": name} | row | {"few": row["n"] < FEW} for name, row in numbers.items()]
    frame = pd.DataFrame(rows, columns=[*_GROUP, "metric", *ESTIMATE, "few"])
    return frame.assign(caution=point.caution(table), leaky=table.leaky)


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``subgroups`` for a reader: one line a group, indexed by variable and group, numbers as text.

    Why a number is not estimable stands in the ``note`` of ``rows``.
    """
    cells = rows.assign(cell=[_cell(row) for _, row in rows.iterrows()])
    wide = cells.set_index([*_GROUP, "metric"])["cell"].unstack("metric", sort=False)
    return wide.reset_index(_GROUP[2:]).rename(columns={"all_lesions": "lesions"}).rename_axis(columns=None)


def groups_caveat(rows: pd.DataFrame) -> str:
    """What to keep in mind with the rows of ``subgroups``: how many they are, and that they are no ranking."""
    shown = rows["value"].notna()
    groups = rows.loc[shown, ["variable", "group"]].drop_duplicates()
    return (
        f"{shown.sum()} numbers of {len(groups)} groups: about one in twenty 95 % intervals misses its value by chance "
        f"alone, so no group is ranked. {(~shown).sum()} are not estimable (too few lesions); "
        f"{(rows['few'] & shown).sum()} on under {FEW} images are marked."
    )


def untested(table: PredictionTable, cases: pd.DataFrame | None = None) -> list[str]:
    """Sentences that say by what the classifier was not tested: columns that lack, or that tell no two groups apart."""
    described = _described(table.frame, cases)
    found = []
    for column, name in VARIABLES.items():
        if column not in described:
            found.append(f"By {name} nothing can be said: it is not recorded.")
        elif (known := described.loc[described[column] != MISSING, column].nunique()) < 2:
            why = f"all cases whose {name} is recorded are of one group" if known else "it is recorded for no case"
            found.append(f"By {name} nothing can be said: {why}.")
        elif described[column].nunique() > MOST_GROUPS:
            found.append(f"By {name} nothing is said: {known:,} different values make no groups.")
    return found


def _described(table: pd.DataFrame, cases: pd.DataFrame | None) -> pd.DataFrame:
    """The groups of each case, in the rows of ``table``: strings, a column for each of ``VARIABLES`` that is there."""
    source = table if cases is None else _matched(table, cases)
    columns = {name: _plain(source[name]) for name in VARIABLES if name in source}
    if "age" in columns:
        columns["age"] = _bands(columns["age"], source["image_id"])
    return pd.DataFrame(columns, index=source.index).reset_index(drop=True)


def _matched(table: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    if "image_id" not in cases:
        raise InputError("The cases to group by have no column image_id, by which they belong to the predictions.")
    wanted = cases[cases["image_id"].isin(table["image_id"])]
    if (twice := wanted["image_id"].duplicated()).any():
        raise InputError(
            f"The cases to group by hold an image_id more than once: {first_ten(wanted.loc[twice, 'image_id'])}."
        )
    if (lost := ~table["image_id"].isin(wanted["image_id"])).any():
        raise InputError(
            f"{lost.sum():,} of {len(table):,} predictions have no row in the cases to group by: "
            f"{first_ten(table.loc[lost, 'image_id'])}. Fix: give the metadata of all images that were predicted."
        )
    return wanted.set_index("image_id").loc[table["image_id"]].reset_index()


def _plain(values: pd.Series) -> pd.Series:
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    return text.where(~text.str.lower().isin(["", "unknown", "nan", "none"]), MISSING)


def _bands(ages: pd.Series, image_ids: pd.Series) -> pd.Series:
    years = pd.to_numeric(ages.where(ages != MISSING), errors="coerce")
    bands = pd.cut(years, _AGE_EDGES, right=False, labels=AGE_BANDS).astype(object)
    if (bad := bands.isna() & (ages != MISSING)).any():
        found = [f"{age!r} ({name})" for age, name in zip(ages[bad], image_ids[bad], strict=True)]
        raise InputError(
            f"Age is not a number of years from 0 to 150: {first_ten(found)}. Expected a number or nothing."
        )
    return bands.where(ages != MISSING, MISSING)


def _groups(described: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Variable, group and which cases are in it, (n,) bool, in the order in which groups are shown."""
    for column, values in described.items():
        there = set(values)
        if len(there) > MOST_GROUPS:
            continue
        known = [band for band in AGE_BANDS if band in there] if column == "age" else sorted(there - {MISSING})
        for group in [*known, *({MISSING} & there)]:
            yield VARIABLES[str(column)], group, (values == group).to_numpy()


def _balanced_accuracy(table: PredictionTable, inside: np.ndarray) -> dict:
    needed = {name: table.size(inside & (table.truth == index))[1] for index, name in enumerate(table.classes)}
    images, lesions = table.size(inside)
    if note := not_estimable(needed, 0, 1):
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": images, "lesions": lesions, "note": note}

    def of(weights: np.ndarray) -> np.ndarray:
        counts = metrics.confusion_counts(table.truth[inside], table.predicted[inside], table.k, weights)
        return metrics.balanced_accuracy(counts)

    return estimate(of(np.ones((1, images)))[0], of(table.weights[:, inside]), needed, images, lesions)


def _cell(row: pd.Series) -> str:
    if np.isnan(row["value"]):
        return f"not estimable (n = {row['n']:,})"
    few = f", under {FEW}" if row["few"] else ""
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}; n = {row['n']:,}{few})"
