"""A trained model as one file: it answers as the study's model does, it is refused when changed, files of any kind."""

import html
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from trained import train_in
from typer.testing import CliRunner

from lesion_utils import model_file, predictions
from lesion_utils.cases import make_case_tables, write_case_tables
from lesion_utils.cli import app
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature
from lesion_utils.paths import report_folder
from lesion_utils.pictures import load_pictures
from lesion_utils.pipeline import CARD
from lesion_utils.study import StudyParams

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),  # Keras with NumPy 2
]


@pytest.fixture(scope="module")
def packed(tiny_study, tmp_path_factory):
    """The tiny study with its recipe ``cnn`` trained and packed; the output folder and the file."""
    folder = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder))
        tables = make_case_tables(tiny_study)
        write_case_tables(tiny_study, tables)
        train_in(tiny_study, "cnn", tables["corrected"])
        card = report_folder("tiny") / CARD
        card.parent.mkdir(parents=True)
        card.write_text("<main>the card</main>")
        model_file.pack(tiny_study, "cnn", card, True, folder / "cnn.lesion")
    return folder, folder / "cnn.lesion", tables["corrected"]


@pytest.fixture
def read(packed, threads):
    return model_file.read(packed[1], threads)


def of_split(cases: pd.DataFrame, split: str) -> pd.DataFrame:
    return cases[cases["split"] == split]


def test_it_answers_as_the_model_of_the_study_after_its_temperature(packed, read, tiny_study, threads, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(packed[0]))
    answer = read.ask(
        load_pictures(of_split(packed[2], "test")["path"], read.about.recipe.backbone.image_size, threads)
    )
    validation, test = (PredictionTable(predictions.read(tiny_study, "cnn", of)) for of in ("validation", "test"))
    expected = apply_temperature(test, fit_temperature(validation, validation.classes)).probabilities
    assert np.abs(answer.probabilities - expected).max() < 1e-4
    assert read.about.classes == tuple(test.classes)
    assert answer.possible.any(axis=1).mean() > 0.9 and answer.unlike.mean() < 0.2


def test_a_network_with_all_that_a_recipe_can_have_is_built_anew_as_it_was(few, threads, tmp_path, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path))
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "cut": "block_3_project_BN", "image_size": (32, 32)}
    backbone |= {"pooling": "average", "scaling": "z_score"}
    recipe = {"backbone": backbone, "standardise": True, "hidden": 8, "cosine_scale": 10, "flip_views": True}
    recipe |= {"phases": [{"train": "head", "epochs": 1}, {"epochs": 1}], "freeze_batch_norm": False, "batch_size": 8}
    study = StudyParams(study="tiny", threads=threads, baseline={"net": recipe}, resamples=100)
    trained = train_in(study, "net", few)
    size = study.recipes["net"].backbone.image_size
    monkeypatch.setattr(model_file, "trained_model", lambda *_: (trained.model_file, trained.provenance, few))
    frames = pd.read_csv(trained.folder / "predictions" / "validation.csv", dtype={"lesion_id": str, "image_id": str})
    monkeypatch.setattr(predictions, "read", lambda *_: frames)
    (tmp_path / "card.html").write_text("card")
    model_file.pack(study, "net", tmp_path / "card.html", True, tmp_path / "net.lesion")
    pictures = load_pictures(few["path"], size, threads)
    scores, _ = model_file.outputs(model_file.read(tmp_path / "net.lesion", threads).network, pictures)
    held_out = (few["split"] == "test").to_numpy()
    assert np.abs(scores[held_out] - trained.probabilities["test"]).max() < 1e-5


