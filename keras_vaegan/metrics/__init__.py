"""Numbers that say how good pictures are: functions on arrays, without a backend."""

from keras_vaegan.metrics.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
)
from keras_vaegan.metrics.sharpness import laplacian_variance

__all__ = [
    "Moments",
    "frechet_distance",
    "kernel_distance",
    "laplacian_variance",
    "precision_recall_density_coverage",
]
