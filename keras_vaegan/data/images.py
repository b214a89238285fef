"""Pixels: resizing, grey and color, the range of integers, 8 bits and floats."""

import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import BYTES, ValueRange
from keras_vaegan.errors import InputError, choose, must_be, one_line
from keras_vaegan.typing import RESIZES

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue, 0 to 255
Resize: TypeAlias = Literal["crop", "pad", "stretch"]
MOST_CHANNELS = 16
WHITE: Colour = (255, 255, 255)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG and PIL
VARYING_SIZE = (64, 64)  # the target when images differ in size and none was asked for
DEPTHS = (1, 4, 5, 8, 10, 12, 14)  # bits that pixels may have in files of more
NAMES_SHOWN = 5
BRIGHT = 32  # what the largest 8-bit pixel of a dataset reaches, unless its range is another one
BRIGHT_OF_16_BITS, SURELY_BRIGHT = 8192, 16384


def parse_size(
    image_size: int | Sequence[int] | None, argument: str = "image_size"
) -> tuple[int, int] | None:
    """Return `(H, W)` from a positive int or a pair of them; None stays None.

    Anything else raises `InputError` about `argument`.
    """
    if image_size is None:
        return None
    pair = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    whole = all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) for side in pair)
    if len(pair) != 2 or not whole or min(pair) < 1:
        raise InputError(f"{argument} must be a positive int or a pair (H, W); received {image_size!r}.")
    return int(pair[0]), int(pair[1])


def parse_channels(channels: int | None) -> int | None:
    """Return `channels` if it is None or an integer of 1 (grey) to 16, else raise `InputError`."""
    if channels is None:
        return None
    whole = isinstance(channels, (int, np.integer)) and not isinstance(channels, bool)
    if not whole or not 1 <= channels <= MOST_CHANNELS:
        raise must_be(
            "channels", f"an integer of 1 to {MOST_CHANNELS} (1 is grey, 3 color, 4 keeps alpha)", channels
        )
    return int(channels)


def parse_resize(resize: Any) -> Resize:
    """Return `resize` if it is crop, pad or stretch, else raise `InputError`."""
    return choose("resize", resize, RESIZES)


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


