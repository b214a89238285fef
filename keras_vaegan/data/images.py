"""Pixels: reading image files, resizing, grey and colour, 8 bits and floats."""

import functools
import importlib
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import BYTES, ValueRange
from keras_vaegan.errors import InputError, choose, one_line

if TYPE_CHECKING:
    from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG and PIL
VARYING_SIZE = (64, 64)  # the target when images differ in size and none was asked for
# What PIL reads by itself and recognizes by a signature. Others have none, or run a program (EPS).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "QOI", "DIB")
RAW_ENDINGS = set(  # cameras' own formats: TIFF to PIL, which reads the small preview in them
    ".dng .nef .nrw .cr2 .cr3 .arw .sr2 .orf .rw2 .pef .raf .srw .3fr .x3f".split()
)
LARGE = 4_000_000  # pixels from which a JPEG is decoded at a fraction of its size, if more is not needed
FINER = 4  # times the target's size that such a JPEG keeps
DECODING_BYTES = 24  # of memory for each pixel while an image is decoded
CHECKED_FROM = 16_000_000  # pixels from which the memory for that is looked at
READERS = 2  # images that are decoded at a time
DEPTHS = (1, 4, 5, 8, 10, 12, 14)  # bits that pixels may have in files of more
BRIGHT = 32  # what the largest 8-bit pixel of a dataset reaches, unless its range is another one
BRIGHT_OF_16_BITS, SURELY_BRIGHT = 8192, 16384
REASON_LENGTH = 120  # characters of a foreign error's text


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


class Levels:
    """Largest integers among all images that are read, by the bits of their files, 8 or 16."""

    def __init__(self) -> None:
        self.largest: dict[int, int] = {}
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


def range_for(bits: int, value_range: ValueRange) -> ValueRange:
    """Return the range of integers of 8 or of more bits; 8 bits keep theirs unless it could be meant."""
    return None if value_range is None or (bits == 8 and value_range[1] > BYTES[1]) else value_range


