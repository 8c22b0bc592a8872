"""What published systems claim, compared with what was measured. Exit codes: 0 done, 2 unusable input."""

import typer

from lesion_utils.cli.exits import harmless, unusable_input_exits_2


def claims() -> None:
    """Collect the claims of all published systems, judge them and print them.

    Reads the claims.json that each study in params/published/ wrote when it ran. Writes claims.json and index.html into
    reports/published/. A claim of a study that has not run says so.

    \b
    Example:
      lesion claims

    \b
    Exit codes: 0 done, whatever the verdicts; 2 unusable input
    """
    from lesion_utils import reports
    from lesion_utils.claims.verdicts import collect_claims, shown, summary

    with unusable_input_exits_2():
        rows = collect_claims()
        page = reports.write_claims_page(rows)
    typer.echo(harmless(reports.render("claims_table.md.j2", rows=shown(rows), summary=summary(rows))))
    typer.echo(f"written: {page}", err=True)
