"""Calibration: cases worked by hand, samples whose truth is known, and input that cannot be used."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.calibration import (
    apply_temperature,
    calibration,
    calibration_sentence,
    calibration_summary,
    calibration_table,
    fit_temperature,
    reliability,
    too_few_to_sharpen,
)
from lesion_utils.evaluation.metrics import log_losses
from lesion_utils.figures import reliability_diagram

CLASSES = ["bkl", "mel", "nv"]


def table_of(scores, truth, lesions=None, classes=CLASSES):
    """The prediction table of (n, k) scores and (n,) class indices; each image is its own lesion unless told."""
    scores = np.asarray(scores, float)
    table = pd.DataFrame({"image_id": [f"img{i}" for i in range(len(scores))]})
    table["lesion_id"] = [f"les{i}" for i in (range(len(scores)) if lesions is None else lesions)]
    table["label"] = np.array(classes)[np.asarray(truth)]
    return pd.concat([table, pd.DataFrame(scores, columns=[f"p_{name}" for name in classes])], axis=1)


def melanoma_table(probabilities, truth, lesions=None):
    """Two classes, not melanoma and melanoma, from the probability of melanoma."""
    probabilities = np.asarray(probabilities, float)
    scores = np.column_stack([1 - probabilities, probabilities])
    return table_of(scores, np.asarray(truth, int), lesions, ["nv", "mel"])


def simulated(n, seed, views=1, temperature=1.0):
    """A model whose probabilities are right, then made too sure by ``temperature``; the views of a lesion agree."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 3))
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (right.cumsum(1) > rng.random((n, 1))).argmax(1)
    said = np.exp(logits * temperature)
    said /= said.sum(1, keepdims=True)
    rows = np.repeat(np.arange(n), views)
    return table_of(said[rows], truth[rows], rows), right


# the expected calibration error


def test_a_case_worked_by_hand():
    """Two bins: 0.6 right and 0.7 wrong, 0.5 against 0.65; 0.8 and 0.9 right, 1 against 0.85: a gap of 0.15 in each."""
    sure, right = np.tile([0.9, 0.6, 0.8, 0.7], 3), np.tile([1, 1, 1, 0], 3)
    scores = np.column_stack([sure, 1 - sure, np.zeros(12)])
    row = calibration(PredictionTable(table_of(scores, 1 - right)), bins=2).loc["top label"]
    assert row["value"] == pytest.approx(0.15, abs=1e-12)
    assert (row["n"], row["lesions"], row["note"]) == (12, 12, "")


def test_the_probability_of_melanoma_worked_by_hand():
    """Bins by the probability of melanoma, not by the top label: 0.1 against 0.5, and 0.8 against 1."""
    row = calibration(PredictionTable(melanoma_table([0.1, 0.8] * 20, [0, 1, 1, 1] * 10)), bins=2).loc["melanoma"]
    assert row["value"] == pytest.approx((0.4 + 0.2) / 2, abs=1e-12)


def test_right_as_often_as_stated_is_0_and_sure_and_wrong_is_1():
    right = calibration(PredictionTable(melanoma_table([0.75] * 40, [1, 1, 1, 0] * 10)))
    assert right["value"].tolist() == pytest.approx([0, 0], abs=1e-12)
    wrong = calibration(PredictionTable(table_of([[1, 0, 0]] * 12, [1] * 12))).loc["top label"]
    assert (wrong["value"], wrong["calibrated"], wrong["calibrated_95"]) == (1, 0, 0)
    assert "more than chance" in calibration_sentence(wrong)


