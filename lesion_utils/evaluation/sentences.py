"""Judged numbers as a reader gets them: sentences and verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.evaluation.bootstrap import LEVEL


def sentence(row: pd.Series) -> str:
    """A row of ``judge`` or ``compare`` as a reader gets it: value, interval, unit of resampling and n."""
    if np.isnan(row["value"]):
        return f"{row['metric']}: not estimable ({row['note']})"
    return f"{row['metric']} {estimate(row)}"


def estimate(row: pd.Series) -> str:
    """``sentence`` without the name of the metric."""
    if np.isnan(row["value"]):
        return f"not estimable ({row['note']})"
    marks = "leaky; " if row.get("leaky", False) else ""
    marks += f"{row['caution']}; " if row.get("caution") else ""  # of an operating point
    marks += "few images, not to be ranked; " if row.get("few", False) else ""
    counts = f"n = {row['n']:,} images of {row['lesions']:,} lesions"
    if np.isnan(row["low"]):
        return f"{row['value']:z.3f} ({marks}{row['note']}; {counts})"
    interval = span(row["low"], row["high"])
    return f"{row['value']:z.3f} ({marks}95 % interval {interval}, by lesion; {_trainings(row)}{counts})"


def span(low: float, high: float, sign: str = "") -> str:
    """Two ends in words, to 2 digits or, where they are less than 0.02 apart, to 3; ``sign`` "+" shows that of all."""
    digits = 2 if high - low >= 0.02 else 3
    return f"{low:{sign}z.{digits}f} to {high:{sign}z.{digits}f}"


def _trainings(row: pd.Series) -> str:
    """What single pairs of trainings say, in a row of ``differences.run_differences``."""
    if np.isnan(row.get("least", np.nan)):
        return ""
    pairs = f"pairs from {span(row['least'], row['most'], '+')}" if row["runs"] > 1 else "one pair of trainings"
    return f"over lesions, not trainings; {pairs}; "


def overview(judged: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """The metrics ``wanted`` of many tables at a glance: a line a table, each number with its 95 % interval.

    ``judged`` holds frames of ``judge``; the last level of its index is the metric's name.
    """
    found = judged[judged.index.get_level_values(-1).isin(wanted)]
    cells = pd.Series([cell(row) for row in found.to_dict("records")], index=found.index, dtype=object)
    return cells.unstack(sort=False)[[name for name in wanted if name in cells.index.levels[-1]]].rename_axis(
        columns=None
    )


def cell(row: Mapping[str, Any]) -> str:
    """A number with its interval, as short as a table needs it."""
    if pd.isna(row["value"]):
        return "not estimable"
    interval = "no interval" if pd.isna(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}"
    return f"{row['value']:.3f} ({interval}){' leaky' if row.get('leaky') else ''}"


def holm(compared: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of ``compare`` with ``p_holm``, the p-value for having asked more than once, and ``family``, how often.

    A family is the rows of one metric: so many recipes held against one reference. Frames by name are stacked, with
    the names as the outer index. What is not estimable is of no family. Holm, Scand. J. Statist. 6:65, 1979: the chance
    of one wrong verdict or more in a family stays under 5 %.
    """
    frame = compared.copy() if isinstance(compared, pd.DataFrame) else pd.concat(compared)
    families = frame.groupby(frame["metric"].to_numpy())["p"]
    return frame.assign(p_holm=families.transform(_adjusted), family=families.transform("count"))


def verdict(row: pd.Series) -> str:
    """What a row of ``compare`` says: higher, lower, no difference shown at this n, or not estimable.

    By the interval, or, in a row of ``holm``, by the adjusted p-value. Neither holds the luck of training, so in a row
    of ``differences.run_differences`` every one of two or more pairs of trainings must say the same.
    """
    if np.isnan(row["value"]):
        return "not estimable"
    shown = row["p_holm"] < 1 - LEVEL if "p_holm" in row else row["low"] > 0 or row["high"] < 0
    if not shown:
        return "no difference shown at this n"
    if row.get("runs") == 1:
        return "no difference shown: one pair of trainings cannot show a difference"
    if row.get("least", np.nan) <= 0 <= row.get("most", np.nan):
        return "no difference shown: the pairs disagree in sign"
    return "higher" if row["value"] > 0 else "lower"


def _adjusted(p: pd.Series) -> np.ndarray:
    """Holm's adjusted p-values; NaN stays and does not count."""
    values = p.to_numpy(np.float64)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]  # NaN sorts last
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
