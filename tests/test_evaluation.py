"""The evaluation room against scikit-learn, against repeated rows, and against simulations whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score, recall_score, roc_auc_score

from lesion_utils.errors import InputError
from lesion_utils.evaluation import (
    classification_report,
    compare,
    confusion,
    intervals,
    judge,
    metrics,
    roc_curves,
    sentence,
    verdict,
)
from lesion_utils.evaluation.intervals import lesion_draws, not_estimable, percentile_interval
from lesion_utils.evaluation.results import choose

CLASSES = ["bkl", "df", "mel", "nv"]
CLASSES_P = [f"p_{name}" for name in CLASSES]


def cases(rng, n, k, ties=False):
    """Truth that holds every class, and scores that know something of it; ``ties``: in steps of a tenth."""
    truth = rng.permutation(np.r_[np.arange(k), rng.integers(k, size=n - k)])
    scores = rng.dirichlet(np.ones(k), n) + 0.3 * np.eye(k)[truth]
    scores /= scores.sum(1, keepdims=True)
    if ties:  # whole tenths, whose sum is kept by the last class
        scores = np.floor(scores * 10) / 10
        scores[:, -1] += 1 - scores.sum(1)
        scores = scores.round(1)
    return truth, scores


def prediction_table(truth, scores, lesions, classes=CLASSES):
    table = pd.DataFrame({"image_id": [f"img{i:05}" for i in range(len(truth))]})
    table["lesion_id"] = [f"les{lesion:05}" for lesion in lesions]
    table["label"] = np.array(classes)[truth]
    return pd.concat([table, pd.DataFrame(scores, columns=[f"p_{name}" for name in classes])], axis=1)


def table_of(lesions_per_class, views=3, seed=0, classes=CLASSES):
    """A table with so many lesions a class, ``views`` images each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(np.arange(len(classes)), lesions_per_class), views)
    scores = rng.dirichlet(np.ones(len(classes)), len(truth)) + 0.5 * np.eye(len(classes))[truth]
    scores /= scores.sum(1, keepdims=True)
    return prediction_table(truth, scores, np.arange(len(truth)) // views, classes)


# metrics


def all_metrics(truth, scores, weights):
    """Every metric at once, (metrics, B); the majority class is of the table, so not among them."""
    of_class = (metrics.sensitivity, metrics.specificity, metrics.precision, metrics.class_auc)
    whole = (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_auc)
    return np.array(
        [metric(truth, scores, weights) for metric in whole]
        + [metric(truth, scores, weights, index) for metric in of_class for index in range(scores.shape[1])]
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [3, 7])
def test_metrics_are_those_of_scikit_learn(k, ties):
    truth, scores = cases(np.random.default_rng(k), 400, k, ties)
    predicted = scores.argmax(1)
    sensitivity = recall_score(truth, predicted, average=None)
    other = [accuracy_score(truth == i, predicted == i, sample_weight=truth != i) for i in range(k)]
    expected = [
        accuracy_score(truth, predicted),
        balanced_accuracy_score(truth, predicted),
        roc_auc_score(truth, scores, multi_class="ovr", average="macro"),
        *sensitivity,
        *other,
        *precision_score(truth, predicted, average=None),
        *(roc_auc_score(truth == i, scores[:, i]) for i in range(k)),
    ]
    assert all_metrics(truth, scores, np.ones((1, 400)))[:, 0] == pytest.approx(expected, abs=1e-12)


def test_fractional_weights_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    truth, scores = cases(rng, 300, 3, ties=True)
    weights = rng.exponential(size=(2, 300))
    for draw, weight in enumerate(weights):
        auc = roc_auc_score(truth == 1, scores[:, 1], sample_weight=weight)
        assert metrics.class_auc(truth, scores, weights, 1)[draw] == pytest.approx(auc, abs=1e-12)
        expected = accuracy_score(truth, scores.argmax(1), sample_weight=weight)
        assert metrics.accuracy(truth, scores, weights)[draw] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 40), k=st.integers(2, 4), ties=st.booleans())
