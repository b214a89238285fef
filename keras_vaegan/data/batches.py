"""`Batches`: batches whose order can be resumed, with augmentation."""

from collections.abc import Iterable

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_brightness, check_images, check_labels, check_value_range
from keras_vaegan.data.images import as_float32
from keras_vaegan.errors import InputError, choose, flag, shown, whole_number
from keras_vaegan.signals import held_back


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
        x: images `(B, H, W, C)`, integers of `value_range` or floats in [0, 1].
        y: labels `(B,)`, or None.
        batch_size: images in a batch.
        shuffle: whether each epoch has its own order, or all have the order of x.
        seed: int, at least 0.
        augment: names out of `translation`, `cutout`, `rotation`, `zoom`, `flip` and `brightness`, as a list
            or as one string with commas; applied in that order by KerasCV, which imports TensorFlow.
            None for none.
        labelled_share: share of images with a label in every batch, of those that have one (y is not -1);
            above 0 and below 1. They come first in a batch. An epoch is one pass over the part that fills
            more batches, mostly that without labels; of the other, passes follow on each other across epochs.
            None leaves it to chance.
        part: `(i, n)` for part i of n equal ones of every batch, where a process among
            several gives but its own (`keras_vaegan.backend.part`).
        value_range: `(low, high)`, the integers that become 0 and 1; None for `(0, 255)`.
        multiple: what the size of every batch is a multiple of, as devices want it that share one; the last
            batch leaves out what is over.
        steps_per_epoch: batches in an epoch, all of the same size, whose images come from passes that follow
            on each other across epochs; None for one pass over the images.

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
        labelled_share: float | None = None,
        multiple: int = 1,
        part: tuple[int, int] = (0, 1),
        value_range: tuple[int, int] | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self.value_range = check_value_range(value_range)
        self.x = check_images(x, value_range=self.value_range)
        check_brightness(self.x.max(), self.x.dtype.kind in "iu", "x", self.value_range)
        self.y = None if y is None else check_labels(y, len(self.x))
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.multiple = whole_number("multiple", multiple, 1)
        if self.batch_size % self.multiple:
            raise InputError(
                f"batch_size must be a multiple of {self.multiple}, the number of devices that share it; "
                f"received {batch_size}."
            )
        if not isinstance(part, (tuple, list)) or len(part) != 2:
            raise InputError(f"part must be a pair (i, n); received {shown(part)}.")
        self.part = part = (whole_number("part[0]", part[0], 0), whole_number("part[1]", part[1], 1))
        if self.multiple % part[1] or not 0 <= part[0] < part[1]:
            raise InputError(
                f"part must be an index below the number of parts, which divides multiple, {self.multiple}; "
                f"received {part!r}."
            )
        self.shuffle = flag("shuffle", shuffle)
        self.seed = whole_number("seed", seed, 0)
        self.augment = _parse_augment(augment)
        self.labelled_share = labelled_share
        self.steps_per_epoch = (
            None if steps_per_epoch is None else whole_number("steps_per_epoch", steps_per_epoch, 1)
        )
        self._labelled, self._rest = np.empty(0, int), np.arange(len(self.x))
        if labelled_share is not None:
            self._labelled, self._rest = self._separated(labelled_share)
        self._orders: dict[tuple[int, ...], np.ndarray] = {}
        self.epoch = 0
        self._drawn = 0
        self._begun = False

    @property
    def num_labelled(self) -> int:
        """Images with a label that are chosen for a batch; 0 where it is left to chance."""
        if self.labelled_share is None:
            return 0
        return min(max(1, round(self.labelled_share * self.batch_size)), self.batch_size - 1)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps_per_pass if self.steps_per_epoch is None else self.steps_per_epoch

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over the images, or over the part that fills more of them."""
        number = self.batch_size - self.num_labelled
        if self._labelled_fill_more:
            return -(-len(self._labelled) // self.num_labelled)
        whole, over = divmod(len(self._rest), number)
        return whole + (over > 0 and over + self.num_labelled >= self.multiple)

    @property
    def _labelled_fill_more(self) -> bool:
        """Whether a pass over the images with a label takes more batches than one over the others."""
        number = self.batch_size - self.num_labelled
        return len(self._labelled) * number > len(self._rest) * self.num_labelled

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return batch `index` of this epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        number = self.batch_size - self.num_labelled
        if self._labelled_fill_more or self.steps_per_epoch is not None:
            chosen = self._in_turn(self._rest, index, number, 2)
        else:
            chosen = self._in_order(self._rest, self.epoch)[index * number : (index + 1) * number]
        if self.num_labelled:
            chosen = np.concatenate([self._in_turn(self._labelled, index, self.num_labelled, 1), chosen])
        chosen = chosen[: len(chosen) - len(chosen) % self.multiple]
        x = as_float32(self.x[chosen], self.value_range)
        if self.augment:
            with held_back():
                from keras_vaegan.data.augmentation import augment_images

            x = augment_images(x, self.augment, (self.seed, self.epoch, index))
        self._drawn += 1
        own = slice(*(len(x) * edge // self.part[1] for edge in (self.part[0], self.part[0] + 1)))
        return (x[own],) if self.y is None else (x[own], self.y[chosen][own])

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

    def _in_turn(self, indices: np.ndarray, index: int, count: int, part: int) -> np.ndarray:
        """`count` of the indices for a batch, out of passes over all of them without an end."""
        places = (self.epoch * len(self) + index) * count + np.arange(count)
        passes, places = places // len(indices), places % len(indices)
        turns = [
            self._in_order(indices, number, part)[places[passes == number]] for number in np.unique(passes)
        ]
        return np.concatenate(turns)

    def _in_order(self, indices: np.ndarray, *key: int) -> np.ndarray:
        """The indices in the order of a pass, which the key names beside the seed."""
        if not self.shuffle:
            return indices
        if key not in self._orders:
            if len(self._orders) > 3:  # of older passes
                self._orders.clear()
            order = indices.copy()
            np.random.default_rng((self.seed, *map(int, key))).shuffle(order)
            self._orders[key] = order
        return self._orders[key]

    def _separated(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the images with a label and of those without, or raise where there cannot be a share."""
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 < share < 1.0:
            raise InputError(f"labelled_share must be above 0 and below 1; received {share!r}.")
        if self.batch_size < 2:
            raise InputError(
                f"batch_size must be at least 2 with labelled_share; received {self.batch_size}."
            )
        known = np.zeros(len(self.x), bool) if self.y is None else self.y >= 0
        if known.all() or not known.any():
            raise InputError(
                "labelled_share must be None: of the images, "
                f"{'all' if known.any() else 'none'} have a label."
            )
        return np.flatnonzero(known), np.flatnonzero(~known)


def _parse_augment(augment: str | Iterable[str] | None) -> list[str]:
    """Return the list of known names in `augment`."""
    if augment is None or isinstance(augment, (str, tuple, list)) and not augment:
        return []
    if not isinstance(augment, Iterable):
        raise InputError(f"augment must be names, as a list or one string; received {shown(augment)}.")
    with held_back():
        from keras_vaegan.data.augmentation import AUGMENTATIONS

    names = augment.split(",") if isinstance(augment, str) else augment
    return [choose("augment", str(name).strip(), AUGMENTATIONS) for name in names]
