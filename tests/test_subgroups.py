"""Subgroups: each group against the group alone, groups that cannot be judged, and metadata that cannot be used."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.operating import choose, most_probable
from lesion_utils.evaluation.subgroups import AGE_BANDS, by_group, groups_caveat, of_one_class, subgroups, untested
from lesion_utils.figures import subgroup_intervals

CLASSES = ["bkl", "mel", "nv"]
METRICS = ["accuracy", "balanced accuracy", "melanoma sensitivity", "melanoma specificity"]


def predictions_of(n=300, seed=0, views=2, prefix="img"):
    """A model better than chance on ``n`` lesions, a third of each class."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n) % 3, views)
    scores = rng.dirichlet(np.ones(3), n * views) + 0.5 * np.eye(3)[truth]
    table = pd.DataFrame({"image_id": [f"{prefix}{i}" for i in range(n * views)]})
    table["lesion_id"] = [f"{prefix}-{i // views}" for i in range(n * views)]
    table["label"] = np.array(CLASSES)[truth]
    scores = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=[f"p_{name}" for name in CLASSES])
    return pd.concat([table, scores], axis=1)


def metadata_of(table, **columns):
    return pd.DataFrame({"image_id": table["image_id"]} | columns)


def groups_of(rows, variable):
    return rows.loc[rows["variable"] == variable, "group"].drop_duplicates().tolist()


def test_a_group_is_judged_as_if_it_stood_alone():
    table = predictions_of()
    sex = np.where(np.arange(600) % 4 == 0, "female", "male")
    cases = metadata_of(table, sex=sex).sample(frac=1, random_state=0)  # in any order, with more images than asked
    extra = pd.DataFrame({"image_id": ["another"], "sex": ["male"]})
    point = choose(PredictionTable(predictions_of(seed=1, prefix="val")), specificity=0.8)
    rows = subgroups(PredictionTable(table, 100), point, pd.concat([cases, extra]))
    assert rows[["variable", "group", "metric"]].to_numpy().tolist() == [
        ["sex", group, metric] for group in ("female", "male") for metric in METRICS
    ]
    for group in ("female", "male"):
        alone = table[sex == group]
        predicted = alone[["p_bkl", "p_mel", "p_nv"]].to_numpy().argmax(1)
        truth, melanoma = pd.Index(CLASSES).get_indexer(alone["label"]), alone["label"] == "mel"
        called = alone["p_mel"] >= point.threshold
        expected = [
            accuracy_score(truth, predicted),
            balanced_accuracy_score(truth, predicted),
            recall_score(melanoma, called),
            recall_score(~melanoma, ~called),
        ]
        found = rows[rows["group"] == group]
        assert found["value"].tolist() == pytest.approx(expected, abs=1e-12)
        assert ((found["low"] < found["value"]) & (found["value"] < found["high"])).all()
        assert found["n"].tolist() == [len(alone), len(alone), melanoma.sum(), (~melanoma).sum()]
        assert (
            found[["images", "all_lesions", "positives"]] == [len(alone), alone["lesion_id"].nunique(), melanoma.sum()]
        ).all(axis=None)
    assert (rows["caution"] == "").all() and not rows["leaky"].any()


def test_columns_may_stand_in_the_predictions_themselves():
    table = predictions_of()
    source = np.repeat(["a", "b"], 300)
    own = subgroups(PredictionTable(table.assign(source=source), 50), most_probable(PredictionTable(table)))
    given = subgroups(
        PredictionTable(table, 50), most_probable(PredictionTable(table)), metadata_of(table, source=source)
    )
    pd.testing.assert_frame_equal(own, given)


def test_intervals_are_by_lesion():
    """Two equal views of each lesion say no more than one."""
    one = predictions_of(views=1)
    two = pd.concat([one, one.assign(image_id="again " + one["image_id"])])
    rows = [
        subgroups(PredictionTable(each.assign(sex="male"), 200), most_probable(PredictionTable(each)))[
            ["value", "low", "high", "lesions"]
        ]
        for each in (one, two)
    ]
    pd.testing.assert_frame_equal(*rows)


