"""Augmentation: random changes of training pictures, made by Keras as the published systems made them.

Keras has two engines. Its random layers change a batch one after another and resample it each time (systems 003, 004,
this project's recipes). Its older ImageDataGenerator draws one affine map per picture (systems 000, 001, 002).
"""

from collections.abc import Callable
from functools import reduce

import cv2
import numpy as np
import pandas as pd

from lesion_utils.recipes import Augmentation

Engine = Callable[[np.ndarray, np.random.SeedSequence], np.ndarray]

_KERAS_FILLS = {"reflect": "reflect", "nearest": "nearest", "black": "constant"}
_OPENCV_FILLS = {"reflect": cv2.BORDER_REFLECT, "nearest": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}


def make_augmenter(augmentation: Augmentation, *seed: int) -> Callable[..., np.ndarray]:
    """A function ``change(pictures, *numbers)`` that makes the random changes of ``augmentation``.

    ``pictures`` (n, height, width, 3) have values from 0 to 255; the result is a new float32 array of this shape. The
    same pictures, ``seed`` and ``numbers`` give the same result.
    """
    crops = augmentation.rotation_crop != "none"
    rest = augmentation.model_copy(update={"rotation": 0.0}) if crops else augmentation
    engine = _image_data_generator(rest) if augmentation.engine == "image_data_generator" else _keras_layers(rest)

    def change(pictures: np.ndarray, *numbers: int) -> np.ndarray:
        draw = [*seed, *numbers]
        if crops:
            angles = np.random.default_rng(draw).uniform(-1, 1, len(pictures)) * 360 * augmentation.rotation
            pictures = np.stack([_rotate_and_crop(*pair, augmentation) for pair in zip(pictures, angles, strict=True)])
        return engine(np.asarray(pictures, np.float32), np.random.SeedSequence(draw))

    return change


def _keras_layers(augmentation: Augmentation) -> Engine:
    from lesion_utils.runtime import backend, keras, tf  # slow to import, and not needed to read this module

    asked, fill, make = augmentation, _KERAS_FILLS[augmentation.fill], keras.layers
    layers = [
        layer
        for wanted, layer in [
            # One RandomFlip for both axes would flip along both or along neither.
            *((asked.flip in (axis, "both"), make.RandomFlip(axis, seed=0)) for axis in ("horizontal", "vertical")),
            (asked.rotation, make.RandomRotation(asked.rotation, fill, seed=0)),
            (asked.zoom, make.RandomZoom(asked.zoom, fill_mode=fill, seed=0)),
            (asked.shift, make.RandomTranslation(asked.shift, asked.shift, fill, seed=0)),
            (asked.shear, make.RandomShear(asked.shear, asked.shear, fill_mode=fill, seed=0)),
            (asked.brightness, make.RandomBrightness(asked.brightness, seed=0)),
            # Given one number, Keras' layer only raises contrast, against its documentation.
            (asked.contrast, make.RandomContrast((asked.contrast, asked.contrast), seed=0)),
        ]
        if wanted
    ]

    def all_changes(pictures, states):
        with keras.StatelessScope(zip((layer.generator.state for layer in layers), states, strict=True)):
            return reduce(lambda changed, layer: layer(changed, training=True), layers, pictures)

    apply = tf.function(all_changes) if tf else backend.jit(all_changes)

    def change(pictures: np.ndarray, seed: np.random.SeedSequence) -> np.ndarray:
        return np.asarray(apply(pictures, [*seed.generate_state(2 * len(layers)).reshape(-1, 2)]))

    return change


def _image_data_generator(augmentation: Augmentation) -> Engine:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator  # Keras exports it through TensorFlow alone

    generator = ImageDataGenerator(
        rotation_range=360 * augmentation.rotation,
        width_shift_range=augmentation.shift,
        height_shift_range=augmentation.shift,
        shear_range=np.degrees(np.arctan(augmentation.shear)),
        zoom_range=augmentation.zoom,
        fill_mode=_KERAS_FILLS[augmentation.fill],
        horizontal_flip=augmentation.flip in ("horizontal", "both"),
        vertical_flip=augmentation.flip in ("vertical", "both"),
    )

    def change(pictures: np.ndarray, seed: np.random.SeedSequence) -> np.ndarray:
        numbers = seed.generate_state(len(pictures)).tolist()  # the generator seeds numpy's global state with them
        return np.stack([generator.random_transform(*pair) for pair in zip(pictures, numbers, strict=True)])

    return change


def _rotate_and_crop(picture: np.ndarray, angle: float, augmentation: Augmentation) -> np.ndarray:
    """The picture rotated by ``angle`` degrees, cropped, and scaled back to its size (system 000, first model).

    ``inscribed`` keeps the largest upright rectangle of the picture's shape without fill. ``corner`` is the system's
    mistake: the box around the rotated picture is larger than the picture, so its negative start counts from the lower
    right.
    """
    (height, width), sin, cos = picture.shape[:2], abs(np.sin(np.radians(angle))), abs(np.cos(np.radians(angle)))
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    fill = _OPENCV_FILLS[augmentation.fill]
    rotated = cv2.warpAffine(picture, rotation, (width, height), flags=cv2.INTER_LINEAR, borderMode=fill)
    box_height, box_width = height * cos + width * sin, width * cos + height * sin
    if augmentation.rotation_crop == "inscribed":
        share = min(height / box_height, width / box_width)
        box_height, box_width = height * share, width * share
    top, left = (height - int(box_height)) // 2, (width - int(box_width)) // 2
    return cv2.resize(rotated[top : top + int(box_height), left : left + int(box_width)], (width, height))


def visible_area_and_fill(augmentation: Augmentation, size: tuple[int, int], draws: int = 1000) -> pd.DataFrame:
    """What ``augmentation`` leaves of pictures of ``size`` (height, width): one row per random draw.

    ``area`` is the visible share of the picture's area, ``fill`` the share of the result that is outside the picture.
    """
    change = make_augmenter(augmentation.model_copy(update={"fill": "black", "brightness": 0.0, "contrast": 0.0}))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    pictures = np.broadcast_to(np.stack([x, y, np.full(size, 255, np.float32)], axis=-1), (50, *size, 3))
    rows = []
    for number in range(0, draws, len(pictures)):
        for changed in change(pictures, number)[: draws - number]:
            inside, covered = changed[..., 2] > 254, changed[..., 2].mean() / 255
            (x_down, x_right), (y_down, y_right) = np.gradient(changed[..., 0]), np.gradient(changed[..., 1])
            pixel_areas = np.abs(x_right * y_down - x_down * y_right)[inside]  # in pixels of the picture
            rows.append({"area": np.median(pixel_areas) * covered if inside.any() else 0.0, "fill": 1 - covered})
    return pd.DataFrame(rows)
