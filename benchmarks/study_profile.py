"""Where the wall time of a study goes: each instant of it given to one activity, from the stacks that py-spy sees.

    .venv/bin/python benchmarks/study_profile.py --study quick --label after
    .venv/bin/python benchmarks/study_profile.py --study ham10000 --label after --data <folder> --weights <folder>

Runs the study into a fresh folder under py-spy, 20 stacks a second of every thread of every Python process in it, and
renews its rows of study_profile.json (``label, commit, study, activity, seconds, share``) and the figure
docs/where_the_time_goes.svg. ``--keep`` names a folder for the recording; one that lies there is read instead.

At an instant the deepest process that does something counts: a kernel before the job that started it, that before
Snakemake; two that are equally deep count half each. In a process it is the main thread, or, where that waits for the
threads of a pool, the one of them that moved last; in a stack it is the innermost frame that RULES knows, and
whatever an import does is import. A process without a stack is starting, or, after its last one, ending. What falls
where is said at RULES; what no rule knows is ``other``. A process waits if all it does is wait for another; an instant
in which all wait is ``waiting``.

Not seen by py-spy: the inside of a train step (the row `epoch` of `make bench` sets the feed beside it), and what
TensorFlow does in threads of its own while Python is busy. py-spy stops a process while it looks, which costs
a few per cent. Snakemake, which takes the place of the process of ``lesion study``, is started as a child of it here,
because py-spy loses a process that becomes another program.

HAM10000 takes hours: it runs with EPOCHS epochs a phase and without its leaks, and the seconds of the last epoch of
each phase are then added for each epoch that is missing, to ``training``.
"""

import argparse
import functools
import json
import linecache
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

from lesion_utils.paths import PROJECT, write_json
from lesion_utils.study import STAGES, load_study

HERE = Path(__file__).parent
RESULTS, FIGURE = HERE / "study_profile.json", HERE.parent / "docs" / "where_the_time_goes.svg"
RATE, EPOCHS = 20, 2

TRAINING, PREDICT = "training: fit", "training: predict and features"
TRACING, MODELS = "graphs traced", "models built, saved, loaded"
DECODING, HASHING = "decoding", "files and code hashed"
START, TENSORFLOW, IMPORTS, END = "Python starts", "TensorFlow imported", "other imports", "Python ends"
AUDIT, PROBES, COPIES = "audit and near-duplicates", "probes", "offline copies"
TABLES, JUDGE, FIGURES = "case tables and splits", "judge", "figures"
REPORTS, SNAKEMAKE, JUPYTER = "reports", "Snakemake", "papermill and Jupyter"
PHANTOM, WAITING, OTHER = "phantom drawn", "waiting", "other"

# Whatever an import or a tracing does is that. Then innermost frame first, in each frame the first rule that fits:
# (activity, part of the file's path, a part of the function's dotted name; an empty name is any).
OVERRIDES = [
    (IMPORTS, r"^<frozen importlib", ""),
    (TRACING, r"polymorphic_function/tracing_compilation.py", r"_maybe_define_function|trace_function"),
]
RULES = [
    (DECODING, r"lesion_utils/audit/pictures.py", r"open_image"),
    (DECODING, r"lesion_utils/pixels.py", r"_?(resized|decode.*)"),
    (HASHING, r"lesion_utils/artefacts.py", r"file_digest|code_digest|digest|_package_imports"),
    (HASHING, r"lesion_utils/pixels.py", r"row_digests"),
    (HASHING, r"lesion_utils/datasets/__init__.py", r"data_digest"),
    (HASHING, r"lesion_utils/audit/pictures.py", r"pixel_digests"),
    (DECODING, r"lesion_utils/pixels.py", r"load|case_pixels"),
    (AUDIT, r"lesion_utils/audit/|imagehash", ""),
    (PROBES, r"lesion_utils/probes.py", ""),
    (COPIES, r"lesion_utils/augment.py", r"offline_copies|_write_copies"),
    (COPIES, r"Augmentor/", ""),
    (PHANTOM, r"lesion_utils/datasets/phantom", ""),
    (MODELS, r"keras/src/saving/|keras/src/callbacks/model_checkpoint.py", ""),
    (PREDICT, r"keras/src/backend/tensorflow/trainer.py", r"predict|predict_on_batch"),
    (PREDICT, r"lesion_utils/frozen.py", r"outputs"),
    (TRAINING, r"keras/src/backend/tensorflow/trainer.py", r"fit|evaluate"),
    (MODELS, r"lesion_utils/(models|training|runtime).py", ""),
    (JUDGE, r"lesion_utils/evaluation/", ""),
    (FIGURES, r"lesion_utils/figures.py|matplotlib", ""),
    (TABLES, r"lesion_utils/(datasets/|splits.py|predictions.py|leaks.py|rebalance.py|params.py)", ""),
    (REPORTS, r"nbconvert/|lesion_utils/reports.py|jinja2/", ""),
    (SNAKEMAKE, r"/snakemake|pulp/|Snakefile", ""),
    (JUPYTER, r"papermill/|nbclient/|/jupyter_|ipykernel/|nbformat/|lesion_utils/notebooks.py", ""),
    (OTHER, r"/ipykernel_\d+/", ""),  # a cell's own lines
    (JUPYTER, r"IPython/|zmq/|traitlets/", ""),
]

