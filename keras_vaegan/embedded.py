"""PNG files as images inside a page, of bounded size.

Nothing here imports a backend.
"""

import base64
import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from keras_vaegan.memory import require

if TYPE_CHECKING:
    import PIL.Image

MOST_PIXELS = 80_000_000  # of a file
LARGE = 16_000_000  # pixels from which an image is made smaller at once
PIXEL_BYTES = 16  # of memory for each of them
MOST_WIDTH = 1200  # and height, of an image that becomes a JPEG


class Embedded(NamedTuple):
    """An image inside a page: its `data:` address and its size in pixels."""

    source: Markup
    width: int
    height: int


@contextlib.contextmanager
def opened(path: pathlib.Path, argument: str) -> "Iterator[PIL.Image.Image]":
    """Yield the image of a PNG file, whose size is checked before it is decoded.

    Args:
        path: of the file.
        argument: what the user gave to name the file, for the message.
    """
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, more than {MOST_PIXELS:,}")
        if pixels > LARGE:
            require(f"{argument} {path}", pixels * PIXEL_BYTES, "Delete the image.")
        image.load()
        yield image


def embed(image: "PIL.Image.Image", most_bytes: int) -> Embedded:
    """Encode an image as a PNG, or as a JPEG if the PNG is larger than `most_bytes`."""
    from PIL import Image

    whole = image.size
    if image.width * image.height > LARGE:  # it would become a JPEG in any case, and that takes long
        image = image.copy()
        image.thumbnail((MOST_WIDTH, MOST_WIDTH))
    if image.mode not in ("L", "RGB"):
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(white, opaque).convert("RGB")
    content, kind = io.BytesIO(), "png"
    image.save(content, "PNG")
    if len(content.getvalue()) > most_bytes or image.size != whole:
        content, kind = io.BytesIO(), "jpeg"
        image.thumbnail((MOST_WIDTH, MOST_WIDTH))
        image.save(content, "JPEG", quality=82)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return Embedded(Markup(f"data:image/{kind};base64,{encoded}"), *image.size)
