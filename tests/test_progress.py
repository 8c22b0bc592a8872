"""How long work shows itself: a bar in a terminal, lines in a pipe or a log, nothing with --quiet."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lesion_utils import progress
from lesion_utils.cli import app
from lesion_utils.cli.progress import newest_line
from lesion_utils.paths import PROJECT
from lesion_utils.progress import LOG, QUIET, steps
from lesion_utils.recipes import Recipe
from lesion_utils.training import train

pytestmark = pytest.mark.slow

COUNT = """
import sys, time
from lesion_utils import progress
from lesion_utils.stopping import STOPPING, end, listen
listen()
progress.EVERY = 0.5
try:
    for number in progress.steps(range(int(sys.argv[1])), "counting"):
        time.sleep(0.05)
    print("done")
finally:
    if STOPPING.is_set():
        end()
"""


def start(n: int, stderr: int, **environment: str) -> subprocess.Popen:
    words = [sys.executable, "-c", COUNT, str(n)]
    variables = os.environ | {"PYTHONPATH": str(PROJECT), "COLUMNS": "80"} | environment
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True, env=variables, **heed)


def in_terminal(n: int, stop_after: float | None = None, **environment: str) -> tuple[int, str, str, float]:
    """Exit code, standard output, what the terminal showed, and seconds from the stop to the end."""
    ours, theirs = pty.openpty()
    process = start(n, theirs, **environment)
    os.close(theirs)
    shown, stopped = b"", 0.0
    while True:
        try:
            shown += (new := os.read(ours, 4096))
        except OSError:  # the other side is closed
            break
        if not new:
            break
        if stop_after and b"counting" in shown and not stopped:
            stopped = time.monotonic()
            process.send_signal(signal.SIGINT)
    code = process.wait(20)
    os.close(ours)
    return code, process.stdout.read(), shown.decode(), time.monotonic() - stopped


def test_a_terminal_shows_a_bar_that_goes_away_at_the_end():
    code, printed, shown, _ = in_terminal(40)
    assert (code, printed) == (0, "done\n")
    assert "counting" in shown and "/40" in shown and "\r" in shown and "<" in shown  # with the time left
    assert shown.rsplit("\r", 2)[1].strip() == ""  # the last thing drawn is blank


def test_a_pipe_gets_a_line_now_and_then():
    began = time.monotonic()
    process = start(60, subprocess.PIPE)
    printed, shown = process.communicate(timeout=60)
    lines = shown.splitlines()
    assert printed == "done\n" and "\r" not in shown
    assert 1 <= len(lines) <= (time.monotonic() - began) / 0.5
    assert all(re.fullmatch(r"counting: \d+ of 60, about [\d:]+ left", line) for line in lines)
    assert progress.EVERY >= 5  # seconds, where no test makes it shorter


def test_quiet_shows_nothing():
    assert in_terminal(40, **{QUIET: "1"})[:3] == (0, "done\n", "")
    assert start(40, subprocess.PIPE, **{QUIET: "1"}).communicate(timeout=60) == ("done\n", "")


def test_ctrl_c_at_a_bar_ends_soon_with_one_line_below_it():
    code, printed, shown, seconds = in_terminal(1000, stop_after=0.1)
    assert code == 130 and printed == "" and seconds < 5
    last = shown.replace("\r\n", "\n").split("\n")
    assert "run the same command again" in last[-2] and "counting" not in last[-2] and "Traceback" not in shown


def test_a_kernel_writes_into_the_log_of_its_job_and_else_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stderr", type("OutStream", (), {"__module__": "ipykernel.iostream"})())
    monkeypatch.setattr(progress, "EVERY", 0)
    assert list(steps(range(3), "counting")) == [0, 1, 2]
    monkeypatch.setenv(LOG, str(tmp_path / "job.log"))
    assert list(steps(iter("abc"), "counting", 3)) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["counting: 1 of 3", "counting: 2 of 3"]


@pytest.fixture
def table(tmp_path) -> str:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in range(400)], "label": ["mel", "nv"] * 200})
    frame["p_mel"] = rng.integers(0, 100, 400) / 100
    frame.assign(p_nv=1 - frame["p_mel"]).to_csv(tmp_path / "table.csv", index=False)
    return str(tmp_path / "table.csv")


def test_score_shows_its_draws_and_keeps_json_clean(table, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setenv(QUIET, "")
    words = ["score", table, "--json", "--resamples", "20000"]
    shown, quiet = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--quiet"]))
    assert json.loads(shown.stdout) == json.loads(quiet.stdout)
    assert "judging" in shown.stderr and quiet.stderr == ""


def test_a_training_shows_its_steps_before_its_first_epoch_ends(few, threads, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "EVERY", 0)
    recipe = Recipe(backbone={"image_size": (24, 32)}, hidden=8, batch_size=6, phases=[{"epochs": 2}])
    train(recipe, few, seed=0, threads=threads, weights=None, folder=tmp_path / "net/r0")
    printed, shown = capfd.readouterr()
    counted = re.findall(r"training steps: (\d+) of (\d+), about", shown)
    assert counted == [(str(done), "8") for done in range(1, 8)] and printed.count(" epoch ") == 2


def test_a_training_on_features_shows_its_steps_too(few, threads, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "EVERY", 0)
    head = {"train": "head", "epochs": 2}
    recipe = Recipe(backbone={"name": "mobilenet_v2", "image_size": (32, 32)}, batch_size=6, phases=[head])
    train(recipe, few, seed=0, threads=threads, weights=None, folder=tmp_path / "net/r0")
    assert re.findall(r"training steps: (\d+) of (\d+), about", capfd.readouterr().err)[-1] == ("7", "8")


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (
            "2026-01-02 03:04:05.678: I tensorflow/port.cc:153] oneDNN is on.\n",
            "running",
        ),
        ("I0000 00:00:17.1 1 cuda.cc:1] no GPU\n", "running"),
        ("cnn epoch 1/2: loss 1\n\nW0000 00:00:17.1 1 cpu.cc:1] slow\n", "cnn epoch 1/2: loss 1"),
        ("", "running"),
    ],
)
def test_a_study_shows_the_newest_line_of_a_job_and_no_log_of_a_library(tmp_path, log, shown):
    (tmp_path / "job.log").write_text(log)
    assert newest_line(tmp_path / "job.log") == shown
    assert newest_line(tmp_path / "none.log") == "running"


@pytest.mark.parametrize(("code", "words", "printed"), [(0, [], True), (1, [], False), (0, ["--dry-run"], False)])
def test_only_a_study_that_ran_prints_the_path_of_its_page(monkeypatch, code, words, printed):
    monkeypatch.setattr("lesion_utils.cli.study._run", lambda studies, given: code)
    done = CliRunner().invoke(app, ["study", "quick", *words])
    assert done.exit_code == code and ("index.html" in done.stdout) == printed, done.output
