"""How far a classifier's confidence can be believed, and one number that sets it right."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from keras_vaegan import memory
from keras_vaegan.data.checks import TOLERANCE, check_labels
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.metrics.distances import check_features

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

    Raises:
        InputError: probabilities that are not `(N, K)` in [0, 1], labels that are no N classes,
            `bins` below 1.
    """
    shares = check_features("probabilities", probabilities)
    if shares.min() < 0 or shares.max() > 1 + TOLERANCE:
        raise InputError(f"probabilities must lie in [0, 1]; received {shares.min():g} to {shares.max():g}.")
    labels = check_labels(labels, len(shares), shares.shape[1], "labels", unlabelled=False)
    bins = whole_number("bins", bins, 1)
    memory.require(f"bins={bins}", 3 * 8 * bins, "Use fewer bins.")
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == labels
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

    Raises:
        InputError: logits that are not `(N, K)`, or not finite; labels that are not N classes.
    """
    x = check_features("logits", logits)
    labels = check_labels(labels, len(x), x.shape[1], "labels", unlabelled=False)

    def cost(log_temperature: float) -> float:
        shares = special.log_softmax(x * np.exp(-log_temperature), axis=1)
        return -float(shares[np.arange(len(labels)), labels].mean())

    limit = float(np.log(LARGEST))
    return float(np.exp(optimize.minimize_scalar(cost, bounds=(-limit, limit), method="bounded").x))
