"""What one set of cases holds twice, and what two sets share."""

import numpy as np
import pandas as pd

from lesion_utils.audit.connected import components, connected
from lesion_utils.audit.images import pixel_digests
from lesion_utils.audit.near_duplicates import near_pairs, picture_hashes

KINDS = ("same id", "same lesion", "same pixels", "near-duplicate")


def tied(cases: pd.DataFrame, threads: int, pictures: bool = True) -> pd.DataFrame:
    """A number for each case and each of ``KINDS``: images of equal number are tied; -1 where nothing is known.

    *Same id* goes by ``isic_id``, or by ``image_id`` where there is none; *same lesion* by ``lesion_id``; *same pixels*
    by the decoded picture. These three are plain facts, and two images may share several. *Near-duplicates* are what
    ``near_pairs`` finds among images that none of the three ties, directly or through others; a chain of them is one
    group. ``pictures`` False opens no file and leaves out the last two. Raises InputError for a file that cannot be
    decoded.
    """
    ids = cases["isic_id"].fillna(cases["image_id"]) if "isic_id" in cases else cases["image_id"]
    keys = {"same id": ids, "same lesion": cases["lesion_id"]}
    if pictures:
        keys["same pixels"] = pixel_digests(cases, threads)
    numbers = pd.DataFrame({kind: pd.factorize(key)[0] for kind, key in keys.items()}, index=cases.index)
    return numbers.assign(**{"near-duplicate": _near(cases, numbers, threads)}) if pictures else numbers


def _near(cases: pd.DataFrame, numbers: pd.DataFrame, threads: int) -> np.ndarray:
    first = ~numbers["same pixels"].duplicated().to_numpy()  # one case a picture, in the order of their numbers
    known = connected(numbers)[first]
    one, other, _ = near_pairs(picture_hashes(cases[first], threads), threads).T
    new = known[one] != known[other]
    groups = components(one[new], other[new], int(first.sum()))
    return np.where(np.bincount(groups)[groups] > 1, groups, -1)[numbers["same pixels"]]


def shared(number: pd.Series, these: pd.Series, those: pd.Series) -> pd.Series:
    """Which of the cases ``these`` are tied to one of ``those``, or to another of ``these`` if both are the same.

    ``number`` is a column of ``tied``, ``these`` and ``those`` are bool; all (n,), as is what is returned.
    """
    known = number[these & (number >= 0)]
    again = known.duplicated(keep=False) if these.equals(those) else known.isin(number[those])
    return again.reindex(number.index, fill_value=False)
