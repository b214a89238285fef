"""Image files: recognized by their content, read in their own depth, and why one cannot be read."""

import contextlib
import functools
import importlib
import io
import logging
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.images import MOST_CHANNELS
from keras_vaegan.errors import one_line

if TYPE_CHECKING:
    import tifffile
    from PIL import Image

    from keras_vaegan.data.preprocessing import Preprocessing

# What PIL reads by itself and recognizes by a signature. Others have none, or run a program (EPS).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "QOI", "DIB")
RAW_ENDINGS = set(  # cameras' own formats: TIFF to PIL, which reads the small preview in them
    ".dng .nef .nrw .cr2 .cr3 .arw .sr2 .orf .rw2 .pef .raf .srw .3fr .x3f".split()
)
LARGE = 4_000_000  # pixels from which a JPEG is decoded at a fraction of its size, if more is not needed
FINER = 4  # times the target's size that such a JPEG keeps
DECODING_BYTES = 24  # of memory for each pixel while an image is decoded
CHECKED_FROM = 16_000_000  # pixels from which the memory for that is looked at
READERS = max(2, min(8, os.cpu_count() or 2))  # images that are decoded at a time
REASON_LENGTH = 120  # characters of a foreign error's text


GREY = ("1", "L", "LA", "La")  # PIL's modes without color, besides those of integers
PLAIN = ("L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX")  # those of plain numbers of 8 bits
NPY = b"\x93NUMPY"
COLOURS = {0: 1, 1: 1, 2: 3}  # channels without extra ones, by TIFF's photometric: grey, grey, RGB
HEAD = 4096  # bytes of a file in which a plain PNG or JPEG says what it is
FRAMES_OF_JPEG = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame's header
TEXT = {*b"\t\n\r", *range(32, 127)}  # bytes of plain text
CUT = ("truncated", "mmap length", "failed to read")  # how libraries say that a file ends too early
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how TIFF and BigTIFF files begin


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


class Header(NamedTuple):
    """What an image file says of itself before it is decoded.

    Attributes:
        size: `(h, w)` as the image is shown.
        channels: without alpha; 3 for what may be color.
        alpha: whether pixels can be transparent.
        bits: 8, 16 or 32 of integers, or "float".
        plain: whether values are numbers that can have a range; palettes and files of one bit have none.
        frames: whether more frames or pages follow the first.
    """

    size: tuple[int, int]
    channels: int
    alpha: bool
    bits: Literal[8, 16, 32, "float"]
    plain: bool = True
    frames: bool = False


class Pixels(NamedTuple):
    """A decoded image file.

    Attributes:
        values: `(h, w, c)`, in the type of the file.
        alpha: whether the last channel is alpha, in the whole range of its type.
        plain: as of `Header`.
    """

    values: np.ndarray
    alpha: bool
    plain: bool = True


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as an image does, whatever its name."""
    try:
        look(path)
        return True
    except Exception as error:  # what a broken file raises differs from codec to codec
        from PIL import Image

        return isinstance(error, Image.DecompressionBombError)


def is_other_array(path: str | os.PathLike[str]) -> bool:
    """Whether an `.npy` file is whole as far as its header tells, and no image: labels, or many images."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # reported when the file is read
        return False
    return array.ndim not in (2, 3) or array.dtype.kind not in "biuf"


def look(path: str | os.PathLike[str]) -> Header:
    """Return the header of an image file. Raises exceptions of any kind if it cannot be read."""
    with open(path, "rb", buffering=0) as file:
        header = header_of(file.read(HEAD))
    if header is not None:
        return header
    with _opened(path) as found:
        if isinstance(found, np.ndarray):
            channels = 1 if found.ndim == 2 else found.shape[2]
            return Header(found.shape[:2], channels, False, _bits_of(found.dtype))
        if isinstance(found, _Tiff):
            return found.header
        alpha, deep = found.has_transparency_data, _has_deep_colours(found)
        grey = found.mode in GREY or found.mode.startswith(("I", "F")) or _raw_mode(found).startswith("LA;")
        bits: Literal[8, 16, 32, "float"] = 16 if deep or found.mode.startswith("I;16") else 8
        if found.mode == "I":
            bits = 16 if found.format == "PNG" else 32
        elif found.mode == "F":
            bits = "float"
        return Header(
            _shown_size(found),
            1 if grey else 3,
            alpha,
            bits,
            found.mode in PLAIN or found.mode.startswith(("I", "F")),
            _has_several_frames(found),
        )


