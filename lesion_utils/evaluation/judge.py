"""Prediction tables judged and compared: each number with its interval, n and lesions, or why there is none."""

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from lesion_utils.evaluation import bootstrap, metrics
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED, Block, Entry, Metric, metrics_of
from lesion_utils.evaluation.prediction_table import PredictionTable, Run, require_same_classes
from lesion_utils.study import Judging
from lesion_utils.views import Views, views_of

FEW = 20  # images of a class; with fewer, its rows are marked and never ranked
COMPARED = ("balanced accuracy", PRIOR_CORRECTED, "macro AUC", "accuracy", "melanoma sensitivity")
Region: TypeAlias = tuple[float, float]  # where a number lies if a claim is true
NEEDS_PROBABILITIES = "AUC, top-2 accuracy, Brier score and other metrics of probabilities"


def judge(
    table: PredictionTable,
    options: Judging | None = None,
    views: Views = None,
    wanted: Sequence[str] | None = None,
    region: Region | None = None,
) -> pd.DataFrame:
    """The metrics of a prediction table with 95% bootstrap intervals over lesions.

    Of several runs: the mean of the metrics of single models, with intervals over lesions and runs. With ``region`` the
    rows also have ``p_holds`` and ``p_fails`` (``bootstrap.region_p``).

    A table without probabilities gets the metrics that need none, and one row that says so. ``options`` sets the points
    on the ROC curve, whose thresholds are chosen on the judged cases (for a frozen point see ``operating``). ``views``
    replaces the classes of melanoma and malignant; ``options.views`` adds to them. ``wanted``: metrics; None: all.

    One row per metric, indexed by its name; columns ``metric``; ``kind``: overall, view (melanoma or malignant against
    the rest) or class; ``about``: which; ``value, low, high``: NaN where a class has too few lesions, too few are
    predicted as the class (precision), or over 1% of the draws have no value (where all draws agree, a share of 0 or 1
    gets an exact interval, others none); ``n`` images and ``lesions`` that the number is a share of, else all;
    ``positives``: images of the class or view; ``few``: under 20 of them, so do not rank the row; ``note``: why there
    is no value or interval; ``leaky``: see ``PredictionTable``.
    """
    chosen = [m for m in metrics_of(table, options or Judging(), views) if wanted is None or m.name in wanted]
    values, rows = _values(table, chosen, table.runs), []
    for metric in chosen:
        draws = None
        if metric.name in values:
            draws = bootstrap.over_runs(values[metric.name], table.seed)
            draws[1:] = draws[1:].clip(metric.entry.lowest, metric.entry.highest)
        rows.append(_row(table, metric, draws, _note(table, metric), region))
    if not table.has_probabilities and wanted is None:
        note = "the prediction table has no probabilities"
        rows.append(_row(table, Metric(Entry(NEEDS_PROBABILITIES)), None, note))
    return _framed(rows, table.leaky)


def compare(
    table: PredictionTable,
    reference: PredictionTable,
    wanted: Sequence[str] = COMPARED,
    options: Judging | None = None,
    paired: bool = True,
    region: Region | None = None,
) -> pd.DataFrame:
    """Differences ``table`` minus ``reference`` (of the means over the runs), for the rows of ``judge`` in ``wanted``.

    Paired: on the same cases and draws of lesions, those of ``table``, and run by run where both have as many runs. Not
    ``paired``: each on its own cases and draws; lesions in both are drawn twice, so the interval is rather too wide.
    Columns as in ``judge``; ``p``, two-sided: 2 (1 + draws on the rarer side of 0) / (1 + draws), at most 1 (Davison
    and Hinkley, 1997, chapters 4 and 5); and ``single``, the list of the differences of paired runs (empty where not
    estimable). Raises InputError for different classes or, if paired, cases, labels or lesions.
    """
    if paired:
        first = second = table.with_runs_of(reference)
        runs, reference_runs = first.runs[: len(table.runs)], first.runs[len(table.runs) :]
        if table.has_draws_of(reference):
            runs, reference_runs = table.runs, reference.runs  # of which much is known
    else:
        require_same_classes(table.classes, reference.classes)
        first, second = table, PredictionTable(reference.frames, table.resamples, table.seed + 1, reference.name)
        runs, reference_runs = first.runs, second.runs
    ours, theirs = ({m.name: m for m in metrics_of(of, options or Judging())} for of in (first, second))
    names = [name for name in wanted if name in ours and name in theirs]
    values = _values(first, [ours[name] for name in names], runs)
    reference_values = _values(second, [theirs[name] for name in names], reference_runs)
    rows = []
    for name in names:
        difference, single, p = None, [], np.nan
        if name in values and name in reference_values:
            if paired and len(runs) == len(reference_runs):
                by_run = values[name] - reference_values[name]
                difference, single = bootstrap.over_runs(by_run, first.seed), by_run[:, 0].tolist()
            else:
                arms = (values[name], first.seed), (reference_values[name], first.seed + 1)
                difference = np.subtract(*(bootstrap.over_runs(*arm) for arm in arms))
        row = _row(first, ours[name], difference, _note(first, ours[name]) or _note(second, theirs[name]), region, True)
        if difference is not None and not row["note"]:
            draws = difference[1:][~np.isnan(difference[1:])]  # draws of exactly 0 count on both sides
            p = min(1.0, 2 * (1 + int(min((draws <= 0).sum(), (draws >= 0).sum()))) / (1 + len(draws)))
        rows.append(row | {"p": p, "single": [] if row["note"] else single})
    return _framed(rows, table.leaky or reference.leaky)


