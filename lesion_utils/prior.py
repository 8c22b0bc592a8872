"""Prior correction: the predicted class is chosen as if rare classes were more frequent; probabilities stay.

Log probabilities are lowered by the strength times the log share of their class, then the largest is chosen (logit
adjustment after training; Menon et al., ICLR 2021). Strength 0 changes nothing, 1 treats all classes as equally
frequent. What a recipe gains by rebalancing beyond this, it has learnt; the rest any recipe could have for free.
"""

import numpy as np

from lesion_utils.evaluation.prediction_table import CORRECTED, PredictionTable, require_same_classes

STRENGTHS = np.linspace(0, 2, 41)  # searched
FOLDS = 5


def correct_prior(table: PredictionTable, validation: PredictionTable | None = None) -> PredictionTable:
    """``table`` with each run's corrected classes: its metrics have ``prior-corrected balanced accuracy``, too.

    The strength is the one (0 to 2; the smallest of equals) with the best balanced accuracy on the same run of
    ``validation``, whose class shares are the prior. Without ``validation``, ``table`` is validation itself: each fifth
    of its lesions is corrected by what the others give. A table without probabilities, or with fewer than five lesions,
    is returned as it is. Raises InputError for a ``validation`` with other classes, ValueError for other runs.
    """
    from sklearn.model_selection import GroupKFold  # slow

    if not table.has_probabilities or table.lesions < FOLDS:
        return table
    fitted_on = validation or table
    require_same_classes(table.classes, fitted_on.classes)
    columns = [fitted_on.classes.index(name) for name in table.classes]
    chosen = np.empty((len(table.frames), len(table)), int)
    for run, fitted in zip(table.runs, fitted_on.runs, strict=True):
        assert run.probabilities is not None and fitted.probabilities is not None
        known, truth = np.log(fitted.probabilities[:, columns].clip(1e-12)), np.argsort(columns)[fitted.truth]
        if validation:
            chosen[run.frame, run.rows] = (np.log(run.probabilities.clip(1e-12)) - _offsets(known, truth)).argmax(1)
        else:
            for others, fifth in GroupKFold(FOLDS).split(known, groups=table.lesion_codes[run.rows]):
                chosen[run.frame, run.rows[fifth]] = (known[fifth] - _offsets(known[others], truth[others])).argmax(1)
    named = zip(table.frames, np.asarray(table.classes, object)[chosen], strict=True)
    return table.with_frames([frame.assign(**{CORRECTED: classes}) for frame, classes in named])


def _offsets(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What to subtract from log probabilities, (k,), fitted to ``scores``, (n, k), and the class indices ``truth``."""
    counts = np.bincount(truth, minlength=scores.shape[1])
    log_prior = np.log(counts.clip(1) / counts.sum())
    hits = [(scores - strength * log_prior).argmax(1) == truth for strength in STRENGTHS]
    recalls = np.array([np.bincount(truth, hit, len(counts)) for hit in hits])[:, counts > 0] / counts[counts > 0]
    return STRENGTHS[recalls.mean(1).round(12).argmax()] * log_prior
