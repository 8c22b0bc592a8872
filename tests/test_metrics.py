"""Metrics and draws of lesions against scikit-learn, the ISIC challenge's scorer, repeated rows, and cases by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.dummy import DummyClassifier

from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import lesion_draws, not_estimable, percentile_interval

ORACLE = json.loads((Path(__file__).parent / "oracles" / "isic_challenge.json").read_text(encoding="utf-8"))
LEVELS = (0.5, 0.8, 0.9)


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


def all_metrics(truth, scores, weights):
    """Every metric under its name, (B,) each; the baselines' guesses are of the table, so they are not among them."""
    k = scores.shape[1]
    counts = metrics.confusion_counts(truth, scores.argmax(1), k, weights)
    values = {"accuracy": metrics.accuracy(counts), "matthews": metrics.matthews(counts)}
    values["balanced accuracy"] = metrics.balanced_accuracy(counts)
    losses = np.column_stack(
        [metrics.brier_losses(truth, scores), metrics.log_losses(truth, scores), metrics.top_hits(truth, scores, 2)]
    )
    values |= dict(zip(("brier", "log loss", "top 2"), metrics.weighted_mean(losses, weights).T, strict=True))
    for index in range(k):
        for name in ("sensitivity", "precision", "f1"):
            values[f"{name} {index}"] = getattr(metrics, name)(counts, index)
        values[f"specificity {index}"] = metrics.sensitivity(metrics.merged(counts, np.arange(k) == index), 0)
        curve = metrics.Ranking(scores[:, index], truth == index).curve(weights)
        values[f"auc {index}"], values[f"average precision {index}"] = curve.auc, curve.average_precision
        for level in LEVELS:
            for name in ("sensitivity_at", "specificity_at", "partial_auc", "partial_auc_to_zero"):
                values[f"{name} {level} {index}"] = getattr(curve, name)(level)
    return values


def sklearns(truth, scores, weight=None):
    """What scikit-learn has of them."""
    k, predicted = scores.shape[1], scores.argmax(1)
    per_class = {"labels": range(k), "average": None, "sample_weight": weight, "zero_division": np.nan}
    values = {
        "accuracy": sklearn.accuracy_score(truth, predicted, sample_weight=weight),
        "matthews": sklearn.matthews_corrcoef(truth, predicted, sample_weight=weight),
        "balanced accuracy": sklearn.balanced_accuracy_score(truth, predicted, sample_weight=weight),
        "brier": sklearn.brier_score_loss(truth, scores, sample_weight=weight, labels=range(k), scale_by_half=k == 2),
        "log loss": sklearn.log_loss(truth, scores, sample_weight=weight, labels=range(k)),
    }
    for name, of in (("sensitivity", "recall"), ("precision", "precision"), ("f1", "f1")):
        found = getattr(sklearn, f"{of}_score")(truth, predicted, **per_class)
        values |= {f"{name} {index}": found[index] for index in range(k)}
    for index in range(k):
        one, score = truth == index, scores[:, index]
        values[f"specificity {index}"] = sklearn.recall_score(
            one, predicted == index, pos_label=False, sample_weight=weight
        )
        values[f"auc {index}"] = sklearn.roc_auc_score(one, score, sample_weight=weight)
        values[f"average precision {index}"] = sklearn.average_precision_score(one, score, sample_weight=weight)
        false, true, _ = sklearn.roc_curve(one, score, sample_weight=weight, drop_intermediate=False)
        for level in LEVELS:
            values[f"sensitivity_at {level} {index}"] = true[1 - false >= level - 1e-12].max()
            values[f"specificity_at {level} {index}"] = 1 - false[true >= level - 1e-12].min()
            # with the sides exchanged, McClish's scaling undone: what the ISIC 2024 challenge computed
            scaled = sklearn.roc_auc_score(~one, -score, max_fpr=1 - level, sample_weight=weight)
            least, most = (1 - level) ** 2 / 2, 1 - level
            values[f"partial_auc {level} {index}"] = least + (scaled - 0.5) / 0.5 * (most - least)
    return values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [3, 7])
def test_metrics_are_those_of_scikit_learn(k, ties):
    truth, scores = cases(np.random.default_rng(k), 400, k, ties)
    found, expected = all_metrics(truth, scores, np.ones((1, 400))), sklearns(truth, scores)
    assert set(found) - set(expected) == {"top 2"} | {
        f"partial_auc_to_zero {level} {i}" for level in LEVELS for i in range(k)
    }
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, abs=1e-9)
    if not ties:  # scikit-learn takes the last of equals for the first
        for top in (2, 3):
            if top < k:
                hits = metrics.top_hits(truth, scores, top).mean()
                assert hits == pytest.approx(sklearn.top_k_accuracy_score(truth, scores, k=top), abs=1e-9)


