"""Whether two jobs at once, a thread each, are done sooner than one after the other with two threads each.

.venv/bin/python -m benchmarks.parallel      # a few minutes; writes parallel.json and its line in docs/performance.md

A job is a process of its own that trains the small CNN on the phantom: as Snakemake runs the notebooks of a study. What
is written is, round by round, the time of two at once over the time of two in turn, and the same without the start of
Python and TensorFlow, of which two at once share the waiting.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.page import renew
from lesion_utils.paths import PROJECT, write_json

RESULTS = Path(__file__).with_suffix(".json")
NAMES = ("two at once / two in turn", "the same without the start of Python and TensorFlow")
ROUNDS = 5
JOB = """
import sys, time
from lesion_utils.study import StudyParams
from lesion_utils.splits import split_cases
from lesion_utils.training import train
threads, repeat = int(sys.argv[1]), int(sys.argv[2])
recipe = {"image_size": (72, 96), "batch_size": 64, "phases": [{"epochs": 15}], "keep": "last"}
params = StudyParams(study="jobs", threads=threads, repeats=repeat + 1, repeat=repeat, baseline={"cnn": recipe})
cases = split_cases(params)
began = time.perf_counter()
train("cnn", cases, params)
print(time.perf_counter() - began)
"""


def jobs(threads: int, first: int, together: bool) -> tuple[float, float]:
    """Seconds of two jobs from start to end, and of their trainings alone."""
    began, trained, running = time.perf_counter(), [], []
    for repeat in (first, first + 1):
        command = [sys.executable, "-c", JOB, str(threads), str(repeat)]
        running.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True))
        if not together:
            running[-1].wait()
    for job in running:
        trained.append(float(job.communicate()[0].splitlines()[-1]))
    return time.perf_counter() - began, max(trained) if together else sum(trained)


def told(found: dict) -> str:
    """What was measured, as docs/performance.md shows it."""
    lines = [
        f"| time on {found['cores']} cores, {found['rounds']} rounds | median | least | most |",
        "|---|---|---|---|",
    ]
    for name in NAMES:
        lines.append(f"| {name} | {found[name]['median']:.2f} | {found[name]['low']:.2f} | {found[name]['high']:.2f} |")
    sooner = "done sooner" if found[NAMES[0]]["median"] < 1 else "not done sooner"
    return "\n".join([*lines, "", f"Two jobs at once, a thread each, were {sooner}."])


def main() -> None:
    """Measures both ways in turn and writes the ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LESION_OUTPUT"] = scratch
        jobs(2, 100, together=False)  # draws the phantom, decodes it
        rounds = []
        for number in range(ROUNDS):
            at_once, in_turn = jobs(1, 4 * number, together=True), jobs(2, 4 * number + 2, together=False)
            rounds.append([one / other for one, other in zip(at_once, in_turn, strict=True)])
            print(f"at once {at_once[0]:.1f} s ({at_once[1]:.1f} s), in turn {in_turn[0]:.1f} s ({in_turn[1]:.1f} s)")
    found: dict = {"cores": len(os.sched_getaffinity(0)), "rounds": ROUNDS}
    for name, ratios in zip(NAMES, zip(*rounds, strict=True), strict=True):
        found[name] = {"median": round(statistics.median(ratios), 2), "low": round(min(ratios), 2)}
        found[name]["high"] = round(max(ratios), 2)
    write_json(RESULTS, found)
    renew("parallel", told(found))


if __name__ == "__main__":
    main()
