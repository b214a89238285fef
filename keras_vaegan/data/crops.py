"""Random crops of images that are larger than what a model takes."""

from collections.abc import Sequence

import numpy as np

from keras_vaegan.data.images import parse_size
from keras_vaegan.errors import InputError, renaming

CROP = 7  # tells the draws of crops from others of the same seed, epoch and batch


def parse_crop(
    size: int | Sequence[int] | None, image_shape: Sequence[int], argument: str = "random_crop"
) -> tuple[int, int] | None:
    """Return `(h, w)` of a crop from an int or a pair; None stays None.

    Raises `InputError` for another value, and for a crop larger than the images `(H, W, C)`.
    """
    with renaming(image_size=argument):
        crop = parse_size(size)
    if crop is not None and (crop[0] > image_shape[0] or crop[1] > image_shape[1]):
        raise InputError(
            f"{argument} must be at most the size of the images, {image_shape[0]}x{image_shape[1]}; "
            f"received {crop[0]}x{crop[1]}. Give a larger image_size (--image-size)."
        )
    return crop


def crop_corners(
    image_shape: Sequence[int], size: tuple[int, int], count: int, key: Sequence[int]
) -> np.ndarray:
    """Return the upper left corners of random crops, int `(count, 2)`; a function of the key alone."""
    most = [image_shape[0] - size[0] + 1, image_shape[1] - size[1] + 1]
    return np.random.default_rng((*key, CROP)).integers(0, most, (count, 2))


def cropped(images: np.ndarray, size: tuple[int, int], corners: np.ndarray) -> np.ndarray:
    """Return `(n, h, w, C)`: of each image `(H, W, C)` the part at its corner."""
    height, width = size
    made = np.empty((len(images), height, width, images.shape[-1]), images.dtype)
    for one, image, (top, left) in zip(made, images, corners, strict=True):
        one[...] = image[top : top + height, left : left + width]
    return made