def to_bytes(images: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Return integers in 8 bits: `value_range` becomes 0..255, in parts, so that little memory is needed."""
    if value_range in (None, BYTES):
        return images.astype(np.uint8, copy=False)
    scaled = np.empty(images.shape, np.uint8)
    for i in range(len(images)):
        scaled[i] = as_uint8(as_float32(images[i], value_range))
    return scaled


def require_for(shape: Sequence[int], bytes_per_value: int, argument: str) -> None:
    """Raise `InputError` unless images of `shape` `(N, H, W, C)` fit into memory while they are read."""
    number, height, width, channels = map(int, shape)
    memory.require(
        f"{argument} ({number:,} images of {height}x{width}x{channels})",
        number * height * width * channels * bytes_per_value,
        "Give a smaller image_size (--image-size), or fewer images.",
    )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Names of the image formats that are read: those of `FORMATS`, and those that other packages add."""
    from PIL import Image

    try:  # with this package HEIC is read, too
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        pass
    Image.init()
    added = [name for name, (opener, _) in Image.OPEN.items() if not opener.__module__.startswith("PIL.")]
    return (*(name for name in FORMATS if name in Image.OPEN), *added)


def open_image(path: str | os.PathLike[str]) -> "Image.Image":
    """Return PIL's image of a file, recognized by its content, before it is decoded."""
    from PIL import Image

    if os.path.splitext(path)[1].lower() in RAW_ENDINGS:
        raise ValueError("RAW files of cameras have to be converted, to JPEG, PNG or TIFF")
    return Image.open(path, formats=_formats())


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as an image does, whatever its name."""
    try:
        with open_image(path):
            return True
    except Exception as error:  # what a broken file raises differs from codec to codec
        from PIL import Image

        return isinstance(error, Image.DecompressionBombError)


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return `(h, w)` of an image file as it is shown, without decoding it where that is possible."""
    from PIL import ExifTags

    with open_image(path) as image:
        if image.width == image.height:
            return image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return image.size if turned else image.size[::-1]


def read_image(
    path: str | os.PathLike[str],
    value_range: ValueRange = None,
    levels: Levels | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return the first frame of an image file as uint8 `(h, w, 3)`.

    The EXIF orientation is applied and transparent pixels are laid on white.

    Args:
        path: of the file.
        value_range: `(low, high)`, the integers that become 0 and 255 in files of more than 8 bits, and in
            those of 8 bits if `high` is at most 255; None for the whole range of 8 or 16 bits. Palettes and
            files of one bit have no range.
        levels: takes note of the largest value if there is no `value_range`.
        size: `(H, W)` to which the image will be shrunk; large JPEGs are then read at a fraction of theirs.

    Raises:
        InputError: a value outside of `value_range`, or an image too large for the memory.
        Exception: of any kind, for a file that cannot be read.
    """
    from PIL import Image, ImageOps

    image: Image.Image
    with open_image(path) as image:
        pixels = image.width * image.height
        if size is not None and image.format == "JPEG" and pixels > LARGE:
            image.draft(None, (FINER * max(size),) * 2)
            pixels = image.width * image.height
        if pixels > CHECKED_FROM:
            memory.require(
                f"source {one_line(path)} ({image.width}x{image.height} pixels)",
                READERS * DECODING_BYTES * pixels,
                "Make the image smaller first.",
            )
        deep = _has_deep_colours(image)
        if deep and value_range not in (None, (0, 65535)):
            raise ValueError("16-bit colours are read with 8 bits and have no value_range: convert to 8 bits")
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            return np.repeat(_from_integers(path, image, value_range, levels)[..., None], 3, axis=-1)
        if image.mode == "F":
            raise ValueError("32-bit float pixels have no known range: convert to 8 or 16 bits")
        if deep or range_for(8, value_range) is not None or (levels is not None and levels.needs(8)):
            image = _in_range(path, image, range_for(8, value_range), levels, deep)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            image = white
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _has_deep_colours(image: Any) -> bool:
    """Whether a file that is not yet decoded has several channels of 16 bits, which PIL makes 8."""
    if not image.tile or image.mode.startswith("I"):
        return False
    arguments = image.tile[0][3]
    raw = arguments if isinstance(arguments, str) else next(iter(arguments or ()), "")
    return isinstance(raw, str) and ";16" in raw


def _from_integers(
    path: str | os.PathLike[str], image: "Image.Image", value_range: ValueRange, levels: Levels | None
) -> np.ndarray:
    """Return pixels of more than 8 bits, `(h, w)`, in 8."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if value_range is not None:
        _check_extremes(path, low, high, value_range)
        return as_uint8(as_float32(values, value_range))
    if low < 0 or high > 65535:
        raise ValueError("32-bit integer pixels have no known range: pass value_range (--value-range)")
    if levels is not None:
        levels.note(16, high)
    return reduce_depth(values.astype(np.uint16))


def _in_range(
    path: str | os.PathLike[str],
    image: "Image.Image",
    value_range: ValueRange,
    levels: Levels | None,
    deep: bool,
) -> "Image.Image":
    """Return an image of 8 bits with its range made 0..255; without a range, take note of its values."""
    if image.mode not in ("L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX"):  # others are no plain integers
        return image
    pairs = np.reshape(image.getextrema(), (-1, 2))
    colours = [(name in "LRGB", pair) for name, pair in zip(image.getbands(), pairs, strict=True)]
    low = int(min(pair[0] for is_colour, pair in colours if is_colour))
    high = int(max(pair[1] for is_colour, pair in colours if is_colour))
    if value_range is None or deep:
        if levels is not None:
            levels.note(
                16 if deep else 8, 256 * high + 255 if deep and high else high
            )  # of deep ones the high byte
        return image
    _check_extremes(path, low, high, value_range)
    scaled = as_uint8(np.clip(as_float32(np.arange(256), value_range), 0, 1)).tolist()
    same = list(range(256))
    return image.point([value for is_colour, _ in colours for value in (scaled if is_colour else same)])


def _check_extremes(path: str | os.PathLike[str], low: int, high: int, value_range: Sequence[int]) -> None:
    if low < value_range[0] or high > value_range[1]:
        raise InputError(
            f"source must have integers in value_range, {tuple(value_range)}; {one_line(path)} has "
            f"{low} to {high}."
        )


def why_unreadable(error: Exception, path: str | os.PathLike[str]) -> str:
    """Return the reason why a file cannot be read, the same for all files that have it."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"
    if isinstance(error, UnidentifiedImageError):
        return _why_unidentified(path)
    if "truncated" in str(error).lower():
        return "truncated"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (EOFError, struct.error, SyntaxError, zlib.error)):
        return f"damaged ({one_line(error, REASON_LENGTH) or type(error).__name__})"
    return one_line(error, REASON_LENGTH) or type(error).__name__


def _why_unidentified(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    ending = os.path.splitext(path)[1].lower()
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: git lfs pull fetches the file"
    if start.lstrip()[:1] == b"<":
        return "HTML or XML, no image"
    if ending in (".heic", ".heif", ".hif") or start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC needs the package pillow-heif: pip install pillow-heif, or convert to JPEG"
    return f"no image, or of a format that cannot be read: convert {ending or 'it'} to JPEG, PNG or TIFF"


def _on_white(image: np.ndarray) -> np.ndarray:
    white = 255 if image.dtype == np.uint8 else 1
    alpha = image[..., 3:].astype(np.float32) / white
    return _like(image[..., :3] * alpha + white * (1 - alpha), image)


def _like(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return float `values` in the dtype and range of `image`."""
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else np.clip(values, 0, 1)
