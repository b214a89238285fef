"""TensorFlow beside the backend that Keras runs on, on the CPU."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import keras

from keras_vaegan.files import holding_stderr
from keras_vaegan.signals import held_back


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hold back signals, and what TensorFlow writes as it starts if it comes with the imports of the body."""
    with held_back(), contextlib.nullcontext() if "tensorflow" in sys.modules else holding_stderr():
        yield


def import_tensorflow() -> Any:
    """Return the module tensorflow; where it is not Keras' backend, it leaves the accelerators alone."""
    with quiet_import():
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        # TensorFlow would take all the memory of a GPU that JAX or PyTorch is training on.
        with contextlib.suppress(RuntimeError):  # too late when it is in use already
            tf.config.set_visible_devices([], "GPU")
    return tf
