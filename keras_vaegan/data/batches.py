"""`Batches`: batches whose order can be resumed, with augmentation."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.images import as_float32
from keras_vaegan.errors import choose, whole_number


class Batches(keras.utils.PyDataset):
    """Batches `(x,)` or `(x, y)` of NumPy arrays for `fit`, a function of the seed and the epoch only.

    x is float32 `(b, H, W, C)` in [0, 1], y int64 `(b,)`; the last batch may be short. Whatever was
    drawn before, on every backend, batch k of epoch e has the same images, labels and augmentation.

    `fit` draws batches in an order of its own unless it is called with `shuffle=False`. It moves
    `epoch` on after each pass; set `epoch` to resume, or in a loop of your own:

        for batches.epoch in range(10):
            for x, y in batches:
                ...

    Args:
        x: images `(B, H, W, C)`, integers in 0..255 or floats in [0, 1].
        y: labels `(B,)`, or None.
        batch_size: images in a batch.
        shuffle: whether each epoch has its own order, or all have the order of x.
        seed: int, at least 0.
        augment: names out of `translation`, `cutout`, `rotation`, `zoom`, `flip` and `brightness`, as a list
            or as one string with commas; applied in that order by KerasCV, which imports TensorFlow.
            None for none.

    Attributes:
        epoch: int, the epoch whose batches come next.

    Raises:
        InputError: an argument that cannot be used.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        batch_size: int = 128,
        shuffle: bool = True,
        seed: int = 0,
        augment: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.x = check_images(x)
        self.y = None if y is None else check_labels(y, len(self.x))
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffle = shuffle
        self.seed = whole_number("seed", seed, 0)
        self.augment = _parse_augment(augment)
        self.epoch = 0
        self._order: tuple[int | None, Any] = (None, None)
        self._drawn = 0
        self._begun = False

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return batch `index` of this epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        chosen = self._epoch_order()[index * self.batch_size : (index + 1) * self.batch_size]
        x = as_float32(self.x[chosen])
        if self.augment:
            from keras_vaegan.data.augmentation import augment_images

            x = augment_images(x, self.augment, (self.seed, self.epoch, index))
        self._drawn += 1
        return (x,) if self.y is None else (x, self.y[chosen])

    def on_epoch_begin(self) -> None:
        """Note that `fit` begins a pass."""
        self._begun = True

    def on_epoch_end(self) -> None:
        """Move on to the next epoch, if the pass is complete.

        Keras calls this without a pass, too: before the first one, after looking at a batch or two.
        """
        if not self._begun:
            self._drawn = 0
        elif self._drawn >= len(self):
            self.epoch += 1
            self._drawn = 0
        self._begun = False

    def _epoch_order(self) -> np.ndarray:
        epoch, order = self._order
        if epoch != self.epoch:
            epoch, order = self.epoch, np.arange(len(self.x))
            if self.shuffle:
                np.random.default_rng((self.seed, epoch)).shuffle(order)
            self._order = (epoch, order)
        return order


def _parse_augment(augment: str | Iterable[str] | None) -> list[str]:
    """Return the list of known names in `augment`."""
    if not augment:
        return []
    from keras_vaegan.data.augmentation import AUGMENTATIONS

    names = augment.split(",") if isinstance(augment, str) else augment
    return [choose("augment", str(name).strip(), AUGMENTATIONS) for name in names]
