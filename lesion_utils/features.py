"""What a frozen network makes of the pictures, computed once for all recipes, repeats and studies that share it."""

from pathlib import Path

import numpy as np

from lesion_utils.augment import apply, draw
from lesion_utils.digests import code_digest, digest
from lesion_utils.paths import cache_folder
from lesion_utils.pictures import HELD_OUT_BATCH
from lesion_utils.recipes import Augmentation, Recipe
from lesion_utils.runtime import keras, tf
from lesion_utils.store import Rows, Store

_BLOCK = 4 * HELD_OUT_BATCH  # rows kept at a time


def origin(recipe: Recipe, weights: str, statistics: tuple[float, float], seed: int, threads: int) -> list:
    """What decides the outputs of a recipe's untrained backbone; ``weights`` is their digest.

    ``statistics`` matter to the scalings that standardise. Random weights come of the seed. The number of threads
    decides the last bits.
    """
    decides = {"backbone", "alpha", "weights", "cut", "image_size", "scaling", "pooling"}
    decides |= {"batch_norm", "last_pooling"}  # of the small CNN
    code = code_digest(Path(__file__).with_name("models.py").read_text(encoding="utf-8"))
    drawn = seed if recipe.weights == "none" else None
    scaled_by = statistics if recipe.scaling in ("z_score", "z_score_by_part") else None
    return [recipe.model_dump(mode="json", include=decides), weights, drawn, scaled_by, threads, code, tf.__version__]


def outputs(
    model: keras.Model, pixels: Rows, made_of: list, augmentation: Augmentation | None = None, view: int = 0
) -> Rows:
    """The output of ``model`` for each picture, (n, …) float32, on disk; computed for pictures that are new.

    ``made_of`` tells this model from every other. ``view`` > 0 is a picture as ``augmentation`` changes it: it is drawn
    by the picture's content and the view's number, the same for whoever asks.
    """
    drawn_by = [view, augmentation.model_dump()] if augmentation and view else None
    store = Store(cache_folder("features") / digest([made_of, drawn_by]))
    rows = {key: row for row, key in enumerate(pixels.keys) if key not in store}
    keys = list(rows)
    for first in range(0, len(keys), _BLOCK):
        block = keys[first : first + _BLOCK]
        made = []
        for begin in range(0, len(block), HELD_OUT_BATCH):
            batch = block[begin : begin + HELD_OUT_BATCH]
            pictures = pixels[[rows[key] for key in batch]]
            if augmentation and view:
                pictures = np.stack([_changed(*one, augmentation, view) for one in zip(batch, pictures, strict=True)])
            # A short batch is filled up: batches of another size have other last bits.
            full = np.concatenate([pictures, np.repeat(pictures[-1:], HELD_OUT_BATCH - len(batch), axis=0)])
            made.append(model.predict_on_batch(full.astype(np.float32))[: len(batch)])
        store.add(block, np.concatenate(made))
    return store.rows(pixels.keys)


def _changed(key: str, picture: np.ndarray, augmentation: Augmentation, view: int) -> np.ndarray:
    rng = np.random.default_rng([int(key, 16), view])
    return apply(draw(augmentation, 1, picture.shape[:2], rng), picture[None], 1)[0]
