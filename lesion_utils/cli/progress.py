"""What a study shows while it runs: one line per event, with the elapsed time and an estimate of the time left."""

import logging
import os
import re
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from lesion_utils import pipeline
from lesion_utils.paths import read_json, run_folder, write_json
from lesion_utils.progress import is_quiet
from lesion_utils.stopping import STOPPING
from lesion_utils.study import StudyParams

HEARTBEAT = 60  # seconds without a line after which the newest line of a running notebook is shown


class Progress(logging.Filter):
    """Reads Snakemake's log events and prints own lines; lets only warnings and errors pass unless ``verbose``.

    Durations of jobs are kept in ``durations.json`` of the run folder, for the estimates of later runs. Jobs go by the
    names of their rules.
    """

    def __init__(self, studies: list[StudyParams], verbose: bool, dry_run: bool) -> None:
        super().__init__()
        self.verbose, self.dry_run, several = verbose, dry_run, len(studies) > 1
        self.began = self.newest_line = time.monotonic()
        self.slots = max(1, (os.cpu_count() or 1) // max(params.threads for params in studies))
        names = {pipeline.rule_name(params.study, "", several): params for params in studies}
        self.folders = {start: run_folder(params.study) for start, params in names.items()}
        self.study_seconds = {start: 60 * (params.measured_minutes or 0) for start, params in names.items()}
        self.durations: dict[str, float] = {}
        for start, folder in self.folders.items():
            known = read_json(folder / "durations.json", missing={})
            self.durations |= {f"{start}{job}": seconds for job, seconds in known.items()}
        self.names: dict[int, str] = {}
        self.jobs: list[str] = []  # all that this call runs
        self.left: list[str] = []  # of these, those not done
        self.running: dict[str, float] = {}  # when they started
        self.failed = False
        threading.Thread(target=self._heartbeat, daemon=True).start()

    def filter(self, record: Any) -> bool:
        if STOPPING.is_set():  # what fails now was stopped
            return False
        event = getattr(record, "event", None)
        if event == "run_info" and not self.jobs:
            self.jobs = [name for name in record.stats if name not in ("all", "total")]
            self.left = list(self.jobs)
            self._say(f"{len(self.jobs)} jobs to run: {', '.join(self.jobs)}{self._estimate()}")
        elif event == "resources_info" and getattr(record, "nodes", None):  # on a cluster: how many jobs at once
            self.slots = record.nodes
        elif event == "job_info" and not self.dry_run and (name := record.rule_name) in self.jobs:
            self.names[record.jobid] = name
            self.running[name] = time.monotonic()
            self._say(f"{name} started")
        elif event == "job_finished" and (job := self.names.get(record.job_id)):
            self.durations[job] = time.monotonic() - self.running.pop(job)
            self.left.remove(job)
            start = _start(job)
            known = {name.removeprefix(start): of for name, of in self.durations.items() if _start(name) == start}
            write_json(self.folders[start] / "durations.json", known)
            done = f"{len(self.jobs) - len(self.left)} of {len(self.jobs)} jobs"
            self._say(f"{job} done in {clock(self.durations[job])}; {done}{self._estimate()}")
        elif event == "job_error":
            logs = [self._log(record.rule_name), *map(Path, record.log)]  # its own, and on a cluster that of its job
            output = " and ".join(str(log) for log in logs if log.is_file())
            self.failed = True
            self._say(f"{record.rule_name} failed{f'; its output: {output}' if output else ''}")
        of_a_job = self.failed or getattr(record, "exception", None) in ("RuleException", "CalledProcessError")
        return self.verbose or (record.levelno >= logging.WARNING and not of_a_job)

    def end(self, failed: bool) -> None:
        """Prints how the run ended."""
        if failed:
            self._say("stopped: a job failed. Fix: correct the error above, then run the same command again")
        elif not self.jobs:
            self._say("nothing to do: all reports are up to date")
        elif not self.dry_run:
            self._say("done")

    def _estimate(self) -> str:
        """The time left, from earlier durations, else from the measured minutes of the study; '' if unknown."""
        now, of_study = time.monotonic(), Counter(_start(job) for job in self.jobs)
        usual = {job: self.study_seconds[_start(job)] / of_study[_start(job)] for job in self.left} | self.durations
        if not self.left or not all(usual[job] for job in self.left):
            return ""
        seconds = [usual[job] - (now - self.running.get(job, now)) for job in self.left]
        minutes = max(sum(max(0, job_seconds) for job_seconds in seconds) / self.slots, *seconds) / 60
        return f", about {minutes:,.0f} min left" if minutes >= 1 else ", under 1 min left"

    def _heartbeat(self) -> None:
        while True:
            time.sleep(5)
            if self.running and time.monotonic() - self.newest_line > HEARTBEAT:
                for job in list(self.running):
                    self._say(f"{job}: {newest_line(self._log(job))}{self._estimate()}")

    def _log(self, job: str) -> Path:
        start = _start(job)
        return self.folders[start] / "logs" / f"{job.removeprefix(start)}.log"

    def _say(self, text: str) -> None:
        self.newest_line = time.monotonic()
        if not is_quiet() or self.failed:
            typer.echo(f"[{clock(self.newest_line - self.began)}] {text}")


def _start(job: str) -> str:
    """What the name of a job's rule starts with where the graph has several studies, else ""."""
    return "".join(job.rpartition(".")[:2])


def newest_line(log: Path) -> str:
    """The newest line of a job's log that this package wrote, not the log of a library: that starts with a time."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    own = [line for line in lines if line.strip() and not re.match(r"\d{4}-\d\d-\d\d |[IWEF]\d{4,} |WARNING:", line)]
    return own[-1][:100] if own else "running"


def clock(seconds: float) -> str:
    """``1:05`` for 65 seconds, ``1:00:05`` from an hour on."""
    return str(timedelta(seconds=int(seconds))).removeprefix("0:").removeprefix("0")
