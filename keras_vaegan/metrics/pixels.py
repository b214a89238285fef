"""Images as the measures of pixels take them, a few at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_extremes, numbers
from keras_vaegan.data.images import as_float32
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.errors import InputError

CHUNK = 200  # images whose intermediate results, in float64, are in memory at a time


def checked(images: Any, argument: str = "images", bounded: bool = True) -> Any:
    """Images `(N, H, W, C)` as an array: integers of 0 to 255, floats in [0, 1] or booleans; else raise.

    Finite floats may leave [0, 1] unless `bounded`. Stored images stay where they are, unchecked.
    """
    if is_stored(images):
        return as_stored(images)
    x = numbers(images, argument, "biuf", "images (N, H, W, C)")
    if x.ndim != 4 or not x.size:
        raise InputError(f"{argument} must be (N, H, W, C) with N > 0; received {x.shape}.")
    if not np.isfinite(x).all():
        raise InputError(f"{argument} must be finite; received NaN or infinite values.")
    if x.dtype.kind in "iu" or (bounded and x.dtype.kind == "f"):
        check_extremes(x.min(), x.max(), x.dtype.kind in "iu", argument)
    return x


def as_float64(images: ArrayLike) -> np.ndarray:
    """Images as float64: floats in [0, 1] as they are, integers of 0 to 255 scaled there."""
    x = np.asarray(images)
    return (as_float32(x) if x.dtype.kind in "iu" else x).astype("float64", copy=False)


def by_chunks(measure: Callable[..., np.ndarray], *images: np.ndarray) -> np.ndarray:
    """A measure of each image `(N,)`, or of each pair of two sets, a few at a time in float64."""
    rows = (slice(start, start + CHUNK) for start in range(0, len(images[0]), CHUNK))
    return np.concatenate([measure(*(as_float64(x[some]) for x in images)) for some in rows])
