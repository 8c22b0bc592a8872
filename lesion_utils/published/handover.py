"""A trained model for people who have nothing else of the study: in the forms that they use, with all it takes to judge
it again.

Beside ``model.keras``: ``saved_model/`` (TensorFlow's serving form), ``model.h5`` (Keras' old form), ``model.pkl`` (a
pickle), ``history.npy`` (one record an epoch) and ``about.json`` (classes, picture size, recipe, the cases it was
reported on). In every form the model takes pictures with values 0 to 255 and gives probabilities.
"""

import logging
import os
import pickle
import platform
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lesion_utils.digests import bytes_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import atomic_write, write_json
from lesion_utils.pictures import HELD_OUT_BATCH, CachedArrays
from lesion_utils.recipes import Positive, Recipe, Strict
from lesion_utils.runtime import keras, tf

ABOUT, HISTORY = "about.json", "history.npy"
FORMS = {"saved_model": "saved_model", "h5": "model.h5", "pickle": "model.pkl"}  # value of `exports`: its name
MODELS = ("saved_model", "model.keras", "model.h5", "model.pkl")  # in the order in which a folder's model is chosen
WITHIN = 1e-4  # of the trained model's: the probabilities of a form read back

Predict: TypeAlias = Callable[[np.ndarray | CachedArrays], np.ndarray]


class Case(Strict):
    """An image on which the model was reported."""

    image_id: str
    lesion_id: str
    label: str


class About(Strict):
    """What ``about.json`` holds."""

    classes: tuple[str, ...]  # in the order of the probabilities
    image_size: tuple[Positive, Positive]  # height, width in pixels
    source: str  # the data set, as figures name it
    part: str  # of the data set, that the model was reported on
    leaky: bool  # training knew lesions or images of that part
    accuracy: float  # on that part, when it was trained
    cases: tuple[Case, ...]  # of that part
    recipe: dict[str, Any]
    weights: str  # digest
    versions: dict[str, str]


def names(recipe: Recipe) -> tuple[str, ...]:
    """The files and folders that ``write`` makes for ``recipe``; none if it exports nothing.

    Raises InputError for a form that cannot hold the recipe's model.
    """
    if "h5" in recipe.exports and (lost := [key for key, there in _lost_in_h5(recipe).items() if there]):
        raise InputError(
            f"recipe key `exports`: an .h5 file cannot hold a model with {', '.join(lost)}: Keras does not read it "
            f"back as it was. Fix: `exports: [saved_model]`, or pickle."
        )
    return (*(FORMS[form] for form in recipe.exports), HISTORY, ABOUT) if recipe.exports else ()