# Innermost frames of a thread that waits: for a child, a lock, a queue, a message.
_WAITS = [
    (r"threading.py$", r"wait|acquire|join|__enter__|_wait_for_tstate_lock"),
    (r"selectors.py$", r"select"),
    (r"queue.py$", r"get"),
    (r"subprocess.py$", r"_wait|_try_wait|wait|poll|_communicate|communicate|_execute_child"),
    (r"concurrent/futures/(thread|_base).py$", r"_worker|result|wait"),
    (r"multiprocessing/pool.py$", r"worker|_handle_.*"),
    (r"zmq/sugar/poll.py$", r"poll"),
    (r"notebooks.py$", r"watch"),
]
_MAIN = ("_run_module_as_main", "<module>")  # outermost frames of a main thread
_CALLS = {"predict": PREDICT, "fit": TRAINING, "evaluate": TRAINING}
_POOL = re.compile(r"concurrent/futures/|multiprocessing/pool.py")

Frame = tuple[str, str, int]  # dotted name, file, line
Seconds = dict[tuple[str, str], float]  # by activity and what did it


@dataclass
class Process:
    """A Python process of a study: seconds since the recording began, its stacks by thread, outermost frame first."""

    parent: int
    start: float
    end: float
    depth: int = 0
    stacks: dict[int, tuple[Frame, ...]] = field(default_factory=dict)
    moved: dict[int, float] = field(default_factory=dict)  # when a thread's stack last changed
    main: int | None = None


# ---------------------------------------------------------------------------------------------------------- record

# The command `lesion`; but what it would become is its child.
_LESION = """
import os, subprocess
os.execve = lambda path, args, env: os._exit(subprocess.call(args, env=env))
from lesion_utils.cli import app
app()
"""


def record(study: list[str], output: Path, trace: Path) -> None:
    """Runs ``lesion study`` with the arguments ``study`` into the folder ``output`` under py-spy.

    Writes ``trace`` (Chrome's format) and beside it, as ``.processes.json``, when each process began and ended, the
    wall seconds, and the CPU seconds that everything outside the study used meanwhile. Raises CalledProcessError where
    the study fails.
    """
    command = ["py-spy", "record", "--subprocesses", "--idle", "--format", "chrometrace", "--rate", str(RATE)]
    command += ["--output", str(trace), "--", sys.executable, "-c", _LESION, "study", *study]
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"LESION_OUTPUT": str(output), "PYTHONPATH": str(PROJECT), "PATH": places}
    seen: dict[tuple[int, float], dict[str, Any]] = {}
    log = trace.with_suffix(".log")
    began, busy = time.time(), _busy()
    with open(log, "w") as said:
        spy = psutil.Popen(command, stdout=said, stderr=said, env=environment, cwd=PROJECT)
        while spy.poll() is None:
            now = time.time() - began
            for process in _below(spy):
                _note(process, now, seen)
            time.sleep(0.1)
    if not list(output.glob("reports/*/index.html")):
        raise subprocess.CalledProcessError(spy.returncode, command, log.read_text()[-4000:])
    rows = list(seen.values())
    # psutil's times of creation are off by a constant part of a second
    late = min(row["first"] - row["created"] for row in rows)
    for row in rows:
        row["start"] = row.pop("created") + late
    others = _busy() - busy - sum(row.get("cpu", 0) for row in rows)
    write_json(trace.with_suffix(".processes.json"), {"others": round(others, 1), "processes": rows})


