"""A trained model as one file, for people who have nothing else of the study: packed, read, and asked about pictures.

The file is a zip archive of numbers: ``about.json`` (recipe, classes and all that validation chose), ``weights.npz``,
``likeness.npz``, and ``card.html`` to read. The network is built anew from the recipe, so reading runs no code from it.
"""

import html
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import ValidationError
from sklearn.decomposition import PCA

from lesion_utils import predictions
from lesion_utils.cases import read_case_tables
from lesion_utils.digests import bytes_digest, commit
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, operating
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature, scaled, too_few_to_sharpen
from lesion_utils.evaluation.conformal import COVERAGE, sets, smallest_probabilities
from lesion_utils.models import build, finished, load_backbone
from lesion_utils.paths import atomic_write, read_json, require_intact, require_suffix, written_in
from lesion_utils.pictures import HELD_OUT_BATCH, CachedArrays, decode, full_batch, load_pictures
from lesion_utils.predictions import PROVENANCE
from lesion_utils.published.handover import keras_model
from lesion_utils.recipes import Recipe, Strict
from lesion_utils.rounding import number
from lesion_utils.runtime import keras, start
from lesion_utils.study import StudyParams
from lesion_utils.tracked import tracked_training
from lesion_utils.views import views_of

SUFFIX = ".lesion"
COMPONENTS = 64  # directions in which training features vary most
FLAGGED = 0.01  # share of validation pictures that count as unlike training
_PARTS = ("weights.npz", "likeness.npz", "card.html")
_LARGEST = 2**31  # bytes of a part


class Point(Strict):
    """A frozen operating point."""

    view: str
    classes: tuple[str, ...]
    threshold: float
    rule: str  # how it was chosen, in words


class About(Strict):
    """What ``about.json`` holds."""

    format: Literal[1] = 1
    name: str  # study and recipe
    question: str  # of the study
    made_up: bool  # trained on the phantom: its answers say nothing about patients
    classes: tuple[str, ...]  # in the order of the probabilities
    recipe: Recipe  # its backbone without weights, cut at its last layer
    scaling: tuple[float, float]  # factor and offset of the first layer
    temperature: float
    notes: tuple[str, ...] = ()  # what validation had too few lesions for
    point: Point | None  # of melanoma; None where validation has too few
    possible_from: dict[str, float]  # conformal: the probability from which a class stays possible
    coverage: float  # share of the cases of a class that keep it
    unlike_above: float  # distance above which a picture is unlike those of training
    trained: dict[str, Any]  # provenance of the training
    packed_by: str  # commit
    file: str = ""  # the name under which it was packed
    digests: dict[str, str]  # of the other parts


class Answer(NamedTuple):
    """What a model says of n pictures."""

    probabilities: np.ndarray  # (n, k), calibrated
    called: np.ndarray  # (n,) bool: melanoma at the frozen operating point
    possible: np.ndarray  # (n, k) bool: the conformal set
    unlike: np.ndarray  # (n,) bool: unlike the pictures of training


class ModelFile(NamedTuple):
    """A model that was read."""

    about: About
    digest: str  # of the file
    network: keras.Model  # pictures (n, height, width, 3), 0 to 255 -> probabilities, and features
    likeness: dict[str, np.ndarray]

    def ask(self, pictures: np.ndarray | CachedArrays) -> Answer:
        about = self.about
        scores, features = outputs(self.network, pictures)
        probabilities = scaled(scores.astype(np.float64), about.temperature)
        called = np.zeros(len(scores), bool)
        if about.point:
            stated = probabilities[:, np.isin(about.classes, about.point.classes)].sum(1).round(12)
            called = stated >= about.point.threshold
        possible = sets(probabilities, {name: about.possible_from[name] for name in about.classes})
        return Answer(probabilities, called, possible, distances(self.likeness, features) > about.unlike_above)


def outputs(network: keras.Model, pictures: np.ndarray | CachedArrays) -> list[np.ndarray]:
    """Each output of ``network`` for ``pictures``, (n, …); the last batch is filled up to the size of others."""
    parts = []
    for first in range(0, len(pictures), HELD_OUT_BATCH):
        batch = pictures[first : first + HELD_OUT_BATCH]
        found = keras.tree.flatten(network.predict_on_batch(full_batch(batch)))
        parts.append([array[: len(batch)] for array in found])
    return [np.concatenate(of) for of in zip(*parts, strict=True)]


def fit_likeness(features: np.ndarray) -> dict[str, np.ndarray]:
    """What ``distances`` needs, from the features of training pictures, (n, d): probabilistic principal components
    (Tipping and Bishop, J. R. Stat. Soc. B 61:611, 1999).
    """
    pca = PCA(min(COMPONENTS, *(size - 1 for size in features.shape)), svd_solver="full").fit(features)
    arrays = {"mean": pca.mean_, "components": pca.components_, "variances": pca.explained_variance_}
    noise = max(float(pca.noise_variance_), 1e-6 * float(pca.explained_variance_[0]))
    return {name: array.astype(np.float32) for name, array in (arrays | {"noise": np.array([noise])}).items()}


