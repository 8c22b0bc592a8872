"""The numbers of a study as a file, and as the rows of the tables in docs/results.md."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesion_utils.evaluation.sentences import cell
from lesion_utils.evaluation.views import views_of
from lesion_utils.paths import report_folder, write_json
from lesion_utils.study import StudyParams

SHOWN = ("balanced accuracy", "macro AUC", "melanoma sensitivity", "accuracy")
LEAKS_SHOWN = ("accuracy", "balanced accuracy", "melanoma sensitivity")


def choose(judged: pd.DataFrame) -> tuple[str, str]:
    """The recipe that is best on validation, and the metric that decides.

    That is balanced accuracy, or accuracy where there are too few cases for it. A leaky recipe is never chosen over one
    that is not. ``judged`` holds the frames of ``judge``, indexed by recipe, split and metric.
    """
    candidates = judged if judged["leaky"].all() else judged[~judged["leaky"]]
    values = candidates["value"].xs("validation", level=1).unstack()
    metric = "balanced accuracy" if values["balanced accuracy"].notna().any() else "accuracy"
    return str(values[metric].idxmax()), metric


def write_results(
    params: StudyParams, judged: pd.DataFrame, chosen: str, effects: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Writes ``results.json`` among the reports: one row per recipe, split and metric, and the recipe chosen.

    ``judged`` is as in ``choose``; of the metrics of single classes only the sensitivities are written. What is not
    estimable is null, and ``note`` says why; ``few`` and ``leaky`` appear where they are true. ``effects`` are the
    frames of leak differences by leak.
    """
    kept = judged[(judged["kind"] != "class") | judged["metric"].str.startswith("sensitivity ")]
    rows = [
        {"recipe": recipe, "split": split, "metric": row["metric"], "kind": row["kind"]} | _numbers(row)
        for (recipe, split, _), row in kept.iterrows()
    ]
    leaks = [
        {"leak": name, "recipe": leak.recipe, "kind": leak.kind, "pairs": leak.runs}
        | {"on": row["images"], "metric": metric}
        | _numbers(row, ("value", "low", "high", "least", "most"))
        for name, leak in params.leaks.items()
        for (_, metric), row in (effects or {}).get(name, pd.DataFrame()).iterrows()
    ]
    about = {"study": params.study, "dataset": params.dataset, "runs": params.runs, "resamples": params.resamples}
    path = report_folder(params.study) / "results.json"
    write_json(path, about | {"chosen on validation": chosen, "rows": rows, "leaks": leaks})


def _numbers(row: pd.Series, names: Sequence[str] = ("value", "low", "high")) -> dict[str, Any]:
    """The numbers of a row for JSON: null for what is not estimable, remarks where there are any."""
    numbers = {name: None if pd.isna(row[name]) else round(float(row[name]), 4) for name in names}
    counts = {name: int(row[name]) for name in ("n", "lesions")}
    remarks = {name: True for name in ("few", "leaky") if row[name]}
    return numbers | counts | remarks | ({"note": row["note"]} if row["note"] else {})


def result_rows(results: dict[str, Any]) -> list[list[str]]:
    """Cells of a table of ``results``, a line per recipe and split, then the rule that always predicts one class."""
    rows = {(row["recipe"], row["split"], row["metric"]): row for row in results["rows"]}
    chosen, lines = results["chosen on validation"], []
    for recipe, split in dict.fromkeys(key[:2] for key in rows):
        name = f"**{recipe}**" if recipe == chosen else recipe
        cells = [cell(rows[recipe, split, metric]) for metric in SHOWN]
        lines.append([name, split, _counts(rows[recipe, split, "accuracy"]), *cells])
    for split in dict.fromkeys(split for recipe, split, _ in rows if recipe == chosen):
        sizes = {
            metric.removeprefix("sensitivity "): row["n"]
            for (recipe, name, metric), row in rows.items()
            if (recipe, name, row["kind"]) == (chosen, split, "class")
        }
        largest, majority = max(sizes, key=lambda name: sizes[name]), rows[chosen, split, "majority baseline accuracy"]
        melanoma = int(largest in views_of(list(sizes)).get("melanoma", []))
        cells = [f"{1 / len(sizes):.2f}", "0.50", str(melanoma), cell(majority)]
        lines.append([f"always {largest}", split, _counts(majority), *cells])
    return lines


def leak_rows(results: dict[str, Any]) -> list[list[str]]:
    """Cells of a table of what the paired leaks of a study are worth: leaky minus clean, by leak and set of cases."""
    rows = {(row["leak"], row["on"], row["metric"]): row for row in results["leaks"]}
    lines = []
    for leak, on in dict.fromkeys(key[:2] for key in rows):
        first = rows[leak, on, "accuracy"]
        about = [first["kind"], first["recipe"], str(first["pairs"]), on, _counts(first)]
        lines.append(about + [_signed(rows[leak, on, metric]) for metric in LEAKS_SHOWN])
    return lines


def _counts(row: dict[str, Any]) -> str:
    return f"{row['n']:,} ({row['lesions']:,})"


def _signed(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not estimable"
    pairs = f"pairs {row['least']:+z.2f} to {row['most']:+z.2f}"
    return f"{row['value']:+z.3f} ({row['low']:+z.2f} to {row['high']:+z.2f}; {pairs})"
