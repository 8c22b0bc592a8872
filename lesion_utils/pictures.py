"""From image files to batches: each picture is decoded once, kept by content and size as uint8, and fed from there."""

import hashlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd
import simplejpeg

from lesion_utils.audit.images import open_image
from lesion_utils.digests import bytes_digest, digest, read_into
from lesion_utils.paths import cache_folder
from lesion_utils.runtime import tf
from lesion_utils.store import Rows, Store

HELD_OUT_BATCH = 64
_BLOCK = 256  # pictures decoded and kept at a time: memory stays flat, and a killed job loses no more than these
_CHUNK = 16  # of them given to a thread at a time

cv2.setNumThreads(1)  # the threads are ours


def load(paths: list[str], image_size: tuple[int, int], threads: int) -> Rows:
    """All images as a read-only array (n, height, width, 3), uint8, on disk, in the order of ``paths``.

    A picture is decoded when its content is first asked for in ``image_size``, (height, width) in pixels, by
    ``threads`` threads, and resized (bilinear, aspect not kept); a JPEG at least twice as large is decoded at a
    fraction of its size. Afterwards the same content is found under any name, in any order, by any study. Raises
    InputError naming the first file that cannot be decoded; the blocks of pictures before it are kept.
    """
    store = Store(cache_folder("pixels") / digest([image_size, _DECODER]))
    keys: list[str] = []
    # Two rooms for all pictures, since fresh memory is slow: one is written to disk while the other is filled.
    rooms = [np.empty((min(_BLOCK, len(paths)), *image_size, 3), np.uint8) for _ in range(2)]
    with ThreadPoolExecutor(threads) as pool:
        kept: Future | None = None
        for first in range(0, len(paths), _BLOCK):
            room = rooms[first // _BLOCK % 2]
            block = list(zip(paths[first : first + _BLOCK], room, strict=False))
            chunks = [block[start : start + _CHUNK] for start in range(0, len(block), _CHUNK)]
            made = list(itertools.chain(*pool.map(lambda chunk: _made(chunk, store), chunks)))
            if kept:
                kept.result()
            new = {key: row for row, (key, decoded) in enumerate(made) if decoded}
            if new:
                rows = room[: len(new)] if len(new) == len(made) else room[list(new.values())]
                kept = pool.submit(store.add, list(new), rows)
            keys += [key for key, _ in made]
        if kept:
            kept.result()
    return store.rows(keys)


def _made(files: list[tuple[str, np.ndarray]], store: Store) -> list[tuple[str, bool]]:
    """The keys of some files, and whether ``store`` lacks them: then they are now in the arrays beside the paths."""
    made, buffer = [], bytearray()
    for path, picture in files:
        size, buffer = read_into(path, buffer)
        with memoryview(buffer)[:size] as data:
            key = bytes_digest(data)
            made.append((key, key not in store))
            if made[-1][1]:
                _decode(path, data, picture)
    return made


def _decode(path: str, data: memoryview, picture: np.ndarray) -> None:
    """Decodes ``data``, the bytes of ``path``, into ``picture`` (height, width, 3)."""
    height, width = picture.shape[:2]
    try:
        decoded = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=2)
    except ValueError:  # no JPEG, or one with an error that Pillow can name
        decoded = np.asarray(open_image(path))
    if decoded.shape == picture.shape:
        picture[...] = decoded
    else:
        small = min(decoded.shape[0] / height, decoded.shape[1] / width) < 2
        cv2.resize(decoded, (width, height), picture, interpolation=cv2.INTER_LINEAR if small else cv2.INTER_AREA)


_DECODER = [simplejpeg.__version__, cv2.__version__, inspect.getsource(_decode)]  # pixels of another are not reused


def case_pixels(cases: pd.DataFrame, image_size: tuple[int, int], threads: int) -> Rows:
    """``load`` for the rows of a case table."""
    return load(list(cases["path"]), image_size, threads)


def row_digests(pixels: np.ndarray | Rows) -> list[str]:
    """A digest of each picture's pixels: equal pictures, however encoded, have equal ones."""
    return [hashlib.blake2b(row.data, digest_size=16).hexdigest() for row in pixels]


def batches(
    inputs: np.ndarray | Rows,
    targets: np.ndarray,
    rows: Callable[[int], np.ndarray],
    size: int,
    epochs: int | None = None,
    change: Callable[[np.ndarray, int, int], np.ndarray] | None = None,
) -> tf.data.Dataset:
    """(inputs, targets) batches, epoch after epoch (endless if ``epochs`` is None), in the order ``rows(epoch)`` gives.

    ``inputs`` (n, …) may lie on disk; only the rows of a batch are read, while the batch before it is computed with.
    ``change(inputs of a batch, epoch, place of its first row in the epoch)`` may augment them. The last batch of an
    epoch is short.
    """

    def made() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in itertools.count() if epochs is None else range(epochs):
            order = rows(epoch)
            for first in range(0, len(order), size):
                index = order[first : first + size]
                read = inputs[index]
                yield change(read, epoch, first) if change else read, targets[index]

    shapes = ((None, *inputs.shape[1:]), (None, *targets.shape[1:]))
    kinds = (inputs.dtype, targets.dtype)
    signature = tuple(tf.TensorSpec(shape, kind) for shape, kind in zip(shapes, kinds, strict=True))
    count = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * -(-len(rows(0)) // size)
    dataset = tf.data.Dataset.from_generator(made, output_signature=signature).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune here, and to end its thread takes seconds a dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).with_options(options)


def held_out(
    inputs: np.ndarray | Rows, targets: np.ndarray | None = None, rows: np.ndarray | None = None
) -> tf.data.Dataset:
    """Batches for predicting: each of ``rows`` (None: all) once, in order; ``targets`` only where a loss is wanted."""
    targets = np.zeros(len(inputs)) if targets is None else targets
    rows = np.arange(len(inputs)) if rows is None else rows
    return batches(inputs, targets, lambda _: rows, HELD_OUT_BATCH, epochs=1)