def test_the_same_model_gives_the_same_file_with_its_card_and_provenance(packed, tiny_study, tmp_path, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(packed[0]))
    model_file.pack(tiny_study, "cnn", report_folder("tiny") / CARD, True, again := tmp_path / "cnn.lesion")
    assert again.read_bytes() == packed[1].read_bytes()
    with zipfile.ZipFile(again) as archive:
        about = json.loads(archive.read("about.json"))
        card = archive.read("card.html").decode()
    assert card.startswith("<main>the card") and card.endswith("</main>") and "Temperature" in card
    assert about["notes"] and all(html.escape(note) in card for note in about["notes"])  # the study is small
    assert {"recipe", "seed", "cases", "weights", "code"} <= about["trained"].keys()
    assert about["possible_from"].keys() == set(about["classes"]) and about["temperature"] > 0


def changed(file: Path, target: Path, part: str, data: bytes) -> Path:
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name == part else old.read(name))
    return target


def test_a_file_that_was_changed_or_is_something_else_is_refused(packed, tmp_path, threads):
    file, cases = packed[1], {}
    cases["cut"] = tmp_path / "cut.lesion"
    cases["cut"].write_bytes(file.read_bytes()[:-500])
    cases["empty"] = tmp_path / "empty.lesion"
    cases["empty"].touch()
    array = io.BytesIO()
    np.savez(array, **{"0000": np.zeros(3)})
    cases["weights"] = changed(file, tmp_path / "weights.lesion", "weights.npz", array.getvalue())
    cases["about"] = changed(file, tmp_path / "about.lesion", "about.json", b'{"format": 1}')
    cases["missing"] = tmp_path / "missing.lesion"
    for path in cases.values():
        with pytest.raises(InputError, match=rf"{path.name} cannot be read as a model .*Fix:"):
            model_file.read(path, threads)


def test_arrays_that_would_run_code_are_refused(packed, tmp_path, threads):
    ran = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return ran.touch, ()

    array = io.BytesIO()
    np.savez(array, **{"0000": np.array([Harmful()], dtype=object)}, allow_pickle=True)
    with zipfile.ZipFile(packed[1]) as archive:
        about = json.loads(archive.read("about.json"))
    about["digests"]["weights.npz"] = model_file.bytes_digest(array.getvalue())
    path = changed(packed[1], tmp_path / "a.lesion", "weights.npz", array.getvalue())
    path = changed(path, tmp_path / "b.lesion", "about.json", json.dumps(about).encode())
    with pytest.raises(InputError, match="cannot be read as a model"):
        model_file.read(path, threads)
    assert not ran.exists()


def test_photographs_of_other_things_are_unlike_training_and_pictures_of_its_kind_are_not(packed, read, threads):
    size = read.about.recipe.backbone.image_size
    own = read.ask(load_pictures(of_split(packed[2], "test")["path"], size, threads)).unlike
    photographs = np.stack([np.asarray(Image.fromarray(of).resize(size[::-1])) for of in load_sample_images().images])
    assert read.ask(photographs).unlike.all() and own.mean() < 0.15


def test_distances_grow_along_directions_that_training_does_not_have():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 30)) * np.r_[np.full(10, 3.0), np.full(20, 0.1)]
    likeness = model_file.fit_likeness(features)
    near, along, across = np.zeros(30), np.zeros(30), np.zeros(30)
    along[0] = across[29] = 3.0
    first, second, third = model_file.distances(likeness, np.stack([near, along, across]))
    assert first < second < third and third > 100


# the command


def call(*words) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.output


@pytest.fixture
def folder(packed, tmp_path) -> Path:
    """Pictures as people have them: other sizes and forms, grey, transparent, in folders."""
    paths = of_split(packed[2], "test")["path"].head(3)
    target = tmp_path / "mine" / "inner folder"
    target.mkdir(parents=True)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    pictures[0].resize((301, 77)).save(target / "wide.png")
    pictures[1].convert("L").save(target.parent / "grey.JPG", "JPEG")
    pictures[2].convert("RGBA").save(target / "transparent.tif")
    (target / "notes.txt").write_text("no image")
    return target.parent


