"""A model handed over: every form gives its probabilities, and the folder alone is enough to judge it again."""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from lesion_utils import figures
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000, isic2018
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, classification_report, judge, sentence
from lesion_utils.models import build, finished
from lesion_utils.pictures import load_pictures
from lesion_utils.pipeline import EVALUATED
from lesion_utils.predictions import probabilities, validate
from lesion_utils.published import handover
from lesion_utils.recipes import Recipe
from lesion_utils.runtime import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras with NumPy 2

RECIPE = Recipe(backbone={"image_size": (24, 32)}, hidden=16, exports=("saved_model", "h5", "pickle"))
FORMS = ["model.keras", "saved_model", "model.h5", "model.pkl"]
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2],
        "loss": [1.9, 1.7],
        "accuracy": [0.5, 0.6],
        "val_loss": [1.8, 1.75],
        "val_accuracy": [0.4, 0.55],
        "train": ["head", "all"],
    }
)


@pytest.fixture(scope="module")
def cases(phantom_folder) -> pd.DataFrame:
    """The phantom's cases, a third of them for test; lesion ids of their own, which the folder does not have."""
    cases = ham10000.read(phantom_folder)
    splits = np.array(["train", "validation", "test"])[np.arange(len(cases)) % 3]
    return cases.assign(split=splits, lesion_id="study_" + cases["lesion_id"])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return finished(build(RECIPE, len(ham10000.CLASSES), None, 0), RECIPE)


@pytest.fixture(scope="module")
def scores(model, cases, threads, tmp_path_factory) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(tmp_path_factory.mktemp("pixels")))
        pictures = np.asarray(load_pictures(cases["path"], RECIPE.backbone.image_size, threads), np.float32)
    return {split: model.predict(pictures[cases["split"] == split], verbose=0) for split in ("validation", "test")}


@pytest.fixture(scope="module")
def exported(model, cases, scores, tmp_path_factory) -> Path:
    """An exported folder; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("exported") / "r0"
    folder.mkdir()
    model.save(folder / "model.keras")
    handover.write(folder, model, HISTORY, cases, RECIPE, scores, source="Phantom (made-up pictures)")
    return folder


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    """A copy of the exported folder that the test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def evaluate(*words) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    return done.exit_code, done.output


def refused(call, *args) -> str:
    with pytest.raises(InputError) as error:
        call(*args)
    return str(error.value)


# what is written


def test_what_is_written_is_what_is_listed(exported):
    assert handover.names(RECIPE) == ("saved_model", "model.h5", "model.pkl", "history.npy", "about.json")
    assert {path.name for path in exported.iterdir()} == {*handover.names(RECIPE), "model.keras"}
    assert handover.names(Recipe()) == ()
    assert handover.names(Recipe(exports=["h5"])) == ("model.h5", "history.npy", "about.json")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_models_probabilities_whatever_the_type_and_number_of_pictures(exported, model, form):
    pictures = np.random.default_rng(1).integers(0, 256, (70, 24, 32, 3), np.uint8)
    predict = handover.load(exported / form, trusted=True)
    expected = model.predict(pictures.astype(np.float32), verbose=0)
    assert np.allclose(predict(pictures), expected, atol=1e-6) and expected.std() > 1e-3
    assert np.allclose(predict(pictures[:3].astype(np.float32)), expected[:3], atol=1e-6)


