"""The state of an unfinished training on disk: a training that was ended goes on from it, with the same results."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from lesion_utils.digests import digest
from lesion_utils.paths import atomic_write
from lesion_utils.runtime import backend, keras

SECONDS = 30  # between two checkpoints: a shorter training writes none
_STATE = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter", "_ema_weights_in_model")  # of callbacks


class Checkpoint(keras.callbacks.Callback):
    """The last of a training's callbacks. What is drawn at random follows from the epoch's number, or is in variables.

    ``phase`` is the phase that is trained, ``rows`` are those of the history, ``best`` and ``kept`` the best score of
    the finished phases and its weights.
    """

    def __init__(self, file: Path, made_from: dict[str, Any], name: str, network: keras.Model):
        """Sets ``network`` as it was, if ``file`` is a checkpoint of a training from the same."""
        super().__init__()
        self.file, self.network, self.watched = file, network, list[keras.callbacks.Callback]()
        self.phase, self.best, self.rows, self.kept = 0, -math.inf, list[dict[str, Any]](), list[np.ndarray]()
        self._restored: dict[str, Any] = {}
        self._made_from, self._written = digest([made_from, keras.__version__, backend.__version__]), time.monotonic()
        if file.is_file() and (found := self._read(name)) and found["made from"] == self._made_from:
            self.phase, self.best, self.rows, self.kept = (found[key] for key in ("phase", "best", "rows", "kept"))
            _assign(network.variables, found["network"])
            self._restored = found if found["callbacks"] else {}
            print(f"{name} goes on after {len(self.rows)} epochs", flush=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            with np.load(self.file) as archive:
                state = json.loads(str(archive["state"]))
                return state | {key: [archive[f"{key}{i}"] for i in range(n)] for key, n in state["counts"].items()}
        except Exception as error:  # which of many kinds depends on the byte that is damaged
            why = f"{self.file} cannot be read ({type(error).__name__})"
            print(f"{name} starts from its first epoch: {why}", flush=True)
            return {}

    def on_train_begin(self, logs: Any = None) -> None:
        if self._restored:
            _assign(self.model.optimizer.variables, self._restored["optimizer"])
            for callback, state in zip(self.watched, self._restored["callbacks"], strict=True):
                vars(callback).update(state)
                if hasattr(callback, "best_weights"):  # of early stopping alone
                    callback.best_weights = self._restored["weights"] or None
            self._restored = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.model.stop_training and epoch + 1 < self.params["epochs"]:
            weights = [array for each in self.watched for array in getattr(each, "best_weights", None) or ()]
            state = [{key: vars(each)[key] for key in _STATE if key in vars(each)} for each in self.watched]
            self._write(state, optimizer=self.model.optimizer.variables, weights=weights)

    def end_phase(self, best: float, kept: list[np.ndarray]) -> None:
        self.phase, self.best, self.kept = self.phase + 1, best, kept
        self._write([])

    def _write(self, callbacks: list[dict[str, Any]], **variables: list[Any]) -> None:
        if time.monotonic() - self._written < SECONDS:
            return
        variables |= {"network": self.network.variables, "kept": self.kept}
        state = {"made from": self._made_from, "phase": self.phase, "best": self.best, "rows": self.rows}
        state |= {"callbacks": callbacks, "counts": {key: len(values) for key, values in variables.items()}}
        arrays = {
            f"{key}{number}": keras.ops.convert_to_numpy(value)
            for key, values in variables.items()
            for number, value in enumerate(values)
        }
        with atomic_write(self.file) as new:
            np.savez(new, state=json.dumps(state, default=float), **arrays)
        self._written = time.monotonic()


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
