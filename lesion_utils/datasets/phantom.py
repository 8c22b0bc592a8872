"""The phantom: made-up dermoscopy-like pictures with known truth, in the HAM10000 layout; never a medical result.

A folder holds ``HAM10000_images_part_1/``, ``…_part_2/`` (JPEG, 200 x 150 px), ``HAM10000_metadata.csv`` (HAM10000's
columns and words, with the source in ``dataset``), ``phantom_truth.csv`` (what was planted) and ``phantom.json`` (what
made it).

``signal`` s in [0, 1]: with probability sqrt(s) a lesion has the look of its class, otherwise a look drawn uniformly
from those of all seven. From pictures alone, no classifier can therefore expect a balanced accuracy above
sqrt(s) + (1 - sqrt(s)) / 7: 0.14 at s = 0, 0.81 at 0.6, 1 at 1. Looks overlap, so real classifiers stay below. Nothing
else in a picture depends on the class; age, sex, site and the number of views do, as in HAM10000.

Every random draw has its own generator, keyed by (seed, purpose, lesion, view): planted images change neither the ids
nor the bytes of the other images.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from pydantic import Field

from lesion_utils.datasets.phantom_pictures import Subject
from lesion_utils.errors import InputError
from lesion_utils.recipes import Fraction, Strict

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
COLUMNS = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
TRUTH = ["image_id", "lesion_id", "dx", "look", "typical", "duplicate_of", "conflict_of", "marked_source"]
MARKED = "vienna_dias"
MARKED_SHARE = 0.1  # of the lesions, where no shortcut is planted
MOST_VIEWS = 6
_SOURCES = [Path(__file__), Path(__file__).with_suffix(".yml"), Path(__file__).with_name("phantom_pictures.py")]
FACTS = yaml.safe_load(_SOURCES[1].read_text(encoding="utf-8"))  # what lesions of each class are like
# purposes of the generators
_VIEW_COUNT, _RECORD, _LOOK, _SOURCE, _LESION, _VIEW, _IMAGE_ID, _LESION_ID, _DUPLICATE, _CONFLICT = range(1, 11)


class Phantom(Strict):
    """The options of the phantom."""

    lesions: Annotated[int, Field(ge=14)] = 600
    seed: Annotated[int, Field(ge=0)] = 0
    signal: Fraction = Field(0.6, description="how strongly the class shows in the picture; 0: not at all")
    duplicates: Annotated[int, Field(ge=0)] = Field(0, description="images planted again under another id and lesion")
    conflicting_labels: Annotated[int, Field(ge=0)] = Field(0, description="images planted again under another label")
    source_shortcut: Fraction = Field(0.0, description="probability that a melanoma comes from the marked source")


def _rng(seed: int, purpose: int, *index: int) -> np.random.Generator:
    # Padded to four words: SeedSequence takes (1, 2) and (1, 2, 0) for the same key.
    return np.random.default_rng([purpose, *index, *[0] * (2 - len(index)), seed])


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    share = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=share / share.sum()))


def lesion_counts(lesions: int) -> dict[str, int]:
    """Lesions of each class, of ``lesions`` (14 or more) in all: HAM10000's order of sizes, at least two each."""
    exact = {dx: lesions * share / sum(FACTS["lesions"].values()) for dx, share in FACTS["lesions"].items()}
    counts = {dx: max(2, int(value)) for dx, value in exact.items()}
    by_remainder = sorted(CLASSES, key=lambda dx: (counts[dx] - exact[dx], -FACTS["lesions"][dx]))
    for dx in by_remainder[: max(0, lesions - sum(counts.values()))]:
        counts[dx] += 1
    while sum(counts.values()) > lesions:  # the floor of two gave too many
        counts[max(counts, key=lambda dx: counts[dx])] -= 1
    return counts


def plan(options: Phantom) -> pd.DataFrame:
    """All images of the phantom in the order of their ids, before any is drawn.

    Columns: those of ``HAM10000_metadata.csv`` and ``phantom_truth.csv``, and ``lesion`` and ``view`` (what to draw).
    Raises InputError if more copies are planted than there are images to copy.
    """
    seed = options.seed
    lesions = [(dx, views) for dx, count in lesion_counts(options.lesions).items() for views in _views(dx, count, seed)]
    rows = []
    for lesion, (dx, views) in enumerate(lesions):
        record = _record(dx, lesion, options) | {"lesion": lesion}
        rows += [record | {"view": view} for view in range(views)]
    images = len(rows)
    if options.duplicates + options.conflicting_labels > images:
        raise InputError(
            f"phantom: {options.duplicates} duplicates and {options.conflicting_labels} conflicting labels need "
            f"as many images to copy, {options.lesions} lesions have {images}. Fix: plant fewer or use more lesions."
        )
    # Duplicates copy the first images of one fixed order and conflicts the last, so neither moves the other.
    order = _rng(seed, _DUPLICATE).permutation(images)
    for k in order[: options.duplicates]:
        rows.append(rows[k] | {"duplicate_of": k})
    for k in order[::-1][: options.conflicting_labels]:
        rng = _rng(seed, _CONFLICT, int(k))
        dx = str(rng.choice([dx for dx in CLASSES if dx != rows[k]["dx"]]))
        rows.append(rows[k] | {"dx": dx, "dx_type": _draw(rng, FACTS["dx_types"][dx]), "conflict_of": k})
    table = pd.DataFrame(rows)
    # Copies take the next ids of a random order, so an id reveals neither the class nor what was planted.
    numbers = 9_000_001 + _rng(seed, _IMAGE_ID).permutation(999_999)[: len(table)]
    table["image_id"] = [f"ISIC_{number}" for number in numbers]
    lesion_numbers = 9_000_001 + _rng(seed, _LESION_ID).permutation(999_999)
    own_lesion = table["lesion"].where(table.index < images, table.index - images + len(lesions))
    table["lesion_id"] = [f"HAM_{number}" for number in lesion_numbers[own_lesion]]
    for column in ("duplicate_of", "conflict_of"):
        table[column] = table[column].map(table["image_id"]).fillna("")
    table["typical"] = table["look"] == table["dx"]
    return table.sort_values("image_id", ignore_index=True)


