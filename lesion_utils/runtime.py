"""TensorFlow, imported without its start-up messages and set up for reproducible runs.

Modules that compute with Keras import ``keras`` and ``tf`` from here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lesion_utils.errors import InputError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def _silent_stderr() -> Iterator[None]:
    # C++ writes these lines before any log level applies, with times and process ids that no check could match.
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silent_stderr():
    import keras
    import tensorflow as tf

    # The first use of the context writes the remaining lines.
    tf.config.list_physical_devices()

tf.get_logger().setLevel("ERROR")  # its "retracing" warning: many models in one process are intended

__all__ = ["keras", "start", "tf"]


def start(threads: int) -> None:
    """Fixes the number of threads and makes operations deterministic; results depend on ``threads``.

    Call it before the first computation. Raises InputError if TensorFlow already runs with another number.
    """
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise InputError(
            f"TensorFlow already runs with another number of threads than {threads}. Fix: restart the kernel."
        ) from error
    tf.config.experimental.enable_op_determinism()
