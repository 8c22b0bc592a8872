"""One module a layout; each turns its files into the case table, after which nothing knows the layout.

Columns: ``image_id`` (unique)``, isic_id`` (the published id)``, path, label, lesion_id`` (or the patient, where
nothing finer is known)``, age`` (years, NaN if missing)``, sex, localization, dx_type, source`` (None if unknown)``,
published_split`` (``train`` or ``test`` where the data set comes in parts, else None); one row an image file, in the
order of the image ids.
"""

import hashlib
from pathlib import Path

import pandas as pd

from lesion_utils.datasets import ham10000, isic9, isic2018, phantom, siim2020
from lesion_utils.datasets.registry import LAYOUTS, Layout
from lesion_utils.digests import digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import resolve, run_folder
from lesion_utils.study import StudyParams

__all__ = [
    "CLASSES",
    "LAYOUTS",
    "TITLES",
    "Layout",
    "data_digest",
    "data_folder",
    "ham10000",
    "ham10000_folder",
    "isic9",
    "isic2018",
    "layout",
    "phantom",
    "read_any",
    "read_cases",
    "related_sets",
    "siim2020",
    "title",
]

CLASSES = {name: one.classes for name, one in LAYOUTS.items()}
TITLES = {name: one.title for name, one in LAYOUTS.items()}


def layout(params: StudyParams) -> Layout:
    """The layout of the study's data."""
    return LAYOUTS[params.dataset]


def title(params: StudyParams) -> str:
    """What figures and reports call the study's data, and that a study is smaller than what it re-runs."""
    return layout(params).title + (", scaled-down run" if params.scaled_down_how else "")


def data_folder(params: StudyParams) -> Path:
    """The folder of the study's images; the phantom is written on first use, into the run folder of its study."""
    if params.data is not None:
        return resolve(params.data)
    if not layout(params).made_up:
        raise InputError(
            f"study {params.study!r} needs a data folder: key `data` is not set. "
            f"Fix: make study STUDY={params.study} DATA=<folder>, or papermill … -p data <folder>."
        )
    return phantom.ensure(run_folder(params.study) / "phantom", params.phantom)


def ham10000_folder(params: StudyParams) -> Path | None:
    """The folder of HAM10000 that tells the lesions of images in another layout; None if none is at hand.

    Of a study in HAM10000's own layout its data folder; of one that takes lesions from there key ``ham10000``, or else
    the folder of that name beside the data folder. Raises InputError if the key names a folder without HAM10000's
    metadata table.
    """
    match layout(params).ham10000:
        case "itself":
            return data_folder(params)
        case "none":
            return None
    if params.ham10000 is not None:
        return ham10000.metadata_file(resolve(params.ham10000)).parent
    beside = data_folder(params).parent / "ham10000"
    return beside if ham10000.metadata_files(beside) else None


def read_cases(params: StudyParams) -> pd.DataFrame:
    """The case table of a study; raises InputError for anything that cannot be used.

    With ``isic2018`` the cases of that test set stand in it too, their ``published_split`` is ``test``, that of all
    others None; InputError if the study's split is not ``system_000`` on HAM10000's layout, or an image is in both.
    """
    cases = layout(params).read(data_folder(params), ham10000_folder(params))
    return cases if params.isic2018 is None else _with_isic2018(params, cases)


def _with_isic2018(params: StudyParams, cases: pd.DataFrame) -> pd.DataFrame:
    if params.split_rule != "system_000" or layout(params).ham10000 != "itself":
        raise InputError(
            f"study {params.study!r}: key `isic2018` needs `split_rule: system_000` on HAM10000, whose test split "
            f"it is; the study has {params.split_rule!r} on {params.dataset!r}. "
            f"Fix: leave `isic2018` out."
        )
    assert params.isic2018 is not None
    folder = resolve(params.isic2018)
    test = isic2018.read(folder)
    if twice := sorted(set(test["image_id"]) & set(cases["image_id"])):
        raise InputError(
            f"{len(twice)} image(s) stand both in {data_folder(params)} and in the test set {folder}: "
            f"{first_ten(twice)}. Expected none. Fix: use the two sets as they were published."
        )
    return pd.concat([cases, test]).sort_values("image_id", ignore_index=True)


def related_sets(params: StudyParams) -> dict[str, pd.DataFrame]:
    """Case tables that the study's images may overlap with, by name: HAM10000, where its images are at hand."""
    folder = ham10000_folder(params) if layout(params).ham10000 == "lesions" else None
    return {TITLES["ham10000"]: ham10000.read(folder)} if folder and ham10000.image_files(folder) else {}


def read_any(folder: Path, ham: Path | None = None) -> pd.DataFrame:
    """The case table of a folder in any layout that this study reads, told by what lies in it.

    ``ham`` is a folder with HAM10000's metadata table, from which a 9-class folder takes lesions. Raises InputError
    where no layout is recognised, and as the reader of the layout does.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Expected a folder with images and what says their labels.")
    for one in LAYOUTS.values():
        if one.recognised(folder):
            return one.read(folder, ham)
    expected = dict.fromkeys(one.expected for one in LAYOUTS.values())
    raise InputError(f"{folder} has no layout that is known. Expected one of: {'; '.join(expected)}.")


def data_digest(params: StudyParams) -> str:
    """Changes with the name or size of any image and any byte of a table, not with the folders' places."""
    if params.dataset == "phantom" and params.data is None:
        found = ["phantom", phantom.version(), params.phantom.model_dump(mode="json")]
    else:
        found = _identity(layout(params), data_folder(params), ham10000_folder(params))
    if params.isic2018 is not None:
        found += _identity(LAYOUTS["isic2018"], resolve(params.isic2018), None)
    return digest(found)


def _identity(layout: Layout, folder: Path, ham: Path | None) -> list:
    table = layout.table(folder, ham)
    names = [("/".join(path.parts[-layout.name_parts :]), path.stat().st_size) for path in layout.images(folder)]
    return [hashlib.sha256(table.read_bytes()).hexdigest() if table else None, names]
