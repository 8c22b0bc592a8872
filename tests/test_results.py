"""The study's numbers as a file; the results on real data that are tracked, and what the README says of them."""

import html
import json
import re
import runpy

import nbformat
import pandas as pd
import pytest
from prediction_tables import CLASSES, table_of

from lesion_utils import pipeline, predictions, verify
from lesion_utils.audit import pixel_digests
from lesion_utils.audit.corrections import corrections
from lesion_utils.claims.declared import read_ledger
from lesion_utils.claims.differences import run_differences
from lesion_utils.claims.results import choose, gaps, too_good, write_results
from lesion_utils.datasets import isic9
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.paths import PROJECT
from lesion_utils.predictions import STAGE_NOTEBOOKS
from lesion_utils.recipes import Recipe
from lesion_utils.reports import documents
from lesion_utils.study import StudyParams, load_study

TRACKED = {study: PROJECT / "reports" / study for study in ("ham10000", "isic9")}
RESULTS = {study: json.loads((path / "results.json").read_text(encoding="utf-8")) for study, path in TRACKED.items()}
CLAIMS = PROJECT / "reports" / "published" / "claims.json"
STUDIES = pytest.mark.parametrize("study", TRACKED)


def test_results_are_small_say_what_is_wrong_with_them_and_make_the_table(output):
    tables = {"good": table_of([15, 6, 20, 60]), "leak": table_of([15, 6, 20, 60], seed=1).assign(leaky=True)}
    judged = pd.concat(
        {
            (name, split): judge(PredictionTable(table, 50))
            for name, table in tables.items()
            for split in ("validation", "test")
        },
        names=["recipe", "split", "name"],
    )
    write_results(StudyParams(study="tiny"), judged, "good")
    results = json.loads((output / "reports" / "tiny" / "results.json").read_text(encoding="utf-8"))
    rows = {(row["recipe"], row["split"], row["metric"]): row for row in results["rows"]}
    row, frame = rows["good", "test", "melanoma AUC"], judged.loc[("good", "test", "melanoma AUC")]
    assert row == {"recipe": "good", "split": "test", "metric": "melanoma AUC", "kind": "view"} | {
        **{name: pytest.approx(frame[name]) for name in ("value", "low", "high")},
        **{"n": 303, "lesions": 101},
    }
    refused = rows["good", "test", "sensitivity df"]
    assert (refused["value"], refused["low"], refused["few"]) == (None, None, True)
    assert refused["note"] == "df: 6 lesions, at least 10 needed"
    assert "leaky" not in row and all(row["leaky"] is True for row in results["rows"] if row["recipe"] == "leak")
    assert not any(metric.startswith(("precision ", "AUC ")) for _, _, metric in rows)


def test_what_is_too_good_stops_a_study_of_known_data_and_is_said_of_anybodys_own():
    poor, perfect = table_of([15, 12, 20, 60]), table_of([15, 12, 20, 60])
    scores = [column for column in perfect if column.startswith("p_")]
    perfect[scores] = [[1.0 * (column == f"p_{label}") for column in scores] for label in perfect["label"]]
    tables = {("poor", "test"): poor, ("perfect", "test"): perfect}
    judged = {key: judge(PredictionTable(table, 20)) for key, table in tables.items()}
    judged = pd.concat(judged, names=["recipe", "split", "name"])
    kinds = dict.fromkeys(CLASSES, "unknown")
    known = StudyParams(study="x")
    own = StudyParams(study="x", dataset="folders", data="pictures", classes=kinds)
    said = too_good(own, judged, [])
    assert "perfect" in said and "poor" not in said and "lesion audit" in said
    with pytest.raises(InputError, match="perfect"):
        too_good(known, judged, [])
    assert too_good(known, judged, ["perfect"]) == "" == too_good(own, judged, ["perfect"])


def test_the_generated_documents_are_current():
    for path, text in documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date. Fix: lesion refresh-readme"


