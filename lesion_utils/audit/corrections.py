"""Which files of a dataset with a published test split are excluded, decided file by file.

The rules, in this order; each looks at the files that the earlier ones have kept:

1. A picture under more than one label is excluded under all of them, unless HAM10000 has the picture and agrees with
   exactly one of these labels: then the files under that label stay.
2. A file whose label contradicts HAM10000's is excluded: HAM10000 is the source, the dataset's label the copy.
3. Of several files of one picture under one label one is kept, in Test if there is one.
4. A Train file whose lesion is in Test is excluded.
5. A class with fewer than ten remaining lesions in Train is excluded: too few to learn it or to estimate anything.

Two files are of one picture if their decoded pixels or their published ids are equal.
"""

import hashlib
from collections.abc import Hashable, Iterator
from pathlib import Path

import pandas as pd

from lesion_utils.audit.links import connected_groups
from lesion_utils.datasets.isic9 import TO_HAM10000
from lesion_utils.errors import InputError
from lesion_utils.paths import atomic_write, report_folder
from lesion_utils.tables import refuse_rows, require_columns, require_one_of

Decision = tuple[Hashable, str, str]
COLUMNS = ["path", "image_id", "sha256", "reason", "action"]
ACTIONS = ("exclude", "keep")
FEWEST_LESIONS = 10


def corrections(cases: pd.DataFrame) -> pd.DataFrame:
    """One row for each file of a 9-class folder that a rule decides about, in the order of ``cases``.

    ``cases`` are those of ``isic9.read`` with the column ``pixels``. Columns: ``path`` (``<Train|Test>/<class>/<file>``
    in the data folder), ``image_id`` (the published id), ``sha256`` (of the file's bytes), ``reason``, ``action``
    (``exclude`` or ``keep``).
    """
    decided = decisions(cases).dropna()
    files = cases.loc[decided.index]
    named = {"path": _relative_paths(files), "image_id": files["isic_id"], "sha256": files["path"].map(_sha256)}
    return decided.assign(**named)[COLUMNS].reset_index(drop=True)


def decisions(cases: pd.DataFrame) -> pd.DataFrame:
    """``reason`` and ``action`` for every case, missing where no rule decides."""
    picture = picture_numbers(cases)
    decided = pd.DataFrame(index=cases.index, columns=["reason", "action"], dtype=object)
    for rule in (_one_label, _as_ham10000, _one_file, _not_in_test, _enough_lesions):
        kept = cases[decided["action"] != "exclude"]
        for row, action, reason in rule(kept, picture[kept.index]):
            if action == "exclude" or pd.isna(decided.at[row, "action"]):  # the first reason to keep a file counts
                decided.loc[row] = [reason, action]
    return decided


def picture_numbers(cases: pd.DataFrame) -> pd.Series:
    """A number for each case: the same for equal ``pixels`` or one published id, directly or through others."""
    numbers = cases[["isic_id", "pixels"]].apply(lambda column: pd.factorize(column)[0])
    return pd.Series(connected_groups(numbers), index=cases.index, name="picture")


def apply(cases: pd.DataFrame, corrections: pd.DataFrame) -> pd.DataFrame:
    """``cases`` without the files that ``corrections`` excludes; nothing else is changed.

    Raises InputError for a missing column, an unknown action, and a file of the corrections that does not exist or has
    another SHA-256.
    """
    require_columns("the corrections", corrections, COLUMNS, f"Expected {', '.join(COLUMNS)}.")
    require_one_of("the corrections", corrections["action"], ACTIONS)
    paths = _relative_paths(cases)
    files = corrections["path"].map(pd.Series(cases["path"].to_numpy(), index=paths))
    changed = files.notna() & (files.map(_sha256, na_action="ignore") != corrections["sha256"])
    fix = "Expected the copy of the dataset that was corrected. Fix: use that copy, or make new corrections."
    refuse_rows("the corrections", files.isna(), "no such file in the dataset", corrections["path"], fix)
    refuse_rows("the corrections", changed, "another SHA-256 than the file has", corrections["path"], fix)
    excluded = corrections.loc[corrections["action"] == "exclude", "path"]
    return cases[~paths.isin(excluded)].reset_index(drop=True)


