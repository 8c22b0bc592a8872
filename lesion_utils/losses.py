"""What a training minimises and what it watches: the losses of recipes, and balanced accuracy by epoch."""

import functools
from collections.abc import Callable

import numpy as np

from lesion_utils.recipes import Recipe
from lesion_utils.runtime import keras

_SMALLEST = 1e-7  # probability whose logarithm is taken


def loss(recipe: Recipe, sizes: np.ndarray) -> keras.losses.Loss | Callable:
    """The recipe's loss on labels, (n, k), one-hot or mixed, and probabilities, (n, k): one value per case, so that
    class weights act, or one per batch. ``sizes`` are the training images of each class, (k,).
    """
    focal = {"alpha": recipe.focal_alpha, "gamma": recipe.focal_gamma}
    smoothing, known = recipe.label_smoothing, sizes.clip(1)
    priors = recipe.adjustment * np.log(known / known.sum())
    margins = known.min() ** 0.25 / known**0.25 * recipe.ldam_margin * (recipe.cosine_scale or 1)
    per_case: keras.losses.Loss = {
        "cross_entropy": functools.partial(keras.losses.CategoricalCrossentropy, label_smoothing=smoothing),
        "focal": functools.partial(keras.losses.CategoricalFocalCrossentropy, **focal),
        "binary_focal": functools.partial(keras.losses.BinaryFocalCrossentropy, apply_class_balancing=True, **focal),
        "logit_adjusted": functools.partial(_Shifted, priors, False, smoothing),
        "ldam": functools.partial(_Shifted, -margins, True, smoothing),
    }[recipe.loss]()
    if recipe.loss_reduction == "per_case":
        return per_case
    return lambda truth, predicted: keras.ops.mean(per_case.call(truth, predicted))


class _Shifted(keras.losses.Loss):
    """Cross-entropy after ``shift``, (k,), was added to the scores (log probabilities): of all classes, or of the true
    class only.
    """

    def __init__(self, shift: np.ndarray, true_class_only: bool, smoothing: float):
        super().__init__()
        self.shift, self.true_class_only, self.smoothing = shift.astype(np.float32), true_class_only, smoothing

    def call(self, y_true, y_pred):
        shift = y_true * self.shift if self.true_class_only else self.shift
        scores = keras.ops.log(keras.ops.clip(y_pred, _SMALLEST, 1.0)) + shift
        return keras.losses.categorical_crossentropy(y_true, scores, True, self.smoothing)


@keras.saving.register_keras_serializable("lesion_utils")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean sensitivity, at argmax, over the classes seen so far."""

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.correct = self.add_weight(shape=(classes,), initializer="zeros", name="correct")
        self.cases = self.add_weight(shape=(classes,), initializer="zeros", name="cases")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = keras.ops.cast(y_true, "float32")
        chosen = keras.ops.one_hot(keras.ops.argmax(y_pred, axis=-1), self.classes, dtype="float32")
        self.correct.assign_add(keras.ops.sum(truth * chosen, axis=0))
        self.cases.assign_add(keras.ops.sum(truth, axis=0))

    def result(self):
        present = keras.ops.cast(self.cases > 0, "float32")
        sensitivity = self.correct / keras.ops.maximum(self.cases, 1.0)
        return keras.ops.sum(sensitivity * present) / keras.ops.maximum(keras.ops.sum(present), 1.0)

    def get_config(self):
        return super().get_config() | {"classes": self.classes}
