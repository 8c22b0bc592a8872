"""A trained model for people who have nothing else of the study, with what it takes to judge it.

Next to ``model.keras``: ``saved_model/`` (TensorFlow's serving form), ``model.h5`` (Keras' old form), ``model.pkl``,
``history.npy`` and ``about.json``. In every form the model takes pictures with values from 0 to 255.
"""

import logging
import pickle
import platform
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lesion_utils.backbones import BACKBONES
from lesion_utils.digests import bytes_digest
from lesion_utils.errors import InputError
from lesion_utils.losses import BalancedAccuracy
from lesion_utils.paths import atomic_write, is_intact, remove, seal, write_json
from lesion_utils.pictures import HELD_OUT_BATCH, CachedArrays, full_batch
from lesion_utils.progress import steps
from lesion_utils.recipes import Positive, Recipe, Strict
from lesion_utils.runtime import backend, keras, tf

ABOUT, HISTORY = "about.json", "history.npy"
FORMS = {"saved_model": "saved_model", "h5": "model.h5", "pickle": "model.pkl"}  # value of `exports`: file or folder
MODELS = ("model.keras", "saved_model", "model.h5", "model.pkl")  # the first that exists is a folder's model
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")  # fields of a history
WITHIN = 1e-4  # largest difference of probabilities after a form is read back


class Case(Strict):
    image_id: str
    lesion_id: str
    label: str


class About(Strict):
    """What ``about.json`` holds."""

    classes: tuple[str, ...]  # in the order of the probabilities
    image_size: tuple[Positive, Positive]  # height, width in pixels
    source: str  # the dataset, as figures name it
    part: str  # the split that the model was reported on
    leaky: bool  # training shares lesions or images with that split
    accuracy: float  # on that split, when the model was trained
    cases: tuple[Case, ...]  # of that split
    recipe: dict[str, Any]
    weights: str  # digest
    versions: dict[str, str]


def names(recipe: Recipe) -> tuple[str, ...]:
    """The files and folders that ``write`` makes for ``recipe``; InputError for a form that cannot hold its model."""
    # Keras reads the mean of `standardise` and does not use it
    lost_in_h5 = [key for key in ("flip_views", "standardise") if getattr(recipe, key)]
    if not BACKBONES[recipe.backbone.name].fits_h5:
        lost_in_h5.append(f"backbone {recipe.backbone.name}")
    if "h5" in recipe.exports and lost_in_h5:
        cannot = f"recipe key `exports`: an .h5 file cannot hold a model with {', '.join(lost_in_h5)}"
        raise InputError(f"{cannot}. Expected forms that keep all of it. Fix: `exports: [saved_model]`, or pickle.")
    return (*(FORMS[form] for form in recipe.exports), HISTORY, ABOUT) if recipe.exports else ()


