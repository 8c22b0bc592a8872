"""The benchmark of changed pictures: each change gives another picture, and the page shows what was measured."""

import json

import numpy as np
import pytest

from benchmarks import transforms
from benchmarks.page import YOUR_DATA, renewed


@pytest.mark.parametrize("change", transforms.CHANGES)
def test_a_change_gives_another_picture_of_three_channels(change):
    rows, columns = np.mgrid[:120, :160]
    picture = np.stack([rows + columns, 255 - rows, columns], axis=-1).clip(0, 255).astype(np.uint8)
    picture[40:80, 70:72] = 10  # a hair
    changed = np.asarray(transforms.CHANGES[change](picture))
    assert changed.dtype == np.uint8 and changed.ndim == 3 and changed.shape[2] == 3
    assert changed.shape != picture.shape or (changed != picture).any()


def test_hair_is_painted_over_and_the_rest_is_kept():
    picture = np.full((60, 80, 3), 180, np.uint8)
    picture[10:50, 40:42] = 20
    assert (np.abs(transforms.without_hair(picture).astype(int) - 180) < 5).all()


def test_the_page_shows_the_tracked_numbers():
    results = json.loads(transforms.RESULTS.read_text(encoding="utf-8"))
    shown = YOUR_DATA.read_text(encoding="utf-8")
    assert all({*transforms.CHANGES} == {*of["rows"]} - {"unchanged"} for of in results.values())
    assert transforms.page(results) in shown and renewed(shown, "transforms", transforms.page(results)) == shown


def test_a_metric_that_is_never_estimable_has_no_column_and_is_named():
    shares = dict.fromkeys(transforms.SHARES, 0.5)
    row = shares | {"balanced accuracy": "not estimable", "macro AUC": "-0.1", "log loss": "not estimable"}
    about = {"trained": "abc", "n": 9, "lesions": 8, "melanomas": 3}
    text = transforms.page({"x/y": about | {"rows": {"unchanged": shares, "blurred": row}}})
    heads = next(line for line in text.splitlines() if line.startswith("| change"))
    assert "macro AUC" in heads and "log loss" not in heads and "balanced accuracy" not in heads
    assert "balanced accuracy, log loss." in text.splitlines()[0]
