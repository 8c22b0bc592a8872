"""Judged numbers as a reader gets them: sentences, cells of tables, and verdicts; intervals are over lesions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils.evaluation.bootstrap import LEVEL, MIN_RUNS
from lesion_utils.rounding import number, span, with_interval

NOT_ESTIMABLE = "not estimable"  # a value or a verdict
NO_DIFFERENCE = "no difference shown at this n"  # a verdict, or its beginning


def sentence(row: pd.Series) -> str:
    """A row of ``judge`` or ``compare`` with the name of its metric."""
    return f"{row['metric']}{':' if np.isnan(row['value']) else ''} {estimate(row)}"


def estimate(row: pd.Series) -> str:
    """A row of ``judge`` or ``compare``: ``0.69 (95% CI 0.64-0.74; n = 2,004 images, 1,495 lesions)``."""
    if np.isnan(row["value"]):
        return f"not estimable ({row['note']})"
    facts = ["leaky"] if row.get("leaky", False) else []
    facts += [row["caution"]] if row.get("caution") else []  # of an operating point
    facts += ["few images, do not rank"] if row.get("few", False) else []
    edges = (0.0,) if pd.notna(row.get("p")) else ()  # a verdict on a difference depends on 0
    facts.append(row["note"] if np.isnan(row["low"]) else f"95% CI {span(row['low'], row['high'], edges)}")
    if not np.isnan(row.get("least", np.nan)):  # a row of ``differences``
        singles = f"single runs {span(row['least'], row['most'], edges, '+')}"
        facts.append(singles if row["runs"] > 1 else runs_per_arm(1))
    facts.append(f"n = {row['n']:,} images, {row['lesions']:,} lesions")
    return f"{number(row['value'], row['low'], row['high'], edges)} ({'; '.join(facts)})"


def cell(row: Mapping[str, Any], edges: Sequence[float] = (), sign: str = "") -> str:
    """A number and its 95% CI for a table: ``0.69 (0.64-0.74)``; ``edges, sign`` as in ``rounding``."""
    if pd.isna(row["value"]):
        return NOT_ESTIMABLE
    text = with_interval(row["value"], row["low"], row["high"], edges, sign=sign)
    return f"{text}{' (no interval)' if pd.isna(row['low']) else ''}{' leaky' if row.get('leaky') else ''}"


def overview(judged: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Frames of ``judge`` (last level of the index: the metric) as ``cell``: a line per table, a column per metric."""
    rows = judged[judged.index.get_level_values(-1).isin(wanted)]
    cells = pd.Series([cell(row) for row in rows.to_dict("records")], index=rows.index, dtype=object)
    columns = [name for name in wanted if name in cells.index.levels[-1]]
    return cells.unstack(sort=False)[columns].rename_axis(columns=None)


def listed(rows: pd.DataFrame, differences: bool = False) -> pd.DataFrame:
    """Rows of ``judge``, ``judge_at`` or ``compare``, one line each: the number with its 95% CI, and on how many images
    and lesions; of ``differences`` also the sign, the adjusted p-value of ``holm`` and the verdict.
    """
    options: dict[str, Any] = {"edges": (0.0,), "sign": "+"} if differences else {}
    named = "difference (95% CI)" if differences else "value (95% CI)"
    table = pd.DataFrame({named: [cell(row, **options) for row in rows.to_dict("records")]}, index=rows.index)
    table["images"], table["lesions"] = rows["n"], rows["lesions"]
    if "runs" in rows:
        table["runs per arm"] = rows["runs"]
    if "p_holm" in rows:
        table["Holm-adjusted p"] = [number(p, edges=[1 - LEVEL]) if pd.notna(p) else "" for p in rows["p_holm"]]
    if differences:
        table["verdict"] = [verdict(row) for _, row in rows.iterrows()]
    return table


def by_class(rows: pd.DataFrame, wanted: Sequence[str] = ("sensitivity", "precision", "AUC")) -> pd.DataFrame:
    """The rows of single classes of ``judge`` as a table: a line per class, a column per metric, and its images."""
    rows = rows[rows["kind"] == "class"]
    metrics = [row["metric"].removesuffix(f" {row['about']}") for _, row in rows.iterrows()]
    table = overview(rows.set_axis(pd.MultiIndex.from_arrays([rows["about"], metrics]), axis=0), wanted)
    sizes = rows.drop_duplicates("about").set_index("about")
    images = sizes["positives"].map("{:,}".format) + np.where(sizes["few"], " (few)", "")
    table.insert(0, "images", images[table.index])
    return table.rename_axis("class")


def holm(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``compare`` with ``p_holm``, the Holm-adjusted p-value (Scand. J. Statist. 6:65, 1979), and ``family``,
    the number of estimable rows of the metric, which are adjusted together.
    """
    families = compared.groupby(compared["metric"].to_numpy())["p"]
    return compared.assign(p_holm=families.transform(adjusted_p), family=families.transform("count"))


def verdict(row: pd.Series) -> str:
    """What a row of ``compare`` shows, by its interval or, in a row of ``holm``, by the adjusted p-value. A row of
    ``differences`` compares recipes and needs ``MIN_RUNS`` runs per arm; ``barred`` is the reason for no verdict.
    """
    if np.isnan(row["value"]):
        return NOT_ESTIMABLE
    if row.get("barred"):
        return f"not measurable here: {row['barred']}"
    if (runs := row.get("runs", MIN_RUNS)) < MIN_RUNS:
        return f"no verdict: {runs_per_arm(runs)}, {MIN_RUNS} needed"
    without_zero = row["low"] > 0 or row["high"] < 0
    if not (row["p_holm"] < 1 - LEVEL if "p_holm" in row else without_zero):
        if "p_holm" in row and without_zero:
            return f"{NO_DIFFERENCE}: Holm-adjusted p = {number(row['p_holm'], edges=[1 - LEVEL])}"
        return NO_DIFFERENCE
    return "higher" if row["value"] > 0 else "lower"


def runs_per_arm(runs: int) -> str:
    return "one run per arm" if runs == 1 else f"{runs} runs per arm"


def adjusted_p(p: pd.Series) -> np.ndarray:
    """Holm-adjusted p-values of one family, in their order; NaN stays NaN and counts for nothing."""
    known = pd.Series(p.to_numpy(np.float64)).dropna().sort_values()
    return (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1).reindex(range(len(p))).to_numpy()
