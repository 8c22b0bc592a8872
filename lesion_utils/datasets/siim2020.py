"""The training set of SIIM-ISIC 2020: ``jpeg/train/<image_name>.jpg`` and ``train.csv``, two classes, with patients.

Source: Rotemberg and others, Sci Data 8:34 (2021); 33,126 images of 2,056 patients. Malignant there is melanoma alone.
Lesions are not given, patients are: images are grouped, split and resampled by patient, ``lesion_id`` is the patient.
That is stricter than by lesion, and a patient may have images of both classes.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets import case_table, ham10000
from lesion_utils.errors import InputError
from lesion_utils.tables import read_table

CLASSES = {"benign": "everything that is no melanoma", "melanoma": "malignant in this set"}
IMAGES = "jpeg/train"
TABLE = "train.csv"
NEEDED = (
    *("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge"),
    *("diagnosis", "benign_malignant", "target"),
)
TARGETS = {"benign": 0, "malignant": 1}
LABELS = {"benign": "benign", "malignant": "melanoma"}


def table_file(folder: Path) -> Path:
    """The table of the set; raises InputError if the folder or the table is missing."""
    if not folder.is_dir():
        raise InputError(
            f"data folder {folder} does not exist. Expected {IMAGES}/ and {TABLE} in it. "
            f"Fix: make study STUDY=<a study on this set> DATA=<that folder>."
        )
    if not (folder / TABLE).is_file():
        raise InputError(f"{folder} has no {TABLE}. Expected it with the columns {', '.join(NEEDED)}.")
    return folder / TABLE


def image_files(folder: Path) -> list[Path]:
    """All JPEGs of the set, in the order of their names; raises InputError if their folder is missing."""
    if not (folder / IMAGES).is_dir():
        raise InputError(f"{folder} has no folder {IMAGES}. Expected the images in it, as <image_name>.jpg.")
    return sorted(path for path in (folder / IMAGES).iterdir() if case_table.is_jpeg(path))


def read(folder: Path) -> pd.DataFrame:
    """The case table, one row an image, in the order of the image ids; ``label`` is benign or melanoma.

    ``lesion_id`` is the patient. The table of cases has no place for ``diagnosis``, which says less than the label for
    most images (``unknown``). Raises InputError for a missing folder, table or column, an empty or repeated id, a label
    that is neither benign nor malignant or contradicts ``target``, an age that is no number, a row without its image
    and an image without its row.
    """
    path = table_file(folder)
    table = read_table(path, ", ".join(NEEDED))
    case_table.need_columns(path, table, NEEDED)
    for name in ("image_name", "patient_id"):
        case_table.need_filled(path, table[name])
    case_table.need_unique(path, table["image_name"])
    case_table.need_one_of(path, table["benign_malignant"], LABELS, "benign_malignant")
    other = pd.to_numeric(table["target"], errors="coerce") != table["benign_malignant"].map(TARGETS)
    if other.any():
        raise InputError(
            f"{path}: target contradicts benign_malignant: {case_table.quoted_rows(table.loc[other, 'target'])}. "
            f"Expected {' and '.join(f'{target} for {name}' for name, target in TARGETS.items())}. "
            f"Fix: use the table as it was published."
        )
    place = folder / IMAGES
    files = case_table.matched(path, table["image_name"], image_files(folder), place, f"<image_name>.jpg in {place}")
    cases = pd.DataFrame(
        {
            "image_id": table["image_name"],
            "isic_id": table["image_name"],
            "path": table["image_name"].map(files),
            "label": table["benign_malignant"].map(LABELS),
            "lesion_id": table["patient_id"],
            "age": case_table.ages(path, table["age_approx"]),
            "sex": case_table.known_words(table["sex"]),
            "localization": case_table.known_words(table["anatom_site_general_challenge"]),
        }
    )
    cases = cases.assign(dx_type=None, source=None, published_split=None)
    return cases.sort_values("image_id", ignore_index=True)[ham10000.COLUMNS]
