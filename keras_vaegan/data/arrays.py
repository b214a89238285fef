"""Images and labels from files of arrays: `.npy`, HDF5 and Zarr, which stay on disk, and `.npz`."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_vaegan.data.checks import BYTES, TOLERANCE, check_extremes, check_labels, not_one_label_each
from keras_vaegan.data.images import BRIGHT, MOST_CHANNELS, SURELY_BRIGHT, Levels
from keras_vaegan.data.names import normalize
from keras_vaegan.data.npz import read_arrays, require_for_archive
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.splits import Splits, complete_splits
from keras_vaegan.data.stored import (
    Indexed,
    Mapped,
    StoredImages,
    as_stored,
    channels_last,
    hdf5_arrays,
)
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import reason_of, user_path

KEYS = "x or images (with y or labels), or x_train, y_train, x_val, y_val, x_test, y_test"
NAMES = "class_names"
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")  # files in a Zarr folder, of its third and second format
SAMPLE = 256  # images that stand for all of them where a range was given
PROGRESS_FROM = 2_000_000_000  # bytes of floats whose range is measured
FEW_CHANNELS = 4  # a second axis up to it, and a last one above 16, are channels and a width


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return which kind of arrays a path holds, a key of `OPENERS`, or None if it holds none."""
    path = pathlib.Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        marked = ending == ".zarr" or any((path / name).is_file() for name in ZARR_MARKS)
        return "Zarr folder" if marked else None
    return ENDINGS.get(ending) if path.is_file() else None  # opening a pipe would wait for a writer


def read_array_file(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing,
    seed: int,
    bytes_per_value: int = 3,
    deep: bool = True,
) -> tuple[Splits, list[str] | None, list[str], Preprocessing]:
    """Return the splits of a file of arrays, its class names or None, notes, and the preprocessing.

    The images of a `.npz` archive are arrays in memory; others are `StoredImages`. The preprocessing comes
    back completed: with the size and channels of the images, their measured range if they are floats outside
    of [0, 1], and `deep` if they have more than 8 bits.

    Args:
        path: for which `kind_of` knows a kind.
        preprocessing: what to do with each image.
        seed: of splits that the file does not have.
        bytes_per_value: memory that is needed for each number of an archive's images.
        deep: whether images of more than 8 bits become float32; else all become uint8.

    Raises:
        InputError: a file that is damaged, or has no images to train on, or too few to be split; images or
            labels that cannot be used; more images than memory, for an archive.
    """
    in_memory = kind_of(path) == "npz"
    if in_memory:
        require_for_archive(path, preprocessing.image_size, preprocessing.channels, bytes_per_value)
    arrays = open_arrays(path)
    splits_of = (("x_train", "x", "images"), ("x_val",), ("x_test",))
    with _in_file("source", path):
        pairs = [labelled_images(arrays, keys) for keys in splits_of]
    if pairs[0] is None:
        found = tuple(arrays)
        raise InputError(
            f"source {one_line(os.fspath(path))} must hold the keys {KEYS}; "
            f"received {', '.join(found) or 'none'}.",
            argument="source",
            allowed=KEYS,
            received=found,
        )
    preprocessing, notes = complete([pair[0] for pair in pairs if pair is not None], preprocessing)
    preprocessing = dataclasses.replace(preprocessing, deep=deep and preprocessing.deep)
    train, validation, test = (
        None if pair is None else (as_stored(pair[0], preprocessing), pair[1]) for pair in pairs
    )
    assert train is not None
    splits = complete_splits(train, validation, test, seed)
    if in_memory:
        splits = [(loaded(x), y) for x, y in splits]
    return splits, class_names_in(arrays), notes, preprocessing


def images_of(
    path: str | os.PathLike[str], preprocessing: Preprocessing, bytes_per_value: int = 5
) -> tuple[StoredImages, np.ndarray | None, list[str] | None]:
    """Return all images of a file of arrays in a form that a model takes, their labels, and class names.

    Floats must be in [0, 1] or have a `value_range`: that of some images is not measured, because a model was
    trained on others. Raises `InputError` as `read_array_file` does.
    """
    if kind_of(path) == "npz":
        require_for_archive(path, preprocessing.image_size, preprocessing.channels, bytes_per_value, "images")
    arrays = open_arrays(path)
    with _in_file("images", path):
        found = labelled_images(arrays)
    if found is None:
        message = f"images {one_line(os.fspath(path))} must hold `x` or `images`."
        raise InputError(message, argument="images", received=path)
    preprocessing, _ = complete([found[0]], preprocessing, "images", measure=False)
    return as_stored(found[0], preprocessing), found[1], class_names_in(arrays)