@pytest.mark.slow
def test_the_saved_model_serves_without_this_project(exported, model):
    code = (
        "import sys, numpy, tensorflow as tf; loaded = tf.saved_model.load(sys.argv[1]);"
        "pictures = tf.fill((2, 24, 32, 3), 99.0);"
        "print(*loaded.signatures['serving_default'](pictures)['output_0'][0].numpy().tolist());"
        "print('lesion_utils' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(exported / "saved_model")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=exported)
    *values, imported = done.stdout.split()
    expected = model.predict(np.full((2, 24, 32, 3), 99.0, np.float32), verbose=0)
    assert np.allclose([float(one) for one in values], expected[0], atol=1e-5) and imported == "False"


def test_the_history_is_read_without_a_pickle_and_by_its_fields(exported):
    array = np.load(exported / "history.npy", allow_pickle=False)
    assert array["val_loss"].tolist() == [1.8, 1.75] and array["train"].tolist() == ["head", "all"]
    assert handover.read_history(exported).to_dict("list") == HISTORY.to_dict("list")


def test_about_has_the_classes_the_reported_cases_and_what_made_the_model(exported, cases, scores):
    about, test = handover.read_about(exported), cases[cases["split"] == "test"]
    assert about.classes == tuple(sorted(ham10000.CLASSES)) and about.image_size == (24, 32)
    assert (about.part, about.leaky, about.source) == ("test", False, "Phantom (made-up pictures)")
    for column in ("image_id", "lesion_id", "label"):
        assert [getattr(case, column) for case in about.cases] == test[column].tolist()
    named = np.array(about.classes)[scores["test"].argmax(1)]
    assert about.accuracy == pytest.approx((named == test["label"]).mean())
    assert Recipe(**about.recipe) == RECIPE and about.versions["keras"] == keras.__version__


def test_the_digest_of_the_weights_differs_between_models(exported, cases, scores, tmp_path):
    recipe = RECIPE.model_copy(update={"exports": ("pickle",)})
    for seed in (0, 1):
        other = build(RECIPE, len(ham10000.CLASSES), None, seed).whole
        handover.write(tmp_path / str(seed), other, HISTORY, cases, recipe, scores)
    digests = [handover.read_about(folder).weights for folder in (exported, tmp_path / "0", tmp_path / "1")]
    assert digests[0] == digests[1] != digests[2]


def test_without_a_test_split_validation_is_what_was_reported(model, cases, scores, tmp_path):
    recipe = RECIPE.model_copy(update={"exports": ("pickle",)})
    trained = cases.assign(split=cases["split"].replace({"test": "train"}))
    handover.write(tmp_path, model, HISTORY, trained, recipe, {"validation": scores["validation"]}, leaky=True)
    about = handover.read_about(tmp_path)
    assert (about.part, about.leaky) == ("validation", True)
    assert len(about.cases) == (trained["split"] == "validation").sum()


def test_forms_of_an_earlier_recipe_do_not_stay(copied, model, cases, scores):
    handover.write(copied, model, HISTORY, cases, RECIPE.model_copy(update={"exports": ("h5",)}), scores)
    assert {path.name for path in copied.iterdir()} == {"model.keras", "model.h5", "history.npy", "about.json"}
    handover.write(copied, model, HISTORY, cases, Recipe(backbone={"image_size": (24, 32)}), scores)
    assert {path.name for path in copied.iterdir()} == {"model.keras"}


def test_a_job_killed_half_way_leaves_no_about_and_the_next_one_starts_afresh(
    copied, model, cases, scores, monkeypatch
):
    def killed(model, form, path: Path):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(handover, "_save", killed)
        handover.write(copied, model, HISTORY, cases, RECIPE, scores)
    assert "about.json" in refused(handover.read_about, copied)
    handover.write(copied, model, HISTORY, cases, RECIPE, scores)
    assert {path.name for path in copied.iterdir()} == {*handover.names(RECIPE), "model.keras"}
    with pytest.raises(KeyError):
        handover.write(copied, model, HISTORY, cases, RECIPE, {})
    assert not (copied / "about.json").exists()


def test_a_form_that_does_not_give_the_models_probabilities_is_refused(model, cases, scores, tmp_path, monkeypatch):
    other = build(RECIPE, len(ham10000.CLASSES), None, 5).whole
    monkeypatch.setattr(handover, "_save", lambda _model, _form, path: path.write_bytes(pickle.dumps(other)))
    recipe = RECIPE.model_copy(update={"exports": ("pickle",)})
    message = refused(handover.write, tmp_path, model, HISTORY, cases, recipe, scores)
    assert "model.pkl" in message and "by up to 0." in message and "take pickle out" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"flip_views": True}, "flip_views"),
        ({"standardise": True}, "standardise"),
        ({"backbone": {"name": "inception_resnet_v2", "image_size": (75, 75)}}, "backbone inception_resnet_v2"),
    ],
)
def test_what_an_h5_file_cannot_hold_is_refused_before_training(values, named):
    message = refused(handover.names, Recipe(exports=["saved_model", "h5"], **values))
    assert f".h5 file cannot hold a model with {named}. " in message and "Fix: `exports: [saved" in message
    assert handover.names(Recipe(exports=["saved_model", "pickle"], **values))


