"""The prediction table: the contract between training and judging.

Columns ``image_id, lesion_id, label, p_<class>…``, one row an image, the classes in the order of the ``p_``
columns; ``leaky``, true in every row, where the model has seen a lesion or an image of those it is judged on. One CSV
per (recipe, repeat, split), with a JSON beside it that holds the digest of what made it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import atomic_write, read_json, run_folder, write_json
from lesion_utils.study import ARMS, STAGES, VALIDATION_COPIES, StudyParams, arm_name

STAGE_NOTEBOOKS = dict(
    zip(STAGES, ("02_baseline_cnn", "03_augmentation_rebalancing", "04_transfer_learning"), strict=True)
)

LEAK_PARTS = {"test": "all test images", "test_can_leak": "test images that can leak"}  # tables of a leak's arm
SUM_WITHIN = 1e-3  # of 1: the sum of the probabilities of an image


def classes_of(table: pd.DataFrame) -> list[str]:
    """The classes of a prediction table, in its order."""
    return [column.removeprefix("p_") for column in table.columns if column.startswith("p_")]


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The probabilities of a prediction table, (n, classes) float64."""
    return table[[f"p_{name}" for name in classes_of(table)]].to_numpy(np.float64)


def build(cases: pd.DataFrame, classes: list[str], scores: np.ndarray, leaky: bool = False) -> pd.DataFrame:
    """The prediction table of ``cases`` from their softmax ``scores``, (n, classes)."""
    table = cases[["image_id", "lesion_id", "label"]].reset_index(drop=True)
    columns = [f"p_{name}" for name in classes]
    table = pd.concat([table, pd.DataFrame(scores, columns=columns)], axis=1)
    return validate(table.assign(leaky=True) if leaky else table, "the new prediction table")


def is_leaky(table: pd.DataFrame) -> bool:
    """Whether the table says that its model has seen a lesion or an image of those it is judged on."""
    return "leaky" in table and bool(table["leaky"].astype(str).str.strip().str.lower().isin(["true", "1"]).any())


def validate(table: pd.DataFrame, where: object) -> pd.DataFrame:
    """Returns ``table`` unchanged if it keeps the contract; raises InputError naming ``where`` and the rows."""
    needed = ["image_id", "lesion_id", "label"]
    if missing := [name for name in needed if name not in table]:
        raise InputError(
            f"{where}: missing column(s) {', '.join(missing)}. Expected {', '.join(needed)} and p_<class>."
        )
    classes = classes_of(table)
    if len(classes) < 2:
        raise InputError(f"{where}: expected a column p_<class> for each of two or more classes, found {classes}.")
    if table.empty:
        raise InputError(f"{where}: holds no row.")
    if (twice := table["image_id"].duplicated()).any():
        raise InputError(f"{where}: image_id stands more than once: {first_ten(table.loc[twice, 'image_id'])}.")
    if (strange := ~table["label"].isin(classes)).any():
        raise InputError(
            f"{where}: label(s) without a p_ column: {first_ten(table.loc[strange, 'label'].unique())}. "
            f"Expected one of {', '.join(classes)}."
        )
    numbers = table[[f"p_{name}" for name in classes]].apply(pd.to_numeric, errors="coerce")
    values = numbers.to_numpy(np.float64)
    bad = ~(np.isfinite(values).all(1) & (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < SUM_WITHIN))
    if bad.any():
        raise InputError(
            f"{where}: probabilities must be numbers from 0 to 1 that sum to 1 in each row; not so for "
            f"{first_ten(table.loc[bad, 'image_id'])}."
        )
    return table


def labelled(name: str, leaky: bool) -> str:
    """``name`` as tables and figures show it: with the word leaky where its numbers are."""
    return f"{name} (leaky)" if leaky else name


def parts_of(params: StudyParams, recipe: str) -> tuple[str, ...]:
    """The parts of which a recipe leaves a table: the study's, and copies that fell to validation, if it makes such."""
    copies = params.recipes[recipe].offline_copies
    return (*params.held_out_splits, *([VALIDATION_COPIES] if copies and copies.before_split else []))


def table_path(study: str, recipe: str, repeat: int, split: str) -> Path:
    """Where the prediction table of one recipe, repeat and split lies."""
    return run_folder(study) / "predictions" / recipe / f"r{repeat}" / f"{split}.csv"


def leak_tables(params: StudyParams, leak: str) -> list[Path]:
    """The tables of a paired leak: both arms, every repeat, all test images and those that can leak."""
    return [
        table_path(params.study, arm_name(leak, arm), repeat, part)
        for arm in ARMS
        for repeat in range(params.leaks[leak].runs)
        for part in LEAK_PARTS
    ]


def save(params: StudyParams, recipe: str, cases: pd.DataFrame, scores: dict[str, np.ndarray], made_by: dict) -> None:
    """Writes the tables of one trained recipe: for each split of ``scores``, its cases and their probabilities.

    The JSON that says what made a table is written last; without it the table does not count as whole. It counts the
    training images, copies among them, and those of the table whose lesion or source is one of these.
    """
    classes = sorted(cases["label"].unique())
    trained = cases.loc[cases["split"] == "train", "lesion_id"]
    for split, values in scores.items():
        path = table_path(params.study, recipe, params.run, split)
        table = build(cases[cases["split"] == split], classes, values, made_by["leaky"])
        path.with_suffix(".json").unlink(missing_ok=True)
        with atomic_write(path) as beside:
            table.to_csv(beside, index=False)
        counts = {"n": len(table), "trained_on": len(trained), "known": int(table["lesion_id"].isin(trained).sum())}
        write_json(path.with_suffix(".json"), {"classes": classes, "split": split} | counts | made_by)


def made_by(params: StudyParams, recipe: str, split: str, repeat: int | None = None) -> dict[str, Any]:
    """What ``save`` wrote beside the table of ``recipe``; raises InputError as ``read`` does."""
    repeat = params.run if repeat is None else repeat
    path = table_path(params.study, recipe, repeat, split)
    if recipe not in params.trainings:
        raise InputError(f"study {params.study!r} has no recipe {recipe!r}; it has {', '.join(params.trainings)}.")
    notebook = STAGE_NOTEBOOKS[params.stage_of(recipe)]
    cure = f"make study STUDY={params.study}, or run notebooks/{notebook}.ipynb with the same parameters."
    told = read_json(path.with_suffix(".json"), cure)
    expected = params.trainings[recipe].model_dump(mode="json")
    if told["recipe"] != expected or told["seed"] != params.seed + repeat:
        raise InputError(f"{path} was made by other parameters of recipe {recipe!r}. Fix: {cure}")
    if not path.is_file():
        raise InputError(f"{path} does not exist. Fix: {cure}")
    return told


def read(params: StudyParams, recipe: str, split: str, repeat: int | None = None) -> pd.DataFrame:
    """Reads the table of ``recipe`` and checks that it is of today's recipe and seed.

    Raises InputError, with the command that makes it, if it is missing or was made by another recipe or seed.
    """
    made_by(params, recipe, split, repeat)
    path = table_path(params.study, recipe, params.run if repeat is None else repeat, split)
    table = pd.read_csv(path, dtype={"image_id": str, "lesion_id": str, "label": str}, keep_default_na=False)
    return validate(table, path)