def open_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a file of arrays holds by name; arrays on disk are opened and not read.

    A single array has the name `x`. `class_names`, also as an attribute, is an array in memory.

    Raises `InputError` for a file that is missing, damaged, or of a package that is not installed.
    """
    path = user_path("source", path)
    kind = kind_of(path)
    if kind == "npz":
        return read_arrays(path)
    if kind is None:
        raise InputError(
            f"source must be a file of arrays that exists ({', '.join(ENDINGS)}); "
            f"received {one_line(os.fspath(path))}."
        )
    try:
        return OPENERS[kind](path)
    except InputError:
        raise
    except Exception as error:  # damaged files make libraries raise errors of many kinds
        raise InputError(
            f"source must be a whole {kind} of plain arrays; {one_line(os.fspath(path))}: {reason_of(error)}."
        ) from error


def _open_npy(path: pathlib.Path) -> dict[str, Any]:
    return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}


def _open_hdf5(path: pathlib.Path) -> dict[str, Any]:
    import h5py

    arrays: dict[str, Any] = dict(hdf5_arrays(path))
    if NAMES in arrays:
        names = arrays[NAMES][()]
    else:  # an attribute of the file or of a dataset
        with h5py.File(path, "r") as file:
            holders = (file, *(file[name] for name in arrays))
            names = next((holder.attrs[NAMES] for holder in holders if NAMES in holder.attrs), None)
    if names is not None:
        arrays[NAMES] = _texts(names)
    return arrays


def _open_zarr(path: pathlib.Path) -> dict[str, Any]:
    try:
        import zarr
    except ImportError as error:
        raise InputError(
            f"source {one_line(os.fspath(path))} needs the package zarr: pip install zarr.", argument="source"
        ) from error
    found = zarr.open(os.fspath(path), mode="r")
    arrays = dict(found.arrays()) if hasattr(found, "arrays") else {"x": found}
    names = arrays.pop(NAMES, None)
    names = found.attrs.get(NAMES) if names is None else names[:]
    if names is not None:
        arrays[NAMES] = _texts(names)
    return arrays


ENDINGS = {
    ".npz": "npz",
    ".npy": "npy file",
    ".h5": "HDF5 file",
    ".hdf5": "HDF5 file",
    ".zarr": "Zarr folder",
}
OPENERS: dict[str, Callable[[pathlib.Path], dict[str, Any]]] = {
    "npy file": _open_npy,
    "HDF5 file": _open_hdf5,
    "Zarr folder": _open_zarr,
}


def _texts(values: Any) -> np.ndarray:
    """Texts, which libraries give as bytes or objects, as an array of NumPy's own."""
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in np.ravel(values)], dtype=str)