def test_equal_probabilities_stay_in_one_bin_whatever_the_order_of_rows():
    """Cut into two bins by rows, the forty equal cases would give an error of 0.25 or more."""
    in_order = melanoma_table([0.75] * 40, [0] * 10 + [1] * 30)
    assert calibration(PredictionTable(in_order), bins=2).loc["melanoma", "value"] == pytest.approx(0, abs=1e-12)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_classes_does_not_matter(seed):
    table, _ = simulated(60, seed)
    shuffled = table.sample(frac=1, random_state=seed)[[*table.columns[:3], "p_nv", "p_bkl", "p_mel"]]
    before, after = (calibration(PredictionTable(each), simulations=1)["value"] for each in (table, shuffled))
    assert after.to_dict() == pytest.approx(before.to_dict(), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("views", [1, 4])
def test_what_a_calibrated_model_would_get_is_that_of_so_many_lesions(views):
    """One bin of cases at 0.5: the mean gap of a binomial share of 60 lesions, however many views each has."""
    truth = np.repeat(np.arange(60) % 2, views)
    row = calibration(PredictionTable(melanoma_table([0.5] * 60 * views, truth, np.repeat(np.arange(60), views)))).loc[
        "melanoma"
    ]
    hits = np.arange(61)
    expected = (binom.pmf(hits, 60, 0.5) * np.abs(hits / 60 - 0.5)).sum()
    assert row["calibrated"] == pytest.approx(expected, rel=0.1)
    assert row["calibrated_95"] == pytest.approx(np.abs(binom.ppf(0.975, 60, 0.5) / 60 - 0.5), abs=1 / 60)


@pytest.mark.slow
def test_of_calibrated_models_about_one_in_twenty_is_above_the_95_of_100():
    frames = [calibration(PredictionTable(simulated(100, seed, views=3)[0]), simulations=200) for seed in range(80)]
    above = [(frame["value"] > frame["calibrated_95"]).to_dict() for frame in frames]
    assert 0.01 < pd.DataFrame(above).to_numpy().mean() < 0.11
    assert np.mean([(frame["value"] - frame["calibrated"]).to_numpy() for frame in frames]) == pytest.approx(
        0, abs=0.01
    )


def test_a_model_that_is_too_sure_is_told_and_no_interval_is_claimed():
    found = calibration(PredictionTable(simulated(400, 0, temperature=3)[0]))
    assert (found["value"] > found["calibrated_95"]).all()
    assert "more than chance" in calibration_sentence(found.loc["top label"])
    assert not {"low", "high"} & set(found.columns)
    leaky = calibration(PredictionTable(simulated(400, 0, temperature=3)[0].assign(leaky=True)))
    assert calibration_sentence(leaky.loc["top label"]) == f"leaky: {calibration_sentence(found.loc['top label'])}"
    assert "no more than chance" in calibration_sentence(
        calibration(PredictionTable(simulated(400, 0)[0])).loc["top label"]
    )


def test_under_ten_lesions_it_is_not_estimable():
    few = calibration(PredictionTable(simulated(9, 0, views=5)[0]))
    assert few.loc["top label", ["value", "calibrated", "calibrated_95"]].isna().all()
    assert "9 lesions, at least 10 needed" in calibration_sentence(few.loc["top label"])
    rare = calibration(PredictionTable(melanoma_table([0.2] * 40, [1] * 9 + [0] * 31)))
    assert rare["value"].isna().to_dict() == {"top label": False, "melanoma": True}


def test_leaky_predictions_stay_leaky():
    assert calibration(PredictionTable(simulated(40, 0)[0].assign(leaky=True)))["leaky"].all()


def test_versions_are_compared_in_one_table_and_in_words():
    versions = {
        "sure": PredictionTable(simulated(400, 0, temperature=3)[0]),
        "right": PredictionTable(simulated(400, 0)[0]),
    }
    table = calibration_table(versions)
    assert (table.loc["sure", "verdict"] == "more than chance").all()
    assert (table.loc["right", "verdict"] != "more than chance").all()
    assert float(table.loc[("sure", "top label"), "calibration error"]) == pytest.approx(
        calibration(versions["sure"]).loc["top label", "value"], rel=0.01
    )
    said, n = calibration_summary(table, 2.96), len(table.loc["sure"])
    assert "2.96" in said and "overconfident" in said and f"{n} of {n} sure, 0 of {n} right" in said
    assert "underconfident" in calibration_summary(table, 0.8)
    few = calibration_table({"few": PredictionTable(simulated(9, 0, views=5)[0])})
    assert (few == "not estimable").all(axis=None) and "0 of" in calibration_summary(few, 1.2)


# reliability


@pytest.mark.parametrize("of", ["top label", "melanoma"])
def test_the_curve_sums_up_to_the_error(of):
    table, _ = simulated(600, 1, temperature=2)
    curve = reliability(PredictionTable(table, 50), of)
    error = (curve["n"] * (curve["value"] - curve["stated"]).abs()).sum() / len(table)
    assert error == pytest.approx(calibration(PredictionTable(table)).loc[of, "value"], abs=1e-12)
    assert len(curve) == 15 and curve["n"].tolist() == [40] * 15
    assert curve["stated"].is_monotonic_increasing
    assert ((curve["low"] < curve["value"]) & (curve["value"] < curve["high"]))[curve["value"].between(0.1, 0.9)].all()


def test_views_of_a_lesion_do_not_narrow_an_interval():
    one, four = (reliability(PredictionTable(simulated(300, 2, views)[0], 300)) for views in (1, 4))
    pd.testing.assert_frame_equal(one[["stated", "value", "low", "high"]], four[["stated", "value", "low", "high"]])
    assert (four["n"] == 4 * one["n"]).all() and (four["lesions"] == one["lesions"]).all()


def test_a_bin_that_is_always_right_claims_no_certainty_and_a_small_one_nothing():
    curve = reliability(PredictionTable(melanoma_table([0.5] * 5 + [0.9] * 45, [1] * 50), 100), of="top label", bins=10)
    assert np.isnan(curve.loc[0, "value"]) and "5 lesions" in curve.loc[0, "note"]
    assert curve.loc[1, "value"] == 1 and 0.9 < curve.loc[1, "low"] < 0.95  # Clopper and Pearson, 45 of 45


def test_the_diagram_shows_what_is_estimable():
    curve = reliability(PredictionTable(melanoma_table([0.5] * 5 + [0.9] * 45, [1] * 50), 100), of="top label", bins=10)
    ax = reliability_diagram({"as trained": curve}, "Phantom, test: reliability").axes[0]
    assert ax.get_title() == "Phantom, test: reliability"
    assert ax.lines[1].get_xdata().tolist() == pytest.approx([0.9])


# temperature


@pytest.mark.parametrize("truly", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_again(truly):
    table, right = simulated(8000, 3, temperature=truly)
    found = fit_temperature(PredictionTable(table))
    assert found == pytest.approx(truly, rel=0.05)
    scaled = apply_temperature(PredictionTable(table), truly)
    np.testing.assert_allclose(scaled.probabilities, right, atol=1e-9)
    assert calibration(scaled, simulations=1).loc["top label", "value"] < 0.03


def test_the_fitted_temperature_has_the_least_log_loss():
    table, _ = simulated(300, 4, temperature=2)
    truth = pd.Index(CLASSES).get_indexer(table["label"])
    best = fit_temperature(PredictionTable(table))

    def loss(temperature):
        return log_losses(truth, apply_temperature(PredictionTable(table), temperature).probabilities).mean()

    assert all(loss(best) < loss(best * factor) for factor in (0.5, 0.99, 1.01, 2))


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.1, 20))
def test_scaling_keeps_the_class_the_sum_and_everything_else(seed, temperature):
    scores = np.random.default_rng(seed).dirichlet([0.3] * 3, 20)
    scores[:3] = np.eye(3)  # zeros and ones
    table = table_of(scores, [0, 1] * 10).assign(leaky=True)
    scaled = apply_temperature(PredictionTable(table), temperature).frame
    values = scaled[["p_bkl", "p_mel", "p_nv"]].to_numpy()
    assert np.isfinite(values).all() and values.sum(1) == pytest.approx(1, abs=1e-12)
    assert values.max(1) - values[np.arange(20), scores.argmax(1)] == pytest.approx(0, abs=1e-12)
    others = ["image_id", "lesion_id", "label", "leaky"]
    pd.testing.assert_frame_equal(scaled[others], table[others])


