"""The study's numbers as a file; the results on real data that are tracked, and what the README says of them."""

import json
import re

import pandas as pd
import pytest
from prediction_tables import table_of

from lesion_utils import notebooks
from lesion_utils.evaluation import compare, judge
from lesion_utils.evaluation.results import leak_table, markdown_table, renewed, write_results
from lesion_utils.params import PROJECT, StudyParams, load_study

TRACKED = PROJECT / "reports" / "ham10000"
RESULTS = json.loads((TRACKED / "results.json").read_text(encoding="utf-8"))


def test_results_are_small_say_what_is_wrong_with_them_and_make_the_table(output):
    tables = {"good": table_of([15, 6, 20, 60]), "leak": table_of([15, 6, 20, 60], seed=1).assign(leaky=True)}
    judged = pd.concat(
        {(name, part): judge(table, 50) for name, table in tables.items() for part in ("validation", "test")},
        names=["recipe", "part", "name"],
    )
    write_results(StudyParams(study="tiny"), judged, "good")
    results = json.loads((output / "reports" / "tiny" / "results.json").read_text(encoding="utf-8"))
    rows = {(row["recipe"], row["split"], row["metric"]): row for row in results["rows"]}
    row, frame = rows["good", "test", "melanoma AUC"], judged.loc[("good", "test", "melanoma AUC")]
    assert row == {"recipe": "good", "split": "test", "metric": "melanoma AUC", "kind": "view"} | {
        **{name: round(frame[name], 4) for name in ("value", "low", "high")},
        **{"n": 303, "lesions": 101},
    }
    refused = rows["good", "test", "sensitivity df"]
    assert (refused["value"], refused["low"], refused["few"]) == (None, None, True)
    assert refused["note"] == "df: 6 lesions, at least 10 needed"
    assert "leaky" not in row and all(row["leaky"] is True for row in results["rows"] if row["recipe"] == "leak")
    assert not any(metric.startswith(("precision ", "AUC ")) for _, _, metric in rows)
    good, leak = (line for line in markdown_table(results).splitlines() if "| test |" in line and "always" not in line)
    assert good.startswith("| **good** | test | 303 (101) | not estimable | not estimable | 0.")
    assert good.count("leaky") == 0 and leak.count(") leaky |") == 2
    assert "| always the largest class | test | 303 (101) | 0.250 | 0.500 | 0 | 0.594 (" in markdown_table(results)


def test_the_readme_quotes_the_tracked_results():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert markdown_table(RESULTS) in readme
    assert renewed(readme) == readme, "renew it with `lesion readme`"
    spoilt = readme.replace("| small_cnn | test |", "| small_cnn | test | 1.000")
    assert spoilt != readme and renewed(spoilt) == readme


def test_the_size_of_a_leak_is_told_with_its_sign_its_interval_and_the_images_it_is_of(output):
    clean, leaky = table_of([15, 20, 20, 60]), table_of([15, 20, 20, 60], seed=1).assign(leaky=True)
    params = StudyParams(study="tiny", leaks={"copies": {"recipe": "cnn", "kind": "copies", "repeats": 2}})
    effect = compare(leaky, clean, 50).assign(images="all test images")
    judged = pd.concat({("cnn", part): judge(clean, 50) for part in ("validation", "test")})
    write_results(params, judged, "cnn", {"copies": pd.concat({"test": effect})})
    results = json.loads((output / "reports" / "tiny" / "results.json").read_text(encoding="utf-8"))
    row = effect.loc["accuracy"]
    told = f"{row['value']:+.3f} ({row['low']:+.2f} to {row['high']:+.2f})"
    assert f"| copies | cnn | 2 | all test images | 345 (115) | {told} |" in leak_table(results)


def test_they_are_of_all_images_and_of_the_recipes_in_the_parameters():
    params = load_study("ham10000")
    assert {row["recipe"] for row in RESULTS["rows"]} == set(params.recipes)
    assert RESULTS["chosen on validation"] in params.recipes
    sizes = {row["split"]: row["n"] for row in RESULTS["rows"] if row["metric"] == "accuracy"}
    assert sizes == {"validation": 2003, "test": 2004}


def test_every_number_lies_in_its_interval_and_below_the_mark_of_a_leak():
    for row in RESULTS["rows"]:
        if row["low"] is None:
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
