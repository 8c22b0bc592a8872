"""Near-duplicates: pictures that are copies of one another though their pixels differ.

A picture's hash is ImageHash's pHash (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010):
the signs, against their median, of the 24 x 24 lowest frequencies of the grey picture squeezed into a square. Flips and
quarter turns are searched for by hashing the eight orientations of one picture of each pair. Size and threshold were
chosen on phantoms and checked on HAM10000 by ``benchmarks/near_duplicates.py``, which says how. Crops of more than
about 2 % a side are mostly not caught.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from lesion_utils.audit.pictures import open_image

HASH_SIZE = 24  # frequencies a side
THRESHOLD = 114  # bits of HASH_SIZE² that may differ
_FREQUENCIES = 4  # a side of the square holds so many times HASH_SIZE px, as in ImageHash
_BLOCK = 32  # rows compared at a time

_TURN = Image.Transpose
_TURNS = (_TURN.FLIP_LEFT_RIGHT, _TURN.FLIP_TOP_BOTTOM, _TURN.TRANSPOSE, _TURN.TRANSVERSE)
_ORIENTATIONS = (None, *_TURNS, _TURN.ROTATE_90, _TURN.ROTATE_180, _TURN.ROTATE_270)


def orientation_hashes(picture: Image.Image, size: int = HASH_SIZE) -> np.ndarray:
    """The hashes of the eight orientations of a picture, as it is first: (8, size²/64) uint64; size a multiple of 8."""
    side = _FREQUENCIES * size
    square = picture.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    turned = [square if turn is None else square.transpose(turn) for turn in _ORIENTATIONS]
    bits = [imagehash.phash(one, size, _FREQUENCIES).hash.ravel() for one in turned]
    return np.packbits(bits, axis=1).view(np.uint64)


def picture_hashes(cases: pd.DataFrame, threads: int, size: int = HASH_SIZE) -> np.ndarray:
    """``orientation_hashes`` of each case, (n, 8, size²/64) uint64; raises InputError for a file that is no picture."""
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda path: orientation_hashes(open_image(path), size), cases["path"]))
    return np.array(found, np.uint64).reshape(len(cases), len(_ORIENTATIONS), size**2 // 64)


def distances(upright: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Bits that differ between each hash of ``upright``, (n, words), and the nearest orientation of each of ``hashes``,
    (m, 8, words): (n, m) uint16."""
    nearest = np.full((len(upright), len(hashes)), np.iinfo(np.uint16).max, np.uint16)
    for orientation in range(hashes.shape[1]):
        differing = np.bitwise_count(upright[:, None] ^ hashes[None, :, orientation])
        np.minimum(nearest, differing.sum(-1, dtype=np.uint16), out=nearest)
    return nearest


def near_pairs(hashes: np.ndarray, threads: int, threshold: int = THRESHOLD) -> np.ndarray:
    """All pairs of pictures at most ``threshold`` bits apart: (pairs, 3) int64 of first, second (rows), distance.

    ``hashes`` are those of ``picture_hashes``. Every pair is compared: 10,000 pictures take about 20 s on two threads.
    """

    def block(start: int) -> np.ndarray:
        apart = distances(hashes[start : start + _BLOCK, 0], hashes[start:])
        first, second = np.nonzero((apart <= threshold) & ~np.tri(*apart.shape, dtype=bool))
        return np.column_stack([first + start, second + start, apart[first, second]]).astype(np.int64)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate([np.empty((0, 3), np.int64), *pool.map(block, range(0, len(hashes), _BLOCK))])


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
        made = [orientation_hashes(copy(original), size)[:1] for copy in (COPIES | CROPS).values()]
        return [int(distances(one, hashes[row : row + 1])[0, 0]) for one in made]

    with ThreadPoolExecutor(threads) as pool:
        of_copies = np.array(list(pool.map(copies, range(len(drawn)))), int).reshape(len(drawn), -1)
    strangers = distances(hashes[:, 0], hashes)[np.triu_indices(len(hashes), 1)]
    views = shuffled[shuffled.groupby("lesion_id").cumcount() < 2]
    views = views[views["lesion_id"].duplicated(keep=False)].sort_values("lesion_id", kind="stable")[: 2 * sample]
    of_views = picture_hashes(views, threads, size)
    pairs = [distances(one[:1], other[None])[0, 0] for one, other in zip(of_views[::2], of_views[1::2], strict=True)]
    return {
        **dict(zip(COPIES | CROPS, of_copies.T, strict=True)),
        STRANGERS: strangers,
        VIEWS: np.array(pairs, int),
    }


def check_near_duplicates(cases: pd.DataFrame, sample: int, seed: int, threads: int) -> pd.DataFrame:
    """How many pairs of each kind of ``measured_distances`` are called near-duplicates at the ``THRESHOLD``.

    One row a kind: ``pairs, wanted`` (whether it should be found: a copy)``, n, found, rate`` (0 to 1, NaN for n = 0).
    Nothing is written.
    """
    found = measured_distances(cases, sample, seed, threads)
    rows = [
        {"pairs": kind, "wanted": kind not in (STRANGERS, VIEWS), "n": len(apart), "found": int((apart <= THRESHOLD).sum())}
        for kind, apart in found.items()
    ]
    return pd.DataFrame(rows).assign(rate=lambda table: table["found"] / table["n"])