def write(
    folder: Path,
    model: keras.Model,
    history: pd.DataFrame,
    cases: pd.DataFrame,
    recipe: Recipe,
    scores: Mapping[str, np.ndarray],
    source: str = "",
    leaky: bool = False,
) -> None:
    """Writes what ``names`` lists into ``folder``; ``about.json`` comes last and says that the others are complete.

    ``history`` has one row per epoch. ``about.json`` lists the test cases of ``cases``, or the validation cases where
    there is no test; ``scores[split]`` (n, classes) are the model's probabilities of them. Forms of an earlier recipe
    are removed. Raises InputError for a form that gives other probabilities when it is read back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ABOUT, HISTORY, *FORMS.values()):  # ``about.json`` first: without it the others do not count
        remove(folder / name)
    if not names(recipe):
        return
    split = "test" if (cases["split"] == "test").any() else "validation"
    reported = cases[cases["split"] == split]
    classes = sorted(cases["label"].unique())
    right = scores[split].argmax(1) == pd.Index(classes).get_indexer(reported["label"])
    pictures = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.float32)
    for form in recipe.exports:
        _save(model, form, path := folder / FORMS[form])
        off = np.abs(load(path, trusted=True)(pictures) - model.predict_on_batch(pictures)).max()
        if off > WITHIN:
            remove(path)
            differs = f"{path}: read back, this form of the model gives other probabilities, by up to {off:.2g}"
            raise InputError(f"{differs}. Expected at most {WITHIN:g}. Fix: take {form} out of the recipe's `exports`.")
        seal(path)
    texts = history.select_dtypes(exclude="number")
    records = history.to_records(index=False, column_dtypes={name: f"U{texts[name].str.len().max()}" for name in texts})
    with atomic_write(folder / HISTORY) as new:
        np.save(new, records, allow_pickle=False)  # NumPy reads fields without a pickle: ``array["loss"]``
    about = About(
        classes=tuple(classes),
        image_size=recipe.backbone.image_size,
        source=source,
        part=split,
        leaky=leaky,
        accuracy=float(right.mean()),
        cases=tuple(Case(**row) for row in reported[list(Case.model_fields)].astype(str).to_dict("records")),
        recipe=recipe.model_dump(mode="json"),
        weights=_weights_digest(model),
        versions={"python": platform.python_version()}
        | {library.__name__: library.__version__ for library in (keras, backend, np, pd)},  # type: ignore[attr-defined]
    )
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def _weights_digest(model: keras.Model) -> str:
    return bytes_digest(b"".join(np.ascontiguousarray(array).tobytes() for array in model.get_weights()))


def _save(model: keras.Model, form: str, path: Path) -> None:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # Keras warns that an .h5 file is an old form
    try:
        if form == "pickle":
            path.write_bytes(pickle.dumps(model))
        else:
            model.save(path) if form == "h5" else model.export(path, verbose=False)
    finally:
        logging.disable(disabled)


class Model(NamedTuple):
    path: Path
    image_size: tuple[int, int]  # height, width
    outputs: Callable[[np.ndarray], np.ndarray]  # of one batch
    weights: str = ""  # their digest, where Keras gives them

    def __call__(self, pictures: np.ndarray | CachedArrays) -> np.ndarray:
        """Probabilities (n, classes) float32 of pictures (n, height, width, 3), uint8 or float32, values 0 to 255."""
        if pictures.shape[1:] != (expected := (*self.image_size, 3)):
            raise InputError(f"pictures of shape {pictures.shape[1:]}. The model in {self.path} expects {expected}.")
        probabilities = []
        for first in steps(range(0, len(pictures), HELD_OUT_BATCH), f"predicting, {HELD_OUT_BATCH} at a time"):
            batch = pictures[first : first + HELD_OUT_BATCH]
            probabilities.append(self.outputs(full_batch(batch))[: len(batch)])
        return np.concatenate(probabilities)


def load(path: Path, trusted: bool = False) -> Model:
    """The model in ``path`` (``model_in``); raises InputError for a damaged file.

    A .keras file is loaded without running code that it brings. All other forms can run programs, or read and write
    files (a SavedModel), so they are refused unless ``trusted``.
    """
    path = model_in(path)
    if path.suffix != ".keras" and not trusted:
        can = "run any program" if path.suffix == ".pkl" else "run code and read and write files"
        fix = "Fix: give model.keras instead; or, if you trust its maker, --trust (in Python trusted=True)"
        raise InputError(f"{path}: this form of a model can {can} when it is loaded. {fix}.")
    try:
        if path.is_dir():
            return _read_saved_model(path)
        pickled = path.suffix == ".pkl"
        model = pickle.loads(path.read_bytes()) if pickled else keras_model(path)
        if not isinstance(model, keras.Model):
            raise TypeError(f"it holds a {type(model).__name__}, not a Keras model")
        return Model(path, model.input_shape[1:3], model.predict_on_batch, _weights_digest(model))
    except Exception as error:  # each form fails in ways of its own
        first_line, *_ = str(error).split("\n")
        reason = f"{type(error).__name__}: {first_line}"
        fix = "Expected a complete file that this project wrote. Fix: copy it again, or make it again with make study."
        raise InputError(f"{path} cannot be loaded as a model ({reason}). {fix}") from error


def keras_model(path: Path) -> keras.Model:
    """The model in a .keras or .h5 file. A head that was trained alone names the metric that it was trained with."""
    return keras.models.load_model(path, {"lesion_utils>BalancedAccuracy": BalancedAccuracy}, compile=False)


def model_in(path: Path) -> Path:
    """The model that ``path`` names: itself, or the first of ``MODELS`` in an exported folder; InputError without."""
    is_folder = path.is_dir() and not (path / "saved_model.pb").exists()
    for candidate in [path / name for name in MODELS] if is_folder else [path]:
        if candidate.exists() and (candidate.is_dir() or candidate.suffix in (".keras", ".h5", ".pkl")):
            return candidate
    raise InputError(f"{path}: no model. Expected a folder with one of {', '.join(MODELS)}, or one of these.")


def _read_saved_model(path: Path) -> Model:
    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]
    ((name, spec),) = serve.structured_input_signature[1].items()

    def outputs(batch: np.ndarray, _kept: Any = loaded) -> np.ndarray:  # the signature alone does not keep its weights
        (probabilities,) = serve(**{name: tf.constant(batch)}).values()
        return probabilities.numpy()

    return Model(path, tuple(spec.shape[1:3]), outputs)


def read_about(folder: Path) -> About:
    """``about.json`` of an exported folder; raises InputError if it is missing or not what ``write`` makes."""
    try:
        return About.model_validate_json(_intact(folder / ABOUT).read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(folder / ABOUT, error, "the file written with the model") from error


def read_history(folder: Path) -> pd.DataFrame:
    """``history.npy`` of an exported folder, one row per epoch; raises InputError if it is missing or damaged."""
    try:
        array = np.load(_intact(folder / HISTORY), allow_pickle=False)
        return pd.DataFrame({name: array[name] for name in dict.fromkeys([*CURVES, *(array.dtype.names or [])])})
    except (OSError, ValueError, IndexError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(folder / HISTORY, error, f"one record per epoch with {', '.join(CURVES)}") from error


def _intact(path: Path) -> Path:
    if path.exists() and not is_intact(path):
        raise ValueError("it is not as it was written")
    return path


def _unreadable(path: Path, error: Exception, expected: str) -> InputError:
    reason = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    fix = "Fix: copy the whole folder again, or make study."
    return InputError(f"{path} cannot be read ({reason}). Expected {expected}. {fix}")
