"""The claims of published systems against what was measured: a row a claim, by study and together."""

import collections
import math
import os
from typing import Any

from lesion_utils.claims import declared as ledger
from lesion_utils.claims import measured as estimands
from lesion_utils.claims.declared import Claim, Data, Matrix, Nothing, Share, verdict_of
from lesion_utils.claims.measured import Measured
from lesion_utils.errors import InputError
from lesion_utils.evaluation.sentences import span
from lesion_utils.paths import read_json, report_folder, write_json
from lesion_utils.study import CLAIMS, PUBLISHED, StudyParams

NO_NUMBER = Measured(math.nan, math.nan, math.nan, None)
VERDICTS = (ledger.HOLDS, ledger.FAILS, ledger.UNDECIDED, ledger.UNCHECKED)


def measure(params: StudyParams) -> list[dict[str, Any]]:
    """The claims that the study measures, a row each, in the order of the ledger; empty where there are none.

    Keys: ``id, system, source, quote`` (the system's words, or what the audit states), ``estimand`` and ``holds_if``
    (readable), ``published, measured, low, high`` (null: none), ``n, split, scaled`` (whether the training was scaled
    down), ``leaky`` (whether a model knew lesions or images that it was judged on), ``trainings`` (of each recipe),
    ``verdict, recipe, report`` (a page, relative to the reports of published systems), ``declared`` (before or after
    results were known), ``note`` (what else to know), and ``why`` where there is no verdict. Raises InputError, naming
    the claim, as ``estimands.of_study`` does.
    """
    rows = []
    for claim in ledger.of_study(params.study):
        try:
            found = estimands.of_study(params, claim.estimand)  # type: ignore[arg-type]  # those of a study
        except InputError as error:
            raise InputError(f"claim {claim.id}: {error}") from error
        rows.append(row_of(claim, found, params.scaled_down_how))
    return rows


def row_of(claim: Claim, found: Measured, scaled: str = "", why: str = "") -> dict[str, Any]:
    """The row of ``claim``, as in ``measure``, from what was ``found`` in a study that is ``scaled`` down or not.

    ``why`` says that nothing was measured, and why.
    """
    estimand = claim.estimand
    numbers = {"measured": found.value, "low": found.low, "high": found.high}
    verdict = ledger.UNCHECKED
    if isinstance(estimand, Nothing):
        why = str(claim.why)
    elif not why and claim.absolute and scaled:
        why = f"{ledger.SCALED}: {scaled}"
    elif not why:
        verdict = verdict_of(claim.region, found.low, found.high)
        why = found.note if verdict == ledger.UNCHECKED else ""
    row = {
        "id": claim.id,
        "system": claim.system,
        "source": claim.source,
        "quote": claim.words,
        "estimand": str(estimand),
        "holds_if": "" if isinstance(estimand, Nothing) else _within(claim.region),
        "published": claim.published,
        **{name: None if math.isnan(value) else round(float(value), 4) for name, value in numbers.items()},
        "n": found.n,
        "split": getattr(estimand, "split", None),
        "scaled": bool(scaled) and not isinstance(estimand, Data),
        "leaky": found.leaky,
        "trainings": found.trainings,
        "verdict": verdict,
        "recipe": getattr(estimand, "recipe", None),
        "report": _page(claim),
        "declared": claim.declared,
        "note": claim.note or "",
    }
    return row | ({"why": why} if why else {})


def write(params: StudyParams, rows: list[dict[str, Any]]) -> None:
    """Writes ``rows`` of ``measure`` as ``claims.json`` among the study's reports; nothing where there are none."""
    if rows:
        write_json(report_folder(params.study) / "claims.json", rows)