def _busy() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _note(process: psutil.Process, now: float, seen: dict[tuple[int, float], dict[str, Any]]) -> None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        times = process.cpu_times()
        row = {"pid": process.pid, "parent": process.ppid(), "created": process.create_time(), "first": now}
        row = seen.setdefault((process.pid, row["created"]), row)
        row |= {"end": now, "cpu": times.user + times.system}
        row["command"] = " ".join(process.cmdline()) or row.get("command", "")
    except psutil.Error:
        return


# ---------------------------------------------------------------------------------------------------------- attribute


def attribute(trace: Path) -> Seconds:
    """The wall seconds of a recording by (activity, what did it); they sum up to the time from first to last process.

    What did it is a function of the package, an imported package, or the module of another one.
    """
    known = json.loads(trace.with_suffix(".processes.json").read_text(encoding="utf-8"))["processes"]
    processes = {
        row["pid"]: Process(row["parent"], row["start"], row["end"])
        for row in known
        if "python" in row.get("command", "").split(" ")[0]
    }
    for process in processes.values():
        parent = processes.get(process.parent)
        while parent:
            process.depth, parent = process.depth + 1, processes.get(parent.parent)
    changes = _changes(trace, set(processes))
    changes += [(process.start, pid, -1, ()) for pid, process in processes.items()]
    changes += [(process.end, pid, -2, ()) for pid, process in processes.items()]
    changes.sort(key=lambda change: change[0])
    spent: Seconds = defaultdict(float)
    alive: dict[int, tuple[int, str, str]] = {}  # how busy, activity, what
    before = changes[0][0]
    for now, pid, thread, stack in changes:
        if now > before and alive:
            best = max((state[0], processes[one].depth) for one, state in alive.items())
            counted = [state[1:] for one, state in alive.items() if (state[0], processes[one].depth) == best]
            for activity in counted:
                spent[activity] += (now - before) / len(counted)
        elif now > before:
            spent[(OTHER, "no process")] += now - before
        before = now
        process = processes[pid]
        if thread == -2:
            alive.pop(pid, None)
        elif process.start <= now <= process.end:
            if thread >= 0:
                if process.main is None and stack and stack[0][0] in _MAIN:
                    process.main = thread
                process.stacks[thread], process.moved[thread] = stack, now
            alive[pid] = _state(process)
    return spent


def _changes(trace: Path, pids: set[int]) -> list[tuple[float, int, int, tuple[Frame, ...]]]:
    """(seconds, process, thread, stack), each time that a thread's stack has changed."""
    stacks: dict[tuple[int, int], list[Frame]] = {}
    changes: list[tuple[float, int, int, tuple[Frame, ...]]] = []
    last: tuple[float, int, int] | None = None
    for event in json.loads(trace.read_text(encoding="utf-8")):
        if event["pid"] not in pids or event["ph"] not in "BE":
            continue
        here = event["ts"] / 1e6, event["pid"], event["tid"]
        if last not in (None, here):
            changes.append((*last, tuple(stacks[last[1:]])))
        last, stack = here, stacks.setdefault(here[1:], [])
        if event["ph"] == "E":
            stack[-1:] = []
        elif not event["name"].startswith("process "):  # py-spy's own line for the process
            stack.append((event["name"], event["args"]["filename"], event["args"]["line"] or 0))
    return changes


def _state(process: Process) -> tuple[int, str, str]:
    """How busy a process is (3 does something, 2 starts, 1 ends, 0 waits), with what, and what does it."""
    if process.main is None:
        return 2, START, "before the first stack"
    stack = process.stacks[process.main]
    if not stack:
        return 1, END, "after the last stack"
    if not waits(stack):
        return 3, *named(stack)
    if any(_POOL.search(file) for _, file, _ in stack):
        pool = [
            thread
            for thread, one in process.stacks.items()
            if thread != process.main and any(_POOL.search(file) for _, file, _ in one) and not waits(one)
        ]
        if pool:
            activity, what = named(process.stacks[max(pool, key=process.moved.__getitem__)])
            return (3, *named(stack)) if activity == OTHER else (3, activity, what)
        return 3, *named(stack)
    return 0, WAITING, " ".join(named(stack))


