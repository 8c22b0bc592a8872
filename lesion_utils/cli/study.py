"""Running a study."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import psutil
import snakemake.cli
import typer

from lesion_utils import pipeline, tracked
from lesion_utils.cases import check_cases
from lesion_utils.cli.common import takes_study
from lesion_utils.cli.progress import Progress
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, report_folder, resolve, run_folder, write_json
from lesion_utils.study import StudyParams

ARGUMENTS = [
    *("--snakefile", str(PROJECT / "Snakefile")),
    *("--cores", "all"),
    *("--scheduler", "greedy"),  # with few jobs, finding the best order takes longer than it saves
    "--rerun-incomplete",
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
    arguments = [*ARGUMENTS, "--directory", str(folder), "--config"]
    arguments += [f"{key}={json.dumps(value)}" for key, value in values.items()]
    _clear_stale_lock(folder, arguments)
    edited = pipeline.edited(params)
    for job, paths in edited.items():
        typer.echo(f"{job} runs again: not as it made it: {', '.join(paths)}")
    arguments += ["--forcerun", *edited] if edited else []
    if dry_run:
        arguments.append("--dry-run")
    else:
        this = psutil.Process()
        write_json(folder / "owner.json", {"pid": this.pid, "started": this.create_time(), "host": os.uname().nodename})
        pipeline.forget(params, [path for paths in edited.values() for path in paths])
        os.environ["LESION_RUN_BY"] = str(this.pid)
        os.environ[tracked.FROM_TRACKED] = "1" if from_predictions else ""
    progress = Progress(folder, params, verbose, dry_run)
    logging.getLogger("snakemake.logging").addFilter(progress)
    code: int | str | None = 0
    try:
        snakemake.cli.main(arguments)  # in this process, so that killing it kills the run
    except SystemExit as end:
        code = end.code
    index = report_folder(params.study) / "index.html"
    progress.end(failed=bool(code))
    typer.echo(index.relative_to(start) if index.is_relative_to(start) else index)
    raise typer.Exit(1 if code else 0)


def _clear_stale_lock(folder: Path, arguments: list[str]) -> None:
    """Removes the lock of a run whose process is gone; raises InputError if it lives or its owner is unknown."""
    locks, file = folder / ".snakemake" / "locks", folder / "owner.json"
    locked, owner = any(locks.glob("*.lock")), json.loads(file.read_text()) if file.is_file() else {}
    if locked and owner.get("host") != os.uname().nodename:
        problem = f"{folder} is locked by a run of {owner.get('host', 'another program')}"
        raise InputError(f"{problem}. Fix: wait until it ends; if it was killed, remove {locks}.")
    if owner and psutil.pid_exists(owner["pid"]) and psutil.Process(owner["pid"]).create_time() == owner["started"]:
        raise InputError(f"process {owner['pid']} runs this study now. Fix: wait for it, or: kill {owner['pid']}")
    if locked:
        typer.echo("clearing the lock of a run that was killed", err=True)
        subprocess.run([sys.executable, "-m", "snakemake", *arguments, "--unlock"], check=True, capture_output=True)
