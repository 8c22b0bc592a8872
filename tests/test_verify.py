"""`lesion verify`: results follow from tracked tables alone, and whatever differs is named."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import TINY_CNN
from typer.testing import CliRunner

from lesion_utils import predictions, tracked, verify
from lesion_utils.cases import make_case_tables, write_case_tables
from lesion_utils.claims.results import judge_study, write_results
from lesion_utils.cli import app
from lesion_utils.digests import bytes_digest
from lesion_utils.paths import PROJECT, report_folder, write_json
from lesion_utils.splits import split_digest
from lesion_utils.study import load_study

STUDY = {
    **{"study": "tiny", "resamples": 100, "phantom": {"lesions": 100}, "runs": 2},
    **{"baseline": {"cnn": TINY_CNN}, "rebalancing": {"cnn_over": TINY_CNN | {"sampler": "over"}}},
    **{"leaks": {"siblings": {"recipe": "cnn", "runs": 1}}},
}
NOTEBOOKS = ("02_baseline_cnn", "03_augmentation_rebalancing")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A phantom study with tables of random scores, judged and kept: its YAML file and its output folder."""
    folder = tmp_path_factory.mktemp("judged")
    file = folder / "tiny.yml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(STUDY))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder))
        params = load_study(str(file))
        tables = make_case_tables(params)
        write_case_tables(params, tables)
        cases, split = tables["corrected"], split_digest(tables["corrected"])
        can_leak = cases[cases["split"] == "test"][::2].assign(split="test_can_leak")
        cases, random = pd.concat([cases, can_leak], ignore_index=True), np.random.default_rng(0)
        for name, run in tracked.trainings(params):
            splits = ("validation", "test", "test_can_leak") if name in params.arms else ("validation", "test")
            scores = {split: random.dirichlet(np.ones(7), (cases["split"] == split).sum()) for split in splits}
            recipe = params.trainings[name].identity
            provenance = {"recipe": recipe, "seed": run, "leaky": name.endswith("_leaky"), "cases": split}
            training = params.model_folder(name, run)
            predictions.write(training, cases, scores, provenance)
            (training / "history.csv").write_text("epoch,accuracy\n1,0.5\n")
            write_json(training / "provenance.json", provenance)
        for run in range(2):
            for notebook in NOTEBOOKS:
                tracked.keep(params.model_copy(update={"run": run}), notebook)
        _, *results = judge_study(params)
        write_results(params, *results)
        (report_folder("tiny") / "index.html").write_text("made up")
        tracked.sign_pages("tiny")
    return file, folder


@pytest.fixture
def clone(judged, output) -> str:
    """Its reports alone, which the test may spoil; returns how the study is called."""
    shutil.copytree(judged[1] / "reports", output / "reports")
    return str(judged[0])


