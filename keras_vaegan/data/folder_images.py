"""Image files that are decoded when they are indexed."""

import os
import posixpath
import threading
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_vaegan.data.pictures import read_image, why_unreadable
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.stored import StoredImages
from keras_vaegan.data.survey import in_threads
from keras_vaegan.errors import InputError, one_line

NEAR = 1000  # files among which one of the same folder is looked for first


class FolderImages(StoredImages):
    """Images of files, each of which is decoded whenever it is indexed.

    The main thread decodes several files at a time. Another thread decodes one after the other: it is one of
    several itself.

    If a file turns out to be damaged, the next one of its folder takes its place each time, and a warning
    says so: the number of images cannot change in a training.

    Args:
        folder: that the names are relative to.
        names: of the files.
        preprocessing: how they become images, with its size and channels.
        content: text that changes if the files do.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        names: Sequence[str],
        preprocessing: Preprocessing,
        content: str | None = None,
    ) -> None:
        shape = preprocessing.image_shape
        if shape is None:
            raise InputError("preprocessing must have an image_size and channels; received one without.")
        super().__init__((len(names), *shape), np.float32 if preprocessing.deep else np.uint8)
        self.folder, self.names, self.preprocessing = os.fspath(folder), list(names), preprocessing
        self.content = content
        self.damaged: dict[int, int] = {}  # positions of such files, and of those that take their places

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`; see `StoredImages.read`."""
        made = np.empty((len(indices), *self.shape[1:]), self.dtype)
        chosen = [int(i) for i in indices]
        if threading.current_thread() is threading.main_thread() and len(chosen) > 1:
            found: Iterable[np.ndarray] = in_threads(lambda k: self._image(chosen[k]), len(chosen))
        else:
            found = map(self._image, chosen)
        for place, image in enumerate(found):
            made[place] = image
        return made

    def file_names(self, indices: np.ndarray) -> list[str]:
        """Return the names of the files within the folder."""
        return [self.names[i] for i in indices]

    def fingerprint(self) -> str | None:
        """Return the text for the files, with the settings."""
        return None if self.content is None else f"{self.content} {self.preprocessing}"

    def _image(self, i: int) -> np.ndarray:
        """The image at a position, or the one that takes its place."""
        if i in self.damaged:
            return self._decoded(self.damaged[i])
        try:
            return self._decoded(i)
        except (InputError, MemoryError):  # about more than this file
            raise
        except Exception as error:  # what a broken file raises differs from codec to codec
            reason = why_unreadable(error, self._path(i))
        for other in self._others(i):
            try:
                image = self._decoded(other)
            except (InputError, MemoryError):
                raise
            except Exception:
                continue
            self.damaged[i] = other
            warnings.warn(
                f"{one_line(self.names[i])} cannot be read: {reason}. "
                f"{one_line(self.names[other])} takes its place.",
                stacklevel=2,
            )
            return image
        raise InputError(f"source must hold images that can be read; {one_line(self._path(i))}: {reason}.")

    def _others(self, i: int) -> list[int]:
        """Positions of files that may take the place of one: first the next ones of its folder."""
        following = [(i + step) % len(self.names) for step in range(1, min(NEAR, len(self.names)))]
        own = posixpath.dirname(self.names[i])
        return sorted(following, key=lambda k: posixpath.dirname(self.names[k]) != own)

    def _decoded(self, i: int) -> np.ndarray:
        return read_image(self._path(i), self.preprocessing)

    def _path(self, i: int) -> Path:
        return Path(self.folder, self.names[i])