def read_image(path: str | os.PathLike[str], preprocessing: "Preprocessing") -> np.ndarray:
    """Return the first frame of an image file in the form that a model takes.

    The EXIF orientation is applied, and then the preprocessing.

    Args:
        path: of the file.
        preprocessing: its `image_size`, channels and range must be known; see `preprocessing.probe`.

    Returns:
        `(H, W, C)` uint8, or float32 in [0, 1] if `preprocessing.deep`.

    Raises:
        InputError: integers outside of `value_range`, or an image too large for the memory.
        Exception: of any kind, for a file that cannot be read; `why_unreadable` says why.
    """
    return preprocessing.apply(decode(path, preprocessing.image_size), path)


def decode(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Pixels:
    """Return the pixels of the first frame of an image file, oriented as they are shown.

    Args:
        path: of the file.
        size: `(H, W)` to which the image will be shrunk; large JPEGs are then read at a fraction of theirs.

    Raises `InputError` for an image too large for the memory, and exceptions of any kind for a file that
    cannot be read.
    """
    with _opened(path) as found:
        if isinstance(found, np.ndarray):
            height, width, channels = (*found.shape, 1)[:3]
            _require(path, height, width, DECODING_BYTES * channels)
            return Pixels(np.array(found).reshape(height, width, channels), False)
        if isinstance(found, _Tiff):
            header = found.header
            _require(path, *header.size, DECODING_BYTES * header.channels)
            return Pixels(found.read(), header.alpha)
        if size is not None and found.format == "JPEG" and found.width * found.height > LARGE:
            found.draft(None, (FINER * max(size),) * 2)
        _require(path, found.height, found.width, DECODING_BYTES)
        if _has_deep_colours(found):
            return _deep_colours(path, found)
        return _from_pil(found)


def _require(path: str | os.PathLike[str], height: int, width: int, bytes_per_pixel: int) -> None:
    """Raise `InputError` if there is too little memory to decode a large image."""
    if height * width > CHECKED_FROM:
        memory.require(
            f"source {one_line(path)} ({width}x{height} pixels)",
            READERS * bytes_per_pixel * height * width,
            "Make the image smaller first.",
        )


# ---- opening ----


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield a file before it is decoded: a memory-mapped array, a `_Tiff`, or an image of PIL."""
    from PIL import UnidentifiedImageError

    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(NPY):
        yield _mapped(path)
        return
    if not start.startswith(TIFFS) or os.path.splitext(path)[1].lower() in RAW_ENDINGS:
        with open_image(path) as image:
            yield image
        return
    with contextlib.ExitStack() as stack:
        try:
            tiff: Any = stack.enter_context(open_image(path))
            deep = _has_deep_colours(tiff) and tiff.tag_v2.get(262, 1) in COLOURS
            of_pil = not deep and not _has_other_channels(tiff)
        except UnidentifiedImageError:  # floats of 64 bits, five channels, ...
            of_pil = False
        yield tiff if of_pil else stack.enter_context(_Tiff.opened(path))


def header_of(start: bytes) -> Header | None:
    """Return the header of a plain PNG or JPEG by its first `HEAD` bytes; None for `look` to look closer.

    It is many times faster than PIL. Raises PIL's error for a file of more pixels than PIL opens.
    """
    header = None
    with contextlib.suppress(struct.error, KeyError):  # cut short, or of a kind that is none
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png_header(start)
        elif start.startswith(b"\xff\xd8\xff"):
            header = _jpeg_header(start)
    if header is not None:
        _check_pixels(*header.size)
    return header


def _png_header(start: bytes) -> Header | None:
    length, name, width, height, depth, kind = struct.unpack_from(">I4sIIBB", start, 8)
    if name != b"IHDR" or not width or not height:
        return None
    place = 20 + length
    while name != b"IDAT":
        length, name = struct.unpack_from(">I4s", start, place)
        if name in (b"tRNS", b"eXIf", b"acTL"):  # alpha, orientation, animation
            return None
        place += 12 + length
    channels, alpha = {0: (1, False), 2: (3, False), 3: (3, False), 4: (1, True), 6: (3, True)}[kind]
    return Header((height, width), channels, alpha, 16 if depth == 16 else 8, kind != 3 and depth > 1)


def _jpeg_header(start: bytes) -> Header | None:
    place = 2
    while True:
        sign, marker, length = struct.unpack_from(">BBH", start, place)
        # EXIF may turn the image; fill bytes, and markers without a length, are rare in a header.
        if sign != 0xFF or marker in (0x01, 0xE1, 0xFF) or 0xD0 <= marker <= 0xDA:
            return None
        if marker in FRAMES_OF_JPEG:
            depth, height, width, channels = struct.unpack_from(">BHHB", start, place + 4)
            if depth != 8 or channels not in (1, 3, 4) or not width or not height:
                return None
            return Header((height, width), 1 if channels == 1 else 3, False, 8, channels != 4)
        place += 2 + length


def _mapped(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of an `.npy` file, which is read when it is used."""
    array = np.lib.format.open_memmap(path, mode="r")
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(
            f"an array of {array.dtype} {array.shape}, not (h, w) or (h, w, channels) of numbers"
        )
    if array.ndim == 3 and array.shape[2] > MOST_CHANNELS:
        raise ValueError(f"an array {array.shape}, with more than {MOST_CHANNELS} channels in its last axis")
    _check_pixels(*array.shape[:2])
    return array


def _check_pixels(height: int, width: int) -> None:
    """Raise PIL's error for a file of more pixels than PIL opens."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{height}x{width} pixels")


def _bits_of(dtype: np.dtype) -> Literal[8, 16, 32, "float"]:
    if dtype.kind == "f":
        return "float"
    return {1: 8, 2: 16}.get(dtype.itemsize, 32)  # type: ignore[return-value]


# ---- files that PIL reads ----


def _shown_size(image: Any) -> tuple[int, int]:
    """Return `(h, w)` of an image of PIL after its orientation is applied."""
    from PIL import ExifTags

    if image.format == "TIFF":  # newer versions of PIL have turned its size already
        width, height = (
            image.tag_v2.get(tag, side) for tag, side in zip((256, 257), image.size, strict=True)
        )
    else:
        width, height = image.size
    if width == height:
        return height, width
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (width, height) if turned else (height, width)


def _has_several_frames(image: Any) -> bool:
    """Whether an image file is an animation or has several pages."""
    if image.format not in ("TIFF", "GIF", "WEBP", "PNG"):  # a photograph in two sizes is no such case
        return False
    with contextlib.suppress(Exception):  # reported when the first frame is read
        return image.n_frames > 1 if image.format == "TIFF" else image.is_animated
    return False


def _raw_mode(image: Any) -> str:
    """How the pixels of a file that is not yet decoded are stored, in PIL's words, as `RGB;16B`."""
    arguments = image.tile[0][3] if image.tile else ""
    raw = arguments if isinstance(arguments, str) else next(iter(arguments or ()), "")
    return raw if isinstance(raw, str) else ""


def _has_deep_colours(image: Any) -> bool:
    """Whether a file that is not yet decoded has several channels of 16 bits, which PIL makes 8."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 1)
        return max((bits,) if isinstance(bits, int) else bits) > 8
    return ";16" in _raw_mode(image)


def _from_pil(image: Any) -> Pixels:
    """Decode an image of PIL: integers of 8 bits and more, or floats."""
    from PIL import ImageOps

    inverted = (
        image.format == "TIFF" and image.tag_v2.get(262) == 0
    )  # white is 0, which PIL undoes for 8 bits
    plain, alpha = image.mode in PLAIN, image.has_transparency_data
    hidden = image.info.get("transparency")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.dtype.itemsize > 2 and values.min() >= 0 and values.max() <= 65535:
            values = values.astype(np.uint16)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if inverted and values.dtype == np.uint16:
            values = 65535 - values
        return _with_hidden(values[..., None], hidden)
    if image.mode == "F":
        return Pixels(np.asarray(image)[..., None], False)
    grey = image.mode in GREY
    if alpha:
        wanted = "LA" if grey else "RGBA"
    else:
        wanted = "L" if grey else "RGB"
    values = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return Pixels(values if values.ndim == 3 else values[..., None], alpha, plain)


def _with_hidden(values: np.ndarray, hidden: Any) -> Pixels:
    """Return pixels of 16 bits with alpha if one of their values, or colors, stands for transparency."""
    if not isinstance(hidden, (int, tuple)) or values.dtype != np.uint16:
        return Pixels(values, False)
    alpha = np.where((values == np.asarray(hidden)).all(axis=-1, keepdims=True), 0, 65535).astype(np.uint16)
    return Pixels(np.concatenate([values, alpha], axis=-1), True)


def _deep_colours(path: str | os.PathLike[str], image: Any) -> Pixels:
    """Decode several channels of 16 bits by PIL, which keeps 8 of them: first the upper, then the lower."""
    raw, mode = _raw_mode(image), image.mode
    hidden = image.info.get("transparency")
    if raw.startswith("LA") and image.format == "PNG":
        return Pixels(_gray_and_alpha(path), True)
    if raw[:-1] not in ("RGB;16", "RGBA;16"):
        return _from_pil(image)
    first = _decoded_as(image, raw[:-1] + "B").astype(np.uint16)  # the first byte of each two
    with open_image(path) as again:
        second = _decoded_as(again, raw[:-1] + "L").astype(np.uint16)
    big = raw[-1] == "B" or (raw[-1] == "N" and sys.byteorder == "big")
    values = first * 256 + second if big else second * 256 + first
    return Pixels(values, True) if mode == "RGBA" else _with_hidden(values, hidden)


def _gray_and_alpha(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a PNG of gray and alpha in 16 bits, `(h, w, 2)`.

    A pixel has as many bytes as one of four channels of 8 bits, so PNG stores both alike: the header is made
    to say the latter.
    """
    from PIL import Image, ImageOps

    with open(path, "rb") as file:
        content = file.read()
    header = content[12:24] + bytes([8, 6]) + content[26:29]  # IHDR, with 8 bits and color type 6
    changed = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    with Image.open(io.BytesIO(changed), formats=["PNG"]) as image:
        ImageOps.exif_transpose(image, in_place=True)
        pairs = np.asarray(image).astype(np.uint16)
    return pairs[..., 0::2] * 256 + pairs[..., 1::2]


def _decoded_as(image: Any, raw: str) -> np.ndarray:
    """Decode a file as if its pixels were stored in another way."""
    from PIL import ImageOps

    changed: list[Any] = []
    for tile in image.tile:
        given = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
        changed.append(tile._replace(args=given) if hasattr(tile, "_replace") else (*tile[:3], given))
    image.tile = changed
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


# ---- TIFF files that PIL does not read, or not in full ----


def _has_other_channels(image: Any) -> bool:
    """Whether a TIFF file that PIL has opened holds channels that are neither color nor alpha, or signs."""
    samples, photometric = image.tag_v2.get(277, 1), image.tag_v2.get(262, 1)
    extra = samples - COLOURS.get(photometric, samples)
    kinds = image.tag_v2.get(338, ())
    if image.mode == "L" and 2 in np.atleast_1d(image.tag_v2.get(339, 1)):
        return True
    return extra > 1 or (
        extra == 1 and (kinds if isinstance(kinds, int) else next(iter(kinds), 0)) not in (1, 2)
    )


class _Tiff:
    """The first page of a TIFF file, as tifffile reads it."""

    def __init__(self, file: "tifffile.TiffFile", path: str | os.PathLike[str]) -> None:
        self.page, self.path = file.pages[0], path
        page: Any = self.page
        if page.dtype is None or page.dtype.kind not in "biuf":
            raise ValueError(f"pixels of {page.dtype}, which are no numbers")
        if page.imagedepth > 1 or page.samplesperpixel > MOST_CHANNELS:
            raise ValueError(f"an image {page.shape}, with more than {MOST_CHANNELS} channels")
        if page.axes not in ("YX", "YXS", "SYX") or 0 in page.shape:
            raise ValueError(f"TIFF pixels of the shape {page.shape}, which are no image")
        _check_pixels(page.imagelength, page.imagewidth)
        colours = COLOURS.get(int(page.photometric))
        if colours is None:
            raise ValueError(f"TIFF pixels of the kind {page.photometric.name} in {page.dtype}")
        extra = tuple(map(int, page.extrasamples))
        self.alpha = page.samplesperpixel == colours + 1 and extra in ((1,), (2,))
        self.premultiplied = self.alpha and extra == (1,)
        turned = page.tags.get(274)
        self.orientation = int(turned.value) if turned is not None else 1
        size = (page.imagelength, page.imagewidth)
        self.header = Header(
            size[::-1] if self.orientation >= 5 else size,
            page.samplesperpixel - self.alpha,
            self.alpha,
            _bits_of(page.dtype),
            True,
            len(file.pages) > 1,
        )

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: str | os.PathLike[str]) -> Iterator["_Tiff"]:
        """Open a file, and close it at the end."""
        import tifffile

        logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs what is wrong with a file
        with tifffile.TiffFile(path) as file:
            yield cls(file, path)

    def read(self) -> np.ndarray:
        """Return the pixels `(h, w, c)`, oriented."""
        page: Any = self.page
        try:
            values = page.asarray()
        except Exception as error:
            if "imagecodecs" not in str(error):
                raise
            values = self._by_pil(error)
        else:
            values = values.reshape(page.shape)
            if page.axes == "SYX":
                values = np.moveaxis(values, 0, -1)
            values = _turned(values[..., None] if page.axes == "YX" else values, self.orientation)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if int(page.photometric) == 0 and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        return _unmultiplied(values) if self.premultiplied else values

    def _by_pil(self, error: Exception) -> np.ndarray:
        """Decode a compression that tifffile lacks without imagecodecs and PIL has, as LZW."""
        with contextlib.suppress(Exception), open_image(self.path) as image:
            if not _has_other_channels(image) and _raw_mode(image)[:-1] in ("RGB;16", "RGBA;16"):
                return _deep_colours(self.path, image).values
        name = getattr(self.page.compression, "name", "")
        raise ValueError(
            f"its compression {name} needs imagecodecs: pip install imagecodecs, or save it with zlib"
        ) from error


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image as it is shown, by the EXIF orientation 1 to 8."""
    if orientation in (3, 4, 7):
        image = image[::-1]
    if orientation in (2, 3, 7):
        image = image[:, ::-1]
    if orientation in (5, 7):
        image = np.swapaxes(image, 0, 1)
    if orientation in (6, 8):
        image = np.rot90(image, -1 if orientation == 6 else 1)
    return image


def _unmultiplied(values: np.ndarray) -> np.ndarray:
    """Return colors that the file stores multiplied by alpha as they are without."""
    full = 1.0 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    share = values[..., -1:].astype(np.float64) / full
    colours = np.divide(values[..., :-1], share, out=np.zeros(values[..., :-1].shape), where=share > 0)
    colours = np.clip(colours, 0, full)
    whole = np.rint(colours) if values.dtype.kind in "iu" else colours
    return np.concatenate([whole.astype(values.dtype), values[..., -1:]], axis=-1)


def why_unreadable(error: Exception, path: str | os.PathLike[str]) -> str:
    """Return the reason why a file cannot be read, the same for all files that have it."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"
    if isinstance(error, UnidentifiedImageError):
        return _why_unidentified(path)
    if any(word in str(error).lower() for word in CUT):
        return "truncated"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (EOFError, struct.error, SyntaxError, zlib.error)) or "decoder" in str(error):
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
    if all(byte in TEXT for byte in start):
        return "text, no image"
    if ending in (".heic", ".heif", ".hif") or start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC needs the package pillow-heif: pip install pillow-heif, or convert to JPEG"
    return f"no image, or of a format that cannot be read: convert {ending or 'it'} to JPEG, PNG or TIFF"
