"""Numbers that say how good pictures are: functions on arrays, and the features they compare."""

from keras_vaegan.metrics.classes import (
    class_balance,
    diversity_within_classes,
    label_agreement,
    mean_pairwise_distance,
    modes_covered,
)
from keras_vaegan.metrics.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
)
from keras_vaegan.metrics.features import Extractor, Features, extractor
from keras_vaegan.metrics.latent import active_units, bits_per_dimension, kl_per_dimension
from keras_vaegan.metrics.reconstruction import (
    mean_squared_error,
    peak_signal_to_noise_ratio,
    structural_similarity,
)
from keras_vaegan.metrics.sharpness import laplacian_variance

__all__ = [
    "Extractor",
    "Features",
    "Moments",
    "active_units",
    "bits_per_dimension",
    "class_balance",
    "diversity_within_classes",
    "extractor",
    "frechet_distance",
    "kernel_distance",
    "kl_per_dimension",
    "label_agreement",
    "laplacian_variance",
    "mean_pairwise_distance",
    "mean_squared_error",
    "modes_covered",
    "peak_signal_to_noise_ratio",
    "precision_recall_density_coverage",
    "structural_similarity",
]
