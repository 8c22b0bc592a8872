"""The claims of published systems against what was measured: one row per claim, by study and together."""

import itertools
import math
import os
from typing import Any

import pandas as pd

from lesion_utils import predictions
from lesion_utils.claims import declared
from lesion_utils.claims.declared import KINDS, VERDICTS, Claim, Data, Matrix, Metric, Share, Training
from lesion_utils.claims.measured import Measured, StudyTables, measure_published
from lesion_utils.claims.results import log_test_reads
from lesion_utils.claims.rules import decide
from lesion_utils.errors import InputError
from lesion_utils.evaluation.bootstrap import LEVEL
from lesion_utils.evaluation.sentences import runs_per_arm
from lesion_utils.paths import read_json, reading, report_folder, write_json
from lesion_utils.rounding import as_written, number, span, with_interval
from lesion_utils.study import PUBLISHED, StudyParams, load_study


def judge_claims(params: StudyParams) -> list[dict[str, Any]]:
    """The claims that the study measures, one row each (``row_of``); an InputError of ``measure`` names the claim."""
    claims, tables, rows = declared.claims_of_study(params.study), StudyTables(params), []
    for claim in claims:
        try:
            number = tables.measure(claim.estimand, claim.region)  # type: ignore[arg-type]
            commits = _trained_at(params, claim)
        except InputError as error:
            raise InputError(f"claim {claim.id}: {error}") from error
        row = row_of(claim, number, params.scaled_down_how) | {"trained_at": commits}
        if any(declared.is_declared_at(commit, claim) is False for commit in commits):
            row["declared"] = "after"
        rows.append(row)
    if claims:
        log_test_reads(params, "claims judged")
    return decide(claims, rows)


def _trained_at(params: StudyParams, claim: Claim) -> list[str]:
    """The commits of the code that trained the models which ``claim`` is about."""
    if isinstance(claim.estimand, Data):
        return []
    recipes = [getattr(claim.estimand, key) for key in ("recipe", "reference")]
    runs = [(name, run) for name in recipes if name for run in range(params.runs)]
    made = [predictions.read_provenance(params, name, "validation", run) for name, run in runs]
    return sorted({provenance.get("commit", "unknown") for provenance in made})


def row_of(claim: Claim, number: Measured | None = None, scaled: str = "", why: str = "") -> dict[str, Any]:
    """The row of ``claim`` with ``number``, which a study measured that is ``scaled`` down (how) or not (""), or
    for which ``why`` says why there is none; ``decide`` adds the verdict.

    Keys: ``id, system, about`` (its kind), ``below, source`` (text or audit), ``quote`` (the system's words, or what
    the audit says), ``estimand`` and ``holds_if`` (readable), ``region`` (its ends; null: no end), ``published,
    measured, low, high`` (null: none), ``n, split, scaled, leaky, runs, barred, p_holds, p_fails`` (as in
    ``Measured``), ``recipe, report`` (a page, relative to the reports of published systems), ``declared`` (before or
    after the results were known), ``note, declaration``, and ``why``, the reason for a missing number. Numbers of
    models that learnt nothing and absolute figures of scaled-down runs are left out: they could mislead.
    """
    estimand = claim.estimand
    found = number or Measured(math.nan, math.nan, math.nan, None, claim.why or why)
    if scaled and isinstance(estimand, Metric | Training) and estimand.reference is None and found.runs:
        found = found._replace(barred=f"an absolute figure, and this run is scaled down: {scaled}", hidden=True)
    ends = (math.nan,) * 3 if found.hidden else (found.value, found.low, found.high)
    exact = [None if math.isnan(end) else round(float(end), 12) for end in ends]  # but for noise
    report = "01_eda.html" if isinstance(estimand, Data) else "05_evaluation.html"
    row = {
        **{"id": claim.id, "system": claim.id[:3], "about": claim.about, "below": claim.below},
        **{"source": "text" if claim.quote else "audit", "quote": claim.words},
        "estimand": str(estimand or "none"),
        "holds_if": _holds_if(*claim.region) if estimand else "",
        "region": [None if math.isinf(end) else round(end, 12) for end in claim.region] if estimand else [],
        "published": claim.published,
        **dict(zip(("measured", "low", "high"), exact, strict=True)),
        **{"n": found.n, "split": getattr(estimand, "split", None)},
        "scaled": bool(scaled) and not isinstance(estimand, Data),
        **{"leaky": found.leaky, "runs": found.runs, "recipe": getattr(estimand, "recipe", None)},
        **{"barred": found.barred, "p_holds": found.p_holds, "p_fails": found.p_fails},
        "report": claim.study and os.path.relpath(report_folder(claim.study) / report, report_folder(PUBLISHED)),
        "declared": claim.declared,
        "note": claim.note or "",
        "declaration": claim.declaration,
    }
    return row | ({"why": found.note} if found.note else {})


def collect_claims() -> list[dict[str, Any]]:
    """The rows of all claims in the order of the ledger: verdicts follow from today's ledger and the numbers in the
    tracked ``claims.json`` of every study. A claim that was not measured, or was changed since, says so.
    """
    claims = declared.read_ledger()
    rows = []
    for study, of in itertools.groupby(claims, lambda claim: claim.study):
        file = report_folder(study or "") / "claims.json"
        fix = f"git checkout -- {file}, or make study STUDY={study}"
        measured = read_json(file, fix, []) if study else []
        with reading(file, fix):
            by_id = {row["id"]: row for row in measured}
            rows += [_collected(claim, by_id.get(claim.id)) for claim in of]
    return decide(claims, rows)


