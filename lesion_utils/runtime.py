"""Keras and its backend without start-up messages, set up for reproducible runs: import them from here.

The backend is TensorFlow. With ``KERAS_BACKEND=jax`` trainings run on JAX instead, and ``tf`` is None.
"""

import importlib
import os
from typing import Any

from lesion_utils.errors import InputError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# C++ writes to file 2 before any log level applies, with times and process ids that no check could match.
_kept, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import keras

    if keras.backend.backend() == "jax":
        os.environ.setdefault("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    backend: Any = importlib.import_module(keras.backend.backend())
    tf: Any = backend if backend.__name__ == "tensorflow" else None
    if tf:
        tf.config.list_physical_devices()  # the first use of the context writes the remaining lines
finally:
    os.dup2(_kept, 2)
    os.close(_kept)
    os.close(_nowhere)

if tf:
    tf.get_logger().setLevel("ERROR")  # its "retracing" warning: many models in one process are intended

__all__ = ["backend", "keras", "start", "tf"]


def start(threads: int) -> None:
    """Fixes the number of threads, on which results depend, and makes operations deterministic.

    Call it before the first computation. JAX knows no such number. Raises InputError if TensorFlow already runs with
    another number.
    """
    if tf is None or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        already = f"TensorFlow already runs with another number of threads than {threads}"
        raise InputError(f"{already}. Fix: restart the kernel.") from error
    tf.config.experimental.enable_op_determinism()
