"""Notebooks and reports as jobs of a study. Exit codes: 0 done, 1 a notebook failed, 2 unusable input."""

import os
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import Annotated

import typer

from lesion_utils import pipeline, reports
from lesion_utils.cli.options import takes_study
from lesion_utils.paths import run_folder, run_name
from lesion_utils.study import StudyParams


@takes_study
def notebook(
    params: StudyParams,
    notebook: Annotated[str, typer.Argument(help="name of a file in notebooks/, without .ipynb")],
    run: int = 0,
) -> None:
    """Execute one notebook of a study with papermill.

    As a job of `lesion study` it writes its output to runs/<study>/logs/.
    """
    params = params.model_copy(update={"run": run})
    name = run_name(notebook, run)
    with ExitStack() as stack:
        if os.environ.get("LESION_RUN_BY"):
            log = run_folder(params.study) / "logs" / f"{name}.log"
            log.parent.mkdir(exist_ok=True)
            stream = stack.enter_context(log.open("w", buffering=1, encoding="utf-8"))
            stack.enter_context(redirect_stdout(stream))
            stack.enter_context(redirect_stderr(stream))
        error, seconds = pipeline.execute(params, notebook)
        reports.write_stamp(params, notebook, error, seconds)
    if error:
        failed = run_folder(params.study) / "failed" / f"{name}.ipynb"
        typer.echo(f"error: {notebook} failed: {error}\nThe notebook up to the error: {failed}", err=True)
        raise typer.Exit(1)


@takes_study
def report(params: StudyParams) -> None:
    """Write the HTML reports of a study's notebooks, and the index. Runs no notebook."""
    index = reports.write_reports(params)
    if not os.environ.get("LESION_RUN_BY"):
        typer.echo(index)
