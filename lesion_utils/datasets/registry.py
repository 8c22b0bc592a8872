"""The one registry of layouts: all that the study must know about a dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lesion_utils.datasets import ham10000, isic9, isic2018, siim2020
from lesion_utils.datasets.own import Own
from lesion_utils.errors import InputError


@dataclass(frozen=True)
class Layout:
    """One layout. Its ``module`` has ``CLASSES`` (label: what it means), ``EXPECTED`` (what a folder holds, for
    messages), ``image_files(folder)``, ``read(folder, ham)`` (the case table) and ``table_file(folder, ham)`` (the file
    that gives labels, lesions or patients, or None); ``ham`` is the folder of HAM10000's table, or None.
    """

    title: str
    module: Any
    recognised: Callable[[Path], Any]  # true if a folder has this layout; it may still have faults
    name_parts: int | None = 1  # how many of the last parts of its path identify an image; None: all below the folder
    ham10000: Literal["itself", "lesions", "none"] = "none"  # it is HAM10000's own, or takes lesions from there
    corrected: bool = False  # published in two splits, whose faults the audit corrects
    grouped_by: str = "lesion"  # what ``lesion_id`` identifies
    made_up: bool = False
    own: bool = False  # a person's own images: the study says the classes, and ``module`` takes what it says
    has_training: bool = True  # False: a test set, which a study adds by a key of its own

    @property
    def classes(self) -> Mapping[str, str]:
        return self.module.CLASSES


def _own(title: str, by_folder: bool) -> Layout:
    module = Own(by_folder)
    return Layout(title, module, module.recognised, name_parts=None, grouped_by="image", own=True)


_HAM10000 = Layout("HAM10000", ham10000, ham10000.metadata_files, ham10000="itself")
LAYOUTS = {  # in the order in which ``read_any`` tries them
    "isic2018": Layout(
        "ISIC 2018 Task 3, test", isic2018, lambda folder: (folder / isic2018.IMAGES).is_dir(), has_training=False
    ),
    "siim2020": Layout(
        "SIIM-ISIC 2020", siim2020, lambda folder: (folder / siim2020.IMAGES).is_dir(), grouped_by="patient"
    ),
    "ham10000": _HAM10000,
    "phantom": replace(_HAM10000, title="Phantom (made-up pictures)", made_up=True),
    "isic9": Layout("ISIC, 9 classes", isic9, isic9.recognised, name_parts=3, ham10000="lesions", corrected=True),
    "folders": _own("Own images in class folders", by_folder=True),
    "table": _own("Own images with a table", by_folder=False),
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
            return layout.module.read(folder, ham)
    expected = dict.fromkeys(layout.module.EXPECTED for layout in LAYOUTS.values())
    raise InputError(f"{folder} has no known layout. Expected one of: {'; '.join(expected)}.")