def summary(corrections: pd.DataFrame) -> pd.DataFrame:
    """Files by action and reason; a reason does not name its lesion or file here."""
    reason = corrections["reason"].str.replace(r"HAM_\S+|(?:Train|Test)/.*", "…", regex=True)
    return corrections.groupby(["action", reason]).size().rename("files").reset_index()


def effect_sentence(raw: pd.DataFrame, corrected: pd.DataFrame, corrections: pd.DataFrame | None) -> str:
    """How many files a study leaves out, and whether it applies the ``corrections`` (None: none to decide)."""
    removed = len(raw) - len(corrected)
    kept = corrections is not None and not removed and "exclude" in set(corrections["action"])
    why = " It repeats a published system, so the corrections are listed and not applied." if kept else ""
    return f"This study leaves out {removed:,} of {len(raw):,} images.{why}"


def write(corrections: pd.DataFrame, study: str) -> Path:
    """Writes ``reports/<study>/corrections.csv``; returns its path."""
    path = report_folder(study) / "corrections.csv"
    with atomic_write(path) as temporary:
        corrections.to_csv(temporary, index=False)
    return path


def _relative_paths(cases: pd.DataFrame) -> pd.Series:
    return cases["path"].map(lambda path: "/".join(Path(path).parts[-3:]))


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Fix: fetch this file again.") from error


# A rule: the cases kept so far and the number of each one's picture -> decisions (row, action, reason).


def _one_label(kept: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    for group in _files_of_a_picture(kept, picture):
        labels = sorted(set(group["label"]))
        ham_labels = set(group["ham10000_label"].dropna())
        right = [label for label in labels if {TO_HAM10000[label]} == ham_labels]
        source = f"HAM10000 says {ham_labels.pop()}" if len(right) == 1 else "no source says which is right"
        for row, label in group["label"].items() if len(labels) > 1 else ():
            other_labels = ", ".join(name for name in labels if name != label)
            action = "keep" if right == [label] else "exclude"
            yield row, action, f"the picture is also labelled {other_labels}; {source}"


def _as_ham10000(kept: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    ham_labels = kept["ham10000_label"].dropna()
    for row, ham_label in ham_labels[ham_labels != kept["label"].map(TO_HAM10000)[ham_labels.index]].items():
        yield row, "exclude", f"HAM10000 says {ham_label}"


def _one_file(kept: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    for group in _files_of_a_picture(kept, picture):
        first, *others = _relative_paths(group.sort_values(["published_split", "image_id"])).items()  # test first
        yield first[0], "keep", f"one of {len(group)} files of the picture; this file is kept"
        for row, _ in others:
            yield row, "exclude", f"the same picture as {first[1]}"


def _not_in_test(kept: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    in_test = kept["published_split"] == "test"
    leaks = ~in_test & kept["lesion_id"].isin(kept.loc[in_test, "lesion_id"])
    for row, lesion in kept.loc[leaks, "lesion_id"].items():
        yield row, "exclude", f"another image of its lesion {lesion} is in Test"


def _enough_lesions(kept: pd.DataFrame, picture: pd.Series) -> Iterator[Decision]:
    lesions = kept[kept["published_split"] == "train"].groupby("label")["lesion_id"].nunique()
    counts = kept["label"].map(lesions).fillna(0).astype(int)
    for row, count in counts[counts < FEWEST_LESIONS].items():
        few = f"{count} lesion(s) of {kept.at[row, 'label']} remain in Train"
        yield row, "exclude", f"{few}; fewer than {FEWEST_LESIONS} are too few"


def _files_of_a_picture(kept: pd.DataFrame, picture: pd.Series) -> Iterator[pd.DataFrame]:
    """The cases of each picture that is in more than one file."""
    repeated = picture.duplicated(keep=False)
    return (group for _, group in kept[repeated].groupby(picture[repeated]))
