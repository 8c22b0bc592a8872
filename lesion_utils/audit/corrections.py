"""What has to be decided about the files of a published set, file by file, and the table of cases that is left.

The rules, in this order; each looks at the files that the ones before it have left:

1. A picture under more than one label goes out under all of them, unless HAM10000, where the picture comes from it,
   calls it by exactly one of these labels: then the files under that one stay.
2. A file whose label contradicts HAM10000's goes out: the set's own label is then the copy, HAM10000's the source.
3. Of the files of one picture under one label one stays, in Test if there is one.
4. A Train file whose lesion is in Test goes out.
5. A class left with fewer than ten lesions in Train goes out: too few to learn it or to estimate anything about it.

One picture is: equal decoded pixels, or one published id.
"""

import hashlib
from collections.abc import Hashable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils.audit.connected import connected
from lesion_utils.audit.images import pixel_digests
from lesion_utils.datasets.isic9 import TO_HAM10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import atomic_write, report_folder

Decision = tuple[Hashable, str, str]
COLUMNS = ["path", "image_id", "sha256", "reason", "action"]
ACTIONS = ("exclude", "keep")
FEWEST_LESIONS = 10


def corrections(cases: pd.DataFrame, threads: int) -> pd.DataFrame:
    """One row for each file of a 9-class folder (``folders.read``) that a rule decides about, in order of ``cases``.

    Columns: ``path`` (``<Train|Test>/<class>/<file>``), ``image_id`` (the published id), ``sha256`` (of the file's
    bytes), ``reason``, ``action`` (``exclude`` or ``keep``). Raises InputError for a file that cannot be decoded.
    """
    decided = decisions(cases, pixel_digests(cases, threads))
    rows = decided["action"].notna()
    found = cases[rows]
    return pd.DataFrame(
        {
            "path": _places(found),
            "image_id": found["isic_id"],
            "sha256": [_sha256(path) for path in found["path"]],
            **decided[rows],
        }
    ).reset_index(drop=True)


def decisions(cases: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """``reason`` and ``action`` for every case, missing where no rule decides; ``digests`` are those of its pixels."""
    picture = pictures(cases, digests)
    decided = pd.DataFrame(index=cases.index, columns=["reason", "action"], dtype=object)
    for rule in (_one_label, _as_ham10000, _one_file, _not_in_test, _enough_lesions):
        left = cases[decided["action"] != "exclude"]
        for row, action, reason in rule(left, picture[left.index]):
            if action == "exclude" or pd.isna(decided.at[row, "action"]):  # the first reason to keep a file stands
                decided.loc[row] = [reason, action]
    return decided


def pictures(cases: pd.DataFrame, digests: pd.Series) -> pd.Series:
    """A number for each case: the same for two with equal pixels or one published id, directly or by others."""
    numbers = pd.DataFrame({"id": pd.factorize(cases["isic_id"])[0], "pixels": pd.factorize(digests)[0]})
    return pd.Series(connected(numbers), index=cases.index, name="picture")


def apply(cases: pd.DataFrame, corrections: pd.DataFrame) -> pd.DataFrame:
    """``cases`` without the files that ``corrections`` excludes; nothing else is changed.

    Raises InputError where a column is missing, an action is unknown, and where a file that is decided about is not
    there or not the very file (by its SHA-256).
    """
    if missing := [name for name in COLUMNS if name not in corrections]:
        raise InputError(f"the corrections lack column(s) {', '.join(missing)}. Expected {', '.join(COLUMNS)}.")
    if (strange := ~corrections["action"].isin(ACTIONS)).any():
        found = first_ten(sorted(set(corrections.loc[strange, "action"].astype(str))))
        raise InputError(f"the corrections hold unknown action(s) {found}. Expected one of {', '.join(ACTIONS)}.")
    there = pd.Series(list(cases["path"]), index=_places(cases))
    if gone := [path for path in corrections["path"] if path not in there.index]:
        raise InputError(
            f"{len(gone)} file(s) of the corrections are not in the data set: {first_ten(gone)}. Expected the copy of "
            f"the set that was corrected. Fix: make corrections for this one."
        )
    digests = [_sha256(path) for path in there[corrections["path"]]]
    if (other := corrections["sha256"].to_numpy() != np.array(digests, dtype=object)).any():
        raise InputError(
            f"{other.sum()} file(s) are not those that were corrected (another SHA-256): "
            f"{first_ten(corrections.loc[other, 'path'])}. Expected the copy of the set that was corrected. "
            f"Fix: make corrections for this one."
        )
    excluded = corrections.loc[corrections["action"] == "exclude", "path"]
    return cases[~_places(cases).isin(excluded)].reset_index(drop=True)


def write(corrections: pd.DataFrame, study: str) -> Path:
    """Writes ``reports/<study>/corrections.csv``; returns its path."""
    path = report_folder(study) / "corrections.csv"
    with atomic_write(path) as beside:
        corrections.to_csv(beside, index=False)
    return path


def _places(cases: pd.DataFrame) -> pd.Series:
    return cases["path"].map(lambda path: "/".join(Path(path).parts[-3:]))


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Fix: fetch this file again.") from error


# A rule: the cases left and the number of each one's picture -> decisions (row, action, reason).


def _one_label(left: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    for group in _groups(left, picture):
        labels = sorted(set(group["label"]))
        theirs = set(group["ham10000_label"].dropna())
        right = [label for label in labels if {TO_HAM10000[label]} == theirs]
        says = f"HAM10000 calls it {theirs.pop()}" if len(right) == 1 else "nothing here tells which is right"
        for row, label in group["label"].items() if len(labels) > 1 else ():
            others = ", ".join(other for other in labels if other != label)
            yield row, "keep" if right == [label] else "exclude", f"the picture stands under {others} too; {says}"


def _as_ham10000(left: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    other = left["ham10000_label"].notna() & (left["label"].map(TO_HAM10000) != left["ham10000_label"])
    for row, theirs in left.loc[other, "ham10000_label"].items():
        yield row, "exclude", f"HAM10000 calls it {theirs}"


def _one_file(left: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    for group in _groups(left, picture):
        first, *others = _places(group.sort_values(["published_split", "image_id"])).items()  # test before train
        yield first[0], "keep", f"the picture stands in {len(group)} files; this one stays"
        for row, _ in others:
            yield row, "exclude", f"the same picture as {first[1]}"


def _not_in_test(left: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    in_test = left["published_split"] == "test"
    leaks = ~in_test & left["lesion_id"].isin(left.loc[in_test, "lesion_id"])
    for row, lesion in left.loc[leaks, "lesion_id"].items():
        yield row, "exclude", f"another image of its lesion {lesion} stands in Test"


def _enough_lesions(left: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    lesions = left[left["published_split"] == "train"].groupby("label")["lesion_id"].nunique()
    for row, label in left["label"].items():
        if (n := lesions.get(label, 0)) < FEWEST_LESIONS:
            yield row, "exclude", f"{n} lesion(s) of {label} left in Train, fewer than {FEWEST_LESIONS}: too few"


def _groups(left: pd.DataFrame, picture: pd.Series) -> Iterator[pd.DataFrame]:
    """The cases of each picture that stands in more than one file."""
    again = picture.duplicated(keep=False)
    return (group for _, group in left[again].groupby(picture[again]))