def distances(likeness: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """How far ``features``, (n, d), lie from those of training, (n,): minus twice their log likelihood, up to a sum."""
    centred = features.astype(np.float64) - likeness["mean"]
    along = centred @ likeness["components"].T
    rest = (centred**2).sum(1) - (along**2).sum(1)
    return (along**2 / likeness["variances"]).sum(1) + np.maximum(rest, 0) / likeness["noise"][0]


def trained_model(params: StudyParams, recipe: str) -> tuple[Path, dict, pd.DataFrame]:
    """The trained model of ``recipe``, its provenance, and the cases of its study with their splits."""
    if recipe not in params.recipes:
        raise InputError(f"study {params.study!r} has no recipe {recipe!r}; it has {', '.join(params.recipes)}.")
    folder = predictions.read_provenance(params, recipe, "validation")["path"].parents[1]
    model, tables = folder / "model.keras", tracked_training(folder)
    if model not in written_in(folder) and not model.is_file():  # the tables are from the reports, which have no models
        raise InputError(f"{model} does not exist. Fix: remove {folder} and {tables}, then {params.command}.")
    provenance = read_json(folder / PROVENANCE, params.command)
    return (
        require_intact(model, params.command),
        provenance,
        read_case_tables(params)[params.recipes[recipe].case_table],
    )


def pack(params: StudyParams, name: str, card: Path, made_up: bool, target: Path) -> About:
    """Writes the trained model of recipe ``name`` and what validation chose for it to ``target``; ``card`` is the
    model card of its study. Raises InputError for a recipe that is not trained, and a network that cannot be rebuilt.
    """
    require_suffix(target, SUFFIX, "the model file")
    path, provenance, cases = trained_model(params, name)
    require_intact(card, params.command)
    start(params.threads)
    model = keras_model(path)
    features = model.get_layer("features")
    backbone = next(layer for layer in features.layers if isinstance(layer, keras.Model))
    scaling = next(layer for layer in features.layers if isinstance(layer, keras.layers.Rescaling))
    recipe = params.recipes[name]
    options = recipe.backbone.model_copy(update={"weights": "none"})
    if len(load_backbone(options, None).layers) > len(backbone.layers):  # a file of weights that ends before the last
        options = options.model_copy(update={"cut": backbone.layers[-1].name})
    recipe = recipe.model_copy(update={"backbone": options})
    classes = sorted(cases["label"].unique())
    factors = float(scaling.scale), float(scaling.offset)
    network = _built(recipe, len(classes), factors, model.get_weights())
    pictures = {
        split: load_pictures(cases.loc[cases["split"] == split, "path"], options.image_size, params.threads)
        for split in ("train", "validation")
    }
    off = np.abs(outputs(network, pictures["validation"][:2])[0] - model.predict(pictures["validation"][:2], verbose=0))
    if off.max() > 1e-4:
        differs = f"built anew from its recipe, the network gives other probabilities, by up to {number(off.max())}"
        raise InputError(f"{path}: {differs}. Fix: train it again, with `make study`.")
    likeness = fit_likeness(outputs(features, pictures["train"])[0])
    validation = PredictionTable(predictions.read(params, name, "validation"), params.resamples, name="validation")
    temperature = fit_temperature(validation, validation.classes)
    notes = []
    if why := too_few_to_sharpen(validation, validation.classes):
        doubt = f"Validation has too few lesions to show how certain this model may be ({why})."
        notes.append(f"{doubt} So no probability was made more extreme.")
    validation = apply_temperature(validation, temperature)
    point = None
    if "melanoma" in views_of(validation.classes):
        chosen = operating.choose(validation, "melanoma", sensitivity=params.judging.sensitivity)
        if not chosen.note and isinstance(chosen.threshold, float):
            point = Point(view="melanoma", classes=chosen.positive, threshold=chosen.threshold, rule=chosen.rule)
        notes += [f"No operating point for melanoma: {chosen.note}."] if chosen.note else []
    parts = {
        "weights.npz": _packed({f"{place:04d}": array for place, array in enumerate(network.get_weights())}),
        "likeness.npz": _packed(likeness),
        "card.html": _card(card, f"{params.study}/{name}", temperature, notes),
    }
    about = About(
        name=f"{params.study}/{name}",
        question=params.question,
        made_up=made_up,
        classes=tuple(classes),
        recipe=recipe,
        scaling=factors,
        temperature=temperature,
        notes=tuple(notes),
        point=point,
        possible_from=smallest_probabilities(validation),
        coverage=COVERAGE,
        unlike_above=float(np.quantile(distances(likeness, outputs(features, pictures["validation"])[0]), 1 - FLAGGED)),
        trained=provenance,
        packed_by=commit(),
        file=target.name,
        digests={part: bytes_digest(data) for part, data in parts.items()},
    )
    with atomic_write(target) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in ({"about.json": about.model_dump_json(indent=1).encode()} | parts).items():
            archive.writestr(zipfile.ZipInfo(part), data)  # without a time: the same model gives the same file
    return about


def read(path: Path, threads: int) -> ModelFile:
    """The model in ``path``; raises InputError for a file that ``pack`` has not written, or that was changed since."""
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = _about(archive)
            parts = {part: archive.read(part) for part in _PARTS}
        if changed := [part for part, of in parts.items() if bytes_digest(of) != about.digests.get(part)]:
            raise ValueError(f"{changed[0]} is not as it was packed")
        weights, likeness = (dict(np.load(io.BytesIO(parts[part]), allow_pickle=False)) for part in _PARTS[:2])
        if path.name != (about.file or path.name):
            raise ValueError(f"it is {about.file}, the model {about.name}, under another name")
        start(threads)
        network = _built(about.recipe, len(about.classes), about.scaling, [weights[key] for key in sorted(weights)])
        return ModelFile(about, bytes_digest(data), network, likeness)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, ValidationError) as error:
        reason = str(error).splitlines()[0]
        fix = "Fix: give it its name again, copy it again, or make it with `lesion pack`."
        raise InputError(f"{path} cannot be read as a model ({reason}). Expected a {SUFFIX} file. {fix}") from error


