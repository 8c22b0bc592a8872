"""Judging a confusion matrix from a paper. Exit codes: 0 clean, 1 something was found, 2 unusable input."""

from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.checks.matrix import judge_matrix, read_case_mix
from lesion_utils.checks.parse_matrix import EXPECTED, read_matrix
from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.cli.options import Malignant, Melanoma, listed
from lesion_utils.cli.printing import finish
from lesion_utils.errors import InputError
from lesion_utils.paths import records
from lesion_utils.study import Judging

PREVALENCE = Judging().prevalence
MOST_BYTES = 1_000_000  # of pasted text
BY_IMAGE = "Intervals are 95% CIs by image: a matrix does not name lesions. Too narrow if a lesion has several images."


def matrix(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="text with one matrix of counts; -: standard input")],
    classes: Annotated[str | None, typer.Option(metavar="A,B,…", help="class names in the order of the rows")] = None,
    class_counts: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="images of each class, if the matrix has shares of rows")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="ham10000", help="compare class counts with it; names seven unnamed classes")
    ] = None,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    prevalence: Annotated[
        list[float] | None, typer.Option(metavar="P", help=f"for PPV and NPV; repeatable [{PREVALENCE:g}]")
    ] = None,
    case_mix: Annotated[
        str | None, typer.Option(metavar="ham10000|isic2018|FILE", help="also at the class frequencies of this set")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    supports: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Judge a confusion matrix copied from a paper: rows are true classes, columns are predicted."""
    with unusable_input_exits_2():
        if supports is not None:
            raise InputError(f"--supports was renamed. Fix: --class-counts {supports}")
        try:
            counts = [float(count) for count in listed(class_counts) or []] or None
        except ValueError as error:
            raise InputError(f"--class-counts {class_counts}: expected whole numbers, with commas between.") from error
        prevalences, names = prevalence or [PREVALENCE], listed(classes)
        parsed = read_matrix(_text(file))
        mix = None if case_mix is None else read_case_mix(case_mix)
        verdict = judge_matrix(parsed, names, counts, dataset, melanoma, listed(malignant), prevalences, mix)
    result = {
        "n": int(verdict.counts.to_numpy().sum()),
        "classes": list(verdict.counts.index),
        "counts": verdict.counts.to_numpy().tolist(),
        "interval": BY_IMAGE,
        **{table: records(getattr(verdict, table)) for table in ("numbers", "by_class", "predictive", "at_case_mix")},
        "case_mix": case_mix,
        "findings": verdict.findings,
        "notes": verdict.notes,
    }
    finish(result, "matrix.txt.j2", as_json, bool(verdict.findings))


def _text(file: str) -> str:
    try:
        with typer.get_binary_stream("stdin") if file == "-" else Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"{file} cannot be read ({reason}). Expected text in UTF-8 with {EXPECTED}.") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{file} is longer than {MOST_BYTES / 1e6:g} MB. Expected {EXPECTED}. Fix: paste only that.")
    return text
