"""Prior correction: strength tuned on validation, classes moved, probabilities untouched."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score

from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.prior import correct_prior

SHARES = np.array([0.05, 0.15, 0.8])
BALANCED, CORRECTED = "balanced accuracy", "prior-corrected balanced accuracy"


def frame(n: int, seed: int, tilt: float = 1.0, name: str = "", skill: float = 2.0) -> pd.DataFrame:
    """Cases of three classes; probabilities of a model with some skill whose prior is the class shares to ``tilt``."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=SHARES)
    scores = softmax(skill * (np.eye(3)[truth] + rng.normal(0, 0.6, (n, 3))) + tilt * np.log(SHARES), axis=1)
    named = pd.DataFrame(scores, columns=["p_a", "p_b", "p_c"])
    ids = [f"{name}{i}" for i in range(n)]
    return named.assign(image_id=ids, lesion_id=ids, label=np.array(["a", "b", "c"])[truth])


def table(*frames: pd.DataFrame) -> PredictionTable:
    return PredictionTable(list(frames), 200)


def test_a_model_with_the_priors_of_its_data_gains_and_its_probabilities_stay():
    validation, test = table(frame(3000, 0, name="v")), table(frame(3000, 1))
    corrected = correct_prior(test, validation)
    rows, before = judge(corrected), judge(test)
    assert CORRECTED not in before.index
    assert rows.at[CORRECTED, "value"] > before.at[BALANCED, "value"] + 0.1
    for metric in (BALANCED, "macro AUC", "log loss", "accuracy"):
        assert rows.at[metric, "value"] == before.at[metric, "value"]
    optimum = frame(3000, 1, tilt=0.0)  # by Bayes' rule: the same evidence with equal priors
    assert rows.at[CORRECTED, "value"] == pytest.approx(judge(table(optimum)).at[BALANCED, "value"], abs=0.03)


def test_rebalancing_that_only_moves_the_threshold_is_worth_nothing():
    plain, rebalanced = (
        correct_prior(table(frame(2000, 1, tilt)), table(frame(2000, 0, tilt, "v"))) for tilt in (1, 0)
    )
    rows = compare(rebalanced, plain, [BALANCED, CORRECTED])
    assert rows.at[BALANCED, "low"] > 0.1
    assert abs(rows.at[CORRECTED, "value"]) < 0.02 and rows.at[CORRECTED, "low"] < 0 < rows.at[CORRECTED, "high"]


def test_each_run_has_its_own_correction():
    runs, validations = ([frame(800, seed, tilt, name) for tilt in (0.0, 1.0)] for seed, name in ((1, ""), (0, "v")))
    both = correct_prior(table(*runs), table(*validations))
    for run, test, validation in zip(both.runs, runs, validations, strict=True):
        assert (run.corrected == correct_prior(table(test), table(validation)).runs[0].corrected).all()
    with pytest.raises(ValueError, match="zip"):
        correct_prior(table(*runs), table(validations[0]))


@pytest.mark.slow
def test_validation_itself_is_corrected_by_other_lesions():
    """With scores that say nothing, a strength fitted to the judged cases looks better than chance; this must not."""
    crossed, fitted = [], []
    for seed in range(40):
        noise = frame(90, seed).assign(lesion_id=lambda of: (of.index // 2).astype(str))
        noise[["p_a", "p_b", "p_c"]] = np.random.default_rng(100 + seed).dirichlet(4 * SHARES, 90)
        one = table(noise)
        for values, validation in ((crossed, None), (fitted, one)):
            values.append(balanced_accuracy_score(one.truth, correct_prior(one, validation).runs[0].corrected))
    assert np.mean(crossed) == pytest.approx(1 / 3, abs=0.03) and np.mean(fitted) > 1 / 3 + 0.05


def test_rows_may_come_in_any_order():
    validation, test = frame(600, 0, name="v"), frame(600, 1)
    other = test.sample(frac=1, random_state=0)[[*test.columns[::-1]]]
    straight, turned = (correct_prior(table(of), table(validation)) for of in (test, other))
    assert judge(straight).at[CORRECTED, "value"] == pytest.approx(judge(turned).at[CORRECTED, "value"])


def test_without_probabilities_nothing_is_corrected_and_other_classes_are_refused():
    named = frame(100, 0)[["image_id", "lesion_id", "label"]].assign(predicted="a")
    assert correct_prior(table(named)).runs[0].corrected is None
    other = frame(100, 0).rename(columns={"p_c": "p_d"}).replace({"label": {"c": "d"}})
    with pytest.raises(InputError, match="different classes"):
        correct_prior(table(frame(100, 1)), table(other))


def test_in_cross_validation_each_fold_is_corrected_by_its_own_validation():
    tilts = (0.0, 1.0, 0.5)
    folds = [frame(600, seed, tilt, f"t{seed}-").assign(fold=seed) for seed, tilt in enumerate(tilts)]
    known = [frame(600, 9 + seed, tilt, f"v{seed}-").assign(fold=seed) for seed, tilt in enumerate(tilts)]
    pooled = correct_prior(table(pd.concat(folds)), table(pd.concat(known)))
    alone = [correct_prior(table(*pair[:1]), table(*pair[1:])) for pair in zip(folds, known, strict=True)]
    assert list(pooled.frame["prior_corrected"]) == [name for of in alone for name in of.frame["prior_corrected"]]
    by_itself = correct_prior(table(pd.concat(folds)))  # validation judged on itself: fold by fold, too
    assert list(by_itself.frame["prior_corrected"]) == [
        name for of in folds for name in correct_prior(table(of)).frame["prior_corrected"]
    ]
