"""`load`: images and labels from a name or a path."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from keras_vaegan.data.arrays import ENDINGS, holds_stack, images_of, kind_of, read_array_file
from keras_vaegan.data.cache import content_of, parse_cache, settled
from keras_vaegan.data.checks import (
    BYTES,
    ValueRange,
    check_image_shape,
    check_images,
    check_labels,
)
from keras_vaegan.data.crops import parse_crop
from keras_vaegan.data.digits import read_digits, read_mnist_small
from keras_vaegan.data.folder import read_folder, read_pictures
from keras_vaegan.data.images import WHITE, Colour, Resize, as_float32
from keras_vaegan.data.names import (
    check_names,
    in_order,
    is_unlabelled,
    listed,
    named_labels,
    normalize,
    positions_of,
    renamed_labels,
)
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.splits import SPLITS, Pair, Splits
from keras_vaegan.data.stacked_mnist import read_stacked_mnist
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.data.tfds import read_tfds
from keras_vaegan.data.views import centre_crop, in_bytes, in_floats
from keras_vaegan.errors import InputError, choose, one_line, renaming, unknown_name, whole_number
from keras_vaegan.files import user_path

EMBEDDED = ("digits", "mnist_small")  # that come with the package
UNTRAINED = "Classes with images to validate or test with, but none to train on"
CONVERSIONS = {"float32": in_floats, "uint8": in_bytes}
# Memory for each number of the images: of 8 bits they are read, selected and split; then floats are added.
BYTES_PER_VALUE = {"float32": 5, "uint8": 3}


class ImageData(tuple[Pair, Pair, Pair]):
    """Images with their splits: the tuple `((x, y), (x_val, y_val), (x_test, y_test))`.

    x is `(B, H, W, C)`, float32 in [0, 1] or uint8, an array or `StoredImages`; y is int64 `(B,)`, or None
    without labels.

    Attributes:
        name: where the images come from.
        class_names: list of str, or None where classes have no names.
        num_classes: int, or None without labels.
        notes: list of str, what was taken for what in a folder and what was ignored, for people.
        source: the name or absolute path that `load` read; None if the images come from elsewhere.
        value_range: the integers `(low, high)` that became 0 and 1, or None.
        preprocessing: the `Preprocessing` that made these images of what the source holds, to make others
            alike; None if the images come from elsewhere.
        content: text that changes if the files of the source do, or what becomes of them; None for sources
            that are read into memory at once.
    """

    name: str
    class_names: list[str] | None
    num_classes: int | None
    notes: list[str]
    source: str | None
    value_range: ValueRange
    preprocessing: Preprocessing | None
    content: str | None

    def __new__(
        cls,
        train: Pair,
        validation: Pair,
        test: Pair,
        *,
        name: str,
        class_names: list[str] | None = None,
        notes: Sequence[str] = (),
        source: str | None = None,
        value_range: ValueRange = None,
        preprocessing: Preprocessing | None = None,
        content: str | None = None,
    ) -> Self:
        """Return the data of three pairs `(x, y)`; they are not checked here."""
        self = super().__new__(cls, (train, validation, test))
        self.name = name
        self.class_names = class_names
        self.notes = list(notes)
        self.source, self.value_range = source, value_range
        self.preprocessing, self.content = preprocessing, content
        labels = [y for _, y in self if y is not None]
        counted = max((int(y.max()) + 1 for y in labels), default=None)
        self.num_classes = counted if class_names is None else len(class_names)
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what copies and pickles are made of."""
        names = ("name", "class_names", "notes", "source", "value_range", "preprocessing", "content")
        return tuple(self), {name: getattr(self, name) for name in names}

    def center_cropped(self, size: int | Sequence[int] | None) -> "ImageData":
        """The same data with the centers of their images, `(H, W)`; the data themselves for None.

        A model that is trained on random crops sees images so everywhere else.

        Raises `InputError` if the images are smaller.
        """
        crop = parse_crop(size, self.image_shape)
        if crop is None or crop == self.image_shape[:2]:
            return self
        height, width, channels = self.image_shape
        known = self.preprocessing or Preprocessing((height, width), channels)
        _, facts = self.__getnewargs_ex__()
        facts["preprocessing"] = dataclasses.replace(known, crop=crop)
        return ImageData(*((centre_crop(x, crop), y) for x, y in self), **facts)

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
    def untrained_classes(self) -> list[str]:
        """Names of the classes that have images to validate or test with and none to train on."""
        (_, y), *held_out = self
        labels = [other for _, other in held_out if other is not None]
        if not labels or y is None:
            return []
        missing = np.setdiff1d(np.concatenate(labels), y)
        return [self._class_name(k) for k in missing if k >= 0]

    def _class_name(self, label: int) -> str:
        return str(label) if self.class_names is None else self.class_names[label]

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
    channels: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    dtype: Literal["float32", "uint8"] = "float32",
    value_range: Sequence[float] | None = None,
    class_names: Sequence[str] | int | None = None,
    resize: Resize = "crop",
    background: str | Colour = WHITE,
    cache: Literal["memory", "disk", "none"] | None = None,
) -> ImageData:
    """Load images as `(x, y), (x_val, y_val), (x_test, y_test)`.

    Args:
        source: the first of these that fits.

            - The path of a folder of images (png, jpg, bmp, gif, webp, tif, npy and others that PIL reads;
              content counts, not the ending). Its sub-folders are the classes. A sub-folder named
              `unlabelled` is no class: its images have the label -1. Without sub-folders there are no labels.

              Folders named after splits, in any case, are the splits if one for training is among them:
              `train`, `training`; `validation`, `valid`, `val`, `dev`; `test`, `testing`. `eval` is the test
              split; beside a test folder it is the validation split. `_set`, `_data` and `_images` may
              follow. A lone `train` beside other folders of images is a class.

              Hidden files, folders of the system, run folders and folders without images are ignored. Each
              file and folder counts once, however many links lead to it. Unreadable files are skipped with a
              warning that says why. `notes` of the result says what was taken for what. Without `image_size`
              images keep their size if all are equal, else become 64x64.
            - The path of a file of arrays: `.npy`, HDF5 (`.h5`, `.hdf5`) or `.npz`, or of a Zarr folder. It
              has `x` or `images` (and `y` or `labels`), or `x_train`, `y_train`, `x_val`, `y_val`, `x_test`,
              `y_test`. The names of classes 0 to K - 1 are in `class_names`, an array or an attribute, if
              they have names. A `.npy` file, or a Zarr folder of one array, is `x` alone. Images are
              `(N, H, W)` or `(N, H, W, C)`. More than 8 bits and floats become float32; see `value_range`.
            - `"mnist_small"`: 12,000 images of MNIST that come with the package. Needs no network.
            - `"digits"`: scikit-learn's 1,797 digits, 8x8 pixels scaled to 28x28. Needs no network.
            - `"stacked_mnist"`: MNIST digits in three channels, in 1,000 classes (Metz et al. 2017).
            - The name of a TFDS set with an `image` feature: `mnist`, `cifar10`, `celeb_a`, ... It is
              downloaded once. Validation is the set's own, else the last 10 % of train (for `mnist` and
              `fashion_mnist` the last 5,000); a missing test split is another 10 %.

            Splits that a file of arrays or the digits do not give are 10 % each, drawn from `seed` with the
            classes in equal proportions. Those that a folder does not give are about 10 % each. A file's
            split follows from `seed` and its path within the folder, so that another file does not change
            it; a folder of few files has at least one in each split. Every class has an image to train on,
            unless there are hardly more images than classes.
        image_size: int or `(H, W)` that images are resized to.
        channels: 1 (grey), 3 (color) or another number up to 16. None keeps what there is, without alpha; a
            folder then gives 1 if every image is grey, 3 if any is in color, or the number of most of its
            multi-spectral images. 4 keeps the alpha of images.
        data_dir: folder where TFDS keeps its prepared sets.
        manual_dir: folder with a TFDS set's original files, which then are not downloaded.
        seed: int, for the splits.
        dtype: `"float32"` for x in [0, 1], or `"uint8"` for x in 0..255 in a quarter of the memory.
        value_range: `(low, high)`, the integers or floats that become 0 and 1, as `(0, 4095)` for 12 bits in
            files of 16. Integers of 8 bits keep 0..255 if `high` is above 255 or an end is no whole number;
            palettes have no range. None for the whole range of 8 or 16 bits; floats outside of [0, 1] then
            have their range measured.
        class_names: of a trained model, whose positions the labels become; or the number of its classes, if
            they have no names and labels are positions already. None takes the classes of the source:
            folders in natural order, 2 before 10. Labels of an archive that are not 0 to K - 1, as 1 to K
            or 0, 1000 and 2000, become positions, and the numbers the names of the classes.
        resize: how images of another aspect ratio get the `image_size`: `"crop"` cuts them about the center,
            `"pad"` adds a border of the background, `"stretch"` distorts them.
        background: color under transparent pixels and around padded images: `"white"`, `"black"`, `"grey"`,
            `"#rrggbb"`, `"r,g,b"` or three integers of 0 to 255.
        cache: where decoded images are. `"memory"` reads all of them into arrays. `"none"` leaves them in
            their files: x are `StoredImages`, which are decoded whenever a batch is indexed. `"disk"` decodes
            them once into a memory-mapped file, which later calls find, in the folder `KERAS_VAEGAN_CACHE`
            or `~/.keras/keras_vaegan/images`; you may delete the files in it. None takes `"memory"` for
            images that need at most 1 GB and a quarter of the free memory, and `"none"` for others.

    Returns:
        `ImageData`; x are arrays, or `StoredImages` of the same shape and dtype.

    Raises:
        InputError: a source that is unknown, missing, empty, broken or out of reach; one that has a class
            which is none of `class_names`; fewer images than can be split. A folder with one image
            in two classes or splits, or a class of which most files cannot be read. Integers outside of
            `value_range`; without one, 16-bit images of which no pixel reaches an eighth of the range, and
            8-bit images of 0 and 1. Images that do not fit into memory.

    Warns of classes without an image to train on, of classes with one image alone, and of labels that are
    not 0 to K - 1.

    Examples:
        >>> import keras_vaegan as kvg
        >>> data = kvg.data.load("digits")
        >>> (x, y), (x_val, y_val), (x_test, y_test) = data
        >>> x.shape, x.dtype.name, data.num_classes
        ((1437, 28, 28, 1), 'float32', 10)
    """
    convert = CONVERSIONS[choose("dtype", dtype, CONVERSIONS)]
    seed = whole_number("seed", seed, 0)
    if isinstance(class_names, int):
        class_names = whole_number("class_names", class_names, 1)
    elif class_names is not None:
        class_names = check_names(class_names)
    place = parse_cache(cache)
    asked = Preprocessing(image_size, channels, resize, background, value_range)  # type: ignore[arg-type]
    with _within_memory("source", source):
        per_value = BYTES_PER_VALUE[dtype]
        name, splits, own_names, notes, preprocessing, content = _read(
            source, asked, data_dir, manual_dir, seed, per_value, dtype == "float32", place
        )
        if content is None:
            content = content_of(splits)
            splits = settled(splits, place, per_value, name)
        image_shape = splits[0][0].shape[1:]
        num_classes = None if own_names is None else len(own_names)
        checked: list[Pair] = []
        for split, (x, y) in zip(SPLITS, splits, strict=True):
            # Their own range was looked at as they were read, of all splits together.
            x = _checked(x, image_shape, f"x of the {split} split")
            y = None if y is None else check_labels(y, len(x), num_classes, f"y of the {split} split")
            checked.append((convert(x), y))
    path = user_path("source", source)
    again = str(path.resolve()) if path.exists() else os.fspath(source)
    whole = all(isinstance(end, int) for end in asked.value_range or ())
    facts: dict[str, Any] = {
        "name": name,
        "notes": notes,
        "source": again,
        "value_range": asked.value_range if whole else None,
        "preprocessing": preprocessing,
        "content": content,
    }
    if class_names is not None and any(y is not None for _, y in checked):
        if isinstance(class_names, int):
            for x, y in checked:
                if y is not None:
                    check_labels(y, len(x), class_names, "source: labels")
            return ImageData(*checked, class_names=own_names, **facts)
        checked = _of_classes(checked, own_names, class_names)
        return ImageData(*checked, class_names=class_names, **facts)
    if own_names is None:
        checked, own_names = _contiguous(checked)
    data = ImageData(*checked, class_names=own_names, **facts)
    _warn_of_rare_classes(data)
    return data


