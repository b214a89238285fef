"""Data as a model sees them that is trained on random crops: the centers of the images."""

import dataclasses
from collections.abc import Sequence

from keras_vaegan.data.images import parse_size
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.sources import ImageData
from keras_vaegan.data.views import centre_crop
from keras_vaegan.errors import InputError


def center_cropped(data: ImageData, crop: int | Sequence[int] | None) -> ImageData:
    """The same data with the centers of their images, `(H, W)`; the data themselves if `crop` is None.

    Raises `InputError` if the images are smaller.
    """
    size = parse_size(crop, "random_crop")
    if size is None or size == data.image_shape[:2]:
        return data
    height, width = data.image_shape[:2]
    if size[0] > height or size[1] > width:
        raise InputError(
            f"random_crop must be at most the size of the images, {height}x{width}; "
            f"received {size[0]}x{size[1]}.",
            argument="random_crop",
            received=size,
        )
    known = data.preprocessing or Preprocessing((height, width), data.image_shape[2])
    _, facts = data.__getnewargs_ex__()
    facts["preprocessing"] = dataclasses.replace(known, crop=size)
    return ImageData(*((centre_crop(x, size), y) for x, y in data), **facts)
