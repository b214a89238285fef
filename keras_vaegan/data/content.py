"""The content of data as a hash, so that a change of it can be told."""

import hashlib
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan.data.splits import SPLITS
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.data.views import parts_of

if TYPE_CHECKING:
    from keras_vaegan.data.sources import ImageData

OLDER = "the run is older than splits that follow from the names of files"
CHUNK = 1000  # images hashed at a time
READ_UNASKED = 500_000_000  # bytes of stored images that are read to tell a change


def content_hash(images: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of type, shape and values of images, stored or not."""
    digest = hashlib.sha256(f"{images.dtype.str}{tuple(images.shape)}".encode())
    stored = is_stored(images)
    for rows in parts_of(images) if stored else (slice(i, i + CHUNK) for i in range(0, len(images), CHUNK)):
        digest.update(np.ascontiguousarray(images[rows]).data)
    return digest.hexdigest()[:16]


def describe(data: "ImageData", whole: bool = False) -> dict[str, Any]:
    """What identifies data, so that a change can be told. A second or two for a gigabyte.

    Args:
        data: of any size.
        whole: whether to read all images, also those that are not in memory.

    Returns:
        `num_images` of each split, and

        - `content`, the hash of all images and labels; None for stored images of more than 500 MB;
        - `stamp`, a hash of the labels and of what tells the images without reading them: the bytes of the
          files of a folder, the time of the last change of other files; None if nothing does.
    """
    stored = [x for x, _ in data if is_stored(x)]
    content = None
    if whole or sum(x.nbytes for x in stored) <= READ_UNASKED:
        content = _together(content_hash(array) for pair in data for array in pair if array is not None)
    stamps = [data.content] if data.content else [as_stored(x).fingerprint() for x in stored]
    known = len(stamps) == (1 if data.content else len(data)) and None not in stamps
    labels = ["none" if y is None else content_hash(y) for _, y in data]
    return {
        "content": content,
        "stamp": _together([*map(str, stamps), *labels]) if known else None,
        "num_images": {name: len(x) for name, (x, _) in zip(SPLITS, data, strict=True)},
    }


def _together(parts: Iterable[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def change(then: Any, now: dict[str, Any]) -> str | None:
    """What has changed from one description of data to another, in words; None if nothing has.

    Args:
        then: of a run's metadata, where it may be anything.
        now: what `describe` returned.
    """
    then = then if isinstance(then, dict) else {}
    found = then.get("num_images")
    found = found if isinstance(found, dict) else {}
    counts = {name: found[name] for name in SPLITS if isinstance(found.get(name), int)}
    counts_now = now["num_images"]
    if _same(then, now, "content") or (_same(then, now, "stamp") and counts == counts_now):
        return None
    if set(counts) != set(SPLITS):
        return "other images or labels"
    before, after = sum(counts.values()), sum(counts_now.values())
    if counts == counts_now:
        return f"{after:,} images as before, but other pixels, labels or names"
    splits = ", ".join(f"{name} {counts[name]:,} -> {counts_now[name]:,}" for name in SPLITS)
    if before == after:
        return f"{after:,} images as before, in other splits ({splits})"
    how = f"{abs(after - before):,} {'more' if after > before else 'fewer'}"
    return f"{after:,} images, {how} than the {before:,} before ({splits})"


def _same(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return now[name] is not None and then.get(name) == now[name]


def change_since_training(
    metadata: Mapping[str, Any], dataset: str | None, image_size: tuple[int, int] | None, data: "ImageData"
) -> str | None:
    """What has changed in the data since a model was trained on them, in words; None for other data.

    A run on a folder that has no hash of its data is older than the splits of files by their names.
    """
    own = metadata.get("dataset")
    asked = own if dataset is None else dataset
    if own is None or image_size is not None or _resolved(asked) != _resolved(own):
        return None
    then = metadata.get("data")
    if then is not None:
        now = describe(data)
        known = then if isinstance(then, dict) else {}
        if change(then, now) is not None and now["content"] is None and known.get("content") is not None:
            now = describe(data, whole=True)  # as of a copy of the files, which has other times
        return change(then, now)
    return OLDER if pathlib.Path(own).is_dir() else None


def _resolved(dataset: object) -> str:
    path = pathlib.Path(str(dataset)).expanduser()
    return str(path.resolve()) if path.exists() else str(dataset)
