"""One lesion in two pictures, recognised by its structure, also where zoom, angle and light differ.

Candidates are nearest neighbours, by the outputs of a frozen network and by their keypoints. Each candidate pair is
then verified: SIFT keypoints (Lowe, IJCV 60:91, 2004; square roots of the descriptors: Arandjelović and Zisserman, CVPR
2012) that match in both pictures, and agree on one shift, turn and zoom, or their mirror image (RANSAC). The number of
keypoints that agree is the evidence. What many pictures of a set have in the same place, such as a text or a frame, is
left out first. ``benchmarks/same_lesion.py`` chose ``THRESHOLD`` on images to which HAM10000 gives one lesion id, and
measured what is found, and what is falsely found on other lesions; ``same_lesion.json`` there has the results.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lesion_utils.audit.images import open_image
from lesion_utils.audit.links import components
from lesion_utils.progress import steps

LIST = "same_lesion_candidates.csv"  # of a dataset, in its folder of reports
NEIGHBOURS = 10  # of each picture by the network's outputs,
NEAREST_STRUCTURES = 40  # and by its keypoints, that are verified
THRESHOLD = 12  # keypoints that agree, from which two pictures show one lesion
WIDTH = 400  # px to which pictures are resized
MOST_KEYPOINTS = 600  # of a picture; those with the most contrast
RATIO = 0.8  # of the distances to the nearest and the second nearest keypoint: the match must be this much better
WITHIN = 4.0  # px by which a keypoint may miss its place
ZOOM = (0.4, 2.5)  # from one picture to the other

FEWEST = 20  # pictures, with which this can be told
COMMON = 0.1  # share of pairs of other pictures, in whose same place a structure is no evidence
_SAMPLE = 200  # such pairs
_CENTRES, _DRAWN, _COMPONENTS, _FITTED = 64, 20, 512, 5_000  # of ``structure``
_PLACE = 8  # px, the side of a place

_CELLS, _ANGLES = 4, 8  # a SIFT descriptor: 4 x 4 cells of 8 directions


class Keypoints(NamedTuple):
    """The keypoints of one picture."""

    points: np.ndarray  # (n, 2) float32, px
    descriptors: np.ndarray  # (n, 128) uint8
    width: int  # px

    @property
    def mirrored(self) -> "Keypoints":
        """Those of the picture's mirror image, without looking at it again."""
        cells = self.descriptors.reshape(-1, _CELLS, _CELLS, _ANGLES)
        turned = cells[:, ::-1, :, -np.arange(_ANGLES) % _ANGLES]
        points = self.points * (-1, 1) + (self.width - 1, 0)
        return Keypoints(points.astype(np.float32), turned.reshape(self.descriptors.shape), self.width)

    def taken(self, chosen: np.ndarray) -> "Keypoints":
        """The ``chosen`` keypoints, (n,) bool."""
        return self._replace(points=self.points[chosen], descriptors=self.descriptors[chosen])


class Evidence(NamedTuple):
    """How two pictures fit each other."""

    keypoints: int  # that agree
    zoom: float  # of the second against the first
    angle: float  # degrees by which the second is turned
    mirrored: bool


def keypoints(path: str) -> Keypoints:
    """The keypoints of the picture in ``path``; InputError if it cannot be decoded."""
    grey = np.asarray(open_image(path).convert("L"))
    height, width = grey.shape
    size = (WIDTH, max(1, round(WIDTH * height / width)))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC if width < WIDTH else cv2.INTER_AREA)
    grey = cv2.createCLAHE(2.0, (8, 8)).apply(grey)  # skin has little contrast
    sift = cv2.SIFT.create(MOST_KEYPOINTS, contrastThreshold=0.01, edgeThreshold=20)
    found, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), WIDTH)
    return Keypoints(np.array([point.pt for point in found], np.float32), descriptors.astype(np.uint8), WIDTH)


def evidence(first: Keypoints, second: Keypoints) -> Evidence:
    """The transformation on which the most keypoints agree, of ``second`` or its mirror image."""
    found = [_agreeing(first, second.mirrored if is_mirrored else second) for is_mirrored in (False, True)]
    best = int(found[1][0] > found[0][0])
    return Evidence(*found[best], bool(best))


