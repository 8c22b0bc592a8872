"""The worth of a factor over several seeds: where the truth is known, and where there is none."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from prediction_tables import prediction_table, table_of

from lesion_utils import figures
from lesion_utils.claims.differences import ablation_differences
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge

TRUTH = np.repeat(range(4), [40, 40, 60, 160])


def model(seed, skill=0.0, lesions=TRUTH):
    """A table of one training: a common part, the luck of this training, and ``skill`` toward the truth."""
    common, luck = np.random.default_rng(99).normal(size=(len(lesions), 4)), np.random.default_rng(seed)
    logits = common + luck.normal(size=(len(lesions), 4)) + (0.8 + skill) * np.eye(4)[lesions]
    scores = np.exp(logits)
    return prediction_table(lesions, scores / scores.sum(1, keepdims=True), range(len(lesions)))


def effects(arms, reference, resamples=2000, **options):
    """``ablation_differences`` of the frames of each arm; ``reference`` is that of all arms, or of each by name."""
    tables = {name: PredictionTable(frames, resamples) for name, frames in arms.items()}
    of_all = {name: reference for name in arms if name != reference}
    return ablation_differences(tables, of_all if isinstance(reference, str) else reference, **options)


def arm(start, skill=0.0, repeats=5):
    return [model(start + seed, skill) for seed in range(repeats)]


def test_what_really_helps_or_harms_is_told_and_what_does_not_is_not():
    found = effects({"plain": arm(0), "better": arm(10, 0.8), "worse": arm(20, -0.5), "same": arm(30)}, "plain", 500)
    verdicts = found["verdict"].xs("accuracy", level="name").to_dict()
    assert verdicts == {"better": "higher", "worse": "lower", "same": "no difference shown at this n"}
    row = found.loc[("better", "accuracy")]
    singles = [
        judge(PredictionTable(one, 20)).loc["accuracy", "value"]
        - judge(PredictionTable(other, 20)).loc["accuracy", "value"]
        for one, other in zip(arm(10, 0.8), arm(0), strict=True)
    ]
    assert row["single"] == pytest.approx(singles) and row["value"] == pytest.approx(np.mean(singles))
    assert row[["least", "most", "runs"]].tolist() == pytest.approx([min(singles), max(singles), 5])
    assert row["p_holm"] >= row["p"] and row["family"] == 3


def test_fewer_than_three_runs_carry_no_verdict():
    for repeats, words in ((1, "one run"), (2, "2 runs")):
        few = effects({"plain": arm(0, repeats=repeats), "better": arm(10, 2.0, repeats=repeats)}, "plain", 500)
        row = few.loc[("better", "accuracy")]
        assert row["p"] < 0.01 and row["verdict"].startswith("no verdict") and words in row["verdict"]


def test_runs_that_differ_widen_the_interval():
    steady, mixed = arm(10, 0.8, repeats=4), [*arm(10, 1.6, repeats=2), *arm(12, 0.0, repeats=2)]
    widths = []
    for runs in (steady, mixed):
        row = effects({"plain": arm(0, repeats=4), "better": runs}, "plain", 500).loc[("better", "accuracy")]
        widths.append(row["high"] - row["low"])
    assert widths[1] > 1.5 * widths[0]


def test_a_barred_arm_carries_no_verdict_and_bars_what_is_compared_with_it():
    tables = {"plain": arm(0), "better": arm(10, 0.8), "best": arm(20, 1.6)}
    found = effects(tables, {"better": "plain", "best": "better"}, 200, barred={"better": "learnt nothing"})
    assert found["verdict"].str.contains("not measurable here: better learnt nothing").all()
    found = effects(tables, "plain", 200, barred={"better": "learnt nothing"})
    assert found.loc[("best", "accuracy"), "verdict"] == "higher"


def test_each_arm_may_be_held_against_its_own():
    tables = {"plain": arm(0), "better": arm(10, 0.8), "best": arm(20, 1.6)}
    found = effects(tables, {"better": "plain", "best": "better"}, 200, wanted=["accuracy"])
    alone = effects({name: tables[name] for name in ("better", "best")}, "better", 200, wanted=["accuracy"])
    numbers = ["value", "low", "high", "least", "most"]
    assert found.loc["best", numbers].to_numpy().tolist() == alone.loc["best", numbers].to_numpy().tolist()
    assert list(found.index.get_level_values(0)) == ["better", "best"]
    with pytest.raises(InputError, match="no arm 'none'"):
        effects(tables, {"best": "none"}, 50)


@pytest.mark.slow
def test_factors_without_effect_are_hardly_ever_called_one():
    wrong, total = 0, 0
    for study in range(25):
        arms = {name: arm(1000 * study + 10 * number, repeats=3) for number, name in enumerate(("plain", "a", "b"))}
        verdicts = effects(arms, "plain", 199, wanted=["accuracy"])["verdict"]
        wrong, total = wrong + verdicts.isin(["higher", "lower"]).any(), total + 1
    assert wrong / total <= 0.12  # of families: at most 5% are expected


def test_a_metric_that_cannot_be_estimated_gets_no_verdict():
    tables = {
        name: [table_of([12, 5, 20, 60], seed=seed) for seed in seeds]
        for name, seeds in {"x": (1, 2), "y": (3, 4)}.items()
    }
    row = effects(tables, "x", 100).loc[("y", "balanced accuracy")]
    assert row["verdict"] == "not estimable" and row["single"] == [] and np.isnan(row["least"])


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"a": arm(0, repeats=1)}, "no arm 'plain'.* a"),
        ({"plain": arm(0, repeats=2), "a": arm(5, repeats=1)}, "a has 1 runs, plain has 2. Fix"),
        ({"plain": arm(0, repeats=1), "a": [model(3).iloc[:-1]]}, "different cases"),
    ],
)
def test_arms_that_cannot_be_held_against_each_other_are_refused(tables, message):
    with pytest.raises(InputError, match=message):
        effects(tables, "plain", 50)


def test_the_figure_shows_every_seed_beside_the_interval():
    found = effects({"plain": arm(0), "better": arm(10, 0.8), "same": arm(30)}, "plain", 100)
    fig = figures.ablation(found, "Made up")
    left, right = fig.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "better: higher",
        "same: no difference shown at this n",
    ]
    assert "balanced accuracy" in left.get_xlabel() and "melanoma sensitivity" in right.get_xlabel()
    drawn = np.sort(np.concatenate([one.get_offsets()[:, 0] for one in left.collections if len(one.get_offsets())]))
    singles = found.xs("balanced accuracy", level="name")["single"]
    np.testing.assert_allclose(drawn, np.sort(np.concatenate(singles.tolist())))
    plt.close(fig)
    unknown = effects({name: [table_of([12, 5, 20, 60], seed=s)] for s, name in enumerate("xy")}, "x", 100)
    fig = figures.ablation(unknown, "Made up")
    assert "not estimable" in [text.get_text() for text in fig.axes[0].texts]
    assert fig.axes[0].get_xlim() == (-1, 1)
    plt.close(fig)


def test_ages_are_shown_by_class_and_as_a_histogram_of_all():
    cases = pd.DataFrame({"label": ["nv", "mel"] * 50, "age": [*np.arange(98) % 80, np.nan, np.nan]})
    fig = figures.ages(cases, "Made up")
    assert len(fig.axes) == 2 and len(fig.axes[1].patches) == 40
    assert sum(bar.get_height() for bar in fig.axes[1].patches) == 98
    assert fig.get_suptitle() == "Made up: age (missing: 2)"
    plt.close(fig)