def test_the_forms_are_written_without_a_word(model, tmp_path, capfd):
    for form, name in handover.FORMS.items():
        handover._save(model, form, tmp_path / name)
    assert capfd.readouterr() == ("", "")


# what is loaded


def test_a_pickle_is_loaded_only_by_who_trusts_it(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "broken into"),)

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    message = refused(handover.load, path)
    assert "any program" in message and "--trust" in message
    assert refused(handover.load, tmp_path) == message  # found in its folder, too
    assert not (tmp_path / "broken into").exists()
    assert "NoneType" in refused(handover.load, path, True)
    assert (tmp_path / "broken into").exists()


def test_a_folder_is_its_first_model_and_never_a_pickle_where_there_is_another(copied):
    assert handover.model_in(copied) == copied / "model.keras"
    for form, following in itertools.pairwise(FORMS):
        (shutil.rmtree if form == "saved_model" else os.remove)(copied / form)
        assert handover.model_in(copied) == copied / following


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_model_is_named(copied, form):
    path = copied / form
    spoilt = path / "saved_model.pb" if form == "saved_model" else path
    spoilt.write_bytes(spoilt.read_bytes()[:50])
    message = refused(handover.load, path, True)
    assert f"{path} cannot be loaded as a model (" in message and "Fix: copy it again" in message


def test_a_saved_model_whose_weights_are_damaged_is_named(copied):
    (weights,) = (copied / "saved_model" / "variables").glob("*.data*")
    weights.write_bytes(weights.read_bytes()[:100])
    assert "saved_model cannot be loaded as a model (" in refused(handover.load, copied / "saved_model", True)


def test_what_is_no_model(tmp_path):
    assert "nowhere: no model. Expected a folder with one of model.keras" in refused(
        handover.load, tmp_path / "nowhere"
    )
    assert "no model. Expected a folder with" in refused(handover.load, tmp_path)
    (tmp_path / "model.txt").write_text("x")
    assert "model.txt: no model. Expected" in refused(handover.load, tmp_path / "model.txt")


def test_pictures_of_another_size(exported):
    message = refused(handover.load(exported), np.zeros((1, 32, 24, 3), np.uint8))
    assert "(32, 24, 3)" in message and message.endswith("(24, 32, 3).")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "Invalid JSON"), ('{"classes": []}', "image_size: Field required"), (None, "No such file")],
)
def test_an_about_that_is_missing_or_something_else(copied, text, problem):
    (copied / "about.json").unlink()
    if text is not None:
        (copied / "about.json").write_text(text)
    message = refused(handover.read_about, copied)
    assert problem in message and "Fix: copy the whole folder again, or make study." in message


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array({"loss": [1.0]}, object), "history.npy cannot be read (Object arrays cannot be loaded"),
        (np.zeros(3), "Expected one record per epoch with loss, accuracy, val_loss, val_accuracy"),
        (np.zeros(3, [("loss", float), ("accuracy", float), ("val_loss", float)]), "no field of name val_accuracy"),
    ],
)
def test_a_history_of_something_else(copied, array, problem):
    np.save(copied / "history.npy", array, allow_pickle=True)
    assert problem in refused(handover.read_history, copied)
    (copied / "history.npy").unlink()
    assert "No such file" in refused(handover.read_history, copied)