def _matched(first: Keypoints, second: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    """The points, (m, 2), of keypoints in ``first`` whose nearest one in ``second`` is much nearer than all others."""
    if len(first.points) < 2 or len(second.points) < 2:
        return first.points[:0], second.points[:0]
    similar = _unit(first.descriptors) @ _unit(second.descriptors).T
    rows, best = np.arange(len(similar)), similar.argmax(1)
    nearest = similar[rows, best]
    similar[rows, best] = -1
    near, next_near = (np.sqrt(np.maximum(0, 2 - 2 * of)) for of in (nearest, similar.max(1)))
    matched = np.flatnonzero(near < RATIO * next_near)
    return first.points[matched], second.points[best[matched]]


def _agreeing(first: Keypoints, second: Keypoints) -> tuple[int, float, float]:
    nothing, places = (0, 1.0, 0.0), _matched(first, second)
    if len(places[0]) < 3:
        return nothing
    matrix, inside = cv2.estimateAffinePartial2D(*places, method=cv2.RANSAC, ransacReprojThreshold=WITHIN)
    if matrix is None:
        return nothing
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not ZOOM[0] <= zoom <= ZOOM[1]:
        return nothing
    # one keypoint has several descriptors, and several keypoints may lie on one hair: count places once
    agreeing = np.unique(np.round(places[0][inside.ravel() == 1] / WITHIN), axis=0)
    return len(agreeing), zoom, float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def _unit(descriptors: np.ndarray) -> np.ndarray:
    sums = np.maximum(descriptors.sum(1, keepdims=True, dtype=np.float32), 1)
    return np.sqrt(descriptors / sums, dtype=np.float32)


def neighbours(features: np.ndarray, nearest: int = NEIGHBOURS) -> np.ndarray:
    """Pairs of rows of ``features``, (n, d), one of which is among the ``nearest`` of the other by cosine.

    (m, 2) int64, each pair once, the lower row first.
    """
    from sklearn.neighbors import NearestNeighbors  # slow: every job imports this room

    nearest = min(nearest, len(features) - 1)
    if nearest < 1:
        return np.empty((0, 2), np.int64)
    index = NearestNeighbors(n_neighbors=nearest, metric="cosine", algorithm="brute").fit(features)
    found = index.kneighbors(return_distance=False)  # without itself
    pairs = np.column_stack([np.repeat(np.arange(len(features)), nearest), found.ravel()])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def candidates(known: Sequence[Keypoints], features: np.ndarray) -> np.ndarray:
    """Pairs of pictures that may show one lesion, (m, 2): neighbours by ``features`` and by ``structure``."""
    by_structure = neighbours(structure(known), NEAREST_STRUCTURES)
    return np.unique(np.concatenate([neighbours(features), by_structure]), axis=0)


def structure(known: Sequence[Keypoints]) -> np.ndarray:
    """A vector of unit length for each picture, which sums up its descriptors: (n, at most 512).

    VLAD (Jégou et al., CVPR 2010): the differences from the nearest of 64 centres, summed by centre, each sum of unit
    length (Arandjelović and Zisserman, CVPR 2013), and their principal components.
    """
    from sklearn.cluster import MiniBatchKMeans  # slow
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    drawn = [of.descriptors[rng.permutation(len(of.descriptors))[:_DRAWN]] for of in known]
    sample = _unit(np.concatenate([*drawn, np.ones((_CENTRES, 128), np.uint8)]))  # also where nothing has structure
    centres = MiniBatchKMeans(_CENTRES, random_state=0, n_init=1, batch_size=10_000).fit(sample).cluster_centers_
    centres = centres.astype(np.float32)
    vectors = np.zeros((len(known), _CENTRES, 128), np.float32)
    for vector, of in zip(vectors, known, strict=True):
        descriptors = _unit(of.descriptors)
        nearest = ((centres**2).sum(1) - 2 * descriptors @ centres.T).argmin(1)
        np.add.at(vector, nearest, descriptors - centres[nearest])
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True) + 1e-9
    flat = vectors.reshape(len(known), -1)
    fitted = flat[::2][:_FITTED]
    parts = PCA(min(_COMPONENTS, len(fitted)), random_state=0, svd_solver="randomized").fit(fitted)
    reduced = parts.transform(flat)
    return reduced / (np.linalg.norm(reduced, axis=1, keepdims=True) + 1e-9)


