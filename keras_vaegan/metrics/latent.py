"""What a posterior q(z|x) uses of its code, from its parameters `(N, Z)`."""

import numpy as np

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


def kl_per_dimension(mean, log_variance):
    """Mean over images of KL(q(z_j|x) || N(0, 1)) of each dimension, `(N, Z)` -> `(Z,)` in nats."""
    mean, log_variance = np.asarray(mean, "float64"), np.asarray(log_variance, "float64")
    return 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).mean(axis=0)


def active_units(mean):
    """Number of dimensions of which the mean of q(z|x) `(N, Z)` has a variance over images above 0.01.

    Burda et al. 2016, section 5.2.
    """
    return int(np.sum(np.var(np.asarray(mean, "float64"), axis=0) > ACTIVE_VARIANCE))


def bits_per_dimension(nats, image_shape):
    """Bits per pixel value from nats per image: nats / (ln 2 * H * W * C)."""
    return nats / (np.log(2.0) * np.prod(image_shape))