def study_of(path: Path) -> str:
    """The study whose model ``path`` holds; "" for a file that cannot be read."""
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return _about(archive).name.rpartition("/")[0]
    return ""


def _about(archive: zipfile.ZipFile) -> About:
    if large := [info.filename for info in archive.infolist() if info.file_size > _LARGEST]:
        raise ValueError(f"{large[0]} is too large")
    return About.model_validate_json(archive.read("about.json"))


def _built(recipe: Recipe, classes: int, scaling: Sequence[float], weights: list[np.ndarray]) -> keras.Model:
    factor, offset = scaling
    network = build(recipe, classes, None, 0)
    network.scaling.scale, network.scaling.offset = factor, offset
    network.whole.set_weights(weights)
    if recipe.standardise:
        network.head.get_layer("standardise").finalize_state()  # which takes over the mean and the variance
    return finished(network, recipe, with_features=True)


def _card(card: Path, name: str, temperature: float, notes: Sequence[str]) -> bytes:
    """The model card of the study, with what was chosen for this model."""
    chosen = f"Model {name}. Temperature, chosen on validation: {number(temperature)} (1 changes no probability)."
    lines = "".join(f"<li>{html.escape(line)}</li>\n" for line in [chosen, *notes])
    section = f'<h2 id="packed">This file</h2>\n<ul>\n{lines}</ul>\n</main>'
    return card.read_text("utf-8").replace("</main>", section).encode()


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def predict_files(model: ModelFile, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """One row for each picture of ``paths``, in their order: ``image``, ``content`` (its digest), ``predicted``, the
    calibrated ``p_<class>``, ``melanoma`` (yes, no: at the operating point; empty without one), ``possible`` (classes,
    ``|`` between), ``unlike_training`` (yes, no), and ``problem``: why a file has no other values.
    """
    size = model.about.recipe.backbone.image_size
    for first in range(0, len(paths), HELD_OUT_BATCH):
        rows: list[dict[str, Any]] = []
        pictures = []
        for path in paths[first : first + HELD_OUT_BATCH]:
            try:
                data = path.read_bytes()
                pictures.append(decode(data, str(path), size))
                rows.append({"image": str(path), "content": bytes_digest(data), "problem": ""})
            except (InputError, OSError) as error:
                rows.append({"image": str(path), "content": "", "problem": " ".join(str(error).split())})
        answer = model.ask(np.stack(pictures)) if pictures else None
        place = 0
        for row in rows:
            if not row["problem"] and answer is not None:
                row |= _said(model.about, answer, place)
                place += 1
            yield row


def _said(about: About, answer: Answer, place: int) -> dict[str, Any]:
    yes_no, scores = ("no", "yes"), answer.probabilities[place]
    return {
        "predicted": about.classes[scores.argmax()],
        **{f"p_{name}": round(float(score), 5) for name, score in zip(about.classes, scores, strict=True)},
        "melanoma": yes_no[int(answer.called[place])] if about.point else "",
        "possible": "|".join(np.array(about.classes)[answer.possible[place]]),
        "unlike_training": yes_no[int(answer.unlike[place])],
    }
