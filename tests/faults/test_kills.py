"""Kills and stops of a tiny study at random instants: nothing is left running, and the next run ends as undisturbed.

``LESION_KILLS`` is the number of kills of a study (``make faults``: 50; else none, as each takes half a minute).
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from trained import train_in

from lesion_utils.cases import make_case_tables
from lesion_utils.cli.study import only_one
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT
from lesion_utils.study import load_study

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("LESION_KILLS", 0))
CNN = {"backbone": {"image_size": [24, 32]}, "hidden": 8, "phases": [{"epochs": 2}]}
AGAIN = "run the same command again"
KINDS: Counter[str] = Counter()  # what was killed or stopped, and how often
COUNTS = Counter(tried=0, handled=0, lost=0, orphans=0, tracebacks=0)


@pytest.fixture(scope="module", autouse=True)
def counted(results):
    yield
    rows = [{"killed or stopped": what, "times": times} for what, times in KINDS.items()]
    results["kills"] = {"rows": rows, **COUNTS}


def heed_signals() -> None:
    """A program that is started in the background ignores SIGINT, as do those that it starts; a terminal's does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Study:
    """A tiny study whose folders have spaces, accents and quotes in their names, run from another working folder."""

    def __init__(self, folder: Path, phantom: Path, threads: int):
        self.folder = folder / 'Zoë\'s "runs" & more'
        self.data = Path(shutil.copytree(phantom, folder / "Bilder für 'uns'"))
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        self.yaml = self.elsewhere.with_name("own études") / "tiny.yml"
        self.yaml.parent.mkdir()
        recipes = {"baseline": {"cnn": CNN}, "dataset": "ham10000", "resamples": 100, "threads": threads}
        self.yaml.write_text(json.dumps({"study": "tiny"} | recipes))
        self.words = ["study", str(self.yaml), "--data", str(self.data)]
        outside_make = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        self.environment = outside_make | {"PYTHONPATH": str(PROJECT), "LESION_OUTPUT": str(self.folder)}
        self.output = folder / "output.txt"

    def start(self, *command: str, **options) -> psutil.Popen:
        command = command or (sys.executable, "-m", "lesion_utils", *self.words)
        options |= {"cwd": self.elsewhere, "env": self.environment | options.pop("more", {})}
        options |= {"preexec_fn": heed_signals, "start_new_session": True}
        with self.output.open("w") as file:
            return psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options)

    def run(self) -> int:
        return self.start().wait(600)

    def tables(self) -> dict[str, bytes]:
        folder = self.folder / "runs/tiny/models/cnn/r0/predictions"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}


@pytest.fixture(scope="module")
def study(phantom_folder, tmp_path_factory, threads) -> Study:
    return Study(tmp_path_factory.mktemp("killed"), phantom_folder, threads)