@functools.cache
def waits(stack: tuple[Frame, ...]) -> bool:
    """Whether the innermost frame of a stack only waits."""
    name, file, _ = stack[-1] if stack else ("", "", 0)
    return any(re.search(part, file) and _is(name, words) for part, words in _WAITS)


def _is(name: str, words: str) -> bool:
    return not words or any(re.fullmatch(words, one) for one in name.split("."))


@functools.cache
def _fits(frame: Frame, rules: str) -> str | None:
    table = {"overrides": OVERRIDES, "rules": RULES}[rules]
    return next((kind for kind, part, words in table if re.search(part, frame[1]) and _is(frame[0], words)), None)


@functools.cache
def named(stack: tuple[Frame, ...]) -> tuple[str, str]:
    """The activity of a stack, outermost frame first, and what does it."""
    found = [kind for frame in stack if (kind := _fits(frame, "overrides"))]
    if IMPORTS in found:
        first = next(i for i, frame in enumerate(stack) if _fits(frame, "overrides") == IMPORTS)
        inside = [_package(file) for _, file, _ in stack[first:] if "site-packages/" in file]
        package = inside[0] if inside else "lesion_utils and the standard library"
        return (TENSORFLOW if {"tensorflow", "keras"} & set(inside) else IMPORTS), package
    ours = [f"{file.split('lesion_utils/')[1]} {name}" for name, file, _ in stack if "lesion_utils/" in file]
    what = ours[-1] if ours else next((_package(file) for _, file, _ in stack[::-1] if "site-packages/" in file), "")
    if found:
        return found[0], what
    if stack and stack[-1][0].endswith("error_handler") and len(stack) > 1:
        # Keras' wrapper of a call whose own frame py-spy missed: what is called is in the source
        called = linecache.getline(*stack[-2][1:])
        if again := [kind for word, kind in _CALLS.items() if f".{word}(" in called]:
            return again[0], what
    return next((kind for frame in stack[::-1] if (kind := _fits(frame, "rules"))), OTHER), what


def _package(file: str) -> str:
    return file.split("site-packages/")[1].split("/")[0].removesuffix(".py") if "site-packages/" in file else file


# ---------------------------------------------------------------------------------------------------------- ham10000


def cut_short(study: Path, folder: Path) -> Path:
    """Writes a study with at most EPOCHS epochs a phase and without leaks to ``folder``, and returns its file."""
    known = yaml.safe_load(study.read_text(encoding="utf-8"))
    for stage in STAGES:
        for recipe in known.get(stage, {}).values():
            recipe["phases"] = [phase | {"epochs": min(EPOCHS, phase["epochs"])} for phase in recipe["phases"]]
    known.pop("leaks", None)
    short = folder / study.name
    short.write_text(yaml.safe_dump(known, sort_keys=False), encoding="utf-8")
    return short


def missing_seconds(study: str, output: Path) -> float:
    """Seconds that the epochs which a shortened run in ``output`` left out would take: each as its phase's last one."""
    missing = 0.0
    for name, recipe in load_study(study).recipes.items():
        history = pd.read_csv(output / "runs" / study / "models" / name / "r0" / "history.csv")
        for number, phase in enumerate(recipe.phases):
            seconds = history.loc[history["phase"] == number, "seconds"]
            missing += (phase.epochs - len(seconds)) * seconds.iloc[-1]
    return missing


# ---------------------------------------------------------------------------------------------------------- result