def test_any_pictures_are_predicted_and_a_second_call_predicts_only_what_is_new(packed, folder, tmp_path, monkeypatch):
    out, options = tmp_path / "p.csv", ["--model", packed[1], "--out", tmp_path / "p.csv"]
    code, said = call("predict", folder, *options)
    assert code == 0 and "3 images predicted by tiny/cnn" in said and "nothing about patients" in said
    first = pd.read_csv(out)
    assert len(first) == 3 and np.allclose(first.filter(like="p_").sum(axis=1), 1, atol=1e-3)
    assert first["problem"].isna().all() and set(first["unlike_training"]) <= {"yes", "no"}
    assert all(row["predicted"] in row["possible"] for _, row in first.dropna(subset="possible").iterrows())
    shutil.copy(folder / "grey.JPG", folder / "new.jpg")
    asked = []
    real = model_file.predict_files
    monkeypatch.setattr(model_file, "predict_files", lambda model, paths: asked.extend(paths) or real(model, paths))
    code, said = call("predict", folder, *options)
    assert code == 0 and [path.name for path in asked] == ["new.jpg"] and "3 of them before" in said
    second = pd.read_csv(out)
    assert len(second) == 4 and second["image"].is_monotonic_increasing
    assert second[second["image"].isin(first["image"])].reset_index(drop=True).equals(first)
    code, said = call("predict", folder / "new.jpg", *options)  # fewer images: the rows of the others stay
    assert code == 0 and "1 image predicted" in said and pd.read_csv(out).equals(second)


def test_a_name_that_a_spreadsheet_would_run_is_written_as_text(packed, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copy("grey.JPG", "=1+2.jpg")
    options = ["--model", packed[1], "--out", tmp_path / "p.csv"]
    assert call("predict", "=1+2.jpg", *options)[0] == 0
    assert pd.read_csv(tmp_path / "p.csv").at[0, "image"] == "'=1+2.jpg"
    code, said = call("predict", "=1+2.jpg", *options)
    assert code == 0 and "1 of them before" in said and len(pd.read_csv(tmp_path / "p.csv")) == 1


def test_a_damaged_picture_has_a_row_with_its_problem_and_the_others_are_predicted(packed, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"no picture")
    options = ["--model", packed[1], "--out", tmp_path / "p.csv"]
    code, said = call("predict", folder, *options)
    assert code == 1 and "broken.png cannot be decoded" in said and "3 images predicted" in said
    rows = pd.read_csv(tmp_path / "p.csv").set_index("image")
    assert rows["problem"].notna().sum() == 1 and rows["predicted"].notna().sum() == 3
    shutil.copy(folder / "grey.JPG", folder / "broken.png")  # mended: it is predicted now
    assert call("predict", folder, *options)[0] == 0


def test_what_cannot_be_used_is_refused_before_any_work(packed, folder, tmp_path):
    out = tmp_path / "p.csv"
    (tmp_path / "nothing").mkdir()
    for words, problem in [
        ([tmp_path / "gone.jpg", "--model", packed[1], "--out", out], "neither a file nor a folder"),
        ([tmp_path / "nothing", "--model", packed[1], "--out", out], "nothing has no picture"),
        ([folder, "--model", packed[1], "--out", tmp_path / "p.txt"], "ends in .csv"),
        ([folder, "--model", folder / "grey.JPG", "--out", out], "cannot be read as a model"),
    ]:
        code, said = call("predict", *words)
        assert code == 2 and problem in said and not out.exists()
    out.write_text("image\nmy own table\n")
    code, said = call("predict", folder, "--model", packed[1], "--out", out)
    assert code == 2 and "made by another model" in said and "my own table" in out.read_text()


def test_a_recipe_that_is_not_trained_cannot_be_packed(packed, tiny_study, tmp_path, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(packed[0]))
    for name, target, problem in [
        ("cnn_over", tmp_path / "a.lesion", "does not exist"),
        ("other", tmp_path / "a.lesion", "has no recipe"),
        ("cnn", tmp_path / "a.keras", "ends in .lesion"),
    ]:
        with pytest.raises(InputError, match=problem):
            model_file.pack(tiny_study, name, report_folder("tiny") / CARD, True, target)
