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

from lesion_utils.audit.images import open_image
from lesion_utils.digests import digest, file_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import cache_folder
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
    distance of every value from its channel's mean after that. ``fill`` is what lies outside a picture.
    """

    matrices: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    fill: str = "reflect"

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, rows: slice) -> "Drawn":
        return Drawn(self.matrices[rows], self.brightness[rows], self.contrast[rows], self.fill)


def augmenter(
    augmentation: Augmentation, seed: int, threads: int
) -> Callable[[np.ndarray, int, int], np.ndarray] | None:
    """A function ``change(pictures, epoch, first)`` for the feed; None where ``augmentation`` changes nothing.

    ``pictures`` (n, height, width, 3), uint8, are those from place ``first`` of ``epoch`` on; the result is a new
    array like them. What is drawn for a picture depends on ``seed``, ``epoch`` and its own place in the epoch: neither
    on ``threads`` nor on the size of the batches.
    """
    if not augmentation.changes:
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
        crop=_CROPS[augmentation.rotation_crop](size, angle),
        zoom=1 + zoom,
        shift_x=shift_x,
        shift_y=shift_y,
        shear_x=shear_x,
        shear_y=shear_y,
    )
    return Drawn(matrices, brightness, 1 + contrast, augmentation.fill)


def _no_crop(size: tuple[int, int], angle: np.ndarray) -> np.ndarray:
    return _affine(1, 0, 0, 0, 1, 0)


def _inscribed(size: tuple[int, int], angle: np.ndarray) -> np.ndarray:
    """To the largest upright rectangle of the picture's shape in a picture that is turned by ``angle``."""
    (height, width), sin, cos = size, np.abs(np.sin(angle)), np.abs(np.cos(angle))
    share = np.minimum(width / (width * cos + height * sin), height / (width * sin + height * cos))
    return _affine(share, 0, (width - 1) / 2 * (1 - share), 0, share, (height - 1) / 2 * (1 - share))


