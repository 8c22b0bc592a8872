"""What published systems claim, beside what was measured. Exit codes: 0 done, 2 unusable input."""

import typer

from lesion_utils.claims.verdicts import claims_table, gather
from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.reports import write_claims


def claims() -> None:
    """Bring the claims of all published systems together, and print them.

    Writes claims.json, results.json and index.html into reports/published/, from what the studies in params/published/
    measured when they were run; a claim of a study that was not run says so.

    \b
    Example:
      lesion claims

    \b
    Exit codes: 0 done, whatever the verdicts; 2 unusable input
    """
    with unusable_input_exits_2():
        rows = gather()
        write_claims(rows)
    typer.echo(harmless(claims_table(rows)))
