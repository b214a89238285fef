"""Images, or latent codes, that stay on disk until a batch of them is read."""

import contextlib
import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan import memory
from keras_vaegan.data.checks import BYTES
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import reason_of

if TYPE_CHECKING:
    from keras_vaegan.data.preprocessing import Preprocessing

BLOCK_BYTES = 16_000_000  # of images that are read at a time where all of them are looked at
HDF5_CACHE = 64_000_000  # bytes of chunks kept unpacked; with 1 MB, the default, large chunks never are
HDF5_ROWS = 1000  # indices in one selection; HDF5 becomes slow with more


class StoredImages:
    """Base class of images `(N, H, W, C)` that stay where they are until they are indexed.

    A subclass calls `__init__` and implements `read`. Reading must be safe in several threads at once.
    A subclass that holds an open file must survive pickling and a fork, as data loaders do both.

    Args:
        shape: `(N, H, W, C)`. Latent codes may have another number of axes.
        dtype: of the images that `read` returns; integers or float32.

    Attributes:
        pixels: whether the values are pixels, which have a range; those of latent codes have none.

    Examples:
        >>> import numpy as np
        >>> from keras_vaegan.data.stored import as_stored
        >>> x = as_stored(np.zeros((10, 8, 8, 1), "uint8"))
        >>> x[3].shape, x[[7, 2]].shape, x.subset([1, 2, 3]).shape
        ((8, 8, 1), (2, 8, 8, 1), (3, 8, 8, 1))
    """

    pixels = True

    def __init__(self, shape: Iterable[int], dtype: Any) -> None:
        self.shape = tuple(map(int, shape))
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """The number of axes: 4 for images."""
        return len(self.shape)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices` as an array `(n, H, W, C)`, read now.

        Args:
            indices: int64 `(n,)`, each from 0 to N - 1, in any order; they may repeat.
        """
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """Return a text that changes if the images do, without reading them; None if nothing tells."""
        return None

    def file_names(self, indices: np.ndarray) -> list[str] | None:
        """Return the names of the images' files; None for images without a file of their own."""
        return None

    def subset(self, indices: Any) -> "StoredImages":
        """Return a view of the images at `indices`, in their order; it reads nothing."""
        return Subset(self, self._indices(indices))

    @property
    def size(self) -> int:
        """The number of values of all images."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The memory in bytes that all images would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of images."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return one image `(H, W, C)` for an int; an array `(n, H, W, C)` for a slice, ints or a mask."""
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
            return self.read(np.array([index % len(self)]))[0]
        return self.read(self._indices(index))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the images, one read at a time."""
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all images, or raise `InputError` if they do not fit into memory."""
        if copy is False:
            raise ValueError("stored images cannot become an array without a copy")
        number, *sides = self.shape
        size = "x".join(map(str, sides))
        memory.require(f"x ({number:,} images of {size})", self.nbytes, "Index a part of them.")
        images = np.empty(self.shape, self.dtype)
        for start, block in self.blocks():
            images[start : start + len(block)] = block
        return images if dtype is None else images.astype(dtype, copy=False)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(start, images)` for blocks of images in order, each of a few megabytes."""
        rows = max(1, BLOCK_BYTES * len(self) // max(1, self.nbytes))
        for start in range(0, len(self), rows):
            yield start, self.read(np.arange(start, min(start + rows, len(self))))

    def __repr__(self) -> str:
        """Return one line: the sizes, not the pixels."""
        return f"{type(self).__name__}({self.shape}, {self.dtype})"

    def _indices(self, index: Any) -> np.ndarray:
        """The positions, from 0 on, that a slice, integers or a mask stand for."""
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        array = np.empty(()) if isinstance(index, tuple) else np.asarray(index)  # a tuple indexes axes
        if array.size == 0 and array.ndim == 1:
            return np.empty(0, np.int64)
        if array.dtype == bool and array.shape == (len(self),):
            return np.flatnonzero(array)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise IndexError("images are indexed by an integer, a slice, integers (n,) or a mask (N,)")
        array = array.astype(np.int64)
        if array.min() < -len(self) or array.max() >= len(self):
            raise IndexError(f"images {array.min()} to {array.max()} of {len(self)}")
        return np.where(array < 0, array + len(self), array)


class Subset(StoredImages):
    """The images of `images` at `indices`, int64 `(n,)`, in that order."""

    def __init__(self, images: StoredImages, indices: np.ndarray) -> None:
        super().__init__((len(indices), *images.shape[1:]), images.dtype)
        self.pixels = images.pixels
        whole = images
        if isinstance(images, Subset):  # a subset of a subset reads from the ground
            whole, indices = images.images, images.indices[indices]
        self.images: StoredImages = whole
        self.indices: np.ndarray = indices

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        return self.images.read(self.indices[indices])

    def file_names(self, indices: np.ndarray) -> list[str] | None:
        """Return the names of the files; see `StoredImages.file_names`."""
        return self.images.file_names(self.indices[indices])

    def fingerprint(self) -> str | None:
        """Return that of the images, with the indices."""
        whole = self.images.fingerprint()
        if whole is None:
            return None
        return f"{whole} {hashlib.sha256(self.indices.tobytes()).hexdigest()[:16]}"


class Mapped(StoredImages):
    """Images that a function changes as they are read.

    Args:
        images: the images as they are stored.
        function: takes `(n, h, w, c)` and returns `(n, H, W, C)`; it can be pickled.
        shape: `(H, W, C)` that it returns.
        dtype: that it returns.
        key: text for what it does, in the fingerprint; None if nothing tells.
    """

    def __init__(
        self,
        images: StoredImages,
        function: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        dtype: Any,
        key: str | None = None,
    ) -> None:
        super().__init__((len(images), *shape), dtype)
        self.images, self.function, self.key = images, function, key
        self.pixels = images.pixels

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        if not len(indices):
            return np.empty((0, *self.shape[1:]), self.dtype)
        return self.function(self.images.read(indices))

    def file_names(self, indices: np.ndarray) -> list[str] | None:
        """Return the names of the files; see `StoredImages.file_names`."""
        return self.images.file_names(indices)

    def fingerprint(self) -> str | None:
        """Return that of the images, with the key."""
        whole = self.images.fingerprint()
        return None if whole is None or self.key is None else f"{whole} {self.key}"


class Indexed(StoredImages):
    """Images of anything that can be indexed along its first axis: arrays, memory maps, Zarr arrays.

    Args:
        array: `(N, H, W, C)` or grey `(N, H, W)`. Integers keep their type; other numbers become float32.
        name: text for errors.
    """

    def __init__(self, array: Any, name: str = "x") -> None:
        shape = tuple(map(int, array.shape))
        dtype = np.dtype(array.dtype)
        super().__init__(
            shape if len(shape) == 4 else (*shape, 1), dtype if dtype.kind in "iu" else np.float32
        )
        self.array, self.name = array, name

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        if not len(indices):
            return np.empty((0, *self.shape[1:]), self.dtype)
        with readable(self.name):
            images = self._rows(indices)
        return images.astype(self.dtype, copy=False).reshape((len(indices), *self.shape[1:]))

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        if isinstance(self.array, np.ndarray):
            return np.asarray(self.array[indices])
        # Not all take repeated indices, or any order; each chunk is read once if they are sorted.
        unique, places = np.unique(indices, return_inverse=True)
        if len(unique) == unique[-1] - unique[0] + 1:
            rows = np.asarray(self.array[int(unique[0]) : int(unique[-1]) + 1])
        else:  # Zarr's own brackets take points, not rows
            rows = np.asarray(getattr(self.array, "oindex", self.array)[unique])
        return rows[places.reshape(-1)]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: the place of a memory map, not its values."""
        state = self.__dict__.copy()
        place = _place_of(self.array)
        if place is not None:
            state["array"] = place
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state; map the file again."""
        self.__dict__.update(state)
        if isinstance(self.array, _Place):
            with readable(self.name):
                self.array = self.array.mapped()

    def fingerprint(self) -> str | None:
        """Return the place of a memory map or Zarr array with the sizes and times of its files."""
        place, folder = _place_of(self.array), _folder_of(self.array)
        if place is not None:
            return with_stamps(place.facts(), [place.path])
        if folder is not None:
            return with_stamps(f"{folder} {self.shape} {self.dtype}", sorted(_files_in(folder)))
        return None


class HDF5Images(StoredImages):
    """Images of an HDF5 dataset.

    The file is opened on first use, again after pickling, and again in a forked process. One lock guards it,
    because the HDF5 library must not be entered twice.

    Args:
        path: of the file.
        name: of the dataset in it.
        dataset: the open `h5py.Dataset` to read from in this process; None opens the file.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, dataset: Any = None) -> None:
        self.path, self.name = os.path.abspath(os.fsdecode(path)), name
        self._file: Any = None
        self._dataset, self._process = dataset, os.getpid()
        if dataset is None:
            dataset = hdf5_arrays(path)[name]
        shape, dtype = dataset.shape, dataset.dtype
        super().__init__(
            shape if len(shape) == 4 else (*shape, 1), dtype if dtype.kind in "iu" else np.float32
        )

    def _opened(self) -> Any:
        """The dataset in this process; the lock is held."""
        if self._dataset is None or self._process != os.getpid():
            import h5py

            if self._file is not None:  # of the process that was forked; they must not share its position
                self._file.close()
            self._file = h5py.File(self.path, "r", rdcc_nbytes=HDF5_CACHE)
            self._dataset, self._process = self._file[self.name], os.getpid()
        return self._dataset

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        if not len(indices):
            return np.empty((0, *self.shape[1:]), self.dtype)
        # h5py wants indices that rise.
        unique, places = np.unique(indices, return_inverse=True)
        with _LOCK, readable(self.path):
            dataset = self._opened()
            if len(unique) == unique[-1] - unique[0] + 1:
                rows = dataset[int(unique[0]) : int(unique[-1]) + 1]
            else:
                parts = np.array_split(unique, -(-len(unique) // HDF5_ROWS))
                rows = np.concatenate([dataset[part] for part in parts])
        rows = rows.astype(self.dtype, copy=False).reshape((len(unique), *self.shape[1:]))
        places = places.reshape(-1)
        return rows if np.array_equal(places, np.arange(len(rows))) else rows[places]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: the place, not the open file."""
        return {**self.__dict__, "_file": None, "_dataset": None}

    def fingerprint(self) -> str | None:
        """Return the place with the size and time of the file."""
        return with_stamps(f"{self.path} {self.name} {self.shape} {self.dtype}", [self.path])


class HDF5Array:
    """A dataset of an HDF5 file that is not open: its place, shape and type; indexing opens the file."""

    def __init__(self, path: str, name: str, shape: tuple[int, ...] | None, dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

    def __getitem__(self, index: Any) -> Any:
        """Return values, read now."""
        import h5py

        with _LOCK, readable(self.path), h5py.File(self.path, "r") as file:
            return file[self.name][index]


def hdf5_arrays(path: str | os.PathLike[str]) -> dict[str, HDF5Array]:
    """Return the datasets in the root of an HDF5 file by name."""
    import h5py

    path = os.path.abspath(os.fsdecode(path))
    with _LOCK, readable(path), h5py.File(path, "r") as file:
        return {
            name: HDF5Array(path, name, item.shape, item.dtype)
            for name, item in file.items()
            if isinstance(item, h5py.Dataset)
        }


def is_stored(x: Any) -> bool:
    """Whether `x` is images `(N, H, W, C)` that are read by index: no array in memory, and no tensor.

    `StoredImages`, memory maps, HDF5 datasets, Zarr arrays and others alike; none of them is imported.
    """
    if isinstance(x, (StoredImages, np.memmap)):
        return x.ndim == 4
    if isinstance(x, np.ndarray) or hasattr(x, "__dlpack__"):  # which tensors have
        return False
    shape = getattr(x, "shape", None)
    return (
        isinstance(shape, tuple)
        and len(shape) == 4
        and isinstance(getattr(x, "dtype", None), np.dtype)
        and hasattr(x, "__getitem__")
    )


def as_stored(x: Any, preprocessing: "Preprocessing | None" = None) -> StoredImages:
    """Return `x` as `StoredImages`.

    Args:
        x: `StoredImages`, or anything of a shape `(N, H, W, C)` or `(N, H, W)` that can be indexed: an
            array, a memory map, an HDF5 dataset or a Zarr array.
        preprocessing: applied to each image as it is read; None leaves the images alone.

    Raises:
        InputError: no numbers, another shape, or no images.
    """
    if not isinstance(x, StoredImages):
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if not isinstance(shape, tuple) or not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
            raise InputError(f"x must be images (N, H, W, C) as numbers; received {_shown(x)}.")
        if len(shape) not in (3, 4) or 0 in shape:
            raise InputError(f"x must be images (N, H, W, C) or (N, H, W); received the shape {shape}.")
        if isinstance(x, HDF5Array):
            x = HDF5Images(x.path, x.name)
        else:
            x = HDF5Images(x.file.filename, x.name, x) if _is_hdf5(x) else Indexed(x)
    if preprocessing is None or _leaves_alone(preprocessing, x):
        return x
    first = preprocessing(x[0])
    return Mapped(x, EachImage(preprocessing), first.shape, first.dtype, repr(preprocessing))


def _leaves_alone(preprocessing: "Preprocessing", x: StoredImages) -> bool:
    """Whether a preprocessing returns the images of `x` as they are."""
    return (
        x.dtype == np.uint8
        and not preprocessing.deep
        and preprocessing.value_range in (None, BYTES)
        and preprocessing.image_size in (None, x.shape[1:3])
        and preprocessing.crop in (None, x.shape[1:3])
        and preprocessing.channels in (None, x.shape[3])
    )


def read_batch(x: Any, indices: np.ndarray) -> np.ndarray:
    """Return the images at `indices` of an array, or of anything that `is_stored`."""
    if isinstance(x, np.ndarray):
        return np.asarray(x[indices])
    return as_stored(x)[indices]


class EachImage:
    """A function of one image, applied to each of several; it can be pickled if the function can."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function = function

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W, C)` for images `(n, h, w, c)`."""
        return np.stack([self.function(image) for image in images])


def channels_last(images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W, C)` for images `(n, C, H, W)`."""
    return np.moveaxis(images, 1, -1)


class _Place:
    """Where the values of a memory map are in its file."""

    def __init__(self, array: np.memmap, root: np.memmap) -> None:
        self.path, self.start, self.length = os.path.abspath(str(root.filename)), root.offset, root.nbytes
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]

    def mapped(self) -> np.ndarray:
        """Map the file and return the values in it."""
        raw = np.memmap(self.path, np.uint8, "r", self.start, (self.length,))
        return np.ndarray(self.shape, self.dtype, raw, self.offset, self.strides).view(np.memmap)

    def facts(self) -> str:
        return f"{self.path} {self.start + self.offset} {self.shape} {self.dtype} {self.strides}"


def _place_of(array: Any) -> _Place | None:
    """The place of a memory map; None for other arrays, and for a map whose changes are not in its file."""
    if not isinstance(array, np.memmap):
        return None
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c":
        return None
    return _Place(array, root)


def _is_hdf5(x: Any) -> bool:
    return type(x).__module__.split(".")[0] == "h5py"


def _folder_of(array: Any) -> str | None:
    """The folder of a Zarr array in a local store; None for what is none."""
    store = getattr(array, "store", None)
    root = getattr(store, "root", None) or getattr(store, "path", None)  # of its third and second version
    if not isinstance(root, (str, os.PathLike)):
        return None
    folder = os.path.abspath(os.path.join(os.fspath(root), getattr(array, "path", "")))
    return folder if os.path.isdir(folder) else None


def _files_in(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)


def with_stamps(text: str, paths: Iterable[str]) -> str | None:
    """Return a text and a hash of the sizes and times of files; None if one is missing.

    They are other ones if a file has been written since.
    """
    digest = hashlib.sha256()
    try:
        for path in paths:
            status = os.stat(path)
            digest.update(
                f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
    except OSError:  # a file of HDF5 may be in memory
        return None
    return f"{text} {digest.hexdigest()[:16]}"


def _shown(x: Any) -> str:
    found = [f"{name} {getattr(x, name)}" for name in ("shape", "dtype") if hasattr(x, name)]
    return one_line(f"a {type(x).__name__}{' of ' if found else ''}{' and '.join(found)}")


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what libraries raise for a damaged or missing file into an `InputError`."""
    try:
        yield
    except (InputError, MemoryError, IndexError):
        raise
    except Exception as error:  # damaged files make libraries raise errors of many kinds
        raise InputError(f"images of {one_line(name)} must be readable: {reason_of(error)}.") from error


def _new_lock() -> None:
    """Make the lock anew: in a forked process, nobody would release one that was held."""
    global _LOCK
    _LOCK = threading.RLock()


_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
