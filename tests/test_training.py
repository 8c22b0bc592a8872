"""Training: it learns, a rerun gives the same, what is there is not made again, and the recipe's choices are kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trained import train_in

from lesion_utils import predictions, training
from lesion_utils.cases import make_case_tables
from lesion_utils.errors import InputError
from lesion_utils.models import build
from lesion_utils.paths import PROJECT
from lesion_utils.pictures import load_pictures
from lesion_utils.recipes import Recipe
from lesion_utils.runtime import keras, start
from lesion_utils.study import StudyParams

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),  # Keras with NumPy 2
]

SIZE = (24, 32)
CNN = {"backbone": {"image_size": SIZE}, "hidden": 16}
HELD_OUT = ("validation", "test")


@pytest.fixture(scope="module")
def cases(tiny_study) -> pd.DataFrame:
    return make_case_tables(tiny_study)["corrected"]


@pytest.fixture(scope="module")
def turned(few) -> pd.DataFrame:
    """The validation images stand under the other label: the more is learnt, the worse validation gets."""
    other = few["label"].map({"blue": "red", "red": "blue"})
    return few.assign(label=few["label"].where(few["split"] != "validation", other))


def study_of(threads: int, **recipe) -> StudyParams:
    return StudyParams(study="tiny", threads=threads, baseline={"net": CNN | recipe})


def cross_entropy(trained, cases: pd.DataFrame, split: str) -> float:
    scores = trained.probabilities[split].astype(float)
    truth = np.searchsorted(trained.classes, cases.loc[cases["split"] == split, "label"])
    return -np.log(scores[np.arange(len(truth)), truth]).mean()


def files_of(trained) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir() if path.is_file()}


# what training leaves


@pytest.fixture(scope="module")
def first(cases, tiny_study, tmp_path_factory):
    """The first recipe trained once; ``LESION_OUTPUT`` of the tests that read it again."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder))
        return folder, train_in(tiny_study, "cnn", cases)


@pytest.fixture
def no_training(first, monkeypatch):
    """The output of ``first``, where any further training is an error of its own kind."""

    def fail(*args):
        raise RuntimeError("trained again")

    monkeypatch.setenv("LESION_OUTPUT", str(first[0]))
    monkeypatch.setattr(training, "_Training", fail)


def test_the_history_has_a_row_an_epoch(first):
    history = first[1].history
    assert history["epoch"].tolist() == [1, 2] and history["train"].tolist() == ["all", "all"]
    needed = {"loss", "accuracy", "balanced_accuracy", "val_loss", "val_balanced_accuracy", "learning_rate", "seconds"}
    assert needed <= set(history.columns) and np.isfinite(history[list(needed)]).all(axis=None)
    assert pd.read_csv(first[1].model_file.with_name("history.csv")).equals(history)


def test_every_held_out_case_has_its_probabilities(first, cases):
    trained = first[1]
    assert trained.classes == sorted(cases["label"].unique())
    for split in HELD_OUT:
        scores = trained.probabilities[split]
        assert scores.shape == ((cases["split"] == split).sum(), 7) and np.allclose(scores.sum(1), 1, atol=1e-5)
    assert set(trained.probabilities) == set(HELD_OUT)


def test_the_saved_model_predicts_the_saved_scores(first, cases, threads):
    model = keras.models.load_model(first[1].model_file)
    for split in HELD_OUT:
        pixels = load_pictures(cases[cases["split"] == split]["path"], SIZE, threads)
        shown = model.predict(np.asarray(pixels, np.float32), verbose=0)
        assert np.allclose(shown, first[1].probabilities[split], atol=1e-5)


@pytest.mark.slow
def test_a_fresh_run_gives_the_same_scores_to_the_bit(first, cases, tiny_study):
    again = train_in(tiny_study, "cnn", cases)
    assert again.model_file != first[1].model_file
    for split in HELD_OUT:
        assert np.array_equal(again.probabilities[split], first[1].probabilities[split])
    assert again.history.drop(columns="seconds").equals(first[1].history.drop(columns="seconds"))


def test_a_second_call_returns_what_is_there(first, cases, tiny_study, no_training):
    before = files_of(first[1])
    again = train_in(tiny_study, "cnn", cases)
    assert np.array_equal(again.probabilities["test"], first[1].probabilities["test"])
    assert again.history.equals(first[1].history)
    assert files_of(first[1]) == before