def _lost_in_h5(recipe: Recipe) -> dict[str, bool]:
    return {
        "flip_views": recipe.flip_views,
        "prior_correction": bool(recipe.prior_correction),
        "standardise": recipe.standardise,  # its mean and variance are read, but not used
        f"backbone {recipe.backbone}": recipe.backbone == "inception_resnet_v2",
    }


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
    """Writes what ``names`` lists into ``folder``, ``about.json`` last: with it the others are whole.

    ``model`` predicts (as ``models.finished``), ``history`` has one row an epoch. Of ``cases``, a table with splits,
    those of the test part, or of validation where there is no test, are told in ``about.json``; ``scores[part]`` (n,
    classes) are the model's probabilities of them. ``source`` is the title of the data set. Forms of an earlier recipe
    are removed. Raises InputError for a form that does not give the model's probabilities when it is read back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = names(recipe)
    (folder / ABOUT).unlink(missing_ok=True)
    for name in {*FORMS.values(), HISTORY} - set(wanted):
        _remove(folder / name)
    if not wanted:
        return
    part = "test" if (cases["split"] == "test").any() else "validation"
    shown = cases[cases["split"] == part]
    classes = sorted(cases["label"].unique())
    right = scores[part].argmax(1) == pd.Index(classes).get_indexer(shown["label"])
    pictures = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.float32)
    expected = model.predict_on_batch(pictures)
    for form in recipe.exports:
        with _writing_any(folder / FORMS[form]) as beside:
            _WRITERS[form](model, beside)
            if (off := float(np.abs(load(beside, trust_pickle=True)(pictures) - expected).max())) > WITHIN:
                raise InputError(
                    f"{folder / FORMS[form]}: read back, this form of the model gives other probabilities, by up to "
                    f"{off:.2g}. Expected at most {WITHIN:g}. Fix: take {form} out of the recipe's `exports`."
                )
    with atomic_write(folder / HISTORY) as beside:
        np.save(beside, _as_array(history), allow_pickle=False)
    about = About(
        classes=tuple(classes),
        image_size=recipe.image_size,
        source=source,
        part=part,
        leaky=leaky,
        accuracy=float(right.mean()),
        cases=tuple(Case(**row) for row in shown[list(Case.model_fields)].astype(str).to_dict("records")),
        recipe=recipe.model_dump(mode="json"),
        weights=bytes_digest(b"".join(np.ascontiguousarray(one).tobytes() for one in model.get_weights())),
        versions={"python": platform.python_version()} | {one.__name__: one.__version__ for one in (keras, tf, np, pd)},  # type: ignore[attr-defined]
    )
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def _write_h5(model: keras.Model, path: Path) -> None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that this form is an old one is known
    try:
        model.save(path)
    finally:
        logging.disable(before)


_WRITERS: dict[str, Callable[[keras.Model, Path], Any]] = {
    "saved_model": lambda model, path: model.export(path, verbose=False),
    "h5": _write_h5,
    "pickle": lambda model, path: path.write_bytes(pickle.dumps(model)),
}


@contextmanager
def _writing_any(path: Path) -> Iterator[Path]:
    """``atomic_write``, also for a folder: then what stood there makes way in one step."""
    beside, old = (path.with_name(f".{path.stem}.{kind}{path.suffix}") for kind in ("new", "old"))
    for left_by_a_killed_job in (beside, old):
        _remove(left_by_a_killed_job)
    try:
        yield beside
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
    finally:
        _remove(beside)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        gone = path.with_name(f".{path.name}.gone")  # a folder half removed under its name would still be found
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def _as_array(history: pd.DataFrame) -> np.ndarray:
    """The columns as fields of a structured array, which NumPy reads without a pickle: ``array["loss"]``."""
    numeric = {name: pd.api.types.is_numeric_dtype(column) for name, column in history.items()}
    columns = {name: history[name].to_numpy(None if numeric[name] else "U") for name in history}
    array = np.empty(len(history), [(str(name), column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        array[str(name)] = column
    return array


def model_in(path: Path) -> Path:
    """The file or folder of the model that ``path`` names: itself, or the first of ``MODELS`` in an exported folder.

    Raises InputError if there is none.
    """
    expected = f"Expected a folder with one of {', '.join(MODELS)}, or one of these."
    if not path.exists():
        raise InputError(f"{path} does not exist. {expected}")
    if path.is_dir() and not (path / "saved_model.pb").exists():
        found = [path / name for name in MODELS if (path / name).exists()]
        if not found:
            raise InputError(f"{path} holds no model. {expected}")
        return found[0]
    if _kind(path) not in _READERS:
        raise InputError(f"{path} is no model by its name. {expected}")
    return path


def load(path: Path, trust_pickle: bool = False) -> Predict:
    """The model that ``path`` names (``model_in``), as a function of pictures.

    It takes pictures (n, height, width, 3), uint8 or float32, values 0 to 255, and gives probabilities (n, classes)
    float32; raises InputError for pictures of another size. A pickle runs whatever code it holds when it is loaded, so
    it is refused unless ``trust_pickle``. Raises InputError for a path without a model and a file that is damaged.
    """
    path = model_in(path)
    if path.suffix == ".pkl" and not trust_pickle:
        raise InputError(
            f"{path} is a pickle, and to load a pickle is to run whatever program somebody put into it. Expected a "
            f"file that you made, or whose maker you trust. Fix: load saved_model/, model.keras or model.h5 beside "
            f"it; or if you trust it, --trust-pickle (in Python trust_pickle=True)."
        )
    try:
        size, outputs = _READERS[_kind(path)](path)
    except Exception as error:  # each form fails in ways of its own
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{path} cannot be loaded as a model ({type(error).__name__}: {reason}). Expected a whole file that "
            f"this project wrote. Fix: copy it again, or make it again with make study."
        ) from error

    def predict(pictures: np.ndarray | CachedArrays) -> np.ndarray:
        if tuple(pictures.shape[1:]) != size:
            raise InputError(f"pictures of shape {tuple(pictures.shape[1:])}; the model in {path} expects {size}.")
        made = []
        for first in range(0, len(pictures), HELD_OUT_BATCH):
            batch = np.asarray(pictures[first : first + HELD_OUT_BATCH], np.float32)
            # A short batch is filled up: batches of another size have other last bits.
            full = np.concatenate([batch, np.repeat(batch[-1:], HELD_OUT_BATCH - len(batch), axis=0)])
            made.append(outputs(full)[: len(batch)])
        return np.concatenate(made)

    return predict


def _kind(path: Path) -> str:
    return "saved_model" if path.is_dir() else path.suffix


_Read: TypeAlias = tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]


def _read_saved_model(path: Path) -> _Read:
    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]
    ((name, spec),) = serve.structured_input_signature[1].items()

    def outputs(batch: np.ndarray, _kept: Any = loaded) -> np.ndarray:  # the signature alone does not keep its weights
        (probabilities,) = serve(**{name: tf.constant(batch)}).values()
        return probabilities.numpy()

    return tuple(spec.shape[1:]), outputs


def _read_keras(path: Path) -> _Read:
    return _of_keras(keras.models.load_model(path, compile=False))


def _read_pickle(path: Path) -> _Read:
    return _of_keras(pickle.loads(path.read_bytes()))


def _of_keras(model: Any) -> _Read:
    if not isinstance(model, keras.Model):
        raise TypeError(f"it holds a {type(model).__name__}, no Keras model")
    return tuple(model.input_shape[1:]), model.predict_on_batch


_READERS: dict[str, Callable[[Path], _Read]] = {
    "saved_model": _read_saved_model,
    ".keras": _read_keras,
    ".h5": _read_keras,
    ".pkl": _read_pickle,
}


def read_about(folder: Path) -> About:
    """``about.json`` of an exported folder; raises InputError if it is missing or not what ``write`` makes."""
    path = folder / ABOUT
    expected = f"Expected the {ABOUT} that was written with the model. Fix: copy the whole folder again."
    try:
        return About.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). {expected}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text. {expected}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place and f'{place}: '}{first['msg']}. {expected}") from error


def read_history(folder: Path) -> pd.DataFrame:
    """``history.npy`` of an exported folder, one row an epoch; raises InputError if it is missing or damaged."""
    path = folder / HISTORY
    needed = ("loss", "accuracy", "val_loss", "val_accuracy")
    expected = f"Expected a NumPy file with the fields {', '.join(needed)}, one record an epoch."
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}). {expected} Fix: copy the whole folder again.") from error
    fields = (array.dtype.names if isinstance(array, np.ndarray) else None) or ()
    if missing := [name for name in needed if name not in fields]:
        raise InputError(f"{path} has no field {', '.join(missing)}. {expected}")
    return pd.DataFrame({name: array[name] for name in fields})
