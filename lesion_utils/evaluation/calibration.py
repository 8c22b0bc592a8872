"""Whether stated probabilities can be taken at their word: calibration error, reliability, temperature scaling.

The expected calibration error is the mean gap between stated confidence and observed share over bins of equal mass
(Naeini, Cooper and Hauskrecht, AAAI 2015; bins of equal mass: Nguyen and O'Connor, EMNLP 2015). It is biased upward:
even a perfectly calibrated model gets more than 0 from a finite sample, the more the smaller the sample. So it is shown
beside what a perfectly calibrated model would get from the very same probabilities and lesions (consistency resampling:
Bröcker and Smith, Weather and Forecasting 22:651, 2007; Vaicenavicius and others, AISTATS 2019), and never with a
bootstrap interval: each resample adds that bias once more, so the interval lies above the value that it should hold.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import MIN_LESIONS, lesion_draws, not_estimable
from lesion_utils.evaluation.prediction_table import check, classes_of, truth_of
from lesion_utils.evaluation.shares import share_row
from lesion_utils.evaluation.views import views_of

Views = Mapping[str, Sequence[str]] | None  # as in ``views_of``; None: what the names of the classes tell

TOP = "top label"
BINS = 15
SIMULATIONS = 1000
TEMPERATURES = (0.02, 50.0)  # searched

_BLOCK = 2_000_000  # numbers simulated at a time: part of what a seed means


def calibration(
    table: pd.DataFrame, views: Views = None, bins: int = BINS, simulations: int = SIMULATIONS, seed: int = 0
) -> pd.DataFrame:
    """Expected calibration error of the top label, and of the probability of each view that the classes have.

    One row each, indexed by ``top label``, ``melanoma``, …; columns ``metric, value``, and what a perfectly calibrated
    model with the same probabilities would get on average (``calibrated``) and stay under in 95 of 100 samples of this
    size (``calibrated_95``), all from 0 to 1; ``n`` images, ``lesions``, ``note``. A value above ``calibrated_95`` is
    more than chance. Where there are under 10 lesions, with or without the diagnosis, the numbers are NaN and ``note``
    says why. Raises InputError for a table that breaks the contract.

    In each simulated sample a label is drawn from every image's own probabilities, with noise that the images of a
    lesion share: a lesion has one diagnosis, so its views get the same label as far as they say the same. There is no
    bootstrap interval, since it would mislead (see the head of this module).
    """
    check_probabilities(table, "the prediction table")
    truth, lesions = truth_of(table), table["lesion_id"]
    events = _events(table, views)
    bin_of = {name: _bins(stated, bins) for name, (stated, _) in events.items()}
    simulated: dict[str, list[np.ndarray]] = {name: [] for name in events}
    for labels in _labels_if_calibrated(table, simulations, seed):
        for name, (stated, event) in events.items():
            simulated[name].append(_errors(stated, np.take_along_axis(event, labels, axis=1).T, bin_of[name]))
    rows = []
    for name, (stated, event) in events.items():
        hit = event[np.arange(len(truth)), truth]
        needed = {"these cases": lesions.nunique()}
        if name != TOP:
            needed = {name: lesions[hit].nunique(), f"not {name}": lesions[~hit].nunique()}
        row = {"metric": f"expected calibration error, {name}", "value": np.nan}
        row |= {"calibrated": np.nan, "calibrated_95": np.nan}
        row |= {"n": len(table), "lesions": lesions.nunique(), "note": not_estimable(needed, 0, simulations)}
        if not row["note"]:
            draws = np.concatenate(simulated[name])
            row["value"] = float(_errors(stated, hit[None], bin_of[name])[0])
            row |= {"calibrated": float(draws.mean()), "calibrated_95": float(np.quantile(draws, 0.95))}
        rows.append(row)
    return pd.DataFrame(rows).assign(leaky=predictions.is_leaky(table)).set_axis(list(events), axis=0)


def sentence(row: pd.Series) -> str:
    """A row of ``calibration`` as a reader gets it: the value beside that of a perfectly calibrated model."""
    metric = f"leaky: {row['metric']}" if row["leaky"] else row["metric"]
    if np.isnan(row["value"]):
        return f"{metric}: not estimable ({row['note']})"
    verdict = "more than chance" if row["value"] > row["calibrated_95"] else "no more than chance gives"
    return (
        f"{metric} {row['value']:.3f}, {verdict} (a perfectly calibrated model would get "
        f"{row['calibrated']:.3f} on average and up to {row['calibrated_95']:.3f} in 95 % of samples; "
        f"n = {row['n']:,} images of {row['lesions']:,} lesions)"
    )


def reliability(
    table: pd.DataFrame, of: str = TOP, views: Views = None, bins: int = BINS, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The reliability curve of the top label, or of the probability of a view (``of`` = ``melanoma``, …).

    One row a bin, in order: ``stated``, the mean stated probability; ``value``, the share observed (accuracy for the
    top label), with its 95 % interval by lesion ``low`` and ``high``, all from 0 to 1; ``n`` images, ``lesions``,
    ``note``. The bins are those of ``calibration``; an interval is of the cases that this table puts into the bin. A
    bin of under 10 lesions is not estimable: ``value`` is NaN and ``note`` says so. Raises InputError for a table that
    breaks the contract or does not have the view.
    """
    check_probabilities(table, "the prediction table")
    truth, classes, events = truth_of(table), classes_of(table), _events(table, views)
    if of not in events:
        raise InputError(f"No probability of {of!r} is stated for the classes {', '.join(classes)}.")
    stated, event = events[of]
    hit, bin_of = event[np.arange(len(truth)), truth], _bins(stated, bins)
    lesion_ids = table["lesion_id"].to_numpy()
    weights, _ = lesion_draws(lesion_ids, truth, len(classes), resamples, seed, at_least=MIN_LESIONS)
    return pd.DataFrame(
        {"stated": stated[bin_of == place].mean()} | share_row(weights, hit, bin_of == place, lesion_ids, "this bin")
        for place in np.unique(bin_of)
    )


