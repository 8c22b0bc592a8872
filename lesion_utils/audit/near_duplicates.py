"""Near-duplicates: pictures that are copies of one another although their pixels differ.

A picture's hash is ImageHash's pHash (Zauner, Implementation and benchmarking of perceptual image hash functions,
2010): which of the 24 x 24 lowest frequencies of the grey picture, resized to a square, are above their median. To find
flips and quarter turns, one picture of each pair is hashed in all eight orientations. ``benchmarks/near_duplicates.py``
chose size and threshold on phantoms and checked them on HAM10000; its results are in ``near_duplicates.json`` there.
Copies cropped by more than about 2% per side are mostly missed.
"""

from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from lesion_utils.audit.images import open_image
from lesion_utils.progress import steps

HASH_SIZE = 24  # frequencies per side
THRESHOLD = 114  # most bits of HASH_SIZE² that may differ
_FREQUENCIES = 4  # the square has _FREQUENCIES * HASH_SIZE px per side, as in ImageHash
_BLOCK = 32  # rows compared at a time
_ORIENTATIONS = (None, *Image.Transpose)  # flips and quarter turns


def orientation_hashes(picture: Image.Image, size: int = HASH_SIZE) -> np.ndarray:
    """The hashes of a picture in its eight orientations, its own first: (8, size²/64) uint64; 8 divides ``size``."""
    square = picture.convert("L").resize((_FREQUENCIES * size,) * 2, Image.Resampling.LANCZOS)
    turned = [square if turn is None else square.transpose(turn) for turn in _ORIENTATIONS]
    bits = [imagehash.phash(picture, size, _FREQUENCIES).hash.ravel() for picture in turned]
    return np.packbits(bits, axis=1).view(np.uint64)


def picture_hashes(cases: pd.DataFrame, threads: int, size: int = HASH_SIZE) -> np.ndarray:
    """``orientation_hashes`` of n cases, (8, size²/64, n) uint64; InputError for a file that is not a picture."""
    with ThreadPoolExecutor(threads) as pool:
        read = pool.map(lambda path: orientation_hashes(open_image(path), size), cases["path"])
        hashed = list(steps(read, "hashing pictures", len(cases)))
    hashes = np.array(hashed, np.uint64).reshape(-1, len(_ORIENTATIONS), size**2 // 64)
    return np.ascontiguousarray(hashes.transpose(1, 2, 0))  # words of neighbours side by side: ten times faster


def distances(upright: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Bits in which ``upright`` hashes, (words, n), differ from the nearest orientation of other pictures.

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
        starts = range(0, hashes.shape[2], _BLOCK)
        found = steps(pool.map(block, starts), f"comparing pictures, {_BLOCK} at a time", len(starts))
        return np.concatenate([np.empty((0, 3), np.int64), *found])
