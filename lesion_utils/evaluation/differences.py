"""The effect of one change: runs with the change are compared, run by run, with as many runs without it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import LEVEL
from lesion_utils.evaluation.judge import COMPARED, compare
from lesion_utils.evaluation.metric_list import Block, metrics_of
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


def run_differences(table: PredictionTable, reference: PredictionTable) -> pd.DataFrame:
    """The rows of ``compare``, with ``least`` and ``most``, the extreme differences of single runs paired in order (NaN
    where the row is not estimable), and ``runs`` per arm. The interval takes the runs as given.
    """
    rows = compare(table, reference)
    each = _differences_per_run(table, reference, rows)
    return rows.assign(least=each.min(), most=each.max(), runs=len(table.runs))


def ablation_differences(
    arms: Mapping[str, PredictionTable],
    references: Mapping[str, str],
    options: Judging | None = None,
    wanted: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """What each arm of an ablation changes: the metrics ``wanted`` of each arm in ``references`` minus its reference.

    ``arms`` has the table of each name; runs are paired by seed. Rows as of ``compare`` on the averaged probabilities
    of the runs, indexed by arm and metric, with ``least, most, runs`` as in ``run_differences``, ``single``, the list
    of the differences of single seeds, ``p_holm, family`` of ``holm``, and ``verdict``: *helps* or *harms* if the
    adjusted p-value is under 5% and every one of two or more seeds has the sign of the whole, otherwise *no effect
    shown*; of one seed that of ``sentences``. Raises InputError for an arm without a table, or arms that differ in
    their cases or number of runs.
    """
    named = {*references, *references.values()}
    if unknown := sorted(named - set(arms)):
        raise InputError(f"no arm {unknown[0]!r} in the ablation. Expected one of {', '.join(arms)}.")
    means = {name: averaged(arms[name]) for name in named}  # of a reference once, not for each arm
    rows = {}
    for name, base in references.items():
        if (runs := len(arms[name].runs)) != (others := len(arms[base].runs)):
            raise InputError(f"{name} has {runs} runs, {base} has {others}. Fix: train every arm with the same seeds.")
        row = compare(means[name], means[base], wanted, options)
        if runs > 1:
            row["metric"] += f" of the predictions averaged over {runs} seeds"
        each = _differences_per_run(arms[name], arms[base], row, options)
        singles = pd.Series({metric: each[metric].tolist() if metric in each else [] for metric in row.index})
        rows[name] = row.assign(least=each.min(), most=each.max(), runs=runs, single=singles)
    adjusted = holm(pd.concat(rows, names=["arm", "name"]))
    return adjusted.assign(verdict=[_ablation_verdict(row) for _, row in adjusted.iterrows()])


def metrics_per_run(table: PredictionTable, wanted: Sequence[str], options: Judging | None = None) -> pd.DataFrame:
    """The metrics ``wanted`` of each run on all cases: one line per run, without bootstrap."""
    blocks = [Block(table, run, np.ones((1, len(table)))) for run in table.runs]
    chosen = [metric for metric in metrics_of(table, options or Judging()) if metric.name in wanted]
    return pd.DataFrame({metric.name: [metric.compute(block)[0] for block in blocks] for metric in chosen})


def averaged(table: PredictionTable) -> PredictionTable:
    """One run with the mean of the probabilities of the runs; raises InputError if a run has none."""
    stated = [run.probabilities for run in table.runs if run.probabilities is not None]
    if not stated:
        raise InputError("predictions without probabilities cannot be averaged. Expected columns p_<class>.")
    frame = predictions.build(table.frame, table.classes, np.mean(stated, axis=0), table.leaky)
    return PredictionTable(frame, table.resamples, table.seed, table.name)


def _differences_per_run(
    table: PredictionTable, reference: PredictionTable, rows: pd.DataFrame, options: Judging | None = None
) -> pd.DataFrame:
    names = rows.index[rows["value"].notna()]
    return metrics_per_run(table, names, options) - metrics_per_run(reference, names, options)


def _ablation_verdict(row: pd.Series) -> str:
    if np.isnan(row["value"]) or row["runs"] == 1:
        return verdict(row.drop("runs"))
    if row["p_holm"] < 1 - LEVEL and min(row["value"], row["least"]) > 0:
        return "helps"
    return "harms" if row["p_holm"] < 1 - LEVEL and max(row["value"], row["most"]) < 0 else "no effect shown"
