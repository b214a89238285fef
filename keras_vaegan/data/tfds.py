"""Image sets of the TensorFlow Datasets catalogue."""

import contextlib
import dataclasses
import io
import logging
import math
import os
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_vaegan.data.arrays import complete
from keras_vaegan.data.cache import chosen
from keras_vaegan.data.images import VARYING_SIZE, require_for
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.records import ArrayRecords, RecordImages, Shard, TFRecords, value_in
from keras_vaegan.data.splits import Splits
from keras_vaegan.data.stored import as_stored
from keras_vaegan.data.tensorflow_side import import_tensorflow
from keras_vaegan.errors import InputError, nearest, one_line, unknown_name
from keras_vaegan.files import reason_of, user_path

FAMILIAR = ("mnist", "fashion_mnist", "svhn_cropped", "cifar10", "celeb_a")
VALIDATION_SIZES = {"mnist": 5000, "fashion_mnist": 5000}  # the customary 55,000 / 5,000 / 10,000
READ_BATCH = 256
RECORDS = {"tfrecord": TFRecords, "array_record": ArrayRecords}  # by TFDS' names of formats
PIPELINE_FROM = 5000  # images from which TensorFlow's pipeline is faster than one by one, with its start
TALKATIVE = ("absl", "urllib3", "urllib3.connectionpool", "tensorflow_datasets")  # names of loggers
RETRIES = 3  # TFDS' ten take minutes to find out that there is no network
REASON_LENGTH = 300  # characters of a foreign error's text