def _checked(x: Any, image_shape: Sequence[int], argument: str) -> Any:
    """Return images of the shape `image_shape`, or raise; stored ones are checked as they are read."""
    if not is_stored(x):
        return check_images(x, image_shape, argument, BYTES)
    if tuple(x.shape[1:]) != tuple(image_shape):
        raise InputError(
            f"{argument} must hold images of the shape (H, W, C) = {tuple(image_shape)}; "
            f"received {tuple(x.shape[1:])}."
        )
    return x


def _of_classes(pairs: Sequence[Pair], names: Sequence[str] | None, class_names: Sequence[str]) -> list[Pair]:
    """The pairs with labels that are positions among the classes of a model."""
    if names is None:
        return [(x, None if y is None else named_labels(y, class_names, "source")) for x, y in pairs]
    return [(x, None if y is None else renamed_labels(y, names, class_names, "source")) for x, y in pairs]


def _contiguous(pairs: list[Pair]) -> tuple[list[Pair], list[str] | None]:
    """The pairs with labels 0 to K - 1, and the numbers that they were as names; None if they were these."""
    labels = [y for _, y in pairs if y is not None]
    found = np.unique(np.concatenate(labels)) if labels else np.empty(0, int)
    found = found[found >= 0]
    if np.array_equal(found, np.arange(len(found))):
        return pairs, None
    names = [str(label) for label in found]
    warnings.warn(
        f"The labels are not 0 to {len(names) - 1}: they become the {len(names)} classes named "
        f"{listed(names)}.",
        stacklevel=3,
    )
    # -1 stays: it is below all, so that searchsorted gives 0.
    return [
        (x, None if y is None else np.where(y < 0, -1, np.searchsorted(found, y))) for x, y in pairs
    ], names


