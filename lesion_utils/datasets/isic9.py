"""The 9-class ISIC set as it is passed around: ``Train|Test/<class>/<ISIC id>.jpg``, no table, no lesions.

Many of its images are HAM10000's; where that data set's table is at hand, lesions and patients come from it.
"""

import re
from pathlib import Path

import pandas as pd

from lesion_utils.datasets import ham10000
from lesion_utils.datasets.case_table import COLUMNS
from lesion_utils.errors import InputError, first_ten

CLASSES = {
    "actinic keratosis": "one of two classes that HAM10000 holds in akiec",
    "basal cell carcinoma": "bcc in HAM10000",
    "dermatofibroma": "df in HAM10000",
    "melanoma": "mel in HAM10000",
    "nevus": "nv in HAM10000",
    "pigmented benign keratosis": "one of two classes that HAM10000 holds in bkl",
    "seborrheic keratosis": "one of two classes that HAM10000 holds in bkl",
    "squamous cell carcinoma": "one of two classes that HAM10000 holds in akiec",
    "vascular lesion": "vasc in HAM10000",
}
TO_HAM10000 = {
    "actinic keratosis": "akiec",
    "basal cell carcinoma": "bcc",
    "dermatofibroma": "df",
    "melanoma": "mel",
    "nevus": "nv",
    "pigmented benign keratosis": "bkl",
    "seborrheic keratosis": "bkl",
    "squamous cell carcinoma": "akiec",
    "vascular lesion": "vasc",
}
PARTS = {"Train": "train", "Test": "test"}  # folder: value of `published_split`
NAME = re.compile(r"(ISIC_\d{7})(?:[ _]?\(\d+\))?\.(?:jpg|jpeg|png)", flags=re.IGNORECASE)  # "(1)": a browser's copy
FIX = "Fix: make study STUDY=isic9 DATA=<folder>."
LAYOUT = "Train/<class>/ISIC_<7 digits>.jpg and Test/<class>/ISIC_<7 digits>.jpg"


def roots(folder: Path) -> list[Path]:
    """``folder`` and the folders in it, as far as they hold both ``Train`` and ``Test``."""
    return [path for path in (folder, *_folders(folder)) if all((path / part).is_dir() for part in PARTS)]


def root(folder: Path) -> Path:
    """The folder that holds ``Train`` and ``Test``: ``folder``, or the one folder in it that does.

    Raises InputError if there is none, or more than one.
    """
    if not folder.is_dir():
        raise InputError(f"data folder {folder} does not exist. Expected {LAYOUT} in it. {FIX}")
    found = roots(folder)
    if not found:
        there = first_ten(path.name for path in _folders(folder)) or "none"
        raise InputError(
            f"{folder} holds no folders Train and Test, nor does a folder in it; folders there: {there}. "
            f"Expected {LAYOUT}. {FIX}"
        )
    if len(found) > 1:
        raise InputError(
            f"{folder} holds more than one data set: {first_ten(path.relative_to(folder) for path in found)} each have "
            f"Train and Test. Fix: name one of them."
        )
    return found[0]


def image_files(folder: Path) -> list[Path]:
    """All images below ``folder`` (see ``root``), by part, class and name; hidden files are no part of the set.

    Raises InputError for a folder without its images, a file that is no image by its name, a class that is not one
    of the nine, and Train and Test with different classes.
    """
    top = root(folder)
    classes = {part: [path.name for path in _folders(top / part)] for part in PARTS}
    if none := [part for part in PARTS if not classes[part]]:
        raise InputError(f"{top / none[0]} holds no class folder. Expected {LAYOUT}.")
    if odd := sorted(set(classes["Train"]) ^ set(classes["Test"])):
        raise InputError(f"{top}: class folder(s) in one of Train and Test alone: {first_ten(odd)}. Expected in both.")
    if strange := sorted(set(classes["Train"]) - set(CLASSES)):
        raise InputError(f"{top}: unknown class folder(s) {first_ten(strange)}. Expected some of {', '.join(CLASSES)}.")
    files, stray, empty = [], [], []
    for place in (top / part / name for part in PARTS for name in classes[part]):
        there = _visible(place)
        images = [path for path in there if path.is_file() and NAME.fullmatch(path.name)]
        files += images
        stray += [path for path in there if path not in images]
        empty += [] if there else [place]
    stray += [path for path in (*_visible(top / "Train"), *_visible(top / "Test")) if not path.is_dir()]
    for problem, paths in (("no image by its name", stray), ("a class folder without an image", empty)):
        if paths:
            names = first_ten(path.relative_to(top).as_posix() for path in paths)
            raise InputError(f"{top}: {problem}: {names}. Expected {LAYOUT} (or .jpeg, .png). Fix: take it out.")
    return files


def _folders(place: Path) -> list[Path]:
    return [path for path in _visible(place) if path.is_dir()]


def _visible(place: Path) -> list[Path]:
    return [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]


def read(folder: Path, ham: Path | None) -> pd.DataFrame:
    """The case table of a 9-class folder, one row a file, in the order of the image ids.

    ``image_id`` is ``<Train|Test>/<class>/<file name without its end>``, since an ISIC id may stand more than once;
    ``published_split`` is the part. ``ham`` is a folder with HAM10000's metadata table (its images are not needed):
    an image that it knows takes its lesion, age, sex, site and kind of diagnosis, its label as ``ham10000_label``
    and the source ``HAM10000``; any other is a lesion of its own and of the source ``other``. Without ``ham`` nothing
    of this is known. Raises InputError as ``image_files`` and ``ham10000.metadata`` do, and for two files that differ
    in the end of their name alone.
    """
    files = image_files(folder)
    names = pd.Series(["/".join((*path.parts[-3:-1], path.stem)) for path in files])
    if (twice := names.duplicated()).any():
        raise InputError(f"{folder}: files that differ in the end of their name alone: {first_ten(names[twice])}.")
    cases = pd.DataFrame(
        {
            "image_id": names,
            "isic_id": [NAME.fullmatch(path.name)[1].upper() for path in files],  # type: ignore[index]
            "path": [str(path) for path in files],
            "label": [path.parent.name for path in files],
        }
    )
    known = ham10000.metadata(ham).set_index("image_id") if ham else pd.DataFrame(columns=list(_FROM_HAM10000.values()))
    inside = cases["isic_id"].isin(known.index)
    for name, theirs in _FROM_HAM10000.items():
        cases[name] = cases["isic_id"].map(known[theirs]).astype(object).where(inside, None)
    return cases.assign(
        lesion_id=cases["lesion_id"].where(inside, cases["isic_id"]),
        age=cases["age"].astype(float),
        source=inside.map({True: "HAM10000", False: "other"}) if ham else None,
        published_split=[PARTS[path.parts[-3]] for path in files],
    ).sort_values("image_id", ignore_index=True)[[*COLUMNS, "ham10000_label"]]


_FROM_HAM10000 = {
    **{name: name for name in ("lesion_id", "age", "sex", "localization", "dx_type")},
    "ham10000_label": "label",
}
