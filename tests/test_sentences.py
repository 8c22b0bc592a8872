"""Judged numbers as sentences and verdicts, adjusted where several are compared, and the recipe that is chosen."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import table_of

from lesion_utils.claims.results import choose
from lesion_utils.evaluation import PredictionTable, holm, judge, overview, sentence, verdict


def test_sentences_carry_interval_unit_and_n():
    row = pd.Series(
        {"metric": "balanced accuracy", "value": 0.6921, "low": 0.664, "high": 0.7202}
        | {"n": 2003, "lesions": 1494, "note": "", "leaky": False}
    )
    said = "balanced accuracy 0.692 (95 % interval 0.66 to 0.72, by lesion; n = 2,003 images of 1,494 lesions)"
    assert sentence(row) == said
    assert sentence(pd.concat([row.drop("leaky"), pd.Series({"leaky": True})])) == said.replace("(", "(leaky; ")
    few = pd.concat([row, pd.Series({"few": True})])
    assert sentence(few) == said.replace("(", "(few images, not to be ranked; ")
    narrow = row.copy()
    narrow[["metric", "value", "low", "high"]] = ["difference in macro AUC", -0.0001, -0.0042, 0.0031]
    assert sentence(narrow).startswith("difference in macro AUC 0.000 (95 % interval -0.004 to 0.003, by lesion")
    refused = judge(PredictionTable(table_of([15, 6, 20, 60]), 20)).loc["balanced accuracy"]
    assert sentence(refused) == "balanced accuracy: not estimable (df: 6 lesions, at least 10 needed)"


def row(value, low, high, **more):
    return pd.Series({"metric": "difference in accuracy", "value": value, "low": low, "high": high} | more)


def test_verdict_follows_the_interval():
    assert verdict(row(0.1, 0.02, 0.2)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02)) == "lower"
    assert verdict(row(0.1, -0.02, 0.2)) == "no difference shown at this n"
    assert verdict(row(np.nan, np.nan, np.nan)) == "not estimable"


def test_pairs_of_trainings_must_agree_before_a_difference_is_called_one():
    runs = {"least": 0.01, "most": 0.2, "runs": 2}
    assert verdict(row(0.1, 0.02, 0.2, **runs)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02, least=-0.2, most=-0.01, runs=5)) == "lower"
    assert verdict(row(0.1, -0.02, 0.2, **runs)) == "no difference shown at this n"
    for least, most in ((-0.01, 0.2), (0.0, 0.2)):
        disagree = row(0.1, 0.02, 0.2, least=least, most=most, runs=5)
        assert verdict(disagree) == "no difference shown: the pairs disagree in sign"
    one = row(0.1, 0.02, 0.2, least=0.1, most=0.1, runs=1)
    assert verdict(one) == "no difference shown: one pair of trainings cannot show a difference"
    assert verdict(row(np.nan, np.nan, np.nan, least=np.nan, most=np.nan, runs=5)) == "not estimable"


def test_a_sentence_on_pairs_of_trainings_says_what_each_says_and_what_the_interval_leaves_out():
    counts = {"n": 100, "lesions": 90, "note": "", "leaky": True}
    said = sentence(row(0.03, 0.004, 0.06, least=0.0101, most=0.0499, runs=5, **counts))
    assert said == (
        "difference in accuracy 0.030 (leaky; 95 % interval 0.00 to 0.06, by lesion; over lesions, not trainings; "
        "pairs from +0.01 to +0.05; n = 100 images of 90 lesions)"
    )
    narrow = row(0.001, -0.002, 0.004, least=-0.0014, most=0.0032, runs=2, **counts)
    assert "pairs from -0.001 to +0.003; n" in sentence(narrow)
    one = row(0.03, 0.004, 0.06, least=0.03, most=0.03, runs=1, **counts)
    assert "not trainings; one pair of trainings; n" in sentence(one)
    unknown = row(np.nan, np.nan, np.nan, least=np.nan, most=np.nan, runs=5, **(counts | {"note": "too few"}))
    assert sentence(unknown) == "difference in accuracy: not estimable (too few)"
    stacked = row(0.03, 0.004, 0.06, least=np.nan, most=np.nan, runs=np.nan, **counts)  # beside a paired row
    assert "pairs" not in sentence(stacked) and verdict(stacked) == "higher"


def test_verdict_follows_the_adjusted_p_value_where_several_are_compared():
    assert verdict(row(0.1, 0.02, 0.2, p=0.03, p_holm=0.06)) == "no difference shown at this n"
    assert verdict(row(0.1, 0.02, 0.2, p=0.01, p_holm=0.03)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02, p=0.01, p_holm=0.03)) == "lower"
    assert verdict(row(np.nan, np.nan, np.nan, p=np.nan, p_holm=np.nan)) == "not estimable"


def test_holm_by_hand():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": np.nan, "f": 0.9}
    frames = {
        name: pd.DataFrame([row(0.1, 0.0, 0.2, p=value), row(0.1, 0, 0.2, p=0.04)]).assign(
            metric=["difference in accuracy", f"difference in {name}"]
        )
        for name, value in p.items()
    }
    adjusted = holm(frames)
    mine = adjusted[adjusted["metric"] == "difference in accuracy"].droplevel(1)
    # five are estimable: 5 x 0.005, 4 x 0.01, 3 x 0.03, then not below 3 x 0.03
    expected = {"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.025, "e": np.nan, "f": 0.9}
    assert mine["p_holm"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert (mine["family"] == 5).all()
    alone = adjusted[adjusted["metric"] != "difference in accuracy"]
    assert (alone["p_holm"] == 0.04).all() and (alone["family"] == 1).all()  # another metric is another question
    pd.testing.assert_frame_equal(holm(pd.concat(frames)), adjusted)


def test_among_models_that_are_all_equal_one_is_called_different_in_a_twentieth_of_families():
    p = np.random.default_rng(0).random((2000, 6))
    frame = pd.DataFrame({"metric": np.repeat(np.arange(2000), 6).astype(str), "p": p.ravel()})
    adjusted = holm(frame)["p_holm"].to_numpy().reshape(2000, 6)
    assert (p < 0.05).any(1).mean() > 0.2
    assert 0.035 < (adjusted < 0.05).any(1).mean() < 0.065


def judged_frame(balanced, accuracy, leaky=()):
    """Frames of ``judge`` for recipes, as notebook 5 stacks them; test values are the other way round."""
    rows = {
        (recipe, part, metric): {"metric": metric, "value": values[recipe] if part == "validation" else -values[recipe]}
        | {"leaky": recipe in leaky}
        for metric, values in (("balanced accuracy", balanced), ("accuracy", accuracy))
        for part in ("validation", "test")
        for recipe in balanced
    }
    index = pd.MultiIndex.from_tuples(rows, names=["recipe", "part", "name"])
    return pd.DataFrame(rows.values(), index=index)


def test_the_recipe_is_chosen_on_validation_by_balanced_accuracy_if_it_is_estimable():
    accuracy = {"a": 0.9, "b": 0.2}
    assert choose(judged_frame({"a": 0.3, "b": 0.4}, accuracy)) == ("b", "balanced accuracy")
    assert choose(judged_frame({"a": np.nan, "b": np.nan}, accuracy)) == ("a", "accuracy")


def test_a_leaky_recipe_is_not_chosen_unless_all_are():
    values = {"a": 0.9, "b": 0.4, "c": 0.3}
    assert choose(judged_frame(values, values, leaky=["a"])) == ("b", "balanced accuracy")
    assert choose(judged_frame(values, values, leaky=["a", "b", "c"])) == ("a", "balanced accuracy")


def test_an_overview_has_a_line_a_table_and_says_what_is_leaky_or_not_estimable():
    frame = pd.DataFrame(
        {"value": [0.5, np.nan, 1.0], "low": [0.4, np.nan, np.nan], "high": [0.6, np.nan, np.nan], "leaky": False},
        index=["accuracy", "macro AUC", "F1"],
    )
    judged = pd.concat({"one": frame, "two": frame.assign(leaky=True)}, names=["recipe", "name"])
    shown = overview(judged, ["macro AUC", "accuracy", "F1", "absent"])
    assert list(shown.index) == ["one", "two"] and list(shown.columns) == ["macro AUC", "accuracy", "F1"]
    assert shown.loc["one"].tolist() == ["not estimable", "0.500 (0.40 to 0.60)", "1.000 (no interval)"]
    assert shown.loc["two", "accuracy"] == "0.500 (0.40 to 0.60) leaky"
