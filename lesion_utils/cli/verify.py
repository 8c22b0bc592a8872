"""Results judged again from tracked tables. Exit codes: 0 they agree, 1 something differs, 2 unusable input."""

from typing import Annotated

import typer

from lesion_utils.cli.exits import harmless, unusable_input_exits_2

Study = Annotated[str | None, typer.Argument(help="name of a study; by default all studies, and the ledger of claims")]


def verify(study: Study = None) -> None:
    """Compute the results and claims of studies again from tracked tables, and compare.

    Reads reports/<study>/predictions/ only: no image, no weights, and nothing is trained. Every number of results.json
    and claims.json must be the same to 1e-9, and pages and figures must be as they were made from these tables. What
    differs is named.

    \b
    Examples:
      lesion verify
      lesion verify ham10000

    \b
    Exit codes: 0 all agree; 1 a number, verdict or table differs; 2 unusable input, such as missing tables
    """
    from lesion_utils import verify

    found: list[str] = []
    with unusable_input_exits_2():
        for name, has_tables in ({study: True} if study else verify.studies()).items():
            if not has_tables:
                typer.echo(f"{name}: no tracked tables, so nothing can be computed again")
                continue
            of_study = verify.differences(name)
            typer.echo(f"{name}: {f'{len(of_study)} difference(s)' if of_study else 'agrees'}")
            found += of_study
        found += [] if study else verify.ledger_differences()
    for difference in found:
        typer.echo(harmless(difference))
    raise typer.Exit(1 if found else 0)
