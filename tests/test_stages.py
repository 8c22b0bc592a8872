"""What notebooks 02 to 04 share: the tables of a stage, and what is said of its recipes."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import CLASSES, prediction_table

from lesion_utils import stages
from lesion_utils.cases import make_case_tables
from lesion_utils.claims.differences import remedy_differences, remedy_sentences, remedy_table
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature
from lesion_utils.models import set_trainable
from lesion_utils.prior import correct_prior
from lesion_utils.study import Judging, StudyParams

TRUTH = np.repeat(range(4), [20, 20, 60, 150])
SHARES = np.bincount(TRUTH) / len(TRUTH)


def runs(seed, skill=1.5, tilt=1.0, repeats=3):
    """Tables of a model of some ``skill`` that weighs classes by their shares to the power ``tilt``, one per run."""
    frames = []
    for run in range(repeats):
        common, luck = np.random.default_rng(9), np.random.default_rng(seed + run)
        logits = common.normal(size=(len(TRUTH), 4)) + 0.3 * luck.normal(size=(len(TRUTH), 4))
        scores = np.exp(logits + skill * np.eye(4)[TRUTH] + tilt * np.log(SHARES))
        frames.append(prediction_table(TRUTH, scores / scores.sum(1, keepdims=True), range(len(TRUTH))))
    return PredictionTable(frames, 300)


def study_of(*names):
    return StudyParams(baseline={"plain": {}}, rebalancing={name: {"dropout": 0.1} for name in names})


def compared(**tables):
    return stages.compare_stage(study_of(*tables), {"plain": runs(0)} | tables)


def test_a_remedy_that_ranks_better_helps_and_one_that_moves_the_threshold_does_not():
    judged, differences = compared(taught=runs(10, skill=3.0), moved=runs(20, tilt=0.0))
    plain = judged["value"].xs("balanced accuracy", level=1)
    assert plain["moved"] > plain["plain"] + 0.05  # as trained, it seems to help
    verdicts = differences["verdict"].unstack()
    assert verdicts.loc["taught", "macro AUC"] == "higher" and verdicts.loc["taught", "log loss"] == "lower"
    said = verdicts.loc["moved"]
    assert said.drop("log loss").str.startswith("no difference").all()
    assert said["log loss"] == "higher"  # its probabilities are those of other class shares
    text = remedy_sentences(differences)
    answer = text.split("**What helps?**")[1]
    assert "Better macro AUC: taught" in answer and "Better log loss: taught" in answer
    assert "Worse log loss: moved" in answer and answer.count("moved") == 1
    assert "Better prior-corrected balanced accuracy: taught" in answer


def test_what_harms_is_said_to_be_worse():
    answer = remedy_sentences(compared(harmed=runs(10, skill=0.8))[1]).split("**What helps?**")[1]
    assert "Worse macro AUC: harmed" in answer and "Worse log loss: harmed" in answer and "Better" not in answer


def test_with_few_runs_or_models_that_learnt_nothing_it_cannot_be_told():
    plain, better = runs(0, repeats=1), runs(10, skill=3.0, repeats=1)
    _, differences = stages.compare_stage(study_of("better"), {"plain": plain, "better": better})
    text = remedy_sentences(differences)
    assert "cannot be told from these runs: no verdict: one run per arm, 3 needed" in text
    assert "No verdict: one run per arm" in text.split("**What helps?**")[0] and "etter macro" not in text
    text = remedy_sentences(compared(idle=runs(10, skill=0.0, tilt=3.0))[1])
    lines, answer = text.split("**What helps?**")
    assert "idle learnt nothing" in lines and "cannot be told from these runs: not measurable here." in answer
    assert "No recipe is compared" in remedy_sentences(pd.DataFrame())


def test_classes_too_rare_are_not_estimable_and_break_nothing():
    few = np.flatnonzero((TRUTH > 0) | (np.arange(len(TRUTH)) < 5))  # five lesions of the first class
    tables = {
        name: PredictionTable([frame.iloc[few] for frame in table.frames], 100)
        for name, table in {"plain": runs(0), "other": runs(10)}.items()
    }
    text = remedy_sentences(stages.compare_stage(study_of("other"), tables)[1])
    assert "Threshold: prior-corrected balanced accuracy not estimable" in text and "nan" not in text


def test_each_arm_is_corrected_and_scaled_by_its_own_validation():
    """On test, an arm whose validation is another model's gets the wrong strength and temperature."""
    arms = {"plain": runs(0), "moved": runs(20, tilt=0.0)}

    def differences(validations):
        corrected = {name: correct_prior(table, validations.get(name)) for name, table in arms.items()}
        scaled = {
            name: apply_temperature(table, fit_temperature(validations.get(name, table)))
            for name, table in arms.items()
        }
        return remedy_differences(corrected, scaled, {"moved": "plain"}, Judging())

    by_itself, own = differences({}), differences(arms)
    others = differences({"plain": arms["plain"], "moved": runs(30, tilt=2.0)})
    value = "value", ("moved", "prior-corrected balanced accuracy"), ("moved", "log loss"), ("moved", "macro AUC")
    assert all(own.loc[name, "value"] == pytest.approx(by_itself.loc[name, "value"], abs=0.02) for name in value[1:])
    assert others.loc[value[1], "value"] < own.loc[value[1], "value"] - 0.02
    assert others.loc[value[3], "value"] == own.loc[value[3], "value"]  # ranking needs no correction


