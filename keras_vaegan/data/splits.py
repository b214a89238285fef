"""Train, validation and test splits."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_labels
from keras_vaegan.errors import InputError, whole_number

Pair: TypeAlias = tuple[np.ndarray, np.ndarray | None]  # (x, y)
Splits: TypeAlias = Sequence[Pair]  # train, validation, test


def split_indices(
    num_images: int, labels: np.ndarray | None, held_out: int, seed: int
) -> tuple[np.ndarray, ...]:
    """Return the indices of the training images and of `held_out` splits of 10 % each.

    A permutation from `seed`; with labels every split has the classes in the same proportions,
    give or take one image.

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
    if num_images <= held_out:
        raise InputError(
            f"source must hold at least {held_out + 1} images to be split; received {num_images}."
        )
    order = np.random.default_rng(seed).permutation(num_images)
    by_class = order if labels is None else order[np.argsort(labels[order], kind="stable")]
    turn = np.empty(num_images, int)
    turn[by_class] = np.arange(num_images) % 10  # every tenth image of every class takes the same turn
    turn = turn[order]
    return order[turn >= held_out], *(order[turn == k] for k in range(held_out))


def complete_splits(train: Pair, validation: Pair | None, test: Pair | None, seed: int) -> Splits:
    """Return `train, validation, test`, with those that are None carved out of `train`.

    Each is a pair `(x, y)` of arrays with equal first axes; y may be None.
    """
    missing = (validation is None) + (test is None)
    if validation is not None and test is not None:
        return train, validation, test
    x, y = train
    held_out: list[Any]
    kept, *held_out = split_indices(len(x), y, missing, seed)
    train, *held_out = [(x[index], None if y is None else y[index]) for index in (kept, *held_out)]
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
