"""Prediction tables judged and compared: against scikit-learn, cases by hand, and where nothing is estimable."""

import gc
import importlib
import re
import weakref

import numpy as np
import pandas as pd
import pytest
from prediction_tables import CLASSES, CLASSES_P, named_only, prediction_table, table_of
from sklearn import metrics as sklearn

from lesion_utils.errors import InputError
from lesion_utils.evaluation import (
    PredictionTable,
    classification_report,
    compare,
    confusion,
    judge,
    metrics,
    roc_curves,
    sentence,
)
from lesion_utils.evaluation import bootstrap as intervals
from lesion_utils.evaluation.bootstrap import lesion_draws, percentile_interval
from lesion_utils.evaluation.judge import taken_for
from lesion_utils.evaluation.metric_list import Block
from lesion_utils.study import Judging
from lesion_utils.views import views_of

HAM = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
NUMBERS = ["value", "low", "high"]


# judge


def test_judge_gives_scikit_learns_values_under_names_that_a_reader_understands():
    table = table_of([10, 11, 12, 13, 14, 30, 10], views=2, classes=HAM)
    options = Judging(specificity=0.8, sensitivity=0.7, partial_auc_above=0.6)
    judged = judge(PredictionTable(table, 100), options=options)
    scores, truth = table.filter(like="p_").to_numpy(), table["label"].to_numpy()
    named = np.array(HAM)[scores.argmax(1)]
    shares = table["label"].value_counts(normalize=True)
    expected = {
        "accuracy": sklearn.accuracy_score(truth, named),
        "majority baseline accuracy": 0.3,
        "balanced accuracy": sklearn.balanced_accuracy_score(truth, named),
        "macro AUC": sklearn.roc_auc_score(truth, scores, multi_class="ovr", average="macro"),
        "melanoma sensitivity": np.mean(named[truth == "mel"] == "mel"),
        "stratified-random baseline accuracy": (shares**2).sum(),
        "Matthews correlation": sklearn.matthews_corrcoef(truth, named),
        "top-2 accuracy": sklearn.top_k_accuracy_score(truth, scores, k=2),
        "top-3 accuracy": sklearn.top_k_accuracy_score(truth, scores, k=3),
        "macro average precision": sklearn.average_precision_score(truth, scores, average="macro"),
        "Brier score": sklearn.brier_score_loss(truth, scores),
        "log loss": sklearn.log_loss(truth, scores),
    }
    views = {"melanoma": ["mel"], "malignant": ["akiec", "bcc", "mel"]}
    for view, positive in views.items():
        true, found = np.isin(truth, positive), np.isin(named, positive)
        score = scores[:, np.isin(HAM, positive)].sum(1)
        false_rate, true_rate, _ = sklearn.roc_curve(true, score, drop_intermediate=False)
        corner = sklearn.roc_auc_score(~true, -score, max_fpr=0.4)
        expected |= {
            f"{view} sensitivity": sklearn.recall_score(true, found),
            f"{view} specificity": sklearn.recall_score(true, found, pos_label=False),
            f"{view} precision": sklearn.precision_score(true, found),
            f"{view} F1": sklearn.f1_score(true, found),
            f"{view} AUC": sklearn.roc_auc_score(true, score),
            f"{view} average precision": sklearn.average_precision_score(true, score),
            f"{view} sensitivity at specificity 0.8": true_rate[false_rate <= 0.2 + 1e-12].max(),
            f"{view} specificity at sensitivity 0.7": 1 - false_rate[true_rate >= 0.7].min(),
            f"{view} partial AUC above sensitivity 0.6 (ISIC 2024)": 0.08 + (corner - 0.5) * 2 * 0.32,
        }
        start = np.interp(0.6, true_rate, false_rate)
        later = true_rate >= 0.6
        area = sklearn.auc(np.r_[start, false_rate[later]], np.r_[0.6, true_rate[later]])
        expected[f"{view} partial AUC above sensitivity 0.6 (ISIC 2018)"] = area
        expected[f"{view} two-way accuracy"] = (true == found).mean()
        expected[f"{view} two-way majority baseline"] = max(true.mean(), 1 - true.mean())
    per_class = {"labels": HAM, "average": None}
    found = {
        "sensitivity": sklearn.recall_score(truth, named, **per_class),
        "specificity": [sklearn.recall_score(truth == name, named == name, pos_label=False) for name in HAM],
        "precision": sklearn.precision_score(truth, named, **per_class),
        "F1": sklearn.f1_score(truth, named, **per_class),
        "AUC": [sklearn.roc_auc_score(truth == name, table[f"p_{name}"]) for name in HAM],
        "average precision": [sklearn.average_precision_score(truth == name, table[f"p_{name}"]) for name in HAM],
    }
    expected |= {f"{what} {name}": value for what, one in found.items() for name, value in zip(HAM, one, strict=True)}
    assert judged.index.tolist() == judged["metric"].tolist()
    assert set(expected) <= set(judged.index)
    assert judged.loc[list(expected), "value"].to_dict() == pytest.approx(expected, abs=1e-9)
    assert (judged["note"] == "").all()
    assert (judged["low"] <= judged["value"]).all() and (judged["value"] <= judged["high"]).all()
    assert judged.loc[["accuracy", "malignant AUC", "AUC bcc"], "kind"].tolist() == ["overall", "view", "class"]
    assert judged.loc[["accuracy", "malignant AUC", "AUC bcc"], "about"].tolist() == ["", "malignant", "bcc"]
    assert not judged["few"].drop(index=[name for name in judged.index if name.endswith("akiec")]).any()


