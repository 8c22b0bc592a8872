"""The audit of anybody's folder: what is planted in a phantom is found, and how folders and tables are read."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

from lesion_utils.checks.any_folder import UNLABELLED, read_folder
from lesion_utils.checks.audit_folder import doubtful_labels
from lesion_utils.cli import app
from lesion_utils.datasets import phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.errors import InputError


def lesion(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


@pytest.fixture
def pictures(tmp_path):
    """Writes small pictures to the given paths of a folder."""

    def write(*names):
        for number, name in enumerate(names):
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 255, (24, 32, 3), np.uint8)
            Image.fromarray(noise).save(path)
        return tmp_path / "pictures"

    return write


def test_folders_are_classes_and_parts(pictures):
    folder = pictures("Train/mel/a.jpg", "Train/nv/b.png", "test/mel/c.jpg", "test/nv/d.jpg")
    cases, notes = read_folder(folder)
    assert cases["label"].tolist() == ["mel", "nv", "mel", "nv"] and cases["image_id"].tolist() == list("abcd")
    assert cases["split"].tolist() == ["train", "train", "test", "test"] and cases["lesion_id"].isna().all()
    assert any("--metadata" in note for note in notes)


def test_pictures_of_one_folder_have_no_label_and_equal_names_keep_their_folder(pictures):
    cases, _ = read_folder(pictures("x/a.jpg", "x/b.jpg"))
    assert set(cases["label"]) == {UNLABELLED} and "split" not in cases
    cases, _ = read_folder(pictures("y/a.jpg"))
    assert sorted(cases["image_id"]) == ["x/a", "x/b", "y/a"]


def test_a_table_names_everything(pictures, tmp_path):
    folder = pictures("a.jpg", "b.jpg", "c.jpg")
    table = tmp_path / "table.csv"
    table.write_text(
        "isic_id,diagnosis,patient_id,age_approx,sex,set\na,mel,P1,55,male,train\nb.jpg,nv,-1,,unknown,test\n"
    )
    cases, notes = read_folder(folder, table)
    assert cases["image_id"].tolist() == ["a", "b.jpg"] and cases["label"].tolist() == ["mel", "nv"]
    assert cases["lesion_id"].tolist() == ["P1", None] and cases["sex"].tolist() == ["male", None]
    assert cases["age"].tolist()[0] == 55 and cases["split"].tolist() == ["train", "test"]
    assert any("1 pictures have no row" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "facts"),
    [("image_id,dx\nz,mel\n", ["z", "no picture"]), ("name,dx\na,mel\n", ["image ids"]), ("image_id\na\na\n", ["a"])],
)
def test_a_table_that_does_not_fit_is_refused(pictures, tmp_path, text, facts):
    folder, table = pictures("a.jpg", "b.jpg"), tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(InputError) as caught:
        read_folder(folder, table)
    assert all(fact in str(caught.value) for fact in facts)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = lesion(folder)
        assert result.exit_code == 2 and str(folder) in result.output


def test_wrong_labels_are_ranked_first():
    """Of 200 labels, 6 are swapped; the model is right about them."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    given = truth.copy()
    given[:6] = 1 - given[:6]
    scores = np.clip(0.85 * np.eye(2)[truth] + 0.15 * rng.random((200, 1)), 0.02, 0.98)
    scores /= scores.sum(1, keepdims=True)
    names = np.array(["mel", "nv"])
    cases = pd.DataFrame({"image_id": [f"i{number}" for number in range(200)], "label": names[given]})
    predictions = cases.assign(p_mel=scores[:, 0], p_nv=scores[:, 1])
    found = doubtful_labels(cases, predictions)
    assert set(found["image_id"][:6]) == {f"i{number}" for number in range(6)} and len(found) < 12
    assert (found["suggested"][:6] == names[truth[:6]][[int(image[1:]) for image in found["image_id"][:6]]]).all()
    with pytest.raises(InputError, match="i3"):
        doubtful_labels(cases.drop(index=3), predictions)


@pytest.mark.slow
def test_what_is_planted_is_found(tmp_path):
    """Duplicates and conflicting labels of a phantom; and a photograph and its mirror image under two lesion ids."""
    folder = phantom.write(tmp_path / "phantom", Phantom(lesions=60, duplicates=4, conflicting_labels=3))
    metadata = folder / "HAM10000_metadata.csv"
    truth = pd.read_csv(folder / "phantom_truth.csv", keep_default_na=False)
    shown = next(folder.rglob("*.jpg"))
    flower = Image.fromarray(load_sample_images().images[1]).resize((150, 100))
    flower.save(shown.with_name("photo_1.jpg"))
    flower.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(shown.with_name("photo_2.jpg"))
    table = pd.read_csv(metadata)
    for number in (1, 2):
        table.loc[len(table)] = table.iloc[0].to_dict() | {
            "image_id": f"photo_{number}",
            "lesion_id": f"PHOTO_{number}",
        }
    table.to_csv(metadata, index=False)
    page, sheet = tmp_path / "audit.html", tmp_path / "sheet.png"
    result = lesion(folder, "--metadata", metadata, "--json", "--html", page, "--sheet", sheet)
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    pairs = {frozenset((row["first"], row["second"])): row for row in found["twins"]}
    assert pairs[frozenset(("photo_1", "photo_2"))]["mirrored"]
    planted = truth[truth["conflict_of"] != ""]
    labels = [row for row in found["found"] if row["severity"] == "label"]
    assert len(planted) == 3 and any(row["groups"] == 3 for row in labels)
    assert any(row["what"] == "same pixels" for row in found["found"])
    assert {row["probe"] for row in found["shortcuts"]} >= {"frame", "file"}
    html = page.read_text()
    assert "photo_1" in html and "<img" not in html and sheet.stat().st_size > 10_000


@pytest.mark.slow
def test_a_clean_folder_exits_0(phantom_folder, tmp_path):
    folder = shutil.copytree(phantom_folder, tmp_path / "clean")
    result = lesion(folder, "--metadata", folder / "HAM10000_metadata.csv")
    assert result.exit_code == 0, result.output
    assert "macro AUC" in result.output
