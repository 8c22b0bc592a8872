"""A trained model on another set: images it has seen are refused, classes are mapped, the table can be judged."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from trained import train_in
from typer.testing import CliRunner

from lesion_utils.cases import make_case_tables, write_case_tables
from lesion_utils.checks import other_images
from lesion_utils.checks.other_images import predict_folder
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000, isic9, isic2018
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.paths import run_folder
from lesion_utils.pictures import load_pictures
from lesion_utils.predictions import classes_of, is_leaky, probabilities, validate
from lesion_utils.runtime import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras with NumPy 2


@pytest.fixture(scope="module")
def trained_folder(tiny_study, tmp_path_factory) -> Path:
    """An output folder in which the recipe ``cnn`` of the tiny study is trained."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder))
        tables = make_case_tables(tiny_study)
        write_case_tables(tiny_study, tables)
        train_in(tiny_study, "cnn", tables["corrected"])
    return folder


@pytest.fixture
def study(tiny_study, trained_folder, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(trained_folder))
    return tiny_study


@pytest.fixture
def table_file(tmp_path) -> Path:
    return tmp_path / "other.csv"


def with_images(isic2018_folder: Path, target: Path, images: list[tuple[str, str, str]]) -> Path:
    """A copy of the ISIC 2018 set with further images: (path, image id, class)."""
    folder = Path(shutil.copytree(isic2018_folder, target))
    table = pd.read_csv(folder / f"{isic2018.TRUTH}.csv")
    for path, name, label in images:
        shutil.copy(path, folder / isic2018.IMAGES / f"{name}.jpg")
        table.loc[len(table)] = [name, *[float(label.upper() == one) for one in isic2018.MARKS]]
    table.to_csv(folder / f"{isic2018.TRUTH}.csv", index=False)
    return folder


def refused(*args) -> str:
    with pytest.raises(InputError) as error:
        predict_folder(*args)
    return str(error.value)


# what is written


def test_the_isic_2018_set_is_scored_by_the_model_as_it_is_and_judged(study, isic2018_folder, table_file):
    table, known = predict_folder(study, "cnn", isic2018_folder, table_file)
    cases = isic2018.read(isic2018_folder)
    assert known.empty and not is_leaky(table)
    read = validate(pd.read_csv(table_file), table_file)
    assert read[["image_id", "lesion_id", "label"]].equals(cases[["image_id", "lesion_id", "label"]])
    assert classes_of(read) == list(ham10000.CLASSES)
    model = keras.models.load_model(run_folder("tiny") / "models" / "cnn" / "r0" / "model.keras")
    pictures = np.asarray(
        load_pictures(cases["path"], study.recipes["cnn"].backbone.image_size, study.threads), np.float32
    )
    assert np.allclose(probabilities(read), model.predict(pictures, verbose=0), atol=1e-6)
    assert judge(PredictionTable(read, 100)).loc["accuracy", "n"] == len(cases)
    provenance = json.loads(table_file.with_suffix(".json").read_text())
    assert (provenance["n"], provenance["known to the model"], provenance["set"]) == (len(cases), 0, "isic2018")
    assert provenance["classes"] == classes_of(read) and provenance["model"]["seed"] == study.seed


def test_what_the_set_tells_of_the_patients_goes_into_the_table(study, isic2018_folder, table_file):
    drawn = isic2018_folder.parent / "drawn"
    table, _ = predict_folder(study, "cnn", drawn, table_file)
    cases = ham10000.read(drawn)
    for column in ("age", "sex", "localization", "source"):
        assert table[column].equals(cases[column])
    bare, _ = predict_folder(study, "cnn", isic2018_folder, table_file)
    assert not {"age", "sex", "localization", "source"} & set(bare)
    assert np.array_equal(probabilities(bare), probabilities(table))


# what the model knows


def test_the_images_of_training_and_validation_are_refused_and_those_of_test_are_not(
    study, isic2018_folder, table_file, tmp_path
):
    own = make_case_tables(study)["corrected"]
    own["path"] = own["path"].astype(str)
    seen = [own[own["split"] == split].iloc[0] for split in ("train", "validation")]
    test = own[own["split"] == "test"].iloc[0]
    # one under its own id, one under another id: its pixels tell
    images = [(case["path"], name, case["label"]) for case, name in zip(seen, [seen[0]["image_id"], "A"], strict=True)]
    folder = with_images(isic2018_folder, tmp_path / "more", [*images, (test["path"], test["image_id"], test["label"])])
    message = refused(study, "cnn", folder, table_file)
    assert "has seen 2 of the " in message and f"A, {seen[0]['image_id']}. " in message and "--allow-leak" in message
    assert not table_file.exists()
    table, known = predict_folder(study, "cnn", folder, table_file, True)
    assert sorted(known["image_id"]) == sorted(["A", seen[0]["image_id"]])
    assert is_leaky(table) and pd.read_csv(table_file)["leaky"].all()
    assert json.loads(table_file.with_suffix(".json").read_text())["known to the model"] == 2


def test_another_image_of_a_lesion_of_training_is_refused(study, isic2018_folder, table_file, tmp_path):
    own = make_case_tables(study)["corrected"]
    folder = Path(shutil.copytree(isic2018_folder.parent / "drawn", tmp_path / "drawn"))
    table = pd.read_csv(folder / "HAM10000_metadata.csv")
    table.loc[0, "lesion_id"] = own.loc[own["split"] == "train", "lesion_id"].iloc[0]
    table.to_csv(folder / "HAM10000_metadata.csv", index=False)
    assert f"has seen 1 of the {len(table)} images" in refused(study, "cnn", folder, table_file)


