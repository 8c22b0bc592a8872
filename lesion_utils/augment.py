"""Augmentation: random changes of the training pictures in the feed, and Augmentor's copies written before training.

The changes are distributed as those of Keras' random layers, which the tests hold them to, but a picture is resampled
once for all of them: it is quicker, and it is not blurred by every layer anew.
"""

import contextlib
import hashlib
import io
import itertools
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import cv2
import numpy as np
import pandas as pd

from lesion_utils.artefacts import cache_folder, digest, file_digest
from lesion_utils.errors import InputError
from lesion_utils.recipes import Augmentation, OfflineCopies

cv2.setNumThreads(1)  # the threads are ours

Numbers = np.ndarray | float

_NUMBERS = 10  # drawn for every picture, whatever is asked: one kind does not change what is drawn for another
_PURPOSE = int.from_bytes(b"augment")  # a stream of its own beside others of the same seed and epoch


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is to be done with each of some pictures.

    ``matrices`` (count, 2, 3) take x, y, 1 of a pixel of the result to x, y in the picture given (pixel centres are
    whole numbers); ``brightness`` (count,) is added to every value, 0 to 255; ``contrast`` (count,) multiplies the
    distance of every value from its channel's mean after that.
    """

    matrices: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, rows: slice) -> "Drawn":
        return Drawn(self.matrices[rows], self.brightness[rows], self.contrast[rows])


def augmenter(
    augmentation: Augmentation, seed: int, threads: int
) -> Callable[[np.ndarray, int, int], np.ndarray] | None:
    """A function ``change(pictures, epoch, first)`` for the feed; None where ``augmentation`` changes nothing.

    ``pictures`` (n, height, width, 3), uint8, are those from place ``first`` of ``epoch`` on; the result is a new
    array like them. What is drawn for a picture depends on ``seed``, ``epoch`` and its own place in the epoch: neither
    on ``threads`` nor on the size of the batches.
    """
    if augmentation == Augmentation():
        return None

    def change(pictures: np.ndarray, epoch: int, first: int) -> np.ndarray:
        bits = np.random.PCG64([_PURPOSE, seed, epoch]).advance(first * _NUMBERS)
        drawn = draw(augmentation, len(pictures), pictures.shape[1:3], np.random.Generator(bits))
        return apply(drawn, pictures, threads)

    return change


def draw(augmentation: Augmentation, count: int, size: tuple[int, int], rng: np.random.Generator) -> Drawn:
    """Changes for ``count`` pictures of ``size`` (height, width), as Keras' random layers draw them."""
    height, width = size
    drawn = rng.random((count, _NUMBERS)).T
    wanted = np.array([augmentation.flip in ("horizontal", "both"), augmentation.flip in ("vertical", "both")])
    flip_x, flip_y = (drawn[:2] < 0.5) & wanted[:, None]
    largest = np.array(
        [
            augmentation.rotation * 2 * np.pi,
            augmentation.zoom,
            augmentation.shift * width,
            augmentation.shift * height,
            augmentation.shear,  # Keras turns the signs of both at random as well, which changes no distribution
            augmentation.shear,
            augmentation.brightness * 255,
            augmentation.contrast,  # either way, as Keras documents it; its layer, given one number, only adds contrast
        ]
    )
    angle, zoom, shift_x, shift_y, shear_x, shear_y, brightness, contrast = (2 * drawn[2:] - 1) * largest[:, None]
    matrices = composed(
        size,
        flip_x=flip_x,
        flip_y=flip_y,
        angle=angle,
        zoom=1 + zoom,
        shift_x=shift_x,
        shift_y=shift_y,
        shear_x=shear_x,
        shear_y=shear_y,
    )
    return Drawn(matrices, brightness, 1 + contrast)


