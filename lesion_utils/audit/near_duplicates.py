"""Near-duplicates: pictures that are copies of one another though their pixels differ.

A picture's hash is ImageHash's pHash (Zauner, Implementation and benchmarking of perceptual image hash functions,
2010): which of the 24 x 24 lowest frequencies of the grey picture, squeezed into a square, lie above their median. For
flips and quarter turns one picture of each pair is hashed in all eight orientations. Size and threshold were chosen on
phantoms and checked on HAM10000 by ``benchmarks/near_duplicates.py``, which states the rule; its results lie beside it.
Copies with more than about 2 % cut off a side are mostly not found.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from lesion_utils.audit.images import open_image

HASH_SIZE = 24  # frequencies a side
THRESHOLD = 114  # bits of HASH_SIZE² that may differ
_FREQUENCIES = 4  # a side of the square holds so many times HASH_SIZE px, as in ImageHash
_BLOCK = 32  # rows compared at a time

_TURN = Image.Transpose
_TURNS = (_TURN.FLIP_LEFT_RIGHT, _TURN.FLIP_TOP_BOTTOM, _TURN.TRANSPOSE, _TURN.TRANSVERSE)
_ORIENTATIONS = (None, *_TURNS, _TURN.ROTATE_90, _TURN.ROTATE_180, _TURN.ROTATE_270)


def upright_hash(picture: Image.Image, size: int = HASH_SIZE) -> np.ndarray:
    """The hash of a picture as it is: (size²/64,) uint64; ``size`` is a multiple of 8."""
    return _packed([_square(picture, size)], size)[0]


def orientation_hashes(picture: Image.Image, size: int = HASH_SIZE) -> np.ndarray:
    """The hashes of a picture in its eight orientations, as it is first: (8, size²/64) uint64."""
    square = _square(picture, size)
    return _packed([square if turn is None else square.transpose(turn) for turn in _ORIENTATIONS], size)


def _square(picture: Image.Image, size: int) -> Image.Image:
    return picture.convert("L").resize((_FREQUENCIES * size,) * 2, Image.Resampling.LANCZOS)


def _packed(squares: list[Image.Image], size: int) -> np.ndarray:
    bits = [imagehash.phash(square, size, _FREQUENCIES).hash.ravel() for square in squares]
    return np.packbits(bits, axis=1).view(np.uint64)


def picture_hashes(cases: pd.DataFrame, threads: int, size: int = HASH_SIZE) -> np.ndarray:
    """``orientation_hashes`` of n cases: (8, size²/64, n) uint64; raises InputError for a file that is no picture."""
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda path: orientation_hashes(open_image(path), size), cases["path"]))
    hashes = np.array(found, np.uint64).reshape(-1, len(_ORIENTATIONS), size**2 // 64)
    return np.ascontiguousarray(hashes.transpose(1, 2, 0))  # words of neighbours side by side: ten times faster


def distances(upright: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Bits in which hashes of pictures as they are, (words, n), differ from the nearest orientation of others.

    ``hashes`` are (8, words, m); returns (n, m) uint16.
    """
    nearest = np.full((upright.shape[1], hashes.shape[2]), np.iinfo(np.uint16).max, np.uint16)
    for orientation in hashes:
        differing = np.zeros_like(nearest)
        for word, others in zip(upright, orientation, strict=True):
            differing += np.bitwise_count(word[:, None] ^ others)
        np.minimum(nearest, differing, out=nearest)
    return nearest


def near_pairs(hashes: np.ndarray, threads: int, threshold: int = THRESHOLD) -> np.ndarray:
    """All pairs of pictures at most ``threshold`` bits apart: (pairs, 3) int64 of first, second, distance.

    ``hashes`` are those of ``picture_hashes``. Every pair is compared: 10,000 pictures take seconds.
    """

    def block(start: int) -> np.ndarray:
        apart = distances(hashes[0, :, start : start + _BLOCK], hashes[:, :, start:])
        first, second = np.nonzero(np.triu(apart <= threshold, 1))
        return np.column_stack([first + start, second + start, apart[first, second]]).astype(np.int64)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate([np.empty((0, 3), np.int64), *pool.map(block, range(0, hashes.shape[2], _BLOCK))])


# ------------------------------------------------------------------------------------------------------------ check