# the command


@pytest.mark.slow
def test_a_copied_folder_and_the_images_are_all_it_takes(copied, cases, scores, phantom_folder, tmp_path):
    words = [sys.executable, "-m", "lesion_utils", "evaluate", str(copied), "--data", str(phantom_folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    written = copied / "evaluated"
    assert {path.name for path in written.iterdir()} == set(EVALUATED)
    for name in EVALUATED:
        if name.endswith(".png"):
            assert min(Image.open(written / name).size) > 200
    table = validate(pd.read_csv(written / "predictions.csv"), "the table")
    test = cases[cases["split"] == "test"]
    assert table["lesion_id"].tolist() == test["lesion_id"].tolist()
    assert np.allclose(probabilities(table), scores["test"], atol=1e-5)
    judged = judge(PredictionTable(table))
    for metric in ("accuracy", "majority baseline accuracy", "balanced accuracy", "melanoma sensitivity"):
        assert f"\n{metric}" in done.stdout
    assert f"\n{sentence(judged.loc['accuracy'])}\n" in done.stdout
    assert f"when it was trained: {judged.loc['accuracy', 'value']:.3f}" in done.stdout
    report = (written / "classification_report.txt").read_text()
    assert report.startswith(f"Phantom (made-up pictures): test, n = {len(test)}\n")
    expected = classification_report(PredictionTable(table)).loc["macro avg"]
    (line,) = [line for line in report.splitlines() if "macro avg" in line]
    *shares, size = map(float, line.split()[2:])
    assert shares == pytest.approx(list(expected[["precision", "recall", "f1-score"]]), abs=5e-4)
    assert size == len(test)


@pytest.mark.slow
def test_each_form_can_be_named_and_all_but_keras_only_with_the_flag(exported, phantom_folder, tmp_path):
    tables = []
    for form in FORMS:
        words = [exported / form, "--data", phantom_folder, "--output", tmp_path / form]
        if form != "model.keras":
            code, printed = evaluate(*words)
            assert code == 2 and "model.keras instead" in printed and not (tmp_path / form).exists()
            words.append("--trust")
        code, printed = evaluate(*words)
        assert code == 0 and printed.startswith(f"{exported / form}: ")
        tables.append(pd.read_csv(tmp_path / form / "predictions.csv"))
    assert all(np.allclose(probabilities(table), probabilities(tables[0]), atol=1e-6) for table in tables)


def test_a_leaky_model_says_so(copied, phantom_folder):
    about = json.loads((copied / "about.json").read_text())
    (copied / "about.json").write_text(json.dumps(about | {"leaky": True}))
    code, printed = evaluate(copied, "--data", phantom_folder)
    assert code == 0 and "(leaky; 95% CI" in printed
    assert "n = " in (title := (copied / "evaluated" / "classification_report.txt").read_text().splitlines()[0])
    assert title.endswith("(leaky)")


def test_images_that_are_missing_or_have_another_label(exported, cases, ham_folder, isic2018_folder, tmp_path):
    test = cases[cases["split"] == "test"]
    path = ham_folder / "HAM10000_metadata.csv"
    table = pd.read_csv(path)
    chosen = table["image_id"] == test["image_id"].iloc[3]
    other = next(name for name in ham10000.CLASSES if name != test["label"].iloc[3])
    table.assign(dx=table["dx"].where(~chosen, other)).to_csv(path, index=False)
    code, printed = evaluate(exported, "--data", ham_folder, "--output", tmp_path / "out")
    assert (
        code == 2
        and f"another label than when the model was reported, 1 of {len(test)}: {table[chosen]['image_id'].item()}."
        in printed
    )
    table[~chosen].to_csv(path, index=False)
    (image,) = ham_folder.rglob(f"{table[chosen]['image_id'].item()}.jpg")
    image.unlink()
    code, printed = evaluate(exported, "--data", ham_folder, "--output", tmp_path / "out")
    assert code == 2 and f"missing images that the model was reported on, 1 of {len(test)}: {image.stem}" in printed
    assert not (tmp_path / "out").exists()
    code, printed = evaluate(exported, "--data", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in printed


@pytest.mark.slow
def test_images_may_lie_in_two_folders_but_not_in_both(model, cases, phantom_folder, isic2018_folder, tmp_path):
    recipe = RECIPE.model_copy(update={"exports": ("h5",)})
    test = pd.concat([cases[cases["split"] == "train"], isic2018.read(isic2018_folder)]).assign(split="test")
    handover.write(tmp_path, model, HISTORY, test, recipe, {"test": np.zeros((len(test), 7))})
    words = [tmp_path, "--trust", "--data", phantom_folder]
    code, printed = evaluate(*words)
    assert code == 2 and "Fix: --data" in printed
    code, printed = evaluate(*words, "--data", isic2018_folder)
    assert code == 0 and len(pd.read_csv(tmp_path / "evaluated" / "predictions.csv")) == len(test)
    code, printed = evaluate(*words, "--data", phantom_folder)
    assert code == 2 and "duplicate image_id" in printed


def test_a_model_of_other_classes_than_about_says(copied, phantom_folder):
    about = json.loads((copied / "about.json").read_text())
    (copied / "about.json").write_text(json.dumps(about | {"classes": [*about["classes"], "wart"]}))
    code, printed = evaluate(copied, "--data", phantom_folder)
    assert code == 2 and "model.keras gives 7 probabilities per picture. Expected 8" in printed


# figures


def test_a_row_of_the_normalised_matrix_sums_to_one_and_errors_are_its_rest():
    names = pd.Index(["a", "b", "c"])
    counts = pd.DataFrame([[3, 1, 0], [2, 2, 0], [0, 0, 0]], index=names, columns=names)
    drawn = figures.confusion_shares(counts, "title").axes[0]
    shares = np.ma.filled(drawn.collections[0].get_array().astype(float), np.nan).reshape(3, 3)
    assert np.allclose(shares[:2], [[0.75, 0.25, 0], [0.5, 0.5, 0]]) and np.isnan(shares[2]).all()
    drawn = figures.class_errors(counts, "title").axes[0]
    assert [bar.get_width() for bar in drawn.containers[0]] == [0.25, 0.5, 0]
    assert [text.get_text() for text in drawn.texts] == ["0.25", "0.50", "no image"]
    assert [text.get_text() for text in drawn.get_yticklabels()] == ["a (n = 4)", "b (n = 4)", "c (n = 0)"]


def test_curves_show_loss_and_accuracy_of_training_and_validation():
    panels = figures.learning_curves({"model": HISTORY}, "title", metric="accuracy").axes
    assert [panel.get_ylabel() for panel in panels] == ["loss", "accuracy"]
    assert [list(line.get_ydata()) for line in panels[1].lines] == [[0.4, 0.55], [0.5, 0.6]]


# the study


@pytest.mark.slow
def test_a_study_judges_the_models_that_it_exports_and_no_other(phantom_folder, tmp_path):
    net = {"backbone": {"image_size": [24, 32]}, "phases": [{"epochs": 1}]}
    recipes = {"as_run": net | {"exports": ["saved_model"]}, "plain": net}
    study = {"study": "tiny", "dataset": "ham10000", "data": str(phantom_folder), "baseline": recipes}
    (tmp_path / "tiny.yml").write_text(json.dumps(study))
    words = [sys.executable, "-m", "lesion_utils", "study", str(tmp_path / "tiny.yml"), "--dry-run", "--verbose"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "evaluate_as_run" in printed and "evaluate_plain" not in printed
    assert all(f"evaluated/as_run/{name}" in printed for name in EVALUATED)
