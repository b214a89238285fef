"""Classes in generated images: agreement with what was asked, and diversity within and across."""

import numpy as np

from keras_vaegan.data.checks import check_labels, numbers
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.metrics.distances import (
    CHUNK,
    check_features,
    precision_recall_density_coverage,
    squared_distances,
)

NEIGHBOUR = 5


def label_agreement(probabilities, labels):
    """How often a classifier sees the class that was asked for.

    Args:
        probabilities: of an independent classifier, `(N, K)`.
        labels: asked for, `(N,)`; images of label -1 are left out.

    Returns:
        `{"agreement": float, "per_class": (K,)}`; NaN for a class that was not asked for.

    Raises:
        InputError: probabilities that are not `(N, K)`, are empty or not finite; labels that are not N whole
            numbers from -1 to K - 1.
    """
    probabilities = check_features("probabilities", probabilities)
    classes = probabilities.shape[1]
    labels = check_labels(labels, len(probabilities), classes, "labels")
    if not np.any(labels >= 0):
        raise InputError("labels must name the class of an image at least; received -1 only.")
    told, labels = probabilities.argmax(axis=1)[labels >= 0], labels[labels >= 0]
    right = told == labels
    per_class = np.array(
        [right[labels == k].mean() if np.any(labels == k) else np.nan for k in range(classes)]
    )
    return {"agreement": float(right.mean()), "per_class": per_class}


def class_balance(probabilities):
    """Which classes a classifier sees.

    Args:
        probabilities: of the classifier, `(N, K)`.

    Returns:
        `{"histogram": (K,) shares, "entropy": of the shares over that of equal ones, in [0, 1]}`.

    Raises:
        InputError: probabilities that are not `(N, K)`, are empty or not finite.
    """
    probabilities = check_features("probabilities", probabilities)
    classes = probabilities.shape[1]
    shares = np.bincount(probabilities.argmax(axis=1), minlength=classes) / len(probabilities)
    present = shares[shares > 0]
    entropy = -np.sum(present * np.log(present)) / np.log(classes) if classes > 1 else 1.0
    return {"histogram": shares, "entropy": float(entropy)}


def diversity_within_classes(real, real_labels, fake, fake_labels):
    """Whether a class is generated in all its variety: one image with noise added fails it.

    Args:
        real, fake: features `(N, d)` of a frozen network.
        real_labels, fake_labels: classes `(N,)`, -1 for images to leave out.

    Returns:
        `{"spread": {class: ratio}, "coverage": {class: share}}` over the classes of the real
        images: the mean distance between two fakes over that between two reals, and the share
        of reals with a fake nearer than their fifth neighbour. Both 0 for a class of fewer
        than two fakes; coverage 0 below six.

    Raises:
        InputError: features that are not `(N, d)`, are empty, not finite or of two different d; labels that
            are not one for each row; a class with fewer than six real images, or with all of them the same.
    """
    real, fake = check_features("real", real), check_features("fake", fake)
    real_labels = check_labels(real_labels, len(real), argument="real_labels")
    fake_labels = check_labels(fake_labels, len(fake), argument="fake_labels")
    spread, coverage = {}, {}
    for k in map(int, np.unique(real_labels[real_labels >= 0])):
        ours, theirs = fake[fake_labels == k], real[real_labels == k]
        if len(theirs) <= NEIGHBOUR:
            raise InputError(
                f"real must have more than {NEIGHBOUR} images of each class; class {k} has {len(theirs)}."
            )
        width = mean_pairwise_distance(theirs)
        if width == 0.0:
            raise InputError(f"real must not be all the same within a class; class {k} is.")
        spread[k] = mean_pairwise_distance(ours) / width if len(ours) > 1 else 0.0
        enough = len(ours) > NEIGHBOUR
        coverage[k] = (
            precision_recall_density_coverage(theirs, ours, NEIGHBOUR)["coverage"] if enough else 0.0
        )
    return {"spread": spread, "coverage": coverage}


def mean_pairwise_distance(features, chunk=CHUNK):
    """Mean Euclidean distance of two different rows of features `(N, d)`, in their units.

    Raises `InputError` where N is below 2, or features are not finite.
    """
    x, chunk = check_features("features", features), whole_number("chunk", chunk, 1)
    if len(x) < 2:
        raise InputError(f"features must have at least 2 rows for a distance; received {len(x)}.")
    chunks = (x[start : start + chunk] for start in range(0, len(x), chunk))
    total = sum(np.sqrt(squared_distances(rows, x)).sum() for rows in chunks)
    return float(total / (len(x) * (len(x) - 1)))


def modes_covered(digits):
    """Modes of stacked MNIST, whose 1,000 classes are the digits in three channels.

    Args:
        digits: what a classifier sees in each channel, `(N, 3)` of 0 to 9.

    Returns:
        `{"modes": how many of the 1,000 are there, "kl": divergence of their shares from the
        uniform distribution in nats}`.

    Raises:
        InputError: digits that are not `(N, 3)` with N > 0, or not of 0 to 9.
    """
    digits = numbers(digits, "digits", "iuf", "digits (N, 3)")
    if not np.all(digits == np.floor(digits)):  # NaN fails here too
        raise InputError("digits must be whole numbers; received others.")
    if digits.ndim != 2 or digits.shape[1] != 3 or not len(digits) or digits.min() < 0 or digits.max() > 9:
        raise InputError(f"digits must be (N, 3) of 0 to 9, N > 0; received {digits.shape}.")
    shares = np.bincount(digits.astype(int) @ (100, 10, 1), minlength=1000) / len(digits)
    present = shares[shares > 0]
    return {"modes": len(present), "kl": float(np.sum(present * np.log(1000 * present)))}