def _encoded(picture: Image.Image, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _turned(turn: Image.Transpose) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: _encoded(picture.transpose(turn))


def _cropped(percent: float) -> Callable[[Image.Image], Image.Image]:
    def crop(picture: Image.Image) -> Image.Image:
        across, down = (max(1, round(percent / 100 * side)) for side in picture.size)
        return _encoded(picture.crop((across, down, picture.width - across, picture.height - down)))

    return crop


# Copies whose orientation or encoding alone differ from the original; the threshold is set so that it catches these.
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded, JPEG quality 75": _encoded,
    "re-encoded, JPEG quality 30": lambda picture: _encoded(picture, 30),
    "resized to half": lambda picture: _encoded(picture.resize((picture.width // 2, picture.height // 2))),
    "resized to 180 x 180": lambda picture: _encoded(picture.resize((180, 180))),
    "flipped left to right": _turned(_TURN.FLIP_LEFT_RIGHT),
    "flipped top to bottom": _turned(_TURN.FLIP_TOP_BOTTOM),
    "turned by 90 degrees": _turned(_TURN.ROTATE_90),
}
CROPS = {f"cropped by {percent} % a side": _cropped(percent) for percent in (1, 2, 5, 10)}
VIEWS = "two views of one lesion"
STRANGERS = "different lesions"


def measured_distances(
    cases: pd.DataFrame, sample: int, seed: int, threads: int, size: int = HASH_SIZE
) -> dict[str, np.ndarray]:
    """Distances in bits by kind of pair, for up to ``sample`` lesions drawn at random, one image each.

    Kinds: each of ``COPIES`` and ``CROPS``, made on the fly in memory, against its original; ``STRANGERS``, all pairs
    among the images drawn; ``VIEWS``, two images of up to ``sample`` lesions that have two.
    """
    shuffled = cases.sample(frac=1, random_state=seed)
    drawn = shuffled.drop_duplicates("lesion_id")[:sample]
    hashes = picture_hashes(drawn, threads, size)

    def copies(row: int) -> list[int]:
        original = open_image(drawn["path"].iloc[row])
        made = [upright_hash(copy(original), size) for copy in (COPIES | CROPS).values()]
        return list(distances(np.column_stack(made), hashes[:, :, [row]])[:, 0])

    with ThreadPoolExecutor(threads) as pool:
        of_copies = np.array(list(pool.map(copies, range(len(drawn)))), int).reshape(len(drawn), -1)
    strangers = distances(hashes[0], hashes)[np.triu_indices(len(drawn), 1)]
    views = shuffled[shuffled.groupby("lesion_id").cumcount() < 2]
    views = views[views["lesion_id"].duplicated(keep=False)].sort_values("lesion_id", kind="stable")[: 2 * sample]
    of_views = picture_hashes(views, threads, size)
    pairs = [distances(of_views[0, :, [row]].T, of_views[:, :, [row + 1]])[0, 0] for row in range(0, len(views), 2)]
    return {
        **dict(zip(COPIES | CROPS, of_copies.T, strict=True)),
        STRANGERS: strangers,
        VIEWS: np.array(pairs, int),
    }


def check_near_duplicates(cases: pd.DataFrame, sample: int, seed: int, threads: int) -> pd.DataFrame:
    """How many pairs of each kind of ``measured_distances`` are called near-duplicates at the ``THRESHOLD``.

    One row a kind: ``pairs, wanted`` (whether it should be found, being a copy)``, n, found, rate, low, high``: the
    rate is from 0 to 1, NaN where there is no pair; its 95 % interval (Clopper and Pearson) is by lesion, a pair each,
    and NaN for ``STRANGERS``, where a lesion stands in many pairs. Nothing is written.
    """
    rows = []
    for kind, apart in measured_distances(cases, sample, seed, threads).items():
        n, found = len(apart), int((apart <= THRESHOLD).sum())
        exact = binomtest(found, n).proportion_ci() if n and kind != STRANGERS else (np.nan, np.nan)
        rows.append((kind, kind not in (STRANGERS, VIEWS), n, found, found / n if n else np.nan, *exact))
    return pd.DataFrame(rows, columns=["pairs", "wanted", "n", "found", "rate", "low", "high"])
