"""A trained model on further images: the same prediction table, ready to be judged.

Images that the model has seen in training or validation are found by published id, lesion and pixels, and refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.audit.images import pixel_digests
from lesion_utils.cases import ham10000_folder, layout
from lesion_utils.datasets import read_any
from lesion_utils.datasets.isic9 import TO_HAM10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.model_file import trained_model
from lesion_utils.paths import atomic_write, require_suffix, write_json
from lesion_utils.pictures import load_pictures
from lesion_utils.published import handover
from lesion_utils.runtime import start
from lesion_utils.splits import find_leaks
from lesion_utils.study import StudyParams
from lesion_utils.tables import require_unique, spreadsheet_safe

DESCRIBING = ["age", "sex", "localization", "source"]  # columns of a set that go into the prediction table


def predict_folder(
    params: StudyParams, recipe: str, folder: Path, output: Path, allow_leak: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicts the images in ``folder``, in any layout of ``read_any``, with the trained model of ``recipe``.

    Writes the prediction table to ``output`` (.csv), with ``DESCRIBING`` where the set has these columns, and a .json
    with its provenance next to it. Returns the table, and the cases that the model has seen. Classes are the model's.
    Where the set's labels differ, but both are of the 9-class set or HAM10000, labels become HAM10000's, and
    probabilities of classes that HAM10000 counts as one are summed. Raises InputError for a recipe that is not trained
    or was trained with other parameters or cases, other labels, and, unless ``allow_leak``, for images that the model
    has seen; with it every row is marked ``leaky``.
    """
    require_suffix(output, ".csv", "the prediction table")
    model_file, provenance, own = trained_model(params, recipe)
    data = layout(params)
    if data.own and data.recognised(folder):  # with the columns that the study names
        has_table = data.module.metadata and (folder / data.module.metadata).is_file()
        cases = replace(data.module, metadata=data.module.metadata if has_table else None).read(folder)
    else:
        cases = read_any(folder, ham10000_folder(params))
    classes, cases = _classes_and_labels(sorted(own["label"].unique()), cases, folder)
    used = own[own["split"].isin(["train", "validation"])].assign(split="train")
    further = cases.assign(split="test")
    if data.own:  # cameras count their images: one name in two folders says nothing
        other, alone = "further " + further["isic_id"], further["lesion_id"] == further["isic_id"]
        further = further.assign(isic_id=other, lesion_id=further["lesion_id"].mask(alone, other))
    joined = pd.concat([used, further], ignore_index=True)
    seen = find_leaks(joined.assign(pixels=pixel_digests(joined, params.threads)))
    if len(seen) and not allow_leak:
        known = f"{len(seen):,} of the {len(cases):,} images in {folder}, or their lesions"
        fix = "Expected none of training or validation. Fix: remove them, or --allow-leak: the table is marked leaky."
        raise InputError(f"the model has seen {known}: {first_ten(seen['image_id'])}. {fix}")
    table = _predict(model_file, cases, classes, params.threads, leaky=not seen.empty)
    table = table.join(cases[DESCRIBING].dropna(axis="columns", how="all"))
    about = {"classes": predictions.classes_of(table), "n": len(table), "set": folder.name}
    output.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(output) as new:
        spreadsheet_safe(table).to_csv(new, index=False)
    write_json(output.with_suffix(".json"), about | {"known to the model": len(seen), "model": provenance})
    return table, seen


def predict_reported(
    model_file: Path, about: handover.About, folders: Sequence[Path], threads: int, trusted: bool = False
) -> pd.DataFrame:
    """The prediction table of a model that was handed over, for the cases that ``about`` lists.

    Their images are read out of ``folders``. Raises InputError for a case that is missing there, has another label, or
    is in two folders.
    """
    where = " and ".join(map(str, folders))
    images = pd.concat([read_any(folder) for folder in folders], ignore_index=True)
    require_unique(where, images["image_id"], "Expected each image in one folder only.")
    cases = pd.DataFrame([case.model_dump() for case in about.cases])
    images = images.set_index("image_id").reindex(cases["image_id"]).reset_index()
    for bad, problem in (
        (images["path"].isna(), "missing images that the model was reported on"),
        (images["label"] != cases["label"], "images with another label than when the model was reported"),
    ):
        if bad.any():
            shown = f"{bad.sum():,} of {len(cases):,}: {first_ten(cases.loc[bad, 'image_id'])}"
            fix = "Expected the dataset that it was trained on. Fix: --data with its folder, once for each folder."
            raise InputError(f"{where}: {problem}, {shown}. {fix}")
    cases = cases.assign(path=images["path"])
    return _predict(model_file, cases, about.classes, threads, about.leaky, trusted, about.weights)


def _predict(
    model_file: Path,
    cases: pd.DataFrame,
    classes: Sequence[str],
    threads: int,
    leaky: bool,
    trusted: bool = False,
    weights: str = "",
) -> pd.DataFrame:
    """The prediction table of ``cases``; probabilities of ``classes`` of the same name are summed. The model must have
    the ``weights`` of that digest.
    """
    start(threads)
    model = handover.load(model_file, trusted)
    if weights and model.weights and weights != model.weights:
        fix = "Fix: copy the whole folder again, or make study."
        raise InputError(f"{model_file} is not the model that {handover.ABOUT} beside it describes. {fix}")
    scores = model(load_pictures(cases["path"], model.image_size, threads))
    if scores.shape[1] != len(classes):
        expected = f"Expected {len(classes)}, one for each of {', '.join(classes)}. Fix: copy the whole folder again."
        raise InputError(f"{model_file} gives {scores.shape[1]} probabilities per picture. {expected}")
    return predictions.build(cases, *_summed(classes, scores), leaky)


def _classes_and_labels(classes: list[str], cases: pd.DataFrame, folder: Path) -> tuple[list[str], pd.DataFrame]:
    """The names under which ``classes`` of the model are shown, and the cases with labels of these names."""
    if set(cases["label"]) <= set(classes):
        return classes, cases
    names = [TO_HAM10000.get(name, name) for name in classes]
    labels = cases["label"].replace(TO_HAM10000)
    if unknown := sorted(set(labels) - set(names)):
        expected = f"Expected some of {', '.join(classes)}."
        raise InputError(f"{folder}: label(s) that are not classes of the model: {first_ten(unknown)}. {expected}")
    return names, cases.assign(label=labels)


def _summed(names: Sequence[str], scores: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different ``names`` in order, and the sum of the columns of ``scores`` (n, names) that each of them has."""
    different = sorted(set(names))
    return different, scores @ np.equal.outer(np.array(names, object), np.array(different, object)).astype(scores.dtype)
