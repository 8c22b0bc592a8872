"""Pictures or features, fed to the network in batches."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from lesion_utils.pictures import CachedArrays
from lesion_utils.runtime import keras, tf

Batches: TypeAlias = Any  # what Keras takes: a `tf.data.Dataset`, or a `keras.utils.PyDataset` on JAX


def batches(
    inputs: np.ndarray | CachedArrays,
    targets: np.ndarray,
    rows: Callable[[int], np.ndarray],
    size: int,
    epochs: int | None = None,
    change: Callable[[np.ndarray, int, int], np.ndarray] | None = None,
    mix: tuple[float, int] | None = None,
    begin: int = 0,
) -> Batches:
    """(inputs, targets) batches, epoch after epoch (endless if ``epochs`` is None), in the order of ``rows(epoch)``.

    Only the rows of a batch are read, while the network computes with the batch before. ``change(inputs of a batch,
    epoch, position of its first row in the epoch)`` may augment them, as float32. With ``mix``, the alpha and the seed
    of mixup, each case of a batch is mixed with another one, inputs and targets alike. An epoch's last batch may be
    smaller. Endless batches start at epoch ``begin``.
    """

    def generate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in itertools.count(begin) if epochs is None else range(epochs):
            order = rows(epoch)
            for first in range(0, len(order), size):
                index = order[first : first + size]
                shown = change(inputs[index], epoch, first) if change else inputs[index]
                yield _mixed(shown, targets[index], *mix, epoch, first) if mix else (shown, targets[index])

    count = None if epochs is None else epochs * -(-len(rows(0)) // size)
    if tf is None:
        return _EpochBatches(generate, count)
    kinds = ((inputs, np.float32 if change or mix else inputs.dtype), (targets, targets.dtype))
    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), kind) for array, kind in kinds)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # there is nothing to tune, and stopping its thread takes seconds per dataset
    return dataset.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY if count is None else count)
    ).with_options(options)


def _mixed(shown: np.ndarray, truth: np.ndarray, alpha: float, *draw: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch after mixup: inputs and labels of each case, and those of another one, in shares from Beta(alpha, alpha)
    (Zhang et al., 2018, https://arxiv.org/abs/1710.09412).
    """
    rng = np.random.default_rng(draw)
    others, shares = rng.permutation(len(shown)), rng.beta(alpha, alpha, len(shown)).astype(np.float32)
    pairs = ((array.astype(np.float32), shares.reshape(-1, *[1] * (array.ndim - 1))) for array in (shown, truth))
    inputs, labels = (share * array + (1 - share) * array[others] for array, share in pairs)
    return inputs, labels


class _EpochBatches(keras.utils.PyDataset):
    """What ``generate()`` yields, in turn, for a backend that takes no ``tf.data``; endless if ``count`` is None."""

    def __init__(self, generate: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], count: int | None):
        super().__init__()
        self._generate, self._count = generate, count

    @property
    def num_batches(self) -> int | None:
        return self._count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index == 0:
            self._batches = self._generate()
        return next(self._batches)
