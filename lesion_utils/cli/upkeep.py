"""Keeping the project's own files current: the committed notebooks' outputs, the README's tables."""

import os
import tempfile

import typer

from lesion_utils import pipeline
from lesion_utils.paths import PROJECT, atomic_write


def refresh_notebooks() -> None:
    """Run the committed notebooks in order, with their own values, and store their outputs."""
    with tempfile.TemporaryDirectory() as apart:
        os.environ["LESION_OUTPUT"] = apart
        for name in pipeline.NOTEBOOKS:
            typer.echo(name)
            pipeline.refresh(name)


def refresh_readme() -> None:
    """Write docs/claims.md, docs/results.md and the README's table of answers from the tracked results."""
    from lesion_utils.reports import documents

    for path, text in documents().items():
        with atomic_write(path) as beside:
            beside.write_text(text, encoding="utf-8")
        typer.echo(path.relative_to(PROJECT))