def test_n_is_what_the_number_is_a_share_of():
    table = table_of([12, 15, 20, 60])
    judged = judge(PredictionTable(table, 50))
    named = table[CLASSES_P].to_numpy().argmax(1) == CLASSES.index("mel")
    expected = {
        "accuracy": (321, 107, 321),
        "melanoma sensitivity": (60, 20, 60),
        "sensitivity mel": (60, 20, 60),
        "specificity mel": (261, 87, 60),
        "precision mel": (named.sum(), table["lesion_id"][named].nunique(), 60),
        "AUC mel": (321, 107, 60),
        "melanoma specificity at sensitivity 0.9": (261, 87, 60),
    }
    for name, counts in expected.items():
        assert tuple(judged.loc[name, ["n", "lesions", "positives"]]) == counts


def test_an_interval_is_the_middle_of_the_draws_of_lesions():
    table = table_of([12, 15, 20, 60])
    judged = judge(PredictionTable(table, 300, seed=5))
    truth, scores = np.repeat(range(4), [36, 45, 60, 180]), table[CLASSES_P].to_numpy()
    weights, _ = lesion_draws(table["lesion_id"].to_numpy(), truth, 4, 300, seed=5)
    counts = metrics.confusion_counts(truth, scores.argmax(1), 4, weights)
    for name, draws in {
        "balanced accuracy": metrics.balanced_accuracy(counts),
        "F1 df": metrics.f1(counts, 1),
        "AUC nv": metrics.Ranking(scores[:, 3], truth == 3).curve(weights).auc,
    }.items():
        assert tuple(judged.loc[name, ["low", "high"]]) == pytest.approx(percentile_interval(draws), abs=1e-12)
    pd.testing.assert_frame_equal(judge(PredictionTable(table, 300, seed=5)), judged)


