"""TensorFlow beside the backend that Keras runs on, on the CPU."""

import contextlib
from typing import Any

import keras

from keras_vaegan.signals import held_back


def import_tensorflow() -> Any:
    """Return the module tensorflow; where it is not Keras' backend, it leaves the accelerators alone."""
    with held_back():
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        # TensorFlow would take all the memory of a GPU that JAX or PyTorch is training on.
        with contextlib.suppress(RuntimeError):  # too late when it is in use already
            tf.config.set_visible_devices([], "GPU")
    return tf
