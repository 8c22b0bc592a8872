"""Shortcut probes: how much of the diagnosis can be predicted without the lesion.

A small forest sees the frame of the picture alone, the picture without its centre, the file, or the patient's data:
what it predicts, a network may have learnt too (Geirhos et al., Nature Machine Intelligence 2:665, 2020; Bissoto et
al., CVPR Workshops 2019). A lesion that reaches the frame is visible there.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from lesion_utils import predictions
from lesion_utils.audit.images import open_image
from lesion_utils.errors import InputError, first_ten
from lesion_utils.progress import steps
from lesion_utils.rounding import with_interval

PROBES = {
    "frame": "the border alone, a fifteenth of the height and width on each side",
    "around": "the picture without its centre, an ellipse of 80% of the height and width",
    "file": "the size of the file in bytes, and the picture's width and height",
    "metadata": "age, sex and site",
}
FOLDS, TREES = 5, 100
GRID = 30  # cells per side of the averaged picture that a probe sees, whatever the shape of the picture
METADATA = ("age", "sex", "localization")  # never dx_type: how a diagnosis was made reveals it


def unavailable(cases: pd.DataFrame, kind: str) -> str:
    """Why ``cases`` cannot be probed by ``kind``, or "" if they can."""
    lesions = cases.groupby("label")["lesion_id"].nunique()
    if len(rare := lesions[lesions < FOLDS]):
        counts = first_ten(f"{label} ({count})" for label, count in rare.items())
        return f"{FOLDS} folds need {FOLDS} lesions of each class; fewer have {counts}"
    known = cases[[*METADATA]].notna().any(axis=1).groupby(cases["label"]).any() if kind == "metadata" else None
    if known is not None and not known.all():  # missing values would reveal the class
        return f"age, sex and site are missing for all cases of {first_ten(known.index[~known])}"
    return ""


def probe(cases: pd.DataFrame, kind: str, threads: int, seed: int) -> pd.DataFrame:
    """The prediction table of the probe ``kind``, a key of PROBES: each case by a forest that has not seen its lesion.

    Forests of TREES extremely randomised trees (Geurts, Ernst and Wehenkel, Machine Learning 63:3, 2006) in FOLDS-fold
    cross-validation, stratified by class and grouped by lesion; ``seed`` decides folds and forests. Raises InputError
    where the probe is unavailable.
    """
    if why := unavailable(cases, kind):
        raise InputError(f"the probe {kind!r} ({PROBES[kind]}) is not possible: {why}.")
    forest = ExtraTreesClassifier(
        TREES, min_samples_leaf=5, bootstrap=True, max_samples=0.5, n_jobs=threads, random_state=seed
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    features, grouped = FEATURES[kind](cases, threads), {"groups": cases["lesion_id"], "cv": folds}
    scores = cross_val_predict(forest, features, cases["label"], method="predict_proba", **grouped)
    return predictions.build(cases, sorted(cases["label"].unique()), scores)


def above_chance(judged: pd.DataFrame) -> str:
    """Which probes predict the class: by the 95% CI of the macro AUC. Rows of ``judge`` by probe and metric."""
    rows = judged.xs("macro AUC", level=1).dropna(subset=["value"])
    better = rows.index[rows["low"] > 0.5]
    named = f" ({', '.join(better)})" if len(better) else ""
    text = f"The 95% CI of the macro AUC is above 0.5 for {len(better)} of {len(rows)} probes{named}."
    if rows.empty:
        return text
    best = rows.loc[rows["value"].idxmax()]
    return f"{text} The highest is that of {best.name}: {with_interval(best['value'], best['low'], best['high'])}."


@lru_cache(maxsize=1)  # for three probes
def _opened(paths: tuple[str, ...], threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Each picture as means of GRID x GRID equal cells, (n, GRID, GRID, 3) uint8; its bytes, width, height, (n, 3)."""

    def cells_and_file(path: str) -> tuple[np.ndarray, tuple[int, int, int]]:
        picture = open_image(path)
        cells = picture.resize((GRID, GRID), Image.Resampling.BOX)  # no cell contains pixels of its neighbours
        return np.asarray(cells), (Path(path).stat().st_size, *picture.size)

    with ThreadPoolExecutor(threads) as pool:
        measured = steps(pool.map(cells_and_file, paths), "measuring pictures", len(paths))
        cells, files = zip(*measured, strict=True)
    return np.array(cells), np.array(files)


def _pixels(mask: np.ndarray) -> Callable[[pd.DataFrame, int], np.ndarray]:
    """The features of a probe that sees the cells in ``mask``, (GRID, GRID)."""
    return lambda cases, threads: _opened(tuple(cases["path"]), threads)[0][:, mask].reshape(len(cases), -1)


def _metadata(cases: pd.DataFrame, threads: int) -> np.ndarray:
    words = pd.get_dummies(cases[["sex", "localization"]].fillna("missing"))
    return np.column_stack([cases["age"].astype(float), words])  # a forest takes a missing age as it is


_Y, _X = (np.mgrid[:GRID, :GRID] + 0.5) / GRID * 2 - 1  # -1 to 1
SEEN = {"frame": np.maximum(abs(_X), abs(_Y)) > 1 - 2 / 15, "around": _X * _X + _Y * _Y > 0.8**2}  # cells
FEATURES: dict[str, Callable[[pd.DataFrame, int], np.ndarray]] = {
    "frame": _pixels(SEEN["frame"]),
    "around": _pixels(SEEN["around"]),
    "file": lambda cases, threads: _opened(tuple(cases["path"]), threads)[1],
    "metadata": _metadata,
}
