"""Shares of some of the cases, with intervals by lesion: what tables by bin, operating point and group are made of."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lesion_utils.evaluation.bootstrap import exact_interval, not_estimable, percentile_interval
from lesion_utils.evaluation.metrics import weighted_mean

ESTIMATE = ["value", "low", "high", "n", "lesions", "note"]  # what a row says of its number


def share_row(weights: np.ndarray, hit: np.ndarray, among: np.ndarray, lesion_ids: np.ndarray, name: str) -> dict:
    """The ``ESTIMATE`` of the share of ``hit`` in ``among``, both (n,) bool.

    ``weights`` (B, n) are those of ``lesion_draws``; ``name`` says in the note which cases ``among`` are.
    """
    lesions = pd.unique(np.asarray(lesion_ids)[among]).size
    draws = share_draws(weights, hit[:, None], among)[:, 0]
    row = row_of(hit[among].mean() if among.any() else np.nan, draws, {name: lesions}, int(among.sum()), lesions)
    if row["value"] in (0, 1):
        row["low"], row["high"] = exact_interval(row["value"], lesions)
        row["note"] = ""
    return row


def share_draws(weights: np.ndarray, hits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The shares of ``hits``, (n, m) bool, in ``among``, (n,) bool, in each draw: (B, m), NaN where it lacks them."""
    if not among.any():
        return np.full((len(weights), hits.shape[1]), np.nan)
    return weighted_mean(hits[among].astype(np.float64), weights[:, among])


def row_of(value: float, draws: np.ndarray, needed: Mapping[str, int], n: int, lesions: int) -> dict:
    """The ``ESTIMATE`` of any number from its ``draws``, (B,), of which NaN ones count as redrawn.

    Where ``not_estimable`` says so of ``needed``, the lesions by kind of case, the numbers are NaN; where all draws
    agree, the interval alone.
    """
    undefined = np.isnan(draws)
    note, low, high = not_estimable(needed, int(undefined.sum()), len(draws)), np.nan, np.nan
    value = np.nan if note else float(value)
    if not note:
        low, high = percentile_interval(draws[~undefined])
        if low == high:
            low, high, note = np.nan, np.nan, "no interval: every draw gives this value"
    return {"value": value, "low": low, "high": high, "n": n, "lesions": lesions, "note": note}
