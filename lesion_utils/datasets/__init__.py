"""One module a layout; each turns its files into the case table, after which nothing knows the layout.

Columns: ``image_id, path, label, lesion_id, age`` (years, NaN if missing)``, sex, localization, dx_type, source``
(None if unknown); one row an image, in the order of the image ids.
"""

import hashlib
from pathlib import Path

import pandas as pd

from lesion_utils.artefacts import digest, run_folder
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.errors import InputError
from lesion_utils.params import StudyParams, resolve

CLASSES = ham10000.CLASSES
TITLES = {"phantom": "Phantom (made-up pictures)", "ham10000": "HAM10000"}


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


def read_cases(params: StudyParams) -> pd.DataFrame:
    """The case table of a study; raises InputError for anything that cannot be used."""
    return ham10000.read(data_folder(params))


def data_digest(params: StudyParams) -> str:
    """Changes with the name or size of any image and any byte of the metadata table, not with the folder's place."""
    if params.dataset == "phantom" and params.data is None:
        return digest(["phantom", phantom.version(), params.phantom.model_dump(mode="json")])
    folder = data_folder(params)
    table = hashlib.sha256(ham10000.metadata_file(folder).read_bytes()).hexdigest()
    return digest([table, [(path.name, path.stat().st_size) for path in ham10000.image_files(folder)]])
