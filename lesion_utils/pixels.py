"""From image files to batches: decode once into a uint8 cache keyed by content and size, feed from it."""

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lesion_utils.artefacts import cache_folder, digest, file_digest, writing
from lesion_utils.audit.pictures import open_image
from lesion_utils.runtime import tf

HELD_OUT_BATCH = 64
_BLOCK = 256  # pictures decoded at a time, so that memory stays flat


def load(paths: list[str], image_size: tuple[int, int], threads: int) -> np.memmap:
    """All images as a read-only memory-mapped array (n, height, width, 3), uint8, in the order of ``paths``.

    Decoded on first use with ``threads`` threads and resized (bilinear, aspect not kept) to ``image_size``,
    (height, width) in pixels; afterwards read from a cache keyed by the files' content and the size. Raises
    InputError naming the first file that cannot be decoded; a cache is whole or not there.
    """
    with ThreadPoolExecutor(threads) as pool:
        key = digest([list(pool.map(file_digest, paths)), image_size])
        cached = cache_folder("pixels") / f"{key}.npy"
        if not cached.is_file():
            with writing(cached) as beside:
                shape = (len(paths), *image_size, 3)
                pixels = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
                for first in range(0, len(paths), _BLOCK):
                    block = paths[first : first + _BLOCK]
                    for row, picture in enumerate(pool.map(lambda path: _resized(path, image_size), block), first):
                        pixels[row] = picture
                pixels.flush()
    return np.load(cached, mmap_mode="r")


def case_pixels(cases: pd.DataFrame, image_size: tuple[int, int], threads: int) -> np.memmap:
    """``load`` for the rows of a case table."""
    return load(list(cases["path"]), image_size, threads)


def row_digests(pixels: np.ndarray) -> list[str]:
    """A digest of each picture's pixels: equal pictures, however encoded, have equal ones."""
    return [hashlib.blake2b(row, digest_size=16).hexdigest() for row in pixels]


def content_key(pixels: np.memmap) -> str:
    """What ``load`` keeps ``pixels`` under: it changes with any byte of the files, their order and the size."""
    return Path(str(pixels.filename)).stem


def batches(
    inputs: np.ndarray, targets: np.ndarray, rows: Callable[[int], np.ndarray], size: int, epochs: int | None = None
) -> tf.data.Dataset:
    """(inputs, targets) batches, epoch after epoch (endless if ``epochs`` is None), in the order ``rows(epoch)`` gives.

    ``inputs`` (n, …) may be memory-mapped; only the rows of a batch are read. The last batch of an epoch is short.
    """

    def index_batches():
        for epoch in itertools.count() if epochs is None else range(epochs):
            order = rows(epoch)
            for first in range(0, len(order), size):
                yield order[first : first + size]

    def gather(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        read = tf.numpy_function(lambda index: np.asarray(inputs[index], np.float32), [index], tf.float32)
        return tf.ensure_shape(read, (None, *inputs.shape[1:])), tf.gather(known_targets, index)

    known_targets = tf.constant(targets, tf.float32)
    index = tf.data.Dataset.from_generator(index_batches, output_signature=tf.TensorSpec((None,), tf.int64))
    count = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * -(-len(rows(0)) // size)
    return index.map(gather).prefetch(2).apply(tf.data.experimental.assert_cardinality(count))


def held_out(inputs: np.ndarray, targets: np.ndarray | None = None, rows: np.ndarray | None = None) -> tf.data.Dataset:
    """Batches for predicting: each of ``rows`` (None: all) once, in order; ``targets`` only where a loss is wanted."""
    targets = np.zeros(len(inputs)) if targets is None else targets
    rows = np.arange(len(inputs)) if rows is None else rows
    return batches(inputs, targets, lambda _: rows, HELD_OUT_BATCH, epochs=1)


def _resized(path: str, image_size: tuple[int, int]) -> np.ndarray:
    height, width = image_size
    picture = open_image(path)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(picture)
