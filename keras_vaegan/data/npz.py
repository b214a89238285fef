"""Images and labels from a NumPy `.npz` archive."""

import math
import os
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.images import as_uint8, fit_all
from keras_vaegan.data.splits import Pair, Splits, complete_splits
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import reason_of, user_path

# What reads the head of an array, by the version of its format; later ones are of records alone.
HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
KEYS = "x or images (with y or labels), or x_train, y_train, x_val, y_val, x_test, y_test"


def read_npz(
    path: str | os.PathLike[str], size: tuple[int, int] | None, channels: int | None, seed: int
) -> tuple[Splits, list[str] | None]:
    """Return the splits of an archive; the class names are None.

    Images are `(B, H, W)` or `(B, H, W, C)`, integers in 0..255 or floats in [0, 1].

    Raises `InputError` as `read_arrays` and `labelled_images` do, and where there are no images to train on,
    or too few to be split.
    """
    arrays = read_arrays(path)
    train, validation, test = (
        labelled_images(arrays, keys, size, channels)
        for keys in (("x_train", "x", "images"), ("x_val",), ("x_test",))
    )
    if train is None:
        raise InputError(f"{path} must hold the keys {KEYS}; received {', '.join(arrays) or 'none'}.")
    return complete_splits(train, validation, test, seed), None


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


def labelled_images(
    arrays: Mapping[str, np.ndarray],
    keys: Sequence[str] = ("x", "images"),
    size: tuple[int, int] | None = None,
    channels: int | None = None,
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
    images = check_images(images[..., None] if images.ndim == 3 else images, argument=key)
    if images.dtype.kind != "f":
        images = as_uint8(images)
    label_key = "labels" if key == "images" else key.replace("x", "y", 1)
    labels = arrays.get(label_key)
    if labels is not None:
        labels = check_labels(labels, len(images), argument=label_key)
    return fit_all(images, size, channels), labels
