"""Judged numbers as sentences and verdicts, adjusted where several are compared, and the recipe that is chosen."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import table_of

from lesion_utils.claims.results import choice_sentence, choose
from lesion_utils.evaluation import PredictionTable, holm, judge, overview, sentence, verdict
from lesion_utils.evaluation.sentences import by_class, listed


def test_a_sentence_has_the_value_the_interval_and_n():
    row = pd.Series(
        {"metric": "balanced accuracy", "value": 0.6921, "low": 0.6429, "high": 0.7402}
        | {"n": 2004, "lesions": 1495, "note": "", "leaky": False}
    )
    assert sentence(row) == "balanced accuracy 0.69 (95% CI 0.64-0.74; n = 2,004 images, 1,495 lesions)"
    marked = sentence(pd.concat([row.drop("leaky"), pd.Series({"leaky": True, "few": True, "caution": "optimistic"})]))
    assert all(mark in marked for mark in ("leaky", "few images", "optimistic"))
    narrow = row.copy()
    narrow[["metric", "value", "low", "high"]] = ["difference in macro AUC", -0.0001, -0.0042, 0.0031]
    assert sentence(narrow).startswith("difference in macro AUC 0.000 (95% CI -0.004 to 0.003;")
    refused = judge(PredictionTable(table_of([15, 6, 20, 60]), 20)).loc["balanced accuracy"]
    assert "not estimable" in sentence(refused) and "df: 6 lesions" in sentence(refused)


def row(value, low, high, **more):
    return pd.Series({"metric": "difference in accuracy", "value": value, "low": low, "high": high} | more)


def test_verdict_follows_the_interval():
    assert verdict(row(0.1, 0.02, 0.2)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02)) == "lower"
    assert verdict(row(0.1, -0.02, 0.2)) == "no difference shown at this n"
    assert verdict(row(np.nan, np.nan, np.nan)) == "not estimable"


def test_recipes_need_three_runs_per_arm_before_a_difference_counts():
    assert verdict(row(0.1, 0.02, 0.2, least=0.01, most=0.2, runs=3)) == "higher"
    assert verdict(row(-0.1, -0.2, -0.02, least=-0.2, most=0.01, runs=5)) == "lower"  # the interval includes runs
    for runs, words in ((1, "one run per arm"), (2, "2 runs per arm")):
        few = verdict(row(0.1, 0.02, 0.2, least=0.1, most=0.1, runs=runs))
        assert few.startswith("no verdict") and words in few
    assert "has not converged" in verdict(row(0.1, 0.02, 0.2, runs=5, barred="b has not converged"))


def test_a_sentence_about_runs_says_what_single_runs_show():
    counts = {"n": 100, "lesions": 90, "note": "", "leaky": True}
    said = sentence(row(0.03, 0.004, 0.06, least=0.0101, most=0.0499, runs=5, **counts))
    assert all(fact in said for fact in ("leaky", "95% CI 0.00-0.06", "single runs +0.01 to +0.05", "90 lesions"))
    assert "-0.001 to +0.003" in sentence(row(0.001, -0.002, 0.004, least=-0.0014, most=0.0032, runs=2, **counts))
    one = sentence(row(0.03, 0.004, 0.06, least=0.03, most=0.03, runs=1, **counts))
    assert "one run per arm" in one and "single runs" not in one
    unknown = row(np.nan, np.nan, np.nan, least=np.nan, most=np.nan, runs=5, **(counts | {"note": "too few"}))
    assert "not estimable" in sentence(unknown) and "too few" in sentence(unknown)
    stacked = row(0.03, 0.004, 0.06, least=np.nan, most=np.nan, runs=np.nan, **counts)  # stacked with rows of runs
    assert "run" not in sentence(stacked) and verdict(stacked) == "higher"


def test_verdict_follows_the_adjusted_p_value_where_several_are_compared():
    decided = verdict(row(0.1, 0.02, 0.2, p=0.03, p_holm=0.06))  # the interval has no zero: say what decides
    assert decided.startswith("no difference shown") and "Holm-adjusted p = 0.06" in decided
    assert "p = 0.05003" in verdict(row(0.1, 0.02, 0.2, p=0.03, p_holm=0.050029))  # on which side of 5% it is
    assert "p =" not in verdict(row(0.1, -0.02, 0.2, p=0.3, p_holm=0.6))
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
    adjusted = holm(pd.concat(frames))
    mine = adjusted[adjusted["metric"] == "difference in accuracy"].droplevel(1)
    # five are estimable: 5 x 0.005, 4 x 0.01, 3 x 0.03, then not below 3 x 0.03
    expected = {"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.025, "e": np.nan, "f": 0.9}
    assert mine["p_holm"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert (mine["family"] == 5).all()
    alone = adjusted[adjusted["metric"] != "difference in accuracy"]
    assert (alone["p_holm"] == 0.04).all() and (alone["family"] == 1).all()  # another metric is another question


@pytest.mark.slow
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


def test_an_overview_has_one_line_per_table_and_says_what_is_leaky_or_not_estimable():
    frame = pd.DataFrame(
        {"value": [0.5, np.nan, 1.0], "low": [0.4, np.nan, np.nan], "high": [0.6, np.nan, np.nan], "leaky": False},
        index=["accuracy", "macro AUC", "F1"],
    )
    judged = pd.concat({"one": frame, "two": frame.assign(leaky=True)}, names=["recipe", "name"])
    shown = overview(judged, ["macro AUC", "accuracy", "F1", "absent"])
    assert list(shown.index) == ["one", "two"] and list(shown.columns) == ["macro AUC", "accuracy", "F1"]
    assert shown.loc["one"].tolist() == ["not estimable", "0.50 (0.40-0.60)", "1 (no interval)"]
    assert shown.loc["two", "accuracy"] == "0.50 (0.40-0.60) leaky"


def test_a_table_of_numbers_has_their_intervals_and_sizes_and_of_differences_the_verdict():
    counts = {"n": 100, "lesions": 90, "note": "", "leaky": False}
    plain = listed(pd.DataFrame([row(0.6921, 0.6429, 0.7402, **counts)], ["accuracy"]))
    assert plain.loc["accuracy"].tolist() == ["0.69 (0.64-0.74)", 100, 90]
    rows = [row(0.1, 0.004, 0.2, p=0.03, p_holm=0.06, runs=3, **counts), row(np.nan, np.nan, np.nan, runs=3, **counts)]
    table = listed(pd.DataFrame(rows, ["a", "b"]), differences=True)
    assert table.loc["a"].tolist()[:5] == ["+0.100 (+0.004 to +0.200)", 100, 90, 3, "0.06"]
    assert table.loc["a", "verdict"].startswith("no difference shown")
    assert table.loc["b", ["Holm-adjusted p", "verdict"]].tolist() == ["", "not estimable"]


def test_the_table_of_classes_has_a_line_for_each_and_marks_the_rare():
    rows = judge(PredictionTable(table_of([15, 6, 20, 60]), 50))
    table = by_class(rows, ("sensitivity", "AUC"))
    assert table.index.tolist() == ["bkl", "df", "mel", "nv"] and list(table) == ["images", "sensitivity", "AUC"]
    assert table["images"].tolist() == ["45", "18 (few)", "60", "180"]
    assert table.loc["df"].tolist()[1:] == ["not estimable"] * 2
    assert table.loc["nv", "AUC"].startswith(f"{rows.loc['AUC nv', 'value']:.2f} (")


def test_the_choice_says_how_many_others_are_near_and_whether_anything_was_learnt():
    tables = {"a": table_of([15, 15, 20, 60]), "b": table_of([15, 15, 20, 60], seed=1)}
    judged = pd.concat({(name, "validation"): judge(PredictionTable(of, 50)) for name, of in tables.items()})
    said = choice_sentence(judged)
    facts = (f"{choose(judged)[0]}, 0.", "1 of the 1 other recipes", "clearly more", "difference")
    assert all(fact in said for fact in facts)
    assert "It learnt nothing" in choice_sentence(judged.loc[["a"]], "learnt nothing (…)")
    assert "No other recipe" in choice_sentence(judged.loc[["a"]])
    far = judged.copy()
    far.loc[far.index.get_level_values(0) == "b", ["value", "low", "high"]] -= 0.6
    assert "0 of the 1 other recipes" in choice_sentence(far) and "difference" not in choice_sentence(far)