@pytest.fixture(scope="module")
def expected(study, tmp_path_factory) -> dict[str, bytes]:
    """The prediction tables of an undisturbed training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(tmp_path_factory.mktemp("undisturbed")))
        params = load_study(str(study.yaml), data=str(study.data))
        trained = train_in(params, "cnn", make_case_tables(params)["corrected"])
        return {path.name: path.read_bytes() for path in sorted(trained.folder.glob("predictions/*.csv"))}


def family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def words_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def first(processes: list[psutil.Process], word: str) -> psutil.Process | None:
    """The first of ``processes`` whose command has ``word``; not the shell that started it."""
    python = (process for process in processes if words_of(process).startswith(sys.executable))
    return next((process for process in python if word in words_of(process)), None)


def of_log(study: Study, word: str) -> bool:
    log = study.folder / "runs/tiny/logs/02_baseline_cnn.log"
    return log.is_file() and word in log.read_text(errors="replace")


# Of each kind of process the one to kill among those that a study started, once there is one, and the longest wait
# before it is killed. In the order in which a study starts them.
VICTIMS = {
    "snakemake": (lambda study, top, started: top, 15),
    "papermill": (lambda study, top, started: first(started, "lesion_utils notebook"), 8),
    "kernel": (lambda study, top, started: first(started, "ipykernel_launcher"), 6),
    "cache writer": (
        lambda study, top, started: [*study.folder.rglob("cache/pixels/*")] and first(started, "ipykernel_launcher"),
        0.2,
    ),
    "trainer": (
        lambda study, top, started: of_log(study, " epoch 1/") and first(started, "ipykernel_launcher"),
        3,
    ),
    "report writer": (lambda study, top, started: first(started, "lesion_utils pages"), 2),
}


def kill(study: Study, kind: str, rng: random.Random) -> bool:
    """Kills a process of that ``kind`` in a run of the study, and waits for the end of the run; False where there was
    none to kill.
    """
    choose, longest = VICTIMS[kind]
    for name in ("runs/tiny/logs", "runs/cache"):  # by which the trainer and the cache writer are recognised
        shutil.rmtree(study.folder / name, ignore_errors=True)
    top = study.start()
    started: dict[int, psutil.Process] = {}
    killed = False
    while top.poll() is None:
        started |= {process.pid: process for process in family(top)}
        if not killed and (victim := choose(study, top, [*started.values()])):
            time.sleep(rng.uniform(0, longest))
            started |= {process.pid: process for process in family(top)}
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                killed = True
        time.sleep(0.05)
    _, alive = psutil.wait_procs(started.values(), timeout=10)
    COUNTS["orphans"] += len(alive)
    COUNTS["tracebacks"] += study.output.read_text().count("Traceback")
    assert not alive, f"{kind}: {[words_of(process) for process in alive]}"
    return killed


@pytest.mark.skipif(not KILLS, reason="many minutes: make faults")
def test_after_kills_at_random_instants_a_run_gives_what_an_undisturbed_one_gives(study, expected):
    rng, kinds, missed = random.Random(17), [*VICTIMS], list[str]()
    for number in range(KILLS):
        if number % len(kinds) == 0:  # later rounds start with nothing, or with all but the trainings and their cache
            shutil.rmtree(study.folder / rng.choice(["runs", "runs/tiny/models"]), ignore_errors=True)
            shutil.rmtree(study.folder / "reports", ignore_errors=True)
        tried = kill(study, kinds[number % len(kinds)], rng)
        COUNTS["tried"] += tried
        KINDS[f"{kinds[number % len(kinds)]}, kill -9"] += tried
        missed += [] if tried else [kinds[number % len(kinds)]]
        assert "Traceback" not in study.output.read_text()
        if number + 1 == KILLS or (number + 1) % len(kinds) == 0:
            done = study.run()
            COUNTS["lost"] += study.tables() != expected
            assert done == 0, study.output.read_text()
            assert study.tables() == expected
            assert (study.folder / "reports/tiny/index.html").read_text().count('class="good"') == 3
        COUNTS["handled"] += tried
    assert len(missed) <= 0.2 * KILLS, f"ended before they were killed: {missed}"


def make(study: Study) -> list[str]:
    """The command ``make study`` for a checkout whose environment is this one."""
    programs = study.folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "lesion").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lesion_utils "$@"\n')
    (programs / "lesion").chmod(0o755)
    options = [f"BIN={programs}", "READY=", f"STUDY={study.yaml}", f"DATA={study.data}"]
    return ["make", "-f", str(PROJECT / "Makefile"), "study", *options]


EARLY, LATE = "-m lesion_utils", "ipykernel_launcher"  # words of processes that a study starts early or late


@pytest.mark.parametrize(
    ("number", "to_all", "by_make", "word"),
    [
        (signal.SIGINT, False, False, EARLY),  # of another program
        (signal.SIGINT, False, False, LATE),
        (signal.SIGTERM, False, False, LATE),
        (signal.SIGINT, True, False, LATE),  # Ctrl-C
        (signal.SIGINT, True, True, LATE),
        (signal.SIGTERM, False, True, EARLY),
        (signal.SIGTERM, False, True, LATE),
    ],
)
def test_a_stopped_study_ends_in_five_seconds_with_one_line(study, number, to_all, by_make, word):
    shutil.rmtree(study.folder / "runs/tiny/executed", ignore_errors=True)
    top = study.start(*(make(study) if by_make else ()))
    while top.poll() is None and not first(family(top), word):
        time.sleep(0.05)
    assert top.poll() is None, study.output.read_text()
    time.sleep(random.Random(f"{number} {to_all} {word}").uniform(0, 2))
    COUNTS["tried"] += 1
    KINDS[f"{'make' if by_make else 'lesion study'}, {number.name}{' to all, as by Ctrl-C' if to_all else ''}"] += 1
    started, told, begin = [top, *family(top)], len(study.output.read_text()), time.monotonic()
    (os.killpg if to_all else os.kill)(top.pid, number)
    _, alive = psutil.wait_procs(started, timeout=5)
    COUNTS["orphans"] += len(alive)
    assert not alive, f"{[words_of(process) for process in alive]} after {time.monotonic() - begin:.1f} s"
    lines = [line for line in study.output.read_text()[told:].splitlines() if not line.startswith(("[", "make: "))]
    assert len(lines) == 1 and AGAIN in lines[0], lines
    ends = {-number, 130} if by_make else {130}  # make ends itself by the signal
    assert top.wait() in ends or (by_make and top.wait() == 2)
    COUNTS["handled"] += 1


@pytest.mark.parametrize("command", [["matrix", "-"], ["audit", "DATA"], ["notebook", "02_baseline_cnn", "STUDY"]])
def test_every_command_ends_on_ctrl_c_with_one_line(study, command):
    of_study = [str(study.yaml), "--data", str(study.data)]
    places = {"DATA": [str(study.data / "HAM10000_images_part_1")], "STUDY": of_study}
    words = [word for given in command for word in places.get(given, [given])]
    top = study.start(sys.executable, "-m", "lesion_utils", *words, stdin=subprocess.PIPE)
    time.sleep(2)
    started = [top, *family(top)]
    assert top.poll() is None, study.output.read_text()
    os.killpg(top.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive and top.wait() == 130
    lines = study.output.read_text().splitlines()
    assert len(lines) == 1 and AGAIN in lines[0], lines


TRAINING = """
import sys
from pathlib import Path
import pandas as pd
from lesion_utils import checkpoint
from lesion_utils.recipes import Recipe
from lesion_utils.training import train