def composed(
    size: tuple[int, int],
    *,
    flip_x: Numbers = False,
    flip_y: Numbers = False,
    angle: Numbers = 0.0,
    zoom: Numbers = 1.0,
    shift_x: Numbers = 0.0,
    shift_y: Numbers = 0.0,
    shear_x: Numbers = 0.0,
    shear_y: Numbers = 0.0,
) -> np.ndarray:
    """The ``Drawn.matrices`` of a flip, a rotation, a zoom, a shift and a shear, in this order.

    All are (count,) or one number: flips along x and y True or False; ``angle`` in radians, anticlockwise; ``zoom`` as
    Keras has it, above 1 shows more of the picture; shifts in pixels, to the right and down; shears as tangents. The
    centre is the picture's, of a shear the upper left corner, as in Keras.
    """
    middle_y, middle_x = ((side - 1) / 2 for side in size)
    x, y = 1 - 2 * np.asarray(flip_x, float), 1 - 2 * np.asarray(flip_y, float)
    cos, sin = np.cos(angle), np.sin(angle)
    flip = _affine(x, 0, middle_x * (1 - x), 0, y, middle_y * (1 - y))
    turn_x, turn_y = middle_x - middle_x * cos + middle_y * sin, middle_y - middle_x * sin - middle_y * cos
    turn = _affine(cos, -sin, turn_x, sin, cos, turn_y)
    scale = _affine(zoom, 0, middle_x * (1 - zoom), 0, zoom, middle_y * (1 - zoom))
    shift = _affine(1, 0, -shift_x, 0, 1, -shift_y)
    shear = _affine(1, shear_x, 0, shear_y, 1, 0)
    # Each takes a place in its result to one in its input, so the first change stands on the left.
    return (flip @ turn @ scale @ shift @ shear)[:, :2]


def _affine(*rows: Numbers) -> np.ndarray:
    """(count, 3, 3) from the six entries of the two upper rows."""
    made = np.zeros((np.broadcast(*rows).size, 9))
    for place, entry in enumerate(rows):
        made[:, place] = entry
    made[:, 8] = 1
    return made.reshape(-1, 3, 3)


