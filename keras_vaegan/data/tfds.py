"""Image sets of the TensorFlow Datasets catalogue."""

import contextlib
import difflib
import logging
import os
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_vaegan.data.checks import ValueRange, check_images
from keras_vaegan.data.images import (
    VARYING_SIZE,
    WHITE,
    Colour,
    Levels,
    Resize,
    fit_all,
    range_for,
    reduce_depth,
    require_for,
    to_bytes,
)
from keras_vaegan.data.splits import Splits
from keras_vaegan.data.tensorflow_side import import_tensorflow
from keras_vaegan.errors import InputError, one_line, unknown_name
from keras_vaegan.files import reason_of, user_path

FAMILIAR = ("mnist", "fashion_mnist", "svhn_cropped", "cifar10", "celeb_a")
VALIDATION_SIZES = {"mnist": 5000, "fashion_mnist": 5000}  # the customary 55,000 / 5,000 / 10,000
READ_BATCH = 256
RETRIES = 3  # TFDS' ten take minutes to find out that there is no network
REASON_LENGTH = 300  # characters of a foreign error's text


def read_tfds(
    name: str,
    size: tuple[int, int] | None,
    channels: int | None,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    value_range: ValueRange = None,
    bytes_per_value: int = 3,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> tuple[Splits, list[str] | None]:
    """Return the splits, images uint8 `(B, H, W, C)`, and class names of a TFDS set; see `load`.

    `bytes_per_value` is the memory that is needed for each number of an image.

    Raises `InputError` for a name that the catalogue does not have, a set without images or a train split, a
    set that cannot be prepared (no network, files to be had by hand), a `manual_dir` that is no
    folder, integers of another range than that of their type, and more images than fit into memory.
    """
    tf = import_tensorflow()
    import tensorflow_datasets as tfds

    _check_name(name, tfds)
    if manual_dir is not None and not Path(_expand(manual_dir)).is_dir():
        raise InputError(f"manual_dir must be a folder; received {str(manual_dir)!r}.")
    builder = _prepare(name, data_dir, manual_dir, tfds)
    features = builder.info.features
    if "image" not in features or not isinstance(features["image"], tfds.features.Image):
        raise InputError(f"source must be a set with an image feature; {name!r} has {', '.join(features)}.")
    label = features["label"] if "label" in features else None
    label = label if isinstance(label, tfds.features.ClassLabel) else None
    parts, shape = _splits(builder), features["image"].shape
    if None in shape:  # images cannot be batched before they have one size and number of channels
        size, channels = size or VARYING_SIZE, channels or shape[-1] or 3
    number = sum(builder.info.splits[part].num_examples for part in parts)
    require_for((number, *(size or shape[:2]), channels or shape[-1]), bytes_per_value, f"source {name}")
    levels = Levels()
    with tf.device("CPU:0"):
        splits = [
            _read_split(builder, part, label, size, channels, tfds, value_range, levels, resize, background)
            for part in parts
        ]
    levels.check("source")
    return splits, None if label is None else list(label.names)


def _check_name(name: str, tfds: Any) -> None:
    names = ["digits", "stacked_mnist", *tfds.list_builders(with_community_datasets=False)]
    if name not in names:
        # The nearest of all, shown among a few: the catalogue has hundreds.
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        shown = dict.fromkeys(["digits", *FAMILIAR, *nearest, "another TFDS set", "a folder", "an .npz file"])
        raise unknown_name("source", name, shown)


def _prepare(
    name: str, data_dir: str | os.PathLike[str] | None, manual_dir: str | os.PathLike[str] | None, tfds: Any
) -> Any:
    """Return the builder of a set that is on disk, downloaded first where that is needed."""
    import requests

    if data_dir is None and not os.environ.get("TFDS_DATA_DIR"):
        user_path(
            "data_dir", "~"
        )  # raises if there is no home folder, for which TFDS would make one named "~"
    config = tfds.download.DownloadConfig(manual_dir=_expand(manual_dir))

    def prepared() -> Any:
        builder = tfds.builder(name, data_dir=_expand(data_dir))
        with _few_retries():
            builder.download_and_prepare(download_config=config)
        return builder

    try:
        try:
            return prepared()
        except FileExistsError:  # another process has just finished the same: what it wrote is there now
            return prepared()
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, urllib.error.URLError) as error:
        raise InputError(
            f"source {name!r} has to be downloaded and the network could not be reached "
            f"({type(error).__name__}). Point data_dir (--data-dir) at a folder where TFDS has prepared it, "
            "or manual_dir (--manual-dir) at a folder with the original files.",
            argument="source",
            received=name,
        ) from error
    except OSError as error:
        if error.errno is None:
            raise _unprepared(name, error) from error
        place = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        raise InputError(
            f"data_dir must be a folder that TFDS can write; it cannot prepare {name!r} in "
            f"{one_line(place)}: {reason_of(error)}."
        ) from error
    except Exception as error:  # each of the hundreds of sets fails in its own way
        raise _unprepared(name, error) from error


