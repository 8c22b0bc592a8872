"""What a claim is about, measured: from prediction tables, histories, cases, or a published number itself."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import t as student_t

from lesion_utils import predictions
from lesion_utils.augment import visible_area_and_fill
from lesion_utils.cases import read_written_cases
from lesion_utils.checks.matrix import CLASS_COUNTS, judge_matrix, read_case_mix
from lesion_utils.claims import rules
from lesion_utils.claims.declared import Data, Matrix, Metric, Share, Training, in_words
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.bootstrap import LEVEL, MIN_RUNS, wilson
from lesion_utils.evaluation.judge import Region
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.evaluation.sentences import runs_per_arm
from lesion_utils.prior import correct_prior
from lesion_utils.study import VALIDATION_COPIES, StudyParams
from lesion_utils.views import views_of

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
    barred: str = ""  # why there is no verdict, whatever the number is
    hidden: bool = False  # not even the number is shown: it could mislead
    p_holds: float | None = None  # p-values of lying outside and inside of the claim's region, not adjusted
    p_fails: float | None = None


class StudyTables:
    """The prediction tables of a study, which its claims share: each is read, corrected and judged once."""

    def __init__(self, params: StudyParams):
        self.params = params
        self._frames, self._corrected = functools.cache(self._read), functools.cache(self._correct)
        self._table = functools.cache(lambda *key: PredictionTable(self._frames(*key, False, ()), params.resamples))

    def measure(self, estimand: Metric | Training | Data, region: Region | None = None) -> Measured:
        """Measures an estimand of the study, with p-values against the claim's ``region`` where it is given.

        Intervals are over lesions and runs. Differences are paired, by lesion and run, where both recipes are judged on
        the same cases, otherwise from two independent bootstraps. ``barred`` follows the rules: fewer than ``MIN_RUNS``
        runs, a contrast with a model that learnt nothing, or with a reference that has not converged. Raises InputError
        if a table, history or case table is missing, or for an unknown metric or class.
        """
        if isinstance(estimand, Data):
            return _fact(self.params, estimand)
        runs = self.params.runs
        number = self._metric(estimand, region) if isinstance(estimand, Metric) else self._training(estimand)
        few = "" if runs >= MIN_RUNS else f"{runs_per_arm(runs)}, {MIN_RUNS} needed for a verdict"
        unfit = self._unfit(estimand)
        return number._replace(runs=runs, barred=unfit or few, hidden=bool(unfit))

    def _unfit(self, estimand: Metric | Training) -> str:
        """Why the models of a contrast carry no verdict, or ""."""
        if estimand.reference is None:
            return ""
        recipes = estimand.recipe, estimand.reference
        tables = {name: self._table(name, estimand.split) for name in recipes}
        if reasons := rules.bars(self.params, tables, {estimand.reference}):
            return "; ".join(f"{in_words(name)} {reason}" for name, reason in reasons.items())
        arms = (table.frames for table in tables.values())
        same = all(arm.equals(reference) for arm, reference in zip(*arms, strict=True))
        named = " and ".join(map(in_words, recipes))
        return f"{named} are the same model: all their predictions are equal" if same else ""

    def _metric(self, estimand: Metric, region: Region | None) -> Measured:
        arms = {estimand.recipe: estimand.with_copies}
        if estimand.reference:
            arms[estimand.reference] = estimand.reference_copies
        read, metric = (self._corrected, PRIOR_CORRECTED) if estimand.is_corrected else (self._frames, estimand.metric)
        frames = [read(name, estimand.split, copies, estimand.among) for name, copies in arms.items()]
        return _judged(self.params, frames, metric, region)

    def _training(self, estimand: Training) -> Measured:
        recipes = [name for name in (estimand.recipe, estimand.reference) if name]
        number = functools.reduce(difference, [_training_accuracy(self.params, recipe) for recipe in recipes])
        if estimand.quantity == "accuracy":
            return number
        arms = [self._frames(recipe, "validation", estimand.with_copies, ()) for recipe in recipes]
        held_out = _judged(self.params, arms, "accuracy")
        return difference(number, held_out)._replace(n=held_out.n, leaky=held_out.leaky, note=held_out.note)

    def _read(self, recipe: str, split: str, with_copies: bool, among: Sequence[str]) -> list[pd.DataFrame]:
        """The prediction table of each run, with the copies that fell to validation if asked for and there are any."""
        splits = _splits(self.params, recipe, split, with_copies)
        frames = [predictions.read_runs(self.params, recipe, of) for of in splits]
        tables = [pd.concat(of_run, ignore_index=True) for of_run in zip(*frames, strict=True)]
        classes = predictions.classes_of(tables[0])
        if unknown := sorted(set(among) - set(classes)):
            raise InputError(f"no class {', '.join(unknown)} to look among. Expected some of {', '.join(classes)}.")
        return [table[table["label"].isin(among or classes)].reset_index(drop=True) for table in tables]

    def _correct(self, recipe: str, split: str, with_copies: bool, among: Sequence[str]) -> list[pd.DataFrame]:
        """The tables with their classes after the prior correction that each run's validation cases give."""
        arm = [PredictionTable(frame, resamples=1) for frame in self._frames(recipe, split, with_copies, among)]
        if split == "validation":
            return [correct_prior(table).frame for table in arm]
        known = map(PredictionTable, self._frames(recipe, "validation", False, ()))
        return [correct_prior(*of_run).frame for of_run in zip(arm, known, strict=True)]


