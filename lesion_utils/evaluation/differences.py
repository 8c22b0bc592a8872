"""The effect of one change: runs with the change are compared, run by run, with as many runs without it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.judge import COMPARED, compare
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import holm, verdict
from lesion_utils.study import ARMS, Judging, StudyParams, arm_name


def leak_differences(params: StudyParams, leak: str) -> pd.DataFrame:
    """``run_differences``, leaky arm minus clean arm, of one leak of the study, by test set (``test, test_can_leak``;
    the column ``images`` describes it) and metric. Raises InputError for an unknown leak, and as ``predictions.read``.
    """
    if leak not in params.leaks:
        raise InputError(f"study {params.study!r} has no leak {leak!r}; it has {', '.join(params.leaks) or 'none'}.")
    runs, rows = range(params.leaks[leak].runs), {}
    for split, images in predictions.LEAK_SPLITS.items():
        frames = [[predictions.read(params, arm_name(leak, arm), split, run) for run in runs] for arm in ARMS]
        leaky, clean = (PredictionTable(of_arm, params.resamples) for of_arm in frames)
        rows[split] = run_differences(leaky, clean).assign(images=images)
    return pd.concat(rows, names=["split", "name"])


def run_differences(
    table: PredictionTable,
    reference: PredictionTable,
    wanted: Sequence[str] = COMPARED,
    options: Judging | None = None,
) -> pd.DataFrame:
    """The rows of ``compare`` for two recipes whose runs are paired in order, with ``runs`` per arm, and the ``least``
    and ``most`` of the differences of single runs (NaN where not estimable).
    """
    rows = compare(table, reference, wanted, options)
    least, most = ([end(of, default=np.nan) for of in rows["single"]] for end in (min, max))
    return rows.assign(least=least, most=most, runs=len(table.runs))


def ablation_differences(
    arms: Mapping[str, PredictionTable],
    references: Mapping[str, str],
    options: Judging | None = None,
    wanted: Sequence[str] = COMPARED,
    barred: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """What each arm of an ablation changes: the metrics ``wanted`` of each arm in ``references`` minus its reference.

    ``arms`` has the table of each name; runs are paired by seed. Rows as of ``run_differences``, indexed by arm and
    metric, with ``p_holm, family`` of ``holm`` and ``verdict`` of ``sentences``. ``barred`` says why arms carry no
    verdict (``claims.rules.bars``); neither do those that are compared with them.
    Raises InputError for an arm without a table, or arms that differ in their cases or number of runs.
    """
    if unknown := sorted({*references, *references.values()} - set(arms)):
        raise InputError(f"no arm {unknown[0]!r} in the ablation. Expected one of {', '.join(arms)}.")
    rows = {}
    for name, base in references.items():
        if (runs := len(arms[name].runs)) != (others := len(arms[base].runs)):
            raise InputError(f"{name} has {runs} runs, {base} has {others}. Fix: train every arm with the same seeds.")
        reasons = [f"{arm} {why}" for arm in (name, base) if (why := (barred or {}).get(arm))]
        rows[name] = run_differences(arms[name], arms[base], wanted, options).assign(barred="; ".join(reasons))
    if not rows:
        return pd.DataFrame()
    adjusted = holm(pd.concat(rows, names=["arm", "name"]))
    return adjusted.assign(verdict=[verdict(row) for _, row in adjusted.iterrows()])
