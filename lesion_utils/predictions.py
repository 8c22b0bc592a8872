"""The prediction table: the contract between training and judging.

Columns ``image_id, lesion_id, label, p_<class>…``, one row per image; and ``leaky``, true in every row, where training
shared a lesion or an image with a held-out case. One CSV per recipe, run and split, its provenance in JSON beside it.
"""

import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.cases import written_split_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import current, read_json, require_intact, write_json, write_text
from lesion_utils.study import ARMS, STAGES, VALIDATION_COPIES, StudyParams, arm_name
from lesion_utils.tables import parse_probabilities, require_columns, require_filled, require_unique
from lesion_utils.views import VIEWS, class_names, declared_views

_NOTEBOOKS = ("02_baseline_cnn", "03_augmentation_rebalancing", "04_transfer_learning")
PROVENANCE = "provenance.json"  # of a training; written last: with it the other files are complete
STAGE_NOTEBOOKS = dict(zip(STAGES, _NOTEBOOKS, strict=True))
TEST_READS = "test_reads.csv"  # of a study: when its test tables were read, by which code, for what
LEAK_SPLITS = {"test": "all test images", "test_can_leak": "test images that can leak"}  # tables of a leak's arm
_NEEDED = ("image_id", "lesion_id", "label")


YES, NO = ("true", "1", "1.0", "yes", "y", "t"), ("false", "0", "0.0", "no", "n", "f", "")  # column leaky, in any case


def classes_of(table: pd.DataFrame) -> list[str]:  # in the table's order
    return class_names((column.removeprefix("p_") for column in table.columns if column.startswith("p_")), table)


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The probabilities of a prediction table, (n, classes) float64."""
    return table[[f"p_{name}" for name in classes_of(table)]].to_numpy(np.float64)


def build(cases: pd.DataFrame, classes: list[str], scores: np.ndarray, leaky: bool = False) -> pd.DataFrame:
    """The prediction table of ``cases`` from their probabilities ``scores``, (n, classes)."""
    columns = [f"p_{name}" for name in classes]
    table = pd.concat([cases[list(_NEEDED)].reset_index(drop=True), pd.DataFrame(scores, columns=columns)], axis=1)
    table.attrs |= {VIEWS: cases.attrs[VIEWS]} if VIEWS in cases.attrs else {}
    return validate(table.assign(leaky=True) if leaky else table, "the new prediction table")


def as_csv(table: pd.DataFrame) -> str:
    """The text of a table's file: 5 significant digits and at most 7 decimals, so that it can be tracked and judged."""
    return table.round(7).to_csv(index=False, float_format="%.5g")


def is_leaky(table: pd.DataFrame) -> bool:
    return "leaky" in table and bool(table["leaky"].astype(str).str.strip().str.lower().isin(YES).any())


def validate(table: pd.DataFrame, where: object) -> pd.DataFrame:
    """``table``, if it keeps the contract (``predicted`` may replace probabilities); else InputError with the rows."""
    named = "predicted" in table and not classes_of(table)
    needed = [*_NEEDED, "predicted"] if named else list(_NEEDED)
    require_columns(where, table, needed, f"Expected {', '.join(_NEEDED)}, and p_<class> for each class or predicted.")
    if table.empty:
        raise InputError(f"{where} has no rows. Expected one row per image.")
    require_unique(where, table["image_id"])
    for column in needed:  # blank lesions would count as one lesion, silently
        text = table[column].where(table[column].notna(), "").astype(str)
        require_filled(where, text, "Fix: fill it in; where lesions are not known, use the image_id as lesion_id.")
    if not named:
        parse_probabilities(where, table, classes_of(table))
    elif len(classes := {*table["label"], *table["predicted"]}) < 2:
        raise InputError(f"{where}: all labels and predictions are {classes.pop()!r}. Expected two or more classes.")
    return table


def labelled(name: str, leaky: bool) -> str:
    """``name`` as tables and figures show it."""
    return f"{name} (leaky)" if leaky else name


def splits_of(params: StudyParams, recipe: str) -> tuple[str, ...]:
    """The splits that a recipe has a table of: the study's, and validation copies where the recipe makes them."""
    copies = params.recipes[recipe].offline_copies
    return (*params.held_out_splits, *([VALIDATION_COPIES] if copies and copies.before_split else []))


def table_path(params: StudyParams, recipe: str, run: int, split: str) -> Path:
    return params.model_folder(recipe, run) / "predictions" / f"{split}.csv"


