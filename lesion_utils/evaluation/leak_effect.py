"""What a leak is worth: the leaky arm against the clean one, on the same test images."""

import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.judge import compare
from lesion_utils.params import StudyParams

PARTS = {"test": "all test images", "test_can_leak": "test images that can leak"}


def effect(params: StudyParams, leak: str) -> pd.DataFrame:
    """The differences, leaky minus clean, that the paired leak ``leak`` of the study makes.

    The rows of ``compare``, mean over the repeats and interval by lesion, with a column ``images``: first on all test
    images, then on those that can leak; indexed by the names of the tables (``test``, ``test_can_leak``) and of the
    metrics. Raises InputError for an unknown leak, or tables that are missing or of other parameters.
    """
    if leak not in params.leaks:
        raise InputError(f"study {params.study!r} has no leak {leak!r}; it has {', '.join(params.leaks) or 'none'}.")
    repeats = range(params.leaks[leak].repeats)
    rows = {}
    for part, images in PARTS.items():
        leaky, clean = (
            [predictions.read(params, f"{leak}_{arm}", part, repeat) for repeat in repeats]
            for arm in ("leaky", "clean")
        )
        rows[part] = compare(leaky, clean, params.resamples).assign(images=images)
    return pd.concat(rows, names=["part", "name"])
