"""The command ``lesion``: runs a study, and checks other people's results.

Exit codes: 0 done, 1 a run failed or something was found, 2 unusable input, 70 an error of the program, 130 stopped by
Ctrl-C or SIGTERM.
"""

import errno
import importlib
import os
import re
import sys
import traceback
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
        "new": "new",
        "verify": "upkeep",
        "claims": "upkeep",
        **dict.fromkeys(("check-data", "check-weights", "notebook", "pages"), "jobs"),
    },
    "Check other people's results": {
        **dict.fromkeys(("matrix", "report", "score", "compare", "leakcheck"), "checks"),
        "audit": "audit",
        **dict.fromkeys(("predict-set", "evaluate"), "models"),
    },
    "Use a trained model": dict.fromkeys(("pack", "predict"), "models"),
    "Upkeep of the project": dict.fromkeys(("refresh-notebooks", "refresh-readme"), "upkeep"),
}
MODULES = {command: module for commands in GROUPS.values() for command, module in commands.items()}
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
RENAMED = {"refs": "refresh-notebooks", "readme": "refresh-readme", "check": "check-data"}
BUG = "This is an error of the program, not of your input. Please report it with the lines above."
SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class Commands(typer.core.TyperGroup):
    """The commands of ``GROUPS``: functions of that name, without docstrings, whose help is in ``help/``."""

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
        command = typer.Typer(**SETTINGS)
        command.command(cmd_name, help=help_of(cmd_name))(getattr(module, cmd_name.replace("-", "_")))
        return typer.main.get_command(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(command, help_of(command).split("\n\n")[0].strip()) for command in commands])


def help_of(command: str) -> str:
    """The text of ``help/<command>.txt``, its summary first; its lists keep their lines."""
    text = (Path(__file__).parent / "help" / f"{command}.txt").read_text(encoding="utf-8")
    return re.sub(r"^(?=\S.*:\n  )", "\b\n", text, flags=re.M)


app = typer.Typer(cls=Commands, no_args_is_help=True, help=__doc__, **SETTINGS)


def main() -> None:
    """Runs the command; an error of the program itself exits with 70, so that no script takes it for a finding."""
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            from lesion_utils.paths import output_root

            file = error.filename or f"a file in {output_root()}"
            fix = "Fix: free space or allow writing there, then run the same command again."
            print(f"error: {file} cannot be written: {error.strerror}. {fix}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print(BUG, file=sys.stderr)
        sys.exit(70)


@app.callback()
def end_with_the_study() -> None:
    run_by = os.environ.get("LESION_RUN_BY", "")
    if run_by.isdigit():  # a job of a study ends with it, even if the study is killed; Slurm ends those on a cluster
        from lesion_utils.pipeline import die_with

        die_with(int(run_by))
