"""What a posterior q(z|x) uses of its code, from its parameters `(N, Z)`."""

import numpy as np

from keras_vaegan.data.checks import check_image_shape, numbers
from keras_vaegan.errors import InputError
from keras_vaegan.metrics.distances import check_features

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


def kl_per_dimension(mean, log_variance, prior_mean=0.0, prior_log_variance=0.0):
    """Mean over images of the divergence KL(q(z_j|x) || p(z_j)) of each dimension from a normal prior.

    Args:
        mean, log_variance: of q(z|x), `(N, Z)`.
        prior_mean, prior_log_variance: of p(z), or p(z|c) of each image, `(N, Z)`; N(0, I) if left out.

    Returns:
        `(Z,)` in nats.

    Raises:
        InputError: parameters that are not finite, or of other shapes.
    """
    m = check_features("mean", mean)
    parameters = {
        "log_variance": log_variance,
        "prior_mean": prior_mean,
        "prior_log_variance": prior_log_variance,
    }
    for name, value in parameters.items():
        parameters[name] = array = numbers(value, name, "biuf", "numbers (N, Z)").astype("float64")
        of_prior = name.startswith("prior")
        if array.shape != m.shape and not (of_prior and array.ndim < 3 and _broadcasts(array, m)):
            raise InputError(f"{name} must have the shape of mean, {m.shape}; received {array.shape}.")
        if not np.isfinite(array).all():
            raise InputError(f"{name} must be finite; received NaN or infinite values.")
    v, p, w = parameters.values()
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
    """Bits per pixel value from nats per image: nats / (ln 2 * H * W * C).

    Raises `InputError` for nats that are no numbers, and for a shape that is none.
    """
    image_shape = check_image_shape(image_shape)
    numbers(nats, "nats", "biuf", "numbers")
    return np.asarray(nats)[()] / (np.log(2.0) * np.prod(image_shape))


def _broadcasts(array, to):
    """Whether an array stands for all rows, or all entries, of another one."""
    return all(a in (1, b) for a, b in zip(array.shape[::-1], to.shape[::-1], strict=False))
