"""`Codes`: the latent codes of many images in files, which a second model learns."""

import functools
import os
import pathlib
import re
from typing import Any, Literal

import numpy as np

from keras_vaegan.data.npz import length_of, mapped
from keras_vaegan.data.stored import StoredImages, readable, with_stamps
from keras_vaegan.errors import InputError, one_line, shown
from keras_vaegan.files import MOST_FACTS, check_inside, read_json, reason_of, user_path
from keras_vaegan.kinds import check_kind

FACTS = "codes.json"
VERSION = 1  # of the folder's format
FORMATS = ("npz", "npy")
MOST_MAPPED = 256  # files that are mapped at a time; each takes a file descriptor
SHARD = re.compile(r"codes-([0-9]{5,})\.(npz|npy)")
# What a reader needs of `codes.json`.
KINDS: dict[str, Any] = {
    "format_version": Literal[1],
    "num_images": int,
    "shard_size": int,
    "format": Literal["npz", "npy"],
    "code_shape": list[int],
    "image_shape": tuple[int, int, int],
    "scaled": bool,
    "statistics": dict | None,
}


def shard_name(number: int, format: str, array: str = "codes") -> str:
    """The name of the file that has an array of a shard: in the format `npz` one file has all arrays."""
    return f"{'codes' if format == 'npz' else array}-{number:05d}.{format}"


