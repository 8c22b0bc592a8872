"""What one factor is worth: recipes that differ in it alone, each trained several times, held against one reference."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import LEVEL
from lesion_utils.evaluation.judge import COMPARED, compare
from lesion_utils.evaluation.leak_effect import singly
from lesion_utils.evaluation.prediction_table import answers_of
from lesion_utils.evaluation.sentences import holm, verdict
from lesion_utils.study import Judging


def averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table with the mean of the probabilities of ``tables``, repeats on the same cases, in the rows of the first.

    It is leaky if one of them is. Raises InputError where there is no table, or they differ in their cases, labels,
    lesions or classes.
    """
    if not tables:
        raise InputError("no table to average. Expected the tables of one or more repeats.")
    classes, _, answers = answers_of(tables)
    stated = [one.probabilities for one in answers if one.probabilities is not None]
    if not stated:
        raise InputError("tables without probabilities have no average. Expected columns p_<class>.")
    scores = np.mean(stated, axis=0)
    leaky = any(predictions.is_leaky(table) for table in tables)
    return predictions.build(tables[0], classes, scores, leaky)


def effects(
    tables: Mapping[str, Sequence[pd.DataFrame]],
    reference: str | Mapping[str, str],
    resamples: int = 2000,
    options: Judging | None = None,
    wanted: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """What each arm of an ablation makes of the metrics ``wanted``, arm minus ``reference``, or minus its own.

    ``tables`` holds the tables of the repeats of each arm, the reference among them: the first of each are of the same
    seed, and so on. The rows are those of ``compare`` on the averaged probabilities of the repeats, on the same draws
    of lesions, indexed by arm and metric; with

    - ``least``, ``most``: the smallest and the largest difference that a single seed makes, ``pairs``: how many seeds,
      ``single``: the list of these differences (NaN and empty where the row is not estimable);
    - ``p_holm``, ``family``: of ``holm``, over the arms;
    - ``verdict``: *helps* or *harms* only where the adjusted p-value is under 5 % and every one of two or more seeds
      has the sign of the whole, else *no effect shown*; of one seed, which cannot show an effect, *higher*, *lower* or
      *no difference shown at this n*; or *not estimable*.

    Raises InputError for an unknown reference, no other arm, or arms that differ in their number of repeats or cases.
    """
    own = {name: reference for name in tables if name != reference} if isinstance(reference, str) else reference
    named = {*own, *own.values(), *([reference] if isinstance(reference, str) else [])}
    if unknown := sorted(named - set(tables)):
        raise InputError(f"no arm {unknown[0]!r} among those of the ablation; there are {', '.join(tables)}.")
    if not own:
        raise InputError(f"an ablation of {', '.join(tables)} alone. Expected one other arm or more.")
    means = {name: averaged(tables[name]) for name in named}  # of a reference once, not for each arm
    rows = {}
    for name, other in own.items():
        repeats, base = tables[name], tables[other]
        if len(repeats) != len(base):
            counts = f"{name} has {len(repeats)} repeats, {other} has {len(base)}"
            raise InputError(f"{counts}. Fix: train every arm with the same seeds.")
        row = compare(means[name], means[other], resamples, wanted=wanted, options=options)
        if len(base) > 1:
            row["metric"] += f" of the predictions averaged over {len(base)} seeds"
        known = row.index[row["value"].notna()]
        each = singly(repeats, known, options) - singly(base, known, options)
        singles = pd.Series([each[one].tolist() if one in each else [] for one in row.index], index=row.index)
        rows[name] = row.assign(least=each.min(), most=each.max(), pairs=len(base), single=singles)
    found = pd.concat(rows, names=["arm", "name"])
    adjusted = holm(found)
    return adjusted.assign(verdict=[_verdict(row) for row in adjusted.to_dict("records")])


def _verdict(row: Mapping) -> str:
    if np.isnan(row["value"]):
        return "not estimable"
    if row["pairs"] == 1:
        return verdict(pd.Series(row).drop("pairs"))
    if row["p_holm"] < 1 - LEVEL:
        if min(row["value"], row["least"]) > 0:
            return "helps"
        if max(row["value"], row["most"]) < 0:
            return "harms"
    return "no effect shown"
