"""What a posterior q(z|x) uses of its code, from its parameters `(N, Z)`."""

import numpy as np

from keras_vaegan.data.checks import numbers
from keras_vaegan.errors import InputError

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


def kl_per_dimension(mean, log_variance, prior_mean=0.0, prior_log_variance=0.0):
    """Mean over images of the divergence KL(q(z_j|x) || p(z_j)) of each dimension from a normal prior.

    Args:
        mean, log_variance: of q(z|x), `(N, Z)`.
        prior_mean, prior_log_variance: of p(z), or p(z|c) of each image, `(N, Z)`; N(0, I) if left out.

    Returns:
        `(Z,)` in nats.
    """
    m, v = np.asarray(mean, "float64"), np.asarray(log_variance, "float64")
    p, w = np.asarray(prior_mean, "float64"), np.asarray(prior_log_variance, "float64")
    return 0.5 * (np.exp(v - w) + (m - p) ** 2 * np.exp(-w) - 1.0 - (v - w)).mean(axis=0)


def active_units(mean):
    """Number of dimensions of which the mean of q(z|x) `(N, Z)` has a variance over images above 0.01.

    Burda et al. 2016, section 5.2.
    """
    mean = numbers(mean, "mean", "biuf", "means (N, Z)").astype("float64")
    if mean.ndim != 2 or not len(mean) or not np.isfinite(mean).all():
        raise InputError(f"mean must be finite numbers (N, Z), N > 0; received the shape {mean.shape}.")
    return int(np.sum(np.var(mean, axis=0) > ACTIVE_VARIANCE))


def bits_per_dimension(nats, image_shape):
    """Bits per pixel value from nats per image: nats / (ln 2 * H * W * C)."""
    return nats / (np.log(2.0) * np.prod(image_shape))
