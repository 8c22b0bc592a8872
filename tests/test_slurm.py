"""A study on a real Slurm, with accounts and without (`make slurm-test`)."""

import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from slurm import Slurm, require_programs, running_slurm, wait_for
from test_study import CNN, Project

from lesion_utils.datasets import phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import run_name

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

STUDY = {"study": "tiny", "dataset": "ham10000", "resamples": 100, "threads": 1, "runs": 3, "baseline": {"cnn": CNN}}
TRAINED = ("02_baseline_cnn", "02_baseline_cnn_r1", "02_baseline_cnn_r2")
SNAKEMAKE = "--jobs 2 --slurm-init-seconds-before-status-checks 2 --default-resources mem_mb=2000 runtime=30 gpu=0"


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    require_programs()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    phantom.write(folder, Phantom(lesions=100))
    return folder


@pytest.fixture
def project(tmp_path, data) -> Project:
    project = Project(tmp_path / "project", data)
    project.write(STUDY)
    return project


def modules(project: Project, module: str) -> list[psutil.Process]:
    """The processes of the project's jobs that run ``python -m <module>`` now."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            words = process.info["cmdline"] or []
            if words[1:3] == ["-m", module] and process.environ().get("LESION_OUTPUT") == str(project.folder):
                found.append(process)
    return found


def notebooks(project: Project) -> list[tuple[str, psutil.Process]]:
    """The notebooks that are executed now: name of the job, and its process."""
    found = [(process.info["cmdline"], process) for process in modules(project, "lesion_utils")]
    return sorted((run_name(words[4], int(words[-1])), process) for words, process in found if words[3] == "notebook")


def tables(project: Project) -> dict[str, bytes]:
    models = project.folder / "runs/tiny/models"
    return {str(path.relative_to(models)): path.read_bytes() for path in sorted(models.glob("*/r*/predictions/*.csv"))}


@contextmanager
def most_at_once(project: Project) -> Iterator[Counter]:
    """How many processes executed each job at once, and how many kernels were there, at most, while it was open."""
    most, end = Counter(), threading.Event()

    def look() -> None:
        nonlocal most
        while not end.wait(0.3):
            kernels = len(modules(project, "ipykernel_launcher"))
            most |= Counter({"kernels": kernels, **Counter(job for job, _ in notebooks(project))})

    thread = threading.Thread(target=look)
    thread.start()
    yield most
    end.set()
    thread.join()


def submit(project: Project, slurm: Slurm, *words: str) -> subprocess.Popen:
    """Starts the study on Slurm; what it prints is added to ``output.txt``."""
    long = project.folder / ("long" * 30)  # too long for a socket: jobs must take the temporary folder of their machine
    long.mkdir(exist_ok=True)
    command = project.command("study", "tiny", "--data", str(project.data), "--where", "slurm", *words)
    environment = project.environment | slurm.environment | {"TMPDIR": str(long)}
    with (project.folder / "output.txt").open("a") as output:
        return subprocess.Popen(command, cwd=project.folder, env=environment, stdout=output, stderr=output)


def test_a_study_survives_a_stop_lost_jobs_and_a_lost_submitter_and_runs_nothing_twice(tmp_path, project, data):
    local = Project(tmp_path / "local", data)
    local.write(STUDY)
    done = local.run("study", "tiny", "--data", str(data), "--snakemake", f"--until {' '.join(TRAINED)}")
    assert done.returncode == 0, done.stdout + done.stderr
    not_trained = shutil.ignore_patterns("models", "02_*")
    shutil.copytree(local.folder / "runs", project.folder / "runs", ignore=not_trained)

    output = project.folder / "output.txt"
    with running_slurm(tmp_path / "slurm") as slurm, most_at_once(project) as most:

        def two_trainings(before: set[str]) -> list[tuple[str, psutil.Process]] | None:
            """Two trainings that run now, in jobs that are not among those ``before``."""
            found = notebooks(project)
            return found if len(found) == 2 and not before & {job for job, _, _ in slurm.jobs()} else None

        stopped = submit(project, slurm, "--snakemake", SNAKEMAKE)
        wait_for(lambda: two_trainings(set()), "two trainings", output)
        ended = {job: rule for job, rule, _ in slurm.jobs("--states=running")}
        stopped.terminate()
        assert stopped.wait(10) == 130
        wait_for(lambda: not slurm.jobs(), "the end of the jobs of a study that was stopped", output)

        first = submit(project, slurm, "--snakemake", SNAKEMAKE)
        wait_for(lambda: two_trainings({*ended}), "two trainings", output)
        first.kill()
        first.wait()
        time.sleep(2)
        left = {job: rule for job, rule, _ in slurm.jobs("--states=running")}
        assert len(left) == 2  # they outlive their submitter

        again = submit(project, slurm, "--snakemake", SNAKEMAKE)
        before = {*ended, *left}
        (cancelled, _), (killed, process) = wait_for(lambda: two_trainings(before), "two trainings again", output)
        slurm("scancel", next(job for job, rule, _ in slurm.jobs() if rule == cancelled))
        process.kill()
        assert again.wait(400) == 0, output.read_text()
        jobs = slurm.jobs("--states=all")
    assert "cancelling jobs of a run that was ended" in output.read_text()
    rules = (*TRAINED, "05_evaluation")
    assert most == {"kernels": 2, **dict.fromkeys(rules, 1)}
    lost = [*((rule, "CANCELLED") for rule in (*ended.values(), *left.values(), cancelled)), (killed, "FAILED")]
    assert Counter((rule, state) for _, rule, state in jobs) == Counter(
        [*((rule, "COMPLETED") for rule in rules), *lost]
    )
    assert not modules(project, "ipykernel_launcher")
    assert len(tables(project)) == 6 and tables(project) == tables(local)


@pytest.mark.parametrize("accounts", [False, True], ids=["without accounts", "with accounts"])
def test_a_job_that_fails_is_noticed_and_its_output_named(tmp_path, project, accounts):
    project.data = shutil.copytree(project.data, tmp_path / "data")
    picture = next(project.data.rglob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:500])
    with running_slurm(tmp_path / "slurm", accounts=accounts) as slurm:
        assert submit(project, slurm, "--snakemake", f"{SNAKEMAKE} --retries 0").wait(300) == 1
        jobs = slurm.jobs("--states=all")
        kept = slurm("sacct", "--noheader", "--allocations", "--parsable2", "--format=State")
    assert [job[1:] for job in jobs] == [("check_data", "FAILED")]
    assert kept.split() == (["FAILED"] if accounts else [])
    (log,) = re.findall(r"check_data failed; its output: (.*)", (project.folder / "output.txt").read_text())
    assert picture.name in Path(log).read_text()


def test_without_accounts_a_slurm_that_forgets_jobs_at_once_is_refused(tmp_path, project):
    with running_slurm(tmp_path / "slurm", min_job_age=60) as slurm:
        assert submit(project, slurm).wait(120) == 2
    text = (project.folder / "output.txt").read_text()
    assert "60 seconds" in text and "MinJobAge=300" in text
