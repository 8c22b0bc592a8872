"""The explorer: known answers on made-up tables, pictures of a dataset or made up, and the maps of a known network."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from prediction_tables import prediction_table

from lesion_utils import explore, grad_cam
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable
from lesion_utils.explore import ANY, OUTCOMES, choose_cases, compare_cases, count_outcomes, judge_threshold, picture_of
from lesion_utils.paths import BY_HAND, PROJECT
from lesion_utils.runtime import keras
from lesion_utils.study import load_study

CLASSES = ["mel", "nv"]
BOTH, FIRST, SECOND, NONE = OUTCOMES.values()


def answers(truth, predicted):
    """A table of these classes, each predicted with a probability of 0.8, one lesion an image."""
    truth, predicted = ([CLASSES.index(name) for name in of.split()] for of in (truth, predicted))
    scores = np.where(np.eye(2)[predicted] == 1, 0.8, 0.2)
    return PredictionTable(prediction_table(truth, scores, range(len(truth)), CLASSES), 100)


@pytest.fixture
def rows():
    truth = "mel mel mel nv nv"
    cases = pd.DataFrame({"image_id": [f"img{i:05}" for i in range(4)], "path": "a.jpg"})
    cases["localization"] = ["back", "back", "face", "face"]
    return compare_cases(answers(truth, "mel mel nv mel nv"), answers(truth, "mel nv mel mel nv"), cases)


def test_two_recipes_are_compared_case_by_case(rows):
    assert rows["outcome"].tolist() == [BOTH, FIRST, SECOND, NONE, BOTH]
    assert rows["second"].tolist() == ["mel", "nv", "mel", "mel", "nv"]
    assert (rows["p_first"] == 0.8).all() and (rows["p_second"] == 0.8).all()
    counts = count_outcomes(rows)
    assert counts.loc["mel"].tolist() == [1, 1, 1, 0, 3] and counts.loc["nv"].tolist() == [1, 0, 0, 1, 2]
    assert counts.loc["all"].tolist() == [2, 1, 1, 1, 5] and counts.columns[-1] == "images"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"label": "mel"}, [0, 1, 2]),
        ({"site": "face"}, [2, 3]),
        ({"agreement": "same class"}, [0, 3, 4]),
        ({"agreement": "different classes", "site": "back"}, [1]),
        ({"outcome": NONE, "label": "nv"}, [3]),
        ({"outcome": NONE, "label": "mel"}, []),
    ],
)
def test_cases_are_chosen_by_class_site_agreement_and_error(rows, asked, found):
    assert choose_cases(rows, **asked).index.tolist() == found


def test_without_the_dataset_there_are_no_sites_and_every_case_stays():
    table = answers("mel nv", "mel mel")
    rows = compare_cases(table, table)
    assert rows["localization"].isna().all() and rows["path"].isna().all() and len(choose_cases(rows, site=ANY)) == 2


@pytest.fixture(scope="module")
def ranked():
    """20 melanomas with probabilities of 0.05, 0.10 to 1.00, and 80 nevi with 0.005, 0.010 to 0.400."""
    stated = np.r_[np.arange(1, 21) / 20, np.arange(1, 81) / 200]
    truth = np.repeat([0, 1], [20, 80])
    frame = prediction_table(truth, np.c_[stated, 1 - stated], np.arange(100), CLASSES)
    return PredictionTable(frame, 500)


@pytest.mark.parametrize(("threshold", "found", "alarms"), [(0.5, 11, 0), (0.2, 17, 41), (0.0, 20, 80)])
def test_a_threshold_gives_the_numbers_that_counting_gives(ranked, threshold, found, alarms):
    rows, said = judge_threshold(ranked, "validation", "melanoma", threshold, 0.1)
    assert rows.loc["sensitivity", "value"] == pytest.approx(found / 20)
    assert rows.loc["specificity", "value"] == pytest.approx(1 - alarms / 80)
    ppv = 0.1 * found / 20 / (0.1 * found / 20 + 0.9 * alarms / 80)
    assert rows.loc["PPV at prevalence", "value"] == pytest.approx(ppv)
    assert rows.loc["missed", "value"] == pytest.approx(1 - found / 20)
    assert rows.loc[["sensitivity", "specificity", "missed"], ["n"]].values.ravel().tolist() == [20, 80, 20]
    known = rows.dropna(subset=["low"])
    assert {"sensitivity", "specificity", "missed"} <= set(known.index)
    assert (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()
    assert f"{20 - found} of 20 images missed" in " ".join(said)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_it_says_which_split_it_is_and_that_choosing_here_is_optimistic(ranked, split):
    rows, (caution, *_) = judge_threshold(ranked, split, "melanoma", 0.3, 0.1)
    assert f"the {split} split" in caution and "optimistic" in caution
    assert (rows.drop("missed")["caution"] == "chosen on the same cases: optimistic").all()


def test_with_too_few_melanomas_nothing_is_estimated():
    rows, said = judge_threshold(answers("mel nv nv", "mel nv nv"), "test", "melanoma", 0.5, 0.1)
    assert rows.loc[["sensitivity", "missed"], "value"].isna().all() and "nan" not in " ".join(said)


def test_a_picture_at_hand_is_shown_and_otherwise_the_phantom_draws_one_of_the_class(few):
    case = few.iloc[0]
    assert picture_of(case["image_id"], "mel", case["path"]).mean((0, 1)).argmax() == 2  # blue
    drawn = [picture_of(name, label) for name in ("a", "b") for label in ("mel", "melanoma", "nv")]
    assert np.array_equal(drawn[0], drawn[1]) and np.array_equal(drawn[0], picture_of("a", "mel"))
    assert not np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[3])
    assert picture_of("a", "squamous cell carcinoma") is None


def test_a_study_without_tables_is_refused_with_those_that_have_some():
    with pytest.raises(InputError, match=r"'quick' has no prediction tables.*Expected one of.*Fix: .*make study"):
        explore.open_study("quick")


def test_pictures_and_sites_are_those_of_a_folder_at_hand_and_otherwise_it_says_why(phantom_folder):
    params = load_study("ham10000")
    cases, source = explore.read_pictured(params.model_copy(update={"data": str(phantom_folder)}))
    assert cases["localization"].notna().any() and "HAM10000" in source and "made-up" not in source
    for folder, reason in ((None, "no folder of HAM10000"), (str(phantom_folder / "nowhere"), "does not exist")):
        cases, source = explore.read_pictured(params.model_copy(update={"data": folder}))
        assert cases is None and "made-up" in source and reason in source


@pytest.mark.parametrize(
    ("paths", "facts"),
    [
        (["a.jpg", "b.jpg"], ["pictures of HAM10000"]),
        ([None, None], ["made-up", "does not have (2 of 2)"]),
        (["a.jpg", None], ["pictures of HAM10000 (1 of 2)", "made-up", "(1 of 2)"]),
    ],
)
def test_the_note_below_pictures_says_which_are_made_up(paths, facts):
    said = explore.say_source(pd.Series(paths, dtype=object), "pictures of HAM10000")
    assert all(fact in said for fact in facts) and (None in paths) == ("made-up" in said)
    assert (paths[0] is None) == ("pictures of HAM10000" not in said)


def test_the_model_that_is_explained_first_is_one_of_the_study(monkeypatch, output):
    runs = {name: output / f"runs/{name}/models/cnn/r0/model.keras" for name in ("another", "quick")}
    monkeypatch.setattr(grad_cam, "train_small", lambda: {"small": "a small one"})
    monkeypatch.setattr(explore, "_linked", lambda render, model, **controls: model.options)
    for found, expected in (
        ({"another": runs["another"], "quick": runs["quick"]}, ("quick", "another")),
        ({"another": runs["another"]}, ("small", "another")),
    ):
        monkeypatch.setattr(grad_cam, "find_models", lambda found=found: found)
        assert explore.explain(load_study("quick")) == expected


@pytest.mark.parametrize(("given", "found"), [(None, "/from/make"), ("/given", "/given")])
def test_the_folder_of_pictures_is_the_given_one_or_that_of_make(monkeypatch, given, found):
    monkeypatch.setenv("LESION_OUTPUT", str(PROJECT))
    monkeypatch.setenv("DATA", "/from/make")
    assert explore.open_study("recommended_full", given).data == found


@pytest.mark.slow
def test_every_tracked_study_can_be_explored(monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(PROJECT))  # where the tables are; nothing is written
    shown = []
    monkeypatch.setattr(explore, "show", lambda *what: shown.append(what))
    rendered = lambda render, **controls: render(**{name: control.value for name, control in controls.items()})  # noqa: E731
    monkeypatch.setattr(explore, "_linked", rendered)
    explore.read_table.cache_clear()
    monkeypatch.setattr(explore, "PredictionTable", lambda frame, _, name: PredictionTable(frame, 100, name=name))
    assert len(explore.studies()) > 10
    for study in explore.studies():
        params = explore.open_study(study)
        explore.about(params)
        for widget in (explore.browse, explore.slide, explore.compare_recipes):
            shown.clear()
            widget(params)
            tables = [what for what, *_ in shown if isinstance(what, pd.DataFrame)]
            assert tables and any(len(table) for table in tables), (study, widget)
        plt.close("all")
    explore.read_table.cache_clear()


def network_of(kernel, bias=0.0):
    """Two maps of the picture (its first channel, and its second) that a head weighs by ``kernel``, (2, 2)."""
    pictures = keras.Input((4, 6, 3))
    backbone = keras.Sequential([keras.Input((4, 6, 3)), keras.layers.Conv2D(2, 1, use_bias=False)])
    backbone.layers[0].set_weights([np.array([[1, 0], [0, 1], [0, 0]], np.float32)[None, None]])
    scaled = keras.layers.Rescaling(1 / 255)(pictures)
    features = keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(backbone(scaled)), name="features")
    dense = keras.layers.Dense(2, activation="softmax")
    head = keras.Sequential([keras.Input((2,)), dense], name="head")
    dense.set_weights([np.array(kernel, np.float32), np.full(2, bias, np.float32)])
    return features, head


def test_grad_cam_weighs_the_maps_by_the_gradient_of_the_score():
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2, 0], picture[3, 4, 1] = 255, 255  # the first map is 1 at one place, the second at another
    network = network_of([[3, 0], [-1, 2]])
    heat, scores = grad_cam.grad_cam(network, picture, 0)
    expected = np.zeros((4, 6))
    # the score of class 0 is the mean of 3 of the first map and -1 of the second: a gradient of 3/24 and -1/24
    expected[1, 2], expected[3, 4] = 3 / 24, -1 / 24
    assert np.allclose(heat, expected) and np.allclose(scores, [2 / 24, 2 / 24])
    other, _ = grad_cam.grad_cam(network, picture, 1)
    assert other[3, 4] == pytest.approx(2 / 24) and other[1, 2] == 0


def test_a_sure_answer_has_a_map_too():
    picture = np.full((4, 6, 3), 255, np.uint8)
    heat, _ = grad_cam.grad_cam(network_of([[500, 0], [0, 0]]), picture)  # the softmax is 1 and flat
    assert heat.min() == pytest.approx(500 / 24)


def test_random_weights_are_those_of_no_training_and_seeded():
    network = network_of([[3, 0], [-1, 2]])
    weights = [
        of.get_weights() for of in (*network, *grad_cam.randomised(network, 0), *grad_cam.randomised(network, 0))
    ]
    for trained, drawn, again in zip(weights[:2], weights[2:4], weights[4:], strict=True):
        assert [of.shape for of in trained] == [of.shape for of in drawn]
        assert not np.array_equal(trained[0], drawn[0]) and np.array_equal(drawn[0], again[0])


def test_a_map_is_compared_with_those_of_random_weights():
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    network = network_of([[3, 0], [-1, 2]])
    found = grad_cam.explain(
        network, [network, network_of([[-3, 0], [1, 2]]), network_of([[0, 0], [0, 0]])], picture, 0
    )
    assert found.correlations[:2] == pytest.approx([1, -1]) and np.isnan(found.correlations[2])
    assert "do not read it" in grad_cam.reading(found)
    learnt = found._replace(correlations=[0.1, -0.2, np.nan])
    assert "0.10, -0.20 (24 cells, 2 networks" in grad_cam.reading(learnt) and "learnt" in grad_cam.reading(learnt)
    assert "say nothing" in grad_cam.reading(found._replace(correlations=[np.nan]))


@pytest.mark.slow
def test_a_trained_model_is_found_and_explained_as_it_predicts(tiny_study, output, monkeypatch):
    """The scores behind a map are those of the model that was saved, here with views that are averaged."""
    from trained import train_in

    from lesion_utils.cases import make_case_tables
    from lesion_utils.published.handover import keras_model

    assert grad_cam.find_models() == {}
    trained = train_in(tiny_study, "cnn", make_case_tables(tiny_study)["corrected"])
    assert grad_cam.find_models() == {"tiny/cnn/r0": trained.model_file}
    model = grad_cam.read(trained.model_file)
    assert model.classes == trained.classes and model.size == (24, 32) and len(model.random) == grad_cam.RANDOM
    picture = grad_cam.as_seen(picture_of("a", "mel"), model.size)
    found = grad_cam.explain(model.network, model.random, picture)
    expected = keras_model(trained.model_file).predict(picture[None].astype(np.float32), verbose=0)[0]
    assert np.allclose(found.probabilities, expected, atol=1e-5) and found.target == expected.argmax()
    assert found.heat.shape == (3, 4) and len(found.correlations) == grad_cam.RANDOM


@pytest.mark.slow
def test_without_a_model_a_small_one_is_trained_once(monkeypatch, output):
    monkeypatch.setenv(BY_HAND, "1")
    (file,) = grad_cam.train_small().values()
    before = file.stat().st_mtime_ns
    assert file.is_relative_to(output / "runs" / "by_hand") and [*grad_cam.find_models().values()] == [file]
    assert [*grad_cam.train_small().values()] == [file] and file.stat().st_mtime_ns == before
    assert grad_cam.read(file).dataset == "phantom"
