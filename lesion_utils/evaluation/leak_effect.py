"""What a leak is worth: the leaky arm against the clean one, on the same test images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.judge import compare
from lesion_utils.evaluation.metric_list import Draws, Model, catalogue
from lesion_utils.evaluation.prediction_table import answers_of
from lesion_utils.study import ARMS, Judging, StudyParams, arm_name


def effect(params: StudyParams, leak: str) -> pd.DataFrame:
    """The differences, leaky minus clean, that the paired leak ``leak`` of the study makes.

    The rows of ``paired`` with a column ``images``: first on all test images, then on those that can leak; indexed by
    the names of the tables (``test``, ``test_can_leak``) and of the metrics. Raises InputError for an unknown leak, or
    tables that are missing or of other parameters.
    """
    if leak not in params.leaks:
        raise InputError(f"study {params.study!r} has no leak {leak!r}; it has {', '.join(params.leaks) or 'none'}.")
    repeats = range(params.leaks[leak].runs)
    rows = {}
    for part, images in predictions.LEAK_PARTS.items():
        leaky, clean = (
            [predictions.read(params, arm_name(leak, arm), part, repeat) for repeat in repeats] for arm in ARMS
        )
        rows[part] = paired(leaky, clean, params.resamples).assign(images=images)
    return pd.concat(rows, names=["part", "name"])


def paired(leaky: Sequence[pd.DataFrame], clean: Sequence[pd.DataFrame], resamples: int) -> pd.DataFrame:
    """Pairs of trainings compared: the first of ``leaky`` against the first of ``clean``, and so on.

    The rows of ``compare``: the mean over the pairs, with an interval that resamples the test lesions and takes the
    trained models as given. Two models differ by the luck of training too, so there are also ``least`` and ``most``,
    the smallest and the largest difference that a single pair makes (NaN where the row is not estimable), and
    ``pairs``, how many there are: ``reading.verdict`` asks all of them.
    """
    rows = compare(leaky, clean, resamples)
    known = rows.index[rows["value"].notna()]
    each = singly(leaky, known) - singly(clean, known)
    return rows.assign(least=each.min(), most=each.max(), pairs=len(leaky))


def singly(tables: Sequence[pd.DataFrame], wanted: Sequence[str], options: Judging | None = None) -> pd.DataFrame:
    """The metrics ``wanted`` of each table on all its cases: a line a table, no bootstrap."""
    classes, truth, answers = answers_of(tables)
    metrics = catalogue(classes, truth, answers[0].probabilities is not None, options or Judging())
    draws = [Draws(Model(truth, len(classes), one), np.ones((1, len(truth)))) for one in answers]
    return pd.DataFrame(
        {metric.name: [metric.of(one)[0] for one in draws] for metric in metrics if metric.name in wanted}
    )