def test_another_seed_recipe_split_or_thread_count_trains_again(cases, tiny_study, no_training):
    changed = tiny_study.recipes["cnn"].model_copy(update={"batch_size": 16})
    moved = cases.copy()
    lesion = cases.loc[cases["split"] == "test", "lesion_id"].iloc[0]
    moved.loc[moved["lesion_id"] == lesion, "split"] = "train"
    for table, update in [
        (cases, {"seed": 5}),
        (cases, {"run": 1}),
        (cases, {"baseline": {"cnn": changed}}),
        (moved, {}),
    ]:
        with pytest.raises(RuntimeError, match="trained again"):
            train_in(tiny_study.model_copy(update=update), "cnn", table)
    with pytest.raises(InputError, match=r"already runs with another number of threads.*restart the kernel"):
        train_in(tiny_study.model_copy(update={"threads": tiny_study.threads + 1}), "cnn", cases)


@pytest.mark.parametrize("name", ["model.keras", "history.csv", "probabilities.npz", "provenance.json"])
def test_a_run_of_which_a_file_is_gone_is_trained_again(first, cases, tiny_study, no_training, name):
    path = first[1].model_file.with_name(name)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(RuntimeError, match="trained again"):
        train_in(tiny_study, "cnn", cases)
    path.write_bytes(content)
    train_in(tiny_study, "cnn", cases)


def test_what_made_a_model_lies_beside_it(first, tiny_study):
    provenance = json.loads(first[1].model_file.with_name("provenance.json").read_text())
    assert provenance == first[1].provenance
    assert Recipe(**provenance["recipe"]) == tiny_study.recipes["cnn"]
    assert (provenance["seed"], provenance["threads"], provenance["weights"]) == (0, tiny_study.threads, "none")


@pytest.fixture
def leaking(few) -> pd.DataFrame:
    """A training picture stands in test again, in another file, under another id and another lesion."""
    copy = few.copy()
    path = Path(copy["path"][0]).with_name("copy.bmp")
    with Image.open(copy["path"][0]) as picture:
        picture.save(path)
    copy.loc[copy.index[copy["split"] == "test"][0], "path"] = str(path)
    return copy


def test_a_training_that_knows_a_test_picture_stops_before_it_starts(leaking, threads, no_training):
    with pytest.raises(InputError, match=r"net: .*1 test case.*image: blue16"):
        train_in(study_of(threads), "net", leaking)


@pytest.mark.slow
def test_a_leak_that_is_allowed_is_told_by_every_table(leaking, few, threads):
    for cases, leaky in ((leaking, True), (few, False)):
        study = study_of(threads, allow_leak=True, phases=[{"epochs": 1}])
        trained = train_in(study, "net", cases)
        assert trained.provenance["leaky"] is leaky
        for split in HELD_OUT:
            assert predictions.is_leaky(predictions.read(study, "net", split)) is leaky


@pytest.mark.slow
def test_cases_of_no_part_change_nothing_but_their_place(few, threads):
    study = study_of(threads, phases=[{"epochs": 1}])
    first = train_in(study, "net", few)
    unused = few.sample(n=3, random_state=0).assign(split="unused")
    second = train_in(study, "net", pd.concat([few, unused], ignore_index=True))
    assert second.provenance["cases"] != first.provenance["cases"]
    for split in HELD_OUT:
        np.testing.assert_array_equal(first.probabilities[split], second.probabilities[split])


def test_threads_cannot_change_once_tensorflow_runs(first, threads):
    start(threads)
    with pytest.raises(InputError, match=f"another number of threads than {threads + 1}"):
        start(threads + 1)


# what is learnt and kept


