"""Images in files of records, as TFDS writes them, by random access."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_vaegan.data.stored import StoredImages, readable, with_stamps
from keras_vaegan.data.tensorflow_side import import_tensorflow
from keras_vaegan.errors import InputError

if TYPE_CHECKING:
    from keras_vaegan.data.preprocessing import Preprocessing

# Of a TFRecord file: a record's length and its checksum, the record, the record's checksum.
HEAD, TAIL = 12, 4
BUFFER = 1_000_000  # bytes read at a time while records are looked for
READ_AT_ONCE = 256  # records


class Shard(NamedTuple):
    """The records `skip` to `skip + take` of a file."""

    path: str
    skip: int
    take: int


class TFRecords:
    """The records of TFRecord files by number.

    The files are read once from beginning to end, to find where their records are. Each read then opens its
    file anew, so that threads and processes share nothing.

    Args:
        shards: which files, and which records of them.
        look: called with each record, in order, while they are found; None skips over them.

    Raises `InputError` for a file that is missing, damaged or of fewer records.
    """

    def __init__(self, shards: Sequence[Shard], look: Callable[[bytes], Any] | None = None) -> None:
        self.shards = list(shards)
        found = []
        for number, shard in enumerate(self.shards):
            with readable(shard.path):
                places = np.array(list(_places(shard, look)), np.int64).reshape(-1, 2)
            found.append(np.insert(places, 0, number, axis=1))
        self.places = np.concatenate(found)  # of each record, the file, and its begin and length in bytes

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.places)

    def read(self, indices: np.ndarray) -> list[bytes]:
        """Return the records at `indices`; see `StoredImages.read`."""
        records = []
        for number, start, length in self.places[indices].tolist():
            path = self.shards[number].path
            with readable(path), open(path, "rb", buffering=0) as file:
                file.seek(start)
                record = file.read(length)
                if len(record) < length:
                    raise ValueError("it ends within a record")
            records.append(record)
        return records


def _places(shard: Shard, look: Callable[[bytes], Any] | None) -> Iterator[tuple[int, int]]:
    """Yield the begin and length of each record of a shard."""
    size = os.path.getsize(shard.path)
    with open(shard.path, "rb", buffering=BUFFER) as file:
        start = 0
        for number in range(shard.skip + shard.take):
            file.seek(start)
            head = file.read(HEAD)
            length = int.from_bytes(head[:8], "little")
            if len(head) < HEAD or start + HEAD + length + TAIL > size:
                raise ValueError(f"it ends within record {number} of {shard.skip + shard.take}")
            if number >= shard.skip:
                if look is not None:
                    look(file.read(length))
                yield start + HEAD, length
            start += HEAD + length + TAIL


class ArrayRecords:
    """The records of ArrayRecord files by number; see `TFRecords`.

    The package's reader is opened on first use, again after pickling, and again in a forked process.
    """

    def __init__(self, shards: Sequence[Shard], look: Callable[[bytes], Any] | None = None) -> None:
        self.shards = list(shards)
        self._source: Any = None
        self._process, self._lock = os.getpid(), threading.Lock()
        if look is not None:
            for start in range(0, len(self), READ_AT_ONCE):
                for record in self.read(np.arange(start, min(start + READ_AT_ONCE, len(self)))):
                    look(record)

    def __len__(self) -> int:
        """Return the number of records."""
        return sum(shard.take for shard in self.shards)

    def read(self, indices: np.ndarray) -> list[bytes]:
        """Return the records at `indices`; see `StoredImages.read`."""
        if not len(indices):
            return []
        if self._process != os.getpid():  # a thread of the other process may hold the lock
            self._source, self._process, self._lock = None, os.getpid(), threading.Lock()
        with self._lock, readable(self.shards[0].path):
            if self._source is None:
                self._source = _array_record_source(self.shards)
            return list(self._source.__getitems__(indices.tolist()))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: the files, not their reader."""
        return {"shards": self.shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the files."""
        self.__init__(state["shards"])  # type: ignore[misc]


def _array_record_source(shards: Sequence[Shard]) -> Any:
    try:
        from array_record.python.array_record_data_source import ArrayRecordDataSource
    except ImportError as error:
        raise InputError(
            "source is stored as ArrayRecord and needs the package array_record: pip install array_record.",
            argument="source",
        ) from error
    return ArrayRecordDataSource([f"{path}[{skip}:{skip + take}]" for path, skip, take in shards if take])


class RecordImages(StoredImages):
    """Images of records that are `tf.train.Example` with an encoded image, decoded by TensorFlow.

    Args:
        records: `TFRecords` or `ArrayRecords`.
        key: name of the image in an example.
        channels: that images are decoded to; None keeps those of each.
        stored: dtype of the images: uint8, uint16 or float32, which TFDS stores as the bytes of RGBA.
        preprocessing: applied to each image; with its size and channels.
    """

    def __init__(
        self,
        records: TFRecords | ArrayRecords,
        key: str,
        channels: int | None,
        stored: Any,
        preprocessing: "Preprocessing",
    ) -> None:
        shape = preprocessing.image_shape
        assert shape is not None
        super().__init__((len(records), *shape), np.float32 if preprocessing.deep else np.uint8)
        self.records, self.key, self.channels = records, key, channels
        self.stored, self.preprocessing = np.dtype(stored), preprocessing

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for number, image in enumerate(self.decoded(indices)):
            images[number] = self.preprocessing(image)
        return images

    def decoded(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the images `(h, w, c)` at `indices` as they are stored, whatever their size."""
        tf = import_tensorflow()
        for record in self.records.read(indices):
            with readable(self.records.shards[0].path), tf.device("CPU:0"):
                image = _decoded(tf, value_in(tf, record, self.key), self.channels, self.stored)
            yield image

    def fingerprint(self) -> str | None:
        """Return the files with their sizes and times, and what is done with the images."""
        shards = self.records.shards
        text = f"{shards} {self.key} {self.channels} {self.stored} {self.preprocessing!r}"
        return with_stamps(text, [shard.path for shard in shards])


def value_in(tf: Any, record: bytes, key: str) -> Any:
    """Return the one value, an int or bytes, that a serialized `tf.train.Example` has under a name."""
    feature = tf.train.Example.FromString(record).features.feature[key]
    return getattr(feature, feature.WhichOneof("kind")).value[0]


def _decoded(tf: Any, encoded: bytes, channels: int | None, stored: np.dtype) -> np.ndarray:
    """Return an image `(h, w, c)` of the bytes of a PNG or JPEG file, as TFDS decodes them."""
    if stored == np.float32:  # the bytes of each number are the channels of a pixel
        return np.ascontiguousarray(_decoded(tf, encoded, 4, np.dtype(np.uint8))).view(np.float32)
    image = tf.io.decode_image(encoded, channels or 0, tf.as_dtype(stored), expand_animations=False)
    return image.numpy()