def _views(dx: str, lesions: int, seed: int) -> np.ndarray:
    """How many views each lesion of a class has."""
    rng = _rng(seed, _VIEW_COUNT, CLASSES.index(dx))
    counts = np.ones(lesions, int)
    for _ in range(round(lesions * FACTS["views"][dx]) - lesions):
        counts[rng.choice(np.flatnonzero(counts < MOST_VIEWS))] += 1
    return counts


def _record(dx: str, lesion: int, options: Phantom) -> dict:
    """What all views of one lesion share."""
    rng = _rng(options.seed, _RECORD, lesion)
    age = min(max(5 * round(rng.normal(*FACTS["age"][dx]) / 5), 0), 85)
    sex = "female" if rng.random() < FACTS["female"][dx] else "male"
    column = CLASSES.index(dx)
    site = _draw(rng, {site: percent[column] for site, percent in FACTS["sites"].items()})
    dx_type = _draw(rng, FACTS["dx_types"][dx])
    age_known, sex_known = rng.random(2) > 0.01
    # At 0 every class has the same share of the marked source; at 1 all melanomas come from it and nothing else does.
    shortcut = options.source_shortcut
    marked_share = max((1 - shortcut) * MARKED_SHARE, shortcut * (dx == "mel"))
    rng = _rng(options.seed, _SOURCE, lesion)
    source = MARKED if rng.random() < marked_share else _draw(rng, FACTS["sources"])
    rng = _rng(options.seed, _LOOK, lesion)
    return {
        "dx": dx,
        "dx_type": dx_type,
        "age": float(age) if age_known else np.nan,
        "sex": sex if sex_known else "unknown",
        "localization": site,
        "dataset": source,
        "look": dx if rng.random() < options.signal**0.5 else str(rng.choice(CLASSES)),
        "duplicate_of": None,
        "conflict_of": None,
        "marked_source": source == MARKED and shortcut > 0,
    }


def image_path(image_id: str) -> str:
    """The path of an image in the folder; the part depends on the id only."""
    return f"HAM10000_images_part_{1 if int(image_id[5:]) <= 9_500_000 else 2}/{image_id}.jpg"


def pictures(table: pd.DataFrame, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Draws the rows of a ``plan`` lesion by lesion: (image_id, RGB picture)."""
    for lesion, views in table.groupby("lesion"):
        subject = Subject(views["look"].iat[0], _rng(seed, _LESION, int(lesion)))
        for row in views.itertuples():
            yield row.image_id, subject.view(_rng(seed, _VIEW, int(lesion), row.view), row.marked_source)


def _identity(options: Phantom) -> str:
    return json.dumps({"options": options.model_dump(), "version": version()}, indent=1, sort_keys=True) + "\n"


def _is_current(folder: Path, options: Phantom) -> bool:
    identity = folder / "phantom.json"
    return identity.is_file() and identity.read_text() == _identity(options)


def ensure(folder: Path, options: Phantom) -> Path:
    """``folder``, after ``write`` unless the phantom there has been written with these options and this code."""
    if not _is_current(folder, options):
        write(folder, options)
    return folder


def write(folder: Path, options: Phantom) -> None:
    """Writes the whole phantom to ``folder``, or nothing; a phantom in ``folder`` is replaced.

    Raises InputError as ``plan`` does, and if ``folder`` has other content.
    """
    if folder.exists() and not (folder / "phantom.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} has content that is not a phantom. Expected an empty folder. Fix: use another one.")
    table = plan(options)
    was_current = _is_current(folder, options)
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)  # left by a killed run with the same process id
    try:
        _write_into(new, table, options)
        if _is_current(folder, options) and not was_current:
            return  # another process was faster
        old = new.with_suffix(".old")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_into(folder: Path, table: pd.DataFrame, options: Phantom) -> None:
    for part in (1, 2):
        (folder / f"HAM10000_images_part_{part}").mkdir(parents=True)
    copied = table["duplicate_of"] + table["conflict_of"]

    def save(views: pd.DataFrame) -> None:
        for image_id, picture in pictures(views, options.seed):
            picture.save(folder / image_path(image_id), quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each lesion draws from a generator of its own
        list(pool.map(save, [views for _, views in table[copied == ""].groupby("lesion")]))
    for image_id, original in zip(table["image_id"], copied, strict=True):
        if original:
            shutil.copyfile(folder / image_path(original), folder / image_path(image_id))
    table[COLUMNS].to_csv(folder / "HAM10000_metadata.csv", index=False)
    table[TRUTH].to_csv(folder / "phantom_truth.csv", index=False)
    (folder / "phantom.json").write_text(_identity(options))


def version() -> str:
    """Changes with any byte of the files that plan and draw phantoms."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in _SOURCES)).hexdigest()
