"""What does a better network cost? Quality on test against minutes of training, for recipes of the studies.

    .venv/bin/python -m benchmarks.cost_quality <HAM10000> <9-class set> <weights>    # minutes, on an idle machine
    .venv/bin/python -m benchmarks.cost_quality                                       # draws anew

The tables of the studies were trained on different machines, some on a GPU, so their times cannot be compared. All
minutes are therefore measured here, in one run, with two threads. Each recipe is trained twice: for EPOCHS epochs a
phase on one image in FEW, and for a few steps on one in MANY. The seconds of an epoch, scaled to all images, times the
epochs that the study needed, are the cost of the epochs. What the second training takes longer besides (reading
pictures, features of frozen networks, offline copies, predicting) is scaled, too. The quality is that in the study's
results.
"""

import os
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks.page import markdown, renew
from lesion_utils import training
from lesion_utils.cases import make_case_tables
from lesion_utils.digests import commit
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import PROJECT, read_json, write_json
from lesion_utils.rebalance import epoch_rows
from lesion_utils.recipes import Recipe
from lesion_utils.study import PUBLISHED, StudyParams, load_study
from lesion_utils.tracked import tracked_folder

RESULTS, PICTURE = Path(__file__).with_suffix(".json"), PROJECT / "docs" / "cost_quality.svg"
EPOCHS, FEW, MANY, THREADS = 3, 16, 6, 2
# Of studies whose recipes cost the same, one recipe stands for all. 000 to 002 are their scaled-down studies.
HAM10000 = {
    "ham10000": (),  # all
    "imbalance": ("cross_entropy",),
    "imbalance_fine_tuned": ("cross_entropy",),
    "recommended_full": (),
    "published/000a_corrected": ("corrected",),
    "published/000b_corrected": ("corrected",),
    "published/001_corrected": ("corrected",),
    "published/002_corrected": ("corrected",),
}
NINE_CLASSES = {
    "isic9": ("small_cnn", "augmentation"),
    "published/003_corrected": ("baseline", "copies_batch_norm"),
    "published/004_corrected": ("baseline", "copies_batch_norm"),
}
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "cost", "font.family": "sans-serif", "font.size": 8}
MINUTES = [1, 2, 5, 10, 20, 50]  # shown on the axis
PANELS = {  # title: studies, and the metric; the 9-class set has too few test images for balanced accuracy
    "HAM10000, seven classes": (HAM10000, PRIOR_CORRECTED),
    "The 9-class set": (NINE_CLASSES, "accuracy"),
}


