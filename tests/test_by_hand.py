"""Notebooks run by hand: they read what the study's jobs made where it is the same, and never write there."""

import pytest
from trained import train_in

from lesion_utils import predictions, training
from lesion_utils.cases import make_case_tables, read_case_tables, write_case_tables
from lesion_utils.errors import InputError
from lesion_utils.paths import BY_HAND, JOB, report_folder, run_folder
from lesion_utils.study import notebook_params

pytestmark = pytest.mark.slow  # each test trains


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture
def by_hand(tiny_study, output, monkeypatch):
    """The files of a study whose jobs split and trained one recipe; what follows is by hand."""
    tables = make_case_tables(tiny_study)
    write_case_tables(tiny_study, tables)
    train_in(tiny_study, "cnn", tables["corrected"])
    monkeypatch.setenv(BY_HAND, "1")
    return output / "runs" / "tiny"


def test_a_notebook_that_no_job_runs_is_by_hand(monkeypatch, output):
    monkeypatch.setenv(JOB, "1")
    notebook_params({"study": "tiny"})
    assert (run_folder("tiny"), report_folder("tiny")) == (output / "runs/tiny", output / "reports/tiny")
    monkeypatch.delenv(JOB)
    notebook_params({"study": "tiny"})
    assert (run_folder("tiny"), report_folder("tiny")) == (
        output / "runs/by_hand/tiny",
        output / "runs/by_hand/tiny/reports",
    )


def test_what_the_jobs_made_is_used_where_it_is_the_same(by_hand, tiny_study, monkeypatch):
    before = files(by_hand)
    cases = read_case_tables(tiny_study)["corrected"]
    monkeypatch.setattr(training, "_Training", None)  # another training would fail
    trained = train_in(tiny_study, "cnn", cases)
    assert trained.folder == by_hand / "models/cnn/r0"
    assert predictions.read_provenance(tiny_study, "cnn", "test")["path"].is_relative_to(by_hand)
    assert files(by_hand) == before and not run_folder("tiny").exists()


def test_tables_of_another_split_are_not_read(by_hand, tiny_study):
    other = tiny_study.model_copy(update={"split_seed": 7})
    write_case_tables(other, make_case_tables(other))
    with pytest.raises(InputError, match=r"another cases.*Fix: run notebooks/02_baseline_cnn\.ipynb with the same"):
        predictions.read(other, "cnn", "test")
    train_in(other, "cnn", read_case_tables(other)["corrected"])  # the Fix
    ours, jobs = (predictions.read(study, "cnn", "test") for study in (other, tiny_study))
    assert set(ours["image_id"]) != set(jobs["image_id"])


def test_other_parameters_are_written_and_read_apart_and_the_jobs_files_stay(by_hand, tiny_study):
    before, cases = files(by_hand), read_case_tables(tiny_study)["corrected"]
    other = tiny_study.model_copy(update={"seed": 5})
    with pytest.raises(InputError, match=r"another seed.*Fix: run notebooks/02_baseline_cnn\.ipynb with the same"):
        predictions.read(other, "cnn", "test")
    train_in(other, "cnn", cases)  # the Fix
    ours, jobs = (predictions.read(study, "cnn", "test") for study in (other, tiny_study))
    assert not ours.equals(jobs)
    assert (run_folder("tiny") / "models" / "cnn/r0/predictions/test.csv").is_file() and files(by_hand) == before


def test_another_split_by_hand_needs_notebook_01_by_hand(by_hand, tiny_study):
    before, other = files(by_hand), tiny_study.model_copy(update={"split_seed": 3})
    with pytest.raises(InputError, match=r"another split_seed. Fix: run notebooks/01_eda\.ipynb with the same"):
        read_case_tables(other)
    write_case_tables(other, make_case_tables(other))  # the Fix
    splits = [read_case_tables(study)["corrected"]["split"] for study in (other, tiny_study)]
    assert not splits[0].equals(splits[1]) and files(by_hand) == before