def test_integer_weights_are_repeated_rows(seed, n, k, ties):
    rng = np.random.default_rng(seed)
    truth, scores = cases(rng, n, k, ties)
    weights = rng.poisson(1, size=(3, n)).astype(np.uint8)
    weights[:, 0] += 1  # a draw is never empty
    weighted = all_metrics(truth, scores, weights)
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(n), weight)
        repeated = all_metrics(truth[rows], scores[rows], np.ones((1, len(rows))))
        np.testing.assert_array_equal(weighted[:, draw], repeated[:, 0])  # NaN in the same places too


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_the_order_of_rows_changes_no_point_estimate(seed, ties):
    rng = np.random.default_rng(seed)
    truth, scores = cases(rng, 30, 3, ties)
    order, one = rng.permutation(30), np.ones((1, 30))
    np.testing.assert_array_equal(all_metrics(truth, scores, one), all_metrics(truth[order], scores[order], one))


def test_blocks_of_draws_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    truth, scores = cases(rng, 50, 3)
    weights = rng.poisson(1, size=(101, 50)).astype(np.uint8)
    at_once = all_metrics(truth, scores, weights)
    monkeypatch.setattr(metrics, "BLOCK", 350)  # 7 draws at a time, the last block smaller
    np.testing.assert_array_equal(all_metrics(truth, scores, weights), at_once)


def test_the_majority_class_is_that_of_the_table_in_every_draw():
    truth, scores = np.array([0, 0, 0, 1, 1]), np.full((5, 2), 0.5)
    weights = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 2, 2]])
    assert metrics.majority_accuracy(truth, scores, weights).tolist() == [0.6, 0.2]


def test_a_metric_without_its_class_is_nan():
    truth, scores = np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    weights = np.array([[1, 1, 1], [1, 1, 0]])
    for metric in (metrics.balanced_accuracy, metrics.macro_auc):
        assert np.isnan(metric(truth, scores, weights)).tolist() == [False, True]
    assert np.isnan(metrics.sensitivity(truth, scores, weights, 1)).tolist() == [False, True]
    assert not np.isnan(metrics.accuracy(truth, scores, weights)).any()


# draws of lesions


def test_draws_are_of_whole_lesions_with_replacement():
    lesions = np.array(["a", "b", "a", "c", "b", "a", "d", "e"])
    weights, redrawn = lesion_draws(lesions, np.zeros(8, int), 1, resamples=4000, seed=1)
    assert (weights.shape, redrawn) == ((4000, 8), 0)
    assert weights.dtype.itemsize <= 4
    for lesion in "ab":
        views = weights[:, lesions == lesion]
        assert (views == views[:, :1]).all()
    one_view_each = weights[:, [0, 1, 3, 6, 7]].astype(float)
    assert (one_view_each.sum(1) == 5).all()
    # binomial(5, 1/5): mean 1, variance 0.8
    assert one_view_each.mean(0) == pytest.approx(np.ones(5), abs=0.06)
    assert one_view_each.var(0) == pytest.approx(np.full(5, 0.8), abs=0.1)


def test_draws_come_from_the_seed():
    arguments = (np.arange(30) // 2, np.arange(30) % 3, 3, 50)
    first, again, other = (lesion_draws(*arguments, seed=seed)[0] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_draw_that_lacks_a_class_is_redrawn_and_counted():
    truth = np.r_[np.zeros(40, int), np.ones(3, int)]
    lesions = np.arange(43)
    weights, redrawn = lesion_draws(lesions, truth, 2, resamples=4000, seed=0)
    assert (weights[:, truth == 1].sum(1) > 0).all()
    lacking = (1 - 3 / 43) ** 43  # chance of a draw; redrawn ones may lack it again
    assert redrawn == pytest.approx(4000 * lacking / (1 - lacking), rel=0.2)
    free, none = lesion_draws(lesions, truth, 2, resamples=4000, seed=0, at_least=10)
    assert none == 0
    assert (free[:, truth == 1].sum(1) == 0).mean() == pytest.approx(lacking, rel=0.2)


def test_redrawing_ends_where_hardly_a_draw_holds_all_classes():
    weights, redrawn = lesion_draws(np.arange(30), np.arange(30), 31, resamples=200, seed=0)
    assert weights.shape == (200, 30)
    assert redrawn >= 200  # so that the 1 % rule refuses what needs the classes


def test_the_percentile_interval_leaves_a_fortieth_on_either_side():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))


# known truth


