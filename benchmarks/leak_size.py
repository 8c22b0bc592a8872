"""Does the paired estimate of a leak's size tell the truth? Simulated studies whose answer is known.

    .venv/bin/python benchmarks/leak_size.py        # minutes; writes leak_size.json beside itself

A study has LESIONS lesions, one to three images each, whose features are a class mean plus what the lesion's views
share plus what they do not; of the variance within a class the lesion's part is ``shared``. Where it is 0, siblings are
no more alike than other lesions of the class and nothing leaks; at PLANTED they are, and the true effect is the mean of
many more studies. A learner that memorises (nearest neighbours) is trained on both arms of the package's
``paired_arms``, judged by the package's ``compare``, and each interval is held against the truth.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from lesion_utils import predictions
from lesion_utils.artefacts import write_json
from lesion_utils.evaluation import compare
from lesion_utils.leaks import paired_arms
from lesion_utils.splits import split_by_lesion

LESIONS = {"bkl": 250, "mel": 250, "nv": 500}
VIEWS = [0.6, 0.3, 0.1]  # probability of one, two, three images of a lesion
FEATURES, SEPARATION, NEIGHBOURS = 8, 1.0, 3
REPEATS = 3  # pairs of trainings a study
NOT_PLANTED, PLANTED = 0.0, 0.6  # the lesion's share of the variance within a class
STUDIES, STUDIES_FOR_TRUTH, RESAMPLES = 100, 1000, 1000
PARTS = ("all test images", "test images that can leak")


def simulated(shared: float, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The split case table of one study, and the features of its cases, (n, FEATURES)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(LESIONS), list(LESIONS.values()))
    lesion = np.repeat(np.arange(len(labels)), rng.choice([1, 2, 3], size=len(labels), p=VIEWS))
    centres = SEPARATION * np.eye(len(LESIONS), FEATURES)[np.searchsorted(sorted(LESIONS), labels)]
    of_lesion = centres + np.sqrt(shared) * rng.standard_normal((len(labels), FEATURES))
    features = of_lesion[lesion] + np.sqrt(1 - shared) * rng.standard_normal((len(lesion), FEATURES))
    cases = pd.DataFrame(
        {"image_id": [f"i{k:05}" for k in range(len(lesion))], "lesion_id": lesion.astype(str), "label": labels[lesion]}
    )
    return cases.assign(split=split_by_lesion(cases, 0.2, 0.2, seed)), features


def predicted(arm: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """The prediction table of an arm's test images by a learner that memorises its training images."""
    train, test = ((arm["split"] == part).to_numpy() for part in ("train", "test"))
    learner = KNeighborsClassifier(NEIGHBOURS, weights="distance").fit(features[train], arm["label"][train])
    return predictions.build(arm[test], list(learner.classes_), learner.predict_proba(features[test]))


def effect(shared: float, seed: int, resamples: int) -> pd.DataFrame:
    """The rows of ``compare`` for one simulated study, on all test images and on those that can leak."""
    cases, features = simulated(shared, seed)
    tables: dict[str, list[pd.DataFrame]] = {"leaky": [], "clean": []}
    for repeat in range(REPEATS):
        leaky, clean, can_leak = paired_arms(cases, "siblings", seed, seed + repeat)
        tables["leaky"].append(predicted(leaky, features))
        tables["clean"].append(predicted(clean, features))
    leaks = set(cases["image_id"][can_leak])
    parts = [
        compare(*([table[table["image_id"].isin(ids)] for table in arm] for arm in tables.values()), resamples)
        for ids in (set(cases["image_id"]), leaks)
    ]
    return pd.concat(parts, keys=PARTS, names=["images", "name"])


def summary(shared: float, studies: int, truth: pd.Series | float, resamples: int = RESAMPLES) -> pd.DataFrame:
    """For each metric, over ``studies`` simulated ones: how many intervals cover 0, exclude it, cover the truth."""
    rows = pd.concat([effect(shared, seed, resamples) for seed in range(studies)])
    rows = rows.assign(truth=truth) if isinstance(truth, float) else rows.join(truth.rename("truth"))
    counted = rows.assign(
        covers_0=(rows["low"] <= 0) & (rows["high"] >= 0),
        excludes_0=(rows["low"] > 0) | (rows["high"] < 0),
        covers_the_truth=(rows["low"] <= rows["truth"]) & (rows["high"] >= rows["truth"]),
        not_estimable=rows["value"].isna(),
        width=rows["high"] - rows["low"],
    )
    columns = {name: "sum" for name in ("covers_0", "excludes_0", "covers_the_truth", "not_estimable")}
    means = {"truth": "first", "value": "mean", "width": "mean", "n": "mean"}
    return counted.groupby(level=["images", "name"], sort=False).agg(columns | means)


def true_effect(shared: float, studies: int) -> pd.Series:
    """The mean effect over ``studies`` simulated ones that take no part in the summary."""
    values = [effect(shared, 10_000 + seed, 100)["value"] for seed in range(studies)]
    return pd.concat(values).groupby(level=["images", "name"], sort=False).mean()
