"""A frozen model of a study on another set of images: the same prediction table, ready for the judge.

What a model has seen in training, or what chose its epoch, is no test of it: such images in the other set are found
by published id, lesion and pixels, and refused unless allowed.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.datasets import ham10000_folder, read_any
from lesion_utils.datasets.isic9 import TO_HAM10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import atomic_write, read_json, write_json
from lesion_utils.pictures import CachedArrays, held_out_batches, load_pictures, row_digests
from lesion_utils.runtime import keras, start
from lesion_utils.splits import known_in_training, split_cases, split_digest
from lesion_utils.study import StudyParams
from lesion_utils.training import model_folder

PATIENT = ["age", "sex", "localization", "source"]


def score_folder(
    params: StudyParams, recipe: str, folder: Path, output: Path, allow_leak: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores the images in ``folder``, in any layout of ``read_any``, with the trained model of ``recipe``.

    Writes the prediction table to ``output`` (.csv), with what the set tells of the patients, and beside it a .json
    that says what made it; returns the table, and the cases that the model knows. Classes are the model's. Where the
    set's labels are others, but both are of the 9-class set or HAM10000's, probabilities of classes that HAM10000
    holds in one are summed and labels are HAM10000's.

    Raises InputError for a recipe that is not trained or was trained with other parameters or cases, labels that are
    no classes of the model, and, unless ``allow_leak``, for images that the model knows; with it every row is marked
    ``leaky``.
    """
    if output.suffix != ".csv":
        raise InputError(f"the prediction table cannot be named {output.name!r}. Expected a name that ends in .csv.")
    model_folder, made_by, own = _trained(params, recipe)
    cases = read_any(folder, ham10000_folder(params))
    classes = sorted(own["label"].unique())
    shown, cases = _classes_and_labels(classes, cases, folder)
    size = params.recipes[recipe].image_size
    pixels = load_pictures(cases["path"], size, params.threads)
    known = _known(own, load_pictures(own["path"], size, params.threads), cases, pixels)
    if len(known) and not allow_leak:
        raise InputError(
            f"the model knows {len(known):,} of the {len(cases):,} images in {folder}, or their lesions, from training "
            f"or from the choice of its epoch: {first_ten(known['image_id'])}. Expected images it has never seen. "
            f"Fix: take them out; or --allow-leak, and the table is marked leaky."
        )
    start(params.threads)
    model = keras.models.load_model(model_folder / "model.keras", compile=False)
    scores = model.predict(held_out_batches(pixels), verbose=0)
    names, scores = _summed([shown[name] for name in classes], scores)
    table = predictions.build(cases, names, scores, leaky=not known.empty)
    table = table.join(cases[PATIENT].dropna(axis="columns", how="all"))
    about = {"classes": names, "n": len(table), "set": folder.name, "known to the model": len(known)}
    output.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(output) as beside:
        table.to_csv(beside, index=False)
    write_json(output.with_suffix(".json"), about | {"model": made_by})
    return table, known


def _trained(params: StudyParams, recipe: str) -> tuple[Path, dict, pd.DataFrame]:
    """The folder of the trained model, what made it, and the cases of its study with their splits."""
    if recipe not in params.recipes:
        raise InputError(f"study {params.study!r} has no recipe {recipe!r}; it has {', '.join(params.recipes)}.")
    folder = model_folder(params, recipe)
    cure = f"make study STUDY={params.study}, with the same data and parameters."
    made_by = read_json(folder / "made_by.json", cure)
    own = split_cases(params, params.recipes[recipe].cases)
    expected = {
        "recipe": params.recipes[recipe].model_dump(mode="json"),
        "seed": params.training_seed,
        "cases": split_digest(own),
    }
    if other := [name for name, value in expected.items() if made_by[name] != value]:
        raise InputError(f"{folder / 'model.keras'} was made by another {' and '.join(other)}. Fix: {cure}")
    return folder, made_by, own


def _classes_and_labels(classes: list[str], cases: pd.DataFrame, folder: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """The class under which each class of the model is shown, and the cases with labels of these."""
    if set(cases["label"]) <= set(classes):
        return {name: name for name in classes}, cases
    shown = {name: TO_HAM10000.get(name, name) for name in classes}
    labels = cases["label"].replace(TO_HAM10000)
    if strange := sorted(set(cases.loc[~labels.isin(shown.values()), "label"])):
        raise InputError(
            f"{folder}: label(s) that are no classes of the model: {first_ten(strange)}. Expected some of "
            f"{', '.join(classes)}."
        )
    return shown, cases.assign(label=labels)


def _summed(names: list[str], scores: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different ``names`` in order, and for each the sum of the columns of ``scores`` (n, names) that bear it."""
    different = sorted(set(names))
    belongs = np.array([[name == one for one in different] for name in names], scores.dtype)
    return different, scores @ belongs


def _known(own: pd.DataFrame, own_pixels: CachedArrays, cases: pd.DataFrame, pixels: CachedArrays) -> pd.DataFrame:
    """The ``cases`` that stand in training or validation of ``own``, with a column ``knows``: image or lesion."""
    seen = own["split"].isin(["train", "validation"]).to_numpy()
    joined = pd.concat([own[seen].assign(split="train"), cases.assign(split="test")], ignore_index=True)
    digests = np.array([*row_digests(own_pixels), *row_digests(pixels)])
    return known_in_training(joined, digests[np.concatenate([seen, np.ones(len(cases), bool)])].tolist())
