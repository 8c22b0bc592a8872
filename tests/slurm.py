"""Debian's Slurm, with one node and two slots: in a folder and on ports of its own, as children of this process."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has daemons
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd")
NODE = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
MinJobAge={min_job_age}
AccountingStorageType=accounting_storage/{storage}
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts}
AccountingStoragePass={folder}/munge.socket
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=main Nodes={host} Default=YES MaxTime=60
"""
ACCOUNTS = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={accounts}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
"""
DATABASE_USER = "CREATE USER slurm@localhost IDENTIFIED BY 'slurm'; GRANT ALL ON *.* TO slurm@localhost;"


@dataclass
class Slurm:
    """What its commands need in their environment, and what they say."""

    environment: dict[str, str]

    def __call__(self, *words: str) -> str:
        environment = os.environ | self.environment
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout

    def jobs(self, *options: str) -> list[tuple[str, str, str]]:
        """Id, rule and state of each job, in the order of submission."""
        lines = self("squeue", "--noheader", "--sort=i", "--format=%i|%k|%T", *options).splitlines()
        return [tuple(line.replace("rule_", "").split("|")) for line in lines]


def wait_for(condition: Callable[[], Any], what: str, log: Path | None = None) -> Any:
    """What ``condition`` returns as soon as it is true; fails with the ``log`` after minutes."""
    end = time.monotonic() + 180
    while not (found := condition()):
        assert time.monotonic() < end, f"no {what}: {log.read_text() if log else ''}"
        time.sleep(0.2)
    return found


def require_programs() -> None:
    """Fails where Slurm's programs are not installed, and says what to install."""
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=PATH)]:
        packages = "slurm-wlm munge slurmdbd mariadb-server"
        pytest.fail(f"missing: {', '.join(missing)}. Fix: apt-get install -y {packages}", pytrace=False)


@contextmanager
def running_slurm(folder: Path, accounts: bool = False, min_job_age: int = 3600) -> Iterator[Slurm]:
    """A Slurm in ``folder``, with a database if it keeps ``accounts``; it forgets jobs after ``min_job_age`` s."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    slurm = Slurm({"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{PATH}"})
    values = {"folder": folder, "user": getpass.getuser(), "host": os.uname().nodename.split(".")[0]}
    values |= {"storage": "slurmdbd" if accounts else "none", "min_job_age": min_job_age}
    values |= {name: _free_port() for name in ("controller", "node", "accounts", "database")}
    (folder / "slurm.conf").write_text(NODE.format(**values))
    # The plugin hides SLURM_CONF from srun, which elsewhere finds the file in its usual place.
    _write(
        folder / "bin" / "srun", f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n', 0o755
    )
    _write(folder / "munge.key", os.urandom(512).hex(), 0o400)
    with ExitStack() as stack:

        def start(*words: str) -> None:
            log = stack.enter_context((folder / f"{words[0]}.log").open("w"))
            environment = os.environ | slurm.environment
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)

        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        wait_for((folder / "munge.socket").exists, "munged", folder / "munge.log")
        if accounts:
            words = ["--no-defaults", f"--datadir={folder}/database", f"--user={values['user']}"]
            slurm("mariadb-install-db", *words)
            at = [f"--socket={folder}/database.socket", f"--port={values['database']}", "--bind-address=127.0.0.1"]
            start("mariadbd", *words, *at, f"--pid-file={folder}/mariadbd.pid")
            wait_for((folder / "database.socket").exists, "MariaDB", folder / "mariadbd.log")
            slurm("mariadb", "--no-defaults", at[0], f"--execute={DATABASE_USER}")
            _write(folder / "slurmdbd.conf", ACCOUNTS.format(**values), 0o600)
            start("slurmdbd", "-D")
            added = ("sacctmgr", "--immediate", "add", "cluster", "loopback")
            wait_for(lambda: "loopback" in slurm(*added), "slurmdbd", folder / "slurmdbd.log")
        start("slurmctld", "-D")
        start("slurmd", "-D")
        wait_for(lambda: slurm("sinfo", "--noheader", "--format=%T") == "idle\n", "idle node", folder / "slurmd.log")
        try:
            yield slurm
        finally:
            slurm("scancel", "--user", values["user"])
            wait_for(lambda: not slurm.jobs(), "end of all jobs")
            _end_steps(folder.parent)


def _end_steps(folder: Path) -> None:
    """Kills steps that studies in ``folder`` left: Snakemake may block in a step that is cancelled as its notebook ends
    and a Slurm without cgroups then loses sight of it.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if "SLURM_JOB_ID" in environment and environment.get("LESION_OUTPUT", "").startswith(str(folder)):
                process.kill()


def _write(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
