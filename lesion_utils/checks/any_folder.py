"""Anybody's folder of pictures as a case table: labels from its folders, or all from a table of the images."""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets.usual_names import OF_CASES, known_lesions, part_of, picture_files, pictures_in
from lesion_utils.errors import InputError
from lesion_utils.tables import parse_numbers, read_table, require_filled, require_unique

COLUMNS = {name: usual for name, usual in OF_CASES.items() if name != "patient_id"}
COLUMNS["lesion_id"] += OF_CASES["patient_id"]
EXPECTED = "image_id, and if known label, lesion_id, split, age, sex, localization, source, dx_type"
UNLABELLED = "no label"


def read_folder(folder: Path, metadata: Path | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The pictures below ``folder`` as cases, and notes on how they were read.

    Columns ``image_id, path, label, lesion_id`` (None where unknown), and ``split`` and what describes a case where it
    is known. ``metadata`` is a table with a row for each image (``COLUMNS``); without it a picture's folder is its
    class, where pictures are in several folders, and the folder above is its part, if it is called train, test or the
    like. Raises InputError for a folder without pictures, an id without a picture or with several, and a table that
    cannot be used.
    """
    files = pictures_in(folder)
    if metadata is not None:
        return _by_table(folder, files, metadata)
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    stems = [path.stem for path in files]
    cases = pd.DataFrame({"image_id": stems if len(set(stems)) == len(stems) else names, "path": [*map(str, files)]})
    parents = [path.parent.relative_to(folder).parts for path in files]
    is_class = len({parts[-1:] for parts in parents}) > 1
    cases["label"] = [parts[-1] if is_class and parts else UNLABELLED for parts in parents]
    splits = [part_of(parts[-2]) if len(parts) > 1 else None for parts in parents]
    if is_class and all(splits) and len(set(splits)) > 1:
        cases["split"] = splits
    read = f"labels are the names of the {cases['label'].nunique()} folders" if is_class else "labels are not known"
    return cases.assign(lesion_id=None), [f"{read}; lesions are not known (--metadata)"]


def _by_table(folder: Path, files: list[Path], metadata: Path) -> tuple[pd.DataFrame, list[str]]:
    table = read_table(metadata, EXPECTED)
    columns = {}
    for name, usual in COLUMNS.items():
        found = [column for word in usual for column in table if column.casefold() == word]
        if found:
            columns[name] = found[0]
    if "image_id" not in columns:
        raise InputError(f"{metadata} has no column of image ids. Expected {EXPECTED}.")
    cases = pd.DataFrame({name: table[column] for name, column in columns.items()})
    require_filled(metadata, cases["image_id"])
    require_unique(metadata, cases["image_id"])
    cases["path"] = picture_files(folder, cases["image_id"])
    notes = ["columns were read by their names: " + ", ".join(f"{old} as {new}" for new, old in columns.items())]
    if len(unlisted := set(map(str, files)) - set(cases["path"])):
        notes.append(f"{len(unlisted):,} pictures have no row in {metadata.name}: they were left out")
    cases["lesion_id"] = known_lesions(cases["lesion_id"]) if "lesion_id" in cases else None
    cases["label"] = cases["label"].replace("", UNLABELLED) if "label" in cases else UNLABELLED
    if "age" in cases:
        cases["age"] = parse_numbers(metadata, cases["age"], 0, 150, "age in years", empty=["", "unknown", "nan"])
    for name in set(cases) & {"sex", "localization", "source", "dx_type"}:
        cases[name] = cases[name].astype(object).where(~cases[name].str.lower().isin(["", "unknown", "nan"]), None)
    return cases, notes
