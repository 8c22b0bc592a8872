"""What the two rows of MobileNet share: the recipe, our training of it, and the network as a user of Keras has it."""

import contextlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.arms import Arm, Setting
from benchmarks.pictures import cases, made_up

Size = tuple[int, int]  # height, width in px

HELD_OUT = 28  # pictures each of validation and test: the row is about training


def size_of(setting: Setting) -> Size:
    """That of HAM10000's small copy."""
    return (32, 48) if setting.smoke else (150, 200)


def recipe_of(size: Size) -> dict:
    """System 002's network in the words of a recipe; the weights are random, which costs the same."""
    return {"backbone": "mobilenet_v1", "image_size": size, "pooling": "average", "hidden": 0, "dropout": 0.25}


def our_arm(setting: Setting, images: int, phase: dict) -> Arm:
    """``ours`` on ``images`` made-up files to train on and some to hold out."""
    size = size_of(setting)
    paths = made_up(setting.scratch / "pictures", images + 2 * HELD_OUT, size[1], size[0], setting.threads)
    arguments = {"paths": paths, "size": size, "phase": phase}
    return Arm(ours, arguments | {"scratch": setting.scratch / "output", "threads": setting.threads})


def ours(paths: list[str], size: Size, phase: dict, scratch: Path, threads: int) -> Callable[[], float]:
    """``train`` from its first to its last line, with a new seed each round; pictures alone are in the cache.

    The weights are drawn by the seed, so nothing that an earlier round kept fits.
    """
    from lesion_utils import pictures as pixels
    from lesion_utils.study import StudyParams
    from lesion_utils.training import train

    os.environ["LESION_OUTPUT"] = str(scratch)
    pixels.load_pictures(paths, size, threads)
    table, seeds = cases(paths, HELD_OUT), iter(range(1000))

    def run() -> float:
        recipe = recipe_of(size) | {"phases": [phase]}
        params = StudyParams(study="bench", threads=threads, seed=next(seeds), transfer={"mobilenet": recipe})
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train("mobilenet", table, params)
        return time.perf_counter() - began

    return run


def in_one(images: int, size: Size, trained_from: str | None) -> Callable[[], float]:
    """An epoch of Keras' fit with the whole network in each step, pictures in memory as float32.

    Layers from ``trained_from`` on learn, and the head; None: the head alone. The pictures are random numbers.
    """
    from lesion_utils.runtime import keras, tf

    base = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(*size, 3))
    names = [layer.name for layer in base.layers]
    first = len(names) if trained_from is None else names.index(trained_from)
    for layer in base.layers:
        layer.trainable = names.index(layer.name) >= first and not layer.name.endswith("_bn")
    pictures = keras.Input((*size, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(base(keras.layers.Rescaling(1 / 127.5, -1)(pictures)))
    outputs = keras.layers.Dense(7, activation="softmax")(keras.layers.Dropout(0.25)(outputs))
    model = keras.Model(pictures, outputs)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    inputs = tf.random.uniform((images, *size, 3), 0, 255).numpy()
    targets = keras.utils.to_categorical([number % 7 for number in range(images)], 7)
    model.fit(inputs[:32], targets[:32], verbose=0)

    def run() -> float:
        began = time.perf_counter()
        model.fit(inputs, targets, batch_size=32, verbose=0)
        return time.perf_counter() - began

    return run
