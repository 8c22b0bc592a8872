"""The training set of SIIM-ISIC 2020: ``jpeg/train/<image_name>.jpg`` and ``train.csv``, two classes, with patients.

Source: Rotemberg and others, Sci Data 8:34 (2021); 33,126 images of 2,056 patients. Malignant means melanoma only.
The set has patients but no lesions: ``lesion_id`` is the patient, so images are grouped, split and resampled by
patient. That is stricter than by lesion. A patient may have images of both classes.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets.case_table import (
    AS_PUBLISHED,
    ages,
    case_table,
    image_paths,
    jpegs,
    read_published,
    require_folder,
    words_or_none,
)
from lesion_utils.errors import InputError
from lesion_utils.tables import refuse_rows, require_one_of

CLASSES = {"benign": "everything that is not melanoma", "melanoma": "malignant in this set"}
IMAGES = "jpeg/train"
TABLE = "train.csv"
NEEDED = (
    *("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge"),
    *("diagnosis", "benign_malignant", "target"),
)
EXPECTED = f"{IMAGES}/ and {TABLE} with the columns {', '.join(NEEDED)}"
TARGETS = {"benign": 0, "malignant": 1}
LABELS = {"benign": "benign", "malignant": "melanoma"}


def table_file(folder: Path, _: Path | None = None) -> Path:
    """The table of the set; raises InputError if the folder or the table is missing."""
    require_folder(folder, f"{IMAGES}/ and {TABLE}", "<a study on this set>")
    if not (folder / TABLE).is_file():
        raise InputError(f"{folder} has no {TABLE}. Expected it with the columns {', '.join(NEEDED)}.")
    return folder / TABLE


def image_files(folder: Path) -> list[Path]:
    """All JPEGs of the set, in the order of their names; raises InputError if their folder is missing."""
    return jpegs(folder, IMAGES, "<image_name>")


def read(folder: Path, _: Path | None = None) -> pd.DataFrame:
    """The case table, one row per image, in the order of the image ids; ``label`` is benign or melanoma.

    ``lesion_id`` is the patient. ``diagnosis`` is left out: it is ``unknown`` for most images. Raises InputError for a
    missing folder, table or column, an empty or duplicate id, a label that is neither benign nor malignant or
    contradicts ``target``, an age that is not a number, a row without an image and an image without a row.
    """
    path = table_file(folder)
    table = read_published(path, NEEDED, ids=("image_name", "patient_id"))
    require_one_of(path, table["benign_malignant"], LABELS, advice=AS_PUBLISHED)
    contradicts = pd.to_numeric(table["target"], errors="coerce") != table["benign_malignant"].map(TARGETS)
    expected = f"Expected {' and '.join(f'{target} for {name}' for name, target in TARGETS.items())}. {AS_PUBLISHED}"
    refuse_rows(path, contradicts, "target contradicts benign_malignant", table["target"], expected)
    files, names = image_files(folder), table["image_name"]
    return case_table(
        image_id=names,
        isic_id=names,
        path=image_paths(path, names, files, folder / IMAGES, f"<image_name>.jpg in {folder / IMAGES}"),
        label=table["benign_malignant"].map(LABELS),
        lesion_id=table["patient_id"],
        age=ages(path, table["age_approx"]),
        sex=words_or_none(table["sex"]),
        localization=words_or_none(table["anatom_site_general_challenge"]),
    )
