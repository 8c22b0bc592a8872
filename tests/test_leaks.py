"""Paired leaks: arms that differ in the leak alone, effects that are known, and intervals that tell the truth."""

import runpy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_utils import leak_pairs as leaks
from lesion_utils import predictions
from lesion_utils.cases import make_case_tables
from lesion_utils.claims.differences import leak_differences, run_differences
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, verdict
from lesion_utils.leak_pairs import paired_arms, train_leak_pairs
from lesion_utils.paths import PROJECT
from lesion_utils.splits import split_by_lesion
from lesion_utils.training import Trained


def case_table(*lesions: tuple[str, str, int]) -> pd.DataFrame:
    """Cases of lesions given as (split, label, images)."""
    rows = [
        (f"{split}{lesion}-{view}", f"{split}{lesion}", label, split)
        for lesion, (split, label, images) in enumerate(lesions)
        for view in range(images)
    ]
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "label", "split"])


def made_up(seed: int, lesions: int) -> pd.DataFrame:
    """Cases of two unequal classes with one to four images a lesion, in random order, split by lesion."""
    rng = np.random.default_rng(seed)
    kinds = [("", label, n) for label, k in (("mel", lesions), ("nv", 3 * lesions)) for n in rng.integers(1, 5, k)]
    cases = case_table(*kinds).sample(frac=1, random_state=seed, ignore_index=True)
    return cases.assign(split=split_by_lesion(cases, 0.2, 0.2, seed))


def training(arm: pd.DataFrame) -> pd.DataFrame:
    return arm[arm["split"] == "train"]


def assert_fair(cases: pd.DataFrame, leaky: pd.DataFrame, clean: pd.DataFrame, can_leak: pd.Series) -> None:
    """What every pair of arms must keep, whatever leaks."""
    assert leaky.drop(columns="split").equals(clean.drop(columns="split"))
    assert leaky.drop(columns="split")[: len(cases)].equals(cases.drop(columns="split"))
    for part in ("test", "validation"):
        assert (leaky["split"] == part).equals(clean["split"] == part)
        assert set(leaky["image_id"][leaky["split"] == part]) <= set(cases["image_id"][cases["split"] == part])
    assert (leaky["split"] == "validation").sum() == (cases["split"] == "validation").sum()
    counts = [training(arm)["label"].value_counts().to_dict() for arm in (leaky, clean)]
    assert counts[0] == counts[1]
    held_out = cases["lesion_id"][cases["split"].isin(["test", "validation"])]
    assert not set(training(clean)["lesion_id"]) & set(held_out)
    tested = leaky[leaky["split"] == "test"]
    known = tested["lesion_id"].isin(training(leaky)["lesion_id"])
    assert set(tested.index[known]) == set(can_leak.index[can_leak]) and known.any()
    assert not set(training(leaky)["lesion_id"]) & set(leaky["lesion_id"][leaky["split"] == "validation"])
    # without what each adds, the arms are one; and what the clean arm adds is of no lesion that both have
    only_leaky, only_clean = (
        training(one).index.difference(training(other).index) for one, other in ((leaky, clean), (clean, leaky))
    )
    assert set(leaky.loc[only_leaky, "lesion_id"]) == set(tested["lesion_id"][known])
    assert set(clean.loc[only_clean, "split"]) == {"train"} and set(leaky.loc[only_clean, "split"]) == {"unused"}
    base = training(leaky).index.intersection(training(clean).index)
    assert not set(clean.loc[base, "lesion_id"]) & set(clean.loc[only_clean, "lesion_id"])


