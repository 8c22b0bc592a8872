"""Does it matter how often augmentation resamples a picture? Full trainings of both ways on HAM10000.

    .venv/bin/python -m benchmarks.augmentation     # seconds; writes augmentation.json and the page of performance

Until commit d2d594f this package composed all changes of a picture into one affine map and resampled it once, with
OpenCV. Keras' random layers resample after each change, as the published systems do. Both ways trained RECIPE on all
training images of HAM10000, five seeds each, one thread, with the code of commit 6d13029 (`keras_layers` of its
benchmarks/same_results.py exchanges the ways). `augmentation_tables/` holds their prediction tables.

Rule, fixed before the trainings: one resampling may stay if it loses at most MAX_LOSS balanced accuracy on average and
the upper 95% bound of the loss is at most MAX_BOUND. The bootstrap draws lesions and, within each draw, pairs of runs
with the same seed.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.page import markdown, renew
from lesion_utils.evaluation import PredictionTable, metrics
from lesion_utils.evaluation.bootstrap import percentile_interval
from lesion_utils.paths import write_json
from lesion_utils.rounding import number, span

RECIPE = {
    "image_size": (72, 96),
    "batch_size": 64,
    "monitor": "val_balanced_accuracy",
    "early_stopping": 15,
    "augmentation": {"flip": "both", "rotation": 0.1, "zoom": 0.1},
    "phases": [{"epochs": 80}],
}
WAYS = ("one_resampling", "keras_layers")
MAX_LOSS, MAX_BOUND, MIN_PAIRS = 0.005, 0.01, 3
RESULTS = Path(__file__).with_suffix(".json")
TABLES = Path(__file__).with_name("augmentation_tables")


def seeds_of(folder: Path) -> list[int]:
    """The seeds that both ways were trained with."""
    found = [set(re.findall(rf"{way}_(\d+)_test\.csv\.gz", " ".join(map(str, folder.iterdir())))) for way in WAYS]
    return sorted(map(int, set.intersection(*found)))


def loss_of_one_resampling(folder: Path, split: str, seeds: list[int], resamples: int = 2000) -> dict:
    """Balanced accuracy of both ways on ``split``, and how much one resampling loses."""
    values, draws = {}, {}
    for way in WAYS:
        frames = [pd.read_csv(folder / f"{way}_{seed}_{split}.csv.gz", dtype={"image_id": str}) for seed in seeds]
        table = PredictionTable(frames, resamples)
        weights = np.concatenate([np.ones((1, len(table)), np.uint8), table.weights])
        counts = [metrics.confusion_counts(table.truth, run.predicted, table.k, weights) for run in table.runs]
        balanced = np.array([metrics.balanced_accuracy(of_run) for of_run in counts])
        values[way], draws[way] = balanced[:, 0], balanced[:, 1:]
    losses = draws["keras_layers"] - draws["one_resampling"]  # (pairs, resamples)
    pairs = np.random.default_rng(0).integers(len(seeds), size=losses.shape)
    losses = np.take_along_axis(losses, pairs, axis=0).mean(axis=0)
    loss = float((values["keras_layers"] - values["one_resampling"]).mean())
    low, high = percentile_interval(losses)
    means = {way: float(value.mean()) for way, value in values.items()}
    epochs = {way: [len(pd.read_csv(folder / f"{way}_{seed}_history.csv.gz")) for seed in seeds] for way in WAYS}
    by_seed = {way: value.tolist() for way, value in values.items()}
    row = {"split": split, "n": len(table), "lesions": table.lesions, "pairs": len(seeds)} | means
    bounds = {"loss": loss, "low": low, "high": high, "upper_95": float(np.quantile(losses, 0.95))}
    return row | bounds | {"by_seed": by_seed, "epochs": epochs}


def verdict(row: dict) -> str:
    """What the rule says."""
    if row["pairs"] < MIN_PAIRS:
        return f"undecided: {row['pairs']} pair(s) of runs, at least {MIN_PAIRS} needed"
    return "may stay" if row["loss"] <= MAX_LOSS and row["upper_95"] <= MAX_BOUND else "goes"


def table(rows: list[dict]) -> str:
    """The rows as docs/performance.md shows them."""
    heads = ["split", "one resampling", "Keras' layers", "loss (95% CI)", "upper 95% bound", "rule"]
    lines = []
    for row in rows:
        size = f"n = {row['n']:,} images, {row['lesions']:,} lesions; pairs of runs: {row['pairs']}"
        interval = f"95% CI {span(row['low'], row['high'], [0], '+')}"
        loss = f"{number(row['loss'], row['low'], row['high'], [0], '+')} ({interval}; {size})"
        ways = [f"{number(row[way])} (epochs: {', '.join(map(str, row['epochs'][way]))})" for way in WAYS]
        lines.append([row["split"], *ways, loss, number(row["upper_95"], edges=[MAX_BOUND], sign="+"), verdict(row)])
    return markdown(heads, lines)


def main(folder: Path) -> None:
    """Judges the trainings in ``folder`` and writes what came of them."""
    seeds = seeds_of(folder)
    rows = [loss_of_one_resampling(folder, split, seeds) for split in ("test", "validation")]
    write_json(RESULTS, {"recipe": RECIPE, "rows": rows})
    renew("augmentation", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main(TABLES)
