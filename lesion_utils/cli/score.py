"""Judging a prediction table. Exit codes: 0 clean, 1 something was found, 2 unusable input."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.checks.predictions import METADATA, read_metadata, read_predictions
from lesion_utils.checks.score import Score, as_dict, estimate_cells, in_words
from lesion_utils.checks.score import score as score_table
from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.cli.options import Malignant, Melanoma, listed
from lesion_utils.cli.printing import finish
from lesion_utils.errors import InputError
from lesion_utils.predictions import labelled
from lesion_utils.reports import write_page
from lesion_utils.study import Judging

DEFAULTS = Judging()


def score(
    predictions: Annotated[Path, typer.Argument(help="CSV, a row per image: image_id, label, p_<class>… or predicted")],
    validation: Annotated[Path | None, typer.Option(help="validation table, to choose the threshold")] = None,
    metadata: Annotated[Path | None, typer.Option(help=f"CSV of {METADATA}")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page for clinicians; it needs no network")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    prevalence: Annotated[
        float, typer.Option(metavar="P", help="of the disease, for PPV and NPV")
    ] = DEFAULTS.prevalence,
    specificity: Annotated[float, typer.Option(metavar="S", help="of the operating point")] = DEFAULTS.specificity,
    melanoma: Melanoma = None,
    malignant: Malignant = None,
    resamples: Annotated[int, typer.Option(min=100, help="bootstrap draws for a 95% CI")] = 2000,
) -> None:
    """Judge a prediction table from any source. Each number has a 95% CI, by lesion if lesions are known."""
    with unusable_input_exits_2():
        for option, share in (("--prevalence", prevalence), ("--specificity", specificity)):
            if not 0 < share < 1:
                raise InputError(f"{option} {share:g}: expected a number between 0 and 1.")
        if html and (html.is_dir() or not html.resolve().parent.is_dir()):
            raise InputError(f"--html {html}: expected the name of a file in an existing folder.")
        if html and html.resolve() in [path.resolve() for path in (predictions, validation, metadata) if path]:
            raise InputError(f"--html {html} is one of the tables that are read. Fix: give the page another name.")
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
        shown = {"score": judged, "name": harmless(predictions.name), "cells": estimate_cells} | in_words(judged)
        if html:
            write_page(html, "score.html.j2", **shown, figure=_diagram(judged))
    finish(as_dict(judged), "score.txt.j2", as_json, bool(judged.findings), **shown)


def _diagram(score: Score) -> str:
    """The reliability diagram as the address of an image that is inside the page; "" without probabilities."""
    import matplotlib.pyplot as plt  # slow

    from lesion_utils.figures import reliability_diagram

    if not score.reliability:
        return ""
    figure = reliability_diagram(score.reliability, labelled("Stated and observed", score.table.leaky))
    buffer = BytesIO()
    with plt.rc_context({"svg.hashsalt": "score"}):  # the same page from the same table
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