def test_the_interval_of_four_views_that_agree_is_that_of_one():
    widths = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth, right = np.repeat(rng.integers(2, size=120), 4), np.repeat(rng.random(120) < 0.7, 4)
        scores = np.eye(2)[np.where(right, truth, 1 - truth)] * 0.8 + 0.1
        table = prediction_table(truth, scores, np.arange(480) // 4, ["mel", "nv"])
        judged = [
            judge(PredictionTable(one, 500)).loc["accuracy"]
            for one in (table, table.assign(lesion_id=table["image_id"]))
        ]
        widths.append([row["high"] - row["low"] for row in judged])
    assert np.divide(*np.mean(widths, axis=0)) == pytest.approx(2, abs=0.15)


def test_balanced_accuracy_of_permuted_labels_covers_chance():
    table = table_of([40, 60, 50, 300], views=1)
    table["label"] = np.random.default_rng(0).permutation(table["label"])
    judged = judge(PredictionTable(table, 500))
    assert judged.loc["balanced accuracy", "low"] < 1 / 4 < judged.loc["balanced accuracy", "high"]
    assert judged.loc["Matthews correlation", "low"] < 0 < judged.loc["Matthews correlation", "high"]


# what cannot be estimated


@pytest.mark.parametrize(
    ("rare", "note"), [(9, "df: 9 lesions, at least 10 needed"), (1, "df: 1 lesion, "), (0, "df: 0 ")]
)
def test_a_class_of_too_few_lesions_is_not_estimable_however_many_images(rare, note):
    judged = judge(PredictionTable(table_of([15, rare, 20, 60]), 200))
    refused = {"balanced accuracy", "macro AUC", "macro average precision"}
    refused |= {f"{what} df" for what in ("sensitivity", "precision", "F1", "AUC", "average precision")}
    assert set(judged.index[judged["note"] != ""]) == refused
    assert judged.loc[list(refused), "note"].str.startswith(note).all()
    assert judged.loc[list(refused), NUMBERS].isna().all(axis=None)
    assert judged.drop(index=list(refused))[NUMBERS].notna().all(axis=None)
    assert judged.loc["sensitivity df", ["n", "lesions"]].tolist() == [3 * rare, rare]
    assert judged.loc["sensitivity df", "few"] == (3 * rare < 20)


def test_few_images_are_marked_though_estimable():
    judged = judge(PredictionTable(table_of([15, 12, 20, 60], views=1), 50))
    assert set(judged.loc[judged["few"], "about"]) == {"bkl", "df"}
    assert judged.loc["sensitivity df", "value"] > 0
    assert not judged.loc[["accuracy", "balanced accuracy", "melanoma AUC"], "few"].any()


def test_too_few_of_the_rest_refuse_what_is_about_the_rest():
    judged = judge(PredictionTable(table_of([4, 0, 4, 60]), 50))
    assert judged.loc["specificity nv", "note"] == "not nv: 8 lesions, at least 10 needed"
    assert judged.loc["AUC nv", "note"] == "not nv: 8 lesions, at least 10 needed"
    assert judged.loc["sensitivity nv", "note"] == ""


def test_judge_counts_its_redraws(monkeypatch):
    monkeypatch.setattr(intervals, "MIN_LESIONS", 2)
    judged = judge(PredictionTable(table_of([15, 3, 20, 60]), 1000))  # three lesions: one draw in twenty lacks them
    assert "of 1,000 draws" in judged.loc["balanced accuracy", "note"]
    assert judged.loc[["accuracy", "majority baseline accuracy"], "value"].notna().all()


def naming(table, label, images):
    """``table`` in which so many images of class ``label``, and no others, are named df."""
    table = table.copy()
    table["p_df"] = 0.0
    table[CLASSES_P] = table[CLASSES_P].div(table[CLASSES_P].sum(axis=1), axis=0)
    rows = table.index[table["label"] == label][:: len(table[table["label"] == label]) // images][:images]
    table.loc[rows, CLASSES_P] = np.eye(4)[[1] * len(rows)]
    return table


def test_precision_needs_enough_that_is_named(monkeypatch):
    table = table_of([15, 15, 20, 60])
    judged = judge(PredictionTable(naming(table, "nv", 9), 500))
    assert judged.loc["precision df", "note"] == "predicted df: 9 lesions, at least 10 needed"
    assert judged.loc["F1 df", "value"] == 0
    assert judge(PredictionTable(naming(table, "nv", 12), 500)).loc["precision df", ["value", "low"]].tolist() == [0, 0]
    monkeypatch.setattr(intervals, "MIN_LESIONS", 2)
    note = judge(PredictionTable(naming(table, "nv", 3), 500)).loc[
        "precision df", "note"
    ]  # no draw of the three: one in twenty
    assert 5 < int(re.search(r"(\d+) of 500 draws", note)[1]) < 60


def test_a_class_always_missed_or_never_missed_has_an_interval_all_the_same():
    table = table_of([12] * 4)
    table[CLASSES_P] = 0.1
    table.loc[:, "p_df"] = 0.7  # always names df
    judged = judge(PredictionTable(table, 200))
    assert judged.loc["sensitivity df", ["value", "high"]].tolist() == [1, 1]
    assert judged.loc["sensitivity df", "low"] == pytest.approx(0.025 ** (1 / 12))
    assert judged.loc["sensitivity nv", ["value", "low"]].tolist() == [0, 0]
    assert judged.loc["sensitivity nv", "high"] == pytest.approx(1 - 0.025 ** (1 / 12))
    assert judged.loc["specificity nv", "low"] == pytest.approx(0.025 ** (1 / 36))
    # an AUC of 1/2 in every draw is no certainty, and no share either
    assert judged.loc["AUC nv", "value"] == 0.5
    assert judged.loc["AUC nv", ["low", "high"]].isna().all()
    assert "no interval: every draw gives this value; n = 144" in sentence(judged.loc["AUC nv"])


# repeats, leaks, tables without probabilities, views


def test_repeats_are_averaged_and_their_interval_lies_within_theirs():
    one, other = table_of([12] * 4, seed=1), table_of([12] * 4, seed=2)
    singles = [judge(PredictionTable(table, 200)).loc["balanced accuracy"] for table in (one, other)]
    both = judge(PredictionTable([one, other.sample(frac=1, random_state=0)], 200)).loc["balanced accuracy"]
    assert both["value"] == pytest.approx(np.mean([row["value"] for row in singles]))
    assert both["high"] - both["low"] < max(row["high"] - row["low"] for row in singles)
    pd.testing.assert_frame_equal(judge(PredictionTable([one, one], 200)), judge(PredictionTable(one, 200)))


def test_every_number_of_a_leaky_model_says_so():
    table = table_of([12] * 4)
    leaky = table.assign(leaky=True)
    assert judge(PredictionTable(leaky, 50))["leaky"].all()
    assert judge(PredictionTable([table, leaky], 50))["leaky"].all()
    assert not judge(PredictionTable(table, 50))["leaky"].any()
    for pair in ((leaky, table), (table, leaky)):
        rows = compare(*(PredictionTable(frame, 50) for frame in pair))
        assert rows["leaky"].all()
        assert "(leaky; " in sentence(rows.loc["accuracy"])
    assert "(leaky; 95% CI" in sentence(judge(PredictionTable(leaky, 50)).loc["accuracy"])


def test_a_table_of_predicted_classes_gets_what_needs_no_probabilities():
    table = table_of([12, 15, 20, 60])
    whole, named = judge(PredictionTable(table, 200)), judge(PredictionTable(named_only(table), 200))
    *shared, left_out = named.index
    assert "AUC" in left_out and "no probabilities" in named.loc[left_out, "note"]
    pd.testing.assert_frame_equal(named.loc[shared], whole.loc[shared])
    assert {"accuracy", "melanoma precision", "F1 df", "Matthews correlation"} <= set(shared)
    assert compare(PredictionTable(table, 50), PredictionTable(named_only(table))).index.tolist() == [
        "balanced accuracy", "accuracy", "melanoma sensitivity"
    ]  # fmt: skip
    pd.testing.assert_frame_equal(confusion(PredictionTable(named_only(table))), confusion(PredictionTable(table)))
    assert roc_curves(PredictionTable(named_only(table))) == {}


def test_a_class_that_is_only_predicted_is_a_class():
    table = named_only(table_of([12, 12, 12, 12]))
    table.loc[0, "predicted"] = "scar"
    judged = judge(PredictionTable(table, 50))
    assert judged.loc["sensitivity scar", "note"] == "scar: 0 lesions, at least 10 needed"
    other = table.assign(predicted="tattoo")
    assert (
        compare(PredictionTable(table, 50), PredictionTable(other)).loc["accuracy", "value"]
        == judged.loc["accuracy", "value"]
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predicted": ""}, "no predicted in .* row 2"),
        ({"label": None}, "no label in .* row 2"),
        ({"lesion_id": " "}, "no lesion_id in .* row 2"),
        ({"image_id": "same"}, "duplicate image_id in .*same"),
        ({"label": "nv", "predicted": "nv"}, "'nv'.* two or more classes"),
    ],
)
def test_a_table_of_predicted_classes_that_cannot_be_judged_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        judge(PredictionTable(named_only(table_of([2, 2, 2, 2])).assign(**changed), 20))


def test_judge_refuses_what_it_cannot_read():
    table = table_of([12, 15, 20, 60])
    with pytest.raises(InputError, match=r"no lesion_id in 2 row\(s\): row 5 .*row 7"):
        judge(PredictionTable(table.assign(lesion_id=table["lesion_id"].where(~table.index.isin([3, 5]), "")), 20))
    with pytest.raises(InputError, match=r"missing column\(s\) lesion_id.*predicted"):
        judge(PredictionTable(named_only(table).drop(columns="lesion_id"), 20))
    with pytest.raises(InputError, match="no rows"):
        judge(PredictionTable(named_only(table).iloc[:0], 20))


@pytest.mark.parametrize(
    ("classes", "views"),
    [
        (HAM, {"melanoma": ["mel"], "malignant": ["akiec", "bcc", "mel"]}),
        (
            ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"],
            {"melanoma": ["MEL"], "malignant": ["MEL", "BCC", "AK", "SCC"]},
        ),
        (
            ["actinic keratosis", "basal cell carcinoma", "melanoma", "nevus", "squamous cell carcinoma"],
            {
                "melanoma": ["melanoma"],
                "malignant": ["actinic keratosis", "basal cell carcinoma", "melanoma", "squamous cell carcinoma"],
            },
        ),
        (["Basal_Cell-Carcinoma", "nevus"], {"malignant": ["Basal_Cell-Carcinoma"]}),
        (["benign", "malignant"], {"malignant": ["malignant"]}),
        (["mel", "nv"], {"melanoma": ["mel"]}),
        (["bkl", "nv"], {}),
        (["bcc", "mel"], {"melanoma": ["mel"]}),
    ],
)
def test_views_are_known_by_the_names_of_classes(classes, views):
    assert views_of(classes) == views


def test_views_can_be_named_by_the_caller():
    table = table_of([12, 15, 20, 60])
    judged = judge(PredictionTable(table, 50), views={"melanoma": ["nv"], "pigmented": ["mel", "nv"]})
    assert judged.loc["melanoma sensitivity", "value"] == judged.loc["sensitivity nv", "value"]
    assert judged.loc["pigmented sensitivity", "n"] == 240
    with pytest.raises(InputError, match=r"view 'melanoma': no class mole.* bkl, df, mel, nv"):
        judge(PredictionTable(table, 50), views={"melanoma": ["mole"]})


def test_the_views_of_a_study_come_on_top_of_those_that_names_tell():
    table = table_of([12, 15, 20, 60])
    options = Judging(views={"pigmented": ("mel", "nv")})
    plain, judged = judge(PredictionTable(table, 50)), judge(PredictionTable(table, 50), options=options)
    assert [name for name in judged.index if name not in plain.index] == [
        name.replace("melanoma", "pigmented") for name in plain.index if plain.loc[name, "about"] == "melanoma"
    ]
    pd.testing.assert_frame_equal(judged.loc[plain.index], plain)
    assert judged.index[:5].tolist() == plain.index[:5].tolist()
    assert judged.loc["pigmented two-way majority baseline", "value"] == pytest.approx(80 / 107)
    named = np.array(CLASSES)[table[CLASSES_P].to_numpy().argmax(1)]
    wrong = table["label"].isin(["mel", "nv"]) != np.isin(named, ["mel", "nv"])
    assert judged.loc["pigmented two-way accuracy", "value"] == pytest.approx(1 - wrong.mean())
    compared = compare(
        PredictionTable(table, 50),
        PredictionTable(table),
        wanted=["pigmented AUC", "pigmented two-way accuracy"],
        options=options,
    )
    assert compared["value"].tolist() == [0, 0]
    with pytest.raises(InputError, match=r"view 'pigmented': no class naevus.* bkl, df, mel, nv"):
        judge(PredictionTable(table, 50), options=Judging(views={"pigmented": ("naevus",)}))


def test_the_rows_that_are_wanted_are_those_of_the_whole():
    table = table_of([12, 15, 20, 60])
    wanted = judge(PredictionTable(table, 50), wanted=["AUC nv", "accuracy", "no such metric"])
    assert wanted.index.tolist() == ["accuracy", "AUC nv"]
    pd.testing.assert_frame_equal(wanted, judge(PredictionTable(table, 50)).loc[wanted.index])
    assert judge(PredictionTable(named_only(table), 50), wanted=["accuracy"]).index.tolist() == ["accuracy"]


def test_a_study_without_melanoma_has_no_view():
    assert set(judge(PredictionTable(table_of([20, 20], classes=["bkl", "nv"]), 20))["kind"]) == {"overall", "class"}


# compare


def test_a_table_compared_with_itself_differs_by_exactly_nothing():
    table = table_of([12, 15, 20, 60])
    shuffled = table.sample(frac=1, random_state=3)[[*table.columns[:3], "p_nv", "p_df", "p_mel", "p_bkl"]]
    compared = compare(PredictionTable(table, 200), PredictionTable(shuffled))
    assert compared.index.tolist() == ["balanced accuracy", "macro AUC", "accuracy", "melanoma sensitivity"]
    assert (compared[NUMBERS] == 0).all(axis=None)
    assert (compared["p"] == 1).all()
    assert compared["metric"].iloc[1] == "difference in macro AUC"


def worse_in(table, rows):
    worse = table.copy()
    worse.loc[rows, CLASSES_P] = np.roll(worse.loc[rows, CLASSES_P].to_numpy(), 1, axis=1)
    return worse


def test_the_difference_is_paired_and_signed():
    table = table_of([12, 15, 20, 60], views=2)
    worse = worse_in(table, slice(0, 30))
    better, judged = compare(PredictionTable(table, 400), PredictionTable(worse)), judge(PredictionTable(table, 400))
    reverse = compare(PredictionTable(worse, 400), PredictionTable(table))
    for name in better.index:
        expected = judged.loc[name, "value"] - judge(PredictionTable(worse, 20)).loc[name, "value"]
        assert better.loc[name, "value"] == pytest.approx(expected)
        assert reverse.loc[name, NUMBERS].tolist() == pytest.approx(
            [-better.loc[name, end] for end in ("value", "high", "low")]
        )
        assert reverse.loc[name, "p"] == better.loc[name, "p"]
    # two independent intervals would be wider than either: on the same draws the common part cancels
    spread = {"paired": better, "alone": judged}
    width = {name: one.loc["accuracy", "high"] - one.loc["accuracy", "low"] for name, one in spread.items()}
    assert 0 < width["paired"] < width["alone"] * 1.2
    assert better.loc["accuracy", "low"] > 0


def test_what_was_judged_is_not_computed_again_to_compare_it_unless_its_draws_are_others(monkeypatch):
    frames = [table_of([12, 15, 20, 60], seed=seed) for seed in range(4)]
    plain = compare(PredictionTable(frames[:2], 200), PredictionTable(frames[2:], 200))
    table = PredictionTable(frames[:2], 200)
    reference, other_draws = table.with_frames(frames[2:]), PredictionTable(frames[2:], 200, seed=1)
    for of in (table, reference, other_draws):
        judge(of)
    built = []
    room = importlib.import_module("lesion_utils.evaluation.judge")
    monkeypatch.setattr(room, "Block", lambda *of: built.append(of) or Block(*of))
    pd.testing.assert_frame_equal(compare(table, reference), plain)
    assert not built
    pd.testing.assert_frame_equal(compare(table, other_draws), plain)  # the draws of the first table decide
    assert built
    table.draws = other_draws.draws
    assert (
        judge(table, wanted=["accuracy"]).loc["accuracy", "low"]
        != judge(PredictionTable(frames[:2], 200)).loc["accuracy", "low"]
    )


def test_the_p_value_is_the_level_at_which_the_interval_reaches_nothing():
    table = table_of([15, 15, 20, 60], views=1)
    clear, hidden = (
        compare(PredictionTable(table, 999), PredictionTable(worse_in(table, slice(0, 60)))),
        compare(PredictionTable(table, 999), PredictionTable(worse_in(table, slice(0, 6)))),
    )
    assert clear.loc["accuracy", "p"] == 2 / 1000  # no draw on the other side of 0
    row = hidden.loc["accuracy"]
    assert 0.002 < row["p"] < 1
    truth = np.repeat(range(4), [15, 15, 20, 60])
    weights, _ = lesion_draws(table["lesion_id"], truth, 4, 999, seed=0)
    right = [one[CLASSES_P].to_numpy().argmax(1) == truth for one in (table, worse_in(table, slice(0, 6)))]
    draws = weights @ (right[0].astype(int) - right[1])
    assert row["p"] == 2 * (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / 1000


@pytest.mark.slow
def test_no_difference_has_a_small_p_value_as_rarely_as_it_says():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(80):
        right = rng.random((2, 150)) < 0.7
        one, other = (
            prediction_table(np.zeros(150, int), np.eye(2)[1 - row.astype(int)], range(150), ["mel", "nv"])
            for row in right
        )
        found.append(compare(PredictionTable(one, 199), PredictionTable(other), wanted=["accuracy"])["p"].item() < 0.1)
    assert 0.02 < np.mean(found) < 0.2


@pytest.mark.slow
def test_repeats_are_compared_by_their_means():
    tables = [table_of([12, 15, 20, 60], seed=seed) for seed in range(4)]
    both = compare(PredictionTable(tables[:2], 300), PredictionTable(tables[2:]))
    for name in both.index:
        single = [judge(PredictionTable(table, 20)).loc[name, "value"] for table in tables]
        assert both.loc[name, "value"] == pytest.approx(np.mean(single[:2]) - np.mean(single[2:]))
    reverse = compare(PredictionTable(tables[2:], 300), PredictionTable(tables[:2]))
    assert reverse["value"].tolist() == pytest.approx((-both["value"]).tolist())
    # more repeats, less noise of the models
    single = compare(PredictionTable(tables[0], 300), PredictionTable(tables[2])).loc["accuracy"]
    assert both.loc["accuracy", "high"] - both.loc["accuracy", "low"] < single["high"] - single["low"]


def test_any_row_of_the_judge_can_be_compared():
    table = table_of([12, 15, 20, 60])
    compared = compare(
        PredictionTable(table, 100),
        PredictionTable(worse_in(table, slice(0, 60))),
        wanted=["log loss", "F1 nv", "no such metric"],
    )
    assert compared.index.tolist() == ["log loss", "F1 nv"]
    assert compared.loc["log loss", "value"] < 0


def test_compare_refuses_what_it_cannot_estimate():
    table = table_of([15, 6, 20, 60])
    compared = compare(PredictionTable(table, 50), PredictionTable(table))
    assert compared.loc["balanced accuracy", "note"] == "df: 6 lesions, at least 10 needed"
    assert compared.loc["macro AUC", ["value", "p"]].isna().all()
    assert compared.loc["accuracy", "value"] == 0


def test_compare_names_the_cases_that_are_not_the_same():
    table = table_of([12, 15, 20, 60])
    with pytest.raises(InputError, match=r"img00000, .*img00009 … and 2 more"):
        compare(PredictionTable(table, 20), PredictionTable(table.iloc[12:]))
    relabelled = table.assign(label=table["label"].where(table["image_id"] != "img00007", "nv"))
    with pytest.raises(InputError, match="differ in label for img00007"):
        compare(PredictionTable(table, 20), PredictionTable(relabelled))
    with pytest.raises(InputError, match="differ in lesion_id for img00000"):
        compare(PredictionTable(table, 20), PredictionTable(table.assign(lesion_id=table["image_id"])))
    with pytest.raises(InputError, match="different classes"):
        compare(
            PredictionTable(table, 20), PredictionTable(table.rename(columns={"p_df": "p_vasc"}).assign(label="nv"))
        )


# tables for figures


def test_confusion_has_true_rows_and_predicted_columns_in_the_order_of_the_table():
    scores = np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.3, 0.1, 0.6]])
    counts = confusion(
        PredictionTable(prediction_table(np.array([0, 1, 2, 0]), scores, range(4), ["nv", "mel", "bkl"]))
    )
    assert counts.to_numpy().tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 1]]
    assert counts.index.tolist() == counts.columns.tolist() == ["nv", "mel", "bkl"]
    assert (counts.index.name, counts.columns.name) == ("true", "predicted")


