"""The benchmark of speed: it runs, its tracked rows are whole, and docs/performance.md shows them."""

import json

import pytest

from benchmarks import speed
from benchmarks.page import PAGE, renewed

RESULTS = json.loads(speed.RESULTS.read_text(encoding="utf-8"))


def test_tracked_rows_are_whole():
    for row in RESULTS["speed"]:
        assert 0 < row["lowest"] <= row["ratio"] <= row["highest"] and row["commit"] and row["rounds"]
    for row in RESULTS["effect_on_results"]:
        assert row["low"] <= row["difference"] <= row["high"] and row["n"] and row["seeds"] and row["commit"]


def test_the_page_shows_the_tracked_rows():
    page = PAGE.read_text(encoding="utf-8")
    tables = {"speed": speed.table(RESULTS["speed"]), "effect": speed.effect_table(RESULTS["effect_on_results"])}
    for name, text in tables.items():
        assert text in page and renewed(page, name, text) == page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras with NumPy 2
def test_every_pair_can_be_measured(tmp_path, monkeypatch, output):
    monkeypatch.setattr(speed, "LESIONS", 100)  # a split needs five of each class
    monkeypatch.setattr(speed, "EPOCHS", 2)
    rows = [speed.measure(pair, rounds=1) for pair in speed.pairs(tmp_path)]
    assert all(set(row) == set(RESULTS["speed"][0]) and row["ours"] > 0 and row["baseline"] > 0 for row in rows)
