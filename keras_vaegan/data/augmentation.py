"""Random changes of images, by the layers of KerasCV. Importing this imports TensorFlow."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import keras_cv
import numpy as np

from keras_vaegan.data.tensorflow_side import import_tensorflow

tf = import_tensorflow()

# KerasCV swaps its operations for TensorFlow's while a layer runs: one layer at a time.
_lock = threading.Lock()


class _Uniform(keras_cv.core.FactorSampler):
    """Factors from a NumPy generator: KerasCV's own samplers depend on all that was drawn before."""

    def __init__(self, low: float, high: float, rng: np.random.Generator) -> None:
        self.low, self.high, self.rng = low, high, rng

    def __call__(self, shape: Any = (), dtype: Any = "float32") -> Any:
        shape = tuple(int(size) for size in shape)
        return tf.constant(self.rng.uniform(self.low, self.high, shape), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


def _translation(rng: np.random.Generator, seed: int) -> keras.Layer:
    # Whole pixels ("nearest"), up to 1/8 of a side.
    return keras_cv.layers.RandomTranslation(
        0.125, 0.125, interpolation="nearest", seed=seed, dtype="float32"
    )


def _cutout(rng: np.random.Generator, seed: int) -> keras.Layer:
    side = _Uniform(0.2, 0.5, rng)
    return keras_cv.layers.RandomCutout(side, side, seed=seed, dtype="float32")


def _rotation(rng: np.random.Generator, seed: int) -> keras.Layer:
    return keras_cv.layers.RandomRotation(0.04, seed=seed, dtype="float32")  # of a full turn: 14 degrees


def _zoom(rng: np.random.Generator, seed: int) -> keras.Layer:
    return keras_cv.layers.RandomZoom(0.1, seed=seed, dtype="float32")


def _flip(rng: np.random.Generator, seed: int) -> keras.Layer:
    return keras_cv.layers.RandomFlip("horizontal", seed=seed, dtype="float32")


def _brightness(rng: np.random.Generator, seed: int) -> keras.Layer:
    return keras_cv.layers.RandomBrightness(_Uniform(-0.2, 0.2, rng), (0, 1), seed=seed, dtype="float32")


# RandomContrast is left out: it does not take a sampler (0.9), so its draws cannot be repeated.
AUGMENTATIONS = {
    "translation": _translation,
    "cutout": _cutout,
    "rotation": _rotation,
    "zoom": _zoom,
    "flip": _flip,
    "brightness": _brightness,
}


def augment_images(images: np.ndarray, names: Iterable[str], key: int | Sequence[int]) -> np.ndarray:
    """Return images changed by the named layers, in that order.

    Args:
        images: float32 `(B, H, W, C)` in [0, 1].
        names: names out of `AUGMENTATIONS`.
        key: ints, at least 0. The result is a function of the images, the names and the key alone.

    Returns:
        float32 NumPy array `(B, H, W, C)` in [0, 1].
    """
    rng = np.random.default_rng(key)
    with _lock, tf.device("CPU:0"):
        for name in names:
            # New layers each time: reseeding one is not in KerasCV's interface. Seed 0 means none to it.
            layer = AUGMENTATIONS[name](rng, seed=int(rng.integers(1, 2**31)))
            images = keras.ops.convert_to_numpy(layer(images, training=True))
    return np.clip(images, 0, 1, dtype=np.float32)