def _collected(claim: Claim, row: dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(claim.estimand, Matrix | Share):
        return row_of(claim, measure_published(claim.estimand))
    if claim.study is None:
        return row_of(claim)
    if row is None or row.get("declaration") != claim.declaration:
        changed = " since the claim was changed" if row else ""
        return row_of(claim, why=f"not run{changed}: make study STUDY={claim.study} DATA=<folder>")
    value, low, high = (math.nan if row[key] is None else row[key] for key in ("measured", "low", "high"))
    own = {name: row[name] for name in ("leaky", "runs", "barred", "p_holds", "p_fails") if name in row}
    number = Measured(value, low, high, row["n"], "" if row.get("barred") else row.get("why", ""), **own)
    scaled = (load_study(claim.study).scaled_down_how or "smaller when it was run") if row["scaled"] else ""
    return row_of(claim, number, scaled) | {key: row[key] for key in ("trained_at", "declared") if "trained_at" in row}


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` as pages and tables show them: with ``claim, published, here`` and ``remarks`` as text."""
    texts = []
    for row in rows:
        late = "declared after the results were known" if row["declared"] == "after" and row["holds_if"] else ""
        text = {"claim": f"“{row['quote']}”" if row["source"] == "text" else row["quote"]}
        text["published"] = "" if row["published"] is None else as_written(row["published"])
        text |= _measured(row)
        texts.append(row | text | {"remarks": list(filter(None, (row.get("why", ""), late, row["note"])))})
    return texts


def claims_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """``rows`` as one table for readers, a line per claim."""
    names = {"claim": "claim", "estimand": "measured here as", "holds_if": "rule", "published": "published"}
    names |= {"here": "measured here", "verdict": "verdict", "remarks": "remarks"}
    table = pd.DataFrame(shown(rows), columns=["id", *names]).set_index("id").rename(columns=names)
    return table.assign(remarks=["; ".join(remarks) for remarks in table["remarks"]])


def _measured(row: dict[str, Any]) -> dict[str, str]:
    """``number``, with the digits that decide the verdict, ``precision`` (its 95% CI and n), and both as ``here``;
    ``with_ci`` for sentences, and ``size``, the same without the sign of a number that is clearly below 0.
    """
    value, low, high, runs = (row[key] for key in ("measured", "low", "high", "runs"))
    if value is None:
        return dict.fromkeys(("number", "precision", "here", "with_ci", "size"), "")
    sampled, edges = low is not None and low != high, [end for end in row["region"] if end is not None]
    if row["verdict"] in (declared.REPRODUCED, declared.DIFFERS):  # judged by the number alone
        shown, edges = number(value, edges=edges), []
    else:
        shown = number(value, low, high, edges) if sampled else number(value, edges=edges)
    size = "" if row["n"] is None else f"n = {row['n']:,}"
    interval = "no interval" if low is None else f"95% CI {span(low, high, edges)}" if sampled else ""
    details = [
        *(interval, size, "leaky" if row["leaky"] else "", "scaled-down" if row["scaled"] else ""),
        runs_per_arm(runs) if runs else "",
        f"Holm-adjusted p = {number(row['p'], edges=[1 - LEVEL])} of {row['family']}" if row["p"] is not None else "",
    ]
    here = "; ".join(filter(None, details))
    return {
        "number": shown,
        "precision": "; ".join(filter(None, details[:2])),
        "here": f"{shown} ({here})" if here else shown,
        "with_ci": (with_ci := with_interval(value, low, high, edges)),
        "size": with_interval(-value, -high, -low, [-edge for edge in edges]) if sampled and high < 0 else with_ci,
    }


def _holds_if(low: float, high: float) -> str:
    if math.isinf(low) or math.isinf(high):
        return f"holds if at least {as_written(low)}" if math.isinf(high) else f"holds if at most {as_written(high)}"
    return f"holds if {as_written(low)}" if low == high else f"holds if from {as_written(low)} to {as_written(high)}"


def counts(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many primary measurements of each kind (a key of ``KINDS``) have each verdict. Those below another are not
    counted.
    """
    primary = [(row["about"], row["verdict"]) for row in rows if row["below"] is None]
    return {kind: {verdict: primary.count((kind, verdict)) for verdict in VERDICTS} for kind in KINDS}


def ledger(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What pages of all claims show: ``rows`` as of ``shown``; of these the published ``figures``, and the others by
    system and kind in ``systems``; ``kinds`` in words; and ``counts``.
    """
    texts = shown(rows)
    figures = [row for row in texts if row["verdict"] in (declared.REPRODUCED, declared.DIFFERS)]
    systems: dict[str, dict[str, list]] = {}
    for kind, row in itertools.product(KINDS, (row for row in texts if row not in figures)):
        if row["about"] == kind:
            systems.setdefault(row["system"], {}).setdefault(kind, []).append(row)
    systems = dict(sorted(systems.items()))
    return {"rows": texts, "figures": figures, "systems": systems, "kinds": KINDS, "counts": counts(rows)}


def summary(rows: list[dict[str, Any]]) -> str:
    """``counts`` in words."""
    texts = {}
    for kind, of in counts(rows).items():
        texts[KINDS[kind]] = ", ".join(f"{verdict} {count}" for verdict, count in of.items() if count) or "none"
    return "; ".join(f"{kind}: {text}" for kind, text in texts.items())


def write_claims(params: StudyParams, rows: list[dict[str, Any]]) -> None:
    """Writes rows of ``judge_claims``, if there are any, as ``claims.json`` among the study's reports."""
    if rows:
        write_json(report_folder(params.study) / "claims.json", rows)
