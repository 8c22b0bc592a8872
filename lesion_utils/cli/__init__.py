"""The command ``lesion``: runs a study, and checks other people's results.

Exit codes: 0 done, 1 a run failed or something was found, 2 unusable input, 70 an error of the program, 130 stopped by
Ctrl-C or SIGTERM.
"""

import errno
import functools
import importlib
import inspect
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from lesion_utils.errors import InputError

# jsonschema, which nbformat and Snakemake import, builds a grammar of web addresses: a second in every process of a
# study, for a check that no notebook needs. Without this package it skips the check. Only the command does this.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

PACKAGE = "lesion-utils"
GROUPS = {  # command: module that has it; a module is imported when its command is called, because many are slow
    "Run a study": {
        "fetch": "fetch",
        **dict.fromkeys(("study", "sweep"), "study"),
        "new": "new",
        "verify": "upkeep",
        "claims": "upkeep",
        "open": "lab",
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
# The other commands work on the studies of a checkout: the folder of the project, with its notebooks and studies.
ANYWHERE = {"matrix", "report", "score", "compare", "leakcheck", "audit", "evaluate", "predict"}
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
        if cmd_name not in ANYWHERE:
            refuse_outside_a_checkout(cmd_name)
        module = importlib.import_module(f"lesion_utils.cli.{MODULES[cmd_name]}")
        command = typer.Typer(**SETTINGS)
        called = _with_quiet(getattr(module, cmd_name.replace("-", "_")))
        command.command(cmd_name, help=help_of(cmd_name))(called)
        return typer.main.get_command(command)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """As Typer's, but without importing every command."""
        names = [name for name in MODULES if name.startswith(incomplete)]
        options = super(typer.core.TyperGroup, self).shell_complete(ctx, incomplete)
        return [typer.core.CompletionItem(name, help=summary_of(name)) for name in names] + options

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(command, summary_of(command)) for command in commands])


def refuse_outside_a_checkout(command: str) -> None:
    from lesion_utils.paths import IS_CHECKOUT  # slow

    if not IS_CHECKOUT:
        where = (
            f"`lesion {command}` works on studies, which are in the project's folder and not in the installed package"
        )
        raise InputError(f'{where}. Fix: in a copy of that folder, pip install -e ".[study]", then call it again.')


def _with_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the option --quiet, for itself and the processes that it starts."""
    option = Annotated[bool, typer.Option("--quiet", help="show no progress; results, warnings and errors stay")]
    signature = inspect.signature(command)
    quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        if not values.pop("quiet"):
            return command(**values)
        from unittest.mock import patch  # slow

        with patch.dict(os.environ, LESION_QUIET="1"):
            command(**values)

    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), quiet])  # type: ignore[attr-defined]
    return run


def help_of(command: str) -> str:
    """The text of ``help/<command>.txt``, its summary first; its lists keep their lines."""
    text = (Path(__file__).parent / "help" / f"{command}.txt").read_text(encoding="utf-8")
    return re.sub(r"^(?=\S.*:\n  )", "\b\n", text, flags=re.M)


def summary_of(command: str) -> str:
    return help_of(command).split("\n\n")[0].strip()


app = typer.Typer(cls=Commands, no_args_is_help=True, help=__doc__, **SETTINGS | {"add_completion": True})


def main() -> None:
    """Runs the command; an error of the program itself exits with 70, so that no script takes it for a finding."""
    try:
        app()
    except Exception as error:
        if os.environ.get("_LESION_COMPLETE"):
            sys.exit(1)  # a shell that completes a line shows all that it gets
        if problem := _problem_of_user(error):
            print(f"error: {problem}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print(BUG, file=sys.stderr)
        sys.exit(70)


def _problem_of_user(error: Exception) -> str:
    """What the person who calls the command can mend, with its fix; "" for an error of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("lesion_utils"):
        needs = f"the package {error.name} is not installed; training, models and notebooks need the extra [study]"
        return f"{needs}. Fix: {sys.executable} -m pip install {_this_package('study')}"
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        from lesion_utils.paths import output_root

        file = error.filename or f"a file in {output_root()}"
        fix = "Fix: free space or allow writing there, then run the same command again."
        return f"{file} cannot be written: {error.strerror}. {fix}"
    return ""


def _this_package(extra: str) -> str:
    """This package with ``extra``, from where it was installed, in the words of pip."""
    import importlib.metadata  # slow, as are the others
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    source = json.loads(importlib.metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}")
    url, vcs = source.get("url", ""), source.get("vcs_info", {}).get("vcs")
    if url.startswith("file:"):
        editable = "-e " if source.get("dir_info", {}).get("editable") else ""
        return editable + shlex.quote(f"{url2pathname(urlsplit(url).path)}[{extra}]")
    return shlex.quote(f"{PACKAGE}[{extra}]" + (f" @ {f'{vcs}+' if vcs else ''}{url}" if url else ""))


def _show_version(asked: bool) -> None:
    if asked:
        import importlib.metadata  # slow

        from lesion_utils.digests import commit
        from lesion_utils.paths import IS_CHECKOUT

        where = f", commit {commit()}" if IS_CHECKOUT else ""
        typer.echo(f"{PACKAGE} {importlib.metadata.version(PACKAGE)}{where}")
        raise typer.Exit


@app.callback()
def end_with_the_study(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    run_by = os.environ.get("LESION_RUN_BY", "")
    if run_by.isdigit():  # a job of a study ends with it, even if the study is killed; Slurm ends those on a cluster
        from lesion_utils.pipeline import die_with

        die_with(int(run_by))