def part(cases: pd.DataFrame, share: int) -> pd.DataFrame:
    """One in ``share`` cases of each class in each split, but at least two."""
    groups = cases[cases["split"] != "unused"].groupby(["split", "label"], group_keys=False)
    return pd.concat([rows.sample(max(2, len(rows) // share), random_state=0) for _, rows in groups])


def images(recipe: Recipe, cases: pd.DataFrame) -> int:
    """Training images that an epoch shows."""
    labels = cases.loc[cases["split"] == "train", "label"].to_numpy()
    return len(epoch_rows(labels, recipe.sampler, 0, recipe.class_size)[: recipe.epoch_images])


def shortened(recipe: Recipe, share: int, epochs: int) -> Recipe:
    """``recipe`` for one in ``share`` images, with phases of so many epochs."""
    phases = tuple(phase.model_copy(update={"epochs": epochs, "warm_up": 0}) for phase in recipe.phases)
    changed: dict[str, Any] = {"phases": phases, "early_stopping": None, "allow_leak": True}
    changed["class_size"] = recipe.class_size and max(2, recipe.class_size // share)
    if copies := recipe.offline_copies:
        sizes = {"per_class": max(1, copies.per_class // share)}
        sizes["target_class_size"] = copies.target_class_size and max(2, copies.target_class_size // share)
        changed["offline_copies"] = copies.model_copy(update=sizes)
    return recipe.model_copy(update=changed)


def short_training(recipe: Recipe, cases: pd.DataFrame, weights: str) -> tuple[dict[int, float], float]:
    """Seconds per epoch by phase, the first epoch of each left out, which compiles; and the seconds of all else."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, LESION_OUTPUT=folder):  # with an empty cache
        began, place = time.perf_counter(), Path(folder) / "runs" / "short" / "r0"
        trained = training.train(recipe, cases, seed=0, threads=THREADS, weights=weights, folder=place)
        everything = time.perf_counter() - began
    history = trained.history
    later = history[history.groupby("phase").cumcount() > 0]
    return dict(later.groupby("phase")["seconds"].median()), everything - history["seconds"].sum()


def minutes(params: StudyParams, name: str, cases: pd.DataFrame, weights: str) -> dict[str, float]:
    """Minutes that the recipe ``name`` trains: those of its epochs, and those of all that is done once."""
    recipe = params.recipes[name]
    few, many = part(cases, FEW), part(cases, MANY)
    short, begun = shortened(recipe, FEW, EPOCHS), shortened(recipe, MANY, 1).model_copy(update={"epoch_images": 64})
    by_phase, other = short_training(short, few, weights)
    _, other_of_many = short_training(begun, many, weights)
    runs = sorted((tracked_folder(params.study) / name).glob("r*/history.csv.gz"))
    epochs = pd.concat([pd.read_csv(run)["phase"] for run in runs]).value_counts() / len(runs)
    scale = images(recipe, cases) / images(short, few)
    of_epochs = sum(by_phase[phase] * scale * count for phase, count in epochs.items())
    once = max(0.0, other_of_many - other) / (len(many) - len(few)) * len(cases)
    return {"epochs": round(float(of_epochs) / 60, 2), "once": round(float(once) / 60, 2)}


def measure(ham10000: str, nine_classes: str, weights: str) -> None:
    rows = []
    for data, studies in ((ham10000, HAM10000), (nine_classes, NINE_CLASSES)):
        other = {"ham10000": ham10000} if studies is NINE_CLASSES else {}
        for study, names in studies.items():
            params = load_study(study, data=data, weights=weights, **other)
            tables = make_case_tables(params)
            for name in names or params.recipes:
                found = minutes(params, name, tables[params.recipes[name].case_table], weights)
                rows.append({"study": study, "recipe": name} | found)
                print(rows[-1], flush=True)
    write_json(RESULTS, {"commit": commit(), "threads": THREADS, "rows": rows})


@cache
def results_of(study: str) -> list[dict]:
    return read_json(PROJECT / "reports" / study / "results.json")["rows"]


def quality(study: str, recipe: str, metric: str) -> dict:
    """The ``metric`` on test, with its interval."""
    wanted = (recipe, "test", metric)
    return next(row for row in results_of(study) if (row["recipe"], row["split"], row["metric"]) == wanted)


def points() -> pd.DataFrame:
    """A row per recipe, numbered by its minutes within its panel; ``value, low, high``: its metric on test."""
    costs, found = read_json(RESULTS)["rows"], []
    for panel, (studies, metric) in PANELS.items():
        rows = [row | {"minutes": row["epochs"] + row["once"]} for row in costs if row["study"] in studies]
        for row in sorted(rows, key=lambda row: row["minutes"]):
            of = quality(row["study"], row["recipe"], metric)
            about = {"number": len(found) + 1, "panel": panel, "metric": metric}
            found.append(about | row | {end: of[end] for end in ("value", "low", "high")})
    return pd.DataFrame(found)


@plt.style.context(["default", STYLE])  # whatever the process has set before
def draw() -> None:
    figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axes, (title, rows) in zip(panels, points().groupby("panel", sort=False), strict=True):
        for row in rows.itertuples():
            is_published = row.study.startswith(PUBLISHED)
            colour = "tab:orange" if is_published else "tab:blue"
            axes.plot([row.minutes, row.minutes], [row.low, row.high], color=colour, linewidth=1, alpha=0.5)
            axes.plot(row.minutes, row.value, "s" if is_published else "o", color=colour, markersize=4)
            place = (row.minutes, row.value)
            axes.annotate(str(row.number), place, xytext=(4, 2), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.set_xticks(MINUTES, map(str, MINUTES))
        axes.minorticks_off()
        axes.set_xlabel("minutes of one training on two cores")
        axes.set_ylabel(f"{PANELS[title][1]} on test, 95% CI")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


def table() -> str:
    """The points of the picture as Markdown."""
    rows = [
        [str(row["number"]), f"{row['study']}: {row['recipe']}", f"{row['minutes']:.2g}", row["metric"], cell(row)]
        for row in points().to_dict("records")
    ]
    return markdown(["number", "study: recipe", "minutes", "metric", "on test"], rows)


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(*sys.argv[1:])
    draw()
    renew("cost and quality", table())
