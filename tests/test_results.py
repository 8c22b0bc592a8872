"""The study's numbers as a file; the results on real data that are tracked, and what the README says of them."""

import json
import re

import pandas as pd
import pytest
from prediction_tables import table_of

from lesion_utils import pipeline
from lesion_utils.audit.corrections import corrections
from lesion_utils.claims.declared import read_ledger
from lesion_utils.claims.measured import of_matrix
from lesion_utils.claims.results import choose, leak_table, markdown_table, renewed, write_results
from lesion_utils.claims.verdicts import claims_table, row_of
from lesion_utils.datasets import isic9
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.differences import run_differences
from lesion_utils.paths import PROJECT
from lesion_utils.predictions import STAGE_NOTEBOOKS
from lesion_utils.study import StudyParams, load_study

TRACKED = {study: PROJECT / "reports" / study for study in ("ham10000", "isic9")}
RESULTS = {study: json.loads((path / "results.json").read_text(encoding="utf-8")) for study, path in TRACKED.items()}
CLAIMS = PROJECT / "reports" / "published" / "claims.json"
STUDIES = pytest.mark.parametrize("study", TRACKED)


def test_results_are_small_say_what_is_wrong_with_them_and_make_the_table(output):
    tables = {"good": table_of([15, 6, 20, 60]), "leak": table_of([15, 6, 20, 60], seed=1).assign(leaky=True)}
    judged = pd.concat(
        {
            (name, part): judge(PredictionTable(table, 50))
            for name, table in tables.items()
            for part in ("validation", "test")
        },
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
    assert "| always nv | test | 303 (101) | 0.250 | 0.500 | 0 | 0.594 (" in markdown_table(results)


def test_the_readme_quotes_the_tracked_results():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for results in RESULTS.values():
        assert markdown_table(results) in readme and leak_table(results) in readme
    assert renewed(readme) == readme, "renew it with `lesion readme`"
    spoilt = readme.replace("| small_cnn | test |", "| small_cnn | test | 1.000")
    assert spoilt != readme and renewed(spoilt) == readme


def test_a_study_without_a_test_part_has_results_and_a_table(output):
    tables = {"good": table_of([15, 15, 20, 60]), "leak": table_of([15, 15, 20, 60], seed=1).assign(leaky=True)}
    judged = pd.concat(
        {(name, "validation"): judge(PredictionTable(table, 50)) for name, table in tables.items()},
        names=["recipe", "part", "name"],
    )
    chosen, metric = choose(judged)
    assert (chosen, metric) == ("good", "balanced accuracy")
    write_results(StudyParams(study="published/tiny"), judged, chosen)
    results = json.loads((output / "reports" / "published" / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert {row["split"] for row in results["rows"]} == {"validation"}
    _, _, *lines = markdown_table(results).splitlines()
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| **good**", "validation"], ["| leak", "validation"], ["| always nv", "validation"]
    ]  # fmt: skip


def test_the_readme_quotes_the_tracked_claims():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    if not CLAIMS.is_file():
        pytest.skip("reports/published/claims.json is not there: the published studies have not run")
    rows = json.loads(CLAIMS.read_text(encoding="utf-8"))
    assert claims_table(rows) in readme, "renew it with `lesion readme`"
    assert [row["id"] for row in rows] == [claim.id for claim in read_ledger()], "renew it with `lesion claims`"


def test_the_table_of_claims_is_renewed_where_it_stands(tmp_path):
    rows = [row_of(claim, of_matrix(claim.estimand)) for claim in read_ledger() if claim.estimand.kind == "matrix"]
    (tmp_path / "claims.json").write_text(json.dumps(rows), encoding="utf-8")
    page = f"Before.\n\n<!-- claims: {tmp_path / 'claims.json'} -->\n\nstale words\n\n<!-- end of claims -->\n\nAfter."
    again = renewed(page)
    assert again == page.replace("stale words", claims_table(rows)) != page
    assert renewed(again) == again


def test_the_size_of_a_leak_is_told_with_its_sign_its_interval_and_the_images_it_is_of(output):
    clean, leaky = table_of([15, 20, 20, 60]), table_of([15, 20, 20, 60], seed=1).assign(leaky=True)
    params = StudyParams(study="tiny", leaks={"copies": {"recipe": "cnn", "kind": "copies", "runs": 2}})
    effect = run_differences(PredictionTable([leaky, leaky], 50), PredictionTable([clean, clean])).assign(
        images="all test images"
    )
    judged = pd.concat({("cnn", part): judge(PredictionTable(clean, 50)) for part in ("validation", "test")})
    write_results(params, judged, "cnn", {"copies": pd.concat({"test": effect})})
    results = json.loads((output / "reports" / "tiny" / "results.json").read_text(encoding="utf-8"))
    row = effect.loc["accuracy"]
    pair = f"{row['value']:+z.2f}"  # both pairs are the same
    told = f"{row['value']:+z.3f} ({row['low']:+z.2f} to {row['high']:+z.2f}; pairs {pair} to {pair})"
    assert f"| copies | cnn | 2 | all test images | 345 (115) | {told} |" in leak_table(results)


@STUDIES
def test_they_are_of_the_recipes_and_leaks_in_the_parameters(study):
    params, results = load_study(study), RESULTS[study]
    assert {row["recipe"] for row in results["rows"]} == set(params.recipes)
    assert {row["recipe"] for row in results["rows"] if row.get("leaky")} == {
        name for name, recipe in params.recipes.items() if recipe.allow_leak
    }
    assert params.recipes[results["chosen on validation"]].cases == "corrected"
    assert {(row["leak"], row["pairs"]) for row in results["leaks"]} == {
        (name, leak.runs) for name, leak in params.leaks.items()
    }


def test_they_are_of_all_images():
    sizes = {row["split"]: row["n"] for row in RESULTS["ham10000"]["rows"] if row["metric"] == "accuracy"}
    assert sizes == {"validation": 2003, "test": 2004}
    sizes = {row["recipe"]: row["n"] for row in RESULTS["isic9"]["rows"] if row["metric"] == "accuracy"}
    assert (sizes["small_cnn"], sizes["small_cnn_raw"]) == (113, 118)


@STUDIES
def test_every_number_lies_in_its_interval_and_below_the_mark_of_a_leak(study):
    for row in RESULTS[study]["rows"]:
        if row["low"] is None:
            assert row["note"]
            continue
        assert row["low"] <= row["value"] <= row["high"]
        assert row["metric"] != "balanced accuracy" or row["value"] < 0.90


@STUDIES
def test_the_tracked_reports_are_small_stamped_and_show_no_patient(study):
    params = load_study(study)
    assert params.show_samples is False
    stages = [notebook for stage, notebook in STAGE_NOTEBOOKS.items() if getattr(params, stage)]
    for name in ("index", pipeline.EDA, *stages, pipeline.EVALUATION):
        path = TRACKED[study] / f"{name}.html"
        html = path.read_text(encoding="utf-8")
        assert path.stat().st_size <= 1_500_000
        assert "commit" in html and "(dirty" not in html
        assert "samples of each class" not in html
        assert not re.search(r"data:image/jpe?g", html)


def test_the_corrections_are_tracked_and_small():
    decided = pd.read_csv(TRACKED["isic9"] / "corrections.csv")
    assert list(decided.columns) == ["path", "image_id", "sha256", "reason", "action"]
    assert decided["path"].is_unique and decided["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()


def test_the_tracked_corrections_are_those_of_the_real_set(real_isic9, real_ham, threads):
    decided = pd.read_csv(TRACKED["isic9"] / "corrections.csv")
    again = corrections(isic9.read(real_isic9, real_ham), threads)
    pd.testing.assert_frame_equal(decided, again, check_dtype=False)