def test_what_the_images_of_a_class_are_taken_for():
    counts = pd.DataFrame([[5, 2, 0], [0, 3, 0], [0, 0, 0]], index=list("abc"), columns=list("abc"))
    assert taken_for(counts).to_dict() == {"a": "2 of 7, most often b (2)", "b": "0 of 3", "c": "no image"}


def test_classification_report_holds_classes_in_order_and_the_absent_one():
    table = table_of([15, 0, 20, 60])
    report = classification_report(PredictionTable(table))
    assert report.index.tolist() == [*CLASSES, "accuracy", "macro avg", "weighted avg"]
    assert report["support"].tolist() == [45, 0, 60, 180, 285, 285, 285]
    assert report.loc["df", "recall"] == 0
    judged = judge(PredictionTable(table, 20))
    assert report.loc["mel", "recall"] == pytest.approx(judged.loc["melanoma sensitivity", "value"])
    assert report.loc["accuracy", "f1-score"] == pytest.approx(judged.loc["accuracy", "value"])


def test_roc_curves_leave_out_the_absent_class_and_enclose_the_auc():
    table = table_of([15, 0, 20, 60])
    curves = roc_curves(PredictionTable(table))
    assert list(curves) == ["bkl", "mel", "nv"]
    for name, (false_rate, true_rate, n) in curves.items():
        area = np.trapezoid(true_rate, false_rate)
        assert n == (table["label"] == name).sum()
        assert area == pytest.approx(sklearn.roc_auc_score(table["label"] == name, table[f"p_{name}"]))
    assert roc_curves(PredictionTable(table[table["label"] == "nv"])) == {}


