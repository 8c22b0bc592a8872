"""Keeping the project's own files current: the committed notebooks' outputs, the README's tables."""

import os
import tempfile

import typer

from lesion_utils import notebooks
from lesion_utils.evaluation.results import renewed
from lesion_utils.params import PROJECT


def refs() -> None:
    """Execute the committed notebooks at their own values, in order, and store their text outputs."""
    with tempfile.TemporaryDirectory() as apart:
        os.environ["LESION_OUTPUT"] = apart
        for name in notebooks.NOTEBOOKS:
            typer.echo(name)
            notebooks.refresh(name)


def readme() -> None:
    """Renew the tables of README.md from the tracked results and claims."""
    path = PROJECT / "README.md"
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
