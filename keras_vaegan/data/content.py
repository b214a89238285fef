"""The content of data as a hash, so that a change of it can be told."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan.data.splits import SPLITS
from keras_vaegan.data.stored import is_stored
from keras_vaegan.data.views import parts_of

if TYPE_CHECKING:
    from keras_vaegan.data.sources import ImageData

OLDER = "the run is older than splits that follow from the names of files"
CHUNK = 1000  # images hashed at a time


def content_hash(images: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of type, shape and values of images, stored or not."""
    digest = hashlib.sha256(f"{images.dtype.str}{tuple(images.shape)}".encode())
    stored = is_stored(images)
    for rows in parts_of(images) if stored else (slice(i, i + CHUNK) for i in range(0, len(images), CHUNK)):
        digest.update(np.ascontiguousarray(images[rows]).data)
    return digest.hexdigest()[:16]


def describe(data: "ImageData") -> dict[str, Any]:
    """What identifies data: `content`, the hash of all images and labels, and `num_images` of each split.

    A second or two for a gigabyte, once in a training.
    """
    arrays = [array for pair in data for array in pair if array is not None]
    content = hashlib.sha256("".join(map(content_hash, arrays)).encode()).hexdigest()[:16]
    return {
        "content": content,
        "num_images": {name: len(x) for name, (x, _) in zip(SPLITS, data, strict=True)},
    }


def change(then: Any, now: dict[str, Any]) -> str | None:
    """What has changed from one description of data to another, in words; None if nothing has.

    Args:
        then: of a run's metadata, where it may be anything.
        now: what `describe` returned.
    """
    then = then if isinstance(then, dict) else {}
    if then.get("content") == now["content"]:
        return None
    found = then.get("num_images")
    found = found if isinstance(found, dict) else {}
    counts = {name: found[name] for name in SPLITS if isinstance(found.get(name), int)}
    if set(counts) != set(SPLITS):
        return "other images or labels"
    counts_now = now["num_images"]
    before, after = sum(counts.values()), sum(counts_now.values())
    if counts == counts_now:
        return f"{after:,} images as before, but other pixels, labels or names"
    splits = ", ".join(f"{name} {counts[name]:,} -> {counts_now[name]:,}" for name in SPLITS)
    if before == after:
        return f"{after:,} images as before, in other splits ({splits})"
    how = f"{abs(after - before):,} {'more' if after > before else 'fewer'}"
    return f"{after:,} images, {how} than the {before:,} before ({splits})"


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
    if metadata.get("data") is not None:
        return change(metadata["data"], describe(data))
    return OLDER if pathlib.Path(own).is_dir() else None


def _resolved(dataset: object) -> str:
    path = pathlib.Path(str(dataset)).expanduser()
    return str(path.resolve()) if path.exists() else str(dataset)