@pytest.mark.slow
def test_training_cases_are_learnt(few, threads):
    recipe = {"phases": [{"epochs": 6, "learning_rate": 3e-3}], "keep": "last", "batch_size": 8}
    trained = train_in(study_of(threads, **recipe), "net", few)
    loss = trained.history["loss"]
    assert len(loss) == 6 and loss.iloc[-1] < 0.5 * loss.iloc[0]
    assert cross_entropy(trained, few, "test") < 0.3 < np.log(2)  # a coin tells ln 2


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.slow
def test_the_epoch_that_is_asked_for_is_kept(turned, threads, keep):
    recipe = {"phases": [{"epochs": 3, "learning_rate": 3e-3}], "keep": keep, "batch_size": 8}
    trained = train_in(study_of(threads, **recipe), "net", turned)
    told = trained.history["val_loss"]
    assert told.iloc[-1] > told.min() + 0.1
    kept = told.min() if keep == "best" else told.iloc[-1]
    assert cross_entropy(trained, turned, "validation") == pytest.approx(kept, rel=1e-4)


@pytest.mark.slow
def test_a_second_phase_that_gets_worse_does_not_replace_the_first(turned, threads):
    recipe = {"phases": [{"epochs": 1, "learning_rate": 1e-4}, {"epochs": 4, "learning_rate": 1e-2}], "batch_size": 8}
    trained = train_in(study_of(threads, **recipe), "net", turned)
    told = trained.history.groupby("phase")["val_loss"].min()
    assert trained.history["phase"].tolist() == [0, 1, 1, 1, 1]
    assert told[1] > told[0]
    assert cross_entropy(trained, turned, "validation") == pytest.approx(told[0], rel=1e-4)


def test_early_stopping_ends_a_phase_and_the_rate_is_lowered_to_the_smallest(turned, threads):
    recipe = {"phases": [{"epochs": 30, "learning_rate": 1e-2}], "batch_size": 8, "early_stopping": 4}
    recipe["reduce_lr"] = {"patience": 1, "factor": 0.25, "smallest": 1e-4}
    history = train_in(study_of(threads, **recipe), "net", turned).history
    best = int(history["val_loss"].idxmin())
    assert len(history) == best + 1 + 4 < 30
    assert history["learning_rate"].iloc[best + 2] == pytest.approx(1e-2 / 4)
    assert history["learning_rate"].min() >= 1e-4 - 1e-9


def test_cosine_brings_the_rate_to_nothing(few, threads):
    recipe = {"phases": [{"epochs": 2, "learning_rate": 1e-2, "schedule": "cosine"}], "batch_size": 8}
    rates = train_in(study_of(threads, **recipe), "net", few).history["learning_rate"]
    assert rates.iloc[0] == pytest.approx(5e-3, rel=1e-3) and rates.iloc[1] == pytest.approx(0, abs=1e-6)


def test_the_rate_rises_first_where_the_recipe_says(few, threads):
    phase = {"epochs": 2, "learning_rate": 1e-2, "schedule": "cosine", "warm_up": 1000}
    rates = train_in(study_of(threads, phases=[phase], batch_size=8), "net", few).history["learning_rate"]
    assert 0 < rates.iloc[0] < rates.iloc[1] < 1e-2


def test_averaged_weights_are_judged_and_kept(few, threads, monkeypatch):
    recipe = {"phases": [{"epochs": 3, "learning_rate": 3e-3}], "batch_size": 8, "keep": "last"}
    plain, average = (train_in(study_of(threads, **recipe, weight_average=share), "net", few) for share in (0, 0.9))
    assert list(average.history["loss"]) == pytest.approx(list(plain.history["loss"]), rel=1e-4)  # the same steps
    assert plain.history["val_loss"].iloc[0] != average.history["val_loss"].iloc[0]
    for trained in (plain, average):
        kept = trained.history["val_loss"].iloc[-1]
        assert cross_entropy(trained, few, "validation") == pytest.approx(kept, rel=1e-4)
    best = train_in(study_of(threads, **recipe | {"keep": "best", "early_stopping": 1}, weight_average=0.9), "net", few)
    assert cross_entropy(best, few, "validation") == pytest.approx(best.history["val_loss"].min(), rel=1e-4)


def test_class_weights_count_only_in_phases_that_are_weighted(few, threads):
    def losses(weights, *weighted):
        phases = [{"epochs": 1, "learning_rate": 1e-6, "weighted": each} for each in weighted]
        recipe = {"phases": phases, "batch_size": 8, "class_weights": weights}
        return train_in(study_of(threads, **recipe), "net", few).history["loss"].tolist()

    plain, weighted = losses({"blue": 1.0}, True, True), losses({"blue": 5.0, "red": 5.0}, False, True)
    assert weighted[0] == pytest.approx(plain[0]) and weighted[1] == pytest.approx(5 * plain[1], rel=1e-3)