def read_tfds(
    name: str,
    asked: Preprocessing,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    bytes_per_value: int = 3,
    deep: bool = True,
    cache: str | None = None,
) -> tuple[Splits, list[str] | None, list[str], Preprocessing]:
    """Return the splits of a TFDS set, its class names or None, notes, and the completed preprocessing.

    Args:
        name: of the set; see `load`.
        asked: what to do with each image.
        data_dir: folder of prepared sets.
        manual_dir: folder of original files.
        bytes_per_value: memory that is needed for each number of an image, if all are read at once.
        deep: whether images of more than 8 bits become float32; else all become uint8.
        cache: `"memory"` reads all images at once; others return `StoredImages`, which read each record when
            it is needed. None reads sets at once that fit comfortably; see `load`. Files of a format without
            random access are always read at once.

    Raises:
        InputError: a name that the catalogue does not have, a set without images or a train split, a set that
            cannot be prepared (no network, files to be had by hand), a `manual_dir` that is no folder,
            integers of another range than that of their type, and more images than fit into memory.
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
    if len(features["image"].shape) != 3:
        raise InputError(f"source must be a set of still images; {name!r} has {features['image'].shape}.")
    label = features["label"] if "label" in features else None
    label = label if isinstance(label, tfds.features.ClassLabel) else None
    parts = [_Part(builder, split, label is not None, tfds) for split in _splits(builder)]
    empty = [part.split for part in parts if not len(part)]
    if empty:
        raise InputError(f"source must have enough images to be split; {name!r} has none in {empty[0]}.")
    with tf.device("CPU:0"):
        made, notes = complete(parts, asked)
        if not deep:
            made = dataclasses.replace(made, deep=False)
        number, shape = sum(map(len, parts)), made.image_shape or ()
        place = chosen(cache, number * math.prod(shape) * bytes_per_value)
        in_memory = place == "memory" or any(part.shards is None for part in parts)
        if in_memory:
            per_value = max(bytes_per_value, 8 if made.deep else 0)
            require_for((number, *shape), per_value, f"source {name}")
        splits = [part.loaded(made) if in_memory else part.stored(made) for part in parts]
    return splits, None if label is None else list(label.names), notes, made


class _Part:
    """One split of a set: its images as they are stored, of one size or of several.

    Attributes:
        split: the expression that TFDS reads it by.
        shape: `(N, H, W, C)`, with the size that images get which differ.
        dtype: of the images: uint8, uint16 or float32.
        shards: where its records are; None for files without random access.
    """

    def __init__(self, builder: Any, split: str, labelled: bool, tfds: Any) -> None:
        self.builder, self.split, self.labelled, self._tfds = builder, split, labelled, tfds
        self.feature = builder.info.features["image"]
        height, width, channels = self.feature.shape
        size = VARYING_SIZE if None in (height, width) else (height, width)
        self.shape = (builder.info.splits[split].num_examples, *size, channels or 3)
        self.dtype = np.dtype(self.feature.np_dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self.format = builder.info.file_format.value
        self.shards: list[Shard] | None = None
        if self.format in RECORDS:
            shards = [Shard(os.fspath(f.filename), f.skip, f.take) for f in self._instructions()]
            if all(os.path.isfile(shard.path) for shard in shards):  # and not in a cloud
                self.shards = shards

    def __len__(self) -> int:
        return self.shape[0]

    def _instructions(self) -> Any:
        return self.builder.info.splits[self.split].file_instructions

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(start, images)` in order, several of one size, or each alone."""
        for start, images, _ in self._batches(labelled=False):
            yield start, images

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return some images `(n, h, w, c)` that stand for all: the first ones."""
        return next(iter(self.blocks()))[1]

    def _batches(self, labelled: bool) -> Iterator[tuple[int, np.ndarray, Any]]:
        """Yield `(start, images, labels)`; labels are None unless they are asked for."""
        if self.shards is not None and (self.format == "array_record" or len(self) < PIPELINE_FROM):
            labels: list[int] = []
            records = self._records(labels if labelled else None)
            found = self._images(records, Preprocessing(self.shape[1:3], self.shape[3]))
            for i in range(len(self)):
                image = next(found.decoded(np.array([i])))
                yield i, image[None], labels[i : i + 1] or None
            return
        tfds, wanted = self._tfds, ["image", "label"] if labelled else ["image"]
        dataset = self.builder.as_dataset(
            split=self.split,
            batch_size=1 if None in self.feature.shape else READ_BATCH,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(wanted, True)),  # other features may be ragged
            read_config=tfds.ReadConfig(interleave_cycle_length=1),  # the order of the records in their files
        )
        start = 0
        for batch in tfds.as_numpy(dataset):
            yield start, batch["image"], batch.get("label")
            start += len(batch["image"])

    def _records(self, labels: list[int] | None) -> Any:
        """Find the records; if there is a list for their labels, all are read once."""
        tf = import_tensorflow()

        def look(record: bytes) -> None:
            if labels is not None:
                labels.append(int(value_in(tf, record, "label")))

        return RECORDS[self.format](self.shards or [], None if labels is None else look)

    def _images(self, records: Any, preprocessing: Preprocessing) -> RecordImages:
        return RecordImages(records, "image", self.feature.shape[-1], self.dtype, preprocessing)

    def stored(self, preprocessing: Preprocessing) -> tuple[RecordImages, np.ndarray | None]:
        """Return `(x, y)`; x stays on disk."""
        labels: list[int] = []
        images = self._images(self._records(labels if self.labelled else None), preprocessing)
        return images, np.array(labels, np.int64) if self.labelled else None

    def loaded(self, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray | None]:
        """Return `(x, y)`, both in memory."""
        images = np.empty(
            (len(self), *(preprocessing.image_shape or ())), np.float32 if preprocessing.deep else np.uint8
        )
        labels = np.empty(len(self), np.int64)
        for start, batch, batch_labels in self._batches(self.labelled):
            stop = start + len(batch)
            images[start:stop] = as_stored(batch, preprocessing)[:]
            if self.labelled:
                labels[start:stop] = batch_labels
        return images, labels if self.labelled else None


def _check_name(name: str, tfds: Any) -> None:
    names = ["mnist_small", "digits", "stacked_mnist", *tfds.list_builders(with_community_datasets=False)]
    if name not in names:
        # The nearest of all, shown among a few: the catalogue has hundreds.
        near = nearest(name, names)
        shown = dict.fromkeys(
            ["mnist_small", "digits", *FAMILIAR, *([] if near is None else [near])]
            + ["another TFDS set", "a folder", "an .npz file"]
        )
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
        with _quiet():
            builder = tfds.builder(name, data_dir=_expand(data_dir))
            if not builder.data_path.exists():
                print(f"downloads {name} into {one_line(builder.data_path)}", file=sys.stderr, flush=True)
            builder.download_and_prepare(download_config=config)
        return builder

    try:
        try:
            return prepared()
        except FileExistsError:  # another process has just finished the same: what it wrote is there now
            return prepared()
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, urllib.error.URLError) as error:
        instead = "; or use the dataset mnist_small (--dataset mnist_small)" if name == "mnist" else ""
        raise InputError(
            f"source {name!r} has to be downloaded and the network could not be reached "
            f"({type(error).__name__}). Point data_dir (--data-dir) at a folder where TFDS has prepared it, "
            f"or manual_dir (--manual-dir) at a folder with the original files{instead}.",
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
def _quiet() -> Iterator[None]:
    """Let TFDS give up on an unreachable host after seconds, without log lines and progress bars."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    logs = [logging.getLogger(name) for name in TALKATIVE]
    levels = [log.level for log in logs]
    retries = downloader.MAX_RETRIES
    for log in logs:
        log.setLevel(logging.CRITICAL)
    downloader.MAX_RETRIES = RETRIES
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
        for log, level in zip(logs, levels, strict=True):  # not after a failure: threads still try, and log
            log.setLevel(level)
    finally:
        downloader.MAX_RETRIES = retries
        tfds.enable_progress_bar()


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
