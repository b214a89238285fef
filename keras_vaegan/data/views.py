"""Views of images that are in memory, or stored: some of them, their middle, floats, 8 bits."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_vaegan.data.images import as_float32, as_uint8
from keras_vaegan.data.stored import Mapped, as_stored, is_stored

PART_BYTES = 64_000_000  # of images, as floats, that are in memory at a time


def parts_of(x: Any, batch_size: int = 1, most: int | None = None) -> Iterator[slice]:
    """Slices of images `(N, H, W, C)`, in their order, of whole batches and of little memory.

    Args:
        x: images, stored or in memory.
        batch_size: what the length of all slices but the last is a multiple of.
        most: the largest length; None for as many as fit.
    """
    fitting = PART_BYTES // (4 * math.prod(x.shape[1:]))
    size = max(1, (fitting if most is None else min(fitting, most)) // batch_size) * batch_size
    return (slice(start, start + size) for start in range(0, len(x), size))


def some_of(x: Any, rows: Any) -> Any:
    """Return the images at `rows`, integers or a mask: a copy of those of an array, a view of stored ones."""
    return as_stored(x).subset(rows) if is_stored(x) else x[rows]


def first_of(x: Any, most: int) -> Any:
    """Return the first images, at most that many: a view, also of an array."""
    if len(x) <= most:
        return x
    return some_of(x, np.arange(most)) if is_stored(x) else x[:most]


def in_floats(x: Any) -> Any:
    """Return images as float32 in [0, 1]; stored integers of 0 to 255 become floats as they are read."""
    return _mapped(x, as_float32, np.float32)


def in_bytes(x: Any) -> Any:
    """Return images in 8 bits; stored floats are rounded as they are read."""
    return _mapped(x, as_uint8, np.uint8)


def _mapped(x: Any, convert: Any, dtype: Any) -> Any:
    if not is_stored(x):
        return convert(x)
    x = as_stored(x)
    return x if x.dtype == dtype else Mapped(x, convert, x.shape[1:], dtype, convert.__name__)


class CentreCrop:
    """The middle `(h, w)` of images `(..., H, W, C)`, as a function that can be pickled."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return a view `(..., h, w, C)`."""
        height, width = self.size
        top, left = (images.shape[-3] - height) // 2, (images.shape[-2] - width) // 2
        return images[..., top : top + height, left : left + width, :]


def centre_crop(x: Any, size: tuple[int, int]) -> Any:
    """Return the middle `(h, w)` of images `(N, H, W, C)`: a view of an array, or of stored images."""
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    crop = CentreCrop(size)
    if not is_stored(x):
        return crop(x)
    x = as_stored(x)
    return Mapped(x, crop, (*size, x.shape[-1]), x.dtype, f"centre crop {size}")
