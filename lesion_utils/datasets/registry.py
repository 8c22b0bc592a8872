"""The layouts that are read, an entry each: what the study must know of a data set stands here and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from lesion_utils.datasets import ham10000, isic9, isic2018, siim2020


@dataclass(frozen=True)
class Layout:
    """One layout. Its functions are given the data folder, and that of HAM10000 where there is one."""

    title: str
    classes: Mapping[str, str]  # label: what it is
    expected: str  # what lies in such a folder, for messages
    recognised: Callable[[Path], bool]  # whether a folder looks so; it need not be without fault
    read: Callable[[Path, Path | None], pd.DataFrame]
    images: Callable[[Path], list[Path]]
    table: Callable[[Path, Path | None], Path | None]  # the file that labels, lesions or patients come from
    name_parts: int = 1  # how many parts at the end of its path tell an image from another
    ham10000: Literal["itself", "lesions", "none"] = "none"  # whether it is HAM10000's, or takes lesions from there
    corrected: bool = False  # comes in parts, in which the audit corrects what is wrong
    grouped_by: str = "lesion"  # what ``lesion_id`` names
    made_up: bool = False


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

LAYOUTS = {  # in the order in which a folder is asked whether it looks so
    "isic2018": Layout(
        title="ISIC 2018 Task 3, test",
        classes=ham10000.CLASSES,
        expected=f"{isic2018.IMAGES}/ and {isic2018.TRUTH}.csv",
        recognised=lambda folder: (folder / isic2018.IMAGES).is_dir(),
        read=lambda folder, _: isic2018.read(folder),
        images=isic2018.image_files,
        table=lambda folder, _: isic2018.truth_file(folder),
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
