"""The table of speeds: what is tracked is whole and agrees with itself, and every row can be measured, small."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from benchmarks import bench, lines
from benchmarks.arms import Arm, Setting, in_turn, times_faster
from lesion_utils.paths import PROJECT

FOLDER = PROJECT / "benchmarks"
RESULTS = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
MADE_BY = json.loads((FOLDER / "results_made_by.json").read_text(encoding="utf-8"))
LINES = {line.title: line for row in lines.LINES.values() for line in row.values()}
PAGE = (PROJECT / "docs" / "performance.md").read_text(encoding="utf-8")


def entry_is_whole(one: dict) -> None:
    assert list(one) == ["row", "unit", "ours", "theirs", "limit", "ratio", "low", "high", "target", "met"]
    line = LINES[one["row"]]
    assert (one["unit"], one["target"]) == (line.unit, line.target)
    assert one["ours"] > 0 and all(one[name] is None or one[name] > 0 for name in ("theirs", "limit"))
    assert 0 < one["low"] <= one["ratio"] <= one["high"]
    assert one["met"] is lines.holds(one["ratio"], one["target"])
    if found := re.fullmatch(r"(\w+) / (\w+)", line.ratio):
        # a ratio of medians lies between the least and the most of the ratios, but for the rounding of all of them
        assert 0.99 * one["low"] <= one[found[1]] / one[found[2]] <= 1.01 * one["high"]


# what is tracked


def test_the_tracked_results_are_whole_and_agree_with_themselves():
    assert [one["row"] for one in RESULTS] == list(LINES)
    for one in RESULTS:
        entry_is_whole(one)


def test_it_is_told_what_measured_each_row():
    assert list(MADE_BY) == list(lines.LINES)
    for made_by in MADE_BY.values():
        assert re.fullmatch(r"[0-9a-f]{12}( and changes not committed)?", made_by["commit"])
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", made_by["on"])
        assert re.fullmatch(r"\d+ cores of .+", made_by["machine"])
        assert made_by["tensorflow"] and made_by["simplejpeg"]


def test_the_page_holds_the_table_of_the_tracked_results():
    assert lines.renewed(PAGE, RESULTS, MADE_BY) == PAGE, "renew it with `make bench`"
    cell = f"| {RESULTS[0]['ratio']:.3g} ("
    spoilt = PAGE.replace(cell, "| 99 (")
    assert spoilt != PAGE and lines.renewed(spoilt, RESULTS, MADE_BY) == PAGE
    assert set(lines.NOTES) == set(lines.LINES)
    for row, note in lines.NOTES.items():
        assert f"* **{row}**: {note}" in " ".join(PAGE.split())


def test_make_bench_runs_it():
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/installed", "bench", "ROWS=decode,metrics"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [".venv/bin/python", "-m", "benchmarks.bench", "--rows", '"decode,metrics"']


# how it is measured


@pytest.mark.parametrize(
    ("ratio", "target", "held"),
    [
        (1.15, ">= 1.15", True),
        (1.149, ">= 1.15", False),
        (1.1, "<= 1.1", True),
        (1.101, "<= 1.1", False),
        (1.0, "< 1", False),
        (0.999, "< 1", True),
    ],
)
def test_a_target_is_held_or_not(ratio, target, held):
    assert lines.holds(ratio, target) is held
    assert lines.entry("memory", [0.5, 2.0, 0.9], 0.9)["met"] is True
    assert lines.entry("memory", [1.5, 0.2, 1.9], 0.9)["met"] is False


def test_an_entry_is_the_median_of_the_rounds_with_its_spread():
    one = lines.entry("head", [30.0, 10.0, 25.0, 21.0, 22.0], 40.0, 880.0, 35.0)
    assert (one["ratio"], one["low"], one["high"], one["met"]) == (22.0, 10.0, 30.0, True)
    assert (one["ours"], one["theirs"], one["limit"]) == (40.0, 880.0, 35.0)
    entry_is_whole(one)


def test_a_row_measured_alone_takes_its_own_place_and_no_other():
    results = [lines.entry("head", [20.0], 10.0, 200.0), lines.entry("memory", [0.5], 0.5)]
    gone = {**results[0], "row": "a row of the past"}
    new = [lines.entry("memory", [0.7], 0.7), lines.entry("epoch limit", [1.0], 5.0, None, 5.0)]
    found = lines.merged([*results, gone], new)
    assert [one["row"] for one in found] == [
        lines.LINES[row][key].title for row, key in (("epoch", "epoch limit"), ("head", "head"), ("memory", "memory"))
    ]
    assert (found[1], found[2]["ratio"]) == (results[0], 0.7)


def waits(seconds: float, log: str):
    """An arm that notes its process and its turn in the file ``log``."""

    def run() -> float:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{seconds} {os.getpid()}\n")
        time.sleep(seconds)
        return seconds

    return run


def breaks():
    raise ValueError("no picture there")


def test_arms_take_turns_forwards_and_backwards_in_processes_of_their_own(tmp_path):
    log = tmp_path / "log"
    setting = Setting(False, 3, 2, tmp_path, tmp_path)
    arms = {name: Arm(waits, {"seconds": seconds, "log": str(log)}) for name, seconds in (("a", 0.01), ("b", 0.02))}
    seconds = in_turn(arms, setting)
    assert seconds == {"a": [0.01] * 3, "b": [0.02] * 3}
    assert times_faster(seconds["a"], seconds["b"]) == [2.0] * 3
    order, processes = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    assert order[2:] == ("0.01", "0.02", "0.02", "0.01", "0.01", "0.02")  # after a round to warm up
    assert len(set(processes)) == 2 and str(os.getpid()) not in processes
    with pytest.raises(RuntimeError, match="no picture there"):
        in_turn({"a": Arm(breaks)}, setting)


def test_a_row_that_is_not_there_and_a_smoke_run_over_the_tracked_results_are_refused(monkeypatch, capsys, tmp_path):
    for words, told in ((["--rows", "decode,speed"], "no row named speed"), (["--smoke"], "--output FOLDER")):
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit):
            bench.main()
        assert told in capsys.readouterr().err


def test_every_row_can_be_measured(tmp_path):
    before = {path: path.read_bytes() for path in (FOLDER / "results.json", PROJECT / "docs" / "performance.md")}
    command = [sys.executable, "-m", "benchmarks.bench", "--smoke", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    real = (PROJECT.parent / "shared" / "data" / "ham10000").is_dir()
    expected = [title for title in LINES if real or "HAM10000" not in title]
    assert [one["row"] for one in found] == expected
    for one in found:
        entry_is_whole(one)
    assert all(path.read_bytes() == content for path, content in before.items())