def all_keypoints(cases: pd.DataFrame, threads: int) -> list[Keypoints]:
    """The keypoints of each of ``cases``, without what many pictures show in the same place."""
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        return _without_common(list(steps(pool.map(keypoints, cases["path"]), "finding keypoints", len(cases))))


def verify(known: Sequence[Keypoints], pairs: np.ndarray, threads: int) -> pd.DataFrame:
    """The ``evidence`` of each of ``pairs``, (m, 2) row numbers of ``known``: ``first, second`` and its fields."""
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        compared = pool.map(lambda pair: evidence(known[pair[0]], known[pair[1]]), pairs.tolist())
        found = list(steps(compared, "comparing pairs of pictures", len(pairs)))
    return pd.DataFrame(pairs, columns=["first", "second"]).join(pd.DataFrame(found, columns=Evidence._fields))


def _without_common(known: list[Keypoints]) -> list[Keypoints]:
    """The keypoints of all pictures without those in places where pictures drawn at random show the same."""
    if len(known) < FEWEST:  # most may be copies
        return known
    places = np.zeros((2 * WIDTH // _PLACE, WIDTH // _PLACE + 1), int)
    drawn = np.random.default_rng(0).integers(len(known), size=(_SAMPLE, 2))
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    for first, second in drawn:
        one, other = _matched(known[first], known[second])
        stays = one[np.abs(one - other).max(axis=1, initial=0) <= WITHIN]
        places[tuple(np.unique(_places(stays), axis=1))] += 1
    common = places > COMMON * len(drawn)
    return [of.taken(~common[tuple(_places(of.points))]) for of in known]


def _places(points: np.ndarray) -> np.ndarray:
    """Row and column of the place of each point: (2, n)."""
    x, y = np.floor(points / _PLACE).astype(int).T
    return np.stack([y.clip(0, 2 * WIDTH // _PLACE - 1), x.clip(0, WIDTH // _PLACE)])


def same_lesion(cases: pd.DataFrame, features: np.ndarray, threads: int, threshold: int = THRESHOLD) -> pd.DataFrame:
    """Pairs of images with different lesion ids (or unknown ones) that show one lesion, the most certain first.

    ``features``: (n, d), of a frozen network, for each of ``cases``. Columns: ``first, second`` (image ids),
    ``first_lesion, second_lesion, keypoints, zoom, angle, mirrored``.
    """
    known, lesions = all_keypoints(cases, threads), cases["lesion_id"].to_numpy()
    pairs = candidates(known, features)
    of_first, of_second = lesions[pairs].T
    return listed(cases, verify(known, pairs[pd.isna(of_first) | (of_first != of_second)], threads), threshold)


def listed(cases: pd.DataFrame, found: pd.DataFrame, threshold: int = THRESHOLD) -> pd.DataFrame:
    """The pairs of ``verify`` with enough evidence, as ``same_lesion`` returns them."""
    lesions = cases["lesion_id"].to_numpy()
    found = found[found["keypoints"] >= threshold].sort_values("keypoints", ascending=False, kind="stable")
    sides = {side: found[side].to_numpy() for side in ("first", "second")}
    ids = {side: cases["image_id"].to_numpy()[rows] for side, rows in sides.items()}
    ids |= {f"{side}_lesion": lesions[rows] for side, rows in sides.items()}
    shown = found[[*Evidence._fields]].round({"zoom": 2, "angle": 0}).reset_index(drop=True)
    return pd.DataFrame(ids).join(shown.assign(angle=shown["angle"] + 0.0))  # no -0


def merged_lesions(cases: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """The lesion of each case, where lesions of which ``pairs`` (``first, second``: image ids) show images are one.

    A merged lesion has the id of its first case. Pairs with an image that is not among ``cases`` are left out.
    """
    codes, unique = pd.factorize(cases["lesion_id"])
    code_of = pd.Series(codes, cases["image_id"])
    known = pairs[pairs["first"].isin(code_of.index) & pairs["second"].isin(code_of.index)]
    joined = components(code_of[known["first"]].to_numpy(), code_of[known["second"]].to_numpy(), len(unique))
    return cases["lesion_id"].groupby(joined[codes]).transform("first")
