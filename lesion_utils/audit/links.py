"""Which images belong together: by id, lesion, pixels, or as near-duplicates."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesion_utils.audit import near_duplicates
from lesion_utils.audit.images import pixel_digests
from lesion_utils.audit.near_duplicates import near_pairs, picture_hashes
from lesion_utils.digests import digest
from lesion_utils.paths import atomic_write, cache_folder, is_usable

KINDS = ("same id", "same lesion", "same pixels", "near-duplicate")


def link_groups(cases: pd.DataFrame, threads: int, pictures: bool = True) -> pd.DataFrame:
    """A group number for each case and each of ``KINDS``; images of one group are linked, -1 where nothing is known.

    *Same id* compares ``isic_id``, or ``image_id`` where there is none; *same lesion* ``lesion_id``; *same pixels* the
    decoded pictures. Two images may share several of these. *Near-duplicates* are what ``near_pairs`` finds among
    images that none of the three links, directly or through others; a chain of them is one group. ``pictures`` False
    opens no file and leaves out the last two. Raises InputError for a file that cannot be decoded.
    """
    ids = cases["isic_id"].fillna(cases["image_id"]) if "isic_id" in cases else cases["image_id"]
    keys = {"same id": ids, "same lesion": cases["lesion_id"]}
    if pictures:
        keys["same pixels"] = pixel_digests(cases, threads)
    groups = pd.DataFrame({kind: pd.factorize(key)[0] for kind, key in keys.items()}, index=cases.index)
    if pictures:
        groups["near-duplicate"] = _near_groups(cases.assign(pixels=keys["same pixels"]), groups, threads)
    return groups


def _near_groups(cases: pd.DataFrame, groups: pd.DataFrame, threads: int) -> np.ndarray:
    first = ~groups["same pixels"].duplicated().to_numpy()  # one case per picture, in the order of their numbers
    linked = connected_groups(groups)[first]
    left, right, _ = _kept_pairs(cases[first], threads).T
    new = linked[left] != linked[right]
    near = components(left[new], right[new], int(first.sum()))
    return np.where(np.bincount(near)[near] > 1, near, -1)[groups["same pixels"]]


def _kept_pairs(cases: pd.DataFrame, threads: int) -> np.ndarray:
    """``near_pairs`` of the pictures, kept by their content: all studies of a dataset ask for the same."""
    key = digest([Path(near_duplicates.__file__).read_text(encoding="utf-8"), cases["pixels"].tolist()])
    if is_usable(file := cache_folder("near_pairs") / f"{key}.npy"):
        return np.load(file)
    pairs = near_pairs(picture_hashes(cases, threads), threads)
    with suppress(OSError), atomic_write(file) as new:  # where nothing can be kept, it is found again
        np.save(new, pairs)
    return pairs


def linked_to(group: pd.Series, cases: pd.Series, others: pd.Series) -> pd.Series:
    """Which of ``cases`` are linked to one of ``others``, or to another of ``cases`` if both are the same.

    ``group`` is a column of ``link_groups``; ``cases`` and ``others`` are masks. All, and the result, are (n,).
    """
    known = group[cases & (group >= 0)]
    linked = known.duplicated(keep=False) if cases.equals(others) else known.isin(group[others])
    return linked.reindex(group.index, fill_value=False)


def connected_groups(groups: pd.DataFrame) -> np.ndarray:
    """(n,) int: equal for rows that have an equal number (-1 is none) in any column, directly or through others."""
    values = groups.to_numpy()
    columns = values + len(groups) + np.arange(values.shape[1]) * len(groups)  # numbers are below n: none collide
    row, column = np.nonzero(values >= 0)
    return components(row, columns[row, column], len(groups) * (values.shape[1] + 1))[: len(groups)]


def components(left: np.ndarray, right: np.ndarray, nodes: int) -> np.ndarray:
    """(nodes,) int: equal for nodes that links from ``left`` to ``right``, (m,) int, join directly or indirectly."""
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1]
