"""One module a layout; each turns its files into the case table, after which nothing knows the layout.

Columns: ``image_id`` (unique)``, isic_id`` (the published id)``, path, label, lesion_id, age`` (years, NaN if
missing)``, sex, localization, dx_type, source`` (None if unknown)``, published_split`` (``train`` or ``test`` where the
data set comes in parts, else None); one row an image file, in the order of the image ids.
"""

import hashlib
from pathlib import Path

import pandas as pd

from lesion_utils.artefacts import digest, run_folder
from lesion_utils.datasets import folders, ham10000, isic2018, phantom
from lesion_utils.errors import InputError
from lesion_utils.params import StudyParams, resolve

CLASSES = {"phantom": ham10000.CLASSES, "ham10000": ham10000.CLASSES, "isic9": folders.CLASSES}
TITLES = {"phantom": "Phantom (made-up pictures)", "ham10000": "HAM10000", "isic9": "ISIC, 9 classes"}


def data_folder(params: StudyParams) -> Path:
    """The folder of the study's images; the phantom is written on first use, into the run folder of its study."""
    if params.data is not None:
        return resolve(params.data)
    if params.dataset != "phantom":
        raise InputError(
            f"study {params.study!r} needs a data folder: key `data` is not set. "
            f"Cure: make study STUDY={params.study} DATA=<folder>, or papermill … -p data <folder>."
        )
    return phantom.ensure(run_folder(params.study) / "phantom", params.phantom)


def ham10000_folder(params: StudyParams) -> Path | None:
    """The folder of HAM10000 from which a study on other images takes lesions; None if none is at hand.

    Key ``ham10000``, or else the folder of that name beside the data folder. Raises InputError if the key names a
    folder without HAM10000's metadata table.
    """
    if params.ham10000 is not None:
        return ham10000.metadata_file(resolve(params.ham10000)).parent
    beside = data_folder(params).parent / "ham10000"
    return beside if ham10000.metadata_files(beside) else None


def read_cases(params: StudyParams) -> pd.DataFrame:
    """The case table of a study; raises InputError for anything that cannot be used."""
    if params.dataset == "isic9":
        return folders.read(data_folder(params), ham10000_folder(params))
    return ham10000.read(data_folder(params))


def related_sets(params: StudyParams) -> dict[str, pd.DataFrame]:
    """Case tables that the study's images may overlap with, by name: HAM10000, where its images are at hand."""
    folder = ham10000_folder(params) if params.dataset == "isic9" else None
    return {TITLES["ham10000"]: ham10000.read(folder)} if folder and ham10000.image_files(folder) else {}


def read_any(folder: Path, ham: Path | None = None) -> pd.DataFrame:
    """The case table of a folder in any layout that this study reads, told by what lies in it.

    ``ham`` is a folder with HAM10000's metadata table, from which a 9-class folder takes lesions. Raises InputError
    where no layout is recognised, and as the reader of the layout does.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Expected a folder with images and what says their labels.")
    if (folder / isic2018.IMAGES).is_dir():
        return isic2018.read(folder)
    if ham10000.metadata_files(folder):
        return ham10000.read(folder)
    if folders.roots(folder):
        return folders.read(folder, ham)
    raise InputError(
        f"{folder} has no layout that is known. Expected one of: {isic2018.IMAGES}/ and {isic2018.TRUTH}.csv; image "
        f"folders and a table with the columns {', '.join(ham10000.NEEDED)}; {folders.LAYOUT}."
    )


def data_digest(params: StudyParams) -> str:
    """Changes with the name or size of any image and any byte of the metadata table, not with the folder's place."""
    if params.dataset == "phantom" and params.data is None:
        return digest(["phantom", phantom.version(), params.phantom.model_dump(mode="json")])
    folder = data_folder(params)
    if params.dataset == "isic9":
        names = [("/".join(path.parts[-3:]), path.stat().st_size) for path in folders.image_files(folder)]
        ham = ham10000_folder(params)
        return digest([_table_digest(ham) if ham else None, names])
    return digest([_table_digest(folder), [(path.name, path.stat().st_size) for path in ham10000.image_files(folder)]])


def _table_digest(folder: Path) -> str:
    return hashlib.sha256(ham10000.metadata_file(folder).read_bytes()).hexdigest()
