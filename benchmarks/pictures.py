"""Made-up JPEGs to measure with: a dark spot on skin, with the grain of a camera; they look like no patient's."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import simplejpeg

from lesion_utils.datasets.ham10000 import CLASSES, IMAGES

GRAIN = 3.9  # standard deviation of the noise: 600x450 px then take about 220 KB at quality 97 without subsampling
cv2.setNumThreads(1)  # the threads are ours
_SKIN = np.array([214, 172, 160], np.float32)


def made_up(folder: Path, count: int, width: int, height: int, threads: int, first: int = 0) -> list[str]:
    """Writes ``count`` different JPEGs ``<class>/<number>.jpg`` into ``folder`` and returns their paths, mixed.

    Classes come in HAM10000's shares. Pictures are numbered from ``first``; the same number gives the same picture.
    """
    grain = np.random.default_rng(0).normal(0, GRAIN, (2 * height, 2 * width, 3)).astype(np.float32)
    shares = np.array([IMAGES[name] for name in CLASSES]) / sum(IMAGES.values())
    labels = np.random.default_rng(1).choice(list(CLASSES), first + count, p=shares)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> str:
        picture = _picture(np.random.default_rng([2, number]), width, height, grain)
        path = folder / labels[number] / f"{number:05}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(picture, 97, "RGB", "444"))
        return str(path)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(write, range(first, first + count)))


def cases(paths: list[str], held_out: int) -> pd.DataFrame:
    """The case table of ``made_up`` files: training, then ``held_out`` each of validation and test."""
    names = [Path(path).stem for path in paths]
    parts = ["train"] * (len(paths) - 2 * held_out) + ["validation"] * held_out + ["test"] * held_out
    table = pd.DataFrame({"image_id": names, "isic_id": names, "lesion_id": names, "path": paths, "split": parts})
    return table.assign(label=[Path(path).parent.name for path in paths])


def _picture(rng: np.random.Generator, width: int, height: int, grain: np.ndarray) -> np.ndarray:
    top, left = rng.integers(height), rng.integers(width)
    mask = np.zeros((height, width), np.float32)
    centre = (int(width * rng.uniform(0.35, 0.65)), int(height * rng.uniform(0.35, 0.65)))
    axes = (int(width * rng.uniform(0.12, 0.3)), int(height * rng.uniform(0.15, 0.35)))
    cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    mask = cv2.blur(mask, (width // 20, width // 20))
    mottle = cv2.resize(rng.normal(0, 1, (12, 16)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    light = 1 + 0.06 * mottle - mask * rng.uniform(0.3, 0.7) * (1 + 0.2 * mottle)
    picture = light[..., None] * _SKIN * rng.uniform(0.85, 1.1, 3).astype(np.float32)
    picture += grain[top : top + height, left : left + width]
    return np.clip(picture, 0, 255).astype(np.uint8)
