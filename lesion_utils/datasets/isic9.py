"""The 9-class ISIC set as it is shared: ``Train|Test/<class>/<ISIC id>.jpg``, without a table or lesions.

Many of its images are HAM10000's; where that dataset's table is available, lesions and patients come from it.
"""

import re
from pathlib import Path

import pandas as pd

from lesion_utils.datasets import ham10000
from lesion_utils.datasets.case_table import case_table, require_folder
from lesion_utils.errors import InputError, first_ten

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
CLASSES = {
    name: f"{'one of two classes that are ' * (label in ('akiec', 'bkl'))}{label} in HAM10000"
    for name, label in TO_HAM10000.items()
}
FOLDERS = {"Train": "train", "Test": "test"}  # value of `published_split`
NAME = re.compile(r"(ISIC_\d{7})(?:[ _]?\(\d+\))?\.(?:jpg|jpeg|png)", flags=re.IGNORECASE)  # "(1)": a browser's copy
EXPECTED = "Train/<class>/ISIC_<7 digits>.jpg and Test/<class>/ISIC_<7 digits>.jpg"


def roots(folder: Path) -> list[Path]:
    """``folder`` and the folders in it, as far as they hold both ``Train`` and ``Test``."""
    return [path for path in (folder, *_folders(folder)) if all((path / name).is_dir() for name in FOLDERS)]


def recognised(folder: Path) -> bool:
    """Whether ``folder`` holds such a set, with the names of ISIC's images; it may still have faults."""
    return any(NAME.fullmatch(path.name) for top in roots(folder) for path in top.glob("*/*/*"))


def root(folder: Path) -> Path:
    """The folder that holds ``Train`` and ``Test``: ``folder``, or the one folder in it that does.

    Raises InputError if there is none, or more than one.
    """
    require_folder(folder, EXPECTED, "isic9")
    sets = roots(folder)
    if not sets:
        contents = first_ten(path.name for path in _folders(folder)) or "none"
        problem = f"neither {folder} nor a folder in it has the folders Train and Test; folders in it: {contents}"
        raise InputError(f"{problem}. Expected {EXPECTED}. Fix: make study STUDY=isic9 DATA=<folder>.")
    if len(sets) > 1:
        names = first_ten(path.relative_to(folder) for path in sets)
        raise InputError(f"{folder} has more than one dataset with Train and Test: {names}. Fix: use one of them.")
    return sets[0]


def image_files(folder: Path) -> list[Path]:
    """All images below ``folder`` (see ``root``), by split, class and name; hidden files are ignored.

    Raises InputError for a class folder without images, a file that is not an image by its name, a class that is not
    one of the nine, and Train and Test with different classes.
    """
    top = root(folder)
    classes = {name: {path.name for path in _folders(top / name)} for name in FOLDERS}
    pairs = [path for name in FOLDERS for path in _folders(top / name)]
    content = {path: _visible(path) for path in pairs}
    files = [path for paths in content.values() for path in paths if path.is_file() and NAME.fullmatch(path.name)]
    others = {path for paths in content.values() for path in paths} - set(files)
    others |= {path for name in FOLDERS for path in _visible(top / name) if not path.is_dir()}
    for problem, names in (
        ("no class folder in", [name for name in FOLDERS if not classes[name]]),
        ("class folder(s) in only one of Train and Test", classes["Train"] ^ classes["Test"]),
        (f"class folder(s) other than {', '.join(CLASSES)}", classes["Train"] - set(CLASSES)),
        ("not an image by its name", [path.relative_to(top).as_posix() for path in others]),
        ("class folder(s) without an image", [path.relative_to(top).as_posix() for path in pairs if not content[path]]),
    ):
        if names:
            raise InputError(f"{top}: {problem}: {first_ten(sorted(names))}. Expected {EXPECTED} (or .jpeg, .png).")
    return files


def table_file(_: Path, ham: Path | None) -> Path | None:
    """HAM10000's table, from which lesions are taken."""
    return ham10000.table_file(ham) if ham else None


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def read(folder: Path, ham: Path | None) -> pd.DataFrame:
    """The case table of a 9-class folder, one row per file, in the order of the image ids.

    ``image_id`` is ``<Train|Test>/<class>/<file name without suffix>``, since ISIC ids may be duplicate.
    ``ham`` is a folder with HAM10000's metadata table (its images are not needed): an image in that table takes its
    lesion, age, sex, site and kind of diagnosis, its label as ``ham10000_label`` and the source ``HAM10000``; any other
    image is a lesion of its own and has the source ``other``. Without ``ham`` none of this is known. Raises InputError
    as ``image_files`` and ``ham10000.metadata`` do, and for two files whose names differ in their suffix only.
    """
    files = image_files(folder)
    rows = [
        ("/".join((*path.parts[-3:-1], path.stem)), path.name[:12].upper(), str(path), *path.parts[-3:-1])
        for path in files
    ]
    cases = pd.DataFrame(rows, columns=["image_id", "isic_id", "path", "published_split", "label"])
    cases["published_split"] = cases["published_split"].map(FOLDERS)
    if (duplicates := cases["image_id"].duplicated()).any():
        names = first_ten(cases.loc[duplicates, "image_id"])
        raise InputError(f"{folder}: files whose names differ in their suffix only: {names}. Fix: keep one of each.")
    table = ham10000.metadata(ham) if ham else pd.DataFrame(columns=["image_id"])
    columns = ["lesion_id", "age", "sex", "localization", "dx_type", "label"]
    known = table.set_index("image_id").reindex(index=cases["isic_id"], columns=columns).reset_index(drop=True)
    known = known.astype(object).where(known.notna(), None).rename(columns={"label": "ham10000_label"})
    inside = known["lesion_id"].notna()
    source = inside.map({True: "HAM10000", False: "other"}) if ham else None
    lesions, years = known["lesion_id"].where(inside, cases["isic_id"]), known["age"].astype(float)
    return case_table(**cases, **known.assign(lesion_id=lesions, age=years), source=source)