@pytest.mark.slow
@settings(max_examples=20)
@given(case_seed=st.integers(0, 99), lesions=st.integers(12, 40), split_seed=st.integers(0, 9), seed=st.integers(0, 9))
def test_arms_of_siblings_differ_in_the_siblings_alone(case_seed, lesions, split_seed, seed):
    cases = made_up(case_seed, lesions)
    leaky, clean, can_leak = paired_arms(cases, "siblings", split_seed, seed)
    assert_fair(cases, leaky, clean, can_leak)
    tested = leaky[leaky["split"] == "test"]
    assert sorted(tested["lesion_id"]) == sorted(set(cases["lesion_id"][cases["split"] == "test"]))
    added = training(leaky).index.difference(training(clean).index)
    assert set(added) == set(cases.index[cases["split"] == "test"]) - set(tested.index)


def test_the_seeds_decide_and_the_split_seed_alone_decides_what_is_tested():
    cases = made_up(0, 40)
    one, same, other = (paired_arms(cases, "siblings", 3, seed) for seed in (1, 1, 2))
    assert all(a.equals(b) for a, b in zip(one, same, strict=True))
    assert not one[1].equals(other[1])
    assert one[2].equals(other[2]) and (one[0]["split"] == "test").equals(other[0]["split"] == "test")
    assert not paired_arms(cases, "siblings", 4, 1)[2].equals(one[2])


def test_a_lesion_with_as_many_images_stands_in_and_only_where_there_is_none_several_do():
    lesions = [("test", "mel", 3), ("test", "nv", 4), ("validation", "mel", 1)]
    cases = case_table(*lesions, *[("train", "mel", n) for n in (1, 2, 3, 5)], *[("train", "nv", 2)] * 3)
    leaky, clean, _ = paired_arms(cases, "siblings", 0, 0)
    added = clean.loc[training(clean).index.difference(training(leaky).index)]
    assert added[added["label"] == "mel"]["lesion_id"].tolist() == ["train5"] * 2  # three images, as the test lesion
    assert added[added["label"] == "nv"].groupby("lesion_id").size().tolist() in ([1, 2], [2, 1])
    assert (clean["split"][clean["lesion_id"] == "train5"] == "unused").sum() == 1


def test_what_cannot_be_measured_is_refused():
    train = [("train", "mel", 2), ("train", "nv", 1)]
    with pytest.raises(InputError, match=r"of siblings cannot be measured: no test lesion has two images \(2 test ima"):
        paired_arms(case_table(*train, ("test", "nv", 1), ("test", "mel", 1)), "siblings", 0, 0)
    with pytest.raises(InputError, match="of copies cannot be measured: no class has two test lesions"):
        paired_arms(case_table(*train, ("test", "nv", 1), ("test", "mel", 1)), "copies", 0, 0)
    with pytest.raises(InputError, match=r"2 images of nv.*only 1"):
        paired_arms(case_table(*train, ("test", "nv", 3)), "siblings", 0, 0)
    with pytest.raises(InputError, match=r"1 images of df.*only 0"):
        paired_arms(case_table(*train, ("test", "df", 2)), "siblings", 0, 0)


def test_arms_of_copies_share_their_rows_and_differ_in_the_copies_alone(phantom_folder):
    cases = ham10000.read(phantom_folder)
    cases["split"] = split_by_lesion(cases, 0.2, 0.2, 0)
    leaky, clean, can_leak = paired_arms(cases, "copies", 0, 0)
    assert_fair(cases, leaky, clean, can_leak)
    assert (leaky["split"] == "test").sum() == (cases["split"] == "test").sum()
    for arm, sources in ((leaky, "test"), (clean, "train")):
        added = training(arm)[training(arm).index >= len(cases)]
        source = cases.set_index("image_id").loc[added["image_id"].str.split("-copy").str[0]]
        assert set(source["split"]) == {sources} and source.index.is_unique
    assert len(added) == can_leak.sum()
    lesions = cases[cases["split"] == "test"].groupby("label")["lesion_id"].nunique()
    leaking = leaky[can_leak].groupby("label")["lesion_id"].nunique().reindex(lesions.index, fill_value=0)
    assert ((leaking - lesions / 2).abs() <= 0.5).all()
    # the copies of all runs are the same rows, so that pictures are decoded once
    assert paired_arms(cases, "copies", 0, 5)[1].equals(clean)