def test_two_classes_are_those_of_scikit_learn():
    truth, scores = cases(np.random.default_rng(2), 200, 2, ties=True)
    expected = sklearns(truth, scores)
    found = all_metrics(truth, scores, np.ones((1, 200)))
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_fractional_weights_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    truth, scores = cases(rng, 300, 3, ties=True)
    weights = rng.exponential(size=(2, 300))
    found = all_metrics(truth, scores, weights)
    for draw, weight in enumerate(weights):
        expected = sklearns(truth, scores, weight)
        assert {name: found[name][draw] for name in expected} == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=30)
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
        for name, values in weighted.items():  # NaN in the same places too
            np.testing.assert_allclose(values[draw], repeated[name][0], atol=1e-12, err_msg=name)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_the_order_of_rows_changes_no_point_estimate(seed, ties):
    rng = np.random.default_rng(seed)
    truth, scores = cases(rng, 30, 3, ties)
    order, one = rng.permutation(30), np.ones((1, 30))
    straight, mixed = all_metrics(truth, scores, one), all_metrics(truth[order], scores[order], one)
    for name, value in straight.items():
        np.testing.assert_allclose(value, mixed[name], atol=1e-12, err_msg=name)


def test_blocks_of_draws_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    truth, scores = cases(rng, 50, 3)
    weights = rng.poisson(1, size=(101, 50)).astype(np.uint8)
    counts = metrics.confusion_counts(truth, scores.argmax(1), 3, weights)
    ranking = metrics.Ranking(scores[:, 1], truth == 1)
    areas = metrics.over_draws(lambda block: ranking.curve(block).auc, weights)
    monkeypatch.setattr(metrics, "BLOCK", 350)  # 7 draws at a time, the last block smaller
    assert [len(block) for block in metrics.blocks(weights)] == [7] * 14 + [3]
    np.testing.assert_array_equal(metrics.confusion_counts(truth, scores.argmax(1), 3, weights), counts)
    np.testing.assert_array_equal(metrics.over_draws(lambda block: ranking.curve(block).auc, weights), areas)


def test_the_scorer_of_the_isic_challenge_agrees():
    for name, example in ORACLE["examples"].items():
        truth, scores = np.array(example["truth"]), np.array(example["thousandths"]) / 1000
        weights, scorer = np.array([example["weights"]]), example["scorer"]
        predicted = scores.argmax(1)
        if name == "tied answers":  # the one difference: to the scorer they are undecided, so wrong
            tied = (scores == scores.max(1, keepdims=True)).sum(1) > 1
            assert tied.any()
            assert (
                metrics.balanced_accuracy(metrics.confusion_counts(truth, predicted, 7, weights))
                > scorer["balanced_accuracy"]
            )
            predicted = np.where(tied, (truth + 1) % 7, predicted)
        counts = metrics.confusion_counts(truth, predicted, 7, weights)
        assert metrics.balanced_accuracy(counts) == pytest.approx(scorer["balanced_accuracy"], abs=1e-9)
        for index, of_class in enumerate(ORACLE["classes"]):
            expected = scorer["classes"][of_class]
            curve = metrics.Ranking(scores[:, index], truth == index).curve(weights)
            assert curve.auc == pytest.approx(expected["auc"], abs=1e-9)
            assert curve.average_precision == pytest.approx(expected["average_precision"], abs=1e-9)
            for level, area in expected["auc_above_sensitivity"].items():
                assert curve.partial_auc_to_zero(float(level)) == pytest.approx(area, abs=1e-9)


def test_both_partial_areas_by_hand():
    # by falling score: positive, negative, then two positives tied with a negative, then two negatives and a positive
    scores = np.array([0.9, 0.8, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2])
    positive = np.array([1, 0, 1, 1, 0, 0, 0, 1], bool)
    curve = metrics.Ranking(scores, positive).curve(np.ones((1, 8)))
    # points (1 - specificity, sensitivity): (0, 1/4) (1/4, 1/4) (2/4, 3/4) (1, 3/4) (1, 1); at 1/2 the curve is at 3/8
    assert curve.partial_auc(0.5) == pytest.approx(1 / 8 * 1 / 4 / 2 + 1 / 2 * 1 / 4)
    assert curve.partial_auc_to_zero(0.5) == pytest.approx(1 / 8 * 5 / 8 + 1 / 2 * 3 / 4)
    assert curve.partial_auc(0.75) == curve.partial_auc(0.9) == pytest.approx(0)
    assert curve.partial_auc(0) == curve.partial_auc_to_zero(0) == pytest.approx(curve.auc)


