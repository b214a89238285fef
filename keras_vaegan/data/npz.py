"""The arrays of a NumPy `.npz` archive, in memory or mapped, and the length of one without reading it."""

import contextlib
import math
import os
import struct
import zipfile
from typing import Any

import numpy as np

from keras_vaegan import memory
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import reason_of, user_path

# What reads the head of an array, by the version of its format; later ones are of records alone.
LOCAL_HEADER = 30  # bytes of a zip file's header before a member, without its name and extra field
HEADS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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


def mapped(path: str | os.PathLike[str], name: str) -> np.ndarray:
    """Return an array of an archive or of a `.npy` file as a memory map, which is read when it is indexed.

    Args:
        path: ends in `.npz` or `.npy`.
        name: of the array in an archive.

    Returns:
        The array; of a compressed archive in memory.

    Raises `InputError` if the archive is compressed and damaged, and exceptions of any kind for other files
    that cannot be read.
    """
    if os.fspath(path).endswith(".npy"):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        member = _members(archive).get(name)
        if member is None:
            raise ValueError(f"it holds no {name}")
        if member.compress_type != zipfile.ZIP_STORED:
            return read_arrays(path)[name]
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        file.seek(sum(struct.unpack("<HH", header[-4:])), os.SEEK_CUR)  # the name and the extra field
        start = file.tell()
        shape, fortran, dtype = HEADS[np.lib.format.read_magic(file)](file)
        offset = file.tell()
    if dtype.hasobject or offset - start + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"its {name} claims {dtype} of the shape {shape}, and has {member.file_size} bytes")
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def length_of(path: str | os.PathLike[str], name: str) -> int:
    """Return the rows of an array, as for `mapped`, by its head alone; 0 if it is missing or damaged."""
    try:
        if os.fspath(path).endswith(".npy"):
            return len(mapped(path, name))
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            return int(HEADS[np.lib.format.read_magic(stream)](stream)[0][0])
    except Exception:  # however it is damaged
        return 0


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
