"""Rows of arrays kept by content: what was once computed from a picture is found again, whichever study asks.

A store is a folder of shards: ``<shard>.npy`` holds rows, ``<shard>.json`` their keys. Shards are written whole, the
keys last, and never changed: a job killed at any instant loses the shard it was at, and two jobs may write at once.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lesion_utils.digests import digest
from lesion_utils.paths import atomic_write, write_json

Index = np.ndarray | Sequence[int] | slice | int


class Rows:
    """Rows of a store in the order asked for: a read-only array (n, …) that lies on disk.

    Indexed as an array is along its first axis; what an index names is read, and nothing else. ``keys`` are the keys
    of the rows.
    """

    def __init__(self, keys: list[str], shards: list[np.ndarray], places: np.ndarray):
        """``places`` (n, 2): which of ``shards`` a row lies in, and its number there."""
        self.keys, self._shards, self._places = keys, shards, places
        self.shape, self.dtype = (len(keys), *shards[0].shape[1:]), shards[0].dtype

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._shards[shard][place] for shard, place in self._places.tolist())

    def __getitem__(self, index: Index) -> np.ndarray:
        places = self._places[index]
        if places.ndim == 1:
            return self._shards[places[0]][places[1]]
        read = np.empty((len(places), *self.shape[1:]), self.dtype)
        for row, (shard, place) in zip(read, places.tolist(), strict=True):
            row[...] = self._shards[shard][place]
        return read

    def take(self, index: np.ndarray) -> "Rows":
        """The rows that ``index`` names, on disk as these are."""
        return Rows([self.keys[row] for row in index], self._shards, self._places[index])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def digest(self) -> str:
        """Changes with any row, their order and their shape."""
        return digest([self.keys, self.shape[1:]])


class Store:
    """The rows kept in ``folder``, all of one shape and type, by key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._places: dict[str, tuple[Path, int]] = {}
        for listing in sorted(folder.glob("[!.]*.json")):
            self._know(listing.with_suffix(".npy"), json.loads(listing.read_text(encoding="utf-8")))

    def _know(self, shard: Path, keys: list[str]) -> None:
        for row, key in enumerate(keys):
            self._places.setdefault(key, (shard, row))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, keys: list[str], rows: np.ndarray) -> None:
        """Keeps ``rows`` (k, …) under ``keys``, k of them, as one shard."""
        shard = self.folder / f"{digest(keys)}.npy"
        with atomic_write(shard) as beside:
            np.save(beside, rows)
        write_json(shard.with_suffix(".json"), keys)
        self._know(shard, keys)

    def rows(self, keys: list[str]) -> Rows:
        """The rows of ``keys``, in their order; raises KeyError for a key that is not there."""
        places = [self._places[key] for key in keys]
        numbers = {file: number for number, file in enumerate(dict.fromkeys(file for file, _ in places))}
        shards = [np.load(file, mmap_mode="r").view(np.ndarray) for file in numbers]
        return Rows(keys, shards, np.array([(numbers[file], row) for file, row in places]))