def test_roc_curves_of_several_classes_together_come_after_those_of_single_classes():
    table = table_of([15, 12, 20, 60])
    curves = roc_curves(PredictionTable(table), {"dark": ["bkl", "mel"], "spot": ["nv"]})
    assert list(curves)[-1] == "dark" and "spot" not in curves
    false_rate, true_rate, n = curves["dark"]
    truth, stated = table["label"].isin(["bkl", "mel"]), table["p_bkl"] + table["p_mel"]
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(sklearn.roc_auc_score(truth, stated))
    assert n == truth.sum()


# compare_unpaired


def test_two_sets_of_cases_are_compared_by_independent_draws():
    one, other = table_of([20, 20, 20, 60], seed=1), table_of([15, 15, 20, 90], seed=2)
    compared = compare(
        PredictionTable(one, 2000), PredictionTable(other), wanted=["accuracy", "balanced accuracy"], paired=False
    )
    judged = [judge(PredictionTable(table, 2000)) for table in (one, other)]
    for name in compared.index:
        rows = [frame.loc[name] for frame in judged]
        assert compared.loc[name, "value"] == pytest.approx(rows[0]["value"] - rows[1]["value"])
        spread = np.hypot(*(row["high"] - row["low"] for row in rows))  # variances of independent draws add up
        assert compared.loc[name, "high"] - compared.loc[name, "low"] == pytest.approx(spread, rel=0.1)
    assert compared.loc["accuracy", ["metric", "n", "lesions"]].tolist() == ["difference in accuracy", 360, 120]
    assert (
        compare(PredictionTable(one, 500), PredictionTable(one), paired=False).loc["accuracy", "low"] < 0
    )  # even of the same cases: not paired