def profile(study: str, options: list[str], keep: Path | None = None) -> tuple[Seconds, float]:
    """Runs a study afresh under py-spy: its seconds by (activity, what), and those added for the epochs left out.

    ``options`` are those of ``lesion study``. ``keep`` is a folder for what it leaves; a recording there is read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        trace, output = folder / f"{study}.json", folder / "output"
        if not trace.is_file():
            name = study if study == "quick" else str(cut_short(PROJECT / "params" / f"{study}.yml", folder))
            record([name, *options], output, trace)
        spent = attribute(trace)
        added = 0.0 if study == "quick" else missing_seconds(study, output)
    spent[(TRAINING, "epochs left out")] += added
    return spent, added


def rows(spent: Seconds, label: str, study: str) -> list[dict]:
    """The rows of study_profile.json of one profile, the longest activity first."""
    by_activity: dict[str, float] = defaultdict(float)
    for (activity, _), seconds in spent.items():
        by_activity[activity] += seconds
    about = {"label": label, "commit": _commit(), "study": study}
    whole = sum(spent.values())
    return [
        about | {"activity": activity, "seconds": round(seconds, 1), "share": round(seconds / whole, 4)}
        for activity, seconds in sorted(by_activity.items(), key=lambda one: -one[1])
    ]


def _commit() -> str:
    words = ["git", "-C", str(PROJECT), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


# What the figure shows as one; its colours are those of Okabe and Ito, which the colour-blind tell apart.
GROUPS = {
    "training (fit, predict, features)": ("#0072B2", [TRAINING, PREDICT]),
    "graphs traced, models built and saved": ("#56B4E9", [TRACING, MODELS]),
    "decoding": ("#009E73", [DECODING]),
    "start of Python and TensorFlow": ("#F0E442", [START, TENSORFLOW, END]),
    "other imports": ("#E69F00", [IMPORTS]),
    "hashing, audit, probes, splits, copies": ("#D55E00", [HASHING, AUDIT, PROBES, TABLES, COPIES]),
    "judge, figures, reports": ("#CC79A7", [JUDGE, FIGURES, REPORTS]),
    "Snakemake, papermill, Jupyter, waiting": ("#999999", [SNAKEMAKE, JUPYTER, WAITING]),
    "phantom drawn, other": ("#000000", [PHANTOM, OTHER]),
}


def draw(found: list[dict], path: Path) -> None:
    """Draws what study_profile.json holds, a panel a study and a bar a label, to ``path``."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    table = pd.DataFrame(found)
    studies = sorted(table["study"].unique(), reverse=True)
    plt.rcParams["svg.hashsalt"] = "lesion_utils"  # the same picture, byte for byte
    figure, panels = plt.subplots(len(studies), 1, figsize=(9, 1.6 + 1.7 * len(studies)), squeeze=False)
    for study, axes in zip(studies, panels[:, 0], strict=True):
        of_study = table[table["study"] == study]
        labels = sorted(of_study["label"].unique())  # after stands below before when drawn upwards
        for place, label in enumerate(labels):
            seconds = of_study[of_study["label"] == label].set_index("activity")["seconds"]
            left = 0.0
            for name, (colour, activities) in GROUPS.items():
                width = seconds.reindex(activities).sum()
                axes.barh(place, width, left=left, color=colour, label=name if place == 0 else None)
                left += width
            axes.text(left, place, f" {left:,.0f} s", va="center")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlim(0, 1.12 * of_study.groupby("label")["seconds"].sum().max())
        scaled = "" if study == "quick" else f"; {EPOCHS} epochs a phase measured, the others added, no leaks"
        axes.set_title(f"{study} study{scaled}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("wall seconds")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.16 if len(studies) > 1 else 0.28, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Profiles one study and renews its rows and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=["quick", "ham10000"], default="quick")
    parser.add_argument("--label", choices=["before", "after"], default="after")
    parser.add_argument("--data", help="folder of HAM10000")
    parser.add_argument("--weights", help="folder of ImageNet weights")
    parser.add_argument("--keep", type=Path, help="folder for the recording; one that is there is read, not made anew")
    given = parser.parse_args()
    options = [f"--{name}={value}" for name in ("data", "weights") if (value := getattr(given, name))]
    spent, _ = profile(given.study, options, given.keep)
    renewed = rows(spent, given.label, given.study)
    for row in renewed:
        longest = sorted(spent.items(), key=lambda one: -one[1])
        what = [f"{name} {s:.1f}" for (kind, name), s in longest if kind == row["activity"] and s >= 0.5]
        print(f"{row['activity']:32}{row['seconds']:9.1f} s {row['share']:6.1%}  {', '.join(what[:6])}")
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    known = [row for row in known if (row["label"], row["study"]) != (given.label, given.study)]
    write_json(RESULTS, known + renewed)
    draw(known + renewed, FIGURE)


if __name__ == "__main__":
    main()
