"""The study's numbers as a file, and as the table that the README quotes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from lesion_utils.claims.verdicts import claims_table
from lesion_utils.evaluation.sentences import cell
from lesion_utils.evaluation.views import views_of
from lesion_utils.paths import PROJECT, report_folder, write_json
from lesion_utils.study import StudyParams


def choose(judged: pd.DataFrame) -> tuple[str, str]:
    """The recipe that is best on validation, and the metric that says so.

    That is balanced accuracy, or accuracy where the cases are too few for it. A recipe whose numbers are leaky is never
    chosen over one whose are not. ``judged`` holds the frames of ``judge``, indexed by recipe, part and metric.
    """
    candidates = judged if judged["leaky"].all() else judged[~judged["leaky"]]
    values = candidates["value"].unstack("part")["validation"].unstack()
    metric = "balanced accuracy" if values["balanced accuracy"].notna().any() else "accuracy"
    return str(values[metric].idxmax()), metric


def write_results(
    params: StudyParams, judged: pd.DataFrame, chosen: str, effects: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Writes ``results.json`` among the reports: a row for each recipe, part and metric, and the recipe chosen.

    ``judged`` holds the frames of ``judge``, indexed by recipe, part and metric. Of the metrics of single classes the
    sensitivities alone are written, the rest stands in the reports. What is not estimable is null, and ``note`` says
    why; ``few`` and ``leaky`` stand where they are true. ``effects`` are those of ``leak_differences`` by leak.
    """
    kept = judged[(judged["kind"] != "class") | judged["metric"].str.startswith("sensitivity ")]
    rows = [
        {"recipe": recipe, "split": part, "metric": row["metric"], "kind": row["kind"]} | _numbers(row)
        for (recipe, part, _), row in kept.iterrows()
    ]
    leaks = [
        {"leak": name, "recipe": leak.recipe, "kind": leak.kind, "pairs": leak.runs}
        | {"on": row["images"], "metric": metric}
        | _numbers(row, ("value", "low", "high", "least", "most"))
        for name, leak in params.leaks.items()
        for (_, metric), row in (effects or {}).get(name, pd.DataFrame()).iterrows()
    ]
    about = {"study": params.study, "dataset": params.dataset, "repeats": params.runs, "resamples": params.resamples}
    found = about | {"chosen on validation": chosen, "rows": rows, "leaks": leaks}
    write_json(report_folder(params.study) / "results.json", found)


def _numbers(row: pd.Series, names: Sequence[str] = ("value", "low", "high")) -> dict[str, Any]:
    """The numbers of a row as JSON has them: null for what is not estimable, remarks where there are any."""
    numbers = {name: None if pd.isna(row[name]) else round(float(row[name]), 4) for name in names}
    counts = {name: int(row[name]) for name in ("n", "lesions")}
    remarks = {name: True for name in ("few", "leaky") if row[name]}
    return numbers | counts | remarks | ({"note": row["note"]} if row["note"] else {})


def markdown_table(results: dict[str, Any]) -> str:
    """The table of a study's results for the README: a line a recipe and part, test where there is one."""
    metrics = ("balanced accuracy", "macro AUC", "melanoma sensitivity", "accuracy")
    rows = {(row["recipe"], row["split"], row["metric"]): row for row in results["rows"]}
    lines = ["| recipe | split | n (lesions) | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 3) + "|"]
    for recipe in dict.fromkeys(row["recipe"] for row in results["rows"]):
        for split in _splits(results, recipe):
            name = f"**{recipe}**" if recipe == results["chosen on validation"] else recipe
            whole = rows[recipe, split, "accuracy"]
            cells = [cell(rows[recipe, split, metric]) for metric in metrics]
            lines.append(f"| {name} | {split} | {whole['n']:,} ({whole['lesions']:,}) | " + " | ".join(cells) + " |")
    chosen = results["chosen on validation"]
    lines += [_always_the_largest(results, split) for split in _splits(results, chosen)]
    return "\n".join(lines)


def _splits(results: dict[str, Any], recipe: str) -> list[str]:
    there = {row["split"] for row in results["rows"] if row["recipe"] == recipe}
    return [split for split in ("validation", "test") if split in there]


def _always_the_largest(results: dict[str, Any], split: str) -> str:
    """The line of the rule that always names the largest class, on the cases of the chosen recipe."""
    chosen = (results["chosen on validation"], split)
    rows = {row["metric"]: row for row in results["rows"] if (row["recipe"], row["split"]) == chosen}
    sizes = {name.removeprefix("sensitivity "): row["n"] for name, row in rows.items() if row["kind"] == "class"}
    largest = max(sizes, key=lambda name: sizes[name])
    melanoma = int(largest in views_of(list(sizes)).get("melanoma", []))
    whole = rows["majority baseline accuracy"]
    counts = f"{whole['n']:,} ({whole['lesions']:,})"
    cells = f"{1 / len(sizes):.3f} | 0.500 | {melanoma} | {cell(whole)}"
    return f"| always {largest} | {split} | {counts} | {cells} |"


def leak_table(results: dict[str, Any]) -> str:
    """What the paired leaks of a study are worth, for the README: leaky minus clean, a line a leak and set of cases."""
    metrics = ("accuracy", "balanced accuracy", "melanoma sensitivity")
    rows = {(row["leak"], row["on"], row["metric"]): row for row in results["leaks"]}
    lines = ["| what leaks | recipe | pairs | judged on | n (lesions) | " + " | ".join(metrics) + " |"]
    lines.append("|---" * (len(metrics) + 5) + "|")
    for leak, on in dict.fromkeys(key[:2] for key in rows):
        whole = rows[leak, on, "accuracy"]
        cells = [_signed(rows[leak, on, metric]) for metric in metrics]
        about = (whole["kind"], whole["recipe"], str(whole["pairs"]), on, f"{whole['n']:,} ({whole['lesions']:,})")
        lines.append("| " + " | ".join([*about, *cells]) + " |")
    return "\n".join(lines)


def _signed(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not estimable"
    pairs = f"pairs {row['least']:+z.2f} to {row['most']:+z.2f}"
    return f"{row['value']:+z.3f} ({row['low']:+z.2f} to {row['high']:+z.2f}; {pairs})"


def renewed(readme: str) -> str:
    """``readme`` with each table between ``<!-- results: <file> -->`` (or ``leaks``, ``claims``) and its end anew."""
    makers: dict[str, Callable[[Any], str]] = {"results": markdown_table, "leaks": leak_table, "claims": claims_table}

    def table(block: re.Match) -> str:
        results = json.loads((PROJECT / block["file"]).read_text(encoding="utf-8"))
        return f"{block['start']}\n\n{makers[block['kind']](results)}\n\n{block['end']}"

    pattern = r"(?P<start><!-- (?P<kind>results|leaks|claims): (?P<file>\S+) -->).*?(?P<end><!-- end of (?P=kind) -->)"
    return re.sub(pattern, table, readme, flags=re.DOTALL)
