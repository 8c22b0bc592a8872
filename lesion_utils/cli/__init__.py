"""The command ``lesion``: runs a study and its parts, and judges other people's results.

Exit codes: 0 done, 1 a run failed or something was found, 2 unusable input.
"""

import importlib
import os
from typing import Any

import typer
import typer.core

MODULES = {  # of each command; imported when it is called, since a study calls some of them a dozen times
    "study": "study",
    "check": "study",
    "notebook": "study",
    "report": "study",
    "refs": "upkeep",
    "readme": "upkeep",
    "predict": "predict",
    "evaluate": "evaluate",
    "leakcheck": "leakcheck",
    "matrix": "matrix",
    "score": "score",
    "claims": "claims",
}

_PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class _Commands(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"lesion_utils.cli.{MODULES[cmd_name]}")
        alone = typer.Typer(**_PLAIN)
        alone.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(alone)


app = typer.Typer(cls=_Commands, no_args_is_help=True, help=__doc__, **_PLAIN)


@app.callback()
def end_with_the_study() -> None:
    if run_by := os.environ.get("LESION_RUN_BY"):  # a job of a study ends with it, also if that is killed hard
        from lesion_utils.pipeline import die_with

        die_with(int(run_by))
