"""An epoch of the small CNN of systems 003 and 004 at 180 px, with their augmentation."""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.arms import Arm, Setting, in_turn, times_faster
from benchmarks.lines import entry
from benchmarks.pictures import cases, made_up

COUNT, HELD_OUT, EPOCHS = 800, 7, 3
RECIPE = {
    "image_size": (180, 180),
    "augmentation": {"flip": "horizontal", "rotation": 0.1, "zoom": 0.1},
    "dropout": 0.2,
    "keep": "last",
}


def measure(setting: Setting) -> list[dict]:
    """Three entries: against the published pipeline, as it is and with its pictures kept, and against the bare step."""
    folder, count = setting.scratch / "pictures", setting.size(COUNT, 32)
    paths = made_up(folder, count, 600, 450, setting.threads)
    held_out = made_up(setting.scratch / "held_out", 2 * HELD_OUT, 200, 150, setting.threads, first=count)
    scratch, threads = setting.scratch / "output", setting.threads
    epochs = setting.size(EPOCHS, 2)
    arms = {
        "ours": Arm(ours, {"paths": paths + held_out, "scratch": scratch, "threads": threads, "epochs": epochs}),
        "published": Arm(published, {"folder": folder, "kept": False}),
        "kept": Arm(published, {"folder": folder, "kept": True}),
        "limit": Arm(bare_step, {"steps": -(-count // 32)}),
    }
    seconds = in_turn(arms, setting, warm_ups=0)
    own, theirs, kept, limit = (statistics.median(seconds[name]) for name in arms)
    over = [1 / share for share in times_faster(seconds["ours"], seconds["limit"])]
    return [
        entry("epoch keras", times_faster(seconds["ours"], seconds["published"]), own, theirs, limit),
        entry("epoch kept", times_faster(seconds["ours"], seconds["kept"]), own, kept, limit),
        entry("epoch limit", over, own, None, limit),
    ]


def ours(paths: list[str], scratch: Path, threads: int, epochs: int) -> Callable[[], float]:
    """``train`` on pictures that are in the cache: the median of the epochs but the first, validation included."""
    from lesion_utils.study import StudyParams
    from lesion_utils.training import train

    os.environ["LESION_OUTPUT"] = str(scratch)
    table, seeds = cases(paths, HELD_OUT), iter(range(1000))
    recipe = RECIPE | {"phases": [{"epochs": epochs}]}

    def run() -> float:
        params = StudyParams(study="bench", threads=threads, seed=next(seeds), baseline={"cnn": recipe})
        with contextlib.redirect_stdout(io.StringIO()):
            history = train("cnn", table, params).history
        return statistics.median(history["seconds"][1:])

    return run


def published(folder: Path, kept: bool) -> Callable[[], float]:
    """Keras' reader and the three layers inside the model, as the last model of 003 has it.

    ``kept``: the decoded pictures stay in memory and the next batch is fetched ahead, as its earlier models have it.
    """
    from lesion_utils.runtime import keras, tf

    dataset = keras.utils.image_dataset_from_directory(folder, image_size=(180, 180), batch_size=32, verbose=False)
    classes = len(dataset.class_names)
    if kept:
        dataset = dataset.cache().shuffle(1000).prefetch(tf.data.AUTOTUNE)
    model = keras.Sequential(
        [
            keras.Input((180, 180, 3)),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(0.1),
            keras.layers.RandomZoom(0.1),
            keras.layers.Rescaling(1 / 255),
            *_blocks(keras),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(classes),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(dataset, shuffle=False, verbose=0)  # traces, and fills the cache; the dataset shuffles

    def run() -> float:
        began = time.perf_counter()
        model.fit(dataset, shuffle=False, verbose=0)
        return time.perf_counter() - began

    return run


def bare_step(steps: int) -> Callable[[], float]:
    """The same network without augmentation, stepped over four batches that lie in memory as float32."""
    from lesion_utils.runtime import keras, tf

    model = keras.Sequential(
        [
            keras.Input((180, 180, 3)),
            keras.layers.Rescaling(1 / 255),
            *_blocks(keras),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(7, activation="softmax"),
        ]
    )
    loss, optimizer = keras.losses.CategoricalCrossentropy(), keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    pictures = [tf.random.uniform((32, 180, 180, 3), 0, 255) for _ in range(4)]
    targets = tf.one_hot(tf.random.uniform((32,), 0, 7, tf.int32), 7)

    @tf.function
    def step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(targets, model(batch, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    step(pictures[0])

    def run() -> float:
        began = time.perf_counter()
        for number in range(steps):
            step(pictures[number % 4])
        model.trainable_variables[-1].numpy()  # waits for the last step
        return time.perf_counter() - began

    return run


def _blocks(keras) -> list:
    """Three convolutions of 16, 32 and 64 filters, each with pooling."""
    layers = keras.layers
    return [
        layer
        for filters in (16, 32, 64)
        for layer in (layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D())
    ]