def confusion(table: PredictionTable) -> pd.DataFrame:
    """Counts of images of the first run, (k, k): rows true, columns predicted, in the order of the classes."""
    from sklearn.metrics import confusion_matrix  # slow: pages are written without it

    counts = confusion_matrix(table.truth, table.predicted, labels=range(table.k))
    true, predicted = (pd.Index(table.classes, name=name) for name in ("true", "predicted"))
    return pd.DataFrame(counts, index=true, columns=predicted)


def taken_for(counts: pd.DataFrame) -> pd.Series:
    """Of each true class of ``confusion``: how many of its images got another class, and which one most often."""
    texts = {}
    for name, row in counts.iterrows():
        wrong, size = row.drop(name), row.sum()
        most = f", most often {wrong.idxmax()} ({wrong.max():,})" if wrong.any() else ""
        texts[name] = f"{wrong.sum():,} of {size:,}{most}" if size else "no image"
    return pd.Series(texts, dtype=object)


def classification_report(table: PredictionTable) -> pd.DataFrame:
    """scikit-learn's report on the first run: precision, recall, f1-score and support (images) of each class."""
    from sklearn.metrics import classification_report as sklearn_report  # slow

    options = {"labels": range(table.k), "target_names": table.classes, "output_dict": True, "zero_division": 0}
    report = sklearn_report(table.truth, table.predicted, **options)
    report["accuracy"] = {"f1-score": report["accuracy"], "support": len(table)}  # placed as in its printed form
    return pd.DataFrame(report).T.astype({"support": int})


def roc_curves(table: PredictionTable, views: Views = None) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """False and true positive rates of each class against the rest, where there are any, and its images; then of each
    view that holds several classes, also of ``views``; of the first run.
    """
    from sklearn.metrics import roc_curve  # slow

    known = views_of(table.classes) | views_of(table.classes, views or {})
    groups, curves = {name: [name] for name in table.classes} | {v: of for v, of in known.items() if len(of) > 1}, {}
    for name, members in groups.items() if table.has_probabilities else ():
        if 0 < (positives := (positive := table.is_labelled(members)).sum()) < len(table):
            curves[name] = (*roc_curve(positive, table.probability_of(members))[:2], int(positives))
    return curves


def _note(table: PredictionTable, metric: Metric) -> str:
    if metric.about is not None and not metric.about.member.any():
        return f"no class is known to be {metric.about.name}"
    return bootstrap.not_estimable(metric.lesions_needed(table), table.draws[1], table.resamples)


def _row(
    table: PredictionTable,
    metric: Metric,
    values: np.ndarray | None,
    note: str,
    region: Region | None = None,
    difference: bool = False,
) -> dict:
    """The row of ``metric`` from its point value and draws, (1 + B,); None where ``note`` says why there are none."""
    (images, lesions), about = metric.base(table), metric.about
    positives = len(table) if about is None else table.size(about.member[table.truth])[0]
    row: dict = {"metric": f"difference in {metric.name}" if difference else metric.name, "kind": metric.kind}
    row |= {"about": about.name if about else "", "value": np.nan, "low": np.nan, "high": np.nan}
    row |= {"n": images, "lesions": lesions, "positives": positives, "few": positives < FEW, "note": note}
    if values is None:
        return row
    value, draws = float(values[0]), values[1:]
    if (missing := np.isnan(draws).sum()) > bootstrap.MAX_REDRAWN * len(draws) or np.isnan(value):
        allowed = f"at most {100 * bootstrap.MAX_REDRAWN:g}% allowed"
        return row | {"note": f"not defined in {missing:,} of {len(draws):,} draws, {allowed}"}
    row |= bootstrap.region_p(draws, region) if region else {}
    if difference:
        low, high = bootstrap.percentile_interval(draws)
        return row | {"value": value, "low": low, "high": high, "note": ""}
    return row | bootstrap.interval_row(value, draws, lesions if metric.entry.share_of else 0)


def _values(table: PredictionTable, chosen: list[Metric], runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """Point value and draws of each metric that is estimable, of each run: (runs, 1 + B)."""
    estimable = [metric for metric in chosen if not _note(table, metric)]
    known = [run.known(table.draws) for run in runs]
    if new := [metric for metric in estimable if any(metric.key not in of_run for of_run in known)]:
        values = []
        for weights in itertools.chain([np.ones((1, len(table)))], metrics.blocks(table.weights)):
            blocks = [Block(table, run, weights) for run in runs]
            values.append([[metric.compute(block) for block in blocks] for metric in new])
        for metric, of_runs in zip(new, np.concatenate(values, axis=2), strict=True):
            for of_run, found in zip(known, of_runs, strict=True):
                of_run[metric.key] = found
    return {metric.name: np.stack([of_run[metric.key] for of_run in known]) for metric in estimable}


def _framed(rows: list[dict], leaky: bool) -> pd.DataFrame:
    names = [row["metric"].removeprefix("difference in ") for row in rows]
    return pd.DataFrame(rows).assign(leaky=leaky).set_axis(names, axis=0)
