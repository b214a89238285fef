"""Images and labels from a NumPy `.npz` archive."""

import contextlib
import math
import os
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import ValueRange, check_images, check_labels
from keras_vaegan.data.images import WHITE, Colour, Levels, Resize, fit_all, range_for, to_bytes
from keras_vaegan.data.names import normalize
from keras_vaegan.data.splits import Pair, Splits, complete_splits
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import reason_of, user_path

# What reads the head of an array, by the version of its format; later ones are of records alone.
HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
KEYS = "x or images (with y or labels), or x_train, y_train, x_val, y_val, x_test, y_test"


def read_npz(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None,
    channels: int | None,
    seed: int,
    value_range: ValueRange = None,
    bytes_per_value: int = 3,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> tuple[Splits, list[str] | None]:
    """Return the splits of an archive, and its `class_names`, or None.

    Images are `(B, H, W)` or `(B, H, W, C)`, integers in 0..255, or in `value_range`, or floats in
    [0, 1]. `bytes_per_value` is the memory that is needed for each number of an image.

    Raises `InputError` as `read_arrays` and `labelled_images` do, and where there are no images to train on,
    or too few to be split.
    """
    require_for_archive(path, size, channels, bytes_per_value)
    arrays = read_arrays(path)
    train, validation, test = (
        labelled_images(arrays, keys, size, channels, value_range, resize, background)
        for keys in (("x_train", "x", "images"), ("x_val",), ("x_test",))
    )
    if train is None:
        raise InputError(
            f"source {path} must hold the keys {KEYS}; received {', '.join(arrays) or 'none'}.",
            argument="source",
            allowed=KEYS,
            received=tuple(arrays),
        )
    return complete_splits(train, validation, test, seed), class_names_in(arrays)


def require_for_archive(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    bytes_per_value: int = 5,
    argument: str = "source",
) -> None:
    """Raise `InputError` unless what an archive holds fits into memory, by the headers of its arrays."""
    stored, made = 0, 0
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:  # reported when it is read
        for member in archive.infolist():
            stored += member.file_size
            with contextlib.suppress(Exception), archive.open(member) as file:
                shape = HEADS[np.lib.format.read_magic(file)](file)[0]
                if len(shape) in (3, 4):
                    height, width = size or shape[1:3]
                    depth = channels or (shape[3] if len(shape) == 4 else 1)
                    made += shape[0] * height * width * depth * bytes_per_value
    memory.require(
        f"{argument} {one_line(path)}",
        stored + made,
        "Give a smaller image_size (--image-size), or fewer images.",
    )


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return all arrays of an archive.

    Raises `InputError` if it is missing, damaged, encrypted, or larger than the memory; if a member is no
    array, or one of objects. What an array claims to be is compared with its size before it is read.
    """
    user_path("source", path)
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for a writer
            raise ValueError("it is a folder" if os.path.isdir(path) else "there is no such file")
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            needed = sum(member.file_size for member in members.values())
            memory.require(
                f"source {os.fsdecode(path)}", needed, "Split the archive, or use a folder of images."
            )
            return {key: _read_array(archive, member) for key, member in members.items()}
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes libraries raise errors of many kinds
        raise InputError(
            f"source must be a whole .npz file of plain arrays; {one_line(os.fsdecode(path))}: "
            f"{reason_of(error)}."
        ) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by the names of their arrays."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        if key == member.filename or key in found:
            raise ValueError(f"its member {member.filename!r} is no array, or comes twice")
        found[key] = member
    return found


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member, whose head must claim as many bytes as the member has."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in HEADS:
            raise ValueError(f"its member {member.filename!r} has the format {version}")
        shape, _, dtype = HEADS[version](stream)
        if dtype.hasobject:
            raise ValueError(f"its member {member.filename!r} holds objects")
        if any(side < 0 for side in shape):
            raise ValueError(f"its member {member.filename!r} has the shape {shape}")
        claimed = math.prod(shape) * dtype.itemsize
        if not dtype.itemsize or claimed != member.file_size - stream.tell():
            raise ValueError(
                f"its member {member.filename!r} claims {dtype} of the shape {shape}, and has "
                f"{member.file_size - stream.tell()} bytes"
            )
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def class_names_in(arrays: Mapping[str, np.ndarray]) -> list[str] | None:
    """Names of the classes from the array `class_names` of an archive, or None without it.

    Raises `InputError` unless they are different texts, one for each class.
    """
    names = arrays.get("class_names")
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1 or len(set(map(normalize, names.tolist()))) < len(names):
        raise InputError(
            f"class_names must hold a different text for each class, (K,); received an array {names.shape} "
            f"of {names.dtype}."
        )
    return [normalize(name) for name in names.tolist()]


def labelled_images(
    arrays: Mapping[str, np.ndarray],
    keys: Sequence[str] = ("x", "images"),
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    value_range: ValueRange = None,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> Pair | None:
    """Return `(x, y)` of the first of `keys` that is there, or None; y is None without labels.

    x is `(B, H, W, C)`, uint8 or float32 in [0, 1]; y is int64 `(B,)`. Raises `InputError` for images that
    are not `(B, H, W)` or `(B, H, W, C)` with B > 0, or out of range, for labels that are not one whole
    number of at least -1 for each, and for channels that `set_channels` cannot change.
    """
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        return None
    images = arrays[key]
    if images.ndim == 3:
        images = images[..., None]
    own_range = range_for(8 * images.dtype.itemsize, value_range) if images.dtype.kind in "iu" else None
    images = check_images(images, argument=key, value_range=own_range)
    if images.dtype.kind in "iu":
        if own_range is None:
            levels = Levels()
            levels.note(8, images.max())
            levels.check(key)
        images = to_bytes(images, own_range)
    label_key = "labels" if key == "images" else key.replace("x", "y", 1)
    labels = arrays.get(label_key)
    if labels is not None:
        labels = check_labels(labels, len(images), argument=label_key)
    return fit_all(images, size, channels, resize, background), labels
