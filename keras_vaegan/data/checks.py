"""Checks of images and labels that come from outside."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.errors import InputError, shown

ValueRange: TypeAlias = tuple[int, int] | None  # the integers that stand for 0 and 1; None for BYTES
BYTES = (0, 255)
DARK = 32  # integers that stay below it, of 0 to 255, are of another range
LARGEST_LABEL = 2**31 - 1  # of labels without a number of classes
TOLERANCE = 1e-5  # by which floats may leave [0, 1]: resizing and half precision round


def check_image_shape(image_shape: Any, most_channels: int | None = None) -> tuple[int, ...]:
    """Return `image_shape` as a tuple `(H, W, C)` of positive integers, or raise.

    Args:
        image_shape: any sequence of three.
        most_channels: the largest C; None for any.
    """
    try:
        shape = tuple(image_shape)
    except TypeError:  # a number, or None
        shape = ()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0 for n in shape)
    if len(shape) != 3 or not whole or (most_channels and shape[2] > most_channels):
        channels = f" with 1 to {most_channels} channels" if most_channels else ""
        raise InputError(
            f"image_shape must be (height, width, channels){channels}; received {shown(image_shape)}."
        )
    return tuple(int(n) for n in shape)


def check_value_range(value_range: Any, argument: str = "value_range") -> ValueRange:
    """Return `value_range` as a pair of ints `(low, high)`, low < high, or None; else raise."""
    if value_range is None:
        return None
    pair = value_range if isinstance(value_range, (tuple, list)) else ()
    whole = all(isinstance(end, Integral) and not isinstance(end, bool) for end in pair)
    if len(pair) != 2 or not whole or not pair[0] < pair[1]:
        raise InputError(
            f"{argument} must be two integers (low, high) with low < high, as (0, 4095) for 12 bits; "
            f"received {value_range!r}."
        )
    return int(pair[0]), int(pair[1])


def check_images(
    images: ArrayLike,
    image_shape: Sequence[int | None] | None = None,
    argument: str = "x",
    value_range: ValueRange = None,
) -> np.ndarray:
    """Return `images` as an array that the models take, or raise.

    Args:
        images: array `(B, H, W, C)`: integers in 0..255, floats in [0, 1] or booleans.
        image_shape: `(H, W, C)` that the images must have, each None for any; None allows any shape.
        argument: the argument's name in the error.
        value_range: `(low, high)`, the range of integers; None for `(0, 255)`.

    Returns:
        NumPy array `(B, H, W, C)`. Integers and float32 come back as they are, without a
        copy; other floats and booleans become float32.

    Raises:
        InputError: wrong rank or shape, no images, values out of range, not finite or not numbers.
    """
    images = numbers(images, argument, "biuf", "images (B, H, W, C)")
    if images.ndim != 4:
        raise InputError(f"{argument} must have the shape (B, H, W, C); received {images.shape}.")
    if images.size == 0:
        raise InputError(f"{argument} must hold at least one image; received the shape {images.shape}.")
    if image_shape is not None and not fits(images.shape[1:], image_shape):
        raise InputError(
            f"{argument} must hold images of the shape (H, W, C) = ({open_sides(image_shape)}); "
            f"received {images.shape[1:]}."
        )
    _check_range(images, argument, value_range)
    if images.dtype.kind in "iu" or images.dtype == np.float32:
        return images
    return images.astype(np.float32)


def fits(shape: Sequence[int], form: Sequence[int | None]) -> bool:
    """Whether a shape is of a form, in which None stands for any size."""
    return len(shape) == len(form) and all(
        wanted in (None, size) for size, wanted in zip(shape, form, strict=True)
    )


def open_sides(form: Sequence[Any]) -> str:
    """The sizes of such a form in words."""
    return ", ".join("any" if size is None else str(size) for size in form)


def check_labels(
    labels: ArrayLike,
    num_images: int,
    num_classes: int | None = None,
    argument: str = "y",
    unlabelled: bool = True,
) -> np.ndarray:
    """Return `labels` as int64 `(B,)`, or raise.

    Args:
        labels: whole numbers `(B,)` or `(B, 1)`.
        num_images: B, the number of images they belong to.
        num_classes: labels must be below it; None allows any.
        argument: the argument's name in the error.
        unlabelled: whether -1 may stand for an image without a label.

    Raises:
        InputError: wrong shape or length, not whole numbers, or out of range.
    """
    labels = numbers(labels, argument, "iuf", "whole numbers (B,)")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(not_one_label_each(argument, labels.shape), argument=argument)
    if len(labels) != num_images:
        raise InputError(
            f"{argument} must have one label for each of the {num_images} images; received {len(labels)}."
        )
    if not np.all(labels == np.floor(labels)):  # NaN fails here too
        raise InputError(f"{argument} must hold whole numbers; received others among {labels.dtype} values.")
    if labels.size:
        check_label_extremes(labels.min(), labels.max(), num_classes, argument, unlabelled)
    return labels.astype(np.int64)


def some_classes(labels: ArrayLike) -> np.ndarray:
    """One class or several as an array, or raise where there is none; they are not checked further."""
    labels = np.atleast_1d(numbers(labels, "labels", "iuf", "whole numbers (B,)"))
    if not len(labels):
        raise InputError("labels must hold at least one class; received none.")
    return labels


def check_label_extremes(
    low: Any, high: Any, num_classes: int | None, argument: str = "y", unlabelled: bool = True
) -> None:
    """Raise unless labels whose smallest and largest are these will do; see `check_labels`."""
    top = LARGEST_LABEL if num_classes is None else num_classes - 1
    if -int(unlabelled) <= low and high <= top:
        return
    hint = " Labels of 1 to K go in as y - 1." if high == num_classes else ""
    raise InputError(
        f"{argument} must lie in 0..{top}"
        f"{' or be -1 (unlabelled)' if unlabelled else ''}; received labels from {low:g} to {high:g}.{hint}"
    )


def not_one_label_each(argument: str, shape: Sequence[int | None]) -> str:
    """The error for labels of a shape other than `(B,)`."""
    hint = " One-hot labels go in as labels.argmax(-1)." if len(shape) == 2 else ""
    return f"{argument} must hold one whole number per image, shape (B,); received {tuple(shape)}.{hint}"


def check_weights(weights: ArrayLike, num_images: int, argument: str = "sample_weight") -> np.ndarray:
    """Return sample weights as float32 `(B,)`, or raise.

    Args:
        weights: numbers of at least 0, `(B,)` or `(B, 1)`.
        num_images: B.
        argument: the argument's name in the error.

    Raises:
        InputError: wrong shape or length; a weight that is negative, NaN or infinite.
    """
    weights = numbers(weights, argument, "biuf", "numbers (B,)").astype(np.float32)
    if weights.shape not in ((num_images,), (num_images, 1)):
        raise InputError(
            f"{argument} must have one number for each of the {num_images} images; "
            f"received the shape {weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"{argument} must hold finite numbers of at least 0; received others.")
    return weights.reshape(-1)


def numbers(values: ArrayLike, argument: str, kinds: str, wanted: str) -> np.ndarray:
    """Return `values` as a NumPy array whose dtype is one of `kinds`, or raise."""
    if hasattr(values, "row_splits"):  # TensorFlow's ragged tensors, which Keras fills up with zeros
        raise InputError(f"{argument} must be {wanted}; received rows of unequal length.")
    try:
        # Tensors may live on an accelerator, where np.asarray cannot reach them.
        if keras.ops.is_tensor(values):
            array = keras.ops.convert_to_numpy(values)
        elif isinstance(values, (list, tuple)) and any(map(keras.ops.is_tensor, values)):
            array = np.stack([keras.ops.convert_to_numpy(value) for value in values])
        else:
            array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{argument} must be {wanted}; received rows of unequal length.") from None
    if array.dtype.kind not in kinds:
        raise InputError(f"{argument} must be {wanted}, as numbers; received dtype {array.dtype}.")
    return array


def _check_range(images: np.ndarray, argument: str, value_range: ValueRange) -> None:
    if images.dtype == np.bool_:
        return
    # A NaN anywhere makes both NaN.
    check_extremes(images.min(), images.max(), images.dtype.kind in "iu", argument, value_range)


def check_extremes(
    low: Any, high: Any, whole: bool, argument: str, value_range: tuple[float, float] | None = None
) -> None:
    """Raise unless images whose smallest and largest value are these will do.

    Args:
        low, high: numbers, of images that are not empty.
        whole: whether the images are of an integer type.
        argument: the argument's name in the error.
        value_range: of integers; see `check_images`.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{argument} must be finite numbers in [0, 1]; received NaN or infinite values.")
    if not whole:
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            raise InputError(
                f"{argument} must lie in [0, 1]; received values from {low:g} to {high:g}. {_advice(low)}"
            )
        return
    least, largest = value_range or BYTES
    if low < least or high > largest:
        if value_range is not None:
            raise InputError(f"{argument} must lie in value_range, {value_range}; received {low} to {high}.")
        raise InputError(
            f"{argument} must lie in 0..255 when integer; received {low} to {high}. For integers of another "
            f"range pass value_range=(low, high), as (0, 4095) for 12 bits and (0, 65535) for 16."
        )


