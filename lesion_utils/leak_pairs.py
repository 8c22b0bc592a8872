"""The size of a leak: two arms that differ in the leak only, judged on the same test images.

Both arms share test and validation images and most training images. The leaky arm adds images that share a lesion with
test images; the clean arm adds as many images, of the same classes, of other lesions (a paired design, as in
Lawson-Darrow's Skin-Cancer-Model). ``claims/differences.py`` computes the difference.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.recipes import OfflineCopies
from lesion_utils.splits import UNUSED
from lesion_utils.study import ARMS, StudyParams, arm_name
from lesion_utils.training import train

COPIED = 0.5  # share of the test lesions of each class whose images are copied into the leaky arm
NOTHING_LEAKS = {"siblings": "no test lesion has two images", "copies": "no class has two test lesions"}
ONE_COPY_OF_EACH = OfflineCopies(one_of_each=True)  # rotated by up to 10 degrees, as in systems 003 and 004


def paired_arms(
    cases: pd.DataFrame, kind: str, split_seed: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """The leaky and the clean arm of a leak of ``kind``, and which of their rows are test images that can leak.

    Both arms have the rows of ``cases`` in their order, numbered from 0, and differ in ``split``; they share test and
    validation cases and the number of training images per class. ``split_seed`` chooses what leaks:
    ``siblings``: one image of each test lesion is tested, its others go into the leaky arm;
    ``copies``: one Augmentor copy of each image of half the test lesions goes there; copies are further rows.
    The clean arm gets as many images (or copies of them) of training lesions of the same class, which are otherwise
    ``unused`` in both arms: a lesion with as many images or the next larger number, several smaller ones only where
    none is large enough. Ties are drawn by ``seed``, and for ``copies`` by ``split_seed``, so that all runs share one
    set of pictures. Raises InputError where nothing can leak or training has too few images.
    """
    cases = cases.reset_index(drop=True)
    test = cases[cases["split"] == "test"].sample(frac=1, random_state=split_seed)
    first = test.drop_duplicates("lesion_id")
    tested, leaked, rng = first, test.drop(first.index), np.random.default_rng(seed)
    if kind == "copies":
        chosen = first.groupby("label").sample(frac=COPIED, random_state=split_seed)
        tested, leaked = test, test[test["lesion_id"].isin(chosen["lesion_id"])]
        rng = np.random.default_rng(split_seed)
    if leaked.empty:
        reason = f"{NOTHING_LEAKS[kind]} ({len(test)} test images of {len(first)} lesions)"
        cannot = f"the size of a leak of {kind} cannot be measured: {reason}"
        raise InputError(f"{cannot}. Fix: use more cases, or the other kind of leak.")
    matched, reserve = _matched(cases, leaked, rng)
    split = cases["split"].mask(cases["lesion_id"].isin(reserve), UNUSED)
    split[test.index.difference(tested.index)] = UNUSED
    can_leak = pd.Series(cases.index.isin(tested.index) & cases["lesion_id"].isin(leaked["lesion_id"]))
    added = [leaked.index, matched.index]
    if kind == "copies":
        copies = [make_offline_copies(rows.sort_index(), ONE_COPY_OF_EACH, split_seed) for rows in (leaked, matched)]
        cases = pd.concat([cases, *copies], ignore_index=True)
        numbers = cases.index[len(split) :]
        added = [numbers[: len(copies[0])], numbers[len(copies[0]) :]]
        split, can_leak = split.reindex(cases.index, fill_value=UNUSED), can_leak.reindex(cases.index, fill_value=False)
    leaky, clean = (cases.assign(split=split.mask(cases.index.isin(rows), "train")) for rows in added)
    return leaky, clean, can_leak


def _matched(cases: pd.DataFrame, leaked: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[str]]:
    """Training cases that replace ``leaked``, as many of each class, and the ids of their lesions."""
    training = cases[cases["split"] == "train"].sample(frac=1, random_state=rng)
    training = training[training.groupby("lesion_id")["label"].transform("nunique") == 1]
    rows = training.groupby("lesion_id").indices
    free: dict[tuple, list[str]] = defaultdict(list)  # lesions by class and number of images
    for (label, lesion), size in training.groupby(["label", "lesion_id"], sort=False).size().items():
        free[label, size].append(lesion)
    views = cases["lesion_id"].value_counts()
    taken: list[int] = []
    reserve: list[str] = []
    groups = leaked.groupby(["label", "lesion_id"]).size().sort_values(ascending=False, kind="stable")
    for (label, lesion), missing in groups.items():
        while missing > 0:
            sizes = sorted(size for (name, size), lesions in free.items() if name == label and lesions)
            as_large, large_enough = ([size for size in sizes if size >= n] for n in (views[lesion], missing))
            fits = as_large or large_enough or sizes[-1:]
            if not fits:
                needed, available = ((table["label"] == label).sum() for table in (leaked, training))
                adds = f"the leaky arm adds {needed} images of {label}; training has only {available} of other lesions"
                fix = "Expected as many. Fix: a smaller test_fraction."
                raise InputError(f"the size of a leak cannot be measured: {adds}. {fix}")
            replacement = free[label, fits[0]].pop()
            taken += list(rows[replacement][:missing])
            reserve.append(replacement)
            missing -= len(rows[replacement])
    return training.iloc[taken], reserve


def train_leak_pairs(params: StudyParams, stage: str, cases: pd.DataFrame) -> pd.DataFrame:
    """Trains both arms of each leak of ``stage``, with seeds ``seed``, ``seed`` + 1, … of ``params``.

    Each arm writes its runs among the models of the study, with a prediction table for each of ``LEAK_SPLITS``. One row
    per leak: ``leak, recipe, kind, runs`` and, of run 0, ``training images`` of either arm, ``added images`` among
    them, ``test images``, and how many ``can leak``.
    """
    rows = []
    for name, leak in params.leaks_of(stage).items():
        for run in range(leak.runs):
            options: dict[str, Any] = {"seed": params.seed + run, "threads": params.threads, "weights": params.weights}
            leaky, clean, can_leak = paired_arms(cases, leak.kind, params.split_seed, options["seed"])
            is_training, is_test = (leaky["split"] == split for split in ("train", "test"))
            for arm, arm_cases in zip(ARMS, (leaky, clean), strict=True):
                training = arm_name(name, arm)
                trained = train(params.arms[training], arm_cases, folder=params.model_folder(training, run), **options)
                some = arm_cases.assign(split=arm_cases["split"].mask(is_test, UNUSED).mask(can_leak, "test_can_leak"))
                scores = trained.probabilities["test"][can_leak[is_test].to_numpy()]
                predictions.write(trained.folder, some, {"test_can_leak": scores}, trained.provenance)
            if run == 0:
                row = {"leak": name, "recipe": leak.recipe, "kind": leak.kind, "runs": leak.runs}
                added = is_training & (clean["split"] != "train")
                row |= {"training images": is_training.sum(), "added images": added.sum()}
                rows.append(row | {"test images": is_test.sum(), "can leak": can_leak.sum()})
    return pd.DataFrame(rows)
