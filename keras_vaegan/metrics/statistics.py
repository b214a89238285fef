"""What the distances need of a set of images, gathered in one pass and kept for the next time."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_vaegan.data.checks import check_images
from keras_vaegan.data.content import content_hash
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.data.views import parts_of
from keras_vaegan.files import atomic_path, warn_of_cache
from keras_vaegan.metrics.distances import Moments
from keras_vaegan.metrics.features import Extractor

CHUNK = 1000  # images in memory at a time


@dataclasses.dataclass
class Statistics:
    """A set of images as an extractor sees it.

    Attributes:
        moments: mean and covariance of the features.
        features: `(N, d)` float32, or None where only the moments were asked for.
        probabilities: of the classes, `(N, K)`, or None where the extractor is no classifier.
    """

    moments: Moments
    features: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def chunked(images: Any, size: int = CHUNK) -> Iterator[np.ndarray]:
    """Images `(N, H, W, C)`, of an array or stored ones, at most `size` of them at a time."""
    return (images[rows] for rows in parts_of(images, most=size))


def gather(extractor: Extractor, chunks: Iterable[np.ndarray], keep_features: bool = True) -> Statistics:
    """Statistics of images that come in chunks `(n, H, W, C)`.

    Args:
        extractor: whose features.
        chunks: images, float in [0, 1] or uint8.
        keep_features: whether the features are kept. Without them memory grows by the K probabilities of
            each image alone, and not at all where the extractor is no classifier.
    """
    moments, kept, probabilities = Moments(), [], []
    for chunk in chunks:
        seen = extractor.extract(chunk)
        moments.update(seen.features)
        if keep_features:
            kept.append(seen.features)
        if seen.probabilities is not None:
            probabilities.append(seen.probabilities)
    return Statistics(
        moments,
        np.concatenate(kept) if kept else None,
        np.concatenate(probabilities) if probabilities else None,
    )


def reference_statistics(
    extractor: Extractor,
    images: Any,
    keep_features: bool = True,
    cache: str | os.PathLike[str] | None = None,
) -> Statistics:
    """Statistics of real images, computed once and then read from a file.

    The file is named by the extractor's weights, layers and scaling and by the images' content, so it is
    never stale; a damaged one is made anew. A network whose layers cannot be told has no file. If the file
    cannot be written, a warning says so.

    Args:
        extractor: whose features.
        images: `(N, H, W, C)`, float in [0, 1] or uint8; stored ones are read twice if there is a cache.
        keep_features: whether the features are needed, beside the moments.
        cache: folder of the files; None for no cache.

    Raises:
        InputError: images that are not `(N, H, W, C)` with N > 0, out of range, or of channels that the
            extractor does not take.
    """
    images = as_stored(images) if is_stored(images) else check_images(images, argument="images")
    if cache is None or extractor.architecture is None:
        return gather(extractor, chunked(images), keep_features)
    kind = "features" if keep_features else "moments"
    known = (extractor.name, extractor.digest, extractor.architecture, content_hash(images), kind)
    path = pathlib.Path(cache) / f"{'-'.join(known)}.npz"
    found = _read(path, extractor, len(images), keep_features)
    if found is None:
        found = gather(extractor, chunked(images), keep_features)
        try:
            _write(path, found)
        except OSError as error:  # a cache is no reason to lose what was computed
            warn_of_cache(error)
    return found


def _write(path: pathlib.Path, statistics: Statistics) -> None:
    moments = statistics.moments
    arrays: dict[str, Any] = {"count": moments.count, "mean": moments.mean, "scatter": moments.scatter}
    optional = {"features": statistics.features, "probabilities": statistics.probabilities}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def _read(path: pathlib.Path, extractor: Extractor, count: int, keep_features: bool) -> Statistics | None:
    """What a file keeps; None if it is missing or damaged, or its arrays are of other shapes."""
    width, classes = extractor.dimension, extractor.num_classes
    shapes = {"count": (), "mean": (width,), "scatter": (width, width)}
    shapes |= {"features": (count, width)} if keep_features else {}
    shapes |= {"probabilities": (count, classes)} if classes is not None else {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if set(archive.files) != set(shapes):
                return None
            arrays = {name: archive[name] for name in shapes}
    except Exception:  # damaged files make libraries raise errors of many kinds
        return None
    if any(
        arrays[name].shape != shape or arrays[name].dtype.kind not in "if" for name, shape in shapes.items()
    ):
        return None
    moments = Moments(int(arrays["count"]), arrays["mean"], arrays["scatter"])
    return Statistics(moments, arrays.get("features"), arrays.get("probabilities"))