def leak_tables(params: StudyParams, leak: str) -> list[Path]:
    """The tables of both arms of a leak, in every run."""
    tables = itertools.product(ARMS, range(params.leaks[leak].runs), ("validation", *LEAK_SPLITS))
    return [table_path(params, arm_name(leak, arm), run, split) for arm, run, split in tables]


def write(folder: Path, cases: pd.DataFrame, scores: dict[str, np.ndarray], provenance: dict[str, Any]) -> None:
    """Writes ``<folder>/predictions/<split>.csv`` for each split of ``scores``, then its provenance as JSON, without
    which a table is not complete. It counts training images (copies included) and the table's images of known lesions.

    ``scores[split]`` (n, classes) are probabilities of the cases of that split, in their order.
    """
    classes, trained = sorted(cases["label"].unique()), cases.loc[cases["split"] == "train", "lesion_id"]
    for split, values in scores.items():
        path = folder / "predictions" / f"{split}.csv"
        table = build(cases[cases["split"] == split], classes, values, provenance["leaky"])
        text = as_csv(table)
        if not path.is_file() or path.read_bytes() != text.encode():
            path.with_suffix(".json").unlink(missing_ok=True)
        write_text(path, text)
        counts = {"n": len(table), "trained_on": len(trained), "known": int(table["lesion_id"].isin(trained).sum())}
        write_json(path.with_suffix(".json"), {"classes": classes, "split": split} | counts | provenance)


def read_provenance(params: StudyParams, recipe: str, split: str, run: int | None = None) -> dict[str, Any]:
    """The provenance of a table and its ``path``; raises InputError as ``read`` does. ``run`` is by default that of
    ``params``.
    """
    trainings, run = params.trainings, params.run if run is None else run
    if recipe not in trainings:
        raise InputError(f"study {params.study!r} has no recipe {recipe!r}; it has {', '.join(trainings)}.")
    fix = params.fix(STAGE_NOTEBOOKS[params.stage_of(recipe)])
    today = _made_from(params, recipe, run)
    path = current(table_path(params, recipe, run, split), today)
    provenance = read_json(path.with_suffix(".json"), fix)
    if changed := [name for name, value in today.items() if provenance.get(name) != value]:
        raise InputError(f"{path} was made by another {' and '.join(changed)} of recipe {recipe!r}. Fix: {fix}")
    return provenance | {"path": require_intact(path, fix)}


def _made_from(params: StudyParams, recipe: str, run: int) -> dict[str, Any]:
    made_from: dict[str, Any] = {"recipe": params.trainings[recipe].identity, "seed": params.seed + run}
    if recipe in params.recipes and (cases := written_split_digest(params, params.recipes[recipe].case_table, run)):
        made_from["cases"] = cases
    return made_from


def read_history(params: StudyParams, recipe: str, run: int) -> pd.DataFrame:
    """The epochs of a run, one row each; raises InputError with the command that makes them if they are missing."""
    table = current(table_path(params, recipe, run, "validation"), _made_from(params, recipe, run))
    return pd.read_csv(require_intact(table.parents[1] / "history.csv", params.command))


def read(params: StudyParams, recipe: str, split: str, run: int | None = None) -> pd.DataFrame:
    """Reads a table; raises InputError with the command that makes it unless today's recipe and seed made it."""
    path = read_provenance(params, recipe, split, run)["path"]
    return read_csv(path, path, params.classes)


def read_csv(file: Path | io.StringIO, where: object, kinds: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The prediction table in ``file``, with the ``kinds`` of its classes if a study says them; raises InputError as
    ``validate`` does.
    """
    table = pd.read_csv(file, dtype=dict.fromkeys(_NEEDED, str), keep_default_na=False)
    table.attrs |= {VIEWS: declared_views(kinds)} if kinds else {}
    return validate(table, where)


def read_runs(params: StudyParams, recipe: str, split: str) -> list[pd.DataFrame]:
    """The tables of all runs, for ``PredictionTable``: one per run; in cross-validation one for each pass through the
    folds, with the column ``fold`` of the run that a case is from.
    """
    return passes([read(params, recipe, split, run) for run in range(params.runs)], params.folds)


def passes(frames: list[pd.DataFrame], folds: int) -> list[pd.DataFrame]:
    """The tables of all runs as ``read_runs`` returns them."""
    if folds == 1:
        return frames
    dealt = [frame.assign(fold=run % folds) for run, frame in enumerate(frames)]
    return [pd.concat(dealt[first : first + folds], ignore_index=True) for first in range(0, len(frames), folds)]