def _unprepared(name: str, error: Exception) -> InputError:
    if type(error).__name__ in ("PermissionDeniedError", "FailedPreconditionError"):  # of TensorFlow's files
        return InputError(
            f"data_dir must be a folder that TFDS can write; it cannot prepare {name!r}: {reason_of(error)}."
        )
    reason = " ".join(str(error).split())[:REASON_LENGTH]
    return InputError(
        f"source {name!r} could not be prepared by TFDS ({type(error).__name__}: {reason}). Files that "
        "it cannot download itself go into manual_dir (--manual-dir).",
        argument="source",
        received=name,
    )


def _expand(folder: Any) -> Any:
    return None if folder is None else str(user_path("data_dir and manual_dir", folder))


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Let TFDS give up on an unreachable host after seconds, without a warning per attempt."""
    from tensorflow_datasets.core.download import downloader

    log = logging.getLogger("urllib3.connectionpool")
    level, retries = log.level, downloader.MAX_RETRIES
    log.setLevel(logging.ERROR)
    downloader.MAX_RETRIES = RETRIES
    try:
        yield
    finally:
        log.setLevel(level)
        downloader.MAX_RETRIES = retries


def _splits(builder: Any) -> tuple[str, str, str]:
    """Return the TFDS split expressions of train, validation and test."""
    available = builder.info.splits
    if "train" not in available:
        raise InputError(f"source must have a train split; {builder.name!r} has {', '.join(available)}.")
    has_validation, has_test = "validation" in available, "test" in available
    if builder.name in VALIDATION_SIZES:
        size = VALIDATION_SIZES[builder.name]
        return f"train[:-{size}]", f"train[-{size}:]", "test"
    validation_from = 100 if has_validation else 90
    test_from = 100
    if not has_test:
        validation_from, test_from = validation_from - 10, 90
    train = "train" if validation_from == 100 else f"train[:{validation_from}%]"
    return (
        train,
        "validation" if has_validation else f"train[{validation_from}%:{test_from}%]",
        "test" if has_test else f"train[{test_from}%:]",
    )


def _read_split(
    builder: Any,
    split: str,
    label: Any,
    size: tuple[int, int] | None,
    channels: int | None,
    tfds: Any,
    value_range: ValueRange,
    levels: Levels,
    resize: Resize,
    background: Colour,
) -> tuple[Any, np.ndarray | None]:
    """Return `(x, y)` of a split; x keeps the catalogue's 8 bits."""
    varies = None in builder.info.features["image"].shape
    wanted = {"image": True} if label is None else {"image": True, "label": True}
    dataset = builder.as_dataset(
        split=split,
        batch_size=1 if varies else READ_BATCH,
        decoders=tfds.decode.PartialDecoding(wanted),  # other features may be ragged
    )
    num_images = builder.info.splits[split].num_examples
    images, labels, start = None, np.empty(num_images, np.int64), 0
    for batch in tfds.as_numpy(dataset):
        fitted = fit_all(_in_bytes(batch["image"], value_range, levels), size, channels, resize, background)
        if images is None:
            images = np.empty((num_images, *fitted.shape[1:]), fitted.dtype)
        stop = start + len(fitted)
        images[start:stop] = fitted
        if label is not None:
            labels[start:stop] = batch["label"]
        start = stop
    return images, None if label is None else labels


def _in_bytes(images: np.ndarray, value_range: ValueRange, levels: Levels) -> np.ndarray:
    """Return images of 8 or 16 bits, or floats, in 8 bits or floats."""
    if images.dtype.kind not in "iu":
        return images
    bits = 8 * images.dtype.itemsize
    value_range = range_for(bits, value_range)
    if value_range is not None:
        return to_bytes(check_images(images, argument="source", value_range=value_range), value_range)
    if levels.needs(bits):
        levels.note(bits, images.max())
    return reduce_depth(images)
