"""The numbers of a study as a file, from which docs/results.md is written."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesion_utils.paths import records, report_folder, write_json
from lesion_utils.study import StudyParams


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
    params: StudyParams, judged: pd.DataFrame, chosen: str, leaks: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Writes ``results.json`` among the reports: one row per recipe, split and metric, and the recipe chosen.

    ``judged`` is as in ``choose``; of the metrics of single classes only the sensitivities are written. What is not
    estimable is null, and ``note`` says why; ``few`` and ``leaky`` appear where they are true. ``leaks`` are the frames
    of ``leak_differences`` by leak.
    """
    kept = judged[(judged["kind"] != "class") | judged["metric"].str.startswith("sensitivity ")]
    columns = ["recipe", "split", "metric", "kind", "value", "low", "high", "n", "lesions", "few", "leaky", "note"]
    rows = _records(kept.rename_axis(["recipe", "split", "name"]).reset_index()[columns])
    leak_rows = [
        {"leak": name, "recipe": params.leaks[name].recipe, "kind": params.leaks[name].kind}
        | {"pairs": params.leaks[name].runs}
        | row
        for name, frame in (leaks or {}).items()
        for row in _records(
            frame.assign(on=frame["images"], metric=frame.index.get_level_values(-1))[
                ["on", "metric", "value", "low", "high", "least", "most", "n", "lesions", "few", "leaky", "note"]
            ]
        )
    ]
    about = {"study": params.study, "dataset": params.dataset, "runs": params.runs, "resamples": params.resamples}
    path = report_folder(params.study) / "results.json"
    write_json(path, about | {"chosen on validation": chosen, "rows": rows, "leaks": leak_rows})


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON, to 4 digits, without remarks that are not true or empty."""
    numbers = frame.select_dtypes("float").columns
    rows = records(frame.assign(**{name: frame[name].round(4) for name in numbers}))
    return [{key: value for key, value in row.items() if value or key not in ("few", "leaky", "note")} for row in rows]