LEAKS = {"sib": {"recipe": "cnn", "kind": "siblings", "runs": 2}}


def leaking(study, **leaks):
    return type(study).model_validate(study.model_dump() | {"leaks": leaks})


def test_the_effect_is_that_of_the_scores_on_the_right_images(tiny_study, monkeypatch):
    study = leaking(tiny_study, **LEAKS)
    cases = make_case_tables(study)["corrected"]

    def knows_what_leaked(recipe, arm, *, seed, folder, **_):
        """Right on the test images whose lesion is in training, wrong on all others."""
        tested = arm[arm["split"] == "test"]
        classes = sorted(arm["label"].unique())
        truth = np.searchsorted(classes, tested["label"])
        known = tested["lesion_id"].isin(training(arm)["lesion_id"]).to_numpy()
        scores = np.eye(len(classes))[np.where(known, truth, (truth + 1) % len(classes))]
        provenance = {"recipe": recipe.identity, "seed": seed, "leaky": recipe.allow_leak}
        validation = np.eye(len(classes))[[0] * (arm["split"] == "validation").sum()]
        predictions.write(folder, arm, {"validation": validation, "test": scores}, provenance)
        return Trained(folder, classes, arm, pd.DataFrame(), {"test": scores}, provenance)

    monkeypatch.setattr(leaks, "train", knows_what_leaked)
    (row,) = train_leak_pairs(study, "baseline", cases).to_dict("records")
    assert (row["leak"], row["runs"]) == ("sib", 2)
    assert study.leaks_of("transfer") == {} == study.model_copy(update={"run": 1}).leaks_of("baseline")
    tests = cases[cases["split"] == "test"]
    several = (tests.groupby("lesion_id").size() > 1).sum()
    assert (row["test images"], row["can leak"]) == (tests["lesion_id"].nunique(), several)
    assert row["added images"] == len(tests) - tests["lesion_id"].nunique()
    assert all(path.is_file() for path in predictions.leak_tables(study, "sib"))
    rows = leak_differences(study, "sib")
    assert rows.loc[("test_can_leak", "accuracy"), ["value", "n"]].tolist() == [1, several]
    assert rows.loc[("test", "accuracy"), "value"] == pytest.approx(several / tests["lesion_id"].nunique())
    assert rows.loc["test_can_leak", "images"].unique().tolist() == ["test images that can leak"]


def right_on(labels, right):
    """A prediction table that names the first ``right`` of the cases of each class right, and the others wrong."""
    truth = np.searchsorted(sorted(set(labels)), labels)
    wrong = pd.Series(labels).groupby(labels).cumcount().to_numpy() >= [right[one] for one in labels]
    ids = [f"i{k}" for k in range(len(labels))]
    cases = pd.DataFrame({"image_id": ids, "lesion_id": ids, "label": labels})
    return predictions.build(cases, sorted(set(labels)), np.eye(2)[np.where(wrong, 1 - truth, truth)])


