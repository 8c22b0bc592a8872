"""The command ``lesion``: runs a study, and checks other people's results.

Exit codes: 0 done, 1 a run failed or something was found, 2 unusable input.
"""

import ast
import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

import typer
import typer.core

# jsonschema, which nbformat and Snakemake import, builds a grammar of web addresses: a second in every process of a
# study, for a check that no notebook needs. Without this package it skips the check. Only the command does this.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

GROUPS = {  # command: module that has it; a module is imported when its command is called, because many are slow
    "Run a study": {
        "study": "study",
        "verify": "verify",
        "claims": "claims",
        "check-data": "check_data",
        "check-weights": "check_weights",
        "notebook": "jobs",
        "report": "jobs",
    },
    "Check other people's results": {
        "matrix": "matrix",
        "score": "score",
        "leakcheck": "leakcheck",
        "predict": "predict",
        "evaluate": "evaluate",
    },
    "Upkeep of the project": {"refresh-notebooks": "upkeep", "refresh-readme": "upkeep"},
}
MODULES = {command: module for commands in GROUPS.values() for command, module in commands.items()}
RENAMED = {"refs": "refresh-notebooks", "readme": "refresh-readme", "check": "check-data"}
SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class Commands(typer.core.TyperGroup):
    """The commands of ``GROUPS``, each imported when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(MODULES)  # type: ignore[assignment]  # the names, for suggestions

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if new := RENAMED.get(args[0]):
            ctx.fail(f"The command {args[0]!r} is now {new!r}. Fix: lesion {new}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"lesion_utils.cli.{MODULES[cmd_name]}")
        function, command = getattr(module, function_name(cmd_name)), typer.Typer(**SETTINGS)
        command.command(cmd_name, help=f"{inspect.getdoc(function)}\n\n{details(cmd_name)}")(function)
        return typer.main.get_command(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(command, summary(command)) for command in commands])


def function_name(command: str) -> str:
    """The function of a command: ``check-data`` is ``check_data``."""
    return command.replace("-", "_")


def summary(command: str) -> str:
    """The first line of a command's docstring, read from the source without importing it."""
    source = (Path(__file__).parent / f"{MODULES[command]}.py").read_text(encoding="utf-8")
    (function,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == function_name(command)
    ]
    return (ast.get_docstring(function) or "").split("\n\n")[0].replace("\n", " ")


def details(command: str) -> str:
    """What ``help/<command>.txt`` adds to the first lines of a command's help; its lists keep their lines."""
    file = Path(__file__).parent / "help" / f"{command}.txt"
    return re.sub(r"^(?=\S.*:\n  )", "\b\n", file.read_text(encoding="utf-8"), flags=re.M) if file.exists() else ""


app = typer.Typer(cls=Commands, no_args_is_help=True, help=__doc__, **SETTINGS)


@app.callback()
def end_with_the_study() -> None:
    if run_by := os.environ.get("LESION_RUN_BY"):  # a job of a study ends with it, even if the study is killed
        from lesion_utils.pipeline import die_with

        die_with(int(run_by))
