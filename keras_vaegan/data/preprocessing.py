"""How images become what a model takes: their size, channels, background and range of values."""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from keras_vaegan.data.checks import TOLERANCE
from keras_vaegan.data.images import (
    VARYING_SIZE,
    WHITE,
    Levels,
    Resize,
    as_float32,
    as_uint8,
    on_background,
    parse_channels,
    parse_resize,
    parse_size,
    resized,
    set_channels,
)
from keras_vaegan.data.pictures import READERS, Header, Pixels, decode, look
from keras_vaegan.errors import InputError, flag, one_line, shown

FloatRange: TypeAlias = tuple[float, float]
NAMED_COLOURS = {"white": WHITE, "black": (0, 0, 0), "grey": (128, 128, 128), "gray": (128, 128, 128)}


def parse_background(text: Any) -> tuple[int, int, int]:
    """Return the color `(red, green, blue)`, 0 to 255, of a name, `#rrggbb`, `r,g,b` or three integers.

    Raises `InputError` for anything else. The names are white, black and grey.
    """
    numbers: Sequence[Any] = ()
    if isinstance(text, str):
        name = text.strip().lower()
        if name in NAMED_COLOURS:
            return NAMED_COLOURS[name]
        if re.fullmatch(r"#[0-9a-f]{6}", name):
            return int(name[1:3], 16), int(name[3:5], 16), int(name[5:], 16)
        if re.fullmatch(r"[0-9]{1,3}( *, *[0-9]{1,3}){2}", name):
            numbers = [int(part) for part in name.split(",")]
    elif isinstance(text, (tuple, list)):
        numbers = text
    whole = all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 0 <= n <= 255 for n in numbers
    )
    if len(numbers) != 3 or not whole:
        raise InputError(
            "background must be white, black, grey, #rrggbb or three integers of 0 to 255 (r,g,b); "
            f"received {shown(text)}.",
            argument="background",
            received=text,
        )
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