def test_each_pair_of_runs_is_shown_and_pairs_that_disagree_show_no_difference():
    labels = np.repeat(["mel", "nv"], [40, 60])
    clean = [right_on(labels, {"mel": 20, "nv": 40})] * 3
    leaky = [right_on(labels, {"mel": mel, "nv": nv}) for mel, nv in ((40, 46), (30, 60), (19, 39))]
    rows = run_differences(
        PredictionTable([leaky[0], leaky[1].sample(frac=1, random_state=0), leaky[2]], 300), PredictionTable(clean)
    )
    assert (rows["runs"] == 3).all()
    accuracy, balanced = rows.loc["accuracy"], rows.loc["balanced accuracy"]
    assert accuracy[["value", "least", "most"]].tolist() == pytest.approx([(0.26 + 0.3 - 0.02) / 3, -0.02, 0.3])
    each = [(20 / 40 + 6 / 60) / 2, (10 / 40 + 20 / 60) / 2, -(1 / 40 + 1 / 60) / 2]
    found = balanced[["value", "least", "most"]].tolist()
    assert found == pytest.approx([np.mean(each), min(each), max(each)])
    melanoma = rows.loc["melanoma sensitivity", ["least", "most"]].tolist()
    assert melanoma == pytest.approx([-1 / 40, 20 / 40])
    assert accuracy["low"] < 0 < accuracy["high"] and "no difference" in verdict(accuracy)
    for runs, words in ((2, "2 runs"), (1, "one run")):
        few = run_differences(PredictionTable(leaky[:runs], 300), PredictionTable(clean[:runs])).loc["accuracy"]
        assert "no verdict" in verdict(few) and words in verdict(few)


def test_what_is_not_estimable_of_the_mean_is_not_of_the_pairs():
    labels = np.repeat(["mel", "nv"], [9, 60])
    tables = [right_on(labels, {"mel": mel, "nv": 40}) for mel in (5, 8)]
    rows = run_differences(PredictionTable(tables, 100), PredictionTable(tables[::-1]))
    assert rows.loc["balanced accuracy", ["value", "least", "most"]].isna().all()
    assert rows.loc["accuracy", ["least", "most"]].tolist() == pytest.approx([-3 / 69, 3 / 69])


def test_an_effect_without_tables_says_how_to_make_them(tiny_study):
    with pytest.raises(InputError, match="has no leak 'sib'; it has none"):
        leak_differences(tiny_study, "sib")
    with pytest.raises(InputError, match="make study STUDY=tiny"):
        leak_differences(leaking(tiny_study, **LEAKS), "sib")


@pytest.mark.parametrize("kind", ["siblings", "copies"])
@pytest.mark.slow
def test_both_arms_are_trained_and_only_the_leaky_one_is_called_so(tiny_study, kind):
    study = leaking(tiny_study, small={"recipe": "cnn", "kind": kind, "runs": 1})
    train_leak_pairs(study, "baseline", make_case_tables(study)["corrected"])
    leaky, clean = (predictions.read(study, f"small_{arm}", "test", 0) for arm in ("leaky", "clean"))
    assert predictions.is_leaky(leaky) and not predictions.is_leaky(clean)
    assert leaky["image_id"].equals(clean["image_id"]) and not leaky["p_nv"].equals(clean["p_nv"])


@pytest.mark.slow
def test_a_small_simulation_finds_a_planted_leak_and_no_other():
    simulation = runpy.run_path(str(PROJECT / "benchmarks" / "leak_size.py"))
    few = {"studies": 10, "resamples": 300, "lesions": {"bkl": 100, "mel": 100, "nv": 200}}
    parts = [(part, "accuracy") for part in simulation["PARTS"].values()]
    none = simulation["summary"](0.0, 0.0, **few)
    assert (none.loc[parts, "covers 0"] >= 8).all()
    planted = simulation["summary"](0.95, 0.0, **few)
    assert planted.loc[parts[1], "excludes 0"] >= 8
    assert planted.loc[parts[1], "value"] > 1.5 * planted.loc[parts[0], "value"] > 0


@pytest.mark.parametrize("kind", ["siblings", "copies"])
@pytest.mark.slow
def test_a_small_simulation_with_the_luck_of_training_calls_a_planted_leak_higher_and_no_other(kind):
    simulation = runpy.run_path(str(PROJECT / "benchmarks" / "leak_size.py"))
    part = (5, "test images that can leak", "accuracy")
    none, planted = (simulation["ruled"](kind, shared, 0.3, studies=4, resamples=100) for shared in (0.0, 0.95))
    assert none.loc[part, ["higher", "lower"]].sum() <= 1 and none.loc[part, "spread"] > 0
    assert planted.loc[part, "higher"] >= 3