def test_a_planted_difference_is_seen():
    table = predictions_of()
    source = np.where(np.arange(600) % 8 < 2, "new camera", "old camera")
    melanoma = (table["label"] == "mel") & (source == "new camera")
    table.loc[melanoma, ["p_bkl", "p_mel", "p_nv"]] = [0.5, 0.1, 0.4]  # all melanomas of one camera are missed
    rows = subgroups(
        PredictionTable(table, 200), most_probable(PredictionTable(table)), metadata_of(table, source=source)
    )
    found = rows[rows["metric"] == "melanoma sensitivity"].set_index("group")
    assert found.loc["new camera", "value"] == 0
    assert 0 < found.loc["new camera", "high"] < found.loc["old camera", "low"]


def test_ages_are_put_into_bands_and_missing_is_a_group():
    table = predictions_of(360)
    ages = [0, 29.5, 30, "44", 45, 59, 60, 74, 75, 120, None, np.nan, "", "unknown", " Unknown "]
    cases = metadata_of(table, age=np.array(ages * 48, object))
    rows = subgroups(PredictionTable(table, 50), most_probable(PredictionTable(table)), cases)
    assert groups_of(rows, "age") == [*AGE_BANDS, "missing"]
    images = rows.drop_duplicates("group").set_index("group")["images"]
    assert images.tolist() == [96, 96, 96, 96, 96, 240]


def test_groups_stand_in_a_fixed_order_whatever_their_values():
    table = predictions_of()
    site = np.array([*["trunk", "back", None] * 200], object)
    shuffled = table.assign(localization=site).sample(frac=1, random_state=1)
    assert groups_of(subgroups(PredictionTable(shuffled, 50), most_probable(PredictionTable(table))), "site") == [
        "back",
        "trunk",
        "missing",
    ]


def test_small_groups_are_marked_or_not_estimable():
    table = predictions_of(views=1)
    sex = np.where(np.arange(300) < 27, "female", "male")  # 9 melanomas of 27
    source = np.where(np.arange(300) < 36, "a", "b")  # 12 of 36
    rows = subgroups(
        PredictionTable(table, 50), most_probable(PredictionTable(table)), metadata_of(table, sex=sex, source=source)
    )
    female = rows[rows["group"] == "female"].set_index("metric")
    assert female["value"].notna().to_dict() == dict(zip(METRICS, [True, False, False, True], strict=True))
    assert female.loc["melanoma sensitivity", "note"] == "melanoma: 9 lesions, at least 10 needed"
    assert "bkl: 9 lesions, mel: 9 lesions, nv: 9 lesions" in female.loc["balanced accuracy", "note"]
    few = rows[rows["group"] == "a"].set_index("metric")
    assert few["few"].to_dict() == dict(zip(METRICS, [False, False, True, False], strict=True))
    assert few["value"].notna().all()
    wide = by_group(rows)
    assert wide.index.tolist() == [("sex", "female"), ("sex", "male"), ("source", "a"), ("source", "b")]
    assert wide.loc[("source", "a"), ["images", "lesions", "positives"]].tolist() == [36, 36, 12]
    assert wide.loc[("source", "a"), "melanoma sensitivity"].endswith("n = 12, under 20)")
    assert wide.loc[("sex", "female"), "melanoma sensitivity"] == "not estimable (n = 9)"
    caveat = groups_caveat(rows)
    assert all(
        fact in caveat for fact in ("14 numbers of 4 groups", "2 numbers are not estimable", "2 rest on under 20")
    )
    names = [label.get_text() for label in subgroup_intervals(rows, METRICS[2], "x").axes[0].get_yticklabels()]
    assert names == ["sex female (n = 9, few)", "sex male (n = 91)", "source a (n = 12, few)", "source b (n = 88)"]


