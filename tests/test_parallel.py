"""The benchmark of two jobs at once: its words follow its numbers, and the page shows the tracked ones."""

import json

import pytest

from benchmarks import parallel
from benchmarks.page import PAGE, renewed


@pytest.mark.parametrize(("median", "word"), [(0.9, "were done sooner"), (1.1, "were not done sooner")])
def test_the_words_follow_the_ratio(median, word):
    found = {"cores": 2, "rounds": 5} | {name: {"median": median, "low": 0.8, "high": 1.2} for name in parallel.NAMES}
    assert word in parallel.told(found) and f"{median:.2f} | 0.80 | 1.20" in parallel.told(found)


def test_the_page_shows_the_tracked_numbers():
    page = PAGE.read_text(encoding="utf-8")
    shown = parallel.told(json.loads(parallel.RESULTS.read_text(encoding="utf-8")))
    assert page == renewed(page, "parallel", shown) and shown in page