def check_float_range(value_range: Any, argument: str = "value_range") -> FloatRange | None:
    """Return `value_range` as a pair `(low, high)` of finite numbers, low < high, or None; else raise.

    Whole numbers become int, so that a range of integers stays one when it is stored.
    """
    if value_range is None:
        return None
    pair = value_range if isinstance(value_range, (tuple, list)) else ()
    real = all(
        isinstance(end, (int, float, np.integer, np.floating))
        and not isinstance(end, bool)
        and math.isfinite(end)
        for end in pair
    )
    if len(pair) != 2 or not real or not pair[0] < pair[1]:
        raise InputError(
            f"{argument} must be two numbers (low, high) with low < high, as (0, 4095) for 12 bits; "
            f"received {shown(value_range)}."
        )
    low, high = (int(end) if float(end).is_integer() else float(end) for end in pair)
    return low, high


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become what a model takes; presets store it as `metadata["preprocessing"]`.

    A call converts one image: its values are scaled, transparent pixels get the background, the number of
    channels is set, and the image is resized and cropped, in this order.

    Args:
        image_size: `(H, W)` that images are resized to, or an int for both; None keeps their size.
        channels: 1 to 16; None keeps those of the images, without alpha. 4 keeps the alpha of RGBA images.
        resize: how an image of another aspect ratio gets the `image_size`: `"crop"` cuts it about the center,
            `"pad"` adds a border, `"stretch"` distorts it.
        background: `(red, green, blue)`, 0 to 255, under transparent pixels and around padded images; also as
            a text that `parse_background` takes.
        value_range: `(low, high)`, the values that become 0 and 1. None is the whole range of 8 or 16 bits,
            and [0, 1] for floats.
        crop: `(H, W)` of the center that is left after resizing: what a model that is trained on random crops
            sees elsewhere. None keeps the whole.
        deep: whether images become float32 in [0, 1], for more than 8 bits; else uint8.

    Raises `InputError` for any other value.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    resize: Resize = "crop"
    background: tuple[int, int, int] = WHITE
    value_range: FloatRange | None = None
    crop: tuple[int, int] | None = None
    deep: bool = False

    def __post_init__(self) -> None:
        settle = functools.partial(object.__setattr__, self)
        settle("image_size", parse_size(self.image_size))
        settle("channels", parse_channels(self.channels))
        settle("resize", parse_resize(self.resize))
        settle("background", parse_background(self.background))
        settle("value_range", check_float_range(self.value_range))
        settle("crop", parse_size(self.crop, "crop"))
        settle("deep", flag("deep", self.deep))
        if self.crop and self.image_size and not _inside(self.crop, self.image_size):
            size, crop = ("x".join(map(str, sides)) for sides in (self.image_size, self.crop))
            raise InputError(
                f"crop must be at most the image_size, {size}; received {crop}. Give a larger image_size "
                "(--image-size), or a smaller crop.",
                argument="crop",
                received=self.crop,
            )

    def get_config(self) -> dict[str, Any]:
        """Return the settings as JSON has them: lists in place of tuples."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """Return the object of a dictionary, as of `get_config`; what it leaves out has its default.

        Raises `InputError` for unknown names and wrong values.
        """
        if not isinstance(config, Mapping):
            raise InputError(f"preprocessing must be a dictionary of settings; received {shown(config)}.")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in config if name not in known]
        if unknown:
            raise InputError(
                f"preprocessing must have settings of {', '.join(known)}; received {shown(unknown[0])}.",
                argument="preprocessing",
                allowed=known,
                received=unknown[0],
            )
        return cls(**config)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """`(H, W, C)` of the images that come out, or None where the settings leave size or channels open."""
        size = self.crop or self.image_size
        return None if size is None or self.channels is None else (*size, self.channels)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return an image in the form that the model takes.

        Args:
            image: `(h, w)` or `(h, w, c)` of integers, floats or booleans; c is 1 to 16. If `channels` is 1
                or 3, four channels are red, green, blue and alpha.

        Returns:
            `(H, W, C)` uint8, or float32 in [0, 1] if `deep`.

        Raises:
            InputError: another shape or dtype; channels that cannot be changed; integers outside of
                `value_range`; floats that are not finite, or outside of [0, 1] without a `value_range`.

        Warns of floats outside of `value_range`, which are clipped.
        """
        image = np.asarray(image)
        if image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3 or 0 in image.shape or image.shape[-1] > 16 or image.dtype.kind not in "biuf":
            raise InputError(
                "image must be numbers of the shape (h, w) or (h, w, c) with 1 to 16 channels; "
                f"received {image.dtype} {image.shape}."
            )
        alpha = image.shape[-1] == 4 and self.channels in (1, 3)
        try:
            return self.apply(Pixels(image, alpha))
        except Unsuitable as error:
            raise InputError(f"image must suit the preprocessing: it {error}.") from error

    def apply(self, pixels: Pixels, path: str | os.PathLike[str] | None = None) -> np.ndarray:
        """Return what a file holds in the form that the model takes; see the call.

        Args:
            pixels: of the file.
            path: of the file, for errors.

        Raises `InputError` for integers outside of `value_range`, and `Unsuitable` for an image that can have
        another range or number of channels than the others.
        """
        values = pixels.values
        colours = self._scaled(values[..., :-1] if pixels.alpha else values, pixels.plain, path)
        cover = self._cover(values[..., -1:]) if pixels.alpha else None
        if self.channels == 4 and colours.shape[-1] in (1, 3):
            image = self._resized_with_alpha(set_channels(colours, 3), cover)
        else:
            if cover is not None:
                colours = on_background(colours, cover, self.background)
            received = colours.shape[-1]
            if self.channels not in (None, received) and {received, self.channels} != {1, 3}:
                raise Unsuitable(f"has {received} channels, and {received} cannot become {self.channels}")
            image = resized(
                set_channels(colours, self.channels), self.image_size, self.resize, self.background
            )
        return self.cropped(image)

    def _scaled(self, values: np.ndarray, plain: bool, path: Any) -> np.ndarray:
        """Return colors in the working type: float32 in [0, 1] if `deep`, else uint8."""
        value_range = self.value_range if plain else None
        kind, size = values.dtype.kind, values.dtype.itemsize
        if kind == "b":
            values, kind, size, value_range = values.astype(np.uint8) * 255, "u", 1, None
        if kind == "f":
            return self._working(_unit_floats(values, value_range))
        if kind == "u" and size == 1 and not _concerns_8_bits(value_range):
            return self._working(values)
        if value_range is None:
            if kind != "u" or size != 2:
                raise Unsuitable(
                    f"has {8 * size}-bit integer pixels without a known range: "
                    "pass value_range (--value-range)"
                )
            value_range = (0, 65535)
        low, high = values.min(), values.max()
        if low < value_range[0] or high > value_range[1]:
            raise InputError(
                f"source must have integers in value_range, {value_range}; "
                f"{'an image' if path is None else one_line(path)} has {low} to {high}."
            )
        return self._working(_to_unit(values, value_range))

    def _working(self, values: np.ndarray) -> np.ndarray:
        return as_float32(values) if self.deep else as_uint8(values)

    def _cover(self, alpha: np.ndarray) -> np.ndarray:
        """Return alpha in the working type; it has the whole range of its own type, whatever the colors'."""
        if alpha.dtype.kind == "f":
            return self._working(np.clip(np.nan_to_num(alpha), 0, 1).astype(np.float32))
        if alpha.dtype == np.uint8:
            return self._working(alpha)
        return self._working(_to_unit(alpha, (0, int(np.iinfo(alpha.dtype).max))))

    def _resized_with_alpha(self, colours: np.ndarray, cover: np.ndarray | None) -> np.ndarray:
        """Return `(H, W, 4)`; hidden colors do not bleed into visible ones, and a border is transparent."""
        full = 1.0 if self.deep else 255
        if cover is None:
            cover = np.full((*colours.shape[:2], 1), full, colours.dtype)
        size = self.image_size
        if size is None or colours.shape[:2] == size:
            return np.concatenate([colours, cover], axis=-1)
        share = as_float32(cover)
        weighted = resized(as_float32(colours) * share, size, self.resize, (0, 0, 0))
        share = resized(share, size, self.resize, (0, 0, 0))
        under = np.asarray(self.background, np.float32) / 255
        colours = np.where(share > 0, np.clip(weighted / np.maximum(share, 1e-6), 0, 1), under)
        return self._working(np.concatenate([colours, share], axis=-1).astype(np.float32))

    def cropped(self, images: np.ndarray) -> np.ndarray:
        """Return the center of images `(..., H, W, C)` that `crop` leaves."""
        if self.crop is None:
            return images
        (height, width), (rows, columns) = images.shape[-3:-1], self.crop
        if not _inside(self.crop, (height, width)):
            raise Unsuitable(f"has {height}x{width} pixels, fewer than the crop of {rows}x{columns}")
        top, left = (height - rows) // 2, (width - columns) // 2
        return images[..., top : top + rows, left : left + columns, :]


