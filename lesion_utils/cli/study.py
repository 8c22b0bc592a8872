"""Running a study."""

import fcntl
import logging
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import snakemake.cli
import typer
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.shell import shell

from lesion_utils import pipeline, tracked
from lesion_utils.cases import check_cases
from lesion_utils.cli import cluster
from lesion_utils.cli.common import takes_study
from lesion_utils.cli.progress import Progress
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, report_folder, resolve, run_folder, write_json
from lesion_utils.stopping import STOPPED, STOPPING, stop
from lesion_utils.study import StudyParams

ARGUMENTS = [
    *("--snakefile", str(PROJECT / "Snakefile")),
    *("--cores", "all"),
    *("--scheduler", "greedy"),  # with few jobs, finding the best order takes longer than it saves
    "--rerun-incomplete",
    "--nolock",  # a killed run would leave Snakemake's locks; the study has one of its own
    *("--rerun-triggers", "mtime", "params", "input"),
    *("--max-checksum-file-size", "50MB"),  # a table that is written again with the same content reruns nothing
]


@takes_study
def study(
    params: StudyParams,
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list the jobs that would run")] = False,
    from_predictions: Annotated[
        bool, typer.Option("--from-predictions", help="train nothing: take the tables in reports/<study>/predictions/")
    ] = False,
    where: Annotated[
        str | None, typer.Option("--where", metavar="PROFILE", help="run the jobs on a cluster: slurm, or your profile")
    ] = None,
    words: Annotated[
        Any, typer.Option("--snakemake", metavar="OPTIONS", help="more options for Snakemake", parser=shlex.split)
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", help="show the messages of Snakemake, too")] = False,
) -> None:
    name, full, start = context.params["study"], context.params["full"], Path.cwd()
    typer.echo(f"study {name}: checking parameters and data")
    check_cases(params)  # before anything starts; `check-data` then decodes every image
    for recipe in params.recipes.values():
        recipe.backbone.weights_file(params.weights)
    folder = run_folder(params.study)
    folder.mkdir(parents=True, exist_ok=True)
    folders = {place: getattr(params, place) for place in pipeline.PLACES}
    values: dict[str, Any] = {"study": name, "threads": params.threads} | ({"full": True} if full else {})
    values |= {"tables": tracked.tracked_digest(params.study)} if from_predictions else {}
    values |= {place: str(resolve(path)) for place, path in folders.items() if path}
    config = folder / "config.json"  # Snakemake's --config spoils quotes and accents
    arguments = [*ARGUMENTS, "--directory", str(folder), "--configfile", str(config)]
    with only_one(folder):
        write_json(config, values)
        arguments += [*(cluster.options(where, folder) if where else []), *words]
        if not dry_run:
            cluster.cancel_jobs(folder)
        code = _run(params, folder, arguments, where, dry_run, from_predictions, verbose)
    index = report_folder(params.study) / "index.html"
    typer.echo(index.relative_to(start) if index.is_relative_to(start) else index)
    raise typer.Exit(1 if code else 0)


def _run(
    params: StudyParams,
    folder: Path,
    arguments: list[str],
    where: str | None,
    dry_run: bool,
    from_predictions: bool,
    verbose: bool,
) -> int | str | None:
    """Runs Snakemake in this process, so that what ends this process ends the run; returns its exit code."""
    edited = pipeline.edited(params)
    for job, paths in edited.items():
        typer.echo(f"{job} runs again: not as it made it: {', '.join(paths)}")
    arguments += ["--forcerun", *edited] if edited else []
    if dry_run:
        arguments.append("--dry-run")
    else:
        os.environ["LESION_RUN_BY"] = where or str(os.getpid())  # on the machines of a cluster, a pid says nothing
        os.environ[tracked.FROM_TRACKED] = "1" if from_predictions else ""
    progress = Progress(folder, params, verbose, dry_run)
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
            cluster.cancel_jobs(folder, wait=False)
        raise SystemExit(STOPPED)
    progress.end(failed=bool(code))
    return code


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
