"""The embedded digits: real data that needs no network."""

import numpy as np

from keras_vaegan.data.images import fit_all
from keras_vaegan.data.splits import Splits, complete_splits

DIGITS_SIZE = (28, 28)


def read_digits(
    size: tuple[int, int] | None, channels: int | None, seed: int
) -> tuple[Splits, list[str] | None]:
    """Return the splits and class names of scikit-learn's 1,797 handwritten digits.

    8x8 pixels of 17 grey levels (0..16), scaled to `size` or 28x28; classes in equal proportions.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    images = fit_all(images, size or DIGITS_SIZE, channels)
    splits = complete_splits((images, digits.target), None, None, seed)
    return splits, [str(name) for name in digits.target_names]
