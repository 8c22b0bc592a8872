"""A study on a cluster: what Snakemake is told, and the jobs that outlive the process that submitted them."""

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path

import typer

from lesion_utils.digests import digest
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT

PLUGIN = "snakemake_executor_plugin_slurm"
LONGEST_PAUSE = 180  # seconds between two looks of the plugin at its jobs
NOTE = "slurm_jobs"  # a file in a run folder
PATIENCE = 120  # seconds that cancelled jobs have to end


def options(where: str, folders: list[Path]) -> list[str]:
    """The options by which Snakemake runs the jobs of the studies in ``folders`` as the profile ``where`` says: one of
    profiles/, or a folder. What the names of their jobs start with is noted in each folder.
    """
    os.environ.pop("TMPDIR", None)  # jobs inherit the environment, and need a folder of their own machine
    shipped = PROJECT / "profiles" / where
    words = ["--profile", str(shipped if shipped.is_dir() else where)]
    if shutil.which("sbatch") and importlib.util.find_spec(PLUGIN):
        name = f"lesion-{digest([*map(str, folders)])[:16]}"
        for folder in folders:
            with (folder / NOTE).open("a", encoding="utf-8") as note:  # jobs of another start may still run
                note.write(f"{name}\n")
        return [*words, "--slurm-jobname-prefix", name, "--slurm-status-command", _status_command()]
    if where == "slurm":
        problem = "WHERE=slurm needs the program `sbatch` and the extra `cluster` of this package"
        raise InputError(f"{problem}. Fix: pip install -e .[cluster], on a machine of the cluster where sbatch works.")
    return words


def cancel_jobs(folders: list[Path], wait: bool = True) -> None:
    """Ends the Slurm jobs that a killed or stopped run left in ``folders``: no two jobs may write the same files.

    Raises InputError if they do not end.
    """
    notes = [folder / NOTE for folder in folders if (folder / NOTE).is_file()]
    names = {name for note in notes for name in note.read_text(encoding="utf-8").split()}
    if not names or not (left := _jobs(names)):
        return
    typer.echo(f"cancelling jobs of a run that was ended: {', '.join(left)}", err=True)
    _call("scancel", *left)
    end = time.monotonic() + PATIENCE
    while wait and (left := _jobs(names)):
        if time.monotonic() > end:
            fix = f"Fix: scancel -f -s KILL {' '.join(left)}, then run the same command again."
            raise InputError(f"Slurm jobs of a run that was killed do not end. {fix}")
        time.sleep(1)


def _jobs(names: set[str]) -> list[str]:
    """The ids of jobs that wait, run or end, by what their names start with. Each run adds its own ending to it."""
    rows = [line.split("|") for line in _call("squeue", "--noheader", "--format=%i|%j").splitlines()]
    return [job for job, name in rows if name.rpartition("_")[0] in names]


def _status_command() -> str:
    """The program that says how jobs ended: `sacct` reads accounts; `squeue` asks Slurm, which forgets jobs in time."""
    try:
        _call("sacct", "--noheader", "--allocations")
        return "sacct"
    except InputError:
        age = importlib.import_module(f"{PLUGIN}.job_status_query").get_min_job_age()
        if age is not None and 0 < age <= LONGEST_PAUSE:
            problem = f"this Slurm keeps no accounts and forgets jobs after {age} seconds, so failed jobs can be missed"
            raise InputError(f"{problem}. Fix: ask its administrator for MinJobAge=300, the default.") from None
        return "squeue"


def _call(program: str, *words: str) -> str:
    try:
        return subprocess.run([program, *words], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise InputError(f"`{program}` failed: {str(said).strip()}. Fix: try again when Slurm answers.") from error
