"""Conformal sets: all classes that a case may have, such that of each class a chosen share of cases is covered.

Split conformal prediction by true class (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005,
section 4.5): a class stays possible if its probability is not lower than those of most validation cases of the class.
It holds for cases exchangeable with validation; images of one lesion are not independent, so it is approximate.
"""

import numpy as np
import pandas as pd

from lesion_utils.evaluation.prediction_table import PredictionTable

COVERAGE = 0.9  # of each class


def smallest_probabilities(validation: PredictionTable, coverage: float = COVERAGE) -> dict[str, float]:
    """The probability from which each class stays possible, so that ``coverage`` of its cases keep it; of the first
    run. 0 for a class with too few cases of ``validation`` to say: it always stays possible.
    """
    limits = {}
    for index, name in enumerate(validation.classes):
        own = np.sort(validation.probabilities[validation.truth == index, index])
        allowed = int(np.floor((1 - coverage) * (len(own) + 1) + 1e-9))  # cases that may lose their own class
        limits[name] = float(own[allowed - 1]) if allowed else 0.0
    return limits


def sets(probabilities: np.ndarray, limits: dict[str, float]) -> np.ndarray:
    """Which classes stay possible, and the most probable one, (n, k) bool, for ``probabilities`` (n, k)."""
    return (probabilities >= np.array([*limits.values()])) | np.eye(len(limits), dtype=bool)[probabilities.argmax(1)]


def coverage_table(table: PredictionTable, limits: dict[str, float]) -> pd.DataFrame:
    """By true class and for all: images, lesions, the share whose set holds it with its 95% CI (columns of an
    estimate, see ``bootstrap``), and the mean size of its sets; of the first run.
    """
    possible = sets(table.probabilities, {name: limits[name] for name in table.classes})
    covered, rows = possible[np.arange(len(table)), table.truth], {}
    for name in [*table.classes, "all"]:
        among = table.is_labelled(table.classes if name == "all" else [name])
        rows[name] = table.share(covered, among, name) | {"set size": possible[among].sum(1).mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")
