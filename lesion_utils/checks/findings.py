"""Findings that several checks share. Each is a list: empty where there is nothing to say."""

from collections.abc import Iterable

import pandas as pd

from lesion_utils.datasets import ham10000
from lesion_utils.evaluation.sentences import span

TOO_GOOD = 0.90  # the best of the ISIC 2018 challenge had 0.885 on hidden images (Codella, arXiv 1902.03368, 2019)


def not_above(row: pd.Series, limit: float, meaning: str) -> list[str]:
    """A judged number whose interval reaches ``limit``, which is the number of a classifier without skill."""
    if not row["low"] <= limit:  # also NaN
        return []
    interval = f"95% CI {span(row['low'], row['high'])}"
    return [f"{row['metric']} {row['value']:.3f} ({interval}) is not shown to be above {limit:.3f}, {meaning}"]


def too_good(classes: Iterable[str], balanced_accuracy: float) -> list[str]:
    """A balanced accuracy above ``TOO_GOOD`` on exactly HAM10000's classes, in upper or lower case."""
    if {name.lower() for name in classes} != set(ham10000.CLASSES) or not balanced_accuracy > TOO_GOOD:  # also NaN
        return []
    return [
        f"balanced accuracy {balanced_accuracy:.3f} on HAM10000's classes is above {TOO_GOOD}: a leak is likely "
        "(the best entry of the ISIC 2018 challenge had 0.885 on unseen lesions)"
    ]
