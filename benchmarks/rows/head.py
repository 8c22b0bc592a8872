"""A head on a frozen MobileNet: the base run once, against the base run in every epoch."""

import statistics
import time
from collections.abc import Callable

from benchmarks.arms import Arm, Setting, in_turn, times_faster
from benchmarks.lines import entry
from benchmarks.rows.mobilenet import Size, in_one, our_arm, size_of

IMAGES, EPOCHS = 10_000, 30
THEIRS, FORWARD = 960, 1920  # images that are measured; the rest is scaled up


def measure(setting: Setting) -> list[dict]:
    """One entry."""
    images, part, forward = (setting.size(count, 64) for count in (IMAGES, THEIRS, FORWARD))
    epochs = setting.size(EPOCHS, 2)
    arms = {
        "ours": our_arm(setting, images, {"train": "head", "epochs": epochs}),
        "theirs": Arm(in_one, {"images": part, "size": size_of(setting), "trained_from": None}),
        "limit": Arm(one_pass, {"images": forward, "size": size_of(setting)}),
    }
    seconds = in_turn(arms, setting, warm_ups=0)
    seconds["theirs"] = [value * epochs * images / part for value in seconds["theirs"]]
    seconds["limit"] = [value * images / forward for value in seconds["limit"]]
    medians = (statistics.median(seconds[name]) for name in arms)
    return [entry("head", times_faster(seconds["ours"], seconds["theirs"]), *medians)]


def one_pass(images: int, size: Size) -> Callable[[], float]:
    """The forward pass of the base alone, over batches of 64 that lie in memory."""
    from lesion_utils.runtime import keras, tf

    base = keras.applications.MobileNet(include_top=False, weights=None, pooling="avg", input_shape=(*size, 3))
    batch = tf.random.uniform((64, *size, 3), -1, 1)
    forward = tf.function(lambda pictures: base(pictures, training=False))
    forward(batch)

    def run() -> float:
        began = time.perf_counter()
        for _ in range(images // 64):
            forward(batch).numpy()
        return time.perf_counter() - began

    return run
