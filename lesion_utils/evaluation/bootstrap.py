"""Bootstrap over lesions: draws, intervals, and the rule for what is not estimable.

Images of one lesion are not independent, so whole lesions are drawn with replacement (cluster bootstrap; Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Field and Welsh, JRSS B 69:369, 2007).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lesion_utils.evaluation.metrics import weighted_mean

LEVEL = 0.95  # of all intervals
MIN_LESIONS = 10  # per class
MIN_RUNS = 3  # of each arm, for a verdict on two recipes
MAX_REDRAWN = 0.01  # share of the draws
ESTIMATE = ["value", "low", "high", "n", "lesions", "note"]  # columns of an estimate

_BLOCK = 2_000_000  # picks drawn at a time; changing it changes what a seed gives


def lesion_draws(
    lesion_ids: np.ndarray, truth: np.ndarray, n_classes: int, resamples: int, seed: int, at_least: int = 1
) -> tuple[np.ndarray, int]:
    """How often each case is drawn, (resamples, n) uint8, when lesions are drawn with replacement, and the redraws.

    ``lesion_ids`` and ``truth`` (class indices) are (n,). A draw is repeated if it lacks a class that has ``at_least``
    lesions; after ``resamples`` redraws, draws may still lack one. The same seed and rows give the same draws.
    """
    codes, unique = pd.factorize(np.asarray(lesion_ids))
    lesions, rng = len(unique), np.random.default_rng(seed)
    member = np.zeros((lesions, n_classes), np.float32)
    member[codes, truth] = 1
    member = member[:, member.sum(0) >= max(at_least, 1)]
    counts = np.empty((resamples, lesions), np.uint8)  # a lesion is drawn about once, never 256 times
    rows, redrawn, step = np.arange(resamples), 0, max(1, _BLOCK // lesions)
    while True:
        lacking = []
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            picks = rng.integers(lesions, size=(len(block), lesions)) + lesions * np.arange(len(block))[:, None]
            counts[block] = np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape)
            lacking.append(block[(counts[block].astype(np.float32) @ member == 0).any(1)])
        rows = np.concatenate(lacking)
        redrawn += len(rows)
        if len(rows) == 0 or redrawn > resamples:
            return (counts if lesions == len(codes) else counts[:, codes]), redrawn  # as they are: half the memory


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5% quantiles of a metric's draws that are not NaN, (B,) (Efron's percentile interval)."""
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def over_runs(values: np.ndarray, seed: int) -> np.ndarray:
    """The mean over runs of a metric of single models, with two-level draws over lesions and runs: (1 + B,).

    ``values`` (runs, 1 + B): of each run the value on all cases and in each draw of lesions. The variance between runs,
    less the part that the draws of lesions contain already (another model misses other lesions), is added to the draws
    as a Student t error with runs - 1 degrees of freedom. (To draw three runs with replacement gives too narrow
    intervals where runs differ much.) With one run the draws are over lesions alone.
    """
    runs, mean = len(values), values.mean(0)
    if runs == 1:
        return mean
    within = np.var(values[:, 1:] - values[:, :1], axis=0, ddof=1)
    within = within[~np.isnan(within)].mean() if np.isfinite(within).any() else 0.0
    error = np.sqrt(max(0.0, np.var(values[:, 0], ddof=1) - within) / runs)
    noise = error * np.random.default_rng(seed).standard_t(runs - 1, size=len(mean) - 1)
    return np.concatenate([mean[:1], mean[1:] + noise])


def region_p(draws: np.ndarray, region: tuple[float, float]) -> dict[str, float]:
    """Two-sided p-values of a number lying outside (``p_holds``) and inside (``p_fails``) of ``region``.

    Each is under 5% where the 95% interval lies wholly inside, or wholly outside, of the region.
    """
    known = draws[~np.isnan(draws)]
    below, above = int((known < region[0]).sum()), int((known > region[1]).sum())
    p = (np.array([max(below, above), len(known) - below - above]) + 1) / (len(known) + 1)
    return dict(zip(("p_holds", "p_fails"), np.minimum(1, 2 * p).tolist(), strict=True))


def exact_interval(share: float, lesions: int) -> tuple[float, float]:
    """Clopper and Pearson's 95% interval, for shares of 0 or 1, where all draws agree and would show certainty."""
    from scipy.stats import binomtest  # slow: few numbers need it

    interval = binomtest(round(share * lesions), lesions).proportion_ci(LEVEL)
    return float(interval.low), float(interval.high)


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval (JASA 22:209, 1927) of ``hits / n``; scipy's takes no effective n, which is not whole."""
    share, z = hits / n, ndtri((1 + LEVEL) / 2)
    scale = 2 * (n + z**2)
    centre, spread = (2 * n * share + z**2) / scale, z / scale * np.sqrt(4 * n * share * (1 - share) + z**2)
    return (0.0 if hits == 0 else float(centre - spread)), (1.0 if hits == n else float(centre + spread))


def not_estimable(lesions_needed: Mapping[str, int], redrawn: int, resamples: int) -> str:
    """Why a metric is not estimable, or ""; ``lesions_needed`` has the lesions of each class that the metric needs."""
    if rare := {name: count for name, count in lesions_needed.items() if count < MIN_LESIONS}:
        counts = ", ".join(f"{name}: {count} lesion{'' if count == 1 else 's'}" for name, count in rare.items())
        return f"{counts}, at least {MIN_LESIONS} needed"
    if lesions_needed and redrawn > MAX_REDRAWN * resamples:
        return f"{redrawn:,} of {resamples:,} draws lacked a class, at most {100 * MAX_REDRAWN:g}% allowed"
    return ""


def share_draws(weights: np.ndarray, hits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Shares of ``hits``, (n, m) bool, ``among`` some cases, (n,) bool, in each draw: (B, m); NaN without cases."""
    if not among.any():
        return np.full((len(weights), hits.shape[1]), np.nan)
    return weighted_mean(hits.astype(np.float64), weights, among)


def interval_row(value: float, draws: np.ndarray, share_of: int = 0) -> dict:
    """``value, low, high, note`` from its draws, (B,). Where all agree, a share of 0 or 1 of ``share_of`` lesions gets
    its exact interval, any other number none.
    """
    low, high = percentile_interval(draws)
    if low == high and share_of and value in (0, 1):
        low, high = exact_interval(value, share_of)
    if low == high:
        return unknown("no interval: every draw gives this value") | {"value": float(value)}
    return {"value": float(value), "low": low, "high": high, "note": ""}


def estimate_row(
    value: float, draws: np.ndarray, lesions_needed: Mapping[str, int], n: int, lesions: int, is_share: bool = False
) -> dict:
    """A dict of ``ESTIMATE`` from the ``draws``, (B,), of a number; draws of NaN count as redrawn."""
    note = not_estimable(lesions_needed, int(np.isnan(draws).sum()), len(draws))
    row = unknown(note) if note else interval_row(value, draws, lesions if is_share else 0)
    return dict.fromkeys(ESTIMATE) | {"n": n, "lesions": lesions} | row


def unknown(note: str) -> dict:
    return {"value": np.nan, "low": np.nan, "high": np.nan, "note": note}
