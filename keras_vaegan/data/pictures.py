"""Image files: recognized by their content, read in 8 bits, and the reason why one cannot be read."""

import contextlib
import functools
import importlib
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import ValueRange
from keras_vaegan.data.images import Levels, as_float32, as_uint8, range_for, reduce_depth
from keras_vaegan.errors import InputError, one_line

if TYPE_CHECKING:
    from PIL import Image

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
REASON_LENGTH = 120  # characters of a foreign error's text


@functools.cache
def _formats() -> tuple[str, ...]:
    """Names of the image formats that are read: those of `FORMATS`, and those that other packages add."""
    from PIL import Image

    try:  # with this package HEIC is read, too
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        pass
    Image.init()
    # PIL logs what is wrong with a damaged file; without a handler Python prints that among our lines.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
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
        levels: takes note of the largest value if there is no `value_range`, and of a file with more frames.
        size: `(H, W)` to which the image will be shrunk; large JPEGs are then read at a fraction of theirs.

    Raises:
        InputError: a value outside of `value_range`, or an image too large for the memory.
        Exception: of any kind, for a file that cannot be read.
    """
    from PIL import Image, ImageOps

    image: Image.Image
    with open_image(path) as image:
        if levels is not None and _has_several_frames(image):
            levels.cut.append(path)
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


def _has_several_frames(image: Any) -> bool:
    """Whether an image file is an animation or has several pages."""
    if image.format not in ("TIFF", "GIF", "WEBP", "PNG"):  # a photograph in two sizes is no such case
        return False
    with contextlib.suppress(Exception):  # reported when the first frame is read
        return image.n_frames > 1 if image.format == "TIFF" else image.is_animated
    return False


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