def test_what_one_side_cannot_support_has_no_difference_and_other_classes_are_refused():
    few = table_of([20, 5, 20, 60])
    for pair in ((few, table_of([20] * 4)), (table_of([20] * 4), few)):
        row = compare(*(PredictionTable(frame, 100) for frame in pair), paired=False).loc["balanced accuracy"]
        assert np.isnan(row["value"]) and row["note"] == "df: 5 lesions, at least 10 needed"
    with pytest.raises(InputError, match="different classes: bkl, df, mel, nv; bkl, nv"):
        compare(PredictionTable(few, 20), PredictionTable(table_of([20, 20], classes=["bkl", "nv"])), paired=False)


# cross-validation


def dealt(frame, folds=5):
    """``frame`` with its lesions dealt into folds."""
    return frame.assign(fold=pd.factorize(frame["lesion_id"])[0] % folds)


def test_a_number_of_cross_validation_is_the_mean_of_its_folds():
    frame = dealt(table_of([60, 60, 60, 60]))
    table = PredictionTable(frame, 200)
    parts = [judge(PredictionTable(part.drop(columns="fold"), 100)) for _, part in frame.groupby("fold")]
    row = judge(table)
    assert len(table.runs) == 5 and table.lesions == 240
    for metric in ("accuracy", "balanced accuracy", "macro AUC", "log loss", "melanoma sensitivity", "Brier score"):
        assert row.at[metric, "value"] == pytest.approx(np.mean([part.at[metric, "value"] for part in parts]))
    assert row.at["accuracy", "n"] == 720
    baseline = "stratified-random baseline accuracy"
    assert row.at[baseline, "value"] == pytest.approx(np.mean([part.at[baseline, "value"] for part in parts]))