def test_operating_points_are_thresholds_not_points_between_them():
    # of ten negatives one lies above the last positive but one: its specificity is exactly 0.9
    scores = np.r_[0.95, 0.9, 0.7, 0.2, 0.8, np.linspace(0.6, 0.3, 8), 0.1]
    positive = np.r_[np.ones(4, bool), np.zeros(10, bool)]
    curve = metrics.Ranking(scores, positive).curve(np.ones((1, 14)))
    assert curve.sensitivity_at(0.9) == 3 / 4
    assert curve.sensitivity_at(0.91) == 2 / 4
    assert curve.specificity_at(0.75) == 0.9
    assert curve.specificity_at(0.76) == pytest.approx(0.1)
    # all tied: either everybody or nobody is called
    blind = metrics.Ranking(np.full(14, 0.5), positive).curve(np.ones((1, 14)))
    assert (blind.sensitivity_at(0.9), blind.specificity_at(0.9), blind.auc) == (0, 0, 0.5)


def test_baselines_are_expectations_by_the_shares_of_the_whole_table():
    truth = np.array([0, 0, 0, 1, 1])
    counts = metrics.confusion_counts(truth, truth, 2, np.array([[1, 1, 1, 1, 1], [1, 0, 0, 2, 2]]))
    assert metrics.baseline_accuracy(counts, np.array([1, 0])) == pytest.approx([0.6, 0.2])
    assert metrics.baseline_accuracy(counts, np.array([0.6, 0.4])) == pytest.approx([0.52, 0.2 * 0.6 + 0.8 * 0.4])
    many = np.repeat(truth, 20000)
    guessed = DummyClassifier(strategy="stratified", random_state=0).fit(many, many).score(many, many)
    assert guessed == pytest.approx(0.52, abs=0.005)


def test_a_flat_denial_of_the_truth_costs_much_and_not_infinitely_much():
    truth, scores = np.array([0, 1]), np.array([[0.0, 1.0], [0.3, 0.7]])
    assert metrics.log_losses(truth, scores)[0] == pytest.approx(36.0437, abs=1e-4)
    assert metrics.log_losses(truth, scores).mean() == pytest.approx(sklearn.log_loss(truth, scores), abs=1e-9)
    assert metrics.brier_losses(truth, scores) == pytest.approx([1, 0.09])


def test_the_first_of_equal_classes_ranks_higher():
    scores = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    assert metrics.top_hits(np.array([1, 2, 1]), scores, 1).tolist() == [False, False, False]
    assert metrics.top_hits(np.array([1, 0, 2]), scores, 2).tolist() == [True, False, False]


def test_what_is_not_defined_is_nan_and_what_tells_nothing_is_nothing():
    truth, named = np.array([0, 0, 1]), np.array([0, 0, 0])
    counts = metrics.confusion_counts(truth, named, 2, np.array([[1, 1, 1], [1, 1, 0]]))
    assert np.isnan(metrics.balanced_accuracy(counts)).tolist() == [False, True]
    assert np.isnan(metrics.sensitivity(counts, 1)).tolist() == [False, True]
    assert np.isnan(metrics.precision(counts, 1)).all()  # nothing is named 1
    np.testing.assert_array_equal(metrics.f1(counts, 1), [0, np.nan])
    assert (metrics.matthews(counts) == 0).all()
    assert not np.isnan(metrics.accuracy(counts)).any()
    curve = metrics.Ranking(np.array([0.1, 0.6, 0.8]), truth == 1).curve(np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1]]))
    for values in (curve.auc, curve.sensitivity_at(0.9), curve.specificity_at(0.9), curve.partial_auc(0.8)):
        assert np.isnan(values).tolist() == [False, True, True]


def test_a_question_of_several_classes_counts_a_mistake_within_them_as_found():
    counts = np.array([[[5, 2, 1], [1, 6, 0], [3, 1, 7]]], float)
    together = metrics.merged(counts, np.array([True, True, False]))
    assert together.tolist() == [[[7, 4], [1, 14]]]


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
    assert redrawn >= 200  # so that the 1% rule refuses what needs the classes


def test_the_percentile_interval_leaves_a_fortieth_on_either_side():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_more_than_one_percent_of_redraws_refuses_what_needs_classes():
    assert not_estimable({"df": 10}, redrawn=20, resamples=2000) == ""
    assert "21 of 2,000 draws" in not_estimable({"df": 10}, redrawn=21, resamples=2000)
    assert not_estimable({}, redrawn=2000, resamples=2000) == ""
