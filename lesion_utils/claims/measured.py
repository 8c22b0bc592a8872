"""What a claim is about, measured: from prediction tables, histories, cases, or a published number itself."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lesion_utils import predictions
from lesion_utils.augment import visible_area_and_fill
from lesion_utils.cases import read_written_cases
from lesion_utils.checks.matrix import CLASS_COUNTS, judge_matrix, read_case_mix
from lesion_utils.claims.declared import Data, Matrix, Metric, Share, Training
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.bootstrap import LEVEL, wilson
from lesion_utils.evaluation.differences import metrics_per_run
from lesion_utils.evaluation.views import views_of
from lesion_utils.study import VALIDATION_COPIES, StudyParams

MATRIX_RESAMPLES = 2000


class Measured(NamedTuple):
    """A number with its 95% CI, NaN where there is none; without sampling the interval is the number itself."""

    value: float
    low: float
    high: float
    n: int | None  # images that it is a share of, or that were judged
    note: str = ""  # why there is no number or interval
    leaky: bool = False  # a model has seen lesions or images of those it is judged on
    runs: int | None = None  # of each recipe


def measure(params: StudyParams, estimand: Metric | Training | Data) -> Measured:
    """Measures an estimand of the study ``params``.

    Differences are paired, by lesion, where both recipes are judged on the same cases, otherwise from two independent
    bootstraps. The interval of a paired difference is widened to hold that of every single run; runs judged on
    different copies are measured one by one, and the interval holds all of theirs. A difference has no interval if a
    recipe predicts a single class for every image in every run: that model learnt nothing. Raises InputError if a
    table, history or case table is missing, or for an unknown metric or class.
    """
    if isinstance(estimand, Data):
        return _fact(params, estimand)
    number = _training(params, estimand) if isinstance(estimand, Training) else _metric(params, estimand)
    return number._replace(runs=params.runs)


def _metric(params: StudyParams, estimand: Metric) -> Measured:
    copies = {estimand.recipe: estimand.with_copies}
    if estimand.reference:
        copies[estimand.reference] = estimand.reference_copies
    arms = {name: _tables(params, name, estimand.split, own, estimand.among) for name, own in copies.items()}
    number = _judged(params, [*arms.values()], estimand.metric)
    for recipe, frames in arms.items() if estimand.reference else ():
        if all(len(np.unique(PredictionTable(frame).predicted)) == 1 for frame in frames):
            note = f"{recipe} predicts the same class for every image: there is nothing to compare"
            return number._replace(low=math.nan, high=math.nan, note=note)
    return number


def _tables(
    params: StudyParams, recipe: str, split: str, with_copies: bool, among: Sequence[str] = ()
) -> list[pd.DataFrame]:
    """The prediction table of each run, with the copies that fell to validation if asked for and there are any."""
    splits = _splits(params, recipe, split, with_copies)
    frames = [[predictions.read(params, recipe, name, run) for name in splits] for run in range(params.runs)]
    tables = [pd.concat(of_run, ignore_index=True) for of_run in frames]
    classes = predictions.classes_of(tables[0])
    if unknown := sorted(set(among) - set(classes)):
        raise InputError(f"no class {', '.join(unknown)} to look among. Expected some of {', '.join(classes)}.")
    return [table[table["label"].isin(among or classes)].reset_index(drop=True) for table in tables]


def _splits(params: StudyParams, recipe: str, split: str, with_copies: bool) -> list[str]:
    copies = with_copies and split == "validation" and VALIDATION_COPIES in predictions.splits_of(params, recipe)
    return [split, VALIDATION_COPIES] if copies else [split]


def _judged(params: StudyParams, arms: Sequence[Sequence[pd.DataFrame]], metric: str) -> Measured:
    """A metric of the first arm, minus that of the second if there is one; an arm holds the frames of its runs."""
    if not all(_same_cases(*frames) for frames in arms):
        return _over_runs([_judged(params, [[frame] for frame in run], metric) for run in zip(*arms, strict=True)])
    tables = [PredictionTable(frames, params.resamples) for frames in arms]
    paired = len(arms) == 2 and _same_cases(arms[0][0], arms[1][0])
    if len(tables) == 1:
        rows = judge(tables[0], params.judging, wanted=[metric])
    else:
        rows = compare(tables[0], tables[1], [metric], params.judging, paired=paired)
    if rows.empty:
        fix = "Fix: correct the claim, or add the view to the study's `judging.views`."
        raise InputError(f"no metric {metric!r} of these classes. Expected the name of a row of `judge`. {fix}")
    row, (low, high) = rows.iloc[0], rows[["low", "high"]].iloc[0]
    if paired and len(arms[0]) > 1 and not math.isnan(low):
        runs, reference = (metrics_per_run(table, [metric], params.judging)[metric] for table in tables)
        low, high = min(low, float((runs - reference).min())), max(high, float((runs - reference).max()))
    return Measured(row["value"], low, high, int(row["n"]), row["note"], bool(row["leaky"]))


def _same_cases(*tables: pd.DataFrame) -> bool:
    return all(set(table["image_id"]) == set(tables[0]["image_id"]) for table in tables)


def _over_runs(runs: Sequence[Measured]) -> Measured:
    """The mean of all runs, with an interval that holds the interval of each."""
    values, lows, highs = np.array([run[:3] for run in runs]).T
    leaky = any(run.leaky for run in runs)
    return runs[0]._replace(value=float(values.mean()), low=float(lows.min()), high=float(highs.max()), leaky=leaky)


def _training(params: StudyParams, estimand: Training) -> Measured:
    recipes = [name for name in (estimand.recipe, estimand.reference) if name]
    number = functools.reduce(_minus, [_training_accuracy(params, recipe) for recipe in recipes])
    if estimand.quantity == "accuracy":
        return number
    arms = [_tables(params, recipe, "validation", estimand.with_copies) for recipe in recipes]
    held_out = _judged(params, arms, "accuracy")
    return _minus(number, held_out)._replace(n=held_out.n, leaky=held_out.leaky, note=held_out.note)


def _training_accuracy(params: StudyParams, name: str) -> Measured:
    """Training accuracy in the epoch whose weights were kept, the mean over the runs.

    The interval holds Wilson's of each run, by image. Copies count as images of their own, so it is rather too narrow.
    """
    recipe, numbers = params.recipes[name], []
    for run in range(params.runs):
        path = params.models_folder / name / f"r{run}" / "history.csv"
        if not path.is_file():
            raise InputError(f"{path} does not exist. Fix: make study STUDY={params.study}.")
        history = pd.read_csv(path)
        sign = 1 if "accuracy" in recipe.monitor else -1
        kept = history.index[-1] if recipe.keep == "last" else (sign * history[recipe.monitor]).idxmax()
        images = recipe.epoch_images or predictions.read_provenance(params, name, "validation", run)["trained_on"]
        numbers.append(_share(float(history.at[kept, "accuracy"]), images))
    return _over_runs(numbers)


def _share(share: float, n: int) -> Measured:
    hits = round(share * n)
    return Measured(hits / n, *wilson(hits, n), n)


def _mean_of_shares(estimand: Share) -> Measured:
    """A mean of shares of classes whose own shares are not known: the widest normal interval that they allow."""
    sizes = np.array(list(CLASS_COUNTS[str(estimand.mean_over)].values()))
    half = ndtri((1 + LEVEL) / 2) * math.sqrt((0.25 / sizes).sum()) / len(sizes)
    return Measured(estimand.share, estimand.share - half, estimand.share + half, estimand.n)


def _minus(number: Measured, other: Measured) -> Measured:
    """A difference of independent numbers, with the interval of Newcombe (Stat Med 17:873, 1998, method 10)."""
    value = number.value - other.value
    below = math.hypot(number.value - number.low, other.high - other.value)
    above = math.hypot(number.high - number.value, other.value - other.low)
    return number._replace(value=value, low=value - below, high=value + above)


def _fact(params: StudyParams, estimand: Data) -> Measured:
    cases = read_written_cases(params)
    if estimand.published_split:
        cases = cases[cases["published_split"] == estimand.published_split]
    sizes, of, n = cases["label"].value_counts(), estimand.of, len(cases)
    if of is not None and of not in sizes:
        raise InputError(f"{params.study}: no class {of!r} among the cases. Expected one of {', '.join(sizes.index)}.")
    match estimand.fact:
        case "shared with training" if estimand.recipe:
            splits = _splits(params, estimand.recipe, "validation", True)
            counts = [predictions.read_provenance(params, estimand.recipe, split, 0) for split in splits]
            n, known = (sum(count[key] for count in counts) for key in ("n", "known"))
            value = known / n
        case "shared with training":
            held_out = cases.loc[cases["split"] == "validation", "lesion_id"]
            n, value = len(held_out), held_out.isin(cases.loc[cases["split"] == "train", "lesion_id"]).mean()
        case "fill shown":
            recipe = params.recipes[str(estimand.recipe)]
            draws = visible_area_and_fill(recipe.augmentation, recipe.backbone.image_size)
            n, value = len(draws), draws["fill"].mean()
        case "category code":
            if unnamed := sorted(set(sizes.index) - set(estimand.names)):
                raise InputError(f"{params.study}: no name for the label(s) {', '.join(unnamed)}. Fix: add it.")
            names = pd.Categorical(sizes.index.map(estimand.names)).categories
            value = names.get_loc(estimand.names[str(of)])
        case fact:  # it follows from the number of images of each class, and from the class that it is about
            value = {
                "images": lambda: n,
                "classes": lambda: len(sizes),
                "malignant classes": lambda: len(views_of(sorted(sizes.index)).get("malignant", [])),
                "class share": lambda: sizes[of] / n,
                "classes with fewer images": lambda: (sizes < sizes[of]).sum(),
                "largest to smallest class": lambda: sizes.max() / sizes.min(),
            }[fact]()
    return Measured(float(value), float(value), float(value), n)


@functools.lru_cache(maxsize=8)
def measure_published(estimand: Matrix | Share) -> Measured:
    """A published number measured without a study: from a confusion matrix, or a share minus its baseline.

    Intervals are by image: Wilson's of shares, otherwise of draws. A baseline on the same images is exact;
    another published share is taken as independent (Newcombe). Raises InputError for an unknown number of a matrix.
    """
    if isinstance(estimand, Share):
        base, n = estimand.baseline, estimand.baseline_n
        number = _mean_of_shares(estimand) if estimand.mean_over else _share(estimand.share, estimand.n)
        return _minus(number, _share(base, n) if n else Measured(base, base, base, None))
    mix = read_case_mix(estimand.case_mix) if estimand.case_mix else None
    counts, metric = pd.DataFrame(estimand.matrix), estimand.metric
    verdict = judge_matrix(counts, list(estimand.classes), case_mix=mix, resamples=MATRIX_RESAMPLES)
    recalls = verdict.by_class[["recall", "recall_low", "recall_high", "n"]].add_prefix("recall ", axis=0)
    recalls = recalls.set_axis(["value", "low", "high", "n"], axis=1).assign(note="")
    numbers = pd.concat([verdict.at_case_mix if mix else verdict.numbers, recalls])
    above = numbers.at["majority baseline accuracy", "value"] if metric == "above the majority" else 0.0
    name = "accuracy" if above else metric
    if name not in numbers.index:
        expected = ", ".join([*numbers.index, "above the majority"])
        raise InputError(f"no number {metric!r} of a matrix. Expected one of {expected}.")
    value, low, high, n, note = numbers.loc[name, ["value", "low", "high", "n", "note"]]
    return Measured(value - above, low - above, high - above, int(n), note)