def test_the_interval_of_folds_is_that_of_all_lesions_widened_where_their_models_differ():
    def width(frame):
        row = judge(PredictionTable(frame, 400), wanted=["accuracy"]).loc["accuracy"]
        return row["high"] - row["low"]

    frames = [table_of([60, 60, 60, 60], seed=seed) for seed in range(9)]
    assert 0.9 < np.median([width(dealt(frame)) / width(frame) for frame in frames]) < 1.3
    spoilt, columns = dealt(frames[0]), [f"p_{name}" for name in CLASSES]
    first = spoilt["fold"] == 0
    spoilt.loc[first, columns] = np.roll(spoilt.loc[first, columns], 1, axis=1)  # its model knows nothing
    assert width(spoilt) > 3 * width(frames[0])


def test_passes_through_the_folds_are_further_runs_and_differences_are_paired_by_fold():
    passes = [dealt(table_of([60, 60, 60, 60], seed=seed)) for seed in (0, 1)]
    assert len(PredictionTable(passes, 200).runs) == 10
    better, worse = (PredictionTable(frame, 200) for frame in passes)
    row = compare(better, worse, ["accuracy"]).loc["accuracy"]
    by_fold = [
        (judge(PredictionTable(a, 100), wanted=["accuracy"]).at["accuracy", "value"])
        - (judge(PredictionTable(b, 100), wanted=["accuracy"]).at["accuracy", "value"])
        for a, b in ([frame[frame["fold"] == fold].drop(columns="fold") for frame in passes] for fold in range(5))
    ]
    assert row["single"] == pytest.approx(by_fold) and row["value"] == pytest.approx(np.mean(by_fold))
    with pytest.raises(InputError, match="differ in fold"):
        PredictionTable([passes[0], passes[0].assign(fold=passes[0]["fold"].iloc[::-1].to_numpy())])


def test_a_block_of_draws_is_freed_as_soon_as_it_is_judged():
    table = PredictionTable(table_of([20, 20, 20, 20]), 100)
    block = Block(table, table.runs[0], table.weights)
    block.curve(np.eye(4, dtype=bool)[0].tobytes())
    gone = weakref.ref(block)
    gc.disable()
    try:
        del block
        assert gone() is None  # no cycle of references waits for the collector, while gigabytes pile up
    finally:
        gc.enable()
