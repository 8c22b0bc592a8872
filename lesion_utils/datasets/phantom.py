"""The phantom: made-up dermoscopy-like pictures with known truth, in the HAM10000 layout; never a medical result.

``signal`` s in [0, 1]: with probability sqrt(s) a lesion has the look of its class, otherwise a look drawn uniformly
from those of all seven. From pictures alone, no classifier can therefore expect a balanced accuracy above
sqrt(s) + (1 - sqrt(s)) / 7: 0.14 at s = 0, 0.81 at 0.6, 1 at 1. Looks overlap, so real classifiers stay below. Nothing
else in a picture depends on the class; age, sex, site and the number of views do, as in HAM10000.

Every draw has a generator of its own, keyed by (seed, purpose, lesion, view): planted images change neither the ids nor
the bytes of the others.
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

from lesion_utils.datasets import phantom_pictures
from lesion_utils.errors import InputError
from lesion_utils.recipes import Count, Fraction, Strict

FACTS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text("utf-8"))  # what lesions of each class are like
CLASSES = tuple(FACTS["lesions"])
COLUMNS = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
TRUTH = ["image_id", "lesion_id", "dx", "look", "typical", "duplicate_of", "conflict_of", "marked_source"]
MARKED, MARKED_SHARE = "vienna_dias", 0.1  # a source, and its share of the lesions where no shortcut is planted
MOST_VIEWS = 6
# purposes of the generators
_VIEW_COUNT, _RECORD, _LOOK, _SOURCE, _LESION, _VIEW, _IMAGE_ID, _LESION_ID, _DUPLICATE, _CONFLICT = range(1, 11)


class Phantom(Strict):
    """The options of the phantom."""

    lesions: Annotated[int, Field(ge=14, le=100_000)] = 600
    seed: Count = 0
    signal: Fraction = Field(0.6, description="how strongly the class shows in the picture; 0: not at all")
    duplicates: Count = Field(0, description="images planted again under another id and lesion")
    conflicting_labels: Count = Field(0, description="images planted again under another label")
    source_shortcut: Fraction = Field(0.0, description="probability that a melanoma comes from the marked source")


def _rng(seed: int, purpose: int, *index: int) -> np.random.Generator:
    # Padded to four words: SeedSequence takes (1, 2) and (1, 2, 0) for the same key.
    return np.random.default_rng([purpose, *index, *[0] * (2 - len(index)), seed])


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    share = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=share / share.sum()))


def lesion_counts(lesions: int) -> dict[str, int]:
    """Lesions of each class, of ``lesions`` (14 or more) in all: HAM10000's order of sizes, at least two each."""
    exact = np.array(list(FACTS["lesions"].values())) * lesions / sum(FACTS["lesions"].values())
    counts = np.maximum(2, exact.astype(int))
    while counts.sum() < lesions:
        counts[np.argmin(counts - exact)] += 1
    while counts.sum() > lesions:  # the floor of two gave too many
        counts[np.argmax(counts)] -= 1
    return dict(zip(CLASSES, counts.tolist(), strict=True))


def plan(options: Phantom) -> pd.DataFrame:
    """All images of the phantom in the order of their ids, before any is drawn.

    Columns: those of ``HAM10000_metadata.csv`` and ``phantom_truth.csv``, and ``lesion`` and ``view`` (what to draw).
    Raises InputError if more copies are planted than there are images to copy.
    """
    seed, rows, lesions = options.seed, [], 0
    for column, (dx, count) in enumerate(lesion_counts(options.lesions).items()):
        views, rng = np.ones(count, int), _rng(seed, _VIEW_COUNT, column)
        for _ in range(round(count * FACTS["views"][dx]) - count):
            views[rng.choice(np.flatnonzero(views < MOST_VIEWS))] += 1
        for number in views:
            record = _record(dx, lesions, options)
            rows += [record | {"view": view} for view in range(number)]
            lesions += 1
    images = len(rows)
    if options.duplicates + options.conflicting_labels > images:
        problem = f"{options.duplicates} duplicates and {options.conflicting_labels} conflicting labels"
        expected = f"at most as many as there are images, {images}. Fix: plant fewer or use more lesions"
        raise InputError(f"phantom: cannot plant {problem}. Expected {expected}.")
    # Duplicates copy the first images of one fixed order and conflicts the last, so neither moves the other.
    order = _rng(seed, _DUPLICATE).permutation(images)
    rows += [rows[k] | {"duplicate_of": k} for k in order[: options.duplicates]]
    for k in order[::-1][: options.conflicting_labels]:
        rng = _rng(seed, _CONFLICT, int(k))
        dx = str(rng.choice([dx for dx in CLASSES if dx != rows[k]["dx"]]))
        rows.append(rows[k] | {"dx": dx, "dx_type": _draw(rng, FACTS["dx_types"][dx]), "conflict_of": k})
    table = pd.DataFrame(rows)
    # Copies take the next ids of a random order, so an id reveals neither the class nor what was planted.
    table["image_id"] = [f"ISIC_{n}" for n in 9_000_001 + _rng(seed, _IMAGE_ID).permutation(999_999)[: len(table)]]
    own_lesion = table["lesion"].where(table.index < images, table.index - images + lesions)
    table["lesion_id"] = [f"HAM_{n}" for n in 9_000_001 + _rng(seed, _LESION_ID).permutation(999_999)[own_lesion]]
    for name in ("duplicate_of", "conflict_of"):
        table[name] = table[name].map(table["image_id"]).fillna("")
    table["typical"] = table["look"] == table["dx"]
    return table.sort_values("image_id", ignore_index=True)


