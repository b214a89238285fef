"""The embedded digits: real data that needs no network."""

import numpy as np

from keras_vaegan.data.checks import ValueRange
from keras_vaegan.data.images import WHITE, Colour, Resize, fit_all, require_for
from keras_vaegan.data.splits import Splits, complete_splits

DIGITS_SIZE = (28, 28)
FLOAT_BYTES = 12  # of memory for each number: floats that are scaled, stacked and split


def read_digits(
    size: tuple[int, int] | None,
    channels: int | None,
    seed: int,
    bytes_per_value: int = 5,
    resize: Resize = "crop",
    background: Colour = WHITE,
    value_range: ValueRange = None,
) -> tuple[Splits, list[str] | None]:
    """Return the splits and class names of scikit-learn's 1,797 handwritten digits.

    8x8 pixels of 17 grey levels (0..16), scaled to `size` or 28x28; classes in equal proportions. Their
    `value_range` is known, whatever is given.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    shape = (len(digits.images), *(size or DIGITS_SIZE), channels or 1)
    require_for(shape, max(bytes_per_value, FLOAT_BYTES), "source digits")
    images = (digits.images / 16).astype(np.float32)[..., None]
    images = fit_all(images, size or DIGITS_SIZE, channels, resize, background)
    splits = complete_splits((images, digits.target), None, None, seed)
    return splits, [str(name) for name in digits.target_names]
