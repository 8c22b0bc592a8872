"""How fast decoding and training on features are, beside what people use today.

    .venv/bin/python -m benchmarks.speed       # minutes, on a machine that does nothing else

Measures each pair ROUNDS times in turn, then replaces its rows in speed.json and renews the table in
docs/performance.md. Rows that this script no longer measures stay: each row names the commit at which it was measured,
with the script of that time.
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.page import markdown, renew
from lesion_utils.cases import make_case_tables
from lesion_utils.datasets import phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import PROJECT, write_json
from lesion_utils.pictures import load_pictures
from lesion_utils.recipes import Recipe
from lesion_utils.rounding import number, span
from lesion_utils.runtime import keras
from lesion_utils.study import StudyParams
from lesion_utils.training import train

RESULTS = Path(__file__).with_suffix(".json")
ROUNDS, LESIONS, EPOCHS, THREADS = 5, 600, 30, len(os.sched_getaffinity(0))
SIZE = (180, 180)
Pair = tuple[str, str, int, Callable[[], object], Callable[[], object]]  # what, compared with, images, ours, baseline


def pairs(folder: Path) -> Iterator[Pair]:
    """What is compared; ``folder`` is empty."""
    phantom.write(folder / "data" / "all", Phantom(lesions=LESIONS))
    paths = [str(path) for path in sorted((folder / "data").rglob("*.jpg"))]

    def decode() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            os.environ["LESION_OUTPUT"] = cache
            load_pictures(paths, SIZE, THREADS)

    def decode_with_keras() -> None:
        options = {"labels": None, "image_size": SIZE, "batch_size": 64, "verbose": False}
        for _ in keras.utils.image_dataset_from_directory(folder / "data", **options):
            pass

    def decode_with_pillow() -> None:
        for path in paths:
            np.asarray(Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))

    what = "decode JPEGs of 200x150 px (phantom) to 180x180 px"
    yield what, "`image_dataset_from_directory`", len(paths), decode, decode_with_keras
    yield what, "a loop over Pillow", len(paths), decode, decode_with_pillow

    data = StudyParams(dataset="ham10000", data=str(folder / "data" / "all"))
    cases = make_case_tables(data)["corrected"]
    phases = [{"train": "head", "epochs": EPOCHS}]
    backbone = {"name": "mobilenet_v2", "image_size": (48, 64), "pooling": "average"}
    recipe = Recipe(backbone=backbone, batch_size=16, phases=phases)

    def train_head() -> None:
        os.environ["LESION_OUTPUT"] = str(folder)  # where the features are kept
        with tempfile.TemporaryDirectory(dir=folder) as new:
            train(recipe, cases, seed=0, threads=THREADS, weights=None, folder=Path(new) / "head" / "r0")

    compile_model = keras.Model.compile

    def step_by_step(self: keras.Model, *args: Any, steps_per_execution: int = 1, **options: Any) -> None:
        compile_model(self, *args, **options)

    def train_head_step_by_step() -> None:
        with patch.object(keras.Model, "compile", step_by_step):
            train_head()

    what = f"{EPOCHS} epochs of a head on features, each in one call"
    shown = EPOCHS * int((cases["split"] == "train").sum())
    yield what, "a call of TensorFlow per step", shown, train_head, train_head_step_by_step


def measure(pair: Pair, rounds: int) -> dict:
    """The row of a pair in speed.json: medians of the rounds, and the ratio with its spread."""
    what, baseline, images, *arms = pair
    seconds: list[list[float]] = [[], []]
    for turn in range(-1, rounds):  # the first round warms up
        for arm, times in zip(arms, seconds, strict=True):
            start = time.perf_counter()
            arm()
            if turn >= 0:
                times.append(time.perf_counter() - start)
    ratios = [slow / fast for fast, slow in zip(*seconds, strict=True)]
    ours, theirs = (round(images / statistics.median(times), 1) for times in seconds)
    row = {"what": what, "compared_with": baseline, "unit": "images/s", "ours": ours, "baseline": theirs}
    spread = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return row | {name: round(value, 3) for name, value in spread.items()} | {"rounds": rounds} | _provenance()


def _provenance() -> dict[str, str]:
    command = ["git", "-C", str(PROJECT), "rev-parse", "--short=7", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{THREADS} cores of {platform.processor() or platform.machine()}"
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit, "machine": machine}


def table(rows: list[dict]) -> str:
    """The rows of speed.json as docs/performance.md shows them."""
    heads = ["what", "compared with", "this package", "compared", "ratio (lowest to highest)", "commit"]
    lines = []
    for row in rows:
        values = [f"{_number(row[name])} {row['unit']}" if row[name] else "–" for name in ("ours", "baseline")]
        ratio, lowest, highest = (_number(row[name]) for name in ("ratio", "lowest", "highest"))
        ratio += f" ({lowest} to {highest}; {row['rounds']} rounds)"
        lines.append([row["what"], row["compared_with"], *values, ratio, row["commit"]])
    return markdown(heads, lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def effect_table(rows: list[dict]) -> str:
    """The effect of the faster ways on results, as docs/performance.md shows it."""
    lines = []
    for row in rows:
        interval = row["low"], row["high"], [0], "+"
        value = f"{number(row['difference'], *interval)} ({span(*interval)}; {row['seeds']} seeds)"
        lines.append([row["mechanism"], row["metric"].removeprefix("difference in "), value, row["commit"]])
    shown = markdown(["faster way", "metric", "difference", "commit"], lines)
    return f"{shown}\n\nn = {rows[0]['n']:,} test images, {rows[0]['lesions']:,} lesions."


def main() -> None:
    """Measures every pair and writes the results."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {(row["what"], row["compared_with"]): row for row in results["speed"]}
    with tempfile.TemporaryDirectory(prefix="speed.") as folder:
        for pair in pairs(Path(folder)):
            rows[pair[:2]] = measure(pair, ROUNDS)
            print(rows[pair[:2]])
    write_json(RESULTS, results | {"speed": list(rows.values())})
    renew("speed", table(list(rows.values())))
    renew("effect", effect_table(results["effect_on_results"]))


if __name__ == "__main__":
    main()
