"""Sharpness of images as a number."""

from keras_vaegan.errors import InputError
from keras_vaegan.metrics.pixels import by_chunks, checked


def laplacian_variance(images):
    """Mean over images of the variance of the discrete Laplacian: blurring lowers it.

    The focus measure of Pech-Pacheco et al. 2000, with the kernel (0 1 0; 1 -4 1; 0 1 0),
    inside the border. Compare it with that of real images of the same size: noise raises it.

    Args:
        images: `(N, H, W, C)`, float in [0, 1] or uint8, H and W at least 3.

    Returns:
        A float, in squared pixel values of [0, 1].

    Raises:
        InputError: images that are not `(N, H, W, C)` with N > 0, or have a side below 3.
    """
    x = checked(images, bounded=False)  # noise leaves [0, 1]
    if min(x.shape[1:3]) < 3:
        raise InputError(f"images must be (N, H, W, C) with H and W of at least 3; received {x.shape}.")
    return float(by_chunks(_variances, x).mean())


def _variances(x):
    """Variance of the Laplacian of each image, `(N,)`."""
    centre = x[:, 1:-1, 1:-1]
    laplacian = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:] - 4.0 * centre
    return laplacian.var(axis=(1, 2, 3))