def test_cautions_come_along():
    validation = predictions_of(seed=1)
    optimistic = subgroups(
        PredictionTable(validation.assign(sex="male", leaky=True), 50),
        choose(PredictionTable(validation), sensitivity=0.9),
    )
    assert (optimistic["caution"] == "chosen on the same cases: optimistic").all() and optimistic["leaky"].all()
    assert "optimistic" in subgroup_intervals(optimistic, METRICS[2], "x").axes[0].get_xlabel()
    none = choose(PredictionTable(predictions_of(27, prefix="val")), sensitivity=0.9)
    rows = subgroups(PredictionTable(validation.assign(sex="male"), 50), none).set_index("metric")
    assert rows["value"].notna().to_dict() == dict(zip(METRICS, [True, True, False, False], strict=True))
    assert rows.loc["melanoma sensitivity", "note"] == "validation: melanoma: 9 lesions, at least 10 needed"


def test_predicted_classes_are_enough_where_nothing_is_chosen():
    table = predictions_of()
    predicted = np.array(CLASSES)[table[["p_bkl", "p_mel", "p_nv"]].to_numpy().argmax(1)]
    named = table[["image_id", "lesion_id", "label"]].assign(predicted=predicted, sex="male")
    rows = [
        subgroups(PredictionTable(each.assign(sex="male"), 50), most_probable(PredictionTable(each)))
        for each in (table, named)
    ]
    pd.testing.assert_frame_equal(*rows)


def test_a_group_of_one_class_is_named():
    table = predictions_of()
    follow_up = np.where(table["label"] == "nv", "follow_up", "histo")
    confocal = np.where(np.arange(600) < 19, "confocal", "histo")  # too few to speak of
    said = of_one_class(PredictionTable(table, 50), metadata_of(table, dx_type=follow_up, sex=confocal))
    assert "diagnosis by follow_up (all 200 images are nv)" in said and "confocal" not in said and "histo" not in said
    assert of_one_class(PredictionTable(table, 50)).startswith("No group")


# what was not tested


def test_what_was_not_tested_is_said():
    table = predictions_of()
    sites = [f"site {i}" for i in range(60)]
    cases = metadata_of(table, sex="male", age=np.nan, source=["a", "b"] * 300, localization=sites * 10)
    sentences = untested(PredictionTable(table), cases)
    facts = {"sex": "one group", "age": "no case", "site": "60 different values"}
    facts |= {"diagnosis by": "not recorded", "skin tone": "not recorded"}
    assert len(sentences) == len(facts)
    assert all(name in said and why in said for said, (name, why) in zip(sentences, facts.items(), strict=True))
    assert groups_of(subgroups(PredictionTable(table, 50), most_probable(PredictionTable(table)), cases), "site") == []
    assert len(untested(PredictionTable(table))) == 6
    assert "source" in untested(PredictionTable(table.assign(skin_tone=["I", "VI"] * 300)))[-1]
    assert subgroups(PredictionTable(table, 50), most_probable(PredictionTable(table))).empty
    assert groups_caveat(subgroups(PredictionTable(table, 50), most_probable(PredictionTable(table)))).startswith(
        "0 numbers of 0 groups"
    )


# what cannot be used


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cases: cases.iloc[2:], "2 of 600 predictions: img0, img1"),
        (lambda cases: pd.concat([cases, cases.head(1)]), "duplicate image_id.*'img0'"),
        (lambda cases: cases.rename(columns={"image_id": "image"}), "image_id.*image"),
        (lambda cases: cases.assign(age="old"), r"age in years in 600 row\(s\): row 2 \('old'\).* 0 to 150"),
        (lambda cases: cases.assign(age=-1), r"row 2 \('-1'\)"),
        (lambda cases: cases.assign(age=[151] + [50] * 599), r"age in years in 1 row\(s\): row 2 \('151'\)"),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(spoil, message):
    table = predictions_of()
    cases = spoil(metadata_of(table, age=50))
    with pytest.raises(InputError, match=message):
        subgroups(PredictionTable(table, 50), most_probable(PredictionTable(table)), cases)
    with pytest.raises(InputError, match=message):
        untested(PredictionTable(table), cases)
