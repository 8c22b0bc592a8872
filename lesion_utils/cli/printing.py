"""How commands print a result: as JSON, or as text from a template in which tables are aligned."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from lesion_utils.cli.exits import harmless
from lesion_utils.reports import render

WIDEST = 64  # characters of a cell that is not the last of its row


def finish(result: dict[str, Any], template: str, as_json: bool, problem: bool, **shown: Any) -> NoReturn:
    """Prints ``result`` as JSON, or by ``template`` with further values ``shown``; exits with 1 for a ``problem``."""
    text = json.dumps(result, indent=1) if as_json else harmless(render(template, result=result, table=_table, **shown))
    typer.echo(text.rstrip("\n"))
    raise typer.Exit(1 if problem else 0)


def _table(rows: Sequence[Sequence[str]]) -> str:  # for templates: rows of cells as lines, columns aligned
    short = [
        [cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + "…" for cell in row[:-1]] + [row[-1]] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in short)
