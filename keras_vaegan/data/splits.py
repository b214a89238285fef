"""Train, validation and test splits."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_labels
from keras_vaegan.data.stored import StoredImages
from keras_vaegan.errors import InputError, whole_number

Pair: TypeAlias = tuple[Any, np.ndarray | None]  # (x, y), x an array or `StoredImages`
Splits: TypeAlias = Sequence[Pair]  # of SPLITS
SPLITS = ("train", "validation", "test")


def split_indices(
    num_images: int, labels: np.ndarray | None, held_out: int, seed: int
) -> tuple[np.ndarray, ...]:
    """Return the indices of the training images and of `held_out` splits of 10 % each.

    A permutation from `seed`; with labels every split has the classes in the same proportions,
    give or take one image. Every class has an image to train on, if there are enough images.

    Args:
        num_images: B.
        labels: int array `(B,)`, or None.
        held_out: how many splits to hold out, 1 or 2.
        seed: int.

    Returns:
        `1 + held_out` index arrays, disjoint, together 0..B-1, in random order.

    Raises:
        InputError: fewer images than splits, `1 + held_out`.
    """
    _check_enough(num_images, held_out)
    order = np.random.default_rng(seed).permutation(num_images)
    by_class = order if labels is None else order[np.argsort(labels[order], kind="stable")]
    turn = np.empty(num_images, int)
    turn[by_class] = np.arange(num_images) % 10  # every tenth image of every class takes the same turn
    split = np.minimum(turn, held_out)  # 0 to held_out - 1 are held out, in random order below
    _leave_none_out(split, labels, held_out, order)
    split = split[order]
    return order[split == held_out], *(order[split == k] for k in range(held_out))


def places(paths: Iterable[str], seed: int) -> np.ndarray:
    """A number in [0, 1) for each file, that follows from its path and the seed alone.

    Args:
        paths: within their folder, with slashes; the Unicode form of accents does not count.
        seed: int.
    """
    found = []
    for path in paths:
        # A name that is no UTF-8 has surrogates in place of its bytes.
        name = unicodedata.normalize("NFC", f"{seed}/{path}").encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(name, digest_size=8).digest()
        found.append(int.from_bytes(digest, "big") >> 11)  # the 53 bits that a float has
    return np.array(found, float) / 2.0**53


def split_by_place(place: np.ndarray, labels: np.ndarray | None, missing: Sequence[int]) -> np.ndarray:
    """The split of each file, 0 train, 1 validation, 2 test, for which other files hardly matter.

    Files below 0.1 are validation and files from there to 0.2 are test, if these splits are missing. So the
    proportions are 10 % give or take what chance does. There are two exceptions. The last file of a class is
    trained on if else none of the class were, and there are enough files to hold out others. The first file
    that can be spared fills a split without any.

    Args:
        place: float `(N,)` in [0, 1), as of `places`.
        labels: int array `(N,)`, -1 where unlabelled, or None.
        missing: the splits to make, out of 1 and 2.

    Raises:
        InputError: fewer files than splits.
    """
    _check_enough(len(place), len(missing))
    split = np.full(len(place), len(missing))
    for k, number in enumerate(missing):
        split[(place >= 0.1 * (number - 1)) & (place < 0.1 * number)] = k
    _leave_none_out(split, labels, len(missing), np.argsort(place, kind="stable")[::-1])
    return np.array([*missing, 0])[split]


def _check_enough(num_images: int, held_out: int) -> None:
    if num_images <= held_out:
        raise InputError(
            f"source must hold at least {held_out + 1} images to be split; received {num_images}."
        )


def _leave_none_out(split: np.ndarray, labels: np.ndarray | None, held_out: int, order: np.ndarray) -> None:
    """Change a split in place, in as few images as can be, so that it has all classes and is nowhere empty.

    Args:
        split: `(B,)`, `held_out` for images that are trained on, below it for the others.
        labels: `(B,)`, -1 where unlabelled, or None.
        held_out: how many splits are held out.
        order: indices. The first image of a class is trained on if none is; the last one that can be spared
            is held out if none is.
    """
    classes, codes = np.unique(np.zeros(len(split), int) if labels is None else labels, return_inverse=True)
    codes = codes.reshape(-1)
    if (
        not 0 < np.sum(classes >= 0) <= len(split) - held_out
    ):  # taken for one class, of which one is trained on
        classes, codes = np.zeros(1, int), np.zeros(len(split), int)
    trained = np.bincount(codes[split == held_out], minlength=len(classes))
    first = order[np.unique(codes[order], return_index=True)[1]]
    left_out = (trained == 0) & (classes >= 0)
    split[first[left_out]] = held_out
    trained[left_out] = 1
    for number in range(held_out):
        if np.any(split == number):
            continue
        spared = np.where(split == held_out, (classes < 0)[codes] | (trained > 1)[codes], False)
        if not spared.any():  # then another split has more than one
            spared = (split != held_out) & (np.bincount(split, minlength=held_out + 1) > 1)[split]
        chosen = order[spared[order]][-1]
        trained[codes[chosen]] -= split[chosen] == held_out
        split[chosen] = number


def complete_splits(train: Pair, validation: Pair | None, test: Pair | None, seed: int) -> Splits:
    """Return `train, validation, test`, with those that are None carved out of `train`.

    Each is a pair `(x, y)` of arrays with equal first axes; y may be None. Stored images are not read.
    """
    missing = (validation is None) + (test is None)
    if validation is not None and test is not None:
        return train, validation, test
    x, y = train
    held_out: list[Any]
    kept, *held_out = split_indices(len(x), y, missing, seed)
    train, *held_out = [
        (x.subset(index) if isinstance(x, StoredImages) else x[index], None if y is None else y[index])
        for index in (kept, *held_out)
    ]
    validation = held_out.pop(0) if validation is None else validation
    test = held_out.pop(0) if test is None else test
    return train, validation, test


def semi_supervised_split(
    x: np.ndarray, y: ArrayLike, num_labels: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the labels of some images, as many of each class, and hide the others'.

    As in Kingma et al. 2014 and Chen, Fang and Ju 2016: where the number of labels is no multiple of the
    number of classes, some classes, drawn by the seed, keep one more.

    Args:
        x: images `(B, ...)`.
        y: their labels, whole numbers `(B,)`; those that are -1 already stay hidden.
        num_labels: how many are kept.
        seed: of the draw.

    Returns:
        `(x, y)`: x as it came, and y int64 `(B,)`, -1 where it is hidden.

    Raises:
        InputError: fewer labelled images than asked for, of one class or of all; fewer labels than classes.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> x, hidden = kvg.data.semi_supervised_split(x, y, num_labels=100, seed=0)
        >>> [int(sum(hidden == digit)) for digit in range(10)]
        [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    if not hasattr(x, "__len__") or not np.ndim(x):
        raise InputError(f"x must be images (B, H, W, C); received a {type(x).__name__}.")
    y = check_labels(y, len(x))
    num_labels, seed = whole_number("num_labels", num_labels, 1), whole_number("seed", seed, 0)
    classes = np.unique(y[y >= 0])
    if not len(classes):
        raise InputError("y must have labels to keep; all are -1.")
    if not len(classes) <= num_labels <= np.sum(y >= 0):
        raise InputError(
            f"num_labels must be from {len(classes)}, one of each class, to {np.sum(y >= 0)}, the images "
            f"with a label; received {num_labels}."
        )
    rng = np.random.default_rng(seed)
    wanted = num_labels // len(classes) + (rng.permutation(len(classes)) < num_labels % len(classes))
    hidden = np.full(len(y), -1, np.int64)
    for label, number in zip(classes, wanted, strict=True):
        of_class = np.flatnonzero(y == label)
        if len(of_class) < number:
            raise InputError(
                f"num_labels must leave {number} images of class {label}; there are {len(of_class)}."
            )
        hidden[rng.permutation(of_class)[:number]] = label
    return x, hidden


def check_every_class(y: np.ndarray, num_classes: int, argument: str) -> None:
    """Raise unless there is a label of every class among `y`, -1 where it is hidden."""
    missing = sorted(set(range(num_classes)) - set(np.unique(y).tolist()))
    if len(missing) == num_classes:
        raise InputError(f"{argument} must have labels for some of the images; all are -1.")
    if missing:
        raise InputError(
            f"{argument} must have an image with a label for every class; there is none for "
            f"{', '.join(map(str, missing))}."
        )
