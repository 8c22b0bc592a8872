"""The one registry of layouts: all that the study must know about a dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from lesion_utils.datasets import ham10000, isic9, isic2018, siim2020
from lesion_utils.errors import InputError


@dataclass(frozen=True)
class Layout:
    """One layout. Its functions take the data folder, and that of HAM10000 (or None) where they have two parameters."""

    title: str
    classes: Mapping[str, str]  # label: what it means
    expected: str  # what such a folder holds, for messages
    recognised: Callable[[Path], bool]  # whether a folder has this layout; it may still have faults
    read: Callable[[Path, Path | None], pd.DataFrame]
    images: Callable[[Path], list[Path]]
    table: Callable[[Path, Path | None], Path | None]  # the file that gives labels, lesions or patients
    name_parts: int = 1  # how many of the last parts of its path identify an image
    ham10000: Literal["itself", "lesions", "none"] = "none"  # it is HAM10000's own, or takes lesions from there
    corrected: bool = False  # published in two splits, whose faults the audit corrects
    grouped_by: str = "lesion"  # what ``lesion_id`` identifies
    made_up: bool = False
    has_training: bool = True  # False: a test set, which a study adds by a key of its own


_HAM10000 = Layout(
    title="HAM10000",
    classes=ham10000.CLASSES,
    expected=f"image folders and a table with the columns {', '.join(ham10000.NEEDED)}",
    recognised=lambda folder: bool(ham10000.metadata_files(folder)),
    read=lambda folder, _: ham10000.read(folder),
    images=ham10000.image_files,
    table=lambda folder, _: ham10000.metadata_file(folder),
    ham10000="itself",
)

LAYOUTS = {  # in the order in which ``read_any`` tries them
    "isic2018": Layout(
        title="ISIC 2018 Task 3, test",
        classes=ham10000.CLASSES,
        expected=f"{isic2018.IMAGES}/ and {isic2018.TRUTH}.csv",
        recognised=lambda folder: (folder / isic2018.IMAGES).is_dir(),
        read=lambda folder, _: isic2018.read(folder),
        images=isic2018.image_files,
        table=lambda folder, _: isic2018.truth_file(folder),
        has_training=False,
    ),
    "siim2020": Layout(
        title="SIIM-ISIC 2020",
        classes=siim2020.CLASSES,
        expected=f"{siim2020.IMAGES}/ and {siim2020.TABLE} with the columns {', '.join(siim2020.NEEDED)}",
        recognised=lambda folder: (folder / siim2020.IMAGES).is_dir(),
        read=lambda folder, _: siim2020.read(folder),
        images=siim2020.image_files,
        table=lambda folder, _: siim2020.table_file(folder),
        grouped_by="patient",
    ),
    "ham10000": _HAM10000,
    "phantom": replace(_HAM10000, title="Phantom (made-up pictures)", made_up=True),
    "isic9": Layout(
        title="ISIC, 9 classes",
        classes=isic9.CLASSES,
        expected=isic9.LAYOUT,
        recognised=lambda folder: bool(isic9.roots(folder)),
        read=isic9.read,
        images=isic9.image_files,
        table=lambda _, ham: ham10000.metadata_file(ham) if ham else None,
        name_parts=3,
        ham10000="lesions",
        corrected=True,
    ),
}


def study_datasets() -> list[str]:
    """The layouts that a study can train on: the allowed values of its key ``dataset``."""
    return [name for name, layout in LAYOUTS.items() if layout.has_training]


def read_any(folder: Path, ham: Path | None = None) -> pd.DataFrame:
    """The case table of a folder in any registered layout, recognised by its contents.

    ``ham`` is a folder with HAM10000's metadata table, from which a 9-class folder takes lesions. Raises InputError
    if no layout is recognised, and as the reader of the layout does.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Expected a folder of images with a label table.")
    for layout in LAYOUTS.values():
        if layout.recognised(folder):
            return layout.read(folder, ham)
    expected = dict.fromkeys(layout.expected for layout in LAYOUTS.values())
    raise InputError(f"{folder} has no known layout. Expected one of: {'; '.join(expected)}.")