def test_the_best_epoch_may_be_that_of_the_ranking(few, threads):
    rows = few.index[few["split"] == "validation"]
    labels = few["label"].where(~few.index.isin(rows[::3]), "red")  # some labels are wrong, so that no ranking is right
    cases = few.assign(label=labels)
    recipe = {"phases": [{"epochs": 4, "learning_rate": 1e-3}], "batch_size": 8, "monitor": "val_macro_auc"}
    trained = train_in(study_of(threads, **recipe), "net", cases)
    best = trained.history["val_macro_auc"].idxmax()
    assert 0.5 < trained.history["val_macro_auc"].max() < 1
    kept = cross_entropy(trained, cases, "validation")
    assert kept == pytest.approx(trained.history["val_loss"].iloc[best], rel=1e-4)


def test_mixup_mixes_training_pictures_and_their_labels_alike_and_no_others(few, threads, monkeypatch):
    shown = []
    real = training.batches

    def spy(inputs, targets, rows, size, **options):
        made = real(inputs, targets, rows, size, **options)
        shown.append((options.get("mix"), next(iter(made))))
        return made

    monkeypatch.setattr(training, "batches", spy)
    train_in(study_of(threads, mixup=0.4, phases=[{"epochs": 1}], batch_size=8), "net", few)
    kinds = {mix is not None: truth.numpy() for mix, (_, truth) in shown}
    assert ((kinds[True] > 0.01) & (kinds[True] < 0.99)).any() and set(np.unique(kinds[False])) == {0, 1}


def test_a_training_that_diverges_says_so(few, threads, monkeypatch):
    monkeypatch.setattr(training, "loss", lambda *_: lambda truth, told: keras.ops.sum(told, axis=-1) * np.nan)
    with pytest.raises(InputError, match=r"net: val_loss was never a number.*learning_rate"):
        train_in(study_of(threads, phases=[{"epochs": 1}]), "net", few)


def test_a_phase_may_learn_from_smaller_pictures(few, threads, monkeypatch):
    shown, real = [], training.batches

    def spy(inputs, *rest, **options):
        shown.append(inputs.shape[1:3])
        return real(inputs, *rest, **options)

    monkeypatch.setattr(training, "batches", spy)
    backbone = {"name": "efficientnet_lite0", "cut": "block2b_add", "image_size": (48, 64), "pooling": "average"}
    phases = [{"epochs": 1, "image_size": (32, 40)}, {"epochs": 1}]
    trained = train_in(study_of(threads, backbone=backbone, phases=phases), "net", few)
    assert shown[:4] == [(32, 40), (32, 40), (48, 64), (48, 64)]
    model = keras.models.load_model(trained.model_file, compile=False)
    assert model.input_shape[1:3] == (48, 64)
    for wrong, problem in [([{"train": "head", "image_size": (32, 40)}], "head"), (phases, "pooling")]:
        with pytest.raises(ValueError, match=problem):
            study_of(threads, backbone=backbone | {"pooling": "flatten"}, phases=wrong)
    small = study_of(threads, backbone=backbone, phases=[{"epochs": 1, "image_size": (16, 40)}])
    with pytest.raises(InputError, match="at least 32 px"):
        train_in(small, "net", few)


def test_a_model_with_a_head_trained_alone_is_read_by_a_process_that_trained_nothing(few, threads):
    trained = train_in(study_of(threads, phases=[{"train": "head", "epochs": 1}]), "net", few)
    code = "import sys, pathlib; from lesion_utils.published.handover import load; load(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, trained.model_file], check=True, cwd=PROJECT)


