"""A sweep: one study in several variants, which differ in values of some keys, and the table that compares them.

A variant is a study of its own: ``<study>_by_<keys>/<values>``, with its file beside its run folder.
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lesion_utils.errors import InputError, did_you_mean
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import atomic_write, read_json, report_folder, write_text
from lesion_utils.pipeline import INDEX
from lesion_utils.reports import write_page
from lesion_utils.study import STAGES, StudyParams, validate, variant_file

METRICS = ("balanced accuracy", "macro AUC", "log loss", "accuracy")
MOST = 200  # variants
FIX = "Fix: lesion sweep STUDY KEY=A,B, as in seed=0,1,2."


def write_variants(study: StudyParams, settings: Sequence[str]) -> list[str]:
    """Writes a file for each combination of the values in ``settings`` (``key=a,b``, a key with dots leads into
    sections); returns the names of the variants. Raises InputError for what is no key of the study, and for values that
    do not fit, before any file is written.
    """
    values = dict(map(_setting, settings))
    combinations = list(itertools.product(*values.values()))
    if len(combinations) > MOST:
        fix = "Fix: give fewer values, or make several sweeps."
        raise InputError(f"{len(combinations):,} variants. Expected up to {MOST}. {fix}")
    folder = f"{study.study.replace('/', '_')}_by_{'_and_'.join(map(_slug, values))}"
    variants: dict[str, StudyParams] = {}
    for combination in combinations:
        chosen = dict(zip(values, combination, strict=True))
        name = f"{folder}/{'_'.join(_slug(value) for value in combination)}"
        if name in variants:
            raise InputError(f"two variants are named {name!r}. Fix: give each value once.")
        written = study.model_dump(mode="json", exclude={"study", "run"})
        for key, value in chosen.items():
            _set(written, key, value)
        where = ", ".join(f"{key}={value}" for key, value in chosen.items())
        variants[name] = validate(written | {"study": name}, where)
    for name, variant in variants.items():
        short = variant.model_dump(mode="json", exclude_defaults=True)
        write_text(variant_file(name), yaml.safe_dump(short, sort_keys=False, allow_unicode=True))
    return list(variants)


def _setting(text: str) -> tuple[str, list[Any]]:
    key, _, listed = text.partition("=")
    try:
        values = yaml.safe_load(f"[{listed}]")
    except yaml.YAMLError:
        values = []
    if not key or not values:
        raise InputError(f"{text!r} is not a key with values. {FIX}")
    return key, values


def _slug(value: Any) -> str:
    """What the name of a study may hold of a key or value; stages are left out, as no two have the same recipe."""
    text = re.sub(rf"^({'|'.join(STAGES)})\.", "", str(value))
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_") or "none"


def _set(section: Any, key: str, value: Any) -> None:
    """Replaces the value of ``key`` in the values of a study; raises InputError, with the nearest key, where there is
    none.
    """
    *path, last = key.split(".")
    for number, part in enumerate([*path, last]):
        known = dict(enumerate(section)) if isinstance(section, list) else section
        if not isinstance(known, dict):
            above = ".".join(key.split(".")[:number])
            problem = f"key `{key}`: `{above}` is {known!r} and has no keys"
            raise InputError(f"{problem}. Fix: give its whole value, in braces.")
        names = {str(name): name for name in known}
        if part not in names:
            problem = f"unknown key `{key}`: no `{part}`.{did_you_mean(part, names)}"
            raise InputError(f"{problem} Expected one of: {', '.join(names)}. Fix: correct the key.")
        if number < len(path):
            section = section[names[part]]
        else:
            section[names[part]] = value


def compare_variants(names: Sequence[str]) -> pd.DataFrame:
    """The numbers of each recipe of each variant on validation: columns ``variant, recipe, metric``, and those of the
    tracked results. No number from the test split is read: choices are made on validation.
    """
    frames = []
    for name in names:
        results = read_json(report_folder(name) / "results.json", f"lesion study {name}")
        rows = [row for row in results["rows"] if row["split"] == "validation" and row["metric"] in METRICS]
        frames.append(pd.DataFrame(rows).assign(variant=name.split("/")[1]))
    rows = pd.concat(frames, ignore_index=True)
    columns = ["variant", "recipe", "metric", "value", "low", "high", "n", "lesions", "note", "leaky"]
    rows = rows.reindex(columns=columns)
    return rows.assign(leaky=rows["leaky"].eq(True), note=rows["note"].fillna(""))  # most rows have neither


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """``compare_variants`` as a table for readers: a row per variant and recipe, a column per metric."""
    shown = rows.assign(cell=[cell(row) for row in rows.to_dict("records")])
    table = shown.pivot(index=["variant", "recipe"], columns="metric", values="cell")
    order = pd.MultiIndex.from_frame(rows[["variant", "recipe"]].drop_duplicates())
    return table.reindex(order)[[metric for metric in METRICS if metric in table]].reset_index()


def choice(rows: pd.DataFrame) -> str:
    """Which variant and recipe are best on validation, and how many others are too near to be ranked against them."""
    values = rows[~rows["leaky"]].dropna(subset="value")
    metric = next((name for name in ("balanced accuracy", "accuracy") if name in set(values["metric"])), None)
    if metric is None:
        return "No variant can be ranked: none has enough cases on validation, or all are leaky."
    values = values[values["metric"] == metric]
    best = values.loc[values["value"].idxmax()]
    others = values.drop(index=best.name)
    near = int(((others["high"] >= best["low"]) & (others["low"] <= best["high"])).sum())
    return (
        f"Highest {metric} on validation: {best['variant']}, {best['recipe']}, {cell(best)}. The 95% CIs of {near} of "
        f"the {len(others)} others overlap with its 95% CI. A number that was chosen as the best of several is too "
        "high on the images that chose it."
    )


def as_text(rows: pd.DataFrame) -> str:
    return f"{cells(rows).to_string(index=False)}\n{choice(rows)}"


def write_table_and_page(study: StudyParams, names: Sequence[str], rows: pd.DataFrame) -> Path:
    """Writes ``sweep.csv`` and the page that compares the variants, in the folder of their reports; returns the page.

    Raises InputError if it cannot be written.
    """
    folder = report_folder(names[0].split("/")[0])
    with atomic_write(folder / "sweep.csv") as new:
        rows.to_csv(new, index=False)
    shown = {"study": study, "names": names, "table": cells(rows), "choice": choice(rows), "rows": rows}
    write_page(folder / INDEX, "sweep.html.j2", **shown)
    return folder / INDEX
