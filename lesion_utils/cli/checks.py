"""Checks of other people's results: confusion matrices, prediction tables, splits."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lesion_utils.checks.columns import read_truth
from lesion_utils.checks.compare import COMPARED_LOSSES, Comparison, compare_predictions, difference_cells
from lesion_utils.checks.matrix import judge_matrix, other_way, read_case_mix
from lesion_utils.checks.parse_matrix import EXPECTED, read
from lesion_utils.checks.parse_report import EXPECTED as EXPECTED_SCORES
from lesion_utils.checks.parse_report import read_figures
from lesion_utils.checks.predictions import METADATA, read_metadata, read_predictions
from lesion_utils.checks.read_split import files_of
from lesion_utils.checks.report import judge_report
from lesion_utils.checks.score import Score, as_dict, estimate_cells, in_words
from lesion_utils.checks.score import score as score_table
from lesion_utils.checks.split import leakcheck as check_split
from lesion_utils.cli.common import (
    Json,
    Malignant,
    Melanoma,
    finish,
    harmless,
    listed,
    refuse_page,
    unusable_input_exits_2,
)
from lesion_utils.errors import InputError
from lesion_utils.paths import records
from lesion_utils.predictions import labelled
from lesion_utils.study import Judging
from lesion_utils.tables import encoding_of, read_table

JUDGING = Judging()
MOST_BYTES = 1_000_000  # of a pasted matrix
BY_IMAGE = "Intervals are 95% CIs by image: a matrix does not name lesions. Too narrow if a lesion has several images."
EXAMPLES = 3  # shown of each kind of link


def matrix(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="text with one matrix of counts; -: standard input")],
    rows: Annotated[
        str | None, typer.Option(metavar="true|predicted", help="what the rows are, if the text does not say it")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="A,B,…", help="class names in the order of the rows")] = None,
    class_counts: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="images of each class, if the matrix may hold shares")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="ham10000", help="compare class counts with it; names seven unnamed classes")
    ] = None,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    prevalence: Annotated[
        list[float] | None, typer.Option(metavar="P", help=f"for PPV and NPV; repeatable [{JUDGING.prevalence:g}]")
    ] = None,
    case_mix: Annotated[
        str | None, typer.Option(metavar="ham10000|isic2018|FILE", help="also at the class frequencies of this set")
    ] = None,
    as_json: Json = False,
    supports: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    with unusable_input_exits_2():
        if supports is not None:
            raise InputError(f"--supports was renamed. Fix: --class-counts {supports}")
        try:
            counts = [float(count) for count in listed(class_counts) or []] or None
        except ValueError as error:
            raise InputError(f"--class-counts {class_counts}: expected whole numbers, with commas between.") from error
        prevalences, names = prevalence or [JUDGING.prevalence], listed(classes)
        reading = read(_text(file, EXPECTED), rows)
        options: dict[str, Any] = {
            "classes": names,
            "class_counts": counts,
            "dataset": dataset,
            "prevalences": prevalences,
        }
        options |= {"melanoma": melanoma, "malignant": listed(malignant)}
        options |= {"case_mix": None if case_mix is None else read_case_mix(case_mix)}
        verdict = judge_matrix(reading.matrix, **options)
        other = "" if reading.side.is_sure else other_way(reading.matrix, verdict, **options)
    result = {
        "n": int(verdict.counts.to_numpy().sum()),
        "classes": list(verdict.counts.index),
        "counts": verdict.counts.to_numpy().tolist(),
        "read": str(reading.side),
        "interval": BY_IMAGE,
        **{table: records(getattr(verdict, table)) for table in ("numbers", "by_class", "predictive", "at_case_mix")},
        "case_mix": case_mix,
        "findings": verdict.findings,
        "notes": [*filter(None, [other]), *verdict.notes],
    }
    finish(result, "matrix.txt.j2", as_json, int(bool(verdict.findings)))


def report(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="text with the scores; -: standard input")],
    class_counts: Annotated[
        str | None,
        typer.Option(metavar="A=N,…|N,…", help="images of each class; without names by order"),
    ] = None,
    as_json: Json = False,
) -> None:
    with unusable_input_exits_2():
        printed = read_figures(_text(file, EXPECTED_SCORES), _counts(class_counts))
        verdict = judge_report(printed)
    result = {
        "n": verdict.n,
        "figures": [str(figure) for figure in printed.figures],
        "by_class": records(verdict.by_class.reset_index()),
        "overall": records(verdict.overall.reset_index()),
        **{name: getattr(verdict, name) for name in ("impossible", "findings", "notes")},
        "interval": BY_IMAGE,
    }
    finish(result, "report.txt.j2", as_json, int(bool(verdict.findings)))


def _counts(option: str | None) -> dict[str, int] | list[int] | None:
    """``--class-counts`` as ``mel=55,nv=257``, or as numbers in the order of the classes."""
    named = [each.rpartition("=") for each in listed(option) or []]
    try:
        numbers = [int(number) for _, _, number in named]
    except ValueError:
        numbers = [-1]
    names = [name.strip() for name, _, _ in named if name.strip()]
    if any(number < 0 for number in numbers) or len(names) not in (0, len(named)) or len(set(names)) < len(names):
        raise InputError(f"--class-counts {option}: expected whole numbers with commas between, as mel=55,nv=257.")
    return dict(zip(names, numbers, strict=True)) if names else numbers or None


def _text(file: str, expected: str) -> str:
    try:
        with typer.get_binary_stream("stdin") if file == "-" else Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        text = data.decode(encoding_of(data))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"{file} cannot be read ({reason}). Expected text in UTF-8 with {expected}.") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{file} is longer than {MOST_BYTES / 1e6:g} MB. Expected {expected}. Fix: paste only that.")
    return text


def score(
    predictions: Annotated[Path, typer.Argument(help="CSV, a row per image: image_id, label, p_<class>… or predicted")],
    validation: Annotated[Path | None, typer.Option(help="validation table, to choose the threshold")] = None,
    metadata: Annotated[Path | None, typer.Option(help=f"CSV of {METADATA}")] = None,
    truth: Annotated[Path | None, typer.Option(help="CSV of the true classes, if the table has none")] = None,
    image_id: Annotated[str | None, typer.Option(metavar="COLUMN", help="if its name is not usual")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="of the true class")] = None,
    predicted: Annotated[str | None, typer.Option(metavar="COLUMN", help="of the predicted class")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page for clinicians; it needs no network")] = None,
    as_json: Json = False,
    prevalence: Annotated[
        float, typer.Option(metavar="P", help="of the disease, for PPV and NPV")
    ] = JUDGING.prevalence,
    specificity: Annotated[float, typer.Option(metavar="S", help="of the operating point")] = JUDGING.specificity,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    resamples: Annotated[int, typer.Option(min=100, help="bootstrap draws for a 95% CI")] = 2000,
) -> None:
    with unusable_input_exits_2():
        for option, share in (("--prevalence", prevalence), ("--specificity", specificity)):
            if not 0 < share < 1:
                raise InputError(f"{option} {share:g}: expected a number between 0 and 1.")
        refuse_page(html, predictions, validation, metadata, truth)
        cases = None if metadata is None else read_metadata(metadata)
        names = _asked(image_id=image_id, label=label, predicted=predicted)
        judged = score_table(
            read_predictions(predictions, cases, names, None if truth is None else read_truth(truth)),
            None if validation is None else read_predictions(validation, cases, names),
            cases,
            melanoma=melanoma,
            malignant=listed(malignant),
            options=Judging(prevalence=prevalence, specificity=specificity),
            resamples=resamples,
        )
        shown = {"score": judged, "name": harmless(predictions.name), "cells": estimate_cells} | in_words(judged)
        if html:
            from lesion_utils.rendering import write_page

            write_page(html, "score.html.j2", **shown, figure=_diagram(judged))
    finish(as_dict(judged), "score.txt.j2", as_json, int(bool(judged.findings)), **shown)


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A.csv|STUDY/RECIPE", help="prediction table, as of `lesion score`, or a recipe")
    ],
    second: Annotated[Path, typer.Argument(metavar="B.csv|STUDY/RECIPE", help="of the same images")],
    split: Annotated[
        Literal["validation", "test"], typer.Option(help="of a recipe whose study has run; its first run is taken")
    ] = "test",
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="what is drawn for the CIs, as patient_id [lesion_id]")
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help=f"CSV of {METADATA}")] = None,
    truth: Annotated[Path | None, typer.Option(help="CSV of the true classes, if the tables have none")] = None,
    image_id: Annotated[str | None, typer.Option(metavar="COLUMN", help="if its name is not usual")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="of the true class")] = None,
    predicted: Annotated[str | None, typer.Option(metavar="COLUMN", help="of the predicted class")] = None,
    common: Annotated[bool, typer.Option("--common", help="compare the images of both; leave out others")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page with a figure; it needs no network")] = None,
    as_json: Json = False,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    resamples: Annotated[int, typer.Option(min=100, help="bootstrap draws for a 95% CI")] = 2000,
) -> None:
    with unusable_input_exits_2():
        refuse_page(html, first, second, metadata, truth)
        cases = None if metadata is None else read_metadata(metadata)
        names = _asked(image_id=image_id, label=label, predicted=predicted, lesion_id=by)
        labels = None if truth is None else read_truth(truth)
        files = [_file_of(path, split) for path in (first, second)]
        tables = [read_predictions(path, cases, names, labels) for path in files]
        called = [path.name if first.name != second.name else str(path) for path in (first, second)]
        found = compare_predictions(
            tables[0],
            tables[1],
            (harmless(called[0]), harmless(called[1])),
            cases,
            melanoma,
            listed(malignant),
            resamples=resamples,
            unit=by or "lesion",
            common=common,
        )
        shown = {"found": found, "difference": difference_cells, "losses": COMPARED_LOSSES}
        if html:
            from lesion_utils.rendering import write_page

            write_page(html, "compare.html.j2", **shown, figure=_differences(found))
    finish(found.as_dict(), "compare.txt.j2", as_json, 0, **shown)


def _file_of(given: Path, split: str) -> Path:
    """The prediction table that is ``given`` by its path, by the folder of a training, or as STUDY/RECIPE."""
    from lesion_utils.tracked import tracked_folder

    folder = given if given.is_dir() else tracked_folder(given.parent.as_posix()) / given.name
    if given.is_file() or not folder.is_dir():
        return given
    found = [path for path in (folder / f"{split}.csv.gz", folder / "r0" / f"{split}.csv.gz") if path.is_file()]
    if not found:
        raise InputError(f"{folder} has no table of the {split} split. Fix: --split with another, or run its study.")
    return found[0]


def _asked(**options: str | None) -> dict[str, str]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _diagram(score: Score) -> str:
    """The reliability diagram as the address of an image that is inside the page; "" without probabilities."""
    from lesion_utils.figures import reliability_diagram  # slow

    if not score.reliability:
        return ""
    return _inside(reliability_diagram(score.reliability, labelled("Stated and observed", score.table.leaky)))


def _differences(found: Comparison) -> str:
    from lesion_utils.figures import intervals  # slow

    rows = found.numbers[found.numbers["value"].notna() & (found.numbers["metric"] != "difference in log loss")]
    title = f"{found.names[1]} less {found.names[0]}"
    return _inside(intervals(rows.assign(name=rows.index), "name", "difference", title, zero=True))


def _inside(figure: Any) -> str:
    """A figure as the address of an image that is inside a page."""
    import matplotlib.pyplot as plt  # slow

    buffer = BytesIO()
    with plt.rc_context({"svg.hashsalt": "score"}):  # the same page from the same table
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def leakcheck(
    split: Annotated[
        list[Path], typer.Argument(metavar="SPLIT.csv…", help="a row per image; or one file per part, or their folder")
    ],
    images: Annotated[Path | None, typer.Option(help="folder of <image_id>.jpg, to compare pictures, too")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV with image_id and lesion_id, if SPLIT.csv has none")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, with every linked image")] = False,
    melanoma: Melanoma = None,
    image_id: Annotated[str | None, typer.Option(metavar="COLUMN", help="if its name is not usual")] = None,
    lesion_id: Annotated[str | None, typer.Option(metavar="COLUMN", help="of what a split must not divide")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="of the class; need not exist")] = None,
    split_column: Annotated[
        str | None, typer.Option("--split", metavar="COLUMN", help="of parts, or of folds, if its name is not usual")
    ] = None,
    train: Annotated[str | None, typer.Option(metavar="NAME", help="of training in that column, if not usual")] = None,
    validation: Annotated[str | None, typer.Option(metavar="NAME", help="may be absent")] = None,
    test: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    threads: Annotated[int, typer.Option(min=1, help="threads that open pictures")] = 2,
) -> None:
    with unusable_input_exits_2():
        names = _asked(image_id=image_id, split=split_column, lesion_id=lesion_id, label=label)
        names |= _asked(train=train, validation=validation, test=test)
        expected = f"{image_id or 'image_id'}, {lesion_id or 'lesion_id'} (where lesions are known), {label or 'dx'}"
        where = ", ".join(path.name for path in split)
        if len(split) > 1 or split[0].is_dir():
            tables = {part: read_table(file, expected) for part, file in files_of(split).items()}
            check = check_split(tables, images, names, melanoma, threads, where, metadata)
        else:
            table = read_table(split[0], f"{expected}, {split_column or 'split'}")
            check = check_split(table, images, names, melanoma, threads, split[0], metadata)
    finish(check.as_dict(), "leakcheck.txt.j2", as_json, check.exit_code, name=where, examples=EXAMPLES)