def _warn_of_rare_classes(data: ImageData) -> None:
    """Warn of classes without an image to train on, and of those whose only image is trained on."""
    if data.untrained_classes:
        warnings.warn(
            f"{UNTRAINED}: {listed(data.untrained_classes)}. Move one of each to the images to train on.",
            stacklevel=3,
        )
    labels = [y[y >= 0] for _, y in data if y is not None]
    if not labels or data.train[1] is None:
        return
    found, counts = np.unique(np.concatenate(labels), return_counts=True)
    single = [data._class_name(k) for k in found[counts == 1] if k in data.train[1]]
    if single:
        warnings.warn(f"Classes with one image alone, which is trained on: {listed(single)}.", stacklevel=3)


def load_pictures(
    source: str | os.PathLike[str],
    image_shape: Sequence[int] | Preprocessing,
    class_names: Sequence[str] | None = None,
    value_range: Sequence[float] | None = None,
    resize: Resize | None = None,
    background: str | Colour | None = None,
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Images to use a trained model on, all of them, in the order of their names.

    Args:
        source: an image, a folder of them (sub-folders are classes, but for `unlabelled`), or a file of
            arrays with `x` or `images` (and `y` or `labels`); see `load`. A `.npy` file of two or three axes
            is one image.
        image_shape: `(H, W, C)` that the model takes, to which the images are cropped and resized; or the
            `Preprocessing` of the images that it was trained on, with its size and channels.
        class_names: of the model; sub-folders of other names are an error. None looks at no classes.
        value_range: `(low, high)`, the values that become 0 and 1; see `load`. Float files without it must
            lie in [0, 1].
        resize, background: see `load`. Like `value_range`, they count more than the `Preprocessing`.

    Returns:
        `(x, y, names)`: float32 `(N, H, W, C)` in [0, 1]; labels int64 `(N,)`, or None where there are
        none; the images' file names within the folder, or their numbers in the archive.

    Raises:
        InputError: nothing at `source`; no image that can be read, or loose ones beside class folders; a
            class folder that is none of `class_names`; an archive that is damaged, without `x` or `images`,
            or with images or labels out of range. Images that do not fit into memory.
    """
    preprocessing = _preprocessing_of(image_shape, value_range, resize, background)
    with _within_memory("images", source):
        found = _pictures(source, preprocessing, class_names, stored=False)
        images = as_float32(np.asarray(found.images))
    names = found.names
    return images, found.labels, [str(i) for i in range(len(images))] if names is None else names


class Pictures(NamedTuple):
    """Images to use a trained model on.

    Attributes:
        images: `(N, H, W, C)`, an array or `StoredImages`.
        labels: int64 `(N,)`, -1 where unlabelled; None where there are none.
        names: of the files within their folder; None for images of an archive.
        class_names: of the labels; None where classes have no names.
    """

    images: Any
    labels: np.ndarray | None
    names: list[str] | None
    class_names: list[str] | None


def open_pictures(
    source: str | os.PathLike[str], preprocessing: Preprocessing, class_names: Sequence[str] | None = None
) -> Pictures:
    """Return the images of `load_pictures` as `StoredImages`, float32 in [0, 1], which are read when indexed.

    Args:
        source: see `load_pictures`.
        preprocessing: with the size and channels that the images get.
        class_names: of the model. None takes the classes of the source.

    Raises `InputError` as `load_pictures` does.
    """
    with _within_memory("images", source):
        found = _pictures(source, preprocessing, class_names, stored=True)
        return found._replace(images=in_floats(as_stored(found.images)))


def _pictures(
    source: str | os.PathLike[str],
    preprocessing: Preprocessing,
    class_names: Sequence[str] | None,
    stored: bool,
) -> Pictures:
    """The images of a folder or archive in their working type, read now unless they are to be `stored`.

    Without `class_names` a folder that is read now has no labels.
    """
    path = user_path("images", source)
    if not path.exists():
        raise InputError(f"images must be an image, a folder or an array file; there is none at {source}.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"images must be an image, a folder or an array file; {one_line(source)} is none.")
    known = None if class_names is None else list(class_names)
    if kind_of(path) is not None and not (path.suffix == ".npy" and not holds_stack(path)):
        images, labels, own_names = images_of(path, preprocessing, BYTES_PER_VALUE["float32"])
        if labels is not None and known is not None:
            argument = "images: labels"
            if own_names is None:
                labels = named_labels(labels, known, argument)
            else:
                labels = check_labels(labels, len(labels), len(own_names), argument)
                labels = renamed_labels(labels, own_names, known, argument)
        return Pictures(images, labels, None, known or own_names)
    images, classes, names = read_pictures(path, preprocessing, known is not None, stored)
    if classes is None or (known is None and not stored):
        return Pictures(images, None, names, None)
    classes = [normalize(name) for name in classes]
    known = known or in_order(name for name in classes if not is_unlabelled(name))
    positions = positions_of(known)
    labels = np.full(len(classes), -1)
    for i, name in enumerate(classes):
        if name in positions:
            labels[i] = positions[name]
        elif not is_unlabelled(name):
            raise unknown_name("images: class folder", name, known)
    return Pictures(images, labels, names, known)


def _preprocessing_of(
    image_shape: Any, value_range: Any, resize: Resize | None, background: Any
) -> Preprocessing:
    """Return the preprocessing for a trained model."""
    if isinstance(image_shape, Preprocessing):
        preprocessing = image_shape
        if preprocessing.image_size is None or preprocessing.channels is None:
            raise InputError(f"preprocessing must have an image_size and channels; received {preprocessing}.")
    else:
        height, width, channels = check_image_shape(image_shape)
        preprocessing = Preprocessing((height, width), channels)
    given = {"value_range": value_range, "resize": resize, "background": background}
    return dataclasses.replace(
        preprocessing, **{name: value for name, value in given.items() if value is not None}
    )


@contextlib.contextmanager
def _within_memory(argument: str, source: Any) -> Iterator[None]:
    """Turn running out of memory into an `InputError`, and let errors be about `argument`."""
    try:
        with renaming(source=argument):
            yield
    except MemoryError as error:
        raise InputError(
            f"{argument} must fit into memory; there is too little for {one_line(source)}. "
            "Give a smaller image_size (--image-size), or fewer images.",
            argument=argument,
            received=source,
        ) from error


def _read(
    source: str | os.PathLike[str],
    asked: Preprocessing,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    seed: int,
    bytes_per_value: int,
    deep: bool,
    cache: str | None,
) -> tuple[str, Splits, list[str] | None, list[str], Preprocessing, str | None]:
    """Return the data's name, splits, class names and notes, the preprocessing, and the content's text."""
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(text, str) or not text:
        raise InputError(f"source must be a name or a path; received {source!r}.")
    path = user_path("source", text)
    if kind_of(path) is not None:
        return path.resolve().stem, *read_array_file(path, asked, seed, bytes_per_value, deep), None
    if path.is_dir():
        return path.resolve().name, *read_folder(path, asked, seed, bytes_per_value, deep, cache)
    if path.exists():
        raise InputError(
            f"source must be a folder or a file of arrays ({', '.join(ENDINGS)}); received the file {text!r}."
        )
    if path.suffix in ENDINGS or "/" in text or os.sep in text:
        raise InputError(f"source must be a file or folder that exists, or a name; received {text!r}.")
    if text == "stacked_mnist":
        return text, *read_stacked_mnist(asked, data_dir, manual_dir, seed, bytes_per_value, deep), None
    if text not in EMBEDDED:
        found = read_tfds(text, asked, data_dir, manual_dir, bytes_per_value, deep, cache)
        return text, *found, None
    how = (bytes_per_value, asked.resize, asked.background)
    splits, class_names = (
        read_digits(asked.image_size, asked.channels, seed, *how)
        if text == "digits"
        else read_mnist_small(asked.image_size, asked.channels, *how)
    )
    x = splits[0][0]
    made = dataclasses.replace(
        asked, image_size=x.shape[1:3], channels=x.shape[3], deep=deep and x.dtype.kind == "f"
    )
    return text, splits, class_names, [], made, None
