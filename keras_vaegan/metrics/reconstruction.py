"""How near reconstructions are to their images, both `(N, H, W, C)`, float in [0, 1] or uint8."""

import numpy as np
from keras import ops
from scipy import ndimage

from keras_vaegan.data.checks import numbers
from keras_vaegan.data.images import as_float32
from keras_vaegan.errors import InputError
from keras_vaegan.metrics.pixels import by_chunks, checked

WINDOW_SIGMA, WINDOW_RADIUS = 1.5, 5  # the 11x11 window of Wang et al. 2004
STABILISERS = 0.01**2, 0.03**2


def mean_squared_error(images, reconstructions):
    """Mean squared difference of images and reconstructions, both `(N, H, W, C)`: `(N,)`.

    Raises `InputError` where they are not of the same shape, and where there are none; as the other two.
    """
    pairs = _pairs(images, reconstructions)
    return by_chunks(lambda x, y: np.square(x - y).mean(axis=(1, 2, 3)), *pairs)


def peak_signal_to_noise_ratio(images, reconstructions):
    """10 log10(1 / mean squared error) in decibels; infinite for equal ones.

    Both sets of images `(N, H, W, C)`; returns `(N,)`.
    """
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(mean_squared_error(images, reconstructions))


def structural_similarity(images, reconstructions):
    """Structural similarity of each pair, `(N,)`, at most 1 (Wang et al. 2004, eq. 13).

    Gaussian window of standard deviation 1.5 and 11 pixels, mean over the positions where the
    window lies inside the image, and over channels; images are `(N, H, W, C)`.

    Raises `InputError` where a side has fewer than 11 pixels, where images and reconstructions are not of
    the same shape, and where there are none.
    """
    x, y = _pairs(images, reconstructions)
    if min(x.shape[1:3]) <= 2 * WINDOW_RADIUS:
        raise InputError(f"images must have 11 pixels a side for their similarity; received {x.shape}.")
    return by_chunks(_similarities, x, y)


def reconstruction_distance(images, reconstructions, distance, batch_size=64):
    """Distance of each pair in the features of a frozen network, `(N,)`; see `keras_vaegan.perceptual`.

    Args:
        images, reconstructions: as for the others.
        distance: a `perceptual.FeatureDistance` for such images.
        batch_size: images computed at a time.

    Raises `InputError` where images and reconstructions are not of the same shape, and where there are none.
    """
    x, y = _pairs(images, reconstructions)
    parts = [slice(start, start + batch_size) for start in range(0, len(x), batch_size)]
    return np.concatenate([ops.convert_to_numpy(distance(as_float32(x[i]), as_float32(y[i]))) for i in parts])


def _similarities(x, y):
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    a, b = STABILISERS
    similarity = (2 * mean_x * mean_y + a) * (2 * covariance + b)
    similarity /= (mean_x**2 + mean_y**2 + a) * (variance_x + variance_y + b)
    return similarity.mean(axis=(1, 2, 3))


def _windowed(x):
    """Weighted means over the window, where it lies inside."""
    for axis in (1, 2):
        x = ndimage.gaussian_filter1d(x, WINDOW_SIGMA, axis=axis, radius=WINDOW_RADIUS)
    inside = slice(WINDOW_RADIUS, -WINDOW_RADIUS)
    return x[:, inside, inside]


def _pairs(images, reconstructions):
    x, y = (
        numbers(values, name, "biuf", "images (N, H, W, C)")
        for name, values in (("images", images), ("reconstructions", reconstructions))
    )
    if x.ndim != 4 or not x.size or x.shape != y.shape:
        raise InputError(
            f"images and reconstructions must be (N, H, W, C) of the same shape; "
            f"received {x.shape} and {y.shape}."
        )
    return checked(x), checked(y, "reconstructions")
