"""docs/reliability.md shows the counts of benchmarks/reliability.json, and these hold."""

import json

import pytest

from benchmarks import reliability
from benchmarks.page import renewed

RESULTS = json.loads(reliability.RESULTS.read_text(encoding="utf-8"))


def test_the_page_shows_the_tracked_counts():
    page = reliability.PAGE.read_text(encoding="utf-8")
    text = reliability.text(RESULTS)
    assert text in page and renewed(page, "faults", text) == page


@pytest.mark.parametrize("kind", RESULTS)
def test_every_tracked_fault_was_handled(kind):
    counts = RESULTS[kind]
    assert counts["rows"] and counts["tried"] == counts["handled"] > 0
    assert not any(counts.get(name) for name in reliability.COUNTS if name not in ("tried", "handled"))
