"""Tracked prediction tables: what is kept beside the reports, and when it is taken instead of training."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from trained import train_in

from lesion_utils import predictions, tracked, training
from lesion_utils.cases import make_case_tables, read_written_cases, write_case_tables
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, run_folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny_study):
    """The output folder of a study that trained one recipe and kept it; tests work on copies."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder))
        tables = make_case_tables(tiny_study)
        write_case_tables(tiny_study, tables)
        trained = train_in(tiny_study, "cnn", tables["corrected"])
        tracked.keep(tiny_study, "02_baseline_cnn")
    return folder, tables["corrected"], trained


@pytest.fixture
def fresh(kept, output, monkeypatch):
    """The reports alone, as in a fresh clone; there, another training is an error of its own kind."""
    shutil.copytree(kept[0] / "reports", output / "reports")

    def fail(*args):
        raise RuntimeError("trained again")

    monkeypatch.setattr(training, "_Training", fail)
    return kept[1]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tables_history_and_what_made_them_are_kept_small_and_written_once(kept, tiny_study, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(kept[0]))
    folder = tracked.tracked_folder("tiny")
    names = ["history.csv.gz", "provenance.json", "test.csv.gz", "validation.csv.gz"]
    assert set(files(folder)) == {"README.md", "cases.csv.gz", *(f"cnn/r0/{name}" for name in names)}
    provenance = json.loads((folder / "cnn/r0/provenance.json").read_text())
    assert {"recipe", "cases", "seed", "threads", "weights", "code", "commit"} <= set(provenance)
    assert "CC BY-NC 4.0" in (folder / "README.md").read_text()
    before = files(folder)
    tracked.keep(tiny_study, "02_baseline_cnn")
    assert files(folder) == before
    shutil.rmtree(folder)
    tracked.keep(tiny_study, "02_baseline_cnn")
    assert files(folder) == before
    assert all(data[4:8] == bytes(4) for name, data in before.items() if name.endswith(".gz"))  # no time


def test_a_tracked_training_of_the_same_provenance_is_taken_and_its_files_are_the_same(kept, fresh, tiny_study):
    again = train_in(tiny_study, "cnn", fresh)
    assert again.history.equals(kept[2].history)
    assert np.allclose(again.probabilities["test"], kept[2].probabilities["test"], atol=1e-5)
    made, before = files(run_folder("tiny") / "models"), files(kept[0] / "runs/tiny/models")
    assert made and made == {name: before[name] for name in made}


def test_only_what_a_notebook_trained_replaces_what_is_tracked(kept, fresh, tiny_study, output):
    shutil.copytree(kept[0] / "runs", output / "runs")
    path = output / "reports/tiny/predictions/cnn/r0/provenance.json"
    newer = json.dumps(json.loads(path.read_text()) | {"commit": "newer"})
    path.write_text(newer)
    for notebook, run in (("01_eda", 0), ("03_augmentation_rebalancing", 0), ("02_baseline_cnn", 1)):
        tracked.keep(tiny_study.model_copy(update={"run": run, "runs": 2}), notebook)
        assert path.read_text() == newer
    tracked.keep(tiny_study, "02_baseline_cnn")
    assert path.read_text() != newer


@pytest.mark.slow
def test_any_other_provenance_trains_again(fresh, tiny_study, output):
    recipe = tiny_study.recipes["cnn"]
    for update in ({"seed": 5}, {"baseline": {"cnn": recipe.model_copy(update={"batch_size": 16})}}):
        with pytest.raises(RuntimeError, match="trained again"):
            train_in(tiny_study.model_copy(update=update), "cnn", fresh)
    path = output / "reports/tiny/predictions/cnn/r0/provenance.json"
    provenance = json.loads(path.read_text())
    for name in ("cases", "threads", "weights", "pictures"):
        path.write_text(json.dumps(provenance | {name: "another"}))
        with pytest.raises(RuntimeError, match="trained again"):
            train_in(tiny_study, "cnn", fresh)


def test_tables_of_other_code_are_taken_unless_this_machine_trained_the_model(kept, fresh, tiny_study, output):
    path = output / "reports/tiny/predictions/cnn/r0/provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code": "older", "commit": "abc"}))
    assert train_in(tiny_study, "cnn", fresh).provenance["commit"] == "abc"
    assert train_in(tiny_study, "cnn", fresh).provenance["commit"] == "abc"
    shutil.rmtree(output / "runs/tiny/models")
    shutil.copytree(kept[0] / "runs/tiny/models", output / "runs/tiny/models")
    own = output / "runs/tiny/models/cnn/r0/provenance.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"code": "older"}))
    with pytest.raises(RuntimeError, match="trained again"):
        train_in(tiny_study, "cnn", fresh)


def test_asked_for_tables_are_taken_whatever_the_code_but_not_of_another_recipe(fresh, tiny_study, output, monkeypatch):
    monkeypatch.setenv(tracked.FROM_TRACKED, "1")
    path = output / "reports/tiny/predictions/cnn/r0/provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code": "older", "commit": "abc"}))
    assert train_in(tiny_study, "cnn", fresh).provenance["commit"] == "abc"
    assert predictions.read_provenance(tiny_study, "cnn", "test")["commit"] == "abc"
    for name, study in (("cnn", tiny_study.model_copy(update={"seed": 5})), ("cnn_over", tiny_study)):
        with pytest.raises(InputError, match=r"tracked tables.*Fix: run the study without --from-predictions"):
            train_in(study, name, fresh)


def test_a_training_that_the_study_no_longer_has_is_no_longer_kept(kept, fresh, tiny_study, output):
    shutil.copytree(kept[0] / "runs", output / "runs")
    tracked.keep(tiny_study.model_copy(update={"baseline": {}}))
    assert not list(tracked.tracked_folder("tiny").glob("*/r*"))
    assert run_folder("tiny").is_dir() and pd.read_csv(tracked.tracked_folder("tiny") / "cases.csv.gz").shape[0] > 100


def test_tracked_cases_can_be_read_as_written_ones(kept, fresh, tiny_study, tmp_path, monkeypatch):
    study = tiny_study.model_copy(update={"rebalancing": {}})
    tracked.take_all(study, tmp_path / "apart")
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path / "apart"))
    columns = ["image_id", "lesion_id", "label", "split"]
    pd.testing.assert_frame_equal(read_written_cases(study)[columns], kept[1][columns])


def test_a_table_of_the_size_of_ham10000s_test_split_has_at_most_60_kb(tmp_path):
    tables = sorted((PROJECT / "benchmarks/augmentation_tables").glob("*_test.csv.gz"))
    assert tables
    for path in tables:
        table = pd.read_csv(path, dtype={"image_id": str, "lesion_id": str})
        tracked._keep(tmp_path / path.name, predictions.as_csv(table))
        assert (tmp_path / path.name).stat().st_size <= 60_000


def test_a_changed_digit_is_found(fresh, tiny_study):
    path = tracked.tracked_folder("tiny") / "cnn/r0/test.csv.gz"
    assert tracked.changed_files("tiny") == []
    text = tracked._text(path)
    place = text.index(",0.") + 4
    tracked._keep(path, text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    assert tracked.changed_files("tiny") == [path]