def apply(drawn: Drawn, pictures: np.ndarray, threads: int) -> np.ndarray:
    """``pictures`` (count, height, width, 3), uint8, with what was drawn done to them: a new array like them.

    Bilinear; outside a picture lies its reflection about the edge. A mere flip keeps every pixel. For several views of
    one picture repeat it without copies (``numpy.broadcast_to``). Raises InputError for other shapes or types.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or len(pictures) != len(drawn):
        raise InputError(
            f"Augmentation got pictures of shape {pictures.shape} and type {pictures.dtype}, expected "
            f"({len(drawn)}, height, width, 3) and uint8. Cure: give it pictures as `pixels.load` makes them."
        )
    changed = np.empty(pictures.shape, np.uint8)
    parts = max(1, min(threads, len(drawn)))
    edges = [len(drawn) * part // parts for part in range(parts + 1)]
    own, *others = (slice(*ends) for ends in itertools.pairwise(edges))
    started = [_workers(threads).submit(_change, drawn[rows], pictures[rows], changed[rows]) for rows in others]
    _change(drawn[own], pictures[own], changed[own])
    for part in started:
        part.result()
    return changed


@lru_cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, "augment")  # the caller is one of the threads


def _change(drawn: Drawn, pictures: np.ndarray, changed: np.ndarray) -> None:
    height, width = pictures.shape[1:3]
    for picture, matrix, flip, target in zip(
        pictures, drawn.matrices, _flips(drawn.matrices, (height, width)), changed, strict=True
    ):
        if flip is None:
            cv2.warpAffine(picture, matrix, (width, height), target, _LINEAR, cv2.BORDER_REFLECT)
        elif any(flip):
            cv2.flip(picture, _FLIP_CODES[flip], target)
        else:
            target[...] = picture
    if drawn.brightness.any() or (drawn.contrast != 1).any():
        for target, table in zip(changed, _tables(drawn, changed), strict=True):
            cv2.LUT(target, table, target)


_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}  # OpenCV's, by the axes x, y that are flipped


def _flips(matrices: np.ndarray, size: tuple[int, int]) -> list[tuple[bool, bool] | None]:
    """The axes x, y that each matrix flips if it does nothing else, None if it does."""
    signs = matrices[:, (0, 1), (0, 1)]
    flipped = signs < 0
    plain = (np.abs(signs) == 1) & (matrices[:, (0, 1), (1, 0)] == 0)
    plain &= matrices[:, :, 2] == flipped * np.array([size[1] - 1, size[0] - 1])
    return [(x, y) if whole else None for (x, y), whole in zip(flipped.tolist(), plain.all(1).tolist(), strict=True)]


def _tables(drawn: Drawn, pictures: np.ndarray) -> np.ndarray:
    """What the values 0 to 255 of each picture become: (count, 1, 256, channels), one channel where all are alike."""
    values = np.clip(np.arange(256) + drawn.brightness[:, None], 0, 255)[:, None, :, None]
    if (drawn.contrast != 1).any():
        # Means of the brightened picture, exact although that is clipped and never made.
        counts = [[cv2.calcHist([one], [c], None, [256], [0, 256]).ravel() for c in range(3)] for one in pictures]
        means = (np.array(counts) @ values[:, 0] / pictures[0, ..., 0].size).reshape(-1, 1, 1, 3)
        values = np.clip((values - means) * drawn.contrast[:, None, None, None] + means, 0, 255)
    return np.rint(values).astype(np.uint8)


def offline_copies(cases: pd.DataFrame, options: OfflineCopies, seed: int) -> pd.DataFrame:
    """``options.per_class`` rotated copies of each class of ``cases``, written by Augmentor, as further cases;
    where it is 0, one copy of each image.

    Pass training cases only: a copy belongs where its source is, and keeps the source's ``lesion_id``. The copies
    lie in the shared cache, never in the data folder; the same cases, options and seed give the same files.
    """
    made_from = [[*row] for row in cases[["image_id", "label"]].to_numpy()] + [
        file_digest(path) for path in cases["path"]
    ]
    folder = cache_folder("augmentor") / digest([made_from, options.model_dump(), seed])
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
            for number, (label, group) in enumerate(cases.groupby("label")):
                _write_copies(group, Path(beside) / "copies" / str(label), options, seed + number)
            (Path(beside) / "copies").rename(folder)
    sources = cases.set_index("image_id")
    rows = [
        sources.loc[unquote(path.stem).rsplit("-copy", 1)[0]].to_dict()
        | {"image_id": unquote(path.stem), "path": str(path)}
        for path in sorted(folder.glob("*/*.jpg"))
    ]
    return pd.DataFrame(rows, columns=cases.columns)


def _write_copies(cases: pd.DataFrame, target: Path, options: OfflineCopies, seed: int) -> None:
    import Augmentor  # slow to import, needed by few recipes

    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch, contextlib.redirect_stdout(io.StringIO()):
        source = Path(scratch) / "source"
        source.mkdir()
        for image_id, path in zip(cases["image_id"], cases["path"], strict=True):
            shutil.copyfile(path, source / f"{quote(image_id, safe='')}.jpg")  # an id may hold slashes
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            pipeline = Augmentor.Pipeline(str(source), str(Path(scratch) / "output"))
            pipeline.augmentor_images.sort(key=lambda image: image.image_path)
            pipeline.set_seed(seed)
            pipeline.rotate(options.probability, options.rotation, options.rotation)
            pipeline.sample(options.per_class, multi_threaded=False)
        # Augmentor names its files at random: name them by source and content instead.
        copies = sorted(
            (path.name.split("_original_")[1].split(".jpg")[0], hashlib.sha256(path.read_bytes()).hexdigest(), path)
            for path in (Path(scratch) / "output").iterdir()
        )
        for number, (image_id, _, path) in enumerate(copies):
            path.rename(target / f"{image_id}-copy{number:05d}.jpg")
