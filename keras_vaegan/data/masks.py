"""Masks for image completion: which pixels are given. True is visible; in a picture, white."""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan import memory
from keras_vaegan.data.checks import check_image_shape, numbers
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.files import reading, user_path

# Name -> whether the pixel in row r and column c of an image of h rows and w columns is given.
NAMED: dict[str, Callable[..., np.ndarray]] = {
    "left": lambda r, c, h, w: c < w // 2,
    "right": lambda r, c, h, w: c >= w // 2,
    "top": lambda r, c, h, w: r < h // 2,
    "bottom": lambda r, c, h, w: r >= h // 2,
    # As in Sohn et al. 2015: the bottom left, the left half, all but the bottom right.
    "quadrants:1": lambda r, c, h, w: (r >= h // 2) & (c < w // 2),
    "quadrants:2": lambda r, c, h, w: c < w // 2,
    "quadrants:3": lambda r, c, h, w: (r < h // 2) | (c < w // 2),
}


def named_mask(name: str, image_shape: tuple[int, ...]) -> np.ndarray:
    """A mask by its name, one of `NAMED`.

    Args:
        name: `left`, `right`, `top`, `bottom`, or `quadrants:1`, `:2`, `:3` as many quadrants given.
        image_shape: `(H, W, C)`.

    Returns:
        `(H, W)` bool.

    Raises:
        InputError: a name that is none of `NAMED`, or a shape that is none.
    """
    inside = NAMED[choose("mask", name, NAMED)]
    height, width, _ = check_image_shape(image_shape)
    memory.require(f"image_shape={tuple(image_shape)}", height * width, "Use smaller images.")
    rows, columns = np.ogrid[:height, :width]
    return np.broadcast_to(inside(rows, columns, height, width), (height, width)).copy()


def check_mask(mask: str | ArrayLike, num_images: int, image_shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask as `(num_images, H, W)` bool, or raise.

    Args:
        mask: a name of `NAMED`, or an array `(H, W)` for all images or `(B, H, W)` for each: booleans,
            or numbers of which only 0 and the largest (1 or 255) occur.
        num_images: B.
        image_shape: `(H, W, C)`.

    Raises:
        InputError: an unknown name, another shape, other values, or nothing or everything given.
    """
    num_images, image_shape = (
        whole_number("num_images", num_images, 1),
        check_image_shape(image_shape),
    )
    if isinstance(mask, str):
        mask = named_mask(mask, image_shape)
    mask = numbers(mask, "mask", "biuf", "a mask (H, W) or (B, H, W)")
    height, width = image_shape[:2]
    if mask.shape not in ((height, width), (num_images, height, width)):
        raise InputError(
            f"mask must have the shape {(height, width)} or {(num_images, height, width)}; "
            f"received {mask.shape}."
        )
    values = np.unique(mask).tolist()
    if not set(values) <= {0, 1} and not set(values) <= {0, 255}:
        raise InputError(
            f"mask must hold True (visible) and False, 1 and 0, or 255 and 0; received {values[:5]}."
        )
    memory.require(f"num_images={num_images}", num_images * height * width, "Complete fewer at a time.")
    visible = np.broadcast_to(mask > 0, (num_images, height, width))
    shares = np.atleast_1d((mask > 0).mean(axis=(-2, -1)))
    if np.any(shares == 0) or np.any(shares == 1):
        state = "empty (no pixel is visible)" if np.any(shares == 0) else "full (every pixel is visible)"
        raise InputError(
            f"mask must leave pixels to see and pixels to complete; received one that is {state}."
        )
    return visible


def read_mask(path: str | os.PathLike[str], image_shape: tuple[int, ...]) -> np.ndarray:
    """The mask in a picture of the images' size: white is visible, black is to be completed.

    Returns:
        `(H, W)` bool.

    Raises:
        InputError: a file that is missing or no picture, of another size, or with grey in it.
    """
    from PIL import Image

    check_image_shape(image_shape)
    user_path("mask", path)
    if not os.path.exists(path):
        raise InputError(
            f"mask must be one of {', '.join(NAMED)} or a picture; there is no file {os.fspath(path)}.",
            argument="mask",
            allowed=NAMED,
            received=path,
        )
    with reading(path, "mask"):
        if not os.path.isfile(path):
            raise ValueError("it is no file")
        with Image.open(path) as picture:
            if picture.size != tuple(image_shape[1::-1]):  # before the pixels are decoded
                raise InputError(
                    f"mask {os.fspath(path)} must be a picture of the images' height and width, "
                    f"{tuple(image_shape[:2])}; received {picture.size[::-1]}.",
                    argument="mask",
                    received=path,
                )
            pixels = np.asarray(picture.convert("L"))
    return check_mask(pixels, 1, image_shape)[0]