def change_a_digit(path, digit: int) -> None:
    text = tracked._text(path)
    place = text.index(",0.") + 2 + digit
    tracked._keep(path, text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


@pytest.mark.slow
def test_reports_alone_agree_and_no_tensorflow_is_imported(clone):
    code = (
        "import sys; from lesion_utils.cli import app\n"
        f"try: app(['verify', {clone!r}])\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"{clone}: agrees", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("digit", "named"),
    [
        (1, "r1/predictions/test.csv: probabilities that do not sum to 1"),
        (5, "cnn_over, test, Brier score, value: tracked"),
    ],
)
def test_one_digit_in_one_tracked_table_fails_and_is_named(clone, digit, named):
    change_a_digit(tracked.tracked_folder("tiny") / "cnn_over/r1/test.csv.gz", digit)
    done = subprocess.run(
        [sys.executable, "-m", "lesion_utils", "verify", clone], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any("predictions/cnn_over/r1/test.csv.gz" in line for line in lines)
    assert any(named in line for line in lines), lines
    assert not any("cnn, " in line for line in lines)


@pytest.mark.slow
def test_a_number_or_a_row_of_the_results_that_was_edited_is_named(clone):
    assert verify.differences(clone) == []
    path = report_folder("tiny") / "results.json"
    results = json.loads(path.read_text())
    row, gone = results["rows"][0], results["leaks"].pop()
    row["value"] += 2e-9
    path.write_text(json.dumps(results))
    first, second = verify.differences(clone)
    assert f"{row['recipe']}, {row['split']}, {row['metric']}, value" in first and str(row["value"]) in first
    assert gone["metric"] in second and "tracked nothing" in second


@pytest.mark.slow
def test_a_page_that_was_edited_or_made_from_other_tables_is_named(clone):
    page = report_folder("tiny") / "index.html"
    page.write_text("edited")
    assert verify.differences(clone) == ["tiny/index.html is not as it was made"]
    page.unlink()
    assert verify.differences(clone) == ["tiny/index.html is missing"]
    page.write_text("made up")
    file = tracked.tracked_folder("tiny") / "cnn" / "r0" / "provenance.json"
    kept = json.loads(file.read_text())
    tracked._keep(file.with_name("history.csv.gz"), "epoch,accuracy\n1,0.6\n")
    kept["digests"]["history.csv"] = bytes_digest(b"epoch,accuracy\n1,0.6\n")
    write_json(file, kept)
    assert verify.differences(clone) == ["tiny: the pages were made from other tables"]


def test_verdicts_are_compared_and_prose_is_not():
    row = {"id": "000_x", "verdict": "holds", "note": "a", "low": 0.1, "runs": None}
    assert list(verify._compared([row], [row | {"note": "b", "low": 0.1 + 1e-10}], "s")) == []
    (verdict,) = verify._compared([row], [row | {"verdict": "undecided"}], "s")
    assert verdict == "s, 000_x, verdict: tracked holds, computed undecided"
    assert list(verify._compared([row], [row | {"runs": 3}], "s"))


@pytest.mark.slow
def test_a_study_without_tables_or_with_a_table_missing_is_unusable_and_says_what_makes_it(clone):
    shutil.rmtree(tracked.tracked_folder("tiny") / "cnn/r1")
    for problem in ("cnn/r1/provenance.json does not exist", "no tracked tables"):
        done = subprocess.run(
            [sys.executable, "-m", "lesion_utils", "verify", clone], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and problem in done.stderr and f"Fix: make study STUDY={clone}" in done.stderr
        shutil.rmtree(tracked.tracked_folder("tiny"), ignore_errors=True)
    assert verify.studies() == {"tiny": False}


@pytest.mark.slow
def test_a_study_outside_params_is_left_out_in_one_line_that_says_how_to_verify_it(clone):
    done = subprocess.run([sys.executable, "-m", "lesion_utils", "verify"], capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    assert done.returncode == 0 and line.startswith("tiny: ") and "lesion verify" in line and "tiny.yml" in line


def test_a_study_that_cannot_be_read_is_refused_before_any_is_judged(monkeypatch):
    monkeypatch.setattr(verify, "studies", lambda: {"ham10000": True, "gone": True})
    monkeypatch.setattr(verify, "judged_again", lambda names: pytest.fail("begun"))
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 2 and "gone" in done.output


@pytest.mark.slow
def test_several_studies_are_judged_side_by_side_and_one_that_is_unusable_hides_no_other(output):
    first, second = (f"published/{name}" for name in ("001_as_run", "002_as_run"))
    for name in (first, second):
        shutil.copytree(PROJECT / "reports" / name, output / "reports" / name)
    change_a_digit(tracked.tracked_folder(first) / "as_run/r0/validation.csv.gz", 5)
    kept = tracked.tracked_folder(second) / "as_run/r0/provenance.json"
    content = kept.read_text()
    kept.unlink()
    for code, told in ((2, "unusable"), (1, "agrees")):
        done = subprocess.run(
            [sys.executable, "-m", "lesion_utils", "verify"], capture_output=True, text=True, check=False
        )
        assert done.returncode == code and "Traceback" not in done.stderr
        changed, other, *named = done.stdout.splitlines()
        assert changed.startswith(f"{first}: ") and "difference" in changed and other == f"{second}: {told}"
        assert any("as_run/r0/validation.csv.gz" in line for line in named)
        assert ("provenance.json" in done.stderr) == (code == 2)
        kept.write_text(content)


@pytest.mark.slow
def test_all_that_is_tracked_agrees(monkeypatch):
    monkeypatch.delenv("LESION_OUTPUT")
    found = [
        difference for study, tables in verify.studies().items() if tables for difference in verify.differences(study)
    ]
    assert found + verify.ledger_differences() == []