def check_brightness(high: Any, whole: bool, argument: str, value_range: ValueRange = None) -> None:
    """Raise or warn if all images of a training are almost black, as those of another range are.

    Args:
        high: their largest value.
        whole: whether they are of an integer type.
        argument: the argument's name in the error or warning.
        value_range: of integers; see `check_images`.

    Raises:
        InputError: integers of 0 and 1 alone, without a `value_range`.
    """
    if whole and value_range is None and high == 1:
        raise InputError(
            f"{argument} must lie in 0..255 when integer; received 0 and 1 alone, which are almost black. "
            "Pass value_range=(0, 1), or x.astype('float32')."
        )
    if whole and value_range is None and 0 < high < DARK:
        warnings.warn(
            f"{argument} holds integers up to {high}, which are almost black in 0..255. "
            f"If they are of another range, pass value_range=(0, {high}).",
            stacklevel=4,
        )
    elif not whole and 0 < high <= 1 / 255 + TOLERANCE:
        warnings.warn(
            f"{argument} holds values up to {high:g}, which are almost black in [0, 1]. "
            "Was it divided by 255 twice?",
            stacklevel=4,
        )


def _advice(low: float) -> str:
    """How floats of this range come to lie in [0, 1]."""
    if low >= 0:
        return "Divide by 255 where values lie in 0..255, or pass uint8."
    return "Use (x + 1) / 2 where values lie in [-1, 1]."
