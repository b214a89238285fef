"""Decoded images that are kept on disk, so that they are decoded once."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.splits import Splits
from keras_vaegan.data.stored import Indexed, StoredImages, as_stored, is_stored
from keras_vaegan.data.views import parts_of
from keras_vaegan.errors import InputError, choose, one_line
from keras_vaegan.files import atomic_path, cache_folder, read_json, reason_of, user_path, write_json
from keras_vaegan.typing import CACHES

VERSION = 1  # of the files; of another one they are made anew
COMFORTABLE = 1_000_000_000  # bytes that images may take in memory unasked
SHARE = 0.25  # of the memory that is free, which they may take unasked
ROOM = 1.05  # times the size of the images that must be free on the disk


def parse_cache(cache: str | None) -> str | None:
    """Return `cache` if it is one of `CACHES` or None, else raise `InputError`."""
    return choose("cache", cache, (None, *CACHES))


def chosen(cache: str | None, needed: int) -> str:
    """Return `cache`, or if it is None `memory` for images that fit comfortably and `none` for others.

    Args:
        cache: as `load` takes it.
        needed: bytes of memory that the images need while they are read.
    """
    if cache is not None:
        return cache
    return "memory" if needed <= min(COMFORTABLE, SHARE * memory.available()) else "none"


class Kept(NamedTuple):
    """Images of the cache, and what was noted of them."""

    images: StoredImages
    facts: dict[str, Any]


def folder() -> pathlib.Path:
    """Where decoded images are kept: `KERAS_VAEGAN_CACHE`, or a folder of the package's cache."""
    given = os.environ.get("KERAS_VAEGAN_CACHE")
    return user_path("KERAS_VAEGAN_CACHE", given) if given else cache_folder() / "images"


def key_of(*parts: Any) -> str:
    """A key for the content and settings that images come from, all of which JSON can hold."""
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True).encode()).hexdigest()[:32]


def find(name: str, key: str) -> Kept | None:
    """Return images of the cache, or None if they are not there, or damaged."""
    with contextlib.suppress(InputError, OSError, ValueError, KeyError, TypeError):
        images, about = _paths(name, key)
        facts = read_json(about, kind=dict)
        array = np.load(images, mmap_mode="r", allow_pickle=False)
        if array.ndim == 4 and list(array.shape) == facts["shape"]:
            return Kept(as_stored(array), facts)
    return None


def keep(
    name: str,
    key: str,
    shape: Sequence[int],
    dtype: Any,
    images: Iterable[np.ndarray],
    facts: Callable[[], dict[str, Any]],
) -> Kept | None:
    """Write images to the cache, one after another, and return them; None with a warning if it cannot be.

    Args:
        name: for people who look at the folder.
        key: of `key_of`.
        shape: `(N, H, W, C)`.
        dtype: of the images.
        images: each `(H, W, C)`.
        facts: gives what to note of them, when all are written; JSON must be able to hold it.
    """
    dtype = np.dtype(dtype)
    try:
        path, about = _paths(name, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        free = shutil.disk_usage(path.parent).free
        if ROOM * needed > free:
            raise OSError(f"{needed / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB are free")
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, {**head, "shape": tuple(map(int, shape))})
            for image in images:  # no memory map: what it has written would count as memory in use
                file.write(np.ascontiguousarray(image, dtype).data)
        write_json(about, {**facts(), "shape": list(map(int, shape))})
    except (OSError, InputError) as error:
        if isinstance(error, InputError) and error.argument != "KERAS_VAEGAN_CACHE":
            raise  # of an image
        reason = str(error) if isinstance(error, InputError) else reason_of(error)
        warnings.warn(
            f"goes on without decoded images on disk, which cannot be written: {reason.rstrip('.')}. Set "
            "KERAS_VAEGAN_CACHE to a folder that can be.",
            stacklevel=2,
        )
        return None
    return find(name, key)


def settled(splits: Splits, cache: str | None, bytes_per_value: int, name: str) -> Splits:
    """Return the splits of a source with their stored images where `cache` says; arrays stay in memory.

    Args:
        splits: pairs `(x, y)`.
        cache: as `load` takes it.
        bytes_per_value: memory that each number of an image takes while it is read.
        name: of the source.

    Raises `InputError` for images that do not fit into memory, if they are to be there.
    """
    values = sum(x.size for x, _ in splits if is_stored(x))
    if not values or chosen(cache, values * bytes_per_value) == "none":
        return splits
    if cache != "disk":
        needed = values * bytes_per_value
        memory.require(f"source ({values:,} values)", needed, 'Pass cache="none" (--cache none).')
        return [(np.asarray(x) if is_stored(x) else x, y) for x, y in splits]
    made: list[Any] = [(_on_disk(as_stored(x), name) if is_stored(x) else x, y) for x, y in splits]
    return made


def content_of(splits: Splits) -> str | None:
    """A text that changes if the stored images of a source do; None if nothing tells."""
    found = [as_stored(x).fingerprint() for x, _ in splits if is_stored(x)]
    return None if len(found) < len(splits) or None in found else key_of(found)


def _on_disk(x: StoredImages, name: str) -> StoredImages:
    """The same images, from the cache; those whose content nothing tells stay where they are."""
    content = x.fingerprint()
    if content is None or (isinstance(x, Indexed) and isinstance(x.array, np.memmap)):
        return x
    key = key_of(content)
    images = (image for rows in parts_of(x) for image in x[rows])
    kept = find(name, key) or keep(name, key, x.shape, x.dtype, images, dict)
    return x if kept is None else kept.images


def _paths(name: str, key: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of images and of what is noted of them."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", one_line(name))[:60]
    base = folder() / f"{safe}-{key}"
    return base.with_name(base.name + ".npy"), base.with_name(base.name + ".json")
