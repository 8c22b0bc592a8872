"""The benchmark of the quicker ways against the slower ones: it runs, and its table is the tracked one."""

import json

import pandas as pd
import pytest

from benchmarks import same_results
from benchmarks.page import PAGE, renewed
from lesion_utils import training
from lesion_utils.splits import split_cases


@pytest.mark.parametrize("mechanism", same_results.RECIPES)
def test_a_mechanism_is_compared_with_the_way_it_replaced(mechanism, tiny_study):
    cases = split_cases(tiny_study)
    few = pd.concat([group.head(30) for _, group in cases.groupby("split")], ignore_index=True)
    recipe = same_results.RECIPES[mechanism]
    phases = [phase | {"epochs": 1} for phase in recipe["phases"]]
    small = recipe | {"weights": "none", "image_size": (32, 48), "phases": phases}
    rows = same_results.compared(few, {mechanism: small}, 1, 20)
    assert [row["metric"].removeprefix("difference in ") for row in rows] == same_results.SHOWN
    assert {row["mechanism"] for row in rows} == {mechanism}


def test_the_slower_ways_are_other_ways():
    assert len(set(same_results.SLOWER.values())) == len(same_results.RECIPES)
    usual = [same_results.pixels._decode, training.build, training.split_below, training.augmenter]
    with same_results.decoded_whole():
        assert same_results.pixels._decode is not usual[0]
    with same_results.keras_layers():
        assert training.build is not usual[1] and training.augmenter("any", 0, 1) is None
    with same_results.whole_network():
        assert training.split_below("any", "layer") is None
    assert usual == [same_results.pixels._decode, training.build, training.split_below, training.augmenter]


def test_the_page_shows_the_tracked_numbers():
    page = PAGE.read_text(encoding="utf-8")
    rows = json.loads(same_results.RESULTS.read_text(encoding="utf-8"))
    assert page == renewed(page, "same", same_results.table(rows)) and same_results.table(rows) in page
    assert len(rows) == len(same_results.RECIPES) * len(same_results.SHOWN)