def _record(dx: str, lesion: int, options: Phantom) -> dict:
    """What all views of one lesion share."""
    rng = _rng(options.seed, _RECORD, lesion)
    age = min(max(5 * round(rng.normal(*FACTS["age"][dx]) / 5), 0), 85)
    sex = "female" if rng.random() < FACTS["female"][dx] else "male"
    site = _draw(rng, {site: percent[CLASSES.index(dx)] for site, percent in FACTS["sites"].items()})
    dx_type = _draw(rng, FACTS["dx_types"][dx])
    age_known, sex_known = rng.random(2) > 0.01
    age, sex = float(age) if age_known else np.nan, sex if sex_known else "unknown"
    record = {"lesion": lesion, "dx": dx, "dx_type": dx_type, "age": age, "sex": sex, "localization": site}
    # At 0 every class has the same share of the marked source; at 1 all melanomas come from it and nothing else does.
    shortcut, rng = options.source_shortcut, _rng(options.seed, _SOURCE, lesion)
    is_marked = rng.random() < max((1 - shortcut) * MARKED_SHARE, shortcut * (dx == "mel"))
    source = MARKED if is_marked else _draw(rng, FACTS["sources"])
    rng = _rng(options.seed, _LOOK, lesion)
    look = dx if rng.random() < options.signal**0.5 else str(rng.choice(CLASSES))
    planted = {"duplicate_of": None, "conflict_of": None}
    return record | {"dataset": source, "look": look, "marked_source": is_marked and shortcut > 0} | planted


def image_path(image_id: str) -> str:
    """The path of an image in the folder; the part depends on the id only."""
    return f"HAM10000_images_part_{1 if int(image_id[5:]) <= 9_500_000 else 2}/{image_id}.jpg"


def pictures(table: pd.DataFrame, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Draws the rows of a ``plan`` lesion by lesion: (image_id, RGB picture)."""
    for lesion, views in table.groupby("lesion"):
        drawn = phantom_pictures.draw(views["look"].iat[0], _rng(seed, _LESION, int(lesion)))
        for row in views.itertuples():
            rng = _rng(seed, _VIEW, int(lesion), row.view)
            yield row.image_id, phantom_pictures.view(drawn, rng, row.marked_source)


def write(folder: Path, options: Phantom) -> Path:
    """``folder``, with the whole phantom of these options; nothing is done where this code has written it there.

    Beside the images (JPEG) and ``HAM10000_metadata.csv`` lie ``phantom_truth.csv`` (what was planted) and
    ``phantom.json`` (what made it). Raises InputError as ``plan`` does, and if ``folder`` has other content.
    """
    identity = json.dumps({"options": options.model_dump(), "version": version()}, indent=1, sort_keys=True) + "\n"

    def is_written() -> bool:
        return (file := folder / "phantom.json").is_file() and file.read_text() == identity

    if is_written():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} has content that is not this phantom. Expected an empty folder. Fix: use another.")
    table, new = plan(options), folder.with_name(f".{folder.name}.{os.getpid()}")

    def save(views: pd.DataFrame) -> None:
        for image_id, picture in pictures(views, options.seed):
            picture.save(new / image_path(image_id), quality=90)

    shutil.rmtree(new, ignore_errors=True)  # left by a killed run with the same process id
    try:
        for part in (1, 2):
            (new / f"HAM10000_images_part_{part}").mkdir(parents=True)
        table[COLUMNS].to_csv(new / "HAM10000_metadata.csv", index=False)
        table[TRUTH].to_csv(new / "phantom_truth.csv", index=False)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each lesion draws from a generator of its own
            list(pool.map(save, [views for _, views in table.groupby("lesion")]))
        (new / "phantom.json").write_text(identity)
        if not is_written():  # otherwise another process was faster
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def version() -> str:
    """Changes with any byte of the files that plan and draw phantoms."""
    files = sorted(Path(__file__).parent.glob("phantom*"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