def gather() -> list[dict[str, Any]]:
    """The rows of all claims, in the order of the ledger: of the studies that were run, and those that need none.

    Writes them as ``claims.json`` among the reports of published systems, with ``results.json``, a list of the results
    of all published studies. A claim of a study that was not run, or not since the claim was
    changed, says so.
    """
    claims = ledger.read_ledger()
    measured: dict[str, dict[str, Any]] = {}
    for study in dict.fromkeys(claim.study for claim in claims if claim.study):
        if (path := report_folder(study) / "claims.json").is_file():
            measured |= {row["id"]: row for row in read_json(path, "")}
    rows = [_gathered(claim, measured.get(claim.id)) for claim in claims]
    studies = [f"{PUBLISHED}/{path.stem}" for path in sorted(CLAIMS.parent.glob("*.yml")) if path != CLAIMS]
    results = [read_json(path, "") for study in studies if (path := report_folder(study) / "results.json").is_file()]
    write_json(report_folder(PUBLISHED) / "claims.json", rows)
    write_json(report_folder(PUBLISHED) / "results.json", results)
    return rows


def _gathered(claim: Claim, measured: dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(claim.estimand, Matrix):
        return row_of(claim, estimands.of_matrix(claim.estimand))
    if isinstance(claim.estimand, Share):
        return row_of(claim, estimands.of_share(claim.estimand))
    if isinstance(claim.estimand, Nothing):
        return row_of(claim, NO_NUMBER)
    if measured is None:
        return row_of(claim, NO_NUMBER, why=f"not run: make study STUDY={claim.study}")
    declared = row_of(claim, NO_NUMBER, why="-")
    told = ("quote", "estimand", "holds_if", "published")
    if declared.keys() - measured.keys() - {"why"} or any(declared[key] != measured[key] for key in told):
        return declared | {"why": f"not run since the claim was changed: make study STUDY={claim.study}"}
    return measured | {key: declared[key] for key in ("declared", "note")}


def claims_table(rows: list[dict[str, Any]]) -> str:
    """The table of claims for the README: a line a claim, and before it how many there are of each verdict."""
    lines = [f"{summary(rows)}.", "", "| system | claim | what was measured | published | here | verdict |"]
    lines.append("|---" * 6 + "|")
    for row in rows:
        said = f'"{row["quote"]}"' if row["source"] == "text" else row["quote"]
        verdict = f"**{row['verdict']}**" + (f": {row['why']}" if row.get("why") else "")
        verdict += "".join(f"; {remark}" for remark in remarks(row))
        cells = (row["system"], said, _told(row), stated(row["published"]), here(row), verdict)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> str:
    """How many claims there are of each verdict, in words."""
    counts = collections.Counter(row["verdict"] for row in rows)
    return f"{len(rows)} claims: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def stated(value: float | None) -> str:
    """A published number as it was stated; nothing for none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) else f"{value:.6g}"


def number(value: float) -> str:
    """A measured number as short as a table needs it."""
    return f"{value:,.0f}" if value == round(value) else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def here(row: dict[str, Any]) -> str:
    """What was measured, with its interval and n."""
    if row["measured"] is None:
        return ""
    told = [f"n = {row['n']:,}"] if row["n"] is not None else []
    told += [word for word, there in (("leaky", row["leaky"]), ("scaled-down run", row["scaled"])) if there]
    if row["trainings"]:
        told.append("one training each" if row["trainings"] == 1 else f"{row['trainings']} trainings each")
    if row["low"] is None:
        told.insert(0, "no interval")
    elif row["low"] != row["high"]:
        told.insert(0, span(row["low"], row["high"]))
    return number(row["measured"]) + (f" ({'; '.join(told)})" if told else "")


def remarks(row: dict[str, Any]) -> list[str]:
    """What else to know when a verdict is read."""
    late = ["declared after the results were known"] if row["declared"] == "after" and row["holds_if"] else []
    return late + ([row["note"]] if row["note"] else [])


def _told(row: dict[str, Any]) -> str:
    return f"{row['estimand']}; {row['holds_if']}" if row["holds_if"] else ""


def _within(region: tuple[float, float]) -> str:
    low, high = (f"{end:.5g}" for end in region)
    if math.isinf(region[1]):
        return f"holds if at least {low}"
    if math.isinf(region[0]):
        return f"holds if at most {high}"
    return f"holds if {low}" if low == high else f"holds if from {low} to {high}"


def _page(claim: Claim) -> str | None:
    """The page that shows what is measured, relative to the reports of published systems."""
    if claim.study is None:
        return None
    page = "01_eda.html" if isinstance(claim.estimand, Data) else "05_evaluation.html"
    return os.path.relpath(report_folder(claim.study) / page, report_folder(PUBLISHED))
