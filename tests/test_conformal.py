"""Conformal sets: the promised share of each class is covered, by known answers and in simulations."""

import numpy as np
import pytest
from prediction_tables import prediction_table, table_of

from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.conformal import coverage_table, sets, smallest_probabilities


def of_one_class(own: np.ndarray) -> PredictionTable:
    """Cases of class 0 with the probabilities ``own`` of it, and as many of class 1, which the model knows."""
    scores = np.column_stack([np.r_[own, np.zeros(len(own))], np.r_[1 - own, np.ones(len(own))]])
    truth = np.repeat([0, 1], len(own))
    return PredictionTable(prediction_table(truth, scores, range(len(truth)), ["nv", "mel"]), 100)


@pytest.mark.parametrize(("cases", "place"), [(9, 0), (19, 1), (99, 9), (100, 9), (108, 9), (109, 10)])
def test_the_limit_is_the_probability_that_as_many_cases_as_allowed_do_not_exceed(cases, place):
    own = np.linspace(0.2, 0.8, cases)
    limits = smallest_probabilities(of_one_class(np.random.default_rng(0).permutation(own)))
    assert limits["nv"] == pytest.approx(own[place]) and limits["mel"] == 1


def test_a_class_with_too_few_cases_always_stays_possible():
    limits = smallest_probabilities(of_one_class(np.linspace(0.2, 0.8, 8)))
    assert limits == {"nv": 0, "mel": 0}
    assert sets(np.array([[0.0, 1.0]]), limits).all()


@pytest.mark.slow
def test_each_class_is_covered_as_promised_on_average_over_validations():
    covered = []
    for seed in range(60):
        limits = smallest_probabilities(PredictionTable(table_of([80, 40, 30, 20], views=1, seed=seed), 10))
        test = PredictionTable(table_of([200, 200, 200, 200], views=1, seed=1000 + seed), 100)
        covered.append(coverage_table(test, limits)["value"])
    mean = np.mean(covered, axis=0)
    assert (mean > 0.885).all() and (mean[:-1] < 0.97).all()


def test_the_table_counts_images_lesions_and_the_size_of_sets():
    table = of_one_class(np.full(30, 0.6))
    rows = coverage_table(table, {"nv": 0.5, "mel": 0.3})
    assert rows.index.tolist() == ["nv", "mel", "all"]
    assert rows["n"].tolist() == [30, 30, 60] and rows["value"].tolist() == [1, 1, 1]
    assert rows["set size"].tolist() == [2, 1, 1.5]  # of nv, mel stays possible at 0.4
    assert coverage_table(table, {"nv": 0.7, "mel": 0.3}).loc["nv", "value"] == 1  # the most probable class stays
    less = of_one_class(np.full(30, 0.4))
    assert coverage_table(less, {"nv": 0.5, "mel": 0.3}).loc["nv", "value"] == 0
