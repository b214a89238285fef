"""Whether images are digits at all, by a classifier that may say that they are none."""

import functools

import numpy as np

from keras_vaegan.errors import InputError, at_least
from keras_vaegan.metrics.distances import check_features
from keras_vaegan.metrics.features import shipped

RECOGNIZER = "mnist_reject"
SURE = 0.9


@functools.cache
def recognizer():
    """The package's own MNIST classifier with a class for what is no digit, an `Extractor`.

    It was trained on real images against images of shuffled patches, parts of digits, two digits in one, and
    strokes at random: a classifier of ten classes is sure of most such images, too.
    """
    return shipped(RECOGNIZER)


def recognized_share(probabilities, sure=SURE):
    """The share of images of which some digit has a probability above `sure`.

    Args:
        probabilities: of the `recognizer`, `(N, K + 1)`, the last of no digit.
        sure: between 0 and 1.

    Raises:
        InputError: probabilities that are not `(N, K + 1)` with N and K of at least 1, or not finite.
    """
    probabilities = check_features("probabilities", probabilities)
    if probabilities.shape[1] < 2:
        raise InputError(f"probabilities must be (N, K + 1), N > 0; received {probabilities.shape}.")
    if at_least("sure", sure, 0) > 1:
        raise InputError(f"sure must lie between 0 and 1; received {sure!r}.")
    return float(np.mean(probabilities[:, :-1].max(axis=1) > sure))
