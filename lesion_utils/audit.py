"""What is wrong with a set of cases, and what two sets share."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from PIL import Image

from lesion_utils.errors import InputError


def open_image(path: str) -> Image.Image:
    """The decoded RGB picture; raises InputError naming the file if it is missing, truncated or no picture."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be decoded ({error}). Cure: fetch this file again.") from error


def pixel_digests(cases: pd.DataFrame, threads: int) -> pd.Series:
    """Digest of each image's decoded pixels, aligned with ``cases``; the whole set is decoded, so bad files show."""

    def one(path: str) -> str:
        picture = open_image(path)
        return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()[:32]

    with ThreadPoolExecutor(threads) as pool:
        return pd.Series(list(pool.map(one, cases["path"])), index=cases.index, name="pixels")


def same_pixels(cases: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """The cases whose pixels another case has too, with a column ``group`` numbering each such set."""
    twice = digests.duplicated(keep=False)
    groups = digests[twice].rank(method="dense").astype(int)
    return cases[twice].assign(group=groups).sort_values(["group", "image_id"])


def conflicting_labels(cases: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """The groups of ``same_pixels`` that stand under more than one label."""
    same = same_pixels(cases, digests)
    return same[same.groupby("group")["label"].transform("nunique") > 1]


def shared_lesions(cases: pd.DataFrame, others: pd.DataFrame) -> set[str]:
    """Ids of lesions with an image in both sets."""
    return set(cases["lesion_id"]) & set(others["lesion_id"])