class Codes(StoredImages):
    """Latent codes of many images, read from their files when they are indexed.

    `Batches` takes them, so that any Keras model can `fit` them. Indexing gives arrays, as of a NumPy array;
    `np.asarray` reads all of them.

    Args:
        path: a folder that `keras-vaegan encode` wrote; one of its shards; or a `.npz` file with `codes`, or
            a `.npy` file, that another program wrote.

    Attributes:
        shape: `(N, ...)`: vectors `(N, Z)`, sequences `(N, T, Z)` or maps `(N, h, w, c)`.
        facts: what `codes.json` says; empty for a file of another program.
        scaled: whether each channel was brought to mean 0 and variance 1; None if nothing tells.
        mean, scale: of each channel before that, float64 `(c,)`; None for a model without such statistics.
        class_names: of the labels; None where classes have no names.

    Raises:
        InputError: a folder or file of another kind, a missing or damaged shard.

    Examples:
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> from keras_vaegan.data import Batches, Codes
        >>> path = pathlib.Path(tempfile.mkdtemp(), "codes.npy")
        >>> np.save(path, np.random.default_rng(0).normal(size=(10, 4, 4, 2)))
        >>> codes = Codes(path)
        >>> codes.shape, codes[[7, 2]].shape, len(Batches(codes, batch_size=5))
        ((10, 4, 4, 2), (2, 4, 4, 2), 2)
    """

    pixels = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = user_path("codes", path)
        self.facts: dict[str, Any] = {}
        self._maps: dict[int, np.ndarray] = {}
        if self.path.is_dir():
            self._open_folder(self.path)
        elif self.path.is_file() and self.path.suffix in (".npz", ".npy"):
            self._open_file(self.path)
        else:
            raise InputError(
                f"codes must be a folder that `encode` wrote, or a .npz or .npy file; there is none at "
                f"{one_line(self.path)}."
            )

    def _open_folder(self, folder: pathlib.Path) -> None:
        """Take all shards of a folder."""
        self.facts = _facts_in(folder)
        count, rows, ending = (self.facts[name] for name in ("num_images", "shard_size", "format"))
        self._rows, number = rows, -(-count // rows)
        self._files = []
        for i in range(number):
            path = folder / shard_name(i, ending)
            check_inside("codes", folder, path)
            if not path.is_file():
                raise InputError(
                    f"codes must have all of their {number} shards; {one_line(folder)} lacks {path.name}. "
                    "Run `keras-vaegan encode` again as before: it makes what is missing."
                )
            self._files.append(path)
        super().__init__((count, *self.facts["code_shape"]), np.float32)
        for i, path in enumerate(self._files):
            self._check(path, self._mapped(i), min(rows, count - i * rows))

    def _open_file(self, path: pathlib.Path) -> None:
        """Take one file: a shard, of which `codes.json` tells more, or one of another program."""
        found = SHARD.fullmatch(path.name)
        if found and (path.parent / FACTS).is_file():
            self.facts = _facts_in(path.parent)
        self._files = [path]
        self.shape = (0,)  # until the file is open
        array = self._mapped(0)
        if array.ndim < 2 or not array.size or array.dtype.kind not in "iuf":
            raise InputError(
                f"codes must be numbers (N, ...) with N > 0; {one_line(path)} has {array.dtype} "
                f"{array.shape}."
            )
        super().__init__(array.shape, np.float32)
        self._rows = len(array)
        if self.facts:
            self._check(path, array, len(array))

    def _check(self, path: pathlib.Path, array: np.ndarray, count: int) -> None:
        """Raise unless a shard has the number and the shape of codes that it must have."""
        wanted = (count, *self.facts["code_shape"])
        if array.shape != wanted or array.dtype != np.float32:
            raise InputError(
                f"codes must be float32 {wanted} in {path.name}, as {FACTS} says; received {array.dtype} "
                f"{array.shape}. Delete the file, and run `keras-vaegan encode` again."
            )

    def _mapped(self, i: int) -> np.ndarray:
        """The codes of file i as a memory map."""
        array = self._maps.get(i)
        if array is None:
            path = self._files[i]
            try:
                array = mapped(path, "codes")
            except InputError:
                raise
            except Exception as error:  # a damaged file makes libraries raise errors of many kinds
                raise InputError(
                    f"codes must be in files that can be read; {one_line(path)}: {reason_of(error)}."
                ) from error
            if len(self._maps) >= MOST_MAPPED:  # another thread may do the same: they are mapped anew
                self._maps = {}
            self._maps[i] = array
        return array

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the codes at `indices`, float32; see `StoredImages.read`."""
        made = np.empty((len(indices), *self.shape[1:]), np.float32)
        files = indices // self._rows
        for i in np.unique(files):
            here = files == i
            with readable(self._files[i].name):
                made[here] = self._mapped(int(i))[indices[here] - i * self._rows]
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: the places of the files, not their values."""
        return {**self.__dict__, "_maps": {}}

    def fingerprint(self) -> str | None:
        """Return the place with the sizes and times of the files."""
        return with_stamps(f"{self.path.resolve()} {self.shape}", map(str, self._files))

    @property
    def scaled(self) -> bool | None:
        """Whether each channel was brought to mean 0 and variance 1; None if nothing tells."""
        return self.facts.get("scaled")

    @property
    def mean(self) -> np.ndarray | None:
        """Mean of each channel, `(c,)`, before it was scaled."""
        return self._statistic("mean")

    @property
    def scale(self) -> np.ndarray | None:
        """Standard deviation of each channel, `(c,)`, before it was scaled."""
        return self._statistic("scale")

    def _statistic(self, name: str) -> np.ndarray | None:
        statistics = self.facts.get("statistics")
        return None if statistics is None else np.asarray(statistics[name], "float64")

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """`(H, W, C)` of the images that were encoded; None if nothing tells."""
        shape = self.facts.get("image_shape")
        return None if shape is None else tuple(shape)

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes that the labels are positions of."""
        return self.facts.get("class_names")

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """Labels of the images, int64 `(N,)`, -1 where unlabelled; None where there are none."""
        return self._beside("labels", "iu")

    @functools.cached_property
    def names(self) -> np.ndarray | None:
        """Names of the images, texts `(N,)`: of their files, or their numbers; None where there are none."""
        return self._beside("names", "U")

    def _beside(self, name: str, kinds: str) -> np.ndarray | None:
        """An array that stands beside the codes in all shards, `(N,)`; None where it is in none."""
        found, without = [], None
        for path in self._files:
            known = SHARD.fullmatch(path.name)
            if path.suffix == ".npy" and not known:
                return None
            place = path.with_name(shard_name(int(known[1]), known[2], name)) if known else path
            if not length_of(place, name):
                without = without or path.name
                continue
            with readable(place.name):
                found.append(np.asarray(mapped(place, name)))
        if not found:
            return None
        if without is not None:
            raise InputError(
                f"codes must have {name} in all shards or in none; {without} has none. Delete it, and run "
                "`keras-vaegan encode` again as before."
            )
        array = np.concatenate(found)
        if array.shape != self.shape[:1] or array.dtype.kind not in kinds:
            raise InputError(
                f"codes must have one of the {name} for each of the {len(self)} codes; received "
                f"{array.dtype} {array.shape}."
            )
        return array.astype("int64") if name == "labels" else array


def _facts_in(folder: pathlib.Path) -> dict[str, Any]:
    """What `codes.json` says, or raise `InputError` unless it is whole."""
    check_inside("codes", folder, folder / FACTS)
    if not (folder / FACTS).is_file():
        raise InputError(
            f"codes must be a folder that `keras-vaegan encode` wrote; {one_line(folder)} has no {FACTS}."
        )
    facts = read_json(folder / FACTS, "codes", dict, MOST_FACTS)
    for name, kind in KINDS.items():
        check_kind(f"codes: {name} of {FACTS}", facts.get(name), kind)
    sizes = [facts["num_images"], facts["shard_size"], *facts["code_shape"]]
    if min(sizes) < 1 or len(sizes) < 3:
        raise InputError(f"codes must have sizes above 0 in {FACTS}; received {shown(sizes)}.")
    statistics, names = facts["statistics"], facts.get("class_names")
    if statistics is not None:
        for name in ("mean", "scale"):
            check_kind(f"codes: {name} of {FACTS}", statistics.get(name), list[float])
    if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise InputError(
            f"codes must have a list of texts as class_names in {FACTS}; received {shown(names)}."
        )
    return facts