@pytest.mark.slow
def test_a_head_and_then_the_whole_of_a_backbone_are_trained(few, threads):
    recipe = {
        "backbone": {
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "cut": "block_3_project_BN",
            "image_size": (32, 32),
            "pooling": "average",
        },
        "standardise": True,
        "hidden": 0,
        "class_weights": "balanced",
        "sampler": "root",
        "flip_views": True,
        "augmentation": {"flip": "both"},
        "phases": [{"train": "head", "epochs": 2}, {"train": "block_3_expand", "epochs": 1, "learning_rate": 1e-4}],
        "keep": "last",
    }
    trained = train_in(study_of(threads, **recipe), "net", few)
    assert trained.history["train"].tolist() == ["head", "head", "block_3_expand"]
    model = keras.models.load_model(trained.model_file)
    pixels = load_pictures(few[few["split"] == "test"]["path"], (32, 32), threads)
    shown = model.predict(np.asarray(pixels, np.float32), verbose=0)
    assert np.allclose(shown, trained.probabilities["test"], atol=1e-5)
    known = few[few["split"] == "train"]  # of which it sees one view
    seen = np.asarray(load_pictures(known["path"], (32, 32), threads), np.float32)
    shown = model.get_layer("head").predict(model.get_layer("features").predict(seen, verbose=0), verbose=0)
    correct = (np.array(trained.classes)[shown.argmax(1)] == known["label"]).sum()
    assert trained.provenance["training_correct"] == correct


POOLED = {"image_size": (32, 32), "pooling": "average"}
V1 = POOLED | {"name": "mobilenet_v1", "alpha": 0.25, "cut": "conv_pw_4_relu"}
HEAD = {"backbone": POOLED, "hidden": 0, "phases": [{"train": "head", "epochs": 2}]}
MOBILE = HEAD | {"backbone": V1}


@pytest.fixture
def run_through(monkeypatch) -> list[int]:
    """Pictures of each batch that a frozen network is run on."""
    shown: list[int] = []
    make = training.cached_features

    def outputs(model, pixels, *args):
        predict = model.predict_on_batch
        model.predict_on_batch = lambda batch: shown.append(len(batch)) or predict(batch)
        return make(model, pixels, *args)

    monkeypatch.setattr(training, "cached_features", outputs)
    return shown


