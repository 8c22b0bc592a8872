"""The comparison of one and three training seeds per fold; and what its full size found, which is tracked."""

import json

from benchmarks.training_seeds import RESULTS, compared, differences
from lesion_utils.claims.differences import LOG_LOSS
from lesion_utils.paths import PROJECT

FEW, MANY = differences("imbalance"), json.loads(RESULTS.read_text(encoding="utf-8"))


def row(measure: str, verdict: str, runs: int, low: float, high: float) -> dict:
    about = {"recipe": "mixup", "measure": measure, "runs": runs, "n": 100, "lesions": 80}
    return about | {"value": (low + high) / 2, "low": low, "high": high, "verdict": verdict}


def test_a_changed_verdict_is_counted_and_both_are_told():
    few = [row("macro AUC", "no difference shown", 5, -0.01, 0.03), row(LOG_LOSS, "lower", 5, -0.4, -0.2)]
    many = [row("macro AUC", "higher", 20, 0.005, 0.015), row(LOG_LOSS, "lower", 20, -0.345, -0.255)]
    table, sentence = compared(few, many)
    line = table.splitlines()[-1]
    assert "better (5 runs: no difference shown)" in line and line.count("better") == 2 and line.count("5 runs") == 1
    assert "Of 2 verdicts, 1 changed" in sentence and "`mixup` (macro AUC)" in sentence
    assert "0.35 times" in sentence  # the median of 0.25 and 0.45


def test_the_tracked_comparison_is_of_the_tracked_results_and_on_the_page():
    assert {of["runs"] for of in FEW} == {5} and {of["runs"] for of in MANY} == {15}
    assert {(of["n"], of["lesions"]) for of in MANY} == {(of["n"], of["lesions"]) for of in FEW}
    page = (PROJECT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert all(text in page for text in compared(FEW, MANY))