def test_zeros_where_the_truth_lies_do_not_break_the_fit():
    table, _ = simulated(200, 5)
    table.loc[:4, ["p_bkl", "p_mel", "p_nv"]] = 0.0
    table.loc[:4, "p_bkl"], table.loc[:4, "label"] = 1.0, "nv"
    assert 1 < fit_temperature(PredictionTable(table)) < 50


def test_where_no_temperature_is_best_the_end_of_the_range_is_given():
    knows_nothing = melanoma_table([0.2, 0.8] * 10, [0, 0, 1, 1] * 5)
    assert fit_temperature(PredictionTable(knows_nothing)) == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(("mistakes", "sharpens"), [(0, False), (9, False), (10, True)])
def test_certainty_that_validation_cannot_show_is_never_stated(mistakes, sharpens):
    labels = np.array([0, 1] * 500)
    labels[:mistakes] = 1 - labels[:mistakes]
    table = PredictionTable(melanoma_table([0.49, 0.51] * 500, labels))
    assert (fit_temperature(table) < 1) == sharpens  # without mistakes, certainty has the least log loss
    assert sharpens or fit_temperature(table) == 1
    assert too_few_to_sharpen(table) == ("" if sharpens else f"wrong: {mistakes} lesions, at least 10 needed")


def test_images_of_one_lesion_do_not_count_as_several_mistakes():
    labels = [1, 0] * 10 + [0, 1] * 500
    table = melanoma_table([0.49, 0.51] * 510, labels)
    assert fit_temperature(PredictionTable(table)) < 1
    table.loc[:19, "lesion_id"] = [f"both {i % 2}" for i in range(20)]  # two lesions, ten images of each
    assert fit_temperature(PredictionTable(table)) == 1


