"""Is the paired estimate of a leak's size correct? Simulated studies with a known answer.

    .venv/bin/python benchmarks/leak_size.py         # a quarter of an hour; writes leak_size.json beside itself
    .venv/bin/python benchmarks/leak_size.py rule    # only the verdicts, minutes; or only: coverage

A simulated study has lesions with one to three images. The features of an image are a class mean, a part that all
images of the lesion share, and a part of its own; ``shared`` is the lesion's share of the variance within a class. At
0 images of one lesion are no more alike than other lesions of the class, so the true effect is 0. At PLANTED the true
effect is the mean of many more studies. A learner that memorises (nearest neighbours) is trained on both arms of the
package's ``paired_arms``, and the package's ``run_differences`` judges them.

``coverage``: a deterministic learner and a leak of siblings. Each interval is compared with the truth.

``rule``: how often the interval covers 0, and how often ``verdict``, which also needs equal signs in the pairs, says
higher or lower; for siblings and copies, 2 and 5 pairs, without and with luck of training. Luck differs for each
training: every feature is multiplied by exp(LUCK x a standard normal number). A copy shares with its source what
siblings share. No picture is written: rows without a file replace ``make_offline_copies``.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from lesion_utils import leak_pairs as leaks
from lesion_utils import predictions
from lesion_utils.claims.differences import run_differences
from lesion_utils.evaluation import PredictionTable, verdict
from lesion_utils.paths import read_json, write_json
from lesion_utils.predictions import LEAK_SPLITS as PARTS

LESIONS = {"bkl": 500, "mel": 500, "nv": 1000}
VIEWS = [0.6, 0.3, 0.1]  # probability of one, two, three images of a lesion
FEATURES, SEPARATION, NEIGHBOURS = 12, 1.2, 3
REPEATS = 3  # pairs of runs per study
PLANTED = 0.8  # the lesion's share of the variance within a class
STUDIES, STUDIES_FOR_TRUTH, RESAMPLES = 100, 400, 1000
# for the verdicts
FEWER = {"bkl": 250, "mel": 250, "nv": 500}
PAIRS = (2, 5)
LUCK = 0.3
FEWER_RESAMPLES = 500


def simulated(shared: float, seed: int, lesions: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The split case table of one study, and the features of its cases and of a copy of each, by ``image_id``."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(lesions), list(lesions.values()))
    lesion = np.repeat(np.arange(len(labels)), rng.choice([1, 2, 3], size=len(labels), p=VIEWS))
    centres = SEPARATION * np.eye(len(lesions), FEATURES)[np.searchsorted(list(lesions), labels)]
    of_lesion = centres + np.sqrt(shared) * rng.standard_normal((len(labels), FEATURES))
    features = of_lesion[lesion] + np.sqrt(1 - shared) * rng.standard_normal((len(lesion), FEATURES))
    cases = pd.DataFrame(
        {"image_id": [f"i{k:05}" for k in range(len(lesion))], "lesion_id": lesion.astype(str), "label": labels[lesion]}
    )
    own = np.sqrt(1 - shared) * rng.standard_normal(features.shape)
    copies = centres[lesion] + np.sqrt(shared) * (features - centres[lesion]) + own
    fifths = np.array(["test", "validation", "train", "train", "train"])
    names = [*cases["image_id"], *copied(cases)["image_id"]]
    return cases.assign(split=fifths[lesion % 5]), pd.DataFrame(np.concatenate([features, copies]), index=names)


def copied(cases: pd.DataFrame, *_) -> pd.DataFrame:
    """Stands in for ``make_offline_copies``: a row for a copy of each case, and no file."""
    return cases.assign(image_id=cases["image_id"] + "-copy")


def predicted(arm: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """The prediction table of an arm's test images by a learner that memorises its training images."""
    train, test = (arm[arm["split"] == part] for part in ("train", "test"))
    learner = KNeighborsClassifier(NEIGHBOURS, weights="distance")
    learner.fit(features.loc[train["image_id"]].to_numpy(), train["label"])
    scores = learner.predict_proba(features.loc[test["image_id"]].to_numpy())
    return predictions.build(test, list(learner.classes_), scores)


def trained(
    shared: float, seed: int, lesions: dict[str, int], pairs: int, kind: str = "siblings", luck: float = 0.0
) -> dict[str, list[list[pd.DataFrame]]]:
    """The prediction tables of one simulated study, of the leaky and of the clean trainings, for each of PARTS."""
    cases, features = simulated(shared, seed, lesions)
    tables: list[list[pd.DataFrame]] = [[], []]
    for pair in range(pairs):
        with patch.object(leaks, "make_offline_copies", copied):
            *arms, can_leak = leaks.paired_arms(cases, kind, seed, seed + pair)
        for of_arm, (number, arm) in zip(tables, enumerate(arms), strict=True):
            stretch = np.exp(luck * np.random.default_rng([seed, pair, number]).standard_normal(FEATURES))
            of_arm.append(predicted(arm, features * stretch))
    leaking = arms[0]["image_id"][can_leak]
    some = [[table[table["image_id"].isin(leaking)] for table in of_arm] for of_arm in tables]
    return dict(zip(PARTS.values(), (tables, some), strict=True))


