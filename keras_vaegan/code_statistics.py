"""Mean and standard deviation of each channel of spatial latent codes, kept with the model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.errors import InputError


@keras.saving.register_keras_serializable("keras_vaegan")
class CodeStatistics(keras.layers.Layer):
    """Mean and standard deviation of latent codes, `(c,)` each.

    A second model that learns to generate codes wants them near mean 0 and variance 1 (Rombach et al. 2022,
    appendix G). Both are weights that nothing trains, so they are saved with the model.

    Args:
        channels: c.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": "code_statistics", "trainable": False, **kwargs})
        self.channels = channels
        self.mean = self.add_weight(shape=(channels,), initializer="zeros", name="mean")
        self.scale = self.add_weight(shape=(channels,), initializer="zeros", name="scale")  # 0: not measured
        self.built = True

    def measure(self, codes: np.ndarray) -> None:
        """Take the statistics of codes `(N, h, w, c)`."""
        flat = codes.reshape(-1, self.channels).astype("float64")
        self.mean.assign(flat.mean(axis=0))
        self.scale.assign(np.maximum(flat.std(axis=0), np.finfo("float32").tiny))

    def scaled(self, codes: np.ndarray) -> np.ndarray:
        """(z - mean) / scale of codes `(N, h, w, c)`."""
        mean, scale = self.numbers()
        return ((codes - mean) / scale).astype("float32")

    def unscaled(self, codes: np.ndarray) -> np.ndarray:
        """The codes of which `scaled` gives these."""
        mean, scale = self.numbers()
        return (codes * scale + mean).astype("float32")

    @property
    def measured(self) -> bool:
        """Whether `measure` has been called."""
        return bool(ops.convert_to_numpy(self.scale).any())

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, float64 `(c,)` each; raise `InputError` unless measured."""
        mean, scale = (ops.convert_to_numpy(weight).astype("float64") for weight in (self.mean, self.scale))
        if not self.measured:
            raise InputError("scaled must be False before measure_codes(images) has measured the codes.")
        return mean, scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}
