"""The benchmark of augmentation: a known loss is found, the rule is applied, and the page shows the tracked numbers."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import augmentation
from benchmarks.page import PAGE, renewed


def write_tables(folder, accuracy: dict[str, float], seeds: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["mel", "nv"], 300)
    for way, share in accuracy.items():
        for seed in range(seeds):
            for split in ("test", "validation"):
                right = rng.random(600) < share
                score = np.where(right == (labels == "mel"), 0.9, 0.1)
                frame = pd.DataFrame({"image_id": np.arange(600), "lesion_id": np.arange(600) // 2, "label": labels})
                frame.assign(p_mel=score, p_nv=1 - score).to_csv(folder / f"{way}_{seed}_{split}.csv.gz", index=False)
            pd.DataFrame({"epoch": [1, 2]}).to_csv(folder / f"{way}_{seed}_history.csv.gz", index=False)


@pytest.mark.parametrize(
    ("own", "keras", "seeds", "rule"), [(0.7, 0.9, 3, "goes"), (0.95, 0.85, 3, "may stay"), (0.9, 0.9, 1, "undecided")]
)
def test_a_known_loss_is_found_and_the_rule_follows(tmp_path, own, keras, seeds, rule):
    write_tables(tmp_path, {"one_resampling": own, "keras_layers": keras}, seeds)
    assert augmentation.seeds_of(tmp_path) == list(range(seeds))
    row = augmentation.loss_of_one_resampling(tmp_path, "test", augmentation.seeds_of(tmp_path), 200)
    assert row["loss"] == pytest.approx(keras - own, abs=0.05) and row["low"] <= row["loss"] <= row["high"]
    assert row["low"] < row["upper_95"] < row["high"] and augmentation.verdict(row).startswith(rule)


def test_the_page_shows_the_tracked_numbers():
    page = PAGE.read_text(encoding="utf-8")
    shown = augmentation.table(json.loads(augmentation.RESULTS.read_text(encoding="utf-8"))["rows"])
    assert shown in page and renewed(page, "augmentation", shown) == page
