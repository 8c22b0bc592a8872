"""How fast the package is, beside what people use today and beside what the machine can do.

    make bench                                                   # all rows
    .venv/bin/python -m benchmarks.bench --rows decode,metrics   # some rows; the others stay as they were
    .venv/bin/python -m benchmarks.bench --smoke --output out    # tiny sizes; says only that it runs

Writes ``results.json`` and ``results_made_by.json`` beside itself, or into the folder ``--output``; without that option
the table in docs/performance.md is renewed too. Measure on a machine that does nothing else, and where TMPDIR is on its
disk: pictures and caches go there.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.arms import Setting
from benchmarks.lines import LINES, merged, renewed
from benchmarks.page import PAGE
from lesion_utils.paths import PROJECT, write_json

ROUNDS = 5  # at least; short rows have more
MODULES = {row: f"benchmarks.rows.{row}" for row in LINES}
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "simplejpeg", "opencv-python-headless", "scikit-learn")


def main() -> int:
    """Measures the rows asked for; returns 1 if one of them failed, the others being written."""
    asked = _arguments()
    folder = asked.output or Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    results, made_by = _read(folder / "results.json", []), _read(folder / "results_made_by.json", {})
    failed = []
    for row in asked.rows:
        began = time.perf_counter()
        try:
            entries = _measured(row, asked)
        except Exception:
            failed.append(row)
            print(f"{row} failed:\n{traceback.format_exc()}", file=sys.stderr)
            continue
        results = merged(results, entries)
        made_by = {**made_by, row: _made_by(asked.rounds)} if entries else made_by
        made_by = {name: made_by[name] for name in LINES if name in made_by}
        write_json(folder / "results.json", results)
        write_json(folder / "results_made_by.json", made_by)
        for one in entries:
            shown = f"{one['ratio']:.3g} ({one['low']:.3g} to {one['high']:.3g}), target {one['target']}"
            print(
                f"{one['row']}: ours {one['ours']}, theirs {one['theirs']}, limit {one['limit']} {one['unit']}; {shown}"
            )
        print(f"{row}: {time.perf_counter() - began:.0f} s", flush=True)
    if not asked.output:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), results, made_by), encoding="utf-8")
    return int(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(LINES), help=f"rows to measure, of {', '.join(LINES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of a row, at least")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--output", type=Path, help="folder for the results")
    asked = parser.parse_args()
    asked.rows = asked.rows.split(",")
    if unknown := set(asked.rows) - set(LINES):
        parser.error(f"no row named {', '.join(sorted(unknown))}; rows are {', '.join(LINES)}")
    if asked.smoke and not asked.output:
        parser.error("a smoke run measures nothing worth keeping: give it a folder, --output FOLDER")
    return asked


def _measured(row: str, asked: argparse.Namespace) -> list[dict]:
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="lesion_bench.") as scratch:
        setting = Setting(asked.smoke, asked.rounds, threads, Path(scratch), PROJECT.parent / "shared")
        if asked.smoke:
            importlib.import_module("lesion_utils.runtime").start(threads)  # all arms are in this process
        return importlib.import_module(MODULES[row]).measure(setting)


def _made_by(rounds: int) -> dict[str, str]:
    """What measured: the day, the commit, the machine and the versions."""
    words = {"commit": ["rev-parse", "--short=12", "HEAD"], "changed": ["status", "--porcelain", "--", "lesion_utils"]}
    git = {}
    for name, arguments in words.items():
        done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False)
        git[name] = done.stdout.strip() if done.returncode == 0 else "unknown"
    processor = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    about = {
        "on": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": git["commit"] + (" and changes not committed" if git["changed"] else ""),
        "machine": f"{len(os.sched_getaffinity(0))} cores of {processor[0] if processor else platform.machine()}",
        "memory": f"{sum(memory) / 1024**2:.0f} GiB",
        "rounds": str(rounds),
        "Python": platform.python_version(),
    }
    return about | {name: importlib.metadata.version(name) for name in PACKAGES}


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []


def _read(path: Path, otherwise: list | dict) -> list | dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else otherwise


if __name__ == "__main__":
    sys.exit(main())