# classes


def test_a_9_class_set_is_judged_by_ham10000s_classes(study, isic9_folder, table_file):
    table, _ = predict_folder(study, "cnn", isic9_folder, table_file)
    cases = isic9.read(isic9_folder, None)
    assert dict(zip(table["image_id"], table["label"], strict=True)) == dict(
        zip(cases["image_id"], cases["label"].map(isic9.TO_HAM10000), strict=True)
    )
    assert classes_of(table) == list(ham10000.CLASSES)


def test_a_model_of_the_9_classes_sums_those_that_ham10000_holds_in_one():
    cases = pd.DataFrame({"image_id": ["a"], "label": ["akiec"]})
    nine = sorted(isic9.CLASSES)
    shown, mapped = other_images._classes_and_labels(nine, cases, Path("x"))
    assert dict(zip(nine, shown, strict=True)) == isic9.TO_HAM10000 and list(mapped["label"]) == ["akiec"]
    nine_cases = cases.assign(label="squamous cell carcinoma")
    assert other_images._classes_and_labels(nine, nine_cases, Path("x"))[0] == nine
    shown, mapped = other_images._classes_and_labels(
        ["pigmented benign keratosis", "nevus"], pd.DataFrame({"label": ["seborrheic keratosis", "nevus"]}), Path("x")
    )
    assert list(mapped["label"]) == ["bkl", "nv"] and shown == ["bkl", "nv"]
    with pytest.raises(InputError, match=r"wart\. Expected some of akiec, mel"):
        other_images._classes_and_labels(["akiec", "mel"], cases.assign(label="wart"), Path("x"))


def test_probabilities_of_classes_that_become_one_are_summed():
    nine = sorted(isic9.CLASSES)
    scores = np.random.default_rng(0).dirichlet(np.ones(9), 20)
    names, summed = other_images._summed([isic9.TO_HAM10000[name] for name in nine], scores)
    assert names == list(ham10000.CLASSES)
    by_name = dict(zip(nine, scores.T, strict=True))
    assert np.allclose(summed[:, 0], by_name["actinic keratosis"] + by_name["squamous cell carcinoma"])
    assert np.allclose(summed[:, 2], by_name["pigmented benign keratosis"] + by_name["seborrheic keratosis"])
    assert np.allclose(summed[:, 4], by_name["melanoma"]) and np.allclose(summed.sum(1), 1)
    assert np.array_equal(other_images._summed(["a", "b"], scores[:, :2])[1], scores[:, :2])


# what is refused


def test_a_recipe_that_the_study_has_not_or_that_is_not_trained(study, isic2018_folder, table_file):
    assert "has no recipe 'net'; it has cnn, cnn_over." in refused(study, "net", isic2018_folder, table_file)
    message = refused(study, "cnn_over", isic2018_folder, table_file)
    assert "validation.json does not exist" in message and "Fix: make study STUDY=tiny" in message


@pytest.mark.parametrize(
    ("values", "other"),
    [({"seed": 5}, "seed"), ({"split_seed": 1}, "split_seed"), ({"baseline": {"cnn": {}}}, "recipe")],
)
def test_a_model_of_other_parameters(study, isic2018_folder, table_file, values, other):
    changed = type(study)(**(study.model_dump() | values))
    message = refused(changed, "cnn", isic2018_folder, table_file)
    assert re.search(rf"was made (with|by) another {other}\b.*\. Fix: make study", message)


def test_a_table_that_is_no_csv_and_a_folder_of_no_layout(study, isic2018_folder, tmp_path):
    assert "'x.json'" in refused(study, "cnn", isic2018_folder, tmp_path / "x.json")
    assert "layout" in refused(study, "cnn", tmp_path, tmp_path / "x.csv")


def test_a_damaged_picture_is_named(study, isic2018_folder, tmp_path, table_file):
    folder = Path(shutil.copytree(isic2018_folder, tmp_path / "spoilt"))
    image = sorted((folder / isic2018.IMAGES).iterdir())[2]
    image.write_bytes(image.read_bytes()[:300])
    assert f"{image.name} cannot be decoded" in refused(study, "cnn", folder, table_file)


# the command


def test_the_command_scores_and_says_what_it_did(study, isic2018_folder, tmp_path, table_file):
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    words = ["predict-set", str(tmp_path / "tiny.yml"), "cnn"]
    done = CliRunner().invoke(app, [*words, str(isic2018_folder), "--output", str(table_file)])
    assert done.exit_code == 0, done.output
    n = len(isic2018.read(isic2018_folder))
    assert f"{n} images in" in done.output and "Leaky" not in done.output
    assert "No lesions are given" in done.output
    assert len(pd.read_csv(table_file)) == n
    seen = [*words, study.data, "--output", str(table_file)]
    done = CliRunner().invoke(app, seen)
    assert done.exit_code == 2 and "error: the model has seen" in done.output
    done = CliRunner().invoke(app, [*seen, "--allow-leak"])
    assert done.exit_code == 0 and "Leaky: the model has seen" in done.output
    assert "No lesions" not in done.output
    assert is_leaky(pd.read_csv(table_file))