def _splits(params: StudyParams, recipe: str, split: str, with_copies: bool) -> list[str]:
    copies = with_copies and split == "validation" and VALIDATION_COPIES in predictions.splits_of(params, recipe)
    return [split, VALIDATION_COPIES] if copies else [split]


def _judged(
    params: StudyParams, arms: Sequence[Sequence[pd.DataFrame]], metric: str, region: Region | None = None
) -> Measured:
    """A metric of the first arm, minus that of the second if there is one; an arm holds the frames of its runs."""
    if not all(_same_cases(*frames) for frames in arms):
        return _over_runs([_judged(params, [[frame] for frame in run], metric) for run in zip(*arms, strict=True)])
    tables = [PredictionTable(frames, params.resamples) for frames in arms]
    if len(tables) == 1:
        rows = judge(tables[0], params.judging, wanted=[metric], region=region)
    else:
        paired = _same_cases(arms[0][0], arms[1][0])
        rows = compare(tables[0], tables[1], [metric], params.judging, paired=paired, region=region)
    if rows.empty:
        fix = "Fix: correct the claim, or add the view to the study's `judging.views`."
        raise InputError(f"no metric {metric!r} of these classes. Expected the name of a row of `judge`. {fix}")
    row = rows.iloc[0]
    number = Measured(row["value"], row["low"], row["high"], int(row["n"]), row["note"], bool(row["leaky"]))
    if pd.isna(row.get("p_holds")):
        return number
    return number._replace(p_holds=float(row["p_holds"]), p_fails=float(row["p_fails"]))


def _same_cases(*tables: pd.DataFrame) -> bool:
    return all(set(table["image_id"]) == set(tables[0]["image_id"]) for table in tables)


def _over_runs(runs: Sequence[Measured]) -> Measured:
    """The mean of runs that are judged on different cases, or by Wilson's interval.

    Each end is the mean of the runs' ends, as if their cases were the same, moved out by Student's interval of the mean
    of the runs (the two as independent parts).
    """
    values, lows, highs = np.array([run[:3] for run in runs]).T
    value, between = float(values.mean()), 0.0
    if len(runs) > 1:
        between = float(student_t.ppf((1 + LEVEL) / 2, len(runs) - 1) * values.std(ddof=1) / len(runs) ** 0.5)
    low, high = value - math.hypot(value - lows.mean(), between), value + math.hypot(highs.mean() - value, between)
    return runs[0]._replace(value=value, low=low, high=high, leaky=any(run.leaky for run in runs))


def _training_accuracy(params: StudyParams, name: str) -> Measured:
    """Accuracy of the kept model on its training cases, each shown once and unchanged; the mean over the runs.

    The interval holds Wilson's of each run, by image. Copies count as images of their own, so it is rather too narrow.
    """
    runs = [predictions.read_provenance(params, name, "validation", run) for run in range(params.runs)]
    return _over_runs([_share(made["training_correct"] / made["trained_on"], made["trained_on"]) for made in runs])


def _share(share: float, n: int) -> Measured:
    hits = round(share * n)
    return Measured(hits / n, *wilson(hits, n), n)


def _mean_of_shares(estimand: Share) -> Measured:
    """A mean of shares of classes whose own shares are not known: the widest normal interval that they allow."""
    sizes = np.array(list(CLASS_COUNTS[str(estimand.mean_over)].values()))
    half = ndtri((1 + LEVEL) / 2) * math.sqrt((0.25 / sizes).sum()) / len(sizes)
    return Measured(estimand.share, estimand.share - half, estimand.share + half, estimand.n)


def difference(number: Measured, other: Measured) -> Measured:
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
        case "lowest ids":
            numbers = cases["image_id"].str.extract(r"(\d+)$")[0].astype(float)
            of_train, of_test = (cases["published_split"] == split for split in ("train", "test"))
            first = numbers[of_train].groupby(cases["label"]).min()
            n, value = of_test.sum(), (numbers < cases["label"].map(first))[of_test].mean()
        case "fill shown":
            recipe = params.recipes[str(estimand.recipe)]
            made = predictions.read_provenance(params, str(estimand.recipe), "validation", 0)
            if "fill" not in made:  # trained by code that did not note it
                draws = visible_area_and_fill(recipe.augmentation, recipe.backbone.image_size)
                made["fill"] = [draws["fill"].mean(), len(draws)]
            value, n = made["fill"]
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
    return Measured(float(value), float(value), float(value), int(n))


@functools.lru_cache(maxsize=8)
def measure_published(estimand: Matrix | Share) -> Measured:
    """A published number measured without a study: from a confusion matrix, or a share minus its baseline.

    Intervals are by image: Wilson's of shares, otherwise of draws. A baseline on the same images is exact;
    another published share is taken as independent (Newcombe). Raises InputError for an unknown number of a matrix.
    """
    if isinstance(estimand, Share):
        base, n = estimand.baseline, estimand.baseline_n
        number = _mean_of_shares(estimand) if estimand.mean_over else _share(estimand.share, estimand.n)
        return difference(number, _share(base, n) if n else Measured(base, base, base, None))
    mix = read_case_mix(estimand.case_mix) if estimand.case_mix else None
    counts, metric = pd.DataFrame(estimand.matrix), estimand.metric
    images = counts.sum(axis=1).tolist()  # says that the matrix holds counts
    verdict = judge_matrix(counts, list(estimand.classes), images, case_mix=mix, resamples=MATRIX_RESAMPLES)
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
