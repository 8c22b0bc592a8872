"""Keeping the project's own files current: the committed notebooks' outputs, the README's tables."""

import os
import tempfile

import typer

from lesion_utils import pipeline
from lesion_utils.claims.results import renewed
from lesion_utils.paths import PROJECT


def refresh_notebooks() -> None:
    """Execute the committed notebooks at their own values, in order, and store their text outputs."""
    with tempfile.TemporaryDirectory() as apart:
        os.environ["LESION_OUTPUT"] = apart
        for name in pipeline.NOTEBOOKS:
            typer.echo(name)
            pipeline.refresh(name)


def refresh_readme() -> None:
    """Renew the tables of README.md from the tracked results and claims."""
    path = PROJECT / "README.md"
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