class Unsuitable(ValueError):
    """An image that is whole, and differs from what the preprocessing expects."""


def _inside(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner[0] <= outer[0] and inner[1] <= outer[1]


def _concerns_8_bits(value_range: FloatRange | None) -> bool:
    """Whether a range can be meant for integers of 8 bits; others keep 0 to 255."""
    return (
        value_range is not None and value_range[1] <= 255 and all(isinstance(end, int) for end in value_range)
    )


def _to_unit(values: np.ndarray, value_range: FloatRange) -> np.ndarray:
    """Return `value_range` as 0 to 1 in float32; computed in float64 where float32 would round."""
    low, high = value_range
    wide = values.dtype.itemsize > 2
    made = np.subtract(values, low, dtype=np.float64 if wide else np.float32)
    made /= high - low
    return made.astype(np.float32, copy=False)


def _unit_floats(values: np.ndarray, value_range: FloatRange | None) -> np.ndarray:
    """Return floats as float32 in [0, 1]."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Unsuitable("has NaN or infinite values")
    made = _to_unit(values, value_range or (0, 1))
    if made.min() >= -TOLERANCE and made.max() <= 1 + TOLERANCE:
        return np.clip(made, 0, 1)
    if value_range is None:
        raise Unsuitable(
            f"has float pixels from {low:g} to {high:g}, outside of [0, 1]: pass value_range (--value-range)"
        )
    # Without numbers, so that it is shown once for all images.
    warnings.warn(
        f"images have values outside of value_range, {value_range}, which are clipped.", stacklevel=4
    )
    return np.clip(made, 0, 1)


# ---- what is in files ----


@dataclasses.dataclass
class Facts:
    """What image files hold, for people and for a `Preprocessing`.

    Attributes:
        num_images: of the files that can be opened.
        sizes: `(h, w)` of all images if it is the same, else of the smallest, median and largest area.
        channels: of most images, without alpha; 3 if any image is in color.
        bits: 8, 16 or 32, of integers, or "float": the deepest that there are.
        alpha: number of images with alpha.
        measured: `(low, high)` of all float images, if a range was measured.
        notes: what people should know.
        levels: what `Levels.check` warns of.
    """

    num_images: int = 0
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    channels: int | None = None
    bits: Literal[8, 16, 32, "float"] = 8
    alpha: int = 0
    measured: FloatRange | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    levels: Levels = dataclasses.field(default_factory=Levels, repr=False, compare=False)

    @property
    def common_size(self) -> tuple[int, int] | None:
        """`(h, w)` of all images, or None if they differ."""
        return self.sizes[0] if len(self.sizes) == 1 else None


def probe(
    paths: Sequence[str | os.PathLike[str]],
    preprocessing: Preprocessing,
    measure: bool = True,
    headers: Sequence[Header | None] | None = None,
) -> tuple[Facts, Preprocessing]:
    """Look at image files once, and complete a preprocessing by what they are.

    The headers of all files are read. Pixels are decoded only where headers do not tell: until one image is
    in color, until one uses the range of its integers, and of all float images without a range.

    Args:
        paths: of the files. Those that cannot be opened are left for the reading to report.
        preprocessing: with None where the files decide: `image_size` becomes the common size or 64x64,
            `channels` that of most images, `value_range` the measured range of floats outside of [0, 1] if
            all files are of floats. `deep` becomes True if any file has more than 8 bits.
        measure: whether floats may get a measured range; those of a trained model must have that of training.
        headers: of the files, None for one that cannot be opened; read from the files if None.

    Returns:
        `(facts, preprocessing)`.

    Raises:
        InputError: an image that is too large for the memory.
    """
    # One thread: several, which read a few bytes each, would wait for each other's turn.
    known = map(_try_look, paths) if headers is None else headers
    opened = [
        (path if isinstance(path, Path) else Path(path), header)
        for path, header in zip(paths, known, strict=True)
        if header is not None
    ]
    facts = Facts(num_images=len(opened))
    found = [header for _, header in opened]
    facts.sizes = _sizes([header.size for header in found])
    facts.alpha = sum(header.alpha for header in found)
    kinds = {header.bits for header in found}
    facts.bits = "float" if "float" in kinds else max((bits for bits in kinds if bits != "float"), default=8)
    facts.levels.cut = [path for path, header in opened if header.frames]
    size = preprocessing.image_size
    if size is None:
        size = facts.common_size or _at_least(VARYING_SIZE, preprocessing.crop)
    if measure and preprocessing.value_range is None and kinds == {"float"}:
        facts.measured = _measure([path for path, header in opened if header.bits == "float"])
    value_range = preprocessing.value_range
    if facts.measured is not None and (facts.measured[0] < 0 or facts.measured[1] > 1):
        value_range = facts.measured
        facts.notes.append(f"values {value_range[0]:g} to {value_range[1]:g} (measured) become 0 to 1")
    coloured = _look_closer(opened, preprocessing, facts.levels, size)
    facts.channels = _most_channels([header.channels for header in found], coloured)
    made = dataclasses.replace(
        preprocessing,
        image_size=size,
        channels=preprocessing.channels or facts.channels,
        value_range=value_range,
        deep=preprocessing.deep or facts.bits != 8,
    )
    facts.notes += _notes(facts, made)
    return facts, made


def _notes(facts: Facts, preprocessing: Preprocessing) -> Iterator[str]:
    """What happens to images that differ from each other, for people."""
    if len(facts.sizes) > 1 and preprocessing.image_size is not None:
        small, middle, large, made = (
            f"{height}x{width}" for height, width in (*facts.sizes, preprocessing.image_size)
        )
        yield f"sizes {small} to {large} (median {middle}) become {made} ({preprocessing.resize})"
    if facts.alpha:
        kept = preprocessing.channels == 4 and facts.channels in (1, 3)
        what = "kept as the fourth channel" if kept else "laid on the background"
        yield f"alpha of {facts.alpha:,} {'image' if facts.alpha == 1 else 'images'} is {what}"


def _try_look(path: str | os.PathLike[str]) -> Header | None:
    try:
        return look(path)
    except Exception:  # reported when the file is read
        return None


def _try_decode(path: Path, size: tuple[int, int] | None = None) -> Pixels | None:
    try:
        return decode(path, size)
    except (InputError, MemoryError):  # about more than this file
        raise
    except Exception:  # reported when the file is read
        return None


def _sizes(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    if len(set(sizes)) <= 1:
        return list(sizes[:1])
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _at_least(size: tuple[int, int], crop: tuple[int, int] | None) -> tuple[int, int]:
    return size if crop is None else (max(size[0], crop[0]), max(size[1], crop[1]))


def _measure(paths: Sequence[Path]) -> FloatRange | None:
    """Return the smallest and largest value of float images, alpha left out; None if none can be read."""

    def extremes(path: Path) -> FloatRange | None:
        pixels = _try_decode(path)
        if pixels is None:
            return None
        values = pixels.values[..., :-1] if pixels.alpha else pixels.values
        low, high = float(values.min()), float(values.max())
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    with concurrent.futures.ThreadPoolExecutor(max_workers=READERS) as pool:
        found = [pair for pair in pool.map(extremes, paths) if pair is not None]
    if not found:
        return None
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return (low, high) if low < high else (low, low + 1)  # one value alone: black


def _look_closer(
    opened: Sequence[tuple[Path, Header]],
    preprocessing: Preprocessing,
    levels: Levels,
    size: tuple[int, int],
) -> bool:
    """Return whether any image is in color, and take note of the largest values; decode as few as will do.

    If the channels are given, images that are stored in color count as such.
    """
    background = len(set(preprocessing.background)) > 1 and any(header.alpha for _, header in opened)
    coloured = background or (preprocessing.channels is not None and any(h.channels == 3 for _, h in opened))

    def depth(header: Header) -> int | None:
        """The bits of integers whose range is to be told by how bright they are."""
        if header.bits == "float" or not header.plain:
            return None
        bits = 8 if header.bits == 8 else 16
        given = preprocessing.value_range
        return bits if given is None or (bits == 8 and not _concerns_8_bits(given)) else None

    def is_open(item: tuple[Path, Header]) -> bool:
        header, bits = item[1], depth(item[1])
        return (header.channels == 3 and not coloured) or (bits is not None and levels.needs(bits))

    questions = filter(is_open, opened)
    with concurrent.futures.ThreadPoolExecutor(max_workers=READERS) as pool:
        while asked := list(itertools.islice(questions, READERS)):
            paths = [path for path, _ in asked]
            for (_, header), pixels in zip(
                asked, pool.map(lambda p: _try_decode(p, size), paths), strict=True
            ):
                if pixels is None:
                    continue
                values = pixels.values[..., :-1] if pixels.alpha else pixels.values
                if depth(header) is not None and values.dtype.kind == "u":
                    levels.note(8 * values.dtype.itemsize, values.max())
                if header.channels == 3:
                    coloured = coloured or bool((values != values[..., :1]).any())
    return coloured


def _most_channels(channels: Sequence[int], coloured: bool) -> int | None:
    """Return the number of channels that most images have, grey and color taken together."""
    counts = collections.Counter(1 if number == 3 else number for number in channels)
    if not counts:
        return None
    most = max(counts, key=lambda number: (counts[number], -number))
    return 3 if most == 1 and coloured else most
