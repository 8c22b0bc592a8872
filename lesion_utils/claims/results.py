"""The numbers of a study as a file, from which docs/results.md is written."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from lesion_utils import predictions, tracked
from lesion_utils.cases import data_title, layout
from lesion_utils.claims.differences import leak_differences, remedy_differences
from lesion_utils.claims.rules import bars, not_learnt
from lesion_utils.digests import commit, file_digest
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import atomic_write, records, report_folder, write_json
from lesion_utils.predictions import LEAK_SPLITS, TEST_READS
from lesion_utils.prior import correct_prior
from lesion_utils.rounding import number
from lesion_utils.study import VALIDATION_COPIES, StudyParams

WIDE = 0.06  # a gap between validation and test that needs an explanation
TOO_GOOD = 0.90  # balanced accuracy; the ISIC 2018 challenge on HAM10000 was won with 0.885


def judge_study(
    params: StudyParams,
) -> tuple[dict[tuple[str, str], PredictionTable], pd.DataFrame, str, dict[str, pd.DataFrame], str, pd.DataFrame]:
    """All prediction tables of a study by recipe and split, each with all runs; their rows of ``judge``, indexed by
    recipe, split and metric; the recipe chosen on validation; ``leak_differences`` of each leak; the reason why the
    chosen recipe learnt nothing, or "" (``rules.not_learnt``); and ``remedy_differences`` of each recipe that has
    another as its reference. The last two are about the split that is judged last.
    """
    tables: dict[tuple[str, str], PredictionTable] = {}
    drawn: dict[tuple, PredictionTable] = {}  # recipes are mostly judged on the same cases, so on the same draws
    for key in itertools.product(params.recipes, params.held_out_splits):
        table = PredictionTable(predictions.read_runs(params, *key), params.resamples)
        cases = (table.k, tuple(table.lesion_ids), table.truth.tobytes())
        table.draws = drawn.setdefault(cases, table).draws
        tables[key] = correct_prior(table, tables.get((key[0], "validation")))
    log_test_reads(params, "recipes and leaks judged")
    rows = {key: judge(table, params.judging) for key, table in tables.items()}
    judged = pd.concat(rows, names=["recipe", "split", "name"])
    leaks = {leak: leak_differences(params, leak) for leak in params.leaks}
    chosen, _ = choose(judged)
    first, last = params.held_out_splits[0], params.held_out_splits[-1]
    arms, validations = ({name: tables[(name, split)] for name in params.recipes} for split in (last, first))
    scaled = {name: apply_temperature(table, fit_temperature(validations[name])) for name, table in arms.items()}
    against = {name: base for name in params.recipes if (base := params.reference_of(name)) != name}
    unfit = bars(params, arms, set(against.values()))
    differences = remedy_differences(arms, scaled, against, params.judging, unfit)
    return tables, judged, chosen, leaks, not_learnt(arms[chosen]), differences


def log_test_reads(params: StudyParams, purpose: str) -> None:
    """Adds to ``test_reads.csv``, among the reports, which test tables are read: ``when``; ``recipe, run, split``;
    ``table``, the digest of its content; ``purpose``; ``commit`` of the reading code. A table that was read before for
    the same purpose gives no new row: nothing new can be learnt from it.
    """
    rows = []
    for name, run in tracked.trainings(params):
        for split in LEAK_SPLITS if name in params.arms else {"test"} & set(params.held_out_splits):
            path = predictions.read_provenance(params, name, split, run)["path"]
            rows.append([name, str(run), split, file_digest(path), purpose])
    path, keys = report_folder(params.study) / TEST_READS, ["recipe", "run", "split", "table", "purpose"]
    reads = pd.DataFrame(rows, columns=keys)
    reads = reads.assign(when=pd.Timestamp.now("UTC").strftime("%Y-%m-%d %H:%M"), commit=commit())
    with suppress(FileNotFoundError, ValueError):  # not a table: the log begins anew
        before = pd.read_csv(path, dtype=str)
        if {"when", *keys, "commit"} <= {*before}:
            reads = pd.concat([before.dropna(), reads]).drop_duplicates(keys)
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


def choice_sentence(judged: pd.DataFrame, unlearnt: str = "") -> str:
    """Which recipe ``choose`` takes, how many others are too near to it to be ranked on validation, and whether it
    learnt anything (``unlearnt`` of ``judge_study``).
    """
    chosen, metric = choose(judged)
    rows = judged.xs("validation", level=1).xs(metric, level=1)
    best, others = rows.loc[chosen], rows.drop(index=chosen).dropna(subset="value")
    near = ((others["high"] >= best["low"]) & (others["low"] <= best["high"])).sum()
    chance = f"It {unlearnt}: no number of it is an answer." if unlearnt else "It learnt clearly more than chance."
    text = f"Chosen on validation by {metric}: {chosen}, {cell(best)}. {chance}"
    if others.empty:
        return f"{text} No other recipe can be compared with it."
    text = f"{text} The 95% CIs of {near} of the {len(others)} other recipes overlap with its 95% CI"
    return text + (
        "; whether it is better than they are, only a difference on the same cases can say." if near else "."
    )


def gaps(
    params: StudyParams, tables: Mapping[tuple[str, str], PredictionTable], judged: pd.DataFrame
) -> tuple[pd.DataFrame, str]:
    """Each recipe on validation, on its validation with the copies that fell into it (as some systems judged
    themselves), and on test, and test minus validation, with 95% CIs; and which recipes differ by over ``WIDE``.

    By balanced accuracy; by accuracy where no recipe has enough cases for it. Without a test split there is no gap.
    """
    both = judged["value"].xs("balanced accuracy", level=2).unstack().notna().all(axis=1)
    metric = "balanced accuracy" if both.any() else "accuracy"
    cells = {key: cell(row) for key, row in judged.xs(metric, level=2).to_dict("index").items()}
    table = pd.Series(cells, dtype=object).unstack(sort=False).rename_axis(index="recipe", columns=None)
    for name in params.recipes:
        if VALIDATION_COPIES in predictions.splits_of(params, name):
            frames = [predictions.read(params, name, split) for split in ("validation", VALIDATION_COPIES)]
            row = judge(PredictionTable(pd.concat(frames), params.resamples), wanted=[metric]).iloc[0]
            table.loc[name, "validation with its copies"] = cell(row)
    if params.held_out_splits[-1] != "test":
        return table.fillna(""), "There is no test split, so no gap can be computed."
    pairs = {name: (tables[(name, "test")], tables[(name, "validation")]) for name in params.recipes}
    rows = {name: compare(*pair, wanted=[metric], paired=False).iloc[0] for name, pair in pairs.items()}
    table["test minus validation"] = [cell(rows[name], (0.0,), "+") for name in table.index]
    wide = [name for name, row in rows.items() if abs(row["value"]) > WIDE]
    known = sum(pd.notna(row["value"]) for row in rows.values())
    text = f"Test and validation differ by more than {WIDE:g} in {metric} for {len(wide)} of {known} recipes"
    return table.fillna(""), f"{text}{': ' * bool(wide)}{', '.join(wide)}."


def too_good(params: StudyParams, judged: pd.DataFrame, leaky: Sequence[str]) -> str:
    """Which recipes, besides ``leaky`` ones, reach ``TOO_GOOD``; "" if none does. Of anybody's own images, which may be
    easy. Of a dataset that many have judged it means a leak: raises InputError.
    """
    values = judged["value"].xs("balanced accuracy", level=2).drop(index=leaky, level=0)
    names = values[values >= TOO_GOOD].index.get_level_values(0).unique()
    if names.empty:
        return ""
    found = f"Balanced accuracy of {number(TOO_GOOD)} or more: {', '.join(names)}"
    if not layout(params).own:
        raise InputError(f"{found}. On {data_title(params)} this means a leak. Fix: find it, with notebook 01.")
    return f"{found}. Look for a leak before you believe it: `lesion audit FOLDER`."


def write_results(
    params: StudyParams,
    judged: pd.DataFrame,
    chosen: str,
    leaks: Mapping[str, pd.DataFrame] | None = None,
    unlearnt: str = "",
    differences: pd.DataFrame | None = None,
) -> None:
    """Writes ``results.json`` among the reports: one row per recipe, split and metric, and the recipe chosen.

    ``judged`` is as in ``choose``; of single classes only sensitivities are written. What is not estimable is null, and
    ``note`` says why; ``few`` and ``leaky`` appear where true. ``leaks``: ``leak_differences`` of each leak;
    ``unlearnt`` and ``differences`` are those of ``judge_study``.
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
    about |= {"not learnt": unlearnt} if unlearnt else {}
    remedies: list[dict[str, Any]] = []
    if differences is not None and len(differences):
        frame = differences.rename_axis(["recipe", "measure"]).reset_index()
        frame.insert(0, "reference", [params.reference_of(name) for name in frame["recipe"]])
        remedies = _records(frame, "reference", "recipe", "measure", "runs", "p_holm", "family", "verdict")
    results = {"rows": rows, "leaks": leak_rows, "differences": remedies}
    write_json(report_folder(params.study) / "results.json", about | results)


def _records(frame: pd.DataFrame, *names: str) -> list[dict[str, Any]]:
    """Rows for JSON: ``names`` and the numbers, unrounded, without remarks that are not true or empty."""
    numbers = ["value", "low", "high", "least", "most", "n", "lesions", "few", "leaky", "note"]
    rows = records(frame[[*names, *(name for name in numbers if name in frame)]])
    return [{key: value for key, value in row.items() if value or key not in ("few", "leaky", "note")} for row in rows]
