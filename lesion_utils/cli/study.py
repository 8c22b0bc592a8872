"""Running a study and its parts. Exit codes: 0 done, 1 a run failed, 2 unusable input.

What only one command needs is imported in it: a study starts each of them anew for every job.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import psutil
import typer

from lesion_utils import pipeline
from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.cli.options import Data, Ham10000, Isic2018, Study, Threads, Weights
from lesion_utils.datasets import data_digest, data_folder, layout, read_cases
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, run_folder, run_name, write_json
from lesion_utils.study import load_study


def study(
    study: Study = "quick",
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would run")] = False,
) -> None:
    """Run what is out of date in a study: its five notebooks, their reports and the index.

    Example: lesion study ham10000 --data ../ham10000 --weights ../weights
    """
    from lesion_utils.splits import split_cases

    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, weights=weights, threads=threads)
        split_cases(params)  # refuses what cannot be used before anything starts; `check` then opens every image
        for recipe in params.recipes.values():
            recipe.backbone.weights_file(params.weights)
        folder = run_folder(params.study)
        folder.mkdir(parents=True, exist_ok=True)
        given = {"study": study} | params.model_dump(include={*pipeline.PLACES, "threads"})
        command = [*_SNAKEMAKE, "--directory", str(folder), "--config"]
        command += [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
        command += ["--dry-run"] if dry_run else ["--quiet", "host", "progress", "reason", "rules"]
        _clear_stale_lock(folder, command)
    owner = psutil.Process()
    if not dry_run:
        identity = {"pid": owner.pid, "started": owner.create_time(), "host": os.uname().nodename}
        write_json(folder / "owner.json", identity)
    # the same process goes on as Snakemake, so whoever kills it kills the run
    os.execve(command[0], command, os.environ | {"LESION_RUN_BY": str(owner.pid)})


_SNAKEMAKE = [
    *(sys.executable, "-m", "snakemake"),
    *("--snakefile", str(PROJECT / "Snakefile")),
    *("--cores", "all"),
    *("--scheduler", "greedy"),  # a few jobs: to solve for the best order takes longer than it saves
    "--rerun-incomplete",
    *("--rerun-triggers", "mtime", "params", "input"),
]


def _clear_stale_lock(folder: Path, command: list[str]) -> None:
    """Removes the lock of a run whose process is gone; raises InputError if it lives or nobody knows whose it is."""
    locks = folder / ".snakemake" / "locks"
    locked = any(locks.glob("*.lock"))
    owner = json.loads((folder / "owner.json").read_text()) if (folder / "owner.json").is_file() else None
    if locked and (owner is None or owner["host"] != os.uname().nodename):
        where = "another program" if owner is None else owner["host"]
        raise InputError(f"{folder} is locked by a run of {where}. Fix: wait for it, or if it is dead, remove {locks}.")
    if owner and psutil.pid_exists(owner["pid"]) and psutil.Process(owner["pid"]).create_time() == owner["started"]:
        raise InputError(
            f"this study is being run by process {owner['pid']}. Fix: wait for it, or kill {owner['pid']}."
        )
    if locked:
        typer.echo("clearing the lock of a run that is gone", err=True)
        subprocess.run([*command, "--unlock"], check=True, capture_output=True)


def check(
    study: Study,
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
    stage: Annotated[str | None, typer.Option(help="check the weights of this stage instead of the data")] = None,
) -> None:
    """Read all that a study will read: its case table and every image, or every weights file of a stage."""
    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, weights=weights, threads=threads)
        folder = run_folder(params.study)
        if stage is None:
            from lesion_utils.audit.images import pixel_digests

            cases = read_cases(params)
            pixel_digests(cases, params.threads)
            write_json(folder / pipeline.CHECKED_DATA, {"images": len(cases), "data digest": data_digest(params)})
            groups = f"{cases['lesion_id'].nunique():,} {layout(params).grouped_by}s"
            typer.echo(f"checked {len(cases):,} images of {groups} in {data_folder(params).name}")
        else:
            from lesion_utils.models import load_backbone  # imports TensorFlow

            loaded = {
                name: load_backbone(recipe.backbone, params.weights) for name, recipe in getattr(params, stage).items()
            }
            ends = {name: model.layers[-1].name for name, model in loaded.items()}
            write_json(folder / pipeline.checked_weights(stage), ends)
            typer.echo(f"checked the weights of {len(loaded)} recipe(s) in {stage}")


def notebook(
    notebook: Annotated[str, typer.Argument(help="name of a file in notebooks/, without .ipynb")],
    study: Study,
    run: int = 0,
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
) -> None:
    """Execute one notebook of a study with papermill and stamp it."""
    from lesion_utils import reports

    with unusable_input_exits_2():
        params = load_study(
            study, data=data, ham10000=ham10000, isic2018=isic2018, weights=weights, threads=threads, run=run
        )
        error, seconds = pipeline.execute(params, notebook)
        reports.write_stamp(params, notebook, error, seconds)
    if error:
        place = run_folder(params.study) / "failed" / f"{run_name(notebook, run)}.ipynb"
        typer.echo(f"error: {notebook} failed: {error}\nThe notebook as far as it came: {place}", err=True)
        raise typer.Exit(1)


def report(
    study: Study,
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
) -> None:
    """Write the HTML reports of the notebooks of a study that were executed, and their index."""
    from lesion_utils.reports import write_reports

    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, weights=weights, threads=threads)
        typer.echo(write_reports(params))
