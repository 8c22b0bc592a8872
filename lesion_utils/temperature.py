"""Temperature scaling: probabilities made less or more extreme, all by one number that is fitted on validation."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.bootstrap import not_estimable

TEMPERATURES = (0.02, 50.0)  # searched


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


def _logits(scores: np.ndarray) -> np.ndarray:
    return np.log(np.clip(scores / scores.sum(1, keepdims=True), np.finfo(np.float64).eps, 1))
