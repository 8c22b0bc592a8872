"""Running studies: one, several, or the variants of a sweep."""

import fcntl
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import snakemake.cli
import typer
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.shell import shell

from lesion_utils import pipeline, stopping, tracked
from lesion_utils.cases import check_cases
from lesion_utils.cli import cluster
from lesion_utils.cli.common import LIMITS, CellTimeout, Timeout, harmless, takes_study, warn_of_a_part
from lesion_utils.cli.progress import Progress
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, from_working_folder, report_folder, run_folder, write_json
from lesion_utils.progress import is_quiet
from lesion_utils.stopping import STOPPED, STOPPING, stop
from lesion_utils.study import StudyParams, load_study

ARGUMENTS = [
    *("--snakefile", str(PROJECT / "Snakefile")),
    *("--cores", "all"),
    *("--scheduler", "greedy"),  # with few jobs, finding the best order takes longer than it saves
    "--rerun-incomplete",
    "--nolock",  # a killed run would leave Snakemake's locks; the study has one of its own
    *("--rerun-triggers", "mtime", "params", "input"),
    *("--max-checksum-file-size", "50MB"),  # a table that is written again with the same content reruns nothing
]


DryRun = Annotated[bool, typer.Option("--dry-run", help="only list the jobs that would run")]
Where = Annotated[
    str | None, typer.Option("--where", metavar="PROFILE", help="run the jobs on a cluster: slurm, or your profile")
]
Words = Annotated[
    Any, typer.Option("--snakemake", metavar="OPTIONS", help="more options for Snakemake", parser=shlex.split)
]
Verbose = Annotated[bool, typer.Option("--verbose", help="show the messages of Snakemake, too")]


@takes_study
def study(
    studies: list[StudyParams],
    context: typer.Context,
    dry_run: DryRun = False,
    from_predictions: Annotated[
        bool, typer.Option("--from-predictions", help="train nothing: take the tables in reports/<study>/predictions/")
    ] = False,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
    where: Where = None,
    words: Words = "",
    verbose: Verbose = False,
) -> None:
    names = context.params["study"]
    if len({params.study for params in studies}) < len(studies):
        raise InputError(f"a study is given twice: {', '.join(names)}. Fix: give each once.")
    code = _run(dict(zip(names, studies, strict=True)), context.params)
    for params in studies if not code and not dry_run else ():  # otherwise a page there is of an earlier run
        typer.echo(from_working_folder(report_folder(params.study) / pipeline.INDEX))
    raise typer.Exit(code)


@takes_study
def sweep(
    params: StudyParams,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=A,B,…", help="a key of the study's file, with values")],
    context: typer.Context,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
    where: Where = None,
    words: Words = "",
    verbose: Verbose = False,
) -> None:
    from lesion_utils import sweep  # slow

    given = context.params
    base = load_study(given["study"], full=given["full"])  # without the folders and threads of this call
    names = sweep.write_variants(base, settings)
    given["full"] = False  # the variants have that size
    code = _run({name: load_study(name, **_options(given)) for name in names}, given)
    if not code and not dry_run:
        rows = sweep.compare_variants(names)
        typer.echo(harmless(sweep.as_text(rows)))
        typer.echo(from_working_folder(sweep.write_table_and_page(base, names, rows)))
    raise typer.Exit(code)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """What of the options ``given`` to a command replaces a value of a study's file."""
    return {name: given[name] for name in (*pipeline.PLACES, "threads", "full") if given[name]}


