"""Judging somebody's prediction table. Exit codes: 0 clean, 1 something was found, 2 unusable input."""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from lesion_utils.checks.predictions import read_metadata, read_predictions
from lesion_utils.checks.score import Score, as_dict, counted, estimate_cells, missed_counts
from lesion_utils.checks.score import score as score_table
from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.cli.options import Malignant, Melanoma, listed
from lesion_utils.cli.printing import text_table
from lesion_utils.errors import InputError
from lesion_utils.evaluation.calibration import calibration_sentence
from lesion_utils.evaluation.subgroups import groups_caveat
from lesion_utils.study import Judging

DEFAULTS = Judging()


def score(
    predictions: Annotated[Path, typer.Argument(help="CSV, a row an image: image_id, label, p_<class>… or predicted")],
    validation: Annotated[
        Path | None, typer.Option(help="such a table of the validation images: the operating point is chosen there")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV with image_id, and lesion_id, age, sex, localization, source where known")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page for clinicians; it needs no network")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    prevalence: Annotated[float, typer.Option(metavar="P", help="for PPV and NPV")] = DEFAULTS.prevalence,
    specificity: Annotated[
        float, typer.Option(metavar="S", help="that the operating point is chosen to have")
    ] = DEFAULTS.specificity,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    resamples: Annotated[int, typer.Option(min=100, help="bootstrap draws behind an interval")] = 2000,
) -> None:
    """Judge a prediction table, ours or anybody's: every number with its interval, by lesion where known.

    Columns: image_id; label; p_<class> for each class, from 0 to 1 and summing to 1 in a row, or else predicted;
    lesion_id where it is known (without it, or where each image has its own, intervals may be too narrow, and the
    output says so); age, sex, localization,
    source and skin_tone for the table of subgroups. docs/prediction_table.md has the details.

    Without --validation the operating point is chosen on the images that are judged, and called optimistic.

    \b
    Examples:
      lesion score test.csv --validation validation.csv --html page.html
      lesion score test.csv --metadata HAM10000_metadata.csv --prevalence 0.01
      lesion score test.csv --melanoma malignant_melanoma --malignant malignant_melanoma,carcinoma --json

    \b
    Exit codes: 0 clean; 2 unusable input; 1 if something was found:
      accuracy not shown to be above always naming the largest class
      AUC of melanoma not shown to be above 0.5
      balanced accuracy above 0.90 on HAM10000's classes: a leak is likely
      a table that is marked leaky
      validation and test that share lesions or images
      a lesion with images under more than one label
    """
    with unusable_input_exits_2():
        for name, share in (("--prevalence", prevalence), ("--specificity", specificity)):
            if not 0 < share < 1:
                raise InputError(f"{name} {share:g}: expected a number between 0 and 1.")
        if html and (html.is_dir() or not html.resolve().parent.is_dir()):
            raise InputError(f"--html {html}: expected the name of a file in a folder that there is.")
        if html and html.resolve() in [path.resolve() for path in (predictions, validation, metadata) if path]:
            raise InputError(f"--html {html} is one of the tables that are read. Fix: give the page another name.")
        name = harmless(predictions.name)
        cases = None if metadata is None else read_metadata(metadata)
        judged = score_table(
            read_predictions(predictions, cases),
            None if validation is None else read_predictions(validation, cases),
            cases,
            melanoma=melanoma,
            malignant=listed(malignant),
            options=Judging(prevalence=prevalence, specificity=specificity),
            resamples=resamples,
        )
        if html:
            from lesion_utils.checks.score_page import page_values  # imports matplotlib
            from lesion_utils.reports import write_page

            write_page(html, "score.html.j2", **page_values(judged, name))
    typer.echo(json.dumps(as_dict(judged), indent=1) if as_json else harmless(as_text(judged, name)))
    raise typer.Exit(1 if judged.findings else 0)


def as_text(score: Score, name: str) -> str:
    """The score as a terminal shows it."""
    sizes = (f"{name} {row['images']:,}{' (few)' if row['few'] else ''}" for name, row in score.classes.iterrows())
    lines = [
        counted(f"{name}: {score.n:,} images, {score.lesions:,} lesions; {', '.join(sizes)}.", score.by_lesion),
        f"Intervals are 95 %, bootstrapped by {'lesion' if score.by_lesion else 'image'}. Not a medical device.",
        *(f"Note: {note}." for note in score.notes),
    ]
    if score.point:
        caution = f" {score.caution.capitalize()}." if score.caution else ""
        lines += ["", f"{score.point_told.capitalize()}.{caution}", *_table(score.at_point, score.by_lesion)]
    if score.point_known:
        ids = score.missed["image_id"].head(5).tolist() + ["…"] * (len(score.missed) > 5)
        lines.append(missed_counts(score) + (f": {', '.join(ids)}" if ids else "."))
    for kind, title in (("overall", "All classes"), ("view", "By the most probable class, and over all thresholds")):
        lines += ["", f"{title}:", *_table(score.numbers[score.numbers["kind"] == kind], score.by_lesion)]
    lines += ["", *(counted(calibration_sentence(row), score.by_lesion) for _, row in score.calibration.iterrows())]
    if len(score.groups):
        of_view = score.groups[score.groups["metric"] == f"{score.view} sensitivity"]
        named = of_view.assign(metric=of_view["variable"] + ": " + of_view["group"])
        lines += ["", f"{score.view.capitalize()} sensitivity at the operating point:", *_table(named, score.by_lesion)]
        lines.append(groups_caveat(score.groups))
    lines += ["", *score.untested, ""]
    lines += [f"FOUND: {finding}." for finding in score.findings] or ["None of the findings listed in --help."]
    lines.append("Numbers of each class are in --json and --html.")
    return "\n".join(lines)


def _table(rows: pd.DataFrame, by_lesion: bool) -> list[str]:
    head = ["", "value (95 % interval)", "images (lesions)" if by_lesion else "images"]
    return [text_table(head, *([row["metric"], *estimate_cells(row, by_lesion)] for _, row in rows.iterrows()))]
