"""Commands that work on all studies: verifying tracked results, judging claims, refreshing the project's own files."""

import os
import tempfile
from typing import Annotated

import typer
from tqdm import tqdm

from lesion_utils import pipeline
from lesion_utils.cli.common import harmless, unusable_input_exits_2
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, atomic_write
from lesion_utils.progress import steps
from lesion_utils.study import load_study


def verify(
    study: Annotated[
        str | None, typer.Argument(help="name of a study; by default all studies, and the ledger of claims")
    ] = None,
) -> None:
    from lesion_utils import verify

    found, unusable = list[str](), list[str]()
    with unusable_input_exits_2():
        can_be_judged = {study: True} if study else verify.studies()
        names = [name for name in can_be_judged if can_be_judged[name]]
        for name in can_be_judged:
            if not can_be_judged[name]:
                typer.echo(harmless(f"{name}: {verify.left_out(name)}"))
        for name in names:
            load_study(name)  # what cannot be read is refused now, not after minutes
        for name, differences, problem in steps(verify.judged_again(names), "judging studies again", len(names)):
            result = f"{len(differences)} difference(s)" if differences else "agrees"
            with tqdm.external_write_mode():  # takes away the bar for the time of the line
                typer.echo(f"{name}: {'unusable' if problem else result}")
            found += differences
            unusable += [problem] if problem else []
        found += [] if study else verify.ledger_differences()
        for difference in found:
            typer.echo(harmless(difference))
        if unusable:
            raise InputError("\n".join(unusable))
    raise typer.Exit(1 if found else 0)


def claims() -> None:
    from lesion_utils import reports
    from lesion_utils.claims.verdicts import collect_claims, ledger

    with unusable_input_exits_2():
        rows = collect_claims()
        page = reports.write_claims_page(rows)
    typer.echo(harmless(reports.render("claims_table.md.j2", **ledger(rows))))
    typer.echo(f"written: {page}", err=True)


def refresh_notebooks() -> None:
    with tempfile.TemporaryDirectory() as apart:
        os.environ["LESION_OUTPUT"] = apart
        for name in pipeline.NOTEBOOKS:
            typer.echo(name)
            pipeline.refresh(name)


def refresh_readme() -> None:
    from lesion_utils.reports import documents

    for path, text in documents().items():
        with atomic_write(path) as beside:
            beside.write_text(text, encoding="utf-8")
        typer.echo(path.relative_to(PROJECT))