def test_the_page_of_published_systems_has_the_answer_of_the_readme():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").split("<!-- end of answer -->")[0]
    page = html.unescape((CLAIMS.parent / "index.html").read_text(encoding="utf-8"))
    numbers = re.findall(r"-?\d\.\d+ \(-?\d\.\d+(?:-| to )\d\.\d+", readme)
    assert len(numbers) > 20 and not [number for number in numbers if number not in page], "Fix: lesion claims"


def test_the_page_of_parameters_is_current_and_has_every_key():
    page = (PROJECT / "docs" / "parameters.md").read_text(encoding="utf-8")
    written = runpy.run_path(str(PROJECT / "docs" / "parameters.py"))
    assert page == written["page"](), "Fix: .venv/bin/python docs/parameters.py"
    for section in (Recipe, *written["SECTIONS"].values()):
        assert all(f"| `{name}` |" in page for name in section.model_fields)
    described = "| `dropout` | `0.0` | number | dropout before the last layer |"
    assert described in page and "`zoom` | `0.0` | number | largest change of scale either way;" in page


def test_the_readme_is_short_and_every_link_in_it_and_in_docs_leads_somewhere():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150 and len(readme.encode()) <= 9_000
    for page in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_a_study_without_a_test_part_has_results_and_a_table(output):
    tables = {"good": table_of([15, 15, 20, 60]), "leak": table_of([15, 15, 20, 60], seed=1).assign(leaky=True)}
    judged = pd.concat(
        {(name, "validation"): judge(PredictionTable(table, 50)) for name, table in tables.items()},
        names=["recipe", "split", "name"],
    )
    chosen, metric = choose(judged)
    assert (chosen, metric) == ("good", "balanced accuracy")
    write_results(StudyParams(study="published/tiny"), judged, chosen, unlearnt="learnt nothing (…)")
    results = json.loads((output / "reports" / "published" / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert {row["split"] for row in results["rows"]} == {"validation"}
    assert results["not learnt"] == "learnt nothing (…)"


def test_gaps_between_validation_and_test_have_intervals_and_wide_ones_are_named(output, monkeypatch):
    params = StudyParams(study="tiny", baseline={"good": {}, "bad": {}})
    right, wrong = table_of([15, 15, 20, 60]), table_of([15, 15, 20, 60], seed=1)
    wrong["label"] = wrong["label"].sample(frac=1, random_state=0).to_numpy()
    wrong["lesion_id"] = wrong["image_id"]
    frames = {
        ("good", "validation"): right,
        ("good", "test"): right,
        ("bad", "validation"): right,
        ("bad", "test"): wrong,
    }
    tables = {key: PredictionTable(frame, 50) for key, frame in frames.items()}
    judged = pd.concat({key: judge(of) for key, of in tables.items()}, names=["recipe", "split", "name"])
    table, said = gaps(params, tables, judged)
    assert list(table) == ["validation", "test", "test minus validation"] and list(table.index) == ["good", "bad"]
    assert said == "Test and validation differ by more than 0.06 in balanced accuracy for 1 of 2 recipes: bad."
    assert table.loc["good", "test minus validation"].startswith("+0.00 (-")
    monkeypatch.setattr(StudyParams, "held_out_splits", ("validation",))
    monkeypatch.setattr(predictions, "splits_of", lambda params, name: ["validation_copies"] * (name == "good"))
    copies = right.assign(image_id="copy of " + right["image_id"])
    monkeypatch.setattr(predictions, "read", lambda params, name, split: right if split == "validation" else copies)
    table, said = gaps(params, tables, judged.drop("test", level=1))
    assert list(table) == ["validation", "validation with its copies"] and "no test split" in said
    assert table.loc["good", "validation"][:4] == table.loc["good", "validation with its copies"][:4]


def test_the_tracked_claims_are_those_of_the_ledger_and_none_is_stale():
    rows = json.loads(CLAIMS.read_text(encoding="utf-8"))
    declarations = [(claim.id, claim.declaration) for claim in read_ledger()]
    assert [(row["id"], row["declaration"]) for row in rows] == declarations, "Fix: lesion claims"


def test_tracked_claims_of_a_study_are_those_that_are_collected():
    collected = {row["id"]: row for row in json.loads(CLAIMS.read_text(encoding="utf-8"))}
    for path in CLAIMS.parent.glob("*/claims.json"):
        for row in json.loads(path.read_text(encoding="utf-8")):
            if row["runs"] and "barred" not in row:
                continue  # of a model, judged by earlier rules: it is not collected
            for key in ("measured", "low", "high", "n", "runs", "leaky", "declaration"):
                assert row[key] == collected[row["id"]][key], (row["id"], key)


def test_the_size_of_a_leak_is_told_with_its_sign_its_interval_and_the_images_it_is_of(output):
    clean, leaky = table_of([15, 20, 20, 60]), table_of([15, 20, 20, 60], seed=1).assign(leaky=True)
    params = StudyParams(study="tiny", leaks={"copies": {"recipe": "cnn", "kind": "copies", "runs": 2}})
    effect = run_differences(PredictionTable([leaky, leaky], 50), PredictionTable([clean, clean])).assign(
        images="all test images"
    )
    judged = pd.concat({("cnn", split): judge(PredictionTable(clean, 50)) for split in ("validation", "test")})
    write_results(params, judged, "cnn", {"copies": pd.concat({"test": effect})})
    results = json.loads((output / "reports" / "tiny" / "results.json").read_text(encoding="utf-8"))
    row = effect.loc["accuracy"]
    (written,) = [row for row in results["leaks"] if row["metric"] == "accuracy"]
    numbers = {name: pytest.approx(row[name]) for name in ("value", "low", "high", "least", "most")}
    about = {"leak": "copies", "recipe": "cnn", "kind": "copies", "pairs": 2, "on": "all test images"}
    about |= {"metric": "accuracy", "n": 345, "lesions": 115, "leaky": True}
    assert written == about | numbers


@STUDIES
def test_they_are_of_the_recipes_and_leaks_in_the_parameters(study):
    params, results = load_study(study), RESULTS[study]
    assert {row["recipe"] for row in results["rows"]} == set(params.recipes)
    assert {row["recipe"] for row in results["rows"] if row.get("leaky")} == {
        name for name, recipe in params.recipes.items() if recipe.allow_leak
    }
    assert params.recipes[results["chosen on validation"]].case_table == "corrected"
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
        page = path.read_text(encoding="utf-8")
        assert path.stat().st_size <= 1_500_000
        assert "commit" in page and "(dirty" not in page
        assert "samples of each class" not in page
        assert not re.search(r"data:image/jpe?g", page)


@pytest.mark.parametrize("study", [study for study, has_tables in verify.studies().items() if has_tables])
def test_reports_with_tracked_tables_have_todays_cells_and_clean_stamps(study):
    pages = sorted((PROJECT / "reports" / study).glob("0*.html"))
    assert {pipeline.EDA, pipeline.EVALUATION} < {path.stem for path in pages}
    for path in pages:
        page = path.read_text(encoding="utf-8")
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        cells = nbformat.read(pipeline.notebook_path(re.sub(r"_r\d+$", "", path.stem)), as_version=4).cells
        for cell in (cell for cell in cells if cell.cell_type == "code"):
            assert "parameters" in cell.metadata.get("tags", []) or cell.source in text, path
        assert "(dirty" not in page and "unknown (not a git" not in page


def test_the_corrections_are_tracked_and_small():
    decided = pd.read_csv(TRACKED["isic9"] / "corrections.csv")
    assert list(decided.columns) == ["path", "image_id", "sha256", "reason", "action"]
    assert decided["path"].is_unique and decided["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()


def test_the_tracked_corrections_are_those_of_the_real_set(real_isic9, real_ham, threads):
    decided = pd.read_csv(TRACKED["isic9"] / "corrections.csv")
    cases = isic9.read(real_isic9, real_ham)
    again = corrections(cases.assign(pixels=pixel_digests(cases, threads)))
    pd.testing.assert_frame_equal(decided, again, check_dtype=False)
