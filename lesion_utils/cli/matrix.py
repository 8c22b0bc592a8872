"""Judging a confusion matrix from a paper. Exit codes: 0 clean, 1 something was found, 2 unusable input."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from lesion_utils.checks.matrix import MatrixVerdict, judge_matrix
from lesion_utils.checks.parse_matrix import EXPECTED, read_matrix
from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.cli.options import Malignant, Melanoma, listed
from lesion_utils.errors import InputError
from lesion_utils.evaluation.sentences import span
from lesion_utils.paths import records
from lesion_utils.study import Judging

MOST_BYTES = 1_000_000  # of pasted text
BY_IMAGE = "Intervals are 95 %, image-level: a matrix knows no lesions. Too narrow if a lesion has several images."
WIDEST = 64  # characters of a cell


def matrix(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="text with one matrix of counts; -: standard input")],
    classes: Annotated[str | None, typer.Option(metavar="A,B,…", help="class names in the order of the rows")] = None,
    supports: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="images of each class, where the matrix holds shares of the rows"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="ham10000", help="compare the class counts with this data set's; names seven classes without names"
        ),
    ] = None,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(metavar="P", help=f"for PPV and NPV; may be repeated. By default {Judging().prevalence:g}"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Judge a confusion matrix from a paper: rows true, columns predicted, pasted as it stands.

    Reads what numpy prints (brackets, with text around), CSV, tabs, semicolons, JSON lists and markdown tables, with or
    without class names; up to 1 MB. Prints accuracy beside its baselines, balanced accuracy, Matthews correlation,
    recall and precision by class, melanoma and malignant against the rest, PPV and NPV at other prevalences, and what
    changes how they must be read. Intervals are by image.

    \b
    Examples:
      lesion matrix matrix.txt --dataset ham10000
      lesion matrix - --classes mel,nv --prevalence 0.01 --prevalence 0.1 < matrix.csv
      lesion matrix shares.txt --supports 26,30,75,6,39,751,11 --json

    \b
    Exit codes: 0 clean; 2 unusable input; 1 if something was found:
      accuracy not shown to be above always naming the largest class
      a class of fewer than 10 images, or of none
      class counts unlike the data set's, or more images than it has
      balanced accuracy above 0.90 on HAM10000's classes: a leak is likely
      rows that all sum to 100: percentages, perhaps
    """
    with unusable_input_exits_2():
        frame = read_matrix(_text(file))
        names = listed(classes)
        try:
            counts = [float(one) for one in listed(supports) or []] or None
        except ValueError as error:
            raise InputError(f"--supports {supports}: expected whole numbers with commas between them.") from error
        verdict = judge_matrix(
            frame,
            classes=names,
            supports=counts,
            dataset=dataset,
            prevalences=prevalence or [Judging().prevalence],
            melanoma=melanoma,
            malignant=listed(malignant),
        )
    typer.echo(json.dumps(as_dict(verdict), indent=1) if as_json else harmless(as_text(verdict)))
    raise typer.Exit(1 if verdict.findings else 0)


def _text(file: str) -> str:
    """The text of ``file`` or of standard input; InputError if it is over 1 MB, cannot be read, or is no text."""
    try:
        if file == "-":
            data = typer.get_binary_stream("stdin").read(MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}). Expected a text file with {EXPECTED}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8 ({error}). Expected {EXPECTED}.") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{file} is longer than {MOST_BYTES / 1e6:g} MB. Expected {EXPECTED}. Fix: paste it alone.")
    return text


def as_dict(verdict: MatrixVerdict) -> dict[str, Any]:
    """The verdict as JSON takes it; a number that is not estimable is null."""
    tables = {"numbers": verdict.numbers, "by_class": verdict.by_class, "predictive": verdict.predictive}
    return {
        "n": int(verdict.counts.to_numpy().sum()),
        "classes": list(verdict.counts.index),
        "counts": verdict.counts.to_numpy().tolist(),
        "interval": BY_IMAGE,
        **{name: records(table) for name, table in tables.items()},
        "findings": verdict.findings,
        "notes": verdict.notes,
    }


def as_text(verdict: MatrixVerdict) -> str:
    """The verdict as a terminal shows it."""
    counts, numbers = verdict.counts, verdict.numbers
    lines = [
        f"Confusion matrix of {counts.to_numpy().sum():,} images in {len(counts)} classes, rows read as true and "
        "columns as predicted.",
        *(f"Note: {note}." for note in verdict.notes),
        BY_IMAGE,
        "",
    ]
    shown = [[row["metric"], _estimate(row), f"n = {row['n']:,}", row["note"]] for row in numbers.to_dict("records")]
    lines += aligned([["", "value (95 % interval)", "", ""], *shown])
    lines += ["", *aligned([["class", "recall", "", "precision", "", ""], *map(_class_row, _rows(verdict.by_class))])]
    lines += ["", *aligned([["", "at prevalence", "PPV", "NPV"], *map(_predictive_row, _rows(verdict.predictive))])]
    lines += [
        "",
        *([f"FOUND: {finding}." for finding in verdict.findings] or ["None of the findings listed in --help."]),
    ]
    return "\n".join(lines)


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _estimate(row: dict, name: str = "value", low: str = "low", high: str = "high") -> str:
    if np.isnan(row[name]):
        return "not estimable"
    if np.isnan(row[low]):
        return f"{row[name]:z.3f}"
    return f"{row[name]:z.3f} ({span(row[low], row[high])})"


def _class_row(row: dict) -> list[str]:
    recall, precision = (_estimate(row, name, f"{name}_low", f"{name}_high") for name in ("recall", "precision"))
    return [
        row["class"],
        recall,
        f"{row['hits']:,} of {row['n']:,}",
        precision,
        f"{row['hits']:,} of {row['predicted']:,}",
        row["note"],
    ]


def _predictive_row(row: dict) -> list[str]:
    at = f"{row['prevalence']:.3g}" + (" (this matrix)" if row["of_this_matrix"] else "")
    return [row["view"], at, *(_estimate(row, name, f"{name}_low", f"{name}_high") for name in ("ppv", "npv"))]


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines with columns of equal width."""
    short = [
        [cell if len(cell) <= WIDEST or i == len(row) - 1 else cell[: WIDEST - 1] + "…" for i, cell in enumerate(row)]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in short]
