"""Pictures: each is decoded once, and cached by content and size as uint8.

A cache is a folder of shards: ``<shard>.npy`` holds rows, ``<shard>.json`` their keys. A shard is written whole, its
keys last, and never changed: a killed job loses only its current shard, and two jobs can write at the same time. Its
digest is checked once in each process; a damaged shard is made again.
"""

import inspect
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from lesion_utils.audit.images import open_image
from lesion_utils.digests import digest, file_digest
from lesion_utils.paths import atomic_write, cache_folder, is_usable, read_json, remove, write_json
from lesion_utils.progress import steps

HELD_OUT_BATCH = 64
_BLOCK = 256  # pictures decoded and written at a time: bounds the memory, and what a killed job loses

cv2.setNumThreads(1)  # this package starts its own threads


def full_batch(rows: np.ndarray) -> np.ndarray:
    """``rows`` (n, …) as float32, its last one repeated up to ``HELD_OUT_BATCH``: batches of another size have other
    last bits.
    """
    return np.concatenate([rows, np.repeat(rows[-1:], HELD_OUT_BATCH - len(rows), axis=0)]).astype(np.float32)


class CachedArrays:
    """Rows of an ``ArrayCache``: a read-only array (n, …) on disk, with the ``keys`` of its rows.

    It is indexed along its first axis, and reads only the rows that an index names. ``positions`` (n, 2) are the number
    of each row's shard and of the row in that shard.
    """

    def __init__(self, keys: list[str], shards: list[np.ndarray], positions: np.ndarray):
        self.keys, self._shards, self._positions = keys, shards, positions
        self.shape, self.dtype = (len(keys), *shards[0].shape[1:]), shards[0].dtype

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: np.ndarray | Sequence[int] | slice | int) -> np.ndarray:
        positions = self._positions[index]
        if positions.ndim == 1:
            return self._shards[positions[0]][positions[1]]
        rows = np.empty((len(positions), *self.shape[1:]), self.dtype)
        for row, (shard, number) in zip(rows, positions.tolist(), strict=True):
            row[...] = self._shards[shard][number]
        return rows

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def take(self, index: np.ndarray) -> "CachedArrays":
        """The rows that ``index`` names, without reading them."""
        return CachedArrays([self.keys[row] for row in index], self._shards, self._positions[index])

    @property
    def digest(self) -> str:
        return digest([self.keys, self.shape[1:]])  # changes with the content, order and shape of the rows


_checked: set[Path] = set()  # shards that this process has compared with their digest


class ArrayCache:
    """The arrays in ``folder``, all of one shape and type, by key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._positions: dict[str, tuple[Path, int]] = {}
        for listing in sorted(folder.glob("[!.]*.json")):
            self._register(listing.with_suffix(".npy"), read_json(listing, missing=[]))

    def _register(self, shard: Path, keys: list[str]) -> None:
        for row, key in enumerate(keys):
            self._positions[key] = shard, row

    def __contains__(self, key: str) -> bool:
        shard, _ = self._positions.get(key, (None, 0))
        if shard and shard not in _checked and not is_usable(shard):
            remove(shard.with_suffix(".json"))  # without its keys a shard does not count
            self._positions = {name: place for name, place in self._positions.items() if place[0] != shard}
            return False
        _checked.update({shard} if shard else ())
        return shard is not None

    def add(self, keys: list[str], rows: np.ndarray) -> None:
        """Writes ``rows`` (k, …) with their k ``keys`` as one shard."""
        shard = self.folder / f"{digest(keys)}.npy"
        with atomic_write(shard) as temporary:
            np.save(temporary, rows)
        write_json(shard.with_suffix(".json"), keys)
        self._register(shard, keys)

    def read(self, keys: list[str]) -> CachedArrays:
        """The rows of ``keys``, in this order; raises KeyError for a key that the cache lacks."""
        positions = [self._positions[key] for key in keys]
        numbers = {shard: number for number, shard in enumerate(dict.fromkeys(shard for shard, _ in positions))}
        shards = [np.load(shard, mmap_mode="r").view(np.ndarray) for shard in numbers]
        return CachedArrays(keys, shards, np.array([(numbers[shard], row) for shard, row in positions]))


def load_pictures(paths: Iterable[str], image_size: tuple[int, int], threads: int) -> CachedArrays:
    """All pictures as a read-only array (n, height, width, 3), uint8, on disk, in the order of ``paths``.

    Content that is new in ``image_size`` (height, width) is decoded and resized bilinearly without keeping its aspect;
    a JPEG at least twice as large is decoded at a fraction of its size. Raises InputError naming the first file that
    cannot be read or decoded; the blocks of pictures before it stay cached.
    """
    paths = list(paths)
    cache = ArrayCache(cache_folder("pixels") / digest([image_size, _DECODER]))
    with ThreadPoolExecutor(threads) as pool:
        keys = list(pool.map(file_digest, paths))
        new = [(key, path) for key, path in dict(zip(keys, paths, strict=True)).items() if key not in cache]
        for first in steps(range(0, len(new), _BLOCK), f"caching pictures, {_BLOCK} at a time"):
            block = dict(new[first : first + _BLOCK])
            cache.add([*block], np.stack([*pool.map(_decode, block.values(), itertools.repeat(image_size))]))
    return cache.read(keys)


def _decode(path: str, image_size: tuple[int, int]) -> np.ndarray:
    return decode(Path(path).read_bytes(), path, image_size)


def decode(data: bytes, path: str, image_size: tuple[int, int]) -> np.ndarray:
    """The picture in ``data``, the content of the file ``path``, in ``image_size`` (height, width, 3), uint8."""
    height, width = image_size
    try:
        if b"Exif" in data[:64] and Image.open(BytesIO(data)).getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise ValueError("Pillow turns it")
        picture = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=2)
    except (ValueError, OSError):  # not a JPEG, or a damaged one: Pillow's error names the damage
        picture = np.asarray(open_image(path))
    if picture.shape[:2] == image_size:
        return picture
    small = min(picture.shape[0] / height, picture.shape[1] / width) < 2
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR if small else cv2.INTER_AREA)


_DECODER = [simplejpeg.__version__, cv2.__version__, inspect.getsource(decode)]  # in the cache's key
