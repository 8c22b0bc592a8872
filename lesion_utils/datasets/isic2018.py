"""The test set of ISIC 2018 Task 3: ``ISIC2018_Task3_Test_Input/<image>.jpg`` and a one-hot ground-truth table.

It has no lesion ids, so each image is treated as a separate lesion. Intervals are then by image, and too narrow where
images share a lesion.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets import ham10000
from lesion_utils.datasets.case_table import case_table, image_paths, jpegs, one_hot_labels
from lesion_utils.errors import InputError

IMAGES = "ISIC2018_Task3_Test_Input"
TRUTH = "ISIC2018_Task3_Test_GroundTruth"
EXPECTED = f"{IMAGES}/ and {TRUTH}.csv"
CLASSES = ham10000.CLASSES
MARKS = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
NEEDED = ("image", *MARKS)


def table_file(folder: Path, _: Path | None = None) -> Path:
    """The ground-truth table, in ``folder`` or in a folder of the table's name; raises InputError if it is missing."""
    names = (f"{TRUTH}.csv", f"{TRUTH}/{TRUTH}.csv")
    if files := [folder / name for name in names if (folder / name).is_file()]:
        return files[0]
    expected = f"Expected {' or '.join(names)} with the columns {', '.join(NEEDED)}."
    raise InputError(f"{folder} has no ground truth. {expected}")


def image_files(folder: Path) -> list[Path]:
    """All JPEGs of the set, in the order of their names; raises InputError if their folder is missing."""
    return jpegs(folder, IMAGES, "<image>")


def read(folder: Path, _: Path | None = None) -> pd.DataFrame:
    """The case table, one row per image, in the order of the image ids; labels are HAM10000's names.

    Raises InputError for a missing folder, table or column, a row that is not one-hot, a duplicate image, a row
    without an image, and an image without a row.
    """
    files = image_files(folder)
    path = table_file(folder)
    labels = one_hot_labels(path, MARKS)
    images = labels.index.to_series(index=range(len(labels)))
    ids = dict.fromkeys(("image_id", "isic_id", "lesion_id"), images)
    paths = image_paths(path, images, files, folder / IMAGES, f"<image>.jpg in {folder / IMAGES}")
    return case_table(**ids, path=paths, label=labels.to_list(), published_split="test")
