"""Memory that preparing HAM10000 takes at its peak, in a process of its own."""

import os
import shutil
import statistics
import subprocess
import sys

from benchmarks.arms import Setting
from benchmarks.lines import entry

SIDE, IMAGES = 224, 10_015  # px, as system 002 has it
THEIRS = 1000  # images that are measured; the rest is scaled up
GB = 1e9

_HEAD = """
import sys
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

paths = sys.stdin.read().splitlines()
"""

# `pixels.load_pictures`, and one pass over what it gives.
OURS = """
from lesion_utils import pictures as pixels
found = pixels.load_pictures(paths, (SIDE, SIDE), int(sys.argv[1]))
assert len(found) == len(paths)
print(peak())
"""

# System 002's way: every picture in a list, then training and test part as float64 of mean 0 and spread 1.
THEIRS_CODE = """
import numpy as np
from PIL import Image
before = peak()
pictures = [np.asarray(Image.open(path).resize((SIDE, SIDE))) for path in paths]
parts = []
for chosen in (pictures[len(paths) // 5 :], pictures[: len(paths) // 5]):
    part = np.asarray(chosen, np.float64)
    part -= part.mean()
    part /= part.std()
    parts.append(part)
print(peak() - before, before)
"""


def measure(setting: Setting) -> list[dict]:
    """One entry, in GB; its ratio is ours in GB."""
    paths = _files(setting)
    if not paths:
        print("memory: there is no ../shared/data/ham10000, so the entry stays as it was")
        return []
    count, part = setting.size(IMAGES, 24), setting.size(THEIRS, 24)
    own, theirs = [], []
    for _ in range(setting.rounds if not setting.smoke else 1):
        shutil.rmtree(setting.scratch / "cache", ignore_errors=True)
        own.append(_peak(OURS, paths[:count], setting)[0] / GB)
        grown, before = _peak(THEIRS_CODE, paths[:part], setting)
        theirs.append((before + grown * count / part) / GB)
    cache = count * SIDE * SIDE * 3 / GB
    return [entry("memory", own, statistics.median(own), statistics.median(theirs), cache)]


def _files(setting: Setting) -> list[str]:
    from lesion_utils.datasets import ham10000

    folder = setting.shared / "data" / "ham10000"
    return [str(path) for path in ham10000.image_files(folder)] if folder.is_dir() else []


def _peak(code: str, paths: list[str], setting: Setting) -> list[int]:
    """The numbers that ``code`` prints, run in a process of its own with ``paths`` on its standard input."""
    environment = os.environ | {"LESION_OUTPUT": str(setting.scratch / "cache")}
    command = [sys.executable, "-c", f"SIDE = {SIDE}\n{_HEAD}{code}", str(setting.threads)]
    done = subprocess.run(command, input="\n".join(paths), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [int(word) for word in done.stdout.split()]
