"""HAM10000 as on Kaggle and Dataverse: two image folders and a metadata table; or any set with such a table.

Source: Tschandl, Rosendahl and Kittler, Sci Data 5:180161 (2018); 10,015 images of 7,470 lesions.
"""

import re
from pathlib import Path

import pandas as pd

from lesion_utils.datasets.case_table import (
    AS_PUBLISHED,
    ages,
    case_table,
    image_paths,
    is_jpeg,
    read_published,
    require_folder,
    words_or_none,
)
from lesion_utils.errors import InputError, first_ten
from lesion_utils.tables import require_one_of

CLASSES = {
    "akiec": "actinic keratosis / Bowen's disease",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
NEEDED = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
EXPECTED = f"image folders and a table with the columns {', '.join(NEEDED)}"
NAMES = ("HAM10000_metadata.csv", "HAM10000_metadata.tsv", "HAM10000_metadata.tab", "HAM10000_metadata")
SUFFIXES = (".csv", ".tsv", ".tab")


def metadata_files(folder: Path) -> list[Path]:
    """The table of HAM10000 in ``folder``, or otherwise all tables in it with the same columns."""
    published = [folder / name for name in NAMES if (folder / name).is_file()][:1]
    return published or [path for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES and _has_columns(path)]


def table_file(folder: Path, _: Path | None = None) -> Path:
    """The one metadata table in ``folder``; raises InputError if the folder or the table is missing."""
    expected = f"HAM10000_images_part_1/, HAM10000_images_part_2/ and {NAMES[0]}"
    require_folder(folder, expected, "ham10000")
    tables = metadata_files(folder)
    if not tables:
        expected = f"Expected one of {', '.join(NAMES)}, or a table with {', '.join(NEEDED)}."
        raise InputError(f"{folder} has no metadata table. {expected}")
    if len(tables) > 1:
        names = first_ten(path.name for path in tables)
        raise InputError(f"{folder} has more than one metadata table: {names}. Fix: keep one.")
    return tables[0]


def _has_columns(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline(1000)
    return set(NEEDED) <= {name.strip(' "') for name in re.split(r"[,;\t]", head.strip())}


def image_files(folder: Path) -> list[Path]:
    """All JPEGs in the image folders ``HAM10000_images*`` of ``folder``, in the order of their names.

    Without such a folder: all JPEGs in ``folder`` and in the folders in it.
    """
    images = list(folder.glob("HAM10000_images*/*")) or [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(path for path in images if is_jpeg(path))


def read(folder: Path, _: Path | None = None) -> pd.DataFrame:
    """The case table of a folder in the HAM10000 layout, one row per image, in the order of the image ids.

    Raises InputError as ``metadata`` does, for a row without an image and for an image without a row.
    """
    cases = metadata(folder)
    expected = f"<image_id>.jpg in {folder}/HAM10000_images_part_1/ or …_part_2/"
    paths = image_paths(table_file(folder), cases["image_id"], image_files(folder), folder, expected)
    return case_table(**cases, isic_id=cases["image_id"], path=paths)


def metadata(folder: Path) -> pd.DataFrame:
    """The metadata table of a folder, one row per image, in the order of the image ids; images are not needed.

    Missing ages are NaN, unknown sexes and sites None. ``source`` is the ``dataset`` column of later releases,
    None where there is none. Raises InputError for a missing folder, table or column, an unknown diagnosis, an empty
    or duplicate id, an age that is not a number, or an empty table.
    """
    path = table_file(folder)
    table = read_published(path, NEEDED, ids=("image_id", "lesion_id"))
    require_one_of(path, table["dx"], CLASSES, "diagnosis", AS_PUBLISHED)
    words = {name: words_or_none(table[name]) for name in ("sex", "localization", "dx_type")}
    return (
        table[["image_id", "lesion_id"]]
        .assign(label=table["dx"], age=ages(path, table["age"]), **words)
        .assign(source=words_or_none(table["dataset"]) if "dataset" in table else None)
        .sort_values("image_id", ignore_index=True)
    )


def table_order(folder: Path) -> list[str]:
    """The image ids in the order of the metadata table's rows, on which published splits depend."""
    return list(read_published(table_file(folder), NEEDED, ids=("image_id",))["image_id"])