def _corner(size: tuple[int, int], angle: np.ndarray) -> np.ndarray:
    """To what system 000 cuts out: meant as the inscribed rectangle, but as large as the box around the turned picture.

    That is larger than the picture, so it starts at a negative place, which Python counts from the lower right.
    """
    (height, width), sin, cos = size, np.abs(np.sin(angle)), np.abs(np.cos(angle))
    boxes = (width * cos + height * sin).astype(int), (height * cos + width * sin).astype(int)
    entries: list[Numbers] = []
    for side, box in zip((width, height), boxes, strict=True):
        cut = -((side - box) // 2)  # pixels from the lower right; where the box is no larger, all of the picture
        share = np.where(cut > 0, cut, side) / side
        entries += [share, (share - 1) / 2 + side * (1 - share)]
    return _affine(entries[0], 0, entries[1], 0, entries[2], entries[3])


_CROPS = {"none": _no_crop, "inscribed": _inscribed, "corner": _corner}


def shown(augmentation: Augmentation, size: tuple[int, int], count: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What ``augmentation`` leaves of pictures of ``size`` (height, width): a row for each of ``count`` draws.

    Columns: ``area``, of what is shown, fill included, as a share of the picture's; ``fill``, the share of that which
    lies outside the picture.
    """
    height, width = size
    matrices = draw(augmentation, count, size, np.random.default_rng(seed)).matrices
    y, x = np.mgrid[0 : height - 1 : 32j, 0 : width - 1 : 32j].reshape(2, -1)
    places = matrices @ np.stack([x, y, np.ones_like(x)])
    outside = ((places < -0.5) | (places > np.array([width, height])[:, None] - 0.5)).any(axis=1)
    return pd.DataFrame({"area": np.abs(np.linalg.det(matrices[:, :, :2])), "fill": outside.mean(axis=1)})


def composed(
    size: tuple[int, int],
    *,
    flip_x: Numbers = False,
    flip_y: Numbers = False,
    angle: Numbers = 0.0,
    crop: np.ndarray | None = None,
    zoom: Numbers = 1.0,
    shift_x: Numbers = 0.0,
    shift_y: Numbers = 0.0,
    shear_x: Numbers = 0.0,
    shear_y: Numbers = 0.0,
) -> np.ndarray:
    """The ``Drawn.matrices`` of a flip, a rotation, a crop, a zoom, a shift and a shear, in this order.

    ``crop`` (count, 3, 3) takes a place in the cropped picture to one in the turned picture. The others are (count,) or
    one number: flips along x and y True or False; ``angle`` in radians, anticlockwise; ``zoom`` as
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
    return (flip @ (turn if crop is None else turn @ crop) @ scale @ shift @ shear)[:, :2]


def _affine(*rows: Numbers) -> np.ndarray:
    """(count, 3, 3) from the six entries of the two upper rows."""
    made = np.zeros((np.broadcast(*rows).size, 9))
    for place, entry in enumerate(rows):
        made[:, place] = entry
    made[:, 8] = 1
    return made.reshape(-1, 3, 3)


def apply(drawn: Drawn, pictures: np.ndarray, threads: int) -> np.ndarray:
    """``pictures`` (count, height, width, 3), uint8, with what was drawn done to them: a new array like them.

    Bilinear; outside a picture lies its reflection about the edge, its edge drawn out, or black, as ``drawn.fill``
    says. A mere flip keeps every pixel. For several views of one picture repeat it without copies
    (``numpy.broadcast_to``). Raises InputError for other shapes or types.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or len(pictures) != len(drawn):
        raise InputError(
            f"Augmentation got pictures of shape {pictures.shape} and type {pictures.dtype}, expected "
            f"({len(drawn)}, height, width, 3) and uint8. Fix: give it pictures as `pixels.load` makes them."
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
            cv2.warpAffine(picture, matrix, (width, height), target, _LINEAR, _FILLS[drawn.fill])
        elif any(flip):
            cv2.flip(picture, _FLIP_CODES[flip], target)
        else:
            target[...] = picture
    if drawn.brightness.any() or (drawn.contrast != 1).any():
        for target, table in zip(changed, _tables(drawn, changed), strict=True):
            cv2.LUT(target, table, target)


_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_FILLS = {"reflect": cv2.BORDER_REFLECT, "nearest": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}
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
    """Copies of ``cases`` as further cases, written by Augmentor's rotation or, with ``options.change``, by that.

    Of every class ``options.per_class``, so often as there are ``rounds``, or one of each image where it is 0; with
    ``options.target_class_size`` as many as the class lacks, and none of the largest.

    Pass training cases only: a copy belongs where its source is, and keeps the source's ``lesion_id``. The copies
    lie in the shared cache, never in the data folder; the same cases, options and seed give the same files.
    """
    made_from = [[*row] for row in cases[["image_id", "label"]].to_numpy()] + [
        file_digest(path) for path in cases["path"]
    ]
    decides = options.model_dump(exclude={"before_split"})
    folder = cache_folder("copies") / digest([made_from, decides, seed])
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write = _write_changed if options.change else _write_by_augmentor
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
            for number, (label, count) in enumerate(_numbers_of_copies(cases["label"], options).items()):
                target = Path(beside) / "copies" / str(label)
                target.mkdir(parents=True)
                write(cases[cases["label"] == label], target, count, options, seed + number)
            (Path(beside) / "copies").rename(folder)
    sources = cases.set_index("image_id")
    rows = [
        sources.loc[unquote(path.stem).rsplit("-copy", 1)[0]].to_dict()
        | {"image_id": unquote(path.stem), "path": str(path)}
        for path in sorted(folder.glob("*/*.jpg"))
    ]
    return pd.DataFrame(rows, columns=cases.columns)


def _numbers_of_copies(labels: pd.Series, options: OfflineCopies) -> dict[str, int]:
    counts = labels.value_counts().sort_index()
    if options.target_class_size:
        lacking = (options.target_class_size - counts).clip(lower=0)
        lacking[counts.idxmax()] = 0
        return lacking.to_dict()
    return (counts if options.one_of_each else counts * 0 + options.per_class * options.rounds).to_dict()


def _write_changed(cases: pd.DataFrame, target: Path, count: int, options: OfflineCopies, seed: int) -> None:
    """``count`` copies, of every case equally often but for the last round, each changed in its own way."""
    assert options.change
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(cases)) for _ in range(-(-count // len(cases)))]
    for number, row in enumerate(np.concatenate([np.empty(0, int), *rounds])[:count]):
        case = cases.iloc[row]
        picture = np.asarray(open_image(case["path"]))[None]
        changed = apply(draw(options.change, 1, picture.shape[1:3], rng), picture, 1)[0]
        name = f"{quote(case['image_id'], safe='')}-copy{number:05d}.jpg"
        cv2.imwrite(str(target / name), cv2.cvtColor(changed, cv2.COLOR_RGB2BGR))


def _write_by_augmentor(cases: pd.DataFrame, target: Path, count: int, options: OfflineCopies, seed: int) -> None:
    import Augmentor  # slow to import, needed by few recipes

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
            pipeline.sample(0 if options.one_of_each else count, multi_threaded=False)  # 0: one of each
        # Augmentor names its files at random: name them by source and content instead.
        copies = sorted(
            (path.name.split("_original_")[1].split(".jpg")[0], hashlib.sha256(path.read_bytes()).hexdigest(), path)
            for path in (Path(scratch) / "output").iterdir()
        )
        for number, (image_id, _, path) in enumerate(copies):
            path.rename(target / f"{image_id}-copy{number:05d}.jpg")
