"""Operating points: thresholds against brute force, values worked by hand, and what a frozen point must not hide."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import precision_score, recall_score

from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.bootstrap import lesion_draws, percentile_interval
from lesion_utils.evaluation.calibration import fit_recalibration
from lesion_utils.evaluation.operating import (
    benefit_sentence,
    choose,
    decision_curve,
    judge_at,
    missed,
    missed_sentence,
    most_probable,
    people_sentence,
)
from lesion_utils.evaluation.sentences import sentence
from lesion_utils.figures import decision_curve as plot


def table_of(probabilities, positive, lesions=None, name="img"):
    """The table of a model of melanoma against nevus; each image is its own lesion unless told."""
    probabilities = np.asarray(probabilities, float)
    table = pd.DataFrame({"image_id": [f"{name}{i}" for i in range(len(probabilities))]})
    table["lesion_id"] = table["image_id"] if lesions is None else [f"{name}-{lesion}" for lesion in lesions]
    table["label"] = np.where(positive, "mel", "nv")
    return table.assign(p_mel=probabilities, p_nv=1 - probabilities)


def cases(seed, n=120, views=1, name="img"):
    """Melanomas, a third of all, have higher probabilities; with ``views`` images of a lesion that differ a little."""
    rng = np.random.default_rng(seed)
    positive = np.repeat(np.arange(n) % 3 == 0, views)
    logits = np.repeat(rng.normal(size=n), views) + 0.3 * rng.normal(size=n * views) + 2 * positive - 1.5
    return table_of(1 / (1 + np.exp(-logits)), positive, np.repeat(np.arange(n), views), name)


# choosing


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.01, 1), rule=st.sampled_from(["sensitivity", "specificity"]))
def test_the_threshold_is_the_last_that_keeps_the_rule(seed, share, rule):
    rng = np.random.default_rng(seed)
    stated, positive = rng.integers(11, size=40) / 10, np.arange(40) % 3 == 0  # with many ties
    point = choose(PredictionTable(table_of(stated, positive)), **{rule: share})
    called = stated >= point.threshold
    reached = {"sensitivity": called[positive].mean(), "specificity": (~called[~positive]).mean()}
    assert reached[rule] >= share - 1e-9
    if rule == "sensitivity":
        assert all((stated[positive] >= higher).mean() < share for higher in stated[stated > point.threshold])
    else:
        assert all((stated[~positive] < lower).mean() < share for lower in stated[stated < point.threshold])


def test_a_share_of_ten_melanomas_is_counted_without_rounding_errors():
    table = table_of(np.r_[np.arange(1, 11) / 20, np.zeros(10)], [True] * 10 + [False] * 10)
    assert [choose(PredictionTable(table), sensitivity=share / 10).threshold for share in range(1, 11)] == [
        pytest.approx((11 - share) / 20) for share in range(1, 11)
    ]


def folds(seeds, shifts, name="img"):
    """One pass through cross-validation: the model of each fold states probabilities that are ``shifts`` higher."""
    parts = [cases(seed).assign(fold=fold) for fold, seed in enumerate(seeds)]
    for part, shift, images in zip(parts, shifts, (name, "other"), strict=True):
        part["image_id"] = part["lesion_id"] = images + part["image_id"]
        part["p_mel"] = expit(logit(part["p_mel"]) + shift)
        part["p_nv"] = 1 - part["p_mel"]
    return pd.concat(parts, ignore_index=True)


def test_in_cross_validation_each_fold_has_the_threshold_of_its_own_validation_cases():
    chosen_on, judged = folds((0, 1), (0, 2)), folds((2, 3), (0, 2), "new")
    point = choose(PredictionTable(chosen_on), sensitivity=0.8)
    called = point.called(PredictionTable(judged))
    for fold in (0, 1):
        alone = choose(PredictionTable(chosen_on[chosen_on["fold"] == fold].drop(columns="fold")), sensitivity=0.8)
        inside = (judged["fold"] == fold).to_numpy()
        part = PredictionTable(judged[inside].drop(columns="fold"))
        assert point.threshold[fold] == alone.threshold and (called[inside] == alone.called(part)).all()
        assert f"{alone.threshold:.3g}" in str(point)
    assert point.threshold[0] < point.threshold[1]
    with pytest.raises(InputError, match=r"fold\(s\) 7"):
        point.called(PredictionTable(judged.assign(fold=7)))
    rare = chosen_on[(chosen_on["fold"] == 0) | (chosen_on["label"] == "nv")]
    assert "melanoma: 0 lesions" in choose(PredictionTable(rare), sensitivity=0.8).note


def test_in_cross_validation_only_validation_of_the_same_fold_makes_a_point_optimistic():
    chosen_on = folds((0, 1), (0, 2))
    point, other = choose(PredictionTable(chosen_on), sensitivity=0.8), chosen_on.assign(fold=1 - chosen_on["fold"])
    assert point.caution(PredictionTable(other)) == ""
    half = other.assign(fold=np.where(np.arange(len(other)) < 60, 0, other["fold"]))
    assert "60 of these 240" in point.caution(PredictionTable(half))
    assert "the same cases" in point.caution(PredictionTable(chosen_on))


def test_where_only_calling_nobody_is_specific_enough_nobody_is_called():
    point = choose(PredictionTable(table_of([1.0] * 40, [True, False] * 20)), specificity=0.9)
    assert not point.called(PredictionTable(table_of([1.0] * 3, [True] * 3))).any()


def test_the_point_says_what_it_is():
    point = choose(PredictionTable(cases(0, 60, views=2)), sensitivity=0.9, chosen_on="validation of phantom")
    for fact in ("melanoma", f"{point.threshold:.3g}", "sensitivity", "0.9", "validation of phantom", "120", "60"):
        assert fact in str(point)
    with pytest.raises(AttributeError):
        point.threshold = 0.5  # frozen


def test_too_few_lesions_to_choose_on_make_all_numbers_not_estimable():
    point = choose(
        PredictionTable(
            table_of([0.9] * 27 + [0.1] * 30, [True] * 27 + [False] * 30, [*range(27)][::3] * 3 + [*range(30, 60)])
        ),
        sensitivity=0.9,
    )
    assert "validation: melanoma: 9 lesions" in str(point)
    judged = judge_at(point, PredictionTable(cases(1, name="test"), 50), 0.05)
    assert judged["value"].isna().all() and judged["note"].str.contains("melanoma: 9 lesions").all()
    assert missed_sentence(point, PredictionTable(cases(1))) == str(point)


def test_malignant_is_the_sum_of_its_classes():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(4), 200)
    truth = np.arange(200) % 4
    classes = ["akiec", "bcc", "mel", "nv"]
    table = pd.DataFrame({"image_id": range(200), "lesion_id": range(200), "label": np.array(classes)[truth]})
    table = pd.concat([table, pd.DataFrame(scores, columns=[f"p_{name}" for name in classes])], axis=1)
    point = choose(PredictionTable(table), "malignant", specificity=0.8)
    np.testing.assert_array_equal(point.called(PredictionTable(table)), scores[:, :3].sum(1) >= point.threshold)
    np.testing.assert_array_equal(point.is_positive(PredictionTable(table)), truth < 3)
    # the most probable class decides, not the sum
    np.testing.assert_array_equal(
        most_probable(PredictionTable(table), "malignant").called(PredictionTable(table)), scores.argmax(1) < 3
    )
    own = choose(PredictionTable(table), "urgent", specificity=0.8, views={"urgent": ["bcc", "mel"]})
    np.testing.assert_array_equal(own.is_positive(PredictionTable(table)), (truth == 1) | (truth == 2))


def test_equal_sums_of_probabilities_are_equal():
    """0.1 + 0.2 is a little above 0.3 in floating point, and must not be called without it."""
    scores = {"p_bcc": [0.2, 0.0] * 20, "p_mel": [0.1, 0.3] * 20, "p_nv": [0.7] * 40}
    label = ["bcc", "nv", "nv", "mel"] * 10
    table = pd.DataFrame({"image_id": range(40), "lesion_id": range(40), "label": label} | scores)
    point = choose(PredictionTable(table), "malignant", sensitivity=0.5)
    assert point.threshold == 0.3 and point.called(PredictionTable(table)).all()


# judging


def test_the_frozen_point_is_applied_as_it_is():
    point, test = choose(PredictionTable(cases(0)), sensitivity=0.9), cases(1, views=2, name="test")
    judged = judge_at(point, PredictionTable(test, 50), 0.05)
    called, positive = test["p_mel"] >= point.threshold, test["label"] == "mel"
    assert judged.loc["sensitivity", "value"] == pytest.approx(recall_score(positive, called), abs=1e-12)
    assert judged.loc["specificity", "value"] == pytest.approx(recall_score(~positive, ~called), abs=1e-12)
    assert judged.loc["PPV", "value"] == pytest.approx(precision_score(positive, called), abs=1e-12)
    assert judged.loc["NPV", "value"] == pytest.approx(precision_score(~positive, ~called), abs=1e-12)
    assert judged.loc["sensitivity", ["n", "lesions"]].tolist() == [80, 40]
    assert judged.loc["PPV", ["n", "lesions"]].tolist() == [240, 120]
    assert (judged["caution"] == "").all() and not judged["leaky"].any()


def test_predictive_values_worked_by_hand():
    """Sensitivity 0.9, specificity 0.8, prevalence 0.1: PPV 0.09 / (0.09 + 0.18), NPV 0.72 / (0.72 + 0.01)."""
    table = table_of([1] * 18 + [0] * 2 + [1] * 8 + [0] * 32, [True] * 20 + [False] * 40)
    judged = judge_at(most_probable(PredictionTable(table)), PredictionTable(table, 50), 0.1)
    assert judged.loc["PPV at prevalence", "value"] == pytest.approx(1 / 3, abs=1e-12)
    assert judged.loc["NPV at prevalence", "value"] == pytest.approx(72 / 73, abs=1e-12)
    assert judged.loc["PPV", "value"] == pytest.approx(18 / 26, abs=1e-12)


def test_intervals_are_of_the_draws_of_the_judge():
    point, test = choose(PredictionTable(cases(0)), sensitivity=0.8), cases(1, 90, views=2, name="test")
    judged = judge_at(point, PredictionTable(test, 200, seed=3), 0.02)
    positive, called = (test["label"] == "mel").to_numpy(), (test["p_mel"] >= point.threshold).to_numpy()
    weights, _ = lesion_draws(test["lesion_id"].to_numpy(), (~positive).astype(int), 2, 200, 3)
    expected = {name: [] for name in ("sensitivity", "specificity", "PPV at prevalence")}
    for weight in weights.astype(int):
        rows = np.repeat(np.arange(len(test)), weight)
        found, spared = called[rows][positive[rows]].mean(), (~called)[rows][~positive[rows]].mean()
        expected["sensitivity"].append(found)
        expected["specificity"].append(spared)
        expected["PPV at prevalence"].append(0.02 * found / (0.02 * found + 0.98 * (1 - spared)))
    for name, draws in expected.items():
        assert judged.loc[name, ["low", "high"]].tolist() == pytest.approx(percentile_interval(draws), abs=1e-12)


def test_no_false_alarm_in_the_sample_is_no_certainty():
    table = table_of([1.0] * 15 + [0.0] * 5 + [0.0] * 30, [True] * 20 + [False] * 30)
    judged = judge_at(most_probable(PredictionTable(table)), PredictionTable(table, 100), 0.01)
    row = judged.loc["PPV at prevalence"]
    found, spared = judged.loc["sensitivity", "low"], judged.loc["specificity", "low"]
    assert row["value"] == row["high"] == 1 and 0.8 < spared < 0.9
    assert row["low"] == pytest.approx(0.01 * found / (0.01 * found + 0.99 * (1 - spared)), abs=1e-12)
    assert row["low"] < 0.06


def test_where_nobody_is_called_there_is_no_ppv():
    table = table_of([0.0] * 40, [True, False] * 20)
    judged = judge_at(most_probable(PredictionTable(table)), PredictionTable(table, 50), 0.1)
    assert judged.loc["sensitivity", "value"] == 0 and 0 < judged.loc["sensitivity", "high"] < 0.2
    assert np.isnan(judged.loc["PPV", "value"]) and "no case is predicted positive" in sentence(judged.loc["PPV"])
    assert judged.loc["NPV", "value"] == 0.5


def test_few_melanomas_to_judge_are_not_estimable():
    judged = judge_at(most_probable(PredictionTable(cases(0))), PredictionTable(cases(0, 27, views=3), 50), 0.1)
    assert judged["value"].notna().to_dict() == {name: name == "specificity" for name in judged.index}
    assert judged.loc["PPV", "note"] == judged.loc["sensitivity", "note"] == "melanoma: 9 lesions, at least 10 needed"


# chosen on the cases that are judged


def test_a_point_chosen_on_the_judged_cases_is_called_optimistic():
    validation = cases(0, 60, views=2)
    point = choose(PredictionTable(validation), sensitivity=0.9)
    judged = judge_at(point, PredictionTable(validation, 50), 0.05)
    assert (judged["caution"] == "chosen on the same cases: optimistic").all()
    assert "chosen on the same cases: optimistic" in sentence(judged.loc["sensitivity"])
    assert missed_sentence(point, PredictionTable(validation)).endswith("(chosen on the same cases: optimistic)")


def test_one_shared_case_or_lesion_is_enough():
    validation, test = cases(0), cases(1, name="test")
    point = choose(PredictionTable(validation), sensitivity=0.9)
    assert point.caution(PredictionTable(test)) == ""
    mixed = pd.concat([test, validation.head(1)], ignore_index=True)
    assert "1 of these 121 cases" in point.caution(PredictionTable(mixed))
    view = test.assign(lesion_id=test["lesion_id"].where(test.index > 1, validation["lesion_id"].iloc[0]))
    assert point.caution(PredictionTable(view)).startswith("chosen on 2 of these 120 cases")
    assert most_probable(PredictionTable(test)).caution(PredictionTable(test)) == ""


# missed


def test_a_lesion_is_missed_if_none_of_its_images_is_called():
    called = [1, 0, 0, 0, 1, 1, 0]
    table = table_of(called, [True] * 6 + [False], [0, 0, 1, 1, 2, 2, 3])
    cases_missed = missed(most_probable(PredictionTable(table)), PredictionTable(table))
    assert cases_missed["image_id"].tolist() == ["img1", "img2", "img3"]
    assert cases_missed["lesion_missed"].tolist() == [False, True, True]
    assert missed_sentence(most_probable(PredictionTable(table)), PredictionTable(table)) == (
        "melanoma: 3 of 6 images missed; 1 of 3 lesions missed in every image"
    )


def test_a_point_is_told_in_counts_of_images():
    """Of 20 melanomas 15 are called, of 80 others 8: of 1,000 images with 5% of melanoma 37.5 and 95."""
    called = [1] * 15 + [0] * 5 + [1] * 8 + [0] * 72
    table = PredictionTable(table_of(called, [True] * 20 + [False] * 80), 200)
    rows = judge_at(most_probable(table), table, 0.05)
    said = people_sentence(rows, "melanoma", 0.05)
    low, high = (50 * rows.loc["sensitivity", ["low", "high"]]).round()
    assert f"Of 1,000 images, 50 of them melanoma, the classifier would find 38 ({low:.0f}-{high:.0f})" in said
    low, high = (950 * (1 - rows.loc["specificity", ["high", "low"]])).round()
    assert f"in 95 ({low:.0f}-{high:.0f}) of the 950 other images" in said
    assert "not estimable" in people_sentence(rows.assign(value=np.nan), "melanoma", 0.05)


# net benefit


def test_net_benefit_worked_by_hand():
    """At a threshold of 0.2 a false alarm costs a quarter: 16 found and 8 false alarms of 60 are 14 / 60."""
    table = table_of([0.5] * 16 + [0.1] * 4 + [0.2] * 8 + [0.1] * 32, [True] * 20 + [False] * 40)
    row = decision_curve(PredictionTable(table, 50), thresholds=[0.2]).iloc[0]
    assert row["value"] == pytest.approx((16 - 8 / 4) / 60, abs=1e-12)
    assert row["treat_all"] == pytest.approx((20 - 40 / 4) / 60, abs=1e-12)
    assert (row["treat_none"], row["at"], row["prevalence"]) == (0, "these images", pytest.approx(1 / 3))


def test_who_treats_all_or_knows_all_gets_what_is_known():
    perfect = decision_curve(
        PredictionTable(table_of([1.0] * 20 + [0.0] * 20, [True] * 20 + [False] * 20), 50), "melanoma", 0.1
    )
    assert perfect["value"].tolist() == pytest.approx([0.5] * 50 + [0.1] * 50)
    careless = decision_curve(
        PredictionTable(table_of([0.9] * 40, [True, False] * 20), 50), "melanoma", 0.1, thresholds=[0.05]
    )
    np.testing.assert_allclose(careless["value"], careless["treat_all"], atol=1e-12)


def test_moving_the_prevalence_gives_the_known_net_benefit_there():
    """Calibrated probabilities of density 2 (1 - p): 1 - 3 c^2 + 2 c^3 of the melanomas and (1 - c)^3 of the others
    have a probability above c; a third are melanomas, and where they are a tenth the odds are 2 / 9 of these."""
    rng = np.random.default_rng(2)
    stated = rng.beta(1, 2, 4000)
    table, cut = table_of(stated, rng.random(4000) < stated), np.array([0.02, 0.05, 0.1, 0.3])
    curve = decision_curve(PredictionTable(table, 200), "melanoma", 0.1, thresholds=cut).iloc[4:]
    odds = cut / (1 - cut) * 9 / 2
    c = odds / (1 + odds)
    expected = 0.1 * (1 - 3 * c**2 + 2 * c**3) - 0.9 * (1 - c) ** 3 * cut / (1 - cut)
    np.testing.assert_allclose(curve["value"], expected, atol=0.005)
    assert ((curve["low"] < expected) & (expected < curve["high"])).all()
    assert (curve["caution"] == "").all() and (curve["at"] == "stated").all()


def test_the_thresholds_at_which_a_classifier_is_useful_are_told():
    good = PredictionTable(table_of([0.9] * 38 + [0.05] * 82, [True] * 40 + [False] * 80), 50)
    said = benefit_sentence(decision_curve(good, "melanoma", 0.1, thresholds=[0.1, 0.2, 0.4]))
    assert "at 3 of 3 threshold probabilities (from 0.1 to 0.4) at a prevalence of 0.333, and at 3 of 3" in said
    careless = PredictionTable(table_of([0.9] * 120, [True] * 40 + [False] * 80), 50)
    assert "0 of 2 threshold probabilities at a" in benefit_sentence(decision_curve(careless, thresholds=[0.1, 0.2]))
    few = decision_curve(PredictionTable(cases(0, 27, views=3), 50))
    assert benefit_sentence(few) == "The net benefit is not estimable (melanoma: 9 lesions, at least 10 needed)."


def test_uncalibrated_probabilities_are_flagged():
    rng = np.random.default_rng(0)
    stated = rng.beta(1, 2, 500)
    positive = rng.random(500) < stated
    curve = decision_curve(PredictionTable(table_of(np.sqrt(stated), positive), 50), thresholds=[0.1])
    assert curve["caution"].str.contains("not calibrated").all()
    figure = plot(curve, "Phantom, test: net benefit")
    assert "not calibrated" in figure._supxlabel.get_text().replace("\n", " ")


def test_probabilities_that_validation_recalibrates_give_the_curve_of_calibrated_ones():
    rng = np.random.default_rng(2)
    stated, other = rng.beta(1, 2, 4000), rng.beta(1, 2, 4000)
    distorted, of_validation = (expit(2 * logit(p) + 1) for p in (stated, other))  # too extreme, and too high
    positive = rng.random(4000) < stated
    validation = PredictionTable(table_of(of_validation, rng.random(4000) < other, name="val"))
    fitted = fit_recalibration(validation, "melanoma")
    assert (fitted.slope, fitted.intercept) == (pytest.approx(0.5, abs=0.05), pytest.approx(-0.5, abs=0.1))
    cut = np.array([0.02, 0.1, 0.3])
    curves = [
        decision_curve(PredictionTable(table_of(p, positive), 50), "melanoma", 0.1, cut, of)
        for p, of in ((stated, None), (distorted, validation), (distorted, None))
    ]
    right, recalibrated, wrong = (curve["value"].to_numpy() for curve in curves)
    assert np.abs(recalibrated - right).max() < 0.004 < np.abs(wrong - right).max()
    assert (curves[1]["caution"] == "").all() and curves[2]["caution"].str.contains("not calibrated").all()
    with pytest.raises(InputError, match="with and without melanoma"):
        fit_recalibration(PredictionTable(table_of([0.5] * 20, [False] * 20)), "melanoma")


def test_without_enough_melanomas_there_is_no_curve():
    curve = decision_curve(PredictionTable(cases(0, 27, views=3), 50), "melanoma", 0.05)
    assert len(curve) == 100 and curve["value"].isna().all()
    assert (curve["note"] == "melanoma: 9 lesions, at least 10 needed").all()
    assert "9 lesions" in plot(curve, "x")._supxlabel.get_text()
    none = decision_curve(PredictionTable(table_of([0.5] * 20, [False] * 20), 50), "melanoma", 0.05)
    assert none["value"].isna().all()


# what cannot be used


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "either a sensitivity or a specificity"),
        ({"sensitivity": 0.9, "specificity": 0.9}, "either a sensitivity or a specificity"),
        ({"sensitivity": 90}, "sensitivity 90"),
        ({"specificity": 0}, "specificity 0"),
        ({"view": "malignant", "sensitivity": 0.9}, "No view 'malignant' for the classes mel, nv; there is melanoma"),
    ],
)
def test_a_point_that_cannot_be_chosen_is_refused(asked, message):
    with pytest.raises(InputError, match=message):
        choose(PredictionTable(cases(0)), **asked)


def test_tables_that_cannot_be_judged_are_refused():
    point, table = choose(PredictionTable(cases(0)), sensitivity=0.9), cases(1, name="test")
    named = table[["image_id", "lesion_id", "label"]].assign(predicted="nv")
    with pytest.raises(InputError, match="predicted classes only"):
        judge_at(point, PredictionTable(named), 0.05)
    assert (
        judge_at(
            most_probable(PredictionTable(named)), PredictionTable(named.assign(predicted=table["label"])), 0.05
        ).loc["sensitivity", "value"]
        == 1
    )
    with pytest.raises(InputError, match="no class mel"):
        judge_at(
            point, PredictionTable(table.rename(columns={"p_mel": "p_df"}).replace({"label": {"mel": "df"}})), 0.05
        )
    for prevalence in (0, 1, 5, np.nan):
        with pytest.raises(InputError, match=r"prevalence .* is out of range"):
            judge_at(point, PredictionTable(table), prevalence)
        with pytest.raises(InputError, match=r"prevalence .* is out of range"):
            decision_curve(PredictionTable(table), "melanoma", prevalence)
    with pytest.raises(InputError, match="threshold probability 1 is out of range"):
        decision_curve(PredictionTable(table), thresholds=[0.5, 1])
