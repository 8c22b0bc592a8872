"""The benchmarks of training cost: minutes until a level is reached, parts of case tables, and what the page shows."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from benchmarks import cost_quality, time_to_quality
from benchmarks.page import PAGE, renewed
from lesion_utils.paths import PROJECT
from lesion_utils.recipes import Recipe

TIMES = json.loads(time_to_quality.RESULTS.read_text(encoding="utf-8"))
COSTS = json.loads(cost_quality.RESULTS.read_text(encoding="utf-8"))


def test_the_minutes_are_those_of_all_epochs_until_the_level_is_reached():
    epochs = [{"seconds": 90.0, "balanced accuracy": of} for of in (0.5, 0.66, 0.64, 0.7)]
    assert time_to_quality.minutes_to(epochs, 0.65) == 3
    assert time_to_quality.minutes_to(epochs, 0.70) == 6
    assert time_to_quality.minutes_to(epochs, 0.71) is None


def test_the_page_shows_the_tracked_times():
    page, shown = PAGE.read_text(encoding="utf-8"), time_to_quality.table(TIMES)
    assert shown in page and renewed(page, "time to quality", shown) == page


def test_the_tutorial_trains_its_head_and_then_its_last_layers(tmp_path, monkeypatch, real_ham, real_weights):
    monkeypatch.setattr(time_to_quality, "EPOCHS", 1)
    table = pd.read_csv(real_ham / "HAM10000_metadata.csv").sort_values("dx").groupby("dx").head(4)
    found = {path.stem: str(path) for path in real_ham.rglob("*.jpg")}
    cases = table.assign(
        label=table["dx"], path=table["image_id"].map(found), split=np.tile(["train", "validation"], len(table) // 2)
    )
    rows = time_to_quality.tutorial(cases, real_weights)
    assert len(rows) == 2 and all(row["seconds"] > 0 and 0 <= row["balanced accuracy"] <= 1 for row in rows)


def cases_of(**sizes: int) -> pd.DataFrame:
    rows = [(split, label) for split in ("train", "test") for label, size in sizes.items() for _ in range(size)]
    return pd.DataFrame(rows, columns=["split", "label"])


def test_a_part_has_its_share_of_every_class_in_every_split():
    counts = cost_quality.part(cases_of(mel=5, nv=200), 10).value_counts()
    assert counts.to_dict() == {
        (split, label): n for split in ("train", "test") for label, n in [("mel", 2), ("nv", 20)]
    }


def test_a_short_training_has_its_share_of_copies_and_class_sizes():
    recipe = Recipe(sampler="equal", class_size=1000, offline_copies={"per_class": 500}, early_stopping=5)
    short = cost_quality.shortened(recipe, 10, 3)
    assert (short.class_size, short.offline_copies.per_class, short.early_stopping) == (100, 50, None)
    assert {phase.epochs for phase in short.phases} == {3}


@pytest.mark.parametrize(
    ("options", "images"), [({}, 205), ({"sampler": "under"}, 10), ({"sampler": "over", "epoch_images": 300}, 300)]
)
def test_the_images_of_an_epoch_are_those_that_the_sampler_shows(options, images):
    assert cost_quality.images(Recipe(**options), cases_of(mel=5, nv=200)) == images


def test_every_recipe_of_the_picture_was_measured_and_has_its_quality():
    measured = {(row["study"], row["recipe"]) for row in COSTS["rows"]}
    for studies, metric in cost_quality.PANELS.values():
        for study, names in studies.items():
            for name in names or {row["recipe"] for row in cost_quality.results_of(study)}:
                assert (study, name) in measured
                assert 0 < cost_quality.quality(study, name, metric)["value"] < 1
    assert all(row["epochs"] > 0 and row["once"] >= 0 for row in COSTS["rows"])


def test_the_picture_is_that_of_the_tracked_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(cost_quality, "PICTURE", tmp_path / "drawn.svg")
    monkeypatch.setitem(plt.rcParams, "grid.linewidth", 3.0)  # as another figure of the process may set it
    cost_quality.draw()
    (drawn, numbers), (tracked, expected) = map(parts, (tmp_path / "drawn.svg", PROJECT / "docs" / "cost_quality.svg"))
    assert drawn == tracked and numbers == pytest.approx(expected, abs=0.01)


def parts(picture: Path) -> tuple[str, list[float]]:
    """The text of a picture and its numbers. Processors differ in the last digit, and so in ids, which are digests."""
    text, ids = picture.read_text(encoding="utf-8"), {}
    text = re.sub(r"\b[mp][0-9a-f]{10}\b", lambda match: ids.setdefault(match[0], f"id {len(ids)}"), text)
    return re.sub(r"-?\d+\.\d+", "number", text), [float(found) for found in re.findall(r"-?\d+\.\d+", text)]


def test_the_table_beneath_the_picture_names_every_point_in_order():
    page, points = PAGE.read_text(encoding="utf-8"), cost_quality.points()
    assert renewed(page, "cost and quality", cost_quality.table()) == page
    assert len(points) == len(COSTS["rows"]) and points["number"].tolist() == [*range(1, len(points) + 1)]
    assert all(rows["minutes"].is_monotonic_increasing for _, rows in points.groupby("panel"))
