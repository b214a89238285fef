"""`Batches`: batches whose order can be resumed, with augmentation."""

from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.ahead import Ahead
from keras_vaegan.data.checks import check_brightness, check_images, check_labels, check_value_range
from keras_vaegan.data.crops import crop_corners, cropped, parse_crop
from keras_vaegan.data.images import as_float32
from keras_vaegan.data.stored import StoredImages, as_stored, is_stored
from keras_vaegan.data.tensorflow_side import quiet_import
from keras_vaegan.errors import InputError, choose, flag, shown, whole_number

SEEN_FIRST = 64  # stored images that are looked at before any is used
AHEAD = 2  # batches that each worker may make before they are asked for


class Batches(keras.utils.PyDataset):
    """Batches `(x,)` or `(x, y)` of NumPy arrays for `fit`, a function of the seed and the epoch only.

    x is float32 `(b, H, W, C)` in [0, 1], y int64 `(b,)`; the last batch may be short. Whatever was
    drawn before, on every backend, batch k of epoch e has the same images, labels and augmentation.

    `fit` draws batches in an order of its own unless it is called with `shuffle=False`. It moves
    `epoch` on after each pass; set `epoch` to resume, or in a loop of your own:

        for batches.epoch in range(10):
            for x, y in batches:
                ...

    Images that are not in memory are read batch by batch. `workers` threads read, crop and augment the next
    batches while the model is trained on this one. Each batch is the same with any number of them.

    Args:
        x: images `(B, H, W, C)`, integers of `value_range` or floats in [0, 1]: an array, or anything with a
            length, a shape and indexing, as a memory map, an HDF5 dataset, a Zarr array, or what `load`
            gives for a large folder. Of those the values are checked as they are read. Or latent codes
            `(B, ...)`, as `Codes` reads them, which have no range.
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
        random_crop: int | Sequence[int] | None = None,
        workers: int = 0,
    ) -> None:
        # Keras' own workers stay out: when a pass is broken off they hand its batches to the next one.
        super().__init__()
        self.value_range = check_value_range(value_range)
        self.x: np.ndarray | StoredImages
        self.pixels = getattr(x, "pixels", True)
        if isinstance(x, StoredImages) or is_stored(x):
            self.x = as_stored(x)
            seen = self._checked(np.linspace(0, len(self.x) - 1, min(SEEN_FIRST, len(self.x))).astype(int))
        else:
            self.x = seen = check_images(x, value_range=self.value_range)
        if self.pixels:
            check_brightness(seen.max(), seen.dtype.kind in "iu", "x", self.value_range)
        elif augment is not None or random_crop is not None:
            name, value = ("random_crop", random_crop) if augment is None else ("augment", augment)
            raise InputError(f"{name} must be None for latent codes; received {shown(value)}.")
        self.random_crop = parse_crop(random_crop, self.x.shape[1:])
        self.image_shape: tuple[int, ...] = tuple(self.x.shape[1:])
        if self.random_crop is not None:
            self.image_shape = (*self.random_crop, self.x.shape[3])
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
        self.augment = parse_augment(augment)
        self.labelled_share = labelled_share
        self.steps_per_epoch = (
            None if steps_per_epoch is None else whole_number("steps_per_epoch", steps_per_epoch, 1)
        )
        self.num_workers = whole_number("workers", workers, 0)
        self._left_out = (-1, 0)
        self._ahead = Ahead(self._made, self.num_workers) if self.num_workers else None
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
        epoch = self.epoch
        if self._ahead is None:
            batch = self._made(epoch, index)
        else:
            batch = self._ahead((epoch, index), self._following(epoch, index))
        self._drawn += 1
        return batch

    def _following(self, epoch: int, index: int) -> Iterator[tuple[int, int]]:
        """The batches that a training asks for after this one, as many as may be made ahead."""
        for place in range(index + 1, index + 1 + AHEAD * self.num_workers):
            yield epoch + place // len(self), place % len(self)

    def _made(self, epoch: int, index: int) -> tuple[np.ndarray, ...]:
        """Batch `index` of an epoch: a function of these two alone, called in any thread."""
        chosen = self._chosen(epoch, index)
        own = slice(*(len(chosen) * edge // self.part[1] for edge in (self.part[0], self.part[0] + 1)))
        # An augmentation draws for the whole batch at once; without one, only the own part is read.
        rows = slice(None) if self.augment else own
        if epoch == self._left_out[0] and index < self._left_out[1]:
            x = np.zeros((len(chosen[own]), *self.image_shape), np.float32)
            return (x,) if self.y is None else (x, self.y[chosen[own]])
        x = self._checked(chosen[rows])
        if self.random_crop is not None:
            key = (self.seed, epoch, index)
            corners = crop_corners(self.x.shape[1:], self.random_crop, len(chosen), key)
            x = cropped(x, self.random_crop, corners[rows])
        x = as_float32(x, self.value_range)
        if self.augment:
            with quiet_import():
                from keras_vaegan.data.augmentation import augment_images

            x = augment_images(x, self.augment, (self.seed, epoch, index))[own]
        return (x,) if self.y is None else (x, self.y[chosen[own]])

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        """The images at these positions; those that were not in memory are checked now."""
        if isinstance(self.x, StoredImages):
            x = self.x.read(indices)
            return check_images(x, value_range=self.value_range) if self.pixels else x
        return self.x[indices]

    def _chosen(self, epoch: int, index: int) -> np.ndarray:
        """The positions of the images of a batch, in the order that they have in it."""
        number = self.batch_size - self.num_labelled
        if self._labelled_fill_more or self.steps_per_epoch is not None:
            chosen = self._in_turn(self._rest, epoch, index, number, 2)
        else:
            chosen = self._in_order(self._rest, epoch)[index * number : (index + 1) * number]
        if self.num_labelled:
            chosen = np.concatenate(
                [self._in_turn(self._labelled, epoch, index, self.num_labelled, 1), chosen]
            )
        return chosen[: len(chosen) - len(chosen) % self.multiple]

    def leave_out(self, count: int) -> None:
        """Give zeros in place of the first `count` batches of this epoch, which were trained on before.

        Args:
            count: 0 for batches as they are.
        """
        self._left_out = (self.epoch, count)
        if self._ahead is not None:
            self._ahead.forget()

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

    def _in_turn(self, indices: np.ndarray, epoch: int, index: int, count: int, part: int) -> np.ndarray:
        """`count` of the indices for a batch, out of passes over all of them without an end."""
        places = (epoch * len(self) + index) * count + np.arange(count)
        passes, places = places // len(indices), places % len(indices)
        turns = [
            self._in_order(indices, number, part)[places[passes == number]] for number in np.unique(passes)
        ]
        return np.concatenate(turns)

    def _in_order(self, indices: np.ndarray, *key: int) -> np.ndarray:
        """The indices in the order of a pass, which the key names beside the seed."""
        if not self.shuffle:
            return indices
        order = self._orders.get(key)
        if order is None:  # two threads may both make it: it is the same
            order = indices.copy()
            np.random.default_rng((self.seed, *map(int, key))).shuffle(order)
            if len(self._orders) > 3:  # of older passes
                self._orders = {}
            self._orders[key] = order
        return order

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


def parse_augment(augment: str | Iterable[str] | None) -> list[str]:
    """Return the list of known names in `augment`."""
    if augment is None or isinstance(augment, (str, tuple, list)) and not augment:
        return []
    if not isinstance(augment, Iterable):
        raise InputError(f"augment must be names, as a list or one string; received {shown(augment)}.")
    with quiet_import():
        from keras_vaegan.data.augmentation import AUGMENTATIONS

    names = augment.split(",") if isinstance(augment, str) else augment
    return [choose("augment", str(name).strip(), AUGMENTATIONS) for name in names]
