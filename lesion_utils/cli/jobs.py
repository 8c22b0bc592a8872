"""The jobs of a study."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from lesion_utils import pipeline, progress, reports, tracked
from lesion_utils.cases import data_digest, data_title, layout, read_pictures
from lesion_utils.cli.common import CellTimeout, Timeout, takes_study, warn_of_a_part
from lesion_utils.paths import run_folder, run_name, write_json
from lesion_utils.study import StudyParams


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Writes to ``log`` what this process prints, and what the kernel and C libraries print past Python."""
    log.parent.mkdir(exist_ok=True)
    shown = {number: os.dup(number) for number in (1, 2)}
    log.write_bytes(b"")
    # Progress is added to it, too, by the kernel.
    with log.open("a", buffering=1, encoding="utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            for number in shown:
                os.dup2(stream.fileno(), number)
            yield
        finally:
            for number, before in shown.items():
                os.dup2(before, number)
                os.close(before)


@takes_study
def check_data(params: StudyParams) -> None:
    cases = read_pictures(params)
    if not os.environ.get("LESION_RUN_BY"):  # then the study has said it
        warn_of_a_part(params, cases)
    facts = {"images": len(cases), "data digest": data_digest(params)}
    write_json(run_folder(params.study) / pipeline.checked("data"), facts)
    groups = f"{cases['lesion_id'].nunique():,} {layout(params).grouped_by}s"
    typer.echo(f"checked {len(cases):,} images of {groups} of {data_title(params)}")


@takes_study
def check_weights(
    params: StudyParams, stage: Annotated[Literal["baseline", "rebalancing", "transfer"], typer.Argument()]
) -> None:
    from lesion_utils.models import load_backbone  # imports TensorFlow

    recipes = getattr(params, stage)
    loaded = {name: load_backbone(recipe.backbone, params.weights) for name, recipe in recipes.items()}
    last_layers = {name: model.layers[-1].name for name, model in loaded.items()}
    write_json(run_folder(params.study) / pipeline.checked(stage), last_layers)
    typer.echo(f"checked the weights of {len(loaded)} recipe(s) in {stage}")


@takes_study
def notebook(
    params: StudyParams,
    notebook: Annotated[str, typer.Argument(help="name of a file in notebooks/, without .ipynb")],
    run: int = 0,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
) -> None:
    params = params.model_copy(update={"run": run})
    name = run_name(notebook, run)
    log = run_folder(params.study) / "logs" / f"{name}.log"
    as_job = os.environ.get("LESION_RUN_BY")
    os.environ |= {progress.LOG: str(log)} if as_job else {}
    with output_to(log) if as_job else nullcontext():
        error, seconds = pipeline.execute(params, notebook, timeout, cell_timeout)
        reports.write_stamp(params, notebook, error, seconds)
    tracked.keep(params, notebook)
    if error:
        failed = run_folder(params.study) / "failed" / f"{name}.ipynb"
        typer.echo(f"error: {notebook} failed: {error}\nThe notebook up to the error: {failed}", err=True)
        raise typer.Exit(1)


@takes_study
def pages(params: StudyParams) -> None:
    tracked.keep(params)
    pipeline.refuse_edited(params)
    index = reports.write_reports(params)
    tracked.sign_pages(params.study)
    if not os.environ.get("LESION_RUN_BY"):
        typer.echo(index)
