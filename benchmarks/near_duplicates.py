"""How similar must two pictures be to count as near-duplicates? Chosen on phantoms, checked on HAM10000.

    .venv/bin/python benchmarks/near_duplicates.py [HAM10000 [ISIC9]]    # minutes; writes near_duplicates.json

Hash size: the one that best separates copies (``COPIES``: re-encoded, resized, flipped, rotated) from pictures of
different lesions of one phantom. The measure is d', the difference of the mean distances divided by the root of the
summed variances (Green and Swets, Signal Detection Theory and Psychophysics, 1966), for the hardest kind of copy.
Threshold: the middle between the farthest copy and the nearest two lesions. Crops and second views of a lesion do not
enter, because no method promises to find them or to leave them out. Size 16 has the wider gap as a share of its bits,
size 24 the larger d'. HAM10000 was looked at before d' was preferred, so the size is not a blind choice; the results of
each size on HAM10000 are recorded.

The tracked results are those of the phantom's pictures at commit 22c39f7; the pictures were redrawn since.

Check: the same kinds of pairs on HAM10000, and every pair of its images; and the same images in the 9-class ISIC set,
where they were re-encoded and squeezed into a square.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from lesion_utils.audit import near_duplicates as near
from lesion_utils.audit.images import open_image
from lesion_utils.datasets import ham10000, isic9, phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import write_json

SEEDS, LESIONS = (101, 102, 103), 600  # of the phantoms
SIZES = (8, 16, 24, 32)
SAMPLE, SEED, THREADS = 1500, 0, 2
QUANTILES = {"least": 0, "median": 0.5, "95%": 0.95, "most": 1}
MOST_LISTED = 20


def _encoded(picture: Image.Image, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _turned(turn: Image.Transpose) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: _encoded(picture.transpose(turn))


def _cropped(percent: float) -> Callable[[Image.Image], Image.Image]:
    def crop(picture: Image.Image) -> Image.Image:
        across, down = (max(1, round(percent / 100 * side)) for side in picture.size)
        return _encoded(picture.crop((across, down, picture.width - across, picture.height - down)))

    return crop


# Copies whose orientation or encoding alone differ from the original; the threshold is set so that it catches these.
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded, JPEG quality 75": _encoded,
    "re-encoded, JPEG quality 30": lambda picture: _encoded(picture, 30),
    "resized to half": lambda picture: _encoded(picture.resize((picture.width // 2, picture.height // 2))),
    "resized to 180 x 180": lambda picture: _encoded(picture.resize((180, 180))),
    "flipped left to right": _turned(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped top to bottom": _turned(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90 degrees": _turned(Image.Transpose.ROTATE_90),
}
CROPS = {f"cropped by {percent}% per side": _cropped(percent) for percent in (1, 2, 5, 10)}
VIEWS = "two views of one lesion"
STRANGERS = "different lesions"


def measured_distances(
    cases: pd.DataFrame, sample: int, seed: int, threads: int, size: int = near.HASH_SIZE
) -> dict[str, np.ndarray]:
    """Distances in bits by kind of pair, for up to ``sample`` lesions drawn at random, one image each.

    Kinds: each of ``COPIES`` and ``CROPS``, made on the fly in memory, against its original; ``STRANGERS``, all pairs
    among the images drawn; ``VIEWS``, two images of up to ``sample`` lesions that have two.
    """
    shuffled = cases.sample(frac=1, random_state=seed)
    drawn = shuffled.drop_duplicates("lesion_id")[:sample]
    hashes = near.picture_hashes(drawn, threads, size)

    def copies(row: int) -> list[int]:
        original = open_image(drawn["path"].iloc[row])
        made = [near.orientation_hashes(copy(original), size)[0] for copy in (COPIES | CROPS).values()]
        return list(near.distances(np.column_stack(made), hashes[:, :, [row]])[:, 0])

    with ThreadPoolExecutor(threads) as pool:
        of_copies = np.array(list(pool.map(copies, range(len(drawn)))), int).reshape(len(drawn), -1)
    strangers = near.distances(hashes[0], hashes)[np.triu_indices(len(drawn), 1)]
    views = shuffled[shuffled.groupby("lesion_id").cumcount() < 2]
    views = views[views["lesion_id"].duplicated(keep=False)].sort_values("lesion_id", kind="stable")[: 2 * sample]
    of_views = near.picture_hashes(views, threads, size)
    pairs = [
        near.distances(of_views[0, :, [row]].T, of_views[:, :, [row + 1]])[0, 0] for row in range(0, len(views), 2)
    ]
    return {
        **dict(zip(COPIES | CROPS, of_copies.T, strict=True)),
        STRANGERS: strangers,
        VIEWS: np.array(pairs, int),
    }


def check_near_duplicates(cases: pd.DataFrame, sample: int, seed: int, threads: int) -> pd.DataFrame:
    """How many pairs of each kind of ``measured_distances`` are called near-duplicates at the ``THRESHOLD``.

    One row a kind: ``pairs, wanted`` (whether it should be found, being a copy)``, n, found, rate, low, high``: the
    rate is from 0 to 1, NaN where there is no pair; its 95% interval (Clopper and Pearson) is by lesion, a pair each,
    and NaN for ``STRANGERS``, where a lesion is in many pairs. Nothing is written.
    """
    rows = []
    for kind, apart in measured_distances(cases, sample, seed, threads).items():
        n, found = len(apart), int((apart <= near.THRESHOLD).sum())
        exact = binomtest(found, n).proportion_ci() if n and kind != STRANGERS else (np.nan, np.nan)
        rows.append((kind, kind not in (STRANGERS, VIEWS), n, found, found / n if n else np.nan, *exact))
    return pd.DataFrame(rows, columns=["pairs", "wanted", "n", "found", "rate", "low", "high"])


def main(ham: Path | None = None, nine_classes: Path | None = None) -> None:
    out = {"chosen on phantoms": chosen()}
    if ham:
        middles = {
            int(size): found["middle"] for size, found in out["chosen on phantoms"]["by hash size, bits"].items()
        }
        out["checked on HAM10000"] = checked(ham10000.read(ham), middles)
    if ham and nine_classes:
        out["HAM10000's images in the 9-class ISIC set"] = recognised(ham10000.read(ham), isic9.read(nine_classes, ham))
    write_json(Path(__file__).with_suffix(".json"), out)


def chosen() -> dict:
    """How well each size tells copies, and the size and threshold that the rule gives."""
    apart: dict[int, list[dict[str, np.ndarray]]] = {size: [] for size in SIZES}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            phantom.write(Path(folder), Phantom(lesions=LESIONS, seed=seed))
            cases = ham10000.read(Path(folder))
            for size in SIZES:
                apart[size].append(measured_distances(cases, LESIONS, SEED, THREADS, size))
    pooled = {
        size: {kind: np.concatenate([one[kind] for one in all_]) for kind in all_[0]} for size, all_ in apart.items()
    }
    sizes = {size: told_apart(kinds, size) for size, kinds in pooled.items()}
    best = max(SIZES, key=lambda size: sizes[size]["d' of the hardest copies"])
    return {
        "phantoms": f"{len(SEEDS)} of {LESIONS} lesions, seeds {', '.join(map(str, SEEDS))}",
        "rule": "the size with the largest d' of the hardest copies; the middle of its gap, in even bits",
        "hash size": best,
        "threshold, bits": sizes[best]["middle"],
        "by hash size, bits": sizes,
        "distances at this size, bits": {kind: spread(values) for kind, values in pooled[best].items()},
    }


def told_apart(kinds: dict[str, np.ndarray], size: int) -> dict:
    """How well copies are told from different lesions, and what lies between the farthest and the nearest of them."""
    strangers = kinds[STRANGERS]
    d_primes = {
        kind: float((strangers.mean() - kinds[kind].mean()) / np.sqrt(strangers.var() + kinds[kind].var()))
        for kind in COPIES
    }
    hardest = min(d_primes, key=lambda kind: d_primes[kind])
    farthest, nearest = max(int(kinds[kind].max()) for kind in COPIES), int(strangers.min())
    return {
        "bits": size**2,
        "hardest copies": hardest,
        "d' of the hardest copies": round(d_primes[hardest], 3),
        "farthest copy": farthest,
        "nearest two lesions": nearest,
        "middle": (farthest + nearest) // 4 * 2,
    }


def checked(cases: pd.DataFrame, middles: dict[int, int]) -> dict:
    """Hits and false alarms on real pictures: a sample of each kind of pair, and every pair of images, at all sizes."""
    sampled = check_near_duplicates(cases, SAMPLE, SEED, THREADS)
    start = time.perf_counter()
    hashes = near.picture_hashes(cases, THREADS)
    hashed = time.perf_counter()
    pairs = near.near_pairs(hashes, THREADS)
    seconds = {"hashing": round(hashed - start), "comparing every pair": round(time.perf_counter() - hashed)}
    lesion, names = cases["lesion_id"].to_numpy(), cases["image_id"].to_numpy()
    same = lesion[pairs[:, 0]] == lesion[pairs[:, 1]]
    by_size = {}
    for size, middle in middles.items():
        found = near.near_pairs(near.picture_hashes(cases, THREADS, size), THREADS, middle)
        by_size[size] = int((lesion[found[:, 0]] != lesion[found[:, 1]]).sum())
    of_one = int((cases["lesion_id"].value_counts() * (cases["lesion_id"].value_counts() - 1) // 2).sum())
    n = len(cases) * (len(cases) - 1) // 2 - of_one
    others = [[*names[[one, other]], int(bits)] for one, other, bits in pairs[~same]]
    return {
        "sampled": sampled.round(6).astype(object).where(sampled.notna(), None).to_dict("records"),
        "every pair": {
            STRANGERS: {
                "n": n,
                "found": len(others),
                "rate": len(others) / n,
                "pairs and bits": others[:MOST_LISTED],
            },
            VIEWS: {"n": of_one, "found": int(same.sum()), "rate": same.sum() / of_one},
        },
        "pairs of different lesions at the middle of each hash size": by_size,
        f"seconds for {len(cases):,} images, {THREADS} threads": seconds,
    }


def recognised(ham: pd.DataFrame, others: pd.DataFrame) -> dict:
    """How many images of HAM10000 are recognised in the copy that another set holds; told by the id."""
    copies = others[others["isic_id"].isin(ham["image_id"])].drop_duplicates("isic_id")
    originals = ham.set_index("image_id").loc[copies["isic_id"]]
    one, other = near.picture_hashes(originals, THREADS), near.picture_hashes(copies, THREADS)
    apart = [int(near.distances(one[0, :, [k]].T, other[:, :, [k]])[0, 0]) for k in range(len(copies))]
    return {"found": int(sum(bits <= near.THRESHOLD for bits in apart)), "bits": spread(np.array(apart))}


def spread(values: np.ndarray) -> dict:
    return {"n": len(values), **{name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}}


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:]))