def effect(study: dict[str, list[list[pd.DataFrame]]], resamples: int, pairs: int = REPEATS) -> pd.DataFrame:
    """The rows of ``run_differences`` for the first ``pairs`` runs, on all test images and on those that can leak."""
    rows = {
        part: run_differences(PredictionTable(leaky[:pairs], resamples), PredictionTable(clean[:pairs]))
        for part, (leaky, clean) in study.items()
    }
    rows = pd.concat(rows, names=["images", "metric"]).drop(columns="metric")
    rows["covers 0"] = (rows["low"] <= 0) & (rows["high"] >= 0)
    rows["excludes 0"] = (rows["low"] > 0) | (rows["high"] < 0)
    rows["width"] = rows["high"] - rows["low"]
    return rows


def summary(
    shared: float,
    truth: pd.Series | float,
    studies: int = STUDIES,
    resamples: int = RESAMPLES,
    lesions: dict[str, int] = LESIONS,
) -> pd.DataFrame:
    """For each metric: how many intervals of ``studies`` simulated studies cover 0, exclude it, cover the truth."""
    rows = pd.concat([effect(trained(shared, seed, lesions, REPEATS), resamples) for seed in range(studies)])
    rows["truth"] = truth if isinstance(truth, float) else truth.reindex(rows.index)
    rows["covers the truth"] = (rows["low"] <= rows["truth"]) & (rows["high"] >= rows["truth"])
    return counted(rows, ["covers 0", "excludes 0", "covers the truth"], ["truth", "value", "width", "n"])


def ruled(
    kind: str, shared: float, luck: float, studies: int = STUDIES, resamples: int = FEWER_RESAMPLES
) -> pd.DataFrame:
    """For each number of PAIRS and each metric: how many intervals cover 0, and what the verdicts say."""
    rows = []
    for seed in range(studies):
        study = trained(shared, seed, FEWER, max(PAIRS), kind, luck)
        rows.append(pd.concat({pairs: effect(study, resamples, pairs) for pairs in PAIRS}, names=["pairs"]))
    found = pd.concat(rows).drop(columns="runs")
    verdicts = found.apply(verdict, axis=1)
    found = found.assign(higher=verdicts == "higher", lower=verdicts == "lower", spread=found["most"] - found["least"])
    return counted(found, ["covers 0", "higher", "lower"], ["value", "width", "spread", "n"])


def counted(rows: pd.DataFrame, counts: list[str], means: list[str]) -> pd.DataFrame:
    """The rows of all studies as one: ``counts`` summed, ``means`` averaged."""
    levels = list(rows.index.names)
    return rows.groupby(level=levels, sort=False).agg(dict.fromkeys(counts, "sum") | dict.fromkeys(means, "mean"))


def true_effect(shared: float) -> pd.Series:
    """The mean effect over further simulated studies, which take no part in the summary."""
    seeds = range(STUDIES, STUDIES + STUDIES_FOR_TRUTH)
    values = [effect(trained(shared, seed, LESIONS, REPEATS), 100)["value"] for seed in seeds]
    return pd.concat(values).groupby(level=["images", "metric"], sort=False).mean()


def coverage() -> dict:
    """Both simulations of the deterministic learner."""
    settings = {"lesions": LESIONS, "probability of 1, 2, 3 images": VIEWS, "features": FEATURES}
    settings |= {"class separation": SEPARATION, "neighbours": NEIGHBOURS, "pairs of trainings": REPEATS}
    settings |= {"studies": STUDIES, "studies for the truth": STUDIES_FOR_TRUTH, "resamples": RESAMPLES}
    found = {
        "no leak planted": (0.0, summary(0.0, 0.0)),
        "leak planted": (PLANTED, summary(PLANTED, true_effect(PLANTED))),
    }
    return {"settings": settings} | {
        name: {"lesion's share of the variance": shared, "rows": records(table)}
        for name, (shared, table) in found.items()
    }


def rule() -> dict:
    """The simulations of the verdict."""
    settings = {"lesions": FEWER, "studies": STUDIES, "resamples": FEWER_RESAMPLES, "pairs": PAIRS}
    scenarios = list(product(("siblings", "copies"), (0.0, PLANTED), (0.0, LUCK)))
    with ProcessPoolExecutor() as pool:
        tables = list(pool.map(ruled, *zip(*scenarios, strict=True)))
    found = [
        {"kind": kind, "lesion's share of the variance": shared, "luck of training": luck, "rows": records(table)}
        for (kind, shared, luck), table in zip(scenarios, tables, strict=True)
    ]
    return {"verdicts": {"settings": settings, "scenarios": found}}


def records(table: pd.DataFrame) -> list[dict]:
    """The lines of a table as JSON has them."""
    return table.round(4).reset_index().to_dict("records")


def main(wanted: list[str]) -> None:
    """Runs the simulations ``wanted``, both if there is none named, and writes their counts beside the others'."""
    path = Path(__file__).with_suffix(".json")
    results = read_json(path, "run it without an argument") if wanted else {}
    for name in wanted or ["coverage", "rule"]:
        results |= {"coverage": coverage, "rule": rule}[name]()
    write_json(path, results)


if __name__ == "__main__":
    main(sys.argv[1:])