def clustered(seed, lesions=120, views=4, accuracy=0.7):
    """A two-class table in which all views of a lesion are right or wrong together."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(2, size=lesions), views)
    right = np.repeat(rng.random(lesions) < accuracy, views)
    scores = np.eye(2)[np.where(right, truth, 1 - truth)] * 0.8 + 0.1
    return prediction_table(truth, scores, np.arange(lesions * views) // views, ["mel", "nv"])


def test_the_lesion_interval_covers_the_truth_and_the_image_interval_does_not():
    by_lesion, by_image, widths = [], [], []
    for seed in range(200):
        table = clustered(seed)
        rows = [judge(one, 300, seed).loc["accuracy"] for one in (table, table.assign(lesion_id=table["image_id"]))]
        covered = [row["low"] <= 0.7 <= row["high"] for row in rows]
        by_lesion.append(covered[0])
        by_image.append(covered[1])
        widths.append([row["high"] - row["low"] for row in rows])
        assert all(row["low"] < row["value"] < row["high"] for row in rows)
    assert 0.90 <= np.mean(by_lesion) <= 0.985  # 95 % within three standard errors of 200 runs
    assert np.mean(by_image) < 0.80
    # four views that agree are one: the interval is sqrt(4) times as wide
    assert np.divide(*np.mean(widths, axis=0)) == pytest.approx(2, abs=0.15)


def test_balanced_accuracy_of_permuted_labels_covers_chance():
    table = table_of([40, 60, 50, 300], views=1)
    table["label"] = np.random.default_rng(0).permutation(table["label"])
    row = judge(table, 500).loc["balanced accuracy"]
    assert row["low"] < 1 / 4 < row["high"]


# judge


def test_judge_gives_scikit_learns_values_with_n_and_lesions():
    table = table_of([12, 15, 20, 60])
    judged = judge(table, 200)
    truth, predicted = table["label"], np.array(CLASSES)[table.filter(like="p_").to_numpy().argmax(1)]
    sensitivity = dict(zip(CLASSES, recall_score(truth, predicted, average=None), strict=True))
    expected = {
        "accuracy": accuracy_score(truth, predicted),
        "majority baseline accuracy": 60 / 107,
        "balanced accuracy": balanced_accuracy_score(truth, predicted),
        "macro AUC": roc_auc_score(truth, table.filter(like="p_"), multi_class="ovr", average="macro"),
        "melanoma sensitivity": sensitivity["mel"],
    } | {f"sensitivity {name}": value for name, value in sensitivity.items()}
    assert judged["metric"].tolist() == judged.index.tolist() == list(expected)
    assert judged["value"].tolist() == pytest.approx(list(expected.values()))
    assert (judged["low"] <= judged["value"]).all()
    assert (judged["value"] <= judged["high"]).all()
    assert (judged["note"] == "").all()
    assert judged.loc["accuracy", ["n", "lesions"]].tolist() == [321, 107]
    assert judged.loc["melanoma sensitivity", ["n", "lesions"]].tolist() == [60, 20]
    pd.testing.assert_frame_equal(judge(table, 200), judged)


def test_a_study_without_melanoma_has_no_melanoma_row():
    assert "melanoma sensitivity" not in judge(table_of([20, 20], classes=["bcc", "nv"]), 20).index


@pytest.mark.parametrize(
    ("rare", "note"), [(9, "df: 9 lesions, at least 10 needed"), (1, "df: 1 lesion, "), (0, "df: 0 ")]
)
def test_a_class_of_too_few_lesions_is_not_estimable_however_many_images(rare, note):
    judged = judge(table_of([15, rare, 20, 60]), 200)
    refused = {"balanced accuracy", "macro AUC", "sensitivity df"}
    assert set(judged.index[judged["note"] != ""]) == refused
    assert judged.loc[list(refused), "note"].str.startswith(note).all()
    assert judged.loc[list(refused), ["value", "low", "high"]].isna().all(axis=None)
    others = judged.drop(index=list(refused))
    assert others[["value", "low", "high"]].notna().all(axis=None)
    assert judged.loc["sensitivity df", ["n", "lesions"]].tolist() == [3 * rare, rare]


def test_ten_lesions_are_enough():
    assert (judge(table_of([15, 10, 20, 60]), 200)["note"] == "").all()


def test_more_than_one_percent_of_redraws_refuses_what_needs_classes():
    assert not_estimable({"df": 10}, redrawn=20, resamples=2000) == ""
    refused = not_estimable({"df": 10}, redrawn=21, resamples=2000)
    assert refused == "21 redraws for want of a class in 2,000 draws, at most 1 % allowed"
    assert not_estimable({}, redrawn=2000, resamples=2000) == ""


def test_judge_counts_its_redraws(monkeypatch):
    monkeypatch.setattr(intervals, "MIN_LESIONS", 2)
    judged = judge(table_of([15, 3, 20, 60]), 1000)  # three lesions: one draw in twenty lacks them
    assert "redraws for want of a class" in judged.loc["balanced accuracy", "note"]
    assert judged.loc[["accuracy", "majority baseline accuracy"], "value"].notna().all()


def test_judge_refuses_images_without_a_lesion():
    table = table_of([12, 15, 20, 60])
    table.loc[[3, 5], "lesion_id"] = ""
    with pytest.raises(InputError, match="no lesion_id for img00003, img00005"):
        judge(table, 20)


# compare


def test_a_table_compared_with_itself_differs_by_exactly_nothing():
    table = table_of([12, 15, 20, 60])
    shuffled = table.sample(frac=1, random_state=3)[[*table.columns[:3], "p_nv", "p_df", "p_mel", "p_bkl"]]
    compared = compare(table, shuffled, 200)
    assert compared.index.tolist() == ["balanced accuracy", "macro AUC", "accuracy", "melanoma sensitivity"]
    assert (compared[["value", "low", "high"]] == 0).all(axis=None)
    assert compared["metric"].iloc[1] == "difference in macro AUC"


def test_the_difference_is_paired_and_signed():
    table, worse = table_of([12, 15, 20, 60], views=2), table_of([12, 15, 20, 60], views=2)
    worse.loc[:30, CLASSES_P] = np.roll(worse.loc[:30, CLASSES_P].to_numpy(), 1, axis=1)
    better, judged = compare(table, worse, 400), judge(table, 400)
    reverse = compare(worse, table, 400)
    for name in better.index:
        expected = judged.loc[name, "value"] - judge(worse, 20).loc[name, "value"]
        assert better.loc[name, "value"] == pytest.approx(expected)
        assert reverse.loc[name, ["value", "low", "high"]].tolist() == pytest.approx(
            [-better.loc[name, end] for end in ("value", "high", "low")]
        )
    # two independent intervals would be wider than either: on the same draws the common part cancels
    spread = {"paired": better, "alone": judged}
    width = {name: one.loc["accuracy", "high"] - one.loc["accuracy", "low"] for name, one in spread.items()}
    assert 0 < width["paired"] < width["alone"] * 1.2
    assert better.loc["accuracy", "low"] > 0


def test_compare_refuses_what_it_cannot_estimate():
    table = table_of([15, 6, 20, 60])
    compared = compare(table, table, 50)
    assert compared.loc["balanced accuracy", "note"] == "df: 6 lesions, at least 10 needed"
    assert np.isnan(compared.loc["macro AUC", "value"])
    assert compared.loc["accuracy", "value"] == 0


def test_compare_names_the_cases_that_are_not_the_same():
    table = table_of([12, 15, 20, 60])
    with pytest.raises(InputError, match=r"one of them only: img00000, .*img00009 … and 2 more"):
        compare(table, table.iloc[12:], 20)
    relabelled = table.assign(label=table["label"].where(table["image_id"] != "img00007", "nv"))
    with pytest.raises(InputError, match="differ in label for img00007"):
        compare(table, relabelled, 20)
    with pytest.raises(InputError, match="differ in lesion_id for img00000"):
        compare(table, table.assign(lesion_id=table["image_id"]), 20)
    with pytest.raises(InputError, match="other classes"):
        compare(table, table.rename(columns={"p_df": "p_vasc"}).assign(label="nv"), 20)


# tables and sentences


def test_confusion_has_true_rows_and_predicted_columns_in_the_order_of_the_table():
    scores = np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.3, 0.1, 0.6]])
    counts = confusion(prediction_table(np.array([0, 1, 2, 0]), scores, range(4), ["nv", "mel", "bkl"]))
    assert counts.to_numpy().tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 1]]
    assert counts.index.tolist() == counts.columns.tolist() == ["nv", "mel", "bkl"]
    assert (counts.index.name, counts.columns.name) == ("true", "predicted")


def test_classification_report_holds_classes_in_order_and_the_absent_one():
    table = table_of([15, 0, 20, 60])
    report = classification_report(table)
    assert report.index.tolist() == [*CLASSES, "accuracy", "macro avg", "weighted avg"]
    assert report["support"].tolist() == [45, 0, 60, 180, 285, 285, 285]
    assert report.loc["df", "recall"] == 0
    judged = judge(table, 20)
    assert report.loc["mel", "recall"] == pytest.approx(judged.loc["melanoma sensitivity", "value"])
    assert report.loc["accuracy", "f1-score"] == pytest.approx(judged.loc["accuracy", "value"])


def test_roc_curves_leave_out_the_absent_class_and_enclose_the_auc():
    table = table_of([15, 0, 20, 60])
    curves = roc_curves(table)
    assert list(curves) == ["bkl", "mel", "nv"]
    for name, (false_rate, true_rate) in curves.items():
        area = np.trapezoid(true_rate, false_rate)
        assert area == pytest.approx(roc_auc_score(table["label"] == name, table[f"p_{name}"]))
    assert roc_curves(table[table["label"] == "nv"]) == {}


def test_sentences_carry_interval_unit_and_n():
    row = pd.Series(
        {"metric": "balanced accuracy", "value": 0.6921, "low": 0.664, "high": 0.7202}
        | {"n": 2003, "lesions": 1494, "note": ""}
    )
    assert sentence(row) == (
        "balanced accuracy 0.692 (95 % interval 0.66 to 0.72, by lesion; n = 2,003 images of 1,494 lesions)"
    )
    narrow = row.copy()
    narrow[["metric", "value", "low", "high"]] = ["difference in macro AUC", -0.0001, -0.0042, 0.0031]
    assert sentence(narrow).startswith("difference in macro AUC 0.000 (95 % interval -0.004 to 0.003, by lesion")
    refused = judge(table_of([15, 6, 20, 60]), 20).loc["balanced accuracy"]
    assert sentence(refused) == "balanced accuracy: not estimable (df: 6 lesions, at least 10 needed)"


def test_verdict_follows_the_interval():
    def row(value, low, high):
        return pd.Series({"value": value, "low": low, "high": high})

    assert verdict(row(0.1, 0.02, 0.2)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02)) == "lower"
    assert verdict(row(0.1, -0.02, 0.2)) == "no difference shown at this n"
    assert verdict(row(np.nan, np.nan, np.nan)) == "not estimable"


def judged_frame(balanced, accuracy):
    """Frames of ``judge`` for recipes a and b, as notebook 5 stacks them; test values are the other way round."""
    rows = {
        (recipe, part, metric): {"metric": metric, "value": values[recipe] if part == "validation" else -values[recipe]}
        for metric, values in (("balanced accuracy", balanced), ("accuracy", accuracy))
        for part in ("validation", "test")
        for recipe in ("a", "b")
    }
    index = pd.MultiIndex.from_tuples(rows, names=["recipe", "part", "name"])
    return pd.DataFrame(rows.values(), index=index)


def test_the_recipe_is_chosen_on_validation_by_balanced_accuracy_if_it_is_estimable():
    accuracy = {"a": 0.9, "b": 0.2}
    assert choose(judged_frame({"a": 0.3, "b": 0.4}, accuracy)) == ("b", "balanced accuracy")
    assert choose(judged_frame({"a": np.nan, "b": np.nan}, accuracy)) == ("a", "accuracy")


def test_repeats_are_averaged_and_their_interval_lies_within_theirs():
    one, other = table_of([12] * 4, seed=1), table_of([12] * 4, seed=2)
    singles = [judge(table, 200).loc["balanced accuracy"] for table in (one, other)]
    both = judge([one, other], 200).loc["balanced accuracy"]
    assert both["value"] == pytest.approx(np.mean([row["value"] for row in singles]))
    assert both["high"] - both["low"] < max(row["high"] - row["low"] for row in singles)
    assert judge([one, one], 200).drop(columns="metric").equals(judge(one, 200).drop(columns="metric"))


def test_a_class_always_missed_or_never_missed_has_an_interval_all_the_same():
    table = table_of([12] * 4)
    table[CLASSES_P] = 0.1
    table.loc[:, "p_df"] = 0.7  # always names df
    rows = judge(table, 200)
    assert rows.loc["sensitivity df", ["value", "high"]].tolist() == [1, 1]
    assert rows.loc["sensitivity df", "low"] == pytest.approx(0.025 ** (1 / 12))
    assert rows.loc["sensitivity nv", ["value", "low"]].tolist() == [0, 0]
    assert rows.loc["sensitivity nv", "high"] == pytest.approx(1 - 0.025 ** (1 / 12))
