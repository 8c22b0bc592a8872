"""The registry of backbones: all that the package knows about a network is in its entry of ``BACKBONES``.

Needs no TensorFlow, so that parameters can be checked before it is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion_utils import efficientnet_lite

# input ranges: mean and deviation by which a picture's values, 0 to 255, are standardised
SCALINGS = {"zero_to_one": (0.0, 255.0), "minus_one_to_one": (127.5, 127.5), "about_127": (127.0, 128.0)}


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without its classifier, and what its weights expect."""

    # a class in `keras.applications`, or a function from a recipe's `backbone` to a Keras model that maps pictures
    # (batch, height, width, 3) to a feature map
    build: str | Callable[[Any], Any]
    scaling: str  # the input range that it was made for, a key of `SCALINGS`
    smallest_side: int  # px
    # pattern of the file with its ImageNet weights, or a function from its name to this file in an installed package;
    # None: there are no such weights
    weights_file: str | Callable[[str], Path] | None = None
    has_alpha: bool = False  # whether `alpha` sets its width
    fits_h5: bool = True  # whether Keras reads it back from an .h5 file as it was


def small_cnn(options: Any) -> Any:
    """Three blocks of convolution (16, 32, 64 filters) and max pooling, as in systems 003 and 004.

    The last variant of system 004 leaves out the last pooling.
    """
    import keras  # slow to import, needed only to build a network

    inputs = outputs = keras.Input((*options.image_size, 3))
    for filters in (16, 32, 64):
        outputs = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(outputs)
        if options.batch_norm:
            outputs = keras.layers.BatchNormalization()(outputs)
        if options.last_pooling or filters < 64:
            outputs = keras.layers.MaxPooling2D()(outputs)
    return keras.Model(inputs, outputs, name="small_cnn")


# A weights file may end at a layer: its name is then …upto_<layer>.weights.h5.
BACKBONES = {
    "small_cnn": Backbone(small_cnn, "zero_to_one", 8),
    "mobilenet_v1": Backbone("MobileNet", "minus_one_to_one", 32, "mobilenet_v1_{alpha}_*.h5", has_alpha=True),
    "mobilenet_v2": Backbone("MobileNetV2", "minus_one_to_one", 32, "mobilenet_v2_{alpha}_*.h5", has_alpha=True),
    "inception_v3": Backbone("InceptionV3", "minus_one_to_one", 75, "inception_v3_*.h5"),
    "inception_resnet_v2": Backbone(
        "InceptionResNetV2", "minus_one_to_one", 75, "inception_resnet_v2_*.h5", fits_h5=False
    ),
} | {
    name: Backbone(efficientnet_lite.build, "about_127", 32, efficientnet_lite.weights_file)
    for name in efficientnet_lite.SIZES
}