def test_a_class_with_few_lesions_is_not_sharpened_where_that_is_asked():
    scores, truth = np.tile([0.4, 0.3, 0.3], (60, 1)), np.zeros(60, int)
    scores[40:], truth[15:40] = [0.3, 0.3, 0.4], 2
    truth[55:], truth[40:55] = 1, 2
    scores[15:30] = [0.3, 0.3, 0.4]
    table = PredictionTable(table_of(scores, truth))
    assert fit_temperature(table) < 1 == fit_temperature(table, table.classes)
    assert too_few_to_sharpen(table, table.classes) == "mel: 5 lesions, at least 10 needed"


def test_too_few_lesions_still_soften_what_is_too_certain():
    table = PredictionTable(melanoma_table([0.01, 0.99] * 4, [0, 1, 0, 1, 0, 1, 1, 0]))
    assert too_few_to_sharpen(table, table.classes) and fit_temperature(table, table.classes) > 1


def test_the_summary_says_that_a_temperature_of_one_changes_nothing():
    rows = calibration_table({"as stated": PredictionTable(simulated(300, 1)[0])})
    said = calibration_summary(rows, 1.0)
    assert "confident" not in said and "not changed" in said
    assert "underconfident" in calibration_summary(rows, 0.8) and "overconfident" in calibration_summary(rows, 2.0)


# what cannot be used


@pytest.mark.parametrize("use", [calibration, reliability, fit_temperature])
def test_a_table_that_cannot_be_used_is_refused(use):
    table, _ = simulated(30, 0)
    with pytest.raises(InputError, match="predicted classes only"):
        use(PredictionTable(table[["image_id", "lesion_id", "label"]].assign(predicted="nv")))
    with pytest.raises(InputError, match=r"p_nv in 1 row\(s\): row 5"):
        use(PredictionTable(table.assign(p_nv=table["p_nv"].where(table.index != 3))))
    with pytest.raises(InputError, match=r"no lesion_id in .*row 2"):
        use(PredictionTable(table.assign(lesion_id="")))


def test_a_probability_that_nobody_stated_is_refused():
    with pytest.raises(InputError, match="No probability of 'malignant'"):
        reliability(PredictionTable(simulated(30, 0)[0]), of="malignant")
