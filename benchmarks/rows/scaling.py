"""What an image costs among 20,000 and among 2,000: read for the first time, found again, and fed for an epoch."""

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.arms import Arm, Setting, in_turn
from benchmarks.lines import entry
from benchmarks.pictures import made_up

MANY, FEW = 20_000, 2_000
SIZE, BATCH = (150, 200), 64  # height and width in px, as the files have them


def measure(setting: Setting) -> list[dict]:
    """One entry, in milliseconds an image."""
    many, few = setting.size(MANY, 96), setting.size(FEW, 48)
    paths = made_up(setting.scratch / "pictures", many, SIZE[1], SIZE[0], setting.threads)
    shared = {"scratch": setting.scratch / "cache", "threads": setting.threads}
    arms = {
        "many": Arm(prepare_and_feed, {"paths": paths, **shared}),
        "few": Arm(prepare_and_feed, {"paths": paths[:few], **shared}),
    }
    seconds = in_turn(arms, setting)
    each = {
        "many": [1000 * value / many for value in seconds["many"]],
        "few": [1000 * value / few for value in seconds["few"]],
    }
    ratios = [one / other for one, other in zip(each["many"], each["few"], strict=True)]
    return [entry("scaling", ratios, *(statistics.median(each[name]) for name in arms))]


def prepare_and_feed(paths: list[str], scratch: Path, threads: int) -> Callable[[], float]:
    """``pixels.load_pictures`` into an empty cache, ``load`` again, and an epoch of ``batches`` in random order."""
    import numpy as np

    from lesion_utils import pictures as pixels

    targets = np.zeros((len(paths), 7), np.float32)

    def run() -> float:
        shutil.rmtree(scratch, ignore_errors=True)
        os.environ["LESION_OUTPUT"] = str(scratch)
        began = time.perf_counter()
        pixels.load_pictures(paths, SIZE, threads)
        found = pixels.load_pictures(paths, SIZE, threads)
        order = np.random.default_rng(0).permutation(len(paths))
        for _ in pixels.batches(found, targets, lambda _: order, BATCH, epochs=1):
            pass
        return time.perf_counter() - began

    return run
