"""The command ``lesion``: runs a study and its parts, and judges other people's results.

Exit codes: 0 done, 1 a run failed or something was found, 2 unusable input.
"""

import typer

from lesion_utils.cli import leakcheck, matrix, predict, score, study

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
app.callback()(study.end_with_the_study)
for command in (
    study.study,
    study.check,
    study.notebook,
    study.report,
    study.index,
    study.refs,
    study.readme,
    predict.predict,
    leakcheck.leakcheck,
    matrix.matrix,
    score.score,
):
    app.command()(command)
