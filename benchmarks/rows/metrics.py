"""The whole metric table of a prediction table with 2,000 resamples, against a loop over scikit-learn."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.arms import Arm, Setting, in_turn, times_faster
from benchmarks.judge import made_up
from benchmarks.lines import entry

RESAMPLES, THEIRS = 2000, 20  # THEIRS are measured, the rest is scaled up


def measure(setting: Setting) -> list[dict]:
    """One entry."""
    resamples, part = setting.size(RESAMPLES, 100), setting.size(THEIRS, 1)
    arms = {"ours": Arm(ours, {"resamples": resamples}), "theirs": Arm(theirs, {"resamples": part})}
    seconds = in_turn(arms, setting)
    seconds["theirs"] = [value * resamples / part for value in seconds["theirs"]]
    medians = (statistics.median(seconds[name]) for name in arms)
    return [entry("metrics", times_faster(seconds["ours"], seconds["theirs"]), *medians)]


def ours(resamples: int) -> Callable[[], float]:
    """``judge`` on a table of 10,000 cases, 7 classes and 7,500 lesions."""
    from lesion_utils.evaluation import judge

    table = made_up()

    def run() -> float:
        began = time.perf_counter()
        judge(table, resamples)
        return time.perf_counter() - began

    return run


def theirs(resamples: int) -> Callable[[], float]:
    """The same metrics of the same table by scikit-learn, for one draw of lesions after the other."""
    from lesion_utils.evaluation.views import views_of

    table = made_up()
    classes = [name.removeprefix("p_") for name in table if name.startswith("p_")]
    truth = np.searchsorted(classes, table["label"])
    scores = table[[f"p_{name}" for name in classes]].to_numpy()
    lesions = [rows.to_numpy() for _, rows in pd.Series(np.arange(len(table))).groupby(table["lesion_id"])]
    questions = {name: [name] for name in classes} | views_of(classes)
    rng = np.random.default_rng(0)

    def run() -> float:
        began = time.perf_counter()
        for _ in range(resamples):
            drawn = np.concatenate([lesions[number] for number in rng.integers(len(lesions), size=len(lesions))])
            _metrics(truth[drawn], scores[drawn], classes, questions)
        return time.perf_counter() - began

    return run


def _metrics(truth: np.ndarray, scores: np.ndarray, classes: list[str], questions: dict) -> dict[str, float]:
    """What ``judge`` reports of these cases, by the functions of scikit-learn that there are."""
    from sklearn import metrics

    predicted = scores.argmax(1)
    labels = range(len(classes))
    found = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "Matthews correlation": metrics.matthews_corrcoef(truth, predicted),
        "top-2 accuracy": metrics.top_k_accuracy_score(truth, scores, k=2, labels=labels),
        "top-3 accuracy": metrics.top_k_accuracy_score(truth, scores, k=3, labels=labels),
        "log loss": metrics.log_loss(truth, scores, labels=labels),
        "Brier score": metrics.brier_score_loss(truth, scores, labels=labels),
    }
    for name, members in questions.items():
        inside = np.isin(classes, members)
        positive, named, score = inside[truth], inside[predicted], scores[:, inside].sum(1)
        found[f"sensitivity {name}"] = metrics.recall_score(positive, named)
        found[f"specificity {name}"] = metrics.recall_score(~positive, ~named)
        found[f"precision {name}"] = metrics.precision_score(positive, named, zero_division=0)
        found[f"F1 {name}"] = metrics.f1_score(positive, named)
        found[f"AUC {name}"] = metrics.roc_auc_score(positive, score)
        found[f"average precision {name}"] = metrics.average_precision_score(positive, score)
        if name not in classes:
            false, true, _ = metrics.roc_curve(positive, score)
            found[f"{name}: sensitivity at 0.9"] = true[false <= 0.1].max()
            found[f"{name}: specificity at 0.9"] = 1 - false[true >= 0.9].min()
            found[f"{name}: partial AUC"] = np.trapezoid(np.maximum(true - 0.8, 0), false)
    found["macro AUC"] = np.mean([found[f"AUC {name}"] for name in classes])
    return found | {"macro average precision": np.mean([found[f"average precision {name}"] for name in classes])}
