"""The results on real data that are tracked, and what the README says of them."""

import json
import re

import pytest

from lesion_utils import notebooks
from lesion_utils.evaluation.results import markdown_table
from lesion_utils.params import PROJECT, load_study

TRACKED = PROJECT / "reports" / "ham10000"
RESULTS = json.loads((TRACKED / "results.json").read_text(encoding="utf-8"))


def test_the_readme_quotes_the_tracked_results():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    quoted = readme.split("<!-- results: reports/ham10000/results.json -->")[1].split("<!-- end of results -->")[0]
    assert quoted.strip() == markdown_table(RESULTS)


def test_they_are_of_all_images_and_of_the_recipes_in_the_parameters():
    params = load_study("ham10000")
    assert {row["recipe"] for row in RESULTS["rows"]} == set(params.recipes)
    assert RESULTS["chosen on validation"] in params.recipes
    sizes = {row["split"]: row["n"] for row in RESULTS["rows"] if row["metric"] == "accuracy"}
    assert sizes == {"validation": 2003, "test": 2004}


def test_every_number_lies_in_its_interval_and_below_the_mark_of_a_leak():
    for row in RESULTS["rows"]:
        if row["value"] is None:
            assert row["note"]
            continue
        assert row["low"] <= row["value"] <= row["high"]
        assert row["metric"] != "balanced accuracy" or row["value"] < 0.90


@pytest.mark.parametrize("name", ["index", *notebooks.NOTEBOOKS])
def test_a_tracked_report_is_small_stamped_and_shows_no_patient(name):
    path = TRACKED / f"{name}.html"
    html = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= 1_500_000
    assert "commit" in html and "(dirty" not in html
    assert "samples of each class" not in html
    assert not re.search(r"data:image/jpe?g", html)


def test_the_reports_were_made_without_pictures_of_cases():
    assert load_study("ham10000").show_samples is False
    html = (TRACKED / "01_eda.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<img[^>]*data:image/png", html)) == 6  # the plots, and no sample grid
