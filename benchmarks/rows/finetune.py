"""MobileNet's last two blocks fine-tuned: what is below them run once, against the whole network in each step."""

import statistics
import time
from collections.abc import Callable

from benchmarks.arms import Arm, Setting, in_turn, times_faster
from benchmarks.lines import entry
from benchmarks.rows.mobilenet import Size, in_one, our_arm, recipe_of, size_of

TRAINED_FROM = "conv_dw_12"
IMAGES, EPOCHS = 2000, 10
THEIRS, STEPS = 480, 20  # images and steps that are measured; the rest is scaled up


def measure(setting: Setting) -> list[dict]:
    """One entry."""
    images, part, steps = (setting.size(IMAGES, 64), setting.size(THEIRS, 64), setting.size(STEPS, 2))
    epochs = setting.size(EPOCHS, 2)
    phase = {"train": TRAINED_FROM, "epochs": epochs, "learning_rate": 1e-4}
    arms = {
        "ours": our_arm(setting, images, phase),
        "theirs": Arm(in_one, {"images": part, "size": size_of(setting), "trained_from": TRAINED_FROM}),
        "limit": Arm(bare_step, {"steps": steps, "size": size_of(setting)}),
    }
    seconds = in_turn(arms, setting, warm_ups=0)
    seconds["theirs"] = [value * epochs * images / part for value in seconds["theirs"]]
    seconds["limit"] = [value * epochs * images / (32 * steps) for value in seconds["limit"]]
    medians = (statistics.median(seconds[name]) for name in arms)
    return [entry("finetune", times_faster(seconds["ours"], seconds["theirs"]), *medians)]


def bare_step(steps: int, size: Size) -> Callable[[], float]:
    """Steps of the trained part on one batch of activations that lies in memory."""
    from lesion_utils.models import build, set_trainable, split_below
    from lesion_utils.recipes import Recipe
    from lesion_utils.runtime import keras, tf

    network = build(Recipe(**recipe_of(size)), 7, None, 0)
    set_trainable(network, TRAINED_FROM, True)
    _, upper = split_below(network, TRAINED_FROM)
    loss, optimizer = keras.losses.CategoricalCrossentropy(), keras.optimizers.Adam(1e-4)
    optimizer.build(upper.trainable_variables)
    inputs = tf.random.uniform((32, *upper.input_shape[1:]))
    targets = tf.one_hot(tf.random.uniform((32,), 0, 7, tf.int32), 7)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            value = loss(targets, upper(inputs, training=True))
        optimizer.apply(tape.gradient(value, upper.trainable_variables), upper.trainable_variables)

    step()

    def run() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        upper.trainable_variables[-1].numpy()
        return time.perf_counter() - began

    return run
