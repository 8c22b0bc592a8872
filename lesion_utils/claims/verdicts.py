"""The claims of published systems against what was measured: one row per claim, by study and together."""

import math
import os
from typing import Any

from lesion_utils.claims import declared
from lesion_utils.claims.declared import UNCHECKED, VERDICTS, Claim, Data, Matrix, Metric, Share, Training
from lesion_utils.claims.measured import Measured, measure, measure_published
from lesion_utils.errors import InputError
from lesion_utils.evaluation.sentences import span
from lesion_utils.paths import read_json, report_folder, write_json
from lesion_utils.study import PUBLISHED, StudyParams, load_study


def judge_claims(params: StudyParams) -> list[dict[str, Any]]:
    """The claims that the study measures, one row each (``row_of``); InputError as ``measure``'s names the claim."""
    rows = []
    for claim in declared.claims_of_study(params.study):
        try:
            rows.append(row_of(claim, measure(params, claim.estimand), params.scaled_down_how))  # type: ignore[arg-type]
        except InputError as error:
            raise InputError(f"claim {claim.id}: {error}") from error
    return rows


def row_of(claim: Claim, number: Measured | None = None, scaled: str = "", why: str = "") -> dict[str, Any]:
    """The row of ``claim``, judged by ``number``, which a study measured that is ``scaled`` down (how) or not (""), or
    for which ``why`` says why there is none.

    Keys: ``id, system, source`` (text or audit), ``quote`` (the system's words, or what the audit says), ``estimand``
    and ``holds_if`` (readable), ``published, measured, low, high`` (null: none), ``n, split, scaled, leaky, runs`` (as
    in ``Measured``), ``verdict, recipe, report`` (a page, relative to the reports of published systems), ``declared``
    (before or after the results were known), ``note, declaration``, and ``why`` where there is no verdict.
    """
    estimand, verdict = claim.estimand, UNCHECKED
    value, low, high, n, note, leaky, runs = number or Measured(math.nan, math.nan, math.nan, None, claim.why or why)
    rounded = [None if math.isnan(end) else round(float(end), 4) for end in (value, low, high)]
    if number and scaled and isinstance(estimand, Metric | Training) and estimand.reference is None:
        note = f"an absolute figure, and this run is scaled down: {scaled}"
    elif number:
        verdict = declared.verdict_of(claim.region, *(math.nan if end is None else end for end in rounded[1:]))
    report = "01_eda.html" if isinstance(estimand, Data) else "05_evaluation.html"
    row = {
        **{"id": claim.id, "system": claim.id[:3], "source": "text" if claim.quote else "audit", "quote": claim.words},
        "estimand": str(estimand or "none"),
        "holds_if": _holds_if(*claim.region) if estimand else "",
        "published": claim.published,
        **dict(zip(("measured", "low", "high"), rounded, strict=True)),
        **{"n": n, "split": getattr(estimand, "split", None)},
        "scaled": bool(scaled) and not isinstance(estimand, Data),
        **{"leaky": leaky, "runs": runs, "verdict": verdict, "recipe": getattr(estimand, "recipe", None)},
        "report": claim.study and os.path.relpath(report_folder(claim.study) / report, report_folder(PUBLISHED)),
        "declared": claim.declared,
        "note": claim.note or "",
        "declaration": claim.declaration,
    }
    return row | ({"why": note} if verdict == UNCHECKED else {})


def collect_claims() -> list[dict[str, Any]]:
    """The rows of all claims in the order of the ledger: verdicts follow from today's ledger and the numbers in the
    tracked ``claims.json`` of every study. A claim that was not measured, or was changed since, says so.
    """
    claims = declared.read_ledger()
    files = [report_folder(study) / "claims.json" for study in dict.fromkeys(claim.study for claim in claims) if study]
    measurements = {row["id"]: row for file in files if file.is_file() for row in read_json(file, "")}
    return [_collected(claim, measurements.get(claim.id)) for claim in claims]


def _collected(claim: Claim, row: dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(claim.estimand, Matrix | Share):
        return row_of(claim, measure_published(claim.estimand))
    if claim.study is None:
        return row_of(claim)
    if row is None or row.get("declaration") != claim.declaration:
        changed = " since the claim was changed" if row else ""
        return row_of(claim, why=f"not run{changed}: make study STUDY={claim.study}")
    value, low, high = (math.nan if row[key] is None else row[key] for key in ("measured", "low", "high"))
    number = Measured(value, low, high, row["n"], row.get("why", ""), row["leaky"], row["runs"])
    scaled = (load_study(claim.study).scaled_down_how or "smaller when it was run") if row["scaled"] else ""
    return row_of(claim, number, scaled)


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` as pages and tables show them: with ``claim, published, here`` and ``remarks`` as text."""
    texts = []
    for row in rows:
        late = "declared after the results were known" if row["declared"] == "after" and row["holds_if"] else ""
        text = {"claim": f"“{row['quote']}”" if row["source"] == "text" else row["quote"]}
        text["published"] = "" if row["published"] is None else f"{row['published']:,.6g}"
        text["here"] = "" if row["measured"] is None else _here(row)
        texts.append(row | text | {"remarks": list(filter(None, (row.get("why"), late, row["note"])))})
    return texts


def _here(row: dict[str, Any]) -> str:
    value, low, high, runs = (row[key] for key in ("measured", "low", "high", "runs"))
    number = f"{value:,.0f}" if value == round(value) else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"
    details = [
        "no interval" if low is None else f"95% CI {span(low, high)}" if low != high else "",
        "" if row["n"] is None else f"n = {row['n']:,}",
        "leaky" if row["leaky"] else "",
        "scaled-down" if row["scaled"] else "",
        "one run per arm" if runs == 1 else f"{runs} runs per arm" if runs else "",
    ]
    return f"{number} ({'; '.join(filter(None, details))})" if any(details) else number


def _holds_if(low: float, high: float) -> str:
    if math.isinf(low) or math.isinf(high):
        return f"holds if at least {low:.5g}" if math.isinf(high) else f"holds if at most {high:.5g}"
    return f"holds if {low:.5g}" if low == high else f"holds if from {low:.5g} to {high:.5g}"


def summary(rows: list[dict[str, Any]]) -> str:
    """How many claims there are of each verdict, in words."""
    counts = [sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS]
    return "{} claims: {} hold, {} do not hold, {} are undecided, {} cannot be checked here".format(len(rows), *counts)


def write_claims(params: StudyParams, rows: list[dict[str, Any]]) -> None:
    """Writes rows of ``judge_claims``, if there are any, as ``claims.json`` among the study's reports."""
    if rows:
        write_json(report_folder(params.study) / "claims.json", rows)
