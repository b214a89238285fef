"""Pixels: reading image files, resizing, grey and colour, 8 bits and floats."""

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from keras_vaegan.data.checks import BYTES, ValueRange
from keras_vaegan.errors import InputError, choose

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG and PIL
VARYING_SIZE = (64, 64)  # the target when images differ in size and none was asked for


def parse_size(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return `(H, W)` from a positive int or a pair of them; None stays None.

    Anything else raises `InputError`.
    """
    if image_size is None:
        return None
    pair = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    whole = all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) for side in pair)
    if len(pair) != 2 or not whole or min(pair) < 1:
        raise InputError(f"image_size must be a positive int or a pair (H, W); received {image_size!r}.")
    return int(pair[0]), int(pair[1])


def parse_channels(channels: Literal[1, 3] | None) -> Literal[1, 3] | None:
    """Return `channels` if it is None, 1 (grey) or 3 (colour), else raise `InputError`."""
    return choose("channels", channels, (None, 1, 3))


def as_float32(images: np.ndarray, value_range: ValueRange = None) -> np.ndarray:
    """Return images as float32 in [0, 1].

    Args:
        images: integers, which are scaled, or floats in [0, 1].
        value_range: `(low, high)`, the integers that become 0 and 1; None for `(0, 255)`.
    """
    if images.dtype.kind not in "iu":
        return images.astype(np.float32, copy=False)
    low, high = value_range or BYTES
    if low:
        images = np.subtract(images, np.float32(low), dtype=np.float32)
    return np.divide(images, np.float32(high - low), dtype=np.float32)


def as_uint8(images: np.ndarray) -> np.ndarray:
    """Return images in 8 bits; floats in [0, 1] are rounded to the nearest of 256 levels."""
    if images.dtype.kind == "f":
        return np.rint(images * 255).astype(np.uint8)
    return images.astype(np.uint8, copy=False)


def reduce_depth(image: np.ndarray) -> np.ndarray:
    """Return a 16-bit array in 8 bits, other arrays as they are."""
    return (image / 257).round().astype(np.uint8) if image.dtype.itemsize == 2 else image


def set_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    """Return `(..., C)`, uint8 or floats in [0, 1], with `channels` channels; None keeps C.

    Colour becomes grey by its luma, grey becomes colour by repetition, and alpha is laid on white. Any other
    change raises `InputError`.
    """
    received = image.shape[-1]
    if channels in (None, received):
        return image
    if received == 4:
        return set_channels(_on_white(image), channels)
    if (received, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (received, channels) == (3, 1):
        return _like((image @ LUMA)[..., None], image)
    raise InputError(f"channels can be changed between 1 and 3 only; received {channels} for {received}.")


def fit(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return `(h, w, C)` centre-cropped to the aspect ratio of `size` and resized to it.

    Args:
        image: uint8, or float32 in [0, 1].
        size: `(H, W)`; None keeps the image as it is.

    Returns:
        `(H, W, C)` of the same dtype, bicubic, with antialiasing where it shrinks.
    """
    if size is None or image.shape[:2] == size:
        return image
    from PIL import Image, ImageOps

    height, width = size
    planes = [
        np.asarray(ImageOps.fit(Image.fromarray(plane), (width, height), Image.Resampling.BICUBIC))
        for plane in np.moveaxis(image, -1, 0)
    ]
    fitted = np.stack(planes, axis=-1)
    # Bicubic weights are negative in places: float planes can leave [0, 1], 8-bit ones saturate.
    return fitted if fitted.dtype == np.uint8 else np.clip(fitted, 0, 1)


def fit_all(images: np.ndarray, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """Return images `(B, h, w, C)` with `set_channels` and `fit` applied to each."""
    images = set_channels(images, channels)
    if size is None or images.shape[1:3] == size:
        return images
    return np.stack([fit(image, size) for image in images])


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return `(h, w)` of an image file as it is shown, without decoding it where that is possible."""
    from PIL import ExifTags, Image

    with Image.open(path) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return image.size if turned else image.size[::-1]


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the first frame of an image file as uint8 `(h, w, 3)`.

    The EXIF orientation is applied, transparent pixels are laid on white, 16-bit grey becomes 8-bit.
    """
    from PIL import Image, ImageOps

    image: Image.Image
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            return np.repeat(_sixteen_bit(np.asarray(image))[..., None], 3, axis=-1)
        if image.mode == "F":
            raise ValueError("32-bit float pixels have no known range")
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            image = white
        return np.asarray(image.convert("RGB"))


def _sixteen_bit(pixels: np.ndarray) -> np.ndarray:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("32-bit integer pixels have no known range")
    return reduce_depth(pixels.astype(np.uint16))


def _on_white(image: np.ndarray) -> np.ndarray:
    white = 255 if image.dtype == np.uint8 else 1
    alpha = image[..., 3:].astype(np.float32) / white
    return _like(image[..., :3] * alpha + white * (1 - alpha), image)


def _like(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return float `values` in the dtype and range of `image`."""
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else np.clip(values, 0, 1)
