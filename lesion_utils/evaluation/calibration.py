"""Whether stated probabilities can be taken at their word: calibration error, reliability, temperature scaling.

The expected calibration error is the mean gap between stated confidence and observed share over bins of equal mass
(Naeini and others, AAAI 2015; Nguyen and O'Connor, EMNLP 2015). A perfectly calibrated model gets more than 0 too, so
its error on the same probabilities and lesions is shown (consistency resampling: Bröcker and Smith, Weather and
Forecasting 22:651, 2007). A bootstrap interval would add this bias again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import not_estimable
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.rounding import number
from lesion_utils.views import Views, views_of

TOP = "top label"
BINS = 15
TEMPERATURES = (0.02, 50.0)  # searched

MOST_SIMULATED = 50_000_000  # images times simulations
_BLOCK = 2_000_000  # numbers simulated at a time; changing it changes what a seed gives


class Recalibration(NamedTuple):
    """Logistic recalibration of the probability of a view (Cox, Biometrika 45:562, 1958), fitted on validation.

    ``slope`` 1 and ``intercept`` 0 change nothing. A slope under 1: the probabilities were too extreme.
    """

    slope: float
    intercept: float
    note: str = ""  # why nothing was fitted

    def __str__(self) -> str:
        return self.note or f"slope {number(self.slope)}, intercept {number(self.intercept)}"

    def __call__(self, stated: np.ndarray) -> np.ndarray:
        return expit(self.slope * _logit(stated) + self.intercept)


def fit_recalibration(validation: PredictionTable, view: str) -> Recalibration:
    """The slope and intercept that make the probabilities of ``view`` fit the labels of ``validation``, first run.

    Raises InputError if the table has no probabilities, or only cases of the view, or none.
    """
    from sklearn.linear_model import LogisticRegression  # slow

    if not (classes := validation.view(view)):
        return Recalibration(1.0, 0.0, f"none, because no class is known to be {view}")
    positive, stated = validation.is_labelled(classes), validation.probability_of(classes)
    if positive.all() or not positive.any():
        raise InputError(f"{validation.name} needs cases with and without {view}. Fix: give another validation table.")
    fit = LogisticRegression(C=np.inf).fit(_logit(stated)[:, None], positive)
    return Recalibration(float(fit.coef_[0, 0]), float(fit.intercept_[0]))


def _logit(stated: np.ndarray) -> np.ndarray:
    return logit(stated.clip(1e-6, 1 - 1e-6))


def calibration(table: PredictionTable, views: Views = None, bins: int = BINS, simulations: int = 1000) -> pd.DataFrame:
    """Expected calibration error of the top label, and of the probability of each view that the classes have.

    One row each, indexed by ``top label``, ``melanoma``, …, of the first run; columns ``metric, value``; the mean
    (``calibrated``) and 95% quantile (``calibrated_95``, above which an error is more than chance) of a perfectly
    calibrated model, by ``simulations`` (fewer of large tables); ``n`` images; ``lesions``; ``note``; ``leaky``.
    """
    statements = _statements(table, views, bins)
    simulations = min(simulations, max(100, MOST_SIMULATED // len(table)))
    simulated: dict[str, list[np.ndarray]] = {name: [] for name in statements}
    rng, scores = np.random.default_rng(table.seed), _normalised(table.probabilities)
    pace, step = (1 / np.maximum(scores, 1e-30)).astype(np.float32), max(1, _BLOCK // scores.size)
    for start in range(0, simulations, step):
        # labels of a calibrated model: the first of exponential clocks with rates p is class c with probability p_c
        # (the Gumbel-max trick); images of a lesion share noise
        noise = (table.lesions, min(step, simulations - start), table.k)
        clocks = rng.standard_exponential(noise, np.float32)[table.lesion_codes] * pace[:, None]
        labels = clocks.argmin(2)
        for name, of in statements.items():
            simulated[name].append(of.errors(np.take_along_axis(of.makes_true, labels, axis=1).T))
    rows = []
    for name, of in statements.items():
        needed = {"these cases": table.lesions} if name == TOP else table.lesions_with(of.hits, name)
        note, draws = not_estimable(needed, 0, simulations), np.concatenate(simulated[name])
        numbers = [np.nan] * 3 if note else [of.errors(of.hits[None])[0], draws.mean(), np.quantile(draws, 0.95)]
        rows.append([f"expected calibration error, {name}", *numbers, len(table), table.lesions, note])
    columns = ["metric", "value", "calibrated", "calibrated_95", "n", "lesions", "note"]
    return pd.DataFrame(rows, index=list(statements), columns=columns).assign(leaky=table.leaky)


def calibration_sentence(row: pd.Series) -> str:
    """A row of ``calibration`` in words: the value, and that of a perfectly calibrated model."""
    metric = f"leaky: {row['metric']}" if row["leaky"] else row["metric"]
    if np.isnan(row["value"]):
        return f"{metric}: not estimable ({row['note']})"
    perfect = f"{number(row['calibrated'])} on average and up to {number(row['calibrated_95'])} in 95% of samples"
    size = f"n = {row['n']:,} images, {row['lesions']:,} lesions"
    value = number(row["value"], edges=[row["calibrated_95"]])
    return f"{metric} {value}, {_verdict(row)} (a perfectly calibrated model would get {perfect}; {size})"


def calibration_table(versions: Mapping[str, PredictionTable]) -> pd.DataFrame:
    """``calibration`` of several versions of the same predictions, by version and probability, for readers."""
    rows = pd.concat({name: calibration(of) for name, of in versions.items()}, names=["probabilities", "of"])
    shown = {
        "calibration error": [number(row["value"], edges=[row["calibrated_95"]]) for _, row in rows.iterrows()],
        "calibrated model, mean": rows["calibrated"].map(number),
        "calibrated model, 95% of samples below": rows["calibrated_95"].map(number),
        "verdict": [_verdict(row) for _, row in rows.iterrows()],
    }
    return pd.DataFrame(shown, index=rows.index).where(rows["value"].notna(), "not estimable")


def _verdict(row: pd.Series) -> str:
    return "more than chance" if row["value"] > row["calibrated_95"] else "no more than chance gives"


def calibration_summary(table: pd.DataFrame, temperature: float) -> str:
    """What a ``calibration_table`` shows, and the ``temperature`` that was fitted on validation, in words."""
    way = "too extreme (overconfident)" if temperature > 1 else "not extreme enough (underconfident)"
    above = (table["verdict"] == "more than chance").groupby(level=0, sort=False)
    fitted = f"The temperature fitted on validation is {number(temperature)}: the probabilities were {way} there."
    if temperature == 1:
        fitted = "The probabilities are not changed: validation cannot show that they should be more extreme."
    counts = ", ".join(f"{hits.sum()} of {len(hits)} {name}" for name, hits in above)
    return f"{fitted} Calibration errors that are more than chance: {counts}."


def reliability(table: PredictionTable, of: str = TOP, views: Views = None, bins: int = BINS) -> pd.DataFrame:
    """The reliability curve of the top label or the view ``of``: one row per bin of ``calibration`` of the first run,
    in order, with ``stated``, the mean stated probability; ``value``, the observed share (accuracy for the top label),
    and ``low, high, n, lesions, note`` as in ``judge``.
    """
    statements = _statements(table, views, bins)
    if of not in statements:
        raise InputError(f"No probability of {of!r} is stated for the classes {', '.join(table.classes)}.")
    stated, _, hits, members = statements[of]
    rows = [{"stated": stated[inside].mean()} | table.share(hits, inside, "this bin") for inside in members.T > 0]
    return pd.DataFrame(rows)


def too_few_to_sharpen(validation: PredictionTable, classes: Sequence[str] = ()) -> str:
    """Why ``validation`` cannot show that probabilities should be more extreme, or "": it has too few lesions that the
    model gets right or wrong, or too few of one of ``classes``. Without mistakes, certainty has the least log loss.
    """
    masks = {name: validation.is_labelled([name]) for name in classes}
    masks["right"] = validation.truth == validation.probabilities.argmax(1)
    masks["wrong"] = ~masks["right"]
    return not_estimable({name: validation.size(mask)[1] for name, mask in masks.items()}, 0, 1)


def fit_temperature(validation: PredictionTable, classes: Sequence[str] = ()) -> float:
    """The T, up to 50, that minimises the log loss of ``apply_temperature(validation, T)`` (Guo, Pleiss, Sun and
    Weinberger, ICML 2017). T > 1: the model was overconfident. At least 0.02, or 1 where ``too_few_to_sharpen``.
    """
    logits, truth = _logits(validation.probabilities), validation.truth[:, None]

    def log_loss(log_t: float) -> float:
        return -np.take_along_axis(log_softmax(logits / np.exp(log_t), axis=1), truth, axis=1).mean()

    # convex in 1 / T (Guo and others, section 4.2), so there is one minimum
    best = minimize_scalar(log_loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return max(float(np.exp(best.x)), 1.0 if too_few_to_sharpen(validation, classes) else 0.0)


def apply_temperature(table: PredictionTable, temperature: float) -> PredictionTable:
    """``table`` with each row of probabilities p (0 counts as 2e-16) as p^(1/T), scaled to sum to 1."""
    columns = [f"p_{name}" for name in table.classes]
    new = [scaled(frame[columns].to_numpy(np.float64), temperature).T for frame in table.frames]
    named = [dict(zip(columns, of, strict=True)) for of in new]
    return table.with_frames([frame.assign(**of) for frame, of in zip(table.frames, named, strict=True)])


def scaled(scores: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(_logits(scores) / temperature, axis=1)


class _Statement(NamedTuple):
    """What a probability is stated for each case: that the most probable class is right, or that a view is true."""

    stated: np.ndarray  # (n,) probabilities
    makes_true: np.ndarray  # (n, k) bool: the labels that would make it true
    hits: np.ndarray  # (n,) bool: it is true
    bins: np.ndarray  # (n, bins) 1.0 in the bin of each case; of equal mass as far as ties, which stay together, allow

    def errors(self, hits: np.ndarray) -> np.ndarray:
        """Expected calibration error of each sample of ``hits``, (S, n) bool: (S,)."""
        return np.abs((hits - self.stated) @ self.bins).sum(1) / len(self.stated)


def _statements(table: PredictionTable, views: Views, bins: int) -> dict[str, _Statement]:
    scores, statements = _normalised(table.probabilities), {}
    events = {TOP: (scores.max(1), np.arange(table.k) == scores.argmax(1)[:, None])}
    for name, positive in views_of(table.classes, views).items():
        member = np.isin(table.classes, positive)
        events[name] = scores[:, member].sum(1).round(12), np.broadcast_to(member, scores.shape)
    for name, (stated, makes_true) in events.items():
        bin_of = np.searchsorted(np.sort(stated), stated, "left") * bins // len(stated)
        members = (bin_of[:, None] == np.unique(bin_of)).astype(np.float64)
        statements[name] = _Statement(stated, makes_true, makes_true[np.arange(len(table)), table.truth], members)
    return statements


def _normalised(scores: np.ndarray) -> np.ndarray:
    return scores / scores.sum(1, keepdims=True)


def _logits(scores: np.ndarray) -> np.ndarray:
    return np.log(np.clip(_normalised(scores), np.finfo(np.float64).eps, 1))
