"""JPEG files to uint8 pictures of one size, ready to train on."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.arms import Arm, Setting, in_turn, per_second, times_faster
from benchmarks.lines import entry
from benchmarks.pictures import made_up

SIDE = 180  # px, as systems 003 and 004 have it
COUNT = {"made up": 600, "real": 4000}


def measure(setting: Setting) -> list[dict]:
    """Three entries a kind of file: against Keras, against Pillow, and against the limit."""
    entries = []
    for kind, files in (("made up", _made_up_files), ("real", _real_files)):
        folder = setting.scratch / kind.replace(" ", "_")
        paths = files(setting, folder, setting.size(COUNT[kind], 24))
        if not paths:
            print(f"decode, {kind}: there is no ../shared/data/ham10000, so the entries stay as they were")
            continue
        arms = {
            "ours": Arm(ours, {"paths": paths, "scratch": setting.scratch / "cache", "threads": setting.threads}),
            "keras": Arm(keras_dataset, {"folder": folder}),
            "pil": Arm(pillow_loop, {"paths": paths}),
            "limit": Arm(limit, {"paths": paths, "threads": setting.threads}),
        }
        seconds = in_turn(arms, setting)
        rates = {name: per_second(len(paths), found) for name, found in seconds.items()}
        for against in ("keras", "pil", "limit"):
            ratios = times_faster(seconds["ours"], seconds[against])
            theirs = None if against == "limit" else rates[against]
            entries.append(entry(f"{kind} {against}", ratios, rates["ours"], theirs, rates["limit"]))
    return entries


def ours(paths: list[str], scratch: Path, threads: int) -> Callable[[], float]:
    """``pixels.load_pictures`` into an empty cache."""
    from lesion_utils import pictures as pixels

    def run() -> float:
        shutil.rmtree(scratch, ignore_errors=True)
        os.environ["LESION_OUTPUT"] = str(scratch)
        began = time.perf_counter()
        pixels.load_pictures(paths, (SIDE, SIDE), threads)
        return time.perf_counter() - began

    return run


def keras_dataset(folder: Path) -> Callable[[], float]:
    """Keras' own reader of class folders, all its batches taken once; that it lists the folders is not counted."""
    from lesion_utils.runtime import keras

    dataset = keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), batch_size=32, verbose=False)

    def run() -> float:
        began = time.perf_counter()
        for _ in dataset:
            pass
        return time.perf_counter() - began

    return run


def pillow_loop(paths: list[str]) -> Callable[[], float]:
    """One picture after the other, opened and resized by Pillow and kept in a list, as system 002 does it."""
    import numpy as np
    from PIL import Image

    def run() -> float:
        began = time.perf_counter()
        np.asarray([np.asarray(Image.open(path).resize((SIDE, SIDE))) for path in paths])
        return time.perf_counter() - began

    return run


def limit(paths: list[str], threads: int) -> Callable[[], float]:
    """What libjpeg-turbo needs to read and decode the files, scaled down as far as it can; nothing is resized."""
    import simplejpeg

    def decode(chunk: list[str]) -> None:
        for path in chunk:
            data = Path(path).read_bytes()
            simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE, min_factor=2)

    chunks = [paths[first : first + 16] for first in range(0, len(paths), 16)]

    def run() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, chunks))
        return time.perf_counter() - began

    return run


def _made_up_files(setting: Setting, folder: Path, count: int) -> list[str]:
    return made_up(folder, count, 600, 450, setting.threads)


def _real_files(setting: Setting, folder: Path, count: int) -> list[str]:
    """Links to ``count`` pictures of HAM10000 in folders of their classes; none if the set is not there."""
    from lesion_utils.datasets import ham10000

    if not (setting.shared / "data" / "ham10000").is_dir():
        return []
    found = ham10000.read(setting.shared / "data" / "ham10000").sample(count, random_state=0)
    links = []
    for path, label in zip(found["path"], found["label"], strict=True):
        link = folder / label / Path(path).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
        links.append(str(link))
    return links
