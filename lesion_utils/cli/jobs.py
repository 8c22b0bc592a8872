"""Notebooks and reports as jobs of a study. Exit codes: 0 done, 1 a notebook failed, 2 unusable input."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from lesion_utils import pipeline, reports, tracked
from lesion_utils.cli.options import takes_study
from lesion_utils.paths import run_folder, run_name
from lesion_utils.study import StudyParams


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Writes to ``log`` what this process prints, and what the kernel and C libraries print past Python."""
    log.parent.mkdir(exist_ok=True)
    shown = {number: os.dup(number) for number in (1, 2)}
    with log.open("w", buffering=1, encoding="utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            for number in shown:
                os.dup2(stream.fileno(), number)
            yield
        finally:
            for number, before in shown.items():
                os.dup2(before, number)
                os.close(before)


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
    log = run_folder(params.study) / "logs" / f"{name}.log"
    with output_to(log) if os.environ.get("LESION_RUN_BY") else nullcontext():
        error, seconds = pipeline.execute(params, notebook)
        reports.write_stamp(params, notebook, error, seconds)
    tracked.keep(params, notebook)
    if not error:
        (job,) = [job for job in pipeline.plan(params) if job.name == name]
        pipeline.record(params, name, job.outputs)
    if error:
        failed = run_folder(params.study) / "failed" / f"{name}.ipynb"
        typer.echo(f"error: {notebook} failed: {error}\nThe notebook up to the error: {failed}", err=True)
        raise typer.Exit(1)


@takes_study
def report(params: StudyParams) -> None:
    """Write the HTML reports of a study's notebooks, and the index. Runs no notebook."""
    tracked.keep(params)
    index = reports.write_reports(params)
    tracked.sign_pages(params.study)
    folder = pipeline.reports_from_runs(params.study)
    pipeline.record(params, "reports", [f"{folder}/{path.name}" for path in index.parent.glob("*.html")])
    if not os.environ.get("LESION_RUN_BY"):
        typer.echo(index)