def test_features_are_standardised_by_training_cases(few, threads, monkeypatch):
    made = []
    outputs = training.cached_features
    monkeypatch.setattr(training, "cached_features", lambda *args: made.append(outputs(*args)) or made[-1])
    trained = train_in(study_of(threads, **HEAD, standardise=True), "net", few)
    features = np.asarray(made[0])[(few["split"] == "train").to_numpy()]
    norm = keras.models.load_model(trained.model_file).get_layer("head").get_layer("standardise")
    assert np.allclose(np.ravel(norm.mean), features.mean(0), rtol=1e-4, atol=1e-6)
    assert np.allclose(np.ravel(norm.variance), features.var(0), rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_features_are_computed_once_for_recipes_repeats_and_splits(few, threads, run_through, tmp_path):
    file = tmp_path / "small_upto_conv_pw_4.weights.h5"
    build(Recipe(**MOBILE), 2, None, 7).backbone.save_weights(file)
    recipe = MOBILE | {"backbone": V1 | {"weights": str(file)}}
    first = train_in(study_of(threads, **recipe), "net", few)
    assert len(run_through) == 1
    study = study_of(threads, **recipe, dropout=0.5, class_weights="balanced").model_copy(update={"run": 1})
    other_split = few.assign(split=few["split"].map({"train": "train", "validation": "test", "test": "validation"}))
    second = train_in(study, "net", other_split.iloc[::-1])
    assert len(run_through) == 1
    assert not np.array_equal(first.probabilities["test"], second.probabilities["test"])


@pytest.mark.slow
def test_an_epoch_on_features_in_one_call_gives_what_its_steps_give(few, threads, monkeypatch, tmp_path):
    head = Recipe(
        backbone={"name": "mobilenet_v2", "image_size": (32, 32), "pooling": "average"},
        phases=[{"train": "head", "epochs": 3, "schedule": "cosine"}],
        batch_size=7,  # the last batch of 24 images, and that of validation, are smaller
        dropout=0.5,
        weight_average=0.9,
        mixup=0.4,
    )
    compile_model, asked = keras.Model.compile, []

    def step_by_step(self, *args, steps_per_execution=1, **options):
        asked.append(steps_per_execution)
        compile_model(self, *args, **options)

    given = {"seed": 0, "threads": threads, "weights": None}
    usual = training.train(head, few, folder=tmp_path / "usual/r0", **given)
    monkeypatch.setattr(keras.Model, "compile", step_by_step)
    slower = training.train(head, few, folder=tmp_path / "slower/r0", **given)
    assert asked == [4]
    assert usual.history.drop(columns="seconds").equals(slower.history.drop(columns="seconds"))
    assert all(np.array_equal(usual.probabilities[split], slower.probabilities[split]) for split in HELD_OUT)


@pytest.mark.slow
def test_epochs_take_the_views_of_the_training_pictures_in_turn(few, threads, monkeypatch):
    fed, views = [], {}
    batches, outputs = training.batches, training.cached_features

    def watched(inputs, targets, rows, size, **kwargs):
        if "epochs" not in kwargs:  # endless batches are for training, one epoch for held-out cases
            fed.append((inputs, targets, [rows(epoch) for epoch in range(4)]))
        return batches(inputs, targets, rows, size, **kwargs)

    def seen(model, pixels, origin, augmentation=None, view=0):
        made = outputs(model, pixels, origin, augmentation, view)
        views[view] = dict(zip(made.keys, np.asarray(made), strict=True))
        return made

    monkeypatch.setattr(training, "batches", watched)
    monkeypatch.setattr(training, "cached_features", seen)
    study = study_of(threads, **MOBILE, augmentation={"flip": "both", "rotation": 0.2}, feature_views=2)
    train_in(study, "net", few)
    training_rows = np.flatnonzero(few["split"] == "train")
    assert {view: len(made) for view, made in views.items()} == {
        0: len(few),  # unchanged: held-out pictures, and those of training for its accuracy
        1: len(training_rows),
        2: len(training_rows),
    }
    ((inputs, targets, epochs),) = fed
    keys = load_pictures(few["path"], (32, 32), threads).keys
    labels = np.searchsorted(["blue", "red"], few["label"])
    data = training._Data(study.recipes["net"], few, study.training_seed)
    for epoch, rows in enumerate(epochs):
        cases_shown = data.epoch(epoch)
        assert set(cases_shown) == set(training_rows)
        expected = [views[1 + epoch % 2][keys[case]] for case in cases_shown]
        assert np.array_equal(inputs[rows], expected)
        assert np.array_equal(targets[rows].argmax(1), labels[cases_shown])


@pytest.mark.slow
def test_upper_layers_learn_alike_from_kept_activations(few, threads, run_through, monkeypatch, tmp_path):
    recipe = MOBILE | {"phases": [*HEAD["phases"], {"train": "conv_dw_4", "epochs": 2}], "keep": "last"}
    above = train_in(study_of(threads, **recipe), "net", few)
    assert len(run_through) == 2  # the features of the head's phase, and the activations below conv_dw_4
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path / "whole"))
    monkeypatch.setattr(training, "split_below", lambda *args: None)
    whole = train_in(study_of(threads, **recipe), "net", few)
    assert len(run_through) == 3
    assert np.allclose(above.probabilities["test"], whole.probabilities["test"], atol=1e-3)
    assert np.allclose(above.history["loss"], whole.history["loss"], rtol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"augmentation": {"flip": "both"}},
        {"phases": [{"train": "conv_dw_3", "epochs": 1}, {"train": "conv_dw_4", "epochs": 1}]},
        {"phases": [{"train": "all", "epochs": 1}]},
    ],
    ids=["augmented", "trained below before", "all"],
)
@pytest.mark.slow
def test_the_whole_network_runs_where_what_lies_below_changes(few, threads, change, monkeypatch):
    trained = []
    fit = training._fit
    monkeypatch.setattr(training, "_fit", lambda model, *args: trained.append(model.name) or fit(model, *args))
    train_in(study_of(threads, **MOBILE | {"phases": [{"train": "conv_dw_4", "epochs": 1}]} | change), "net", few)
    assert trained[-1] == "classifier"


@pytest.mark.slow
def test_augmentation_changes_training_pictures_and_no_others(few, threads, monkeypatch):
    study = study_of(threads, augmentation={"brightness": 0.3}, phases=[{"epochs": 2}])
    changed, make = [], training.make_augmenter

    def watched(*args):
        change = make(*args)
        return lambda read, epoch, first: changed.append((epoch, first, len(read))) or change(read, epoch, first)

    monkeypatch.setattr(training, "make_augmenter", watched)
    noted = train_in(study, "net", few).provenance
    assert noted["fill"] == [pytest.approx(0, abs=1e-6), 1000]  # brightness leaves no fill
    assert {(0, 0, 24), (1, 0, 24)} <= set(changed) and all(size == 24 for *_, size in changed)


