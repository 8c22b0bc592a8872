"""The test set of ISIC 2018 Task 3: ``ISIC2018_Task3_Test_Input/<image>.jpg`` and a one-hot ground-truth table.

Lesion ids are not given, so each image counts as a lesion of its own; intervals by lesion are then intervals by image,
and too narrow where images share a lesion.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets.case_table import AS_PUBLISHED, COLUMNS, image_paths, is_jpeg, read_published
from lesion_utils.errors import InputError
from lesion_utils.tables import refuse_rows

IMAGES = "ISIC2018_Task3_Test_Input"
TRUTH = "ISIC2018_Task3_Test_GroundTruth"
CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
NEEDED = ("image", *CLASSES)


def truth_file(folder: Path) -> Path:
    """The ground-truth table, in ``folder`` or in a folder of its name there; raises InputError if it is missing."""
    places = [folder / f"{TRUTH}.csv", folder / TRUTH / f"{TRUTH}.csv"]
    for path in places:
        if path.is_file():
            return path
    expected = " or ".join(str(path.relative_to(folder)) for path in places)
    raise InputError(f"{folder} has no ground truth. Expected {expected} with the columns {', '.join(NEEDED)}.")


def image_files(folder: Path) -> list[Path]:
    """All JPEGs of the set, in the order of their names."""
    return sorted(path for path in (folder / IMAGES).iterdir() if is_jpeg(path))


def read(folder: Path) -> pd.DataFrame:
    """The case table, one row an image, in the order of the image ids; labels are HAM10000's names.

    Raises InputError for a missing folder, table or column, a row that is not one-hot, an image that stands twice or
    has no row, and a row without its image.
    """
    if not (folder / IMAGES).is_dir():
        raise InputError(f"{folder} has no folder {IMAGES}. Expected the images in it, as <image>.jpg.")
    path = truth_file(folder)
    table = read_published(path, NEEDED, ids=("image",))
    marks = table[list(CLASSES)].apply(pd.to_numeric, errors="coerce")
    one_hot = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    refuse_rows(path, ~one_hot, "not one-hot", table["image"], f"Expected one 1 and six 0. {AS_PUBLISHED}")
    image_folder = folder / IMAGES
    expected = f"<image>.jpg in {image_folder}"
    cases = pd.DataFrame({name: table["image"] for name in ("image_id", "isic_id", "lesion_id")})
    return (
        cases.assign(path=image_paths(path, table["image"], image_files(folder), image_folder, expected))
        .assign(label=marks.idxmax(axis=1).str.lower(), age=float("nan"), published_split="test")
        .assign(sex=None, localization=None, dx_type=None, source=None)
        .sort_values("image_id", ignore_index=True)[COLUMNS]
    )
