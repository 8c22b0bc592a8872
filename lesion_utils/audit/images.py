"""Pictures opened, and compared by their decoded pixels."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from lesion_utils.errors import InputError
from lesion_utils.progress import steps

MOST_PIXELS = 60_000_000  # of a picture: 180 MB decoded


def open_image(path: str) -> Image.Image:
    """The decoded RGB picture, turned as its EXIF data say; 16 bits become 8. Raises InputError naming the file if it
    is missing, truncated, too large, not a regular file, of 32 bits, or not a picture.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for without end
            raise ValueError("it is not a regular file")
        with Image.open(path) as picture:
            if (pixels := picture.width * picture.height) > MOST_PIXELS:
                problem = f"it has {picture.width:,} x {picture.height:,} px = {pixels / 1e6:,.0f} million"
                raise ValueError(f"{problem}; at most {MOST_PIXELS / 1e6:,.0f} million")
            if picture.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits, whose range is not known; expected 8 or 16")
            if picture.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
        read = pool.map(decoded, cases.loc[missing, "path"])
        digests[missing] = list(steps(read, "decoding pictures", int(missing.sum())))
    return digests.rename("pixels")