def set_channels(image: np.ndarray, channels: int | None, background: Colour = WHITE) -> np.ndarray:
    """Return `(..., C)`, uint8 or floats in [0, 1], with `channels` channels; None keeps C.

    Color becomes grey by its luma, grey becomes color by repetition, and the alpha of four channels is laid
    on the background. Any other change raises `InputError`.
    """
    received = image.shape[-1]
    if channels in (None, received):
        return image
    if received == 4 and channels in (1, 3):
        return set_channels(on_background(image[..., :3], image[..., 3:], background), channels)
    if (received, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (received, channels) == (3, 1):
        return _like((image @ LUMA)[..., None], image)
    message = f"channels can be changed between 1 and 3 only; received {channels} for {received}."
    raise InputError(message, argument="channels", allowed=(1, 3), received=channels)


def on_background(image: np.ndarray, alpha: np.ndarray, background: Colour = WHITE) -> np.ndarray:
    """Return an image `(..., C)` laid on a background by its alpha `(..., 1)`, both uint8 or in [0, 1].

    A grey image becomes color if the background is no grey.
    """
    if image.shape[-1] == 1 and len(set(background)) > 1:
        image = set_channels(image, 3)
    share = as_float32(alpha)
    under = _shade(background, image)
    return _like(image * share + under * (1 - share), image)


def _shade(background: Colour, image: np.ndarray) -> np.ndarray:
    """Return the background as a pixel `(C,)` of an image, in its range; its luma if the image has no RGB."""
    full = 255 if image.dtype == np.uint8 else 1
    colour = np.asarray(background, np.float32) * np.float32(full / 255)
    if image.shape[-1] == 3:
        return colour
    grey = colour[0] if len(set(background)) == 1 else colour @ LUMA
    return np.full(image.shape[-1], grey, np.float32)


def resized(
    image: np.ndarray, size: tuple[int, int] | None, resize: Resize = "crop", background: Colour = WHITE
) -> np.ndarray:
    """Return `(h, w, C)` in another size, bicubic, with antialiasing if it shrinks.

    Args:
        image: uint8, or float32 in [0, 1].
        size: `(H, W)`; None keeps the image as it is.
        resize: what happens to another aspect ratio: `"crop"` cuts the image about its center, `"pad"`
            centers it on the background, `"stretch"` distorts it.
        background: around a padded image.

    Returns:
        `(H, W, C)` of the same dtype.
    """
    if size is None or image.shape[:2] == size:
        return image
    height, width = image.shape[:2]
    rows, columns = size
    if resize == "stretch":
        return _scaled(image, size)
    if resize == "crop":
        # As ImageOps.fit of PIL: the largest part of this aspect ratio, at fractions of a pixel.
        if width * rows >= height * columns:
            box = (height * columns / rows, float(height))
        else:
            box = (float(width), width * rows / columns)
        left, top = (width - box[0]) / 2, (height - box[1]) / 2
        return _scaled(image, size, (left, top, left + box[0], top + box[1]))
    scale = min(rows / height, columns / width)
    inner = (min(rows, max(1, round(height * scale))), min(columns, max(1, round(width * scale))))
    framed = np.empty((*size, image.shape[-1]), image.dtype)
    framed[:] = _like(_shade(background, image), image)
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    framed[top : top + inner[0], left : left + inner[1]] = _scaled(image, inner)
    return framed


def _scaled(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Return an image, or the part of it in `box` (left, top, right, bottom), in another size."""
    from PIL import Image

    whole = image.dtype == np.uint8 and image.shape[-1] == 3  # in one go, with the same result
    planes = [image] if whole else np.moveaxis(image, -1, 0)
    made = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BICUBIC, box)
        )
        for plane in planes
    ]
    if whole:
        return made[0]
    stacked = np.stack(made, axis=-1)
    # Bicubic weights are negative in places: float planes can leave [0, 1], 8-bit ones saturate.
    return stacked if stacked.dtype == np.uint8 else np.clip(stacked, 0, 1)


def fit_all(
    images: np.ndarray,
    size: tuple[int, int] | None,
    channels: int | None,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> np.ndarray:
    """Return images `(B, h, w, C)` with `set_channels` and `resized` applied to each."""
    images = set_channels(images, channels, background)
    if size is None or images.shape[1:3] == size:
        return images
    return np.stack([resized(image, size, resize, background) for image in images])


class Levels:
    """What is to be known of all images together: the largest integers, by the bits of their files, 8 or 16.

    Attributes:
        cut: files of several frames, of which the first is taken.
    """

    def __init__(self) -> None:
        self.largest: dict[int, int] = {}
        self.cut: list[str | os.PathLike[str]] = []
        self._lock = threading.Lock()

    def needs(self, bits: int) -> bool:
        """Whether images of those bits have been dark so far; else there is no need to look at more."""
        return self.largest.get(bits, 0) < (BRIGHT if bits == 8 else SURELY_BRIGHT)

    def note(self, bits: int, value: Any) -> None:
        """Take the largest value of an image into account."""
        with self._lock:
            self.largest[bits] = max(self.largest.get(bits, 0), int(value))

    def check(self, argument: str, refuse: bool = True) -> None:
        """Raise, or warn, if the images can be no more than dark: their range is likely another one.

        Args:
            argument: the argument's name in the message.
            refuse: whether a range that is surely another one is an error, rather than a warning.
        """
        if self.cut:
            names = ", ".join(sorted(one_line(os.path.basename(path)) for path in self.cut)[:NAMES_SHOWN])
            warnings.warn(
                f"{argument} has {len(self.cut)} files of several frames or pages, of which the first is "
                f"taken: {names}{', ...' if len(self.cut) > NAMES_SHOWN else ''}",
                stacklevel=2,
            )
        if self.largest and not any(self.largest.values()):
            warnings.warn(f"{argument} has black images alone.", stacklevel=2)
        for bits, largest in self.largest.items():
            if not largest or not self.needs(bits):
                continue
            likely = next(2**depth - 1 for depth in DEPTHS if largest < 2**depth)
            text = (
                f"{argument} must use the range of its {bits}-bit pixels, 0 to {2**bits - 1}; the largest of "
                f"all pixels is {largest}, which is {'almost black' if largest * 8 < 2**bits else 'dark'}. "
                f"Pass value_range=(0, {likely}) (--value-range 0:{likely}), or (0, {2**bits - 1}) if they "
                "are meant to be dark."
            )
            if refuse and (largest == 1 if bits == 8 else largest < BRIGHT_OF_16_BITS):
                raise InputError(text)
            warnings.warn(text.replace(" must ", " should ", 1), stacklevel=2)


def require_for(shape: Sequence[int], bytes_per_value: int, argument: str) -> None:
    """Raise `InputError` unless images of `shape` `(N, H, W, C)` fit into memory while they are read."""
    number, height, width, channels = map(int, shape)
    memory.require(
        f"{argument} ({number:,} images of {height}x{width}x{channels})",
        number * height * width * channels * bytes_per_value,
        "Give a smaller image_size (--image-size), or fewer images.",
    )


def _like(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return float `values` in the dtype and range of `image`."""
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else np.clip(values, 0, 1)