def test_the_table_of_remedies_has_a_line_per_recipe_and_a_column_per_measure():
    table = remedy_table(compared(taught=runs(10, skill=3.0), moved=runs(20, tilt=0.0))[1])
    assert table.index.tolist() == ["taught", "moved"]
    assert table.loc["taught", "macro AUC"].startswith("+0.") and table.loc["taught", "macro AUC"].endswith(": better")
    assert table.loc["taught", "log loss"].startswith("-") and table.loc["taught", "log loss"].endswith(": better")
    assert table.loc["moved", "macro AUC"].endswith(": no difference shown at this n")


def test_the_most_frequent_confusion_is_named():
    scores = np.eye(4)[np.r_[TRUTH[:-30], np.full(30, 2)]]
    table = PredictionTable(prediction_table(TRUTH, scores, range(len(TRUTH))), 100)
    said = stages.confusion_sentences({"made_up": table})
    assert f"30 of 150 images of {CLASSES[3]} are called {CLASSES[2]}" in said and "4 of 4 classes" in said
    right = PredictionTable(prediction_table(TRUTH, np.eye(4)[TRUTH], range(len(TRUTH))), 100)
    assert "No image is misclassified" in stages.confusion_sentences({"made_up": right})


@pytest.fixture(scope="module")
def tables(tiny_study):
    return make_case_tables(tiny_study)


def test_the_recipes_are_told_by_what_differs_from_the_reference(tiny_study):
    rows = stages.recipe_table(tiny_study, "rebalancing")
    assert rows.loc["cnn_over", ["reference", "differs from it in"]].tolist() == ["cnn", "sampler: over"]
    backbone = {"image_size": (24, 32), "batch_norm": True}
    several = {
        "backbone": backbone,
        "freeze_batch_norm": False,
        "offline_copies": {"per_class": 3},
    }  # 8 epochs: default
    reference = {"backbone": {"image_size": (24, 32)}, "phases": [{"epochs": 3}]}
    study = StudyParams(baseline={"cnn": reference}, rebalancing={"b": several})
    (text,) = stages.recipe_table(study, "rebalancing")["differs from it in"]
    assert text == "backbone: batch_norm True; freeze_batch_norm: False; offline_copies: per_class 3; phases: epochs 8"
    assert stages.recipe_table(tiny_study, "baseline").loc["cnn", "other settings"] == "hidden: 16"


def test_counts_and_weights_are_those_of_training(tiny_study, tables):
    counts = stages.case_counts(tiny_study, "baseline", tables)
    of_split = tables["corrected"]["split"].value_counts()
    assert counts["images"].droplevel(0).to_dict() == of_split.to_dict()
    assert f"n = {of_split['train']:,} training images" in stages.sizes(counts)
    shown = stages.class_table(tiny_study, "rebalancing", tables)
    assert shown["training images"].sum() == of_split["train"]
    assert (shown["cnn_over: images"] == shown["training images"].max()).all()


def test_the_table_of_layers_has_every_parameter(tiny_study, tables):
    (network,) = stages.build_networks(tiny_study, "baseline", tables).values()
    layers = stages.layer_table(network)
    assert layers["parameters"].sum() == network.whole.count_params()
    assert layers["output"].iloc[0] == "24 x 32 x 3" and layers["output"].iloc[-1] == "7"
    phases = stages.phase_table(tiny_study, "baseline", {"cnn": network})
    assert phases["parameters trained"].tolist() == [network.whole.count_params()]
    set_trainable(network, "head", True)


@pytest.mark.slow
def test_a_stage_is_trained_and_judged(tiny_study, tables):
    trained = stages.train_stage(tiny_study, "baseline", tables)
    judged_tables, judged = stages.judge_stage(tiny_study, "baseline")
    row = stages.training_table(tiny_study, trained).loc["cnn"]
    assert row["epochs"] == "2 of 2" and row["epoch kept"] in (1, 2) and row["minutes"] > 0
    assert stages.phase_results(tiny_study, trained).loc[("cnn", 1), "its best value"] > 0
    said = stages.validation_sentences(tiny_study, judged_tables, judged, trained)
    assert f"n = {len(judged_tables['cnn']):,} images" in said and "by chance 0.143" in said


def test_pictures_are_those_of_a_phantom(tiny_study):
    recipe = tiny_study.recipes["cnn"]
    shown = stages.batch_of_phantom(tiny_study, recipe)
    assert len(shown) == 8 and shown[0][0].shape == (24, 32, 3)
    ways = {
        "turned": {"augmentation": {"rotation": 0.2}},
        "same": {"augmentation": {"rotation": 0.2}},
        "copied": {"offline_copies": {"per_class": 3}},
    }
    study = tiny_study.model_validate(tiny_study.model_dump() | {"rebalancing": ways})
    changed = stages.changed_phantom(study, "rebalancing", draws=2)
    assert [*changed] == ["turned: in training", "copied: copies"] and {len(row) for row in changed.values()} == {3}
    assert stages.visible_table(study, "rebalancing").index.tolist() == ["turned", "same"]


@pytest.mark.slow
def test_a_study_of_patients_shows_the_default_phantom(tiny_study):
    real = tiny_study.model_copy(update={"dataset": "ham10000", "data": None})
    assert len(stages.batch_of_phantom(real, real.recipes["cnn"])) == 8


def test_random_weights_transfer_nothing():
    names = {"name": "mobilenet_v1"}
    study = StudyParams(transfer={"own": {"backbone": names}, "known": {"backbone": names | {"weights": "imagenet"}}})
    own, known = stages.weights_sentences(study, "transfer").splitlines()
    assert "nothing is transferred" in own and "ImageNet weights" in known