checkpoint.SECONDS = 0
recipe = Recipe(backbone={"image_size": (24, 32)}, hidden=16, dropout=0.3, weight_average=0.9,
                augmentation={"flip": "both"}, phases=[{"epochs": 60}])
train(recipe, pd.read_csv(sys.argv[1]), seed=1, threads=int(sys.argv[2]), weights=None, folder=Path(sys.argv[3]))
"""


def test_a_training_killed_at_random_instants_never_starts_over(few, threads, tmp_path):
    few.to_csv(tmp_path / "cases.csv", index=False)
    words = [sys.executable, "-c", TRAINING, str(tmp_path / "cases.csv"), str(threads)]
    rng, environment = random.Random(5), os.environ | {"PYTHONPATH": str(PROJECT)}
    folders = {name: tmp_path / name / "net/r0" for name in ("undisturbed", "killed")}
    subprocess.run([*words, str(folders["undisturbed"])], env=environment, check=True, capture_output=True)
    command, read = [*words, str(folders["killed"])], {"env": environment, "stdout": subprocess.PIPE, "text": True}
    for _ in range(2):
        COUNTS["tried"] += 1
        KINDS["training alone, kill -9"] += 1
        with subprocess.Popen(command, **read) as run:
            while " epoch " not in run.stdout.readline():
                assert run.poll() is None
            time.sleep(rng.uniform(0.1, 1))
            run.kill()
    again = subprocess.run(command, check=True, **read)
    assert "goes on after" in again.stdout and "cannot be read" not in again.stdout
    undisturbed, killed = (
        {file.name: file.read_bytes() for file in folder.glob("predictions/*.csv")} for folder in folders.values()
    )
    COUNTS["lost"] += undisturbed != killed
    assert undisturbed == killed and len(killed) == 2
    COUNTS["handled"] += 2


def test_of_two_studies_started_at_once_in_one_folder_one_is_refused(study):
    for number in range(max(2, KILLS // 5)):
        shutil.rmtree(study.folder / "runs/tiny/executed", ignore_errors=True)
        both = []
        for _ in range(2):
            both.append((study.start(), study.output))
            study.output = study.output.with_name(f"output{number}{len(both)}.txt")
        refused = None
        while not refused:
            refused = next((pair for pair in both if pair[0].poll() is not None), None)
            time.sleep(0.05)
        (other,) = [pair for pair in both if pair is not refused]
        assert refused[0].wait() == 2 and f"process {other[0].pid} runs this study now" in refused[1].read_text()
        assert other[0].poll() is None
        other[0].send_signal(signal.SIGINT)
        assert other[0].wait(10) == 130


def passes(folder: Path, ready, done) -> None:
    ready.wait()
    with suppress(InputError), only_one(folder):
        done.put(os.getpid())
        time.sleep(0.2)


def test_of_starts_at_the_same_instant_exactly_one_passes(tmp_path):
    context = multiprocessing.get_context("fork")
    for _ in range(50):
        ready, done = context.Barrier(3), context.Queue()
        processes = [context.Process(target=passes, args=(tmp_path, ready, done)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert isinstance(done.get(timeout=5), int) and done.empty()


@pytest.mark.parametrize("text", ["", "{", "[1] x", "\0\xff", "HERE 1", "HERE ZOMBIE", "HERE x", "another "])
def test_no_word_that_an_ended_run_left_keeps_a_new_one_away(tmp_path, text):
    with subprocess.Popen(["true"]) as zombie:
        time.sleep(0.1)  # it ends, and nobody has asked for its exit code
        named = text.replace("HERE", os.uname().nodename).replace("ZOMBIE", str(zombie.pid))
        for name in ("lock", "owner.json"):
            (tmp_path / name).write_bytes(named.encode("latin-1"))
        with only_one(tmp_path):
            assert (tmp_path / "lock").read_text().endswith(f" {os.getpid()}")
    assert (tmp_path / "lock").read_text() == ""


def test_a_run_on_another_computer_that_shares_the_folder_is_respected(tmp_path):
    (tmp_path / "lock").write_text("another-computer 17")
    with pytest.raises(InputError, match="another-computer") as refused, only_one(tmp_path):
        pass
    assert str(tmp_path / "lock") in str(refused.value) and "Fix: " in str(refused.value)


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of the given options on a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", folder], capture_output=True)


@pytest.mark.parametrize("options", ["size=8k", "size=100k", "size=1m", "ro"])
def test_a_full_or_read_only_disk_is_named_and_its_run_goes_on_elsewhere(study, disk, options):
    COUNTS["tried"] += 1
    folder = disk(options)
    code, told = study.start(more={"LESION_OUTPUT": str(folder)}).wait(600), study.output.read_text()
    COUNTS["tracebacks"] += told.count("Traceback")
    assert code in (1, 2) and "Traceback" not in told and "Fix: " in told
    assert ("Read-only" if options == "ro" else "No space left") in told and str(folder) in told
    COUNTS["handled"] += 1
