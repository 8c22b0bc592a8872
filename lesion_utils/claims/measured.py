"""What a claim is about, measured: from prediction tables, histories, cases, or a published number itself."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.augment import shown
from lesion_utils.checks.matrix import judge_matrix, multinomial_draws
from lesion_utils.checks.parse_matrix import read_matrix
from lesion_utils.claims.declared import Data, Difference, Matrix, Share, Table, Training, Value, WithCopies
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge, metrics
from lesion_utils.evaluation.bootstrap import percentile_interval, wilson
from lesion_utils.evaluation.differences import metrics_per_run
from lesion_utils.evaluation.views import views_of
from lesion_utils.paths import run_folder
from lesion_utils.splits import written_cases
from lesion_utils.study import VALIDATION_COPIES, StudyParams

OFTEN = 2000  # draws behind the interval of a published matrix


class Measured(NamedTuple):
    """A number with its 95 % interval, NaN where there is none; without sampling the interval is the number itself."""

    value: float
    low: float
    high: float
    n: int | None  # images that it is a share of, or that were judged
    note: str = ""  # why there is no number or interval
    leaky: bool = False  # a model has seen lesions or images of those it is judged on
    trainings: int | None = None  # of each recipe


def of_study(params: StudyParams, estimand: Value | Difference | WithCopies | Training | Data) -> Measured:
    """Measures an estimand of the study ``params``.

    Differences are paired, by lesion, where both recipes have tables of the same cases, else of two independent draws;
    an interval by lesion is that of ``judge``. Of a difference over several repeats the interval is widened to hold
    what every single one makes; repeats that are judged on other copies are measured one by one, and the interval holds
    theirs. A difference has no interval if one of the two names a single class for every image in every repeat: it has
    learnt nothing, and its sensitivity of 0 or 1 says nothing. Raises InputError if a table, history or cases are
    missing, or for an unknown metric or class.
    """
    if isinstance(estimand, Data):
        return _fact(params, estimand)
    if isinstance(estimand, Training):
        found = _training(params, estimand)
    elif isinstance(estimand, Value):
        tables = _tables(params, estimand.recipe, estimand.split, estimand.table, estimand.among)
        found = _value(params, tables, estimand.metric)
    else:
        found = _contrast(params, estimand)
    return found._replace(trainings=params.runs)


def _contrast(params: StudyParams, estimand: Difference | WithCopies) -> Measured:
    if isinstance(estimand, WithCopies):
        tables = _tables(params, estimand.recipe, estimand.split, "with_copies")
        others = _tables(params, estimand.reference, estimand.split, "originals")
    else:
        tables, others = (
            _tables(params, recipe, estimand.split, estimand.table, estimand.among)
            for recipe in (estimand.recipe, estimand.reference)
        )
    found = _difference(params, tables, others, estimand.metric)
    for recipe, judged in ((estimand.recipe, tables), (estimand.reference, others)):
        if all(len(np.unique(PredictionTable(table).predicted)) == 1 for table in judged):
            note = f"{recipe} names one class for every image: it has learnt nothing that could be compared"
            return found._replace(low=math.nan, high=math.nan, note=note)
    return found


def _tables(
    params: StudyParams, recipe: str, split: str, table: Table, among: Sequence[str] = ()
) -> list[pd.DataFrame]:
    """A table for each repeat, with the copies that fell to validation if they are asked for and there are any."""
    tables = [
        pd.concat([predictions.read(params, recipe, part, repeat) for part in _parts(params, recipe, split, table)])
        for repeat in range(params.runs)
    ]
    if among:
        known = predictions.classes_of(tables[0])
        if strange := sorted(set(among) - set(known)):
            raise InputError(f"no class {', '.join(strange)} to look among; there are {', '.join(known)}.")
        tables = [one[one["label"].isin(among)] for one in tables]
    return [one.reset_index(drop=True) for one in tables]


def _parts(params: StudyParams, recipe: str, split: str, table: Table) -> list[str]:
    if table == "originals" or split != "validation":
        return [split]
    return [split, *(part for part in predictions.parts_of(params, recipe) if part == VALIDATION_COPIES)]


def _value(params: StudyParams, tables: Sequence[pd.DataFrame], metric: str) -> Measured:
    if not _same_cases(tables):
        return _together([_value(params, [table], metric) for table in tables])
    return _measured(judge(PredictionTable(tables, params.resamples), params.judging, wanted=[metric]), metric)


def _same_cases(tables: Sequence[pd.DataFrame]) -> bool:
    return all(set(table["image_id"]) == set(tables[0]["image_id"]) for table in tables)


def _together(repeats: Sequence[Measured]) -> Measured:
    values, lows, highs = (np.array([getattr(one, name) for one in repeats]) for name in ("value", "low", "high"))
    first, leaky = repeats[0], any(one.leaky for one in repeats)
    return Measured(float(values.mean()), float(lows.min()), float(highs.max()), first.n, first.note, leaky)


def _difference(
    params: StudyParams, tables: Sequence[pd.DataFrame], others: Sequence[pd.DataFrame], metric: str
) -> Measured:
    if not (_same_cases(tables) and _same_cases(others)):
        return _together(
            [_difference(params, [one], [other], metric) for one, other in zip(tables, others, strict=True)]
        )
    paired = _same_cases([tables[0], others[0]])
    ours, reference = (PredictionTable(runs, params.resamples) for runs in (tables, others))
    found = _measured(compare(ours, reference, [metric], params.judging, paired=paired), metric)
    if not paired or len(tables) == 1 or math.isnan(found.low):
        return found
    each, base = (metrics_per_run(arm, [metric], params.judging)[metric] for arm in (ours, reference))
    each = each - base
    return found._replace(low=min(found.low, float(each.min())), high=max(found.high, float(each.max())))


def _measured(rows: pd.DataFrame, metric: str) -> Measured:
    if rows.empty:
        raise InputError(
            f"no metric {metric!r} of these classes. Expected the name of a row of `judge`. Fix: correct the claim, "
            "or add the view to the study's `judging.views`."
        )
    row = rows.iloc[0]
    return Measured(row["value"], row["low"], row["high"], int(row["n"]), row["note"], bool(row["leaky"]))


def _training(params: StudyParams, estimand: Training) -> Measured:
    recipes = [estimand.recipe, *([estimand.reference] if estimand.reference else [])]
    found, *rest = [_trained_to(params, recipe) for recipe in recipes]
    for other in rest:
        found = _minus(found, other)
    if estimand.quantity == "accuracy":
        return found
    tables, *others = [_tables(params, recipe, "validation", estimand.table) for recipe in recipes]
    held_out = _difference(params, tables, others[0], "accuracy") if others else _value(params, tables, "accuracy")
    return _minus(found, held_out)._replace(n=held_out.n, leaky=held_out.leaky, note=held_out.note)


def _trained_to(params: StudyParams, name: str) -> Measured:
    """Training accuracy in the epoch whose weights were kept, the mean over the repeats.

    The interval is Wilson's by image, of all repeats the widest: copies count as images of their own, so it is rather
    too narrow.
    """
    recipe, found = params.recipes[name], []
    for repeat in range(params.runs):
        path = run_folder(params.study) / "models" / name / f"r{repeat}" / "history.csv"
        if not path.is_file():
            raise InputError(f"{path} does not exist. Fix: make study STUDY={params.study}.")
        history = pd.read_csv(path)
        sign = 1 if "accuracy" in recipe.monitor else -1
        kept = history.index[-1] if recipe.keep == "last" else (sign * history[recipe.monitor]).idxmax()
        shown = recipe.epoch_images or _counted(params, name, "validation", "trained_on", repeat)
        found.append(Measured(*_wilson(float(history.at[kept, "accuracy"]), shown), shown))
    return _together(found)


def _counted(params: StudyParams, recipe: str, part: str, key: str, repeat: int) -> int:
    """A number that was written beside the table of ``recipe``; InputError, with the cure, if it was not."""
    made_by = predictions.made_by(params, recipe, part, repeat)
    if key not in made_by:
        path = predictions.table_path(params.study, recipe, repeat, part).with_suffix(".json")
        raise InputError(f"{path} holds no `{key}`. Fix: delete it, and make study STUDY={params.study}.")
    return int(made_by[key])


def _minus(one: Measured, other: Measured) -> Measured:
    """A difference of independent numbers, its interval after Newcombe (Stat Med 17:873, 1998, method 10)."""
    value = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return one._replace(value=value, low=value - below, high=value + above)


def _fact(params: StudyParams, estimand: Data) -> Measured:
    cases = written_cases(params.study)
    if estimand.part != "all":
        cases = cases[cases["published_split"] == estimand.part]
    sizes = cases["label"].value_counts()
    if estimand.of is not None and estimand.of not in sizes:
        raise InputError(
            f"{params.study}: no class {estimand.of!r} among the cases; there are {', '.join(sizes.index)}."
        )
    n, own = len(cases), sizes.get(estimand.of, 0)
    value: float
    match estimand.fact:
        case "images":
            value = n
        case "classes":
            value = len(sizes)
        case "malignant classes":
            value = len(views_of(sorted(sizes.index)).get("malignant", []))
        case "class share":
            value = own / n
        case "classes with fewer images":
            value = int((sizes < own).sum())
        case "classes with more images":
            value = int((sizes > own).sum())
        case "largest to smallest class":
            value = sizes.max() / sizes.min()
        case "known in training":
            if estimand.recipe:
                parts = _parts(params, estimand.recipe, "validation", "with_copies")
                known, n = (
                    sum(_counted(params, estimand.recipe, part, key, 0) for part in parts) for key in ("known", "n")
                )
                value = known / n
            else:
                held_out = cases.loc[cases["split"] == "validation", "lesion_id"]
                n = len(held_out)
                value = held_out.isin(cases.loc[cases["split"] == "train", "lesion_id"]).mean()
        case "fill shown":
            recipe = params.recipes[str(estimand.recipe)]
            drawn = shown(recipe.augmentation, recipe.backbone.image_size)
            n, value = len(drawn), drawn["fill"].mean()
        case "category code":
            if strange := sorted(set(sizes.index) - set(estimand.names)):
                raise InputError(f"{params.study}: no name for the label(s) {', '.join(strange)}. Fix: name them.")
            coded = pd.Categorical(cases["label"].map(estimand.names))
            value = coded.categories.get_loc(estimand.names[str(estimand.of)])
    return Measured(float(value), float(value), float(value), n)


@functools.lru_cache(maxsize=8)
def of_matrix(estimand: Matrix) -> Measured:
    """A number of a published confusion matrix; InputError for what is no matrix of counts, or an unknown number.

    Intervals are by image: Wilson's of shares, else of multinomial draws of the images.
    """
    verdict = judge_matrix(read_matrix(estimand.matrix), classes=list(estimand.classes), resamples=OFTEN)
    numbers, n = verdict.numbers, int(verdict.counts.to_numpy().sum())
    if estimand.metric == "above the majority":
        row, majority = numbers.loc["accuracy"], numbers.at["majority baseline accuracy", "value"]
        return Measured(row["value"] - majority, row["low"] - majority, row["high"] - majority, n)
    if estimand.metric == "macro F1":
        counts = verdict.counts.to_numpy()[None].astype(np.float64)
        value, draws = (_macro_f1(one) for one in (counts, multinomial_draws(verdict.counts, OFTEN, seed=0)))
        return Measured(float(value[0]), *percentile_interval(draws[~np.isnan(draws)]), n)
    name = estimand.metric.removeprefix("recall ")
    if name != estimand.metric and name in verdict.by_class.index:
        row = verdict.by_class.loc[name]
        return Measured(row["recall"], row["recall_low"], row["recall_high"], int(row["n"]))
    if estimand.metric not in numbers.index:
        raise InputError(
            f"no number {estimand.metric!r} of a matrix. Expected one of {', '.join(numbers.index)}, recall <class>, "
            "macro F1, above the majority."
        )
    row = numbers.loc[estimand.metric]
    return Measured(row["value"], row["low"], row["high"], int(row["n"]), row["note"])


def _macro_f1(counts: np.ndarray) -> np.ndarray:
    return np.mean([metrics.f1(counts, index) for index in range(counts.shape[1])], axis=0)


def of_share(estimand: Share) -> Measured:
    """A published share minus its baseline.

    On the same images the baseline is exact and the interval is Wilson's of the share; against another published share
    it is Newcombe's, which takes the two as independent.
    """
    own = Measured(*_wilson(estimand.share, estimand.n), estimand.n)
    base = estimand.baseline
    other = _wilson(base, estimand.baseline_n) if estimand.baseline_n else (base, base, base)
    return _minus(own, Measured(*other, estimand.baseline_n))


def _wilson(share: float, n: int) -> tuple[float, float, float]:
    hits = round(share * n)
    return hits / n, *wilson(hits, n)
