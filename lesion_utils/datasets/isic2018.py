"""The test set of ISIC 2018 Task 3: ``ISIC2018_Task3_Test_Input/<image>.jpg`` and a one-hot ground-truth table.

Lesion ids are not given, so each image counts as a lesion of its own; intervals by lesion are then intervals by image,
and too narrow where images share a lesion.
"""

from pathlib import Path

import pandas as pd

from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.tables import read_table

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


def read(folder: Path) -> pd.DataFrame:
    """The case table, one row an image, in the order of the image ids; labels are HAM10000's names.

    Raises InputError for a missing folder, table or column, a row that is not one-hot, an image that stands twice or
    has no row, and a row without its image.
    """
    if not (folder / IMAGES).is_dir():
        raise InputError(f"{folder} has no folder {IMAGES}. Expected the images in it, as <image>.jpg.")
    path = truth_file(folder)
    table = read_table(path, ", ".join(NEEDED))
    if missing := [name for name in NEEDED if name not in table]:
        raise InputError(
            f"{path}: missing column(s) {', '.join(missing)}; found {', '.join(table.columns)}. "
            f"Cure: use the ground truth as it was published."
        )
    if (twice := table["image"].duplicated(keep=False)).any():
        rows = [f"{name!r} (row {row + 2})" for row, name in table.loc[twice, "image"].items()]
        raise InputError(f"{path}: an image must stand once; standing more often: {first_ten(rows)}.")
    marks = table[list(CLASSES)].apply(pd.to_numeric, errors="coerce")
    if (bad := ~(marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1))).any():
        rows = [f"{name!r} (row {row + 2})" for row, name in table.loc[bad, "image"].items()]
        raise InputError(f"{path}: row(s) that are not one-hot: {first_ten(rows)}. Expected one 1 and else 0.")
    images = (folder / IMAGES).iterdir()
    files = {image.stem: str(image) for image in images if image.suffix.lower() in (".jpg", ".jpeg")}
    if gone := sorted(set(table["image"]) - set(files)):
        raise InputError(
            f"{path}: {len(gone)} row(s) without an image: {first_ten(gone)}. Expected <image>.jpg in "
            f"{folder / IMAGES}. Cure: unpack all images there."
        )
    if extra := sorted(set(files) - set(table["image"])):
        raise InputError(
            f"{folder / IMAGES}: {len(extra)} image(s) without a row in {path.name}: {first_ten(extra)}. "
            f"Cure: use the table that belongs to these images."
        )
    cases = pd.DataFrame({name: table["image"] for name in ("image_id", "isic_id", "lesion_id")})
    return (
        cases.assign(path=table["image"].map(files), label=marks.idxmax(axis=1).str.lower(), age=float("nan"))
        .assign(sex=None, localization=None, dx_type=None, source=None, published_split="test")
        .sort_values("image_id", ignore_index=True)[ham10000.COLUMNS]
    )
