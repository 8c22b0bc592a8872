"""The rules of a verdict: which models can carry one, and how the claims of one study are judged together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.claims.declared import DIFFERS, FAILS, HOLDS, NOT_MEASURABLE, REPRODUCED, UNCHECKED, UNDECIDED, Claim
from lesion_utils.evaluation import PredictionTable, metrics
from lesion_utils.evaluation.bootstrap import LEVEL, MIN_RUNS, over_runs, percentile_interval
from lesion_utils.evaluation.sentences import adjusted_p
from lesion_utils.recipes import Recipe
from lesion_utils.rounding import number
from lesion_utils.study import StudyParams

ABOVE_CHANCE = 0.05  # by which the lower bound of the balanced accuracy of a model that learnt exceeds chance


def not_learnt(table: PredictionTable) -> str:
    """Why the models of ``table`` carry no verdict, or "": what they learnt is not clearly more than chance.

    They learnt if the lower 95% bound of balanced accuracy, over lesions and runs, exceeds 1 / classes by
    ``ABOVE_CHANCE``; with fewer than ``MIN_RUNS`` runs, which cannot say how much runs vary, over lesions alone. The
    mean is over the classes that these cases have, also over rare ones.
    """
    weights = table.point_and_draws
    counts = (metrics.confusion_counts(run.truth, run.predicted, table.k, run.weigh(weights)) for run in table.runs)
    recalls = np.array([np.diagonal(of_run, axis1=1, axis2=2) / of_run.sum(2).clip(1e-9) for of_run in counts])
    values = recalls[:, :, np.unique(table.truth)].mean(2)
    draws = over_runs(values, table.seed) if len(values) >= MIN_RUNS else values.mean(0)
    low, _ = percentile_interval(draws[1:])
    return near_chance(low, table.k)


def near_chance(low: float, classes: int) -> str:
    """Why a model whose balanced accuracy has the lower 95% bound ``low`` learnt nothing, or ""."""
    if low > (limit := 1 / classes + ABOVE_CHANCE):
        return ""
    shown = number(low, edges=[limit]), number(1 / classes)
    return "learnt nothing (balanced accuracy: lower 95% bound {}, chance {})".format(*shown)


def not_converged(params: StudyParams, recipe: str) -> str:
    """Why ``recipe`` is no reference, or "": a run still improved at its end."""
    for run in range(params.runs):
        history = predictions.read_history(params, recipe, run)
        best, is_late = best_and_late(params.recipes[recipe], history)
        if is_late:
            return f"has not converged (best epoch {best + 1} of {len(history)} in run {run})"
    return ""


def best_and_late(recipe: Recipe, history: pd.DataFrame) -> tuple[int, bool]:
    """The row of the best epoch by the recipe's monitor, and whether training still improved at its end: this epoch is
    in the last fifth, and early stopping did not end it.
    """
    best = int(np.argmax((1 if recipe.larger_is_better else -1) * history[recipe.monitor].to_numpy()))
    stopped = len(history) < sum(phase.epochs for phase in recipe.phases)
    return best, not stopped and best >= 0.8 * len(history)


def bars(params: StudyParams, tables: dict[str, PredictionTable], references: set[str]) -> dict[str, str]:
    """Why recipes carry no verdict, by recipe: of all ``tables`` those that learnt nothing, and of the ``references``
    those that have not converged.
    """
    reasons = {name: not_learnt(table) for name, table in tables.items()}
    late = {name: not_converged(params, name) for name in references if not reasons.get(name)}
    return {name: reason for name, reason in (reasons | late).items() if reason}


def decide(claims: Sequence[Claim], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` with ``verdict``, ``p``, ``family`` and, for a row without a verdict, the reason ``why``.

    A row with ``barred`` is *not measurable here*; one without an interval *cannot be checked here*. The claims on
    models that one study measures are a family: their p-values are Holm-adjusted, and one decides if it is under 5%.
    Other claims are judged by their interval alone: inside the region, outside of it, or *undecided*; a figure that the
    system's own output must give is *reproduced* or not, at its printed digits.
    """
    families: dict[str | None, list[dict[str, Any]]] = {}
    for claim, row in zip(claims, rows, strict=True):
        if row["p_holds"] is not None and not row["barred"]:
            families.setdefault(claim.study, []).append(row)
    adjusted: dict[str, dict[str, Any]] = {}
    for study, family in families.items():
        p = adjusted_p(pd.Series([min(row["p_holds"], row["p_fails"]) for row in family]))
        name = f"{len(family)} claim{'s' * (len(family) > 1)} on models of {study}"
        adjusted |= {
            row["id"]: {"p": round(float(value), 12), "family": name} for row, value in zip(family, p, strict=True)
        }
    decided = []
    for claim, row in zip(claims, rows, strict=True):
        row = row | adjusted.get(row["id"], {"p": None, "family": ""})
        why = row["barred"] or (row.pop("why", "") if row["low"] is None else "")
        row["verdict"] = NOT_MEASURABLE if row["barred"] else _verdict(claim, row)
        decided.append(row | ({"why": why} if row["verdict"] in (NOT_MEASURABLE, UNCHECKED) else {}))
    return decided


def _verdict(claim: Claim, row: dict[str, Any]) -> str:
    low, high, p = row["low"], row["high"], row["p"]
    if claim.estimand is None or low is None:
        return UNCHECKED
    region = claim.region
    if claim.is_arithmetic:  # the interval says how precise the figure is
        return REPRODUCED if region[0] <= row["measured"] <= region[1] else DIFFERS
    if p is not None:
        return UNDECIDED if p >= 1 - LEVEL else HOLDS if row["p_holds"] < row["p_fails"] else FAILS
    if region[0] <= low and high <= region[1]:
        return HOLDS
    return FAILS if high < region[0] or low > region[1] else UNDECIDED
