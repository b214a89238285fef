"""`load`: images and labels from a name or a path."""

import os
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.digits import read_digits
from keras_vaegan.data.folder import UNLABELLED, read_folder, read_pictures
from keras_vaegan.data.images import as_float32, as_uint8, parse_channels, parse_size
from keras_vaegan.data.npz import labelled_images, read_arrays, read_npz
from keras_vaegan.data.splits import Pair, Splits
from keras_vaegan.data.stacked import read_stacked_mnist
from keras_vaegan.data.tfds import read_tfds
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.files import user_path

CONVERSIONS = {"float32": as_float32, "uint8": as_uint8}


class ImageData(tuple[Pair, Pair, Pair]):
    """Images with their splits: the tuple `((x, y), (x_val, y_val), (x_test, y_test))`.

    x is `(B, H, W, C)`, float32 in [0, 1] or uint8; y is int64 `(B,)`, or None without labels.

    Attributes:
        name: where the images come from.
        class_names: list of str, or None where classes have no names.
        num_classes: int, or None without labels.
    """

    name: str
    class_names: list[str] | None
    num_classes: int | None

    def __new__(
        cls, train: Pair, validation: Pair, test: Pair, *, name: str, class_names: list[str] | None = None
    ) -> Self:
        """Return the data of three pairs `(x, y)`; they are not checked here."""
        self = super().__new__(cls, (train, validation, test))
        self.name = name
        self.class_names = class_names
        labels = [y for _, y in self if y is not None]
        counted = max((int(y.max()) + 1 for y in labels), default=None)
        self.num_classes = counted if class_names is None else len(class_names)
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what copies and pickles are made of."""
        return tuple(self), {"name": self.name, "class_names": self.class_names}

    @property
    def train(self) -> Pair:
        """The pair `(x, y)` to train on."""
        return self[0]

    @property
    def validation(self) -> Pair:
        """The pair `(x, y)` to choose models by."""
        return self[1]

    @property
    def test(self) -> Pair:
        """The pair `(x, y)` to report on."""
        return self[2]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.train[0].shape[1:]

    def __repr__(self) -> str:
        """Return one line: sizes, not pixels."""
        sizes = " / ".join(f"{len(x):,}" for x, _ in self)
        return f"ImageData({self.name!r}, {sizes} images of {self.image_shape}, classes: {self.num_classes})"


def load(
    source: str | os.PathLike[str],
    image_size: int | Sequence[int] | None = None,
    channels: Literal[1, 3] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    dtype: Literal["float32", "uint8"] = "float32",
) -> ImageData:
    """Load images as `(x, y), (x_val, y_val), (x_test, y_test)`.

    Args:
        source: the first of these that fits.

            - The path of a folder of images (png, jpg, jpeg, bmp, gif, webp, tif). Its sub-folders are
              the classes, but for one named `unlabelled`, whose images have the label -1; without any there
              are no labels. `train`, `validation` (or `val`) and `test`
              at the top are the splits. Hidden files are left out; unreadable ones are skipped with a
              warning. Without `image_size` images keep their size if all are equal, else become 64x64.
            - The path of an `.npz` file with `x` or `images` (and `y` or `labels`), or with `x_train`,
              `y_train`, `x_val`, `y_val`, `x_test`, `y_test`. Integers in 0..255 or floats in [0, 1].
            - `"digits"`: scikit-learn's 1,797 digits, scaled to 28x28. Needs no network.
            - `"stacked_mnist"`: MNIST digits in three channels, in 1,000 classes (Metz et al. 2017).
            - The name of a TFDS set with an `image` feature: `mnist`, `cifar10`, `celeb_a`, ... It is
              downloaded once. Validation is the set's own, else the last 10 % of train (for `mnist` and
              `fashion_mnist` the last 5,000); a missing test split is another 10 %.

            Splits that a folder, an archive or the digits do not give are 10 % each, drawn from `seed`
            with the classes in equal proportions.
        image_size: int or `(H, W)`. Images are cropped about the centre to its aspect ratio and resized.
        channels: 1 (grey) or 3 (colour). None keeps what there is; a folder then gives 1 if every image
            is grey, else 3.
        data_dir: folder where TFDS keeps its prepared sets.
        manual_dir: folder with a TFDS set's original files, which then are not downloaded.
        seed: int, for the splits.
        dtype: `"float32"` for x in [0, 1], or `"uint8"` for x in 0..255 in a quarter of the memory.

    Returns:
        `ImageData`.

    Raises:
        InputError: a source that is unknown, missing, empty, broken or out of reach.

    Examples:
        >>> import keras_vaegan as kvg
        >>> data = kvg.data.load("digits")
        >>> (x, y), (x_val, y_val), (x_test, y_test) = data
        >>> x.shape, x.dtype.name, data.num_classes
        ((1437, 28, 28, 1), 'float32', 10)
    """
    convert = CONVERSIONS[choose("dtype", dtype, CONVERSIONS)]
    seed = whole_number("seed", seed, 0)
    size, channels = parse_size(image_size), parse_channels(channels)
    name, (splits, class_names) = _read(source, size, channels, data_dir, manual_dir, seed)
    image_shape = splits[0][0].shape[1:]
    num_classes = None if class_names is None else len(class_names)
    checked = []
    for split, (x, y) in zip(("train", "validation", "test"), splits, strict=True):
        x = check_images(x, image_shape, f"x of the {split} split")
        y = None if y is None else check_labels(y, len(x), num_classes, f"y of the {split} split")
        checked.append((convert(x), y))
    return ImageData(*checked, name=name, class_names=class_names)


def load_pictures(
    source: str | os.PathLike[str], image_shape: Sequence[int], class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Pictures to use a trained model on, all of them, in the order of their names.

    Args:
        source: a picture, a folder of them (sub-folders are classes, but for `unlabelled`), or an `.npz`
            file with `x` or `images` (and `y` or `labels`).
        image_shape: `(H, W, C)` that the model takes; the pictures are cropped and resized to it.
        class_names: of the model; sub-folders of other names are an error. None looks at no classes.

    Returns:
        `(x, y, names)`: float32 `(N, H, W, C)` in [0, 1]; labels int64 `(N,)`, or None where there are
        none; the pictures' file names within the folder, or their numbers in the archive.

    Raises:
        InputError: nothing at `source`; no picture that can be read, or loose ones beside class folders; a
            class folder that is none of `class_names`; an archive that is damaged, without `x` or `images`,
            or with images or labels out of range.
    """
    path = user_path("images", source)
    if not path.exists():
        raise InputError(f"images must be a picture, a folder or an .npz file; there is none at {source}.")
    if path.suffix == ".npz":
        height, width, channels = image_shape
        found = labelled_images(read_arrays(path), size=(height, width), channels=channels)
        if found is None:
            raise InputError(f"images {source} must hold `x` or `images`.")
        return as_float32(found[0]), found[1], [str(i) for i in range(len(found[0]))]
    images, classes, names = read_pictures(path, image_shape)
    if classes is None or class_names is None:
        return as_float32(images), None, names
    known = {name: k for k, name in enumerate(class_names)}
    labels = [
        -1 if name in UNLABELLED else known[choose("images: class folder", name, known)] for name in classes
    ]
    return as_float32(images), np.array(labels), names


def _read(
    source: str | os.PathLike[str],
    size: tuple[int, int] | None,
    channels: int | None,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    seed: int,
) -> tuple[str, tuple[Splits, list[str] | None]]:
    """Return the name of the data and what its reader returns."""
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(text, str) or not text:
        raise InputError(f"source must be a name or a path; received {source!r}.")
    path = user_path("source", text)
    if path.is_dir():
        return path.resolve().name, read_folder(path, size, channels, seed)
    if path.is_file() and path.suffix == ".npz":
        return path.stem, read_npz(path, size, channels, seed)
    if path.is_file():
        raise InputError(f"source must be a folder or an .npz file; received the file {text!r}.")
    if path.suffix == ".npz" or "/" in text or os.sep in text:
        raise InputError(f"source must be a file or folder that exists, or a name; received {text!r}.")
    if text == "digits":
        return text, read_digits(size, channels, seed)
    if text == "stacked_mnist":
        return text, read_stacked_mnist(size, data_dir, manual_dir, seed)
    return text, read_tfds(text, size, channels, data_dir, manual_dir)
