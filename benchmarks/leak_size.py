"""Does the paired estimate of a leak's size tell the truth? Simulated studies whose answer is known.

    .venv/bin/python benchmarks/leak_size.py        # minutes; writes leak_size.json beside itself

A study has LESIONS, one to three images each, whose features are a class mean plus what the lesion's views share plus
what they do not; of the variance within a class the lesion's part is ``shared``. Where it is 0, siblings are no more
alike than other lesions of the class and the true effect is 0; at PLANTED it is the mean of many more studies. A
learner that memorises (nearest neighbours) is trained on both arms of the package's ``paired_arms``, the package's
``compare`` judges them, and each interval is held against the truth.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from lesion_utils import predictions
from lesion_utils.artefacts import write_json
from lesion_utils.evaluation import compare
from lesion_utils.leaks import paired_arms

LESIONS = {"bkl": 500, "mel": 500, "nv": 1000}
VIEWS = [0.6, 0.3, 0.1]  # probability of one, two, three images of a lesion
FEATURES, SEPARATION, NEIGHBOURS = 12, 1.2, 3
REPEATS = 3  # pairs of trainings a study
PLANTED = 0.8  # the lesion's share of the variance within a class
STUDIES, STUDIES_FOR_TRUTH, RESAMPLES = 100, 400, 1000
PARTS = ("all test images", "test images that can leak")


def simulated(shared: float, seed: int, lesions: dict[str, int]) -> tuple[pd.DataFrame, np.ndarray]:
    """The split case table of one study, and the features of its cases, (n, FEATURES)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(lesions), list(lesions.values()))
    lesion = np.repeat(np.arange(len(labels)), rng.choice([1, 2, 3], size=len(labels), p=VIEWS))
    centres = SEPARATION * np.eye(len(lesions), FEATURES)[np.searchsorted(list(lesions), labels)]
    of_lesion = centres + np.sqrt(shared) * rng.standard_normal((len(labels), FEATURES))
    features = of_lesion[lesion] + np.sqrt(1 - shared) * rng.standard_normal((len(lesion), FEATURES))
    cases = pd.DataFrame(
        {"image_id": [f"i{k:05}" for k in range(len(lesion))], "lesion_id": lesion.astype(str), "label": labels[lesion]}
    )
    fifths = np.array(["test", "validation", "train", "train", "train"])
    return cases.assign(split=fifths[lesion % 5]), features


def predicted(arm: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """The prediction table of an arm's test images by a learner that memorises its training images."""
    train, test = ((arm["split"] == part).to_numpy() for part in ("train", "test"))
    learner = KNeighborsClassifier(NEIGHBOURS, weights="distance").fit(features[train], arm["label"][train])
    return predictions.build(arm[test], list(learner.classes_), learner.predict_proba(features[test]))


def effect(shared: float, seed: int, resamples: int, lesions: dict[str, int]) -> pd.DataFrame:
    """The rows of ``compare`` for one simulated study, on all test images and on those that can leak."""
    cases, features = simulated(shared, seed, lesions)
    leaky, clean = [], []
    for repeat in range(REPEATS):
        *arms, can_leak = paired_arms(cases, "siblings", seed, seed + repeat)
        leaky.append(predicted(arms[0], features))
        clean.append(predicted(arms[1], features))
    leaks = leaky[0]["image_id"].isin(cases["image_id"][can_leak])
    some = compare([table[leaks] for table in leaky], [table[leaks] for table in clean], resamples)
    return pd.concat([compare(leaky, clean, resamples), some], keys=PARTS, names=["images", "metric"])


def summary(
    shared: float,
    truth: pd.Series | float,
    studies: int = STUDIES,
    resamples: int = RESAMPLES,
    lesions: dict[str, int] = LESIONS,
) -> pd.DataFrame:
    """For each metric: how many intervals of ``studies`` simulated studies cover 0, exclude it, cover the truth."""
    rows = pd.concat([effect(shared, seed, resamples, lesions) for seed in range(studies)]).drop(columns="metric")
    rows["truth"] = truth if isinstance(truth, float) else truth.reindex(rows.index)
    rows["covers 0"] = (rows["low"] <= 0) & (rows["high"] >= 0)
    rows["excludes 0"] = (rows["low"] > 0) | (rows["high"] < 0)
    rows["covers the truth"] = (rows["low"] <= rows["truth"]) & (rows["high"] >= rows["truth"])
    rows["width"] = rows["high"] - rows["low"]
    counts = ["covers 0", "excludes 0", "covers the truth"]
    means = ["truth", "value", "width", "n"]
    how = dict.fromkeys(counts, "sum") | dict.fromkeys(means, "mean")
    return rows.groupby(level=["images", "metric"], sort=False).agg(how)


def true_effect(shared: float) -> pd.Series:
    """The mean effect over further simulated studies, which take no part in the summary."""
    values = [effect(shared, STUDIES + seed, 100, LESIONS)["value"] for seed in range(STUDIES_FOR_TRUTH)]
    return pd.concat(values).groupby(level=["images", "metric"], sort=False).mean()


def main() -> None:
    """Runs both simulations and writes their counts."""
    settings = {"lesions": LESIONS, "probability of 1, 2, 3 images": VIEWS, "features": FEATURES}
    settings |= {"class separation": SEPARATION, "neighbours": NEIGHBOURS, "pairs of trainings": REPEATS}
    settings |= {"studies": STUDIES, "studies for the truth": STUDIES_FOR_TRUTH, "resamples": RESAMPLES}
    found = {"no leak planted": summary(0.0, 0.0), "leak planted": summary(PLANTED, true_effect(PLANTED))}
    shares = {"no leak planted": 0.0, "leak planted": PLANTED}
    results = {
        name: {"lesion's share of the variance": shares[name], "rows": table.round(4).reset_index().to_dict("records")}
        for name, table in found.items()
    }
    write_json(Path(__file__).with_suffix(".json"), {"settings": settings} | results)
    for name, table in found.items():
        print(f"{name}:\n{table.round(3).to_string()}\n")


if __name__ == "__main__":
    main()
