"""The embedded digits: real data that needs no network."""

import hashlib
import importlib.resources

import numpy as np

from keras_vaegan.data.checks import ValueRange
from keras_vaegan.data.images import WHITE, Colour, Resize, fit_all, require_for
from keras_vaegan.data.splits import Splits, complete_splits
from keras_vaegan.errors import InputError
from keras_vaegan.files import reading

DIGITS_SIZE = (28, 28)
SMALL_MNIST = "mnist_small_e52fd3927331.npz"  # with the first digits of its content's hash
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


def read_mnist_small(
    size: tuple[int, int] | None,
    channels: int | None,
    bytes_per_value: int = 5,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> tuple[Splits, None]:
    """Return the splits of 12,000 images of MNIST: 10,000, 1,000 and 1,000, all classes equally often.

    Their 28x28 pixels of 8 bits are scaled to `size` if it is another. The classes have no names. The images
    are under CC BY-SA 3.0; see the README beside them.
    """
    file = importlib.resources.files("keras_vaegan.data") / "embedded" / SMALL_MNIST
    with reading("mnist_small", "source"), file.open("rb") as content, np.load(content) as archive:
        arrays = {name: archive[name] for name in archive.files}
    found = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    if not SMALL_MNIST.removesuffix(".npz").endswith(found[:12]):
        raise InputError(f"source must be whole; {SMALL_MNIST} has the hash {found[:12]}. Reinstall it.")
    count = sum(len(array) for name, array in arrays.items() if name.startswith("x"))
    shape = (count, *(size or DIGITS_SIZE), channels or 1)
    require_for(shape, max(bytes_per_value, FLOAT_BYTES), "source mnist_small")
    train, (x_val, y_val), test = (
        (
            fit_all(arrays[f"x_{split}"][..., None], size or DIGITS_SIZE, channels, resize, background),
            arrays[f"y_{split}"].astype("int64"),
        )
        for split in ("train", "val", "test")
    )
    # In the file, the frequent classes come first. Sample grids show the first images: put classes in turn.
    turns = np.zeros(len(y_val), int)
    for label in np.unique(y_val):
        turns[y_val == label] = np.arange(np.sum(y_val == label))
    order = np.lexsort((y_val, turns))
    return (train, (x_val[order], y_val[order]), test), None
