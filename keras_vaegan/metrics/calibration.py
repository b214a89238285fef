"""How far a classifier's confidence can be believed, and one number that sets it right."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

BINS = 15  # as in Guo et al. 2017
LARGEST = 100.0  # temperatures are looked for from its inverse to it


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean distance of accuracy from confidence.

    Images are gathered by the probability of their likeliest class, in bins of equal width.

    Args:
        probabilities: `(N, K)`.
        labels: true classes `(N,)`.
        bins: how many.

    Returns:
        In [0, 1]; 0 for a classifier that is right as often as it says.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    accuracies, confidences = (np.bincount(place, values, bins) for values in (right, confidence))
    return float(np.abs(accuracies - confidences).sum() / count.sum())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T under which softmax(logits / T) gives the labels the highest likelihood.

    Args:
        logits: `(N, K)`.
        labels: true classes `(N,)`.

    Returns:
        From 0.01 to 100: at an end where all images are right, and ever surer would be ever better.
    """
    logits, labels = np.asarray(logits, float), np.asarray(labels)

    def cost(log_temperature: float) -> float:
        shares = special.log_softmax(logits * np.exp(-log_temperature), axis=1)
        return -float(shares[np.arange(len(labels)), labels].mean())

    limit = float(np.log(LARGEST))
    return float(np.exp(optimize.minimize_scalar(cost, bounds=(-limit, limit), method="bounded").x))
