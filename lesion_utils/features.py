"""Outputs of frozen networks: computed once for all recipes, runs and studies that share them."""

from pathlib import Path
from typing import Any

import numpy as np

from lesion_utils.augment import make_augmenter
from lesion_utils.digests import code_digest, digest
from lesion_utils.paths import cache_folder
from lesion_utils.pictures import HELD_OUT_BATCH, ArrayCache, CachedArrays, full_batch
from lesion_utils.progress import steps
from lesion_utils.recipes import Augmentation, BackboneOptions

_BLOCK = 4 * HELD_OUT_BATCH  # rows written at a time


def feature_cache_key(
    backbone: BackboneOptions, weights: str, statistics: tuple[float, float], seed: int, threads: int
) -> list:
    """All that decides the outputs of an untrained backbone; ``weights`` is their digest.

    ``statistics`` count only where the scaling standardises, ``seed`` only where weights are random.
    """
    from lesion_utils.runtime import backend  # imports TensorFlow, without which the audit reads features

    code = code_digest(Path(__file__).with_name("models.py").read_text(encoding="utf-8"))
    random_weights = seed if backbone.weights == "none" else None
    scaled_by = statistics if backbone.scaling in ("z_score", "z_score_by_split") else None
    return [
        backbone.model_dump(mode="json"),
        weights,
        random_weights,
        scaled_by,
        threads,
        code,
        backend.__version__,
    ]


def cached_features(
    model: Any, pictures: CachedArrays, key: list, augmentation: Augmentation | None = None, view: int = 0
) -> CachedArrays:
    """The output of ``model`` for each picture, (n, …) float32, on disk; computed for new pictures only.

    ``model`` is one of Keras, or has its ``predict_on_batch``. ``key`` identifies it. ``augmentation`` changes each
    picture first, at random, decided by the picture's content and the number of the ``view`` alone.
    """
    view_key, change = None, None
    if augmentation:
        view_key = [view, augmentation.model_dump(), code_digest(Path(__file__).read_text(encoding="utf-8"))]
        change = make_augmenter(augmentation, view)
    cache = ArrayCache(cache_folder("features") / digest([key, view_key]))
    new = {name: row for row, name in enumerate(pictures.keys) if name not in cache}
    names = list(new)
    for start in steps(range(0, len(names), _BLOCK), f"computing features, {_BLOCK} pictures at a time"):
        block = names[start : start + _BLOCK]
        outputs = []
        for batch in (block[first : first + HELD_OUT_BATCH] for first in range(0, len(block), HELD_OUT_BATCH)):
            inputs = pictures[[new[name] for name in batch]]
            if change:
                pairs = zip(inputs, batch, strict=True)
                inputs = np.concatenate([change(picture[None], int(name, 16)) for picture, name in pairs])
            outputs.append(model.predict_on_batch(full_batch(inputs))[: len(batch)])
        cache.add(block, np.concatenate(outputs))
    return cache.read(pictures.keys)