@pytest.mark.slow
def test_offline_copies_are_trained_on_and_not_scored(few, threads):
    recipe = {"offline_copies": {"per_class": 5}, "phases": [{"epochs": 1}]}
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        make = training._Data
        patch.setattr(training, "_Data", lambda *args: sizes.append(make(*args)) or sizes[-1])
        trained = train_in(study_of(threads, **recipe), "net", few)
    assert len(sizes[0].train) == 24 + 2 * 5
    assert trained.probabilities["test"].shape == (8, 2)


def test_other_pictures_under_the_same_names_are_trained_on_anew(first, cases, tiny_study, no_training, tmp_path):
    path = Path(cases["path"].iloc[0])
    changed = tmp_path / path.name
    changed.write_bytes(path.read_bytes() + b"\0")
    moved = cases.copy()
    moved.loc[cases.index[0], "path"] = str(shutil.copy(path, tmp_path / "same.jpg"))
    train_in(tiny_study, "cnn", moved)
    moved.loc[cases.index[0], "path"] = str(changed)
    with pytest.raises(RuntimeError, match="trained again"):
        train_in(tiny_study, "cnn", moved)


# the fields that published systems need


def rates(few, threads, **phase) -> list[float]:
    recipe = {"phases": [{"epochs": 5, "learning_rate": 1e-2, **phase}], "batch_size": 8}
    return train_in(study_of(threads, **recipe), "net", few).history["learning_rate"].round(8).tolist()


@pytest.mark.slow
def test_the_step_falls_where_it_is_said_and_that_of_system_000_never(few, threads):
    # the history holds the rate with which the next step would be taken
    step = {"step_every": 2, "step_divisor": 10}
    assert rates(few, threads, schedule="step", **step) == [1e-2, 1e-3, 1e-3, 1e-4, 1e-4]
    assert rates(few, threads, schedule="step_never_reached", **step) == [1e-2] * 5


def test_an_epoch_ends_where_it_is_said_and_a_sampler_that_is_not_redrawn_shows_the_same(few):
    def shown(epoch: int, **fields) -> list[int]:
        return training._Data(Recipe(**fields), few, seed=3).epoch(epoch).tolist()

    assert len(shown(0, epoch_images=5)) == 5 and shown(0, epoch_images=5) != shown(1, epoch_images=5)
    drawn = {"sampler": "equal", "class_size": 6}
    assert sorted(shown(0, **drawn)) != sorted(shown(1, **drawn))
    kept = [shown(epoch, resample_each_epoch=False, **drawn) for epoch in (0, 1)]
    assert sorted(kept[0]) == sorted(kept[1]) and kept[0] != kept[1]


@pytest.mark.slow
def test_a_share_of_the_training_lesions_is_used_and_of_every_class(few, threads):
    used = train_in(study_of(threads, training_share=0.25, phases=[{"epochs": 1}]), "net", few).cases
    assert used[used["split"] == "train"]["label"].value_counts().to_dict() == {"blue": 3, "red": 3}
    assert (used["split"] == "unused").sum() == 18
    assert (used["split"] == few["split"])[few["split"] != "train"].all()


def test_each_part_is_standardised_as_the_recipe_says(few, threads):
    pixels = load_pictures(few["path"], SIZE, threads)
    values = {part: np.asarray(pixels[np.flatnonzero(few["split"] == part)], float) for part in few["split"].unique()}
    moments = {part: (one.mean(), one.std()) for part, one in values.items()}
    found = {}
    for scaling in ("z_score", "z_score_by_split"):
        recipe = Recipe(backbone={"image_size": SIZE, "scaling": scaling})
        found[scaling] = training._statistics(training._Data(recipe, few, 0), pixels)
    both = np.concatenate([values["train"], values["validation"]])
    assert found["z_score"] == {part: pytest.approx(moments["train"]) for part in ("train", *HELD_OUT)}
    assert found["z_score_by_split"]["test"] == pytest.approx(moments["test"])
    assert found["z_score_by_split"]["train"] == found["z_score_by_split"]["validation"]
    assert found["z_score_by_split"]["train"] == pytest.approx((both.mean(), both.std()))


