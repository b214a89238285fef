"""Numbers that say how good images are: functions on arrays, and the features they compare."""

from keras_vaegan.metrics.calibration import expected_calibration_error, fit_temperature
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
from keras_vaegan.metrics.recognition import recognized_share, recognizer
from keras_vaegan.metrics.reconstruction import (
    mean_squared_error,
    peak_signal_to_noise_ratio,
    reconstruction_distance,
    structural_similarity,
)
from keras_vaegan.metrics.sharpness import laplacian_variance
from keras_vaegan.metrics.statistics import Statistics, chunked, gather, reference_statistics
from keras_vaegan.metrics.streaming import FrechetDistance, KernelDistance
from keras_vaegan.metrics.strokes import slant, stroke_width, style_kept
from keras_vaegan.metrics.synthetic import accuracy_of_classifier_trained_on

__all__ = [
    "Extractor",
    "Features",
    "FrechetDistance",
    "KernelDistance",
    "Moments",
    "Statistics",
    "accuracy_of_classifier_trained_on",
    "active_units",
    "bits_per_dimension",
    "chunked",
    "class_balance",
    "diversity_within_classes",
    "expected_calibration_error",
    "extractor",
    "fit_temperature",
    "frechet_distance",
    "gather",
    "kernel_distance",
    "kl_per_dimension",
    "label_agreement",
    "laplacian_variance",
    "mean_pairwise_distance",
    "mean_squared_error",
    "modes_covered",
    "peak_signal_to_noise_ratio",
    "precision_recall_density_coverage",
    "recognized_share",
    "recognizer",
    "reconstruction_distance",
    "reference_statistics",
    "slant",
    "stroke_width",
    "structural_similarity",
    "style_kept",
]
