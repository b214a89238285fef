"""Numbers that say how good pictures are: functions on arrays, without a backend."""

from keras_vaegan.metrics.sharpness import laplacian_variance

__all__ = ["laplacian_variance"]
