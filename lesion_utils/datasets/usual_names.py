"""What people call the columns of a table of images and the parts of a dataset; and the pictures in a folder."""

import re
import unicodedata
from pathlib import Path

import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import PICTURES
from lesion_utils.tables import blank, refuse_rows

USUAL = {  # of any table of images, in any case; the first is ours
    "image_id": ("image_id", "image", "image_name", "isic_id", "filename", "file", "id"),
    "label": ("label", "dx", "diagnosis"),
    "lesion_id": ("lesion_id",),
}
OF_CASES = USUAL | {
    "image_id": (*USUAL["image_id"], "path", "filepath", "image_path"),
    "label": (*USUAL["label"], "class", "target"),
    "lesion_id": (*USUAL["lesion_id"], "lesion"),
    "patient_id": ("patient_id", "patient", "patientid"),
    "split": ("split", "part", "set", "partition", "subset", "fold"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "localization": ("localization", "anatom_site_general", "site", "region"),
    "source": ("source", "dataset", "attribution"),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
}
PARTS = {  # what parts are called, in any case, also with "set", "data" or "split" behind
    "train": ("train", "training", "trn", "tr"),
    "validation": ("validation", "val", "valid", "dev", "va"),
    "test": ("test", "testing", "tst", "te", "holdout", "hold-out"),
}
_OF_PART = {name: part for part, names in PARTS.items() for name in names}
_PART_ENDING = re.compile(r"[ _-]*(?:set|data|split|images|part)$")
_NO_LESION = ("-1", "unknown", "?")  # beside cells that are blank


def part_of(word: str) -> str | None:
    """The part that ``word`` means; None if it means none."""
    return _OF_PART.get(_PART_ENDING.sub("", word.casefold()))


def usual_column(where: object, table: pd.DataFrame, name: str, usual: tuple[str, ...], option: str) -> str | None:
    """The column of ``table`` with one of the ``usual`` names of ``name``, in any case; InputError if several have.

    ``option`` is how a caller names the column NAME.
    """
    found = [column for column in table if column.strip().lower() in usual]
    if len(found) > 1:
        fix = f"Fix: say which one, {option.replace('NAME', found[0])}"
        raise InputError(f"{where}: {first_ten(found)} may each be {name}. {fix}")
    return found[0] if found else None


def whole_numbers(ids: pd.Series) -> pd.Series:
    """``ids`` with 1 for 1.0."""
    return ids.str.replace(r"^(\d+)\.0+$", r"\1", regex=True)


def known_lesions(lesions: pd.Series) -> pd.Series:
    """``lesions`` with None where a cell says that the lesion is not known; pandas writes ids as 1.0 beside a gap."""
    lesions = whole_numbers(lesions)
    return lesions.astype(object).mask(blank(lesions) | lesions.str.lower().isin(_NO_LESION), None)


def one_spelling(name: str) -> str:
    """``name`` in the Unicode form of most programs: macOS hands out file names with accents apart from letters."""
    return unicodedata.normalize("NFC", name)


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below ``folder`` by their endings, without hidden files; InputError if there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Expected a folder of pictures.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not files:
        raise InputError(f"{folder} has no picture. Expected files that end in {', '.join(PICTURES)}.")
    return files


def picture_files(folder: Path, image_ids: pd.Series) -> pd.Series:
    """The file of each image; only files below ``folder`` are considered, whatever the ids say."""
    files: dict[str, list[str]] = {}
    for path in pictures_in(folder):
        inside = path.relative_to(folder)
        for name in {path.name, path.stem, inside.as_posix(), inside.with_suffix("").as_posix()}:
            files.setdefault(one_spelling(name), []).append(str(path))
    names = image_ids.map(one_spelling)
    count = names.map(lambda name: len(files.get(name, [])))
    advice = f"Expected <image id>.jpg or another of {', '.join(PICTURES)}. Fix: name the folder that holds them all."
    refuse_rows(folder, count == 0, "no picture for the image id", image_ids, advice)
    advice = "Fix: use the path of the file in the folder as its id, or keep one of the files."
    refuse_rows(folder, count > 1, "more than one picture for the image id", image_ids, advice)
    return names.map(lambda name: files[name][0])
