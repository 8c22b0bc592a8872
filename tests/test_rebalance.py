"""Samplers and class weights: known answers, and what holds for any class sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_utils.errors import InputError
from lesion_utils.rebalance import class_weights, epoch_rows, epoch_sizes

SAMPLERS = ["none", "over", "under", "equal", "root"]
class_sizes = st.lists(st.integers(1, 60), min_size=2, max_size=6)


def labels_of(sizes: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize(
    ("sampler", "sizes"),
    [
        ("none", {0: 100, 1: 25, 2: 4}),
        ("over", {0: 100, 1: 100, 2: 100}),
        ("under", {0: 4, 1: 4, 2: 4}),
        ("equal", {0: 43, 1: 43, 2: 43}),  # 129 / 3
        ("root", {0: 76, 1: 38, 2: 15}),  # 129 in the proportions 10 : 5 : 2
    ],
)
def test_epoch_sizes(sampler, sizes):
    assert epoch_sizes(labels_of([100, 25, 4]), sampler) == sizes


@settings(max_examples=60)
@given(sizes=class_sizes, sampler=st.sampled_from(SAMPLERS), seed=st.integers(0, 1000))
def test_an_epoch_shows_training_rows_in_the_sizes_told_and_repeats_no_more_than_it_must(sizes, sampler, seed):
    labels = labels_of(sizes)
    rows = epoch_rows(labels, sampler, seed)
    told = epoch_sizes(labels, sampler)
    assert {k: int((labels[rows] == k).sum()) for k in told} == told
    assert rows.min() >= 0 and rows.max() < len(labels)
    for k, size in enumerate(sizes):
        shown = rows[labels[rows] == k]
        if told[k] <= size:
            assert len(set(shown)) == len(shown)  # no row twice
        else:
            assert set(shown) == set(np.flatnonzero(labels == k))  # all rows before any again


@given(sizes=class_sizes)
def test_root_lies_between_none_and_equal_classes(sizes):
    labels = labels_of(sizes)
    shown = np.array(list(epoch_sizes(labels, "root").values()))
    assert abs(shown.sum() - sum(sizes)) <= len(sizes)
    order = np.argsort(sizes, kind="stable")
    assert (np.diff(shown[order]) >= 0).all()
    assert shown.max() / shown.min() <= max(sizes) / min(sizes) + 1e-9


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_are_drawn_by_the_seed_and_shuffled(sampler):
    labels = np.sort(labels_of([30, 12, 6]))
    one, same, other = (epoch_rows(labels, sampler, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert (np.diff(labels[one]) < 0).any()  # classes are mixed
    if sampler != "none":
        assert not np.array_equal(np.sort(one), np.sort(other))  # other images, not only another order


def test_balanced_class_weights():
    labels = labels_of([60, 30, 10])
    # n / (classes * size of the class)
    assert class_weights(labels, "balanced") == pytest.approx({0: 100 / 180, 1: 100 / 90, 2: 100 / 30})
    assert class_weights(labels, "none") is None


@pytest.mark.parametrize(
    ("kind", "proportions"),
    [("square_root", 1 / np.sqrt([64, 16, 4])), ("effective", 0.1 / (1 - 0.9 ** np.array([64, 16, 4])))],
)
def test_milder_class_weights_by_known_answers(kind, proportions):
    labels = labels_of([64, 16, 4])
    weights = np.array([*class_weights(labels, kind, beta=0.9).values()])
    assert weights / weights[0] == pytest.approx(proportions / proportions[0])
    assert weights[labels].mean() == pytest.approx(1)


@given(sizes=class_sizes)
def test_balanced_class_weights_make_all_classes_count_alike(sizes):
    weights = class_weights(labels_of(sizes), "balanced")
    assert np.allclose([weights[k] * size for k, size in enumerate(sizes)], sum(sizes) / len(sizes))


@pytest.mark.parametrize(
    ("sampler", "sizes"),
    [("over", {0: 100, 1: 50, 2: 50}), ("under", {0: 50, 1: 25, 2: 4}), ("equal", dict.fromkeys(range(3), 50))],
)
def test_a_class_size_bounds_the_sampler(sampler, sizes):
    labels = labels_of([100, 25, 4])
    assert epoch_sizes(labels, sampler, class_size=50) == sizes
    rows = epoch_rows(labels, sampler, 0, class_size=50)
    assert dict(zip(*np.unique(labels[rows], return_counts=True), strict=True)) == sizes


def test_weights_by_name_leave_the_others_at_one():
    assert class_weights(labels_of([3, 3]), {"mel": 3.0}, ["bcc", "mel"]) == {0: 1.0, 1: 3.0}
    with pytest.raises(InputError, match=r"`class_weights`.*melanoma.*bcc, mel\."):
        class_weights(labels_of([3, 3]), {"melanoma": 3.0}, ["bcc", "mel"])
