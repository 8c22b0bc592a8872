"""The test set of ISIC 2018 Task 3: ``ISIC2018_Task3_Test_Input/<image>.jpg`` and a one-hot ground-truth table.

It has no lesion ids, so each image is treated as a separate lesion. Intervals are then by image, and too narrow where
images share a lesion.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets.case_table import AS_PUBLISHED, COLUMNS, image_paths, jpegs, read_published
from lesion_utils.errors import InputError
from lesion_utils.tables import refuse_rows

IMAGES = "ISIC2018_Task3_Test_Input"
TRUTH = "ISIC2018_Task3_Test_GroundTruth"
CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
NEEDED = ("image", *CLASSES)


def truth_file(folder: Path) -> Path:
    """The ground-truth table, in ``folder`` or in a folder of the table's name; raises InputError if it is missing."""
    candidates = [folder / f"{TRUTH}.csv", folder / TRUTH / f"{TRUTH}.csv"]
    for path in candidates:
        if path.is_file():
            return path
    expected = " or ".join(str(path.relative_to(folder)) for path in candidates)
    raise InputError(f"{folder} has no ground truth. Expected {expected} with the columns {', '.join(NEEDED)}.")


def image_files(folder: Path) -> list[Path]:
    """All JPEGs of the set, in the order of their names; raises InputError if their folder is missing."""
    return jpegs(folder, IMAGES, "<image>")


def read(folder: Path) -> pd.DataFrame:
    """The case table, one row per image, in the order of the image ids; labels are HAM10000's names.

    Raises InputError for a missing folder, table or column, a row that is not one-hot, a duplicate image, a row
    without an image, and an image without a row.
    """
    files = image_files(folder)
    path = truth_file(folder)
    table = read_published(path, NEEDED, ids=("image",))
    marks = table[list(CLASSES)].apply(pd.to_numeric, errors="coerce")
    one_hot = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    refuse_rows(path, ~one_hot, "not one-hot", table["image"], f"Expected one 1 and six 0. {AS_PUBLISHED}")
    image_folder = folder / IMAGES
    expected = f"<image>.jpg in {image_folder}"
    cases = pd.DataFrame({name: table["image"] for name in ("image_id", "isic_id", "lesion_id")})
    return (
        cases.assign(path=image_paths(path, table["image"], files, image_folder, expected))
        .assign(label=marks.idxmax(axis=1).str.lower(), age=float("nan"), published_split="test")
        .assign(sex=None, localization=None, dx_type=None, source=None)
        .sort_values("image_id", ignore_index=True)[COLUMNS]
    )