@pytest.mark.slow
def test_by_its_own_statistics_test_is_scored_as_if_it_were_no_darker(few, threads, tmp_path):
    """The bug of system 002 hides a shift of the test pictures; standardised by the training pictures it shows."""
    darker = few.copy()
    for row in darker.index[darker["split"] == "test"]:
        path = tmp_path / f"{darker['image_id'][row]}.png"
        Image.fromarray((np.asarray(Image.open(darker["path"][row])) * 0.5).astype(np.uint8)).save(path)
        darker.loc[row, "path"] = str(path)
    scores = {}
    for scaling in ("z_score", "z_score_by_split"):
        study = study_of(threads, backbone={"image_size": SIZE, "scaling": scaling}, phases=[{"epochs": 4}])
        trained = train_in(study, "net", darker)
        scores[scaling] = trained.probabilities["test"]
        model = keras.models.load_model(trained.model_file)
        inputs = np.asarray(load_pictures(darker[darker["split"] == "validation"]["path"], SIZE, threads), np.float32)
        assert np.allclose(model.predict(inputs, verbose=0), trained.probabilities["validation"], atol=1e-5)
    assert np.abs(scores["z_score"] - scores["z_score_by_split"]).max() > 0.02


@pytest.mark.slow
def test_copies_before_the_split_fall_to_both_sides_and_are_a_part_of_their_own(cases, tiny_study):
    copies = {"per_class": 20, "before_split": True}
    recipe = CNN | {"offline_copies": copies, "allow_leak": True, "phases": [{"epochs": 1}]}
    study = tiny_study.model_copy(update={"baseline": {"cnn": Recipe(**recipe)}})
    trained = train_in(study, "cnn", cases)
    counts = trained.cases["split"].value_counts()
    made = 20 * 7
    before = cases["split"].value_counts()
    held_out = round(made * before["validation"] / (before["train"] + before["validation"]))
    assert counts.to_dict() == before.to_dict() | {
        "train": before["train"] + made - held_out,
        "validation_copies": held_out,
    }
    assert {part: len(scores) for part, scores in trained.probabilities.items()} == {
        "validation": before["validation"],
        "validation_copies": held_out,
        "test": before["test"],
    }
    of_copies = trained.cases[trained.cases["image_id"].str.contains("-copy")]
    source = of_copies["image_id"].str.split("-copy").str[0].map(cases.set_index("image_id")["split"])
    assert pd.crosstab(source, of_copies["split"]).to_numpy().min() > 0  # from either side to either side
    assert set(source) == {"train", "validation"} and trained.provenance["leaky"]
    assert list(predictions.read(study, "cnn", "validation")["image_id"]) == list(
        cases.loc[cases["split"] == "validation", "image_id"]
    )
    assert len(predictions.read(study, "cnn", "validation_copies")) == held_out
    assert predictions.splits_of(study, "cnn") == ("validation", "test", "validation_copies")


@pytest.mark.slow
def test_copies_after_the_split_stay_in_training(cases, tiny_study):
    recipe = CNN | {"offline_copies": {"per_class": 5}, "phases": [{"epochs": 1}]}
    trained = train_in(tiny_study.model_copy(update={"baseline": {"cnn": Recipe(**recipe)}}), "cnn", cases)
    copies = trained.cases[trained.cases["image_id"].str.contains("-copy")]
    assert set(copies["split"]) == {"train"} and len(copies) == 35 and not trained.provenance["leaky"]


@pytest.mark.slow
def test_cases_without_a_test_part_are_trained_on_and_scored(few, threads):
    trained = train_in(study_of(threads, phases=[{"epochs": 1}]), "net", few[few["split"] != "test"])
    assert set(trained.probabilities) == {"validation"}


@pytest.mark.slow
def test_what_a_recipe_exports_lies_beside_its_model_and_is_made_again_if_it_is_gone(few, threads):
    study = study_of(threads, exports=["pickle"], phases=[{"epochs": 1}])
    folder = train_in(study, "net", few).model_file.parent
    (folder / "model.pkl").unlink()
    train_in(study, "net", few)
    assert {"model.pkl", "history.npy", "about.json", "model.keras"} <= {path.name for path in folder.iterdir()}