def _run(studies: dict[str, StudyParams], given: dict[str, Any]) -> int:
    """Runs ``studies``, by the names that the user gave them, as one graph; returns the exit code."""
    folders = [run_folder(params.study) for params in studies.values()]
    for name, params in studies.items():
        if not is_quiet():
            typer.echo(f"study {name}: checking parameters and data")
        warn_of_a_part(params, check_cases(params))  # before anything starts; `check-data` then decodes every image
        for recipe in params.recipes.values():
            recipe.backbone.weights_file(params.weights)
    config = folders[0] / "config.json"  # Snakemake's --config spoils quotes and accents
    values: dict[str, Any] = {"studies": [*studies], "options": _options(given)}
    values["limits"] = "".join(f" --{name.replace('_', '-')} {given[name]}" for name in LIMITS if given[name])
    if given.get("from_predictions"):
        values["tables"] = {params.study: tracked.tracked_digest(params.study) for params in studies.values()}
    arguments = [*ARGUMENTS, "--directory", str(run_folder("")), "--configfile", str(config)]
    with ExitStack() as locks:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(only_one(folder))
        write_json(config, values)
        if not given["dry_run"]:
            cluster.cancel_jobs(folders)
        arguments += [*(cluster.options(given["where"], folders) if given["where"] else []), *given["words"]]
        return _snakemake([*studies.values()], folders, arguments, given)


def _snakemake(studies: list[StudyParams], folders: list[Path], arguments: list[str], given: dict[str, Any]) -> int:
    """Runs Snakemake in this process, so that what ends this process ends the run; returns the exit code."""
    again = []
    for params in studies:
        named = partial(pipeline.rule_name, params.study, several=len(studies) > 1)
        for job, paths in pipeline.edited(params).items():
            typer.echo(f"{named(job)} runs again: not as it made it: {', '.join(paths)}")
            again.append(named(job))
        if (run_folder(params.study) / ".snakemake").is_dir():  # of an older version: what it noted is not read
            again += [named(job.name) for job in pipeline.plan(params)]
    arguments += ["--forcerun", *dict.fromkeys(again)] if again else []
    where = given["where"]
    stopping.SECONDS = 4 if where else stopping.SECONDS  # to cancel the jobs
    if given["dry_run"]:
        arguments.append("--dry-run")
    else:
        os.environ["LESION_RUN_BY"] = where or str(os.getpid())  # on the machines of a cluster, a pid says nothing
        os.environ[tracked.FROM_TRACKED] = "1" if given.get("from_predictions") else ""
    progress = Progress(studies, given["verbose"], given["dry_run"])
    logging.getLogger("snakemake.logging").addFilter(progress)
    shell.prefix("set -euo pipefail; trap '' INT; ")  # Ctrl-C reaches jobs, too: this process ends them
    code: int | str | None = 0
    with patch.object(JobScheduler, "exit_gracefully", stop):  # it would wait for the jobs
        try:
            snakemake.cli.main(arguments)
        except SystemExit as end:
            code = end.code
    if STOPPING.is_set():
        if where:
            cluster.cancel_jobs(folders, wait=False)
        raise SystemExit(STOPPED)
    progress.end(failed=bool(code))
    if not code and not given["dry_run"] and not given["words"]:  # which may leave out jobs
        for folder in folders:
            shutil.rmtree(folder / ".snakemake", ignore_errors=True)
    return 1 if code else 0


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keeps other runs of the study in ``folder`` away until this process ends, however it ends: the system then frees
    the lock of its file. The words in the file are for messages, and for file systems whose locks end at one computer.
    """
    path, here = folder / "lock", os.uname().nodename
    with path.open("a+", encoding="utf-8", errors="replace") as file:
        is_free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        except OSError as error:
            typer.echo(f"warning: {path} cannot be locked ({error}). Start this study once at a time.", err=True)
        file.seek(0)
        noted = re.fullmatch(r"(\S+) (\d+)", file.read())
        host, pid = noted.groups() if noted else (here, "<its process id>")  # written just after it is locked
        if host != here:
            problem = f"{folder} is locked by a run of {host}"
            raise InputError(f"{problem}. Fix: wait until it ends; if it was killed, remove {path}.")
        if not is_free:
            raise InputError(f"process {pid} runs this study now. Fix: wait for it, or: kill {pid}")
        file.truncate(0)
        file.write(f"{here} {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