def class_names_in(arrays: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the classes from the array `class_names`, or None without it.

    Raises `InputError` unless they are different texts, one for each class.
    """
    names = arrays.get(NAMES)
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1 or len(set(map(normalize, names.tolist()))) < len(names):
        raise InputError(
            f"class_names must hold a different text for each class, (K,); received an array {names.shape} "
            f"of {names.dtype}."
        )
    return [normalize(name) for name in names.tolist()]


@contextlib.contextmanager
def _in_file(argument: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors about an array in it."""
    try:
        yield
    except InputError as error:
        message = f"{error} It is in the file {one_line(os.fspath(path))}."
        raise InputError(
            message, argument=argument, allowed=error.allowed, received=error.received
        ) from error


def labelled_images(
    arrays: Mapping[str, Any], keys: Sequence[str] = ("x", "images")
) -> tuple[StoredImages, np.ndarray | None] | None:
    """Return `(x, y)` of the first of `keys` that is there, or None; y is None without labels.

    x is `(B, H, W, C)`, the images as they are stored; y is int64 `(B,)`. Only labels are read.

    Raises `InputError` for images that are not numbers `(B, H, W)` or `(B, H, W, C)` with B > 0, and for
    labels that are not one whole number of at least -1 for each.
    """
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        return None
    images = _stored(arrays[key], key)
    label_key = "labels" if key == "images" else key.replace("x", "y", 1)
    labels = arrays.get(label_key)
    if labels is None:
        return images, None
    if len(labels.shape or ()) > 1 and max(labels.shape[1:]) > 1:  # which may be too large to be read
        raise InputError(not_one_label_each(label_key, labels.shape), argument=label_key)
    return images, check_labels(labels[()], len(images), argument=label_key)


def _stored(array: Any, argument: str) -> StoredImages:
    """The images of an array, channels last."""
    shape, dtype = tuple(array.shape or ()), array.dtype  # an empty dataset of HDF5 has no shape
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise InputError(f"{argument} must be images (B, H, W, C), as numbers; received dtype {dtype}.")
    if len(shape) not in (3, 4):
        raise InputError(f"{argument} must have the shape (B, H, W) or (B, H, W, C); received {shape}.")
    if 0 in shape:
        raise InputError(f"{argument} must hold at least one image; received the shape {shape}.")
    images = as_stored(array)
    number, *sides = images.shape
    if len(shape) == 4 and sides[0] <= FEW_CHANNELS and sides[2] > MOST_CHANNELS:
        turned = (sides[1], sides[2], sides[0])
        return Mapped(images, channels_last, turned, images.dtype, "channels_last")
    if sides[2] > MOST_CHANNELS:
        raise InputError(f"{argument} must have 1 to {MOST_CHANNELS} channels; received the shape {shape}.")
    return images


def complete(
    parts: Sequence[Any], preprocessing: Preprocessing, argument: str = "source", measure: bool = True
) -> tuple[Preprocessing, list[str]]:
    """Return a preprocessing with what the images decide, and notes on what was found.

    Floats without a `value_range` are all read once, in blocks. Integers are read until one is bright
    enough for the range of its type.

    Args:
        parts: the images as they are stored, of one or more splits: with shape, dtype, `blocks` and `read`
            as of `StoredImages`.
        preprocessing: with None for what the images decide.
        argument: the argument's name in errors.
        measure: whether floats outside of [0, 1] get their range measured.

    Raises:
        InputError: values that are not finite, or outside of the range; integers of more than 8 bits, or that
            are negative, without a range; integers that are all dark. See `Levels.check`.
    """
    size = preprocessing.image_size or _common([x.shape[1:3] for x in parts], "size", argument)
    channels = preprocessing.channels or _common([x.shape[3] for x in parts], "number of channels", argument)
    value_range, notes = preprocessing.value_range, []
    if any(isinstance(x, Mapped) and x.function is channels_last for x in parts):
        notes.append("arrays with the channels first were turned, (B, C, H, W) to (B, H, W, C)")
    floats = [x for x in parts if x.dtype.kind == "f"]
    deep = preprocessing.deep or bool(floats)
    if value_range is None:
        levels = Levels()
        if floats and measure:
            value_range = _measured(floats, len(floats) == len(parts), argument)
        if value_range is not None:
            notes.append(f"values {value_range[0]:g} to {value_range[1]:g} (measured) became 0 to 1")
        wide = [x for x in parts if x.dtype.kind != "f" and x.dtype != np.uint8]
        if wide:
            whole = all(x.dtype == np.uint16 for x in wide)
            low, high = _extremes(wide, SURELY_BRIGHT if whole else None)
            if low >= 0 and high <= BYTES[1]:  # bytes in a larger type
                value_range = BYTES
                levels.note(8, high)
            elif whole:
                deep = True
                levels.note(16, high)
            else:
                check_extremes(low, high, True, argument)
        for x in parts:
            if x.dtype == np.uint8 and levels.needs(8):
                levels.note(8, _extremes([x], BRIGHT)[1])
        levels.check(argument)
    else:
        wide = [x for x in parts if x.dtype.kind != "f" and x.dtype != np.uint8]
        deep = deep or (bool(wide) and value_range[1] - value_range[0] > BYTES[1])
        for x in wide:
            sample = x.read(np.unique(np.linspace(0, len(x) - 1, SAMPLE).astype(int)))
            check_extremes(sample.min(), sample.max(), True, argument, value_range)
    settled = dataclasses.replace(
        preprocessing,
        image_size=size,
        channels=channels,
        value_range=value_range,
        deep=deep,
    )
    return settled, notes


def _common(found: Sequence[Any], what: str, argument: str) -> Any:
    """What the images of all splits have in common, or raise."""
    other = next((one for one in found if one != found[0]), None)
    if other is not None:
        option = "image_size (--image-size)" if what == "size" else "channels (--channels)"
        raise InputError(
            f"{argument} must have images of one {what}; received {found[0]} and {other}. Pass {option}."
        )
    return found[0]


def holds_stack(path: str | os.PathLike[str]) -> bool:
    """Whether a `.npy` file holds several images `(B, H, W, C)`, and not the pixels of one."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim == 4
    except Exception:  # reported when it is read
        return False


def _measured(floats: Sequence[Any], alone: bool, argument: str) -> tuple[float, float] | None:
    """The range of floats, or None if it is within [0, 1]."""
    low, high = _extremes(floats)
    if not (np.isfinite(low) and np.isfinite(high)):
        check_extremes(low, high, False, argument)
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return None
    if low == high:
        raise InputError(f"{argument} must hold images; all of their values are {low:g}.")
    if not alone:
        raise InputError(
            f"{argument} must have one range of values: its floats have values from {low:g} to {high:g}, and "
            "other images are integers. Pass value_range (--value-range)."
        )
    return float(low), float(high)


def _extremes(parts: Sequence[Any], enough: int | None = None) -> tuple[Any, Any]:
    """The smallest and largest value of all images; of those read until one reaches `enough`, if given.

    NaN anywhere makes both NaN.
    """
    total = sum(len(x) for x in parts)
    shown = enough is None and sum(x.nbytes for x in parts) > PROGRESS_FROM
    progress = keras.utils.Progbar(total, unit_name="image") if shown else None
    lows, highs = [], []
    for x in parts:
        for _, block in x.blocks():
            lows.append(block.min())
            highs.append(block.max())
            if progress is not None:
                progress.add(len(block))
            if enough is not None and highs[-1] >= enough:
                return np.min(lows), np.max(highs)
    return np.min(lows), np.max(highs)


def loaded(x: StoredImages) -> np.ndarray:
    """Return stored images as an array in memory; one that is there already is not copied."""
    if isinstance(x, Indexed) and type(x.array) is np.ndarray and x.array.dtype == x.dtype:
        return x.array.reshape(x.shape)
    return np.asarray(x)
