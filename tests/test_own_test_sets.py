"""Our recipe on the systems' own test images: the tracked numbers are those of the tracked tables, and the page's."""

import json

import numpy as np
import pandas as pd
import pytest
from prediction_tables import table_of

from benchmarks import own_test_sets
from benchmarks.page import PAGE, renewed
from lesion_utils import reports
from lesion_utils.claims import verdicts
from lesion_utils.claims.measured import Measured
from lesion_utils.evaluation import PredictionTable
from lesion_utils.paths import PROJECT
from lesion_utils.rendering import render
from lesion_utils.study import load_study
from lesion_utils.tracked import take_all

RESULTS = json.loads(own_test_sets.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_numbers_of_a_published_matrix_follow_from_the_tracked_tables(tmp_path, monkeypatch):
    monkeypatch.delenv("LESION_OUTPUT", raising=False)
    for study in ("recommended_full", "published/002_as_run"):
        take_all(load_study(study), tmp_path)
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path))
    ours = own_test_sets.tables_of(own_test_sets.OURS, own_test_sets.RECIPE, "test")
    found = own_test_sets.against_published(ours, *own_test_sets.PUBLISHED["002"])
    assert found == {key: value for key, value in RESULTS["002"].items() if key != "verdict"}
    with pytest.raises(AssertionError, match="other images"):
        own_test_sets.against_published(ours, "001_accuracy", *own_test_sets.PUBLISHED["002"][1:])


def test_a_table_of_some_images_holds_them_all_or_is_refused():
    table = PredictionTable(table_of([12, 15, 20, 60]).assign(fold=0), 100)
    some = table.frame["image_id"].iloc[3:9]
    assert set(own_test_sets.of_images(table, some).frame["image_id"]) == {*some}
    with pytest.raises(AssertionError, match="not predicted"):
        own_test_sets.of_images(table, pd.Series([*some, "another"]))


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.2, "better"), (-0.1, 0.1, "not shown to be better"), (-0.3, -0.1, "worse")]
)
def test_the_verdict_follows_the_interval(low, high, verdict):
    number = {"value": (low + high) / 2, "low": low, "high": high}
    rows = {"balanced accuracy": {"its": number, "ours": number, "difference": number}}
    assert own_test_sets.verdict(rows) == verdict
    line = own_test_sets.table({"001": {"judged on": "", "n": 9, "verdict": verdict, "rows": rows}}).splitlines()[-1]
    assert line.endswith(f": {verdict} |")


def test_what_is_not_estimable_has_no_verdict_and_no_number():
    unknown = Measured(np.nan, np.nan, np.nan, 9)
    rows = {"balanced accuracy": own_test_sets.of_both(unknown, unknown, unknown)}
    assert rows["balanced accuracy"]["ours"] == dict.fromkeys(("value", "low", "high"))
    assert own_test_sets.verdict(rows) == own_test_sets.NOT_ESTIMABLE
    line = own_test_sets.table({"003": {"judged on": "", "n": 9, "verdict": "not estimable", "rows": rows}})
    assert line.endswith("| not estimable | not estimable | not estimable |")


def test_the_recipe_for_the_9_class_set_is_the_recommended_one_but_for_the_size_of_pictures():
    def recipe(study: str) -> dict:
        found = load_study(study).recipes["efficientnet_lite0"].model_dump(mode="json")
        for part in (found["backbone"], *found["phases"]):
            part.pop("image_size")
        return found

    assert recipe("recommended_isic9") == recipe("isic9_folds") == recipe("recommended")


@pytest.mark.parametrize("system", ["003", "004"])
def test_the_systems_in_five_folds_are_the_corrected_ones_with_the_early_stopping_of_003(system):
    of_folds = load_study("isic9_folds").recipes[f"system_{system}"]
    corrected = load_study(f"published/{system}_corrected").recipes["copies"]
    stopping = load_study("published/003_as_run").recipes["copies"].early_stopping
    assert of_folds == corrected.model_copy(update={"early_stopping": stopping})


@pytest.mark.slow
def test_the_numbers_of_a_system_trained_again_follow_from_the_tracked_tables(tmp_path, monkeypatch):
    monkeypatch.delenv("LESION_OUTPUT", raising=False)
    for name in ("004", "003 (five folds)"):
        of = own_test_sets.AGAIN[name]
        for study in {*of[:2]}:
            take_all(load_study(study), tmp_path)
        with monkeypatch.context() as here:
            here.setenv("LESION_OUTPUT", str(tmp_path))
            found = own_test_sets.against_trained_again(*of)
        assert found == {key: value for key, value in RESULTS[name].items() if key != "verdict"}


def test_the_readme_names_every_system_by_its_verdict():
    rows = verdicts.ledger(json.loads((PROJECT / "reports/published/claims.json").read_text(encoding="utf-8")))["rows"]
    results = {"recommended_full": reports._results(PROJECT / "reports" / "recommended_full" / "results.json")}
    own = {"AA": {"verdict": "better"}, "BB": {"verdict": "not estimable"}, "CC": {"verdict": "better"}}
    text = render("answer.md.j2", claims={row["id"]: row for row in rows}, results=results, own=own)
    assert "better than AA, CC;" in text and "not estimable for BB." in text


def test_the_page_shows_the_tracked_numbers():
    page, shown = PAGE.read_text(encoding="utf-8"), own_test_sets.table(RESULTS)
    assert shown in page and renewed(page, "own test sets", shown) == page
    assert {name[:3] for name in RESULTS} == {"000", "001", "002", "003", "004"}
