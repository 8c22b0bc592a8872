"""Pictures opened, and compared by their decoded pixels."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from PIL import Image

from lesion_utils.errors import InputError


def open_image(path: str) -> Image.Image:
    """The decoded RGB picture; raises InputError naming the file if it is missing, truncated or not a picture."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be decoded ({error}). Fix: fetch this file again.") from error


def pixel_digests(cases: pd.DataFrame, threads: int) -> pd.Series:
    """Digest of each image's decoded pixels, aligned with ``cases``; taken from their column ``pixels`` where filled.

    Raises InputError for a file that cannot be decoded.
    """

    def decoded(path: str) -> str:
        picture = open_image(path)
        return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()[:32]

    digests = cases["pixels"].copy() if "pixels" in cases else pd.Series(None, cases.index, dtype=object)
    missing = digests.isna()
    with ThreadPoolExecutor(threads) as pool:
        digests[missing] = list(pool.map(decoded, cases.loc[missing, "path"]))
    return digests.rename("pixels")