def fit_temperature(validation: pd.DataFrame) -> float:
    """The temperature T that makes ``apply_temperature(validation, T)`` best by log loss, from 0.02 to 50.

    Guo, Pleiss, Sun and Weinberger, ICML 2017. To be fitted on validation alone. T > 1: the model was too sure of
    itself. An end of the range means that no temperature is best: the most probable class is always right, or the
    probabilities know nothing.
    """
    check_probabilities(validation, "the validation table")
    logits, truth = _logits(validation), truth_of(validation)[:, None]

    def log_loss(log_temperature: float) -> float:
        return -np.take_along_axis(log_softmax(logits / np.exp(log_temperature), axis=1), truth, axis=1).mean()

    # convex in 1 / T (Guo and others, section 4.2), so there is one minimum
    found = minimize_scalar(log_loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """``table`` with each row of probabilities p as p^(1/T), scaled to sum to 1; the most probable class stays so.

    The softmax of the logits over T, since log p are logits; a probability of 0 counts as 2e-16, as in the log loss.
    """
    columns = [f"p_{name}" for name in classes_of(table)]
    scaled = pd.DataFrame(softmax(_logits(table) / temperature, axis=1), columns=columns, index=table.index)
    return table.assign(**scaled)


def check_probabilities(table: pd.DataFrame, where: str) -> None:
    """Raises InputError, naming ``where``, unless ``table`` can be judged and holds probabilities."""
    check(table, where)
    if not predictions.classes_of(table):
        raise InputError(f"{where}: holds predicted classes only. Expected a probability p_<class> for each class.")


def _events(table: pd.DataFrame, views: Views) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a probability is stated for: (n,) probabilities, and (n, k) bool, whether each label would make it true."""
    scores, classes = _scores(table), classes_of(table)
    events = {TOP: (scores.max(1), np.arange(len(classes)) == scores.argmax(1)[:, None])}
    for name, positive in views_of(classes, views).items():
        member = np.isin(classes, positive)
        events[name] = scores[:, member].sum(1).round(12), np.broadcast_to(member, scores.shape)
    return events


def _bins(stated: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each case, (n,) from 0 up, of equal mass as far as ties, which stay together, allow."""
    return np.searchsorted(np.sort(stated), stated, "left") * bins // len(stated)


def _errors(stated: np.ndarray, hits: np.ndarray, bin_of: np.ndarray) -> np.ndarray:
    """Expected calibration error of each sample of ``hits``, (S, n) bool: (S,)."""
    gaps = (hits - stated) @ (bin_of[:, None] == np.unique(bin_of)).astype(np.float64)
    return np.abs(gaps).sum(1) / len(stated)


def _labels_if_calibrated(table: pd.DataFrame, simulations: int, seed: int) -> Iterator[np.ndarray]:
    """Class indices, (n, some of the simulations), drawn from the stated probabilities; a lesion's images share noise.

    The first of exponential clocks that run at the rates p is class c with probability p_c, whatever the other
    images of the lesion say (an exponential race; the Gumbel-max trick is its logarithm).
    """
    scores = _scores(table)
    codes, lesions = pd.factorize(table["lesion_id"])
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // scores.size)
    pace = (1 / np.maximum(scores, 1e-30)).astype(np.float32)
    for start in range(0, simulations, step):
        size = min(step, simulations - start)
        clocks = rng.standard_exponential((len(lesions), size, scores.shape[1]), np.float32)
        yield (clocks[codes] * pace[:, None]).argmin(2)


def _scores(table: pd.DataFrame) -> np.ndarray:
    """The probabilities, which may be rounded, scaled to sum to 1."""
    values = predictions.probabilities(table)
    return values / values.sum(1, keepdims=True)


def _logits(table: pd.DataFrame) -> np.ndarray:
    return np.log(np.clip(_scores(table), np.finfo(np.float64).eps, 1))
