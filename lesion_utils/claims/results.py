"""The numbers of a study as a file, from which docs/results.md is written."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesion_utils import predictions, tracked
from lesion_utils.digests import commit, file_digest
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.differences import leak_differences
from lesion_utils.evaluation.prior import correct_prior
from lesion_utils.paths import atomic_write, records, report_folder, write_json
from lesion_utils.predictions import LEAK_SPLITS, TEST_READS
from lesion_utils.study import StudyParams


def judge_study(
    params: StudyParams,
) -> tuple[dict[tuple[str, str], PredictionTable], pd.DataFrame, str, dict[str, pd.DataFrame]]:
    """All prediction tables of a study by recipe and split, each with all runs; their rows of ``judge``, indexed by
    recipe, split and metric; the recipe chosen on validation; and ``leak_differences`` of each leak.
    """
    tables: dict[tuple[str, str], PredictionTable] = {}
    for key in itertools.product(params.recipes, params.held_out_splits):
        frames = [predictions.read(params, *key, run) for run in range(params.runs)]
        table = PredictionTable(frames, params.resamples)
        tables[key] = correct_prior(table, tables.get((key[0], "validation")))
    log_test_reads(params, "recipes and leaks judged")
    rows = {key: judge(table, params.judging) for key, table in tables.items()}
    judged = pd.concat(rows, names=["recipe", "split", "name"])
    leaks = {leak: leak_differences(params, leak) for leak in params.leaks}
    return tables, judged, choose(judged)[0], leaks


def log_test_reads(params: StudyParams, purpose: str) -> None:
    """Adds to ``test_reads.csv``, among the reports, which test tables are read: ``when``; ``recipe, run, split``;
    ``table``, the digest of its content; ``purpose``; ``commit`` of the reading code. A table that was read before for
    the same purpose gives no new row: nothing new can be learnt from it.
    """
    rows = []
    for name, run in tracked.trainings(params):
        for split in LEAK_SPLITS if name in params.arms else {"test"} & set(params.held_out_splits):
            path = predictions.read_provenance(params, name, split, run)["path"]
            rows.append([name, str(run), split, file_digest(str(path)), purpose])
    path, keys = report_folder(params.study) / TEST_READS, ["recipe", "run", "split", "table", "purpose"]
    reads = pd.DataFrame(rows, columns=keys)
    reads = reads.assign(when=pd.Timestamp.now("UTC").strftime("%Y-%m-%d %H:%M"), commit=commit())
    if path.is_file():
        reads = pd.concat([pd.read_csv(path, dtype=str), reads]).drop_duplicates(keys)
    with atomic_write(path) as new:
        reads[["when", *keys, "commit"]].to_csv(new, index=False)


def choose(judged: pd.DataFrame) -> tuple[str, str]:
    """The recipe that is best on validation, and the metric that decides: balanced accuracy, or accuracy with too few
    cases for it. A leaky recipe is never chosen over one that is not. ``judged`` holds the frames of ``judge``, indexed
    by recipe, split and metric.
    """
    candidates = judged if judged["leaky"].all() else judged[~judged["leaky"]]
    values = candidates["value"].xs("validation", level=1).unstack()
    metric = "balanced accuracy" if values["balanced accuracy"].notna().any() else "accuracy"
    return str(values[metric].idxmax()), metric


def write_results(
    params: StudyParams, judged: pd.DataFrame, chosen: str, leaks: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Writes ``results.json`` among the reports: one row per recipe, split and metric, and the recipe chosen.

    ``judged`` is as in ``choose``; of single classes only sensitivities are written. What is not estimable is null, and
    ``note`` says why; ``few`` and ``leaky`` appear where true. ``leaks``: ``leak_differences`` of each leak.
    """
    kept = judged[(judged["kind"] != "class") | judged["metric"].str.startswith("sensitivity ")]
    rows = _records(kept.rename_axis(["recipe", "split", "name"]).reset_index(), "recipe", "split", "metric", "kind")
    leak_rows = []
    for name, frame in (leaks or {}).items():
        leak = params.leaks[name]
        frame = frame.assign(leak=name, recipe=leak.recipe, kind=leak.kind, pairs=leak.runs, on=frame["images"])
        frame["metric"] = frame.index.get_level_values(-1)
        leak_rows += _records(frame, "leak", "recipe", "kind", "pairs", "on", "metric")
    about = params.model_dump(include={"study", "dataset", "runs", "resamples"}) | {"chosen on validation": chosen}
    write_json(report_folder(params.study) / "results.json", about | {"rows": rows, "leaks": leak_rows})


def _records(frame: pd.DataFrame, *names: str) -> list[dict[str, Any]]:
    """Rows for JSON: ``names`` and the numbers, unrounded, without remarks that are not true or empty."""
    numbers = ["value", "low", "high", "least", "most", "n", "lesions", "few", "leaky", "note"]
    rows = records(frame[[*names, *(name for name in numbers if name in frame)]])
    return [{key: value for key, value in row.items() if value or key not in ("few", "leaky", "note")} for row in rows]
